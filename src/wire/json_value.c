/*
 * json_value.c
 *		The values of a row as JSON.
 *
 * What a JSON number could not hold exactly in every reader goes as a string: 64-bit integers and
 * numeric, and of floats NaN and the infinities.  Small integers and other floats are numbers,
 * the latter with the shortest digits that read back as the same value.
 */
#include "c.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "utils/palloc.h"

#include "wire/json.h"
#include "wire/json_private.h"

void
wh_wire_append_hex(StringInfo out, WhSlice bytes)
{
	static const char digits[] = "0123456789abcdef";

	enlargeStringInfo(out, (int) bytes.len * 2 + 8);
	appendStringInfoString(out, "\"\\\\x");
	for (size_t i = 0; i < bytes.len; i++)
	{
		appendStringInfoChar(out, digits[bytes.data[i] >> 4]);
		appendStringInfoChar(out, digits[bytes.data[i] & 15]);
	}
	appendStringInfoChar(out, '"');
}

static void
append_uuid(StringInfo out, WhSlice bytes)
{
	for (size_t i = 0; i < bytes.len; i++)
		appendStringInfo(out, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
						 bytes.data[i]);
}

static void
append_special(StringInfo out, const ColumnDefinition *column, const WhWireSpecial *special)
{
	bool is_numeric = column->kind == WALHOUSE__V1__VALUE_KIND__NUMERIC;

	switch (special->kind)
	{
		case WH_SPECIAL_POSITIVE_INFINITY:
			appendStringInfoString(out, is_numeric ? "\"Infinity\"" : "\"infinity\"");
			break;
		case WH_SPECIAL_NEGATIVE_INFINITY:
			appendStringInfoString(out, is_numeric ? "\"-Infinity\"" : "\"-infinity\"");
			break;
		case WH_SPECIAL_NAN:
			appendStringInfoString(out, "\"NaN\"");
			break;
		case WH_SPECIAL_NOT_UTF8:
			appendStringInfoString(out, "{\"not_utf8\":");
			wh_wire_append_hex(out, special->bytes);
			appendStringInfoChar(out, '}');
			break;
		default:
			wh_wire_append_json_string(out, (const char *) special->bytes.data, special->bytes.len);
			break;
	}
}

/* append_float appends a float4 or float8: the shortest digits that read back as the same value. */
static void
append_float(StringInfo out, const WhField *field, bool is_single)
{
	char digits[DOUBLE_SHORTEST_DECIMAL_LEN + 1];
	uint32_t bits = (uint32_t) field->number;
	float single = 0;
	double number;

	memcpy(&single, &bits, sizeof(single));
	memcpy(&number, &field->number, sizeof(number));
	if (is_single)
		number = single;
	if (isnan(number))
		appendStringInfoString(out, "\"NaN\"");
	else if (isinf(number))
		appendStringInfoString(out, number > 0 ? "\"Infinity\"" : "\"-Infinity\"");
	else
	{
		if (is_single)
			float_to_shortest_decimal_buf(single, digits);
		else
			double_to_shortest_decimal_buf(number, digits);
		appendStringInfoString(out, digits);
	}
}

/*
 * append_message appends a value that is a message of its own, between quotes.  Returns false
 * where it is malformed.
 */
static bool
append_message(StringInfo out, int kind, WhSlice bytes)
{
	WhWireNumeric numeric;
	WhWireInterval interval;
	int64_t microseconds;
	int32_t zone;

	switch (kind)
	{
		case WALHOUSE__V1__VALUE_KIND__NUMERIC:
			if (!wh_wire_read_numeric(bytes, &numeric))
				return false;
			if (numeric.big.data != NULL)
				wh_wire_append_json_string(out, (const char *) numeric.big.data, numeric.big.len);
			else
			{
				appendStringInfoChar(out, '"');
				wh_wire_append_decimal(out, numeric.unscaled, numeric.scale);
				appendStringInfoChar(out, '"');
			}
			return true;
		case WALHOUSE__V1__VALUE_KIND__TIMETZ:
			if (!wh_wire_read_timetz(bytes, &microseconds, &zone))
				return false;
			appendStringInfoChar(out, '"');
			wh_wire_append_timetz(out, microseconds, zone);
			break;
		case WALHOUSE__V1__VALUE_KIND__INTERVAL:
			if (!wh_wire_read_interval(bytes, &interval))
				return false;
			appendStringInfoChar(out, '"');
			wh_wire_append_interval(out, &interval);
			break;
		default:
			if (bytes.len != 16)
				return false;
			appendStringInfoChar(out, '"');
			append_uuid(out, bytes);
			break;
	}
	appendStringInfoChar(out, '"');
	return true;
}

static bool append_sent(StringInfo out, int kind, const WhField *field);
static bool append_quoted(StringInfo out, int kind, const WhField *field);
static bool append_array(StringInfo out, int element_kind, WhSlice bytes);
static bool append_elements(StringInfo out, WhWireArray *array);

bool
wh_wire_append_value(StringInfo out, const ColumnDefinition *column, const Value *value)
{
	if (value->state == VALUE_SPECIAL)
	{
		append_special(out, column, &value->special);
		return true;
	}
	if (value->state == VALUE_NULL)
	{
		appendStringInfoString(out, "null");
		return true;
	}
	if (column->kind != WALHOUSE__V1__VALUE_KIND__ARRAY)
		return append_sent(out, column->kind, &value->field);
	return column->has_element_kind && value->field.type == WH_WIRE_BYTES &&
		   append_array(out, column->element_kind, value->field.bytes);
}

/* append_sent appends a column's or an element's value. */
static bool
append_sent(StringInfo out, int kind, const WhField *field)
{
	int64_t number = wh_wire_zigzag(field->number);

	if (field->type != wh_wire_type_of_kind((WhValueKind) kind))
		return false;
	switch (kind)
	{
		case WALHOUSE__V1__VALUE_KIND__BOOL:
			appendStringInfoString(out, field->number ? "true" : "false");
			return true;
		case WALHOUSE__V1__VALUE_KIND__INT32:
			appendStringInfo(out, "%d", (int) number);
			return true;
		case WALHOUSE__V1__VALUE_KIND__UINT32:
			appendStringInfo(out, "%u", (unsigned int) field->number);
			return true;
		case WALHOUSE__V1__VALUE_KIND__FLOAT:
		case WALHOUSE__V1__VALUE_KIND__DOUBLE:
			append_float(out, field, kind == WALHOUSE__V1__VALUE_KIND__FLOAT);
			return true;
		case WALHOUSE__V1__VALUE_KIND__NUMERIC:
		case WALHOUSE__V1__VALUE_KIND__TIMETZ:
		case WALHOUSE__V1__VALUE_KIND__INTERVAL:
		case WALHOUSE__V1__VALUE_KIND__UUID:
			return append_message(out, kind, field->bytes);
		case WALHOUSE__V1__VALUE_KIND__BYTES:
			wh_wire_append_hex(out, field->bytes);
			return true;
		case WALHOUSE__V1__VALUE_KIND__TEXT:
		case WALHOUSE__V1__VALUE_KIND__OUTPUT:
			wh_wire_append_json_string(out, (const char *) field->bytes.data, field->bytes.len);
			return true;
		default:
			return append_quoted(out, kind, field);
	}
}

/* append_quoted appends numbers that JSON's would not hold, and what ISO 8601 writes. */
static bool
append_quoted(StringInfo out, int kind, const WhField *field)
{
	int64_t number = wh_wire_zigzag(field->number);

	appendStringInfoChar(out, '"');
	switch (kind)
	{
		case WALHOUSE__V1__VALUE_KIND__INT64:
			appendStringInfo(out, "%lld", (long long) number);
			break;
		case WALHOUSE__V1__VALUE_KIND__UINT64:
			appendStringInfo(out, "%llu", (unsigned long long) field->number);
			break;
		case WALHOUSE__V1__VALUE_KIND__DATE:
			wh_wire_append_date(out, (int32_t) number);
			break;
		case WALHOUSE__V1__VALUE_KIND__TIME:
			wh_wire_append_time(out, number);
			break;
		case WALHOUSE__V1__VALUE_KIND__TIMESTAMP:
			wh_wire_append_timestamp(out, (int64_t) field->number, false);
			break;
		case WALHOUSE__V1__VALUE_KIND__TIMESTAMPTZ:
			wh_wire_append_timestamp(out, (int64_t) field->number, true);
			break;
		default:
			return false;
	}
	appendStringInfoChar(out, '"');
	return true;
}

/* -------- arrays -------- */

/* append_array appends an array as an array of arrays; lower bounds are told where one is not 1. */
static bool
append_array(StringInfo out, int element_kind, WhSlice bytes)
{
	WhWireArray array;
	bool has_bounds = false;

	if (!wh_wire_read_array(bytes, (WhValueKind) element_kind, &array))
		return false;
	for (int i = 0; i < array.dimensions; i++)
	{
		if (array.lower_bound[i] != 1)
			has_bounds = true;
	}
	if (!has_bounds)
		return append_elements(out, &array);
	appendStringInfoString(out, "{\"lower_bounds\":[");
	for (int i = 0; i < array.dimensions; i++)
		appendStringInfo(out, "%s%d", i == 0 ? "" : ",", array.lower_bound[i]);
	appendStringInfoString(out, "],\"values\":");
	if (!append_elements(out, &array))
		return false;
	appendStringInfoChar(out, '}');
	return true;
}

static bool
append_elements(StringInfo out, WhWireArray *array)
{
	WhWireError error = NULL;
	WhField element;

	if (array->elements == 0)
		appendStringInfoString(out, "[]");
	for (size_t i = 0; i < array->elements; i++)
	{
		size_t block = 1;

		/* A dimension opens and closes where as many elements as a block of it has are done. */
		for (int d = array->dimensions - 1; d >= 0; d--)
		{
			block *= (size_t) array->dimension[d];
			if (i % block == 0)
				appendStringInfoChar(out, '[');
		}
		if (wh_wire_is_null_element(array, i))
			appendStringInfoString(out, "null");
		else if (!wh_wire_next_element(array, &element, &error) ||
				 !append_sent(out, array->element_kind, &element))
			return false;
		block = 1;
		for (int d = array->dimensions - 1; d >= 0; d--)
		{
			block *= (size_t) array->dimension[d];
			if ((i + 1) % block == 0)
				appendStringInfoChar(out, ']');
		}
		if (i + 1 < array->elements)
			appendStringInfoChar(out, ',');
	}
	return true;
}
