/*
 * origins.c
 *		Where single rows of a model come from: the source rows that belong to them, and what the
 * log has of these.
 *
 * Of each table that the query reads, by its alias: "wh.image<n>" has the images that belong to
 * the rows asked for, in the range or in the mirror now; from the driving table outwards, along
 * the equalities that join, as a walk down does (walk.c).  Their keys, "wh.keys<n>", name the rows
 * whose log is told.  That may be too much, never too little of what the range holds.
 *
 * Looked at is the range alone, by the log's index on lsn, so the work is that of the range and
 * not of the log (P5).  A range of more rows than a limit is cut to its newest ones, unless the
 * log has an index by key: then that is probed, and the range costs nothing.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "model/model.h"
#include "model/model_private.h"

/* One search. */
typedef struct Search
{
	const WhModel *model;
	WhStage *stage;
	const char *rows; /* the stage's relation with the rows asked for */
	WhOrigins *origins;
} Search;

static bool cut(Search *search, const WhFeedTable *table);
static void search_alias(Search *search, const WhJoinAlias *alias);
static void stage_driver(Search *search, int number, const WhFeedTable *table);
static void stage_child(Search *search, const WhJoinAlias *alias);
static void stage_keys(Search *search, int number, const WhFeedTable *table);
static void stage_changes(Search *search, int number, const WhFeedTable *table);
static void append_images(StringInfo sql, const WhFeedTable *table, const char *alias);
static void append_key_match(StringInfo sql, const WhFeedTable *table, const char *a,
							 const char *b, bool is_log);
static List *driver_key(const WhModel *model);
static void fill(Search *search, const char *name, const char *sql);

void
wh_model_stage_origins(const WhModel *model, WhStage *stage, const char *rows,
					   WhOrigins *origins)
{
	Search search = {model, stage, rows, origins};
	List *waiting;
	int level;
	ListCell *cell;

	origins->cut_at = InvalidXLogRecPtr;
	foreach(cell, model->sources)
		(void) cut(&search, lfirst(cell));
	level = wh_settings_push_joins(WH_JOINS_PROBE);
	wh_settings_avoid_scans();
	if (model->join == NULL)
	{
		stage_driver(&search, 1, model->source);
		stage_keys(&search, 1, model->source);
		stage_changes(&search, 1, model->source);
		wh_settings_pop(level);
		return;
	}
	/* Parents before children. */
	waiting = list_make1(model->join->driver);
	while (waiting != NIL)
	{
		WhJoinAlias *alias = linitial(waiting);

		waiting = list_delete_first(waiting);
		search_alias(&search, alias);
		foreach(cell, model->join->aliases)
		{
			WhJoinAlias *child = lfirst(cell);

			if (child != model->join->driver && child->parent == alias->number)
				waiting = lappend(waiting, child);
		}
	}
	wh_settings_pop(level);
}

/* cut moves the range's beginning up, where a table's log has more rows in it than the limit. */
static bool
cut(Search *search, const WhFeedTable *table)
{
	WhOrigins *origins = search->origins;
	WhRows *rows;

	if (table->log_key_index)
		return false;
	rows = wh_stage_query(
		search->stage,
		wh_sql("SELECT pg_catalog.count(*), pg_catalog.min(x.lsn) FROM (SELECT l.lsn FROM %T l"
			   " WHERE l.lsn > $1 AND l.lsn <= $2 ORDER BY l.lsn DESC, l.seq DESC LIMIT %l) x",
			   table->log, origins->limit + 1),
		2, (WhArg[]){WH_ARG_LSN(origins->from), WH_ARG_LSN(origins->to)});
	if (wh_rows_int8(rows, 0, 1) <= origins->limit)
		return false;
	/* The transaction that the limit falls into is left out, unless it is the only one. */
	origins->cut_at = Max(origins->cut_at, Min(wh_rows_lsn(rows, 0, 2), origins->to - 1));
	return true;
}

static void
search_alias(Search *search, const WhJoinAlias *alias)
{
	if (alias == search->model->join->driver)
		stage_driver(search, alias->number, alias->table->table);
	else
		stage_child(search, alias);
	stage_keys(search, alias->number, alias->table->table);
	stage_changes(search, alias->number, alias->table->table);
}

/* stage_driver: the images of the driving table's rows that the model's rows are of. */
static void
stage_driver(Search *search, int number, const WhFeedTable *table)
{
	List *key = driver_key(search->model);
	StringInfoData sql;

	initStringInfo(&sql);
	for (int part = 0; part < 2; part++)
	{
		bool is_log = part == 1;

		wh_sql_append(&sql, "%sSELECT ", is_log ? " UNION ALL " : "");
		append_images(&sql, table, is_log ? "l" : "m");
		wh_sql_append(&sql, " FROM (SELECT DISTINCT ");
		wh_model_column_list(&sql, key, "r");
		wh_sql_append(&sql, " FROM %s r) r JOIN %T %s ON ", search->rows,
					  is_log ? table->log : table->mirror, is_log ? "l" : "m");
		for (int i = 0; i < list_length(key); i++)
		{
			WhModelColumn *column = list_nth(key, i);
			int attnum = list_nth_int(table->key, i);

			wh_sql_append(&sql, "%s%s.%I %s r.%I", i > 0 ? " AND " : "", is_log ? "l" : "m",
						  is_log ? wh_model_log_column(table, attnum) :
								   wh_model_mirror_column(table, attnum),
						  wh_model_equality(column->type), column->name);
		}
	}
	wh_sql_append(&sql, " AND l.lsn > $1 AND l.lsn <= $2 AND l.op <> 'T'");
	fill(search, psprintf("wh.image%d", number), sql.data);
}

/* driver_key lists the model's columns that are the driving table's key, in its order. */
static List *
driver_key(const WhModel *model)
{
	List *result = NIL;
	ListCell *cell;

	if (model->join != NULL)
		return model->join->driver_key;
	foreach(cell, model->source->key)
	{
		AttrNumber attnum = get_attnum(model->source->mirror,
									   wh_model_mirror_column(model->source, lfirst_int(cell)));
		ListCell *of_model;

		foreach(of_model, model->key)
		{
			if (((WhModelColumn *) lfirst(of_model))->attnum == attnum)
			{
				result = lappend(result, lfirst(of_model));
				break;
			}
		}
	}
	return result;
}

/* stage_child: the images that its edge ties to those of its parent. */
static void
stage_child(Search *search, const WhJoinAlias *alias)
{
	const WhFeedTable *table = alias->table->table;
	StringInfoData sql;

	initStringInfo(&sql);
	for (int part = 0; part < 2; part++)
	{
		bool is_log = part == 1;

		wh_sql_append(&sql, "%sSELECT s%d.* FROM \"wh.image%d\" s%d CROSS JOIN LATERAL (SELECT ",
					  is_log ? " UNION ALL " : "", alias->number, alias->parent, alias->parent);
		append_images(&sql, table, is_log ? "l" : "m");
		wh_sql_append(&sql, " FROM %T %s%s) s%d WHERE %s", is_log ? table->log : table->mirror,
					  is_log ? "l" : "m",
					  is_log ? " WHERE l.lsn > $1 AND l.lsn <= $2 AND l.op <> 'T'" : "",
					  alias->number, alias->edge);
	}
	fill(search, psprintf("wh.image%d", alias->number), sql.data);
}

/* append_images lists a mirror's or log's columns under the mirror's names. */
static void
append_images(StringInfo sql, const WhFeedTable *table, const char *alias)
{
	bool is_log = strcmp(alias, "l") == 0;
	ListCell *cell;

	if (is_log)
	{
		wh_model_log_columns(sql, table, alias);
		return;
	}
	foreach(cell, table->columns)
		wh_sql_append(sql, "%s%s.%I", cell == list_head(table->columns) ? "" : ", ", alias,
					  ((WhFeedColumn *) lfirst(cell))->mirror_column);
}

/* stage_keys: the keys of a table's images, numbered. */
static void
stage_keys(Search *search, int number, const WhFeedTable *table)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT k.*, pg_catalog.row_number() OVER () AS \"wh.n\" FROM (SELECT "
						"DISTINCT ");
	wh_model_source_key(&sql, table, "i");
	wh_sql_append(&sql, " FROM \"wh.image%d\" i) k WHERE $1 IS NOT NULL AND $2 IS NOT NULL",
				  number);
	fill(search, psprintf("wh.keys%d", number), sql.data);
}

/*
 * stage_changes adds what the log has of these rows to "wh.change".  The row before a change is the
 * one in the log before it: B, or an earlier change of the same transaction.  A TRUNCATE is told
 * where the transaction has a change, or B, of the row before it.
 */
static void
stage_changes(Search *search, int number, const WhFeedTable *table)
{
	StringInfoData sql;
	const char *separator = "";
	ListCell *cell;

	initStringInfo(&sql);
	wh_sql_append(&sql,
				  "WITH own AS MATERIALIZED (SELECT k.\"wh.n\", l.lsn, l.seq, l.op, CASE WHEN l.op"
				  " IN ('B', 'I', 'U') THEN pg_catalog.jsonb_build_object(");
	foreach(cell, table->columns)
	{
		WhFeedColumn *column = lfirst(cell);

		/* A function takes a hundred arguments. */
		if (foreach_current_index(cell) % 50 == 0 && foreach_current_index(cell) > 0)
		{
			wh_sql_append(&sql, ") OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object(");
			separator = "";
		}
		wh_sql_append(&sql, "%s%L::pg_catalog.text, l.%I", separator, column->source_name,
					  column->log_column);
		separator = ", ";
	}
	wh_sql_append(&sql, ") END AS image FROM \"wh.keys%d\" k JOIN %T l ON ", number, table->log);
	append_key_match(&sql, table, "l", "k", true);
	wh_sql_append(
		&sql,
		" AND l.lsn > $1 AND l.lsn <= $2 AND l.op <> 'T'),"
		" emptied AS (SELECT o.\"wh.n\", l.lsn, l.seq, l.op, NULL::pg_catalog.jsonb FROM"
		" (SELECT DISTINCT o.\"wh.n\", o.lsn FROM own o) o JOIN %T t ON t.end_lsn = o.lsn AND"
		" t.truncates > 0 JOIN %T l ON l.lsn = o.lsn AND l.op = 'T')"
		" SELECT %u::pg_catalog.oid AS relid, c.\"wh.n\" AS n, c.lsn, c.seq, c.op, c.before,"
		" c.image AS after FROM (SELECT a.*, pg_catalog.lag(a.image) OVER w AS before FROM"
		" (TABLE own UNION ALL TABLE emptied) a"
		" WINDOW w AS (PARTITION BY a.\"wh.n\" ORDER BY a.lsn, a.seq, a.op)) c"
		" WHERE c.op <> 'B' AND (c.op <> 'T' OR c.before IS NOT NULL)",
		wh_changelog_txn_relid(search->model->feed), table->log, table->mirror);
	(void) wh_stage_append(search->stage, "wh.change", search->stage, sql.data, 2,
						   (WhArg[]){WH_ARG_LSN(Max(search->origins->from,
													search->origins->cut_at)),
									 WH_ARG_LSN(search->origins->to)});
}

static void
append_key_match(StringInfo sql, const WhFeedTable *table, const char *a, const char *b,
				 bool is_log)
{
	ListCell *cell;

	foreach(cell, table->key)
	{
		const char *mirror = wh_model_mirror_column(table, lfirst_int(cell));

		wh_sql_append(
			sql, "%s%s.%I %s %s.%I", cell == list_head(table->key) ? "" : " AND ", a,
			is_log ? wh_model_log_column(table, lfirst_int(cell)) : mirror,
			wh_model_equality(get_atttype(table->mirror, get_attnum(table->mirror, mirror))), b,
			mirror);
	}
}

static void
fill(Search *search, const char *name, const char *sql)
{
	wh_stage_fill(search->stage, name, sql, 2,
				  (WhArg[]){WH_ARG_LSN(Max(search->origins->from, search->origins->cut_at)),
							WH_ARG_LSN(search->origins->to)});
}
