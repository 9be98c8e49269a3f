/*
 * state.c
 *		Writes to the catalog of feeds: states of tables, positions; and who caches tables learns
 * that they changed.
 *
 * Positions are appended, and pruned now and then by the one session that holds the feed's
 * stream: never updated.
 */
#include "postgres.h"

#include "access/xact.h"
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
wh_changelog_set_mirror(const WhFeedTable *table, bool on, XLogRecPtr from)
{
	WhArg args[] = {WH_ARG_INT4(table->feed_id), WH_ARG_OID(table->source_relid), WH_ARG_BOOL(on),
					XLogRecPtrIsInvalid(from) ? WH_ARG_NULL(PG_LSNOID) : WH_ARG_LSN(from)};

	wh_catalog_execute("UPDATE walhouse.feed_table SET mirrored = $3, mirrored_from = $4 WHERE "
					   "feed_id = $1 AND source_relid = $2",
					   4, args);
	wh_changelog_invalidate();
}

void
wh_changelog_set_strayed(const WhFeedTable *table, bool strayed)
{
	WhArg args[] = {WH_ARG_INT4(table->feed_id), WH_ARG_OID(table->source_relid),
					WH_ARG_BOOL(strayed)};

	wh_catalog_execute("UPDATE walhouse.feed_table SET strayed = $3 WHERE feed_id = $1 AND "
					   "source_relid = $2",
					   lengthof(args), args);
	wh_changelog_invalidate();
}

void
wh_changelog_set_compared(const WhFeedTable *table, XLogRecPtr lsn)
{
	WhArg args[] = {WH_ARG_INT4(table->feed_id), WH_ARG_OID(table->source_relid), WH_ARG_LSN(lsn)};

	wh_catalog_execute("UPDATE walhouse.feed_table SET compared_lsn = $3 WHERE feed_id = $1 AND "
					   "source_relid = $2",
					   lengthof(args), args);
	wh_changelog_set_table_state(table, "ready", InvalidXLogRecPtr, NULL);
}

/* wh_changelog_store_position writes the row itself: it is part of every ingest, and planning a
 * statement would take longer than the ingest of a small transaction. */
void
wh_changelog_store_position(int32 feed_id, XLogRecPtr position, TimestampTz clock)
{
	WhAppend *positions = wh_changelog_append_open(wh_catalog_relid("feed_position"));
	TupleTableSlot *slot = wh_changelog_append_next(positions);

	memset(slot->tts_isnull, false, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	slot->tts_values[0] = Int32GetDatum(feed_id);
	slot->tts_values[1] = LSNGetDatum(position);
	slot->tts_values[2] = TimestampTzGetDatum(clock);
	slot->tts_values[3] = TimestampTzGetDatum(GetCurrentTimestamp());
	Assert(slot->tts_tupleDescriptor->natts == 4);
	wh_changelog_append_done(positions);
	wh_changelog_append_close(positions);
	CommandCounterIncrement();
}

/* wh_changelog_prune_positions: what was pruned before is passed over, or the index would be read
 * from its dead entries on. */
void
wh_changelog_prune_positions(int32 feed_id, XLogRecPtr from, XLogRecPtr before)
{
	WhArg args[] = {WH_ARG_INT4(feed_id), WH_ARG_LSN(from), WH_ARG_LSN(before)};

	wh_catalog_execute(
		"DELETE FROM walhouse.feed_position WHERE feed_id = $1 AND position >= $2 AND position < "
		"$3",
		3, args);
}
