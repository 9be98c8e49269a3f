/*
 * mini.c
 *		Gives rows of a fact the combination of an inferred member that got its row.
 *
 * Of a mini-dimension a fact has two surrogate keys: the version of the history, looked up and
 * looked up again like that of any dimension, and the combination of that version, which whatever
 * writes the first one writes with it (wh_fact_role_values).  The values of a version change once
 * alone: when an inferred member of the history becomes its first version in place.  The load that
 * does it enters the surrogate key in walhouse.moved, and the next load of the fact finds its rows
 * by an index that the declaration made.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "fact/fact.h"
#include "fact/fact_private.h"

static WhFactRole *history_of(const WhFact *fact, const WhFactRole *mini);

void
wh_fact_follow_fills(WhFact *fact, WhLoad *load, WhCounts *counts)
{
	ListCell *cell;

	foreach(cell, fact->roles)
	{
		WhFactRole *mini = lfirst(cell);
		WhFactRole *history;
		StringInfoData sql;

		if (mini->history == 0)
			continue;
		history = history_of(fact, mini);
		if (wh_stage_fill_catalog(fact->stage, "wh_filled",
								  "SELECT DISTINCT m.sk FROM walhouse.moved m"
								  " WHERE m.dimension_id = $1 AND m.position > $2",
								  2,
								  (WhArg[]){WH_ARG_INT4(history->dimension->id),
											WH_ARG_LSN(fact->model->position)}) == 0)
			continue;
		initStringInfo(&sql);
		wh_sql_append(&sql, "SELECT m.sk, ");
		wh_dimension_combination_sql(&sql, mini->dimension, "m.sk");
		wh_sql_append(&sql, " AS combination FROM wh_filled m");
		wh_stage_fill(fact->stage, "wh_combination", sql.data, 0, NULL);
		counts->updated += wh_fact_update_rows(
			fact, load, wh_sql("%I", mini->column), "x.combination", "wh_combination x",
			wh_sql("f.%I = x.sk AND f.%I <> x.combination", history->column, mini->column));
	}
}

static WhFactRole *
history_of(const WhFact *fact, const WhFactRole *mini)
{
	return list_nth(fact->roles, mini->history - 1);
}

/* wh_fact_followed is a row's combination as it is when the fact has followed what $1, its
 * position, lies before. */
char *
wh_fact_followed(const WhFact *fact, const WhFactRole *mini, const char *alias)
{
	WhFactRole *history = history_of(fact, mini);
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(
		&sql,
		"CASE WHEN EXISTS (SELECT FROM walhouse.moved m WHERE m.dimension_id = %d AND m.sk"
		" = %s.%I AND m.position > $1) THEN ",
		history->dimension->id, alias, history->column);
	wh_dimension_combination_sql(&sql, mini->dimension, wh_sql("%s.%I", alias, history->column));
	wh_sql_append(&sql, " ELSE %s.%I END", alias, mini->column);
	return sql.data;
}
