/*
 * verify.c
 *		Compares a fact with a full recomputation at its own position.
 *
 * Expected are the query's rows at that position, each with the dimension versions that hold at
 * its event time by the rule itself: the greatest valid_from at or before it, -1 for a NULL key.
 * Found are the fact's rows.  They are paired by key, a second row of a key in the fact has no
 * partner, and pairs are compared by image in every column but load_id.  Rows that cannot be
 * placed are expected in walhouse.rejected, and counted there the same way.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "fact/fact.h"
#include "fact/fact_private.h"

static TimestampTz final_before(WhFact *fact);
static void append_expected(StringInfo sql, WhFact *fact);
static void append_found(StringInfo sql, WhFact *fact);
static void append_pairs(StringInfo sql, WhFact *fact);

void
wh_fact_verify(WhModel *model, WhVerdict *verdict)
{
	WhFact *fact = wh_fact_open(model);
	StringInfoData sql;
	WhArg args[3];
	WhRows *rows;

	args[0] = WH_ARG_LSN(model->position);
	args[1] = WH_ARG_REGCLASS(model->relid);
	args[2] = WH_ARG_TIMESTAMPTZ(final_before(fact));
	initStringInfo(&sql);
	append_expected(&sql, fact);
	append_found(&sql, fact);
	append_pairs(&sql, fact);
	wh_sql_append(&sql,
				  "SELECT pg_catalog.count(*) FILTER (WHERE p.is_expected),"
				  " pg_catalog.count(*) FILTER (WHERE p.is_found),"
				  " pg_catalog.count(*) FILTER (WHERE p.is_found IS NULL),"
				  " pg_catalog.count(*) FILTER (WHERE p.is_expected IS NULL),"
				  " pg_catalog.count(*) FILTER (WHERE p.is_found AND p.is_expected AND p.differs)"
				  " FROM p");
	rows = wh_spi_query_snapshot(sql.data, 3, args);
	verdict->expected = wh_rows_int8(rows, 0, 1);
	verdict->found = wh_rows_int8(rows, 0, 2);
	verdict->missing = wh_rows_int8(rows, 0, 3);
	verdict->unexpected = wh_rows_int8(rows, 0, 4);
	verdict->different = wh_rows_int8(rows, 0, 5);
}

/*
 * final_before returns the time before which the versions at event times are known: all of it, but
 * where a dimension went on while the fact was stopped, the feed clock at the fact's position.
 * Whichever version a later row points to is right then; the load that catches up points it again.
 */
static TimestampTz
final_before(WhFact *fact)
{
	ListCell *cell;

	foreach(cell, fact->roles)
	{
		WhModel *dimension = ((WhFactRole *) lfirst(cell))->dimension;

		if (dimension->feed != NULL && dimension->position != fact->model->position)
			return wh_fact_clock(fact->model);
	}
	return DT_NOEND;
}

/* e: the rows that the state gives; er: those of them that must be rejected. */
static void
append_expected(StringInfo sql, WhFact *fact)
{
	wh_sql_append(
		sql,
		"WITH e AS MATERIALIZED (SELECT s.*, true AS is_expected, 1::pg_catalog.int8 AS copy"
		" FROM (");
	wh_fact_state_rows(sql, fact);
	wh_sql_append(sql, ") s), er AS (SELECT j.*, true AS is_expected FROM (");
	wh_fact_rejected_rows(sql, fact, "e n WHERE n.reason IS NOT NULL");
	wh_sql_append(sql, ") j), ");
}

/* f: the fact's rows, those of one key numbered; fr: the rows that were rejected. */
static void
append_found(StringInfo sql, WhFact *fact)
{
	ListCell *cell;

	wh_sql_append(sql,
				  "f AS (SELECT true AS is_found, pg_catalog.row_number() OVER (PARTITION BY ");
	wh_model_column_list(sql, fact->model->key, "t");
	wh_sql_append(sql, ") AS copy");
	foreach(cell, fact->columns)
		wh_sql_append(sql, ", t.%I AS c%d", ((WhModelColumn *) lfirst(cell))->name,
					  foreach_current_index(cell) + 1);
	foreach(cell, fact->roles)
	{
		WhFactRole *role = lfirst(cell);

		/* Where the dimension has gone on, what it purged since is still to be followed. */
		if (wh_dimension_purges(role->dimension))
			wh_sql_append(
				sql,
				", COALESCE((SELECT g.new_sk FROM walhouse.purged g WHERE g.dimension_id = "
				"%d AND g.sk = t.%I AND g.position > $1), t.%I) AS sk%d",
				role->dimension->id, role->column, role->column, role->number);
		else
			wh_sql_append(sql, ", t.%I AS sk%d", role->column, role->number);
	}
	wh_sql_append(sql,
				  " FROM %T t), fr AS (SELECT true AS is_found, r.key, r.reason, r.row AS image"
				  " FROM walhouse.rejected r WHERE r.model = $2), ",
				  fact->model->relid);
}

static void
append_pairs(StringInfo sql, WhFact *fact)
{
	wh_sql_append(sql, "p AS (SELECT e.is_expected, f.is_found, ROW(");
	wh_fact_columns(sql, fact, "e");
	for (int i = 1; i <= list_length(fact->roles); i++)
		wh_sql_append(sql, ", CASE WHEN e.event_time < $3 THEN e.sk%d ELSE f.sk%d END", i, i);
	wh_sql_append(sql, ")::record OPERATOR(pg_catalog.*<>) ROW(");
	wh_fact_columns(sql, fact, "f");
	wh_fact_role_columns(sql, fact, "f");
	wh_sql_append(
		sql,
		")::record AS differs FROM (SELECT * FROM e WHERE e.reason IS NULL) e FULL JOIN f ON"
		" e.copy = f.copy AND ");
	wh_fact_key_match(sql, fact, "e", "f");
	wh_sql_append(
		sql,
		" UNION ALL SELECT er.is_expected, fr.is_found,"
		" (er.reason, er.image) IS DISTINCT FROM (fr.reason, fr.image) FROM er FULL JOIN fr ON"
		" er.key = fr.key) ");
}
