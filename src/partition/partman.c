/*
 * partman.c
 *		Sets taken from pg_partman, and given back: adopt() and release().
 *
 * Both move a table's policies from one register to the other, in the caller's transaction; no row
 * and no partition is moved.  pg_partman's table is read and written as the caller, with no more
 * rights than the caller has there; its columns are read by name, as versions 4 and 5 have them.
 * Its own lock keeps its maintenance away until the transaction ends.
 *
 * A default partition is detached, which takes ACCESS EXCLUSIVE on the table for a moment, waited
 * for no longer than walhouse.partition_lock_timeout.  With rows in it, it becomes the set's
 * overflow table as it is; drain_overflow() moves them afterwards, a partition at a time.
 */
#include "postgres.h"

#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "partition/partition.h"
#include "partition/partition_private.h"

PG_FUNCTION_INFO_V1(walhouse_adopt);
PG_FUNCTION_INFO_V1(walhouse_release);

/* A row of pg_partman's part_config. */
typedef struct Config
{
	char *control;
	char *interval;
	char *key; /* as create_partition_set calls it; NULL: by the type */
	int premake;
	char *retention;
	char *retention_schema;
	bool keeps_table;
	bool enabled;
	char *refused; /* why it cannot be taken; NULL: it can */
	char *left; /* what it has that a set has not; NULL: nothing */
} Config;

static Oid find_config(Oid given);
static char *parent_name(Oid parent);
static void lock_partman(void);
static Config *read_config(Oid table, Oid parent);
static void check_sub(Oid table, Oid parent);
static void find_grid(Oid parent, const Config *config, const char *given_zone, char **zone,
					  char **origin);
static bool is_on_grid(const WhAxis *axis, const WhRange *range);
static char *origin_of(const WhAxis *axis, const WhRange *range, const char *zone);
static Oid take_default(Oid parent, Oid owner);
static void release_members(const WhSet *set);
static void write_config(const WhSet *set, Oid table);
static char *partman_interval(const WhSet *set);
static const char *partman_names(const WhSet *set);
static void check_names(const WhSet *set, const char *names);

/* walhouse_adopt(parent regclass, zone text, config regclass) */
Datum
walhouse_adopt(PG_FUNCTION_ARGS)
{
	WhArg args[WH_SET_ARGS];
	char *zone;
	char *origin;
	Oid parent;
	Oid owner;
	Oid table;
	Oid overflow;
	Config *config;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("parent must not be null")));
	parent = PG_GETARG_OID(0);
	owner = wh_set_check_new(parent);
	table = find_config(PG_ARGISNULL(2) ? InvalidOid : PG_GETARG_OID(2));
	lock_partman();
	config = read_config(table, parent);
	check_sub(table, parent);
	find_grid(parent, config,
			  PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1)), &zone, &origin);
	overflow = take_default(parent, owner);

	wh_set_defaults(args, parent, config->interval);
	args[2] = wh_arg_text(config->key);
	args[3] = WH_ARG_TEXT(zone);
	args[4] = wh_arg_text(origin);
	args[6] = WH_ARG_INT4(config->premake);
	args[8] = WH_ARG_TEXT(OidIsValid(overflow) ? "overflow" : "reject");
	args[10] = wh_arg_text(config->retention);
	args[11] = WH_ARG_TEXT(config->retention_schema != NULL ? "move" :
						   config->keeps_table				? "keep" :
															  "drop");
	args[13] = wh_arg_text(config->retention_schema);
	args[15] = (WhArg){OIDOID, ObjectIdGetDatum(overflow), !OidIsValid(overflow)};
	args[16] = WH_ARG_BOOL(config->enabled);
	wh_spi_execute(wh_sql("DELETE FROM %T WHERE parent_table = $1", table), 1,
				   (WhArg[]){WH_ARG_TEXT(parent_name(parent))});
	if (config->left != NULL)
		ereport(NOTICE, (errmsg("a partition set has no %s", config->left),
						 errdetail("What is there stays; new partitions of \"%s\" are like the "
								   "table.",
								   get_rel_name(parent))));
	PG_RETURN_INT32(wh_set_declare(args)->id);
}

/* find_config is pg_partman's table of sets: the one that is given, or the extension's. */
static Oid
find_config(Oid given)
{
	WhRows *rows;

	if (OidIsValid(given))
		return given;
	rows = wh_spi_query("SELECT c.oid FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_class c ON"
						" c.relnamespace = e.extnamespace AND c.relname = 'part_config' WHERE"
						" e.extname = 'pg_partman'",
						0, NULL);
	if (rows->count == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("pg_partman is not installed in this database"),
						errhint("Name its table with config => '….part_config'.")));
	return wh_rows_oid(rows, 0, 1);
}

/* parent_name is how pg_partman calls a table. */
static char *
parent_name(Oid parent)
{
	return psprintf("%s.%s", get_namespace_name(get_rel_namespace(parent)), get_rel_name(parent));
}

/* lock_partman waits until pg_partman's maintenance is over, and has it skip its turns until the
 * transaction ends. */
static void
lock_partman(void)
{
	wh_spi_execute("SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('pg_partman"
				   " run_maintenance'))",
				   0, NULL);
}

static Config *
read_config(Oid table, Oid parent)
{
	WhRows *rows = wh_spi_query(
		wh_sql(
			"SELECT r ->> 'control', r ->> 'partition_interval', CASE r ->> 'epoch' WHEN 'seconds'"
			" THEN 'epoch_s' WHEN 'milliseconds' THEN 'epoch_ms' WHEN 'microseconds' THEN"
			" 'epoch_us' WHEN 'nanoseconds' THEN 'epoch_ns' END, (r ->> "
			"'premake')::pg_catalog.int4,"
			" r ->> 'retention', r ->> 'retention_schema', COALESCE((r ->> 'retention_keep_table')"
			"::pg_catalog.bool, true), r ->> 'automatic_maintenance' = 'on', CASE WHEN (r ->>"
			" 'undo_in_progress')::pg_catalog.bool THEN 'Its partitioning is being undone.' WHEN "
			"r ->>"
			" 'async_partitioning_in_progress' IS NOT NULL THEN 'Its rows are being moved to"
			" partitions.' WHEN r ->> 'partition_type' NOT IN ('native', 'range') THEN 'It is not"
			" partitioned by range but ' || (r ->> 'partition_type') || '.' END,"
			" (SELECT pg_catalog.string_agg(e.key, ', ' ORDER BY e.key) FROM"
			" pg_catalog.jsonb_each_text(r) e WHERE e.key IN ('template_table', 'constraint_cols',"
			" 'publications') AND e.value IS NOT NULL OR e.key = 'inherit_privileges' AND e.value ="
			" 'true') FROM (SELECT pg_catalog.to_jsonb(c) FROM %T c WHERE c.parent_table = $1) "
			"s(r)",
			table),
		1, (WhArg[]){WH_ARG_TEXT(parent_name(parent))});
	Config *config = palloc0(sizeof(Config));

	if (rows->count == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("pg_partman has no set of \"%s\"", get_rel_name(parent)),
						errhint("Run SELECT walhouse.create_partition_set(…).")));
	config->control = wh_rows_text(rows, 0, 1);
	config->interval = wh_rows_text(rows, 0, 2);
	config->key = wh_rows_text(rows, 0, 3);
	config->premake = wh_rows_int4(rows, 0, 4);
	config->retention = wh_rows_text(rows, 0, 5);
	config->retention_schema = wh_rows_text(rows, 0, 6);
	config->keeps_table = wh_rows_bool(rows, 0, 7);
	config->enabled = wh_rows_bool(rows, 0, 8);
	config->refused = wh_rows_text(rows, 0, 9);
	config->left = wh_rows_text(rows, 0, 10);
	if (config->refused != NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("pg_partman's set of \"%s\" cannot be adopted", get_rel_name(parent)),
						errdetail("%s", config->refused)));
	return config;
}

/* check_sub refuses a set whose partitions pg_partman partitions, each as a set of its own. */
static void
check_sub(Oid table, Oid parent)
{
	Oid sub = get_relname_relid("part_config_sub", get_rel_namespace(table));

	if (OidIsValid(sub) &&
		wh_spi_query(wh_sql("SELECT FROM %T WHERE sub_parent = $1", sub), 1,
					 (WhArg[]){WH_ARG_TEXT(parent_name(parent))})
				->count > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("pg_partman's set of \"%s\" cannot be adopted", get_rel_name(parent)),
				 errdetail("Its partitions are partitioned, too.")));
}

/*
 * find_grid finds the zone and origin on whose grid the latest partition lies: pg_partman worked
 * them out in the time zone of whoever ran it, and kept neither.
 */
static void
find_grid(Oid parent, const Config *config, const char *given_zone, char **zone, char **origin)
{
	const char *zones[] = {given_zone != NULL ? given_zone :
												pg_get_timezone_name(session_timezone),
						   "UTC"};
	WhSet set = {.parent = parent};
	WhRange *last = NULL;
	ListCell *cell;

	for (int i = 0; i < (given_zone != NULL ? 1 : lengthof(zones)); i++)
	{
		*zone = pstrdup(zones[i]);
		*origin = NULL;
		wh_axis_open(&set.axis, parent, config->key, config->interval, *zone, NULL);
		if (strcmp(set.axis.column, config->control) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("\"%s\" is partitioned by \"%s\", not by pg_partman's \"%s\"",
							get_rel_name(parent), set.axis.column, config->control)));
		foreach(cell, wh_members_ranges(&set))
		{
			WhRange *range = lfirst(cell);

			if (range->lo != PG_INT64_MIN && range->hi != PG_INT64_MAX)
				last = range;
		}
		if (last == NULL || is_on_grid(&set.axis, last))
			return;
		*origin = origin_of(&set.axis, last, *zone);
		if (*origin == NULL)
			continue;
		wh_axis_open(&set.axis, parent, config->key, config->interval, *zone, *origin);
		if (is_on_grid(&set.axis, last))
			return;
	}
	*zone = pstrdup(zones[0]);
	*origin = NULL;
	ereport(NOTICE, (errmsg("the partitions of \"%s\" lie on no grid of %s in zone %s",
							get_rel_name(parent), config->interval, *zone),
					 errdetail("New ones fill what they leave.")));
}

static bool
is_on_grid(const WhAxis *axis, const WhRange *range)
{
	int64 lo;
	int64 hi;

	wh_axis_bucket(axis, range->lo, &lo, &hi);
	return lo == range->lo && hi == range->hi;
}

/* origin_of is where a partition begins, as an origin; NULL where none can be there. */
static char *
origin_of(const WhAxis *axis, const WhRange *range, const char *zone)
{
	WhRows *rows;

	if (axis->step.kind == WH_STEP_MONTHS)
		return NULL;
	if (axis->step.kind == WH_STEP_COUNT)
		return wh_axis_text(axis, range->lo);
	rows =
		wh_spi_query("SELECT t::pg_catalog.text FROM (SELECT $1 AT TIME ZONE $2) s(t) WHERE $3 OR"
					 " t = pg_catalog.date_trunc('day', t)",
					 3,
					 (WhArg[]){WH_ARG_TIMESTAMPTZ(wh_axis_instant(axis, range->lo)),
							   WH_ARG_TEXT(zone), WH_ARG_BOOL(axis->step.kind == WH_STEP_TIME)});
	return rows->count > 0 ? wh_rows_text(rows, 0, 1) : NULL;
}

/*
 * take_default takes the default partition from a table: an empty one goes, one with rows is
 * returned, to be the set's overflow table.
 */
static Oid
take_default(Oid parent, Oid owner)
{
	Oid rest = get_default_partition_oid(parent);
	WhUser saved;
	bool is_empty;

	if (!OidIsValid(rest))
		return InvalidOid;
	wh_user_become(owner, &saved);
	(void) set_config_option("lock_timeout", psprintf("%dms", wh_partition_lock_timeout),
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	wh_spi_execute(wh_sql("ALTER TABLE %T DETACH PARTITION %T", parent, rest), 0, NULL);
	is_empty = wh_spi_query(wh_sql("SELECT FROM %T LIMIT 1", rest), 0, NULL)->count == 0;
	if (is_empty)
		wh_spi_execute(wh_sql("DROP TABLE %T", rest), 0, NULL);
	wh_user_restore(&saved);
	if (is_empty)
		return InvalidOid;
	wh_set_check_overflow(parent);
	ereport(NOTICE,
			(errmsg("the default partition of \"%s\" is its overflow table now",
					get_rel_name(parent)),
			 errdetail("Its rows are not seen through the table until they are moved."),
			 errhint("CALL walhouse.drain_overflow(%s) moves what is within the set's horizon.",
					 wh_sql_literal(wh_sql_relation(parent)))));
	return rest;
}

/* walhouse_release(parent regclass, "to" text, config regclass) */
Datum
walhouse_release(PG_FUNCTION_ARGS)
{
	WhSet *set;
	char *to;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("parent must not be null")));
	set = wh_set_own(PG_GETARG_OID(0));
	to = PG_ARGISNULL(1) ? "native" : text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (strcmp(to, "native") != 0 && strcmp(to, "pg_partman") != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a set cannot be released to \"%s\"", to),
						errhint("It is native or pg_partman.")));
	release_members(set);
	if (strcmp(to, "pg_partman") == 0)
	{
		lock_partman();
		write_config(set, find_config(PG_ARGISNULL(2) ? InvalidOid : PG_GETARG_OID(2)));
	}
	wh_set_forget(set);
	PG_RETURN_VOID();
}

/*
 * release_members looks at what would be left half done, which is refused, and drops an overflow
 * table that has nothing.  Its lock keeps steps from beginning.
 */
static void
release_members(const WhSet *set)
{
	WhRows *rows = wh_catalog_query(
		"SELECT relid::pg_catalog.oid, state, hold FROM walhouse.partition WHERE set_id = $1 ORDER"
		" BY 1 FOR UPDATE",
		1, (WhArg[]){WH_ARG_INT4(set->id)});
	bool is_kept = OidIsValid(set->overflow) && get_rel_name(set->overflow) != NULL;
	WhUser saved;

	for (uint64 i = 0; i < rows->count; i++)
	{
		const char *state = wh_rows_text(rows, i, 2);
		const char *name = get_rel_name(wh_rows_oid(rows, i, 1));

		if (strcmp(state, "detaching") == 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("partition \"%s\" is being detached", name != NULL ? name : "?"),
					 errhint("CALL walhouse.maintain_partitions(%s) brings that to an end.",
							 wh_sql_literal(wh_sql_relation(set->parent)))));
		if (strcmp(state, "detached") == 0 && name != NULL)
			ereport(NOTICE, (errmsg("table \"%s\" stays, detached", name)));
		if (wh_rows_text(rows, i, 3) != NULL)
			ereport(NOTICE, (errmsg("table \"%s\" is held no more", name != NULL ? name : "?")));
	}
	if (!is_kept)
		return;
	wh_user_become(set->owner, &saved);
	is_kept = wh_spi_query(wh_sql("SELECT FROM %T LIMIT 1", set->overflow), 0, NULL)->count > 0;
	if (!is_kept)
		wh_spi_execute(wh_sql("DROP TABLE %T", set->overflow), 0, NULL);
	wh_user_restore(&saved);
	if (is_kept)
		ereport(NOTICE,
				(errmsg("overflow table \"%s\" stays, with its rows", get_rel_name(set->overflow))));
}

/* write_config gives pg_partman what it has columns for, in version 4 or 5, as the caller. */
static void
write_config(const WhSet *set, Oid table)
{
	bool is_five = get_attnum(table, "default_table") != InvalidAttrNumber;
	bool has_time = wh_axis_has_time(&set->axis);
	const char *names = partman_names(set);
	static const char *const epochs[] = {"seconds", "milliseconds", "microseconds", "nanoseconds"};
	const char *epoch = "none";

	if (set->axis.kind == WH_KEY_UUIDV7 || set->axis.kind == WH_KEY_LSN ||
		set->subpartition != NULL ||
		(set->axis.per_second == USECS_PER_SEC && set->axis.kind == WH_KEY_EPOCH && !is_five))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("pg_partman has no sets like that of \"%s\"", get_rel_name(set->parent)),
				 errhint("Release it to native PostgreSQL.")));
	for (int64 i = 0, unit = 1; set->axis.kind == WH_KEY_EPOCH && i < lengthof(epochs);
		 i++, unit *= 1000)
		if (set->axis.per_second == unit)
			epoch = epochs[i];
	check_names(set, names);
	wh_spi_execute(
		wh_sql(
			"INSERT INTO %T (parent_table, control, partition_type, partition_interval, premake,"
			" epoch, retention, retention_schema, retention_keep_table, infinite_time_partitions,"
			" datetime_string, automatic_maintenance%s) VALUES ($1, $2, $3, $4, $5, $6, $7, $8,"
			" $9, $10, $11, $12%s)",
			table, is_five ? ", default_table" : "", is_five ? ", false" : ""),
		12,
		(WhArg[]){WH_ARG_TEXT(parent_name(set->parent)), WH_ARG_TEXT(set->axis.column),
				  WH_ARG_TEXT(is_five ? "range" : "native"), WH_ARG_TEXT(partman_interval(set)),
				  WH_ARG_INT4(Max(set->lead_count, 1)), WH_ARG_TEXT(epoch),
				  wh_arg_text(set->retire_after),
				  wh_arg_text(strcmp(set->retire, "move") == 0 ? set->retire_schema : NULL),
				  WH_ARG_BOOL(strcmp(set->retire, "drop") != 0), WH_ARG_BOOL(has_time),
				  wh_arg_text(names), WH_ARG_TEXT(set->enabled ? "on" : "off")});
	if (set->lead != NULL || set->seal_after != NULL || set->drop_after != NULL)
		ereport(NOTICE, (errmsg("pg_partman has no lead, seal_after and drop_after"),
						 errdetail("It goes by premake and retention alone.")));
}

static char *
partman_interval(const WhSet *set)
{
	const WhStep *step = &set->axis.step;
	int64 unit = set->axis.per_second;
	int64 usecs = unit == 0			   ? step->size :
				  unit > USECS_PER_SEC ? step->size / (unit / USECS_PER_SEC) :
										 step->size * (USECS_PER_SEC / unit);

	switch (step->kind)
	{
		case WH_STEP_MONTHS:
			return psprintf("%lld months", (long long) step->size);
		case WH_STEP_DAYS:
			return psprintf("%lld days", (long long) step->size);
		case WH_STEP_COUNT:
			return psprintf("%lld", (long long) step->size);
		default:
			return psprintf("%lld microseconds", (long long) usecs);
	}
}

/* partman_names is how partitions of a set end, for to_timestamp; NULL for numbers. */
static const char *
partman_names(const WhSet *set)
{
	const WhStep *step = &set->axis.step;

	switch (step->kind)
	{
		case WH_STEP_MONTHS:
			return step->size % 12 == 0 ? "YYYY" : "YYYY_MM";
		case WH_STEP_DAYS:
			return "YYYY_MM_DD";
		case WH_STEP_COUNT:
			return NULL;
		default:
			return "YYYY_MM_DD_HH24MI";
	}
}

/* check_names refuses partitions that are called otherwise: pg_partman puts them in order by their
 * names. */
static void
check_names(const WhSet *set, const char *names)
{
	StringInfoData pattern;
	WhRows *rows;

	initStringInfo(&pattern);
	appendStringInfoString(&pattern, "_p");
	for (const char *c = names != NULL ? names : "#"; *c != '\0'; c++)
	{
		if (*c == '#')
			appendStringInfoString(&pattern, "[0-9]+");
		else if (strncmp(c, "HH24", 4) == 0)
		{
			appendStringInfoString(&pattern, "[0-9][0-9]");
			c += 3;
		}
		else
			appendStringInfoString(&pattern, *c == '_' ? "_" : "[0-9]");
	}
	appendStringInfoChar(&pattern, '$');
	rows = wh_spi_query(
		"SELECT c.relname FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON"
		" c.oid = i.inhrelid WHERE i.inhparent = $1 AND c.relname !~ $2 ORDER BY 1"
		" LIMIT 1",
		2, (WhArg[]){WH_ARG_OID(set->parent), WH_ARG_TEXT(pattern.data)});
	if (rows->count > 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("pg_partman would not know partition \"%s\"",
							   wh_rows_text(rows, 0, 1)),
						errdetail("It goes by names, which end like %s%s.", "_p",
								  names != NULL ? names : "1000"),
						errhint("Rename it first.")));
}
