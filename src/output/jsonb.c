/*
 * jsonb.c
 *		jsonb, printed from where it stands into a row.
 *
 * What comes out is what jsonb_out prints, to the byte (a test holds it to that), without an
 * iterator, a copy of each string and a call for each number.  The layout that is read here is
 * the one on disk, which pg_upgrade keeps: a container is a header, an entry for each element
 * (of an object: the keys, then the values), and their data; an entry holds the length of its
 * data, or, every few entries, the offset where it ends.
 */
#include "output/output_private.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

/* A number with more digits behind the point is left to numeric_out. */
#define WH_JSON_SCALE 30

/* What an entry stands for: bytes of its container's data. */
typedef struct Piece
{
	JEntry entry;
	const char *data;
	uint32 start;
	uint32 end;
} Piece;

static uint8_t *print_array(const JsonbContainer *array, StringInfo out, uint8_t *at);
static uint8_t *print_object(const JsonbContainer *object, StringInfo out, uint8_t *at);
static uint8_t *print_piece(const Piece *piece, StringInfo out, uint8_t *at);
static uint8_t *print_string(const char *text, size_t len, StringInfo out, uint8_t *at);
static uint8_t *print_number(Numeric number, StringInfo out, uint8_t *at);
static uint8_t *print_decimal(uint8_t *at, int64_t unscaled, uint32_t scale);

static inline uint8_t *
put(uint8_t *at, const char *text, size_t len)
{
	memcpy(at, text, len);
	return at + len;
}

/* next makes a piece the one of entry i, which follows the one that it was. */
static inline void
next(Piece *piece, const JsonbContainer *container, int i)
{
	piece->entry = container->children[i];
	piece->start = piece->end;
	piece->end = JBE_HAS_OFF(piece->entry) ? JBE_OFFLENFLD(piece->entry) :
											 piece->start + JBE_OFFLENFLD(piece->entry);
}

uint8_t *
wh_output_print_jsonb(const JsonbContainer *container, StringInfo out, uint8_t *at)
{
	check_stack_depth();
	return JsonContainerIsObject(container) ? print_object(container, out, at) :
											  print_array(container, out, at);
}

/* A scalar on its own is stored as an array of it. */
static uint8_t *
print_array(const JsonbContainer *array, StringInfo out, uint8_t *at)
{
	int count = JsonContainerSize(array);
	bool is_scalar = JsonContainerIsScalar(array);
	Piece piece = {0, (const char *) &array->children[count], 0, 0};

	if (!is_scalar)
		*at++ = '[';
	for (int i = 0; i < count; i++)
	{
		if (i > 0)
			at = put(at, ", ", 2);
		next(&piece, array, i);
		at = print_piece(&piece, out, at);
	}
	if (!is_scalar)
		*at++ = ']';
	return wh_output_make_room(out, at, WH_FIELD_ROOM);
}

static uint8_t *
print_object(const JsonbContainer *object, StringInfo out, uint8_t *at)
{
	int count = JsonContainerSize(object);
	const char *data = (const char *) &object->children[2 * count];
	Piece key = {0, data, 0, 0};
	Piece value = {0, data, 0, count > 0 ? getJsonbOffset(object, count) : 0};

	*at++ = '{';
	for (int i = 0; i < count; i++)
	{
		if (i > 0)
			at = put(at, ", ", 2);
		next(&key, object, i);
		next(&value, object, count + i);
		at = print_piece(&key, out, at);
		at = put(at, ": ", 2);
		at = print_piece(&value, out, at);
	}
	*at++ = '}';
	return wh_output_make_room(out, at, WH_FIELD_ROOM);
}

static uint8_t *
print_piece(const Piece *piece, StringInfo out, uint8_t *at)
{
	const char *aligned = piece->data + INTALIGN(piece->start);

	if (JBE_ISSTRING(piece->entry))
		return print_string(piece->data + piece->start, piece->end - piece->start, out, at);
	if (JBE_ISNUMERIC(piece->entry))
		return print_number((Numeric) aligned, out, at);
	if (JBE_ISCONTAINER(piece->entry))
		return wh_output_print_jsonb((const JsonbContainer *) aligned, out, at);
	if (JBE_ISNULL(piece->entry))
		at = put(at, "null", 4);
	else if (JBE_ISBOOL_TRUE(piece->entry))
		at = put(at, "true", 4);
	else
		at = put(at, "false", 5);
	return wh_output_make_room(out, at, WH_FIELD_ROOM);
}

/* print_string copies what needs no escape at once. */
static uint8_t *
print_string(const char *text, size_t len, StringInfo out, uint8_t *at)
{
	static const char digits[] = "0123456789abcdef";
	static const char escapes[32] = {
		['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
	size_t i = 0;

	*at++ = '"';
	for (;;)
	{
		size_t from = i;
		unsigned char c;

		while (i < len && (unsigned char) text[i] >= ' ' && text[i] != '"' && text[i] != '\\')
			i++;
		at = wh_output_make_room(out, at, i - from + WH_FIELD_ROOM);
		at = put(at, text + from, i - from);
		if (i == len)
			break;
		c = text[i++];
		*at++ = '\\';
		if (c >= ' ')
			*at++ = c;
		else if (escapes[c] != '\0')
			*at++ = escapes[c];
		else
		{
			at = put(at, "u00", 3);
			*at++ = digits[c >> 4];
			*at++ = digits[c & 15];
		}
	}
	*at++ = '"';
	return wh_output_make_room(out, at, WH_FIELD_ROOM);
}

/* -------- numbers -------- */

static uint8_t *
print_number(Numeric number, StringInfo out, uint8_t *at)
{
	int64_t unscaled;
	uint32_t scale;
	char *text;
	size_t len;

	if (wh_wire_numeric_from_disk(VARDATA_ANY(number), VARSIZE_ANY_EXHDR(number), &unscaled,
								  &scale) &&
		scale <= WH_JSON_SCALE)
		return wh_output_make_room(out, print_decimal(at, unscaled, scale), WH_FIELD_ROOM);
	text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
	len = strlen(text);
	at = wh_output_make_room(out, at, len + WH_FIELD_ROOM);
	at = put(at, text, len);
	pfree(text);
	return at;
}

/* print_decimal writes the digits from the last one on, at least one before the point. */
static uint8_t *
print_decimal(uint8_t *at, int64_t unscaled, uint32_t scale)
{
	char digits[WH_FIELD_ROOM];
	char *first = digits + sizeof(digits);
	uint64_t rest = unscaled < 0 ? ~(uint64_t) unscaled + 1 : (uint64_t) unscaled;

	for (uint32_t written = 0; rest > 0 || written <= scale; written++)
	{
		if (written == scale && scale > 0)
			*--first = '.';
		*--first = (char) ('0' + rest % 10);
		rest /= 10;
	}
	if (unscaled < 0)
		*--first = '-';
	return put(at, first, digits + sizeof(digits) - first);
}
