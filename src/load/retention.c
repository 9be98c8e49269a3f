/*
 * retention.c
 *		Retention of change logs: up to where a feed's log is needed, and the horizon that moves.
 *
 * The change logs of a feed with a retention are partition sets that follow this file: what it says
 * is needed no more, the steps of partitions detach and drop.  Two things are decided here, when a
 * set is looked at:
 *
 * First the horizon is moved, under the feed's state lock: over what is too old, or too much, and
 * what every model has loaded (live or stopped), once a whole partition is.  While a model is
 * being built the horizon stays: the build read it in its snapshot.  Builds that begin later, and
 * models that are declared later, begin at the new one, so nobody will ask for what is below.
 *
 * But somebody may be asking: a statement with a snapshot from before the move (verify, as_of,
 * explain_row) reads the log from the old horizon on.  So, secondly, the partitions become due when
 * every snapshot is newer than the move; until then feed.horizon_moved has the transaction that
 * did it.  A crash in between leaves it there, and the next look goes on.
 *
 * With the partitions go the rows of txn below the horizon, but for the last, whose clock is that
 * of the horizon, and what schema_change has of that time.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "changelog/changelog.h"
#include "load/load.h"
#include "load/load_private.h"
#include "partition/partition.h"

#define LOOK_AGAIN_MS 60000 /* at what waits for a model */
#define SNAPSHOTS_MS 2000 /* at what waits for older snapshots */

PG_FUNCTION_INFO_V1(walhouse_set_log_retention);

/* What of a feed's log may go, and when to ask again. */
typedef struct Needs
{
	XLogRecPtr horizon; /* where it may be */
	TimestampTz next;
} Needs;

static WhFeed *feed_of_log(Oid log);
static bool snapshots_are_newer(const WhFeed *feed);
static void release(const WhFeed *feed);
static Needs what_is_needed(const WhFeed *feed);
static bool ends_partition(const WhFeed *feed, XLogRecPtr horizon);
static XLogRecPtr size_allows(const WhFeed *feed);
static XLogRecPtr common_end(const WhFeed *feed, XLogRecPtr limit);
static bool read_hold(const WhFeed *feed, XLogRecPtr *hold);
static XLogRecPtr first_young(const WhFeed *feed);
static TimestampTz next_old(const WhFeed *feed);
static void move_horizon(const WhFeed *feed, XLogRecPtr horizon);
static void follow_all(const WhFeed *feed);
static void look_at_others(const WhFeed *feed, Oid log);

bool
wh_load_leads_log(Oid log, bool looks, int64 *head, TimestampTz *next)
{
	WhFeed *feed = feed_of_log(log);
	Needs needs;

	if (feed == NULL)
		return false;
	*head = feed->horizon;
	*next = DT_NOEND;
	if (!looks)
		return true;
	follow_all(feed);
	if (!snapshots_are_newer(feed))
	{
		*head = PG_INT64_MIN;
		*next = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SNAPSHOTS_MS);
		return true;
	}
	needs = what_is_needed(feed);
	if (needs.horizon > feed->horizon)
	{
		/* Whether it may be moved is asked once more, while nothing changes. */
		wh_lock_state(feed->id);
		needs = what_is_needed(feed);
		if (needs.horizon > feed->horizon)
		{
			move_horizon(feed, needs.horizon);
			wh_partition_point("retention: moved");
			*next = GetCurrentTimestamp();
			return true;
		}
	}
	*next = needs.next;
	return true;
}

/* feed_of_log returns the feed of a log, where it has a retention; NULL: none. */
static WhFeed *
feed_of_log(Oid log)
{
	WhRows *rows =
		wh_catalog_query("SELECT f.feed_id FROM walhouse.feed_table t JOIN walhouse.feed f USING"
						 " (feed_id) WHERE t.log::pg_catalog.oid = $1 AND f.state = 'ready' AND"
						 " (f.log_age IS NOT NULL OR f.log_bytes IS NOT NULL)",
						 1, (WhArg[]){WH_ARG_OID(log)});

	return rows->count == 0 ? NULL : wh_changelog_feed_by_id(wh_rows_int4(rows, 0, 1), false);
}

/*
 * snapshots_are_newer says whether nobody has a snapshot from before the last move, and then ends
 * that.  Run as who sees all sessions.
 */
static bool
snapshots_are_newer(const WhFeed *feed)
{
	WhRows *rows = wh_spi_query("SELECT f.horizon_moved FROM walhouse.feed f WHERE f.feed_id = $1"
								" AND f.horizon_moved IS NOT NULL",
								1, (WhArg[]){WH_ARG_INT4(feed->id)});

	if (rows->count == 0)
		return true;
	if (wh_load_is_seen_before(rows))
		return false;
	release(feed);
	return true;
}

/* wh_load_is_seen_before says whether anybody has a snapshot from before the transaction whose
 * xid8 a row begins with; one of another cluster, in a restored dump, is none of this one. */
bool
wh_load_is_seen_before(const WhRows *rows)
{
	bool isnull;
	WhArg args[] = {{XID8OID, wh_rows_datum(rows, 0, 1, &isnull), false}};

	return wh_spi_query(
			   "SELECT WHERE $1 < pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) AND"
			   " EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid <>"
			   " pg_catalog.pg_backend_pid() AND a.backend_type <> 'autovacuum worker' AND"
			   " pg_catalog.age(a.backend_xmin) >= pg_catalog.age(pg_catalog.xid($1)) AND (a.datid"
			   " IS NULL OR a.datid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname ="
			   " pg_catalog.current_database())))",
			   1, args)
			   ->count > 0;
}

/* release lets go what is below the horizon. */
static void
release(const WhFeed *feed)
{
	char *txn = wh_sql_relation(wh_changelog_txn_relid(feed));
	WhUser saved;

	wh_catalog_execute("UPDATE walhouse.feed SET horizon_moved = NULL WHERE feed_id = $1", 1,
					   (WhArg[]){WH_ARG_INT4(feed->id)});
	wh_catalog_execute("DELETE FROM walhouse.schema_change WHERE feed_id = $1 AND lsn < $2", 2,
					   (WhArg[]){WH_ARG_INT4(feed->id), WH_ARG_LSN(feed->horizon)});
	wh_user_become(feed->owner, &saved);
	wh_spi_execute(wh_sql("DELETE FROM %s WHERE end_lsn < (SELECT t.end_lsn FROM %s t WHERE"
						  " t.end_lsn <= %X ORDER BY t.end_lsn DESC LIMIT 1)",
						  txn, txn, feed->horizon),
				   0, NULL);
	wh_user_restore(&saved);
	look_at_others(feed, InvalidOid);
	wh_partition_point("retention: released");
}

/*
 * what_is_needed works out where the horizon may be.  It lies where loads of all models have ended:
 * there each query can be computed of every row, which between two ends it need not (an image that
 * is replaced before the load ends may be one to divide by zero, see model/guard.c), and verify
 * begins with what the rows were there.
 */
static Needs
what_is_needed(const WhFeed *feed)
{
	Needs needs = {feed->horizon, next_old(feed)};
	XLogRecPtr hold;
	bool may_move = read_hold(feed, &hold);
	XLogRecPtr wished = Max(first_young(feed), size_allows(feed));
	XLogRecPtr end = common_end(feed, Min(hold, wished));

	if (may_move && ends_partition(feed, end))
		needs.horizon = end;
	/* What would go, but for a model. */
	else if (ends_partition(feed, wished))
		needs.next = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LOOK_AGAIN_MS);
	return needs;
}

/* ends_partition says whether a horizon would let go a partition, or more. */
static bool
ends_partition(const WhFeed *feed, XLogRecPtr horizon)
{
	return wh_catalog_query("SELECT FROM walhouse.feed_table t JOIN walhouse.partition_set s ON"
							" s.parent = t.log JOIN walhouse.partition p USING (set_id) WHERE"
							" t.feed_id = $1 AND p.state IN ('open', 'sealed') AND p.hi > $2 AND"
							" p.hi <= $3 LIMIT 1",
							3,
							(WhArg[]){WH_ARG_INT4(feed->id), WH_ARG_INT8((int64) feed->horizon),
									  WH_ARG_INT8((int64) horizon)})
			   ->count > 0;
}

/* size_allows returns the end of the newest range of partitions that is too much, with all that
 * are newer. */
static XLogRecPtr
size_allows(const WhFeed *feed)
{
	WhRows *rows = wh_catalog_query(
		"SELECT pg_catalog.max(c.hi) FROM (SELECT r.hi, pg_catalog.sum(r.bytes) OVER (ORDER BY r.lo"
		" DESC) AS kept FROM (SELECT p.lo, p.hi, pg_catalog.sum("
		"pg_catalog.pg_total_relation_size(p.relid)) AS bytes FROM walhouse.feed_table t JOIN"
		" walhouse.partition_set s ON s.parent = t.log JOIN walhouse.partition p USING (set_id)"
		" WHERE t.feed_id = $1 AND p.state IN ('open', 'sealed') GROUP BY p.lo, p.hi) r) c JOIN"
		" walhouse.feed f ON f.feed_id = $1 WHERE c.kept > f.log_bytes",
		1, (WhArg[]){WH_ARG_INT4(feed->id)});
	bool isnull;
	Datum end = wh_rows_datum(rows, 0, 1, &isnull);

	return isnull ? InvalidXLogRecPtr : (XLogRecPtr) DatumGetInt64(end);
}

/* common_end returns the last position up to `limit` at which a load of each model ended that was
 * built before. */
static XLogRecPtr
common_end(const WhFeed *feed, XLogRecPtr limit)
{
	WhArg args[] = {WH_ARG_INT4(feed->id), WH_ARG_LSN(limit), WH_ARG_LSN(feed->horizon)};
	WhRows *rows = wh_catalog_query(
		"WITH m AS MATERIALIZED (SELECT m.model_id, COALESCE(m.history_start, '0/0') AS"
		" history_start FROM walhouse.model m WHERE m.feed_id = $1 AND m.state IN ('live',"
		" 'stopped')), e AS MATERIALIZED (SELECT m.model_id, l.to_lsn FROM m JOIN"
		" walhouse.load_model l USING (model_id) WHERE l.to_lsn > $3 AND l.to_lsn <= $2 UNION"
		" SELECT m.model_id, l.to_lsn FROM m JOIN walhouse.load_summary l USING (model_id) WHERE"
		" l.to_lsn > $3 AND l.to_lsn <= $2) SELECT CASE WHEN EXISTS (SELECT FROM m) THEN (SELECT"
		" e.to_lsn FROM e GROUP BY e.to_lsn HAVING pg_catalog.count(*) >="
		" (SELECT pg_catalog.count(*) FROM m WHERE m.history_start < e.to_lsn) ORDER BY e.to_lsn"
		" DESC LIMIT 1) ELSE $2 END",
		3, args);

	return wh_rows_lsn(rows, 0, 1);
}

/*
 * read_hold finds what the log is needed from: what a model has still to load, and the feed's own
 * position; where history is to be kept, also where that of a model begins. False while a model is
 * being built.
 */
static bool
read_hold(const WhFeed *feed, XLogRecPtr *hold)
{
	WhRows *rows = wh_catalog_query(
		"SELECT COALESCE(pg_catalog.bool_or(m.state = 'building'), false), pg_catalog.min(CASE WHEN"
		" m.state = 'live' OR m.state = 'stopped' AND r.build IS NOT TRUE THEN COALESCE((SELECT"
		" l.to_lsn FROM walhouse.load_model l WHERE l.model_id = m.model_id ORDER BY l.load_id DESC"
		" LIMIT 1), '0/0') END), pg_catalog.min(CASE WHEN f.log_keep_history THEN m.history_start"
		" END) FROM walhouse.model m JOIN walhouse.feed f USING (feed_id) LEFT JOIN"
		" walhouse.load_retry r USING (model_id) WHERE m.feed_id = $1",
		1, (WhArg[]){WH_ARG_INT4(feed->id)});

	*hold = wh_changelog_position(feed->id, NULL);
	for (int i = 2; i <= 3; i++)
	{
		bool isnull;
		Datum lsn = wh_rows_datum(rows, 0, i, &isnull);

		if (!isnull)
			*hold = Min(*hold, DatumGetLSN(lsn));
	}
	return !wh_rows_bool(rows, 0, 1);
}

/* first_young returns what is right before the first transaction that is not older than the
 * retention says, by the feed clock; without an age, all are young. */
static XLogRecPtr
first_young(const WhFeed *feed)
{
	WhRows *rows = wh_catalog_query(
		"SELECT p.clock - f.log_age FROM walhouse.feed f JOIN walhouse.feed_position p USING"
		" (feed_id) WHERE f.feed_id = $1 ORDER BY p.position DESC LIMIT 1",
		1, (WhArg[]){WH_ARG_INT4(feed->id)});
	bool isnull = true;
	Datum oldest = rows->count > 0 ? wh_rows_datum(rows, 0, 1, &isnull) : (Datum) 0;
	WhUser saved;

	if (isnull)
		return InvalidXLogRecPtr;
	wh_user_become(feed->owner, &saved);
	rows = wh_spi_query(wh_sql("SELECT end_lsn FROM %T WHERE clock > $1 ORDER BY end_lsn LIMIT 1",
							   wh_changelog_txn_relid(feed)),
						1, (WhArg[]){WH_ARG_TIMESTAMPTZ(DatumGetTimestampTz(oldest))});
	wh_user_restore(&saved);
	return rows->count > 0 ? wh_rows_lsn(rows, 0, 1) - 1 : PG_INT64_MAX;
}

/* next_old is when, if the feed clock goes on, the oldest range of the log is too old; infinity
 * without an age: a new partition has the set looked at. */
static TimestampTz
next_old(const WhFeed *feed)
{
	XLogRecPtr from;
	XLogRecPtr to;
	WhRows *rows;
	WhUser saved;
	bool isnull;
	Datum due;

	wh_changelog_partition_range(feed, feed->horizon, &from, &to);
	wh_user_become(feed->owner, &saved);
	rows = wh_spi_query(wh_sql("SELECT t.clock + f.log_age FROM walhouse.feed f LEFT JOIN LATERAL"
							   " (SELECT t.clock FROM %T t WHERE t.end_lsn < %X ORDER BY t.end_lsn"
							   " DESC LIMIT 1) t ON true WHERE f.feed_id = $1",
							   wh_changelog_txn_relid(feed), to),
						1, (WhArg[]){WH_ARG_INT4(feed->id)});
	wh_user_restore(&saved);
	due = wh_rows_datum(rows, 0, 1, &isnull);
	if (isnull)
		return DT_NOEND;
	return Max(DatumGetTimestampTz(due),
			   TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LOOK_AGAIN_MS));
}

static void
move_horizon(const WhFeed *feed, XLogRecPtr horizon)
{
	wh_catalog_execute("UPDATE walhouse.feed SET horizon = $2, horizon_moved ="
					   " pg_catalog.pg_current_xact_id() WHERE feed_id = $1",
					   2, (WhArg[]){WH_ARG_INT4(feed->id), WH_ARG_LSN(horizon)});
	ereport(LOG, (errmsg("the change log of feed \"%s\" begins at %X/%X now", feed->name,
						 LSN_FORMAT_ARGS(horizon))));
}

/* follow_all makes the logs of a feed that are no sets, as those of new tables, follow. */
static void
follow_all(const WhFeed *feed)
{
	WhRows *rows = wh_catalog_query(
		"SELECT t.log::pg_catalog.oid FROM walhouse.feed_table t JOIN pg_catalog.pg_class c ON"
		" c.oid = t.log LEFT JOIN walhouse.partition_set s ON s.parent = t.log WHERE t.feed_id = $1"
		" AND s.retire_after IS NULL ORDER BY 1",
		1, (WhArg[]){WH_ARG_INT4(feed->id)});

	for (uint64 i = 0; i < rows->count; i++)
		wh_partition_follow(wh_rows_oid(rows, i, 1),
							psprintf("%llu", (unsigned long long) feed->log_partition_size));
}

/* look_at_others has the sets of a feed looked at, but for one. */
static void
look_at_others(const WhFeed *feed, Oid log)
{
	ListCell *cell;

	foreach(cell, wh_changelog_tables(feed->id))
	{
		WhFeedTable *table = lfirst(cell);

		if (table->log != log)
			wh_partition_look(table->log);
	}
}

/* walhouse_set_log_retention(feed text, age interval, bytes bigint, keep_history boolean) */
Datum
walhouse_set_log_retention(PG_FUNCTION_ARGS)
{
	WhArg args[4];
	WhFeed *feed;
	ListCell *cell;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("feed must not be null")));
	feed = wh_changelog_feed(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	wh_user_check_owner(feed->owner, "feed", feed->name);
	args[0] = WH_ARG_INT4(feed->id);
	args[1] = (WhArg){INTERVALOID, PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1),
					  PG_ARGISNULL(1)};
	args[2] = (WhArg){INT8OID, PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2), PG_ARGISNULL(2)};
	args[3] = WH_ARG_BOOL(!PG_ARGISNULL(3) && PG_GETARG_BOOL(3));
	if (wh_rows_bool(wh_spi_query("SELECT COALESCE($1 < '0'::pg_catalog.interval, false) OR"
								  " COALESCE($2 < 0, false)",
								  2, args + 1),
					 0, 1))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a retention cannot be negative")));
	wh_txn_mark_own();
	wh_lock_state(feed->id);
	wh_catalog_execute("UPDATE walhouse.feed SET log_age = $2, log_bytes = $3, log_keep_history ="
					   " $4 WHERE feed_id = $1",
					   4, args);
	if (args[1].isnull && args[2].isnull)
	{
		foreach(cell, wh_changelog_tables(feed->id))
			wh_partition_unfollow(((WhFeedTable *) lfirst(cell))->log);
		PG_RETURN_VOID();
	}
	follow_all(feed);
	look_at_others(feed, InvalidOid);
	PG_RETURN_VOID();
}
