/*
 * build.c
 *		Build workers: a process that builds one model and ends.
 *
 * They are started by the feed's worker, with the rights of the feed's owner; the build itself
 * runs as the model's owner. A build that is cut off leaves its model waiting for a build, and is
 * started again after a delay; an error of the data stops the model, and is not.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "load/load.h"
#include "worker/worker.h"
#include "worker/worker_private.h"

extern PGDLLEXPORT void wh_worker_build_main(Datum arg);

static WhBuildSlot *find_build(WhSlot *slot, int32 model_id);
static void forget_builds(WhSlot *slot, List *pending);
static WhBuildSlot *claim_build(WhSlot *slot, int32 model_id);
static bool attach(void);
static void leave(int code, Datum arg);

static WhTicket ticket;
static bool succeeded = false;

/* wh_build_start_pending starts build workers for models that wait, as many as may run. */
void
wh_build_start_pending(WhSlot *slot, const WhFeed *feed)
{
	List *pending = wh_load_pending_builds(feed->id);

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	forget_builds(slot, pending);
	LWLockRelease(wh_shared->lock);
	for (int i = 0; i < list_length(pending); i++)
	{
		WhTicket build_ticket;
		WhBuildSlot *build;
		char title[BGW_MAXLEN];

		LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
		build_ticket = wh_slots_ticket(slot);
		build_ticket.model_id = list_nth_int(pending, i);
		build = claim_build(slot, build_ticket.model_id);
		LWLockRelease(wh_shared->lock);
		if (build == NULL)
			continue;
		snprintf(title, sizeof(title), "walhouse build %d of feed %s", build_ticket.model_id,
				 feed->name);
		if (wh_start_process("walhouse build worker", title, "wh_worker_build_main",
							 &build_ticket, NULL))
			continue;
		/* No process to be had: the next look tries again. */
		LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
		build->process = WH_PROCESS_NONE;
		LWLockRelease(wh_shared->lock);
		break;
	}
}

/* find_build returns a model's build; under the lock. */
static WhBuildSlot *
find_build(WhSlot *slot, int32 model_id)
{
	for (int i = 0; i < WH_MAX_BUILDS; i++)
		if (slot->builds[i].model_id == model_id)
			return &slot->builds[i];
	return NULL;
}

/* forget_builds frees the places of builds that do not run and that nobody waits for. */
static void
forget_builds(WhSlot *slot, List *pending)
{
	for (int i = 0; i < WH_MAX_BUILDS; i++)
	{
		WhBuildSlot *build = &slot->builds[i];

		if (build->process == WH_PROCESS_NONE && !list_member_int(pending, build->model_id))
			memset(build, 0, sizeof(WhBuildSlot));
	}
}

/* claim_build takes a place for a build, or NULL when it may not start now; under the lock. */
static WhBuildSlot *
claim_build(WhSlot *slot, int32 model_id)
{
	WhBuildSlot *build = find_build(slot, model_id);
	TimestampTz now = GetCurrentTimestamp();
	int running = 0;

	for (int i = 0; i < WH_MAX_BUILDS; i++)
		running += slot->builds[i].process != WH_PROCESS_NONE ? 1 : 0;
	if (running >= wh_worker_max_build_workers)
		return NULL;
	if (build == NULL)
		build = find_build(slot, 0);
	if (build == NULL || build->process != WH_PROCESS_NONE || build->not_before > now)
		return NULL;
	build->model_id = model_id;
	build->process = WH_PROCESS_STARTING;
	build->launched = now;
	return build;
}

void
wh_worker_build_main(Datum arg)
{
	char text[64];

	wh_process_signals();
	wh_start_ticket(&ticket);
	if (!attach())
		proc_exit(0);
	on_shmem_exit(leave, (Datum) 0);
	wh_process_connect(ticket.database, ticket.owner);
	StartTransactionCommand();
	MemoryContextSwitchTo(PortalContext);
	wh_txn_open("the build worker", false);
	snprintf(text, sizeof(text), "building model %d", ticket.model_id);
	pgstat_report_activity(STATE_RUNNING, text);
	(void) wh_load_build(ticket.model_id);
	succeeded = true;
	wh_txn_close();
	CommitTransactionCommand();
	proc_exit(0);
}

static bool
attach(void)
{
	WhSlot *slot = &wh_shared->slots[ticket.slot];
	WhBuildSlot *build = NULL;

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	if (slot->in_use && slot->generation == ticket.generation)
		build = find_build(slot, ticket.model_id);
	if (build != NULL && build->process != WH_PROCESS_STARTING)
		build = NULL;
	if (build != NULL && !slot->wanted)
	{
		memset(build, 0, sizeof(WhBuildSlot));
		build = NULL;
	}
	if (build != NULL)
	{
		build->process = WH_PROCESS_RUNNING;
		build->pid = MyProcPid;
	}
	LWLockRelease(wh_shared->lock);
	if (build == NULL)
		wh_slots_wake_launcher();
	return build != NULL;
}

/* leave gives the place back; after a failure it is kept, with the time of the next try.  Wakes
 * the feed's worker. */
static void
leave(int code, Datum arg)
{
	WhSlot *slot = &wh_shared->slots[ticket.slot];
	WhBuildSlot *build;
	Latch *latch;

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	build = find_build(slot, ticket.model_id);
	if (build != NULL && slot->generation == ticket.generation && build->pid == MyProcPid)
	{
		build->process = WH_PROCESS_NONE;
		build->pid = 0;
		build->failures++;
		build->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														wh_slots_backoff_ms(build->failures));
		if (succeeded)
			memset(build, 0, sizeof(WhBuildSlot));
	}
	slot->build_ended = true;
	latch = slot->latch;
	LWLockRelease(wh_shared->lock);
	if (latch != NULL)
		SetLatch(latch);
	wh_slots_wake_launcher();
}
