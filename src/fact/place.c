/*
 * place.c
 *		Which partitions a fact's rows need, and which of them are missing.
 *
 * Buckets lie on the calendar of the feed's time zone.  For timestamptz their bounds are
 * instants: the server says at which instant a local midnight is, whatever the zone does there.
 * Where midnight comes twice (the clock goes back over it), the later one is the bound, and rows
 * between the two belong to the bucket before.  Whether a bucket has a partition is asked of the
 * parent's bounds, not of names, so partitions that a DBA made or renamed count, too.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/partcache.h"
#include "utils/rel.h"

#include "base/base.h"
#include "fact/fact.h"
#include "fact/fact_private.h"

/* Days from 2000-01-01 to the beginnings of buckets. */
#define BUCKETS "SELECT DISTINCT (%s) - '2000-01-01'::pg_catalog.date FROM "

static WhRows *read_buckets(WhFact *fact, WhLoad *load);
static char *bucket_expression(const WhFact *fact);
static bool has_partition(Relation rel, Datum value);
static Datum bound_value(const WhFact *fact, const char *text);
static WhMissingPartition *describe(const WhFact *fact, int64 from, const char *from_text,
									int64 to);

List *
wh_fact_missing_partitions(WhModel *model, WhLoad *load)
{
	WhFact *fact = wh_fact_open(model);
	WhRows *days;
	List *missing = NIL;
	Relation rel;

	if (!wh_fact_direct_prepare(fact, load))
		days = read_buckets(fact, load);
	else if (wh_fact_direct_lacking(fact->direct) == NULL)
		return NIL;
	else
		days = wh_stage_query(wh_fact_direct_lacking(fact->direct),
							  wh_sql(BUCKETS "wh_lacking n ORDER BY 1", bucket_expression(fact)),
							  0, NULL);
	if (days->count == 0)
		return NIL;
	rel = table_open(model->relid, AccessShareLock);
	for (uint64 i = 0; i < days->count; i++)
	{
		int64 from;
		int64 to;
		char *from_text;

		wh_partition_bucket(fact->grid, wh_rows_int4(days, i, 1), &from, &to);
		from_text = wh_fact_bound(fact->event_type, fact->zone, wh_partition_date_text(from));
		if (!has_partition(rel, bound_value(fact, from_text)))
			missing = lappend(missing, describe(fact, from, from_text, to));
	}
	table_close(rel, NoLock);
	return missing;
}

/* read_buckets returns the first days of the buckets that rows of the range, or of a build's
 * whole state, are in. */
static WhRows *
read_buckets(WhFact *fact, WhLoad *load)
{
	StringInfoData sql;
	WhArg args[1];

	initStringInfo(&sql);
	wh_sql_append(&sql, BUCKETS, bucket_expression(fact));
	if (!XLogRecPtrIsInvalid(fact->model->position) || wh_fact_has_history(fact))
	{
		if (!XLogRecPtrIsInvalid(fact->model->position))
		{
			wh_fact_read_changes(fact, load);
			if (wh_stage_count(fact->stage, "wh_new") == 0)
				return palloc0(sizeof(WhRows));
			wh_sql_append(&sql, "wh_new n WHERE n.live AND n.reason IS NULL ORDER BY 1");
		}
		else
		{
			wh_fact_stage_build(fact, load);
			wh_sql_append(&sql, "wh_state n WHERE (%s) IS NULL ORDER BY 1",
						  wh_fact_row_reason(fact, "n"));
		}
		wh_stage_fill(fact->stage, "wh_days", sql.data, 0, NULL);
		return wh_stage_query(fact->stage, "SELECT * FROM wh_days", 0, NULL);
	}
	wh_fact_state(&sql, fact);
	wh_sql_append(&sql, " WHERE (%s) IS NULL ORDER BY 1", wh_fact_row_reason(fact, "n"));
	args[0] = WH_ARG_LSN(load->to);
	return wh_spi_query(sql.data, 1, args);
}

/* bucket_expression gives the first day of a row's bucket. */
static char *
bucket_expression(const WhFact *fact)
{
	const char *unit = wh_sql_literal(wh_partition_grid_name(fact->grid));
	char *local;

	if (fact->event_type != TIMESTAMPTZOID)
		return wh_sql("pg_catalog.date_trunc(%s, n.c%d::pg_catalog.timestamp)::pg_catalog.date",
					  unit, fact->event_time);
	local = wh_sql("pg_catalog.date_trunc(%s, pg_catalog.timezone(%s, n.c%d))", unit, fact->zone,
				   fact->event_time);
	return wh_sql("pg_catalog.date_trunc(%s, CASE WHEN n.c%d < pg_catalog.timezone(%s, %s)"
				  " THEN %s - '00:00:00.000001'::pg_catalog.interval ELSE %s END)::pg_catalog.date",
				  unit, fact->event_time, fact->zone, local, local, local);
}

static bool
has_partition(Relation rel, Datum value)
{
	PartitionKey key = RelationGetPartitionKey(rel);
	PartitionDesc desc = RelationGetPartitionDesc(rel, true);
	bool is_equal;
	int offset;

	if (desc->nparts == 0)
		return false;
	if (partition_bound_has_default(desc->boundinfo))
		return true;
	offset = partition_range_datum_bsearch(key->partsupfunc, key->partcollation, desc->boundinfo,
										   1, &value, &is_equal);
	return desc->boundinfo->indexes[offset + 1] >= 0;
}

/* bound_value reads the text of a bound as the partition key's type. */
static Datum
bound_value(const WhFact *fact, const char *text)
{
	switch (fact->event_type)
	{
		case TIMESTAMPTZOID:
			return DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
									   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
		case TIMESTAMPOID:
			return DirectFunctionCall3(timestamp_in, CStringGetDatum(text),
									   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
		default:
			return DirectFunctionCall1(date_in, CStringGetDatum(text));
	}
}

static WhMissingPartition *
describe(const WhFact *fact, int64 from, const char *from_text, int64 to)
{
	WhMissingPartition *missing = palloc0(sizeof(WhMissingPartition));

	missing->parent = fact->model->relid;
	missing->name = wh_name(fact->model->short_name, wh_partition_suffix(fact->grid, from));
	missing->from_literal = wh_sql_literal(from_text);
	missing->to_literal =
		wh_sql_literal(wh_fact_bound(fact->event_type, fact->zone, wh_partition_date_text(to)));
	return missing;
}

/*
 * wh_fact_bound returns the text of the event time's value at which a local day begins; zone is a
 * literal.  It is ISO with an explicit offset, and so means the same under all settings.
 */
char *
wh_fact_bound(Oid type, const char *zone, const char *date)
{
	if (type == DATEOID || type == TIMESTAMPOID)
		return pstrdup(date);
	return wh_rows_text(
		wh_spi_query(
			wh_sql("SELECT pg_catalog.to_char(pg_catalog.timezone('UTC', pg_catalog.timezone(%s,"
				   " %L::pg_catalog.timestamp)), 'YYYY-MM-DD HH24:MI:SS.US+00 BC')",
				   zone, date),
			0, NULL),
		0, 1);
}
