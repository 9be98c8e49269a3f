/*
 * choice.c
 *		Why a fact's row has the dimension rows that it has.
 *
 * Each surrogate key was looked up by the columns of the fact's query that give the dimension's
 * key, as of the event time: the version with the greatest valid_from that is not after it.  The
 * answer names these, and the change of the dimension's source that began the version, where the
 * caller may know that.
 *
 * Dimensions are read as the fact's owner; their logs as their own owners, for callers who have
 * these roles, and for nobody else.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "trace/trace_private.h"

/* One of the fact's surrogate keys. */
typedef struct Role
{
	char *column;
	WhModel *dimension;
	int number;
	char *key; /* a jsonb expression over r: what it was looked up by */
	char *event_time; /* an expression over r */
	int null_sk;
	char *not_applicable; /* columns; NULL: none */
	char *error;
} Role;

static void emit_choice(WhTrace *trace, const Role *role);
static bool is_final(WhTrace *trace, const Role *role);
static char *reason(const Role *role);
static void stage_beginning(WhTrace *trace, const Role *role);
static void find_beginning(WhTrace *trace, const Role *role, WhStage *stage);

void
wh_trace_emit_choices(WhTrace *trace)
{
	WhArg args[] = {WH_ARG_INT4(trace->model->id), WH_ARG_TEXT(trace->column)};
	WhRows *rows = wh_spi_query(
		"SELECT d.role, d.column_name::pg_catalog.text, d.dimension_id, d.null_sk,"
		" d.not_applicable_if::pg_catalog.text, d.error_if::pg_catalog.text,"
		" (SELECT pg_catalog.string_agg(pg_catalog.format('%L::pg_catalog.text, r.%I', k.name,"
		" k.name), ', ' ORDER BY k.place) FROM pg_catalog.unnest(d.key) WITH ORDINALITY k (name,"
		" place)) FROM walhouse.fact_dimension d WHERE d.model_id = $1 AND ($2 IS NULL OR"
		" d.column_name = $2) ORDER BY d.role",
		2, args);

	for (uint64 i = 0; i < rows->count; i++)
	{
		Role role = {.number = wh_rows_int4(rows, i, 1), .column = wh_rows_text(rows, i, 2)};

		role.dimension = wh_model_get_by_id(wh_rows_int4(rows, i, 3));
		role.null_sk = wh_rows_int4(rows, i, 4);
		role.not_applicable = wh_rows_text(rows, i, 5);
		role.error = wh_rows_text(rows, i, 6);
		role.key = wh_sql("pg_catalog.jsonb_build_object(%s)", wh_rows_text(rows, i, 7));
		role.event_time = wh_sql("r.%I::pg_catalog.timestamptz",
								 wh_model_option(trace->model, "event_time"));
		emit_choice(trace, &role);
	}
}

static void
emit_choice(WhTrace *trace, const Role *role)
{
	const WhModel *dimension = role->dimension;
	char *sk = wh_model_option(dimension, "sk");
	bool is_readable = pg_class_aclcheck(dimension->relid, trace->model->owner, ACL_SELECT) ==
					   ACLCHECK_OK;
	bool has_versions = get_attnum(dimension->relid, "valid_from") != InvalidAttrNumber;
	StringInfoData sql;
	int level;

	stage_beginning(trace, role);
	initStringInfo(&sql);
	wh_sql_append(&sql,
				  "SELECT " WH_TRACE_ITEM ", b.load_id, b.lsn, b.xid, b.commit_time, b.origin,"
				  " b.context, pg_catalog.jsonb_build_object('dimension', %L::pg_catalog.text, %L,"
				  " r.%I, 'key', %s, 'event_time', %s, 'reason', ",
				  "dimension", role->column, dimension->name, role->column, role->column,
				  role->key, role->event_time);
	wh_sql_append(&sql, "%s, 'final', %s",
				  is_readable && has_versions ? reason(role) :
												wh_sql("CASE WHEN r.%I < 0 THEN %L ELSE %L END",
													   role->column, "no member", "its key"),
				  is_final(trace, role) ? "true" : "false");
	if (is_readable && has_versions)
		wh_sql_append(&sql, ", 'valid_from', d.valid_from, 'valid_to', d.valid_to, 'is_inferred',"
							" d.is_inferred");
	wh_sql_append(&sql, ") AS details FROM \"wh.row\" r CROSS JOIN \"wh.beginning\" b");
	if (is_readable && has_versions)
		wh_sql_append(&sql, " LEFT JOIN %T d ON d.%I = r.%I", dimension->relid, sk, role->column);
	level = wh_settings_push_joins(WH_JOINS_PROBE);
	wh_settings_avoid_scans();
	wh_trace_emit(trace, trace->stage, sql.data, 0, NULL);
	wh_settings_pop(level);
}

/* is_final says that no later version can be the row's: its event time is before the feed clock.
 * Of the rows ahead of it owners may read none themselves: they are of all facts. */
static bool
is_final(WhTrace *trace, const Role *role)
{
	WhRows *rows = wh_stage_query(trace->stage,
								  wh_sql("SELECT r.%I, %s FROM \"wh.row\" r", role->column,
										 role->event_time),
								  0, NULL);
	WhArg args[4] = {WH_ARG_INT4(trace->model->id), WH_ARG_INT4(role->number)};
	bool isnull;

	args[2] = WH_ARG_INT8(wh_rows_int8(rows, 0, 1));
	args[3] = WH_ARG_TIMESTAMPTZ(DatumGetTimestampTz(wh_rows_datum(rows, 0, 2, &isnull)));
	return wh_catalog_query("SELECT FROM walhouse.ahead a WHERE a.model_id = $1 AND a.role = $2 AND"
							" a.sk = $3 AND a.event_time = $4 LIMIT 1",
							4, args)
			   ->count == 0;
}

/* reason is an SQL expression over the fact's row r and the dimension's row d. */
static char *
reason(const Role *role)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "CASE");
	if (role->error != NULL)
		wh_sql_append(&sql, " WHEN r.%I = -3 THEN %L", role->column,
					  psprintf("column %s says that its key is an error", role->error));
	if (role->not_applicable != NULL)
		wh_sql_append(&sql, " WHEN r.%I = -2 AND r.%I THEN %L", role->column, role->not_applicable,
					  psprintf("column %s says that it has none", role->not_applicable));
	wh_sql_append(&sql,
				  " WHEN r.%I = %d THEN 'its key is null' WHEN r.%I < 0 THEN 'it has no member'"
				  " WHEN d.is_inferred THEN 'the dimension has not met its key yet'",
				  role->column, role->null_sk, role->column);
	if (wh_dimension_is_versioned(role->dimension))
		wh_sql_append(&sql,
					  " WHEN d.valid_from > %s THEN 'the first version of its key' WHEN d.valid_to"
					  " <= %s THEN 'the last version of its key before the event time' ELSE"
					  " 'the version of its key at the event time' END",
					  role->event_time, role->event_time);
	else
		appendStringInfoString(&sql, " ELSE 'the row of its key' END");
	return sql.data;
}

/* stage_beginning: "wh.beginning" is one row: the change that began the version; NULLs where it is
 * not known, or not for the caller. */
static void
stage_beginning(WhTrace *trace, const Role *role)
{
	WhModel *dimension = role->dimension;
	WhStage *own;
	WhUser saved;

	wh_stage_fill(trace->stage, "wh.beginning",
				  "SELECT NULL::pg_catalog.int8 AS load_id, NULL::pg_catalog.pg_lsn AS lsn,"
				  " " WH_TRACE_NO_CHANGE,
				  0, NULL);
	if (dimension->kind != WH_MODEL_DIMENSION || !OidIsValid(dimension->view) ||
		!wh_dimension_is_versioned(dimension) || wh_dimension_is_effective(dimension) ||
		!has_privs_of_role(trace->caller, dimension->owner))
		return;
	own = wh_stage_create_snapshot();
	wh_stage_fill_from(own, "wh.sk", trace->stage,
					   wh_sql("SELECT r.%I AS sk FROM \"wh.row\" r", role->column), 0, NULL);
	wh_user_become(dimension->owner, &saved);
	find_beginning(trace, role, own);
	wh_user_restore(&saved);
	wh_stage_drop(own);
}

/* find_beginning does that as the dimension's owner, in a stage of its own. */
static void
find_beginning(WhTrace *trace, const Role *role, WhStage *stage)
{
	WhModel *dimension = role->dimension;
	WhOrigins origins = {.limit = wh_trace_log_rows};
	int level = wh_settings_push_joins(WH_JOINS_PROBE);
	bool isnull;
	WhRows *rows;

	wh_settings_avoid_scans();
	wh_stage_fill(stage, "wh.row",
				  wh_sql("SELECT d.* FROM \"wh.sk\" k JOIN %T d ON d.%I = k.sk AND d.%I > 0",
						 dimension->relid, wh_model_option(dimension, "sk"),
						 wh_model_option(dimension, "sk")),
				  0, NULL);
	wh_settings_pop(level);
	rows = wh_stage_query(stage, "SELECT r.valid_from FROM \"wh.row\" r", 0, NULL);
	if (rows->count == 0 ||
		!wh_trace_range(dimension->feed,
						DatumGetTimestampTz(wh_rows_datum(rows, 0, 1, &isnull)),
						dimension->position, &origins.from, &origins.to))
		return;
	wh_model_stage_origins(dimension, stage, "\"wh.row\"", &origins);
	rows = wh_stage_query(stage, "SELECT c.lsn FROM \"wh.change\" c ORDER BY c.lsn LIMIT 1", 0,
						  NULL);
	if (rows->count == 0)
		return;
	wh_stage_fill_from(
		trace->stage, "wh.beginning", stage,
		wh_sql("SELECT NULLIF($1, 0) AS load_id, t.end_lsn AS lsn, t.xid, t.commit_time, t.origin,"
			   " t.context FROM %T t WHERE t.end_lsn = $2",
			   wh_changelog_txn_relid(dimension->feed)),
		2,
		(WhArg[]){WH_ARG_INT8(wh_trace_load(dimension->id, wh_rows_lsn(rows, 0, 1))),
				  WH_ARG_LSN(wh_rows_lsn(rows, 0, 1))});
}
