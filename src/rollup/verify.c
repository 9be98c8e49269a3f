/*
 * verify.c
 *		What a rollup should have, computed anew from the rows of its fact; comparing it with that.
 *
 * PostgreSQL's own aggregates over the fact's rows say what is expected: nothing of what loads do
 * is used but the canonical forms of values.  Fact and rollup are read in one snapshot.  A rollup
 * that is behind its fact should have what the fact's rows were before what it missed; its pending
 * table says so.  The tables of values and rows beside it are held to the same rows.
 */
#include "postgres.h"

#include "base/base.h"
#include "fact/fact.h"
#include "rollup/rollup.h"
#include "rollup/rollup_private.h"

static void stage_rows(WhRollup *rollup, WhStage *stage);
static void append_sums(StringInfo sql, const WhRollup *rollup);
static void append_spans(StringInfo sql, const WhRollup *rollup, const char *clock);
static void append_last(StringInfo sql, const WhRollup *rollup);
static void append_measures(StringInfo sql, const WhRollup *rollup);
static void compare_rows(WhRollup *rollup, WhStage *stage, WhVerdict *verdict);
static int64 compare_values(WhRollup *rollup, WhStage *stage, const WhRollupInput *input);
static int64 compare_last(WhRollup *rollup, WhStage *stage);

void
wh_rollup_verify(WhModel *model, WhVerdict *verdict)
{
	WhRollup *rollup = wh_rollup_open(model);
	WhStage *stage;
	ListCell *cell;

	if (wh_model_waits_for_build(model))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("%s waits to be built", model->name),
						errdetail("What it misses until then is not kept."),
						errhint("CALL walhouse.build(%s);", wh_sql_literal(model->name))));
	stage = wh_stage_create_snapshot();
	stage_rows(rollup, stage);
	compare_rows(rollup, stage, verdict);
	foreach(cell, rollup->inputs)
	{
		WhRollupInput *input = lfirst(cell);

		if (input->is_valued)
			verdict->different += compare_values(rollup, stage, input);
	}
	if (OidIsValid(rollup->rows))
		verdict->different += compare_last(rollup, stage);
	wh_stage_drop(stage);
}

/* stage_rows fills wh_t with the projections of the rows that the rollup should have counted. */
static void
stage_rows(WhRollup *rollup, WhStage *stage)
{
	StringInfoData columns;
	StringInfoData sql;

	initStringInfo(&columns);
	wh_rollup_projection(&columns, rollup, "t");
	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT pg_catalog.sum(t.n)::pg_catalog.int8 AS n%s FROM %T t",
				  columns.data, rollup->pending);
	if (columns.len > 0)
		wh_sql_append(&sql, " GROUP BY %s", columns.data + 2);
	wh_sql_append(&sql, " HAVING pg_catalog.sum(t.n) <> 0");
	wh_stage_fill(stage, "wh_missed", sql.data, 0, NULL);

	resetStringInfo(&sql);
	wh_sql_append(&sql,
				  "SELECT 1 AS n%s FROM (%s) t CROSS JOIN pg_catalog.generate_series(1, t.n)",
				  columns.data, wh_rollup_counted(rollup, "true", "true"));
	wh_rollup_stage_known(rollup, stage, sql.data);
	if (wh_stage_count(stage, "wh_missed") == 0)
		return;
	resetStringInfo(&sql);
	wh_sql_append(&sql,
				  "SELECT 1 AS n%s FROM wh_t t EXCEPT ALL SELECT 1%s FROM wh_missed t,"
				  " pg_catalog.generate_series(1, t.n) UNION ALL SELECT 1%s FROM wh_missed t,"
				  " pg_catalog.generate_series(1, -t.n)",
				  columns.data, columns.data, columns.data);
	wh_rollup_stage_known(rollup, stage, sql.data);
}

/* wh_rollup_stage_known fills wh_t with projections and the keys that they have. */
void
wh_rollup_stage_known(const WhRollup *rollup, WhStage *stage, const char *projections)
{
	wh_stage_fill(
		stage, "wh_t",
		wh_sql("SELECT q.*, %s AS k FROM (%s) q", wh_rollup_key(rollup, "q"), projections), 0,
		NULL);
}

/* wh_rollup_expected appends a SELECT of the rows that the projections in wh_t give: k, p, g…,
 * state and the measures m…; clock is the period of the feed clock. */
void
wh_rollup_expected(StringInfo sql, const WhRollup *rollup, const char *clock)
{
	wh_sql_append(sql, "SELECT x.k");
	wh_rollup_period_column(sql, rollup, "x");
	wh_rollup_group_columns(sql, rollup, "x");
	wh_sql_append(sql, ", %s AS state", wh_rollup_state(rollup, "x"));
	append_measures(sql, rollup);
	if (rollup->is_snapshot)
		append_spans(sql, rollup, clock);
	else
	{
		wh_sql_append(sql, " FROM (");
		append_sums(sql, rollup);
		wh_sql_append(sql, ") x");
	}
}

/* append_sums: k, p, g…, s… and e<n>, the least or greatest value of measure n. */
static void
append_sums(StringInfo sql, const WhRollup *rollup)
{
	ListCell *cell;

	wh_sql_append(sql, "SELECT t.k");
	wh_rollup_period_column(sql, rollup, "t");
	wh_rollup_group_columns(sql, rollup, "t");
	foreach(cell, rollup->accumulators)
		wh_sql_append(sql, ", %s AS s%d",
					  wh_rollup_canonical(lfirst(cell), wh_sql("(%s)::pg_catalog.numeric",
															   wh_rollup_recompute(lfirst(cell)))),
					  foreach_current_index(cell) + 1);
	foreach(cell, rollup->measures)
	{
		WhMeasure *measure = lfirst(cell);

		if (measure->kind == WH_MEASURE_MIN || measure->kind == WH_MEASURE_MAX)
			wh_sql_append(sql, ", pg_catalog.%s(t.v%d) AS e%d", wh_rollup_function(measure->kind),
						  measure->input->number, foreach_current_index(cell) + 1);
	}
	wh_sql_append(sql, " FROM wh_t t GROUP BY t.k");
	wh_rollup_period_column(sql, rollup, "t");
	wh_rollup_group_columns(sql, rollup, "t");
}

static void
append_measures(StringInfo sql, const WhRollup *rollup)
{
	ListCell *cell;

	foreach(cell, rollup->measures)
	{
		WhMeasure *measure = lfirst(cell);
		int number = foreach_current_index(cell) + 1;
		char *value = wh_rollup_measure(rollup, measure, "x");

		if (value == NULL)
			value = measure->kind == WH_MEASURE_LAST ? wh_sql("l.v%d", measure->input->number) :
													   wh_sql("x.e%d", number);
		wh_sql_append(sql, ", (%s)::%s AS m%d", value, measure->type, number);
	}
}

/* append_spans: the same of each period that has a row, and what runs over periods. */
static void
append_spans(StringInfo sql, const WhRollup *rollup, const char *clock)
{
	ListCell *cell;

	wh_sql_append(sql, " FROM (SELECT w.k, w.p");
	wh_rollup_group_columns(sql, rollup, "w");
	foreach(cell, rollup->accumulators)
		wh_sql_append(sql, ", %s AS s%d",
					  wh_rollup_canonical(lfirst(cell), wh_sql("COALESCE(d.s%d, 0)",
															   foreach_current_index(cell) + 1)),
					  foreach_current_index(cell) + 1);
	foreach(cell, rollup->running)
		wh_sql_append(
			sql, ", %s AS r%d",
			wh_rollup_canonical(list_nth(rollup->accumulators, lfirst_int(cell) - 1),
								wh_sql("pg_catalog.sum(COALESCE(d.s%d, 0)) OVER run",
									   lfirst_int(cell))),
			foreach_current_index(cell) + 1);
	foreach(cell, rollup->measures)
	{
		WhMeasure *measure = lfirst(cell);

		if (measure->kind == WH_MEASURE_MIN || measure->kind == WH_MEASURE_MAX)
			wh_sql_append(sql, ", d.e%d", foreach_current_index(cell) + 1);
	}
	wh_sql_append(sql, ", pg_catalog.max(d.p) OVER run AS before FROM (");
	if (rollup->fill)
	{
		wh_sql_append(sql, "SELECT s.k");
		wh_rollup_group_columns(sql, rollup, "s");
		wh_sql_append(sql, ", e.at::pg_catalog.date AS p FROM (SELECT t.k");
		wh_rollup_group_columns(sql, rollup, "t");
		wh_sql_append(sql,
					  ", pg_catalog.min(t.p) AS first, GREATEST(%s, pg_catalog.max(t.p)) AS last"
					  " FROM wh_t t GROUP BY t.k",
					  clock);
		wh_rollup_group_columns(sql, rollup, "t");
		wh_sql_append(sql,
					  ") s CROSS JOIN LATERAL pg_catalog.generate_series("
					  "s.first::pg_catalog.timestamp, s.last::pg_catalog.timestamp, %s) e (at)",
					  wh_rollup_step(rollup));
	}
	else
	{
		wh_sql_append(sql, "SELECT DISTINCT t.k, t.p");
		wh_rollup_group_columns(sql, rollup, "t");
		wh_sql_append(sql, " FROM wh_t t");
	}
	wh_sql_append(sql, ") w LEFT JOIN (");
	append_sums(sql, rollup);
	wh_sql_append(sql, ") d ON d.k = w.k AND d.p = w.p"
					   " WINDOW run AS (PARTITION BY w.k ORDER BY w.p)) x");
	if (rollup->identity != NIL)
		append_last(sql, rollup);
}

/* append_last joins the last row of the last period that has one. */
static void
append_last(StringInfo sql, const WhRollup *rollup)
{
	wh_sql_append(sql, " LEFT JOIN (SELECT DISTINCT ON (t.k, t.p) t.* FROM wh_t t"
					   " ORDER BY t.k, t.p, t.at DESC");
	for (int i = 1; i <= list_length(rollup->identity); i++)
		wh_sql_append(sql, ", t.h%d DESC", i);
	wh_sql_append(sql, ") l ON l.k = x.k AND l.p = x.before");
}

/* compare_rows pairs expected rows and those that are there by their keys. */
static void
compare_rows(WhRollup *rollup, WhStage *stage, WhVerdict *verdict)
{
	char *clock = rollup->is_snapshot ? wh_rollup_clock(rollup, rollup->model->position) : NULL;
	StringInfoData expected;
	StringInfoData found;
	StringInfoData sql;
	WhRows *rows;

	initStringInfo(&sql);
	wh_rollup_expected(&sql, rollup, clock);
	wh_stage_fill(stage, "wh_expected", sql.data, 0, NULL);
	initStringInfo(&expected);
	initStringInfo(&found);
	wh_rollup_period_column(&expected, rollup, "e");
	wh_rollup_group_columns(&expected, rollup, "e");
	for (int i = 1; i <= list_length(rollup->measures); i++)
		wh_sql_append(&expected, ", e.m%d", i);
	wh_rollup_table_columns(&found, rollup, "t");
	rows = wh_stage_query(
		stage,
		wh_sql("SELECT pg_catalog.count(p.e), pg_catalog.count(p.t),"
			   " pg_catalog.count(*) FILTER (WHERE p.t IS NULL),"
			   " pg_catalog.count(*) FILTER (WHERE p.e IS NULL),"
			   " pg_catalog.count(*) FILTER (WHERE p.e IS NOT NULL AND p.t IS NOT NULL"
			   " AND p.differs) FROM (SELECT e.k AS e, t.wh_key AS t, ROW(e.state%s)::record"
			   " OPERATOR(pg_catalog.*<>) ROW(t.wh_state%s)::record AS differs"
			   " FROM wh_expected e FULL JOIN %T t ON t.wh_key = e.k%s) p",
			   expected.data, found.data, rollup->model->relid,
			   rollup->is_snapshot ? " AND t.period_start = e.p" : ""),
		0, NULL);
	verdict->expected = wh_rows_int8(rows, 0, 1);
	verdict->found = wh_rows_int8(rows, 0, 2);
	verdict->missing = wh_rows_int8(rows, 0, 3);
	verdict->unexpected = wh_rows_int8(rows, 0, 4);
	verdict->different = wh_rows_int8(rows, 0, 5);
}

/* compare_values counts the values of a column whose number is another than there are rows. */
static int64
compare_values(WhRollup *rollup, WhStage *stage, const WhRollupInput *input)
{
	const char *period = rollup->is_snapshot ? ", t.p" : "";

	return wh_rows_int8(
		wh_stage_query(
			stage,
			wh_sql("SELECT pg_catalog.count(*) FROM (SELECT t.k%s, t.v%d AS value,"
				   " pg_catalog.count(*) AS n FROM wh_t t WHERE t.v%d IS NOT NULL"
				   " GROUP BY t.k%s, t.v%d) e FULL JOIN %T t ON t.k = e.k%s AND t.value %s e.value"
				   " WHERE e.n IS DISTINCT FROM t.n",
				   period, input->number, input->number, period, input->number, input->values,
				   rollup->is_snapshot ? " AND t.p = e.p" : "",
				   wh_model_equality(input->column->type)),
			0, NULL),
		0, 1);
}

static int64
compare_last(WhRollup *rollup, WhStage *stage)
{
	StringInfoData match;
	StringInfoData expected;
	StringInfoData found;
	ListCell *cell;

	initStringInfo(&match);
	initStringInfo(&expected);
	initStringInfo(&found);
	foreach(cell, rollup->identity)
	{
		int number = foreach_current_index(cell) + 1;

		wh_sql_append(&match, " AND t.h%d %s e.h%d", number,
					  wh_model_equality(((WhRollupColumn *) lfirst(cell))->type), number);
	}
	foreach(cell, rollup->inputs)
	{
		WhRollupInput *input = lfirst(cell);

		if (!input->is_last)
			continue;
		wh_sql_append(&expected, ", e.v%d", input->number);
		wh_sql_append(&found, ", t.v%d", input->number);
	}
	return wh_rows_int8(
		wh_stage_query(stage,
					   wh_sql("SELECT pg_catalog.count(*) FROM wh_t e FULL JOIN %T t"
							  " ON t.k = e.k AND t.p = e.p AND t.at = e.at%s WHERE"
							  " ROW(e.k%s)::record OPERATOR(pg_catalog.*<>) ROW(t.k%s)::record",
							  rollup->rows, match.data, expected.data, found.data),
					   0, NULL),
		0, 1);
}
