/*
 * probe.c
 *		Rows of a table by their key, one key after the other.
 *
 * Ingest and loads look up as many rows as they change, mostly in the order of their keys or not
 * far from it.  An index scan descends from the root for each key, and copies what it finds; here
 * the leaf of the key before is looked at first, then its right neighbour, and only then is there a
 * descent.  What the leaf has of the key is noted, and the rows are fetched from the heap as an
 * index scan fetches them, with a snapshot.
 *
 * No leaf stays pinned or locked from one key to the next: its number is remembered, and whatever
 * it is by now, a live leaf that has an entry before the key, and one behind it or a high key
 * that is behind it, has all entries of the key.  Where the entries may go on elsewhere, or are
 * many, an index scan reads them, and so it does where the first row is dead to all, because a scan
 * leaves a mark on such entries.  Transactions that are serializable scan, for their predicate
 * locks.
 *
 * Fetching a row by an index prunes its page once a little of the room is gone that the fillfactor
 * left, so that each page that was updated once is pruned at the next visit, for one dead row.
 * Here it is pruned when there is no room for some rows more: for many dead rows at once.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/nbtree.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "changelog/changelog.h"

#define MOST_FOUND 64
/* A page is pruned when it has no room for so many rows as the largest one that was met. */
#define SPARE_ROWS 2

struct WhProbe
{
	MemoryContext context;
	Relation heap;
	Relation index;
	ScanKey keys; /* the caller's */
	int count;
	Snapshot snapshot;
	ScanDirection direction;
	BTScanInsert key; /* NULL: there are only scans */
	IndexFetchTableData *fetch;
	bool is_heap; /* the rows are in pages of PostgreSQL's own heap */
	Size largest; /* bytes of a row that was met, and its line pointer */
	IndexScanDesc scan; /* NULL: not needed yet */
	/* where the key before was */
	BlockNumber leaf; /* InvalidBlockNumber: nowhere yet */
	Buffer buffer; /* in which it was; InvalidBuffer: not known */
	OffsetNumber offset;
	/* of the present key */
	bool is_scanned; /* rows come from the scan */
	bool has_given; /* a row */
	int next;
	int found;
	ItemPointerData tids[MOST_FOUND];
};

/* What a leaf says of a key. */
typedef enum Answer
{
	ALL, /* it has all entries, and they have been noted */
	DESCEND, /* they may begin elsewhere */
	GO_RIGHT, /* they are on the right of it */
	SCAN /* they may go on elsewhere, or are too many */
} Answer;

static BTScanInsert make_key(const WhProbe *probe);
static bool read_leaf(WhProbe *probe);
static Answer ask_remembered(WhProbe *probe);
static Buffer lock_leaf(const WhProbe *probe);
static Answer ask_leaf(WhProbe *probe, Buffer buffer, bool begins_here);
static OffsetNumber search(WhProbe *probe, Page page);
static OffsetNumber note_equal(WhProbe *probe, Page page, OffsetNumber offset);
static bool note(WhProbe *probe, Page page, OffsetNumber offset);
static void begin_scan(WhProbe *probe);
static bool fetch_next(WhProbe *probe, TupleTableSlot *slot);
static void visit_page(WhProbe *probe, BlockNumber block);
static Size average_size(Page page);
static void note_size(WhProbe *probe, TupleTableSlot *slot);

WhProbe *
wh_probe_open(Relation heap, Relation index, ScanKey keys, int count, Snapshot snapshot,
			  ScanDirection direction)
{
	WhProbe *probe = palloc0(sizeof(WhProbe));

	probe->context = CurrentMemoryContext;
	probe->heap = heap;
	probe->index = index;
	probe->keys = keys;
	probe->count = count;
	probe->snapshot = snapshot;
	probe->direction = direction;
	probe->leaf = InvalidBlockNumber;
	probe->fetch = table_index_fetch_begin(heap);
	probe->is_heap = heap->rd_tableam == GetHeapamTableAmRoutine();
	if (!IsolationIsSerializable() && IsMVCCSnapshot(snapshot))
		probe->key = make_key(probe);
	return probe;
}

/* make_key makes the key that nbtree searches by. */
static BTScanInsert
make_key(const WhProbe *probe)
{
	BTScanInsert key = _bt_mkscankey(probe->index, NULL);

	_bt_metaversion(probe->index, &key->heapkeyspace, &key->allequalimage);
	key->keysz = probe->count;
	for (int i = 0; i < probe->count; i++)
		key->scankeys[i].sk_flags &= ~SK_ISNULL;
	return key;
}

void
wh_probe_close(WhProbe *probe)
{
	if (probe->scan != NULL)
		index_endscan(probe->scan);
	table_index_fetch_end(probe->fetch);
	if (probe->key != NULL)
		pfree(probe->key);
	pfree(probe);
}

void
wh_probe_find(WhProbe *probe)
{
	MemoryContext caller = MemoryContextSwitchTo(probe->context);

	probe->next = 0;
	probe->found = 0;
	probe->has_given = false;
	probe->is_scanned = probe->key == NULL || !read_leaf(probe);
	if (probe->is_scanned)
		begin_scan(probe);
	MemoryContextSwitchTo(caller);
}

static void
begin_scan(WhProbe *probe)
{
	if (probe->scan == NULL)
		probe->scan = wh_compat_index_beginscan(probe->heap, probe->index, probe->snapshot,
												probe->count);
	index_rescan(probe->scan, probe->keys, probe->count, NULL, 0);
	probe->is_scanned = true;
}

bool
wh_probe_next(WhProbe *probe, TupleTableSlot *slot)
{
	MemoryContext caller =
		MemoryContextSwitchTo(probe->context); /* a scan allocates at any time */
	bool found = probe->is_scanned ? index_getnext_slot(probe->scan, probe->direction, slot) :
									 fetch_next(probe, slot);

	MemoryContextSwitchTo(caller);
	return found;
}

/* fetch_next fetches the next row that was noted and is visible. */
static bool
fetch_next(WhProbe *probe, TupleTableSlot *slot)
{
	while (probe->next < probe->found)
	{
		int i = ScanDirectionIsForward(probe->direction) ? probe->next :
														   probe->found - 1 - probe->next;
		bool goes_on = false;
		bool is_dead = false;

		probe->next++;
		if (probe->is_heap)
			visit_page(probe, ItemPointerGetBlockNumber(&probe->tids[i]));
		if (table_index_fetch_tuple(probe->fetch, &probe->tids[i], probe->snapshot, slot, &goes_on,
									&is_dead))
		{
			pgstat_count_heap_fetch(probe->index);
			note_size(probe, slot);
			probe->has_given = true;
			return true;
		}
		if (!is_dead || probe->has_given)
			continue;
		begin_scan(probe);
		return index_getnext_slot(probe->scan, probe->direction, slot);
	}
	ExecClearTuple(slot);
	return false;
}

/* visit_page goes to a page of the heap before the fetch does, which prunes pages that it comes to
 * by itself. */
static void
visit_page(WhProbe *probe, BlockNumber block)
{
	IndexFetchHeapData *fetch = (IndexFetchHeapData *) probe->fetch;
	Buffer before = fetch->xs_cbuf;
	Page page;

	fetch->xs_cbuf = ReleaseAndReadBuffer(before, probe->heap, block);
	if (fetch->xs_cbuf == before)
		return;
	page = BufferGetPage(fetch->xs_cbuf);
	probe->largest = Max(probe->largest, average_size(page));
	if (PageIsFull(page) || PageGetHeapFreeSpace(page) < probe->largest * SPARE_ROWS)
		heap_page_prune_opt(probe->heap, fetch->xs_cbuf);
}

/* average_size guesses what a row takes, for when none has been met; without a lock, as free space
 * is asked for. */
static Size
average_size(Page page)
{
	OffsetNumber count = PageGetMaxOffsetNumber(page);

	return count == 0 ? 0 : (BLCKSZ - ((PageHeader) page)->pd_upper) / count + sizeof(ItemIdData);
}

static void
note_size(WhProbe *probe, TupleTableSlot *slot)
{
	if (TTS_IS_BUFFERTUPLE(slot))
		probe->largest =
			Max(probe->largest, MAXALIGN(((BufferHeapTupleTableSlot *) slot)->base.tuple->t_len) +
									sizeof(ItemIdData));
}

/* -------- leaves -------- */

/* read_leaf notes what there is of the key; false: a scan must tell. */
static bool
read_leaf(WhProbe *probe)
{
	Answer answer = DESCEND;

	for (int i = 0; i < probe->count; i++)
		probe->key->scankeys[i].sk_argument = probe->keys[i].sk_argument;
	if (probe->leaf != InvalidBlockNumber)
		answer = ask_remembered(probe);
	if (answer == DESCEND)
	{
		Buffer buffer;

		_bt_freestack(
			wh_compat_bt_search(probe->index, probe->heap, probe->key, &buffer, BT_READ));
		answer = BufferIsValid(buffer) ? ask_leaf(probe, buffer, true) : ALL;
	}
	if (answer != ALL)
		return false;
	pgstat_count_index_scan(probe->index);
	pgstat_count_index_tuples(probe->index, probe->found);
	return true;
}

/* ask_remembered asks the leaf on which the key before was, and its right neighbour. */
static Answer
ask_remembered(WhProbe *probe)
{
	Answer answer = ask_leaf(probe, lock_leaf(probe), false);

	if (answer == GO_RIGHT)
		answer = ask_leaf(probe, lock_leaf(probe), true);
	return answer == GO_RIGHT ? DESCEND : answer;
}

/* lock_leaf locks the remembered leaf for reading; mostly it is in the same buffer still. */
static Buffer
lock_leaf(const WhProbe *probe)
{
	if (!BufferIsValid(probe->buffer) ||
		!wh_compat_read_recent(probe->index, probe->leaf, probe->buffer))
		return _bt_getbuf(probe->index, probe->leaf, BT_READ);
	_bt_lockbuf(probe->index, probe->buffer, BT_READ);
	_bt_checkpage(probe->index, probe->buffer);
	return probe->buffer;
}

/*
 * ask_leaf notes what a leaf, which it unlocks, has of the key; begins_here: nothing of the key is
 * on the left of it.  The leaf that is to be asked next is remembered.
 */
static Answer
ask_leaf(WhProbe *probe, Buffer buffer, bool begins_here)
{
	Page page = BufferGetPage(buffer);
	BTPageOpaque opaque = BTPageGetOpaque(page);
	Answer answer = DESCEND;

	wh_compat_test_snapshot(probe->snapshot, probe->index, page);
	probe->leaf = BufferGetBlockNumber(buffer);
	probe->buffer = buffer;
	if (P_ISLEAF(opaque) && !P_IGNORE(opaque))
	{
		OffsetNumber offset = search(probe, page);

		probe->offset = offset;
		if (begins_here || P_LEFTMOST(opaque) || offset > P_FIRSTDATAKEY(opaque))
		{
			int32 beyond = -1;

			offset = note_equal(probe, page, offset);
			if (offset > PageGetMaxOffsetNumber(page) && !P_RIGHTMOST(opaque))
				beyond = _bt_compare(probe->index, probe->key, page, P_HIKEY);
			answer = beyond < 0 && offset != InvalidOffsetNumber ? ALL :
					 beyond > 0 && probe->found == 0			 ? GO_RIGHT :
																   SCAN;
			if (answer == GO_RIGHT)
			{
				probe->leaf = opaque->btpo_next;
				probe->buffer = InvalidBuffer;
			}
		}
	}
	_bt_relbuf(probe->index, buffer);
	return answer;
}

/* search finds the first entry that is not before the key; it begins where the key before was, then
 * behind that. */
static OffsetNumber
search(WhProbe *probe, Page page)
{
	OffsetNumber low = P_FIRSTDATAKEY(BTPageGetOpaque(page));
	OffsetNumber high = OffsetNumberNext(PageGetMaxOffsetNumber(page));
	OffsetNumber middle = probe->offset;
	bool is_near = true;

	while (low < high)
	{
		if (middle < low || middle >= high || !is_near)
			middle = low + (high - low) / 2;
		if (_bt_compare(probe->index, probe->key, page, middle) <= 0)
		{
			high = middle;
			is_near = false;
		}
		else
		{
			low = OffsetNumberNext(middle);
			is_near = is_near && middle == probe->offset;
			middle = low;
		}
	}
	return low;
}

/* note_equal notes the entries of the key from an offset on; returns where they end, or
 * InvalidOffsetNumber when they are too many. */
static OffsetNumber
note_equal(WhProbe *probe, Page page, OffsetNumber offset)
{
	OffsetNumber last = PageGetMaxOffsetNumber(page);

	for (; offset <= last && _bt_compare(probe->index, probe->key, page, offset) == 0; offset++)
	{
		if (!ItemIdIsDead(PageGetItemId(page, offset)) && !note(probe, page, offset))
			return InvalidOffsetNumber;
	}
	return offset;
}

/* note notes the rows of an entry; false: there are too many. */
static bool
note(WhProbe *probe, Page page, OffsetNumber offset)
{
	IndexTuple entry = (IndexTuple) PageGetItem(page, PageGetItemId(page, offset));
	int count = BTreeTupleIsPosting(entry) ? BTreeTupleGetNPosting(entry) : 1;

	if (probe->found + count > MOST_FOUND)
		return false;
	for (int i = 0; i < count; i++)
		probe->tids[probe->found++] =
			BTreeTupleIsPosting(entry) ? *BTreeTupleGetPostingN(entry, i) : entry->t_tid;
	return true;
}
