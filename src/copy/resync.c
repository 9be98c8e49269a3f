/*
 * resync.c
 *		CALL walhouse.resync: a feed goes on after its slot was lost, or its source is another
 * one.
 *
 * (1) feed.resync_lsn says that a resync is under way, and is committed before anything is
 * touched at the source.  (2) The old slot is dropped, a new one is made.  (3) Its consistent
 * point becomes the LSN of one transaction that the source never made; ids and, where the source's
 * LSNs are too low to go on from, lsn_offset are stored.  (4) Table by table, in the snapshot that
 * is exactly that point, checksums are compared, and the rows of parts that differ; what differs
 * is logged at that LSN, and the mirror has it.  (5) The position moves there, resync_lsn goes.
 *
 * The position stays where it was until (5).  What (4) commits stands in the log above it, so
 * that the state at the position is what it was for loads, builds and verify (changes.c of model):
 * they may go on, and see either nothing of a resync or all of it.  The stream cannot be opened
 * meanwhile.
 *
 * A crash anywhere leaves resync_lsn, and the call is made again: with a new slot, whose point is
 * above that of the one before.  Rows that were brought to the source already are equal then, or
 * have changed since, and the log has both steps.  So every commit of (4) counts.
 *
 * The snapshot is held at the source until (5): it keeps VACUUM there from removing what was
 * deleted meanwhile, as a dump does.  Memory is that of the checksums (compare.c); rows go through
 * files.
 *
 * CALL walhouse.resync_table does (4) for one table, at the point of a temporary slot, under the
 * state lock and in one transaction; the position comes there by the stream.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "copy/copy_private.h"

#define SEGMENT (16 * 1024 * 1024) /* what offsets are multiples of: places in WAL files stay */
#define SLICE_CHUNKS 20.0 /* of feed_chunk_rows: what is compared in one transaction */
#define MAX_SLICES 16 /* of a table: each reads the whole of it */

typedef struct Resync
{
	const WhFeed *feed;
	PGconn *plain;
	PGconn *replication;
	WhIdentity source;
	XLogRecPtr lsn; /* of what is logged */
	TimestampTz time; /* at the source */
	TimestampTz clock; /* of the feed, there */
	int64 seq;
	WhDifferenceCounts counts;
} Resync;

static void check_publication(const Resync *run);
static void check_tables(const Resync *run);
static void mark(Resync *run);
static void make_slot(Resync *run, bool is_told, bool failover);
static void move_to_slot(Resync *run, XLogRecPtr at_source);
static XLogRecPtr highest_lsn(const WhFeed *feed);
static void bring_tables(Resync *run);
static void note_filter(const WhFeedTable *table, const WhSourceTable *source);
static char *follow(Resync *run, const WhFeedTable *table, const WhSourceTable *source);
static void stop_table(const Resync *run, const WhFeedTable *table, const char *reason);
static WhParts *compare(const Resync *run, const WhFeedTable *table,
						const WhSourceTable *source);
static void bring_table(Resync *run, const WhFeedTable *table, const WhSourceTable *source);
static bool make_partition(const Resync *run, const WhFeedTable *table);
static void bring_slice(Resync *run, const WhFeedTable *table, const WhSourceTable *source,
						const WhParts *parts, int first, int count);
static void finish(Resync *run);
static void tell(const Resync *run, const char *what);
static bool is_own_database(const Resync *run);

PG_FUNCTION_INFO_V1(walhouse_resync);

Datum
walhouse_resync(PG_FUNCTION_ARGS)
{
	Resync run = {0};
	char *name;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("a feed must be named")));
	wh_txn_open("walhouse.resync", wh_txn_procedure_atomic(fcinfo));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	run.feed = wh_changelog_feed(name, false);
	wh_user_check_owner(run.feed->owner, "feed", run.feed->name);
	if (strcmp(run.feed->state, "ready") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feed \"%s\" is in state %s", run.feed->name, run.feed->state),
				 errhint("CALL walhouse.drop_feed(%s), and create it again.", wh_sql_literal(run.feed->name))));
	wh_feed_take_stream(run.feed, true);
	wh_feed_check_house(run.feed);
	run.plain = wh_connect(run.feed, false);
	run.replication = wh_connect(run.feed, true);
	run.source = wh_source_identity(run.replication);
	check_publication(&run);
	check_tables(&run);
	mark(&run);
	make_slot(&run, !PG_ARGISNULL(1), !PG_ARGISNULL(1) && PG_GETARG_BOOL(1));
	bring_tables(&run);
	finish(&run);
	wh_disconnect(run.plain);
	wh_unlock_stream(run.feed->id);
	tell(&run, psprintf("feed \"%s\"", run.feed->name));
	wh_txn_close();
	PG_RETURN_VOID();
}

static void
check_publication(const Resync *run)
{
	WhResult *result = wh_source_query(
		run->plain, wh_sql("SELECT FROM pg_catalog.pg_publication WHERE pubname = %L",
						   run->feed->publication));

	if (result->rows == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("publication \"%s\" of feed \"%s\" does not exist at the source", run->feed->publication, run->feed->name),
				 errhint("CREATE PUBLICATION %s FOR TABLE … at the source, and try again.",
						 wh_sql_identifier(run->feed->publication))));
}

/*
 * check_tables: tables are known by their OIDs.  Another cluster, which is no copy of the one that
 * the feed was made for, has others, and the same ones for other tables.
 */
static void
check_tables(const Resync *run)
{
	List *sources;

	if (run->feed->source_system_id != NULL &&
		strcmp(run->feed->source_system_id, run->source.system_id) == 0)
		return;
	sources = wh_source_tables(run->feed, run->plain, is_own_database(run), InvalidOid);
	foreach_ptr(WhFeedTable, table, wh_changelog_tables(run->feed->id))
	{
		bool found = false;

		foreach_ptr(WhSourceTable, source, sources)
			found = found || (source->relid == table->source_relid &&
							  strcmp(source->schema, table->source_schema) == 0 &&
							  strcmp(source->name, table->source_name) == 0);
		if (!found)
			ereport(
				ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the source is no copy of the one that feed \"%s\" was made for",
						run->feed->name),
				 errdetail(
					 "Its system identifier is %s, the feed's is %s, and it has no table %s.%s with OID %u.",
					 run->source.system_id,
					 run->feed->source_system_id != NULL ? run->feed->source_system_id :
														   "not known",
					 table->source_schema, table->source_name, table->source_relid),
				 errhint(
					 "CALL walhouse.drop_feed(%s, drop_slot => false), and create the feed again.",
					 wh_sql_literal(run->feed->name))));
	}
}

/* mark says, for good, that a resync is under way: from here on only a resync ends it. */
static void
mark(Resync *run)
{
	WhArg args[] = {WH_ARG_INT4(run->feed->id), WH_ARG_LSN(highest_lsn(run->feed))};

	wh_catalog_execute("UPDATE walhouse.feed SET resync_lsn = $2 WHERE feed_id = $1", 2, args);
	wh_txn_commit();
}

/* highest_lsn is the highest that mirrors, logs and positions know of. */
static XLogRecPtr
highest_lsn(const WhFeed *feed)
{
	XLogRecPtr highest = Max(wh_changelog_position(feed->id, NULL), feed->resync_lsn);

	foreach_ptr(WhFeedTable, table, wh_changelog_tables(feed->id))
		highest = Max(highest, Max(wh_target_begin(table), table->mirrored_from));
	return highest;
}

static void
make_slot(Resync *run, bool is_told, bool failover)
{
	const WhFeed *feed = run->feed;
	XLogRecPtr lsn;
	char *snapshot;

	if (!is_told && PQserverVersion(run->plain) >= 170000)
		failover = wh_source_query(
					   run->plain, wh_sql("SELECT FROM pg_catalog.pg_replication_slots"
										  " WHERE slot_name = %L AND failover",
										  feed->slot))
					   ->rows > 0;
	wh_slot_drop(feed, run->plain);
	lsn = wh_slot_create(feed, run->replication, run->plain, feed->slot,
						 failover ? WH_SLOT_FAILOVER : WH_SLOT_PLAIN, &snapshot);
	wh_snapshot_use(run->plain, snapshot);
	wh_disconnect(run->replication);
	run->time = wh_source_time(run->plain);
	move_to_slot(run, wh_feed_lsn_at_source(feed, lsn));
}

/*
 * move_to_slot stores who the source is, and at which LSN of the feed what differs is logged: above
 * all that there is.
 */
static void
move_to_slot(Resync *run, XLogRecPtr at_source)
{
	WhFeed *feed;
	WhIdentity house = wh_house_identity();
	XLogRecPtr highest;
	WhArg args[3];

	wh_lock_state(run->feed->id);
	run->feed = feed = wh_changelog_feed_by_id(run->feed->id, false);
	highest = highest_lsn(feed);
	if (wh_feed_lsn(feed, at_source) <= highest)
		feed->lsn_offset = (int64) ((highest - at_source) / SEGMENT + 1) * SEGMENT;
	run->lsn = wh_feed_lsn(feed, at_source);
	(void) wh_changelog_position(feed->id, &run->clock);
	run->clock = Max(run->clock, run->time);
	wh_feed_store_identity(feed, &run->source, &house);
	args[0] = WH_ARG_INT4(feed->id);
	args[1] = WH_ARG_LSN(run->lsn);
	args[2] = WH_ARG_INT8(feed->lsn_offset);
	wh_catalog_execute(
		"UPDATE walhouse.feed SET resync_lsn = $2, lsn_offset = $3 WHERE feed_id = $1", 3, args);
	wh_txn_commit();
}

static void
bring_tables(Resync *run)
{
	List *sources =
		wh_source_tables(run->feed, run->plain, is_own_database(run), InvalidOid);

	foreach_ptr(WhFeedTable, table, wh_changelog_tables(run->feed->id))
	{
		WhSourceTable *source = NULL;
		char *reason;

		foreach_ptr(WhSourceTable, one, sources)
			source = one->relid == table->source_relid ? one : source;
		if (strcmp(table->state, "ready") != 0)
			continue; /* it is to be copied in any case */
		reason = follow(run, table, source);
		if (reason != NULL)
			stop_table(run, table, reason);
		wh_txn_commit();
		if (reason == NULL && table->has_mirror)
			bring_table(run, wh_changelog_table_of_mirror(table->mirror), source);
	}
}

/* follow brings mirror and log to a definition; or says why the table is to be copied again. */
static char *
follow(Resync *run, const WhFeedTable *table, const WhSourceTable *source)
{
	char *reason;

	wh_lock_state(run->feed->id);
	if (!wh_target_exists(table))
		return pstrdup("its mirror or its change log was dropped");
	if (wh_target_is_altered(table))
		return pstrdup("its mirror or its change log was altered");
	if (source == NULL)
		return psprintf("publication \"%s\" of the source does not hold it",
						run->feed->publication);
	if (table->mirrored_from > wh_changelog_position(run->feed->id, NULL))
		return pstrdup(
			"its mirror was switched on, and was ahead of the feed when the slot was lost");
	reason = wh_changelog_evolve(run->feed, table, source);
	if (reason != NULL)
		return reason;
	note_filter(table, source);
	wh_changelog_note_definition(table, source, &(WhSchemaChange){.lsn = run->lsn});
	/* Without a mirror nothing can be compared: the log begins anew. */
	if (!table->has_mirror)
		wh_changelog_set_table_state(table, "ready", run->lsn, NULL);
	return NULL;
}

/* note_filter: the comparison knows the filter that there is now. */
static void
note_filter(const WhFeedTable *table, const WhSourceTable *source)
{
	WhArg args[] = {WH_ARG_INT4(table->feed_id), WH_ARG_OID(table->source_relid),
					WH_ARG_NULL(TEXTOID), WH_ARG_BOOL(source->has_column_list)};

	if (source->row_filter != NULL)
		args[2] = WH_ARG_TEXT(source->row_filter);
	wh_catalog_execute("UPDATE walhouse.feed_table SET row_filter = $3, column_list = $4"
					   " WHERE feed_id = $1 AND source_relid = $2",
					   lengthof(args), args);
}

static void
stop_table(const Resync *run, const WhFeedTable *table, const char *reason)
{
	wh_changelog_set_table_state(table, "resync", InvalidXLogRecPtr, reason);
	ereport(WARNING,
			(errmsg("table \"%s\" of feed \"%s\" has to be copied again", table->source_name, run->feed->name),
			 errdetail_internal("%s", reason),
			 errhint("CALL walhouse.resync_table(%s, %s).", wh_sql_literal(run->feed->name),
					 wh_sql_literal(table->source_name))));
}

/* compare raises where the source does not show what the snapshot has; from here on the table is
 * locked there, until the snapshot's transaction ends. */
static WhParts *
compare(const Resync *run, const WhFeedTable *table, const WhSourceTable *source)
{
	WhParts *parts = wh_compare_table(run->feed, run->plain, table, source);

	wh_snapshot_check(run->plain, source);
	return parts;
}

/*
 * bring_table brings a mirror to the snapshot, by slices of the parts that differ; in one, where a
 * key may be in one part as the mirror has it, and in another as the source does.
 */
static void
bring_table(Resync *run, const WhFeedTable *table, const WhSourceTable *source)
{
	WhParts *parts = compare(run, table, source);
	double slice_rows = SLICE_CHUNKS * wh_feed_chunk_rows;
	int slices =
		wh_compare_key_is_exact(table) ? (int) Min(parts->rows / slice_rows + 1, MAX_SLICES) : 1;
	int size = (parts->count + slices - 1) / slices;

	wh_txn_commit();
	for (int first = 0; first < parts->count; first += size)
	{
		MemoryContext context =
			AllocSetContextCreate(CurrentMemoryContext, "walhouse resync", ALLOCSET_DEFAULT_SIZES);
		MemoryContext old = MemoryContextSwitchTo(context);

		wh_lock_ingest(run->feed->id);
		if (make_partition(run, table))
		{
			wh_txn_commit();
			wh_lock_ingest(run->feed->id);
		}
		bring_slice(run, table, source, parts, first, Min(size, parts->count - first));
		wh_txn_commit();
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);
		wh_copier_point("resync: slice");
	}
}

/* make_partition makes the one of a log that the differences belong into; false: it is there. */
static bool
make_partition(const Resync *run, const WhFeedTable *table)
{
	if (OidIsValid(wh_changelog_partition(run->feed, table->log, run->lsn)))
		return false;
	wh_changelog_make_partition(run->feed, table->log, run->lsn);
	CommandCounterIncrement();
	return true;
}

static void
bring_slice(Resync *run, const WhFeedTable *table, const WhSourceTable *source,
			const WhParts *parts, int first, int count)
{
	WhDifference *difference;
	WhDifferenceCounts counts;

	difference = wh_difference_begin(run->feed, table, source, run->lsn, run->seq);
	wh_difference_take(difference, run->plain,
					   wh_compare_source_condition(run->plain, source, parts, first, count));
	counts = wh_difference_write(
		difference, wh_compare_mirror_condition(run->plain, table, source, parts, first, count));
	wh_difference_log(run->feed, run->lsn, run->time, run->clock, &counts);
	run->seq = wh_difference_seq(difference);
	run->counts.inserts += counts.inserts;
	run->counts.updates += counts.updates;
	run->counts.deletes += counts.deletes;
}

/* finish moves the position, for good, before anybody can confirm it. */
static void
finish(Resync *run)
{
	WhArg arg = WH_ARG_INT4(run->feed->id);

	wh_lock_ingest(run->feed->id);
	(void) set_config_option("synchronous_commit", "local", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	wh_changelog_store_position(run->feed->id, run->lsn, run->clock);
	wh_changelog_prune_positions(run->feed->id, InvalidXLogRecPtr, run->lsn);
	wh_catalog_execute("UPDATE walhouse.feed SET resync_lsn = NULL, error = NULL, error_time = NULL"
					   " WHERE feed_id = $1",
					   1, &arg);
	wh_copier_restart_all(run->feed);
	wh_txn_commit();
}

bool
wh_resync_compare(const WhFeed *feed, PGconn *plain, const WhFeedTable *table,
				  const WhSourceTable *source, XLogRecPtr lsn)
{
	Resync run = {.feed = feed, .plain = plain, .lsn = lsn, .time = wh_source_time(plain)};
	XLogRecPtr position = wh_changelog_position(feed->id, &run.clock);
	WhParts *parts;

	if (!table->has_mirror || table->has_strayed || strcmp(table->state, "resync") != 0 ||
		lsn <= position || table->mirrored_from > position ||
		wh_changelog_evolve(feed, table, source) != NULL)
		return false;
	run.clock = Max(run.clock, run.time);
	note_filter(table, source);
	wh_changelog_note_definition(table, source, &(WhSchemaChange){.lsn = lsn});
	CommandCounterIncrement();
	table = wh_changelog_table_of_mirror(table->mirror);
	parts = compare(&run, table, source);
	if (parts->count > 0)
	{
		(void) make_partition(&run, table);
		bring_slice(&run, table, source, parts, 0, parts->count);
	}
	wh_changelog_set_compared(table, lsn);
	tell(&run, psprintf("table \"%s\" of feed \"%s\"", table->source_name, feed->name));
	return true;
}

static void
tell(const Resync *run, const char *what)
{
	ereport(NOTICE,
			(errmsg("%s goes on from %X/%X", what, LSN_FORMAT_ARGS(run->lsn)),
			 errdetail("Rows that the source had and the mirrors had not: %lld; that differed: %lld; that the source had no more: %lld.",
					   (long long) run->counts.inserts, (long long) run->counts.updates,
					   (long long) run->counts.deletes)));
}

static bool
is_own_database(const Resync *run)
{
	WhIdentity house = wh_house_identity();

	return strcmp(run->source.system_id, house.system_id) == 0 &&
		   run->source.database == house.database;
}
