/*
 * rewrite_private.h
 *		What the files of online changes share: a table that becomes a set, partitions that are
 * split and merged.
 */
#ifndef WH_REWRITE_PRIVATE_H
#define WH_REWRITE_PRIVATE_H

#include "fmgr.h"
#include "portability/instr_time.h"

#include "base/base.h"
#include "partition/partition_private.h"

/* -------- rewrite.c: what is under way, and steps that may have to try again -------- */

/* A row of walhouse.partition_rewrite. */
typedef struct WhRewrite
{
	Oid relid; /* the table */
	Oid owner;
	char *kind; /* convert, split, merge */
	char *state; /* the step that is next */
	WhArg options; /* jsonb */
	int64 lo;
	int64 hi;
} WhRewrite;

/* wh_rewrite_read reads, and locks until the end of the transaction, what is under way with a
 * table; NULL: nothing.  Raises unless the current user may do it. */
extern WhRewrite *wh_rewrite_read(Oid relid);
extern void wh_rewrite_set_state(Oid relid, const char *state);
extern void wh_rewrite_forget(Oid relid);
extern Oid wh_rewrite_owner(Oid relid);

/*
 * wh_rewrite_try runs a step in a transaction that it commits, and again after a pause of random
 * length where it does not get a lock in time; raises what else it raises.
 */
extern void wh_rewrite_try(void (*body)(void *arg), void *arg);

/* wh_rewrite_cancel is the step that gives up what is under way with a table (an Oid *). */
extern void wh_rewrite_cancel(void *arg);

/*
 * wh_rewrite_lock_ddl keeps others from altering a table, and (auto)vacuum from it, until the end
 * of the transaction: readers and writers go on.  wh_rewrite_lock_all then locks all others out,
 * and waits for it so briefly that wait and work together are short.
 */
extern void wh_rewrite_lock_ddl(Oid relid);
extern void wh_rewrite_lock_all(Oid relid);
extern double wh_rewrite_ms(instr_time since);

/* wh_rewrite_free_name is base || suffix, or a name like it that nobody in the schema has. */
extern char *wh_rewrite_free_name(Oid schema, const char *base, const char *suffix);

/* -------- likeness.c: one table made like another -------- */

/* What must be read before the tables change their names, and done afterwards. */
typedef struct WhLikeness
{
	Oid table; /* that which is there */
	Oid parent; /* its new parent */
	Oid owner;
	char *name; /* the table's, and then the parent's */
	WhRows *triggers;
	WhRows *views;
} WhLikeness;

/* wh_likeness_before copies to the parent what takes no lock that others would feel, as the
 * table's owner. */
extern void wh_likeness_before(const WhLikeness *like);
/* wh_likeness_read reads, and takes from the table, what the parent gets under its final name. */
extern void wh_likeness_read(WhLikeness *like);
/* wh_likeness_give gives it to the parent, before the table is attached to it. */
extern void wh_likeness_give(const WhLikeness *like);
/* wh_likeness_after does what follows the attaching: names of indexes, views. */
extern void wh_likeness_after(const WhLikeness *like);
/* wh_likeness_problems lists, as text, what keeps a table from becoming partitioned by a column. */
extern WhRows *wh_likeness_problems(Oid relid, const char *column);

#endif /* WH_REWRITE_PRIVATE_H */
