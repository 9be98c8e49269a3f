/*
 * partitions.c
 *		Makes the partitions that a load or build found missing.
 *
 * Each is made in a short transaction of its own, as the owner of the fact, under the feed's state
 * lock: a load and a build may find the same one missing at the same time.  ATTACH waits for
 * whoever holds a lock on the parent that conflicts with SHARE UPDATE EXCLUSIVE (VACUUM, DDL), but
 * with a limit, so that nothing queues behind it for long; then it is tried again.  What cannot be
 * made at all is warned of; the load that needs it then stops its model with an error.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "load/load.h"
#include "load/load_private.h"
#include "partition/partition.h"

#define LOCK_TIMEOUT "200ms"
#define ATTACH_TRIES 50

static void make_partition(void *arg);
static void attach(const WhMissingPartition *partition);

List *
wh_load_missing(WhModel *model, WhLoad *load)
{
	const WhModelRoutine *routine = wh_model_routine(model->kind);
	WhUser saved;
	List *missing;

	if (routine->missing_partitions == NULL)
		return NIL;
	wh_user_become(model->owner, &saved);
	missing = routine->missing_partitions(model, load);
	wh_user_restore(&saved);
	return missing;
}

void
wh_load_release(WhModel *model)
{
	const WhModelRoutine *routine = wh_model_routine(model->kind);

	if (routine->release != NULL)
		routine->release(model);
}

void
wh_load_make_partitions(List *missing)
{
	ListCell *cell;

	foreach(cell, missing)
	{
		WhMissingPartition *partition = lfirst(cell);
		ErrorData *error = NULL;

		for (int i = 0; i < ATTACH_TRIES; i++)
		{
			bool made = wh_txn_try(make_partition, partition, &error);

			wh_txn_commit();
			if (made || error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
				break;
			CHECK_FOR_INTERRUPTS();
		}
		if (error != NULL)
			ereport(WARNING,
					(errcode(error->sqlerrcode), errmsg("could not make partition \"%s\": %s",
														partition->name, error->message)));
	}
}

void
wh_load_attach_partitions(List *missing)
{
	foreach_ptr(WhMissingPartition, partition, missing)
		attach(partition);
}

static void
make_partition(void *arg)
{
	const WhMissingPartition *partition = arg;

	wh_lock_state(wh_model_get(partition->parent, false)->feed->id);
	(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	attach(partition);
}

static void
attach(const WhMissingPartition *partition)
{
	WhUser saved;

	wh_user_become(wh_model_get(partition->parent, false)->owner, &saved);
	wh_partition_attach(partition->parent, partition->name, partition->from_literal,
						partition->to_literal, NULL);
	wh_user_restore(&saved);
}
