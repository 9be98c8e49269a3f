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
	WH_VALUE_OUTPUT
} WhValueKind;

typedef struct WhWireBegin
{
	uint32_t xid;
	uint64_t commit_lsn;
	uint64_t end_lsn;
	int64_t commit_time; /* microseconds since 1970-01-01 UTC */
	WhSlice origin; /* not terminated; data is NULL when there is none */
} WhWireBegin;

typedef struct WhWireCommit
{
	uint32_t xid;
	uint64_t commit_lsn;
	uint64_t end_lsn;
	int64_t commit_time; /* microseconds since 1970-01-01 UTC */
	uint64_t changes;
} WhWireCommit;

/* A run of changes; walk it with wh_wire_next_change(). */
typedef struct WhWireRows
{
	uint32_t schema;
	WhOp op;
	WhBeforeKind before_kind;
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
		WhWireCommit commit;
		WhWireRows rows;
	} u;
} WhEntry;

/*
 * wh_wire_next_entry takes the next entry off *batch (set it to the whole message
 * first).  Returns false at the end and on an error; then *error says which.
 */
extern bool wh_wire_next_entry(WhSlice *batch, WhEntry *entry, WhWireError *error);

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

extern bool wh_wire_read_numeric(WhSlice message, WhWireNumeric *numeric);
extern bool wh_wire_read_timetz(WhSlice message, int64_t *microseconds, int32_t *zone);
extern bool wh_wire_read_interval(WhSlice message, WhWireInterval *interval);
extern bool wh_wire_read_special(WhSlice message, WhWireSpecial *special);

/* wh_wire_next_packed takes the next varint off a packed field (WH_ROW_UNCHANGED). */
extern bool wh_wire_next_packed(WhSlice *packed, uint64_t *value, WhWireError *error);

#endif /* WH_WIRE_H */
