/*
 * convert.c
 *		Rows of the wire into Datums of the mirror's columns.
 *
 * Per definition and target a plan: for each attnum the column it goes to and how.  Values with a
 * form of their own on the wire are made into Datums directly; special values and text forms go
 * through the type's input function, under the settings that the transaction pinned.  Columns that
 * the definition does not know have the value that older rows have.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/base.h"
#include "feed/feed_private.h"
#include "wire/walhouse.pb-c.h"

#define UNIX_TO_PG_DAYS (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)
#define UNIX_TO_PG_USECS (UNIX_TO_PG_DAYS * USECS_PER_DAY)

typedef struct Column
{
	int attno; /* in the mirror, from 0; -1: not wanted */
	WhValueKind kind;
	Oid type;
	bool is_text; /* a varlena whose content is the text itself */
	FmgrInfo input;
	Oid io_param;
} Column;

struct WhReader
{
	int natts;
	int max_attnum;
	Column *columns; /* by attnum */
	Datum *start_values; /* of a row before its fields are read */
	bool *start_nulls;
	int source_encoding;
};

static void plan_column(const WhTarget *target, Column *column, const Walhouse__V1__Column *given);
static void plan_missing(WhReader *reader, const WhTarget *target,
						 const Walhouse__V1__Relation *relation);
static void read_unchanged(const WhReader *reader, WhImage *image, WhSlice packed);
static void read_special(WhReader *reader, WhImage *image, WhSlice message);
static Datum read_value(WhReader *reader, Column *column, const WhField *field);
static Datum read_numeric(Column *column, WhSlice message);
static Datum read_timetz(WhSlice message);
static Datum read_interval(WhSlice message);
static Datum read_text(Column *column, const char *data, size_t len);
static Datum input_text(Column *column, const char *text);
pg_noreturn static void malformed(const char *what);

WhReader *
wh_reader_create(const WhTarget *target, const void *from, int source_encoding)
{
	const Walhouse__V1__Relation *relation = from;
	WhReader *reader = palloc0(sizeof(WhReader));

	reader->natts = target->desc->natts;
	reader->source_encoding = source_encoding;
	for (size_t i = 0; i < relation->n_column; i++)
		reader->max_attnum = Max(reader->max_attnum, (int) relation->column[i]->attnum);
	if (reader->max_attnum >= WH_ROW_UNCHANGED)
		malformed("relation");
	reader->columns = palloc0(sizeof(Column) * (reader->max_attnum + 1));
	for (int i = 0; i <= reader->max_attnum; i++)
		reader->columns[i].attno = -1;
	for (size_t i = 0; i < relation->n_column; i++)
		plan_column(target, &reader->columns[relation->column[i]->attnum], relation->column[i]);
	plan_missing(reader, target, relation);
	return reader;
}

static void
plan_column(const WhTarget *target, Column *column, const Walhouse__V1__Column *given)
{
	Oid input;

	if ((int) given->attnum > target->max_attnum || target->mirror_attno[given->attnum] < 0)
		return;
	column->attno = target->mirror_attno[given->attnum];
	column->kind = (WhValueKind) given->kind;
	column->type = TupleDescAttr(target->desc, column->attno)->atttypid;
	column->is_text = column->type == TEXTOID || column->type == VARCHAROID ||
					  column->type == BPCHAROID || column->type == JSONOID ||
					  column->type == XMLOID;
	getTypeInputInfo(column->type, &input, &column->io_param);
	fmgr_info(input, &column->input);
}

/* plan_missing fills what a row has in columns that came after this definition. */
static void
plan_missing(WhReader *reader, const WhTarget *target, const Walhouse__V1__Relation *relation)
{
	reader->start_values = palloc0(sizeof(Datum) * reader->natts);
	reader->start_nulls = palloc(sizeof(bool) * reader->natts);
	memset(reader->start_nulls, true, sizeof(bool) * reader->natts);
	for (int attnum = reader->max_attnum + 1; attnum <= target->max_attnum; attnum++)
	{
		int attno = target->mirror_attno[attnum];

		if (attno >= 0)
			reader->start_values[attno] =
				getmissingattr(target->desc, attno + 1, &reader->start_nulls[attno]);
	}
}

WhImage *
wh_image_create(int natts)
{
	WhImage *image = palloc0(sizeof(WhImage));

	image->values = palloc(sizeof(Datum) * natts);
	image->nulls = palloc(sizeof(bool) * natts);
	return image;
}

WhImage *
wh_reader_read(WhReader *reader, const uint8_t *data, size_t len)
{
	WhImage *image = wh_image_create(reader->natts);
	WhSlice rest = {data, len};
	WhField field;
	WhWireError error = NULL;

	memcpy(image->values, reader->start_values, sizeof(Datum) * reader->natts);
	memcpy(image->nulls, reader->start_nulls, sizeof(bool) * reader->natts);
	while (wh_wire_next_field(&rest, &field, &error))
	{
		Column *column;

		if (field.tag == WH_ROW_UNCHANGED)
			read_unchanged(reader, image, field.bytes);
		else if (field.tag == WH_ROW_SPECIAL)
			read_special(reader, image, field.bytes);
		if ((int) field.tag > reader->max_attnum)
			continue;
		column = &reader->columns[field.tag];
		if (column->attno < 0)
			continue;
		image->values[column->attno] = read_value(reader, column, &field);
		image->nulls[column->attno] = false;
	}
	if (error != NULL)
		malformed(error);
	return image;
}

static void
read_unchanged(const WhReader *reader, WhImage *image, WhSlice packed)
{
	uint64_t attnum;
	WhWireError error = NULL;

	if (image->unchanged == NULL)
		image->unchanged = palloc0(sizeof(bool) * reader->natts);
	while (wh_wire_next_packed(&packed, &attnum, &error))
	{
		if (attnum <= (uint64_t) reader->max_attnum && reader->columns[attnum].attno >= 0)
			image->unchanged[reader->columns[attnum].attno] = true;
	}
	if (error != NULL)
		malformed(error);
}

static void
read_special(WhReader *reader, WhImage *image, WhSlice message)
{
	WhWireSpecial special;
	Column *column;
	Datum value;

	if (!wh_wire_read_special(message, &special) || (int) special.attnum > reader->max_attnum)
		malformed("special value");
	column = &reader->columns[special.attnum];
	if (column->attno < 0)
		return;
	switch (special.kind)
	{
		case WH_SPECIAL_POSITIVE_INFINITY:
			value = input_text(column, "infinity");
			break;
		case WH_SPECIAL_NEGATIVE_INFINITY:
			value = input_text(column, "-infinity");
			break;
		case WH_SPECIAL_NAN:
			value = input_text(column, "NaN");
			break;
		case WH_SPECIAL_OUT_OF_RANGE:
			value = read_text(column, (const char *) special.bytes.data, special.bytes.len);
			break;
		case WH_SPECIAL_NOT_UTF8:
			if (GetDatabaseEncoding() != PG_SQL_ASCII &&
				GetDatabaseEncoding() != reader->source_encoding)
				ereport(ERROR,
						(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
						 errmsg("a value of the source is not valid text in its encoding %s",
								pg_encoding_to_char(reader->source_encoding))));
			value =
				column->is_text ?
					PointerGetDatum(cstring_to_text_with_len((const char *) special.bytes.data,
															 special.bytes.len)) :
					input_text(column,
							   pnstrdup((const char *) special.bytes.data, special.bytes.len));
			break;
		default:
			malformed("kind of special value");
	}
	image->values[column->attno] = value;
	image->nulls[column->attno] = false;
}

/* read_value makes a Datum; kind and type fit, or the definition would not have been accepted. */
static Datum
read_value(WhReader *reader, Column *column, const WhField *field)
{
	const WhSlice *bytes = &field->bytes;
	uint32 bits = (uint32) field->number;
	float4 single;
	float8 twice;
	pg_uuid_t *uuid;

	switch (column->kind)
	{
		case WH_VALUE_BOOL:
			return BoolGetDatum(field->number != 0);
		case WH_VALUE_INT32:
			return column->type == INT2OID ?
					   Int16GetDatum((int16) wh_wire_zigzag(field->number)) :
					   Int32GetDatum((int32) wh_wire_zigzag(field->number));
		case WH_VALUE_INT64:
		case WH_VALUE_TIME:
			return Int64GetDatum(wh_wire_zigzag(field->number));
		case WH_VALUE_UINT32:
			return UInt32GetDatum(bits);
		case WH_VALUE_UINT64:
			return UInt64GetDatum(field->number);
		case WH_VALUE_FLOAT:
			memcpy(&single, &bits, sizeof(single));
			return Float4GetDatum(single);
		case WH_VALUE_DOUBLE:
			memcpy(&twice, &field->number, sizeof(twice));
			return Float8GetDatum(twice);
		case WH_VALUE_NUMERIC:
			return read_numeric(column, *bytes);
		case WH_VALUE_DATE:
			return DateADTGetDatum((DateADT) (wh_wire_zigzag(field->number) - UNIX_TO_PG_DAYS));
		case WH_VALUE_TIMETZ:
			return read_timetz(*bytes);
		case WH_VALUE_TIMESTAMP:
		case WH_VALUE_TIMESTAMPTZ:
			return Int64GetDatum((int64) field->number - UNIX_TO_PG_USECS);
		case WH_VALUE_INTERVAL:
			return read_interval(*bytes);
		case WH_VALUE_UUID:
			if (bytes->len != UUID_LEN)
				malformed("uuid");
			uuid = palloc(sizeof(pg_uuid_t));
			memcpy(uuid->data, bytes->data, UUID_LEN);
			return UUIDPGetDatum(uuid);
		case WH_VALUE_BYTES:
			return PointerGetDatum(
				cstring_to_text_with_len((const char *) bytes->data, bytes->len));
		case WH_VALUE_TEXT:
		case WH_VALUE_OUTPUT:
			return read_text(column, (const char *) bytes->data, bytes->len);
		case WH_VALUE_ARRAY:
			break;
	}
	malformed("kind of value");
}

static Datum
read_numeric(Column *column, WhSlice message)
{
	WhWireNumeric numeric;

	if (!wh_wire_read_numeric(message, &numeric))
		malformed("numeric");
	if (numeric.big.data != NULL)
		return read_text(column, (const char *) numeric.big.data, numeric.big.len);
	return NumericGetDatum(int64_div_fast_to_numeric(numeric.unscaled, (int) numeric.scale));
}

static Datum
read_timetz(WhSlice message)
{
	TimeTzADT *value = palloc(sizeof(TimeTzADT));
	int64_t microseconds;
	int32_t zone;

	if (!wh_wire_read_timetz(message, &microseconds, &zone))
		malformed("time with time zone");
	value->time = microseconds;
	value->zone = zone;
	return TimeTzADTPGetDatum(value);
}

static Datum
read_interval(WhSlice message)
{
	Interval *value = palloc(sizeof(Interval));
	WhWireInterval interval;

	if (!wh_wire_read_interval(message, &interval))
		malformed("interval");
	value->month = interval.months;
	value->day = interval.days;
	value->time = interval.microseconds;
	return IntervalPGetDatum(value);
}

/* read_text makes a value of text that comes as UTF-8. */
static Datum
read_text(Column *column, const char *data, size_t len)
{
	char *text = len == 0 ? "" : pg_any_to_server(data, (int) len, PG_UTF8);
	size_t server_len = text == data ? len : strlen(text);

	if (column->is_text)
		return PointerGetDatum(cstring_to_text_with_len(text, server_len));
	return input_text(column, pnstrdup(text, server_len));
}

static Datum
input_text(Column *column, const char *text)
{
	return InputFunctionCall(&column->input, (char *) text, column->io_param, -1);
}

static void
malformed(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("malformed message of the source: %s", what)));
	pg_unreachable();
}
