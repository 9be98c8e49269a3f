/*
 * periods.c
 *		Brings a periodic snapshot to what happened to the rows of its fact, and to the feed clock.
 *
 * A row has what its own period added up (s…), and for balances what all periods up to its own did
 * (r…).  So a change in one period concerns all later ones of its group: of each group that the
 * changes touched (wh_group) the rows from the first such period on are read (wh_have), with the
 * one before (wh_base) for what runs on.  What the periods have of their own is added up anew
 * (wh_data), the span that the rows shall cover follows from that and from the clock (wh_span), the
 * rows are made of both (wh_row), and those that differ from what is there are written.
 *
 * With fill, a group has a row for each period from its first one to the later of its last one and
 * the clock's.  Rows after the clock's period stand only because a later period has rows of the
 * fact, so they are always looked at again.  When the clock enters a period, every group gets its
 * row, a copy of its last one: the one place where work follows groups and not changes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "base/base.h"
#include "rollup/rollup.h"
#include "rollup/rollup_private.h"

static void stage_groups(WhRollup *rollup, const char *clock, bool is_new);
static void stage_have(WhRollup *rollup);
static void stage_data(WhRollup *rollup);
static void stage_span(WhRollup *rollup, const char *clock);
static void stage_rows(WhRollup *rollup);
static void stage_periods(WhRollup *rollup);
static void append_from(StringInfo sql, const WhRollup *rollup);
static char *carried(const WhRollup *rollup);
static char *measure_of(const WhRollup *rollup, const WhMeasure *measure, int number);
static char *last_rows(const WhRollup *rollup);
static void write_rows(WhRollup *rollup, const WhLoad *load, WhCounts *counts);
static void append_insert(StringInfo sql, const WhRollup *rollup);
static void copy_ends(WhRollup *rollup, WhLoad *load, WhCounts *counts, const char *filled,
					  const char *clock);
static char *copied_measure(const WhMeasure *measure);
static char *read_filled(const WhRollup *rollup);

void
wh_rollup_apply_periods(WhRollup *rollup, WhLoad *load, WhCounts *counts, bool is_new)
{
	char *clock = wh_rollup_clock(rollup, load->to);

	wh_rollup_write_values(rollup, is_new);
	if (OidIsValid(rollup->rows))
		wh_rollup_write_rows(rollup, is_new);
	wh_rollup_stage_delta(rollup);
	stage_groups(rollup, clock, is_new);
	stage_have(rollup);
	stage_data(rollup);
	wh_rollup_check_rows(rollup, "wh_data x WHERE x.s1 < 0");
	if (rollup->fill)
		stage_span(rollup, clock);
	stage_periods(rollup);
	stage_rows(rollup);
	write_rows(rollup, load, counts);
}

/* wh_rollup_clock is the period of the feed clock at a position, as a literal. */
char *
wh_rollup_clock(const WhRollup *rollup, XLogRecPtr position)
{
	WhArg args[1];
	WhRows *rows;

	args[0] = WH_ARG_TIMESTAMPTZ(wh_changelog_clock(rollup->model->feed, position));
	rows = wh_spi_query(wh_sql("SELECT %s", wh_rollup_period_of(rollup, "$1")), 1, args);
	return wh_sql("%L::pg_catalog.date", wh_rows_text(rows, 0, 1));
}

/*
 * stage_groups fills wh_group: k, g… and p, the first period to look at, of each group that
 * changed.
 */
static void
stage_groups(WhRollup *rollup, const char *clock, bool is_new)
{
	StringInfoData groups;
	StringInfoData sql;
	const char *from = "pg_catalog.min(d.p)";

	if (rollup->fill && !is_new)
		from = wh_sql("LEAST(pg_catalog.min(d.p), %s)", wh_rollup_next(rollup, clock));
	initStringInfo(&groups);
	wh_rollup_group_columns(&groups, rollup, "d");
	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT d.k%s, %s AS p FROM wh_delta d GROUP BY d.k%s", groups.data, from,
				  groups.data);
	wh_stage_fill(rollup->stage, "wh_group", sql.data, 0, NULL);
}

/* stage_have fills wh_have with the rows from there on (k, p, state, the measures m… that may be
 * kept), and wh_base with the last one before (k, p, state). */
static void
stage_have(WhRollup *rollup)
{
	Oid table = rollup->model->relid;
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT x.k, t.period_start AS p, t.wh_state AS state");
	foreach(cell, rollup->measures)
		wh_sql_append(&sql, ", t.%I AS m%d", ((WhMeasure *) lfirst(cell))->name,
					  foreach_current_index(cell) + 1);
	wh_sql_append(&sql,
				  " FROM wh_group x CROSS JOIN LATERAL (SELECT * FROM %T t WHERE t.wh_key = x.k"
				  " AND t.period_start >= x.p OFFSET 0) t",
				  table);
	wh_rollup_fill_narrow(rollup, "wh_have", sql.data);
	wh_rollup_fill_narrow(
		rollup, "wh_base",
		wh_sql("SELECT x.k, t.p, t.state FROM wh_group x CROSS JOIN LATERAL"
			   " (SELECT t.period_start AS p, t.wh_state AS state FROM %T t WHERE t.wh_key = x.k"
			   " AND t.period_start < x.p ORDER BY t.period_start DESC LIMIT 1) t",
			   table));
}

/* stage_data fills wh_data: k, p, s… of the periods that have rows of the fact, and whether they
 * were touched. */
static void
stage_data(WhRollup *rollup)
{
	StringInfoData sql;
	StringInfoData of_delta;
	StringInfoData of_have;
	ListCell *cell;

	initStringInfo(&sql);
	initStringInfo(&of_delta);
	initStringInfo(&of_have);
	wh_sql_append(&sql, "SELECT q.k, q.p, pg_catalog.bool_or(q.is_touched) AS is_touched");
	foreach(cell, rollup->accumulators)
	{
		int number = foreach_current_index(cell) + 1;

		wh_sql_append(
			&sql, ", %s AS s%d",
			wh_rollup_canonical(lfirst(cell), wh_sql("pg_catalog.sum(q.s%d)", number)), number);
		wh_sql_append(&of_delta, ", d.s%d", number);
		wh_sql_append(&of_have, ", h.state[%d]", number);
	}
	wh_sql_append(&sql,
				  " FROM (SELECT d.k, d.p, true AS is_touched%s FROM wh_delta d UNION ALL SELECT"
				  " h.k, h.p, false%s FROM wh_have h WHERE h.state[1] > 0) q GROUP BY q.k, q.p"
				  " HAVING pg_catalog.sum(q.s1) <> 0",
				  of_delta.data, of_have.data);
	wh_stage_fill(rollup->stage, "wh_data", sql.data, 0, NULL);
}

/* stage_span fills wh_span: k, and the first and last period that the group's rows shall cover. A
 * group without rows of the fact has none. */
static void
stage_span(WhRollup *rollup, const char *clock)
{
	wh_stage_fill(
		rollup->stage, "wh_span",
		wh_sql("SELECT x.k, COALESCE(%s, w.first) AS start, GREATEST(%s, w.last) AS stop"
			   " FROM wh_group x LEFT JOIN wh_base b ON b.k = x.k LEFT JOIN (SELECT d.k,"
			   " pg_catalog.min(d.p) AS first, pg_catalog.max(d.p) AS last FROM wh_data d"
			   " GROUP BY d.k) w ON w.k = x.k WHERE b.k IS NOT NULL OR w.k IS NOT NULL",
			   wh_rollup_next(rollup, "b.p"), clock),
		0, NULL);
}

/* stage_periods fills wh_period: k, p, g…, s…, r…, is_touched, and what was there: is_old, had and
 * had<n>. */
static void
stage_periods(WhRollup *rollup)
{
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT x.k, x.p");
	wh_rollup_group_columns(&sql, rollup, "x");
	foreach(cell, rollup->accumulators)
	{
		int number = foreach_current_index(cell) + 1;

		wh_sql_append(&sql, ", %s AS s%d",
					  wh_rollup_canonical(lfirst(cell), wh_sql("x.s%d", number)), number);
	}
	foreach(cell, rollup->running)
	{
		int number = foreach_current_index(cell) + 1;
		WhAccumulator *accumulator = list_nth(rollup->accumulators, lfirst_int(cell) - 1);
		char *sum = wh_sql("COALESCE(b.state[%d], 0) + pg_catalog.sum(x.s%d) OVER (PARTITION BY x.k"
						   " ORDER BY x.p)",
						   list_length(rollup->accumulators) + number, lfirst_int(cell));

		wh_sql_append(&sql, ", %s AS r%d", wh_rollup_canonical(accumulator, sum), number);
	}
	wh_sql_append(&sql, ", x.is_touched, h.k IS NOT NULL AS is_old, h.state AS had%s",
				  carried(rollup));
	append_from(&sql, rollup);
	wh_sql_append(&sql, " LEFT JOIN wh_base b ON b.k = x.k"
						" LEFT JOIN wh_have h ON h.k = x.k AND h.p = x.p");
	wh_stage_fill(rollup->stage, "wh_period", sql.data, 0, NULL);
}

/* stage_rows fills wh_row: k, p, g…, the state, the measures m…, is_old, and whether it differs
 * from what is there. */
static void
stage_rows(WhRollup *rollup)
{
	StringInfoData sql;
	StringInfoData measures;
	StringInfoData had;
	ListCell *cell;

	initStringInfo(&measures);
	initStringInfo(&had);
	foreach(cell, rollup->measures)
	{
		wh_sql_append(&measures, ", x.m%d", foreach_current_index(cell) + 1);
		wh_sql_append(&had, ", x.had%d", foreach_current_index(cell) + 1);
	}
	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT x.k, x.p");
	wh_rollup_group_columns(&sql, rollup, "x");
	wh_sql_append(&sql,
				  ", x.state%s, x.is_old, ROW(x.state%s)::record OPERATOR(pg_catalog.*<>)"
				  " ROW(x.had%s)::record AS differs FROM (SELECT x.*, %s AS state",
				  measures.data, measures.data, had.data, wh_rollup_state(rollup, "x"));
	foreach(cell, rollup->measures)
		wh_sql_append(&sql, ", (%s)::%s AS m%d",
					  measure_of(rollup, lfirst(cell), foreach_current_index(cell) + 1),
					  ((WhMeasure *) lfirst(cell))->type, foreach_current_index(cell) + 1);
	wh_sql_append(&sql, " FROM wh_period x%s OFFSET 0) x", last_rows(rollup));
	wh_rollup_fill_narrow(rollup, "wh_row", sql.data);
}

/* append_from: the periods that shall have a row, x: k, p, g…, s…, is_touched. */
static void
append_from(StringInfo sql, const WhRollup *rollup)
{
	wh_sql_append(sql, " FROM (SELECT g.k");
	wh_rollup_group_columns(sql, rollup, "g");
	if (!rollup->fill)
	{
		wh_sql_append(sql, ", d.p, d.is_touched");
		for (int i = 1; i <= list_length(rollup->accumulators); i++)
			wh_sql_append(sql, ", d.s%d", i);
		wh_sql_append(sql, " FROM wh_data d JOIN wh_group g ON g.k = d.k) x");
		return;
	}
	wh_sql_append(sql, ", w.p, COALESCE(d.is_touched, false) AS is_touched");
	for (int i = 1; i <= list_length(rollup->accumulators); i++)
		wh_sql_append(sql, ", COALESCE(d.s%d, 0) AS s%d", i, i);
	wh_sql_append(sql,
				  " FROM (SELECT s.k, e.at::pg_catalog.date AS p FROM wh_span s CROSS JOIN LATERAL"
				  " pg_catalog.generate_series(s.start::pg_catalog.timestamp,"
				  " s.stop::pg_catalog.timestamp, %s) e (at)) w JOIN wh_group g ON g.k = w.k"
				  " LEFT JOIN wh_data d ON d.k = w.k AND d.p = w.p) x",
				  wh_rollup_step(rollup));
}

/* carried: the measures of the row that is there. */
static char *
carried(const WhRollup *rollup)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 1; i <= list_length(rollup->measures); i++)
		wh_sql_append(&sql, ", h.m%d AS had%d", i, i);
	return sql.data;
}

static char *
measure_of(const WhRollup *rollup, const WhMeasure *measure, int number)
{
	char *simple = wh_rollup_measure(rollup, measure, "x");

	if (simple != NULL)
		return simple;
	if (measure->kind == WH_MEASURE_LAST)
		return wh_sql("l.v%d", measure->input->number);
	/* Values of a period that was not touched are what they were. */
	return wh_sql("CASE WHEN x.is_touched THEN %s WHEN x.s1 > 0 THEN x.had%d END",
				  wh_rollup_extreme(rollup, measure, "x"), number);
}

/* last_rows joins the last row of the fact up to the period's end, l. */
static char *
last_rows(const WhRollup *rollup)
{
	StringInfoData sql;

	initStringInfo(&sql);
	if (!OidIsValid(rollup->rows))
		return sql.data;
	wh_sql_append(&sql, " LEFT JOIN LATERAL (SELECT t.* FROM %T t WHERE t.k = x.k AND t.p <= x.p"
						" ORDER BY t.p DESC, t.at DESC",
				  rollup->rows);
	for (int i = 1; i <= list_length(rollup->identity); i++)
		wh_sql_append(&sql, ", t.h%d DESC", i);
	wh_sql_append(&sql, " LIMIT 1) l ON true");
	return sql.data;
}

static void
write_rows(WhRollup *rollup, const WhLoad *load, WhCounts *counts)
{
	Oid table = rollup->model->relid;
	StringInfoData targets;
	StringInfoData values;
	StringInfoData sql;
	ListCell *cell;

	if (wh_stage_fill(rollup->stage, "wh_gone",
					  "SELECT h.k, h.p FROM wh_have h LEFT JOIN wh_row x ON x.k = h.k AND x.p = h.p"
					  " WHERE x.k IS NULL",
					  0, NULL) > 0)
		counts->deleted += wh_rollup_execute_narrow(
			rollup, wh_sql("DELETE FROM %T t USING wh_gone x WHERE t.wh_key = x.k"
						   " AND t.period_start = x.p",
						   table));
	initStringInfo(&targets);
	initStringInfo(&values);
	foreach(cell, rollup->measures)
	{
		wh_sql_append(&targets, ", %I", ((WhMeasure *) lfirst(cell))->name);
		wh_sql_append(&values, ", x.m%d", foreach_current_index(cell) + 1);
	}
	counts->updated += wh_rollup_execute_narrow(
		rollup, wh_sql("UPDATE %T t SET (load_id, wh_state%s) = ROW(%l, x.state%s) FROM wh_row x"
					   " WHERE x.is_old AND x.differs AND t.wh_key = x.k AND t.period_start = x.p",
					   table, targets.data, load->id, values.data));
	initStringInfo(&sql);
	append_insert(&sql, rollup);
	wh_sql_append(&sql, " SELECT %l, x.k, x.state, x.p", load->id);
	wh_rollup_group_columns(&sql, rollup, "x");
	wh_sql_append(&sql, "%s FROM wh_row x WHERE NOT x.is_old", values.data);
	counts->inserted += wh_stage_execute(rollup->stage, sql.data, 0, NULL);
}

static void
append_insert(StringInfo sql, const WhRollup *rollup)
{
	wh_sql_append(sql, "INSERT INTO %T (load_id, wh_key, wh_state", rollup->model->relid);
	wh_rollup_table_columns(sql, rollup, NULL);
	wh_sql_append(sql, ")");
}

/*
 * wh_rollup_enter_periods gives every group its rows up to the period of the feed clock at
 * load->to, when that has moved: copies of its last row, in which the period itself has nothing.
 * Groups are found by their rows at the period that was the clock's, or after it.
 */
void
wh_rollup_enter_periods(WhRollup *rollup, WhLoad *load, WhCounts *counts)
{
	char *clock = wh_rollup_clock(rollup, load->to);
	char *filled = read_filled(rollup);

	if (filled != NULL && strcmp(filled, clock) == 0)
		return;
	if (filled != NULL)
		copy_ends(rollup, load, counts, filled, clock);
	wh_catalog_execute(
		wh_sql("UPDATE walhouse.rollup SET filled_to = %s WHERE model_id = $1", clock), 1,
		(WhArg[]){WH_ARG_INT4(rollup->model->id)});
}

static void
copy_ends(WhRollup *rollup, WhLoad *load, WhCounts *counts, const char *filled, const char *clock)
{
	StringInfoData sql;
	ListCell *cell;

	wh_rollup_fill_narrow(
		rollup, "wh_end",
		wh_sql("SELECT t.* FROM (SELECT DISTINCT ON (t.wh_key) t.* FROM %T t WHERE"
			   " t.period_start >= %s ORDER BY t.wh_key, t.period_start DESC) t"
			   " WHERE t.period_start < %s",
			   rollup->model->relid, filled, clock));
	initStringInfo(&sql);
	append_insert(&sql, rollup);
	wh_sql_append(&sql, " SELECT %l, x.wh_key, ARRAY[", load->id);
	foreach(cell, rollup->accumulators)
		wh_sql_append(&sql, "%s%s", foreach_current_index(cell) > 0 ? ", " : "",
					  wh_rollup_canonical(lfirst(cell), "0::pg_catalog.numeric"));
	for (int i = 1; i <= list_length(rollup->running); i++)
		wh_sql_append(&sql, ", x.wh_state[%d]", list_length(rollup->accumulators) + i);
	wh_sql_append(&sql, "], e.at::pg_catalog.date");
	foreach(cell, rollup->groups)
		wh_sql_append(&sql, ", x.%I", ((WhRollupColumn *) lfirst(cell))->name);
	foreach(cell, rollup->measures)
		wh_sql_append(&sql, ", %s", copied_measure(lfirst(cell)));
	wh_sql_append(&sql,
				  " FROM wh_end x CROSS JOIN LATERAL pg_catalog.generate_series("
				  "%s::pg_catalog.timestamp, %s::pg_catalog.timestamp, %s) e (at)",
				  wh_rollup_next(rollup, "x.period_start"), clock, wh_rollup_step(rollup));
	counts->inserted += wh_stage_execute(rollup->stage, sql.data, 0, NULL);
}

/* copied_measure is a measure of a period without rows of the fact. */
static char *
copied_measure(const WhMeasure *measure)
{
	switch (measure->kind)
	{
		case WH_MEASURE_COUNT_ROWS:
		case WH_MEASURE_COUNT:
		case WH_MEASURE_COUNT_DISTINCT:
			return pstrdup("0");
		case WH_MEASURE_BALANCE_ROWS:
		case WH_MEASURE_BALANCE:
		case WH_MEASURE_LAST:
			return wh_sql("x.%I", measure->name);
		case WH_MEASURE_SUM:
		case WH_MEASURE_AVG:
		case WH_MEASURE_MIN:
		case WH_MEASURE_MAX:
			return pstrdup("NULL");
	}
	elog(ERROR, "unknown measure %d", measure->kind);
}

/* read_filled is the clock's period up to which groups have their rows, as a literal; NULL: none is
 * known, since a build has just made all. */
static char *
read_filled(const WhRollup *rollup)
{
	char *filled = wh_rows_text(
		wh_catalog_query("SELECT filled_to FROM walhouse.rollup WHERE model_id = $1", 1,
						 (WhArg[]){WH_ARG_INT4(rollup->model->id)}),
		0, 1);

	return filled == NULL ? NULL : wh_sql("%L::pg_catalog.date", filled);
}
