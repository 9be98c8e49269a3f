/*
 * mend.c
 *		Makes a rollup's rows of a range of time anew from the rows of its fact.
 *
 * The buckets that the range meets are emptied and filled as a build fills all, under the load
 * lock, so that the fact stands still.  What a range of a fact is mended with is followed in the
 * same way, not by deltas: who wrote to the fact behind the loads' back did not tell the rollup, so
 * there is no saying what that has counted.
 *
 * A rollup without buckets has no ranges, and the periods of a snapshot stand on those before;
 * these are built anew.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "rollup/rollup.h"
#include "rollup/rollup_private.h"

static bool has_ranges(const WhRollup *rollup);
static void fill_range(WhRollup *rollup);
static char *time_bound(const WhRollup *rollup, const char *instant);
static void make_anew(WhRollup *rollup, WhLoad *load, WhCounts *counts);
static char *rows_in_range(const WhRollup *rollup);
static void empty(WhRollup *rollup, WhCounts *counts);

bool
wh_rollup_suspect(WhModel *model, TimestampTz from, TimestampTz to)
{
	WhRollup *rollup = wh_rollup_open(model);

	if (!has_ranges(rollup))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s cannot be rebuilt by a range of time", model->name),
				 rollup->is_snapshot ? errdetail("Its periods stand on those before them.") :
									   errdetail("Its rows have no buckets of time."),
				 errhint("SELECT walhouse.rebuild(%s) builds all of it.",
						 wh_sql_literal(model->name))));
	rollup->mend_from = from;
	rollup->mend_to = to;
	return true;
}

List *
wh_rollup_mend(WhModel *model, WhLoad *load, WhCounts *counts)
{
	WhRollup *rollup = wh_rollup_open(model);

	wh_rollup_check_rights(rollup);
	wh_rollup_start_stage(rollup);
	fill_range(rollup);
	make_anew(rollup, load, counts);
	return NIL;
}

bool
wh_rollup_follow_mend(WhModel *model, WhLoad *load, WhCounts *counts)
{
	WhRollup *rollup = wh_rollup_open(model);
	char *changes = wh_rollup_project_changes(rollup);

	if (!has_ranges(rollup))
		return false;
	wh_rollup_check_rights(rollup);
	wh_rollup_start_stage(rollup);
	(void) wh_stage_fill_from(rollup->stage, "wh_range", load->changes,
							  wh_sql("SELECT DISTINCT t.p FROM (%s) t", changes), 0, NULL);
	make_anew(rollup, load, counts);
	return true;
}

static bool
has_ranges(const WhRollup *rollup)
{
	return rollup->unit != NULL && !rollup->is_snapshot;
}

/* fill_range fills wh_range with the buckets that have rows, here, in the fact or of what is
 * retired, and that the range meets. */
static void
fill_range(WhRollup *rollup)
{
	const char *time = wh_sql("c.%I", rollup->time->name);
	char *from = time_bound(rollup, "$1");
	char *to = time_bound(rollup, "$2");
	char *last = wh_sql("(%s - '1 microsecond'::pg_catalog.interval)", to);

	(void) wh_stage_fill(
		rollup->stage, "wh_range",
		wh_sql("SELECT t.p FROM (SELECT t.period_start AS p FROM %T t UNION SELECT t.p FROM %T t)"
			   " t WHERE t.p >= %s AND t.p <= %s UNION SELECT %s FROM %T c WHERE %s >= %s AND"
			   " %s < %s",
			   rollup->model->relid, rollup->retired, wh_rollup_period(rollup, from),
			   wh_rollup_period(rollup, last), wh_rollup_period(rollup, time), rollup->fact, time,
			   from, time, to),
		2,
		(WhArg[]){WH_ARG_TIMESTAMPTZ(rollup->mend_from), WH_ARG_TIMESTAMPTZ(rollup->mend_to)});
}

/* time_bound gives an instant as the fact's column has times. */
static char *
time_bound(const WhRollup *rollup, const char *instant)
{
	if (getBaseType(rollup->time->type) == TIMESTAMPTZOID)
		return pstrdup(instant);
	return wh_sql("pg_catalog.timezone(%s, %s)", rollup->zone, instant);
}

/* make_anew empties the buckets of wh_range and fills them again. */
static void
make_anew(WhRollup *rollup, WhLoad *load, WhCounts *counts)
{
	if (wh_stage_count(rollup->stage, "wh_range") > 0)
	{
		wh_rollup_read_some(
			rollup, rows_in_range(rollup),
			"EXISTS (SELECT FROM wh_range x WHERE x.p IS NOT DISTINCT FROM t.p)");
		empty(rollup, counts);
		if (wh_stage_count(rollup->stage, "wh_net") > 0)
			wh_rollup_apply(rollup, load, counts, true);
	}
	wh_rollup_release(rollup->model);
}

/* rows_in_range is a condition on rows c of the fact, with bounds that the planner sees: a bucket
 * begins less than two days from where its date would have it, and that of infinity ends there. */
static char *
rows_in_range(const WhRollup *rollup)
{
	char *time = wh_sql("c.%I", rollup->time->name);
	char *type = wh_rollup_type(rollup->time);
	WhRows *rows = wh_stage_query(rollup->stage,
								  wh_sql("SELECT pg_catalog.min(x.p)::pg_catalog.text,"
										 " (pg_catalog.max(x.p) + %s)::pg_catalog.text,"
										 " pg_catalog.bool_or(x.p IS NULL) FROM wh_range x",
										 wh_rollup_step(rollup)),
								  0, NULL);
	char *null = wh_sql("%s IS NULL AND %s", time, wh_rows_bool(rows, 0, 3) ? "true" : "false");

	if (wh_rows_text(rows, 0, 1) == NULL)
		return null;
	return wh_sql("(%s) OR (%s >= (%L::%s - '2 days'::pg_catalog.interval)::%s AND %s <="
				  " (%L::pg_catalog.timestamptz + '2 days'::pg_catalog.interval)::%s AND %s IN"
				  " (SELECT x.p FROM wh_range x))",
				  null, time, wh_rows_text(rows, 0, 1), wh_rollup_period_type(rollup), type, time,
				  wh_rows_text(rows, 0, 2), type, wh_rollup_period(rollup, time));
}

/* empty takes away what the rollup has in the buckets, and anything that would be in the way. */
static void
empty(WhRollup *rollup, WhCounts *counts)
{
	(void) wh_stage_fill(
		rollup->stage, "wh_gone",
		wh_sql("SELECT t.wh_key AS k FROM %T t WHERE EXISTS (SELECT FROM wh_range x WHERE"
			   " x.p IS NOT DISTINCT FROM t.period_start) UNION SELECT x.k FROM wh_net x",
			   rollup->model->relid),
		0, NULL);
	foreach_ptr(WhRollupInput, input, rollup->inputs)
	{
		if (input->is_valued)
			(void) wh_rollup_execute_narrow(
				rollup, wh_sql("DELETE FROM %T t USING wh_gone x WHERE t.k = x.k", input->values));
	}
	counts->deleted += wh_rollup_execute_narrow(
		rollup, wh_sql("DELETE FROM %T t USING wh_gone x WHERE t.wh_key = x.k",
					   rollup->model->relid));
}
