/*
 * output_private.h
 *		What the files of the output plugin share.
 *
 * A WhOutput lives as long as its LogicalDecodingContext, in a memory context below it: one
 * START_REPLICATION or one call of an SQL function.  Nothing of a transaction survives its commit
 * callback.
 */
#ifndef WH_OUTPUT_PRIVATE_H
#define WH_OUTPUT_PRIVATE_H

#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_publication.h"
#include "mb/pg_wchar.h"
#include "nodes/pg_list.h"
#include "replication/logical.h"
#include "utils/hsearch.h"

#include "base/compat.h"
#include "output/output.h"
#include "wire/encode.h"
#include "wire/json.h"
#include "wire/wire.h"

/* -------- options -------- */

/* Which stored generated columns are sent; virtual ones never are. */
typedef enum WhGeneratedColumns
{
	WH_GENERATED_STORED,
	WH_GENERATED_NONE,
	WH_GENERATED_PUBLICATION /* as the publications say; before 18 none */
} WhGeneratedColumns;

#define WH_OUTPUT_OPTIONS 16

typedef struct WhOutputOptions
{
	const char *given[WH_OUTPUT_OPTIONS]; /* values as they came; NULL: not given */
	List *publications; /* names; NIL: all tables */
	List *include_tables; /* patterns; NIL: all */
	List *exclude_tables; /* patterns; NIL: none */
	List *messages; /* patterns of prefixes; NIL: none */
	PublicationActions operations;
	WhGeneratedColumns generated_columns;
	WhCompression compression;
	bool sends_own_writes;
	bool skips_origins;
	bool is_json;
	bool is_delimited;
	bool is_streaming;
	bool is_two_phase;
	bool has_tallies;
	bool has_ddl;
} WhOutputOptions;

/*
 * wh_output_read_options reads ctx->output_plugin_options into the current memory context, or
 * reports what is wrong.
 */
extern void wh_output_read_options(List *given, WhOutputOptions *options);

/*
 * wh_output_show_options writes at most WH_OUTPUT_OPTIONS names and values of the options in
 * effect, and returns how many.
 */
extern int wh_output_show_options(const WhOutputOptions *options, const char **names,
								  const char **values);

/*
 * wh_output_read_patterns reads the patterns of an option, see pattern.c, or reports what is
 * wrong with them.  wh_output_matches tells whether one of them matches the whole of a text in the
 * database's encoding.
 */
extern List *wh_output_read_patterns(const char *option, const char *value);
extern bool wh_output_matches(List *patterns, const char *text);

/*
 * wh_output_split_patterns makes of the patterns of include_tables and exclude_tables what
 * selection.c compares with, or reports what is wrong with them.
 */
extern void wh_output_split_patterns(WhOutputOptions *options);

/* -------- columns and relations -------- */

/* How a column's value is turned into its field. */
typedef enum WhWriter
{
	WH_WRITE_BOOL,
	WH_WRITE_INT2,
	WH_WRITE_INT4,
	WH_WRITE_INT8,
	WH_WRITE_UINT32,
	WH_WRITE_UINT64,
	WH_WRITE_FLOAT4,
	WH_WRITE_FLOAT8,
	WH_WRITE_NUMERIC,
	WH_WRITE_DATE,
	WH_WRITE_TIME,
	WH_WRITE_TIMETZ,
	WH_WRITE_TIMESTAMP,
	WH_WRITE_INTERVAL,
	WH_WRITE_UUID,
	WH_WRITE_BYTES,
	WH_WRITE_TEXT, /* a varlena that is text as it stands */
	WH_WRITE_NAME,
	WH_WRITE_JSONB,
	WH_WRITE_ARRAY,
	WH_WRITE_OUTPUT /* through the type's output function */
} WhWriter;

/* A column, or what the elements of an array column are. */
typedef struct WhOutputColumn
{
	int attnum; /* the field's number: of the table that the rows are told as; or in Array */
	int index; /* in values and nulls: the place in the tuple, from 0 */
	WhWriter writer;
	WhValueKind kind;
	bool is_varlena;
	bool is_key; /* of the replica identity index */
	bool is_element;
	bool by_value;
	char align;
	int16 length; /* pg_type.typlen */
	uint8_t tag_size; /* 0 of elements that are packed */
	uint8_t tag[WH_WIRE_MAX_TAG];
	struct WhOutputColumn *element; /* WH_WRITE_ARRAY */
	Oid type; /* the domain's base type, where it is one */
	FmgrInfo output;
} WhOutputColumn;

/* An attribute of the tuples, on the way through one; see wh_output_walk_row. */
typedef struct WhOutputStep
{
	WhOutputColumn *column; /* NULL: not sent */
	int16 length; /* pg_type.typlen */
	bool by_value;
	uint8_t align; /* bytes */
} WhOutputStep;

typedef struct WhFilters WhFilters; /* filter.c */
typedef struct WhPartitions WhPartitions; /* partitions.c */

/* A definition that was sent before; should it come back, its id is used again. */
typedef struct WhFormerDefinition
{
	uint32 schema; /* 0: none */
	uint64 fingerprint;
} WhFormerDefinition;

#define WH_FORMER_DEFINITIONS 4

typedef struct WhOutputRelation
{
	Oid relid; /* hash key */
	bool is_valid; /* cleared by invalidation callbacks, which do nothing else */
	bool is_complete; /* set once all of the entry is there: an error may come between */
	bool is_sent; /* the definition has gone into a batch of this session */
	const char *difference; /* of its publications: its first change is an error; NULL: none */
	bool is_rewrite_told; /* of the heap of a rewrite: its Rewrite is in a batch */
	bool is_told; /* the reader knows, or had when the session began, the definition told */
	uint64 told; /* its fingerprint */
	PublicationActions actions; /* what is sent */
	Oid told_as; /* whose names and attnums rows have: relid, or a partitioned table above it */
	WhFilters *filters; /* NULL: all rows are sent */
	WhFormerDefinition former[WH_FORMER_DEFINITIONS];
	int next_former;
	uint32 schema; /* 0: never described */
	uint64 fingerprint; /* of the definition that schema stands for */
	char replica_identity;
	int ncolumns; /* 0 where nothing is sent */
	WhOutputColumn *columns;
	int nsteps;
	WhOutputStep *steps; /* up to the last attribute that is sent; NULL: fields in another order */
	Datum *values; /* natts each, of the tuples in hand */
	bool *nulls;
	Datum *old_values;
	bool *old_nulls;
	StringInfo definition; /* until it is sent */
	MemoryContext context; /* of all that the entry points at */
} WhOutputRelation;

/* -------- the session -------- */

/*
 * A transaction that is being sent.  A streamed one lives in a context of its own, from its first
 * segment until it ends, in txn->output_plugin_private of the top-level transaction; all others
 * are session->whole, one after the other.
 */
typedef struct WhOutputTxn
{
	MemoryContext context; /* of the tallies */
	bool is_streamed;
	bool is_announced; /* Begin, or a StreamStart, is in a batch */
	uint64 seq; /* ordinal of the last change, sent or not */
	uint64 changes; /* sent; of a streamed one, by itself without its subtransactions */
	List *altered; /* of Oid: of a streamed one, see altered.c */
	bool has_partitions; /* likewise, and partitions.c */
	struct tallies_hash *tallies; /* see tally.c; NULL until there is one */
	struct WhTally *last_tally;
} WhOutputTxn;

#define WH_RECENT_RELATIONS 16

typedef struct WhOutput
{
	struct WhOutput *next; /* in the list that invalidation callbacks walk */
	LogicalDecodingContext *decoding; /* whose this is */
	MemoryContext context; /* the session's */
	MemoryContext change_context; /* reset after each change */
	WhOutputOptions options;
	HTAB *relations;
	WhOutputRelation *recent[WH_RECENT_RELATIONS]; /* by OID, of relations; NULL: unknown */
	long relations_trim; /* as many entries and the cache is looked through */
	List *publications; /* WhPublication, while publications_valid */
	MemoryContext publication_context;
	bool publications_valid;
	bool publications_complete; /* as WhOutputRelation.is_complete */
	HTAB *dependencies; /* of definitions, beside their relations */
	WhPartitions *partitions; /* NULL before the first transaction */
	List *altered; /* of Oid: relations that were invalidated, see altered.c */
	bool all_altered; /* any may have been */
	bool tables_are_known; /* those that were there when the session began */
	uint32 last_schema;
	int encoding; /* the database's */
	Oid to_utf8; /* conversion function, once it has been needed */
	WhBatch batch;
	StringInfoData unchanged; /* attnums of the row in hand, packed */
	StringInfoData specials; /* fields 2002 of the row in hand */
	StringInfoData changed; /* attnums of the row in hand, packed */
	StringInfoData chunked; /* fields 2004 of the row in hand */
	StringInfoData head; /* of the array in hand: what stands before its elements */
	StringInfoData elements; /* likewise */
	StringInfoData chunk; /* what does not fill a chunk yet */
	bool element_failed; /* an element of the array in hand does not fit its field */
	uint32 last_chunk; /* id */
	WhJson *json; /* renderer, where the format is json */
	bool hello_sent;
	StringInfoData line; /* of JSON, that is still to be written */

	const char *database; /* in UTF-8 */
	uint32 op_crc[WH_OP_DELETE + 1]; /* CRC-32C of each WhOp as a byte */

	/* of the transaction in hand */
	WhOutputTxn whole;
	WhOutputTxn *txn; /* that is being sent; NULL between transactions and segments */
	TransactionId subxid; /* of the change in hand, in a segment; else InvalidTransactionId */
	bool is_preparing; /* txn is sent by its prepare */
	bool segment_announced; /* StreamStart of this segment is in a batch */
	bool change_begun; /* and not ended: what an error leaves of it is not to be sent */
	bool settings_pinned;
	int quiet_changes; /* since the server last looked at the connection */
} WhOutput;

/*
 * wh_output_pin_settings pins, until the decoded transaction ends, the settings that output
 * functions look at.
 */
extern void wh_output_pin_settings(WhOutput *session);

/*
 * wh_output_add_hello adds Hello where this session has not sent it yet: before every entry that
 * may be the first.
 */
extern void wh_output_add_hello(WhOutput *session);

/* -------- transaction.c -------- */

extern void wh_output_begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn);
extern void wh_output_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
							 XLogRecPtr commit_lsn);

/*
 * wh_output_end_transaction adds what ends session->txn, kind WH_ENTRY_COMMIT, _STREAM_COMMIT,
 * _PREPARE or _STREAM_PREPARE, and sends the batch.
 */
extern void wh_output_end_transaction(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
									  WhEntryKind kind, XLogRecPtr lsn);

/*
 * wh_output_announce adds Begin, or a segment's StreamStart, where it is not there yet: before
 * each entry of a transaction.
 */
extern void wh_output_announce(WhOutput *session, ReorderBufferTXN *txn);

/* -------- lookup.c: names in UTF-8, in the current memory context -------- */

/* wh_output_find_origin returns an origin's name, or a slice with data NULL. */
extern WhSlice wh_output_find_origin(WhOutput *session, RepOriginId id);
extern const char *wh_output_find_database(WhOutput *session);

/*
 * wh_output_utf8_name returns a name, or name itself; where it cannot be in UTF-8, its bytes beyond
 * ASCII are written as \xHH.
 */
extern const char *wh_output_utf8_name(WhOutput *session, const char *name);
extern int64 wh_output_unix_time(TimestampTz time);

/* -------- prepared.c -------- */

extern void wh_output_begin_prepare(LogicalDecodingContext *ctx, ReorderBufferTXN *txn);
extern void wh_output_prepare(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
							  XLogRecPtr prepare_lsn);
extern void wh_output_commit_prepared(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
									  XLogRecPtr commit_lsn);
extern void wh_output_rollback_prepared(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
										XLogRecPtr prepare_end_lsn, TimestampTz prepare_time);

/* -------- stream.c -------- */

extern void wh_output_stream_start(LogicalDecodingContext *ctx, ReorderBufferTXN *txn);
extern void wh_output_stream_stop(LogicalDecodingContext *ctx, ReorderBufferTXN *txn);
extern void wh_output_stream_abort(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
								   XLogRecPtr abort_lsn);
extern void wh_output_stream_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
									XLogRecPtr commit_lsn);
extern void wh_output_stream_prepare(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
									 XLogRecPtr prepare_lsn);

/* -------- change.c -------- */

extern void wh_output_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation,
							 ReorderBufferChange *change);
extern void wh_output_truncate(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, int nrelations,
							   Relation relations[], ReorderBufferChange *change);

extern void wh_output_mark_streamed(ReorderBufferTXN *txn);

/* wh_output_add_relation adds a relation's definition, where this session has not sent it yet. */
extern void wh_output_add_relation(WhOutput *session, WhOutputRelation *entry);

/* wh_output_undo_change takes back what an error has left of a change. */
extern void wh_output_undo_change(WhOutput *session);

/* -------- message.c -------- */

extern void wh_output_message(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr lsn,
							  bool is_transactional, const char *prefix, Size size,
							  const char *content);

/* -------- tally.c: of session->txn and session->subxid -------- */

/* A row or a truncate was sent. */
extern void wh_output_count_change(WhOutput *session);

/* Something else of the transaction was sent: its subtransaction is now known to the reader. */
extern void wh_output_count_other(WhOutput *session);

/* Slices with data NULL have len 0. */
extern void wh_output_tally_row(WhOutput *session, Oid relid, WhOp op, WhSlice after,
								WhSlice before);
extern void wh_output_tally_truncate(WhOutput *session, Oid relid);

/* wh_output_forget_subxact tells whether the subtransaction has sent anything. */
extern bool wh_output_forget_subxact(WhOutputTxn *txn, TransactionId subxid);

/* wh_output_sum_tallies returns *count tallies by relid, in the current memory context. */
extern WhWireTally *wh_output_sum_tallies(WhOutputTxn *txn, uint64 *changes, int *count);
extern void wh_output_reset_tallies(WhOutputTxn *txn);

/* -------- emit.c -------- */

/* A batch is sent once it has this many bytes. */
#define WH_OUTPUT_BATCH_SIZE (64 * 1024)

/*
 * wh_output_flush sends what the batch holds; is_last says that it is the last write of a
 * callback.
 */
extern void wh_output_flush(LogicalDecodingContext *ctx, WhOutput *session, bool is_last);

/*
 * wh_output_send_entries sends the finished entries alone and leaves the open run as it is: what
 * chunks need, which are made in the middle of a row.
 */
extern void wh_output_send_entries(LogicalDecodingContext *ctx, WhOutput *session, bool is_last);

/* wh_output_keep_alive looks after the connection while changes go by without output. */
extern void wh_output_keep_alive(LogicalDecodingContext *ctx, WhOutput *session);

/* -------- relation.c -------- */

extern void wh_output_init_relations(WhOutput *session);

/*
 * wh_output_find_relation returns what is known of a relation, compiled anew when it may have
 * changed.
 */
extern WhOutputRelation *wh_output_find_relation(WhOutput *session, Relation relation);
/* The same of a relation that has no change: what its publications differ in is no error. */
extern WhOutputRelation *wh_output_look_at_relation(WhOutput *session, Relation relation);

extern void wh_output_trim_relations(WhOutput *session);

/* -------- column.c -------- */

/* wh_output_compile_column looks up how the values of a column are written. */
extern void wh_output_compile_column(WhOutputColumn *column, Form_pg_attribute attribute);

/* -------- filter.c -------- */

/*
 * wh_output_filter asks the row filters, where entry->filters is set.  Returns false where the
 * change is not to be sent.  An update can become an insert, of its new row, or a delete, of its
 * old one.
 */
extern bool wh_output_filter(WhOutputRelation *entry, Relation relation, HeapTuple old,
							 HeapTuple tuple, WhOp *op);

/*
 * wh_output_fill_unchanged takes TOAST values that entry->values only points at from
 * entry->old_values, where those have them.
 */
extern void wh_output_fill_unchanged(WhOutputRelation *entry, TupleDesc desc);

/* -------- rewrite.c, partitions.c, altered.c -------- */

/*
 * wh_output_tell_rewrite tells of a rewrite, once, by the heap that its rows go to.  Returns the
 * entry of the table where these rows are sent, too, else NULL.
 */
extern WhOutputRelation *wh_output_tell_rewrite(WhOutput *session, ReorderBufferTXN *txn,
												Relation heap);

/* wh_output_know_tables is called when a transaction or segment begins, wh_output_tell_altered
 * before what ends it, while its snapshot is there. */
extern void wh_output_know_tables(WhOutput *session);
extern void wh_output_tell_altered(WhOutput *session, ReorderBufferTXN *txn);
/* wh_output_leave_altered leaves what a streamed transaction has not told to the next one. */
extern void wh_output_leave_altered(WhOutput *session, WhOutputTxn *txn);

/* wh_output_watch_partitions is called at the start of each transaction or segment. */
extern void wh_output_watch_partitions(WhOutput *session);

/*
 * wh_output_tell_partitions is called before what ends a transaction or segment is added.  It adds
 * markers, and what announces them.
 */
extern void wh_output_tell_partitions(WhOutput *session, ReorderBufferTXN *txn);

/* wh_output_settle_partitions is called when a prepared transaction has been ended. */
extern void wh_output_settle_partitions(WhOutput *session, TransactionId xid, bool is_committed);

/* -------- value.c -------- */

/*
 * wh_output_write_row writes the fields of a row: all columns, or those of the identity key.
 */
extern void wh_output_write_row(WhOutput *session, WhOutputRelation *relation, StringInfo out,
								Datum *values, bool *nulls, bool keys_only);

/*
 * wh_output_walk_row writes the same fields as wh_output_write_row straight from a tuple, where
 * wh_output_can_walk says so.
 */
extern void wh_output_walk_row(WhOutput *session, WhOutputRelation *relation, StringInfo out,
							   HeapTuple tuple, bool keys_only);

/* A tuple older than its table's last column lacks attributes. */
static inline bool
wh_output_can_walk(const WhOutputRelation *relation, HeapTuple tuple)
{
	return relation->steps != NULL &&
		   HeapTupleHeaderGetNatts(tuple->t_data) >= relation->nsteps;
}

/* wh_output_note_attnum adds a column to a packed field. */
extern void wh_output_note_attnum(StringInfo out, const WhOutputColumn *column);

/* wh_output_forget_row drops what is kept for the end of a row that is not finished. */
extern void wh_output_forget_row(WhOutput *session);

/*
 * wh_output_write_value writes a value at a place in out with WH_FIELD_ROOM bytes, and returns the
 * place behind it, which has as many. out->len is not kept up meanwhile.
 */
#define WH_FIELD_ROOM 64

extern uint8_t *wh_output_write_value(WhOutput *session, WhOutputColumn *column, StringInfo out,
									  uint8_t *at, Datum value);
extern uint8_t *wh_output_write_bytes(const WhOutputColumn *column, StringInfo out, uint8_t *at,
									  const void *data, size_t len);

/*
 * wh_output_note_special keeps a Special for the end of the row; data is text or raw bytes, as the
 * kind has it, or NULL.
 */
extern void wh_output_note_special(WhOutput *session, const WhOutputColumn *column,
								   WhSpecialKind kind, const char *data, size_t len);

/* wh_output_note_text keeps, for a field that cannot hold the value, the value's text. */
extern void wh_output_note_text(WhOutput *session, const WhOutputColumn *column, const char *text);

/* A varlena with a header of one byte has at most this many behind it. */
typedef union WhAligned
{
	struct varlena header;
	int64 align;
	char data[VARHDRSZ + 128];
} WhAligned;

/*
 * wh_output_plain_varlena returns a value uncompressed and in memory, where it stands if it can;
 * wh_output_aligned_varlena moreover with a header of four bytes, a short one in *room.
 */
extern struct varlena *wh_output_plain_varlena(Datum value);
extern struct varlena *wh_output_aligned_varlena(Datum value, WhAligned *room);

/* wh_output_put_tag writes the tag of a column's field, if it has one. */
static inline uint8_t *
wh_output_put_tag(const WhOutputColumn *column, uint8_t *at)
{
	for (int i = 0; i < column->tag_size; i++)
		*at++ = column->tag[i];
	return at;
}

/* wh_output_make_room returns at, with need bytes behind it, in out as it then is. */
static inline uint8_t *
wh_output_make_room(StringInfo out, uint8_t *at, size_t need)
{
	size_t used = (char *) at - out->data;

	if (unlikely(out->maxlen - used <= need))
	{
		out->len = (int) used;
		enlargeStringInfo(out, (int) need);
		at = (uint8_t *) out->data + used;
	}
	return at;
}

/* -------- array.c -------- */

extern uint8_t *wh_output_write_array(WhOutput *session, WhOutputColumn *column, StringInfo out,
									  uint8_t *at, Datum value);

/* -------- jsonb.c -------- */

/* wh_output_print_jsonb prints as wh_output_write_value writes. */
struct JsonbContainer;
extern uint8_t *wh_output_print_jsonb(const struct JsonbContainer *container, StringInfo out,
									  uint8_t *at);

/* -------- compare.c -------- */

/*
 * wh_output_note_changes keeps, for the row that is written next, which columns differ between the
 * old row in hand and the new one.
 */
extern void wh_output_note_changes(WhOutput *session, WhOutputRelation *relation);

/* -------- chunk.c -------- */

/*
 * A field longer than WH_VALUE_LIMIT goes in chunks; one longer than WH_VALUE_SMALL where a row
 * has WH_ROW_LIMIT bytes already.
 */
#define WH_VALUE_SMALL (64 * 1024)
#define WH_VALUE_LIMIT (1024 * 1024)
#define WH_ROW_LIMIT (16 * 1024 * 1024)

static inline bool
wh_output_is_large(size_t len, size_t row)
{
	return unlikely(len > WH_VALUE_SMALL) && (len > WH_VALUE_LIMIT || row > WH_ROW_LIMIT);
}

/* Chunks of one value: wh_output_add_chunks as often as it takes. */
typedef struct WhChunks
{
	WhOutput *session;
	WhWireChunked value;
} WhChunks;

extern void wh_output_begin_chunks(WhOutput *session, const WhOutputColumn *column,
								   WhChunks *chunks);
extern void wh_output_add_chunks(WhChunks *chunks, const void *data, size_t len);
extern void wh_output_end_chunks(WhChunks *chunks);

/* wh_output_chunk_bytes sends bytes as they are. */
extern void wh_output_chunk_bytes(WhOutput *session, const WhOutputColumn *column,
								  const void *data, size_t len);

/*
 * wh_output_chunk_text sends text of the database's encoding as UTF-8.  Returns false, with
 * nothing sent, where it cannot be UTF-8.
 */
extern bool wh_output_chunk_text(WhOutput *session, const WhOutputColumn *column, const char *text,
								 size_t len);

/* -------- text.c -------- */

/* Whether text of the database is sent as it stands, once it has been checked. */
extern bool wh_output_is_utf8(const WhOutput *session);

/* wh_output_to_utf8 returns text in UTF-8, or NULL where it cannot be. *len is updated. */
extern const char *wh_output_to_utf8(WhOutput *session, const char *text, size_t *len);

/*
 * wh_output_convert_slice converts the first part of text into a buffer of WH_SLICE_ROOM bytes and
 * returns how much of it, or 0 where it cannot be UTF-8.  *converted is what it takes there.
 */
#define WH_SLICE (16 * 1024)
#define WH_SLICE_ROOM (WH_SLICE * MAX_CONVERSION_GROWTH + 2)

extern size_t wh_output_convert_slice(WhOutput *session, const char *text, size_t len,
									  char *buffer, size_t *converted);

#endif /* WH_OUTPUT_PRIVATE_H */
