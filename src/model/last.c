/*
 * last.c
 *		SQL that reads what a range of changes left of each key that it touched.
 *
 * Facts need the end of a range alone.  The last image is chosen before any expression of the
 * query is evaluated, so an image that the query cannot compute (a division by zero, say) does no
 * harm once a later change has mended the row: that is how a stopped fact catches up (P4).
 *
 * The TRUNCATEs of the range are read once, as a materialized CTE: a log that has grown since it
 * was analysed looks like a row or two to the planner, which would read them again for each image.
 */
#include "postgres.h"

#include "base/base.h"
#include "model/model.h"
#include "model/model_private.h"

void
wh_model_last_sql(StringInfo sql, const WhModel *model)
{
	StringInfoData key;
	ListCell *cell;

	if (model->join != NULL)
	{
		wh_model_join_last_sql(sql, model);
		return;
	}
	initStringInfo(&key);
	foreach(cell, model->source->key)
		wh_sql_append(&key, "%s%I", key.len > 0 ? ", " : "",
					  wh_model_mirror_column(model->source, lfirst_int(cell)));

	wh_sql_append(sql, "SELECT s.\"wh.live\" AS wh_live");
	foreach(cell, model->columns)
	{
		WhModelColumn *column = lfirst(cell);

		wh_sql_append(
			sql, column->is_key ? ", %s AS %I" : ", CASE WHEN s.\"wh.live\" THEN %s END AS %I",
			column->expression, column->name);
	}
	/* OFFSET 0 keeps the condition from being evaluated once for each column. */
	wh_sql_append(
		sql,
		" FROM (SELECT s.*, CASE WHEN s.\"wh.there\" THEN %s ELSE false END AS \"wh.live\" FROM "
		"(SELECT i.*,"
		" i.\"wh.op\" IN ('I', 'U') AND (r.lsn IS NULL OR (i.\"wh.lsn\", i.\"wh.seq\") > "
		"(r.lsn, r.seq))"
		" AS \"wh.there\" FROM (SELECT DISTINCT ON (%s)"
		" l.lsn AS \"wh.lsn\", l.seq AS \"wh.seq\", l.op AS \"wh.op\"",
		model->condition != NULL ? wh_sql("COALESCE(%s, false)", model->condition) : "true",
		key.data);
	foreach(cell, model->source->columns)
	{
		WhFeedColumn *column = lfirst(cell);

		wh_sql_append(sql, ", l.%I AS %I", column->log_column, column->mirror_column);
	}
	wh_sql_append(
		sql,
		" FROM %s l WHERE l.lsn > $1 AND l.lsn <= $2 AND l.op <> 'T'"
		" ORDER BY %s, \"wh.lsn\" DESC, \"wh.seq\" DESC, \"wh.op\" DESC) i"
		" LEFT JOIN (WITH r AS MATERIALIZED (SELECT t.lsn, t.seq FROM %s t WHERE t.lsn > $1"
		" AND t.lsn <= $2 AND t.op = 'T' ORDER BY t.lsn DESC, t.seq DESC LIMIT 1)"
		" SELECT r.lsn, r.seq FROM r) r ON true) s OFFSET 0) s",
		wh_model_log(model), key.data, wh_model_log(model));
}
