/*
 * workers.c
 *		What shared memory knows of the workers, as rows for stat_feed.
 */
#include "postgres.h"

#include "fmgr.h"
#include "catalog/pg_authid.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "monitor/monitor.h"
#include "worker/worker.h"

#define WORKER_COLUMNS 22

PG_FUNCTION_INFO_V1(walhouse_stat_workers);

static void put_worker(ReturnSetInfo *result, const WhWorkerInfo *info);
static bool may_read_error(Oid owner);
static void put_text(Datum *value, bool *isnull, const char *text);
static void put_time(Datum *value, bool *isnull, TimestampTz time);
static void put_lsn(Datum *value, bool *isnull, XLogRecPtr lsn);

void
wh_monitor_init(void)
{
}

/* walhouse_stat_workers(): one row for each feed of this database that shall run. */
Datum
walhouse_stat_workers(PG_FUNCTION_ARGS)
{
	List *infos;

	InitMaterializedSRF(fcinfo, 0);
	infos = wh_worker_list();
	for (int i = 0; i < list_length(infos); i++)
		put_worker((ReturnSetInfo *) fcinfo->resultinfo, list_nth(infos, i));
	return (Datum) 0;
}

static void
put_worker(ReturnSetInfo *result, const WhWorkerInfo *info)
{
	Datum values[WORKER_COLUMNS] = {0};
	bool nulls[WORKER_COLUMNS] = {0};

	values[0] = Int32GetDatum(info->feed_id);
	values[1] = Int32GetDatum(info->pid);
	nulls[1] = info->pid == 0;
	put_text(&values[2], &nulls[2], info->state);
	put_text(&values[3], &nulls[3], info->activity[0] != '\0' ? info->activity : NULL);
	put_time(&values[4], &nulls[4], info->started);
	put_time(&values[5], &nulls[5], info->next_start);
	values[6] = Int32GetDatum(info->failures);
	put_text(&values[7], &nulls[7], may_read_error(info->owner) ? info->error : NULL);
	put_time(&values[8], &nulls[8], info->error_time);
	put_lsn(&values[9], &nulls[9], info->source_lsn);
	put_lsn(&values[10], &nulls[10], info->position);
	values[11] = BoolGetDatum(info->caught_up);
	values[12] = Int64GetDatum(info->ingests);
	values[13] = Int64GetDatum(info->loads);
	values[14] = Int32GetDatum(info->builds);
	put_lsn(&values[15], &nulls[15], info->stream.received);
	put_lsn(&values[16], &nulls[16], info->stream.confirmed);
	values[17] = Int32GetDatum(info->stream.open);
	values[18] = Int64GetDatum(info->stream.streamed);
	values[19] = Int64GetDatum(info->stream.spilled);
	values[20] = Int64GetDatum(info->stream.spilled_bytes);
	put_time(&values[21], &nulls[21], info->stream.heard);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* may_read_error: an error may quote data, so it is for the feed's owner and for monitoring. */
static bool
may_read_error(Oid owner)
{
	return has_privs_of_role(GetUserId(), owner) ||
		   has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
}

static void
put_text(Datum *value, bool *isnull, const char *text)
{
	*isnull = text == NULL;
	if (text != NULL)
		*value = CStringGetTextDatum(text);
}

static void
put_time(Datum *value, bool *isnull, TimestampTz time)
{
	*isnull = time == 0;
	*value = TimestampTzGetDatum(time);
}

static void
put_lsn(Datum *value, bool *isnull, XLogRecPtr lsn)
{
	*isnull = XLogRecPtrIsInvalid(lsn);
	*value = LSNGetDatum(lsn);
}
