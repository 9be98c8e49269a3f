/*
 * dimension.c
 *		Declaring dimensions, and what facts ask of them.
 *
 * A dimension's table has the surrogate key, the query's columns, and the columns that walhouse
 * adds.  Two indexes and no more, both on columns that never change: the primary key and UNIQUE
 * (key, valid_from).  The present row of a key is the one with the greatest valid_from; an index
 * on valid_to, is_current or load_id would make every close of a version a non-HOT update.  NULL
 * keys are those of the unknown member alone.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

static void check_arguments(WhQuery *query, Jsonb *scd, const char *on_delete, const char *sk);
static void check_scd(WhQuery *query, Jsonb *scd);
static void check_scd_value(WhQuery *query, const char *name, JsonbValue *value);
static Oid make_table(WhQuery *query, List *key, const char *schema, const char *relation,
					  const char *sk);
static Jsonb *make_options(Jsonb *scd, const char *on_delete, bool unknown, const char *sk);

static const WhModelRoutine dimension_routine = {
	.build = wh_dimension_build,
	.load = wh_dimension_load,
	.verify = wh_dimension_verify};

static const WhModelRoutine date_routine = {
	.verify = wh_dimension_date_verify};

PG_FUNCTION_INFO_V1(walhouse_create_dimension);

void
wh_dimension_init(void)
{
	wh_model_register(WH_MODEL_DIMENSION, &dimension_routine);
	wh_model_register(WH_MODEL_DATE, &date_routine);
}

Datum
walhouse_create_dimension(PG_FUNCTION_ARGS)
{
	List *key;
	Jsonb *scd;
	char *on_delete;
	char *schema;
	char *relation;
	char *sk;
	WhQuery *query;
	Oid relid;

	wh_txn_check_arguments(fcinfo);
	key = wh_model_names(PG_GETARG_ARRAYTYPE_P(2), "key");
	scd = PG_GETARG_JSONB_P(3);
	on_delete = text_to_cstring(PG_GETARG_TEXT_PP(4));
	query = wh_model_prepare(text_to_cstring(PG_GETARG_TEXT_PP(0)),
							 text_to_cstring(PG_GETARG_TEXT_PP(1)), key, "dimension", &schema,
							 &relation);
	sk = wh_name(relation, "_sk");
	check_arguments(query, scd, on_delete, sk);
	relid = make_table(query, key, schema, relation, sk);
	wh_model_declare(schema, relation, WH_MODEL_DIMENSION, query, key,
					 make_options(scd, on_delete, PG_GETARG_BOOL(5), sk), relid);
	PG_RETURN_OID(relid);
}

static void
check_arguments(WhQuery *query, Jsonb *scd, const char *on_delete, const char *sk)
{
	if (wh_model_column(query->columns, sk) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("column name \"%s\" is reserved for the surrogate key", sk),
				 errhint("Name the column otherwise with AS.")));
	if (strcmp(on_delete, "close") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("on_delete \"%s\" is not supported", on_delete),
				 errdetail("A delete closes the open version; a re-insert opens a new one."),
				 errhint("Leave on_delete away, or say on_delete => 'close'.")));
	check_scd(query, scd);
}

/* check_scd refuses what is no object of column names and types 1 or 2. */
static void
check_scd(WhQuery *query, Jsonb *scd)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue value;
	char *name = NULL;

	if (!JB_ROOT_IS_OBJECT(scd))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("scd must be a JSON object"),
				 errhint("For example scd => '{\"*\": 2, \"name\": 1}'.")));
	it = JsonbIteratorInit(&scd->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE)
			check_scd_value(query, name, &value);
	}
}

static void
check_scd_value(WhQuery *query, const char *name, JsonbValue *value)
{
	WhModelColumn *column = wh_model_column(query->columns, name);
	int type;

	if (strcmp(name, "*") != 0 && column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("scd names column \"%s\", which is no column of the query", name)));
	if (column != NULL && column->is_key)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("scd names column \"%s\", which is in the key", name),
				 errdetail("A key never changes: a changed key is another member.")));
	if (value->type != jbvNumeric)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the scd type of \"%s\" must be a number", name),
				 errhint("1 overwrites, 2 opens a version.")));
	type = DatumGetInt32(DirectFunctionCall1(numeric_int4, NumericGetDatum(value->val.numeric)));
	if (type != 1 && type != 2)
		ereport(
			ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("scd type %d of \"%s\" is not supported", type, name),
			 errdetail(
				 "There are type 1, which overwrites, and type 2, which opens a version.")));
}

static Oid
make_table(WhQuery *query, List *key, const char *schema, const char *relation, const char *sk)
{
	StringInfoData sql;
	ListCell *lc;

	initStringInfo(&sql);
	wh_sql_append(
		&sql,
		"CREATE TABLE %I.%I (%I bigint GENERATED BY DEFAULT AS IDENTITY CONSTRAINT %I PRIMARY KEY",
		schema, relation, sk, wh_name(relation, "_pkey"));
	foreach(lc, query->columns)
	{
		wh_sql_append(&sql, ", ");
		wh_model_column_definition(&sql, lfirst(lc));
	}
	wh_sql_append(
		&sql,
		", valid_from timestamptz NOT NULL, valid_to timestamptz NOT NULL, is_current boolean "
		"NOT NULL, "
		"is_inferred boolean NOT NULL, load_id bigint NOT NULL, CONSTRAINT %I UNIQUE (",
		wh_name(relation, "_key"));
	foreach(lc, key)
		wh_sql_append(&sql, "%I, ", (char *) lfirst(lc));
	wh_sql_append(&sql, "valid_from)) WITH (fillfactor = 85)");
	wh_spi_execute(sql.data, 0, NULL);
	return get_relname_relid(relation, get_namespace_oid(schema, false));
}

static Jsonb *
make_options(Jsonb *scd, const char *on_delete, bool unknown, const char *sk)
{
	WhRows *rows = wh_spi_query(
		"SELECT pg_catalog.jsonb_build_object('scd', $1, 'on_delete', $2, 'unknown', $3, 'sk', $4)",
		4,
		(WhArg[]){WH_ARG_JSONB(JsonbPGetDatum(scd)), WH_ARG_TEXT(on_delete), WH_ARG_BOOL(unknown),
				  WH_ARG_TEXT(sk)});
	bool isnull;

	return DatumGetJsonbPCopy(wh_rows_datum(rows, 0, 1, &isnull));
}

char *
wh_dimension_sk(const WhModel *model)
{
	char *sk = wh_model_option(model, "sk");

	if (sk == NULL)
		elog(ERROR, "dimension %s has no surrogate key in its options", model->name);
	return sk;
}

List *
wh_dimension_columns_of_type(const WhModel *model, int type)
{
	List *result = NIL;
	ListCell *lc;

	foreach(lc, model->columns)
	{
		WhModelColumn *column = lfirst(lc);

		if ((column->is_key ? 1 : column->scd) == type)
			result = lappend(result, column);
	}
	return result;
}

bool
wh_dimension_is_versioned(const WhModel *dimension)
{
	return dimension->kind == WH_MODEL_DIMENSION;
}

void
wh_dimension_lookup_sql(StringInfo sql, const WhModel *dimension, List *keys,
						const char *event_time)
{
	const char *sk = wh_sql_identifier(wh_dimension_sk(dimension));
	ListCell *lc;
	ListCell *lk;

	if (dimension->kind == WH_MODEL_DATE)
	{
		wh_dimension_date_lookup_sql(sql, dimension, linitial(keys));
		return;
	}
	wh_sql_append(sql, "(CASE WHEN ");
	foreach(lk, keys)
		wh_sql_append(sql, "%s(%s) IS NULL", lk == list_head(keys) ? "" : " OR ",
					  (char *) lfirst(lk));
	wh_sql_append(sql, " THEN " WH_UNKNOWN_SK " ELSE (SELECT wh_d.%s FROM %T wh_d WHERE ", sk,
				  dimension->relid);
	forboth(lc, dimension->key, lk, keys)
	{
		WhModelColumn *column = lfirst(lc);

		wh_sql_append(sql, "wh_d.%I %s (%s) AND ", column->name, wh_model_equality(column->type),
					  (char *) lfirst(lk));
	}
	wh_sql_append(sql, "wh_d.valid_from <= (%s) ORDER BY wh_d.valid_from DESC LIMIT 1) END)",
				  event_time);
}

void
wh_dimension_infer_sql(StringInfo sql, const WhModel *dimension, const char *keys_query,
					   int64 load_id)
{
	const char *separator = "";
	ListCell *lc;

	if (dimension->kind == WH_MODEL_DATE)
	{
		wh_dimension_date_infer_sql(sql, dimension, keys_query, load_id);
		return;
	}
	wh_sql_append(sql, "INSERT INTO %T (", dimension->relid);
	wh_model_column_list(sql, dimension->key, NULL);
	wh_sql_append(
		sql, ", valid_from, valid_to, is_current, is_inferred, load_id) SELECT DISTINCT ON (");
	wh_model_column_list(sql, dimension->key, "k");
	wh_sql_append(sql, ") ");
	wh_model_column_list(sql, dimension->key, "k");
	wh_sql_append(
		sql,
		", '-infinity'::timestamptz, 'infinity'::timestamptz, true, true, %l::bigint FROM (%s) k (",
		load_id, keys_query);
	wh_model_column_list(sql, dimension->key, NULL);
	wh_sql_append(sql, ") WHERE ");
	foreach(lc, dimension->key)
	{
		wh_sql_append(sql, "%sk.%I IS NOT NULL", separator, ((WhModelColumn *) lfirst(lc))->name);
		separator = " AND ";
	}
	/* A scalar subquery is probed key by key; NOT EXISTS might become a join that reads the whole
	 * dimension. */
	wh_sql_append(sql, " AND (SELECT true FROM %T d WHERE ", dimension->relid);
	wh_model_key_join(sql, dimension, "d", "k");
	wh_sql_append(sql, " LIMIT 1) IS NULL ON CONFLICT DO NOTHING");
}

void
wh_dimension_moved_sql(StringInfo sql, const WhModel *dimension, const WhLoad *load)
{
	const char *separator = "";
	WhRows *rows;
	ListCell *lc;

	if (dimension->kind == WH_MODEL_DATE)
	{
		wh_sql_append(sql, "SELECT NULL::date WHERE false");
		return;
	}
	rows = wh_catalog_query(
		"SELECT to_lsn FROM walhouse.load_model WHERE model_id = $1 AND load_id < $2 "
		"ORDER BY load_id DESC LIMIT 1",
		2, (WhArg[]){WH_ARG_INT4(dimension->id), WH_ARG_INT8(load->id)});
	wh_sql_append(sql, "SELECT DISTINCT ");
	foreach(lc, dimension->key)
	{
		WhModelColumn *column = lfirst(lc);

		wh_sql_append(sql, "%sl.%I AS %I", separator,
					  wh_model_log_of_mirror(dimension->source, column->attnum), column->name);
		separator = ", ";
	}
	wh_sql_append(sql, " FROM %T l WHERE l.lsn > %X AND l.lsn <= %X AND l.op <> 'T'",
				  dimension->source->log,
				  rows->count == 0 ? wh_model_horizon(dimension) : wh_rows_lsn(rows, 0, 1),
				  load->to);
}
