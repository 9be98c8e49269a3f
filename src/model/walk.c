/*
 * walk.c
 *		What a range of changes means for a model over several tables: which keys of the driving
 * table it concerns, and which rows of every table belong to them.
 *
 * Everything is staged, step by step, for positions $1 and $2:
 *
 *	- "wh.known<t>": of table t the images of the rows that the log names, each with the interval
 * [wh.from, wh.until) of positions at which the row had it; from 0/0: before $1 already; equal
 * neighbours are one.  "wh.seen<t>": the keys of these rows, which the mirror is not asked for.
 *	- "wh.up<s>": from the leaves of the join to its root, values of alias s that lead to its
 * parent: those of rows that changed, and of rows that a changed row further out belongs to.  At
 * the root they are keys of the driving table: "wh.key", numbered by "wh.d".
 *	- "wh.row<s>": from the root to the leaves, the images of alias s that belong to each key at
 * some position.
 *
 * Both walks may find too much, never too little: they follow equalities alone, and the query
 * itself decides (evaluate.c).  What the log does not name has not changed and is read from the
 * mirror, by LATERAL probes of its indexes, with a fence that keeps the planner from joining the
 * whole of it.  Stages are joined with each other by hash, never by nested loops.  So the work is
 * that of the changes, whatever the size of the tables (P5).
 *
 * The log above $2 is looked at, too: a load may stop short of the feed's position, as builds and
 * verify() do.
 *
 * Of a model that is sampled (sample.c) there is no walk up: its keys have been chosen.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"

#include "base/base.h"
#include "model/model.h"
#include "model/model_private.h"
#include "model/walk_private.h"

static void stage_events(WhWalk *walk);
static bool begin(WhWalk *walk);
static bool walk_down(WhWalk *walk);
static void stage_known(WhWalk *walk, const WhJoinTable *table);
static void append_later(StringInfo sql, const WhJoinTable *table);
static void stage_seen(WhWalk *walk, const WhJoinTable *table);
static void stage_up(WhWalk *walk, const WhJoinAlias *alias);
static char *up_columns(const WhWalk *walk, const WhJoinAlias *alias);
static void stage_rows(WhWalk *walk, const WhJoinAlias *alias);
static void append_reached(StringInfo sql, const WhWalk *walk, const WhJoinAlias *alias,
						   const char *lead, const char *from, const char *condition);
static char *attributes(Oid relid, const Bitmapset *columns, const char *alias);
static char *key_of(const WhJoinTable *table, const char *alias);
static void fill(const WhWalk *walk, const char *name, const char *sql);

void
wh_model_stage_events(WhModel *model, WhStage *stage, XLogRecPtr from, XLogRecPtr to)
{
	WhWalk walk = {model, model->join, stage, {WH_ARG_LSN(from), WH_ARG_LSN(to)}};

	stage_events(&walk);
}

void
wh_model_stage_history(WhModel *model, WhStage *stage, XLogRecPtr from, XLogRecPtr to)
{
	WhWalk walk = {model, model->join, stage, {WH_ARG_LSN(from), WH_ARG_LSN(to)}};

	walk.before = true;
	stage_events(&walk);
}

static void
stage_events(WhWalk *walk)
{
	int level;

	if (walk->join == NULL)
	{
		if (walk->model->sampled)
			wh_model_sample_table(walk->model, walk->stage,
								  DatumGetLSN(walk->args[0].value));
		return;
	}
	level = wh_walk_push_settings();
	if (walk_down(walk))
		wh_walk_evaluate_events(walk);
	wh_settings_pop(level);
}

void
wh_model_stage_ends(WhModel *model, WhStage *stage, XLogRecPtr from, XLogRecPtr to)
{
	WhWalk walk = {model, model->join, stage, {WH_ARG_LSN(from), WH_ARG_LSN(to)}};
	int level;

	if (model->join == NULL)
		return;
	walk.ends = true;
	level = wh_walk_push_settings();
	if (walk_down(&walk))
		wh_walk_evaluate_ends(&walk);
	wh_settings_pop(level);
}

void
wh_model_stage_keys(WhModel *model, WhStage *stage, XLogRecPtr from, XLogRecPtr to)
{
	WhWalk walk = {model, model->join, stage, {WH_ARG_LSN(from), WH_ARG_LSN(to)}};
	bool guarded = model->guarded;
	int level;

	if (model->join == NULL)
		return;
	level = wh_walk_push_settings();
	if (model->join->is_exact)
		(void) begin(&walk);
	else
	{
		/* The keys are values of the query: it is computed where it can be. */
		model->guarded = true;
		wh_model_stage_events(model, stage, from, to);
		model->guarded = guarded;
	}
	wh_settings_pop(level);
}

void
wh_model_keys_sql(StringInfo sql, const WhModel *model)
{
	const WhJoin *join = model->join;
	const WhFeedTable *table = model->source;
	ListCell *column;
	ListCell *attnum;

	if (join == NULL)
	{
		wh_model_last_sql(sql, model);
		return;
	}
	if (!join->is_exact)
	{
		wh_model_events_sql(sql, model);
		return;
	}
	wh_sql_append(sql, "SELECT ");
	forboth(column, join->driver_key, attnum, table->key)
		wh_sql_append(sql, "%sk.%I AS %I", column == list_head(join->driver_key) ? "" : ", ",
					  wh_model_mirror_column(table, lfirst_int(attnum)),
					  ((WhModelColumn *) lfirst(column))->name);
	if (join->is_idle)
		wh_sql_append(sql, " FROM %T k WHERE false", table->mirror);
	else
		wh_sql_append(sql, " FROM \"wh.key\" k");
}

int
wh_walk_push_settings(void)
{
	int level = wh_settings_push_joins(WH_JOINS_WHOLE);

	/* A mirror is probed; its statistics may say that it is empty. */
	wh_settings_avoid_scans();
	return level;
}

/* begin stages the known images and the keys of the driving table; false when there is nothing to
 * do. */
static bool
begin(WhWalk *walk)
{
	StringInfoData sql;
	WhRows *rows;
	ListCell *cell;
	bool any = false;

	walk->join->is_idle = true;
	walk->touched = palloc0(sizeof(bool) * (list_length(walk->join->tables) + 1));
	walk->later = palloc0(sizeof(bool) * (list_length(walk->join->tables) + 1));
	walk->has_up = palloc0(sizeof(bool) * (list_length(walk->join->aliases) + 1));
	initStringInfo(&sql);
	foreach(cell, walk->join->tables)
		wh_sql_append(&sql,
					  "%sEXISTS (SELECT FROM %T l WHERE l.lsn > $1 AND l.lsn <= $2), "
					  "EXISTS (SELECT FROM %T l WHERE l.lsn > $2)",
					  sql.len > 0 ? ", " : "SELECT ",
					  ((WhJoinTable *) lfirst(cell))->table->log,
					  ((WhJoinTable *) lfirst(cell))->table->log);
	rows = wh_stage_query(walk->stage, sql.data, 2, walk->args);
	foreach(cell, walk->join->tables)
	{
		WhJoinTable *table = lfirst(cell);

		walk->touched[table->number] = wh_rows_bool(rows, 0, 2 * table->number - 1);
		walk->later[table->number] = wh_rows_bool(rows, 0, 2 * table->number);
		any = any || walk->touched[table->number];
	}
	if (!any && !walk->model->sampled)
		return false;
	foreach(cell, walk->join->tables)
	{
		WhJoinTable *table = lfirst(cell);

		if (!walk->touched[table->number] && !walk->later[table->number])
			continue;
		stage_known(walk, table);
		stage_seen(walk, table);
	}
	if (walk->model->sampled)
		fill(walk, "wh.key", "SELECT k.* FROM \"wh.driver\" k");
	else
	{
		stage_up(walk, walk->join->driver);
		if (!walk->has_up[walk->join->driver->number])
			return false;
		fill(walk, "wh.key",
			 wh_sql("SELECT pg_catalog.row_number() OVER () AS \"wh.d\", u.* FROM \"wh.up%d\" u",
					walk->join->driver->number));
	}
	walk->join->is_idle = wh_stage_count(walk->stage, "wh.key") == 0;
	return !walk->join->is_idle;
}

static bool
walk_down(WhWalk *walk)
{
	if (!begin(walk))
		return false;
	stage_rows(walk, walk->join->driver);
	return true;
}

/* stage_known fills "wh.known<t>"; for a walk to the ends alone, without what held nowhere but
 * between them. */
static void
stage_known(WhWalk *walk, const WhJoinTable *table)
{
	const WhFeedTable *source = table->table;
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql,
				  "WITH e AS (SELECT '0/0'::pg_lsn AS \"wh.at\", b.\"wh.op\" = 'B' AS "
				  "\"wh.there\", %s FROM (SELECT DISTINCT ON (%s) l.op AS \"wh.op\", ",
				  wh_walk_columns(table, "b"), key_of(table, NULL));
	wh_model_log_columns(&sql, source, "l");
	wh_sql_append(&sql,
				  " FROM %T l WHERE l.lsn > $1 AND l.lsn <= $2 AND l.op <> 'T' ORDER BY %s, l.lsn, "
				  "l.seq, l.op) b UNION ALL SELECT i.\"wh.lsn\", i.\"wh.there\", %s FROM (",
				  source->log, key_of(table, NULL), wh_walk_columns(table, "i"));
	wh_model_last_images(&sql, source, wh_sql_relation(source->log));
	wh_sql_append(
		&sql,
		") i), x AS (SELECT e.*, pg_catalog.lag(e.\"wh.there\") OVER o AS \"wh.was\", "
		"pg_catalog.lag(ROW(%s)) OVER o OPERATOR(pg_catalog.*<>) ROW(%s) AS \"wh.differs\" "
		"FROM e WINDOW o AS (PARTITION BY %s ORDER BY e.\"wh.at\")), "
		"y AS (SELECT x.*, pg_catalog.lead(x.\"wh.at\", 1, " WH_WALK_EVER ") OVER "
		"(PARTITION BY %s ORDER BY x.\"wh.at\") AS \"wh.until\" FROM x WHERE x.\"wh.was\" IS NULL "
		"OR x.\"wh.there\" <> x.\"wh.was\" OR x.\"wh.there\" AND x.\"wh.differs\") "
		"SELECT %s, y.\"wh.at\" AS \"wh.from\", y.\"wh.until\" FROM y WHERE y.\"wh.there\"",
		wh_walk_columns(table, "e"), wh_walk_columns(table, "e"), key_of(table, "e"),
		key_of(table, "x"), wh_walk_columns(table, "y"));
	if (walk->ends)
		wh_sql_append(&sql, " AND (y.\"wh.at\" = '0/0' OR y.\"wh.until\" = " WH_WALK_EVER ")");
	if (walk->later[table->number])
		append_later(&sql, table);
	fill(walk, psprintf("wh.known%d", table->number), sql.data);
}

/* append_later: rows that the log names above $2 alone; so they had one image all the while. */
static void
append_later(StringInfo sql, const WhJoinTable *table)
{
	const WhFeedTable *source = table->table;
	ListCell *cell;

	wh_sql_append(sql,
				  " UNION ALL SELECT %s, '0/0', " WH_WALK_EVER " FROM (SELECT DISTINCT ON (%s) "
				  "l.op AS \"wh.op\", ",
				  wh_walk_columns(table, "f"), key_of(table, NULL));
	wh_model_log_columns(sql, source, "l");
	wh_sql_append(
		sql,
		" FROM %T l WHERE l.lsn > $2 AND l.op <> 'T' ORDER BY %s, l.lsn, l.seq, l.op) f "
		"WHERE f.\"wh.op\" = 'B' AND NOT EXISTS (SELECT FROM %T r WHERE r.lsn > $1 AND "
		"r.lsn <= $2 AND r.op <> 'T'",
		source->log, key_of(table, NULL), source->log);
	foreach(cell, source->key)
	{
		const char *column = wh_model_mirror_column(source, lfirst_int(cell));

		wh_sql_append(
			sql, " AND r.%I %s f.%I", wh_model_log_column(source, lfirst_int(cell)),
			wh_model_equality(get_atttype(source->mirror, get_attnum(source->mirror, column))),
			column);
	}
	wh_sql_append(sql, ")");
}

static void
stage_seen(WhWalk *walk, const WhJoinTable *table)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT DISTINCT %s FROM (SELECT ", key_of(table, "k"));
	wh_model_log_columns(&sql, table->table, "l");
	wh_sql_append(&sql, " FROM %T l WHERE l.lsn > $1 AND l.op <> 'T') k",
				  table->table->log);
	fill(walk, psprintf("wh.seen%d", table->number), sql.data);
}

/* stage_up fills "wh.up<s>" of an alias, after those that lead to it. */
static void
stage_up(WhWalk *walk, const WhJoinAlias *alias)
{
	const char *columns = up_columns(walk, alias);
	StringInfoData sql;
	ListCell *cell;
	char *name = psprintf("wh.up%d", alias->number);

	initStringInfo(&sql);
	if (walk->touched[alias->table->number])
		wh_sql_append(&sql,
					  "SELECT %s FROM \"wh.known%d\" s%d WHERE s%d.\"wh.from\" > '0/0' OR "
					  "s%d.\"wh.until\" < " WH_WALK_EVER,
					  columns, alias->table->number, alias->number, alias->number, alias->number);
	foreach(cell, walk->join->aliases)
	{
		WhJoinAlias *child = lfirst(cell);

		if (child->parent != alias->number)
			continue;
		stage_up(walk, child);
		if (!walk->has_up[child->number])
			continue;
		wh_sql_append(&sql, "%sSELECT %s FROM (", sql.len > 0 ? " UNION ALL " : "", columns);
		append_reached(&sql, walk, alias, "",
					   wh_sql("\"wh.up%d\" s%d", child->number, child->number), child->edge);
		wh_sql_append(&sql, ") s%d", alias->number);
	}
	if (sql.len == 0)
		return;
	fill(walk, name, wh_sql("SELECT DISTINCT * FROM (%s) u", sql.data));
	walk->has_up[alias->number] = wh_stage_count(walk->stage, name) > 0;
}

/* up_columns lists the columns of an alias that lead to its parent; at the root, the key. */
static char *
up_columns(const WhWalk *walk, const WhJoinAlias *alias)
{
	const char *name = psprintf("s%d", alias->number);

	if (alias->parent == 0)
		return key_of(alias->table, name);
	return attributes(alias->table->table->mirror, alias->own_columns, name);
}

/* stage_rows fills "wh.row<s>" of an alias, and then those of its children. */
static void
stage_rows(WhWalk *walk, const WhJoinAlias *alias)
{
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	if (alias->parent == 0)
		append_reached(&sql, walk, alias, "k.\"wh.d\", ", "\"wh.key\" k",
					   wh_walk_driver_match(walk->join, "k", psprintf("s%d", alias->number)));
	else
	{
		const WhJoinAlias *parent = wh_model_join_alias(walk->join, alias->parent);
		char *name = psprintf("s%d", parent->number);

		append_reached(&sql, walk, alias, wh_sql("%s.\"wh.d\", ", name),
					   wh_sql("(SELECT DISTINCT %s.\"wh.d\", %s FROM \"wh.row%d\" %s) %s", name,
							  attributes(parent->table->table->mirror, alias->parent_columns, name),
							  parent->number, name, name),
					   alias->edge);
	}
	fill(walk, psprintf("wh.row%d", alias->number), sql.data);
	foreach(cell, walk->join->aliases)
	{
		if (((WhJoinAlias *) lfirst(cell))->parent == alias->number)
			stage_rows(walk, lfirst(cell));
	}
}

/*
 * append_reached appends a SELECT of the images of an alias s<n> that meet a condition with rows
 * of `from`: first `lead`, then the columns, wh.from and wh.until.
 */
static void
append_reached(StringInfo sql, const WhWalk *walk, const WhJoinAlias *alias, const char *lead,
			   const char *from, const char *condition)
{
	const WhJoinTable *table = alias->table;
	int number = table->number;
	char *name = psprintf("s%d", alias->number);
	char *columns = wh_walk_columns(table, name);
	bool is_known = walk->touched[number] || walk->later[number];
	ListCell *cell;

	if (is_known)
		wh_sql_append(sql,
					  "SELECT %s%s, %s.\"wh.from\", %s.\"wh.until\" FROM %s JOIN \"wh.known%d\" "
					  "%s ON %s UNION ALL ",
					  lead, columns, name, name, from, number, name, condition);
	wh_sql_append(sql,
				  "SELECT %s%s, '0/0'::pg_lsn AS \"wh.from\", " WH_WALK_EVER
				  "::pg_lsn AS \"wh.until\" "
				  "FROM %s CROSS JOIN LATERAL (SELECT %s FROM %T %s WHERE %s OFFSET 0) %s",
				  lead, columns, from, columns, table->table->mirror, name, condition, name);
	if (!is_known)
		return;
	wh_sql_append(sql, " WHERE NOT EXISTS (SELECT FROM \"wh.seen%d\" g WHERE ", number);
	foreach(cell, table->table->key)
	{
		const char *column = wh_model_mirror_column(table->table, lfirst_int(cell));
		Oid mirror = table->table->mirror;

		wh_sql_append(sql, "%sg.%I %s %s.%I", cell == list_head(table->table->key) ? "" : " AND ",
					  column, wh_model_equality(get_atttype(mirror, get_attnum(mirror, column))),
					  name, column);
	}
	wh_sql_append(sql, ")");
}

char *
wh_walk_driver_match(const WhJoin *join, const char *left, const char *right)
{
	const WhFeedTable *table = join->driver->table->table;
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	foreach(cell, table->key)
	{
		const char *column = wh_model_mirror_column(table, lfirst_int(cell));

		wh_sql_append(
			&sql, "%s%s.%I %s %s.%I", sql.len > 0 ? " AND " : "", left, column,
			wh_model_equality(get_atttype(table->mirror, get_attnum(table->mirror, column))),
			right, column);
	}
	return sql.data;
}

char *
wh_walk_columns(const WhJoinTable *table, const char *alias)
{
	return attributes(table->table->mirror, table->columns, alias);
}

static char *
attributes(Oid relid, const Bitmapset *columns, const char *alias)
{
	StringInfoData sql;
	int attnum = -1;

	initStringInfo(&sql);
	while ((attnum = bms_next_member(columns, attnum)) >= 0)
		wh_sql_append(&sql, "%s%s.%I", sql.len > 0 ? ", " : "", alias,
					  get_attname(relid, attnum, false));
	return sql.data;
}

/* key_of lists a mirror's key; without an alias as output columns. */
static char *
key_of(const WhJoinTable *table, const char *alias)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_model_source_key(&sql, table->table, alias);
	return sql.data;
}

static void
fill(const WhWalk *walk, const char *name, const char *sql)
{
	(void) wh_stage_fill(walk->stage, name, sql, 2, walk->args);
}
