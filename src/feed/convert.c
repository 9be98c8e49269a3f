/*
 * convert.c
 *		Rows of the wire into Datums of the mirror's columns.
 *
 * Per definition and target a plan: for each attnum the column it goes to and how.  Values with a
 * form of their own on the wire are made into Datums directly; special values and text forms go
 * through the type's input function, under the settings that the transaction pinned.  Columns that
 * the definition does not know have the value that older rows have.
 *
 * An array is built from its elements, each made as a column's value would be.  Where the mirror
 * keeps the text of an array whose type this database lacks, an array of a type that writes its
 * elements in the same way is built, and written out.
 *
 * A value that came in chunks is taken from chunks.c, checked, and is then read as if it had stood
 * in its field.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/base.h"
#include "feed/feed_private.h"
#include "wire/walhouse.pb-c.h"

#define UNIX_TO_PG_DAYS (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)
#define UNIX_TO_PG_USECS (UNIX_TO_PG_DAYS * USECS_PER_DAY)

/* How values of one type are made. */
typedef struct Form
{
	WhValueKind kind;
	Oid type; /* here; of an array that is kept as text: that of the array */
	bool is_text; /* a varlena whose content is the text itself */
	FmgrInfo input;
	Oid io_param;
	int16 len;
	bool by_value;
	char align;
} Form;

typedef struct Column
{
	int attno; /* in the mirror, from 0; -1: not wanted */
	Form form;
	Form *element; /* of kind ARRAY */
	bool as_text; /* of kind ARRAY: the mirror keeps what array_out writes */
} Column;

struct WhReader
{
	int natts;
	int max_attnum;
	Column *columns; /* by attnum */
	Datum *start_values; /* of a row before its fields are read */
	bool *start_nulls;
	int source_encoding;
	List *chunked; /* of WhWireChunked *: of the row that is read */
	List *specials; /* of WhWireSpecial *: likewise, those whose text comes in chunks */
};

static void plan_column(const WhTarget *target, Column *column, const Walhouse__V1__Column *given,
						const Walhouse__V1__Relation *relation);
static void plan_form(Form *form, WhValueKind kind, Oid type);
static void plan_array(Column *column, const Walhouse__V1__Column *given,
					   const Walhouse__V1__Relation *relation);
static Oid element_type(const Walhouse__V1__Column *given, const Walhouse__V1__Relation *relation);
static void plan_missing(WhReader *reader, const WhTarget *target,
						 const Walhouse__V1__Relation *relation);
static void read_unchanged(const WhReader *reader, WhImage *image, WhSlice packed);
static void read_special(WhReader *reader, WhImage *image, WhSlice message);
static Datum special_value(const WhReader *reader, Form *form, const WhWireSpecial *special);
static void note_chunked(WhReader *reader, WhSlice message);
static void read_chunked(WhReader *reader, WhImage *image, WhChunks *chunks,
						 const WhWireChunked *chunked);
static Datum assembled_value(WhReader *reader, Column *column, const WhWireChunked *chunked,
							 struct varlena *value);
static Datum read_column(Column *column, const WhField *field);
static Datum read_array(Column *column, WhSlice message);
static Datum read_value(Form *form, const WhField *field);
static Datum read_integer(Oid type, int64 value);
static Datum read_numeric(Form *form, WhSlice message);
static Datum read_timetz(WhSlice message);
static Datum read_interval(WhSlice message);
static Datum read_text(Form *form, const char *data, size_t len);
static Datum input_text(Form *form, const char *text);
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
		plan_column(target, &reader->columns[relation->column[i]->attnum], relation->column[i],
					relation);
	plan_missing(reader, target, relation);
	return reader;
}

static void
plan_column(const WhTarget *target, Column *column, const Walhouse__V1__Column *given,
			const Walhouse__V1__Relation *relation)
{
	if ((int) given->attnum > target->max_attnum || target->mirror_attno[given->attnum] < 0)
		return;
	column->attno = target->mirror_attno[given->attnum];
	plan_form(&column->form, (WhValueKind) given->kind,
			  TupleDescAttr(target->desc, column->attno)->atttypid);
	if (column->form.kind == WH_VALUE_ARRAY)
		plan_array(column, given, relation);
}

static void
plan_form(Form *form, WhValueKind kind, Oid type)
{
	Oid input;

	form->kind = kind;
	form->type = type;
	form->is_text = type == TEXTOID || type == VARCHAROID || type == BPCHAROID || type == JSONOID ||
					type == XMLOID;
	getTypeInputInfo(type, &input, &form->io_param);
	fmgr_info(input, &form->input);
	get_typlenbyvalalign(type, &form->len, &form->by_value, &form->align);
}

/* plan_array: the elements are of the mirror's own element type, or of one that is written alike.
 */
static void
plan_array(Column *column, const Walhouse__V1__Column *given,
		   const Walhouse__V1__Relation *relation)
{
	Oid type = get_element_type(column->form.type);

	if (!given->has_element_kind || given->element_kind == WALHOUSE__V1__VALUE_KIND__ARRAY)
		malformed("kind of an array's elements");
	column->as_text = column->form.type == TEXTOID;
	if (column->as_text)
		type = element_type(given, relation);
	else if (!OidIsValid(type))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is an array at the source, and is none here", given->name)));
	column->element = palloc0(sizeof(Form));
	plan_form(column->element, (WhValueKind) given->element_kind, type);
}

/*
 * element_type finds a type whose text is that of the elements of an array that is kept as text:
 * the element type itself, or the base type of a domain, where it is built in; else what the
 * kind on the wire stands for.
 */
static Oid
element_type(const Walhouse__V1__Column *given, const Walhouse__V1__Relation *relation)
{
	static const Oid types[] = {
		[WH_VALUE_BOOL] = BOOLOID,
		[WH_VALUE_INT32] = INT4OID,
		[WH_VALUE_INT64] = INT8OID,
		[WH_VALUE_UINT32] = OIDOID,
		[WH_VALUE_UINT64] = XID8OID,
		[WH_VALUE_FLOAT] = FLOAT4OID,
		[WH_VALUE_DOUBLE] = FLOAT8OID,
		[WH_VALUE_NUMERIC] = NUMERICOID,
		[WH_VALUE_DATE] = DATEOID,
		[WH_VALUE_TIME] = TIMEOID,
		[WH_VALUE_TIMETZ] = TIMETZOID,
		[WH_VALUE_TIMESTAMP] = TIMESTAMPOID,
		[WH_VALUE_TIMESTAMPTZ] = TIMESTAMPTZOID,
		[WH_VALUE_INTERVAL] = INTERVALOID,
		[WH_VALUE_UUID] = UUIDOID,
		[WH_VALUE_BYTES] = BYTEAOID};
	Oid type = given->has_element_type_oid ? given->element_type_oid : InvalidOid;

	if (given->element_kind == WALHOUSE__V1__VALUE_KIND__TEXT ||
		given->element_kind == WALHOUSE__V1__VALUE_KIND__OUTPUT)
		return TEXTOID;
	for (size_t i = 0; i < relation->n_type; i++)
	{
		if (relation->type[i]->oid == type && relation->type[i]->has_base_type_oid)
		{
			type = relation->type[i]->base_type_oid;
			i = -1; /* a domain over a domain */
		}
	}
	if (OidIsValid(type) && type < FirstGenbkiObjectId && get_typisdefined(type))
		return type;
	if (given->element_kind >= (int) lengthof(types) || !OidIsValid(types[given->element_kind]))
		malformed("kind of an array's elements");
	return types[given->element_kind];
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
wh_reader_read(WhReader *reader, WhChunks *chunks, const uint8_t *data, size_t len)
{
	WhImage *image = wh_image_create(reader->natts);
	WhSlice rest = {data, len};
	WhField field;
	WhWireError error = NULL;

	reader->chunked = reader->specials = NIL;
	memcpy(image->values, reader->start_values, sizeof(Datum) * reader->natts);
	memcpy(image->nulls, reader->start_nulls, sizeof(bool) * reader->natts);
	while (wh_wire_next_field(&rest, &field, &error))
	{
		Column *column;

		if (field.tag == WH_ROW_UNCHANGED)
			read_unchanged(reader, image, field.bytes);
		else if (field.tag == WH_ROW_SPECIAL)
			read_special(reader, image, field.bytes);
		else if (field.tag == WH_ROW_CHUNKED)
			note_chunked(reader, field.bytes);
		if ((int) field.tag > reader->max_attnum)
			continue;
		column = &reader->columns[field.tag];
		if (column->attno < 0)
			continue;
		image->values[column->attno] = read_column(column, &field);
		image->nulls[column->attno] = false;
	}
	if (error != NULL)
		malformed(error);
	foreach_ptr(WhWireChunked, chunked, reader->chunked)
		read_chunked(reader, image, chunks, chunked);
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

	if (!wh_wire_read_special(message, &special) || (int) special.attnum > reader->max_attnum)
		malformed("special value");
	column = &reader->columns[special.attnum];
	if (column->attno < 0)
		return;
	if (special.kind >= WH_SPECIAL_OUT_OF_RANGE && special.bytes.data == NULL)
	{
		WhWireSpecial *copy = palloc(sizeof(WhWireSpecial));

		*copy = special;
		reader->specials = lappend(reader->specials, copy);
		return;
	}
	image->values[column->attno] = special_value(reader, &column->form, &special);
	image->nulls[column->attno] = false;
}

static Datum
special_value(const WhReader *reader, Form *form, const WhWireSpecial *special)
{
	const char *data = (const char *) special->bytes.data;

	switch (special->kind)
	{
		case WH_SPECIAL_POSITIVE_INFINITY:
			return input_text(form, "infinity");
		case WH_SPECIAL_NEGATIVE_INFINITY:
			return input_text(form, "-infinity");
		case WH_SPECIAL_NAN:
			return input_text(form, "NaN");
		case WH_SPECIAL_OUT_OF_RANGE:
			return read_text(form, data, special->bytes.len);
		case WH_SPECIAL_NOT_UTF8:
			if (GetDatabaseEncoding() != PG_SQL_ASCII &&
				GetDatabaseEncoding() != reader->source_encoding)
				ereport(ERROR,
						(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
						 errmsg("a value of the source is not valid text in its encoding %s",
								pg_encoding_to_char(reader->source_encoding))));
			return form->is_text ?
					   PointerGetDatum(cstring_to_text_with_len(data, special->bytes.len)) :
					   input_text(form, pnstrdup(data, special->bytes.len));
	}
	malformed("kind of special value");
}

/* note_chunked remembers a value that came in pieces: what is said of it may stand elsewhere in
 * the row. */
static void
note_chunked(WhReader *reader, WhSlice message)
{
	WhWireChunked *chunked = palloc(sizeof(WhWireChunked));

	if (!wh_wire_read_chunked(message, chunked) || (int) chunked->attnum > reader->max_attnum)
		malformed("chunked value");
	reader->chunked = lappend(reader->chunked, chunked);
}

/*
 * read_chunked takes a value that came in pieces.  Where the mirror's column is the text or the
 * bytes themselves, the pieces were gathered behind room for a varlena's header, and become the
 * Datum where they are.
 */
static void
read_chunked(WhReader *reader, WhImage *image, WhChunks *chunks, const WhWireChunked *chunked)
{
	Column *column = &reader->columns[chunked->attnum];
	struct varlena *value = wh_chunks_take(chunks, chunked);
	Datum datum = (Datum) 0;

	if (column->attno >= 0)
	{
		datum = assembled_value(reader, column, chunked, value);
		image->values[column->attno] = datum;
		image->nulls[column->attno] = false;
	}
	if (DatumGetPointer(datum) != (Pointer) value)
		wh_chunks_free(value);
}

static Datum
assembled_value(WhReader *reader, Column *column, const WhWireChunked *chunked,
				struct varlena *value)
{
	WhField field = {
		.tag = chunked->attnum,
		.type = WH_WIRE_BYTES,
		.bytes = {(const uint8_t *) VARDATA(value), VARSIZE(value) - VARHDRSZ}};

	foreach_ptr(WhWireSpecial, special, reader->specials)
	{
		if (special->attnum == chunked->attnum)
		{
			special->bytes = field.bytes;
			return special_value(reader, &column->form, special);
		}
	}
	if (column->form.kind == WH_VALUE_BYTES)
		return PointerGetDatum(value);
	if (column->form.kind != WH_VALUE_ARRAY && column->form.is_text &&
		GetDatabaseEncoding() == PG_UTF8)
	{
		pg_verifymbstr(VARDATA(value), (int) field.bytes.len, false);
		return PointerGetDatum(value);
	}
	return read_column(column, &field);
}

static Datum
read_column(Column *column, const WhField *field)
{
	if (column->form.kind != WH_VALUE_ARRAY)
		return read_value(&column->form, field);
	return read_array(column, field->bytes);
}

static Datum
read_array(Column *column, WhSlice message)
{
	Form *form = column->element;
	WhWireArray array;
	WhField field;
	WhWireError error = NULL;
	Datum *values;
	bool *nulls = NULL;
	Datum result;

	if (!wh_wire_read_array(message, form->kind, &array) || array.dimensions > MAXDIM)
		malformed("array");
	values = palloc_extended(sizeof(Datum) * Max(array.elements, 1), MCXT_ALLOC_HUGE);
	if (array.nulls.data != NULL)
		nulls = palloc_extended(array.elements, MCXT_ALLOC_HUGE);
	for (size_t i = 0; i < array.elements; i++)
	{
		values[i] = (Datum) 0;
		if (nulls != NULL)
		{
			nulls[i] = (array.nulls.data[i / 8] >> (i % 8)) & 1;
			if (nulls[i])
				continue;
		}
		if (!wh_wire_next_element(&array, &field, &error))
			malformed("array");
		values[i] = read_value(form, &field);
	}
	result = PointerGetDatum(
		array.dimensions == 0 ?
			construct_empty_array(form->type) :
			construct_md_array(values, nulls, array.dimensions, array.dimension, array.lower_bound,
							   form->type, form->len, form->by_value, form->align));
	if (!form->by_value)
	{
		for (size_t i = 0; i < array.elements; i++)
		{
			if (nulls == NULL || !nulls[i])
				pfree(DatumGetPointer(values[i]));
		}
	}
	pfree(values);
	if (column->as_text)
		result = CStringGetTextDatum(OidOutputFunctionCall(F_ARRAY_OUT, result));
	return result;
}

/* read_value makes a Datum; kind and type fit, or the definition would not have been accepted. */
static Datum
read_value(Form *form, const WhField *field)
{
	const WhSlice *bytes = &field->bytes;
	uint32 bits = (uint32) field->number;
	float4 single;
	float8 twice;
	pg_uuid_t *uuid;

	switch (form->kind)
	{
		case WH_VALUE_BOOL:
			return BoolGetDatum(field->number != 0);
		case WH_VALUE_INT32:
		case WH_VALUE_INT64:
			return read_integer(form->type, wh_wire_zigzag(field->number));
		case WH_VALUE_TIME:
			return Int64GetDatum(wh_wire_zigzag(field->number));
		case WH_VALUE_UINT32:
			return UInt32GetDatum(bits);
		case WH_VALUE_UINT64:
			return UInt64GetDatum(field->number);
		case WH_VALUE_FLOAT:
			memcpy(&single, &bits, sizeof(single));
			return form->type == FLOAT8OID ? Float8GetDatum((float8) single) :
											 Float4GetDatum(single);
		case WH_VALUE_DOUBLE:
			memcpy(&twice, &field->number, sizeof(twice));
			return Float8GetDatum(twice);
		case WH_VALUE_NUMERIC:
			return read_numeric(form, *bytes);
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
			return read_text(form, (const char *) bytes->data, bytes->len);
		case WH_VALUE_ARRAY:
			break;
	}
	malformed("kind of value");
}

/* read_integer: a row may be older than its column's wider type. */
static Datum
read_integer(Oid type, int64 value)
{
	switch (type)
	{
		case INT2OID:
			return Int16GetDatum((int16) value);
		case INT4OID:
			return Int32GetDatum((int32) value);
		case NUMERICOID:
			return NumericGetDatum(int64_to_numeric(value));
		default:
			return Int64GetDatum(value);
	}
}

static Datum
read_numeric(Form *form, WhSlice message)
{
	WhWireNumeric numeric;

	if (!wh_wire_read_numeric(message, &numeric))
		malformed("numeric");
	if (numeric.big.data != NULL)
		return read_text(form, (const char *) numeric.big.data, numeric.big.len);
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
read_text(Form *form, const char *data, size_t len)
{
	char *text = len == 0 ? "" : pg_any_to_server(data, (int) len, PG_UTF8);
	size_t server_len = text == data ? len : strlen(text);

	if (form->is_text)
		return PointerGetDatum(cstring_to_text_with_len(text, server_len));
	return input_text(form, pnstrdup(text, server_len));
}

static Datum
input_text(Form *form, const char *text)
{
	return InputFunctionCall(&form->input, (char *) text, form->io_param, -1);
}

static void
malformed(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("malformed message of the source: %s", what)));
	pg_unreachable();
}
