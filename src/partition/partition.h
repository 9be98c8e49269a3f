/*
 * partition.h
 *		Partition sets: range partitions on a grid, made when a row needs one, without blocking
 * anybody.
 */
#ifndef WH_PARTITION_H
#define WH_PARTITION_H

#include "access/xlogdefs.h"
#include "nodes/pg_list.h"
#include "utils/timestamp.h"

/* plan.c: pure arithmetic, no catalog, no clock. */

typedef enum WhGrid
{
	WH_GRID_DAY,
	WH_GRID_MONTH,
	WH_GRID_YEAR
} WhGrid;

/* wh_partition_grid reads 'day', 'month', 'year'; raises with the list of what there is. */
extern WhGrid wh_partition_grid(const char *name);

/* The grid's name again. */
extern const char *wh_partition_grid_name(WhGrid grid);

/* A day of the Gregorian calendar; the year is astronomical (0 is 1 BC). */
typedef struct WhCivil
{
	int64 year;
	int month; /* 1 to 12 */
	int day; /* 1 to 31 */
} WhCivil;

/* Days since 2000-01-01, as in PostgreSQL's dates, and back. */
extern int64 wh_partition_days(WhCivil civil);
extern WhCivil wh_partition_civil(int64 days);

/* wh_partition_bucket gives the bucket [*from, *to) of the grid that a day is in. */
extern void wh_partition_bucket(WhGrid grid, int64 days, int64 *from, int64 *to);

/* The ending of a partition's name for the bucket that begins at `from`: _p2026, _p2026_01,
 * _p2026_01_31, _pbc0044_03. */
extern char *wh_partition_suffix(WhGrid grid, int64 from);

/* A day as ISO text that the server reads: 2026-01-31, 0044-03-15 BC. */
extern char *wh_partition_date_text(int64 days);

/*
 * wh_partition_lsn_range gives the bounds [*from, *to) of the LSN range of `size` bytes that lsn
 * is in.
 */
extern void wh_partition_lsn_range(XLogRecPtr lsn, uint64 size, XLogRecPtr *from, XLogRecPtr *to);

/*
 * The grid of a partition set: buckets of `size` months, days, microseconds or numbers, counted
 * from an origin.
 */
typedef enum WhStepKind
{
	WH_STEP_MONTHS,
	WH_STEP_DAYS,
	WH_STEP_TIME, /* microseconds that have passed, whatever clocks do */
	WH_STEP_COUNT
} WhStepKind;

typedef struct WhStep
{
	WhStepKind kind;
	int64 size;
	int64 origin; /* a month since the year 0, a day since 2000-01-01, microseconds, a number */
} WhStep;

/*
 * wh_partition_step_bucket gives the bucket [*from, *to) that `at` is in: days for steps of months
 * and days, else what the step counts.  The last ones end at the bounds of int64.
 */
extern void wh_partition_step_bucket(const WhStep *step, int64 at, int64 *from, int64 *to);

/* The ending of a partition's name for the bucket that begins at `from`: _p2026, _p2026_01,
 * _p2026_01_31, _p2026_01_31_1300, _p1000, _pm1000. */
extern char *wh_partition_step_suffix(const WhStep *step, int64 from);

/* create.c */

/*
 * wh_partition_attach makes the range partition `name` (in the parent's schema) FROM from_literal
 * TO to_literal (SQL literals or constant expressions, built with wh_sql) of a range-partitioned
 * table, by LIKE and ATTACH: the parent is locked SHARE UPDATE EXCLUSIVE alone.  Owner and
 * persistence are the parent's; storage options in `with` (SQL inside WITH (…), may be NULL).
 * Does nothing, and returns false, when a relation of that name is a partition of the parent
 * already.  Runs in the caller's transaction, which should be short, as the parent's owner.
 */
extern bool wh_partition_attach(Oid parent, const char *name, const char *from_literal,
								const char *to_literal, const char *with);

extern void wh_partition_init(void);

/* due.c: what is due, done */

typedef struct WhPartitionRun
{
	Oid parent; /* this set alone, which is looked at in any case; InvalidOid: all that is due */
	Oid role; /* sets whose owner this role may act as; InvalidOid: all */
	TimestampTz at; /* what is due by then; 0: by now */
} WhPartitionRun;

/*
 * wh_partition_run does, step by step, what is due; errors of a step are kept with it and end
 * nothing else.  To be called by a process of walhouse's own, outside of any transaction, as
 * a superuser: DETACH CONCURRENTLY and VACUUM are statements of their own.
 */
extern void wh_partition_run(const WhPartitionRun *run);

/* wh_partition_next_due returns when the next step is due, by one probe of an index; DT_NOEND:
 * never. */
extern TimestampTz wh_partition_next_due(void);

/* wh_partition_check_owner raises unless a table is a set that the current user may change. */
extern void wh_partition_check_owner(Oid parent);

/* wh_partition_report warns of steps that have failed since. */
extern void wh_partition_report(const WhPartitionRun *run, TimestampTz since);

/* wh_partition_on_change has a function called when something may be due earlier than before. */
extern void wh_partition_on_change(void (*changed)(void));

/*
 * wh_partition_guard has a function asked why partitions of a table may not be taken away; it
 * returns NULL where they may.  Rooms above this one know who needs them.
 */
typedef const char *(*WhPartitionGuard)(Oid parent);
extern void wh_partition_guard(WhPartitionGuard guard);

/*
 * wh_partition_retirer has another room asked before a partition is detached of a table for whose
 * rows it answers, as for facts.  leads says whether it does, and why none may go (NULL: they may).
 * horizon is the value of the key, as text, from which on the table has rows (NULL: all are there);
 * move moves it to another, in a transaction that may take its time.  is_read says that somebody
 * may still count on what was before the last move.  Before a range is attached again reopen is
 * asked, which raises where none may be, and keeps the horizon where it is until the end of the
 * transaction; come_back is told in it when one is, from which on the table has rows again.
 */
typedef struct WhPartitionRetirer
{
	bool (*leads)(Oid parent, const char **why_not);
	char *(*horizon)(Oid parent);
	void (*move)(Oid parent, const char *to);
	bool (*is_read)(Oid parent);
	void (*reopen)(Oid parent);
	void (*come_back)(Oid parent, const char *from, const char *to);
} WhPartitionRetirer;

extern void wh_partition_retirer(const WhPartitionRetirer *retirer);

/* wh_partition_hand_over gives the set of a table, with its policies and what it has still to
 * retire, to one that takes its place; nothing where there is none. */
extern void wh_partition_hand_over(Oid parent, Oid successor);

/*
 * follow.c: sets whose partitions go by what another room says.  wh_partition_leader has a function
 * asked, which returns false for tables that it does not lead; else *head is up to where nothing is
 * needed any more (PG_INT64_MIN: not known).  With `looks` it may work that out anew, in the
 * caller's transaction, which should be short, and says in *next when it is to be asked again.
 */
typedef bool (*WhPartitionLeader)(Oid parent, bool looks, int64 *head, TimestampTz *next);
extern void wh_partition_leader(WhPartitionLeader leader);
/* wh_partition_follow makes a table such a set, wh_partition_unfollow ends that; as the table's
 * owner, who was checked.  wh_partition_look has one looked at. */
extern void wh_partition_follow(Oid parent, const char *every);
extern void wh_partition_unfollow(Oid parent);
extern void wh_partition_look(Oid parent);
/* wh_partition_detached lists the OIDs of tables that were detached from one and not dropped yet.
 */
extern List *wh_partition_detached(Oid parent);
/* wh_partition_point is a place where a test may have the process stand still. */
extern void wh_partition_point(const char *name);

#endif /* WH_PARTITION_H */
