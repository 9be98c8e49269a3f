/*
 * source.c
 *		Settings of the room, and what all that talk to a source need.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/guc.h"

#include "base/base.h"
#include "source/source_private.h"

int wh_feed_slot_timeout = 60000;

void
wh_source_init(void)
{
	DefineCustomIntVariable(
		"walhouse.feed_slot_timeout", "Time that the creation of a replication slot may take.",
		"It waits for every transaction of the source that has written something.",
		&wh_feed_slot_timeout, 60000, 1, INT_MAX / 2, PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	wh_connect_init();
}

TimestampTz
wh_source_time(PGconn *plain)
{
	WhResult *result = wh_source_query(
		plain, "SELECT pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())"
			   "::pg_catalog.numeric * 1000000");

	return (TimestampTz) strtod(wh_result_value(result, 0, 0), NULL) -
		   (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

void
wh_feed_take_stream(const WhFeed *feed, bool is_patient)
{
	int holder;

	/* A worker that was told to stop is gone within a second or so. */
	for (int tries = 0; !wh_lock_stream(feed->id, &holder); tries++)
	{
		if ((feed->enabled && !is_patient) || tries >= 100)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("feed \"%s\" is being read by process %d", feed->name, holder),
					 errhint("SELECT walhouse.stop(%s), and try again.",
							 wh_sql_literal(feed->name))));
		wh_feed_pause(100);
	}
}

void
wh_feed_pause(long milliseconds)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, milliseconds,
					 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}
