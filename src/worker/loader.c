/*
 * loader.c
 *		The load worker: brings a feed's models on while the feed worker ingests.
 *
 * Ingest and load are separate transactions with the durable change log between them, so two
 * processes do them at the same time as well as one in turns (base/locks.c says why they may).  A
 * feed has a load worker while its source leaves the feed worker little time, and some time
 * after; else the feed worker loads itself, which saves a process and the time of waking it.
 *
 * slot->load_asked says that models may be behind.  Whoever takes the flag away does a load
 * after, so a change of hands loses nothing.  The load worker has no errors of its own: when one
 * ends it, the feed worker does the same load, and what stops that one is on view.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "load/load.h"
#include "worker/worker.h"
#include "worker/worker_private.h"

/* A process that has not come by then is not waited for. */
#define COME_MS 1000
/* Ingest goes on for longer than that before it says so.  So for a while after a load that found
 * something the next one begins by itself, at the earliest so long after the one before. */
#define GOES_ON_MS 250
#define LOOK_AGAIN_MS 20
#define WAIT_MS 1000
/* A load that keeps up with ingest is shorter. */
#define LONG_MS 100
/* So long without a load ends it. */
#define LINGER_MS 10000

extern PGDLLEXPORT void wh_worker_load_main(Datum arg);

static bool may_start(const WhSlot *slot, TimestampTz now);
static bool is_there(const WhSlot *slot);
static bool attach(void);
static void leave(int code, Datum arg);
static Latch *give_back(WhSlot *slot);
static void work(const WhFeed *feed);
static bool load(WhSlot *slot, const WhFeed *feed);
static bool take_asked(void);
static bool may_end(TimestampTz loaded);
static void say(const WhFeed *feed, BackendState state, const char *what);

static WhTicket ticket;

void
wh_loader_start_due(WhSlot *slot, const WhFeed *feed, bool is_busy)
{
	TimestampTz now = GetCurrentTimestamp();
	WhTicket load_ticket;
	char title[BGW_MAXLEN];
	bool is_due = wh_worker_parallel_load == WH_PARALLEL_ALWAYS ||
				  (wh_worker_parallel_load == WH_PARALLEL_AUTO && is_busy);

	if (!is_due)
		return;
	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	is_due = may_start(slot, now);
	if (is_due)
	{
		slot->loader.process = WH_PROCESS_STARTING;
		slot->loader.launched = now;
		load_ticket = wh_slots_ticket(slot);
	}
	LWLockRelease(wh_shared->lock);
	if (!is_due)
		return;
	snprintf(title, sizeof(title), "walhouse load of feed %s", feed->name);
	if (wh_start_process("walhouse load worker", title, "wh_worker_load_main", &load_ticket, NULL))
		return;
	/* No process to be had: the feed worker does it, and tries again later. */
	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	slot->loader.process = WH_PROCESS_NONE;
	slot->loader.not_before = TimestampTzPlusMilliseconds(now, LINGER_MS);
	LWLockRelease(wh_shared->lock);
}

bool
wh_loader_may_start(WhSlot *slot)
{
	bool may;

	LWLockAcquire(wh_shared->lock, LW_SHARED);
	may = wh_worker_parallel_load != WH_PARALLEL_OFF && may_start(slot, GetCurrentTimestamp());
	LWLockRelease(wh_shared->lock);
	return may;
}

bool
wh_loader_is_behind(WhSlot *slot)
{
	bool is_behind;

	LWLockAcquire(wh_shared->lock, LW_SHARED);
	is_behind = slot->loads_are_long;
	LWLockRelease(wh_shared->lock);
	return is_behind;
}

/* may_start says that there is no load worker, and none that has failed just now; under the lock.
 */
static bool
may_start(const WhSlot *slot, TimestampTz now)
{
	return slot->wanted && slot->loader.process == WH_PROCESS_NONE &&
		   slot->loader.not_before <= now;
}

bool
wh_loader_takes(WhSlot *slot, bool is_due)
{
	Latch *latch = NULL;
	bool takes;

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	slot->load_asked = slot->load_asked || is_due;
	takes = !slot->load_asked || is_there(slot);
	if (!takes)
		slot->load_asked = false;
	else if (is_due)
		latch = slot->loader_latch;
	LWLockRelease(wh_shared->lock);
	if (latch != NULL)
		SetLatch(latch);
	return takes;
}

/* is_there says that a load worker runs, or is about to; under the lock. */
static bool
is_there(const WhSlot *slot)
{
	return slot->loader.process == WH_PROCESS_RUNNING ||
		   (slot->loader.process == WH_PROCESS_STARTING &&
			!TimestampDifferenceExceeds(slot->loader.launched, GetCurrentTimestamp(), COME_MS));
}

void
wh_worker_load_main(Datum arg)
{
	WhFeed *feed;

	wh_process_signals();
	wh_start_ticket(&ticket);
	if (!attach())
		proc_exit(0);
	on_shmem_exit(leave, (Datum) 0);
	wh_process_connect(ticket.database, ticket.owner);
	SetConfigOption("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION);
	StartTransactionCommand();
	MemoryContextSwitchTo(PortalContext);
	wh_txn_open("the load worker", false);
	feed = wh_changelog_feed_by_id(ticket.feed_id, true);
	if (feed != NULL)
		work(feed);
	wh_txn_close();
	CommitTransactionCommand();
	proc_exit(0);
}

static bool
attach(void)
{
	WhSlot *slot = &wh_shared->slots[ticket.slot];
	bool mine;

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	mine = slot->in_use && slot->generation == ticket.generation &&
		   slot->loader.process == WH_PROCESS_STARTING;
	if (mine && !slot->wanted)
	{
		memset(&slot->loader, 0, sizeof(WhBuildSlot));
		mine = false;
	}
	if (mine)
	{
		slot->loader.process = WH_PROCESS_RUNNING;
		slot->loader.pid = MyProcPid;
		slot->loader_latch = MyLatch;
	}
	LWLockRelease(wh_shared->lock);
	if (!mine)
		wh_slots_wake_launcher();
	return mine;
}

/* leave: a process that an error or a signal ends has a pause before the next one, and what it was
 * at is the feed worker's. */
static void
leave(int code, Datum arg)
{
	WhSlot *slot = &wh_shared->slots[ticket.slot];
	Latch *latch = NULL;

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	if (slot->generation == ticket.generation && slot->loader.pid == MyProcPid)
	{
		slot->load_asked = true;
		slot->loader.failures++;
		slot->loader.not_before = TimestampTzPlusMilliseconds(
			GetCurrentTimestamp(), wh_slots_backoff_ms(slot->loader.failures));
		latch = give_back(slot);
	}
	LWLockRelease(wh_shared->lock);
	if (latch != NULL)
		SetLatch(latch);
	wh_slots_wake_launcher();
}

/* give_back frees the place, and returns whom to wake; under the lock. */
static Latch *
give_back(WhSlot *slot)
{
	slot->loader.process = WH_PROCESS_NONE;
	slot->loader.pid = 0;
	slot->loader_latch = NULL;
	slot->loads_are_long = false;
	return slot->latch;
}

/* work loads whenever it is asked to, and goes on for a while when loads find something. */
static void
work(const WhFeed *feed)
{
	WhSlot *slot = &wh_shared->slots[ticket.slot];
	MemoryContext round =
		AllocSetContextCreate(PortalContext, "walhouse round", ALLOCSET_DEFAULT_SIZES);
	TimestampTz loaded = GetCurrentTimestamp();
	TimestampTz began = loaded;

	MemoryContextSwitchTo(round);
	while (!may_end(loaded))
	{
		bool goes_on = !TimestampDifferenceExceeds(loaded, GetCurrentTimestamp(), GOES_ON_MS);

		if (take_asked() || goes_on)
		{
			say(feed, STATE_RUNNING, "loading models");
			began = GetCurrentTimestamp();
			if (load(slot, feed))
				loaded = GetCurrentTimestamp();
			say(feed, STATE_IDLE, "waiting for ingest");
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 goes_on ? TimestampDifferenceMilliseconds(
									   GetCurrentTimestamp(),
									   TimestampTzPlusMilliseconds(began, LOOK_AGAIN_MS)) :
								   WAIT_MS,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		MemoryContextReset(round);
	}
}

/* load does a load, and tells how it went; true when it found something. */
static bool
load(WhSlot *slot, const WhFeed *feed)
{
	TimestampTz began = GetCurrentTimestamp();
	bool moved = wh_load_run(feed->id);

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	slot->loads_are_long = TimestampDifferenceExceeds(began, GetCurrentTimestamp(), LONG_MS);
	if (moved)
	{
		slot->loads++;
		slot->loader.failures = 0;
	}
	LWLockRelease(wh_shared->lock);
	if (moved)
		ConditionVariableBroadcast(&slot->moved);
	return moved;
}

static bool
take_asked(void)
{
	WhSlot *slot = &wh_shared->slots[ticket.slot];
	bool asked;

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	asked = slot->load_asked;
	slot->load_asked = false;
	LWLockRelease(wh_shared->lock);
	return asked;
}

/* may_end ends the worker's time, unless there is something to load; the feed worker does what is
 * asked for from then on. */
static bool
may_end(TimestampTz loaded)
{
	WhSlot *slot = &wh_shared->slots[ticket.slot];
	Latch *latch = NULL;
	bool ends;

	if (wh_worker_parallel_load == WH_PARALLEL_ALWAYS)
		loaded = GetCurrentTimestamp();
	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	ends = !slot->wanted || wh_worker_parallel_load == WH_PARALLEL_OFF ||
		   (!slot->load_asked &&
			TimestampDifferenceExceeds(loaded, GetCurrentTimestamp(), LINGER_MS));
	if (ends)
		latch = give_back(slot);
	LWLockRelease(wh_shared->lock);
	if (latch != NULL)
		SetLatch(latch);
	return ends;
}

/* say shows in pg_stat_activity what the worker does. */
static void
say(const WhFeed *feed, BackendState state, const char *what)
{
	char text[NAMEDATALEN + 64];

	snprintf(text, sizeof(text), "feed %s: %s", feed->name, what);
	pgstat_report_activity(state, text);
	/* Its empty transaction is nothing to worry about. */
	if (state == STATE_IDLE)
		pgstat_report_xact_timestamp(0);
}
