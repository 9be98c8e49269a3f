/*
 * relation.c
 *		Where paths end: at tables; and the views on the way there.
 *
 * A partition counts as the table that it is a part of.  The policies of row security filter the
 * rows of a table, and all of them are looked at, whichever roles they are for: lineage is a
 * property of the query, not of who asks.  A relation is walked through once in a walk.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/prs2lock.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rowsecurity.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/base.h"
#include "lineage/lineage.h"
#include "lineage/lineage_private.h"

static WhRowset *make_table(Relation table);
static Oid root_of(Relation relation);
static bool uses_column(Node *node, void *context);

WhRowset *
wh_walk_relation(WhWalk *walk, Oid relid)
{
	bool found;
	WhRelation *known = hash_search(walk->relations, &relid, HASH_ENTER, &found);
	Relation relation;
	WhRowset *rowset;

	if (found && known->rowset == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("view %s reads itself", wh_sql_relation(relid))));
	if (found)
		return known->rowset;
	known->rowset = NULL;
	relation = relation_open(relid, AccessShareLock);
	if (relation->rd_rel->relkind == RELKIND_VIEW && walk->views == WH_VIEWS_EXPAND)
		rowset = wh_walk_query(walk, copyObject(wh_walk_view_query(relation)), NULL);
	else
		rowset = make_table(relation);
	relation_close(relation, NoLock);
	known = hash_search(walk->relations, &relid, HASH_FIND, NULL);
	known->rowset = rowset;
	/* A policy may read its own table: that one it then finds. */
	wh_walk_policies(walk, relid, 'r', &rowset->rows);
	return rowset;
}

Query *
wh_walk_view_query(Relation relation)
{
	RuleLock *rules = relation->rd_rules;

	if (relation->rd_rel->relkind != RELKIND_VIEW && relation->rd_rel->relkind != RELKIND_MATVIEW)
		return NULL;
	for (int i = 0; rules != NULL && i < rules->numLocks; i++)
		if (rules->rules[i]->event == CMD_SELECT)
			return linitial_node(Query, rules->rules[i]->actions);
	elog(ERROR, "view %s has no query", wh_sql_relation(RelationGetRelid(relation)));
}

static WhRowset *
make_table(Relation table)
{
	TupleDesc desc = RelationGetDescr(table);
	WhRowset *rowset = wh_rowset_make(desc->natts);
	Oid root = root_of(table);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		AttrNumber attnum = attribute->attnum;

		if (attribute->attisdropped)
			continue;
		if (root != RelationGetRelid(table))
			attnum = get_attnum(root, NameStr(attribute->attname));
		wh_sources_add(wh_rowset_column(rowset, i + 1), root, attnum, WH_HOW_IDENTITY);
	}
	wh_sources_add(&rowset->rows, root, 0, WH_HOW_ROWS);
	return rowset;
}

static Oid
root_of(Relation relation)
{
	List *ancestors;

	if (!relation->rd_rel->relispartition)
		return RelationGetRelid(relation);
	ancestors = get_partition_ancestors(RelationGetRelid(relation));
	return ancestors == NIL ? RelationGetRelid(relation) : llast_oid(ancestors);
}

void
wh_walk_policies(WhWalk *walk, Oid relid, char command, WhSources *into)
{
	Relation relation = relation_open(relid, AccessShareLock);
	List *conditions = NIL;

	if (relation->rd_rel->relrowsecurity && relation->rd_rsdesc != NULL)
		foreach_ptr(RowSecurityPolicy, policy, relation->rd_rsdesc->policies)
			if (policy->qual != NULL && (policy->polcmd == '*' || policy->polcmd == command))
				conditions = lappend(conditions, copyObject(policy->qual));
	relation_close(relation, NoLock);
	foreach_ptr(Node, condition, conditions)
		wh_walk_condition(wh_walk_row_scope(walk, relid, wh_walk_relation(walk, relid)), condition,
						  into);
}

WhScope *
wh_walk_row_scope(WhWalk *walk, Oid relid, WhRowset *row)
{
	Query *query = makeNode(Query);
	RangeTblEntry *entry = makeNode(RangeTblEntry);
	WhScope *scope;

	entry->rtekind = RTE_RELATION;
	entry->relid = relid;
	query->commandType = CMD_SELECT;
	query->rtable = list_make1(entry);
	scope = wh_walk_scope(walk, query, NULL);
	scope->entries[0] = row;
	return scope;
}

void
wh_walk_generated(WhWalk *walk, Oid relid, WhRowset *row, const WhRowset *known, bool all)
{
	Relation relation = table_open(relid, AccessShareLock);
	TupleDesc desc = RelationGetDescr(relation);
	WhRowset *now = wh_rowset_make(row->ncolumns);
	List *numbers = NIL;
	List *expressions = NIL;
	ListCell *number;
	ListCell *expression;

	for (int i = 0; i < desc->natts; i++)
		if (TupleDescAttr(desc, i)->attgenerated != '\0' && !TupleDescAttr(desc, i)->attisdropped)
		{
			numbers = lappend_int(numbers, i + 1);
			expressions = lappend(expressions, build_column_default(relation, i + 1));
		}
	table_close(relation, NoLock);
	for (int i = 0; i < now->ncolumns; i++)
		now->columns[i] = row->columns[i] != NULL || known == NULL ? row->columns[i] :
																	 known->columns[i];
	forboth(number, numbers, expression, expressions)
		if (all || uses_column(lfirst(expression), row))
			wh_walk_expression(wh_walk_row_scope(walk, relid, now), lfirst(expression),
							   WH_HOW_IDENTITY, wh_rowset_column(row, lfirst_int(number)));
}

/* uses_column says whether an expression over a row uses a column that is set in it. */
static bool
uses_column(Node *node, void *arg)
{
	WhRowset *row = arg;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		AttrNumber attnum = ((Var *) node)->varattno;

		return attnum <= 0 || row->columns[attnum - 1] != NULL;
	}
	return expression_tree_walker(node, uses_column, arg);
}
