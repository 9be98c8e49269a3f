/*
 * plan.c
 *		The arithmetic of partition bounds: pure, no catalog, no clock.
 */
#include "postgres.h"

#include "partition/partition.h"

/* Ranges lie on multiples of their size; the last one ends at the greatest LSN there is. */
void
wh_partition_lsn_range(XLogRecPtr lsn, uint64 size, XLogRecPtr *from, XLogRecPtr *to)
{
	*from = lsn - lsn % size;
	*to = *from > PG_UINT64_MAX - size ? PG_UINT64_MAX : *from + size;
}
