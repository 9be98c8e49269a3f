/*
 * direct_write.c
 *		A load of versions without statements: what becomes of the events of each member.
 *
 * The same as the statement of load.c does with windows, member by member: the present row (the
 * "seed") and the events in commit order tell which events move a boundary, where the boundaries
 * lie, and what the member ends with.  Rows that are there are updated by their TIDs, each once;
 * the versions that begin are inserted by the hundreds.  Members are taken in the order of their
 * keys.
 *
 * Nothing is written but by the rules that hold for a table without triggers, checks, policies and
 * columns of others; where a dimension has any, wh_direct_open leaves it to statements.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_am.h"
#include "commands/sequence.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/sortsupport.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"
#include "dimension/direct_private.h"

/* A column of the table that keeps images' values. */
typedef struct Column
{
	WhKeep keep;
	int source; /* the query's column, from 0 */
	int place; /* in the table, from 0 */
	bool by_value;
	int16 length;
} Column;

struct WhDirectTarget
{
	const WhModel *model;
	const WhLoad *load;
	WhCounts *counts;
	WhOnDelete on_delete;
	WhAppend *append;
	Relation rel;
	Relation index; /* of key and valid_from */
	Oid sequence;
	int natts;
	int sk; /* places in the table, from 0 */
	int valid_from;
	int valid_to;
	int is_current;
	int is_inferred;
	int is_deleted; /* -1: there is none */
	int load_id;
	int width; /* columns of the query */
	Column **own; /* by column of the query: where a row has its own value of it */
	bool *versioned; /* by column of the query: its image opens versions */
	int count;
	Column *columns;
	int key_count;
	ScanKeyData *keys;
	SortSupportData *order; /* of keys */
	MemoryContext member; /* of what is read and worked out for one member */
	/* of a batch */
	WhProbe *reader; /* of a member's versions, the last one first */
	TupleTableSlot *slot;
	MemoryContext context; /* of rows until they are inserted */
};

/* A row of the dimension, in the context of the member. */
typedef struct Row
{
	ItemPointerData tid;
	Datum *values;
	bool *nulls;
} Row;

/* An event that moves a boundary: to where, and where the next one lies. */
typedef struct Move
{
	const WhMemberEvent *event;
	TimestampTz at;
	TimestampTz next;
} Move;

/* The query's columns of an event or of the seed. */
typedef struct Image
{
	bool is_live;
	const Datum *values;
	const bool *nulls;
} Image;

/* What becomes of a member, in its context. */
typedef struct Story
{
	const WhMember *member;
	Row *seed; /* NULL: it has no row */
	bool seed_is_live;
	bool was_inferred;
	TimestampTz edge; /* the last boundary */
	List *moves; /* of Move * */
	const WhMemberEvent *last; /* the last live event; NULL: none */
	Image valued; /* the last image that there was; values is NULL when there was none */
	Datum *values; /* by column of the table: what all versions have, but for WH_KEEP_VERSION */
	bool *nulls;
} Story;

static bool may_write(Relation rel);
static bool find_places(WhDirectTarget *target, const WhModel *model);
static bool find_columns(WhDirectTarget *target, const WhModel *model, TupleDesc query);
static bool find_index(WhDirectTarget *target, const WhModel *model);
static bool is_key_index(const WhDirectTarget *target, const WhModel *model, Relation index);
static int place_of(const WhDirectTarget *target, const char *name);
static int compare_members(const void *a, const void *b, void *arg);
static void write_member(WhDirectTarget *target, const WhMember *member);
static void begin_story(WhDirectTarget *target, Story *story);
static Image seed_image(const WhDirectTarget *target, const Story *story);
static void tell_story(WhDirectTarget *target, Story *story);
static const WhMemberEvent *first_event(const WhDirectTarget *target, const WhMember *member);
static void take_image(WhDirectTarget *target, Story *story, const WhMemberEvent *event);
static void add_move(Story *story, const WhMemberEvent *event);
static bool opens_version(const WhDirectTarget *target, const Image *before,
						  const WhMemberEvent *event);
static bool is_same(const Column *column, Datum a, bool a_null, Datum b, bool b_null);
static bool overwrites(const WhDirectTarget *target, const Story *story);
static void update_rows(WhDirectTarget *target, const Story *story);
static void update_row(WhDirectTarget *target, const Story *story, Row *row);
static void add_versions(WhDirectTarget *target, const Story *story);
static void insert_version(WhDirectTarget *target, const Story *story, const Move *move);
static Row *next_row(WhDirectTarget *target);
static void seek(WhDirectTarget *target, const WhMember *member);

WhDirectTarget *
wh_direct_open(const WhModel *model, TupleDesc query, const WhLoad *load, WhCounts *counts)
{
	WhDirectTarget *target = palloc0(sizeof(WhDirectTarget));

	target->model = model;
	target->load = load;
	target->counts = counts;
	target->on_delete = wh_dimension_on_delete(model);
	target->rel = relation_open(model->relid, RowExclusiveLock);
	target->natts = RelationGetDescr(target->rel)->natts;
	if (!may_write(target->rel) || !find_places(target, model) ||
		!find_columns(target, model, query) || !find_index(target, model))
	{
		relation_close(target->rel, NoLock);
		return NULL;
	}
	target->append = wh_changelog_append_open(model->relid);
	if (!wh_changelog_append_is_plain(target->append))
	{
		wh_direct_close(target);
		return NULL;
	}
	target->member =
		AllocSetContextCreate(CurrentMemoryContext, "walhouse member", ALLOCSET_DEFAULT_SIZES);
	return target;
}

void
wh_direct_close(WhDirectTarget *target)
{
	wh_changelog_append_close(target->append);
	index_close(target->index, NoLock);
	relation_close(target->rel, NoLock);
	if (target->member != NULL)
		MemoryContextDelete(target->member);
}

/* may_write says whether the current user may, and nothing but walhouse has a say in what is
 * written. */
static bool
may_write(Relation rel)
{
	AclMode modes[] = {ACL_SELECT, ACL_INSERT, ACL_UPDATE};

	if (rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rel->relrowsecurity ||
		rel->rd_rel->relhassubclass || rel->rd_rel->relispartition || rel->rd_rules != NULL)
		return false;
	for (int i = 0; i < lengthof(modes); i++)
		if (pg_class_aclcheck(RelationGetRelid(rel), GetUserId(), modes[i]) != ACLCHECK_OK)
			return false;
	return true;
}

/* find_places finds the columns that every dimension has. */
static bool
find_places(WhDirectTarget *target, const WhModel *model)
{
	target->sk = place_of(target, wh_dimension_sk(model));
	target->valid_from = place_of(target, "valid_from");
	target->valid_to = place_of(target, "valid_to");
	target->is_current = place_of(target, "is_current");
	target->is_inferred = place_of(target, "is_inferred");
	target->load_id = place_of(target, "load_id");
	target->is_deleted =
		target->on_delete == WH_DELETE_TOMBSTONE ? place_of(target, "is_deleted") : -1;
	if (target->sk < 0 || target->valid_from < 0 || target->valid_to < 0 ||
		target->is_current < 0 || target->is_inferred < 0 || target->load_id < 0 ||
		(target->on_delete == WH_DELETE_TOMBSTONE && target->is_deleted < 0))
		return false;
	target->sequence = wh_compat_identity_sequence(target->rel, target->sk + 1);
	return OidIsValid(target->sequence);
}

/* find_columns finds those that keep images' values; false: there are others, or their types are
 * not the query's. */
static bool
find_columns(WhDirectTarget *target, const WhModel *model, TupleDesc query)
{
	TupleDesc desc = RelationGetDescr(target->rel);
	List *attributes = wh_dimension_attributes(model->columns);
	List *versioned = wh_dimension_versioned_columns(model);
	int others = target->is_deleted < 0 ? 6 : 7;

	target->width = query->natts;
	target->own = palloc0(sizeof(Column *) * query->natts);
	target->versioned = palloc0(sizeof(bool) * query->natts);
	target->columns = palloc0(sizeof(Column) * (list_length(attributes) + 1));
	foreach_ptr(WhAttribute, attribute, attributes)
	{
		Column *column = &target->columns[target->count++];
		Form_pg_attribute ours;
		Form_pg_attribute theirs;

		column->keep = attribute->keep;
		column->place = place_of(target, attribute->name);
		while (list_nth(model->columns, column->source) != attribute->column)
			column->source++;
		if (column->place < 0)
			return false;
		ours = TupleDescAttr(desc, column->place);
		theirs = TupleDescAttr(query, column->source);
		if (ours->atttypid != theirs->atttypid ||
			(ours->atttypmod != -1 && ours->atttypmod != theirs->atttypmod))
			return false;
		column->by_value = ours->attbyval;
		column->length = ours->attlen;
		if (strcmp(attribute->name, attribute->column->name) == 0)
			target->own[column->source] = column;
		target->versioned[column->source] = list_member_ptr(versioned, attribute->column);
	}
	for (int i = 0; i < desc->natts; i++)
		others += TupleDescAttr(desc, i)->attisdropped ? 1 : 0;
	return target->natts == target->count + others;
}

/* find_index finds the unique index of key and valid_from, and what it compares with. */
static bool
find_index(WhDirectTarget *target, const WhModel *model)
{
	target->key_count = list_length(model->key);
	foreach_oid(relid, RelationGetIndexList(target->rel))
	{
		Relation index = index_open(relid, RowExclusiveLock);

		if (target->index == NULL && is_key_index(target, model, index))
			target->index = index;
		else
			index_close(index, NoLock);
	}
	if (target->index == NULL)
		return false;
	target->keys = palloc0(sizeof(ScanKeyData) * target->key_count);
	target->order = palloc0(sizeof(SortSupportData) * target->key_count);
	for (int i = 0; i < target->key_count; i++)
	{
		Oid family = target->index->rd_opfamily[i];
		Oid type = target->index->rd_opcintype[i];
		Oid equal = get_opfamily_member(family, type, type, BTEqualStrategyNumber);
		SortSupport order = &target->order[i];

		ScanKeyEntryInitialize(&target->keys[i], 0, i + 1, BTEqualStrategyNumber, InvalidOid,
							   target->index->rd_indcollation[i], get_opcode(equal), (Datum) 0);
		order->ssup_cxt = CurrentMemoryContext;
		order->ssup_collation = target->index->rd_indcollation[i];
		PrepareSortSupportFromOrderingOp(
			get_opfamily_member(family, type, type, BTLessStrategyNumber), order);
	}
	return true;
}

static bool
is_key_index(const WhDirectTarget *target, const WhModel *model, Relation index)
{
	Form_pg_index form = index->rd_index;

	if (index->rd_rel->relam != BTREE_AM_OID || !form->indisunique || !form->indisvalid ||
		!form->indimmediate || form->indnkeyatts != target->key_count + 1 ||
		RelationGetIndexPredicate(index) != NIL ||
		form->indkey.values[target->key_count] != target->valid_from + 1 ||
		index->rd_indoption[target->key_count] != 0)
		return false;
	for (int i = 0; i < target->key_count; i++)
	{
		WhModelColumn *column = list_nth(model->key, i);

		if (form->indkey.values[i] != place_of(target, column->name) + 1)
			return false;
	}
	return true;
}

/* place_of is where a column stands in the table; -1: nowhere. */
static int
place_of(const WhDirectTarget *target, const char *name)
{
	return get_attnum(RelationGetRelid(target->rel), name) - 1;
}

void
wh_direct_write(WhDirectTarget *target, WhMemberBatch *batch)
{
	PushActiveSnapshot(GetTransactionSnapshot());
	target->context = batch->context;
	target->slot = table_slot_create(target->rel, NULL);
	target->reader = wh_probe_open(target->rel, target->index, target->keys, target->key_count,
								   GetActiveSnapshot(), BackwardScanDirection);
	qsort_arg(batch->members, batch->count, sizeof(WhMember *), compare_members, target);
	for (int i = 0; i < batch->count; i++)
	{
		MemoryContext caller = MemoryContextSwitchTo(target->member);

		CHECK_FOR_INTERRUPTS();
		write_member(target, batch->members[i]);
		wh_dimension_memory_forget(target->model, batch->members[i]->key);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(target->member);
	}
	wh_probe_close(target->reader);
	ExecDropSingleTupleTableSlot(target->slot);
	wh_changelog_append_flush(target->append);
	PopActiveSnapshot();
	CommandCounterIncrement();
}

/* compare_members: by key, so that neighbours in the index are looked up and entered one after the
 * other. */
static int
compare_members(const void *a, const void *b, void *arg)
{
	const WhMember *left = *(WhMember *const *) a;
	const WhMember *right = *(WhMember *const *) b;
	WhDirectTarget *target = arg;
	int result = 0;

	for (int i = 0; result == 0 && i < target->key_count; i++)
		result = ApplySortComparator(left->key[i], false, right->key[i], false, &target->order[i]);
	return result;
}

static void
write_member(WhDirectTarget *target, const WhMember *member)
{
	Story story = {.member = member};

	seek(target, member);
	story.seed = next_row(target);
	begin_story(target, &story);
	tell_story(target, &story);
	if (story.seed != NULL)
		update_rows(target, &story);
	add_versions(target, &story);
}

/* begin_story: what the seed says. */
static void
begin_story(WhDirectTarget *target, Story *story)
{
	const Row *seed = story->seed;

	story->values = palloc0(sizeof(Datum) * target->count);
	story->nulls = palloc(sizeof(bool) * target->count);
	memset(story->nulls, true, sizeof(bool) * target->count);
	story->edge = DT_NOBEGIN;
	if (seed == NULL)
		return;
	story->was_inferred = DatumGetBool(seed->values[target->is_inferred]);
	story->seed_is_live =
		!story->was_inferred && DatumGetBool(seed->values[target->is_current]);
	if (!story->was_inferred)
	{
		story->edge = DatumGetTimestampTz(
			seed->values[story->seed_is_live ? target->valid_from : target->valid_to]);
		story->valued = seed_image(target, story);
	}
	for (int i = 0; i < target->count; i++)
	{
		story->values[i] = seed->values[target->columns[i].place];
		story->nulls[i] = seed->nulls[target->columns[i].place];
	}
}

static Image
seed_image(const WhDirectTarget *target, const Story *story)
{
	Datum *values = palloc(sizeof(Datum) * target->width);
	bool *nulls = palloc(sizeof(bool) * target->width);

	for (int i = 0; i < target->width; i++)
	{
		values[i] = story->seed->values[target->own[i]->place];
		nulls[i] = story->seed->nulls[target->own[i]->place];
	}
	return (Image){story->seed_is_live, values, nulls};
}

/* tell_story goes through the events. */
static void
tell_story(WhDirectTarget *target, Story *story)
{
	Image before = story->valued;
	const WhMemberEvent *event = first_event(target, story->member);

	for (; event != NULL; event = event->next)
	{
		if (!event->is_live && target->on_delete != WH_DELETE_CLOSE)
			continue;
		if (event->is_live ? !before.is_live || opens_version(target, &before, event) :
							 before.is_live)
			add_move(story, event);
		if (event->is_live)
			take_image(target, story, event);
		before = (Image){event->is_live, event->values, event->nulls};
	}
}

/* first_event: with purge, what was before the last delete has never been. */
static const WhMemberEvent *
first_event(const WhDirectTarget *target, const WhMember *member)
{
	const WhMemberEvent *first = member->first;

	if (target->on_delete != WH_DELETE_PURGE)
		return first;
	for (const WhMemberEvent *event = first; event != NULL; event = event->next)
		if (!event->is_live)
			first = event->next;
	return first;
}

/* take_image: what a live event changes of what all versions have. */
static void
take_image(WhDirectTarget *target, Story *story, const WhMemberEvent *event)
{
	const Image *valued = &story->valued;

	for (int i = 0; i < target->count; i++)
	{
		const Column *column = &target->columns[i];
		int source = column->source;
		const Datum *values = event->values;
		const bool *nulls = event->nulls;

		if (column->keep == WH_KEEP_VERSION ||
			(column->keep == WH_KEEP_FIRST && valued->values != NULL))
			continue;
		if (column->keep == WH_KEEP_PREVIOUS)
		{
			if (valued->values == NULL || is_same(column, valued->values[source],
												  valued->nulls[source], values[source],
												  nulls[source]))
				continue;
			values = valued->values;
			nulls = valued->nulls;
		}
		story->values[i] = values[source];
		story->nulls[i] = nulls[source];
	}
	story->valued = (Image){true, event->values, event->nulls};
	story->last = event;
}

static void
add_move(Story *story, const WhMemberEvent *event)
{
	Move *move = palloc(sizeof(Move));

	move->event = event;
	move->next = DT_NOEND;
	if (story->moves == NIL && (story->seed == NULL || story->was_inferred))
		move->at = DT_NOBEGIN;
	else
		move->at = Max(event->clock, story->edge == DT_NOBEGIN ? DT_NOBEGIN : story->edge + 1);
	if (story->moves != NIL)
		((Move *) llast(story->moves))->next = move->at;
	story->edge = move->at;
	story->moves = lappend(story->moves, move);
}

static bool
opens_version(const WhDirectTarget *target, const Image *before, const WhMemberEvent *event)
{
	for (int i = 0; i < target->width; i++)
	{
		if (target->versioned[i] && !is_same(target->own[i], before->values[i], before->nulls[i],
											 event->values[i], event->nulls[i]))
			return true;
	}
	return false;
}

/* is_same: of one image, as record_image_eq says. */
static bool
is_same(const Column *column, Datum a, bool a_null, Datum b, bool b_null)
{
	if (a_null || b_null)
		return a_null && b_null;
	return datum_image_eq(a, b, column->by_value, column->length);
}

/* overwrites says whether what all versions have is other than what the seed has. */
static bool
overwrites(const WhDirectTarget *target, const Story *story)
{
	if (story->last == NULL)
		return false;
	for (int i = 0; i < target->count; i++)
	{
		const Column *column = &target->columns[i];

		if ((column->keep == WH_KEEP_LAST || column->keep == WH_KEEP_PREVIOUS) &&
			!is_same(column, story->seed->values[column->place], story->seed->nulls[column->place],
					 story->values[i], story->nulls[i]))
			return true;
	}
	return false;
}

/* update_rows closes, fills and overwrites rows that are there: the seed, or all. */
static void
update_rows(WhDirectTarget *target, const Story *story)
{
	List *rows = NIL;
	Row *row;

	if (!overwrites(target, story))
	{
		if (story->moves != NIL && (story->seed_is_live || story->was_inferred))
			update_row(target, story, story->seed);
		return;
	}
	seek(target, story->member);
	while ((row = next_row(target)) != NULL)
		rows = lappend(rows, row);
	foreach_ptr(Row, one, rows)
		update_row(target, story, one);
}

static void
update_row(WhDirectTarget *target, const Story *story, Row *row)
{
	const Move *move = story->moves == NIL ? NULL : linitial(story->moves);
	bool is_seed = ItemPointerEquals(&row->tid, &story->seed->tid);
	bool closes = move != NULL && story->seed_is_live;
	bool fills = move != NULL && story->was_inferred;

	row->values[target->load_id] = Int64GetDatum(target->load->id);
	if (fills)
		row->values[target->is_inferred] = BoolGetDatum(false);
	if (closes && target->is_deleted >= 0)
		row->values[target->is_deleted] = BoolGetDatum(false);
	if (is_seed && (closes || fills))
	{
		TimestampTz to = closes ? move->at : move->next;

		row->values[target->valid_to] = TimestampTzGetDatum(to);
		row->values[target->is_current] = BoolGetDatum(to == DT_NOEND);
	}
	for (int i = 0; i < target->count; i++)
	{
		const Column *column = &target->columns[i];
		bool is_last = column->keep == WH_KEEP_LAST || column->keep == WH_KEEP_PREVIOUS;
		bool is_own = column->keep == WH_KEEP_VERSION;

		if (is_last ? story->last == NULL : !fills)
			continue;
		row->values[column->place] =
			is_own ? move->event->values[column->source] : story->values[i];
		row->nulls[column->place] = is_own ? move->event->nulls[column->source] : story->nulls[i];
	}
	wh_changelog_update_row(target->append, &row->tid, row->values, row->nulls);
	target->counts->updated++;
}

/* add_versions inserts the versions that begin, but for the one that an inferred member becomes. */
static void
add_versions(WhDirectTarget *target, const Story *story)
{
	MemoryContext caller = MemoryContextSwitchTo(target->context);

	if (story->moves != NIL && story->seed_is_live)
		target->counts->closed++;
	foreach_ptr(Move, move, story->moves)
	{
		if (!move->event->is_live)
			continue;
		target->counts->opened++;
		target->counts->closed += move->next != DT_NOEND;
		if (!(story->was_inferred && move == linitial(story->moves)))
			insert_version(target, story, move);
	}
	MemoryContextSwitchTo(caller);
}

/* insert_version: what does not come from the event may be the seed's, which is in the member's
 * memory. */
static void
insert_version(WhDirectTarget *target, const Story *story, const Move *move)
{
	Datum *values = palloc0(sizeof(Datum) * target->natts);
	bool *nulls = palloc(sizeof(bool) * target->natts);

	memset(nulls, true, sizeof(bool) * target->natts);
	for (int i = 0; i < target->count; i++)
	{
		const Column *column = &target->columns[i];
		bool is_own = column->keep == WH_KEEP_VERSION;
		Datum value = is_own ? move->event->values[column->source] : story->values[i];
		bool isnull = is_own ? move->event->nulls[column->source] : story->nulls[i];

		if (!isnull && (column->keep == WH_KEEP_FIRST || column->keep == WH_KEEP_PREVIOUS))
			value = datumCopy(value, column->by_value, column->length);
		values[column->place] = value;
		nulls[column->place] = isnull;
	}
	values[target->sk] = Int64GetDatum(nextval_internal(target->sequence, true));
	values[target->valid_from] = TimestampTzGetDatum(move->at);
	values[target->valid_to] = TimestampTzGetDatum(move->next);
	values[target->is_current] = BoolGetDatum(move->next == DT_NOEND);
	values[target->is_inferred] = BoolGetDatum(false);
	values[target->load_id] = Int64GetDatum(target->load->id);
	nulls[target->sk] = nulls[target->valid_from] = nulls[target->valid_to] =
		nulls[target->is_current] = nulls[target->is_inferred] = nulls[target->load_id] = false;
	if (target->is_deleted >= 0)
		nulls[target->is_deleted] = false; /* the value is false */
	wh_changelog_append(target->append, values, nulls);
	target->counts->inserted++;
}

/* seek goes behind the last version of a member; next_row reads backwards from there. */
static void
seek(WhDirectTarget *target, const WhMember *member)
{
	for (int i = 0; i < target->key_count; i++)
		target->keys[i].sk_argument = member->key[i];
	wh_probe_find(target->reader);
}

static Row *
next_row(WhDirectTarget *target)
{
	HeapTuple tuple;
	Row *row;

	if (!wh_probe_next(target->reader, target->slot))
		return NULL;
	row = palloc(sizeof(Row));
	tuple = ExecCopySlotHeapTuple(target->slot);
	row->tid = target->slot->tts_tid;
	row->values = palloc(sizeof(Datum) * target->natts);
	row->nulls = palloc(sizeof(bool) * target->natts);
	heap_deform_tuple(tuple, RelationGetDescr(target->rel), row->values, row->nulls);
	ExecClearTuple(target->slot);
	return row;
}
