/*
 * partition_private.h
 *		What the files of partition/ share beyond set.h: how sets are declared, and what is due
 * done.
 */
#ifndef WH_PARTITION_PRIVATE_H
#define WH_PARTITION_PRIVATE_H

#include "partition/partition.h"
#include "partition/set.h"

/* -------- set.c: sets declared -------- */

/* wh_set_declare writes a set down: the arguments of create_partition_set, the table that is its
 * overflow table already, whether anything is done, profile and archive.  wh_set_check_new raises
 * where there is one, and returns the table's owner. */
#define WH_SET_ARGS 19
extern WhSet *wh_set_declare(const WhArg *args);
extern void wh_set_defaults(WhArg *args, Oid parent, const char *every);
extern Oid wh_set_check_new(Oid parent);
extern void wh_set_check_overflow(Oid parent);
extern void wh_set_forget(const WhSet *set);

/* What the room above has given to wh_partition_archiver; wh_set_gone calls what was given to
 * wh_partition_on_gone. */
extern const WhArchiver *wh_set_archiver(void);
extern void wh_set_gone(void);

/* -------- follow.c: as WhPartitionLeader -------- */
extern bool wh_set_follows(Oid parent, bool looks, int64 *head, TimestampTz *next);

/* -------- members.c: what is next -------- */

/* wh_members_gaps lists what of [lo, hi) no partition has, as WhRange without relid. */
extern List *wh_members_gaps(List *ranges, int64 lo, int64 hi);

/* wh_members_next names the step after a state, NULL for none, and when it is due (DT_NOEND: not
 * known yet); `kept` says that nothing may be taken away. */
extern const char *wh_members_next(const WhSet *set, const char *state, bool kept, int64 hi,
								   int64 head, TimestampTz now, TimestampTz *due);

/* wh_members_head returns the greatest key of a set without time; PG_INT64_MIN: no row. */
extern int64 wh_members_head(const WhSet *set, List *ranges);

/* -------- make.c: new partitions -------- */

/* wh_make_wanted lists what a set lacks at an instant, and says when it will lack the next. */
extern List *wh_make_wanted(const WhSet *set, List *ranges, int64 head, TimestampTz now,
							TimestampTz *next);
/* wh_make_lead returns where the partitions that follow upon each other from `position` end. */
extern int64 wh_make_covered_to(List *ranges, int64 position);
/* wh_make_bucket appends what is missing of the bucket that a position is in. */
extern List *wh_make_bucket(const WhSet *set, List *ranges, int64 position, List *wanted);
/* wh_make_one makes one partition in the caller's transaction, which should be short. */
extern void wh_make_one(const WhSet *set, const WhNewPartition *partition);
/* The statements of it, for those who look. */
extern char *wh_make_sql(const WhSet *set, const WhNewPartition *partition);

/* wh_make_horizon gives the bounds within which rows may have partitions made. */
extern void wh_make_horizon(const WhSet *set, List *ranges, TimestampTz now, int64 *from,
							int64 *to);

/* -------- steps.c: one step of one partition -------- */

/* claimed: when the step, as it was claimed, is due again. */
extern void wh_step_run(int32 set_id, Oid relid, const char *step, TimestampTz now,
						TimestampTz claimed);

/* -------- profile.c: how sealed partitions are kept -------- */
extern void wh_profile_check(const WhSet *set);
/* wh_profile_storage is WITH and the storage parameters of a new table; empty: none. */
extern char *wh_profile_storage(const WhSet *set);
/* wh_profile_open_indexes lists the statements that give a new table what open partitions have. */
extern List *wh_profile_open_indexes(const WhSet *set, const char *schema, const char *name);
/* wh_profile_statements lists what a partition lacks to be as the profile says, in order. */
extern List *wh_profile_statements(const WhSet *set, Oid relid);
/* wh_profile_move lists what a detached table gets when it is moved. */
extern List *wh_profile_move(const WhSet *set, Oid relid);
extern void wh_profile_run(int32 set_id, Oid relid);

/* -------- toplevel.c -------- */
extern void wh_toplevel_init(void);
/* wh_toplevel_run runs a statement that must be one of its own, as a role, in transactions of its
 * own. */
extern void wh_toplevel_run(Oid role, const char *sql);
/* The same for a statement that waits for old transactions while nobody waits for it. */
extern void wh_toplevel_run_patiently(Oid role, const char *sql);

extern char *wh_partition_debug_point;

#endif /* WH_PARTITION_PRIVATE_H */
