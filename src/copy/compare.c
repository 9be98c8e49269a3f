/*
 * compare.c
 *		Which parts of a table differ between the source and its mirror, by checksums.
 *
 * Each row has a number: its key, where that is one integer, else its key's hash, for keys of
 * other types have no one order on both sides.  A part is a range of numbers.  Both sides compute,
 * at the same time, one checksum for each part, the exclusive or of the hashes of its rows, and
 * send no row.  A part whose checksums differ is split while there are more rows in such parts
 * than may be fetched at the price of another look at all.
 *
 * A row's hash has 64 bits, and is the same for the same bytes on all versions, collations and
 * settings.  Beside an integer key each column is hashed with a seed of its own, made of the key,
 * so that values cannot trade places; else the row is hashed as a record.  Columns whose equality
 * is coarser than their bytes (float, jsonb, bpchar …) go in as text, which both sessions write
 * under the same settings, as does what has no hash.  Where both sides hash in different ways all
 * the same (another byte order, another version of an extension), parts differ whose rows do not:
 * that costs time, and difference.c finds no change in them.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "mb/pg_wchar.h"
#include "port/pg_bitutils.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"

#include "base/base.h"
#include "copy/copy_private.h"

#define PART_ROWS 16 /* that a part is to have */
#define MAX_SUM_BITS \
	19 /* so many checksums are compared at once: 4 MB here, 64 MB or so in each server */
#define WORK_MEM "64MB" /* for these */
#define SMALL_PAGES 64 /* a mirror up to this size is compared row by row at once */
#define ROW_BYTES 400 /* at most, of a table of which nothing is known */
#define READ_COST 8 /* to fetch and compare a row takes as long as so many checksums */
#define MAX_WIDTH 62 /* bits of a number */
#define SEED_SHIFT 52 /* where a column's attnum stands in its seed */

/* One side of a comparison. */
typedef struct Side
{
	char *relation; /* with its row filter */
	char *number;
	char *hash;
} Side;

/* What a side is made of. */
typedef struct Terms
{
	const WhSourceTable *source;
	const WhFeedTable *table; /* NULL: the source's side */
	bool converts; /* the source has another encoding: texts are hashed as this database has them */
	const WhParts *parts; /* how rows are numbered */
} Terms;

static double estimate_rows(Oid mirror, BlockNumber *pages);
static bool converts(PGconn *plain);
static WhParts *whole_table(const WhFeed *feed, PGconn *plain, const WhFeedTable *table,
							const WhSourceTable *source);
static const WhSourceColumn *integer_key(const WhSourceTable *source);
static void extend(int64 *least, int64 *greatest, const char *low, const char *high);
static Side make_side(const Terms *terms);
static const char *name_of(const Terms *terms, const WhSourceColumn *column);
static Oid type_of(const WhSourceColumn *column);
static char *number_sql(const Terms *terms);
static char *seeded_hash(const Terms *terms);
static char *record_hash(const Terms *terms, const List *attnums);
static char *column_hash(const Terms *terms, const WhSourceColumn *column, const char *seed);
static char *value(const Terms *terms, const WhSourceColumn *column);
static bool is_exact(Oid type);
static WhParts *split(const WhFeed *feed, PGconn *plain, const Side *there, const Side *here,
					  const WhParts *parts, int bits);
static char *sums_query(const Side *side, const WhParts *parts, int bits);
static void add_mirror_sums(const WhFeed *feed, const char *query, const WhParts *parts, int bits,
							uint64 *sums);
static void add_source_sums(PGconn *plain, const WhParts *parts, int bits, uint64 *sums);
static uint64 *sum_of(uint64 *sums, const WhParts *parts, int bits, int64 id);
static char *parts_condition(const char *number, const WhParts *parts, int first, int count);
static char *keys_condition(const Terms *terms, int first, int count);
static void append_ids(StringInfo sql, const WhParts *parts, int first, int count);
static int compare_ids(const void *a, const void *b);

WhParts *
wh_compare_table(const WhFeed *feed, PGconn *plain, const WhFeedTable *table,
				 const WhSourceTable *source)
{
	BlockNumber pages;
	double rows = estimate_rows(table->mirror, &pages);
	WhParts *parts;
	Terms terms = {.source = source, .converts = converts(plain)};
	Side there;
	Side here;

	wh_source_query(plain, "SET work_mem = '" WORK_MEM "'; SET bytea_output = 'hex'");
	parts = whole_table(feed, plain, table, source);
	parts->rows = parts->all_rows = rows;
	if (pages <= SMALL_PAGES)
		return parts;
	terms.parts = parts;
	there = make_side(&terms);
	terms.table = table;
	here = make_side(&terms);
	while (parts->rows > (parts->bits == 0 ? 0 : rows / READ_COST))
	{
		int wanted = pg_ceil_log2_64((uint64) (rows / PART_ROWS) + 1);
		int room = parts->bits + MAX_SUM_BITS - pg_ceil_log2_32(Max(parts->count, 1));
		int bits = Min(Min(wanted, room), parts->width);

		if (bits <= parts->bits + (parts->bits > 0 ? 1 : 0))
			break;
		parts = split(feed, plain, &there, &here, parts, bits);
	}
	return parts;
}

static double
estimate_rows(Oid mirror, BlockNumber *pages)
{
	Relation rel = table_open(mirror, AccessShareLock);
	double rows = rel->rd_rel->reltuples;

	*pages = RelationGetNumberOfBlocks(rel);
	rows = Max(rows, (double) *pages * BLCKSZ / ROW_BYTES);
	table_close(rel, NoLock);
	return rows;
}

static bool
converts(PGconn *plain)
{
	const char *encoding = PQparameterStatus(plain, "server_encoding");

	return encoding == NULL || pg_char_to_encoding(encoding) != GetDatabaseEncoding();
}

/* -------- numbers of rows -------- */

/* whole_table makes one part of a table, and says how its rows are numbered. */
static WhParts *
whole_table(const WhFeed *feed, PGconn *plain, const WhFeedTable *table,
			const WhSourceTable *source)
{
	WhParts *parts = palloc0(sizeof(WhParts));
	const WhSourceColumn *key = integer_key(source);
	Terms here = {.source = source, .table = table};
	int64 least = PG_INT64_MAX;
	int64 greatest = PG_INT64_MIN;
	WhResult *theirs;
	WhRows *ours;
	WhUser saved;

	parts->count = 1;
	parts->ids = palloc0(sizeof(int64));
	parts->width = MAX_WIDTH;
	if (key == NULL)
		return parts;
	theirs = wh_source_query(plain, wh_sql("SELECT min(%I), max(%I) FROM ONLY %I.%I", key->name,
										   key->name, source->schema, source->name));
	wh_user_become(feed->owner, &saved);
	ours = wh_spi_query(wh_sql("SELECT min(%I)::pg_catalog.text, max(%I)::pg_catalog.text"
							   " FROM ONLY %T",
							   name_of(&here, key), name_of(&here, key), table->mirror),
						0, NULL);
	wh_user_restore(&saved);
	extend(&least, &greatest, wh_result_value(theirs, 0, 0), wh_result_value(theirs, 0, 1));
	extend(&least, &greatest, wh_rows_text(ours, 0, 1), wh_rows_text(ours, 0, 2));
	if (least > greatest || (uint64) greatest - (uint64) least >= UINT64CONST(1) << MAX_WIDTH)
		return parts;
	parts->by_key = true;
	parts->width = pg_ceil_log2_64((uint64) greatest - (uint64) least + 1);
	/* the last range ends behind the greatest key, and within what an integer can be */
	parts->least = Min(least, PG_INT64_MAX - (INT64CONST(1) << parts->width) + 1);
	return parts;
}

/* integer_key is the one column of a key that is an integer; NULL: there is none. */
static const WhSourceColumn *
integer_key(const WhSourceTable *source)
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

static void
extend(int64 *least, int64 *greatest, const char *low, const char *high)
{
	if (low == NULL || high == NULL)
		return;
	*least = Min(*least, strtoll(low, NULL, 10));
	*greatest = Max(*greatest, strtoll(high, NULL, 10));
}

static char *
number_sql(const Terms *terms)
{
	if (terms->parts->by_key)
		return wh_sql("(%I::pg_catalog.int8 - '%l'::pg_catalog.int8)",
					  name_of(terms, integer_key(terms->source)), terms->parts->least);
	return wh_sql("(%s & %l)", record_hash(terms, terms->source->key),
				  (INT64CONST(1) << MAX_WIDTH) - 1);
}

/* -------- hashes -------- */

static Side
make_side(const Terms *terms)
{
	const WhSourceTable *source = terms->source;
	Side side;

	if (terms->table != NULL)
		side.relation = wh_sql("ONLY %T WHERE true", terms->table->mirror);
	else
		side.relation = wh_sql("ONLY %I.%I WHERE (%s)", source->schema, source->name,
							   source->row_filter != NULL ? source->row_filter : "true");
	side.number = number_sql(terms);
	side.hash = terms->parts->by_key ? seeded_hash(terms) : record_hash(terms, NIL);
	return side;
}

/* name_of is a column's name on a side. */
static const char *
name_of(const Terms *terms, const WhSourceColumn *column)
{
	if (terms->table == NULL)
		return column->name;
	foreach_ptr(WhFeedColumn, have, terms->table->columns)
	{
		if (have->attnum == column->attnum)
			return have->mirror_column;
	}
	elog(ERROR, "column %d of table \"%s\" is not in the catalog", column->attnum,
		 terms->table->source_name);
	return NULL;
}

static Oid
type_of(const WhSourceColumn *column)
{
	bool is_text;

	return wh_changelog_local_type(column, &is_text);
}

static char *
seeded_hash(const Terms *terms)
{
	const WhSourceColumn *key = integer_key(terms->source);
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "pg_catalog.hashint8extended(%I, 0)", name_of(terms, key));
	foreach_ptr(WhSourceColumn, column, terms->source->columns)
	{
		char *seed = wh_sql("%I # '%l'::pg_catalog.int8", name_of(terms, key),
							(int64) column->attnum << SEED_SHIFT);

		if (column != key)
			wh_sql_append(&sql, " # COALESCE(%s, %d)", column_hash(terms, column, seed),
						  column->attnum);
	}
	return sql.data;
}

/* column_hash hashes a column with a seed; NULL where it is NULL. */
static char *
column_hash(const Terms *terms, const WhSourceColumn *column, const char *seed)
{
	const char *name = name_of(terms, column);
	Oid type = type_of(column);

	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return wh_sql("pg_catalog.hashint8extended(%I, %s)", name, seed);
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return wh_sql("pg_catalog.timestamp_hash_extended(%I::pg_catalog.timestamp, %s)",
						  name, seed);
		case NUMERICOID:
			return wh_sql("pg_catalog.hash_numeric_extended(%I, %s # COALESCE("
						  "pg_catalog.scale(%I), -1))",
						  name, seed, name);
		default:
			break;
	}
	if (!terms->converts && (!is_exact(type) || type == TEXTOID || type == VARCHAROID))
		return wh_sql("pg_catalog.hashtextextended(%I::pg_catalog.text, %s)", name, seed);
	return wh_sql("CASE WHEN %I IS NOT NULL THEN pg_catalog.hash_record_extended(ROW(%s), %s) END",
				  name, value(terms, column), seed);
}

/* record_hash hashes the columns of some attnums, in their order; NIL: all. */
static char *
record_hash(const Terms *terms, const List *attnums)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < Max(list_length(attnums), 1); i++)
	{
		foreach_ptr(WhSourceColumn, column, terms->source->columns)
		{
			if (attnums == NIL || list_nth_int(attnums, i) == column->attnum)
				appendStringInfo(&sql, "%s%s", sql.len > 0 ? ", " : "", value(terms, column));
		}
	}
	return psprintf("pg_catalog.hash_record_extended(ROW(%s), 0)", sql.data);
}

/* value is a column as a record has it; texts come in this database's encoding. */
static char *
value(const Terms *terms, const WhSourceColumn *column)
{
	const char *name = name_of(terms, column);
	Oid type = type_of(column);

	if (type == CASHOID)
		return wh_sql("pg_catalog.cash_send(%I)", name);
	if (is_exact(type) && type != TEXTOID && type != VARCHAROID)
		return wh_sql("%I", name);
	if (terms->converts && terms->table == NULL)
		return wh_sql("pg_catalog.convert_to(%I::pg_catalog.text, %L)", name,
					  GetDatabaseEncodingName());
	return wh_sql("%I::pg_catalog.text", name);
}

/* is_exact says whether values of a type have one hash exactly where they have the same bytes. */
static bool
is_exact(Oid type)
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
		case UUIDOID:
		case BYTEAOID:
		case TEXTOID:
		case VARCHAROID:
		case CASHOID: /* by its bytes */
			return true;
		default:
			return false;
	}
}

bool
wh_compare_key_is_exact(const WhFeedTable *table)
{
	foreach_ptr(WhFeedColumn, column, table->columns)
	{
		if (list_member_int(table->key, column->attnum) && !is_exact(column->type))
			return false;
	}
	return true;
}

/* -------- checksums -------- */

/* split compares parts by more bits of their numbers, and returns those that differ. */
static WhParts *
split(const WhFeed *feed, PGconn *plain, const Side *there, const Side *here,
	  const WhParts *parts, int bits)
{
	int more = bits - parts->bits;
	int64 total = (int64) parts->count << more;
	uint64 *sums = palloc0(sizeof(uint64) * total);
	WhParts *result = palloc(sizeof(WhParts));

	wh_source_copy(plain, wh_sql("COPY (%s) TO STDOUT", sums_query(there, parts, bits)),
				   PGRES_COPY_OUT);
	add_mirror_sums(feed, sums_query(here, parts, bits), parts, bits, sums);
	add_source_sums(plain, parts, bits, sums);
	*result = *parts;
	result->bits = bits;
	result->count = 0;
	for (int64 i = 0; i < total; i++)
		result->count += sums[i] != 0;
	result->ids = palloc(sizeof(int64) * Max(result->count, 1));
	result->count = 0;
	for (int64 i = 0; i < total; i++)
	{
		if (sums[i] != 0)
			result->ids[result->count++] =
				(parts->ids[i >> more] << more) | (i & ((INT64CONST(1) << more) - 1));
	}
	result->rows = parts->rows * result->count / Max(total, 1);
	pfree(sums);
	return result;
}

static char *
sums_query(const Side *side, const WhParts *parts, int bits)
{
	char *condition = parts_condition(side->number, parts, 0, parts->count);

	return wh_sql("SELECT %s >> %d, pg_catalog.bit_xor(%s) FROM %s%s%s GROUP BY 1", side->number,
				  parts->width - bits, side->hash, side->relation,
				  condition != NULL ? " AND " : "", condition != NULL ? condition : "");
}

/* add_mirror_sums computes them in one statement, as the owner, with what memory it takes. */
static void
add_mirror_sums(const WhFeed *feed, const char *query, const WhParts *parts, int bits,
				uint64 *sums)
{
	WhRows *rows;
	WhUser saved;
	bool isnull;
	ArrayType *ids;
	ArrayType *values;

	wh_settings_pin("UTC");
	wh_user_become(feed->owner, &saved);
	(void) set_config_option("work_mem", WORK_MEM, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL,
							 true, 0, false);
	rows = wh_spi_query(wh_sql("SELECT pg_catalog.array_agg(s.id), pg_catalog.array_agg(s.sum)"
							   " FROM (%s) s (id, sum)",
							   query),
						0, NULL);
	wh_user_restore(&saved);
	ids = (ArrayType *) DatumGetPointer(wh_rows_datum(rows, 0, 1, &isnull));
	if (isnull)
		return;
	ids = DatumGetArrayTypeP(PointerGetDatum(ids));
	values = DatumGetArrayTypeP(wh_rows_datum(rows, 0, 2, &isnull));
	for (int i = 0; i < ArrayGetNItems(ARR_NDIM(ids), ARR_DIMS(ids)); i++)
		*sum_of(sums, parts, bits, ((int64 *) ARR_DATA_PTR(ids))[i]) ^=
			((uint64 *) ARR_DATA_PTR(values))[i];
}

static void
add_source_sums(PGconn *plain, const WhParts *parts, int bits, uint64 *sums)
{
	char *line;
	int len;

	while ((len = wh_source_receive(plain, &line, -1)) >= 0)
	{
		char *rest;
		int64 id;

		if (len == 0)
			continue;
		id = strtoll(line, &rest, 10);
		*sum_of(sums, parts, bits, id) ^= (uint64) strtoll(rest, NULL, 10);
		PQfreemem(line);
	}
}

/* sum_of finds the place of a part's sum: those of what was one part stand together. */
static uint64 *
sum_of(uint64 *sums, const WhParts *parts, int bits, int64 id)
{
	int64 whole = id >> (bits - parts->bits);
	int64 *found = bsearch(&whole, parts->ids, parts->count, sizeof(int64), compare_ids);

	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the source sent the checksum of a part that was not asked for")));
	return &sums[((found - parts->ids) << (bits - parts->bits)) |
				 (id & ((INT64CONST(1) << (bits - parts->bits)) - 1))];
}

/* -------- conditions -------- */

char *
wh_compare_source_condition(PGconn *plain, const WhSourceTable *source, const WhParts *parts,
							int first, int count)
{
	Terms terms = {.source = source, .converts = converts(plain), .parts = parts};

	return keys_condition(&terms, first, count);
}

char *
wh_compare_mirror_condition(const WhFeedTable *table, const WhSourceTable *source,
							const WhParts *parts, int first, int count)
{
	Terms terms = {.source = source, .table = table, .parts = parts};

	return keys_condition(&terms, first, count);
}

/* keys_condition says that a row belongs to one of some parts; NULL where all do.  Where these have
 * few keys, by the keys themselves, for which there is an index. */
static char *
keys_condition(const Terms *terms, int first, int count)
{
	const WhParts *parts = terms->parts;
	int shift = parts->width - parts->bits;
	StringInfoData sql;

	if (!parts->by_key || shift > 30 ||
		(double) count * (INT64CONST(1) << shift) > parts->all_rows / READ_COST)
		return parts_condition(number_sql(terms), parts, first, count);
	initStringInfo(&sql);
	wh_sql_append(&sql,
				  "%I = ANY (ARRAY(SELECT (p.i << %d) + g.i + '%l'::pg_catalog.int8"
				  " FROM pg_catalog.unnest(",
				  name_of(terms, integer_key(terms->source)), shift, parts->least);
	append_ids(&sql, parts, first, count);
	wh_sql_append(&sql, ") p (i), pg_catalog.generate_series(0, %l) g (i)))",
				  (INT64CONST(1) << shift) - 1);
	return sql.data;
}

static char *
parts_condition(const char *number, const WhParts *parts, int first, int count)
{
	StringInfoData sql;

	if (count == INT64CONST(1) << parts->bits)
		return NULL;
	initStringInfo(&sql);
	wh_sql_append(&sql, "%s >> %d = ANY (", number, parts->width - parts->bits);
	append_ids(&sql, parts, first, count);
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

static void
append_ids(StringInfo sql, const WhParts *parts, int first, int count)
{
	appendStringInfoString(sql, "'{");
	for (int i = first; i < first + count; i++)
		appendStringInfo(sql, i > first ? "," INT64_FORMAT : INT64_FORMAT, parts->ids[i]);
	appendStringInfoString(sql, "}'::pg_catalog.int8[]");
}

static int
compare_ids(const void *a, const void *b)
{
	int64 left = *(const int64 *) a;
	int64 right = *(const int64 *) b;

	return left < right ? -1 : left > right ? 1 :
											  0;
}
