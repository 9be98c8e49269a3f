/*
 * steps.c
 *		The steps of a partition's life: made, sealed, detached, dropped or moved.
 *
 * Each step is one transaction, or a statement that commits by itself and one transaction that
 * says so in the register; it looks first at what is there, so that one that was cut off anywhere
 * goes on from there:
 *
 *	make	for each partition that is missing, a transaction; what is there is not missing
 *	seal	VACUUM (FREEZE, ANALYZE), which can be repeated; then what is in it, and the state
 *	profile	see profile.c
 *	detach	of a fact the horizon first, in a transaction; then DETACH CONCURRENTLY; cut off in
 *			between, the catalog says "pending", and the next attempt says FINALIZE; gone from the
 *			parent, the state follows
 *	archive	see archive.c
 *	drop	table and register in one transaction
 *	move	the same
 *
 * Locks: SHARE UPDATE EXCLUSIVE on the parent for making and detaching, ACCESS EXCLUSIVE on a
 * partition alone that no query finds any more.  Every wait for one is limited by lock_timeout.
 */
#include "postgres.h"

#include "catalog/partition.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "partition/partition.h"
#include "partition/partition_private.h"

static void make(int32 set_id, TimestampTz now, TimestampTz claimed);
static void plan_next_look(const WhSet *set, int64 head, TimestampTz now, TimestampTz next,
						   TimestampTz claimed);
static void seal(int32 set_id, Oid relid);
static void check_vacuum(const WhSet *set, Oid relid);
static void count_rows(const WhSet *set, Oid relid);
static void give_up(int32 set_id, Oid relid);
static void check_order(const WhSet *set, Oid relid, int64 hi, int64 horizon);
static void check_readers(const WhSet *set);
static void detach(int32 set_id, Oid relid);
static bool is_attached(const WhSet *set, Oid relid);
static bool begin_detaching(const WhSet *set, Oid relid, const WhMember *member, char **sql);
static void drop(int32 set_id, Oid relid);
static void move(int32 set_id, Oid relid);
static bool is_pending(const WhSet *set, Oid relid);
static void forget(const WhSet *set, Oid relid);
static void lock_table(Oid relid, WhMember *member);
static void check_taken(const WhSet *set, Oid relid, const WhMember *member, const char *step);

void
wh_step_run(int32 set_id, Oid relid, const char *step, TimestampTz now, TimestampTz claimed)
{
	if (strcmp(step, "make") == 0)
		make(set_id, now, claimed);
	else if (strcmp(step, "seal") == 0)
		seal(set_id, relid);
	else if (strcmp(step, "profile") == 0)
		wh_profile_run(set_id, relid);
	else if (strcmp(step, "detach") == 0)
		detach(set_id, relid);
	else if (strcmp(step, "archive") == 0)
		wh_set_archiver()->run(set_id, relid);
	else if (strcmp(step, "drop") == 0)
		drop(set_id, relid);
	else if (strcmp(step, "move") == 0)
		move(set_id, relid);
	else
		elog(ERROR, "unknown step \"%s\"", step);
}

/* make looks at a set, makes what it lacks, each in a transaction, and says when it looks again. */
static void
make(int32 set_id, TimestampTz now, TimestampTz claimed)
{
	WhSet *set;
	List *ranges;
	List *wanted;
	int64 head = PG_INT64_MIN;
	TimestampTz next;
	TimestampTz next_look = DT_NOEND;
	ListCell *cell;
	bool follows;

	wh_toplevel_begin();
	set = wh_step_open_set(set_id);
	ranges = wh_members_ranges(set);
	wh_members_reconcile(set, ranges);
	follows = wh_set_follows(set->parent, true, &head, &next_look);
	if (!follows && !wh_axis_has_time(&set->axis))
		head = wh_members_head(set, ranges);
	wanted = wh_make_wanted(set, ranges, head, now, &next);
	if (follows)
		next = next_look;
	wh_toplevel_point("make: looked");
	wh_toplevel_commit();
	wh_toplevel_point("make: planned");

	foreach(cell, wanted)
	{
		wh_toplevel_begin();
		wh_make_one(set, lfirst(cell));
		wh_toplevel_point("make: made");
		wh_toplevel_commit();
	}

	wh_toplevel_begin();
	plan_next_look(set, head, now, next, claimed);
	wh_toplevel_commit();
}

/*
 * plan_next_look keeps the greatest key, with what it makes due, and says when the set is looked at
 * again: at once, where somebody has asked for it since the step was claimed, as a load does that
 * makes a partition.
 */
static void
plan_next_look(const WhSet *set, int64 head, TimestampTz now, TimestampTz next,
			   TimestampTz claimed)
{
	WhArg args[] = {WH_ARG_INT4(set->id), WH_ARG_INT8(Max(head, set->head)),
					WH_ARG_TIMESTAMPTZ(now)};

	/* A set of keys without time is looked at each minute, and leaves no dead row each time. */
	if (head > set->head || wh_axis_has_time(&set->axis))
		wh_catalog_execute("UPDATE walhouse.partition_set SET head = NULLIF($2,"
						   " -9223372036854775808), looked = $3 WHERE set_id = $1",
						   3, args);
	wh_members_schedule(set, InvalidOid, head > set->head ? head : PG_INT64_MIN, false);
	args[1] = WH_ARG_TIMESTAMPTZ(next);
	args[2] = WH_ARG_TIMESTAMPTZ(claimed);
	wh_catalog_execute("UPDATE walhouse.partition_step SET due = CASE WHEN due = $3 THEN $2 ELSE"
					   " due END, tried = NULL, failures = 0, error = NULL, error_time = NULL WHERE"
					   " set_id = $1 AND step = 'make'",
					   3, args);
	wh_catalog_execute("DELETE FROM walhouse.partition_event WHERE set_id = $1 AND at <"
					   " pg_catalog.now() - '1 year'::pg_catalog.interval",
					   1, args);
}

static void
seal(int32 set_id, Oid relid)
{
	WhSet *set;
	WhMember member;
	char *sql = NULL;

	wh_toplevel_begin();
	set = wh_step_open_set(set_id);
	if (wh_step_read_member(set, relid, false, &member) && strcmp(member.state, "open") == 0)
	{
		check_vacuum(set, relid);
		sql = wh_sql("VACUUM (FREEZE, ANALYZE, TRUNCATE false) %T", relid);
	}
	wh_toplevel_commit();
	if (sql == NULL)
		return;
	wh_toplevel_run(set->owner, sql);
	wh_toplevel_point("seal: vacuumed");

	wh_toplevel_begin();
	if (wh_step_read_member(set, relid, true, &member) && strcmp(member.state, "open") == 0)
	{
		count_rows(set, relid);
		wh_step_change_state(set, relid, "sealed", "seal");
	}
	wh_toplevel_point("seal: counted");
	wh_toplevel_commit();
}

/* check_vacuum raises where the set's owner may not vacuum: VACUUM would pass over the table with a
 * warning, and it would count as sealed. */
static void
check_vacuum(const WhSet *set, Oid relid)
{
	WhRows *leaves = wh_members_leaves(relid);

	if (has_privs_of_role(set->owner, ROLE_PG_DATABASE_OWNER))
		return;
	for (uint64 i = 0; i < leaves->count; i++)
		if (!wh_compat_may_vacuum(wh_rows_oid(leaves, i, 1), set->owner))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("the owner of \"%s\" may not vacuum partition \"%s\"",
							get_rel_name(set->parent), get_rel_name(wh_rows_oid(leaves, i, 1))),
					 errhint("ALTER TABLE %s OWNER TO %s;",
							 wh_sql_relation(wh_rows_oid(leaves, i, 1)),
							 wh_sql_identifier(GetUserNameFromId(set->owner, false)))));
}

/* count_rows reads a partition once, and keeps what was found. */
static void
count_rows(const WhSet *set, Oid relid)
{
	WhRows *columns = wh_spi_query(
		"SELECT a.attname, EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.proname = 'min' AND"
		" p.prokind = 'a' AND p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND"
		" p.proargtypes[0] = CASE a.atttypid WHEN 'pg_catalog.varchar'::pg_catalog.regtype THEN"
		" 'pg_catalog.text'::pg_catalog.regtype ELSE a.atttypid END) FROM pg_catalog.pg_attribute a"
		" WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
		1, (WhArg[]){WH_ARG_OID(relid)});
	StringInfoData sql;
	WhRows *found;
	WhArg args[6] = {WH_ARG_INT4(set->id), WH_ARG_OID(relid)};
	WhUser saved;
	Oid types[] = {INT8OID, NUMERICOID, JSONBOID};

	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT pg_catalog.count(*), COALESCE(pg_catalog.sum(pg_catalog."
						"hashtextextended((wh_row.*)::pg_catalog.text, 0)), 0), pg_catalog."
						"jsonb_strip_nulls('{}'::pg_catalog.jsonb");
	for (uint64 i = 0; i < columns->count; i++)
	{
		const char *name = wh_rows_text(columns, i, 1);

		wh_sql_append(&sql, " || pg_catalog.jsonb_build_object(%L, pg_catalog.jsonb_build_object(",
					  name);
		if (wh_rows_bool(columns, i, 2))
			wh_sql_append(
				&sql,
				"'min', pg_catalog.min(wh_row.%I)::pg_catalog.text, 'max', pg_catalog.max("
				"wh_row.%I)::pg_catalog.text, ",
				name, name);
		wh_sql_append(&sql, "'nulls', pg_catalog.count(*) - pg_catalog.count(wh_row.%I)))", name);
	}
	wh_sql_append(&sql, ") FROM %T wh_row", relid);
	wh_user_become(set->owner, &saved);
	found = wh_spi_query(sql.data, 0, NULL);
	wh_user_restore(&saved);
	for (int i = 0; i < lengthof(types); i++)
	{
		args[i + 2].type = types[i];
		args[i + 2].value = wh_rows_datum(found, 0, i + 1, &args[i + 2].isnull);
	}
	wh_catalog_execute(
		"UPDATE walhouse.partition SET sealed = pg_catalog.clock_timestamp(), rows = $3, checksum ="
		" $4, zone_map = $5, bytes = (SELECT pg_catalog.sum(pg_catalog.pg_table_size(t.relid)) FROM"
		" pg_catalog.pg_partition_tree($2) t WHERE t.isleaf) WHERE set_id = $1 AND relid = $2",
		5, args);
}

/*
 * give_up has whoever answers for the rows of a table count on a partition's no more.  They stay
 * visible until it is detached, but nothing depends on when that is.
 */
static void
give_up(int32 set_id, Oid relid)
{
	const WhPartitionRetirer *retirer;
	WhSet *set;
	WhMember member;

	wh_toplevel_begin();
	set = wh_step_open_set(set_id);
	retirer = wh_set_retirer(set->parent);
	if (retirer != NULL && wh_step_read_member(set, relid, false, &member) &&
		is_attached(set, relid))
	{
		char *horizon = retirer->horizon(set->parent);
		int64 at = horizon == NULL ? PG_INT64_MIN : wh_axis_read(&set->axis, horizon);

		if (at < member.hi)
		{
			wh_axis_check_default(set->parent);
			check_taken(set, relid, &member, "detach");
			check_order(set, relid, member.hi, at);
			retirer->move(set->parent, wh_axis_text(&set->axis, member.hi));
			wh_toplevel_point("detach: giving up");
		}
	}
	wh_toplevel_commit();
	wh_toplevel_point("detach: given up");
}

/* check_order raises where an older partition is still counted on: such a table has a horizon, and
 * no holes. */
static void
check_order(const WhSet *set, Oid relid, int64 hi, int64 horizon)
{
	foreach_ptr(WhRange, range, wh_members_ranges(set))
	{
		if (range->relid != relid && range->hi <= hi && range->hi > horizon)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("partition \"%s\" is older, and still there",
							get_rel_name(range->relid)),
					 errdetail("Partitions of a fact go one after the other, the oldest first."),
					 errhint("See why it stays: walhouse.partitions.")));
	}
}

/* check_readers has a step tried again while somebody counts on what was given up. */
static void
check_readers(const WhSet *set)
{
	const WhPartitionRetirer *retirer = wh_set_retirer(set->parent);

	if (retirer != NULL && retirer->is_read(set->parent))
		ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
						errmsg("a transaction is open that may still read what was retired of \"%s\"",
							   get_rel_name(set->parent))));
}

static bool
is_attached(const WhSet *set, Oid relid)
{
	return get_rel_relispartition(relid) && get_partition_parent(relid, true) == set->parent;
}

/*
 * detach takes a partition from its parent, or goes on with what was cut off.  That it has begun is
 * committed before, or the partition would be taken for one that somebody detached by hand.
 */
static void
detach(int32 set_id, Oid relid)
{
	WhSet *set;
	WhMember member;
	char *sql;

	give_up(set_id, relid);
	wh_toplevel_begin();
	set = wh_step_open_set(set_id);
	if (!wh_step_read_member(set, relid, true, &member) ||
		!begin_detaching(set, relid, &member, &sql))
	{
		wh_toplevel_commit();
		return;
	}
	wh_toplevel_commit();
	if (sql != NULL)
	{
		wh_toplevel_run(set->owner, sql);
		wh_toplevel_point("detach: detached");
	}

	wh_toplevel_begin();
	if (wh_step_read_member(set, relid, true, &member))
	{
		WhArg args[] = {WH_ARG_INT4(set->id), WH_ARG_INT8(member.hi)};

		wh_step_change_state(set, relid, strcmp(set->retire, "keep") == 0 ? "kept" : "detached",
							 "detach");
		wh_catalog_execute("UPDATE walhouse.partition_set SET retired_to = GREATEST(retired_to, $2)"
						   " WHERE set_id = $1",
						   2, args);
	}
	wh_toplevel_point("detach: noted");
	wh_toplevel_commit();
}

/* begin_detaching gives the statement, NULL where the partition is detached already; false where it
 * is not to be: one that is held, or the set retires nothing any more, goes back to what it was;
 * and one that was taken out before this began belongs to whoever did that. */
static bool
begin_detaching(const WhSet *set, Oid relid, const WhMember *member, char **sql)
{
	bool pending;

	*sql = NULL;
	if (!is_attached(set, relid))
	{
		bool has_begun = strcmp(member->state, "detaching") == 0;

		if (!has_begun)
			forget(set, relid);
		return has_begun;
	}
	pending = is_pending(set, relid);
	if (!pending && strcmp(member->state, "detaching") == 0 &&
		(member->hold != NULL || set->retire_after == NULL))
	{
		wh_catalog_execute("UPDATE walhouse.partition SET state = CASE WHEN sealed IS NULL THEN"
						   " 'open' ELSE 'sealed' END WHERE set_id = $1 AND relid = $2",
						   2, (WhArg[]){WH_ARG_INT4(set->id), WH_ARG_OID(relid)});
		wh_members_schedule(set, relid, PG_INT64_MIN, true);
		return false;
	}
	/* What is pending is out of the table already; it is not lost by being detached. */
	if (!pending)
	{
		wh_axis_check_default(set->parent);
		check_taken(set, relid, member, "detach");
		check_readers(set);
	}
	wh_catalog_execute("UPDATE walhouse.partition SET state = 'detaching' WHERE set_id = $1 AND"
					   " relid = $2",
					   2, (WhArg[]){WH_ARG_INT4(set->id), WH_ARG_OID(relid)});
	*sql = wh_sql("ALTER TABLE %T DETACH PARTITION %T %s", set->parent, relid,
				  pending ? "FINALIZE" : "CONCURRENTLY");
	return true;
}

/* is_pending says whether the detaching of a partition was cut off; while that of a sibling was,
 * the server detaches no other. */
static bool
is_pending(const WhSet *set, Oid relid)
{
	WhRows *rows = wh_spi_query_kept("SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent"
									 " = $1 AND inhdetachpending",
									 1, (WhArg[]){WH_ARG_OID(set->parent)});

	if (rows->count == 0)
		return false;
	if (wh_rows_oid(rows, 0, 1) == relid)
		return true;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("partition \"%s\" is still being detached from \"%s\"",
					get_rel_name(wh_rows_oid(rows, 0, 1)), get_rel_name(set->parent)),
			 errdetail("The server detaches one partition of a table at a time."),
			 errhint("If nobody does: ALTER TABLE %s DETACH PARTITION %s FINALIZE.",
					 wh_sql_relation(set->parent), wh_sql_relation(wh_rows_oid(rows, 0, 1)))));
}

static void
drop(int32 set_id, Oid relid)
{
	WhSet *set;
	WhMember member;

	wh_toplevel_begin();
	set = wh_step_open_set(set_id);
	if (wh_step_read_member(set, relid, true, &member))
	{
		lock_table(relid, &member);
		check_taken(set, relid, &member, "drop");
		wh_toplevel_point("drop: before");
		if (member.is_table && set->archive && !wh_set_archiver()->holds(set, relid))
		{
			wh_toplevel_commit();
			return;
		}
		if (member.is_table)
		{
			char *sql = wh_sql("DROP TABLE %T", relid);
			char *name = wh_sql_relation(relid);
			WhUser saved;

			wh_user_become(set->owner, &saved);
			wh_spi_execute(sql, 0, NULL);
			wh_user_restore(&saved);
			wh_step_note(set, "drop", name, NULL);
		}
		forget(set, relid);
	}
	wh_toplevel_point("drop: dropped");
	wh_toplevel_commit();
}

static void
move(int32 set_id, Oid relid)
{
	WhSet *set;
	WhMember member;

	wh_toplevel_begin();
	set = wh_step_open_set(set_id);
	if (wh_step_read_member(set, relid, true, &member))
	{
		List *rewrites;
		ListCell *cell;
		WhUser saved;

		lock_table(relid, &member);
		check_taken(set, relid, &member, "move");
		rewrites = wh_profile_move(set, relid);
		wh_user_become(set->owner, &saved);
		foreach(cell, rewrites)
			wh_spi_execute(lfirst(cell), 0, NULL);
		wh_spi_execute(wh_sql("ALTER TABLE %T SET SCHEMA %I", relid, set->retire_schema), 0, NULL);
		wh_user_restore(&saved);
		wh_step_change_state(set, relid, "moved", "move");
	}
	wh_toplevel_point("move: moved");
	wh_toplevel_commit();
}

WhSet *
wh_step_open_set(int32 set_id)
{
	WhSet *set = wh_set_read(set_id, false);

	if (!set->enabled)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the set of \"%s\" is switched off", get_rel_name(set->parent))));
	return set;
}

bool
wh_step_read_member(const WhSet *set, Oid relid, bool locks, WhMember *member)
{
	WhRows *rows = wh_catalog_query(
		wh_sql("SELECT p.state, p.hold, p.hi FROM walhouse.partition p WHERE p.set_id = $1 AND"
			   " p.relid = $2%s",
			   locks ? " FOR UPDATE" : ""),
		2, (WhArg[]){WH_ARG_INT4(set->id), WH_ARG_OID(relid)});

	if (rows->count == 0)
		return false;
	member->state = wh_rows_text(rows, 0, 1);
	member->hold = wh_rows_text(rows, 0, 2);
	member->hi = wh_rows_int8(rows, 0, 3);
	member->is_table = get_rel_name(relid) != NULL;
	if (!member->is_table)
		forget(set, relid);
	return member->is_table;
}

/* forget takes a partition out of the register. */
static void
forget(const WhSet *set, Oid relid)
{
	WhArg args[] = {WH_ARG_INT4(set->id), WH_ARG_OID(relid)};

	wh_catalog_execute("DELETE FROM walhouse.partition_step WHERE set_id = $1 AND relid = $2", 2,
					   args);
	wh_catalog_execute("DELETE FROM walhouse.partition WHERE set_id = $1 AND relid = $2", 2, args);
}

/* lock_table locks what is to go by its OID, before anything is asked of it: nobody gives it
 * another name, or attaches it, meanwhile. */
static void
lock_table(Oid relid, WhMember *member)
{
	LockRelationOid(relid, AccessExclusiveLock);
	member->is_table = get_rel_name(relid) != NULL;
}

/* check_taken raises where a partition must not be taken away, or is not what it was thought to
 * be. */
static void
check_taken(const WhSet *set, Oid relid, const WhMember *member, const char *step)
{
	const char *reason = wh_set_kept(set->parent);
	int64 head;

	if (wh_set_follows(set->parent, false, &head, &(TimestampTz){0}) && member->hi > head)
		reason = "It is needed again.";
	if (member->hold != NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("partition \"%s\" is held", get_rel_name(relid)),
						errdetail("Reason: %s", member->hold)));
	if (reason != NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("partitions of \"%s\" cannot be retired",
							   get_rel_name(set->parent)),
						errdetail("%s", reason)));
	if (strcmp(step, "detach") != 0 && member->is_table &&
		((strcmp(member->state, "detached") != 0 && strcmp(member->state, "archived") != 0) ||
		 get_rel_relispartition(relid)))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table \"%s\" is a partition again", get_rel_name(relid)),
						errhint("CALL walhouse.maintain_partitions(%s) looks at what is there.",
								wh_sql_literal(wh_sql_relation(set->parent)))));
}

void
wh_step_change_state(const WhSet *set, Oid relid, const char *state, const char *step)
{
	WhArg args[] = {WH_ARG_INT4(set->id), WH_ARG_OID(relid), wh_arg_text(state)};

	wh_catalog_execute("UPDATE walhouse.partition SET state = $3 WHERE set_id = $1 AND relid = $2",
					   3, args);
	wh_members_schedule(set, relid, PG_INT64_MIN, true);
	if (get_rel_name(relid) != NULL)
		wh_step_note(set, step, wh_sql_relation(relid), NULL);
}

void
wh_step_note(const WhSet *set, const char *step, const char *partition, const char *detail)
{
	WhArg args[] = {WH_ARG_INT4(set->id), wh_arg_text(step), wh_arg_text(partition),
					wh_arg_text(detail)};

	wh_catalog_execute("INSERT INTO walhouse.partition_event (set_id, step, partition, detail)"
					   " VALUES ($1, $2, $3, $4)",
					   4, args);
}
