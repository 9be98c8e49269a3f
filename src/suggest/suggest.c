/*
 * suggest.c
 *		What a draft of a star is made of: foreign keys at the source, and how often columns
 * changed.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "changelog/changelog.h"
#include "source/source.h"
#include "suggest/suggest.h"

/* So many rows of a change log are looked at, the newest, by whole source transactions. */
#define LOG_ROWS 100000

#define CHANGE_COLUMNS 6

static void put_changes(ReturnSetInfo *result, const WhFeed *feed, const WhFeedTable *table);
static char *changes_sql(const WhFeedTable *table);
static void put_change(ReturnSetInfo *result, const WhFeedTable *table, const char *column,
					   const WhRows *rows, int place);
static Datum attnums(const char *text);

PG_FUNCTION_INFO_V1(walhouse_foreign_keys);
PG_FUNCTION_INFO_V1(walhouse_column_changes);

void
wh_suggest_init(void)
{
}

/* walhouse_foreign_keys(feed): those of the source's database, between any tables. */
Datum
walhouse_foreign_keys(PG_FUNCTION_ARGS)
{
	WhFeed *feed = wh_changelog_feed(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	wh_user_check_owner(feed->owner, "feed", feed->name);
	InitMaterializedSRF(fcinfo, 0);
	foreach_ptr(WhForeignKey, key, wh_feed_foreign_keys(feed))
	{
		Datum values[] = {ObjectIdGetDatum(key->relid), attnums(key->attnums),
						  ObjectIdGetDatum(key->refers_to), attnums(key->refers_to_attnums)};
		bool nulls[lengthof(values)] = {false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* attnums reads a smallint[] that came as text. */
static Datum
attnums(const char *text)
{
	return OidFunctionCall3(F_ARRAY_IN, CStringGetDatum(text), ObjectIdGetDatum(INT2OID),
							Int32GetDatum(-1));
}

/* walhouse_column_changes(feed): of each table, and of each of its columns, how often rows changed
 * in the newest part of the log. */
Datum
walhouse_column_changes(PG_FUNCTION_ARGS)
{
	WhFeed *feed = wh_changelog_feed(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	wh_user_check_owner(feed->owner, "feed", feed->name);
	InitMaterializedSRF(fcinfo, 0);
	foreach_ptr(WhFeedTable, table, wh_changelog_tables(feed->id))
		put_changes(result, feed, table);
	return (Datum) 0;
}

static void
put_changes(ReturnSetInfo *result, const WhFeed *feed, const WhFeedTable *table)
{
	WhRows *bound = wh_spi_query(
		wh_sql("SELECT l.lsn FROM %T l ORDER BY l.lsn DESC OFFSET $1 LIMIT 1", table->log), 1,
		(WhArg[]){WH_ARG_INT8(LOG_ROWS)});
	WhArg args[] = {
		bound->count > 0 ? WH_ARG_LSN(wh_rows_lsn(bound, 0, 1)) : WH_ARG_LSN(InvalidXLogRecPtr)};
	int level = wh_settings_push_joins(WH_JOINS_WHOLE);
	WhRows *rows = wh_spi_query(
		wh_sql("SELECT GREATEST(1, EXTRACT(epoch FROM t.span) / 86400)::pg_catalog.float8,"
			   " CASE WHEN r.reltuples >= 0 THEN r.reltuples::pg_catalog.int8 ELSE (SELECT"
			   " pg_catalog.count(*) FROM %T) END, c.* FROM (SELECT pg_catalog.max(t.clock) -"
			   " pg_catalog.min(t.clock) AS span FROM %T t WHERE t.end_lsn >= $1) t,"
			   " pg_catalog.pg_class r, (%s) c WHERE r.oid = %L::pg_catalog.regclass",
			   table->mirror, wh_changelog_txn_relid(feed), changes_sql(table),
			   wh_sql_relation(table->mirror)),
		1, args);
	int place = 3;

	wh_settings_pop(level);
	if (rows->count == 0)
		return;
	put_change(result, table, NULL, rows, place);
	foreach_ptr(WhFeedColumn, column, table->columns)
	{
		if (!column->dropped)
			put_change(result, table, column->mirror_column, rows, ++place);
	}
}

/* changes_sql: how many rows were changed, and changed in each column.  A transaction may be large
 * and the log without statistics, so rows find what they were by a text, which can be hashed. */
static char *
changes_sql(const WhFeedTable *table)
{
	StringInfoData before;
	StringInfoData after;
	StringInfoData sql;

	initStringInfo(&before);
	initStringInfo(&after);
	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT pg_catalog.count(*) FILTER (WHERE u.op <> 'I')");
	foreach_ptr(WhFeedColumn, column, table->columns)
	{
		if (!column->dropped)
			wh_sql_append(&sql,
						  ", pg_catalog.count(*) FILTER (WHERE b.op = 'B' AND ROW(b.%I)::record"
						  " OPERATOR(pg_catalog.*<>) ROW(u.%I)::record)",
						  column->log_column, column->log_column);
	}
	foreach_ptr(WhFeedColumn, key, table->columns)
	{
		if (!list_member_int(table->key, key->attnum))
			continue;
		wh_sql_append(&before, "%sb.%I", before.len > 0 ? ", " : "", key->log_column);
		wh_sql_append(&after, "%su.%I", after.len > 0 ? ", " : "", key->log_column);
	}
	wh_sql_append(&sql,
				  " FROM %T u LEFT JOIN %T b ON u.op = 'U' AND b.op = 'B' AND b.lsn = u.lsn AND"
				  " ROW(%s)::pg_catalog.text = ROW(%s)::pg_catalog.text",
				  table->log, table->log, before.data, after.data);
	wh_sql_append(&sql, " WHERE u.op IN ('I', 'U', 'D') AND u.lsn >= $1");
	return sql.data;
}

static void
put_change(ReturnSetInfo *result, const WhFeedTable *table, const char *column, const WhRows *rows,
		   int place)
{
	Datum values[CHANGE_COLUMNS];
	bool nulls[CHANGE_COLUMNS] = {false, column == NULL};
	double days = DatumGetFloat8(wh_rows_datum(rows, 0, 1, &nulls[3]));
	int64 count = wh_rows_int8(rows, 0, 2);
	int64 changes = wh_rows_int8(rows, 0, place);

	values[0] = ObjectIdGetDatum(table->mirror);
	values[1] = column == NULL ? (Datum) 0 : DirectFunctionCall1(namein, CStringGetDatum(column));
	values[2] = Int64GetDatum(changes);
	values[3] = Float8GetDatum(days);
	values[4] = Int64GetDatum(count);
	values[5] = Float8GetDatum(changes / days / Max(count, 1));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}
