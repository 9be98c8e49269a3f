/*
 * formula.c
 *		SQL expressions that are computed on rows without a statement around them.
 *
 * A statement costs its planning, and for each row the executor's way through a plan; where rows
 * are at hand one by one, in C, there is nothing to plan.  The same text that a statement would
 * have in its list of targets is parsed and analysed over one relation that has the row's columns,
 * and what comes out is prepared as a statement's expressions are: functions and operators, casts
 * and collations are the same, and so are the privileges that are asked for, those of the user who
 * compiles.  What only a plan can compute (a subquery, an aggregate, a set, a whole row) is
 * refused.
 *
 * A formula lives in the context that is current when it is compiled, and is valid for the rest
 * of the transaction, while settings and user stay what they are.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"

#include "base/base.h"

#define ROW_NAME "wh.row"

struct WhFormula
{
	ExprContext *context;
	ProjectionInfo *projection;
};

static Query *analyse(const char *targets, const char *alias, TupleDesc desc);
static bool needs_plan(const Query *query);
static bool is_whole_row(Node *node, void *arg);

WhFormula *
wh_formula_compile(const char *targets, const char *alias, TupleDesc desc)
{
	Query *query = analyse(targets, alias, desc);
	WhFormula *formula;
	TupleTableSlot *result;
	List *list = NIL;

	if (needs_plan(query))
		return NULL;
	foreach_ptr(TargetEntry, target, query->targetList)
	{
		target->expr = expression_planner(target->expr);
		list = lappend(list, target);
	}
	formula = palloc0(sizeof(WhFormula));
	formula->context = CreateStandaloneExprContext();
	result = MakeSingleTupleTableSlot(ExecTypeFromTL(list), &TTSOpsVirtual);
	formula->projection = ExecBuildProjectionInfo(list, formula->context, result, NULL, desc);
	return formula;
}

/* analyse makes a query of "SELECT targets" over a relation that has the row's columns. */
static Query *
analyse(const char *targets, const char *alias, TupleDesc desc)
{
	EphemeralNamedRelation relation = palloc0(sizeof(EphemeralNamedRelationData));
	QueryEnvironment *environment = create_queryEnv();
	char *sql = wh_sql("SELECT %s FROM %I %I", targets, ROW_NAME, alias);
	List *statements = raw_parser(sql, RAW_PARSE_DEFAULT);

	if (list_length(statements) != 1)
		elog(ERROR, "a formula is more than a list of targets: %s", targets);
	relation->md.name = ROW_NAME;
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->md.tupdesc = desc;
	relation->md.enrtuples = 1;
	register_ENR(environment, relation);
	return parse_analyze_fixedparams(linitial(statements), sql, NULL, 0, environment);
}

static bool
needs_plan(const Query *query)
{
	return query->commandType != CMD_SELECT || query->hasSubLinks || query->hasAggs ||
		   query->hasWindowFuncs || query->hasTargetSRFs || query->hasModifyingCTE ||
		   query->cteList != NIL || query->groupClause != NIL || query->sortClause != NIL ||
		   query->distinctClause != NIL || query->limitCount != NULL ||
		   list_length(query->rtable) != 1 || query->jointree->quals != NULL ||
		   is_whole_row((Node *) query->targetList, NULL);
}

static bool
is_whole_row(Node *node, void *arg)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return ((Var *) node)->varattno <= 0;
	return expression_tree_walker(node, is_whole_row, arg);
}

TupleDesc
wh_formula_desc(const WhFormula *formula)
{
	return formula->projection->pi_state.resultslot->tts_tupleDescriptor;
}

TupleTableSlot *
wh_formula_compute(WhFormula *formula, TupleTableSlot *row)
{
	formula->context->ecxt_scantuple = row;
	return ExecProject(formula->projection);
}

void
wh_formula_reset(WhFormula *formula)
{
	ExecClearTuple(formula->projection->pi_state.resultslot);
	ResetExprContext(formula->context);
}

void
wh_formula_close(WhFormula *formula)
{
	ExecDropSingleTupleTableSlot(formula->projection->pi_state.resultslot);
	FreeExprContext(formula->context, true);
	pfree(formula);
}
