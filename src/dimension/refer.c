/*
 * refer.c
 *		References to dimensions, as declarations write them: dw.customer(customer_id), the
 * dimension and the columns that give its key.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_coerce.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

static WhReference *read_reference(const char *column, const JsonbValue *value,
								   const char *argument);
static int place_of(const WhReference *reference, List *columns);
static void split_reference(const WhReference *reference, char **relation, char **columns);
static WhModel *find_dimension(const WhReference *reference, const char *name, const WhFeed *feed,
							   const char *what);
static void check_right(const WhModel *dimension, const char *name);
static void check_keys(const WhReference *reference, List *columns);
static bool gives_key(const WhModel *dimension, const WhModelColumn *column,
					  const WhModelColumn *target);
static bool fits(const WhModelColumn *column, const WhModelColumn *target);
static bool is_integer(Oid type);

List *
wh_dimension_read_references(Jsonb *object, const char *argument, List *columns,
							 const WhFeed *feed, const char *what)
{
	JsonbIterator *iterator = JsonbIteratorInit(&object->root);
	JsonbIteratorToken token;
	JsonbValue value;
	List *references = NIL;
	char *column = NULL;

	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a JSON object", argument),
				 errhint("For example: {\"region_sk\": \"dw.region(region)\"}.")));
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		WhReference *reference;
		int place;

		if (token == WJB_KEY)
			column = pnstrdup(value.val.string.val, value.val.string.len);
		if (token != WJB_VALUE)
			continue;
		reference = read_reference(column, &value, argument);
		wh_dimension_refer(reference, columns, feed, what);
		/* An object's keys come sorted by length: a stable insertion puts them in order. */
		for (place = list_length(references); place > 0; place--)
		{
			if (place_of(list_nth(references, place - 1), columns) <= place_of(reference, columns))
				break;
		}
		references = list_insert_nth(references, place, reference);
	}
	return references;
}

static WhReference *
read_reference(const char *column, const JsonbValue *value, const char *argument)
{
	WhReference *reference = palloc0(sizeof(WhReference));

	if (value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" of %s must be a string", column, argument),
				 errhint("For example: {\"region_sk\": \"dw.region(region)\"}.")));
	reference->column = pstrdup(column);
	reference->text = pnstrdup(value->val.string.val, value->val.string.len);
	return reference;
}

/* place_of is the place of the first column of a reference. */
static int
place_of(const WhReference *reference, List *columns)
{
	ListCell *cell;

	foreach(cell, columns)
	{
		if (strcmp(((WhModelColumn *) lfirst(cell))->name, linitial(reference->names)) == 0)
			return foreach_current_index(cell);
	}
	return -1;
}

char *
wh_dimension_role_name(const char *column)
{
	char *name = pstrdup(column);
	int length = strlen(name);

	if (length > 3 && strcmp(name + length - 3, "_sk") == 0)
		name[length - 3] = '\0';
	return name;
}

char *
wh_dimension_view_name(const char *role, const char *attribute, List **names)
{
	char *base = psprintf("%s_%s", role, attribute);
	char *name = wh_name(base, "");

	for (int i = 2; wh_dimension_has_name(*names, name); i++)
		name = wh_name(base, psprintf("_%d", i));
	*names = lappend(*names, name);
	return name;
}

bool
wh_dimension_has_name(List *names, const char *name)
{
	ListCell *cell;

	foreach(cell, names)
	{
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	}
	return false;
}

void
wh_dimension_store_references(const WhModel *model, const char *purpose, List *references)
{
	ListCell *cell;

	foreach(cell, references)
	{
		WhReference *reference = lfirst(cell);
		StringInfoData names;
		ListCell *name;

		initStringInfo(&names);
		foreach(name, reference->names)
			wh_sql_append(&names, "%s%L", names.len > 0 ? ", " : "", (char *) lfirst(name));
		wh_catalog_execute(
			wh_sql("INSERT INTO walhouse.dimension_reference (model_id, purpose, number, "
				   "column_name, dimension_id, key) VALUES ($1, $2, $3, $4::pg_catalog.name, $5, "
				   "ARRAY[%s]::pg_catalog.text[])",
				   names.data),
			5,
			(WhArg[]){WH_ARG_INT4(model->id), WH_ARG_TEXT(purpose),
					  WH_ARG_INT4(foreach_current_index(cell) + 1), WH_ARG_TEXT(reference->column),
					  WH_ARG_INT4(reference->dimension->id)});
	}
}

List *
wh_dimension_references(const WhModel *model, const char *purpose)
{
	WhRows *rows = wh_catalog_query(
		"SELECT column_name, dimension_id, key FROM walhouse.dimension_reference "
		"WHERE model_id = $1 AND purpose = $2 ORDER BY number",
		2, (WhArg[]){WH_ARG_INT4(model->id), WH_ARG_TEXT(purpose)});
	List *references = NIL;

	for (uint64 i = 0; i < rows->count; i++)
	{
		WhReference *reference = palloc0(sizeof(WhReference));
		bool isnull;

		reference->column = wh_rows_text(rows, i, 1);
		reference->dimension = wh_model_get_by_id(wh_rows_int4(rows, i, 2));
		reference->names =
			wh_model_names(DatumGetArrayTypeP(wh_rows_datum(rows, i, 3, &isnull)), "key");
		references = lappend(references, reference);
	}
	return references;
}

List *
wh_dimension_referrers(const WhModel *model)
{
	WhRows *rows = wh_catalog_query(
		"SELECT DISTINCT m.relation::pg_catalog.oid FROM walhouse.dimension_reference r "
		"JOIN walhouse.model m USING (model_id) WHERE r.dimension_id = $1 AND r.model_id <> $1 "
		"ORDER BY 1",
		1, (WhArg[]){WH_ARG_INT4(model->id)});
	List *relations = NIL;

	for (uint64 i = 0; i < rows->count; i++)
		relations = lappend_oid(relations, wh_rows_oid(rows, i, 1));
	return relations;
}

void
wh_dimension_refer(WhReference *reference, List *columns, const WhFeed *feed, const char *what)
{
	char *relation;
	char *names;

	split_reference(reference, &relation, &names);
	reference->dimension = find_dimension(reference, relation, feed, what);
	if (!SplitIdentifierString(names, ',', &reference->names) || reference->names == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("invalid list of columns in dimension \"%s\"", reference->text)));
	check_keys(reference, columns);
}

/* split_reference cuts relation(columns) at the first parenthesis that is not quoted. */
static void
split_reference(const WhReference *reference, char **relation, char **columns)
{
	char *copy = pstrdup(reference->text);
	char *open = copy;
	char *end = copy + strlen(copy);
	bool quoted = false;

	while (*open != '\0' && (quoted || *open != '('))
	{
		if (*open == '"')
			quoted = !quoted;
		open++;
	}
	while (end > open && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\n'))
		end--;
	if (*open == '\0' || open == copy || end[-1] != ')')
		ereport(
			ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("invalid dimension \"%s\" of column \"%s\"", reference->text,
					reference->column),
			 errhint(
				 "Write the dimension and the columns of the query that give its key:"
				 " dw.customer(customer_id).")));
	*open = '\0';
	end[-1] = '\0';
	*relation = copy;
	*columns = open + 1;
}

static WhModel *
find_dimension(const WhReference *reference, const char *name, const WhFeed *feed,
			   const char *what)
{
	char *schema;
	char *relation;
	Oid relid;
	WhModel *dimension;
	const WhFeed *of;

	wh_name_parse(name, &schema, &relation);
	relid = RangeVarGetRelid(makeRangeVar(schema, relation, -1), NoLock, true);
	if (!OidIsValid(relid))
		ereport(
			ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("dimension \"%s\" of column \"%s\" does not exist", name, reference->column),
			 errhint(
				 "Declare it first, with walhouse.create_dimension or"
				 " walhouse.create_date_dimension.")));
	dimension = wh_model_get(relid, true);
	if (dimension == NULL || dimension->kind >= WH_MODEL_FACT)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a dimension", name)));
	of = dimension->kind == WH_MODEL_MINI ? wh_dimension_history(dimension)->feed : dimension->feed;
	if (of != NULL && of->id != feed->id)
		ereport(
			ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("dimension \"%s\" belongs to another feed", name),
			 errdetail(
				 "The %s reads feed \"%s\", and %s feed \"%s\"; their positions have"
				 " nothing in common.",
				 what, feed->name, dimension->name, of->name)));
	check_right(dimension, name);
	if (dimension->kind == WH_MODEL_MINI)
		check_right(wh_dimension_history(dimension), name);
	return dimension;
}

static void
check_right(const WhModel *dimension, const char *name)
{
	if (pg_class_aclcheck(dimension->relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for dimension \"%s\"", name),
				 errhint("GRANT SELECT ON %s TO %s;", dimension->name,
						 wh_sql_identifier(GetUserNameFromId(GetUserId(), false)))));
}

/* check_keys holds number and types of the columns against the dimension's key. */
static void
check_keys(const WhReference *reference, List *columns)
{
	List *key = wh_dimension_key(reference->dimension);
	ListCell *cell;

	if (list_length(reference->names) != list_length(key))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimension \"%s\" takes %d columns, not %d", reference->text,
						list_length(key), list_length(reference->names))));
	foreach(cell, reference->names)
	{
		WhModelColumn *target = list_nth(key, foreach_current_index(cell));
		WhModelColumn *column = wh_model_column(columns, lfirst(cell));

		if (column == NULL)
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
							errmsg("column \"%s\" of dimension \"%s\" is no column of the query",
								   (char *) lfirst(cell), reference->text)));
		if (!gives_key(reference->dimension, column, target))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" has type %s, which does not fit dimension \"%s\"",
							column->name, format_type_be(column->type), reference->text),
					 errdetail("Its key has type %s.", format_type_be(target->type)),
					 errhint("Cast the column in the query.")));
	}
}

/* gives_key says whether a column can be looked up as a key of a dimension: dates and times of
 * day are read from timestamps, too. */
static bool
gives_key(const WhModel *dimension, const WhModelColumn *column, const WhModelColumn *target)
{
	if (dimension->kind != WH_MODEL_DATE && dimension->kind != WH_MODEL_TIME)
		return fits(column, target);
	return column->type == target->type || column->type == TIMESTAMPOID ||
		   column->type == TIMESTAMPTZOID;
}

/* fits says whether a column's values become the dimension's key without loss, or fail loudly. */
static bool
fits(const WhModelColumn *column, const WhModelColumn *target)
{
	if (is_integer(column->type) && is_integer(target->type))
		return true;
	return can_coerce_type(1, &column->type, &target->type, COERCION_IMPLICIT);
}

static bool
is_integer(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

List *
wh_dimension_key(const WhModel *dimension)
{
	return dimension->kind == WH_MODEL_MINI ? wh_dimension_history(dimension)->key : dimension->key;
}

List *
wh_dimension_key_values(const WhModel *dimension, List *columns, List *values, const char *zone)
{
	List *key = wh_dimension_key(dimension);
	List *result = NIL;
	ListCell *cell;

	foreach(cell, values)
	{
		int i = foreach_current_index(cell);
		Oid source = ((WhModelColumn *) list_nth(columns, i))->type;
		Oid target = ((WhModelColumn *) list_nth(key, i))->type;
		char *value = lfirst(cell);

		/* Views look up in any session's time zone. */
		if ((dimension->kind == WH_MODEL_DATE || dimension->kind == WH_MODEL_TIME) &&
			source == TIMESTAMPTZOID)
			value = wh_sql("pg_catalog.timezone(%s, %s)", zone, value);
		else if ((source == TIMESTAMPOID || source == DATEOID) && target == TIMESTAMPTZOID)
			value = wh_sql("pg_catalog.timezone(%s, %s::pg_catalog.timestamp)", zone, value);
		result = lappend(
			result, wh_sql("%s::%s", value,
						   format_type_extended(
							   target, -1, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY)));
	}
	return result;
}
