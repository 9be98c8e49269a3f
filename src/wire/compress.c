/*
 * compress.c
 *		Batches in compressed form.
 *
 * What a compressed batch says of its size is held to what its bytes can be before memory is
 * taken: LZ4 makes at most 255 bytes of one, a zstd frame states its size.  Then the checksum is
 * held to the result, so that a batch that comes out of here is what went in.
 *
 * A build without one of the libraries reads and writes without it, and says so.
 */
#include "c.h"

#include "utils/palloc.h"

#ifdef WH_WITH_LZ4
#include <lz4.h>
#endif
#ifdef WH_WITH_ZSTD
#include <zstd.h>
#endif

#include "wire/encode.h"

/* Fields of Batch. */
#define BATCH_ENTRY 1
#define BATCH_COMPRESSION 2
#define BATCH_ENTRIES 3
#define BATCH_RAW_SIZE 4
#define BATCH_CRC32C 5

/* Batches below this are sent as they are: their frame would cost more than it saves. */
#define LEAST_BATCH 128

/* For data that goes over a network: the level costs least. */
#define ZSTD_LEVEL 1

/* LZ4 makes at most so many bytes of one. */
#define LZ4_MOST 255

typedef struct Packed
{
	uint64_t method;
	uint64_t raw_size;
	uint64_t crc32c;
	WhSlice entries;
	uint32_t seen; /* bits by field number */
} Packed;

static bool read_packed(WhSlice batch, Packed *packed, bool *is_packed, WhWireError *error);
static bool check_size(const Packed *packed, WhWireError *error);
static bool unpack(const Packed *packed, uint8_t *to, WhWireError *error);
static size_t pack_bound(size_t len, WhCompression method);
static size_t pack(const StringInfoData *from, char *to, size_t room, WhCompression method);

static bool
fail(WhWireError *error, const char *message)
{
	if (*error == NULL)
		*error = message;
	return false;
}

bool
wh_wire_can_compress(WhCompression method)
{
	switch (method)
	{
		case WH_COMPRESS_NONE:
			return true;
#ifdef WH_WITH_LZ4
		case WH_COMPRESS_LZ4:
			return true;
#endif
#ifdef WH_WITH_ZSTD
		case WH_COMPRESS_ZSTD:
			return true;
#endif
		default:
			return false;
	}
}

/* -------- reading -------- */

bool
wh_wire_inflate(WhSlice *batch, WhInflated *buffer, WhWireError *error)
{
	Packed packed;
	bool is_packed;

	*error = NULL;
	if (!read_packed(*batch, &packed, &is_packed, error))
		return false;
	if (!is_packed)
		return true;
	if (!check_size(&packed, error))
		return false;
	if (buffer->size < packed.raw_size)
	{
		uint8_t *larger = realloc(buffer->data, (size_t) packed.raw_size);

		if (larger == NULL)
			return fail(error, "no memory for a compressed batch");
		buffer->data = larger;
		buffer->size = (size_t) packed.raw_size;
	}
	if (!unpack(&packed, buffer->data, error))
		return false;
	if (wh_wire_crc32c(0, buffer->data, (size_t) packed.raw_size) != packed.crc32c)
		return fail(error, "checksum of a compressed batch does not match");
	batch->data = buffer->data;
	batch->len = (size_t) packed.raw_size;
	return true;
}

/* read_packed looks whether a batch is compressed; one that begins with an entry is not. */
static bool
read_packed(WhSlice batch, Packed *packed, bool *is_packed, WhWireError *error)
{
	WhField field;

	memset(packed, 0, sizeof(*packed));
	*is_packed = false;
	while (wh_wire_next_field(&batch, &field, error))
	{
		WhWireType type = WH_WIRE_VARINT;

		if (field.tag == BATCH_ENTRY && packed->seen == 0)
			return true;
		if (field.tag == BATCH_ENTRY)
			return fail(error, "compressed batch holds entries, too");
		if (field.tag > BATCH_CRC32C)
			continue;
		if (field.tag == BATCH_ENTRIES)
			type = WH_WIRE_BYTES;
		else if (field.tag == BATCH_CRC32C)
			type = WH_WIRE_FIXED32;
		if (field.type != type)
			return fail(error, "field has the wrong wire type");
		if (field.tag == BATCH_COMPRESSION)
			packed->method = field.number;
		else if (field.tag == BATCH_ENTRIES)
			packed->entries = field.bytes;
		else if (field.tag == BATCH_RAW_SIZE)
			packed->raw_size = field.number;
		else
			packed->crc32c = field.number;
		packed->seen |= 1u << field.tag;
	}
	if (*error != NULL)
		return false;
	*is_packed = packed->seen != 0;
	if (*is_packed && packed->seen != 0x3C)
		return fail(error, "compressed batch lacks a field");
	return true;
}

static bool
check_size(const Packed *packed, WhWireError *error)
{
	if (packed->method != WH_COMPRESS_LZ4 && packed->method != WH_COMPRESS_ZSTD)
		return fail(error, "unknown compression");
	if (!wh_wire_can_compress((WhCompression) packed->method))
		return fail(error, "this build cannot read the batch's compression");
	if (packed->raw_size == 0 || packed->raw_size > WH_INFLATE_LIMIT)
		return fail(error, "size of a compressed batch is out of range");
	if (packed->method == WH_COMPRESS_LZ4 &&
		packed->raw_size / LZ4_MOST > packed->entries.len)
		return fail(error, "compressed batch cannot be that large");
#ifdef WH_WITH_ZSTD
	if (packed->method == WH_COMPRESS_ZSTD &&
		ZSTD_getFrameContentSize(packed->entries.data, packed->entries.len) != packed->raw_size)
		return fail(error, "compressed batch has another size than it says");
#endif
	return true;
}

static bool
unpack(const Packed *packed, uint8_t *to, WhWireError *error)
{
	if (packed->entries.len > WH_INFLATE_LIMIT)
		return fail(error, "size of a compressed batch is out of range");
#ifdef WH_WITH_LZ4
	if (packed->method == WH_COMPRESS_LZ4 &&
		LZ4_decompress_safe((const char *) packed->entries.data, (char *) to,
							(int) packed->entries.len,
							(int) packed->raw_size) == (int) packed->raw_size)
		return true;
#endif
#ifdef WH_WITH_ZSTD
	if (packed->method == WH_COMPRESS_ZSTD &&
		ZSTD_decompress(to, (size_t) packed->raw_size, packed->entries.data,
						packed->entries.len) == packed->raw_size)
		return true;
#endif
	return fail(error, "malformed compressed batch");
}

/* -------- writing -------- */

void
wh_wire_deflate_batch(WhBatch *batch, WhCompression method)
{
	StringInfo out = &batch->out;
	size_t room = pack_bound(out->len, method);
	uint32_t raw_size = (uint32_t) out->len;
	uint32_t crc32c;
	char *packed;
	size_t len;

	if (room == 0 || out->len < LEAST_BATCH || out->len > WH_INFLATE_LIMIT)
		return;
	packed = palloc(room);
	len = pack(out, packed, room, method);
	if (len > 0 && len + 20 < out->len)
	{
		crc32c = wh_wire_crc32c(0, out->data, out->len);
		resetStringInfo(out);
		wh_wire_append_uint(out, BATCH_COMPRESSION, method);
		wh_wire_append_bytes(out, BATCH_ENTRIES, packed, len);
		wh_wire_append_uint(out, BATCH_RAW_SIZE, raw_size);
		wh_wire_append_fixed32(out, BATCH_CRC32C, crc32c);
	}
	pfree(packed);
}

/* pack_bound returns the room that packing may take; 0: this build cannot. */
static size_t
pack_bound(size_t len, WhCompression method)
{
	switch (method)
	{
#ifdef WH_WITH_LZ4
		case WH_COMPRESS_LZ4:
			return (size_t) LZ4_compressBound((int) len);
#endif
#ifdef WH_WITH_ZSTD
		case WH_COMPRESS_ZSTD:
			return ZSTD_compressBound(len);
#endif
		default:
			return 0;
	}
}

/* pack returns the length of the packed form, 0 where that failed. */
static size_t
pack(const StringInfoData *from, char *to, size_t room, WhCompression method)
{
#ifdef WH_WITH_LZ4
	if (method == WH_COMPRESS_LZ4)
		return (size_t) Max(LZ4_compress_default(from->data, to, from->len, (int) room), 0);
#endif
#ifdef WH_WITH_ZSTD
	if (method == WH_COMPRESS_ZSTD)
	{
		size_t len = ZSTD_compress(to, room, from->data, from->len, ZSTD_LEVEL);

		return ZSTD_isError(len) ? 0 : len;
	}
#endif
	return 0;
}
