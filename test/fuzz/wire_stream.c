/*
 * wire_stream.c
 *		A fuzz target: a file of delimited batches, whatever is in it.
 *
 * All that reads what came over a wire goes over it: batches are inflated and walked, runs,
 * tallies, rows and values are read, and the whole is rendered as JSON lines by one renderer, so
 * that relations of one batch meet the rows of another.  Whatever the bytes, nothing may be read
 * outside of them, and memory stays in proportion.  The golden files are in this form and are
 * the seeds.
 */
#include "c.h"

#include "wire/json.h"
#include "wire/wire.h"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
take_line(void *arg, const char *line, int len)
{
	*(size_t *) arg += (size_t) len;
}

/* read_values reads bytes as everything that they might be. */
static void
read_values(WhSlice bytes)
{
	WhWireNumeric numeric;
	WhWireInterval interval;
	WhWireSpecial special;
	WhWireChunked chunked;
	WhWireArray array;
	WhField element;
	int64_t microseconds;
	int32_t zone;

	(void) wh_wire_read_numeric(bytes, &numeric);
	(void) wh_wire_read_interval(bytes, &interval);
	(void) wh_wire_read_special(bytes, &special);
	(void) wh_wire_read_chunked(bytes, &chunked);
	(void) wh_wire_read_timetz(bytes, &microseconds, &zone);
	for (int kind = WH_VALUE_BOOL; kind < WH_VALUE_ARRAY; kind++)
	{
		WhWireError error = NULL;
		size_t count = 0;

		if (!wh_wire_read_array(bytes, (WhValueKind) kind, &array))
			continue;
		for (size_t i = 0; i < array.elements; i++)
		{
			if (wh_wire_is_null_element(&array, i))
				continue;
			if (!wh_wire_next_element(&array, &element, &error))
				abort(); /* an array that was checked has as many as it says */
			count++;
		}
		if (wh_wire_next_element(&array, &element, &error) || count > bytes.len)
			abort();
	}
}

static void
walk_row(WhSlice row)
{
	WhWireError error = NULL;
	WhField field;

	while (row.data != NULL && wh_wire_next_field(&row, &field, &error))
	{
		if (field.type == WH_WIRE_BYTES)
			read_values(field.bytes);
	}
}

static void
walk_batch(WhSlice batch)
{
	WhWireError error = NULL;
	WhEntry entry;
	WhWireTally tally;
	WhSlice after;
	WhSlice before;

	while (wh_wire_next_entry(&batch, &entry, &error))
	{
		WhSlice rest = entry.u.commit.tallies;

		if (entry.kind == WH_ENTRY_COMMIT || entry.kind == WH_ENTRY_STREAM_PREPARE)
		{
			while (wh_wire_next_tally(&rest, &tally, &error))
				;
		}
		if (entry.kind != WH_ENTRY_ROWS)
			continue;
		while (wh_wire_next_change(&entry.u.rows, &after, &before, &error))
		{
			walk_row(after);
			walk_row(before);
		}
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WhSlice rest = {data, size};
	WhJson *json = wh_wire_create_json();
	WhInflated inflated = {NULL, 0};
	WhWireError error = NULL;
	size_t printed = 0;
	uint64_t len;

	while (wh_wire_next_packed(&rest, &len, &error) && len <= rest.len)
	{
		WhSlice batch = {rest.data, (size_t) len};

		rest.data += len;
		rest.len -= (size_t) len;
		if (!wh_wire_inflate(&batch, &inflated, &error))
			break;
		walk_batch(batch);
		if (!wh_wire_render_json(json, batch, take_line, &printed, &error) && error == NULL)
			abort(); /* a renderer that fails says why */
	}
	free(inflated.data);
	wh_wire_free_json(json);
	return 0;
}
