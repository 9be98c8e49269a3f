/*
 * verify.c
 *		Verifications by turns: a process that verifies a sample of one model's keys, and ends.
 *
 * The feed's worker starts it, when it has nothing to do and a model is due; each model is verified
 * at most once in walhouse.verify_interval, the one whose last verification lies back furthest
 * first.  A feed that is never idle has its turn all the same once a model is overdue by another
 * interval.  The work is a process of its own, so ingest and loads never wait for it; it takes no
 * lock of the feed, waits for no lock longer than a second, and ends after a minute at most, since
 * its snapshot holds vacuum back.
 *
 * What it found stands in walhouse.verification, also when it failed, so that the next model has
 * its turn.  One that a crash cut off is tried again after a pause.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "model/model.h"
#include "worker/worker.h"
#include "worker/worker_private.h"

#define LONGEST_MS 60000
#define LOCK_WAIT "1s"
/* New models are seen after so long at the latest. */
#define LOOK_AGAIN_MS 60000

extern PGDLLEXPORT void wh_worker_verify_main(Datum arg);

static int32 choose_model(const WhFeed *feed, TimestampTz *due);
static bool claim(WhSlot *slot, int32 model_id, WhTicket *verify_ticket);
static bool attach(void);
static void leave(int code, Datum arg);
static void verify(void);
static void keep_failure(TimestampTz started);

static WhTicket ticket;
static bool succeeded = false;

TimestampTz
wh_verify_start_due(WhSlot *slot, const WhFeed *feed, bool is_idle)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz again = TimestampTzPlusMilliseconds(now, LOOK_AGAIN_MS);
	TimestampTz due;
	int32 model_id = choose_model(feed, &due);
	WhTicket verify_ticket = {0};
	char title[BGW_MAXLEN];

	if (model_id == 0)
		return again;
	if (!is_idle)
		due = TimestampTzPlusMilliseconds(due, (int64) wh_worker_verify_interval * 1000);
	if (due > now)
		return Min(due, again);
	if (!claim(slot, model_id, &verify_ticket))
		return now;
	snprintf(title, sizeof(title), "walhouse verification %d of feed %s", model_id, feed->name);
	if (!wh_start_process("walhouse verify worker", title, "wh_worker_verify_main",
						  &verify_ticket, NULL))
	{
		/* No process to be had: it is tried again. */
		LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
		memset(&slot->verification, 0, sizeof(WhBuildSlot));
		LWLockRelease(wh_shared->lock);
	}
	return now;
}

/*
 * choose_model returns the model whose turn it is, and when it is due; 0: none.  Models without a
 * feed, as calendars are, belong to those of whose facts refer to them.
 */
static int32
choose_model(const WhFeed *feed, TimestampTz *due)
{
	WhRows *rows;
	bool isnull;

	if (wh_worker_verify_interval == 0)
		return 0;
	rows = wh_catalog_query(
		"SELECT m.model_id, GREATEST(v.started, m.created) + $2 * '1 second'::interval FROM "
		"walhouse.model m LEFT JOIN LATERAL (SELECT v.started FROM walhouse.verification v WHERE "
		"v.model_id = m.model_id ORDER BY v.started DESC LIMIT 1) v ON true WHERE m.state = "
		"'live' AND (m.feed_id = $1 OR m.feed_id IS NULL AND EXISTS (SELECT FROM "
		"walhouse.fact_dimension d JOIN walhouse.model f ON f.model_id = d.model_id WHERE "
		"d.dimension_id = m.model_id AND f.feed_id = $1)) ORDER BY 2, 1 LIMIT 1",
		2, (WhArg[]){WH_ARG_INT4(feed->id), WH_ARG_INT4(wh_worker_verify_interval)});
	if (rows->count == 0)
		return 0;
	*due = DatumGetTimestampTz(wh_rows_datum(rows, 0, 2, &isnull));
	return wh_rows_int4(rows, 0, 1);
}

/* claim takes the feed's place for a verification; false while another one is under way, or a
 * failed one has its pause. */
static bool
claim(WhSlot *slot, int32 model_id, WhTicket *verify_ticket)
{
	WhBuildSlot *verification = &slot->verification;
	TimestampTz now = GetCurrentTimestamp();
	bool is_free;

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	is_free = verification->process == WH_PROCESS_NONE && verification->not_before <= now;
	if (is_free)
	{
		verification->model_id = model_id;
		verification->process = WH_PROCESS_STARTING;
		verification->launched = now;
		*verify_ticket = wh_slots_ticket(slot);
		verify_ticket->model_id = model_id;
	}
	LWLockRelease(wh_shared->lock);
	return is_free;
}

void
wh_worker_verify_main(Datum arg)
{
	char text[64];

	wh_process_signals();
	wh_start_ticket(&ticket);
	if (!attach())
		proc_exit(0);
	on_shmem_exit(leave, (Datum) 0);
	wh_process_connect(ticket.database, ticket.owner);
	SetConfigOption("lock_timeout", LOCK_WAIT, PGC_USERSET, PGC_S_SESSION);
	snprintf(text, sizeof(text), "verifying model %d", ticket.model_id);
	pgstat_report_activity(STATE_RUNNING, text);
	verify();
	succeeded = true;
	proc_exit(0);
}

static bool
attach(void)
{
	WhSlot *slot = &wh_shared->slots[ticket.slot];
	bool mine;

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	mine = slot->in_use && slot->generation == ticket.generation &&
		   slot->verification.process == WH_PROCESS_STARTING &&
		   slot->verification.model_id == ticket.model_id;
	if (mine && !slot->wanted)
	{
		memset(&slot->verification, 0, sizeof(WhBuildSlot));
		mine = false;
	}
	if (mine)
	{
		slot->verification.process = WH_PROCESS_RUNNING;
		slot->verification.pid = MyProcPid;
	}
	LWLockRelease(wh_shared->lock);
	if (!mine)
		wh_slots_wake_launcher();
	return mine;
}

/* leave gives the place back; after a failure that could not be kept, with a pause. */
static void
leave(int code, Datum arg)
{
	WhSlot *slot = &wh_shared->slots[ticket.slot];
	WhBuildSlot *verification = &slot->verification;

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	if (slot->generation == ticket.generation && verification->pid == MyProcPid)
	{
		int failures = succeeded ? 0 : verification->failures + 1;

		memset(verification, 0, sizeof(WhBuildSlot));
		verification->failures = failures;
		if (failures > 0)
			verification->not_before = TimestampTzPlusMilliseconds(
				GetCurrentTimestamp(), wh_slots_backoff_ms(failures));
	}
	LWLockRelease(wh_shared->lock);
	wh_slots_wake_launcher();
}

static void
verify(void)
{
	TimestampTz started = GetCurrentTimestamp();

	PG_TRY();
	{
		StartTransactionCommand();
		wh_settings_pin(NULL);
		wh_txn_mark_own();
		enable_timeout_after(STATEMENT_TIMEOUT, LONGEST_MS);
		wh_model_verify_and_keep(ticket.model_id, wh_worker_verify_sample);
		disable_timeout(STATEMENT_TIMEOUT, false);
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		keep_failure(started);
	}
	PG_END_TRY();
}

/* keep_failure stores that, and why, a model could not be verified. */
static void
keep_failure(TimestampTz started)
{
	ErrorData *error;

	disable_timeout(STATEMENT_TIMEOUT, false);
	MemoryContextSwitchTo(TopMemoryContext);
	error = CopyErrorData();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	StartTransactionCommand();
	wh_settings_pin(NULL);
	wh_txn_mark_own();
	wh_model_keep_failure(ticket.model_id, wh_worker_verify_sample, started, error);
	CommitTransactionCommand();
}
