/*
 * message.c
 *		Logical messages, of pg_logical_emit_message().
 *
 * One that is transactional stands among its transaction's changes, in order.  Any other is sent
 * as soon as the server reads it, and that is between transactions and segments; it stands even
 * where its transaction aborts.
 */
#include "output/output_private.h"

#include "access/xact.h"
#include "utils/memutils.h"

static void add_message(WhOutput *session, ReorderBufferTXN *txn, WhWireMessage *message,
						const char *prefix);

void
wh_output_message(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr lsn,
				  bool is_transactional, const char *prefix, Size size, const char *content)
{
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;
	MemoryContext caller = MemoryContextSwitchTo(session->change_context);
	WhWireMessage message = {0};
	bool is_added;

	message.is_transactional = is_transactional;
	message.content.data = (const uint8_t *) content;
	message.content.len = size;
	message.lsn = lsn;
	if (is_transactional)
	{
		message.seq = ++session->txn->seq;

		/*
		 * The callback is not told which subtransaction the message is of, but while one may yet
		 * abort the server watches it.  Where it watches none, all have committed.
		 */
		session->subxid = InvalidTransactionId;
		if (session->txn->is_streamed && TransactionIdIsValid(CheckXidAlive) &&
			CheckXidAlive != txn->xid)
			session->subxid = CheckXidAlive;
		message.subxid = session->subxid;
	}
	is_added = wh_output_matches(session->options.messages, prefix);
	if (is_added)
		add_message(session, txn, &message, prefix);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(session->change_context);
	if (is_added &&
		(!is_transactional || wh_wire_batch_size(&session->batch) >= WH_OUTPUT_BATCH_SIZE))
		wh_output_flush(ctx, session, !is_transactional);
	if (is_transactional)
		wh_output_keep_alive(ctx, session);
}

static void
add_message(WhOutput *session, ReorderBufferTXN *txn, WhWireMessage *message, const char *prefix)
{
	prefix = wh_output_utf8_name(session, prefix);
	message->prefix.data = (const uint8_t *) prefix;
	message->prefix.len = strlen(prefix);
	if (message->is_transactional)
	{
		wh_output_announce(session, txn);
		wh_output_count_other(session);
	}
	else
		wh_output_add_hello(session);
	wh_wire_add_message(&session->batch, message);
}
