/*
 * rowset.c
 *		Row sets: what a query, a relation or a function gives, column by column.
 */
#include "postgres.h"

#include "lineage/lineage.h"
#include "lineage/lineage_private.h"

WhRowset *
wh_rowset_make(int ncolumns)
{
	WhRowset *rowset = palloc0(sizeof(WhRowset));

	rowset->ncolumns = ncolumns;
	rowset->columns = palloc0(Max(ncolumns, 1) * sizeof(WhSources *));
	return rowset;
}

WhSources *
wh_rowset_column(WhRowset *rowset, int number)
{
	if (number < 1 || number > rowset->ncolumns)
		elog(ERROR, "row set of %d columns has no column %d", rowset->ncolumns, number);
	if (rowset->columns[number - 1] == NULL)
		rowset->columns[number - 1] = palloc0(sizeof(WhSources));
	return rowset->columns[number - 1];
}

bool
wh_rowset_add(WhRowset *rowset, const WhRowset *from)
{
	bool changed = wh_sources_through(&rowset->rows, &from->rows, WH_HOW_IDENTITY);

	for (int i = 0; i < Min(rowset->ncolumns, from->ncolumns); i++)
		if (from->columns[i] != NULL)
			changed |= wh_sources_through(wh_rowset_column(rowset, i + 1), from->columns[i],
										  WH_HOW_IDENTITY);
	return changed;
}
