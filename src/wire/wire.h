/*
 * wire.h
 *		The wire format: the room's one public header.
 *
 * The encoder writes into a StringInfo and is for the server; the decoder reads a buffer in
 * place, allocates nothing and calls nothing of the server, so that the feed, walhouse_recv, the
 * unit tests and the fuzzer share it.  Messages that are rare (Hello, Relation, Truncate) are
 * unpacked by protobuf-c's generated code; Begin, Commit, Rows and the rows themselves are read
 * by hand.
 *
 * src/wire/README.md is the contract of the format, walhouse.proto its definition.
 */
#ifndef WH_WIRE_H
#define WH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WH_WIRE_PROTOCOL 1

/* Fields of a row that are about the row, not columns. */
#define WH_ROW_UNCHANGED 2001
#define WH_ROW_SPECIAL 2002
#define WH_ROW_CHANGED 2003
#define WH_ROW_CHUNKED 2004

/* A piece of a buffer that somebody else owns. */
typedef struct WhSlice
{
	const uint8_t *data;
	size_t len;
} WhSlice;

/* Why a message cannot be read: a constant string, NULL while all is well. */
typedef const char *WhWireError;

/* -------- decoder: batches -------- */

typedef enum WhEntryKind
{
	WH_ENTRY_HELLO = 1,
	WH_ENTRY_BEGIN = 2,
	WH_ENTRY_COMMIT = 3,
	WH_ENTRY_RELATION = 4,
	WH_ENTRY_ROWS = 5,
	WH_ENTRY_TRUNCATE = 6,
	WH_ENTRY_MESSAGE = 7,
	WH_ENTRY_STREAM_START = 8,
	WH_ENTRY_STREAM_STOP = 9,
	WH_ENTRY_STREAM_COMMIT = 10,
	WH_ENTRY_STREAM_ABORT = 11,
	WH_ENTRY_PREPARE = 12,
	WH_ENTRY_STREAM_PREPARE = 13,
	WH_ENTRY_COMMIT_PREPARED = 14,
	WH_ENTRY_ROLLBACK_PREPARED = 15,
	WH_ENTRY_REWRITE = 16,
	WH_ENTRY_PARTITIONS = 17,
	WH_ENTRY_CHUNK = 18,
	WH_ENTRY_ALTERED = 19,
	WH_ENTRY_UNKNOWN = 1000 /* of a later version: to be skipped */
} WhEntryKind;

typedef enum WhOp
{
	WH_OP_INSERT = 1,
	WH_OP_UPDATE = 2,
	WH_OP_DELETE = 3
} WhOp;

typedef enum WhBeforeKind
{
	WH_BEFORE_NONE = 0,
	WH_BEFORE_KEY = 1,
	WH_BEFORE_FULL = 2
} WhBeforeKind;

/* As ValueKind in walhouse.proto. */
typedef enum WhValueKind
{
	WH_VALUE_BOOL = 1,
	WH_VALUE_INT32,
	WH_VALUE_INT64,
	WH_VALUE_UINT32,
	WH_VALUE_UINT64,
	WH_VALUE_FLOAT,
	WH_VALUE_DOUBLE,
	WH_VALUE_NUMERIC,
	WH_VALUE_DATE,
	WH_VALUE_TIME,
	WH_VALUE_TIMETZ,
	WH_VALUE_TIMESTAMP,
	WH_VALUE_TIMESTAMPTZ,
	WH_VALUE_INTERVAL,
	WH_VALUE_UUID,
	WH_VALUE_BYTES,
	WH_VALUE_TEXT,
	WH_VALUE_OUTPUT,
	WH_VALUE_ARRAY
} WhValueKind;

typedef struct WhWireBegin
{
	uint32_t xid;
	uint64_t commit_lsn;
	uint64_t end_lsn;
	int64_t commit_time; /* microseconds since 1970-01-01 UTC */
	WhSlice origin; /* not terminated; data is NULL when there is none */
	WhSlice gid; /* likewise: of a transaction that is to be prepared */
} WhWireBegin;

/*
 * What ends a transaction or a part of its life: commit, stream_commit, prepare, stream_prepare,
 * commit_prepared, rollback_prepared.  Of a prepare, LSN and time are those of the prepare; of a
 * rollback_prepared, commit_lsn is the end of the prepare and commit_time its time.
 */
typedef struct WhWireCommit
{
	uint32_t xid;
	uint64_t commit_lsn;
	uint64_t end_lsn;
	int64_t commit_time; /* microseconds since 1970-01-01 UTC */
	uint64_t changes; /* 0 of commit_prepared and rollback_prepared */
	WhSlice tallies; /* the message itself: cursor of wh_wire_next_tally() */
	WhSlice gid; /* of a prepared transaction; data is NULL when there is none */
} WhWireCommit;

/* What a transaction did to a table; see Tally in walhouse.proto for the hash. */
typedef struct WhWireTally
{
	uint32_t relid;
	uint64_t inserts;
	uint64_t updates;
	uint64_t deletes;
	uint64_t truncates;
	uint64_t hash;
} WhWireTally;

/* StreamStart, StreamStop and StreamAbort. */
typedef struct WhWireStream
{
	uint32_t xid;
	uint32_t subxid; /* of an abort; equal to xid where all of it is void */
	bool is_first; /* of a start */
	uint64_t abort_lsn;
	WhSlice origin; /* of a start; data is NULL when there is none */
} WhWireStream;

typedef struct WhWireChunk
{
	uint32_t id;
	WhSlice data;
} WhWireChunk;

/* A run of changes; walk it with wh_wire_next_change(). */
typedef struct WhWireRows
{
	uint32_t schema;
	WhOp op;
	WhBeforeKind before_kind;
	uint32_t subxid; /* 0: the transaction itself */
	bool is_rewritten; /* rows of a rewrite, as they are now */
	uint64_t first_seq;
	size_t changes; /* how many changes the run has */
	WhSlice after_rest; /* cursor of wh_wire_next_change() */
	WhSlice before_rest; /* likewise */
} WhWireRows;

typedef struct WhEntry
{
	WhEntryKind kind;
	WhSlice payload; /* the entry's own message; unpack rare kinds from it */
	union
	{
		WhWireBegin begin;
		WhWireCommit commit; /* and stream_commit, and the four of prepared transactions */
		WhWireRows rows;
		WhWireStream stream; /* stream_start, stream_stop, stream_abort */
		WhWireChunk chunk;
	} u;
} WhEntry;

/*
 * wh_wire_next_entry takes the next entry off *batch (set it to the whole message
 * first).  Returns false at the end and on an error; then *error says which.
 */
extern bool wh_wire_next_entry(WhSlice *batch, WhEntry *entry, WhWireError *error);

/*
 * wh_wire_next_tally takes the next tally off a commit's tallies.  Returns false at the end and
 * on an error.
 */
extern bool wh_wire_next_tally(WhSlice *tallies, WhWireTally *tally, WhWireError *error);

/*
 * wh_wire_next_change takes the next change off a run.  after and before have data NULL where the
 * change has none. Returns false at the end and on an error.
 */
extern bool wh_wire_next_change(WhWireRows *rows, WhSlice *after, WhSlice *before,
								WhWireError *error);

/* -------- decoder: rows -------- */

typedef enum WhWireType
{
	WH_WIRE_VARINT = 0,
	WH_WIRE_FIXED64 = 1,
	WH_WIRE_BYTES = 2,
	WH_WIRE_FIXED32 = 5
} WhWireType;

/*
 * One field of a message: number holds varints and fixed values, bytes the length-delimited ones.
 */
typedef struct WhField
{
	uint32_t tag; /* the field number; in rows below 2001, the attnum */
	WhWireType type;
	uint64_t number;
	WhSlice bytes;
} WhField;

/*
 * wh_wire_next_field takes the next field off *message.  Returns false at the end and on an
 * error.
 */
extern bool wh_wire_next_field(WhSlice *message, WhField *field, WhWireError *error);

/* The wire type of a value of a kind, in a row; elements of arrays have the same. */
extern WhWireType wh_wire_type_of_kind(WhValueKind kind);

static inline int64_t
wh_wire_zigzag(uint64_t n)
{
	return (int64_t) ((n >> 1) ^ (~(n & 1) + 1));
}

/*
 * What Numeric, TimeTz, Interval and Special hold.  The readers return false on a malformed
 * message.
 */
typedef struct WhWireNumeric
{
	int64_t unscaled;
	uint32_t scale;
	WhSlice big; /* decimal text; data is NULL when unscaled and scale hold the value */
} WhWireNumeric;

typedef struct WhWireInterval
{
	int32_t months;
	int32_t days;
	int64_t microseconds;
} WhWireInterval;

typedef enum WhSpecialKind
{
	WH_SPECIAL_POSITIVE_INFINITY = 1,
	WH_SPECIAL_NEGATIVE_INFINITY = 2,
	WH_SPECIAL_NAN = 3,
	WH_SPECIAL_OUT_OF_RANGE = 4, /* bytes holds text */
	WH_SPECIAL_NOT_UTF8 = 5 /* bytes holds the raw value */
} WhSpecialKind;

typedef struct WhWireSpecial
{
	uint32_t attnum;
	WhSpecialKind kind;
	WhSlice bytes;
} WhWireSpecial;

/* An entry of WH_ROW_CHUNKED. */
typedef struct WhWireChunked
{
	uint32_t attnum;
	uint32_t id;
	uint64_t size;
	uint32_t crc32c;
} WhWireChunked;

/*
 * A value of kind ARRAY.  Walk the elements that are not NULL with wh_wire_next_element(), whose
 * field is as one of the column's would be.
 */
typedef struct WhWireArray
{
	int dimensions; /* 0: the empty array */
	int32_t dimension[6];
	int32_t lower_bound[6];
	size_t elements; /* NULLs included */
	WhSlice nulls; /* a bit an element, set: NULL; data is NULL when none is */
	WhValueKind element_kind;
	WhSlice rest; /* cursor */
	WhSlice packed; /* cursor, within one packed field */
} WhWireArray;

extern bool wh_wire_read_chunked(WhSlice message, WhWireChunked *chunked);

/*
 * wh_wire_read_array checks a whole array: lengths, bounds, and that there are as many values as
 * elements that are not NULL.
 */
extern bool wh_wire_read_array(WhSlice message, WhValueKind element_kind, WhWireArray *array);
extern bool wh_wire_next_element(WhWireArray *array, WhField *element, WhWireError *error);

/* Whether element i, in storage order from 0, is NULL. */
static inline bool
wh_wire_is_null_element(const WhWireArray *array, size_t i)
{
	return array->nulls.data != NULL && (array->nulls.data[i / 8] >> (i % 8) & 1) != 0;
}

extern bool wh_wire_read_numeric(WhSlice message, WhWireNumeric *numeric);
extern bool wh_wire_read_timetz(WhSlice message, int64_t *microseconds, int32_t *zone);
extern bool wh_wire_read_interval(WhSlice message, WhWireInterval *interval);
extern bool wh_wire_read_special(WhSlice message, WhWireSpecial *special);

/* wh_wire_next_packed takes the next varint off a packed field (WH_ROW_UNCHANGED). */
extern bool wh_wire_next_packed(WhSlice *packed, uint64_t *value, WhWireError *error);

/* wh_wire_next_fixed takes the next size bytes, 4 or 8, off a packed field: the lowest first. */
extern bool wh_wire_next_fixed(WhSlice *packed, int size, uint64_t *value, WhWireError *error);

/* -------- checksums and compression: checksum.c, compress.c -------- */

/* CRC-32C (Castagnoli) of data, going on from the result for what came before; 0 at first. */
extern uint32_t wh_wire_crc32c(uint32_t crc, const void *data, size_t len);

typedef enum WhCompression
{
	WH_COMPRESS_NONE = 0,
	WH_COMPRESS_LZ4 = 1,
	WH_COMPRESS_ZSTD = 2
} WhCompression;

/* Whether this build can. */
extern bool wh_wire_can_compress(WhCompression method);

/*
 * wh_wire_inflate makes *batch, a message as it came, one that wh_wire_next_entry() can walk: a
 * compressed one is replaced by its contents, in *buffer, which grows by realloc, lives until the
 * next call, and is the caller's to free.  Returns false with *error set; nothing is ever larger
 * than WH_INFLATE_LIMIT.
 */
#ifndef WH_INFLATE_LIMIT
#define WH_INFLATE_LIMIT (256 * 1024 * 1024)
#endif

typedef struct WhInflated
{
	uint8_t *data;
	size_t size;
} WhInflated;

extern bool wh_wire_inflate(WhSlice *batch, WhInflated *buffer, WhWireError *error);

#endif /* WH_WIRE_H */
