/*
 * toplevel.c
 *		Transactions of the process that does what is due, and statements that must be ones of
 *		their own.
 *
 * DETACH PARTITION … CONCURRENTLY and VACUUM commit and go on; the server lets them through only as
 * statements that a client sent.  A portal that says that it is one, outside of SPI, is what a
 * client's statement runs in, so that is what they get here.
 *
 * They run as the set's owner, whom the process, a superuser's, becomes before the
 * statement; a transaction must not begin under a restricted security context, which such
 * statements do, so there is none.  No function of a user's runs in them: VACUUM and ANALYZE take
 * the restricted context by themselves before they compute an index's expressions, and partition
 * keys of sets are columns of built-in types.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
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
	Oid self;
	int sec_context;

	GetUserIdAndSecContext(&self, &sec_context);
	wh_toplevel_begin();
	SetUserIdAndSecContext(role, 0);
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
	SetUserIdAndSecContext(self, sec_context);
	wh_toplevel_commit();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

void
wh_toplevel_point(const char *name)
{
	if (wh_partition_debug_point == NULL || strcmp(wh_partition_debug_point, name) != 0)
		return;
	pgstat_report_activity(STATE_RUNNING, psprintf("standing at %s", name));
	for (;;)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}
