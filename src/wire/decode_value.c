/*
 * decode_value.c
 *		Reading values that are messages of their own, in place.
 *
 * As in decode.c nothing is copied or allocated, and the input is not trusted.  An array is
 * checked as a whole when it is read, so that walking its elements finds as many as it says.
 */
#include "wire/wire.h"

#include <string.h>

/* As many elements as PostgreSQL allows at most: 1 GB of pointers. */
#define MAX_ELEMENTS ((size_t) 134217727)
#define MAX_DIMENSIONS 6

static bool read_packed_int(WhSlice *bytes, const WhField *field, uint64_t *value,
							WhWireError *error);
static bool read_shape(WhSlice message, WhWireArray *array, WhWireError *error);
static bool check_shape(WhWireArray *array, int nlower, WhWireError *error);
static bool count_nulls(WhWireArray *array, size_t *nnulls, WhWireError *error);
static bool count_elements(const WhWireArray *array, size_t *count, WhWireError *error);
static bool is_packable(WhValueKind kind);

static bool
fail(WhWireError *error, const char *message)
{
	if (*error == NULL)
		*error = message;
	return false;
}

/* is_type checks the wire type of a field that is known. */
static bool
is_type(const WhField *field, WhWireType type, WhWireError *error)
{
	return field->type == type || fail(error, "field has the wrong wire type");
}

/* take_uint32 stores a field's value where it fits. */
static bool
take_uint32(const WhField *field, uint32_t *value, WhWireError *error)
{
	if (field->number > UINT32_MAX)
		return fail(error, "number does not fit 32 bits");
	*value = (uint32_t) field->number;
	return true;
}

WhWireType
wh_wire_type_of_kind(WhValueKind kind)
{
	switch (kind)
	{
		case WH_VALUE_BOOL:
		case WH_VALUE_INT32:
		case WH_VALUE_INT64:
		case WH_VALUE_UINT32:
		case WH_VALUE_UINT64:
		case WH_VALUE_DATE:
		case WH_VALUE_TIME:
			return WH_WIRE_VARINT;
		case WH_VALUE_FLOAT:
			return WH_WIRE_FIXED32;
		case WH_VALUE_DOUBLE:
		case WH_VALUE_TIMESTAMP:
		case WH_VALUE_TIMESTAMPTZ:
			return WH_WIRE_FIXED64;
		default:
			return WH_WIRE_BYTES;
	}
}

/* -------- values that are messages -------- */

bool
wh_wire_read_numeric(WhSlice message, WhWireNumeric *numeric)
{
	WhWireError error = NULL;
	WhField field;
	bool has_unscaled = false;

	memset(numeric, 0, sizeof(*numeric));
	while (wh_wire_next_field(&message, &field, &error))
	{
		if (field.tag == 1 && is_type(&field, WH_WIRE_VARINT, &error))
		{
			numeric->unscaled = wh_wire_zigzag(field.number);
			has_unscaled = true;
		}
		else if (field.tag == 2 && is_type(&field, WH_WIRE_VARINT, &error))
			take_uint32(&field, &numeric->scale, &error);
		else if (field.tag == 3 && is_type(&field, WH_WIRE_BYTES, &error))
			numeric->big = field.bytes;
	}
	return error == NULL && has_unscaled == (numeric->big.data == NULL);
}

/* take_int32 stores a zigzag field where it fits. */
static bool
take_int32(const WhField *field, int32_t *value, WhWireError *error)
{
	int64_t number = wh_wire_zigzag(field->number);

	if (number < INT32_MIN || number > INT32_MAX)
		return fail(error, "number does not fit 32 bits");
	*value = (int32_t) number;
	return true;
}

bool
wh_wire_read_timetz(WhSlice message, int64_t *microseconds, int32_t *zone)
{
	WhWireError error = NULL;
	uint32_t seen = 0;
	WhField field;

	while (wh_wire_next_field(&message, &field, &error))
	{
		if (field.tag > 2)
			continue;
		if (!is_type(&field, WH_WIRE_VARINT, &error))
			break;
		if (field.tag == 1)
			*microseconds = wh_wire_zigzag(field.number);
		else
			take_int32(&field, zone, &error);
		seen |= 1u << field.tag;
	}
	return error == NULL && seen == 0x6;
}

bool
wh_wire_read_interval(WhSlice message, WhWireInterval *interval)
{
	WhWireError error = NULL;
	uint32_t seen = 0;
	WhField field;

	while (wh_wire_next_field(&message, &field, &error))
	{
		if (field.tag > 3)
			continue;
		if (!is_type(&field, WH_WIRE_VARINT, &error))
			break;
		if (field.tag == 3)
			interval->microseconds = wh_wire_zigzag(field.number);
		else
			take_int32(&field, field.tag == 1 ? &interval->months : &interval->days, &error);
		seen |= 1u << field.tag;
	}
	return error == NULL && seen == 0xE;
}

bool
wh_wire_read_special(WhSlice message, WhWireSpecial *special)
{
	WhWireError error = NULL;
	uint32_t seen = 0;
	uint32_t kind = 0;
	WhField field;

	memset(special, 0, sizeof(*special));
	while (wh_wire_next_field(&message, &field, &error))
	{
		if (field.tag > 4)
			continue;
		if (!is_type(&field, field.tag > 2 ? WH_WIRE_BYTES : WH_WIRE_VARINT, &error))
			break;
		if (field.tag == 1)
			take_uint32(&field, &special->attnum, &error);
		else if (field.tag == 2)
			take_uint32(&field, &kind, &error);
		else
			special->bytes = field.bytes;
		seen |= 1u << field.tag;
	}
	special->kind = (WhSpecialKind) kind;
	return error == NULL && (seen & 0x6) == 0x6 && kind >= WH_SPECIAL_POSITIVE_INFINITY &&
		   kind <= WH_SPECIAL_NOT_UTF8;
}

bool
wh_wire_read_chunked(WhSlice message, WhWireChunked *chunked)
{
	WhWireError error = NULL;
	uint32_t seen = 0;
	WhField field;

	memset(chunked, 0, sizeof(*chunked));
	while (wh_wire_next_field(&message, &field, &error))
	{
		if (field.tag > 4)
			continue;
		if (!is_type(&field, field.tag == 4 ? WH_WIRE_FIXED32 : WH_WIRE_VARINT, &error))
			break;
		if (field.tag == 1)
			take_uint32(&field, &chunked->attnum, &error);
		else if (field.tag == 2)
			take_uint32(&field, &chunked->id, &error);
		else if (field.tag == 3)
			chunked->size = field.number;
		else
			chunked->crc32c = (uint32_t) field.number;
		seen |= 1u << field.tag;
	}
	return error == NULL && seen == 0x1E;
}

/* -------- arrays -------- */

bool
wh_wire_read_array(WhSlice message, WhValueKind element_kind, WhWireArray *array)
{
	WhWireError error = NULL;
	size_t nnulls = 0;
	size_t count = 0;

	memset(array, 0, sizeof(*array));
	array->element_kind = element_kind;
	array->rest = message;
	return read_shape(message, array, &error) && count_nulls(array, &nnulls, &error) &&
		   count_elements(array, &count, &error) && count == array->elements - nnulls;
}

/* read_shape reads the fields 1 to 3. */
static bool
read_shape(WhSlice message, WhWireArray *array, WhWireError *error)
{
	int nlower = 0;
	WhField field;

	while (wh_wire_next_field(&message, &field, error))
	{
		WhSlice bytes = field.bytes;
		uint64_t value;

		if (field.tag == 3)
		{
			if (!is_type(&field, WH_WIRE_BYTES, error))
				return false;
			array->nulls = field.bytes;
		}
		if (field.tag > 2)
			continue;
		if (field.type != WH_WIRE_VARINT && !is_type(&field, WH_WIRE_BYTES, error))
			return false;
		while (read_packed_int(&bytes, &field, &value, error))
		{
			int64_t bound = wh_wire_zigzag(value);

			if ((field.tag == 1 ? array->dimensions : nlower) == MAX_DIMENSIONS)
				return fail(error, "array has too many dimensions");
			if (field.tag == 1 ? value > MAX_ELEMENTS : bound != (int32_t) bound)
				return fail(error, "number of an array's shape is out of range");
			if (field.tag == 1)
				array->dimension[array->dimensions++] = (int32_t) value;
			else
				array->lower_bound[nlower++] = (int32_t) bound;
			if (field.type == WH_WIRE_VARINT)
				break;
		}
		if (*error != NULL)
			return false;
	}
	return *error == NULL && check_shape(array, nlower, error);
}

/* read_packed_int takes a field's next number, be it packed or not. */
static bool
read_packed_int(WhSlice *bytes, const WhField *field, uint64_t *value, WhWireError *error)
{
	if (field->type == WH_WIRE_BYTES)
		return wh_wire_next_packed(bytes, value, error);
	*value = field->number;
	return true;
}

/* check_shape counts the elements and fills in the lower bounds that all are 1. */
static bool
check_shape(WhWireArray *array, int nlower, WhWireError *error)
{
	uint64_t elements = array->dimensions > 0;

	if (nlower != 0 && nlower != array->dimensions)
		return fail(error, "lower bounds of an array do not match its dimensions");
	for (int i = 0; i < array->dimensions; i++)
	{
		if (array->dimension[i] == 0)
			return fail(error, "array has an empty dimension");
		elements *= (uint64_t) array->dimension[i];
		if (elements > MAX_ELEMENTS)
			return fail(error, "array has too many elements");
		if (nlower == 0)
			array->lower_bound[i] = 1;
	}
	array->elements = (size_t) elements;
	return true;
}

static bool
count_nulls(WhWireArray *array, size_t *nnulls, WhWireError *error)
{
	*nnulls = 0;
	if (array->nulls.data == NULL)
		return true;
	if (array->nulls.len != (array->elements + 7) / 8)
		return fail(error, "bits of an array do not match its elements");
	for (size_t i = 0; i < array->nulls.len; i++)
		*nnulls += (size_t) __builtin_popcount(array->nulls.data[i]);
	if (array->elements % 8 != 0 &&
		array->nulls.data[array->nulls.len - 1] >> (array->elements % 8) != 0)
		return fail(error, "bits of an array go beyond its elements");
	return true;
}

/* count_elements counts the values that an array holds, without looking at what they are. */
static bool
count_elements(const WhWireArray *array, size_t *count, WhWireError *error)
{
	WhWireArray walk = *array;
	WhField element;

	*count = 0;
	while (wh_wire_next_element(&walk, &element, error))
		(*count)++;
	return *error == NULL;
}

static bool
is_packable(WhValueKind kind)
{
	return wh_wire_type_of_kind(kind) != WH_WIRE_BYTES;
}

bool
wh_wire_next_element(WhWireArray *array, WhField *element, WhWireError *error)
{
	WhWireType type = wh_wire_type_of_kind(array->element_kind);

	while (array->packed.len == 0)
	{
		do
		{
			if (!wh_wire_next_field(&array->rest, element, error))
				return false;
		} while (element->tag != 4);
		if (element->type == type)
			return true;
		if (!is_packable(array->element_kind) || element->type != WH_WIRE_BYTES)
			return fail(error, "element of an array has the wrong wire type");
		array->packed = element->bytes;
	}
	element->tag = 4;
	element->type = type;
	element->bytes = (WhSlice){NULL, 0};
	if (type == WH_WIRE_VARINT)
		return wh_wire_next_packed(&array->packed, &element->number, error);
	return wh_wire_next_fixed(&array->packed, type == WH_WIRE_FIXED64 ? 8 : 4, &element->number,
							  error);
}
