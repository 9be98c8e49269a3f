/*
 * filter.c
 *		Row filters of publications, evaluated as pgoutput does.
 *
 * A filter belongs to an action of a publication; for one action the filters of all publications
 * are joined by OR, and a publication without a filter for the table lets all of its rows
 * through.  Filters see rows in the shape of the table that they are told as.  NULL is false.
 *
 * An UPDATE is asked twice, where its old row is logged: from no match to a match it is an INSERT,
 * the other way round a DELETE.  Filters of updates and deletes may use columns of the replica
 * identity alone (the server holds writers to it), so that the old row has all that they need.
 *
 * The expressions are those of the catalog, which CREATE PUBLICATION has held to immutable
 * built-in functions; nothing that a client sends is ever evaluated.  States and slots live in the
 * entry's context, values of an evaluation in the per-tuple context, reset before the next.
 */
#include "output/publish_private.h"

#include "access/htup_details.h"
#include "catalog/pg_publication_rel.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* Index of WhFilters.state. */
typedef enum FilterAction
{
	FILTER_INSERT,
	FILTER_UPDATE,
	FILTER_DELETE,
	FILTER_COUNT
} FilterAction;

struct WhFilters
{
	ExprState *state[FILTER_COUNT]; /* NULL: every row passes */
	EState *estate;
	int natts; /* of the table that rows are told as */
	const AttrNumber *map; /* its attnums to those of the tuple; NULL: the same */
	TupleTableSlot *old_slot;
	TupleTableSlot *new_slot;
};

static Node *read_filter(const Publication *publication, Relation target);
static EState *create_estate(Relation target);
static FilterAction filter_action(WhOp op);
static bool passes(const WhFilters *filters, ExprState *state, TupleTableSlot *slot,
				   const Datum *values, const bool *nulls);
static void fill_slot(const WhFilters *filters, TupleTableSlot *slot, const Datum *values,
					  const bool *nulls);

/*
 * wh_output_compile_filters reads the filters of the publications in the current context.  Returns
 * NULL where all rows pass.
 */
WhFilters *
wh_output_compile_filters(const WhPublished *published, Relation target, const AttrNumber *map)
{
	List *nodes[FILTER_COUNT] = {NIL, NIL, NIL};
	bool passes_all[FILTER_COUNT] = {false, false, false};
	WhFilters *filters = NULL;
	ListCell *cell;

	foreach(cell, published->publications)
	{
		const Publication *publication = (const Publication *) lfirst(cell);
		const PublicationActions *actions = &publication->pubactions;
		bool acts[FILTER_COUNT] = {actions->pubinsert, actions->pubupdate, actions->pubdelete};
		Node *node = read_filter(publication, target);

		for (int i = 0; i < FILTER_COUNT; i++)
		{
			if (acts[i] && node == NULL)
				passes_all[i] = true;
			else if (acts[i])
				nodes[i] = lappend(nodes[i], copyObject(node));
		}
	}
	for (int i = 0; i < FILTER_COUNT; i++)
	{
		if (passes_all[i] || nodes[i] == NIL)
			continue;
		if (filters == NULL)
		{
			TupleDesc desc = CreateTupleDescCopyConstr(RelationGetDescr(target));

			filters = palloc0(sizeof(WhFilters));
			filters->estate = create_estate(target);
			filters->natts = desc->natts;
			filters->map = map;
			filters->old_slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
			filters->new_slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
		}
		filters->state[i] = ExecPrepareExpr(make_orclause(nodes[i]), filters->estate);
	}
	return filters;
}

/* read_filter returns a publication's filter for a table, or NULL where it has none. */
static Node *
read_filter(const Publication *publication, Relation target)
{
	Oid relid = RelationGetRelid(target);
	HeapTuple tuple;
	Datum filter;
	bool is_null;
	Node *node = NULL;

	if (publication->alltables ||
		SearchSysCacheExists2(PUBLICATIONNAMESPACEMAP,
							  ObjectIdGetDatum(RelationGetNamespace(target)),
							  ObjectIdGetDatum(publication->oid)))
		return NULL;
	tuple = SearchSysCache2(PUBLICATIONRELMAP, ObjectIdGetDatum(relid),
							ObjectIdGetDatum(publication->oid));
	if (!HeapTupleIsValid(tuple))
		return NULL;
	filter = SysCacheGetAttr(PUBLICATIONRELMAP, tuple, Anum_pg_publication_rel_prqual, &is_null);
	if (!is_null)
		node = wh_compat_expand_generated(stringToNode(TextDatumGetCString(filter)), target);
	ReleaseSysCache(tuple);
	return node;
}

/* create_estate makes what expressions over a table's rows are evaluated in. */
static EState *
create_estate(Relation target)
{
	EState *estate = CreateExecutorState();
	RangeTblEntry *entry = makeNode(RangeTblEntry);

	entry->rtekind = RTE_RELATION;
	entry->relid = RelationGetRelid(target);
	entry->relkind = target->rd_rel->relkind;
	entry->rellockmode = AccessShareLock;
	wh_compat_init_range_table(estate, list_make1(entry));
	estate->es_output_cid = GetCurrentCommandId(false);
	return estate;
}

/* -------- evaluation -------- */

bool
wh_output_filter(WhOutputRelation *entry, Relation relation, HeapTuple old, HeapTuple tuple,
				 WhOp *op)
{
	const WhFilters *filters = entry->filters;
	ExprState *state = filters->state[filter_action(*op)];
	bool old_passes;
	bool new_passes;

	if (state == NULL)
		return true;
	if (old == NULL && tuple == NULL)
		return false;
	ResetPerTupleExprContext(filters->estate);
	if (tuple != NULL)
		heap_deform_tuple(tuple, RelationGetDescr(relation), entry->values, entry->nulls);
	if (old != NULL)
		heap_deform_tuple(old, RelationGetDescr(relation), entry->old_values, entry->old_nulls);
	if (old == NULL)
		return passes(filters, state, filters->new_slot, entry->values, entry->nulls);
	if (tuple == NULL)
		return passes(filters, state, filters->old_slot, entry->old_values, entry->old_nulls);

	wh_output_fill_unchanged(entry, RelationGetDescr(relation));
	old_passes = passes(filters, state, filters->old_slot, entry->old_values, entry->old_nulls);
	new_passes = passes(filters, state, filters->new_slot, entry->values, entry->nulls);
	if (new_passes && !old_passes)
		*op = WH_OP_INSERT;
	else if (old_passes && !new_passes)
		*op = WH_OP_DELETE;
	return old_passes || new_passes;
}

static FilterAction
filter_action(WhOp op)
{
	switch (op)
	{
		case WH_OP_INSERT:
			return FILTER_INSERT;
		case WH_OP_UPDATE:
			return FILTER_UPDATE;
		default:
			return FILTER_DELETE;
	}
}

static bool
passes(const WhFilters *filters, ExprState *state, TupleTableSlot *slot, const Datum *values,
	   const bool *nulls)
{
	ExprContext *context = GetPerTupleExprContext(filters->estate);
	bool is_null;
	Datum result;

	fill_slot(filters, slot, values, nulls);
	context->ecxt_scantuple = slot;
	result = ExecEvalExprSwitchContext(state, context, &is_null);
	return !is_null && DatumGetBool(result);
}

/* fill_slot shows values of a tuple in the shape of the table that rows are told as. */
static void
fill_slot(const WhFilters *filters, TupleTableSlot *slot, const Datum *values, const bool *nulls)
{
	ExecClearTuple(slot);
	for (int i = 0; i < filters->natts; i++)
	{
		int index = filters->map == NULL ? i : filters->map[i] - 1;

		slot->tts_isnull[i] = index < 0 || nulls[index];
		slot->tts_values[i] = slot->tts_isnull[i] ? (Datum) 0 : values[index];
	}
	ExecStoreVirtualTuple(slot);
}
