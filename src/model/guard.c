/*
 * guard.c
 *		Images that a model's query cannot compute, and that a later change has replaced.
 *
 * A query may divide by zero on a row that somebody mends in the next transaction.  A model that
 * keeps the last image alone never looks at the bad one again; one that keeps every version would,
 * for ever.  The rule: an image that cannot be computed counts as if it had never been committed,
 * once a later change of its key is there; while it is the last one, the model cannot be brought
 * so far, and stops (P4).  That is a function of the log and not of its cut into loads (P3).
 *
 * Nothing of this costs anything while all goes well: statements are first run as they are, in a
 * subtransaction, and only after an error of data once more with walhouse.model_computes() on each
 * image, a subtransaction for each.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "model/model.h"
#include "model/model_private.h"

/* One image to be computed. */
typedef struct Image
{
	const char *sql;
	WhArg value;
} Image;

static void compute(void *arg);
static char *make_sql(int32 model_id);

PG_FUNCTION_INFO_V1(walhouse_model_computes);

void
wh_model_guard(WhModel *model, void (*body)(void *arg), void *arg)
{
	ErrorData *error;

	if (wh_txn_try(body, arg, &error))
		return;
	if (!wh_model_is_data_error(error))
		ReThrowError(error);
	FreeErrorData(error);
	model->guarded = true;
	body(arg);
	model->guarded = false;
}

/* wh_model_is_data_error tells errors of rows from errors of the system, which come and go by
 * themselves. */
bool
wh_model_is_data_error(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_INTERNAL_ERROR:
			return false;
		default:
			return error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE;
	}
}

/* walhouse_model_computes says whether the query of a model can be computed on an image of its
 * source row. */
Datum
walhouse_model_computes(PG_FUNCTION_ARGS)
{
	MemoryContext old;
	ErrorData *error;
	Image image;

	if (fcinfo->flinfo->fn_extra == NULL)
	{
		old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
		fcinfo->flinfo->fn_extra = make_sql(PG_GETARG_INT32(0));
		MemoryContextSwitchTo(old);
	}
	image.sql = fcinfo->flinfo->fn_extra;
	image.value.type = get_fn_expr_argtype(fcinfo->flinfo, 1);
	image.value.value = PG_GETARG_DATUM(1);
	image.value.isnull = false;
	if (wh_txn_try(compute, &image, &error))
		PG_RETURN_BOOL(true);
	if (!wh_model_is_data_error(error))
		ReThrowError(error);
	FreeErrorData(error);
	PG_RETURN_BOOL(false);
}

static void
compute(void *arg)
{
	Image *image = arg;

	wh_spi_query_snapshot(image->sql, 1, &image->value);
}

/*
 * make_sql returns the model's query over one image, $1.  OFFSET 0 keeps the planner from computing
 * with the image as a constant: it would do so before the condition is asked, and an image that the
 * condition leaves out can be computed.
 */
static char *
make_sql(int32 model_id)
{
	WhModel *model = wh_model_get_by_id(model_id);
	StringInfoData sql;
	ListCell *cell;

	wh_user_check_owner(model->owner, "model", model->short_name);
	if (model->source == NULL || model->join != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg(model->source == NULL ? "model %s has no query" :
												"the query of model %s reads several tables",
						model->name)));
	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT ");
	foreach(cell, model->columns)
		wh_sql_append(&sql, "%s%s", cell == list_head(model->columns) ? "" : ", ",
					  ((WhModelColumn *) lfirst(cell))->expression);
	wh_sql_append(&sql, " FROM (SELECT ($1).* OFFSET 0) s");
	if (model->condition != NULL)
		wh_sql_append(&sql, " WHERE %s", model->condition);
	return sql.data;
}
