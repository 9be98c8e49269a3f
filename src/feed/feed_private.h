/*
 * feed_private.h
 *		What the files of this room share.
 */
#ifndef WH_FEED_PRIVATE_H
#define WH_FEED_PRIVATE_H

#include "libpq-fe.h"

#include "access/tupdesc.h"
#include "executor/tuptable.h"
#include "storage/fd.h"
#include "utils/hsearch.h"

#include "feed/feed.h"
#include "wire/wire.h"

/* feed.c: settings */
extern int wh_feed_memory; /* kB */
extern int wh_feed_batch_rows;
extern int wh_feed_batch_ms;
extern int wh_feed_slot_timeout; /* ms */
extern int wh_feed_status_interval; /* ms */
extern int wh_feed_partition_size; /* MB */
extern int wh_feed_chunk_rows;
extern char *wh_feed_debug_point;

/* -------- connect.c: connections to sources; all are closed when the transaction aborts --------
 */

/* A result of the source in the caller's context: text, NULL for NULL. */
typedef struct WhResult
{
	int rows;
	int columns;
	char **values;
} WhResult;

#define wh_result_value(result, row, column) \
	((result)->values[(row) * (result)->columns + (column)])

extern void wh_connect_init(void);
extern PGconn *wh_connect(const WhFeed *feed, bool for_replication);
extern void wh_disconnect(PGconn *conn);
/* An option of the feed's server as it was given; NULL: it was not. */
extern const char *wh_server_option(const WhFeed *feed, const char *name);
/* Says whether a connection is open still: an abort closes all. */
extern bool wh_connect_is_open(PGconn *conn);

/* wh_source_send starts a statement; wh_source_finish waits for its result, false after
 * timeout_ms (-1: none). */
extern void wh_source_send(PGconn *conn, const char *sql);
extern bool wh_source_finish(PGconn *conn, const char *sql, long timeout_ms, WhResult **result);
extern WhResult *wh_source_query(PGconn *conn, const char *sql);
/* An LSN that came as text. */
extern XLogRecPtr wh_source_lsn(const char *value);
/* A position as an LSN of the source: the other way of wh_feed_lsn(). */
extern XLogRecPtr wh_feed_lsn_at_source(const WhFeed *feed, XLogRecPtr lsn);
/* Starts COPY TO STDOUT or replication; raises when the source does not answer with one. */
extern void wh_source_copy(PGconn *conn, const char *sql, ExecStatusType expected);
/*
 * wh_source_receive takes the next CopyData: its length, 0 when nothing came in timeout_ms or the
 * latch was set, -1 at the end.  Free *buffer with PQfreemem.
 */
extern int wh_source_receive(PGconn *conn, char **buffer, long timeout_ms);
pg_noreturn extern void wh_source_error(PGconn *conn, PGresult *result, const char *sql);

/* -------- identity.c: who the source is, and who we are -------- */

typedef struct WhIdentity
{
	char *system_id;
	int32 timeline;
	Oid database;
} WhIdentity;

extern WhIdentity wh_source_identity(PGconn *replication);
extern WhIdentity wh_house_identity(void);
extern void wh_feed_store_identity(const WhFeed *feed, const WhIdentity *source,
								   const WhIdentity *house);
/* Raises, with the hint walhouse.takeover, when this is not the warehouse that a feed was made
 * in. */
extern void wh_feed_check_house(const WhFeed *feed);
/* Raises, with a hint, when a feed may not run here. */
extern void wh_feed_check_identity(const WhFeed *feed, const WhIdentity *source);
/* Compares the slot with the feed's position and raises, naming the choice, when they do not fit.
 */
extern void wh_feed_check_slot(const WhFeed *feed, PGconn *plain, XLogRecPtr position);

/* -------- describe.c: what the source has -------- */

/* Walhouse's own relations, for a feed on its own database; n and c are the relation's schema and
 * class. */
#define WH_SOURCE_IS_OWN \
	"(n.nspname = 'walhouse'" \
	" OR n.nspname IN (SELECT f.name FROM walhouse.feed f)" \
	" OR n.oid IN (SELECT x.relnamespace FROM walhouse.feed_table t JOIN pg_catalog.pg_class x " \
	"ON x.oid IN (t.mirror, t.log))" \
	" OR EXISTS (SELECT FROM walhouse.model m WHERE m.relation = " \
	"COALESCE(pg_catalog.pg_partition_root(c.oid), c.oid))" \
	" OR EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = " \
	"d.refobjid" \
	"            WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = " \
	"c.oid AND d.deptype = 'e'" \
	"            AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND e.extname " \
	"= 'walhouse'))"

/* The tables of a feed's publication, with columns and key; `relid` other than InvalidOid: that
 * one alone. */
extern List *wh_source_tables(const WhFeed *feed, PGconn *plain, bool is_own_database, Oid relid);
/* Checks a source for create_feed; raises one error that names all that is missing.  Makes no
 * change. */
extern void wh_source_check(const WhFeed *feed, PGconn *plain, List *wanted_tables,
							bool is_own_database, bool failover);
/* The same for a table that is to be added, or the partitions of one. */
extern void wh_source_check_addition(const WhFeed *feed, PGconn *plain, const char *table);
/* A condition over n and c: a table by its name, or a partition of it. */
extern char *wh_source_named(const char *table);
extern bool wh_source_is_own_database(PGconn *plain);
/* What of that a feed that is there needs, too, and does not find; of WhFeedProblem *. */
extern List *wh_source_problems(const WhFeed *feed, PGconn *plain, bool is_own_database);
extern WhFeedProblem *wh_feed_problem(const char *code, const char *severity, const char *object,
									  char *text, char *remedy);

/* -------- snapshot.c: slots and copies -------- */

typedef enum WhSlotKind
{
	WH_SLOT_PLAIN,
	WH_SLOT_FAILOVER, /* 17: kept on the source's standbys, too */
	WH_SLOT_TEMPORARY
} WhSlotKind;

/* Makes a slot; returns its consistent point, as a position; *snapshot is exported until the
 * connection's next command. */
extern XLogRecPtr wh_slot_create(const WhFeed *feed, PGconn *replication, PGconn *plain,
								 const char *slot, WhSlotKind kind, char **snapshot);
/* Drops the feed's slot, if it is there, once nobody reads it. */
extern void wh_slot_drop(const WhFeed *feed, PGconn *plain);
/* Starts a transaction of the plain connection that sees an exported snapshot. */
extern void wh_snapshot_use(PGconn *plain, const char *snapshot);
/*
 * wh_snapshot_begin reads rows of a source table in the form of its mirror, by NextCopyFrom():
 * those that meet each of the conditions, one after the other (of char *, SQL over the source's
 * columns; NIL: all rows), within what is published.  wh_snapshot_end returns how many bytes
 * came.
 */
extern struct CopyFromStateData *wh_snapshot_begin(PGconn *plain, const WhFeedTable *table,
												   const WhSourceTable *source, Relation mirror,
												   List *conditions);
extern uint64 wh_snapshot_end(struct CopyFromStateData *copy);
/* Whether a table is defined, and published, at the source as mirror and log know it. */
extern bool wh_snapshot_is_defined_so(const WhFeedTable *table, const WhSourceTable *source);
/* Copies a table into its mirror, in the caller's transaction; the mirror is empty. Returns the
 * number of rows. */
extern uint64 wh_snapshot_copy(const WhFeed *feed, PGconn *plain, const WhFeedTable *table,
							   const WhSourceTable *source);
/*
 * wh_snapshot_read hands over the source's rows that meet a condition over its columns, NULL for
 * all: values in the order of the source's columns, of the mirror's types, valid for the call.
 */
typedef void (*WhRowTaker)(void *arg, const Datum *values, const bool *nulls);

extern uint64 wh_snapshot_read(const WhFeed *feed, PGconn *plain, const WhFeedTable *table,
							   const WhSourceTable *source, const char *condition,
							   WhRowTaker take, void *arg);
/*
 * wh_snapshot_resync brings a table to the point of a temporary slot, and commits: by what differs
 * (wh_resync_compare), or it is copied again: mirror, sync_lsn, state; of a table whose mirror is
 * off, unless it goes on, without the rows.  Under the
 * state lock, so that the slot's point is not below the feed's position.
 */
extern void wh_snapshot_resync(const WhFeed *feed, const WhFeedTable *table, bool mirror_on);

/* Puts tables in state resync whose row filter is not what it was when they were copied; commits.
 */
extern void wh_snapshot_check_filters(const WhFeed *feed, PGconn *plain);

/* -------- resync.c -------- */

/* Raises while a resync of the feed has begun and is not at its end, as committed now. */
extern void wh_feed_check_resync(const WhFeed *feed);
/*
 * wh_resync_compare brings one table to a snapshot, in the caller's transaction: what differs is
 * logged at its LSN, and the table is ready behind it.  False, and nothing is done, where mirror
 * and log do not lead there.  Under the state lock since before the slot was made.
 */
extern bool wh_resync_compare(const WhFeed *feed, PGconn *plain, const WhFeedTable *table,
							  const WhSourceTable *source, XLogRecPtr lsn);

/* -------- compare.c: which parts of a table differ -------- */

/* Parts of a table: its rows by the first bits of their numbers. */
typedef struct WhParts
{
	bool by_key; /* a number is the key minus the least one; else a hash of the key */
	int64 least;
	int width; /* bits of a number */
	int bits; /* that tell parts apart */
	int count;
	int64 *ids; /* ascending; of the parts that differ, all others are equal */
	double rows; /* that they have together, as it is estimated */
	double all_rows; /* that the table has */
} WhParts;

/* Compares checksums on both sides; the plain connection is in its snapshot, the caller in a
 * transaction that has written nothing.  In the current context. */
extern WhParts *wh_compare_table(const WhFeed *feed, PGconn *plain, const WhFeedTable *table,
								 const WhSourceTable *source);
/* Conditions over the source's columns and over the mirror's, for `count` parts from one on; NULL:
 * all rows. */
extern char *wh_compare_source_condition(PGconn *plain, const WhSourceTable *source,
										 const WhParts *parts, int first, int count);
extern char *wh_compare_mirror_condition(const WhFeedTable *table, const WhSourceTable *source,
										 const WhParts *parts, int first, int count);

/* Whether keys that are equal have the same bytes, so that a row's part is the same on both
 * sides. */
extern bool wh_compare_key_is_exact(const WhFeedTable *table);

/* -------- difference.c: rows of the source against those of the mirror -------- */

typedef struct WhDifference WhDifference;

typedef struct WhDifferenceCounts
{
	int64 inserts;
	int64 updates;
	int64 deletes;
} WhDifferenceCounts;

/* Begins a comparison, in the current context and transaction; what differs is logged at lsn, with
 * places after seq. */
extern WhDifference *wh_difference_begin(const WhFeed *feed, const WhFeedTable *table,
										 const WhSourceTable *source, XLogRecPtr lsn, int64 seq);
/* Takes the source's rows that meet a condition over its columns, NULL for all; their number. */
extern uint64 wh_difference_take(WhDifference *difference, PGconn *plain, const char *condition);
/* Compares what was taken with the mirror's rows that meet a condition over its columns; logs what
 * differs, brings it to the mirror, and says how much it was. */
extern WhDifferenceCounts wh_difference_write(WhDifference *difference, const char *condition);
extern int64 wh_difference_seq(const WhDifference *difference); /* the last place that is taken */
/* Adds to the row that txn has of an LSN at which differences were logged, or makes it. */
extern void wh_difference_log(const WhFeed *feed, XLogRecPtr lsn, TimestampTz commit_time,
							  TimestampTz clock, const WhDifferenceCounts *counts);

/* manage.c: takes the stream lock, or raises; a patient caller waits for a worker that tries in
 * vain. */
extern void wh_feed_take_stream(const WhFeed *feed, bool is_patient);
/* create.c: what time it is at the source */
extern TimestampTz wh_source_time(PGconn *plain);
/* manage.c: waits, and takes interrupts */
extern void wh_feed_pause(long milliseconds);
/* A table by its name at the source; raises when the feed has none. */
extern WhFeedTable *wh_feed_find_table(const WhFeed *feed, const char *name);

/* mirror.c: the models that read a table's mirror, and what drops them; NULL: there are none. */
extern char *wh_mirror_readers(const WhFeedTable *table, char **drops);
/* Raises unless a table has replica identity FULL */
extern void wh_mirror_check_identity(PGconn *plain, const WhFeed *feed, const WhFeedTable *table);

/* -------- target.c: a table of the feed, as ingest sees it -------- */

typedef struct WhTarget
{
	WhFeedTable *table;
	TupleDesc desc; /* the mirror's */
	TupleDesc log_desc;
	int *log_attno; /* mirror column -> log column, both from 0; -1: none */
	int log_natts;
	int *mirror_attno; /* by source attnum: mirror column from 0; -1: none */
	int max_attnum;
	int nkeys;
	int *key; /* mirror columns, from 0 */
	bool is_ready; /* changes are wanted */
	XLogRecPtr partition_from; /* LSNs whose partition of the log is known to be there, */
	XLogRecPtr partition_to; /* while one batch is prepared */
} WhTarget;

/* Both live in the current context, until the catalog's generation changes. */
extern List *wh_target_open_all(const WhFeed *feed);
extern WhTarget *wh_target_open(WhFeedTable *table);
/* What an ingest does with the changes of a source transaction. */
typedef enum WhWant
{
	WH_WANT_NOTHING,
	WH_WANT_COPY, /* the table is being copied: see copied.c */
	WH_WANT_LOG, /* the mirror is off: log them, with the rows as they were from the stream */
	WH_WANT_ALL
} WhWant;

extern WhWant wh_target_want(const WhTarget *target, XLogRecPtr end_lsn);
/* Changes at or below are in the mirror by a copy or a comparison, and are skipped. */
extern XLogRecPtr wh_target_begin(const WhFeedTable *table);
extern bool wh_target_exists(const WhFeedTable *table); /* mirror and log are both there */
/* Whether a relation has the columns that it had when its target was opened. */
extern bool wh_target_has_columns(Relation rel, TupleDesc desc);
/* Mirror and log, which are there, are not as ingest needs them. */
extern bool wh_target_is_altered(const WhFeedTable *table);
/* Whether the first columns of a log, and those of txn, have the types that ingest writes. */
extern bool wh_target_fits_log(Oid log);
extern bool wh_target_fits_txn(Oid txn);
/* What the stream said of a table, in the form that the changelog room compares; relation is a
 * Walhouse__V1__Relation. */
extern WhSourceTable *wh_relation_describe(const void *relation, const WhFeedTable *table);

/* -------- convert.c: wire values into Datums -------- */

/* A row of a mirror: values of its columns. */
typedef struct WhImage
{
	Datum *values;
	bool *nulls;
	bool *unchanged; /* TOAST that was not sent; NULL: none */
} WhImage;

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

/* Reads rows of one definition for one target. */
typedef struct WhReader WhReader;

extern WhReader *wh_reader_create(const WhTarget *target, const void *relation,
								  int source_encoding);
/* In the current context; values that are varlena are copies. */
extern WhImage *wh_reader_read(WhReader *reader, WhChunks *chunks, const uint8_t *data,
							   size_t len);
extern WhImage *wh_image_create(int natts);

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

/* -------- keymap.c: the rows of a table that an ingest touches -------- */

/* A key, and what becomes of its row. */
typedef struct WhRow
{
	Datum *key;
	bool in_mirror; /* at tid */
	ItemPointerData tid;
	WhImage *image; /* the row now; NULL: there is none */
	XLogRecPtr touched; /* end_lsn of the source transaction that changed it last */
	bool is_changed; /* since it was read */
} WhRow;

typedef struct WhKeymap WhKeymap;

extern WhKeymap *wh_keymap_open(const WhTarget *target, Relation mirror);
extern void wh_keymap_close(WhKeymap *map);
/* Empties the map; rows live in the context that is current when they are found. */
extern void wh_keymap_reset(WhKeymap *map);
/* Empties it, but for which keys a transaction has touched: for one by chunks whose rows cannot be
 * kept in the mirror meanwhile. */
extern void wh_keymap_reset_to_touched(WhKeymap *map, XLogRecPtr txn_lsn);
/*
 * wh_keymap_find returns the row of a key, read from the mirror on first sight; with is_new it is
 * not looked for there, because the source says that it is new and the mirror's index will tell
 * otherwise.  txn_lsn marks rows that this very source transaction wrote in an earlier chunk.
 */
extern WhRow *wh_keymap_find(WhKeymap *map, const WhImage *image, bool is_new, XLogRecPtr txn_lsn);
extern bool wh_keymap_same_key(WhKeymap *map, const WhImage *a, const WhImage *b);
/* Whether two images of a table have the same values, byte for byte but for TOAST. */
extern bool wh_keymap_same_image(const WhTarget *target, const WhImage *a, const WhImage *b);
extern List *wh_keymap_rows(WhKeymap *map); /* of WhRow *, in order of first sight */
extern char *wh_keymap_describe(WhKeymap *map, const WhImage *image); /* a key for an error */
/* The image of a mirror's row, in the current context; *tid where it is. */
extern WhImage *wh_keymap_image(const WhTarget *target, TupleTableSlot *slot, ItemPointer tid,
								bool *is_own);

/* -------- copied.c: changes of a table that is being copied -------- */

typedef struct WhCopied WhCopied;

/* Lives in the current context, no longer than the map. */
extern WhCopied *wh_copied_open(const WhTarget *target, WhKeymap *map);
/* Notes what a change makes of the mirror's rows, in the map, and what a chunk may not bring any
 * more; before_is_whole: it is the row as it was, and not its key. */
extern void wh_copied_apply(WhCopied *copied, const WhTransaction *txn, WhImage *after,
							WhImage *before, bool before_is_whole);
/* The table was emptied: whatever it has from now on comes with the stream. */
extern void wh_copied_truncate(WhCopied *copied);
extern void wh_copied_flush(WhCopied *copied);
extern void wh_copied_close(WhCopied *copied);

/* What a snapshot of the source does not see. */
typedef struct WhUnseen
{
	uint64 xmin; /* all transactions before it are seen, or were rolled back */
	uint32 xmax; /* neither this one nor those after it */
	uint32 *xids; /* nor these */
	int count;
} WhUnseen;

/* Has a map, which is empty, hold the keys that a chunk read with a snapshot may not bring: their
 * rows are found as touched by WH_COPIED_MARK. */
#define WH_COPIED_MARK PG_UINT64_MAX
extern void wh_copied_mark(const WhTarget *target, WhKeymap *map, const WhUnseen *unseen);
/* A key that is to be read by itself. */
typedef struct WhOwed
{
	List *key; /* of char * */
	Datum tid; /* in walhouse.feed_copy_key */
} WhOwed;

/* Those that a snapshot may read, a few at a time: of WhOwed *. */
extern List *wh_copied_owed(const WhFeedTable *table, const WhUnseen *unseen);
extern List *wh_copied_key_list(Datum array); /* text[] to List of char * */
/* Forgets what a snapshot has seen, of keys that are owed those that were `read`; the others that
 * are owed are to be read by themselves. */
extern void wh_copied_settle(const WhFeedTable *table, const WhUnseen *unseen, List *read);

/* -------- copychunk.c, copy.c: tables that are copied while the stream goes on -------- */

/* A row of walhouse.feed_copy. */
typedef struct WhCopy
{
	WhFeedTable *table;
	bool begun;
	uint64 starts_after;
	List *boundary; /* of char *; NIL: nothing was read */
	bool all_read;
	XLogRecPtr up_to;
	bool has_owed; /* keys are to be read by themselves */
	int64 chunks; /* that were read */
	int failures;
} WhCopy;

/* The connection that a stream copies through, and the snapshot that is open there. */
typedef struct WhCopier
{
	bool is_wanted; /* tables wait, as known at: */
	uint64 generation;
	TimestampTz pause; /* nothing is done before */
	TimestampTz waits; /* for source transactions that ended too late; 0: for none */
	PGconn *plain; /* NULL: none yet */
	bool is_own_database;
	Oid relid; /* the table at the source whose chunk is to be read; InvalidOid: no snapshot */
	TimestampTz opened;
	XLogRecPtr lsn; /* all that the snapshot sees ends at or below */
	char *file; /* the table's at the source, as the snapshot was taken */
	WhUnseen unseen;
	MemoryContext context; /* of file and unseen */
	int rows; /* that the next chunk has at most */
} WhCopier;

/* A chunk as it was read. */
typedef struct WhChunkRead
{
	List *boundary; /* of char *: key of its last row; NIL: there is nothing behind it */
	uint64 rows;
	uint64 excluded; /* that the stream had brought, or taken away */
	uint64 bytes;
	int64 took; /* µs, for its rows alone */
} WhChunkRead;

/* Reads a chunk in the snapshot that is open, and adds to the mirror what it lacks. */
extern void wh_chunk_read(WhCopier *copier, const WhFeed *feed, const WhCopy *copy,
						  const WhSourceTable *source, WhChunkRead *read);

/* Has tables that are in state copy copied by chunks, and tries again at once what failed. */
extern void wh_copier_pend(const WhFeed *feed);
extern void wh_copier_insert(const WhFeedTable *table, const char *command);
/* The copy begins anew; what it has brought is given up then. */
extern void wh_copier_restart(const WhFeedTable *table);
/* The same of all that are under way: the stream has a gap. */
extern void wh_copier_restart_all(const WhFeed *feed);
/* Forgets the copy of a table that was copied otherwise. */
extern void wh_copier_forget(const WhFeedTable *table);
/* Does the next step of a copy, if one is due, in transactions of its own; true when it did. */
extern bool wh_copier_step(WhStream *stream);
/* Says whether a copy only waits for the stream to come further: then who waits looks often. */
extern bool wh_copier_is_wanted(const WhStream *stream);
extern void wh_copier_close(WhStream *stream);
/* A place where a process stands still, for tests. */
extern void wh_copier_point(const char *name);

/* -------- ingest.c -------- */

/* A definition that the stream brought. */
typedef struct WhDefinition
{
	int32 schema; /* hash key */
	Oid relid;
	WhSlice packed; /* a Relation message */
	WhTarget *target; /* NULL: not a table of the feed */
	WhReader *reader; /* NULL: not made yet */
	bool is_settled; /* mirror and log fit it */
} WhDefinition;

typedef struct WhIngest
{
	const WhFeed *feed;
	List *transactions; /* of WhTransaction *: one large one, or several */
	WhDefinition *(*definition)(void *stream, int32 schema);
	void *stream;
	void (*breathe)(void *stream); /* called now and then: a large transaction takes its time */
	int source_encoding;
	MemoryContext chunk; /* empty; keeps some of its memory from one ingest to the next */
	TimestampTz clock; /* in: the feed's clock; out: the new one */
	const List *ahead; /* see ahead.c */
	TimestampTz source_time; /* of the last message */
	uint64 logged; /* out: rows in the log */
	WhTarget *current; /* the table at work, for errors */
} WhIngest;

/* Does steps 2 to 6 but the position, in the current subtransaction; body for wh_txn_try. */
extern void wh_ingest(void *ingest);

/* -------- stream.c, receive.c, batch.c, definitions.c: an open stream -------- */

#define WH_CONFIRM_SLOTS 64

struct WhStream
{
	WhFeed *feed;
	MemoryContext context; /* all below; NULL once it is closed */
	PGconn *conn;
	int source_encoding;
	XLogRecPtr position; /* committed here */
	TimestampTz clock;
	XLogRecPtr received; /* where the last message stands in the source's WAL */
	XLogRecPtr source_lsn; /* as far as the source said that its WAL goes */
	XLogRecPtr idle_lsn; /* nothing for us up to here, beyond what was ingested */
	TimestampTz source_time; /* of the last message */
	HTAB *definitions;
	WhTransaction
		*current; /* that entries belong to now: one whose commit has not come, or one of open */
	List *open; /* of WhTransaction *: streamed ones that are neither committed nor aborted */
	Size spooled; /* bytes that all transactions have in memory */
	uint64 streamed; /* transactions that came in segments, since the stream was opened */
	uint64 spilled; /* those that went to a file */
	uint64 spilled_bytes;
	WhInflated inflated; /* the last batch that was compressed */
	List *complete; /* of WhTransaction *: to be ingested */
	int64 complete_changes;
	Size complete_bytes;
	TimestampTz complete_since;
	MemoryContext chunk; /* of images, while an ingest runs */
	MemoryContext target_context;
	List *targets; /* of WhTarget * */
	uint64 generation; /* that the targets were read at */
	uint64 ingests;
	XLogRecPtr pruned; /* positions below were removed in this session */
	bool session_is_durable; /* the session row is committed and flushed */
	/* positions that are committed, and the local WAL that must be flushed before they are
	 * confirmed */
	XLogRecPtr confirm_source[WH_CONFIRM_SLOTS];
	XLogRecPtr confirm_local[WH_CONFIRM_SLOTS];
	int confirms;
	XLogRecPtr confirmed;
	XLogRecPtr reported; /* what the source was told last */
	TimestampTz reported_at;
	TimestampTz heard; /* when the last message came */
	int64 waited; /* for the source, µs */
	TimestampTz urged_at; /* it last wanted a reply */
	bool is_urged; /* it wanted another one at once */
	TimestampTz idle_stored_at;
	TimestampTz asked_at;
	bool is_asked; /* the source, how far it is; its answer has not come */
	WhCopier copier;
	List *ahead; /* see ahead.c, */
	uint64 ahead_generation; /* as known at */
};

/* -------- ahead.c: what resync_table has logged above the position -------- */

/* The stream's list of it, looked at again when the catalog changed. */
extern const List *wh_ahead_of(WhStream *stream);
/* The feed's clock where it was `clock`, at an LSN behind some of them. */
extern TimestampTz wh_ahead_clock(const List *ahead, XLogRecPtr lsn, TimestampTz clock);
/* The next one's LSN; InvalidXLogRecPtr: none is above the position. */
extern XLogRecPtr wh_ahead_next(const WhStream *stream);

extern void wh_stream_init(void);
/* receive.c: takes a message's entries, and libpq's buffer. */
extern void wh_stream_take_message(WhStream *stream, char *buffer, int start, int len);
/* Frees all transactions that were not ingested. */
extern void wh_stream_discard(WhStream *stream);
/* Ingests what is complete, or as much as may go into one transaction. */
extern void wh_stream_ingest(WhStream *stream);
/* Tells the source that somebody is there, when it is time; raises nothing. */
extern void wh_stream_breathe(void *stream);
/* Stores a position that nothing was logged for. */
extern void wh_stream_store_idle(WhStream *stream);
/* Remembers that a position was committed just now. */
extern void wh_stream_note_commit(WhStream *stream, XLogRecPtr position);
extern WhDefinition *wh_stream_definition(void *stream, int32 schema);
/* Reads the feed's tables again when the catalog changed; definitions are to be looked at again
 * then. */
extern void wh_stream_load_targets(WhStream *stream);
/* definitions.c: brings mirrors to what a transaction leaves of definitions; true when something
 * was committed for it, or, with only_look, when something would have to be looked at. */
extern bool wh_stream_settle(WhStream *stream, WhTransaction *txn, bool only_look);
/* Whether a transaction's changes under a definition are to be ingested. */
extern bool wh_stream_wants(const WhTransaction *txn, const WhDefinition *definition);
/* Finds the table that a definition is about. */
extern void wh_stream_connect_definition(WhStream *stream, WhDefinition *definition);

#endif /* WH_FEED_PRIVATE_H */
