/*
 * slot.c
 *		Slots with an exported snapshot.
 *
 * Creating a slot waits for every transaction of the source that has an xid.  The caller has
 * none, or a feed on its own cluster would wait for itself; the wait is limited, and its end names
 * who was waited for.
 */
#include "postgres.h"

#include "base/base.h"
#include "source/source_private.h"

pg_noreturn static void slot_timed_out(const WhFeed *feed, PGconn *replication, PGconn *plain);

XLogRecPtr
wh_slot_create(const WhFeed *feed, PGconn *replication, PGconn *plain, const char *slot,
			   WhSlotKind kind, char **snapshot)
{
	const char *sql =
		wh_sql("CREATE_REPLICATION_SLOT \"%s\"%s LOGICAL walhouse_output (SNAPSHOT 'export'%s)",
			   slot, kind == WH_SLOT_TEMPORARY ? " TEMPORARY" : "",
			   kind == WH_SLOT_FAILOVER ? ", FAILOVER" : "");
	WhResult *result;

	/* a walsender that waits for a lock does not see its client go: it needs a limit of its own */
	wh_source_query(replication, wh_sql("SET lock_timeout = %d", wh_feed_slot_timeout + 5000));
	wh_source_send(replication, sql);
	if (!wh_source_finish(replication, sql, wh_feed_slot_timeout, &result))
		slot_timed_out(feed, replication, plain);
	*snapshot = wh_result_value(result, 0, 2);
	return wh_feed_lsn(feed, wh_source_lsn(wh_result_value(result, 0, 1)));
}

static void
slot_timed_out(const WhFeed *feed, PGconn *replication, PGconn *plain)
{
	WhResult *holders = wh_source_query(
		plain,
		wh_sql(
			"SELECT pg_catalog.string_agg(h.pid::pg_catalog.text, ', ' ORDER BY h.pid)"
			" FROM pg_catalog.pg_locks h WHERE h.locktype = 'transactionid' AND h.granted AND "
			"h.mode = 'ExclusiveLock'"
			" AND h.pid <> %d",
			PQbackendPID(replication)));
	PGcancel *cancel = PQgetCancel(replication);
	char error[256];

	if (cancel != NULL)
	{
		PQcancel(cancel, error, sizeof(error));
		PQfreeCancel(cancel);
	}
	ereport(
		ERROR,
		(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
		 errmsg("the replication slot of feed \"%s\" could not be created in %d ms", feed->name,
				wh_feed_slot_timeout),
		 errdetail(
			 "It waits for the source's transactions that have written something; sessions: %s.",
			 wh_result_value(holders, 0, 0) != NULL ? wh_result_value(holders, 0, 0) :
													  "none any more"),
		 errhint("End those transactions, or raise walhouse.feed_slot_timeout.")));
}

void
wh_snapshot_use(PGconn *plain, const char *snapshot)
{
	wh_source_query(plain, wh_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
								  " SET TRANSACTION SNAPSHOT %L",
								  snapshot));
}

void
wh_slot_drop(const WhFeed *feed, PGconn *plain)
{
	for (int tries = 0;; tries++)
	{
		WhResult *slot =
			wh_source_query(plain, wh_sql("SELECT active_pid FROM pg_catalog.pg_replication_slots"
										  " WHERE slot_name = %L AND plugin = 'walhouse_output'"
										  " AND database = pg_catalog.current_database()",
										  feed->slot));

		if (slot->rows == 0)
			break;
		if (wh_result_value(slot, 0, 0) == NULL)
		{
			wh_source_query(plain,
							wh_sql("SELECT pg_catalog.pg_drop_replication_slot(%L)", feed->slot));
			break;
		}
		if (tries >= 100)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("replication slot \"%s\" is active at the source for process %s", feed->slot,
							wh_result_value(slot, 0, 0)),
					 errhint("Somebody else reads it; SELECT pg_terminate_backend(%s) at the source ends that.",
							 wh_result_value(slot, 0, 0))));
		wh_feed_pause(100);
	}
}
