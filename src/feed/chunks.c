/*
 * chunks.c
 *		Values that are too large for a message, and come in pieces before their row.
 *
 * The pieces of a value are gathered in a buffer that begins with room for a varlena's header, in
 * a memory context of its own, so that the whole value can become a Datum where it is.  The buffer
 * doubles; pages that are not written yet take no memory.  Rows that are passed over drop what they
 * refer to; what no row refers to (an error cut the row short at the source) goes at the end of
 * the transaction or its segment.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/base.h"
#include "feed/feed_private.h"

#define FIRST_SIZE ((Size) 2 * 1024 * 1024)

typedef struct Value
{
	uint32 id;
	MemoryContext context;
	char *data; /* the header's room, and the pieces */
	Size len; /* with the header */
	Size size;
} Value;

struct WhChunks
{
	MemoryContext context;
	List *values; /* of Value *: those that no row has taken yet */
};

static Value *find_value(WhChunks *chunks, uint32 id);
static Value *add_value(WhChunks *chunks, uint32 id);
pg_noreturn static void malformed(const char *what);

WhChunks *
wh_chunks_create(void)
{
	WhChunks *chunks = palloc0(sizeof(WhChunks));

	chunks->context = CurrentMemoryContext;
	return chunks;
}

void
wh_chunks_add(WhChunks *chunks, const WhWireChunk *chunk)
{
	Value *value = find_value(chunks, chunk->id);

	if (value == NULL)
		value = add_value(chunks, chunk->id);
	if (value->len + chunk->data.len > MaxAllocSize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a value of the source is larger than 1 GB")));
	if (value->len + chunk->data.len > value->size)
	{
		while (value->len + chunk->data.len > value->size)
			value->size = Min(value->size * 2, MaxAllocSize);
		value->data = repalloc(value->data, value->size);
	}
	memcpy(value->data + value->len, chunk->data.data, chunk->data.len);
	value->len += chunk->data.len;
}

static Value *
find_value(WhChunks *chunks, uint32 id)
{
	foreach_ptr(Value, value, chunks->values)
	{
		if (value->id == id)
			return value;
	}
	return NULL;
}

static Value *
add_value(WhChunks *chunks, uint32 id)
{
	MemoryContext old = MemoryContextSwitchTo(chunks->context);
	Value *value = palloc0(sizeof(Value));

	value->id = id;
	value->context =
		AllocSetContextCreate(chunks->context, "walhouse value", ALLOCSET_SMALL_SIZES);
	value->size = FIRST_SIZE;
	value->data = MemoryContextAlloc(value->context, value->size);
	value->len = VARHDRSZ;
	chunks->values = lappend(chunks->values, value);
	MemoryContextSwitchTo(old);
	return value;
}

struct varlena *
wh_chunks_take(WhChunks *chunks, const WhWireChunked *chunked)
{
	Value *value = find_value(chunks, chunked->id);
	struct varlena *result;

	if (value == NULL)
		malformed("chunks of a value are missing");
	if (value->len - VARHDRSZ != chunked->size ||
		wh_wire_crc32c(0, value->data + VARHDRSZ, value->len - VARHDRSZ) != chunked->crc32c)
		malformed("chunks do not add up to their value");
	result = (struct varlena *) value->data;
	SET_VARSIZE(result, value->len);
	MemoryContextSetParent(value->context, CurrentMemoryContext);
	chunks->values = list_delete_ptr(chunks->values, value);
	pfree(value);
	return result;
}

void
wh_chunks_free(struct varlena *value)
{
	MemoryContextDelete(GetMemoryChunkContext(value));
}

bool
wh_chunks_is_empty(const WhChunks *chunks)
{
	return chunks->values == NIL;
}

void
wh_chunks_drop(WhChunks *chunks, WhSlice row)
{
	WhField field;
	WhWireError error = NULL;
	WhWireChunked chunked;

	while (wh_wire_next_field(&row, &field, &error))
	{
		Value *value;

		if (field.tag != WH_ROW_CHUNKED)
			continue;
		if (!wh_wire_read_chunked(field.bytes, &chunked))
			malformed("chunked value");
		value = find_value(chunks, chunked.id);
		if (value == NULL)
			malformed("chunks of a value are missing");
		MemoryContextDelete(value->context);
		chunks->values = list_delete_ptr(chunks->values, value);
		pfree(value);
	}
	if (error != NULL)
		malformed(error);
}

void
wh_chunks_clear(WhChunks *chunks)
{
	foreach_ptr(Value, value, chunks->values)
		MemoryContextDelete(value->context);
	list_free_deep(chunks->values);
	chunks->values = NIL;
}

static void
malformed(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("malformed message of the source: %s", what)));
	pg_unreachable();
}
