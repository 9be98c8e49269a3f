/*
 * summary.c
 *		Old loads, by the hour: walhouse.load_summary.
 *
 * Loads are appended, two rows and more for each, up to hundreds a second.  What is older than
 * walhouse.load_retention is added up to a row for each hour and model, and removed.  A model's
 * last load, which holds its position, stays, however old it is, and is added up when it is not
 * the last any more; so an hour may have more than one row.  A row of a model names its load for
 * ever: the summary whose range of loads holds it has the range of LSNs.
 *
 * One statement, in the caller's transaction: a load is in the table or in the summary.  It needs
 * no lock: loads only append, and who comes second finds nothing.
 */
#include "postgres.h"

#include <limits.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "base/base.h"
#include "load/load.h"
#include "load/load_private.h"

static int retention_minutes;

PG_FUNCTION_INFO_V1(walhouse_summarize_loads);

void
wh_load_summary_init(void)
{
	DefineCustomIntVariable(
		"walhouse.load_retention",
		"Age at which loads are added up by the hour; -1: never.", NULL, &retention_minutes,
		7 * 24 * 60, -1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MIN, NULL, NULL, NULL);
}

/* The hour's loads, and what they did to each model: of loads that started before $2. */
static const char *const summarize =
	"WITH bound AS MATERIALIZED (SELECT COALESCE((SELECT l.load_id FROM walhouse.load l WHERE"
	" l.feed_id = $1 AND l.started >= $2 ORDER BY l.load_id LIMIT 1), 9223372036854775807) AS id),"
	" kept AS MATERIALIZED (SELECT m.model_id, (SELECT pg_catalog.max(n.load_id) FROM"
	" walhouse.load_model n WHERE n.model_id = m.model_id) AS load_id FROM walhouse.model m WHERE"
	" m.feed_id = $1),"
	" part AS (DELETE FROM walhouse.load_model m USING bound b, kept k, walhouse.load l WHERE"
	" l.load_id < b.id AND l.feed_id = $1 AND l.load_id = m.load_id AND k.model_id = m.model_id"
	" AND m.load_id < k.load_id"
	" RETURNING m.*, l.kind, l.from_time, l.to_time, pg_catalog.date_trunc('hour', l.started,"
	" 'UTC') AS hour),"
	" whole AS (DELETE FROM walhouse.load l USING bound b WHERE l.load_id < b.id AND l.feed_id ="
	" $1 AND NOT EXISTS (SELECT FROM kept k WHERE k.load_id = l.load_id)"
	" RETURNING l.*, pg_catalog.date_trunc('hour', l.started, 'UTC') AS hour),"
	" parts AS (INSERT INTO walhouse.load_summary (feed_id, model_id, hour, from_load, to_load,"
	" from_lsn, to_lsn, from_time, to_time, loads, builds, errors, inserted, updated, deleted,"
	" inferred, rejected, opened, closed, duration_ms, max_duration_ms, partitions_from,"
	" partitions_to)"
	" SELECT $1, p.model_id, p.hour, pg_catalog.min(p.load_id), pg_catalog.max(p.load_id),"
	" pg_catalog.min(p.from_lsn), pg_catalog.max(p.to_lsn), pg_catalog.min(p.from_time),"
	" pg_catalog.max(p.to_time), pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE p.kind ="
	" 'build'), 0, pg_catalog.sum(p.inserted), pg_catalog.sum(p.updated),"
	" pg_catalog.sum(p.deleted), pg_catalog.sum(p.inferred), pg_catalog.sum(p.rejected),"
	" pg_catalog.sum(p.opened), pg_catalog.sum(p.closed), pg_catalog.sum(p.duration_ms),"
	" pg_catalog.max(p.duration_ms), pg_catalog.min(p.partitions_from),"
	" pg_catalog.max(p.partitions_to) FROM part p GROUP BY p.model_id, p.hour),"
	" wholes AS (INSERT INTO walhouse.load_summary (feed_id, model_id, hour, from_load, to_load,"
	" from_lsn, to_lsn, from_time, to_time, loads, builds, errors, transactions, inserts, updates,"
	" deletes, truncates, duration_ms, max_duration_ms)"
	" SELECT $1, 0, w.hour, pg_catalog.min(w.load_id), pg_catalog.max(w.load_id),"
	" pg_catalog.min(w.from_lsn), pg_catalog.max(w.to_lsn), pg_catalog.min(w.from_time),"
	" pg_catalog.max(w.to_time), pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE w.kind ="
	" 'build'), pg_catalog.count(w.error), pg_catalog.sum(w.transactions),"
	" pg_catalog.sum(w.inserts), pg_catalog.sum(w.updates), pg_catalog.sum(w.deletes),"
	" pg_catalog.sum(w.truncates), pg_catalog.sum(w.duration_ms), pg_catalog.max(w.duration_ms)"
	" FROM whole w GROUP BY w.hour)"
	" SELECT pg_catalog.count(*) FROM whole";

/* summarize_before adds up the loads that started before a time; how many. */
static int64
summarize_before(int32 feed_id, TimestampTz before)
{
	WhArg args[2];

	args[0] = WH_ARG_INT4(feed_id);
	args[1] = WH_ARG_TIMESTAMPTZ(before);
	wh_catalog_execute("DELETE FROM walhouse.dropped_model WHERE feed_id = $1 AND dropped < $2", 2,
					   args);
	return wh_rows_int8(wh_catalog_query(summarize, 2, args), 0, 1);
}

void
wh_load_summarize(int32 feed_id)
{
	if (retention_minutes >= 0)
		summarize_before(feed_id,
						 GetCurrentTimestamp() - retention_minutes * USECS_PER_MINUTE);
}

Datum
walhouse_summarize_loads(PG_FUNCTION_ARGS)
{
	WhFeed *feed = wh_changelog_feed(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);

	wh_user_check_owner(feed->owner, "feed", feed->name);
	wh_txn_mark_own();
	PG_RETURN_INT64(summarize_before(feed->id, PG_GETARG_TIMESTAMPTZ(1)));
}
