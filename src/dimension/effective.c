/*
 * effective.c
 *		Dimensions whose versions hold since what a column of their query says.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

void
wh_dimension_set_effective(WhQuery *query, const char *effective)
{
	WhModelColumn *column;

	if (strcmp(effective, "commit") == 0)
		return;
	column = wh_model_column(query->columns, effective);
	if (column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("effective column \"%s\" is no column of the query", effective),
				 errhint("It is one of them, or commit.")));
	if (column->is_key)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("effective column \"%s\" is in the key", effective),
				 errdetail("A key never changes: a changed key is another member.")));
	if (column->type != TIMESTAMPTZOID && column->type != TIMESTAMPOID && column->type != DATEOID)
		ereport(
			ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("effective column \"%s\" has type %s", effective,
					format_type_be(column->type)),
			 errhint("It must be a timestamptz, a timestamp or a date; cast it in the query.")));
	column->is_effective = true;
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("effective columns are not supported yet")));
}

WhModelColumn *
wh_dimension_effective_column(List *columns)
{
	ListCell *cell;

	foreach(cell, columns)
	{
		if (((WhModelColumn *) lfirst(cell))->is_effective)
			return lfirst(cell);
	}
	return NULL;
}
