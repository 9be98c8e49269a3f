/*
 * prepared.c
 *		Two-phase commit: a transaction that is sent when it is prepared, and what is told of it
 *		later.
 *
 * A prepared transaction is sent also when it has no changes, since what is told of it later must
 * have something to refer to.  Commit prepared and rollback prepared are told without a look at
 * what was sent: that may have been in a session before.  They, and a prepare that follows on an
 * abort found while decoding, are called outside of a transaction of the server's.
 */
#include "output/output_private.h"

#include "utils/memutils.h"

static void send_prepared(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, WhEntryKind kind,
						  WhWirePrepared *entry);

void
wh_output_begin_prepare(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;

	wh_output_begin(ctx, txn);
	session->is_preparing = true;
}

/*
 * wh_output_prepare also ends a transaction that was found to have been rolled back while it was
 * decoded: the reader has what came before, and will be told of the rollback.
 */
void
wh_output_prepare(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr prepare_lsn)
{
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;
	MemoryContext caller = MemoryContextSwitchTo(session->change_context);

	wh_output_undo_change(session);
	OutputPluginUpdateProgress(ctx, false);
	wh_output_announce(session, txn);
	wh_output_tell_partitions(session, txn);
	wh_output_tell_altered(session, txn);
	MemoryContextSwitchTo(caller);
	wh_output_end_transaction(ctx, txn, WH_ENTRY_PREPARE, prepare_lsn);
	session->is_preparing = false;
	session->txn = NULL;
}

void
wh_output_commit_prepared(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
						  XLogRecPtr commit_lsn)
{
	WhWirePrepared entry = {0};

	entry.commit_lsn = commit_lsn;
	entry.end_time = wh_output_unix_time(txn->xact_time.commit_time);
	send_prepared(ctx, txn, WH_ENTRY_COMMIT_PREPARED, &entry);
	wh_output_settle_partitions((WhOutput *) ctx->output_plugin_private, txn->xid, true);
}

void
wh_output_rollback_prepared(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
							XLogRecPtr prepare_end_lsn, TimestampTz prepare_time)
{
	WhWirePrepared entry = {0};

	entry.prepare_lsn = prepare_end_lsn;
	entry.prepare_time = wh_output_unix_time(prepare_time);
	entry.end_time = wh_output_unix_time(txn->xact_time.commit_time);
	send_prepared(ctx, txn, WH_ENTRY_ROLLBACK_PREPARED, &entry);
	wh_output_settle_partitions((WhOutput *) ctx->output_plugin_private, txn->xid, false);
}

static void
send_prepared(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, WhEntryKind kind,
			  WhWirePrepared *entry)
{
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;
	MemoryContext caller = MemoryContextSwitchTo(session->change_context);

	OutputPluginUpdateProgress(ctx, false);
	wh_output_add_hello(session);
	entry->xid = txn->xid;
	entry->end_lsn = txn->end_lsn;
	entry->gid = wh_output_utf8_name(session, txn->gid);
	if (kind == WH_ENTRY_COMMIT_PREPARED)
		entry->origin = wh_output_find_origin(session, txn->origin_id);
	wh_wire_add_prepared(&session->batch, kind, entry, NULL, 0);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(session->change_context);
	wh_output_flush(ctx, session, true);
}
