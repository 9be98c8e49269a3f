/*
 * time.c
 *		Dimensions of the time of day: one row for each hour, minute or second, all of it computed.
 *
 * Such a dimension belongs to no feed and is complete when its declaration commits, so a look-up
 * computes the surrogate key, which is the time in digits (945 is 09:45), and reads nothing.
 * 24:00 is midnight.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

typedef struct Granularity
{
	const char *name;
	int seconds; /* of one row */
	const char *sk; /* over t.time */
	const char *format;
} Granularity;

#define HOUR "(extract(hour FROM t.time)::integer %% 24)"
#define MINUTE "extract(minute FROM t.time)::integer"
#define SECOND "pg_catalog.trunc(extract(second FROM t.time))::integer"

static const Granularity granularities[] = {
	{"hour", 3600, HOUR, "'HH24'"},
	{"minute", 60, HOUR " * 100 + " MINUTE, "'HH24:MI'"},
	{"second", 1, HOUR " * 10000 + " MINUTE " * 100 + " SECOND, "'HH24:MI:SS'"}};

static const struct
{
	const char *name;
	const char *type;
	const char *expression; /* over t.time; %s stands for the format of a label, a literal */
} time_columns[] = {
	{"time", "time", "t.time"},
	{"label", "text", "pg_catalog.to_char(t.time::interval, %s)"},
	{"hour", "integer", HOUR},
	{"minute", "integer", MINUTE},
	{"second", "integer", SECOND},
	{"hour_12", "integer", "(" HOUR " + 11) %% 12 + 1"},
	{"am_pm", "text", "CASE WHEN " HOUR " < 12 THEN 'AM' ELSE 'PM' END"},
	{"minute_of_day", "integer", HOUR " * 60 + " MINUTE},
	{"second_of_day", "integer", HOUR " * 3600 + " MINUTE " * 60 + " SECOND},
	{"day_part", "text",
	 "(ARRAY['night', 'morning', 'afternoon', 'evening'])[" HOUR " / 6 + 1]"}};

static const Granularity *find_granularity(const char *name);
static Oid make_time_table(const char *schema, const char *relation, const char *sk);
static Jsonb *make_options(const char *granularity, const char *sk);
static void insert_rows(WhModel *model);
static void append_names(StringInfo sql);
static void append_rows(StringInfo sql, const WhModel *model);

PG_FUNCTION_INFO_V1(walhouse_create_time_dimension);

Datum
walhouse_create_time_dimension(PG_FUNCTION_ARGS)
{
	const Granularity *granularity = find_granularity(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	char *schema;
	char *relation;
	char *sk;
	Oid relid;
	int guc_level;

	if (granularity == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no granularity \"%s\"", text_to_cstring(PG_GETARG_TEXT_PP(1))),
				 errhint("It is hour, minute or second.")));
	wh_model_check_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), "time dimension", &schema,
						&relation);
	sk = wh_name(relation, "_sk");
	guc_level = NewGUCNestLevel();
	wh_settings_pin("UTC");
	relid = make_time_table(schema, relation, sk);
	insert_rows(wh_model_declare(schema, relation, WH_MODEL_TIME, NULL, list_make1("time"),
								 make_options(granularity->name, sk), relid));
	AtEOXact_GUC(false, guc_level);
	PG_RETURN_OID(relid);
}

static const Granularity *
find_granularity(const char *name)
{
	for (int i = 0; i < lengthof(granularities); i++)
	{
		if (strcmp(name, granularities[i].name) == 0)
			return &granularities[i];
	}
	return NULL;
}

static Oid
make_time_table(const char *schema, const char *relation, const char *sk)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "CREATE TABLE %I.%I (%I bigint CONSTRAINT %I PRIMARY KEY", schema,
				  relation, sk, wh_name(relation, "_pkey"));
	for (int i = 0; i < lengthof(time_columns); i++)
		wh_sql_append(&sql, ", %I %s", time_columns[i].name, time_columns[i].type);
	wh_sql_append(&sql, ", load_id bigint NOT NULL, CONSTRAINT %I UNIQUE (time))",
				  wh_name(relation, "_key"));
	wh_spi_execute(sql.data, 0, NULL);
	return get_relname_relid(relation, get_namespace_oid(schema, false));
}

static Jsonb *
make_options(const char *granularity, const char *sk)
{
	WhRows *rows =
		wh_spi_query("SELECT pg_catalog.jsonb_build_object('granularity', $1, 'sk', $2)", 2,
					 (WhArg[]){WH_ARG_TEXT(granularity), WH_ARG_TEXT(sk)});
	bool isnull;

	return DatumGetJsonbPCopy(wh_rows_datum(rows, 0, 1, &isnull));
}

static void
insert_rows(WhModel *model)
{
	StringInfoData sql;

	wh_spi_execute(
		wh_sql("INSERT INTO %T (%I, load_id) SELECT o.sk, 0 FROM (" WH_OTHER_SKS ") o (sk)",
			   model->relid, wh_dimension_sk(model)),
		0, NULL);
	initStringInfo(&sql);
	wh_sql_append(&sql, "INSERT INTO %T (%I, ", model->relid, wh_dimension_sk(model));
	append_names(&sql);
	wh_sql_append(&sql, ", load_id) SELECT r.*, 0 FROM (");
	append_rows(&sql, model);
	wh_sql_append(&sql, ") r");
	wh_spi_execute(sql.data, 0, NULL);
}

List *
wh_dimension_time_columns(const WhModel *dimension)
{
	List *names = NIL;

	for (int i = 0; i < lengthof(time_columns); i++)
		names = lappend(names, unconstify(char *, time_columns[i].name));
	return names;
}

static void
append_names(StringInfo sql)
{
	for (int i = 0; i < lengthof(time_columns); i++)
		wh_sql_append(sql, "%s%I", i == 0 ? "" : ", ", time_columns[i].name);
}

/* append_rows: a query of all rows, the surrogate key first. */
static void
append_rows(StringInfo sql, const WhModel *model)
{
	const Granularity *granularity = find_granularity(wh_model_option(model, "granularity"));

	wh_sql_append(sql, "SELECT (");
	wh_sql_append(sql, granularity->sk);
	wh_sql_append(sql, ")::bigint AS wh_sk");
	for (int i = 0; i < lengthof(time_columns); i++)
	{
		wh_sql_append(sql, ", ");
		wh_sql_append(sql, time_columns[i].expression, granularity->format);
		wh_sql_append(sql, " AS %I", time_columns[i].name);
	}
	wh_sql_append(sql,
				  " FROM (SELECT '00:00'::time + n * '1 second'::interval AS time FROM "
				  "pg_catalog.generate_series(0, 86399, %d) n) t",
				  granularity->seconds);
}

void
wh_dimension_time_lookup_sql(StringInfo sql, const WhModel *dimension, const char *key,
							 int null_sk)
{
	const Granularity *granularity = find_granularity(wh_model_option(dimension, "granularity"));

	wh_sql_append(sql, "(SELECT CASE WHEN t.time IS NULL THEN %d ELSE (", null_sk);
	wh_sql_append(sql, granularity->sk);
	wh_sql_append(sql, ")::bigint END FROM (SELECT (%s)::time AS time OFFSET 0) t)", key);
}

void
wh_dimension_time_verify(WhModel *model, WhVerdict *verdict)
{
	WhStage *stage = wh_stage_create_snapshot();
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "WITH r AS (");
	append_rows(&sql, model);
	wh_sql_append(&sql, "), e AS MATERIALIZED (SELECT r.* FROM r");
	if (verdict->sample > 0)
	{
		wh_model_draw(stage, "wh.drawn", model->relid,
					  wh_sql("d.%I AS wh_sk", wh_dimension_sk(model)),
					  wh_sql(WH_IS_MEMBER("d.%I"), wh_dimension_sk(model)),
					  (verdict->sample + 1) / 2);
		wh_sql_append(&sql,
					  " WHERE r.wh_sk IN (SELECT d.wh_sk FROM \"wh.drawn\" d UNION (SELECT t.wh_sk "
					  "FROM r t ORDER BY pg_catalog.random() LIMIT %d))",
					  verdict->sample / 2);
	}
	wh_sql_append(&sql, ") ");
	wh_dimension_compare_computed(stage, &sql, model, wh_dimension_time_columns(model), verdict);
	wh_stage_drop(stage);
}
