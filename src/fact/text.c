/*
 * text.c
 *		Pieces of SQL that the statements of a fact are made of.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "fact/fact.h"
#include "fact/fact_private.h"

/* What lags are computed of, and instants may be made of; infinity is outside. */
#define FIRST_TIME "'4712-01-01 BC'"
#define LAST_TIME "'200000-01-01'"

static char *instant(const WhFact *fact, int position, const char *alias);
static void append_unbookable(StringInfo sql, const WhFact *fact, const char *alias);
static void append_impossible_keys(StringInfo sql, const WhFact *fact, const WhFactRole *role,
								   const char *alias);
static char *possible_key(Oid source, Oid target, WhModelKind kind, const char *value);
static char *least_value(Oid type, const char *value);
static char *positions_as_text(const WhFact *fact, List *positions, const char *alias);

void
wh_fact_columns(StringInfo sql, const WhFact *fact, const char *alias)
{
	for (int i = 1; i <= fact->width; i++)
		wh_sql_append(sql, "%s%s.c%d", i > 1 ? ", " : "", alias, i);
}

void
wh_fact_query_columns(StringInfo sql, const WhFact *fact, const char *alias)
{
	for (int i = 1; i <= fact->query_width; i++)
		wh_sql_append(sql, "%s%s.c%d", i > 1 ? ", " : "", alias, i);
}

char *
wh_fact_query_names(const WhFact *fact)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 1; i <= fact->query_width; i++)
		wh_sql_append(&sql, "%sc%d", i > 1 ? ", " : "(", i);
	wh_sql_append(&sql, ")");
	return sql.data;
}

void
wh_fact_role_columns(StringInfo sql, const WhFact *fact, const char *alias)
{
	for (int i = 1; i <= list_length(fact->roles); i++)
		wh_sql_append(sql, ", %s.sk%d", alias, i);
}

/* The columns of the fact's table but load_id; without an alias as a list of targets. */
void
wh_fact_table_columns(StringInfo sql, const WhFact *fact, const char *alias)
{
	const char *dot = alias != NULL ? "." : "";
	ListCell *cell;

	if (alias == NULL)
		alias = "";
	foreach(cell, fact->columns)
		wh_sql_append(sql, "%s%s%s%I", foreach_current_index(cell) > 0 ? ", " : "", alias, dot,
					  ((WhModelColumn *) lfirst(cell))->name);
	foreach(cell, fact->roles)
		wh_sql_append(sql, ", %s%s%I", alias, dot, ((WhFactRole *) lfirst(cell))->column);
}

void
wh_fact_key_match(StringInfo sql, const WhFact *fact, const char *left, const char *right)
{
	wh_fact_match(sql, fact, fact->key, left, right);
}

void
wh_fact_match(StringInfo sql, const WhFact *fact, const List *positions, const char *left,
			  const char *right)
{
	ListCell *cell;

	foreach(cell, positions)
	{
		int position = lfirst_int(cell);

		wh_sql_append(sql, "%s%s.c%d %s %s.c%d", foreach_current_index(cell) > 0 ? " AND " : "",
					  left, position, wh_model_equality(wh_fact_column(fact, position)->type),
					  right, position);
	}
}

void
wh_fact_row_match(StringInfo sql, const WhFact *fact, const char *prefix)
{
	ListCell *cell;

	foreach(cell, fact->identity)
	{
		int position = lfirst_int(cell);
		WhModelColumn *column = wh_fact_column(fact, position);

		wh_sql_append(sql, "%sf.%I %s x.%s%d", foreach_current_index(cell) > 0 ? " AND " : "",
					  column->name, wh_model_equality(column->type), prefix, position);
	}
}

void
wh_fact_same_row(StringInfo sql, const WhFact *fact, const char *a, const char *b)
{
	ListCell *cell;

	foreach(cell, fact->identity)
	{
		WhModelColumn *column = wh_fact_column(fact, lfirst_int(cell));

		wh_sql_append(sql, "%s%s.%I %s %s.%I", foreach_current_index(cell) > 0 ? " AND " : "", a,
					  column->name, wh_model_equality(column->type), b, column->name);
	}
}

char *
wh_fact_reason(const WhFact *fact, const char *alias)
{
	char *type = wh_fact_type(fact->event_type, -1);
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "CASE WHEN false THEN ''");
	if (fact->books)
		append_unbookable(&sql, fact, alias);
	if (fact->event_time != fact->booked_at)
		wh_sql_append(&sql,
					  " WHEN %s.c%d IS NULL THEN 'event time is null'"
					  " WHEN NOT pg_catalog.isfinite(%s.c%d) THEN 'event time is infinite'"
					  " WHEN %s.c%d < %s::%s OR %s.c%d >= %s::%s"
					  " THEN 'event time is outside the bounds'",
					  alias, fact->event_time, alias, fact->event_time, alias, fact->event_time,
					  fact->bounds_from, type, alias, fact->event_time, fact->bounds_to, type);
	if (fact->event_time != fact->booked_at && fact->horizon != NULL)
		wh_sql_append(&sql, " WHEN %s THEN '" WH_FACT_RETIRED "'",
					  wh_fact_is_retired(fact, alias));
	wh_sql_append(&sql, " END");
	return sql.data;
}

char *
wh_fact_row_reason(const WhFact *fact, const char *alias)
{
	if (fact->event_time != fact->booked_at || fact->horizon == NULL)
		return wh_fact_reason(fact, alias);
	return wh_sql("COALESCE(%s, CASE WHEN %s THEN '" WH_FACT_RETIRED "' END)",
				  wh_fact_reason(fact, alias), wh_fact_is_retired(fact, alias));
}

/*
 * append_unbookable: what a row that follows its source row would stop a load with until the source
 * has mended it, a booking would stop it with for ever.  So an image is not booked when a measure
 * has no negative, or when a number is no key of a dimension.
 */
static void
append_unbookable(StringInfo sql, const WhFact *fact, const char *alias)
{
	ListCell *cell;

	foreach(cell, fact->measures)
	{
		int position = lfirst_int(cell);
		char *least = least_value(wh_fact_column(fact, position)->type,
								  wh_sql("%s.c%d", alias, position));

		if (least != NULL)
			wh_sql_append(sql, " WHEN %s THEN 'a measure has no negative'", least);
	}
	foreach(cell, fact->roles)
		append_impossible_keys(sql, fact, lfirst(cell), alias);
}

/* append_impossible_keys: keys that cannot be cast to what the dimension has. */
static void
append_impossible_keys(StringInfo sql, const WhFact *fact, const WhFactRole *role,
					   const char *alias)
{
	ListCell *key;
	ListCell *target;

	forboth(key, role->keys, target, wh_dimension_key(role->dimension))
	{
		int position = lfirst_int(key);
		char *possible =
			position > fact->query_width ?
				NULL :
				possible_key(wh_fact_column(fact, position)->type,
							 ((WhModelColumn *) lfirst(target))->type, role->dimension->kind,
							 wh_sql("%s.c%d", alias, position));

		if (possible == NULL)
			continue;
		wh_sql_append(sql, " WHEN NOT (%s)", possible);
		if (role->error != 0)
			wh_sql_append(sql, " AND %s.c%d IS NOT TRUE", alias, role->error);
		if (role->not_applicable != 0)
			wh_sql_append(sql, " AND %s.c%d IS NOT TRUE", alias, role->not_applicable);
		wh_sql_append(sql, " THEN 'a key of a dimension is out of range'");
	}
}

/* possible_key is the condition for values that can be cast; NULL: all can. */
static char *
possible_key(Oid source, Oid target, WhModelKind kind, const char *value)
{
	bool is_calendar = kind == WH_MODEL_DATE || kind == WH_MODEL_TIME;

	if (target == INT4OID && source == INT8OID)
		return wh_sql("%s BETWEEN %d AND %d", value, PG_INT32_MIN, PG_INT32_MAX);
	if (target == INT2OID && (source == INT8OID || source == INT4OID))
		return wh_sql("%s BETWEEN %d AND %d", value, PG_INT16_MIN, PG_INT16_MAX);
	if ((source == TIMESTAMPTZOID && is_calendar) ||
		((source == DATEOID || source == TIMESTAMPOID) &&
		 (target == TIMESTAMPOID || target == TIMESTAMPTZOID) && source != target))
		return wh_sql("%s BETWEEN " FIRST_TIME " AND " LAST_TIME " OR NOT pg_catalog.isfinite(%s)",
					  value, value);
	return NULL;
}

/* least_value is the condition for the value of a type that has no negative; NULL: there is none.
 */
static char *
least_value(Oid type, const char *value)
{
	switch (type)
	{
		case INT2OID:
			return wh_sql("%s OPERATOR(pg_catalog.=) '-32768'", value);
		case INT4OID:
			return wh_sql("%s OPERATOR(pg_catalog.=) '-2147483648'", value);
		case INT8OID:
			return wh_sql("%s OPERATOR(pg_catalog.=) '-9223372036854775808'", value);
		case INTERVALOID:
			/* The least number of months, days or microseconds. */
			return wh_sql("pg_catalog.date_part('year', %s) = -178956970 AND"
						  " pg_catalog.date_part('month', %s) = -8 OR"
						  " pg_catalog.date_part('day', %s) = -2147483648 OR"
						  " pg_catalog.date_part('hour', %s) = -2562047788 AND"
						  " pg_catalog.date_part('minute', %s) = 0 AND"
						  " EXTRACT(second FROM %s) = -54.775808",
						  value, value, value, value, value, value);
		default:
			return NULL;
	}
}

char *
wh_fact_instant(const WhFact *fact, const char *alias)
{
	return instant(fact, fact->event_time, alias);
}

static char *
instant(const WhFact *fact, int position, const char *alias)
{
	if (wh_fact_column(fact, position)->type == TIMESTAMPTZOID)
		return wh_sql("%s.c%d", alias, position);
	return wh_sql("pg_catalog.timezone(%s, %s.c%d::pg_catalog.timestamp)", fact->zone, alias,
				  position);
}

/* Times that no instant stands for have no lag, nor have those whose difference no interval can
 * hold. */
void
wh_fact_lags(StringInfo sql, const WhFact *fact, const char *alias)
{
	ListCell *cell;

	foreach(cell, fact->lags)
	{
		WhFactLag *lag = lfirst(cell);

		wh_sql_append(sql,
					  ", CASE WHEN %s.c%d BETWEEN " FIRST_TIME " AND " LAST_TIME
					  " AND %s.c%d BETWEEN " FIRST_TIME " AND " LAST_TIME
					  " THEN %s OPERATOR(pg_catalog.-) %s END AS c%d",
					  alias, lag->from, alias, lag->to, instant(fact, lag->to, alias),
					  instant(fact, lag->from, alias), lag->position);
	}
}

char *
wh_fact_key_text(const WhFact *fact, const char *alias)
{
	return positions_as_text(fact, fact->key, alias);
}

char *
wh_fact_row_text(const WhFact *fact, const char *alias)
{
	return positions_as_text(fact, fact->identity, alias);
}

static char *
positions_as_text(const WhFact *fact, List *positions, const char *alias)
{
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	foreach(cell, positions)
		wh_sql_append(&sql, "%s%s.c%d::pg_catalog.text",
					  foreach_current_index(cell) > 0 ? ", " : "ARRAY[", alias, lfirst_int(cell));
	wh_sql_append(&sql, "]");
	return sql.data;
}

List *
wh_fact_role_keys(const WhFact *fact, const WhFactRole *role, const char *alias)
{
	List *columns = NIL;
	List *values = NIL;
	ListCell *cell;

	foreach(cell, role->keys)
	{
		columns = lappend(columns, wh_fact_column(fact, lfirst_int(cell)));
		values = lappend(values, wh_sql("%s.c%d", alias, lfirst_int(cell)));
	}
	return wh_dimension_key_values(role->dimension, columns, values, fact->zone);
}

void
wh_fact_lookups(StringInfo sql, const WhFact *fact, const char *alias)
{
	char *instant = wh_fact_instant(fact, alias);
	ListCell *cell;

	foreach(cell, fact->roles)
	{
		WhFactRole *role = lfirst(cell);

		wh_sql_append(sql, ", %s AS sk%d", wh_fact_lookup(fact, role, alias, instant),
					  role->number);
	}
}

/* What the row itself says comes before its key: an error, then that the dimension does not
 * apply. */
char *
wh_fact_lookup(const WhFact *fact, const WhFactRole *role, const char *alias, const char *instant)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "(CASE");
	if (role->error != 0)
		wh_sql_append(&sql, " WHEN %s.c%d THEN -3", alias, role->error);
	if (role->not_applicable != 0)
		wh_sql_append(&sql, " WHEN %s.c%d THEN -2", alias, role->not_applicable);
	if (role->error != 0 || role->not_applicable != 0)
		wh_sql_append(&sql, " ELSE ");
	else
		resetStringInfo(&sql);
	wh_dimension_lookup_sql(&sql, role->dimension, wh_fact_role_keys(fact, role, alias), instant,
							role->null_sk);
	if (role->error != 0 || role->not_applicable != 0)
		wh_sql_append(&sql, " END)");
	return sql.data;
}

WhFactRole *
wh_fact_mini(const WhFact *fact, const WhFactRole *role)
{
	ListCell *cell;

	foreach(cell, fact->roles)
	{
		if (((WhFactRole *) lfirst(cell))->history == role->number)
			return lfirst(cell);
	}
	return NULL;
}

char *
wh_fact_role_targets(const WhFact *fact, const WhFactRole *role)
{
	WhFactRole *mini = wh_fact_mini(fact, role);

	return mini == NULL ? wh_sql("%I", role->column) :
						  wh_sql("%I, %I", role->column, mini->column);
}

char *
wh_fact_role_values(const WhFact *fact, const WhFactRole *role, const char *sk)
{
	WhFactRole *mini = wh_fact_mini(fact, role);
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "%s", sk);
	if (mini != NULL)
	{
		wh_sql_append(&sql, ", ");
		wh_dimension_combination_sql(&sql, mini->dimension, sk);
	}
	return sql.data;
}

char *
wh_fact_type(Oid type, int32 typmod)
{
	return format_type_extended(type, typmod,
								FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}

char *
wh_fact_collation(const WhModelColumn *column)
{
	HeapTuple tuple;
	Form_pg_collation form;
	char *text;

	if (!OidIsValid(column->collation) || column->collation == get_typcollation(column->type))
		return pstrdup("");
	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(column->collation));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for collation %u", column->collation);
	form = (Form_pg_collation) GETSTRUCT(tuple);
	text = wh_sql(" COLLATE %I.%I", get_namespace_name(form->collnamespace),
				  NameStr(form->collname));
	ReleaseSysCache(tuple);
	return text;
}
