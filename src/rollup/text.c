/*
 * text.c
 *		Pieces of SQL that the statements of a rollup are made of.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/base.h"
#include "rollup/rollup.h"
#include "rollup/rollup_private.h"

static int scale_of(const WhRollupColumn *column);
static char *value_of(const WhRollupInput *input, const char *value);
static char *local_date(const WhRollup *rollup, const char *value);
static char *sum_of(const WhRollup *rollup, const WhMeasure *measure, const char *alias,
					const char *letter);
static char *element(const WhRollup *rollup, WhAccumulatorKind kind, const WhRollupInput *input,
					 const char *alias, const char *letter);

char *
wh_rollup_type(const WhRollupColumn *column)
{
	return format_type_extended(column->type, column->typmod,
								FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}

char *
wh_rollup_definition(const WhRollupColumn *column)
{
	StringInfoData sql;
	HeapTuple tuple;

	initStringInfo(&sql);
	wh_sql_append(&sql, "%s", wh_rollup_type(column));
	if (OidIsValid(column->collation) && column->collation != get_typcollation(column->type))
	{
		Form_pg_collation form;

		tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(column->collation));
		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for collation %u", column->collation);
		form = (Form_pg_collation) GETSTRUCT(tuple);
		wh_sql_append(&sql, " COLLATE %I.%I", get_namespace_name(form->collnamespace),
					  NameStr(form->collname));
		ReleaseSysCache(tuple);
	}
	return sql.data;
}

/* -------- periods -------- */

char *
wh_rollup_period_type(const WhRollup *rollup)
{
	WhRollupColumn of_time = {.typmod = -1};

	of_time.type = strcmp(rollup->unit, "hour") == 0 ? getBaseType(rollup->time->type) : DATEOID;
	return wh_rollup_type(&of_time);
}

char *
wh_rollup_period(const WhRollup *rollup, const char *value)
{
	Oid type = getBaseType(rollup->time->type);

	if (strcmp(rollup->unit, "hour") == 0)
		return type == TIMESTAMPTZOID ?
				   wh_sql("pg_catalog.date_trunc('hour', %s, %s)", value, rollup->zone) :
				   wh_sql("pg_catalog.date_trunc('hour', %s)", value);
	if (strcmp(rollup->unit, "day") == 0)
		return local_date(rollup, value);
	return wh_sql("pg_catalog.date_trunc(%L, %s::pg_catalog.timestamp)::pg_catalog.date",
				  rollup->unit,
				  type == TIMESTAMPTZOID ?
					  wh_sql("pg_catalog.timezone(%s, %s)", rollup->zone, value) :
					  value);
}

/* local_date is the date in the feed's time zone. */
static char *
local_date(const WhRollup *rollup, const char *value)
{
	if (getBaseType(rollup->time->type) == TIMESTAMPTZOID)
		return wh_sql("pg_catalog.timezone(%s, %s)::pg_catalog.date", rollup->zone, value);
	return wh_sql("%s::pg_catalog.date", value);
}

char *
wh_rollup_period_of(const WhRollup *rollup, const char *instant)
{
	return wh_sql(
		"pg_catalog.date_trunc(%L, pg_catalog.timezone(%s, %s))::pg_catalog.date",
		rollup->unit, rollup->zone, instant);
}

char *
wh_rollup_step(const WhRollup *rollup)
{
	return wh_sql("%L::pg_catalog.interval", psprintf("1 %s", rollup->unit));
}

char *
wh_rollup_next(const WhRollup *rollup, const char *period)
{
	return wh_sql("(%s + %s)::pg_catalog.date", period, wh_rollup_step(rollup));
}

/* -------- columns -------- */

/* dot is an alias and its dot; nothing for a list of targets. */
static char *
dot(const char *alias)
{
	return alias == NULL ? pstrdup("") : psprintf("%s.", alias);
}

void
wh_rollup_period_column(StringInfo sql, const WhRollup *rollup, const char *alias)
{
	if (rollup->unit != NULL)
		wh_sql_append(sql, ", %sp", dot(alias));
}

void
wh_rollup_group_columns(StringInfo sql, const WhRollup *rollup, const char *alias)
{
	for (int i = 1; i <= list_length(rollup->groups); i++)
		wh_sql_append(sql, ", %sg%d", dot(alias), i);
}

void
wh_rollup_projection(StringInfo sql, const WhRollup *rollup, const char *alias)
{
	wh_rollup_period_column(sql, rollup, alias);
	wh_rollup_group_columns(sql, rollup, alias);
	for (int i = 1; i <= list_length(rollup->inputs); i++)
		wh_sql_append(sql, ", %sv%d", dot(alias), i);
	if (rollup->identity == NIL)
		return;
	wh_sql_append(sql, ", %sat", dot(alias));
	for (int i = 1; i <= list_length(rollup->identity); i++)
		wh_sql_append(sql, ", %sh%d", dot(alias), i);
}

void
wh_rollup_table_columns(StringInfo sql, const WhRollup *rollup, const char *alias)
{
	ListCell *cell;

	if (rollup->unit != NULL)
		wh_sql_append(sql, ", %speriod_start", dot(alias));
	foreach(cell, rollup->groups)
		wh_sql_append(sql, ", %s%I", dot(alias), ((WhRollupColumn *) lfirst(cell))->name);
	foreach(cell, rollup->measures)
		wh_sql_append(sql, ", %s%I", dot(alias), ((WhMeasure *) lfirst(cell))->name);
}

/* name_of is a column of the fact in alias c. */
static char *
name_of(const WhRollupColumn *column, const char *prefix)
{
	return prefix == NULL ? wh_sql("c.%I", column->name) :
							wh_sql("c.%s%d", prefix, column->attnum);
}

void
wh_rollup_project(StringInfo sql, const WhRollup *rollup, const char *n, const char *from,
				  const char *prefix)
{
	ListCell *cell;
	char *time = rollup->time != NULL ? name_of(rollup->time, prefix) : NULL;

	wh_sql_append(sql, "SELECT %s AS n", n);
	if (rollup->unit != NULL)
		wh_sql_append(sql, ", %s AS p", wh_rollup_period(rollup, time));
	foreach(cell, rollup->groups)
		wh_sql_append(sql, ", %s AS g%d", name_of(lfirst(cell), prefix),
					  foreach_current_index(cell) + 1);
	foreach(cell, rollup->inputs)
	{
		WhRollupInput *input = lfirst(cell);

		wh_sql_append(sql, ", %s AS v%d", value_of(input, name_of(input->column, prefix)),
					  input->number);
	}
	if (rollup->identity != NIL)
		wh_sql_append(sql, ", %s AS at", time);
	foreach(cell, rollup->identity)
		wh_sql_append(sql, ", %s AS h%d", name_of(lfirst(cell), prefix),
					  foreach_current_index(cell) + 1);
	wh_sql_append(sql, " FROM %s c", from);
	if (rollup->is_snapshot)
		wh_sql_append(sql, " WHERE %s >= %s AND %s < %s", local_date(rollup, time),
					  rollup->bounds_from, local_date(rollup, time), rollup->bounds_to);
}

/* value_of is a value in the form in which equal values have equal images. */
static char *
value_of(const WhRollupInput *input, const char *value)
{
	Oid type = getBaseType(input->column->type);

	/* A row whose columns are all null is not null. */
	if (input->is_flag)
		return wh_sql("(pg_catalog.num_nonnulls(%s) > 0)", value);
	if (type == NUMERICOID && scale_of(input->column) < 0)
		return wh_sql("pg_catalog.trim_scale(%s)", value);
	if (type == FLOAT4OID || type == FLOAT8OID)
		return wh_sql("(CASE WHEN %s = '0' THEN '0' WHEN %s = 'NaN' THEN 'NaN' ELSE %s END)",
					  value, value, value);
	return pstrdup(value);
}

/* scale_of is the number of digits behind the point that all values of a numeric column have; -1
 * when it is open. */
static int
scale_of(const WhRollupColumn *column)
{
	int32 typmod = column->typmod;
	int scale;

	(void) getBaseTypeAndTypmod(column->type, &typmod);
	if (typmod < (int32) VARHDRSZ)
		return -1;
	scale = (((typmod - VARHDRSZ) & 0x7ff) ^ 1024) - 1024;
	return Max(scale, 0);
}

char *
wh_rollup_key(const WhRollup *rollup, const char *alias)
{
	StringInfoData columns;

	initStringInfo(&columns);
	if (!rollup->is_snapshot)
		wh_rollup_period_column(&columns, rollup, alias);
	wh_rollup_group_columns(&columns, rollup, alias);
	return wh_sql("pg_catalog.md5(ROW(%s)::pg_catalog.text)::pg_catalog.uuid",
				  columns.len > 0 ? columns.data + 2 : "");
}

/* -------- accumulators -------- */

/* not_null and is_special are conditions on an input of projection t. */
static char *
not_null(const WhRollupInput *input)
{
	return psprintf(input->is_flag ? "t.v%d" : "t.v%d IS NOT NULL", input->number);
}

static const char *
special(WhAccumulatorKind kind)
{
	return kind == WH_ACCUMULATE_NAN  ? "'NaN'" :
		   kind == WH_ACCUMULATE_PLUS ? "'Infinity'" :
										"'-Infinity'";
}

#define SPECIALS "('NaN', 'Infinity', '-Infinity')"

char *
wh_rollup_accumulate(const WhAccumulator *accumulator)
{
	WhRollupInput *input = accumulator->input;

	switch (accumulator->kind)
	{
		case WH_ACCUMULATE_ROWS:
			return pstrdup("pg_catalog.sum(t.n)");
		case WH_ACCUMULATE_COUNT:
			return psprintf("COALESCE(pg_catalog.sum(t.n) FILTER (WHERE %s), 0)", not_null(input));
		case WH_ACCUMULATE_SUM:
			if (getBaseType(input->column->type) != NUMERICOID)
				return psprintf("COALESCE(pg_catalog.sum(t.n * t.v%d::pg_catalog.numeric), 0)",
								input->number);
			return psprintf(
				"COALESCE(pg_catalog.sum(t.n * t.v%d) FILTER (WHERE t.v%d NOT IN " SPECIALS
				"), 0)",
				input->number, input->number);
		case WH_ACCUMULATE_NAN:
		case WH_ACCUMULATE_PLUS:
		case WH_ACCUMULATE_MINUS:
			return psprintf("COALESCE(pg_catalog.sum(t.n) FILTER (WHERE t.v%d = %s), 0)",
							input->number, special(accumulator->kind));
		case WH_ACCUMULATE_DISTINCT:
			return pstrdup("0::pg_catalog.numeric");
	}
	elog(ERROR, "unknown accumulator %d", accumulator->kind);
}

char *
wh_rollup_recompute(const WhAccumulator *accumulator)
{
	WhRollupInput *input = accumulator->input;

	switch (accumulator->kind)
	{
		case WH_ACCUMULATE_ROWS:
			return pstrdup("pg_catalog.count(*)");
		case WH_ACCUMULATE_COUNT:
			return psprintf("pg_catalog.count(*) FILTER (WHERE %s)", not_null(input));
		case WH_ACCUMULATE_SUM:
			if (getBaseType(input->column->type) != NUMERICOID)
				return psprintf("COALESCE(pg_catalog.sum(t.v%d), 0)", input->number);
			return psprintf("COALESCE(pg_catalog.sum(t.v%d) FILTER (WHERE t.v%d NOT IN " SPECIALS
							"), 0)",
							input->number, input->number);
		case WH_ACCUMULATE_NAN:
		case WH_ACCUMULATE_PLUS:
		case WH_ACCUMULATE_MINUS:
			return psprintf("pg_catalog.count(*) FILTER (WHERE t.v%d = %s)", input->number,
							special(accumulator->kind));
		case WH_ACCUMULATE_DISTINCT:
			return psprintf("pg_catalog.count(DISTINCT t.v%d)", input->number);
	}
	elog(ERROR, "unknown accumulator %d", accumulator->kind);
}

char *
wh_rollup_canonical(const WhAccumulator *accumulator, const char *value)
{
	int scale;

	if (accumulator->kind != WH_ACCUMULATE_SUM ||
		getBaseType(accumulator->input->column->type) != NUMERICOID)
		return pstrdup(value);
	scale = scale_of(accumulator->input->column);
	return scale < 0 ? wh_sql("pg_catalog.trim_scale(%s)", value) :
					   wh_sql("pg_catalog.round(%s, %d)", value, scale);
}

char *
wh_rollup_state(const WhRollup *rollup, const char *alias)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 1; i <= list_length(rollup->accumulators); i++)
		wh_sql_append(&sql, "%s%s.s%d", i > 1 ? ", " : "ARRAY[", alias, i);
	for (int i = 1; i <= list_length(rollup->running); i++)
		wh_sql_append(&sql, ", %s.r%d", alias, i);
	wh_sql_append(&sql, "]::pg_catalog.numeric[]");
	return sql.data;
}

/* -------- measures -------- */

char *
wh_rollup_measure(const WhRollup *rollup, const WhMeasure *measure, const char *alias)
{
	switch (measure->kind)
	{
		case WH_MEASURE_COUNT_ROWS:
			return psprintf("%s::pg_catalog.int8",
							element(rollup, WH_ACCUMULATE_ROWS, NULL, alias, "s"));
		case WH_MEASURE_BALANCE_ROWS:
			return psprintf("%s::pg_catalog.int8",
							element(rollup, WH_ACCUMULATE_ROWS, NULL, alias, "r"));
		case WH_MEASURE_COUNT:
			return psprintf("%s::pg_catalog.int8",
							element(rollup, WH_ACCUMULATE_COUNT, measure->input, alias, "s"));
		case WH_MEASURE_COUNT_DISTINCT:
			return psprintf("%s::pg_catalog.int8",
							element(rollup, WH_ACCUMULATE_DISTINCT, measure->input, alias, "s"));
		case WH_MEASURE_SUM:
		case WH_MEASURE_AVG:
			return sum_of(rollup, measure, alias, "s");
		case WH_MEASURE_BALANCE:
			return sum_of(rollup, measure, alias, "r");
		case WH_MEASURE_MIN:
		case WH_MEASURE_MAX:
		case WH_MEASURE_LAST:
			return NULL;
	}
	elog(ERROR, "unknown measure %d", measure->kind);
}

/*
 * sum_of is a sum or an average, as PostgreSQL's aggregates make it of the same: special values
 * win, and the average is one division of exact numbers.  How many digits that gives PostgreSQL
 * asks the scale of the values, which a sum that was freed of zeroes has lost: 16 at least.
 */
static char *
sum_of(const WhRollup *rollup, const WhMeasure *measure, const char *alias, const char *letter)
{
	const WhRollupInput *input = measure->input;
	Oid type = getBaseType(input->column->type);
	char *count = element(rollup, WH_ACCUMULATE_COUNT, input, alias, letter);
	char *sum = element(rollup, WH_ACCUMULATE_SUM, input, alias, letter);
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "CASE WHEN %s = 0 THEN NULL", count);
	if (type == NUMERICOID)
	{
		char *nan = element(rollup, WH_ACCUMULATE_NAN, input, alias, letter);
		char *plus = element(rollup, WH_ACCUMULATE_PLUS, input, alias, letter);
		char *minus = element(rollup, WH_ACCUMULATE_MINUS, input, alias, letter);

		wh_sql_append(&sql,
					  " WHEN %s > 0 OR (%s > 0 AND %s > 0) THEN 'NaN'::pg_catalog.numeric"
					  " WHEN %s > 0 THEN 'Infinity' WHEN %s > 0 THEN '-Infinity'",
					  nan, plus, minus, plus, minus);
	}
	if (measure->kind == WH_MEASURE_AVG && type == NUMERICOID && scale_of(input->column) < 0)
		wh_sql_append(&sql,
					  " ELSE pg_catalog.trim_scale(pg_catalog.round(%s, "
					  "GREATEST(pg_catalog.scale(%s), 16)) / %s) END",
					  sum, sum, count);
	else if (measure->kind == WH_MEASURE_AVG)
		wh_sql_append(&sql, " ELSE %s / %s END", sum, count);
	else
		wh_sql_append(&sql, " ELSE %s END", sum);
	if (measure->kind != WH_MEASURE_AVG && (type == INT2OID || type == INT4OID))
		return wh_sql("(%s)::pg_catalog.int8", sql.data);
	return sql.data;
}

/* element is an accumulator: <alias>.s<place>, or of the running ones <alias>.r<place>. */
static char *
element(const WhRollup *rollup, WhAccumulatorKind kind, const WhRollupInput *input,
		const char *alias, const char *letter)
{
	int place = wh_rollup_place(rollup, kind, input);
	ListCell *cell;

	if (*letter == 's')
		return psprintf("%s.s%d", alias, place);
	foreach(cell, rollup->running)
	{
		if (lfirst_int(cell) == place)
			return psprintf("%s.r%d", alias, foreach_current_index(cell) + 1);
	}
	elog(ERROR, "accumulator %d does not run", place);
}
