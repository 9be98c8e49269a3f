/*
 * array.c
 *		Arrays, element by element from where they stand.
 *
 * The elements go into a buffer of the session's, through the same writers as columns, and from
 * there with their dimensions into the row.  An element that its field cannot hold (an infinity,
 * text that is not UTF-8) makes the whole array a Special, with the text that array_out prints.
 *
 * An array that is too large for a row goes in chunks: once through without sending anything,
 * which tells whether all elements fit, then again, sending the buffer as often as it fills.
 */
#include "output/output_private.h"

#include "access/tupmacs.h"
#include "miscadmin.h"
#include "utils/array.h"

/* Fields of Array. */
#define ARRAY_DIMENSION 1
#define ARRAY_LOWER_BOUND 2
#define ARRAY_NULLS 3
#define ARRAY_VALUE 4

/* Elements between two looks at interrupts. */
#define WH_ELEMENTS_AT_ONCE 4096

/* On the way through an array. */
typedef struct Walk
{
	WhOutput *session;
	WhOutputColumn *element;
	const bits8 *nulls; /* PostgreSQL's: set where there is a value; or NULL */
	const char *at; /* the next value */
	int next; /* element */
	int count; /* of elements */
	int null_count; /* among those behind us */
} Walk;

static void start(Walk *walk, WhOutput *session, WhOutputColumn *column, ArrayType *array);
static bool go_on(Walk *walk, size_t limit);
static uint8_t *write_small(const WhOutput *session, const WhOutputColumn *column, StringInfo out,
							uint8_t *at);
static void write_large(WhOutput *session, WhOutputColumn *column, ArrayType *array);
static size_t pack(const WhOutputColumn *element, const StringInfoData *elements, uint8_t *at);
static void write_head(const Walk *walk, ArrayType *array);
static void append_packed(StringInfo out, uint32_t number, const uint64 *values, int n);
static void append_nulls(StringInfo out, const Walk *walk);

uint8_t *
wh_output_write_array(WhOutput *session, WhOutputColumn *column, StringInfo out, uint8_t *at,
					  Datum value)
{
	WhAligned aligned;
	ArrayType *array = (ArrayType *) wh_output_aligned_varlena(value, &aligned);
	bool is_large = false;
	Walk walk;
	char *text;

	start(&walk, session, column, array);
	while (go_on(&walk, WH_VALUE_LIMIT))
	{
		is_large = true;
		resetStringInfo(&session->elements);
	}
	if (session->element_failed)
	{
		wh_output_pin_settings(session);
		text = OutputFunctionCall(&column->output, PointerGetDatum(array));
		wh_output_note_text(session, column, text);
		pfree(text);
		return at;
	}
	write_head(&walk, array);
	if (is_large || wh_output_is_large(session->head.len + session->elements.len,
									   (char *) at - out->data))
	{
		write_large(session, column, array);
		return at;
	}
	return write_small(session, column, out, at);
}

static void
start(Walk *walk, WhOutput *session, WhOutputColumn *column, ArrayType *array)
{
	walk->session = session;
	walk->element = column->element;
	walk->nulls = ARR_NULLBITMAP(array);
	walk->at = ARR_DATA_PTR(array);
	walk->next = 0;
	walk->count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	walk->null_count = 0;
	session->element_failed = false;
	resetStringInfo(&session->elements);
}

/*
 * go_on writes elements into the session's buffer until all are there, one does not fit its field,
 * or the buffer has more than limit bytes: only then it returns true.
 */
static bool
go_on(Walk *walk, size_t limit)
{
	WhOutput *session = walk->session;
	WhOutputColumn *element = walk->element;
	StringInfo out = &session->elements;
	uint8_t *at = wh_output_make_room(out, (uint8_t *) out->data + out->len, WH_FIELD_ROOM);

	while (walk->next < walk->count && !session->element_failed &&
		   (size_t) ((char *) at - out->data) <= limit)
	{
		int i = walk->next++;

		if (i % WH_ELEMENTS_AT_ONCE == 0)
			CHECK_FOR_INTERRUPTS();
		if (walk->nulls != NULL && (walk->nulls[i / 8] >> (i % 8) & 1) == 0)
		{
			walk->null_count++;
			continue;
		}
		walk->at = (char *) att_align_nominal(walk->at, element->align);
		at = wh_output_write_value(session, element, out, at,
								   fetch_att(walk->at, element->by_value, element->length));
		walk->at = att_addlength_pointer(walk->at, element->length, walk->at);
	}
	out->len = (int) ((char *) at - out->data);
	return walk->next < walk->count && !session->element_failed;
}

/* write_small writes an array of which head and elements are in the buffers. */
static uint8_t *
write_small(const WhOutput *session, const WhOutputColumn *column, StringInfo out, uint8_t *at)
{
	const StringInfoData *head = &session->head;
	const StringInfoData *elements = &session->elements;
	uint8_t packed[WH_WIRE_MAX_TAG + WH_WIRE_MAX_VARINT];
	size_t npacked = pack(column->element, elements, packed);
	size_t len = head->len + npacked + elements->len;

	at = wh_wire_put_varint(wh_output_put_tag(column, at), len);
	at = wh_output_make_room(out, at, len + WH_FIELD_ROOM);
	memcpy(at, head->data, head->len);
	at += head->len;
	memcpy(at, packed, npacked);
	at += npacked;
	memcpy(at, elements->data, elements->len);
	return at + elements->len;
}

/* write_large sends an array of which the head is in its buffer, and whose elements all fit. */
static void
write_large(WhOutput *session, WhOutputColumn *column, ArrayType *array)
{
	StringInfo elements = &session->elements;
	uint8_t packed[WH_WIRE_MAX_TAG + WH_WIRE_MAX_VARINT];
	WhChunks chunks;
	Walk walk;
	bool has_more;

	wh_output_begin_chunks(session, column, &chunks);
	wh_output_add_chunks(&chunks, session->head.data, session->head.len);
	start(&walk, session, column, array);
	do
	{
		has_more = go_on(&walk, WH_VALUE_SMALL);
		wh_output_add_chunks(&chunks, packed, pack(column->element, elements, packed));
		wh_output_add_chunks(&chunks, elements->data, elements->len);
		resetStringInfo(elements);
	} while (has_more);
	wh_output_end_chunks(&chunks);
}

/*
 * pack writes what stands before elements that are packed, and returns its length: 0 where they
 * are not.
 */
static size_t
pack(const WhOutputColumn *element, const StringInfoData *elements, uint8_t *at)
{
	if (element->tag_size > 0 || elements->len == 0)
		return 0;
	return wh_wire_put_varint(wh_wire_put_tag(at, ARRAY_VALUE, WH_WIRE_BYTES), elements->len) - at;
}

/* -------- what stands before the elements -------- */

/* write_head writes dimensions, bounds and NULLs into the session's buffer, after the walk. */
static void
write_head(const Walk *walk, ArrayType *array)
{
	StringInfo out = &walk->session->head;
	int ndims = ARR_NDIM(array);
	const int *bounds = ARR_LBOUND(array);
	uint64 values[MAXDIM] = {0};
	bool is_plain = true;

	resetStringInfo(out);
	for (int i = 0; i < ndims; i++)
		values[i] = ARR_DIMS(array)[i];
	append_packed(out, ARRAY_DIMENSION, values, ndims);
	for (int i = 0; i < ndims; i++)
	{
		is_plain = is_plain && bounds[i] == 1;
		values[i] = wh_wire_unzigzag(bounds[i]);
	}
	if (!is_plain)
		append_packed(out, ARRAY_LOWER_BOUND, values, ndims);
	if (walk->null_count > 0)
		append_nulls(out, walk);
}

static void
append_packed(StringInfo out, uint32_t number, const uint64 *values, int n)
{
	uint8_t body[MAXDIM * WH_WIRE_MAX_VARINT];
	uint8_t *end = body;

	for (int i = 0; i < n; i++)
		end = wh_wire_put_varint(end, values[i]);
	if (n > 0)
		wh_wire_append_bytes(out, number, body, end - body);
}

/* append_nulls turns PostgreSQL's bitmap of values into one of NULLs, without bits behind. */
static void
append_nulls(StringInfo out, const Walk *walk)
{
	size_t len = (walk->count + 7) / 8;
	uint8_t *bits;

	wh_wire_append_bytes(out, ARRAY_NULLS, walk->nulls, len);
	bits = (uint8_t *) out->data + out->len - len;
	for (size_t i = 0; i < len; i++)
		bits[i] = (uint8_t) ~bits[i];
	if (walk->count % 8 != 0)
		bits[len - 1] &= (uint8_t) ((1 << walk->count % 8) - 1);
}
