/*
 * attributes.c
 *		What the columns of a dimension keep: the types of slowly changing dimensions.
 *
 * A member of a dimension has a sequence of images: the rows of its key, one for each source
 * transaction that changed it.  An attribute is a column of the dimension's table with a rule
 * which of the images' values it keeps:
 *
 *	type 0	the first one's, on all versions;
 *	type 1	the last one's, on all versions;
 *	type 2	each its own: a changed image opens a version;
 *	type 3	as type 1, and <column>_previous: the value before the last change, on all versions;
 *	type 6	as type 2, and <column>_current: the last one's value, on all versions.
 *
 * Types are mixed freely in one dimension.  The key follows type 1: its form may change while it
 * stays equal.  The effective column has each version's own value and opens none.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/numeric.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

static List *add(List *attributes, char *name, WhModelColumn *column, WhKeep keep);
static void check_scd_value(WhQuery *query, const char *name, JsonbValue *value);

List *
wh_dimension_attributes(List *columns)
{
	List *attributes = NIL;
	ListCell *cell;

	foreach(cell, columns)
	{
		WhModelColumn *column = lfirst(cell);
		bool is_history = !column->is_key && (column->scd == 2 || column->scd == 6);

		attributes = add(attributes, column->name, column,
						 is_history							? WH_KEEP_VERSION :
						 column->is_key || column->scd != 0 ? WH_KEEP_LAST :
															  WH_KEEP_FIRST);
		if (column->is_key)
			continue;
		if (column->scd == 3)
			attributes =
				add(attributes, wh_name(column->name, "_previous"), column, WH_KEEP_PREVIOUS);
		if (column->scd == 6)
			attributes = add(attributes, wh_name(column->name, "_current"), column, WH_KEEP_LAST);
	}
	return attributes;
}

static List *
add(List *attributes, char *name, WhModelColumn *column, WhKeep keep)
{
	WhAttribute *attribute = palloc(sizeof(WhAttribute));

	attribute->name = name;
	attribute->column = column;
	attribute->keep = keep;
	attribute->number = list_length(attributes) + 1;
	return lappend(attributes, attribute);
}

List *
wh_dimension_table_columns(const WhModel *model)
{
	List *columns = NIL;
	ListCell *cell;

	foreach(cell, wh_dimension_attributes(model->columns))
	{
		WhAttribute *attribute = lfirst(cell);
		WhModelColumn *column = palloc(sizeof(WhModelColumn));

		*column = *attribute->column;
		column->name = attribute->name;
		columns = lappend(columns, column);
	}
	return columns;
}

List *
wh_dimension_keeping(List *attributes, WhKeep keep)
{
	List *result = NIL;
	ListCell *cell;

	foreach(cell, attributes)
	{
		if (((WhAttribute *) lfirst(cell))->keep == keep)
			result = lappend(result, lfirst(cell));
	}
	return result;
}

List *
wh_dimension_versioned_columns(const WhModel *model)
{
	List *result = NIL;
	ListCell *cell;

	foreach(cell, model->columns)
	{
		WhModelColumn *column = lfirst(cell);

		if (!column->is_key && !column->is_effective && (column->scd == 2 || column->scd == 6))
			result = lappend(result, column);
	}
	return result;
}

char *
wh_dimension_attribute_list(List *attributes, const char *alias)
{
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	foreach(cell, attributes)
		wh_sql_append(&sql, "%s%s%s%I", sql.len > 0 ? ", " : "", alias != NULL ? alias : "",
					  alias != NULL ? "." : "", ((WhAttribute *) lfirst(cell))->name);
	return sql.data;
}

char *
wh_dimension_source_list(List *attributes, const char *alias)
{
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	foreach(cell, attributes)
		wh_sql_append(&sql, "%s%s.%I", sql.len > 0 ? ", " : "", alias,
					  ((WhAttribute *) lfirst(cell))->column->name);
	return sql.data;
}

void
wh_dimension_set_scd(WhQuery *query, Jsonb *scd)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue value;
	char *name = NULL;
	ListCell *cell;

	if (!JB_ROOT_IS_OBJECT(scd))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("scd must be a JSON object"),
				 errhint("For example scd => '{\"*\": 2, \"name\": 1}'.")));
	it = JsonbIteratorInit(&scd->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE)
			check_scd_value(query, name, &value);
	}
	foreach(cell, query->columns)
	{
		WhModelColumn *column = lfirst(cell);

		if (!column->is_key)
			column->scd =
				column->is_effective ? 2 : wh_model_scd(&scd->root, column->name);
	}
}

/* check_scd_value judges one member of the scd argument. */
static void
check_scd_value(WhQuery *query, const char *name, JsonbValue *value)
{
	WhModelColumn *column = wh_model_column(query->columns, name);
	int type;

	if (strcmp(name, "*") != 0 && column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("scd names column \"%s\", which is no column of the query", name)));
	if (column != NULL && column->is_key)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("scd names column \"%s\", which is in the key", name),
				 errdetail("A key never changes: a changed key is another member.")));
	if (value->type != jbvNumeric)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the scd type of \"%s\" must be a number", name),
				 errhint("0 keeps, 1 overwrites, 2 opens a version, 3 keeps the previous value, too, "
						 "6 is 2 and 1.")));
	if (column != NULL && column->is_effective)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("scd names column \"%s\", which is the effective column", name),
				 errdetail("It says since when a version holds, and has each version's own value.")));
	type = DatumGetInt32(DirectFunctionCall1(numeric_int4, NumericGetDatum(value->val.numeric)));
	if (type != 0 && type != 1 && type != 2 && type != 3 && type != 6)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("scd type %d of \"%s\" is not supported", type, name),
				 errdetail("Columns have type 0, 1, 2, 3 or 6."),
				 errhint("Type 4 is a dimension of its own, and every fact has the views of type 7.")));
}
