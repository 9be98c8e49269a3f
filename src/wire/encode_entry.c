/*
 * encode_entry.c
 *		The entries of a batch, but for runs of changes.
 *
 * Each function closes the run that is open, then writes its entry in place behind what is
 * there; but wh_wire_add_chunk leaves it open, since a chunk is made while a row is.  Fields
 * ascend, as protobuf-c packs them.
 */
#include "c.h"

#include "utils/palloc.h"

#include "wire/encode.h"

/* Field of Batch. */
#define BATCH_ENTRY 1

/* Two nested messages: the entry, and the one that it holds. */
typedef struct Mark
{
	int entry;
	int message;
} Mark;

static Mark open_entry(WhBatch *batch, WhEntryKind kind);
static void close_entry(WhBatch *batch, Mark mark);
static void append_transaction(StringInfo out, uint32_t xid, uint64_t lsn, uint64_t end_lsn,
							   int64_t time);
static void append_tallies(StringInfo out, const WhWireTally *tallies, int ntallies);
static void append_slice(StringInfo out, uint32_t number, WhSlice bytes);
static void append_subxid(StringInfo out, uint32_t number, uint32_t subxid);
static void append_packed(StringInfo out, uint32_t number, const uint32_t *values, int n);
static void append_table(StringInfo out, const WhWireTable *table);

void
wh_wire_add_hello(WhBatch *batch, const WhWireHello *hello)
{
	StringInfo out = &batch->out;
	Mark mark = open_entry(batch, WH_ENTRY_HELLO);

	wh_wire_append_uint(out, 1, WH_WIRE_PROTOCOL);
	wh_wire_append_string(out, 2, hello->plugin_version);
	wh_wire_append_uint(out, 3, hello->server_version);
	wh_wire_append_fixed64(out, 4, hello->system_identifier);
	wh_wire_append_uint(out, 5, hello->timeline);
	wh_wire_append_uint(out, 6, hello->database_oid);
	wh_wire_append_string(out, 7, hello->database);
	wh_wire_append_string(out, 8, hello->encoding);
	for (int i = 0; i < hello->options; i++)
	{
		int option = wh_wire_open(out, 9);

		wh_wire_append_string(out, 1, hello->option_names[i]);
		wh_wire_append_string(out, 2, hello->option_values[i]);
		wh_wire_close(out, option);
	}
	close_entry(batch, mark);
}

static Mark
open_entry(WhBatch *batch, WhEntryKind kind)
{
	Mark mark;

	wh_wire_finish_batch(batch);
	mark.entry = wh_wire_open(&batch->out, BATCH_ENTRY);
	mark.message = wh_wire_open(&batch->out, kind);
	return mark;
}

static void
close_entry(WhBatch *batch, Mark mark)
{
	wh_wire_close(&batch->out, mark.message);
	wh_wire_close(&batch->out, mark.entry);
}

/* -------- transactions -------- */

void
wh_wire_add_begin(WhBatch *batch, const WhWireBegin *begin)
{
	Mark mark = open_entry(batch, WH_ENTRY_BEGIN);

	append_transaction(&batch->out, begin->xid, begin->commit_lsn, begin->end_lsn,
					   begin->commit_time);
	append_slice(&batch->out, 5, begin->origin);
	append_slice(&batch->out, 6, begin->gid);
	close_entry(batch, mark);
}

/* append_transaction appends fields 1 to 4, which all that begins or ends a transaction has. */
static void
append_transaction(StringInfo out, uint32_t xid, uint64_t lsn, uint64_t end_lsn, int64_t time)
{
	wh_wire_append_uint(out, 1, xid);
	wh_wire_append_fixed64(out, 2, lsn);
	wh_wire_append_fixed64(out, 3, end_lsn);
	wh_wire_append_fixed64(out, 4, (uint64_t) time);
}

/* append_slice appends bytes that may be absent. */
static void
append_slice(StringInfo out, uint32_t number, WhSlice bytes)
{
	if (bytes.data != NULL)
		wh_wire_append_bytes(out, number, bytes.data, bytes.len);
}

void
wh_wire_add_commit(WhBatch *batch, WhEntryKind kind, const WhWireCommit *commit,
				   const WhWireTally *tallies, int ntallies)
{
	Mark mark = open_entry(batch, kind);

	append_transaction(&batch->out, commit->xid, commit->commit_lsn, commit->end_lsn,
					   commit->commit_time);
	wh_wire_append_uint(&batch->out, 5, commit->changes);
	append_tallies(&batch->out, tallies, ntallies);
	close_entry(batch, mark);
}

static void
append_tallies(StringInfo out, const WhWireTally *tallies, int ntallies)
{
	for (int i = 0; i < ntallies; i++)
	{
		int tally = wh_wire_open(out, 6);

		wh_wire_append_uint(out, 1, tallies[i].relid);
		wh_wire_append_uint(out, 2, tallies[i].inserts);
		wh_wire_append_uint(out, 3, tallies[i].updates);
		wh_wire_append_uint(out, 4, tallies[i].deletes);
		wh_wire_append_uint(out, 5, tallies[i].truncates);
		wh_wire_append_fixed64(out, 6, tallies[i].hash);
		wh_wire_close(out, tally);
	}
}

void
wh_wire_add_prepared(WhBatch *batch, WhEntryKind kind, const WhWirePrepared *prepared,
					 const WhWireTally *tallies, int ntallies)
{
	StringInfo out = &batch->out;
	Mark mark = open_entry(batch, kind);

	if (kind == WH_ENTRY_COMMIT_PREPARED)
		append_transaction(out, prepared->xid, prepared->commit_lsn, prepared->end_lsn,
						   prepared->end_time);
	else
		append_transaction(out, prepared->xid, prepared->prepare_lsn, prepared->end_lsn,
						   prepared->prepare_time);
	if (kind == WH_ENTRY_PREPARE || kind == WH_ENTRY_STREAM_PREPARE)
	{
		wh_wire_append_uint(out, 5, prepared->changes);
		append_tallies(out, tallies, ntallies);
	}
	wh_wire_append_string(out, 7, prepared->gid);
	if (kind == WH_ENTRY_COMMIT_PREPARED)
		append_slice(out, 8, prepared->origin);
	else if (kind == WH_ENTRY_ROLLBACK_PREPARED)
		wh_wire_append_fixed64(out, 8, (uint64_t) prepared->end_time);
	close_entry(batch, mark);
}

void
wh_wire_add_stream(WhBatch *batch, WhEntryKind kind, const WhWireStream *stream)
{
	StringInfo out = &batch->out;
	Mark mark = open_entry(batch, kind);

	wh_wire_append_uint(out, 1, stream->xid);
	if (kind == WH_ENTRY_STREAM_START)
	{
		wh_wire_append_uint(out, 2, stream->is_first);
		append_slice(out, 3, stream->origin);
	}
	else if (kind == WH_ENTRY_STREAM_ABORT)
	{
		wh_wire_append_uint(out, 2, stream->subxid);
		wh_wire_append_fixed64(out, 3, stream->abort_lsn);
	}
	close_entry(batch, mark);
}

/* -------- what stands among the changes -------- */

void
wh_wire_add_truncate(WhBatch *batch, uint64_t seq, const uint32_t *schemas, int nschemas,
					 bool cascade, bool restart_identity, uint32_t subxid)
{
	StringInfo out = &batch->out;
	Mark mark = open_entry(batch, WH_ENTRY_TRUNCATE);

	wh_wire_append_uint(out, 1, seq);
	append_packed(out, 2, schemas, nschemas);
	wh_wire_append_uint(out, 3, cascade);
	wh_wire_append_uint(out, 4, restart_identity);
	append_subxid(out, 5, subxid);
	close_entry(batch, mark);
}

static void
append_packed(StringInfo out, uint32_t number, const uint32_t *values, int n)
{
	int packed;

	if (n == 0)
		return;
	packed = wh_wire_open(out, number);
	enlargeStringInfo(out, n * WH_WIRE_MAX_TAG);
	for (int i = 0; i < n; i++)
	{
		uint8_t *at = (uint8_t *) out->data + out->len;

		out->len = (char *) wh_wire_put_varint(at, values[i]) - out->data;
	}
	wh_wire_close(out, packed);
}

static void
append_subxid(StringInfo out, uint32_t number, uint32_t subxid)
{
	if (subxid != 0)
		wh_wire_append_uint(out, number, subxid);
}

void
wh_wire_add_rewrite(WhBatch *batch, uint64_t seq, uint32_t schema, uint32_t subxid,
					bool rows_follow)
{
	Mark mark = open_entry(batch, WH_ENTRY_REWRITE);

	wh_wire_append_uint(&batch->out, 1, seq);
	wh_wire_append_uint(&batch->out, 2, schema);
	append_subxid(&batch->out, 3, subxid);
	if (rows_follow)
		wh_wire_append_uint(&batch->out, 4, true);
	close_entry(batch, mark);
}

void
wh_wire_add_altered(WhBatch *batch, uint32_t relid, uint32_t schema, uint32_t subxid)
{
	Mark mark = open_entry(batch, WH_ENTRY_ALTERED);

	wh_wire_append_uint(&batch->out, 1, relid);
	if (schema != 0)
		wh_wire_append_uint(&batch->out, 2, schema);
	append_subxid(&batch->out, 3, subxid);
	close_entry(batch, mark);
}

void
wh_wire_add_message(WhBatch *batch, const WhWireMessage *message)
{
	StringInfo out = &batch->out;
	Mark mark = open_entry(batch, WH_ENTRY_MESSAGE);

	wh_wire_append_uint(out, 1, message->is_transactional);
	wh_wire_append_bytes(out, 2, message->prefix.data, message->prefix.len);
	wh_wire_append_bytes(out, 3, message->content.data, message->content.len);
	wh_wire_append_fixed64(out, 4, message->lsn);
	if (message->seq != 0)
		wh_wire_append_uint(out, 5, message->seq);
	append_subxid(out, 6, message->subxid);
	close_entry(batch, mark);
}

void
wh_wire_add_partitions(WhBatch *batch, const WhWireTable *parent, const WhWireTable *attached,
					   int nattached, const WhWireTable *detached, int ndetached,
					   uint32_t subxid)
{
	StringInfo out = &batch->out;
	Mark mark = open_entry(batch, WH_ENTRY_PARTITIONS);

	append_table(out, parent);
	for (int i = 0; i < nattached + ndetached; i++)
	{
		int table = wh_wire_open(out, i < nattached ? 4 : 5);

		append_table(out, i < nattached ? &attached[i] : &detached[i - nattached]);
		wh_wire_close(out, table);
	}
	append_subxid(out, 6, subxid);
	close_entry(batch, mark);
}

static void
append_table(StringInfo out, const WhWireTable *table)
{
	wh_wire_append_uint(out, 1, table->relid);
	wh_wire_append_string(out, 2, table->namespace_name);
	wh_wire_append_string(out, 3, table->name);
}

/* wh_wire_add_chunk knows all lengths beforehand: data is copied once. */
void
wh_wire_add_chunk(WhBatch *batch, uint32_t id, const void *data, size_t len)
{
	StringInfo out = &batch->out;
	size_t chunk = 2 + wh_wire_varint_size(id) + wh_wire_varint_size(len) + len;
	size_t entry = 2 + wh_wire_varint_size(chunk) + chunk;
	uint8_t *at;

	enlargeStringInfo(out, (int) entry + WH_WIRE_MAX_TAG + WH_WIRE_MAX_VARINT);
	at = (uint8_t *) out->data + out->len;
	at = wh_wire_put_tag(at, BATCH_ENTRY, WH_WIRE_BYTES);
	at = wh_wire_put_varint(at, entry);
	at = wh_wire_put_tag(at, WH_ENTRY_CHUNK, WH_WIRE_BYTES);
	at = wh_wire_put_varint(at, chunk);
	at = wh_wire_put_tag(at, 1, WH_WIRE_VARINT);
	at = wh_wire_put_varint(at, id);
	at = wh_wire_put_tag(at, 2, WH_WIRE_BYTES);
	at = wh_wire_put_varint(at, len);
	memcpy(at, data, len);
	out->len = (int) ((char *) at + len - out->data);
}

void
wh_wire_add_relation(WhBatch *batch, uint32_t schema, WhSlice definition)
{
	Mark mark = open_entry(batch, WH_ENTRY_RELATION);

	wh_wire_append_uint(&batch->out, 1, schema);
	appendBinaryStringInfo(&batch->out, (const char *) definition.data, (int) definition.len);
	close_entry(batch, mark);
}
