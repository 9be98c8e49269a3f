/*
 * round.c
 *		What the feed worker and procedures have in common: ingest what has come, wait for somebody
 * who does, and ask how far things are.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "worker/worker.h"
#include "worker/worker_private.h"

/* Who waits for another process looks so often. */
#define FOLLOW_MS 20

/*
 * wh_round_ingest waits up to timeout_ms for something to come, and ingests it together with what
 * comes right after, for most_ms while it does; true when the feed's position moved.  *goes_on:
 * more was coming when it stopped.
 */
bool
wh_round_ingest(WhStream *stream, long timeout_ms, long most_ms, bool *goes_on)
{
	TimestampTz start;

	*goes_on = wh_feed_poll(stream, timeout_ms);
	if (!*goes_on)
		return false;
	start = GetCurrentTimestamp();
	while (*goes_on && !TimestampDifferenceExceeds(start, GetCurrentTimestamp(), most_ms))
	{
		CHECK_FOR_INTERRUPTS();
		*goes_on = wh_feed_poll(stream, 0);
	}
	return true;
}

/* wh_round_follow tells the feed's worker again and again what is waited for, while it waits. */
bool
wh_round_follow(const WhFeed *feed, XLogRecPtr target,
				bool (*is_reached)(const WhFeed *feed, XLogRecPtr target))
{
	MemoryContext poll =
		AllocSetContextCreate(CurrentMemoryContext, "walhouse wait", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(poll);
	ConditionVariable *moved;
	bool reached;
	int holder;

	for (;;)
	{
		(void) wh_slots_wish(feed->id, target, &moved);
		wh_txn_commit();
		reached = is_reached(feed, target);
		if (reached)
			break;
		if (wh_lock_stream(feed->id, &holder))
		{
			wh_unlock_stream(feed->id);
			break;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, FOLLOW_MS,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(poll);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(poll);
	return reached;
}

/*
 * wh_round_reached says whether a feed's position is at lsn or later, and its current models with
 * it, as committed now. A model's own position stays behind while nothing happens at the source:
 * what counts is that no transaction lies between.
 */
bool
wh_round_reached(int32 feed_id, XLogRecPtr lsn)
{
	WhArg args[] = {WH_ARG_INT4(feed_id), WH_ARG_LSN(lsn)};
	XLogRecPtr lowest;

	if (wh_changelog_position(feed_id, NULL) < lsn)
		return false;
	lowest = wh_rows_lsn(wh_spi_query_kept("SELECT min(COALESCE(position, '0/0'))"
										   "  FROM walhouse.current_model WHERE feed_id = $1",
										   1, args),
						 0, 1);
	if (XLogRecPtrIsInvalid(lowest) || lowest >= lsn)
		return true;
	args[0] = WH_ARG_LSN(lowest);
	return wh_catalog_query(
			   wh_sql("SELECT FROM %T WHERE end_lsn > $1 AND end_lsn <= $2 LIMIT 1",
					  wh_changelog_txn_relid(wh_changelog_feed_by_id(feed_id, false))),
			   2, args)
			   ->count == 0;
}

/* wh_round_retry_due says whether a model that stopped is to be tried again by a load now. */
bool
wh_round_retry_due(int32 feed_id)
{
	WhArg args[] = {WH_ARG_INT4(feed_id)};

	return wh_spi_query_kept(
			   "SELECT FROM walhouse.load_retry r JOIN walhouse.model m USING (model_id)"
			   " WHERE m.feed_id = $1 AND m.state = 'stopped' AND m.paused IS NULL"
			   "   AND CASE WHEN r.waits_for IS NULL"
			   "            THEN r.tried_to IS NULL OR"
			   "                 (r.next_try <= pg_catalog.clock_timestamp() AND"
			   "                  r.tried_to < (SELECT p.position FROM walhouse.feed_position p"
			   "                                WHERE p.feed_id = $1"
			   "                                ORDER BY p.position DESC LIMIT 1))"
			   "            ELSE EXISTS (SELECT FROM walhouse.model d"
			   "                         WHERE d.model_id = r.waits_for"
			   "                           AND d.state <> 'stopped') END",
			   1, args)
			   ->count > 0;
}

/* wh_round_built says whether no model of a feed waits for a build or is being built, but for those
 * that are paused, and those that need one which is paused or stopped and so is not built. */
bool
wh_round_built(int32 feed_id)
{
	WhArg args[] = {WH_ARG_INT4(feed_id)};
	WhRows *rows = wh_spi_query_kept(
		"WITH held AS (SELECT h.model_id FROM walhouse.model h WHERE h.feed_id = $1 AND (h.state ="
		" 'stopped' OR (h.paused IS NOT NULL AND h.state <> 'live'))),"
		" held_fact AS (SELECT fd.model_id FROM walhouse.fact_dimension fd JOIN held h ON"
		" h.model_id = fd.dimension_id UNION SELECT h.model_id FROM held h)"
		" SELECT NOT EXISTS (SELECT FROM walhouse.model m WHERE m.feed_id = $1"
		" AND m.state IN ('new', 'building', 'rebuild') AND m.paused IS NULL"
		" AND m.model_id NOT IN (SELECT f.model_id FROM held_fact f)"
		" AND NOT EXISTS (SELECT FROM walhouse.fact_reader fr JOIN held_fact f ON"
		"                 f.model_id = fr.fact_id WHERE fr.model_id = m.model_id))",
		1, args);

	return wh_rows_bool(rows, 0, 1);
}
