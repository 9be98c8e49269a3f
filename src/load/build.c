/*
 * build.c
 *		Builds: fills a model from one snapshot, while ingest and the other models go on.
 *
 * The build's transaction is REPEATABLE READ from its start: mirror, log and positions are read
 * in one snapshot.  At its end it takes the feed's state lock and reads fresh (READ COMMITTED
 * again, the first snapshot stays registered), lets the kind mend what moved meanwhile, and makes
 * the model live at the position that the snapshot saw; the next load catches up.  Partitions are
 * made in short transactions before.  A session lock on the model keeps two builders apart and
 * goes with the process: a model that is found building with nobody at it is built again.  An
 * error of data stops the model; a system's is raised, and leaves the model to be built again.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/lock.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "load/load.h"
#include "load/load_private.h"
#include "partition/partition.h"

/* Rounds of making partitions before a build runs with what there is. */
#define PARTITION_ROUNDS 3

/* One build, in its subtransaction. */
typedef struct Build
{
	int32 model_id;
	TimestampTz started;
	bool may_end; /* it may end to have partitions made */
	List *missing; /* of WhMissingPartition *: what it ended for */
	XLogRecPtr to; /* what it reached, or InvalidXLogRecPtr: what it needs is not ready */
} Build;

static bool build_locked(int32 model_id);
static bool begin_build(int32 model_id);
static void build_once(void *arg);
static XLogRecPtr compared(const WhModel *model);
static XLogRecPtr build_position(const WhModel *model, TimestampTz *clock);
static void finish(WhModel *model, WhLoad *load, TimestampTz started, WhDone *done);
static void check_unchanged(const WhModel *model);
static bool is_buildable(const WhModel *model);
static void lock_tag(LOCKTAG *tag, int32 model_id);
static bool is_somebody_building(int32 model_id);
static void stop_build(const Build *build, const ErrorData *error);

List *
wh_load_pending_builds(int32 feed_id)
{
	List *pending = NIL;
	ListCell *cell;

	foreach(cell, wh_model_ids(feed_id))
	{
		WhModel *model = wh_model_get_by_id(lfirst_int(cell));

		if (is_buildable(model) &&
			(strcmp(model->state, "new") == 0 || strcmp(model->state, "rebuild") == 0 ||
			 (strcmp(model->state, "building") == 0 && !is_somebody_building(model->id))))
			pending = lappend_int(pending, model->id);
	}
	return pending;
}

bool
wh_load_build(int32 model_id)
{
	volatile bool built = false;
	LOCKTAG tag;

	lock_tag(&tag, model_id);
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	PG_TRY();
	{
		built = build_locked(model_id);
	}
	PG_FINALLY();
	{
		LockRelease(&tag, ExclusiveLock, true);
	}
	PG_END_TRY();
	return built;
}

static bool
build_locked(int32 model_id)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "walhouse build", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Build build = {.model_id = model_id};
	ErrorData *error = NULL;
	bool built = false;

	if (begin_build(model_id))
	{
		for (int round = 0; round <= PARTITION_ROUNDS; round++)
		{
			build.may_end = round < PARTITION_ROUNDS;
			build.missing = NIL;
			wh_txn_commit();
			MemoryContextSwitchTo(context);
			if (FirstSnapshotSet)
				elog(ERROR, "a snapshot was taken before a build");
			XactIsoLevel = XACT_REPEATABLE_READ;
			built = wh_txn_try(build_once, &build, &error);
			wh_txn_commit();
			MemoryContextSwitchTo(context);
			if (!built || build.missing == NIL)
				break;
			wh_load_make_partitions(build.missing);
		}
		if (!built)
			stop_build(&build, error);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return built && !XLogRecPtrIsInvalid(build.to);
}

/* begin_build marks the model, so that no load touches it; false when it cannot be built now. */
static bool
begin_build(int32 model_id)
{
	WhModel *model = wh_model_get_by_id(model_id);

	if (!is_buildable(model))
		return false;
	wh_lock_state(model->feed->id);
	model = wh_model_get_by_id(model_id);
	wh_model_set_state(model_id, "building", NULL);
	return true;
}

/* build_once builds the model in the snapshot of its transaction. */
static void
build_once(void *arg)
{
	Build *build = arg;
	WhModel *model = wh_model_get_by_id(build->model_id);
	WhDone *done = palloc0(sizeof(WhDone));
	TimestampTz clock;
	instr_time start;
	instr_time end;
	WhLoad *load;
	WhUser saved;
	int level;

	build->started = GetCurrentTimestamp();
	wh_settings_pin(model->feed->time_zone);
	build->to = build_position(model, &clock);
	if (XLogRecPtrIsInvalid(build->to))
		return;
	model->position = InvalidXLogRecPtr;
	load = wh_load_new(model->feed, build->to, clock);
	if (build->may_end)
		build->missing = wh_load_missing(model, load);
	if (build->missing != NIL)
	{
		wh_load_release(model);
		return;
	}
	INSTR_TIME_SET_CURRENT(start);
	wh_user_become(model->owner, &saved);
	level = wh_settings_push_joins(WH_JOINS_WHOLE);
	wh_model_routine(model->kind)->build(model, load, &done->counts);
	wh_settings_pop(level);
	wh_user_restore(&saved);
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);
	done->duration_ms = INSTR_TIME_GET_MILLISEC(end);
	finish(model, load, build->started, done);
}

/* finish makes the model live, under the state lock and with fresh snapshots. */
static void
finish(WhModel *model, WhLoad *load, TimestampTz started, WhDone *done)
{
	const WhModelRoutine *routine = wh_model_routine(model->kind);
	WhUser saved;
	ListCell *cell;

	wh_lock_state(model->feed->id);
	XactIsoLevel = XACT_READ_COMMITTED;
	check_unchanged(model);
	if (routine->finish_build != NULL)
	{
		wh_user_become(model->owner, &saved);
		routine->finish_build(model, load, &done->counts);
		wh_user_restore(&saved);
	}
	done->model_id = model->id;
	done->definition = model->definition;
	done->from = wh_model_get_by_id(model->id)->history_start;
	if (XLogRecPtrIsInvalid(done->from))
		done->from = load->to;
	wh_load_record(load, "build", started, list_make1(done), NULL);
	wh_load_revive(model->id, "live");

	/* New surrogate keys, new rows: what was made of the old ones is built again. */
	foreach(cell, wh_model_dependents(model))
		wh_catalog_execute(
			"UPDATE walhouse.model m SET state = 'rebuild', error = NULL, error_time = NULL"
			" WHERE m.state IN ('live', 'stopped', 'building') AND m.relation = $1",
			1, (WhArg[]){WH_ARG_REGCLASS(lfirst_oid(cell))});
}

/*
 * check_unchanged raises when a model that this one needs was built again meanwhile: this one is
 * made of its old rows, and is marked to be built again.
 */
static void
check_unchanged(const WhModel *model)
{
	if (strcmp(wh_model_get_by_id(model->id)->state, "building") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("%s must be built again", model->name),
				 errdetail("A model that it needs was built meanwhile."),
				 errhint("Try again.")));
}

/*
 * build_position returns the position that a build can reach in its snapshot: the feed's, or the
 * one that the models have in common which this one needs; InvalidXLogRecPtr when there is none.
 */
static XLogRecPtr
build_position(const WhModel *model, TimestampTz *clock)
{
	XLogRecPtr position = wh_changelog_position(model->feed->id, clock);
	XLogRecPtr common = InvalidXLogRecPtr;
	ListCell *cell;

	foreach(cell, wh_model_needs(model))
	{
		WhModel *need = wh_model_get_by_id(lfirst_int(cell));

		if (need->feed == NULL)
			continue;
		if (strcmp(need->state, "live") != 0 ||
			(!XLogRecPtrIsInvalid(common) && common != need->position))
			return InvalidXLogRecPtr;
		common = need->position;
	}
	if (model->sources == NIL)
	{
		*clock = wh_changelog_clock(model->feed, common);
		return common;
	}
	/* A model stands at the feed's position, too, when no source transaction lies between. */
	if (XLogRecPtrIsInvalid(common) || common == position ||
		!wh_load_has_transactions(model->feed, common, position))
		return position;
	/* The log does not reach back so far, or a table was not followed there: the dimensions must be
	 * loaded first. */
	if (common < wh_model_horizon(model) || common < compared(model))
		return InvalidXLogRecPtr;
	*clock = wh_changelog_clock(model->feed, common);
	return common;
}

/* compared is where the last of a model's tables was brought to the source by a comparison. */
static XLogRecPtr
compared(const WhModel *model)
{
	XLogRecPtr lsn = InvalidXLogRecPtr;

	foreach_ptr(const WhFeedTable, table, model->sources)
		lsn = Max(lsn, table->compared_lsn);
	return lsn;
}

/* is_buildable says that a model is not paused, its tables are ready, and that the models that it
 * needs are live. */
static bool
is_buildable(const WhModel *model)
{
	ListCell *cell;

	if (model->feed == NULL || model->is_paused || wh_model_unready(model) != NULL)
		return false;
	foreach(cell, wh_model_needs(model))
	{
		WhModel *need = wh_model_get_by_id(lfirst_int(cell));

		if (need->feed != NULL && strcmp(need->state, "live") != 0)
			return false;
	}
	return true;
}

static void
lock_tag(LOCKTAG *tag, int32 model_id)
{
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, wh_catalog_relid("model"), model_id, 0);
}

static bool
is_somebody_building(int32 model_id)
{
	LOCKTAG tag;

	lock_tag(&tag, model_id);
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	LockRelease(&tag, ExclusiveLock, true);
	return false;
}

/* stop_build stores an error of data, in the model and as a build that brought nothing on; a
 * system's is raised. */
static void
stop_build(const Build *build, const ErrorData *error)
{
	WhModel *model = wh_model_get_by_id(build->model_id);
	char *text = wh_load_error_text(error);
	XLogRecPtr position;
	TimestampTz clock;

	if (wh_load_is_system_error(error))
		ReThrowError((ErrorData *) error);
	wh_lock_state(model->feed->id);
	position = wh_changelog_position(model->feed->id, &clock);
	wh_load_stop(model->id, text, position, 0, true);
	wh_load_record(wh_load_new(model->feed, position, clock), "build", build->started, NIL,
				   psprintf("%s: %s", model->name, text));
	wh_txn_commit();
	ereport(LOG,
			(errmsg("walhouse could not build %s: %s", model->name, error->message)));
}
