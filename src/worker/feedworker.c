/*
 * feedworker.c
 *		The feed worker: one process for each feed that is started, with the rights of the feed's
 * owner.
 *
 * Its loop is a round: wait for the source, ingest what came, bring the models on, start builds
 * that wait, tell who waits.  While the source sends without a pause, a load worker brings the
 * models on beside it (loader.c).  Every step commits its own transactions and is repeatable, so
 * the process may die anywhere.  While it waits it has a transaction without xid and snapshot, and
 * the feed's stream lock; nothing that vacuum or DDL would wait for.
 *
 * SIGTERM ends it wherever it is.  An error ends it too: it is logged, stored in walhouse.feed in
 * a transaction of its own, and the launcher starts another process after a while.  So no state
 * survives an error, and there is one way to recover.
 *
 * Once a second, while nothing comes, it looks whether the feed is still started and whether
 * models wait for a build or another try; that is three index probes.  Once a minute it also
 * looks whether a model is due to be verified (verify.c).
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/pmsignal.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "load/load.h"
#include "worker/worker.h"
#include "worker/worker_private.h"

#define LOOK_MS 1000
#define COMPARE_MS 10000
#define SUMMARIZE_MS 600000
#define WAITED_FOR_MS 10
#define HEALTHY_MS 60000
#define MEASURE_MS 1000
#define BUSY_INGESTS 3
/* So long it ingests before it sees that it is busy, and has a load worker started. */
#define FIRST_ROUND_MS 40

/* The process's own state. */
typedef struct Worker
{
	WhTicket ticket;
	WhSlot *slot;
	WhFeed *feed;
	WhStream *stream;
	MemoryContext life; /* of feed and stream */
	MemoryContext round; /* reset at the start of each round */
	TimestampTz looked; /* when it last looked at the catalog */
	TimestampTz compared; /* when it last compared the models with the feed */
	TimestampTz summarized; /* when it last added up old loads */
	TimestampTz verify_at; /* when it asks again which model is due to be verified */
	int verify_interval; /* that this was worked out with */
	TimestampTz measured; /* when it last worked out whether it is busy … */
	WhStreamStatus status; /* … and the stream's status then */
	bool is_idle; /* the last round had nothing to do */
	bool build_ended; /* since it last looked at the catalog */
	bool load_due; /* models may be behind the feed's position */
	bool finished; /* the feed is no longer started */
} Worker;

extern PGDLLEXPORT void wh_worker_feed_main(Datum arg);

static bool attach(Worker *worker);
static void leave(int code, Datum arg);
static void work(Worker *worker);
static bool open_stream(Worker *worker);
static WhFeed *read_feed(Worker *worker);
static void do_round(Worker *worker);
static bool is_busy(Worker *worker, bool goes_on);
static long patience_ms(Worker *worker);
static bool must_look(Worker *worker);
static void serve_waiters(Worker *worker, XLogRecPtr wait_lsn);
static void look_around(Worker *worker);
static void start_verification(Worker *worker);
static void publish(Worker *worker, bool ingested, bool goes_on, bool loaded);
static XLogRecPtr wished_lsn(Worker *worker);
static void say(Worker *worker, BackendState state, const char *what);
static void clear_error(Worker *worker);
static void keep_error(Worker *worker);
static void reload_settings(void);

static Worker me;

void
wh_worker_feed_main(Datum arg)
{
	wh_process_signals();
	wh_start_ticket(&me.ticket);
	if (!attach(&me))
		proc_exit(0);
	on_shmem_exit(leave, (Datum) 0);
	wh_process_connect(me.ticket.database, me.ticket.owner);
	PG_TRY();
	{
		work(&me);
	}
	PG_CATCH();
	{
		keep_error(&me);
		proc_exit(1);
	}
	PG_END_TRY();
	proc_exit(0);
}

/* attach takes the slot; false when it belongs to somebody else by now, or the feed is not to run
 * any more. */
static bool
attach(Worker *worker)
{
	WhSlot *slot = &wh_shared->slots[worker->ticket.slot];
	bool mine;

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	mine = slot->in_use && slot->generation == worker->ticket.generation &&
		   slot->process == WH_PROCESS_STARTING;
	if (mine && !slot->wanted)
	{
		slot->process = WH_PROCESS_NONE;
		mine = false;
	}
	if (mine)
	{
		slot->process = WH_PROCESS_RUNNING;
		slot->pid = MyProcPid;
		slot->latch = MyLatch;
		slot->launched = GetCurrentTimestamp();
		slot->ingests = 0;
		slot->loads = 0;
		slot->stream = (WhStreamStatus){0};
		slot->caught_up = false;
		strlcpy(slot->activity, "connecting", sizeof(slot->activity));
		worker->slot = slot;
	}
	LWLockRelease(wh_shared->lock);
	if (!mine)
		wh_slots_wake_launcher();
	return mine;
}

/* leave gives the slot back and says when the next process may start. */
static void
leave(int code, Datum arg)
{
	WhSlot *slot = me.slot;
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	if (slot->generation == me.ticket.generation && slot->pid == MyProcPid)
	{
		if (TimestampDifferenceExceeds(slot->launched, now, HEALTHY_MS))
			slot->failures = 0;
		slot->failures++;
		slot->next_start = TimestampTzPlusMilliseconds(now, wh_slots_backoff_ms(slot->failures));
		slot->process = WH_PROCESS_NONE;
		slot->pid = 0;
		slot->latch = NULL;
		slot->caught_up = false;
		slot->activity[0] = '\0';
	}
	LWLockRelease(wh_shared->lock);
	/* The catalog is asked once more: start() may have been called meanwhile. */
	if (me.finished)
		wh_slots_request_visit(me.ticket.database);
	wh_slots_wake_launcher();
}

static void
work(Worker *worker)
{
	/* What a crash of the host takes comes again: ingest from the source, loads from the log. */
	SetConfigOption("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION);
	StartTransactionCommand();
	MemoryContextSwitchTo(PortalContext);
	wh_txn_open("the feed worker", false);
	worker->life = AllocSetContextCreate(PortalContext, "walhouse feed", ALLOCSET_DEFAULT_SIZES);
	worker->round = AllocSetContextCreate(PortalContext, "walhouse round", ALLOCSET_DEFAULT_SIZES);
	if (open_stream(worker))
	{
		clear_error(worker);
		worker->measured = GetCurrentTimestamp();
		worker->load_due = true;
		while (!worker->finished)
		{
			do_round(worker);
			/* A busy stream never waits, and an orphan would keep the server from starting. */
			if (!PostmasterIsAlive())
				proc_exit(1);
		}
		wh_feed_close(worker->stream);
	}
	wh_txn_close();
	CommitTransactionCommand();
}

/* open_stream opens the feed's stream, waiting for its turn when another session has it; false:
 * not started any more. */
static bool
open_stream(Worker *worker)
{
	int holder = 0;
	char text[64];

	MemoryContextSwitchTo(worker->life);
	while ((worker->feed = read_feed(worker)) != NULL)
	{
		say(worker, STATE_RUNNING, "connecting to the source");
		worker->stream = wh_feed_open(worker->feed, &holder);
		if (worker->stream != NULL)
			break;
		snprintf(text, sizeof(text), "waiting for process %d, which reads the stream", holder);
		say(worker, STATE_IDLE, text);
		wh_txn_commit();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOOK_MS,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		reload_settings();
		MemoryContextReset(worker->life);
	}
	MemoryContextSwitchTo(PortalContext);
	return worker->stream != NULL;
}

/* read_feed returns the feed, in the caller's context; NULL, and the worker is finished, when it
 * is not to run any more. */
static WhFeed *
read_feed(Worker *worker)
{
	WhFeed *feed = wh_changelog_feed_by_id(worker->ticket.feed_id, true);

	if (feed != NULL && feed->enabled && strcmp(feed->state, "ready") == 0)
		return feed;
	worker->finished = true;
	return NULL;
}

static void
do_round(Worker *worker)
{
	MemoryContext old = MemoryContextSwitchTo(worker->round);
	XLogRecPtr wait_lsn;
	bool ingested;
	bool goes_on;
	bool loaded = false;

	MemoryContextReset(worker->round);
	CHECK_FOR_INTERRUPTS();
	reload_settings();
	wh_feed_gather(worker->stream, wh_loader_is_behind(worker->slot));
	ingested = wh_round_ingest(worker->stream, patience_ms(worker),
							   wh_loader_may_start(worker->slot) ? FIRST_ROUND_MS : WH_ROUND_MS,
							   &goes_on);
	ResetLatch(MyLatch);
	wait_lsn = wished_lsn(worker);
	if (wait_lsn != InvalidXLogRecPtr)
		serve_waiters(worker, wait_lsn);
	wh_loader_start_due(worker->slot, worker->feed, is_busy(worker, goes_on));
	if (!wh_loader_takes(worker->slot, ingested || worker->load_due))
	{
		say(worker, STATE_RUNNING, "loading models");
		loaded = wh_load_run(worker->feed->id);
	}
	worker->load_due = false;
	worker->is_idle = !ingested && !loaded && wait_lsn == InvalidXLogRecPtr;
	if (must_look(worker))
		look_around(worker);
	publish(worker, ingested, goes_on, loaded);
	say(worker, STATE_IDLE, "waiting for changes");
	MemoryContextSwitchTo(old);
}

/* is_busy says that ingest could have gone on, or that the worker has waited for the source for
 * less than half of the last second or more. */
static bool
is_busy(Worker *worker, bool goes_on)
{
	TimestampTz now = GetCurrentTimestamp();
	WhStreamStatus status = wh_feed_status(worker->stream);
	bool busy = status.ingests - worker->status.ingests >= BUSY_INGESTS &&
				(status.waited - worker->status.waited) * 2 < now - worker->measured;

	if (!TimestampDifferenceExceeds(worker->measured, now, MEASURE_MS))
		return goes_on;
	worker->measured = now;
	worker->status = status;
	return goes_on || busy;
}

/* patience_ms is how long the next round may wait for the source. */
static long
patience_ms(Worker *worker)
{
	if (worker->load_due)
		return 0;
	return wished_lsn(worker) != InvalidXLogRecPtr ? WAITED_FOR_MS : LOOK_MS;
}

/* serve_waiters stores the progress that the source reported without changes, when somebody waits
 * for it. */
static void
serve_waiters(Worker *worker, XLogRecPtr wait_lsn)
{
	XLogRecPtr before = wh_feed_position(worker->stream);

	(void) wh_feed_reached(worker->stream, wait_lsn, true);
	if (wh_feed_position(worker->stream) != before)
		worker->load_due = true;
}

/* must_look says whether it is time to look at the catalog: each second, and when a build has
 * ended. */
static bool
must_look(Worker *worker)
{
	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	worker->build_ended = worker->build_ended || worker->slot->build_ended;
	worker->slot->build_ended = false;
	LWLockRelease(wh_shared->lock);
	return worker->build_ended ||
		   TimestampDifferenceExceeds(worker->looked, GetCurrentTimestamp(), LOOK_MS - 50);
}

/* look_around ends a worker whose feed is no longer started, starts builds that wait, and sees
 * whether models are behind. */
static void
look_around(Worker *worker)
{
	wh_txn_commit();
	worker->looked = GetCurrentTimestamp();
	if (read_feed(worker) == NULL)
		return;
	if (!wh_round_built(worker->feed->id))
		wh_build_start_pending(worker->slot, worker->feed);
	if (wh_round_retry_due(worker->feed->id) || wh_load_after_is_due(worker->feed->id))
		worker->load_due = true;
	start_verification(worker);
	if (TimestampDifferenceExceeds(worker->summarized, worker->looked, SUMMARIZE_MS))
	{
		worker->summarized = worker->looked;
		wh_load_summarize(worker->feed->id);
	}
	if (worker->build_ended ||
		TimestampDifferenceExceeds(worker->compared, worker->looked, COMPARE_MS))
	{
		worker->build_ended = false;
		worker->compared = worker->looked;
		if (!wh_round_reached(worker->feed->id, wh_feed_position(worker->stream)))
			worker->load_due = true;
	}
	wh_txn_commit();
}

/* start_verification has a model verified whose turn it is. */
static void
start_verification(Worker *worker)
{
	if (wh_worker_verify_interval != worker->verify_interval)
		worker->verify_at = 0;
	worker->verify_interval = wh_worker_verify_interval;
	if (wh_worker_verify_interval > 0 && worker->verify_at <= worker->looked)
		worker->verify_at = wh_verify_start_due(worker->slot, worker->feed, worker->is_idle);
}

/* publish tells the views how far it is, and who waits that something moved.  While more comes it
 * is behind, though all is in of which it knows. */
static void
publish(Worker *worker, bool ingested, bool goes_on, bool loaded)
{
	WhSlot *slot = worker->slot;
	XLogRecPtr source_lsn = wh_feed_source_lsn(worker->stream);
	bool caught_up = !goes_on && wh_feed_reached(worker->stream, source_lsn, false);
	bool moved;

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	moved = ingested || loaded || slot->position != wh_feed_position(worker->stream);
	slot->source_lsn = source_lsn;
	slot->position = wh_feed_position(worker->stream);
	slot->caught_up = caught_up;
	slot->stream = wh_feed_status(worker->stream);
	slot->ingests += ingested ? 1 : 0;
	slot->loads += loaded ? 1 : 0;
	/* A round that brought something was no failure, however soon the next one comes. */
	if (ingested || loaded ||
		TimestampDifferenceExceeds(slot->launched, GetCurrentTimestamp(), HEALTHY_MS))
		slot->failures = 0;
	LWLockRelease(wh_shared->lock);
	if (moved)
		ConditionVariableBroadcast(&slot->moved);
}

/* wished_lsn is the position that somebody waits for and that is not reached; InvalidXLogRecPtr:
 * none. */
static XLogRecPtr
wished_lsn(Worker *worker)
{
	WhSlot *slot = worker->slot;
	XLogRecPtr lsn = InvalidXLogRecPtr;

	LWLockAcquire(wh_shared->lock, LW_SHARED);
	if (slot->wait_lsn != InvalidXLogRecPtr && slot->wait_until > GetCurrentTimestamp())
		lsn = slot->wait_lsn;
	LWLockRelease(wh_shared->lock);
	return lsn > wh_feed_position(worker->stream) ? lsn : InvalidXLogRecPtr;
}

/* say shows in pg_stat_activity and stat_feed what the worker does. */
static void
say(Worker *worker, BackendState state, const char *what)
{
	char text[sizeof(worker->slot->activity) + NAMEDATALEN];

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	strlcpy(worker->slot->activity, what, sizeof(worker->slot->activity));
	LWLockRelease(wh_shared->lock);
	snprintf(text, sizeof(text), "feed %s: %s", worker->feed->name, what);
	pgstat_report_activity(state, text);
	/* Its empty transaction is nothing to worry about. */
	if (state == STATE_IDLE)
		pgstat_report_xact_timestamp(0);
}

/* clear_error takes away the error of a feed that runs again. */
static void
clear_error(Worker *worker)
{
	WhArg args[] = {WH_ARG_INT4(worker->feed->id)};

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	worker->slot->error[0] = '\0';
	worker->slot->error_time = 0;
	LWLockRelease(wh_shared->lock);
	wh_catalog_execute("UPDATE walhouse.feed SET error = NULL, error_time = NULL"
					   " WHERE feed_id = $1 AND error IS NOT NULL",
					   1, args);
	wh_txn_commit();
}

/* keep_error logs what ended the worker, and stores it where stat_feed shows it. */
static void
keep_error(Worker *worker)
{
	ErrorData *error;
	char *text;
	WhArg args[2];

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(TopMemoryContext);
	error = CopyErrorData();
	EmitErrorReport();
	FlushErrorState();
	text = error->detail != NULL ? psprintf("%s: %s", error->message, error->detail) :
								   pstrdup(error->message);
	LWLockReleaseAll();
	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	strlcpy(worker->slot->error, text, sizeof(worker->slot->error));
	worker->slot->error_time = GetCurrentTimestamp();
	LWLockRelease(wh_shared->lock);
	if (worker->stream != NULL)
		wh_feed_close(worker->stream);
	AbortOutOfAnyTransaction();
	RESUME_INTERRUPTS();

	StartTransactionCommand();
	wh_settings_pin(NULL);
	wh_txn_mark_own();
	args[0] = WH_ARG_INT4(worker->ticket.feed_id);
	args[1] = wh_arg_text(text);
	wh_catalog_execute(
		"UPDATE walhouse.feed SET error = $2, error_time = pg_catalog.clock_timestamp()"
		" WHERE feed_id = $1",
		2, args);
	CommitTransactionCommand();
}

static void
reload_settings(void)
{
	if (!ConfigReloadPending)
		return;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
}
