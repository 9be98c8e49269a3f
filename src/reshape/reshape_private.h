/*
 * reshape_private.h
 *		What the files of online changes share: a table that becomes a set, partitions that are
 * split and merged.
 */
#ifndef WH_RESHAPE_PRIVATE_H
#define WH_RESHAPE_PRIVATE_H

#include "fmgr.h"
#include "portability/instr_time.h"

#include "base/base.h"
#include "partition/set.h"

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
	/* Of splits and merges: */
	List *sources; /* OIDs of the partitions that go */
	Oid staging; /* the table that has the new ones until the swap */
	List *groups; /* OIDs of tables between, where they are many (groups.c) */
	Oid queue; /* the keys of rows that were written meanwhile */
	List *key; /* names of the columns that identify a row */
	int source; /* which one is being copied, from 0 */
	List *position; /* values of the key that were copied last, as text; NIL: none */
	char *signature; /* of the table when the new ones were made */
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
/* One attempt of it: false, after the pause, where it did not get a lock. */
extern bool wh_rewrite_once(void (*body)(void *arg), void *arg, int attempt);

/* wh_rewrite_cancel is the step that gives up what is under way with a table (an Oid *). */
extern void wh_rewrite_cancel(void *arg);

/*
 * wh_rewrite_lock_ddl keeps others from altering a table, and (auto)vacuum from it, until the end
 * of the transaction: readers and writers go on.  wh_rewrite_lock_all then locks all others out,
 * and waits for it so briefly that wait and work together are short.
 */
extern void wh_rewrite_lock_ddl(Oid relid);
extern void wh_rewrite_lock_timeout(int ms);
extern void wh_rewrite_lock_all(Oid relid);
extern double wh_rewrite_ms(instr_time since);

/* -------- copy.c: rows copied, and what is written meanwhile -------- */

/* wh_copy_chunk copies the next rows of a source, and says in the catalog how far it has come. */
extern void wh_copy_chunk(const WhRewrite *rewrite, int rows);
/*
 * wh_copy_apply copies anew the rows that were written since, no more than `keys` of them, from
 * sources into targets (lists of WhTarget *); returns how many it found.  The key has the column
 * that bounds are of, so that a condition on that says where a row belongs, of both the row and
 * its key.
 */
typedef struct WhTarget
{
	Oid relid;
	char *condition;
} WhTarget;

extern int wh_copy_apply(const WhRewrite *rewrite, int keys, List *sources, List *targets);
/* wh_copy_capture has the writes of a source kept; wh_copy_forget has them kept no more. */
extern void wh_copy_capture(const WhRewrite *rewrite, Oid source);
extern void wh_copy_forget(Oid source);

/* -------- split.c: the calls -------- */

/* What one call is about. */
typedef struct WhSplit
{
	Oid parent;
	const char *kind;
	char *every; /* NULL: the set's grid */
	char *from; /* of a merge */
	char *to;
	Oid partition; /* of a split */
	int chunk;
	long pause_ms;
	instr_time locked; /* since when nobody else gets at the table */
	double longest_ms; /* how long that was at most */
	bool is_exchanged;
} WhSplit;

/* -------- pieces.c: what is made at the beginning -------- */

extern void wh_split_begin(void *arg);
/* wh_split_bounds is the condition of rows that lie in a range. */
extern char *wh_split_bounds(const WhSet *set, int64 lo, int64 hi);
/* wh_split_make_parent makes a partitioned table for new partitions, by the set's owner: the
 * staging that has them until the swap, or a group.  like: what of the set's table it gets. */
extern Oid wh_split_make_parent(const WhSet *set, const char *suffix, const char *like);
/* wh_split_add_check has a table say so of itself. */
extern void wh_split_add_check(const WhSet *set, Oid relid, int64 lo, int64 hi);
/* wh_split_signature is another one when a table was altered. */
extern char *wh_split_signature(Oid parent);
/* wh_split_ids gives the OIDs of partitions (WhRange) as an array in text; wh_split_hold has those
 * held for a reason, or, with NULL, no more. */
extern char *wh_split_ids(List *sources);
extern void wh_split_hold(const WhSet *set, const char *ids, const char *reason);

/* -------- groups.c: many new partitions, a few at a time -------- */

extern List *wh_groups_make(const WhSet *set, Oid parent, List *pieces);
extern List *wh_groups_pieces(const WhRewrite *rewrite);
extern void wh_groups_register(const WhRewrite *rewrite, const WhSet *set, List *ranges);
extern void wh_groups_dissolve(void *arg); /* a step, of a WhSplit * */
extern void wh_groups_drop(const WhRewrite *rewrite);

/* -------- exchange.c: the steps (of a WhSplit *) -------- */

extern void wh_split_capture(void *arg);
extern void wh_split_copy(void *arg);
extern void wh_split_analyze(void *arg);
extern void wh_split_apply(void *arg);
extern void wh_split_swap(void *arg);
extern void wh_split_clean(void *arg);
/* wh_split_cancel gives up a split or merge that was not swapped yet; in several transactions. */
extern void wh_split_cancel(Oid relid);
/* wh_split_drop_helper drops what was made for a change, where it is there, as its own owner. */
extern void wh_split_drop_helper(Oid relid);

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

#endif /* WH_RESHAPE_PRIVATE_H */
