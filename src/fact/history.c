/*
 * history.c
 *		Facts whose rows depend on what came between: bookings and milestones.
 *
 * Other facts look at the two ends of a range; these read every event in it.  What is known of the
 * keys of a range is one stream in commit order ("wh_stream"): the row that the query gave before
 * it, where there was one, and then what each source transaction did to the key.
 *
 * Bookings: where the image of a key differs from the one before, that one is booked with its
 * measures negated, and the new one as it is, both at the clock and end LSN of the transaction.
 * Images that cannot be placed are not booked and so not reversed.
 *
 * Milestones: the first event in the present life of a key, which begins after its last dead
 * event, at which a boolean column became true.  The past of a key stands in its row: in the fact,
 * or in walhouse.fact_rejected.
 *
 * A range's result is what the lists of a load hold (wh_new, wh_old).  A whole history, from where
 * the log or the model begins, is replayed in the same way into wh_state: for builds, verify() and
 * as_known().  Images that the query cannot compute are passed over (wh_model_guard).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/base.h"
#include "fact/fact.h"
#include "fact/fact_private.h"

/* A range of the log whose events are read. */
typedef struct Range
{
	WhFact *fact;
	WhStage *stage;
	XLogRecPtr from;
	XLogRecPtr to;
} Range;

static void read_range(void *arg);
static void read_whole(void *arg);
static void stage_events(const Range *range);
static void stage_stream(const Range *range, bool begins, TimestampTz clock);
static void keep_touched(const Range *range);
static void stage_past(const Range *range);
static void stage_bookings(const WhFact *fact, WhStage *stage);
static void append_booking(StringInfo sql, const WhFact *fact, bool is_reversal);
static void append_refused(StringInfo sql, const WhFact *fact);
static void stage_reached(const WhFact *fact, WhStage *stage);
static void add_own_bookings(const Range *range);
static void adopt_milestones(const Range *range);
static TimestampTz start_clock(const WhModel *model);
static char *key_columns(const WhFact *fact, const char *alias);
static void append_milestones(StringInfo sql, const WhFact *fact, const char *format);

bool
wh_fact_has_history(const WhFact *fact)
{
	return fact->books || fact->milestones != NIL;
}

/* wh_fact_read_history fills wh_new and wh_old of the range up to load->to, as
 * wh_fact_read_changes promises. */
void
wh_fact_read_history(WhFact *fact, WhLoad *load)
{
	WhStage *stage = fact->stage;
	Range range = {fact, stage, fact->model->position, load->to};
	StringInfoData sql;
	int level;

	wh_model_guard(fact->model, read_range, &range);
	if (wh_stage_count(stage, "wh_event") == 0)
		return;
	level = wh_settings_push_joins(WH_JOINS_WHOLE);
	keep_touched(&range);
	(void) wh_stage_fill(stage, "wh_old",
						 fact->books ? "SELECT * FROM wh_seed s WHERE s.reason IS NOT NULL" :
									   "SELECT * FROM wh_seed s",
						 0, NULL);
	stage_past(&range);
	stage_stream(&range, false, 0);
	initStringInfo(&sql);
	if (fact->books)
	{
		stage_bookings(fact, stage);
		wh_sql_append(&sql, "SELECT true AS live, b.* FROM wh_booking b");
	}
	else
	{
		stage_reached(fact, stage);
		wh_sql_append(&sql, "SELECT n.live, ");
		wh_fact_query_columns(&sql, fact, "n");
		append_milestones(&sql, fact, ", n.c%d");
		wh_fact_lags(&sql, fact, "n");
		wh_sql_append(&sql, ", n.reason FROM wh_reached n");
	}
	(void) wh_stage_fill(stage, "wh_new", sql.data, 0, NULL);
	wh_settings_pop(level);
}

/*
 * wh_fact_stage_state fills wh_state (c…) with the rows that there should be at `to`, those that
 * cannot be placed among them, replayed from `from` on: where the history of the model begins, or
 * later; then what was before is taken from the model's own rows (of a sample, bookings of before
 * are left out).
 */
void
wh_fact_stage_state(WhFact *fact, WhStage *stage, XLogRecPtr from, XLogRecPtr to)
{
	bool is_new = XLogRecPtrIsInvalid(fact->model->position);
	bool begins = is_new || from == fact->model->history_start;
	Range range = {fact, stage, from, to};
	int level = wh_settings_push_joins(WH_JOINS_WHOLE);
	StringInfoData sql;

	if (is_new)
	{
		fact->start = from;
		fact->start_clock = wh_changelog_clock(fact->model->feed, from);
	}
	else
		fact->start_clock = start_clock(fact->model);
	wh_model_guard(fact->model, read_whole, &range);
	stage_stream(&range, begins, fact->start_clock);
	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT ");
	if (fact->books)
	{
		stage_bookings(fact, stage);
		wh_fact_columns(&sql, fact, "b");
		wh_sql_append(&sql, " FROM wh_booking b");
		(void) wh_stage_fill(stage, "wh_state", sql.data, 0, NULL);
		if (!begins && !fact->model->sampled)
			add_own_bookings(&range);
	}
	else
	{
		stage_reached(fact, stage);
		if (!begins)
			adopt_milestones(&range);
		wh_fact_query_columns(&sql, fact, "n");
		append_milestones(&sql, fact, ", n.c%d");
		wh_fact_lags(&sql, fact, "n");
		wh_sql_append(&sql, " FROM wh_reached n WHERE n.live");
		(void) wh_stage_fill(stage, "wh_state", sql.data, 0, NULL);
	}
	wh_settings_pop(level);
}

/* wh_fact_begin_history writes where the history begins that a build has replayed, and the feed
 * clock there. */
void
wh_fact_begin_history(const WhFact *fact)
{
	wh_model_set_history_start(fact->model->id, fact->start);
	wh_catalog_execute("UPDATE walhouse.model SET options = options OPERATOR(pg_catalog.||)"
					   " pg_catalog.jsonb_build_object('start_clock', $2) WHERE model_id = $1",
					   2,
					   (WhArg[]){WH_ARG_INT4(fact->model->id),
								 WH_ARG_TIMESTAMPTZ(fact->start_clock)});
}

static TimestampTz
start_clock(const WhModel *model)
{
	WhRows *rows = wh_spi_query("SELECT ($1 OPERATOR(pg_catalog.->>) 'start_clock')::timestamptz",
								1, (WhArg[]){WH_ARG_JSONB(JsonbPGetDatum(model->options))});
	bool isnull;
	Datum value = wh_rows_datum(rows, 0, 1, &isnull);

	return isnull ? DT_NOBEGIN : DatumGetTimestampTz(value);
}

/* read_range fills wh_event with the events of a range, and wh_seed with the rows before it. */
static void
read_range(void *arg)
{
	const Range *range = arg;
	const WhFact *fact = range->fact;
	int level = wh_settings_push_joins(WH_JOINS_PROBE);
	StringInfoData sql;

	wh_model_stage_history(fact->model, range->stage, range->from, range->to);
	stage_events(range);
	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT s.*, %s AS reason, %s AS row_key, %s AS key FROM (",
				  wh_fact_reason(fact, "s"),
				  fact->books ? "NULL::pg_catalog.text[]" : wh_fact_row_text(fact, "s"),
				  wh_fact_key_text(fact, "s"));
	wh_model_before_sql(&sql, fact->model);
	wh_sql_append(&sql, ") s %s", wh_fact_query_names(fact));
	(void) wh_stage_fill(range->stage, "wh_seed", sql.data, 2,
						 (WhArg[]){WH_ARG_LSN(range->from), WH_ARG_LSN(range->to)});
	wh_settings_pop(level);
}

/* read_whole does the same for the state at the beginning of a range. */
static void
read_whole(void *arg)
{
	const Range *range = arg;
	const WhFact *fact = range->fact;
	StringInfoData sql;

	wh_model_stage_events(fact->model, range->stage, range->from, range->to);
	wh_model_check_state(fact->model, range->stage, range->from);
	stage_events(range);
	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT s.*, %s AS reason", wh_fact_reason(fact, "s"));
	append_milestones(&sql, fact, ", NULL::pg_catalog.timestamptz AS m%d");
	wh_sql_append(&sql, " FROM (");
	wh_model_state_sql(&sql, fact->model);
	wh_sql_append(&sql, ") s %s", wh_fact_query_names(fact));
	(void) wh_stage_fill(range->stage, "wh_seed", sql.data, 1,
						 (WhArg[]){WH_ARG_LSN(range->from)});
}

static void
stage_events(const Range *range)
{
	const WhFact *fact = range->fact;
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT e.*, CASE WHEN e.live THEN %s END AS reason FROM (",
				  wh_fact_reason(fact, "e"));
	wh_model_events_sql(&sql, fact->model);
	wh_sql_append(&sql, ") e (lsn, clock, live, %s", wh_fact_query_names(fact) + 1);
	(void) wh_stage_fill(range->stage, "wh_event", sql.data, 2,
						 (WhArg[]){WH_ARG_LSN(range->from), WH_ARG_LSN(range->to)});
}

/* keep_touched takes from wh_seed the rows of keys that no event concerns: a walk over several
 * tables finds too much. */
static void
keep_touched(const Range *range)
{
	StringInfoData sql;

	if (range->fact->model->join == NULL || wh_stage_count(range->stage, "wh_seed") == 0)
		return;
	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT s.* FROM wh_seed s WHERE EXISTS (SELECT FROM wh_event e WHERE ");
	wh_fact_key_match(&sql, range->fact, "e", "s");
	wh_sql_append(&sql, ")");
	(void) wh_stage_fill(range->stage, "wh_seed", sql.data, 0, NULL);
}

/* stage_past adds to the rows of wh_seed the milestones that they have reached: m<position>. */
static void
stage_past(const Range *range)
{
	const WhFact *fact = range->fact;
	StringInfoData sql;
	ListCell *cell;

	if (fact->milestones == NIL)
		return;
	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT x.key");
	foreach(cell, fact->milestones)
		wh_sql_append(&sql, ", f.%I AS m%d", ((WhFactMilestone *) lfirst(cell))->name,
					  ((WhFactMilestone *) lfirst(cell))->position);
	wh_sql_append(&sql, " FROM wh_seed x JOIN %T f ON ", fact->model->relid);
	wh_fact_row_match(&sql, fact, "c");
	wh_sql_append(&sql, " WHERE x.reason IS NULL");
	(void) wh_fact_fill_narrow(range->fact, "wh_past", sql.data);
	wh_fact_stage_rejected(fact, range->stage,
						   "SELECT s.key FROM wh_seed s WHERE s.reason IS NOT NULL");

	resetStringInfo(&sql);
	wh_sql_append(&sql, "SELECT s.*");
	foreach(cell, fact->milestones)
	{
		WhFactMilestone *milestone = lfirst(cell);

		wh_sql_append(&sql,
					  ", COALESCE(p.m%d, (r.row OPERATOR(pg_catalog.->>) %L)::"
					  "pg_catalog.timestamptz) AS m%d",
					  milestone->position, milestone->name, milestone->position);
	}
	wh_sql_append(&sql, " FROM wh_seed s LEFT JOIN wh_past p ON p.key OPERATOR(pg_catalog.=) s.key"
						" LEFT JOIN wh_rejected r ON r.key OPERATOR(pg_catalog.=) s.key");
	(void) wh_stage_fill(range->stage, "wh_seed", sql.data, 0, NULL);
}

/*
 * stage_stream fills wh_stream: lsn, clock, live, is_event (false: the row before the range),
 * c… of the query, reason, m… of the row before.  Where a history of bookings begins, its state
 * is booked like an event.
 */
static void
stage_stream(const Range *range, bool begins, TimestampTz clock)
{
	const WhFact *fact = range->fact;
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT $1 AS lsn, $2 AS clock, true AS live, %s AS is_event, ",
				  begins && fact->books ? "true" : "false");
	wh_fact_query_columns(&sql, fact, "s");
	wh_sql_append(&sql, ", s.reason");
	append_milestones(&sql, fact, ", s.m%d");
	wh_sql_append(&sql, " FROM wh_seed s UNION ALL SELECT e.lsn, e.clock, e.live, true, ");
	wh_fact_query_columns(&sql, fact, "e");
	wh_sql_append(&sql, ", e.reason");
	append_milestones(&sql, fact, ", NULL");
	wh_sql_append(&sql, " FROM wh_event e");
	(void) wh_stage_fill(range->stage, "wh_stream", sql.data, 2,
						 (WhArg[]){WH_ARG_LSN(range->from), WH_ARG_TIMESTAMPTZ(clock)});
	wh_stage_forget(range->stage, "wh_seed");
	wh_stage_forget(range->stage, "wh_event");
}

/* stage_bookings fills wh_booking (c…, reason) with what the events of wh_stream book, and with
 * the last images that cannot be placed. */
static void
stage_bookings(const WhFact *fact, WhStage *stage)
{
	StringInfoData sql;
	StringInfoData row;
	StringInfoData was;

	initStringInfo(&sql);
	initStringInfo(&row);
	initStringInfo(&was);
	wh_sql_append(&sql, "SELECT s.*, COALESCE(pg_catalog.lag(s.live) OVER o, false) AS was_live, "
						"pg_catalog.lag(s.reason) OVER o AS was_reason");
	for (int i = 1; i <= fact->query_width; i++)
	{
		wh_sql_append(&sql, ", pg_catalog.lag(s.c%d) OVER o AS p%d", i, i);
		wh_sql_append(&was, "%sx.p%d", i > 1 ? ", " : "", i);
	}
	wh_fact_query_columns(&row, fact, "x");
	wh_sql_append(&sql, " FROM wh_stream s WINDOW o AS (PARTITION BY %s ORDER BY s.lsn)",
				  key_columns(fact, "s"));
	(void) wh_stage_fill(
		stage, "wh_step",
		wh_sql("SELECT x.* FROM (%s) x WHERE x.is_event AND (x.live <> x.was_live OR x.live AND "
			   "ROW(%s)::record OPERATOR(pg_catalog.*<>) ROW(%s)::record)",
			   sql.data, row.data, was.data),
		0, NULL);
	resetStringInfo(&sql);
	append_booking(&sql, fact, false);
	wh_sql_append(&sql, " WHERE x.live AND x.reason IS NULL UNION ALL ");
	append_booking(&sql, fact, true);
	wh_sql_append(&sql, " WHERE x.was_live AND x.was_reason IS NULL UNION ALL ");
	append_refused(&sql, fact);
	(void) wh_stage_fill(stage, "wh_booking", sql.data, 0, NULL);
	wh_stage_forget(stage, "wh_step");
	wh_stage_forget(stage, "wh_stream");
}

/* append_booking appends a SELECT of bookings from the steps x. */
static void
append_booking(StringInfo sql, const WhFact *fact, bool is_reversal)
{
	wh_sql_append(sql, "SELECT ");
	for (int i = 1; i <= fact->query_width; i++)
		wh_sql_append(sql, "%sx.%s%d AS c%d, ",
					  is_reversal && list_member_int(fact->measures, i) ?
						  "OPERATOR(pg_catalog.-) " :
						  "",
					  is_reversal ? "p" : "c", i, i);
	wh_sql_append(sql,
				  "x.clock AS c%d, x.lsn AS c%d, %s AS c%d, NULL::pg_catalog.text AS reason FROM "
				  "wh_step x",
				  fact->booked_at, fact->booked_lsn, is_reversal ? "true" : "false",
				  fact->is_reversal);
}

/* append_refused appends a SELECT of the last images that cannot be placed. */
static void
append_refused(StringInfo sql, const WhFact *fact)
{
	char *key = key_columns(fact, "s");

	wh_sql_append(sql, "SELECT ");
	wh_fact_query_columns(sql, fact, "l");
	wh_sql_append(sql,
				  ", l.clock, l.lsn, false, l.reason FROM (SELECT DISTINCT ON (%s) s.* FROM "
				  "wh_stream s ORDER BY %s, s.lsn DESC) l WHERE l.live AND l.reason IS NOT NULL",
				  key, key);
}

/*
 * stage_reached fills wh_reached: of each key its last image (live, c…, reason) with its
 * milestones (c…), and is_old: it lives since before the range.
 */
static void
stage_reached(const WhFact *fact, WhStage *stage)
{
	char *key = key_columns(fact, "x");
	StringInfoData rises;
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&rises);
	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT DISTINCT ON (%s) x.live, ", key);
	wh_fact_query_columns(&sql, fact, "x");
	wh_sql_append(&sql, ", x.reason, pg_catalog.bool_or(NOT x.is_event) OVER w AS is_old");
	foreach(cell, fact->milestones)
	{
		WhFactMilestone *milestone = lfirst(cell);
		int position = milestone->position;

		wh_sql_append(&rises,
					  ", x.is_event AND x.c%d IS TRUE AND pg_catalog.lag(x.c%d) OVER o IS NOT "
					  "TRUE AS rises%d",
					  milestone->flag, milestone->flag, position);
		wh_sql_append(&sql,
					  ", COALESCE(pg_catalog.max(x.m%d) OVER w, pg_catalog.min(x.clock) FILTER "
					  "(WHERE x.rises%d) OVER w) AS c%d",
					  position, position, position);
	}
	wh_sql_append(
		&sql,
		" FROM (SELECT x.*%s FROM (SELECT x.*, pg_catalog.count(*) FILTER (WHERE NOT "
		"x.live) OVER (PARTITION BY %s ORDER BY x.lsn) AS life FROM wh_stream x) x WINDOW "
		"o AS (PARTITION BY %s, x.life ORDER BY x.lsn)) x WINDOW w AS (PARTITION BY %s, "
		"x.life) ORDER BY %s, x.lsn DESC",
		rises.data, key, key, key, key);
	(void) wh_stage_fill(stage, "wh_reached", sql.data, 0, NULL);
	wh_stage_forget(stage, "wh_stream");
}

/* add_own_bookings adds to wh_state what the fact has of before the range. */
static void
add_own_bookings(const Range *range)
{
	const WhFact *fact = range->fact;
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT ");
	foreach(cell, fact->columns)
		wh_sql_append(&sql, "%st.%I", foreach_current_index(cell) > 0 ? ", " : "",
					  ((WhModelColumn *) lfirst(cell))->name);
	wh_sql_append(&sql, " FROM %T t WHERE t.booked_lsn <= $1", fact->model->relid);
	(void) wh_stage_append(range->stage, "wh_state", range->stage, sql.data, 1,
						   (WhArg[]){WH_ARG_LSN(range->from)});
}

/*
 * adopt_milestones takes from the fact's own rows the milestones that the rows of wh_reached may
 * have reached before the range: of those that live since then, what is not later than the clock
 * there.
 */
static void
adopt_milestones(const Range *range)
{
	const WhFact *fact = range->fact;
	TimestampTz clock = wh_changelog_clock(fact->model->feed, range->from);
	StringInfoData sql;
	ListCell *cell;
	int level;

	wh_fact_stage_rejected(fact, range->stage,
						   wh_sql("SELECT %s AS key FROM wh_reached n WHERE n.reason IS NOT NULL",
								  wh_fact_key_text(fact, "n")));
	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT n.live, n.reason, ");
	wh_fact_query_columns(&sql, fact, "n");
	foreach(cell, fact->milestones)
	{
		WhFactMilestone *milestone = lfirst(cell);
		char *own = wh_sql("COALESCE(x.%I, (r.row OPERATOR(pg_catalog.->>) %L)::timestamptz)",
						   milestone->name, milestone->name);

		wh_sql_append(&sql, ", CASE WHEN n.is_old AND %s <= $1 THEN %s ELSE n.c%d END AS c%d", own,
					  own, milestone->position, milestone->position);
	}
	wh_sql_append(&sql, " FROM wh_reached n LEFT JOIN %T x ON n.reason IS NULL",
				  fact->model->relid);
	foreach(cell, fact->identity)
	{
		WhModelColumn *column = wh_fact_column(fact, lfirst_int(cell));

		wh_sql_append(&sql, " AND x.%I %s n.c%d", column->name, wh_model_equality(column->type),
					  lfirst_int(cell));
	}
	wh_sql_append(&sql, " LEFT JOIN wh_rejected r ON r.key OPERATOR(pg_catalog.=) %s",
				  wh_fact_key_text(fact, "n"));
	level = fact->model->sampled ? wh_fact_push_narrow() :
								   wh_settings_push_joins(WH_JOINS_WHOLE);
	(void) wh_stage_fill(range->stage, "wh_reached", sql.data, 1,
						 (WhArg[]){WH_ARG_TIMESTAMPTZ(clock)});
	wh_settings_pop(level);
}

static char *
key_columns(const WhFact *fact, const char *alias)
{
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	foreach(cell, fact->key)
		wh_sql_append(&sql, "%s%s.c%d", foreach_current_index(cell) > 0 ? ", " : "", alias,
					  lfirst_int(cell));
	return sql.data;
}

/* append_milestones appends a format with the position of each milestone. */
static void
append_milestones(StringInfo sql, const WhFact *fact, const char *format)
{
	ListCell *cell;

	foreach(cell, fact->milestones)
		wh_sql_append(sql, format, ((WhFactMilestone *) lfirst(cell))->position);
}
