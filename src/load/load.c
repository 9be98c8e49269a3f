/*
 * load.c
 *		The procedures of loads and builds, for operators and tests.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "load/load.h"
#include "load/load_private.h"

static void refuse_build(const WhModel *model);

PG_FUNCTION_INFO_V1(walhouse_load);
PG_FUNCTION_INFO_V1(walhouse_build);

void
wh_load_init(void)
{
	wh_load_summary_init();
}

Datum
walhouse_load(PG_FUNCTION_ARGS)
{
	WhFeed *feed;

	wh_txn_check_arguments(fcinfo);
	wh_txn_open("walhouse.load", wh_txn_procedure_atomic(fcinfo));
	feed = wh_changelog_feed(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	wh_user_check_owner(feed->owner, "feed", feed->name);
	wh_load_run(feed->id);
	wh_txn_close();
	PG_RETURN_VOID();
}

Datum
walhouse_build(PG_FUNCTION_ARGS)
{
	Oid relid = PG_GETARG_OID(0);
	WhModel *model;

	wh_txn_check_arguments(fcinfo);
	wh_txn_open("walhouse.build", wh_txn_procedure_atomic(fcinfo));
	model = wh_model_get(relid, false);
	if (model->kind == WH_MODEL_MINI)
		model = wh_dimension_history(model);
	if (model->feed == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("dimension %s needs no build", model->name),
				 errdetail("It belongs to no feed.")));
	wh_user_check_owner(model->owner, "model", model->name);
	wh_load_run(model->feed->id);
	if (!wh_load_build(model->id))
		refuse_build(wh_model_get(model->relid, false));
	wh_load_run(model->feed->id);
	wh_txn_close();
	PG_RETURN_VOID();
}

/* refuse_build says why a build did not come about. */
static void
refuse_build(const WhModel *model)
{
	const WhFeedTable *unready = wh_model_unready(model);
	ListCell *cell;

	if (strcmp(model->state, "stopped") == 0)
	{
		WhArg args[1];

		args[0] = WH_ARG_INT4(model->id);
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("could not build %s", model->name),
			 errdetail(
				 "%s",
				 wh_rows_text(
					 wh_catalog_query("SELECT error FROM walhouse.model WHERE model_id = $1", 1,
									  args),
					 0, 1)),
			 errhint(
				 "Mend the data at the source, or declare the model again with a query that"
				 " can take it.")));
	}
	if (model->is_paused)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("could not build %s", model->name), errdetail("It is paused."),
						errhint("SELECT walhouse.resume(%s).", wh_sql_literal(model->name))));
	if (unready != NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("could not build %s", model->name),
						strcmp(unready->state, "ready") != 0 ?
							errdetail("Its source table \"%s\" is in state \"%s\".",
									  unready->source_name, unready->state) :
							errdetail("Its source table \"%s\" is ready once the feed is at %X/%X.",
									  unready->source_name,
									  LSN_FORMAT_ARGS(unready->compared_lsn)),
						errhint("CALL walhouse.run(%s), or walhouse.resync_table.",
								wh_sql_literal(model->feed->name))));
	foreach(cell, wh_model_needs(model))
	{
		WhModel *need = wh_model_get_by_id(lfirst_int(cell));

		if (need->feed != NULL && strcmp(need->state, "live") != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("could not build %s", model->name),
					 errdetail("%s, which it needs, is in state \"%s\".", need->name,
							   need->state),
					 errhint("CALL walhouse.build(%s) first.", wh_sql_literal(need->name))));
	}
	ereport(
		ERROR,
		(errcode(ERRCODE_OBJECT_IN_USE), errmsg("could not build %s", model->name),
		 errdetail(
			 "Another session is building it, or what it needs is not at one position yet."),
		 errhint("Try again.")));
}
