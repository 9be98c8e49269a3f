/*
 * axis.h
 *		The keys of partition sets as numbers, and the grids that they lie on.
 */
#ifndef WH_PARTITION_AXIS_H
#define WH_PARTITION_AXIS_H

#include "pgtime.h"
#include "utils/timestamp.h"

#include "partition/partition.h"

typedef enum WhKeyKind
{
	WH_KEY_TIMESTAMPTZ,
	WH_KEY_TIMESTAMP,
	WH_KEY_DATE,
	WH_KEY_INTEGER,
	WH_KEY_EPOCH, /* an integer that counts seconds, or parts of them, since 1970 */
	WH_KEY_UUIDV7, /* positions are its milliseconds since 1970 */
	WH_KEY_LSN
} WhKeyKind;

/*
 * A partition key and its grid.  A position is the key as a number: microseconds since 2000, days
 * since 2000, or what the key counts itself; PG_INT64_MIN and PG_INT64_MAX are without end.
 */
typedef struct WhAxis
{
	WhKeyKind kind;
	Oid type;
	char *column;
	const char *name; /* of the kind, as in partition_set.key */
	int64 per_second; /* of WH_KEY_EPOCH */
	pg_tz *zone;
	WhStep step;
} WhAxis;

/*
 * wh_axis_open looks at a table's partition key and reads the grid; raises where the table is none
 * that a set can be, or the grid does not fit the key.
 */
extern void wh_axis_open(WhAxis *axis, Oid parent, const char *key, const char *every,
						 const char *zone, const char *origin);
/* The same of a column that a table is to be partitioned by. */
extern void wh_axis_open_column(WhAxis *axis, Oid type, const char *column, const char *key,
								const char *every, const char *zone, const char *origin);
/* wh_axis_check_default raises where a table has a default partition: with one, nothing is made or
 * detached without blocking. */
extern void wh_axis_check_default(Oid parent);
extern bool wh_axis_has_time(const WhAxis *axis);

/* Positions from a value of the key's type (as an upper bound rounded up) or its text, and the
 * text of one as the server reads it; MINVALUE and MAXVALUE at the ends. */
extern int64 wh_axis_position(const WhAxis *axis, Datum value, bool is_upper);
extern int64 wh_axis_read(const WhAxis *axis, const char *text);
extern char *wh_axis_text(const WhAxis *axis, int64 position);
/* The same as it stands in FOR VALUES and in comparisons: a literal. */
extern char *wh_axis_literal(const WhAxis *axis, int64 position);

extern void wh_axis_bucket(const WhAxis *axis, int64 position, int64 *from, int64 *to);
extern char *wh_axis_suffix(const WhAxis *axis, int64 from);

/* Of keys that have a time: the instant of a position, and back.  Without end stays so. */
extern TimestampTz wh_axis_instant(const WhAxis *axis, int64 position);
extern int64 wh_axis_at(const WhAxis *axis, TimestampTz instant);

/* wh_axis_later adds a span to an instant by the calendar of the set's zone, or takes it away. */
extern TimestampTz wh_axis_later(const WhAxis *axis, TimestampTz instant, const char *span,
								 int sign);
/* wh_axis_add adds to a position; what is beyond all that the key can be is without end. */
extern int64 wh_axis_add(const WhAxis *axis, int64 position, int64 distance);
/* wh_axis_count reads a span of keys without time: a number, of LSNs also bytes with a unit. */
extern int64 wh_axis_count(const WhAxis *axis, const char *span);
/* wh_axis_check_span raises where a span does not fit the key, or is negative; NULL passes. */
extern void wh_axis_check_span(const WhAxis *axis, const char *what, const char *span);

#endif /* WH_PARTITION_AXIS_H */
