/*
 * run.c
 *		Loads: brings the live models of a feed to its position, all in one transaction.
 *
 * Under the feed's load lock, models run in order of dependence, each as its owner.  Ingest may go
 * on beside (base/locks.c), so log, mirrors and position are read in one snapshot, that of the
 * transaction: what a load does in several statements fits together.  The transaction appends one
 * row to walhouse.load and one for each model to load_model; these rows are the models' positions,
 * so data and position commit together (P1), and readers see all models move at once (P2).
 *
 * Partitions are made beside: what the load will need is evaluated before anything is written;
 * where something is missing, the transaction ends, the partitions are made in short transactions,
 * and the load runs again, once.
 *
 * All models run in one subtransaction first.  If it fails with an error of data, it is done
 * again with a subtransaction for each model; those that fail stop where they are, with the error
 * on view, and so do the facts that need them; the others go on (P4).  Errors of the system
 * (classes 40, 53, 57, 58, XX) stop nobody: they are raised, and the whole load is the caller's to
 * repeat.  Models that stopped are tried again, each in a subtransaction of its own (retry.c).
 *
 * What the load does to facts that rollups stand on is kept in run.load->changes, which belongs to
 * the whole transaction; rollups that the load does not bring on keep it for later at its end.
 *
 * A crash at any point leaves the positions and the data of before.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "fact/fact.h"
#include "load/load.h"
#include "load/load_private.h"
#include "partition/partition.h"

/* One load while it runs. */
typedef struct Run
{
	WhLoad *load;
	TimestampTz started;
	List *live; /* of int: ids of models to load, in order */
	List *models; /* of WhModel *: those of live, in outline */
	List *due; /* of int: ids of stopped models to try again, in order */
	bool may_end; /* the load may end to have partitions made */
	List *missing; /* of WhMissingPartition *: what it ended for */
	List *done; /* of WhDone * */
	List *stopped; /* of int: ids of models that are stopped, or stopped in this load */
	List *waiting; /* of int: ids of models that are not brought to load->to for other reasons */
	List *followers; /* of int: ids of models that keep what they missed */
	StringInfoData errors;
} Run;

/* One model in a subtransaction. */
typedef struct Attempt
{
	Run *run;
	int32 model_id;
	bool only_evaluate; /* look for missing partitions alone */
} Attempt;

static bool run_once(int32 feed_id, bool may_end, List **missing);
static bool choose(Run *run, WhFeed *feed, XLogRecPtr to);
static void choose_model(Run *run, WhModel *model, XLogRecPtr to, XLogRecPtr *lowest,
						 XLogRecPtr *highest);
static void run_together(void *arg);
static void run_apart(Run *run, List *ids);
static void evaluate_apart(Run *run, List *ids);
static void try_model(Run *run, int32 model_id, bool only_evaluate);
static void attempt_model(void *arg);
static bool rests(const Run *run, const WhModel *model);
static void note_done(Run *run, const WhModel *model, const WhCounts *counts, double duration_ms);
static void load_model(Run *run, WhModel *model);
static void count_read(const Run *run, const WhModel *model, WhCounts *counts);
static int32 stopped_need(Run *run, const WhModel *model);
static bool must_wait(Run *run, const WhModel *model);
static void keep_missed(Run *run);
static bool is_done(const Run *run, int32 model_id);
static void attempt_missed(void *arg);
static void stop_model(Run *run, WhModel *model, const char *error, int32 waits_for);

static const WhAfterLoad *after = NULL;

bool
wh_load_run(int32 feed_id)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "walhouse load", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	List *missing = NIL;
	bool moved;
	bool is_due;

	wh_txn_commit();
	moved = run_once(feed_id, true, &missing);
	is_due = wh_load_after_is_due(feed_id);
	wh_txn_commit();
	if (missing != NIL)
	{
		wh_load_make_partitions(missing);
		missing = NIL;
		MemoryContextSwitchTo(context);
		moved = run_once(feed_id, false, &missing) || moved;
		is_due = wh_load_after_is_due(feed_id);
		wh_txn_commit();
	}
	if (is_due)
		after->work(feed_id);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return moved;
}

void
wh_load_set_after(const WhAfterLoad *what)
{
	after = what;
}

bool
wh_load_after_is_due(int32 feed_id)
{
	return after != NULL && after->is_due(feed_id);
}

/* run_once does one load; with may_end it may end with *missing filled and nothing written but
 * what stopped. */
static bool
run_once(int32 feed_id, bool may_end, List **missing)
{
	Run run = {.may_end = may_end, .started = GetCurrentTimestamp()};
	WhFeed *feed;
	XLogRecPtr to;
	TimestampTz clock;
	ErrorData *error;

	wh_lock_load(feed_id);
	wh_model_kept_begin();
	if (FirstSnapshotSet)
		elog(ERROR, "a snapshot was taken before a load");
	XactIsoLevel = XACT_REPEATABLE_READ;
	feed = wh_changelog_feed_by_id(feed_id, false);
	wh_settings_pin(feed->time_zone);
	initStringInfo(&run.errors);
	to = wh_changelog_position(feed_id, &clock);
	if (XLogRecPtrIsInvalid(to) || !choose(&run, feed, to))
		return false;
	run.load = wh_load_new(feed, to, clock);
	run.load->changes = wh_stage_create();

	if (!wh_txn_try(run_together, &run, &error))
	{
		if (wh_load_is_system_error(error))
			ReThrowError(error);
		run.done = NIL;
		run.missing = NIL;
		wh_stage_drop(run.load->changes);
		if (may_end)
			evaluate_apart(&run, list_concat_copy(run.live, run.due));
		if (run.missing == NIL)
			run_apart(&run, run.live);
	}
	else if (may_end)
		evaluate_apart(&run, list_copy(run.due));
	if (run.missing == NIL)
		run_apart(&run, run.due);
	if (run.missing == NIL)
		keep_missed(&run);
	wh_stage_drop(run.load->changes);
	*missing = run.missing;
	if (run.done != NIL || run.errors.len > 0)
		wh_load_record(run.load, "load", run.started, run.done,
					   run.errors.len > 0 ? run.errors.data : NULL);
	return run.done != NIL;
}

/* choose finds the models to load, and says whether there is anything to do. */
static bool
choose(Run *run, WhFeed *feed, XLogRecPtr to)
{
	XLogRecPtr lowest = to;
	XLogRecPtr highest = InvalidXLogRecPtr;
	ListCell *cell;

	foreach(cell, wh_model_outlines(feed))
		choose_model(run, lfirst(cell), to, &lowest, &highest);
	if (run->due != NIL)
		return true;
	/* A build makes a model live further on than the others; facts need a common position. */
	if (run->live != NIL && lowest != highest)
		return true;
	return run->live != NIL &&
		   wh_load_has_transactions(feed, lowest, to);
}

static void
choose_model(Run *run, WhModel *model, XLogRecPtr to, XLogRecPtr *lowest, XLogRecPtr *highest)
{
	bool is_build = false;
	int32 waits_for = 0;

	if (wh_model_routine(model->kind)->missed != NULL)
		run->followers = lappend_int(run->followers, model->id);
	if (model->is_paused)
	{
		run->waiting = lappend_int(run->waiting, model->id);
		return;
	}
	if ((strcmp(model->state, "live") == 0 || strcmp(model->state, "stopped") == 0) &&
		wh_model_is_cut_off(model))
	{
		wh_load_revive(model->id, "rebuild");
		run->waiting = lappend_int(run->waiting, model->id);
		return;
	}
	if (strcmp(model->state, "live") == 0 && wh_model_unready(model) == NULL)
	{
		*highest = Max(*highest, model->position);
		if (model->position < to)
		{
			run->live = lappend_int(run->live, model->id);
			run->models = lappend(run->models, model);
			*lowest = Min(*lowest, model->position);
		}
		return;
	}
	if (strcmp(model->state, "stopped") != 0)
	{
		run->waiting = lappend_int(run->waiting, model->id);
		return;
	}
	run->stopped = lappend_int(run->stopped, model->id);
	if (wh_model_unready(model) != NULL ||
		!wh_load_is_due(model, to, &is_build, &waits_for))
		return;
	if (is_build)
		wh_load_revive(model->id, "rebuild");
	else if (waits_for == 0 || !list_member_int(run->stopped, waits_for) ||
			 list_member_int(run->due, waits_for))
		run->due = lappend_int(run->due, model->id);
}

bool
wh_load_has_transactions(const WhFeed *feed, XLogRecPtr from, XLogRecPtr to)
{
	WhArg args[2];

	args[0] = WH_ARG_LSN(from);
	args[1] = WH_ARG_LSN(to);
	return wh_catalog_query(wh_sql("SELECT FROM %T WHERE end_lsn > $1 AND end_lsn <= $2 LIMIT 1",
								   wh_changelog_txn_relid(feed)),
							2, args)
			   ->count > 0;
}

/* run_together loads all live models; it ends early when partitions are missing. */
static void
run_together(void *arg)
{
	Run *run = arg;
	List *models = NIL;
	ListCell *cell;

	foreach(cell, run->models)
	{
		WhModel *model = lfirst(cell);

		if (stopped_need(run, model) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("a model that %s needs is stopped", wh_sql_relation(model->relid))));
		if (must_wait(run, model))
			continue;
		if (rests(run, model))
		{
			note_done(run, model, NULL, 0);
			continue;
		}
		model = wh_model_complete(model);
		models = lappend(models, model);
		if (run->may_end)
			run->missing = list_concat(run->missing, wh_load_missing(model, run->load));
	}
	foreach(cell, models)
	{
		if (run->missing == NIL)
			load_model(run, lfirst(cell));
		else
			wh_load_release(lfirst(cell));
	}
}

/* evaluate_apart finds the missing partitions of the models whose changes can be evaluated, and
 * stops the others. */
static void
evaluate_apart(Run *run, List *ids)
{
	ListCell *cell;

	foreach(cell, ids)
		try_model(run, lfirst_int(cell), true);
}

static void
run_apart(Run *run, List *ids)
{
	ListCell *cell;

	/* a model that stops leaves the list that it was in */
	foreach(cell, list_copy(ids))
		try_model(run, lfirst_int(cell), false);
}

/* try_model loads or evaluates one model in a subtransaction, and stops it when it cannot go on. */
static void
try_model(Run *run, int32 model_id, bool only_evaluate)
{
	Attempt attempt = {run, model_id, only_evaluate};
	WhModel *model = wh_model_get_by_id(model_id);
	bool was_stopped = strcmp(model->state, "stopped") == 0;
	int32 need = stopped_need(run, model);
	ErrorData *error;

	if (was_stopped && list_member_int(run->live, model_id))
		return; /* it stopped in this load */
	/* What a fact's rows need does not depend on a dimension that may come back in this load. */
	if (need != 0 && !(only_evaluate && list_member_int(run->due, need)))
	{
		if (!only_evaluate && !was_stopped)
			stop_model(
				run, model,
				psprintf("waits for %s, which is stopped", wh_model_get_by_id(need)->name),
				need);
		return;
	}
	if (must_wait(run, model))
		return;
	if (wh_txn_try(attempt_model, &attempt, &error))
	{
		if (was_stopped && !only_evaluate)
		{
			wh_load_revive(model_id, "live");
			run->stopped = list_delete_int(run->stopped, model_id);
		}
		return;
	}
	if (wh_load_is_system_error(error))
		ReThrowError(error);
	run->due = list_delete_int(run->due, model_id);
	wh_stage_forget(run->load->changes, wh_fact_changes(model_id));
	stop_model(run, model, wh_load_error_text(error), 0);
}

static void
attempt_model(void *arg)
{
	Attempt *attempt = arg;
	WhModel *model = wh_model_get_by_id(attempt->model_id);

	if (attempt->only_evaluate)
	{
		attempt->run->missing =
			list_concat(attempt->run->missing, wh_load_missing(model, attempt->run->load));
		wh_load_release(model);
	}
	else
		load_model(attempt->run, model);
}

/* rests says whether there is nothing to be done for a model, which may be an outline. */
static bool
rests(const Run *run, const WhModel *model)
{
	return wh_model_routine(model->kind)->rests &&
		   !wh_model_is_touched(model, model->position, run->load->to);
}

/* note_done notes that a model is at load->to; counts is NULL where nothing was to be done. */
static void
note_done(Run *run, const WhModel *model, const WhCounts *counts, double duration_ms)
{
	WhDone *done = palloc0(sizeof(WhDone));

	done->model_id = model->id;
	done->definition = model->definition;
	done->from = model->position;
	done->duration_ms = duration_ms;
	if (counts != NULL)
		done->counts = *counts;
	else
		done->counts.read_known = true;
	run->done = lappend(run->done, done);
}

/* load_model brings one model to load->to, as its owner. */
static void
load_model(Run *run, WhModel *model)
{
	WhCounts counts = {.read_known = rests(run, model)};
	instr_time start;
	instr_time end;
	WhUser saved;

	INSTR_TIME_SET_CURRENT(start);
	if (!counts.read_known)
	{
		wh_user_become(model->owner, &saved);
		wh_model_routine(model->kind)->load(model, run->load, &counts);
		count_read(run, model, &counts);
		wh_user_restore(&saved);
	}
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);
	note_done(run, model, &counts, INSTR_TIME_GET_MILLISEC(end));
}

/* count_read counts the changes of a range where the load itself has not; of a query over several
 * tables also those of each. */
static void
count_read(const Run *run, const WhModel *model, WhCounts *counts)
{
	WhArg args[] = {WH_ARG_LSN(model->position), WH_ARG_LSN(run->load->to)};
	StringInfoData sql;
	WhRows *rows;
	bool isnull;

	if (counts->read_known || model->source == NULL)
		return;
	initStringInfo(&sql);
	foreach_ptr(WhFeedTable, table, model->sources)
		wh_sql_append(&sql,
					  "%s SELECT %u::pg_catalog.oid, pg_catalog.count(*) FROM %T l"
					  " WHERE l.lsn > $1 AND l.lsn <= $2 AND l.op <> 'B'",
					  sql.len > 0 ? " UNION ALL" : "", table->source_relid, table->log);
	rows = wh_spi_query(wh_sql("SELECT pg_catalog.sum(r.n)::pg_catalog.int8,"
							   " pg_catalog.array_agg(r.n ORDER BY r.relid) FROM (%s) r (relid, n)",
							   sql.data),
						lengthof(args), args);
	counts->rows_read = wh_rows_int8(rows, 0, 1);
	counts->read_known = true;
	if (list_length(model->sources) > 1)
		counts->rows_read_of = wh_rows_datum(rows, 0, 2, &isnull);
}

/* stopped_need returns the id of a stopped model that this one needs; 0: none. */
static int32
stopped_need(Run *run, const WhModel *model)
{
	ListCell *cell;

	if (run->stopped == NIL)
		return 0;
	foreach(cell, wh_model_needs(model))
	{
		if (list_member_int(run->stopped, lfirst_int(cell)))
			return lfirst_int(cell);
	}
	return 0;
}

/* must_wait says that a model needs one that is not at hand: in a build, or on a table that is not
 * ready.  Those that need this one wait, too. */
static bool
must_wait(Run *run, const WhModel *model)
{
	ListCell *cell;

	if (run->waiting == NIL)
		return false;
	foreach(cell, wh_model_needs(model))
	{
		if (list_member_int(run->waiting, lfirst_int(cell)))
		{
			run->waiting = list_append_unique_int(run->waiting, model->id);
			return true;
		}
	}
	return false;
}

/*
 * keep_missed has the models that live on what a load does to others, and that this one did not
 * bring on, keep it.  One that cannot is to be built again.
 */
static void
keep_missed(Run *run)
{
	ListCell *cell;

	foreach(cell, run->done == NIL ? NIL : run->followers)
	{
		Attempt attempt = {run, lfirst_int(cell)};
		ErrorData *error;

		if (is_done(run, attempt.model_id) || wh_txn_try(attempt_missed, &attempt, &error))
			continue;
		if (wh_load_is_system_error(error))
			ReThrowError(error);
		wh_model_set_state(attempt.model_id, "rebuild", wh_load_error_text(error));
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("walhouse could not keep changes for %s, which is built again: %s",
						wh_model_get_by_id(attempt.model_id)->name, error->message)));
	}
}

static bool
is_done(const Run *run, int32 model_id)
{
	ListCell *cell;

	foreach(cell, run->done)
	{
		if (((WhDone *) lfirst(cell))->model_id == model_id)
			return true;
	}
	return false;
}

static void
attempt_missed(void *arg)
{
	Attempt *attempt = arg;
	WhModel *model = wh_model_get_by_id(attempt->model_id);
	WhUser saved;

	if (wh_model_waits_for_build(model))
		return;
	wh_user_become(model->owner, &saved);
	wh_model_routine(model->kind)->missed(model, attempt->run->load);
	wh_user_restore(&saved);
}

static void
stop_model(Run *run, WhModel *model, const char *error, int32 waits_for)
{
	wh_load_stop(model->id, error, run->load->to, waits_for, false);
	run->stopped = list_append_unique_int(run->stopped, model->id);
	appendStringInfo(&run->errors, "%s%s: %s", run->errors.len > 0 ? "; " : "", model->name, error);
	ereport(LOG,
			(errmsg("walhouse stopped %s: %s", model->name, error),
			 errhint("It is tried again when its table changes, or by SELECT walhouse.resume(%s).",
					 wh_sql_literal(model->name))));
}
