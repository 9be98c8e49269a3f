/*
 * load.h
 *		Loads and builds: order, transaction, positions, error isolation.
 */
#ifndef WH_LOAD_H
#define WH_LOAD_H

#include "access/xlogdefs.h"
#include "nodes/pg_list.h"
#include "utils/timestamp.h"

#include "model/model.h"
#include "partition/partition.h"

extern void wh_load_init(void);

/*
 * wh_load_run brings the feed's live models to the feed's position, in transactions of its own
 * (wh_txn_commit); the caller is between transactions' work, with nothing held.  Takes the state
 * lock.  Returns true when a model changed position. Data errors stop the model (P4); errors of
 * the system are raised.
 */
extern bool wh_load_run(int32 feed_id);

/* Ids of the feed's models that wait for a build (new, rebuild, building with nobody at it) and
 * whose tables are ready. */
extern List *wh_load_pending_builds(int32 feed_id);

/*
 * wh_load_build builds one model and makes it live at the position that its snapshot saw;
 * wh_load_run catches up.  Takes the state lock at its end alone, and a lock on the model so that
 * two never build the same (false: somebody else does).  A data error stops the model and is
 * returned as false with the error stored.
 */
extern bool wh_load_build(int32 model_id);

/* wh_load_summarize adds up the feed's loads that are older than walhouse.load_retention, in the
 * caller's transaction. */
extern void wh_load_summarize(int32 feed_id);

/* wh_load_leads_log, a WhPartitionLeader: up to where the change log of a feed with a retention is
 * needed no more. */
extern bool wh_load_leads_log(Oid log, bool looks, int64 *head, TimestampTz *next);

/* retire.c: what partition sets of facts ask before they detach a partition. */
extern const WhPartitionRetirer wh_load_retirer;
/* wh_load_follow_horizon has one fact retire what another one has, whose place it is to take; under
 * the feed's state lock, or before it has rows.  False: what was retired came back, and the
 * follower is to be built again, since it has none of it. */
extern bool wh_load_follow_horizon(const WhModel *leader, const WhModel *follower);
/* wh_load_hand_over gives a fact's partition set to the fact that takes its place. */
extern void wh_load_hand_over(const WhModel *was, const WhModel *becomes);

/*
 * What a room above wants done between loads, once all models are where the feed is: is_due says,
 * quickly and at the end of a load, whether there is anything; work does it, in transactions of its
 * own, and raises only what ends a load, too.  Called by wh_load_run, and looked for by workers
 * that have nothing to do.
 */
typedef struct WhAfterLoad
{
	bool (*is_due)(int32 feed_id);
	void (*work)(int32 feed_id);
} WhAfterLoad;

extern void wh_load_set_after(const WhAfterLoad *after);
extern bool wh_load_after_is_due(int32 feed_id);

#endif /* WH_LOAD_H */
