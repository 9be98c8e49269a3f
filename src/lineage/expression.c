/*
 * expression.c
 *		From where the value of an expression comes.
 *
 * The way down an expression carries how what is found there bears on the whole: a plain column is
 * the value itself, a function makes it a transformation, the test of a CASE a condition.
 * Subqueries bring the sources of their rows with them.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "lineage/lineage.h"
#include "lineage/lineage_private.h"

typedef struct Context
{
	WhScope *scope;
	WhHow how;
	WhSources *into;
} Context;

/* What a condition is about: the relations that it names. */
typedef struct Named
{
	int count;
	int level;
	int varno;
} Named;

static bool walk(Node *node, void *context);
static bool walk_deeper(Node *node, const Context *context);
static void walk_as(Node *node, const Context *context, WhHow how);
static void walk_var(const Var *var, const Context *context);
static void walk_parameter(const Param *parameter, const Context *context);
static Query *multi_assigned(WhScope *scope, int id);
static void walk_function(Node *node, Oid function, List *arguments, const Context *context);
static bool is_coercion_to_length(const FuncExpr *call);
static void walk_aggregate(const Aggref *aggregate, const Context *context);
static void walk_window(const WindowFunc *window, const Context *context);
static void walk_case(const CaseExpr *expression, const Context *context);
static void walk_coalesce(const CoalesceExpr *expression, const Context *context);
static void walk_tested(Node *node, const Context *context);
static void walk_field(const FieldSelect *select, const Context *context);
static void walk_sublink(const SubLink *link, const Context *context);
static bool note_function(Oid function, void *walk);
static bool is_join(Node *condition);
static bool find_named(Node *node, void *context);

void
wh_walk_expression(WhScope *scope, Node *node, WhHow how, WhSources *into)
{
	Context context = {scope, how, into};

	walk(node, &context);
}

void
wh_walk_condition(WhScope *scope, Node *condition, WhSources *into)
{
	if (condition == NULL)
		return;
	if (is_andclause(condition))
	{
		foreach_ptr(Node, part, ((BoolExpr *) condition)->args)
			wh_walk_condition(scope, part, into);
		return;
	}
	wh_walk_expression(scope, condition, is_join(condition) ? WH_HOW_JOIN : WH_HOW_FILTER, into);
}

static bool
walk(Node *node, void *arg)
{
	const Context *context = arg;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Var:
			walk_var((Var *) node, context);
			return false;
		case T_Param:
			walk_parameter((Param *) node, context);
			return false;
		case T_List:
		case T_TargetEntry:
		case T_RelabelType:
		case T_CollateExpr:
		case T_CoerceToDomain:
		case T_NamedArgExpr:
			return expression_tree_walker(node, walk, arg);
		case T_FuncExpr:
			walk_function(node, ((FuncExpr *) node)->funcid, ((FuncExpr *) node)->args, context);
			return false;
		case T_OpExpr:
			walk_function(node, ((OpExpr *) node)->opfuncid, ((OpExpr *) node)->args, context);
			return false;
		case T_Aggref:
			walk_aggregate((Aggref *) node, context);
			return false;
		case T_GroupingFunc:
			walk_as((Node *) ((GroupingFunc *) node)->args, context, WH_HOW_GROUP_BY);
			return false;
		case T_WindowFunc:
			walk_window((WindowFunc *) node, context);
			return false;
		case T_CaseExpr:
			walk_case((CaseExpr *) node, context);
			return false;
		case T_CoalesceExpr:
			walk_coalesce((CoalesceExpr *) node, context);
			return false;
		case T_NullIfExpr:
			walk_tested(linitial(((NullIfExpr *) node)->args), context);
			walk_as(lsecond(((NullIfExpr *) node)->args), context, WH_HOW_CONDITIONAL);
			return false;
		case T_FieldSelect:
			walk_field((FieldSelect *) node, context);
			return false;
		case T_SubLink:
			walk_sublink((SubLink *) node, context);
			return false;
		default:
			return walk_deeper(node, context);
	}
}

/* walk_deeper goes on below a node that makes its value of theirs. */
static bool
walk_deeper(Node *node, const Context *context)
{
	Context deeper = *context;

	check_functions_in_node(node, note_function, context->scope->walk);
	deeper.how = wh_how_through(context->how, WH_HOW_TRANSFORMATION);
	return expression_tree_walker(node, walk, &deeper);
}

static void
walk_as(Node *node, const Context *context, WhHow how)
{
	Context deeper = *context;

	deeper.how = wh_how_through(context->how, how);
	walk(node, &deeper);
}

static void
walk_var(const Var *var, const Context *context)
{
	WhScope *scope = context->scope;

	for (Index level = 0; level < var->varlevelsup && scope != NULL; level++)
		scope = scope->parent;
	if (scope == NULL)
		elog(ERROR, "a column refers to no query around it");
	if (scope->written != NULL && var->varno == scope->query->resultRelation &&
		!wh_compat_var_is_old(var) && var->varattno >= 0)
	{
		if (var->varattno > 0)
			wh_sources_through(context->into, wh_rowset_column(scope->written, var->varattno),
							   context->how);
		for (int i = 0; var->varattno == 0 && i < scope->written->ncolumns; i++)
			wh_sources_through(context->into, wh_rowset_column(scope->written, i + 1),
							   wh_how_through(context->how, WH_HOW_TRANSFORMATION));
		return;
	}
	wh_walk_column(scope, var->varno, var->varattno, context->how, context->into);
}

/* walk_parameter: those of a function stand for its arguments (function.c), those of a test against
 * a subquery, and of SET (…) = (SELECT …), for the columns of the subquery. */
static void
walk_parameter(const Param *parameter, const Context *context)
{
	WhScope *scope = context->scope;
	Query *query;
	WhRowset *rowset;

	switch (parameter->paramkind)
	{
		case PARAM_EXTERN:
			wh_sources_add(context->into, InvalidOid, parameter->paramid, context->how);
			break;
		case PARAM_SUBLINK:
			if (scope->sublink != NULL && parameter->paramid <= scope->sublink->ncolumns)
				wh_sources_through(
					context->into,
					wh_rowset_column((WhRowset *) scope->sublink, parameter->paramid),
					context->how);
			break;
		case PARAM_MULTIEXPR:
			query = multi_assigned(scope, parameter->paramid >> 16);
			if (query == NULL)
				break;
			rowset = wh_walk_query(scope->walk, query, scope);
			wh_sources_through(context->into,
							   wh_rowset_column(rowset, parameter->paramid & 0xFFFF),
							   context->how);
			wh_sources_rows(context->into, &rowset->rows, context->how);
			break;
		default:
			break;
	}
}

/* multi_assigned finds the subquery of SET (…) = (SELECT …) by its number. */
static Query *
multi_assigned(WhScope *scope, int id)
{
	List *lists = list_make1(scope->query->targetList);

	if (scope->query->onConflict != NULL)
		lists = lappend(lists, scope->query->onConflict->onConflictSet);
	foreach_ptr(MergeAction, action, scope->query->mergeActionList)
		lists = lappend(lists, action->targetList);
	foreach_ptr(List, list, lists)
		foreach_ptr(TargetEntry, entry, list)
		{
			SubLink *link = (SubLink *) entry->expr;

			if (link != NULL && IsA(link, SubLink) && link->subLinkType == MULTIEXPR_SUBLINK &&
				link->subLinkId == id)
				return castNode(Query, link->subselect);
		}
	return NULL;
}

/* walk_function: a function whose body is known gives what its body gives; casts that only hold a
 * value to a column's length leave it what it is. */
static void
walk_function(Node *node, Oid function, List *arguments, const Context *context)
{
	WhRowset *rowset;

	if (IsA(node, FuncExpr) && is_coercion_to_length((FuncExpr *) node))
	{
		walk(linitial(arguments), (void *) context);
		return;
	}
	rowset = function < FirstUnpinnedObjectId ? NULL :
												wh_walk_call(context->scope, function, arguments);
	if (rowset == NULL)
	{
		walk_deeper(node, context);
		return;
	}
	for (int i = 0; i < rowset->ncolumns; i++)
		wh_sources_through(context->into, wh_rowset_column(rowset, i + 1),
						   rowset->ncolumns == 1 ?
							   context->how :
							   wh_how_through(context->how, WH_HOW_TRANSFORMATION));
	wh_sources_rows(context->into, &rowset->rows, context->how);
}

static bool
is_coercion_to_length(const FuncExpr *call)
{
	return call->funcformat == COERCE_IMPLICIT_CAST &&
		   exprIsLengthCoercion((const Node *) call, NULL) &&
		   exprType(linitial(call->args)) == call->funcresulttype;
}

static void
walk_aggregate(const Aggref *aggregate, const Context *context)
{
	note_function(aggregate->aggfnoid, context->scope->walk);
	walk_as((Node *) aggregate->aggdirectargs, context, WH_HOW_AGGREGATION);
	foreach_ptr(TargetEntry, entry, aggregate->args)
		if (!entry->resjunk)
			walk_as((Node *) entry->expr, context, WH_HOW_AGGREGATION);
	foreach_ptr(SortGroupClause, clause, aggregate->aggorder)
		walk_as((Node *) get_sortgroupclause_expr(clause, aggregate->args), context, WH_HOW_SORT);
	foreach_ptr(SortGroupClause, clause, aggregate->aggdistinct)
		walk_as((Node *) get_sortgroupclause_expr(clause, aggregate->args), context,
				WH_HOW_GROUP_BY);
	walk_as((Node *) aggregate->aggfilter, context, WH_HOW_FILTER);
}

static void
walk_window(const WindowFunc *window, const Context *context)
{
	Query *query = context->scope->query;

	note_function(window->winfnoid, context->scope->walk);
	walk_as((Node *) window->args, context,
			window->winagg ? WH_HOW_AGGREGATION : WH_HOW_TRANSFORMATION);
	walk_as((Node *) window->aggfilter, context, WH_HOW_FILTER);
	foreach_ptr(WindowClause, clause, query->windowClause)
	{
		if (clause->winref != window->winref)
			continue;
		foreach_ptr(SortGroupClause, part, clause->partitionClause)
			walk_as((Node *) get_sortgroupclause_expr(part, query->targetList), context,
					WH_HOW_WINDOW);
		foreach_ptr(SortGroupClause, order, clause->orderClause)
			walk_as((Node *) get_sortgroupclause_expr(order, query->targetList), context,
					WH_HOW_WINDOW);
		walk_as(clause->startOffset, context, WH_HOW_WINDOW);
		walk_as(clause->endOffset, context, WH_HOW_WINDOW);
	}
}

static void
walk_case(const CaseExpr *expression, const Context *context)
{
	walk_as((Node *) expression->arg, context, WH_HOW_CONDITIONAL);
	foreach_ptr(CaseWhen, branch, expression->args)
	{
		walk_as((Node *) branch->expr, context, WH_HOW_CONDITIONAL);
		walk_as((Node *) branch->result, context, WH_HOW_TRANSFORMATION);
	}
	walk_as((Node *) expression->defresult, context, WH_HOW_TRANSFORMATION);
}

/* walk_coalesce: all but the last argument are tested for NULL. */
static void
walk_coalesce(const CoalesceExpr *expression, const Context *context)
{
	foreach_ptr(Node, argument, expression->args)
		if (argument != llast(expression->args))
			walk_tested(argument, context);
		else
			walk_as(argument, context, WH_HOW_TRANSFORMATION);
}

/* walk_tested: a value is used, and decides besides.  It is walked through once for both, or what
 * is nested would be walked through so many times as two to the power of its depth. */
static void
walk_tested(Node *node, const Context *context)
{
	WhSources sources = {0};

	if (!wh_how_is_direct(context->how))
	{
		walk(node, (void *) context);
		return;
	}
	wh_walk_expression(context->scope, node, WH_HOW_IDENTITY, &sources);
	wh_sources_through(context->into, &sources,
					   wh_how_through(context->how, WH_HOW_TRANSFORMATION));
	wh_sources_through(context->into, &sources, WH_HOW_CONDITIONAL);
}

/* walk_field: a field of a row is that column of it, where the row is seen through. */
static void
walk_field(const FieldSelect *select, const Context *context)
{
	Node *row = (Node *) select->arg;
	FuncExpr *call = (FuncExpr *) row;

	if (IsA(row, Var) && ((Var *) row)->varattno == 0)
	{
		Var field = *(Var *) row;

		field.varattno = select->fieldnum;
		walk_var(&field, context);
	}
	else if (IsA(row, RowExpr) && select->fieldnum <= list_length(((RowExpr *) row)->args))
		walk(list_nth(((RowExpr *) row)->args, select->fieldnum - 1), (void *) context);
	else if (IsA(row, FuncExpr) && call->funcid >= FirstUnpinnedObjectId)
	{
		WhRowset *rowset = wh_walk_call(context->scope, call->funcid, call->args);

		if (rowset == NULL || select->fieldnum > rowset->ncolumns || rowset->ncolumns == 1)
		{
			walk_deeper((Node *) select, context);
			return;
		}
		wh_sources_through(context->into, wh_rowset_column(rowset, select->fieldnum),
						   context->how);
		wh_sources_rows(context->into, &rowset->rows, context->how);
	}
	else
		walk_deeper((Node *) select, context);
}

static void
walk_sublink(const SubLink *link, const Context *context)
{
	WhScope *scope = context->scope;
	const WhRowset *outer = scope->sublink;
	WhRowset *rowset;

	/* What SET (…) = (SELECT …) gives is asked for by its parameters. */
	if (link->subLinkType == MULTIEXPR_SUBLINK)
		return;
	rowset = wh_walk_query(scope->walk, castNode(Query, link->subselect), scope);
	switch (link->subLinkType)
	{
		case EXISTS_SUBLINK:
			break;
		case EXPR_SUBLINK:
			wh_sources_through(context->into, wh_rowset_column(rowset, 1), context->how);
			break;
		case ARRAY_SUBLINK:
			wh_sources_through(context->into, wh_rowset_column(rowset, 1),
							   wh_how_through(context->how, WH_HOW_AGGREGATION));
			break;
		default:
			scope->sublink = rowset;
			walk_as(link->testexpr, context, WH_HOW_TRANSFORMATION);
			scope->sublink = outer;
			break;
	}
	wh_sources_rows(context->into, &rowset->rows, context->how);
}

static bool
note_function(Oid function, void *arg)
{
	wh_walk_note_function(arg, function);
	return false;
}

/* is_join: a condition that names two relations joins them, and so does a test against the rows of
 * a subquery. */
static bool
is_join(Node *condition)
{
	Named named = {0};

	if (is_notclause(condition))
		condition = linitial(((BoolExpr *) condition)->args);
	if (IsA(condition, SubLink))
		return ((SubLink *) condition)->subLinkType == ANY_SUBLINK ||
			   ((SubLink *) condition)->subLinkType == ALL_SUBLINK;
	find_named(condition, &named);
	return named.count > 1;
}

static bool
find_named(Node *node, void *arg)
{
	Named *named = arg;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var *var = (Var *) node;

		if (named->count > 0 && named->level == var->varlevelsup && named->varno == var->varno)
			return false;
		named->level = var->varlevelsup;
		named->varno = var->varno;
		return ++named->count > 1;
	}
	if (IsA(node, SubLink))
		return find_named(((SubLink *) node)->testexpr, named);
	return expression_tree_walker(node, find_named, arg);
}
