/*
 * text.c
 *		Values as text, as ISO 8601 and PostgreSQL write them.
 *
 * The forms are those that PostgreSQL reads again under any DateStyle: dates and timestamps with
 * four digits or more for the year and BC behind them, intervals as P1M2DT3S with a sign at each
 * part.
 */
#include "c.h"

#include "utils/palloc.h"

#include "wire/json.h"

#define MANY_SECONDS 1000000000
#define USECS_PER_SECOND INT64CONST(1000000)
#define USECS_PER_DAY (INT64CONST(86400) * USECS_PER_SECOND)

/* More digits after the point than a numeric can have. */
#define MAX_SCALE 16383

static bool append_calendar(StringInfo out, int64_t days);
static void append_fraction(StringInfo out, int64_t microseconds);

void
wh_wire_append_date(StringInfo out, int64_t days)
{
	if (append_calendar(out, days))
		appendStringInfoString(out, " BC");
}

/*
 * append_calendar appends year, month and day, and returns whether the year is BC, which is to be
 * written at the end.
 */
static bool
append_calendar(StringInfo out, int64_t days)
{
	/* days since 0000-03-01, in eras of 400 years: the proleptic Gregorian calendar */
	int64_t shifted = days + 719468;
	int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
	int64_t day_of_era = shifted - era * 146097;
	int64_t year_of_era =
		(day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int64_t month_from_march = (5 * day_of_year + 2) / 153;
	int64_t day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
	int64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
	int64_t year = year_of_era + era * 400 + (month <= 2 ? 1 : 0);

	appendStringInfo(out, "%04lld-%02d-%02d", (long long) (year > 0 ? year : 1 - year),
					 (int) month, (int) day);
	return year <= 0;
}

void
wh_wire_append_time(StringInfo out, int64_t microseconds)
{
	int64_t seconds = microseconds / USECS_PER_SECOND;

	appendStringInfo(out, "%02d:%02d:%02d", (int) (seconds / 3600), (int) (seconds / 60 % 60),
					 (int) (seconds % 60));
	append_fraction(out, microseconds % USECS_PER_SECOND);
}

/* append_fraction appends a point and the digits of 0 to 999999, without zeros at the end. */
static void
append_fraction(StringInfo out, int64_t microseconds)
{
	int fraction = (int) (microseconds < 0 ? -microseconds : microseconds);
	int digits = 6;

	if (fraction == 0)
		return;
	for (; fraction % 10 == 0; digits--)
		fraction /= 10;
	appendStringInfo(out, ".%0*d", digits, fraction);
}

void
wh_wire_append_timestamp(StringInfo out, int64_t microseconds, bool is_utc)
{
	int64_t days = microseconds / USECS_PER_DAY;
	int64_t time = microseconds % USECS_PER_DAY;
	bool is_bc;

	if (time < 0)
	{
		time += USECS_PER_DAY;
		days--;
	}
	is_bc = append_calendar(out, days);
	appendStringInfoChar(out, 'T');
	wh_wire_append_time(out, time);
	if (is_utc)
		appendStringInfoChar(out, 'Z');
	if (is_bc)
		appendStringInfoString(out, " BC");
}

void
wh_wire_append_timetz(StringInfo out, int64_t microseconds, int32_t zone)
{
	int seconds = abs(zone % 360000);

	wh_wire_append_time(out, microseconds);
	appendStringInfo(out, "%c%02d", zone <= 0 ? '+' : '-', seconds / 3600);
	if (seconds % 3600 != 0)
		appendStringInfo(out, ":%02d", seconds / 60 % 60);
	if (seconds % 60 != 0)
		appendStringInfo(out, ":%02d", seconds % 60);
}

/*
 * wh_wire_append_interval writes the time in seconds, and where these are very many the hours
 * apart: readers take the number for a double, which has no room for the microseconds then.
 */
void
wh_wire_append_interval(StringInfo out, const WhWireInterval *interval)
{
	int64_t time = interval->microseconds;

	appendStringInfoChar(out, 'P');
	if (interval->months != 0)
		appendStringInfo(out, "%dM", interval->months);
	if (interval->days != 0)
		appendStringInfo(out, "%dD", interval->days);
	if (time != 0 || (interval->months == 0 && interval->days == 0))
	{
		int64_t seconds = time / USECS_PER_SECOND;

		appendStringInfoChar(out, 'T');
		if (seconds >= MANY_SECONDS || seconds <= -MANY_SECONDS)
		{
			appendStringInfo(out, "%lldH", (long long) (seconds / 3600));
			seconds %= 3600;
		}
		if (time < 0)
			appendStringInfoChar(out, '-');
		appendStringInfo(out, "%lld", (long long) (seconds < 0 ? -seconds : seconds));
		append_fraction(out, time % USECS_PER_SECOND);
		appendStringInfoChar(out, 'S');
	}
}

void
wh_wire_append_decimal(StringInfo out, int64_t unscaled, uint32_t scale)
{
	char digits[24];
	uint64_t magnitude = unscaled < 0 ? ~(uint64_t) unscaled + 1 : (uint64_t) unscaled;
	int len = snprintf(digits, sizeof(digits), "%llu", (unsigned long long) magnitude);
	int places = scale > MAX_SCALE ? MAX_SCALE : (int) scale;

	if (unscaled < 0)
		appendStringInfoChar(out, '-');
	if (places == 0)
	{
		appendBinaryStringInfo(out, digits, len);
		return;
	}
	if (len > places)
		appendBinaryStringInfo(out, digits, len - places);
	else
		appendStringInfoChar(out, '0');
	appendStringInfoChar(out, '.');
	for (int i = len; i < places; i++)
		appendStringInfoChar(out, '0');
	if (len > places)
		appendBinaryStringInfo(out, digits + len - places, places);
	else
		appendBinaryStringInfo(out, digits, len);
}

void
wh_wire_append_lsn(StringInfo out, uint64_t lsn)
{
	appendStringInfo(out, "%X/%X", (unsigned int) (lsn >> 32), (unsigned int) lsn);
}

void
wh_wire_append_json_string(StringInfo out, const char *text, size_t len)
{
	size_t plain = 0;

	appendStringInfoChar(out, '"');
	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) text[i];

		if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7F)
			continue;
		appendBinaryStringInfo(out, text + plain, (int) (i - plain));
		plain = i + 1;
		switch (c)
		{
			case '"':
			case '\\':
				appendStringInfoChar(out, '\\');
				appendStringInfoChar(out, c);
				break;
			case '\n':
				appendStringInfoString(out, "\\n");
				break;
			case '\r':
				appendStringInfoString(out, "\\r");
				break;
			case '\t':
				appendStringInfoString(out, "\\t");
				break;
			default:
				appendStringInfo(out, "\\u%04x", c);
				break;
		}
	}
	if (len > plain)
		appendBinaryStringInfo(out, text + plain, (int) (len - plain));
	appendStringInfoChar(out, '"');
}
