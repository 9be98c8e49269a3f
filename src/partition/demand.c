/*
 * demand.c
 *		Partitions that rows need: make_partition(), insert_rows(), drain_overflow().
 *
 * A row has a place where a partition is; else, within the set's horizon, one is made.  What is
 * beyond the horizon, was retired, or has no key follows the set's policy.  insert_rows() looks at
 * its rows first: it makes the partitions in short transactions of their own, runs the query again,
 * and inserts when nothing is missing, so no lock is held while rows are written.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/uuid.h"

#include "partition/partition.h"
#include "partition/partition_private.h"

#define ROUNDS 10
#define LOCK_TRIES 50
#define KEYS_AT_ONCE 1000

PG_FUNCTION_INFO_V1(walhouse_make_partition);
PG_FUNCTION_INFO_V1(walhouse_insert_rows);
PG_FUNCTION_INFO_V1(walhouse_drain_overflow);
PG_FUNCTION_INFO_V1(walhouse_uuidv7_floor);

/* Which rows have a place, and which get one; conditions on the key. */
typedef struct Places
{
	WhSet *set;
	List *ranges;
	char *covered; /* a partition is there */
	char *creatable; /* one may be made */
} Places;

/* What make_wanted is given. */
typedef struct Making
{
	WhSet *set;
	WhNewPartition *partition;
} Making;

static void open_places(Places *places, Oid parent);
static List *wanted_of(const Places *places, const WhRows *keys);
static void make_all(const Places *places, List *wanted);
static void make_body(void *arg);
static pg_noreturn void refuse_pending(const Places *places, const WhRows *keys);
static void refuse_outside(const Places *places, WhStage *stage);
static char *column_list(const WhSet *set, Oid relid, WhRows *names);

Datum
walhouse_make_partition(PG_FUNCTION_ARGS)
{
	WhSet *set = wh_set_own(PG_GETARG_OID(0));
	int64 position = wh_axis_read(&set->axis, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	List *ranges = wh_members_ranges(set);
	int64 from;
	int64 to;
	ListCell *cell;

	for (int tries = 0; tries < 2; tries++)
	{
		foreach(cell, ranges)
		{
			WhRange *range = lfirst(cell);

			if (range->lo <= position && range->hi > position)
				PG_RETURN_OID(range->relid);
		}
		wh_make_horizon(set, ranges, GetCurrentTimestamp(), &from, &to);
		if (position == PG_INT64_MIN || position == PG_INT64_MAX ||
			((position < from || position >= to) && strcmp(set->outside, "create") != 0))
			ereport(ERROR,
					(errcode(ERRCODE_CHECK_VIOLATION),
					 errmsg("\"%s\" makes no partition for %s", get_rel_name(set->parent),
							wh_axis_text(&set->axis, position)),
					 errdetail("Partitions are made from %s to %s.",
							   wh_axis_text(&set->axis, from), wh_axis_text(&set->axis, to)),
					 errhint("Change the set's horizon with walhouse.alter_partition_set.")));
		foreach(cell, wh_make_bucket(set, ranges, position, NIL))
		{
			WhNewPartition *partition = lfirst(cell);

			if (partition->lo > position || partition->hi <= position)
				continue;
			wh_txn_mark_own();
			wh_make_one(set, partition);
			wh_set_changed();
		}
		ranges = wh_members_ranges(set);
	}
	elog(ERROR, "no partition of \"%s\" was made", get_rel_name(set->parent));
}

Datum
walhouse_insert_rows(PG_FUNCTION_ARGS)
{
	bool atomic = wh_txn_procedure_atomic(fcinfo);
	char *query;
	Oid parent;

	wh_txn_check_arguments(fcinfo);
	wh_txn_open("walhouse.insert_rows", atomic);
	parent = PG_GETARG_OID(0);
	query = text_to_cstring(PG_GETARG_TEXT_PP(1));
	for (int i = 0;; i++)
	{
		WhStage *stage = wh_stage_create();
		Places places;
		WhRows *keys;
		char *columns;

		open_places(&places, parent);
		wh_stage_fill(stage, "wh_rows", query, 0, NULL);
		keys = wh_stage_query(
			stage,
			wh_sql("SELECT DISTINCT %I::pg_catalog.text FROM wh_rows WHERE NOT (%s) AND (%s) LIMIT"
				   " %d",
				   places.set->axis.column, places.covered, places.creatable, KEYS_AT_ONCE),
			0, NULL);
		refuse_outside(&places, stage);
		if (keys->count > 0)
		{
			List *wanted = wanted_of(&places, keys);

			if (wanted == NIL)
				refuse_pending(&places, keys);
			if (i == ROUNDS * KEYS_AT_ONCE)
				elog(ERROR, "partitions of \"%s\" go as they are made", get_rel_name(parent));
			wh_stage_drop(stage);
			make_all(&places, wanted);
			continue;
		}
		columns = column_list(places.set, parent,
							  wh_stage_query(stage, "SELECT * FROM wh_rows LIMIT 0", 0, NULL));
		wh_stage_execute(stage,
						 wh_sql("INSERT INTO %T (%s) SELECT %s FROM wh_rows WHERE (%s)", parent,
								columns, columns, places.covered),
						 0, NULL);
		if (strcmp(places.set->outside, "overflow") == 0)
			wh_stage_execute(stage,
							 wh_sql("INSERT INTO %T (%s) SELECT %s FROM wh_rows WHERE (%s) IS NOT"
									" TRUE",
									places.set->overflow, columns, columns, places.covered),
							 0, NULL);
		wh_stage_drop(stage);
		break;
	}
	wh_txn_close();
	PG_RETURN_VOID();
}

Datum
walhouse_drain_overflow(PG_FUNCTION_ARGS)
{
	bool atomic = wh_txn_procedure_atomic(fcinfo);
	Oid parent;

	wh_txn_check_arguments(fcinfo);
	wh_txn_open("walhouse.drain_overflow", atomic);
	parent = PG_GETARG_OID(0);
	for (int i = 0;; i++)
	{
		Places places;
		WhRows *keys;
		List *wanted;
		char *columns;

		open_places(&places, parent);
		if (!OidIsValid(places.set->overflow) || get_rel_name(places.set->overflow) == NULL)
			break;
		keys = wh_spi_query(
			wh_sql("SELECT DISTINCT %I::pg_catalog.text FROM %T WHERE NOT (%s) AND (%s) LIMIT %d",
				   places.set->axis.column, places.set->overflow, places.covered, places.creatable,
				   KEYS_AT_ONCE),
			0, NULL);
		wanted = wanted_of(&places, keys);
		if (wanted != NIL && i < ROUNDS * KEYS_AT_ONCE)
		{
			make_all(&places, wanted);
			continue;
		}
		columns = column_list(places.set, parent, NULL);
		wh_spi_execute(wh_sql("WITH gone AS (DELETE FROM %T WHERE (%s) RETURNING %s) INSERT INTO %T"
							  " (%s) SELECT %s FROM gone",
							  places.set->overflow, places.covered, columns, parent, columns,
							  columns),
					   0, NULL);
		break;
	}
	wh_txn_close();
	PG_RETURN_VOID();
}

/* open_places says by conditions on the key which rows have a place.  Neighbouring partitions are
 * one range of it. */
static void
open_places(Places *places, Oid parent)
{
	WhSet *set = wh_set_own(parent);
	const char *type = format_type_be_qualified(set->axis.type);
	StringInfoData covered;
	StringInfoData creatable;
	int64 lo = 0;
	int64 hi = 0;
	int64 bounds[2];
	int count = 0;

	places->set = set;
	places->ranges = wh_members_ranges(set);
	initStringInfo(&covered);
	for (int i = 0; i <= list_length(places->ranges); i++)
	{
		WhRange *range =
			i < list_length(places->ranges) ? list_nth(places->ranges, i) : NULL;

		if (range != NULL && range->is_pending)
			continue;
		if (range != NULL && count > 0 && range->lo == hi)
		{
			hi = range->hi;
			continue;
		}
		if (count++ > 0)
		{
			wh_sql_append(&covered, "%s(true", covered.len > 0 ? " OR " : "");
			if (lo != PG_INT64_MIN)
				wh_sql_append(&covered, " AND %I >= %s::%s", set->axis.column,
							  wh_axis_literal(&set->axis, lo), type);
			if (hi != PG_INT64_MAX)
				wh_sql_append(&covered, " AND %I < %s::%s", set->axis.column,
							  wh_axis_literal(&set->axis, hi), type);
			wh_sql_append(&covered, " AND %I IS NOT NULL)", set->axis.column);
		}
		if (range == NULL)
			break;
		lo = range->lo;
		hi = range->hi;
	}
	places->covered = covered.len > 0 ? covered.data : "false";
	wh_make_horizon(set, places->ranges, GetCurrentTimestamp(), &bounds[0], &bounds[1]);
	initStringInfo(&creatable);
	wh_sql_append(&creatable, "%I IS NOT NULL", set->axis.column);
	if (set->axis.type == TIMESTAMPTZOID || set->axis.type == TIMESTAMPOID ||
		set->axis.type == DATEOID)
		wh_sql_append(&creatable, " AND pg_catalog.isfinite(%I)", set->axis.column);
	if (strcmp(set->outside, "create") != 0 && bounds[0] != PG_INT64_MIN)
		wh_sql_append(&creatable, " AND %I >= %s::%s", set->axis.column,
					  wh_axis_literal(&set->axis, bounds[0]), type);
	if (strcmp(set->outside, "create") != 0 && bounds[1] != PG_INT64_MAX)
		wh_sql_append(&creatable, " AND %I < %s::%s", set->axis.column,
					  wh_axis_literal(&set->axis, bounds[1]), type);
	places->creatable = creatable.data;
}

/* refuse_outside raises where rows have no place, will have none, and are not to be kept aside. */
static void
refuse_outside(const Places *places, WhStage *stage)
{
	WhRows *rows;

	if (strcmp(places->set->outside, "overflow") == 0)
		return;
	rows = wh_stage_query(stage,
						  wh_sql("SELECT pg_catalog.count(*), COALESCE(pg_catalog.min(%I::"
								 "pg_catalog.text), 'NULL') FROM wh_rows WHERE (%s) IS NOT TRUE AND"
								 " (%s) IS NOT TRUE",
								 places->set->axis.column, places->covered, places->creatable),
						  0, NULL);
	if (wh_rows_int8(rows, 0, 1) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("rows have no place in \"%s\": %lld of them",
						get_rel_name(places->set->parent), (long long) wh_rows_int8(rows, 0, 1)),
				 errdetail("One of them has %s in column \"%s\". Nothing was inserted.",
						   wh_rows_text(rows, 0, 2), places->set->axis.column),
				 errhint("Change horizon or outside with walhouse.alter_partition_set.")));
}

/* refuse_pending raises where rows have a place only when a partition has been detached. */
static void
refuse_pending(const Places *places, const WhRows *keys)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("a partition of \"%s\" is being detached",
					get_rel_name(places->set->parent)),
			 errdetail("Rows such as %s have a place when that has come to its end.",
					   wh_rows_text(keys, 0, 1)),
			 errhint("CALL walhouse.maintain_partitions(%s) ends what was cut off.",
					 wh_sql_literal(wh_sql_relation(places->set->parent)))));
}

/* wanted_of lists the partitions that keys without a place need, each once; none where what was
 * there has not gone yet. */
static List *
wanted_of(const Places *places, const WhRows *keys)
{
	List *wanted = NIL;
	List *ranges = list_copy(places->ranges);

	for (uint64 i = 0; i < keys->count; i++)
	{
		int64 position = wh_axis_read(&places->set->axis, wh_rows_text(keys, i, 1));
		List *more;
		ListCell *cell;
		bool is_known = false;

		foreach(cell, wanted)
		{
			WhNewPartition *known = lfirst(cell);

			is_known = is_known || (known->lo <= position && known->hi > position);
		}
		if (is_known)
			continue;
		more = wh_make_bucket(places->set, ranges, position, NIL);
		foreach(cell, more)
		{
			WhNewPartition *partition = lfirst(cell);

			if (partition->lo <= position && partition->hi > position)
				wanted = lappend(wanted, partition);
		}
	}
	return wanted;
}

/* make_all makes partitions, each in a transaction of its own, and ends the one that is open. */
static void
make_all(const Places *places, List *wanted)
{
	ListCell *cell;

	wh_txn_commit();
	foreach(cell, wanted)
	{
		Making making = {places->set, lfirst(cell)};
		ErrorData *error = NULL;

		for (int i = 0; i < LOCK_TRIES; i++)
		{
			bool made = wh_txn_try(make_body, &making, &error);

			wh_txn_commit();
			if (made)
				break;
			/* Somebody else may have made it meanwhile. */
			if (error->sqlerrcode == ERRCODE_INVALID_OBJECT_DEFINITION)
				break;
			if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE || i + 1 == LOCK_TRIES)
				ReThrowError(error);
			CHECK_FOR_INTERRUPTS();
		}
	}
}

static void
make_body(void *arg)
{
	Making *making = arg;

	(void) set_config_option("lock_timeout", psprintf("%dms", wh_partition_lock_timeout),
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	wh_make_one(making->set, making->partition);
	wh_set_changed();
}

/* column_list lists the columns of rows that are inserted: those of a query, or all that the table
 * does not compute. */
static char *
column_list(const WhSet *set, Oid relid, WhRows *names)
{
	StringInfoData list;
	WhRows *columns;

	initStringInfo(&list);
	if (names != NULL)
	{
		for (int i = 0; i < names->desc->natts; i++)
			wh_sql_append(&list, "%s%I", i > 0 ? ", " : "",
						  NameStr(TupleDescAttr(names->desc, i)->attname));
		return list.data;
	}
	columns = wh_spi_query("SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = $1 AND"
						   " attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
						   1, (WhArg[]){WH_ARG_OID(relid)});
	for (uint64 i = 0; i < columns->count; i++)
		wh_sql_append(&list, "%s%I", i > 0 ? ", " : "", wh_rows_text(columns, i, 1));
	return list.data;
}

Datum
walhouse_uuidv7_floor(PG_FUNCTION_ARGS)
{
	TimestampTz time = PG_GETARG_TIMESTAMPTZ(0);
	pg_uuid_t *uuid = palloc0(sizeof(pg_uuid_t));
	int64 ms;

	if (TIMESTAMP_NOT_FINITE(time))
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
						errmsg("a UUID has no infinite time")));
	ms = (time + (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY) / 1000;
	if (ms < 0 || ms >= (int64) 1 << 48)
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
						errmsg("timestamp out of the range of UUIDs")));
	for (int i = 0; i < 6; i++)
		uuid->data[i] = (unsigned char) (ms >> (8 * (5 - i)));
	PG_RETURN_UUID_P(uuid);
}
