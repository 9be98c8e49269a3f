/*
 * verify.c
 *		Compares a dimension with a recomputation of its whole history.
 *
 * The recomputation knows nothing of loads: it takes the state at a start and all events from
 * there to the model's position, and derives every version of every key in one go.  The start is
 * the position that the model's history begins at; the state there makes first versions, valid
 * from -infinity.  When the log's horizon has passed it, what was before the horizon is taken from
 * the model's own rows: of a key that opened m versions since, all but the last m, and so are the
 * first image and the value before the last change, where no change since tells.
 *
 * Where deletes do not close (deletes.c), a key's history is that of its images: the first one
 * stands for the state before, which the log need not have any more when the row had been deleted.
 *
 * Of a sample (model/sample.c) the history that is replayed may be short, and more is taken from
 * the model's own rows; then these are also held to what every history must be like.
 *
 * Rows are compared by the images of key, columns, valid_from, valid_to and is_current; one with
 * the right key and valid_from but another image is different, not missing and unexpected.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

/* What a verification works with, for wh_model_guard. */
typedef struct Work
{
	WhModel *model;
	WhVerdict *verdict;
} Work;

static void compare(void *arg);
static void draw_keys(WhModel *model, WhVerdict *verdict, WhStage *stage);
static void append_rows(StringInfo sql, const WhModel *model);
static void append_history(StringInfo sql, const WhModel *model);
static void append_own(StringInfo sql, const WhModel *model, bool seeded);
static void append_versions(StringInfo sql, const WhModel *model);
static void append_last(StringInfo sql, const WhModel *model);
static void append_expected(StringInfo sql, const WhModel *model);
static void append_comparison(StringInfo sql, const WhModel *model, bool check_own);
static char *broken(const WhModel *model);
static char *attributes_of(const WhModel *model, const char *alias);
static char *columns_of(List *columns, const char *alias);

void
wh_dimension_verify(WhModel *model, WhVerdict *verdict)
{
	Work work = {model, verdict};

	wh_model_guard(model, compare, &work);
}

static void
compare(void *arg)
{
	Work *work = arg;
	WhModel *model = work->model;
	WhVerdict *verdict = work->verdict;
	WhStage *stage = wh_stage_create_snapshot();
	StringInfoData sql;
	WhRows *rows;

	if (verdict->sample > 0)
		draw_keys(model, verdict, stage);
	wh_model_stage_events(model, stage, verdict->horizon, verdict->position);
	if (verdict->sample > 0)
	{
		wh_model_sample_keys(model, stage);
		wh_model_sample_rows(model, stage);
		if (wh_dimension_is_effective(model))
			wh_model_sample_beside(model, stage, "wh.events", wh_dimension_events(model));
	}
	initStringInfo(&sql);
	wh_dimension_expected_sql(&sql, model, verdict->horizon > model->history_start);
	append_comparison(&sql, model,
					  model->sampled && verdict->horizon > model->history_start &&
						  !wh_dimension_is_effective(model));
	rows = wh_stage_query(
		stage, sql.data, 2,
		(WhArg[]){WH_ARG_LSN(verdict->horizon), WH_ARG_LSN(verdict->position)});
	wh_stage_drop(stage);
	verdict->expected = wh_rows_int8(rows, 0, 1);
	verdict->found = wh_rows_int8(rows, 0, 2);
	verdict->missing = wh_rows_int8(rows, 0, 3);
	verdict->unexpected = wh_rows_int8(rows, 0, 4);
	verdict->different = wh_rows_int8(rows, 0, 5);
}

/* draw_keys draws a sample of members, and bounds the history that is replayed for them. */
static void
draw_keys(WhModel *model, WhVerdict *verdict, WhStage *stage)
{
	wh_model_sample(model, stage, verdict->sample, "",
					wh_sql(WH_IS_MEMBER("d.%I") " AND NOT d.is_inferred", wh_dimension_sk(model)),
					NULL);
	verdict->horizon =
		wh_model_sample_start(model, stage, verdict->horizon, verdict->position);
}

void
wh_dimension_expected_sql(StringInfo sql, const WhModel *model, bool seeded)
{
	if (wh_dimension_is_effective(model))
	{
		wh_dimension_effective_expected_sql(sql, model, seeded);
		return;
	}
	append_rows(sql, model);
	append_history(sql, model);
	append_own(sql, model, seeded);
	append_versions(sql, model);
	append_last(sql, model);
	append_expected(sql, model);
}

/*
 * append_rows: wh_raw has the state (at 0/0) and all events; wh_row those that make history, with
 * wh_first for the ones that a key begins with.
 */
static void
append_rows(StringInfo sql, const WhModel *model)
{
	WhOnDelete on_delete = wh_dimension_on_delete(model);
	char *key = columns_of(model->key, "r");

	wh_sql_append(sql,
				  "WITH wh_raw AS MATERIALIZED (SELECT '0/0'::pg_lsn AS wh_lsn, "
				  "'-infinity'::timestamptz AS wh_clock, true AS wh_live, %s FROM (",
				  columns_of(model->columns, "q"));
	wh_model_state_sql(sql, model);
	wh_sql_append(sql, ") q UNION ALL SELECT q.wh_lsn, q.wh_clock, q.wh_live, %s FROM (",
				  columns_of(model->columns, "q"));
	wh_model_events_sql(sql, model);
	wh_sql_append(sql, ") q), wh_row AS (");
	if (on_delete == WH_DELETE_CLOSE)
		wh_sql_append(sql, "SELECT r.*, r.wh_lsn = '0/0' AS wh_first FROM wh_raw r)");
	else if (on_delete == WH_DELETE_PURGE)
		wh_sql_append(
			sql,
			"SELECT r.*, pg_catalog.row_number() OVER (PARTITION BY %s ORDER BY r.wh_lsn) "
			"= 1 AS wh_first FROM (SELECT r.*, COALESCE(pg_catalog.max(r.wh_lsn) FILTER "
			"(WHERE NOT r.wh_live) OVER (PARTITION BY %s) >= r.wh_lsn, false) AS wh_gone "
			"FROM wh_raw r) r WHERE NOT r.wh_gone)",
			key, key);
	else
		wh_sql_append(
			sql,
			"SELECT r.*, pg_catalog.row_number() OVER (PARTITION BY %s ORDER BY r.wh_lsn) "
			"= 1 AS wh_first FROM wh_raw r WHERE r.wh_live)",
			key);
}

/*
 * append_history: wh_history has these rows with wh_move (an event begins or ends a version), and
 * for each key the number of versions that events begin and whether there was a state.
 */
static void
append_history(StringInfo sql, const WhModel *model)
{
	List *versioned = wh_dimension_versioned_columns(model);
	char *key = columns_of(model->key, "h");

	wh_sql_append(sql, ", wh_step AS (SELECT h.*, NOT h.wh_first AND (h.wh_live <> "
					   "COALESCE(pg_catalog.lag(h.wh_live) OVER o, false)");
	if (versioned != NIL)
		wh_sql_append(
			sql,
			" OR h.wh_live AND pg_catalog.lag(ROW(%s)) OVER o OPERATOR(pg_catalog.*<>) ROW(%s)",
			columns_of(versioned, "h"), columns_of(versioned, "h"));
	wh_sql_append(
		sql, ") AS wh_move FROM wh_row h WINDOW o AS (PARTITION BY %s ORDER BY h.wh_lsn))", key);
	wh_sql_append(
		sql,
		", wh_history AS (SELECT h.*, "
		"pg_catalog.count(*) FILTER (WHERE h.wh_move) OVER (PARTITION BY %s ORDER BY h.wh_lsn) "
		"AS wh_number, "
		"pg_catalog.count(*) FILTER (WHERE h.wh_move AND h.wh_live) OVER (PARTITION BY %s) AS "
		"wh_opened, "
		"pg_catalog.bool_or(h.wh_first) OVER (PARTITION BY %s) AS wh_had_state FROM wh_step h)",
		key, key, key);
}

/* append_own: the model's own versions, numbered from the last; none where history begins at the
 * start, or again after a purge. */
static void
append_own(StringInfo sql, const WhModel *model, bool seeded)
{
	const char *sk = wh_sql_identifier(wh_dimension_sk(model));

	wh_sql_append(
		sql,
		", wh_own AS (SELECT d.*, pg_catalog.row_number() OVER (PARTITION BY %s ORDER BY "
		"d.valid_from DESC) AS wh_back "
		"FROM %s d WHERE " WH_IS_MEMBER("d.%s") " AND NOT d.is_inferred AND %s",
		columns_of(model->key, "d"), wh_model_rows(model), sk, seeded ? "true" : "false");
	if (wh_dimension_on_delete(model) == WH_DELETE_PURGE)
	{
		wh_sql_append(sql, " AND NOT EXISTS (SELECT FROM wh_raw r WHERE NOT r.wh_live AND ");
		wh_model_key_join(sql, model, "r", "d");
		wh_sql_append(sql, ")");
	}
	wh_sql_append(sql, ")");
}

/* append_versions: wh_version has the versions that there should be, with their own images, and
 * what a row of before tells of the rest (wh_has_own, wh_own_…). */
static void
append_versions(StringInfo sql, const WhModel *model)
{
	List *attributes = wh_dimension_attributes(model->columns);
	char *key = columns_of(model->key, "h");
	StringInfoData own;
	ListCell *cell;

	wh_sql_append(
		sql,
		", wh_based AS (SELECT h.*, h.wh_had_state OR o.wh_back IS NOT NULL AS wh_has_past, "
		"COALESCE(CASE WHEN h.wh_had_state THEN o.valid_from ELSE o.valid_to END, '-infinity') "
		"AS wh_base, o.wh_back IS NOT NULL AS wh_has_own");
	initStringInfo(&own);
	foreach(cell, attributes)
	{
		WhAttribute *attribute = lfirst(cell);

		wh_sql_append(sql, ", o.%I AS wh_own_%d", attribute->name, attribute->number);
		wh_sql_append(&own, ", o.%I", attribute->name);
	}
	wh_sql_append(sql, " FROM wh_history h LEFT JOIN wh_own o ON o.wh_back = h.wh_opened + 1 AND ");
	wh_model_key_join(sql, model, "o", "h");
	wh_sql_append(
		sql,
		"), wh_placed AS (SELECT h.*, CASE WHEN h.wh_first THEN h.wh_base ELSE "
		"GREATEST(h.wh_base, pg_catalog.max("
		"CASE WHEN h.wh_first OR h.wh_number = 1 AND NOT h.wh_has_past THEN '-infinity' ELSE "
		"h.wh_clock END "
		"- h.wh_number * '1 microsecond'::interval) OVER (PARTITION BY %s ORDER BY h.wh_number)) "
		"+ h.wh_number * '1 microsecond'::interval END AS wh_at FROM wh_based h WHERE "
		"h.wh_first OR h.wh_move)",
		key);
	wh_sql_append(
		sql,
		", wh_version AS (SELECT %s, h.wh_live, h.wh_at AS valid_from, "
		"COALESCE(pg_catalog.lead(h.wh_at) OVER p, 'infinity') "
		"AS valid_to, pg_catalog.lead(h.wh_at) OVER p IS NULL AS is_current, h.wh_has_own",
		columns_of(model->columns, "h"));
	for (int i = 1; i <= list_length(attributes); i++)
		wh_sql_append(sql, ", h.wh_own_%d", i);
	wh_sql_append(sql,
				  " FROM wh_placed h WINDOW p AS (PARTITION BY %s ORDER BY h.wh_number) UNION ALL "
				  "SELECT %s, true, o.valid_from, o.valid_to, o.is_current, true%s FROM wh_own o "
				  "LEFT JOIN (SELECT DISTINCT %s, h.wh_opened, h.wh_had_state FROM wh_history h) h "
				  "ON ",
				  key, columns_of(model->columns, "o"), own.data, key);
	wh_model_key_join(sql, model, "o", "h");
	wh_sql_append(sql, " WHERE o.wh_back > COALESCE(h.wh_opened + h.wh_had_state::integer, 0))");
}

/*
 * append_last: wh_last has for each key its first and its last image (wh_first_…, the columns
 * themselves), and the value before the last change with whether there was one (wh_was_…,
 * wh_turned_…); wh_end whether it is there at the end.
 */
static void
append_last(StringInfo sql, const WhModel *model)
{
	List *attributes = wh_dimension_attributes(model->columns);
	List *previous = wh_dimension_keeping(attributes, WH_KEEP_PREVIOUS);
	char *key = columns_of(model->key, "h");
	ListCell *cell;

	wh_sql_append(sql, ", wh_turn AS (SELECT h.*");
	foreach(cell, previous)
	{
		WhAttribute *attribute = lfirst(cell);
		const char *name = wh_sql_identifier(attribute->column->name);

		wh_sql_append(
			sql,
			", pg_catalog.lag(h.%s) OVER o AS wh_was_%d, COALESCE(pg_catalog.lag("
			"ROW(h.%s)) OVER o OPERATOR(pg_catalog.*<>) ROW(h.%s), false) AS wh_turned_%d",
			name, attribute->number, name, name, attribute->number);
	}
	wh_sql_append(sql,
				  " FROM wh_history h WHERE h.wh_live WINDOW o AS (PARTITION BY %s ORDER BY "
				  "h.wh_lsn)), wh_last AS (SELECT DISTINCT ON (%s) %s, h.wh_live",
				  key, key, columns_of(model->columns, "h"));
	foreach(cell, wh_dimension_keeping(attributes, WH_KEEP_FIRST))
		wh_sql_append(sql,
					  ", pg_catalog.first_value(h.%I) OVER (PARTITION BY %s ORDER BY h.wh_lsn) AS "
					  "wh_first_%d",
					  ((WhAttribute *) lfirst(cell))->name, key,
					  ((WhAttribute *) lfirst(cell))->number);
	foreach(cell, previous)
	{
		int number = ((WhAttribute *) lfirst(cell))->number;

		wh_sql_append(sql,
					  ", pg_catalog.first_value(h.wh_was_%d) OVER (PARTITION BY %s ORDER BY "
					  "h.wh_turned_%d DESC, h.wh_lsn DESC) AS wh_was_%d, pg_catalog.bool_or("
					  "h.wh_turned_%d) OVER (PARTITION BY %s) AS wh_turned_%d",
					  number, key, number, number, number, key, number);
	}
	wh_sql_append(sql, " FROM wh_turn h ORDER BY %s, h.wh_lsn DESC)", key);
	if (wh_dimension_on_delete(model) == WH_DELETE_TOMBSTONE)
		wh_sql_append(
			sql,
			", wh_end AS (SELECT DISTINCT ON (%s) %s, r.wh_live FROM wh_raw r ORDER BY %s, "
			"r.wh_lsn DESC)",
			columns_of(model->key, "r"), columns_of(model->key, "r"),
			columns_of(model->key, "r"));
}

/* append_expected: wh_expected has the rows that there should be, as the table has them. */
static void
append_expected(StringInfo sql, const WhModel *model)
{
	bool is_tombstone = wh_dimension_on_delete(model) == WH_DELETE_TOMBSTONE;
	ListCell *cell;

	wh_sql_append(sql, ", wh_expected AS (SELECT v.valid_from, v.valid_to, v.is_current%s",
				  is_tombstone ? ", v.is_current AND NOT COALESCE(e.wh_live, false) AS is_deleted" :
								 "");
	foreach(cell, wh_dimension_attributes(model->columns))
	{
		WhAttribute *attribute = lfirst(cell);
		const char *name = wh_sql_identifier(attribute->column->name);
		int number = attribute->number;

		if (attribute->keep == WH_KEEP_VERSION)
			wh_sql_append(sql, ", v.%s", name);
		else if (attribute->keep == WH_KEEP_LAST)
			wh_sql_append(sql, ", CASE WHEN l.wh_live THEN l.%s ELSE v.wh_own_%d END AS %I", name,
						  number, attribute->name);
		else if (attribute->keep == WH_KEEP_FIRST)
			wh_sql_append(
				sql, ", CASE WHEN v.wh_has_own THEN v.wh_own_%d ELSE l.wh_first_%d END AS %I",
				number, number, attribute->name);
		else
			wh_sql_append(
				sql, ", CASE WHEN l.wh_turned_%d THEN l.wh_was_%d ELSE v.wh_own_%d END AS %I",
				number, number, number, attribute->name);
	}
	wh_sql_append(sql, " FROM wh_version v LEFT JOIN wh_last l ON ");
	wh_model_key_join(sql, model, "v", "l");
	if (is_tombstone)
	{
		wh_sql_append(sql, " LEFT JOIN wh_end e ON ");
		wh_model_key_join(sql, model, "v", "e");
	}
	wh_sql_append(sql, " WHERE v.wh_live)");
}

/* append_comparison counts; with check_own, rows that no history can have made are different. */
static void
append_comparison(StringInfo sql, const WhModel *model, bool check_own)
{
	const char *sk = wh_sql_identifier(wh_dimension_sk(model));

	wh_sql_append(sql,
				  ", wh_found AS (SELECT f.*, %s AS wh_broken FROM %s f WHERE " WH_IS_MEMBER(
					  "f.%s") " AND NOT f.is_inferred",
				  check_own ? broken(model) : "false", wh_model_rows(model), sk);
	if (check_own)
		wh_sql_append(sql, " WINDOW o AS (PARTITION BY %s ORDER BY f.valid_from)",
					  columns_of(model->key, "f"));
	wh_sql_append(
		sql,
		") SELECT pg_catalog.count(e.valid_from), pg_catalog.count(f.valid_from), "
		"pg_catalog.count(*) FILTER (WHERE f.valid_from IS NULL), pg_catalog.count(*) FILTER "
		"(WHERE e.valid_from IS NULL), "
		"pg_catalog.count(*) FILTER (WHERE e.valid_from IS NOT NULL AND f.valid_from IS NOT "
		"NULL AND (f.wh_broken OR "
		"ROW(e.valid_to, e.is_current, %s)::record OPERATOR(pg_catalog.*<>) ROW(f.valid_to, "
		"f.is_current, %s)::record)) "
		"FROM wh_expected e FULL JOIN wh_found f ON e.valid_from = f.valid_from AND ",
		attributes_of(model, "e"), attributes_of(model, "f"));
	wh_model_key_join(sql, model, "e", "f");
}

/*
 * broken says of a row f, in the window o of its key's versions, that it cannot be one of them:
 * what was before the stretch that is replayed is held to what holds for every history.  The first
 * version begins at -infinity, each ends where the next one begins (after a delete that closed it
 * earlier), the last one alone may be current, and is, when the member is there.
 */
static char *
broken(const WhModel *model)
{
	bool closes = wh_dimension_on_delete(model) == WH_DELETE_CLOSE;
	StringInfoData match;

	initStringInfo(&match);
	wh_model_key_join(&match, model, "r", "f");
	return wh_sql(
		"CASE WHEN pg_catalog.lag(f.valid_to) OVER o IS NULL THEN f.valid_from <> '-infinity' ELSE "
		"f.valid_from %s pg_catalog.lag(f.valid_to) OVER o END OR f.valid_to <= f.valid_from OR "
		"f.is_current <> (f.valid_to = 'infinity') OR pg_catalog.lead(f.valid_from) OVER o IS NULL "
		"AND f.is_current <> %s",
		closes ? "<" : "<>",
		closes ? wh_sql("COALESCE((SELECT r.wh_live FROM wh_raw r WHERE %s ORDER BY r.wh_lsn DESC "
						"LIMIT 1), false)",
						match.data) :
				 "true");
}

/* attributes_of lists what a row consists of, beside its times. */
static char *
attributes_of(const WhModel *model, const char *alias)
{
	char *list = wh_dimension_attribute_list(wh_dimension_attributes(model->columns), alias);

	if (wh_dimension_on_delete(model) == WH_DELETE_TOMBSTONE)
		return wh_sql("%s, %s.is_deleted", list, alias);
	return list;
}

static char *
columns_of(List *columns, const char *alias)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_model_column_list(&sql, columns, alias);
	return sql.data;
}
