/*
 * purged.c
 *		Points rows elsewhere whose dimension version was purged.
 *
 * A dimension with on_delete => 'purge' leaves of a deleted member one row, the inferred member,
 * and says in walhouse.purged which surrogate keys it took with it.  The rows that point to those
 * are found by an index that the declaration made for it.  An inferred member's versions, should
 * the member come back, all begin later than what pointed to it, but for rows ahead of the clock,
 * which are looked up again as always (ahead.c).
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "fact/fact.h"
#include "fact/fact_private.h"

void
wh_fact_follow_purges(WhFact *fact, WhLoad *load, WhCounts *counts)
{
	ListCell *cell;

	foreach(cell, fact->roles)
	{
		WhFactRole *role = lfirst(cell);
		WhArg args[2];

		if (!wh_dimension_purges(role->dimension))
			continue;
		args[0] = WH_ARG_INT4(role->dimension->id);
		args[1] = WH_ARG_LSN(fact->model->position);
		if (wh_stage_fill_catalog(fact->stage, "wh_purged",
								  "SELECT p.sk, p.new_sk FROM walhouse.purged p"
								  " WHERE p.dimension_id = $1 AND p.position > $2",
								  2, args) == 0)
			continue;
		counts->updated +=
			wh_fact_update_rows(fact, load, wh_sql("%I", role->column), "x.new_sk", "wh_purged x",
								wh_sql("f.%I = x.sk", role->column));
		args[0] = WH_ARG_INT4(fact->model->id);
		args[1] = WH_ARG_INT4(role->number);
		wh_fact_catalog_narrow(fact,
							   "UPDATE walhouse.ahead a SET sk = x.new_sk FROM wh_purged x"
							   " WHERE a.model_id = $1 AND a.role = $2 AND a.sk = x.sk",
							   2, args);
	}
}
