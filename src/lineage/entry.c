/*
 * entry.c
 *		What stands in FROM: relations, subqueries, joins, functions, VALUES, CTEs.
 *
 * A row set of each is made when it is first asked for, and the columns of joins and groups one by
 * one, so what is deep and wide costs what is used of it.  A recursive CTE is walked through until
 * nothing new comes of it.
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "lineage/lineage.h"
#include "lineage/lineage_private.h"

typedef struct WhCte
{
	CommonTableExpr *cte;
	WhRowset *rowset; /* of a recursive one: what is known of it so far */
} WhCte;

static WhRowset *make_entry(WhScope *scope, RangeTblEntry *entry);
static WhRowset *make_functions(WhScope *scope, RangeTblEntry *entry);
static void add_function(WhScope *scope, WhRowset *rowset, int offset,
						 const RangeTblFunction *function);
static WhRowset *make_table_function(WhScope *scope, TableFunc *function);
static WhRowset *make_values(WhScope *scope, RangeTblEntry *entry);
static WhRowset *find_cte(WhScope *scope, const RangeTblEntry *entry);
static WhRowset *walk_cte(WhScope *scope, CommonTableExpr *cte);
static WhRowset *run_cte(WhScope *scope, CommonTableExpr *cte);
static int cte_width(const CommonTableExpr *cte);
static int cte_column(const CommonTableExpr *cte, const char *name);

WhRowset *
wh_walk_entry(WhScope *scope, int varno)
{
	if (varno < 1 || varno > list_length(scope->query->rtable))
		elog(ERROR, "there is no entry %d in FROM", varno);
	if (scope->entries[varno - 1] == NULL)
		scope->entries[varno - 1] = make_entry(scope, rt_fetch(varno, scope->query->rtable));
	return scope->entries[varno - 1];
}

void
wh_walk_column(WhScope *scope, int varno, AttrNumber attnum, WhHow how, WhSources *into)
{
	WhRowset *rowset = wh_walk_entry(scope, varno);
	RangeTblEntry *entry = rt_fetch(varno, scope->query->rtable);
	List *expressions = entry->rtekind == RTE_JOIN ? entry->joinaliasvars :
													 wh_compat_group_expressions(entry);

	if (attnum < 0)
		wh_sources_add(into, entry->relid, attnum, how);
	else if (attnum == 0)
	{
		for (int i = 1; i <= rowset->ncolumns; i++)
			wh_walk_column(scope, varno, i, wh_how_through(how, WH_HOW_TRANSFORMATION), into);
	}
	else if (attnum <= rowset->ncolumns)
	{
		if (expressions != NIL && rowset->columns[attnum - 1] == NULL)
			wh_walk_expression(scope, list_nth(expressions, attnum - 1), WH_HOW_IDENTITY,
							   wh_rowset_column(rowset, attnum));
		wh_sources_through(into, wh_rowset_column(rowset, attnum), how);
	}
}

static WhRowset *
make_entry(WhScope *scope, RangeTblEntry *entry)
{
	WhRowset *rowset;

	switch (entry->rtekind)
	{
		case RTE_RELATION:
		case RTE_NAMEDTUPLESTORE:
			rowset = wh_walk_relation(scope->walk, entry->relid);
			if (entry->tablesample != NULL)
			{
				WhRowset *sampled = wh_rowset_make(rowset->ncolumns);

				wh_rowset_add(sampled, rowset);
				wh_walk_expression(scope, (Node *) entry->tablesample, WH_HOW_FILTER,
								   &sampled->rows);
				return sampled;
			}
			return rowset;
		case RTE_SUBQUERY:
			return wh_walk_query(scope->walk, entry->subquery, scope);
		case RTE_JOIN:
			return wh_rowset_make(list_length(entry->joinaliasvars));
		case RTE_FUNCTION:
			return make_functions(scope, entry);
		case RTE_TABLEFUNC:
			return make_table_function(scope, entry->tablefunc);
		case RTE_VALUES:
			return make_values(scope, entry);
		case RTE_CTE:
			return find_cte(scope, entry);
		default:
			return wh_rowset_make(list_length(wh_compat_group_expressions(entry)));
	}
}

/* make_functions: each of the functions side by side has so many columns; WITH ORDINALITY adds one
 * that counts. */
static WhRowset *
make_functions(WhScope *scope, RangeTblEntry *entry)
{
	int count = entry->funcordinality ? 1 : 0;
	WhRowset *rowset;

	foreach_ptr(RangeTblFunction, function, entry->functions)
		count += function->funccolcount;
	rowset = wh_rowset_make(count);
	count = 0;
	foreach_ptr(RangeTblFunction, function, entry->functions)
	{
		add_function(scope, rowset, count, function);
		count += function->funccolcount;
	}
	return rowset;
}

static void
add_function(WhScope *scope, WhRowset *rowset, int offset, const RangeTblFunction *function)
{
	FuncExpr *call = (FuncExpr *) function->funcexpr;
	bool gives_set = expression_returns_set(function->funcexpr);
	WhRowset *body = NULL;

	if (IsA(call, FuncExpr))
		body = wh_walk_call(scope, call->funcid, call->args);
	for (int i = 1; i <= function->funccolcount; i++)
	{
		WhSources *column = wh_rowset_column(rowset, offset + i);

		if (body == NULL || body->ncolumns != function->funccolcount)
			wh_walk_expression(scope, function->funcexpr, WH_HOW_TRANSFORMATION, column);
		else
		{
			wh_sources_through(column, wh_rowset_column(body, i), WH_HOW_IDENTITY);
			if (!gives_set)
				wh_sources_rows(column, &body->rows, WH_HOW_IDENTITY);
		}
	}
	if (!gives_set)
		return;
	if (body == NULL)
		wh_walk_expression(scope, function->funcexpr, WH_HOW_JOIN, &rowset->rows);
	else
		wh_sources_rows(&rowset->rows, &body->rows, WH_HOW_IDENTITY);
}

/* make_table_function: XMLTABLE and JSON_TABLE. */
static WhRowset *
make_table_function(WhScope *scope, TableFunc *function)
{
	WhRowset *rowset = wh_rowset_make(list_length(function->coltypes));
	List *document = list_make4(function->docexpr, function->rowexpr, function->ns_uris,
								wh_compat_passed_values(function));

	for (int i = 0; i < rowset->ncolumns; i++)
	{
		WhSources *column = wh_rowset_column(rowset, i + 1);

		if (wh_compat_counts_rows(function, i))
			continue;
		wh_walk_expression(scope, (Node *) document, WH_HOW_TRANSFORMATION, column);
		if (i < list_length(function->colexprs))
			wh_walk_expression(scope, list_nth(function->colexprs, i), WH_HOW_TRANSFORMATION,
							   column);
		if (i < list_length(function->coldefexprs))
			wh_walk_expression(scope, list_nth(function->coldefexprs, i), WH_HOW_TRANSFORMATION,
							   column);
	}
	wh_walk_expression(scope, (Node *) document, WH_HOW_JOIN, &rowset->rows);
	return rowset;
}

static WhRowset *
make_values(WhScope *scope, RangeTblEntry *entry)
{
	WhRowset *rowset = wh_rowset_make(list_length(linitial(entry->values_lists)));

	foreach_ptr(List, row, entry->values_lists)
	{
		int number = 0;

		foreach_ptr(Node, value, row)
			wh_walk_expression(scope, value, WH_HOW_IDENTITY, wh_rowset_column(rowset, ++number));
	}
	return rowset;
}

void
wh_walk_modifying_ctes(WhScope *scope)
{
	foreach_ptr(CommonTableExpr, cte, scope->query->cteList)
		if (IsA(cte->ctequery, Query) && ((Query *) cte->ctequery)->commandType != CMD_SELECT)
			walk_cte(scope, cte);
}

/* find_cte looks for a CTE where it is defined. */
static WhRowset *
find_cte(WhScope *scope, const RangeTblEntry *entry)
{
	for (Index level = 0; level < entry->ctelevelsup && scope != NULL; level++)
		scope = scope->parent;
	if (scope != NULL)
		foreach_ptr(CommonTableExpr, cte, scope->query->cteList)
			if (strcmp(cte->ctename, entry->ctename) == 0)
				return walk_cte(scope, cte);
	elog(ERROR, "there is no CTE \"%s\"", entry->ctename);
}

static WhRowset *
walk_cte(WhScope *scope, CommonTableExpr *cte)
{
	WhCte *known;

	foreach_ptr(WhCte, other, scope->ctes)
		if (other->cte == cte)
			return other->rowset;
	known = palloc0(sizeof(WhCte));
	known->cte = cte;
	scope->ctes = lappend(scope->ctes, known);
	if (cte->cterecursive)
	{
		known->rowset = wh_rowset_make(cte_width(cte));
		while (wh_rowset_add(known->rowset, run_cte(scope, cte)))
			;
	}
	else
		known->rowset = run_cte(scope, cte);
	return known->rowset;
}

/* run_cte walks through the query of a CTE, and adds the columns of SEARCH and CYCLE, which
 * stand behind its own. */
static WhRowset *
run_cte(WhScope *scope, CommonTableExpr *cte)
{
	WhRowset *query = wh_walk_query(scope->walk, castNode(Query, cte->ctequery), scope);
	WhRowset *rowset = wh_rowset_make(cte_width(cte));
	int added = list_length(cte->ctecolnames);

	wh_rowset_add(rowset, query);
	if (cte->search_clause != NULL)
	{
		int order = ++added;

		foreach_ptr(String, name, cte->search_clause->search_col_list)
			wh_sources_through(wh_rowset_column(rowset, order),
							   wh_rowset_column(rowset, cte_column(cte, strVal(name))),
							   WH_HOW_TRANSFORMATION);
	}
	if (cte->cycle_clause != NULL)
	{
		int mark = ++added;
		int path = ++added;

		foreach_ptr(String, name, cte->cycle_clause->cycle_col_list)
		{
			WhSources *column = wh_rowset_column(rowset, cte_column(cte, strVal(name)));

			wh_sources_through(wh_rowset_column(rowset, mark), column, WH_HOW_CONDITIONAL);
			wh_sources_through(wh_rowset_column(rowset, path), column, WH_HOW_TRANSFORMATION);
			wh_sources_through(&rowset->rows, column, WH_HOW_FILTER);
		}
	}
	return rowset;
}

static int
cte_width(const CommonTableExpr *cte)
{
	return list_length(cte->ctecolnames) + (cte->search_clause == NULL ? 0 : 1) +
		   (cte->cycle_clause == NULL ? 0 : 2);
}

static int
cte_column(const CommonTableExpr *cte, const char *name)
{
	int number = 0;

	foreach_ptr(String, column, cte->ctecolnames)
	{
		number++;
		if (strcmp(strVal(column), name) == 0)
			return number;
	}
	elog(ERROR, "CTE \"%s\" has no column \"%s\"", cte->ctename, name);
}
