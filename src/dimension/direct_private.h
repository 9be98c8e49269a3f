/*
 * direct_private.h
 *		Loads of dimensions without statements: what direct.c reads and direct_write.c writes.
 */
#ifndef WH_DIRECT_PRIVATE_H
#define WH_DIRECT_PRIVATE_H

#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

/* What one source transaction left of a member. */
typedef struct WhMemberEvent
{
	struct WhMemberEvent *next; /* of the same member, in commit order */
	XLogRecPtr lsn;
	TimestampTz clock;
	int number; /* its place in the batch */
	bool is_live; /* false: deleted, or the condition no longer holds */
	Datum *values; /* the query's columns, when it is live */
	bool *nulls;
} WhMemberEvent;

/* A member with events in a batch. */
typedef struct WhMember
{
	uint32 hash;
	Datum *key;
	WhMemberEvent *first;
	WhMemberEvent *last;
} WhMember;

/* Some whole source transactions; all in its context. */
typedef struct WhMemberBatch
{
	MemoryContext context;
	int count;
	WhMember **members; /* in the order of their first events */
	XLogRecPtr to; /* the position that it ends with */
} WhMemberBatch;

/* -------- direct_write.c -------- */

/*
 * wh_direct_open gets ready to write a dimension; NULL: statements must.  wh_direct_write writes a
 * batch, and makes it visible to what follows.
 */
typedef struct WhDirectTarget WhDirectTarget;

extern WhDirectTarget *wh_direct_open(const WhModel *model, TupleDesc query, const WhLoad *load,
									  WhCounts *counts);
extern void wh_direct_write(WhDirectTarget *target, WhMemberBatch *batch);
extern void wh_direct_close(WhDirectTarget *target);

#endif /* WH_DIRECT_PRIVATE_H */
