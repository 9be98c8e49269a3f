/*
 * toplevel.c
 *		Transactions of the process that does what is due, and statements that must be ones of
 *		their own.
 *
 * DETACH PARTITION … CONCURRENTLY and VACUUM commit and go on; the server lets them through only as
 * statements that a client sent.  A portal that says that it is one, outside of SPI, is what a
 * client's statement runs in, so that is what they get here.
 *
 * They run as the set's owner, under SECURITY_RESTRICTED_OPERATION: DETACH looks at constraints and
 * keys, which computes whatever of a user's functions is called immutable, and the session is a
 * superuser's, whom such a function could become otherwise.  A transaction must not begin under
 * the restricted context, so the first commit of the statement takes it back, together with what
 * those functions did to settings.  Nothing of a user's runs after that: VACUUM and ANALYZE take
 * the restricted context by themselves, and DETACH has proven by then what it proves.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "tcop/dest.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"

#include "partition/partition.h"
#include "partition/partition_private.h"

#define PATIENCE "60s"

static WhUser *restricted = NULL; /* before the first commit of a statement: whom it came from */

static void lift(XactEvent event, void *arg);

void
wh_toplevel_init(void)
{
	RegisterXactCallback(lift, NULL);
}

/* lift ends the restricted context before a statement commits and goes on; an abort does so by
 * itself. */
static void
lift(XactEvent event, void *arg)
{
	Oid role;
	int sec_context;

	if (restricted == NULL)
		return;
	if (event == XACT_EVENT_PRE_COMMIT)
	{
		GetUserIdAndSecContext(&role, &sec_context);
		wh_user_restore(restricted);
		SetUserIdAndSecContext(role, 0);
	}
	restricted = NULL;
}

void
wh_toplevel_begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	MemoryContextSwitchTo(PortalContext);
	wh_settings_pin("UTC");
	wh_txn_mark_own();
}

void
wh_toplevel_commit(void)
{
	CommitTransactionCommand();
	pgstat_report_stat(false);
}

void
wh_toplevel_run(Oid role, const char *sql)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context =
		AllocSetContextCreate(PortalContext, "walhouse statement", ALLOCSET_DEFAULT_SIZES);
	RawStmt *raw;
	List *plans;
	Portal portal;
	WhUser self;

	wh_toplevel_begin();
	wh_user_become(role, &self);
	restricted = &self;
	MemoryContextSwitchTo(context);
	pgstat_report_activity(STATE_RUNNING, sql);
	raw = linitial_node(RawStmt, pg_parse_query(sql));
	PushActiveSnapshot(GetTransactionSnapshot());
	plans = pg_plan_queries(pg_analyze_and_rewrite_fixedparams(raw, sql, NULL, 0, NULL), sql,
							CURSOR_OPT_PARALLEL_OK, NULL);
	PopActiveSnapshot();
	portal = CreatePortal("", true, true);
	portal->visible = false;
	PortalDefineQuery(portal, NULL, sql, CreateCommandTag(raw->stmt), plans, NULL);
	PortalStart(portal, NULL, 0, InvalidSnapshot);
	(void) wh_compat_portal_run(portal, None_Receiver, NULL);
	PortalDrop(portal, false);
	if (restricted != NULL)
		wh_user_restore(&self);
	else
		SetUserIdAndSecContext(self.userid, self.sec_context);
	restricted = NULL;
	wh_toplevel_commit();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

/* wh_toplevel_run_patiently: what makes or drops an index waits for transactions that are older, at
 * last for all of the database; a build that is given up after a moment would never get there. */
void
wh_toplevel_run_patiently(Oid role, const char *sql)
{
	SetConfigOption("lock_timeout", PATIENCE, PGC_USERSET, PGC_S_SESSION);
	PG_TRY();
	{
		wh_toplevel_run(role, sql);
	}
	PG_FINALLY();
	{
		SetConfigOption("lock_timeout", psprintf("%dms", wh_partition_lock_timeout),
						PGC_USERSET, PGC_S_SESSION);
	}
	PG_END_TRY();
}

void
wh_toplevel_point(const char *name)
{
	while (wh_partition_debug_point != NULL && strcmp(wh_partition_debug_point, name) == 0)
	{
		pgstat_report_activity(STATE_RUNNING, psprintf("standing at %s", name));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
}
