/*
 * change.c
 *		From the reorder buffer's changes to rows.
 *
 * Each change is worked on in a context that is reset after it.
 */
#include "output/output_private.h"

#include "access/htup_details.h"
#include "utils/memutils.h"

static WhOp change_op(ReorderBufferChangeType action);
static void send_insert(WhOutput *session, WhOutputRelation *entry, Relation relation,
						HeapTuple old, HeapTuple tuple);
static void send_update(WhOutput *session, WhOutputRelation *entry, Relation relation,
						HeapTuple old, HeapTuple tuple);
static void send_delete(WhOutput *session, WhOutputRelation *entry, Relation relation,
						HeapTuple old);
static void send_rewritten(WhOutput *session, WhOutputRelation *entry, Relation heap,
						   HeapTuple tuple);
static void finish_change(LogicalDecodingContext *ctx, WhOutput *session, MemoryContext caller);
static bool is_among(Oid relid, int nrelations, Relation relations[]);
static void enter_change(WhOutput *session, ReorderBufferTXN *txn, ReorderBufferChange *change);
static void begin_change(WhOutput *session, WhOutputRelation *entry, WhOp op, WhBeforeKind kind);
static void end_change(WhOutput *session, WhOutputRelation *entry, WhOp op, WhSlice after,
					   WhSlice before);
static void fill_after(WhOutputRelation *entry, Relation relation, HeapTuple old,
					   HeapTuple tuple);
static WhSlice walk_after(WhOutput *session, WhOutputRelation *entry, Relation relation,
						  HeapTuple tuple);
static WhSlice walk_before(WhOutput *session, WhOutputRelation *entry, Relation relation,
						   HeapTuple old, WhBeforeKind kind);
static WhSlice write_after(WhOutput *session, WhOutputRelation *entry);
static WhSlice write_before(WhOutput *session, WhOutputRelation *entry, WhBeforeKind kind);
static WhBeforeKind before_kind(const WhOutputRelation *entry, HeapTuple old);

void
wh_output_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation,
				 ReorderBufferChange *change)
{
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;
	MemoryContext caller = MemoryContextSwitchTo(session->change_context);
	HeapTuple old = wh_compat_change_tuple(change->data.tp.oldtuple);
	HeapTuple tuple = wh_compat_change_tuple(change->data.tp.newtuple);
	WhOutputRelation *entry;
	WhOp op;
	bool is_wanted;

	enter_change(session, txn, change);
	if (OidIsValid(relation->rd_rel->relrewrite))
	{
		entry = wh_output_tell_rewrite(session, txn, relation);
		if (entry != NULL)
			send_rewritten(session, entry, relation, tuple);
		finish_change(ctx, session, caller);
		return;
	}
	entry = wh_output_find_relation(session, relation);
	op = change_op(change->action);
	if (op == WH_OP_INSERT)
		is_wanted = entry->actions.pubinsert;
	else if (op == WH_OP_UPDATE)
		is_wanted = entry->actions.pubupdate;
	else
		is_wanted = entry->actions.pubdelete;
	if (is_wanted && tuple == NULL && op != WH_OP_DELETE)
		elog(ERROR, "change of \"%s\" has no new row", RelationGetRelationName(relation));
	if (is_wanted &&
		(entry->filters == NULL || wh_output_filter(entry, relation, old, tuple, &op)))
	{
		wh_output_announce(session, txn);
		wh_output_add_relation(session, entry);
		if (op == WH_OP_INSERT)
			send_insert(session, entry, relation, old, tuple);
		else if (op == WH_OP_UPDATE)
			send_update(session, entry, relation, old, tuple);
		else
			send_delete(session, entry, relation, old);
	}
	finish_change(ctx, session, caller);
}

static void
finish_change(LogicalDecodingContext *ctx, WhOutput *session, MemoryContext caller)
{
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
	Oid *relids = palloc(sizeof(Oid) * Max(nrelations, 1));
	int nschemas = 0;

	enter_change(session, txn, change);
	for (int i = 0; i < nrelations; i++)
	{
		WhOutputRelation *entry = wh_output_find_relation(session, relations[i]);

		if (!entry->actions.pubtruncate ||
			(entry->told_as != entry->relid &&
			 is_among(entry->told_as, nrelations, relations)))
			continue;
		wh_output_announce(session, txn);
		wh_output_add_relation(session, entry);
		if (entry->told_as != entry->relid)
		{
			/* of the table that its rows are told as, the others stay */
			wh_wire_add_rewrite(&session->batch, session->txn->seq, entry->schema,
								session->subxid, false);
			wh_output_count_other(session);
			continue;
		}
		relids[nschemas] = entry->relid;
		schemas[nschemas++] = entry->schema;
	}
	if (nschemas > 0)
	{
		wh_wire_add_truncate(&session->batch, session->txn->seq, schemas, nschemas,
							 change->data.truncate.cascade, change->data.truncate.restart_seqs,
							 session->subxid);
		wh_output_count_change(session);
		for (int i = 0; session->options.has_tallies && i < nschemas; i++)
			wh_output_tally_truncate(session, relids[i]);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(session->change_context);
	wh_output_keep_alive(ctx, session);
}

static bool
is_among(Oid relid, int nrelations, Relation relations[])
{
	for (int i = 0; i < nrelations; i++)
	{
		if (RelationGetRelid(relations[i]) == relid)
			return true;
	}
	return false;
}

/*
 * enter_change counts a change, before any filter, so that its ordinal does not depend on what
 * else is sent; and in a streamed segment notes the subtransaction that it is of.
 */
static void
enter_change(WhOutput *session, ReorderBufferTXN *txn, ReorderBufferChange *change)
{
	session->txn->seq++;
	if (!session->txn->is_streamed)
		return;
	session->subxid = change->txn == txn ? InvalidTransactionId : change->txn->xid;
	wh_output_mark_streamed(change->txn);
}

/*
 * wh_output_mark_streamed sees to it that the server tells of the abort of what is streamed.  It
 * marks a subtransaction itself, after a segment, but only by the changes that it then has in
 * memory: one that was spilled to disk before has none, and its abort would never be told
 * (15 to 18).
 */
void
wh_output_mark_streamed(ReorderBufferTXN *txn)
{
	txn->txn_flags |= RBTXN_IS_STREAMED;
}

static WhOp
change_op(ReorderBufferChangeType action)
{
	switch (action)
	{
		case REORDER_BUFFER_CHANGE_INSERT:
			return WH_OP_INSERT;
		case REORDER_BUFFER_CHANGE_UPDATE:
			return WH_OP_UPDATE;
		default:
			return WH_OP_DELETE;
	}
}

/* -------- rows -------- */

/* send_insert has an old row where a row filter has made an insert of an update. */
static void
send_insert(WhOutput *session, WhOutputRelation *entry, Relation relation, HeapTuple old,
			HeapTuple tuple)
{
	WhSlice after;
	WhSlice before = {NULL, 0};

	if (old != NULL)
		fill_after(entry, relation, old, tuple);
	begin_change(session, entry, WH_OP_INSERT, WH_BEFORE_NONE);
	after = old != NULL ? write_after(session, entry) : walk_after(session, entry, relation, tuple);
	end_change(session, entry, WH_OP_INSERT, after, before);
}

static void
send_update(WhOutput *session, WhOutputRelation *entry, Relation relation, HeapTuple old,
			HeapTuple tuple)
{
	WhBeforeKind kind = before_kind(entry, old);
	WhSlice after;
	WhSlice before = {NULL, 0};

	begin_change(session, entry, WH_OP_UPDATE, kind);
	if (kind == WH_BEFORE_NONE)
		after = walk_after(session, entry, relation, tuple);
	else
	{
		fill_after(entry, relation, old, tuple);
		if (kind == WH_BEFORE_FULL)
			wh_output_note_changes(session, entry);
		after = write_after(session, entry);
		before = write_before(session, entry, kind);
	}
	end_change(session, entry, WH_OP_UPDATE, after, before);
}

static void
send_delete(WhOutput *session, WhOutputRelation *entry, Relation relation, HeapTuple old)
{
	WhBeforeKind kind = before_kind(entry, old);
	WhSlice after = {NULL, 0};
	WhSlice before = {NULL, 0};

	begin_change(session, entry, WH_OP_DELETE, kind);
	if (kind != WH_BEFORE_NONE)
		before = walk_before(session, entry, relation, old, kind);
	end_change(session, entry, WH_OP_DELETE, after, before);
}

/* send_rewritten sends a row of the heap of a rewrite, laid out as the table's rows are. */
static void
send_rewritten(WhOutput *session, WhOutputRelation *entry, Relation heap, HeapTuple tuple)
{
	WhSlice before = {NULL, 0};

	wh_output_add_relation(session, entry);
	wh_wire_begin_rewritten(&session->batch, entry->schema, session->txn->seq, session->subxid);
	session->change_begun = true;
	end_change(session, entry, WH_OP_UPDATE, walk_after(session, entry, heap, tuple), before);
}

/*
 * From begin_change to end_change the batch holds part of a change; an error between them must
 * not leave it there.
 */
static void
begin_change(WhOutput *session, WhOutputRelation *entry, WhOp op, WhBeforeKind kind)
{
	wh_wire_begin_change(&session->batch, entry->schema, op, kind, session->txn->seq,
						 session->subxid);
	session->change_begun = true;
}

static void
end_change(WhOutput *session, WhOutputRelation *entry, WhOp op, WhSlice after, WhSlice before)
{
	session->change_begun = false;
	wh_output_count_change(session);
	if (session->options.has_tallies)
		wh_output_tally_row(session, entry->told_as, op, after, before);
}

void
wh_output_undo_change(WhOutput *session)
{
	if (session->change_begun)
		wh_wire_undo_change(&session->batch);
	session->change_begun = false;
	wh_output_forget_row(session);
	MemoryContextReset(session->change_context);
}

/* fill_after takes both rows apart, and fills the new one's unchanged values from the old one. */
static void
fill_after(WhOutputRelation *entry, Relation relation, HeapTuple old, HeapTuple tuple)
{
	heap_deform_tuple(tuple, RelationGetDescr(relation), entry->values, entry->nulls);
	heap_deform_tuple(old, RelationGetDescr(relation), entry->old_values, entry->old_nulls);
	wh_output_fill_unchanged(entry, RelationGetDescr(relation));
}

/*
 * Rows that need no other beside them are written straight from their tuple.  The slices that
 * these functions return are valid until the batch is written to again.
 */
static WhSlice
walk_after(WhOutput *session, WhOutputRelation *entry, Relation relation, HeapTuple tuple)
{
	if (!wh_output_can_walk(entry, tuple))
	{
		heap_deform_tuple(tuple, RelationGetDescr(relation), entry->values, entry->nulls);
		return write_after(session, entry);
	}
	wh_output_walk_row(session, entry, wh_wire_begin_after(&session->batch), tuple, false);
	return wh_wire_end_row(&session->batch);
}

static WhSlice
walk_before(WhOutput *session, WhOutputRelation *entry, Relation relation, HeapTuple old,
			WhBeforeKind kind)
{
	if (!wh_output_can_walk(entry, old))
	{
		heap_deform_tuple(old, RelationGetDescr(relation), entry->old_values, entry->old_nulls);
		return write_before(session, entry, kind);
	}
	wh_output_walk_row(session, entry, wh_wire_begin_before(&session->batch), old,
					   kind == WH_BEFORE_KEY);
	return wh_wire_end_row(&session->batch);
}

static WhSlice
write_after(WhOutput *session, WhOutputRelation *entry)
{
	wh_output_write_row(session, entry, wh_wire_begin_after(&session->batch), entry->values,
						entry->nulls, false);
	return wh_wire_end_row(&session->batch);
}

static WhSlice
write_before(WhOutput *session, WhOutputRelation *entry, WhBeforeKind kind)
{
	wh_output_write_row(session, entry, wh_wire_begin_before(&session->batch), entry->old_values,
						entry->old_nulls, kind == WH_BEFORE_KEY);
	return wh_wire_end_row(&session->batch);
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

/* Columns that an old row of the key alone does not have are NULL in it. */
void
wh_output_fill_unchanged(WhOutputRelation *entry, TupleDesc desc)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attlen == -1 && !entry->nulls[i] && !entry->old_nulls[i] &&
			VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(entry->values[i])) &&
			!VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(entry->old_values[i])))
			entry->values[i] = entry->old_values[i];
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
