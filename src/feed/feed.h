/*
 * feed.h
 *		The stream of a feed, and its ingest.
 */
#ifndef WH_FEED_H
#define WH_FEED_H

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"

#include "changelog/changelog.h"

extern void wh_feed_init(void);

/* An open stream of a feed: connection, decoder, spool.  Owned by who holds the stream lock. */
typedef struct WhStream WhStream;

/*
 * wh_feed_open takes the stream lock, checks that the feed may run here (ids, timeline, slot
 * against position), finishes tables in state copy, commits a session row synchronously, and
 * starts replication from the position.  Between transactions (wh_txn_open was called).  Raises,
 * with the lock released, when something does not fit; *holder is set and NULL returned when
 * somebody else has the stream.
 */
extern WhStream *wh_feed_open(WhFeed *feed, int *holder);

/*
 * wh_feed_poll receives and ingests: returns after at most one ingest transaction that was
 * committed, or when nothing came for timeout_ms (0: do not wait, -1: for ever; it also returns
 * when the process latch is set, and when the source has answered what wh_feed_reached asked).
 * Sends feedback when due.  No transaction state is held while it waits.  Returns true when the
 * feed's position moved.
 */
extern bool wh_feed_poll(WhStream *stream, long timeout_ms);

/*
 * wh_feed_gather says whether ingests are to be large from now on: then one begins when it is full,
 * or when for a moment nothing has come.
 */
extern void wh_feed_gather(WhStream *stream, bool gathers);

/* The position that is committed here, and how far the source said its WAL goes. */
extern XLogRecPtr wh_feed_position(const WhStream *stream);
extern XLogRecPtr wh_feed_source_lsn(const WhStream *stream);

/* What an open stream tells of itself. */
typedef struct WhStreamStatus
{
	XLogRecPtr received; /* where the last message stands in the source's WAL */
	XLogRecPtr confirmed; /* durable here, and told to the source */
	TimestampTz heard; /* when the last message came */
	int open; /* transactions that come in segments and are not at their end */
	uint64 streamed; /* transactions that came in segments, since the stream was opened */
	uint64 spilled; /* those that went to a temporary file, and their bytes */
	uint64 spilled_bytes;
	int64 ingests; /* since the stream was opened */
	int64 waited; /* for the source, µs */
} WhStreamStatus;

extern WhStreamStatus wh_feed_status(const WhStream *stream);

/* Asks the source for its current WAL position: the target of run(). */
extern XLogRecPtr wh_feed_current_source_lsn(WhFeed *feed);

/*
 * wh_feed_reached says whether everything up to lsn is in: position ≥ lsn, or the source says
 * that nothing is between. With store, the idle progress is stored so that position ≥ lsn from
 * then on.
 */
extern bool wh_feed_reached(WhStream *stream, XLogRecPtr lsn, bool store);

/*
 * What set_mirror() consists of.  wh_feed_check_mirror checks whether a table's mirror, by the
 * name of the table at the source, can be switched off or on; false, with a notice, when it is so
 * already. wh_feed_switch_mirror does it, and commits, once the feed has all that the source had
 * committed at the check.
 */
extern bool wh_feed_check_mirror(const WhFeed *feed, const char *table, bool on);
extern void wh_feed_switch_mirror(const WhFeed *feed, const char *table, bool on);

/* Closes the stream: last feedback of what is flushed, connection, spool, stream lock.  Never
 * raises. */
extern void wh_feed_close(WhStream *stream);

#endif /* WH_FEED_H */
