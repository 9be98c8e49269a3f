/*
 * value.c
 *		From a deformed tuple to the fields of a row.
 *
 * Fixed-size types, text and bytea are copied as they stand; numeric is read from its digits;
 * jsonb is printed straight into the row; only what is left goes through an output function,
 * under pinned settings.  NULL is no field at all.  An infinity, a NaN of numeric, a value out of
 * the field's range and text that is not valid UTF-8 are no field either, but an entry in field
 * 2002; a TOAST value that was not logged is an attnum in field 2001, what an update changed one
 * in 2003, a large value an entry in 2004.  These come after the columns, so that fields ascend.
 *
 * A writer gets a place in the row with WH_FIELD_ROOM bytes and leaves as many behind what it
 * wrote: values of fixed size are written without looking at the room again.  Elements of arrays
 * go through the same writers, with the tag of theirs, or none.
 *
 * Everything allocated here is in the session's change context.  Values on disk
 * (VARATT_IS_EXTERNAL_ONDISK) are never fetched: the historic snapshot cannot see a TOAST table's
 * rows.
 */
#include "output/output_private.h"

#include "access/detoast.h"
#include "access/tupmacs.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define EPOCH_SHIFT_DAYS (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)
#define EPOCH_SHIFT_USECS (EPOCH_SHIFT_DAYS * USECS_PER_DAY)

static bool is_unchanged(const WhOutputColumn *column, Datum value);
static inline uint8_t *write_value(WhOutput *session, WhOutputColumn *column, StringInfo out,
								   uint8_t *at, Datum value);
static uint8_t *write_varlena(WhOutput *session, WhOutputColumn *column, StringInfo out,
							  uint8_t *at, Datum value);
static uint8_t *write_date(WhOutput *session, WhOutputColumn *column, uint8_t *at, DateADT date);
static uint8_t *write_timestamp(WhOutput *session, WhOutputColumn *column, uint8_t *at,
								Timestamp value);
static uint8_t *write_timetz(WhOutputColumn *column, uint8_t *at, const TimeTzADT *value);
static uint8_t *write_interval(WhOutput *session, WhOutputColumn *column, uint8_t *at,
							   const Interval *value);
static uint8_t *write_numeric(WhOutput *session, WhOutputColumn *column, StringInfo out,
							  uint8_t *at, struct varlena *value);
static uint8_t *write_big_numeric(WhOutput *session, WhOutputColumn *column, StringInfo out,
								  uint8_t *at, struct varlena *value);
static uint8_t *write_jsonb(WhOutput *session, WhOutputColumn *column, StringInfo out, uint8_t *at,
							Datum value);
static uint8_t *write_output(WhOutput *session, WhOutputColumn *column, StringInfo out,
							 uint8_t *at, Datum value);
static uint8_t *write_text(WhOutput *session, const WhOutputColumn *column, StringInfo out,
						   uint8_t *at, const char *text, size_t len);
static void write_meta(WhOutput *session, StringInfo out);

/* -------- rows -------- */

void
wh_output_write_row(WhOutput *session, WhOutputRelation *relation, StringInfo out,
					Datum *values, bool *nulls, bool keys_only)
{
	uint8_t *at;

	enlargeStringInfo(out, WH_FIELD_ROOM);
	at = (uint8_t *) out->data + out->len;
	for (int i = 0; i < relation->ncolumns; i++)
	{
		WhOutputColumn *column = &relation->columns[i];
		int index = column->index;

		if ((keys_only && !column->is_key) || nulls[index])
			continue;
		if (is_unchanged(column, values[index]))
			wh_output_note_attnum(&session->unchanged, column);
		else
			at = write_value(session, column, out, at, values[index]);
	}
	out->len = (char *) at - out->data;
	write_meta(session, out);
}

/*
 * wh_output_walk_row goes through a tuple once, as heap_deform_tuple does, and writes as it goes.
 * An attribute's place is that behind the one before it, aligned; a varlena with a short header
 * is not aligned, which its first byte tells, since padding is zero.
 */
void
wh_output_walk_row(WhOutput *session, WhOutputRelation *relation, StringInfo out, HeapTuple tuple,
				   bool keys_only)
{
	HeapTupleHeader header = tuple->t_data;
	const bits8 *nulls = HeapTupleHasNulls(tuple) ? header->t_bits : NULL;
	const char *data = (const char *) header + header->t_hoff;
	size_t offset = 0;
	uint8_t *at;

	enlargeStringInfo(out, WH_FIELD_ROOM);
	at = (uint8_t *) out->data + out->len;
	for (int i = 0; i < relation->nsteps; i++)
	{
		const WhOutputStep *step = &relation->steps[i];
		WhOutputColumn *column = step->column;
		Datum value;

		if (nulls != NULL && att_isnull(i, nulls))
			continue;
		if (step->length != -1 || data[offset] == 0)
			offset = TYPEALIGN(step->align, offset);
		value = fetch_att(data + offset, step->by_value, step->length);
		offset = att_addlength_pointer(offset, step->length, data + offset);
		if (column == NULL || (keys_only && !column->is_key))
			continue;
		if (is_unchanged(column, value))
			wh_output_note_attnum(&session->unchanged, column);
		else
			at = write_value(session, column, out, at, value);
	}
	out->len = (char *) at - out->data;
	write_meta(session, out);
}

/* is_unchanged tells a TOAST pointer whose value is not in the WAL. */
static bool
is_unchanged(const WhOutputColumn *column, Datum value)
{
	return column->is_varlena && VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(value));
}

/* write_meta writes the fields that are about the row, and forgets them. */
static void
write_meta(WhOutput *session, StringInfo out)
{
	if (session->unchanged.len + session->specials.len + session->changed.len +
			session->chunked.len ==
		0)
		return;
	if (session->unchanged.len > 0)
		wh_wire_append_bytes(out, WH_ROW_UNCHANGED, session->unchanged.data,
							 session->unchanged.len);
	if (session->specials.len > 0)
		appendBinaryStringInfo(out, session->specials.data, session->specials.len);
	if (session->changed.len > 0)
		wh_wire_append_bytes(out, WH_ROW_CHANGED, session->changed.data, session->changed.len);
	if (session->chunked.len > 0)
		appendBinaryStringInfo(out, session->chunked.data, session->chunked.len);
	wh_output_forget_row(session);
}

void
wh_output_forget_row(WhOutput *session)
{
	resetStringInfo(&session->unchanged);
	resetStringInfo(&session->specials);
	resetStringInfo(&session->changed);
	resetStringInfo(&session->chunked);
}

void
wh_output_note_attnum(StringInfo out, const WhOutputColumn *column)
{
	enlargeStringInfo(out, WH_WIRE_MAX_VARINT);
	out->len =
		(char *) wh_wire_put_varint((uint8_t *) out->data + out->len, column->attnum) - out->data;
}

void
wh_output_note_special(WhOutput *session, const WhOutputColumn *column, WhSpecialKind kind,
					   const char *data, size_t len)
{
	StringInfo out = &session->specials;
	int message;

	if (column->is_element)
	{
		session->element_failed = true;
		return;
	}
	if (data != NULL && wh_output_is_large(len, out->len))
	{
		wh_output_chunk_bytes(session, column, data, len);
		data = NULL;
	}
	message = wh_wire_open(out, WH_ROW_SPECIAL);
	wh_wire_append_uint(out, 1, column->attnum);
	wh_wire_append_uint(out, 2, kind);
	if (data != NULL)
		wh_wire_append_bytes(out, kind == WH_SPECIAL_NOT_UTF8 ? 4 : 3, data, len);
	wh_wire_close(out, message);
}

void
wh_output_note_text(WhOutput *session, const WhOutputColumn *column, const char *text)
{
	size_t len = strlen(text);
	size_t converted = len;
	const char *utf8;

	if (wh_output_is_large(len, session->specials.len) && !column->is_element)
	{
		if (wh_output_chunk_text(session, column, text, len))
			wh_output_note_special(session, column, WH_SPECIAL_OUT_OF_RANGE, NULL, 0);
		else
			wh_output_note_special(session, column, WH_SPECIAL_NOT_UTF8, text, len);
		return;
	}
	utf8 = wh_output_to_utf8(session, text, &converted);
	if (utf8 != NULL)
		wh_output_note_special(session, column, WH_SPECIAL_OUT_OF_RANGE, utf8, converted);
	else
		wh_output_note_special(session, column, WH_SPECIAL_NOT_UTF8, text, len);
}

/* -------- values -------- */

static inline uint8_t *
put_unsigned(const WhOutputColumn *column, uint8_t *at, uint64 value)
{
	return wh_wire_put_varint(wh_output_put_tag(column, at), value);
}

static inline uint8_t *
put_signed(const WhOutputColumn *column, uint8_t *at, int64 value)
{
	return put_unsigned(column, at, wh_wire_unzigzag(value));
}

/* write_simple writes a value of fixed size, and leaves the room behind it to the caller. */
static inline uint8_t *
write_simple(WhOutput *session, WhOutputColumn *column, uint8_t *at, Datum value)
{
	switch (column->writer)
	{
		case WH_WRITE_BOOL:
			return put_unsigned(column, at, DatumGetBool(value) ? 1 : 0);
		case WH_WRITE_INT2:
			return put_signed(column, at, DatumGetInt16(value));
		case WH_WRITE_INT4:
			return put_signed(column, at, DatumGetInt32(value));
		case WH_WRITE_INT8:
		case WH_WRITE_TIME:
			return put_signed(column, at, DatumGetInt64(value));
		case WH_WRITE_UINT32:
			return put_unsigned(column, at, DatumGetUInt32(value));
		case WH_WRITE_UINT64:
			return put_unsigned(column, at, DatumGetUInt64(value));
		case WH_WRITE_FLOAT4:
		{
			float4 number = DatumGetFloat4(value);
			uint32 bits;

			memcpy(&bits, &number, sizeof(bits));
			return wh_wire_put_fixed32(wh_output_put_tag(column, at), bits);
		}
		case WH_WRITE_FLOAT8:
		{
			float8 number = DatumGetFloat8(value);
			uint64 bits;

			memcpy(&bits, &number, sizeof(bits));
			return wh_wire_put_fixed64(wh_output_put_tag(column, at), bits);
		}
		case WH_WRITE_DATE:
			return write_date(session, column, at, DatumGetDateADT(value));
		case WH_WRITE_TIMESTAMP:
			return write_timestamp(session, column, at, DatumGetTimestamp(value));
		case WH_WRITE_TIMETZ:
			return write_timetz(column, at, DatumGetTimeTzADTP(value));
		default:
			return write_interval(session, column, at, DatumGetIntervalP(value));
	}
}

uint8_t *
wh_output_write_value(WhOutput *session, WhOutputColumn *column, StringInfo out, uint8_t *at,
					  Datum value)
{
	return write_value(session, column, out, at, value);
}

static inline uint8_t *
write_value(WhOutput *session, WhOutputColumn *column, StringInfo out, uint8_t *at, Datum value)
{
	const char *text;

	switch (column->writer)
	{
		case WH_WRITE_NUMERIC:
		case WH_WRITE_BYTES:
		case WH_WRITE_TEXT:
			return write_varlena(session, column, out, at, value);
		case WH_WRITE_UUID:
			return wh_output_write_bytes(column, out, at, DatumGetUUIDP(value)->data, UUID_LEN);
		case WH_WRITE_NAME:
			text = NameStr(*DatumGetName(value));
			return write_text(session, column, out, at, text, strlen(text));
		case WH_WRITE_JSONB:
			return write_jsonb(session, column, out, at, value);
		case WH_WRITE_ARRAY:
			return wh_output_write_array(session, column, out, at, value);
		case WH_WRITE_OUTPUT:
			return write_output(session, column, out, at, value);
		default:
			return wh_output_make_room(out, write_simple(session, column, at, value),
									   WH_FIELD_ROOM);
	}
}

static uint8_t *
write_varlena(WhOutput *session, WhOutputColumn *column, StringInfo out, uint8_t *at, Datum value)
{
	struct varlena *plain = wh_output_plain_varlena(value);
	const char *data = VARDATA_ANY(plain);
	size_t len = VARSIZE_ANY_EXHDR(plain);

	if (column->writer == WH_WRITE_NUMERIC)
		return write_numeric(session, column, out, at, plain);
	if (column->writer == WH_WRITE_TEXT)
		return write_text(session, column, out, at, data, len);
	if (wh_output_is_large(len, (char *) at - out->data) && !column->is_element)
	{
		wh_output_chunk_bytes(session, column, data, len);
		return at;
	}
	return wh_output_write_bytes(column, out, at, data, len);
}

struct varlena *
wh_output_plain_varlena(Datum value)
{
	struct varlena *given = (struct varlena *) DatumGetPointer(value);

	/* what this transaction wrote to a TOAST table: the reorder buffer has put it together */
	if (VARATT_IS_EXTERNAL_INDIRECT(given))
	{
		struct varatt_indirect indirect;

		VARATT_EXTERNAL_GET_POINTER(indirect, given);
		given = indirect.pointer;
	}
	if (VARATT_IS_COMPRESSED(given) || VARATT_IS_EXTERNAL(given))
		return detoast_attr(given);
	return given;
}

struct varlena *
wh_output_aligned_varlena(Datum value, WhAligned *room)
{
	struct varlena *plain = wh_output_plain_varlena(value);
	size_t len;

	if (!VARATT_IS_SHORT(plain))
		return plain;
	len = VARSIZE_ANY_EXHDR(plain);
	SET_VARSIZE(&room->header, len + VARHDRSZ);
	memcpy(VARDATA(&room->header), VARDATA_SHORT(plain), len);
	return &room->header;
}

/* -------- dates and times -------- */

static uint8_t *
write_date(WhOutput *session, WhOutputColumn *column, uint8_t *at, DateADT date)
{
	if (DATE_IS_NOBEGIN(date))
		wh_output_note_special(session, column, WH_SPECIAL_NEGATIVE_INFINITY, NULL, 0);
	else if (DATE_IS_NOEND(date))
		wh_output_note_special(session, column, WH_SPECIAL_POSITIVE_INFINITY, NULL, 0);
	else
		at = put_signed(column, at, (int64) date + EPOCH_SHIFT_DAYS);
	return at;
}

/*
 * write_timestamp shifts to the Unix epoch; the last 30 years that PostgreSQL can hold then need
 * more than 64 bits.
 */
static uint8_t *
write_timestamp(WhOutput *session, WhOutputColumn *column, uint8_t *at, Timestamp value)
{
	int64 shifted;

	if (TIMESTAMP_IS_NOBEGIN(value))
		wh_output_note_special(session, column, WH_SPECIAL_NEGATIVE_INFINITY, NULL, 0);
	else if (TIMESTAMP_IS_NOEND(value))
		wh_output_note_special(session, column, WH_SPECIAL_POSITIVE_INFINITY, NULL, 0);
	else if (__builtin_add_overflow(value, EPOCH_SHIFT_USECS, &shifted))
	{
		wh_output_pin_settings(session);
		wh_output_note_text(session, column,
							OutputFunctionCall(&column->output, TimestampGetDatum(value)));
	}
	else
		at = wh_wire_put_fixed64(wh_output_put_tag(column, at), (uint64) shifted);
	return at;
}

static uint8_t *
write_timetz(WhOutputColumn *column, uint8_t *at, const TimeTzADT *value)
{
	uint8_t body[32];
	uint8_t *end = body;

	end = wh_wire_put_tag(end, 1, WH_WIRE_VARINT);
	end = wh_wire_put_varint(end, wh_wire_unzigzag(value->time));
	end = wh_wire_put_tag(end, 2, WH_WIRE_VARINT);
	end = wh_wire_put_varint(end, wh_wire_unzigzag(value->zone));
	at = put_unsigned(column, at, end - body);
	memcpy(at, body, end - body);
	return at + (end - body);
}

static uint8_t *
write_interval(WhOutput *session, WhOutputColumn *column, uint8_t *at, const Interval *value)
{
	uint8_t body[32];
	uint8_t *end = body;

	if (wh_compat_interval_is_nobegin(value) || wh_compat_interval_is_noend(value))
	{
		wh_output_note_special(session, column,
							   wh_compat_interval_is_nobegin(value) ?
								   WH_SPECIAL_NEGATIVE_INFINITY :
								   WH_SPECIAL_POSITIVE_INFINITY,
							   NULL, 0);
		return at;
	}
	end = wh_wire_put_tag(end, 1, WH_WIRE_VARINT);
	end = wh_wire_put_varint(end, wh_wire_unzigzag(value->month));
	end = wh_wire_put_tag(end, 2, WH_WIRE_VARINT);
	end = wh_wire_put_varint(end, wh_wire_unzigzag(value->day));
	end = wh_wire_put_tag(end, 3, WH_WIRE_VARINT);
	end = wh_wire_put_varint(end, wh_wire_unzigzag(value->time));
	at = put_unsigned(column, at, end - body);
	memcpy(at, body, end - body);
	return at + (end - body);
}

/* -------- numeric, text and what output functions print -------- */

static uint8_t *
write_numeric(WhOutput *session, WhOutputColumn *column, StringInfo out, uint8_t *at,
			  struct varlena *value)
{
	uint8_t body[32];
	uint8_t *end = body;
	int64_t unscaled;
	uint32_t scale;

	if (!wh_wire_numeric_from_disk(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), &unscaled, &scale))
		return write_big_numeric(session, column, out, at, value);
	end = wh_wire_put_tag(end, 1, WH_WIRE_VARINT);
	end = wh_wire_put_varint(end, wh_wire_unzigzag(unscaled));
	end = wh_wire_put_tag(end, 2, WH_WIRE_VARINT);
	end = wh_wire_put_varint(end, scale);
	return wh_output_write_bytes(column, out, at, body, end - body);
}

static uint8_t *
write_big_numeric(WhOutput *session, WhOutputColumn *column, StringInfo out, uint8_t *at,
				  struct varlena *value)
{
	char *text = OutputFunctionCall(&column->output, PointerGetDatum(value));
	size_t len = strlen(text);

	if (strcmp(text, "NaN") == 0)
		wh_output_note_special(session, column, WH_SPECIAL_NAN, NULL, 0);
	else if (strcmp(text, "Infinity") == 0)
		wh_output_note_special(session, column, WH_SPECIAL_POSITIVE_INFINITY, NULL, 0);
	else if (strcmp(text, "-Infinity") == 0)
		wh_output_note_special(session, column, WH_SPECIAL_NEGATIVE_INFINITY, NULL, 0);
	else
	{
		uint8_t head[WH_WIRE_MAX_TAG + WH_WIRE_MAX_VARINT];
		uint8_t *end = wh_wire_put_tag(head, 3, WH_WIRE_BYTES);

		end = wh_wire_put_varint(end, len);
		at = put_unsigned(column, at, (end - head) + len);
		at = wh_output_make_room(out, at, (end - head) + len + WH_FIELD_ROOM);
		memcpy(at, head, end - head);
		at += end - head;
		memcpy(at, text, len);
		at += len;
	}
	pfree(text);
	return at;
}

/*
 * write_jsonb prints into the row, behind room for a length of as many bytes as that of what is
 * stored.
 */
static uint8_t *
write_jsonb(WhOutput *session, WhOutputColumn *column, StringInfo out, uint8_t *at, Datum value)
{
	WhAligned aligned;
	Jsonb *stored = (Jsonb *) wh_output_aligned_varlena(value, &aligned);
	uint8_t *start = at;
	int estimate = VARSIZE(stored);
	size_t reserved = wh_wire_varint_size(estimate);
	size_t converted;
	size_t offset;
	size_t len;
	size_t size;
	uint8_t *end;

	if (!wh_output_is_utf8(session) || estimate > WH_VALUE_SMALL)
		return write_output(session, column, out, at, PointerGetDatum(stored));
	offset = (char *) start - out->data;
	end = wh_output_print_jsonb(&stored->root, out, wh_output_put_tag(column, at) + reserved);
	end = wh_output_make_room(out, end, WH_FIELD_ROOM + WH_WIRE_MAX_VARINT);
	start = (uint8_t *) out->data + offset;
	at = start + column->tag_size;
	len = end - at - reserved;
	converted = len;
	if (wh_output_is_large(len, offset) ||
		wh_output_to_utf8(session, (char *) at + reserved, &converted) == NULL)
	{
		/* out of the row again, and then as all text is treated */
		char *text = pnstrdup((char *) at + reserved, len);

		at = write_text(session, column, out, start, text, len);
		pfree(text);
		return at;
	}
	size = wh_wire_varint_size(len);
	if (size != reserved)
		memmove(at + size, at + reserved, len);
	return wh_wire_put_varint(at, len) + len;
}

static uint8_t *
write_output(WhOutput *session, WhOutputColumn *column, StringInfo out, uint8_t *at, Datum value)
{
	char *text;

	wh_output_pin_settings(session);
	text = OutputFunctionCall(&column->output, value);
	at = write_text(session, column, out, at, text, strlen(text));
	pfree(text);
	return at;
}

static uint8_t *
write_text(WhOutput *session, const WhOutputColumn *column, StringInfo out, uint8_t *at,
		   const char *text, size_t len)
{
	size_t converted = len;
	const char *utf8;

	if (wh_output_is_large(len, (char *) at - out->data) && !column->is_element)
	{
		if (!wh_output_chunk_text(session, column, text, len))
			wh_output_note_special(session, column, WH_SPECIAL_NOT_UTF8, text, len);
		return at;
	}
	utf8 = wh_output_to_utf8(session, text, &converted);
	if (utf8 == NULL)
	{
		wh_output_note_special(session, column, WH_SPECIAL_NOT_UTF8, text, len);
		return at;
	}
	at = wh_output_write_bytes(column, out, at, utf8, converted);
	if (utf8 != text)
		pfree(unconstify(char *, utf8));
	return at;
}

uint8_t *
wh_output_write_bytes(const WhOutputColumn *column, StringInfo out, uint8_t *at, const void *data,
					  size_t len)
{
	at = put_unsigned(column, at, len);
	at = wh_output_make_room(out, at, len + WH_FIELD_ROOM);
	memcpy(at, data, len);
	return at + len;
}
