/*
 * describe.c
 *		The definition of a relation, as Relation in walhouse.proto has it.
 *
 * It is read from the catalog as it was at the change (the historic snapshot).  Its fingerprint
 * tells whether it is another one than that which was sent: most invalidations change nothing
 * that matters (ANALYZE, an index), and the schema id stays.
 */
#include "output/output_private.h"

#include "access/htup_details.h"
#include "access/tupdesc_details.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

static void describe_column(WhOutput *session, StringInfo out, Relation relation,
							WhOutputColumn *column);
static void append_attnums(StringInfo out, uint32_t number, Oid index);
static void append_missing(WhOutput *session, StringInfo out, Relation relation,
						   WhOutputColumn *column);
static void append_descriptor(WhOutput *session, StringInfo out, Relation relation,
							  WhOutputRelation *entry);
static const char *utf8_name(WhOutput *session, const char *name);

void
wh_output_describe(WhOutput *session, WhOutputRelation *entry, Relation relation)
{
	StringInfo out = makeStringInfo();
	Oid identity = RelationGetReplicaIndex(relation);
	Oid primary_key = wh_compat_primary_key_index(relation);
	uint64 fingerprint;
	uint32 replica_identity;

	switch (relation->rd_rel->relreplident)
	{
		case REPLICA_IDENTITY_NOTHING:
			replica_identity = 2;
			break;
		case REPLICA_IDENTITY_FULL:
			replica_identity = 3;
			break;
		case REPLICA_IDENTITY_INDEX:
			replica_identity = 4;
			break;
		default:
			replica_identity = 1;
			break;
	}
	wh_output_pin_settings(session);
	wh_wire_append_uint(out, 2, RelationGetRelid(relation));
	wh_wire_append_string(out, 3,
						  utf8_name(session, get_namespace_name(RelationGetNamespace(relation))));
	wh_wire_append_string(out, 4, utf8_name(session, RelationGetRelationName(relation)));
	wh_wire_append_uint(out, 5, replica_identity);
	for (int i = 0; i < entry->ncolumns; i++)
		describe_column(session, out, relation, &entry->columns[i]);
	append_attnums(out, 7, primary_key);
	append_attnums(out, 8, identity);

	fingerprint = hash_bytes_extended((unsigned char *) out->data, out->len, 0);
	if (entry->schema != 0 && entry->is_sent && entry->fingerprint == fingerprint)
		return;
	entry->schema = ++session->last_schema;
	entry->fingerprint = fingerprint;
	entry->is_sent = false;
	append_descriptor(session, out, relation, entry);
	entry->definition = out;
}

static void
describe_column(WhOutput *session, StringInfo out, Relation relation, WhOutputColumn *column)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(relation), column->attnum - 1);
	HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(attribute->atttypid));
	Form_pg_type type;
	int message;
	char type_kind[2] = {0};

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", attribute->atttypid);
	type = (Form_pg_type) GETSTRUCT(tuple);
	type_kind[0] = type->typtype;

	message = wh_wire_open(out, 6);
	wh_wire_append_uint(out, 1, column->attnum);
	wh_wire_append_string(out, 2, utf8_name(session, NameStr(attribute->attname)));
	wh_wire_append_uint(out, 3, attribute->atttypid);
	wh_wire_append_uint(out, 4, (uint64) (int64) attribute->atttypmod);
	wh_wire_append_string(
		out, 5,
		utf8_name(session, format_type_with_typemod(attribute->atttypid, attribute->atttypmod)));
	wh_wire_append_string(out, 6, utf8_name(session, get_namespace_name(type->typnamespace)));
	wh_wire_append_uint(out, 7, column->kind);
	wh_wire_append_uint(out, 8, attribute->attnotnull);
	append_missing(session, out, relation, column);
	if (attribute->attgenerated != '\0')
		wh_wire_append_uint(out, 10, true);
	wh_wire_append_string(out, 11, utf8_name(session, NameStr(type->typname)));
	wh_wire_append_string(out, 12, type_kind);
	if (type->typtype == TYPTYPE_DOMAIN)
		wh_wire_append_uint(out, 13, getBaseType(attribute->atttypid));
	if (column->element != NULL)
	{
		wh_wire_append_uint(out, 15, column->element->kind);
		wh_wire_append_uint(out, 16, get_element_type(column->type));
	}
	wh_wire_close(out, message);
	ReleaseSysCache(tuple);
}

/* append_attnums writes the attnums of an index's key as a packed field. */
static void
append_attnums(StringInfo out, uint32_t number, Oid index)
{
	Relation relation;
	int packed;

	if (!OidIsValid(index))
		return;
	relation = RelationIdGetRelation(index);
	if (!RelationIsValid(relation))
		elog(ERROR, "could not open index %u", index);
	packed = wh_wire_open(out, number);
	for (int i = 0; i < relation->rd_index->indnkeyatts; i++)
	{
		uint8_t *at;

		enlargeStringInfo(out, WH_WIRE_MAX_VARINT);
		at = (uint8_t *) out->data + out->len;
		out->len =
			(char *) wh_wire_put_varint(at, relation->rd_index->indkey.values[i]) - out->data;
	}
	wh_wire_close(out, packed);
	RelationClose(relation);
}

/* append_missing writes the value that rows have which are older than the column. */
static void
append_missing(WhOutput *session, StringInfo out, Relation relation, WhOutputColumn *column)
{
	TupleDesc desc = RelationGetDescr(relation);
	AttrMissing *missing;

	if (!TupleDescAttr(desc, column->attnum - 1)->atthasmissing)
		return;
	missing = &desc->constr->missing[column->attnum - 1];
	if (missing->am_present)
		wh_wire_append_string(
			out, 9, utf8_name(session, OutputFunctionCall(&column->output, missing->am_value)));
}

static void
append_descriptor(WhOutput *session, StringInfo out, Relation relation, WhOutputRelation *entry)
{
	WhWireField *fields = palloc(sizeof(WhWireField) * Max(entry->ncolumns, 1));
	int message;

	for (int i = 0; i < entry->ncolumns; i++)
	{
		WhOutputColumn *column = &entry->columns[i];

		fields[i].attnum = column->attnum;
		fields[i].kind = column->kind;
		fields[i].element_kind = column->element != NULL ? column->element->kind : 0;
		fields[i].name = utf8_name(session, NameStr(TupleDescAttr(RelationGetDescr(relation),
																  column->attnum - 1)
														->attname));
	}
	message = wh_wire_open(out, 9);
	wh_wire_append_descriptor(out, entry->schema, fields, entry->ncolumns);
	wh_wire_close(out, message);
	pfree(fields);
}

/*
 * utf8_name returns a name in UTF-8; where that cannot be, its bytes beyond ASCII are written as
 * \xHH.
 */
static const char *
utf8_name(WhOutput *session, const char *name)
{
	size_t len = strlen(name);
	const char *utf8 = wh_output_to_utf8(session, name, &len);
	StringInfoData escaped;

	if (utf8 != NULL)
		return utf8;
	initStringInfo(&escaped);
	for (; *name != '\0'; name++)
	{
		if (IS_HIGHBIT_SET(*name))
			appendStringInfo(&escaped, "\\x%02X", (unsigned char) *name);
		else
			appendStringInfoChar(&escaped, *name);
	}
	return escaped.data;
}
