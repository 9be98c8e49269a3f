/*
 * feed.c
 *		Settings of the room, and CALL walhouse.ingest.
 */
#include "postgres.h"

#include <limits.h>

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/pg_lsn.h"

#include "base/base.h"
#include "feed/feed_private.h"

int wh_feed_memory = 64 * 1024;
int wh_feed_batch_rows = 10000;
int wh_feed_batch_ms = 1000;
int wh_feed_slot_timeout = 60000;
int wh_feed_status_interval = 10000;
int wh_feed_partition_size = 16 * 1024;
int wh_feed_chunk_rows = 50000;
char *wh_feed_debug_point = NULL;

void
wh_feed_init(void)
{
	DefineCustomIntVariable(
		"walhouse.feed_memory",
		"Memory for source transactions that are not ingested yet; above it the largest go to "
		"temporary files.",
		NULL,
		&wh_feed_memory, 64 * 1024, 64, MAX_KILOBYTES, PGC_USERSET, GUC_UNIT_KB, NULL, NULL,
		NULL);
	DefineCustomIntVariable(
		"walhouse.feed_batch_rows",
		"Changes after which source transactions that wait together are ingested.", NULL,
		&wh_feed_batch_rows, 10000, 1, INT_MAX, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"walhouse.feed_batch_ms",
		"Time after which source transactions that wait together are ingested.", NULL,
		&wh_feed_batch_ms, 1000, 0, INT_MAX, PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"walhouse.feed_slot_timeout", "Time that the creation of a replication slot may take.",
		"It waits for every transaction of the source that has written something.",
		&wh_feed_slot_timeout, 60000, 1, INT_MAX / 2, PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("walhouse.feed_status_interval",
							"Longest time between two reports to the source.", NULL,
							&wh_feed_status_interval, 10000, 100, INT_MAX, PGC_USERSET,
							GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"walhouse.changelog_partition_size",
		"WAL of the source that one partition of a change log spans, for feeds that are created "
		"from now on.",
		NULL, &wh_feed_partition_size, 16 * 1024, 16, INT_MAX, PGC_USERSET, GUC_UNIT_MB, NULL,
		NULL, NULL);
	DefineCustomIntVariable(
		"walhouse.feed_chunk_rows",
		"Most rows of a table that are copied at a time while the feed goes on.",
		"Fewer are, where they would keep the feed waiting for longer than a moment.",
		&wh_feed_chunk_rows, 50000, 1, INT_MAX / 4, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("walhouse.debug_feed_point",
							   "A place where copies of tables stand still, for tests.", NULL,
							   &wh_feed_debug_point, "", PGC_SIGHUP,
							   GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
	wh_connect_init();
	wh_stream_init();
}

PG_FUNCTION_INFO_V1(walhouse_ingest);

/* walhouse.ingest brings change log and mirrors, not models, to the source's position at the
 * call. */
Datum
walhouse_ingest(PG_FUNCTION_ARGS)
{
	WhFeed *feed;
	WhStream *stream;
	XLogRecPtr target;
	int holder;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("a feed must be named")));
	wh_txn_open("walhouse.ingest", wh_txn_procedure_atomic(fcinfo));
	feed = wh_changelog_feed(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	wh_user_check_owner(feed->owner, "feed", feed->name);
	target = PG_ARGISNULL(1) ? wh_feed_current_source_lsn(feed) :
							   wh_feed_lsn(feed, PG_GETARG_LSN(1));
	stream = wh_feed_open(feed, &holder);
	if (stream == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("feed \"%s\" is being read by process %d", feed->name, holder),
				 errhint("SELECT walhouse.wait_for(…) waits for it; SELECT walhouse.stop(%s) ends it.",
						 wh_sql_literal(feed->name))));
	while (!wh_feed_reached(stream, target, true) || wh_feed_is_copying(feed->id))
		wh_feed_poll(stream, 100);
	wh_feed_close(stream);
	wh_txn_close();
	PG_RETURN_VOID();
}
