/*
 * encode.h
 *		Writing the wire format.  Include postgres.h, postgres_fe.h or c.h first.
 *
 * Everything goes into StringInfos, which exist in the server and, through libpgcommon, in
 * programs.  All lengths are minimal varints and all fields ascend, so that what is written here
 * is byte for byte what protobuf-c packs.
 *
 * A WhBatch collects the entries of one message.  Changes go into a run (WhRun) kept aside,
 * framed when the run ends:
 *
 *		StringInfo row = wh_wire_begin_after(batch);
 *		... fields, in ascending order ...
 *		wh_wire_end_row(batch);
 *
 * Memory is that of the context in which wh_wire_init_batch() was called.
 */
#ifndef WH_WIRE_ENCODE_H
#define WH_WIRE_ENCODE_H

#include "lib/stringinfo.h"

#include "wire/wire.h"

/* The most bytes that a tag, or a varint, can take. */
#define WH_WIRE_MAX_TAG 5
#define WH_WIRE_MAX_VARINT 10

/* -------- raw writers: the caller has made room -------- */

static inline uint8_t *
wh_wire_put_varint(uint8_t *at, uint64_t n)
{
	while (n >= 0x80)
	{
		*at++ = (uint8_t) (n | 0x80);
		n >>= 7;
	}
	*at++ = (uint8_t) n;
	return at;
}

static inline uint64_t
wh_wire_unzigzag(int64_t n)
{
	return ((uint64_t) n << 1) ^ (uint64_t) (n >> 63);
}

static inline uint8_t *
wh_wire_put_fixed32(uint8_t *at, uint32_t n)
{
	for (int i = 0; i < 4; i++, n >>= 8)
		*at++ = (uint8_t) n;
	return at;
}

static inline uint8_t *
wh_wire_put_fixed64(uint8_t *at, uint64_t n)
{
	for (int i = 0; i < 8; i++, n >>= 8)
		*at++ = (uint8_t) n;
	return at;
}

static inline uint8_t *
wh_wire_put_tag(uint8_t *at, uint32_t number, WhWireType type)
{
	return wh_wire_put_varint(at, ((uint64_t) number << 3) | type);
}

extern size_t wh_wire_varint_size(uint64_t n);

/*
 * wh_wire_put_length writes the length that stands before a batch of delimited framing, at most
 * WH_WIRE_MAX_VARINT bytes.  Ten takes two: so no length starts with the byte of a line end, and
 * readers can skip those that pg_recvlogical puts between batches.
 */
static inline uint8_t *
wh_wire_put_length(uint8_t *at, uint64_t len)
{
	if (len != '\n')
		return wh_wire_put_varint(at, len);
	*at++ = '\n' | 0x80;
	*at++ = 0;
	return at;
}

/* -------- one field, with its tag -------- */

extern void wh_wire_append_uint(StringInfo out, uint32_t number, uint64_t value);
extern void wh_wire_append_sint(StringInfo out, uint32_t number, int64_t value);
extern void wh_wire_append_fixed64(StringInfo out, uint32_t number, uint64_t value);
extern void wh_wire_append_fixed32(StringInfo out, uint32_t number, uint32_t value);
extern void wh_wire_append_bytes(StringInfo out, uint32_t number, const void *data, size_t len);
extern void wh_wire_append_string(StringInfo out, uint32_t number, const char *text);

/* A nested message of unknown length: everything appended between open and close.  They nest. */
extern int wh_wire_open(StringInfo out, uint32_t number);
extern void wh_wire_close(StringInfo out, int mark);

/* -------- batches -------- */

typedef struct WhRun
{
	bool is_open;
	uint32_t schema;
	WhOp op;
	WhBeforeKind before_kind;
	uint32_t subxid; /* 0: none */
	bool is_rewritten;
	uint64_t first_seq;
	uint64_t next_seq;
	int after_mark; /* what of after and before is of changes that are whole */
	int before_mark;
	StringInfoData after; /* framed fields Rows.after */
	StringInfoData before; /* framed fields Rows.before */
} WhRun;

typedef struct WhBatch
{
	StringInfoData out; /* finished entries */
	WhRun run;
	StringInfo row; /* the row being written, after or before of the run */
	int row_start; /* where its fields start */
	int row_prefix; /* bytes reserved for its length */
} WhBatch;

typedef struct WhWireHello
{
	const char *plugin_version;
	uint32_t server_version;
	uint64_t system_identifier;
	uint32_t timeline;
	uint32_t database_oid;
	const char *database;
	const char *encoding;
	int options;
	const char *const *option_names;
	const char *const *option_values;
} WhWireHello;

extern void wh_wire_init_batch(WhBatch *batch);

/* wh_wire_batch_size says how many bytes wait in the batch, those of the open run included. */
static inline size_t
wh_wire_batch_size(const WhBatch *batch)
{
	return (size_t) batch->out.len + batch->run.after.len + batch->run.before.len;
}

extern void wh_wire_add_hello(WhBatch *batch, const WhWireHello *hello);
extern void wh_wire_add_begin(WhBatch *batch, const WhWireBegin *begin);

/* commit->tallies is not looked at; kind is WH_ENTRY_COMMIT or WH_ENTRY_STREAM_COMMIT. */
extern void wh_wire_add_commit(WhBatch *batch, WhEntryKind kind, const WhWireCommit *commit,
							   const WhWireTally *tallies, int ntallies);
extern void wh_wire_add_truncate(WhBatch *batch, uint64_t seq, const uint32_t *schemas,
								 int nschemas, bool cascade, bool restart_identity,
								 uint32_t subxid);

/* kind is WH_ENTRY_STREAM_START, _STOP or _ABORT. */
extern void wh_wire_add_stream(WhBatch *batch, WhEntryKind kind, const WhWireStream *stream);

/* What Prepare, CommitPrepared and RollbackPrepared hold, each what it needs. */
typedef struct WhWirePrepared
{
	uint32_t xid;
	uint64_t prepare_lsn; /* of a prepare; of a rollback: the end of the prepare */
	uint64_t commit_lsn; /* of a commit */
	uint64_t end_lsn;
	int64_t prepare_time; /* of a prepare and a rollback */
	int64_t end_time; /* of a commit and a rollback */
	const char *gid;
	uint64_t changes; /* of a prepare */
	WhSlice origin; /* of a commit; data is NULL when there is none */
} WhWirePrepared;

/* kind is one of WH_ENTRY_PREPARE, _STREAM_PREPARE, _COMMIT_PREPARED, _ROLLBACK_PREPARED. */
extern void wh_wire_add_prepared(WhBatch *batch, WhEntryKind kind, const WhWirePrepared *prepared,
								 const WhWireTally *tallies, int ntallies);

typedef struct WhWireMessage
{
	bool is_transactional;
	WhSlice prefix;
	WhSlice content;
	uint64_t lsn;
	uint64_t seq; /* 0: none */
	uint32_t subxid; /* 0: none */
} WhWireMessage;

extern void wh_wire_add_message(WhBatch *batch, const WhWireMessage *message);
extern void wh_wire_add_rewrite(WhBatch *batch, uint64_t seq, uint32_t schema, uint32_t subxid,
								bool rows_follow);
/* schema is 0 where the table is gone. */
extern void wh_wire_add_altered(WhBatch *batch, uint32_t relid, uint32_t schema, uint32_t subxid);

typedef struct WhWireTable
{
	uint32_t relid;
	const char *namespace_name;
	const char *name;
} WhWireTable;

extern void wh_wire_add_partitions(WhBatch *batch, const WhWireTable *parent,
								   const WhWireTable *attached, int nattached,
								   const WhWireTable *detached, int ndetached,
								   uint32_t subxid);

/* wh_wire_add_chunk may be called in the middle of a row: the chunk goes before the open run. */
extern void wh_wire_add_chunk(WhBatch *batch, uint32_t id, const void *data, size_t len);

/*
 * wh_wire_add_relation adds a Relation: the id, then definition, which holds the fields from 2
 * on, encoded.
 */
extern void wh_wire_add_relation(WhBatch *batch, uint32_t schema, WhSlice definition);

/*
 * wh_wire_begin_change opens a run, or goes on with the one that is open where the change belongs
 * to it.  subxid is 0 but for subtransactions in streamed segments.
 */
extern void wh_wire_begin_change(WhBatch *batch, uint32_t schema, WhOp op, WhBeforeKind before_kind,
								 uint64_t seq, uint32_t subxid);
/* The same for a row of a rewrite, which has an after alone. */
extern void wh_wire_begin_rewritten(WhBatch *batch, uint32_t schema, uint64_t seq,
									uint32_t subxid);
extern StringInfo wh_wire_begin_after(WhBatch *batch);
extern StringInfo wh_wire_begin_before(WhBatch *batch);

/* wh_wire_end_row returns the row's bytes, which stay where they are until the next is begun. */
extern WhSlice wh_wire_end_row(WhBatch *batch);

/* wh_wire_undo_change takes back the change that was begun last, as far as it was written. */
extern void wh_wire_undo_change(WhBatch *batch);

/*
 * wh_wire_finish_batch closes the open run; batch->out then is a whole Batch.
 * wh_wire_reset_batch empties it.
 */
extern void wh_wire_finish_batch(WhBatch *batch);
extern void wh_wire_reset_batch(WhBatch *batch);

/*
 * wh_wire_deflate_batch replaces what a finished batch holds by the compressed form, where that is
 * shorter.
 */
extern void wh_wire_deflate_batch(WhBatch *batch, WhCompression method);

/* -------- descriptors -------- */

/*
 * wh_wire_append_descriptor appends the FileDescriptorProto of a row: file
 * walhouse/row/s<schema>.proto, package walhouse.row.s<schema>, message Row, then the messages
 * that its fields use.  Names are those of the columns, in UTF-8; attnums ascend.
 */
typedef struct WhWireField
{
	uint32_t attnum;
	const char *name;
	WhValueKind kind;
	WhValueKind element_kind; /* of an array; else 0 */
} WhWireField;

/*
 * wh_wire_append_proto appends the same as the text of one .proto file that protoc compiles: a
 * message a table, then, once, the messages that their fields use.  Package and message names are
 * the caller's; they are made valid, and different from each other, here.  Comments, one a field,
 * and one a table, say what the names stand for; they may hold anything, also line ends.
 */
typedef struct WhWireProto
{
	const char *name; /* of the message */
	const char *comment; /* above it */
	int nfields;
	const WhWireField *fields;
	const char *const *comments; /* of the fields */
} WhWireProto;

extern void wh_wire_append_proto(StringInfo out, const char *package, const WhWireProto *tables,
								 int ntables);

extern void wh_wire_append_descriptor(StringInfo out, uint32_t schema, const WhWireField *fields,
									  int nfields);

/* -------- numeric -------- */

/*
 * wh_wire_numeric_from_disk reads the data of a numeric as PostgreSQL stores it (after the
 * varlena header).  Returns false when it is NaN, infinite, malformed, or does not fit 64 bits
 * when scaled to its display scale.
 */
extern bool wh_wire_numeric_from_disk(const void *data, size_t len, int64_t *unscaled,
									  uint32_t *scale);

#endif /* WH_WIRE_ENCODE_H */
