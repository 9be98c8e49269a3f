/*
 * apply.c
 *		What a load without statements writes (direct.c): the row of each key is brought from what
 * it was to what it is.
 *
 * What is rare stays with the statements that are there for it: rows that cannot be placed, rows
 * ahead of the feed clock, and members that are missing are put into the fact's stage, under the
 * names that change.c and ahead.c read.  Rows whose members are missing wait until these are
 * made.
 *
 * Values of rows live until their partitions are flushed, in memory that is bounded by rows and
 * bytes.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "fact/direct_private.h"
#include "fact/fact.h"

/* Rows are flushed when there are so many, or when they take so much memory. */
#define FLUSH_ROWS 10000
#define FLUSH_BYTES (8 * 1024 * 1024)

/* A row that was, or shall be, of one key. */
typedef struct Side
{
	bool is_there;
	char *reason; /* NULL: it is in the fact, or shall be */
	Datum identity[INDEX_MAX_KEYS];
	bool nulls[INDEX_MAX_KEYS];
} Side;

/* What becomes of an image. */
typedef enum Fate
{
	ABSENT, /* the query has no row of it */
	REJECTED,
	INCOMPLETE, /* a member is missing */
	COMPLETE
} Fate;

static void begin(WhFactDirect *direct, WhLoad *load, WhCounts *counts);
static void apply_part(WhFactDirect *direct);
static void apply_end(WhFactDirect *direct, uint64 number, bool is_again);
static void read_old(WhFactDirect *direct, const WhFactEnd *end, Side *old);
static void keep_identity(const TupleTableSlot *identity, Side *side);
static bool read_new(WhFactDirect *direct, const WhFactEnd *end, Side *new, Side *same,
					 bool is_again);
static void take_identity(const WhFactDirect *direct, TupleTableSlot *row, char *reason,
						  Side *same);
static bool keeps(const WhFact *fact);
static bool keep_surrogates(WhFactDirect *direct, TupleTableSlot *row, const Side *same);
static bool is_equal(const WhFactDirect *direct, TupleTableSlot *present, int column, Datum value,
					 bool isnull);
static Fate compute(WhFactDirect *direct, TupleTableSlot *image, TupleTableSlot **row,
					char **reason, Side *same);
static bool look_up(WhFactDirect *direct, TupleTableSlot *row, TimestampTz *instant);
static void keep_values(WhFactDirect *direct, const TupleTableSlot *row);
static bool may_move(const WhFactDirect *direct, TimestampTz instant);
static bool fill_row(void *arg, TupleTableSlot *image);
static void replace(WhFactDirect *direct, const Side *old, const Side *new);
static void insert(WhFactDirect *direct, Datum event_time);
static void end_row(WhFactDirect *direct);
static bool differs(const WhFactDirect *direct, TupleTableSlot *row);
static void wait_for_members(WhFactDirect *direct, uint64 number);
static void make_members(WhFactDirect *direct);
static void flush(WhFactDirect *direct);
static void stage_reason(WhFactDirect *direct, const char *name, TupleTableSlot *row,
						 const char *reason);
static void stage_row(WhFactDirect *direct, const char *name, TupleTableSlot *row);
static void keep_change(WhFactDirect *direct, int sign, const Datum *values, const bool *nulls);
static TupleDesc describe_changes(const WhFactDirect *direct);
static TupleDesc describe_staged(const WhFactDirect *direct, bool has_reason);

void
wh_fact_direct_load(WhFact *fact, WhLoad *load, WhCounts *counts)
{
	WhFactDirect *direct = fact->direct;
	MemoryContext caller = MemoryContextSwitchTo(direct->context);

	begin(direct, load, counts);
	direct->forgets = wh_fact_ahead_has_rows(fact);
	direct->keeps = !direct->forgets && keeps(fact);
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
	switch (compute(direct, image, &row, &reason, NULL))
	{
		case ABSENT:
			break;
		case REJECTED:
		case INCOMPLETE:
			/* Of what is retired there may be more than there is memory. */
			if (reason == NULL || strcmp(reason, WH_FACT_RETIRED) != 0)
				stage_reason(direct, "wh_new", row, reason);
			break;
		case COMPLETE:
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
	Side old;
	Side new;

	direct->present = NULL;
	if (!is_same)
		read_old(direct, end, &old);
	if (!read_new(direct, end, &new, is_same ? &old : NULL, is_again))
		wait_for_members(direct, number);
	else
	{
		if (old.is_there && (old.reason != NULL || direct->forgets))
		{
			wh_fact_direct_know(direct, old.identity, old.nulls);
			stage_reason(direct, "wh_was", direct->known, old.reason);
		}
		replace(direct, &old, &new);
	}
	MemoryContextSwitchTo(caller);
	end_row(direct);
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

/* read_old reads what stood in the fact: what identifies the row, in memory of one key. */
static void
read_old(WhFactDirect *direct, const WhFactEnd *end, Side *old)
{
	TupleTableSlot *image;
	TupleTableSlot *identity;

	old->is_there = false;
	old->reason = NULL;
	if (!end->was_there)
		return;
	image = wh_model_range_fetch(direct->range, end->first);
	old->is_there = wh_fact_direct_meets(direct, image);
	if (old->is_there)
	{
		identity = wh_formula_compute(direct->identity, image);
		wh_fact_direct_know(direct, identity->tts_values, identity->tts_isnull);
		old->reason = wh_fact_direct_reason(direct, direct->known);
		keep_identity(identity, old);
		wh_formula_reset(direct->identity);
		wh_formula_reset(direct->reason);
	}
	if (direct->condition != NULL)
		wh_formula_reset(direct->condition);
}

/* keep_identity copies what identifies a row out of a slot into the current context. */
static void
keep_identity(const TupleTableSlot *identity, Side *side)
{
	TupleDesc desc = identity->tts_tupleDescriptor;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		side->nulls[i] = identity->tts_isnull[i];
		side->identity[i] =
			side->nulls[i] ?
				(Datum) 0 :
				datumCopy(identity->tts_values[i], attribute->attbyval, attribute->attlen);
	}
}

/*
 * read_new computes the row that shall stand in the fact, into values and nulls; false: a member
 * that it refers to is missing, which is staged.  Of what identifies it new has the event time
 * alone; `same`, unless it is NULL, is the row before, which had the same identity.
 */
static bool
read_new(WhFactDirect *direct, const WhFactEnd *end, Side *new, Side *same, bool is_again)
{
	const WhFact *fact = direct->fact;
	TupleTableSlot *row;
	Fate fate;

	new->is_there = false;
	new->reason = NULL;
	if (!wh_fact_ends_lives(direct->ends, end))
		return true;
	fate =
		compute(direct, wh_model_range_fetch(direct->range, end->last), &row, &new->reason, same);
	new->is_there = fate != ABSENT;
	if (fate == REJECTED)
		stage_reason(direct, "wh_new", row, new->reason);
	if (fate == INCOMPLETE)
	{
		if (is_again)
			elog(ERROR, "fact %s refers to a member that could not be made", fact->model->name);
		stage_row(direct, "wh_lack", row);
		return false;
	}
	if (fate == COMPLETE)
		new->identity[direct->event_place] = row->tts_values[fact->event_time - 1];
	return true;
}

/*
 * compute computes the row of an image, its reason where it is rejected, and where it is
 * complete, values and nulls; one that may move is staged, too.
 */
static Fate
compute(WhFactDirect *direct, TupleTableSlot *image, TupleTableSlot **row, char **reason,
		Side *same)
{
	bool is_there = wh_fact_direct_meets(direct, image);
	TimestampTz instant;

	if (direct->condition != NULL)
		wh_formula_reset(direct->condition);
	if (!is_there)
		return ABSENT;
	*row = wh_formula_compute(direct->columns, image);
	*reason = wh_fact_direct_reason(direct, *row);
	wh_formula_reset(direct->reason);
	if (same != NULL)
		take_identity(direct, *row, *reason, same);
	if (*reason != NULL)
		return REJECTED;
	if (same == NULL || !direct->keeps || !keep_surrogates(direct, *row, same))
	{
		if (!look_up(direct, *row, &instant))
			return INCOMPLETE;
		if (may_move(direct, instant))
			stage_row(direct, "wh_row", *row);
	}
	keep_values(direct, *row);
	return COMPLETE;
}

/* take_identity: a row before that had the identity of the row was in the fact, or was rejected,
 * for the same reason.  Its values are those of the row. */
static void
take_identity(const WhFactDirect *direct, TupleTableSlot *row, char *reason, Side *same)
{
	ListCell *cell;

	same->is_there = true;
	same->reason = reason;
	foreach(cell, direct->fact->identity)
	{
		int i = foreach_current_index(cell);

		same->identity[i] = row->tts_values[lfirst_int(cell) - 1];
		same->nulls[i] = row->tts_isnull[lfirst_int(cell) - 1];
	}
}

/*
 * keeps says whether rows of a fact keep their surrogate keys, as those do that no load touches,
 * if neither their event time changes nor what roles read: when none of them is ahead of the
 * feed clock, and no dimension takes versions, or their times, away.
 */
static bool
keeps(const WhFact *fact)
{
	foreach_ptr(WhFactRole, role, fact->roles)
	{
		if (wh_dimension_purges(role->dimension) || wh_dimension_moves(role->dimension))
			return false;
	}
	return true;
}

/* keep_surrogates takes the surrogate keys of the row before, which is present then; false: they
 * are to be looked up. */
static bool
keep_surrogates(WhFactDirect *direct, TupleTableSlot *row, const Side *same)
{
	const WhFact *fact = direct->fact;
	WhFactLeaf *leaf =
		wh_fact_leaves_find(direct->leaves, row->tts_values[fact->event_time - 1]);
	TupleTableSlot *present;

	if (leaf == NULL || !wh_fact_leaf_find(leaf, same->identity, &present))
		return false;
	direct->present = present;
	slot_getallattrs(present);
	foreach_int(column, direct->read_by_roles)
	{
		if (!is_equal(direct, present, column - 1, row->tts_values[column - 1],
					  row->tts_isnull[column - 1]))
			return false;
	}
	for (int i = 0; i < list_length(fact->roles); i++)
		direct->surrogates[i] =
			DatumGetInt64(present->tts_values[direct->targets[fact->width + i] - 1]);
	return true;
}

/* look_up finds the surrogate keys of a row; false: a member is missing. */
static bool
look_up(WhFactDirect *direct, TupleTableSlot *row, TimestampTz *instant)
{
	TupleTableSlot *derived = wh_formula_compute(direct->derived, row);
	bool is_complete = true;
	int place = 1;
	ListCell *cell;

	*instant = DatumGetTimestampTz(derived->tts_values[0]);
	foreach(cell, direct->fact->roles)
	{
		WhFactRole *role = lfirst(cell);
		int i = foreach_current_index(cell);
		Datum *values = derived->tts_values + place;
		bool *nulls = derived->tts_isnull + place;

		direct->lacks[i] = false;
		if (!nulls[0] && DatumGetBool(values[0]))
			direct->surrogates[i] = -3;
		else if (!nulls[1] && DatumGetBool(values[1]))
			direct->surrogates[i] = -2;
		else
			direct->lacks[i] = !wh_fact_lookup_find(direct->lookups[i], values + 2, nulls + 2,
													*instant, &direct->surrogates[i]);
		is_complete = is_complete && !direct->lacks[i];
		place += 2 + list_length(role->keys);
	}
	return is_complete;
}

/* may_move says that another version may begin before the instant of a row: the clock has not
 * passed it. */
static bool
may_move(const WhFactDirect *direct, TimestampTz instant)
{
	return instant >= direct->load->clock;
}

/* keep_values sets the values of a row of the table, those by reference in memory that lasts
 * until the flush. */
static void
keep_values(WhFactDirect *direct, const TupleTableSlot *row)
{
	const WhFact *fact = direct->fact;
	TupleDesc desc = row->tts_tupleDescriptor;
	MemoryContext caller = MemoryContextSwitchTo(direct->rows);

	for (int i = 0; i < fact->width; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		int target = direct->targets[i] - 1;

		direct->nulls[target] = row->tts_isnull[i];
		direct->values[target] = row->tts_values[i];
		if (attribute->attbyval || row->tts_isnull[i])
			continue;
		direct->values[target] = datumCopy(row->tts_values[i], false, attribute->attlen);
		direct->gathered_bytes += datumGetSize(row->tts_values[i], false, attribute->attlen);
	}
	for (int i = 0; i < list_length(fact->roles); i++)
	{
		int target = direct->targets[fact->width + i] - 1;

		direct->values[target] = Int64GetDatum(direct->surrogates[i]);
		direct->nulls[target] = false;
	}
	MemoryContextSwitchTo(caller);
}

/* replace deletes, updates or inserts the row of one key. */
static void
replace(WhFactDirect *direct, const Side *old, const Side *new)
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
			else if (differs(direct, row))
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

/* differs compares a row of the fact, whose values have been taken apart, with the new values,
 * image by image, but for load_id. */
static bool
differs(const WhFactDirect *direct, TupleTableSlot *row)
{
	int count = direct->fact->width + list_length(direct->fact->roles);

	for (int i = 0; i < count; i++)
	{
		int target = direct->targets[i] - 1;

		if (!is_equal(direct, row, i, direct->values[target], direct->nulls[target]))
			return true;
	}
	return false;
}

/* is_equal compares a column (from 0) of a row of the fact with a value, as images. */
static bool
is_equal(const WhFactDirect *direct, TupleTableSlot *present, int column, Datum value, bool isnull)
{
	int target = direct->targets[column] - 1;
	Form_pg_attribute attribute = TupleDescAttr(present->tts_tupleDescriptor, target);

	if (isnull || present->tts_isnull[target])
		return isnull == present->tts_isnull[target];
	return datum_image_eq(present->tts_values[target], value, attribute->attbyval,
						  attribute->attlen);
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

/* stage_reason adds a row that is not placed to wh_new or wh_was: live, c…, reason. */
static void
stage_reason(WhFactDirect *direct, const char *name, TupleTableSlot *row, const char *reason)
{
	int width = direct->fact->width;
	Datum *values = palloc(sizeof(Datum) * (width + 2));
	bool *nulls = palloc(sizeof(bool) * (width + 2));

	if (direct->with_reason == NULL)
		direct->with_reason = describe_staged(direct, true);
	values[0] = BoolGetDatum(true);
	nulls[0] = false;
	memcpy(values + 1, row->tts_values, sizeof(Datum) * width);
	memcpy(nulls + 1, row->tts_isnull, sizeof(bool) * width);
	values[width + 1] = reason == NULL ? (Datum) 0 : CStringGetTextDatum(reason);
	nulls[width + 1] = reason == NULL;
	wh_stage_add(direct->fact->stage, name, direct->with_reason, values, nulls);
}

/* stage_row adds a row to wh_row or wh_lack: c…, sk…. */
static void
stage_row(WhFactDirect *direct, const char *name, TupleTableSlot *row)
{
	int width = direct->fact->width;
	int roles = list_length(direct->fact->roles);
	Datum *values = palloc(sizeof(Datum) * (width + roles));
	bool *nulls = palloc(sizeof(bool) * (width + roles));

	if (direct->with_surrogates == NULL)
		direct->with_surrogates = describe_staged(direct, false);
	memcpy(values, row->tts_values, sizeof(Datum) * width);
	memcpy(nulls, row->tts_isnull, sizeof(bool) * width);
	for (int i = 0; i < roles; i++)
	{
		values[width + i] = Int64GetDatum(direct->surrogates[i]);
		nulls[width + i] = direct->lacks[i];
	}
	wh_stage_add(direct->fact->stage, name, direct->with_surrogates, values, nulls);
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

static TupleDesc
describe_staged(const WhFactDirect *direct, bool has_reason)
{
	MemoryContext caller = MemoryContextSwitchTo(direct->context);
	TupleDesc query = direct->known->tts_tupleDescriptor;
	int before = has_reason ? 1 : 0;
	int after = has_reason ? 1 : list_length(direct->fact->roles);
	TupleDesc desc = CreateTemplateTupleDesc(before + query->natts + after);

	if (has_reason)
		TupleDescInitEntry(desc, 1, "live", BOOLOID, -1, 0);
	for (int i = 1; i <= query->natts; i++)
		TupleDescCopyEntry(desc, before + i, query, i);
	for (int i = 1; i <= after; i++)
		TupleDescInitEntry(desc, before + query->natts + i,
						   has_reason ? "reason" : psprintf("sk%d", i),
						   has_reason ? TEXTOID : INT8OID, -1, 0);
	MemoryContextSwitchTo(caller);
	return desc;
}
