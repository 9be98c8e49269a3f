/*
 * set.c
 *		Partition sets as the catalog knows them, and the commands that declare and change them.
 *
 * A declaration writes rows and makes nothing: what a set lacks is due at once, and the
 * worker, or walhouse.maintain_partitions(), makes it.  Whoever changes a set says so to the
 * worker's room (wh_set_changed), which looks at the commit when the next step is due.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "partition/partition.h"
#include "partition/partition_private.h"

PG_FUNCTION_INFO_V1(walhouse_create_partition_set);
PG_FUNCTION_INFO_V1(walhouse_alter_partition_set);
PG_FUNCTION_INFO_V1(walhouse_drop_partition_set);
PG_FUNCTION_INFO_V1(walhouse_hold_partition);
PG_FUNCTION_INFO_V1(walhouse_unhold_partition);

char *wh_partition_debug_point = NULL;
int wh_partition_lock_timeout = 200;

static void (*on_change)(void) = NULL;
static WhPartitionGuard guard = NULL;
static const WhPartitionRetirer *retirer = NULL;
static const WhArchiver *archiver = NULL;
static List *forgetters = NIL;

static WhSet *read_where(const char *condition, Oid parent, int32 set_id, bool missing_ok);
static void check_holds(const WhSet *set);
static void check(WhSet *set);
static void check_subpartition(const WhSet *set);
static void make_overflow(WhSet *set);
static void make_due(const WhSet *set);
static Oid owner_of(Oid relid);
static WhSet *set_of_partition(Oid relid);
static void change_hold(Oid relid, const char *reason);

void
wh_partition_init(void)
{
	DefineCustomIntVariable(
		"walhouse.partition_lock_timeout",
		"How long a step of a partition waits for a lock before it is tried again.",
		"Whoever comes after it waits no longer than that for its sake.",
		&wh_partition_lock_timeout, 200, 1, 3600000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomStringVariable("walhouse.debug_partition_point",
							   "A place where steps of partitions stand still, for tests.", NULL,
							   &wh_partition_debug_point, "", PGC_SIGHUP,
							   GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
	wh_toplevel_init();
}

void
wh_partition_on_change(void (*changed)(void))
{
	on_change = changed;
}

void
wh_partition_guard(WhPartitionGuard function)
{
	guard = function;
}

void
wh_partition_retirer(const WhPartitionRetirer *functions)
{
	retirer = functions;
}

const WhPartitionRetirer *
wh_set_retirer(Oid parent)
{
	const char *why_not;

	return retirer != NULL && retirer->leads(parent, &why_not) ? retirer : NULL;
}

const char *
wh_set_kept(Oid parent)
{
	const char *why_not;

	return retirer != NULL && retirer->leads(parent, &why_not) ? why_not : wh_set_guarded(parent);
}

void
wh_partition_hand_over(Oid parent, Oid successor)
{
	if (wh_catalog_execute("UPDATE walhouse.partition_set s SET parent = $2 WHERE s.parent = $1 AND"
						   " NOT EXISTS (SELECT FROM walhouse.partition_set o WHERE o.parent = $2)",
						   2, (WhArg[]){WH_ARG_REGCLASS(parent), WH_ARG_REGCLASS(successor)}) > 0)
		wh_partition_look(successor);
}

void
wh_partition_archiver(const WhArchiver *functions)
{
	archiver = functions;
}

const WhArchiver *
wh_set_archiver(void)
{
	return archiver;
}

void
wh_partition_on_gone(void (*forget)(void))
{
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

	forgetters = lappend(forgetters, forget);
	MemoryContextSwitchTo(caller);
}

void
wh_set_gone(void)
{
	ListCell *cell;

	foreach(cell, forgetters)
		((void (*)(void)) lfirst(cell))();
}

void
wh_set_changed(void)
{
	if (on_change != NULL)
		on_change();
}

const char *
wh_set_guarded(Oid parent)
{
	if (wh_set_follows(parent, false, &(int64){0}, &(TimestampTz){0}))
		return NULL;
	return guard != NULL ? guard(parent) : NULL;
}

WhSet *
wh_set_read(int32 set_id, bool missing_ok)
{
	return read_where("s.set_id = $1", InvalidOid, set_id, missing_ok);
}

WhSet *
wh_set_of(Oid parent, bool missing_ok)
{
	return read_where("s.parent = $2::pg_catalog.regclass", parent, 0, missing_ok);
}

WhSet *
wh_set_own(Oid parent)
{
	WhSet *set = wh_set_of(parent, false);

	wh_user_check_owner(set->owner, "table", get_rel_name(parent));
	return set;
}

void
wh_partition_check_owner(Oid parent)
{
	(void) wh_set_own(parent);
}

static WhSet *
read_where(const char *condition, Oid parent, int32 set_id, bool missing_ok)
{
	WhArg args[] = {WH_ARG_INT4(set_id), WH_ARG_OID(parent)};
	WhRows *rows = wh_catalog_query(
		wh_sql(
			"SELECT s.set_id, s.parent::pg_catalog.oid, c.relowner, s.key, s.every, s.zone,"
			" s.origin, s.lead, s.lead_count, s.horizon, s.outside, s.seal_after,"
			" s.retire_after, s.retire, s.drop_after, s.retire_schema, s.subpartition,"
			" COALESCE(s.overflow, 0)::pg_catalog.oid, s.enabled, s.retired_to IS NOT NULL,"
			" COALESCE(s.retired_to, 0), COALESCE(s.head, -9223372036854775808),"
			" COALESCE(s.looked, '-infinity'), s.profile, s.profile ->> 'after',"
			" COALESCE(s.profile ?| '{fillfactor,indexes,open_indexes,index_tablespace}', false),"
			" s.archive"
			" FROM walhouse.partition_set s JOIN pg_catalog.pg_class"
			" c ON c.oid = s.parent WHERE %s AND ($1, $2) IS NOT NULL",
			condition),
		2, args);
	WhSet *set;
	bool isnull;

	if (rows->count == 0)
	{
		if (missing_ok)
			return NULL;
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						OidIsValid(parent) ?
							errmsg("table \"%s\" is no partition set", get_rel_name(parent)) :
							errmsg("partition set %d does not exist", set_id),
						errhint("Run SELECT walhouse.create_partition_set(…).")));
	}
	set = palloc0(sizeof(WhSet));
	set->id = wh_rows_int4(rows, 0, 1);
	set->parent = wh_rows_oid(rows, 0, 2);
	set->owner = wh_rows_oid(rows, 0, 3);
	set->lead = wh_rows_text(rows, 0, 8);
	set->lead_count = wh_rows_int4(rows, 0, 9);
	set->horizon = wh_rows_text(rows, 0, 10);
	set->outside = wh_rows_text(rows, 0, 11);
	set->seal_after = wh_rows_text(rows, 0, 12);
	set->retire_after = wh_rows_text(rows, 0, 13);
	set->retire = wh_rows_text(rows, 0, 14);
	set->drop_after = wh_rows_text(rows, 0, 15);
	set->retire_schema = wh_rows_text(rows, 0, 16);
	set->subpartition = wh_rows_text(rows, 0, 17);
	set->overflow = wh_rows_oid(rows, 0, 18);
	set->enabled = wh_rows_bool(rows, 0, 19);
	set->has_retired = wh_rows_bool(rows, 0, 20);
	set->retired_to = wh_rows_int8(rows, 0, 21);
	set->head = wh_rows_int8(rows, 0, 22);
	set->looked = DatumGetTimestampTz(wh_rows_datum(rows, 0, 23, &isnull));
	set->profile = wh_rows_text(rows, 0, 24);
	set->profile_after = wh_rows_text(rows, 0, 25);
	set->has_profile = wh_rows_bool(rows, 0, 26);
	set->archive = wh_rows_bool(rows, 0, 27);
	wh_axis_open(&set->axis, set->parent, wh_rows_text(rows, 0, 4), wh_rows_text(rows, 0, 5),
				 wh_rows_text(rows, 0, 6), wh_rows_text(rows, 0, 7));
	return set;
}

/* text_argument passes an argument of a declaration on; NULL stays. */
static WhArg
text_argument(FunctionCallInfo fcinfo, int i)
{
	return wh_arg_text(PG_ARGISNULL(i) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i)));
}

Datum
walhouse_create_partition_set(PG_FUNCTION_ARGS)
{
	WhArg args[WH_SET_ARGS];
	Oid parent;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("parent and every must not be null")));
	parent = PG_GETARG_OID(0);
	wh_set_check_new(parent);
	args[0] = WH_ARG_OID(parent);
	for (int i = 1; i < 14; i++)
		if (i != 6)
			args[i] = text_argument(fcinfo, i);
	args[6] = WH_ARG_INT4(PG_ARGISNULL(6) ? 0 : PG_GETARG_INT32(6));
	args[14] = (WhArg){JSONBOID, PG_GETARG_DATUM(14), PG_ARGISNULL(14)};
	args[15] = WH_ARG_NULL(OIDOID);
	args[16] = WH_ARG_BOOL(true);
	args[17] = (WhArg){JSONBOID, PG_GETARG_DATUM(15), PG_ARGISNULL(15)};
	args[18] = WH_ARG_BOOL(!PG_ARGISNULL(16) && PG_GETARG_BOOL(16));
	PG_RETURN_INT32(wh_set_declare(args)->id);
}

Oid
wh_set_check_new(Oid parent)
{
	Oid owner = owner_of(parent);

	wh_user_check_owner(owner, "table", get_rel_name(parent));
	if (wh_set_of(parent, true) != NULL)
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
						errmsg("table \"%s\" is a partition set already", get_rel_name(parent)),
						errhint("Change it with walhouse.alter_partition_set.")));
	return owner;
}

void
wh_set_defaults(WhArg *args, Oid parent, const char *every)
{
	for (int i = 0; i < WH_SET_ARGS; i++)
		args[i] = WH_ARG_NULL(TEXTOID);
	args[0] = WH_ARG_OID(parent);
	args[1] = WH_ARG_TEXT(every);
	args[6] = WH_ARG_INT4(0);
	args[14] = args[17] = WH_ARG_NULL(JSONBOID);
	args[15] = WH_ARG_NULL(OIDOID);
	args[16] = WH_ARG_BOOL(true);
	args[18] = WH_ARG_BOOL(false);
}

WhSet *
wh_set_declare(const WhArg *args)
{
	WhSet *set;

	wh_txn_mark_own();
	wh_catalog_execute(
		"INSERT INTO walhouse.partition_set (parent, every, key, zone, origin, lead, lead_count,"
		" horizon, outside, seal_after, retire_after, retire, drop_after, retire_schema,"
		" subpartition, overflow, enabled, profile, archive) VALUES ($1, $2, $3, COALESCE($4,"
		" 'UTC'), $5, $6, $7, $8, COALESCE($9, 'reject'), $10, $11, COALESCE($12, 'drop'), $13,"
		" $14, $15, $16, $17, $18, $19)",
		WH_SET_ARGS, args);
	set = wh_set_of(DatumGetObjectId(args[0].value), false);
	check(set);
	make_overflow(set);
	wh_members_reconcile(set, wh_members_ranges(set));
	make_due(set);
	return set;
}

/* walhouse_alter_partition_set: what is not named stays. */
Datum
walhouse_alter_partition_set(PG_FUNCTION_ARGS)
{
	static const char *const names = "every,zone,origin,lead,lead_count,horizon,outside,seal_after,"
									 "retire_after,retire,drop_after,retire_schema,subpartition,"
									 "profile,archive,enabled";
	WhArg args[2];
	WhSet *set;

	wh_txn_check_arguments(fcinfo);
	set = wh_set_own(PG_GETARG_OID(0));
	args[0] = WH_ARG_INT4(set->id);
	args[1] = WH_ARG_JSONB(PG_GETARG_DATUM(1));
	wh_set_check_options(args[1], names);
	wh_txn_mark_own();
	wh_catalog_execute(
		"UPDATE walhouse.partition_set s SET (every, zone, origin, lead, lead_count, horizon,"
		" outside, seal_after, retire_after, retire, drop_after, retire_schema, subpartition,"
		" profile, archive, enabled) = (SELECT n.every, n.zone, n.origin, n.lead, "
		"COALESCE(n.lead_count, 0),"
		" n.horizon, COALESCE(n.outside, 'reject'), n.seal_after, n.retire_after,"
		" COALESCE(n.retire, 'drop'), n.drop_after, n.retire_schema,"
		" NULLIF(n.subpartition, 'null'), NULLIF(n.profile, 'null'), COALESCE(n.archive, false), "
		"COALESCE(n.enabled, true)"
		" FROM pg_catalog.jsonb_populate_record(s, $2) n) WHERE s.set_id = $1",
		2, args);
	set = wh_set_read(set->id, false);
	check(set);
	make_overflow(set);
	wh_members_reconcile(set, wh_members_ranges(set));
	/* What fits a new profile is left as it is. */
	wh_catalog_execute(
		"UPDATE walhouse.partition SET state = 'sealed' WHERE set_id = $1 AND state ="
		" 'profiled' AND $2 ? 'profile'",
		2, args);
	wh_members_schedule(set, InvalidOid, PG_INT64_MIN, true);
	make_due(set);
	PG_RETURN_VOID();
}

void
wh_set_check_options(WhArg options, const char *names)
{
	WhRows *unknown = wh_spi_query(
		"SELECT k FROM pg_catalog.jsonb_object_keys($1) k"
		" WHERE k <> ALL (pg_catalog.string_to_array($2, ',')) ORDER BY k LIMIT 1",
		2, (WhArg[]){options, WH_ARG_TEXT(names)});

	if (unknown->count > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a partition set has no option \"%s\"", wh_rows_text(unknown, 0, 1)),
				 errhint("Options are %s.", names)));
}

Datum
walhouse_drop_partition_set(PG_FUNCTION_ARGS)
{
	WhSet *set = wh_set_own(PG_GETARG_OID(0));

	check_holds(set);
	wh_set_forget(set);
	PG_RETURN_VOID();
}

/* check_holds raises where a partition is held, and locks what it looks at: nobody holds one
 * meanwhile. */
static void
check_holds(const WhSet *set)
{
	WhRows *rows = wh_catalog_query("SELECT relid::pg_catalog.oid, hold FROM walhouse.partition"
									" WHERE set_id = $1 ORDER BY lo, relid FOR UPDATE",
									1, (WhArg[]){WH_ARG_INT4(set->id)});

	for (uint64 i = 0; i < rows->count; i++)
		if (wh_rows_text(rows, i, 2) != NULL && get_rel_name(wh_rows_oid(rows, i, 1)) != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("partition \"%s\" is held", get_rel_name(wh_rows_oid(rows, i, 1))),
					 errdetail("Reason: %s", wh_rows_text(rows, i, 2)),
					 errhint("SELECT walhouse.unhold_partition(%s) takes the hold back.",
							 wh_sql_literal(wh_sql_relation(wh_rows_oid(rows, i, 1))))));
}

void
wh_set_forget(const WhSet *set)
{
	WhArg args[1] = {WH_ARG_INT4(set->id)};

	wh_txn_mark_own();
	wh_catalog_execute("DELETE FROM walhouse.partition_step WHERE set_id = $1", 1, args);
	wh_catalog_execute("DELETE FROM walhouse.partition WHERE set_id = $1", 1, args);
	wh_catalog_execute("DELETE FROM walhouse.partition_event WHERE set_id = $1", 1, args);
	wh_catalog_execute("DELETE FROM walhouse.partition_set WHERE set_id = $1", 1, args);
}

/* check_word refuses what is none of three words. */
static void
check_word(const char *option, const char *value, const char *one, const char *two,
		   const char *three)
{
	if (strcmp(value, one) != 0 && strcmp(value, two) != 0 && strcmp(value, three) != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s cannot be \"%s\"", option, value),
						errhint("It is %s, %s or %s.", one, two, three)));
}

/* check_move refuses a schema that is not given, or not to be written to. */
static void
check_move(const WhSet *set)
{
	Oid schema;

	if (strcmp(set->retire, "move") != 0)
		return;
	if (set->retire_schema == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("retire => 'move' needs retire_schema")));
	schema = get_namespace_oid(set->retire_schema, false);
	if (wh_rows_bool(wh_spi_query("SELECT NOT pg_catalog.has_schema_privilege($1, $2, 'CREATE')", 2,
								  (WhArg[]){WH_ARG_OID(set->owner), WH_ARG_OID(schema)}),
					 0, 1))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("the owner of \"%s\" may not create tables in schema \"%s\"",
							   get_rel_name(set->parent), set->retire_schema)));
}

/* check refuses policies that do not fit the key or each other. */
static void
check(WhSet *set)
{
	const char *reason = wh_set_kept(set->parent);

	wh_axis_check_default(set->parent);
	wh_axis_check_span(&set->axis, "lead", set->lead);
	wh_axis_check_span(&set->axis, "horizon", set->horizon);
	wh_axis_check_span(&set->axis, "seal_after", set->seal_after);
	wh_axis_check_span(&set->axis, "retire_after", set->retire_after);
	wh_axis_check_span(&set->axis, "drop_after", set->drop_after);
	if (set->retire_after != NULL && reason != NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("partitions of \"%s\" cannot be retired",
							   get_rel_name(set->parent)),
						errdetail("%s", reason)));
	check_word("outside", set->outside, "create", "overflow", "reject");
	check_word("retire", set->retire, "drop", "keep", "move");
	check_move(set);
	wh_profile_check(set);
	archiver->check(set);
	check_subpartition(set);
	if (set->lead == NULL && set->lead_count == 0 &&
		!wh_set_follows(set->parent, false, &(int64){0}, &(TimestampTz){0}))
		ereport(NOTICE, (errmsg("no partitions of \"%s\" are made ahead",
								get_rel_name(set->parent)),
						 errhint("Give lead or lead_count.")));
}

/* check_subpartition has the statements of a partition made, which reads the levels below. */
static void
check_subpartition(const WhSet *set)
{
	WhNewPartition example = {"example", PG_INT64_MIN, PG_INT64_MAX};

	if (set->subpartition != NULL)
		(void) wh_make_sql(set, &example);
}

/* make_overflow makes the table of rows that no partition is made for, as the table's owner. */
static void
make_overflow(WhSet *set)
{
	char *schema = get_namespace_name(get_rel_namespace(set->parent));
	char *name = wh_name(get_rel_name(set->parent), "_overflow");
	WhArg args[2];
	WhUser saved;

	if (strcmp(set->outside, "overflow") != 0 ||
		(OidIsValid(set->overflow) && get_rel_name(set->overflow) != NULL))
		return;
	wh_set_check_overflow(set->parent);
	wh_user_become(set->owner, &saved);
	wh_spi_execute(wh_sql("CREATE TABLE %I.%I (LIKE %T INCLUDING DEFAULTS)", schema, name,
						  set->parent),
				   0, NULL);
	wh_user_restore(&saved);
	args[0] = WH_ARG_INT4(set->id);
	args[1] = WH_ARG_OID(get_relname_relid(name, get_rel_namespace(set->parent)));
	wh_catalog_execute("UPDATE walhouse.partition_set SET overflow = $2 WHERE set_id = $1", 2,
					   args);
}

void
wh_set_check_overflow(Oid parent)
{
	if (wh_rows_bool(wh_spi_query("SELECT pg_catalog.bool_or(attidentity <> '') FROM"
								  " pg_catalog.pg_attribute WHERE attrelid = $1 AND attnum > 0",
								  1, (WhArg[]){WH_ARG_OID(parent)}),
					 0, 1))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("a table with an identity column can have no overflow table"),
						errhint("Use outside => 'reject' or 'create'.")));
}

/* make_due has the set itself looked at, now or, when it is switched off, not at all. */
static void
make_due(const WhSet *set)
{
	WhArg args[] = {WH_ARG_INT4(set->id), WH_ARG_OID(set->parent), WH_ARG_BOOL(set->enabled)};

	wh_catalog_execute(
		"INSERT INTO walhouse.partition_step (set_id, relid, step, due) VALUES ($1, $2, 'make',"
		" CASE WHEN $3 THEN pg_catalog.now() ELSE 'infinity' END) ON CONFLICT (set_id, relid)"
		" DO UPDATE SET due = EXCLUDED.due, tried = NULL, failures = 0, error = NULL,"
		" error_time = NULL",
		3, args);
	wh_set_changed();
}

static Oid
owner_of(Oid relid)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("relation with OID %u does not exist", relid)));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

Datum
walhouse_hold_partition(PG_FUNCTION_ARGS)
{
	change_hold(PG_GETARG_OID(0), text_to_cstring(PG_GETARG_TEXT_PP(1)));
	PG_RETURN_VOID();
}

Datum
walhouse_unhold_partition(PG_FUNCTION_ARGS)
{
	change_hold(PG_GETARG_OID(0), NULL);
	PG_RETURN_VOID();
}

/* change_hold writes a hold, or takes it away; the step that takes a partition away locks the same
 * row. */
static void
change_hold(Oid relid, const char *reason)
{
	WhSet *set = set_of_partition(relid);
	WhArg args[] = {WH_ARG_INT4(set->id), WH_ARG_OID(relid), wh_arg_text(reason),
					WH_ARG_OID(GetUserId())};

	wh_txn_mark_own();
	wh_catalog_execute("UPDATE walhouse.partition SET hold = $3, held_by = CASE WHEN $3 IS NOT NULL"
					   " THEN $4::pg_catalog.regrole END WHERE set_id = $1 AND relid = $2",
					   4, args);
	wh_members_schedule(set, relid, PG_INT64_MIN, true);
	wh_set_changed();
}

static WhSet *
set_of_partition(Oid relid)
{
	WhArg args[] = {WH_ARG_OID(relid)};
	WhRows *rows =
		wh_catalog_query("SELECT set_id FROM walhouse.partition WHERE relid = $1", 1, args);
	WhSet *set;

	if (rows->count == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("table \"%s\" is no partition of a set", get_rel_name(relid)),
						errhint("A partition that was just made by hand is known after CALL "
								"walhouse.maintain_partitions(parent).")));
	set = wh_set_read(wh_rows_int4(rows, 0, 1), false);
	wh_user_check_owner(set->owner, "table", get_rel_name(set->parent));
	return set;
}
