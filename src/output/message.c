/*
 * message.c
 *		Logical messages, of pg_logical_emit_message().
 *
 * One that is transactional stands among its transaction's changes, in order.  Any other is sent
 * as soon as the server reads it, and that is between transactions and segments; it stands even
 * where its transaction aborts.
 *
 * A message is not cut into chunks: the server has it in one piece, and so has its reader.  One
 * that is large has a batch of its own, which leaves it all the room that a buffer of the server
 * has.  As a line of JSON it may not fit: that is an error, which says how else to read it.
 */
#include "output/output_private.h"

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

/* What a line takes without the content; what fits, whatever is in it. */
#define WH_LINE_ROOM 4096
#define WH_MESSAGE_SAFE (MaxAllocSize / 6 - WH_LINE_ROOM)

static void add_message(WhOutput *session, ReorderBufferTXN *txn, WhWireMessage *message,
						const char *prefix);
static void check_json(const WhWireMessage *message, const char *prefix);

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
	if (is_added && session->options.is_json)
		check_json(&message, prefix);
	if (is_added && size >= WH_OUTPUT_BATCH_SIZE && wh_wire_batch_size(&session->batch) > 0)
		wh_output_flush(ctx, session, false);
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

/*
 * check_json looks at how long a message's line is going to be: a character that JSON escapes takes
 * up to six, a byte of what is no text two, and the rest of the line is short.
 */
static void
check_json(const WhWireMessage *message, const char *prefix)
{
	const uint8_t *content = message->content.data;
	size_t size = message->content.len;
	size_t len = size;

	if (size < WH_MESSAGE_SAFE)
		return;
	if (!pg_verify_mbstr(PG_UTF8, (const char *) content, (int) size, true))
		len = size * 2;
	else
	{
		for (size_t i = 0; i < size; i++)
		{
			if (strchr("\"\\\n\r\t", content[i]) != NULL)
				len++;
			else if (content[i] < ' ' || content[i] == 0x7F)
				len += 5;
		}
	}
	if (len > MaxAllocSize - WH_LINE_ROOM)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("message \"%s\" is too large for a line of JSON", prefix),
				 errdetail("Its content of %zu bytes would be %zu.", size, len),
				 errhint("Read the slot with format=protobuf, or name in option messages only "
						 "prefixes that you need.")));
}
