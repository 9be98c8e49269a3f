/*
 * join.c
 *		Compiling a query over several mirrors: aliases, expressions, and the equalities that join.
 *
 * FROM becomes text over relations that a statement binds as it needs: "wh.s1" s1 JOIN "wh.s2" s2
 * …, where "wh.s1" may be a mirror's state at a position, or images at several points of the
 * history at once.  For the latter there is a second text, in which rows of one point alone meet.
 * Expressions are deparsed against the mirrors themselves, so that columns that were renamed are
 * followed.
 *
 * Beside the text, the equalities of columns in ON and WHERE are kept: root.c finds by them which
 * rows of one table belong to a row of another.  Those of a LEFT JOIN tell which rows of its right
 * side there can be, and nothing about its left side.
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/plannodes.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "base/base.h"
#include "model/model.h"
#include "model/model_private.h"

/* One compilation. */
typedef struct Compile
{
	WhJoin *join;
	Query *query;
	List *context; /* for deparse_expression */
} Compile;

static bool collect_relations(Node *node, List **refs);
static void flatten_aliases(Query *query);
static void add_alias(Compile *compile, int rtindex);
static WhJoinTable *find_table(WhJoin *join, Oid mirror);
static void make_context(Compile *compile);
static bool renumber(Node *node, void *context);
static bool note_columns(Node *node, void *context);
static Bitmapset *append_from(Compile *compile, Node *node, bool is_nullable, StringInfo plain,
							  StringInfo points, int *first);
static void add_equalities(Compile *compile, Node *quals, Bitmapset *decides, bool is_inner);
static void add_equality(Compile *compile, OpExpr *expr, Bitmapset *decides, bool is_inner);
static Var *plain_column(Node *node);
static char *deparse(const Compile *compile, Node *node);

List *
wh_model_relations(Query *query)
{
	List *refs = NIL;
	ListCell *cell;

	if (query->jointree == NULL)
		return NIL;
	foreach(cell, query->jointree->fromlist)
	{
		if (!collect_relations(lfirst(cell), &refs))
			return NIL;
	}
	foreach(cell, refs)
	{
		if (rt_fetch(((RangeTblRef *) lfirst(cell))->rtindex, query->rtable)->rtekind !=
			RTE_RELATION)
			return NIL;
	}
	return refs;
}

/* collect_relations adds the relations below a node of FROM; false when there is another join than
 * inner and left. */
static bool
collect_relations(Node *node, List **refs)
{
	JoinExpr *join;

	if (IsA(node, RangeTblRef))
	{
		*refs = lappend(*refs, node);
		return true;
	}
	if (!IsA(node, JoinExpr))
		return false;
	join = (JoinExpr *) node;
	return (join->jointype == JOIN_INNER || join->jointype == JOIN_LEFT) &&
		   collect_relations(join->larg, refs) && collect_relations(join->rarg, refs);
}

WhJoinAlias *
wh_model_join_alias(const WhJoin *join, int number)
{
	return list_nth(join->aliases, number - 1);
}

void
wh_model_join_compile(WhQuery *result, Query *query)
{
	Compile compile = {palloc0(sizeof(WhJoin)), query, NIL};
	StringInfoData plain;
	StringInfoData points;
	int first = 0;
	ListCell *cell;

	flatten_aliases(query);
	foreach(cell, wh_model_relations(query))
		add_alias(&compile, ((RangeTblRef *) lfirst(cell))->rtindex);
	make_context(&compile);
	(void) renumber((Node *) query->targetList, compile.join);
	(void) renumber((Node *) query->jointree, compile.join);
	(void) note_columns((Node *) query->targetList, compile.join);
	(void) note_columns((Node *) query->jointree, compile.join);

	initStringInfo(&plain);
	initStringInfo(&points);
	foreach(cell, query->jointree->fromlist)
	{
		StringInfoData item;
		int number = 0;

		initStringInfo(&item);
		wh_sql_append(&plain, "%s", first == 0 ? "" : " CROSS JOIN ");
		wh_sql_append(&points, "%s", first == 0 ? "" : " JOIN ");
		(void) append_from(&compile, lfirst(cell), false, &plain, &item, &number);
		wh_sql_append(&points, "%s", item.data);
		if (first != 0)
			wh_sql_append(&points, " ON s%d.\"wh.point\" OPERATOR(pg_catalog.=) s%d.\"wh.point\"",
						  number, first);
		else
			first = number;
	}
	add_equalities(&compile, query->jointree->quals, NULL, true);
	compile.join->from = plain.data;
	compile.join->from_points = points.data;
	foreach(cell, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, cell);
		WhModelColumn *column;

		if (entry->resjunk)
			continue;
		column = palloc0(sizeof(WhModelColumn));
		column->name = pstrdup(entry->resname);
		column->type = exprType((Node *) entry->expr);
		column->typmod = exprTypmod((Node *) entry->expr);
		column->collation = exprCollation((Node *) entry->expr);
		column->expression = deparse(&compile, (Node *) entry->expr);
		if (IsA(entry->expr, Var))
		{
			column->attnum = ((Var *) entry->expr)->varattno;
			column->alias = ((Var *) entry->expr)->varno;
		}
		result->columns = lappend(result->columns, column);
	}
	if (query->jointree->quals != NULL)
		result->condition = deparse(&compile, query->jointree->quals);
	result->join = compile.join;
	foreach(cell, compile.join->tables)
		result->sources = lappend(result->sources, ((WhJoinTable *) lfirst(cell))->table);
	result->source = linitial(result->sources);
}

/* flatten_aliases replaces columns of joins (those that USING merges) by those of the mirrors. */
static void
flatten_aliases(Query *query)
{
	query->targetList =
		(List *) wh_compat_flatten_join_columns(query, (Node *) query->targetList);
	query->jointree =
		(FromExpr *) wh_compat_flatten_join_columns(query, (Node *) query->jointree);
}

static void
add_alias(Compile *compile, int rtindex)
{
	WhJoinAlias *alias = palloc0(sizeof(WhJoinAlias));

	alias->number = list_length(compile->join->aliases) + 1;
	alias->varno = rtindex;
	alias->location = -1;
	alias->table = find_table(compile->join, rt_fetch(rtindex, compile->query->rtable)->relid);
	compile->join->aliases = lappend(compile->join->aliases, alias);
}

static WhJoinTable *
find_table(WhJoin *join, Oid mirror)
{
	WhJoinTable *result;
	ListCell *cell;

	foreach(cell, join->tables)
	{
		if (((WhJoinTable *) lfirst(cell))->table->mirror == mirror)
			return lfirst(cell);
	}
	result = palloc0(sizeof(WhJoinTable));
	result->number = list_length(join->tables) + 1;
	result->table = wh_changelog_table_of_mirror(mirror);
	if (result->table == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("the query of the model reads %s, which is no mirror any more",
						wh_sql_relation(mirror)),
				 errhint("Drop the model with walhouse.drop_model() and declare it again.")));
	foreach(cell, result->table->key)
	{
		const char *column = wh_model_mirror_column(result->table, lfirst_int(cell));

		result->columns = bms_add_member(result->columns, get_attnum(mirror, column));
	}
	join->tables = lappend(join->tables, result);
	return result;
}

/* make_context makes what deparse_expression needs to know of the aliases s1, s2, … */
static void
make_context(Compile *compile)
{
	PlannedStmt *statement = makeNode(PlannedStmt);
	List *names = NIL;
	ListCell *cell;

	foreach(cell, compile->join->aliases)
	{
		WhJoinAlias *alias = lfirst(cell);

		statement->rtable = lappend(statement->rtable,
									rt_fetch(alias->varno, compile->query->rtable));
		names = lappend(names, psprintf("s%d", alias->number));
	}
	compile->context = deparse_context_for_plan_tree(statement, names);
}

/* renumber makes columns refer to aliases by their place. */
static bool
renumber(Node *node, void *context)
{
	ListCell *cell;
	Var *var;

	if (node == NULL)
		return false;
	if (!IsA(node, Var))
		return expression_tree_walker(node, renumber, context);
	var = (Var *) node;
	foreach(cell, ((WhJoin *) context)->aliases)
	{
		WhJoinAlias *alias = lfirst(cell);

		if (var->varno == alias->varno)
		{
			var->varno = alias->number;
			/* Else it would be deparsed as the user wrote it. */
			var->varnosyn = 0;
			var->varattnosyn = 0;
			return false;
		}
	}
	elog(ERROR, "column of an unknown relation in the query of a model");
}

static bool
note_columns(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		WhJoinTable *table = wh_model_join_alias(context, ((Var *) node)->varno)->table;

		table->columns = bms_add_member(table->columns, ((Var *) node)->varattno);
		return false;
	}
	return expression_tree_walker(node, note_columns, context);
}

/*
 * append_from appends a node of FROM to both texts, and notes its equalities; it returns the
 * aliases below it, and *first is one of them whose row is always there.
 */
static Bitmapset *
append_from(Compile *compile, Node *node, bool is_nullable, StringInfo plain, StringInfo points,
			int *first)
{
	JoinExpr *join = (JoinExpr *) node;
	bool is_left;
	Bitmapset *left;
	Bitmapset *right;
	int left_first = 0;
	int right_first = 0;

	if (IsA(node, RangeTblRef))
	{
		ListCell *cell;

		foreach(cell, compile->join->aliases)
		{
			WhJoinAlias *alias = lfirst(cell);

			if (alias->varno != ((RangeTblRef *) node)->rtindex)
				continue;
			alias->is_nullable = is_nullable;
			*first = alias->number;
			wh_sql_append(plain, "\"wh.s%d\" s%d", alias->number, alias->number);
			wh_sql_append(points, "\"wh.s%d\" s%d", alias->number, alias->number);
			return bms_make_singleton(alias->number);
		}
		elog(ERROR, "unknown relation in the query of a model");
	}
	is_left = join->jointype == JOIN_LEFT;
	wh_sql_append(plain, "(");
	wh_sql_append(points, "(");
	left = append_from(compile, join->larg, is_nullable, plain, points, &left_first);
	wh_sql_append(plain, is_left ? " LEFT JOIN " : " JOIN ");
	wh_sql_append(points, is_left ? " LEFT JOIN " : " JOIN ");
	right = append_from(compile, join->rarg, is_nullable || is_left, plain, points, &right_first);
	wh_sql_append(plain, " ON %s)",
				  join->quals == NULL ? "true" : deparse(compile, join->quals));
	wh_sql_append(points,
				  " ON s%d.\"wh.point\" OPERATOR(pg_catalog.=) s%d.\"wh.point\" AND (%s))",
				  right_first, left_first,
				  join->quals == NULL ? "true" : deparse(compile, join->quals));
	add_equalities(compile, join->quals, is_left ? right : NULL, !is_left && !is_nullable);
	*first = left_first;
	return bms_union(left, right);
}

static void
add_equalities(Compile *compile, Node *quals, Bitmapset *decides, bool is_inner)
{
	ListCell *cell;

	if (quals == NULL)
		return;
	if (IsA(quals, List))
	{
		foreach(cell, (List *) quals)
			add_equalities(compile, lfirst(cell), decides, is_inner);
	}
	else if (is_andclause(quals))
		add_equalities(compile, (Node *) ((BoolExpr *) quals)->args, decides, is_inner);
	else if (IsA(quals, OpExpr))
		add_equality(compile, (OpExpr *) quals, decides, is_inner);
}

static void
add_equality(Compile *compile, OpExpr *expr, Bitmapset *decides, bool is_inner)
{
	WhJoinEquality *equality;
	Var *left;
	Var *right;

	if (list_length(expr->args) != 2)
		return;
	left = plain_column(linitial(expr->args));
	right = plain_column(lsecond(expr->args));
	if (left == NULL || right == NULL || left->varno == right->varno ||
		!op_mergejoinable(expr->opno, exprType(linitial(expr->args))) ||
		get_func_rettype(get_opcode(expr->opno)) != exprType((Node *) expr))
		return;
	equality = palloc0(sizeof(WhJoinEquality));
	equality->alias[0] = left->varno;
	equality->attnum[0] = left->varattno;
	equality->alias[1] = right->varno;
	equality->attnum[1] = right->varattno;
	equality->text = deparse(compile, (Node *) expr);
	equality->decides = decides;
	equality->is_inner = is_inner;
	compile->join->equalities = lappend(compile->join->equalities, equality);
}

/* plain_column returns the column that an expression is, perhaps under another name of its type. */
static Var *
plain_column(Node *node)
{
	while (node != NULL && IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return node != NULL && IsA(node, Var) ? (Var *) node : NULL;
}

static char *
deparse(const Compile *compile, Node *node)
{
	return deparse_expression(node, compile->context, true, false);
}
