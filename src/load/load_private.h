/*
 * load_private.h
 *		What the files of load/ share.
 */
#ifndef WH_LOAD_PRIVATE_H
#define WH_LOAD_PRIVATE_H

#include "load/load.h"
#include "model/model.h"

/* What a load or build did to one model. */
typedef struct WhDone
{
	int32 model_id;
	int32 definition;
	XLogRecPtr from;
	WhCounts counts;
	double duration_ms;
} WhDone;

/* -------- record.c -------- */
extern WhLoad *wh_load_new(WhFeed *feed, XLogRecPtr to, TimestampTz clock);
/* Appends the rows of walhouse.load and load_model: from there on the models are at load->to. */
extern void wh_load_record(const WhLoad *load, const char *kind, TimestampTz started, List *done,
						   const char *error);
/* wh_load_has_transactions says whether the log has a source transaction in (from, to]. */
extern bool wh_load_has_transactions(const WhFeed *feed, XLogRecPtr from, XLogRecPtr to);
/* The id of a model's position as its last load says. */
extern bool wh_load_is_system_error(const ErrorData *error);
extern char *wh_load_error_text(const ErrorData *error);

/* -------- summary.c -------- */
extern void wh_load_summary_init(void);

/* -------- retry.c: models that stopped -------- */
/* Stops a model at its position. tried_to: what it was brought to when it failed; waits_for: a
 * model that it needs, or 0. */
extern void wh_load_stop(int32 model_id, const char *error, XLogRecPtr tried_to, int32 waits_for,
						 bool is_build);
/* True when a stopped model shall be tried again; *is_build: by building it. */
extern bool wh_load_is_due(const WhModel *model, XLogRecPtr to, bool *is_build, int32 *waits_for);
/* Sets a stopped model live and forgets that it was stopped. */
extern void wh_load_revive(int32 model_id, const char *state);

/* -------- partitions.c -------- */
/* The partitions that models lack for a load (List of WhMissingPartition *), as each one's owner.
 */
extern List *wh_load_missing(WhModel *model, WhLoad *load);

/* wh_load_release gives up what wh_load_missing made the kind keep for a load. */
extern void wh_load_release(WhModel *model);
/* Makes them, each in a transaction of its own. */
extern void wh_load_make_partitions(List *missing);
/* The same in the caller's transaction, which has the load lock. */
extern void wh_load_attach_partitions(List *missing);

/* -------- mend.c -------- */
/* walhouse.rebuild of a range, in the caller's transaction, which has the load lock. */
extern void wh_load_mend(Oid relid, TimestampTz from, TimestampTz to);

/* -------- retention.c -------- */
extern bool wh_load_is_seen_before(const WhRows *rows);

#endif /* WH_LOAD_PRIVATE_H */
