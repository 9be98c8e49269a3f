/*
 * stage.c
 *		Rows that are kept for later statements of the same transaction, and read there by name.
 *
 * What temporary tables are for, without their catalog writes and where they are forbidden (a
 * security-restricted operation): the result of a query goes into a tuplestore, in memory up to
 * work_mem and on disk beyond it, and every later statement of the stage sees it as an ephemeral
 * named relation.  The planner knows how many rows it has.
 *
 * A stage lives in the memory context that was current at its creation and must not outlive the
 * (sub)transaction that it was made in: its files belong to the resource owner that was current
 * then, which closes them in an abort; before a commit its user drops it.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "nodes/params.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/queryenvironment.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "base/base.h"
#include "base/base_private.h"

struct WhStage
{
	MemoryContext context;
	List *relations; /* of EphemeralNamedRelation */
	bool is_fixed; /* statements see the active snapshot */
	ResourceOwner owner; /* of the files: the one that was current at the stage's creation */
};

static EphemeralNamedRelation find(const WhStage *stage, const char *name);
static void keep(WhStage *stage, const char *name, TupleDesc desc, Tuplestorestate *store,
				 uint64 count);
static Tuplestorestate *make_store(const WhStage *stage);
static void check_same(const char *name, TupleDesc kept, TupleDesc added);
static uint64 run(const WhStage *stage, const char *sql, int nargs, const WhArg *args,
				  DestReceiver *dest, TupleDesc *desc, WhRows **rows);
static ParamListInfo make_params(int nargs, const WhArg *args, Oid **types);

WhStage *
wh_stage_create(void)
{
	WhStage *stage = palloc0(sizeof(WhStage));

	stage->context = CurrentMemoryContext;
	stage->owner = CurrentResourceOwner;
	return stage;
}

WhStage *
wh_stage_create_snapshot(void)
{
	WhStage *stage = wh_stage_create();

	stage->is_fixed = true;
	return stage;
}

void
wh_stage_drop(WhStage *stage)
{
	ListCell *cell;

	foreach(cell, stage->relations)
		tuplestore_end(((EphemeralNamedRelation) lfirst(cell))->reldata);
	stage->relations = NIL;
}

uint64
wh_stage_fill(WhStage *stage, const char *name, const char *sql, int nargs, const WhArg *args)
{
	return wh_stage_fill_from(stage, name, stage, sql, nargs, args);
}

uint64
wh_stage_fill_from(WhStage *stage, const char *name, const WhStage *reads, const char *sql,
				   int nargs, const WhArg *args)
{
	MemoryContext caller = MemoryContextSwitchTo(stage->context);
	DestReceiver *dest = CreateTuplestoreDestReceiver();
	Tuplestorestate *store = make_store(stage);
	TupleDesc desc;
	uint64 count;

	SetTuplestoreDestReceiverParams(dest, store, stage->context, false, NULL, NULL);
	run(reads, sql, nargs, args, dest, &desc, NULL);
	count = tuplestore_tuple_count(store);
	keep(stage, name, desc, store, count);
	MemoryContextSwitchTo(caller);
	return count;
}

uint64
wh_stage_append(WhStage *stage, const char *name, const WhStage *reads, const char *sql,
				int nargs, const WhArg *args)
{
	EphemeralNamedRelation relation = find(stage, name);
	MemoryContext caller;
	DestReceiver *dest;
	TupleDesc desc;
	uint64 before;

	if (relation == NULL)
		return wh_stage_fill_from(stage, name, reads, sql, nargs, args);
	caller = MemoryContextSwitchTo(stage->context);
	before = relation->md.enrtuples;
	dest = CreateTuplestoreDestReceiver();
	SetTuplestoreDestReceiverParams(dest, relation->reldata, stage->context, false, NULL, NULL);
	run(reads, sql, nargs, args, dest, &desc, NULL);
	check_same(name, relation->md.tupdesc, desc);
	relation->md.enrtuples = tuplestore_tuple_count(relation->reldata);
	MemoryContextSwitchTo(caller);
	return (uint64) relation->md.enrtuples - before;
}

void
wh_stage_add(WhStage *stage, const char *name, TupleDesc desc, const Datum *values,
			 const bool *nulls)
{
	EphemeralNamedRelation relation = find(stage, name);
	MemoryContext caller = MemoryContextSwitchTo(stage->context);

	if (relation == NULL)
	{
		keep(stage, name, CreateTupleDescCopy(desc), make_store(stage), 0);
		relation = find(stage, name);
	}
	tuplestore_putvalues(relation->reldata, relation->md.tupdesc, unconstify(Datum *, values),
						 unconstify(bool *, nulls));
	relation->md.enrtuples++;
	MemoryContextSwitchTo(caller);
}

void
wh_stage_forget(WhStage *stage, const char *name)
{
	EphemeralNamedRelation relation = find(stage, name);

	if (relation == NULL)
		return;
	tuplestore_end(relation->reldata);
	stage->relations = list_delete_ptr(stage->relations, relation);
}

uint64
wh_stage_fill_catalog(WhStage *stage, const char *name, const char *sql, int nargs,
					  const WhArg *args)
{
	WhUser saved;
	uint64 count;

	wh_user_become_extension(&saved);
	count = wh_stage_fill(stage, name, sql, nargs, args);
	wh_user_restore(&saved);
	return count;
}

uint64
wh_stage_count(const WhStage *stage, const char *name)
{
	EphemeralNamedRelation relation = find(stage, name);

	return relation == NULL ? 0 : (uint64) relation->md.enrtuples;
}

uint64
wh_stage_execute(const WhStage *stage, const char *sql, int nargs, const WhArg *args)
{
	return run(stage, sql, nargs, args, NULL, NULL, NULL);
}

WhRows *
wh_stage_query(const WhStage *stage, const char *sql, int nargs, const WhArg *args)
{
	WhRows *rows;

	run(stage, sql, nargs, args, NULL, NULL, &rows);
	return rows;
}

uint64
wh_stage_catalog(const WhStage *stage, const char *sql, int nargs, const WhArg *args)
{
	WhUser saved;
	uint64 processed;

	wh_user_become_extension(&saved);
	processed = run(stage, sql, nargs, args, NULL, NULL, NULL);
	wh_user_restore(&saved);
	return processed;
}

static EphemeralNamedRelation
find(const WhStage *stage, const char *name)
{
	ListCell *cell;

	foreach(cell, stage->relations)
	{
		EphemeralNamedRelation relation = lfirst(cell);

		if (strcmp(relation->md.name, name) == 0)
			return relation;
	}
	return NULL;
}

/* make_store makes it in the current context.  A subtransaction that only fills the stage would
 * close its files when it ends: they are the stage's. */
static Tuplestorestate *
make_store(const WhStage *stage)
{
	ResourceOwner owner = CurrentResourceOwner;
	Tuplestorestate *store;

	CurrentResourceOwner = stage->owner;
	store = tuplestore_begin_heap(false, false, work_mem);
	CurrentResourceOwner = owner;
	return store;
}

static void
check_same(const char *name, TupleDesc kept, TupleDesc added)
{
	bool same = kept->natts == added->natts;

	for (int i = 0; same && i < kept->natts; i++)
		same = TupleDescAttr(kept, i)->atttypid == TupleDescAttr(added, i)->atttypid;
	if (!same)
		elog(ERROR, "rows of another type were added to stage relation \"%s\"", name);
}

/* keep puts a result under its name, in the place of what had it before. */
static void
keep(WhStage *stage, const char *name, TupleDesc desc, Tuplestorestate *store, uint64 count)
{
	EphemeralNamedRelation relation = find(stage, name);

	if (relation == NULL)
	{
		relation = palloc0(sizeof(EphemeralNamedRelationData));
		relation->md.name = pstrdup(name);
		relation->md.enrtype = ENR_NAMED_TUPLESTORE;
		stage->relations = lappend(stage->relations, relation);
	}
	else
		tuplestore_end(relation->reldata);
	relation->md.tupdesc = desc;
	relation->md.enrtuples = count;
	relation->reldata = store;
}

/*
 * run executes one statement that sees the stage; with dest, its rows go there, and *desc
 * describes them; with rows, they are copied to the caller's context.
 */
static uint64
run(const WhStage *stage, const char *sql, int nargs, const WhArg *args, DestReceiver *dest,
	TupleDesc *desc, WhRows **rows)
{
	MemoryContext caller = CurrentMemoryContext;
	SPIExecuteOptions options = {0};
	SPIPlanPtr plan;
	ListCell *cell;
	Oid *types;
	uint64 processed;
	int code;

	PushActiveSnapshot(stage->is_fixed ? GetActiveSnapshot() : GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	foreach(cell, stage->relations)
	{
		code = SPI_register_relation(lfirst(cell));
		if (code != SPI_OK_REL_REGISTER)
			elog(ERROR, "could not register a stage: %s", SPI_result_code_string(code));
	}
	options.params = make_params(nargs, args, &types);
	options.dest = dest;
	options.read_only = stage->is_fixed;
	plan = SPI_prepare(sql, nargs, types);
	if (plan == NULL)
		elog(ERROR, "could not prepare a statement: %s: %s", SPI_result_code_string(SPI_result),
			 sql);
	if (desc != NULL)
	{
		CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(plan));
		MemoryContext own = MemoryContextSwitchTo(stage->context);

		*desc = CreateTupleDescCopy(source->resultDesc);
		MemoryContextSwitchTo(own);
	}
	code = SPI_execute_plan_extended(plan, &options);
	if (code < 0)
		elog(ERROR, "statement failed in SPI: %s: %s", SPI_result_code_string(code), sql);
	processed = SPI_processed;
	if (rows != NULL)
		*rows = wh_spi_copy_result(caller);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "could not disconnect from SPI");
	PopActiveSnapshot();
	MemoryContextSwitchTo(caller);
	return processed;
}

static ParamListInfo
make_params(int nargs, const WhArg *args, Oid **types)
{
	ParamListInfo params = makeParamList(nargs);

	*types = palloc(sizeof(Oid) * (nargs + 1));
	for (int i = 0; i < nargs; i++)
	{
		(*types)[i] = args[i].type;
		params->params[i].value = args[i].value;
		params->params[i].isnull = args[i].isnull;
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = args[i].type;
	}
	return params;
}
