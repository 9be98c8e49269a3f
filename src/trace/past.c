/*
 * past.c
 *		walhouse.as_of(): mirrors and models as they were at a position or time; walhouse.diff(): a
 * model after one load beside it after another; walhouse.dataset_version().
 *
 * A mirror's past is its rows now but for those that the log has changed since.  A model's past is
 * what as_known() replays (model/known.c), at any position and not only where a load ended.  A time
 * means the last source transaction whose feed clock is not after it.  Reads of mirrors are the
 * caller's; models are read as their owners, for those who have these roles.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "trace/trace_private.h"

#define PAST "wh_past"

static void as_of(FunctionCallInfo fcinfo, bool by_time);
static Oid relation_of(FunctionCallInfo fcinfo);
static XLogRecPtr position_of(const WhFeed *feed, FunctionCallInfo fcinfo, bool by_time,
							  XLogRecPtr last);
static void check_mirror(const WhFeed *feed, const WhFeedTable *table, XLogRecPtr position,
						 XLogRecPtr last);
static XLogRecPtr load_position(const WhModel *model, int64 load_id);
static void append_identity(StringInfo sql, const WhModel *model);

PG_FUNCTION_INFO_V1(walhouse_as_of_lsn);
PG_FUNCTION_INFO_V1(walhouse_as_of_time);
PG_FUNCTION_INFO_V1(walhouse_diff);

Datum
walhouse_as_of_lsn(PG_FUNCTION_ARGS)
{
	as_of(fcinfo, false);
	return (Datum) 0;
}

Datum
walhouse_as_of_time(PG_FUNCTION_ARGS)
{
	as_of(fcinfo, true);
	return (Datum) 0;
}

static void
as_of(FunctionCallInfo fcinfo, bool by_time)
{
	int guc_level = NewGUCNestLevel();
	WhModel *model;
	WhFeedTable *table;
	WhFeed *feed;
	WhStage *stage;
	WhUser saved;

	wh_settings_pin(NULL);
	table = wh_changelog_table_of_mirror(relation_of(fcinfo));
	model = table != NULL ? NULL : wh_model_get(relation_of(fcinfo), false);
	if (model != NULL)
	{
		wh_user_check_owner(model->owner, "model", model->short_name);
		wh_trace_check_past(model);
	}
	feed = model != NULL ? model->feed : wh_changelog_feed_by_id(table->feed_id, false);
	if (PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("give a position or a time")));
	InitMaterializedSRF(fcinfo, 0);
	wh_settings_pin(feed->time_zone);
	PushActiveSnapshot(GetTransactionSnapshot());
	stage = wh_stage_create_snapshot();
	if (model != NULL)
	{
		XLogRecPtr position;

		wh_user_become(model->owner, &saved);
		position = position_of(feed, fcinfo, by_time, model->position);
		wh_model_stage_known(model, position, stage, PAST);
		wh_model_return_rows((ReturnSetInfo *) fcinfo->resultinfo, stage, PAST);
		wh_user_restore(&saved);
	}
	else
	{
		StringInfoData sql;
		WhRows *last = wh_spi_query_snapshot("SELECT p.position FROM walhouse.feed_position p WHERE"
											 " p.feed_id = $1 ORDER BY p.position DESC LIMIT 1",
											 1, (WhArg[]){WH_ARG_INT4(feed->id)});
		XLogRecPtr position;
		int level;

		position = position_of(feed, fcinfo, by_time, wh_rows_lsn(last, 0, 1));
		check_mirror(feed, table, position, wh_rows_lsn(last, 0, 1));
		level = wh_settings_push_joins(WH_JOINS_WHOLE);
		initStringInfo(&sql);
		wh_model_table_state(&sql, table);
		wh_stage_fill(stage, PAST, sql.data, 1, (WhArg[]){WH_ARG_LSN(position)});
		wh_model_return_rows((ReturnSetInfo *) fcinfo->resultinfo, stage, PAST);
		wh_settings_pop(level);
	}
	wh_stage_drop(stage);
	PopActiveSnapshot();
	AtEOXact_GUC(false, guc_level);
}

/* relation_of is the relation whose row type the first argument has. */
static Oid
relation_of(FunctionCallInfo fcinfo)
{
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	Oid relid = OidIsValid(type) ? get_typ_typrelid(type) : InvalidOid;

	if (!OidIsValid(relid) ||
		(wh_changelog_table_of_mirror(relid) == NULL && wh_model_get(relid, true) == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("the first argument must be of the row type of a model or mirror, and %s is"
						" none",
						OidIsValid(type) ? format_type_be(type) : "this"),
				 errhint("For example: SELECT * FROM walhouse.as_of(NULL::shop.customers, now());")));
	return relid;
}

/* position_of is the position that is asked for, no later than `last`, where the rows are. */
static XLogRecPtr
position_of(const WhFeed *feed, FunctionCallInfo fcinfo, bool by_time, XLogRecPtr last)
{
	XLogRecPtr position;

	if (by_time)
	{
		TimestampTz time = PG_GETARG_TIMESTAMPTZ(1);

		if (time >= wh_changelog_clock(feed, last))
			return last;
		position = wh_trace_position(feed, time, last);
		if (XLogRecPtrIsInvalid(position))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("what was at %s is not known any more", timestamptz_to_str(time)),
					 errdetail("The change log of feed \"%s\" has no transaction before.",
							   feed->name)));
		return position;
	}
	position = PG_GETARG_LSN(1);
	if (position > last)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("position %X/%X is not reached yet", LSN_FORMAT_ARGS(position)),
						errdetail("The rows are at %X/%X.", LSN_FORMAT_ARGS(last))));
	return position;
}

static void
check_mirror(const WhFeed *feed, const WhFeedTable *table, XLogRecPtr position, XLogRecPtr last)
{
	XLogRecPtr horizon = Max(feed->horizon, table->sync_lsn);

	if (strcmp(table->state, "ready") != 0 || !table->has_mirror || table->mirrored_from > last)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("mirror %s is not ready", wh_sql_relation(table->mirror))));
	if (position < horizon)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("what %s was at %X/%X is not known any more",
							   wh_sql_relation(table->mirror), LSN_FORMAT_ARGS(position)),
						errdetail("Its change log begins at %X/%X.", LSN_FORMAT_ARGS(horizon))));
}

void
wh_trace_check_past(const WhModel *model)
{
	if (model->feed == NULL || wh_model_routine(model->kind)->known == NULL)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("%s has no loads", model->name),
						errdetail("It is computed and belongs to no feed.")));
	if (XLogRecPtrIsInvalid(model->position))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("%s is not built yet", model->name)));
}

/* -------- differences -------- */

Datum
walhouse_diff(PG_FUNCTION_ARGS)
{
	int guc_level = NewGUCNestLevel();
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	WhModel *model;
	StringInfoData sql;
	WhRows *rows;
	WhUser saved;
	WhStage *both;
	int level;

	wh_settings_pin(NULL);
	model = wh_model_get(PG_GETARG_OID(0), false);
	wh_user_check_owner(model->owner, "model", model->short_name);
	wh_trace_check_past(model);
	InitMaterializedSRF(fcinfo, 0);
	wh_settings_pin(model->feed->time_zone);
	PushActiveSnapshot(GetTransactionSnapshot());
	both = wh_stage_create_snapshot();
	wh_user_become(model->owner, &saved);
	for (int i = 1; i <= 2; i++)
	{
		WhStage *stage = wh_stage_create_snapshot();

		wh_model_stage_known(model, load_position(model, PG_GETARG_INT64(i)), stage, PAST);
		initStringInfo(&sql);
		wh_sql_append(&sql, "SELECT p AS row, ");
		append_identity(&sql, model);
		wh_sql_append(&sql, " AS key FROM %s p", PAST);
		wh_stage_fill_from(both, i == 1 ? "wh_a" : "wh_b", stage, sql.data, 0, NULL);
		wh_stage_drop(stage);
	}
	level = wh_settings_push_joins(WH_JOINS_WHOLE);
	rows = wh_stage_query(
		both,
		"SELECT CASE WHEN a.key IS NULL THEN 'inserted' WHEN b.key IS NULL THEN 'deleted' ELSE"
		" 'updated' END, COALESCE(a.key, b.key) AS key, pg_catalog.to_jsonb(a.row)"
		" OPERATOR(pg_catalog.-) 'load_id', pg_catalog.to_jsonb(b.row) OPERATOR(pg_catalog.-)"
		" 'load_id' FROM wh_a a FULL JOIN wh_b b ON a.key = b.key WHERE a.key IS NULL OR b.key IS"
		" NULL OR a.row OPERATOR(pg_catalog.*<>) b.row ORDER BY key",
		0, NULL);
	wh_settings_pop(level);
	for (uint64 i = 0; i < rows->count; i++)
		tuplestore_puttuple(result->setResult, rows->tuples[i]);
	wh_stage_drop(both);
	wh_user_restore(&saved);
	PopActiveSnapshot();
	AtEOXact_GUC(false, guc_level);
	return (Datum) 0;
}

/* load_position is where a model stood after a load. */
static XLogRecPtr
load_position(const WhModel *model, int64 load_id)
{
	WhRows *rows = wh_spi_query_snapshot(
		"SELECT m.to_lsn FROM walhouse.load_model m WHERE m.model_id = $1 AND m.load_id <= $2"
		" ORDER BY m.load_id DESC LIMIT 1",
		2, (WhArg[]){WH_ARG_INT4(model->id), WH_ARG_INT8(load_id)});

	if (rows->count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s has no load " INT64_FORMAT " on record", model->name, load_id),
				 errhint("walhouse.load_model lists its loads, and walhouse.load_summary older ones"
						 " by the hour, for walhouse.as_of.")));
	return wh_rows_lsn(rows, 0, 1);
}

/* append_identity: a jsonb of what identifies a row p; NULLs are values. */
static void
append_identity(StringInfo sql, const WhModel *model)
{
	static const char *const more[] = {"valid_from", "booked_lsn", "is_reversal"};
	List *names = NIL;
	ListCell *cell;

	foreach(cell, model->key)
		names = lappend(names, ((WhModelColumn *) lfirst(cell))->name);
	for (int i = 0; i < lengthof(more); i++)
	{
		if (get_attnum(model->relid, more[i]) != InvalidAttrNumber)
			names = lappend(names, (char *) more[i]);
	}
	if (get_attnum(model->relid, "booked_lsn") != InvalidAttrNumber)
		names = lappend(names, wh_model_option(model, "event_time"));
	if (wh_model_option(model, "sk") != NULL)
		wh_sql_append(sql, "CASE WHEN p.%I < 0 THEN pg_catalog.jsonb_build_object(%L::text, p.%I)"
						   " ELSE ",
					  wh_model_option(model, "sk"), wh_model_option(model, "sk"),
					  wh_model_option(model, "sk"));
	wh_sql_append(sql, "pg_catalog.jsonb_build_object(");
	foreach(cell, names)
		wh_sql_append(sql, "%s%L::pg_catalog.text, p.%I", cell == list_head(names) ? "" : ", ",
					  (char *) lfirst(cell), (char *) lfirst(cell));
	wh_sql_append(sql, ")%s", wh_model_option(model, "sk") != NULL ? " END" : "");
}
