/*
 * client_golden.c
 *		The golden files: streams byte for byte, and the JSON lines that they stand for.
 *
 * test/golden/<name>.bin is a file as walhouse_recv --format=delimited writes it, <name>.json what
 * it prints of it, and <name>.whole.json, where that differs, what it prints with --whole.  A
 * reader in any language can be held to them.  Run without arguments this program makes the
 * streams anew and compares; with --write DIRECTORY it writes them (make golden).
 */
#include "postgres_fe.h"

#include "client/client.h"
#include "wire/encode.h"

#include "tap.h"

#define USECS INT64CONST(1000000)

static WhSlice
slice(const char *text)
{
	return (WhSlice){(const uint8_t *) text, strlen(text)};
}

/* -------- streams -------- */

/* A file in the making: batches, each after its length. */
typedef struct Stream
{
	WhBatch batch;
	StringInfoData file;
	WhCompression compression;
	WhWireTally tally; /* of the open transaction */
} Stream;

static void
end_batch(Stream *stream)
{
	uint8_t prefix[WH_WIRE_MAX_VARINT];

	wh_wire_finish_batch(&stream->batch);
	wh_wire_deflate_batch(&stream->batch, stream->compression);
	appendBinaryStringInfo(&stream->file, (char *) prefix,
						   (int) (wh_wire_put_length(prefix, stream->batch.out.len) - prefix));
	appendBinaryStringInfo(&stream->file, stream->batch.out.data, stream->batch.out.len);
	wh_wire_reset_batch(&stream->batch);
}

static void
add_hello(Stream *stream)
{
	static const char *const names[] = {"protocol", "tally"};
	static const char *const values[] = {"1", "on"};
	WhWireHello hello = {"1.2.3", 150020, UINT64CONST(7446000000000000001), 1, 16384,
						 "shop", "UTF8", 2, names, values};

	wh_wire_add_hello(&stream->batch, &hello);
}

typedef struct ColumnCase
{
	const char *name;
	const char *type;
	const char *type_name;
	WhValueKind kind;
	WhValueKind element_kind;
} ColumnCase;

/* add_definition adds a relation whose columns have the attnums 1, 2, …; the first is its key. */
static void
add_definition(Stream *stream, uint32_t schema, const char *table, const ColumnCase *columns,
			   int n)
{
	WhWireField fields[40];
	StringInfoData out;
	int mark;

	initStringInfo(&out);
	wh_wire_append_uint(&out, 2, 16384 + schema);
	wh_wire_append_string(&out, 3, "public");
	wh_wire_append_string(&out, 4, table);
	wh_wire_append_uint(&out, 5, 1);
	for (int i = 0; i < n; i++)
	{
		fields[i] = (WhWireField){i + 1, columns[i].name, columns[i].kind, columns[i].element_kind};
		mark = wh_wire_open(&out, 6);
		wh_wire_append_uint(&out, 1, i + 1);
		wh_wire_append_string(&out, 2, columns[i].name);
		wh_wire_append_uint(&out, 3, 23);
		wh_wire_append_uint(&out, 4, (uint64_t) (int64_t) -1);
		wh_wire_append_string(&out, 5, columns[i].type);
		wh_wire_append_string(&out, 6, "pg_catalog");
		wh_wire_append_uint(&out, 7, columns[i].kind);
		wh_wire_append_uint(&out, 8, i == 0);
		wh_wire_append_string(&out, 11, columns[i].type_name);
		wh_wire_append_string(&out, 12, "b");
		if (columns[i].element_kind != 0)
			wh_wire_append_uint(&out, 15, columns[i].element_kind);
		wh_wire_close(&out, mark);
	}
	wh_wire_append_bytes(&out, 7, "\001", 1);
	wh_wire_append_bytes(&out, 8, "\001", 1);
	mark = wh_wire_open(&out, 9);
	wh_wire_append_descriptor(&out, schema, fields, n);
	wh_wire_close(&out, mark);
	wh_wire_add_relation(&stream->batch, schema, (WhSlice){(uint8_t *) out.data, out.len});
	stream->tally = (WhWireTally){16384 + schema};
	pfree(out.data);
}

static void
add_begin(Stream *stream, uint32_t xid)
{
	WhWireBegin begin = {xid, xid * 256, xid * 256 + 48, INT64CONST(1795406400000000) + xid};

	if (xid % 2 == 0)
		begin.origin = slice("elsewhere");
	wh_wire_add_begin(&stream->batch, &begin);
}

static void
add_commit(Stream *stream, WhEntryKind kind, uint32_t xid, uint64_t changes)
{
	WhWireCommit commit = {xid, xid * 256, xid * 256 + 48, INT64CONST(1795406400000000) + xid,
						   changes};

	wh_wire_add_commit(&stream->batch, kind, &commit, &stream->tally, changes > 0);
	stream->tally = (WhWireTally){stream->tally.relid};
	end_batch(stream);
}

/* count counts a change into the tally. */
static void
count(Stream *stream, WhOp op, const StringInfoData *after, const StringInfoData *before)
{
	uint8_t byte = (uint8_t) op;
	uint32_t crc = wh_wire_crc32c(0, &byte, 1);

	if (after != NULL)
		crc = wh_wire_crc32c(crc, after->data, after->len);
	if (before != NULL)
		crc = wh_wire_crc32c(crc, before->data, before->len);
	stream->tally.hash += crc;
	stream->tally.inserts += op == WH_OP_INSERT;
	stream->tally.updates += op == WH_OP_UPDATE;
	stream->tally.deletes += op == WH_OP_DELETE;
}

/* add_change adds a change, its images given as bytes; counted where they are not to be void. */
static void
add_change(Stream *stream, uint32_t schema, WhOp op, WhBeforeKind before_kind, uint64_t seq,
		   uint32_t subxid, const StringInfoData *after, const StringInfoData *before)
{
	wh_wire_begin_change(&stream->batch, schema, op, before_kind, seq, subxid);
	if (after != NULL)
	{
		appendBinaryStringInfo(wh_wire_begin_after(&stream->batch), after->data, after->len);
		wh_wire_end_row(&stream->batch);
	}
	if (before != NULL)
	{
		appendBinaryStringInfo(wh_wire_begin_before(&stream->batch), before->data, before->len);
		wh_wire_end_row(&stream->batch);
	}
}

/* An order: id, and what is not NULL of note and price. */
static StringInfo
order(int id, const char *note, int64_t unscaled)
{
	StringInfo row = makeStringInfo();
	int price;

	wh_wire_append_sint(row, 1, id);
	if (note != NULL)
		wh_wire_append_string(row, 2, note);
	price = wh_wire_open(row, 3);
	wh_wire_append_sint(row, 1, unscaled);
	wh_wire_append_uint(row, 2, 2);
	wh_wire_close(row, price);
	return row;
}

static const ColumnCase orders[] = {{"id", "integer", "int4", WH_VALUE_INT32},
									{"note", "text", "text", WH_VALUE_TEXT},
									{"price", "numeric(10,2)", "numeric", WH_VALUE_NUMERIC}};

/* Inserts, updates and deletes with every kind of old image, a truncate, two transactions. */
static void
make_changes(Stream *stream)
{
	StringInfo key = makeStringInfo();
	StringInfo after = order(3, NULL, -1);
	StringInfo row;
	uint32_t schema = 1;

	wh_wire_append_sint(key, 1, 2);
	add_hello(stream);
	add_begin(stream, 725);
	add_definition(stream, 1, "orders", orders, lengthof(orders));
	for (int i = 1; i <= 3; i++)
	{
		row = order(i, i == 2 ? NULL : "größe \"x\"\n", 1250 * i);
		add_change(stream, 1, WH_OP_INSERT, WH_BEFORE_NONE, i, 0, row, NULL);
		count(stream, WH_OP_INSERT, row, NULL);
	}
	add_change(stream, 1, WH_OP_UPDATE, WH_BEFORE_KEY, 4, 0, order(4, "moved", 5), key);
	count(stream, WH_OP_UPDATE, order(4, "moved", 5), key);
	wh_wire_append_bytes(after, WH_ROW_CHANGED, "\002\003", 2);
	add_change(stream, 1, WH_OP_UPDATE, WH_BEFORE_FULL, 7, 0, after, order(3, "old", 7));
	count(stream, WH_OP_UPDATE, after, order(3, "old", 7));
	row = makeStringInfo();
	wh_wire_append_sint(row, 1, 3);
	wh_wire_append_bytes(row, WH_ROW_UNCHANGED, "\002\003", 2);
	add_change(stream, 1, WH_OP_UPDATE, WH_BEFORE_NONE, 8, 0, row, NULL);
	count(stream, WH_OP_UPDATE, row, NULL);
	add_change(stream, 1, WH_OP_DELETE, WH_BEFORE_KEY, 9, 0, NULL, key);
	count(stream, WH_OP_DELETE, NULL, key);
	add_commit(stream, WH_ENTRY_COMMIT, 725, 7);
	add_begin(stream, 726);
	wh_wire_add_truncate(&stream->batch, 1, &schema, 1, true, false, 0);
	stream->tally.truncates = 1;
	add_change(stream, 1, WH_OP_DELETE, WH_BEFORE_NONE, 2, 0, NULL, NULL);
	count(stream, WH_OP_DELETE, NULL, NULL);
	add_commit(stream, WH_ENTRY_COMMIT, 726, 2);
}

/* -------- values -------- */

static const ColumnCase types[] = {
	{"id", "integer", "int4", WH_VALUE_INT32},
	{"yes", "boolean", "bool", WH_VALUE_BOOL},
	{"large", "bigint", "int8", WH_VALUE_INT64},
	{"oid", "oid", "oid", WH_VALUE_UINT32},
	{"xid", "xid8", "xid8", WH_VALUE_UINT64},
	{"single", "real", "float4", WH_VALUE_FLOAT},
	{"double", "double precision", "float8", WH_VALUE_DOUBLE},
	{"numeric", "numeric", "numeric", WH_VALUE_NUMERIC},
	{"date", "date", "date", WH_VALUE_DATE},
	{"time", "time without time zone", "time", WH_VALUE_TIME},
	{"time tz", "time with time zone", "timetz", WH_VALUE_TIMETZ},
	{"at", "timestamp without time zone", "timestamp", WH_VALUE_TIMESTAMP},
	{"At", "timestamp with time zone", "timestamptz", WH_VALUE_TIMESTAMPTZ},
	{"interval", "interval", "interval", WH_VALUE_INTERVAL},
	{"uuid", "uuid", "uuid", WH_VALUE_UUID},
	{"bytes", "bytea", "bytea", WH_VALUE_BYTES},
	{"größe", "text", "text", WH_VALUE_TEXT},
	{"point", "point", "point", WH_VALUE_OUTPUT}};

/* Values that fixed fields have; the rest comes from their messages. */
typedef struct ValueCase
{
	int32_t id;
	bool yes;
	int64_t large;
	uint32_t oid;
	uint64_t xid;
	float single;
	double number;
	int64_t unscaled;
	uint32_t scale;
	const char *big; /* instead of the two above */
	int32_t date;
	int64_t time;
	int32_t zone;
	int64_t at;
	WhWireInterval interval;
	const char *uuid; /* 16 bytes */
	const char *text;
} ValueCase;

static const ValueCase values[] = {
	{1,
	 true,
	 9007199254740993,
	 4294967295u,
	 UINT64_MAX,
	 0.1f,
	 0.1,
	 1250,
	 2,
	 NULL,
	 20780,
	 INT64CONST(45296) * USECS + 500000,
	 -19800,
	 INT64CONST(1795406400000000),
	 {14, -3, INT64CONST(-14706) * USECS - 500000},
	 "\x01\x23\x45\x67\x89\xab\xcd\xef"
	 "0123456\xff",
	 "größe \"x\"\n\t\\ 漢字"},
	{INT32_MIN,
	 false,
	 INT64_MIN,
	 0,
	 0,
	 -0.0f,
	 -0.0,
	 INT64_MIN,
	 18,
	 NULL,
	 -2440588,
	 0,
	 57599,
	 INT64CONST(-210866803200000000),
	 {0, 0, 0},
	 "abcdefghijklmnop",
	 ""},
	{INT32_MAX,
	 true,
	 INT64_MAX,
	 1,
	 1,
	 3.4028235e38f,
	 1.7976931348623157e308,
	 0,
	 0,
	 "123456789012345678901234567890.50",
	 2145042905,
	 INT64CONST(86400) * USECS,
	 -57599,
	 INT64CONST(9223371331199999999),
	 {INT32_MIN, INT32_MAX, INT64_MAX},
	 "0123456789abcdef",
	 "\x7f\x1f"},
	{0,
	 false,
	 0,
	 0,
	 0,
	 1e-45f,
	 5e-324,
	 0,
	 5,
	 NULL,
	 -719163,
	 1,
	 3601,
	 -1,
	 {0, 0, -1},
	 "abcdefghijklmnop",
	 "'"},
};

static StringInfo
value_row(const ValueCase *value)
{
	StringInfo row = makeStringInfo();
	uint32_t single;
	uint64_t number;
	int mark;

	memcpy(&single, &value->single, sizeof(single));
	memcpy(&number, &value->number, sizeof(number));
	wh_wire_append_sint(row, 1, value->id);
	wh_wire_append_uint(row, 2, value->yes);
	wh_wire_append_sint(row, 3, value->large);
	wh_wire_append_uint(row, 4, value->oid);
	wh_wire_append_uint(row, 5, value->xid);
	wh_wire_append_fixed32(row, 6, single);
	wh_wire_append_fixed64(row, 7, number);
	mark = wh_wire_open(row, 8);
	if (value->big == NULL)
	{
		wh_wire_append_sint(row, 1, value->unscaled);
		wh_wire_append_uint(row, 2, value->scale);
	}
	else
		wh_wire_append_string(row, 3, value->big);
	wh_wire_close(row, mark);
	wh_wire_append_sint(row, 9, value->date);
	wh_wire_append_sint(row, 10, value->time);
	mark = wh_wire_open(row, 11);
	wh_wire_append_sint(row, 1, value->time);
	wh_wire_append_sint(row, 2, value->zone);
	wh_wire_close(row, mark);
	wh_wire_append_fixed64(row, 12, (uint64_t) value->at);
	wh_wire_append_fixed64(row, 13, (uint64_t) value->at);
	mark = wh_wire_open(row, 14);
	wh_wire_append_sint(row, 1, value->interval.months);
	wh_wire_append_sint(row, 2, value->interval.days);
	wh_wire_append_sint(row, 3, value->interval.microseconds);
	wh_wire_close(row, mark);
	wh_wire_append_bytes(row, 15, value->uuid, 16);
	wh_wire_append_bytes(row, 16, value->text, strlen(value->text));
	wh_wire_append_string(row, 17, value->text);
	wh_wire_append_string(row, 18, "(1,2)");
	return row;
}

static void
append_special(StringInfo row, uint32_t attnum, WhSpecialKind kind, const char *text)
{
	int mark = wh_wire_open(row, WH_ROW_SPECIAL);

	wh_wire_append_uint(row, 1, attnum);
	wh_wire_append_uint(row, 2, kind);
	if (text != NULL)
		wh_wire_append_string(row, kind == WH_SPECIAL_NOT_UTF8 ? 4 : 3, text);
	wh_wire_close(row, mark);
}

/* Every kind of value, its extremes, NULL, and what is special. */
static void
make_types(Stream *stream)
{
	static const uint64_t not_numbers[] = {UINT64CONST(0x7ff8000000000000),
										   UINT64CONST(0x7ff0000000000000),
										   UINT64CONST(0xfff0000000000000)};
	StringInfo row;
	int seq = 0;

	add_hello(stream);
	add_begin(stream, 801);
	add_definition(stream, 1, "types", types, lengthof(types));
	for (int i = 0; i < (int) lengthof(values); i++)
	{
		row = value_row(&values[i]);
		add_change(stream, 1, WH_OP_INSERT, WH_BEFORE_NONE, ++seq, 0, row, NULL);
		count(stream, WH_OP_INSERT, row, NULL);
	}
	for (int i = 0; i < 4; i++)
	{
		row = makeStringInfo();
		wh_wire_append_sint(row, 1, 100 + i);
		if (i > 0)
		{
			wh_wire_append_fixed32(row, 6, i == 1 ? 0x7fc00000 : i == 2 ? 0x7f800000 :
																		  0xff800000);
			wh_wire_append_fixed64(row, 7, not_numbers[i - 1]);
			append_special(row, 8, (WhSpecialKind) (4 - i), NULL);
			append_special(row, 9, (WhSpecialKind) (1 + i % 2), NULL);
			append_special(row, 12, (WhSpecialKind) (1 + i % 2), NULL);
			append_special(row, 13, WH_SPECIAL_OUT_OF_RANGE, "294276-12-31 23:59:59.999999+00");
			append_special(row, 17, WH_SPECIAL_NOT_UTF8, "\xe9t\xe9");
		}
		add_change(stream, 1, WH_OP_INSERT, WH_BEFORE_NONE, ++seq, 0, row, NULL);
		count(stream, WH_OP_INSERT, row, NULL);
	}
	add_commit(stream, WH_ENTRY_COMMIT, 801, seq);
}

/* -------- arrays -------- */

static const ColumnCase arrays[] = {
	{"id", "integer", "int4", WH_VALUE_INT32},
	{"numbers", "integer[]", "_int4", WH_VALUE_ARRAY, WH_VALUE_INT32},
	{"words", "text[]", "_text", WH_VALUE_ARRAY, WH_VALUE_TEXT},
	{"prices", "numeric[]", "_numeric", WH_VALUE_ARRAY, WH_VALUE_NUMERIC},
	{"times", "timestamp with time zone[]", "_timestamptz", WH_VALUE_ARRAY, WH_VALUE_TIMESTAMPTZ},
	{"singles", "real[]", "_float4", WH_VALUE_ARRAY, WH_VALUE_FLOAT},
	{"flags", "boolean[]", "_bool", WH_VALUE_ARRAY, WH_VALUE_BOOL}};

static void
make_arrays(Stream *stream)
{
	StringInfo rows[3];
	int mark;

	for (int i = 0; i < 3; i++)
	{
		rows[i] = makeStringInfo();
		wh_wire_append_sint(rows[i], 1, i + 1);
	}
	/* {1,-2,300}, {"",NULL,größe}, {{1.50,NULL},{123…,0}}, {2026-…}, {0.1,NaN}, {t,f} */
	wh_wire_append_bytes(rows[0], 2, "\x0a\x01\x03\x22\x04\x02\x03\xd8\x04", 9);
	mark = wh_wire_open(rows[0], 3);
	wh_wire_append_bytes(rows[0], 1, "\x03", 1);
	wh_wire_append_bytes(rows[0], 3, "\x02", 1);
	wh_wire_append_string(rows[0], 4, "");
	wh_wire_append_string(rows[0], 4, "größe");
	wh_wire_close(rows[0], mark);
	mark = wh_wire_open(rows[0], 4);
	wh_wire_append_bytes(rows[0], 1, "\x02\x02", 2);
	wh_wire_append_bytes(rows[0], 3, "\x02", 1);
	wh_wire_append_bytes(rows[0], 4, "\x08\xac\x02\x10\x02", 5);
	wh_wire_append_bytes(rows[0], 4, "\x1a\x15"
									 "123456789012345678901",
						 23);
	wh_wire_append_bytes(rows[0], 4, "\x08\x00\x10\x00", 4);
	wh_wire_close(rows[0], mark);
	wh_wire_append_bytes(rows[0], 5, "\x0a\x01\x01\x22\x08\x00\x00\x00\x00\x00\x00\x00\x00", 13);
	wh_wire_append_bytes(rows[0], 6, "\x0a\x01\x02\x22\x08\xcd\xcc\xcc\x3d\x00\x00\xc0\x7f", 13);
	wh_wire_append_bytes(rows[0], 7, "\x0a\x01\x02\x22\x02\x01\x00", 7);
	/* empty, all NULL, lower bounds */
	wh_wire_append_bytes(rows[1], 2, "", 0);
	wh_wire_append_bytes(rows[1], 3, "\x0a\x02\x02\x01\x1a\x01\x03", 7);
	wh_wire_append_bytes(rows[2], 2,
						 "\x0a\x03\x01\x02\x01\x12\x03\x00\x02\x05\x22\x02\x02\x04", 14);
	append_special(rows[2], 5, WH_SPECIAL_OUT_OF_RANGE, "{infinity}");
	add_hello(stream);
	add_begin(stream, 901);
	add_definition(stream, 1, "arrays", arrays, lengthof(arrays));
	for (int i = 0; i < 3; i++)
	{
		add_change(stream, 1, WH_OP_INSERT, WH_BEFORE_NONE, i + 1, 0, rows[i], NULL);
		count(stream, WH_OP_INSERT, rows[i], NULL);
	}
	add_commit(stream, WH_ENTRY_COMMIT, 901, 3);
}

/* -------- streamed, prepared, the rest -------- */

static void
add_segment(Stream *stream, uint32_t xid, bool is_first, int id, uint32_t subxid, bool counts)
{
	WhWireStream segment = {xid, 0, is_first};
	StringInfo row = order(id, "streamed", id);

	wh_wire_add_stream(&stream->batch, WH_ENTRY_STREAM_START, &segment);
	if (id == 1)
		add_definition(stream, 1, "orders", orders, lengthof(orders));
	add_change(stream, 1, WH_OP_INSERT, WH_BEFORE_NONE, id, subxid, row, NULL);
	if (counts)
		count(stream, WH_OP_INSERT, row, NULL);
	wh_wire_add_stream(&stream->batch, WH_ENTRY_STREAM_STOP, &segment);
	end_batch(stream);
}

/*
 * Two transactions in turn, a subtransaction of the first aborts, the second aborts; then one
 * that a new session makes void, and that comes again.
 */
static void
make_stream(Stream *stream)
{
	WhWireStream abort_one = {1000, 1001, false, 77};
	WhWireStream abort_all = {1010, 1010, false, 78};

	add_hello(stream);
	add_segment(stream, 1000, true, 1, 0, true);
	add_segment(stream, 1010, true, 2, 0, false);
	add_segment(stream, 1000, false, 3, 1001, false);
	add_segment(stream, 1000, false, 4, 1002, true);
	wh_wire_add_stream(&stream->batch, WH_ENTRY_STREAM_ABORT, &abort_one);
	end_batch(stream);
	add_segment(stream, 1000, false, 5, 0, true);
	wh_wire_add_stream(&stream->batch, WH_ENTRY_STREAM_ABORT, &abort_all);
	end_batch(stream);
	add_commit(stream, WH_ENTRY_STREAM_COMMIT, 1000, 3);
	add_segment(stream, 1020, true, 6, 0, false);
	add_hello(stream);
	end_batch(stream);
	add_segment(stream, 1020, true, 1, 0, true);
	add_commit(stream, WH_ENTRY_STREAM_COMMIT, 1020, 1);
}

static void
make_prepared(Stream *stream)
{
	WhWirePrepared first = {11, 256, 0, 300, 5 * USECS, 0, "first", 1};
	WhWirePrepared second = {13, 700, 0, 800, 7 * USECS, 0, "sécond", 1};
	WhWireBegin begin = {11, 256, 300, 5 * USECS};
	StringInfo row = order(1, "prepared", 1);

	begin.gid = slice("first");
	add_hello(stream);
	wh_wire_add_begin(&stream->batch, &begin);
	add_definition(stream, 1, "orders", orders, lengthof(orders));
	add_change(stream, 1, WH_OP_INSERT, WH_BEFORE_NONE, 1, 0, row, NULL);
	count(stream, WH_OP_INSERT, row, NULL);
	wh_wire_add_prepared(&stream->batch, WH_ENTRY_PREPARE, &first, &stream->tally, 1);
	end_batch(stream);
	stream->tally = (WhWireTally){stream->tally.relid};
	add_segment(stream, 13, true, 2, 0, true);
	wh_wire_add_prepared(&stream->batch, WH_ENTRY_STREAM_PREPARE, &second, &stream->tally, 1);
	end_batch(stream);
	first.commit_lsn = 900;
	first.end_lsn = 950;
	first.end_time = 8 * USECS;
	first.origin = slice("elsewhere");
	wh_wire_add_prepared(&stream->batch, WH_ENTRY_COMMIT_PREPARED, &first, NULL, 0);
	end_batch(stream);
	second.prepare_lsn = 800;
	second.end_lsn = 1000;
	second.end_time = 9 * USECS;
	wh_wire_add_prepared(&stream->batch, WH_ENTRY_ROLLBACK_PREPARED, &second, NULL, 0);
	end_batch(stream);
}

/* Messages, a rewrite, partitions, and what only a later version knows. */
static void
make_others(Stream *stream)
{
	WhWireMessage inside = {true, slice("outbox"), slice("{\"a\": 1}"), 17, 1};
	WhWireMessage outside = {false, slice("walhouse.heartbeat"), slice("\xff\x01"), 999};
	WhWireTable parent = {16390, "public", "sales"};
	WhWireTable leaves[] = {{16391, "public", "sales_2026"}, {16392, "", ""}};

	add_hello(stream);
	add_begin(stream, 1201);
	wh_wire_add_message(&stream->batch, &inside);
	add_definition(stream, 1, "orders", orders, lengthof(orders));
	wh_wire_add_rewrite(&stream->batch, 2, 1, 0, false);
	wh_wire_add_partitions(&stream->batch, &parent, leaves, 1, leaves + 1, 1, 0);
	/* an entry of kind 40, and a field 99 of Batch */
	appendBinaryStringInfo(&stream->batch.out, "\x0a\x06\xc2\x02\x03\x08\x96\x01\x98\x06\x05", 11);
	add_commit(stream, WH_ENTRY_COMMIT, 1201, 0);
	wh_wire_add_message(&stream->batch, &outside);
	end_batch(stream);
}

/* A value in three pieces, one that nothing refers to, and an old image with one of its own. */
static void
make_chunks(Stream *stream)
{
	static const char text[] = "a value that came in three pieces";
	StringInfo row = order(1, NULL, 5);
	StringInfo before = order(1, NULL, 4);

	for (int i = 0; i < 2; i++)
	{
		StringInfo image = i == 0 ? row : before;
		int mark = wh_wire_open(image, WH_ROW_CHUNKED);

		wh_wire_append_uint(image, 1, 2);
		wh_wire_append_uint(image, 2, 7 + i);
		wh_wire_append_uint(image, 3, strlen(text) - 11 * i);
		wh_wire_append_fixed32(image, 4, wh_wire_crc32c(0, text, strlen(text) - 11 * i));
		wh_wire_close(image, mark);
	}
	add_hello(stream);
	add_begin(stream, 1301);
	add_definition(stream, 1, "orders", orders, lengthof(orders));
	wh_wire_add_chunk(&stream->batch, 6, "void", 4);
	wh_wire_add_chunk(&stream->batch, 7, text, 11);
	end_batch(stream);
	wh_wire_add_chunk(&stream->batch, 7, text + 11, 11);
	wh_wire_add_chunk(&stream->batch, 8, text, strlen(text) - 11);
	end_batch(stream);
	wh_wire_add_chunk(&stream->batch, 7, text + 22, strlen(text) - 22);
	add_change(stream, 1, WH_OP_UPDATE, WH_BEFORE_FULL, 1, 0, row, before);
	count(stream, WH_OP_UPDATE, row, before);
	add_commit(stream, WH_ENTRY_COMMIT, 1301, 1);
}

/* -------- files -------- */

typedef struct Golden
{
	const char *name;
	void (*make)(Stream *stream);
	WhCompression compression;
	bool differs_whole;
} Golden;

static const Golden goldens[] = {{"changes", make_changes, WH_COMPRESS_NONE},
								 {"types", make_types, WH_COMPRESS_NONE},
								 {"arrays", make_arrays, WH_COMPRESS_NONE},
								 {"stream", make_stream, WH_COMPRESS_NONE, true},
								 {"prepared", make_prepared, WH_COMPRESS_NONE, true},
								 {"others", make_others, WH_COMPRESS_NONE},
								 {"chunks", make_chunks, WH_COMPRESS_NONE},
								 {"lz4", make_changes, WH_COMPRESS_LZ4},
								 {"zstd", make_changes, WH_COMPRESS_ZSTD}};

typedef struct Printer
{
	WhJson *json;
	StringInfoData text;
	WhWireError error;
} Printer;

static void
print_line(void *arg, const char *line, int len)
{
	Printer *printer = arg;

	appendBinaryStringInfo(&printer->text, line, len);
	appendStringInfoChar(&printer->text, '\n');
}

static void
print_batch(void *arg, WhSlice batch)
{
	Printer *printer = arg;
	WhWireError error = NULL;

	if (!wh_wire_render_json(printer->json, batch, print_line, printer, &error))
		printer->error = error;
}

/* print_file makes the JSON lines of a file. */
static void
print_file(const StringInfoData *file, bool is_whole, Printer *printer)
{
	WhAssembler *assembler = wh_client_create_assembler(print_batch, printer);
	WhSlice rest = {(const uint8_t *) file->data, file->len};
	WhInflated inflated = {NULL, 0};
	uint64_t len;

	memset(printer, 0, sizeof(*printer));
	printer->json = wh_wire_create_json();
	initStringInfo(&printer->text);
	while (printer->error == NULL && wh_wire_next_packed(&rest, &len, &printer->error))
	{
		WhSlice batch = {rest.data, (size_t) len};

		if (len > rest.len || !wh_wire_inflate(&batch, &inflated, &printer->error))
			break;
		if (is_whole)
			wh_client_assemble(assembler, batch);
		else
			print_batch(printer, batch);
		rest.data += len;
		rest.len -= (size_t) len;
	}
	if (rest.len != 0 && printer->error == NULL)
		printer->error = "the file ends in the middle of a batch";
	if (printer->error != NULL)
		printf("# %s\n", printer->error);
	free(inflated.data);
	wh_client_free_assembler(assembler);
	wh_wire_free_json(printer->json);
}

static bool
read_file(const char *path, StringInfo text)
{
	FILE *file = fopen(path, "rb");

	initStringInfo(text);
	if (file == NULL)
		return false;
	enlargeStringInfo(text, 1024 * 1024);
	text->len = (int) fread(text->data, 1, 1024 * 1024, file);
	fclose(file);
	return true;
}

/* hold writes a golden file, or holds what is there to what should be. */
static void
hold(const char *directory, bool writes, const char *name, const StringInfoData *text)
{
	char *path = psprintf("%s/%s", directory, name);
	StringInfoData there;

	if (writes)
	{
		FILE *file = fopen(path, "wb");

		if (file == NULL || fwrite(text->data, 1, text->len, file) != text->len ||
			fclose(file) != 0)
			ok(false, path);
		return;
	}
	ok(read_file(path, &there) && there.len == text->len &&
		   memcmp(there.data, text->data, there.len) == 0,
	   name);
	pfree(there.data);
}

int
main(int argc, char **argv)
{
	bool writes = argc > 2 && strcmp(argv[1], "--write") == 0;
	const char *directory = writes ? argv[2] : "test/golden";

	for (int i = 0; i < (int) lengthof(goldens); i++)
	{
		const Golden *golden = &goldens[i];
		Stream stream = {.compression = golden->compression};
		StringInfoData file;
		Printer printer;

		if (!wh_wire_can_compress(golden->compression))
		{
			ok(true, psprintf("%s # skip this build cannot", golden->name));
			continue;
		}
		wh_wire_init_batch(&stream.batch);
		initStringInfo(&stream.file);
		golden->make(&stream);
		/* Other versions of the libraries may compress to other bytes. */
		file = stream.file;
		if (writes || golden->compression == WH_COMPRESS_NONE)
			hold(directory, writes, psprintf("%s.bin", golden->name), &stream.file);
		else
			ok(read_file(psprintf("%s/%s.bin", directory, golden->name), &file), golden->name);
		print_file(&file, false, &printer);
		ok(printer.error == NULL, psprintf("%s is read", golden->name));
		hold(directory, writes, psprintf("%s.json", golden->name), &printer.text);
		print_file(&file, true, &printer);
		ok(printer.error == NULL, psprintf("%s is put together", golden->name));
		if (golden->differs_whole)
			hold(directory, writes, psprintf("%s.whole.json", golden->name), &printer.text);
		else
			hold(directory, false, psprintf("%s.json", golden->name), &printer.text);
	}
	return done();
}
