/*
 * alter.c
 *		walhouse.alter_model: declares a model otherwise, beside the one that is there.
 *
 * The next model is declared under the name <name>__next, with all whose rows are made of its rows
 * (surrogate keys are new), which are redirected to it; all are models like others, built and
 * loaded as such, and swap.c lets them take the names.  So a crash leaves what a crash leaves of
 * any model, and an altered history is what a build makes of the change log.
 *
 * One transaction of the caller; the declarations run as the owner of each model.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "evolve/evolve_private.h"
#include "load/load.h"

/* A model that is declared again, while that is done. */
typedef struct Next
{
	WhModel *model;
	Jsonb *entry;
	WhModel *next;
} Next;

static void check_kind(const WhModel *model);
static Jsonb *changed_entry(const WhModel *model, Jsonb *changes);
static List *collect(List *changes);
static void check_follower(const WhModel *model);
static void check_free(const WhModel *model, const char *suffix);
static void check_retired(const WhModel *model);
static char *name_of(const WhModel *model, const char *suffix);
static void redirect(Next *next, List *done);
static void declare_next(Next *next);
static void forget_dropped(void);

/* An alteration that is tried, and taken back. */
typedef struct AlterTrial
{
	WhChange *change;
	WhRows *steps;
} AlterTrial;

static void try_alter(void *arg);

PG_FUNCTION_INFO_V1(walhouse_alter_model);
PG_FUNCTION_INFO_V1(walhouse_plan_alter);
PG_FUNCTION_INFO_V1(walhouse_cancel_alter);

Datum
walhouse_alter_model(PG_FUNCTION_ARGS)
{
	WhChange change = {wh_model_get(PG_GETARG_OID(0), false)};

	wh_user_check_owner(change.model->owner, "model", change.model->name);
	check_kind(change.model);
	change.entry = changed_entry(change.model, PG_GETARG_JSONB_P(1));
	PG_RETURN_OID(wh_evolve_alter(list_make1(&change)));
}

/* walhouse_plan_alter declares it all, looks at what that means, and takes it back. */
Datum
walhouse_plan_alter(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	WhChange change = {wh_model_get(PG_GETARG_OID(0), false)};
	AlterTrial plan = {&change};
	ErrorData *error;

	wh_user_check_owner(change.model->owner, "model", change.model->name);
	check_kind(change.model);
	change.entry = changed_entry(change.model, PG_GETARG_JSONB_P(1));
	InitMaterializedSRF(fcinfo, 0);
	if (!wh_txn_try(try_alter, &plan, &error) && plan.steps == NULL)
		ReThrowError(error);
	for (uint64 i = 0; i < plan.steps->count; i++)
		tuplestore_puttuple(result->setResult, plan.steps->tuples[i]);
	return (Datum) 0;
}

static void
try_alter(void *arg)
{
	AlterTrial *plan = arg;

	(void) wh_evolve_alter(list_make1(plan->change));
	plan->steps = wh_catalog_query(
		"SELECT s.step, s.object, s.detail FROM walhouse.alter_steps(ARRAY(SELECT"
		" walhouse.alter_followers(ARRAY[$1]))) s",
		1, (WhArg[]){WH_ARG_INT4(plan->change->model->id)});
	ereport(ERROR, (errcode(ERRCODE_SUCCESSFUL_COMPLETION), errmsg("a trial is over")));
}

/* walhouse_cancel_alter drops what is to take the place of a model, and of all with it. */
Datum
walhouse_cancel_alter(PG_FUNCTION_ARGS)
{
	WhModel *model = wh_model_get(PG_GETARG_OID(0), false);
	WhRows *rows;

	wh_user_check_owner(model->owner, "model", model->name);
	/* A swap that is under way comes first: then there is nothing to be given up. */
	wh_model_lock(model);
	rows = wh_catalog_query(
		"SELECT m.relation FROM walhouse.alteration a JOIN walhouse.model m ON m.model_id ="
		" a.next_id WHERE a.swapped IS NULL AND a.alteration_id = (SELECT x.alteration_id FROM"
		" walhouse.alteration x WHERE x.swapped IS NULL AND $1 IN (x.model_id, x.next_id))"
		" ORDER BY a.next_id DESC",
		1, (WhArg[]){WH_ARG_INT4(model->id)});
	if (rows->count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("model %s is not being altered", model->name)));
	wh_txn_mark_own();
	for (uint64 i = 0; i < rows->count; i++)
		wh_model_drop(wh_rows_oid(rows, i, 1));
	forget_dropped();
	PG_RETURN_VOID();
}

bool
wh_evolve_is_altering(int32 model_id)
{
	return wh_catalog_query("SELECT FROM walhouse.alteration a WHERE a.swapped IS NULL AND $1 IN"
							" (a.model_id, a.next_id) AND EXISTS (SELECT FROM walhouse.model m"
							" WHERE m.model_id = a.next_id)",
							1, (WhArg[]){WH_ARG_INT4(model_id)})
			   ->count > 0;
}

Oid
wh_evolve_alter(List *changes)
{
	List *nexts = collect(changes);
	List *done = NIL;

	wh_txn_mark_own();
	forget_dropped();
	foreach_ptr(Next, checked, nexts)
		check_follower(checked->model);
	foreach_ptr(Next, next, nexts)
	{
		redirect(next, done);
		declare_next(next);
		done = lappend(done, next);
	}
	foreach_ptr(Next, made, nexts)
		wh_catalog_execute("INSERT INTO walhouse.alteration (alteration_id, model_id, next_id)"
						   " VALUES ($1, $2, $3)",
						   3,
						   (WhArg[]){WH_ARG_INT4(((Next *) linitial(nexts))->next->id),
									 WH_ARG_INT4(made->model->id), WH_ARG_INT4(made->next->id)});
	foreach_ptr(Next, altered, nexts)
	{
		if (altered->model->id == ((WhChange *) linitial(changes))->model->id)
			return altered->next->relid;
	}
	return InvalidOid;
}

/* check_kind: dates, times of day and combinations have no history that could be made anew. */
static void
check_kind(const WhModel *model)
{
	if (model->feed == NULL || wh_model_option(model, "mini") != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("model %s cannot be altered", model->name),
				 errdetail("Dimensions, bridges, facts, rollups and periodic snapshots can."),
				 errhint("Declare another one, and alter the facts to refer to that.")));
}

/* changed_entry is the model's entry with some arguments changed. */
static Jsonb *
changed_entry(const WhModel *model, Jsonb *changes)
{
	Jsonb *entry = wh_evolve_spec(model->relid);
	bool isnull;

	return DatumGetJsonbPCopy(wh_rows_datum(
		wh_spi_query(
			"SELECT pg_catalog.jsonb_set($1, '{arguments}', ($1 OPERATOR(pg_catalog.->) "
			"'arguments') OPERATOR(pg_catalog.||) $2)",
			2,
			(WhArg[]){WH_ARG_JSONB(JsonbPGetDatum(entry)), WH_ARG_JSONB(JsonbPGetDatum(changes))}),
		0, 1, &isnull));
}

/* collect lists what is to be declared: the changes and what follows them, in order. */
static List *
collect(List *changes)
{
	StringInfoData ids;
	List *nexts = NIL;
	WhRows *rows;

	initStringInfo(&ids);
	foreach_ptr(WhChange, named, changes)
		appendStringInfo(&ids, "%s%d", ids.len > 0 ? "," : "", named->model->id);
	rows = wh_catalog_query(wh_sql("SELECT walhouse.alter_followers('{%s}')", ids.data), 0, NULL);
	for (uint64 i = 0; i < rows->count; i++)
	{
		Next *next = palloc0(sizeof(Next));

		next->model = wh_model_get_by_id(wh_rows_int4(rows, i, 1));
		next->entry = wh_evolve_spec(next->model->relid);
		foreach_ptr(WhChange, change, changes)
		{
			if (change->model->id == next->model->id)
				next->entry = change->entry;
		}
		nexts = lappend(nexts, next);
	}
	return nexts;
}

static void
check_follower(const WhModel *model)
{
	wh_user_check_owner(model->owner, "model", model->name);
	if (wh_evolve_is_altering(model->id))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("model %s is being altered already", model->name),
				 errhint("SELECT walhouse.cancel_alter(%s) gives that up.",
						 wh_sql_literal(model->name))));
	check_free(model, "__next");
	check_free(model, "__old");
	check_retired(model);
}

static void
check_free(const WhModel *model, const char *suffix)
{
	char *schema;
	char *relation;

	wh_model_check_name(name_of(model, suffix), "model", &schema, &relation);
}

/* check_retired: what a rollup has of rows that its fact has no more is in no log. */
static void
check_retired(const WhModel *model)
{
	Oid retired = wh_model_view(model, "retired");

	if (OidIsValid(retired) &&
		wh_spi_query(wh_sql("SELECT FROM %T LIMIT 1", retired), 0, NULL)->count > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("model %s cannot be made anew", model->name),
				 errdetail("It counts rows of its fact that were retired, and would lose them."),
				 errhint("Declare another one beside it, which begins where the fact begins.")));
}

static char *
name_of(const WhModel *model, const char *suffix)
{
	return wh_sql("%I.%I", get_namespace_name(get_rel_namespace(model->relid)),
				  wh_name(model->short_name, suffix));
}

/* redirect has an entry refer to what takes the place of the models that it names. */
static void
redirect(Next *next, List *done)
{
	bool isnull;

	foreach_ptr(Next, other, done)
		next->entry = DatumGetJsonbPCopy(wh_rows_datum(
			wh_spi_query("SELECT walhouse.spec_redirect($1, $2, $3)", 3,
						 (WhArg[]){WH_ARG_JSONB(JsonbPGetDatum(next->entry)),
								   WH_ARG_TEXT(other->model->name),
								   WH_ARG_TEXT(other->next->name)}),
			0, 1, &isnull));
	next->entry = wh_evolve_spec_renamed(next->entry, name_of(next->model, "__next"));
}

/* declare_next declares a model as the owner of the one that it follows.  The owner's own words are
 * understood by the owner's search_path. */
static void
declare_next(Next *next)
{
	char *statement = wh_evolve_statement(next->entry, next->model->name);
	bool is_other = next->model->owner != GetUserId();
	WhUser saved;
	WhRows *rows;

	if (is_other)
		wh_user_declare_as(next->model->owner, &saved);
	rows = wh_spi_query(statement, 0, NULL);
	if (is_other)
		wh_user_restore(&saved);
	next->next = wh_model_get(wh_rows_oid(rows, 0, 1), false);
	if (next->model->kind == WH_MODEL_FACT)
		(void) wh_load_follow_horizon(next->model, next->next);
}

/* forget_dropped forgets alterations whose next model, or what was before, somebody has dropped. */
static void
forget_dropped(void)
{
	wh_catalog_execute("DELETE FROM walhouse.alteration a WHERE NOT EXISTS (SELECT FROM"
					   " walhouse.model m WHERE m.model_id = CASE WHEN a.swapped IS NULL THEN"
					   " a.next_id ELSE a.model_id END)",
					   0, NULL);
}
