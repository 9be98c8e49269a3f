/*
 * visit.c
 *		The database worker: looks which feeds of a database are started, and when a step of its
 * partition sets is due, tells the launcher's slots, and ends.
 *
 * It connects as the bootstrap superuser, but reads nothing except walhouse's own catalog, and
 * only where the extension is.  It lives for some milliseconds, so that DROP DATABASE and CREATE
 * DATABASE … TEMPLATE, which wait five seconds for others to leave, never meet it for long.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "partition/partition.h"
#include "worker/worker.h"
#include "worker/worker_private.h"

extern PGDLLEXPORT void wh_worker_database_main(Datum arg);

static void leave(int code, Datum arg);
static WhRows *started_feeds(void);
static void fill_slots(const WhRows *feeds);
static TimestampTz first_due(void);

static bool succeeded = false;

void
wh_worker_database_main(Datum arg)
{
	WhTicket ticket;
	WhRows *feeds;

	wh_process_signals();
	wh_start_ticket(&ticket);
	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	if (wh_shared->visit.database != ticket.database ||
		wh_shared->visit.process != WH_PROCESS_STARTING)
	{
		LWLockRelease(wh_shared->lock);
		proc_exit(0);
	}
	wh_shared->visit.process = WH_PROCESS_RUNNING;
	LWLockRelease(wh_shared->lock);
	on_shmem_exit(leave, (Datum) 0);

	wh_process_connect(ticket.database, InvalidOid);
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, "looking for feeds that are started");
	MemoryContextSwitchTo(PortalContext);
	feeds = started_feeds();
	fill_slots(feeds);
	wh_houses_set_due(MyDatabaseId, first_due());
	CommitTransactionCommand();
	succeeded = true;
	proc_exit(0);
}

static void
leave(int code, Datum arg)
{
	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	wh_shared->visit.over = true;
	wh_shared->visit.succeeded = succeeded;
	LWLockRelease(wh_shared->lock);
	wh_slots_wake_launcher();
}

/* started_feeds reads the feeds that are started: id, owner, name; none where the extension is
 * not. */
static WhRows *
started_feeds(void)
{
	if (!OidIsValid(get_extension_oid("walhouse", true)))
		return palloc0(sizeof(WhRows));
	wh_settings_pin(NULL);
	return wh_catalog_query("SELECT feed_id, owner::pg_catalog.oid, name FROM walhouse.feed"
							" WHERE enabled AND state = 'ready' ORDER BY feed_id",
							0, NULL);
}

/* first_due is when a step of partitions is due here; DT_NOEND: never. */
static TimestampTz
first_due(void)
{
	return OidIsValid(get_extension_oid("walhouse", true)) ? wh_partition_next_due() : DT_NOEND;
}

/* fill_slots makes this database's slots say what the catalog says. */
static void
fill_slots(const WhRows *feeds)
{
	char **names = palloc(sizeof(char *) * (feeds->count + 1));
	bool full = false;

	for (uint64 row = 0; row < feeds->count; row++)
		names[row] = wh_rows_text(feeds, row, 3);
	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < wh_shared->nslots; i++)
		if (wh_shared->slots[i].in_use && wh_shared->slots[i].database == MyDatabaseId)
			wh_shared->slots[i].wanted = false;
	for (uint64 row = 0; row < feeds->count; row++)
		if (!wh_slots_want(MyDatabaseId, wh_rows_int4(feeds, row, 1), wh_rows_oid(feeds, row, 2),
						   names[row]))
			full = true;
	LWLockRelease(wh_shared->lock);
	if (full)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("more feeds are started than walhouse.max_feeds allows"),
				 errdetail("Some feeds of this database have no worker."),
				 errhint("Raise walhouse.max_feeds and restart the server.")));
}
