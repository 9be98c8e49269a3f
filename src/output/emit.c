/*
 * emit.c
 *		Batches on their way out.
 *
 * Changes of a transaction collect in session->batch.  It goes out when it has
 * WH_OUTPUT_BATCH_SIZE bytes, and at the end of the transaction, whatever it has; never later.
 */
#include "output/output_private.h"

#include "utils/memutils.h"

/*
 * On servers that do not do it themselves, the connection is looked after every so many changes
 * without output.
 */
#define WH_QUIET_CHANGES 100

static void flush_json(LogicalDecodingContext *ctx, WhOutput *session);
static void write_line(void *arg, const char *line, int len);

/* keep_alive looks after the connection while changes go by without output. */
void
wh_output_keep_alive(LogicalDecodingContext *ctx, WhOutput *session)
{
	if (WH_PLUGIN_KEEPS_ALIVE && ++session->quiet_changes >= WH_QUIET_CHANGES)
	{
		session->quiet_changes = 0;
		OutputPluginUpdateProgress(ctx, false);
	}
}

/*
 * flush sends what the batch holds.  Only the last write of a callback carries its position to
 * the server's books.
 */
void
wh_output_flush(LogicalDecodingContext *ctx, WhOutput *session, bool is_last)
{
	wh_wire_finish_batch(&session->batch);
	wh_output_send_entries(ctx, session, is_last);
	wh_wire_reset_batch(&session->batch);
}

void
wh_output_send_entries(LogicalDecodingContext *ctx, WhOutput *session, bool is_last)
{
	StringInfo entries = &session->batch.out;

	session->is_last_write = is_last;
	if (session->options.is_json)
		flush_json(ctx, session);
	else
	{
		OutputPluginPrepareWrite(ctx, is_last);
		appendBinaryStringInfo(ctx->out, entries->data, entries->len);
		OutputPluginWrite(ctx, is_last);
	}
	resetStringInfo(entries);
	session->quiet_changes = 0;
}

/* flush_json sends the batch as JSON, a message a line; commit flushes what is before it first. */
static void
flush_json(LogicalDecodingContext *ctx, WhOutput *session)
{
	WhSlice batch = {(const uint8_t *) session->batch.out.data, session->batch.out.len};
	MemoryContext caller = MemoryContextSwitchTo(session->context);
	WhWireError error = NULL;

	if (!wh_wire_render_json(session->json, batch, write_line, ctx, &error))
		elog(ERROR, "could not render a batch: %s", error);
	MemoryContextSwitchTo(caller);
}

static void
write_line(void *arg, const char *line, int len)
{
	LogicalDecodingContext *ctx = (LogicalDecodingContext *) arg;
	const WhOutput *session = (const WhOutput *) ctx->output_plugin_private;

	OutputPluginPrepareWrite(ctx, session->is_last_write);
	appendBinaryStringInfo(ctx->out, line, len);
	OutputPluginWrite(ctx, session->is_last_write);
}
