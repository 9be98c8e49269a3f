/*
 * apply.c
 *		What a change makes of log and mirror, while transactions are ingested.
 *
 * A table whose mirror is off has its changes logged alone.  The rows as they were come with the
 * stream then (replica identity FULL), each with its change; the map still tells which of them
 * this source transaction has touched before.  Of a transaction by chunks the mirror holds the
 * rows that it has touched until it ends, so that the same rule applies.  What a TRUNCATE removes
 * nobody knows: the log begins anew there.  A mirror that was switched on again has a copy from
 * further on than what is ingested: it is left alone until then, and of a transaction by chunks
 * the map remembers the keys that it has touched.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "feed/feed_private.h"
#include "feed/ingest_private.h"

static void write_mirror(WhWork *work, WhWorkTable *table);
static void remove_rows(WhWork *work, WhWorkTable *table, int64 seq, bool is_logged);
static WhRow *find_present(WhWork *work, WhWorkTable *table, const WhImage *image, WhImage *before,
						   const char *what);
static void touch(WhWork *work, WhWorkTable *table, WhRow *row, int64 seq);
static void fill_unchanged(WhWorkTable *table, WhImage *after, const WhImage *from);
static TupleTableSlot *start_log_row(WhWork *work, WhWorkTable *table, int64 seq, char op);
static void log_row(WhWork *work, WhWorkTable *table, int64 seq, char op, const WhImage *image);
static void log_key(WhWork *work, WhWorkTable *table, int64 seq, const WhImage *image);
static bool reads_mirror(const WhWork *work, const WhWorkTable *table);

void
wh_apply_insert(WhWork *work, WhWorkTable *table, int64 seq, WhImage *image)
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

void
wh_apply_update(WhWork *work, WhWorkTable *table, int64 seq, WhImage *after, WhImage *before)
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
		wh_apply_insert(work, table, seq, after);
		return;
	}
	row = find_present(work, table, after, before, "an update");
	touch(work, table, row, seq);
	fill_unchanged(table, after, row->image);
	row->image = after;
	log_row(work, table, seq, 'U', after);
}

/* wh_apply_rewritten logs a row of a table that was written anew, if it is another one now. */
void
wh_apply_rewritten(WhWork *work, WhWorkTable *table, int64 seq, WhImage *now)
{
	WhRow *row = find_present(work, table, now, NULL, "a rewrite");

	fill_unchanged(table, now, row->image);
	if (wh_keymap_same_image(table->target, row->image, now))
		return;
	touch(work, table, row, seq);
	row->image = now;
	log_row(work, table, seq, 'U', now);
}

void
wh_apply_delete(WhWork *work, WhWorkTable *table, int64 seq, WhImage *before)
{
	WhRow *row = find_present(work, table, before, before, "a delete");

	touch(work, table, row, seq);
	log_key(work, table, seq, row->image);
	row->image = NULL;
}

/* wh_apply_truncate writes what there is to the mirror, and then reads and removes all of it. */
void
wh_apply_truncate(WhWork *work, WhWorkTable *table, int64 seq)
{
	wh_apply_end_chunk(work);
	work->ingest->current = table->target;
	if (reads_mirror(work, table))
		remove_rows(work, table, seq, table->is_mirrored && table->copied == NULL);
	table->is_truncated = !table->is_mirrored;
	if (table->copied != NULL)
		wh_copied_truncate(table->copied);
	else
		log_row(work, table, seq, 'T', NULL);
	wh_apply_end_chunk(work);
}

/* wh_apply_end_chunk brings logs and mirrors to what the maps hold, and empties them. */
void
wh_apply_end_chunk(WhWork *work)
{
	WhTarget *current = work->ingest->current;

	foreach_ptr(WhWorkTable, table, work->tables)
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

/* wh_apply_end_unmirrored empties the mirrors that are off, which held what a transaction by
 * chunks had touched, and lets logs begin anew that a TRUNCATE cut off. */
void
wh_apply_end_unmirrored(WhWork *work)
{
	foreach_ptr(WhWorkTable, table, work->tables)
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
write_mirror(WhWork *work, WhWorkTable *table)
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

/* remove_rows empties the mirror; is_logged: with a B for each row that this transaction has not
 * touched yet. */
static void
remove_rows(WhWork *work, WhWorkTable *table, int64 seq, bool is_logged)
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

/* wh_apply_check_before: without the mirror the stream must bring the row as it was. */
void
wh_apply_check_before(const WhWorkTable *table, WhOp op, WhBeforeKind before_kind)
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
find_present(WhWork *work, WhWorkTable *table, const WhImage *image, WhImage *before,
			 const char *what)
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
touch(WhWork *work, WhWorkTable *table, WhRow *row, int64 seq)
{
	if (row->touched != work->txn->end_lsn)
		log_row(work, table, seq, 'B', row->image);
	row->touched = work->txn->end_lsn;
	row->is_changed = true;
}

/* fill_unchanged takes TOAST that was not sent from the row as it was. */
static void
fill_unchanged(WhWorkTable *table, WhImage *after, const WhImage *from)
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
start_log_row(WhWork *work, WhWorkTable *table, int64 seq, char op)
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
log_row(WhWork *work, WhWorkTable *table, int64 seq, char op, const WhImage *image)
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
log_key(WhWork *work, WhWorkTable *table, int64 seq, const WhImage *image)
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

/* reads_mirror says whether the mirror holds rows of a table that the map may not know. */
static bool
reads_mirror(const WhWork *work, const WhWorkTable *table)
{
	return table->is_mirrored || (work->by_chunks && !table->target->table->has_mirror);
}
