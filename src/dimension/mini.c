/*
 * mini.c
 *		Mini-dimensions (type 4): the combinations of a few attributes that members have had.
 *
 * A mini-dimension is two models.  <name>_history is a dimension like any other, all of type 2: it
 * says which values a key had when.  <name> has the distinct combinations of these values, kept
 * like a junk dimension's; it belongs to no feed, and its members are never taken away.  Which
 * combination a version has is not stored: the hash of its values finds it.
 *
 * Combinations are made by the loads of the history, before its versions are written, from the
 * images of its events; a build makes those that its versions lack at its end, under the state
 * lock, or they would stand uncommitted in the way of a load that needs the same ones.  So every
 * version has its combination, whoever looks it up.  An inferred member of the history has nothing
 * but NULLs, a combination that the fact makes which needs it.
 *
 * A fact keeps both surrogate keys, so that whatever gives its row another version gives it the
 * combination of that one.  One thing changes the values of a version that is there: the real row
 * of an inferred member becomes its first version in place.  A load says so in walhouse.moved, and
 * facts follow (fact/mini.c).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

static List *combined_columns(WhQuery *query);
static void append_combination(StringInfo sql, const WhModel *mini, const char *combination);
static WhModel *mini_of(const WhModel *history);
static void make_combinations(const WhModel *mini, const WhLoad *load, const WhStage *stage);
static void tell_facts(const WhModel *history, const WhLoad *load, WhStage *stage);

PG_FUNCTION_INFO_V1(walhouse_create_mini_dimension);

Datum
walhouse_create_mini_dimension(PG_FUNCTION_ARGS)
{
	WhDeclaration declaration = {.on_delete = "close", .unknown = true, .effective = "commit"};
	WhReference reference = {0};
	List *columns;
	char *schema;
	char *relation;
	WhModel *mini;

	wh_model_check_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), "mini-dimension", &schema,
						&relation);
	declaration.key = wh_model_names(PG_GETARG_ARRAYTYPE_P(2), "key");
	declaration.scd =
		DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{\"*\": 2}")));
	declaration.query =
		wh_model_prepare(wh_sql("%I.%I", schema, wh_name(relation, "_history")),
						 text_to_cstring(PG_GETARG_TEXT_PP(1)), declaration.key, "mini-dimension",
						 &declaration.schema, &declaration.relation);
	columns = combined_columns(declaration.query);
	wh_dimension_check_combination(columns, wh_name(relation, "_sk"), "mini-dimension");
	mini = wh_dimension_declare_combinations(schema, relation, WH_MODEL_MINI, columns);
	declaration.mini = mini->id;
	reference.dimension = wh_dimension_declare(&declaration);
	reference.column = wh_dimension_sk(reference.dimension);
	reference.names = declaration.key;
	wh_dimension_store_references(mini, WH_REFERENCE_HISTORY, list_make1(&reference));
	PG_RETURN_OID(mini->relid);
}

/* combined_columns are the query's columns but for the key, as combinations have them: freed of
 * what modifies their types. */
static List *
combined_columns(WhQuery *query)
{
	List *columns = NIL;
	ListCell *cell;

	foreach(cell, query->columns)
	{
		WhModelColumn *column = palloc(sizeof(WhModelColumn));

		*column = *(WhModelColumn *) lfirst(cell);
		column->typmod = -1;
		if (!column->is_key)
			columns = lappend(columns, column);
	}
	if (columns == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a mini-dimension needs columns beside its key"),
				 errdetail("Its members are the combinations of these.")));
	return columns;
}

/* The history is read once for each WhModel, and lives as long. */
WhModel *
wh_dimension_history(const WhModel *mini)
{
	if (mini->kind_data == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(GetMemoryChunkContext((void *) mini));
		List *references = wh_dimension_references(mini, WH_REFERENCE_HISTORY);

		if (references == NIL)
			elog(ERROR, "mini-dimension %s has no history", mini->name);
		((WhModel *) mini)->kind_data = ((WhReference *) linitial(references))->dimension;
		MemoryContextSwitchTo(caller);
	}
	return mini->kind_data;
}

void
wh_dimension_combination_sql(StringInfo sql, const WhModel *mini, const char *history_sk)
{
	WhModel *history = wh_dimension_history(mini);

	wh_sql_append(sql, "(CASE WHEN %s BETWEEN -3 AND -1 THEN %s ELSE ", history_sk, history_sk);
	append_combination(
		sql, mini,
		wh_sql("(SELECT %s FROM %T wh_h WHERE wh_h.%I OPERATOR(pg_catalog.=) %s)",
			   wh_dimension_combination_of(mini->key, "wh_h"), history->relid,
			   wh_dimension_sk(history), history_sk));
	wh_sql_append(sql, " END)");
}

/* append_combination: the surrogate key of the combination of that hash. */
static void
append_combination(StringInfo sql, const WhModel *mini, const char *combination)
{
	wh_sql_append(sql,
				  "(SELECT wh_c.%I FROM %T wh_c WHERE wh_c.combination OPERATOR(pg_catalog.=) %s)",
				  wh_dimension_sk(mini), mini->relid, combination);
}

void
wh_dimension_mini_lookup_sql(StringInfo sql, const WhModel *mini, List *keys,
							 const char *event_time, int null_sk)
{
	WhModel *history = wh_dimension_history(mini);
	StringInfoData version;
	ListCell *cell;

	wh_sql_append(sql, "(CASE WHEN ");
	foreach(cell, keys)
		wh_sql_append(sql, "%s(%s) IS NULL", cell == list_head(keys) ? "" : " OR ",
					  (char *) lfirst(cell));
	wh_sql_append(sql, " THEN %d ELSE ", null_sk);
	initStringInfo(&version);
	wh_sql_append(&version, "(SELECT %s FROM %T wh_d WHERE ",
				  wh_dimension_combination_of(mini->key, "wh_d"), history->relid);
	foreach(cell, history->key)
	{
		WhModelColumn *column = lfirst(cell);

		wh_sql_append(&version, "wh_d.%I %s (%s) AND ", column->name,
					  wh_model_equality(column->type),
					  (char *) list_nth(keys, foreach_current_index(cell)));
	}
	wh_sql_append(
		&version,
		"wh_d.valid_from OPERATOR(pg_catalog.<=) (%s) ORDER BY wh_d.valid_from DESC LIMIT "
		"1)",
		event_time);
	append_combination(sql, mini, version.data);
	wh_sql_append(sql, " END)");
}

void
wh_dimension_known_combination_sql(StringInfo sql, const WhModel *mini, List *keys,
								   const char *versions, const char *instant)
{
	WhModel *history = wh_dimension_history(mini);
	List *nothing = NIL;
	StringInfoData version;
	ListCell *cell;

	foreach(cell, mini->key)
		nothing = lappend(nothing,
						  wh_sql("NULL::%s", format_type_extended(
												 ((WhModelColumn *) lfirst(cell))->type, -1,
												 FORMAT_TYPE_FORCE_QUALIFY)));
	initStringInfo(&version);
	wh_sql_append(&version, "COALESCE((SELECT %s FROM %s wh_k WHERE ",
				  wh_dimension_combination_of(mini->key, "wh_k"), versions);
	foreach(cell, history->key)
	{
		WhModelColumn *column = lfirst(cell);

		wh_sql_append(&version, "wh_k.%I %s (%s) AND ", column->name,
					  wh_model_equality(column->type),
					  (char *) list_nth(keys, foreach_current_index(cell)));
	}
	wh_sql_append(
		&version,
		"wh_k.valid_from OPERATOR(pg_catalog.<=) (%s) ORDER BY wh_k.valid_from DESC LIMIT "
		"1), %s)",
		instant, wh_dimension_combination(mini->key, nothing));
	append_combination(sql, mini, version.data);
}

/* The versions of the keys are there; what they lack of combinations is made, of inferred members
 * above all. */
void
wh_dimension_mini_infer_sql(StringInfo sql, const WhModel *mini, const char *keys_query,
							int64 load_id)
{
	WhModel *history = wh_dimension_history(mini);
	StringInfoData names;
	StringInfoData from;
	StringInfoData rows;

	initStringInfo(&names);
	wh_model_column_list(&names, history->key, NULL);
	initStringInfo(&from);
	wh_sql_append(&from,
				  "(%s) k (%s) CROSS JOIN LATERAL (SELECT h.* FROM %T h WHERE ", keys_query,
				  names.data, history->relid);
	wh_model_key_join(&from, history, "h", "k");
	wh_sql_append(&from, " OFFSET 0) v");
	initStringInfo(&rows);
	wh_dimension_combinations_sql(&rows, mini->key, from.data);
	wh_dimension_insert_combinations_sql(sql, mini, rows.data, load_id);
}

/* mini_of gives the mini-dimension that a dimension is the history of; NULL: none. */
static WhModel *
mini_of(const WhModel *history)
{
	char *id = wh_model_option(history, "mini");

	return id == NULL ? NULL : wh_model_get_by_id(pg_strtoint32(id));
}

void
wh_dimension_mini_load(const WhModel *history, const WhLoad *load, WhStage *stage)
{
	WhModel *mini = mini_of(history);
	StringInfoData sql;

	if (mini == NULL)
		return;
	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT e.* FROM (");
	wh_dimension_events_sql(&sql, history, false);
	wh_sql_append(&sql, ") e WHERE e.wh_live");
	if (wh_stage_fill(stage, "wh_image", sql.data, 2,
					  (WhArg[]){WH_ARG_LSN(history->position), WH_ARG_LSN(load->to)}) == 0)
		return;
	resetStringInfo(&sql);
	wh_dimension_combinations_sql(&sql, mini->key, "wh_image v");
	(void) wh_stage_fill(stage, "wh_combination", sql.data, 0, NULL);
	make_combinations(mini, load, stage);
	if (wh_dimension_has_facts(history))
		tell_facts(history, load, stage);
}

/* make_combinations makes those of wh_combination that are not there, as the mini-dimension's
 * owner. */
static void
make_combinations(const WhModel *mini, const WhLoad *load, const WhStage *stage)
{
	int level = wh_settings_push_joins(WH_JOINS_PROBE);
	StringInfoData sql;
	WhUser saved;

	initStringInfo(&sql);
	wh_dimension_insert_combinations_sql(&sql, mini, "SELECT * FROM wh_combination", load->id);
	wh_user_become(mini->owner, &saved);
	(void) wh_stage_execute(stage, sql.data, 0, NULL);
	wh_user_restore(&saved);
	wh_settings_pop(level);
}

/* tell_facts enters the inferred members that get their row now, whose facts have another
 * combination from then on. */
static void
tell_facts(const WhModel *history, const WhLoad *load, WhStage *stage)
{
	int level = wh_settings_push_joins(WH_JOINS_PROBE);
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql,
				  "SELECT d.sk, '-infinity'::timestamptz AS from_time, 'infinity'::timestamptz AS "
				  "to_time FROM (SELECT DISTINCT ");
	wh_model_column_list(&sql, history->key, "e");
	wh_sql_append(&sql,
				  " FROM wh_image e) k CROSS JOIN LATERAL (SELECT d.%I AS sk, d.is_inferred FROM "
				  "%T d WHERE ",
				  wh_dimension_sk(history), history->relid);
	wh_model_key_join(&sql, history, "d", "k");
	wh_sql_append(&sql, " ORDER BY d.valid_from DESC LIMIT 1) d WHERE d.is_inferred");
	if (wh_stage_fill(stage, "wh_filled", sql.data, 0, NULL) > 0)
		wh_dimension_move_facts(history, stage, "wh_filled", load->to);
	wh_settings_pop(level);
}

void
wh_dimension_mini_build(WhModel *history)
{
	WhModel *mini = mini_of(history);
	MemoryContext caller;
	StringInfoData sql;
	WhStage *stage;

	if (mini == NULL)
		return;
	caller = MemoryContextSwitchTo(GetMemoryChunkContext(history));
	stage = wh_stage_create();
	MemoryContextSwitchTo(caller);
	initStringInfo(&sql);
	wh_dimension_combinations_sql(&sql, mini->key,
								  wh_sql("%T v WHERE " WH_IS_MEMBER("v.%I"), history->relid,
										 wh_dimension_sk(history)));
	(void) wh_stage_fill(stage, "wh_combination", sql.data, 0, NULL);
	history->kind_data = stage;
}

void
wh_dimension_mini_finish_build(WhModel *history, WhLoad *load, WhCounts *counts)
{
	WhStage *stage = history->kind_data;

	if (stage == NULL)
		return;
	make_combinations(mini_of(history), load, stage);
	wh_stage_drop(stage);
	history->kind_data = NULL;
}

/*
 * wh_dimension_mini_verify: every version of the history has its combination (missing), and every
 * combination the hash of its columns (different).  Members that no version has any more are as
 * they should be.
 */
void
wh_dimension_mini_verify(WhModel *model, WhVerdict *verdict)
{
	WhModel *history = wh_dimension_history(model);
	WhStage *stage = wh_stage_create_snapshot();
	const char *members = wh_sql(WH_IS_MEMBER("d.%I"), wh_dimension_sk(model));
	const char *versions =
		wh_sql("NOT d.is_inferred AND " WH_IS_MEMBER("d.%I"), wh_dimension_sk(history));
	bool is_sample = verdict->sample > 0;
	WhRows *rows;

	if (is_sample)
	{
		wh_model_draw(stage, "wh.members", model->relid, "d.*", members, verdict->sample);
		wh_model_draw(stage, "wh.versions", history->relid, "d.*", versions, verdict->sample);
	}
	rows = wh_stage_query(
		stage,
		wh_sql(
			"SELECT f.count, e.missing, f.wrong FROM (SELECT pg_catalog.count(*) FILTER (WHERE "
			"(SELECT true FROM %T c WHERE c.combination "
			"OPERATOR(pg_catalog.=) v.combination) IS NULL) AS missing FROM (SELECT DISTINCT %s "
			"AS combination FROM %s d WHERE %s) v) e, (SELECT pg_catalog.count(*), "
			"pg_catalog.count(*) FILTER (WHERE d.combination IS DISTINCT FROM %s) AS wrong FROM "
			"%s d WHERE %s) f",
			model->relid, wh_dimension_combination_of(model->key, "d"),
			is_sample ? "\"wh.versions\"" : wh_sql_relation(history->relid), versions,
			wh_dimension_combination_of(model->key, "d"),
			is_sample ? "\"wh.members\"" : wh_sql_relation(model->relid), members),
		0, NULL);
	wh_stage_drop(stage);
	verdict->found = wh_rows_int8(rows, 0, 1);
	verdict->missing = wh_rows_int8(rows, 0, 2);
	verdict->different = wh_rows_int8(rows, 0, 3);
	verdict->expected = verdict->found + verdict->missing;
}

/* wh_dimension_mini_drop drops the history with it. */
void
wh_dimension_mini_drop(WhModel *model)
{
	WhArg args[] = {WH_ARG_INT4(model->id)};
	WhRows *rows = wh_catalog_query(
		"SELECT m.relation::pg_catalog.oid FROM walhouse.dimension_reference r JOIN "
		"walhouse.model m "
		"ON m.model_id = r.dimension_id WHERE r.model_id = $1",
		1, args);

	wh_catalog_execute("DELETE FROM walhouse.dimension_reference WHERE model_id = $1", 1, args);
	for (uint64 i = 0; i < rows->count; i++)
		wh_model_drop(wh_rows_oid(rows, i, 1));
}
