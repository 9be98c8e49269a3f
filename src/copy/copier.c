/*
 * copier.c
 *		Tables that are copied by chunks while the stream goes on: who takes the next step, and
 * when.
 *
 * Whoever has the stream copies, between two ingests, through a connection of its own and without
 * a slot.  Of a chunk:
 *
 *	1. A snapshot is taken at the source, and after it the position where the WAL ends there.  All
 *	   that the snapshot sees has its commit below that.
 *	2. The stream goes on until that position is reached.  Nothing at the source is locked
 *	   meanwhile; a snapshot that waits for too long is given up, and the copy with it until
 * later.
 *	3. A range of the table's blocks is read in the snapshot, its rows are put into the mirror
 *	   (copychunk.c), and that it was read is noted, in one transaction.
 *
 * From then on every row of the range is in the mirror as it is at the feed's position; what the
 * stream brings of the others is kept, too (copied.c): also of rows that move into blocks that were
 * read, or are new in such as were not there.  When there is no range left, the table is ready, and
 * its log begins at the position then.  Where the rows are in another file meanwhile (VACUUM FULL),
 * all of that is read: what the mirror has it keeps.
 *
 * The copy begins at a position from which on ingest knows the table, and after all source
 * transactions have ended that were under way then: so no chunk misses one whose changes came too
 * early to be taken.  That, ranges and keys in the catalog are all that there is: a crash at
 * any point leaves what was committed, and the next session goes on from there.
 *
 * An error concerns one table: it is kept in walhouse.feed_copy, and the step is done again
 * later.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "copy/copy_private.h"

#define SNAPSHOT_MS 10000 /* for so long a snapshot is held while the stream comes nearer */
#define CHUNK_US 200000 /* a chunk should take so long: ingest waits meanwhile */
#define MOST_ROWS_OF_BLOCK 300
#define FIRST_BLOCKS 16
#define PAUSE_MS 1000
#define WAIT_MS 100
#define MAX_PAUSE_S 60

typedef void (*Step)(WhCopier *copier, WhCopy *copy);

/* A step at work, for wh_txn_try. */
typedef struct Work
{
	WhCopier *copier;
	WhCopy *copy;
	Step step;
} Work;

static bool is_wanted(WhCopier *copier);
static WhCopy *next_copy(const WhFeed *feed, Oid relid);
static Step choose_step(WhCopier *copier, WhCopy *copy);
static void take_step(void *arg);
static void begin(WhCopier *copier, WhCopy *copy);
static void open_snapshot(WhCopier *copier, WhCopy *copy);
static void check_begun_late(WhCopier *copier, const WhCopy *copy);
static void read_snapshot(WhCopier *copier);
static void look_at_file(WhCopier *copier, const WhCopy *copy);
static Oid source_file(WhCopier *copier, Oid relid, int64 *blocks);
static void read_chunk(WhCopier *copier, WhCopy *copy);
static int64 first_blocks(void);
static void adapt_blocks(WhCopier *copier, const WhChunkRead *read);
static void finish(WhCopier *copier, WhCopy *copy);
static void close_snapshot(WhCopier *copier);
static void connect_source(WhCopier *copier);
static WhSourceTable *describe(WhCopier *copier, const WhCopy *copy);
static void note_failure(WhCopier *copier, const WhCopy *copy, const ErrorData *error);
static void pause_for(WhCopier *copier, int milliseconds);

bool
wh_copier_step(WhCopier *copier)
{
	MemoryContext context;
	MemoryContext old;
	Work work = {.copier = copier};
	ErrorData *error;

	if (!is_wanted(copier) || GetCurrentTimestamp() < copier->pause)
		return false;
	context = AllocSetContextCreate(CurrentMemoryContext, "walhouse copy", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	work.copy = next_copy(copier->feed, copier->relid);
	if (work.copy != NULL)
		work.step = choose_step(copier, work.copy);
	else
	{
		close_snapshot(copier);
		pause_for(copier, PAUSE_MS);
	}
	if (work.step != NULL)
	{
		if (!wh_txn_try(take_step, &work, &error))
			note_failure(copier, work.copy, error);
		wh_txn_commit();
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return work.step != NULL;
}

static void
take_step(void *arg)
{
	Work *work = arg;

	work->step(work->copier, work->copy);
}

/* is_wanted says whether there are tables to copy; the catalog is asked when it changed. */
static bool
is_wanted(WhCopier *copier)
{
	uint64 generation = wh_changelog_generation();

	if (generation != copier->generation)
	{
		WhArg arg = WH_ARG_INT4(copier->feed->id);

		copier->is_wanted =
			wh_catalog_query("SELECT FROM walhouse.feed_copy WHERE feed_id = $1 LIMIT 1", 1, &arg)
				->count > 0;
		copier->generation = generation;
		copier->pause = 0;
		if (!copier->is_wanted)
			wh_copier_close(copier);
	}
	return copier->is_wanted;
}

bool
wh_copier_is_wanted(const WhCopier *copier)
{
	return copier->is_wanted && GetCurrentTimestamp() >= copier->pause;
}

/* next_copy reads the copy whose turn it is: that of the table whose snapshot is open, or the first
 * that does not wait after a failure; NULL: none. */
static WhCopy *
next_copy(const WhFeed *feed, Oid relid)
{
	WhArg args[] = {WH_ARG_INT4(feed->id), WH_ARG_OID(relid)};
	WhRows *rows = wh_catalog_query(
		"SELECT c.source_relid, c.begun, c.starts_after, c.all_read, c.up_to, c.failures,"
		" EXISTS (SELECT FROM walhouse.feed_copy_key k WHERE k.feed_id = c.feed_id AND"
		" k.source_relid = c.source_relid AND k.owed), c.chunks, COALESCE(c.source_file, 0), "
		"COALESCE("
		"pg_catalog.lower(r.rest), 0), COALESCE(pg_catalog.upper(r.rest), 0) FROM"
		" walhouse.feed_copy c LEFT JOIN LATERAL (SELECT rest FROM pg_catalog.unnest("
		"pg_catalog.int8multirange(pg_catalog.int8range(0, c.blocks)) - c.read) rest WHERE"
		" c.blocks IS NOT NULL ORDER BY 1 LIMIT 1) r ON true JOIN"
		" walhouse.feed_table t USING (feed_id, source_relid) WHERE c.feed_id = $1 AND t.state ="
		" 'copy' AND COALESCE(c.next_try <= pg_catalog.clock_timestamp(), true) AND ($2 = "
		"0::pg_catalog.oid OR"
		" c.source_relid = $2) ORDER BY c.source_relid LIMIT 1",
		2, args);
	WhCopy *copy = palloc0(sizeof(WhCopy));
	bool isnull;
	Datum value;

	if (rows->count == 0)
		return NULL;
	copy->table = wh_changelog_table(feed->id, wh_rows_oid(rows, 0, 1));
	if (copy->table == NULL)
		return NULL;
	copy->begun = wh_rows_bool(rows, 0, 2);
	value = wh_rows_datum(rows, 0, 3, &isnull);
	copy->starts_after = isnull ? 0 : (uint64) DatumGetInt64(value);
	copy->all_read = wh_rows_bool(rows, 0, 4);
	copy->up_to = wh_rows_lsn(rows, 0, 5);
	copy->failures = wh_rows_int4(rows, 0, 6);
	copy->has_owed = wh_rows_bool(rows, 0, 7);
	copy->chunks = wh_rows_int8(rows, 0, 8);
	copy->file = wh_rows_oid(rows, 0, 9);
	copy->first = wh_rows_int8(rows, 0, 10);
	copy->end = wh_rows_int8(rows, 0, 11);
	return copy;
}

/* choose_step says what comes next; NULL: the stream has to come further. */
static Step
choose_step(WhCopier *copier, WhCopy *copy)
{
	bool has_rest = !copy->all_read || copy->has_owed;

	if (OidIsValid(copier->relid) && (!copy->begun || !has_rest))
		close_snapshot(copier);
	if (!copy->begun)
		return begin;
	if (!has_rest)
		return copier->reached(copier->stream, copy->up_to, true) ? finish : NULL;
	if (!OidIsValid(copier->relid))
		return open_snapshot;
	if (copier->reached(copier->stream, copier->lsn, false))
		return read_chunk;
	if (TimestampDifferenceExceeds(copier->opened, GetCurrentTimestamp(), SNAPSHOT_MS))
	{
		close_snapshot(copier);
		pause_for(copier, PAUSE_MS);
	}
	return NULL;
}

/* -------- steps, each in a subtransaction of its own -------- */

/* begin empties the mirror, brings it to the source's definition, and has ingest keep it from here
 * on. */
static void
begin(WhCopier *copier, WhCopy *copy)
{
	const WhFeed *feed = copier->feed;
	WhArg args[6] = {WH_ARG_INT4(feed->id), WH_ARG_OID(copy->table->source_relid)};
	WhSourceTable *source;
	WhResult *facts;
	WhUser saved;

	wh_lock_state(feed->id);
	connect_source(copier);
	source = describe(copier, copy);
	wh_user_become(feed->owner, &saved);
	wh_spi_execute(wh_sql("DELETE FROM %T", copy->table->mirror), 0, NULL);
	wh_user_restore(&saved);
	wh_changelog_redefine(feed, copy->table, source);
	wh_changelog_store_definition(feed->id, source);
	/* While nothing is ingested: what is ingested by now, and not seen at the source, is under way,
	 * with an xid below one of our own.  A snapshot's xmax is only above what has ended. */
	facts = wh_source_query(
		copier->plain,
		wh_sql("SELECT pg_catalog.pg_current_xact_id(),"
			   " pg_catalog.pg_table_size(oid), reltuples::pg_catalog.int8 FROM"
			   " pg_catalog.pg_class WHERE oid = %u",
			   source->relid));
	if (facts->rows == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("the table is gone at the source")));
	for (int i = 0; i < 3; i++)
		args[2 + i] = WH_ARG_INT8(strtoll(wh_result_value(facts, 0, i), NULL, 10));
	wh_catalog_execute(
		"UPDATE walhouse.feed_copy SET begun = true, starts_after = $3, bytes_total = $4,"
		" tuples_estimated = NULLIF($5, -1), source_file = NULL, blocks = NULL, read = '{}', "
		"all_read ="
		" false, up_to = NULL, chunks = 0,"
		" bytes_processed = 0, tuples_processed = 0, tuples_excluded = 0, changed ="
		" pg_catalog.clock_timestamp() WHERE feed_id = $1 AND source_relid = $2",
		5, args);
	wh_catalog_execute("DELETE FROM walhouse.feed_copy_key WHERE feed_id = $1 AND source_relid ="
					   " $2",
					   2, args);
	wh_changelog_invalidate();
	wh_copier_point("copy: begun");
}

/* open_snapshot takes the snapshot of a chunk, and then the position that it needs. */
static void
open_snapshot(WhCopier *copier, WhCopy *copy)
{
	Oid relid = copy->table->source_relid;
	WhResult *result;

	connect_source(copier);
	wh_source_query(copier->plain, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
	read_snapshot(copier);
	if (copier->unseen.xmin < copy->starts_after)
	{
		wh_source_query(copier->plain, "ROLLBACK");
		check_begun_late(copier, copy);
		pause_for(copier, WAIT_MS);
		return;
	}
	copier->waits = 0;
	look_at_file(copier, copy);
	result = wh_source_query(copier->plain, "SELECT pg_catalog.pg_current_wal_insert_lsn()");
	copier->lsn = wh_feed_lsn(copier->feed, wh_source_lsn(wh_result_value(result, 0, 0)));
	copier->opened = GetCurrentTimestamp();
	copier->relid = relid;
}

/* look_at_file notes where the rows are, and forgets what was read elsewhere.  All transactions
 * that the copy does not have from the stream have ended, so there is none of their rows behind
 * the blocks that the file has now. */
static void
look_at_file(WhCopier *copier, const WhCopy *copy)
{
	WhArg args[4] = {WH_ARG_INT4(copy->table->feed_id), WH_ARG_OID(copy->table->source_relid)};
	int64 blocks;

	copier->file = source_file(copier, copy->table->source_relid, &blocks);
	if (copier->file == copy->file)
		return;
	args[2] = WH_ARG_OID(copier->file);
	args[3] = WH_ARG_INT8(blocks);
	wh_catalog_execute(
		"UPDATE walhouse.feed_copy SET source_file = $3, blocks = $4, read = '{}' WHERE"
		" feed_id = $1 AND source_relid = $2",
		4, args);
}

/* check_begun_late raises when transactions that were there before the copy have not ended for too
 * long. */
static void
check_begun_late(WhCopier *copier, const WhCopy *copy)
{
	WhResult *holders;

	if (copier->waits == 0)
		copier->waits = GetCurrentTimestamp();
	if (!TimestampDifferenceExceeds(copier->waits, GetCurrentTimestamp(), wh_feed_slot_timeout))
		return;
	copier->waits = 0;
	holders = wh_source_query(
		copier->plain,
		"SELECT pg_catalog.string_agg(h.pid::pg_catalog.text, ', ' ORDER BY h.pid) FROM"
		" pg_catalog.pg_locks h WHERE h.locktype = 'transactionid' AND h.granted AND h.mode ="
		" 'ExclusiveLock'");
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("the copy of table \"%s\" waits for transactions of the source that were there before it",
					copy->table->source_name),
			 errdetail("Sessions that have written something: %s.",
					   wh_result_value(holders, 0, 0) != NULL ? wh_result_value(holders, 0, 0) :
																"none any more"),
			 errhint("End those transactions; it is tried again.")));
}

/* read_snapshot takes apart what the source says of its transaction's snapshot: xmin:xmax:xip,… */
static void
read_snapshot(WhCopier *copier)
{
	WhResult *result =
		wh_source_query(copier->plain, "SELECT pg_catalog.pg_current_snapshot()");
	char *rest = wh_result_value(result, 0, 0);
	WhUnseen *unseen = &copier->unseen;
	int room = 1;

	MemoryContextReset(copier->context);
	for (char *c = rest; *c != '\0'; c++)
		room += *c == ',';
	unseen->xids = MemoryContextAlloc(copier->context, sizeof(uint32) * room);
	unseen->count = 0;
	unseen->xmin = strtoull(rest, &rest, 10);
	unseen->xmax = *rest == ':' ? (uint32) strtoull(rest + 1, &rest, 10) : 0;
	if (*rest != ':')
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the source sent no snapshot where one was expected")));
	while (*rest != '\0' && rest[1] != '\0')
		unseen->xids[unseen->count++] = (uint32) strtoull(rest + 1, &rest, 10);
}

/* source_file is what the table's rows are in at the source, as committed now: a TRUNCATE and a
 * rewrite show older snapshots an empty table.  InvalidOid: the table is gone. */
static Oid
source_file(WhCopier *copier, Oid relid, int64 *blocks)
{
	WhResult *result = wh_source_query(
		copier->plain,
		wh_sql("SELECT pg_catalog.pg_relation_filenode(%u::pg_catalog.oid),"
			   " pg_catalog.pg_relation_size(%u::pg_catalog.oid) /"
			   " pg_catalog.current_setting('block_size')::pg_catalog.int8",
			   relid, relid));
	const char *file = wh_result_value(result, 0, 0);
	const char *size = wh_result_value(result, 0, 1);

	*blocks = size != NULL ? strtoll(size, NULL, 10) : 0;
	return file != NULL ? (Oid) strtoul(file, NULL, 10) : InvalidOid;
}

static void
read_chunk(WhCopier *copier, WhCopy *copy)
{
	Oid relid = copy->table->source_relid;
	WhChunkRead read = {0};
	WhSourceTable *source;

	wh_lock_ingest(copier->feed->id);
	copy = next_copy(copier->feed, relid);
	if (copy == NULL || !copy->begun)
	{
		close_snapshot(copier);
		return;
	}
	source = describe(copier, copy);
	if (!wh_snapshot_is_defined_so(copy->table, source))
	{
		wh_copier_restart(copy->table);
		close_snapshot(copier);
		return;
	}
	wh_chunk_read(copier, copier->feed, copy, source, &read);
	wh_snapshot_check(copier->plain, source);
	wh_source_query(copier->plain, "COMMIT");
	wh_copier_store(copy->table, &read, copier->lsn);
	copier->relid = InvalidOid;
	if (copy->all_read && read.rows == 0)
		pause_for(copier, WAIT_MS); /* what is owed is not to be seen yet */
	adapt_blocks(copier, &read);
	wh_copier_point(psprintf("copy: chunk %lld", (long long) copy->chunks + 1));
}

static int64
first_blocks(void)
{
	return Max(1, Min(FIRST_BLOCKS, wh_feed_chunk_rows / MOST_ROWS_OF_BLOCK));
}

/* adapt_blocks makes the next chunk as large as fits the time that one should take, and its rows
 * their limit; what each costs however small it is does not count. */
static void
adapt_blocks(WhCopier *copier, const WhChunkRead *read)
{
	int64 blocks = read->end - read->first;
	int64 fit = blocks * CHUNK_US / Max(read->took, 1);

	if (blocks == 0)
		return;
	fit = Min(Max(fit, blocks / 2), blocks * 2);
	if (read->rows > 0)
		fit = Min(fit, blocks * wh_feed_chunk_rows / (int64) read->rows);
	copier->blocks = Max(fit, 1);
}

/* finish makes the table ready: its mirror is exact at the feed's position, and its log begins
 * there. */
static void
finish(WhCopier *copier, WhCopy *copy)
{
	WhUser saved;

	wh_lock_ingest(copier->feed->id);
	copy = next_copy(copier->feed, copy->table->source_relid);
	if (copy == NULL || !copy->begun || !copy->all_read || copy->has_owed)
		return;
	wh_changelog_set_table_state(copy->table, "ready", *copier->position, NULL);
	wh_copier_forget(copy->table);
	copier->blocks = first_blocks();
	wh_user_become(copier->feed->owner, &saved);
	wh_spi_execute(wh_sql("ANALYZE %T", copy->table->mirror), 0, NULL);
	wh_user_restore(&saved);
	ereport(LOG, (errmsg("table \"%s\" of feed \"%s\" is copied", copy->table->source_name,
						 copier->feed->name)));
	wh_copier_point("copy: finished");
}

/* -------- the connection -------- */

static void
connect_source(WhCopier *copier)
{
	if (copier->plain != NULL)
		return;
	copier->plain = wh_connect(copier->feed, false);
	copier->is_own_database = wh_source_is_own_database(copier->plain);
	copier->blocks = first_blocks();
	/* Blocks are read as such, and keys by their index, whatever the planner thinks of it; and the
	 * feed does not wait for whoever has locked the table: the step is done again later. */
	wh_source_query(copier->plain, "SET enable_seqscan = off; SET enable_bitmapscan = off; SET"
								   " enable_tidscan = on; SET enable_indexscan = on;"
								   " SET max_parallel_workers_per_gather = 0;"
								   " SET lock_timeout = '1s'; SET synchronous_commit = off");
}

/* close_snapshot gives up a chunk that was not read. */
static void
close_snapshot(WhCopier *copier)
{
	if (!OidIsValid(copier->relid))
		return;
	copier->relid = InvalidOid;
	wh_source_query(copier->plain, "ROLLBACK");
}

void
wh_copier_close(WhCopier *copier)
{
	if (copier->plain != NULL && wh_connect_is_open(copier->plain))
		wh_disconnect(copier->plain);
	copier->plain = NULL;
	copier->relid = InvalidOid;
}

/* describe asks what the table is; raises where it cannot be copied. */
static WhSourceTable *
describe(WhCopier *copier, const WhCopy *copy)
{
	PGconn *plain = copier->plain;
	List *tables = wh_source_tables(copier->feed, plain, copier->is_own_database,
									copy->table->source_relid);

	if (tables == NIL || ((WhSourceTable *) linitial(tables))->key == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s.%s\" of feed \"%s\" cannot be copied", copy->table->source_schema,
						copy->table->source_name, copier->feed->name),
				 tables == NIL ? errdetail("Publication \"%s\" of the source does not hold it.", copier->feed->publication) : errdetail("It has no key that its replica identity sends."),
				 errhint("Mend it at the source; it is tried again. CALL walhouse.remove_table(%s, %s) gives it up.",
						 wh_sql_literal(copier->feed->name),
						 wh_sql_literal(copy->table->source_name))));
	return linitial(tables);
}

static void
pause_for(WhCopier *copier, int milliseconds)
{
	copier->pause = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), milliseconds);
}

/* -------- the catalog -------- */

/* note_failure keeps an error, and when the step is done again: from the start, if the stream may
 * not have had all of the table.  The connection may be in any state. */
static void
note_failure(WhCopier *copier, const WhCopy *copy, const ErrorData *error)
{
	int seconds = Min(1 << Min(copy->failures, 10), MAX_PAUSE_S);
	char *text = error->detail != NULL ? psprintf("%s: %s", error->message, error->detail) :
										 error->message;
	bool is_lost = error->sqlerrcode == ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	WhArg args[] = {WH_ARG_INT4(copier->feed->id), WH_ARG_OID(copy->table->source_relid),
					WH_ARG_TEXT(text), WH_ARG_INT4(seconds), WH_ARG_BOOL(!is_lost)};

	wh_copier_close(copier);
	wh_catalog_execute(
		"UPDATE walhouse.feed_copy SET begun = begun AND $5, failures = failures + 1, error = $3,"
		" changed = pg_catalog.clock_timestamp(), next_try = pg_catalog.clock_timestamp() + $4 * '1"
		" s'::pg_catalog.interval WHERE feed_id = $1 AND source_relid = $2",
		5, args);
	if (is_lost)
		wh_changelog_invalidate();
	ereport(WARNING,
			(errmsg("the copy of table \"%s\" of feed \"%s\" waits for %d s", copy->table->source_name,
					copier->feed->name, seconds),
			 errdetail_internal("%s", text), errhint("It goes on by itself.")));
}
