/*
 * groups.c
 *		Many new partitions put in the place of one, a few at a time.
 *
 * Attaching a partition takes some milliseconds, so hundreds would keep everybody from the table
 * for seconds.  So many are made below others: the staging table gets no more than WH_GROUP of
 * them, or as many groups, tables that are partitioned by the same column and have as many below
 * them again.  The exchange attaches what is at the top.  Then one group after the other is taken
 * away, and what was below it attached in its place, each under a short lock of its own: no row is
 * moved, and whatever is between has a place for every row.
 *
 * The set knows groups as partitions that are held.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "reshape/reshape.h"
#include "reshape/reshape_private.h"

/* So many partitions are attached, and as many detached, under one lock. */
#define WH_GROUP 8

static void attach(const WhSet *set, Oid parent, Oid relid, int64 lo, int64 hi);
static Oid find_group(const WhRewrite *rewrite);
static void lock_below(Oid group);

#define RUN(...) wh_spi_execute(wh_sql(__VA_ARGS__), 0, NULL)

/* wh_groups_make makes partitions (WhNewPartition) below a table, and groups where they are many;
 * returns the groups. */
List *
wh_groups_make(const WhSet *set, Oid parent, List *pieces)
{
	int count = list_length(pieces);
	List *groups = NIL;
	int size = 1;

	while (size * WH_GROUP < count)
		size *= WH_GROUP;
	for (int i = 0; i < count; i += size)
	{
		WhNewPartition *first = list_nth(pieces, i);
		WhNewPartition *last = list_nth(pieces, Min(i + size, count) - 1);
		List *below = NIL;
		char *sql;
		Oid relid;

		for (int j = i; j < Min(i + size, count); j++)
			below = lappend(below, list_nth(pieces, j));
		if (list_length(below) == 1)
		{
			relid = wh_make_table(set, first, &sql);
			wh_split_add_check(set, relid, first->lo, first->hi);
		}
		else
		{
			relid = wh_split_make_parent(set, "_group", "INCLUDING ALL EXCLUDING IDENTITY");
			groups = list_concat(lappend_oid(groups, relid), wh_groups_make(set, relid, below));
		}
		attach(set, parent, relid, first->lo, last->hi);
	}
	return groups;
}

static void
attach(const WhSet *set, Oid parent, Oid relid, int64 lo, int64 hi)
{
	WhUser saved;

	wh_user_become(set->owner, &saved);
	RUN("ALTER TABLE %T ATTACH PARTITION %T FOR VALUES FROM (%s) TO (%s)", parent, relid,
		wh_axis_literal(&set->axis, lo), wh_axis_literal(&set->axis, hi));
	wh_user_restore(&saved);
}

/* wh_groups_pieces lists the new partitions themselves, while the staging table has them. */
List *
wh_groups_pieces(const WhRewrite *rewrite)
{
	List *pieces = NIL;
	List *parents = lcons_oid(rewrite->staging, list_copy(rewrite->groups));

	foreach_oid(parent, parents)
	{
		WhRows *rows = wh_spi_query("SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent ="
									" $1 ORDER BY 1",
									1, (WhArg[]){WH_ARG_OID(parent)});

		for (uint64 i = 0; i < rows->count; i++)
			if (!list_member_oid(rewrite->groups, wh_rows_oid(rows, i, 1)))
				pieces = lappend_oid(pieces, wh_rows_oid(rows, i, 1));
	}
	return pieces;
}

/* wh_groups_register has a set hold the groups among partitions (WhRange) that it is about to get,
 * so that it does not retire them. */
void
wh_groups_register(const WhRewrite *rewrite, const WhSet *set, List *ranges)
{
	foreach_ptr(WhRange, range, ranges)
	{
		if (!list_member_oid(rewrite->groups, range->relid))
			continue;
		wh_catalog_execute(
			"INSERT INTO walhouse.partition (set_id, relid, lo, hi, from_value, to_value, hold,"
			" held_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8::pg_catalog.regrole)",
			8,
			(WhArg[]){WH_ARG_INT4(set->id), WH_ARG_OID(range->relid), WH_ARG_INT8(range->lo),
					  WH_ARG_INT8(range->hi), WH_ARG_TEXT(wh_axis_text(&set->axis, range->lo)),
					  WH_ARG_TEXT(wh_axis_text(&set->axis, range->hi)), WH_ARG_TEXT(rewrite->kind),
					  WH_ARG_OID(GetUserId())});
	}
}

/* wh_groups_dissolve has what is below the next group take its place. */
void
wh_groups_dissolve(void *arg)
{
	WhSplit *split = arg;
	WhRewrite *rewrite = wh_rewrite_read(split->parent);
	WhSet *set;
	WhSet inner;
	List *ranges;
	instr_time locked;
	Oid group;
	WhUser saved;

	if (rewrite == NULL || strcmp(rewrite->state, "dissolve") != 0)
		return;
	set = wh_set_own(split->parent);
	wh_rewrite_lock_ddl(split->parent);
	group = find_group(rewrite);
	if (!OidIsValid(group))
	{
		wh_rewrite_set_state(split->parent, "note");
		return;
	}
	lock_below(group);
	inner = *set;
	inner.parent = group;
	ranges = wh_members_ranges(&inner);
	wh_groups_register(rewrite, set, ranges);
	wh_toplevel_point("split: dissolving");
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	wh_rewrite_lock_all(split->parent);
	INSTR_TIME_SET_CURRENT(locked);
	wh_rewrite_lock_all(group);
	/* The group last: the server (17) does not detach one above partitions from an identity. */
	wh_user_become(set->owner, &saved);
	foreach_ptr(WhRange, range, ranges)
		RUN("ALTER TABLE %T DETACH PARTITION %T", group, range->relid);
	RUN("ALTER TABLE %T DETACH PARTITION %T", split->parent, group);
	wh_user_restore(&saved);
	foreach_ptr(WhRange, range, ranges)
		attach(set, split->parent, range->relid, range->lo, range->hi);
	split->longest_ms = Max(split->longest_ms, wh_rewrite_ms(locked));
	wh_toplevel_point("split: dissolved");
}

/* find_group finds the next one that is a partition of the table; InvalidOid: none. */
static Oid
find_group(const WhRewrite *rewrite)
{
	WhRows *rows =
		wh_spi_query("SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = $1", 1,
					 (WhArg[]){WH_ARG_OID(rewrite->relid)});

	for (uint64 i = 0; i < rows->count; i++)
		if (list_member_oid(rewrite->groups, wh_rows_oid(rows, i, 1)))
			return wh_rows_oid(rows, i, 1);
	return InvalidOid;
}

/* lock_below keeps (auto)vacuum and others from what is below a group, before anybody waits. */
static void
lock_below(Oid group)
{
	WhRows *rows = wh_spi_query("SELECT relid FROM pg_catalog.pg_partition_tree($1) ORDER BY level,"
								" relid",
								1, (WhArg[]){WH_ARG_REGCLASS(group)});

	for (uint64 i = 0; i < rows->count; i++)
		wh_rewrite_lock_ddl(wh_rows_oid(rows, i, 1));
}

/* wh_groups_drop drops the groups, which are empty; one that somebody put something below is
 * theirs. */
void
wh_groups_drop(const WhRewrite *rewrite)
{
	foreach_oid(group, rewrite->groups)
	{
		if (wh_spi_query("SELECT FROM pg_catalog.pg_inherits WHERE $1 IN (inhparent, inhrelid)"
						 " LIMIT 1",
						 1, (WhArg[]){WH_ARG_OID(group)})
				->count == 0)
			wh_split_drop_helper(group);
	}
}
