/*
 * wire_entry.c
 *		Every kind of entry, values that are arrays, compressed batches, checksums and .proto text.
 *
 * As in wire_format.c what is written must be what protobuf-c packs, and must be read back; then
 * bytes are changed at random, under the sanitizers.  Prints TAP; a seed can be given.
 */
#include "c.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "utils/palloc.h"

#include "wire/encode.h"
#include "wire/json.h"
#include "wire/walhouse.pb-c.h"

#include "tap.h"

static WhSlice
slice(const char *text)
{
	return (WhSlice){(const uint8_t *) text, strlen(text)};
}

static WhSlice
batch_slice(const WhBatch *batch)
{
	return (WhSlice){(const uint8_t *) batch->out.data, batch->out.len};
}

static void
free_batch(WhBatch *batch)
{
	pfree(batch->out.data);
	pfree(batch->run.after.data);
	pfree(batch->run.before.data);
}

static bool
repacks(WhSlice data)
{
	Walhouse__V1__Batch *batch = walhouse__v1__batch__unpack(NULL, data.len, data.data);
	uint8_t *packed = palloc(data.len + 1);
	bool is_same = batch != NULL && walhouse__v1__batch__get_packed_size(batch) == data.len &&
				   walhouse__v1__batch__pack(batch, packed) == data.len &&
				   memcmp(data.data, packed, data.len) == 0;

	if (batch != NULL)
		walhouse__v1__batch__free_unpacked(batch, NULL);
	pfree(packed);
	return is_same;
}

/* -------- entries of every kind -------- */

static const WhWireTally tallies[] = {{1, 2, 3, 4, 5, UINT64_MAX},
									  {UINT32_MAX, 0, UINT64_MAX, 0, 0, 0}};

static void
add_relation(WhBatch *batch)
{
	StringInfoData definition;
	int mark;

	initStringInfo(&definition);
	wh_wire_append_uint(&definition, 2, 16384);
	wh_wire_append_string(&definition, 3, "public");
	wh_wire_append_string(&definition, 4, "t");
	wh_wire_append_uint(&definition, 5, 1);
	for (int i = 1; i <= 2; i++)
	{
		mark = wh_wire_open(&definition, 6);
		wh_wire_append_uint(&definition, 1, i);
		wh_wire_append_string(&definition, 2, i == 1 ? "id" : "list");
		wh_wire_append_uint(&definition, 3, 23);
		wh_wire_append_uint(&definition, 4, (uint64_t) (int64_t) -1);
		wh_wire_append_string(&definition, 5, "integer");
		wh_wire_append_string(&definition, 6, "pg_catalog");
		wh_wire_append_uint(&definition, 7, i == 1 ? WH_VALUE_INT32 : WH_VALUE_ARRAY);
		wh_wire_append_uint(&definition, 8, 0);
		wh_wire_append_string(&definition, 11, "int4");
		wh_wire_append_string(&definition, 12, "b");
		if (i == 2)
			wh_wire_append_uint(&definition, 15, WH_VALUE_TEXT);
		wh_wire_close(&definition, mark);
	}
	wh_wire_append_bytes(&definition, 9, "", 0);
	wh_wire_add_relation(batch, 1, (WhSlice){(const uint8_t *) definition.data, definition.len});
	pfree(definition.data);
}

static void
add_array(StringInfo row, uint32_t attnum)
{
	int array = wh_wire_open(row, attnum);

	wh_wire_append_bytes(row, 1, "\002\003", 2);
	wh_wire_append_bytes(row, 2, "\001\004", 2);
	wh_wire_append_bytes(row, 3, "\042", 1);
	for (int i = 0; i < 4; i++)
		wh_wire_append_string(row, 4, i == 0 ? "" : "x");
	wh_wire_close(row, array);
}

static void
add_change(WhBatch *batch, WhOp op, WhBeforeKind before_kind, uint64_t seq, uint32_t subxid)
{
	wh_wire_begin_change(batch, 1, op, before_kind, seq, subxid);
	if (op != WH_OP_DELETE)
	{
		StringInfo row = wh_wire_begin_after(batch);
		int chunked;

		wh_wire_append_sint(row, 1, (int64_t) seq);
		if (draw(2))
			add_array(row, 2);
		wh_wire_append_bytes(row, WH_ROW_CHANGED, "\002", 1);
		if (draw(2))
		{
			chunked = wh_wire_open(row, WH_ROW_CHUNKED);
			wh_wire_append_uint(row, 1, 2);
			wh_wire_append_uint(row, 2, 77);
			wh_wire_append_uint(row, 3, 9);
			wh_wire_append_fixed32(row, 4, 0xE3069283);
			wh_wire_close(row, chunked);
		}
		wh_wire_end_row(batch);
	}
	if (before_kind != WH_BEFORE_NONE)
	{
		wh_wire_append_sint(wh_wire_begin_before(batch), 1, 7);
		wh_wire_end_row(batch);
	}
}

/* add_entry adds one entry of a kind, with and without what is optional. */
static void
add_entry(WhBatch *batch, WhEntryKind kind, bool is_full)
{
	static const char *const names[] = {"a", "b"};
	static const char *const values[] = {"1", ""};
	WhWireHello hello = {"1", 150020, UINT64_MAX, 7, 5,
						 "d", "UTF8", is_full ? 2 : 0, names, values};
	WhWireBegin begin = {UINT32_MAX, 1, UINT64_MAX, -5};
	WhWireCommit commit = {UINT32_MAX, 1, 17, -5, UINT64_MAX};
	WhWirePrepared prepared = {UINT32_MAX, 1, 2, 17, -5, INT64_MIN, "gïd", 4};
	WhWireStream stream = {UINT32_MAX, 8, is_full, 17};
	WhWireMessage message = {is_full,
							 slice(is_full ? "outbox" : ""),
							 slice(is_full ? "{}" : "\xff"),
							 17,
							 is_full ? 3 : 0,
							 is_full ? 9 : 0};
	WhWireTable table = {1, "public", "t"};
	WhWireTable parts[] = {{2, "public", "p\"1"}, {3, "", ""}};
	uint32_t schemas[] = {1, 1};
	int n = is_full ? 2 : 0;

	if (is_full)
	{
		begin.origin = slice("origin");
		begin.gid = slice("");
		prepared.origin = slice("origin");
		stream.origin = slice("origin");
	}
	switch (kind)
	{
		case WH_ENTRY_HELLO:
			wh_wire_add_hello(batch, &hello);
			return;
		case WH_ENTRY_BEGIN:
			wh_wire_add_begin(batch, &begin);
			return;
		case WH_ENTRY_COMMIT:
		case WH_ENTRY_STREAM_COMMIT:
			wh_wire_add_commit(batch, kind, &commit, tallies, n);
			return;
		case WH_ENTRY_RELATION:
			add_relation(batch);
			return;
		case WH_ENTRY_ROWS:
			add_change(batch, is_full ? WH_OP_UPDATE : WH_OP_INSERT,
					   is_full ? WH_BEFORE_FULL : WH_BEFORE_NONE, 3, is_full ? 9 : 0);
			wh_wire_finish_batch(batch);
			return;
		case WH_ENTRY_TRUNCATE:
			wh_wire_add_truncate(batch, 5, schemas, n, is_full, !is_full, is_full ? 9 : 0);
			return;
		case WH_ENTRY_MESSAGE:
			wh_wire_add_message(batch, &message);
			return;
		case WH_ENTRY_STREAM_START:
		case WH_ENTRY_STREAM_STOP:
		case WH_ENTRY_STREAM_ABORT:
			wh_wire_add_stream(batch, kind, &stream);
			return;
		case WH_ENTRY_REWRITE:
			wh_wire_add_rewrite(batch, 6, 1, is_full ? 9 : 0, is_full);
			return;
		case WH_ENTRY_ALTERED:
			wh_wire_add_altered(batch, 16384, is_full ? 1 : 0, is_full ? 9 : 0);
			return;
		case WH_ENTRY_PARTITIONS:
			wh_wire_add_partitions(batch, &table, parts, n, parts, n / 2, is_full ? 9 : 0);
			return;
		case WH_ENTRY_CHUNK:
			wh_wire_add_chunk(batch, 77, "123456789", is_full ? 9 : 0);
			return;
		default:
			wh_wire_add_prepared(batch, kind, &prepared, tallies, n);
			return;
	}
}

/* is_as_added holds what the decoder takes apart to what add_entry() wrote. */
static bool
is_as_added(const WhEntry *entry, bool is_full)
{
	const WhWireCommit *commit = &entry->u.commit;
	const WhWireStream *stream = &entry->u.stream;
	const char *origin = is_full ? "origin" : NULL;
	WhWireError error = NULL;
	WhSlice rest;
	WhWireTally tally;
	int n = 0;

	switch (entry->kind)
	{
		case WH_ENTRY_BEGIN:
			return entry->u.begin.xid == UINT32_MAX && entry->u.begin.end_lsn == UINT64_MAX &&
				   (entry->u.begin.gid.data != NULL) == is_full &&
				   (entry->u.begin.origin.len == 6) == is_full;
		case WH_ENTRY_COMMIT:
		case WH_ENTRY_STREAM_COMMIT:
		case WH_ENTRY_PREPARE:
		case WH_ENTRY_STREAM_PREPARE:
			for (rest = commit->tallies; wh_wire_next_tally(&rest, &tally, &error); n++)
			{
				if (memcmp(&tally, &tallies[n], sizeof(tally)) != 0)
					return false;
			}
			if (error != NULL || n != (is_full ? 2 : 0))
				return false;
			return commit->xid == UINT32_MAX && commit->end_lsn == 17 &&
				   commit->commit_time == -5 &&
				   (commit->gid.len == 4) == (entry->kind >= WH_ENTRY_PREPARE) &&
				   commit->changes == (entry->kind >= WH_ENTRY_PREPARE ? 4 : UINT64_MAX);
		case WH_ENTRY_COMMIT_PREPARED:
			return commit->commit_lsn == 2 && commit->commit_time == INT64_MIN &&
				   commit->end_lsn == 17 && commit->gid.len == 4;
		case WH_ENTRY_ROLLBACK_PREPARED:
			return commit->commit_lsn == 1 && commit->commit_time == -5 && commit->end_lsn == 17 &&
				   commit->gid.len == 4;
		case WH_ENTRY_STREAM_START:
			return stream->xid == UINT32_MAX && stream->is_first == is_full &&
				   stream->origin.len == (origin == NULL ? 0 : 6);
		case WH_ENTRY_STREAM_STOP:
			return stream->xid == UINT32_MAX;
		case WH_ENTRY_STREAM_ABORT:
			return stream->xid == UINT32_MAX && stream->subxid == 8 && stream->abort_lsn == 17;
		case WH_ENTRY_ROWS:
			return entry->u.rows.subxid == (is_full ? 9 : 0) && entry->u.rows.first_seq == 3 &&
				   entry->u.rows.changes == 1;
		case WH_ENTRY_CHUNK:
			return entry->u.chunk.id == 77 && entry->u.chunk.data.len == (is_full ? 9 : 0);
		default:
			return true;
	}
}

static void
count_line(void *arg, const char *line, int len)
{
	(*(int *) arg)++;
}

static void
make_all(WhBatch *batch)
{
	wh_wire_init_batch(batch);
	add_entry(batch, WH_ENTRY_HELLO, true);
	add_entry(batch, WH_ENTRY_RELATION, true);
	for (int kind = WH_ENTRY_BEGIN; kind <= WH_ENTRY_ALTERED; kind++)
	{
		if (kind == WH_ENTRY_RELATION)
			continue;
		add_entry(batch, (WhEntryKind) kind, true);
		add_entry(batch, (WhEntryKind) kind, false);
	}
}

static void
test_entries(void)
{
	for (int kind = WH_ENTRY_HELLO; kind <= WH_ENTRY_ALTERED; kind++)
	{
		bool is_well = true;

		for (int full = 0; full <= 1; full++)
		{
			WhBatch batch;
			WhSlice data;
			WhEntry entry;
			WhWireError error = NULL;

			wh_wire_init_batch(&batch);
			add_entry(&batch, (WhEntryKind) kind, full);
			data = batch_slice(&batch);
			is_well = is_well && repacks(data);
			is_well = is_well && wh_wire_next_entry(&data, &entry, &error) &&
					  (int) entry.kind == kind && is_as_added(&entry, full) &&
					  !wh_wire_next_entry(&data, &entry, &error) && error == NULL;
			free_batch(&batch);
		}
		ok(is_well, psprintf("entry kind %d packs and decodes", kind));
	}
}

static void
test_lines(void)
{
	WhJson *json = wh_wire_create_json();
	WhBatch batch;
	WhWireError error = NULL;
	int lines = 0;

	make_all(&batch);
	ok(wh_wire_render_json(json, batch_slice(&batch), count_line, &lines, &error),
	   "all of them have lines");
	if (lines != 36)
		printf("# %d lines, %s\n", lines, error ? error : "no error");
	ok(lines == 36, "one each");
	wh_wire_free_json(json);
	free_batch(&batch);
}

/* -------- arrays -------- */

/* Each line: an array's bytes, its element kind, and its JSON, NULL where it is to be refused. */
typedef struct ArrayCase
{
	const char *bytes;
	size_t len;
	WhValueKind kind;
	const char *json;
} ArrayCase;

static const ArrayCase array_cases[] = {
	{"", 0, WH_VALUE_INT32, "[]"},
	{"\x0a\x01\x02\x22\x02\x02\x03", 7, WH_VALUE_INT32, "[1,-2]"},
	{"\x0a\x01\x02\x20\x02\x20\x03", 7, WH_VALUE_INT32, "[1,-2]"},
	{"\x08\x02\x22\x01\x02\x22\x01\x03", 8, WH_VALUE_INT32, "[1,-2]"},
	{"\x0a\x01\x03\x1a\x01\x05\x22\x01\x02", 9, WH_VALUE_INT32, "[null,1,null]"},
	{"\x0a\x02\x01\x02\x22\x01\x61\x22\x00", 9, WH_VALUE_TEXT, "[[\"a\",\"\"]]"},
	{"\x0a\x01\x01\x12\x01\x00\x22\x01\x61", 9, WH_VALUE_TEXT,
	 "{\"lower_bounds\":[0],\"values\":[\"a\"]}"},
	{"\x0a\x02\x02\x02\x1a\x01\x0f", 7, WH_VALUE_TEXT, "[[null,null],[null,null]]"},
	{"\x0a\x01\x01\x22\x04\x00\x00\x00\x3f", 9, WH_VALUE_FLOAT, "[0.5]"},
	{"\x0a\x01\x01\x22\x04\x08\x03\x10\x01", 9, WH_VALUE_NUMERIC, "[\"-0.2\"]"},
	{"\x0a\x01\x01", 3, WH_VALUE_INT32, NULL}, /* no value */
	{"\x22\x01\x02", 3, WH_VALUE_INT32, NULL}, /* no dimension */
	{"\x0a\x01\x01\x22\x02\x02\x03", 7, WH_VALUE_INT32, NULL}, /* too many values */
	{"\x0a\x01\x00", 3, WH_VALUE_INT32, NULL}, /* an empty dimension */
	{"\x0a\x07\x01\x01\x01\x01\x01\x01\x01\x22\x01\x02", 12, WH_VALUE_INT32, NULL},
	{"\x0a\x01\x01\x1a\x01\x02\x22\x01\x02", 9, WH_VALUE_INT32, NULL}, /* a bit too far */
	{"\x0a\x01\x01\x1a\x02\x00\x00\x22\x01\x02", 10, WH_VALUE_INT32, NULL},
	{"\x0a\x01\x01\x12\x02\x02\x02\x22\x01\x02", 10, WH_VALUE_INT32, NULL},
	{"\x0a\x01\x01\x22\x03\x00\x00\x00", 8, WH_VALUE_FLOAT, NULL}, /* half a value */
	{"\x0a\x01\x01\x22\x01\x80", 6, WH_VALUE_INT32, NULL},
	{"\x0a\x01\x01\x20\x02", 5, WH_VALUE_TEXT, NULL}, /* the wrong wire type */
	{"\x0a\x08\xff\xff\xff\x3f\xff\xff\xff\x3f", 10, WH_VALUE_INT32, NULL}, /* far too many */
};

static void
keep_line(void *arg, const char *line, int len)
{
	StringInfo kept = arg;

	resetStringInfo(kept);
	appendBinaryStringInfo(kept, line, len);
}

/* render_array renders a row with an array as its one value; returns whether it could be. */
static bool
render_array(const ArrayCase *example, StringInfo line)
{
	WhJson *json = wh_wire_create_json();
	StringInfoData definition;
	WhBatch batch;
	WhWireError error = NULL;
	int mark;
	bool is_well;

	wh_wire_init_batch(&batch);
	initStringInfo(&definition);
	appendBinaryStringInfo(&definition, "\x10\x01\x1a\x00\x22\x00\x28\x01", 8);
	mark = wh_wire_open(&definition, 6);
	appendBinaryStringInfo(&definition, "\x08\x01\x12\x01\x61\x18\x17\x20\x01\x2a\x00\x32\x00\x38",
						   14);
	appendBinaryStringInfo(&definition, "\x13\x40\x00\x5a\x00\x62\x00", 7);
	wh_wire_append_uint(&definition, 15, example->kind);
	wh_wire_close(&definition, mark);
	wh_wire_append_bytes(&definition, 9, "", 0);
	wh_wire_add_relation(&batch, 1, (WhSlice){(const uint8_t *) definition.data, definition.len});
	wh_wire_begin_change(&batch, 1, WH_OP_INSERT, WH_BEFORE_NONE, 1, 0);
	wh_wire_append_bytes(wh_wire_begin_after(&batch), 1, example->bytes, example->len);
	wh_wire_end_row(&batch);
	wh_wire_finish_batch(&batch);
	is_well = wh_wire_render_json(json, batch_slice(&batch), keep_line, line, &error);
	wh_wire_free_json(json);
	free_batch(&batch);
	pfree(definition.data);
	return is_well;
}

static void
test_arrays(void)
{
	StringInfoData line;

	initStringInfo(&line);
	for (int i = 0; i < (int) lengthof(array_cases); i++)
	{
		const ArrayCase *example = &array_cases[i];
		char *expected =
			example->json == NULL ? NULL : psprintf("\"after\":{\"a\":%s}}", example->json);
		bool is_rendered = render_array(example, &line);
		bool is_well = is_rendered == (expected != NULL) &&
					   (expected == NULL || strstr(line.data, expected) != NULL);

		if (!is_well)
			printf("# %s\n", line.data);
		ok(is_well, psprintf("array %d: %s", i, example->json ? example->json : "is refused"));
	}
	pfree(line.data);
}

/* -------- checksums and compression -------- */

static void
test_checksums(void)
{
	uint8_t bytes[1000];
	uint32_t slow;
	bool is_well = true;

	ok(wh_wire_crc32c(0, "123456789", 9) == 0xE3069283, "CRC-32C of the usual digits");
	for (int len = 0; len < (int) sizeof(bytes); len++)
	{
		int cut = (int) draw(len + 1);

		bytes[len] = (uint8_t) draw(256);
		slow = 0xFFFFFFFF;
		for (int i = 0; i < len; i++)
		{
			slow ^= bytes[i];
			for (int bit = 0; bit < 8; bit++)
				slow = slow >> 1 ^ (slow & 1 ? 0x82F63B78 : 0);
		}
		if (wh_wire_crc32c(0, bytes, len) != ~slow ||
			wh_wire_crc32c(wh_wire_crc32c(0, bytes, cut), bytes + cut, len - cut) != ~slow)
			is_well = false;
	}
	ok(is_well, "it is what it should be for any length and cut");
}

static void
test_compression(WhCompression method, const char *name)
{
	WhInflated buffer = {NULL, 0};
	WhBatch batch;
	WhBatch plain;
	WhSlice data;
	WhEntry entry;
	WhWireError error = NULL;
	int nread = 0;

	if (!wh_wire_can_compress(method))
	{
		ok(true, psprintf("%s # skip this build has no %s", name, name));
		return;
	}
	make_all(&plain);
	wh_wire_init_batch(&batch);
	for (int i = 0; i < 20; i++)
		appendBinaryStringInfo(&batch.out, plain.out.data, plain.out.len);
	wh_wire_deflate_batch(&batch, method);
	ok(batch.out.len < plain.out.len * 4, psprintf("%s makes a batch shorter", name));
	ok(repacks(batch_slice(&batch)), psprintf("%s: protobuf-c packs it to the same bytes", name));
	data = batch_slice(&batch);
	ok(!wh_wire_next_entry(&data, &entry, &error) && error != NULL,
	   psprintf("%s: a reader that does not inflate is told", name));
	data = batch_slice(&batch);
	ok(wh_wire_inflate(&data, &buffer, &error) && data.len == plain.out.len * 20 &&
		   memcmp(data.data, plain.out.data, plain.out.len) == 0,
	   psprintf("%s: inflated it is what it was", name));
	for (int i = 0; i < 20000; i++)
	{
		uint8_t *bytes = malloc(batch.out.len);

		memcpy(bytes, batch.out.data, batch.out.len);
		bytes[draw(batch.out.len)] ^= 1 << draw(8);
		data = (WhSlice){bytes, batch.out.len - (draw(4) == 0 ? draw(40) : 0)};
		if (wh_wire_inflate(&data, &buffer, &error) && data.data == buffer.data)
			nread++;
		free(bytes);
	}
	/* Fields that nobody knows, and bits that the compressed form does not use, may change. */
	ok(nread < 200, psprintf("%s: changed batches are refused", name));
	ok(buffer.size < 1024 * 1024, psprintf("%s: and take no memory for what they claim", name));
	data = batch_slice(&plain);
	ok(wh_wire_inflate(&data, &buffer, &error) && data.data == (uint8_t *) plain.out.data,
	   psprintf("%s: a batch that is not compressed stays where it is", name));
	wh_wire_reset_batch(&batch);
	add_entry(&batch, WH_ENTRY_BEGIN, true);
	wh_wire_deflate_batch(&batch, method);
	ok(batch.out.data[0] == 0x0a, psprintf("%s: a small batch is left as it is", name));
	free(buffer.data);
	free_batch(&batch);
	free_batch(&plain);
}

/* -------- broken input -------- */

static void
test_broken(void)
{
	for (int i = 0; i < 30000; i++)
	{
		WhJson *json = wh_wire_create_json();
		WhBatch batch;
		WhSlice data;
		WhEntry entry;
		WhWireError error = NULL;
		WhWireTally tally;
		uint8_t *bytes;
		int lines = 0;

		make_all(&batch);
		bytes = malloc(batch.out.len);
		memcpy(bytes, batch.out.data, batch.out.len);
		for (int n = (int) draw(3); n >= 0; n--)
			bytes[draw(batch.out.len)] = draw(3) == 0 ? 0xFF : (uint8_t) draw(256);
		data = (WhSlice){bytes, batch.out.len};
		while (wh_wire_next_entry(&data, &entry, &error))
		{
			WhSlice rest = entry.u.commit.tallies;
			WhWireError tally_error = NULL;

			while (entry.kind == WH_ENTRY_COMMIT && wh_wire_next_tally(&rest, &tally, &tally_error))
				lines++;
		}
		error = NULL;
		(void) wh_wire_render_json(json, (WhSlice){bytes, batch.out.len}, count_line, &lines,
								   &error);
		wh_wire_free_json(json);
		free(bytes);
		free_batch(&batch);
	}
	ok(true, "30,000 mutated batches of all entries are read without harm");
}

/* -------- .proto text -------- */

/* compiles runs protoc over a text; it is part of what building needs. */
static bool
compiles(const char *text)
{
	char directory[] = "/tmp/wire_entry.XXXXXX";
	char *path;
	FILE *file;
	bool is_well;

	if (mkdtemp(directory) == NULL)
		return false;
	path = psprintf("%s/t.proto", directory);
	file = fopen(path, "w");
	is_well = file != NULL && fputs(text, file) >= 0 && fclose(file) == 0 &&
			  system(psprintf("protoc -I %s --cpp_out=%s --java_out=%s --python_out=%s t.proto",
							  directory, directory, directory, directory)) == 0;
	if (system(psprintf("rm -rf %s", directory)) != 0)
		is_well = false;
	return is_well;
}

static void
test_proto(void)
{
	static const char *const odd[] = {
		"message", "optional", "import", "Row", "Numeric", "package", "repeated", "to", "max",
		"class", "def", "a b", "a_b", "A_B", "ab", "1st", "\"quoted\"", "", "größe", "gr__e", "漢字",
		"a*/b", "new\nline", "back\\", "walhouse_unchanged", "true", "inf", "syntax", "oneof",
		"descriptor", "x\xff\xfe", "_", "__", "Special", "Kind"};
	static WhWireField fields[1600];
	static const char *comments[1600];
	WhWireProto tables[] = {{"Row", "a table\n*/ // \\", lengthof(odd), fields, comments},
							{"Numeric", NULL, 1600, fields, comments},
							{"row", "", 3, fields, NULL},
							{"Int32Array", "x", 0, NULL, NULL}};
	StringInfoData text;
	StringInfoData descriptor;

	for (int i = 0; i < (int) lengthof(fields); i++)
	{
		fields[i].attnum = i + 1;
		fields[i].name = i < (int) lengthof(odd) ? odd[i] : psprintf("column_%d", i);
		fields[i].kind = (WhValueKind) (1 + i % WH_VALUE_ARRAY);
		fields[i].element_kind = fields[i].kind == WH_VALUE_ARRAY ?
									 (WhValueKind) (1 + i / WH_VALUE_ARRAY % WH_VALUE_OUTPUT) :
									 0;
		comments[i] = psprintf("%s: integer*/", fields[i].name);
	}
	initStringInfo(&text);
	wh_wire_append_proto(&text, "message.1x.größe", tables, lengthof(tables));
	ok(compiles(text.data), "protoc compiles a file of odd names");
	initStringInfo(&descriptor);
	wh_wire_append_descriptor(&descriptor, 1, fields, lengthof(fields));
	ok(descriptor.len > 1600 * 10, "a descriptor of 1600 columns");
	pfree(text.data);
	pfree(descriptor.data);
}

int
main(int argc, char **argv)
{
	if (argc > 1)
		state ^= strtoull(argv[1], NULL, 10) * UINT64CONST(0x9E3779B97F4A7C15);
	test_entries();
	test_lines();
	test_arrays();
	test_checksums();
	test_compression(WH_COMPRESS_LZ4, "lz4");
	test_compression(WH_COMPRESS_ZSTD, "zstd");
	test_proto();
	test_broken();
	return done();
}
