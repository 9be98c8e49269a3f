/*
 * sides.c
 *		Both sides of a key in a load without statements: the row that stood in the fact, and the
 * one that shall.
 *
 * Of the row before, the image says what identifies it and whether it was placed; the fact itself
 * is not read for that.  The row after is computed whole, with the surrogate keys of its roles,
 * into values and nulls of the load.  Where neither the event time nor what roles read has
 * changed, the surrogate keys are those that the row has.
 */
#include "postgres.h"

#include "utils/datum.h"
#include "utils/memutils.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "fact/direct_private.h"
#include "fact/fact.h"

static void keep_identity(const TupleTableSlot *identity, WhFactSide *side);
static void take_identity(const WhFactDirect *direct, TupleTableSlot *row, char *reason,
						  WhFactSide *same);
static bool keep_surrogates(WhFactDirect *direct, TupleTableSlot *row, const WhFactSide *same);
static bool look_up(WhFactDirect *direct, TupleTableSlot *row, TimestampTz *instant);
static bool may_move(const WhFactDirect *direct, TimestampTz instant);
static void keep_values(WhFactDirect *direct, const TupleTableSlot *row);
static bool is_equal(const WhFactDirect *direct, TupleTableSlot *present, int column, Datum value,
					 bool isnull);

void
wh_fact_side_old(WhFactDirect *direct, const WhFactEnd *end, WhFactSide *old)
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
keep_identity(const TupleTableSlot *identity, WhFactSide *side)
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

bool
wh_fact_side_new(WhFactDirect *direct, const WhFactEnd *end, WhFactSide *new, WhFactSide *same,
				 bool is_again)
{
	const WhFact *fact = direct->fact;
	TupleTableSlot *row;
	WhFactFate fate;

	new->is_there = false;
	new->reason = NULL;
	if (!wh_fact_ends_lives(direct->ends, end))
		return true;
	fate = wh_fact_side_compute(direct, wh_fact_ends_last(direct->ends, end), &row,
								&new->reason, same);
	new->is_there = fate != WH_FATE_ABSENT;
	if (fate == WH_FATE_REJECTED)
		wh_fact_direct_stage_reason(direct, "wh_new", row, new->reason);
	if (fate == WH_FATE_INCOMPLETE)
	{
		if (is_again)
			elog(ERROR, "fact %s refers to a member that could not be made", fact->model->name);
		wh_fact_direct_stage_row(direct, "wh_lack", row);
		return false;
	}
	if (fate == WH_FATE_COMPLETE)
		new->identity[direct->event_place] = row->tts_values[fact->event_time - 1];
	return true;
}

WhFactFate
wh_fact_side_compute(WhFactDirect *direct, TupleTableSlot *image, TupleTableSlot **row,
					 char **reason, WhFactSide *same)
{
	bool is_there = wh_fact_direct_meets(direct, image);
	TimestampTz instant;

	if (direct->condition != NULL)
		wh_formula_reset(direct->condition);
	if (!is_there)
		return WH_FATE_ABSENT;
	*row = wh_formula_compute(direct->columns, image);
	*reason = wh_fact_direct_reason(direct, *row);
	wh_formula_reset(direct->reason);
	if (same != NULL)
		take_identity(direct, *row, *reason, same);
	if (*reason != NULL)
		return WH_FATE_REJECTED;
	if (same == NULL || !direct->keeps || !keep_surrogates(direct, *row, same))
	{
		if (!look_up(direct, *row, &instant))
			return WH_FATE_INCOMPLETE;
		if (may_move(direct, instant))
			wh_fact_direct_stage_row(direct, "wh_row", *row);
	}
	keep_values(direct, *row);
	return WH_FATE_COMPLETE;
}

/* take_identity: a row before that had the identity of the row was in the fact, or was rejected,
 * for the same reason.  Its values are those of the row. */
static void
take_identity(const WhFactDirect *direct, TupleTableSlot *row, char *reason, WhFactSide *same)
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

/* keep_surrogates takes the surrogate keys of the row before, which is present then; false: they
 * are to be looked up. */
static bool
keep_surrogates(WhFactDirect *direct, TupleTableSlot *row, const WhFactSide *same)
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

bool
wh_fact_side_keeps(const WhFact *fact)
{
	foreach_ptr(WhFactRole, role, fact->roles)
	{
		if (wh_dimension_purges(role->dimension) || wh_dimension_moves(role->dimension))
			return false;
	}
	return true;
}

bool
wh_fact_side_differs(const WhFactDirect *direct, TupleTableSlot *row)
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
