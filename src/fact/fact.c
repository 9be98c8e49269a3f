/*
 * fact.c
 *		Facts as a kind of model: registration, and opening one from the catalog.
 *
 * What a fact's declaration chose stands in the model's options (event time, grid, bounds) and in
 * walhouse.fact_dimension; everything else follows from the query's columns.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/memutils.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "fact/fact.h"
#include "fact/fact_private.h"

static WhPast past(const WhModel *model);
static void drop(WhModel *model);
static List *referrers(const WhModel *model);
static List *read_roles(WhFact *fact);
static int position_of(const WhFact *fact, const char *name);

static const WhModelRoutine routine = {
	.build = wh_fact_build,
	.finish_build = wh_fact_finish_build,
	.missing_partitions = wh_fact_missing_partitions,
	.release = wh_fact_release,
	.load = wh_fact_load,
	.needs = wh_fact_dimensions,
	.verify = wh_fact_verify,
	.samples = true,
	.known = wh_fact_known,
	.past = past,
	.suspect = wh_fact_suspect,
	.mend = wh_fact_mend,
	.drop = drop,
	.referrers = referrers,
};

void
wh_fact_init(void)
{
	wh_model_register(WH_MODEL_FACT, &routine);
}

List *
wh_fact_dimensions(const WhModel *fact)
{
	WhArg args[1];
	WhRows *rows;
	List *ids = NIL;

	args[0] = WH_ARG_INT4(fact->id);
	rows = wh_spi_query_kept(
		"SELECT DISTINCT dimension_id FROM walhouse.fact_dimension WHERE model_id = $1"
		" ORDER BY dimension_id",
		1, args);
	for (uint64 i = 0; i < rows->count; i++)
		ids = lappend_int(ids, wh_rows_int4(rows, i, 1));
	return ids;
}

/*
 * wh_fact_open reads what the statements of a fact need, once for each WhModel: it stays in
 * model->kind_data, with the stage of the load that is going on, and lives as long as the model.
 */
WhFact *
wh_fact_open(WhModel *model)
{
	WhFact *fact = model->kind_data;
	MemoryContext caller;
	List *key = NIL;
	ListCell *cell;
	char *event_time;

	if (fact != NULL)
		return fact;
	caller = MemoryContextSwitchTo(GetMemoryChunkContext(model));
	fact = palloc0(sizeof(WhFact));
	fact->context = CurrentMemoryContext;
	fact->model = model;
	wh_fact_add_columns(fact, model->columns, wh_fact_choice(model));
	foreach(cell, model->key)
		key = lappend(key, ((WhModelColumn *) lfirst(cell))->name);
	event_time = wh_model_option(model, "event_time");
	(void) position_of(fact, event_time);
	wh_fact_identify(fact, key, event_time);
	fact->grid = wh_partition_grid(wh_model_option(model, "partition_by"));
	fact->bounds_from = wh_sql_literal(wh_model_option(model, "bounds_from"));
	fact->bounds_to = wh_sql_literal(wh_model_option(model, "bounds_to"));
	wh_fact_read_horizon(fact);
	fact->zone = wh_sql_literal(model->feed->time_zone);
	fact->roles = read_roles(fact);
	model->kind_data = fact;
	MemoryContextSwitchTo(caller);
	return fact;
}

static List *
read_roles(WhFact *fact)
{
	WhArg args[1];
	WhRows *rows;
	List *roles = NIL;
	WhFactRole *role = NULL;

	args[0] = WH_ARG_INT4(fact->model->id);
	rows = wh_spi_query_kept("SELECT f.role, f.column_name, f.dimension_id, k.name, f.null_sk,"
							 " f.not_applicable_if, f.error_if, COALESCE(f.history_role, 0)"
							 " FROM walhouse.fact_dimension f CROSS JOIN LATERAL"
							 "      pg_catalog.unnest(f.key) WITH ORDINALITY k (name, place)"
							 " WHERE f.model_id = $1 ORDER BY f.role, k.place",
							 1, args);
	for (uint64 i = 0; i < rows->count; i++)
	{
		int number = wh_rows_int4(rows, i, 1);

		if (role == NULL || role->number != number)
		{
			role = palloc0(sizeof(WhFactRole));
			role->number = number;
			role->column = wh_rows_text(rows, i, 2);
			role->dimension = wh_model_peer(fact->model, wh_rows_int4(rows, i, 3));
			role->null_sk = wh_rows_int4(rows, i, 5);
			if (wh_rows_text(rows, i, 6) != NULL)
				role->not_applicable = position_of(fact, wh_rows_text(rows, i, 6));
			if (wh_rows_text(rows, i, 7) != NULL)
				role->error = position_of(fact, wh_rows_text(rows, i, 7));
			role->history = wh_rows_int4(rows, i, 8);
			roles = lappend(roles, role);
		}
		role->keys = lappend_int(role->keys, position_of(fact, wh_rows_text(rows, i, 4)));
	}
	return roles;
}

static int
position_of(const WhFact *fact, const char *name)
{
	int position = name == NULL ? 0 : wh_fact_position(fact, name);

	if (position > 0)
		return position;
	ereport(
		ERROR,
		(errcode(ERRCODE_UNDEFINED_COLUMN),
		 errmsg("fact %s has no column \"%s\"", fact->model->name,
				name != NULL ? name : ""),
		 errhint(
			 "Declare the fact again: SELECT walhouse.drop_model(…), then"
			 " walhouse.create_fact(…).")));
}

static WhPast
past(const WhModel *model)
{
	const WhFact *fact = wh_fact_open((WhModel *) model);

	if (fact->books)
		return WH_PAST_ROWS;
	return wh_fact_has_history(fact) ? WH_PAST_HISTORY : WH_PAST_LOG;
}

/* drop forgets what the catalog has of a fact beside its model's row. */
static void
drop(WhModel *model)
{
	WhArg args[1];

	args[0] = WH_ARG_INT4(model->id);
	wh_catalog_execute("DELETE FROM walhouse.ahead WHERE model_id = $1", 1, args);
	wh_catalog_execute("DELETE FROM walhouse.fact_rejected WHERE model_id = $1", 1, args);
	wh_catalog_execute("DELETE FROM walhouse.fact_dimension WHERE model_id = $1", 1, args);
	wh_fact_forget_retention(model->id);
}

/* referrers lists the facts that refer to a dimension. */
static List *
referrers(const WhModel *model)
{
	WhArg args[1];
	WhRows *rows;
	List *relations = NIL;

	args[0] = WH_ARG_INT4(model->id);
	rows = wh_spi_query_kept(
		"SELECT DISTINCT m.relation::pg_catalog.oid FROM walhouse.fact_dimension f"
		" JOIN walhouse.model m USING (model_id) WHERE f.dimension_id = $1 ORDER BY 1",
		1, args);
	for (uint64 i = 0; i < rows->count; i++)
		relations = lappend_oid(relations, wh_rows_oid(rows, i, 1));
	return relations;
}
