/*
 * query.c
 *		From where the rows and columns of a query come.
 *
 * Whatever decides which rows there are, how they are grouped, or in which order they come, is a
 * source of the rows: conditions and joins, of subqueries in FROM too, groups, DISTINCT, set
 * operations, ORDER BY, functions that give sets.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parsetree.h"

#include "base/base.h"
#include "lineage/lineage.h"
#include "lineage/lineage_private.h"

/* For find_sets: where functions that give sets are looked for. */
typedef struct Sets
{
	WhScope *scope;
	WhSources *rows;
} Sets;

static void walk_select(WhScope *scope, WhRowset *rowset);
static void walk_from(WhScope *scope, Node *item, WhSources *rows);
static void walk_clauses(WhScope *scope, List *clauses, WhHow how, WhSources *rows);
static bool find_sets(Node *node, void *context);
static WhRowset *walk_set_operation(WhScope *scope, Node *node, List *types);
static WhRowset *walk_arm(WhScope *scope, const RangeTblRef *ref, List *types);

WhRowset *
wh_walk_query(WhWalk *walk, Query *query, WhScope *parent)
{
	WhScope *scope = wh_walk_scope(walk, query, parent);
	WhRowset *rowset;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (query->setOperations != NULL)
	{
		rowset = walk_set_operation(scope, query->setOperations, NIL);
		walk_from(scope, (Node *) query->jointree, &rowset->rows);
		foreach_ptr(SortGroupClause, clause, query->sortClause)
		{
			TargetEntry *entry = get_sortgroupclause_tle(clause, query->targetList);

			if (!entry->resjunk)
				wh_sources_through(&rowset->rows, wh_rowset_column(rowset, entry->resno),
								   WH_HOW_SORT);
		}
	}
	else if (query->commandType == CMD_SELECT)
	{
		rowset = wh_walk_target_list(scope, query->targetList);
		walk_select(scope, rowset);
	}
	else
	{
		WhSources rows = {0};

		if (query->jointree != NULL)
			walk_from(scope, (Node *) query->jointree, &rows);
		wh_walk_modify(scope, &rows);
		rowset = wh_walk_target_list(scope, query->returningList);
		wh_sources_through(&rowset->rows, &rows, WH_HOW_IDENTITY);
	}
	wh_walk_expression(scope, query->limitOffset, WH_HOW_FILTER, &rowset->rows);
	wh_walk_expression(scope, query->limitCount, WH_HOW_FILTER, &rowset->rows);
	return rowset;
}

WhScope *
wh_walk_scope(WhWalk *walk, Query *query, WhScope *parent)
{
	WhScope *scope = palloc0(sizeof(WhScope));

	scope->walk = walk;
	scope->parent = parent;
	scope->query = query;
	scope->entries = palloc0((list_length(query->rtable) + 1) * sizeof(WhRowset *));
	wh_walk_modifying_ctes(scope);
	return scope;
}

WhRowset *
wh_walk_target_list(WhScope *scope, List *list)
{
	WhRowset *rowset;
	int count = 0;

	foreach_ptr(TargetEntry, entry, list)
		count += entry->resjunk ? 0 : 1;
	rowset = wh_rowset_make(count);
	count = 0;
	foreach_ptr(TargetEntry, entry, list)
		if (!entry->resjunk)
			wh_walk_expression(scope, (Node *) entry->expr, WH_HOW_IDENTITY,
							   wh_rowset_column(rowset, ++count));
	return rowset;
}

/* walk_select finds the sources of the rows of a plain SELECT. */
static void
walk_select(WhScope *scope, WhRowset *rowset)
{
	Query *query = scope->query;
	WhSources *rows = &rowset->rows;

	walk_from(scope, (Node *) query->jointree, rows);
	walk_clauses(scope, query->groupClause, WH_HOW_GROUP_BY, rows);
	wh_walk_expression(scope, query->havingQual, WH_HOW_FILTER, rows);
	walk_clauses(scope, query->distinctClause, WH_HOW_GROUP_BY, rows);
	walk_clauses(scope, query->sortClause, WH_HOW_SORT, rows);
	if (query->hasTargetSRFs)
	{
		Sets sets = {scope, rows};

		find_sets((Node *) query->targetList, &sets);
	}
}

static void
walk_from(WhScope *scope, Node *item, WhSources *rows)
{
	if (item == NULL)
		return;
	switch (nodeTag(item))
	{
		case T_RangeTblRef:
		{
			WhRowset *entry = wh_walk_entry(scope, ((RangeTblRef *) item)->rtindex);

			wh_sources_rows(rows, &entry->rows, WH_HOW_IDENTITY);
			break;
		}
		case T_JoinExpr:
			walk_from(scope, ((JoinExpr *) item)->larg, rows);
			walk_from(scope, ((JoinExpr *) item)->rarg, rows);
			wh_walk_expression(scope, ((JoinExpr *) item)->quals, WH_HOW_JOIN, rows);
			break;
		case T_FromExpr:
			/* The arms of a set operation are no part of it; those of MERGE are joined. */
			foreach_ptr(Node, from, ((FromExpr *) item)->fromlist)
				walk_from(scope, from, rows);
			if (scope->query->commandType == CMD_MERGE)
				wh_walk_expression(scope, ((FromExpr *) item)->quals, WH_HOW_JOIN, rows);
			else
				wh_walk_condition(scope, ((FromExpr *) item)->quals, rows);
			break;
		default:
			elog(ERROR, "unexpected node in FROM: %d", (int) nodeTag(item));
	}
}

static void
walk_clauses(WhScope *scope, List *clauses, WhHow how, WhSources *rows)
{
	foreach_ptr(SortGroupClause, clause, clauses)
		wh_walk_expression(scope, get_sortgroupclause_expr(clause, scope->query->targetList), how,
						   rows);
}

/* find_sets: what a function that gives sets is called with says how many rows there are. */
static bool
find_sets(Node *node, void *arg)
{
	Sets *sets = arg;
	bool gives_set = false;

	if (node == NULL || IsA(node, SubLink))
		return false;
	if (IsA(node, FuncExpr))
		gives_set = ((FuncExpr *) node)->funcretset;
	else if (IsA(node, OpExpr))
		gives_set = ((OpExpr *) node)->opretset;
	if (gives_set)
		wh_walk_expression(sets->scope, node, WH_HOW_JOIN, sets->rows);
	return expression_tree_walker(node, find_sets, arg);
}

/*
 * walk_set_operation merges the arms.  Rows are compared as wholes: where that decides which there
 * are, every column is a source of the rows.  What EXCEPT takes away gives no values.
 */
static WhRowset *
walk_set_operation(WhScope *scope, Node *node, List *types)
{
	SetOperationStmt *operation = (SetOperationStmt *) node;
	WhRowset *left;
	WhRowset *right;
	WhRowset *result;

	check_stack_depth();
	if (IsA(node, RangeTblRef))
		return walk_arm(scope, (RangeTblRef *) node, types);
	left = walk_set_operation(scope, operation->larg, operation->colTypes);
	right = walk_set_operation(scope, operation->rarg, operation->colTypes);
	result = wh_rowset_make(list_length(operation->colTypes));
	wh_rowset_add(result, left);
	if (operation->op == SETOP_EXCEPT)
		wh_sources_rows(&result->rows, &right->rows, WH_HOW_FILTER);
	else
		wh_rowset_add(result, right);
	for (int i = 1; i <= result->ncolumns; i++)
	{
		if (operation->op != SETOP_UNION)
		{
			wh_sources_through(&result->rows, wh_rowset_column(left, i), WH_HOW_FILTER);
			wh_sources_through(&result->rows, wh_rowset_column(right, i), WH_HOW_FILTER);
		}
		if (!operation->all)
			wh_sources_through(&result->rows, wh_rowset_column(result, i), WH_HOW_GROUP_BY);
	}
	return result;
}

/* walk_arm: an arm whose column has another type than the result is cast when it runs. */
static WhRowset *
walk_arm(WhScope *scope, const RangeTblRef *ref, List *types)
{
	WhRowset *arm = wh_walk_entry(scope, ref->rtindex);
	RangeTblEntry *entry = rt_fetch(ref->rtindex, scope->query->rtable);
	WhRowset *result = wh_rowset_make(arm->ncolumns);
	int number = 0;

	foreach_ptr(TargetEntry, column, entry->subquery->targetList)
	{
		Oid type = exprType((Node *) column->expr);

		if (column->resjunk || number >= arm->ncolumns)
			continue;
		number++;
		wh_sources_through(wh_rowset_column(result, number), wh_rowset_column(arm, number),
						   number > list_length(types) ||
								   IsBinaryCoercible(type, list_nth_oid(types, number - 1)) ?
							   WH_HOW_IDENTITY :
							   WH_HOW_TRANSFORMATION);
	}
	wh_sources_through(&result->rows, &arm->rows, WH_HOW_IDENTITY);
	return result;
}
