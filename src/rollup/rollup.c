/*
 * rollup.c
 *		Rollups and periodic snapshots as kinds of model: registration, opening one from the
 * catalog, and what a load and a build do to it.
 *
 * The invariant that all of it keeps: what a rollup has, and what its pending table has, are
 * together the aggregate of the fact's rows, and of those that its retired table says.  A load
 * that moves a fact either brings its rollups on or has them keep what they missed; a rollup that
 * goes on takes that first.  So a rollup stands where its fact stands, at every commit, or waits
 * with what it lacks beside it.  Only a rollup that was never built, or is to be built again, knows
 * nothing; its build reads the fact's rows and the fact's last load in one snapshot, and at its end
 * applies what later loads had it keep.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "base/base.h"
#include "fact/fact.h"
#include "rollup/rollup.h"
#include "rollup/rollup_private.h"

static void build(WhModel *model, WhLoad *load, WhCounts *counts);
static void finish_build(WhModel *model, WhLoad *load, WhCounts *counts);
static void load_rollup(WhModel *model, WhLoad *load, WhCounts *counts);
static void apply(WhRollup *rollup, WhLoad *load, WhCounts *counts, bool is_new);
static void empty(WhRollup *rollup, WhCounts *counts);
static List *needs(const WhModel *model);
static List *referrers(const WhModel *model);
static void drop(WhModel *model);
static void read_fact(WhRollup *rollup);
static void read_options(WhRollup *rollup);
static void read_measures(WhRollup *rollup);
static void read_bounds(WhRollup *rollup);
static void find_tables(WhRollup *rollup);

static const WhModelRoutine routine = {
	.build = build,
	.finish_build = finish_build,
	.load = load_rollup,
	.release = wh_rollup_release,
	.needs = needs,
	.missed = wh_rollup_missed,
	.retire = wh_rollup_retire,
	.come_back = wh_rollup_come_back,
	.verify = wh_rollup_verify,
	.known = wh_rollup_known,
	.suspect = wh_rollup_suspect,
	.mend = wh_rollup_mend,
	.follow_mend = wh_rollup_follow_mend,
	.drop = drop,
	.referrers = referrers,
};

void
wh_rollup_init(void)
{
	wh_model_register(WH_MODEL_ROLLUP, &routine);
	wh_model_register(WH_MODEL_SNAPSHOT, &routine);
}

/* -------- loads and builds -------- */

static void
load_rollup(WhModel *model, WhLoad *load, WhCounts *counts)
{
	WhRollup *rollup = wh_rollup_open(model);
	bool has_missed = model->position != rollup->fact_position;

	wh_rollup_check_rights(rollup);
	wh_rollup_start_stage(rollup);
	if (wh_rollup_read_delta(rollup, load, has_missed))
		apply(rollup, load, counts, false);
	if (has_missed)
		wh_rollup_forget_pending(rollup);
	if (rollup->fill)
		wh_rollup_enter_periods(rollup, load, counts);
	wh_rollup_release(model);
}

/* build fills the rollup from the fact as its snapshot sees it. */
static void
build(WhModel *model, WhLoad *load, WhCounts *counts)
{
	WhRollup *rollup = wh_rollup_open(model);

	wh_rollup_check_rights(rollup);
	wh_rollup_start_stage(rollup);
	rollup->built_from = rollup->fact_load;
	empty(rollup, counts);
	wh_rollup_read_fact(rollup);
	apply(rollup, load, counts, true);
	if (rollup->fill)
		wh_rollup_enter_periods(rollup, load, counts);
}

/* finish_build adds what loads did to the fact since the build's snapshot; with that the rollup
 * stands where the fact stands. */
static void
finish_build(WhModel *model, WhLoad *load, WhCounts *counts)
{
	WhRollup *rollup = wh_rollup_open(model);

	read_fact(rollup);
	load->to = rollup->fact_position;
	load->clock = wh_changelog_clock(model->feed, load->to);
	wh_model_set_history_start(model->id, load->to);
	wh_rollup_read_pending(rollup, rollup->built_from);
	apply(rollup, load, counts, false);
	wh_rollup_forget_pending(rollup);
	if (rollup->fill)
		wh_rollup_enter_periods(rollup, load, counts);
	wh_rollup_release(model);
}

static void
apply(WhRollup *rollup, WhLoad *load, WhCounts *counts, bool is_new)
{
	if (wh_stage_count(rollup->stage, "wh_net") == 0)
		return;
	if (rollup->is_snapshot)
		wh_rollup_apply_periods(rollup, load, counts, is_new);
	else
		wh_rollup_apply(rollup, load, counts, is_new);
}

static void
empty(WhRollup *rollup, WhCounts *counts)
{
	ListCell *cell;

	counts->deleted += wh_spi_execute(wh_sql("DELETE FROM %T", rollup->model->relid), 0, NULL);
	foreach(cell, rollup->inputs)
	{
		WhRollupInput *input = lfirst(cell);

		if (input->is_valued)
			wh_spi_execute(wh_sql("DELETE FROM %T", input->values), 0, NULL);
	}
	if (OidIsValid(rollup->rows))
		wh_spi_execute(wh_sql("DELETE FROM %T", rollup->rows), 0, NULL);
	wh_catalog_execute("UPDATE walhouse.rollup SET filled_to = NULL WHERE model_id = $1", 1,
					   (WhArg[]){WH_ARG_INT4(rollup->model->id)});
}

void
wh_rollup_start_stage(WhRollup *rollup)
{
	MemoryContext caller = MemoryContextSwitchTo(rollup->context);

	rollup->stage = wh_stage_create();
	MemoryContextSwitchTo(caller);
}

void
wh_rollup_release(WhModel *model)
{
	WhRollup *rollup = model->kind_data;

	if (rollup == NULL || rollup->stage == NULL)
		return;
	wh_stage_drop(rollup->stage);
	rollup->stage = NULL;
}

/* wh_rollup_check_rights: what a load hands over was read with the rights of the fact's owner. */
void
wh_rollup_check_rights(const WhRollup *rollup)
{
	if (pg_class_aclcheck(rollup->fact, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for fact %s", wh_sql_relation(rollup->fact)),
				 errhint("GRANT SELECT ON %s TO %s;", wh_sql_relation(rollup->fact),
						 wh_sql_identifier(GetUserNameFromId(GetUserId(), false)))));
}

/* -------- the catalog -------- */

/* wh_rollup_open reads what the statements of a rollup need, once for each WhModel: it stays in
 * model->kind_data and lives as long as the model. */
WhRollup *
wh_rollup_open(WhModel *model)
{
	WhRollup *rollup = model->kind_data;
	MemoryContext caller;

	if (rollup != NULL)
		return rollup;
	caller = MemoryContextSwitchTo(GetMemoryChunkContext(model));
	rollup = palloc0(sizeof(WhRollup));
	rollup->context = CurrentMemoryContext;
	rollup->model = model;
	rollup->is_snapshot = model->kind == WH_MODEL_SNAPSHOT;
	rollup->zone = wh_sql_literal(model->feed->time_zone);
	read_fact(rollup);
	read_options(rollup);
	read_measures(rollup);
	wh_rollup_plan(rollup);
	find_tables(rollup);
	if (rollup->is_snapshot)
		read_bounds(rollup);
	model->kind_data = rollup;
	MemoryContextSwitchTo(caller);
	return rollup;
}

/* read_fact finds the fact and where it stands. */
static void
read_fact(WhRollup *rollup)
{
	WhRows *rows = wh_spi_query_kept(
		"SELECT m.model_id, m.relation::pg_catalog.oid, l.to_lsn, COALESCE(l.load_id, 0)"
		" FROM walhouse.fact_reader r JOIN walhouse.model m ON m.model_id = r.fact_id"
		" LEFT JOIN LATERAL (SELECT x.to_lsn, x.load_id FROM walhouse.load_model x"
		" WHERE x.model_id = m.model_id ORDER BY x.load_id DESC LIMIT 1) l ON true"
		" WHERE r.model_id = $1",
		1, (WhArg[]){WH_ARG_INT4(rollup->model->id)});

	if (rows->count == 0 || get_rel_relkind(wh_rows_oid(rows, 0, 2)) == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the fact of %s does not exist any more", rollup->model->name),
				 errhint("SELECT walhouse.drop_model(%s);", wh_sql_literal(rollup->model->name))));
	rollup->fact_id = wh_rows_int4(rows, 0, 1);
	rollup->fact = wh_rows_oid(rows, 0, 2);
	rollup->fact_position = wh_rows_lsn(rows, 0, 3);
	rollup->fact_load = wh_rows_int8(rows, 0, 4);
}

static void
read_options(WhRollup *rollup)
{
	WhModel *model = rollup->model;
	char *unit = wh_model_option(model, "bucket");
	WhRows *rows = wh_spi_query_kept(
		"SELECT pg_catalog.jsonb_array_elements_text($1 OPERATOR(pg_catalog.->) 'group_by')", 1,
		(WhArg[]){WH_ARG_JSONB(JsonbPGetDatum(model->options))});

	for (uint64 i = 0; i < rows->count; i++)
		rollup->groups =
			lappend(rollup->groups, wh_rollup_column(rollup->fact, wh_rows_text(rows, i, 1)));
	if (strcmp(unit, "none") != 0)
	{
		rollup->unit = unit;
		rollup->time = wh_rollup_column(rollup->fact, wh_model_option(model, "bucket_column"));
	}
	rollup->fill = rollup->is_snapshot && strcmp(wh_model_option(model, "fill"), "true") == 0;
}

static void
read_measures(WhRollup *rollup)
{
	WhRows *rows = wh_spi_query_kept(
		"SELECT m.name, m.function, m.\"column\" FROM pg_catalog.jsonb_to_recordset"
		"($1 OPERATOR(pg_catalog.->) 'measures') AS m (name text, function text, \"column\" text)",
		1, (WhArg[]){WH_ARG_JSONB(JsonbPGetDatum(rollup->model->options))});

	for (uint64 i = 0; i < rows->count; i++)
	{
		WhMeasure *measure = palloc0(sizeof(WhMeasure));

		measure->name = wh_rows_text(rows, i, 1);
		measure->column = wh_rows_text(rows, i, 3);
		measure->kind =
			wh_rollup_measure_kind(wh_rows_text(rows, i, 2), measure->column != NULL);
		measure->type = wh_rollup_type(wh_rollup_column(rollup->model->relid, measure->name));
		rollup->measures = lappend(rollup->measures, measure);
		if (measure->kind == WH_MEASURE_LAST && rollup->identity == NIL)
			rollup->identity = wh_rollup_identity(rollup->fact);
	}
}

static void
find_tables(WhRollup *rollup)
{
	ListCell *cell;

	rollup->pending = wh_model_view(rollup->model, "pending");
	rollup->retired = wh_model_view(rollup->model, "retired");
	foreach(cell, rollup->inputs)
	{
		WhRollupInput *input = lfirst(cell);

		if (input->is_valued)
			input->values =
				wh_model_view(rollup->model, psprintf("%s_values", input->column->name));
	}
	if (rollup->identity != NIL)
		rollup->rows = wh_model_view(rollup->model, "rows");
}

/* read_bounds makes dates of the bounds between which the fact takes rows. */
static void
read_bounds(WhRollup *rollup)
{
	WhModel *fact = wh_model_get_by_id(rollup->fact_id);
	WhRollupColumn *event = wh_rollup_column(rollup->fact, wh_model_option(fact, "event_time"));
	const char *date = event->type == TIMESTAMPTZOID ?
						   "pg_catalog.timezone($3, $%d::pg_catalog.timestamptz)" :
						   "$%d::pg_catalog.timestamp";
	StringInfoData sql;
	WhRows *rows;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	appendStringInfo(&sql, date, 1);
	appendStringInfoString(&sql, "::pg_catalog.date, ");
	appendStringInfo(&sql, date, 2);
	appendStringInfoString(&sql, "::pg_catalog.date WHERE $3 IS NOT NULL");
	rows = wh_spi_query_kept(sql.data, 3,
							 (WhArg[]){WH_ARG_TEXT(wh_model_option(fact, "bounds_from")),
									   WH_ARG_TEXT(wh_model_option(fact, "bounds_to")),
									   WH_ARG_TEXT(rollup->model->feed->time_zone)});
	rollup->bounds_from = wh_sql("%L::pg_catalog.date", wh_rows_text(rows, 0, 1));
	rollup->bounds_to = wh_sql("%L::pg_catalog.date", wh_rows_text(rows, 0, 2));
}

static List *
needs(const WhModel *model)
{
	WhRows *rows =
		wh_spi_query_kept("SELECT fact_id FROM walhouse.fact_reader WHERE model_id = $1", 1,
						  (WhArg[]){WH_ARG_INT4(model->id)});

	return rows->count == 0 ? NIL : list_make1_int(wh_rows_int4(rows, 0, 1));
}

/* referrers lists the rollups and snapshots of a fact. */
static List *
referrers(const WhModel *model)
{
	WhRows *rows = wh_spi_query_kept("SELECT m.relation::pg_catalog.oid FROM walhouse.fact_reader r"
									 " JOIN walhouse.model m USING (model_id)"
									 " WHERE r.fact_id = $1 ORDER BY 1",
									 1, (WhArg[]){WH_ARG_INT4(model->id)});
	List *relations = NIL;

	for (uint64 i = 0; i < rows->count; i++)
		relations = lappend_oid(relations, wh_rows_oid(rows, i, 1));
	return relations;
}

static void
drop(WhModel *model)
{
	wh_fact_drop_reader(model->id);
	wh_catalog_execute("DELETE FROM walhouse.rollup WHERE model_id = $1", 1,
					   (WhArg[]){WH_ARG_INT4(model->id)});
}
