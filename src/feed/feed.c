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

int wh_feed_batch_rows = 10000;
int wh_feed_batch_ms = 1000;
int wh_feed_status_interval = 10000;
int wh_feed_partition_size = 16 * 1024;

void
wh_feed_init(void)
{
	DefineCustomIntVariable(
		"walhouse.feed_batch_rows",
		"Changes after which source transactions that wait together are ingested.", NULL,
		&wh_feed_batch_rows, 10000, 1, INT_MAX, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"walhouse.feed_batch_ms",
		"Time after which source transactions that wait together are ingested.", NULL,
		&wh_feed_batch_ms, 1000, 0, INT_MAX, PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
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
