/*
 * value.c
 *		From a deformed tuple to the fields of a row.
 *
 * Fixed-size types, text and bytea are copied as they stand; numeric is read from its digits;
 * only what is left goes through an output function, under pinned settings.  NULL is no field at
 * all.  An infinity, a NaN of numeric, a value out of the field's range and text that is not
 * valid UTF-8 are no field either, but an entry in field 2002; a TOAST value that was not logged
 * is an attnum in field 2001.  Both come after the columns, so that fields ascend.
 *
 * Everything allocated here is in the session's change context.  Values on disk
 * (VARATT_IS_EXTERNAL_ONDISK) are never fetched: the historic snapshot cannot see a TOAST table's
 * rows.
 */
#include "output/output_private.h"

#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* A tag, and the largest value of fixed size with its length. */
#define WH_FIELD_ROOM 64

#define EPOCH_SHIFT_DAYS (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)
#define EPOCH_SHIFT_USECS (EPOCH_SHIFT_DAYS * USECS_PER_DAY)

static bool is_unchanged(const WhOutputColumn *column, Datum value);
static void write_value(WhOutput *session, WhOutputColumn *column, StringInfo out, Datum value);
static void write_varlena(WhOutput *session, WhOutputColumn *column, StringInfo out, Datum value);
static uint8_t *write_fixed(WhOutput *session, WhOutputColumn *column, uint8_t *at, Datum value);
static uint8_t *write_date(WhOutput *session, WhOutputColumn *column, uint8_t *at, DateADT date);
static uint8_t *write_timestamp(WhOutput *session, WhOutputColumn *column, uint8_t *at,
								Timestamp value);
static uint8_t *write_timetz(WhOutputColumn *column, uint8_t *at, const TimeTzADT *value);
static uint8_t *write_interval(WhOutput *session, WhOutputColumn *column, uint8_t *at,
							   const Interval *value);
static void write_numeric(WhOutput *session, WhOutputColumn *column, StringInfo out,
						  struct varlena *value);
static void write_text(WhOutput *session, WhOutputColumn *column, StringInfo out,
					   const char *text, size_t len);
static void write_bytes(WhOutputColumn *column, StringInfo out, const char *data, size_t len);
static void note_special(WhOutput *session, WhOutputColumn *column, WhSpecialKind kind,
						 const char *data, size_t len);
static void note_unchanged(WhOutput *session, WhOutputColumn *column);
static void write_meta(WhOutput *session, StringInfo out);

/* -------- rows -------- */

void
wh_output_write_row(WhOutput *session, WhOutputRelation *relation, StringInfo out,
					Datum *values, bool *nulls, bool keys_only)
{
	resetStringInfo(&session->unchanged);
	resetStringInfo(&session->specials);
	for (int i = 0; i < relation->ncolumns; i++)
	{
		WhOutputColumn *column = &relation->columns[i];
		int index = column->index;

		if ((keys_only && !column->is_key) || nulls[index])
			continue;
		if (is_unchanged(column, values[index]))
			note_unchanged(session, column);
		else
			write_value(session, column, out, values[index]);
	}
	write_meta(session, out);
}

/* is_unchanged tells a TOAST pointer whose value is not in the WAL. */
static bool
is_unchanged(const WhOutputColumn *column, Datum value)
{
	return column->is_varlena && VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(value));
}

/* write_meta writes the fields that are about the row. */
static void
write_meta(WhOutput *session, StringInfo out)
{
	if (session->unchanged.len > 0)
		wh_wire_append_bytes(out, WH_ROW_UNCHANGED, session->unchanged.data,
							 session->unchanged.len);
	if (session->specials.len > 0)
		appendBinaryStringInfo(out, session->specials.data, session->specials.len);
}

static void
note_unchanged(WhOutput *session, WhOutputColumn *column)
{
	StringInfo out = &session->unchanged;

	enlargeStringInfo(out, WH_WIRE_MAX_VARINT);
	out->len =
		(char *) wh_wire_put_varint((uint8_t *) out->data + out->len, column->attnum) - out->data;
}

/*
 * note_special keeps a Special for the end of the row; data is text or raw bytes, as the kind has
 * it, or NULL.
 */
static void
note_special(WhOutput *session, WhOutputColumn *column, WhSpecialKind kind, const char *data,
			 size_t len)
{
	StringInfo out = &session->specials;
	int message = wh_wire_open(out, WH_ROW_SPECIAL);

	wh_wire_append_uint(out, 1, column->attnum);
	wh_wire_append_uint(out, 2, kind);
	if (data != NULL)
		wh_wire_append_bytes(out, kind == WH_SPECIAL_NOT_UTF8 ? 4 : 3, data, len);
	wh_wire_close(out, message);
}

/* -------- values -------- */

static void
write_value(WhOutput *session, WhOutputColumn *column, StringInfo out, Datum value)
{
	char *text;

	switch (column->writer)
	{
		case WH_WRITE_NUMERIC:
		case WH_WRITE_BYTES:
		case WH_WRITE_TEXT:
			write_varlena(session, column, out, value);
			break;
		case WH_WRITE_UUID:
			write_bytes(column, out, (const char *) DatumGetUUIDP(value)->data, UUID_LEN);
			break;
		case WH_WRITE_NAME:
			text = NameStr(*DatumGetName(value));
			write_text(session, column, out, text, strlen(text));
			break;
		case WH_WRITE_OUTPUT:
			wh_output_pin_settings(session);
			text = OutputFunctionCall(&column->output, value);
			write_text(session, column, out, text, strlen(text));
			break;
		default:
			enlargeStringInfo(out, WH_FIELD_ROOM);
			out->len =
				(char *) write_fixed(session, column, (uint8_t *) out->data + out->len, value) -
				out->data;
			break;
	}
}

static void
write_varlena(WhOutput *session, WhOutputColumn *column, StringInfo out, Datum value)
{
	struct varlena *packed = PG_DETOAST_DATUM_PACKED(value);

	if (column->writer == WH_WRITE_NUMERIC)
		write_numeric(session, column, out, packed);
	else if (column->writer == WH_WRITE_BYTES)
		write_bytes(column, out, VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed));
	else
		write_text(session, column, out, VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed));
}

static inline uint8_t *
put_tag(const WhOutputColumn *column, uint8_t *at)
{
	for (int i = 0; i < column->tag_size; i++)
		*at++ = column->tag[i];
	return at;
}

static inline uint8_t *
put_unsigned(const WhOutputColumn *column, uint8_t *at, uint64 value)
{
	return wh_wire_put_varint(put_tag(column, at), value);
}

static inline uint8_t *
put_signed(const WhOutputColumn *column, uint8_t *at, int64 value)
{
	return put_unsigned(column, at, wh_wire_unzigzag(value));
}

/*
 * write_fixed writes a value of fixed size at a place with WH_FIELD_ROOM bytes, and returns the
 * place behind it.
 */
static uint8_t *
write_fixed(WhOutput *session, WhOutputColumn *column, uint8_t *at, Datum value)
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
			return wh_wire_put_fixed32(put_tag(column, at), bits);
		}
		case WH_WRITE_FLOAT8:
		{
			float8 number = DatumGetFloat8(value);
			uint64 bits;

			memcpy(&bits, &number, sizeof(bits));
			return wh_wire_put_fixed64(put_tag(column, at), bits);
		}
		case WH_WRITE_DATE:
			return write_date(session, column, at, DatumGetDateADT(value));
		case WH_WRITE_TIMESTAMP:
			return write_timestamp(session, column, at, DatumGetTimestamp(value));
		case WH_WRITE_TIMETZ:
			return write_timetz(column, at, DatumGetTimeTzADTP(value));
		case WH_WRITE_INTERVAL:
			return write_interval(session, column, at, DatumGetIntervalP(value));
		default:
			elog(ERROR, "column writer %d is not of fixed size", (int) column->writer);
	}
}

static uint8_t *
write_date(WhOutput *session, WhOutputColumn *column, uint8_t *at, DateADT date)
{
	if (DATE_IS_NOBEGIN(date))
		note_special(session, column, WH_SPECIAL_NEGATIVE_INFINITY, NULL, 0);
	else if (DATE_IS_NOEND(date))
		note_special(session, column, WH_SPECIAL_POSITIVE_INFINITY, NULL, 0);
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
		note_special(session, column, WH_SPECIAL_NEGATIVE_INFINITY, NULL, 0);
	else if (TIMESTAMP_IS_NOEND(value))
		note_special(session, column, WH_SPECIAL_POSITIVE_INFINITY, NULL, 0);
	else if (__builtin_add_overflow(value, EPOCH_SHIFT_USECS, &shifted))
	{
		char *text;

		wh_output_pin_settings(session);
		text = OutputFunctionCall(&column->output, TimestampGetDatum(value));
		note_special(session, column, WH_SPECIAL_OUT_OF_RANGE, text, strlen(text));
	}
	else
		at = wh_wire_put_fixed64(put_tag(column, at), (uint64) shifted);
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
		note_special(session, column,
					 wh_compat_interval_is_nobegin(value) ? WH_SPECIAL_NEGATIVE_INFINITY :
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

static void
write_numeric(WhOutput *session, WhOutputColumn *column, StringInfo out, struct varlena *value)
{
	uint8_t body[32];
	uint8_t *end = body;
	int64_t unscaled;
	uint32_t scale;
	char *text;
	size_t len;
	int message;

	if (wh_wire_numeric_from_disk(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), &unscaled, &scale))
	{
		end = wh_wire_put_tag(end, 1, WH_WIRE_VARINT);
		end = wh_wire_put_varint(end, wh_wire_unzigzag(unscaled));
		end = wh_wire_put_tag(end, 2, WH_WIRE_VARINT);
		end = wh_wire_put_varint(end, scale);
		write_bytes(column, out, (const char *) body, end - body);
		return;
	}
	text = OutputFunctionCall(&column->output, PointerGetDatum(value));
	len = strlen(text);
	if (strcmp(text, "NaN") == 0)
		note_special(session, column, WH_SPECIAL_NAN, NULL, 0);
	else if (strcmp(text, "Infinity") == 0)
		note_special(session, column, WH_SPECIAL_POSITIVE_INFINITY, NULL, 0);
	else if (strcmp(text, "-Infinity") == 0)
		note_special(session, column, WH_SPECIAL_NEGATIVE_INFINITY, NULL, 0);
	else
	{
		message = wh_wire_open(out, column->attnum);
		wh_wire_append_bytes(out, 3, text, len);
		wh_wire_close(out, message);
	}
}

static void
write_text(WhOutput *session, WhOutputColumn *column, StringInfo out, const char *text, size_t len)
{
	size_t converted = len;
	const char *utf8 = wh_output_to_utf8(session, text, &converted);

	if (utf8 == NULL)
		note_special(session, column, WH_SPECIAL_NOT_UTF8, text, len);
	else
		write_bytes(column, out, utf8, converted);
}

static void
write_bytes(WhOutputColumn *column, StringInfo out, const char *data, size_t len)
{
	uint8_t *at;

	enlargeStringInfo(out, WH_FIELD_ROOM + (int) len);
	at = put_unsigned(column, (uint8_t *) out->data + out->len, len);
	memcpy(at, data, len);
	out->len = (char *) at + len - out->data;
}

/* -------- encodings -------- */

/*
 * wh_output_to_utf8 checks or converts text of the database's encoding.  A UTF-8 database can
 * hold text that is not valid (functions in C make it), an SQL_ASCII one anything, and others
 * characters that Unicode lacks.
 */
const char *
wh_output_to_utf8(WhOutput *session, const char *text, size_t *len)
{
	unsigned char *converted;
	int room;
	int done;

	if (session->encoding == PG_UTF8 || session->encoding == PG_SQL_ASCII)
		return pg_verify_mbstr(PG_UTF8, text, (int) *len, true) ? text : NULL;

	if (!OidIsValid(session->to_utf8))
	{
		session->to_utf8 = FindDefaultConversionProc(session->encoding, PG_UTF8);
		if (!OidIsValid(session->to_utf8))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("there is no conversion from encoding \"%s\" to UTF-8",
							pg_encoding_to_char(session->encoding))));
	}
	if (!pg_verify_mbstr(session->encoding, text, (int) *len, true))
		return NULL;
	if (*len > (MaxAllocSize - 2) / MAX_CONVERSION_GROWTH)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("text of %zu bytes is too long to be converted to UTF-8", *len)));
	room = (int) *len * MAX_CONVERSION_GROWTH + 2;
	converted = palloc(room);
	done = pg_do_encoding_conversion_buf(session->to_utf8, session->encoding, PG_UTF8,
										 (unsigned char *) unconstify(char *, text), (int) *len,
										 converted, room, true);
	if (done < (int) *len)
		return NULL;
	*len = strlen((char *) converted);
	return (char *) converted;
}
