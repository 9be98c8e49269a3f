/*
 * touched.c
 *		Whether a range of the log has anything of a table.
 *
 * Loads ask it of every table of every model, so no statement is planned for it: the index of each
 * partition that the range lies in is probed once.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "executor/tuptable.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "changelog/changelog.h"

static bool is_partition_touched(Oid partition, XLogRecPtr from, XLogRecPtr to);
static XLogRecPtr bound(PartitionBoundInfo bounds, int i, XLogRecPtr unbounded);
static Oid find_index(Relation log, AttrNumber attnum);

bool
wh_changelog_is_touched(const WhFeedTable *table, XLogRecPtr from, XLogRecPtr to)
{
	Relation log = table_open(table->log, AccessShareLock);
	PartitionDesc desc = RelationGetPartitionDesc(log, true);
	PartitionBoundInfo bounds = desc->boundinfo;
	bool touched = false;

	for (int i = 0; !touched && desc->nparts > 0 && i <= bounds->ndatums; i++)
	{
		if (bounds->indexes[i] >= 0 && bound(bounds, i - 1, 0) <= to &&
			bound(bounds, i, PG_UINT64_MAX) > from)
			touched = is_partition_touched(desc->oids[bounds->indexes[i]], from, to);
	}
	if (!touched && desc->nparts > 0 && bounds->default_index >= 0)
		touched = is_partition_touched(desc->oids[bounds->default_index], from, to);
	table_close(log, AccessShareLock);
	return touched;
}

/* bound is the i-th bound of a log's partitions; unbounded: before the first and behind the last,
 * or where they have none. */
static XLogRecPtr
bound(PartitionBoundInfo bounds, int i, XLogRecPtr unbounded)
{
	if (i < 0 || i >= bounds->ndatums || bounds->kind[i][0] != PARTITION_RANGE_DATUM_VALUE)
		return unbounded;
	return DatumGetLSN(bounds->datums[i][0]);
}

static bool
is_partition_touched(Oid partition, XLogRecPtr from, XLogRecPtr to)
{
	Relation log = table_open(partition, AccessShareLock);
	AttrNumber attnum = get_attnum(partition, "lsn");
	Oid index_oid = find_index(log, attnum);
	bool touched = true; /* unless the index says otherwise */

	if (OidIsValid(index_oid))
	{
		Relation index = index_open(index_oid, AccessShareLock);
		TupleTableSlot *slot = table_slot_create(log, NULL);
		Snapshot snapshot = RegisterSnapshot(GetTransactionSnapshot());
		IndexScanDesc scan = wh_compat_index_beginscan(log, index, snapshot, 2);
		ScanKeyData keys[2];

		ScanKeyInit(&keys[0], 1, BTGreaterStrategyNumber, F_PG_LSN_GT, LSNGetDatum(from));
		ScanKeyInit(&keys[1], 1, BTLessEqualStrategyNumber, F_PG_LSN_LE, LSNGetDatum(to));
		index_rescan(scan, keys, 2, NULL, 0);
		touched = index_getnext_slot(scan, ForwardScanDirection, slot);
		index_endscan(scan);
		UnregisterSnapshot(snapshot);
		ExecDropSingleTupleTableSlot(slot);
		index_close(index, AccessShareLock);
	}
	table_close(log, AccessShareLock);
	return touched;
}

/* find_index finds a B-tree that begins with a column. */
static Oid
find_index(Relation log, AttrNumber attnum)
{
	List *oids = RelationGetIndexList(log);
	ListCell *cell;
	Oid found = InvalidOid;

	foreach(cell, oids)
	{
		Relation index = index_open(lfirst_oid(cell), AccessShareLock);

		if (index->rd_rel->relam == BTREE_AM_OID && index->rd_index->indisvalid &&
			RelationGetIndexPredicate(index) == NIL &&
			index->rd_index->indkey.values[0] == attnum &&
			(index->rd_indoption[0] & INDOPTION_DESC) == 0)
			found = lfirst_oid(cell);
		index_close(index, AccessShareLock);
	}
	list_free(oids);
	return found;
}
