/*
 * spool_private.h
 *		Source transactions as they arrive, and what is read out of them.
 */
#ifndef WH_FEED_SPOOL_PRIVATE_H
#define WH_FEED_SPOOL_PRIVATE_H

#include "storage/fd.h"

#include "copy/rows.h"
#include "feed/feed.h"
#include "wire/wire.h"

/* -------- chunks.c: values that come in pieces -------- */

typedef struct WhChunks WhChunks;

/* Lives in the current context. */
extern WhChunks *wh_chunks_create(void);
extern void wh_chunks_add(WhChunks *chunks, const WhWireChunk *chunk);
/*
 * wh_chunks_take gives a whole value, once, after its size and checksum have been compared: a
 * varlena, in a context of its own below the current one. wh_chunks_free frees it earlier.
 */
extern struct varlena *wh_chunks_take(WhChunks *chunks, const WhWireChunked *chunked);
extern void wh_chunks_free(struct varlena *value);
extern bool wh_chunks_is_empty(const WhChunks *chunks);
/* Drops the values that a row refers to which is passed over. */
extern void wh_chunks_drop(WhChunks *chunks, WhSlice row);
/* Forgets what nobody took. */
extern void wh_chunks_clear(WhChunks *chunks);

/* -------- convert.c: wire values into Datums -------- */

/* Reads rows of one definition for one target. */
typedef struct WhReader WhReader;

extern WhReader *wh_reader_create(const WhTarget *target, const void *relation,
								  int source_encoding);
/* In the current context; values that are varlena are copies. */
extern WhImage *wh_reader_read(WhReader *reader, WhChunks *chunks, const uint8_t *data,
							   size_t len);

/* -------- spool.c: source transactions as they arrive -------- */

/* Transactional messages of this prefix say in what context a transaction was made; so many bytes
 * of a transaction's are kept, and those that go beyond are left out. */
#define WH_CONTEXT_PREFIX "walhouse"
#define WH_CONTEXT_BYTES 8192

/* One message of the stream; start is where the batch begins in libpq's buffer. */
typedef struct WhMessage
{
	char *buffer;
	int start;
	int len;
} WhMessage;

typedef struct WhTransaction
{
	WhStream *stream;
	uint32 xid;
	bool is_streamed; /* it came, or comes, in segments */
	bool is_complete; /* its commit is there: the fields up to told_changes are valid */
	XLogRecPtr end_lsn;
	TimestampTz commit_time;
	WhSlice tallies; /* what the commit says of it: cursor of wh_wire_next_tally() */
	uint64 told_changes;
	char *origin; /* NULL: none */
	/* what it is about, without what is void: */
	bool has_truncate;
	uint64 changes;
	List *schemas; /* of int: definitions that it uses, in order of their last use */
	List *rewrites; /* of int: definitions of tables that were written anew */
	List *unsent; /* of int: those of these whose rows are not in the stream */
	List *gone; /* of Oid: tables that are dropped, or published no more */
	bool is_settled; /* gone and partitions were seen to */
	List *partitions; /* of WhSlice *: Partitions messages */
	List *told; /* of char *: what the application said of it, in messages */
	Size context_bytes; /* of these, as they came */
	uint32 *voids; /* xids of subtransactions that were aborted */
	int void_count;
	int void_room;
	bool voids_are_sorted;
	List *messages; /* of WhMessage *: those that came after what is in the file */
	Size bytes; /* in memory */
	File file; /* -1: all in memory */
	off_t file_size;
	char *file_buffer; /* the message that was read last */
	int file_buffer_size;
	off_t file_read; /* cursor of wh_spool_next() */
	int list_read;
	MemoryContext context;
} WhTransaction;

extern WhTransaction *wh_spool_begin(WhStream *stream);
/* Takes over libpq's buffer; the bytes before start are the message's header, and may be used. */
extern void wh_spool_add(WhTransaction *txn, char *buffer, int start, int len);
/* Moves what is in memory to the file. */
extern void wh_spool_spill(WhTransaction *txn);
extern void wh_spool_rewind(WhTransaction *txn);
/* The next message, valid until the call after; false at the end. */
extern bool wh_spool_next(WhTransaction *txn, WhSlice *message);
/* Whether it has to be ingested alone, by chunks. */
extern bool wh_spool_is_large(const WhTransaction *txn);
/* Remembers, and says, whether what a subtransaction sent is void. */
extern void wh_spool_void(WhTransaction *txn, uint32 subxid);
extern bool wh_spool_is_void(WhTransaction *txn, uint32 subxid);
extern void wh_spool_free(WhTransaction *txn);

/* -------- tally.c: whether all of it arrived -------- */

typedef struct WhTallies WhTallies;

/* Lives in the current context; counts one source transaction after another. */
extern WhTallies *wh_tally_create(void);
extern WhWireTally *wh_tally_of(WhTallies *tallies, Oid relid);
extern void wh_tally_row(WhWireTally *tally, WhOp op, WhSlice after, WhSlice before);
/* Compares with the commit, raises when they differ, and begins anew. */
extern void wh_tally_check(WhTallies *tallies, const WhTransaction *txn);

#endif /* WH_FEED_SPOOL_PRIVATE_H */
