/*
 * partition.c
 *		The partition worker: does what is due for the partition sets of a database, and ends.
 *
 * Nothing polls.  The shared memory holds, for each database with sets, when its next step is
 * due: a visit (visit.c) reads it at the server's start and when a set is changed, the worker
 * itself when it ends.  The launcher sleeps until the earliest of them and starts a process for
 * it; while nothing is due there is none.
 *
 * CALL walhouse.maintain_partitions() starts the same process and waits for it, so it needs no
 * preloaded library: steps that must be statements of their own can run in no procedure.
 *
 * The process belongs to the bootstrap superuser and does each step as the set's owner.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "partition/partition.h"
#include "worker/worker.h"
#include "worker/worker_private.h"

#define TERMINATE_AGAIN_MS 100

extern PGDLLEXPORT void wh_worker_partition_main(Datum arg);

PG_FUNCTION_INFO_V1(walhouse_maintain_partitions);

static WhHouse *find_house(Oid database);
static bool start_worker(WhHouse *house, TimestampTz now);
static bool attach(const WhTicket *ticket);
static void leave(int code, Datum arg);
static bool is_due(const WhPartitionRun *run);

static TimestampTz next_due = 0; /* as the worker found it at its end; 0: it did not get there */

/* find_house returns a database's place, or NULL; the caller holds the lock. */
static WhHouse *
find_house(Oid database)
{
	for (int i = 0; i < wh_shared->nslots; i++)
		if (wh_shared->houses[i].database == database)
			return &wh_shared->houses[i];
	return NULL;
}

void
wh_houses_set_due(Oid database, TimestampTz due)
{
	WhHouse *house;
	bool full;

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	house = find_house(database);
	if (house == NULL && due != DT_NOEND)
	{
		house = find_house(InvalidOid);
		if (house != NULL)
		{
			memset(house, 0, sizeof(WhHouse));
			house->database = database;
		}
	}
	full = house == NULL && due != DT_NOEND;
	if (house != NULL)
	{
		house->due = due;
		if (due == DT_NOEND && house->process == WH_PROCESS_NONE)
			house->database = InvalidOid;
	}
	LWLockRelease(wh_shared->lock);
	if (full)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("more databases have partition sets than walhouse.max_feeds allows"),
				 errdetail("Those of this database are not looked after."),
				 errhint("Raise walhouse.max_feeds and restart the server.")));
}

bool
wh_houses_tend(TimestampTz now)
{
	static TimestampTz terminated = 0;
	bool retry_soon = false;

	for (int i = 0; i < wh_shared->nslots; i++)
	{
		WhHouse *house = &wh_shared->houses[i];
		WhHouse copy;

		LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
		if (house->process == WH_PROCESS_STARTING &&
			TimestampDifferenceExceeds(house->launched, now, WH_START_LIMIT_MS))
			house->process = WH_PROCESS_NONE;
		copy = *house;
		LWLockRelease(wh_shared->lock);

		if (!OidIsValid(copy.database))
			continue;
		if (!wh_worker_enabled)
		{
			if (copy.process == WH_PROCESS_RUNNING &&
				TimestampDifferenceExceeds(terminated, now, TERMINATE_AGAIN_MS))
			{
				kill(copy.pid, SIGTERM);
				terminated = now;
			}
		}
		else if (copy.process == WH_PROCESS_NONE && copy.due <= now)
			retry_soon |= start_worker(house, now);
	}
	return retry_soon;
}

TimestampTz
wh_houses_next(TimestampTz now)
{
	TimestampTz next = DT_NOEND;

	LWLockAcquire(wh_shared->lock, LW_SHARED);
	for (int i = 0; i < wh_shared->nslots; i++)
	{
		const WhHouse *house = &wh_shared->houses[i];

		if (!OidIsValid(house->database))
			continue;
		if (house->process == WH_PROCESS_STARTING)
			next = Min(next, TimestampTzPlusMilliseconds(house->launched, WH_START_LIMIT_MS));
		else if (house->process == WH_PROCESS_NONE && wh_worker_enabled)
			next = Min(next, house->due);
		else if (house->process == WH_PROCESS_RUNNING && !wh_worker_enabled)
			next = Min(next, TimestampTzPlusMilliseconds(now, TERMINATE_AGAIN_MS));
	}
	LWLockRelease(wh_shared->lock);
	return next;
}

/* start_worker starts a process for a database; true when none was to be had. */
static bool
start_worker(WhHouse *house, TimestampTz now)
{
	WhTicket ticket = {0};
	bool started;

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	house->process = WH_PROCESS_STARTING;
	house->launched = now;
	ticket.slot = house - wh_shared->houses;
	ticket.generation = 1; /* the launcher's */
	ticket.database = house->database;
	LWLockRelease(wh_shared->lock);
	started = wh_start_process("walhouse partition worker", "walhouse partitions",
							   "wh_worker_partition_main", &ticket, NULL);
	if (started)
		return false;
	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	house->process = WH_PROCESS_NONE;
	LWLockRelease(wh_shared->lock);
	return true;
}

void
wh_worker_partition_main(Datum arg)
{
	WhTicket ticket;
	WhPartitionRun run = {0};

	wh_process_signals();
	wh_start_ticket(&ticket);
	if (ticket.generation != 0)
	{
		if (!attach(&ticket))
			proc_exit(0);
		on_shmem_exit(leave, Int32GetDatum(ticket.slot));
	}
	wh_process_connect(ticket.database, InvalidOid);
	pgstat_report_activity(STATE_RUNNING, "looking for steps of partitions that are due");
	run.parent = ticket.parent;
	run.role = ticket.owner;
	run.at = ticket.at;
	StartTransactionCommand();
	if (!OidIsValid(get_extension_oid("walhouse", true)))
	{
		CommitTransactionCommand();
		next_due = DT_NOEND;
		proc_exit(0);
	}
	CommitTransactionCommand();
	wh_partition_run(&run);

	StartTransactionCommand();
	next_due = wh_partition_next_due();
	CommitTransactionCommand();
	/* Whoever called for it changed what is due; the launcher has it read again. */
	if (ticket.generation == 0 && wh_shared != NULL)
		wh_slots_request_visit(MyDatabaseId);
	proc_exit(0);
}

/* attach takes the database's place; false when the launcher has given it up meanwhile. */
static bool
attach(const WhTicket *ticket)
{
	WhHouse *house = &wh_shared->houses[ticket->slot];
	bool mine;

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	mine = house->database == ticket->database && house->process == WH_PROCESS_STARTING;
	if (mine)
	{
		house->process = WH_PROCESS_RUNNING;
		house->pid = MyProcPid;
		house->due = DT_NOEND; /* but for what a visit finds meanwhile */
	}
	LWLockRelease(wh_shared->lock);
	return mine;
}

/* leave says when the next step is due; of a process that failed, after a pause. */
static void
leave(int code, Datum arg)
{
	WhHouse *house = &wh_shared->houses[DatumGetInt32(arg)];

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	if (house->pid == MyProcPid && house->process == WH_PROCESS_RUNNING)
	{
		house->failures = next_due != 0 ? 0 : house->failures + 1;
		house->due = next_due != 0 ?
						 Min(next_due, house->due) :
						 TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													 wh_slots_backoff_ms(house->failures));
		house->process = WH_PROCESS_NONE;
		house->pid = 0;
		if (house->due == DT_NOEND)
			house->database = InvalidOid;
	}
	LWLockRelease(wh_shared->lock);
	wh_slots_wake_launcher();
}

/*
 * walhouse_maintain_partitions(parent regclass, at timestamptz): has what is due by then done by a
 * process of its own, and waits for it.
 */
Datum
walhouse_maintain_partitions(PG_FUNCTION_ARGS)
{
	bool atomic = wh_txn_procedure_atomic(fcinfo);
	WhPartitionRun run = {0};
	WhTicket ticket = {0};
	BackgroundWorkerHandle *handle;
	TimestampTz started = GetCurrentTimestamp();

	wh_txn_open("walhouse.maintain_partitions", atomic);
	run.parent = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	run.at = PG_ARGISNULL(1) ? 0 : PG_GETARG_TIMESTAMPTZ(1);
	if (TIMESTAMP_NOT_FINITE(run.at))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"at\" must be a time that can be reached")));
	run.role = superuser() ? InvalidOid : GetUserId();
	if (is_due(&run))
	{
		ticket.database = MyDatabaseId;
		ticket.owner = run.role;
		ticket.parent = run.parent;
		ticket.at = run.at;
		wh_txn_commit();
		if (!wh_start_process("walhouse partition worker", "walhouse partitions",
							  "wh_worker_partition_main", &ticket, &handle))
			ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
							errmsg("walhouse finds no free background worker process"),
							errhint("Raise max_worker_processes and restart the server.")));
		if (WaitForBackgroundWorkerShutdown(handle) == BGWH_POSTMASTER_DIED)
			ereport(FATAL, (errcode(ERRCODE_ADMIN_SHUTDOWN), errmsg("postmaster has died")));
		wh_partition_report(&run, started);
	}
	wh_txn_close();
	PG_RETURN_VOID();
}

/* is_due says whether there is anything to do: a set that is asked for by name is looked at. */
static bool
is_due(const WhPartitionRun *run)
{
	TimestampTz at = run->at != 0 ? run->at : GetCurrentTimestamp();

	if (!OidIsValid(run->parent))
		return wh_partition_next_due() <= at;
	wh_partition_check_owner(run->parent);
	return true;
}
