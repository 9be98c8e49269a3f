/*
 * junk.c
 *		Junk dimensions: members are the combinations of a few columns that facts have met.
 *
 * Such a dimension has no query and belongs to no feed: a fact that looks up a combination which
 * is not there makes it, as it makes inferred members.  NULL is a value like others.  Members are
 * never taken away, so the surrogate key of a combination stays.
 *
 * A combination is found by its hash: an index over the columns themselves could not be probed
 * for NULLs.  What is hashed depends on no setting (of dates the day's number), and numbers are
 * freed of trailing zeroes, so that combinations are equal exactly when their columns are; text is
 * equal when its bytes are, whatever its collation says.
 *
 * Mini-dimensions (mini.c) keep their combinations in the same way.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

static List *parse_columns(List *definitions);
static void parse_column(WhModelColumn *column, const char *definition);
static void check_column(List *columns, WhModelColumn *column, const char *sk,
						 const char *what);
static bool type_is_plain(Oid type);
static Oid make_table(const char *schema, const char *relation, const char *sk, List *columns);
static char *value_of(const WhModelColumn *column, const char *value);

PG_FUNCTION_INFO_V1(walhouse_create_junk_dimension);

Datum
walhouse_create_junk_dimension(PG_FUNCTION_ARGS)
{
	List *columns = parse_columns(wh_model_names(PG_GETARG_ARRAYTYPE_P(1), "columns"));
	char *schema;
	char *relation;

	wh_model_check_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), "junk dimension", &schema,
						&relation);
	wh_dimension_check_combination(columns, wh_name(relation, "_sk"), "junk dimension");
	PG_RETURN_OID(
		wh_dimension_declare_combinations(schema, relation, WH_MODEL_JUNK, columns)->relid);
}

WhModel *
wh_dimension_declare_combinations(const char *schema, const char *relation, WhModelKind kind,
								  List *columns)
{
	int guc_level = NewGUCNestLevel();
	char *sk = wh_name(relation, "_sk");
	List *names = NIL;
	Oid relid;
	WhRows *options;
	WhModel *model;
	bool isnull;
	ListCell *cell;

	foreach(cell, columns)
		names = lappend(names, ((WhModelColumn *) lfirst(cell))->name);
	wh_settings_pin("UTC");
	relid = make_table(schema, relation, sk, columns);
	options = wh_spi_query("SELECT pg_catalog.jsonb_build_object('sk', $1)", 1,
						   (WhArg[]){WH_ARG_TEXT(sk)});
	model = wh_model_declare(schema, relation, kind, NULL, names,
							 DatumGetJsonbPCopy(wh_rows_datum(options, 0, 1, &isnull)), relid);
	wh_spi_execute(
		wh_sql("INSERT INTO %T (%I, load_id) SELECT o.sk, 0 FROM (" WH_OTHER_SKS ") o (sk)", relid,
			   sk),
		0, NULL);
	AtEOXact_GUC(false, guc_level);
	return model;
}

/* parse_columns reads a name and a type from each of a list of definitions. */
static List *
parse_columns(List *definitions)
{
	List *columns = NIL;
	ListCell *cell;

	if (definitions == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a junk dimension needs columns"),
				 errhint("For example: columns => '{channel text,is_gift boolean}'.")));
	foreach(cell, definitions)
	{
		WhModelColumn *column = palloc0(sizeof(WhModelColumn));

		parse_column(column, lfirst(cell));
		columns = lappend(columns, column);
	}
	return columns;
}

static void
parse_column(WhModelColumn *column, const char *definition)
{
	const char *end = definition;
	bool quoted = false;
	char *schema;
	WhRows *rows;

	while (*end != '\0' && (quoted || *end != ' '))
	{
		if (*end == '"')
			quoted = !quoted;
		end++;
	}
	if (end == definition || *end == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("invalid column \"%s\" of a junk dimension", definition),
				 errhint("Give its name and its type: channel text.")));
	wh_name_parse(pnstrdup(definition, end - definition), &schema, &column->name);
	rows = wh_spi_query("SELECT $1::pg_catalog.regtype::pg_catalog.oid", 1,
						(WhArg[]){WH_ARG_TEXT(end + 1)});
	column->type = wh_rows_oid(rows, 0, 1);
	column->typmod = -1;
	column->collation = get_typcollation(column->type);
}

void
wh_dimension_check_combination(List *columns, const char *sk, const char *what)
{
	ListCell *cell;

	foreach(cell, columns)
		check_column(columns, lfirst(cell), sk, what);
}

static void
check_column(List *columns, WhModelColumn *column, const char *sk, const char *what)
{
	if (strcmp(column->name, sk) == 0 || strcmp(column->name, "combination") == 0 ||
		strcmp(column->name, "load_id") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("column name \"%s\" is reserved for walhouse", column->name)));
	if (wh_model_column(columns, column->name) != column)
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_COLUMN),
						errmsg("column \"%s\" is given twice", column->name)));
	if (!type_is_plain(column->type))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" of a %s has type %s", column->name, what,
						format_type_be(column->type)),
				 errdetail("There are boolean, smallint, integer, bigint, numeric, text, varchar, "
						   "date, uuid and enums."),
				 errhint("Cast it to text in the query.")));
}

static bool
type_is_plain(Oid type)
{
	static const Oid types[] = {BOOLOID, INT2OID, INT4OID, INT8OID, NUMERICOID,
								TEXTOID, VARCHAROID, DATEOID, UUIDOID};

	for (int i = 0; i < lengthof(types); i++)
	{
		if (type == types[i])
			return true;
	}
	return get_typtype(type) == TYPTYPE_ENUM;
}

static Oid
make_table(const char *schema, const char *relation, const char *sk, List *columns)
{
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	wh_sql_append(&sql,
				  "CREATE TABLE %I.%I (%I bigint GENERATED BY DEFAULT AS IDENTITY CONSTRAINT %I "
				  "PRIMARY KEY",
				  schema, relation, sk, wh_name(relation, "_pkey"));
	foreach(cell, columns)
	{
		wh_sql_append(&sql, ", ");
		wh_model_column_definition(&sql, lfirst(cell));
	}
	wh_sql_append(&sql, ", combination uuid, load_id bigint NOT NULL, CONSTRAINT %I UNIQUE "
						"(combination))",
				  wh_name(relation, "_key"));
	wh_spi_execute(sql.data, 0, NULL);
	return get_relname_relid(relation, get_namespace_oid(schema, false));
}

List *
wh_dimension_junk_columns(const WhModel *dimension)
{
	List *names = NIL;
	ListCell *cell;

	foreach(cell, dimension->key)
		names = lappend(names, ((WhModelColumn *) lfirst(cell))->name);
	return names;
}

/* value_of is a value as members have it. */
static char *
value_of(const WhModelColumn *column, const char *value)
{
	return wh_sql(column->type == NUMERICOID ? "pg_catalog.trim_scale(%s)" : "(%s)", value);
}

char *
wh_dimension_combination(List *columns, List *values)
{
	StringInfoData list;
	ListCell *cell;

	initStringInfo(&list);
	foreach(cell, columns)
	{
		WhModelColumn *column = lfirst(cell);
		char *value = value_of(column, list_nth(values, foreach_current_index(cell)));

		if (column->type == DATEOID)
			value = wh_sql("extract(julian FROM %s)", value);
		wh_sql_append(&list, "%s%s", list.len > 0 ? ", " : "", value);
	}
	return wh_sql("pg_catalog.md5(ROW(%s)::pg_catalog.text)::pg_catalog.uuid", list.data);
}

char *
wh_dimension_combination_of(List *columns, const char *alias)
{
	List *values = NIL;
	ListCell *cell;

	foreach(cell, columns)
		values = lappend(values, wh_sql("%s.%I", alias, ((WhModelColumn *) lfirst(cell))->name));
	return wh_dimension_combination(columns, values);
}

void
wh_dimension_junk_lookup_sql(StringInfo sql, const WhModel *dimension, List *keys)
{
	wh_sql_append(sql,
				  "(SELECT wh_d.%I FROM %T wh_d WHERE wh_d.combination OPERATOR(pg_catalog.=) %s)",
				  wh_dimension_sk(dimension), dimension->relid,
				  wh_dimension_combination(dimension->key, keys));
}

void
wh_dimension_combinations_sql(StringInfo sql, List *columns, const char *from)
{
	char *combination = wh_dimension_combination_of(columns, "v");
	ListCell *cell;

	wh_sql_append(sql, "SELECT DISTINCT ON (%s) ", combination);
	foreach(cell, columns)
	{
		const char *name = wh_sql_identifier(((WhModelColumn *) lfirst(cell))->name);

		wh_sql_append(sql, "%s AS %s, ", value_of(lfirst(cell), wh_sql("v.%s", name)), name);
	}
	wh_sql_append(sql, "%s AS combination FROM %s", combination, from);
}

void
wh_dimension_junk_infer_sql(StringInfo sql, const WhModel *dimension, const char *keys_query,
							int64 load_id)
{
	StringInfoData names;
	StringInfoData rows;

	initStringInfo(&names);
	initStringInfo(&rows);
	wh_model_column_list(&names, dimension->key, NULL);
	wh_dimension_combinations_sql(&rows, dimension->key,
								  wh_sql("(%s) v (%s)", keys_query, names.data));
	wh_dimension_insert_combinations_sql(sql, dimension, rows.data, load_id);
}

/* The probe spares the surrogate keys that conflicts would use up. */
void
wh_dimension_insert_combinations_sql(StringInfo sql, const WhModel *dimension, const char *rows,
									 int64 load_id)
{
	wh_sql_append(sql, "INSERT INTO %T (", dimension->relid);
	wh_model_column_list(sql, dimension->key, NULL);
	wh_sql_append(sql, ", combination, load_id) SELECT ");
	wh_model_column_list(sql, dimension->key, "n");
	wh_sql_append(
		sql,
		", n.combination, %l FROM (%s) n WHERE (SELECT true FROM %T d WHERE d.combination "
		"OPERATOR(pg_catalog.=) n.combination) IS NULL ON CONFLICT DO NOTHING",
		load_id, rows, dimension->relid);
}

/* wh_dimension_junk_verify holds each member's hash to its columns: there is nothing else to
 * know. */
void
wh_dimension_junk_verify(WhModel *model, WhVerdict *verdict)
{
	WhStage *stage = wh_stage_create_snapshot();
	const char *condition = wh_sql(WH_IS_MEMBER("d.%I"), wh_dimension_sk(model));
	WhRows *rows;

	if (verdict->sample > 0)
		wh_model_draw(stage, "wh.drawn", model->relid, "d.*", condition, verdict->sample);
	rows = wh_stage_query(
		stage,
		wh_sql("SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE d.combination IS "
			   "DISTINCT FROM %s) FROM %s d WHERE %s",
			   wh_dimension_combination_of(model->key, "d"),
			   verdict->sample > 0 ? "\"wh.drawn\"" : wh_sql_relation(model->relid), condition),
		0, NULL);
	wh_stage_drop(stage);
	verdict->expected = wh_rows_int8(rows, 0, 1);
	verdict->found = verdict->expected;
	verdict->different = wh_rows_int8(rows, 0, 2);
}
