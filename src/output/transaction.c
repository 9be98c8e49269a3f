/*
 * transaction.c
 *		Begin and commit: what frames the changes of a transaction.
 *
 * Begin is written with the first change, so that a transaction without changes to send costs
 * nothing but progress.  The commit callback sends whatever the batch has: once it returns, the
 * server's keepalives cover the transaction, and a reader that confirms one would lose what were
 * still here.  So nothing waits over a commit, and shutdown has nothing to do.
 */
#include "output/output_private.h"

#include "replication/origin.h"
#include "utils/timestamp.h"

void
wh_output_begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;

	wh_wire_reset_batch(&session->batch);
	wh_output_trim_relations(session);
	session->begin_sent = false;
	session->settings_pinned = false;
	session->seq = 0;
	session->changes = 0;
}

void
wh_output_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn)
{
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;
	WhWireCommit entry = {0};

	OutputPluginUpdateProgress(ctx, !session->begin_sent);
	if (!session->begin_sent)
		return;
	entry.xid = txn->xid;
	entry.commit_lsn = commit_lsn;
	entry.end_lsn = txn->end_lsn;
	entry.commit_time = wh_output_unix_time(txn->xact_time.commit_time);
	entry.changes = session->changes;
	if (session->options.is_json)
		wh_output_flush(ctx, session, false);
	wh_wire_add_commit(&session->batch, WH_ENTRY_COMMIT, &entry, NULL, 0);
	wh_output_flush(ctx, session, true);
}

/* -------- entries -------- */

/*
 * add_begin writes Begin with a transaction's first change, and before the session's first one
 * Hello.
 */
void
wh_output_announce(WhOutput *session, ReorderBufferTXN *txn)
{
	WhWireBegin entry = {0};
	char *origin = NULL;
	size_t len;

	if (session->begin_sent)
		return;
	if (!session->hello_sent)
		wh_output_add_hello(session);
	entry.xid = txn->xid;
	entry.commit_lsn = txn->final_lsn;
	entry.end_lsn = txn->end_lsn;
	entry.commit_time = wh_output_unix_time(txn->xact_time.commit_time);
	if (txn->origin_id != InvalidRepOriginId && txn->origin_id != DoNotReplicateId &&
		replorigin_by_oid(txn->origin_id, true, &origin))
	{
		len = strlen(origin);
		entry.origin.data = (const uint8_t *) wh_output_to_utf8(session, origin, &len);
		entry.origin.len = len;
	}
	wh_wire_add_begin(&session->batch, &entry);
	session->begin_sent = true;
}

int64
wh_output_unix_time(TimestampTz time)
{
	return time + (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}
