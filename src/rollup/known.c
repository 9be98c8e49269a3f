/*
 * known.c
 *		A rollup's rows as they stood at an earlier position: the aggregates of the fact's rows as
 * they stood there.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "base/base.h"
#include "rollup/rollup.h"
#include "rollup/rollup_private.h"

static void check_retired(WhModel *model);
static void stage_fact(const WhRollup *rollup, const WhKnown *known);

void
wh_rollup_known(WhModel *model, WhKnown *known)
{
	WhRollup *rollup = wh_rollup_open(model);
	char *clock = rollup->is_snapshot ? wh_rollup_clock(rollup, known->position) : NULL;
	StringInfoData sql;
	ListCell *cell;

	check_retired(model);
	stage_fact(rollup, known);
	initStringInfo(&sql);
	wh_rollup_project(&sql, rollup, "1", "wh_fact_rows", NULL);
	wh_rollup_stage_known(rollup, known->stage, sql.data);

	resetStringInfo(&sql);
	wh_sql_append(&sql, "SELECT NULL::pg_catalog.int8 AS load_id, x.k AS wh_key,"
						" x.state AS wh_state");
	if (rollup->unit != NULL)
		wh_sql_append(&sql, ", x.p AS period_start");
	foreach(cell, rollup->groups)
		wh_sql_append(&sql, ", x.g%d AS %I", foreach_current_index(cell) + 1,
					  ((WhRollupColumn *) lfirst(cell))->name);
	foreach(cell, rollup->measures)
		wh_sql_append(&sql, ", x.m%d AS %I", foreach_current_index(cell) + 1,
					  ((WhMeasure *) lfirst(cell))->name);
	wh_sql_append(&sql, " FROM (");
	wh_rollup_expected(&sql, rollup, clock);
	wh_sql_append(&sql, ") x");
	wh_stage_fill(known->stage, known->name, sql.data, 0, NULL);
}

/* check_retired: what a rollup keeps of retired rows is what they were at last, and not before. */
static void
check_retired(WhModel *model)
{
	if (wh_spi_query(wh_sql("SELECT FROM %T LIMIT 1", wh_rollup_open(model)->retired), 0, NULL)
			->count > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("what %s was before is not known any more", model->name),
				 errdetail("It counts rows of its fact that were retired since.")));
}

/* stage_fact fills wh_fact_rows with the fact's rows as they stood, read as its owner. */
static void
stage_fact(const WhRollup *rollup, const WhKnown *known)
{
	WhModel *fact = wh_model_get_by_id(rollup->fact_id);
	WhKnown of_fact = *known;
	WhUser saved;

	of_fact.name = "wh_fact_rows";
	wh_model_check_known(fact, known->position);
	wh_user_become(fact->owner, &saved);
	wh_model_routine(fact->kind)->known(fact, &of_fact);
	wh_user_restore(&saved);
}
