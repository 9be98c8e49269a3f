/*
 * members.c
 *		The register of partitions: what there is, what is next for each, and when.
 *
 * The truth about bounds is the parent's catalog; the register adds what that does not know: state,
 * holds, what was found when a partition was sealed, and the next step with its time, which is
 * worked out once.  It is brought up to date when its set is looked at, so partitions that were
 * made, renamed, detached or dropped by hand are met without any trigger.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"

#include "partition/partition.h"
#include "partition/partition_private.h"

static List *pending_partitions(Oid parent);
static int64 bound_position(const WhAxis *axis, PartitionBoundInfo bounds, int i, bool is_upper);
static TimestampTz due_after(const WhSet *set, int64 hi, const char *span, int64 head,
							 TimestampTz now);
static WhArg array_of(Oid type, Datum *values, int count);

List *
wh_members_ranges(const WhSet *set)
{
	Relation rel = table_open(set->parent, AccessShareLock);
	PartitionDesc desc = RelationGetPartitionDesc(rel, false);
	List *pending = pending_partitions(set->parent);
	List *ranges = NIL;

	for (int i = 0; desc->nparts > 0 && i + 1 < desc->boundinfo->ndatums; i++)
	{
		int index = desc->boundinfo->indexes[i + 1];
		WhRange *range;

		if (index < 0)
			continue;
		range = palloc0(sizeof(WhRange));
		range->relid = desc->oids[index];
		range->lo = bound_position(&set->axis, desc->boundinfo, i, false);
		range->hi = bound_position(&set->axis, desc->boundinfo, i + 1, true);
		range->is_pending = list_member_oid(pending, range->relid);
		ranges = lappend(ranges, range);
	}
	table_close(rel, NoLock);
	return ranges;
}

static List *
pending_partitions(Oid parent)
{
	WhArg args[] = {WH_ARG_OID(parent)};
	WhRows *rows = wh_spi_query_kept("SELECT inhrelid FROM pg_catalog.pg_inherits"
									 " WHERE inhparent = $1 AND inhdetachpending",
									 1, args);
	List *pending = NIL;

	for (uint64 i = 0; i < rows->count; i++)
		pending = lappend_oid(pending, wh_rows_oid(rows, i, 1));
	return pending;
}

static int64
bound_position(const WhAxis *axis, PartitionBoundInfo bounds, int i, bool is_upper)
{
	switch (bounds->kind[i][0])
	{
		case PARTITION_RANGE_DATUM_MINVALUE:
			return PG_INT64_MIN;
		case PARTITION_RANGE_DATUM_MAXVALUE:
			return PG_INT64_MAX;
		default:
			return wh_axis_position(axis, bounds->datums[i][0], is_upper);
	}
}

List *
wh_members_gaps(List *ranges, int64 lo, int64 hi)
{
	List *gaps = NIL;
	ListCell *cell;

	foreach(cell, ranges)
	{
		WhRange *range = lfirst(cell);

		if (range->hi <= lo || range->lo >= hi)
			continue;
		if (range->lo > lo)
		{
			WhRange *gap = palloc0(sizeof(WhRange));

			gap->lo = lo;
			gap->hi = range->lo;
			gaps = lappend(gaps, gap);
		}
		lo = range->hi;
	}
	if (lo < hi)
	{
		WhRange *gap = palloc0(sizeof(WhRange));

		gap->lo = lo;
		gap->hi = hi;
		gaps = lappend(gaps, gap);
	}
	return gaps;
}

void
wh_members_reconcile(const WhSet *set, List *ranges)
{
	int count = list_length(ranges);
	Datum *columns[5];
	WhArg args[6];

	for (int i = 0; i < lengthof(columns); i++)
		columns[i] = palloc(sizeof(Datum) * (count + 1));
	for (int i = 0; i < count; i++)
	{
		WhRange *range = list_nth(ranges, i);

		columns[0][i] = ObjectIdGetDatum(range->relid);
		columns[1][i] = Int64GetDatum(range->lo);
		columns[2][i] = Int64GetDatum(range->hi);
		columns[3][i] = CStringGetTextDatum(wh_axis_text(&set->axis, range->lo));
		columns[4][i] = CStringGetTextDatum(wh_axis_text(&set->axis, range->hi));
	}
	args[0] = WH_ARG_INT4(set->id);
	args[1] = array_of(OIDOID, columns[0], count);
	args[2] = array_of(INT8OID, columns[1], count);
	args[3] = array_of(INT8OID, columns[2], count);
	args[4] = array_of(TEXTOID, columns[3], count);
	args[5] = array_of(TEXTOID, columns[4], count);
	/*
	 * NOT IN is answered by a hash table whatever the planner thinks of the number of rows; a join
	 * would look at each partition for each.
	 *
	 * What was detached or dropped by hand is nobody's business here any more; what others made
	 * since the ranges were read is in the catalog.
	 */
	wh_catalog_execute(
		"DELETE FROM walhouse.partition p WHERE p.set_id = $1 AND p.relid::pg_catalog.oid NOT IN"
		" (SELECT pg_catalog.unnest($2)) AND (p.state IN ('open', 'sealed', 'profiled') OR NOT"
		" EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = p.relid)) AND NOT EXISTS (SELECT"
		" FROM pg_catalog.pg_inherits i WHERE i.inhparent = $3 AND i.inhrelid = p.relid)",
		3, (WhArg[]){args[0], args[1], WH_ARG_OID(set->parent)});
	wh_catalog_execute(
		"DELETE FROM walhouse.partition_step t WHERE t.set_id = $1 AND t.step <> 'make' AND"
		" t.relid NOT IN (SELECT p.relid FROM walhouse.partition p WHERE p.set_id = $1)",
		1, args);
	/* What was kept and is attached again is a partition like any other; it is new to the set. ON
	 * CONFLICT locks what it finds, so what is right already is left out before. */
	wh_catalog_execute(
		"INSERT INTO walhouse.partition AS p (set_id, relid, lo, hi, from_value, to_value)"
		" SELECT $1, n.relid, n.lo, n.hi, n.from_value, n.to_value FROM ROWS FROM"
		" (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
		" pg_catalog.unnest($5), pg_catalog.unnest($6)) AS n (relid, lo, hi, from_value, to_value)"
		" WHERE (n.relid, n.lo, n.hi) NOT IN (SELECT q.relid, q.lo, q.hi FROM walhouse.partition q"
		" WHERE q.set_id = $1 AND q.state IN ('open', 'sealed', 'profiled', 'detaching'))"
		" ON CONFLICT (relid) DO UPDATE SET set_id = $1, lo = EXCLUDED.lo,"
		" hi = EXCLUDED.hi, from_value = EXCLUDED.from_value, to_value = EXCLUDED.to_value,"
		" state = CASE WHEN p.state IN ('open', 'sealed', 'profiled', 'detaching') THEN p.state"
		" ELSE 'open' END",
		6, args);
}

void
wh_members_note(const WhSet *set, Oid relid, int64 lo, int64 hi)
{
	WhArg args[] = {WH_ARG_INT4(set->id),
					WH_ARG_OID(relid),
					WH_ARG_INT8(lo),
					WH_ARG_INT8(hi),
					wh_arg_text(wh_axis_text(&set->axis, lo)),
					wh_arg_text(wh_axis_text(&set->axis, hi))};

	wh_catalog_execute(
		"WITH made AS (INSERT INTO walhouse.partition (set_id, relid, lo, hi, from_value, to_value)"
		" VALUES ($1, $2, $3, $4, $5, $6)) INSERT INTO walhouse.partition_event (set_id, step,"
		" partition, detail) VALUES ($1, 'make', $2::pg_catalog.regclass::pg_catalog.text, $5 ||"
		" ' to ' || $6)",
		6, args);
	wh_members_schedule(set, relid, PG_INT64_MIN, false);
}

/* next_steps is what wh_members_schedule has worked out. */
typedef struct NextSteps
{
	int count;
	Datum *relids;
	Datum *steps;
	Datum *dues;
	int over; /* nothing is next for these */
	Datum *over_relids;
} NextSteps;

void
wh_members_schedule(const WhSet *set, Oid relid, int64 head, bool all)
{
	WhArg args[4] = {WH_ARG_INT4(set->id), WH_ARG_OID(relid), WH_ARG_BOOL(all),
					 WH_ARG_BOOL(head != PG_INT64_MIN)};
	WhRows *rows = wh_catalog_query(
		wh_sql("SELECT p.relid::pg_catalog.oid, p.state, p.hold IS NOT NULL, p.hi FROM"
			   " walhouse.partition p WHERE p.set_id = $1 AND %s AND ($3 OR p.relid NOT IN (SELECT"
			   " t.relid FROM walhouse.partition_step t WHERE t.set_id = $1 AND %s AND NOT ($4 AND"
			   " t.due = 'infinity')))",
			   OidIsValid(relid) ? "p.relid = $2" : "$2 = 0",
			   OidIsValid(relid) ? "t.relid = $2" : "$2 = 0"),
		4, args);
	TimestampTz now = GetCurrentTimestamp();
	NextSteps next = {0};

	head = Max(head, set->head);
	next.relids = palloc(sizeof(Datum) * (rows->count + 1));
	next.steps = palloc(sizeof(Datum) * (rows->count + 1));
	next.dues = palloc(sizeof(Datum) * (rows->count + 1));
	next.over_relids = palloc(sizeof(Datum) * (rows->count + 1));
	for (uint64 i = 0; i < rows->count; i++)
	{
		TimestampTz due;
		const char *step =
			wh_members_next(set, wh_rows_text(rows, i, 2), wh_rows_bool(rows, i, 3),
							wh_rows_int8(rows, i, 4), head, now, &due);

		if (step == NULL)
		{
			next.over_relids[next.over++] = ObjectIdGetDatum(wh_rows_oid(rows, i, 1));
			continue;
		}
		next.relids[next.count] = ObjectIdGetDatum(wh_rows_oid(rows, i, 1));
		next.steps[next.count] = CStringGetTextDatum(step);
		next.dues[next.count++] = TimestampTzGetDatum(due);
	}
	args[1] = array_of(OIDOID, next.relids, next.count);
	args[2] = array_of(TEXTOID, next.steps, next.count);
	args[3] = array_of(TIMESTAMPTZOID, next.dues, next.count);
	if (next.count > 0)
		wh_catalog_execute(
			"INSERT INTO walhouse.partition_step (set_id, relid, step, due) SELECT $1, n.relid,"
			" n.step, n.due FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3),"
			" pg_catalog.unnest($4)) AS n (relid, step, due) ON CONFLICT (set_id, relid) DO UPDATE"
			" SET step = EXCLUDED.step, due = EXCLUDED.due, tried = NULL, failures = 0,"
			" error = NULL, error_time = NULL",
			4, args);
	if (next.over > 0)
		wh_catalog_execute(
			"DELETE FROM walhouse.partition_step WHERE set_id = $1 AND relid::pg_catalog.oid = ANY"
			" ($2)",
			2, (WhArg[]){args[0], array_of(OIDOID, next.over_relids, next.over)});
}

const char *
wh_members_next(const WhSet *set, const char *state, bool kept, int64 hi, int64 head,
				TimestampTz now, TimestampTz *due)
{
	bool is_open = strcmp(state, "open") == 0;
	bool is_sealed = strcmp(state, "sealed") == 0;
	TimestampTz seal = is_open ? due_after(set, hi, set->seal_after, head, now) : DT_NOEND;
	TimestampTz detach = due_after(set, hi, set->retire_after, head, now);

	*due = DT_NOEND;
	if (is_open || is_sealed || strcmp(state, "profiled") == 0)
	{
		/* What is to go sooner is not sealed first. */
		if (is_open && set->seal_after != NULL &&
			(kept || set->retire_after == NULL || seal <= detach))
		{
			*due = set->enabled ? seal : DT_NOEND;
			return "seal";
		}
		if (is_sealed && set->has_profile)
		{
			const char *after = set->profile_after != NULL ? set->profile_after :
								set->seal_after != NULL	   ? set->seal_after :
															 "0";
			TimestampTz profile = due_after(set, hi, after, head, now);

			if (kept || set->retire_after == NULL || profile <= detach)
			{
				*due = set->enabled ? profile : DT_NOEND;
				return "profile";
			}
		}
		if (set->retire_after == NULL)
			return NULL;
		*due = set->enabled && !kept ? detach : DT_NOEND;
		return "detach";
	}
	if (strcmp(state, "detaching") == 0)
	{
		/* What has begun is brought to an end, also where it would not begin now. */
		*due = set->enabled ? Min(detach, now) : DT_NOEND;
		return "detach";
	}
	if (strcmp(state, "detached") == 0 && set->archive && strcmp(set->retire, "drop") == 0)
	{
		*due = !set->enabled || kept ? DT_NOEND : set->retire_after == NULL ? now :
																			  Min(detach, now);
		return "archive";
	}
	if (strcmp(state, "detached") != 0 && strcmp(state, "archived") != 0)
		return NULL;
	if (set->enabled && !kept)
		*due = set->retire_after == NULL ?
				   now :
			   set->drop_after == NULL ?
				   Min(detach, now) :
			   strcmp(set->retire, "drop") == 0 ?
				   Max(detach, due_after(set, hi, set->drop_after, head, now)) :
				   Min(detach, now);
	return strcmp(set->retire, "keep") == 0 ? NULL : set->retire;
}

/* due_after is when an upper bound is as old as a span says; DT_NOEND: not known yet. */
static TimestampTz
due_after(const WhSet *set, int64 hi, const char *span, int64 head, TimestampTz now)
{
	int64 distance;

	if (span == NULL || hi == PG_INT64_MAX)
		return DT_NOEND;
	if (wh_axis_has_time(&set->axis))
		return wh_axis_later(&set->axis, wh_axis_instant(&set->axis, hi), span, 1);
	distance = wh_axis_count(&set->axis, span);
	return head >= PG_INT64_MIN + distance && hi <= head - distance ? now : DT_NOEND;
}

int64
wh_members_head(const WhSet *set, List *ranges)
{
	int64 head = PG_INT64_MIN;

	for (int i = list_length(ranges) - 1; i >= 0 && head == PG_INT64_MIN; i--)
	{
		WhRange *range = list_nth(ranges, i);
		WhRows *rows;
		WhUser saved;
		bool isnull;
		Datum value;

		if (range->is_pending)
			continue;
		wh_user_become(set->owner, &saved);
		rows = wh_spi_query(wh_sql("SELECT %I FROM %T WHERE %I IS NOT NULL ORDER BY 1 DESC LIMIT 1",
								   set->axis.column, range->relid, set->axis.column),
							0, NULL);
		wh_user_restore(&saved);
		if (rows->count == 0)
			continue;
		value = wh_rows_datum(rows, 0, 1, &isnull);
		head = wh_axis_position(&set->axis, value, false);
	}
	return head;
}

WhRows *
wh_members_leaves(Oid relid)
{
	/* The tree of what is no partition, and has none, is empty. */
	return wh_spi_query("SELECT t.relid::pg_catalog.oid FROM pg_catalog.pg_partition_tree($1) t"
						" WHERE t.isleaf UNION SELECT c.oid FROM pg_catalog.pg_class c WHERE c.oid"
						" = $1 AND c.relkind = 'r' ORDER BY 1",
						1, (WhArg[]){WH_ARG_OID(relid)});
}

static WhArg
array_of(Oid type, Datum *values, int count)
{
	int16 length;
	bool by_value;
	char align;

	get_typlenbyvalalign(type, &length, &by_value, &align);
	return (WhArg){get_array_type(type),
				   PointerGetDatum(construct_array(values, count, type, length, by_value, align)),
				   false};
}
