/*
 * lookup.c
 *		Surrogate keys, by probes of a dimension's index, and by memory where a key comes again.
 *
 * What the SQL of a look-up says (dimension.h) is: a NULL in the key gives the member that stands
 * for it; else the version with the greatest valid_from at or before the instant; of a date, its
 * row.  Here the versions of a key are read once, by the unique index on key and valid_from, and
 * remembered, also for later loads (dimension/memory.c).  Nobody writes them meanwhile: dimensions
 * of the feed load before its facts, under the same lock.  What is missing is not remembered, since
 * the load itself makes missing members (wh_fact_lookup_renew).  A key of many versions is probed
 * each time.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "fact/direct_private.h"
#include "fact/fact.h"

#define MAX_VERSIONS 32

struct WhFactLookup
{
	const WhFactRole *role;
	bool is_date;
	int count; /* of columns of the key */
	Relation rel;
	Relation index;
	AttrNumber sk;
	AttrNumber valid_from; /* 0: has none */
	ScanKeyData *scan_keys; /* of the key, then of valid_from */
	Snapshot snapshot; /* NULL: nothing was read yet, and there is no reader */
	WhProbe *reader; /* by the key alone */
	IndexScanDesc scan_at; /* over key and instant; NULL: not needed yet */
	TupleTableSlot *slot;
	MemoryContext context; /* of the lookup */
	WhMemory *memory;
};

static bool may_read(Relation rel);
static Relation open_index(const WhFactLookup *lookup, const AttrNumber *attributes);
static bool open_keys(WhFactLookup *lookup, const WhLoad *load, const List *key,
					  const AttrNumber *attributes);
static void begin(WhFactLookup *lookup);
static void end(WhFactLookup *lookup);
static const WhFoundMember *read_member(WhFactLookup *lookup, const Datum *key);
static WhFoundVersion read_version(const WhFactLookup *lookup);
static bool probe(WhFactLookup *lookup, const Datum *key, TimestampTz instant, int64 *sk);

WhFactLookup *
wh_fact_lookup_open(const WhFactRole *role, const WhLoad *load)
{
	const WhModel *dimension = role->dimension;
	WhFactLookup *lookup;
	AttrNumber attributes[INDEX_MAX_KEYS];
	List *key;

	if (dimension->kind != WH_MODEL_DATE && dimension->kind != WH_MODEL_DIMENSION)
		return NULL;
	lookup = palloc0(sizeof(WhFactLookup));
	lookup->context = CurrentMemoryContext;
	lookup->role = role;
	lookup->is_date = dimension->kind == WH_MODEL_DATE;
	lookup->rel = table_open(dimension->relid, AccessShareLock);
	key = wh_dimension_key(dimension);
	lookup->count = list_length(key);
	lookup->sk = get_attnum(dimension->relid, wh_model_option(dimension, "sk"));
	if (!lookup->is_date)
		lookup->valid_from = get_attnum(dimension->relid, "valid_from");
	for (int i = 0; i < lookup->count; i++)
		attributes[i] =
			get_attnum(dimension->relid, ((WhModelColumn *) list_nth(key, i))->name);
	if (lookup->sk <= 0 || !may_read(lookup->rel) ||
		(lookup->index = open_index(lookup, attributes)) == NULL ||
		!open_keys(lookup, load, key, attributes))
	{
		wh_fact_lookup_close(lookup);
		return NULL;
	}
	lookup->slot = table_slot_create(lookup->rel, NULL);
	return lookup;
}

static bool
may_read(Relation rel)
{
	return rel->rd_rel->relkind == RELKIND_RELATION && !rel->rd_rel->relrowsecurity &&
		   pg_class_aclcheck(RelationGetRelid(rel), GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

/* open_index opens the unique index on the key's columns, in their order, and valid_from. */
static Relation
open_index(const WhFactLookup *lookup, const AttrNumber *attributes)
{
	int count = lookup->count + (lookup->is_date ? 0 : 1);

	foreach_oid(relid, RelationGetIndexList(lookup->rel))
	{
		Relation index = index_open(relid, AccessShareLock);
		Form_pg_index form = index->rd_index;
		bool fits = index->rd_rel->relam == BTREE_AM_OID && form->indisunique &&
					form->indisvalid && form->indnkeyatts == count &&
					RelationGetIndexPredicate(index) == NIL;

		for (int i = 0; fits && i < count; i++)
			fits = form->indkey.values[i] ==
					   (i < lookup->count ? attributes[i] : lookup->valid_from) &&
				   index->rd_indoption[i] == 0;
		if (fits)
			return index;
		index_close(index, AccessShareLock);
	}
	return NULL;
}

/* open_keys makes the scan keys, and what remembers by the same columns. */
static bool
open_keys(WhFactLookup *lookup, const WhLoad *load, const List *key,
		  const AttrNumber *attributes)
{
	TupleDesc desc = RelationGetDescr(lookup->rel);
	Oid types[INDEX_MAX_KEYS];
	Oid collations[INDEX_MAX_KEYS];

	lookup->scan_keys = palloc0(sizeof(ScanKeyData) * (lookup->count + 1));
	for (int i = 0; i < lookup->count + (lookup->is_date ? 0 : 1); i++)
	{
		StrategyNumber strategy =
			i < lookup->count ? BTEqualStrategyNumber : BTLessEqualStrategyNumber;
		Oid type = lookup->index->rd_opcintype[i];
		Oid function = get_opcode(
			get_opfamily_member(lookup->index->rd_opfamily[i], type, type, strategy));

		if (!OidIsValid(function))
			return false;
		ScanKeyEntryInitialize(&lookup->scan_keys[i], 0, i + 1, strategy, InvalidOid,
							   lookup->index->rd_indcollation[i], function, (Datum) 0);
		if (i == lookup->count)
			continue;
		types[i] = TupleDescAttr(desc, attributes[i] - 1)->atttypid;
		collations[i] = TupleDescAttr(desc, attributes[i] - 1)->attcollation;
		if (types[i] != ((WhModelColumn *) list_nth(key, i))->type)
			return false;
	}
	lookup->memory = wh_dimension_memory_open(lookup->role->dimension, load, lookup->count, types,
											  collations);
	return lookup->memory != NULL;
}

static void
begin(WhFactLookup *lookup)
{
	MemoryContext caller = MemoryContextSwitchTo(lookup->context);

	lookup->snapshot = RegisterSnapshot(GetTransactionSnapshot());
	lookup->reader = wh_probe_open(lookup->rel, lookup->index, lookup->scan_keys, lookup->count,
								   lookup->snapshot, ForwardScanDirection);
	MemoryContextSwitchTo(caller);
}

static void
end(WhFactLookup *lookup)
{
	if (lookup->snapshot == NULL)
		return;
	wh_probe_close(lookup->reader);
	if (lookup->scan_at != NULL)
		index_endscan(lookup->scan_at);
	UnregisterSnapshot(lookup->snapshot);
	lookup->snapshot = NULL;
	lookup->reader = NULL;
	lookup->scan_at = NULL;
}

void
wh_fact_lookup_renew(WhFactLookup *lookup)
{
	end(lookup);
}

void
wh_fact_lookup_close(WhFactLookup *lookup)
{
	end(lookup);
	if (lookup->slot != NULL)
		ExecDropSingleTupleTableSlot(lookup->slot);
	if (lookup->index != NULL)
		index_close(lookup->index, NoLock);
	table_close(lookup->rel, NoLock);
}

bool
wh_fact_lookup_find(WhFactLookup *lookup, const Datum *key, const bool *nulls,
					TimestampTz instant, int64 *sk)
{
	const WhFoundMember *member;

	*sk = lookup->role->null_sk;
	for (int i = 0; i < lookup->count; i++)
	{
		if (nulls[i])
			return true;
	}
	if (lookup->is_date && DATE_NOT_FINITE(DatumGetDateADT(key[0])))
		return true;
	member = wh_dimension_memory_find(lookup->memory, key);
	if (member == NULL)
		member = read_member(lookup, key);
	if (member == NULL)
		return false;
	if (member->count == 0)
		return probe(lookup, key, instant, sk);
	for (int i = member->count - 1; i >= 0; i--)
	{
		if (member->versions[i].from > instant)
			continue;
		*sk = member->versions[i].sk;
		return true;
	}
	return false;
}

/* read_member reads the versions of a key, and remembers them; NULL: there is no member. */
static const WhFoundMember *
read_member(WhFactLookup *lookup, const Datum *key)
{
	WhFoundVersion versions[MAX_VERSIONS];
	int count = 0;

	if (lookup->snapshot == NULL)
		begin(lookup);
	for (int i = 0; i < lookup->count; i++)
		lookup->scan_keys[i].sk_argument = key[i];
	wh_probe_find(lookup->reader);
	while (wh_probe_next(lookup->reader, lookup->slot))
	{
		if (count < MAX_VERSIONS)
			versions[count] = read_version(lookup);
		if (++count > MAX_VERSIONS)
			break;
	}
	ExecClearTuple(lookup->slot);
	if (count == 0)
		return NULL;
	return wh_dimension_memory_add(lookup->memory, key, versions,
								   count > MAX_VERSIONS ? 0 : count);
}

/* read_version reads the row that the slot holds. */
static WhFoundVersion
read_version(const WhFactLookup *lookup)
{
	WhFoundVersion version = {DT_NOBEGIN};
	bool isnull;

	version.sk = DatumGetInt64(slot_getattr(lookup->slot, lookup->sk, &isnull));
	if (lookup->valid_from > 0)
		version.from =
			DatumGetTimestampTz(slot_getattr(lookup->slot, lookup->valid_from, &isnull));
	return version;
}

/* probe looks for one version of a key that has many. */
static bool
probe(WhFactLookup *lookup, const Datum *key, TimestampTz instant, int64 *sk)
{
	MemoryContext caller;
	bool found;

	if (lookup->snapshot == NULL)
		begin(lookup);
	caller = MemoryContextSwitchTo(lookup->context);
	if (lookup->scan_at == NULL)
		lookup->scan_at = wh_compat_index_beginscan(lookup->rel, lookup->index, lookup->snapshot,
													lookup->count + 1);
	for (int i = 0; i < lookup->count; i++)
		lookup->scan_keys[i].sk_argument = key[i];
	lookup->scan_keys[lookup->count].sk_argument = TimestampTzGetDatum(instant);
	index_rescan(lookup->scan_at, lookup->scan_keys, lookup->count + 1, NULL, 0);
	found = index_getnext_slot(lookup->scan_at, BackwardScanDirection, lookup->slot);
	if (found)
		*sk = read_version(lookup).sk;
	ExecClearTuple(lookup->slot);
	MemoryContextSwitchTo(caller);
	return found;
}
