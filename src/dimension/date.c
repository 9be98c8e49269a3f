/*
 * date.c
 *		Date dimensions: one row a day, all of it computed from the date.
 *
 * A date dimension belongs to no feed and is complete when its declaration commits.  One list of
 * expressions over a date makes the rows of the range, those of dates outside it that facts refer
 * to, and the ones that verify() compares with. The surrogate key is the date in digits
 * (20260131), with a minus before our era, so looking it up needs no time.
 *
 * Fiscal years begin with a month, and have its quarters and months; or they have 52 or 53 whole
 * weeks, in quarters of 4-4-5, 4-5-4 or 5-4-4, the last one with the week too many, and begin
 * with the weekday that is nearest to the first of that month.  Either way a fiscal year has the
 * number of the year that it ends in.  What is fiscal is NULL for dates far beyond all calendars,
 * where the years around them might be no dates.
 *
 * Holidays come from a table of the user's, read through a view beside the dimension, so that a
 * rename is followed; walhouse.refresh_dates() reads it again.
 *
 * Names of months and days are English, whatever the settings.  A NULL or infinite date is the
 * unknown member, or another that stands for none.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

/* How a date dimension counts. */
typedef struct Calendar
{
	int month; /* in which the fiscal year begins, 1 to 12 */
	int weeks[2]; /* of a quarter, after which its second and third period begin; 0: months */
	int weekday; /* with which fiscal weeks begin, 1 (Monday) to 7 */
	Oid holidays; /* a view with date and name; InvalidOid: none */
} Calendar;

/* A column of a date dimension: an expression over the row of append_source(). */
typedef struct DateColumn
{
	const char *name;
	const char *type;
	const char *expression;
	const char *weekly; /* its expression where fiscal years are of weeks; NULL: the same */
} DateColumn;

#define MONTH "extract(month FROM d.date)::integer"
#define DAY "extract(day FROM d.date)::integer"
#define DAY_AFTER "CASE WHEN d.date < '5874897-12-31' THEN d.date + 1 END"

static const DateColumn date_columns[] = {
	{"date", "date", "d.date"},
	{"year", "integer", "extract(year FROM d.date)::integer"},
	{"quarter", "integer", "extract(quarter FROM d.date)::integer"},
	{"month", "integer", MONTH},
	{"month_name", "text",
	 "(ARRAY['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', "
	 "'September', "
	 "'October', 'November', 'December'])[" MONTH "]"},
	{"day_of_month", "integer", DAY},
	{"day_of_year", "integer", "extract(doy FROM d.date)::integer"},
	{"day_of_week", "integer", "extract(isodow FROM d.date)::integer"},
	{"day_name", "text",
	 "(ARRAY['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'])"
	 "[extract(isodow FROM d.date)::integer]"},
	{"iso_year", "integer", "extract(isoyear FROM d.date)::integer"},
	{"iso_week", "integer", "extract(week FROM d.date)::integer"},
	{"iso_week_name", "text",
	 "extract(isoyear FROM d.date)::integer || '-W' || "
	 "pg_catalog.lpad(extract(week FROM d.date)::text, 2, '0')"},
	{"is_weekend", "boolean", "extract(isodow FROM d.date) >= 6"},
	{"is_month_start", "boolean", DAY " = 1"},
	{"is_month_end", "boolean", "COALESCE(extract(day FROM " DAY_AFTER ") = 1, true)"},
	{"is_quarter_start", "boolean", DAY " = 1 AND " MONTH " % 3 = 1"},
	{"is_quarter_end", "boolean",
	 MONTH " % 3 = 0 AND COALESCE(extract(day FROM " DAY_AFTER ") = 1, true)"},
	{"is_year_start", "boolean", DAY " = 1 AND " MONTH " = 1"},
	{"is_year_end", "boolean", DAY " = 31 AND " MONTH " = 12"},
	{"fiscal_year", "integer", "f.year"},
	{"fiscal_quarter", "integer", "(" MONTH " - f.month + 12) % 12 / 3 + 1", "f.quarter"},
	{"fiscal_month", "integer", "(" MONTH " - f.month + 12) % 12 + 1",
	 "(f.quarter - 1) * 3 + CASE WHEN f.week <= f.first THEN 1 WHEN f.week <= f.second THEN 2 "
	 "WHEN f.week > f.second THEN 3 END"},
	{"fiscal_week", "integer", "(d.date - f.start) / 7 + 1"},
	{"is_fiscal_year_start", "boolean", "d.date = f.start"},
	{"is_fiscal_year_end", "boolean",
	 "CASE WHEN f.start IS NOT NULL THEN f.last IS NOT NULL END"},
	{"is_holiday", "boolean", "h.is_holiday"},
	{"holiday_name", "text", "h.name"}};

#define SK_EXPRESSION \
	"CASE WHEN extract(year FROM d.date) < 0 THEN -1 ELSE 1 END * " \
	"(abs(extract(year FROM d.date)::bigint) * 10000 " \
	"+ extract(month FROM d.date)::bigint * 100 + extract(day FROM d.date)::bigint)"

static void check_range(DateADT from, DateADT to);
static void check_calendar(int month, const char *calendar, int weekday);
static bool parse_weeks(const char *calendar, int *weeks);
static void check_holidays(Oid relid);
static Oid make_date_table(const char *schema, const char *relation, const char *sk);
static Jsonb *make_options(FunctionCallInfo fcinfo, const char *sk);
static void insert_range(WhModel *model);
static Calendar *calendar_of(const WhModel *model);
static void append_names(StringInfo sql);
static void append_values(StringInfo sql, const Calendar *calendar);
static void append_source(StringInfo sql, const Calendar *calendar, const char *dates);
static void append_fiscal(StringInfo sql, const Calendar *calendar);
static char *range_of(const WhModel *model);
static char *draw_dates(const WhModel *model, WhStage *stage, int32 count);

PG_FUNCTION_INFO_V1(walhouse_create_date_dimension);
PG_FUNCTION_INFO_V1(walhouse_refresh_dates);

Datum
walhouse_create_date_dimension(PG_FUNCTION_ARGS)
{
	Oid holidays = PG_ARGISNULL(6) ? InvalidOid : PG_GETARG_OID(6);
	char *schema;
	char *relation;
	char *sk;
	Oid relid;
	int guc_level;
	WhModel *model;

	for (int i = 0; i < 6; i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument %d must not be null", i + 1)));
	}
	check_range(PG_GETARG_DATEADT(1), PG_GETARG_DATEADT(2));
	check_calendar(PG_GETARG_INT32(3), text_to_cstring(PG_GETARG_TEXT_PP(4)), PG_GETARG_INT32(5));
	if (OidIsValid(holidays))
		check_holidays(holidays);
	wh_model_check_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), "date dimension", &schema,
						&relation);
	sk = wh_name(relation, "_sk");
	guc_level = NewGUCNestLevel();
	wh_settings_pin("UTC");
	relid = make_date_table(schema, relation, sk);
	model = wh_model_declare(schema, relation, WH_MODEL_DATE, NULL, list_make1("date"),
							 make_options(fcinfo, sk), relid);
	if (OidIsValid(holidays))
		(void) wh_model_add_view(
			model, "holidays",
			wh_sql(
				"SELECT t.date::pg_catalog.date AS date, t.name::pg_catalog.text AS name FROM %T t",
				holidays));
	insert_range(model);
	AtEOXact_GUC(false, guc_level);
	PG_RETURN_OID(relid);
}

static void
check_range(DateADT from, DateADT to)
{
	if (DATE_NOT_FINITE(from) || DATE_NOT_FINITE(to) || from > to)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("from_date and to_date must be finite, and from_date not after to_date")));
}

static void
check_calendar(int month, const char *calendar, int weekday)
{
	int weeks[2];

	if (month < 1 || month > 12)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("fiscal_year_start_month must be between 1 and 12, and is %d",
							   month)));
	if (!parse_weeks(calendar, weeks))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no fiscal calendar \"%s\"", calendar),
				 errhint("It is month, 4-4-5, 4-5-4 or 5-4-4.")));
	if (weekday < 1 || weekday > 7)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("fiscal_week_start must be between 1 (Monday) and 7 (Sunday), and is %d",
						weekday)));
}

/* parse_weeks reads the name of a fiscal calendar; false when there is none of that name. */
static bool
parse_weeks(const char *calendar, int *weeks)
{
	static const struct
	{
		const char *name;
		int weeks[2];
	} calendars[] = {{"month", {0, 0}}, {"4-4-5", {4, 8}}, {"4-5-4", {4, 9}}, {"5-4-4", {5, 9}}};

	for (int i = 0; i < lengthof(calendars); i++)
	{
		if (strcmp(calendar, calendars[i].name) != 0)
			continue;
		weeks[0] = calendars[i].weeks[0];
		weeks[1] = calendars[i].weeks[1];
		return true;
	}
	return false;
}

static void
check_holidays(Oid relid)
{
	char *name = wh_sql_relation(relid);

	if (get_attnum(relid, "date") == InvalidAttrNumber ||
		get_attnum(relid, "name") == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("%s has no columns \"date\" and \"name\"", name),
				 errhint("Give a table or view of holidays with these two.")));
	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied for %s", name),
						errhint("GRANT SELECT ON %s TO %s;", name,
								wh_sql_identifier(GetUserNameFromId(GetUserId(), false)))));
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
make_options(FunctionCallInfo fcinfo, const char *sk)
{
	WhRows *rows = wh_spi_query(
		"SELECT pg_catalog.jsonb_build_object('from_date', $1, 'to_date', $2, "
		"'fiscal_year_start_month', $3, 'fiscal_calendar', $4, 'fiscal_week_start', $5, 'sk', $6)",
		6,
		(WhArg[]){{DATEOID, PG_GETARG_DATUM(1), false},
				  {DATEOID, PG_GETARG_DATUM(2), false},
				  WH_ARG_INT4(PG_GETARG_INT32(3)),
				  WH_ARG_TEXT(text_to_cstring(PG_GETARG_TEXT_PP(4))),
				  WH_ARG_INT4(PG_GETARG_INT32(5)),
				  WH_ARG_TEXT(sk)});
	bool isnull;

	return DatumGetJsonbPCopy(wh_rows_datum(rows, 0, 1, &isnull));
}

/* insert_range writes the members that stand for none and the rows of the range. */
static void
insert_range(WhModel *model)
{
	Calendar *calendar = calendar_of(model);
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
	append_values(&sql, calendar);
	wh_sql_append(&sql, ", false, 0");
	append_source(&sql, calendar, range_of(model));
	wh_spi_execute(sql.data, 0, NULL);
}

static Calendar *
calendar_of(const WhModel *model)
{
	Calendar *calendar = palloc0(sizeof(Calendar));

	calendar->month = pg_strtoint32(wh_model_option(model, "fiscal_year_start_month"));
	calendar->weekday = pg_strtoint32(wh_model_option(model, "fiscal_week_start"));
	if (!parse_weeks(wh_model_option(model, "fiscal_calendar"), calendar->weeks))
		elog(ERROR, "date dimension %s has no fiscal calendar in its options", model->name);
	calendar->holidays = wh_model_view(model, "holidays");
	return calendar;
}

/* range_of is a query of the dates that the declaration named. */
static char *
range_of(const WhModel *model)
{
	return wh_sql("SELECT %L::date + n AS date FROM pg_catalog.generate_series(0, %L::date - "
				  "%L::date) n",
				  wh_model_option(model, "from_date"), wh_model_option(model, "to_date"),
				  wh_model_option(model, "from_date"));
}

List *
wh_dimension_date_columns(const WhModel *dimension)
{
	List *names = NIL;

	for (int i = 0; i < lengthof(date_columns); i++)
		names = lappend(names, unconstify(char *, date_columns[i].name));
	return names;
}

static void
append_names(StringInfo sql)
{
	for (int i = 0; i < lengthof(date_columns); i++)
		wh_sql_append(sql, "%s%I", i == 0 ? "" : ", ", date_columns[i].name);
}

/* append_values appends surrogate key and columns, computed from a row of append_source(). */
static void
append_values(StringInfo sql, const Calendar *calendar)
{
	appendStringInfoString(sql, SK_EXPRESSION);
	for (int i = 0; i < lengthof(date_columns); i++)
	{
		const DateColumn *column = &date_columns[i];

		wh_sql_append(sql, ", %s",
					  calendar->weeks[0] != 0 && column->weekly != NULL ? column->weekly :
																		  column->expression);
	}
}

/* append_source: a FROM clause with the dates of a query as d, their fiscal years as f, and
 * holidays as h. */
static void
append_source(StringInfo sql, const Calendar *calendar, const char *dates)
{
	wh_sql_append(sql, " FROM (%s) d CROSS JOIN LATERAL (", dates);
	append_fiscal(sql, calendar);
	wh_sql_append(sql, ") f CROSS JOIN LATERAL (");
	if (OidIsValid(calendar->holidays))
		wh_sql_append(
			sql,
			"SELECT pg_catalog.count(*) > 0 AS is_holiday, pg_catalog.string_agg(h.name, "
			"', ' ORDER BY h.name COLLATE pg_catalog.\"C\") AS name FROM %T h WHERE h.date "
			"= d.date",
			calendar->holidays);
	else
		wh_sql_append(sql, "SELECT false AS is_holiday, NULL::text AS name");
	wh_sql_append(sql, ") h");
}

/*
 * append_fiscal: of the fiscal year that d.date is in: start, last day (NULL when it is another
 * date), number; and with weeks, quarter and week of it, and how many weeks its first period and
 * its first two have.
 *
 * A year's first day is that of any of its days less the days before it.  The three years around
 * the date are found so, and in each the first of the month that the fiscal year begins at.
 */
static void
append_fiscal(StringInfo sql, const Calendar *calendar)
{
	wh_sql_append(sql,
				  "SELECT f.*, %d AS month, LEAST((d.date - f.start) / 91, 3) + 1 AS quarter, "
				  "(d.date - f.start) / 7 + 1 - LEAST((d.date - f.start) / 91, 3) * 13 AS week, "
				  "%d AS first, %d AS second FROM ("
				  "SELECT pg_catalog.max(s.start) FILTER (WHERE s.start <= d.date) AS start, "
				  "pg_catalog.max(s.year) FILTER (WHERE s.start <= d.date) AS year, "
				  "pg_catalog.max(s.start - 1) FILTER (WHERE s.start - 1 = d.date) AS last "
				  "FROM (SELECT m.date",
				  calendar->month, calendar->weeks[0], calendar->weeks[1]);
	if (calendar->weeks[0] != 0)
		wh_sql_append(sql, " + (%d - extract(isodow FROM m.date)::integer + 10) %% 7 - 3",
					  calendar->weekday);
	wh_sql_append(
		sql,
		" AS start, extract(year FROM m.date)::integer + %d AS year FROM (SELECT x.date - "
		"extract(day FROM x.date)::integer + 1 AS date FROM (SELECT y.date - extract(doy "
		"FROM y.date)::integer + 1 + %d AS date FROM (SELECT c.date - extract(doy FROM "
		"c.date)::integer + 1 + n.days AS date FROM (SELECT CASE WHEN d.date BETWEEN "
		"'4000-01-01 BC' AND '5000000-01-01' THEN d.date END AS date) c CROSS JOIN (VALUES "
		"(-1), (0), (366)) n (days)) y) x) m) s) f",
		calendar->month > 1 ? 1 : 0, 31 * (calendar->month - 1));
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
	Calendar *calendar = calendar_of(dimension);

	wh_sql_append(sql, "INSERT INTO %T (%I, ", dimension->relid, wh_dimension_sk(dimension));
	append_names(sql);
	wh_sql_append(sql, ", is_inferred, load_id) SELECT ");
	append_values(sql, calendar);
	wh_sql_append(sql, ", true, %l", load_id);
	append_source(
		sql, calendar,
		wh_sql(
			"SELECT DISTINCT k.date::date AS date FROM (%s) k (date) WHERE k.date IS NOT NULL AND "
			"pg_catalog.isfinite(k.date::date) AND (SELECT true FROM %T x WHERE x.date = "
			"k.date::date) IS NULL",
			keys_query, dimension->relid));
	wh_sql_append(sql, " ON CONFLICT DO NOTHING");
}

/* wh_dimension_date_verify recomputes the range, and the inferred dates outside it; or a sample of
 * both. */
void
wh_dimension_date_verify(WhModel *model, WhVerdict *verdict)
{
	Calendar *calendar = calendar_of(model);
	WhStage *stage = wh_stage_create_snapshot();
	const char *dates = wh_sql("%s UNION SELECT x.date FROM %T x WHERE x.is_inferred",
							   range_of(model), model->relid);
	StringInfoData sql;

	if (verdict->sample > 0)
		dates = draw_dates(model, stage, verdict->sample);
	initStringInfo(&sql);
	wh_sql_append(&sql, "WITH e (wh_sk, ");
	append_names(&sql);
	wh_sql_append(&sql, ") AS MATERIALIZED (SELECT ");
	append_values(&sql, calendar);
	append_source(&sql, calendar, dates);
	wh_sql_append(&sql, ") ");
	wh_dimension_compare_computed(stage, &sql, model, wh_dimension_date_columns(model), verdict);
	wh_stage_drop(stage);
}

/* draw_dates draws rows, and dates of the range; returns a query of all their dates. */
static char *
draw_dates(const WhModel *model, WhStage *stage, int32 count)
{
	char *from = wh_sql("%L::date", wh_model_option(model, "from_date"));
	char *to = wh_sql("%L::date", wh_model_option(model, "to_date"));

	wh_model_draw(stage, "wh.drawn", model->relid,
				  wh_sql("d.%I AS wh_sk, d.date, d.is_inferred", wh_dimension_sk(model)),
				  wh_sql(WH_IS_MEMBER("d.%I"), wh_dimension_sk(model)), (count + 1) / 2);
	(void) wh_stage_fill(stage, "wh.date",
						 wh_sql("SELECT %s + pg_catalog.floor(pg_catalog.random() * (%s - %s + 1))"
								"::integer AS date FROM pg_catalog.generate_series(1, %d) "
								"UNION SELECT d.date FROM \"wh.drawn\" d WHERE d.is_inferred OR "
								"d.date BETWEEN %s AND %s",
								from, to, from, count / 2, from, to),
						 0, NULL);
	return pstrdup("SELECT d.date FROM \"wh.date\" d");
}

/*
 * wh_dimension_compare_computed compares a dimension that is computed with e (wh_sk and the
 * columns), which a statement that is begun gives; of a sample the rows in "wh.drawn" (wh_sk) and
 * those of e alone.
 */
void
wh_dimension_compare_computed(WhStage *stage, StringInfo sql, const WhModel *model,
							  List *columns, WhVerdict *verdict)
{
	const char *sk = wh_sql_identifier(wh_dimension_sk(model));
	int level = wh_settings_push_joins(WH_JOINS_WHOLE);
	WhRows *rows;

	wh_sql_append(
		sql,
		"SELECT pg_catalog.count(e.wh_sk), pg_catalog.count(f.%s), pg_catalog.count(*) FILTER "
		"(WHERE f.%s IS NULL), pg_catalog.count(*) FILTER (WHERE e.wh_sk IS NULL), "
		"pg_catalog.count(*) FILTER (WHERE e.wh_sk IS NOT NULL AND f.%s IS NOT NULL AND ROW(",
		sk, sk, sk);
	for (int side = 0; side < 2; side++)
	{
		ListCell *cell;

		foreach(cell, columns)
			wh_sql_append(sql, "%s%s.%I", cell == list_head(columns) ? "" : ", ",
						  side == 0 ? "e" : "f", (char *) lfirst(cell));
		wh_sql_append(sql, side == 0 ? ")::record OPERATOR(pg_catalog.*<>) ROW(" : ")::record)");
	}
	wh_sql_append(sql, " FROM e FULL JOIN (");
	if (verdict->sample > 0)
	{
		wh_settings_avoid_scans();
		wh_sql_append(sql,
					  "SELECT x.* FROM (SELECT e.wh_sk FROM e UNION SELECT d.wh_sk FROM "
					  "\"wh.drawn\" d) k CROSS JOIN LATERAL (SELECT x.* FROM %T x WHERE x.%s = "
					  "k.wh_sk OFFSET 0) x",
					  model->relid, sk);
	}
	else
		wh_sql_append(sql, "SELECT * FROM %T x WHERE " WH_IS_MEMBER("x.%s"), model->relid, sk);
	wh_sql_append(sql, ") f ON f.%s = e.wh_sk", sk);
	rows = wh_stage_query(stage, sql->data, 0, NULL);
	wh_settings_pop(level);
	verdict->expected = wh_rows_int8(rows, 0, 1);
	verdict->found = wh_rows_int8(rows, 0, 2);
	verdict->missing = wh_rows_int8(rows, 0, 3);
	verdict->unexpected = wh_rows_int8(rows, 0, 4);
	verdict->different = wh_rows_int8(rows, 0, 5);
}

/* walhouse_refresh_dates reads the holidays of a date dimension again. */
Datum
walhouse_refresh_dates(PG_FUNCTION_ARGS)
{
	WhModel *model = wh_model_get(PG_GETARG_OID(0), false);
	int guc_level = NewGUCNestLevel();
	StringInfoData sql;
	WhUser saved;
	uint64 changed;

	wh_user_check_owner(model->owner, "model", model->short_name);
	if (model->kind != WH_MODEL_DATE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not a date dimension", model->name)));
	wh_settings_pin("UTC");
	initStringInfo(&sql);
	wh_sql_append(&sql,
				  "UPDATE %T x SET is_holiday = e.is_holiday, holiday_name = e.name FROM (SELECT "
				  "d.date, h.is_holiday, h.name",
				  model->relid);
	append_source(&sql, calendar_of(model),
				  wh_sql("SELECT y.date FROM %T y WHERE y.date IS NOT NULL", model->relid));
	wh_sql_append(&sql,
				  ") e WHERE x.date = e.date AND ROW(x.is_holiday, x.holiday_name) IS DISTINCT "
				  "FROM ROW(e.is_holiday, e.name)");
	wh_user_become(model->owner, &saved);
	changed = wh_spi_execute(sql.data, 0, NULL);
	wh_user_restore(&saved);
	AtEOXact_GUC(false, guc_level);
	PG_RETURN_INT64(changed);
}
