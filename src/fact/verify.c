/*
 * verify.c
 *		Compares a fact with a full recomputation at its own position.
 *
 * Expected are the query's rows at that position, each with the dimension versions that hold at
 * its event time by the rule itself: the greatest valid_from at or before it, -1 for a NULL key.
 * Found are the fact's rows.  They are paired by key, a second row of a key in the fact has no
 * partner, and pairs are compared by image in every column but load_id.  Rows that cannot be
 * placed are expected in walhouse.rejected, and counted there the same way.
 *
 * Of a sample (model/sample.c) the fact's rows are probed by key and event time, those that are
 * expected and those of the rows that were drawn: a second row of a key in another partition is
 * found when it is drawn itself.  A tenth of the keys are those of rejected rows, where there are
 * any.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "fact/fact.h"
#include "fact/fact_private.h"

/* Of the rejected rows so many are what a sample is drawn from. */
#define REJECTED_LOOKED_AT 10000

static void draw_keys(WhFact *fact, WhStage *stage, int32 count);
static void stage_sample(WhFact *fact, WhStage *stage, WhVerdict *verdict);
static void stage_rows(WhFact *fact, WhStage *stage, const WhVerdict *verdict);
static char *is_replayed(const WhFact *fact, const WhVerdict *verdict);
static List *paired_by(const WhFact *fact);
static void stage_rejected(WhFact *fact, WhStage *stage);
static TimestampTz final_before(WhFact *fact);
static void append_expected(StringInfo sql, WhFact *fact);
static void append_found(StringInfo sql, WhFact *fact);
static void append_pairs(StringInfo sql, WhFact *fact);
static void append_expected_key(StringInfo sql, const WhFact *fact, const WhFactRole *role);

void
wh_fact_verify(WhModel *model, WhVerdict *verdict)
{
	WhFact *fact = wh_fact_open(model);
	WhStage *stage = wh_stage_create_snapshot();
	StringInfoData sql;
	WhArg args[3];
	WhRows *rows;

	wh_fact_tell_horizon(fact);
	if (verdict->sample > 0)
	{
		draw_keys(fact, stage, verdict->sample);
		stage_sample(fact, stage, verdict);
	}
	else if (wh_fact_has_history(fact))
		wh_fact_stage_state(fact, stage, verdict->horizon, verdict->position);
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
	rows = wh_stage_query(stage, sql.data, 3, args);
	wh_stage_drop(stage);
	verdict->expected = wh_rows_int8(rows, 0, 1);
	verdict->found = wh_rows_int8(rows, 0, 2);
	verdict->missing = wh_rows_int8(rows, 0, 3);
	verdict->unexpected = wh_rows_int8(rows, 0, 4);
	verdict->different = wh_rows_int8(rows, 0, 5);
}

/* draw_keys draws a sample of keys, also from the rows that were rejected. */
static void
draw_keys(WhFact *fact, WhStage *stage, int32 count)
{
	StringInfoData also;
	StringInfoData more;
	ListCell *cell;

	(void) wh_stage_fill_catalog(
		stage, "wh.refused",
		wh_sql("SELECT r.key FROM (SELECT r.key FROM walhouse.fact_rejected r WHERE r.model_id = "
			   "$1 LIMIT %d) r ORDER BY pg_catalog.random() LIMIT $2",
			   REJECTED_LOOKED_AT),
		2, (WhArg[]){WH_ARG_INT4(fact->model->id), WH_ARG_INT4(count / 10)});
	initStringInfo(&also);
	initStringInfo(&more);
	foreach(cell, fact->key)
		wh_sql_append(&also, "%sr.key[%d]::%s", foreach_current_index(cell) > 0 ? ", " : "SELECT ",
					  foreach_current_index(cell) + 1,
					  wh_fact_type(wh_fact_column(fact, lfirst_int(cell))->type, -1));
	foreach(cell, fact->identity)
	{
		WhModelColumn *column = wh_fact_column(fact, lfirst_int(cell));

		wh_sql_append(&also, ", NULL::%s", wh_fact_type(column->type, -1));
		wh_sql_append(&more, ", d.%I AS wh_%d", column->name, lfirst_int(cell));
	}
	wh_sql_append(&also, " FROM \"wh.refused\" r");
	count -= wh_stage_count(stage, "wh.refused");
	wh_model_sample(fact->model, stage, count, more.data, "true", also.data);
}

/* stage_sample stages what there should be of the keys, and what there is. */
static void
stage_sample(WhFact *fact, WhStage *stage, WhVerdict *verdict)
{
	XLogRecPtr position = fact->model->position;
	int level = wh_settings_push_joins(WH_JOINS_WHOLE);
	StringInfoData sql;

	wh_settings_avoid_scans();
	if (wh_fact_has_history(fact))
	{
		verdict->horizon =
			wh_model_sample_start(fact->model, stage, verdict->horizon, position);
		wh_fact_stage_state(fact, stage, verdict->horizon, position);
	}
	else
		wh_model_stage_events(fact->model, stage, position, position);
	initStringInfo(&sql);
	wh_fact_state_rows(&sql, fact);
	(void) wh_stage_fill(stage, "wh_expected", sql.data, 1, (WhArg[]){WH_ARG_LSN(position)});
	wh_settings_pop(level);
	level = wh_settings_push_joins(WH_JOINS_PROBE);
	wh_settings_avoid_scans();
	stage_rows(fact, stage, verdict);
	stage_rejected(fact, stage);
	wh_settings_pop(level);
}

/* stage_rows stages the fact's rows at the keys and event times that are expected or drawn. */
static void
stage_rows(WhFact *fact, WhStage *stage, const WhVerdict *verdict)
{
	StringInfoData expected;
	StringInfoData drawn;
	StringInfoData match;
	ListCell *cell;

	initStringInfo(&expected);
	initStringInfo(&drawn);
	initStringInfo(&match);
	foreach(cell, fact->identity)
	{
		int position = lfirst_int(cell);
		WhModelColumn *column = wh_fact_column(fact, position);
		const char *comma = foreach_current_index(cell) > 0 ? ", " : "";

		wh_sql_append(&expected, "%se.c%d", comma, position);
		wh_sql_append(&drawn, "%sd.wh_%d", comma, position);
		wh_sql_append(&match, "%st.%I %s x.c%d", foreach_current_index(cell) > 0 ? " AND " : "",
					  column->name, wh_model_equality(column->type), position);
	}
	(void) wh_stage_fill(
		stage, "wh.rows",
		wh_sql("SELECT t.* FROM (SELECT %s FROM wh_expected e WHERE e.reason IS NULL UNION SELECT "
			   "%s FROM \"wh.drawn\" d WHERE %s) x CROSS JOIN LATERAL (SELECT t.* FROM %T t WHERE "
			   "%s OFFSET 0) t",
			   expected.data, drawn.data, is_replayed(fact, verdict), fact->model->relid,
			   match.data),
		0, NULL);
}

/* is_replayed is the condition for drawn rows that the replay gives, too: not of bookings that are
 * older than it. */
static char *
is_replayed(const WhFact *fact, const WhVerdict *verdict)
{
	if (!fact->books || verdict->horizon == fact->model->history_start)
		return "true";
	return wh_sql("d.wh_%d > %X", fact->booked_lsn, verdict->horizon);
}

/* stage_rejected stages what walhouse.rejected has of the keys, as the owner of the catalog: the
 * view cannot be probed. */
static void
stage_rejected(WhFact *fact, WhStage *stage)
{
	StringInfoData drawn;
	ListCell *cell;

	initStringInfo(&drawn);
	foreach(cell, fact->key)
		wh_sql_append(&drawn, "%sd.%I::pg_catalog.text",
					  foreach_current_index(cell) > 0 ? ", " : "",
					  wh_fact_column(fact, lfirst_int(cell))->name);
	wh_fact_stage_rejected(fact, stage,
						   wh_sql("SELECT %s AS key FROM wh_expected e UNION SELECT ARRAY[%s] "
								  "FROM \"wh.drawn\" d",
								  wh_fact_key_text(fact, "e"), drawn.data));
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

/* paired_by lists what a row that is expected and one that is found have in common: the key; of
 * bookings all that identifies one. */
static List *
paired_by(const WhFact *fact)
{
	return fact->books ? fact->identity : fact->key;
}

/* e: the rows that the state gives; er: those of them that must be rejected. */
static void
append_expected(StringInfo sql, WhFact *fact)
{
	wh_sql_append(
		sql,
		"WITH e AS MATERIALIZED (SELECT s.*, true AS is_expected, 1::pg_catalog.int8 AS copy"
		" FROM (");
	if (fact->model->sampled)
		wh_sql_append(sql, "SELECT * FROM wh_expected");
	else
		wh_fact_state_rows(sql, fact);
	wh_sql_append(sql, ") s), er AS (SELECT j.*, true AS is_expected FROM (");
	wh_fact_rejected_rows(sql, fact, "e n WHERE n.reason <> '" WH_FACT_RETIRED "'");
	wh_sql_append(sql, ") j), ");
}

/* f: the fact's rows, those of one key numbered; fr: the rows that were rejected. */
static void
append_found(StringInfo sql, WhFact *fact)
{
	ListCell *cell;

	wh_sql_append(sql,
				  "f AS (SELECT true AS is_found, pg_catalog.row_number() OVER (PARTITION BY ");
	foreach(cell, paired_by(fact))
		wh_sql_append(sql, "%st.%I", foreach_current_index(cell) > 0 ? ", " : "",
					  wh_fact_column(fact, lfirst_int(cell))->name);
	wh_sql_append(sql, " ORDER BY t.%I) AS copy", wh_fact_column(fact, fact->event_time)->name);
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
		else if (role->history != 0)
			wh_sql_append(sql, ", %s AS sk%d", wh_fact_followed(fact, role, "t"), role->number);
		else
			wh_sql_append(sql, ", t.%I AS sk%d", role->column, role->number);
	}
	wh_sql_append(sql,
				  " FROM %s t WHERE %s), fr AS (SELECT true AS is_found, r.key, r.reason, r.row AS"
				  " image FROM %s), ",
				  wh_model_rows(fact->model),
				  fact->horizon == NULL ? "true" : wh_fact_is_kept(fact, "t"),
				  fact->model->sampled ? "wh_rejected r" :
										 "walhouse.rejected r WHERE r.model = $2");
}

static void
append_pairs(StringInfo sql, WhFact *fact)
{
	ListCell *cell;

	wh_sql_append(sql, "p AS (SELECT e.is_expected, f.is_found, ROW(");
	wh_fact_columns(sql, fact, "e");
	foreach(cell, fact->roles)
		append_expected_key(sql, fact, lfirst(cell));
	wh_sql_append(sql, ")::record OPERATOR(pg_catalog.*<>) ROW(");
	wh_fact_columns(sql, fact, "f");
	wh_fact_role_columns(sql, fact, "f");
	wh_sql_append(
		sql,
		")::record AS differs FROM (SELECT * FROM e WHERE e.reason IS NULL) e FULL JOIN f ON"
		" e.copy = f.copy AND ");
	wh_fact_match(sql, fact, paired_by(fact), "e", "f");
	wh_sql_append(
		sql,
		" UNION ALL SELECT er.is_expected, fr.is_found,"
		" (er.reason, er.image) IS DISTINCT FROM (fr.reason, fr.image) FROM er FULL JOIN fr ON"
		" er.key = fr.key) ");
}

/*
 * append_expected_key: the surrogate key that a row should have.  Where the dimension went on while
 * the fact was stopped it is not known: from the clock on, or where versions moved since; then what
 * it has is right.
 */
static void
append_expected_key(StringInfo sql, const WhFact *fact, const WhFactRole *role)
{
	const WhModel *dimension = role->dimension;
	int number = role->number;

	wh_sql_append(sql, ", CASE WHEN ");
	if (wh_dimension_is_effective(dimension))
		wh_sql_append(sql, "true");
	else
		wh_sql_append(sql, "e.event_time < $3");
	if (wh_dimension_moves(dimension) && dimension->position != fact->model->position)
		wh_sql_append(
			sql,
			" AND NOT EXISTS (SELECT FROM walhouse.moved g WHERE g.dimension_id = %d AND g.sk = "
			"f.sk%d AND g.position > $1 AND g.from_time <= e.event_time AND e.event_time < "
			"g.to_time)",
			dimension->id, number);
	wh_sql_append(sql, " THEN e.sk%d ELSE f.sk%d END", number, number);
}
