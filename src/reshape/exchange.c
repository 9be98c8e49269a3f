/*
 * exchange.c
 *		The steps of splits and merges, from the capture of writes to the exchange of partitions;
 * and how they are given up.
 *
 * Each is a step of wh_rewrite_try, which looks first whether it is still its turn: two sessions
 * that do the same do each step once.
 *
 * Under the lock on the table as little as can be is done: the new partitions leave the staging
 * table before, and lose their constraints afterwards, one by one.
 */
#include "postgres.h"

#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "reshape/reshape.h"
#include "reshape/reshape_private.h"

#define KEYS_AT_ONCE 5000
#define LAST_KEYS 1000 /* of the swap */

/* What cancelling is about. */
typedef struct Cancelling
{
	Oid relid;
	Oid source;
} Cancelling;

static WhRewrite *read_again(const WhSplit *split);
static pg_noreturn void refuse_altered(Oid parent);
static WhRewrite *step_of(const WhSplit *split, const char *state);
static List *take_pieces(const WhRewrite *rewrite, const WhSet *set);
static List *sources_of(const WhRewrite *rewrite);
static List *targets_of(const WhSet *set, List *pieces);
static void exchange(const WhRewrite *rewrite, const WhSet *set, List *pieces);
static void note(const WhRewrite *rewrite);
static bool drop_check(const WhRewrite *rewrite);
static void start_cancel(void *arg);
static void cancel_source(void *arg);
static void finish_cancel(void *arg);

#define RUN(...) wh_spi_execute(wh_sql(__VA_ARGS__), 0, NULL)

/* read_again reads what is under way again, locked; NULL where nothing is.  Who was given the table
 * meanwhile has no rights on what was made for it. */
static WhRewrite *
read_again(const WhSplit *split)
{
	WhRewrite *rewrite = wh_rewrite_read(split->parent);

	if (rewrite != NULL &&
		(get_rel_name(rewrite->staging) == NULL || get_rel_name(rewrite->queue) == NULL ||
		 wh_rewrite_owner(rewrite->staging) != rewrite->owner))
		refuse_altered(split->parent);
	return rewrite;
}

static void
refuse_altered(Oid parent)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" was altered meanwhile", get_rel_name(parent)),
			 errhint("CALL walhouse.cancel_rewrite(%s), and begin again.",
					 wh_sql_literal(wh_sql_relation(parent)))));
}

static WhRewrite *
step_of(const WhSplit *split, const char *state)
{
	WhRewrite *rewrite = read_again(split);

	return rewrite != NULL && strcmp(rewrite->state, state) == 0 ? rewrite : NULL;
}

/* wh_split_capture makes the trigger of the next source, each in a transaction. */
void
wh_split_capture(void *arg)
{
	WhSplit *split = arg;
	WhRewrite *rewrite = step_of(split, "capture");
	Oid source;

	if (rewrite == NULL)
		return;
	source = list_nth_oid(rewrite->sources, rewrite->source);
	wh_rewrite_lock_ddl(source);
	wh_copy_capture(rewrite, source);
	wh_catalog_execute("UPDATE walhouse.partition_rewrite SET source = CASE WHEN source + 1 = $2"
					   " THEN 0 ELSE source + 1 END, state = CASE WHEN source + 1 = $2 THEN 'copy'"
					   " ELSE state END WHERE relid = $1",
					   2,
					   (WhArg[]){WH_ARG_OID(split->parent),
								 WH_ARG_INT4(list_length(rewrite->sources))});
}

void
wh_split_copy(void *arg)
{
	WhSplit *split = arg;
	WhRewrite *rewrite = step_of(split, "copy");

	if (rewrite != NULL)
		wh_copy_chunk(rewrite, split->chunk);
}

/* wh_split_analyze has the planner know the next of the new partitions before anybody asks it. */
void
wh_split_analyze(void *arg)
{
	WhSplit *split = arg;
	WhRewrite *rewrite = step_of(split, "analyze");
	List *pieces;
	WhUser saved;

	if (rewrite == NULL)
		return;
	pieces = wh_groups_pieces(rewrite);
	wh_user_become(rewrite->owner, &saved);
	RUN("ANALYZE %T", list_nth_oid(pieces, rewrite->source));
	wh_user_restore(&saved);
	wh_catalog_execute("UPDATE walhouse.partition_rewrite SET source = CASE WHEN source + 1 = $2"
					   " THEN 0 ELSE source + 1 END, state = CASE WHEN source + 1 = $2 THEN 'apply'"
					   " ELSE state END WHERE relid = $1",
					   2,
					   (WhArg[]){WH_ARG_OID(split->parent), WH_ARG_INT4(list_length(pieces))});
}

/* wh_split_apply looks at what was written meanwhile; when little is left, the swap is next. */
void
wh_split_apply(void *arg)
{
	WhSplit *split = arg;
	WhRewrite *rewrite = read_again(split);
	WhTarget target = {.condition = "true"};

	if (rewrite == NULL ||
		(strcmp(rewrite->state, "apply") != 0 && strcmp(rewrite->state, "swap") != 0))
		return;
	target.relid = rewrite->staging;
	if (wh_copy_apply(rewrite, KEYS_AT_ONCE, sources_of(rewrite), list_make1(&target)) <
			LAST_KEYS &&
		strcmp(rewrite->state, "apply") == 0)
		wh_catalog_execute("UPDATE walhouse.partition_rewrite SET state = 'swap' WHERE relid = $1"
						   " AND state = 'apply'",
						   1, (WhArg[]){WH_ARG_OID(split->parent)});
}

void
wh_split_swap(void *arg)
{
	WhSplit *split = arg;
	WhRewrite *rewrite = step_of(split, "swap");
	WhSet *set;
	List *sources;
	List *pieces;
	List *targets;
	ListCell *cell;

	if (rewrite == NULL)
		return;
	set = wh_set_own(split->parent);
	wh_rewrite_lock_ddl(split->parent);
	foreach(cell, rewrite->sources)
	{
		wh_rewrite_lock_ddl(lfirst_oid(cell));
		if (!get_rel_relispartition(lfirst_oid(cell)) ||
			get_partition_parent(lfirst_oid(cell), true) != split->parent)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("\"%s\" is no partition of \"%s\" any more",
								   get_rel_name(lfirst_oid(cell)), get_rel_name(split->parent)),
							errhint("CALL walhouse.cancel_rewrite(…).")));
	}
	if (strcmp(wh_split_signature(split->parent), rewrite->signature) != 0)
		refuse_altered(split->parent);
	sources = sources_of(rewrite);
	pieces = take_pieces(rewrite, set);
	targets = targets_of(set, pieces);
	/* Also so that all that it reads of the catalog is at hand under the lock. */
	(void) wh_copy_apply(rewrite, LAST_KEYS, sources, targets);
	wh_groups_register(rewrite, set, pieces);
	wh_toplevel_point("split: locking");
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	wh_rewrite_lock_all(split->parent);
	INSTR_TIME_SET_CURRENT(split->locked);
	foreach(cell, rewrite->sources)
		wh_rewrite_lock_all(lfirst_oid(cell));
	/* What is more than that is applied, and what was truncated copied anew, before the next
	 * attempt. */
	if (wh_copy_apply(rewrite, LAST_KEYS, sources, targets) == LAST_KEYS ||
		step_of(split, "swap") == NULL)
		ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
						errmsg("too many rows are written to partitions of \"%s\"",
							   get_rel_name(split->parent))));
	exchange(rewrite, set, pieces);
	split->longest_ms = wh_rewrite_ms(split->locked);
	split->is_exchanged = true;
	wh_toplevel_point("split: swapped");
}

/* take_pieces takes the new partitions, as WhRange, from the staging table, which nobody waits
 * for. */
static List *
take_pieces(const WhRewrite *rewrite, const WhSet *set)
{
	WhSet staging = *set;
	List *pieces;
	ListCell *cell;
	WhUser saved;

	staging.parent = rewrite->staging;
	pieces = wh_members_ranges(&staging);
	wh_user_become(set->owner, &saved);
	foreach(cell, pieces)
		RUN("ALTER TABLE %T DETACH PARTITION %T", rewrite->staging,
			((WhRange *) lfirst(cell))->relid);
	wh_user_restore(&saved);
	return pieces;
}

/* sources_of lists the partitions that go, as WhTarget. */
static List *
sources_of(const WhRewrite *rewrite)
{
	const WhSet *set = wh_set_of(rewrite->relid, false);
	List *sources = NIL;
	ListCell *cell;

	foreach(cell, wh_members_ranges(set))
		if (list_member_oid(rewrite->sources, ((WhRange *) lfirst(cell))->relid))
			sources = lappend(sources, lfirst(cell));
	return targets_of(set, sources);
}

static List *
targets_of(const WhSet *set, List *pieces)
{
	List *targets = NIL;
	ListCell *cell;

	foreach(cell, pieces)
	{
		WhRange *piece = lfirst(cell);
		WhTarget *target = palloc(sizeof(WhTarget));

		target->relid = piece->relid;
		target->condition = wh_split_bounds(set, piece->lo, piece->hi);
		targets = lappend(targets, target);
	}
	return targets;
}

/* exchange puts the new partitions in the place of the old ones. */
static void
exchange(const WhRewrite *rewrite, const WhSet *set, List *pieces)
{
	ListCell *cell;
	WhUser saved;

	wh_user_become(set->owner, &saved);
	foreach(cell, rewrite->sources)
		RUN("ALTER TABLE %T DETACH PARTITION %T", set->parent, lfirst_oid(cell));
	foreach(cell, pieces)
	{
		WhRange *piece = lfirst(cell);

		RUN("ALTER TABLE %T ATTACH PARTITION %T FOR VALUES FROM (%s) TO (%s)", set->parent,
			piece->relid, wh_axis_literal(&set->axis, piece->lo),
			wh_axis_literal(&set->axis, piece->hi));
	}
	wh_user_restore(&saved);
	wh_rewrite_set_state(rewrite->relid, rewrite->groups == NIL ? "note" : "dissolve");
}

/* drop_check drops the constraint of one new partition, whose bounds say the same; false: there is
 * none left. */
static bool
drop_check(const WhRewrite *rewrite)
{
	WhRows *rows = wh_spi_query("SELECT c.conrelid FROM pg_catalog.pg_inherits i JOIN"
								" pg_catalog.pg_constraint c ON c.conrelid = i.inhrelid AND"
								" c.conname = 'walhouse_range' WHERE i.inhparent = $1 LIMIT 1",
								1, (WhArg[]){WH_ARG_OID(rewrite->relid)});
	WhUser saved;

	if (rows->count == 0)
		return false;
	wh_rewrite_lock_ddl(wh_rows_oid(rows, 0, 1));
	wh_user_become(wh_rewrite_owner(wh_rows_oid(rows, 0, 1)), &saved);
	RUN("ALTER TABLE %T DROP CONSTRAINT walhouse_range", wh_rows_oid(rows, 0, 1));
	wh_user_restore(&saved);
	return true;
}

/* note says in the register what became of the partitions: after the lock, since it takes as long
 * as some of them. */
static void
note(const WhRewrite *rewrite)
{
	WhSet *set = wh_set_of(rewrite->relid, false);
	List *ranges = wh_members_ranges(set);
	int pieces = 0;
	ListCell *cell;
	WhArg args[4] = {WH_ARG_INT4(set->id), wh_arg_text(rewrite->kind),
					 wh_arg_text(wh_sql_relation(rewrite->relid))};

	wh_members_reconcile(set, ranges);
	wh_members_schedule(set, InvalidOid, PG_INT64_MIN, false);
	foreach(cell, ranges)
		pieces += ((WhRange *) lfirst(cell))->lo >= rewrite->lo &&
				  ((WhRange *) lfirst(cell))->hi <= rewrite->hi;
	args[3] = wh_arg_text(psprintf("%d to %d, %s to %s", list_length(rewrite->sources), pieces,
								   wh_axis_text(&set->axis, rewrite->lo),
								   wh_axis_text(&set->axis, rewrite->hi)));
	wh_catalog_execute("INSERT INTO walhouse.partition_event (set_id, step, partition, detail)"
					   " VALUES ($1, $2, $3, $4)",
					   4, args);
	wh_rewrite_set_state(rewrite->relid, "clean");
	wh_set_changed();
}

/* wh_split_clean drops what was exchanged, and what helped; each constraint in a transaction. */
void
wh_split_clean(void *arg)
{
	WhSplit *split = arg;
	WhRewrite *rewrite = wh_rewrite_read(split->parent);
	ListCell *cell;

	if (rewrite != NULL && strcmp(rewrite->state, "note") == 0)
		note(rewrite);
	if (rewrite == NULL || drop_check(rewrite))
		return;
	wh_rewrite_lock_timeout(wh_partition_lock_timeout);
	foreach(cell, rewrite->sources)
		wh_split_drop_helper(lfirst_oid(cell));
	wh_groups_drop(rewrite);
	wh_split_drop_helper(rewrite->staging);
	wh_split_drop_helper(rewrite->queue);
	wh_rewrite_forget(split->parent);
}

/* wh_split_drop_helper: the table may have been given to somebody else meanwhile. */
void
wh_split_drop_helper(Oid relid)
{
	WhUser saved;

	if (get_rel_name(relid) == NULL)
		return;
	wh_user_become(wh_rewrite_owner(relid), &saved);
	RUN("DROP TABLE %T", relid);
	wh_user_restore(&saved);
}

void
wh_split_cancel(Oid relid)
{
	Cancelling cancelling = {relid};
	WhRewrite *rewrite;
	ListCell *cell;

	wh_rewrite_try(start_cancel, &cancelling);
	rewrite = wh_rewrite_read(relid);
	wh_txn_commit();
	foreach(cell, rewrite != NULL ? rewrite->sources : NIL)
	{
		cancelling.source = lfirst_oid(cell);
		wh_rewrite_try(cancel_source, &cancelling);
		wh_toplevel_point("split: cancelling");
	}
	wh_rewrite_try(finish_cancel, &cancelling);
}

static void
start_cancel(void *arg)
{
	Cancelling *cancelling = arg;
	WhRewrite *rewrite = wh_rewrite_read(cancelling->relid);

	if (rewrite != NULL &&
		(strcmp(rewrite->state, "dissolve") == 0 || strcmp(rewrite->state, "note") == 0 ||
		 strcmp(rewrite->state, "clean") == 0))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("partitions of \"%s\" are exchanged already",
							   get_rel_name(cancelling->relid)),
						errhint("Call the same procedure again, which drops what is left.")));
	wh_rewrite_set_state(cancelling->relid, "cancel");
}

/* cancel_source takes the triggers from a source, which is locked for that moment. */
static void
cancel_source(void *arg)
{
	Cancelling *cancelling = arg;
	WhRewrite *rewrite = wh_rewrite_read(cancelling->relid);

	if (rewrite == NULL || get_rel_name(cancelling->source) == NULL)
		return;
	wh_rewrite_lock_ddl(cancelling->source);
	wh_copy_forget(cancelling->source);
}

static void
finish_cancel(void *arg)
{
	Cancelling *cancelling = arg;
	WhRewrite *rewrite = wh_rewrite_read(cancelling->relid);
	List *sources = NIL;
	ListCell *cell;
	WhSet *set;

	if (rewrite == NULL)
		return;
	foreach(cell, rewrite->sources)
	{
		WhRange *range = palloc0(sizeof(WhRange));

		range->relid = lfirst_oid(cell);
		sources = lappend(sources, range);
	}
	set = wh_set_of(cancelling->relid, true);
	if (set != NULL)
		wh_split_hold(set, wh_split_ids(sources), NULL);
	wh_split_drop_helper(rewrite->staging);
	wh_split_drop_helper(rewrite->queue);
	wh_rewrite_forget(cancelling->relid);
}
