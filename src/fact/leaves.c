/*
 * leaves.c
 *		The partitions of a fact as a load writes them without statements: found by event time, rows
 * in them by the key, and written as ingest writes mirrors (changelog/append.c).
 *
 * A statement does more than that where there is more to be done: triggers, rules, policies,
 * checks, generated columns, other unique or computed indexes, columns that a partition has in
 * another order, or that somebody added.  Such a fact, or such a partition, is refused here before
 * anything is written, and SQL writes it.  What is left of what a statement does is done here:
 * privileges of the user, NOT NULL, and the search of a partition.
 *
 * Everything is opened for one load and its transaction; locks are those that statements take.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/table.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "fact/direct_private.h"
#include "fact/fact.h"

struct WhFactLeaf
{
	WhFactLeaves *leaves;
	bool is_plain;
	bool is_written; /* rows of it were */
	WhAppend *append;
	Relation rel;
	Relation index; /* of the key */
	int *order; /* for each of its columns the place in fact->identity */
	ScanKeyData *scan_keys;
	WhProbe *reader; /* NULL: nothing was looked for since wh_fact_leaves_see */
	TupleTableSlot *slot;
};

struct WhFactLeaves
{
	const WhFact *fact;
	MemoryContext context;
	Relation rel;
	PartitionKey key;
	PartitionDesc desc;
	WhFactLeaf **leaves; /* by number in desc; NULL: not opened yet */
	Snapshot snapshot; /* NULL: not taken yet */
	Datum event_time; /* that was looked for last … */
	WhFactLeaf *leaf; /* … and its partition; NULL: it had none */
};

static bool may_write(Relation rel);
static bool is_like_parent(const WhFactLeaves *leaves, Relation rel);
static int number_of(const WhFactLeaves *leaves, Datum event_time);
static WhFactLeaf *open_leaf(WhFactLeaves *leaves, Oid relid);
static bool open_key(WhFactLeaf *leaf);
static int place_of(const WhFact *fact, const char *name);
static void end_reading(WhFactLeaves *leaves);

WhFactLeaves *
wh_fact_leaves_open(const WhFact *fact)
{
	Relation rel = table_open(fact->model->relid, RowExclusiveLock);
	WhFactLeaves *leaves;

	if (!may_write(rel) ||
		RelationGetNumberOfAttributes(rel) != fact->width + list_length(fact->roles) + 1)
	{
		table_close(rel, NoLock);
		return NULL;
	}
	leaves = palloc0(sizeof(WhFactLeaves));
	leaves->fact = fact;
	leaves->context = CurrentMemoryContext;
	leaves->rel = rel;
	leaves->key = RelationGetPartitionKey(rel);
	leaves->desc = RelationGetPartitionDesc(rel, true);
	leaves->leaves = palloc0(sizeof(WhFactLeaf *) * (leaves->desc->nparts + 1));
	return leaves;
}

/* may_write says whether the current user may do to a fact whatever a load does, and whether
 * nothing but rows is to be thought of. */
static bool
may_write(Relation rel)
{
	TupleDesc desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		if (TupleDescAttr(desc, i)->attisdropped)
			return false;
	}
	return rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE && !rel->rd_rel->relrowsecurity &&
		   rel->trigdesc == NULL && rel->rd_rules == NULL &&
		   (desc->constr == NULL ||
			(desc->constr->num_check == 0 && !desc->constr->has_generated_stored)) &&
		   pg_class_aclmask(RelationGetRelid(rel), GetUserId(),
							ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_DELETE, ACLMASK_ALL) ==
			   (ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_DELETE);
}

AttrNumber
wh_fact_leaves_attribute(const WhFactLeaves *leaves, const char *column)
{
	AttrNumber attribute = get_attnum(RelationGetRelid(leaves->rel), column);

	if (attribute <= 0)
		elog(ERROR, "fact %s has no column \"%s\"", leaves->fact->model->name, column);
	return attribute;
}

TupleDesc
wh_fact_leaves_desc(const WhFactLeaves *leaves)
{
	return RelationGetDescr(leaves->rel);
}

WhFactLeaf *
wh_fact_leaves_find(WhFactLeaves *leaves, Datum event_time)
{
	WhFactLeaf *leaf;
	int number;

	/* One row is asked for several times.  Its type is passed by value. */
	if (leaves->leaf != NULL && event_time == leaves->event_time)
		return leaves->leaf;
	number = number_of(leaves, event_time);
	if (number < 0)
		return NULL;
	leaf = leaves->leaves[number];
	if (leaf == NULL)
	{
		leaf = open_leaf(leaves, leaves->desc->oids[number]);
		leaves->leaves[number] = leaf;
	}
	leaves->event_time = event_time;
	leaves->leaf = leaf->is_plain ? leaf : NULL;
	return leaves->leaf;
}

bool
wh_fact_leaves_lack(const WhFactLeaves *leaves, Datum event_time)
{
	return number_of(leaves, event_time) < 0 &&
		   (leaves->desc->nparts == 0 || !partition_bound_has_default(leaves->desc->boundinfo));
}

/* number_of gives the number of an event time's partition; -1: it has none of its own. */
static int
number_of(const WhFactLeaves *leaves, Datum event_time)
{
	PartitionBoundInfo bounds = leaves->desc->boundinfo;
	bool is_equal;
	int offset;

	if (leaves->desc->nparts == 0)
		return -1;
	offset = partition_range_datum_bsearch(leaves->key->partsupfunc, leaves->key->partcollation,
										   bounds, 1, &event_time, &is_equal);
	return bounds->indexes[offset + 1];
}

static WhFactLeaf *
open_leaf(WhFactLeaves *leaves, Oid relid)
{
	MemoryContext caller = MemoryContextSwitchTo(leaves->context);
	WhFactLeaf *leaf = palloc0(sizeof(WhFactLeaf));

	leaf->leaves = leaves;
	if (get_rel_relkind(relid) == RELKIND_RELATION)
	{
		leaf->append = wh_changelog_append_open(relid);
		leaf->rel = wh_changelog_append_relation(leaf->append);
		leaf->is_plain = wh_changelog_append_is_plain(leaf->append) &&
						 is_like_parent(leaves, leaf->rel) && open_key(leaf);
	}
	MemoryContextSwitchTo(caller);
	return leaf;
}

/* is_like_parent says whether a partition's rows are rows of the fact, column by column. */
static bool
is_like_parent(const WhFactLeaves *leaves, Relation rel)
{
	TupleDesc parent = RelationGetDescr(leaves->rel);
	TupleDesc desc = RelationGetDescr(rel);

	if (desc->natts != parent->natts)
		return false;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute a = TupleDescAttr(desc, i);
		Form_pg_attribute b = TupleDescAttr(parent, i);

		if (a->attisdropped || a->atttypid != b->atttypid || a->atttypmod != b->atttypmod ||
			strcmp(NameStr(a->attname), NameStr(b->attname)) != 0)
			return false;
	}
	return true;
}

/* open_key opens the index of the key; false: there is none, or a second unique one. */
static bool
open_key(WhFactLeaf *leaf)
{
	const WhFact *fact = leaf->leaves->fact;
	int count = list_length(fact->identity);
	Oid key = wh_compat_primary_key_index(leaf->rel);
	bool others_are_unique = false;

	foreach_oid(relid, RelationGetIndexList(leaf->rel))
	{
		Relation index = index_open(relid, AccessShareLock);

		if (relid == key && index->rd_index->indnkeyatts == count)
			leaf->index = index;
		else
		{
			others_are_unique = others_are_unique || index->rd_index->indisunique;
			index_close(index, NoLock);
		}
	}
	if (leaf->index == NULL || others_are_unique)
		return false;
	leaf->order = palloc(sizeof(int) * count);
	leaf->scan_keys = palloc0(sizeof(ScanKeyData) * count);
	for (int i = 0; i < count; i++)
	{
		Oid type = leaf->index->rd_opcintype[i];
		AttrNumber attribute = leaf->index->rd_index->indkey.values[i];
		Oid equal = get_opcode(get_opfamily_member(leaf->index->rd_opfamily[i], type, type,
												   BTEqualStrategyNumber));

		leaf->order[i] = place_of(
			fact, NameStr(TupleDescAttr(RelationGetDescr(leaf->rel), attribute - 1)->attname));
		if (leaf->order[i] < 0 || !OidIsValid(equal))
			return false;
		ScanKeyEntryInitialize(&leaf->scan_keys[i], 0, i + 1, BTEqualStrategyNumber, InvalidOid,
							   leaf->index->rd_indcollation[i], equal, (Datum) 0);
	}
	leaf->slot = table_slot_create(leaf->rel, NULL);
	return true;
}

/* place_of is the place of a column in what identifies a row; -1: it is not there. */
static int
place_of(const WhFact *fact, const char *name)
{
	ListCell *cell;

	foreach(cell, fact->identity)
	{
		if (strcmp(wh_fact_column(fact, lfirst_int(cell))->name, name) == 0)
			return foreach_current_index(cell);
	}
	return -1;
}

void
wh_fact_leaves_see(WhFactLeaves *leaves)
{
	end_reading(leaves);
	leaves->snapshot = RegisterSnapshot(GetTransactionSnapshot());
}

static void
end_reading(WhFactLeaves *leaves)
{
	for (int i = 0; i < leaves->desc->nparts; i++)
	{
		WhFactLeaf *leaf = leaves->leaves[i];

		if (leaf == NULL || leaf->reader == NULL)
			continue;
		wh_probe_close(leaf->reader);
		leaf->reader = NULL;
	}
	if (leaves->snapshot != NULL)
		UnregisterSnapshot(leaves->snapshot);
	leaves->snapshot = NULL;
}

bool
wh_fact_leaf_find(WhFactLeaf *leaf, const Datum *identity, TupleTableSlot **row)
{
	WhFactLeaves *leaves = leaf->leaves;
	int count = list_length(leaves->fact->identity);

	if (leaf->reader == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(leaves->context);

		leaf->reader = wh_probe_open(leaf->rel, leaf->index, leaf->scan_keys, count,
									 leaves->snapshot, ForwardScanDirection);
		MemoryContextSwitchTo(caller);
	}
	for (int i = 0; i < count; i++)
		leaf->scan_keys[i].sk_argument = identity[leaf->order[i]];
	wh_probe_find(leaf->reader);
	*row = leaf->slot;
	return wh_probe_next(leaf->reader, leaf->slot);
}

void
wh_fact_leaf_delete(WhFactLeaf *leaf, TupleTableSlot *row)
{
	leaf->is_written = true;
	wh_changelog_delete_row(leaf->append, &row->tts_tid);
}

void
wh_fact_leaf_update(WhFactLeaf *leaf, TupleTableSlot *row, const Datum *values, const bool *nulls)
{
	ItemPointerData tid = row->tts_tid;

	leaf->is_written = true;
	wh_changelog_update_row(leaf->append, &tid, values, nulls);
}

void
wh_fact_leaf_insert(WhFactLeaf *leaf, const Datum *values, const bool *nulls)
{
	leaf->is_written = true;
	wh_changelog_append(leaf->append, values, nulls);
}

void
wh_fact_leaves_flush(WhFactLeaves *leaves)
{
	for (int i = 0; i < leaves->desc->nparts; i++)
	{
		if (leaves->leaves[i] != NULL && leaves->leaves[i]->is_plain)
			wh_changelog_append_flush(leaves->leaves[i]->append);
	}
}

void
wh_fact_leaves_tell(const WhFactLeaves *leaves, WhFact *fact)
{
	for (int i = 0; i < leaves->desc->nparts; i++)
	{
		if (leaves->leaves[i] != NULL && leaves->leaves[i]->is_written)
			wh_fact_touch(fact, RelationGetRelid(leaves->leaves[i]->rel));
	}
}

void
wh_fact_leaves_close(WhFactLeaves *leaves)
{
	end_reading(leaves);
	for (int i = 0; i < leaves->desc->nparts; i++)
	{
		WhFactLeaf *leaf = leaves->leaves[i];

		if (leaf == NULL || leaf->append == NULL)
			continue;
		if (leaf->slot != NULL)
			ExecDropSingleTupleTableSlot(leaf->slot);
		if (leaf->index != NULL)
			index_close(leaf->index, NoLock);
		wh_changelog_append_close(leaf->append);
	}
	table_close(leaves->rel, NoLock);
}
