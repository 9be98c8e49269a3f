/*
 * versions.c
 *		The versions of a dimension with an effective column, worked out anew from an instant on.
 *
 * An event of an earlier instant changes nothing before that instant.  So of each key that a load
 * touches the versions from the least instant touched (wh_lo) on are derived again, from the
 * events that the table has from there on, behind the last live event before (the "seed") and
 * whether the key was live just before wh_lo.  They are then compared with the rows that stand
 * there:
 *	- a version that begins where a row begins is that row: it keeps its surrogate key, and is
 * written when it differs; the first version of a key begins at -infinity, whichever event opens
 * it;
 *	- the others are inserted, and rows that no version has are deleted; where facts may refer to
 * a member of which nothing is left, its first row becomes an inferred member in place;
 *	- the row that the seed is in may get another end;
 *	- what is the same on all versions (attributes.c) follows from the last live event, the first
 * one or the last change, in order of instants: of those from the seed on where they tell, and
 * else from the row that the seed is in, which had it before.  Only where an event was replaced
 * may that row be wrong about the value before the last change; then it is looked for among the
 * events before.
 *
 * That is one statement.  It also gives the times that rows have lost, for facts (moved.c).  Its
 * cost follows the events from wh_lo on, fetched by LATERAL probes; nothing joins two sets of
 * them, windows over one stream bring them together, because hash and merge joins are off.
 *
 * A build has all events at hand and no rows: the same windows over them.
 */
#include "postgres.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

/* What a statement is made for. */
typedef struct Versions
{
	const WhModel *model;
	const WhLoad *load;
	bool is_build;
	bool keeps; /* a fact may refer to a row of which nothing is left */
	const char *sk;
	Oid events;
	List *attributes;
	List *common; /* those of them that are the same on all versions */
} Versions;

static void prepare(Versions *versions, const WhModel *model, const WhLoad *load, bool is_build);
static void append_scope(StringInfo sql, const Versions *versions);
static void append_stream(StringInfo sql, const Versions *versions);
static void append_steps(StringInfo sql, const Versions *versions);
static void append_values(StringInfo sql, const Versions *versions);
static void append_value(StringInfo sql, const Versions *versions, const WhAttribute *attribute);
static void append_wanted(StringInfo sql, const Versions *versions);
static void append_pairs(StringInfo sql, const Versions *versions);
static void append_update(StringInfo sql, const Versions *versions);
static void append_older(StringInfo sql, const Versions *versions);
static void append_insert(StringInfo sql, const Versions *versions, const char *from);
static void append_delete(StringInfo sql, const Versions *versions);
static void append_lost(StringInfo sql);
static char *own_values(const Versions *versions, const char *alias);
static char *common_of(const Versions *versions, const char *alias, bool as_names);
static char *columns_of(List *columns, const char *alias);

void
wh_dimension_build_versions(WhModel *model, WhLoad *load, WhStage *stage, WhCounts *counts)
{
	Versions versions;
	StringInfoData sql;

	prepare(&versions, model, load, true);
	initStringInfo(&sql);
	wh_sql_append(&sql,
				  "WITH wh_stream AS MATERIALIZED (SELECT %s, e.wh_effective, e.wh_lsn, e.wh_live, "
				  "false AS wh_seed, e.wh_live AS wh_open, NULL::timestamptz AS wh_from0 FROM "
				  "wh_event e)",
				  columns_of(model->columns, "e"));
	append_steps(&sql, &versions);
	append_values(&sql, &versions);
	append_wanted(&sql, &versions);
	append_insert(&sql, &versions, "wh_want t");
	counts->inserted += wh_stage_execute(stage, sql.data, 0, NULL);
}

void
wh_dimension_load_versions(WhModel *model, WhLoad *load, WhStage *stage, WhCounts *counts)
{
	Versions versions;
	StringInfoData sql;
	WhRows *rows;

	prepare(&versions, model, load, false);
	initStringInfo(&sql);
	append_scope(&sql, &versions);
	append_stream(&sql, &versions);
	append_steps(&sql, &versions);
	append_values(&sql, &versions);
	append_wanted(&sql, &versions);
	append_pairs(&sql, &versions);
	append_update(&sql, &versions);
	append_older(&sql, &versions);
	wh_sql_append(&sql, ", wh_inserted AS (");
	append_insert(&sql, &versions,
				  "wh_pair t WHERE t.wh_wanted AND NOT t.wh_seed AND t.wh_target IS NULL "
				  "ORDER BY t.wh_lsn");
	wh_sql_append(&sql, " RETURNING 1)");
	append_delete(&sql, &versions);
	append_lost(&sql);
	wh_stage_fill(stage, "wh_written", sql.data, 0, NULL);
	rows = wh_stage_query(stage,
						  "SELECT w.inserted, w.updated, w.deleted FROM wh_written w LIMIT 1", 0,
						  NULL);
	counts->inserted += wh_rows_int8(rows, 0, 1);
	counts->updated += wh_rows_int8(rows, 0, 2);
	counts->deleted += wh_rows_int8(rows, 0, 3);
	wh_stage_fill(stage, "wh_lost",
				  "SELECT w.sk, w.from_time, w.to_time FROM wh_written w WHERE w.sk IS NOT NULL", 0,
				  NULL);
	wh_dimension_move_facts(model, stage, "wh_lost", load->to);
}

static void
prepare(Versions *versions, const WhModel *model, const WhLoad *load, bool is_build)
{
	ListCell *cell;

	memset(versions, 0, sizeof(Versions));
	versions->model = model;
	versions->load = load;
	versions->is_build = is_build;
	versions->keeps = !is_build && wh_dimension_has_facts(model);
	versions->sk = wh_sql_identifier(wh_dimension_sk(model));
	versions->events = wh_dimension_events(model);
	versions->attributes = wh_dimension_attributes(model->columns);
	foreach(cell, versions->attributes)
	{
		if (((WhAttribute *) lfirst(cell))->keep != WH_KEEP_VERSION)
			versions->common = lappend(versions->common, lfirst(cell));
	}
}

/*
 * append_scope: wh_scope, one row for each key of wh_event: wh_lo, and of the row before it where
 * it begins (wh_from0) and what it has of types 0 and 3 (wh_own_…).
 */
static void
append_scope(StringInfo sql, const Versions *versions)
{
	const WhModel *model = versions->model;
	bool has_previous = wh_dimension_keeping(versions->attributes, WH_KEEP_PREVIOUS) != NIL;
	ListCell *cell;

	wh_sql_append(sql, "WITH wh_scope AS MATERIALIZED (SELECT k.*, c.valid_from AS wh_from0");
	foreach(cell, versions->common)
	{
		WhAttribute *attribute = lfirst(cell);

		if (attribute->keep != WH_KEEP_LAST)
			wh_sql_append(sql, ", c.%I AS wh_own_%d", attribute->name, attribute->number);
	}
	wh_sql_append(sql,
				  " FROM (SELECT %s, pg_catalog.min(e.wh_effective) AS wh_lo%s FROM wh_event e "
				  "GROUP BY %s) k LEFT JOIN LATERAL (SELECT d.* FROM %T d WHERE ",
				  columns_of(model->key, "e"),
				  has_previous ? ", pg_catalog.bool_or(e.wh_replaces) AS wh_replaces" : "",
				  columns_of(model->key, "e"), model->relid);
	wh_model_key_join(sql, model, "d", "k");
	wh_sql_append(sql,
				  " AND d.valid_from < k.wh_lo ORDER BY d.valid_from DESC LIMIT 1) c ON true)");
}

/* append_stream: wh_stream, the seeds and the events from wh_lo on.  wh_open: the key is live after
 * it; the seed is, but a delete may follow it. */
static void
append_stream(StringInfo sql, const Versions *versions)
{
	const WhModel *model = versions->model;
	StringInfoData match;
	char *own = own_values(versions, "k");

	initStringInfo(&match);
	wh_model_key_join(&match, model, "e", "k");
	wh_sql_append(
		sql,
		", wh_stream AS MATERIALIZED (SELECT %s, e.wh_effective, e.wh_lsn, e.wh_live, true AS "
		"wh_seed, (SELECT e.wh_live FROM %T e WHERE %s AND e.wh_effective < k.wh_lo ORDER BY "
		"e.wh_effective DESC LIMIT 1) AS wh_open, k.wh_from0%s FROM wh_scope k CROSS JOIN LATERAL "
		"(SELECT e.* FROM %T e WHERE %s AND e.wh_effective < k.wh_lo AND e.wh_live ORDER BY "
		"e.wh_effective DESC LIMIT 1) e",
		columns_of(model->columns, "e"), versions->events, match.data, own, versions->events,
		match.data);
	wh_sql_append(
		sql,
		" UNION ALL SELECT %s, e.wh_effective, e.wh_lsn, e.wh_live, false, e.wh_live, k.wh_from0%s "
		"FROM wh_scope k CROSS JOIN LATERAL (SELECT e.* FROM %T e WHERE %s AND e.wh_effective >= "
		"k.wh_lo) e)",
		columns_of(model->columns, "e"), own, versions->events, match.data);
}

/*
 * append_steps: wh_step, the stream with what windows tell of the event before: wh_was_live,
 * wh_differs, wh_is_first (none before is live); of type 3 whether a live event changes the column
 * and what it was (wh_turned_…, wh_was_…); and whether the key has a seed.
 */
static void
append_steps(StringInfo sql, const Versions *versions)
{
	const WhModel *model = versions->model;
	List *versioned = wh_dimension_versioned_columns(model);
	char *key = columns_of(model->key, "s");
	ListCell *cell;

	wh_sql_append(sql,
				  ", wh_step AS (SELECT s.*, COALESCE(pg_catalog.lag(s.wh_open) OVER o, false) AS "
				  "wh_was_live, pg_catalog.count(*) FILTER (WHERE s.wh_live) OVER (o ROWS BETWEEN "
				  "UNBOUNDED PRECEDING AND 1 PRECEDING) = 0 AS wh_is_first, "
				  "pg_catalog.bool_or(s.wh_seed) OVER (PARTITION BY %s) AS wh_has_seed",
				  key);
	if (versioned == NIL)
		wh_sql_append(sql, ", false AS wh_differs");
	else
		wh_sql_append(
			sql, ", pg_catalog.lag(ROW(%s)) OVER o OPERATOR(pg_catalog.*<>) ROW(%s) AS wh_differs",
			columns_of(versioned, "s"), columns_of(versioned, "s"));
	foreach(cell, wh_dimension_keeping(versions->attributes, WH_KEEP_PREVIOUS))
	{
		int number = ((WhAttribute *) lfirst(cell))->number;
		const char *name = wh_sql_identifier(((WhAttribute *) lfirst(cell))->column->name);

		wh_sql_append(sql,
					  ", s.wh_live AND COALESCE(pg_catalog.lag(ROW(s.%s)) OVER l "
					  "OPERATOR(pg_catalog.*<>) ROW(s.%s), false) AS wh_turned_%d, "
					  "pg_catalog.lag(s.%s) OVER l AS wh_was_%d",
					  name, name, number, name, number);
	}
	wh_sql_append(sql,
				  " FROM wh_stream s WINDOW o AS (PARTITION BY %s ORDER BY s.wh_effective), "
				  "l AS (PARTITION BY %s, s.wh_live ORDER BY s.wh_effective))",
				  key, key);
}

/* append_values: wh_valued, the steps with what the key has on all versions (wh_value_…). */
static void
append_values(StringInfo sql, const Versions *versions)
{
	char *key = columns_of(versions->model->key, "s");
	ListCell *cell;

	wh_sql_append(sql, ", wh_valued AS (SELECT s.*");
	foreach(cell, versions->common)
	{
		wh_sql_append(sql, ", ");
		append_value(sql, versions, lfirst(cell));
		wh_sql_append(sql, " AS wh_value_%d", ((WhAttribute *) lfirst(cell))->number);
	}
	wh_sql_append(sql,
				  " FROM wh_step s WINDOW z AS (PARTITION BY %s ORDER BY s.wh_live DESC, "
				  "s.wh_effective DESC), a AS (PARTITION BY %s ORDER BY s.wh_live DESC, "
				  "s.wh_effective))",
				  key, key);
}

static void
append_value(StringInfo sql, const Versions *versions, const WhAttribute *attribute)
{
	const char *name = wh_sql_identifier(attribute->column->name);
	char *key = columns_of(versions->model->key, "s");
	int number = attribute->number;

	if (attribute->keep == WH_KEEP_LAST)
		wh_sql_append(sql, "pg_catalog.first_value(s.%s) OVER z", name);
	else if (attribute->keep == WH_KEEP_FIRST && versions->is_build)
		wh_sql_append(sql, "pg_catalog.first_value(s.%s) OVER a", name);
	else if (attribute->keep == WH_KEEP_FIRST)
		wh_sql_append(
			sql,
			"CASE WHEN s.wh_has_seed THEN s.wh_own_%d ELSE pg_catalog.first_value(s.%s) OVER a END",
			number, name);
	else
	{
		wh_sql_append(
			sql,
			"CASE WHEN pg_catalog.bool_or(s.wh_turned_%d) OVER (PARTITION BY %s) THEN "
			"pg_catalog.first_value(s.wh_was_%d) OVER (PARTITION BY %s ORDER BY s.wh_turned_%d "
			"DESC, s.wh_effective DESC)",
			number, key, number, key, number);
		if (!versions->is_build)
		{
			/* All from the seed on have one value: that of the seed. */
			wh_sql_append(
				sql,
				" WHEN s.wh_has_seed AND s.wh_replaces THEN (SELECT e.%s FROM %T e WHERE "
				"s.wh_live AND ",
				name, versions->events);
			wh_model_key_join(sql, versions->model, "e", "s");
			wh_sql_append(
				sql,
				" AND e.wh_live AND e.wh_effective < s.wh_effective AND ROW(e.%s)::record "
				"OPERATOR(pg_catalog.*<>) ROW(s.%s)::record ORDER BY e.wh_effective DESC LIMIT 1) "
				"WHEN s.wh_has_seed THEN s.wh_own_%d",
				name, name, number);
		}
		wh_sql_append(sql, " END");
	}
}

/*
 * append_wanted: wh_want, the versions that there shall be from the seed's on: wh_from, wh_end (the
 * next boundary; NULL: none), and wh_next (where the next version begins).
 */
static void
append_wanted(StringInfo sql, const Versions *versions)
{
	char *key = columns_of(versions->model->key, "w");

	wh_sql_append(
		sql,
		", wh_want AS (SELECT w.*, pg_catalog.lead(w.wh_from) OVER (PARTITION BY %s ORDER BY "
		"w.wh_effective) AS wh_next FROM (SELECT w.*, CASE WHEN w.wh_seed THEN w.wh_from0 WHEN "
		"w.wh_is_first THEN '-infinity' ELSE w.wh_effective END AS wh_from FROM "
		"(SELECT w.*, pg_catalog.lead(w.wh_effective) OVER (PARTITION BY %s ORDER BY "
		"w.wh_effective) AS wh_end FROM wh_valued w WHERE w.wh_seed OR CASE WHEN w.wh_live THEN "
		"NOT w.wh_was_live OR w.wh_differs ELSE w.wh_was_live END) w WHERE w.wh_live) w)",
		key, key);
}

/*
 * append_pairs: wh_pair, the versions that there shall be (wh_wanted) with the rows that they are
 * (wh_target), and the rows that stand there (wh_sk), with whether one of the versions is theirs
 * (wh_stays), and where the one after them began and begins.
 */
static void
append_pairs(StringInfo sql, const Versions *versions)
{
	const WhModel *model = versions->model;
	List *others = NIL;
	ListCell *cell;

	foreach(cell, model->columns)
	{
		if (!((WhModelColumn *) lfirst(cell))->is_key)
			others = lappend(others, lfirst(cell));
	}
	wh_sql_append(
		sql,
		", wh_have AS (SELECT %s, d.* FROM wh_scope k CROSS JOIN LATERAL (SELECT d.%s AS wh_sk, "
		"d.valid_from AS wh_from, pg_catalog.lead(d.valid_from) OVER (ORDER BY d.valid_from) AS "
		"wh_old_next, d.is_inferred AS wh_inferred FROM %T d WHERE ",
		columns_of(model->key, "k"), versions->sk, model->relid);
	wh_model_key_join(sql, model, "d", "k");
	wh_sql_append(
		sql,
		" AND d.valid_from >= COALESCE(k.wh_from0, '-infinity')) d), "
		"wh_pair AS MATERIALIZED (SELECT p.*, pg_catalog.max(p.wh_sk) OVER x AS wh_target, "
		"pg_catalog.bool_or(p.wh_wanted) OVER x AS wh_stays, pg_catalog.max(p.wh_next) "
		"OVER x AS wh_new_next FROM (SELECT true AS wh_wanted, %s, w.wh_from, w.wh_next, "
		"NULL::pg_catalog.int8 AS wh_sk, NULL::pg_catalog.timestamptz AS wh_old_next, "
		"NULL::pg_catalog.bool AS wh_inferred, w.wh_seed, w.wh_open, w.wh_end, w.wh_lsn",
		columns_of(model->key, "w"));
	foreach(cell, others)
		wh_sql_append(sql, ", w.%I", ((WhModelColumn *) lfirst(cell))->name);
	foreach(cell, versions->common)
		wh_sql_append(sql, ", w.wh_value_%d", ((WhAttribute *) lfirst(cell))->number);
	wh_sql_append(sql,
				  " FROM wh_want w UNION ALL SELECT false, %s, h.wh_from, NULL, h.wh_sk, "
				  "h.wh_old_next, h.wh_inferred, NULL, NULL, NULL, NULL",
				  columns_of(model->key, "h"));
	for (int i = 0; i < list_length(others) + list_length(versions->common); i++)
		wh_sql_append(sql, ", NULL");
	wh_sql_append(sql, " FROM wh_have h) p WINDOW x AS (PARTITION BY %s, p.wh_from))",
				  columns_of(model->key, "p"));
}

/* append_update: rows that stay and differ; the seed's keeps its own image. */
static void
append_update(StringInfo sql, const Versions *versions)
{
	bool is_tombstone = wh_dimension_on_delete(versions->model) == WH_DELETE_TOMBSTONE;
	StringInfoData names;
	StringInfoData present;
	StringInfoData values;
	ListCell *cell;

	initStringInfo(&names);
	initStringInfo(&present);
	initStringInfo(&values);
	wh_sql_append(&names, "is_inferred, valid_to, is_current%s",
				  is_tombstone ? ", is_deleted" : "");
	wh_sql_append(&present, "d.is_inferred, d.valid_to, d.is_current%s",
				  is_tombstone ? ", d.is_deleted" : "");
	wh_sql_append(&values,
				  "false, CASE WHEN t.wh_open OR NOT t.wh_seed THEN COALESCE(t.wh_end, 'infinity') "
				  "ELSE d.valid_to END, CASE WHEN t.wh_open OR NOT t.wh_seed THEN t.wh_end IS NULL "
				  "ELSE d.is_current END%s",
				  is_tombstone ? ", false" : "");
	foreach(cell, versions->attributes)
	{
		WhAttribute *attribute = lfirst(cell);
		const char *name = wh_sql_identifier(attribute->name);

		wh_sql_append(&names, ", %s", name);
		wh_sql_append(&present, ", d.%s", name);
		if (attribute->keep == WH_KEEP_VERSION)
			wh_sql_append(&values, ", CASE WHEN t.wh_seed THEN d.%s ELSE t.%I END", name,
						  attribute->column->name);
		else
			wh_sql_append(&values, ", t.wh_value_%d", attribute->number);
	}
	wh_sql_append(
		sql,
		", wh_updated AS (UPDATE %T d SET (load_id, %s) = ROW(%l, %s) FROM wh_pair t WHERE "
		"t.wh_wanted AND d.%s = t.wh_target AND ROW(%s)::record OPERATOR(pg_catalog.*<>) "
		"ROW(%s)::record RETURNING 1)",
		versions->model->relid, names.data, versions->load->id, values.data, versions->sk,
		present.data, values.data);
}

/* append_older: the rows before the seed's, where what is the same on all versions has changed. */
static void
append_older(StringInfo sql, const Versions *versions)
{
	const WhModel *model = versions->model;

	wh_sql_append(
		sql,
		", wh_older AS (UPDATE %T d SET (load_id, %s) = ROW(%l, %s) FROM (SELECT t.*, o.* FROM "
		"wh_pair t CROSS JOIN LATERAL (SELECT FROM %T d WHERE d.%s = t.wh_target AND "
		"ROW(%s)::record "
		"OPERATOR(pg_catalog.*<>) ROW(%s)::record OFFSET 0) c CROSS JOIN LATERAL (SELECT d.%s AS "
		"wh_old FROM %T d WHERE ",
		model->relid, common_of(versions, NULL, true), versions->load->id,
		common_of(versions, "t", false), model->relid, versions->sk,
		common_of(versions, "d", true), common_of(versions, "t", false), versions->sk,
		model->relid);
	wh_model_key_join(sql, model, "d", "t");
	wh_sql_append(
		sql,
		" AND d.valid_from < t.wh_from) o WHERE t.wh_wanted AND t.wh_seed) t WHERE d.%s = "
		"t.wh_old RETURNING 1)",
		versions->sk);
}

/* append_insert: an INSERT of versions t of a FROM clause. */
static void
append_insert(StringInfo sql, const Versions *versions, const char *from)
{
	ListCell *cell;

	wh_sql_append(sql,
				  " INSERT INTO %T (%s, valid_from, valid_to, is_current, is_inferred, load_id) "
				  "SELECT ",
				  versions->model->relid,
				  wh_dimension_attribute_list(versions->attributes, NULL));
	foreach(cell, versions->attributes)
	{
		WhAttribute *attribute = lfirst(cell);

		if (attribute->keep == WH_KEEP_VERSION)
			wh_sql_append(sql, "t.%I, ", attribute->column->name);
		else
			wh_sql_append(sql, "t.wh_value_%d, ", attribute->number);
	}
	wh_sql_append(sql,
				  "t.wh_from, COALESCE(t.wh_end, 'infinity'), t.wh_end IS NULL, false, %l FROM %s",
				  versions->load->id, from);
}

/* append_delete: rows that are no version any more; the first one of a member, of which then
 * nothing is left, stays as an inferred member where facts may refer to it. */
static void
append_delete(StringInfo sql, const Versions *versions)
{
	Oid relid = versions->model->relid;
	ListCell *cell;

	wh_sql_append(sql,
				  ", wh_deleted AS (DELETE FROM %T d USING wh_pair t WHERE d.%s = t.wh_sk AND NOT "
				  "t.wh_stays AND NOT (t.wh_from = '-infinity' AND %s) RETURNING 1), "
				  "wh_emptied AS (UPDATE %T d SET valid_to = 'infinity', is_current = true, "
				  "is_inferred = true, load_id = %l",
				  relid, versions->sk, versions->keeps ? "true" : "t.wh_inferred", relid,
				  versions->load->id);
	foreach(cell, versions->attributes)
	{
		WhAttribute *attribute = lfirst(cell);

		if (!attribute->column->is_key)
			wh_sql_append(sql, ", %I = NULL", attribute->name);
	}
	wh_sql_append(sql,
				  " FROM wh_pair t WHERE d.%s = t.wh_sk AND NOT t.wh_stays AND t.wh_from = "
				  "'-infinity' AND NOT t.wh_inferred AND %s RETURNING 1)",
				  versions->sk, versions->keeps ? "true" : "false");
}

/* append_lost: the numbers of rows written, and the times that rows have lost, if any. */
static void
append_lost(StringInfo sql)
{
	wh_sql_append(
		sql,
		" SELECT n.*, l.* FROM (SELECT (SELECT pg_catalog.count(*) FROM wh_inserted) AS inserted, "
		"(SELECT pg_catalog.count(*) FROM wh_updated) + (SELECT pg_catalog.count(*) FROM wh_older) "
		"+ (SELECT pg_catalog.count(*) FROM wh_emptied) AS updated, "
		"(SELECT pg_catalog.count(*) FROM wh_deleted) AS deleted) n LEFT JOIN (SELECT * FROM "
		"(SELECT t.wh_sk AS sk, CASE WHEN t.wh_stays THEN COALESCE(t.wh_new_next, 'infinity') ELSE "
		"t.wh_from END AS from_time, COALESCE(t.wh_old_next, 'infinity') AS to_time FROM wh_pair t "
		"WHERE NOT t.wh_wanted AND (t.wh_stays OR t.wh_from > '-infinity')) l "
		"WHERE l.from_time < l.to_time) l ON true");
}

/* own_values lists what wh_scope has of types 0 and 3, for wh_stream. */
static char *
own_values(const Versions *versions, const char *alias)
{
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	foreach(cell, versions->common)
	{
		WhAttribute *attribute = lfirst(cell);

		if (attribute->keep != WH_KEEP_LAST)
			wh_sql_append(&sql, ", %s.wh_own_%d", alias, attribute->number);
	}
	if (wh_dimension_keeping(versions->attributes, WH_KEEP_PREVIOUS) != NIL)
		wh_sql_append(&sql, ", %s.wh_replaces", alias);
	return sql.data;
}

/* common_of lists what is the same on all versions: as the table names it, or as wh_pair does. */
static char *
common_of(const Versions *versions, const char *alias, bool as_names)
{
	StringInfoData sql;
	ListCell *cell;

	if (as_names)
		return wh_dimension_attribute_list(versions->common, alias);
	initStringInfo(&sql);
	foreach(cell, versions->common)
		wh_sql_append(&sql, "%s%s.wh_value_%d", sql.len > 0 ? ", " : "", alias,
					  ((WhAttribute *) lfirst(cell))->number);
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
