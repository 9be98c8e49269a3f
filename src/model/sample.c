/*
 * sample.c
 *		A random sample of a model's keys, and what mirror and log have of them.
 *
 * verify() of a sample runs the same statements as that of a whole model, over a small copy of the
 * world: keys are drawn, half of them from the model's own rows and half from the table that
 * drives its query, so that rows which are missing can be met as well as rows which should not be
 * there; then the log's and the mirror's rows of these keys are staged, and the statements read
 * the stages ("wh.mirror", "wh.log").  Of a query over several tables the walk begins with the
 * keys (walk.c).  So what is said of the keys that were drawn is exact.
 *
 * Rows are drawn by pages: a few pages of a table, chosen by TABLESAMPLE, and of their rows as
 * many as are wanted; of a table with partitions by a systematic sample over all sizes.  What
 * is touched is proportional to the sample, whatever the table's size.  All chance comes from
 * random(), so that setseed() makes it come again.
 *
 * The log has no index by key: what lies above the position that a kind asks for is read whole.
 * wh_model_sample_start bounds that for kinds that need history.
 */
#include "postgres.h"

#include <limits.h>

#include "catalog/pg_type.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "model/model.h"
#include "model/model_private.h"

/* Pages that are read beyond one for each row that is wanted: a page may be empty. */
#define SPARE_PAGES 3

static WhRows *choose_parts(const WhStage *stage, Oid relid, int64 count);
static void stage_driver(WhModel *model, WhStage *stage, const char *more);
static int64 share_of_rows(const WhStage *stage, int32 count);
static char *driver_columns(const WhModel *model, const char *alias);
static const char *model_key_of(const WhModel *model, int place);
static char *match_driver(const WhModel *model, const char *alias, bool is_log);
static const char *driver_equality(const WhFeedTable *table, int attnum);
static void fill_probing(WhStage *stage, const char *name, const char *sql);
static void leave_out_bad(const WhModel *model, WhStage *stage, XLogRecPtr from);

static int verify_log_rows = 10000;

void
wh_model_sample_init(void)
{
	DefineCustomIntVariable("walhouse.verify_log_rows",
							"How many rows of a change log verify() of a sample replays at most.",
							"Of a dimension's history, what is older is taken from its own rows.",
							&verify_log_rows, 10000, 0, INT_MAX, PGC_USERSET, 0, NULL, NULL, NULL);
}

void
wh_model_sample(WhModel *model, WhStage *stage, int32 count, const char *more,
				const char *condition, const char *also)
{
	int64 of_rows = share_of_rows(stage, count);
	StringInfoData sql;

	initStringInfo(&sql);
	wh_model_column_list(&sql, model->key, "d");
	wh_sql_append(&sql, "%s", more);
	wh_model_draw(stage, "wh.drawn", model->relid, sql.data, condition, of_rows);
	if (also != NULL)
		(void) wh_stage_fill(stage, "wh.drawn",
							 wh_sql("SELECT * FROM \"wh.drawn\" UNION ALL %s", also), 0, NULL);
	resetStringInfo(&sql);
	wh_model_source_key(&sql, model->source, "d");
	wh_model_draw(stage, "wh.source", model->source->mirror, sql.data, "true", count - of_rows);
	stage_driver(model, stage, " UNION SELECT d.* FROM \"wh.source\" d");
}

void
wh_model_sample_these(WhModel *model, WhStage *stage, const char *keys)
{
	(void) wh_stage_fill(stage, "wh.drawn", keys, 0, NULL);
	stage_driver(model, stage, "");
}

/* stage_driver fills "wh.driver" with what the drawn rows have of the driving table's key, and with
 * what else there is. */
static void
stage_driver(WhModel *model, WhStage *stage, const char *more)
{
	(void) wh_stage_fill(stage, "wh.driver",
						 wh_sql("SELECT pg_catalog.row_number() OVER () AS \"wh.d\", u.* FROM "
								"(SELECT DISTINCT %s FROM \"wh.drawn\" d%s) u",
								driver_columns(model, "d"), more),
						 0, NULL);
	model->sampled = true;
}

/* share_of_rows says how many keys are drawn from the model's rows; a single one by chance. */
static int64
share_of_rows(const WhStage *stage, int32 count)
{
	if (count > 1)
		return (count + 1) / 2;
	return wh_rows_int4(
		wh_stage_query(stage, "SELECT (pg_catalog.random() < 0.5)::pg_catalog.int4", 0, NULL), 0,
		1);
}

/* driver_columns lists the key of the driving table, under the mirror's names, in a row of the
 * model. */
static char *
driver_columns(const WhModel *model, const char *alias)
{
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	foreach(cell, model->source->key)
		wh_sql_append(&sql, "%s%s.%I AS %I", sql.len > 0 ? ", " : "", alias,
					  model_key_of(model, foreach_current_index(cell)),
					  wh_model_mirror_column(model->source, lfirst_int(cell)));
	return sql.data;
}

/* model_key_of names the model's column that is the driving table's key column of that place. */
static const char *
model_key_of(const WhModel *model, int place)
{
	const WhFeedTable *table = model->source;
	const char *name = wh_model_mirror_column(table, list_nth_int(table->key, place));
	AttrNumber attnum = get_attnum(table->mirror, name);
	ListCell *cell;

	if (model->join != NULL)
		return ((WhModelColumn *) list_nth(model->join->driver_key, place))->name;
	foreach(cell, model->key)
	{
		if (((WhModelColumn *) lfirst(cell))->attnum == attnum)
			return ((WhModelColumn *) lfirst(cell))->name;
	}
	elog(ERROR, "the key of %s lacks column \"%s\" of its table", model->name, name);
}

void
wh_model_draw(WhStage *stage, const char *name, Oid relid, const char *columns,
			  const char *condition, int64 count)
{
	WhRows *parts = choose_parts(stage, relid, count);
	StringInfoData sql;

	initStringInfo(&sql);
	for (uint64 i = 0; i < parts->count; i++)
	{
		int64 rows = wh_rows_int8(parts, i, 2);
		double pages = (double) (rows + SPARE_PAGES) / wh_rows_int8(parts, i, 3);

		wh_sql_append(&sql,
					  "%s(SELECT %s FROM %T d TABLESAMPLE SYSTEM (%s) REPEATABLE (%s) WHERE %s "
					  "ORDER BY pg_catalog.random() LIMIT %l)",
					  i == 0 ? "" : " UNION ALL ", columns, wh_rows_oid(parts, i, 1),
					  psprintf("%.9f", Min(100.0, 100.0 * pages)), wh_rows_text(parts, i, 4),
					  condition, rows);
	}
	if (parts->count == 0)
		wh_sql_append(&sql, "SELECT %s FROM %T d WHERE false", columns, relid);
	(void) wh_stage_fill(stage, name, sql.data, 0, NULL);
}

/*
 * choose_parts returns the tables to draw from, a relation itself or partitions of it: OID, rows
 * to draw, pages, and a seed.  Every count-th part of all pages gives one row, from a random
 * beginning on.
 */
static WhRows *
choose_parts(const WhStage *stage, Oid relid, int64 count)
{
	return wh_stage_query(
		stage,
		"WITH RECURSIVE t AS (SELECT $1 AS relid UNION ALL SELECT i.inhrelid FROM t JOIN "
		"pg_catalog.pg_inherits i ON i.inhparent = t.relid), "
		"p AS (SELECT t.relid, pg_catalog.pg_relation_size(t.relid) / "
		"pg_catalog.current_setting('block_size')::pg_catalog.int8 AS pages FROM t JOIN "
		"pg_catalog.pg_class c ON c.oid = t.relid WHERE c.relkind = 'r'), "
		"u AS MATERIALIZED (SELECT p.*, pg_catalog.sum(p.pages) OVER (ORDER BY p.relid) AS upto, "
		"pg_catalog.sum(p.pages) OVER () AS total FROM p WHERE p.pages > 0), "
		"r AS MATERIALIZED (SELECT pg_catalog.random() AS shift), "
		"n AS (SELECT u.relid, u.pages, (pg_catalog.ceil(u.upto::float8 * $2 / u.total::float8 "
		"- r.shift) - pg_catalog.ceil((u.upto - u.pages)::float8 * $2 / u.total::float8 "
		"- r.shift))::pg_catalog.int8 AS rows FROM u CROSS JOIN r) "
		"SELECT n.relid, n.rows, n.pages, pg_catalog.floor(pg_catalog.random() * 1e9)"
		"::pg_catalog.int8 FROM n WHERE n.rows > 0 ORDER BY n.relid",
		2, (WhArg[]){WH_ARG_OID(relid), WH_ARG_INT8(count)});
}

const char *
wh_model_mirror(const WhModel *model)
{
	return model->sampled ? "\"wh.mirror\"" : wh_sql_relation(model->source->mirror);
}

const char *
wh_model_log(const WhModel *model)
{
	return model->sampled ? "\"wh.log\"" : wh_sql_relation(model->source->log);
}

void
wh_model_sample_table(const WhModel *model, WhStage *stage, XLogRecPtr from)
{
	const WhFeedTable *table = model->source;

	fill_probing(stage, "wh.mirror",
				 wh_sql("SELECT m.* FROM \"wh.driver\" k CROSS JOIN LATERAL (SELECT m.* FROM %T m "
						"WHERE %s OFFSET 0) m",
						table->mirror, match_driver(model, "m", false)));
	(void) wh_stage_fill(stage, "wh.log",
						 wh_sql("SELECT l.* FROM %T l WHERE l.lsn > $1 AND (l.op = 'T' OR "
								"l.op <> 'T' AND EXISTS (SELECT FROM \"wh.driver\" k WHERE %s))",
								table->log, match_driver(model, "l", true)),
						 1, (WhArg[]){WH_ARG_LSN(from)});
	if (model->guarded)
		leave_out_bad(model, stage, from);
}

/* match_driver is "alias.k1 = k.k1 AND …" over the driving table's key, by the names of the log
 * or the mirror. */
static char *
match_driver(const WhModel *model, const char *alias, bool is_log)
{
	const WhFeedTable *table = model->source;
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	foreach(cell, table->key)
	{
		const char *column = wh_model_mirror_column(table, lfirst_int(cell));

		wh_sql_append(&sql, "%s%s.%I %s k.%I", sql.len > 0 ? " AND " : "", alias,
					  is_log ? wh_model_log_column(table, lfirst_int(cell)) : column,
					  driver_equality(table, lfirst_int(cell)), column);
	}
	return sql.data;
}

static const char *
driver_equality(const WhFeedTable *table, int attnum)
{
	const char *column = wh_model_mirror_column(table, attnum);

	return wh_model_equality(get_atttype(table->mirror, get_attnum(table->mirror, column)));
}

/*
 * leave_out_bad: of keys whose image at the beginning cannot be computed (guard.c) it is not known
 * here what the model has for them; so nothing is said of these.
 */
static void
leave_out_bad(const WhModel *model, WhStage *stage, XLogRecPtr from)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_model_bad_keys_sql(&sql, model);
	(void) wh_stage_fill(stage, "wh.bad", sql.data, 1, (WhArg[]){WH_ARG_LSN(from)});
	if (wh_stage_count(stage, "wh.bad") == 0)
		return;
	wh_model_sample_leave_out(model, stage);
	(void) wh_stage_fill(stage, "wh.mirror",
						 wh_sql("SELECT m.* FROM \"wh.mirror\" m WHERE NOT EXISTS (SELECT FROM "
								"\"wh.bad\" k WHERE %s)",
								match_driver(model, "m", false)),
						 0, NULL);
	(void) wh_stage_fill(stage, "wh.log",
						 wh_sql("SELECT l.* FROM \"wh.log\" l WHERE l.op = 'T' OR NOT EXISTS "
								"(SELECT FROM \"wh.bad\" k WHERE %s)",
								match_driver(model, "l", true)),
						 0, NULL);
}

void
wh_model_sample_leave_out(const WhModel *model, WhStage *stage)
{
	StringInfoData match;
	ListCell *cell;

	initStringInfo(&match);
	foreach(cell, model->source->key)
		wh_sql_append(&match, "%sk.%I %s d.%I", match.len > 0 ? " AND " : "",
					  wh_model_mirror_column(model->source, lfirst_int(cell)),
					  driver_equality(model->source, lfirst_int(cell)),
					  model_key_of(model, foreach_current_index(cell)));
	(void) wh_stage_fill(stage, "wh.drawn",
						 wh_sql("SELECT d.* FROM \"wh.drawn\" d WHERE NOT EXISTS (SELECT FROM "
								"\"wh.bad\" k WHERE %s)",
								match.data),
						 0, NULL);
	(void) wh_stage_fill(stage, "wh.driver",
						 wh_sql("SELECT l.* FROM \"wh.driver\" l WHERE NOT EXISTS (SELECT FROM "
								"\"wh.bad\" k WHERE %s)",
								match_driver(model, "l", false)),
						 0, NULL);
}

void
wh_model_sample_keys(const WhModel *model, WhStage *stage)
{
	StringInfoData key;
	StringInfoData sql;

	initStringInfo(&key);
	initStringInfo(&sql);
	wh_model_column_list(&key, model->key, "q");
	if (model->join == NULL)
	{
		wh_sql_append(&sql, "SELECT ");
		for (int i = 0; i < list_length(model->source->key); i++)
			wh_sql_append(
				&sql, "%sq.%I AS %I", i == 0 ? "" : ", ",
				wh_model_mirror_column(model->source, list_nth_int(model->source->key, i)),
				model_key_of(model, i));
		wh_sql_append(&sql, " FROM \"wh.driver\" q");
	}
	else
	{
		wh_sql_append(&sql, "SELECT %s FROM \"wh.drawn\" q", key.data);
		if (!model->join->is_idle)
			wh_sql_append(&sql, " UNION SELECT %s FROM \"wh.result\" q", key.data);
	}
	(void) wh_stage_fill(stage, "wh.sampled", sql.data, 0, NULL);
}

void
wh_model_sample_rows(const WhModel *model, WhStage *stage)
{
	wh_model_sample_beside(model, stage, "wh.rows", model->relid);
}

void
wh_model_sample_beside(const WhModel *model, WhStage *stage, const char *name, Oid relid)
{
	StringInfoData match;

	initStringInfo(&match);
	wh_model_key_join(&match, model, "d", "k");
	fill_probing(stage, name,
				 wh_sql("SELECT d.* FROM \"wh.sampled\" k CROSS JOIN LATERAL (SELECT d.* FROM %T "
						"d WHERE %s OFFSET 0) d",
						relid, match.data));
}

const char *
wh_model_rows(const WhModel *model)
{
	return model->sampled ? "\"wh.rows\"" : wh_sql_relation(model->relid);
}

/* fill_probing stages the result of probes of an index, which no statistics shall turn into
 * something else. */
static void
fill_probing(WhStage *stage, const char *name, const char *sql)
{
	int level = wh_settings_push_joins(WH_JOINS_PROBE);

	wh_settings_avoid_scans();
	(void) wh_stage_fill(stage, name, sql, 0, NULL);
	wh_settings_pop(level);
}

XLogRecPtr
wh_model_sample_start(const WhModel *model, const WhStage *stage, XLogRecPtr start,
					  XLogRecPtr position)
{
	ListCell *cell;

	foreach(cell, model->sources)
	{
		WhRows *rows = wh_stage_query(
			stage,
			wh_sql("SELECT l.lsn FROM %T l WHERE l.lsn > $1 AND l.lsn <= $2 ORDER BY l.lsn DESC "
				   "OFFSET $3 LIMIT 1",
				   ((WhFeedTable *) lfirst(cell))->log),
			3,
			(WhArg[]){WH_ARG_LSN(start), WH_ARG_LSN(position), WH_ARG_INT8(verify_log_rows)});

		if (rows->count > 0)
			start = wh_rows_lsn(rows, 0, 1);
	}
	return start;
}
