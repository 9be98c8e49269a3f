/*
 * transaction.c
 *		Transactions that are sent whole, from begin to commit, and what all kinds share.
 *
 * Begin is written with the first change, so that a transaction without changes to send costs
 * nothing but progress.
 *
 * The callback that ends a transaction, or a segment of one, sends whatever the batch has: once it
 * returns, the server's keepalives cover it, and a reader that confirms one would lose what were
 * still here.  So nothing waits over it, and shutdown has nothing to do.
 */
#include "output/output_private.h"

#include "utils/memutils.h"

static void add_begin(WhOutput *session, ReorderBufferTXN *txn);
static void add_stream_start(WhOutput *session, ReorderBufferTXN *txn);

void
wh_output_begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;

	wh_wire_reset_batch(&session->batch);
	wh_output_trim_relations(session);
	session->txn = &session->whole;
	session->txn->is_announced = false;
	session->txn->seq = 0;
	session->txn->changes = 0;
	wh_output_reset_tallies(session->txn);
	session->subxid = InvalidTransactionId;
	session->change_begun = false;
	session->settings_pinned = false;
	wh_output_watch_partitions(session);
	wh_output_know_tables(session);
}

void
wh_output_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn)
{
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;

	wh_output_tell_partitions(session, txn);
	wh_output_tell_altered(session, txn);
	OutputPluginUpdateProgress(ctx, !session->txn->is_announced);
	if (session->txn->is_announced)
		wh_output_end_transaction(ctx, txn, WH_ENTRY_COMMIT, commit_lsn);
	session->txn = NULL;
}

void
wh_output_end_transaction(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, WhEntryKind kind,
						  XLogRecPtr lsn)
{
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;
	MemoryContext caller = MemoryContextSwitchTo(session->change_context);
	uint64 changes;
	int ntallies;
	WhWireTally *tallies = wh_output_sum_tallies(session->txn, &changes, &ntallies);

	if (kind == WH_ENTRY_COMMIT || kind == WH_ENTRY_STREAM_COMMIT)
	{
		WhWireCommit entry = {0};

		entry.xid = txn->xid;
		entry.commit_lsn = lsn;
		entry.end_lsn = txn->end_lsn;
		entry.commit_time = wh_output_unix_time(txn->xact_time.commit_time);
		entry.changes = changes;
		wh_wire_add_commit(&session->batch, kind, &entry, tallies, ntallies);
	}
	else
	{
		WhWirePrepared entry = {0};

		entry.xid = txn->xid;
		entry.prepare_lsn = lsn;
		entry.end_lsn = txn->end_lsn;
		entry.prepare_time = wh_output_unix_time(txn->xact_time.prepare_time);
		entry.changes = changes;
		entry.gid = wh_output_utf8_name(session, txn->gid);
		wh_wire_add_prepared(&session->batch, kind, &entry, tallies, ntallies);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(session->change_context);
	wh_output_flush(ctx, session, true);
}

/* -------- announcements -------- */

void
wh_output_announce(WhOutput *session, ReorderBufferTXN *txn)
{
	if (session->txn->is_streamed)
	{
		if (!session->segment_announced)
			add_stream_start(session, txn);
	}
	else if (!session->txn->is_announced)
		add_begin(session, txn);
}

static void
add_begin(WhOutput *session, ReorderBufferTXN *txn)
{
	WhWireBegin entry = {0};

	wh_output_add_hello(session);
	entry.xid = txn->xid;
	entry.commit_lsn = txn->final_lsn;
	entry.end_lsn = txn->end_lsn;
	entry.commit_time = wh_output_unix_time(txn->xact_time.commit_time);
	entry.origin = wh_output_find_origin(session, txn->origin_id);
	if (session->is_preparing)
	{
		entry.gid.data = (const uint8_t *) wh_output_utf8_name(session, txn->gid);
		entry.gid.len = strlen((const char *) entry.gid.data);
	}
	wh_wire_add_begin(&session->batch, &entry);
	session->txn->is_announced = true;
}

static void
add_stream_start(WhOutput *session, ReorderBufferTXN *txn)
{
	WhWireStream entry = {0};

	wh_output_add_hello(session);
	entry.xid = txn->xid;
	entry.is_first = !session->txn->is_announced;
	entry.origin = wh_output_find_origin(session, txn->origin_id);
	wh_wire_add_stream(&session->batch, WH_ENTRY_STREAM_START, &entry);
	session->segment_announced = true;
	session->txn->is_announced = true;
}
