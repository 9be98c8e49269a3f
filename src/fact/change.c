/*
 * change.c
 *		Brings a fact from its position to a load's.
 *
 * What the range left of each key that it touched (wh_new), and the rows that stood there before
 * (wh_old, from the log's B images), are read once.  Their comparison (wh_change) says what to
 * delete, update and insert; the old event time tells in which partition the old row is, so
 * nothing is searched for.  A row whose event time moved is deleted and inserted. Surrogate keys
 * are looked up for the new rows; members that are missing are made, as the dimension's owner,
 * from values that were computed before.  Rows that cannot be placed go to walhouse.fact_rejected
 * and leave it when they change.
 *
 * The work is that of the changes (P5): the statements that touch the fact are nested loops over
 * the changes with run-time pruning, which the planner would give up for a scan of all partitions
 * when the batch is large; so the other joins are switched off for them.  All of it belongs to the
 * load's transaction: a crash leaves nothing.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/guc.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "fact/fact.h"
#include "fact/fact_private.h"

static void stage_changes(WhFact *fact);
static void append_old(StringInfo sql, const WhFact *fact, const char *reason);
static void look_up(WhFact *fact);
static bool has_changes(WhFact *fact, const char *condition);
static void delete_rows(WhFact *fact, WhLoad *load, WhCounts *counts);
static void update_rows(WhFact *fact, WhLoad *load, WhCounts *counts);

void
wh_fact_load(WhModel *model, WhLoad *load, WhCounts *counts)
{
	WhFact *fact = wh_fact_open(model);
	bool is_direct = wh_fact_direct_begin(fact, load);

	if (!is_direct)
		wh_fact_read_changes(fact, load);
	wh_fact_follow_purges(fact, load, counts);
	wh_fact_follow_fills(fact, load, counts);
	if (is_direct)
		wh_fact_direct_load(fact, load, counts);
	else if (wh_stage_count(fact->stage, "wh_new") > 0 || wh_stage_count(fact->stage, "wh_old") > 0)
	{
		wh_fact_resolve(fact, load, counts);
		if (fact->books)
			wh_fact_insert(fact, load, "wh_row x", counts);
		else
			wh_fact_replace_rows(fact, load, counts);
		wh_fact_reject(fact, load, counts);
	}
	wh_fact_count_late(fact);
	wh_fact_follow_moves(fact, load, counts);
	wh_fact_ahead_repoint(fact, load, false, counts);
	if (wh_stage_count(fact->stage, "wh_row") > 0)
		wh_fact_ahead_add(fact, load);
	wh_fact_ahead_pass(fact, load);
	wh_fact_count_touched(fact, counts);
	wh_fact_release(model);
}

void
wh_fact_replace_rows(WhFact *fact, WhLoad *load, WhCounts *counts)
{
	wh_fact_ahead_forget(fact);
	stage_changes(fact);
	if (has_changes(fact, "x.is_old AND NOT x.stays"))
		delete_rows(fact, load, counts);
	if (has_changes(fact, "x.is_new AND x.stays"))
		update_rows(fact, load, counts);
	wh_fact_insert(fact, load, "wh_change x WHERE x.is_new AND (NOT x.is_old OR NOT x.stays)",
				   counts);
}

void
wh_fact_release(WhModel *model)
{
	WhFact *fact = wh_fact_open(model);

	if (fact->direct != NULL)
		wh_fact_direct_close(fact->direct);
	if (fact->stage != NULL)
		wh_stage_drop(fact->stage);
	fact->direct = NULL;
	fact->direct_refused = false;
	fact->stage = NULL;
}

/*
 * wh_fact_read_changes fills wh_new (live, c…, reason) and wh_old (c… of key and event time,
 * reason, row_key, key) of the range (model's position, load->to], once for each load.
 */
void
wh_fact_read_changes(WhFact *fact, WhLoad *load)
{
	MemoryContext caller;
	StringInfoData sql;
	WhArg args[2];

	if (fact->stage != NULL)
		return;
	args[0] = WH_ARG_LSN(fact->model->position);
	args[1] = WH_ARG_LSN(load->to);
	caller = MemoryContextSwitchTo(fact->context);
	fact->stage = wh_stage_create();
	MemoryContextSwitchTo(caller);
	if (wh_fact_has_history(fact))
	{
		wh_fact_read_history(fact, load);
		return;
	}

	wh_model_stage_ends(fact->model, fact->stage, fact->model->position, load->to);
	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT n.*");
	wh_fact_lags(&sql, fact, "n");
	wh_sql_append(&sql, ", CASE WHEN n.live THEN %s END AS reason FROM (",
				  wh_fact_reason(fact, "n"));
	wh_model_last_sql(&sql, fact->model);
	wh_sql_append(&sql, ") n (live, %s", wh_fact_query_names(fact) + 1);
	if (wh_stage_fill(fact->stage, "wh_new", sql.data, 2, args) == 0 && fact->model->join == NULL)
		return;

	resetStringInfo(&sql);
	append_old(&sql, fact, wh_fact_reason(fact, "o"));
	wh_sql_append(&sql, "(");
	wh_model_before_sql(&sql, fact->model);
	wh_sql_append(&sql, ") o %s", wh_fact_query_names(fact));
	wh_stage_fill(fact->stage, "wh_old", sql.data, 2, args);
}

void
wh_fact_stage_old(WhFact *fact)
{
	StringInfoData sql;

	initStringInfo(&sql);
	append_old(&sql, fact, "o.reason");
	wh_sql_append(&sql, "wh_was o");
	wh_stage_fill(fact->stage, "wh_old", sql.data, 0, NULL);
}

/* append_old begins the SELECT that fills wh_old from rows o (c…). */
static void
append_old(StringInfo sql, const WhFact *fact, const char *reason)
{
	wh_sql_append(sql, "SELECT ");
	wh_fact_query_columns(sql, fact, "o");
	wh_sql_append(sql, ", %s AS reason, %s AS row_key, %s AS key FROM ", reason,
				  wh_fact_row_text(fact, "o"), wh_fact_key_text(fact, "o"));
}

/* wh_fact_resolve fills wh_row (c…, sk…) with the rows of wh_new that can be placed, each with
 * its surrogate keys. */
void
wh_fact_resolve(WhFact *fact, WhLoad *load, WhCounts *counts)
{
	uint64 inferred = 0;
	ListCell *cell;

	look_up(fact);
	foreach(cell, fact->roles)
		inferred += wh_fact_infer_members(fact, lfirst(cell), load, "wh_row");
	if (inferred > 0)
		look_up(fact);
	counts->inferred += inferred;
}

static void
look_up(WhFact *fact)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT ");
	wh_fact_columns(&sql, fact, "n");
	wh_fact_lookups(&sql, fact, "n");
	wh_sql_append(&sql, " FROM wh_new n WHERE n.live AND n.reason IS NULL");
	wh_stage_fill(fact->stage, "wh_row", sql.data, 0, NULL);
}

uint64
wh_fact_infer_members(WhFact *fact, WhFactRole *role, WhLoad *load, const char *rows)
{
	List *keys = wh_fact_role_keys(fact, role, "r");
	StringInfoData sql;
	StringInfoData names;
	WhUser saved;
	uint64 made;
	ListCell *cell;

	initStringInfo(&sql);
	initStringInfo(&names);
	foreach(cell, keys)
	{
		int i = foreach_current_index(cell) + 1;

		wh_sql_append(&sql, "%s%s AS k%d", i == 1 ? "SELECT DISTINCT " : ", ",
					  (char *) lfirst(cell), i);
		wh_sql_append(&names, "%sk%d", i == 1 ? "SELECT " : ", ", i);
	}
	wh_sql_append(&sql, " FROM %s r WHERE r.sk%d IS NULL", rows, role->number);
	if (wh_stage_fill(fact->stage, "wh_key", sql.data, 0, NULL) == 0)
		return 0;
	wh_sql_append(&names, " FROM wh_key");
	resetStringInfo(&sql);
	wh_dimension_infer_sql(&sql, role->dimension, names.data, load->id);
	wh_user_become(role->dimension->owner, &saved);
	made = wh_stage_execute(fact->stage, sql.data, 0, NULL);
	wh_user_restore(&saved);
	return made;
}

/*
 * stage_changes fills wh_change: o… of key and event time of the row that stands in the fact, c…
 * and sk… of the row that shall, and which of the two there are (is_old, is_new); stays: both,
 * with the same event time.
 */
static void
stage_changes(WhFact *fact)
{
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT ");
	foreach(cell, fact->identity)
		wh_sql_append(&sql, "o.c%d AS o%d, ", lfirst_int(cell), lfirst_int(cell));
	wh_fact_columns(&sql, fact, "n");
	wh_fact_role_columns(&sql, fact, "n");
	wh_sql_append(&sql, ", o.is_there IS NOT NULL AS is_old, n.is_there IS NOT NULL AS is_new,"
						" COALESCE(o.c%d %s n.c%d, false) AS stays"
						" FROM (SELECT *, true AS is_there FROM wh_old WHERE reason IS NULL) o"
						" FULL JOIN (SELECT *, true AS is_there FROM wh_row) n ON ",
				  fact->event_time, wh_model_equality(fact->event_type), fact->event_time);
	wh_fact_key_match(&sql, fact, "o", "n");
	wh_stage_fill(fact->stage, "wh_change", sql.data, 0, NULL);
}

/* has_changes spares the planner a statement over all partitions that would touch nothing. */
static bool
has_changes(WhFact *fact, const char *condition)
{
	const char *sql = wh_sql("SELECT FROM wh_change x WHERE %s LIMIT 1", condition);

	return wh_stage_query(fact->stage, sql, 0, NULL)->count > 0;
}

static void
delete_rows(WhFact *fact, WhLoad *load, WhCounts *counts)
{
	StringInfoData where;

	initStringInfo(&where);
	wh_sql_append(&where, "x.is_old AND NOT x.stays AND ");
	wh_fact_row_match(&where, fact, "o");
	counts->deleted += wh_fact_delete_rows(fact, load, "wh_change x", where.data);
}

/* update_rows writes rows that differ in any image; equal by opclass is not enough (1.0
 * and 1.00). */
static void
update_rows(WhFact *fact, WhLoad *load, WhCounts *counts)
{
	StringInfoData columns;
	StringInfoData values;
	StringInfoData where;

	initStringInfo(&columns);
	initStringInfo(&values);
	initStringInfo(&where);
	wh_fact_table_columns(&columns, fact, NULL);
	wh_fact_columns(&values, fact, "x");
	wh_fact_role_columns(&values, fact, "x");
	wh_sql_append(&where, "x.is_new AND x.is_old AND x.stays AND ");
	wh_fact_row_match(&where, fact, "o");
	wh_sql_append(&where, " AND ROW(");
	wh_fact_table_columns(&where, fact, "f");
	wh_sql_append(&where, ")::record OPERATOR(pg_catalog.*<>) ROW(%s)::record", values.data);
	counts->updated += wh_fact_update_rows(fact, load, columns.data, values.data, "wh_change x",
										   where.data);
}

/* wh_fact_insert inserts the rows x (c…, sk…) of a FROM clause. */
void
wh_fact_insert(WhFact *fact, WhLoad *load, const char *from, WhCounts *counts)
{
	StringInfoData values;

	initStringInfo(&values);
	wh_fact_columns(&values, fact, "x");
	wh_fact_role_columns(&values, fact, "x");
	counts->inserted += wh_fact_insert_rows(fact, load, values.data, from);
}

/* wh_fact_catalog_narrow runs a statement that joins a stage with a catalog table that grows with
 * the fact, as nested loops; wh_fact_fill_narrow keeps the rows of one that reads the fact. */
uint64
wh_fact_catalog_narrow(WhFact *fact, const char *sql, int nargs, const WhArg *args)
{
	int nest = wh_fact_push_narrow();
	uint64 processed = wh_stage_catalog(fact->stage, sql, nargs, args);

	wh_settings_pop(nest);
	return processed;
}

uint64
wh_fact_fill_narrow(WhFact *fact, const char *name, const char *sql)
{
	int nest = wh_fact_push_narrow();
	uint64 count = wh_stage_fill(fact->stage, name, sql, 0, NULL);

	wh_settings_pop(nest);
	return count;
}

int
wh_fact_push_narrow(void)
{
	int nest = wh_settings_push_joins(WH_JOINS_PROBE);

	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	return nest;
}

/* wh_fact_reject brings walhouse.fact_rejected to what the rows of wh_new need. */
void
wh_fact_reject(WhFact *fact, WhLoad *load, WhCounts *counts)
{
	WhArg args[2];
	StringInfoData sql;

	args[0] = WH_ARG_INT4(fact->model->id);
	args[1] = WH_ARG_LSN(load->to);
	if (wh_stage_count(fact->stage, "wh_old") > 0)
		wh_fact_catalog_narrow(
			fact,
			"DELETE FROM walhouse.fact_rejected r USING wh_old o"
			" WHERE r.model_id = $1 AND o.reason IS NOT NULL AND r.key OPERATOR(pg_catalog.=)"
			" o.key",
			1, args);
	if (wh_stage_count(fact->stage, "wh_new") == 0)
		return;
	initStringInfo(&sql);
	wh_fact_rejected_rows(&sql, fact,
						  "wh_new n WHERE n.live AND n.reason <> '" WH_FACT_RETIRED "'");
	if (wh_stage_fill(fact->stage, "wh_reject", sql.data, 0, NULL) == 0)
		return;
	counts->rejected += wh_stage_catalog(
		fact->stage,
		"INSERT INTO walhouse.fact_rejected (model_id, key, position, reason, row)"
		" SELECT $1, j.key, $2, j.reason, j.image FROM wh_reject j",
		2, args);
}

void
wh_fact_stage_rejected(const WhFact *fact, WhStage *stage, const char *keys)
{
	int level = wh_settings_push_joins(WH_JOINS_PROBE);

	wh_settings_avoid_scans();
	(void) wh_stage_fill(stage, "wh_key", keys, 0, NULL);
	(void) wh_stage_fill_catalog(
		stage, "wh_rejected",
		"SELECT r.key, r.reason, r.row FROM wh_key k JOIN walhouse.fact_rejected r ON r.key "
		"OPERATOR(pg_catalog.=) k.key WHERE r.model_id = $1",
		1, (WhArg[]){WH_ARG_INT4(fact->model->id)});
	wh_settings_pop(level);
}

/* wh_fact_rejected_rows appends a SELECT of key, reason and image (jsonb) of the rows n (c…,
 * reason) of a FROM clause.  The image is the query's, with the milestones: a row that is placed
 * later has them from there. */
void
wh_fact_rejected_rows(StringInfo sql, const WhFact *fact, const char *from)
{
	ListCell *cell;

	wh_sql_append(
		sql,
		"SELECT %s AS key, n.reason, pg_catalog.to_jsonb(t.*) AS image FROM (SELECT n.* FROM %s) n"
		" CROSS JOIN LATERAL (SELECT ",
		wh_fact_key_text(fact, "n"), from);
	foreach(cell, fact->columns)
	{
		if (foreach_current_index(cell) < fact->query_width + list_length(fact->milestones))
			wh_sql_append(sql, "%sn.c%d AS %I", foreach_current_index(cell) > 0 ? ", " : "",
						  foreach_current_index(cell) + 1,
						  ((WhModelColumn *) lfirst(cell))->name);
	}
	wh_sql_append(sql, ") t");
}
