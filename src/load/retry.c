/*
 * retry.c
 *		Models that stopped: when they are tried again, and how they go on.
 *
 * A model that failed can only succeed when its source table has changed since, so a new change
 * there makes it due, twice at once and then with growing pauses of at most five minutes;
 * walhouse.resume makes it due in any case.  For a model without tables of its own that is any
 * change of the feed.  A model that stopped for one that it needs is due as soon as that is not
 * stopped any more.  A model whose build failed becomes due in the same way,
 * and is built again.
 *
 * A model that is paused is left alone by loads and builds, whatever its state, and so is what
 * needs it; rollups that stand on what goes on keep what they miss.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "load/load.h"
#include "load/load_private.h"

static WhModel *open_model(Oid relid);
static void set_paused(const WhModel *model, bool paused);

PG_FUNCTION_INFO_V1(walhouse_pause);
PG_FUNCTION_INFO_V1(walhouse_resume);
PG_FUNCTION_INFO_V1(walhouse_rebuild);

void
wh_load_stop(int32 model_id, const char *error, XLogRecPtr tried_to, int32 waits_for, bool is_build)
{
	WhArg args[4];

	wh_model_set_state(model_id, "stopped", error);
	args[0] = WH_ARG_INT4(model_id);
	args[1] = WH_ARG_LSN(tried_to);
	args[2] = waits_for != 0 ? WH_ARG_INT4(waits_for) : WH_ARG_NULL(INT4OID);
	args[3] = WH_ARG_BOOL(is_build);
	wh_catalog_execute(
		"INSERT INTO walhouse.load_retry AS r (model_id, attempts, tried_to, next_try,"
		" waits_for, build)"
		" VALUES ($1, 1, $2, pg_catalog.clock_timestamp(), $3, $4)"
		" ON CONFLICT (model_id) DO UPDATE SET attempts = r.attempts + 1, tried_to ="
		" excluded.tried_to,"
		" waits_for = excluded.waits_for, build = excluded.build,"
		" next_try = pg_catalog.clock_timestamp() + CASE WHEN r.attempts < 2 THEN"
		" '0'::pg_catalog.interval"
		" ELSE LEAST(2 ^ LEAST(r.attempts - 2, 20), 300) * '1 second'::pg_catalog.interval END",
		4, args);
}

bool
wh_load_is_due(const WhModel *model, XLogRecPtr to, bool *is_build, int32 *waits_for)
{
	WhArg args[2];
	StringInfoData sql;
	WhRows *rows;
	ListCell *cell;

	args[0] = WH_ARG_INT4(model->id);
	args[1] = WH_ARG_LSN(to);
	initStringInfo(&sql);
	wh_sql_append(&sql,
				  "SELECT r.build, COALESCE(r.waits_for, 0) FROM walhouse.load_retry r WHERE"
				  " r.model_id = $1 AND (r.waits_for IS NOT NULL"
				  " OR r.tried_to IS NULL OR (r.next_try <= pg_catalog.clock_timestamp() AND (");
	foreach(cell, model->sources)
		wh_sql_append(&sql,
					  "%sEXISTS (SELECT FROM %T l WHERE l.lsn > r.tried_to AND l.lsn <= $2)",
					  cell == list_head(model->sources) ? "" : " OR ",
					  ((WhFeedTable *) lfirst(cell))->log);
	if (model->sources == NIL)
		wh_sql_append(&sql,
					  "EXISTS (SELECT FROM %T t WHERE t.end_lsn > r.tried_to AND t.end_lsn <= $2)",
					  wh_changelog_txn_relid(model->feed));
	wh_sql_append(&sql, ")))");
	rows = wh_catalog_query(sql.data, 2, args);
	if (rows->count == 0)
		return false;
	*is_build = wh_rows_bool(rows, 0, 1);
	*waits_for = wh_rows_int4(rows, 0, 2);
	return true;
}

void
wh_load_revive(int32 model_id, const char *state)
{
	WhArg args[1];

	wh_model_set_state(model_id, state, NULL);
	args[0] = WH_ARG_INT4(model_id);
	if (strcmp(state, "live") == 0)
		wh_catalog_execute("DELETE FROM walhouse.load_retry WHERE model_id = $1", 1, args);
}

/* walhouse_pause has loads and builds leave a model, and so what needs it, where it is. */
Datum
walhouse_pause(PG_FUNCTION_ARGS)
{
	WhModel *model = open_model(PG_GETARG_OID(0));

	wh_txn_mark_own();
	set_paused(model, true);
	PG_RETURN_VOID();
}

/* walhouse_resume lets a paused model go on, and has a stopped one tried again. */
Datum
walhouse_resume(PG_FUNCTION_ARGS)
{
	WhModel *model = open_model(PG_GETARG_OID(0));
	bool is_stopped = strcmp(model->state, "stopped") == 0;

	if (!is_stopped && !model->is_paused)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("model %s is neither stopped nor paused", model->name),
				 errdetail("Its state is \"%s\".", model->state)));
	wh_txn_mark_own();
	set_paused(model, false);
	if (is_stopped)
		wh_catalog_execute(
			"INSERT INTO walhouse.load_retry (model_id, attempts, next_try)"
			" VALUES ($1, 0, pg_catalog.clock_timestamp())"
			" ON CONFLICT (model_id) DO UPDATE SET attempts = 0, tried_to = NULL, waits_for = NULL",
			1, (WhArg[]){WH_ARG_INT4(model->id)});
	PG_RETURN_VOID();
}

/* walhouse_rebuild has the worker, or the next run, build a model again. */
Datum
walhouse_rebuild(PG_FUNCTION_ARGS)
{
	WhModel *model = open_model(PG_GETARG_OID(0));

	wh_txn_mark_own();
	wh_lock_state(model->feed->id);
	wh_load_revive(model->id, "rebuild");
	PG_RETURN_VOID();
}

/* open_model finds a model that the user may manage, and that loads know of: of a mini-dimension
 * its history. */
static WhModel *
open_model(Oid relid)
{
	WhModel *model = wh_model_get(relid, false);

	if (model->kind == WH_MODEL_MINI)
		model = wh_dimension_history(model);
	wh_user_check_owner(model->owner, "model", model->name);
	if (model->feed == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("dimension %s has no loads", model->name),
				 errdetail("It belongs to no feed.")));
	return model;
}

static void
set_paused(const WhModel *model, bool paused)
{
	wh_lock_state(model->feed->id);
	wh_catalog_execute("UPDATE walhouse.model SET paused = CASE WHEN $2 THEN"
					   " COALESCE(paused, pg_catalog.now()) END WHERE model_id = $1",
					   2, (WhArg[]){WH_ARG_INT4(model->id), WH_ARG_BOOL(paused)});
}
