/*
 * relation.c
 *		What the plugin knows of each relation: the plan by which its rows are written, and its
 *		definition.
 *
 * One entry a relation, by OID.  Invalidation callbacks come at any time, also from the middle of
 * our own catalog access: they only clear flags.  The next change of the relation then compiles
 * the entry anew, from the catalog as it was at that change (the historic snapshot).  Most
 * invalidations change nothing that matters (ANALYZE, an index): the definition's fingerprint
 * tells, and the schema id stays.  A new definition gets a new id; ids are never used twice in a
 * session.
 *
 * Callbacks cannot be unregistered, so they are registered once a process and walk a list of
 * sessions, from which a session takes itself when its memory context is reset, also by an error:
 * the SQL functions outlive theirs.
 *
 * Each entry has a memory context of its own, which is replaced when it is compiled anew.  The
 * cache is limited by starting afresh when it holds WH_RELATIONS_LIMIT entries; definitions are
 * then sent again.
 */
#include "output/output_private.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/tupdesc_details.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#define WH_RELATIONS_LIMIT 16384

/* The sessions of this process; see the head of this file. */
static WhOutput *sessions = NULL;
static bool callbacks_are_registered = false;

static void create_cache(WhOutput *session);
static void forget_session(void *arg);
static void invalidate_relation(Datum arg, Oid relid);
static void invalidate_all(Datum arg, int cacheid, uint32 hashvalue);
static void invalidate_publications(Datum arg, int cacheid, uint32 hashvalue);
static void compile(WhOutput *session, WhOutputRelation *entry, Relation relation);
static void compile_columns(WhOutputRelation *entry, Relation relation, Bitmapset *key);
static void compile_column(WhOutputColumn *column, Form_pg_attribute attribute);
static WhWriter choose_writer(Oid type, char type_kind, WhValueKind *kind);
static void describe(WhOutput *session, WhOutputRelation *entry, Relation relation);
static void describe_column(WhOutput *session, StringInfo out, Relation relation,
							WhOutputColumn *column);
static void append_attnums(StringInfo out, uint32_t number, Oid index);
static void append_missing(WhOutput *session, StringInfo out, Relation relation,
						   WhOutputColumn *column);
static void append_descriptor(WhOutput *session, StringInfo out, Relation relation,
							  WhOutputRelation *entry);
static const char *utf8_name(WhOutput *session, const char *name);

/* -------- the cache -------- */

void
wh_output_init_relations(WhOutput *session)
{
	MemoryContextCallback *forget = MemoryContextAllocZero(session->context, sizeof(*forget));

	create_cache(session);
	if (!callbacks_are_registered)
	{
		CacheRegisterRelcacheCallback(invalidate_relation, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, invalidate_all, (Datum) 0);
		CacheRegisterSyscacheCallback(TYPEOID, invalidate_all, (Datum) 0);
		CacheRegisterSyscacheCallback(PUBLICATIONOID, invalidate_publications, (Datum) 0);
		CacheRegisterSyscacheCallback(PUBLICATIONRELMAP, invalidate_publications, (Datum) 0);
		CacheRegisterSyscacheCallback(PUBLICATIONNAMESPACEMAP, invalidate_publications, (Datum) 0);
		callbacks_are_registered = true;
	}
	forget->func = forget_session;
	forget->arg = session;
	MemoryContextRegisterResetCallback(session->context, forget);
	session->next = sessions;
	sessions = session;
}

static void
create_cache(WhOutput *session)
{
	HASHCTL control = {0};

	control.keysize = sizeof(Oid);
	control.entrysize = sizeof(WhOutputRelation);
	control.hcxt = session->context;
	session->relations = hash_create("walhouse relations", 128, &control,
									 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
forget_session(void *arg)
{
	WhOutput **link = &sessions;

	while (*link != NULL && *link != (WhOutput *) arg)
		link = &(*link)->next;
	if (*link != NULL)
		*link = (*link)->next;
}

static void
invalidate_relation(Datum arg, Oid relid)
{
	WhOutputRelation *entry;

	if (!OidIsValid(relid))
	{
		invalidate_all(arg, 0, 0);
		return;
	}
	for (WhOutput *session = sessions; session != NULL; session = session->next)
	{
		entry = hash_search(session->relations, &relid, HASH_FIND, NULL);
		if (entry != NULL)
			entry->is_valid = false;
	}
}

static void
invalidate_all(Datum arg, int cacheid, uint32 hashvalue)
{
	for (WhOutput *session = sessions; session != NULL; session = session->next)
	{
		HASH_SEQ_STATUS scan;
		WhOutputRelation *entry;

		hash_seq_init(&scan, session->relations);
		while ((entry = hash_seq_search(&scan)) != NULL)
			entry->is_valid = false;
	}
}

static void
invalidate_publications(Datum arg, int cacheid, uint32 hashvalue)
{
	for (WhOutput *session = sessions; session != NULL; session = session->next)
		session->publications_valid = false;
	invalidate_all(arg, cacheid, hashvalue);
}

WhOutputRelation *
wh_output_find_relation(WhOutput *session, Relation relation)
{
	Oid relid = RelationGetRelid(relation);
	WhOutputRelation *entry = hash_search(session->relations, &relid, HASH_FIND, NULL);

	if (entry != NULL && entry->is_valid)
		return entry;
	if (entry == NULL)
	{
		entry = hash_search(session->relations, &relid, HASH_ENTER, NULL);
		memset((char *) entry + sizeof(Oid), 0, sizeof(*entry) - sizeof(Oid));
	}

	/* first, so that an invalidation that comes while the catalog is read is not lost */
	entry->is_valid = true;
	compile(session, entry, relation);
	return entry;
}

/*
 * wh_output_trim_relations starts the cache afresh when it has grown too large.  Only between
 * transactions.
 */
void
wh_output_trim_relations(WhOutput *session)
{
	HASH_SEQ_STATUS scan;
	WhOutputRelation *entry;
	HTAB *old = session->relations;

	if (hash_get_num_entries(old) < WH_RELATIONS_LIMIT)
		return;
	create_cache(session);
	hash_seq_init(&scan, old);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (entry->context != NULL)
			MemoryContextDelete(entry->context);
	}
	hash_destroy(old);
}

/* -------- plans -------- */

/* compile replaces what an entry holds.  The entry changes only once all of it is there. */
static void
compile(WhOutput *session, WhOutputRelation *entry, Relation relation)
{
	WhOutputRelation fresh = *entry;
	MemoryContext context =
		AllocSetContextCreate(session->context, "walhouse relation", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	int natts = RelationGetNumberOfAttributes(relation);

	fresh.context = context;
	fresh.actions = wh_output_published(session, relation);
	fresh.ncolumns = 0;
	fresh.columns = NULL;
	fresh.values = fresh.old_values = NULL;
	fresh.nulls = fresh.old_nulls = NULL;
	fresh.definition = NULL;
	fresh.replica_identity = relation->rd_rel->relreplident;
	if (fresh.actions.pubinsert || fresh.actions.pubupdate || fresh.actions.pubdelete ||
		fresh.actions.pubtruncate)
	{
		fresh.values = palloc0(sizeof(Datum) * Max(natts, 1));
		fresh.nulls = palloc0(sizeof(bool) * Max(natts, 1));
		fresh.old_values = palloc0(sizeof(Datum) * Max(natts, 1));
		fresh.old_nulls = palloc0(sizeof(bool) * Max(natts, 1));
		compile_columns(&fresh, relation, RelationGetIdentityKeyBitmap(relation));
		describe(session, &fresh, relation);
	}
	MemoryContextSwitchTo(caller);

	fresh.is_valid = entry->is_valid;
	if (entry->context != NULL)
		MemoryContextDelete(entry->context);
	*entry = fresh;
}

static void
compile_columns(WhOutputRelation *entry, Relation relation, Bitmapset *key)
{
	TupleDesc desc = RelationGetDescr(relation);

	entry->columns = palloc0(sizeof(WhOutputColumn) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		WhOutputColumn *column = &entry->columns[entry->ncolumns];

		if (attribute->attisdropped || wh_compat_is_virtual(attribute))
			continue;
		compile_column(column, attribute);
		column->is_key = bms_is_member(attribute->attnum - FirstLowInvalidHeapAttributeNumber, key);
		entry->ncolumns++;
	}
}

static void
compile_column(WhOutputColumn *column, Form_pg_attribute attribute)
{
	Oid base = getBaseType(attribute->atttypid);
	Oid output;
	bool is_varlena;
	WhWireType type;

	column->attnum = attribute->attnum;
	column->is_varlena = attribute->attlen == -1;
	column->writer = choose_writer(base, get_typtype(base), &column->kind);
	switch (column->kind)
	{
		case WH_VALUE_FLOAT:
			type = WH_WIRE_FIXED32;
			break;
		case WH_VALUE_DOUBLE:
		case WH_VALUE_TIMESTAMP:
		case WH_VALUE_TIMESTAMPTZ:
			type = WH_WIRE_FIXED64;
			break;
		case WH_VALUE_BOOL:
		case WH_VALUE_INT32:
		case WH_VALUE_INT64:
		case WH_VALUE_UINT32:
		case WH_VALUE_UINT64:
		case WH_VALUE_DATE:
		case WH_VALUE_TIME:
			type = WH_WIRE_VARINT;
			break;
		default:
			type = WH_WIRE_BYTES;
			break;
	}
	column->tag_size = wh_wire_put_tag(column->tag, attribute->attnum, type) - column->tag;
	getTypeOutputInfo(base, &output, &is_varlena);
	fmgr_info(output, &column->output);
}

/* choose_writer maps a base type to its kind on the wire and the way to write it. */
static WhWriter
choose_writer(Oid type, char type_kind, WhValueKind *kind)
{
	static const struct
	{
		Oid type;
		WhValueKind kind;
		WhWriter writer;
	} known[] = {
		{BOOLOID, WH_VALUE_BOOL, WH_WRITE_BOOL},
		{INT2OID, WH_VALUE_INT32, WH_WRITE_INT2},
		{INT4OID, WH_VALUE_INT32, WH_WRITE_INT4},
		{INT8OID, WH_VALUE_INT64, WH_WRITE_INT8},
		{MONEYOID, WH_VALUE_INT64, WH_WRITE_INT8},
		{OIDOID, WH_VALUE_UINT32, WH_WRITE_UINT32},
		{XIDOID, WH_VALUE_UINT32, WH_WRITE_UINT32},
		{CIDOID, WH_VALUE_UINT32, WH_WRITE_UINT32},
		{XID8OID, WH_VALUE_UINT64, WH_WRITE_UINT64},
		{FLOAT4OID, WH_VALUE_FLOAT, WH_WRITE_FLOAT4},
		{FLOAT8OID, WH_VALUE_DOUBLE, WH_WRITE_FLOAT8},
		{NUMERICOID, WH_VALUE_NUMERIC, WH_WRITE_NUMERIC},
		{DATEOID, WH_VALUE_DATE, WH_WRITE_DATE},
		{TIMEOID, WH_VALUE_TIME, WH_WRITE_TIME},
		{TIMETZOID, WH_VALUE_TIMETZ, WH_WRITE_TIMETZ},
		{TIMESTAMPOID, WH_VALUE_TIMESTAMP, WH_WRITE_TIMESTAMP},
		{TIMESTAMPTZOID, WH_VALUE_TIMESTAMPTZ, WH_WRITE_TIMESTAMP},
		{INTERVALOID, WH_VALUE_INTERVAL, WH_WRITE_INTERVAL},
		{UUIDOID, WH_VALUE_UUID, WH_WRITE_UUID},
		{BYTEAOID, WH_VALUE_BYTES, WH_WRITE_BYTES},
		{TEXTOID, WH_VALUE_TEXT, WH_WRITE_TEXT},
		{VARCHAROID, WH_VALUE_TEXT, WH_WRITE_TEXT},
		{BPCHAROID, WH_VALUE_TEXT, WH_WRITE_TEXT},
		{JSONOID, WH_VALUE_TEXT, WH_WRITE_TEXT},
		{NAMEOID, WH_VALUE_TEXT, WH_WRITE_NAME},
		{CHAROID, WH_VALUE_TEXT, WH_WRITE_OUTPUT},
		{JSONBOID, WH_VALUE_TEXT, WH_WRITE_OUTPUT},
		{XMLOID, WH_VALUE_TEXT, WH_WRITE_OUTPUT},
	};

	for (int i = 0; i < (int) lengthof(known); i++)
	{
		if (known[i].type == type)
		{
			*kind = known[i].kind;
			return known[i].writer;
		}
	}
	*kind = type_kind == TYPTYPE_ENUM ? WH_VALUE_TEXT : WH_VALUE_OUTPUT;
	return WH_WRITE_OUTPUT;
}

/* -------- definitions -------- */

/*
 * describe encodes the definition and gives it an id where it is not the one that was sent
 * before.
 */
static void
describe(WhOutput *session, WhOutputRelation *entry, Relation relation)
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
