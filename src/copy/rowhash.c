/*
 * rowhash.c
 *		The hash of a row, as SQL that either side can compute, and in C for a mirror's rows.
 *
 * The hash is a chain: the key's hash is the seed of the first column's, which is the seed of the
 * next one's, so that values can trade places neither within a row nor between rows.  Each column
 * goes in whole, with whether it is NULL: two rows of a key that are not the same have the same
 * hash by chance alone, one in 2^64, and by another one in each comparison, for it has its own
 * seed.
 *
 * PostgreSQL's hashes are made for equality, and are not enough by themselves.  Those of bigint and
 * of times fold 64 bits to 32: so an integer is a seed, of which all bits count, and a time is
 * hashed together with its multiple of 2^32 microseconds and its sign, which say what was folded
 * into what.  That of numeric knows neither sign nor scale; those of float and jsonb are coarser,
 * too, and a collation may be: all these, and types without a hash, go in as text, which both
 * sessions write under the same settings, and texts by their bytes.
 *
 * The source computes what number_sql and hash_sql say.  The mirror's rows are hashed by the same
 * functions in C, a third of the work; where an extension's type is among the columns, by SQL.
 * Where both sides hash differently all the same (another byte order, another version of an
 * extension), parts differ whose rows do not: that costs time, and nothing else.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "mb/pg_wchar.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/cash.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/base.h"
#include "copy/copy_private.h"

#define STRIDE INT64CONST(0x100000000) /* µs */
/* A multiple of STRIDE above the first of all timestamps, so that rounding down stays in range. */
#define ORIGIN INT64CONST(1092591616)
#define ORIGIN_SQL "'2000-01-01 00:18:12.591616'::pg_catalog.timestamp"
#define EPOCH_SQL "'2000-01-01'::pg_catalog.timestamp"

/* How a column goes in. */
typedef enum Kind
{
	AS_INTEGER,
	AS_TIME,
	AS_UUID,
	AS_TEXT,
	AS_BYTES, /* bytea, money; where the source has another encoding, texts */
} Kind;

/* A column as C hashes it. */
typedef struct Column
{
	int attnum; /* at the source */
	int attno; /* in the mirror */
	Oid type;
	Kind kind;
	bool has_text; /* its values are texts; else output makes them so */
	FmgrInfo output;
} Column;

struct WhRowHasher
{
	const WhParts *parts;
	int key_count;
	int count;
	Column *columns; /* those of the key first */
	int last; /* attno that is needed */
	MemoryContext row;
};

static List *hashed_columns(const WhSide *side, bool of_key);
static char *key_hash_sql(const WhSide *side);
static char *chain_sql(const WhSide *side, const List *columns, char *seed);
static Kind kind_of(const WhSide *side, Oid type);
static char *integer_sql(const WhSide *side, const WhSourceColumn *column);
static char *time_sql(const WhSide *side, const WhSourceColumn *column, const char *seed);
static char *bytes_sql(const WhSide *side, const WhSourceColumn *column);
static char *text_sql(const WhSide *side, const WhSourceColumn *column);
static bool casts_by_output(Oid type);
static bool add_column(WhRowHasher *hasher, const WhSide *side, Relation mirror,
					   const WhSourceColumn *source);
static uint64 hash_columns(const WhRowHasher *hasher, TupleTableSlot *slot, int first, int end,
						   uint64 hash);
static uint64 hash_column(const WhRowHasher *hasher, Column *column, Datum value, bool is_null,
						  uint64 seed);
static int64 as_integer(Oid type, Datum value);
static uint64 hash_time(const Column *column, Datum value, bool is_null, uint64 seed);
static uint64 hash_folded(int64 value, uint64 seed);
static uint64 hash_text(Column *column, Datum value, uint64 seed);

/* -------- both sides -------- */

const char *
wh_side_name(const WhSide *side, const WhSourceColumn *column)
{
	if (side->table == NULL)
		return column->name;
	foreach_ptr(WhFeedColumn, have, side->table->columns)
	{
		if (have->attnum == column->attnum)
			return have->mirror_column;
	}
	elog(ERROR, "column %d of table \"%s\" is not in the catalog", column->attnum,
		 side->table->source_name);
	return NULL;
}

static Oid
type_of(const WhSourceColumn *column)
{
	bool is_text;

	return wh_changelog_local_type(column, &is_text);
}

const WhSourceColumn *
wh_row_integer_key(const WhSourceTable *source)
{
	foreach_ptr(WhSourceColumn, column, source->columns)
	{
		Oid type = type_of(column);

		if (list_length(source->key) == 1 && column->attnum == linitial_int(source->key) &&
			(type == INT2OID || type == INT4OID || type == INT8OID))
			return column;
	}
	return NULL;
}

/* hashed_columns are those of the key, in its order, or all others. */
static List *
hashed_columns(const WhSide *side, bool of_key)
{
	List *result = NIL;

	for (int i = 0; i < (of_key ? list_length(side->source->key) : 1); i++)
	{
		foreach_ptr(WhSourceColumn, column, side->source->columns)
		{
			if (of_key ? column->attnum == list_nth_int(side->source->key, i) :
						 !list_member_int(side->source->key, column->attnum))
				result = lappend(result, column);
		}
	}
	return result;
}

static Kind
kind_of(const WhSide *side, Oid type)
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
			return AS_INTEGER;
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return AS_TIME;
		case UUIDOID:
			return AS_UUID;
		case BYTEAOID:
		case CASHOID:
			return AS_BYTES;
		default:
			return side->converts ? AS_BYTES : AS_TEXT;
	}
}

/* -------- in SQL -------- */

char *
wh_row_number_sql(const WhSide *side)
{
	if (side->parts->by_key)
		return wh_sql("(%I::pg_catalog.int8 - '%l'::pg_catalog.int8)",
					  wh_side_name(side, wh_row_integer_key(side->source)), side->parts->least);
	return wh_sql("(%s & %l)", key_hash_sql(side), WH_NUMBER_MASK);
}

char *
wh_row_hash_sql(const WhSide *side)
{
	return chain_sql(side, hashed_columns(side, false), key_hash_sql(side));
}

static char *
key_hash_sql(const WhSide *side)
{
	return chain_sql(side, hashed_columns(side, true),
					 wh_sql("'%l'::pg_catalog.int8", side->parts->seed));
}

static char *
chain_sql(const WhSide *side, const List *columns, char *seed)
{
	foreach_ptr(WhSourceColumn, column, columns)
	{
		switch (kind_of(side, type_of(column)))
		{
			case AS_INTEGER:
				seed = wh_sql("pg_catalog.hashint4extended(%d, COALESCE(%s, '%l'::pg_catalog.int8)"
							  " # %s)",
							  column->attnum, integer_sql(side, column), side->parts->null, seed);
				break;
			case AS_TIME:
				seed = time_sql(side, column, seed);
				break;
			case AS_UUID:
				seed = wh_sql("pg_catalog.uuid_hash_extended(COALESCE(%I, %L::pg_catalog.uuid),"
							  " %s)",
							  wh_side_name(side, column), side->parts->null_text, seed);
				break;
			case AS_BYTES:
				seed = wh_sql("pg_catalog.hash_record_extended(ROW(0, %s), %s)",
							  bytes_sql(side, column), seed);
				break;
			case AS_TEXT:
				seed = wh_sql("pg_catalog.hashtextextended(COALESCE(%s, %L)"
							  " COLLATE pg_catalog.\"C\", %s)",
							  text_sql(side, column), side->parts->null_text, seed);
				break;
		}
	}
	return seed;
}

/* integer_sql is a value as a bigint, the one that stands for it in memory. */
static char *
integer_sql(const WhSide *side, const WhSourceColumn *column)
{
	const char *name = wh_side_name(side, column);

	switch (type_of(column))
	{
		case BOOLOID:
		case CHAROID:
			return wh_sql("%I::pg_catalog.int4::pg_catalog.int8", name);
		case DATEOID:
			name = wh_sql("%I::pg_catalog.date", name);
			return wh_sql("CASE WHEN pg_catalog.isfinite(%s)"
						  " THEN (%s - '2000-01-01'::pg_catalog.date)::pg_catalog.int8"
						  " WHEN %s > '2000-01-01' THEN '%l'::pg_catalog.int8"
						  " WHEN %s < '2000-01-01' THEN '%l'::pg_catalog.int8 END",
						  name, name, name, (int64) DATEVAL_NOEND, name, (int64) DATEVAL_NOBEGIN);
		default:
			return wh_sql("%I::pg_catalog.int8", name);
	}
}

static char *
time_sql(const WhSide *side, const WhSourceColumn *column, const char *seed)
{
	const char *name = wh_side_name(side, column);
	Oid type = type_of(column);
	char *time;

	/* a cast of timestamptz would ask the time zone, and take longer than all the rest */
	if (type == TIMESTAMPTZOID)
		time = wh_sql("pg_catalog.timezone('0'::pg_catalog.interval, %I::pg_catalog.timestamptz)",
					  name);
	else if (type == TIMEOID)
		time = wh_sql("('2000-01-01'::pg_catalog.date + %I::pg_catalog.time)", name);
	else
		time = wh_sql("%I::pg_catalog.timestamp", name);
	return wh_sql("pg_catalog.timestamp_hash_extended(pg_catalog.date_bin("
				  "'4294.967296 s'::pg_catalog.interval, COALESCE(%s, " EPOCH_SQL "), " ORIGIN_SQL
				  "), pg_catalog.timestamp_hash_extended(COALESCE(%s, " EPOCH_SQL "),"
				  " CASE WHEN %I IS NULL THEN '2'::pg_catalog.int8 WHEN %s < " EPOCH_SQL
				  " THEN '1'::pg_catalog.int8 ELSE '0'::pg_catalog.int8 END # %s))",
				  time, time, name, time, seed);
}

static char *
bytes_sql(const WhSide *side, const WhSourceColumn *column)
{
	const char *name = wh_side_name(side, column);

	switch (type_of(column))
	{
		case BYTEAOID:
			return wh_sql("%I::pg_catalog.bytea", name);
		case CASHOID:
			return wh_sql("pg_catalog.cash_send(%I)", name);
		default:
			break;
	}
	/* texts come in this database's encoding */
	if (side->table != NULL)
		return wh_sql("%s COLLATE pg_catalog.\"C\"", text_sql(side, column));
	return wh_sql("pg_catalog.convert_to(%s, %L)", text_sql(side, column),
				  GetDatabaseEncodingName());
}

/* text_sql: where a type of the source is text here, its text is what the mirror has of it. */
static char *
text_sql(const WhSide *side, const WhSourceColumn *column)
{
	const char *name = wh_side_name(side, column);
	bool is_text;
	Oid type = wh_changelog_local_type(column, &is_text);

	if (is_text && side->table == NULL)
		return wh_row_output_sql(name);
	return casts_by_output(type) ? wh_sql("%I::pg_catalog.text", name) : wh_row_output_sql(name);
}

char *
wh_row_output_sql(const char *name)
{
	/* IS NOT NULL would look into a composite value */
	return wh_sql("CASE WHEN %I IS DISTINCT FROM NULL THEN pg_catalog.concat(%I) END", name, name);
}

/* casts_by_output: casts of an extension's type are anybody's, and that of xml leaves its
 * declaration in. */
static bool
casts_by_output(Oid type)
{
	Oid function;

	return type < FirstNormalObjectId && type != XMLOID &&
		   find_coercion_pathway(TEXTOID, type, COERCION_EXPLICIT, &function) !=
			   COERCION_PATH_FUNC;
}

/* -------- in C -------- */

WhRowHasher *
wh_row_hasher(const WhSide *side, Relation mirror)
{
	WhRowHasher *hasher = palloc0(sizeof(WhRowHasher));
	List *key = hashed_columns(side, true);
	List *columns = list_concat_copy(key, hashed_columns(side, false));

	hasher->parts = side->parts;
	hasher->key_count = list_length(key);
	hasher->columns = palloc0(sizeof(Column) * list_length(columns));
	foreach_ptr(WhSourceColumn, column, columns)
	{
		if (!add_column(hasher, side, mirror, column))
			return NULL;
	}
	hasher->row = AllocSetContextCreate(CurrentMemoryContext, "walhouse row hash",
										ALLOCSET_SMALL_SIZES);
	return hasher;
}

/* add_column: false where the type is an extension's, whose functions are not called here. */
static bool
add_column(WhRowHasher *hasher, const WhSide *side, Relation mirror, const WhSourceColumn *source)
{
	Column *column = &hasher->columns[hasher->count++];
	Oid output;
	bool is_varlena;

	column->attnum = source->attnum;
	column->attno = get_attnum(RelationGetRelid(mirror), wh_side_name(side, source));
	column->type = get_atttype(RelationGetRelid(mirror), column->attno);
	column->kind = kind_of(side, column->type);
	column->has_text = column->type == TEXTOID || column->type == VARCHAROID ||
					   column->type == BYTEAOID;
	hasher->last = Max(hasher->last, column->attno);
	if (column->type >= FirstNormalObjectId ||
		(column->type != type_of(source) && !column->has_text))
		return false;
	getTypeOutputInfo(column->type, &output, &is_varlena);
	fmgr_info(output, &column->output);
	return true;
}

uint64
wh_row_hash(const WhRowHasher *hasher, TupleTableSlot *slot, int64 *number)
{
	MemoryContext old = MemoryContextSwitchTo(hasher->row);
	uint64 hash;

	slot_getsomeattrs(slot, hasher->last);
	hash = hash_columns(hasher, slot, 0, hasher->key_count, hasher->parts->seed);
	if (hasher->parts->by_key)
		*number = as_integer(hasher->columns[0].type,
							 slot->tts_values[hasher->columns[0].attno - 1]) -
				  hasher->parts->least;
	else
		*number = (int64) (hash & WH_NUMBER_MASK);
	hash = hash_columns(hasher, slot, hasher->key_count, hasher->count, hash);
	MemoryContextSwitchTo(old);
	MemoryContextReset(hasher->row);
	return hash;
}

static uint64
hash_columns(const WhRowHasher *hasher, TupleTableSlot *slot, int first, int end, uint64 hash)
{
	for (int i = first; i < end; i++)
	{
		Column *column = &hasher->columns[i];

		hash = hash_column(hasher, column, slot->tts_values[column->attno - 1],
						   slot->tts_isnull[column->attno - 1], hash);
	}
	return hash;
}

/* hash_column computes what chain_sql says. */
static uint64
hash_column(const WhRowHasher *hasher, Column *column, Datum value, bool is_null, uint64 seed)
{
	const WhParts *parts = hasher->parts;

	switch (column->kind)
	{
		case AS_INTEGER:
			return hash_bytes_uint32_extended(
				column->attnum,
				(uint64) (is_null ? parts->null : as_integer(column->type, value)) ^ seed);
		case AS_TIME:
			return hash_time(column, value, is_null, seed);
		case AS_UUID:
			if (is_null)
				value = DirectFunctionCall1(uuid_in, CStringGetDatum(parts->null_text));
			return hash_bytes_extended(DatumGetUUIDP(value)->data, UUID_LEN, seed);
		case AS_BYTES: /* as hash_record_extended combines two columns */
			return hash_bytes_uint32_extended(0, seed) * 31 +
				   (is_null ? 0 : hash_text(column, value, seed));
		case AS_TEXT:
			break;
	}
	if (is_null)
		return hash_bytes_extended((const unsigned char *) parts->null_text,
								   strlen(parts->null_text), seed);
	return hash_text(column, value, seed);
}

static int64
as_integer(Oid type, Datum value)
{
	switch (type)
	{
		case BOOLOID:
			return DatumGetBool(value);
		case CHAROID:
			return (int8) DatumGetChar(value);
		case INT2OID:
			return DatumGetInt16(value);
		case OIDOID:
			return DatumGetObjectId(value);
		case INT8OID:
			return DatumGetInt64(value);
		default: /* integer, date */
			return DatumGetInt32(value);
	}
}

/* hash_time: all three types are microseconds as they stand in memory. */
static uint64
hash_time(const Column *column, Datum value, bool is_null, uint64 seed)
{
	int64 time = is_null ? 0 : DatumGetInt64(value);
	int64 multiple = time;

	if (!TIMESTAMP_NOT_FINITE(time))
	{
		int64 rest = (time - ORIGIN) % STRIDE;

		multiple = time - rest - (rest < 0 ? STRIDE : 0);
	}
	if (is_null)
		seed ^= 2;
	else if (time < 0)
		seed ^= 1;
	return hash_folded(multiple, hash_folded(time, seed));
}

/* hash_folded is hashint8extended. */
static uint64
hash_folded(int64 value, uint64 seed)
{
	uint32 low = (uint32) value;
	uint32 high = (uint32) (value >> 32);

	return hash_bytes_uint32_extended(low ^ (value >= 0 ? high : ~high), seed);
}

/* hash_text hashes a value's text, or its bytes. */
static uint64
hash_text(Column *column, Datum value, uint64 seed)
{
	char *text;

	if (column->type == CASHOID)
		value = DirectFunctionCall1(cash_send, value);
	if (column->has_text || column->type == CASHOID)
	{
		struct varlena *bytes = PG_DETOAST_DATUM_PACKED(value);

		return hash_bytes_extended((const unsigned char *) VARDATA_ANY(bytes),
								   VARSIZE_ANY_EXHDR(bytes), seed);
	}
	text = OutputFunctionCall(&column->output, value);
	return hash_bytes_extended((const unsigned char *) text, strlen(text), seed);
}
