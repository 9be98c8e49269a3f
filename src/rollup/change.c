/*
 * change.c
 *		Brings a rollup to what happened to the rows of its fact.
 *
 * wh_net is added up by row of the rollup (wh_delta) and put on what the rows there have in
 * wh_state (wh_row), which are found by wh_key, one probe each.  Rows without a row of the fact go,
 * new ones come, and of the others those are written whose image changes.  So the work is that of
 * the changes (P5), whatever the size of rollup and fact.
 *
 * wh_key stands for period and groups, since an index on these could not be probed for NULLs; it is
 * the hash of their text, which under the settings that loads pin is one text for one value.
 */
#include "postgres.h"

#include "base/base.h"
#include "rollup/rollup.h"
#include "rollup/rollup_private.h"

static void stage_rows(WhRollup *rollup, bool is_new);
static void append_measures(StringInfo sql, const WhRollup *rollup);
static uint64 delete_rows(WhRollup *rollup);
static uint64 update_rows(WhRollup *rollup, const WhLoad *load);
static uint64 insert_rows(WhRollup *rollup, const WhLoad *load);

void
wh_rollup_apply(WhRollup *rollup, WhLoad *load, WhCounts *counts, bool is_new)
{
	wh_rollup_write_values(rollup, is_new);
	wh_rollup_stage_delta(rollup);
	stage_rows(rollup, is_new);
	wh_rollup_check_rows(rollup, "wh_row x WHERE x.s1 < 0 OR (x.s1 = 0 AND NOT x.is_old)");
	if (!is_new)
	{
		counts->deleted += delete_rows(rollup);
		counts->updated += update_rows(rollup, load);
	}
	counts->inserted += insert_rows(rollup, load);
}

void
wh_rollup_stage_delta(WhRollup *rollup)
{
	StringInfoData place;
	StringInfoData sql;
	StringInfoData joins;
	ListCell *cell;

	initStringInfo(&place);
	initStringInfo(&sql);
	initStringInfo(&joins);
	wh_rollup_period_column(&place, rollup, "t");
	wh_rollup_group_columns(&place, rollup, "t");
	wh_sql_append(&sql, "SELECT q.k");
	wh_rollup_period_column(&sql, rollup, "q");
	wh_rollup_group_columns(&sql, rollup, "q");
	foreach(cell, rollup->accumulators)
	{
		WhAccumulator *accumulator = lfirst(cell);
		int number = foreach_current_index(cell) + 1;

		if (accumulator->kind != WH_ACCUMULATE_DISTINCT)
		{
			wh_sql_append(&sql, ", q.s%d", number);
			continue;
		}
		/* A value that came is one more, one that went is one less. */
		wh_sql_append(&sql, ", COALESCE(e%d.n, 0)::pg_catalog.numeric AS s%d", number, number);
		wh_sql_append(&joins,
					  " LEFT JOIN (SELECT x.k%s, pg_catalog.count(*) FILTER (WHERE x.was IS NULL)"
					  " - pg_catalog.count(*) FILTER (WHERE x.was + x.n = 0) AS n FROM wh_v%d x"
					  " GROUP BY x.k%s) e%d ON e%d.k = q.k%s",
					  rollup->is_snapshot ? ", x.p" : "", accumulator->input->number,
					  rollup->is_snapshot ? ", x.p" : "", number, number,
					  rollup->is_snapshot ? wh_sql(" AND e%d.p = q.p", number) : "");
	}
	wh_sql_append(&sql, " FROM (SELECT t.k%s", place.data);
	foreach(cell, rollup->accumulators)
		wh_sql_append(&sql, ", %s AS s%d", wh_rollup_accumulate(lfirst(cell)),
					  foreach_current_index(cell) + 1);
	wh_sql_append(&sql, " FROM wh_net t GROUP BY t.k%s) q%s", place.data, joins.data);
	wh_stage_fill(rollup->stage, "wh_delta", sql.data, 0, NULL);
}

/* stage_rows fills wh_row: k, p, g…, s…, is_old, the measures m… and the state. */
static void
stage_rows(WhRollup *rollup, bool is_new)
{
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT x.*, %s AS state", wh_rollup_state(rollup, "x"));
	append_measures(&sql, rollup);
	wh_sql_append(&sql, " FROM (SELECT d.k");
	wh_rollup_period_column(&sql, rollup, "d");
	wh_rollup_group_columns(&sql, rollup, "d");
	foreach(cell, rollup->accumulators)
	{
		int number = foreach_current_index(cell) + 1;
		char *sum = is_new ? wh_sql("d.s%d", number) :
							 wh_sql("COALESCE(o.wh_state[%d], 0) + d.s%d", number, number);

		wh_sql_append(&sql, ", %s AS s%d", wh_rollup_canonical(lfirst(cell), sum), number);
	}
	if (is_new)
		wh_sql_append(&sql, ", false AS is_old FROM wh_delta d OFFSET 0) x");
	else
		wh_sql_append(&sql,
					  ", o.wh_state IS NOT NULL AS is_old FROM wh_delta d LEFT JOIN LATERAL"
					  " (SELECT t.wh_state FROM %T t WHERE t.wh_key = d.k OFFSET 0) o ON true"
					  " OFFSET 0) x",
					  rollup->model->relid);
	wh_rollup_fill_narrow(rollup, "wh_row", sql.data);
}

static void
append_measures(StringInfo sql, const WhRollup *rollup)
{
	ListCell *cell;

	foreach(cell, rollup->measures)
	{
		WhMeasure *measure = lfirst(cell);
		char *value = wh_rollup_measure(rollup, measure, "x");

		if (value == NULL)
			value = wh_rollup_extreme(rollup, measure, "x");
		wh_sql_append(sql, ", (%s)::%s AS m%d", value, measure->type,
					  foreach_current_index(cell) + 1);
	}
}

void
wh_rollup_check_rows(WhRollup *rollup, const char *from)
{
	if (wh_stage_query(rollup->stage, wh_sql("SELECT FROM %s LIMIT 1", from), 0, NULL)->count > 0)
		wh_rollup_refuse_state(rollup);
}

void
wh_rollup_refuse_state(const WhRollup *rollup)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("%s is not made of the rows of its fact", rollup->model->name),
			 errdetail("Rows left %s that it had not counted.", wh_sql_relation(rollup->fact)),
			 errhint("CALL walhouse.build(%s); and see who wrote to one of them.",
					 wh_sql_literal(rollup->model->name))));
}

static uint64
delete_rows(WhRollup *rollup)
{
	return wh_rollup_execute_narrow(
		rollup, wh_sql("DELETE FROM %T t USING wh_row x WHERE x.s1 = 0 AND t.wh_key = x.k",
					   rollup->model->relid));
}

static uint64
update_rows(WhRollup *rollup, const WhLoad *load)
{
	StringInfoData targets;
	StringInfoData values;
	StringInfoData had;
	ListCell *cell;

	initStringInfo(&targets);
	initStringInfo(&values);
	initStringInfo(&had);
	foreach(cell, rollup->measures)
	{
		WhMeasure *measure = lfirst(cell);

		wh_sql_append(&targets, ", %I", measure->name);
		wh_sql_append(&values, ", x.m%d", foreach_current_index(cell) + 1);
		wh_sql_append(&had, ", t.%I", measure->name);
	}
	return wh_rollup_execute_narrow(
		rollup,
		wh_sql("UPDATE %T t SET (load_id, wh_state%s) = ROW(%l, x.state%s) FROM wh_row x"
			   " WHERE x.is_old AND x.s1 > 0 AND t.wh_key = x.k"
			   " AND ROW(t.wh_state%s)::record OPERATOR(pg_catalog.*<>) ROW(x.state%s)::record",
			   rollup->model->relid, targets.data, load->id, values.data, had.data, values.data));
}

static uint64
insert_rows(WhRollup *rollup, const WhLoad *load)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "INSERT INTO %T (load_id, wh_key, wh_state", rollup->model->relid);
	wh_rollup_table_columns(&sql, rollup, NULL);
	wh_sql_append(&sql, ") SELECT %l, x.k, x.state", load->id);
	wh_rollup_period_column(&sql, rollup, "x");
	wh_rollup_group_columns(&sql, rollup, "x");
	for (int i = 1; i <= list_length(rollup->measures); i++)
		wh_sql_append(&sql, ", x.m%d", i);
	wh_sql_append(&sql, " FROM wh_row x WHERE NOT x.is_old AND x.s1 > 0");
	return wh_stage_execute(rollup->stage, sql.data, 0, NULL);
}

/* wh_rollup_execute_narrow and wh_rollup_fill_narrow run statements that join a stage with a table
 * of the rollup, as probes of its index. */
uint64
wh_rollup_execute_narrow(WhRollup *rollup, const char *sql)
{
	int nest = wh_settings_push_joins(WH_JOINS_PROBE);
	uint64 processed;

	wh_settings_avoid_scans();
	processed = wh_stage_execute(rollup->stage, sql, 0, NULL);
	wh_settings_pop(nest);
	return processed;
}

uint64
wh_rollup_fill_narrow(WhRollup *rollup, const char *name, const char *sql)
{
	int nest = wh_settings_push_joins(WH_JOINS_PROBE);
	uint64 count;

	wh_settings_avoid_scans();
	count = wh_stage_fill(rollup->stage, name, sql, 0, NULL);
	wh_settings_pop(nest);
	return count;
}
