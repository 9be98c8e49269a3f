/*
 * emit.c
 *		Batches on their way out.
 *
 * Changes of a transaction collect in session->batch.  It goes out when it has
 * WH_OUTPUT_BATCH_SIZE bytes, and at the end of the transaction or segment, whatever it has;
 * never later.
 */
#include "output/output_private.h"

#include "utils/memutils.h"

/*
 * On servers that do not do it themselves, the connection is looked after every so many changes
 * without output.
 */
#define WH_QUIET_CHANGES 100

static void flush_json(LogicalDecodingContext *ctx, WhOutput *session, bool is_last);
static void write_line(void *arg, const char *line, int len);
static void send_line(LogicalDecodingContext *ctx, WhOutput *session, bool is_last);

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

/* Only the last write of a callback carries its position to the server's books. */
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
	WhBatch *batch = &session->batch;
	WhCompression compression = session->options.compression;
	uint8_t length[WH_WIRE_MAX_VARINT];

	if (session->options.is_json)
		flush_json(ctx, session, is_last);
	else
	{
		if (compression != WH_COMPRESS_NONE)
			wh_wire_deflate_batch(batch, compression);
		OutputPluginPrepareWrite(ctx, is_last);
		if (session->options.is_delimited)
			appendBinaryStringInfo(ctx->out, (const char *) length,
								   wh_wire_put_length(length, batch->out.len) - length);
		appendBinaryStringInfo(ctx->out, batch->out.data, batch->out.len);
		OutputPluginWrite(ctx, is_last);
	}
	resetStringInfo(&batch->out);
	session->quiet_changes = 0;
}

/* flush_json sends the batch as JSON, a message a line. */
static void
flush_json(LogicalDecodingContext *ctx, WhOutput *session, bool is_last)
{
	WhSlice batch = {(const uint8_t *) session->batch.out.data, session->batch.out.len};
	MemoryContext caller = MemoryContextSwitchTo(session->context);
	WhWireError error = NULL;

	resetStringInfo(&session->line);
	if (!wh_wire_render_json(session->json, batch, write_line, ctx, &error))
		elog(ERROR, "could not render a batch: %s", error);
	MemoryContextSwitchTo(caller);
	if (session->line.len > 0)
		send_line(ctx, session, is_last);
}

/* write_line keeps a line until the next one: only then is it known not to be the last. */
static void
write_line(void *arg, const char *line, int len)
{
	LogicalDecodingContext *ctx = (LogicalDecodingContext *) arg;
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;

	if (session->line.len > 0)
		send_line(ctx, session, false);
	resetStringInfo(&session->line);
	appendBinaryStringInfo(&session->line, line, len);
}

static void
send_line(LogicalDecodingContext *ctx, WhOutput *session, bool is_last)
{
	OutputPluginPrepareWrite(ctx, is_last);
	appendBinaryStringInfo(ctx->out, session->line.data, session->line.len);
	OutputPluginWrite(ctx, is_last);
}
