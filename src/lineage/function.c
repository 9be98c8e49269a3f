/*
 * function.c
 *		Functions: those whose bodies are trees are walked through, others are taken at their word.
 *
 * The body of an SQL function with BEGIN ATOMIC or RETURN is kept analysed by PostgreSQL.  It is
 * walked through once, with a source of its own for each argument (relid 0, attnum the argument's
 * number), and each call puts the sources of its arguments in their place.  A strict function
 * gives NULL when an argument is NULL, so all of them bear on what it gives.
 *
 * Other functions are made of their arguments.  One that is not immutable, and not PostgreSQL's
 * own, may read tables besides: it is opaque, and named to whoever asks.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/base.h"
#include "lineage/lineage.h"
#include "lineage/lineage_private.h"

static WhBody *find_body(WhWalk *walk, Oid function);
static List *read_body(Oid function, int *arguments, bool *is_strict, bool *gives_set);
static WhRowset *walk_body(WhWalk *walk, List *statements, int arguments, bool is_strict,
						   bool gives_set);
static WhRowset *put_arguments(const WhRowset *rowset, WhRowset *arguments);
static void put(WhSources *sources, const WhSources *from, WhRowset *arguments);
static bool reads_what_text_says(Oid function);

WhRowset *
wh_walk_call(WhScope *scope, Oid function, List *arguments)
{
	WhBody *body = find_body(scope->walk, function);
	WhRowset *values;
	int place = 0;

	if (body->rowset == NULL)
	{
		wh_walk_note_function(scope->walk, function);
		return NULL;
	}
	values = wh_rowset_make(FUNC_MAX_ARGS);
	foreach_ptr(Node, argument, arguments)
	{
		int number = IsA(argument, NamedArgExpr) ? ((NamedArgExpr *) argument)->argnumber : place;

		place++;
		wh_walk_expression(scope, argument, WH_HOW_IDENTITY, wh_rowset_column(values, number + 1));
	}
	foreach_ptr(WhOutput, output, body->written)
		wh_walk_note_written(scope->walk, output->relid, put_arguments(output->rowset, values));
	return put_arguments(body->rowset, values);
}

void
wh_walk_note_function(WhWalk *walk, Oid function)
{
	HeapTuple tuple;
	Form_pg_proc procedure;

	if (!OidIsValid(function) || list_member_oid(walk->opaque, function))
		return;
	if (function < FirstUnpinnedObjectId)
	{
		if (reads_what_text_says(function))
			walk->opaque = lappend_oid(walk->opaque, function);
		return;
	}
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		return;
	procedure = (Form_pg_proc) GETSTRUCT(tuple);
	if (procedure->provolatile != PROVOLATILE_IMMUTABLE)
		walk->opaque = lappend_oid(walk->opaque, function);
	ReleaseSysCache(tuple);
}

static WhBody *
find_body(WhWalk *walk, Oid function)
{
	bool found;
	WhBody *body = hash_search(walk->bodies, &function, HASH_ENTER, &found);
	List *outer = walk->written;
	List *statements;
	List *written;
	WhRowset *rowset;
	int arguments;
	bool is_strict;
	bool gives_set;

	if (found)
		return body;
	body->rowset = NULL;
	body->written = NIL;
	statements = read_body(function, &arguments, &is_strict, &gives_set);
	if (statements == NIL)
		return body;
	walk->written = NIL;
	rowset = walk_body(walk, statements, arguments, is_strict, gives_set);
	written = walk->written;
	walk->written = outer;
	body = hash_search(walk->bodies, &function, HASH_FIND, NULL);
	body->rowset = rowset;
	body->written = written;
	return body;
}

/* read_body returns the statements of a function (Query *); NIL when there is no tree. */
static List *
read_body(Oid function, int *arguments, bool *is_strict, bool *gives_set)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc procedure;
	List *statements = NIL;
	bool isnull;
	Datum value;
	Node *node;

	if (!HeapTupleIsValid(tuple))
		return NIL;
	procedure = (Form_pg_proc) GETSTRUCT(tuple);
	*arguments = procedure->pronargs;
	*is_strict = procedure->proisstrict;
	*gives_set = procedure->proretset;
	value = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosqlbody, &isnull);
	if (procedure->prolang == SQLlanguageId && !isnull)
	{
		node = stringToNode(TextDatumGetCString(value));
		statements = IsA(node, List) ? linitial_node(List, castNode(List, node)) : list_make1(node);
	}
	ReleaseSysCache(tuple);
	return statements;
}

/* walk_body: the last statement gives what the function gives; all of them may write. */
static WhRowset *
walk_body(WhWalk *walk, List *statements, int arguments, bool is_strict, bool gives_set)
{
	WhRowset *rowset = wh_rowset_make(0);

	foreach_ptr(Query, statement, statements)
		if (statement->commandType != CMD_UTILITY)
			rowset = wh_walk_query(walk, statement, NULL);
	for (int number = 1; is_strict && number <= arguments; number++)
	{
		for (int column = 1; column <= rowset->ncolumns; column++)
			wh_sources_add(wh_rowset_column(rowset, column), InvalidOid, number,
						   WH_HOW_CONDITIONAL);
		if (gives_set)
			wh_sources_add(&rowset->rows, InvalidOid, number, WH_HOW_FILTER);
	}
	return rowset;
}

static WhRowset *
put_arguments(const WhRowset *rowset, WhRowset *arguments)
{
	WhRowset *result = wh_rowset_make(rowset->ncolumns);

	for (int i = 0; i < rowset->ncolumns; i++)
		if (rowset->columns[i] != NULL)
			put(wh_rowset_column(result, i + 1), rowset->columns[i], arguments);
	put(&result->rows, &rowset->rows, arguments);
	return result;
}

static void
put(WhSources *sources, const WhSources *from, WhRowset *arguments)
{
	for (int i = 0; i < from->count; i++)
	{
		const WhSource *source = &from->items[i];

		if (OidIsValid(source->relid) || source->attnum > arguments->ncolumns)
		{
			wh_sources_add(sources, source->relid, source->attnum, source->how);
			continue;
		}
		for (int bit = 0; bit < WH_HOW_COUNT; bit++)
			if (source->how & (1 << bit))
				wh_sources_through(sources, wh_rowset_column(arguments, source->attnum), 1 << bit);
	}
}

/* reads_what_text_says: PostgreSQL's own functions that run a query that they are given as text. */
static bool
reads_what_text_says(Oid function)
{
	switch (function)
	{
		case F_QUERY_TO_XML:
		case F_QUERY_TO_XML_AND_XMLSCHEMA:
		case F_TABLE_TO_XML:
		case F_TABLE_TO_XML_AND_XMLSCHEMA:
		case F_SCHEMA_TO_XML:
		case F_DATABASE_TO_XML:
		case F_CURSOR_TO_XML:
		case F_TS_STAT_TEXT:
		case F_TS_STAT_TEXT_TEXT:
		case F_TS_REWRITE_TSQUERY_TEXT:
			return true;
		default:
			return false;
	}
}
