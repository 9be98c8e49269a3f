/*
 * modify.c
 *		What INSERT, UPDATE, DELETE and MERGE write.
 *
 * Each column that is written has its sources, and so has the writing itself: which rows are
 * written, and whether.  RETURNING sees the rows as they are then.  Columns that are generated from
 * others follow.  What triggers and rules do besides is not seen.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "base/base.h"
#include "lineage/lineage.h"
#include "lineage/lineage_private.h"

static void walk_merge(WhScope *scope, WhRowset *written);
static void walk_conflict(WhScope *scope, WhRowset *written);
static List *arbiter_columns(const OnConflictExpr *conflict, Oid relid);
static List *add_keys(List *columns, const int16 *keys, int count);
static List *add_constraint_columns(List *columns, Oid constraint);
static List *add_unique_columns(List *columns, Oid relid);
static void write_columns(WhScope *scope, List *list, WhRowset *written);
static void keep_others(WhScope *scope, WhRowset *written, WhRowset *target);

void
wh_walk_modify(WhScope *scope, WhSources *rows)
{
	Query *query = scope->query;
	RangeTblEntry *target = rt_fetch(query->resultRelation, query->rtable);
	WhRowset *known = wh_walk_relation(scope->walk, target->relid);
	WhRowset *written = wh_rowset_make(known->ncolumns);
	bool keeps_rows = query->commandType != CMD_INSERT || query->onConflict != NULL;
	bool is_view = get_rel_relkind(target->relid) == RELKIND_VIEW;
	WhRowset *output;

	wh_sources_through(&written->rows, rows, WH_HOW_IDENTITY);
	if (query->commandType == CMD_UPDATE)
		wh_walk_policies(scope->walk, target->relid, 'w', &written->rows);
	else if (query->commandType == CMD_DELETE)
		wh_walk_policies(scope->walk, target->relid, 'd', &written->rows);
	if (query->commandType == CMD_INSERT || query->commandType == CMD_UPDATE)
		write_columns(scope, query->targetList, written);
	if (query->onConflict != NULL)
		walk_conflict(scope, written);
	if (query->commandType == CMD_MERGE)
		walk_merge(scope, written);
	if (!is_view)
		wh_walk_generated(scope->walk, target->relid, written, keeps_rows ? known : NULL, false);
	output = wh_rowset_make(written->ncolumns);
	wh_rowset_add(output, written);
	wh_walk_note_written(scope->walk, target->relid, output);
	/* RETURNING counts what the writing itself depends on, too. */
	wh_sources_through(rows, &written->rows, WH_HOW_IDENTITY);
	if (keeps_rows)
		keep_others(scope, written, known);
	scope->written = written;
}

void
wh_walk_note_written(WhWalk *walk, Oid relid, const WhRowset *rowset)
{
	WhOutput *output;

	foreach_ptr(WhOutput, other, walk->written)
		if (other->relid == relid)
		{
			wh_rowset_add(other->rowset, rowset);
			return;
		}
	output = palloc0(sizeof(WhOutput));
	output->relid = relid;
	output->rowset = wh_rowset_make(rowset->ncolumns);
	wh_rowset_add(output->rowset, rowset);
	walk->written = lappend(walk->written, output);
}

static void
walk_merge(WhScope *scope, WhRowset *written)
{
	wh_sources_rows(&written->rows, &wh_walk_entry(scope, scope->query->resultRelation)->rows,
					WH_HOW_IDENTITY);
	wh_walk_expression(scope, wh_compat_merge_condition(scope->query), WH_HOW_JOIN,
					   &written->rows);
	foreach_ptr(MergeAction, action, scope->query->mergeActionList)
	{
		wh_walk_expression(scope, action->qual, WH_HOW_CONDITIONAL, &written->rows);
		write_columns(scope, action->targetList, written);
	}
}

/*
 * walk_conflict: whether there is a conflict is found by comparing what is inserted with what is
 * there, along the columns of the arbiter.  EXCLUDED is the row that was to be inserted.
 */
static void
walk_conflict(WhScope *scope, WhRowset *written)
{
	OnConflictExpr *conflict = scope->query->onConflict;
	Oid relid = rt_fetch(scope->query->resultRelation, scope->query->rtable)->relid;
	WhRowset *target = wh_walk_relation(scope->walk, relid);
	WhRowset *excluded = wh_rowset_make(written->ncolumns);

	wh_rowset_add(excluded, written);
	wh_sources_rows(&written->rows, &target->rows, WH_HOW_IDENTITY);
	foreach_int(attnum, arbiter_columns(conflict, relid))
	{
		wh_sources_through(&written->rows, wh_rowset_column(excluded, attnum), WH_HOW_JOIN);
		wh_sources_through(&written->rows, wh_rowset_column(target, attnum), WH_HOW_JOIN);
	}
	if (conflict->action != ONCONFLICT_UPDATE)
		return;
	scope->entries[conflict->exclRelIndex - 1] = excluded;
	wh_walk_condition(scope, conflict->onConflictWhere, &written->rows);
	write_columns(scope, conflict->onConflictSet, written);
}

/* arbiter_columns: those that are named, those of the constraint, or of any unique index. */
static List *
arbiter_columns(const OnConflictExpr *conflict, Oid relid)
{
	List *columns = NIL;

	if (OidIsValid(conflict->constraint))
		return add_constraint_columns(NIL, conflict->constraint);
	if (conflict->arbiterElems == NIL)
		return add_unique_columns(NIL, relid);
	foreach_ptr(InferenceElem, element, conflict->arbiterElems)
		foreach_ptr(Var, var, pull_vars_of_level((Node *) element->expr, 0))
			columns = list_append_unique_int(columns, var->varattno);
	foreach_ptr(Var, var, pull_vars_of_level(conflict->arbiterWhere, 0))
		columns = list_append_unique_int(columns, var->varattno);
	return columns;
}

static List *
add_constraint_columns(List *columns, Oid constraint)
{
	HeapTuple tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	bool isnull;
	Datum value;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", constraint);
	value = SysCacheGetAttr(CONSTROID, tuple, Anum_pg_constraint_conkey, &isnull);
	if (!isnull)
	{
		ArrayType *keys = DatumGetArrayTypeP(value);

		columns = add_keys(columns, (int16 *) ARR_DATA_PTR(keys), ARR_DIMS(keys)[0]);
	}
	ReleaseSysCache(tuple);
	return columns;
}

static List *
add_unique_columns(List *columns, Oid relid)
{
	Relation relation = table_open(relid, AccessShareLock);

	foreach_oid(index, RelationGetIndexList(relation))
	{
		HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
		Form_pg_index form;

		if (!HeapTupleIsValid(tuple))
			continue;
		form = (Form_pg_index) GETSTRUCT(tuple);
		if (form->indisunique)
			columns = add_keys(columns, form->indkey.values, form->indnkeyatts);
		ReleaseSysCache(tuple);
	}
	table_close(relation, NoLock);
	return columns;
}

static List *
add_keys(List *columns, const int16 *keys, int count)
{
	for (int i = 0; i < count; i++)
		if (keys[i] > 0)
			columns = list_append_unique_int(columns, keys[i]);
	return columns;
}

static void
write_columns(WhScope *scope, List *list, WhRowset *written)
{
	foreach_ptr(TargetEntry, entry, list)
		if (!entry->resjunk)
			wh_walk_expression(scope, (Node *) entry->expr, WH_HOW_IDENTITY,
							   wh_rowset_column(written, entry->resno));
}

/* keep_others: rows that were there keep what is not written, and where several ways of writing
 * are possible, may keep what others write. */
static void
keep_others(WhScope *scope, WhRowset *written, WhRowset *target)
{
	for (int i = 0; i < written->ncolumns; i++)
		if (target->columns[i] != NULL &&
			(written->columns[i] == NULL || scope->query->commandType != CMD_UPDATE))
			wh_sources_through(wh_rowset_column(written, i + 1), target->columns[i],
							   WH_HOW_IDENTITY);
}
