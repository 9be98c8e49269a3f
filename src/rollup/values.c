/*
 * values.c
 *		The tables beside a rollup: which values there are, and how often; which row is the last.
 *
 * min, max and count(distinct) must know what is left when a value goes away.  For each such column
 * a table has the values of each row of the rollup, with their number, in the order of a btree: the
 * least and the greatest are its ends.  For last() a table has the rows of the fact that a snapshot
 * counts, in their order.  Both are read by one probe of their primary key.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "rollup/rollup.h"
#include "rollup/rollup_private.h"

static void stage_values(WhRollup *rollup, const WhRollupInput *input, bool is_new);
static char *same_place(const WhRollup *rollup, const char *a, const char *b);
static char *same_value(const WhRollupInput *input);
static char *same_row(const WhRollup *rollup, const char *a, const char *b);

/*
 * wh_rollup_write_values brings the tables of values to what wh_net says, and leaves wh_v<n> for
 * each: k, p (of snapshots), value, n and what there was, `was`.
 */
void
wh_rollup_write_values(WhRollup *rollup, bool is_new)
{
	const char *period = rollup->is_snapshot ? "p, " : "";
	const char *of_x = rollup->is_snapshot ? "x.p, " : "";
	ListCell *cell;

	foreach(cell, rollup->inputs)
	{
		WhRollupInput *input = lfirst(cell);
		const char *stage = psprintf("wh_v%d", input->number);
		char *place;

		if (!input->is_valued)
			continue;
		stage_values(rollup, input, is_new);
		if (wh_stage_count(rollup->stage, stage) == 0)
			continue;
		place = wh_sql("%s AND %s", same_place(rollup, "t", "x"), same_value(input));
		if (!is_new)
		{
			wh_rollup_execute_narrow(
				rollup, wh_sql("DELETE FROM %T t USING %s x WHERE x.was + x.n = 0 AND %s",
							   input->values, stage, place));
			wh_rollup_execute_narrow(
				rollup, wh_sql("UPDATE %T t SET n = x.was + x.n FROM %s x WHERE x.was + x.n > 0"
							   " AND %s",
							   input->values, stage, place));
		}
		wh_stage_execute(rollup->stage,
						 wh_sql("INSERT INTO %T (k, %svalue, n) SELECT x.k, %sx.value, x.n"
								" FROM %s x WHERE x.was IS NULL",
								input->values, period, of_x, stage),
						 0, NULL);
	}
}

static void
stage_values(WhRollup *rollup, const WhRollupInput *input, bool is_new)
{
	const char *stage = psprintf("wh_v%d", input->number);
	const char *period = rollup->is_snapshot ? ", t.p" : "";
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql,
				  "SELECT x.*, %s AS was FROM (SELECT t.k%s, t.v%d AS value,"
				  " pg_catalog.sum(t.n)::pg_catalog.int8 AS n FROM wh_net t"
				  " WHERE t.v%d IS NOT NULL GROUP BY t.k%s, t.v%d"
				  " HAVING pg_catalog.sum(t.n) <> 0) x",
				  is_new ? "NULL::pg_catalog.int8" : "o.n", period, input->number, input->number,
				  period, input->number);
	if (!is_new)
		wh_sql_append(
			&sql, " LEFT JOIN LATERAL (SELECT t.n FROM %T t WHERE %s AND %s OFFSET 0) o ON true",
			input->values, same_place(rollup, "t", "x"), same_value(input));
	wh_rollup_fill_narrow(rollup, stage, sql.data);
	if (wh_stage_query(rollup->stage,
					   wh_sql("SELECT FROM %s x WHERE COALESCE(x.was, 0) + x.n < 0 LIMIT 1", stage),
					   0, NULL)
			->count > 0)
		wh_rollup_refuse_state(rollup);
}

/* same_place pairs what belongs to one row of the rollup. */
static char *
same_place(const WhRollup *rollup, const char *a, const char *b)
{
	return rollup->is_snapshot ? psprintf("%s.k = %s.k AND %s.p = %s.p", a, b, a, b) :
								 psprintf("%s.k = %s.k", a, b);
}

static char *
same_value(const WhRollupInput *input)
{
	return psprintf("t.value %s x.value", wh_model_equality(input->column->type));
}

char *
wh_rollup_extreme(const WhRollup *rollup, const WhMeasure *measure, const char *alias)
{
	return wh_sql("(SELECT t.value FROM %T t WHERE %s ORDER BY t.value%s LIMIT 1)",
				  measure->input->values, same_place(rollup, "t", alias),
				  measure->kind == WH_MEASURE_MIN ? "" : " DESC");
}

/* -------- the rows that last() looks at -------- */

/* wh_rollup_write_rows brings the table of rows to what wh_net says. */
void
wh_rollup_write_rows(WhRollup *rollup, bool is_new)
{
	StringInfoData columns;
	StringInfoData values;
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&columns);
	initStringInfo(&values);
	for (int i = 1; i <= list_length(rollup->identity); i++)
		appendStringInfo(&columns, ", h%d", i);
	foreach(cell, rollup->inputs)
	{
		if (((WhRollupInput *) lfirst(cell))->is_last)
			appendStringInfo(&values, ", v%d", foreach_current_index(cell) + 1);
	}
	initStringInfo(&sql);
	wh_sql_append(&sql,
				  "SELECT k, p, at%s%s, pg_catalog.sum(n)::pg_catalog.int8 AS n FROM wh_net"
				  " GROUP BY k, p, at%s%s HAVING pg_catalog.sum(n) <> 0",
				  columns.data, values.data, columns.data, values.data);
	if (wh_stage_fill(rollup->stage, "wh_last", sql.data, 0, NULL) == 0)
		return;
	if (!is_new)
	{
		int64 gone = wh_rows_int8(
			wh_stage_query(rollup->stage, "SELECT pg_catalog.count(*) FROM wh_last x WHERE x.n < 0",
						   0, NULL),
			0, 1);

		if (gone > 0 &&
			wh_rollup_execute_narrow(
				rollup, wh_sql("DELETE FROM %T t USING wh_last x WHERE x.n < 0 AND %s",
							   rollup->rows, same_row(rollup, "t", "x"))) != (uint64) gone)
			wh_rollup_refuse_state(rollup);
	}
	wh_stage_execute(rollup->stage,
					 wh_sql("INSERT INTO %T (k, p, at%s%s) SELECT k, p, at%s%s FROM wh_last"
							" WHERE n > 0",
							rollup->rows, columns.data, values.data, columns.data, values.data),
					 0, NULL);
}

static char *
same_row(const WhRollup *rollup, const char *a, const char *b)
{
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	wh_sql_append(&sql, "%s.k = %s.k AND %s.p = %s.p AND %s.at = %s.at", a, b, a, b, a, b);
	foreach(cell, rollup->identity)
	{
		int place = foreach_current_index(cell) + 1;

		wh_sql_append(&sql, " AND %s.h%d %s %s.h%d", a, place,
					  wh_model_equality(((WhRollupColumn *) lfirst(cell))->type), b, place);
	}
	return sql.data;
}
