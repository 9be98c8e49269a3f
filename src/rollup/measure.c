/*
 * measure.c
 *		Measures: what they are called, what they are made of, and which types they take.
 *
 * A measure that only adds up follows from accumulators; min, max, count(distinct) and last need
 * to know what is left when a value goes away, so their values are kept beside the rollup.  For
 * that, equal must mean the same image, or the rows would depend on which of two equal values was
 * there first: numbers without a scale are freed of trailing zeroes, and of float, -0 is 0.  Sums
 * of float depend on the order and are refused.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

#include "base/base.h"
#include "rollup/rollup.h"
#include "rollup/rollup_private.h"

/* How a measure is written. */
static const struct
{
	WhMeasureKind kind;
	const char *function;
	bool has_column;
	bool of_snapshots;
} written[] = {
	{WH_MEASURE_COUNT_ROWS, "count", false, false},
	{WH_MEASURE_COUNT, "count", true, false},
	{WH_MEASURE_COUNT_DISTINCT, "count distinct", true, false},
	{WH_MEASURE_SUM, "sum", true, false},
	{WH_MEASURE_AVG, "avg", true, false},
	{WH_MEASURE_MIN, "min", true, false},
	{WH_MEASURE_MAX, "max", true, false},
	{WH_MEASURE_BALANCE_ROWS, "balance", false, true},
	{WH_MEASURE_BALANCE, "balance", true, true},
	{WH_MEASURE_LAST, "last", true, true},
};

static char *trim(char *text);
static pg_noreturn void refuse_measure(const char *name, const char *text, bool is_snapshot);
static bool take_distinct(char **inner);
static WhRollupInput *input_of(WhRollup *rollup, const WhMeasure *measure);
static void add_accumulator(WhRollup *rollup, WhAccumulatorKind kind, WhRollupInput *input);
static void add_sums(WhRollup *rollup, WhRollupInput *input);
static bool is_float(Oid type);

WhMeasure *
wh_rollup_parse_measure(const char *name, const char *text, bool is_snapshot)
{
	WhMeasure *measure = palloc0(sizeof(WhMeasure));
	char *function = trim(pstrdup(text));
	char *inner = strchr(function, '(');
	int length = strlen(function);
	bool is_distinct;
	List *columns;

	if (inner == NULL || function[length - 1] != ')')
		refuse_measure(name, text, is_snapshot);
	function[length - 1] = '\0';
	*inner = '\0';
	inner = trim(inner + 1);
	function = trim(function);
	for (char *c = function; *c != '\0'; c++)
		*c = pg_tolower((unsigned char) *c);
	is_distinct = strcmp(function, "count") == 0 && take_distinct(&inner);
	measure->name = pstrdup(name);
	if (strcmp(inner, "*") != 0)
	{
		if (!SplitIdentifierString(inner, ',', &columns) || list_length(columns) != 1)
			refuse_measure(name, text, is_snapshot);
		measure->column = linitial(columns);
	}
	if (is_distinct)
		function = "count distinct";
	for (int i = 0; i < lengthof(written); i++)
	{
		if (strcmp(written[i].function, function) != 0 ||
			written[i].has_column != (measure->column != NULL))
			continue;
		if (written[i].of_snapshots && !is_snapshot)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("measure \"%s\" is a periodic snapshot's: %s", name, text),
					 errhint("Declare one with walhouse.create_periodic_snapshot().")));
		measure->kind = written[i].kind;
		return measure;
	}
	refuse_measure(name, text, is_snapshot);
}

static char *
trim(char *text)
{
	char *end = text + strlen(text);

	while (*text == ' ' || *text == '\t' || *text == '\n')
		text++;
	while (end > text && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\n'))
		*--end = '\0';
	return text;
}

static void
refuse_measure(const char *name, const char *text, bool is_snapshot)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("measure \"%s\" cannot be kept: %s", name, text),
					errdetail("There are count(*), count(c), count(distinct c), sum(c), avg(c), min(c) "
							  "and max(c)%s, of one column of the fact.",
							  is_snapshot ? ", balance(*), balance(c) and last(c)" : ""),
					errhint("Compute expressions in the query of the fact.")));
}

/* take_distinct removes the word DISTINCT from the head of an argument. */
static bool
take_distinct(char **inner)
{
	if (pg_strncasecmp(*inner, "distinct", 8) != 0 ||
		((*inner)[8] != ' ' && (*inner)[8] != '\t' && (*inner)[8] != '\n' && (*inner)[8] != '"'))
		return false;
	*inner = trim(*inner + 8);
	return true;
}

const char *
wh_rollup_function(WhMeasureKind kind)
{
	for (int i = 0; i < lengthof(written); i++)
	{
		if (written[i].kind == kind)
			return written[i].function;
	}
	elog(ERROR, "unknown measure %d", kind);
}

WhMeasureKind
wh_rollup_measure_kind(const char *function, bool has_column)
{
	for (int i = 0; i < lengthof(written); i++)
	{
		if (strcmp(written[i].function, function) == 0 && written[i].has_column == has_column)
			return written[i].kind;
	}
	elog(ERROR, "unknown measure \"%s\"", function);
}

void
wh_rollup_plan(WhRollup *rollup)
{
	ListCell *cell;

	add_accumulator(rollup, WH_ACCUMULATE_ROWS, NULL);
	foreach(cell, rollup->measures)
	{
		WhMeasure *measure = lfirst(cell);

		if (measure->column == NULL)
			continue;
		measure->input = input_of(rollup, measure);
		switch (measure->kind)
		{
			case WH_MEASURE_COUNT:
				add_accumulator(rollup, WH_ACCUMULATE_COUNT, measure->input);
				break;
			case WH_MEASURE_COUNT_DISTINCT:
				add_accumulator(rollup, WH_ACCUMULATE_DISTINCT, measure->input);
				measure->input->is_valued = true;
				break;
			case WH_MEASURE_SUM:
			case WH_MEASURE_AVG:
			case WH_MEASURE_BALANCE:
				add_sums(rollup, measure->input);
				break;
			case WH_MEASURE_MIN:
			case WH_MEASURE_MAX:
				measure->input->is_valued = true;
				break;
			case WH_MEASURE_LAST:
				measure->input->is_last = true;
				break;
			case WH_MEASURE_COUNT_ROWS:
			case WH_MEASURE_BALANCE_ROWS:
				break;
		}
	}
	foreach(cell, rollup->accumulators)
	{
		WhAccumulator *accumulator = lfirst(cell);
		ListCell *other;

		foreach(other, rollup->measures)
		{
			WhMeasure *measure = lfirst(other);

			if (accumulator->kind != WH_ACCUMULATE_DISTINCT &&
				((measure->kind == WH_MEASURE_BALANCE && measure->input == accumulator->input) ||
				 (measure->kind == WH_MEASURE_BALANCE_ROWS && accumulator->input == NULL)))
				rollup->running =
					list_append_unique_int(rollup->running, foreach_current_index(cell) + 1);
		}
	}
}

/* input_of finds or makes what a measure reads.  count(c) reads no more than whether c is null,
 * and so takes types that cannot be compared; but a value tells that, too. */
static WhRollupInput *
input_of(WhRollup *rollup, const WhMeasure *measure)
{
	bool is_flag = measure->kind == WH_MEASURE_COUNT;
	WhRollupInput *input;
	ListCell *cell;

	foreach(cell, rollup->measures)
	{
		WhMeasure *other = lfirst(cell);

		if (other->column != NULL && strcmp(other->column, measure->column) == 0 &&
			other->kind != WH_MEASURE_COUNT)
			is_flag = false;
	}
	foreach(cell, rollup->inputs)
	{
		input = lfirst(cell);
		if (strcmp(input->column->name, measure->column) == 0)
			return input;
	}
	input = palloc0(sizeof(WhRollupInput));
	input->number = list_length(rollup->inputs) + 1;
	input->column = wh_rollup_column(rollup->fact, measure->column);
	input->is_flag = is_flag;
	rollup->inputs = lappend(rollup->inputs, input);
	return input;
}

static void
add_accumulator(WhRollup *rollup, WhAccumulatorKind kind, WhRollupInput *input)
{
	WhAccumulator *accumulator;

	if (wh_rollup_place(rollup, kind, input) != 0)
		return;
	accumulator = palloc0(sizeof(WhAccumulator));
	accumulator->kind = kind;
	accumulator->input = input;
	rollup->accumulators = lappend(rollup->accumulators, accumulator);
}

static void
add_sums(WhRollup *rollup, WhRollupInput *input)
{
	input->is_summed = true;
	add_accumulator(rollup, WH_ACCUMULATE_COUNT, input);
	add_accumulator(rollup, WH_ACCUMULATE_SUM, input);
	if (getBaseType(input->column->type) != NUMERICOID)
		return;
	add_accumulator(rollup, WH_ACCUMULATE_NAN, input);
	add_accumulator(rollup, WH_ACCUMULATE_PLUS, input);
	add_accumulator(rollup, WH_ACCUMULATE_MINUS, input);
}

int
wh_rollup_place(const WhRollup *rollup, WhAccumulatorKind kind, const WhRollupInput *input)
{
	ListCell *cell;

	foreach(cell, rollup->accumulators)
	{
		WhAccumulator *accumulator = lfirst(cell);

		if (accumulator->kind == kind && accumulator->input == input)
			return foreach_current_index(cell) + 1;
	}
	return 0;
}

char *
wh_rollup_native(const WhMeasure *measure)
{
	switch (measure->kind)
	{
		case WH_MEASURE_COUNT_ROWS:
		case WH_MEASURE_BALANCE_ROWS:
			return pstrdup("pg_catalog.count(*)");
		case WH_MEASURE_COUNT:
			return wh_sql("pg_catalog.count(f.%I)", measure->column);
		case WH_MEASURE_COUNT_DISTINCT:
			return wh_sql("pg_catalog.count(DISTINCT f.%I)", measure->column);
		case WH_MEASURE_SUM:
		case WH_MEASURE_BALANCE:
			return wh_sql("pg_catalog.sum(f.%I)", measure->column);
		case WH_MEASURE_AVG:
			return wh_sql("pg_catalog.avg(f.%I)", measure->column);
		case WH_MEASURE_MIN:
			return wh_sql("pg_catalog.min(f.%I)", measure->column);
		case WH_MEASURE_MAX:
			return wh_sql("pg_catalog.max(f.%I)", measure->column);
		case WH_MEASURE_LAST:
			return wh_sql("(pg_catalog.array_agg(f.%I))[1]", measure->column);
	}
	elog(ERROR, "unknown measure %d", measure->kind);
}

bool
wh_rollup_is_exact(const WhRollupColumn *column)
{
	Oid type = getBaseType(column->type);

	return type == NUMERICOID || is_float(type) || wh_rollup_is_group(column);
}

static bool
is_float(Oid type)
{
	return type == FLOAT4OID || type == FLOAT8OID;
}

/* wh_rollup_is_group asks what btree asks before it stores one of several equal values alone. */
bool
wh_rollup_is_group(const WhRollupColumn *column)
{
	Oid type = getBaseType(column->type);
	Oid opclass = GetDefaultOpClass(type, BTREE_AM_OID);
	Oid family;
	Oid input;
	Oid procedure;

	if (!OidIsValid(opclass))
		return false;
	/* Blanks at the end are not compared; with a length, all values have the same. */
	if (type == BPCHAROID)
		return column->typmod >= 0 && get_collation_isdeterministic(column->collation);
	family = get_opclass_family(opclass);
	input = get_opclass_input_type(opclass);
	procedure = get_opfamily_proc(family, input, input, BTEQUALIMAGE_PROC);
	return OidIsValid(procedure) &&
		   DatumGetBool(OidFunctionCall1Coll(procedure, column->collation,
											 ObjectIdGetDatum(input)));
}
