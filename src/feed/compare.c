/*
 * compare.c
 *		Which parts of a table differ between the source and its mirror, by checksums.
 *
 * A part is a range of hashes of the key: the rows whose key's hash ends in certain bits.  Ranges
 * of the key itself would need one order on both sides, which texts do not have.  Both sides
 * compute, at the same time, one number for each part, the exclusive or of the hashes of its rows,
 * and send no row.  A part whose numbers differ is split, by more bits, while its rows are more
 * than the rows of the whole table can be looked through for.
 *
 * The hash of a row is that of a record: 64 bits, the same for the same bytes on all versions,
 * collations and settings.  Columns whose equality is coarser than their bytes (numeric, float,
 * jsonb, bpchar …) go in as text, which both sessions write under the same settings; so does what
 * has no hash.  Where both sides hash in different ways all the same (another byte order, another
 * version of an extension), parts differ whose rows do not: that costs time, and difference.c
 * finds no change in them.
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
#include "feed/feed_private.h"

#define PART_ROWS 16 /* that a part is to have */
#define MAX_SUM_BITS \
	18 /* so many sums are compared at once: 2 MB here, 64 MB or so on either side */
#define WORK_MEM "64MB" /* for these */
#define SMALL_PAGES 64 /* a mirror up to this size is compared row by row at once */
#define ROW_BYTES 100 /* of a table of which nothing is known */
#define READ_COST 8 /* to fetch and compare a row takes as long as so many checksums */

/* One side of a comparison. */
typedef struct Side
{
	char *relation; /* with its row filter */
	char *key_hash;
	char *row_hash;
} Side;

static double estimate_rows(Oid mirror, BlockNumber *pages);
static Side source_side(PGconn *plain, const WhSourceTable *source, const char *encoding);
static Side mirror_side(const WhFeedTable *table, const WhSourceTable *source);
static char *source_value(const WhSourceColumn *column, const char *encoding);
static char *mirror_value(const WhFeedTable *table, const WhSourceColumn *column);
static bool is_exact(Oid type);
static char *key_hash(const WhSourceTable *source, char **values);
static char *row_hash(const WhSourceTable *source, char **values);
static const char *conversion(PGconn *plain);
static WhParts *split(const WhFeed *feed, PGconn *plain, const Side *there, const Side *here,
					  const WhParts *parts, int bits);
static char *sums_query(const Side *side, const WhParts *parts, int bits);
static void add_mirror_sums(const WhFeed *feed, const char *query, const WhParts *parts, int bits,
							uint64 *sums);
static void add_source_sums(PGconn *plain, const WhParts *parts, int bits, uint64 *sums);
static uint64 *sum_of(uint64 *sums, const WhParts *parts, int bits, int64 id);
static char *parts_condition(const char *hash, const WhParts *parts, int first, int count);
static int compare_ids(const void *a, const void *b);

WhParts *
wh_compare_table(const WhFeed *feed, PGconn *plain, const WhFeedTable *table,
				 const WhSourceTable *source)
{
	BlockNumber pages;
	double rows = estimate_rows(table->mirror, &pages);
	Side there = source_side(plain, source, conversion(plain));
	Side here = mirror_side(table, source);
	WhParts *parts = palloc0(sizeof(WhParts));

	parts->count = 1;
	parts->ids = palloc0(sizeof(int64));
	parts->rows = rows;
	if (pages <= SMALL_PAGES)
		return parts;
	wh_source_query(plain, "SET work_mem = '" WORK_MEM "'; SET bytea_output = 'hex'");
	while (parts->rows > (parts->bits == 0 ? 0 : rows / READ_COST))
	{
		int wanted = pg_ceil_log2_64((uint64) (rows / PART_ROWS) + 1);
		int room = parts->bits + MAX_SUM_BITS - pg_ceil_log2_32(Max(parts->count, 1));
		int bits = Min(wanted, room);

		if (bits <= parts->bits + 1)
			break;
		parts = split(feed, plain, &there, &here, parts, bits);
		parts->rows = rows * parts->count / ((double) (UINT64CONST(1) << bits));
	}
	return parts;
}

static double
estimate_rows(Oid mirror, BlockNumber *pages)
{
	Relation rel = table_open(mirror, AccessShareLock);
	double rows = rel->rd_rel->reltuples;

	*pages = RelationGetNumberOfBlocks(rel);
	rows = Max(rows, (double) *pages * BLCKSZ / ROW_BYTES / 4);
	table_close(rel, NoLock);
	return rows;
}

/* -------- hashes -------- */

static Side
source_side(PGconn *plain, const WhSourceTable *source, const char *encoding)
{
	char **values = palloc(sizeof(char *) * list_length(source->columns));
	Side side;
	int i = 0;

	foreach_ptr(WhSourceColumn, column, source->columns)
		values[i++] = source_value(column, encoding);
	side.relation = wh_sql("ONLY %I.%I", source->schema, source->name);
	if (source->row_filter != NULL)
		side.relation = psprintf("%s WHERE (%s)", side.relation, source->row_filter);
	side.key_hash = key_hash(source, values);
	side.row_hash = row_hash(source, values);
	return side;
}

static Side
mirror_side(const WhFeedTable *table, const WhSourceTable *source)
{
	char **values = palloc(sizeof(char *) * list_length(source->columns));
	Side side;
	int i = 0;

	foreach_ptr(WhSourceColumn, column, source->columns)
		values[i++] = mirror_value(table, column);
	side.relation = wh_sql("ONLY %T", table->mirror);
	side.key_hash = key_hash(source, values);
	side.row_hash = row_hash(source, values);
	return side;
}

/* source_value is a column as it is hashed; texts come in this database's encoding. */
static char *
source_value(const WhSourceColumn *column, const char *encoding)
{
	bool is_text;
	Oid type = wh_changelog_local_type(column, &is_text);
	char *value;

	if (type == CASHOID)
		return wh_sql("pg_catalog.cash_send(%I)", column->name);
	if (!is_text && is_exact(type) && type != TEXTOID && type != VARCHAROID)
		return wh_sql("%I", column->name);
	value = wh_sql("%I::pg_catalog.text", column->name);
	return encoding == NULL ? value : wh_sql("pg_catalog.convert_to(%s, %L)", value, encoding);
}

static char *
mirror_value(const WhFeedTable *table, const WhSourceColumn *column)
{
	foreach_ptr(WhFeedColumn, have, table->columns)
	{
		if (have->attnum != column->attnum)
			continue;
		if (have->type == CASHOID)
			return wh_sql("pg_catalog.cash_send(%I)", have->mirror_column);
		return wh_sql(is_exact(have->type) && have->type != VARCHAROID ? "%I" :
																		 "%I::pg_catalog.text",
					  have->mirror_column);
	}
	elog(ERROR, "column %d of table \"%s\" is not in the catalog", column->attnum,
		 table->source_name);
	return NULL;
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
			return true;
		default:
			return false;
	}
}

static char *
key_hash(const WhSourceTable *source, char **values)
{
	StringInfoData sql;

	initStringInfo(&sql);
	foreach_int(attnum, source->key)
	{
		int i = 0;

		foreach_ptr(WhSourceColumn, column, source->columns)
		{
			if (column->attnum == attnum)
				appendStringInfo(&sql, "%s%s", sql.len > 0 ? ", " : "", values[i]);
			i++;
		}
	}
	return psprintf("pg_catalog.hash_record_extended(ROW(%s), 0)", sql.data);
}

static char *
row_hash(const WhSourceTable *source, char **values)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < list_length(source->columns); i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "", values[i]);
	return psprintf("pg_catalog.hash_record_extended(ROW(%s), 0)", sql.data);
}

/* conversion is the encoding that the source's texts are to be brought to; NULL: it has it. */
static const char *
conversion(PGconn *plain)
{
	const char *encoding = PQparameterStatus(plain, "server_encoding");

	return encoding != NULL && pg_char_to_encoding(encoding) == GetDatabaseEncoding() ?
			   NULL :
			   GetDatabaseEncodingName();
}

/* -------- sums -------- */

/* split compares parts by more bits, and returns those that differ. */
static WhParts *
split(const WhFeed *feed, PGconn *plain, const Side *there, const Side *here,
	  const WhParts *parts, int bits)
{
	int more = bits - parts->bits;
	int64 total = (int64) parts->count << more;
	uint64 *sums = palloc0(sizeof(uint64) * total);
	WhParts *result = palloc0(sizeof(WhParts));
	char *query = wh_sql("COPY (%s) TO STDOUT", sums_query(there, parts, bits));

	wh_source_copy(plain, query, PGRES_COPY_OUT);
	add_mirror_sums(feed, sums_query(here, parts, bits), parts, bits, sums);
	add_source_sums(plain, parts, bits, sums);
	result->bits = bits;
	for (int64 i = 0; i < total; i++)
		result->count += sums[i] != 0;
	result->ids = palloc(sizeof(int64) * Max(result->count, 1));
	result->count = 0;
	for (int64 i = 0; i < total; i++)
	{
		if (sums[i] != 0)
			result->ids[result->count++] =
				parts->ids[i >> more] | ((i & ((INT64CONST(1) << more) - 1)) << parts->bits);
	}
	qsort(result->ids, result->count, sizeof(int64), compare_ids);
	pfree(sums);
	return result;
}

static char *
sums_query(const Side *side, const WhParts *parts, int bits)
{
	char *condition = parts_condition("q.k", parts, 0, parts->count);

	return wh_sql("SELECT q.k & %l, pg_catalog.bit_xor(q.h) FROM (SELECT %s AS k, %s AS h FROM %s)"
				  " q%s%s GROUP BY 1",
				  (INT64CONST(1) << bits) - 1, side->key_hash, side->row_hash, side->relation,
				  condition != NULL ? " WHERE " : "", condition != NULL ? condition : "");
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
	(void) set_config_option("bytea_output", "hex", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL,
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
	int64 whole = id & ((INT64CONST(1) << parts->bits) - 1);
	int64 *found = bsearch(&whole, parts->ids, parts->count, sizeof(int64), compare_ids);

	if (found == NULL || id < 0 || id >> bits != 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the source sent the checksum of a part that was not asked for")));
	return &sums[((found - parts->ids) << (bits - parts->bits)) | (id >> parts->bits)];
}

/* -------- conditions -------- */

char *
wh_compare_source_condition(PGconn *plain, const WhSourceTable *source, const WhParts *parts,
							int first, int count)
{
	return parts_condition(source_side(plain, source, conversion(plain)).key_hash, parts, first,
						   count);
}

char *
wh_compare_mirror_condition(const WhFeedTable *table, const WhSourceTable *source,
							const WhParts *parts, int first, int count)
{
	return parts_condition(mirror_side(table, source).key_hash, parts, first, count);
}

/* parts_condition says that a hash belongs to one of some parts; NULL where all do. */
static char *
parts_condition(const char *hash, const WhParts *parts, int first, int count)
{
	StringInfoData sql;

	if (count == INT64CONST(1) << parts->bits)
		return NULL;
	initStringInfo(&sql);
	appendStringInfo(&sql, "%s & " INT64_FORMAT " = ANY ('{", hash,
					 (INT64CONST(1) << parts->bits) - 1);
	for (int i = first; i < first + count; i++)
		appendStringInfo(&sql, i > first ? "," INT64_FORMAT : INT64_FORMAT, parts->ids[i]);
	appendStringInfoString(&sql, "}'::pg_catalog.int8[])");
	return sql.data;
}

static int
compare_ids(const void *a, const void *b)
{
	int64 left = *(const int64 *) a;
	int64 right = *(const int64 *) b;

	return left < right ? -1 : left > right ? 1 :
											  0;
}
