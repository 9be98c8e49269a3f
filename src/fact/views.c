/*
 * views.c
 *		The two views of a fact: its dimensions as they were, and as they are.
 *
 * <fact>_as_was joins each row with the versions that held at its event time: those that it
 * points to.  <fact>_as_is joins it with the last version of the same members, by the key that
 * stands in the fact beside each surrogate key (so both are there: Kimball's type 7).  Attributes
 * are named <role>_<attribute>, after the fact's column without its _sk, so one dimension may be
 * there in several roles.  A dimension's key is left out where the fact has it already.
 *
 * All joins are outer joins by a primary key wherever they can be, so that the planner leaves out
 * the dimensions that a query does not name.  Views, made at declaration and owned by the fact's
 * owner, go with the model.
 */
#include "postgres.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "fact/fact.h"
#include "fact/fact_private.h"

static void append_view(StringInfo sql, const WhFact *fact, bool as_is);
static List *own_names(const WhFact *fact);
static void append_role(StringInfo sql, const WhFactRole *role, List **names);
static char *attribute(const WhFactRole *role, const char *column);
static void append_join(StringInfo sql, const WhFact *fact, const WhFactRole *role, bool as_is);
static void append_last_combination(StringInfo sql, const WhFact *fact, const WhFactRole *role);
static List *key_values(const WhFact *fact, const WhFactRole *role);

void
wh_fact_make_views(WhModel *model)
{
	static const char *const purposes[] = {"as_was", "as_is"};
	WhFact *fact = wh_fact_open(model);

	for (int i = 0; i < lengthof(purposes); i++)
	{
		StringInfoData sql;

		initStringInfo(&sql);
		append_view(&sql, fact, i == 1);
		(void) wh_model_add_view(model, purposes[i], sql.data);
	}
}

static void
append_view(StringInfo sql, const WhFact *fact, bool as_is)
{
	List *names = own_names(fact);
	ListCell *cell;

	foreach(cell, names)
		wh_sql_append(sql, "%sf.%I", foreach_current_index(cell) == 0 ? "SELECT " : ", ",
					  (char *) lfirst(cell));
	foreach(cell, fact->roles)
	{
		/* A history says no more than its combination. */
		if (wh_fact_mini(fact, lfirst(cell)) == NULL)
			append_role(sql, lfirst(cell), &names);
	}
	wh_sql_append(sql, " FROM %T f", fact->model->relid);
	foreach(cell, fact->roles)
	{
		if (wh_fact_mini(fact, lfirst(cell)) == NULL)
			append_join(sql, fact, lfirst(cell), as_is);
	}
}

/* own_names lists the fact's own columns: the query's and the surrogate keys. */
static List *
own_names(const WhFact *fact)
{
	List *names = NIL;
	ListCell *cell;

	foreach(cell, fact->columns)
		names = lappend(names, ((WhModelColumn *) lfirst(cell))->name);
	foreach(cell, fact->roles)
		names = lappend(names, ((WhFactRole *) lfirst(cell))->column);
	return names;
}

/* append_role: the attributes of a role; a name that is there already gets a number. */
static void
append_role(StringInfo sql, const WhFactRole *role, List **names)
{
	ListCell *cell;

	foreach(cell, wh_dimension_report_columns(role->dimension))
		wh_sql_append(
			sql, ", %s AS %I", attribute(role, lfirst(cell)),
			wh_dimension_view_name(wh_dimension_role_name(role->column), lfirst(cell), names));
}

/* attribute: rows -1 to -3 are not deleted, where the view does not look them up, either. */
static char *
attribute(const WhFactRole *role, const char *column)
{
	char *on_delete = wh_model_option(role->dimension, "on_delete");

	if (on_delete != NULL && strcmp(on_delete, "tombstone") == 0 &&
		strcmp(column, "is_deleted") == 0)
		return wh_sql("COALESCE(d%d.%I, false)", role->number, column);
	return wh_sql("d%d.%I", role->number, column);
}

static void
append_join(StringInfo sql, const WhFact *fact, const WhFactRole *role, bool as_is)
{
	WhModel *dimension = role->dimension;
	char *sk = wh_model_option(dimension, "sk");
	List *keys;
	StringInfoData later;
	ListCell *cell;

	if (as_is && dimension->kind == WH_MODEL_MINI)
	{
		append_last_combination(sql, fact, role);
		return;
	}
	if (!as_is || !wh_dimension_is_versioned(dimension))
	{
		wh_sql_append(sql, " LEFT JOIN %T d%d ON d%d.%I OPERATOR(pg_catalog.=) f.%I",
					  dimension->relid, role->number, role->number, sk, role->column);
		return;
	}
	initStringInfo(&later);
	wh_sql_append(sql, " LEFT JOIN %T d%d ON f.%I > 0", dimension->relid, role->number,
				  role->column);
	keys = key_values(fact, role);
	foreach(cell, dimension->key)
	{
		WhModelColumn *key = lfirst(cell);
		const char *equality = wh_model_equality(key->type);

		wh_sql_append(sql, " AND d%d.%I %s %s", role->number, key->name, equality,
					  (char *) list_nth(keys, foreach_current_index(cell)));
		wh_sql_append(&later, "l.%I %s d%d.%I AND ", key->name, equality, role->number, key->name);
	}
	/* The last version is the open one, or that of a member that was deleted. */
	wh_sql_append(sql,
				  " AND (d%d.is_current OR NOT EXISTS (SELECT FROM %T l WHERE %sl.valid_from > "
				  "d%d.valid_from))",
				  role->number, dimension->relid, later.data, role->number);
}

/* append_last_combination joins a mini-dimension with the combination of the key's last version. */
static void
append_last_combination(StringInfo sql, const WhFact *fact, const WhFactRole *role)
{
	WhModel *mini = role->dimension;

	wh_sql_append(
		sql,
		" LEFT JOIN %T d%d ON d%d.%I OPERATOR(pg_catalog.=) CASE WHEN f.%I BETWEEN -3 AND "
		"-1 THEN f.%I ELSE ",
		mini->relid, role->number, role->number, wh_model_option(mini, "sk"), role->column,
		role->column);
	wh_dimension_lookup_sql(sql, mini, key_values(fact, role),
							"'infinity'::pg_catalog.timestamptz", role->null_sk);
	wh_sql_append(sql, " END");
}

/* key_values are the columns of the fact that give a role's key, cast to its types. */
static List *
key_values(const WhFact *fact, const WhFactRole *role)
{
	List *columns = NIL;
	List *values = NIL;
	ListCell *cell;

	foreach(cell, role->keys)
	{
		WhModelColumn *column = wh_fact_column(fact, lfirst_int(cell));

		columns = lappend(columns, column);
		values = lappend(values, wh_sql("f.%I", column->name));
	}
	return wh_dimension_key_values(role->dimension, columns, values, fact->zone);
}
