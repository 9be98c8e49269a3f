/*
 * declare.c
 *		Declaring and dropping models: names, rights, keys, the view, the catalog row.
 *
 * A declaration is DDL and one catalog row, in the caller's transaction, as the caller, who
 * becomes the owner; it takes none of the feed's locks.  All that can be checked is checked before
 * anything is made.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/genam.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/base.h"
#include "model/model.h"
#include "model/model_private.h"

static void check_mirrors(const WhQuery *query, const char *what);
static void root_join(WhQuery *query, const char *what);
static void check_key_column(WhModelColumn *column, const char *what);
static char *missing_key_columns(WhQuery *query);
static void check_rights(WhQuery *query, const char *schema, const char *what);
static void lack(StringInfo detail, StringInfo hint, const char *privilege, const char *on);
static Oid add_relation(const WhModel *model, const char *purpose, const char *what,
						const char *definition);
static const char *kind_name(WhModelKind kind);

WhQuery *
wh_model_prepare(const char *name, const char *query_text, List *key, const char *what,
				 char **schema, char **relation)
{
	WhQuery *query;

	wh_model_check_name(name, what, schema, relation);
	query = wh_model_analyse(query_text, what);
	check_mirrors(query, what);
	wh_model_check_key(query, key, what);
	check_rights(query, *schema, what);
	return query;
}

/* check_mirrors refuses tables whose mirrors are switched off. */
static void
check_mirrors(const WhQuery *query, const char *what)
{
	ListCell *cell;

	foreach(cell, query->sources)
	{
		WhFeedTable *table = lfirst(cell);

		if (!table->has_mirror)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("a %s cannot read %s, because its mirror is off", what,
							wh_sql_relation(table->mirror)),
					 errhint("CALL walhouse.set_mirror(%s, %s, true);",
							 wh_sql_literal(query->feed->name),
							 wh_sql_literal(table->source_name))));
	}
}

void
wh_model_check_name(const char *name, const char *what, char **schema, char **relation)
{
	Oid namespace;
	char *view;

	wh_name_parse(name, schema, relation);
	if (*schema == NULL)
	{
		RangeVar *var = makeRangeVar(NULL, *relation, -1);

		*schema = get_namespace_name(RangeVarGetCreationNamespace(var));
	}
	namespace = get_namespace_oid(*schema, true);
	if (!OidIsValid(namespace))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_SCHEMA),
				 errmsg("schema \"%s\" does not exist", *schema),
				 errhint("CREATE SCHEMA %s;", wh_sql_identifier(*schema))));
	if (isAnyTempNamespace(namespace))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("a %s cannot be temporary", what)));
	view = wh_name(*relation, "_query");
	if (OidIsValid(get_relname_relid(*relation, namespace)) ||
		OidIsValid(get_relname_relid(view, namespace)))
		ereport(
			ERROR,
			(errcode(ERRCODE_DUPLICATE_TABLE),
			 errmsg("relation \"%s\" already exists",
					OidIsValid(get_relname_relid(*relation, namespace)) ? *relation : view),
			 errdetail("A %s makes the table \"%s\" and the view \"%s\" in schema \"%s\".", what,
					   *relation, view, *schema),
			 errhint(
				 "Choose another name, or drop it: SELECT walhouse.drop_model(…) if it is a "
				 "model.")));
}

void
wh_model_check_key(WhQuery *query, List *key, const char *what)
{
	ListCell *lc;
	char *missing;

	if (key == NIL)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a %s needs a key", what),
			 errhint(
				 "Give the columns of the query that are the key of the source table: key => "
				 "'{id}'.")));
	foreach(lc, key)
	{
		WhModelColumn *column = wh_model_column(query->columns, lfirst(lc));

		if (column == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("key column \"%s\" is no column of the query", (char *) lfirst(lc))));
		if (column->is_key)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("key column \"%s\" is given twice", column->name)));
		column->is_key = true;
		check_key_column(column, what);
	}
	if (query->join != NULL)
	{
		root_join(query, what);
		return;
	}
	missing = missing_key_columns(query);
	if (missing != NULL)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the key of a %s over one table must be the key of that table", what),
			 errdetail("%s", missing),
			 errhint("Select the key columns of \"%s\" as they are, and name them all in key.",
					 query->source->source_name)));
}

/* root_join finds the driving table of a join, and refuses what has none. */
static void
root_join(WhQuery *query, const char *what)
{
	WhModelText text = {query->text, what};
	ErrorContextCallback callback = {error_context_stack, wh_model_position_callback, &text};

	error_context_stack = &callback;
	wh_model_join_root(query->join, query->columns, what, &text);
	error_context_stack = callback.previous;
	query->source = query->join->driver->table->table;
}

/* check_key_column refuses types without a default order, and collations under which different
 * strings are equal. */
static void
check_key_column(WhModelColumn *column, const char *what)
{
	if (!OidIsValid(GetDefaultOpClass(column->type, BTREE_AM_OID)))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("key column \"%s\" has type %s, which has no default order",
							   column->name, format_type_be(column->type)),
						errdetail("The key of a %s stands in a btree index.", what)));
	if (OidIsValid(column->collation) && !get_collation_isdeterministic(column->collation))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("key column \"%s\" has a nondeterministic collation", column->name),
				 errhint("Use COLLATE with a deterministic one in the source table.")));
}

/* missing_key_columns says how the key differs from the mirror's; NULL when it does not. */
static char *
missing_key_columns(WhQuery *query)
{
	StringInfoData detail;
	int matched = 0;
	int keys = 0;
	ListCell *lc;

	initStringInfo(&detail);
	foreach(lc, query->columns)
		keys += ((WhModelColumn *) lfirst(lc))->is_key ? 1 : 0;
	foreach(lc, query->source->key)
	{
		const char *name = wh_model_mirror_column(query->source, lfirst_int(lc));
		AttrNumber attnum = get_attnum(query->source->mirror, name);
		bool found = false;
		ListCell *lc2;

		foreach(lc2, query->columns)
		{
			WhModelColumn *column = lfirst(lc2);

			found = found || (column->is_key && column->attnum == attnum);
		}
		if (found)
			matched++;
		else
			appendStringInfo(&detail, "%s\"%s\"", detail.len > 0 ? ", " : "The key lacks column ",
							 name);
	}
	if (detail.len == 0 && matched == keys)
		return NULL;
	if (detail.len > 0)
		appendStringInfo(&detail, " of %s.", wh_sql_relation(query->source->mirror));
	if (matched < keys)
		appendStringInfo(&detail, "%s%d of its columns %s not in the key of %s.",
						 detail.len > 0 ? " " : "", keys - matched,
						 keys - matched == 1 ? "is" : "are",
						 wh_sql_relation(query->source->mirror));
	return detail.data;
}

/* check_rights reports all privileges that the future owner lacks at once. */
static void
check_rights(WhQuery *query, const char *schema, const char *what)
{
	List *tables = NIL;
	List *schemas = NIL;
	StringInfoData detail;
	StringInfoData hint;
	char *target = wh_sql("%I", schema);
	ListCell *lc;

	foreach(lc, query->sources)
		tables = lappend_oid(lappend_oid(tables, ((WhFeedTable *) lfirst(lc))->mirror),
							 ((WhFeedTable *) lfirst(lc))->log);
	tables = lappend_oid(tables, wh_changelog_txn_relid(query->feed));
	initStringInfo(&detail);
	initStringInfo(&hint);
	if (!wh_rows_bool(wh_spi_query("SELECT pg_catalog.has_schema_privilege($1, 'CREATE')", 1,
								   (WhArg[]){WH_ARG_TEXT(schema)}),
					  0, 1))
		lack(&detail, &hint, "CREATE", psprintf("SCHEMA %s", target));
	foreach(lc, tables)
	{
		Oid namespace = get_rel_namespace(lfirst_oid(lc));
		const char *table_schema = get_namespace_name(namespace);

		if (!list_member_oid(schemas, namespace) &&
			!wh_rows_bool(wh_spi_query("SELECT pg_catalog.has_schema_privilege($1, 'USAGE')", 1,
									   (WhArg[]){WH_ARG_TEXT(table_schema)}),
						  0, 1))
			lack(&detail, &hint, "USAGE", wh_sql("SCHEMA %I", table_schema));
		schemas = lappend_oid(schemas, namespace);
		if (pg_class_aclcheck(lfirst_oid(lc), GetUserId(), ACL_SELECT) != ACLCHECK_OK)
			lack(&detail, &hint, "SELECT", wh_sql("TABLE %T", lfirst_oid(lc)));
	}
	if (detail.len > 0)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("role \"%s\" lacks privileges that the owner of this %s needs",
							   GetUserNameFromId(GetUserId(), false), what),
						errdetail("Missing: %s.", detail.data), errhint("%s", hint.data)));
}

static void
lack(StringInfo detail, StringInfo hint, const char *privilege, const char *on)
{
	appendStringInfo(detail, "%s%s on %s", detail->len > 0 ? ", " : "", privilege, on);
	appendStringInfo(hint, "%sGRANT %s ON %s TO %s;", hint->len > 0 ? " " : "", privilege, on,
					 wh_sql_identifier(GetUserNameFromId(GetUserId(), false)));
}

WhModel *
wh_model_declare(const char *schema, const char *name, WhModelKind kind, WhQuery *query,
				 List *key, Jsonb *options, Oid relid)
{
	WhArg args[6];
	Oid view = InvalidOid;
	StringInfoData keys;
	ListCell *lc;

	initStringInfo(&keys);
	foreach(lc, key)
		wh_sql_append(&keys, "%s%L", keys.len > 0 ? ", " : "", (char *) lfirst(lc));
	if (query != NULL && query->text != NULL)
	{
		char *view_name = wh_name(name, "_query");

		if (query->join != NULL)
			wh_model_join_indexes(query->join, kind_name(kind));
		/* The text is one SELECT: wh_model_analyse has parsed it. */
		wh_spi_execute(wh_sql("CREATE VIEW %I.%I AS %s", schema, view_name, query->text), 0, NULL);
		view = get_relname_relid(view_name, get_namespace_oid(schema, false));
		wh_spi_execute(wh_sql("COMMENT ON VIEW %T IS %L", view,
							  psprintf("query of the model %s.%s, kept by walhouse", schema, name)),
					   0, NULL);
	}
	args[0] = WH_ARG_REGCLASS(relid);
	args[1] = WH_ARG_TEXT(kind_name(kind));
	args[2] = query == NULL ? WH_ARG_NULL(INT4OID) : WH_ARG_INT4(query->feed->id);
	args[3] = !OidIsValid(view) ? WH_ARG_NULL(REGCLASSOID) : WH_ARG_REGCLASS(view);
	args[4] = WH_ARG_JSONB(JsonbPGetDatum(options));
	args[5] = WH_ARG_TEXT(query == NULL ? "live" : "new");
	wh_catalog_execute(
		wh_sql("INSERT INTO walhouse.model (relation, kind, feed_id, query, options, state, key) "
			   "VALUES ($1, $2, $3, $4, $5, $6, ARRAY[%s]::pg_catalog.text[])",
			   keys.data),
		6, args);
	wh_spi_execute(wh_sql("COMMENT ON TABLE %T IS %L", relid,
						  psprintf("%s kept by walhouse; drop it with walhouse.drop_model()",
								   kind_name(kind))),
				   0, NULL);
	wh_model_protect(relid);
	return wh_model_get(relid, false);
}

Oid
wh_model_add_view(const WhModel *model, const char *purpose, const char *select)
{
	return add_relation(model, purpose, "VIEW", wh_sql("AS %s", select));
}

Oid
wh_model_add_table(const WhModel *model, const char *purpose, const char *definition)
{
	Oid table = add_relation(model, purpose, "TABLE", wh_sql("(%s)", definition));

	wh_model_protect(table);
	return table;
}

/* add_relation makes <name>_<purpose> and notes it in the catalog. */
static Oid
add_relation(const WhModel *model, const char *purpose, const char *what, const char *definition)
{
	Oid namespace = get_rel_namespace(model->relid);
	char *name = wh_name(model->short_name, psprintf("_%s", purpose));
	Oid relid;

	wh_spi_execute(wh_sql("CREATE %s %I.%I %s", what, get_namespace_name(namespace), name,
						  definition),
				   0, NULL);
	relid = get_relname_relid(name, namespace);
	wh_spi_execute(wh_sql("COMMENT ON %s %T IS %L", what, relid,
						  psprintf("%s of the model %s, kept by walhouse", purpose, model->name)),
				   0, NULL);
	wh_catalog_execute(
		"INSERT INTO walhouse.model_view (model_id, purpose, view) VALUES ($1, $2, $3)", 3,
		(WhArg[]){WH_ARG_INT4(model->id), WH_ARG_TEXT(purpose), WH_ARG_REGCLASS(relid)});
	return relid;
}

Oid
wh_model_view(const WhModel *model, const char *purpose)
{
	WhRows *rows = wh_catalog_query(
		"SELECT view FROM walhouse.model_view WHERE model_id = $1 AND purpose = $2", 2,
		(WhArg[]){WH_ARG_INT4(model->id), WH_ARG_TEXT(purpose)});

	return rows->count == 0 ? InvalidOid : wh_rows_oid(rows, 0, 1);
}

static const char *
kind_name(WhModelKind kind)
{
	switch (kind)
	{
		case WH_MODEL_DIMENSION:
			return "dimension";
		case WH_MODEL_DATE:
			return "date";
		case WH_MODEL_TIME:
			return "time";
		case WH_MODEL_JUNK:
			return "junk";
		case WH_MODEL_MINI:
			return "mini";
		case WH_MODEL_FACT:
			return "fact";
		case WH_MODEL_ROLLUP:
			return "rollup";
		case WH_MODEL_SNAPSHOT:
			return "periodic_snapshot";
	}
	elog(ERROR, "unknown kind of model %d", kind);
}

List *
wh_model_names(ArrayType *array, const char *argument)
{
	List *names = NIL;
	Datum *values;
	bool *nulls;
	int count;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("%s must be an array of one dimension", argument)));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not have NULL elements", argument)));
		names = lappend(names, TextDatumGetCString(values[i]));
	}
	return names;
}
