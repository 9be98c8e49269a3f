/*
 * verify.c
 *		Compares a dimension with a recomputation of its whole history.
 *
 * The recomputation knows nothing of loads: it takes the state at a start and all events from
 * there to the model's position, and derives every version of every key in one go.  The start is
 * the position that the model's history begins at; the state there makes first versions, valid
 * from -infinity.  When the log's horizon has passed it, what was before the horizon is taken from
 * the model's own rows: of a key that opened m versions since, all but the last m.
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
static void append_history(StringInfo sql, const WhModel *model);
static void append_own(StringInfo sql, const WhModel *model, bool seeded);
static void append_expected(StringInfo sql, const WhModel *model);
static void append_comparison(StringInfo sql, const WhModel *model);
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
	StringInfoData sql;
	WhRows *rows;

	initStringInfo(&sql);
	append_history(&sql, model);
	append_own(&sql, model, verdict->horizon > model->history_start);
	append_expected(&sql, model);
	append_comparison(&sql, model);
	rows = wh_spi_query_snapshot(
		sql.data, 2, (WhArg[]){WH_ARG_LSN(verdict->horizon), WH_ARG_LSN(verdict->position)});
	verdict->expected = wh_rows_int8(rows, 0, 1);
	verdict->found = wh_rows_int8(rows, 0, 2);
	verdict->missing = wh_rows_int8(rows, 0, 3);
	verdict->unexpected = wh_rows_int8(rows, 0, 4);
	verdict->different = wh_rows_int8(rows, 0, 5);
}

/*
 * append_history: wh_history has the state (wh_first) and all events, with wh_move (an event
 * begins or ends a version), and for each key the number of versions that events begin and
 * whether there was a state.
 */
static void
append_history(StringInfo sql, const WhModel *model)
{
	char *key = columns_of(model->key, "h");
	List *type2 = wh_dimension_columns_of_type(model, 2);
	char *image2 = columns_of(type2, "h");

	wh_sql_append(
		sql,
		"WITH wh_row AS (SELECT true AS wh_first, '0/0'::pg_lsn AS wh_lsn, "
		"'-infinity'::timestamptz AS wh_clock, "
		"true AS wh_live, %s FROM (",
		columns_of(model->columns, "q"));
	wh_model_state_sql(sql, model);
	wh_sql_append(sql, ") q UNION ALL SELECT false, q.wh_lsn, q.wh_clock, q.wh_live, %s FROM (",
				  columns_of(model->columns, "q"));
	wh_model_events_sql(sql, model);
	wh_sql_append(
		sql,
		") q), wh_step AS (SELECT h.*, NOT h.wh_first AND (h.wh_live <> "
		"COALESCE(pg_catalog.lag(h.wh_live) OVER o, false)");
	if (type2 != NIL)
		wh_sql_append(
			sql,
			" OR h.wh_live AND pg_catalog.lag(ROW(%s)) OVER o OPERATOR(pg_catalog.*<>) ROW(%s)",
			image2, image2);
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
 * start. */
static void
append_own(StringInfo sql, const WhModel *model, bool seeded)
{
	const char *sk = wh_sql_identifier(wh_dimension_sk(model));

	wh_sql_append(
		sql,
		", wh_own AS (SELECT d.*, pg_catalog.row_number() OVER (PARTITION BY %s ORDER BY "
		"d.valid_from DESC) AS wh_back "
		"FROM %T d WHERE d.%s <> " WH_UNKNOWN_SK " AND NOT d.is_inferred AND %s)",
		columns_of(model->key, "d"), model->relid, sk, seeded ? "true" : "false");
}

/* append_expected: the versions that there should be. */
static void
append_expected(StringInfo sql, const WhModel *model)
{
	char *key = columns_of(model->key, "h");
	ListCell *lc;

	wh_sql_append(
		sql,
		", wh_based AS (SELECT h.*, h.wh_had_state OR o.wh_back IS NOT NULL AS wh_has_past, "
		"COALESCE(CASE WHEN h.wh_had_state THEN o.valid_from ELSE o.valid_to END, '-infinity') "
		"AS wh_base "
		"FROM wh_history h LEFT JOIN wh_own o ON o.wh_back = h.wh_opened + 1 AND ");
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
		", wh_last AS (SELECT DISTINCT ON (%s) h.* FROM wh_history h WHERE h.wh_live ORDER BY "
		"%s, h.wh_lsn DESC)",
		key, key);
	wh_sql_append(
		sql,
		", wh_version AS (SELECT %s, h.wh_live, h.wh_at AS valid_from, "
		"COALESCE(pg_catalog.lead(h.wh_at) OVER p, 'infinity') "
		"AS valid_to, pg_catalog.lead(h.wh_at) OVER p IS NULL AS is_current FROM wh_placed h "
		"WINDOW p AS (PARTITION BY %s ORDER BY h.wh_number) UNION ALL SELECT %s, true, "
		"o.valid_from, o.valid_to, "
		"o.is_current FROM wh_own o LEFT JOIN (SELECT DISTINCT %s, h.wh_opened, h.wh_had_state "
		"FROM wh_history h) h ON ",
		columns_of(model->columns, "h"), key, columns_of(model->columns, "o"), key);
	wh_model_key_join(sql, model, "o", "h");
	wh_sql_append(sql, " WHERE o.wh_back > COALESCE(h.wh_opened + h.wh_had_state::integer, 0))");
	wh_sql_append(sql, ", wh_expected AS (SELECT v.valid_from, v.valid_to, v.is_current");
	foreach(lc, model->columns)
	{
		WhModelColumn *column = lfirst(lc);

		if (column->is_key || column->scd == 1)
			wh_sql_append(sql, ", CASE WHEN l.wh_live THEN l.%I ELSE v.%I END AS %I",
						  column->name, column->name, column->name);
		else
			wh_sql_append(sql, ", v.%I", column->name);
	}
	wh_sql_append(sql, " FROM wh_version v LEFT JOIN wh_last l ON ");
	wh_model_key_join(sql, model, "v", "l");
	wh_sql_append(sql, " WHERE v.wh_live)");
}

static void
append_comparison(StringInfo sql, const WhModel *model)
{
	const char *sk = wh_sql_identifier(wh_dimension_sk(model));

	wh_sql_append(
		sql,
		" SELECT pg_catalog.count(e.valid_from), pg_catalog.count(f.valid_from), "
		"pg_catalog.count(*) FILTER (WHERE f.valid_from IS NULL), pg_catalog.count(*) FILTER "
		"(WHERE e.valid_from IS NULL), "
		"pg_catalog.count(*) FILTER (WHERE e.valid_from IS NOT NULL AND f.valid_from IS NOT "
		"NULL AND "
		"ROW(e.valid_to, e.is_current, %s)::record OPERATOR(pg_catalog.*<>) ROW(f.valid_to, "
		"f.is_current, %s)::record) "
		"FROM wh_expected e FULL JOIN (SELECT * FROM %T d WHERE d.%s <> " WH_UNKNOWN_SK
		" AND NOT d.is_inferred) f "
		"ON e.valid_from = f.valid_from AND ",
		columns_of(model->columns, "e"), columns_of(model->columns, "f"), model->relid, sk);
	wh_model_key_join(sql, model, "e", "f");
}

static char *
columns_of(List *columns, const char *alias)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_model_column_list(&sql, columns, alias);
	return sql.data;
}
