/*
 * show.c
 *		walhouse.column_lineage(): what a walk has found, as rows.
 *
 * What the caller gets comes first, then what is written, by relation; of each the columns in
 * their order, and at last what bears on all of them.  That it is a relation's rows which count is
 * said only where none of its columns is named.
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "lineage/lineage.h"

#define COLUMNS 7

static bool is_name(const char *text);
static Oid relation_named(const char *name);
static List *of_relation(Oid relid, WhViews views);
static void show_output(ReturnSetInfo *result, const WhOutput *output);
static void show_sources(ReturnSetInfo *result, const WhOutput *output, int number,
						 const WhSources *sources);
static void show_source(ReturnSetInfo *result, const WhOutput *output, int number,
						const WhSource *source, WhHow how);
static char *column_name(const WhOutput *output, int number);
static bool is_named(const WhOutput *output, Oid relid);
static bool names_relation(const WhSources *sources, Oid relid);
static int by_name(const void *a, const void *b);

PG_FUNCTION_INFO_V1(walhouse_column_lineage_query);
PG_FUNCTION_INFO_V1(walhouse_column_lineage_relation);
PG_FUNCTION_INFO_V1(walhouse_lineage_through);

void
wh_lineage_init(void)
{
}

Datum
walhouse_column_lineage_query(PG_FUNCTION_ARGS)
{
	char *statement = text_to_cstring(PG_GETARG_TEXT_PP(0));
	WhViews views = PG_GETARG_BOOL(1) ? WH_VIEWS_EXPAND : WH_VIEWS_KEEP;
	List *outputs;

	/* A literal is taken for a query, also where it is meant as a relation. */
	if (is_name(statement))
		outputs = of_relation(relation_named(statement), views);
	else
		outputs = wh_lineage_of_query(wh_lineage_analyse(statement), views, NULL);
	InitMaterializedSRF(fcinfo, 0);
	foreach_ptr(WhOutput, output, outputs)
		show_output((ReturnSetInfo *) fcinfo->resultinfo, output);
	return (Datum) 0;
}

Datum
walhouse_column_lineage_relation(PG_FUNCTION_ARGS)
{
	List *outputs =
		of_relation(PG_GETARG_OID(0), PG_GETARG_BOOL(1) ? WH_VIEWS_EXPAND : WH_VIEWS_KEEP);

	InitMaterializedSRF(fcinfo, 0);
	foreach_ptr(WhOutput, output, outputs)
		show_output((ReturnSetInfo *) fcinfo->resultinfo, output);
	return (Datum) 0;
}

Datum
walhouse_lineage_through(PG_FUNCTION_ARGS)
{
	WhHow outer = wh_how_named(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	WhHow inner = wh_how_named(text_to_cstring(PG_GETARG_TEXT_PP(1)));

	PG_RETURN_TEXT_P(cstring_to_text(wh_how_name(wh_how_through(outer, inner))));
}

/* is_name tells a name, perhaps quoted and qualified, from a statement: no statement is one word
 * that has lineage. */
static bool
is_name(const char *text)
{
	bool quoted = false;

	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++)
	{
		if (*text == '"')
			quoted = !quoted;
		else if (!quoted && *text != '.' && *text != '_' && *text != '$' &&
				 !isalnum((unsigned char) *text) && !IS_HIGHBIT_SET(*text))
			return false;
	}
	return !quoted;
}

static Oid
relation_named(const char *name)
{
	RangeVar *relation = makeRangeVarFromNameList(
		wh_compat_qualified_name_list((char *) name));

	return RangeVarGetRelid(relation, NoLock, false);
}

static List *
of_relation(Oid relid, WhViews views)
{
	WhOutput *output;

	if (get_rel_name(relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("there is no relation with OID %u", relid)));
	output = wh_lineage_of_model(relid, views, NULL);
	if (output == NULL)
		output = wh_lineage_of_relation(relid, views, NULL);
	return output == NULL ? NIL : list_make1(output);
}

static void
show_output(ReturnSetInfo *result, const WhOutput *output)
{
	WhRowset *rowset = output->rowset;

	for (int i = 0; i < rowset->ncolumns; i++)
		if (rowset->columns[i] != NULL)
			show_sources(result, output, i + 1, rowset->columns[i]);
	show_sources(result, output, 0, &rowset->rows);
}

/* show_sources shows those of a column, or of the rows (number 0), ordered by names. */
static void
show_sources(ReturnSetInfo *result, const WhOutput *output, int number, const WhSources *sources)
{
	WhSource *ordered = palloc(Max(sources->count, 1) * sizeof(WhSource));

	if (sources->count > 0)
		memcpy(ordered, sources->items, sources->count * sizeof(WhSource));
	qsort(ordered, sources->count, sizeof(WhSource), by_name);
	for (int i = 0; i < sources->count; i++)
		for (int bit = 0; bit < WH_HOW_COUNT; bit++)
		{
			WhHow how = 1 << bit;

			if (!OidIsValid(ordered[i].relid) || (ordered[i].how & how) == 0)
				continue;
			if (ordered[i].attnum == 0 && (names_relation(sources, ordered[i].relid) ||
										   (number == 0 && is_named(output, ordered[i].relid))))
				continue;
			show_source(result, output, number, &ordered[i], how);
		}
}

static void
show_source(ReturnSetInfo *result, const WhOutput *output, int number, const WhSource *source,
			WhHow how)
{
	Datum values[COLUMNS];
	bool nulls[COLUMNS] = {0};

	values[0] = ObjectIdGetDatum(output->relid);
	nulls[0] = !OidIsValid(output->relid);
	values[1] = Int32GetDatum(number);
	nulls[1] = number == 0;
	if (number == 0)
		nulls[2] = true;
	else
		values[2] = CStringGetTextDatum(column_name(output, number));
	values[3] = ObjectIdGetDatum(source->relid);
	if (source->attnum == 0)
		nulls[4] = true;
	else
		values[4] = CStringGetTextDatum(get_attname(source->relid, source->attnum, false));
	values[5] = CStringGetTextDatum(wh_how_kind(how));
	values[6] = CStringGetTextDatum(wh_how_name(how));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static char *
column_name(const WhOutput *output, int number)
{
	if (OidIsValid(output->relid))
		return get_attname(output->relid, number, false);
	return list_nth(output->names, number - 1);
}

/* is_named says whether an output has a column of a relation among its sources. */
static bool
is_named(const WhOutput *output, Oid relid)
{
	for (int i = 0; i < output->rowset->ncolumns; i++)
		if (output->rowset->columns[i] != NULL &&
			names_relation(output->rowset->columns[i], relid))
			return true;
	return names_relation(&output->rowset->rows, relid);
}

static bool
names_relation(const WhSources *sources, Oid relid)
{
	for (int i = 0; i < sources->count; i++)
		if (sources->items[i].relid == relid && sources->items[i].attnum != 0)
			return true;
	return false;
}

static int
by_name(const void *a, const void *b)
{
	const WhSource *one = a;
	const WhSource *other = b;
	int order = 0;

	if (one->relid != other->relid && OidIsValid(one->relid) && OidIsValid(other->relid))
		order = strcmp(wh_sql_relation(one->relid), wh_sql_relation(other->relid));
	if (order == 0)
		order = one->relid < other->relid ? -1 : one->relid > other->relid;
	return order == 0 ? one->attnum - other->attnum : order;
}
