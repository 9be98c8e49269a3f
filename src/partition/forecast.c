/*
 * forecast.c
 *		What will be done, and how far partitions reach: partition_plan() and partition_lead().
 *
 * A forecast is worked out by the functions that do the work, from what the register and the
 * catalog say now; it changes nothing and takes ACCESS SHARE alone.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "access/htup_details.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/lsyscache.h"

#include "partition/partition.h"
#include "partition/partition_private.h"

#define MOST_MADE 1000

PG_FUNCTION_INFO_V1(walhouse_partition_plan);
PG_FUNCTION_INFO_V1(walhouse_partition_lead);

/* One line of a plan. */
typedef struct Line
{
	TimestampTz due;
	int number; /* in the order in which they were found */
	const char *step;
	char *partition;
	char *statement;
	char *lock;
	int64 rows; /* -1: none to speak of */
	int64 bytes;
	char *detail;
} Line;

static List *plan_making(const WhSet *set, List *lines, TimestampTz until);
static List *plan_partitions(const WhSet *set, List *lines, TimestampTz until);
static char *statement_of(const WhSet *set, Oid relid, const char *step);
static char *join(List *statements);
static char *lock_of(const WhSet *set, Oid relid, const char *step);
static int compare_lines(const ListCell *a, const ListCell *b);
static void put_line(ReturnSetInfo *result, const Line *line);

Datum
walhouse_partition_plan(PG_FUNCTION_ARGS)
{
	WhSet *set = wh_set_own(PG_GETARG_OID(0));
	TimestampTz until = DatumGetTimestampTz(DirectFunctionCall2(
		timestamptz_pl_interval, TimestampTzGetDatum(GetCurrentTimestamp()), PG_GETARG_DATUM(1)));
	List *lines = NIL;
	ListCell *cell;

	InitMaterializedSRF(fcinfo, 0);
	if (set->enabled)
	{
		lines = plan_making(set, lines, until);
		lines = plan_partitions(set, lines, until);
	}
	list_sort(lines, compare_lines);
	foreach(cell, lines)
		put_line((ReturnSetInfo *) fcinfo->resultinfo, lfirst(cell));
	return (Datum) 0;
}

/* plan_making lists the partitions that are wanted now, and each time that the set is looked at
 * until then. */
static List *
plan_making(const WhSet *set, List *lines, TimestampTz until)
{
	List *ranges = wh_members_ranges(set);
	TimestampTz now = GetCurrentTimestamp();
	int made = 0;

	while (now <= until && made < MOST_MADE)
	{
		TimestampTz next;
		ListCell *cell;

		foreach(cell, wh_make_wanted(set, ranges, set->head, now, &next))
		{
			WhNewPartition *partition = lfirst(cell);
			WhRange *range = palloc0(sizeof(WhRange));
			Line *line = palloc0(sizeof(Line));
			int at = 0;

			range->lo = partition->lo;
			range->hi = partition->hi;
			while (at < list_length(ranges) && ((WhRange *) list_nth(ranges, at))->hi <= range->lo)
				at++;
			ranges = list_insert_nth(ranges, at, range);
			line->due = now;
			line->step = "make";
			line->partition = psprintf("%s to %s", wh_axis_text(&set->axis, range->lo),
									   wh_axis_text(&set->axis, range->hi));
			line->statement = wh_make_sql(set, partition);
			line->lock = "SHARE UPDATE EXCLUSIVE on the parent";
			line->rows = -1;
			line->number = list_length(lines);
			lines = lappend(lines, line);
			made++;
		}
		if (!wh_axis_has_time(&set->axis))
			break;
		now = next;
	}
	return lines;
}

/* plan_partitions follows each partition through its states. */
static List *
plan_partitions(const WhSet *set, List *lines, TimestampTz until)
{
	WhRows *rows = wh_catalog_query(
		"SELECT p.relid::pg_catalog.oid, p.state, p.hold, p.hi, t.due, t.step, t.error, COALESCE("
		"p.rows, (SELECT GREATEST(c.reltuples, 0)::pg_catalog.int8 FROM pg_catalog.pg_class c"
		" WHERE c.oid = p.relid)), pg_catalog.pg_table_size(p.relid) FROM walhouse.partition p"
		" JOIN walhouse.partition_step t ON t.set_id = p.set_id AND t.relid = p.relid JOIN"
		" pg_catalog.pg_class k ON k.oid = p.relid WHERE p.set_id = $1",
		1, (WhArg[]){WH_ARG_INT4(set->id)});
	TimestampTz now = GetCurrentTimestamp();

	for (uint64 i = 0; i < rows->count; i++)
	{
		Oid relid = wh_rows_oid(rows, i, 1);
		const char *state = wh_rows_text(rows, i, 2);
		char *hold = wh_rows_text(rows, i, 3);
		const char *step = wh_rows_text(rows, i, 6);
		char *error = wh_rows_text(rows, i, 7);
		bool isnull;
		TimestampTz due = DatumGetTimestampTz(wh_rows_datum(rows, i, 5, &isnull));

		while (step != NULL && (due <= until || hold != NULL))
		{
			Line *line = palloc0(sizeof(Line));

			line->due = due;
			line->step = step;
			line->partition = wh_sql_relation(relid);
			line->statement = statement_of(set, relid, step);
			line->lock = lock_of(set, relid, step);
			line->rows = wh_rows_int8(rows, i, 8);
			line->bytes = wh_rows_int8(rows, i, 9);
			line->detail = error != NULL				   ? error :
						   hold != NULL && due == DT_NOEND ? psprintf("held: %s", hold) :
															 NULL;
			line->number = list_length(lines);
			lines = lappend(lines, line);
			if (strcmp(step, "drop") == 0 || strcmp(step, "move") == 0 || due == DT_NOEND)
				break;
			state = strcmp(step, "seal") == 0		 ? "sealed" :
					strcmp(step, "profile") == 0	 ? "profiled" :
					strcmp(step, "archive") == 0	 ? "archived" :
					strcmp(set->retire, "keep") == 0 ? "kept" :
													   "detached";
			error = NULL;
			step = wh_members_next(set, state, hold != NULL, wh_rows_int8(rows, i, 4), set->head,
								   Max(due, now), &due);
		}
	}
	return lines;
}

static char *
statement_of(const WhSet *set, Oid relid, const char *step)
{
	if (strcmp(step, "seal") == 0)
		return wh_sql("VACUUM (FREEZE, ANALYZE, TRUNCATE false) %T", relid);
	if (strcmp(step, "profile") == 0)
		return join(wh_profile_statements(set, relid));
	if (strcmp(step, "detach") == 0)
		return wh_sql("ALTER TABLE %T DETACH PARTITION %T CONCURRENTLY", set->parent, relid);
	if (strcmp(step, "archive") == 0)
		return wh_sql("-- COPY %T to a file in walhouse.archive_directory", relid);
	if (strcmp(step, "drop") == 0)
		return wh_sql("DROP TABLE %T", relid);
	return join(lappend(wh_profile_move(set, relid),
						wh_sql("ALTER TABLE %T SET SCHEMA %I", relid, set->retire_schema)));
}

/* join puts statements into one text; NULL: none. */
static char *
join(List *statements)
{
	StringInfoData text;
	ListCell *cell;

	initStringInfo(&text);
	foreach(cell, statements)
		wh_sql_append(&text, "%s%s", text.len > 0 ? "; " : "", (char *) lfirst(cell));
	return text.data;
}

/* lock_of names the strongest locks of a step; dropping a table with foreign keys locks what they
 * point to. */
static char *
lock_of(const WhSet *set, Oid relid, const char *step)
{
	WhRows *referenced;
	StringInfoData lock;

	if (strcmp(step, "seal") == 0 || strcmp(step, "profile") == 0)
		return "SHARE UPDATE EXCLUSIVE on the partition";
	if (strcmp(step, "detach") == 0)
		return "SHARE UPDATE EXCLUSIVE on the parent, then ACCESS EXCLUSIVE on the partition";
	if (strcmp(step, "archive") == 0)
		return "SHARE on the detached table";
	initStringInfo(&lock);
	wh_sql_append(&lock, "ACCESS EXCLUSIVE on the detached table");
	if (strcmp(step, "drop") != 0)
		return lock.data;
	referenced = wh_spi_query("SELECT DISTINCT confrelid FROM pg_catalog.pg_constraint WHERE"
							  " conrelid = $1 AND contype = 'f' ORDER BY confrelid",
							  1, (WhArg[]){WH_ARG_OID(relid)});
	for (uint64 i = 0; i < referenced->count; i++)
		wh_sql_append(&lock, " and on %T", wh_rows_oid(referenced, i, 1));
	return lock.data;
}

static int
compare_lines(const ListCell *a, const ListCell *b)
{
	const Line *one = lfirst(a);
	const Line *other = lfirst(b);

	if (one->due != other->due)
		return one->due < other->due ? -1 : 1;
	if (strcmp(one->partition, other->partition) != 0)
		return strcmp(one->partition, other->partition);
	return one->number - other->number;
}

static void
put_line(ReturnSetInfo *result, const Line *line)
{
	Datum values[8] = {0};
	bool nulls[8] = {0};

	values[0] = TimestampTzGetDatum(line->due);
	values[1] = CStringGetTextDatum(line->step);
	values[2] = CStringGetTextDatum(line->partition);
	values[3] = CStringGetTextDatum(line->statement);
	values[4] = CStringGetTextDatum(line->lock);
	values[5] = Int64GetDatum(line->rows);
	values[6] = Int64GetDatum(line->bytes);
	nulls[5] = nulls[6] = line->rows < 0;
	nulls[7] = line->detail == NULL;
	if (line->detail != NULL)
		values[7] = CStringGetTextDatum(line->detail);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* walhouse_partition_lead(set_id): from now, or the greatest key, on. */
Datum
walhouse_partition_lead(PG_FUNCTION_ARGS)
{
	WhSet *set = wh_set_read(PG_GETARG_INT32(0), true);
	TupleDesc desc;
	Datum values[2] = {0};
	bool nulls[2] = {true, true};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (set != NULL)
	{
		TimestampTz now = GetCurrentTimestamp();
		bool has_time = wh_axis_has_time(&set->axis);
		int64 position = has_time ? wh_axis_at(&set->axis, now) : set->head;
		int64 end = wh_make_covered_to(wh_members_ranges(set), position);

		nulls[0] = end == position;
		values[0] = CStringGetTextDatum(wh_axis_text(&set->axis, end));
		nulls[1] = !has_time;
		if (has_time)
			values[1] = Float8GetDatum(
				end == position		? 0 :
				end == PG_INT64_MAX ? get_float8_infinity() :
									  (wh_axis_instant(&set->axis, end) - now) / 1000000.0);
	}
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}
