/*
 * mend.c
 *		walhouse.rebuild of a range of time: what differs from a build is written, and nothing else.
 *
 * As a build does, one transaction looks in one snapshot beside ingest and loads, and at its end
 * reads fresh; but under the load lock alone, and for no longer than it takes to look again at
 * what differed and to write it (WhModelRoutine has the two steps).  The models that are made of
 * the mended one follow in the same transaction, where they can, so readers see one state; where
 * they cannot they are to be built.  It is recorded as a build at the position where the model
 * stands, which does not move.  Missing partitions are made in short transactions before.
 *
 * A crash leaves what was there before.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "load/load.h"
#include "load/load_private.h"

/* Rounds of making partitions before rows without one are an error. */
#define PARTITION_ROUNDS 3

typedef struct Mend
{
	Oid relid;
	TimestampTz from;
	TimestampTz to;
	TimestampTz started;
	WhLoad *load;
	List *done; /* of WhDone * */
} Mend;

static List *mend_once(Mend *mend);
static List *look(Mend *mend);
static void check_ready(const WhModel *model);
static List *write_range(Mend *mend, WhModel *model);
static void follow(Mend *mend, const WhModel *model);
static void note_done(Mend *mend, const WhModel *model, const WhCounts *counts);

PG_FUNCTION_INFO_V1(walhouse_rebuild_range);

Datum
walhouse_rebuild_range(PG_FUNCTION_ARGS)
{
	Mend mend = {.relid = PG_GETARG_OID(0)};
	MemoryContext context;
	MemoryContext caller;
	List *missing;

	wh_txn_check_arguments(fcinfo);
	mend.from = PG_GETARG_TIMESTAMPTZ(1);
	mend.to = PG_GETARG_TIMESTAMPTZ(2);
	if (mend.from >= mend.to)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a range of time must end after its beginning")));
	wh_txn_open("walhouse.rebuild", wh_txn_procedure_atomic(fcinfo));
	context = AllocSetContextCreate(CurrentMemoryContext, "walhouse mend", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(context);
	for (int round = 0;; round++)
	{
		wh_txn_commit();
		MemoryContextSwitchTo(context);
		missing = mend_once(&mend);
		if (missing == NIL)
			break;
		if (round == PARTITION_ROUNDS)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("partitions for rows in that range could not be made")));
		wh_txn_commit();
		wh_load_make_partitions(missing);
	}
	wh_txn_commit();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	wh_txn_close();
	PG_RETURN_VOID();
}

/* mend_once returns partitions that are missing, and has written nothing then. */
static List *
mend_once(Mend *mend)
{
	if (FirstSnapshotSet)
		elog(ERROR, "a snapshot was taken before a range is rebuilt");
	XactIsoLevel = XACT_REPEATABLE_READ;
	return look(mend);
}

void
wh_load_mend(Oid relid, TimestampTz from, TimestampTz to)
{
	Mend mend = {.relid = relid, .from = from, .to = to};

	List *missing = look(&mend);

	wh_load_attach_partitions(missing);
	if (missing != NIL && look(&mend) != NIL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("partitions for rows in that range could not be made")));
}

static List *
look(Mend *mend)
{
	WhModel *model = wh_model_get(mend->relid, false);
	const WhModelRoutine *routine = wh_model_routine(model->kind);
	WhUser saved;
	bool is_suspect;

	wh_user_check_owner(model->owner, "model", model->name);
	if (routine->suspect == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s cannot be rebuilt by a range of time", model->name),
				 errdetail("Facts and rollups can."),
				 model->feed == NULL ? 0 :
									   errhint("SELECT walhouse.rebuild(%s) builds all of it.",
											   wh_sql_literal(model->name))));
	check_ready(model);
	wh_settings_pin(model->feed->time_zone);
	mend->started = GetCurrentTimestamp();
	wh_user_become(model->owner, &saved);
	is_suspect = routine->suspect(model, mend->from, mend->to);
	wh_user_restore(&saved);
	if (is_suspect)
		return write_range(mend, model);
	wh_load_release(model);
	return NIL;
}

/* check_ready: the model stands where all stand that it is made of. */
static void
check_ready(const WhModel *model)
{
	bool is_ready = strcmp(model->state, "live") == 0 && !model->is_paused &&
					wh_model_unready(model) == NULL && !wh_model_is_cut_off(model);

	foreach_int(id, wh_model_needs(model))
	{
		WhModel *need = wh_model_get_by_id(id);

		if (need->feed != NULL && need->position != model->position)
			is_ready = false;
	}
	if (!is_ready)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s cannot be rebuilt by a range of time now", model->name),
				 errdetail("It is not live, or not where the models are that it is made of."),
				 errhint("See walhouse.stat_model; once it is current, try again.")));
}

/* write_range mends the model under the load lock, with fresh snapshots, at the position where it
 * is by then. */
static List *
write_range(Mend *mend, WhModel *model)
{
	WhModel *now;
	WhCounts counts = {.read_known = true};
	List *missing;
	WhUser saved;

	wh_lock_load(model->feed->id);
	XactIsoLevel = XACT_READ_COMMITTED;
	now = wh_model_get_by_id(model->id);
	check_ready(now);
	if (now->definition != model->definition)
		ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						errmsg("the definition of %s was changed meanwhile", model->name),
						errhint("Try again.")));
	model->position = now->position;
	mend->load = wh_load_new(model->feed, model->position,
							 wh_changelog_clock(model->feed, model->position));
	mend->load->changes = wh_stage_create();
	mend->done = NIL;
	wh_user_become(model->owner, &saved);
	missing = wh_model_routine(model->kind)->mend(model, mend->load, &counts);
	wh_user_restore(&saved);
	if (missing == NIL &&
		counts.deleted + counts.updated + counts.inserted + counts.rejected > 0)
	{
		note_done(mend, model, &counts);
		follow(mend, model);
		wh_load_record(mend->load, "build", mend->started, mend->done, NULL);
	}
	wh_stage_drop(mend->load->changes);
	return missing;
}

/* follow brings the models on that are made of the mended one. */
static void
follow(Mend *mend, const WhModel *model)
{
	foreach_oid(relid, wh_model_dependents(model))
	{
		WhModel *follower = wh_model_get(relid, false);
		const WhModelRoutine *routine = wh_model_routine(follower->kind);
		bool is_live = strcmp(follower->state, "live") == 0 && !follower->is_paused &&
					   follower->position == model->position;
		WhCounts counts = {.read_known = true};
		bool has_followed = false;
		WhUser saved;

		if (is_live && routine->follow_mend != NULL)
		{
			wh_user_become(follower->owner, &saved);
			has_followed = routine->follow_mend(follower, mend->load, &counts);
			wh_user_restore(&saved);
		}
		if (has_followed)
			note_done(mend, follower, &counts);
		else if (strcmp(follower->state, "new") != 0)
			wh_model_set_state(follower->id, "rebuild", NULL);
	}
}

/* note_done: as a build, it reaches from where the history begins. */
static void
note_done(Mend *mend, const WhModel *model, const WhCounts *counts)
{
	WhDone *done = palloc0(sizeof(WhDone));

	done->model_id = model->id;
	done->definition = model->definition;
	done->from = XLogRecPtrIsInvalid(model->history_start) ? model->position :
															 model->history_start;
	done->counts = *counts;
	done->duration_ms =
		(double) TimestampDifferenceMilliseconds(mend->started, GetCurrentTimestamp());
	mend->done = lappend(mend->done, done);
}
