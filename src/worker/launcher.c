/*
 * launcher.c
 *		The launcher: finds the feeds that are started, and keeps a process running for each.
 *
 * The launcher is connected to no database.  At its start it sends a short-lived database worker
 * to each database, one after another (visit.c), which fills the slots of the feeds that are
 * started; again to one database when start() or stop() commits there.  Then it starts a feed
 * worker for each wanted slot, and again with a growing delay when it ends.
 *
 * It remembers nothing that matters: after its own death it finds the running processes in their
 * slots, and after a crash of the server, when the slots are empty, it visits every database.  A
 * process that is killed by the launcher has only what its transaction had; nothing of P1 depends
 * on an orderly end.
 *
 * A visit also finds when the next step of a database's partition sets is due (partition.c).  At
 * that time, and no sooner, the launcher starts a process that does it, and says when the next one
 * is.
 *
 * With walhouse.worker = off nothing is started or visited, and what runs is ended.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "worker/worker.h"
#include "worker/worker_private.h"

#define VISIT_RETRY_MS 10000
#define NO_PROCESS_RETRY_MS 5000
#define IDLE_MS 60000
#define TERMINATE_AGAIN_MS 100

/* A database that waits for its visit. */
typedef struct Errand
{
	Oid database;
	TimestampTz not_before;
} Errand;

/* What the launcher keeps to itself. */
typedef struct Launcher
{
	List *errands; /* of Errand * */
	bool was_enabled;
	TimestampTz terminated; /* when processes were last told to end */
} Launcher;

extern PGDLLEXPORT void wh_worker_launcher_main(Datum arg);

static void leave(int code, Datum arg);
static long round_of(Launcher *launcher);
static void take_requests(Launcher *launcher);
static void add_errand(Launcher *launcher, Oid database, TimestampTz not_before);
static List *all_databases(void);
static bool database_exists(Oid database);
static void end_visit(Launcher *launcher);
static bool start_visit(Launcher *launcher);
static bool tend_slots(Launcher *launcher, TimestampTz now);
static bool start_feed(Launcher *launcher, WhSlot *slot);
static void expire_slot(WhSlot *slot, TimestampTz now);
static bool slot_has_process(const WhSlot *slot);
static void terminate_slot(const WhSlot *slot);
static long sleep_ms(const Launcher *launcher, TimestampTz now);

void
wh_worker_launcher_main(Datum arg)
{
	Launcher launcher = {NIL, false, 0};

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	on_shmem_exit(leave, (Datum) 0);
	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	wh_shared->launcher = MyLatch;
	LWLockRelease(wh_shared->lock);
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	SetConfigOption("application_name", "walhouse launcher", PGC_USERSET, PGC_S_SESSION);
	pgstat_report_activity(STATE_IDLE, NULL);

	while (!ShutdownRequestPending)
	{
		long timeout;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		timeout = round_of(&launcher);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout,
						 PG_WAIT_EXTENSION);
	}
	/* Not 0: with 0 the postmaster would not start it again. */
	proc_exit(1);
}

static void
leave(int code, Datum arg)
{
	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	wh_shared->launcher = NULL;
	LWLockRelease(wh_shared->lock);
}

/* round_of does what is due, and returns how long nothing will be. */
static long
round_of(Launcher *launcher)
{
	TimestampTz now = GetCurrentTimestamp();
	bool retry_soon = false;

	if (wh_worker_enabled && !launcher->was_enabled)
	{
		LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
		wh_shared->visit_all = true;
		LWLockRelease(wh_shared->lock);
	}
	launcher->was_enabled = wh_worker_enabled;
	end_visit(launcher);
	if (wh_worker_enabled)
	{
		take_requests(launcher);
		retry_soon = start_visit(launcher);
	}
	retry_soon |= tend_slots(launcher, now);
	retry_soon |= wh_houses_tend(now);
	return retry_soon ? NO_PROCESS_RETRY_MS : sleep_ms(launcher, now);
}

/* take_requests moves what sessions asked for to the launcher's own list. */
static void
take_requests(Launcher *launcher)
{
	bool visit_all;
	int nrequests;
	Oid *requests = palloc(sizeof(Oid) * wh_shared->nslots);
	List *databases = NIL;

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	visit_all = wh_shared->visit_all;
	nrequests = wh_shared->nrequests;
	memcpy(requests, wh_shared->requests, sizeof(Oid) * nrequests);
	wh_shared->visit_all = false;
	wh_shared->nrequests = 0;
	LWLockRelease(wh_shared->lock);

	if (visit_all)
		databases = all_databases();
	for (int i = 0; i < nrequests; i++)
		databases = list_append_unique_oid(databases, requests[i]);
	pfree(requests);
	for (int i = 0; i < list_length(databases); i++)
		add_errand(launcher, list_nth_oid(databases, i), 0);
	list_free(databases);
}

static void
add_errand(Launcher *launcher, Oid database, TimestampTz not_before)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	Errand *errand = NULL;

	for (int i = 0; errand == NULL && i < list_length(launcher->errands); i++)
	{
		errand = list_nth(launcher->errands, i);
		if (errand->database != database)
			errand = NULL;
	}
	if (errand == NULL)
	{
		errand = palloc(sizeof(Errand));
		errand->database = database;
		errand->not_before = not_before;
		launcher->errands = lappend(launcher->errands, errand);
	}
	errand->not_before = Min(errand->not_before, not_before);
	MemoryContextSwitchTo(old);
}

/* all_databases lists the databases that one can connect to and that are no templates, in the
 * caller's context. */
static List *
all_databases(void)
{
	MemoryContext caller = CurrentMemoryContext;
	List *databases = NIL;
	Relation rel;
	TableScanDesc scan;
	HeapTuple tuple;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext old;

		if (!database->datallowconn || database->datistemplate)
			continue;
		old = MemoryContextSwitchTo(caller);
		databases = lappend_oid(databases, database->oid);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return databases;
}

static bool
database_exists(Oid database)
{
	MemoryContext caller = CurrentMemoryContext;
	bool exists;

	StartTransactionCommand();
	exists = SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database));
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return exists;
}

/* end_visit looks whether the visit under way is over; one that failed is made again later. */
static void
end_visit(Launcher *launcher)
{
	TimestampTz now = GetCurrentTimestamp();
	WhVisit visit;

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	visit = wh_shared->visit;
	if (visit.process == WH_PROCESS_STARTING &&
		TimestampDifferenceExceeds(visit.launched, now, WH_START_LIMIT_MS))
		visit.over = true;
	if (visit.over)
		memset(&wh_shared->visit, 0, sizeof(WhVisit));
	LWLockRelease(wh_shared->lock);
	if (visit.over && !visit.succeeded && database_exists(visit.database))
		add_errand(launcher, visit.database, TimestampTzPlusMilliseconds(now, VISIT_RETRY_MS));
}

/* start_visit sends a database worker where one is due, if none is under way; true when no
 * process was to be had. */
static bool
start_visit(Launcher *launcher)
{
	TimestampTz now = GetCurrentTimestamp();
	Errand *errand = NULL;
	WhTicket ticket = {0};
	bool busy;

	for (int i = 0; errand == NULL && i < list_length(launcher->errands); i++)
	{
		errand = list_nth(launcher->errands, i);
		if (errand->not_before > now)
			errand = NULL;
	}
	if (errand == NULL)
		return false;
	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	busy = wh_shared->visit.process != WH_PROCESS_NONE;
	if (!busy)
	{
		memset(&wh_shared->visit, 0, sizeof(WhVisit));
		wh_shared->visit.database = errand->database;
		wh_shared->visit.process = WH_PROCESS_STARTING;
		wh_shared->visit.launched = now;
	}
	LWLockRelease(wh_shared->lock);
	if (busy)
		return false;
	ticket.database = errand->database;
	if (!wh_start_process("walhouse database worker", "walhouse database worker",
						  "wh_worker_database_main", &ticket, NULL))
	{
		LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
		memset(&wh_shared->visit, 0, sizeof(WhVisit));
		LWLockRelease(wh_shared->lock);
		return true;
	}
	launcher->errands = list_delete_ptr(launcher->errands, errand);
	pfree(errand);
	return false;
}

/* tend_slots starts, ends and frees what is due; true when no process was to be had. */
static bool
tend_slots(Launcher *launcher, TimestampTz now)
{
	bool retry_soon = false;
	bool terminate = TimestampDifferenceExceeds(launcher->terminated, now, TERMINATE_AGAIN_MS);

	for (int i = 0; i < wh_shared->nslots; i++)
	{
		WhSlot *slot = &wh_shared->slots[i];
		WhSlot copy;

		LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
		if (slot->in_use)
			expire_slot(slot, now);
		if (slot->in_use && !slot->wanted && !slot_has_process(slot))
			wh_slots_reset(slot);
		copy = *slot;
		LWLockRelease(wh_shared->lock);

		if (!copy.in_use)
			continue;
		if (!copy.wanted || !wh_worker_enabled)
		{
			if (slot_has_process(&copy) && terminate)
			{
				terminate_slot(&copy);
				launcher->terminated = now;
			}
		}
		else if (copy.process == WH_PROCESS_NONE && copy.next_start <= now)
			retry_soon |= start_feed(launcher, slot);
	}
	return retry_soon;
}

/* start_feed starts a slot's feed worker; true when no process was to be had. */
static bool
start_feed(Launcher *launcher, WhSlot *slot)
{
	WhTicket ticket;
	char title[BGW_MAXLEN];
	int failures;

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	ticket = wh_slots_ticket(slot);
	failures = slot->failures;
	snprintf(title, sizeof(title), "walhouse feed %s", slot->name);
	LWLockRelease(wh_shared->lock);

	/* A database that was dropped takes its feeds with it. */
	if (failures > 0 && !database_exists(ticket.database))
	{
		LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
		slot->wanted = false;
		LWLockRelease(wh_shared->lock);
		SetLatch(MyLatch);
		return false;
	}
	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	slot->process = WH_PROCESS_STARTING;
	slot->launched = GetCurrentTimestamp();
	LWLockRelease(wh_shared->lock);
	if (wh_start_process("walhouse feed worker", title, "wh_worker_feed_main", &ticket, NULL))
		return false;
	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	slot->process = WH_PROCESS_NONE;
	LWLockRelease(wh_shared->lock);
	return true;
}

/* expire_slot gives up on processes that were registered and never came, as when fork() failed. */
static void
expire_slot(WhSlot *slot, TimestampTz now)
{
	if (slot->process == WH_PROCESS_STARTING &&
		TimestampDifferenceExceeds(slot->launched, now, WH_START_LIMIT_MS))
	{
		slot->process = WH_PROCESS_NONE;
		slot->failures++;
		slot->next_start = TimestampTzPlusMilliseconds(now, wh_slots_backoff_ms(slot->failures));
	}
	for (int i = 0; i < WH_MAX_BUILDS; i++)
	{
		WhBuildSlot *build = &slot->builds[i];

		if (build->process == WH_PROCESS_STARTING &&
			TimestampDifferenceExceeds(build->launched, now, WH_START_LIMIT_MS))
			memset(build, 0, sizeof(WhBuildSlot));
	}
	if (slot->verification.process == WH_PROCESS_STARTING &&
		TimestampDifferenceExceeds(slot->verification.launched, now, WH_START_LIMIT_MS))
		memset(&slot->verification, 0, sizeof(WhBuildSlot));
	if (slot->loader.process == WH_PROCESS_STARTING &&
		TimestampDifferenceExceeds(slot->loader.launched, now, WH_START_LIMIT_MS))
		memset(&slot->loader, 0, sizeof(WhBuildSlot));
}

static bool
slot_has_process(const WhSlot *slot)
{
	bool has = slot->process != WH_PROCESS_NONE ||
			   slot->verification.process != WH_PROCESS_NONE ||
			   slot->loader.process != WH_PROCESS_NONE;

	for (int i = 0; i < WH_MAX_BUILDS; i++)
		has = has || slot->builds[i].process != WH_PROCESS_NONE;
	return has;
}

/* terminate_slot tells a feed's processes to end; those that are still starting find out by
 * themselves. */
static void
terminate_slot(const WhSlot *slot)
{
	if (slot->process == WH_PROCESS_RUNNING)
		kill(slot->pid, SIGTERM);
	for (int i = 0; i < WH_MAX_BUILDS; i++)
		if (slot->builds[i].process == WH_PROCESS_RUNNING)
			kill(slot->builds[i].pid, SIGTERM);
	if (slot->verification.process == WH_PROCESS_RUNNING)
		kill(slot->verification.pid, SIGTERM);
	if (slot->loader.process == WH_PROCESS_RUNNING)
		kill(slot->loader.pid, SIGTERM);
}

/* sleep_ms is the time until the next restart or visit is due. */
static long
sleep_ms(const Launcher *launcher, TimestampTz now)
{
	TimestampTz next = TimestampTzPlusMilliseconds(now, IDLE_MS);

	if (wh_worker_enabled)
		for (int i = 0; i < list_length(launcher->errands); i++)
			next = Min(next, ((Errand *) list_nth(launcher->errands, i))->not_before);
	LWLockAcquire(wh_shared->lock, LW_SHARED);
	/* The end of the visit under way wakes the launcher; only its failure to come does not. */
	if (wh_shared->visit.process != WH_PROCESS_NONE)
		next = TimestampTzPlusMilliseconds(now, WH_START_LIMIT_MS);
	for (int i = 0; i < wh_shared->nslots; i++)
	{
		const WhSlot *slot = &wh_shared->slots[i];

		if (!slot->in_use)
			continue;
		if (slot->process == WH_PROCESS_STARTING)
			next = Min(next, TimestampTzPlusMilliseconds(slot->launched, WH_START_LIMIT_MS));
		else if (slot->process == WH_PROCESS_NONE && slot->wanted && wh_worker_enabled)
			next = Min(next, slot->next_start);
		if ((!slot->wanted || !wh_worker_enabled) && slot_has_process(slot))
			next = Min(next, TimestampTzPlusMilliseconds(now, TERMINATE_AGAIN_MS));
	}
	LWLockRelease(wh_shared->lock);
	next = Min(next, wh_houses_next(now));
	return Max(TimestampDifferenceMilliseconds(now, next), 10);
}
