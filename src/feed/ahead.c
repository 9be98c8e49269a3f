/*
 * ahead.c
 *		What resync_table has logged at LSNs that the stream has not reached yet.
 *
 * Another process logged it, with a row of txn whose clock is the source's time then.  The feed's
 * clock must not be lower behind it, though a commit may be dated a moment earlier.  And models
 * wait for the position to be there, so an idle source is asked for it.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "feed/feed_private.h"

typedef struct Ahead
{
	XLogRecPtr lsn;
	TimestampTz clock;
} Ahead;

static void look(WhStream *stream);

const List *
wh_ahead_of(WhStream *stream)
{
	uint64 generation = wh_changelog_generation();

	if (generation != stream->ahead_generation)
	{
		look(stream);
		stream->ahead_generation = generation;
	}
	return stream->ahead;
}

static void
look(WhStream *stream)
{
	WhArg args[] = {WH_ARG_INT4(stream->feed->id), WH_ARG_LSN(stream->position)};
	WhRows *rows = wh_catalog_query(
		wh_sql("SELECT t.compared_lsn, COALESCE(x.clock, '-infinity') FROM walhouse.feed_table t"
			   " LEFT JOIN %T x ON x.end_lsn = t.compared_lsn"
			   " WHERE t.feed_id = $1 AND t.compared_lsn > $2 ORDER BY t.compared_lsn",
			   wh_changelog_txn_relid(stream->feed)),
		lengthof(args), args);
	MemoryContext old = MemoryContextSwitchTo(stream->context);

	list_free_deep(stream->ahead);
	stream->ahead = NIL;
	for (uint64 i = 0; i < rows->count; i++)
	{
		Ahead *ahead = palloc(sizeof(Ahead));
		bool isnull;

		ahead->lsn = wh_rows_lsn(rows, i, 1);
		ahead->clock = DatumGetTimestampTz(wh_rows_datum(rows, i, 2, &isnull));
		stream->ahead = lappend(stream->ahead, ahead);
	}
	MemoryContextSwitchTo(old);
}

TimestampTz
wh_ahead_clock(const List *ahead, XLogRecPtr lsn, TimestampTz clock)
{
	foreach_ptr(const Ahead, one, ahead)
	{
		if (one->lsn <= lsn)
			clock = Max(clock, one->clock);
	}
	return clock;
}

XLogRecPtr
wh_ahead_next(const WhStream *stream)
{
	foreach_ptr(const Ahead, one, stream->ahead)
	{
		if (one->lsn > stream->position)
			return one->lsn;
	}
	return InvalidXLogRecPtr;
}
