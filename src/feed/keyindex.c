/*
 * keyindex.c
 *		The index of a change log by its table's key: CALL walhouse.set_log_key_index().
 *
 * Loads read the log by range and need no such index; whoever asks for the history of single rows
 * does (trace/).  Partition after partition gets its own, each in a transaction; the one of the log
 * itself is valid when all have theirs.  Partitions that are made later get it with their other
 * indexes.  While a partition's index is made nobody writes to it: only the newest is written to,
 * and ingest waits for it.
 *
 * walhouse.feed_table says so at the end alone.  After a crash, or a lock that was not to be had,
 * the same call goes on where it stopped.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "feed/feed_private.h"

static WhFeedTable *open_table(const char *feed_name, const char *name, WhFeed **feed);
static void create_index(const WhFeed *feed, const WhFeedTable *table);
static void create_part(const WhFeed *feed, const WhFeedTable *table, Oid partition);
static void append_columns(StringInfo sql, const WhFeedTable *table);
static WhRows *parts_without(const WhFeedTable *table);

PG_FUNCTION_INFO_V1(walhouse_set_log_key_index);

Datum
walhouse_set_log_key_index(PG_FUNCTION_ARGS)
{
	char *feed_name;
	char *name;
	WhFeed *feed;
	WhFeedTable *table;
	WhRows *parts;
	bool on;

	wh_txn_check_arguments(fcinfo);
	feed_name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	on = PG_GETARG_BOOL(2);
	wh_txn_open("walhouse.set_log_key_index", wh_txn_procedure_atomic(fcinfo));
	table = open_table(feed_name, name, &feed);
	if (table->log_key_index == on)
		ereport(NOTICE, (errmsg("the change log of table \"%s\" has %s index by its key already",
								table->source_name, on ? "an" : "no")));
	else if (!on)
		wh_changelog_drop_key_index(feed, table);
	else
	{
		if (!OidIsValid(wh_changelog_log_key_index(table)))
			create_index(feed, table);
		wh_txn_commit();
		table = open_table(feed_name, name, &feed);
		/* One after the other: a partition may come meanwhile, with its index. */
		while ((parts = parts_without(table))->count > 0)
		{
			CHECK_FOR_INTERRUPTS();
			create_part(feed, table, wh_rows_oid(parts, 0, 1));
			wh_txn_commit();
			table = open_table(feed_name, name, &feed);
		}
		wh_changelog_set_key_index(table, true);
	}
	wh_txn_close();
	PG_RETURN_VOID();
}

static WhFeedTable *
open_table(const char *feed_name, const char *name, WhFeed **feed)
{
	*feed = wh_changelog_feed(feed_name, false);
	wh_user_check_owner((*feed)->owner, "feed", (*feed)->name);
	return wh_feed_find_table(*feed, name);
}

/* create_index makes the log's own, without the partitions. */
static void
create_index(const WhFeed *feed, const WhFeedTable *table)
{
	StringInfoData sql;
	WhUser saved;

	initStringInfo(&sql);
	wh_sql_append(&sql, "CREATE INDEX %I ON ONLY %T (", wh_changelog_key_index_name(table),
				  table->log);
	append_columns(&sql, table);
	wh_user_become(feed->owner, &saved);
	wh_spi_execute(sql.data, 0, NULL);
	wh_user_restore(&saved);
}

/* create_part makes a partition's, and makes it a part of the log's. */
static void
create_part(const WhFeed *feed, const WhFeedTable *table, Oid partition)
{
	char *name = wh_name(get_rel_name(partition), "_key");
	StringInfoData sql;
	WhUser saved;

	initStringInfo(&sql);
	wh_sql_append(&sql, "CREATE INDEX %I ON %T (", name, partition);
	append_columns(&sql, table);
	wh_user_become(feed->owner, &saved);
	wh_spi_execute(sql.data, 0, NULL);
	wh_spi_execute(wh_sql("ALTER INDEX %T ATTACH PARTITION %I.%I",
						  wh_changelog_log_key_index(table),
						  get_namespace_name(get_rel_namespace(partition)), name),
				   0, NULL);
	wh_user_restore(&saved);
}

static void
append_columns(StringInfo sql, const WhFeedTable *table)
{
	foreach_int(attnum, table->key)
	{
		foreach_ptr(WhFeedColumn, column, table->columns)
		{
			if (column->attnum == attnum)
				wh_sql_append(sql, "%I, ", column->log_column);
		}
	}
	appendStringInfoString(sql, "lsn)");
}

/* parts_without lists a partition of the log that has no part of its index; the oldest first. */
static WhRows *
parts_without(const WhFeedTable *table)
{
	WhArg args[] = {WH_ARG_OID(table->log), WH_ARG_OID(wh_changelog_log_key_index(table))};

	return wh_spi_query("SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = $1 AND"
						" NOT EXISTS (SELECT FROM pg_catalog.pg_inherits x JOIN pg_catalog.pg_index"
						" y ON y.indexrelid = x.inhrelid WHERE x.inhparent = $2 AND y.indrelid ="
						" i.inhrelid) ORDER BY i.inhrelid LIMIT 1",
						2, args);
}
