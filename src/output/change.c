/*
 * change.c
 *		From the reorder buffer's changes to rows.
 *
 * Each change is worked on in a context that is reset after it.
 */
#include "output/output_private.h"

#include "access/htup_details.h"
#include "utils/memutils.h"

static void send_insert(WhOutput *session, WhOutputRelation *entry, Relation relation,
						HeapTuple tuple);
static void send_update(WhOutput *session, WhOutputRelation *entry, Relation relation,
						HeapTuple old, HeapTuple tuple);
static void send_delete(WhOutput *session, WhOutputRelation *entry, Relation relation,
						HeapTuple old);
static WhBeforeKind before_kind(const WhOutputRelation *entry, HeapTuple old);
static void fill_unchanged(WhOutputRelation *entry, WhBeforeKind kind);

void
wh_output_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation,
				 ReorderBufferChange *change)
{
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;
	MemoryContext caller = MemoryContextSwitchTo(session->change_context);
	HeapTuple old = wh_compat_change_tuple(change->data.tp.oldtuple);
	HeapTuple tuple = wh_compat_change_tuple(change->data.tp.newtuple);
	WhOutputRelation *entry;
	bool is_wanted;

	/* counted before any filter, so that an ordinal does not depend on what else is sent */
	session->seq++;
	entry = wh_output_find_relation(session, relation);
	if (change->action == REORDER_BUFFER_CHANGE_INSERT)
		is_wanted = entry->actions.pubinsert;
	else if (change->action == REORDER_BUFFER_CHANGE_UPDATE)
		is_wanted = entry->actions.pubupdate;
	else
		is_wanted = entry->actions.pubdelete;
	if (is_wanted)
	{
		if (tuple == NULL && change->action != REORDER_BUFFER_CHANGE_DELETE)
			elog(ERROR, "change of \"%s\" has no new row", RelationGetRelationName(relation));
		wh_output_announce(session, txn);
		wh_output_add_relation(session, entry);
		if (change->action == REORDER_BUFFER_CHANGE_INSERT)
			send_insert(session, entry, relation, tuple);
		else if (change->action == REORDER_BUFFER_CHANGE_UPDATE)
			send_update(session, entry, relation, old, tuple);
		else
			send_delete(session, entry, relation, old);
		session->changes++;
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(session->change_context);
	if (wh_wire_batch_size(&session->batch) >= WH_OUTPUT_BATCH_SIZE)
		wh_output_flush(ctx, session, false);
	wh_output_keep_alive(ctx, session);
}

void
wh_output_truncate(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, int nrelations,
				   Relation relations[], ReorderBufferChange *change)
{
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;
	MemoryContext caller = MemoryContextSwitchTo(session->change_context);
	uint32_t *schemas = palloc(sizeof(uint32_t) * Max(nrelations, 1));
	int nschemas = 0;

	session->seq++;
	for (int i = 0; i < nrelations; i++)
	{
		WhOutputRelation *entry = wh_output_find_relation(session, relations[i]);

		if (!entry->actions.pubtruncate)
			continue;
		wh_output_announce(session, txn);
		wh_output_add_relation(session, entry);
		schemas[nschemas++] = entry->schema;
	}
	if (nschemas > 0)
	{
		wh_wire_add_truncate(&session->batch, session->seq, schemas, nschemas,
							 change->data.truncate.cascade, change->data.truncate.restart_seqs, 0);
		session->changes++;
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(session->change_context);
	wh_output_keep_alive(ctx, session);
}

/* -------- rows -------- */

static void
send_insert(WhOutput *session, WhOutputRelation *entry, Relation relation, HeapTuple tuple)
{
	WhBatch *batch = &session->batch;

	heap_deform_tuple(tuple, RelationGetDescr(relation), entry->values, entry->nulls);
	wh_wire_begin_change(batch, entry->schema, WH_OP_INSERT, WH_BEFORE_NONE, session->seq, 0);
	wh_output_write_row(session, entry, wh_wire_begin_after(batch), entry->values, entry->nulls,
						false);
	wh_wire_end_row(batch);
}

static void
send_update(WhOutput *session, WhOutputRelation *entry, Relation relation, HeapTuple old,
			HeapTuple tuple)
{
	WhBatch *batch = &session->batch;
	WhBeforeKind kind = before_kind(entry, old);

	heap_deform_tuple(tuple, RelationGetDescr(relation), entry->values, entry->nulls);
	if (kind != WH_BEFORE_NONE)
	{
		heap_deform_tuple(old, RelationGetDescr(relation), entry->old_values, entry->old_nulls);
		fill_unchanged(entry, kind);
		if (kind == WH_BEFORE_FULL)
			wh_output_note_changes(session, entry);
	}
	wh_wire_begin_change(batch, entry->schema, WH_OP_UPDATE, kind, session->seq, 0);
	wh_output_write_row(session, entry, wh_wire_begin_after(batch), entry->values, entry->nulls,
						false);
	wh_wire_end_row(batch);
	if (kind != WH_BEFORE_NONE)
	{
		wh_output_write_row(session, entry, wh_wire_begin_before(batch), entry->old_values,
							entry->old_nulls, kind == WH_BEFORE_KEY);
		wh_wire_end_row(batch);
	}
}

static void
send_delete(WhOutput *session, WhOutputRelation *entry, Relation relation, HeapTuple old)
{
	WhBatch *batch = &session->batch;
	WhBeforeKind kind = before_kind(entry, old);

	wh_wire_begin_change(batch, entry->schema, WH_OP_DELETE, kind, session->seq, 0);
	if (kind == WH_BEFORE_NONE)
		return;
	heap_deform_tuple(old, RelationGetDescr(relation), entry->old_values, entry->old_nulls);
	wh_output_write_row(session, entry, wh_wire_begin_before(batch), entry->old_values,
						entry->old_nulls, kind == WH_BEFORE_KEY);
	wh_wire_end_row(batch);
}

/*
 * before_kind says what an old tuple holds: with a key, its other columns are NULL, which is no
 * data.
 */
static WhBeforeKind
before_kind(const WhOutputRelation *entry, HeapTuple old)
{
	if (old == NULL)
		return WH_BEFORE_NONE;
	return entry->replica_identity == REPLICA_IDENTITY_FULL ? WH_BEFORE_FULL : WH_BEFORE_KEY;
}

/*
 * fill_unchanged takes TOAST values that the new row only points at from the old one, where it
 * has them.
 */
static void
fill_unchanged(WhOutputRelation *entry, WhBeforeKind kind)
{
	for (int i = 0; i < entry->ncolumns; i++)
	{
		const WhOutputColumn *column = &entry->columns[i];
		int index = column->index;

		if (!column->is_varlena || entry->nulls[index] || entry->old_nulls[index] ||
			!VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(entry->values[index])))
			continue;
		if ((kind == WH_BEFORE_FULL || column->is_key) &&
			!VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(entry->old_values[index])))
			entry->values[index] = entry->old_values[index];
	}
}

void
wh_output_add_relation(WhOutput *session, WhOutputRelation *entry)
{
	WhSlice definition;

	if (entry->is_sent)
		return;
	definition.data = (const uint8_t *) entry->definition->data;
	definition.len = entry->definition->len;
	wh_wire_add_relation(&session->batch, entry->schema, definition);
	entry->is_sent = true;
	pfree(entry->definition->data);
	pfree(entry->definition);
	entry->definition = NULL;
}
