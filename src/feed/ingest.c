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
 * A table that is being copied by chunks is mirrored as far as it is there, and not logged
 * (copy/copied.c).
 *
 * A change that does not fit the mirror is an error with the table named in `current`; the caller
 * puts that table in state resync and does the ingest again without it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
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
#include "feed/ingest_private.h"
#include "wire/walhouse.pb-c.h"

#define CLOCK_AHEAD (USECS_PER_HOUR)
#define LOOK_EVERY 256

static WhAppend *open_txn(const WhFeed *feed);
static void walk_transaction(WhWork *work);
static void walk_rows(WhWork *work, WhWireRows *rows);
static void walk_change(WhWork *work, WhWorkTable *table, WhReader *reader, const WhWireRows *rows,
						int64 seq, WhSlice after, WhSlice before);
static bool chunk_is_full(WhWork *work);
static void walk_truncate(WhWork *work, WhSlice payload);
static WhWorkTable *find_table(WhWork *work, const WhDefinition *definition);
static WhWorkTable *open_table(WhWork *work, WhTarget *target);
static void check_columns(const WhWorkTable *table, WhAppend *append, TupleDesc desc);
pg_noreturn static void refuse_altered(const WhWorkTable *table);
static void open_log(WhWork *work, WhWorkTable *table);
static void log_transaction(WhWork *work);
static Datum told_array(List *told);
static WhReader *reader_of(WhWork *work, WhDefinition *definition);

void
wh_ingest(void *arg)
{
	WhIngest *ingest = arg;
	WhWork work = {.ingest = ingest};
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
	wh_apply_end_chunk(&work);
	wh_apply_end_unmirrored(&work);
	foreach_ptr(WhWorkTable, table, work.tables)
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
walk_transaction(WhWork *work)
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
walk_rows(WhWork *work, WhWireRows *rows)
{
	WhDefinition *definition = work->ingest->definition(work->ingest->stream, rows->schema);
	bool is_void = wh_spool_is_void(work->txn, rows->subxid);
	WhWorkTable *table = is_void ? NULL : find_table(work, definition);
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
walk_change(WhWork *work, WhWorkTable *table, WhReader *reader, const WhWireRows *rows, int64 seq,
			WhSlice after, WhSlice before)
{
	WhOp op = rows->op;
	WhImage *old = NULL;
	WhImage *new = NULL;

	if (!table->is_mirrored)
		wh_apply_check_before(table, op, rows->before_kind);
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
		wh_apply_insert(work, table, seq, new);
	else if (rows->is_rewritten)
		wh_apply_rewritten(work, table, seq, new);
	else if (op == WH_OP_UPDATE)
		wh_apply_update(work, table, seq, new, old);
	else
		wh_apply_delete(work, table, seq, old);
	if (table->copied == NULL)
		work->operations[op == WH_OP_INSERT ? 0 : op == WH_OP_UPDATE ? 1 :
																	   2]++;
	MemoryContextSwitchTo(work->context);
	if (chunk_is_full(work))
		wh_apply_end_chunk(work);
}

/* chunk_is_full looks at the images after each change, and at the keys now and then. */
static bool
chunk_is_full(WhWork *work)
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
walk_truncate(WhWork *work, WhSlice payload)
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
		WhWorkTable *table = find_table(work, definition);

		wh_tally_of(work->tallies, definition->relid)->truncates++;
		if (table == NULL)
			continue;
		wh_apply_truncate(work, table, seq);
		work->truncates += table->copied == NULL;
	}
}

/* find_table finds the table of a definition; NULL when this transaction's changes of it are not
 * wanted. */
static WhWorkTable *
find_table(WhWork *work, const WhDefinition *definition)
{
	WhTarget *target = definition->target;
	WhWant want = target == NULL ? WH_WANT_NOTHING : wh_target_want(target, work->txn->end_lsn);

	if (want == WH_WANT_NOTHING)
		return NULL;
	work->ingest->current = target;
	foreach_ptr(WhWorkTable, table, work->tables)
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

static WhWorkTable *
open_table(WhWork *work, WhTarget *target)
{
	MemoryContext old = MemoryContextSwitchTo(work->context);
	WhWorkTable *table = palloc0(sizeof(WhWorkTable));

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
check_columns(const WhWorkTable *table, WhAppend *append, TupleDesc desc)
{
	if (!wh_target_has_columns(wh_changelog_append_relation(append), desc))
		refuse_altered(table);
}

static void
refuse_altered(const WhWorkTable *table)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("mirror or change log of \"%s\" was altered",
					table->target->table->source_name)));
}

/* open_log opens the partition of a table's log that the transaction's rows go to; it was found by
 * its name. */
static void
open_log(WhWork *work, WhWorkTable *table)
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
reader_of(WhWork *work, WhDefinition *definition)
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

/* log_transaction adds the transaction's row, and moves the clock. */
static void
log_transaction(WhWork *work)
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
