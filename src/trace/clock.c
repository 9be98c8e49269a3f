/*
 * clock.c
 *		From a time to a position, and from a position to the load that passed it.
 *
 * The feed clock grows with the ends of transactions, and a model's position with its loads; so
 * both are found by halving, with a probe of an index for each step, and need no index of their
 * own.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "base/base.h"
#include "trace/trace_private.h"

XLogRecPtr
wh_trace_position(const WhFeed *feed, TimestampTz clock, XLogRecPtr position)
{
	char *probe = wh_sql("SELECT t.end_lsn, t.clock FROM %T t WHERE t.end_lsn > $1 AND t.end_lsn <="
						 " $2 ORDER BY t.end_lsn DESC LIMIT 1",
						 wh_changelog_txn_relid(feed));
	XLogRecPtr found = InvalidXLogRecPtr;
	XLogRecPtr low = InvalidXLogRecPtr;
	XLogRecPtr high = position;

	/* Up to low no clock is after the time, and behind high each is. */
	while (low < high)
	{
		XLogRecPtr middle = low + (high - low + 1) / 2;
		WhRows *rows = wh_spi_query_snapshot(
			probe, 2, (WhArg[]){WH_ARG_LSN(low), WH_ARG_LSN(middle)});
		bool isnull;

		if (rows->count == 0)
			low = middle;
		else if (DatumGetTimestampTz(wh_rows_datum(rows, 0, 2, &isnull)) <= clock)
		{
			found = wh_rows_lsn(rows, 0, 1);
			low = middle;
		}
		else
			high = wh_rows_lsn(rows, 0, 1) - 1;
	}
	return found;
}

bool
wh_trace_range(const WhFeed *feed, TimestampTz clock, XLogRecPtr position, XLogRecPtr *from,
			   XLogRecPtr *to)
{
	WhRows *rows;
	bool isnull;

	*from = *to = InvalidXLogRecPtr;
	if (TIMESTAMP_NOT_FINITE(clock))
		return false;
	rows = wh_spi_query_snapshot(wh_sql("SELECT t.end_lsn, t.clock FROM %T t WHERE t.end_lsn <= $1"
										" ORDER BY t.end_lsn DESC LIMIT 2",
										wh_changelog_txn_relid(feed)),
								 1,
								 (WhArg[]){WH_ARG_LSN(wh_trace_position(feed, clock, position))});
	if (rows->count == 0 || DatumGetTimestampTz(wh_rows_datum(rows, 0, 2, &isnull)) != clock)
		return false;
	*to = wh_rows_lsn(rows, 0, 1);
	/* Mostly a clock is that of one transaction. */
	if (rows->count > 1)
		*from = DatumGetTimestampTz(wh_rows_datum(rows, 1, 2, &isnull)) == clock ?
					wh_trace_position(feed, clock - 1, *to) :
					wh_rows_lsn(rows, 1, 1);
	return true;
}

int64
wh_trace_load(int32 model_id, XLogRecPtr lsn)
{
	WhArg args[3] = {WH_ARG_INT4(model_id)};
	WhRows *rows = wh_spi_query_kept_snapshot("SELECT COALESCE(pg_catalog.max(m.load_id), 0) FROM"
											  " walhouse.load_model m WHERE m.model_id = $1",
											  1, args);
	int64 low = 0;
	int64 high = wh_rows_int8(rows, 0, 1);
	int64 found = 0;

	/* Loads up to low end before lsn, and those behind high end at it or later. */
	while (low < high)
	{
		int64 middle = low + (high - low + 1) / 2;

		args[1] = WH_ARG_INT8(low);
		args[2] = WH_ARG_INT8(middle);
		rows = wh_spi_query_kept_snapshot(
			"SELECT m.load_id, m.to_lsn FROM walhouse.load_model m WHERE"
			" m.model_id = $1 AND m.load_id > $2 AND m.load_id <= $3"
			" ORDER BY m.load_id DESC LIMIT 1",
			3, args);
		if (rows->count > 0 && wh_rows_lsn(rows, 0, 2) >= lsn)
			high = wh_rows_int8(rows, 0, 1) - 1;
		else
		{
			found = rows->count > 0 ? wh_rows_int8(rows, 0, 1) : found;
			low = middle;
		}
	}
	args[1] = WH_ARG_INT8(found);
	rows = wh_spi_query_kept_snapshot(
		"SELECT m.load_id, m.from_lsn, m.to_lsn FROM walhouse.load_model m"
		" WHERE m.model_id = $1 AND m.load_id > $2 ORDER BY m.load_id"
		" LIMIT 1",
		2, args);
	if (rows->count == 0 || wh_rows_lsn(rows, 0, 2) >= lsn || wh_rows_lsn(rows, 0, 3) < lsn)
		return 0;
	return wh_rows_int8(rows, 0, 1);
}
