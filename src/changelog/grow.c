/*
 * grow.c
 *		Files that grow by many pages at a time.
 *
 * A heap or B-tree that has no room takes one page more, by a system call that writes zeros: a
 * fifth of what updates cost.  Here files that were seen to grow are made longer ahead of need, and
 * the new pages are put into the free space map, where heaps and nbtree look for room before they
 * ask for a new page.  An empty page is nothing new to them, for a crash may leave some: whoever
 * takes it from the map initializes it.
 *
 * A file grows ahead by some times of what it grew while it was looked at, at most by a part of
 * its length, so that small tables stay as small as they are, and a table that ceases to grow has
 * little in reserve.  What stays free at last is what any later row takes first.
 */
#include "postgres.h"

#include "storage/bufmgr.h"
#include "storage/freespace.h"
#include "storage/indexfsm.h"
#include "utils/rel.h"

#include "base/base.h"
#include "changelog/changelog_private.h"

/* Pages by which it must have grown. */
#define LEAST_GROWTH 4
#define TIMES_GROWTH 8
/* Nothing is made longer by more than this part of it. */
#define PART_OF_LENGTH 8

void
wh_growth_begin(WhGrowth *growth, Relation rel)
{
	growth->rel = rel;
	growth->length = RelationGetNumberOfBlocks(rel);
}

void
wh_growth_follow(WhGrowth *growth, BufferAccessStrategy strategy)
{
	BlockNumber length = RelationGetNumberOfBlocks(growth->rel);
	bool is_index = growth->rel->rd_rel->relkind == RELKIND_INDEX;
	BlockNumber first;
	uint32 count;

	if (length < growth->length + LEAST_GROWTH)
		return;
	count = Min((length - growth->length) * TIMES_GROWTH, length / PART_OF_LENGTH);
	count = Min(count, WH_COMPAT_MOST_PAGES);
	growth->length = length;
	if (count == 0)
		return;
	first = wh_compat_extend(growth->rel, strategy, &count);
	for (BlockNumber block = first; block < first + count; block++)
	{
		if (is_index)
			RecordFreeIndexPage(growth->rel, block);
		else
			RecordPageWithFreeSpace(growth->rel, block, BLCKSZ - SizeOfPageHeaderData);
	}
	FreeSpaceMapVacuumRange(growth->rel, first, first + count);
	growth->length = first + count;
}
