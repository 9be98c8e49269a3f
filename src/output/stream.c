/*
 * stream.c
 *		Transactions that are sent while they are in progress, in segments.
 *
 * Once a transaction has outgrown logical_decoding_work_mem, the server hands over what it has of
 * it, and frees it: a segment, between stream_start and stream_stop.  Segments of several
 * transactions come in turn, and between them others whole.  StreamStart is written with a
 * segment's first change, so that segments without any are not sent, nor what becomes of a
 * transaction that never had one.
 *
 * The catalog is read as the transaction itself sees it.  A table that it has altered has a
 * definition, and a schema id, of its own; that is the session's, and stays the reader's, whatever
 * becomes of the transaction.
 *
 * A look into the catalog ends in an error once the transaction, or the subtransaction in hand,
 * has aborted.  The server swallows that error and calls stream_stop: what was not whole is then
 * taken back, what is left goes out, and the abort follows in its time.
 *
 * A segment may have a transaction's last change without being its last: the server does not know.
 * What is told at the end of the last one has its segment at the commit then, with the catalog as
 * it is after it.
 *
 * The state of a transaction lives in txn->output_plugin_private from its first segment until it
 * commits, is prepared, or aborts.  It dies with the session where that ends first; the next one
 * then gets the transaction anew.
 */
#include "output/publish_private.h"

#include "access/xact.h"
#include "replication/snapbuild.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

static void begin_segment(WhOutput *session);
static void end_segment(LogicalDecodingContext *ctx, WhOutput *session, ReorderBufferTXN *txn);
static void add_last_segment(LogicalDecodingContext *ctx, WhOutput *session,
							 ReorderBufferTXN *txn);
static void leave_catalog(ReorderBufferTXN *txn, bool is_inside, bool is_error);
static void enter_transaction(WhOutput *session, ReorderBufferTXN *txn);
static void leave_transaction(WhOutput *session, ReorderBufferTXN *txn);

void
wh_output_stream_start(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;

	enter_transaction(session, txn);
	begin_segment(session);
	wh_output_watch_partitions(session);
	wh_output_know_tables(session);
}

void
wh_output_stream_stop(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;

	wh_output_undo_change(session);
	end_segment(ctx, session, txn);
	session->txn = NULL;
}

/* wh_output_stream_abort ends a transaction, or voids a subtransaction of one that goes on. */
void
wh_output_stream_abort(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr abort_lsn)
{
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;
	ReorderBufferTXN *top = txn->toptxn != NULL ? txn->toptxn : txn;
	WhOutputTxn *state = (WhOutputTxn *) top->output_plugin_private;
	WhWireStream entry = {0};
	bool is_known;

	if (state == NULL)
		return;
	is_known = txn == top ? state->is_announced : wh_output_forget_subxact(state, txn->xid);
	if (is_known)
	{
		entry.xid = top->xid;
		entry.subxid = txn->xid;
		entry.abort_lsn = abort_lsn;
		wh_wire_add_stream(&session->batch, WH_ENTRY_STREAM_ABORT, &entry);
		wh_output_flush(ctx, session, true);
	}
	if (txn == top)
		leave_transaction(session, txn);
}

void
wh_output_stream_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn)
{
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;

	enter_transaction(session, txn);
	if (session->txn->altered != NIL || session->txn->has_partitions)
		add_last_segment(ctx, session, txn);
	OutputPluginUpdateProgress(ctx, !session->txn->is_announced);
	if (session->txn->is_announced)
		wh_output_end_transaction(ctx, txn, WH_ENTRY_STREAM_COMMIT, commit_lsn);
	leave_transaction(session, txn);
}

/* wh_output_stream_prepare sends an empty segment where there was none: see prepared.c. */
void
wh_output_stream_prepare(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
						 XLogRecPtr prepare_lsn)
{
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;
	WhWireStream stop = {0};

	enter_transaction(session, txn);
	OutputPluginUpdateProgress(ctx, false);
	if (!session->txn->is_announced)
	{
		wh_output_announce(session, txn);
		stop.xid = txn->xid;
		wh_wire_add_stream(&session->batch, WH_ENTRY_STREAM_STOP, &stop);
		session->segment_announced = false;
	}
	wh_output_end_transaction(ctx, txn, WH_ENTRY_STREAM_PREPARE, prepare_lsn);
	leave_transaction(session, txn);
}

static void
begin_segment(WhOutput *session)
{
	wh_wire_reset_batch(&session->batch);
	wh_output_trim_relations(session);
	session->subxid = InvalidTransactionId;
	session->segment_announced = false;
	session->change_begun = false;
	session->settings_pinned = false;
}

static void
end_segment(LogicalDecodingContext *ctx, WhOutput *session, ReorderBufferTXN *txn)
{
	WhWireStream entry = {0};

	wh_output_tell_partitions(session, txn);
	wh_output_tell_altered(session, txn);
	if (session->segment_announced)
	{
		entry.xid = txn->xid;
		wh_wire_add_stream(&session->batch, WH_ENTRY_STREAM_STOP, &entry);
		wh_output_flush(ctx, session, true);
	}
	session->segment_announced = false;
}

/*
 * add_last_segment reads the catalog as the server lets a callback read it: in a transaction, or
 * subtransaction, of its own.  The snapshot is that of whoever begins after the commit.  What the
 * caches have by it must not be there for a transaction that began before, and goes as it does
 * after each transaction.
 */
static void
add_last_segment(LogicalDecodingContext *ctx, WhOutput *session, ReorderBufferTXN *txn)
{
	Snapshot snapshot = wh_compat_decoding_snapshot(ctx->snapshot_builder, txn->xid);
	bool is_inside = IsTransactionOrTransactionBlock();
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	if (is_inside)
		BeginInternalSubTransaction("walhouse segment");
	else
		StartTransactionCommand();
	SetupHistoricSnapshot(snapshot, NULL);
	PG_TRY();
	{
		begin_segment(session);
		end_segment(ctx, session, txn);
	}
	PG_CATCH();
	{
		MemoryContext error = CurrentMemoryContext;

		MemoryContextSwitchTo(caller);
		leave_catalog(txn, is_inside, true);
		MemoryContextSwitchTo(error);
		PG_RE_THROW();
	}
	PG_END_TRY();
	leave_catalog(txn, is_inside, false);
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
}

static void
leave_catalog(ReorderBufferTXN *txn, bool is_inside, bool is_error)
{
	TeardownHistoricSnapshot(is_error);
	AbortCurrentTransaction();
	for (uint32 i = 0; i < txn->ninvalidations; i++)
		LocalExecuteInvalidationMessage(&txn->invalidations[i]);
	if (is_inside)
		RollbackAndReleaseCurrentSubTransaction();
}

/* enter_transaction makes session->txn that of txn, from its first segment on. */
static void
enter_transaction(WhOutput *session, ReorderBufferTXN *txn)
{
	if (txn->output_plugin_private == NULL)
	{
		MemoryContext context = AllocSetContextCreate(
			session->context, "walhouse streamed transaction", ALLOCSET_SMALL_SIZES);
		WhOutputTxn *state = MemoryContextAllocZero(context, sizeof(WhOutputTxn));

		state->context = context;
		state->is_streamed = true;
		txn->output_plugin_private = state;
	}
	session->txn = (WhOutputTxn *) txn->output_plugin_private;
}

static void
leave_transaction(WhOutput *session, ReorderBufferTXN *txn)
{
	WhOutputTxn *state = (WhOutputTxn *) txn->output_plugin_private;

	wh_output_leave_altered(session, state);
	if (state->has_partitions)
		wh_output_invalidate_partitions(session, InvalidOid);
	MemoryContextDelete(state->context);
	txn->output_plugin_private = NULL;
	session->txn = NULL;
}
