/*
 * mirror.c
 *		CALL walhouse.set_mirror(feed, table, on).
 *
 * What was committed at the source before the check must be in before the mirror goes off: it may
 * have come without the rows as they were.  So everything is ingested up to the source's position
 * after the check, by the feed's worker where there is one, and else here.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/base.h"
#include "worker/worker.h"
#include "worker/worker_private.h"

#define ROUND_MS 100

static void catch_up(WhFeed *feed, XLogRecPtr target);
static void ingest_up_to(WhStream *stream, XLogRecPtr target);
static bool is_reached(const WhFeed *feed, XLogRecPtr target);

PG_FUNCTION_INFO_V1(walhouse_set_mirror);

Datum
walhouse_set_mirror(PG_FUNCTION_ARGS)
{
	WhFeed *feed;
	char *table;
	bool on;

	wh_txn_check_arguments(fcinfo);
	table = text_to_cstring(PG_GETARG_TEXT_PP(1));
	on = PG_GETARG_BOOL(2);
	wh_txn_open("walhouse.set_mirror", wh_txn_procedure_atomic(fcinfo));
	feed = wh_changelog_feed(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	wh_user_check_owner(feed->owner, "feed", feed->name);
	if (wh_feed_check_mirror(feed, table, on))
	{
		catch_up(feed, wh_feed_current_source_lsn(feed));
		wh_txn_commit();
		wh_feed_switch_mirror(feed, table, on);
	}
	wh_txn_close();
	PG_RETURN_VOID();
}

/* catch_up brings the feed's log to a position; models are none of its business. */
static void
catch_up(WhFeed *feed, XLogRecPtr target)
{
	WhStream *stream;
	int holder;

	do
		stream = wh_feed_open(feed, &holder);
	while (stream == NULL && !wh_round_follow(feed, target, is_reached));
	if (stream == NULL)
		return;
	PG_TRY();
	{
		ingest_up_to(stream, target);
	}
	PG_CATCH();
	{
		wh_feed_close(stream);
		PG_RE_THROW();
	}
	PG_END_TRY();
	wh_feed_close(stream);
}

static void
ingest_up_to(WhStream *stream, XLogRecPtr target)
{
	MemoryContext round =
		AllocSetContextCreate(CurrentMemoryContext, "walhouse round", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(round);

	while (!wh_feed_reached(stream, target, true))
	{
		bool goes_on;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(round);
		(void) wh_round_ingest(stream, ROUND_MS, WH_ROUND_MS, &goes_on);
		ResetLatch(MyLatch);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(round);
}

static bool
is_reached(const WhFeed *feed, XLogRecPtr target)
{
	return wh_changelog_position(feed->id, NULL) >= target;
}
