/*
 * range.c
 *		The changes of a range of positions, read from a change log row by row, without SQL.
 *
 * Partitions of the log are read one after the other, each by its index on position and place, so
 * rows come in the order in which they were committed.  A row is a slot whose columns are the
 * log's under the mirror's names, so that formulas (base) over alias s mean what the model's
 * expressions mean. What was read once can be fetched again by its place.
 *
 * This is the way of a load that does without statements; they stay what says how it should be.
 * wh_model_range_open refuses whatever statements would treat in another way: a log that the user
 * may not read as a whole, with policies, or without its index.  Rows of one change (B, then D, I
 * or U) have one position and place, and the index gives them as they lie in the heap: where a
 * page had room for the second and not for the first, that is not as they were written.  So they
 * are read together, and put into the order of their letters.  A TRUNCATE has more rows; should
 * they not be in order, is_disordered says so, and the caller leaves the range to SQL.
 *
 * A range sees the snapshot of its opening.  Locks on partitions are kept to the end of the
 * transaction, as those of a statement are.
 */
#include "postgres.h"

#include "access/attmap.h"
#include "access/genam.h"
#include "access/nbtree.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "catalog/pg_am.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "model/model.h"
#include "model/model_private.h"

/* Columns of a log that are walhouse's own; the source's follow. */
enum
{
	LSN_COLUMN = 1,
	SEQ_COLUMN,
	OP_COLUMN
};

/* How many rows a change of one row has at most. */
#define MOST_ROWS 3

/* A partition that has rows of the range. */
typedef struct Part
{
	Relation rel;
	Relation index;
	TupleTableSlot *slot; /* of a row that is fetched */
	TupleTableSlot *kept; /* of one that was kept */
	TupleTableSlot *rows[MOST_ROWS]; /* of one change, and then one of the next */
	AttrMap *map; /* NULL: its columns stand as the log's do */
} Part;

struct WhRangeState
{
	MemoryContext context;
	Relation log;
	Snapshot snapshot;
	ScanKeyData keys[2];
	int count;
	Part *parts; /* in the order of their positions */
	TupleTableSlot *mapped; /* of rows of parts that have a map */
	int next; /* the part after the one that is read */
	IndexScanDesc scan; /* NULL: none */
	bool is_at_end; /* of the scan */
	int given; /* of the part's rows, which were given already */
	int known; /* which belong to one change; one more may have been read */
	bool has_more;
};

static const struct config_enum_entry load_paths[] = {
	{"auto", WH_PATH_AUTO, false},
	{"sql", WH_PATH_SQL, false},
	{NULL, 0, false},
};

static int load_path = WH_PATH_AUTO;

static bool may_read(Relation log);
static TupleDesc describe(const WhFeedTable *table, Relation log);
static bool open_parts(WhRange *range, XLogRecPtr from, XLogRecPtr to);
static bool open_part(WhRange *range, Part *part, Oid relid);
static Relation open_index(Relation rel, const AttrMap *map);
static bool begin_part(WhRangeState *state);
static bool read_change(WhRangeState *state);
static bool read_row(WhRangeState *state, TupleTableSlot *row);
static void swap_rows(Part *part, int i, int j);
static bool is_same_change(const Part *part, TupleTableSlot *a, TupleTableSlot *b);
static Datum own_value(const Part *part, TupleTableSlot *row, int column);
static TupleTableSlot *as_log(const WhRangeState *state, const Part *part, TupleTableSlot *row);
static void take(WhRange *range, TupleTableSlot *slot);

void
wh_model_range_init(void)
{
	DefineCustomEnumVariable(
		"walhouse.load_path",
		"How loads work: without statements where that can be, or by SQL alone.",
		"For tests and for looking into differences: both must write the same.", &load_path,
		WH_PATH_AUTO, load_paths, PGC_USERSET, GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
}

WhPath
wh_model_load_path(void)
{
	return load_path;
}

WhRange *
wh_model_range_open(const WhModel *model, XLogRecPtr from, XLogRecPtr to)
{
	MemoryContext context;
	MemoryContext caller;
	WhRange *range = NULL;
	Relation log;

	if (model->source == NULL || model->join != NULL || model->sampled)
		return NULL;
	log = table_open(model->source->log, AccessShareLock);
	if (may_read(log))
	{
		context = AllocSetContextCreate(CurrentMemoryContext, "walhouse range",
										ALLOCSET_DEFAULT_SIZES);
		caller = MemoryContextSwitchTo(context);
		range = palloc0(sizeof(WhRange));
		range->state = palloc0(sizeof(WhRangeState));
		range->state->context = context;
		range->state->log = log;
		range->desc = describe(model->source, log);
		range->state->snapshot = RegisterSnapshot(GetTransactionSnapshot());
		MemoryContextSwitchTo(caller);
		if (open_parts(range, from, to))
			return range;
		wh_model_range_close(range);
		return NULL;
	}
	table_close(log, NoLock);
	return NULL;
}

/* may_read says whether the current user reads all of a log, and walhouse's columns are its
 * first. */
static bool
may_read(Relation log)
{
	TupleDesc desc = RelationGetDescr(log);

	return log->rd_rel->relkind == RELKIND_PARTITIONED_TABLE && !log->rd_rel->relrowsecurity &&
		   desc->natts >= OP_COLUMN &&
		   strcmp(NameStr(TupleDescAttr(desc, LSN_COLUMN - 1)->attname), "lsn") == 0 &&
		   strcmp(NameStr(TupleDescAttr(desc, SEQ_COLUMN - 1)->attname), "seq") == 0 &&
		   strcmp(NameStr(TupleDescAttr(desc, OP_COLUMN - 1)->attname), "op") == 0 &&
		   pg_class_aclcheck(RelationGetRelid(log), GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

/* describe gives the log's columns the names that they have in the mirror; what is none of its
 * has a name that no query can know. */
static TupleDesc
describe(const WhFeedTable *table, Relation log)
{
	TupleDesc desc = CreateTupleDescCopy(RelationGetDescr(log));

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		char *name = psprintf("wh.%d", i + 1);

		foreach_ptr(WhFeedColumn, column, table->columns)
		{
			if (i >= OP_COLUMN && strcmp(column->log_column, NameStr(attribute->attname)) == 0)
				name = column->mirror_column;
		}
		namestrcpy(&attribute->attname, name);
	}
	return desc;
}

/* open_parts opens the partitions that may have rows of (from, to]. */
static bool
open_parts(WhRange *range, XLogRecPtr from, XLogRecPtr to)
{
	WhRangeState *state = range->state;
	PartitionDesc desc = RelationGetPartitionDesc(state->log, true);
	PartitionBoundInfo bounds = desc->boundinfo;

	ScanKeyInit(&state->keys[0], 1, BTGreaterStrategyNumber, F_PG_LSN_GT, LSNGetDatum(from));
	ScanKeyInit(&state->keys[1], 1, BTLessEqualStrategyNumber, F_PG_LSN_LE, LSNGetDatum(to));
	if (desc->nparts == 0)
		return true;
	state->parts = MemoryContextAllocZero(state->context, sizeof(Part) * desc->nparts);
	for (int i = 0; i <= bounds->ndatums; i++)
	{
		if (bounds->indexes[i] < 0)
			continue;
		if (i < bounds->ndatums && bounds->kind[i][0] == PARTITION_RANGE_DATUM_VALUE &&
			DatumGetLSN(bounds->datums[i][0]) <= from)
			continue;
		if (i > 0 && bounds->kind[i - 1][0] == PARTITION_RANGE_DATUM_VALUE &&
			DatumGetLSN(bounds->datums[i - 1][0]) > to)
			break;
		if (!open_part(range, &state->parts[state->count], desc->oids[bounds->indexes[i]]))
			return false;
	}
	return !partition_bound_has_default(bounds) && state->count <= PG_UINT16_MAX;
}

static bool
open_part(WhRange *range, Part *part, Oid relid)
{
	WhRangeState *state = range->state;
	MemoryContext caller = MemoryContextSwitchTo(state->context);

	part->rel = table_open(relid, AccessShareLock);
	state->count++;
	if (part->rel->rd_rel->relkind == RELKIND_RELATION)
	{
		part->map =
			wh_compat_attribute_map(RelationGetDescr(part->rel), RelationGetDescr(state->log));
		part->index = open_index(part->rel, part->map);
		part->slot = table_slot_create(part->rel, NULL);
		part->kept = MakeSingleTupleTableSlot(RelationGetDescr(part->rel), &TTSOpsHeapTuple);
		for (int i = 0; i < MOST_ROWS; i++)
			part->rows[i] = table_slot_create(part->rel, NULL);
		if (part->map != NULL && state->mapped == NULL)
			state->mapped = MakeSingleTupleTableSlot(range->desc, &TTSOpsVirtual);
	}
	MemoryContextSwitchTo(caller);
	return part->index != NULL;
}

/* open_index opens the index on position and place; NULL when there is none. */
static Relation
open_index(Relation rel, const AttrMap *map)
{
	AttrNumber lsn = map != NULL ? map->attnums[LSN_COLUMN - 1] : LSN_COLUMN;
	AttrNumber seq = map != NULL ? map->attnums[SEQ_COLUMN - 1] : SEQ_COLUMN;

	foreach_oid(relid, RelationGetIndexList(rel))
	{
		Relation index = index_open(relid, AccessShareLock);
		Form_pg_index form = index->rd_index;

		if (index->rd_rel->relam == BTREE_AM_OID && form->indisvalid && form->indnkeyatts == 2 &&
			form->indkey.values[0] == lsn && form->indkey.values[1] == seq &&
			index->rd_indextuple != NULL && index->rd_indoption[0] == 0 &&
			index->rd_indoption[1] == 0 && RelationGetIndexPredicate(index) == NIL)
			return index;
		index_close(index, AccessShareLock);
	}
	return NULL;
}

bool
wh_model_range_next(WhRange *range)
{
	WhRangeState *state = range->state;

	while (state->scan != NULL || begin_part(state))
	{
		Part *part = &state->parts[state->next - 1];

		if (state->given < state->known || read_change(state))
		{
			TupleTableSlot *row = part->rows[state->given++];

			range->place.part = state->next - 1;
			range->place.tid = row->tts_tid;
			take(range, as_log(state, part, row));
			return true;
		}
		index_endscan(state->scan);
		state->scan = NULL;
	}
	return false;
}

/* read_change reads the rows of the next change, in the order of their letters, and mostly the
 * first one of that after it; false: the part has no more. */
static bool
read_change(WhRangeState *state)
{
	Part *part = &state->parts[state->next - 1];
	int count = 0;

	if (state->has_more)
		swap_rows(part, 0, state->known);
	else if (!read_row(state, part->rows[0]))
		return false;
	state->has_more = false;
	for (count = 1; count < MOST_ROWS && read_row(state, part->rows[count]); count++)
	{
		state->has_more = !is_same_change(part, part->rows[0], part->rows[count]);
		if (state->has_more)
			break;
		for (int i = count;
			 i > 0 && DatumGetChar(own_value(part, part->rows[i], OP_COLUMN)) <
						  DatumGetChar(own_value(part, part->rows[i - 1], OP_COLUMN));
			 i--)
			swap_rows(part, i, i - 1);
	}
	state->known = count;
	state->given = 0;
	return true;
}

static bool
read_row(WhRangeState *state, TupleTableSlot *row)
{
	MemoryContext caller;

	if (state->is_at_end)
		return false;
	caller = MemoryContextSwitchTo(state->context); /* a scan allocates at any time */
	state->is_at_end = !index_getnext_slot(state->scan, ForwardScanDirection, row);
	MemoryContextSwitchTo(caller);
	return !state->is_at_end;
}

static void
swap_rows(Part *part, int i, int j)
{
	TupleTableSlot *row = part->rows[i];

	part->rows[i] = part->rows[j];
	part->rows[j] = row;
}

static bool
is_same_change(const Part *part, TupleTableSlot *a, TupleTableSlot *b)
{
	return own_value(part, a, SEQ_COLUMN) == own_value(part, b, SEQ_COLUMN) &&
		   own_value(part, a, LSN_COLUMN) == own_value(part, b, LSN_COLUMN);
}

/* own_value is that of a column of walhouse's own. */
static Datum
own_value(const Part *part, TupleTableSlot *row, int column)
{
	bool isnull;

	return slot_getattr(row, part->map != NULL ? part->map->attnums[column - 1] : column, &isnull);
}

static bool
begin_part(WhRangeState *state)
{
	MemoryContext caller;
	Part *part;

	if (state->next == state->count)
		return false;
	CHECK_FOR_INTERRUPTS();
	caller = MemoryContextSwitchTo(state->context);
	part = &state->parts[state->next++];
	state->scan = wh_compat_index_beginscan(part->rel, part->index, state->snapshot, 2);
	index_rescan(state->scan, state->keys, 2, NULL, 0);
	state->is_at_end = state->has_more = false;
	state->given = state->known = 0;
	MemoryContextSwitchTo(caller);
	return true;
}

/* as_log gives the row of a part the log's columns. */
static TupleTableSlot *
as_log(const WhRangeState *state, const Part *part, TupleTableSlot *row)
{
	return part->map == NULL ? row : execute_attr_map_slot(part->map, row, state->mapped);
}

/* take sets what a range says of the row that it is at. */
static void
take(WhRange *range, TupleTableSlot *slot)
{
	XLogRecPtr lsn;
	int64 seq;
	char op;

	slot_getsomeattrs(slot, OP_COLUMN);
	lsn = DatumGetLSN(slot->tts_values[LSN_COLUMN - 1]);
	seq = DatumGetInt64(slot->tts_values[SEQ_COLUMN - 1]);
	op = DatumGetChar(slot->tts_values[OP_COLUMN - 1]);
	if (lsn == range->lsn && seq == range->seq && op < range->op)
		range->is_disordered = true;
	range->lsn = lsn;
	range->seq = seq;
	range->op = op;
	range->row = slot;
	if (op != 'B')
		range->changes++;
}

void
wh_model_range_rewind(WhRange *range)
{
	WhRangeState *state = range->state;

	if (state->scan != NULL)
		index_endscan(state->scan);
	state->scan = NULL;
	state->next = 0;
	range->changes = 0;
	range->lsn = InvalidXLogRecPtr;
}

TupleTableSlot *
wh_model_range_fetch(WhRange *range, WhPlace place)
{
	WhRangeState *state = range->state;
	Part *part = &state->parts[place.part];

	if (!table_tuple_fetch_row_version(part->rel, &place.tid, state->snapshot, part->slot))
		elog(ERROR, "a row of a change log is gone");
	return as_log(state, part, part->slot);
}

HeapTuple
wh_model_range_keep(const WhRange *range)
{
	const WhRangeState *state = range->state;

	return ExecCopySlotHeapTuple(state->parts[range->place.part].rows[state->given - 1]);
}

TupleTableSlot *
wh_model_range_kept(WhRange *range, WhPlace place, HeapTuple row)
{
	Part *part = &range->state->parts[place.part];

	return as_log(range->state, part, ExecStoreHeapTuple(row, part->kept, false));
}

void
wh_model_range_close(WhRange *range)
{
	WhRangeState *state = range->state;

	if (state->scan != NULL)
		index_endscan(state->scan);
	for (int i = 0; i < state->count; i++)
	{
		Part *part = &state->parts[i];

		if (part->slot != NULL)
			ExecDropSingleTupleTableSlot(part->slot);
		if (part->kept != NULL)
			ExecDropSingleTupleTableSlot(part->kept);
		for (int j = 0; j < MOST_ROWS && part->rows[j] != NULL; j++)
			ExecDropSingleTupleTableSlot(part->rows[j]);
		if (part->index != NULL)
			index_close(part->index, NoLock);
		table_close(part->rel, NoLock);
	}
	if (state->mapped != NULL)
		ExecDropSingleTupleTableSlot(state->mapped);
	UnregisterSnapshot(state->snapshot);
	table_close(state->log, NoLock);
	MemoryContextDelete(state->context);
}

WhFormula *
wh_model_formula(const WhModel *model, const WhRange *range)
{
	return wh_model_formula_over(model, range->desc);
}

WhFormula *
wh_model_condition_formula(const WhModel *model, const WhRange *range)
{
	return wh_model_condition_over(model, range->desc);
}

WhFormula *
wh_model_formula_over(const WhModel *model, TupleDesc desc)
{
	StringInfoData targets;

	initStringInfo(&targets);
	foreach_ptr(WhModelColumn, column, model->columns)
		wh_sql_append(&targets, "%s%s", targets.len > 0 ? ", " : "", column->expression);
	return wh_formula_compile(targets.data, "s", desc);
}

WhFormula *
wh_model_condition_over(const WhModel *model, TupleDesc desc)
{
	return wh_formula_compile(wh_sql("COALESCE(%s, false)", model->condition), "s", desc);
}
