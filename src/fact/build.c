/*
 * build.c
 *		Fills a fact with the state at a position.
 *
 * One statement reads the state, looks it up, inserts what is complete, and keeps the rest: rows
 * that cannot be placed, rows ahead of the clock, and rows without a member.  Those members are
 * made, and their rows inserted, at the end, under the feed's state lock and with a fresh
 * snapshot: made here, they would stand uncommitted in the way of a load that needs the same ones,
 * while this build waits for that load's lock.  A rebuild deletes in the same transaction, so
 * readers see the old rows until the new ones are there, never an empty fact; its dead rows are
 * vacuum's.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "fact/fact.h"
#include "fact/fact_private.h"

static void stage_left(WhFact *fact);
static void empty(WhFact *fact, WhCounts *counts);
static void fill(WhFact *fact, WhLoad *load, WhCounts *counts);
static char *incomplete(const WhFact *fact, const char *alias);

void
wh_fact_build(WhModel *model, WhLoad *load, WhCounts *counts)
{
	WhFact *fact = wh_fact_open(model);

	if (wh_fact_direct_begin(fact, load))
	{
		empty(fact, counts);
		wh_fact_direct_fill(fact, load, counts);
		wh_fact_direct_close(fact->direct);
		fact->direct = NULL;
	}
	else
	{
		wh_fact_stage_build(fact, load);
		empty(fact, counts);
		fill(fact, load, counts);
		stage_left(fact);
	}
	wh_fact_reject(fact, load, counts);
	if (wh_stage_count(fact->stage, "wh_row") > 0)
		wh_fact_ahead_add(fact, load);
}

/* stage_left fills wh_new and wh_row from wh_left. */
static void
stage_left(WhFact *fact)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT true AS live, ");
	wh_fact_columns(&sql, fact, "l");
	wh_sql_append(&sql,
				  ", l.reason FROM wh_left l WHERE l.is_there AND (l.reason IS NOT NULL OR %s)",
				  incomplete(fact, "l"));
	wh_stage_fill(fact->stage, "wh_new", sql.data, 0, NULL);

	resetStringInfo(&sql);
	wh_sql_append(&sql, "SELECT ");
	wh_fact_columns(&sql, fact, "l");
	wh_fact_role_columns(&sql, fact, "l");
	wh_sql_append(&sql, " FROM wh_left l WHERE l.is_there AND l.reason IS NULL AND NOT (%s)",
				  incomplete(fact, "l"));
	wh_stage_fill(fact->stage, "wh_row", sql.data, 0, NULL);
}

void
wh_fact_stage_build(WhFact *fact, WhLoad *load)
{
	WhModel *model = fact->model;
	MemoryContext caller;

	if (fact->stage != NULL)
		return;
	caller = MemoryContextSwitchTo(fact->context);
	fact->stage = wh_stage_create();
	MemoryContextSwitchTo(caller);
	if (wh_fact_has_history(fact))
		wh_fact_stage_state(fact, fact->stage, wh_model_horizon(model), load->to);
	else
		wh_model_check_state(model, fact->stage, load->to);
}

void
wh_fact_finish_build(WhModel *model, WhLoad *load, WhCounts *counts)
{
	WhFact *fact = wh_fact_open(model);

	if (wh_fact_has_history(fact))
		wh_fact_begin_history(fact);
	else
		wh_model_set_history_start(model->id, load->to);
	if (wh_stage_count(fact->stage, "wh_new") > 0)
	{
		wh_fact_resolve(fact, load, counts);
		wh_fact_insert(fact, load, "wh_row x", counts);
		wh_fact_ahead_add(fact, load);
	}
	wh_fact_ahead_repoint(fact, load, true, counts);
	wh_fact_count_touched(fact, counts);
	wh_fact_release(model);
}

/* empty leaves what is retired, and perhaps still to be archived. */
static void
empty(WhFact *fact, WhCounts *counts)
{
	WhArg args[1];
	const char *kept = fact->horizon == NULL ? "true" : wh_fact_is_kept(fact, "f");

	args[0] = WH_ARG_INT4(fact->model->id);
	counts->deleted +=
		wh_spi_execute(wh_sql("DELETE FROM %T f WHERE %s", fact->model->relid, kept), 0, NULL);
	wh_catalog_execute("DELETE FROM walhouse.ahead WHERE model_id = $1", 1, args);
	wh_catalog_execute("DELETE FROM walhouse.fact_rejected WHERE model_id = $1", 1, args);
}

/* fill inserts the complete rows, and fills wh_left with the others and with those that are ahead
 * of the clock. */
static void
fill(WhFact *fact, WhLoad *load, WhCounts *counts)
{
	StringInfoData sql;
	WhArg args[3];
	WhRows *rows;

	args[0] = WH_ARG_LSN(load->to);
	args[1] = WH_ARG_INT8(load->id);
	args[2] = WH_ARG_TIMESTAMPTZ(load->clock);
	initStringInfo(&sql);
	wh_sql_append(&sql, "WITH r AS MATERIALIZED (");
	wh_fact_state_rows(&sql, fact);
	wh_sql_append(&sql, "), i AS (INSERT INTO %T AS f (", fact->model->relid);
	wh_fact_table_columns(&sql, fact, NULL);
	wh_sql_append(&sql, ", load_id) SELECT ");
	wh_fact_columns(&sql, fact, "x");
	wh_fact_role_columns(&sql, fact, "x");
	wh_sql_append(&sql,
				  ", $2 FROM r x WHERE x.reason IS NULL AND NOT (%s) RETURNING f.tableoid AS leaf)"
				  " SELECT w.*, l.* FROM (SELECT i.leaf, pg_catalog.count(*) AS inserted FROM i"
				  " GROUP BY i.leaf) w FULL JOIN (SELECT x.*, true AS is_there FROM r x"
				  " WHERE x.reason IS DISTINCT FROM '" WH_FACT_RETIRED "' AND (x.reason IS NOT NULL"
				  " OR x.event_time >= $3 OR %s)) l ON false",
				  incomplete(fact, "x"), incomplete(fact, "x"));
	wh_stage_fill(fact->stage, "wh_left", sql.data, 3, args);
	rows = wh_stage_query(
		fact->stage, "SELECT l.leaf, l.inserted FROM wh_left l WHERE l.leaf IS NOT NULL", 0, NULL);
	for (uint64 i = 0; i < rows->count; i++)
	{
		wh_fact_touch(fact, wh_rows_oid(rows, i, 1));
		counts->inserted += wh_rows_int8(rows, i, 2);
	}
}

/* incomplete says that a row that can be placed lacks a member. */
static char *
incomplete(const WhFact *fact, const char *alias)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "false");
	for (int i = 1; i <= list_length(fact->roles); i++)
		wh_sql_append(&sql, " OR %s.sk%d IS NULL", alias, i);
	return sql.data;
}
