/*
 * known.c
 *		walhouse.as_known(): a model's rows as they stood at an earlier load.
 *
 * Valid time is in the rows; recorded time is in the loads, each of which brought the model to a
 * position of the log.  The log is replayed up to that position: nothing is stored for it, and the
 * answer is what a model built there would be.  So it reaches back as far as log and history do.
 *
 * A time means the last load that had ended by then.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "model/model.h"
#include "model/model_private.h"

/* The stage's name for the rows. */
#define KNOWN "wh_known"

static WhModel *model_of(FunctionCallInfo fcinfo);
static XLogRecPtr find_load(WhModel *model, FunctionCallInfo fcinfo);

PG_FUNCTION_INFO_V1(walhouse_as_known);

Datum
walhouse_as_known(PG_FUNCTION_ARGS)
{
	int guc_level = NewGUCNestLevel();
	WhModel *model;
	WhStage *stage;
	WhUser saved;

	/* A query is compiled to text: constants in it must read back as they were. */
	wh_settings_pin(NULL);
	model = model_of(fcinfo);
	wh_user_check_owner(model->owner, "model", model->short_name);
	if (wh_model_routine(model->kind)->known == NULL)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("%s has no loads", model->name),
						errdetail("It is computed and belongs to no feed.")));
	InitMaterializedSRF(fcinfo, 0);
	wh_settings_pin(model->feed->time_zone);
	PushActiveSnapshot(GetTransactionSnapshot());
	stage = wh_stage_create_snapshot();
	wh_user_become(model->owner, &saved);
	wh_model_stage_known(model, find_load(model, fcinfo), stage, KNOWN);
	wh_model_return_rows((ReturnSetInfo *) fcinfo->resultinfo, stage, KNOWN);
	wh_stage_drop(stage);
	wh_user_restore(&saved);
	PopActiveSnapshot();
	AtEOXact_GUC(false, guc_level);
	return (Datum) 0;
}

/* model_of finds the model by the row type of the first argument. */
static WhModel *
model_of(FunctionCallInfo fcinfo)
{
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	Oid relid = OidIsValid(type) ? get_typ_typrelid(type) : InvalidOid;
	WhModel *model = OidIsValid(relid) ? wh_model_get(relid, true) : NULL;

	if (model == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("the first argument must be of the row type of a model, and %s is none",
						OidIsValid(type) ? format_type_be(type) : "this"),
				 errhint("For example: SELECT * FROM walhouse.as_known(NULL::dw.customer, load => 42);")));
	return model;
}

/* find_load finds the position that the model stood at. */
static XLogRecPtr
find_load(WhModel *model, FunctionCallInfo fcinfo)
{
	bool by_load = !PG_ARGISNULL(1);
	WhArg args[2];
	WhRows *rows;

	if (by_load == !PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("give either load or at, to say when")));
	args[0] = WH_ARG_INT4(model->id);
	args[1] = by_load ? WH_ARG_INT8(PG_GETARG_INT64(1)) :
						WH_ARG_TIMESTAMPTZ(PG_GETARG_TIMESTAMPTZ(2));
	rows = wh_spi_query_snapshot(
		wh_sql("SELECT m.to_lsn FROM walhouse.load_model m JOIN walhouse.load l USING (load_id) "
			   "WHERE m.model_id = $1 AND %s ORDER BY m.load_id DESC LIMIT 1",
			   by_load ? "m.load_id <= $2" :
						 "l.started + COALESCE(l.duration_ms, 0) * '1 ms'::interval <= $2"),
		2, args);
	if (rows->count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s had not been built then", model->name),
				 errhint("walhouse.load and walhouse.load_model list its loads.")));
	return wh_rows_lsn(rows, 0, 1);
}

void
wh_model_stage_known(WhModel *model, XLogRecPtr position, WhStage *stage, const char *name)
{
	WhKnown known = {.position = position, .clock = DT_NOBEGIN, .stage = stage, .name = name};
	int level;
	WhRows *rows;
	bool isnull;

	wh_model_check_known(model, position);
	rows = wh_spi_query_snapshot(
		wh_sql("SELECT t.clock FROM %T t WHERE t.end_lsn <= $1 ORDER BY t.end_lsn DESC LIMIT 1",
			   wh_changelog_txn_relid(model->feed)),
		1, (WhArg[]){WH_ARG_LSN(position)});
	if (rows->count > 0)
		known.clock = DatumGetTimestampTz(wh_rows_datum(rows, 0, 1, &isnull));
	level = wh_settings_push_joins(WH_JOINS_WHOLE);
	wh_model_routine(model->kind)->known(model, &known);
	wh_settings_pop(level);
}

void
wh_model_check_known(const WhModel *model, XLogRecPtr position)
{
	const WhModelRoutine *routine = wh_model_routine(model->kind);
	WhPast past = routine->past != NULL ? routine->past(model) : WH_PAST_LOG;
	bool has_history = past != WH_PAST_LOG;
	XLogRecPtr reach = has_history ? model->history_start : wh_model_horizon(model);

	if (position >= reach &&
		(past != WH_PAST_HISTORY || wh_model_horizon(model) <= model->history_start))
		return;
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("what %s was at %X/%X is not known any more", model->name,
						   LSN_FORMAT_ARGS(position)),
					errdetail("Its history begins at %X/%X, and its change log at %X/%X.",
							  LSN_FORMAT_ARGS(has_history ? model->history_start : reach),
							  LSN_FORMAT_ARGS(wh_model_horizon(model))),
					errhint("Ask for a later load; where the change log begins after the model's "
							"history, CALL walhouse.build(%s) makes both begin there.",
							wh_sql_literal(model->name))));
}

void
wh_model_return_rows(struct ReturnSetInfo *result, const WhStage *stage, const char *name)
{
	TupleDesc has =
		wh_stage_query(stage, wh_sql("SELECT * FROM %s LIMIT 0", name), 0, NULL)->desc;
	StringInfoData sql;
	WhRows *rows;

	initStringInfo(&sql);
	for (int i = 0; i < result->setDesc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(result->setDesc, i);

		wh_sql_append(&sql, i == 0 ? "SELECT " : ", ");
		if (attribute->attisdropped)
			wh_sql_append(&sql, "NULL::pg_catalog.int4");
		else if (SPI_fnumber(has, NameStr(attribute->attname)) > 0)
			wh_sql_append(&sql, "k.%I", NameStr(attribute->attname));
		else
			wh_sql_append(&sql, "NULL::%s",
						  format_type_extended(attribute->atttypid, attribute->atttypmod,
											   FORMAT_TYPE_TYPEMOD_GIVEN |
												   FORMAT_TYPE_FORCE_QUALIFY));
	}
	wh_sql_append(&sql, " FROM %s k", name);
	rows = wh_stage_query(stage, sql.data, 0, NULL);
	for (uint64 i = 0; i < rows->count; i++)
		tuplestore_puttuple(result->setResult, rows->tuples[i]);
}
