/*
 * append.c
 *		Rows into logs, txn and mirrors, without SQL.
 *
 * Rows are gathered and inserted by the hundreds, with their index entries, where the relation
 * has no triggers, checks and generated columns, and updates and deletes go straight to the heap;
 * elsewhere all goes one by one through the executor, and triggers that come after a row fire
 * before the next one is written.  The relation is looked at when it is opened, which is once per
 * ingest.  A log row goes straight into
 * its partition: partitions lie on a grid of the feed's own size, fixed when the feed was made,
 * and their name says where they begin.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/hio.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "parser/parse_relation.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "changelog/changelog.h"
#include "changelog/changelog_private.h"
#include "partition/partition.h"

#define APPEND_ROWS 500

struct WhAppend
{
	MemoryContext context; /* slots live here, whoever's turn it is */
	MemoryContext flush; /* of tuples and index entries, until they are in */
	Relation rel;
	WhGrowth growth; /* of the heap */
	ResultRelInfo *info;
	BulkInsertState bulk;
	bool multi; /* the fast path may be taken */
	int *not_null; /* columns, from 0 */
	int not_null_count;
	WhTree **trees; /* by index; NULL: a row's entries are inserted by the executor */
	int count; /* rows waiting in slots */
	TupleDesc desc; /* of the slots: a copy, which nobody counts references to */
	TupleTableSlot *slots[APPEND_ROWS];
	TupleTableSlot *update; /* likewise, of the row that an update writes */
	MemoryContext keys; /* of these: entries of the key's index for updated rows, to be inserted */
	IndexTuple *key_entries;
	int key_count;
	int key_index; /* the key's index among those of info */
	/* for rows that go through the executor; NULL: there was none yet */
	EState *estate;
	EPQState epq;
	TupleTableSlot *search; /* holds a TID for updates and deletes */
	TupleTableSlot *row;
};

static bool may_multi_insert(Relation rel);
static void find_not_null(WhAppend *append);
static void check_not_null(const WhAppend *append, const TupleTableSlot *slot);
static WhTree **open_trees(const WhAppend *append);
static bool is_plain(Relation index, const IndexInfo *info);
static void insert_entries(WhAppend *append, int i);
static void insert_entry(WhAppend *append, int i, TupleTableSlot *slot, IndexUniqueCheck check,
						 bool is_update);
static void gather_entry(WhAppend *append, int i, TupleTableSlot *slot);
static void insert_keys(WhAppend *append);
static void update_here(WhAppend *append, ItemPointer tid, const Datum *values,
						const bool *nulls);
static void fill_entry(const IndexInfo *info, const TupleTableSlot *slot, Datum *values,
					   bool *nulls);
static void prepare_executor(WhAppend *append);
static void name_updated(WhAppend *append);
static void begin_row(WhAppend *append);
static void end_row(WhAppend *append);
static TupleTableSlot *fill_slot(TupleTableSlot *slot, const Datum *values, const bool *nulls);
static char *partition_name(const WhFeed *feed, Oid log, XLogRecPtr lsn, XLogRecPtr *from,
							XLogRecPtr *to);

WhAppend *
wh_changelog_append_open(Oid relid)
{
	WhAppend *append = palloc0(sizeof(WhAppend));

	append->context = CurrentMemoryContext;
	append->flush =
		AllocSetContextCreate(append->context, "walhouse rows", ALLOCSET_DEFAULT_SIZES);
	append->keys =
		AllocSetContextCreate(append->context, "walhouse keys", ALLOCSET_DEFAULT_SIZES);
	append->rel = table_open(relid, RowExclusiveLock);
	if (append->rel->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not a table that rows can be written to", wh_sql_relation(relid))));
	append->desc = CreateTupleDescCopy(RelationGetDescr(append->rel));
	append->info = makeNode(ResultRelInfo);
	/* Not in a range table yet (name_updated). */
	InitResultRelInfo(append->info, append->rel, 0, NULL, 0);
	ExecOpenIndices(append->info, false);
	append->multi = may_multi_insert(append->rel);
	find_not_null(append);
	append->trees = open_trees(append);
	append->bulk = GetBulkInsertState();
	wh_growth_begin(&append->growth, append->rel);
	return append;
}

/* may_multi_insert says whether nothing but the heap and its indexes is to be done for a new row.
 */
static bool
may_multi_insert(Relation rel)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;

	return rel->trigdesc == NULL &&
		   (constr == NULL || (constr->num_check == 0 && !constr->has_generated_stored));
}

static void
find_not_null(WhAppend *append)
{
	TupleDesc desc = RelationGetDescr(append->rel); /* the copy is without constraints */

	append->not_null = palloc(sizeof(int) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		if (TupleDescAttr(desc, i)->attnotnull)
			append->not_null[append->not_null_count++] = i;
	}
}

/* check_not_null raises what the executor would: not only keys may have got the constraint. */
static void
check_not_null(const WhAppend *append, const TupleTableSlot *slot)
{
	for (int i = 0; i < append->not_null_count; i++)
	{
		int column = append->not_null[i];

		if (slot->tts_isnull[column])
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("null value in column \"%s\" of relation \"%s\" violates not-null constraint",
							NameStr(TupleDescAttr(append->desc, column)->attname),
							RelationGetRelationName(append->rel)),
					 errtablecol(append->rel, column + 1)));
	}
}

/* open_trees: entries are made here where all indexes hold plain columns of all rows. */
static WhTree **
open_trees(const WhAppend *append)
{
	ResultRelInfo *info = append->info;
	WhTree **trees = palloc0(sizeof(WhTree *) * (info->ri_NumIndices + 1));

	for (int i = 0; i < info->ri_NumIndices; i++)
	{
		Relation index = info->ri_IndexRelationDescs[i];

		if (!is_plain(index, info->ri_IndexRelationInfo[i]))
			return NULL;
		trees[i] = wh_tree_open(append->rel, index, info->ri_IndexRelationInfo[i]);
	}
	return trees;
}

static bool
is_plain(Relation index, const IndexInfo *info)
{
	return info->ii_Expressions == NIL && info->ii_Predicate == NIL &&
		   info->ii_ExclusionOps == NULL && info->ii_ReadyForInserts &&
		   index->rd_index->indimmediate;
}

static void
prepare_executor(WhAppend *append)
{
	MemoryContext old;

	if (append->estate != NULL)
		return;
	old = MemoryContextSwitchTo(append->context);
	append->estate = CreateExecutorState();
	name_updated(append);
	wh_compat_epq_init(&append->epq, append->estate);
	append->search = table_slot_create(append->rel, NULL);
	append->row = table_slot_create(append->rel, NULL);
	MemoryContextSwitchTo(old);
}

/* name_updated says that updates set every column, so that triggers of columns fire; as a range
 * table does, of which the relation becomes the one entry. */
static void
name_updated(WhAppend *append)
{
	RangeTblEntry *entry = makeNode(RangeTblEntry);
	Bitmapset *columns = NULL;

	for (int i = 1; i <= append->desc->natts; i++)
		if (!TupleDescAttr(append->desc, i - 1)->attisdropped)
			columns = bms_add_member(columns, i - FirstLowInvalidHeapAttributeNumber);
	entry->rtekind = RTE_RELATION;
	entry->relid = RelationGetRelid(append->rel);
	entry->relkind = append->rel->rd_rel->relkind;
	entry->rellockmode = RowExclusiveLock;
	wh_compat_init_updated(append->estate, entry, columns);
	append->info->ri_RangeTableIndex = 1;
}

/* begin_row prepares one row's way through the executor. */
static void
begin_row(WhAppend *append)
{
	prepare_executor(append);
	append->estate->es_snapshot = GetActiveSnapshot();
	if (append->rel->trigdesc != NULL)
		AfterTriggerBeginQuery();
}

/* end_row fires what is to come after the row. */
static void
end_row(WhAppend *append)
{
	if (append->rel->trigdesc != NULL)
		AfterTriggerEndQuery(append->estate);
	ExecClearTuple(append->row);
	ResetPerTupleExprContext(append->estate);
}

Relation
wh_changelog_append_relation(WhAppend *append)
{
	return append->rel;
}

bool
wh_changelog_append_is_plain(const WhAppend *append)
{
	return append->multi && append->trees != NULL;
}

TupleTableSlot *
wh_changelog_append_next(WhAppend *append)
{
	int i = append->count;

	if (!append->multi)
	{
		prepare_executor(append);
		ExecClearTuple(append->row);
		return append->row;
	}
	if (append->slots[i] == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(append->context);

		append->slots[i] = MakeSingleTupleTableSlot(append->desc, &TTSOpsVirtual);
		MemoryContextSwitchTo(old);
	}
	return append->slots[i];
}

void
wh_changelog_append_done(WhAppend *append)
{
	if (!append->multi)
	{
		begin_row(append);
		ExecSimpleRelationInsert(append->info, append->estate, ExecStoreVirtualTuple(append->row));
		end_row(append);
		return;
	}
	check_not_null(append, append->slots[append->count]);
	ExecStoreVirtualTuple(append->slots[append->count]);
	append->count++;
	if (append->count == APPEND_ROWS)
		wh_changelog_append_flush(append);
}

void
wh_changelog_append(WhAppend *append, const Datum *values, const bool *nulls)
{
	TupleTableSlot *slot = wh_changelog_append_next(append);
	int natts = slot->tts_tupleDescriptor->natts;

	memcpy(slot->tts_values, values, sizeof(Datum) * natts);
	memcpy(slot->tts_isnull, nulls, sizeof(bool) * natts);
	wh_changelog_append_done(append);
}

static TupleTableSlot *
fill_slot(TupleTableSlot *slot, const Datum *values, const bool *nulls)
{
	int natts = slot->tts_tupleDescriptor->natts;

	ExecClearTuple(slot);
	memcpy(slot->tts_values, values, sizeof(Datum) * natts);
	memcpy(slot->tts_isnull, nulls, sizeof(bool) * natts);
	return ExecStoreVirtualTuple(slot);
}

void
wh_changelog_append_flush(WhAppend *append)
{
	MemoryContext old;

	insert_keys(append);
	if (append->count == 0)
		return;
	old = MemoryContextSwitchTo(append->flush);
	table_multi_insert(append->rel, append->slots, append->count, GetCurrentCommandId(true), 0,
					   append->bulk);
	if (append->trees == NULL)
		prepare_executor(append);
	wh_growth_follow(&append->growth, append->bulk->strategy);
	for (int i = 0; append->trees != NULL && i < append->info->ri_NumIndices; i++)
		insert_entries(append, i);
	for (int i = 0; i < append->count; i++)
	{
		if (append->trees == NULL)
		{
			list_free(
				wh_compat_insert_index_tuples(append->info, append->slots[i], append->estate));
			ResetPerTupleExprContext(append->estate);
		}
		ExecClearTuple(append->slots[i]);
	}
	append->count = 0;
	MemoryContextSwitchTo(old);
	MemoryContextReset(append->flush);
}

/* insert_entries brings the rows that are in the heap now into one index. */
static void
insert_entries(WhAppend *append, int i)
{
	Relation index = append->info->ri_IndexRelationDescs[i];
	IndexInfo *info = append->info->ri_IndexRelationInfo[i];
	WhTree *tree = append->trees[i];
	IndexTuple *entries = palloc(sizeof(IndexTuple) * append->count);
	Datum values[INDEX_MAX_KEYS];
	bool nulls[INDEX_MAX_KEYS];

	for (int row = 0; row < append->count; row++)
	{
		TupleTableSlot *slot = append->slots[row];

		if (tree == NULL)
		{
			insert_entry(append, i, slot,
						 index->rd_index->indisunique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO,
						 false);
			continue;
		}
		fill_entry(info, slot, values, nulls);
		entries[row] = wh_tree_entry(tree, values, nulls);
		entries[row]->t_tid = slot->tts_tid;
	}
	if (tree != NULL)
		wh_tree_insert(tree, entries, append->count, info);
}

/* insert_entry inserts one entry as the executor would; is_update: the row had one with these
 * values, most likely. */
static void
insert_entry(WhAppend *append, int i, TupleTableSlot *slot, IndexUniqueCheck check, bool is_update)
{
	IndexInfo *info = append->info->ri_IndexRelationInfo[i];
	Datum values[INDEX_MAX_KEYS];
	bool nulls[INDEX_MAX_KEYS];

	fill_entry(info, slot, values, nulls);
	index_insert(append->info->ri_IndexRelationDescs[i], values, nulls, &slot->tts_tid,
				 append->rel, check, is_update, info);
}

/* fill_entry takes an index's columns from a virtual slot: what was put into it is there still. */
static void
fill_entry(const IndexInfo *info, const TupleTableSlot *slot, Datum *values, bool *nulls)
{
	for (int i = 0; i < info->ii_NumIndexAttrs; i++)
	{
		int attno = info->ii_IndexAttrNumbers[i] - 1;

		values[i] = slot->tts_values[attno];
		nulls[i] = slot->tts_isnull[attno];
	}
}

void
wh_changelog_update_row(WhAppend *append, ItemPointer tid, const Datum *values, const bool *nulls)
{
	if (append->multi && append->trees != NULL)
	{
		update_here(append, tid, values, nulls);
		return;
	}
	begin_row(append);
	ExecClearTuple(append->search);
	append->search->tts_tid = *tid;
	ExecSimpleRelationUpdate(append->info, append->estate, &append->epq, append->search,
							 fill_slot(append->row, values, nulls));
	end_row(append);
}

/*
 * update_here updates a row whose heap and indexes are all there is to it.  Its key stays, so that
 * nobody else can have it: entries of the key's index are gathered, and inserted without a search
 * for others.
 */
static void
update_here(WhAppend *append, ItemPointer tid, const Datum *values, const bool *nulls)
{
	MemoryContext old = MemoryContextSwitchTo(append->context);
	ResultRelInfo *info = append->info;
	WhCompatUpdateIndexes updated;
	TupleTableSlot *slot;

	if (append->update == NULL)
		append->update = MakeSingleTupleTableSlot(append->desc, &TTSOpsVirtual);
	MemoryContextSwitchTo(append->flush);
	slot = fill_slot(append->update, values, nulls);
	check_not_null(append, slot);
	simple_table_tuple_update(append->rel, tid, slot, GetActiveSnapshot(), &updated);
	for (int i = 0; i < info->ri_NumIndices; i++)
	{
		Relation index = info->ri_IndexRelationDescs[i];

		if (!wh_compat_wants_entry(updated, info->ri_IndexRelationInfo[i]))
			continue;
		if (index->rd_index->indisprimary && append->trees[i] != NULL)
			gather_entry(append, i, slot);
		else
			insert_entry(append, i, slot,
						 index->rd_index->indisunique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO, true);
	}
	ExecClearTuple(slot);
	MemoryContextSwitchTo(old);
	MemoryContextReset(append->flush);
	if (append->key_count == APPEND_ROWS)
		insert_keys(append);
}

/* gather_entry keeps the key's entry of a row that was updated. */
static void
gather_entry(WhAppend *append, int i, TupleTableSlot *slot)
{
	MemoryContext old = MemoryContextSwitchTo(append->keys);
	Datum values[INDEX_MAX_KEYS];
	bool nulls[INDEX_MAX_KEYS];
	IndexTuple entry;

	fill_entry(append->info->ri_IndexRelationInfo[i], slot, values, nulls);
	entry = wh_tree_entry(append->trees[i], values, nulls);
	entry->t_tid = slot->tts_tid;
	if (append->key_entries == NULL)
		append->key_entries = palloc(sizeof(IndexTuple) * APPEND_ROWS);
	append->key_entries[append->key_count++] = entry;
	append->key_index = i;
	MemoryContextSwitchTo(old);
}

static void
insert_keys(WhAppend *append)
{
	MemoryContext old;

	if (append->key_count == 0)
		return;
	old = MemoryContextSwitchTo(append->flush);
	wh_growth_follow(&append->growth, NULL);
	wh_tree_update(append->trees[append->key_index], append->key_entries, append->key_count,
				   append->info->ri_IndexRelationInfo[append->key_index]);
	MemoryContextSwitchTo(old);
	MemoryContextReset(append->flush);
	MemoryContextReset(append->keys);
	append->key_entries = NULL;
	append->key_count = 0;
}

void
wh_changelog_delete_row(WhAppend *append, ItemPointer tid)
{
	if (append->multi)
	{
		simple_table_tuple_delete(append->rel, tid, GetActiveSnapshot());
		return;
	}
	begin_row(append);
	ExecClearTuple(append->search);
	append->search->tts_tid = *tid;
	ExecSimpleRelationDelete(append->info, append->estate, &append->epq, append->search);
	end_row(append);
}

void
wh_changelog_append_close(WhAppend *append)
{
	wh_changelog_append_flush(append);
	for (int i = 0; i < APPEND_ROWS && append->slots[i] != NULL; i++)
		ExecDropSingleTupleTableSlot(append->slots[i]);
	if (append->update != NULL)
		ExecDropSingleTupleTableSlot(append->update);
	FreeBulkInsertState(append->bulk);
	table_finish_bulk_insert(append->rel, 0);
	ExecCloseIndices(append->info);
	if (append->estate != NULL)
	{
		ExecDropSingleTupleTableSlot(append->search);
		ExecDropSingleTupleTableSlot(append->row);
		EvalPlanQualEnd(&append->epq);
		ExecResetTupleTable(append->estate->es_tupleTable, false);
		ExecCloseResultRelations(append->estate);
		FreeExecutorState(append->estate);
	}
	table_close(append->rel, NoLock);
	MemoryContextDelete(append->flush);
	MemoryContextDelete(append->keys);
	pfree(append);
}

Oid
wh_changelog_key_index(Oid mirror)
{
	Relation rel = table_open(mirror, AccessShareLock);
	Oid index;

	RelationGetIndexList(rel);
	index = rel->rd_pkindex;
	table_close(rel, AccessShareLock);
	if (!OidIsValid(index))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("mirror \"%s\" has no primary key", get_rel_name(mirror)),
				 errhint("Mirrors are made by walhouse and may not be altered: add the primary key again.")));
	return index;
}

Oid
wh_changelog_owner(Oid relid)
{
	Relation rel = relation_open(relid, AccessShareLock);
	Oid owner = rel->rd_rel->relowner;

	relation_close(rel, AccessShareLock);
	return owner;
}

Oid
wh_changelog_partition(const WhFeed *feed, Oid log, XLogRecPtr lsn)
{
	XLogRecPtr from;
	XLogRecPtr to;

	return get_relname_relid(partition_name(feed, log, lsn, &from, &to), get_rel_namespace(log));
}

void
wh_changelog_partition_range(const WhFeed *feed, XLogRecPtr lsn, XLogRecPtr *from, XLogRecPtr *to)
{
	wh_partition_lsn_range(lsn, feed->log_partition_size, from, to);
}

void
wh_changelog_make_partition(const WhFeed *feed, Oid log, XLogRecPtr lsn)
{
	XLogRecPtr from;
	XLogRecPtr to;
	char *name = partition_name(feed, log, lsn, &from, &to);
	WhUser saved;

	wh_user_become(feed->owner, &saved);
	wh_partition_attach(log, name, wh_sql("%X", from), wh_sql("%X", to), NULL);
	wh_user_restore(&saved);
}

static char *
partition_name(const WhFeed *feed, Oid log, XLogRecPtr lsn, XLogRecPtr *from, XLogRecPtr *to)
{
	wh_partition_lsn_range(lsn, feed->log_partition_size, from, to);
	return wh_name(get_rel_name(log), psprintf("_%016llx", (unsigned long long) *from));
}
