/*
 * ingest_private.h
 *		An ingest at work: ingest.c walks the changes, apply.c does what they say.
 */
#ifndef WH_FEED_INGEST_PRIVATE_H
#define WH_FEED_INGEST_PRIVATE_H

#include "changelog/changelog.h"
#include "feed/feed_private.h"

/* A table at work. */
typedef struct WhWorkTable
{
	WhTarget *target;
	bool is_mirrored;
	bool is_truncated; /* without its mirror: the log begins anew */
	WhAppend *mirror;
	WhAppend *log;
	XLogRecPtr log_from; /* the range of LSNs that the open partition of the log has */
	XLogRecPtr log_to;
	WhKeymap *map;
	WhCopied *copied; /* it is being copied: its changes are not logged; else NULL */
} WhWorkTable;

typedef struct WhWork
{
	WhIngest *ingest;
	WhTransaction *txn; /* being walked */
	bool by_chunks;
	MemoryContext context; /* of the whole */
	MemoryContext chunk; /* of images, until the mirror is written */
	Size kept; /* bytes that it has when it is empty */
	List *tables; /* of WhWorkTable * */
	WhAppend *txns;
	WhChunks *chunks; /* pieces of values whose row is to come */
	WhTallies *tallies;
	uint64 changes;
	uint64 logged_before; /* when the transaction began */
	int64 operations[3]; /* of its changes that are wanted: inserts, updates, deletes */
	int32 truncates;
} WhWork;

/* -------- apply.c -------- */

/* Logs a row that comes into being. */
extern void wh_apply_insert(WhWork *work, WhWorkTable *table, int64 seq, WhImage *image);
extern void wh_apply_update(WhWork *work, WhWorkTable *table, int64 seq, WhImage *after,
							WhImage *before);
extern void wh_apply_rewritten(WhWork *work, WhWorkTable *table, int64 seq, WhImage *now);
extern void wh_apply_delete(WhWork *work, WhWorkTable *table, int64 seq, WhImage *before);
extern void wh_apply_truncate(WhWork *work, WhWorkTable *table, int64 seq);
/* Without the mirror the stream must bring the row as it was: else raises. */
extern void wh_apply_check_before(const WhWorkTable *table, WhOp op, WhBeforeKind before_kind);
/* Brings logs and mirrors to what the maps hold, and empties them. */
extern void wh_apply_end_chunk(WhWork *work);
/* Empties the mirrors that are off, at the end. */
extern void wh_apply_end_unmirrored(WhWork *work);

#endif /* WH_FEED_INGEST_PRIVATE_H */
