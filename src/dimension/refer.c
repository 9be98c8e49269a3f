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
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

static void split_reference(const WhReference *reference, char **relation, char **columns);
static WhModel *find_dimension(const WhReference *reference, const char *name, const WhFeed *feed,
							   const char *what);
static void check_keys(const WhReference *reference, List *columns);
static bool gives_key(const WhModel *dimension, const WhModelColumn *column,
					  const WhModelColumn *target);
static bool fits(const WhModelColumn *column, const WhModelColumn *target);
static bool is_integer(Oid type);

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
	if (dimension == NULL || dimension->kind == WH_MODEL_FACT)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a dimension", name)));
	if (dimension->feed != NULL && dimension->feed->id != feed->id)
		ereport(
			ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("dimension \"%s\" belongs to another feed", name),
			 errdetail(
				 "The %s reads feed \"%s\", the dimension feed \"%s\"; their positions have"
				 " nothing in common.",
				 what, feed->name, dimension->feed->name)));
	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for dimension \"%s\"", name),
				 errhint("GRANT SELECT ON %s TO %s;", dimension->name,
						 wh_sql_identifier(GetUserNameFromId(GetUserId(), false)))));
	return dimension;
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
	return dimension->key;
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
		Oid target = ((WhModelColumn *) list_nth(key, i))->type;
		char *value = lfirst(cell);

		if ((dimension->kind == WH_MODEL_DATE || dimension->kind == WH_MODEL_TIME) &&
			((WhModelColumn *) list_nth(columns, i))->type == TIMESTAMPTZOID)
			value = wh_sql("pg_catalog.timezone(%s, %s)", zone, value);
		result = lappend(
			result, wh_sql("%s::%s", value,
						   format_type_extended(
							   target, -1, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY)));
	}
	return result;
}
