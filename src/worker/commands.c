/*
 * commands.c
 *		start(), stop() and wait_for().
 *
 * start() and stop() change the catalog, and at the commit have the launcher look at the
 * database.  The callback sets flags in shared memory and a latch, nothing that could fail: an
 * error after the commit would be a panic.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "feed/feed.h"
#include "worker/worker.h"
#include "worker/worker_private.h"

#define POLL_MS 10
#define DAY_MS ((int64) SECS_PER_DAY * 1000)

PG_FUNCTION_INFO_V1(walhouse_start);
PG_FUNCTION_INFO_V1(walhouse_stop);
PG_FUNCTION_INFO_V1(walhouse_wait_for);

static void at_transaction_end(XactEvent event, void *arg);
static WhFeed *own_feed(text *name);
static void check_preloaded(void);
static void check_owner_can_login(const WhFeed *feed);
static void set_enabled(int32 feed_id, bool enabled);
static void check_free_transaction(void);
static int64 interval_ms(const Interval *interval);
static bool wait_until_reached(int32 feed_id, XLogRecPtr lsn, TimestampTz until);
static void report_late(const WhFeed *feed, XLogRecPtr lsn);

static bool visit_at_commit = false;

void
wh_commands_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
}

void
wh_commands_visit_at_commit(void)
{
	if (wh_shared != NULL)
		visit_at_commit = true;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (!visit_at_commit)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot prepare a transaction that has started or stopped a feed, or changed a partition set")));
			break;
		case XACT_EVENT_COMMIT:
			visit_at_commit = false;
			wh_slots_request_visit(MyDatabaseId);
			break;
		case XACT_EVENT_ABORT:
			visit_at_commit = false;
			break;
		default:
			break;
	}
}

/* walhouse_start(feed text): the feed is kept current by a worker from the commit on. */
Datum
walhouse_start(PG_FUNCTION_ARGS)
{
	WhFeed *feed;

	check_preloaded();
	feed = own_feed(PG_GETARG_TEXT_PP(0));
	if (strcmp(feed->state, "ready") != 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("feed \"%s\" is not ready", feed->name),
						errdetail("Its state is %s.", feed->state),
						errhint("Run CALL walhouse.drop_feed(%s), and create it again.",
								wh_sql_literal(feed->name))));
	check_owner_can_login(feed);
	if (!wh_slots_room_for(MyDatabaseId, feed->id))
		ereport(
			ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("cannot start feed \"%s\"", feed->name),
			 errdetail(
				 "%d feeds are started on this server, as many as walhouse.max_feeds allows.",
				 wh_worker_max_feeds),
			 errhint("Raise walhouse.max_feeds and restart the server, or stop another feed.")));
	if (!wh_worker_enabled)
		ereport(
			WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("feed \"%s\" does not run while walhouse.worker is off", feed->name),
			 errhint("Run ALTER SYSTEM SET walhouse.worker = on, and SELECT pg_reload_conf().")));
	set_enabled(feed->id, true);
	PG_RETURN_VOID();
}

/* walhouse_stop(feed text): the feed's worker ends soon after the commit; what it has committed
 * stays. */
Datum
walhouse_stop(PG_FUNCTION_ARGS)
{
	WhFeed *feed = own_feed(PG_GETARG_TEXT_PP(0));

	set_enabled(feed->id, false);
	PG_RETURN_VOID();
}

static WhFeed *
own_feed(text *name)
{
	WhFeed *feed = wh_changelog_feed(text_to_cstring(name), false);

	wh_user_check_owner(feed->owner, "feed", feed->name);
	return feed;
}

static void
check_preloaded(void)
{
	const char *libraries = GetConfigOption("shared_preload_libraries", true, false);

	if (wh_shared != NULL)
		return;
	if (libraries == NULL || libraries[0] == '\0')
		libraries = "walhouse";
	else
		libraries = psprintf("%s,walhouse", libraries);
	ereport(
		ERROR,
		(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		 errmsg("feeds cannot be started, because the server has not preloaded walhouse"),
		 errdetail("CALL walhouse.run(feed) works without."),
		 errhint("Put this line into postgresql.conf, and restart the server:"
				 " shared_preload_libraries = %s",
				 wh_sql_literal(libraries))));
}

static void
check_owner_can_login(const WhFeed *feed)
{
	HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(feed->owner));
	bool can_login = HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	char *owner = GetUserNameFromId(feed->owner, true);

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	if (can_login)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot start feed \"%s\", because its owner may not log in", feed->name),
			 errdetail("The worker runs as the feed's owner, %s.",
					   owner != NULL ? owner : "a role that does not exist"),
			 errhint("Run ALTER ROLE %s LOGIN; it needs no password.",
					 owner != NULL ? wh_sql_identifier(owner) : "…")));
}

static void
set_enabled(int32 feed_id, bool enabled)
{
	WhArg args[] = {WH_ARG_INT4(feed_id), WH_ARG_BOOL(enabled)};

	wh_txn_mark_own();
	wh_catalog_execute("UPDATE walhouse.feed SET enabled = $2 WHERE feed_id = $1", 2, args);
	wh_commands_visit_at_commit();
}

/*
 * walhouse_wait_for(feed text, lsn pg_lsn, timeout interval): returns true when everything up to
 * lsn is in the feed's mirrors and live models; raises when that takes longer.
 */
Datum
walhouse_wait_for(PG_FUNCTION_ARGS)
{
	WhFeed *feed = wh_changelog_feed(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	XLogRecPtr lsn = wh_feed_lsn(feed, PG_GETARG_LSN(1));
	int64 limit = interval_ms(PG_GETARG_INTERVAL_P(2));

	check_free_transaction();
	if (!wait_until_reached(feed->id, lsn,
							TimestampTzPlusMilliseconds(GetCurrentTimestamp(), limit)))
		report_late(feed, lsn);
	PG_RETURN_BOOL(true);
}

/* check_free_transaction refuses to wait where the feed could be waiting for us, or where we
 * could never see it come. */
static void
check_free_transaction(void)
{
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("walhouse.wait_for cannot wait in a transaction that has written"),
				 errdetail("What it wrote reaches the feed only after its commit."),
				 errhint("Commit first.")));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("walhouse.wait_for cannot wait in a transaction with a fixed snapshot"),
				 errdetail("It would never see the feed's progress."),
				 errhint("Call it in a transaction with isolation level READ COMMITTED.")));
}

static int64
interval_ms(const Interval *interval)
{
	int64 days = (int64) interval->month * DAYS_PER_MONTH + interval->day;
	int64 ms;

	/* Beyond 100 years it is for ever. */
	days = Min(Max(days, 0), 36525);
	ms = days * DAY_MS + Min(interval->time / 1000, 36525 * DAY_MS);
	return Max(ms, 0);
}

/* wait_until_reached asks again whenever the feed's worker says that something moved, and each 10
 * ms at the latest. */
static bool
wait_until_reached(int32 feed_id, XLogRecPtr lsn, TimestampTz until)
{
	MemoryContext poll =
		AllocSetContextCreate(CurrentMemoryContext, "walhouse wait", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(poll);
	ConditionVariable *moved;
	bool reached;

	for (;;)
	{
		bool has_worker = wh_slots_wish(feed_id, lsn, &moved);

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(poll);
		if (has_worker)
			ConditionVariablePrepareToSleep(moved);
		reached = wh_round_reached(feed_id, lsn);
		if (reached || GetCurrentTimestamp() >= until)
			break;
		if (has_worker)
			(void) ConditionVariableTimedSleep(moved, POLL_MS, PG_WAIT_EXTENSION);
		else
		{
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, POLL_MS,
							 PG_WAIT_EXTENSION);
			ResetLatch(MyLatch);
		}
	}
	ConditionVariableCancelSleep();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(poll);
	return reached;
}

/* report_late raises, with what is known about why. */
static void
report_late(const WhFeed *feed, XLogRecPtr lsn)
{
	XLogRecPtr position = wh_changelog_position(feed->id, NULL);
	List *infos = wh_worker_list();
	const WhWorkerInfo *info = NULL;
	const char *worker = "It has no worker";

	for (int i = 0; i < list_length(infos); i++)
		if (((WhWorkerInfo *) list_nth(infos, i))->feed_id == feed->id)
			info = list_nth(infos, i);
	if (info != NULL && info->error != NULL && info->pid == 0)
		worker = psprintf("Its worker waits to be restarted after: %s", info->error);
	else if (info != NULL)
		worker = psprintf("Its worker is %s: %s", info->state, info->activity);
	ereport(
		ERROR,
		(errcode(ERRCODE_QUERY_CANCELED),
		 errmsg("feed \"%s\" has not reached %X/%X in time", feed->name, LSN_FORMAT_ARGS(lsn)),
		 errdetail("Its position is %X/%X. %s.", LSN_FORMAT_ARGS(position), worker),
		 info != NULL ? errhint("Look at walhouse.stat_feed and walhouse.stat_model.") :
						errhint("Run CALL walhouse.run(%s), or SELECT walhouse.start(%s).",
								wh_sql_literal(feed->name), wh_sql_literal(feed->name))));
}
