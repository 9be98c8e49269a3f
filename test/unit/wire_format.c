/*
 * wire_format.c
 *		The wire format without a server.
 *
 * Batches are made at random, then read back three ways: by protobuf-c, which must pack what it
 * unpacked to the same bytes; by the decoder, which must find every change again; and as
 * JSON.  Numerics are laid out as PostgreSQL stores them and must come back digit for
 * digit.  Lastly broken batches, cut and mutated, must be refused or read, but never make the
 * readers leave the buffer: the program is built with the address and undefined behaviour
 * sanitizers.
 *
 * Prints TAP.  A seed can be given as its argument.
 */
#include "c.h"

#include <stdio.h>
#include <stdlib.h>

#include "utils/palloc.h"

#include "wire/encode.h"
#include "wire/json.h"
#include "wire/walhouse.pb-c.h"

#include "tap.h"

/* -------- batches at random -------- */

typedef struct Expected
{
	WhOp op;
	WhBeforeKind before_kind;
	uint64_t seq;
	uint32_t schema;
	StringInfoData after;
	StringInfoData before;
} Expected;

static void
fill_row(StringInfo row, StringInfo copy)
{
	static const uint64_t sizes[] = {0, 1, 20, 126, 127, 128, 129, 300, 16383, 16384, 70000};
	int start = row->len;
	size_t len = sizes[draw(draw(20) == 0 ? lengthof(sizes) : 8)];
	char *text = palloc(len + 1);

	memset(text, 'x', len);
	if (draw(3) > 0)
		wh_wire_append_sint(row, 1, (int64_t) draw(UINT64_MAX));
	if (draw(3) > 0)
		wh_wire_append_fixed64(row, 15, draw(UINT64_MAX));
	if (draw(4) > 0)
		wh_wire_append_bytes(row, 16, text, len);
	if (draw(4) == 0)
		wh_wire_append_bytes(row, WH_ROW_UNCHANGED, "\003\021", 2);
	pfree(text);
	initStringInfo(copy);
	appendBinaryStringInfo(copy, row->data + start, row->len - start);
}

/* make_batch makes a transaction of n changes, and what is to be found in it. */
static void
make_batch(WhBatch *batch, Expected *expected, int n)
{
	static const WhWireField fields[] = {{1, "id", WH_VALUE_INT64},
										 {15, "at", WH_VALUE_TIMESTAMPTZ},
										 {16, "tëxt", WH_VALUE_TEXT}};
	static const char *const names[] = {"protocol"};
	static const char *const values[] = {"1"};
	WhWireHello hello = {"1.2.3", 150020, UINT64_MAX, 7, 5, "shop", "UTF8", 1, names, values};
	WhWireBegin begin = {4294967295u, 1, UINT64_MAX, -5, {(const uint8_t *) "origin", 6}};
	WhWireCommit commit = {4294967295u, 1, UINT64_MAX, -5, n};
	uint32_t schemas[] = {1, 300};
	StringInfoData definition;
	uint64_t seq = 0;

	wh_wire_init_batch(batch);
	wh_wire_add_hello(batch, &hello);
	wh_wire_add_begin(batch, &begin);
	for (int i = 0; i < (int) lengthof(schemas); i++)
	{
		int mark;

		initStringInfo(&definition);
		wh_wire_append_uint(&definition, 2, 16384);
		wh_wire_append_string(&definition, 3, "public");
		wh_wire_append_string(&definition, 4, "t");
		wh_wire_append_uint(&definition, 5, 1);
		for (int j = 0; j < (int) lengthof(fields); j++)
		{
			mark = wh_wire_open(&definition, 6);
			wh_wire_append_uint(&definition, 1, fields[j].attnum);
			wh_wire_append_string(&definition, 2, fields[j].name);
			wh_wire_append_uint(&definition, 3, 25);
			wh_wire_append_uint(&definition, 4, (uint64_t) (int64_t) -1);
			wh_wire_append_string(&definition, 5, "text");
			wh_wire_append_string(&definition, 6, "pg_catalog");
			wh_wire_append_uint(&definition, 7, fields[j].kind);
			wh_wire_append_uint(&definition, 8, 0);
			wh_wire_append_string(&definition, 11, "text");
			wh_wire_append_string(&definition, 12, "b");
			wh_wire_close(&definition, mark);
		}
		wh_wire_append_bytes(&definition, 8, "\001", 1);
		mark = wh_wire_open(&definition, 9);
		wh_wire_append_descriptor(&definition, schemas[i], fields, lengthof(fields));
		wh_wire_close(&definition, mark);
		wh_wire_add_relation(batch, schemas[i],
							 (WhSlice){(const uint8_t *) definition.data, definition.len});
	}
	for (int i = 0; i < n; i++)
	{
		Expected *change = &expected[i];

		memset(change, 0, sizeof(*change));
		seq += draw(10) == 0 ? 2 : 1;
		change->seq = seq;
		change->schema = schemas[i == 0 || draw(8) > 0 ? 0 : 1];
		change->op = i > 0 && draw(4) > 0 ? expected[i - 1].op : (WhOp) (1 + draw(3));
		if (change->op != WH_OP_INSERT)
			change->before_kind = i > 0 && expected[i - 1].op == change->op && draw(4) > 0 ?
									  expected[i - 1].before_kind :
									  (WhBeforeKind) draw(3);
		wh_wire_begin_change(batch, change->schema, change->op, change->before_kind, seq, 0);
		if (change->op != WH_OP_DELETE)
		{
			fill_row(wh_wire_begin_after(batch), &change->after);
			wh_wire_end_row(batch);
		}
		if (change->before_kind != WH_BEFORE_NONE)
		{
			fill_row(wh_wire_begin_before(batch), &change->before);
			wh_wire_end_row(batch);
		}
	}
	if (draw(2) == 0)
		wh_wire_add_truncate(batch, seq + 1, schemas, lengthof(schemas), true, false, 0);
	wh_wire_add_commit(batch, WH_ENTRY_COMMIT, &commit, NULL, 0);
	wh_wire_finish_batch(batch);
}

static bool
repacks(const uint8_t *data, size_t len)
{
	Walhouse__V1__Batch *batch = walhouse__v1__batch__unpack(NULL, len, data);
	uint8_t *packed = palloc(len + 1);
	bool is_same;

	if (batch == NULL)
		return false;
	is_same = walhouse__v1__batch__get_packed_size(batch) == len;
	is_same = is_same && walhouse__v1__batch__pack(batch, packed) == len &&
			  memcmp(data, packed, len) == 0;
	walhouse__v1__batch__free_unpacked(batch, NULL);
	pfree(packed);
	return is_same;
}

static bool
is_same_slice(WhSlice slice, const StringInfoData *expected)
{
	if (expected->data == NULL)
		return slice.data == NULL;
	return slice.data != NULL && slice.len == expected->len &&
		   memcmp(slice.data, expected->data, slice.len) == 0;
}

/* finds_all reads a batch with the decoder and holds it to what was written. */
static bool
finds_all(WhSlice data, const Expected *expected, int n)
{
	WhWireError error = NULL;
	WhEntry entry;
	WhSlice after;
	WhSlice before;
	int found = 0;

	while (wh_wire_next_entry(&data, &entry, &error))
	{
		uint64_t seq = entry.u.rows.first_seq;

		if (entry.kind == WH_ENTRY_BEGIN &&
			(entry.u.begin.xid != 4294967295u || entry.u.begin.end_lsn != UINT64_MAX ||
			 entry.u.begin.commit_time != -5 || entry.u.begin.origin.len != 6))
			return false;
		if (entry.kind == WH_ENTRY_COMMIT &&
			(entry.u.commit.commit_lsn != 1 || entry.u.commit.changes != n))
			return false;
		if (entry.kind != WH_ENTRY_ROWS)
			continue;
		while (wh_wire_next_change(&entry.u.rows, &after, &before, &error))
		{
			const Expected *change = &expected[found++];

			if (found > n || change->seq != seq++ || change->op != entry.u.rows.op ||
				change->schema != entry.u.rows.schema ||
				change->before_kind != entry.u.rows.before_kind ||
				!is_same_slice(after, &change->after) || !is_same_slice(before, &change->before))
				return false;
		}
	}
	return error == NULL && found == n;
}

static void
count_line(void *arg, const char *line, int len)
{
	(*(int *) arg)++;
}

static void
test_batches(void)
{
	int nrepacked = 0;
	int nfound = 0;
	int nrendered = 0;
	static Expected expected[400];

	for (int i = 0; i < 1000; i++)
	{
		WhBatch batch;
		int n = (int) draw(draw(10) == 0 ? 400 : 12);
		WhJson *json = wh_wire_create_json();
		WhWireError error = NULL;
		WhSlice data;
		int lines = 0;

		make_batch(&batch, expected, n);
		data.data = (const uint8_t *) batch.out.data;
		data.len = batch.out.len;
		nrepacked += repacks(data.data, data.len);
		nfound += finds_all(data, expected, n);
		nrendered += wh_wire_render_json(json, data, count_line, &lines, &error) && lines >= n + 5;
		wh_wire_free_json(json);
		for (int j = 0; j < n; j++)
		{
			if (expected[j].after.data != NULL)
				pfree(expected[j].after.data);
			if (expected[j].before.data != NULL)
				pfree(expected[j].before.data);
		}
		pfree(batch.out.data);
		pfree(batch.run.after.data);
		pfree(batch.run.before.data);
	}
	ok(nrepacked == 1000, "protobuf-c packs every batch to the same bytes");
	ok(nfound == 1000, "the decoder finds every change of every batch");
	ok(nrendered == 1000, "every batch has its JSON lines");
}

/* -------- numbers -------- */

/* store_numeric lays out a decimal number as PostgreSQL does, in the short form where is_short. */
static size_t
store_numeric(const char *text, bool is_short, char *to)
{
	bool is_negative = *text == '-';
	const char *digits = text + is_negative;
	const char *point = strchr(digits, '.');
	int nwhole = point ? (int) (point - digits) : (int) strlen(digits);
	int scale = point ? (int) strlen(point + 1) : 0;
	int ngroups = 0;
	int first = 0;
	int weight = (nwhole + 3) / 4 - 1;
	uint16_t groups[400] = {0};
	uint16_t header;
	size_t len = sizeof(header);

	for (int i = 0; i < nwhole; i++)
	{
		int place = nwhole - 1 - i;

		groups[weight - place / 4] = groups[weight - place / 4] * 10 + (digits[i] - '0');
	}
	for (int i = 0; i < (scale + 3) / 4 * 4; i++)
	{
		int group = weight + 1 + i / 4;

		groups[group] = groups[group] * 10 + (i < scale ? point[1 + i] - '0' : 0);
	}
	ngroups = weight + 1 + (scale + 3) / 4;
	while (first < ngroups && groups[first] == 0)
	{
		first++;
		weight--;
	}
	while (ngroups > first && groups[ngroups - 1] == 0)
		ngroups--;
	if (first == ngroups)
		weight = 0;
	if (is_short)
		header = 0x8000 | (is_negative ? 0x2000 : 0) | scale << 7 | (weight & 0x7F);
	else
		header = (is_negative ? 0x4000 : 0) | scale;
	memcpy(to, &header, sizeof(header));
	if (!is_short)
	{
		int16_t stored = (int16_t) weight;

		memcpy(to + len, &stored, sizeof(stored));
		len += sizeof(stored);
	}
	memcpy(to + len, groups + first, (ngroups - first) * sizeof(uint16_t));
	return len + (ngroups - first) * sizeof(uint16_t);
}

static bool
numeric_comes_back(const char *text, bool is_short)
{
	char stored[1000];
	size_t len = store_numeric(text, is_short, stored);
	int64_t unscaled;
	uint32_t scale;
	StringInfoData back;
	bool is_same;

	if (!wh_wire_numeric_from_disk(stored, len, &unscaled, &scale))
		return false;
	initStringInfo(&back);
	wh_wire_append_decimal(&back, unscaled, scale);
	is_same = strcmp(back.data, text) == 0;
	if (!is_same)
		printf("# %s came back as %s\n", text, back.data);
	pfree(back.data);
	return is_same;
}

static void
test_numerics(void)
{
	static const char *const fitting[] = {"0",
										  "0.0",
										  "0.00",
										  "1",
										  "-1",
										  "1.0",
										  "1.00",
										  "10",
										  "10000",
										  "100000000",
										  "12.50",
										  "0.05",
										  "-0.0001",
										  "0.00001",
										  "9999.9999",
										  "10000.00001",
										  "123456789012345678",
										  "9223372036854775807",
										  "-9223372036854775808",
										  "92233720368547758.07",
										  "-0.9223372036854775808",
										  "0.000000000000000001",
										  "1000000000000000000",
										  "90000000000000000.00"};
	static const char *const too_large[] = {"9223372036854775808",
											"-9223372036854775809",
											"10000000000000000000",
											"18446744073709551616",
											"0.9223372036854775808",
											"92233720368547758.08",
											"1.00000000000000000000",
											"123456789012345678901234567890.5",
											"1000000000000000000000000000000000000000"};
	char stored[1000];
	int64_t unscaled;
	uint32_t scale;
	bool is_well = true;
	int nrandom = 0;

	for (int i = 0; i < (int) lengthof(fitting); i++)
	{
		if (!numeric_comes_back(fitting[i], false) || !numeric_comes_back(fitting[i], true))
			is_well = false;
	}
	ok(is_well, "numerics that fit come back with their scale");
	is_well = true;
	for (int i = 0; i < (int) lengthof(too_large); i++)
	{
		size_t len = store_numeric(too_large[i], false, stored);

		if (wh_wire_numeric_from_disk(stored, len, &unscaled, &scale))
		{
			printf("# %s was taken as %lld, scale %u\n", too_large[i], (long long) unscaled, scale);
			is_well = false;
		}
	}
	ok(is_well, "numerics that do not fit are left to text");
	for (int i = 0; i < 100000; i++)
	{
		StringInfoData text;

		initStringInfo(&text);
		wh_wire_append_decimal(&text, (int64_t) draw(UINT64_MAX) >> draw(64), draw(22));
		nrandom += numeric_comes_back(text.data, draw(2));
		pfree(text.data);
	}
	ok(nrandom == 100000, "random numerics come back");
	is_well = true;
	for (int header = 0xC000; header <= 0xFFFF; header++)
	{
		uint16_t special = (uint16_t) header;

		if (wh_wire_numeric_from_disk(&special, sizeof(special), &unscaled, &scale))
			is_well = false;
	}
	ok(is_well && !wh_wire_numeric_from_disk("", 0, &unscaled, &scale) &&
		   !wh_wire_numeric_from_disk("\0\0", 2, &unscaled, &scale),
	   "NaN, the infinities and cut numerics are refused");
	is_well = true;
	for (int i = 0; i < 200000; i++)
	{
		size_t len = draw(20);

		for (size_t j = 0; j < len; j++)
			stored[j] = (char) draw(256);
		(void) wh_wire_numeric_from_disk(stored, len, &unscaled, &scale);
	}
	ok(is_well, "bytes at random are read without harm");
}

static void
test_varints(void)
{
	bool is_well = true;

	for (int bit = 0; bit < 64; bit++)
	{
		for (int delta = -1; delta <= 1; delta++)
		{
			uint64_t number = (UINT64CONST(1) << bit) + delta;
			uint8_t bytes[WH_WIRE_MAX_VARINT];
			WhSlice packed = {bytes, wh_wire_put_varint(bytes, number) - bytes};
			WhWireError error = NULL;
			uint64_t back;

			if (packed.len != wh_wire_varint_size(number) ||
				!wh_wire_next_packed(&packed, &back, &error) || back != number ||
				packed.len != 0 ||
				wh_wire_zigzag(wh_wire_unzigzag((int64_t) number)) != (int64_t) number)
				is_well = false;
		}
	}
	ok(is_well, "varints and zigzag at every power of two");
}

/* A length is read as a varint, and never starts with the byte of a line end. */
static void
test_lengths(void)
{
	bool is_well = true;

	for (uint64_t len = 0; len < 100000; len++)
	{
		uint8_t bytes[WH_WIRE_MAX_VARINT];
		WhSlice packed = {bytes, wh_wire_put_length(bytes, len) - bytes};
		WhWireError error = NULL;
		uint64_t back;

		if (!wh_wire_next_packed(&packed, &back, &error) || back != len || packed.len != 0 ||
			bytes[0] == '\n')
			is_well = false;
	}
	ok(is_well, "lengths of delimited framing");
}

/* write_insert writes a change with one field, and does not end its row if it is to be undone. */
static void
write_insert(WhBatch *batch, uint64_t seq, bool is_undone)
{
	StringInfo row;

	wh_wire_begin_change(batch, 1, WH_OP_INSERT, WH_BEFORE_NONE, seq, 0);
	row = wh_wire_begin_after(batch);
	wh_wire_append_uint(row, 1, seq);
	if (is_undone)
		wh_wire_undo_change(batch);
	else
		(void) wh_wire_end_row(batch);
}

/* A change that is taken back leaves no byte, whether it opened its run or not. */
static void
test_undo(void)
{
	WhBatch batch;
	WhBatch undone;

	wh_wire_init_batch(&batch);
	wh_wire_init_batch(&undone);
	write_insert(&undone, 1, true);
	ok(wh_wire_batch_size(&undone) == 0, "a change that opened a run is taken back");
	for (uint64_t seq = 2; seq < 5; seq++)
	{
		write_insert(&batch, seq, false);
		write_insert(&undone, seq, false);
	}
	write_insert(&undone, 5, true);
	wh_wire_finish_batch(&batch);
	wh_wire_finish_batch(&undone);
	ok(batch.out.len == undone.out.len &&
		   memcmp(batch.out.data, undone.out.data, batch.out.len) == 0,
	   "and so is one that went on with a run");
	pfree(batch.out.data);
	pfree(batch.run.after.data);
	pfree(batch.run.before.data);
	pfree(undone.out.data);
	pfree(undone.run.after.data);
	pfree(undone.run.before.data);
}

/* -------- text -------- */

static void
check_text(StringInfo text, const char *expected)
{
	if (strcmp(text->data, expected) != 0)
		printf("# got %s\n", text->data);
	ok(strcmp(text->data, expected) == 0, expected);
	resetStringInfo(text);
}

static void
test_text(void)
{
	StringInfoData text;

	initStringInfo(&text);
	wh_wire_append_date(&text, 0);
	check_text(&text, "1970-01-01");
	wh_wire_append_date(&text, 19782);
	check_text(&text, "2024-02-29");
	wh_wire_append_date(&text, 2932897);
	check_text(&text, "10000-01-01");
	wh_wire_append_date(&text, -719163);
	check_text(&text, "0001-12-31 BC");
	wh_wire_append_date(&text, -2440588);
	check_text(&text, "4714-11-24 BC");
	wh_wire_append_date(&text, 2145042905);
	check_text(&text, "5874897-12-31");
	wh_wire_append_timestamp(&text, -1, true);
	check_text(&text, "1969-12-31T23:59:59.999999Z");
	wh_wire_append_timestamp(&text, 1500000, false);
	check_text(&text, "1970-01-01T00:00:01.5");
	wh_wire_append_timestamp(&text, INT64CONST(-719163) * 86400 * 1000000 + 1000, true);
	check_text(&text, "0001-12-31T00:00:00.001Z BC");
	wh_wire_append_time(&text, INT64CONST(86400) * 1000000);
	check_text(&text, "24:00:00");
	wh_wire_append_timetz(&text, 1, -19800);
	check_text(&text, "00:00:00.000001+05:30");
	wh_wire_append_timetz(&text, 0, 3600 * 8 + 1);
	check_text(&text, "00:00:00-08:00:01");
	wh_wire_append_interval(&text, &(WhWireInterval){-14, 3, -14706500000});
	check_text(&text, "P-14M3DT-14706.5S");
	wh_wire_append_interval(&text, &(WhWireInterval){0, 0, 0});
	check_text(&text, "PT0S");
	wh_wire_append_interval(&text, &(WhWireInterval){0, 0, -1});
	check_text(&text, "PT-0.000001S");
	wh_wire_append_interval(&text, &(WhWireInterval){0, 0, INT64_MIN});
	check_text(&text, "PT-2562047788H-54.775808S");
	wh_wire_append_decimal(&text, INT64_MIN, 18);
	check_text(&text, "-9.223372036854775808");
	wh_wire_append_json_string(&text, "a\"\\\n\001\x7f\xc3\xa9", 8);
	check_text(&text, "\"a\\\"\\\\\\n\\u0001\\u007f\xc3\xa9\"");
	wh_wire_append_lsn(&text, UINT64CONST(0x16B374D848));
	check_text(&text, "16/B374D848");
	pfree(text.data);
}

/* -------- broken input -------- */

/* read_everything reads as far as it can, from a copy of exactly the right size. */
static bool
read_everything(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	WhSlice batch = {copy, len};
	WhWireError error = NULL;
	WhJson *json = wh_wire_create_json();
	WhEntry entry;
	int lines = 0;
	bool is_well;

	memcpy(copy, data, len);
	while (wh_wire_next_entry(&batch, &entry, &error))
	{
		WhSlice after;
		WhSlice before;
		WhWireError row_error = NULL;
		WhField field;

		if (entry.kind != WH_ENTRY_ROWS)
			continue;
		while (wh_wire_next_change(&entry.u.rows, &after, &before, &row_error))
		{
			while (after.data != NULL && wh_wire_next_field(&after, &field, &row_error))
			{
				WhWireNumeric numeric;
				WhWireInterval interval;
				WhWireSpecial special;
				int64_t microseconds;
				int32_t zone;

				(void) wh_wire_read_numeric(field.bytes, &numeric);
				(void) wh_wire_read_interval(field.bytes, &interval);
				(void) wh_wire_read_special(field.bytes, &special);
				(void) wh_wire_read_timetz(field.bytes, &microseconds, &zone);
			}
		}
	}
	batch = (WhSlice){copy, len};
	is_well = error == NULL;
	error = NULL;
	if (!wh_wire_render_json(json, batch, count_line, &lines, &error) && error == NULL)
		ok(false, "a renderer that fails says why");
	wh_wire_free_json(json);
	free(copy);
	return is_well;
}

static void
test_broken(void)
{
	static const struct
	{
		const char *bytes;
		size_t len;
		const char *name;
	} broken[] = {
		{"\x0a", 1, "a length is missing"},
		{"\x0a\x05", 2, "an entry goes beyond the end"},
		{"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11, "a varint of more than 64 bits"},
		{"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, "a varint of eleven bytes"},
		{"\x02\x00", 2, "field number 0"},
		{"\x0b\x00", 2, "a group"},
		{"\x08\x01", 2, "an entry of the wrong type"},
		{"\x0a\x02\x12\x00", 4, "an empty begin"},
		{"\x0a\x02\x1a\x00", 4, "an empty commit"},
		{"\x0a\x02\x2a\x00", 4, "empty rows"},
		{"\x0a\x0a\x2a\x08\x08\x01\x10\x09\x18\x01\x30\x00", 12, "an unknown operation"},
		{"\x0a\x0c\x2a\x0a\x08\x01\x10\x01\x18\x01\x2a\x00\x30\x01", 14,
		 "an insert with an old row alone"},
		{"\x0a\x0c\x2a\x0a\x08\x01\x10\x03\x18\x01\x22\x00\x30\x00", 14,
		 "a delete with a new row"},
		{"\x0a\x0c\x2a\x0a\x08\x01\x10\x02\x18\x01\x22\x00\x30\x01", 14,
		 "an update without its old row"},
	};
	static Expected expected[40];
	WhBatch batch;
	uint8_t *bytes;
	int nread = 0;

	for (int i = 0; i < (int) lengthof(broken); i++)
		ok(!read_everything((const uint8_t *) broken[i].bytes, broken[i].len), broken[i].name);
	ok(read_everything((const uint8_t *) "", 0), "an empty batch is no error");
	ok(read_everything((const uint8_t *) "\x0a\x05\x82\x02\x02\x08\x01\x78\x05", 9),
	   "entries and fields of a later version are skipped");

	make_batch(&batch, expected, 40);
	for (int len = 0; len < batch.out.len; len++)
		nread += read_everything((const uint8_t *) batch.out.data, len);
	ok(nread < 100, "cut batches are read only where an entry ends");
	bytes = palloc(batch.out.len);
	for (int i = 0; i < 20000; i++)
	{
		if (i % 500 == 0)
		{
			pfree(batch.out.data);
			make_batch(&batch, expected, 1 + draw(6));
			bytes = repalloc(bytes, batch.out.len);
		}
		memcpy(bytes, batch.out.data, batch.out.len);
		for (int n = (int) draw(4); n >= 0; n--)
			bytes[draw(batch.out.len)] = draw(3) == 0 ? 0xFF : (uint8_t) draw(256);
		(void) read_everything(bytes, batch.out.len - (draw(4) == 0 ? draw(batch.out.len) : 0));
	}
	ok(true, "20,000 mutated batches are read without harm");
}

int
main(int argc, char **argv)
{
	if (argc > 1)
		state ^= strtoull(argv[1], NULL, 10) * UINT64CONST(0x9E3779B97F4A7C15);
	test_varints();
	test_lengths();
	test_undo();
	test_numerics();
	test_text();
	test_batches();
	test_broken();
	return done();
}
