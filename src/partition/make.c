/*
 * make.c
 *		New partitions: which ones a set lacks, and the statements that make them.
 *
 * A set lacks what its lead asks for and no partition has.  Bounds come from the grid and are held
 * against the catalog: where a partition that somebody made lies across a bucket, what remains of
 * the bucket gets one or more partitions of its own, so that no row is without a place and nothing
 * overlaps.
 *
 * As in create.c, a table is made beside the parent and then attached: the parent is locked SHARE
 * UPDATE EXCLUSIVE.  Levels below a partition are made before it is attached, while nobody sees
 * it.  All of it is one short transaction: a crash leaves nothing.
 */
#include "postgres.h"

#include "access/table.h"
#include "commands/defrem.h"
#include "commands/tablespace.h"
#include "storage/lmgr.h"
#include "common/int.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "partition/partition.h"
#include "partition/partition_private.h"

#define MOST_AT_ONCE 10000
#define HORIZON_BUCKETS 1000
#define LOOK_AGAIN_MS 60000 /* at the greatest key, where that alone says what is due */

static List *statements(const WhSet *set, const WhNewPartition *partition, const char *name);
static List *append_properties(List *sql, Oid parent, const char *schema, const char *name);
static void append_levels(List **sql, const char *schema, const char *name, const char *level,
						  const char *storage);
static char *level_by(const char *level);
static WhRows *read_level(const char *level);
static char *free_name(const WhSet *set, int64 lo);
static bool is_taken(Oid schema, const char *name);
static int64 step_usecs(const WhAxis *axis);
static int64 first_wanted(const WhSet *set, int64 present, TimestampTz now);
static TimestampTz next_look(const WhSet *set, int64 first_hi, int64 covered_to, TimestampTz now);

List *
wh_make_wanted(const WhSet *set, List *ranges, int64 head, TimestampTz now, TimestampTz *next)
{
	const WhAxis *axis = &set->axis;
	bool has_time = wh_axis_has_time(axis);
	int64 position = has_time ? wh_axis_at(axis, now) : head;
	int64 present;
	int64 last;
	int64 first_hi = 0;
	int ahead = -1; /* buckets after the one of `present` */
	List *wanted = NIL;

	*next = has_time ? DT_NOEND : TimestampTzPlusMilliseconds(now, LOOK_AGAIN_MS);
	if (set->lead == NULL && set->lead_count == 0)
		return NIL;
	if (position == PG_INT64_MIN)
		position = axis->step.origin;
	last = set->lead == NULL ? position :
		   has_time			 ? wh_axis_at(axis, wh_axis_later(axis, now, set->lead, 1)) :
							   wh_axis_add(axis, position, wh_axis_count(axis, set->lead));
	present = position;
	position = first_wanted(set, present, now);
	for (int i = 0; i <= MOST_AT_ONCE; i++)
	{
		int64 lo;
		int64 hi;

		wh_axis_bucket(axis, position, &lo, &hi);
		wanted = wh_make_bucket(set, ranges, position, wanted);
		position = hi;
		if (hi > present && ++ahead == 0)
			first_hi = hi;
		if ((ahead >= set->lead_count && hi > last) || hi == PG_INT64_MAX)
		{
			if (has_time)
				*next = next_look(set, first_hi, wh_make_covered_to(ranges, hi), now);
			return wanted;
		}
	}
	ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					errmsg("the lead of \"%s\" is more than %d partitions",
						   get_rel_name(set->parent), MOST_AT_ONCE)));
}

/*
 * first_wanted is where the partitions begin that a set should have: where the present was when it
 * was looked at last, since rows of a time when nobody made any may still come; not before what is
 * retired, and not over a gap that is longer than the horizon.
 */
static int64
first_wanted(const WhSet *set, int64 present, TimestampTz now)
{
	bool has_time = wh_axis_has_time(&set->axis);
	int64 first = has_time ? wh_axis_at(&set->axis, set->looked) : set->head;
	int64 reached;
	int64 lo;

	if (first == PG_INT64_MIN || first >= present)
		return present;
	if (set->has_retired)
		first = Max(first, set->retired_to);
	if (set->retire_after != NULL && has_time)
		first = Max(first, wh_axis_at(&set->axis, wh_axis_later(&set->axis, now, set->retire_after,
																-1)));
	reached = first;
	for (int i = 0; i < HORIZON_BUCKETS && reached < present; i++)
		wh_axis_bucket(&set->axis, reached, &lo, &reached);
	return reached < present ? present : Min(first, present);
}

/* next_look is when the first partition will be missing that is not wanted now. */
static TimestampTz
next_look(const WhSet *set, int64 first_hi, int64 covered_to, TimestampTz now)
{
	TimestampTz next = DT_NOEND;

	if (set->lead_count > 0)
		next = wh_axis_instant(&set->axis, first_hi);
	if (set->lead != NULL)
		next = Min(next, wh_axis_later(&set->axis, wh_axis_instant(&set->axis, covered_to),
									   set->lead, -1));
	return Max(next, TimestampTzPlusMilliseconds(now, 1000));
}

int64
wh_make_covered_to(List *ranges, int64 position)
{
	ListCell *cell;

	foreach(cell, ranges)
	{
		WhRange *range = lfirst(cell);

		if (range->lo <= position && range->hi > position)
			position = range->hi;
	}
	return position;
}

List *
wh_make_bucket(const WhSet *set, List *ranges, int64 position, List *wanted)
{
	int64 lo;
	int64 hi;
	ListCell *cell;

	wh_axis_bucket(&set->axis, position, &lo, &hi);
	foreach(cell, wh_members_gaps(ranges, lo, hi))
	{
		WhRange *gap = lfirst(cell);
		WhNewPartition *partition = palloc0(sizeof(WhNewPartition));

		partition->lo = gap->lo;
		partition->hi = gap->hi;
		wanted = lappend(wanted, partition);
	}
	return wanted;
}

Oid
wh_make_table(const WhSet *set, const WhNewPartition *partition, char **attach)
{
	const char *name;
	List *all;
	WhUser saved;
	ListCell *cell;

	/* From here on nobody takes the table away, or gives it another name. */
	LockRelationOid(set->parent, AccessShareLock);
	if (get_rel_name(set->parent) == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("the table of partition set %d is gone", set->id)));
	wh_axis_check_default(set->parent);
	name = partition->name != NULL ? partition->name : free_name(set, partition->lo);
	all = statements(set, partition, name);
	*attach = llast(all);
	wh_user_become(set->owner, &saved);
	foreach(cell, list_truncate(all, list_length(all) - 1))
		wh_spi_execute(lfirst(cell), 0, NULL);
	wh_user_restore(&saved);
	return get_relname_relid(name, get_rel_namespace(set->parent));
}

void
wh_make_one(const WhSet *set, const WhNewPartition *partition)
{
	WhUser saved;
	char *attach;
	Oid relid;

	relid = wh_make_table(set, partition, &attach);
	wh_user_become(set->owner, &saved);
	wh_spi_execute(attach, 0, NULL);
	wh_user_restore(&saved);
	wh_members_note(set, relid, partition->lo, partition->hi);
}

char *
wh_make_sql(const WhSet *set, const WhNewPartition *partition)
{
	StringInfoData text;
	ListCell *cell;

	initStringInfo(&text);
	foreach(cell, statements(set, partition,
							 partition->name != NULL ? partition->name :
													   free_name(set, partition->lo)))
		wh_sql_append(&text, "%s%s", text.len > 0 ? "; " : "", (char *) lfirst(cell));
	return text.data;
}

/* statements lists what makes a partition, in order. */
static List *
statements(const WhSet *set, const WhNewPartition *partition, const char *name)
{
	const char *schema = get_namespace_name(get_rel_namespace(set->parent));
	Relation rel = table_open(set->parent, AccessShareLock);
	StringInfoData sql;
	List *all;

	initStringInfo(&sql);
	wh_sql_append(&sql, "CREATE TABLE %I.%I (LIKE %T INCLUDING ALL EXCLUDING IDENTITY)", schema,
				  name, set->parent);
	if (set->subpartition != NULL)
		wh_sql_append(&sql, "%s", level_by(set->subpartition));
	if (OidIsValid(rel->rd_rel->relam))
		wh_sql_append(&sql, " USING %I", get_am_name(rel->rd_rel->relam));
	if (set->subpartition == NULL)
		wh_sql_append(&sql, "%s", wh_profile_storage(set));
	if (OidIsValid(rel->rd_rel->reltablespace))
		wh_sql_append(&sql, " TABLESPACE %I", get_tablespace_name(rel->rd_rel->reltablespace));
	table_close(rel, NoLock);
	all = append_properties(list_make1(sql.data), set->parent, schema, name);
	if (set->subpartition != NULL)
		append_levels(&all, schema, name, set->subpartition, wh_profile_storage(set));
	all = list_concat(all, wh_profile_open_indexes(set, schema, name));
	return lappend(all, wh_sql("ALTER TABLE %T ATTACH PARTITION %I.%I FOR VALUES FROM (%s) TO (%s)",
							   set->parent, schema, name,
							   wh_axis_literal(&set->axis, partition->lo),
							   wh_axis_literal(&set->axis, partition->hi)));
}

/* append_properties lists what gives a partition that which LIKE leaves out. */
static List *
append_properties(List *sql, Oid parent, const char *schema, const char *name)
{
	WhRows *rows = wh_spi_query_kept(
		"SELECT 'ENABLE ROW LEVEL SECURITY' FROM pg_catalog.pg_class WHERE oid = $1 AND"
		" relrowsecurity UNION ALL SELECT 'FORCE ROW LEVEL SECURITY' FROM pg_catalog.pg_class WHERE"
		" oid = $1 AND relforcerowsecurity UNION ALL SELECT 'REPLICA IDENTITY ' || CASE "
		"relreplident"
		" WHEN 'f' THEN 'FULL' ELSE 'NOTHING' END FROM pg_catalog.pg_class WHERE oid = $1 AND"
		" relreplident IN ('f', 'n') UNION ALL SELECT pg_catalog.format('ALTER COLUMN %I SET"
		" STATISTICS %s', attname, attstattarget) FROM pg_catalog.pg_attribute WHERE attrelid = $1"
		" AND attnum > 0 AND attstattarget >= 0 AND NOT attisdropped",
		1, (WhArg[]){WH_ARG_OID(parent)});

	for (uint64 i = 0; i < rows->count; i++)
		sql = lappend(sql, wh_sql("ALTER TABLE %I.%I %s", schema, name, wh_rows_text(rows, i, 1)));
	return sql;
}

/* append_levels lists the partitions of a partition, and theirs. */
static void
append_levels(List **sql, const char *schema, const char *name, const char *level,
			  const char *storage)
{
	WhRows *rows = read_level(level);
	char *below = wh_rows_text(rows, 0, 4);
	bool is_hash = strcmp(wh_rows_text(rows, 0, 1), "hash") == 0;
	int count = wh_rows_int4(rows, 0, 3);

	for (int i = 0; i < count; i++)
	{
		char *child = wh_name(name, psprintf(is_hash ? "_h%d" : "_l%d", i));
		StringInfoData text;

		initStringInfo(&text);
		wh_sql_append(&text, "CREATE TABLE %I.%I PARTITION OF %I.%I FOR VALUES ", schema, child,
					  schema, name);
		if (is_hash)
			wh_sql_append(&text, "WITH (MODULUS %d, REMAINDER %d)", count, i);
		else
		{
			WhRows *values = wh_spi_query(
				"SELECT e.x FROM pg_catalog.jsonb_array_elements_text(CASE pg_catalog.jsonb_typeof"
				"($1::pg_catalog.jsonb -> 'values' -> $2) WHEN 'array' THEN $1::pg_catalog.jsonb ->"
				" 'values' -> $2 ELSE pg_catalog.jsonb_build_array($1::pg_catalog.jsonb -> 'values'"
				" -> $2) END) WITH ORDINALITY e(x, i) ORDER BY e.i",
				2, (WhArg[]){wh_arg_text(level), WH_ARG_INT4(i)});

			for (uint64 v = 0; v < values->count; v++)
				wh_sql_append(&text, "%s%L", v == 0 ? "IN (" : ", ", wh_rows_text(values, v, 1));
			wh_sql_append(&text, ")");
		}
		wh_sql_append(&text, "%s", below != NULL ? level_by(below) : storage);
		*sql = lappend(*sql, text.data);
		if (below != NULL)
			append_levels(sql, schema, child, below, storage);
	}
}

/* level_by is how a table is partitioned that has a level below it. */
static char *
level_by(const char *level)
{
	WhRows *rows = read_level(level);

	return wh_sql(" PARTITION BY %s (%I)", wh_rows_text(rows, 0, 1), wh_rows_text(rows, 0, 2));
}

/* read_level reads {"by": …, "column": …, "count" or "values": …, "sub": …}. */
static WhRows *
read_level(const char *level)
{
	WhRows *rows = wh_spi_query(
		"SELECT l ->> 'by', l ->> 'column', CASE l ->> 'by' WHEN 'hash' THEN (l ->> 'count')"
		"::pg_catalog.int4 ELSE pg_catalog.jsonb_array_length(l -> 'values') END, l ->> 'sub',"
		" l ->> 'by' IN ('hash', 'list') AND l ? 'column' FROM (SELECT $1::pg_catalog.jsonb) s(l)",
		1, (WhArg[]){wh_arg_text(level)});
	bool isnull;
	Datum is_valid = wh_rows_datum(rows, 0, 5, &isnull);

	(void) wh_rows_datum(rows, 0, 3, isnull ? &(bool){false} : &isnull);
	if (isnull || !DatumGetBool(is_valid) || wh_rows_int4(rows, 0, 3) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot read the level of subpartitions %s", level),
				 errhint("It is like {\"by\": \"hash\", \"column\": \"customer\", \"count\": 8} or "
						 "{\"by\": \"list\", \"column\": \"tenant\", \"values\": [[\"a\", \"b\"], "
						 "[\"c\"]]}; \"sub\" has the level below it.")));
	return rows;
}

/* free_name is the name of a partition that begins at lo. */
static char *
free_name(const WhSet *set, int64 lo)
{
	return wh_make_free_name(get_rel_namespace(set->parent), get_rel_name(set->parent),
							 wh_axis_suffix(&set->axis, lo));
}

char *
wh_make_free_name(Oid schema, const char *base, const char *suffix)
{
	char *name = wh_name(base, suffix);

	for (int i = 2; is_taken(schema, name); i++)
		name = wh_name(base, psprintf("%s_%d", suffix, i));
	return name;
}

/* is_taken: a table has a row type of its name, so a type is in its way like a relation. */
static bool
is_taken(Oid schema, const char *name)
{
	return OidIsValid(get_relname_relid(name, schema)) ||
		   SearchSysCacheExists2(TYPENAMENSP, PointerGetDatum(name), ObjectIdGetDatum(schema));
}

/* step_usecs is the length of a step of time. */
static int64
step_usecs(const WhAxis *axis)
{
	if (axis->per_second == 0)
		return axis->step.size;
	if (axis->per_second > USECS_PER_SEC)
		return axis->step.size / (axis->per_second / USECS_PER_SEC);
	return axis->step.size * (USECS_PER_SEC / axis->per_second);
}

void
wh_make_horizon(const WhSet *set, List *ranges, TimestampTz now, int64 *from, int64 *to)
{
	const WhAxis *axis = &set->axis;
	int64 size = axis->step.size;
	char *span = set->horizon;

	*from = PG_INT64_MIN;
	*to = PG_INT64_MAX;
	if (wh_axis_has_time(axis))
	{
		if (span == NULL && axis->step.kind == WH_STEP_TIME)
			span = psprintf("%lld microseconds", (long long) (HORIZON_BUCKETS * step_usecs(axis)));
		else if (span == NULL)
			span = psprintf("%lld %s", (long long) (HORIZON_BUCKETS * size),
							axis->step.kind == WH_STEP_DAYS ? "days" : "months");
		*from = wh_axis_at(axis, wh_axis_later(axis, now, span, -1));
		*to = wh_axis_at(axis, wh_axis_later(axis, now, span, 1));
		if (set->retire_after != NULL)
			*from = Max(*from, wh_axis_at(axis, wh_axis_later(axis, now, set->retire_after, -1)));
	}
	else
	{
		int64 head = wh_members_head(set, ranges);
		int64 distance;

		if (span != NULL)
			distance = wh_axis_count(axis, span);
		else if (pg_mul_s64_overflow(HORIZON_BUCKETS, size, &distance))
			distance = PG_INT64_MAX;
		if (head != PG_INT64_MIN)
		{
			*from = wh_axis_add(axis, head, -distance);
			*to = wh_axis_add(axis, head, distance);
		}
	}
	if (set->has_retired)
		*from = Max(*from, set->retired_to);
}
