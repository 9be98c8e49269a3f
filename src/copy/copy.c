/*
 * copy.c
 *		Settings of the room, and which tables are to be copied while the stream goes on.
 */
#include "postgres.h"

#include <limits.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/guc.h"

#include "base/base.h"
#include "copy/copy_private.h"

int wh_feed_memory = 64 * 1024;
int wh_feed_chunk_rows = 50000;
int wh_feed_copy_processes = 2;
int wh_feed_snapshot_time = 3600;
static char *debug_point = NULL;

void
wh_copy_init(void)
{
	DefineCustomIntVariable(
		"walhouse.feed_memory",
		"Memory for source transactions that are not ingested yet; above it the largest go to "
		"temporary files.",
		NULL,
		&wh_feed_memory, 64 * 1024, 64, MAX_KILOBYTES, PGC_USERSET, GUC_UNIT_KB, NULL, NULL,
		NULL);
	DefineCustomIntVariable(
		"walhouse.feed_chunk_rows",
		"Most rows of a table that are copied at a time while the feed goes on.",
		"Fewer are, where they would keep the feed waiting for longer than a moment.",
		&wh_feed_chunk_rows, 50000, 1, INT_MAX / 4, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"walhouse.feed_copy_processes",
		"Processes that copy the tables of a new feed, with the session that creates it.",
		"Others are background workers, as far as max_worker_processes has some.",
		&wh_feed_copy_processes, 2, 1, 64, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"walhouse.feed_snapshot_time",
		"Time for which the first copy of a feed's tables holds a snapshot at the source; 0: no "
		"limit.",
		"What is missing then is copied while the feed goes on.", &wh_feed_snapshot_time, 3600, 0,
		INT_MAX / 1000, PGC_USERSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomStringVariable("walhouse.debug_feed_point",
							   "A place where copies of tables stand still, for tests.", NULL,
							   &debug_point, "", PGC_SIGHUP,
							   GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
}

bool
wh_feed_is_copying(int32 feed_id)
{
	WhArg arg = WH_ARG_INT4(feed_id);

	return wh_catalog_query("SELECT FROM walhouse.feed_copy c JOIN walhouse.feed_table t USING"
							" (feed_id, source_relid) WHERE c.feed_id = $1 AND t.state = 'copy' AND"
							" c.failures = 0 LIMIT 1",
							1, &arg)
			   ->count > 0;
}

void
wh_copier_pend(const WhFeed *feed)
{
	WhArg arg = WH_ARG_INT4(feed->id);

	if (wh_catalog_execute(
			"INSERT INTO walhouse.feed_copy (feed_id, source_relid, command) SELECT t.feed_id,"
			" t.source_relid, 'CREATE FEED' FROM walhouse.feed_table t WHERE t.feed_id = $1 AND"
			" t.state = 'copy' ON CONFLICT DO NOTHING",
			1, &arg) +
			wh_catalog_execute("UPDATE walhouse.feed_copy SET failures = 0, next_try = NULL WHERE"
							   " feed_id = $1 AND failures > 0",
							   1, &arg) >
		0)
		wh_changelog_invalidate();
	wh_txn_commit();
}

void
wh_copier_insert(const WhFeedTable *table, const char *command)
{
	WhArg args[] = {WH_ARG_INT4(table->feed_id), WH_ARG_OID(table->source_relid),
					WH_ARG_TEXT(command)};

	wh_catalog_execute("INSERT INTO walhouse.feed_copy (feed_id, source_relid, command) VALUES ($1,"
					   " $2, $3)",
					   3, args);
	wh_changelog_invalidate();
}

void
wh_copier_restart(const WhFeedTable *table)
{
	WhArg args[] = {WH_ARG_INT4(table->feed_id), WH_ARG_OID(table->source_relid)};

	wh_catalog_execute("UPDATE walhouse.feed_copy SET begun = false WHERE feed_id = $1 AND"
					   " source_relid = $2",
					   2, args);
	wh_changelog_invalidate();
}

void
wh_copier_restart_all(const WhFeed *feed)
{
	WhArg arg = WH_ARG_INT4(feed->id);

	wh_catalog_execute("UPDATE walhouse.feed_copy SET begun = false WHERE feed_id = $1", 1, &arg);
	wh_changelog_invalidate();
}

void
wh_copier_store(const WhFeedTable *table, const WhChunkRead *read, XLogRecPtr lsn)
{
	WhArg args[] = {WH_ARG_INT4(table->feed_id),
					WH_ARG_OID(table->source_relid),
					WH_ARG_INT8(read->first),
					WH_ARG_INT8(read->end),
					WH_ARG_LSN(lsn),
					WH_ARG_INT8(read->bytes),
					WH_ARG_INT8(read->rows - read->excluded),
					WH_ARG_INT8(read->excluded)};

	wh_catalog_execute(
		"UPDATE walhouse.feed_copy SET read = read + pg_catalog.int8multirange("
		"pg_catalog.int8range($3, $4)), all_read = all_read OR pg_catalog.int8range(0, blocks) <@"
		" (read + pg_catalog.int8multirange(pg_catalog.int8range($3, $4))), up_to = $5, chunks ="
		" chunks + 1, bytes_processed = bytes_processed + $6, tuples_processed ="
		" tuples_processed + $7, tuples_excluded = tuples_excluded + $8, changed ="
		" pg_catalog.clock_timestamp(), failures = 0, next_try = NULL, error = NULL WHERE feed_id ="
		" $1 AND source_relid = $2",
		lengthof(args), args);
}

void
wh_copier_forget(const WhFeedTable *table)
{
	WhArg args[] = {WH_ARG_INT4(table->feed_id), WH_ARG_OID(table->source_relid)};

	wh_catalog_execute(
		"DELETE FROM walhouse.feed_copy_key WHERE feed_id = $1 AND source_relid = $2", 2, args);
	wh_catalog_execute("DELETE FROM walhouse.feed_copy WHERE feed_id = $1 AND source_relid = $2", 2,
					   args);
}

/* wh_copier_point stands still where a test wants it. */
void
wh_copier_point(const char *name)
{
	while (debug_point != NULL && strcmp(debug_point, name) == 0)
	{
		pgstat_report_activity(STATE_RUNNING, psprintf("standing at %s", name));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 100,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
}
