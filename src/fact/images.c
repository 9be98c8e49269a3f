/*
 * images.c
 *		The images of a table's rows at a position, for a build without statements.
 *
 * A row is as the mirror has it, unless the log says after the position that it was changed: then
 * its first row there is a B, with the image, or there was none.  The keys of these are kept in
 * memory, as a load's are (ends.c); there are few, because a build begins where the feed is.  If
 * they are more than fit, SQL is the way.  Mirror and log are read in one snapshot, the build's.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "fact/direct_private.h"
#include "fact/fact.h"

struct WhFactImages
{
	WhRange *range;
	WhFactEnds *ends; /* of what came after the position */
	Relation mirror;
	int key_count;
	AttrNumber *key; /* attributes of the mirror */
	TupleConversionMap *map; /* of the log's rows to the mirror's; NULL: they are alike */
	TupleTableSlot *mapped;
};

static bool may_read(Relation mirror);
static bool is_changed(const WhFactImages *images, TupleTableSlot *row);

WhFactImages *
wh_fact_images_open(const WhModel *model, WhRange *range, WhFactEnds *ends)
{
	WhFactImages *images = palloc0(sizeof(WhFactImages));
	TupleDesc desc;

	images->range = range;
	images->ends = ends;
	images->mirror = table_open(model->source->mirror, AccessShareLock);
	if (!model->source->has_mirror || !may_read(images->mirror) || !wh_fact_ends_read(ends, 0) ||
		wh_fact_ends_parts(ends) > 1)
	{
		wh_fact_images_close(images);
		return NULL;
	}
	images->key_count = list_length(model->source->key);
	images->key = palloc(sizeof(AttrNumber) * images->key_count);
	for (int i = 0; i < images->key_count; i++)
		images->key[i] = get_attnum(
			model->source->mirror,
			wh_model_mirror_column(model->source, list_nth_int(model->source->key, i)));
	desc = RelationGetDescr(images->mirror);
	images->map = convert_tuples_by_name(range->desc, desc);
	images->mapped = MakeSingleTupleTableSlot(CreateTupleDescCopy(desc), &TTSOpsVirtual);
	return images;
}

static bool
may_read(Relation mirror)
{
	return mirror->rd_rel->relkind == RELKIND_RELATION && !mirror->rd_rel->relrowsecurity &&
		   pg_class_aclcheck(RelationGetRelid(mirror), GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

TupleDesc
wh_fact_images_desc(const WhFactImages *images)
{
	return RelationGetDescr(images->mirror);
}

bool
wh_fact_images_each(WhFactImages *images, bool (*body)(void *arg, TupleTableSlot *image), void *arg)
{
	TupleTableSlot *slot = table_slot_create(images->mirror, NULL);
	TableScanDesc scan =
		table_beginscan_strat(images->mirror, GetActiveSnapshot(), 0, NULL, true, false);
	bool goes_on = true;

	while (goes_on && table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (wh_fact_ends_count(images->ends) == 0 || !is_changed(images, slot))
			goes_on = body(arg, slot);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	for (uint64 i = 0; goes_on && i < wh_fact_ends_count(images->ends); i++)
	{
		WhFactEnd *end = wh_fact_ends_get(images->ends, i);

		CHECK_FOR_INTERRUPTS();
		if (!end->was_there)
			continue;
		slot = wh_model_range_fetch(images->range, end->first);
		if (images->map != NULL)
			slot = execute_attr_map_slot(images->map->attrMap, slot, images->mapped);
		goes_on = body(arg, slot);
	}
	return goes_on;
}

/* is_changed says whether the log has something of a row's key after the position. */
static bool
is_changed(const WhFactImages *images, TupleTableSlot *row)
{
	Datum key[INDEX_MAX_KEYS];

	for (int i = 0; i < images->key_count; i++)
	{
		bool isnull;

		key[i] = slot_getattr(row, images->key[i], &isnull);
	}
	return wh_fact_ends_has(images->ends, key);
}

void
wh_fact_images_close(WhFactImages *images)
{
	if (images->mapped != NULL)
		ExecDropSingleTupleTableSlot(images->mapped);
	table_close(images->mirror, NoLock);
}
