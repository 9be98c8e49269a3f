/*
 * load.c
 *		Slowly changing rows: a build, and a load of the changes since the model's position.
 *
 * A load is one statement.  Its events (one for each key and source transaction, in commit order)
 * follow the key's present row, the "seed", in one stream; windows over the stream tell which
 * events move a boundary, where the boundaries lie, and what each key ends with.  Then one UPDATE
 * and one INSERT write what differs:
 *
 *	- an event moves a boundary when it ends or begins the key's life, or changes the image of a
 * type-2 column;
 *	- the i-th boundary of a key is the greater of its clock and the previous boundary + 1 µs; in
 * closed form, with b the boundary before the batch: greatest(max over j <= i of (clock_j - j µs),
 * b) + i µs.  The first version of a key is from -infinity, and the boundary after it from its own
 * clock on;
 *	- type-1 columns and the image of the key are those of the last live event, on all versions.
 * Because this holds after every load, one comparison with the seed tells whether there is
 * anything to overwrite;
 *	- an inferred member becomes the first version in place.
 *
 * Every row is updated once.  The cost follows the events: seeds and versions are fetched by
 * LATERAL probes of the unique index, rows to update by their surrogate key, with hash and merge
 * joins turned off, because a fresh table has no statistics that would tell the planner so.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

/* What a build or load works with, for wh_model_guard. */
typedef struct Work
{
	WhModel *model;
	WhLoad *load;
	WhCounts *counts;
} Work;

static void build(void *arg);
static void insert_first_versions(WhModel *model, WhLoad *load, WhCounts *counts);
static void insert_unknown(WhModel *model);
static void apply_events(void *arg);
static void append_seeds(StringInfo sql, const WhModel *model);
static void append_stream(StringInfo sql, const WhModel *model);
static void append_moves(StringInfo sql, const WhModel *model);
static void append_keys(StringInfo sql, const WhModel *model);
static void append_update(StringInfo sql, const WhModel *model, const WhLoad *load);
static void append_insert(StringInfo sql, const WhModel *model, const WhLoad *load);
static char *columns_of(List *columns, const char *alias);
static char *last_values(const WhModel *model);
static char *last_name(const WhModel *model, const WhModelColumn *column);

void
wh_dimension_build(WhModel *model, WhLoad *load, WhCounts *counts)
{
	Work work = {model, load, counts};

	wh_model_guard(model, build, &work);
	model->position = load->to;
}

static void
build(void *arg)
{
	Work *work = arg;
	WhModel *model = work->model;
	XLogRecPtr start = wh_model_horizon(model);

	memset(work->counts, 0, sizeof(WhCounts));
	wh_spi_execute(wh_sql("DELETE FROM %T WHERE %I <> " WH_UNKNOWN_SK, model->relid,
						  wh_dimension_sk(model)),
				   0, NULL);
	insert_unknown(model);
	model->position = start;
	insert_first_versions(model, work->load, work->counts);
	wh_model_set_history_start(model->id, start);
	model->history_start = start;
	apply_events(work);
}

void
wh_dimension_load(WhModel *model, WhLoad *load, WhCounts *counts)
{
	Work work = {model, load, counts};

	wh_model_guard(model, apply_events, &work);
}

/* insert_first_versions makes a version of each row of the state at the model's position. */
static void
insert_first_versions(WhModel *model, WhLoad *load, WhCounts *counts)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "INSERT INTO %T (", model->relid);
	wh_model_column_list(&sql, model->columns, NULL);
	wh_sql_append(&sql, ", valid_from, valid_to, is_current, is_inferred, load_id) SELECT ");
	wh_model_column_list(&sql, model->columns, "q");
	wh_sql_append(&sql, ", '-infinity', 'infinity', true, false, %l FROM (", load->id);
	wh_model_state_sql(&sql, model);
	wh_sql_append(&sql, ") q");
	counts->inserted += wh_spi_execute(sql.data, 1, (WhArg[]){WH_ARG_LSN(model->position)});
}

static void
insert_unknown(WhModel *model)
{
	char *unknown = wh_model_option(model, "unknown");

	if (unknown != NULL && strcmp(unknown, "false") == 0)
		return;
	wh_spi_execute(
		wh_sql("INSERT INTO %T (%I, valid_from, valid_to, is_current, is_inferred, load_id) "
			   "VALUES (" WH_UNKNOWN_SK
			   ", '-infinity', 'infinity', true, false, 0) ON CONFLICT DO NOTHING",
			   model->relid, wh_dimension_sk(model)),
		0, NULL);
}

/* apply_events brings the rows from model->position to load->to. */
static void
apply_events(void *arg)
{
	Work *work = arg;
	WhModel *model = work->model;
	WhLoad *load = work->load;
	int level = wh_settings_push_joins(WH_JOINS_PROBE);
	StringInfoData sql;
	WhRows *rows;

	initStringInfo(&sql);
	wh_sql_append(&sql, "WITH wh_event AS MATERIALIZED (");
	wh_model_events_sql(&sql, model);
	wh_sql_append(&sql, ")");
	append_seeds(&sql, model);
	append_stream(&sql, model);
	append_moves(&sql, model);
	append_keys(&sql, model);
	append_update(&sql, model, load);
	append_insert(&sql, model, load);
	wh_sql_append(
		&sql,
		" SELECT (SELECT pg_catalog.count(*) FROM wh_updated), (SELECT pg_catalog.count(*) FROM "
		"wh_inserted)");
	rows = wh_spi_query(sql.data, 2, (WhArg[]){WH_ARG_LSN(model->position), WH_ARG_LSN(load->to)});
	work->counts->updated += wh_rows_int8(rows, 0, 1);
	work->counts->inserted += wh_rows_int8(rows, 0, 2);
	wh_settings_pop(level);
}

/* append_seeds: the present row of each key that has events; none where there is no row. */
static void
append_seeds(StringInfo sql, const WhModel *model)
{
	wh_sql_append(
		sql,
		", wh_seed AS MATERIALIZED (SELECT r.* FROM (SELECT DISTINCT %s FROM wh_event e) k "
		"CROSS JOIN LATERAL (SELECT d.* FROM %T d WHERE ",
		columns_of(model->key, "e"), model->relid);
	wh_model_key_join(sql, model, "d", "k");
	wh_sql_append(sql, " ORDER BY d.valid_from DESC LIMIT 1) r)");
}

/*
 * append_stream: seeds and events in order, with what a window tells about the key's rows before:
 * wh_moves, and from the seed its surrogate key, boundary, state and type-1 image.
 */
static void
append_stream(StringInfo sql, const WhModel *model)
{
	List *type2 = wh_dimension_columns_of_type(model, 2);
	char *image1 = columns_of(wh_dimension_columns_of_type(model, 1), "w");
	char *image2 = columns_of(type2, "w");

	wh_sql_append(
		sql,
		", wh_stream AS (SELECT '0/0'::pg_lsn AS wh_lsn, NULL::timestamptz AS wh_clock, "
		"s.is_current AND NOT s.is_inferred AS wh_live, s.%I AS wh_sk, s.is_inferred AS "
		"wh_inferred, "
		"CASE WHEN s.is_inferred THEN '-infinity' WHEN s.is_current THEN s.valid_from ELSE "
		"s.valid_to END AS wh_edge, "
		"%s FROM wh_seed s UNION ALL SELECT e.wh_lsn, e.wh_clock, e.wh_live, NULL, NULL, NULL, "
		"%s FROM wh_event e)",
		wh_dimension_sk(model), columns_of(model->columns, "s"), columns_of(model->columns, "e"));
	wh_sql_append(
		sql,
		", wh_known AS (SELECT w.*, pg_catalog.first_value(w.wh_sk) OVER o AS wh_seed_sk, "
		"COALESCE(pg_catalog.first_value(w.wh_inferred) OVER o, false) AS wh_was_inferred, "
		"COALESCE(pg_catalog.first_value(w.wh_edge) OVER o, '-infinity') AS wh_seed_edge, "
		"pg_catalog.first_value(w.wh_sk IS NOT NULL AND w.wh_live) OVER o AS wh_seed_live, "
		"pg_catalog.first_value(ROW(%s)) OVER o AS wh_seed_1, "
		"COALESCE(pg_catalog.lag(w.wh_live) OVER o, false) AS wh_was_live, ",
		image1);
	if (type2 == NIL)
		wh_sql_append(sql, "false AS wh_differs");
	else
		wh_sql_append(
			sql, "pg_catalog.lag(ROW(%s)) OVER o OPERATOR(pg_catalog.*<>) ROW(%s) AS wh_differs",
			image2, image2);
	wh_sql_append(sql, " FROM wh_stream w WINDOW o AS (PARTITION BY %s ORDER BY w.wh_lsn))",
				  columns_of(model->key, "w"));
}

/*
 * append_moves: the events, with wh_moves (moves a boundary), wh_number (counts these), wh_at
 * (where the boundary lies), and the type-1 columns that the key ends with (wh_last_…, when
 * wh_has_last).
 */
static void
append_moves(StringInfo sql, const WhModel *model)
{
	char *key = columns_of(model->key, "w");

	wh_sql_append(
		sql,
		", wh_counted AS (SELECT w.*, pg_catalog.count(*) FILTER (WHERE w.wh_moves) OVER "
		"(PARTITION BY %s ORDER BY w.wh_lsn) AS wh_number, "
		"pg_catalog.first_value(w.wh_live AND w.wh_sk IS NULL) OVER l AS wh_has_last%s "
		"FROM (SELECT w.*, w.wh_sk IS NULL AND CASE WHEN w.wh_live THEN NOT w.wh_was_live OR "
		"w.wh_differs "
		"ELSE w.wh_was_live END AS wh_moves FROM wh_known w) w "
		"WINDOW l AS (PARTITION BY %s ORDER BY w.wh_live AND w.wh_sk IS NULL DESC, w.wh_lsn DESC))",
		key, last_values(model), key);
	wh_sql_append(
		sql,
		", wh_move AS MATERIALIZED (SELECT w.*, GREATEST(w.wh_seed_edge, pg_catalog.max("
		"CASE WHEN w.wh_number = 1 AND (w.wh_seed_sk IS NULL OR w.wh_was_inferred) THEN "
		"'-infinity' "
		"ELSE w.wh_clock END - w.wh_number * '1 microsecond'::interval) FILTER (WHERE w.wh_moves) "
		"OVER (PARTITION BY %s ORDER BY w.wh_lsn)) + w.wh_number * '1 microsecond'::interval AS "
		"wh_at "
		"FROM wh_counted w WHERE w.wh_sk IS NULL)",
		key);
}

/* append_keys: one row for each key that has a row in the dimension: what becomes of that row,
 * and of its versions. */
static void
append_keys(StringInfo sql, const WhModel *model)
{
	List *type1 = wh_dimension_columns_of_type(model, 1);
	StringInfoData image1;
	const char *separator = "";
	ListCell *lc;

	initStringInfo(&image1);
	foreach(lc, type1)
	{
		wh_sql_append(&image1, "%sv.%I", separator, last_name(model, lfirst(lc)));
		separator = ", ";
	}
	/* The boundaries alone, each with the next one of its key. */
	wh_sql_append(
		sql,
		", wh_version AS MATERIALIZED (SELECT w.*, pg_catalog.lead(w.wh_at) OVER "
		"(PARTITION BY %s ORDER BY w.wh_number) AS wh_next FROM wh_move w WHERE w.wh_moves)",
		columns_of(model->key, "w"));
	wh_sql_append(
		sql,
		", wh_key AS (SELECT v.*, v.wh_moves AND v.wh_seed_live AS wh_closes, "
		"v.wh_moves AND v.wh_was_inferred AS wh_fills, "
		"v.wh_has_last AND v.wh_seed_1 OPERATOR(pg_catalog.*<>) ROW(%s) AS wh_overwrites "
		"FROM (SELECT DISTINCT ON (%s) w.* FROM (SELECT * FROM wh_version UNION ALL "
		"SELECT m.*, NULL FROM wh_move m WHERE NOT m.wh_moves) w WHERE w.wh_seed_sk IS NOT NULL "
		"ORDER BY %s, w.wh_moves DESC, w.wh_number) v)",
		image1.data, columns_of(model->key, "w"), columns_of(model->key, "w"));
}

/* append_update: closes, fills and overwrites rows that are there; each once. */
static void
append_update(StringInfo sql, const WhModel *model, const WhLoad *load)
{
	const char *sk = wh_sql_identifier(wh_dimension_sk(model));
	ListCell *lc;

	wh_sql_append(
		sql,
		", wh_updated AS (UPDATE %T d SET load_id = %l, is_inferred = d.is_inferred AND NOT "
		"t.wh_fills, "
		"valid_to = CASE WHEN d.%s <> t.wh_seed_sk THEN d.valid_to WHEN t.wh_closes THEN t.wh_at "
		"WHEN t.wh_fills THEN COALESCE(t.wh_next, 'infinity') ELSE d.valid_to END, "
		"is_current = CASE WHEN d.%s <> t.wh_seed_sk THEN d.is_current WHEN t.wh_closes THEN false "
		"WHEN t.wh_fills THEN t.wh_next IS NULL ELSE d.is_current END",
		model->relid, load->id, sk, sk);
	foreach(lc, wh_dimension_columns_of_type(model, 1))
	{
		WhModelColumn *column = lfirst(lc);

		wh_sql_append(sql, ", %I = CASE WHEN t.wh_has_last THEN t.%I ELSE d.%I END", column->name,
					  last_name(model, column), column->name);
	}
	foreach(lc, wh_dimension_columns_of_type(model, 2))
	{
		WhModelColumn *column = lfirst(lc);

		wh_sql_append(sql, ", %I = CASE WHEN t.wh_fills THEN t.%I ELSE d.%I END", column->name,
					  column->name, column->name);
	}
	wh_sql_append(sql, " FROM (SELECT k.*, v.wh_target FROM wh_key k CROSS JOIN LATERAL ("
					   "SELECT d.%s AS wh_target FROM %T d WHERE k.wh_overwrites AND ",
				  sk, model->relid);
	wh_model_key_join(sql, model, "d", "k");
	wh_sql_append(
		sql,
		" UNION ALL SELECT k.wh_seed_sk WHERE NOT k.wh_overwrites AND (k.wh_closes OR "
		"k.wh_fills)) v) t "
		"WHERE d.%s = t.wh_target RETURNING 1)",
		sk);
}

/* append_insert: the versions that begin, but for the one that an inferred member becomes. */
static void
append_insert(StringInfo sql, const WhModel *model, const WhLoad *load)
{
	const char *separator = "";
	ListCell *lc;

	wh_sql_append(sql, ", wh_inserted AS (INSERT INTO %T (", model->relid);
	wh_model_column_list(sql, model->columns, NULL);
	wh_sql_append(sql, ", valid_from, valid_to, is_current, is_inferred, load_id) SELECT ");
	foreach(lc, model->columns)
	{
		WhModelColumn *column = lfirst(lc);

		wh_sql_append(sql, "%sv.%I", separator,
					  column->is_key || column->scd == 1 ? last_name(model, column) :
														   column->name);
		separator = ", ";
	}
	wh_sql_append(
		sql,
		", v.wh_at, COALESCE(v.wh_next, 'infinity'), v.wh_next IS NULL, false, %l FROM "
		"wh_version v "
		"WHERE v.wh_live AND NOT (v.wh_was_inferred AND v.wh_number = 1) ORDER BY v.wh_lsn "
		"RETURNING 1)",
		load->id);
}

static char *
columns_of(List *columns, const char *alias)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_model_column_list(&sql, columns, alias);
	return sql.data;
}

/* last_values returns ", first_value(…) AS wh_last_…" for each type-1 column. */
static char *
last_values(const WhModel *model)
{
	StringInfoData sql;
	ListCell *lc;

	initStringInfo(&sql);
	foreach(lc, wh_dimension_columns_of_type(model, 1))
	{
		WhModelColumn *column = lfirst(lc);

		wh_sql_append(&sql, ", pg_catalog.first_value(w.%I) OVER l AS %s", column->name,
					  last_name(model, column));
	}
	return sql.data;
}

/* last_name is the name under which a statement carries the last value of a column. */
static char *
last_name(const WhModel *model, const WhModelColumn *column)
{
	int place = 0;
	ListCell *lc;

	foreach(lc, model->columns)
	{
		if (lfirst(lc) == column)
			return psprintf("wh_last_%d", place);
		place++;
	}
	elog(ERROR, "column \"%s\" is none of model %s", column->name, model->name);
}
