/*
 * copy_private.h
 *		What the files of this room share.
 */
#ifndef WH_COPY_PRIVATE_H
#define WH_COPY_PRIVATE_H

#include "copy/copy.h"

extern int wh_feed_chunk_rows;
extern int wh_feed_copy_processes;
extern int wh_feed_snapshot_time; /* s; 0: no limit */

/* -------- snapshot.c -------- */

/* A column by its attnum at the source; one that the catalog does not have is an error. */
extern WhFeedColumn *wh_snapshot_column(const WhFeedTable *table, int attnum);

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
/* Copies a table's rows that meet a condition over its columns, NULL for all, into its mirror, in
 * the caller's transaction; the mirror has none of them.  Returns the number of rows, *bytes how
 * much came. */
extern uint64 wh_snapshot_copy(const WhFeed *feed, PGconn *plain, const WhFeedTable *table,
							   const WhSourceTable *source, const char *condition, uint64 *bytes);
/* Raises where what was read of a table in the transaction that is open may not be what its
 * snapshot has: it is in another file by now, or has other names. */
extern void wh_snapshot_check(PGconn *plain, const WhSourceTable *source);
/* Whether a table is defined, and published, at the source as mirror and log know it. */
extern bool wh_snapshot_is_defined_so(const WhFeedTable *table, const WhSourceTable *source);
/*
 * wh_snapshot_read hands over the source's rows that meet a condition over its columns, NULL for
 * all: values in the order of the source's columns, of the mirror's types, valid for the call.
 */
typedef void (*WhRowTaker)(void *arg, const Datum *values, const bool *nulls);

extern uint64 wh_snapshot_read(const WhFeed *feed, PGconn *plain, const WhFeedTable *table,
							   const WhSourceTable *source, const char *condition,
							   WhRowTaker take, void *arg);

/* -------- resync.c: one table -------- */

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
	int64 seed; /* of the hashes of this comparison */
	int64 null; /* what stands for NULL in them, by chance */
	char null_text[33]; /* hexadecimal */
} WhParts;

/* Compares checksums on both sides; the plain connection is in its snapshot, the caller in a
 * transaction that has written nothing.  In the current context. */
extern WhParts *wh_compare_table(const WhFeed *feed, PGconn *plain, const WhFeedTable *table,
								 const WhSourceTable *source);
/* Conditions over the source's columns and over the mirror's, for `count` parts from one on; NULL:
 * all rows. */
extern char *wh_compare_source_condition(PGconn *plain, const WhSourceTable *source,
										 const WhParts *parts, int first, int count);
extern char *wh_compare_mirror_condition(PGconn *plain, const WhFeedTable *table,
										 const WhSourceTable *source, const WhParts *parts,
										 int first, int count);

/* Whether keys that are equal have the same bytes, so that a row's part is the same on both
 * sides. */
extern bool wh_compare_key_is_exact(const WhFeedTable *table);

/* -------- rowhash.c: the hash of a row -------- */

#define WH_NUMBER_BITS 62
#define WH_NUMBER_MASK ((INT64CONST(1) << WH_NUMBER_BITS) - 1)

/* One side of a comparison. */
typedef struct WhSide
{
	const WhSourceTable *source;
	const WhFeedTable *table; /* NULL: the source's side */
	bool converts; /* the source has another encoding: texts are hashed as this database has them */
	const WhParts *parts; /* how rows are numbered */
} WhSide;

/* The one column of a key that is an integer; NULL: there is none. */
extern const WhSourceColumn *wh_row_integer_key(const WhSourceTable *source);
extern const char *wh_side_name(const WhSide *side, const WhSourceColumn *column);
/* Expressions over a side's columns: a row's number, and its hash, both int8. */
extern char *wh_row_number_sql(const WhSide *side);
extern char *wh_row_hash_sql(const WhSide *side);
/* A column as its type's output function writes it: what a cast to text leaves out is anybody's. */
extern char *wh_row_output_sql(const char *name);

/* The same in C, of rows of the mirror; in the current context. NULL: SQL alone can do it. */
typedef struct WhRowHasher WhRowHasher;

struct TupleTableSlot;
extern WhRowHasher *wh_row_hasher(const WhSide *side, Relation mirror);
extern uint64 wh_row_hash(const WhRowHasher *hasher, struct TupleTableSlot *slot, int64 *number);

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

/* -------- copied.c -------- */

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
/* Forgets what a snapshot has seen, of keys that are owed those that were `read`. */
extern void wh_copied_settle(const WhFeedTable *table, const WhUnseen *unseen, List *read);

/* -------- copier.c, copychunk.c, copy.c -------- */

/* A row of walhouse.feed_copy. */
typedef struct WhCopy
{
	WhFeedTable *table;
	bool begun;
	uint64 starts_after;
	Oid file; /* that its ranges were read in; InvalidOid: none was */
	int64 first; /* blocks of the next range that was not read, */
	int64 end; /* and the one behind them; 0, 0: there is none, or the file is not known */
	bool all_read;
	XLogRecPtr up_to;
	bool has_owed; /* keys are to be read by themselves */
	int64 chunks; /* that were read */
	int failures;
} WhCopy;

/* A chunk as it was read. */
typedef struct WhChunkRead
{
	int64 first; /* blocks, */
	int64 end; /* and the one behind them */
	uint64 rows;
	uint64 excluded; /* that the stream had brought, or taken away */
	uint64 bytes;
	int64 took; /* µs, for its rows alone */
} WhChunkRead;

/* Reads a chunk in the snapshot that is open, and adds to the mirror what it lacks. */
extern void wh_chunk_read(WhCopier *copier, const WhFeed *feed, const WhCopy *copy,
						  const WhSourceTable *source, WhChunkRead *read);
/* A condition at the source: rows in blocks from first on, before end. */
extern char *wh_range_condition(int64 first, int64 end);
/* Notes a range that was read, exact from a position on. */
extern void wh_copier_store(const WhFeedTable *table, const WhChunkRead *read, XLogRecPtr lsn);

/* The same of all that are under way: the stream has a gap. */
extern void wh_copier_restart_all(const WhFeed *feed);
/* Forgets the copy of a table that was copied otherwise. */
extern void wh_copier_forget(const WhFeedTable *table);

#endif /* WH_COPY_PRIVATE_H */
