/*
 * changes.c
 *		SQL that reads a model's changes and states from change log and mirror.
 *
 * Each statement is built of the same pieces: a subquery that reads log columns under the
 * mirror's names, chooses one row per key (and transaction), and carries "wh.…" columns beside
 * them; over it, as "s", the model's condition and expressions.  Sorting and DISTINCT ON use the
 * default operators of the key's types, which need no name.
 *
 * The state of a key at position p is its first log row after p: none, then the mirror has it; B,
 * then that image; else there was no such row.  The last image of a key in a transaction is its
 * row with the greatest (seq, op) that is no B; a TRUNCATE after it, or after a B alone, has
 * removed the row.
 */
#include "postgres.h"

#include "access/genam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_operator.h"
#include "commands/defrem.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "access/htup_details.h"
#include "utils/typcache.h"

#include "base/base.h"
#include "model/model.h"
#include "model/model_private.h"

static void computable_images(StringInfo sql, const WhModel *model);
static void computes(StringInfo sql, const WhModel *model, const char *alias);
static void mirror_columns(StringInfo sql, const WhFeedTable *table, const char *alias);
static void table_state(StringInfo sql, const WhFeedTable *table, const char *mirror,
						const char *log, const WhModel *guarded);
static void expressions(StringInfo sql, const WhModel *model, const char *guard);

void
wh_model_events_sql(StringInfo sql, const WhModel *model)
{
	if (model->join != NULL)
	{
		wh_model_join_events_sql(sql, model);
		return;
	}
	wh_sql_append(
		sql, "SELECT s.\"wh.lsn\" AS wh_lsn, t.clock AS wh_clock, s.\"wh.live\" AS wh_live, ");
	expressions(sql, model, "s.\"wh.live\"");
	/* OFFSET 0 keeps the condition from being evaluated once for each column. */
	wh_sql_append(sql,
				  " FROM (SELECT s.*, CASE WHEN s.\"wh.there\" THEN %s ELSE false END "
				  "AS \"wh.live\" FROM (",
				  model->condition == NULL ? "true" :
											 wh_sql("COALESCE(%s, false)", model->condition));
	if (model->guarded)
		computable_images(sql, model);
	else
		wh_model_last_images(sql, model->source, wh_model_log(model));
	wh_sql_append(sql, ") s OFFSET 0) s JOIN %T t ON t.end_lsn = s.\"wh.lsn\"",
				  wh_changelog_txn_relid(model->feed));
}

void
wh_model_last_images(StringInfo sql, const WhFeedTable *table, const char *log)
{
	wh_sql_append(sql, "SELECT i.*, i.\"wh.op\" IN ('I', 'U') AND "
					   "COALESCE(i.\"wh.seq\" > r.seq, true) AS \"wh.there\" "
					   "FROM (SELECT DISTINCT ON (");
	wh_model_source_key(sql, table, NULL);
	wh_sql_append(sql,
				  ", \"wh.lsn\") l.lsn AS \"wh.lsn\", l.seq AS \"wh.seq\", l.op AS \"wh.op\", ");
	wh_model_log_columns(sql, table, "l");
	wh_sql_append(sql, " FROM %s l WHERE l.lsn > $1 AND l.lsn <= $2 AND l.op <> 'T' ORDER BY ",
				  log);
	wh_model_source_key(sql, table, NULL);
	wh_sql_append(sql,
				  ", \"wh.lsn\", \"wh.seq\" DESC, \"wh.op\" DESC) i "
				  "LEFT JOIN (WITH r AS MATERIALIZED (SELECT l.lsn, pg_catalog.max(l.seq) AS seq "
				  "FROM %s l WHERE l.lsn > $1 AND l.lsn <= $2 AND l.op = 'T' GROUP BY l.lsn) "
				  "SELECT r.lsn, r.seq FROM r) r "
				  "ON r.lsn = i.\"wh.lsn\" WHERE i.\"wh.op\" <> 'B' OR r.lsn IS NOT NULL",
				  log);
}

/* computable_images is last_images without those that the query cannot compute, but for the last
 * of a key. */
static void
computable_images(StringInfo sql, const WhModel *model)
{
	wh_sql_append(sql, "SELECT g.* FROM (SELECT x.*, pg_catalog.lead(x.\"wh.lsn\") OVER "
					   "(PARTITION BY ");
	wh_model_source_key(sql, model->source, "x");
	wh_sql_append(sql, " ORDER BY x.\"wh.lsn\") AS \"wh.next\" FROM (");
	wh_model_last_images(sql, model->source, wh_model_log(model));
	wh_sql_append(sql, ") x OFFSET 0) g WHERE g.\"wh.next\" IS NULL OR NOT g.\"wh.there\" OR ");
	computes(sql, model, "g");
	wh_sql_append(sql, " OFFSET 0");
}

/* computes appends a call that says whether the query can be computed on an image. */
static void
computes(StringInfo sql, const WhModel *model, const char *alias)
{
	Oid mirror = model->source->mirror;
	const char *separator = "";
	char *name;

	wh_sql_append(sql, "walhouse.model_computes(%d, ROW(", model->id);
	for (AttrNumber attnum = 1; (name = get_attname(mirror, attnum, true)) != NULL; attnum++)
	{
		/* A dropped column has a name that cannot be found. */
		if (get_attnum(mirror, name) != attnum)
			continue;
		wh_sql_append(sql, "%s%s.%I", separator, alias, name);
		separator = ", ";
	}
	wh_sql_append(sql, ")::%T)", mirror);
}

void
wh_model_before_sql(StringInfo sql, const WhModel *model)
{
	if (model->join != NULL)
	{
		wh_model_join_before_sql(sql, model);
		return;
	}
	wh_sql_append(sql, "SELECT ");
	expressions(sql, model, NULL);
	wh_sql_append(sql, " FROM (SELECT * FROM (SELECT DISTINCT ON (");
	wh_model_source_key(sql, model->source, NULL);
	wh_sql_append(sql, ") l.op AS \"wh.op\", ");
	wh_model_log_columns(sql, model->source, "l");
	wh_sql_append(sql, " FROM %s l WHERE l.lsn > $1 AND l.lsn <= $2 AND l.op <> 'T' ORDER BY ",
				  wh_model_log(model));
	wh_model_source_key(sql, model->source, NULL);
	wh_sql_append(sql, ", l.lsn, l.seq, l.op) s WHERE s.\"wh.op\" = 'B' OFFSET 0) s");
	if (model->condition != NULL)
		wh_sql_append(sql, " WHERE %s", model->condition);
}

void
wh_model_state_sql(StringInfo sql, const WhModel *model)
{
	if (model->join != NULL)
	{
		wh_model_join_state_sql(sql, model);
		return;
	}
	wh_sql_append(sql, "SELECT ");
	expressions(sql, model, NULL);
	wh_sql_append(sql, " FROM (");
	table_state(sql, model->source, wh_model_mirror(model), wh_model_log(model),
				model->guarded ? model : NULL);
	wh_sql_append(sql, " OFFSET 0) s");
	if (model->condition != NULL)
		wh_sql_append(sql, " WHERE %s", model->condition);
}

void
wh_model_table_state(StringInfo sql, const WhFeedTable *table)
{
	table_state(sql, table, wh_sql_relation(table->mirror), wh_sql_relation(table->log), NULL);
}

/* table_state appends a SELECT of a table's rows at position $1; with a model, without the images
 * that its query cannot compute. */
static void
table_state(StringInfo sql, const WhFeedTable *table, const char *mirror, const char *log,
			const WhModel *guarded)
{
	ListCell *lc;

	wh_sql_append(sql, "SELECT ");
	mirror_columns(sql, table, "m");
	wh_sql_append(
		sql, " FROM %s m WHERE NOT EXISTS (SELECT FROM %s l WHERE l.lsn > $1 AND l.op <> 'T'",
		mirror, log);
	foreach(lc, table->key)
	{
		const char *column = wh_model_mirror_column(table, lfirst_int(lc));
		Oid type = get_atttype(table->mirror, get_attnum(table->mirror, column));

		wh_sql_append(sql, " AND l.%I %s m.%I", wh_model_log_column(table, lfirst_int(lc)),
					  wh_model_equality(type), column);
	}
	wh_sql_append(sql, ") UNION ALL SELECT ");
	mirror_columns(sql, table, "f");
	wh_sql_append(sql, " FROM (SELECT DISTINCT ON (");
	wh_model_source_key(sql, table, NULL);
	wh_sql_append(sql, ") l.op AS \"wh.op\", ");
	wh_model_log_columns(sql, table, "l");
	wh_sql_append(sql, " FROM %s l WHERE l.lsn > $1 AND l.op <> 'T' ORDER BY ", log);
	wh_model_source_key(sql, table, NULL);
	wh_sql_append(sql, ", l.lsn, l.seq, l.op) f WHERE f.\"wh.op\" = 'B'");
	if (guarded != NULL)
	{
		wh_sql_append(sql, " AND ");
		computes(sql, guarded, "f");
	}
}

void
wh_model_bad_keys_sql(StringInfo sql, const WhModel *model)
{
	wh_sql_append(sql, "SELECT ");
	wh_model_source_key(sql, model->source, "f");
	wh_sql_append(sql, " FROM (SELECT DISTINCT ON (");
	wh_model_source_key(sql, model->source, NULL);
	wh_sql_append(sql, ") l.op AS \"wh.op\", ");
	wh_model_log_columns(sql, model->source, "l");
	wh_sql_append(sql, " FROM %s l WHERE l.lsn > $1 AND l.op <> 'T' ORDER BY ",
				  wh_model_log(model));
	wh_model_source_key(sql, model->source, NULL);
	wh_sql_append(sql, ", l.lsn, l.seq, l.op) f WHERE f.\"wh.op\" = 'B' AND NOT ");
	computes(sql, model, "f");
}

void
wh_model_log_columns(StringInfo sql, const WhFeedTable *table, const char *alias)
{
	const char *separator = "";
	ListCell *lc;

	foreach(lc, table->columns)
	{
		WhFeedColumn *column = lfirst(lc);

		wh_sql_append(sql, "%s%s.%I AS %I", separator, alias, column->log_column,
					  column->mirror_column);
		separator = ", ";
	}
}

static void
mirror_columns(StringInfo sql, const WhFeedTable *table, const char *alias)
{
	const char *separator = "";
	ListCell *lc;

	foreach(lc, table->columns)
	{
		wh_sql_append(sql, "%s%s.%I", separator, alias,
					  ((WhFeedColumn *) lfirst(lc))->mirror_column);
		separator = ", ";
	}
}

void
wh_model_source_key(StringInfo sql, const WhFeedTable *table, const char *alias)
{
	const char *separator = "";
	ListCell *lc;

	foreach(lc, table->key)
	{
		wh_sql_append(sql, alias == NULL ? "%s%s%I" : "%s%s.%I", separator,
					  alias == NULL ? "" : alias,
					  wh_model_mirror_column(table, lfirst_int(lc)));
		separator = ", ";
	}
}

/* expressions appends the query's columns over s; with a guard, all but the key are NULL where it
 * is false. */
static void
expressions(StringInfo sql, const WhModel *model, const char *guard)
{
	const char *separator = "";
	ListCell *lc;

	foreach(lc, model->columns)
	{
		WhModelColumn *column = lfirst(lc);

		if (guard == NULL || column->is_key)
			wh_sql_append(sql, "%s%s AS %I", separator, column->expression, column->name);
		else
			wh_sql_append(sql, "%sCASE WHEN %s THEN %s END AS %I", separator, guard,
						  column->expression, column->name);
		separator = ", ";
	}
}

static WhFeedColumn *
feed_column(const WhFeedTable *table, int attnum)
{
	ListCell *lc;

	foreach(lc, table->columns)
		if (((WhFeedColumn *) lfirst(lc))->attnum == attnum)
			return lfirst(lc);
	elog(ERROR, "table \"%s\" has no column %d in the catalog", table->source_name, attnum);
}

const char *
wh_model_mirror_column(const WhFeedTable *table, int attnum)
{
	return feed_column(table, attnum)->mirror_column;
}

const char *
wh_model_log_column(const WhFeedTable *table, int attnum)
{
	return feed_column(table, attnum)->log_column;
}

const char *
wh_model_log_of_mirror(const WhFeedTable *table, AttrNumber attnum)
{
	char *name = get_attname(table->mirror, attnum, false);
	ListCell *lc;

	foreach(lc, table->columns)
		if (strcmp(((WhFeedColumn *) lfirst(lc))->mirror_column, name) == 0)
			return ((WhFeedColumn *) lfirst(lc))->log_column;
	elog(ERROR, "mirror column \"%s\" of table \"%s\" is not in the catalog", name,
		 table->source_name);
}

const char *
wh_model_equality(Oid type)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_EQ_OPR);
	HeapTuple tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(entry->eq_opr));
	Form_pg_operator operator;
	char *result;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("type with OID %u has no equality operator", type)));
	operator=(Form_pg_operator) GETSTRUCT(tuple);
	result = wh_sql("OPERATOR(%I.%s)", get_namespace_name(operator->oprnamespace),
					NameStr(operator->oprname));
	ReleaseSysCache(tuple);
	return result;
}

void
wh_model_key_join(StringInfo sql, const WhModel *model, const char *a, const char *b)
{
	const char *separator = "";
	ListCell *lc;

	foreach(lc, model->key)
	{
		WhModelColumn *column = lfirst(lc);

		wh_sql_append(sql, "%s%s.%I %s %s.%I", separator, a, column->name,
					  wh_model_equality(column->type), b, column->name);
		separator = " AND ";
	}
}

void
wh_model_column_list(StringInfo sql, List *columns, const char *alias)
{
	const char *separator = "";
	ListCell *lc;

	foreach(lc, columns)
	{
		wh_sql_append(sql, alias == NULL ? "%s%s%I" : "%s%s.%I", separator,
					  alias == NULL ? "" : alias, ((WhModelColumn *) lfirst(lc))->name);
		separator = ", ";
	}
}
