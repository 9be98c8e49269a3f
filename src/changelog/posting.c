/*
 * posting.c
 *		Entries of equal keys as one, before they are in a B-tree.
 *
 * An update has two rows in its log, the one before and the one after, of one position and place.
 * nbtree makes one entry, a posting list, of equal ones when a leaf is full, by going through all
 * of it, and each time again that it is.  Where the entries are at hand, side by side, they are
 * made into one at once: a leaf holds more of them, and has nothing left to be made smaller.
 */
#include "postgres.h"

#include "access/nbtree.h"

#include "changelog/changelog_private.h"

/* So many TIDs one entry has at most. */
#define MOST_JOINED 32

static bool may_join(IndexTuple entry, IndexTuple next);

int
wh_posting_join(IndexTuple *entries, int count)
{
	ItemPointerData tids[MOST_JOINED];
	int joined = 0;

	for (int i = 0; i < count; joined++)
	{
		IndexTuple entry = entries[i];
		int found = 0;

		do
			tids[found++] = entries[i++]->t_tid;
		while (i < count && found < MOST_JOINED && may_join(entries[i - 1], entries[i]));
		entries[joined] = found == 1 ? entry : _bt_form_posting(entry, tids, found);
	}
	return joined;
}

/* may_join says whether two entries have the same bytes for a key, and their rows stand in order.
 */
static bool
may_join(IndexTuple entry, IndexTuple next)
{
	return entry->t_info == next->t_info &&
		   memcmp(entry + 1, next + 1, IndexTupleSize(entry) - sizeof(IndexTupleData)) == 0 &&
		   ItemPointerCompare(&entry->t_tid, &next->t_tid) < 0;
}

int
wh_posting_tids(IndexTuple entry, ItemPointer *tids)
{
	*tids = BTreeTupleIsPosting(entry) ? BTreeTupleGetPosting(entry) : &entry->t_tid;
	return BTreeTupleIsPosting(entry) ? BTreeTupleGetNPosting(entry) : 1;
}
