/*
 * bridge.c
 *		Bridges: which members of several dimensions belonged together, and when.
 *
 * A bridge is a type-2 dimension over an association, whose key has both sides; loads, verify and
 * as_known know nothing else of it.  It has no rows -1 to -3.  Two views stand beside it:
 *
 *	<name>_members	each of its versions, cut where a member's versions change, with the surrogate
 *					keys of the members' versions;
 *	<name>_weights	the groups whose weights do not sum up to 1 now.  A group is what the key's
 *					columns say that no member uses.
 *
 * The pieces of a version cover its time without gaps or overlaps, or an amount that is allotted
 * by weights would be lost or counted twice.  So a member's version counts from its valid_from to
 * that of the next one, as the look-up of facts has it, whether the member was deleted in between
 * or not; a member without any row has NULL for its surrogate key, a NULL key -1.  That is why the
 * member's own valid_to is not enough: boundaries of two dimensions from one source transaction
 * may lie microseconds apart.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

/* The members' view while it is made. */
typedef struct View
{
	const WhModel *bridge;
	StringInfoData columns;
	StringInfoData joins;
	StringInfoData from; /* ", m1.valid_from, …": when a piece begins at the earliest */
	StringInfoData to;
} View;

static void check_weight(WhQuery *query, const char *weight);
static void check_members(const WhModel *bridge, List *members);
static List *group_columns(const WhModel *bridge, List *members);
static void make_members_view(WhModel *bridge, List *members);
static void append_member(View *view, const WhReference *member, int number);
static void append_versions(View *view, const WhModel *dimension);
static char *any_is_null(List *keys);
static void make_weights_view(WhModel *bridge, List *group, const char *weight);

PG_FUNCTION_INFO_V1(walhouse_create_bridge);

Datum
walhouse_create_bridge(PG_FUNCTION_ARGS)
{
	WhDeclaration declaration = {.on_delete = "close", .effective = "commit"};
	List *members;
	List *group;
	WhModel *bridge;

	for (int i = 0; i < 4; i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("argument %d must not be null", i + 1)));
	}
	declaration.key = wh_model_names(PG_GETARG_ARRAYTYPE_P(2), "key");
	declaration.scd =
		DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{\"*\": 2}")));
	declaration.weight = PG_ARGISNULL(4) ? NULL : NameStr(*PG_GETARG_NAME(4));
	declaration.query =
		wh_model_prepare(text_to_cstring(PG_GETARG_TEXT_PP(0)),
						 text_to_cstring(PG_GETARG_TEXT_PP(1)), declaration.key, "bridge",
						 &declaration.schema, &declaration.relation);
	if (declaration.weight != NULL)
		check_weight(declaration.query, declaration.weight);
	bridge = wh_dimension_declare(&declaration);
	members = wh_dimension_read_references(PG_GETARG_JSONB_P(3), "members", bridge->columns,
										   bridge->feed, "bridge");
	check_members(bridge, members);
	wh_dimension_store_references(bridge, WH_REFERENCE_MEMBER, members);
	make_members_view(bridge, members);
	if (declaration.weight != NULL)
	{
		group = group_columns(bridge, members);
		make_weights_view(bridge, group, declaration.weight);
	}
	PG_RETURN_OID(bridge->relid);
}

static void
check_weight(WhQuery *query, const char *weight)
{
	static const Oid types[] = {INT2OID, INT4OID, INT8OID, NUMERICOID, FLOAT4OID, FLOAT8OID};
	WhModelColumn *column = wh_model_column(query->columns, weight);
	bool is_number = false;

	if (column == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
						errmsg("weight \"%s\" is no column of the query", weight)));
	if (column->is_key)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("weight \"%s\" is in the key", weight)));
	for (int i = 0; i < lengthof(types); i++)
		is_number = is_number || column->type == types[i];
	if (!is_number)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
						errmsg("weight \"%s\" has type %s", weight, format_type_be(column->type)),
						errhint("It must be a number; cast it in the query.")));
}

static void
check_members(const WhModel *bridge, List *members)
{
	static const char *const taken[] = {"valid_from", "valid_to", "is_current"};
	ListCell *cell;

	if (members == NIL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a bridge needs members"),
						errhint("For example: {\"customer_sk\": \"dw.customer(customer_id)\"}.")));
	foreach(cell, members)
	{
		WhReference *member = lfirst(cell);
		bool is_taken = wh_model_column(bridge->columns, member->column) != NULL;

		for (int i = 0; i < lengthof(taken); i++)
			is_taken = is_taken || strcmp(member->column, taken[i]) == 0;
		if (is_taken)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("member column \"%s\" is a column of the bridge already",
							member->column)));
		if (member->column[0] == '\0' || strlen(member->column) >= NAMEDATALEN)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_NAME),
					 errmsg("a member's column cannot be named \"%s\"", member->column)));
	}
}

/* group_columns are the key's columns that no member uses. */
static List *
group_columns(const WhModel *bridge, List *members)
{
	List *group = NIL;
	ListCell *cell;

	foreach(cell, bridge->key)
	{
		WhModelColumn *column = lfirst(cell);
		bool is_used = false;
		ListCell *member;

		foreach(member, members)
			is_used = is_used ||
					  wh_dimension_has_name(((WhReference *) lfirst(member))->names, column->name);
		if (!is_used)
			group = lappend(group, column);
	}
	if (group == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the weights of this bridge have no groups"),
				 errdetail("A group is what the columns of the key say that no member uses, and "
						   "members use all of them."),
				 errhint("Select the group's column twice, under another name for the member.")));
	return group;
}

static void
make_members_view(WhModel *bridge, List *members)
{
	View view = {.bridge = bridge};
	ListCell *cell;

	initStringInfo(&view.columns);
	initStringInfo(&view.joins);
	initStringInfo(&view.from);
	initStringInfo(&view.to);
	wh_model_column_list(&view.columns, bridge->columns, "b");
	foreach(cell, members)
		append_member(&view, lfirst(cell), foreach_current_index(cell) + 1);
	(void) wh_model_add_view(
		bridge, "members",
		wh_sql(
			"SELECT %s, GREATEST(b.valid_from%s) AS valid_from, LEAST(b.valid_to%s) AS valid_to, "
			"LEAST(b.valid_to%s) OPERATOR(pg_catalog.=) 'infinity' AS is_current FROM %T b%s "
			"WHERE NOT b.is_inferred",
			view.columns.data, view.from.data, view.to.data, view.to.data, bridge->relid,
			view.joins.data));
}

/* append_member joins the versions of a member that hold at some time of a piece, and adds the
 * surrogate key. */
static void
append_member(View *view, const WhReference *member, int number)
{
	WhModel *dimension = member->dimension;
	char *alias = psprintf("m%d", number);
	List *columns = NIL;
	List *values = NIL;
	List *keys;
	ListCell *cell;

	foreach(cell, member->names)
	{
		columns = lappend(columns, wh_model_column(view->bridge->columns, lfirst(cell)));
		values = lappend(values, wh_sql("b.%I", (char *) lfirst(cell)));
	}
	keys = wh_dimension_key_values(dimension, columns, values,
								   wh_sql_literal(view->bridge->feed->time_zone));
	if (dimension->kind != WH_MODEL_DIMENSION && dimension->kind != WH_MODEL_MINI)
	{
		wh_sql_append(&view->columns, ", ");
		wh_dimension_lookup_sql(&view->columns, dimension, keys, "b.valid_from", -1);
		wh_sql_append(&view->columns, " AS %I", member->column);
		return;
	}
	wh_sql_append(&view->columns, ", CASE WHEN %s THEN -1 ELSE %s.%I END AS %I",
				  any_is_null(keys), alias, wh_dimension_sk(dimension), member->column);
	wh_sql_append(&view->joins, " LEFT JOIN (");
	append_versions(view, dimension);
	wh_sql_append(&view->joins, ") %s ON ", alias);
	foreach(cell, wh_dimension_key(dimension))
	{
		WhModelColumn *column = lfirst(cell);

		wh_sql_append(&view->joins, "%s.%I %s %s AND ", alias, column->name,
					  wh_model_equality(column->type),
					  (char *) list_nth(keys, foreach_current_index(cell)));
	}
	wh_sql_append(&view->joins,
				  "%s.valid_from OPERATOR(pg_catalog.<) LEAST(b.valid_to%s) AND %s.valid_to "
				  "OPERATOR(pg_catalog.>) GREATEST(b.valid_from%s)",
				  alias, view->to.data, alias, view->from.data);
	wh_sql_append(&view->from, ", %s.valid_from", alias);
	wh_sql_append(&view->to, ", %s.valid_to", alias);
}

/* append_versions: the versions of a dimension's members, each until the next one begins. */
static void
append_versions(View *view, const WhModel *dimension)
{
	bool is_mini = dimension->kind == WH_MODEL_MINI;
	WhModel *versions = is_mini ? wh_dimension_history(dimension) : (WhModel *) dimension;
	const char *sk = wh_sql_identifier(wh_dimension_sk(versions));

	wh_sql_append(&view->joins, "SELECT ");
	if (is_mini)
		wh_dimension_combination_sql(&view->joins, dimension, wh_sql("v.%s", sk));
	else
		wh_sql_append(&view->joins, "v.%s", sk);
	wh_sql_append(&view->joins, " AS %I, ", wh_dimension_sk(dimension));
	wh_model_column_list(&view->joins, versions->key, "v");
	wh_sql_append(&view->joins,
				  ", v.valid_from, CASE WHEN v.valid_to OPERATOR(pg_catalog.=) 'infinity' THEN "
				  "v.valid_to ELSE COALESCE((SELECT n.valid_from FROM %T n WHERE ",
				  versions->relid);
	wh_model_key_join(&view->joins, versions, "n", "v");
	wh_sql_append(
		&view->joins,
		" AND n.valid_from OPERATOR(pg_catalog.>) v.valid_from ORDER BY n.valid_from LIMIT "
		"1), 'infinity') END AS valid_to FROM %T v WHERE " WH_IS_MEMBER("v.%s"),
		versions->relid, sk);
}

static char *
any_is_null(List *keys)
{
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	foreach(cell, keys)
		wh_sql_append(&sql, "%s%s IS NULL", sql.len > 0 ? " OR " : "", (char *) lfirst(cell));
	return sql.data;
}

/* A sum of floating-point weights is compared as a numeric, which has the digits that they are
 * good for. */
static void
make_weights_view(WhModel *bridge, List *group, const char *weight)
{
	StringInfoData columns;

	initStringInfo(&columns);
	wh_model_column_list(&columns, group, "b");
	(void) wh_model_add_view(
		bridge, "weights",
		wh_sql(
			"SELECT %s, pg_catalog.count(*) AS members, pg_catalog.sum(b.%I) AS weight FROM %T b "
			"WHERE b.is_current AND NOT b.is_inferred GROUP BY %s HAVING "
			"pg_catalog.sum(b.%I)::pg_catalog.numeric OPERATOR(pg_catalog.<>) 1 OR "
			"pg_catalog.count(b.%I) OPERATOR(pg_catalog.<) pg_catalog.count(*)",
			columns.data, weight, bridge->relid, columns.data, weight, weight));
}
