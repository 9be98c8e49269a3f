/*
 * sources.c
 *		Sets of sources, and what becomes of them on the way through a query.
 *
 * A path from a source to an output has one way of bearing on it for each of its steps.  Of the
 * whole path the step that is nearest to the output and indirect tells; where all are direct, the
 * farthest from identity.  That is associative: it does not matter in which order a path is put
 * together, so lineage that is kept view by view and joined later says the same as a walk through
 * all of them at once.
 */
#include "postgres.h"

#include "lineage/lineage.h"

static int find(const WhSources *sources, Oid relid, AttrNumber attnum, bool *found);
static bool add(WhSources *sources, Oid relid, AttrNumber attnum, uint32 how);
static WhHow rows_through(WhHow outer, WhHow inner);

static const char *const names[WH_HOW_COUNT] = {
	"IDENTITY", "TRANSFORMATION", "AGGREGATION", "JOIN", "FILTER",
	"GROUP_BY", "SORT", "WINDOW", "CONDITIONAL", "ROWS"};

void
wh_sources_add(WhSources *sources, Oid relid, AttrNumber attnum, uint32 how)
{
	add(sources, relid, attnum, how);
}

bool
wh_sources_through(WhSources *sources, const WhSources *from, WhHow how)
{
	bool changed = false;

	for (int i = 0; i < from->count; i++)
	{
		const WhSource *source = &from->items[i];
		uint32 mask = 0;

		for (int bit = 0; bit < WH_HOW_COUNT; bit++)
			if (source->how & (1 << bit))
				mask |= wh_how_through(how, 1 << bit);
		changed |= add(sources, source->relid, source->attnum, mask);
	}
	return changed;
}

bool
wh_sources_rows(WhSources *sources, const WhSources *from, WhHow how)
{
	bool changed = false;

	for (int i = 0; i < from->count; i++)
	{
		const WhSource *source = &from->items[i];
		uint32 mask = 0;

		for (int bit = 0; bit < WH_HOW_COUNT; bit++)
			if (source->how & (1 << bit))
				mask |= rows_through(how, 1 << bit);
		changed |= add(sources, source->relid, source->attnum, mask);
	}
	return changed;
}

WhHow
wh_how_through(WhHow outer, WhHow inner)
{
	if (outer == WH_HOW_ROWS || (wh_how_is_direct(outer) && !wh_how_is_direct(inner)))
		return inner;
	if (!wh_how_is_direct(outer))
		return outer;
	return Max(outer, inner);
}

static WhHow
rows_through(WhHow outer, WhHow inner)
{
	if (outer == WH_HOW_JOIN || outer == WH_HOW_FILTER)
		return inner;
	return wh_how_through(outer, inner);
}

bool
wh_how_is_direct(WhHow how)
{
	return (how & WH_HOW_DIRECT) != 0;
}

const char *
wh_how_kind(WhHow how)
{
	return wh_how_is_direct(how) ? "DIRECT" : "INDIRECT";
}

const char *
wh_how_name(WhHow how)
{
	for (int bit = 0; bit < WH_HOW_COUNT; bit++)
		if (how == 1 << bit)
			return names[bit];
	elog(ERROR, "no single way of bearing on a column: %u", (unsigned) how);
}

WhHow
wh_how_named(const char *name)
{
	for (int bit = 0; bit < WH_HOW_COUNT; bit++)
		if (strcmp(name, names[bit]) == 0)
			return 1 << bit;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is no way of bearing on a column", name)));
}

/* find returns the place of a source, or the one where it belongs. */
static int
find(const WhSources *sources, Oid relid, AttrNumber attnum, bool *found)
{
	int low = 0;
	int high = sources->count;

	while (low < high)
	{
		int middle = low + (high - low) / 2;
		const WhSource *item = &sources->items[middle];

		if (item->relid < relid || (item->relid == relid && item->attnum < attnum))
			low = middle + 1;
		else
			high = middle;
	}
	*found = low < sources->count && sources->items[low].relid == relid &&
			 sources->items[low].attnum == attnum;
	return low;
}

static bool
add(WhSources *sources, Oid relid, AttrNumber attnum, uint32 how)
{
	bool found;
	int place = find(sources, relid, attnum, &found);

	if (found)
	{
		uint32 before = sources->items[place].how;

		sources->items[place].how |= how;
		return sources->items[place].how != before;
	}
	if (sources->count == sources->size)
	{
		sources->size = Max(4, sources->size * 2);
		if (sources->items == NULL)
			sources->items = palloc(sources->size * sizeof(WhSource));
		else
			sources->items = repalloc(sources->items, sources->size * sizeof(WhSource));
	}
	memmove(&sources->items[place + 1], &sources->items[place],
			(sources->count - place) * sizeof(WhSource));
	sources->items[place] = (WhSource){relid, attnum, how};
	sources->count++;
	return true;
}
