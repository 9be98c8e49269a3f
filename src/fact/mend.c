/*
 * mend.c
 *		Makes a fact's rows of a range of event times what a build would make them.
 *
 * The rows that the query gives in the range, at the fact's position, are compared with those that
 * are there, in one snapshot beside loads: wh_suspect has what identifies those that differ.  That
 * is few rows as a rule, and of these alone is asked again under the load lock, as verify() asks of
 * a sample (model/sample.c), at the position where the fact stands by then; so what loads did
 * meanwhile does no harm, and they wait no longer than the differences take.  What is there is
 * wh_old and what there should be is wh_new, and the rest is what a load does (change.c).
 *
 * A row that is wanted outside the range is looked at with its key.  Rejected rows and rows ahead
 * of the clock are made anew for the keys in question.
 *
 * Facts that read every event (bookings, milestones) are refused: their rows are made of the whole
 * history.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "base/base.h"
#include "fact/fact.h"
#include "fact/fact_private.h"

static char *bound(const WhFact *fact, const char *instant);
static void append_identity(StringInfo sql, const WhFact *fact, const char *format);
static void append_found(StringInfo sql, const WhFact *fact);
static void stage_expected(WhFact *fact);
static void stage_found(WhFact *fact);
static void delete_surplus(WhFact *fact, WhLoad *load, WhCounts *counts);
static void forget(WhFact *fact);

bool
wh_fact_suspect(WhModel *model, TimestampTz from, TimestampTz to)
{
	WhFact *fact = wh_fact_open(model);
	const char *time = wh_sql_identifier(wh_fact_column(fact, fact->event_time)->name);
	MemoryContext caller = MemoryContextSwitchTo(fact->context);
	StringInfoData sql;

	if (wh_fact_has_history(fact))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s cannot be rebuilt by a range of time", model->name),
				 errdetail("Its rows are made of all that ever happened to them."),
				 errhint("SELECT walhouse.rebuild(%s) builds all of it.",
						 wh_sql_literal(model->name))));
	wh_fact_tell_horizon(fact);
	fact->stage = wh_stage_create();
	MemoryContextSwitchTo(caller);
	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT ");
	append_identity(&sql, fact, "COALESCE(e.c%d, f.c%d) AS c%d");
	wh_sql_append(&sql, " FROM (SELECT n.* FROM (");
	wh_fact_state_rows(&sql, fact);
	wh_sql_append(&sql, ") n WHERE n.reason IS NULL AND n.c%d >= %s AND n.c%d < %s) e FULL JOIN (",
				  fact->event_time, bound(fact, "$2"), fact->event_time, bound(fact, "$3"));
	append_found(&sql, fact);
	wh_sql_append(&sql, " FROM %T t WHERE t.%s >= %s AND t.%s < %s AND %s) f ON ", model->relid,
				  time, bound(fact, "$2"), time, bound(fact, "$3"),
				  fact->horizon == NULL ? "true" : wh_fact_is_kept(fact, "t"));
	wh_fact_match(&sql, fact, fact->identity, "e", "f");
	wh_sql_append(&sql, " WHERE ROW(");
	wh_fact_columns(&sql, fact, "e");
	wh_fact_role_columns(&sql, fact, "e");
	wh_sql_append(&sql, ")::record OPERATOR(pg_catalog.*<>) ROW(");
	wh_fact_columns(&sql, fact, "f");
	wh_fact_role_columns(&sql, fact, "f");
	wh_sql_append(&sql, ")::record");
	return wh_stage_fill(fact->stage, "wh_suspect", sql.data, 3,
						 (WhArg[]){WH_ARG_LSN(model->position), WH_ARG_TIMESTAMPTZ(from),
								   WH_ARG_TIMESTAMPTZ(to)}) > 0;
}

List *
wh_fact_mend(WhModel *model, WhLoad *load, WhCounts *counts)
{
	WhFact *fact = wh_fact_open(model);
	List *missing;

	wh_fact_read_horizon(fact); /* it may have moved since wh_fact_suspect */
	stage_expected(fact);
	stage_found(fact);
	missing = wh_fact_missing_partitions(model, load);
	if (missing == NIL)
	{
		delete_surplus(fact, load, counts);
		wh_fact_resolve(fact, load, counts);
		forget(fact);
		wh_fact_replace_rows(fact, load, counts);
		wh_fact_reject(fact, load, counts);
		wh_fact_ahead_add(fact, load);
		wh_fact_count_touched(fact, counts);
	}
	wh_fact_release(model);
	return missing;
}

/* bound gives an instant as a value of the event time's type, so that no earlier row has a value
 * that is not less. */
static char *
bound(const WhFact *fact, const char *instant)
{
	char *local;

	if (fact->event_type == TIMESTAMPTZOID)
		return pstrdup(instant);
	local = wh_sql("pg_catalog.timezone(%s, %s)", fact->zone, instant);
	if (fact->event_type == TIMESTAMPOID)
		return local;
	return wh_sql("(%s + '23:59:59.999999'::pg_catalog.interval)::pg_catalog.date", local);
}

/* append_identity lists what identifies a row, by a format for the position, thrice. */
static void
append_identity(StringInfo sql, const WhFact *fact, const char *format)
{
	ListCell *cell;

	foreach(cell, fact->identity)
	{
		int position = lfirst_int(cell);

		appendStringInfoString(sql, foreach_current_index(cell) > 0 ? ", " : "");
		appendStringInfo(sql, format, position, position, position);
	}
}

/* append_found: "SELECT t.… AS c1, …, AS sk1, …". */
static void
append_found(StringInfo sql, const WhFact *fact)
{
	for (int i = 1; i <= fact->width; i++)
		wh_sql_append(sql, "%st.%I AS c%d", i == 1 ? "SELECT " : ", ",
					  wh_fact_column(fact, i)->name, i);
	foreach_ptr(WhFactRole, role, fact->roles)
		wh_sql_append(sql, ", t.%I AS sk%d", role->column, role->number);
}

/* stage_expected fills wh_expected with what the query gives for the keys of wh_suspect, and wh_new
 * with the same as loads have it. */
static void
stage_expected(WhFact *fact)
{
	WhModel *model = fact->model;
	int level = wh_settings_push_joins(WH_JOINS_WHOLE);
	StringInfoData sql;
	ListCell *cell;

	wh_settings_avoid_scans();
	initStringInfo(&sql);
	foreach(cell, fact->key)
		wh_sql_append(&sql, "%sx.c%d AS %I",
					  foreach_current_index(cell) > 0 ? ", " : "SELECT DISTINCT ", lfirst_int(cell),
					  wh_fact_column(fact, lfirst_int(cell))->name);
	wh_sql_append(&sql, " FROM wh_suspect x");
	wh_model_sample_these(model, fact->stage, sql.data);
	wh_model_stage_events(model, fact->stage, model->position, model->position);
	resetStringInfo(&sql);
	wh_fact_state_rows(&sql, fact);
	(void) wh_stage_fill(fact->stage, "wh_expected", sql.data, 1,
						 (WhArg[]){WH_ARG_LSN(model->position)});
	wh_settings_pop(level);
	resetStringInfo(&sql);
	wh_sql_append(&sql, "SELECT true AS live, ");
	wh_fact_columns(&sql, fact, "e");
	wh_sql_append(&sql, ", e.reason FROM wh_expected e");
	(void) wh_stage_fill(fact->stage, "wh_new", sql.data, 0, NULL);
}

/* stage_found fills wh_was with the rows that stand where these are expected, or where something
 * was wrong, and wh_old with the same. */
static void
stage_found(WhFact *fact)
{
	StringInfoData expected;
	StringInfoData suspect;
	StringInfoData sql;

	initStringInfo(&expected);
	initStringInfo(&suspect);
	initStringInfo(&sql);
	append_identity(&expected, fact, "e.c%d");
	append_identity(&suspect, fact, "x.c%d");
	append_found(&sql, fact);
	wh_sql_append(&sql,
				  ", NULL::pg_catalog.text AS reason FROM (SELECT %s FROM wh_expected e WHERE "
				  "e.reason IS NULL UNION SELECT %s FROM wh_suspect x) x CROSS JOIN LATERAL "
				  "(SELECT f.* FROM %T f WHERE ",
				  expected.data, suspect.data, fact->model->relid);
	wh_fact_row_match(&sql, fact, "c");
	wh_sql_append(&sql, " OFFSET 0) t");
	(void) wh_fact_fill_narrow(fact, "wh_was", sql.data);
	wh_fact_stage_old(fact);
}

/* delete_surplus deletes rows that nothing is expected in the place of, and leaves the others in
 * wh_old: no key is there twice then. */
static void
delete_surplus(WhFact *fact, WhLoad *load, WhCounts *counts)
{
	StringInfoData match;

	wh_fact_ahead_forget(fact);
	initStringInfo(&match);
	wh_fact_match(&match, fact, fact->identity, "e", "o");
	if (wh_stage_fill(fact->stage, "wh_surplus",
					  wh_sql("SELECT o.* FROM wh_was o WHERE NOT EXISTS (SELECT FROM wh_expected e "
							 "WHERE e.reason IS NULL AND %s)",
							 match.data),
					  0, NULL) == 0)
		return;
	(void) wh_stage_fill(fact->stage, "wh_was",
						 wh_sql("SELECT o.* FROM wh_was o WHERE EXISTS (SELECT FROM wh_expected e "
								"WHERE e.reason IS NULL AND %s)",
								match.data),
						 0, NULL);
	wh_fact_stage_old(fact);
	resetStringInfo(&match);
	wh_fact_row_match(&match, fact, "c");
	counts->deleted += wh_fact_delete_rows(fact, load, "wh_surplus x", match.data);
}

/* forget takes away what the catalog says of the keys in question. */
static void
forget(WhFact *fact)
{
	WhArg args[] = {WH_ARG_INT4(fact->model->id)};

	(void) wh_fact_catalog_narrow(
		fact,
		wh_sql("DELETE FROM walhouse.ahead a USING (SELECT %s AS row_key FROM wh_row r) r WHERE"
			   " a.model_id = $1 AND a.row_key OPERATOR(pg_catalog.=) r.row_key",
			   wh_fact_row_text(fact, "r")),
		1, args);
	(void) wh_fact_catalog_narrow(
		fact,
		wh_sql("DELETE FROM walhouse.fact_rejected r USING (SELECT %s AS key FROM wh_new n) n WHERE"
			   " r.model_id = $1 AND r.key OPERATOR(pg_catalog.=) n.key",
			   wh_fact_key_text(fact, "n")),
		1, args);
}
