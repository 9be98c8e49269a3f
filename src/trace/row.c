/*
 * row.c
 *		walhouse.explain_row(): where a row of a model came from.
 *
 * A row names the load that wrote it, the load its range of the log, and the range has the changes
 * of the source rows that belong to it (model/origins.c), with the source transactions that made
 * them.  A version of a type-2 dimension tells more: it began, and ended, at the feed clock of a
 * transaction, which is found by halving (clock.c).  So nothing needs an index on the log, and the
 * cost is that of the ranges.  Where a log has an index by key, its whole log is told.
 *
 * Everything is read in one snapshot, as the model's owner.
 */
#include "postgres.h"

#include <limits.h>

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "trace/trace_private.h"

int wh_trace_log_rows = 100000;

static void check_key(const WhModel *model, Jsonb *key);
static bool names_key(const WhModel *model, Jsonb *key);
static bool has_field(Jsonb *object, const char *name);
static void check_column(const WhModel *model, const char *column);
static int find_rows(WhTrace *trace, Jsonb *key);
static void stage_sources(WhTrace *trace);
static void explain_one(WhTrace *trace, int number);
static void find_versions_ranges(WhTrace *trace);
static void emit_row(WhTrace *trace);
static void emit_facts(WhTrace *trace);
static void emit_retired(WhTrace *trace);

PG_FUNCTION_INFO_V1(walhouse_explain_row);

void
wh_trace_init(void)
{
	DefineCustomIntVariable(
		"walhouse.trace_log_rows",
		"Rows of a change log without an index by key that one search looks through.", NULL,
		&wh_trace_log_rows, 100000, 1, INT_MAX - 1, PGC_USERSET, 0, NULL, NULL, NULL);
}

Datum
walhouse_explain_row(PG_FUNCTION_ARGS)
{
	int guc_level = NewGUCNestLevel();
	WhTrace trace = {.caller = GetUserId(), .result = (ReturnSetInfo *) fcinfo->resultinfo};
	WhUser saved;
	ListCell *cell;
	int count;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("give a model and a key")));
	wh_settings_pin(NULL);
	trace.model = wh_model_get(PG_GETARG_OID(0), false);
	trace.column = PG_ARGISNULL(2) ? NULL : NameStr(*PG_GETARG_NAME(2));
	wh_user_check_owner(trace.model->owner, "model", trace.model->short_name);
	check_key(trace.model, PG_GETARG_JSONB_P(1));
	if (trace.column != NULL)
		check_column(trace.model, trace.column);
	InitMaterializedSRF(fcinfo, 0);
	if (trace.model->feed != NULL)
		wh_settings_pin(trace.model->feed->time_zone);
	PushActiveSnapshot(GetTransactionSnapshot());
	trace.stage = wh_stage_create_snapshot();
	wh_user_become(trace.model->owner, &saved);
	trace.has_key_index = trace.model->sources != NIL;
	foreach(cell, trace.model->sources)
		trace.has_key_index =
			trace.has_key_index && ((WhFeedTable *) lfirst(cell))->log_key_index;
	count = find_rows(&trace, PG_GETARG_JSONB_P(1));
	if (trace.model->view != InvalidOid)
		stage_sources(&trace);
	for (int i = 1; i <= count; i++)
		explain_one(&trace, i);
	if (count == 0 && trace.model->kind == WH_MODEL_FACT)
		emit_retired(&trace);
	wh_stage_drop(trace.stage);
	wh_user_restore(&saved);
	PopActiveSnapshot();
	AtEOXact_GUC(false, guc_level);
	return (Datum) 0;
}

/* check_key raises unless an object names one member or row, by columns that there are. */
static void
check_key(const WhModel *model, Jsonb *key)
{
	JsonbIterator *iterator;
	JsonbValue value;
	JsonbIteratorToken token;

	if (!JB_ROOT_IS_OBJECT(key) || !names_key(model, key))
	{
		StringInfoData names;

		initStringInfo(&names);
		wh_model_column_list(&names, model->key, NULL);
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the key must be an object that names a row of %s", model->name),
				 wh_model_option(model, "sk") != NULL ?
					 errdetail("Its columns are %s, or %s alone.", names.data,
							   wh_sql_identifier(wh_model_option(model, "sk"))) :
					 errdetail("Its columns are %s.", names.data)));
	}
	iterator = JsonbIteratorInit(&key->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			check_column(model, pnstrdup(value.val.string.val, value.val.string.len));
	}
}

static bool
names_key(const WhModel *model, Jsonb *key)
{
	char *sk = wh_model_option(model, "sk");
	ListCell *cell;

	if (sk != NULL && has_field(key, sk))
		return true;
	foreach(cell, model->key)
	{
		if (!has_field(key, ((WhModelColumn *) lfirst(cell))->name))
			return false;
	}
	return model->key != NIL || JB_ROOT_COUNT(key) > 0;
}

static bool
has_field(Jsonb *object, const char *name)
{
	return getKeyJsonValueFromContainer(&object->root, name, strlen(name), NULL) != NULL;
}

static void
check_column(const WhModel *model, const char *column)
{
	if (get_attnum(model->relid, column) <= 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
						errmsg("%s has no column \"%s\"", model->name, column)));
}

/* find_rows stages the rows that a key names, numbered: of a dimension by the time that they began.
 */
static int
find_rows(WhTrace *trace, Jsonb *key)
{
	const WhModel *model = trace->model;
	bool has_versions = get_attnum(model->relid, "valid_from") != InvalidAttrNumber;
	JsonbIterator *iterator = JsonbIteratorInit(&key->root);
	JsonbIteratorToken token;
	JsonbValue value;
	StringInfoData sql;
	int level = wh_settings_push_joins(WH_JOINS_PROBE);

	wh_settings_avoid_scans();
	initStringInfo(&sql);
	wh_sql_append(&sql,
				  "SELECT t.*, pg_catalog.row_number() OVER (%s) AS \"wh.number\" FROM (SELECT"
				  " j.* FROM pg_catalog.jsonb_populate_record(NULL::%T, $1) j OFFSET 0) j JOIN %T t"
				  " ON true",
				  has_versions ? "ORDER BY t.valid_from" : "", model->relid, model->relid);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char *name;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(value.val.string.val, value.val.string.len);
		if (getKeyJsonValueFromContainer(&key->root, name, strlen(name), NULL)->type == jbvNull)
			wh_sql_append(&sql, " AND t.%I IS NULL", name);
		else
			wh_sql_append(&sql, " AND t.%I %s j.%I", name,
						  wh_model_equality(get_atttype(model->relid,
														get_attnum(model->relid, name))),
						  name);
	}
	wh_stage_fill(trace->stage, "wh.found", sql.data, 1,
				  (WhArg[]){WH_ARG_JSONB(JsonbPGetDatum(key))});
	wh_settings_pop(level);
	return (int) wh_stage_count(trace->stage, "wh.found");
}

/* stage_sources: "wh.source" has the source columns of each column of the query, whether their
 * values go into it or decide on it: relid (of the mirror), attribute, and source, their whole
 * name. */
static void
stage_sources(WhTrace *trace)
{
	wh_stage_fill(
		trace->stage, "wh.source",
		"SELECT DISTINCT l.\"column\" AS name, l.source::pg_catalog.oid AS relid, c.source_name AS"
		" attribute, pg_catalog.format('%I.%I.%I', f.source_schema, f.source_name, c.source_name)"
		" AS source FROM walhouse.column_lineage($1) l JOIN walhouse.feed_table f ON f.mirror ="
		" l.source JOIN walhouse.feed_column c ON c.feed_id = f.feed_id AND c.source_relid ="
		" f.source_relid AND c.mirror_column = l.source_column WHERE l.\"column\" IS NOT NULL",
		1, (WhArg[]){WH_ARG_REGCLASS(trace->model->view)});
}

static void
explain_one(WhTrace *trace, int number)
{
	WhRows *rows;
	bool isnull;

	wh_stage_fill(trace->stage, "wh.row",
				  "SELECT f.* FROM \"wh.found\" f WHERE f.\"wh.number\" = $1", 1,
				  (WhArg[]){WH_ARG_INT8(number)});
	trace->load_id = 0;
	trace->load_from = trace->load_to = InvalidXLogRecPtr;
	trace->opened_from = trace->opened_to = InvalidXLogRecPtr;
	trace->closed_from = trace->closed_to = InvalidXLogRecPtr;
	if (get_attnum(trace->model->relid, "load_id") != InvalidAttrNumber)
	{
		rows = wh_stage_query(trace->stage, "SELECT r.load_id FROM \"wh.row\" r", 0, NULL);
		trace->load_id = DatumGetInt64(wh_rows_datum(rows, 0, 1, &isnull));
		if (isnull)
			trace->load_id = 0;
	}
	emit_row(trace);
	if (trace->model->feed == NULL)
		return;
	wh_trace_emit_load(trace);
	if (trace->model->view != InvalidOid)
	{
		find_versions_ranges(trace);
		wh_trace_emit_changes(trace);
		wh_trace_emit_values(trace);
	}
	if (trace->model->kind == WH_MODEL_FACT)
		wh_trace_emit_choices(trace);
	else if (trace->model->kind == WH_MODEL_ROLLUP || trace->model->kind == WH_MODEL_SNAPSHOT)
		emit_facts(trace);
}

/* find_versions_ranges finds the transactions at whose clock a version began and ended. */
static void
find_versions_ranges(WhTrace *trace)
{
	const WhModel *model = trace->model;
	WhRows *rows;
	bool isnull;

	if (model->kind != WH_MODEL_DIMENSION || !wh_dimension_is_versioned(model) ||
		wh_dimension_is_effective(model))
		return;
	rows = wh_stage_query(trace->stage, "SELECT r.valid_from, r.valid_to FROM \"wh.row\" r", 0,
						  NULL);
	(void) wh_trace_range(model->feed, DatumGetTimestampTz(wh_rows_datum(rows, 0, 1, &isnull)),
						  model->position, &trace->opened_from, &trace->opened_to);
	(void) wh_trace_range(model->feed, DatumGetTimestampTz(wh_rows_datum(rows, 0, 2, &isnull)),
						  model->position, &trace->closed_from, &trace->closed_to);
}

static void
emit_row(WhTrace *trace)
{
	wh_trace_emit(
		trace, trace->stage,
		wh_sql("SELECT " WH_TRACE_ITEM ", NULLIF($1, 0) AS load_id, %s AS lsn, " WH_TRACE_NO_CHANGE
			   ", pg_catalog.to_jsonb(r) OPERATOR(pg_catalog.-) 'wh.number' AS details FROM"
			   " \"wh.row\" r",
			   "row", trace->model->name,
			   XLogRecPtrIsInvalid(trace->model->position) ?
				   "NULL::pg_catalog.pg_lsn" :
				   wh_sql("%X::pg_catalog.pg_lsn", trace->model->position)),
		1, (WhArg[]){WH_ARG_INT8(trace->load_id)});
}

/* emit_retired: a row that is not there may have been retired. */
static void
emit_retired(WhTrace *trace)
{
	wh_trace_emit(
		trace, trace->stage,
		wh_sql("SELECT " WH_TRACE_ITEM ", NULL::pg_catalog.int8 AS load_id, NULL::pg_catalog.pg_lsn"
			   " AS lsn, " WH_TRACE_NO_CHANGE ", pg_catalog.jsonb_build_object('retired_to',"
			   " r.retired_to) AS details FROM walhouse.fact_retention r WHERE r.model_id = $1 AND"
			   " r.retired_to IS NOT NULL",
			   "retired", trace->model->name),
		1, (WhArg[]){WH_ARG_INT4(trace->model->id)});
}

/* emit_facts: a row of a rollup is made of rows of its fact. */
static void
emit_facts(WhTrace *trace)
{
	wh_trace_emit(
		trace, trace->stage,
		"SELECT 'fact'::pg_catalog.text, m.relation::pg_catalog.text, NULL::pg_catalog.int8,"
		" NULL::pg_catalog.pg_lsn, " WH_TRACE_NO_CHANGE
		", pg_catalog.jsonb_build_object('columns', r.columns) FROM walhouse.fact_reader r JOIN"
		" walhouse.model m ON m.model_id = r.fact_id WHERE r.model_id = $1",
		1, (WhArg[]){WH_ARG_INT4(trace->model->id)});
}

void
wh_trace_emit(WhTrace *trace, const WhStage *stage, const char *sql, int nargs, const WhArg *args)
{
	WhRows *rows = wh_stage_query(stage, sql, nargs, args);

	for (uint64 i = 0; i < rows->count; i++)
		tuplestore_puttuple(trace->result->setResult, rows->tuples[i]);
}
