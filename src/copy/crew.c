/*
 * crew.c
 *		The first copy of a feed's tables: ranges of their blocks, read by several processes in one
 *		snapshot.
 *
 * Whoever calls create_feed has a transaction open at the source, with the snapshot of the slot's
 * consistent point, and reads nothing in it.  The processes, this one and background workers, take
 * ranges from a board in shared memory.  For each they open a transaction with that snapshot
 * through a connection of their own, so that a table is locked (as by any reader) for a range's
 * time alone, and commit its rows together with a note that they are here.
 *
 * A snapshot shows an empty table after a TRUNCATE and a rewrite, so the file is looked at when a
 * range has come.  An error, whatever it is, concerns one table: it is left to those who read the
 * stream (copy.c), who bring the ranges that are missing, each in a snapshot of its own.  They do
 * the same after a crash at any point, and when the snapshot has been held for
 * walhouse.feed_snapshot_time.
 *
 * What the snapshot has is exact at its position, while nothing was ingested beyond: that is looked
 * at for each range, under a lock that ingest does not share.  So a process that has outlived its
 * caller does no harm.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/spin.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "copy/copy_private.h"
#include "copy/rows.h"

#define RANGE_US 1000000 /* a range should take so long: the table is locked meanwhile */
#define FIRST_RANGE 8 /* blocks */
#define HELPER_BLOCKS 1024 /* for so many there is a helper */

/* A table on the board. */
typedef struct Part
{
	Oid relid; /* at the source */
	int64 blocks;
	int64 next; /* those before were taken */
	bool is_whole; /* one range: nobody may ask where a row lies */
	bool is_left; /* to those who read the stream */
} Part;

typedef struct Board
{
	slock_t mutex; /* of is_over, next and is_left */
	bool is_over; /* nobody waits any more */
	int32 feed_id;
	XLogRecPtr lsn; /* of the snapshot */
	char snapshot[64];
	TimestampTz until; /* it is given up then */
	int processes;
	int count;
	Part parts[FLEXIBLE_ARRAY_MEMBER];
} Board;

/* What a helper is told. */
typedef struct Ticket
{
	Oid database;
	Oid owner;
	dsm_handle board;
} Ticket;

/* A process that reads, and the range that it has. */
typedef struct Reader
{
	Board *board;
	const WhFeed *feed;
	const char *name; /* in points for tests */
	PGconn *plain; /* NULL: none yet */
	bool is_own_database;
	MemoryContext context; /* of a range */
	int part; /* -1: none yet */
	int64 first; /* blocks of the range, */
	int64 end; /* and the one behind them */
	int64 took; /* µs; 0: no range of this table was read */
	int ranges; /* that were read */
} Reader;

extern PGDLLEXPORT void wh_worker_copy_main(Datum arg);

static dsm_segment *post_board(const WhFeed *feed, PGconn *plain);
static void post_part(Board *board, const WhResult *facts, int row);
static void call_off(dsm_segment *segment, Datum board);
static List *start_helpers(const WhFeed *feed, dsm_segment *segment);
static bool can_log_in(Oid role);
static void work(Board *board, const WhFeed *feed, const char *name);
static bool take_range(Reader *reader);
static void read_range(void *arg);
static bool has_connection(Reader *reader);
static void connect_source(void *arg);
static void leave_table(Reader *reader, const ErrorData *error);
static void finish(const WhFeed *feed, const Board *board);
static void tell_of_rest(const WhFeed *feed, const Board *board);

void
wh_crew_enlist(const WhFeed *feed, uint64 xid)
{
	WhArg args[] = {WH_ARG_INT4(feed->id), WH_ARG_INT8((int64) xid)};

	wh_catalog_execute(
		"INSERT INTO walhouse.feed_copy (feed_id, source_relid, command, begun, starts_after)"
		" SELECT feed_id, source_relid, 'CREATE FEED', true, $2 FROM walhouse.feed_table"
		" WHERE feed_id = $1",
		2, args);
}

void
wh_crew_copy(const WhFeed *feed, PGconn *plain)
{
	dsm_segment *segment = post_board(feed, plain);
	Board *board = dsm_segment_address(segment);

	wh_txn_commit();
	wh_copier_point("first: posted");
	PG_TRY();
	{
		List *helpers = start_helpers(feed, segment);

		work(board, feed, "first:");
		foreach_ptr(BackgroundWorkerHandle, helper, helpers)
			(void) WaitForBackgroundWorkerShutdown(helper);
		finish(feed, board);
	}
	PG_FINALLY();
	{
		dsm_detach(segment);
	}
	PG_END_TRY();
}

/* post_board writes down what there is to be read; the caller commits.  A table that is in another
 * file than the snapshot knows is left to those who read the stream. */
static dsm_segment *
post_board(const WhFeed *feed, PGconn *plain)
{
	WhArg arg = WH_ARG_INT4(feed->id);
	WhRows *oids =
		wh_catalog_query("SELECT pg_catalog.array_agg(source_relid)::pg_catalog.text FROM"
						 " walhouse.feed_copy WHERE feed_id = $1",
						 1, &arg);
	const char *list = wh_rows_text(oids, 0, 1);
	WhResult *facts = wh_source_query(
		plain,
		wh_sql("SELECT c.oid, c.relfilenode, pg_catalog.pg_relation_size(c.oid) /"
			   " pg_catalog.current_setting('block_size')::pg_catalog.int8,"
			   " pg_catalog.pg_table_size(c.oid), NULLIF(c.reltuples::pg_catalog.int8,"
			   " -1), " WH_SOURCE_MAY_READ_CTID
			   " FROM pg_catalog.pg_class c WHERE c.oid = ANY (%L::pg_catalog.oid[]) AND"
			   " c.relfilenode = pg_catalog.pg_relation_filenode(c.oid) ORDER BY 1",
			   list != NULL ? list : "{}"));
	WhResult *snapshot = wh_source_query(plain, "SELECT pg_catalog.pg_export_snapshot()");
	Size size = offsetof(Board, parts) + sizeof(Part) * facts->rows;
	dsm_segment *segment = dsm_create(size, 0);
	Board *board = dsm_segment_address(segment);

	dsm_pin_mapping(segment);
	on_dsm_detach(segment, call_off, PointerGetDatum(board));
	memset(board, 0, size);
	SpinLockInit(&board->mutex);
	board->feed_id = feed->id;
	board->lsn = feed->horizon;
	board->until = wh_feed_snapshot_time == 0 ?
					   DT_NOEND :
					   TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												   (int64) wh_feed_snapshot_time * 1000);
	strlcpy(board->snapshot, wh_result_value(snapshot, 0, 0), sizeof(board->snapshot));
	for (int i = 0; i < facts->rows; i++)
		post_part(board, facts, i);
	return segment;
}

static void
post_part(Board *board, const WhResult *facts, int row)
{
	Part *part = &board->parts[board->count++];
	int64 numbers[5];
	WhArg args[6];

	for (int i = 0; i < 5; i++)
	{
		const char *value = wh_result_value(facts, row, i);

		numbers[i] = value != NULL ? strtoll(value, NULL, 10) : 0;
		args[i + 1] = value != NULL ? WH_ARG_INT8(numbers[i]) : WH_ARG_NULL(INT8OID);
	}
	part->relid = (Oid) numbers[0];
	part->blocks = numbers[2];
	part->is_whole = strcmp(wh_result_value(facts, row, 5), "t") != 0;
	args[0] = WH_ARG_INT4(board->feed_id);
	wh_catalog_execute(
		"UPDATE walhouse.feed_copy SET source_file = $3, blocks = $4, all_read = $4 = 0, "
		"bytes_total ="
		" $5, tuples_estimated = $6 WHERE feed_id = $1 AND source_relid = $2",
		6, args);
}

/* call_off has helpers end: the caller has gone, however that was. */
static void
call_off(dsm_segment *segment, Datum arg)
{
	Board *board = (Board *) DatumGetPointer(arg);

	SpinLockAcquire(&board->mutex);
	board->is_over = true;
	SpinLockRelease(&board->mutex);
}

/* start_helpers starts as many as there are to be had, and are worth it. */
static List *
start_helpers(const WhFeed *feed, dsm_segment *segment)
{
	Board *board = dsm_segment_address(segment);
	Ticket ticket = {MyDatabaseId, feed->owner, dsm_segment_handle(segment)};
	char *title = psprintf("walhouse copy of feed %s", feed->name);
	int64 blocks = 0;
	List *helpers = NIL;

	for (int i = 0; i < board->count; i++)
		blocks += board->parts[i].blocks;
	board->processes = 1 + (int) Min(wh_feed_copy_processes - 1, blocks / HELPER_BLOCKS);
	for (int i = 1; i < board->processes && can_log_in(feed->owner); i++)
	{
		BackgroundWorkerHandle *helper;

		if (wh_process_start("walhouse copy worker", title, "wh_worker_copy_main", &ticket,
							 sizeof(ticket), &helper))
			helpers = lappend(helpers, helper);
	}
	return helpers;
}

/* can_log_in: a process may not connect as somebody who may not. */
static bool
can_log_in(Oid role)
{
	HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool can = HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return can;
}

void
wh_worker_copy_main(Datum arg)
{
	Ticket ticket;
	dsm_segment *segment;
	Board *board;

	wh_process_signals();
	memcpy(&ticket, MyBgworkerEntry->bgw_extra, sizeof(ticket));
	wh_process_connect(ticket.database, ticket.owner);
	StartTransactionCommand();
	MemoryContextSwitchTo(PortalContext);
	segment = dsm_attach(ticket.board);
	if (segment == NULL)
		proc_exit(0);
	dsm_pin_mapping(segment);
	board = dsm_segment_address(segment);
	wh_txn_open("the copy worker", false);
	pgstat_report_activity(STATE_RUNNING, "copying");
	work(board, wh_changelog_feed_by_id(board->feed_id, false), "first: helper");
	wh_txn_close();
	CommitTransactionCommand();
	proc_exit(0);
}

/* work reads ranges until there are none.  Who gets no connection leaves them to the others. */
static void
work(Board *board, const WhFeed *feed, const char *name)
{
	Reader reader = {.board = board, .feed = feed, .name = name, .part = -1};
	MemoryContext old = CurrentMemoryContext;
	ErrorData *error;

	reader.context = AllocSetContextCreate(old, "walhouse range", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(reader.context);
	while (has_connection(&reader) && take_range(&reader))
	{
		if (!wh_txn_try(read_range, &reader, &error))
			leave_table(&reader, error);
		wh_txn_commit();
		MemoryContextReset(reader.context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(reader.context);
	if (reader.plain != NULL)
		wh_disconnect(reader.plain);
}

/* take_range gives the reader its next range: one of about RANGE_US, and towards the end of a table
 * smaller ones, so that all are ready at about the same time. */
static bool
take_range(Reader *reader)
{
	Board *board = reader->board;
	int64 blocks = reader->end - reader->first;
	int part = 0;

	if (reader->took > 0)
		blocks = Min(Max(blocks * RANGE_US / reader->took, blocks / 2), blocks * 2);
	if (GetCurrentTimestamp() >= board->until)
		return false;
	SpinLockAcquire(&board->mutex);
	while (part < board->count &&
		   (board->parts[part].is_left || board->parts[part].next >= board->parts[part].blocks))
		part++;
	if (board->is_over)
		part = board->count;
	if (part < board->count)
	{
		Part *one = &board->parts[part];
		int64 rest = one->blocks - one->next;

		if (part != reader->part)
			blocks = FIRST_RANGE;
		blocks = Min(Max(Min(blocks, rest / (2 * board->processes)), FIRST_RANGE), rest);
		if (one->is_whole)
			blocks = rest;
		reader->first = one->next;
		reader->end = one->next += blocks;
	}
	SpinLockRelease(&board->mutex);
	if (part != reader->part)
		reader->took = 0;
	reader->part = part;
	return part < board->count;
}

/* read_range brings a range and notes it, in the caller's transaction. */
static void
read_range(void *arg)
{
	Reader *reader = arg;
	const WhFeed *feed = reader->feed;
	const Part *part = &reader->board->parts[reader->part];
	Oid relid = part->relid;
	WhFeedTable *table;
	WhChunkRead read = {.first = reader->first, .end = reader->end};
	TimestampTz start = GetCurrentTimestamp();
	List *sources;

	wh_lock_copy(feed->id);
	table = wh_changelog_table(feed->id, relid);
	if (table == NULL || strcmp(table->state, "copy") != 0 ||
		wh_changelog_position(feed->id, NULL) != reader->board->lsn)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feed \"%s\" has gone on without its first copy", feed->name)));
	wh_snapshot_use(reader->plain, reader->board->snapshot);
	sources = wh_source_tables(feed, reader->plain, reader->is_own_database, relid);
	if (sources == NIL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("the table is gone at the source")));
	read.rows = wh_snapshot_copy(feed, reader->plain, table, linitial(sources),
								 part->is_whole ? NULL : wh_range_condition(read.first, read.end),
								 &read.bytes);
	wh_snapshot_check(reader->plain, linitial(sources));
	wh_source_query(reader->plain, "COMMIT");
	reader->took = Max(GetCurrentTimestamp() - start, 1);
	wh_copier_point(psprintf("%s range %d", reader->name, ++reader->ranges));
	/* The last thing: others wait for the row of the catalog. */
	wh_copier_store(table, &read, reader->board->lsn);
}

static bool
has_connection(Reader *reader)
{
	ErrorData *error;

	if (reader->plain != NULL || wh_txn_try(connect_source, reader, &error))
		return true;
	ereport(WARNING,
			(errmsg("a process of the first copy of feed \"%s\" has no connection to the source",
					reader->feed->name),
			 errdetail_internal("%s", error->detail != NULL ? error->detail : error->message)));
	return false;
}

static void
connect_source(void *arg)
{
	Reader *reader = arg;
	PGconn *plain = wh_connect(reader->feed, false);

	reader->is_own_database = wh_source_is_own_database(plain);
	wh_source_query(plain, wh_sql("SET enable_seqscan = off; SET enable_tidscan = on; SET"
								  " max_parallel_workers_per_gather = 0; SET lock_timeout = %d",
								  wh_feed_slot_timeout));
	reader->plain = plain;
}

/* leave_table leaves it to those who read the stream.  The connection may be in any state. */
static void
leave_table(Reader *reader, const ErrorData *error)
{
	Part *part = &reader->board->parts[reader->part];
	WhArg args[] = {WH_ARG_INT4(reader->feed->id), WH_ARG_OID(part->relid),
					WH_ARG_TEXT(error->message)};

	SpinLockAcquire(&reader->board->mutex);
	part->is_left = true;
	SpinLockRelease(&reader->board->mutex);
	if (reader->plain != NULL && wh_connect_is_open(reader->plain))
		wh_disconnect(reader->plain);
	reader->plain = NULL;
	reader->took = 0;
	wh_catalog_execute(
		"UPDATE walhouse.feed_copy SET failures = failures + 1, error = $3, changed ="
		" pg_catalog.clock_timestamp() WHERE feed_id = $1 AND source_relid = $2",
		3, args);
}

/* finish makes tables ready that are here, and says which are not. */
static void
finish(const WhFeed *feed, const Board *board)
{
	WhArg arg = WH_ARG_INT4(feed->id);
	WhRows *rows = wh_catalog_query("SELECT source_relid FROM walhouse.feed_copy WHERE feed_id = $1"
									" AND all_read ORDER BY 1",
									1, &arg);
	List *tables = NIL;

	for (uint64 i = 0; i < rows->count; i++)
	{
		WhFeedTable *table = wh_changelog_table(feed->id, wh_rows_oid(rows, i, 1));

		tables = lappend(tables, table);
		wh_changelog_set_table_state(table, "ready", board->lsn, NULL);
		wh_copier_forget(table);
	}
	wh_txn_commit();
	wh_copier_point("first: ready");
	foreach_ptr(WhFeedTable, table, tables)
	{
		WhUser saved;

		wh_user_become(feed->owner, &saved);
		wh_spi_execute(wh_sql("ANALYZE %T", table->mirror), 0, NULL);
		wh_user_restore(&saved);
		wh_txn_commit();
	}
	tell_of_rest(feed, board);
}

static void
tell_of_rest(const WhFeed *feed, const Board *board)
{
	WhArg args[] = {WH_ARG_INT4(feed->id),
					WH_ARG_TEXT(GetCurrentTimestamp() >= board->until ?
									"Its snapshot was given up." :
									"Not all of it was read in the first snapshot.")};
	WhRows *rows = wh_catalog_query(
		"SELECT t.source_schema, t.source_name, COALESCE(c.error, $2) FROM"
		" walhouse.feed_copy c JOIN walhouse.feed_table t USING (feed_id, source_relid) WHERE"
		" c.feed_id = $1 ORDER BY 1, 2",
		lengthof(args), args);

	for (uint64 i = 0; i < rows->count; i++)
		ereport(WARNING,
				(errmsg("table \"%s.%s\" of feed \"%s\" is not copied yet", wh_rows_text(rows, i, 1),
						wh_rows_text(rows, i, 2), feed->name),
				 errdetail_internal("%s", wh_rows_text(rows, i, 3)),
				 errhint("What is missing comes while the feed goes on: SELECT walhouse.start(%s).",
						 wh_sql_literal(feed->name))));
}
