/*
 * due.c
 *		What is due, done: one step after the other, each with its own errors and back-off.
 *
 * The next step of each partition, and of each set, stands in walhouse.partition_step with the time
 * when it is due, so that "nothing is due" is one probe of an index on that time.
 *
 * A step is claimed in a transaction of its own, which counts it as a failure and puts it off; what
 * it does when it is done takes that back.  So one that takes the server down with it is not tried
 * again at once, and for ever.  An error is caught here, at the process's top level, where the
 * whole transaction can be given up; it is kept with its step and ends nothing else.
 *
 * A step that does not get a lock in time (walhouse.partition_lock_timeout) is tried a few times
 * more after pauses of random length, before it counts as failed.
 *
 * Commits do not wait for the disk, but for those of claims, and the run's end: a crash takes from
 * the end of the WAL, so that what is left is a step that has not come as far, like any other that
 * was cut off.
 *
 * One process of a database does this at a time, by a lock of its session.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "partition/partition.h"
#include "partition/partition_private.h"

#define LOCK_TRIES 5
#define FIRST_PAUSE_MS 50
#define BATCH 200
#define BACKOFF_LIMIT_MS 300000
#define TURN_CLASS 3 /* 1 and 2 are those of SQL's advisory locks */

/* A step that is due. */
typedef struct Errand
{
	int32 set_id;
	Oid relid;
	char *step;
	TimestampTz due;
	TimestampTz put_off; /* until then, when it is claimed */
} Errand;

static void take_turn(void);
static void forget_gone(void);
static void make_looked_at(const WhPartitionRun *run);
static List *pick(const WhPartitionRun *run, TimestampTz started, MemoryContext context);
static bool claim(Errand *errand);
static void do_step(const Errand *errand, TimestampTz now);
static ErrorData *try_step(const Errand *errand, TimestampTz now);
static void keep_error(const Errand *errand, ErrorData *error);
static void pause_for(long ms);

void
wh_partition_run(const WhPartitionRun *run)
{
	TimestampTz started = GetCurrentTimestamp();
	MemoryContext outer = PortalContext;
	MemoryContext batch =
		AllocSetContextCreate(TopMemoryContext, "walhouse due steps", ALLOCSET_DEFAULT_SIZES);
	List *errands;

	PortalContext =
		AllocSetContextCreate(TopMemoryContext, "walhouse step", ALLOCSET_DEFAULT_SIZES);
	take_turn();
	forget_gone();
	make_looked_at(run);
	while ((errands = pick(run, started, batch)) != NIL)
	{
		ListCell *cell;

		foreach(cell, errands)
		{
			Errand *errand = lfirst(cell);

			if (claim(errand))
				do_step(errand, run->at != 0 ? run->at : GetCurrentTimestamp());
			MemoryContextReset(PortalContext);
		}
		MemoryContextReset(batch);
	}
	XLogFlush(XactLastCommitEnd);
	PortalContext = outer;
	MemoryContextSwitchTo(outer);
}

TimestampTz
wh_partition_next_due(void)
{
	WhRows *rows =
		wh_catalog_query("SELECT due FROM walhouse.partition_step ORDER BY due LIMIT 1", 0, NULL);
	bool isnull;

	return rows->count == 0 ? DT_NOEND : DatumGetTimestampTz(wh_rows_datum(rows, 0, 1, &isnull));
}

void
wh_partition_report(const WhPartitionRun *run, TimestampTz since)
{
	WhRows *rows = wh_catalog_query(
		"SELECT t.step, t.relid::pg_catalog.regclass::pg_catalog.text, t.error FROM"
		" walhouse.partition_step t JOIN walhouse.partition_set s ON s.set_id = t.set_id JOIN"
		" pg_catalog.pg_class c ON c.oid = s.parent WHERE t.tried >= $1 AND t.failures > 0 AND"
		" t.error IS NOT NULL AND ($2 = 0 OR s.parent = $2) AND ($3 = 0 OR"
		" pg_catalog.pg_has_role($3, c.relowner, 'USAGE')) ORDER BY 2, 1",
		3,
		(WhArg[]){WH_ARG_TIMESTAMPTZ(since), WH_ARG_OID(run->parent), WH_ARG_OID(run->role)});

	for (uint64 i = 0; i < rows->count; i++)
		ereport(WARNING, (errcode(ERRCODE_WARNING),
						  errmsg("step \"%s\" of \"%s\" has failed: %s", wh_rows_text(rows, i, 1),
								 wh_rows_text(rows, i, 2), wh_rows_text(rows, i, 3)),
						  errhint("It is tried again; see walhouse.partitions.")));
}

/* take_turn waits until no other process does this in the database.  The lock is of the kind that
 * errors leave alone and the end of the process takes back. */
static void
take_turn(void)
{
	LOCKTAG tag;
	bool is_mine = false;

	/* Between looks there is no transaction that others would have to wait for. */
	while (!is_mine)
	{
		wh_toplevel_begin();
		SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, wh_catalog_relid("partition_set"), 0, TURN_CLASS);
		is_mine = LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
		wh_toplevel_commit();
		if (!is_mine)
			pause_for(FIRST_PAUSE_MS);
	}
	SetConfigOption("lock_timeout", psprintf("%dms", wh_partition_lock_timeout), PGC_USERSET,
					PGC_S_SESSION);
	SetConfigOption("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION);
}

/* forget_gone forgets sets whose tables are no more, and what was under way with them: a set goes
 * with its table. */
static void
forget_gone(void)
{
	static const char *const tables[] = {"partition_step", "partition", "partition_event",
										 "partition_set"};
	WhRows *gone;

	wh_toplevel_begin();
	wh_set_gone();
	gone = wh_catalog_query("SELECT s.set_id FROM walhouse.partition_set s WHERE NOT EXISTS (SELECT"
							" FROM pg_catalog.pg_class c WHERE c.oid = s.parent)",
							0, NULL);
	for (uint64 i = 0; i < gone->count; i++)
	{
		WhArg args[] = {WH_ARG_INT4(wh_rows_int4(gone, i, 1))};

		for (int t = 0; t < lengthof(tables); t++)
			wh_catalog_execute(wh_sql("DELETE FROM walhouse.%I WHERE set_id = $1", tables[t]), 1,
							   args);
		ereport(LOG, (errmsg("walhouse forgets partition set %d, whose table was dropped",
							 wh_rows_int4(gone, i, 1))));
	}
	wh_toplevel_commit();
}

/* make_looked_at has a set that was asked for looked at, due or not, and what has failed tried
 * again without its pause. */
static void
make_looked_at(const WhPartitionRun *run)
{
	WhArg args[] = {WH_ARG_OID(run->parent),
					WH_ARG_TIMESTAMPTZ(run->at != 0 ? run->at : GetCurrentTimestamp())};

	if (!OidIsValid(run->parent))
		return;
	wh_toplevel_begin();
	wh_catalog_execute("UPDATE walhouse.partition_step t SET due = $2 FROM walhouse.partition_set s"
					   " WHERE s.parent = $1 AND s.enabled AND t.set_id = s.set_id AND (t.step ="
					   " 'make' OR t.failures > 0) AND t.due > $2",
					   2, args);
	wh_toplevel_commit();
}

/* pick lists steps that are due and were not tried in this run: those that make partitions alone
 * first, since they find out what else is due, and last those that have failed, since what they
 * wait for may be among the others. */
static List *
pick(const WhPartitionRun *run, TimestampTz started, MemoryContext context)
{
	WhArg args[] = {WH_ARG_TIMESTAMPTZ(run->at != 0 ? run->at : GetCurrentTimestamp()),
					WH_ARG_TIMESTAMPTZ(started), WH_ARG_OID(run->parent), WH_ARG_OID(run->role),
					WH_ARG_INT4(BATCH)};
	List *errands = NIL;
	WhRows *rows;

	wh_toplevel_begin();
	rows = wh_catalog_query(
		"SELECT t.set_id, t.relid::pg_catalog.oid, t.step, t.due FROM walhouse.partition_step t"
		" JOIN walhouse.partition_set s ON s.set_id = t.set_id JOIN pg_catalog.pg_class c ON c.oid"
		" = s.parent WHERE t.due <= $1 AND (t.tried IS NULL OR t.tried < $2) AND ($3 = 0 OR"
		" s.parent = $3) AND ($4 = 0 OR pg_catalog.pg_has_role($4, c.relowner, 'USAGE')) ORDER BY"
		" t.step <> 'make', t.failures > 0, t.due, t.relid::pg_catalog.oid LIMIT $5",
		lengthof(args), args);
	MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < rows->count; i++)
	{
		Errand *errand = palloc0(sizeof(Errand));
		bool isnull;

		errand->set_id = wh_rows_int4(rows, i, 1);
		errand->relid = wh_rows_oid(rows, i, 2);
		errand->step = wh_rows_text(rows, i, 3);
		errand->due = DatumGetTimestampTz(wh_rows_datum(rows, i, 4, &isnull));
		if (errands != NIL && strcmp(errand->step, "make") != 0 &&
			strcmp(((Errand *) linitial(errands))->step, "make") == 0)
			break;
		errands = lappend(errands, errand);
	}
	wh_toplevel_commit();
	MemoryContextReset(PortalContext);
	return errands;
}

/* claim counts a step as one that was cut off, until it says otherwise; false when it is another
 * one by now. */
static bool
claim(Errand *errand)
{
	WhArg args[] = {WH_ARG_INT4(errand->set_id), WH_ARG_OID(errand->relid),
					wh_arg_text(errand->step), WH_ARG_TIMESTAMPTZ(errand->due),
					WH_ARG_INT4(BACKOFF_LIMIT_MS)};
	WhRows *rows;
	bool isnull;

	wh_toplevel_begin();
	(void) set_config_option("synchronous_commit", "local", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	rows =
		wh_catalog_query(
			"UPDATE walhouse.partition_step SET tried = pg_catalog.clock_timestamp(), failures ="
			" failures + 1, error = 'The step was cut off.', error_time ="
			" pg_catalog.clock_timestamp(), due = pg_catalog.clock_timestamp() + LEAST($5, 1000 *"
			" 2.0 ^ LEAST(failures, 20)) * (0.75 + pg_catalog.random() / 2) * '1 ms'"
			"::pg_catalog.interval WHERE set_id = $1 AND relid = $2 AND step = $3 AND due = $4"
			" RETURNING due",
			lengthof(args), args);
	if (rows->count > 0)
		errand->put_off = DatumGetTimestampTz(wh_rows_datum(rows, 0, 1, &isnull));
	wh_toplevel_commit();
	return rows->count > 0;
}

/* do_step does a step, again after a pause where it did not get a lock. */
static void
do_step(const Errand *errand, TimestampTz now)
{
	ErrorData *error;

	for (int i = 1;; i++)
	{
		error = try_step(errand, now);
		if (error == NULL)
			return;
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE || i == LOCK_TRIES)
			break;
		pause_for(pg_prng_uint64_range(&pg_global_prng_state, FIRST_PAUSE_MS,
									   FIRST_PAUSE_MS << i));
	}
	keep_error(errand, error);
}

/* try_step returns what a step has raised; NULL: it is done. */
static ErrorData *
try_step(const Errand *errand, TimestampTz now)
{
	MemoryContext context = PortalContext;
	ErrorData *volatile error = NULL;
	Oid self;
	int sec_context;

	GetUserIdAndSecContext(&self, &sec_context);
	PG_TRY();
	{
		wh_step_run(errand->set_id, errand->relid, errand->step, now, errand->put_off);
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		PortalContext = context;
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		/* A statement of its own may have begun its transactions as the set's owner. */
		SetUserIdAndSecContext(self, sec_context);
		LWLockReleaseAll();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	return error;
}

/* keep_error keeps what a step has raised, and logs the first of a row. */
static void
keep_error(const Errand *errand, ErrorData *error)
{
	char *text;
	WhArg args[4] = {WH_ARG_INT4(errand->set_id), WH_ARG_OID(errand->relid),
					 wh_arg_text(errand->step)};
	WhRows *rows;

	MemoryContextSwitchTo(PortalContext);
	text = error->detail != NULL ? psprintf("%s: %s", error->message, error->detail) :
								   pstrdup(error->message);
	args[3] = wh_arg_text(text);
	wh_toplevel_begin();
	rows = wh_catalog_query("UPDATE walhouse.partition_step SET error = $4, error_time ="
							" pg_catalog.clock_timestamp() WHERE set_id = $1 AND relid = $2 AND"
							" step = $3 RETURNING failures",
							4, args);
	if (rows->count > 0 && wh_rows_int4(rows, 0, 1) == 1)
		ereport(LOG, (errmsg("step \"%s\" of partition set %d has failed: %s", errand->step,
							 errand->set_id, text),
					  errdetail("Table: %s.", get_rel_name(errand->relid) != NULL ?
												  wh_sql_relation(errand->relid) :
												  "gone")));
	wh_toplevel_commit();
}

static void
pause_for(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
					 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}
