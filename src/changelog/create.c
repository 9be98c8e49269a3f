/*
 * create.c
 *		Makes and drops what a feed has in the warehouse: two schemas, txn, and a mirror and a
 * change log per table.
 *
 * Everything belongs to the feed's owner, who is the user while DDL runs.  Columns of mirror and
 * log stand in the same order, nullable but for the key.  Names: a mirror has its table's name, or
 *<schema>_<table> where two source tables share one; a log has its mirror's, but for txn.  All
 * runs in the caller's transaction: a crash leaves what was committed before.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "changelog/changelog.h"
#include "changelog/changelog_private.h"
#include "partition/partition.h"

static char *free_name(const char *schema, const WhSourceTable *table);
static void create_mirror(const WhFeed *feed, const WhSourceTable *table, const char *name);
static void create_log(const WhFeed *feed, const WhSourceTable *table, const char *name);
static void insert_table(const WhFeed *feed, const WhSourceTable *table, Oid mirror, Oid log);
static char *log_column_name(const WhSourceTable *table, const char *name);
static const char *key_column(const WhSourceTable *table, int attnum);
static void drop_relations(const WhFeedTable *table);
static void drop_relation(Oid relid);
static void drop_empty_schema(const char *name);

void
wh_changelog_init(void)
{
	wh_changelog_state_init();
}

char *
wh_changelog_log_schema(const WhFeed *feed)
{
	return wh_name(feed->name, "_log");
}

Oid
wh_changelog_schema_oid(const char *name)
{
	return get_namespace_oid(name, true);
}

void
wh_changelog_create_schemas(const WhFeed *feed)
{
	const char *log = wh_changelog_log_schema(feed);
	WhUser saved;

	wh_user_become(feed->owner, &saved);
	wh_spi_execute(wh_sql("CREATE SCHEMA %I", feed->name), 0, NULL);
	wh_spi_execute(wh_sql("CREATE SCHEMA %I", log), 0, NULL);
	wh_spi_execute(
		wh_sql(
			"CREATE TABLE %I.txn (end_lsn pg_lsn NOT NULL CONSTRAINT txn_pkey PRIMARY KEY,"
			" xid bigint NOT NULL, commit_time timestamptz NOT NULL, origin text, clock "
			"timestamptz NOT NULL, inserts bigint NOT NULL DEFAULT 0, updates bigint NOT NULL"
			" DEFAULT 0, deletes bigint NOT NULL DEFAULT 0, truncates integer NOT NULL DEFAULT 0,"
			" context text[])",
			log),
		0, NULL);
	wh_spi_execute(
		wh_sql(
			"COMMENT ON TABLE %I.txn IS"
			" 'One row per source transaction in the change log. clock: the running maximum of "
			"commit times. inserts, updates, deletes, truncates: how many came of the feed''s "
			"tables. context: what the application said with pg_logical_emit_message(true, "
			"''walhouse'', …).'",
			log),
		0, NULL);
	wh_user_restore(&saved);
}

void
wh_changelog_create_table(const WhFeed *feed, const WhSourceTable *table)
{
	const char *log_schema = wh_changelog_log_schema(feed);
	char *mirror = free_name(feed->name, table);
	char *log = OidIsValid(get_relname_relid(mirror, get_namespace_oid(log_schema, false))) ?
					wh_name(mirror, "_") :
					mirror;
	WhUser saved;
	Oid mirror_oid;
	Oid log_oid;

	wh_user_become(feed->owner, &saved);
	create_mirror(feed, table, mirror);
	create_log(feed, table, log);
	wh_user_restore(&saved);
	mirror_oid = get_relname_relid(mirror, get_namespace_oid(feed->name, false));
	log_oid = get_relname_relid(log, get_namespace_oid(log_schema, false));
	insert_table(feed, table, mirror_oid, log_oid);
	foreach_ptr(WhSourceColumn, column, table->columns)
	{
		bool is_text;

		wh_changelog_local_type(column, &is_text);
		wh_changelog_insert_column(feed, table->relid, column,
								   log_column_name(table, column->name), column->name, is_text);
	}
	wh_changelog_store_definition(feed->id, table);
	wh_changelog_invalidate();
}

/* free_name is the name of a table's mirror. */
static char *
free_name(const char *schema, const WhSourceTable *table)
{
	Oid nsp = get_namespace_oid(schema, false);

	if (!OidIsValid(get_relname_relid(table->name, nsp)))
		return pstrdup(table->name);
	return wh_name(psprintf("%s_%s", table->schema, table->name), "");
}

static void
create_mirror(const WhFeed *feed, const WhSourceTable *table, const char *name)
{
	StringInfoData sql;
	const char *separator = "";

	initStringInfo(&sql);
	wh_sql_append(&sql, "CREATE TABLE %I.%I (", feed->name, name);
	foreach_ptr(WhSourceColumn, column, table->columns)
	{
		bool is_text;

		wh_sql_append(&sql, "%I %s, ", column->name,
					  wh_changelog_type_name(wh_changelog_local_type(column, &is_text)));
	}
	wh_sql_append(&sql, "PRIMARY KEY (");
	foreach_int(attnum, table->key)
	{
		wh_sql_append(&sql, "%s%I", separator, key_column(table, attnum));
		separator = ", ";
	}
	wh_sql_append(&sql, ")" WH_INDEX_OPTIONS ") WITH (fillfactor = 90)");
	wh_spi_execute(sql.data, 0, NULL);
}

static void
create_log(const WhFeed *feed, const WhSourceTable *table, const char *name)
{
	const char *schema = wh_changelog_log_schema(feed);
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(
		&sql,
		"CREATE TABLE %I.%I (lsn pg_lsn NOT NULL, seq bigint NOT NULL, op \"char\" NOT NULL",
		schema, name);
	foreach_ptr(WhSourceColumn, column, table->columns)
	{
		bool is_text;

		wh_sql_append(&sql, ", %I %s", log_column_name(table, column->name),
					  wh_changelog_type_name(wh_changelog_local_type(column, &is_text)));
	}
	wh_sql_append(&sql, ") PARTITION BY RANGE (lsn)");
	wh_spi_execute(sql.data, 0, NULL);
	wh_spi_execute(wh_sql("CREATE INDEX ON %I.%I (lsn, seq)" WH_INDEX_OPTIONS, schema, name), 0,
				   NULL);
}

static void
insert_table(const WhFeed *feed, const WhSourceTable *table, Oid mirror, Oid log)
{
	Datum *key = palloc(sizeof(Datum) * list_length(table->key));
	int count = 0;
	WhArg args[] = {
		WH_ARG_INT4(feed->id),
		WH_ARG_OID(table->relid),
		WH_ARG_TEXT(table->schema),
		WH_ARG_TEXT(table->name),
		WH_ARG_REGCLASS(mirror),
		WH_ARG_REGCLASS(log),
		{INT2ARRAYOID, (Datum) 0, false},
		WH_ARG_NULL(TEXTOID),
		WH_ARG_BOOL(table->has_column_list),
	};

	if (table->row_filter != NULL)
		args[7] = WH_ARG_TEXT(table->row_filter);
	foreach_int(attnum, table->key)
		key[count++] = Int16GetDatum(attnum);
	args[6].value = PointerGetDatum(
		construct_array(key, count, INT2OID, sizeof(int16), true, TYPALIGN_SHORT));
	wh_catalog_execute(
		"INSERT INTO walhouse.feed_table (feed_id, source_relid, source_schema, source_name, "
		"mirror, log, key, row_filter, column_list)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
		lengthof(args), args);
}

void
wh_changelog_insert_column(const WhFeed *feed, Oid source_relid, const WhSourceColumn *column,
						   const char *log_column, const char *mirror_column, bool is_text)
{
	WhArg args[] = {WH_ARG_INT4(feed->id),
					WH_ARG_OID(source_relid),
					WH_ARG_INT4(column->attnum),
					WH_ARG_TEXT(column->name),
					WH_ARG_TEXT(wh_changelog_source_type(column)),
					WH_ARG_TEXT(log_column),
					WH_ARG_TEXT(mirror_column),
					WH_ARG_TEXT(is_text ? "text" : "none")};

	wh_catalog_execute(
		"INSERT INTO walhouse.feed_column (feed_id, source_relid, attnum, source_name, source_type,"
		" log_column, mirror_column, conversion) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
		lengthof(args), args);
}

/* log_column_name is a column's name in a log that is being made. */
static char *
log_column_name(const WhSourceTable *table, const char *name)
{
	char *result = pstrdup(name);
	bool taken = strcmp(name, "lsn") == 0 || strcmp(name, "seq") == 0 || strcmp(name, "op") == 0;

	while (taken)
	{
		result = wh_name(result, "_");
		taken = false;
		foreach_ptr(WhSourceColumn, column, table->columns)
			taken = taken || strcmp(column->name, result) == 0;
	}
	return result;
}

char *
wh_changelog_log_column(Oid log, const char *name)
{
	char *result = pstrdup(name);

	while (get_attnum(log, result) != InvalidAttrNumber)
		result = wh_name(result, "_");
	return result;
}

static const char *
key_column(const WhSourceTable *table, int attnum)
{
	foreach_ptr(WhSourceColumn, column, table->columns)
	{
		if (column->attnum == attnum)
			return column->name;
	}
	elog(ERROR, "key column %d of table \"%s\" is not among its columns", attnum, table->name);
	return NULL;
}

void
wh_changelog_drop_table(const WhFeed *feed, const WhFeedTable *table)
{
	static const char *const catalogs[] = {"feed_copy_key", "feed_copy", "feed_column",
										   "feed_table"};
	WhArg args[] = {WH_ARG_INT4(feed->id), WH_ARG_OID(table->source_relid)};
	WhUser saved;

	wh_user_become(feed->owner, &saved);
	drop_relations(table);
	wh_user_restore(&saved);
	for (int i = 0; i < lengthof(catalogs); i++)
		wh_catalog_execute(wh_sql("DELETE FROM walhouse.%I WHERE feed_id = $1 AND source_relid ="
								  " $2",
								  catalogs[i]),
						   2, args);
	wh_changelog_invalidate();
}

/* drop_relations drops a table's mirror and log, as the feed's owner. */
static void
drop_relations(const WhFeedTable *table)
{
	ListCell *cell;

	foreach(cell, wh_partition_detached(table->log))
		drop_relation(lfirst_oid(cell));
	drop_relation(table->mirror);
	drop_relation(table->log);
}

void
wh_changelog_drop(const WhFeed *feed)
{
	const char *log_schema = wh_changelog_log_schema(feed);
	Oid log_nsp = get_namespace_oid(log_schema, true);
	WhArg arg = WH_ARG_INT4(feed->id);
	WhUser saved;

	wh_user_become(feed->owner, &saved);
	foreach_ptr(WhFeedTable, table, wh_changelog_tables(feed->id))
		drop_relations(table);
	if (OidIsValid(log_nsp))
		drop_relation(get_relname_relid("txn", log_nsp));
	drop_empty_schema(log_schema);
	drop_empty_schema(feed->name);
	wh_user_restore(&saved);
	wh_catalog_execute("DELETE FROM walhouse.schema_change WHERE feed_id = $1", 1, &arg);
	wh_catalog_execute("DELETE FROM walhouse.feed_copy_key WHERE feed_id = $1", 1, &arg);
	wh_catalog_execute("DELETE FROM walhouse.feed_copy WHERE feed_id = $1", 1, &arg);
	wh_catalog_execute("DELETE FROM walhouse.feed_column WHERE feed_id = $1", 1, &arg);
	wh_catalog_execute("DELETE FROM walhouse.feed_table WHERE feed_id = $1", 1, &arg);
	wh_catalog_execute("DELETE FROM walhouse.feed_position WHERE feed_id = $1", 1, &arg);
	wh_catalog_execute("DELETE FROM walhouse.feed WHERE feed_id = $1", 1, &arg);
	wh_changelog_invalidate();
}

static void
drop_relation(Oid relid)
{
	if (OidIsValid(relid) && get_rel_name(relid) != NULL)
		wh_spi_execute(wh_sql("DROP TABLE %T", relid), 0, NULL);
}

/* drop_empty_schema drops a schema that is there, belongs to the user and holds nothing any more.
 */
static void
drop_empty_schema(const char *name)
{
	WhArg arg = WH_ARG_TEXT(name);
	WhRows *rows = wh_spi_query(
		"SELECT 1 FROM pg_catalog.pg_namespace n WHERE n.nspname = $1"
		" AND pg_catalog.pg_has_role(n.nspowner, 'USAGE')"
		" AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid)"
		" AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.pronamespace = n.oid)"
		" AND NOT EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.typnamespace = n.oid)",
		1, &arg);

	if (rows->count > 0)
		wh_spi_execute(wh_sql("DROP SCHEMA %I", name), 0, NULL);
}
