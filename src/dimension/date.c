/*
 * date.c
 *		Date dimensions: one row a day, all of it computed from the date.
 *
 * A date dimension belongs to no feed and is complete when its declaration commits.  One list of
 * expressions over d.date makes the rows of the range, those of dates outside it that facts refer
 * to, and the ones that verify() compares with. The surrogate key is the date in digits
 * (20260131), with a minus before our era, so looking it up needs no time.
 *
 * Names of months and days are English, whatever the settings.  A NULL or infinite date is the
 * unknown member.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

/* A column of a date dimension: an expression over d.date and, where %d stands, the month in
 * which the fiscal year begins. */
typedef struct DateColumn
{
	const char *name;
	const char *type;
	const char *expression;
} DateColumn;

#define MONTH "extract(month FROM d.date)::integer"
#define FISCAL_MONTH "(" MONTH " - %d + 12) % 12"

static const DateColumn date_columns[] = {
	{"date", "date", "d.date"},
	{"year", "integer", "extract(year FROM d.date)::integer"},
	{"quarter", "integer", "extract(quarter FROM d.date)::integer"},
	{"month", "integer", MONTH},
	{"month_name", "text",
	 "(ARRAY['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', "
	 "'September', "
	 "'October', 'November', 'December'])[" MONTH "]"},
	{"day_of_month", "integer", "extract(day FROM d.date)::integer"},
	{"day_of_year", "integer", "extract(doy FROM d.date)::integer"},
	{"day_of_week", "integer", "extract(isodow FROM d.date)::integer"},
	{"day_name", "text",
	 "(ARRAY['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'])"
	 "[extract(isodow FROM d.date)::integer]"},
	{"iso_year", "integer", "extract(isoyear FROM d.date)::integer"},
	{"iso_week", "integer", "extract(week FROM d.date)::integer"},
	{"is_weekend", "boolean", "extract(isodow FROM d.date) >= 6"},
	{"is_month_end", "boolean", "d.date = '5874897-12-31' OR extract(day FROM d.date + 1) = 1"},
	{"fiscal_year", "integer",
	 "extract(year FROM d.date)::integer + (" MONTH " >= %d AND %d > 1)::integer"},
	{"fiscal_quarter", "integer", FISCAL_MONTH " / 3 + 1"},
	{"fiscal_month", "integer", FISCAL_MONTH " + 1"}};

#define SK_EXPRESSION \
	"CASE WHEN extract(year FROM d.date) < 0 THEN -1 ELSE 1 END * " \
	"(abs(extract(year FROM d.date)::bigint) * 10000 " \
	"+ extract(month FROM d.date)::bigint * 100 + extract(day FROM d.date)::bigint)"

static Oid make_date_table(const char *schema, const char *relation, const char *sk);
static void append_names(StringInfo sql);
static void append_values(StringInfo sql, int fiscal_month);
static int fiscal_month_of(const WhModel *model);
static void insert_range(WhModel *model);
static Jsonb *make_options(DateADT from, DateADT to, int fiscal_month, const char *sk);
static void check_range(DateADT from, DateADT to, int fiscal_month);

PG_FUNCTION_INFO_V1(walhouse_create_date_dimension);

Datum
walhouse_create_date_dimension(PG_FUNCTION_ARGS)
{
	DateADT from;
	DateADT to;
	int fiscal_month;
	char *schema;
	char *relation;
	char *sk;
	Oid relid;
	int guc_level;
	WhModel *model;

	wh_txn_check_arguments(fcinfo);
	from = PG_GETARG_DATEADT(1);
	to = PG_GETARG_DATEADT(2);
	fiscal_month = PG_GETARG_INT32(3);
	check_range(from, to, fiscal_month);
	wh_model_check_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), "date dimension", &schema,
						&relation);
	sk = wh_name(relation, "_sk");
	guc_level = NewGUCNestLevel();
	wh_settings_pin("UTC");
	relid = make_date_table(schema, relation, sk);
	model = wh_model_declare(schema, relation, WH_MODEL_DATE, NULL, list_make1("date"),
							 make_options(from, to, fiscal_month, sk), relid);
	insert_range(model);
	AtEOXact_GUC(false, guc_level);
	PG_RETURN_OID(relid);
}

static void
check_range(DateADT from, DateADT to, int fiscal_month)
{
	if (DATE_NOT_FINITE(from) || DATE_NOT_FINITE(to) || from > to)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("from_date and to_date must be finite, and from_date not after to_date")));
	if (fiscal_month < 1 || fiscal_month > 12)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("fiscal_year_start_month must be between 1 and 12, and is %d",
							   fiscal_month)));
}

static Oid
make_date_table(const char *schema, const char *relation, const char *sk)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "CREATE TABLE %I.%I (%I bigint CONSTRAINT %I PRIMARY KEY", schema,
				  relation, sk, wh_name(relation, "_pkey"));
	for (int i = 0; i < lengthof(date_columns); i++)
		wh_sql_append(&sql, ", %I %s", date_columns[i].name, date_columns[i].type);
	wh_sql_append(
		&sql,
		", is_inferred boolean NOT NULL, load_id bigint NOT NULL, CONSTRAINT %I UNIQUE (date))",
		wh_name(relation, "_key"));
	wh_spi_execute(sql.data, 0, NULL);
	return get_relname_relid(relation, get_namespace_oid(schema, false));
}

static Jsonb *
make_options(DateADT from, DateADT to, int fiscal_month, const char *sk)
{
	WhRows *rows =
		wh_spi_query("SELECT pg_catalog.jsonb_build_object('from_date', $1, 'to_date', $2, "
					 "'fiscal_year_start_month', $3, 'sk', $4)",
					 4,
					 (WhArg[]){{DATEOID, DateADTGetDatum(from), false},
							   {DATEOID, DateADTGetDatum(to), false},
							   WH_ARG_INT4(fiscal_month),
							   WH_ARG_TEXT(sk)});
	bool isnull;

	return DatumGetJsonbPCopy(wh_rows_datum(rows, 0, 1, &isnull));
}

/* insert_range writes the unknown member and the rows of the range. */
static void
insert_range(WhModel *model)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(
		&sql,
		"INSERT INTO %T (%I, is_inferred, load_id) SELECT o.sk, false, 0 FROM (" WH_OTHER_SKS
		") o (sk)",
		model->relid, wh_dimension_sk(model));
	wh_spi_execute(sql.data, 0, NULL);
	resetStringInfo(&sql);
	wh_sql_append(&sql, "INSERT INTO %T (%I, ", model->relid, wh_dimension_sk(model));
	append_names(&sql);
	wh_sql_append(&sql, ", is_inferred, load_id) SELECT ");
	append_values(&sql, fiscal_month_of(model));
	wh_sql_append(
		&sql,
		", false, 0 FROM (SELECT %L::date + n AS date FROM pg_catalog.generate_series(0, "
		"%L::date - %L::date) n) d",
		wh_model_option(model, "from_date"), wh_model_option(model, "to_date"),
		wh_model_option(model, "from_date"));
	wh_spi_execute(sql.data, 0, NULL);
}

static void
append_names(StringInfo sql)
{
	for (int i = 0; i < lengthof(date_columns); i++)
		wh_sql_append(sql, "%s%I", i == 0 ? "" : ", ", date_columns[i].name);
}

/* append_values appends surrogate key and columns, computed from d.date. */
static void
append_values(StringInfo sql, int fiscal_month)
{
	appendStringInfoString(sql, SK_EXPRESSION);
	for (int i = 0; i < lengthof(date_columns); i++)
	{
		const char *rest = date_columns[i].expression;
		const char *place;

		appendStringInfoString(sql, ", ");
		while ((place = strstr(rest, "%d")) != NULL)
		{
			appendBinaryStringInfo(sql, rest, place - rest);
			appendStringInfo(sql, "%d", fiscal_month);
			rest = place + 2;
		}
		appendStringInfoString(sql, rest);
	}
}

List *
wh_dimension_date_columns(const WhModel *dimension)
{
	List *names = NIL;

	for (int i = 0; i < lengthof(date_columns); i++)
		names = lappend(names, unconstify(char *, date_columns[i].name));
	return names;
}

static int
fiscal_month_of(const WhModel *model)
{
	return pg_strtoint32(wh_model_option(model, "fiscal_year_start_month"));
}

void
wh_dimension_date_lookup_sql(StringInfo sql, const WhModel *dimension, const char *key,
							 int null_sk)
{
	wh_sql_append(
		sql,
		"(SELECT CASE WHEN d.date IS NULL OR NOT pg_catalog.isfinite(d.date) THEN %d "
		"ELSE (SELECT wh_d.%I FROM %T wh_d WHERE wh_d.%I = %s) END FROM (SELECT (%s)::date AS "
		"date OFFSET 0) d)",
		null_sk, wh_dimension_sk(dimension), dimension->relid, wh_dimension_sk(dimension),
		SK_EXPRESSION, key);
}

void
wh_dimension_date_infer_sql(StringInfo sql, const WhModel *dimension, const char *keys_query,
							int64 load_id)
{
	wh_sql_append(sql, "INSERT INTO %T (%I, ", dimension->relid, wh_dimension_sk(dimension));
	append_names(sql);
	wh_sql_append(sql, ", is_inferred, load_id) SELECT ");
	append_values(sql, fiscal_month_of(dimension));
	wh_sql_append(
		sql,
		", true, %l FROM (SELECT DISTINCT k.date::date AS date FROM (%s) k (date)) d "
		"WHERE d.date IS NOT NULL AND pg_catalog.isfinite(d.date) "
		"AND (SELECT true FROM %T x WHERE x.date = d.date) IS NULL ON CONFLICT DO NOTHING",
		load_id, keys_query, dimension->relid);
}

/* wh_dimension_date_verify recomputes the range, and the inferred dates outside it. */
void
wh_dimension_date_verify(WhModel *model, WhVerdict *verdict)
{
	StringInfoData sql;
	WhRows *rows;
	const char *sk = wh_sql_identifier(wh_dimension_sk(model));
	const char *separator = "";

	initStringInfo(&sql);
	wh_sql_append(&sql, "WITH e (wh_sk, ");
	append_names(&sql);
	wh_sql_append(&sql, ") AS (SELECT ");
	append_values(&sql, fiscal_month_of(model));
	wh_sql_append(
		&sql,
		" FROM (SELECT %L::date + n AS date FROM pg_catalog.generate_series(0, %L::date - "
		"%L::date) n UNION "
		"SELECT x.date FROM %T x WHERE x.is_inferred) d) "
		"SELECT pg_catalog.count(e.wh_sk), pg_catalog.count(f.%s), pg_catalog.count(*) FILTER "
		"(WHERE f.%s IS NULL), "
		"pg_catalog.count(*) FILTER (WHERE e.wh_sk IS NULL), "
		"pg_catalog.count(*) FILTER (WHERE e.wh_sk IS NOT NULL AND f.%s IS NOT NULL AND ROW(",
		wh_model_option(model, "from_date"), wh_model_option(model, "to_date"),
		wh_model_option(model, "from_date"), model->relid, sk, sk, sk);
	for (int side = 0; side < 2; side++)
	{
		for (int i = 0; i < lengthof(date_columns); i++)
		{
			wh_sql_append(&sql, "%s%s.%I", separator, side == 0 ? "e" : "f", date_columns[i].name);
			separator = ", ";
		}
		wh_sql_append(&sql, side == 0 ? ")::record OPERATOR(pg_catalog.*<>) ROW(" : ")::record)");
		separator = "";
	}
	wh_sql_append(&sql,
				  " FROM e FULL JOIN (SELECT * FROM %T x WHERE " WH_IS_MEMBER(
					  "x.%s") ") f ON f.%s = e.wh_sk",
				  model->relid, sk, sk);
	rows = wh_spi_query_snapshot(sql.data, 0, NULL);
	verdict->expected = wh_rows_int8(rows, 0, 1);
	verdict->found = wh_rows_int8(rows, 0, 2);
	verdict->missing = wh_rows_int8(rows, 0, 3);
	verdict->unexpected = wh_rows_int8(rows, 0, 4);
	verdict->different = wh_rows_int8(rows, 0, 5);
}
