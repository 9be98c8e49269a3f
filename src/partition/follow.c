/*
 * follow.c
 *		Sets whose partitions go by what another room says, not by their keys' age: change logs.
 *
 * Such a set is like any other of a key without time, but for its head: the room that looks after
 * the table says up to which key nothing is needed any more, and what lies below is due to be
 * detached and dropped, by the same steps as everything.  The set makes no partitions ahead, and
 * is looked at when that room says, and when a partition was made.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/lsyscache.h"

#include "partition/partition.h"
#include "partition/partition_private.h"

static WhPartitionLeader leader = NULL;

static void declare(Oid parent, const char *every);
static void check_idle(const WhSet *set);

void
wh_partition_leader(WhPartitionLeader function)
{
	leader = function;
}

bool
wh_set_follows(Oid parent, bool looks, int64 *head, TimestampTz *next)
{
	return leader != NULL && leader(parent, looks, head, next);
}

void
wh_partition_follow(Oid parent, const char *every)
{
	WhSet *set = wh_set_of(parent, true);

	if (set == NULL)
	{
		declare(parent, every);
		return;
	}
	/* A head that was a key must not be taken for the leader's. */
	wh_catalog_execute("UPDATE walhouse.partition_set SET retire_after = '0', retire = 'drop',"
					   " drop_after = NULL, head = NULL WHERE set_id = $1 AND retire_after IS NULL",
					   1, (WhArg[]){WH_ARG_INT4(set->id)});
	wh_members_schedule(wh_set_read(set->id, false), InvalidOid, PG_INT64_MIN, true);
	wh_partition_look(parent);
}

static void
declare(Oid parent, const char *every)
{
	WhArg args[WH_SET_ARGS];

	wh_set_defaults(args, parent, every);
	args[10] = WH_ARG_TEXT("0");
	(void) wh_set_declare(args);
}

void
wh_partition_unfollow(Oid parent)
{
	WhSet *set = wh_set_of(parent, true);

	if (set == NULL)
		return;
	check_idle(set);
	if (set->lead == NULL && set->lead_count == 0 && set->seal_after == NULL)
	{
		wh_set_forget(set);
		return;
	}
	wh_catalog_execute(
		"UPDATE walhouse.partition_set SET retire_after = NULL, head = NULL WHERE set_id = $1", 1,
		(WhArg[]){WH_ARG_INT4(set->id)});
	wh_members_schedule(wh_set_read(set->id, false), InvalidOid, PG_INT64_MIN, true);
}

/* check_idle refuses what would leave a partition half retired; its lock keeps steps from
 * beginning. */
static void
check_idle(const WhSet *set)
{
	WhRows *rows = wh_catalog_query(
		"SELECT state IN ('detaching', 'detached') FROM walhouse.partition WHERE set_id = $1 FOR"
		" UPDATE",
		1, (WhArg[]){WH_ARG_INT4(set->id)});

	for (uint64 i = 0; i < rows->count; i++)
		if (wh_rows_bool(rows, i, 1))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("partitions of \"%s\" are being retired", get_rel_name(set->parent)),
					 errhint("CALL walhouse.maintain_partitions(%s) brings that to an end.",
							 wh_sql_literal(wh_sql_relation(set->parent)))));
}

void
wh_partition_look(Oid parent)
{
	if (wh_catalog_execute("UPDATE walhouse.partition_step t SET due = pg_catalog.now() FROM"
						   " walhouse.partition_set s WHERE s.parent = $1 AND s.enabled AND"
						   " t.set_id = s.set_id AND t.step = 'make' AND t.due > pg_catalog.now()",
						   1, (WhArg[]){WH_ARG_OID(parent)}) > 0)
		wh_set_changed();
}

List *
wh_partition_detached(Oid parent)
{
	WhRows *rows = wh_catalog_query(
		"SELECT p.relid::pg_catalog.oid FROM walhouse.partition p JOIN walhouse.partition_set s"
		" USING (set_id) WHERE s.parent = $1 AND p.state = 'detached' ORDER BY 1",
		1, (WhArg[]){WH_ARG_REGCLASS(parent)});
	List *relids = NIL;

	for (uint64 i = 0; i < rows->count; i++)
		relids = lappend_oid(relids, wh_rows_oid(rows, i, 1));
	return relids;
}

void
wh_partition_point(const char *name)
{
	wh_toplevel_point(name);
}
