/*
 * plan.c
 *		The arithmetic of partition bounds: pure, no catalog, no clock.
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
