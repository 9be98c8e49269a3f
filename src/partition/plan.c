/*
 * plan.c
 *		The arithmetic of partition bounds: pure, no catalog, no clock.
 *
 * Facts and change logs have grids of their own; partition sets count steps from an origin.
 *
 * Days are counted from 2000-01-01 in the proleptic Gregorian calendar, as PostgreSQL's date type
 * does; years are astronomical here (year 0 is 1 BC).  All of it is exact for every day that the
 * date type has.  Time zones are none of this file's business: a bucket is a range of local days,
 * and the caller asks the server which instants they begin at.
 */
#include "postgres.h"

#include "partition/partition.h"

/* Days from 0000-03-01, where this arithmetic begins its years, to 2000-01-01. */
#define EPOCH_SHIFT 730425
#define DAYS_PER_ERA 146097 /* 400 years */

static const char *const grid_names[] = {"day", "month", "year"};

/* Ranges lie on multiples of their size; the last one ends at the greatest LSN there is. */
void
wh_partition_lsn_range(XLogRecPtr lsn, uint64 size, XLogRecPtr *from, XLogRecPtr *to)
{
	*from = lsn - lsn % size;
	*to = *from > PG_UINT64_MAX - size ? PG_UINT64_MAX : *from + size;
}

WhGrid
wh_partition_grid(const char *name)
{
	for (int i = 0; i < lengthof(grid_names); i++)
	{
		if (strcmp(name, grid_names[i]) == 0)
			return (WhGrid) i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown partition grid \"%s\"", name),
			 errhint("Partitions are made by day, month or year.")));
}

const char *
wh_partition_grid_name(WhGrid grid)
{
	return grid_names[grid];
}

/* The year of this arithmetic begins in March, so that the leap day is its last. */
int64
wh_partition_days(WhCivil civil)
{
	int64 year = civil.month <= 2 ? civil.year - 1 : civil.year;
	int64 era = (year >= 0 ? year : year - 399) / 400;
	int64 year_of_era = year - era * 400;
	int64 month = civil.month > 2 ? civil.month - 3 : civil.month + 9;
	int64 day_of_year = (153 * month + 2) / 5 + civil.day - 1;

	return era * DAYS_PER_ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 +
		   day_of_year - EPOCH_SHIFT;
}

WhCivil
wh_partition_civil(int64 days)
{
	int64 shifted = days + EPOCH_SHIFT;
	int64 era = (shifted >= 0 ? shifted : shifted - (DAYS_PER_ERA - 1)) / DAYS_PER_ERA;
	int64 day_of_era = shifted - era * DAYS_PER_ERA;
	int64 year_of_era =
		(day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	int64 day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int64 month = (5 * day_of_year + 2) / 153;
	WhCivil civil;

	civil.day = (int) (day_of_year - (153 * month + 2) / 5 + 1);
	civil.month = (int) (month < 10 ? month + 3 : month - 9);
	civil.year = year_of_era + era * 400 + (civil.month <= 2 ? 1 : 0);
	return civil;
}

/* Buckets begin on the first day of their month or year. */
void
wh_partition_bucket(WhGrid grid, int64 days, int64 *from, int64 *to)
{
	WhCivil civil = wh_partition_civil(days);

	switch (grid)
	{
		case WH_GRID_DAY:
			*from = days;
			*to = days + 1;
			return;
		case WH_GRID_MONTH:
			civil.day = 1;
			*from = wh_partition_days(civil);
			if (++civil.month > 12)
			{
				civil.month = 1;
				civil.year++;
			}
			*to = wh_partition_days(civil);
			return;
		case WH_GRID_YEAR:
			civil.day = 1;
			civil.month = 1;
			*from = wh_partition_days(civil);
			civil.year++;
			*to = wh_partition_days(civil);
			return;
	}
	elog(ERROR, "unknown grid %d", (int) grid);
}

/* remainder_of is that of a division rounded down. */
static int64
remainder_of(int64 value, int64 size)
{
	int64 rest = value % size;

	return rest < 0 ? rest + size : rest;
}

/* cut gives the range of `size` that `at` is in, counted from `origin`; no sum of it overflows. */
static void
cut(int64 at, int64 origin, int64 size, int64 *from, int64 *to)
{
	int64 offset = remainder_of(at, size) - remainder_of(origin, size);

	if (offset < 0)
		offset += size;
	*from = at < PG_INT64_MIN + offset ? PG_INT64_MIN : at - offset;
	*to = at > PG_INT64_MAX - (size - offset) ? PG_INT64_MAX : at + (size - offset);
}

static int64
first_of_month(int64 month)
{
	WhCivil civil = {0, 0, 1};

	civil.year = (month - remainder_of(month, 12)) / 12;
	civil.month = (int) remainder_of(month, 12) + 1;
	return wh_partition_days(civil);
}

void
wh_partition_step_bucket(const WhStep *step, int64 at, int64 *from, int64 *to)
{
	WhCivil civil;

	if (step->kind != WH_STEP_MONTHS)
	{
		cut(at, step->origin, step->size, from, to);
		return;
	}
	civil = wh_partition_civil(at);
	cut(civil.year * 12 + civil.month - 1, step->origin, step->size, from, to);
	*from = first_of_month(*from);
	*to = first_of_month(*to);
}

char *
wh_partition_step_suffix(const WhStep *step, int64 from)
{
	int64 day;
	int64 second;

	switch (step->kind)
	{
		case WH_STEP_MONTHS:
			return wh_partition_suffix(
				step->size % 12 == 0 && step->origin % 12 == 0 ? WH_GRID_YEAR : WH_GRID_MONTH,
				from);
		case WH_STEP_DAYS:
			return wh_partition_suffix(WH_GRID_DAY, from);
		case WH_STEP_TIME:
			day = (from - remainder_of(from, USECS_PER_DAY)) / USECS_PER_DAY;
			second = remainder_of(from, USECS_PER_DAY) / USECS_PER_SEC;
			if (step->size % USECS_PER_MINUTE == 0 && second % 60 == 0)
				return psprintf("%s_%02d%02d", wh_partition_suffix(WH_GRID_DAY, day),
								(int) (second / 3600), (int) (second / 60 % 60));
			return psprintf("%s_%02d%02d%02d", wh_partition_suffix(WH_GRID_DAY, day),
							(int) (second / 3600), (int) (second / 60 % 60), (int) (second % 60));
		case WH_STEP_COUNT:
			return from < 0 ? psprintf("_pm%llu", 0 - (unsigned long long) from) :
							  psprintf("_p%lld", (long long) from);
	}
	elog(ERROR, "unknown step %d", (int) step->kind);
}

/* print_year gives the year as people write it: four digits at least, and no year 0. */
static char *
print_year(int64 year)
{
	return psprintf("%04lld", (long long) (year > 0 ? year : 1 - year));
}

char *
wh_partition_suffix(WhGrid grid, int64 from)
{
	WhCivil civil = wh_partition_civil(from);
	char *year = psprintf("%s%s", civil.year > 0 ? "" : "bc", print_year(civil.year));

	switch (grid)
	{
		case WH_GRID_DAY:
			return psprintf("_p%s_%02d_%02d", year, civil.month, civil.day);
		case WH_GRID_MONTH:
			return psprintf("_p%s_%02d", year, civil.month);
		case WH_GRID_YEAR:
			return psprintf("_p%s", year);
	}
	elog(ERROR, "unknown grid %d", (int) grid);
}

char *
wh_partition_date_text(int64 days)
{
	WhCivil civil = wh_partition_civil(days);

	return psprintf("%s-%02d-%02d%s", print_year(civil.year), civil.month, civil.day,
					civil.year > 0 ? "" : " BC");
}
