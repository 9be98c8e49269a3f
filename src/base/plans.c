/*
 * plans.c
 *		Plans that are kept for the session: of statements that loads and rounds run each time.
 *
 * Parsing and planning such a statement takes ten times as long as running it.  It is found by its
 * text, and planned once for any values: for an index scan by a column that is what a plan for
 * given values would be, too.  A table that is small when the plan is made may grow: whole tables
 * are read only where no index will do.
 *
 * PostgreSQL makes a kept plan anew where a relation, a function or search_path has changed, and
 * asks for privileges at each execution.  What is kept is forgotten, all of it, at the end of a
 * transaction that finds more than MAX_PLANS: none runs then.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/plancache.h"

#include "base/base.h"
#include "base/base_private.h"

#define MAX_PLANS 256

typedef struct Kept
{
	uint64 hash; /* of text */
	char *text; /* NULL: its plan could not be made */
	int nargs;
	Oid *types;
	SPIPlanPtr plan; /* valid when text is not NULL */
} Kept;

static HTAB *plans = NULL;
static MemoryContext context = NULL; /* of plans, and of the texts in it */

static void forget_if_full(XactEvent event, void *arg);
static bool must_plan(SPIPlanPtr plan);
static bool fits(const Kept *kept, const char *sql, int nargs, const WhArg *args);
static void prepare(Kept *kept, const char *sql, int nargs, const WhArg *args);

void
wh_plans_init(void)
{
	RegisterXactCallback(forget_if_full, NULL);
}

static void
forget_if_full(XactEvent event, void *arg)
{
	HASH_SEQ_STATUS scan;
	Kept *kept;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT)
		return;
	if (plans == NULL || hash_get_num_entries(plans) <= MAX_PLANS)
		return;
	hash_seq_init(&scan, plans);
	while ((kept = hash_seq_search(&scan)) != NULL)
	{
		if (kept->text != NULL)
			SPI_freeplan(kept->plan);
	}
	plans = NULL;
	MemoryContextDelete(context);
	context = NULL;
}

SPIPlanPtr
wh_plans_get(const char *sql, int nargs, const WhArg *args)
{
	uint64 hash = hash_bytes_extended((const unsigned char *) sql, strlen(sql), 0);
	Kept *kept;
	bool found;

	if (plans == NULL)
	{
		HASHCTL control = {.keysize = sizeof(uint64), .entrysize = sizeof(Kept)};

		context = AllocSetContextCreate(TopMemoryContext, "walhouse plans", ALLOCSET_DEFAULT_SIZES);
		control.hcxt = context;
		plans = hash_create("walhouse plans", MAX_PLANS, &control,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	kept = hash_search(plans, &hash, HASH_ENTER, &found);
	if (!found)
		kept->text = NULL;
	if (kept->text == NULL)
		prepare(kept, sql, nargs, args);
	return fits(kept, sql, nargs, args) ? kept->plan : NULL;
}

int
wh_plans_execute(SPIPlanPtr plan, Datum *values, const char *nulls, bool read_only)
{
	int level;
	int code;

	if (!must_plan(plan))
		return SPI_execute_plan(plan, values, nulls, read_only, 0);
	level = NewGUCNestLevel();
	wh_settings_avoid_scans();
	code = SPI_execute_plan(plan, values, nulls, read_only, 0);
	wh_settings_pop(level);
	return code;
}

/* must_plan says whether the plan will be made, or made anew, at its next execution. */
static bool
must_plan(SPIPlanPtr plan)
{
	foreach_ptr(CachedPlanSource, source, SPI_plan_get_plan_sources(plan))
	{
		if (!source->is_valid || source->gplan == NULL || !source->gplan->is_valid)
			return true;
	}
	return false;
}

/* fits says whether a plan is of this statement, and not of one with the same hash, or of
 * arguments of other types. */
static bool
fits(const Kept *kept, const char *sql, int nargs, const WhArg *args)
{
	if (kept->nargs != nargs || strcmp(kept->text, sql) != 0)
		return false;
	for (int i = 0; i < nargs; i++)
		if (kept->types[i] != args[i].type)
			return false;
	return true;
}

/* prepare fills an entry; where that fails, text stays NULL, and it is tried again. */
static void
prepare(Kept *kept, const char *sql, int nargs, const WhArg *args)
{
	Oid *types = MemoryContextAlloc(context, sizeof(Oid) * (nargs + 1));
	SPIPlanPtr plan;

	for (int i = 0; i < nargs; i++)
		types[i] = args[i].type;
	plan = SPI_prepare_cursor(sql, nargs, types, CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL)
		elog(ERROR, "could not prepare a statement: %s: %s", SPI_result_code_string(SPI_result),
			 sql);
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "could not keep a plan: %s", sql);
	kept->plan = plan;
	kept->nargs = nargs;
	kept->types = types;
	kept->text = MemoryContextStrdup(context, sql);
}
