/*
 * copy.h
 *		Tables of a feed that are brought to their source: copied, also while the stream goes on,
 *		or compared.
 */
#ifndef WH_COPY_H
#define WH_COPY_H

#include "copy/rows.h"
#include "source/source.h"

extern int wh_feed_memory; /* kB, of rows and messages */

extern void wh_copy_init(void);

/* -------- snapshot.c -------- */

/*
 * wh_snapshot_resync brings a table to the point of a temporary slot, and commits: by what
 * differs (wh_resync_compare), or it is copied again: mirror, sync_lsn, state; of a table whose
 * mirror is off, unless it goes on, without the rows.  Under the state lock, so that the slot's
 * point is not below the feed's position.
 */
extern void wh_snapshot_resync(const WhFeed *feed, const WhFeedTable *table, bool mirror_on);
/* Puts tables in state resync whose row filter is not what it was when they were copied; commits.
 */
extern void wh_snapshot_check_filters(const WhFeed *feed, PGconn *plain);

/* -------- copied.c: changes of a table that is being copied -------- */

typedef struct WhCopied WhCopied;

/* Lives in the current context, no longer than the map. */
extern WhCopied *wh_copied_open(const WhTarget *target, WhKeymap *map);
/* Notes what a change, of a source transaction, makes of the mirror's rows, in the map, and what
 * a chunk may not bring any more; before_is_whole: it is the row as it was, and not its key. */
extern void wh_copied_apply(WhCopied *copied, uint32 xid, XLogRecPtr end_lsn, WhImage *after,
							WhImage *before, bool before_is_whole);
/* The table was emptied: whatever it has from now on comes with the stream. */
extern void wh_copied_truncate(WhCopied *copied);
extern void wh_copied_flush(WhCopied *copied);
extern void wh_copied_close(WhCopied *copied);

/* -------- copy.c, copier.c: tables that are copied while the stream goes on -------- */

/* Has tables that are in state copy copied by chunks, and tries again at once what failed. */
extern void wh_copier_pend(const WhFeed *feed);
extern void wh_copier_insert(const WhFeedTable *table, const char *command);
/* The copy begins anew; what it has brought is given up then. */
extern void wh_copier_restart(const WhFeedTable *table);

/* What a snapshot of the source does not see. */
typedef struct WhUnseen
{
	uint64 xmin; /* all transactions before it are seen, or were rolled back */
	uint32 xmax; /* neither this one nor those after it */
	uint32 *xids; /* nor these */
	int count;
} WhUnseen;

/* The connection that a stream copies through, and the snapshot that is open there. */
typedef struct WhCopier
{
	/* what the stream tells of itself: */
	const WhFeed *feed;
	void *stream;
	bool (*reached)(void *stream, XLogRecPtr lsn, bool store);
	const XLogRecPtr *position;
	MemoryContext context; /* of unseen */
	/* the rest is the copier's, and 0 at first: */
	bool is_wanted; /* tables wait, as known at: */
	uint64 generation;
	TimestampTz pause; /* nothing is done before */
	TimestampTz waits; /* for source transactions that ended too late; 0: for none */
	PGconn *plain; /* NULL: none yet */
	bool is_own_database;
	Oid relid; /* the table at the source whose chunk is to be read; InvalidOid: no snapshot */
	TimestampTz opened;
	XLogRecPtr lsn; /* all that the snapshot sees ends at or below */
	Oid file; /* the table's at the source, as the snapshot was taken */
	WhUnseen unseen;
	int64 blocks; /* that the next chunk has at most */
} WhCopier;

/* Does the next step of a copy, if one is due, in transactions of its own; true when it did. */
extern bool wh_copier_step(WhCopier *copier);
/* Says whether a copy only waits for the stream to come further: then who waits looks often. */
extern bool wh_copier_is_wanted(const WhCopier *copier);
extern void wh_copier_close(WhCopier *copier);
/* A place where a process stands still, for tests. */
extern void wh_copier_point(const char *name);
/* Whether tables are to be copied through a feed's stream, other than such as have failed. */
extern bool wh_feed_is_copying(int32 feed_id);

/* -------- crew.c: first copies, in one snapshot -------- */

/* Has all tables copied, from the feed's horizon on: ranges that wh_crew_copy does not bring are
 * read when source transactions before an xid have ended. */
extern void wh_crew_enlist(const WhFeed *feed, uint64 xid);
/* Copies them, in transactions of its own; the plain connection is in the horizon's snapshot. */
extern void wh_crew_copy(const WhFeed *feed, PGconn *plain);

#endif /* WH_COPY_H */
