/*
 * worker.h
 *		Launcher, feed workers, build workers, and run().
 */
#ifndef WH_WORKER_H
#define WH_WORKER_H

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

#include "feed/feed.h"

extern void wh_worker_init(void);

/* What shared memory knows of a feed's worker in this database; a copy. */
typedef struct WhWorkerInfo
{
	int32 feed_id;
	int pid; /* 0: does not run now */
	const char *state; /* starting, running, waiting to restart, stopping */
	char *activity; /* what it does, as in pg_stat_activity */
	TimestampTz started; /* 0: never */
	TimestampTz next_start; /* when it is restarted after a failure; 0: not waiting for that */
	int failures; /* in a row */
	Oid owner; /* of the feed */
	char *error; /* of the last failure since the server's start; NULL: none */
	TimestampTz error_time;
	XLogRecPtr source_lsn; /* how far the source said its WAL goes */
	XLogRecPtr position;
	bool caught_up; /* nothing of the source waits to be ingested, as far as it told */
	int64 ingests; /* rounds in which the position moved, since the worker's start */
	int64 loads; /* loads that moved a model, since the worker's start */
	int builds; /* build workers that run */
	WhStreamStatus stream; /* since it was opened */
} WhWorkerInfo;

/* wh_worker_list lists what runs, or should, for feeds of this database; NIL without
 * shared_preload_libraries. */
extern List *wh_worker_list(void);

/* Whether the server has preloaded walhouse, so that there are workers. */
extern bool wh_worker_is_preloaded(void);

#endif /* WH_WORKER_H */
