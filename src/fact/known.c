/*
 * known.c
 *		A fact's rows as they stood at an earlier position.
 *
 * The rows are those of the query at that position.  The version that held at an event time
 * before the feed clock of then has been final since, so it is looked up in the dimension as it
 * is; for the rows ahead of that clock, among the versions that were known, and so for all rows
 * where a dimension's versions hold since an effective column, which are never final.  A key
 * without a version then had an inferred member, whose surrogate key the first version has kept.
 * Bookings are the fact's own rows: they have not been changed since, but for surrogate keys.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "fact/fact.h"
#include "fact/fact_private.h"

static bool is_staged(const WhFactRole *role, bool has_ahead);
static void stage_bookings(const WhFact *fact, const WhKnown *known);
static void stage_dimensions(WhFact *fact, const WhKnown *known, bool has_ahead);
static char *joined_key(const WhFact *fact, const WhFactRole *role);
static void append_join(StringInfo sql, const WhFact *fact, const WhFactRole *role);
static char *known_combination(const WhFact *fact, const WhFactRole *role);
static char *known_lookup(const WhFact *fact, const WhFactRole *role);

void
wh_fact_known(WhModel *model, WhKnown *known)
{
	WhFact *fact = wh_fact_open(model);
	bool has_ahead;
	StringInfoData sql;
	ListCell *cell;

	wh_fact_tell_horizon(fact);
	if (fact->books)
		stage_bookings(fact, known);
	else if (wh_fact_has_history(fact))
		wh_fact_stage_state(fact, known->stage, model->history_start, known->position);
	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT n.*, %s AS event_time FROM (SELECT n.*, %s AS reason FROM ",
				  wh_fact_instant(fact, "n"), wh_fact_row_reason(fact, "n"));
	wh_fact_state(&sql, fact);
	wh_sql_append(&sql, " OFFSET 0) n WHERE n.reason IS NULL");
	wh_stage_fill(known->stage, "wh_fact", sql.data, 1, (WhArg[]){WH_ARG_LSN(known->position)});
	has_ahead = wh_stage_query(known->stage,
							   "SELECT FROM wh_fact n WHERE n.event_time >= $1 LIMIT 1", 1,
							   (WhArg[]){WH_ARG_TIMESTAMPTZ(known->clock)})
					->count > 0;
	stage_dimensions(fact, known, has_ahead);

	resetStringInfo(&sql);
	foreach(cell, fact->columns)
		wh_sql_append(&sql, "%sn.c%d AS %I", foreach_current_index(cell) == 0 ? "SELECT " : ", ",
					  foreach_current_index(cell) + 1, ((WhModelColumn *) lfirst(cell))->name);
	foreach(cell, fact->roles)
	{
		WhFactRole *role = lfirst(cell);

		wh_sql_append(&sql, ", %s AS %I",
					  !is_staged(role, has_ahead) ?
						  wh_fact_lookup(fact, role, "n", "n.event_time") :
					  role->history != 0						 ? known_combination(fact, role) :
					  wh_dimension_is_effective(role->dimension) ? joined_key(fact, role) :
																   known_lookup(fact, role),
					  role->column);
	}
	wh_sql_append(&sql, ", NULL::pg_catalog.int8 AS load_id FROM wh_fact n");
	foreach(cell, fact->roles)
	{
		if (wh_dimension_is_effective(((WhFactRole *) lfirst(cell))->dimension))
			append_join(&sql, fact, lfirst(cell));
	}
	wh_sql_append(&sql, " WHERE $1 IS NOT NULL");
	wh_stage_fill(known->stage, known->name, sql.data, 1,
				  (WhArg[]){WH_ARG_TIMESTAMPTZ(known->clock)});
}

/* stage_bookings fills wh_state with the bookings up to the position: they have not changed. */
static void
stage_bookings(const WhFact *fact, const WhKnown *known)
{
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	foreach(cell, fact->columns)
		wh_sql_append(&sql, "%st.%I AS c%d", foreach_current_index(cell) == 0 ? "SELECT " : ", ",
					  ((WhModelColumn *) lfirst(cell))->name, foreach_current_index(cell) + 1);
	wh_sql_append(&sql, " FROM %T t WHERE t.booked_lsn <= $1", fact->model->relid);
	wh_stage_fill(known->stage, "wh_state", sql.data, 1, (WhArg[]){WH_ARG_LSN(known->position)});
}

/*
 * is_staged says that a role needs the versions that were known: one with versions in time for the
 * rows ahead of the clock, one with an effective column always, and so a mini-dimension, since what
 * a version of its history was, an inferred member or its row, is not what it is.
 */
static bool
is_staged(const WhFactRole *role, bool has_ahead)
{
	return role->history != 0 || wh_dimension_is_effective(role->dimension) ||
		   (has_ahead && role->dimension->feed != NULL &&
			wh_dimension_is_versioned(role->dimension));
}

/*
 * stage_dimensions fills wh_role_1, … with the versions that were known, read as their owners,
 * where they are needed.
 */
static void
stage_dimensions(WhFact *fact, const WhKnown *known, bool has_ahead)
{
	ListCell *cell;

	foreach(cell, fact->roles)
	{
		WhFactRole *role = lfirst(cell);
		WhModel *dimension =
			role->history != 0 ? wh_dimension_history(role->dimension) : role->dimension;
		WhKnown of_role = *known;
		WhUser saved;

		if (!is_staged(role, has_ahead))
			continue;
		of_role.name = psprintf("wh_role_%d", role->number);
		wh_model_check_known(dimension, known->position);
		wh_user_become(dimension->owner, &saved);
		wh_model_routine(dimension->kind)->known(dimension, &of_role);
		wh_user_restore(&saved);
	}
}

/*
 * joined_key is the surrogate key of the version that append_join found: NULL where it has gone
 * since; and of a member that was not known then, that of its first version.
 */
static char *
joined_key(const WhFact *fact, const WhFactRole *role)
{
	char *now = wh_fact_lookup(fact, role, "n", "n.event_time");

	return wh_sql("CASE WHEN %s < 0 THEN %s WHEN k%d.valid_from IS NULL THEN %s ELSE k%d.%I END",
				  now, now, role->number,
				  wh_fact_lookup(fact, role, "n", "'-infinity'::pg_catalog.timestamptz"),
				  role->number, wh_model_option(role->dimension, "sk"));
}

/* append_join joins the version of wh_role_… that held at the event time. */
static void
append_join(StringInfo sql, const WhFact *fact, const WhFactRole *role)
{
	List *keys = wh_fact_role_keys(fact, role, "n");
	StringInfoData names;
	ListCell *cell;

	initStringInfo(&names);
	wh_model_column_list(&names, role->dimension->key, "k");
	wh_sql_append(
		sql,
		" LEFT JOIN (SELECT k.*, pg_catalog.lead(k.valid_from) OVER (PARTITION BY %s ORDER "
		"BY k.valid_from) AS wh_next FROM wh_role_%d k) k%d ON k%d.valid_from <= "
		"n.event_time AND COALESCE(n.event_time < k%d.wh_next, true)",
		names.data, role->number, role->number, role->number, role->number);
	foreach(cell, role->dimension->key)
	{
		WhModelColumn *column = lfirst(cell);

		wh_sql_append(sql, " AND k%d.%I %s (%s)", role->number, column->name,
					  wh_model_equality(column->type),
					  (char *) list_nth(keys, foreach_current_index(cell)));
	}
}

static char *
known_lookup(const WhFact *fact, const WhFactRole *role)
{
	char *now = wh_fact_lookup(fact, role, "n", "n.event_time");
	List *keys = wh_fact_role_keys(fact, role, "n");
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	wh_sql_append(&sql,
				  "CASE WHEN n.event_time < $1 OR %s < 0 THEN %s ELSE COALESCE((SELECT k.%I FROM "
				  "wh_role_%d k WHERE k.valid_from <= n.event_time",
				  now, now, wh_model_option(role->dimension, "sk"), role->number);
	foreach(cell, role->dimension->key)
	{
		WhModelColumn *column = lfirst(cell);

		wh_sql_append(&sql, " AND k.%I %s (%s)", column->name, wh_model_equality(column->type),
					  (char *) list_nth(keys, foreach_current_index(cell)));
	}
	wh_sql_append(&sql, " ORDER BY k.valid_from DESC LIMIT 1), %s) END",
				  wh_fact_lookup(fact, role, "n", "'-infinity'::pg_catalog.timestamptz"));
	return sql.data;
}

/* Rows -1 to -3 say the row itself; all else says what was known. */
static char *
known_combination(const WhFact *fact, const WhFactRole *role)
{
	char *now = wh_fact_lookup(fact, role, "n", "n.event_time");
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "CASE WHEN %s BETWEEN -3 AND -1 THEN %s ELSE ", now, now);
	wh_dimension_known_combination_sql(&sql, role->dimension, wh_fact_role_keys(fact, role, "n"),
									   psprintf("wh_role_%d", role->number), "n.event_time");
	wh_sql_append(&sql, " END");
	return sql.data;
}
