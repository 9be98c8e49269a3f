/*
 * known.c
 *		A dimension's rows as they stood at an earlier position: the recomputation that verify()
 * makes, ended there.
 *
 * Surrogate keys are those that the versions have now; one that was purged since has none.
 * Inferred members are left out: the log does not know who was waited for.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

/* What is asked for, for wh_model_guard. */
typedef struct Work
{
	WhModel *model;
	WhKnown *known;
} Work;

static void fill(void *arg);

void
wh_dimension_known(WhModel *model, WhKnown *known)
{
	Work work = {model, known};

	wh_model_guard(model, fill, &work);
}

static void
fill(void *arg)
{
	Work *work = arg;
	WhModel *model = work->model;
	WhKnown *known = work->known;
	const char *sk = wh_sql_identifier(wh_dimension_sk(model));
	char *list = wh_dimension_attribute_list(wh_dimension_attributes(model->columns), "e");
	bool is_tombstone = wh_dimension_on_delete(model) == WH_DELETE_TOMBSTONE;
	StringInfoData sql;

	wh_model_stage_events(model, known->stage, model->history_start, known->position);
	initStringInfo(&sql);
	wh_dimension_expected_sql(&sql, model, false);
	wh_sql_append(&sql,
				  " SELECT t.%s, %s%s, e.valid_from, e.valid_to, e.is_current, false AS "
				  "is_inferred, NULL::bigint AS load_id FROM wh_expected e LEFT JOIN %T t ON "
				  "t.valid_from = e.valid_from AND ",
				  sk, list, is_tombstone ? ", e.is_deleted" : "", model->relid);
	wh_model_key_join(&sql, model, "t", "e");
	wh_sql_append(&sql,
				  " UNION ALL SELECT e.%s, %s%s, e.valid_from, e.valid_to, e.is_current, "
				  "e.is_inferred, e.load_id FROM %T e WHERE NOT (" WH_IS_MEMBER("e.%s") ")",
				  sk, list, is_tombstone ? ", e.is_deleted" : "", model->relid, sk);
	wh_stage_fill(known->stage, known->name, sql.data, 2,
				  (WhArg[]){WH_ARG_LSN(model->history_start), WH_ARG_LSN(known->position)});
}
