/*
 * describe.c
 *		The definition of a relation, as Relation in walhouse.proto has it.
 *
 * It is read from the catalog as it was at the change (the historic snapshot).  Its fingerprint
 * tells whether it is another one than those that were sent: most invalidations change nothing
 * that matters (ANALYZE, an index), and the schema id stays.  The ids of the last few definitions
 * of a relation are kept, so that what changes back (streamed transactions see the catalog each
 * its own way) is not sent again.
 *
 * Where rows are told as those of a partitioned table above, names, columns and primary key are
 * that one's.  The replica identity is always the partition's, whose old rows these are.  A key is
 * listed only where all of its columns are sent.
 */
#include "output/publish_private.h"

#include "access/htup_details.h"
#include "access/tupdesc_details.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "nodes/nodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

static void choose_schema(WhOutput *session, WhOutputRelation *entry, uint64 fingerprint);
static uint32 identity_of(Relation relation);
static void append_table_name(WhOutput *session, StringInfo out, uint32_t number,
							  Relation relation);
static void append_leaf(WhOutput *session, StringInfo out, Relation relation);
static void append_root(WhOutput *session, StringInfo out, Oid relid);
static void append_key(StringInfo out, uint32_t number, const WhOutputRelation *entry, Oid index,
					   bool is_of_tuple);
static int find_attnum(const WhOutputRelation *entry, int attnum, bool is_of_tuple);
static void describe_column(WhOutput *session, StringInfo out, Relation target,
							WhOutputColumn *column);
static void append_missing(WhOutput *session, StringInfo out, Relation target,
						   WhOutputColumn *column);
static void append_default(WhOutput *session, StringInfo out, TupleDesc desc,
						   Form_pg_attribute attribute);
static void append_descriptor(WhOutput *session, StringInfo out, Relation target,
							  WhOutputRelation *entry);

void
wh_output_describe(WhOutput *session, WhOutputRelation *entry, Relation relation, Relation target,
				   const WhPublished *published)
{
	StringInfo out = makeStringInfo(); /* fields before the descriptor, which has the id */
	StringInfo rest = makeStringInfo(); /* and behind it */
	List *types = NIL;
	uint64 fingerprint;

	wh_output_pin_settings(session);
	append_table_name(session, out, 2, target);
	wh_wire_append_uint(out, 5, identity_of(relation));
	for (int i = 0; i < entry->ncolumns; i++)
	{
		WhOutputColumn *column = &entry->columns[i];

		describe_column(session, out, target, column);
		types = list_append_unique_oid(
			types, TupleDescAttr(RelationGetDescr(target), column->attnum - 1)->atttypid);
	}
	append_key(out, 7, entry, wh_compat_primary_key_index(target), false);
	append_key(out, 8, entry, RelationGetReplicaIndex(relation), true);

	if (entry->told_as != entry->relid)
		append_leaf(session, rest, relation);
	else if (published->ancestors != NIL)
		append_root(session, rest, llast_oid(published->ancestors));
	wh_output_append_types(session, rest, 12, types);

	fingerprint = hash_bytes_extended((unsigned char *) out->data, out->len, 0);
	fingerprint = hash_bytes_extended((unsigned char *) rest->data, rest->len, fingerprint);
	choose_schema(session, entry, fingerprint);
	if (entry->is_sent)
		return;
	append_descriptor(session, out, target, entry);
	appendBinaryStringInfo(out, rest->data, rest->len);
	entry->definition = out;
}

/*
 * choose_schema sets the id that a definition has, or gets, in this session.  Only ids that have
 * been sent are used again.
 */
static void
choose_schema(WhOutput *session, WhOutputRelation *entry, uint64 fingerprint)
{
	WhFormerDefinition *former;

	if (entry->schema != 0 && entry->is_sent)
	{
		if (entry->fingerprint == fingerprint)
			return;
		former = &entry->former[entry->next_former];
		former->schema = entry->schema;
		former->fingerprint = entry->fingerprint;
		entry->next_former = (entry->next_former + 1) % WH_FORMER_DEFINITIONS;
	}
	entry->fingerprint = fingerprint;
	for (int i = 0; i < WH_FORMER_DEFINITIONS; i++)
	{
		former = &entry->former[i];
		if (former->schema != 0 && former->fingerprint == fingerprint)
		{
			entry->schema = former->schema;
			entry->is_sent = true;
			former->schema = 0;
			return;
		}
	}
	entry->schema = ++session->last_schema;
	entry->is_sent = false;
}

/* -------- the table -------- */

static uint32
identity_of(Relation relation)
{
	switch (relation->rd_rel->relreplident)
	{
		case REPLICA_IDENTITY_NOTHING:
			return 2;
		case REPLICA_IDENTITY_FULL:
			return 3;
		case REPLICA_IDENTITY_INDEX:
			return 4;
		default:
			return 1;
	}
}

/* append_table_name writes OID, schema and name as three fields from number on. */
static void
append_table_name(WhOutput *session, StringInfo out, uint32_t number, Relation relation)
{
	const char *schema = get_namespace_name(RelationGetNamespace(relation));

	if (schema == NULL)
		elog(ERROR, "cache lookup failed for namespace %u", RelationGetNamespace(relation));
	wh_wire_append_uint(out, number, RelationGetRelid(relation));
	wh_wire_append_string(out, number + 1, wh_output_utf8_name(session, schema));
	wh_wire_append_string(out, number + 2,
						  wh_output_utf8_name(session, RelationGetRelationName(relation)));
}

static void
append_leaf(WhOutput *session, StringInfo out, Relation relation)
{
	int message = wh_wire_open(out, 10);

	append_table_name(session, out, 1, relation);
	wh_wire_close(out, message);
}

static void
append_root(WhOutput *session, StringInfo out, Oid relid)
{
	Relation root = RelationIdGetRelation(relid);
	int message = wh_wire_open(out, 11);

	if (!RelationIsValid(root))
		elog(ERROR, "could not open relation %u", relid);
	append_table_name(session, out, 1, root);
	wh_wire_close(out, message);
	RelationClose(root);
}

/*
 * append_key writes the attnums of an index's key as a packed field, if all of them are sent.
 * is_of_tuple: the index is that of the relation whose tuples these are.
 */
static void
append_key(StringInfo out, uint32_t number, const WhOutputRelation *entry, Oid index,
		   bool is_of_tuple)
{
	StringInfoData attnums;
	Relation relation;
	bool is_whole = true;

	if (!OidIsValid(index))
		return;
	relation = RelationIdGetRelation(index);
	if (!RelationIsValid(relation))
		elog(ERROR, "could not open index %u", index);
	initStringInfo(&attnums);
	for (int i = 0; i < relation->rd_index->indnkeyatts; i++)
	{
		int attnum = find_attnum(entry, relation->rd_index->indkey.values[i], is_of_tuple);
		uint8_t *at;

		enlargeStringInfo(&attnums, WH_WIRE_MAX_VARINT);
		at = (uint8_t *) attnums.data + attnums.len;
		attnums.len = (char *) wh_wire_put_varint(at, attnum) - attnums.data;
		is_whole &= attnum != 0;
	}
	RelationClose(relation);
	if (is_whole)
		wh_wire_append_bytes(out, number, attnums.data, attnums.len);
}

/* find_attnum returns the number under which a column is sent, or 0 where it is not. */
static int
find_attnum(const WhOutputRelation *entry, int attnum, bool is_of_tuple)
{
	for (int i = 0; i < entry->ncolumns; i++)
	{
		const WhOutputColumn *column = &entry->columns[i];

		if ((is_of_tuple ? column->index + 1 : column->attnum) == attnum)
			return column->attnum;
	}
	return 0;
}

/* -------- columns -------- */

static void
describe_column(WhOutput *session, StringInfo out, Relation target, WhOutputColumn *column)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(target), column->attnum - 1);
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
	wh_wire_append_string(out, 2, wh_output_utf8_name(session, NameStr(attribute->attname)));
	wh_wire_append_uint(out, 3, attribute->atttypid);
	wh_wire_append_uint(out, 4, (uint64) (int64) attribute->atttypmod);
	wh_wire_append_string(
		out, 5,
		wh_output_utf8_name(session,
							format_type_with_typemod(attribute->atttypid, attribute->atttypmod)));
	wh_wire_append_string(
		out, 6, wh_output_utf8_name(session, get_namespace_name(type->typnamespace)));
	wh_wire_append_uint(out, 7, column->kind);
	wh_wire_append_uint(out, 8, attribute->attnotnull);
	append_missing(session, out, target, column);
	if (attribute->attgenerated != '\0')
		wh_wire_append_uint(out, 10, true);
	wh_wire_append_string(out, 11, wh_output_utf8_name(session, NameStr(type->typname)));
	wh_wire_append_string(out, 12, type_kind);
	if (type->typtype == TYPTYPE_DOMAIN)
		wh_wire_append_uint(out, 13, getBaseType(attribute->atttypid));
	append_default(session, out, RelationGetDescr(target), attribute);
	if (column->element != NULL)
	{
		wh_wire_append_uint(out, 15, column->element->kind);
		wh_wire_append_uint(out, 16, get_element_type(column->type));
	}
	wh_wire_close(out, message);
	ReleaseSysCache(tuple);
}

/* append_missing writes the value that rows have which are older than the column. */
static void
append_missing(WhOutput *session, StringInfo out, Relation target, WhOutputColumn *column)
{
	TupleDesc desc = RelationGetDescr(target);
	AttrMissing *missing;

	if (!TupleDescAttr(desc, column->attnum - 1)->atthasmissing)
		return;
	missing = &desc->constr->missing[column->attnum - 1];
	if (missing->am_present)
		wh_wire_append_string(
			out, 9,
			wh_output_utf8_name(session, OutputFunctionCall(&column->output, missing->am_value)));
}

/*
 * append_default writes a column's default as SQL.  It has no columns in it, so that the deparser
 * need not open, nor lock, the table.
 */
static void
append_default(WhOutput *session, StringInfo out, TupleDesc desc, Form_pg_attribute attribute)
{
	if (!attribute->atthasdef || attribute->attgenerated != '\0' || desc->constr == NULL)
		return;
	for (int i = 0; i < desc->constr->num_defval; i++)
	{
		const AttrDefault *value = &desc->constr->defval[i];

		if (value->adnum == attribute->attnum && value->adbin != NULL)
		{
			char *text = deparse_expression(stringToNode(value->adbin), NIL, false, false);

			wh_wire_append_string(out, 14, wh_output_utf8_name(session, text));
		}
	}
}

static void
append_descriptor(WhOutput *session, StringInfo out, Relation target, WhOutputRelation *entry)
{
	WhWireField *fields = palloc0(sizeof(WhWireField) * Max(entry->ncolumns, 1));
	int message;

	for (int i = 0; i < entry->ncolumns; i++)
	{
		WhOutputColumn *column = &entry->columns[i];
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(target), column->attnum - 1);

		fields[i].attnum = column->attnum;
		fields[i].kind = column->kind;
		fields[i].element_kind = column->element != NULL ? column->element->kind : 0;
		fields[i].name = wh_output_utf8_name(session, NameStr(attribute->attname));
	}
	message = wh_wire_open(out, 9);
	wh_wire_append_descriptor(out, entry->schema, fields, entry->ncolumns);
	wh_wire_close(out, message);
	pfree(fields);
}
