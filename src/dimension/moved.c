/*
 * moved.c
 *		Tells facts which versions of a dimension have lost which times.
 *
 * A fact row points to the version with the greatest valid_from at or before its event time.  Where
 * a load puts a version between two others, or takes one away, times that have passed change hands,
 * and so must the rows of facts.  They change hands only where a version lost them; so each load
 * appends to walhouse.moved, for every version that was there before it, the times that it lost.
 * The next load of each fact finds its rows of that surrogate key and time, and looks them up again
 * (fact/moved.c).  Which version they shall point to then does not matter here: a fact that was
 * stopped during several loads looks up once, among the versions that there are.
 *
 * Entries go when all facts have passed them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

static void forget_passed(const WhModel *dimension);

bool
wh_dimension_moves(const WhModel *dimension)
{
	return wh_dimension_is_effective(dimension);
}

void
wh_dimension_move_facts(const WhModel *dimension, const WhStage *stage, const char *name,
						XLogRecPtr position)
{
	if (!wh_dimension_has_facts(dimension) || wh_stage_count(stage, name) == 0)
		return;
	forget_passed(dimension);
	wh_stage_catalog(
		stage,
		wh_sql("INSERT INTO walhouse.moved (dimension_id, position, sk, from_time, to_time) "
			   "SELECT $1, $2, m.sk, m.from_time, m.to_time FROM %s m",
			   name),
		2, (WhArg[]){WH_ARG_INT4(dimension->id), WH_ARG_LSN(position)});
}

/* forget_passed removes the entries that every fact has followed; those that wait for a build will
 * look up among the versions of then. */
static void
forget_passed(const WhModel *dimension)
{
	wh_catalog_execute(
		"DELETE FROM walhouse.moved v WHERE v.dimension_id = $1 AND NOT EXISTS ("
		"SELECT FROM walhouse.fact_dimension f JOIN walhouse.model m ON m.model_id = f.model_id "
		"WHERE f.dimension_id = v.dimension_id AND m.state NOT IN ('new', 'rebuild') AND COALESCE(("
		"SELECT l.to_lsn FROM walhouse.load_model l WHERE l.model_id = f.model_id "
		"ORDER BY l.load_id DESC LIMIT 1), '0/0') < v.position)",
		1, (WhArg[]){WH_ARG_INT4(dimension->id)});
}
