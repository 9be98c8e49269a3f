/*
 * declare.c
 *		walhouse.create_rollup and walhouse.create_periodic_snapshot.
 *
 * Everything is checked before anything is made.  A rollup is a table with the period, the groups
 * and the measures, in this order, and behind them what is walhouse's own: load_id, wh_key, by
 * which a row is found, and wh_state, what was added up.  Beside it stand the table of what it
 * missed, <name>_pending, one <name>_<column>_values for each column of which min, max or
 * count(distinct) is kept, and for last() <name>_rows.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/base.h"
#include "fact/fact.h"
#include "rollup/rollup.h"
#include "rollup/rollup_private.h"

/* What a declaration says, judged. */
typedef struct Declaration
{
	const char *what; /* for messages */
	WhModel *fact;
	WhRollup *rollup; /* groups, unit, time, measures and inputs; no model */
	char *schema;
	char *relation;
	List *definitions; /* of char *: the types of the measures' columns */
} Declaration;

static Oid declare(FunctionCallInfo fcinfo, bool is_snapshot);
static void check_arguments(FunctionCallInfo fcinfo, bool is_snapshot);
static WhModel *find_fact(Oid relid, const char *what);
static void read_groups(Declaration *declaration, ArrayType *array);
static void read_period(Declaration *declaration, char *unit, const char *column);
static void read_measures(Declaration *declaration, Jsonb *measures);
static int compare_measures(const ListCell *a, const ListCell *b);
static void check_measure(Declaration *declaration, WhMeasure *measure);
static void check_names(const Declaration *declaration);
static void check_name(List **names, const char *name, const char *what);
static WhRollupColumn *need_column(const Declaration *declaration, const char *name);
static void read_types(Declaration *declaration);
static Oid make_table(Declaration *declaration);
static void make_tables(const Declaration *declaration, WhModel *model);
static Jsonb *make_options(const Declaration *declaration);
static List *read_names(const Declaration *declaration);
static void append_name(List **names, const WhRollupColumn *column);

PG_FUNCTION_INFO_V1(walhouse_create_rollup);
PG_FUNCTION_INFO_V1(walhouse_create_periodic_snapshot);

Datum
walhouse_create_rollup(PG_FUNCTION_ARGS)
{
	PG_RETURN_OID(declare(fcinfo, false));
}

Datum
walhouse_create_periodic_snapshot(PG_FUNCTION_ARGS)
{
	PG_RETURN_OID(declare(fcinfo, true));
}

static Oid
declare(FunctionCallInfo fcinfo, bool is_snapshot)
{
	Declaration declaration = {.what = is_snapshot ? "periodic snapshot" : "rollup"};
	WhQuery query = {0};
	WhRollup *rollup = palloc0(sizeof(WhRollup));
	List *key = NIL;
	WhModel *model;
	Oid relid;
	ListCell *cell;

	check_arguments(fcinfo, is_snapshot);
	declaration.fact = find_fact(PG_GETARG_OID(1), declaration.what);
	declaration.rollup = rollup;
	rollup->is_snapshot = is_snapshot;
	rollup->fact = declaration.fact->relid;
	rollup->fill = is_snapshot && PG_GETARG_BOOL(6);
	wh_model_check_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), declaration.what,
						&declaration.schema, &declaration.relation);
	read_groups(&declaration, PG_GETARG_ARRAYTYPE_P(2));
	read_period(&declaration, text_to_cstring(PG_GETARG_TEXT_PP(4)),
				PG_ARGISNULL(5) ? wh_model_option(declaration.fact, "event_time") :
								  NameStr(*PG_GETARG_NAME(5)));
	read_measures(&declaration, PG_GETARG_JSONB_P(3));
	check_names(&declaration);
	read_types(&declaration);

	wh_txn_mark_own();
	relid = make_table(&declaration);
	query.feed = declaration.fact->feed;
	if (rollup->unit != NULL)
		key = list_make1("period_start");
	foreach(cell, rollup->groups)
		key = lappend(key, ((WhRollupColumn *) lfirst(cell))->name);
	model = wh_model_declare(declaration.schema, declaration.relation,
							 is_snapshot ? WH_MODEL_SNAPSHOT : WH_MODEL_ROLLUP, &query, key,
							 make_options(&declaration), relid);
	wh_fact_add_reader(declaration.fact, model->id, read_names(&declaration));
	wh_catalog_execute("INSERT INTO walhouse.rollup (model_id) VALUES ($1)", 1,
					   (WhArg[]){WH_ARG_INT4(model->id)});
	make_tables(&declaration, model);
	return relid;
}

/* check_arguments raises where one is NULL that may not be. */
static void
check_arguments(FunctionCallInfo fcinfo, bool is_snapshot)
{
	const char *const names[] = {"name", "fact", "group_by", "measures",
								 is_snapshot ? "period" : "bucket", NULL, "fill"};

	for (int i = 0; i < PG_NARGS(); i++)
	{
		if (names[i] != NULL && PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", names[i])));
	}
}

static WhModel *
find_fact(Oid relid, const char *what)
{
	WhModel *fact = wh_model_get(relid, true);

	if (fact == NULL || fact->kind != WH_MODEL_FACT)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a fact", get_rel_name(relid)),
				 errhint("A %s stands on a fact, made by walhouse.create_fact().", what)));
	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for fact %s", fact->name),
				 errhint("GRANT SELECT ON %s TO %s;", fact->name,
						 wh_sql_identifier(GetUserNameFromId(GetUserId(), false)))));
	return fact;
}

static void
read_groups(Declaration *declaration, ArrayType *array)
{
	ListCell *cell;

	foreach(cell, wh_model_names(array, "group_by"))
	{
		WhRollupColumn *column = need_column(declaration, lfirst(cell));

		if (!wh_rollup_is_group(column))
			ereport(
				ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" of type %s cannot be grouped by", column->name,
						format_type_be(column->type)),
				 errdetail("Equal values of it may have different images, as 1.0 and 1.00 have."),
				 errhint("Cast it to text or to an integer in the query of the fact.")));
		declaration->rollup->groups = lappend(declaration->rollup->groups, column);
	}
}

static void
read_period(Declaration *declaration, char *unit, const char *column)
{
	static const char *const units[] = {"day", "week", "month", "hour", "quarter", "year", "none"};
	WhRollup *rollup = declaration->rollup;
	int known = rollup->is_snapshot ? 3 : lengthof(units);
	int i = 0;

	while (i < known && strcmp(units[i], unit) != 0)
		i++;
	if (i == known)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown %s \"%s\"", rollup->is_snapshot ? "period" : "bucket", unit),
				 errhint(rollup->is_snapshot ?
							 "There are day, week and month." :
							 "There are hour, day, week, month, quarter, year and none.")));
	if (strcmp(unit, "none") == 0)
		return;
	rollup->unit = unit;
	rollup->time = need_column(declaration, column);
	if (rollup->time->type != TIMESTAMPTZOID && rollup->time->type != TIMESTAMPOID &&
		(rollup->time->type != DATEOID || strcmp(unit, "hour") == 0))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of type %s has no %s", column,
						format_type_be(rollup->time->type), unit),
				 errhint("It must be a timestamptz, a timestamp or, for days and longer, a date.")));
}

/* read_measures reads {"revenue": "sum(amount)", ...}, in the order of the fact's columns. */
static void
read_measures(Declaration *declaration, Jsonb *measures)
{
	WhRollup *rollup = declaration->rollup;
	JsonbIterator *iterator = JsonbIteratorInit(&measures->root);
	JsonbIteratorToken token;
	JsonbValue value;
	char *name = NULL;

	while (JB_ROOT_IS_OBJECT(measures) &&
		   (token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		WhMeasure *measure;

		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		if (token != WJB_VALUE)
			continue;
		if (value.type != jbvString)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("measure \"%s\" must be a string", name),
					 errhint("For example: {\"revenue\": \"sum(amount)\"}.")));
		measure = wh_rollup_parse_measure(
			name, pnstrdup(value.val.string.val, value.val.string.len), rollup->is_snapshot);
		check_measure(declaration, measure);
		rollup->measures = lappend(rollup->measures, measure);
	}
	if (rollup->measures == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a %s needs measures", declaration->what),
				 errhint("For example: {\"n\": \"count(*)\", \"revenue\": \"sum(amount)\"}.")));
	list_sort(rollup->measures, compare_measures);
	wh_rollup_plan(rollup);
}

static int
compare_measures(const ListCell *a, const ListCell *b)
{
	const WhMeasure *left = lfirst(a);
	const WhMeasure *right = lfirst(b);

	if (left->attnum != right->attnum)
		return left->attnum < right->attnum ? -1 : 1;
	if (left->kind != right->kind)
		return left->kind < right->kind ? -1 : 1;
	return strcmp(left->name, right->name);
}

/* check_measure holds the type of a column against what is made of it. */
static void
check_measure(Declaration *declaration, WhMeasure *measure)
{
	WhRollupColumn *column;
	Oid type;

	if (measure->column == NULL)
		return;
	column = need_column(declaration, measure->column);
	type = getBaseType(column->type);
	measure->attnum = column->attnum;
	if (measure->kind == WH_MEASURE_SUM || measure->kind == WH_MEASURE_AVG ||
		measure->kind == WH_MEASURE_BALANCE)
	{
		if (type != INT2OID && type != INT4OID && type != INT8OID && type != NUMERICOID)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("measure \"%s\" cannot add up column \"%s\" of type %s",
							measure->name, column->name, format_type_be(column->type)),
					 errdetail("Sums are kept of smallint, integer, bigint and numeric; those of "
							   "float depend on the order of the rows."),
					 errhint("Cast it to numeric in the query of the fact.")));
	}
	else if (measure->kind != WH_MEASURE_COUNT && !wh_rollup_is_exact(column))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("measure \"%s\" cannot compare column \"%s\" of type %s", measure->name,
						column->name, format_type_be(column->type)),
				 errdetail("Equal values of it may have different images."),
				 errhint("Cast it to text or to numeric in the query of the fact.")));
	if (measure->kind == WH_MEASURE_LAST &&
		wh_model_option(declaration->fact, "corrections") != NULL &&
		strcmp(wh_model_option(declaration->fact, "corrections"), "reverse") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("measure \"%s\" needs a fact whose rows are corrected in place",
						measure->name),
				 errdetail("The last booking of %s may be a reversal.", declaration->fact->name),
				 errhint("Use balance(%s).", wh_sql_identifier(measure->column))));
}

static WhRollupColumn *
need_column(const Declaration *declaration, const char *name)
{
	Oid fact = declaration->fact->relid;

	if (get_attnum(fact, name) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("fact %s has no column \"%s\"", declaration->fact->name, name)));
	if (strcmp(name, "load_id") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a %s cannot read load_id", declaration->what),
				 errdetail("It depends on how the changes were cut into loads.")));
	return wh_rollup_column(fact, name);
}

WhRollupColumn *
wh_rollup_column(Oid relid, const char *name)
{
	WhRollupColumn *column = palloc0(sizeof(WhRollupColumn));

	column->name = pstrdup(name);
	column->attnum = get_attnum(relid, name);
	if (column->attnum == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("%s has no column \"%s\" any more", wh_sql_relation(relid), name),
				 errhint("Drop the model with walhouse.drop_model(), and declare it again.")));
	get_atttypetypmodcoll(relid, column->attnum, &column->type, &column->typmod,
						  &column->collation);
	return column;
}

/* check_names refuses names that are there twice, or are walhouse's. */
static void
check_names(const Declaration *declaration)
{
	List *names = NIL;
	ListCell *cell;

	foreach(cell, declaration->rollup->groups)
		check_name(&names, ((WhRollupColumn *) lfirst(cell))->name, "group");
	foreach(cell, declaration->rollup->measures)
		check_name(&names, ((WhMeasure *) lfirst(cell))->name, "measure");
}

static void
check_name(List **names, const char *name, const char *what)
{
	ListCell *cell;

	if (strcmp(name, "period_start") == 0 || strcmp(name, "load_id") == 0 ||
		strncmp(name, "wh_", 3) == 0 || name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("a %s cannot be named \"%s\"", what, name)));
	foreach(cell, *names)
	{
		if (strcmp(lfirst(cell), name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("column \"%s\" is there twice", name)));
	}
	*names = lappend(*names, pstrdup(name));
}

/* read_types asks PostgreSQL for the types that its own aggregates have. */
static void
read_types(Declaration *declaration)
{
	StringInfoData sql;
	WhRows *rows;
	ListCell *cell;

	initStringInfo(&sql);
	foreach(cell, declaration->rollup->measures)
		wh_sql_append(&sql, "%s%s", sql.len > 0 ? ", " : "SELECT ",
					  wh_rollup_native(lfirst(cell)));
	wh_sql_append(&sql, " FROM %T f LIMIT 0", declaration->fact->relid);
	rows = wh_spi_query(sql.data, 0, NULL);
	foreach(cell, declaration->rollup->measures)
	{
		WhMeasure *measure = lfirst(cell);
		Form_pg_attribute attribute = TupleDescAttr(rows->desc, foreach_current_index(cell));
		WhRollupColumn column = {NULL, 0, attribute->atttypid, attribute->atttypmod,
								 attribute->attcollation};

		if (measure->kind == WH_MEASURE_LAST)
			column = *measure->input->column;
		declaration->definitions =
			lappend(declaration->definitions, wh_rollup_definition(&column));
	}
}

static Oid
make_table(Declaration *declaration)
{
	WhRollup *rollup = declaration->rollup;
	char *name = declaration->relation;
	StringInfoData key;
	StringInfoData sql;
	Oid relid;
	ListCell *cell;

	initStringInfo(&key);
	initStringInfo(&sql);
	wh_sql_append(&sql, "CREATE TABLE %I.%I (", declaration->schema, name);
	if (rollup->unit != NULL)
	{
		wh_sql_append(&sql, "period_start %s%s, ", wh_rollup_period_type(rollup),
					  rollup->is_snapshot ? " NOT NULL" : "");
		wh_sql_append(&key, ", period_start");
	}
	foreach(cell, rollup->groups)
	{
		WhRollupColumn *column = lfirst(cell);

		wh_sql_append(&sql, "%I %s, ", column->name, wh_rollup_definition(column));
		wh_sql_append(&key, ", %I", column->name);
	}
	foreach(cell, rollup->measures)
		wh_sql_append(&sql, "%I %s, ", ((WhMeasure *) lfirst(cell))->name,
					  (char *) list_nth(declaration->definitions, foreach_current_index(cell)));
	wh_sql_append(&sql,
				  "load_id pg_catalog.int8 NOT NULL, wh_key pg_catalog.uuid NOT NULL,"
				  " wh_state pg_catalog.numeric[] NOT NULL, CONSTRAINT %I PRIMARY KEY (wh_key%s)",
				  wh_name(name, "_pkey"), rollup->is_snapshot ? ", period_start" : "");
	if (key.len > 0)
		wh_sql_append(&sql, ", CONSTRAINT %I UNIQUE NULLS NOT DISTINCT (%s)",
					  wh_name(name, "_key"), key.data + 2);
	wh_sql_append(&sql, ") WITH (fillfactor = 85)");
	wh_spi_execute(sql.data, 0, NULL);
	relid = get_relname_relid(name, get_namespace_oid(declaration->schema, false));
	wh_spi_execute(wh_sql("COMMENT ON COLUMN %T.wh_key IS %L", relid,
						  rollup->is_snapshot ?
							  "walhouse's own: the hash of the groups, by which loads find rows" :
							  "walhouse's own: the hash of period and groups, by which loads find "
							  "rows"),
				   0, NULL);
	wh_spi_execute(wh_sql("COMMENT ON COLUMN %T.wh_state IS %L", relid,
						  "walhouse's own: numbers and sums of which the measures are made"),
				   0, NULL);
	return relid;
}

/* make_tables makes what stands beside the rollup. */
static void
make_tables(const Declaration *declaration, WhModel *model)
{
	WhRollup *rollup = declaration->rollup;
	const char *period = rollup->is_snapshot ? "p pg_catalog.date NOT NULL, " : "";
	StringInfoData pending;
	StringInfoData rows;
	StringInfoData key;
	ListCell *cell;

	initStringInfo(&pending);
	initStringInfo(&rows);
	initStringInfo(&key);
	wh_sql_append(&pending, "n pg_catalog.int8 NOT NULL");
	if (rollup->unit != NULL)
		wh_sql_append(&pending, ", p %s", wh_rollup_period_type(rollup));
	foreach(cell, rollup->groups)
		wh_sql_append(&pending, ", g%d %s", foreach_current_index(cell) + 1,
					  wh_rollup_definition(lfirst(cell)));
	foreach(cell, rollup->inputs)
	{
		WhRollupInput *input = lfirst(cell);
		char *type =
			input->is_flag ? pstrdup("pg_catalog.bool") : wh_rollup_definition(input->column);

		wh_sql_append(&pending, ", v%d %s", input->number, type);
		if (input->is_last)
			wh_sql_append(&rows, ", v%d %s", input->number, type);
		if (input->is_valued)
			wh_model_add_table(model, psprintf("%s_values", input->column->name),
							   wh_sql("k pg_catalog.uuid NOT NULL, %svalue %s NOT NULL,"
									  " n pg_catalog.int8 NOT NULL, PRIMARY KEY (k, %svalue)",
									  period, type, rollup->is_snapshot ? "p, " : ""));
	}
	if (rows.len > 0)
		rollup->identity = wh_rollup_identity(rollup->fact);
	foreach(cell, rollup->identity)
	{
		wh_sql_append(&rows, ", h%d %s NOT NULL", foreach_current_index(cell) + 1,
					  wh_rollup_definition(lfirst(cell)));
		wh_sql_append(&pending, "%s, h%d %s",
					  foreach_current_index(cell) == 0 ?
						  wh_sql(", at %s", wh_rollup_definition(rollup->time)) :
						  "",
					  foreach_current_index(cell) + 1, wh_rollup_definition(lfirst(cell)));
		wh_sql_append(&key, ", h%d", foreach_current_index(cell) + 1);
	}
	wh_model_add_table(model, "pending",
					   wh_sql("load_id pg_catalog.int8 NOT NULL, %s", pending.data));
	wh_model_add_table(model, "retired",
					   wh_sql("retired_to pg_catalog.text NOT NULL, %s", pending.data));
	if (rows.len > 0)
		wh_model_add_table(model, "rows",
						   wh_sql("k pg_catalog.uuid NOT NULL, %sat %s NOT NULL%s,"
								  " PRIMARY KEY (k, p, at%s)",
								  period, wh_rollup_definition(rollup->time), rows.data,
								  key.data));
}

/* wh_rollup_identity lists the columns of a fact's primary key. */
List *
wh_rollup_identity(Oid fact)
{
	WhRows *rows = wh_spi_query(
		"SELECT a.attname FROM pg_catalog.pg_index i CROSS JOIN LATERAL"
		" pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY k (attnum, place)"
		" JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum"
		" WHERE i.indrelid = $1 AND i.indisprimary ORDER BY k.place",
		1, (WhArg[]){WH_ARG_OID(fact)});
	List *columns = NIL;

	for (uint64 i = 0; i < rows->count; i++)
		columns = lappend(columns, wh_rollup_column(fact, wh_rows_text(rows, i, 1)));
	return columns;
}

/* make_options stores what the declaration says, as rollup.c reads it. */
static Jsonb *
make_options(const Declaration *declaration)
{
	WhRollup *rollup = declaration->rollup;
	StringInfoData groups;
	StringInfoData measures;
	WhArg args[3];
	bool isnull;
	ListCell *cell;

	initStringInfo(&groups);
	initStringInfo(&measures);
	foreach(cell, rollup->groups)
		wh_sql_append(&groups, "%s%L", groups.len > 0 ? ", " : "",
					  ((WhRollupColumn *) lfirst(cell))->name);
	foreach(cell, rollup->measures)
	{
		WhMeasure *measure = lfirst(cell);

		wh_sql_append(&measures,
					  "%spg_catalog.jsonb_build_object('name', %L::text, 'function', %L::text,"
					  " 'column', %L::text)",
					  measures.len > 0 ? ", " : "", measure->name,
					  wh_rollup_function(measure->kind), measure->column);
	}
	args[0] = WH_ARG_TEXT(rollup->unit == NULL ? "none" : rollup->unit);
	args[1] = WH_ARG_TEXT(rollup->time == NULL ? NULL : rollup->time->name);
	args[2] = WH_ARG_BOOL(rollup->fill);
	return DatumGetJsonbP(wh_rows_datum(
		wh_spi_query(
			wh_sql("SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object("
				   "'group_by', ARRAY[%s]::pg_catalog.text[], 'bucket', $1, 'bucket_column', $2,"
				   " 'fill', $3, 'measures', pg_catalog.jsonb_build_array(%s)))",
				   groups.data, measures.data),
			3, args),
		0, 1, &isnull));
}

/* read_names lists the columns of the fact that the rollup reads. */
static List *
read_names(const Declaration *declaration)
{
	const WhRollup *rollup = declaration->rollup;
	List *names = NIL;
	ListCell *cell;
	bool has_last = false;

	if (rollup->time != NULL)
		append_name(&names, rollup->time);
	foreach(cell, rollup->groups)
		append_name(&names, lfirst(cell));
	foreach(cell, rollup->inputs)
	{
		WhRollupInput *input = lfirst(cell);

		append_name(&names, input->column);
		has_last = has_last || input->is_last;
	}
	foreach(cell, has_last ? wh_rollup_identity(rollup->fact) : NIL)
		append_name(&names, lfirst(cell));
	return names;
}

static void
append_name(List **names, const WhRollupColumn *column)
{
	ListCell *cell;

	foreach(cell, *names)
	{
		if (strcmp(lfirst(cell), column->name) == 0)
			return;
	}
	*names = lappend(*names, column->name);
}
