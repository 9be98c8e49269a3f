/*
 * state.c
 *		Writes to the catalog of feeds: states of tables, positions; and who caches tables learns
 * that they changed.
 *
 * Positions are appended, and pruned now and then by the one session that holds the feed's
 * stream: never updated.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"

#include "base/base.h"
#include "changelog/changelog.h"
#include "changelog/changelog_private.h"

static uint64 generation = 1;
static Oid feed_table_relid = InvalidOid;

/* note_invalidation counts what wh_changelog_invalidate() sends, and what means everything. */
static void
note_invalidation(Datum arg, Oid relid)
{
	if (relid == feed_table_relid || !OidIsValid(relid))
		generation++;
}

void
wh_changelog_state_init(void)
{
	CacheRegisterRelcacheCallback(note_invalidation, (Datum) 0);
}

uint64
wh_changelog_generation(void)
{
	Oid relid = wh_catalog_relid("feed_table");

	if (relid != feed_table_relid)
	{
		feed_table_relid = relid;
		generation++;
	}
	return generation;
}

void
wh_changelog_invalidate(void)
{
	CacheInvalidateRelcacheByRelid(wh_catalog_relid("feed_table"));
}

void
wh_changelog_set_table_state(const WhFeedTable *table, const char *state, XLogRecPtr sync_lsn,
							 const char *error)
{
	WhArg args[] = {
		WH_ARG_INT4(table->feed_id),
		WH_ARG_OID(table->source_relid),
		WH_ARG_TEXT(state),
		XLogRecPtrIsInvalid(sync_lsn) ? WH_ARG_NULL(PG_LSNOID) : WH_ARG_LSN(sync_lsn),
		WH_ARG_TEXT(error)};

	wh_catalog_execute(
		"UPDATE walhouse.feed_table SET state = $3, sync_lsn = COALESCE($4, sync_lsn), error = $5,"
		" error_time = CASE WHEN $5 IS NOT NULL THEN pg_catalog.now() END"
		" WHERE feed_id = $1 AND source_relid = $2",
		5, args);
	wh_changelog_invalidate();
}

void
wh_changelog_store_position(int32 feed_id, XLogRecPtr position, TimestampTz clock)
{
	WhArg args[] = {WH_ARG_INT4(feed_id), WH_ARG_LSN(position), WH_ARG_TIMESTAMPTZ(clock)};

	wh_catalog_execute(
		"INSERT INTO walhouse.feed_position (feed_id, position, clock) VALUES ($1, $2, $3)", 3,
		args);
}

void
wh_changelog_prune_positions(int32 feed_id)
{
	WhArg arg = WH_ARG_INT4(feed_id);

	wh_catalog_execute(
		"DELETE FROM walhouse.feed_position WHERE feed_id = $1 AND position <"
		" (SELECT position FROM walhouse.feed_position WHERE feed_id = $1 ORDER BY position DESC "
		"LIMIT 1)",
		1, &arg);
}
