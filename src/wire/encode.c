/*
 * encode.c
 *		Writing batches.
 *
 * Protobuf puts the length of a message before it.  Small messages are written in place: one byte
 * is reserved for the length, and the message moves up when that was too little (wh_wire_open,
 * wh_wire_close).  The rows of a run, which are nearly all of a stream, go into two buffers of
 * their own (after and before, since protobuf-c packs all of one field before the next); when the
 * run ends all lengths are known and the two are copied behind their headers.  A row reserves as
 * many bytes for its length as the row before it in the run needed, so that rows of a kind seldom
 * move.
 *
 * Nothing here calls the server: palloc, repalloc and StringInfo exist in programs too.
 */
#include "c.h"

#include "utils/palloc.h"

#include "wire/encode.h"

/* A buffer that one large value has made bigger than this is given back when the batch is reset. */
#define WH_BUFFER_KEEP (1024 * 1024)

/* Fields of Batch, Entry and Rows. */
#define BATCH_ENTRY 1
#define ROWS_AFTER 4
#define ROWS_BEFORE 5

static void begin_change(WhBatch *batch, uint32_t schema, WhOp op, WhBeforeKind before_kind,
						 uint64_t seq, uint32_t subxid, bool is_rewritten);
static void frame_run(WhBatch *batch);
static StringInfo begin_row(WhBatch *batch, StringInfo buffer, uint32_t number);
static void shrink(StringInfo buffer);

size_t
wh_wire_varint_size(uint64_t n)
{
	size_t size = 1;

	while (n >= 0x80)
	{
		n >>= 7;
		size++;
	}
	return size;
}

/* -------- one field -------- */

void
wh_wire_append_uint(StringInfo out, uint32_t number, uint64_t value)
{
	uint8_t *at;

	enlargeStringInfo(out, WH_WIRE_MAX_TAG + WH_WIRE_MAX_VARINT);
	at = (uint8_t *) out->data + out->len;
	at = wh_wire_put_tag(at, number, WH_WIRE_VARINT);
	at = wh_wire_put_varint(at, value);
	out->len = (char *) at - out->data;
}

void
wh_wire_append_sint(StringInfo out, uint32_t number, int64_t value)
{
	wh_wire_append_uint(out, number, wh_wire_unzigzag(value));
}

void
wh_wire_append_fixed64(StringInfo out, uint32_t number, uint64_t value)
{
	uint8_t *at;

	enlargeStringInfo(out, WH_WIRE_MAX_TAG + 8);
	at = (uint8_t *) out->data + out->len;
	at = wh_wire_put_tag(at, number, WH_WIRE_FIXED64);
	at = wh_wire_put_fixed64(at, value);
	out->len = (char *) at - out->data;
}

void
wh_wire_append_fixed32(StringInfo out, uint32_t number, uint32_t value)
{
	uint8_t *at;

	enlargeStringInfo(out, WH_WIRE_MAX_TAG + 4);
	at = (uint8_t *) out->data + out->len;
	at = wh_wire_put_tag(at, number, WH_WIRE_FIXED32);
	at = wh_wire_put_fixed32(at, value);
	out->len = (char *) at - out->data;
}

void
wh_wire_append_bytes(StringInfo out, uint32_t number, const void *data, size_t len)
{
	uint8_t *at;

	enlargeStringInfo(out, WH_WIRE_MAX_TAG + WH_WIRE_MAX_VARINT + (int) len);
	at = (uint8_t *) out->data + out->len;
	at = wh_wire_put_tag(at, number, WH_WIRE_BYTES);
	at = wh_wire_put_varint(at, len);
	if (len > 0)
		memcpy(at, data, len);
	at += len;
	out->len = (char *) at - out->data;
}

void
wh_wire_append_string(StringInfo out, uint32_t number, const char *text)
{
	wh_wire_append_bytes(out, number, text, strlen(text));
}

/* wh_wire_open starts a nested message and returns the mark for wh_wire_close. */
int
wh_wire_open(StringInfo out, uint32_t number)
{
	uint8_t *at;

	enlargeStringInfo(out, WH_WIRE_MAX_TAG + 1);
	at = (uint8_t *) out->data + out->len;
	at = wh_wire_put_tag(at, number, WH_WIRE_BYTES);
	at++;
	out->len = (char *) at - out->data;
	return out->len;
}

void
wh_wire_close(StringInfo out, int mark)
{
	size_t len = out->len - mark;
	size_t size = wh_wire_varint_size(len);

	if (size > 1)
	{
		enlargeStringInfo(out, (int) size);
		memmove(out->data + mark - 1 + size, out->data + mark, len);
	}
	wh_wire_put_varint((uint8_t *) out->data + mark - 1, len);
	out->len += (int) size - 1;
}

/* -------- batches -------- */

void
wh_wire_init_batch(WhBatch *batch)
{
	memset(batch, 0, sizeof(*batch));
	initStringInfo(&batch->out);
	initStringInfo(&batch->run.after);
	initStringInfo(&batch->run.before);
}

/*
 * begin_change counts one change into a run.  A delete without an old image leaves no
 * trace in after or before, so that it is always a run of its own: readers take such a run for
 * one change.
 */
static void
begin_change(WhBatch *batch, uint32_t schema, WhOp op, WhBeforeKind before_kind, uint64_t seq,
			 uint32_t subxid, bool is_rewritten)
{
	WhRun *run = &batch->run;
	bool is_countable = op != WH_OP_DELETE || before_kind != WH_BEFORE_NONE;

	if (!run->is_open || run->schema != schema || run->op != op ||
		run->before_kind != before_kind || run->subxid != subxid || run->next_seq != seq ||
		run->is_rewritten != is_rewritten || !is_countable)
	{
		wh_wire_finish_batch(batch);
		run->is_open = true;
		run->schema = schema;
		run->op = op;
		run->before_kind = before_kind;
		run->subxid = subxid;
		run->is_rewritten = is_rewritten;
		run->first_seq = seq;
		batch->row_prefix = 1;
	}
	run->next_seq = seq + 1;
	run->after_mark = run->after.len;
	run->before_mark = run->before.len;
}

void
wh_wire_begin_change(WhBatch *batch, uint32_t schema, WhOp op, WhBeforeKind before_kind,
					 uint64_t seq, uint32_t subxid)
{
	begin_change(batch, schema, op, before_kind, seq, subxid, false);
}

void
wh_wire_begin_rewritten(WhBatch *batch, uint32_t schema, uint64_t seq, uint32_t subxid)
{
	begin_change(batch, schema, WH_OP_UPDATE, WH_BEFORE_NONE, seq, subxid, true);
}

StringInfo
wh_wire_begin_after(WhBatch *batch)
{
	return begin_row(batch, &batch->run.after, ROWS_AFTER);
}

StringInfo
wh_wire_begin_before(WhBatch *batch)
{
	return begin_row(batch, &batch->run.before, ROWS_BEFORE);
}

static StringInfo
begin_row(WhBatch *batch, StringInfo buffer, uint32_t number)
{
	enlargeStringInfo(buffer, 1 + WH_WIRE_MAX_VARINT);
	buffer->data[buffer->len] = (char) ((number << 3) | WH_WIRE_BYTES);
	buffer->len += 1 + batch->row_prefix;
	batch->row = buffer;
	batch->row_start = buffer->len;
	return buffer;
}

WhSlice
wh_wire_end_row(WhBatch *batch)
{
	WhSlice row;
	StringInfo buffer = batch->row;
	int start = batch->row_start;
	size_t len = buffer->len - start;
	int size = (int) wh_wire_varint_size(len);
	int moved = size - batch->row_prefix;

	if (moved != 0)
	{
		enlargeStringInfo(buffer, WH_WIRE_MAX_VARINT);
		memmove(buffer->data + start + moved, buffer->data + start, len);
		buffer->len += moved;
	}
	wh_wire_put_varint((uint8_t *) buffer->data + start - batch->row_prefix, len);
	batch->row_prefix = size;
	batch->row = NULL;
	row.data = (const uint8_t *) buffer->data + buffer->len - len;
	row.len = len;
	return row;
}

void
wh_wire_undo_change(WhBatch *batch)
{
	WhRun *run = &batch->run;

	run->after.len = run->after_mark;
	run->before.len = run->before_mark;
	run->next_seq--;
	if (run->next_seq == run->first_seq)
		run->is_open = false;
	batch->row = NULL;
}

void
wh_wire_finish_batch(WhBatch *batch)
{
	if (batch->run.is_open)
		frame_run(batch);
}

/* frame_run writes the open run as an entry, from its two buffers, and empties them. */
static void
frame_run(WhBatch *batch)
{
	WhRun *run = &batch->run;
	StringInfo out = &batch->out;
	uint8_t head[64];
	uint8_t *at = head;
	size_t rows;
	size_t entry;

	at = wh_wire_put_tag(at, 1, WH_WIRE_VARINT);
	at = wh_wire_put_varint(at, run->schema);
	at = wh_wire_put_tag(at, 2, WH_WIRE_VARINT);
	at = wh_wire_put_varint(at, run->op);
	at = wh_wire_put_tag(at, 3, WH_WIRE_VARINT);
	at = wh_wire_put_varint(at, run->first_seq);
	rows = (at - head) + (size_t) run->after.len + run->before.len + 2;
	if (run->subxid != 0)
		rows += 1 + wh_wire_varint_size(run->subxid);
	if (run->is_rewritten)
		rows += 2;
	entry = 1 + wh_wire_varint_size(rows) + rows;

	enlargeStringInfo(out, (int) (entry + 1 + WH_WIRE_MAX_VARINT));
	{
		uint8_t *to = (uint8_t *) out->data + out->len;

		to = wh_wire_put_tag(to, BATCH_ENTRY, WH_WIRE_BYTES);
		to = wh_wire_put_varint(to, entry);
		to = wh_wire_put_tag(to, WH_ENTRY_ROWS, WH_WIRE_BYTES);
		to = wh_wire_put_varint(to, rows);
		memcpy(to, head, at - head);
		to += at - head;
		memcpy(to, run->after.data, run->after.len);
		to += run->after.len;
		memcpy(to, run->before.data, run->before.len);
		to += run->before.len;
		to = wh_wire_put_tag(to, 6, WH_WIRE_VARINT);
		to = wh_wire_put_varint(to, run->before_kind);
		if (run->subxid != 0)
		{
			to = wh_wire_put_tag(to, 7, WH_WIRE_VARINT);
			to = wh_wire_put_varint(to, run->subxid);
		}
		if (run->is_rewritten)
		{
			to = wh_wire_put_tag(to, 8, WH_WIRE_VARINT);
			to = wh_wire_put_varint(to, true);
		}
		out->len = (char *) to - out->data;
	}
	resetStringInfo(&run->after);
	resetStringInfo(&run->before);
	run->is_open = false;
}

void
wh_wire_reset_batch(WhBatch *batch)
{
	batch->run.is_open = false;
	batch->row = NULL;
	shrink(&batch->out);
	shrink(&batch->run.after);
	shrink(&batch->run.before);
}

static void
shrink(StringInfo buffer)
{
	if (buffer->maxlen > WH_BUFFER_KEEP)
	{
		buffer->data = repalloc(buffer->data, 1024);
		buffer->maxlen = 1024;
	}
	resetStringInfo(buffer);
}
