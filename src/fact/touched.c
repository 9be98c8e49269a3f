/*
 * touched.c
 *		To which partitions of a fact a load wrote.
 *
 * Whatever writes rows of a fact says to which partitions (wh_fact_touch): statements by what they
 * return (write.c), loads without them by the partitions that they have opened (leaves.c).  At the
 * load's end these become a number, two bounds, and the widest gaps between (walhouse.load_model),
 * which take a few bytes, however many they are; where there are no more gaps, they say all.
 *
 * Bounds are told as timestamps, whatever the event time's type: those of timestamptz in UTC, those
 * of a date at midnight, none as infinity.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "fact/fact.h"
#include "fact/fact_private.h"

/* A walk over the partitions of a fact in the order of their bounds, the default one last. */
typedef struct Walk
{
	Relation rel;
	PartitionDesc desc;
	int next;
	Oid partition; /* the one that the walk is at */
	Timestamp from; /* and its bounds */
	Timestamp to;
} Walk;

static void begin_walk(Walk *walk, Oid relid);
static bool walk_on(Walk *walk);
static Timestamp bound_of(const Walk *walk, int number);
static void note_gap(WhCounts *counts, WhGap gap);
static int64 width(WhGap gap);
static List *own_partitions(const WhFact *fact, const Walk *walk);
static bool is_partition(const Walk *walk, Oid relid);
static bool has_event_time(const Walk *walk);

PG_FUNCTION_INFO_V1(walhouse_fact_partitions);

void
wh_fact_touch(WhFact *fact, Oid leaf)
{
	MemoryContext caller = MemoryContextSwitchTo(fact->context);

	fact->touched = lappend_oid(fact->touched, leaf);
	MemoryContextSwitchTo(caller);
}

void
wh_fact_count_touched(WhFact *fact, WhCounts *counts)
{
	List *touched;
	Walk walk;

	if (fact->touched == NIL)
		return;
	begin_walk(&walk, fact->model->relid);
	touched = own_partitions(fact, &walk);
	while (counts->partitions < list_length(touched) && walk_on(&walk))
	{
		if (!list_member_oid(touched, walk.partition))
			continue;
		if (counts->partitions++ == 0)
			counts->partitions_from = walk.from;
		else if (walk.from > counts->partitions_to)
			note_gap(counts, (WhGap){counts->partitions_to, walk.from});
		counts->partitions_to = walk.to;
	}
	table_close(walk.rel, NoLock);
	fact->touched = NIL;
}

/* note_gap adds the next gap; where there are too many, the narrowest of them is given up. */
static void
note_gap(WhCounts *counts, WhGap gap)
{
	int narrowest = 0;

	if (counts->gaps < WH_MOST_GAPS)
	{
		counts->gap[counts->gaps++] = gap;
		return;
	}
	for (int i = 1; i < WH_MOST_GAPS; i++)
	{
		if (width(counts->gap[i]) < width(counts->gap[narrowest]))
			narrowest = i;
	}
	if (width(gap) <= width(counts->gap[narrowest]))
		return;
	memmove(&counts->gap[narrowest], &counts->gap[narrowest + 1],
			sizeof(WhGap) * (WH_MOST_GAPS - narrowest - 1));
	counts->gap[WH_MOST_GAPS - 1] = gap;
}

static int64
width(WhGap gap)
{
	return gap.to - gap.from; /* both are finite, since each is within the bounds of the others */
}

/* own_partitions gives the partitions of the fact itself that were touched, each once: rows may be
 * in partitions of theirs. */
static List *
own_partitions(const WhFact *fact, const Walk *walk)
{
	List *own = NIL;

	foreach_oid(leaf, fact->touched)
	{
		while (!is_partition(walk, leaf) && get_rel_relispartition(leaf))
			leaf = get_partition_parent(leaf, true);
		own = lappend_oid(own, leaf);
	}
	list_sort(own, list_oid_cmp);
	list_deduplicate_oid(own);
	return own;
}

static bool
is_partition(const Walk *walk, Oid relid)
{
	for (int i = 0; i < walk->desc->nparts; i++)
	{
		if (walk->desc->oids[i] == relid)
			return true;
	}
	return false;
}

static void
begin_walk(Walk *walk, Oid relid)
{
	walk->rel = table_open(relid, AccessShareLock);
	walk->desc = RelationGetPartitionDesc(walk->rel, false);
	walk->next = 0;
}

static bool
walk_on(Walk *walk)
{
	PartitionBoundInfo bounds = walk->desc->boundinfo;

	while (walk->desc->nparts > 0 && walk->next <= bounds->ndatums)
	{
		int number = walk->next++;

		if (bounds->indexes[number] < 0)
			continue;
		walk->partition = walk->desc->oids[bounds->indexes[number]];
		walk->from = number == 0 ? DT_NOBEGIN : bound_of(walk, number - 1);
		walk->to = number == bounds->ndatums ? DT_NOEND : bound_of(walk, number);
		return true;
	}
	if (walk->desc->nparts == 0 || walk->next > bounds->ndatums + 1 ||
		!partition_bound_has_default(bounds))
		return false;
	walk->next++;
	walk->partition = walk->desc->oids[bounds->default_index];
	walk->from = DT_NOBEGIN;
	walk->to = DT_NOEND;
	return true;
}

static Timestamp
bound_of(const Walk *walk, int number)
{
	PartitionBoundInfo bounds = walk->desc->boundinfo;
	Datum value = bounds->datums[number][0];
	int overflow;

	switch (bounds->kind[number][0])
	{
		case PARTITION_RANGE_DATUM_MINVALUE:
			return DT_NOBEGIN;
		case PARTITION_RANGE_DATUM_MAXVALUE:
			return DT_NOEND;
		case PARTITION_RANGE_DATUM_VALUE:
			break;
	}
	if (RelationGetPartitionKey(walk->rel)->parttypid[0] == DATEOID)
		return date2timestamp_opt_overflow(DatumGetDateADT(value), &overflow);
	return DatumGetTimestamp(value); /* of a timestamptz that is UTC */
}

/* has_event_time says whether a table is partitioned as facts are. */
static bool
has_event_time(const Walk *walk)
{
	PartitionKey key = RelationGetPartitionKey(walk->rel);

	return key->strategy == PARTITION_STRATEGY_RANGE &&
		   (key->parttypid[0] == TIMESTAMPTZOID || key->parttypid[0] == TIMESTAMPOID ||
			key->parttypid[0] == DATEOID);
}

/* walhouse.fact_partitions(fact): what the catalog says to everybody */
Datum
walhouse_fact_partitions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid relid = PG_GETARG_OID(0);
	Walk walk;

	InitMaterializedSRF(fcinfo, 0);
	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return (Datum) 0;
	begin_walk(&walk, relid);
	while (has_event_time(&walk) && walk_on(&walk))
	{
		Datum values[3] = {ObjectIdGetDatum(walk.partition), TimestampGetDatum(walk.from),
						   TimestampGetDatum(walk.to)};
		bool nulls[3] = {false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	table_close(walk.rel, AccessShareLock);
	return (Datum) 0;
}
