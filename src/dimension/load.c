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
 *	- what is the same on all versions (attributes.c) follows from the last live event, the last
 * change or the first image.  Because this holds after every load, one comparison with the seed
 * tells whether there is anything to overwrite;
 *	- an inferred member becomes the first version in place.
 *
 * Every row is updated once.  The cost follows the events: seeds and versions are fetched by
 * LATERAL probes of the unique index, rows to update by their surrogate key, with hash and merge
 * joins turned off, because a fresh table has no statistics that would tell the planner so.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/inval.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

/* What a build or load works with, for wh_model_guard. */
typedef struct Work
{
	WhModel *model;
	WhLoad *load;
	WhCounts *counts;
	WhStage *stage; /* what the model's events are read from; made anew by each body */
} Work;

static void build(void *arg);
static void insert_first_versions(Work *work);
static void load_events(void *arg);
static void build_effective(Work *work);
static void insert_others(WhModel *model);
static void apply_events(Work *work);
static bool apply_versions(Work *work);
static void append_seeds(StringInfo sql, const WhModel *model);
static void append_stream(StringInfo sql, const WhModel *model);
static void append_known(StringInfo sql, const WhModel *model, List *attributes);
static void append_moves(StringInfo sql, const WhModel *model);
static void append_keys(StringInfo sql, const WhModel *model);
static void append_update(StringInfo sql, const WhModel *model, const WhLoad *load);
static void append_insert(StringInfo sql, const WhModel *model, const WhLoad *load);
static void append_value(StringInfo sql, const WhAttribute *attribute, const char *alias);
static char *overwritten_values(const WhModel *model, const char *alias);
static char *columns_of(List *columns, const char *alias);

void
wh_dimension_build(WhModel *model, WhLoad *load, WhCounts *counts)
{
	Work work = {model, load, counts};

	wh_model_guard(model, build, &work);
	wh_dimension_mini_build(model);
	model->position = load->to;
}

static void
build(void *arg)
{
	Work *work = arg;
	WhModel *model = work->model;
	XLogRecPtr start = wh_model_horizon(model);

	memset(work->counts, 0, sizeof(WhCounts));
	CacheInvalidateRelcacheByRelid(model->relid); /* sessions remember members, memory.c */
	wh_spi_execute(wh_sql("DELETE FROM %T WHERE " WH_IS_MEMBER("%I"), model->relid,
						  wh_dimension_sk(model)),
				   0, NULL);
	insert_others(model);
	model->position = start;
	work->stage = wh_stage_create();
	wh_model_stage_events(model, work->stage, start, work->load->to);
	wh_model_check_state(model, work->stage, start);
	wh_model_set_history_start(model->id, start);
	model->history_start = start;
	if (wh_dimension_is_effective(model))
		build_effective(work);
	else
	{
		insert_first_versions(work);
		apply_events(work);
		work->counts->read_known = false; /* the rows at the horizon came before these changes */
	}
	wh_stage_drop(work->stage);
}

void
wh_dimension_load(WhModel *model, WhLoad *load, WhCounts *counts)
{
	Work work = {model, load, counts};

	wh_model_guard(model, load_events, &work);
}

static void
load_events(void *arg)
{
	Work *work = arg;

	work->stage = wh_stage_create();
	wh_model_stage_events(work->model, work->stage, work->model->position, work->load->to);
	wh_dimension_mini_load(work->model, work->load, work->stage);
	apply_events(work);
	wh_stage_drop(work->stage);
}

/* insert_first_versions makes a version of each row of the state at the model's position. */
static void
insert_first_versions(Work *work)
{
	WhModel *model = work->model;
	List *attributes = wh_dimension_attributes(model->columns);
	StringInfoData sql;

	initStringInfo(&sql);
	attributes = list_concat(
		list_concat(wh_dimension_keeping(attributes, WH_KEEP_FIRST),
					wh_dimension_keeping(attributes, WH_KEEP_LAST)),
		wh_dimension_keeping(attributes, WH_KEEP_VERSION));
	wh_sql_append(&sql,
				  "INSERT INTO %T (%s, valid_from, valid_to, is_current, is_inferred, load_id) "
				  "SELECT %s",
				  model->relid, wh_dimension_attribute_list(attributes, NULL),
				  wh_dimension_source_list(attributes, "q"));
	wh_sql_append(&sql, ", '-infinity', 'infinity', true, false, %l FROM (", work->load->id);
	wh_model_state_sql(&sql, model);
	wh_sql_append(&sql, ") q");
	work->counts->inserted +=
		wh_stage_execute(work->stage, sql.data, 1, (WhArg[]){WH_ARG_LSN(model->position)});
}

/* insert_others makes the members that stand for no member of the source. */
static void
insert_others(WhModel *model)
{
	char *unknown = wh_model_option(model, "unknown");

	if (unknown != NULL && strcmp(unknown, "false") == 0)
		return;
	wh_spi_execute(
		wh_sql("INSERT INTO %T (%I, valid_from, valid_to, is_current, is_inferred, load_id) "
			   "SELECT o.sk, '-infinity', 'infinity', true, false, 0 FROM (" WH_OTHER_SKS
			   ") o (sk) ON CONFLICT DO NOTHING",
			   model->relid, wh_dimension_sk(model)),
		0, NULL);
}

/* build_effective fills a dimension whose versions hold since an effective column. */
static void
build_effective(Work *work)
{
	int level;

	wh_dimension_effective_build(work->model, work->load, work->stage, work->counts);
	if (wh_dimension_on_delete(work->model) != WH_DELETE_TOMBSTONE)
		return;
	level = wh_settings_push_joins(WH_JOINS_PROBE);
	wh_dimension_mark_deleted(work->model, work->load, work->stage, work->counts);
	wh_settings_pop(level);
}

/* apply_events brings the rows from model->position to load->to. */
static void
apply_events(Work *work)
{
	WhOnDelete on_delete = wh_dimension_on_delete(work->model);
	int level = wh_settings_push_joins(WH_JOINS_PROBE);
	bool is_told = false;

	if (on_delete == WH_DELETE_PURGE)
		wh_dimension_purge(work->model, work->load, work->stage, work->counts);
	if (wh_dimension_is_effective(work->model))
		wh_dimension_effective_load(work->model, work->load, work->stage, work->counts);
	else
		is_told = apply_versions(work) && on_delete != WH_DELETE_PURGE;
	if (on_delete == WH_DELETE_TOMBSTONE)
		wh_dimension_mark_deleted(work->model, work->load, work->stage, work->counts);
	wh_settings_pop(level);
	if (is_told)
		wh_dimension_memory_move(work->model, work->load->to);
	else
		wh_dimension_memory_forget_all(work->model);
}

/* apply_versions writes versions; true: each member that it wrote was forgotten (memory.c). */
static bool
apply_versions(Work *work)
{
	WhModel *model = work->model;
	WhLoad *load = work->load;
	XLogRecPtr from = model->position;
	StringInfoData sql;
	WhRows *rows;

	if (wh_dimension_direct(model, load, work->counts, &from))
		return true;
	initStringInfo(&sql);
	wh_sql_append(&sql, "WITH wh_event AS MATERIALIZED (");
	wh_dimension_events_sql(&sql, model, false);
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
		"wh_inserted), (SELECT pg_catalog.count(*) FROM wh_version v WHERE v.wh_live), "
		"(SELECT pg_catalog.count(*) FROM wh_key k WHERE k.wh_closes) + (SELECT "
		"pg_catalog.count(v.wh_next) FROM wh_version v WHERE v.wh_live)");
	rows = wh_stage_query(work->stage, sql.data, 2,
						  (WhArg[]){WH_ARG_LSN(from), WH_ARG_LSN(load->to)});
	work->counts->updated += wh_rows_int8(rows, 0, 1);
	work->counts->inserted += wh_rows_int8(rows, 0, 2);
	work->counts->opened += wh_rows_int8(rows, 0, 3);
	work->counts->closed += wh_rows_int8(rows, 0, 4);
	return false;
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
 * append_stream: seeds and events in order, with what windows tell about the key's rows before:
 * wh_differs, from the seed its surrogate key, boundary, state and what may be overwritten, and the
 * values that attributes keep of the first image and of the one before the last change.
 */
static void
append_stream(StringInfo sql, const WhModel *model)
{
	List *attributes = wh_dimension_attributes(model->columns);
	List *previous = wh_dimension_keeping(attributes, WH_KEEP_PREVIOUS);
	ListCell *cell;

	wh_sql_append(
		sql,
		", wh_stream AS (SELECT '0/0'::pg_lsn AS wh_lsn, NULL::timestamptz AS wh_clock, "
		"s.is_current AND NOT s.is_inferred AS wh_live, NOT s.is_inferred AS wh_valued, "
		"s.%I AS wh_sk, s.is_inferred AS wh_inferred, "
		"CASE WHEN s.is_inferred THEN '-infinity' WHEN s.is_current THEN s.valid_from ELSE "
		"s.valid_to END AS wh_edge, ",
		wh_dimension_sk(model));
	foreach(cell, previous)
		wh_sql_append(sql, "s.%I AS wh_older_%d, ", ((WhAttribute *) lfirst(cell))->name,
					  ((WhAttribute *) lfirst(cell))->number);
	wh_sql_append(sql,
				  "%s FROM wh_seed s UNION ALL SELECT e.wh_lsn, e.wh_clock, e.wh_live, e.wh_live, "
				  "NULL, NULL, NULL, ",
				  columns_of(model->columns, "s"));
	foreach(cell, previous)
		wh_sql_append(sql, "NULL, ");
	wh_sql_append(sql, "%s FROM wh_event e)", columns_of(model->columns, "e"));
	append_known(sql, model, attributes);
}

static void
append_known(StringInfo sql, const WhModel *model, List *attributes)
{
	List *versioned = wh_dimension_versioned_columns(model);
	char *key = columns_of(model->key, "w");
	ListCell *cell;

	wh_sql_append(
		sql,
		", wh_known AS (SELECT w.*, pg_catalog.first_value(w.wh_sk) OVER o AS wh_seed_sk, "
		"COALESCE(pg_catalog.first_value(w.wh_inferred) OVER o, false) AS wh_was_inferred, "
		"COALESCE(pg_catalog.first_value(w.wh_edge) OVER o, '-infinity') AS wh_seed_edge, "
		"pg_catalog.first_value(w.wh_sk IS NOT NULL AND w.wh_live) OVER o AS wh_seed_live, "
		"pg_catalog.first_value(ROW(%s)) OVER o AS wh_seed_row, "
		"COALESCE(pg_catalog.lag(w.wh_live) OVER o, false) AS wh_was_live",
		overwritten_values(model, NULL));
	foreach(cell, wh_dimension_keeping(attributes, WH_KEEP_FIRST))
		wh_sql_append(sql,
					  ", pg_catalog.first_value(w.%I) OVER (PARTITION BY %s ORDER BY w.wh_valued "
					  "DESC, w.wh_lsn) AS wh_value_%d",
					  ((WhAttribute *) lfirst(cell))->name, key,
					  ((WhAttribute *) lfirst(cell))->number);
	foreach(cell, wh_dimension_keeping(attributes, WH_KEEP_PREVIOUS))
	{
		WhAttribute *attribute = lfirst(cell);

		wh_sql_append(sql,
					  ", pg_catalog.lag(w.%I) OVER v AS wh_was_%d, w.wh_valued AND COALESCE("
					  "pg_catalog.lag(ROW(w.%I)) OVER v OPERATOR(pg_catalog.*<>) ROW(w.%I), false) "
					  "AS wh_turned_%d, pg_catalog.first_value(w.wh_older_%d) OVER o AS wh_seed_%d",
					  attribute->column->name, attribute->number, attribute->column->name,
					  attribute->column->name, attribute->number, attribute->number,
					  attribute->number);
	}
	if (versioned == NIL)
		wh_sql_append(sql, ", false AS wh_differs");
	else
		wh_sql_append(
			sql, ", pg_catalog.lag(ROW(%s)) OVER o OPERATOR(pg_catalog.*<>) ROW(%s) AS wh_differs",
			columns_of(versioned, "w"), columns_of(versioned, "w"));
	wh_sql_append(sql,
				  " FROM wh_stream w WINDOW o AS (PARTITION BY %s ORDER BY w.wh_lsn), "
				  "v AS (PARTITION BY %s, w.wh_valued ORDER BY w.wh_lsn))",
				  key, key);
}

/*
 * append_moves: the events, with wh_moves (moves a boundary), wh_number (counts these), wh_at
 * (where the boundary lies), and what the key ends with on all versions (wh_value_…, when
 * wh_has_last).
 */
static void
append_moves(StringInfo sql, const WhModel *model)
{
	List *attributes = wh_dimension_attributes(model->columns);
	char *key = columns_of(model->key, "w");
	ListCell *cell;

	wh_sql_append(
		sql,
		", wh_counted AS (SELECT w.*, pg_catalog.count(*) FILTER (WHERE w.wh_moves) OVER "
		"(PARTITION BY %s ORDER BY w.wh_lsn) AS wh_number, "
		"pg_catalog.first_value(w.wh_live AND w.wh_sk IS NULL) OVER l AS wh_has_last",
		key);
	foreach(cell, wh_dimension_keeping(attributes, WH_KEEP_LAST))
		wh_sql_append(sql, ", pg_catalog.first_value(w.%I) OVER l AS wh_value_%d",
					  ((WhAttribute *) lfirst(cell))->column->name,
					  ((WhAttribute *) lfirst(cell))->number);
	foreach(cell, wh_dimension_keeping(attributes, WH_KEEP_PREVIOUS))
	{
		int number = ((WhAttribute *) lfirst(cell))->number;

		wh_sql_append(sql,
					  ", pg_catalog.first_value(CASE WHEN w.wh_turned_%d THEN w.wh_was_%d ELSE "
					  "w.wh_seed_%d END) OVER (PARTITION BY %s ORDER BY w.wh_turned_%d DESC, "
					  "w.wh_lsn DESC) AS wh_value_%d",
					  number, number, number, key, number, number);
	}
	wh_sql_append(
		sql,
		" FROM (SELECT w.*, w.wh_sk IS NULL AND CASE WHEN w.wh_live THEN NOT w.wh_was_live OR "
		"w.wh_differs "
		"ELSE w.wh_was_live END AS wh_moves FROM wh_known w) w "
		"WINDOW l AS (PARTITION BY %s ORDER BY w.wh_live AND w.wh_sk IS NULL DESC, w.wh_lsn DESC))",
		key);
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
	char *key = columns_of(model->key, "w");

	/* The boundaries alone, each with the next one of its key. */
	wh_sql_append(sql,
				  ", wh_version AS MATERIALIZED (SELECT w.*, pg_catalog.lead(w.wh_at) OVER "
				  "(PARTITION BY %s ORDER BY w.wh_number) AS wh_next FROM wh_move w WHERE "
				  "w.wh_moves)",
				  key);
	wh_sql_append(
		sql,
		", wh_key AS (SELECT v.*, v.wh_moves AND v.wh_seed_live AS wh_closes, "
		"v.wh_moves AND v.wh_was_inferred AS wh_fills, "
		"v.wh_has_last AND v.wh_seed_row OPERATOR(pg_catalog.*<>) ROW(%s) AS wh_overwrites "
		"FROM (SELECT DISTINCT ON (%s) w.* FROM (SELECT * FROM wh_version UNION ALL "
		"SELECT m.*, NULL FROM wh_move m WHERE NOT m.wh_moves) w WHERE w.wh_seed_sk IS NOT NULL "
		"ORDER BY %s, w.wh_moves DESC, w.wh_number) v)",
		overwritten_values(model, "v"), key, key);
}

/* append_update: closes, fills and overwrites rows that are there; each once. */
static void
append_update(StringInfo sql, const WhModel *model, const WhLoad *load)
{
	const char *sk = wh_sql_identifier(wh_dimension_sk(model));
	ListCell *cell;

	wh_sql_append(
		sql,
		", wh_updated AS (UPDATE %T d SET load_id = %l, is_inferred = d.is_inferred AND NOT "
		"t.wh_fills, "
		"valid_to = CASE WHEN d.%s <> t.wh_seed_sk THEN d.valid_to WHEN t.wh_closes THEN t.wh_at "
		"WHEN t.wh_fills THEN COALESCE(t.wh_next, 'infinity') ELSE d.valid_to END, "
		"is_current = CASE WHEN d.%s <> t.wh_seed_sk THEN d.is_current WHEN t.wh_closes THEN false "
		"WHEN t.wh_fills THEN t.wh_next IS NULL ELSE d.is_current END",
		model->relid, load->id, sk, sk);
	if (wh_dimension_on_delete(model) == WH_DELETE_TOMBSTONE)
		wh_sql_append(sql, ", is_deleted = d.is_deleted AND NOT t.wh_closes");
	foreach(cell, wh_dimension_attributes(model->columns))
	{
		WhAttribute *attribute = lfirst(cell);
		bool is_same = attribute->keep == WH_KEEP_LAST || attribute->keep == WH_KEEP_PREVIOUS;

		wh_sql_append(sql, ", %I = CASE WHEN t.%s THEN ", attribute->name,
					  is_same ? "wh_has_last" : "wh_fills");
		append_value(sql, attribute, "t");
		wh_sql_append(sql, " ELSE d.%I END", attribute->name);
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
	List *attributes = wh_dimension_attributes(model->columns);
	ListCell *cell;

	wh_sql_append(sql,
				  ", wh_inserted AS (INSERT INTO %T (%s, valid_from, valid_to, is_current, "
				  "is_inferred, load_id) SELECT ",
				  model->relid, wh_dimension_attribute_list(attributes, NULL));
	foreach(cell, attributes)
	{
		append_value(sql, lfirst(cell), "v");
		wh_sql_append(sql, ", ");
	}
	wh_sql_append(
		sql,
		"v.wh_at, COALESCE(v.wh_next, 'infinity'), v.wh_next IS NULL, false, %l FROM "
		"wh_version v "
		"WHERE v.wh_live AND NOT (v.wh_was_inferred AND v.wh_number = 1) ORDER BY v.wh_lsn "
		"RETURNING 1)",
		load->id);
}

/* append_value: what an attribute has in a version: its own image, or what all versions have. */
static void
append_value(StringInfo sql, const WhAttribute *attribute, const char *alias)
{
	if (attribute->keep == WH_KEEP_VERSION)
		wh_sql_append(sql, "%s.%I", alias, attribute->column->name);
	else
		wh_sql_append(sql, "%s.wh_value_%d", alias, attribute->number);
}

/*
 * overwritten_values lists what later images overwrite on all versions: with an alias the values
 * that a key ends with, without one those of a row w of the stream.  The <column>_current of type 6
 * is there as the column itself, which has the same value on the present row.
 */
static char *
overwritten_values(const WhModel *model, const char *alias)
{
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	foreach(cell, wh_dimension_attributes(model->columns))
	{
		WhAttribute *attribute = lfirst(cell);

		if (attribute->keep != WH_KEEP_LAST && attribute->keep != WH_KEEP_PREVIOUS)
			continue;
		if (sql.len > 0)
			wh_sql_append(&sql, ", ");
		if (alias != NULL)
			append_value(&sql, attribute, alias);
		else if (attribute->keep == WH_KEEP_PREVIOUS)
			wh_sql_append(&sql, "w.wh_older_%d", attribute->number);
		else
			wh_sql_append(&sql, "w.%I", attribute->column->name);
	}
	return sql.data;
}

static char *
columns_of(List *columns, const char *alias)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_model_column_list(&sql, columns, alias);
	return sql.data;
}
