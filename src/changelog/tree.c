/*
 * tree.c
 *		New entries of B-trees, many at a time.
 *
 * Rows of a change log come in the order of its index, and so do most new rows of a mirror, whose
 * keys are numbers that the source counts up: their entries belong behind all others.  nbtree
 * inserts such an entry like any other: it forms a search key, locks the rightmost leaf, searches
 * it, and writes a WAL record.  Here the rightmost leaf is locked once, and takes as many entries
 * as belong there and as it has room for, with one WAL record, a generic one, which holds what
 * changed in the page.
 *
 * The conditions are those under which nbtree itself goes to the rightmost leaf without a
 * descent: it is a live leaf without a right sibling, it has entries, room, and the new one sorts
 * behind its last.  All else goes to nbtree by index_insert(): an entry that sorts elsewhere, a
 * leaf that is full (nbtree splits it, and the next entries go here again), an empty index.  In a
 * unique index an entry whose key is greater than the last key is unique.  So nothing but the way
 * in which entries of one leaf are written and logged differs, and amcheck finds nothing to say.
 *
 * Entries that do not come in order are sorted, if that helps: sources commit out of the order of
 * their keys, but not far.
 *
 * Equal entries side by side become one first (posting.c).
 *
 * New versions of rows whose key stays are entered likewise, leaf by leaf, among the others:
 * theirs are unique, because the row's was.  So are entries of new rows, once they are in order; in
 * a unique index, where no entry of the leaf has the same key, and the leaf is the only one that
 * could have it.  A run must be worth its record: eight entries, or a page of which the record has
 * an image anyway, since it is the first one after a checkpoint.
 *
 * Hints in nbtree's pages (entries that are dead) may be lost in replay, as always: a generic
 * record holds bytes that changed, and a hint's bit is never one that tells an entry's place or
 * length.
 */
#include "postgres.h"

#include "access/generic_xlog.h"
#include "access/genam.h"
#include "access/nbtree.h"
#include "catalog/pg_am.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/base.h"
#include "changelog/changelog_private.h"

/* Sorting is given up when fewer than one in SORT_PAYS entries was appended after it. */
#define SORT_PAYS 4
/* Fewer entries are sooner inserted one by one than logged together. */
#define SHORT_RUN 8
/* After so many entries at most a leaf is tried again. */
#define MAX_PATIENCE 64
/* What is longer goes to nbtree, which may have to refuse it. */
#define LONG_ENTRY (BLCKSZ / 8)
/* A context puts into its blocks what is at most an eighth of one; what is not used of it takes no
 * memory. */
#define CHANGE_ROOM (1024 * 1024)

struct WhTree
{
	Relation heap;
	Relation index;
	WhGrowth growth;
	bool is_unique;
	bool by_key; /* entries are compared by their keys alone: equal ones are not unique */
	BTScanInsert key; /* made by nbtree of the first entry; the arguments change */
	BlockNumber last; /* the rightmost leaf, or one that was; InvalidBlockNumber: not known */
	uint64 sorted; /* entries that were sorted */
	uint64 appended; /* of those, or put onto their leaves in runs */
	int pause; /* entries that go to nbtree before a leaf is tried again, and how many are left */
	int paused;
};

/* What became of entries that belong on one leaf. */
typedef struct Run
{
	int done; /* how many were put there */
	bool is_full; /* others do not fit */
} Run;

/* Of the state of generic WAL, 66 kB, which would else be given to the system and taken back for
 * each page; in TopMemoryContext. */
static MemoryContext change_context = NULL;

static int append_run(WhTree *tree, IndexTuple *entries, int count, bool *is_full);
static Buffer lock_last_leaf(WhTree *tree);
static bool belongs_behind(WhTree *tree, Page page, IndexTuple entry, bool *is_full);
static int fill_page(WhTree *tree, Page page, IndexTuple *entries, int count, bool *is_full);
static GenericXLogState *start_change(WhTree *tree);
static void make_key(WhTree *tree, IndexTuple entry);
static void set_key(WhTree *tree, IndexTuple entry);
static void insert_one(WhTree *tree, IndexTuple entry, IndexInfo *info, IndexUniqueCheck check,
					   bool is_update);
static int insert_some(WhTree *tree, IndexTuple *entries, int count, IndexInfo *info);
static Run leaf_run(WhTree *tree, IndexTuple *entries, int count);
static int fill_in(WhTree *tree, Buffer buffer, IndexTuple *entries, int count);
static int count_belonging(WhTree *tree, Page page, IndexTuple *entries, int count);
static bool belongs_on(WhTree *tree, Page page, IndexTuple entry);
static OffsetNumber find_place(WhTree *tree, Page page, OffsetNumber low, IndexTuple entry);
static bool ends_before(WhTree *tree, Page page, OffsetNumber place, IndexTuple entry);
static bool has_room(Page page, IndexTuple entry);
static void sort_entries(WhTree *tree, IndexTuple *entries, int count);
static int compare_entries(const void *a, const void *b, void *arg);

WhTree *
wh_tree_open(Relation heap, Relation index, const IndexInfo *info)
{
	WhTree *tree;

	if (index->rd_rel->relam != BTREE_AM_OID || !info->ii_ReadyForInserts)
		return NULL;
	tree = palloc0(sizeof(WhTree));
	tree->heap = heap;
	tree->index = index;
	tree->is_unique = index->rd_index->indisunique;
	tree->last = InvalidBlockNumber;
	wh_growth_begin(&tree->growth, index);
	return tree;
}

IndexTuple
wh_tree_entry(const WhTree *tree, Datum *values, bool *nulls)
{
	return index_form_tuple(RelationGetDescr(tree->index), values, nulls);
}

/*
 * wh_tree_insert: runs go to the right end; what does not belong there goes its own way, and then
 * the right end is tried again: at once behind a page that was full, else after more and more
 * entries.
 */
void
wh_tree_insert(WhTree *tree, IndexTuple *entries, int count, IndexInfo *info)
{
	int done = 0;
	int patience = 1;
	bool is_sorted = false;

	tree->by_key = tree->is_unique;
	if (count >= SHORT_RUN)
	{
		make_key(tree, entries[0]);
		if (!tree->is_unique && tree->key->heapkeyspace && tree->key->allequalimage)
			count = wh_posting_join(entries, count);
	}
	while (done < count)
	{
		bool is_full = false;
		int run = 0;

		if (count - done >= SHORT_RUN)
			run = append_run(tree, entries + done, count - done, &is_full);
		done += run;
		if (is_sorted)
			tree->appended += run;
		if (is_full || run > 0)
			patience = 1;
		if (!is_full && !is_sorted && count - done >= SHORT_RUN &&
			tree->sorted <= tree->appended * SORT_PAYS)
		{
			sort_entries(tree, entries + done, count - done);
			tree->sorted += count - done;
			is_sorted = true;
			continue;
		}
		for (int i = 0; i < patience && done < count; i++)
			done += insert_some(tree, entries + done, is_sorted ? count - done : 1, info);
		patience *= 2;
	}
	wh_growth_follow(&tree->growth, NULL);
}

/* insert_some inserts the first of some sorted entries of new rows, with those that belong on the
 * same leaf if that is worth it, and returns how many. */
static int
insert_some(WhTree *tree, IndexTuple *entries, int count, IndexInfo *info)
{
	Run run = {0};

	if (count > 1 && tree->key->heapkeyspace && tree->paused-- <= 0)
	{
		run = leaf_run(tree, entries, count);
		tree->pause =
			run.done > 0 || run.is_full ? 0 : Min(tree->pause * 2 + 1, MAX_PATIENCE);
		tree->paused = tree->pause;
		tree->appended += run.done;
	}
	if (run.done == 0)
		insert_one(tree, entries[run.done++], info,
				   tree->is_unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO, false);
	return run.done;
}

/*
 * wh_tree_update inserts entries of new versions of rows, whose keys nobody else has: sorted, and
 * those that belong on one leaf together.  Leaves that are full are for nbtree to make room on.  It
 * looks for entries of dead versions there, in the heap, where an update of few rows may find some;
 * where a run comes, the versions that it replaces have only just been replaced.  What was dead
 * before has been marked by the look-ups that found these rows.
 */
void
wh_tree_update(WhTree *tree, IndexTuple *entries, int count, IndexInfo *info)
{
	int done = 0;
	int patience = 1;

	tree->by_key = false;
	make_key(tree, entries[0]);
	sort_entries(tree, entries, count);
	while (done < count)
	{
		Run run = {0};

		if (count - done > 1 && tree->key->heapkeyspace)
			run = leaf_run(tree, entries + done, count - done);
		done += run.done;
		if (run.is_full || run.done > 0)
			patience = 1;
		for (int i = 0; i < patience && done < count; i++)
			insert_one(tree, entries[done++], info, UNIQUE_CHECK_NO, !run.is_full);
		patience = Min(patience * 2, MAX_PATIENCE);
	}
	wh_growth_follow(&tree->growth, NULL);
}

/* leaf_run puts entries onto the leaf of the first one, as far as they belong there and have room,
 * if they are a run that is worth it. */
static Run
leaf_run(WhTree *tree, IndexTuple *entries, int count)
{
	Buffer buffer;
	Page page;
	Run run = {0};

	set_key(tree, entries[0]);
	_bt_freestack(wh_compat_bt_search(tree->index, tree->heap, tree->key, &buffer, BT_WRITE));
	if (!BufferIsValid(buffer))
		return run;
	page = BufferGetPage(buffer);
	count = P_IGNORE(BTPageGetOpaque(page)) ? 0 : count_belonging(tree, page, entries, count);
	/* A record that has an image of the page anyway is worth it. */
	if (count >= SHORT_RUN || (count > 0 && XLogCheckBufferNeedsBackup(buffer)))
	{
		if (has_room(page, entries[0]))
			run.done = fill_in(tree, buffer, entries, count);
		run.is_full = run.done < count && !has_room(page, entries[run.done]);
	}
	UnlockReleaseBuffer(buffer);
	return run;
}

/* fill_in puts entries, which belong there, among those of a leaf; where WAL takes an image of the
 * page, what changed in it need not be looked for. */
static int
fill_in(WhTree *tree, Buffer buffer, IndexTuple *entries, int count)
{
	GenericXLogState *change = start_change(tree);
	int flags = XLogCheckBufferNeedsBackup(buffer) ? GENERIC_XLOG_FULL_IMAGE : 0;
	Page page = GenericXLogRegisterBuffer(change, buffer, flags);
	OffsetNumber place = P_FIRSTDATAKEY(BTPageGetOpaque(page));
	int done;

	CheckForSerializableConflictIn(tree->index, NULL, BufferGetBlockNumber(buffer));
	for (done = 0; done < count && has_room(page, entries[done]); done++)
	{
		IndexTuple entry = entries[done];

		place = find_place(tree, page, place, entry);
		if (place == InvalidOffsetNumber)
			break;
		if (PageAddItem(page, (Item) entry, IndexTupleSize(entry), place, false, false) != place)
			elog(ERROR, "could not add an entry to index \"%s\"",
				 RelationGetRelationName(tree->index));
		/* By key, the next one may be its like; behind a list, it may lie among its TIDs. */
		if (!tree->by_key && !BTreeTupleIsPosting(entry))
			place++;
	}
	if (done > 0)
		GenericXLogFinish(change);
	else
		GenericXLogAbort(change);
	return done;
}

/* count_belonging counts the entries, in their order, that belong on a leaf; where that are few,
 * few are asked. */
static int
count_belonging(WhTree *tree, Page page, IndexTuple *entries, int count)
{
	int low = 0;
	int high = count;

	for (int step = 1; low < high; step *= 2)
	{
		int last = Min(low + step, high) - 1;

		if (belongs_on(tree, page, entries[last]))
			low = last + 1;
		else
		{
			high = last;
			break;
		}
	}
	while (low < high)
	{
		int middle = low + (high - low) / 2;

		if (belongs_on(tree, page, entries[middle]))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* belongs_on says whether an entry is not behind a leaf's high key; by key, also not at it, where
 * its like may be on the next leaf. */
static bool
belongs_on(WhTree *tree, Page page, IndexTuple entry)
{
	int result;

	if (P_RIGHTMOST(BTPageGetOpaque(page)))
		return true;
	set_key(tree, entry);
	result = _bt_compare(tree->index, tree->key, page, P_HIKEY);
	return tree->by_key ? result < 0 : result <= 0;
}

/*
 * find_place finds where an entry belongs, from an offset on, near which that is mostly: two places
 * on, behind the version that the next row had.  InvalidOffsetNumber when there is one like it, or
 * when of one of the two the many TIDs are before and behind the other.
 */
static OffsetNumber
find_place(WhTree *tree, Page page, OffsetNumber low, IndexTuple entry)
{
	OffsetNumber high = OffsetNumberNext(PageGetMaxOffsetNumber(page));
	bool is_near = true;

	set_key(tree, entry);
	for (int step = 1; low < high; step *= 2)
	{
		OffsetNumber middle =
			is_near ? Min(low + (step - 1) / 2, high - 1) : low + (high - low) / 2;
		int result = _bt_compare(tree->index, tree->key, page, middle);

		if (result == 0)
			return InvalidOffsetNumber;
		is_near = is_near && result > 0;
		if (result < 0)
			high = middle;
		else
			low = OffsetNumberNext(middle);
	}
	return ends_before(tree, page, low, entry) ? low : InvalidOffsetNumber;
}

/* ends_before says whether the last TID of an entry, too, is before what comes at a place: rows
 * that one list has may lie around those of others. */
static bool
ends_before(WhTree *tree, Page page, OffsetNumber place, IndexTuple entry)
{
	if (!BTreeTupleIsPosting(entry))
		return true;
	tree->key->scantid = BTreeTupleGetMaxHeapTID(entry);
	if (place <= PageGetMaxOffsetNumber(page))
		return _bt_compare(tree->index, tree->key, page, place) < 0;
	return P_RIGHTMOST(BTPageGetOpaque(page)) ||
		   _bt_compare(tree->index, tree->key, page, P_HIKEY) <= 0;
}

/* append_run puts entries at the right end as far as they belong there and have room; *is_full
 * says that it was room that lacked. */
static int
append_run(WhTree *tree, IndexTuple *entries, int count, bool *is_full)
{
	Buffer buffer;
	int done = 0;

	*is_full = true;
	if (!tree->key->heapkeyspace)
		return 0; /* made by version 11 or before: each entry goes through nbtree */
	buffer = lock_last_leaf(tree);
	if (!BufferIsValid(buffer))
		return 0;
	if (belongs_behind(tree, BufferGetPage(buffer), entries[0], is_full))
	{
		GenericXLogState *change = start_change(tree);

		CheckForSerializableConflictIn(tree->index, NULL, BufferGetBlockNumber(buffer));
		done = fill_page(tree, GenericXLogRegisterBuffer(change, buffer, 0), entries, count,
						 is_full);
		GenericXLogFinish(change);
	}
	UnlockReleaseBuffer(buffer);
	return done;
}

/*
 * lock_last_leaf locks the rightmost leaf for writing; InvalidBuffer when there is none, or it is
 * not as it should be.  From a leaf that was the rightmost once, the way is to the right.
 */
static Buffer
lock_last_leaf(WhTree *tree)
{
	Buffer buffer;

	if (tree->last == InvalidBlockNumber)
	{
		buffer = wh_compat_last_leaf(tree->index);
		if (!BufferIsValid(buffer))
			return InvalidBuffer;
		tree->last = BufferGetBlockNumber(buffer);
		_bt_relbuf(tree->index, buffer);
	}
	for (;;)
	{
		BTPageOpaque opaque;

		buffer = _bt_getbuf(tree->index, tree->last, BT_WRITE);
		opaque = BTPageGetOpaque(BufferGetPage(buffer));
		if (P_ISLEAF(opaque) && !P_IGNORE(opaque) && P_RIGHTMOST(opaque))
			return buffer;
		tree->last = P_ISLEAF(opaque) && !P_ISDELETED(opaque) && !P_RIGHTMOST(opaque) ?
						 opaque->btpo_next :
						 InvalidBlockNumber;
		_bt_relbuf(tree->index, buffer);
		if (tree->last == InvalidBlockNumber)
			return InvalidBuffer;
		CHECK_FOR_INTERRUPTS();
	}
}

/* belongs_behind says whether an entry may become a leaf's last one; *is_full says that it is
 * room that lacks. */
static bool
belongs_behind(WhTree *tree, Page page, IndexTuple entry, bool *is_full)
{
	OffsetNumber last = PageGetMaxOffsetNumber(page);

	*is_full = last < P_HIKEY || !has_room(page, entry);
	if (*is_full)
		return false;
	set_key(tree, entry);
	return _bt_compare(tree->index, tree->key, page, last) > 0;
}

static bool
has_room(Page page, IndexTuple entry)
{
	Size size = MAXALIGN(IndexTupleSize(entry));

	return size <= LONG_ENTRY && PageGetFreeSpace(page) > size;
}

static int
fill_page(WhTree *tree, Page page, IndexTuple *entries, int count, bool *is_full)
{
	int done = 0;

	do
	{
		OffsetNumber next = OffsetNumberNext(PageGetMaxOffsetNumber(page));
		IndexTuple entry = entries[done++];

		if (PageAddItem(page, (Item) entry, IndexTupleSize(entry), next, false, false) != next)
			elog(ERROR, "could not add an entry to index \"%s\"",
				 RelationGetRelationName(tree->index));
	} while (done < count && belongs_behind(tree, page, entries[done], is_full));
	return done;
}

/* start_change: a block of the context has room for the state, which is freed at its end. */
static GenericXLogState *
start_change(WhTree *tree)
{
	GenericXLogState *change;
	MemoryContext old;

	if (change_context == NULL)
		change_context = GenerationContextCreate(TopMemoryContext, "walhouse pages", CHANGE_ROOM,
												 CHANGE_ROOM, CHANGE_ROOM);
	old = MemoryContextSwitchTo(change_context);
	change = GenericXLogStart(tree->index);
	MemoryContextSwitchTo(old);
	return change;
}

/* make_key makes the search key that is used for all entries. */
static void
make_key(WhTree *tree, IndexTuple entry)
{
	MemoryContext old;

	if (tree->key != NULL)
		return;
	old = MemoryContextSwitchTo(GetMemoryChunkContext(tree));
	tree->key = _bt_mkscankey(tree->index, entry);
	MemoryContextSwitchTo(old);
}

/* set_key takes an entry's values, and its TID where more than keys is compared. */
static void
set_key(WhTree *tree, IndexTuple entry)
{
	TupleDesc desc = RelationGetDescr(tree->index);

	for (int i = 0; i < tree->key->keysz; i++)
	{
		ScanKey key = &tree->key->scankeys[i];
		bool isnull;

		key->sk_argument = index_getattr(entry, i + 1, desc, &isnull);
		key->sk_flags = isnull ? key->sk_flags | SK_ISNULL : key->sk_flags & ~SK_ISNULL;
	}
	tree->key->scantid = tree->by_key ? NULL : BTreeTupleGetHeapTID(entry);
}

static void
insert_one(WhTree *tree, IndexTuple entry, IndexInfo *info, IndexUniqueCheck check,
		   bool is_update)
{
	Datum values[INDEX_MAX_KEYS];
	bool nulls[INDEX_MAX_KEYS];
	ItemPointer tids;
	int count = wh_posting_tids(entry, &tids);

	index_deform_tuple(entry, RelationGetDescr(tree->index), values, nulls);
	for (int i = 0; i < count; i++)
		index_insert(tree->index, values, nulls, &tids[i], tree->heap, check, is_update, info);
}

/* -------- order -------- */

static void
sort_entries(WhTree *tree, IndexTuple *entries, int count)
{
	qsort_arg(entries, count, sizeof(IndexTuple), compare_entries, tree);
}

/* compare_entries compares as the index does: by its own functions, then by TID. */
static int
compare_entries(const void *a, const void *b, void *arg)
{
	WhTree *tree = arg;
	TupleDesc desc = RelationGetDescr(tree->index);
	IndexTuple left = *(const IndexTuple *) a;
	IndexTuple right = *(const IndexTuple *) b;

	for (int i = 0; i < tree->key->keysz; i++)
	{
		ScanKey key = &tree->key->scankeys[i];
		bool left_null;
		bool right_null;
		Datum left_value = index_getattr(left, i + 1, desc, &left_null);
		Datum right_value = index_getattr(right, i + 1, desc, &right_null);
		int result = 0;

		if (left_null || right_null)
		{
			result = (int) left_null - (int) right_null;
			if (key->sk_flags & SK_BT_NULLS_FIRST)
				result = -result;
		}
		else
		{
			result = DatumGetInt32(
				FunctionCall2Coll(&key->sk_func, key->sk_collation, left_value, right_value));
			if (key->sk_flags & SK_BT_DESC)
				INVERT_COMPARE_RESULT(result);
		}
		if (result != 0)
			return result;
	}
	return ItemPointerCompare(BTreeTupleGetHeapTID(left), BTreeTupleGetHeapTID(right));
}
