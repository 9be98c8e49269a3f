/*
 * direct.c
 *		A load of versions without statements: reads the events.
 *
 * The statement of a load (load.c) is planned each time, and passes each event through a dozen
 * nodes of a plan.  Here the log is read once, in commit order (model/range.c); what each source
 * transaction left of a member is kept in memory, by key, and then written (direct_write.c).  The
 * statement says what must come out: walhouse.load_path = sql takes it, and so does whatever is
 * not covered here, before anything is written: queries over several tables, TRUNCATE, images that
 * cannot be computed (wh_model_guard), tables that are more than plain.
 *
 * A batch is as many whole transactions as maintenance_work_mem holds: each batch goes through all
 * of the dimension's keys in their order, so fewer are better.  Cutting the range changes nothing,
 * because a load continues from the present rows alone; with purge it would, because that looks
 * ahead to the end of the range before versions are written, so there the range is one batch or the
 * statement's.  A transaction that is larger than memory is the statement's, too.
 *
 * Expressions are computed on every image, also on those that the same transaction replaces.  If
 * that fails, wh_model_guard goes on to SQL, which does not look at these.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"
#include "dimension/direct_private.h"

/* A batch takes maintenance_work_mem, or this; a transaction that may not be cut takes so many
 * times that. */
#define LEAST_MEMORY ((Size) 16 * 1024 * 1024)
#define MOST_PARTS 2
#define LOOK_EVERY 256 /* rows */

/* The feed clock of each source transaction, read in step with the log. */
typedef struct Clocks
{
	Relation rel;
	Relation index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	AttrNumber lsn_column;
	AttrNumber clock_column;
	XLogRecPtr lsn; /* of the row that it is at */
	TimestampTz clock;
} Clocks;

typedef struct Reader
{
	const WhModel *model;
	bool cuts; /* the range may be cut into batches */
	WhRange *range;
	bool has_row; /* the range is at a row that is not taken yet */
	WhFormula *formula;
	WhFormula *condition; /* NULL: none */
	Clocks clocks;
	int width; /* columns of the query */
	int16 *lengths;
	bool *by_value;
	WhKeys *keys;
	int key_count;
	int *key_columns; /* of the range's rows, from 0 */
	/* of the batch */
	WhMemberBatch batch;
	struct members_hash *members;
	int room; /* of batch.members */
	int events;
} Reader;

typedef struct Found
{
	WhMember *member;
	uint32 hash;
	char status;
} Found;

#define SH_PREFIX members
#define SH_ELEMENT_TYPE Found
#define SH_KEY_TYPE WhMember *
#define SH_KEY member
#define SH_HASH_KEY(table, key) (key)->hash
#define SH_EQUAL(table, a, b) \
	wh_keys_equal((const WhKeys *) (table)->private_data, (a)->key, NULL, (b)->key, NULL)
#define SH_STORE_HASH
#define SH_GET_HASH(table, found) (found)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static bool open_reader(Reader *reader, WhModel *model, XLogRecPtr from, XLogRecPtr to);
static bool find_key(Reader *reader);
static bool open_clocks(Clocks *clocks, const WhFeed *feed, XLogRecPtr from, XLogRecPtr to);
static bool move_clock(Clocks *clocks, XLogRecPtr lsn);
static void close_reader(Reader *reader);
static bool read_batch(Reader *reader);
static bool take_row(Reader *reader);
static WhMember *find_member(Reader *reader);
static WhMemberEvent *event_of(Reader *reader, WhMember *member);
static void fill_event(Reader *reader, WhMemberEvent *event);
static bool load_batches(Reader *reader, WhDirectTarget *target, XLogRecPtr *from, XLogRecPtr to);

/*
 * wh_dimension_direct writes the versions of (*from, to]; false: statements must write those after
 * *from, which it has moved to what is done.
 */
bool
wh_dimension_direct(WhModel *model, WhLoad *load, WhCounts *counts, XLogRecPtr *from)
{
	Reader reader = {.model = model};
	WhDirectTarget *target = NULL;
	bool done = false;

	if (wh_model_load_path() != WH_PATH_AUTO || model->guarded || model->join != NULL)
		return false;
	PushActiveSnapshot(GetTransactionSnapshot());
	if (open_reader(&reader, model, *from, load->to))
		target = wh_direct_open(model, wh_formula_desc(reader.formula), load, counts);
	if (target != NULL)
	{
		done = load_batches(&reader, target, from, load->to);
		counts->read_known = done;
		counts->rows_read = reader.range->changes;
		wh_direct_close(target);
	}
	close_reader(&reader);
	PopActiveSnapshot();
	ereport(DEBUG1, (errmsg_internal("versions of %s: %s", model->name,
									 done ? "without statements" : "by statements")));
	return done;
}

static bool
open_reader(Reader *reader, WhModel *model, XLogRecPtr from, XLogRecPtr to)
{
	TupleDesc desc;

	reader->cuts = wh_dimension_on_delete(model) != WH_DELETE_PURGE;
	reader->range = wh_model_range_open(model, from, to);
	if (reader->range == NULL || !find_key(reader) ||
		!open_clocks(&reader->clocks, model->feed, from, to))
		return false;
	reader->formula = wh_model_formula(model, reader->range);
	if (model->condition != NULL)
		reader->condition = wh_model_condition_formula(model, reader->range);
	if (reader->formula == NULL || (model->condition != NULL && reader->condition == NULL))
		return false;
	desc = wh_formula_desc(reader->formula);
	reader->width = desc->natts;
	reader->lengths = palloc(sizeof(int16) * desc->natts);
	reader->by_value = palloc(sizeof(bool) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		reader->lengths[i] = TupleDescAttr(desc, i)->attlen;
		reader->by_value[i] = TupleDescAttr(desc, i)->attbyval;
	}
	return true;
}

/* find_key finds the model's key in the log; false: it is no plain column there, or of a type that
 * cannot be hashed. */
static bool
find_key(Reader *reader)
{
	TupleDesc desc = reader->range->desc;
	int count = list_length(reader->model->key);
	Oid *types = palloc(sizeof(Oid) * count);
	Oid *collations = palloc(sizeof(Oid) * count);

	reader->key_count = count;
	reader->key_columns = palloc(sizeof(int) * count);
	for (int i = 0; i < count; i++)
	{
		WhModelColumn *column = list_nth(reader->model->key, i);
		char *name = column->attnum == 0 ? NULL :
										   get_attname(reader->model->source->mirror,
													   column->attnum, true);
		int j = 0;

		while (name != NULL && j < desc->natts &&
			   strcmp(NameStr(TupleDescAttr(desc, j)->attname), name) != 0)
			j++;
		if (name == NULL || j == desc->natts || TupleDescAttr(desc, j)->atttypid != column->type)
			return false;
		reader->key_columns[i] = j;
		types[i] = column->type;
		collations[i] = TupleDescAttr(desc, j)->attcollation;
	}
	reader->keys = wh_keys_open(count, types, collations);
	return reader->keys != NULL;
}

static bool
open_clocks(Clocks *clocks, const WhFeed *feed, XLogRecPtr from, XLogRecPtr to)
{
	Oid relid = wh_changelog_txn_relid(feed);
	ScanKeyData keys[2];
	Oid index;

	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		return false;
	clocks->rel = table_open(relid, AccessShareLock);
	clocks->lsn_column = get_attnum(relid, "end_lsn");
	clocks->clock_column = get_attnum(relid, "clock");
	index = wh_compat_primary_key_index(clocks->rel);
	if (clocks->rel->rd_rel->relrowsecurity || !OidIsValid(index) ||
		clocks->rel->rd_rel->relkind != RELKIND_RELATION)
		return false;
	clocks->index = index_open(index, AccessShareLock);
	clocks->slot = table_slot_create(clocks->rel, NULL);
	ScanKeyInit(&keys[0], 1, BTGreaterStrategyNumber, F_PG_LSN_GT, LSNGetDatum(from));
	ScanKeyInit(&keys[1], 1, BTLessEqualStrategyNumber, F_PG_LSN_LE, LSNGetDatum(to));
	clocks->scan = wh_compat_index_beginscan(clocks->rel, clocks->index, GetActiveSnapshot(), 2);
	index_rescan(clocks->scan, keys, 2, NULL, 0);
	return true;
}

/* move_clock goes on to a transaction; false when there is none of that position. */
static bool
move_clock(Clocks *clocks, XLogRecPtr lsn)
{
	bool isnull;

	while (clocks->lsn < lsn)
	{
		if (!index_getnext_slot(clocks->scan, ForwardScanDirection, clocks->slot))
			return false;
		clocks->lsn = DatumGetLSN(slot_getattr(clocks->slot, clocks->lsn_column, &isnull));
		clocks->clock =
			DatumGetTimestampTz(slot_getattr(clocks->slot, clocks->clock_column, &isnull));
	}
	return clocks->lsn == lsn;
}

static void
close_reader(Reader *reader)
{
	Clocks *clocks = &reader->clocks;

	if (reader->condition != NULL)
		wh_formula_close(reader->condition);
	if (reader->formula != NULL)
		wh_formula_close(reader->formula);
	if (clocks->scan != NULL)
	{
		index_endscan(clocks->scan);
		ExecDropSingleTupleTableSlot(clocks->slot);
		index_close(clocks->index, NoLock);
	}
	if (clocks->rel != NULL)
		table_close(clocks->rel, NoLock);
	if (reader->range != NULL)
		wh_model_range_close(reader->range);
}

static bool
load_batches(Reader *reader, WhDirectTarget *target, XLogRecPtr *from, XLogRecPtr to)
{
	bool goes_on = true;

	reader->batch.context =
		GenerationContextCreate(CurrentMemoryContext, "walhouse members", ALLOCSET_DEFAULT_SIZES);
	reader->has_row = wh_model_range_next(reader->range);
	while (goes_on && reader->has_row)
	{
		goes_on = read_batch(reader);
		if (goes_on)
		{
			wh_direct_write(target, &reader->batch);
			*from = reader->batch.to;
		}
		MemoryContextReset(reader->batch.context);
	}
	MemoryContextDelete(reader->batch.context);
	return goes_on;
}

/* read_batch gathers whole transactions until memory is used up; false: statements must go on
 * after the batch before. */
static bool
read_batch(Reader *reader)
{
	MemoryContext context = reader->batch.context;
	WhRange *range = reader->range;
	Size limit = Max((Size) maintenance_work_mem * 1024, LEAST_MEMORY);
	Size used = 0;
	bool taken = true;

	reader->members = members_create(context, 256, (void *) reader->keys);
	reader->room = 256;
	reader->batch.members = MemoryContextAlloc(context, sizeof(WhMember *) * reader->room);
	reader->batch.count = reader->events = 0;
	reader->batch.to = InvalidXLogRecPtr;
	for (int rows = 1; taken && reader->has_row; rows++)
	{
		if (used > limit && range->lsn != reader->batch.to && reader->cuts)
			break;
		taken = used < limit * MOST_PARTS && take_row(reader);
		reader->batch.to = range->lsn;
		if (rows % LOOK_EVERY == 0)
		{
			CHECK_FOR_INTERRUPTS();
			used = MemoryContextMemAllocated(context, true);
		}
		reader->has_row = wh_model_range_next(range);
	}
	return taken && !range->is_disordered;
}

/* take_row takes the row that the range is at; false when that is for statements. */
static bool
take_row(Reader *reader)
{
	WhRange *range = reader->range;
	MemoryContext caller;
	WhMemberEvent *event;
	WhMember *member;

	if (range->op == 'B')
		return true;
	if (range->op == 'T' || !move_clock(&reader->clocks, range->lsn))
		return false;
	slot_getallattrs(range->row);
	caller = MemoryContextSwitchTo(reader->batch.context);
	member = find_member(reader);
	event = member == NULL ? NULL : event_of(reader, member);
	MemoryContextSwitchTo(caller);
	if (event == NULL)
		return false;
	event->is_live = range->op != 'D';
	if (event->is_live && reader->condition != NULL)
	{
		bool isnull;

		event->is_live = DatumGetBool(
			slot_getattr(wh_formula_compute(reader->condition, range->row), 1, &isnull));
		wh_formula_reset(reader->condition);
	}
	if (event->is_live)
		fill_event(reader, event);
	return true;
}

/* find_member finds or makes the member of the range's row; NULL: its key has a NULL. */
static WhMember *
find_member(Reader *reader)
{
	TupleTableSlot *row = reader->range->row;
	Datum key[INDEX_MAX_KEYS];
	WhMember probe = {.key = key};
	WhMember *member;
	Found *found;
	bool is_known;

	for (int i = 0; i < reader->key_count; i++)
	{
		if (row->tts_isnull[reader->key_columns[i]])
			return NULL;
		key[i] = row->tts_values[reader->key_columns[i]];
	}
	probe.hash = wh_keys_hash(reader->keys, key, NULL);
	found = members_insert_hash(reader->members, &probe, probe.hash, &is_known);
	if (is_known)
		return found->member;
	member = palloc0(sizeof(WhMember));
	member->hash = probe.hash;
	member->key = palloc(sizeof(Datum) * reader->key_count);
	wh_keys_copy(reader->keys, member->key, key, NULL);
	found->member = member;
	if (reader->batch.count == reader->room)
	{
		reader->room *= 2;
		reader->batch.members = repalloc_huge(reader->batch.members,
											  sizeof(WhMember *) * reader->room);
	}
	reader->batch.members[reader->batch.count++] = member;
	return member;
}

/* event_of finds the member's event of this transaction, which the row replaces, or adds one. */
static WhMemberEvent *
event_of(Reader *reader, WhMember *member)
{
	WhMemberEvent *event = member->last;

	if (event != NULL && event->lsn == reader->range->lsn)
		return event;
	event = palloc0(sizeof(WhMemberEvent));
	event->lsn = reader->range->lsn;
	event->clock = reader->clocks.clock;
	event->number = reader->events++;
	if (member->last == NULL)
		member->first = event;
	else
		member->last->next = event;
	member->last = event;
	return event;
}

static void
fill_event(Reader *reader, WhMemberEvent *event)
{
	TupleTableSlot *result = wh_formula_compute(reader->formula, reader->range->row);
	MemoryContext caller = MemoryContextSwitchTo(reader->batch.context);

	if (event->values == NULL)
	{
		event->values = palloc(sizeof(Datum) * reader->width);
		event->nulls = palloc(sizeof(bool) * reader->width);
	}
	for (int i = 0; i < reader->width; i++)
	{
		event->nulls[i] = result->tts_isnull[i];
		event->values[i] = event->nulls[i] ?
							   (Datum) 0 :
							   datumCopy(result->tts_values[i], reader->by_value[i],
										 reader->lengths[i]);
	}
	MemoryContextSwitchTo(caller);
	wh_formula_reset(reader->formula);
}
