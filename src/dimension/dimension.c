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

static void check_arguments(WhQuery *query, Jsonb *scd, const char *on_delete,
							const char *effective, const char *sk);
static void check_attributes(WhQuery *query);
static Oid make_table(WhQuery *query, List *key, const char *schema, const char *relation,
					  const char *sk, WhOnDelete on_delete);
static Jsonb *make_options(const WhDeclaration *declaration, const char *sk);

static WhPast past(const WhModel *model);
static void drop(WhModel *model);

static const WhModelRoutine dimension_routine = {
	.build = wh_dimension_build,
	.load = wh_dimension_load,
	.rests = true,
	.verify = wh_dimension_verify,
	.samples = true,
	.known = wh_dimension_known,
	.finish_build = wh_dimension_mini_finish_build,
	.past = past,
	.drop = drop,
	.referrers = wh_dimension_referrers};

static const WhModelRoutine date_routine = {
	.verify = wh_dimension_date_verify,
	.samples = true};

static const WhModelRoutine junk_routine = {
	.verify = wh_dimension_junk_verify,
	.samples = true};

static const WhModelRoutine mini_routine = {
	.verify = wh_dimension_mini_verify,
	.samples = true,
	.drop = wh_dimension_mini_drop};

static const WhModelRoutine time_routine = {
	.verify = wh_dimension_time_verify,
	.samples = true};

PG_FUNCTION_INFO_V1(walhouse_create_dimension);

static WhPast
past(const WhModel *model)
{
	return WH_PAST_HISTORY;
}

/* drop forgets what the catalog has of a dimension beside its model's row. */
static void
drop(WhModel *model)
{
	WhArg args[] = {WH_ARG_INT4(model->id)};

	wh_catalog_execute("DELETE FROM walhouse.purged WHERE dimension_id = $1", 1, args);
	wh_catalog_execute("DELETE FROM walhouse.moved WHERE dimension_id = $1", 1, args);
	wh_catalog_execute("DELETE FROM walhouse.dimension_reference WHERE model_id = $1", 1, args);
}

void
wh_dimension_init(void)
{
	wh_model_register(WH_MODEL_DIMENSION, &dimension_routine);
	wh_model_register(WH_MODEL_DATE, &date_routine);
	wh_model_register(WH_MODEL_TIME, &time_routine);
	wh_model_register(WH_MODEL_JUNK, &junk_routine);
	wh_model_register(WH_MODEL_MINI, &mini_routine);
	wh_dimension_memory_init();
}

Datum
walhouse_create_dimension(PG_FUNCTION_ARGS)
{
	WhDeclaration declaration = {0};
	WhModel *model;

	wh_txn_check_arguments(fcinfo);
	declaration.key = wh_model_names(PG_GETARG_ARRAYTYPE_P(2), "key");
	declaration.scd = PG_GETARG_JSONB_P(3);
	declaration.on_delete = text_to_cstring(PG_GETARG_TEXT_PP(4));
	declaration.unknown = PG_GETARG_BOOL(5);
	declaration.effective = text_to_cstring(PG_GETARG_TEXT_PP(6));
	declaration.query =
		wh_model_prepare(text_to_cstring(PG_GETARG_TEXT_PP(0)),
						 text_to_cstring(PG_GETARG_TEXT_PP(1)), declaration.key, "dimension",
						 &declaration.schema, &declaration.relation);
	model = wh_dimension_declare(&declaration);
	wh_dimension_make_outriggers(model, PG_GETARG_JSONB_P(7));
	PG_RETURN_OID(model->relid);
}

WhModel *
wh_dimension_declare(const WhDeclaration *declaration)
{
	char *sk = wh_name(declaration->relation, "_sk");
	WhModel *model;
	Oid relid;

	check_arguments(declaration->query, declaration->scd, declaration->on_delete,
					declaration->effective, sk);
	relid = make_table(declaration->query, declaration->key, declaration->schema,
					   declaration->relation, sk,
					   wh_dimension_parse_on_delete(declaration->on_delete));
	model = wh_model_declare(declaration->schema, declaration->relation, WH_MODEL_DIMENSION,
							 declaration->query, declaration->key, make_options(declaration, sk),
							 relid);
	wh_dimension_make_events(model);
	return model;
}

static void
check_arguments(WhQuery *query, Jsonb *scd, const char *on_delete, const char *effective,
				const char *sk)
{
	if (wh_model_column(query->columns, sk) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("column name \"%s\" is reserved for the surrogate key", sk),
				 errhint("Name the column otherwise with AS.")));
	if (wh_dimension_parse_on_delete(on_delete) == WH_DELETE_TOMBSTONE &&
		wh_model_column(query->columns, "is_deleted") != NULL)
		ereport(ERROR, (errcode(ERRCODE_RESERVED_NAME),
						errmsg("column name \"is_deleted\" is reserved with on_delete tombstone"),
						errhint("Name the column otherwise with AS.")));
	wh_dimension_set_effective(query, effective);
	wh_dimension_set_scd(query, scd);
	check_attributes(query);
}

/* check_attributes refuses queries that have a column which the dimension adds. */
static void
check_attributes(WhQuery *query)
{
	ListCell *cell;

	foreach(cell, wh_dimension_attributes(query->columns))
	{
		WhAttribute *attribute = lfirst(cell);
		WhModelColumn *column = wh_model_column(query->columns, attribute->name);

		if (column != NULL && column != attribute->column)
			ereport(ERROR,
					(errcode(ERRCODE_RESERVED_NAME),
					 errmsg("column name \"%s\" is reserved for what type %d keeps of \"%s\"",
							attribute->name, attribute->column->scd, attribute->column->name),
					 errhint("Name the column otherwise with AS.")));
	}
}

static Oid
make_table(WhQuery *query, List *key, const char *schema, const char *relation, const char *sk,
		   WhOnDelete on_delete)
{
	StringInfoData sql;
	ListCell *lc;

	initStringInfo(&sql);
	wh_sql_append(
		&sql,
		"CREATE TABLE %I.%I (%I bigint GENERATED BY DEFAULT AS IDENTITY CONSTRAINT %I PRIMARY KEY",
		schema, relation, sk, wh_name(relation, "_pkey"));
	foreach(lc, wh_dimension_attributes(query->columns))
	{
		WhModelColumn column = *((WhAttribute *) lfirst(lc))->column;

		column.name = ((WhAttribute *) lfirst(lc))->name;
		wh_sql_append(&sql, ", ");
		wh_model_column_definition(&sql, &column);
	}
	wh_sql_append(
		&sql,
		", valid_from timestamptz NOT NULL, valid_to timestamptz NOT NULL, is_current boolean "
		"NOT NULL, "
		"is_inferred boolean NOT NULL%s, load_id bigint NOT NULL, CONSTRAINT %I UNIQUE (",
		on_delete == WH_DELETE_TOMBSTONE ? ", is_deleted boolean NOT NULL DEFAULT false" : "",
		wh_name(relation, "_key"));
	foreach(lc, key)
		wh_sql_append(&sql, "%I, ", (char *) lfirst(lc));
	wh_sql_append(&sql, "valid_from)) WITH (fillfactor = 85)");
	wh_spi_execute(sql.data, 0, NULL);
	return get_relname_relid(relation, get_namespace_oid(schema, false));
}

static Jsonb *
make_options(const WhDeclaration *declaration, const char *sk)
{
	bool is_commit = strcmp(declaration->effective, "commit") == 0;
	WhRows *rows = wh_spi_query(
		"SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('scd', $1, "
		"'on_delete', $2, 'unknown', $3, 'sk', $4, 'effective', $5, 'weight', $6, 'mini', $7))",
		7,
		(WhArg[]){WH_ARG_JSONB(JsonbPGetDatum(declaration->scd)),
				  WH_ARG_TEXT(declaration->on_delete), WH_ARG_BOOL(declaration->unknown),
				  WH_ARG_TEXT(sk), WH_ARG_TEXT(is_commit ? NULL : declaration->effective),
				  WH_ARG_TEXT(declaration->weight),
				  declaration->mini == 0 ? WH_ARG_NULL(INT4OID) : WH_ARG_INT4(declaration->mini)});
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

bool
wh_dimension_is_versioned(const WhModel *dimension)
{
	/* Without types 2 and 6 there is one version, but for those that deletes and re-inserts make.
	 */
	return dimension->kind == WH_MODEL_DIMENSION &&
		   (wh_dimension_versioned_columns(dimension) != NIL ||
			wh_dimension_on_delete(dimension) == WH_DELETE_CLOSE);
}

List *
wh_dimension_report_columns(const WhModel *dimension)
{
	List *names = NIL;
	ListCell *cell;

	if (dimension->kind == WH_MODEL_DATE)
		return wh_dimension_date_columns(dimension);
	if (dimension->kind == WH_MODEL_TIME)
		return wh_dimension_time_columns(dimension);
	if (dimension->kind == WH_MODEL_JUNK || dimension->kind == WH_MODEL_MINI)
		return wh_dimension_junk_columns(dimension);
	foreach(cell, wh_dimension_attributes(dimension->columns))
	{
		WhAttribute *attribute = lfirst(cell);

		if (!attribute->column->is_key)
			names = lappend(names, attribute->name);
	}
	if (wh_dimension_on_delete(dimension) == WH_DELETE_TOMBSTONE)
		names = lappend(names, "is_deleted");
	return names;
}

void
wh_dimension_lookup_sql(StringInfo sql, const WhModel *dimension, List *keys,
						const char *event_time, int null_sk)
{
	const char *sk = wh_sql_identifier(wh_dimension_sk(dimension));
	ListCell *lc;
	ListCell *lk;

	if (dimension->kind == WH_MODEL_DATE)
	{
		wh_dimension_date_lookup_sql(sql, dimension, linitial(keys), null_sk);
		return;
	}
	if (dimension->kind == WH_MODEL_TIME)
	{
		wh_dimension_time_lookup_sql(sql, dimension, linitial(keys), null_sk);
		return;
	}
	if (dimension->kind == WH_MODEL_JUNK)
	{
		wh_dimension_junk_lookup_sql(sql, dimension, keys);
		return;
	}
	if (dimension->kind == WH_MODEL_MINI)
	{
		wh_dimension_mini_lookup_sql(sql, dimension, keys, event_time, null_sk);
		return;
	}
	wh_sql_append(sql, "(CASE WHEN ");
	foreach(lk, keys)
		wh_sql_append(sql, "%s(%s) IS NULL", lk == list_head(keys) ? "" : " OR ",
					  (char *) lfirst(lk));
	wh_sql_append(sql, " THEN %d ELSE (SELECT wh_d.%s FROM %T wh_d WHERE ", null_sk, sk,
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
	if (dimension->kind == WH_MODEL_JUNK)
	{
		wh_dimension_junk_infer_sql(sql, dimension, keys_query, load_id);
		return;
	}
	if (dimension->kind == WH_MODEL_MINI)
	{
		wh_dimension_mini_infer_sql(sql, dimension, keys_query, load_id);
		return;
	}
	if (dimension->kind == WH_MODEL_TIME)
		elog(ERROR, "dimension %s lacks a time of day", dimension->name);
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
