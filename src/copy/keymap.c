/*
 * keymap.c
 *		The rows of one table that an ingest touches, by key: what they were, and what they are
 * now.
 *
 * Keys are equal where the mirror's index says so: 1.0 and 1.00 are one numeric key, -0 and 0 one
 * float.  A row is read from the mirror through that index when its key is first seen; from then
 * on the map is the truth, until its end state is written and the map is emptied.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "base/base.h"
#include "copy/copy_private.h"

/* A map begins as large as the one before it was, up to this. */
#define MAX_START 65536

/* How values of one key column are compared. */
typedef struct KeyColumn
{
	int attno; /* in the mirror, from 0 */
	Form_pg_attribute attribute;
	Oid collation;
	FmgrInfo *equal; /* of the mirror's index */
	FmgrInfo *hash; /* NULL: hashed by its bytes, or not at all */
	bool hash_bytes;
} KeyColumn;

typedef struct Slot
{
	Datum *key;
	WhRow *row;
	uint32 hash;
	char status;
} Slot;

static uint32 hash_key(WhKeymap *map, Datum *key);
static bool equal_keys(WhKeymap *map, Datum *a, Datum *b);

#define SH_PREFIX rows
#define SH_ELEMENT_TYPE Slot
#define SH_KEY_TYPE Datum *
#define SH_KEY key
#define SH_HASH_KEY(tb, k) hash_key((WhKeymap *) (tb)->private_data, k)
#define SH_EQUAL(tb, a, b) equal_keys((WhKeymap *) (tb)->private_data, a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) (a)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct WhKeymap
{
	const WhTarget *target;
	Relation mirror;
	Relation index;
	KeyColumn *columns; /* in the index's order */
	ScanKeyData *scan_keys;
	TupleTableSlot *slot;
	WhProbe *reader; /* with the snapshot that is active until the map is emptied; NULL: none yet
						   */
	MemoryContext context; /* of the table and the list */
	rows_hash *table; /* NULL: it is empty */
	uint32 met; /* how many keys there were before it was emptied last */
	List *rows;
	Datum *probe;
	MemoryContext kept_context; /* not a child of what a chunk may fill; NULL: nothing is kept */
	rows_hash *kept; /* keys without rows, touched by this transaction before the map was emptied */
};

static void open_column(WhKeymap *map, int i);
static void keep_key(WhKeymap *map, const Datum *key);
static void begin_reading(WhKeymap *map);
static void end_reading(WhKeymap *map);
static void read_row(WhKeymap *map, WhRow *row, XLogRecPtr txn_lsn);
static void take_key(WhKeymap *map, const WhImage *image, Datum *key);

WhKeymap *
wh_keymap_open(const WhTarget *target, Relation mirror)
{
	WhKeymap *map = palloc0(sizeof(WhKeymap));

	map->target = target;
	map->mirror = mirror;
	map->index = index_open(wh_changelog_key_index(RelationGetRelid(mirror)), AccessShareLock);
	if (map->index->rd_index->indnkeyatts != target->nkeys)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the primary key of mirror \"%s\" was altered", RelationGetRelationName(mirror))));
	map->columns = palloc0(sizeof(KeyColumn) * target->nkeys);
	map->scan_keys = palloc0(sizeof(ScanKeyData) * target->nkeys);
	map->probe = palloc(sizeof(Datum) * target->nkeys);
	for (int i = 0; i < target->nkeys; i++)
		open_column(map, i);
	map->slot = table_slot_create(mirror, NULL);
	map->context =
		AllocSetContextCreate(CurrentMemoryContext, "walhouse keys", ALLOCSET_DEFAULT_SIZES);
	map->met = target->met;
	return map;
}

/* open_column takes the index's own equality, and a hash that agrees with it. */
static void
open_column(WhKeymap *map, int i)
{
	KeyColumn *column = &map->columns[i];
	Oid opfamily = map->index->rd_opfamily[i];
	Oid type = map->index->rd_opcintype[i];
	TypeCacheEntry *cache;
	Oid equal;

	column->attno = map->index->rd_index->indkey.values[i] - 1;
	column->attribute = TupleDescAttr(map->target->desc, column->attno);
	column->collation = map->index->rd_indcollation[i];
	equal = get_opcode(get_opfamily_member(opfamily, type, type, BTEqualStrategyNumber));
	if (!OidIsValid(equal))
		elog(ERROR, "missing equality of operator family %u", opfamily);
	column->equal = palloc0(sizeof(FmgrInfo));
	fmgr_info(equal, column->equal);
	cache = lookup_type_cache(column->attribute->atttypid,
							  TYPECACHE_HASH_PROC_FINFO | TYPECACHE_EQ_OPR);
	if (OidIsValid(cache->hash_proc))
		column->hash = &cache->hash_proc_finfo;
	else
		column->hash_bytes =
			column->attribute->atttypid == BITOID || column->attribute->atttypid == VARBITOID;
	ScanKeyEntryInitialize(&map->scan_keys[i], 0, i + 1, BTEqualStrategyNumber, InvalidOid,
						   column->collation, equal, (Datum) 0);
}

uint32
wh_keymap_close(WhKeymap *map)
{
	end_reading(map);
	if (map->kept_context != NULL)
		MemoryContextDelete(map->kept_context);
	ExecDropSingleTupleTableSlot(map->slot);
	index_close(map->index, NoLock);
	return map->met;
}

void
wh_keymap_reset(WhKeymap *map)
{
	if (map->table != NULL)
		map->met = map->table->members;
	map->table = NULL;
	end_reading(map);
	MemoryContextReset(map->context);
	map->rows = NIL;
}

void
wh_keymap_reset_to_touched(WhKeymap *map, XLogRecPtr txn_lsn)
{
	if (map->kept_context == NULL)
	{
		map->kept_context =
			AllocSetContextCreate(MemoryContextGetParent(GetMemoryChunkContext(map)),
								  "walhouse touched keys", ALLOCSET_DEFAULT_SIZES);
		map->kept = rows_create(map->kept_context, 256, map);
	}
	foreach_ptr(WhRow, row, map->rows)
	{
		if (row->touched == txn_lsn)
			keep_key(map, row->key);
	}
	wh_keymap_reset(map);
}

static void
keep_key(WhKeymap *map, const Datum *key)
{
	MemoryContext old = MemoryContextSwitchTo(map->kept_context);
	int nkeys = map->target->nkeys;
	bool found;
	Slot *slot;

	memcpy(map->probe, key, sizeof(Datum) * nkeys);
	slot = rows_insert(map->kept, map->probe, &found);
	if (!found)
	{
		slot->row = NULL;
		slot->key = palloc(sizeof(Datum) * nkeys);
		for (int i = 0; i < nkeys; i++)
			slot->key[i] = datumCopy(key[i], map->columns[i].attribute->attbyval,
									 map->columns[i].attribute->attlen);
	}
	MemoryContextSwitchTo(old);
}

static void
end_reading(WhKeymap *map)
{
	if (map->reader != NULL)
		wh_probe_close(map->reader);
	map->reader = NULL;
}

List *
wh_keymap_rows(WhKeymap *map)
{
	return map->rows;
}

static uint32
hash_key(WhKeymap *map, Datum *key)
{
	uint32 hash = 0;

	for (int i = 0; i < map->target->nkeys; i++)
	{
		KeyColumn *column = &map->columns[i];
		uint32 one = 0;

		if (column->hash != NULL)
			one = DatumGetUInt32(FunctionCall1Coll(column->hash, column->collation, key[i]));
		else if (column->hash_bytes)
			one = datum_image_hash(key[i], column->attribute->attbyval, column->attribute->attlen);
		hash = hash_combine(hash, one);
	}
	return murmurhash32(hash);
}

static bool
equal_keys(WhKeymap *map, Datum *a, Datum *b)
{
	for (int i = 0; i < map->target->nkeys; i++)
	{
		if (!DatumGetBool(
				FunctionCall2Coll(map->columns[i].equal, map->columns[i].collation, a[i], b[i])))
			return false;
	}
	return true;
}

bool
wh_keymap_same_key(WhKeymap *map, const WhImage *a, const WhImage *b)
{
	Datum *key = palloc(sizeof(Datum) * map->target->nkeys);

	take_key(map, a, key);
	take_key(map, b, map->probe);
	return equal_keys(map, key, map->probe);
}

/* take_key takes an image's key, in the index's order. */
static void
take_key(WhKeymap *map, const WhImage *image, Datum *key)
{
	for (int i = 0; i < map->target->nkeys; i++)
	{
		int attno = map->columns[i].attno;

		if (image->nulls[attno])
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("a change of table \"%s\" came without a value for key column \"%s\"",
							map->target->table->source_name,
							NameStr(map->columns[i].attribute->attname))));
		key[i] = image->values[attno];
	}
}

WhRow *
wh_keymap_find(WhKeymap *map, const WhImage *image, bool is_new, XLogRecPtr txn_lsn)
{
	bool found;
	Slot *slot;
	WhRow *row;
	MemoryContext old;

	if (map->table == NULL)
		map->table = rows_create(map->context, Min(Max(map->met, 256), MAX_START), map);
	take_key(map, image, map->probe);
	slot = rows_insert(map->table, map->probe, &found);
	if (found)
		return slot->row;
	row = palloc0(sizeof(WhRow));
	row->key = palloc(sizeof(Datum) * map->target->nkeys);
	memcpy(row->key, map->probe, sizeof(Datum) * map->target->nkeys);
	slot->key = row->key;
	slot->row = row;
	old = MemoryContextSwitchTo(map->context);
	map->rows = lappend(map->rows, row);
	MemoryContextSwitchTo(old);
	if (map->kept != NULL && rows_lookup(map->kept, map->probe) != NULL)
		row->touched = txn_lsn;
	if (!is_new)
		read_row(map, row, txn_lsn);
	return row;
}

/* read_row looks a key up in the mirror. */
static void
read_row(WhKeymap *map, WhRow *row, XLogRecPtr txn_lsn)
{
	bool is_own;

	if (map->reader == NULL)
		begin_reading(map);
	for (int i = 0; i < map->target->nkeys; i++)
		map->scan_keys[i].sk_argument = row->key[i];
	wh_probe_find(map->reader);
	if (wh_probe_next(map->reader, map->slot))
	{
		row->image = wh_keymap_image(map->target, map->slot, &row->tid, &is_own);
		row->in_mirror = true;
		if (is_own)
			row->touched = txn_lsn;
	}
	ExecClearTuple(map->slot);
}

static void
begin_reading(WhKeymap *map)
{
	MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(map));

	map->reader = wh_probe_open(map->mirror, map->index, map->scan_keys, map->target->nkeys,
								GetActiveSnapshot(), ForwardScanDirection);
	MemoryContextSwitchTo(old);
}

WhImage *
wh_keymap_image(const WhTarget *target, TupleTableSlot *slot, ItemPointer tid, bool *is_own)
{
	WhImage *image = wh_image_create(target->desc->natts);
	bool isnull;
	TransactionId xmin =
		DatumGetTransactionId(slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull));
	HeapTuple tuple = ExecCopySlotHeapTuple(slot);

	*tid = slot->tts_tid;
	*is_own = TransactionIdIsCurrentTransactionId(xmin);
	heap_deform_tuple(tuple, slot->tts_tupleDescriptor, image->values, image->nulls);
	return image;
}

bool
wh_keymap_same_image(const WhTarget *target, const WhImage *a, const WhImage *b)
{
	for (int i = 0; i < target->desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(target->desc, i);

		if (a->nulls[i] != b->nulls[i])
			return false;
		if (!a->nulls[i] && !datum_image_eq(a->values[i], b->values[i], attribute->attbyval,
											attribute->attlen))
			return false;
	}
	return true;
}

char *
wh_keymap_describe(WhKeymap *map, const WhImage *image)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < map->target->nkeys; i++)
	{
		KeyColumn *column = &map->columns[i];
		Oid output;
		bool is_varlena;

		getTypeOutputInfo(column->attribute->atttypid, &output, &is_varlena);
		appendStringInfo(&text, "%s%s = %s", i > 0 ? ", " : "",
						 NameStr(column->attribute->attname),
						 image->nulls[column->attno] ?
							 "NULL" :
							 OidOutputFunctionCall(output, image->values[column->attno]));
	}
	return text.data;
}

WhImage *
wh_image_create(int natts)
{
	Size values = MAXALIGN(sizeof(WhImage));
	Size nulls = values + sizeof(Datum) * natts;
	char *piece = palloc(nulls + sizeof(bool) * natts);
	WhImage *image = (WhImage *) piece;

	image->values = (Datum *) (piece + values);
	image->nulls = (bool *) (piece + nulls);
	image->unchanged = NULL;
	return image;
}
