/*
 * state.c
 *		The rows that a fact's query gives at a position: what builds insert and verify expects.
 */
#include "postgres.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "fact/fact.h"
#include "fact/fact_private.h"

void
wh_fact_state(StringInfo sql, const WhFact *fact)
{
	if (wh_fact_has_history(fact))
	{
		wh_sql_append(sql, "wh_state n");
		return;
	}
	wh_sql_append(sql, "(SELECT n.*");
	wh_fact_lags(sql, fact, "n");
	wh_sql_append(sql, " FROM (");
	wh_model_state_sql(sql, fact->model);
	wh_sql_append(sql, ") n %s) n", wh_fact_query_names(fact));
}

/* The reason is computed once, below an OFFSET 0, and no look-up is tried with an event time that
 * cannot be placed. */
void
wh_fact_state_rows(StringInfo sql, const WhFact *fact)
{
	char *instant = wh_fact_instant(fact, "n");
	ListCell *cell;

	wh_sql_append(sql, "SELECT n.*, CASE WHEN n.reason IS NULL THEN %s END AS event_time", instant);
	foreach(cell, fact->roles)
	{
		WhFactRole *role = lfirst(cell);

		wh_sql_append(sql, ", CASE WHEN n.reason IS NULL THEN %s END AS sk%d",
					  wh_fact_lookup(fact, role, "n", instant), role->number);
	}
	wh_sql_append(sql, " FROM (SELECT n.*, %s AS reason FROM ", wh_fact_row_reason(fact, "n"));
	wh_fact_state(sql, fact);
	wh_sql_append(sql, " OFFSET 0) n");
}
