/*
 * retire.c
 *		Retention of facts: what happens before a partition of one is detached.
 *
 * The partition set of a fact retires partitions as any set does.  Before it detaches one, the
 * fact's horizon is moved to the partition's upper bound, in a transaction of its own under the
 * feed's load lock: no load is under way that began with the old one, and none begins.  In the same
 * transaction rollups keep what they need of the rows that go.  From its commit on the rows are no
 * part of the fact (fact/retired.c), though everybody still sees them; so it does not matter when
 * the partition goes, and after how many crashes.
 *
 * It goes when every snapshot is newer than the move: a statement that has asked for the old
 * horizon, and not yet for the table, would find less than it thinks.
 *
 * The horizon stays while the fact is being built, since the build reads it in its snapshot and
 * takes no lock before its end.
 *
 * A range that is restored from its archive is made part of the fact again in one transaction,
 * under the load lock: the horizon moves back, rollups give back what they had kept, and what
 * differs from what the query gives by now is mended, as walhouse.rebuild does.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "fact/fact.h"
#include "load/load.h"
#include "load/load_private.h"
#include "partition/partition.h"

static bool leads(Oid parent, const char **why_not);
static char *horizon(Oid parent);
static void move(Oid parent, const char *to);
static void check_still(const WhModel *fact);
static void retire(WhModel *fact, const char *to);
static void check_may_retire(WhModel *fact);
static bool is_read(Oid parent);
static void reopen(Oid parent);
static void come_back(Oid parent, const char *from, const char *to);

const WhPartitionRetirer wh_load_retirer = {leads, horizon, move, is_read, reopen, come_back};

static bool
leads(Oid parent, const char **why_not)
{
	WhModel *fact = wh_model_get(parent, true);

	if (fact == NULL || fact->kind != WH_MODEL_FACT)
		return false;
	*why_not = wh_fact_why_kept(fact);
	return true;
}

static char *
horizon(Oid parent)
{
	return wh_fact_horizon(wh_model_get(parent, false)->id);
}

static void
move(Oid parent, const char *to)
{
	WhModel *fact = wh_model_get(parent, false);

	wh_lock_load(fact->feed->id);
	fact = wh_model_get(parent, false);
	check_still(fact);
	wh_settings_pin(fact->feed->time_zone);
	retire(fact, to);
}

/* check_still raises what is to be tried again soon. */
static void
check_still(const WhModel *fact)
{
	if (strcmp(fact->state, "building") == 0)
		ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
						errmsg("fact %s is being built", fact->name)));
}

/* retire moves the horizon. Rollups and periodic snapshots keep what they need before, each as its
 * owner. */
static void
retire(WhModel *fact, const char *to)
{
	char *rows = wh_fact_rows_between(fact, wh_fact_horizon(fact->id), to);
	int level = wh_settings_push_joins(WH_JOINS_WHOLE);

	foreach_oid(relid, wh_model_dependents(fact))
	{
		WhModel *reader = wh_model_get(relid, false);
		WhUser saved;

		if (wh_model_routine(reader->kind)->retire == NULL)
			continue;
		wh_user_become(reader->owner, &saved);
		wh_model_routine(reader->kind)->retire(reader, rows, to);
		wh_user_restore(&saved);
	}
	wh_settings_pop(level);
	wh_fact_retire(fact, to);
}

bool
wh_load_follow_horizon(const WhModel *leader, const WhModel *follower)
{
	WhModel *fact = wh_model_get_by_id(follower->id);
	char *to = wh_fact_horizon(leader->id);
	char *from = wh_fact_horizon(follower->id);

	wh_fact_follow_late(leader->id, follower->id);
	if (to == NULL || (from != NULL && strcmp(from, to) == 0))
		return true;
	check_may_retire(fact);
	if (from != NULL && wh_fact_time(fact, to) < wh_fact_time(fact, from))
	{
		wh_fact_come_back(fact, to);
		wh_model_set_state(fact->id, "rebuild", NULL);
		return false;
	}
	retire(fact, to);
	return true;
}

static void
check_may_retire(WhModel *fact)
{
	const char *why_not = wh_fact_why_kept(fact);

	if (why_not != NULL)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("fact %s cannot begin where rows were retired", fact->name),
						errdetail("%s", why_not)));
}

void
wh_load_hand_over(const WhModel *was, const WhModel *becomes)
{
	wh_partition_hand_over(was->relid, becomes->relid);
}

/* is_read says whether somebody has a snapshot from before the last move. */
static bool
is_read(Oid parent)
{
	WhRows *rows = wh_spi_query("SELECT r.moved FROM walhouse.fact_retention r JOIN walhouse.model"
								" m USING (model_id) WHERE m.relation = $1 AND r.moved IS NOT NULL",
								1, (WhArg[]){WH_ARG_REGCLASS(parent)});

	return rows->count > 0 && wh_load_is_seen_before(rows);
}

/* reopen holds loads back until the end of the transaction. */
static void
reopen(Oid parent)
{
	WhModel *fact = wh_model_get(parent, false);
	const char *why_not = wh_fact_why_gone(fact);

	if (why_not != NULL)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("what was retired of %s does not come back", fact->name),
						errdetail("%s", why_not),
						errhint("The manifest beside the file has the statements that make a"
								" table of it elsewhere.")));
	wh_lock_load(fact->feed->id);
}

/* come_back: between the range and where the fact began lies what had no partition, which is mended
 * with it. */
static void
come_back(Oid parent, const char *from, const char *to)
{
	WhModel *fact = wh_model_get(parent, false);
	char *began = wh_fact_horizon(fact->id);

	wh_settings_pin(fact->feed->time_zone);
	foreach_oid(relid, wh_model_dependents(fact))
	{
		WhModel *reader = wh_model_get(relid, false);
		bool has_kept = false;
		WhUser saved;

		if (wh_model_routine(reader->kind)->come_back != NULL)
		{
			wh_user_become(reader->owner, &saved);
			has_kept = wh_model_routine(reader->kind)->come_back(reader, to, began);
			wh_user_restore(&saved);
		}
		/* What was declared since has never counted these rows. */
		if (!has_kept && strcmp(reader->state, "new") != 0)
			wh_model_set_state(reader->id, "rebuild", NULL);
	}
	wh_fact_come_back(fact, from);
	CommandCounterIncrement();
	wh_load_mend(parent, wh_fact_time(fact, from), wh_fact_time(fact, began));
}
