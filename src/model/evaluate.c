/*
 * evaluate.c
 *		The query of a model over several tables, evaluated on the rows that walk.c has staged.
 *
 * A point is a key of the driving table and a position at which its rows are looked at: for facts
 * the two ends of the range; for dimensions its beginning and every commit in it that touched any
 * of the key's rows.  Each alias is bound to the images that its table had at each point, and the
 * query's own text runs once over all of them, rows of one point meeting each other alone.  So
 * every version that a commit made is there, also when one range holds many, and gaps of a LEFT
 * JOIN open and close where they did at the source.
 *
 * A key that the query gives at one point and not at the next one has ended there.
 *
 * Points that cannot be computed (an error of data, or several rows for one key) count as if they
 * had never been, unless they are the last of their driving row: see guard.c.  They are found by
 * halving.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "model/model.h"
#include "model/model_private.h"
#include "model/walk_private.h"

/* Keys that an error names. */
#define KEYS_NAMED 5

/* A try of some of the points. */
typedef struct Attempt
{
	WhWalk *walk;
	int64 from;
	int64 to;
} Attempt;

static void stage_points(WhWalk *walk);
static void stage_result(WhWalk *walk, const char *bad);
static void append_query(StringInfo sql, const WhWalk *walk, const char *filter);
static void append_binding(StringInfo sql, const WhWalk *walk, const WhJoinAlias *alias,
						   const char *filter);
static void stage_event(WhWalk *walk, const char *bad);
static char *find_bad_points(WhWalk *walk);
static void leave_out_bad(WhWalk *walk, const char *bad);
static void search(WhWalk *walk, const WhRows *points, uint64 from, uint64 to, StringInfo bad);
static void attempt(void *arg);
static bool add_repeated_points(WhWalk *walk, StringInfo bad);
static void check_keys(const WhWalk *walk, const char *filter);
static char *broken_keys(const WhModel *model, const char *from, const char *group);
static void raise_broken(const WhModel *model, const WhRows *rows);
static void append_nothing(StringInfo sql, const WhModel *model, const char *lead);
static void append_expressions(StringInfo sql, const WhModel *model);
static char *model_columns(const WhModel *model, const char *alias);
static char *same_key(const WhModel *model, const char *a, const char *b);

void
wh_walk_evaluate_ends(WhWalk *walk)
{
	const char *columns = model_columns(walk->model, "q");
	const char *others = model_columns(walk->model, "o");
	/* Rows that are the same at both ends need nothing. */
	const char *sql = "SELECT %s FROM \"wh.result\" q WHERE q.wh_point %% 2 = %d AND NOT EXISTS "
					  "(SELECT FROM \"wh.result\" o WHERE o.wh_point = q.wh_point %s 1 AND %s AND "
					  "ROW(%s)::record OPERATOR(pg_catalog.*=) ROW(%s)::record)";
	const char *match = same_key(walk->model, "o", "q");

	stage_result(walk, NULL);
	if (!walk->join->is_unique)
		check_keys(walk, "q.wh_point % 2 = 1");
	(void) wh_stage_fill(walk->stage, "wh.before",
						 wh_sql(sql, columns, 0, "+", match, others, columns), 0, NULL);
	(void) wh_stage_fill(walk->stage, "wh.last",
						 wh_sql(sql, columns, 1, "-", match, others, columns), 0, NULL);
}

void
wh_walk_evaluate_events(WhWalk *walk)
{
	char *bad = NULL;

	stage_points(walk);
	if (walk->model->guarded)
		bad = find_bad_points(walk);
	if (walk->model->sampled && bad != NULL)
		leave_out_bad(walk, bad);
	stage_result(walk, bad);
	if (!walk->join->is_unique)
		check_keys(walk, "true");
	stage_event(walk, bad);
	if (walk->before)
		(void) wh_stage_fill(walk->stage, "wh.before",
							 wh_sql("SELECT %s FROM \"wh.result\" q JOIN \"wh.point\" p ON "
									"p.\"wh.point\" = q.wh_point WHERE p.\"wh.at\" = $1",
									model_columns(walk->model, "q")),
							 1, walk->args);
}

/*
 * stage_points fills "wh.point": wh.point (those of one key follow each other), wh.d, wh.at,
 * wh.last (the last point of wh.d) and wh.clock.
 */
static void
stage_points(WhWalk *walk)
{
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT p.*, pg_catalog.max(p.\"wh.point\") OVER (PARTITION BY p.\"wh.d\") "
						"AS \"wh.last\", t.clock AS \"wh.clock\" FROM (SELECT q.\"wh.d\", "
						"q.\"wh.at\", pg_catalog.row_number() OVER (ORDER BY q.\"wh.d\", "
						"q.\"wh.at\") AS \"wh.point\" FROM (SELECT k.\"wh.d\", $1 AS \"wh.at\" "
						"FROM \"wh.key\" k");
	foreach(cell, walk->join->aliases)
	{
		int number = ((WhJoinAlias *) lfirst(cell))->number;

		wh_sql_append(&sql,
					  " UNION SELECT r.\"wh.d\", r.\"wh.from\" FROM \"wh.row%d\" r WHERE "
					  "r.\"wh.from\" > $1 UNION SELECT r.\"wh.d\", r.\"wh.until\" FROM "
					  "\"wh.row%d\" r WHERE r.\"wh.until\" <= $2",
					  number, number);
	}
	wh_sql_append(&sql,
				  ") q) p LEFT JOIN LATERAL (SELECT t.clock FROM %T t WHERE t.end_lsn = "
				  "p.\"wh.at\" OFFSET 0) t ON true",
				  wh_changelog_txn_relid(walk->model->feed));
	(void) wh_stage_fill(walk->stage, "wh.point", sql.data, 2, walk->args);
}

/* stage_result fills "wh.result": wh_point and the query's columns, of all points but bad ones (a
 * list; NULL: none). */
static void
stage_result(WhWalk *walk, const char *bad)
{
	StringInfoData sql;

	initStringInfo(&sql);
	append_query(&sql, walk,
				 bad == NULL ? NULL : wh_sql("<> ALL ('{%s}'::pg_catalog.int8[])", bad));
	(void) wh_stage_fill(walk->stage, "wh.result", sql.data, 2, walk->args);
}

/* append_query appends the query over all points, or over those that a filter ("<> 1") leaves. */
static void
append_query(StringInfo sql, const WhWalk *walk, const char *filter)
{
	ListCell *cell;

	foreach(cell, walk->join->aliases)
	{
		WhJoinAlias *alias = lfirst(cell);

		wh_sql_append(sql, "%s\"wh.s%d\" AS %s(", alias->number == 1 ? "WITH " : ", ",
					  alias->number, filter == NULL ? "" : "MATERIALIZED ");
		append_binding(sql, walk, alias, filter);
		wh_sql_append(sql, ")");
	}
	wh_sql_append(sql, " SELECT s%d.\"wh.point\" AS wh_point, ", walk->join->driver->number);
	append_expressions(sql, walk->model);
	wh_sql_append(sql, " FROM %s", walk->join->from_points);
	if (walk->model->condition != NULL)
		wh_sql_append(sql, " WHERE %s", walk->model->condition);
}

/* append_binding appends a SELECT of an alias's images at each point. */
static void
append_binding(StringInfo sql, const WhWalk *walk, const WhJoinAlias *alias, const char *filter)
{
	const char *columns = wh_walk_columns(alias->table, "r");
	int number = alias->number;

	if (walk->ends)
	{
		wh_sql_append(sql,
					  "SELECT r.\"wh.d\" * 2 AS \"wh.point\", %s FROM \"wh.row%d\" r WHERE "
					  "r.\"wh.from\" = '0/0' UNION ALL SELECT r.\"wh.d\" * 2 + 1, %s FROM "
					  "\"wh.row%d\" r WHERE r.\"wh.until\" = " WH_WALK_EVER,
					  columns, number, columns, number);
		return;
	}
	wh_sql_append(sql,
				  "SELECT g.n AS \"wh.point\", %s FROM \"wh.row%d\" r JOIN \"wh.point\" f ON "
				  "f.\"wh.d\" = r.\"wh.d\" AND f.\"wh.at\" = GREATEST(r.\"wh.from\", $1) "
				  "LEFT JOIN \"wh.point\" u ON u.\"wh.d\" = r.\"wh.d\" AND u.\"wh.at\" = "
				  "r.\"wh.until\" CROSS JOIN LATERAL pg_catalog.generate_series(f.\"wh.point\", "
				  "COALESCE(u.\"wh.point\" - 1, f.\"wh.last\")) g (n)",
				  columns, number);
	if (filter != NULL)
		wh_sql_append(sql, " WHERE g.n %s", filter);
}

/* stage_event fills "wh.event": what wh_model_events_sql promises. */
static void
stage_event(WhWalk *walk, const char *bad)
{
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	wh_sql_append(
		&sql,
		"WITH p AS MATERIALIZED (SELECT p.*, pg_catalog.lead(p.\"wh.point\") OVER o AS "
		"\"wh.next\", "
		"pg_catalog.lead(p.\"wh.at\") OVER o AS \"wh.next_at\", pg_catalog.lead(p.\"wh.clock\") "
		"OVER o AS \"wh.next_clock\" FROM \"wh.point\" p%s WINDOW o AS (PARTITION BY p.\"wh.d\" "
		"ORDER BY p.\"wh.point\")) "
		"SELECT p.\"wh.at\" AS wh_lsn, p.\"wh.clock\" AS wh_clock, true AS wh_live, %s "
		"FROM \"wh.result\" q JOIN p ON p.\"wh.point\" = q.wh_point WHERE p.\"wh.at\" > $1 "
		"UNION ALL SELECT p.\"wh.next_at\", p.\"wh.next_clock\", false",
		bad == NULL ? "" :
					  wh_sql(" WHERE p.\"wh.point\" <> ALL ('{%s}'::pg_catalog.int8[])", bad),
		model_columns(walk->model, "q"));
	foreach(cell, walk->model->columns)
	{
		WhModelColumn *column = lfirst(cell);

		wh_sql_append(&sql, column->is_key ? ", q.%I" : ", CASE WHEN false THEN q.%I END",
					  column->name);
	}
	wh_sql_append(&sql,
				  " FROM \"wh.result\" q JOIN p ON p.\"wh.point\" = q.wh_point WHERE "
				  "p.\"wh.next\" IS NOT NULL AND NOT EXISTS (SELECT FROM \"wh.result\" n WHERE "
				  "n.wh_point = p.\"wh.next\" AND %s)",
				  same_key(walk->model, "n", "q"));
	(void) wh_stage_fill(walk->stage, "wh.event", sql.data, 1, walk->args);
}

/* find_bad_points returns a list of the points that cannot be computed; NULL: none.  It raises
 * what the last point of a driving row raises. */
static char *
find_bad_points(WhWalk *walk)
{
	WhRows *points = wh_stage_query(walk->stage,
									"SELECT p.\"wh.point\", p.\"wh.point\" = p.\"wh.last\" FROM "
									"\"wh.point\" p ORDER BY p.\"wh.point\"",
									0, NULL);
	StringInfoData bad;

	initStringInfo(&bad);
	search(walk, points, 0, points->count, &bad);
	if (!walk->join->is_unique)
	{
		stage_result(walk, bad.len > 0 ? bad.data : NULL);
		(void) add_repeated_points(walk, &bad);
	}
	return bad.len > 0 ? bad.data : NULL;
}

/* leave_out_bad: of keys that cannot be computed at the beginning of a sample's history it is not
 * known what the model has for them (see sample.c). */
static void
leave_out_bad(WhWalk *walk, const char *bad)
{
	(void) wh_stage_fill(
		walk->stage, "wh.bad",
		wh_sql("SELECT k.* FROM \"wh.key\" k JOIN \"wh.point\" p ON p.\"wh.d\" = "
			   "k.\"wh.d\" WHERE p.\"wh.at\" = $1 AND p.\"wh.point\" = ANY "
			   "('{%s}'::pg_catalog.int8[])",
			   bad),
		2, walk->args);
	if (wh_stage_count(walk->stage, "wh.bad") == 0)
		return;
	wh_model_sample_leave_out(walk->model, walk->stage);
	(void) wh_stage_fill(walk->stage, "wh.point",
						 "SELECT p.* FROM \"wh.point\" p WHERE NOT EXISTS (SELECT FROM "
						 "\"wh.bad\" k WHERE k.\"wh.d\" = p.\"wh.d\")",
						 0, NULL);
}

static void
search(WhWalk *walk, const WhRows *points, uint64 from, uint64 to, StringInfo bad)
{
	Attempt some;
	ErrorData *error;
	uint64 middle = from + (to - from) / 2;

	if (from == to)
		return;
	some.walk = walk;
	some.from = wh_rows_int8(points, from, 1);
	some.to = wh_rows_int8(points, to - 1, 1);
	if (wh_txn_try(attempt, &some, &error))
		return;
	if (!wh_model_is_data_error(error))
		ReThrowError(error);
	if (to - from > 1)
	{
		FreeErrorData(error);
		search(walk, points, from, middle, bad);
		search(walk, points, middle, to, bad);
		return;
	}
	if (wh_rows_bool(points, from, 2))
		ReThrowError(error);
	FreeErrorData(error);
	wh_sql_append(bad, "%s%l", bad->len > 0 ? "," : "", some.from);
}

/* attempt computes the query on a run of points, and forgets the result. */
static void
attempt(void *arg)
{
	Attempt *some = arg;
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT pg_catalog.count(q) FROM (");
	append_query(&sql, some->walk, wh_sql("BETWEEN %l AND %l", some->from, some->to));
	wh_sql_append(&sql, " OFFSET 0) q");
	(void) wh_stage_query(some->walk->stage, sql.data, 2, some->walk->args);
}

/* add_repeated_points adds the points in "wh.result" at which a key has several rows or a NULL,
 * but for the last ones. */
static bool
add_repeated_points(WhWalk *walk, StringInfo bad)
{
	WhRows *rows = wh_stage_query(
		walk->stage,
		wh_sql("SELECT DISTINCT b.wh_point FROM (%s) b JOIN \"wh.point\" p ON p.\"wh.point\" = "
			   "b.wh_point WHERE p.\"wh.point\" <> p.\"wh.last\"",
			   broken_keys(walk->model, "\"wh.result\" q", "q.wh_point")),
		0, NULL);

	for (uint64 i = 0; i < rows->count; i++)
		wh_sql_append(bad, "%s%l", bad->len > 0 ? "," : "", wh_rows_int8(rows, i, 1));
	return rows->count > 0;
}

/* check_keys raises where a key has several rows at a point, or a NULL. */
static void
check_keys(const WhWalk *walk, const char *filter)
{
	raise_broken(
		walk->model,
		wh_stage_query(
			walk->stage,
			wh_sql("SELECT b.key, b.is_null FROM (%s) b LIMIT %d",
				   broken_keys(walk->model,
							   wh_sql("(SELECT * FROM \"wh.result\" q WHERE %s) q", filter),
							   "q.wh_point"),
				   KEYS_NAMED),
			0, NULL));
}

void
wh_model_check_state(WhModel *model, const WhStage *stage, XLogRecPtr position)
{
	WhArg args[] = {WH_ARG_LSN(position)};
	StringInfoData state;

	if (model->join == NULL || model->join->is_unique)
		return;
	initStringInfo(&state);
	wh_sql_append(&state, "(");
	wh_model_state_sql(&state, model);
	wh_sql_append(&state, ") q");
	raise_broken(model, wh_stage_query(stage,
									   wh_sql("SELECT b.key, b.is_null FROM (%s) b LIMIT %d",
											  broken_keys(model, state.data, "true"), KEYS_NAMED),
									   1, args));
}

/* broken_keys is a SELECT of the keys that have several rows within a group, or a NULL: the group
 * (wh_point), key as text, is_null. */
static char *
broken_keys(const WhModel *model, const char *from, const char *group)
{
	StringInfoData sql;
	StringInfoData nulls;
	ListCell *cell;

	initStringInfo(&sql);
	initStringInfo(&nulls);
	wh_sql_append(&sql, "SELECT %s AS wh_point, ROW(", group);
	foreach(cell, model->key)
	{
		WhModelColumn *column = lfirst(cell);

		wh_sql_append(&sql, "%sq.%I", cell == list_head(model->key) ? "" : ", ", column->name);
		wh_sql_append(&nulls, "%sq.%I IS NULL", cell == list_head(model->key) ? "" : " OR ",
					  column->name);
	}
	wh_sql_append(&sql, ")::text AS key, %s AS is_null FROM %s GROUP BY %s", nulls.data, from,
				  strcmp(group, "true") == 0 ? "1" : group);
	foreach(cell, model->key)
		wh_sql_append(&sql, ", q.%I", ((WhModelColumn *) lfirst(cell))->name);
	wh_sql_append(&sql, " HAVING pg_catalog.count(*) > 1 OR %s", nulls.data);
	return sql.data;
}

static void
raise_broken(const WhModel *model, const WhRows *rows)
{
	StringInfoData keys;

	if (rows->count == 0)
		return;
	initStringInfo(&keys);
	for (uint64 i = 0; i < rows->count; i++)
		appendStringInfo(&keys, "%s%s", i == 0 ? "" : ", ", wh_rows_text(rows, i, 1));
	if (wh_rows_bool(rows, 0, 2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the query of %s gives a key with a NULL", model->name),
				 errdetail("Keys: %s%s.", keys.data, rows->count == KEYS_NAMED ? ", …" : ""),
				 errhint("Leave such rows out with a condition, or mend them at the source.")));
	ereport(ERROR,
			(errcode(ERRCODE_CARDINALITY_VIOLATION),
			 errmsg("the query of %s gives several rows for one key", model->name),
			 errdetail("Keys: %s%s.", keys.data, rows->count == KEYS_NAMED ? ", …" : ""),
			 errhint("A join finds several rows there: mend them at the source, or declare the "
					 "model again with a key or a condition that tells them apart.")));
}

void
wh_model_join_events_sql(StringInfo sql, const WhModel *model)
{
	if (model->join->is_idle)
		append_nothing(sql, model,
					   "NULL::pg_lsn AS wh_lsn, NULL::timestamptz AS wh_clock, NULL::boolean AS "
					   "wh_live, ");
	else
		wh_sql_append(sql, "SELECT q.wh_lsn, q.wh_clock, q.wh_live, %s FROM \"wh.event\" q",
					  model_columns(model, "q"));
}

void
wh_model_join_before_sql(StringInfo sql, const WhModel *model)
{
	if (model->join->is_idle)
		append_nothing(sql, model, "");
	else
		wh_sql_append(sql, "SELECT %s FROM \"wh.before\" q", model_columns(model, "q"));
}

void
wh_model_join_last_sql(StringInfo sql, const WhModel *model)
{
	if (model->join->is_idle)
		append_nothing(sql, model, "true AS wh_live, ");
	else
		wh_sql_append(sql, "SELECT true AS wh_live, %s FROM \"wh.last\" q",
					  model_columns(model, "q"));
}

/*
 * wh_model_join_state_sql: of a guarded model, the rows of keys that the staged range concerns are
 * those that could be computed; of one that is sampled, all rows are staged.
 */
void
wh_model_join_state_sql(StringInfo sql, const WhModel *model)
{
	const WhJoin *join = model->join;
	bool guarded = model->guarded && !join->is_idle;
	const char *staged = wh_sql("SELECT %s FROM \"wh.result\" q JOIN \"wh.point\" p ON "
								"p.\"wh.point\" = q.wh_point WHERE p.\"wh.at\" = $1",
								model_columns(model, "q"));
	ListCell *cell;

	if (model->sampled)
	{
		if (join->is_idle)
			append_nothing(sql, model, "");
		else
			wh_sql_append(sql, "%s", staged);
		return;
	}
	wh_sql_append(sql, "SELECT %s FROM (", model_columns(model, "q"));
	foreach(cell, join->aliases)
	{
		WhJoinAlias *alias = lfirst(cell);

		wh_sql_append(sql, "%s\"wh.s%d\" AS (SELECT %s FROM (",
					  alias->number == 1 ? "WITH " : ", ", alias->number,
					  wh_walk_columns(alias->table, "t"));
		wh_model_table_state(sql, alias->table->table);
		wh_sql_append(sql, ") t");
		if (guarded && alias == join->driver)
			wh_sql_append(sql, " WHERE NOT EXISTS (SELECT FROM \"wh.key\" k WHERE %s)",
						  wh_walk_driver_match(join, "k", "t"));
		wh_sql_append(sql, ")");
	}
	wh_sql_append(sql, " SELECT ");
	append_expressions(sql, model);
	wh_sql_append(sql, " FROM %s", join->from);
	if (model->condition != NULL)
		wh_sql_append(sql, " WHERE %s", model->condition);
	wh_sql_append(sql, ") q");
	if (guarded)
		wh_sql_append(sql, " UNION ALL %s", staged);
}

/* append_nothing appends a SELECT of no rows, with the query's columns. */
static void
append_nothing(StringInfo sql, const WhModel *model, const char *lead)
{
	ListCell *cell;

	foreach(cell, model->join->aliases)
	{
		WhJoinAlias *alias = lfirst(cell);

		wh_sql_append(sql, "%s\"wh.s%d\" AS (SELECT %s FROM %T t WHERE false)",
					  alias->number == 1 ? "WITH " : ", ", alias->number,
					  wh_walk_columns(alias->table, "t"), alias->table->table->mirror);
	}
	wh_sql_append(sql, " SELECT %s", lead);
	append_expressions(sql, model);
	wh_sql_append(sql, " FROM %s WHERE false", model->join->from);
}

static void
append_expressions(StringInfo sql, const WhModel *model)
{
	ListCell *cell;

	foreach(cell, model->columns)
	{
		WhModelColumn *column = lfirst(cell);

		wh_sql_append(sql, "%s%s AS %I", cell == list_head(model->columns) ? "" : ", ",
					  column->expression, column->name);
	}
}

static char *
model_columns(const WhModel *model, const char *alias)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_model_column_list(&sql, model->columns, alias);
	return sql.data;
}

static char *
same_key(const WhModel *model, const char *a, const char *b)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_model_key_join(&sql, model, a, b);
	return sql.data;
}
