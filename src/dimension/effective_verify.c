/*
 * effective_verify.c
 *		The rows that there should be in a dimension with an effective column.
 *
 * Recomputed from the log alone, in one go and by the definition: the state at a start and all
 * events since, each at its instant; of those at one instant the last; versions over them in that
 * order. It shares no statement with what loads do.
 *
 * When the log's horizon has passed the history's start, events at or below it come from the
 * table of events.  What has taken the instant of one of those since, and so its place in the
 * table, is in the log, and wh_since says that there had been one: so the greatest instant of
 * each key at the horizon is known.  Whether it was live then, the state there says.  Of a sample
 * (model/sample.c) the start is as late as that, and the events of its keys are staged.
 */
#include "postgres.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

static void append_raw(StringInfo sql, const WhModel *model, bool seeded);
static void append_past(StringInfo sql, const WhModel *model);
static void append_history(StringInfo sql, const WhModel *model);
static void append_placed(StringInfo sql, const WhModel *model, bool seeded);
static void append_standing(StringInfo sql, const WhModel *model, bool seeded);
static void append_turns(StringInfo sql, const WhModel *model);
static void append_expected(StringInfo sql, const WhModel *model);
static const char *events_of(const WhModel *model);
static char *columns_of(List *columns, const char *alias);

void
wh_dimension_effective_expected_sql(StringInfo sql, const WhModel *model, bool seeded)
{
	append_raw(sql, model, seeded);
	append_history(sql, model);
	append_placed(sql, model, seeded);
	append_standing(sql, model, seeded);
	append_turns(sql, model);
	append_expected(sql, model);
}

/*
 * append_raw: wh_raw has what there was at the start (at 0/0) and all events.  wh_until: where
 * history goes on from the start, the greatest instant that the key had had.
 */
static void
append_raw(StringInfo sql, const WhModel *model, bool seeded)
{
	wh_sql_append(sql, "WITH wh_raw AS MATERIALIZED (");
	if (seeded)
		append_past(sql, model);
	else
	{
		wh_sql_append(
			sql,
			"SELECT '0/0'::pg_lsn AS wh_lsn, '-infinity'::timestamptz AS wh_clock, true AS "
			"wh_live, NULL::timestamptz AS wh_until, %s FROM (",
			columns_of(model->columns, "q"));
		wh_model_state_sql(sql, model);
		wh_sql_append(sql, ") q");
	}
	wh_sql_append(sql, " UNION ALL SELECT q.wh_lsn, q.wh_clock, q.wh_live, NULL, %s FROM (",
				  columns_of(model->columns, "q"));
	wh_model_events_sql(sql, model);
	wh_sql_append(sql, ") q)");
}

/*
 * append_past: a row for each key that had been there by the start: whether it was live, its last
 * image as far as that counts, and its greatest instant.  The state has the images of live keys; of
 * others, where deletes do not close, the table has the last one.
 */
static void
append_past(StringInfo sql, const WhModel *model)
{
	char *key = columns_of(model->key, "q");
	char *columns = columns_of(model->columns, "q");
	ListCell *cell;

	wh_sql_append(sql,
				  "(SELECT DISTINCT ON (%s) '0/0'::pg_lsn AS wh_lsn, '-infinity'::timestamptz AS "
				  "wh_clock, q.wh_live, pg_catalog.max(q.wh_until) OVER (PARTITION BY %s) AS "
				  "wh_until, %s FROM (SELECT true AS wh_live, NULL::timestamptz AS wh_until, "
				  "NULL::pg_lsn AS wh_at, %s FROM (",
				  key, key, columns, columns);
	wh_model_state_sql(sql, model);
	wh_sql_append(sql, ") q UNION ALL SELECT false, e.wh_effective, e.wh_lsn");
	foreach(cell, model->columns)
	{
		WhModelColumn *column = lfirst(cell);

		wh_sql_append(sql, column->is_key ? ", e.%I" : ", CASE WHEN e.wh_lsn <= $1 THEN e.%I END",
					  column->name);
	}
	wh_sql_append(sql,
				  " FROM %s e WHERE e.wh_since <= $1) q ORDER BY %s, q.wh_live DESC, "
				  "q.wh_at <= $1 DESC, q.wh_at DESC)",
				  events_of(model), key);
}

/* append_history: wh_history, what makes history of these, each with whether the key was live
 * before it, and whether it has the image of before.  Deletes alone do where they close. */
static void
append_history(StringInfo sql, const WhModel *model)
{
	WhOnDelete on_delete = wh_dimension_on_delete(model);
	char *key = columns_of(model->key, "r");
	char *columns = columns_of(model->columns, "r");

	wh_sql_append(
		sql,
		", wh_history AS (SELECT r.*, COALESCE(pg_catalog.lag(r.wh_live) OVER o, false) AS "
		"wh_was_live, COALESCE(pg_catalog.lag(ROW(%s)) OVER o OPERATOR(pg_catalog.*=) "
		"ROW(%s), false) AS wh_same FROM ",
		columns, columns);
	if (on_delete == WH_DELETE_CLOSE)
		wh_sql_append(sql, "wh_raw r");
	else if (on_delete == WH_DELETE_PURGE)
		wh_sql_append(
			sql,
			"(SELECT r.*, COALESCE(pg_catalog.max(r.wh_lsn) FILTER (WHERE NOT r.wh_live "
			"AND r.wh_lsn > '0/0') OVER (PARTITION BY %s), '0/0') AS wh_gone FROM wh_raw r) "
			"r WHERE r.wh_live AND (r.wh_lsn > r.wh_gone OR r.wh_gone = '0/0')",
			key);
	else
		wh_sql_append(sql, "wh_raw r WHERE r.wh_live OR r.wh_lsn = '0/0'");
	wh_sql_append(sql, " WINDOW o AS (PARTITION BY %s ORDER BY r.wh_lsn))", key);
}

/* append_placed: wh_placed, the events of the log at their instants. */
static void
append_placed(StringInfo sql, const WhModel *model, bool seeded)
{
	char *key = columns_of(model->key, "h");

	wh_sql_append(sql, ", wh_placed AS (SELECT h.*, ");
	if (wh_dimension_on_delete(model) == WH_DELETE_CLOSE)
		wh_sql_append(
			sql,
			"CASE WHEN h.wh_live AND h.wh_was_live THEN h.wh_own ELSE pg_catalog.max("
			"CASE WHEN %s THEN h.wh_until WHEN NOT h.wh_live AND h.wh_was_live THEN h.wh_clock "
			"WHEN h.wh_live AND NOT (h.wh_was_live AND h.wh_same) THEN h.wh_own END) OVER "
			"(PARTITION BY %s ORDER BY h.wh_lsn) END",
			seeded ? "h.wh_lsn = '0/0'" : "false", key);
	else
		wh_sql_append(sql, "h.wh_own");
	wh_sql_append(sql,
				  " AS wh_effective FROM (SELECT h.*, COALESCE(%s, h.wh_clock) AS wh_own FROM "
				  "wh_history h) h)",
				  wh_dimension_instant(model, "h"));
}

/* append_standing: wh_standing, the last event of each instant; those from before the start are in
 * the table. */
static void
append_standing(StringInfo sql, const WhModel *model, bool seeded)
{
	char *key = columns_of(model->key, "p");
	char *columns = columns_of(model->columns, "p");

	wh_sql_append(
		sql,
		", wh_standing AS MATERIALIZED (SELECT DISTINCT ON (%s, p.wh_effective) p.* FROM "
		"(SELECT p.wh_lsn, p.wh_live, p.wh_effective, %s FROM wh_placed p WHERE %s",
		key, columns,
		wh_dimension_on_delete(model) == WH_DELETE_CLOSE ?
			"(p.wh_live OR p.wh_was_live) AND NOT (p.wh_live AND p.wh_was_live AND p.wh_same)" :
			"NOT p.wh_same");
	if (seeded)
	{
		wh_sql_append(sql,
					  " AND p.wh_lsn > '0/0' UNION ALL SELECT p.wh_lsn, p.wh_live, "
					  "p.wh_effective, %s FROM %s p WHERE p.wh_lsn <= $1",
					  columns, events_of(model));
		if (wh_dimension_on_delete(model) == WH_DELETE_PURGE)
		{
			wh_sql_append(sql, " AND NOT EXISTS (SELECT FROM wh_raw r WHERE NOT r.wh_live AND "
							   "r.wh_lsn > '0/0' AND ");
			wh_model_key_join(sql, model, "r", "p");
			wh_sql_append(sql, ")");
		}
	}
	wh_sql_append(sql, ") p ORDER BY %s, p.wh_effective, p.wh_lsn DESC)", key);
}

/* append_turns: wh_turn, those that begin or end a version, each with the next one; and wh_last,
 * for each key the values that all its versions have. */
static void
append_turns(StringInfo sql, const WhModel *model)
{
	List *versioned = wh_dimension_versioned_columns(model);
	List *attributes = wh_dimension_attributes(model->columns);
	char *key = columns_of(model->key, "s");
	ListCell *cell;

	wh_sql_append(sql,
				  ", wh_step AS (SELECT s.*, COALESCE(pg_catalog.lag(s.wh_live) OVER o, false) "
				  "AS wh_was_live");
	if (versioned != NIL)
		wh_sql_append(
			sql, ", pg_catalog.lag(ROW(%s)) OVER o OPERATOR(pg_catalog.*<>) ROW(%s) AS wh_differs",
			columns_of(versioned, "s"), columns_of(versioned, "s"));
	wh_sql_append(
		sql,
		" FROM wh_standing s WINDOW o AS (PARTITION BY %s ORDER BY s.wh_effective)), wh_turn AS ("
		"SELECT s.*, pg_catalog.lead(s.wh_effective) OVER (PARTITION BY %s ORDER BY "
		"s.wh_effective) AS wh_end FROM wh_step s WHERE s.wh_live <> s.wh_was_live%s)",
		key, key, versioned != NIL ? " OR s.wh_live AND s.wh_differs" : "");
	wh_sql_append(sql, ", wh_live AS (SELECT s.*");
	foreach(cell, wh_dimension_keeping(attributes, WH_KEEP_PREVIOUS))
	{
		WhAttribute *attribute = lfirst(cell);
		const char *name = wh_sql_identifier(attribute->column->name);

		wh_sql_append(sql,
					  ", pg_catalog.lag(s.%s) OVER o AS wh_was_%d, CASE WHEN pg_catalog.lag(ROW("
					  "s.%s)) OVER o OPERATOR(pg_catalog.*<>) ROW(s.%s) THEN s.wh_effective END AS "
					  "wh_turned_%d",
					  name, attribute->number, name, name, attribute->number);
	}
	wh_sql_append(sql,
				  " FROM wh_standing s WHERE s.wh_live WINDOW o AS (PARTITION BY %s ORDER BY "
				  "s.wh_effective)), wh_last AS (SELECT DISTINCT ON (%s) %s",
				  key, key, key);
	foreach(cell, attributes)
	{
		WhAttribute *attribute = lfirst(cell);
		int number = attribute->number;

		if (attribute->keep == WH_KEEP_LAST)
			wh_sql_append(sql, ", s.%I AS wh_value_%d", attribute->column->name, number);
		else if (attribute->keep == WH_KEEP_FIRST)
			wh_sql_append(sql,
						  ", pg_catalog.first_value(s.%I) OVER (PARTITION BY %s ORDER BY "
						  "s.wh_effective) AS wh_value_%d",
						  attribute->column->name, key, number);
		else if (attribute->keep == WH_KEEP_PREVIOUS)
			wh_sql_append(
				sql,
				", pg_catalog.first_value(CASE WHEN s.wh_turned_%d IS NOT NULL THEN "
				"s.wh_was_%d END) OVER (PARTITION BY %s ORDER BY s.wh_turned_%d DESC NULLS "
				"LAST) AS wh_value_%d",
				number, number, key, number, number);
	}
	wh_sql_append(sql, " FROM wh_live s ORDER BY %s, s.wh_effective DESC)", key);
}

/* append_expected: wh_expected, the rows as the table has them. */
static void
append_expected(StringInfo sql, const WhModel *model)
{
	bool is_tombstone = wh_dimension_on_delete(model) == WH_DELETE_TOMBSTONE;
	char *key = columns_of(model->key, "v");
	ListCell *cell;

	wh_sql_append(
		sql,
		", wh_expected AS (SELECT CASE WHEN pg_catalog.row_number() OVER (PARTITION BY %s "
		"ORDER BY v.wh_effective) = 1 THEN '-infinity' ELSE v.wh_effective END AS "
		"valid_from, COALESCE(v.wh_end, 'infinity') AS valid_to, v.wh_end IS NULL AS "
		"is_current%s",
		key,
		is_tombstone ? ", v.wh_end IS NULL AND NOT COALESCE(e.wh_live, false) AS is_deleted" :
					   "");
	foreach(cell, wh_dimension_attributes(model->columns))
	{
		WhAttribute *attribute = lfirst(cell);

		if (attribute->keep == WH_KEEP_VERSION)
			wh_sql_append(sql, ", v.%I", attribute->name);
		else
			wh_sql_append(sql, ", l.wh_value_%d AS %I", attribute->number, attribute->name);
	}
	wh_sql_append(sql, " FROM (SELECT * FROM wh_turn t WHERE t.wh_live) v JOIN wh_last l ON ");
	wh_model_key_join(sql, model, "v", "l");
	if (is_tombstone)
	{
		wh_sql_append(
			sql,
			" LEFT JOIN (SELECT DISTINCT ON (%s) %s, r.wh_live FROM wh_raw r ORDER BY %s, "
			"r.wh_lsn DESC) e ON ",
			columns_of(model->key, "r"), columns_of(model->key, "r"),
			columns_of(model->key, "r"));
		wh_model_key_join(sql, model, "v", "e");
	}
	wh_sql_append(sql, ")");
}

/* events_of names the events of the keys that are looked at. */
static const char *
events_of(const WhModel *model)
{
	return model->sampled ? "\"wh.events\"" : wh_sql_relation(wh_dimension_events(model));
}

static char *
columns_of(List *columns, const char *alias)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_model_column_list(&sql, columns, alias);
	return sql.data;
}
