/*
 * chunk.c
 *		Values that are too large for a row.
 *
 * They go out while their row is being written, in Chunk entries that are sent as they fill, so
 * that neither a batch nor the copies that the server makes of it grow with the value.  The row
 * holds the value's id, length and checksum in field 2004.  Where the same column has a Special
 * without text or raw, the chunks hold what would be there.
 *
 * A row that an error ends leaves chunks that nothing refers to; readers drop them with the
 * transaction.
 */
#include "output/output_private.h"

#include "miscadmin.h"

#define WH_CHUNK_SIZE (256 * 1024)

static void send_chunk(WhChunks *chunks, const void *data, size_t len);
static bool convert(WhOutput *session, const char *text, size_t len, WhChunks *chunks);

void
wh_output_begin_chunks(WhOutput *session, const WhOutputColumn *column, WhChunks *chunks)
{
	memset(chunks, 0, sizeof(*chunks));
	chunks->session = session;
	chunks->value.attnum = column->attnum;
	chunks->value.id = ++session->last_chunk;
	resetStringInfo(&session->chunk);
}

/* wh_output_add_chunks copies only what does not fill a chunk. */
void
wh_output_add_chunks(WhChunks *chunks, const void *data, size_t len)
{
	StringInfo rest = &chunks->session->chunk;
	const char *at = data;

	if (rest->len > 0)
	{
		size_t fill = Min(len, (size_t) (WH_CHUNK_SIZE - rest->len));

		appendBinaryStringInfo(rest, at, (int) fill);
		at += fill;
		len -= fill;
		if (rest->len < WH_CHUNK_SIZE)
			return;
		send_chunk(chunks, rest->data, rest->len);
		resetStringInfo(rest);
	}
	for (; len >= WH_CHUNK_SIZE; at += WH_CHUNK_SIZE, len -= WH_CHUNK_SIZE)
		send_chunk(chunks, at, WH_CHUNK_SIZE);
	if (len > 0)
		appendBinaryStringInfo(rest, at, (int) len);
}

static void
send_chunk(WhChunks *chunks, const void *data, size_t len)
{
	WhOutput *session = chunks->session;

	CHECK_FOR_INTERRUPTS();
	chunks->value.crc32c = wh_wire_crc32c(chunks->value.crc32c, data, len);
	chunks->value.size += len;
	wh_wire_add_chunk(&session->batch, chunks->value.id, data, len);
	wh_output_send_entries(session->decoding, session, false);
}

void
wh_output_end_chunks(WhChunks *chunks)
{
	WhOutput *session = chunks->session;
	StringInfo out = &session->chunked;
	int message;

	if (session->chunk.len > 0)
		send_chunk(chunks, session->chunk.data, session->chunk.len);
	resetStringInfo(&session->chunk);
	message = wh_wire_open(out, WH_ROW_CHUNKED);
	wh_wire_append_uint(out, 1, chunks->value.attnum);
	wh_wire_append_uint(out, 2, chunks->value.id);
	wh_wire_append_uint(out, 3, chunks->value.size);
	wh_wire_append_fixed32(out, 4, chunks->value.crc32c);
	wh_wire_close(out, message);
}

void
wh_output_chunk_bytes(WhOutput *session, const WhOutputColumn *column, const void *data,
					  size_t len)
{
	WhChunks chunks;

	wh_output_begin_chunks(session, column, &chunks);
	wh_output_add_chunks(&chunks, data, len);
	wh_output_end_chunks(&chunks);
}

/* wh_output_chunk_text looks at all of the text before it sends any, so that nothing is void. */
bool
wh_output_chunk_text(WhOutput *session, const WhOutputColumn *column, const char *text, size_t len)
{
	WhChunks chunks;

	if (wh_output_is_utf8(session))
	{
		if (!pg_verify_mbstr(PG_UTF8, text, (int) len, true))
			return false;
		wh_output_chunk_bytes(session, column, text, len);
		return true;
	}
	if (!convert(session, text, len, NULL))
		return false;
	wh_output_begin_chunks(session, column, &chunks);
	(void) convert(session, text, len, &chunks);
	wh_output_end_chunks(&chunks);
	return true;
}

/* convert goes through text by slices, and sends them where chunks is not NULL. */
static bool
convert(WhOutput *session, const char *text, size_t len, WhChunks *chunks)
{
	char *buffer = palloc(WH_SLICE_ROOM);

	while (len > 0)
	{
		size_t converted;
		size_t slice = wh_output_convert_slice(session, text, len, buffer, &converted);

		CHECK_FOR_INTERRUPTS();
		if (slice == 0)
			break;
		if (chunks != NULL)
			wh_output_add_chunks(chunks, buffer, converted);
		text += slice;
		len -= slice;
	}
	pfree(buffer);
	return len == 0;
}
