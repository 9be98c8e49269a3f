/*
 * exceptions.c
 *		What a load without statements leaves to those of change.c and ahead.c: the rows, in the
 * fact's stage, under the names that these read.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/base.h"
#include "fact/direct_private.h"
#include "fact/fact.h"

static TupleDesc describe_staged(const WhFactDirect *direct, bool has_reason);

void
wh_fact_direct_stage_reason(WhFactDirect *direct, const char *name, TupleTableSlot *row,
							const char *reason)
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

void
wh_fact_direct_stage_row(WhFactDirect *direct, const char *name, TupleTableSlot *row)
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
