/*
 * apply.c
 *		What a load without statements writes (direct.c): the row of each key is brought from what
 * it was to what it is (sides.c).
 *
 * What is rare stays with the statements that are there for it: rows that cannot be placed, rows
 * ahead of the feed clock, and members that are missing are put into the fact's stage
 * (exceptions.c).  Rows whose members are missing wait until these are made.
 *
 * Values of rows live until their partitions are flushed, in memory that is bounded by rows and
 * bytes.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "fact/direct_private.h"
#include "fact/fact.h"

/* Rows are flushed when there are so many, or when they take so much memory. */
#define FLUSH_ROWS 10000
#define FLUSH_BYTES (8 * 1024 * 1024)

static void begin(WhFactDirect *direct, WhLoad *load, WhCounts *counts);
static bool fill_row(void *arg, TupleTableSlot *image);
static void apply_part(WhFactDirect *direct);
static void apply_end(WhFactDirect *direct, uint64 number, bool is_again);
static void replace(WhFactDirect *direct, const WhFactSide *old, const WhFactSide *new);
static void insert(WhFactDirect *direct, Datum event_time);
static void end_row(WhFactDirect *direct);
static void flush(WhFactDirect *direct);
static void wait_for_members(WhFactDirect *direct, uint64 number);
static void make_members(WhFactDirect *direct);
static void keep_change(WhFactDirect *direct, int sign, const Datum *values, const bool *nulls);
static TupleDesc describe_changes(const WhFactDirect *direct);

void
wh_fact_direct_load(WhFact *fact, WhLoad *load, WhCounts *counts)
{
	WhFactDirect *direct = fact->direct;
	MemoryContext caller = MemoryContextSwitchTo(direct->context);

	begin(direct, load, counts);
	direct->forgets = wh_fact_ahead_has_rows(fact);
	direct->keeps = !direct->forgets && wh_fact_side_keeps(fact);
	if (wh_fact_is_read(fact, load))
		direct->with_sign = describe_changes(direct);
	PushActiveSnapshot(GetTransactionSnapshot());
	wh_fact_leaves_see(direct->leaves);
	for (int part = 0; part < wh_fact_ends_parts(direct->ends); part++)
	{
		if (!wh_fact_ends_read(direct->ends, part))
			elog(ERROR, "the changes of fact %s cannot be read", fact->model->name);
		apply_part(direct);
	}
	PopActiveSnapshot();
	MemoryContextSwitchTo(caller);
	CommandCounterIncrement();
	wh_fact_leaves_tell(direct->leaves, fact);
	counts->read_known = true;
	counts->rows_read = direct->range->changes;
	if (wh_stage_count(fact->stage, "wh_was") > 0)
	{
		wh_fact_stage_old(fact);
		wh_fact_ahead_forget(fact);
	}
	wh_fact_reject(fact, load, counts);
}

void
wh_fact_direct_fill(WhFact *fact, WhLoad *load, WhCounts *counts)
{
	WhFactDirect *direct = fact->direct;
	MemoryContext caller = MemoryContextSwitchTo(direct->context);

	begin(direct, load, counts);
	counts->read_known = true;
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) wh_fact_images_each(direct->images, fill_row, direct);
	flush(direct);
	PopActiveSnapshot();
	MemoryContextSwitchTo(caller);
	CommandCounterIncrement();
	wh_fact_leaves_tell(direct->leaves, fact);
}

/* begin sets what all rows have in common. */
static void
begin(WhFactDirect *direct, WhLoad *load, WhCounts *counts)
{
	int last = direct->fact->width + list_length(direct->fact->roles);

	direct->load = load;
	direct->counts = counts;
	direct->values[direct->targets[last] - 1] = Int64GetDatum(load->id);
	direct->nulls[direct->targets[last] - 1] = false;
}

/* fill_row inserts the row of an image of a build, or leaves it for later. */
static bool
fill_row(void *arg, TupleTableSlot *image)
{
	WhFactDirect *direct = arg;
	MemoryContext caller = MemoryContextSwitchTo(direct->one);
	TupleTableSlot *row;
	char *reason = NULL;

	direct->counts->rows_read++;
	switch (wh_fact_side_compute(direct, image, &row, &reason, NULL))
	{
		case WH_FATE_ABSENT:
			break;
		case WH_FATE_REJECTED:
		case WH_FATE_INCOMPLETE:
			/* Of what is retired there may be more than there is memory. */
			if (reason == NULL || strcmp(reason, WH_FACT_RETIRED) != 0)
				wh_fact_direct_stage_reason(direct, "wh_new", row, reason);
			break;
		case WH_FATE_COMPLETE:
			insert(direct, row->tts_values[direct->fact->event_time - 1]);
			break;
	}
	MemoryContextSwitchTo(caller);
	end_row(direct);
	return true;
}

static void
apply_part(WhFactDirect *direct)
{
	for (uint64 i = 0; i < wh_fact_ends_count(direct->ends); i++)
	{
		CHECK_FOR_INTERRUPTS();
		apply_end(direct, i, false);
	}
	if (direct->waiting_count > 0)
	{
		make_members(direct);
		for (int i = 0; i < direct->waiting_count; i++)
			apply_end(direct, direct->waiting[i], true);
		direct->waiting_count = 0;
	}
	flush(direct);
}

/* apply_end brings the row of one key from what it was to what it is; is_again: its members have
 * been made. */
static void
apply_end(WhFactDirect *direct, uint64 number, bool is_again)
{
	WhFactEnd *end = wh_fact_ends_get(direct->ends, number);
	MemoryContext caller = MemoryContextSwitchTo(direct->one);
	bool is_same = end->stayed && wh_fact_ends_lives(direct->ends, end);
	WhFactSide old;
	WhFactSide new;

	direct->present = NULL;
	if (!is_same)
		wh_fact_side_old(direct, end, &old);
	if (!wh_fact_side_new(direct, end, &new, is_same ? &old : NULL, is_again))
		wait_for_members(direct, number);
	else
	{
		if (old.is_there && (old.reason != NULL || direct->forgets))
		{
			wh_fact_direct_know(direct, old.identity, old.nulls);
			wh_fact_direct_stage_reason(direct, "wh_was", direct->known, old.reason);
		}
		replace(direct, &old, &new);
	}
	MemoryContextSwitchTo(caller);
	end_row(direct);
}

/* replace deletes, updates or inserts the row of one key. */
static void
replace(WhFactDirect *direct, const WhFactSide *old, const WhFactSide *new)
{
	bool was_placed = old->is_there && old->reason == NULL;
	bool is_placed = new->is_there &&new->reason == NULL;
	int event = direct->event_place;
	bool stays = was_placed && is_placed && old->identity[event] == new->identity[event];
	TupleTableSlot *row;
	WhFactLeaf *leaf;

	if (was_placed)
	{
		leaf = wh_fact_leaves_find(direct->leaves, old->identity[event]);
		row = direct->present;
		if (leaf != NULL &&
			(row != NULL || wh_fact_leaf_find(leaf, old->identity, &row)))
		{
			slot_getallattrs(row);
			if (!stays)
			{
				keep_change(direct, -1, row->tts_values, row->tts_isnull);
				wh_fact_leaf_delete(leaf, row);
				direct->counts->deleted++;
			}
			else if (wh_fact_side_differs(direct, row))
			{
				keep_change(direct, -1, row->tts_values, row->tts_isnull);
				keep_change(direct, 1, direct->values, direct->nulls);
				wh_fact_leaf_update(leaf, row, direct->values, direct->nulls);
				direct->counts->updated++;
			}
		}
	}
	if (is_placed && !stays)
		insert(direct, new->identity[event]);
}

/* insert inserts values and nulls. */
static void
insert(WhFactDirect *direct, Datum event_time)
{
	WhFactLeaf *leaf = wh_fact_leaves_find(direct->leaves, event_time);

	if (leaf == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("no partition of fact %s found for a row", direct->fact->model->name)));
	keep_change(direct, 1, direct->values, direct->nulls);
	wh_fact_leaf_insert(leaf, direct->values, direct->nulls);
	direct->gathered++;
	direct->counts->inserted++;
}

/* flush writes the rows that were gathered, and gives their memory back. */
static void
flush(WhFactDirect *direct)
{
	wh_fact_leaves_flush(direct->leaves);
	MemoryContextReset(direct->rows);
	direct->gathered = 0;
	direct->gathered_bytes = 0;
}

/* end_row gives back what one row took, but for what waits to be flushed. */
static void
end_row(WhFactDirect *direct)
{
	MemoryContextReset(direct->one);
	wh_formula_reset(direct->columns);
	wh_formula_reset(direct->derived);
	if (direct->gathered >= FLUSH_ROWS || direct->gathered_bytes >= FLUSH_BYTES)
		flush(direct);
}

/* -------- what is left to statements -------- */

static void
wait_for_members(WhFactDirect *direct, uint64 number)
{
	if (direct->waiting_count == direct->waiting_room)
	{
		direct->waiting_room = Max(direct->waiting_room * 2, 64);
		direct->waiting =
			direct->waiting == NULL ?
				MemoryContextAlloc(direct->context, sizeof(uint32) * direct->waiting_room) :
				repalloc_huge(direct->waiting, sizeof(uint32) * (Size) direct->waiting_room);
	}
	direct->waiting[direct->waiting_count++] = number;
}

/* make_members makes the members that rows of wh_lack miss. */
static void
make_members(WhFactDirect *direct)
{
	WhFact *fact = direct->fact;
	ListCell *cell;

	foreach(cell, fact->roles)
		direct->counts->inferred +=
			wh_fact_infer_members(fact, lfirst(cell), direct->load, "wh_lack");
	wh_stage_forget(fact->stage, "wh_lack");
	for (int i = 0; i < list_length(fact->roles); i++)
		wh_fact_lookup_renew(direct->lookups[i]);
}

/* keep_change keeps for rollups what is done to a row, as the statements of write.c do. */
static void
keep_change(WhFactDirect *direct, int sign, const Datum *values, const bool *nulls)
{
	WhFact *fact = direct->fact;
	Datum *kept;
	bool *are_null;
	int i = 0;

	if (direct->with_sign == NULL)
		return;
	kept = palloc(sizeof(Datum) * direct->with_sign->natts);
	are_null = palloc(sizeof(bool) * direct->with_sign->natts);
	kept[i] = Int32GetDatum(sign);
	are_null[i++] = false;
	foreach_int(attribute, fact->read)
	{
		kept[i] = values[attribute - 1];
		are_null[i++] = nulls[attribute - 1];
	}
	wh_stage_add(direct->load->changes, wh_fact_changes(fact->model->id), direct->with_sign, kept,
				 are_null);
}

/* describe_changes: wh_n, c<attnum>, … (fact.h) */
static TupleDesc
describe_changes(const WhFactDirect *direct)
{
	TupleDesc table = wh_fact_leaves_desc(direct->leaves);
	TupleDesc desc = CreateTemplateTupleDesc(1 + list_length(direct->fact->read));
	int i = 1;

	TupleDescInitEntry(desc, i++, "wh_n", INT4OID, -1, 0);
	foreach_int(attribute, direct->fact->read)
	{
		TupleDescCopyEntry(desc, i, table, attribute);
		namestrcpy(&TupleDescAttr(desc, i++ - 1)->attname, psprintf("c%d", attribute));
	}
	return desc;
}
