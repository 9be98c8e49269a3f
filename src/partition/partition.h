/*
 * partition.h
 *		Partition sets: range partitions on a grid, made when a row needs one, without blocking anybody.
 */
#ifndef WH_PARTITION_H
#define WH_PARTITION_H

#include "access/xlogdefs.h"
#include "utils/timestamp.h"

/* plan.c: pure arithmetic, no catalog, no clock. */

typedef enum WhGrid
{
	WH_GRID_DAY,
	WH_GRID_MONTH,
	WH_GRID_YEAR
} WhGrid;

/* wh_partition_grid reads 'day', 'month', 'year'; raises with the list of what there is. */
extern WhGrid wh_partition_grid(const char *name);

/*
 * wh_partition_lsn_range gives the bounds [*from, *to) of the LSN range of `size` bytes that lsn is in.
 */
extern void wh_partition_lsn_range(XLogRecPtr lsn, uint64 size, XLogRecPtr *from, XLogRecPtr *to);

/* create.c */

/*
 * wh_partition_attach makes the range partition `name` (in the parent's schema) FROM from_literal TO to_literal
 * (SQL literals or constant expressions, built with wh_sql) of a range-partitioned table, by LIKE and ATTACH: the parent is
 * locked SHARE UPDATE EXCLUSIVE alone.  Owner and persistence are the parent's; storage options in `with` (SQL inside WITH (…), may be
 * NULL).  Does nothing, and returns false, when a relation of that name is a partition of the parent already.  Runs in the
 * caller's transaction, which should be short, as the parent's owner.
 */
extern bool wh_partition_attach(Oid parent, const char *name, const char *from_literal, const char *to_literal,
								const char *with);

#endif /* WH_PARTITION_H */
