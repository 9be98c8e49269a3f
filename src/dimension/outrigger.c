/*
 * outrigger.c
 *		Outriggers: dimensions that a dimension refers to.
 *
 * An attribute of a dimension is the key of another one.  Nothing is kept for it: two views look
 * the other's version up, <name>_as_was the one that held when the row's own version began, and
 * <name>_as_is the last one.  So nothing has to be mended when the other dimension changes, is
 * loaded later, or is built again.  A look-up reads one index entry a row.  Joins are outer ones by
 * a primary key, so that the planner leaves out what a query does not name.
 *
 * An outrigger's own outriggers are there, too, as of the same instant: a chain tells what was so
 * when the first row began, not when the one in the middle did.  A dimension may be its own
 * outrigger (an employee's manager); a chain does not enter a dimension twice.
 *
 * Rows that stand for no member have the same rows there.  A NULL key is row -1; a key that the
 * other dimension does not know gives NULL, since views make no inferred members.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

/* A view while it is made. */
typedef struct View
{
	StringInfoData columns;
	StringInfoData joins;
	List *names; /* of char *: the columns that it has so far */
	int joined; /* outriggers so far */
	const char *instant; /* as of which versions are looked up, SQL */
	const char *zone; /* a literal */
} View;

static void check_columns(const WhModel *model, List *references);
static void check_column(List *names, const WhReference *reference);
static void make_view(WhModel *model, const char *purpose, const char *instant);
static List *own_names(const WhModel *model);
static void append_outriggers(View *view, const WhModel *model, const char *alias,
							  const char *role, List *path);
static void append_outrigger(View *view, const WhModel *from, const char *alias,
							 const WhReference *reference, const char *column, List *path);
static void append_lookup(View *view, const WhModel *from, const char *alias,
						  const WhReference *reference);
static void check_right(const WhModel *from, const WhModel *dimension);

void
wh_dimension_make_outriggers(WhModel *model, Jsonb *outriggers)
{
	List *references =
		wh_dimension_read_references(outriggers, "outriggers", wh_dimension_table_columns(model),
									 model->feed, "dimension");

	if (references == NIL)
		return;
	check_columns(model, references);
	wh_dimension_store_references(model, WH_REFERENCE_OUTRIGGER, references);
	make_view(model, "as_was", "d.valid_from");
	make_view(model, "as_is", "'infinity'::pg_catalog.timestamptz");
}

/* check_columns refuses columns of surrogate keys that the dimension has already. */
static void
check_columns(const WhModel *model, List *references)
{
	List *names = lappend(own_names(model), "load_id");
	ListCell *cell;

	foreach(cell, references)
		check_column(names, lfirst(cell));
}

static void
check_column(List *names, const WhReference *reference)
{
	if (wh_dimension_has_name(names, reference->column))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_COLUMN),
				 errmsg("outrigger column \"%s\" is a column of the dimension already",
						reference->column)));
	if (reference->column[0] == '\0' || strlen(reference->column) >= NAMEDATALEN)
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME),
						errmsg("an outrigger's column cannot be named \"%s\"", reference->column)));
}

static void
make_view(WhModel *model, const char *purpose, const char *instant)
{
	View view = {.names = own_names(model),
				 .instant = instant,
				 .zone = wh_sql_literal(model->feed->time_zone)};
	ListCell *cell;

	initStringInfo(&view.columns);
	initStringInfo(&view.joins);
	foreach(cell, view.names)
		wh_sql_append(&view.columns, "%sd.%I", foreach_current_index(cell) == 0 ? "" : ", ",
					  (char *) lfirst(cell));
	append_outriggers(&view, model, "d", NULL, list_make1_oid(model->relid));
	(void) wh_model_add_view(
		model, purpose,
		wh_sql("SELECT %s FROM %T d%s", view.columns.data, model->relid, view.joins.data));
}

/* own_names lists what the views have of the dimension itself. */
static List *
own_names(const WhModel *model)
{
	static const char *const others[] = {"valid_from", "valid_to", "is_current", "is_inferred"};
	List *names = list_make1(wh_dimension_sk(model));
	ListCell *cell;

	foreach(cell, wh_dimension_attributes(model->columns))
		names = lappend(names, ((WhAttribute *) lfirst(cell))->name);
	for (int i = 0; i < lengthof(others); i++)
		names = lappend(names, unconstify(char *, others[i]));
	if (wh_dimension_on_delete(model) == WH_DELETE_TOMBSTONE)
		names = lappend(names, "is_deleted");
	return names;
}

/* append_outriggers adds those of a dimension that stands in the view under an alias; role is what
 * its attributes are called after, NULL for the view's own. */
static void
append_outriggers(View *view, const WhModel *model, const char *alias, const char *role,
				  List *path)
{
	ListCell *cell;

	foreach(cell, wh_dimension_references(model, WH_REFERENCE_OUTRIGGER))
	{
		WhReference *reference = lfirst(cell);
		char *column = reference->column;

		if (role != NULL)
			column = wh_dimension_view_name(role, column, &view->names);
		else
			view->names = lappend(view->names, column);
		append_outrigger(view, model, alias, reference, column, path);
	}
}

/* append_outrigger joins one, and adds its surrogate key as `column`, its attributes, and its own
 * outriggers. */
static void
append_outrigger(View *view, const WhModel *from, const char *alias, const WhReference *reference,
				 const char *column, List *path)
{
	WhModel *dimension = reference->dimension;
	char *role = wh_dimension_role_name(column);
	char *joined = psprintf("o%d", ++view->joined);
	ListCell *cell;

	check_right(from, dimension);
	wh_sql_append(&view->joins, " LEFT JOIN %T %s ON %s.%I OPERATOR(pg_catalog.=) ",
				  dimension->relid, joined, joined, wh_dimension_sk(dimension));
	append_lookup(view, from, alias, reference);
	wh_sql_append(&view->columns, ", %s.%I AS %I", joined, wh_dimension_sk(dimension), column);
	foreach(cell, wh_dimension_report_columns(dimension))
		wh_sql_append(&view->columns, ", %s.%I AS %I", joined, (char *) lfirst(cell),
					  wh_dimension_view_name(role, lfirst(cell), &view->names));
	if (dimension->kind == WH_MODEL_DIMENSION && !list_member_oid(path, dimension->relid))
		append_outriggers(view, dimension, joined, role,
						  lappend_oid(list_copy(path), dimension->relid));
}

/* append_lookup: the surrogate key of the outrigger's version that a row refers to. */
static void
append_lookup(View *view, const WhModel *from, const char *alias, const WhReference *reference)
{
	const char *sk = wh_sql_identifier(wh_dimension_sk(from));
	List *all = wh_dimension_table_columns(from);
	List *columns = NIL;
	List *values = NIL;
	ListCell *cell;

	foreach(cell, reference->names)
	{
		columns = lappend(columns, wh_model_column(all, lfirst(cell)));
		values = lappend(values, wh_sql("%s.%I", alias, (char *) lfirst(cell)));
	}
	wh_sql_append(&view->joins,
				  "CASE WHEN %s.%s BETWEEN -3 AND -1 THEN %s.%s WHEN %s.%s IS NOT NULL THEN ",
				  alias, sk, alias, sk, alias, sk);
	wh_dimension_lookup_sql(
		&view->joins, reference->dimension,
		wh_dimension_key_values(reference->dimension, columns, values, view->zone), view->instant,
		-1);
	wh_sql_append(&view->joins, " END");
}

/* check_right: the views read as their owner what an outrigger's outriggers are. */
static void
check_right(const WhModel *from, const WhModel *dimension)
{
	if (pg_class_aclcheck(dimension->relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for dimension %s", dimension->name),
				 errdetail("It is an outrigger of %s.", from->name),
				 errhint("GRANT SELECT ON %s TO %s;", dimension->name,
						 wh_sql_identifier(GetUserNameFromId(GetUserId(), false)))));
}
