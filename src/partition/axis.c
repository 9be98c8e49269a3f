/*
 * axis.c
 *		Partition keys as numbers, and numbers as instants, buckets, literals.
 *
 * All of a set's arithmetic is done with int64 positions.  Civil steps (days, months) lie on the
 * calendar of the set's time zone, which is stored with the set: what a session's or the server's
 * zone is plays no part.  A day of 23 or 25 hours is a bucket of so many; where midnight comes
 * twice, the later one is the bound.  Steps of hours and less are counted in time that has passed
 * since an origin, so each has its full length.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "catalog/partition.h"
#include "common/int.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "partition/partition.h"
#include "partition/partition_private.h"

#define UNIX_SECONDS ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)
#define FIRST_MONDAY 2 /* 2000-01-03 */

typedef struct KeyName
{
	const char *name;
	WhKeyKind kind;
	int64 per_second;
} KeyName;

static const KeyName key_names[] = {
	{"timestamptz", WH_KEY_TIMESTAMPTZ, 0},
	{"timestamp", WH_KEY_TIMESTAMP, 0},
	{"date", WH_KEY_DATE, 0},
	{"integer", WH_KEY_INTEGER, 0},
	{"uuidv7", WH_KEY_UUIDV7, 1000},
	{"pg_lsn", WH_KEY_LSN, 0},
	{"epoch_s", WH_KEY_EPOCH, 1},
	{"epoch_ms", WH_KEY_EPOCH, 1000},
	{"epoch_us", WH_KEY_EPOCH, 1000000},
	{"epoch_ns", WH_KEY_EPOCH, 1000000000},
};

/* The least and the greatest position that a key can have. */
typedef struct KeyLimits
{
	Oid type;
	int64 least;
	int64 greatest;
} KeyLimits;

static const KeyLimits key_limits[] = {
	{INT2OID, PG_INT16_MIN, PG_INT16_MAX},
	{INT4OID, PG_INT32_MIN, PG_INT32_MAX},
	{PG_LSNOID, 0, PG_INT64_MAX},
	{UUIDOID, 0, ((int64) 1 << 48) - 1},
	{TIMESTAMPTZOID, MIN_TIMESTAMP, END_TIMESTAMP - 1},
	{TIMESTAMPOID, MIN_TIMESTAMP, END_TIMESTAMP - 1},
	{DATEOID, DATETIME_MIN_JULIAN - POSTGRES_EPOCH_JDATE,
	 DATE_END_JULIAN - POSTGRES_EPOCH_JDATE - 1},
};

static void read_table(WhAxis *axis, Oid parent);
static int64 clamp(const WhAxis *axis, int64 position);
static void name_kind(WhAxis *axis, const char *key);
static void read_step(WhAxis *axis, const char *every);
static void read_origin(WhAxis *axis, const char *origin);
static Interval *read_interval(const char *text);
static bool is_beyond(Timestamp local, const Interval *interval, int sign);
static Timestamp local_of(const WhAxis *axis, TimestampTz instant);
static TimestampTz instant_of_local(const WhAxis *axis, Timestamp local);
static Timestamp local_of_day(int64 day);
static int64 day_of(const WhAxis *axis, int64 position);
static int64 position_of_day(const WhAxis *axis, int64 day);
static int64 floor_of(int64 number, int64 unit);

void
wh_axis_open(WhAxis *axis, Oid parent, const char *key, const char *every, const char *zone,
			 const char *origin)
{
	read_table(axis, parent);
	wh_axis_open_column(axis, axis->type, axis->column, key, every, zone, origin);
}

void
wh_axis_open_column(WhAxis *axis, Oid type, const char *column, const char *key,
					const char *every, const char *zone, const char *origin)
{
	axis->type = type;
	axis->column = pstrdup(column);
	axis->zone = pg_tzset(zone);
	if (axis->zone == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("time zone \"%s\" not recognized", zone)));
	name_kind(axis, key);
	read_step(axis, every);
	read_origin(axis, origin);
}

bool
wh_axis_has_time(const WhAxis *axis)
{
	return axis->kind != WH_KEY_INTEGER && axis->kind != WH_KEY_LSN;
}

/* read_table takes the key's column and type, and refuses what a set cannot be made of. */
static void
read_table(WhAxis *axis, Oid parent)
{
	Relation rel = relation_open(parent, AccessShareLock);
	PartitionKey key;

	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("\"%s\" is not a partitioned table",
							   RelationGetRelationName(rel)),
						errhint("A set is made of a table with PARTITION BY RANGE (column).")));
	key = RelationGetPartitionKey(rel);
	if (key->strategy != PARTITION_STRATEGY_RANGE || key->partnatts != 1 ||
		key->partattrs[0] == 0)
		ereport(
			ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("\"%s\" is not partitioned by range of one column",
					RelationGetRelationName(rel)),
			 errhint("Below a list or hash level, make a set of each partition that is "
					 "partitioned by range; or let a set make such a level below its ranges.")));
	axis->type = key->parttypid[0];
	axis->column = pstrdup(
		NameStr(TupleDescAttr(RelationGetDescr(rel), key->partattrs[0] - 1)->attname));
	relation_close(rel, NoLock);
}

void
wh_axis_check_default(Oid parent)
{
	if (OidIsValid(get_default_partition_oid(parent)))
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("\"%s\" has a default partition", get_rel_name(parent)),
			 errdetail("A new partition would lock and scan it, and no partition could be detached "
					   "without blocking."),
			 errhint("Detach it, and use outside => 'overflow'.")));
}

/* name_kind reads the kind of key, or takes it from the type. */
static void
name_kind(WhAxis *axis, const char *key)
{
	bool is_integer = axis->type == INT2OID || axis->type == INT4OID || axis->type == INT8OID;

	if (key == NULL)
		key = axis->type == TIMESTAMPTZOID ? "timestamptz" :
			  axis->type == TIMESTAMPOID   ? "timestamp" :
			  axis->type == DATEOID		   ? "date" :
			  axis->type == UUIDOID		   ? "uuidv7" :
			  axis->type == PG_LSNOID	   ? "pg_lsn" :
			  is_integer				   ? "integer" :
											 "";
	for (int i = 0; i < lengthof(key_names); i++)
	{
		if (strcmp(key_names[i].name, key) != 0)
			continue;
		axis->name = key_names[i].name;
		axis->kind = key_names[i].kind;
		axis->per_second = key_names[i].per_second;
		if (axis->kind == WH_KEY_EPOCH || axis->kind == WH_KEY_INTEGER ?
				!is_integer :
				is_integer || (axis->kind == WH_KEY_TIMESTAMPTZ) != (axis->type == TIMESTAMPTZOID))
			break;
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 key[0] == '\0' ?
				 errmsg("a set cannot have a partition key of type %s",
						format_type_be(axis->type)) :
				 errmsg("a partition key of type %s is not of kind \"%s\"", format_type_be(axis->type),
						key),
			 errhint("Keys are timestamptz, timestamp, date, integer, epoch_s, epoch_ms, epoch_us, "
					 "epoch_ns, uuidv7 or pg_lsn.")));
}

static pg_noreturn void
refuse_step(const WhAxis *axis, const char *every)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is no grid for a partition key of kind %s", every, axis->name),
			 wh_axis_has_time(axis) ?
				 errhint("Use hour, day, week, month, quarter, year, or an interval of months, of "
						 "days, or of time, that is greater than zero.") :
				 errhint("Use a number that is greater than zero.")));
}

static void
read_step(WhAxis *axis, const char *every)
{
	WhStep *step = &axis->step;
	Interval *interval;
	int parts;

	if (!wh_axis_has_time(axis))
	{
		step->kind = WH_STEP_COUNT;
		step->size = wh_axis_count(axis, every);
		if (step->size <= 0)
			refuse_step(axis, every);
		return;
	}
	if (strcmp(every, "quarter") == 0)
		every = "3 months";
	else if (every[0] >= 'a' && every[0] <= 'z')
		every = psprintf("1 %s", every);
	interval = read_interval(every);
	parts = (interval->month != 0) + (interval->day != 0) + (interval->time != 0);
	step->kind = interval->month != 0 ? WH_STEP_MONTHS :
				 interval->day != 0	  ? WH_STEP_DAYS :
										WH_STEP_TIME;
	step->size = interval->month != 0 ? interval->month :
				 interval->day != 0	  ? interval->day :
										interval->time;
	if (parts != 1 || step->size <= 0 || (step->kind == WH_STEP_TIME && axis->kind == WH_KEY_DATE))
		refuse_step(axis, every);
	/* Of keys that count units, a step must be whole ones. */
	if (step->kind == WH_STEP_TIME && axis->per_second > 0)
	{
		if (axis->per_second < USECS_PER_SEC &&
			step->size % (USECS_PER_SEC / axis->per_second) != 0)
			refuse_step(axis, every);
		step->size = axis->per_second < USECS_PER_SEC ?
						 step->size / (USECS_PER_SEC / axis->per_second) :
						 step->size * (axis->per_second / USECS_PER_SEC);
	}
}

static void
read_origin(WhAxis *axis, const char *origin)
{
	WhStep *step = &axis->step;
	Timestamp local = 0;
	WhCivil civil;

	if (step->kind == WH_STEP_COUNT)
	{
		step->origin = origin != NULL ? wh_axis_read(axis, origin) : 0;
		return;
	}
	if (origin != NULL)
		local = DatumGetTimestamp(DirectFunctionCall3(timestamp_in, CStringGetDatum(origin),
													  ObjectIdGetDatum(InvalidOid),
													  Int32GetDatum(-1)));
	if (TIMESTAMP_NOT_FINITE(local) ||
		(step->kind != WH_STEP_TIME && local % USECS_PER_DAY != 0))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"%s\" is no origin of a grid of days", origin)));
	switch (step->kind)
	{
		case WH_STEP_DAYS:
			step->origin = origin == NULL && step->size % 7 == 0 ? FIRST_MONDAY :
																   local / USECS_PER_DAY;
			break;
		case WH_STEP_MONTHS:
			civil = wh_partition_civil(local / USECS_PER_DAY);
			if (civil.day != 1)
				ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
								errmsg("months begin on their first day, not on \"%s\"", origin)));
			step->origin = civil.year * 12 + civil.month - 1;
			break;
		default:
			step->origin = axis->kind == WH_KEY_TIMESTAMP ?
							   local :
							   wh_axis_at(axis, instant_of_local(axis, local));
			break;
	}
}

static Interval *
read_interval(const char *text)
{
	return DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(text),
												 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

int64
wh_axis_position(const WhAxis *axis, Datum value, bool is_upper)
{
	int64 position = 0;

	switch (axis->type)
	{
		case TIMESTAMPTZOID:
		case TIMESTAMPOID:
			return DatumGetTimestamp(value);
		case DATEOID:
			if (DATE_IS_NOBEGIN(DatumGetDateADT(value)))
				return PG_INT64_MIN;
			return DATE_IS_NOEND(DatumGetDateADT(value)) ? PG_INT64_MAX : DatumGetDateADT(value);
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		case INT8OID:
			return DatumGetInt64(value);
		case PG_LSNOID:
			return (int64) Min(DatumGetLSN(value), (uint64) PG_INT64_MAX);
		case UUIDOID:
			for (int i = 0; i < 6; i++)
				position = position << 8 | DatumGetUUIDP(value)->data[i];
			for (int i = 6; i < UUID_LEN && is_upper; i++)
				if (DatumGetUUIDP(value)->data[i] != 0)
					return position + 1;
			return position;
	}
	elog(ERROR, "unexpected type %u of a partition key", axis->type);
}

int64
wh_axis_read(const WhAxis *axis, const char *text)
{
	Oid input;
	Oid ioparam;

	getTypeInputInfo(axis->type, &input, &ioparam);
	return wh_axis_position(axis, OidInputFunctionCall(input, pstrdup(text), ioparam, -1), false);
}

/* time_text is the ISO text of microseconds since 2000. */
static char *
time_text(int64 time, const char *zone)
{
	int64 second = time % USECS_PER_DAY;
	char *date;
	char *era;

	if (second < 0)
		second += USECS_PER_DAY;
	date = wh_partition_date_text((time - second) / USECS_PER_DAY);
	era = strchr(date, ' ');
	if (era != NULL)
		*era++ = '\0';
	return psprintf("%s %02d:%02d:%02d%s%s%s%s", date, (int) (second / USECS_PER_HOUR),
					(int) (second / USECS_PER_MINUTE % 60), (int) (second / USECS_PER_SEC % 60),
					second % USECS_PER_SEC == 0 ?
						"" :
						psprintf(".%06d", (int) (second % USECS_PER_SEC)),
					zone, era != NULL ? " " : "", era != NULL ? era : "");
}

char *
wh_axis_text(const WhAxis *axis, int64 position)
{
	position = clamp(axis, position);
	if (position == PG_INT64_MIN)
		return "MINVALUE";
	if (position == PG_INT64_MAX)
		return "MAXVALUE";
	switch (axis->kind)
	{
		case WH_KEY_TIMESTAMPTZ:
			return time_text(position, "+00");
		case WH_KEY_TIMESTAMP:
			return time_text(position, "");
		case WH_KEY_DATE:
			return wh_partition_date_text(position);
		case WH_KEY_UUIDV7:
			return psprintf("%08x-%04x-0000-0000-000000000000", (unsigned) (position >> 16),
							(unsigned) (position & 0xFFFF));
		case WH_KEY_LSN:
			return psprintf("%X/%X", LSN_FORMAT_ARGS((XLogRecPtr) position));
		default:
			return psprintf("%lld", (long long) position);
	}
}

char *
wh_axis_literal(const WhAxis *axis, int64 position)
{
	position = clamp(axis, position);
	if (position == PG_INT64_MIN || position == PG_INT64_MAX)
		return wh_axis_text(axis, position);
	return wh_sql_literal(wh_axis_text(axis, position));
}

void
wh_axis_bucket(const WhAxis *axis, int64 position, int64 *from, int64 *to)
{
	int64 first;
	int64 last;
	int64 day;

	if (axis->step.kind == WH_STEP_TIME || axis->step.kind == WH_STEP_COUNT)
	{
		wh_partition_step_bucket(&axis->step, position, from, to);
		*to = clamp(axis, *to);
		return;
	}
	/* Where midnight comes twice, what is before the later one belongs to the day before. */
	for (day = day_of(axis, position);; day = position < *from ? first - 1 : last)
	{
		wh_partition_step_bucket(&axis->step, day, &first, &last);
		*from = position_of_day(axis, first);
		*to = clamp(axis, position_of_day(axis, last));
		if (position >= *from && position < *to)
			return;
	}
}

char *
wh_axis_suffix(const WhAxis *axis, int64 from)
{
	WhStep step = axis->step;

	if (from == PG_INT64_MIN)
		return "_pmin";
	if (axis->kind == WH_KEY_LSN)
		return psprintf("_p%X_%08X", LSN_FORMAT_ARGS((XLogRecPtr) from));
	if (step.kind == WH_STEP_COUNT)
		return wh_partition_step_suffix(&step, from);
	if (step.kind != WH_STEP_TIME)
		return wh_partition_step_suffix(&step, day_of(axis, from));
	if (axis->per_second > 0)
		step.size = step.size % (60 * axis->per_second) == 0 ? USECS_PER_MINUTE : USECS_PER_SEC;
	return wh_partition_step_suffix(
		&step, axis->kind == WH_KEY_TIMESTAMP ? from : wh_axis_instant(axis, from));
}

TimestampTz
wh_axis_instant(const WhAxis *axis, int64 position)
{
	if (position == PG_INT64_MIN || position == PG_INT64_MAX)
		return position;
	switch (axis->kind)
	{
		case WH_KEY_TIMESTAMPTZ:
			return position;
		case WH_KEY_TIMESTAMP:
			return instant_of_local(axis, position);
		case WH_KEY_DATE:
			return instant_of_local(axis, local_of_day(position));
		case WH_KEY_EPOCH:
		case WH_KEY_UUIDV7:
			if (axis->per_second > USECS_PER_SEC)
				return floor_of(position, axis->per_second / USECS_PER_SEC) -
					   UNIX_SECONDS * USECS_PER_SEC;
			/* Beyond the time that there is. */
			if (position > END_TIMESTAMP / USECS_PER_SEC * axis->per_second)
				return PG_INT64_MAX;
			if (position < (MIN_TIMESTAMP / USECS_PER_SEC + UNIX_SECONDS) * axis->per_second)
				return PG_INT64_MIN;
			return (position - UNIX_SECONDS * axis->per_second) *
				   (USECS_PER_SEC / axis->per_second);
		default:
			elog(ERROR, "keys of kind %s have no time", axis->name);
	}
}

int64
wh_axis_at(const WhAxis *axis, TimestampTz instant)
{
	int64 local;

	if (TIMESTAMP_NOT_FINITE(instant))
		return instant;
	switch (axis->kind)
	{
		case WH_KEY_TIMESTAMPTZ:
			return instant;
		case WH_KEY_TIMESTAMP:
			return local_of(axis, instant);
		case WH_KEY_DATE:
			local = local_of(axis, instant);
			return floor_of(local, USECS_PER_DAY);
		case WH_KEY_EPOCH:
		case WH_KEY_UUIDV7:
			if (pg_add_s64_overflow(instant, UNIX_SECONDS * USECS_PER_SEC, &instant))
				return PG_INT64_MAX;
			if (axis->per_second < USECS_PER_SEC)
				return clamp(axis, floor_of(instant, USECS_PER_SEC / axis->per_second));
			if (pg_mul_s64_overflow(instant, axis->per_second / USECS_PER_SEC, &local))
				return instant < 0 ? PG_INT64_MIN : PG_INT64_MAX;
			return local;
		default:
			elog(ERROR, "keys of kind %s have no time", axis->name);
	}
}

TimestampTz
wh_axis_later(const WhAxis *axis, TimestampTz instant, const char *span, int sign)
{
	Interval *interval;
	Timestamp local;

	if (TIMESTAMP_NOT_FINITE(instant))
		return instant;
	interval = read_interval(span);
	if (wh_compat_interval_is_noend(interval) || wh_compat_interval_is_nobegin(interval))
		return sign > 0 ? DT_NOEND : DT_NOBEGIN;
	local = local_of(axis, instant);
	if (is_beyond(local, interval, sign))
		return sign > 0 ? DT_NOEND : DT_NOBEGIN;
	local = DatumGetTimestamp(DirectFunctionCall2(
		sign > 0 ? timestamp_pl_interval : timestamp_mi_interval, TimestampGetDatum(local),
		IntervalPGetDatum(interval)));
	return instant_of_local(axis, local);
}

/* is_beyond says that a span from a time on ends near the end of time, or beyond it. */
static bool
is_beyond(Timestamp local, const Interval *interval, int sign)
{
	double days = interval->month * (DAYS_PER_YEAR / MONTHS_PER_YEAR) + interval->day;
	double end = local + sign * (days * USECS_PER_DAY + interval->time);

	return end > END_TIMESTAMP - DAYS_PER_YEAR * USECS_PER_DAY ||
		   end < MIN_TIMESTAMP + DAYS_PER_YEAR * USECS_PER_DAY;
}

int64
wh_axis_add(const WhAxis *axis, int64 position, int64 distance)
{
	if (pg_add_s64_overflow(position, distance, &position))
		return distance < 0 ? PG_INT64_MIN : PG_INT64_MAX;
	return clamp(axis, position);
}

/* clamp gives a position that the key can have, or says that it has no bound. */
static int64
clamp(const WhAxis *axis, int64 position)
{
	for (int i = 0; i < lengthof(key_limits); i++)
	{
		if (key_limits[i].type != axis->type)
			continue;
		if (position < key_limits[i].least)
			return PG_INT64_MIN;
		if (position > key_limits[i].greatest)
			return PG_INT64_MAX;
	}
	return position;
}

int64
wh_axis_count(const WhAxis *axis, const char *span)
{
	return DatumGetInt64(
		axis->kind == WH_KEY_LSN ?
			DirectFunctionCall1(pg_size_bytes, CStringGetTextDatum(span)) :
			DirectFunctionCall1(int8in, CStringGetDatum(span)));
}

void
wh_axis_check_span(const WhAxis *axis, const char *what, const char *span)
{
	Interval zero = {0};
	bool is_negative;

	if (span == NULL)
		return;
	is_negative = wh_axis_has_time(axis) ?
					  DatumGetBool(DirectFunctionCall2(interval_lt,
													   IntervalPGetDatum(read_interval(span)),
													   IntervalPGetDatum(&zero))) :
					  wh_axis_count(axis, span) < 0;
	if (is_negative)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must not be negative", what)));
}

static Timestamp
local_of(const WhAxis *axis, TimestampTz instant)
{
	struct pg_tm tm;
	fsec_t fsec;
	int offset;
	const char *abbreviation;
	Timestamp local;

	if (timestamp2tm(instant, &offset, &tm, &fsec, &abbreviation, axis->zone) != 0 ||
		tm2timestamp(&tm, fsec, NULL, &local) != 0)
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
						errmsg("timestamp out of range")));
	return local;
}

/* instant_of_local is without end where the zone puts a time beyond the ends of time. */
static TimestampTz
instant_of_local(const WhAxis *axis, Timestamp local)
{
	struct pg_tm tm;
	fsec_t fsec;
	int offset;
	TimestampTz instant;

	if (!TIMESTAMP_NOT_FINITE(local) && timestamp2tm(local, NULL, &tm, &fsec, NULL, NULL) == 0)
	{
		offset = DetermineTimeZoneOffset(&tm, axis->zone);
		if (tm2timestamp(&tm, fsec, &offset, &instant) == 0)
			return instant;
	}
	return local > 0 ? DT_NOEND : DT_NOBEGIN;
}

/* local_of_day is a day's midnight; without end where there are days and no timestamps. */
static Timestamp
local_of_day(int64 day)
{
	if (day > (END_TIMESTAMP - 1) / USECS_PER_DAY)
		return DT_NOEND;
	return day < MIN_TIMESTAMP / USECS_PER_DAY ? DT_NOBEGIN : day * USECS_PER_DAY;
}

/* day_of is the local day that a position of a key with time is in. */
static int64
day_of(const WhAxis *axis, int64 position)
{
	int64 local;

	if (axis->kind == WH_KEY_DATE)
		return position;
	local = axis->kind == WH_KEY_TIMESTAMP ? position :
											 local_of(axis, wh_axis_instant(axis, position));
	return floor_of(local, USECS_PER_DAY);
}

static int64
position_of_day(const WhAxis *axis, int64 day)
{
	if (axis->kind == WH_KEY_DATE)
		return day;
	if (axis->kind == WH_KEY_TIMESTAMP)
		return local_of_day(day);
	return wh_axis_at(axis, instant_of_local(axis, local_of_day(day)));
}

/* floor_of counts whole units up to a number, which may lie before their beginning. */
static int64
floor_of(int64 number, int64 unit)
{
	return number / unit - (number % unit < 0);
}
