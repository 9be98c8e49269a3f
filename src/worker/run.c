/*
 * run.c
 *		CALL walhouse.run(feed, up_to): what the worker does, once, in the caller's session.
 *
 * The target is fixed at the call: up_to, or how far the source's WAL goes then.  run() ends when
 * the feed's position and its live models have reached it, no table is being copied and no model
 * waits for a build.  Who
 * reads the stream is decided by the stream lock: when somebody else does, run() tells that worker
 * what it waits for, and takes over if the other ends.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"

#include "base/base.h"
#include "load/load.h"
#include "worker/worker.h"
#include "worker/worker_private.h"

#define ROUND_MS 100

PG_FUNCTION_INFO_V1(walhouse_run);

static WhStream *get_stream(WhFeed *feed, XLogRecPtr target);
static bool followed(const WhFeed *feed, XLogRecPtr target);
static void bring_on(WhStream *stream, const WhFeed *feed, XLogRecPtr target);
static void ingest_up_to(WhStream *stream, XLogRecPtr target, int32 feed_id);
static bool build_pending(int32 feed_id);

Datum
walhouse_run(PG_FUNCTION_ARGS)
{
	WhFeed *feed;
	WhStream *stream;
	XLogRecPtr target;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("the feed's name must not be NULL")));
	wh_txn_open("walhouse.run", wh_txn_procedure_atomic(fcinfo));
	feed = wh_changelog_feed(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	wh_user_check_owner(feed->owner, "feed", feed->name);
	target = PG_ARGISNULL(1) ? wh_feed_current_source_lsn(feed) :
							   wh_feed_lsn(feed, PG_GETARG_LSN(1));
	stream = get_stream(feed, target);
	if (stream != NULL)
	{
		PG_TRY();
		{
			bring_on(stream, feed, target);
		}
		PG_CATCH();
		{
			wh_feed_close(stream);
			PG_RE_THROW();
		}
		PG_END_TRY();
		wh_feed_close(stream);
	}
	wh_txn_close();
	PG_RETURN_VOID();
}

/* get_stream opens the stream; NULL when another session, which has it, has brought everything to
 * the target. */
static WhStream *
get_stream(WhFeed *feed, XLogRecPtr target)
{
	WhStream *stream;
	int holder = 0;

	for (;;)
	{
		stream = wh_feed_open(feed, &holder);
		if (stream != NULL)
			return stream;
		ereport(NOTICE, (errmsg("waiting for process %d, which reads the stream of feed \"%s\"",
								holder, feed->name)));
		if (wh_round_follow(feed, target, followed))
			return NULL;
	}
}

static bool
followed(const WhFeed *feed, XLogRecPtr target)
{
	return wh_round_reached(feed->id, target) && wh_round_built(feed->id) &&
		   !wh_feed_is_copying(feed->id);
}

/* bring_on ingests up to the target, loads, and builds what waits; what was built is brought on,
 * too. */
static void
bring_on(WhStream *stream, const WhFeed *feed, XLogRecPtr target)
{
	ingest_up_to(stream, target, feed->id);
	do
		(void) wh_load_run(feed->id);
	while (build_pending(feed->id));
}

/* ingest_up_to runs rounds until the position is at the target and tables are copied; the models
 * follow every round, as in the worker. */
static void
ingest_up_to(WhStream *stream, XLogRecPtr target, int32 feed_id)
{
	MemoryContext round =
		AllocSetContextCreate(CurrentMemoryContext, "walhouse round", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(round);

	while (!wh_feed_reached(stream, target, true) || wh_feed_is_copying(feed_id))
	{
		bool goes_on;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(round);
		if (wh_round_ingest(stream, ROUND_MS, WH_ROUND_MS, &goes_on))
			(void) wh_load_run(feed_id);
		ResetLatch(MyLatch);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(round);
}

/*
 * build_pending builds what waits, and says whether it built anything: then more may have become
 * possible, as facts wait for their dimensions.  What fails is stopped, and waits no more, or
 * raises.
 */
static bool
build_pending(int32 feed_id)
{
	List *pending;
	bool built = false;

	wh_txn_commit();
	pending = wh_load_pending_builds(feed_id);
	for (int i = 0; i < list_length(pending); i++)
	{
		CHECK_FOR_INTERRUPTS();
		wh_txn_commit();
		built |= wh_load_build(list_nth_int(pending, i));
	}
	return built;
}
