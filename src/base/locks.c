/*
 * locks.c
 *		The locks of a feed, as object locks on its row in walhouse.feed.
 *
 * The stream lock belongs to the session that reads the slot and survives its transactions; a
 * process that dies loses it with everything else.  The state lock belongs to a transaction and is
 * taken first in it, before any relation's, so that nothing that changes what a feed has meets
 * another in a deadlock.
 *
 * Ingest appends to logs and mirrors, a load reads these in one snapshot and writes models: they
 * go on beside each other, so both share the state lock.  The stream lock keeps two ingests apart,
 * the load lock two loads.  The processes of a first copy share it with nobody else.  All else
 * (definitions that change, copies, ends of builds, drops, retention) has the state lock alone; who
 * waits for it so is before later ones that would share.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/inval.h"

#include "base/base.h"

static void lock_in_transaction(int32 feed_id, WhFeedLock which, LOCKMODE mode);

static void
feed_tag(LOCKTAG *tag, int32 feed_id, WhFeedLock which)
{
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, wh_catalog_relid("feed"), feed_id, which);
}

bool
wh_lock_stream(int32 feed_id, int *holder)
{
	LOCKTAG tag;
	WhRows *rows;
	WhArg args[2];

	feed_tag(&tag, feed_id, WH_LOCK_STREAM);
	if (LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL)
		return true;
	args[0] = WH_ARG_OID(wh_catalog_relid("feed"));
	args[1] = WH_ARG_INT4(feed_id);
	rows = wh_spi_query(
		"SELECT pid FROM pg_catalog.pg_locks"
		" WHERE locktype = 'object' AND granted AND objsubid = 1 AND classid = $1 AND objid = "
		"$2::pg_catalog.int8"
		" AND database = (SELECT oid FROM pg_catalog.pg_database"
		"                 WHERE datname = pg_catalog.current_database())",
		2, args);
	*holder = rows->count > 0 ? wh_rows_int4(rows, 0, 1) : 0;
	return false;
}

void
wh_unlock_stream(int32 feed_id)
{
	LOCKTAG tag;

	feed_tag(&tag, feed_id, WH_LOCK_STREAM);
	LockRelease(&tag, ExclusiveLock, true);
}

void
wh_lock_state(int32 feed_id)
{
	lock_in_transaction(feed_id, WH_LOCK_STATE, ExclusiveLock);
}

void
wh_lock_ingest(int32 feed_id)
{
	lock_in_transaction(feed_id, WH_LOCK_STATE, RowExclusiveLock);
}

void
wh_lock_load(int32 feed_id)
{
	lock_in_transaction(feed_id, WH_LOCK_STATE, RowExclusiveLock);
	lock_in_transaction(feed_id, WH_LOCK_LOAD, ExclusiveLock);
}

void
wh_lock_copy(int32 feed_id)
{
	lock_in_transaction(feed_id, WH_LOCK_STATE, ShareLock);
}

static void
lock_in_transaction(int32 feed_id, WhFeedLock which, LOCKMODE mode)
{
	LOCKTAG tag;

	feed_tag(&tag, feed_id, which);
	(void) LockAcquire(&tag, mode, false, false);
	/* Whoever waited sees what those did that had it, as with the lock of a relation. */
	AcceptInvalidationMessages();
}
