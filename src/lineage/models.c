/*
 * models.c
 *		From which columns the columns of a model come.
 *
 * What its query gives comes from the mirrors that it reads, as a view's columns would.  What a
 * kind adds to that (surrogate keys, periods, aggregates) is said by the catalog, and
 * walhouse.model_lineage (lineage.sql) reads it there.
 */
#include "postgres.h"

#include "utils/lsyscache.h"

#include "base/base.h"
#include "lineage/lineage.h"
#include "lineage/lineage_private.h"

static WhOutput *make_output(Oid relid);
static void add_query(WhOutput *output, Oid view, WhViews views, List **opaque);
static void add_edges(WhOutput *output);
static WhSources *sources_of(WhOutput *output, const char *column);

WhOutput *
wh_lineage_of_model(Oid relid, WhViews views, List **opaque)
{
	WhRows *rows = wh_catalog_query("SELECT query FROM walhouse.model WHERE relation = $1", 1,
									(WhArg[]){WH_ARG_REGCLASS(relid)});
	WhOutput *output;
	bool isnull;
	Oid view;

	if (opaque != NULL)
		*opaque = NIL;
	if (rows->count == 0)
		return NULL;
	output = make_output(relid);
	view = DatumGetObjectId(wh_rows_datum(rows, 0, 1, &isnull));
	if (!isnull && get_rel_name(view) != NULL)
		add_query(output, view, views, opaque);
	add_edges(output);
	return output;
}

static WhOutput *
make_output(Oid relid)
{
	WhOutput *output = palloc0(sizeof(WhOutput));
	int attnum = 1;

	while (get_attname(relid, attnum, true) != NULL)
		attnum++;
	output->relid = relid;
	output->rowset = wh_rowset_make(attnum - 1);
	return output;
}

/* add_query: the columns of the query have the same names in the model. */
static void
add_query(WhOutput *output, Oid view, WhViews views, List **opaque)
{
	WhOutput *query = wh_lineage_of_relation(view, views, opaque);

	wh_sources_through(&output->rowset->rows, &query->rowset->rows, WH_HOW_IDENTITY);
	for (int i = 1; i <= query->rowset->ncolumns; i++)
	{
		WhSources *sources = sources_of(output, get_attname(view, i, false));

		if (sources != NULL)
			wh_sources_through(sources, wh_rowset_column(query->rowset, i), WH_HOW_IDENTITY);
	}
}

static void
add_edges(WhOutput *output)
{
	int level = wh_settings_push_interpreted();
	WhRows *rows = wh_catalog_query(
		"SELECT \"column\", source, source_column, subtype FROM walhouse.model_lineage "
		"WHERE relation = $1",
		1, (WhArg[]){WH_ARG_REGCLASS(output->relid)});

	wh_settings_pop(level);
	for (uint64 row = 0; row < rows->count; row++)
	{
		WhSources *sources = sources_of(output, wh_rows_text(rows, row, 1));
		Oid source = wh_rows_oid(rows, row, 2);
		char *name = wh_rows_text(rows, row, 3);
		AttrNumber attnum = *name == '\0' ? 0 : get_attnum(source, name);

		if (sources != NULL && (attnum != InvalidAttrNumber || *name == '\0'))
			wh_sources_add(sources, source, attnum, wh_how_named(wh_rows_text(rows, row, 4)));
	}
}

/* sources_of returns those of a column, or of the rows for an empty name; NULL: the relation has no
 * such column. */
static WhSources *
sources_of(WhOutput *output, const char *column)
{
	AttrNumber attnum;

	if (*column == '\0')
		return &output->rowset->rows;
	attnum = get_attnum(output->relid, column);
	if (attnum < 1 || attnum > output->rowset->ncolumns)
		return NULL;
	return wh_rowset_column(output->rowset, attnum);
}
