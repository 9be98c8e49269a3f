/*
 * ingest.c
 *		Source transactions into log and mirror: steps 2 to 6 of the design, within one
 * transaction.
 *
 * Changes are walked in commit order over a map key -> row.  A row's image before its first
 * change in a source transaction goes to the log as B, so that the log does not depend on how it
 * was cut; then comes the change.  The mirror is written at the end, or for a large transaction
 * whenever the memory is used up: then the map is emptied and begins again from the mirror, where
 * rows that this transaction wrote carry its xid, by which they need no second B.  That is why a
 * large transaction, and one with a TRUNCATE, is ingested alone.
 *
 * A table whose mirror is off has its changes logged alone.  The rows as they were come with the
 * stream then (replica identity FULL), each with its change; the map still tells which of them
 * this source transaction has touched before.  Of a transaction by chunks the mirror holds the
 * rows that it has touched until it ends, so that the same rule applies.  What a TRUNCATE removes
 * nobody knows: the log begins anew there.  A mirror that was switched on again has a copy from
 * further on than what is ingested: it is left alone until then, and of a transaction by chunks
 * the map remembers the keys that it has touched.
 *
 * A table that is being copied by chunks is mirrored as far as it is there, and not logged
 * (copy/copied.c).
 *
 * A change that does not fit the mirror is an error with the table named in `current`; the caller
 * puts that table in state resync and does the ingest again without it.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "feed/feed_private.h"
#include "wire/walhouse.pb-c.h"

#define CLOCK_AHEAD (USECS_PER_HOUR)
#define LOOK_EVERY 256

/* A table at work. */
typedef struct Table
{
	WhTarget *target;
	bool is_mirrored;
	bool is_truncated; /* without its mirror: the log begins anew */
	WhAppend *mirror;
	WhAppend *log;
	XLogRecPtr log_from; /* the range of LSNs that the open partition of the log has */
	XLogRecPtr log_to;
	WhKeymap *map;
	WhCopied *copied; /* it is being copied: its changes are not logged; else NULL */
} Table;

typedef struct Work
{
	WhIngest *ingest;
	WhTransaction *txn; /* being walked */
	bool by_chunks;
	MemoryContext context; /* of the whole */
	MemoryContext chunk; /* of images, until the mirror is written */
	Size kept; /* bytes that it has when it is empty */
	List *tables; /* of Table * */
	WhAppend *txns;
	WhChunks *chunks; /* pieces of values whose row is to come */
	WhTallies *tallies;
	uint64 changes;
	uint64 logged_before; /* when the transaction began */
	int64 operations[3]; /* of its changes that are wanted: inserts, updates, deletes */
	int32 truncates;
} Work;

static WhAppend *open_txn(const WhFeed *feed);
static void walk_transaction(Work *work);
static void walk_rows(Work *work, WhWireRows *rows);
static void walk_change(Work *work, Table *table, WhReader *reader, const WhWireRows *rows,
						int64 seq, WhSlice after, WhSlice before);
static bool chunk_is_full(Work *work);
static void walk_truncate(Work *work, WhSlice payload);
static Table *find_table(Work *work, const WhDefinition *definition);
static Table *open_table(Work *work, WhTarget *target);
static void check_columns(const Table *table, WhAppend *append, TupleDesc desc);
pg_noreturn static void refuse_altered(const Table *table);
static void open_log(Work *work, Table *table);
static void apply_update(Work *work, Table *table, int64 seq, WhImage *after, WhImage *before);
static void apply_rewritten(Work *work, Table *table, int64 seq, WhImage *now);
static void apply_delete(Work *work, Table *table, int64 seq, WhImage *before);
static void apply_truncate(Work *work, Table *table, int64 seq);
static void remove_rows(Work *work, Table *table, int64 seq, bool is_logged);
static void check_before(const Table *table, WhOp op, WhBeforeKind before_kind);
static WhRow *find_present(Work *work, Table *table, const WhImage *image, WhImage *before,
						   const char *what);
static void touch(Work *work, Table *table, WhRow *row, int64 seq);
static void add_present(Work *work, Table *table, int64 seq, WhImage *image);
static void fill_unchanged(Table *table, WhImage *after, const WhImage *from);
static TupleTableSlot *start_log_row(Work *work, Table *table, int64 seq, char op);
static void log_row(Work *work, Table *table, int64 seq, char op, const WhImage *image);
static void log_key(Work *work, Table *table, int64 seq, const WhImage *image);
static void log_transaction(Work *work);
static Datum told_array(List *told);
static bool reads_mirror(const Work *work, const Table *table);
static void end_unmirrored(Work *work);
static void end_chunk(Work *work);
static void write_mirror(Work *work, Table *table);
static WhReader *reader_of(Work *work, WhDefinition *definition);

void
wh_ingest(void *arg)
{
	WhIngest *ingest = arg;
	Work work = {.ingest = ingest};
	MemoryContext caller = CurrentMemoryContext;
	WhUser saved;

	work.context = AllocSetContextCreate(caller, "walhouse ingest", ALLOCSET_DEFAULT_SIZES);
	work.chunk = ingest->chunk;
	MemoryContextReset(work.chunk);
	work.kept = MemoryContextMemAllocated(work.chunk, true);
	MemoryContextSwitchTo(work.context);
	ingest->current = NULL;
	ingest->logged = 0;
	wh_user_become(ingest->feed->owner, &saved);
	PushActiveSnapshot(GetTransactionSnapshot());
	work.chunks = wh_chunks_create();
	work.tallies = wh_tally_create();
	work.txns = open_txn(ingest->feed);
	foreach_ptr(WhTransaction, txn, ingest->transactions)
	{
		work.txn = txn;
		work.by_chunks = wh_spool_is_large(txn);
		work.logged_before = ingest->logged;
		walk_transaction(&work);
		if (ingest->logged > work.logged_before)
			log_transaction(&work);
	}
	end_chunk(&work);
	end_unmirrored(&work);
	foreach_ptr(Table, table, work.tables)
	{
		if (table->copied != NULL)
			wh_copied_close(table->copied);
		table->target->met = wh_keymap_close(table->map);
		wh_changelog_append_close(table->log);
		wh_changelog_append_close(table->mirror);
	}
	wh_changelog_append_close(work.txns);
	PopActiveSnapshot();
	wh_user_restore(&saved);
	MemoryContextReset(work.chunk);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work.context);
}

static WhAppend *
open_txn(const WhFeed *feed)
{
	Oid txn = wh_changelog_txn_relid(feed);
	WhAppend *append = wh_changelog_append_open(txn);

	if (!wh_target_fits_txn(txn))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s was altered", wh_sql_relation(txn)),
				 errhint("Alter it back.")));
	return append;
}

static void
walk_transaction(Work *work)
{
	WhSlice message;

	memset(work->operations, 0, sizeof(work->operations));
	work->truncates = 0;
	wh_spool_rewind(work->txn);
	while (wh_spool_next(work->txn, &message))
	{
		WhEntry entry;
		WhWireError error = NULL;

		while (wh_wire_next_entry(&message, &entry, &error))
		{
			if (entry.kind == WH_ENTRY_CHUNK)
				wh_chunks_add(work->chunks, &entry.u.chunk);
			else if (entry.kind == WH_ENTRY_STREAM_STOP)
				wh_chunks_clear(work->chunks);
			else if (entry.kind == WH_ENTRY_ROWS)
				walk_rows(work, &entry.u.rows);
			else if (entry.kind == WH_ENTRY_TRUNCATE)
				walk_truncate(work, entry.payload);
		}
		if (error != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_PROTOCOL_VIOLATION),
					 errmsg("malformed message of the source: %s", error)));
		work->ingest->breathe(work->ingest->stream);
		CHECK_FOR_INTERRUPTS();
	}
	wh_chunks_clear(work->chunks);
	work->ingest->current = NULL;
	wh_tally_check(work->tallies, work->txn);
}

static void
walk_rows(Work *work, WhWireRows *rows)
{
	WhDefinition *definition = work->ingest->definition(work->ingest->stream, rows->schema);
	bool is_void = wh_spool_is_void(work->txn, rows->subxid);
	Table *table = is_void ? NULL : find_table(work, definition);
	WhReader *reader = table == NULL ? NULL : reader_of(work, definition);
	WhWireTally *tally = is_void ? NULL : wh_tally_of(work->tallies, definition->relid);
	WhSlice after;
	WhSlice before;
	WhWireError error = NULL;
	int64 seq = rows->first_seq;

	while (wh_wire_next_change(rows, &after, &before, &error))
	{
		if (tally != NULL)
			wh_tally_row(tally, rows->op, after, before);
		if (table != NULL)
			walk_change(work, table, reader, rows, seq, after, before);
		else if (!wh_chunks_is_empty(work->chunks))
		{
			wh_chunks_drop(work->chunks, after);
			wh_chunks_drop(work->chunks, before);
		}
		seq++;
	}
	if (error != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("malformed message of the source: %s", error)));
}

static void
walk_change(Work *work, Table *table, WhReader *reader, const WhWireRows *rows, int64 seq,
			WhSlice after, WhSlice before)
{
	WhOp op = rows->op;
	WhImage *old = NULL;
	WhImage *new = NULL;

	if (!table->is_mirrored)
		check_before(table, op, rows->before_kind);
	MemoryContextSwitchTo(work->chunk);
	if (after.data != NULL)
		new = wh_reader_read(reader, work->chunks, after.data, after.len);
	if (before.data != NULL)
		old = wh_reader_read(reader, work->chunks, before.data, before.len);
	if ((op == WH_OP_DELETE ? old : new) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("a change of table \"%s\" came without its row", table->target->table->source_name),
				 errdetail("Its replica identity does not send a key.")));
	if (table->copied != NULL)
		wh_copied_apply(table->copied, work->txn->xid, work->txn->end_lsn, new, old,
						rows->before_kind == WH_BEFORE_FULL);
	else if (op == WH_OP_INSERT)
		add_present(work, table, seq, new);
	else if (rows->is_rewritten)
		apply_rewritten(work, table, seq, new);
	else if (op == WH_OP_UPDATE)
		apply_update(work, table, seq, new, old);
	else
		apply_delete(work, table, seq, old);
	if (table->copied == NULL)
		work->operations[op == WH_OP_INSERT ? 0 : op == WH_OP_UPDATE ? 1 :
																	   2]++;
	MemoryContextSwitchTo(work->context);
	if (chunk_is_full(work))
		end_chunk(work);
}

/* chunk_is_full looks at the images after each change, and at the keys now and then. */
static bool
chunk_is_full(Work *work)
{
	Size limit = (Size) wh_feed_memory * 1024;
	Size images;

	if (!work->by_chunks)
		return false;
	images = MemoryContextMemAllocated(work->chunk, true) - work->kept;
	if (images > limit)
		return true;
	return ++work->changes % LOOK_EVERY == 0 &&
		   MemoryContextMemAllocated(work->context, true) + images > limit + limit / 4;
}

static void
walk_truncate(Work *work, WhSlice payload)
{
	Walhouse__V1__Truncate *truncate =
		walhouse__v1__truncate__unpack(NULL, payload.len, payload.data);
	int32 *schemas;
	size_t count;
	int64 seq;

	if (truncate == NULL)
		ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION), errmsg("malformed message of the source: truncate")));
	count = wh_spool_is_void(work->txn, truncate->subxid) ? 0 : truncate->n_schema;
	seq = truncate->seq;
	schemas = MemoryContextAlloc(work->context, sizeof(int32) * (count + 1));
	memcpy(schemas, truncate->schema, sizeof(int32) * count);
	walhouse__v1__truncate__free_unpacked(truncate, NULL);
	for (size_t i = 0; i < count; i++)
	{
		WhDefinition *definition = work->ingest->definition(work->ingest->stream, schemas[i]);
		Table *table = find_table(work, definition);

		wh_tally_of(work->tallies, definition->relid)->truncates++;
		if (table == NULL)
			continue;
		apply_truncate(work, table, seq);
		work->truncates += table->copied == NULL;
	}
}

/* find_table finds the table of a definition; NULL when this transaction's changes of it are not
 * wanted. */
static Table *
find_table(Work *work, const WhDefinition *definition)
{
	WhTarget *target = definition->target;
	WhWant want = target == NULL ? WH_WANT_NOTHING : wh_target_want(target, work->txn->end_lsn);

	if (want == WH_WANT_NOTHING)
		return NULL;
	work->ingest->current = target;
	foreach_ptr(Table, table, work->tables)
	{
		if (table->target != target)
			continue;
		/* From here on the mirror has what the map was told by the stream. */
		if (table->is_mirrored != (want != WH_WANT_LOG))
			wh_keymap_reset(table->map);
		table->is_mirrored = want != WH_WANT_LOG;
		if (work->txn->end_lsn < table->log_from || work->txn->end_lsn >= table->log_to)
		{
			wh_changelog_append_close(table->log);
			open_log(work, table);
		}
		return table;
	}
	return open_table(work, target);
}

static Table *
open_table(Work *work, WhTarget *target)
{
	MemoryContext old = MemoryContextSwitchTo(work->context);
	Table *table = palloc0(sizeof(Table));

	if (!wh_target_exists(target->table))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("mirror or change log of \"%s\" was dropped", target->table->source_name)));
	table->target = target;
	table->is_mirrored = wh_target_want(target, work->txn->end_lsn) != WH_WANT_LOG;
	table->mirror = wh_changelog_append_open(target->table->mirror);
	open_log(work, table);
	table->map = wh_keymap_open(target, wh_changelog_append_relation(table->mirror));
	if (target->table->is_copied)
		table->copied = wh_copied_open(target, table->map);
	check_columns(table, table->mirror, target->desc);
	work->tables = lappend(work->tables, table);
	MemoryContextSwitchTo(old);
	return table;
}

/* check_columns holds a mirror, or a partition of a log, to the columns that values are made for.
 */
static void
check_columns(const Table *table, WhAppend *append, TupleDesc desc)
{
	if (!wh_target_has_columns(wh_changelog_append_relation(append), desc))
		refuse_altered(table);
}

static void
refuse_altered(const Table *table)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("mirror or change log of \"%s\" was altered",
					table->target->table->source_name)));
}

/* open_log opens the partition of a table's log that the transaction's rows go to; it was found by
 * its name. */
static void
open_log(Work *work, Table *table)
{
	MemoryContext old = MemoryContextSwitchTo(work->context);
	const WhFeed *feed = work->ingest->feed;
	XLogRecPtr lsn = work->txn->end_lsn;

	table->log = wh_changelog_append_open(
		wh_changelog_partition(feed, table->target->table->log, lsn));
	wh_changelog_partition_range(feed, lsn, &table->log_from, &table->log_to);
	check_columns(table, table->log, table->target->log_desc);
	if (!wh_changelog_append_relation(table->log)->rd_rel->relispartition ||
		!wh_target_fits_log(RelationGetRelid(wh_changelog_append_relation(table->log))))
		refuse_altered(table);
	MemoryContextSwitchTo(old);
}

static WhReader *
reader_of(Work *work, WhDefinition *definition)
{
	if (definition->reader == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(definition->target));
		Walhouse__V1__Relation *relation =
			walhouse__v1__relation__unpack(NULL, definition->packed.len, definition->packed.data);

		definition->reader =
			wh_reader_create(definition->target, relation, work->ingest->source_encoding);
		walhouse__v1__relation__free_unpacked(relation, NULL);
		MemoryContextSwitchTo(old);
	}
	return definition->reader;
}

static void
apply_update(Work *work, Table *table, int64 seq, WhImage *after, WhImage *before)
{
	WhRow *row;

	if (before != NULL && !wh_keymap_same_key(table->map, before, after))
	{
		WhImage *was;

		row = find_present(work, table, before, before, "an update");
		was = row->image;
		touch(work, table, row, seq);
		log_key(work, table, seq, was);
		row->image = NULL;
		fill_unchanged(table, after, was);
		add_present(work, table, seq, after);
		return;
	}
	row = find_present(work, table, after, before, "an update");
	touch(work, table, row, seq);
	fill_unchanged(table, after, row->image);
	row->image = after;
	log_row(work, table, seq, 'U', after);
}

/* apply_rewritten logs a row of a table that was written anew, if it is another one now. */
static void
apply_rewritten(Work *work, Table *table, int64 seq, WhImage *now)
{
	WhRow *row = find_present(work, table, now, NULL, "a rewrite");

	fill_unchanged(table, now, row->image);
	if (wh_keymap_same_image(table->target, row->image, now))
		return;
	touch(work, table, row, seq);
	row->image = now;
	log_row(work, table, seq, 'U', now);
}

static void
apply_delete(Work *work, Table *table, int64 seq, WhImage *before)
{
	WhRow *row = find_present(work, table, before, before, "a delete");

	touch(work, table, row, seq);
	log_key(work, table, seq, row->image);
	row->image = NULL;
}

/* apply_truncate writes what there is to the mirror, and then reads and removes all of it. */
static void
apply_truncate(Work *work, Table *table, int64 seq)
{
	end_chunk(work);
	work->ingest->current = table->target;
	if (reads_mirror(work, table))
		remove_rows(work, table, seq, table->is_mirrored && table->copied == NULL);
	table->is_truncated = !table->is_mirrored;
	if (table->copied != NULL)
		wh_copied_truncate(table->copied);
	else
		log_row(work, table, seq, 'T', NULL);
	end_chunk(work);
}

/* remove_rows empties the mirror; is_logged: with a B for each row that this transaction has not
 * touched yet. */
static void
remove_rows(Work *work, Table *table, int64 seq, bool is_logged)
{
	Relation mirror = wh_changelog_append_relation(table->mirror);
	TupleTableSlot *slot = table_slot_create(mirror, NULL);
	TableScanDesc scan = table_beginscan(mirror, GetActiveSnapshot(), 0, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext old = MemoryContextSwitchTo(work->chunk);
		ItemPointerData tid;
		bool is_own;
		WhImage *image = wh_keymap_image(table->target, slot, &tid, &is_own);

		if (is_logged && !is_own)
			log_row(work, table, seq, 'B', image);
		wh_changelog_delete_row(table->mirror, &tid);
		MemoryContextSwitchTo(old);
		if (MemoryContextMemAllocated(work->chunk, true) - work->kept >
			(Size) wh_feed_memory * 1024)
		{
			wh_changelog_append_flush(table->log);
			MemoryContextReset(work->chunk);
		}
		CHECK_FOR_INTERRUPTS();
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

/* check_before: without the mirror the stream must bring the row as it was. */
static void
check_before(const Table *table, WhOp op, WhBeforeKind before_kind)
{
	if (op == WH_OP_INSERT || before_kind == WH_BEFORE_FULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("a change of table \"%s\" came without the row as it was", table->target->table->source_name),
			 errdetail("Its mirror is off, and its replica identity is not FULL any more."),
			 errhint("ALTER TABLE %s.%s REPLICA IDENTITY FULL at the source.",
					 wh_sql_identifier(table->target->table->source_schema),
					 wh_sql_identifier(table->target->table->source_name))));
}

/* find_present finds the row that a change is about, and raises when there is none; without a
 * mirror it is what the stream says that it was, unless the map knows it. */
static WhRow *
find_present(Work *work, Table *table, const WhImage *image, WhImage *before, const char *what)
{
	WhRow *row = wh_keymap_find(table->map, image, !reads_mirror(work, table), work->txn->end_lsn);

	if (row->image == NULL && !table->is_mirrored)
		row->image = before;
	if (row->image == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("%s of table \"%s\" is about a row that the mirror does not have", what,
						table->target->table->source_name),
				 errdetail("Key: %s; source transaction %u at %X/%X.", wh_keymap_describe(table->map, image), work->txn->xid,
						   LSN_FORMAT_ARGS(work->txn->end_lsn))));
	return row;
}

/* touch logs the row as it was, once in each source transaction, before its first change there. */
static void
touch(Work *work, Table *table, WhRow *row, int64 seq)
{
	if (row->touched != work->txn->end_lsn)
		log_row(work, table, seq, 'B', row->image);
	row->touched = work->txn->end_lsn;
	row->is_changed = true;
}

/* add_present logs a row that comes into being. */
static void
add_present(Work *work, Table *table, int64 seq, WhImage *image)
{
	WhRow *row = wh_keymap_find(table->map, image, true, work->txn->end_lsn);

	if (row->image != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("an insert into table \"%s\" is about a row that the mirror has already",
						table->target->table->source_name),
				 errdetail("Key: %s; source transaction %u at %X/%X.", wh_keymap_describe(table->map, image), work->txn->xid,
						   LSN_FORMAT_ARGS(work->txn->end_lsn))));
	row->image = image;
	row->touched = work->txn->end_lsn;
	row->is_changed = true;
	log_row(work, table, seq, 'I', image);
}

/* fill_unchanged takes TOAST that was not sent from the row as it was. */
static void
fill_unchanged(Table *table, WhImage *after, const WhImage *from)
{
	for (int i = 0; after->unchanged != NULL && i < table->target->desc->natts; i++)
	{
		if (after->unchanged[i])
		{
			after->values[i] = from->values[i];
			after->nulls[i] = from->nulls[i];
		}
	}
	after->unchanged = NULL;
}

/* start_log_row gives a row for the log, with NULL in all columns but the first three. */
static TupleTableSlot *
start_log_row(Work *work, Table *table, int64 seq, char op)
{
	TupleTableSlot *slot = wh_changelog_append_next(table->log);

	memset(slot->tts_isnull, true, sizeof(bool) * table->target->log_natts);
	slot->tts_values[0] = LSNGetDatum(work->txn->end_lsn);
	slot->tts_values[1] = Int64GetDatum(seq);
	slot->tts_values[2] = CharGetDatum(op);
	slot->tts_isnull[0] = slot->tts_isnull[1] = slot->tts_isnull[2] = false;
	work->ingest->logged++;
	return slot;
}

/* log_row logs a whole image; NULL for none. */
static void
log_row(Work *work, Table *table, int64 seq, char op, const WhImage *image)
{
	TupleTableSlot *slot = start_log_row(work, table, seq, op);

	for (int i = 0; image != NULL && i < table->target->desc->natts; i++)
	{
		int to = table->target->log_attno[i];

		if (to >= 0)
		{
			slot->tts_values[to] = image->values[i];
			slot->tts_isnull[to] = image->nulls[i];
		}
	}
	wh_changelog_append_done(table->log);
}

/* log_key logs a D: the key alone. */
static void
log_key(Work *work, Table *table, int64 seq, const WhImage *image)
{
	TupleTableSlot *slot = start_log_row(work, table, seq, 'D');

	for (int i = 0; i < table->target->nkeys; i++)
	{
		int from = table->target->key[i];
		int to = table->target->log_attno[from];

		slot->tts_values[to] = image->values[from];
		slot->tts_isnull[to] = false;
	}
	wh_changelog_append_done(table->log);
}

/* log_transaction adds the transaction's row, and moves the clock. */
static void
log_transaction(Work *work)
{
	WhIngest *ingest = work->ingest;
	WhTransaction *txn = work->txn;
	MemoryContext old = MemoryContextSwitchTo(work->chunk);
	TupleTableSlot *slot = wh_changelog_append_next(work->txns);
	Datum *values = slot->tts_values;

	ingest->current = NULL;
	ingest->clock = wh_ahead_clock(ingest->ahead, txn->end_lsn, ingest->clock);
	if (txn->commit_time > ingest->source_time + CLOCK_AHEAD)
		ereport(WARNING,
				(errmsg("the commit time of source transaction %u is ahead of the source's own time", txn->xid),
				 errdetail("It is %s, and the clock of feed \"%s\" does not follow it.", timestamptz_to_str(txn->commit_time),
						   ingest->feed->name)));
	else
		ingest->clock = Max(ingest->clock, txn->commit_time);
	memset(slot->tts_isnull, true, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	memset(slot->tts_isnull, false, sizeof(bool) * 9);
	slot->tts_isnull[3] = txn->origin == NULL;
	slot->tts_isnull[9] = txn->told == NIL;
	values[0] = LSNGetDatum(txn->end_lsn);
	values[1] = Int64GetDatum((int64) txn->xid);
	values[2] = TimestampTzGetDatum(txn->commit_time);
	values[3] = txn->origin == NULL ? (Datum) 0 : CStringGetTextDatum(txn->origin);
	values[4] = TimestampTzGetDatum(ingest->clock);
	for (int i = 0; i < lengthof(work->operations); i++)
		values[5 + i] = Int64GetDatum(work->operations[i]);
	values[8] = Int32GetDatum(work->truncates);
	values[9] = txn->told == NIL ? (Datum) 0 : told_array(txn->told);
	wh_changelog_append_done(work->txns);
	MemoryContextSwitchTo(old);
}

/* told_array makes the text[] of what the application said. */
static Datum
told_array(List *told)
{
	Datum *elements = palloc(sizeof(Datum) * list_length(told));
	int count = 0;

	foreach_ptr(char, text, told)
		elements[count++] = CStringGetTextDatum(text);
	return PointerGetDatum(
		construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT));
}

/* reads_mirror says whether the mirror holds rows of a table that the map may not know. */
static bool
reads_mirror(const Work *work, const Table *table)
{
	return table->is_mirrored || (work->by_chunks && !table->target->table->has_mirror);
}

/* end_chunk brings logs and mirrors to what the maps hold, and empties them. */
static void
end_chunk(Work *work)
{
	WhTarget *current = work->ingest->current;

	foreach_ptr(Table, table, work->tables)
	{
		work->ingest->current = table->target;
		wh_changelog_append_flush(table->log);
		if (table->copied != NULL)
			wh_copied_flush(table->copied);
		if (reads_mirror(work, table))
			write_mirror(work, table);
		if (work->by_chunks && !reads_mirror(work, table))
			wh_keymap_reset_to_touched(table->map, work->txn->end_lsn);
		else
			wh_keymap_reset(table->map);
	}
	work->ingest->current = current;
	wh_changelog_append_flush(work->txns);
	MemoryContextReset(work->chunk);
	CommandCounterIncrement();
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());
}

/* end_unmirrored empties the mirrors that are off, which held what a transaction by chunks had
 * touched, and lets logs begin anew that a TRUNCATE cut off. */
static void
end_unmirrored(Work *work)
{
	foreach_ptr(Table, table, work->tables)
	{
		if (table->is_mirrored)
			continue;
		work->ingest->current = table->target;
		if (reads_mirror(work, table))
			remove_rows(work, table, 0, false);
		if (!table->is_truncated || table->target->table->has_mirror)
			continue; /* where it was copied, the log begins at the copy */
		wh_changelog_set_table_state(table->target->table, "ready", work->txn->end_lsn, NULL);
		ereport(LOG,
				(errmsg("the change log of table \"%s\" of feed \"%s\" begins anew at %X/%X", table->target->table->source_name,
						work->ingest->feed->name, LSN_FORMAT_ARGS(work->txn->end_lsn)),
				 errdetail("A TRUNCATE came while its mirror was off: which rows it removed is not known.")));
	}
	work->ingest->current = NULL;
}

/* write_mirror writes a map's end state: what went, what changed, what came. */
static void
write_mirror(Work *work, Table *table)
{
	List *rows = wh_keymap_rows(table->map);
	MemoryContext old = MemoryContextSwitchTo(work->chunk);
	uint64 counts[2] = {0}; /* of rows that are new, and of those that were there */

	foreach_ptr(WhRow, row, rows)
	{
		if (row->is_changed && row->image != NULL)
			counts[row->in_mirror]++;
		else if (row->is_changed && row->in_mirror)
			wh_changelog_delete_row(table->mirror, &row->tid);
	}
	foreach_ptr(WhRow, row, counts[true] > 0 ? rows : NIL)
	{
		if (row->is_changed && row->in_mirror && row->image != NULL)
			wh_changelog_update_row(table->mirror, &row->tid, row->image->values,
									row->image->nulls);
	}
	foreach_ptr(WhRow, row, counts[false] > 0 ? rows : NIL)
	{
		if (row->is_changed && !row->in_mirror && row->image != NULL)
			wh_changelog_append(table->mirror, row->image->values, row->image->nulls);
	}
	wh_changelog_append_flush(table->mirror);
	MemoryContextSwitchTo(old);
}
