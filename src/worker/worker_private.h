/*
 * worker_private.h
 *		What the files of worker/ share: the shared memory, and the steps that worker and run() have
 * in common.
 */
#ifndef WH_WORKER_PRIVATE_H
#define WH_WORKER_PRIVATE_H

#include "changelog/changelog.h"
#include "datatype/timestamp.h"
#include "copy/copy.h"
#include "feed/feed.h"
#include "postmaster/bgworker.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

#define WH_MAX_BUILDS 8 /* build workers of a feed at a time, at most */
#define WH_START_LIMIT_MS \
	30000 /* a process that was registered and has not come by then never will */

typedef enum WhProcess
{
	WH_PROCESS_NONE,
	WH_PROCESS_STARTING, /* registered, not attached yet */
	WH_PROCESS_RUNNING
} WhProcess;

/* A build worker of a feed, or one that failed and may be tried again at not_before. */
typedef struct WhBuildSlot
{
	int32 model_id; /* 0: free */
	WhProcess process;
	pid_t pid;
	TimestampTz launched;
	int failures;
	TimestampTz not_before;
} WhBuildSlot;

/*
 * A feed's place in shared memory.  Filled by the database worker that finds the feed enabled,
 * freed by the launcher when it is not wanted and nothing runs for it.  The generation tells a
 * late process that its slot has gone to somebody else.
 */
typedef struct WhSlot
{
	bool in_use;
	bool wanted;
	uint32 generation;
	Oid database;
	int32 feed_id;
	Oid owner;
	char name[NAMEDATALEN];

	WhProcess process;
	pid_t pid;
	Latch *latch; /* of the running worker */
	TimestampTz launched;
	TimestampTz next_start;
	int failures; /* in a row; a round with changes, or a minute of health, ends the row */
	char activity[128];
	char error[512];
	TimestampTz error_time;

	XLogRecPtr wait_lsn; /* somebody waits for this position … */
	TimestampTz wait_until; /* … and says so again before this time */

	XLogRecPtr source_lsn;
	XLogRecPtr position;
	bool caught_up;
	int64 ingests;
	int64 loads;
	WhStreamStatus stream;

	bool build_ended; /* since the worker last looked */
	WhBuildSlot builds[WH_MAX_BUILDS];
	WhBuildSlot verification; /* the one that is under way */
	WhBuildSlot loader; /* the load worker */
	Latch *loader_latch;
	bool load_asked; /* models are behind, and nobody has begun a load since that was known */
	bool loads_are_long; /* the load worker's */
	ConditionVariable moved; /* the feed or its models have a new position */
} WhSlot;

/* The one visit of a database that is under way. */
typedef struct WhVisit
{
	Oid database;
	WhProcess process;
	TimestampTz launched;
	bool over;
	bool succeeded;
} WhVisit;

/* A database with partition sets: when the next step is due there, and who does it. */
typedef struct WhHouse
{
	Oid database; /* InvalidOid: free */
	TimestampTz due; /* DT_NOEND: never */
	WhProcess process;
	pid_t pid;
	TimestampTz launched;
	int failures;
} WhHouse;

/* Everything is guarded by the lock. */
typedef struct WhShared
{
	LWLock *lock;
	Latch *launcher; /* NULL: does not run */
	uint32 generation; /* last one given out */
	WhVisit visit;
	bool visit_all;
	int nrequests;
	Oid *requests; /* databases whose feeds changed; max_feeds places, then visit_all */
	WhHouse *houses; /* max_feeds places */
	int nslots;
	WhSlot slots[FLEXIBLE_ARRAY_MEMBER];
} WhShared;

/* What a worker finds in bgw_extra. */
typedef struct WhTicket
{
	int slot;
	uint32 generation;
	Oid database;
	Oid owner;
	int32 feed_id;
	int32 model_id;
	Oid parent; /* of a partition set */
	TimestampTz at;
} WhTicket;

/* walhouse.parallel_load: whether a process of its own brings a feed's models on. */
typedef enum WhParallelLoad
{
	WH_PARALLEL_OFF,
	WH_PARALLEL_AUTO, /* while the source leaves little time */
	WH_PARALLEL_ALWAYS
} WhParallelLoad;

/* Settings. */
extern int wh_worker_max_feeds;
extern int wh_worker_max_build_workers;
extern int wh_worker_verify_interval; /* s; 0: never */
extern int wh_worker_verify_sample; /* keys */
extern bool wh_worker_enabled;
extern int wh_worker_parallel_load; /* WhParallelLoad */

/* -------- slots.c -------- */
extern WhShared *wh_shared; /* NULL without shared_preload_libraries */
extern void wh_slots_init(void);
extern WhSlot *wh_slots_find(Oid database, int32 feed_id); /* under the lock */
extern bool wh_slots_want(Oid database, int32 feed_id, Oid owner,
						  const char *name); /* under the lock */
extern void wh_slots_reset(WhSlot *slot); /* under the lock */
/* wh_slots_ticket is what a process for a feed is given; under the lock. */
extern WhTicket wh_slots_ticket(const WhSlot *slot);
extern bool wh_slots_room_for(Oid database, int32 feed_id);
extern int64 wh_slots_backoff_ms(int failures);
extern void wh_slots_request_visit(Oid database);
extern void wh_slots_wake_launcher(void);
extern bool wh_slots_wish(int32 feed_id, XLogRecPtr lsn, ConditionVariable **moved);

/* -------- start.c: registering processes -------- */
extern bool wh_start_process(const char *kind, const char *title, const char *function,
							 const WhTicket *ticket, BackgroundWorkerHandle **handle);
extern void wh_start_ticket(WhTicket *ticket);

/* -------- commands.c -------- */
extern void wh_commands_init(void);
/* wh_commands_visit_at_commit has the launcher look at this database when the transaction
 * commits. */
extern void wh_commands_visit_at_commit(void);

/* -------- partition.c -------- */
/* wh_houses_set_due says when a step of partitions is due in a database; DT_NOEND frees its
 * place. */
extern void wh_houses_set_due(Oid database, TimestampTz due);
/* wh_houses_tend starts, or ends, the launcher's partition workers; true when no process was to be
 * had. */
extern bool wh_houses_tend(TimestampTz now);
extern TimestampTz wh_houses_next(TimestampTz now);

/* -------- build.c -------- */
extern void wh_build_start_pending(WhSlot *slot, const WhFeed *feed);

/* -------- loader.c -------- */
/* wh_loader_start_due starts a feed's load worker, if it is to have one now and has none.
 * is_busy: its source leaves the feed worker little time. */
extern void wh_loader_start_due(WhSlot *slot, const WhFeed *feed, bool is_busy);
/* wh_loader_may_start says that a feed has no load worker, and would get one if it were busy. */
extern bool wh_loader_may_start(WhSlot *slot);
/* wh_loader_is_behind says that a load worker falls behind: its loads become long. */
extern bool wh_loader_is_behind(WhSlot *slot);
/*
 * wh_loader_takes says that the caller has nothing to load: a load worker does what is due, or
 * nothing is.  is_due: something may have become so.
 */
extern bool wh_loader_takes(WhSlot *slot, bool is_due);

/* -------- verify.c -------- */
/*
 * wh_verify_start_due starts a process that verifies the model of a feed whose turn it is, if one
 * is due; of a feed that is not idle, only if it is overdue by an interval.  Returns when to ask
 * again.
 */
extern TimestampTz wh_verify_start_due(WhSlot *slot, const WhFeed *feed, bool is_idle);

/* -------- round.c: what worker and procedures have in common -------- */
/* Ingest goes on for so long while more bytes wait, before the models get their turn. */
#define WH_ROUND_MS 200
extern bool wh_round_ingest(WhStream *stream, long timeout_ms, long most_ms, bool *goes_on);
/*
 * wh_round_follow waits while another process reads a feed's stream: true when is_reached says that
 * it has brought everything to the target, false when it has left before.
 */
extern bool wh_round_follow(const WhFeed *feed, XLogRecPtr target,
							bool (*is_reached)(const WhFeed *feed, XLogRecPtr target));
extern bool wh_round_reached(int32 feed_id, XLogRecPtr lsn);
extern bool wh_round_retry_due(int32 feed_id);
extern bool wh_round_built(int32 feed_id);

#endif /* WH_WORKER_PRIVATE_H */
