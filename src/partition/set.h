/*
 * set.h
 *		Partition sets for the rooms that do something with their partitions: sets, their members,
 *		tables like new partitions, steps.
 */
#ifndef WH_PARTITION_SET_H
#define WH_PARTITION_SET_H

#include "nodes/pg_list.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "partition/axis.h"

/* -------- set.c: sets as the catalog knows them -------- */

typedef struct WhSet
{
	int32 id;
	Oid parent;
	Oid owner;
	WhAxis axis;
	char *lead; /* NULL: none */
	int lead_count;
	char *horizon; /* NULL: HORIZON_BUCKETS of the grid */
	char *outside;
	char *seal_after;
	char *retire_after;
	char *retire;
	char *drop_after; /* NULL: as soon as it is detached */
	char *retire_schema;
	char *subpartition; /* jsonb as text; NULL: none */
	char *profile; /* the same */
	char *profile_after; /* NULL: as soon as it is sealed */
	bool has_profile; /* there is something to be done to sealed partitions */
	bool archive; /* what is dropped is kept as a file */
	Oid overflow;
	bool enabled;
	bool has_retired; /* retired_to holds */
	int64 retired_to; /* what lies below was retired */
	TimestampTz looked; /* when its lead was looked at last; DT_NOBEGIN: never */
	int64 head; /* greatest key that was seen of keys without time; PG_INT64_MIN: none */
} WhSet;

/* wh_set_read returns a set, in the caller's context; NULL when it, or its table, is gone and
 * missing_ok. */
extern WhSet *wh_set_read(int32 set_id, bool missing_ok);
extern WhSet *wh_set_of(Oid parent, bool missing_ok);
/* The set whose member a table is, checked against the current user. */
extern WhSet *wh_set_own(Oid parent);
extern void wh_set_changed(void);
extern const char *wh_set_guarded(Oid parent);
/* wh_set_retirer is who answers for a table's rows; NULL: nobody.  wh_set_kept says why none of its
 * partitions may be retired; NULL: they may. */
extern const WhPartitionRetirer *wh_set_retirer(Oid parent);
extern const char *wh_set_kept(Oid parent);
/* wh_set_check_options raises where an object has a key that is none of names, which commas
 * separate. */
extern void wh_set_check_options(WhArg options, const char *names);

/* -------- members.c: what partitions there are, and what is next for each -------- */

typedef struct WhRange
{
	Oid relid;
	int64 lo;
	int64 hi;
	bool is_pending; /* its detaching was cut off */
} WhRange;

/* wh_members_ranges lists the partitions that the catalog has, in order. */
extern List *wh_members_ranges(const WhSet *set);

/* wh_members_reconcile makes the register say what the catalog has. */
extern void wh_members_reconcile(const WhSet *set, List *ranges);

/* wh_members_schedule works out what is next, and when, for the partitions of a set (one alone
 * with relid).  A new head of keys without time, else PG_INT64_MIN, does so for those that waited
 * for it; `all`: for all, also those whose next step is known. */
extern void wh_members_schedule(const WhSet *set, Oid relid, int64 head, bool all);

/* wh_members_note registers a partition that was just made, where its parent is a set. */
extern void wh_members_note(const WhSet *set, Oid relid, int64 lo, int64 hi);

/* wh_members_leaves lists the tables that hold the rows of a partition, attached or not: its
 * OIDs. */
extern WhRows *wh_members_leaves(Oid relid);

/* -------- make.c: new partitions -------- */

typedef struct WhNewPartition
{
	char *name;
	int64 lo;
	int64 hi;
} WhNewPartition;

/* wh_make_table makes the table of one, and gives the statement that attaches it. */
extern Oid wh_make_table(const WhSet *set, const WhNewPartition *partition, char **attach);
/* wh_make_free_name is base || suffix, or a name like it that a table in the schema can have. */
extern char *wh_make_free_name(Oid schema, const char *base, const char *suffix);

/* -------- steps.c: one step of one partition -------- */

/* A partition as the register has it. */
typedef struct WhMember
{
	char *state;
	char *hold; /* NULL: none */
	int64 hi;
	bool is_table; /* it is still there */
} WhMember;

/* wh_step_open_set reads a set for a step; raises where it is switched off. */
extern WhSet *wh_step_open_set(int32 set_id);
/* wh_step_read_member reads, and locks, a partition's row; false when it is none of the set any
 * more, or is gone. */
extern bool wh_step_read_member(const WhSet *set, Oid relid, bool locks, WhMember *member);
/* wh_step_change_state says in the register what has become of a partition, and what is next. */
extern void wh_step_change_state(const WhSet *set, Oid relid, const char *state,
								 const char *step);
/* wh_step_note writes down what was done. */
extern void wh_step_note(const WhSet *set, const char *step, const char *partition,
						 const char *detail);

/* -------- toplevel.c: transactions of walhouse's process -------- */

/* wh_toplevel_begin and wh_toplevel_commit enclose a transaction of walhouse's process; what is
 * allocated lives in PortalContext, and so beyond it. */
extern void wh_toplevel_begin(void);
extern void wh_toplevel_commit(void);
/* wh_toplevel_point is a place where a test may have the process stand still. */
extern void wh_toplevel_point(const char *name);

/* -------- what rooms above this one do for it -------- */

/* How what is dropped is kept before: the step "archive". */
typedef struct WhArchiver
{
	void (*check)(const WhSet *set); /* raises where a set's archive does not fit the rest of it */
	void (*run)(int32 set_id, Oid relid);
	/* Says whether what was kept is what the table has; else it is forgotten, and kept anew. */
	bool (*holds)(const WhSet *set, Oid relid);
} WhArchiver;
extern void wh_partition_archiver(const WhArchiver *archiver);

/* wh_partition_on_gone has a function forget what it knows of tables that are no more. */
extern void wh_partition_on_gone(void (*forget)(void));

extern int wh_partition_lock_timeout; /* ms */

#endif /* WH_PARTITION_SET_H */
