/*
 * moved.c
 *		Looks up again the rows whose dimension version has lost their time to another.
 *
 * Where the versions of a dimension hold since an effective column, a late change takes times that
 * have passed from one version and gives them to another.  Each load of the dimension notes in
 * walhouse.moved which surrogate keys have lost which times.  The rows that point to such a key, at
 * such a time, are found by an index on both that the declaration made for it, and are looked up
 * among the versions that there are now; so it does not matter how many loads of the dimension lie
 * between, and rows that a load has just written are no harm.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "fact/fact.h"
#include "fact/fact_private.h"

static bool stage_ranges(WhFact *fact, const WhFactRole *role);
static char *bound(const WhFact *fact, const char *column, int days);
static uint64 stage_points(WhFact *fact, const WhFactRole *role);

void
wh_fact_follow_moves(WhFact *fact, WhLoad *load, WhCounts *counts)
{
	ListCell *cell;

	foreach(cell, fact->roles)
	{
		WhFactRole *role = lfirst(cell);
		StringInfoData match;

		if (!wh_dimension_moves(role->dimension) || !stage_ranges(fact, role) ||
			stage_points(fact, role) == 0)
			continue;
		initStringInfo(&match);
		wh_fact_row_match(&match, fact, "c");
		counts->updated += wh_fact_update_rows(fact, load, wh_sql("%I", role->column), "x.sk",
											   "wh_point x", match.data);
	}
}

/* stage_ranges fills wh_range with the surrogate keys and the event times that they have lost since
 * the fact's position. */
static bool
stage_ranges(WhFact *fact, const WhFactRole *role)
{
	WhArg args[2];

	args[0] = WH_ARG_INT4(role->dimension->id);
	args[1] = WH_ARG_LSN(fact->model->position);
	return wh_stage_fill_catalog(
			   fact->stage, "wh_range",
			   wh_sql("SELECT m.sk, %s AS from_time, %s AS to_time FROM walhouse.moved m"
					  " WHERE m.dimension_id = $1 AND m.position > $2",
					  bound(fact, "from_time", -1), bound(fact, "to_time", 1)),
			   2, args) > 0;
}

/*
 * bound gives a bound of a range as a value of the event time's type.  Local times come twice or
 * not at all where the clocks change, so for them it is a day further out: the look-up decides.
 * It is kept from times that have no local one.
 */
static char *
bound(const WhFact *fact, const char *column, int days)
{
	char *local;

	if (fact->event_type == TIMESTAMPTZOID)
		return wh_sql("m.%I", column);
	local = wh_sql("(pg_catalog.timezone(%s, GREATEST(LEAST(m.%I, '200000-01-01 00:00+00'), "
				   "'4000-01-01 00:00+00 BC')) + '%d day'::pg_catalog.interval)",
				   fact->zone, column, days);
	return wh_sql("%s::%s", local, wh_fact_type(fact->event_type, -1));
}

/* stage_points fills wh_point (c…, sk) with the rows in these ranges whose look-up gives another
 * version. */
static uint64
stage_points(WhFact *fact, const WhFactRole *role)
{
	const char *event_time = wh_sql_identifier(wh_fact_column(fact, fact->event_time)->name);
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	wh_sql_append(&sql,
				  "SELECT * FROM (SELECT x.*, %s AS sk FROM (SELECT m.sk AS old_sk",
				  wh_fact_lookup(fact, role, "x", wh_fact_instant(fact, "x")));
	foreach(cell, fact->columns)
		wh_sql_append(&sql, ", f.%I AS c%d", ((WhModelColumn *) lfirst(cell))->name,
					  foreach_current_index(cell) + 1);
	wh_sql_append(&sql,
				  " FROM wh_range m JOIN %T f ON f.%I = m.sk AND f.%s >= m.from_time AND f.%s <= "
				  "m.to_time OFFSET 0) x OFFSET 0) x WHERE x.sk <> x.old_sk",
				  fact->model->relid, role->column, event_time, event_time);
	return wh_fact_fill_narrow(fact, "wh_point", sql.data);
}
