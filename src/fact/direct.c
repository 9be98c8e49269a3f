/*
 * direct.c
 *		The load of a plain fact without statements.
 *
 * It does what change.c says in SQL, and what is written is the same: of each key that a range
 * touched, the row before and the one after (ends.c), the query's expressions on these two images
 * (formulas, base), surrogate keys (lookup.c), and rows of partitions deleted, updated and
 * inserted in place (leaves.c).  No statement is planned, nothing is staged but exceptions, and
 * each image is looked at once.
 *
 * A fact is plain when its rows follow the ends of a range alone (no bookings, milestones, lags),
 * it reads one table, and its dimensions are of members or dates.
 * Whatever the parts refuse beside that (policies, triggers, rights, expressions that need a plan)
 * is refused before anything is written; then the load goes through SQL, as it does with
 * walhouse.load_path = sql.
 *
 * This file chooses, compiles and opens; apply.c writes.  What is opened and read for the search of
 * missing partitions is kept for the load that follows in the same transaction.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "fact/direct_private.h"
#include "fact/fact.h"

static bool may_be_direct(const WhFact *fact);
static WhFactDirect *prepare(WhFact *fact, const WhLoad *load);
static bool compile(WhFactDirect *direct);
static bool compile_derived(WhFactDirect *direct, TupleDesc desc);
static TupleDesc name_columns(const WhFact *fact, TupleDesc desc);
static bool find_targets(WhFactDirect *direct);
static bool open_source(WhFactDirect *direct, const WhLoad *load);
static bool open_ends(WhFactDirect *direct);
static AttrNumber attribute_of(TupleDesc desc, const char *name);
static bool check_places(WhFactDirect *direct);
static bool old_has_place(WhFactDirect *direct, TupleTableSlot *image);
static bool new_has_place(void *arg, TupleTableSlot *image);
static bool has_place(WhFactDirect *direct, TupleTableSlot *image, bool is_new);
static bool has_place_at_sight(void *arg, TupleTableSlot *image);
static void lack(WhFactDirect *direct, Datum event_time);
static int64 stretch_of(Timestamp time);
static bool refuse(WhFact *fact);
static bool open_lookups(WhFactDirect *direct, const WhLoad *load);
static void close_lookups(WhFactDirect *direct);
static void close_formula(WhFormula *formula);

bool
wh_fact_direct_prepare(WhFact *fact, const WhLoad *load)
{
	if (fact->direct == NULL && !fact->direct_refused)
	{
		if (may_be_direct(fact))
			fact->direct = prepare(fact, load);
		fact->direct_refused = fact->direct == NULL;
		ereport(DEBUG1, (errmsg_internal("fact %s is %s %s", fact->model->name,
										 XLogRecPtrIsInvalid(fact->model->position) ? "built" :
																					  "loaded",
										 fact->direct_refused ? "by SQL" : "without statements")));
	}
	return fact->direct != NULL;
}

static bool
may_be_direct(const WhFact *fact)
{
	if (wh_model_load_path() != WH_PATH_AUTO || fact->stage != NULL ||
		fact->model->join != NULL || wh_fact_has_history(fact) ||
		fact->width != fact->query_width)
		return false;
	foreach_ptr(WhFactRole, role, fact->roles)
	{
		if (role->history != 0 || (role->dimension->kind != WH_MODEL_DIMENSION &&
								   role->dimension->kind != WH_MODEL_DATE))
			return false;
	}
	return true;
}

/* prepare reads what there is to be written, and sees that all of it can be written in place, once
 * there are partitions; NULL: it cannot. */
static WhFactDirect *
prepare(WhFact *fact, const WhLoad *load)
{
	MemoryContext context =
		AllocSetContextCreate(fact->context, "walhouse direct load", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	WhFactDirect *direct = palloc0(sizeof(WhFactDirect));
	bool is_done;

	direct->fact = fact;
	direct->context = context;
	direct->rows = AllocSetContextCreate(context, "walhouse rows", ALLOCSET_DEFAULT_SIZES);
	direct->one = AllocSetContextCreate(context, "walhouse key", ALLOCSET_DEFAULT_SIZES);
	PushActiveSnapshot(GetTransactionSnapshot());
	is_done = open_source(direct, load) && (direct->leaves = wh_fact_leaves_open(fact)) != NULL &&
			  compile(direct) && find_targets(direct);
	if (is_done && direct->condition == NULL && direct->images == NULL)
		wh_fact_ends_watch(direct->ends, direct->event_attribute);
	is_done = is_done && check_places(direct);
	PopActiveSnapshot();
	MemoryContextSwitchTo(caller);
	if (is_done)
		return direct;
	wh_fact_direct_close(direct);
	return NULL;
}

/* open_source opens the range of a load; or mirror and log of a build. */
static bool
open_source(WhFactDirect *direct, const WhLoad *load)
{
	const WhModel *model = direct->fact->model;
	bool is_build = XLogRecPtrIsInvalid(model->position);

	direct->range = wh_model_range_open(model, is_build ? load->to : model->position,
										is_build ? PG_UINT64_MAX : load->to);
	if (direct->range == NULL || !open_ends(direct))
		return false;
	if (is_build)
		direct->images = wh_fact_images_open(model, direct->range, direct->ends);
	return !is_build || direct->images != NULL;
}

void
wh_fact_direct_close(WhFactDirect *direct)
{
	close_lookups(direct);
	close_formula(direct->condition);
	close_formula(direct->identity);
	close_formula(direct->columns);
	close_formula(direct->reason);
	close_formula(direct->derived);
	if (direct->leaves != NULL)
		wh_fact_leaves_close(direct->leaves);
	if (direct->lacking != NULL)
		wh_stage_drop(direct->lacking);
	if (direct->images != NULL)
		wh_fact_images_close(direct->images);
	if (direct->ends != NULL)
		wh_fact_ends_close(direct->ends);
	if (direct->range != NULL)
		wh_model_range_close(direct->range);
	MemoryContextDelete(direct->context);
}

static void
close_formula(WhFormula *formula)
{
	if (formula != NULL)
		wh_formula_close(formula);
}

/* -------- what is computed -------- */

static bool
compile(WhFactDirect *direct)
{
	const WhFact *fact = direct->fact;
	const WhModel *model = fact->model;
	StringInfoData targets;
	TupleDesc source;
	TupleDesc desc;
	ListCell *cell;

	source = direct->images == NULL ? direct->range->desc : wh_fact_images_desc(direct->images);
	direct->columns = wh_model_formula_over(model, source);
	if (direct->columns == NULL)
		return false;
	if (model->condition != NULL)
	{
		direct->condition = wh_model_condition_over(model, source);
		if (direct->condition == NULL)
			return false;
	}
	initStringInfo(&targets);
	foreach(cell, fact->identity)
	{
		if (lfirst_int(cell) == fact->event_time)
			direct->event_place = foreach_current_index(cell);
		wh_sql_append(&targets, "%s%s", targets.len > 0 ? ", " : "",
					  wh_fact_column(fact, lfirst_int(cell))->expression);
	}
	direct->identity = wh_formula_compile(targets.data, "s", source);
	if (wh_fact_column(fact, fact->event_time)->attnum != 0)
		direct->event_attribute = attribute_of(
			source, get_attname(model->source->mirror,
								wh_fact_column(fact, fact->event_time)->attnum, false));
	desc = name_columns(fact, wh_formula_desc(direct->columns));
	direct->known = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	direct->reason = wh_formula_compile(
		wh_sql("(%s)::pg_catalog.text", wh_fact_reason(fact, "n")), "n", desc);
	return direct->identity != NULL && direct->reason != NULL && compile_derived(direct, desc);
}

/* compile_derived: the instant, then for each role what says -3, what says -2, and its key. */
static bool
compile_derived(WhFactDirect *direct, TupleDesc desc)
{
	const WhFact *fact = direct->fact;
	StringInfoData targets;
	ListCell *cell;

	initStringInfo(&targets);
	wh_sql_append(&targets, "%s", wh_fact_instant(fact, "n"));
	foreach(cell, fact->roles)
	{
		WhFactRole *role = lfirst(cell);

		wh_sql_append(&targets, ", %s, %s",
					  role->error == 0 ? "false" : wh_sql("n.c%d", role->error),
					  role->not_applicable == 0 ? "false" : wh_sql("n.c%d", role->not_applicable));
		foreach_ptr(char, key, wh_fact_role_keys(fact, role, "n"))
			wh_sql_append(&targets, ", CASE WHEN %s THEN %s END",
						  role->error == 0 && role->not_applicable == 0 ?
							  "true" :
							  wh_sql("(%s) IS NOT TRUE AND (%s) IS NOT TRUE",
									 role->error == 0 ? "false" : wh_sql("n.c%d", role->error),
									 role->not_applicable == 0 ?
										 "false" :
										 wh_sql("n.c%d", role->not_applicable)),
						  key);
	}
	direct->derived = wh_formula_compile(targets.data, "n", desc);
	return direct->derived != NULL;
}

/* name_columns names the query's columns as stages do, c1, c2, … */
static TupleDesc
name_columns(const WhFact *fact, TupleDesc desc)
{
	TupleDesc named = CreateTupleDescCopy(desc);

	for (int i = 0; i < fact->width; i++)
		namestrcpy(&TupleDescAttr(named, i)->attname, psprintf("c%d", i + 1));
	return named;
}

/* find_targets finds the attributes of the fact's table; false: the query's columns are not of its
 * types. */
static bool
find_targets(WhFactDirect *direct)
{
	const WhFact *fact = direct->fact;
	TupleDesc table = wh_fact_leaves_desc(direct->leaves);
	TupleDesc query = wh_formula_desc(direct->columns);
	int count = fact->width + list_length(fact->roles) + 1;
	ListCell *cell;

	direct->surrogates = palloc(sizeof(int64) * count);
	direct->lacks = palloc(sizeof(bool) * count);
	direct->targets = palloc(sizeof(AttrNumber) * count);
	direct->values = palloc(sizeof(Datum) * count);
	direct->nulls = palloc(sizeof(bool) * count);
	foreach(cell, fact->columns)
	{
		int i = foreach_current_index(cell);
		Form_pg_attribute attribute;

		direct->targets[i] =
			wh_fact_leaves_attribute(direct->leaves, wh_fact_column(fact, i + 1)->name);
		attribute = TupleDescAttr(table, direct->targets[i] - 1);
		if (attribute->atttypid != TupleDescAttr(query, i)->atttypid ||
			attribute->atttypmod != TupleDescAttr(query, i)->atttypmod)
			return false;
	}
	foreach(cell, fact->roles)
	{
		WhFactRole *role = lfirst(cell);

		direct->targets[fact->width + foreach_current_index(cell)] =
			wh_fact_leaves_attribute(direct->leaves, role->column);
		direct->read_by_roles = list_concat_unique_int(direct->read_by_roles, role->keys);
		if (role->error != 0)
			direct->read_by_roles = list_append_unique_int(direct->read_by_roles, role->error);
		if (role->not_applicable != 0)
			direct->read_by_roles =
				list_append_unique_int(direct->read_by_roles, role->not_applicable);
	}
	direct->targets[count - 1] = wh_fact_leaves_attribute(direct->leaves, "load_id");
	return true;
}

/* open_ends: keys are those of the source's rows. */
static bool
open_ends(WhFactDirect *direct)
{
	const WhFeedTable *source = direct->fact->model->source;
	TupleDesc desc = direct->range->desc;
	int count = list_length(source->key);
	AttrNumber *columns = palloc0(sizeof(AttrNumber) * count);
	Oid *types = palloc(sizeof(Oid) * count);
	Oid *collations = palloc(sizeof(Oid) * count);
	WhKeys *keys;
	ListCell *cell;

	foreach(cell, source->key)
	{
		int i = foreach_current_index(cell);

		columns[i] = attribute_of(desc, wh_model_mirror_column(source, lfirst_int(cell)));
		if (columns[i] == 0)
			return false;
		types[i] = TupleDescAttr(desc, columns[i] - 1)->atttypid;
		collations[i] = TupleDescAttr(desc, columns[i] - 1)->attcollation;
	}
	keys = wh_keys_open(count, types, collations);
	if (keys == NULL)
		return false;
	direct->ends =
		wh_fact_ends_open(direct->range, keys, count, columns, has_place_at_sight, direct);
	return true;
}

/* attribute_of is a column's number; 0: there is none of that name. */
static AttrNumber
attribute_of(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		if (strcmp(NameStr(TupleDescAttr(desc, i)->attname), name) == 0)
			return i + 1;
	}
	return 0;
}

/* check_places says whether every row has a partition that can be written, or will have one, so
 * that nothing stands in the way once writing has begun. */
static bool
check_places(WhFactDirect *direct)
{
	if (direct->images != NULL)
		return wh_fact_images_each(direct->images, new_has_place, direct);
	for (int part = 0; part == 0 || part < wh_fact_ends_parts(direct->ends); part++)
	{
		if (!wh_fact_ends_read(direct->ends, part))
			return false;
		for (uint64 i = 0; i < wh_fact_ends_count(direct->ends); i++)
		{
			WhFactEnd *end = wh_fact_ends_get(direct->ends, i);

			if (end->was_there && !end->first_is_clear &&
				!old_has_place(direct, wh_model_range_fetch(direct->range, end->first)))
				return false;
			if (wh_fact_ends_lives(direct->ends, end) && !end->last_is_clear &&
				!new_has_place(direct, wh_fact_ends_last(direct->ends, end)))
				return false;
		}
	}
	return true;
}

static bool
old_has_place(WhFactDirect *direct, TupleTableSlot *image)
{
	return has_place(direct, image, false);
}

static bool
new_has_place(void *arg, TupleTableSlot *image)
{
	return has_place(arg, image, true);
}

static bool
has_place(WhFactDirect *direct, TupleTableSlot *image, bool is_new)
{
	MemoryContext caller;
	TupleTableSlot *identity;
	bool has = true;

	if (has_place_at_sight(direct, image))
		return true;
	caller = MemoryContextSwitchTo(direct->one);
	if (wh_fact_direct_meets(direct, image))
	{
		identity = wh_formula_compute(direct->identity, image);
		wh_fact_direct_know(direct, identity->tts_values, identity->tts_isnull);
		if (wh_fact_direct_reason(direct, direct->known) == NULL)
		{
			Datum event_time = identity->tts_values[direct->event_place];

			has = wh_fact_leaves_find(direct->leaves, event_time) != NULL;
			if (!has && is_new && wh_fact_leaves_lack(direct->leaves, event_time))
			{
				lack(direct, event_time);
				has = true;
			}
		}
		wh_formula_reset(direct->reason);
		wh_formula_reset(direct->identity);
	}
	if (direct->condition != NULL)
		wh_formula_reset(direct->condition);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(direct->one);
	return has;
}

/* has_place_at_sight spares the query where the event time is a column as it is: whether the row
 * is to be placed does not matter if it can be.  A build reads its changes before the column is
 * known. */
static bool
has_place_at_sight(void *arg, TupleTableSlot *image)
{
	WhFactDirect *direct = arg;
	Datum event_time;
	bool isnull;

	if (direct->event_attribute == 0)
		return false;
	event_time = slot_getattr(image, direct->event_attribute, &isnull);
	return !isnull && wh_fact_leaves_find(direct->leaves, event_time) != NULL;
}

/* lack keeps the row that is known, whose partition is to be made: one of each stretch of time in
 * which no bucket can end. */
static void
lack(WhFactDirect *direct, Datum event_time)
{
	int64 stretch = direct->fact->event_type == DATEOID ?
						DatumGetDateADT(event_time) :
						stretch_of(DatumGetTimestamp(event_time));
	bool found;

	if (direct->lacking == NULL)
	{
		HASHCTL control = {.keysize = sizeof(int64), .entrysize = sizeof(int64)};
		MemoryContext caller = MemoryContextSwitchTo(direct->context);

		direct->lacking = wh_stage_create();
		control.hcxt = direct->context;
		direct->lacked =
			hash_create("walhouse lacking", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		MemoryContextSwitchTo(caller);
	}
	(void) hash_search(direct->lacked, &stretch, HASH_ENTER, &found);
	if (!found)
		wh_stage_add(direct->lacking, "wh_lacking", direct->known->tts_tupleDescriptor,
					 direct->known->tts_values, direct->known->tts_isnull);
}

/* stretch_of: days begin at quarters of an hour in every zone since 1980, and before at some
 * second. */
static int64
stretch_of(Timestamp time)
{
	const Timestamp year_1980 = (Timestamp) -7305 * USECS_PER_DAY;

	return time >= year_1980 ? (time - year_1980) / (15 * USECS_PER_MINUTE) :
							   (time - year_1980) / USECS_PER_SEC - 1;
}

const WhStage *
wh_fact_direct_lacking(const WhFactDirect *direct)
{
	return direct->lacking;
}

bool
wh_fact_direct_meets(WhFactDirect *direct, TupleTableSlot *image)
{
	return direct->condition == NULL ||
		   DatumGetBool(wh_formula_compute(direct->condition, image)->tts_values[0]);
}

/* reason_of: why a row cannot be placed, in memory of the formula; NULL: it can. */
char *
wh_fact_direct_reason(WhFactDirect *direct, TupleTableSlot *row)
{
	TupleTableSlot *result = wh_formula_compute(direct->reason, row);

	return result->tts_isnull[0] ? NULL : TextDatumGetCString(result->tts_values[0]);
}

/* know sets what identifies a row in the slot `known`. */
void
wh_fact_direct_know(WhFactDirect *direct, const Datum *identity, const bool *nulls)
{
	TupleTableSlot *known = direct->known;
	ListCell *cell;

	ExecClearTuple(known);
	memset(known->tts_isnull, true, sizeof(bool) * known->tts_tupleDescriptor->natts);
	foreach(cell, direct->fact->identity)
	{
		int i = foreach_current_index(cell);

		known->tts_values[lfirst_int(cell) - 1] = identity[i];
		known->tts_isnull[lfirst_int(cell) - 1] = nulls[i];
	}
	ExecStoreVirtualTuple(known);
}

/* -------- what is written -------- */

bool
wh_fact_direct_begin(WhFact *fact, WhLoad *load)
{
	MemoryContext caller;
	bool is_open;

	if (fact->stage != NULL || !wh_fact_direct_prepare(fact, load))
		return false;
	if (fact->direct->lacking != NULL)
		return refuse(fact);
	caller = MemoryContextSwitchTo(fact->direct->context);
	is_open = open_lookups(fact->direct, fact->direct->images == NULL ? load : NULL);
	MemoryContextSwitchTo(caller);
	if (is_open)
	{
		caller = MemoryContextSwitchTo(fact->context);
		fact->stage = wh_stage_create();
		MemoryContextSwitchTo(caller);
		return true;
	}
	return refuse(fact);
}

/* refuse leaves to SQL what has been prepared. */
static bool
refuse(WhFact *fact)
{
	wh_fact_direct_close(fact->direct);
	fact->direct = NULL;
	fact->direct_refused = true;
	ereport(DEBUG1, (errmsg_internal("fact %s is left to SQL", fact->model->name)));
	return false;
}

static bool
open_lookups(WhFactDirect *direct, const WhLoad *load)
{
	ListCell *cell;

	direct->lookups = palloc0(sizeof(WhFactLookup *) * (list_length(direct->fact->roles) + 1));
	foreach(cell, direct->fact->roles)
	{
		int i = foreach_current_index(cell);

		direct->lookups[i] = wh_fact_lookup_open(lfirst(cell), load);
		if (direct->lookups[i] == NULL)
			return false;
	}
	return true;
}

static void
close_lookups(WhFactDirect *direct)
{
	for (int i = 0; direct->lookups != NULL && i < list_length(direct->fact->roles); i++)
	{
		if (direct->lookups[i] != NULL)
			wh_fact_lookup_close(direct->lookups[i]);
	}
	direct->lookups = NULL;
}
