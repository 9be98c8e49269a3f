/*
 * definition.c
 *		What changed in the definitions of source tables: walhouse.schema_change.
 *
 * A table's definition is kept as JSON, once for each table.  Where the stream, or a copy, brings
 * another text, the rows of walhouse.schema_change are what SQL finds between the two, so that
 * what is written down does not depend on what is done about it.  They are added in the
 * transaction that follows the change; a transaction of the source that comes again, after a
 * crash, finds its definition known.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/json.h"

#include "base/base.h"
#include "changelog/changelog.h"
#include "changelog/changelog_private.h"

/* The models whose queries read a mirror ($2 of feed $1), or the column of it that stands for an
 * attnum. */
#define MODELS(attnum) \
	"COALESCE((SELECT pg_catalog.array_agg(DISTINCT m.relation::pg_catalog.text)" \
	" FROM walhouse.model m JOIN pg_catalog.pg_rewrite w ON w.ev_class = m.query::pg_catalog.oid" \
	" JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass" \
	" AND d.objid = w.oid AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass" \
	" JOIN walhouse.feed_table t ON t.mirror = d.refobjid" \
	" WHERE t.feed_id = $1 AND t.source_relid = $2 AND m.feed_id = $1" \
	" AND (" attnum " IS NULL OR EXISTS (SELECT FROM walhouse.feed_column c" \
	" JOIN pg_catalog.pg_attribute a ON a.attrelid = t.mirror AND a.attname = c.mirror_column" \
	" WHERE c.feed_id = $1 AND c.source_relid = $2 AND c.attnum = " attnum \
	" AND a.attnum = d.refobjsubid))), '{}')"

#define IS_NEW(kind, column_name, before, after) \
	" NOT EXISTS (SELECT FROM walhouse.schema_change o WHERE o.feed_id = $1" \
	" AND o.source_relid = $2 AND o.lsn = $5 AND o.kind = " kind \
	" AND (o.column_name, o.before, o.after) IS NOT DISTINCT FROM (" column_name ", " before \
	", " after "))"

static void append_key(StringInfo json, const WhSourceTable *source);
static void append_text(StringInfo json, const char *name, const char *text);

char *
wh_changelog_definition(const WhSourceTable *source)
{
	StringInfoData json;
	const char *separator = "";

	initStringInfo(&json);
	append_text(&json, "{\"schema\": ", source->schema);
	append_text(&json, ", \"name\": ", source->name);
	append_text(&json, ", \"identity\": ", source->identity);
	append_key(&json, source);
	appendStringInfoString(&json, ", \"columns\": [");
	foreach_ptr(WhSourceColumn, column, source->columns)
	{
		appendStringInfo(&json, "%s{\"attnum\": %d", separator, column->attnum);
		append_text(&json, ", \"name\": ", column->name);
		append_text(&json, ", \"type\": ", column->type_text);
		append_text(&json, ", \"detail\": ", column->type_detail);
		appendStringInfo(&json, ", \"not_null\": %s, \"generated\": %s}",
						 column->is_not_null ? "true" : "false",
						 column->is_generated ? "true" : "false");
		separator = ", ";
	}
	appendStringInfoString(&json, "]}");
	return json.data;
}

/* append_key writes the key's attnums: a column of it that is renamed is no other key. */
static void
append_key(StringInfo json, const WhSourceTable *source)
{
	const char *separator = "";

	appendStringInfoString(json, ", \"key\": [");
	foreach_int(attnum, source->key)
	{
		appendStringInfo(json, "%s%d", separator, attnum);
		separator = ", ";
	}
	appendStringInfoChar(json, ']');
}

static void
append_text(StringInfo json, const char *name, const char *text)
{
	appendStringInfoString(json, name);
	if (text == NULL)
		appendStringInfoString(json, "null");
	else
		escape_json(json, text);
}

void
wh_changelog_note_definition(const WhFeedTable *table, const WhSourceTable *source,
							 const WhSchemaChange *change)
{
	char *definition = wh_changelog_definition(source);
	WhArg args[] = {WH_ARG_INT4(table->feed_id),
					WH_ARG_OID(table->source_relid),
					WH_ARG_TEXT(source->schema),
					WH_ARG_TEXT(source->name),
					WH_ARG_LSN(change->lsn),
					change->xid == 0 ? WH_ARG_NULL(INT8OID) : WH_ARG_INT8(change->xid),
					change->xid == 0 ? WH_ARG_NULL(TIMESTAMPTZOID) :
									   WH_ARG_TIMESTAMPTZ(change->commit_time),
					WH_ARG_TEXT(change->action),
					WH_ARG_TEXT(change->reason),
					WH_ARG_TEXT(definition)};

	if (table->definition != NULL && strcmp(table->definition, definition) == 0)
		return;
	wh_catalog_execute(
		"INSERT INTO walhouse.schema_change (feed_id, source_relid, source_schema, source_name,"
		" lsn, xid, commit_time, kind, column_name, before, after, action, reason, models)"
		" SELECT $1, $2, $3, $4, $5, $6, $7, x.kind, x.column_name, x.was, x.\"is\","
		" COALESCE($8, CASE WHEN x.kind IN ('set not null', 'drop not null', 'add expression',"
		" 'drop expression', 'replica identity', 'alter definition of type', 'key') THEN 'nothing'"
		" ELSE 'followed' END), $9, " MODELS(
			"x.attnum") " FROM walhouse.feed_table f,"
						" walhouse.definition_changes(f.definition, $10::pg_catalog.json)"
						" WITH ORDINALITY x (kind, column_name, attnum, was, \"is\", place)"
						" WHERE f.feed_id = $1 AND f.source_relid = $2"
						" AND" IS_NEW("x.kind", "x.column_name", "x.was", "x.\"is\"") //
		" ORDER BY x.place",
		lengthof(args), args);
	wh_changelog_store_definition(table->feed_id, source);
}

void
wh_changelog_store_definition(int32 feed_id, const WhSourceTable *source)
{
	WhArg args[] = {WH_ARG_INT4(feed_id), WH_ARG_OID(source->relid),
					WH_ARG_TEXT(wh_changelog_definition(source))};

	wh_catalog_execute("UPDATE walhouse.feed_table SET definition = $3::pg_catalog.json"
					   " WHERE feed_id = $1 AND source_relid = $2",
					   lengthof(args), args);
	wh_changelog_invalidate();
}

void
wh_changelog_note_change(int32 feed_id, Oid source_relid, const char *schema, const char *name,
						 const WhSchemaChange *change, const char *kind, const char *before,
						 const char *after)
{
	WhArg args[] = {WH_ARG_INT4(feed_id),
					WH_ARG_OID(source_relid),
					WH_ARG_TEXT(schema),
					WH_ARG_TEXT(name),
					WH_ARG_LSN(change->lsn),
					WH_ARG_INT8(change->xid),
					WH_ARG_TIMESTAMPTZ(change->commit_time),
					WH_ARG_TEXT(change->action != NULL ? change->action : "followed"),
					WH_ARG_TEXT(change->reason),
					WH_ARG_TEXT(kind),
					WH_ARG_TEXT(before),
					WH_ARG_TEXT(after)};

	wh_catalog_execute(
		"INSERT INTO walhouse.schema_change (feed_id, source_relid, source_schema, source_name,"
		" lsn, xid, commit_time, kind, before, after, action, reason, models)"
		" SELECT $1, $2, $3, $4, $5, $6, $7, $10, $11, $12, $8, $9, " MODELS(
			"NULL") " WHERE" IS_NEW("$10", "NULL::pg_catalog.text", "$11", "$12"),
		lengthof(args), args);
}
