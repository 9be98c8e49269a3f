/*
 * changes.c
 *		The load that wrote a row, the logged changes that made it, and what each of its values came
 * from.
 *
 * A load that was added up by the hour has the hour's range.  What a build wrote came with its
 * snapshot: the changes before it are those that the log has.  A search that a limit cut short
 * says so, and from where on it looked.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"

#include "base/base.h"
#include "trace/trace_private.h"

static void search(WhTrace *trace, XLogRecPtr from, XLogRecPtr to);
static void stage_loads(WhTrace *trace);
static void emit_cut(WhTrace *trace, XLogRecPtr cut_at, XLogRecPtr from);
static void emit_gone(WhTrace *trace, XLogRecPtr horizon, XLogRecPtr from);
static char *source_condition(const WhTrace *trace);

void
wh_trace_emit_load(WhTrace *trace)
{
	WhArg args[2];
	WhRows *rows;

	args[0] = WH_ARG_INT4(trace->model->id);
	args[1] = WH_ARG_INT8(trace->load_id);
	if (wh_stage_fill(
			trace->stage, "wh.load",
			"SELECT m.from_lsn, m.to_lsn, l.kind = 'build' AS is_build,"
			" pg_catalog.jsonb_build_object('kind', l.kind, 'definition', m.definition,"
			" 'from_lsn', m.from_lsn, 'to_lsn', m.to_lsn, 'from_time', l.from_time,"
			" 'to_time', l.to_time, 'transactions', l.transactions, 'started', l.started,"
			" 'duration_ms', m.duration_ms) AS details"
			" FROM walhouse.load_model m JOIN walhouse.load l USING (load_id)"
			" WHERE m.model_id = $1 AND m.load_id = $2",
			2, args) == 0 &&
		wh_stage_fill(
			trace->stage, "wh.load",
			"SELECT s.from_lsn, s.to_lsn, s.builds > 0 AS is_build,"
			" pg_catalog.jsonb_build_object('kind', 'hour', 'hour', s.hour, 'loads', s.loads,"
			" 'from_lsn', s.from_lsn, 'to_lsn', s.to_lsn, 'from_time', s.from_time, 'to_time',"
			" s.to_time) AS details FROM walhouse.load_summary s WHERE s.feed_id = (SELECT"
			" m.feed_id FROM walhouse.model m WHERE m.model_id = $1) AND s.model_id = $1 AND"
			" s.to_load >= $2 AND s.from_load <= $2 ORDER BY s.to_load LIMIT 1",
			2, args) == 0)
		return;
	wh_trace_emit(trace, trace->stage,
				  wh_sql("SELECT " WH_TRACE_ITEM ", $1, l.to_lsn, " WH_TRACE_NO_CHANGE
						 ", l.details FROM \"wh.load\" l",
						 "load", trace->model->name),
				  1, args + 1);
	rows = wh_stage_query(
		trace->stage, "SELECT l.from_lsn, l.to_lsn, l.is_build FROM \"wh.load\" l", 0, NULL);
	trace->load_to = wh_rows_lsn(rows, 0, 2);
	trace->load_from = wh_rows_bool(rows, 0, 3) && trace->model->sources != NIL ?
						   wh_model_horizon(trace->model) :
						   wh_rows_lsn(rows, 0, 1);
}

void
wh_trace_emit_changes(WhTrace *trace)
{
	StringInfoData sql;

	wh_stage_forget(trace->stage, "wh.change");
	if (trace->has_key_index)
		search(trace, wh_model_horizon(trace->model),
			   Max(trace->model->position, trace->load_to));
	else
	{
		search(trace, trace->load_from, trace->load_to);
		search(trace, trace->opened_from, trace->opened_to);
		search(trace, trace->closed_from, trace->closed_to);
	}
	if (wh_stage_count(trace->stage, "wh.change") == 0)
		wh_stage_fill(trace->stage, "wh.change",
					  "SELECT NULL::pg_catalog.oid AS relid, NULL::pg_catalog.int8 AS n,"
					  " NULL::pg_catalog.pg_lsn AS lsn, NULL::pg_catalog.int8 AS seq,"
					  " NULL::\"char\" AS op, NULL::pg_catalog.jsonb AS before,"
					  " NULL::pg_catalog.jsonb AS after LIMIT 0",
					  0, NULL);
	stage_loads(trace);
	initStringInfo(&sql);
	wh_sql_append(
		&sql,
		"SELECT CASE WHEN c.lsn > $1 AND c.lsn <= $2 THEN 'opened' WHEN c.lsn > $3 AND c.lsn <= $4"
		" THEN 'closed' ELSE 'change' END, f.source_schema || '.' || f.source_name, NULLIF("
		"c.load_id, 0), c.lsn, t.xid, t.commit_time, t.origin, t.context,"
		" pg_catalog.jsonb_build_object('op', c.op, 'seq', c.seq, 'before', CASE WHEN c.op = 'U'"
		" THEN (SELECT pg_catalog.jsonb_object_agg(e.key, e.value) FROM"
		" pg_catalog.jsonb_each(c.before) e WHERE e.value IS DISTINCT FROM c.after -> e.key) ELSE"
		" c.before END, 'after', CASE WHEN c.op = 'U' THEN (SELECT"
		" pg_catalog.jsonb_object_agg(e.key, e.value) FROM pg_catalog.jsonb_each(c.after) e WHERE"
		" e.value IS DISTINCT FROM c.before -> e.key) ELSE c.after END) FROM \"wh.told\" c JOIN"
		" walhouse.feed_table f ON f.mirror = c.relid JOIN %T t ON t.end_lsn = c.lsn WHERE %s"
		" ORDER BY c.lsn, c.seq, c.op",
		wh_changelog_txn_relid(trace->model->feed), source_condition(trace));
	wh_trace_emit(trace, trace->stage, sql.data, 4,
				  (WhArg[]){WH_ARG_LSN(trace->opened_from), WH_ARG_LSN(trace->opened_to),
							WH_ARG_LSN(trace->closed_from), WH_ARG_LSN(trace->closed_to)});
}

/* search adds what a range of the log has of the row at work. */
static void
search(WhTrace *trace, XLogRecPtr from, XLogRecPtr to)
{
	WhOrigins origins = {from, to, wh_trace_log_rows};
	XLogRecPtr horizon = wh_model_horizon(trace->model);

	if (from >= to)
		return;
	if (from < horizon)
	{
		emit_gone(trace, horizon, from);
		origins.from = horizon;
		if (horizon >= to)
			return;
	}
	wh_model_stage_origins(trace->model, trace->stage, "\"wh.row\"", &origins);
	if (!XLogRecPtrIsInvalid(origins.cut_at))
		emit_cut(trace, origins.cut_at, from);
}

/* stage_loads: "wh.told" has each change once, with the load that took it, whether it was the
 * transaction's last of that row, and the row before the transaction. */
static void
stage_loads(WhTrace *trace)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "walhouse load of a change",
											   ALLOCSET_DEFAULT_SIZES);
	WhRows *rows;
	StringInfoData sql;

	wh_stage_fill(trace->stage, "wh.told",
				  "SELECT c.*, pg_catalog.lead(c.seq) OVER w IS NULL AS is_last,"
				  " pg_catalog.first_value(c.before) OVER w AS was FROM (SELECT DISTINCT c.relid,"
				  " c.n, c.lsn, c.seq, c.op, c.before, c.after FROM \"wh.change\" c) c WINDOW w AS"
				  " (PARTITION BY c.relid, c.n, c.lsn ORDER BY c.seq, c.op)",
				  0, NULL);
	rows = wh_stage_query(trace->stage, "SELECT DISTINCT c.lsn FROM \"wh.told\" c", 0, NULL);
	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT DISTINCT c.relid, c.lsn, c.seq, c.op, c.before, c.after,"
						" c.is_last, c.was, l.load_id FROM \"wh.told\" c JOIN (VALUES"
						" (NULL::pg_catalog.pg_lsn, 0::pg_catalog.int8)");
	for (uint64 i = 0; i < rows->count; i++)
	{
		XLogRecPtr lsn = wh_rows_lsn(rows, i, 1);
		MemoryContext old = MemoryContextSwitchTo(work);
		int64 load = wh_trace_load(trace->model->id, lsn);

		MemoryContextSwitchTo(old);
		MemoryContextReset(work);
		wh_sql_append(&sql, ", (%X, %l)", lsn, load);
	}
	MemoryContextDelete(work);
	wh_sql_append(&sql, ") l (lsn, load_id) ON l.lsn = c.lsn");
	wh_stage_fill(trace->stage, "wh.told", sql.data, 0, NULL);
}

static void
emit_cut(WhTrace *trace, XLogRecPtr cut_at, XLogRecPtr from)
{
	wh_trace_emit(
		trace, trace->stage,
		wh_sql("SELECT " WH_TRACE_ITEM ", NULL::pg_catalog.int8, $1, " WH_TRACE_NO_CHANGE
			   ", pg_catalog.jsonb_build_object('searched_from', $1, 'range_from', $2, 'limit',"
			   " %d, 'hint', 'CALL walhouse.set_log_key_index, or raise walhouse.trace_log_rows')",
			   "cut", trace->model->name, wh_trace_log_rows),
		2, (WhArg[]){WH_ARG_LSN(cut_at), WH_ARG_LSN(from)});
}

/* emit_gone says that the log has no more what a range begins with. */
static void
emit_gone(WhTrace *trace, XLogRecPtr horizon, XLogRecPtr from)
{
	wh_trace_emit(
		trace, trace->stage,
		wh_sql("SELECT " WH_TRACE_ITEM ", NULL::pg_catalog.int8, $1, " WH_TRACE_NO_CHANGE
			   ", pg_catalog.jsonb_build_object('searched_from', $1, 'range_from', $2, 'hint',"
			   " 'the change log begins there')",
			   "cut", trace->model->name),
		2, (WhArg[]){WH_ARG_LSN(horizon), WH_ARG_LSN(from)});
}

/* source_condition: a change c that has to do with the column that is asked for. */
static char *
source_condition(const WhTrace *trace)
{
	if (trace->column == NULL)
		return "true";
	return wh_sql("(c.op <> 'U' OR EXISTS (SELECT FROM \"wh.source\" s WHERE s.relid = c.relid"
				  " AND (s.name = %L OR s.name IN (SELECT pg_catalog.unnest(d.key) FROM"
				  " walhouse.fact_dimension d WHERE d.model_id = %d AND d.column_name = %L))"
				  " AND c.before -> s.attribute IS DISTINCT FROM c.after -> s.attribute))",
				  trace->column, trace->model->id, trace->column);
}

/*
 * wh_trace_emit_values: each column of the query with its sources, and the last change that set
 * any of them.  What ended a version did not set its values; and where a value is that of a source
 * column, the change must have set that very value: a version may end without a range of its own.
 */
void
wh_trace_emit_values(WhTrace *trace)
{
	ListCell *cell;

	foreach(cell, trace->model->columns)
	{
		WhModelColumn *column = lfirst(cell);
		XLogRecPtr limit = column->scd == 2 && trace->closed_to > trace->closed_from ?
							   trace->closed_from :
							   Max(trace->model->position, trace->load_to);

		if (trace->column != NULL && strcmp(trace->column, column->name) != 0)
			continue;
		wh_trace_emit(
			trace, trace->stage,
			wh_sql("SELECT " WH_TRACE_ITEM
				   ", NULLIF(c.load_id, 0), c.lsn, t.xid, t.commit_time, t.origin, t.context,"
				   " pg_catalog.jsonb_build_object('value', pg_catalog.to_jsonb(r.%I),"
				   " 'expression', %L::pg_catalog.text, 'sources', COALESCE((SELECT"
				   " pg_catalog.jsonb_agg(s.source ORDER BY s.source) FROM \"wh.source\" s WHERE"
				   " s.name = %L), '[]')) FROM \"wh.row\" r LEFT JOIN LATERAL (SELECT c.* FROM"
				   " \"wh.told\" c WHERE c.is_last AND c.lsn <= $1 AND c.op IN ('I', 'U') AND"
				   " EXISTS (SELECT FROM \"wh.source\" s WHERE s.relid = c.relid AND s.name = %L"
				   " AND (c.was IS NULL OR c.was -> s.attribute IS DISTINCT FROM c.after ->"
				   " s.attribute)%s) ORDER BY c.lsn DESC, c.seq DESC LIMIT 1) c ON true LEFT JOIN"
				   " %T t ON t.end_lsn = c.lsn",
				   "value", column->name, column->name, column->expression, column->name,
				   column->name,
				   column->attnum == 0 ?
					   "" :
					   wh_sql(" AND c.after -> s.attribute = COALESCE(pg_catalog.to_jsonb(r.%I),"
							  " 'null')",
							  column->name),
				   wh_changelog_txn_relid(trace->model->feed)),
			1, (WhArg[]){WH_ARG_LSN(limit)});
	}
}
