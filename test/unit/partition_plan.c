/*
 * partition_plan.c
 *		The arithmetic of partition bounds without a server.
 *
 * Days are walked one by one from 4714 BC to the year 12000 beside a calendar kept by hand, and
 * jumped through up to the end of the date type; buckets must hold their day, touch their
 * neighbours and have names of their own.
 *
 * Prints TAP.
 */
#include "postgres.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include "partition/partition.h"

#include "tap.h"

static jmp_buf raised;
static const char *message;

const char *__asan_default_options(void);

const char *
__asan_default_options(void)
{
	return "detect_leaks=0";
}

/* What ereport calls, as far as this file needs it. */
bool
errstart(int elevel, const char *domain)
{
	return true;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return true;
}

int
errcode(int sqlerrcode)
{
	return 0;
}

int
errmsg(const char *fmt, ...)
{
	message = fmt;
	return 0;
}

int
errmsg_internal(const char *fmt, ...)
{
	message = fmt;
	return 0;
}

int
errhint(const char *fmt, ...)
{
	return 0;
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	longjmp(raised, 1);
}

static bool
is_leap(int64 year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int
month_length(int64 year, int month)
{
	static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return month == 2 && is_leap(year) ? 29 : lengths[month - 1];
}

static bool
is_day(WhCivil a, int64 year, int month, int day)
{
	return a.year == year && a.month == month && a.day == day;
}

/* test_walk follows the calendar day by day. */
static void
test_walk(void)
{
	WhCivil civil = {-4713, 11, 24};
	int64 days = wh_partition_days(civil);
	bool forth = true;
	bool back = true;

	ok(days == -2451545, "4714-11-24 BC is where Julian days begin");
	while (civil.year < 12000)
	{
		WhCivil again = wh_partition_civil(days);

		forth = forth && wh_partition_days(civil) == days;
		back = back && is_day(again, civil.year, civil.month, civil.day);
		days++;
		if (++civil.day > month_length(civil.year, civil.month))
		{
			civil.day = 1;
			if (++civil.month > 12)
			{
				civil.month = 1;
				civil.year++;
			}
		}
	}
	ok(forth, "every day has its number, from 4714 BC to the year 11999");
	ok(back, "every number has its day");
}

static void
test_known(void)
{
	ok(wh_partition_days((WhCivil){2000, 1, 1}) == 0, "2000-01-01 is day 0");
	ok(wh_partition_days((WhCivil){1970, 1, 1}) == -10957, "1970-01-01");
	ok(is_day(wh_partition_civil(59), 2000, 2, 29), "2000 is a leap year");
	ok(wh_partition_days((WhCivil){5874897, 12, 31}) == 2145031948,
	   "the last day of the date type");
	ok(is_day(wh_partition_civil(2145031948), 5874897, 12, 31), "and back");
}

/* test_buckets checks that each bucket holds its day and ends where the next one begins. */
static void
test_buckets(WhGrid grid)
{
	bool holds = true;
	bool touches = true;

	for (int64 day = -2451545; day < 2145031948 - 400; day += day < 3652059 ? 1 : 9973)
	{
		int64 from;
		int64 to;
		int64 next_from;
		int64 next_to;

		wh_partition_bucket(grid, day, &from, &to);
		wh_partition_bucket(grid, to, &next_from, &next_to);
		holds = holds && from <= day && day < to;
		touches = touches && next_from == to;
	}
	ok(holds, psprintf("%s: each bucket holds its day", wh_partition_grid_name(grid)));
	ok(touches, psprintf("%s: the next one begins where it ends", wh_partition_grid_name(grid)));
}

static void
test_names(void)
{
	int64 day = wh_partition_days((WhCivil){2026, 1, 31});
	int64 old = wh_partition_days((WhCivil){-43, 3, 15});

	ok(strcmp(wh_partition_suffix(WH_GRID_YEAR, day), "_p2026") == 0, "name of a year");
	ok(strcmp(wh_partition_suffix(WH_GRID_MONTH, day), "_p2026_01") == 0, "name of a month");
	ok(strcmp(wh_partition_suffix(WH_GRID_DAY, day), "_p2026_01_31") == 0, "name of a day");
	ok(strcmp(wh_partition_suffix(WH_GRID_MONTH, old), "_pbc0044_03") == 0, "name before our era");
	ok(strcmp(wh_partition_date_text(day), "2026-01-31") == 0, "text of a day");
	ok(strcmp(wh_partition_date_text(old), "0044-03-15 BC") == 0, "text of a day before our era");
	ok(strcmp(wh_partition_date_text(wh_partition_days((WhCivil){12000, 2, 29})),
			  "12000-02-29") == 0,
	   "text of a day after the year 9999");
}

static void
test_grid(void)
{
	ok(wh_partition_grid("month") == WH_GRID_MONTH, "a grid by its name");
	if (setjmp(raised) == 0)
	{
		(void) wh_partition_grid("week");
		message = NULL;
	}
	ok(message != NULL && strstr(message, "unknown partition grid") != NULL, "no other grids");
}

static void
test_lsn(void)
{
	XLogRecPtr from;
	XLogRecPtr to;

	wh_partition_lsn_range(0x1234567, 0x1000000, &from, &to);
	ok(from == 0x1000000 && to == 0x2000000, "an LSN range lies on multiples of its size");
	wh_partition_lsn_range(PG_UINT64_MAX - 1, 0x1000000, &from, &to);
	ok(to == PG_UINT64_MAX, "the last one ends with the LSNs");
}

/* test_step checks that buckets of a step hold what they are asked for, touch, and begin at the
 * origin. */
static void
test_step(const char *name, WhStep step, int64 first, int64 last, int64 stride)
{
	bool holds = true;
	bool touches = true;
	int64 from;
	int64 to;

	for (int64 at = first; at < last; at += stride)
	{
		int64 next_from;
		int64 next_to;

		wh_partition_step_bucket(&step, at, &from, &to);
		wh_partition_step_bucket(&step, to, &next_from, &next_to);
		holds = holds && from <= at && at < to;
		touches = touches && next_from == to;
	}
	ok(holds, psprintf("%s: each bucket holds what it is asked for", name));
	ok(touches, psprintf("%s: the next one begins where it ends", name));
}

static void
test_steps(void)
{
	WhStep quarter = {WH_STEP_MONTHS, 3, 2000 * 12};
	WhStep fiscal = {WH_STEP_MONTHS, 12, 2000 * 12 + 6};
	WhStep week = {WH_STEP_DAYS, 7, 2};
	WhStep hour = {WH_STEP_TIME, USECS_PER_HOUR, 30 * USECS_PER_MINUTE};
	WhStep count = {WH_STEP_COUNT, 1000, 7};
	int64 from;
	int64 to;

	test_step("quarter", quarter, -2451545, 3652059, 1);
	test_step("fiscal year", fiscal, -2451545, 3652059, 1);
	test_step("week", week, -2451545, 3652059, 1);
	test_step("hour", hour, -USECS_PER_DAY, USECS_PER_DAY, USECS_PER_MINUTE - 1);
	test_step("count", count, -10000, 10000, 1);
	wh_partition_step_bucket(&fiscal, wh_partition_days((WhCivil){2026, 6, 30}), &from, &to);
	ok(from == wh_partition_days((WhCivil){2025, 7, 1}) &&
		   to == wh_partition_days((WhCivil){2026, 7, 1}),
	   "a year that begins in July");
	wh_partition_step_bucket(&week, wh_partition_days((WhCivil){2026, 11, 27}), &from, &to);
	ok(from == wh_partition_days((WhCivil){2026, 11, 23}) && to == from + 7,
	   "a week begins on Monday");
	wh_partition_step_bucket(&count, -1, &from, &to);
	ok(from == -993 && to == 7, "numbers below the origin");
	wh_partition_step_bucket(&count, PG_INT64_MIN, &from, &to);
	ok(from == PG_INT64_MIN && to > from && to - from <= 1000, "the least number");
	wh_partition_step_bucket(&count, PG_INT64_MAX - 1, &from, &to);
	ok(to == PG_INT64_MAX && from < PG_INT64_MAX - 1 && to - from <= 1000, "the greatest number");
	ok(strcmp(wh_partition_step_suffix(&quarter, 0), "_p2000_01") == 0, "name of a quarter");
	ok(strcmp(wh_partition_step_suffix(&fiscal, wh_partition_days((WhCivil){2025, 7, 1})),
			  "_p2025_07") == 0,
	   "name of a fiscal year");
	ok(strcmp(wh_partition_step_suffix(&hour, -30 * USECS_PER_MINUTE), "_p1999_12_31_2330") == 0,
	   "name of an hour");
	ok(strcmp(wh_partition_step_suffix(&count, -993), "_pm993") == 0, "name of a negative number");
	ok(strcmp(wh_partition_step_suffix(&count, PG_INT64_MIN), "_pm9223372036854775808") == 0,
	   "name of the least number");
}

int
main(void)
{
	test_steps();
	test_walk();
	test_known();
	test_buckets(WH_GRID_DAY);
	test_buckets(WH_GRID_MONTH);
	test_buckets(WH_GRID_YEAR);
	test_names();
	test_grid();
	test_lsn();
	return done();
}
