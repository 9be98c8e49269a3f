/*
 * keys.c
 *		Keys of one or several columns: hashed, compared, copied, with each type's own equality.
 *
 * Equal is what the default B-tree of a type says: 1.0 and 1.00 are one numeric, 0 and -0 one
 * float; the hash agrees with it.  Types whose equality is that of their bits, as most keys are,
 * are compared without a call.  NULL equals NULL: whoever has no use for that keeps NULLs away.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "base/base.h"

typedef struct Column
{
	bool is_plain; /* equal where the bits are */
	bool by_value;
	int16 length;
	Oid collation;
	FmgrInfo *equal; /* of the type cache, which keeps them for ever */
	FmgrInfo *hash;
} Column;

struct WhKeys
{
	int count;
	Column columns[FLEXIBLE_ARRAY_MEMBER];
};

static bool open_column(Column *column, Oid type, Oid collation);
static bool is_plain(Oid type);

WhKeys *
wh_keys_open(int count, const Oid *types, const Oid *collations)
{
	WhKeys *keys = palloc0(offsetof(WhKeys, columns) + sizeof(Column) * count);

	keys->count = count;
	for (int i = 0; i < count; i++)
	{
		if (!open_column(&keys->columns[i], types[i], collations[i]))
			return NULL;
	}
	return keys;
}

static bool
open_column(Column *column, Oid type, Oid collation)
{
	TypeCacheEntry *entry;

	if (OidIsValid(collation) && !get_collation_isdeterministic(collation))
		return false;
	get_typlenbyval(type, &column->length, &column->by_value);
	column->collation = collation;
	column->is_plain = is_plain(type);
	if (column->is_plain)
		return true;
	entry = lookup_type_cache(type, TYPECACHE_EQ_OPR_FINFO | TYPECACHE_HASH_PROC_FINFO);
	column->equal = &entry->eq_opr_finfo;
	column->hash = &entry->hash_proc_finfo;
	return OidIsValid(entry->eq_opr) && OidIsValid(entry->hash_proc);
}

static bool
is_plain(Oid type)
{
	switch (type)
	{
		case BOOLOID:
		case CHAROID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
		case DATEOID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return true;
		default:
			return false;
	}
}

uint32
wh_keys_hash(const WhKeys *keys, const Datum *values, const bool *nulls)
{
	uint32 hash = 0;

	for (int i = 0; i < keys->count; i++)
	{
		const Column *column = &keys->columns[i];
		uint32 one = 0;

		if (nulls != NULL && nulls[i])
			one = 0;
		else if (column->is_plain)
			one = murmurhash32((uint32) values[i] ^
							   murmurhash32((uint32) ((uint64) values[i] >> 32)));
		else
			one = DatumGetUInt32(FunctionCall1Coll(column->hash, column->collation, values[i]));
		hash = hash_combine(hash, one);
	}
	return hash;
}

bool
wh_keys_equal(const WhKeys *keys, const Datum *a, const bool *a_nulls, const Datum *b,
			  const bool *b_nulls)
{
	for (int i = 0; i < keys->count; i++)
	{
		const Column *column = &keys->columns[i];
		bool a_null = a_nulls != NULL && a_nulls[i];
		bool b_null = b_nulls != NULL && b_nulls[i];

		if (a_null != b_null)
			return false;
		if (a_null || (column->is_plain && a[i] == b[i]))
			continue;
		if (column->is_plain || !DatumGetBool(FunctionCall2Coll(column->equal, column->collation,
																a[i], b[i])))
			return false;
	}
	return true;
}

void
wh_keys_copy(const WhKeys *keys, Datum *to, const Datum *values, const bool *nulls)
{
	for (int i = 0; i < keys->count; i++)
	{
		const Column *column = &keys->columns[i];

		to[i] = column->by_value || (nulls != NULL && nulls[i]) ?
					values[i] :
					datumCopy(values[i], false, column->length);
	}
}
