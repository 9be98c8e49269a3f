/*
 * compare.c
 *		Which parts of a table differ between the source and its mirror, by checksums.
 *
 * Each row has a number: its key, where that is one integer, else its key's hash, for keys of
 * other types have no one order on both sides.  A part is a range of numbers.  Both sides compute,
 * at the same time, one checksum for each part, the exclusive or of the hashes of its rows
 * (rowhash.c), and send no row.  A part whose checksums differ is split while there are more rows
 * in such parts than may be fetched at the price of another look: at all rows, or, where the keys
 * of these parts are few, at them alone, by their index.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "copy/copy_private.h"

#define PART_ROWS 16 /* that a part is to have */
#define MAX_SUM_BITS \
	19 /* so many checksums are compared at once: 4 MB here, 64 MB or so in each server */
#define WORK_MEM "64MB" /* for these */
#define SMALL_PAGES 64 /* a mirror up to this size is compared row by row at once */
#define ROW_BYTES 400 /* at most, of a table of which nothing is known */
#define READ_COST 8 /* to fetch and compare a row takes as long as so many checksums */

/* A comparison by checksums. */
typedef struct Comparison
{
	const WhFeed *feed;
	PGconn *plain;
	WhSide there;
	WhSide here;
} Comparison;

static double estimate_rows(Oid mirror, BlockNumber *pages);
static bool converts(PGconn *plain);
static WhParts *whole_table(const WhFeed *feed, PGconn *plain, const WhFeedTable *table,
							const WhSourceTable *source);
static void draw_seeds(WhParts *parts);
static void extend(int64 *least, int64 *greatest, const char *low, const char *high);
static bool are_few(const WhParts *parts, int count);
static bool looks_up(const WhParts *parts);
static void tune(const Comparison *comparison);
static WhParts *split(Comparison *comparison, WhParts *parts, int bits);
static void append_rows(StringInfo sql, const WhSide *side);
static void append_ranges(StringInfo sql, const WhSide *side, const WhParts *parts);
static char *sums_query(const WhSide *side, const WhParts *parts, int bits);
static void add_mirror_sums(const Comparison *comparison, const WhParts *parts, int bits,
							uint64 *sums);
static void scan_mirror(const WhRowHasher *hasher, Relation mirror, const WhParts *parts, int bits,
						uint64 *sums);
static void query_mirror(const Comparison *comparison, const char *query, const WhParts *parts,
						 int bits, uint64 *sums);
static void add_source_sums(PGconn *plain, const WhParts *parts, int bits, uint64 *sums);
static void add_sum(uint64 *sums, const WhParts *parts, int bits, int64 id, uint64 sum);
static char *parts_condition(const char *number, const WhParts *parts, int first, int count);
static char *keys_condition(const WhSide *side, int first, int count);
static void append_ids(StringInfo sql, const WhParts *parts, int first, int count);
static int compare_ids(const void *a, const void *b);
static bool is_exact(Oid type);

WhParts *
wh_compare_table(const WhFeed *feed, PGconn *plain, const WhFeedTable *table,
				 const WhSourceTable *source)
{
	BlockNumber pages;
	double rows = estimate_rows(table->mirror, &pages);
	WhParts *parts = whole_table(feed, plain, table, source);
	bool is_converted = converts(plain);
	Comparison comparison = {.feed = feed,
							 .plain = plain,
							 .there = {.source = source, .converts = is_converted},
							 .here = {.source = source, .table = table, .converts = is_converted}};

	parts->rows = parts->all_rows = rows;
	if (pages <= SMALL_PAGES)
		return parts;
	while (parts->bits == 0 || looks_up(parts) || parts->rows > rows / READ_COST)
	{
		int wanted = looks_up(parts) ? parts->width :
									   pg_ceil_log2_64((uint64) (rows / PART_ROWS) + 1);
		int room = parts->bits + MAX_SUM_BITS - pg_ceil_log2_32(Max(parts->count, 1));
		int bits = Min(Min(wanted, room), parts->width);

		if (parts->count == 0 || bits <= parts->bits + (parts->bits > 0 ? 1 : 0))
			break;
		parts = split(&comparison, parts, bits);
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

/* whole_table makes one part of a table, and says how its rows are numbered. */
static WhParts *
whole_table(const WhFeed *feed, PGconn *plain, const WhFeedTable *table,
			const WhSourceTable *source)
{
	WhParts *parts = palloc0(sizeof(WhParts));
	const WhSourceColumn *key = wh_row_integer_key(source);
	WhSide here = {.source = source, .table = table};
	int64 least = PG_INT64_MAX;
	int64 greatest = PG_INT64_MIN;
	WhResult *theirs;
	WhRows *ours;
	WhUser saved;

	parts->count = 1;
	parts->ids = palloc0(sizeof(int64));
	parts->width = WH_NUMBER_BITS;
	draw_seeds(parts);
	if (key == NULL)
		return parts;
	theirs = wh_source_query(plain, wh_sql("SELECT min(%I), max(%I) FROM ONLY %I.%I", key->name,
										   key->name, source->schema, source->name));
	wh_user_become(feed->owner, &saved);
	ours = wh_spi_query(wh_sql("SELECT min(%I)::pg_catalog.text, max(%I)::pg_catalog.text"
							   " FROM ONLY %T",
							   wh_side_name(&here, key), wh_side_name(&here, key), table->mirror),
						0, NULL);
	wh_user_restore(&saved);
	extend(&least, &greatest, wh_result_value(theirs, 0, 0), wh_result_value(theirs, 0, 1));
	extend(&least, &greatest, wh_rows_text(ours, 0, 1), wh_rows_text(ours, 0, 2));
	if (least > greatest || (uint64) greatest - (uint64) least >= UINT64CONST(1) << WH_NUMBER_BITS)
		return parts;
	parts->by_key = true;
	parts->width = pg_ceil_log2_64((uint64) greatest - (uint64) least + 1);
	/* the last range ends behind the greatest key, and within what an integer can be */
	parts->least = Min(least, PG_INT64_MAX - (INT64CONST(1) << parts->width) + 1);
	return parts;
}

static void
draw_seeds(WhParts *parts)
{
	uint64 random[4];

	if (!pg_strong_random(random, sizeof(random)))
		elog(ERROR, "no random numbers");
	parts->seed = random[0];
	parts->null = random[1];
	snprintf(parts->null_text, sizeof(parts->null_text), "%016llx%016llx",
			 (unsigned long long) random[2], (unsigned long long) random[3]);
}

static void
extend(int64 *least, int64 *greatest, const char *low, const char *high)
{
	if (low == NULL || high == NULL)
		return;
	*least = Min(*least, strtoll(low, NULL, 10));
	*greatest = Max(*greatest, strtoll(high, NULL, 10));
}

/* -------- checksums -------- */

/* split compares parts by more bits of their numbers, and returns those that differ. */
static WhParts *
split(Comparison *comparison, WhParts *parts, int bits)
{
	int more = bits - parts->bits;
	int64 total = (int64) parts->count << more;
	uint64 *sums = palloc_extended(sizeof(uint64) * total, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	WhParts *result = palloc(sizeof(WhParts));

	comparison->there.parts = comparison->here.parts = parts;
	tune(comparison);
	wh_source_copy(comparison->plain,
				   wh_sql("COPY (%s) TO STDOUT", sums_query(&comparison->there, parts, bits)),
				   PGRES_COPY_OUT);
	add_mirror_sums(comparison, parts, bits, sums);
	add_source_sums(comparison->plain, parts, bits, sums);
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
	elog(DEBUG1, "table \"%s\": of " INT64_FORMAT " parts %d differ",
		 comparison->here.table->source_name, total, result->count);
	return result;
}

/*
 * tune sets on both sides what a planner cannot know: groups are few beside the rows, so that
 * sorting these costs more than a table of those, and sending groups from a parallel worker costs
 * nothing.  A compiled expression pays where all rows are read, and inlining into it does not.
 */
static void
tune(const Comparison *comparison)
{
	const char *settings[][2] = {{"work_mem", WORK_MEM},
								 {"enable_sort", "off"},
								 {"parallel_tuple_cost", "0"},
								 {"jit", looks_up(comparison->there.parts) ? "off" : "on"},
								 {"jit_inline_above_cost", "-1"}};

	wh_settings_pin("UTC");
	for (int i = 0; i < lengthof(settings); i++)
	{
		wh_source_query(comparison->plain, wh_sql("SET %I = %L", settings[i][0], settings[i][1]));
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
	}
}

/* sums_query gives hashes of one row each where few are looked up: they are added up here. */
static char *
sums_query(const WhSide *side, const WhParts *parts, int bits)
{
	bool is_sum = !looks_up(parts);
	char *condition;
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT %s >> %d, %s(%s) FROM ", wh_row_number_sql(side),
				  parts->width - bits, is_sum ? "pg_catalog.bit_xor" : "", wh_row_hash_sql(side));
	if (is_sum)
	{
		condition = parts_condition(wh_row_number_sql(side), parts, 0, parts->count);
		append_rows(&sql, side);
		if (condition != NULL)
			wh_sql_append(&sql, " AND %s", condition);
		appendStringInfoString(&sql, " GROUP BY 1");
	}
	else
		append_ranges(&sql, side, parts);
	return sql.data;
}

/* append_rows appends all of a side's rows, and the beginning of a condition. */
static void
append_rows(StringInfo sql, const WhSide *side)
{
	if (side->table != NULL)
		wh_sql_append(sql, "ONLY %T WHERE true", side->table->mirror);
	else
		wh_sql_append(sql, "ONLY %I.%I WHERE (%s)", side->source->schema, side->source->name,
					  side->source->row_filter != NULL ? side->source->row_filter : "true");
}

/* append_ranges appends the rows of parts that are looked up: a range of the index for each. */
static void
append_ranges(StringInfo sql, const WhSide *side, const WhParts *parts)
{
	const char *key = wh_side_name(side, wh_row_integer_key(side->source));
	int shift = parts->width - parts->bits;
	const char *separator = ") \"walhouse parts\" (\"walhouse part\"), LATERAL (SELECT ";

	appendStringInfoString(sql, "pg_catalog.unnest(");
	append_ids(sql, parts, 0, parts->count);
	foreach_ptr(WhSourceColumn, column, side->source->columns)
	{
		wh_sql_append(sql, "%s%I", separator, wh_side_name(side, column));
		separator = ", ";
	}
	appendStringInfoString(sql, " FROM ");
	append_rows(sql, side);
	wh_sql_append(sql,
				  " AND %I >= (\"walhouse part\" << %d) + '%l'::pg_catalog.int8"
				  " AND %I <= (\"walhouse part\" << %d) + '%l'::pg_catalog.int8"
				  " OFFSET 0) \"walhouse rows\"",
				  key, shift, parts->least, key, shift,
				  parts->least + (INT64CONST(1) << shift) - 1);
}

/* add_mirror_sums computes them in C, if all rows are to be looked at. */
static void
add_mirror_sums(const Comparison *comparison, const WhParts *parts, int bits, uint64 *sums)
{
	Relation mirror = table_open(comparison->here.table->mirror, AccessShareLock);
	WhRowHasher *hasher = NULL;
	WhUser saved;

	if (!looks_up(parts))
		hasher = wh_row_hasher(&comparison->here, mirror);
	wh_user_become(comparison->feed->owner, &saved);
	if (hasher != NULL)
		scan_mirror(hasher, mirror, parts, bits, sums);
	else
		query_mirror(comparison, sums_query(&comparison->here, parts, bits), parts, bits, sums);
	wh_user_restore(&saved);
	table_close(mirror, NoLock);
}

static void
scan_mirror(const WhRowHasher *hasher, Relation mirror, const WhParts *parts, int bits,
			uint64 *sums)
{
	TupleTableSlot *slot = table_slot_create(mirror, NULL);
	TableScanDesc scan;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	scan = table_beginscan(mirror, GetActiveSnapshot(), 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		int64 number;
		uint64 hash = wh_row_hash(hasher, slot, &number);

		CHECK_FOR_INTERRUPTS();
		add_sum(sums, parts, bits, number >> (parts->width - bits), hash);
	}
	table_endscan(scan);
	PopActiveSnapshot();
	ExecDropSingleTupleTableSlot(slot);
}

/* query_mirror computes them in one statement, with what memory it takes. */
static void
query_mirror(const Comparison *comparison, const char *query, const WhParts *parts, int bits,
			 uint64 *sums)
{
	WhRows *rows;
	bool isnull;
	ArrayType *ids;
	ArrayType *values;

	rows = wh_spi_query(wh_sql("SELECT pg_catalog.array_agg(s.id), pg_catalog.array_agg(s.sum)"
							   " FROM (%s) s (id, sum)",
							   query),
						0, NULL);
	ids = (ArrayType *) DatumGetPointer(wh_rows_datum(rows, 0, 1, &isnull));
	if (isnull)
		return;
	ids = DatumGetArrayTypeP(PointerGetDatum(ids));
	values = DatumGetArrayTypeP(wh_rows_datum(rows, 0, 2, &isnull));
	for (int i = 0; i < ArrayGetNItems(ARR_NDIM(ids), ARR_DIMS(ids)); i++)
		add_sum(sums, parts, bits, ((int64 *) ARR_DATA_PTR(ids))[i],
				((uint64 *) ARR_DATA_PTR(values))[i]);
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
		add_sum(sums, parts, bits, id, (uint64) strtoll(rest, NULL, 10));
		PQfreemem(line);
	}
}

/* add_sum adds to a part's sum, if the part is asked for: those of what was one part stand
 * together. */
static void
add_sum(uint64 *sums, const WhParts *parts, int bits, int64 id, uint64 sum)
{
	int more = bits - parts->bits;
	int64 whole = id >> more;
	int64 *found = parts->ids;

	if (parts->bits > 0)
		found = bsearch(&whole, parts->ids, parts->count, sizeof(int64), compare_ids);
	else if (whole != 0)
		found = NULL;
	if (found != NULL)
		sums[((found - parts->ids) << more) | (id & ((INT64CONST(1) << more) - 1))] ^= sum;
}

/* -------- conditions -------- */

char *
wh_compare_source_condition(PGconn *plain, const WhSourceTable *source, const WhParts *parts,
							int first, int count)
{
	WhSide side = {.source = source, .converts = converts(plain), .parts = parts};

	return keys_condition(&side, first, count);
}

char *
wh_compare_mirror_condition(PGconn *plain, const WhFeedTable *table, const WhSourceTable *source,
							const WhParts *parts, int first, int count)
{
	WhSide side = {.source = source, .table = table, .converts = converts(plain), .parts = parts};

	return keys_condition(&side, first, count);
}

/* are_few: some parts' keys may be looked up one by one. */
static bool
are_few(const WhParts *parts, int count)
{
	int shift = parts->width - parts->bits;

	return parts->by_key && shift <= 30 &&
		   (double) count * (INT64CONST(1) << shift) <= parts->all_rows / READ_COST;
}

/* looks_up: the next look is at the rows of these parts alone. */
static bool
looks_up(const WhParts *parts)
{
	return parts->bits > 0 && are_few(parts, parts->count);
}

/* keys_condition says that a row belongs to one of some parts; NULL where all do.  Where these have
 * few keys, by the keys themselves, for which there is an index. */
static char *
keys_condition(const WhSide *side, int first, int count)
{
	const WhParts *parts = side->parts;
	int shift = parts->width - parts->bits;
	StringInfoData sql;

	if (!are_few(parts, count))
		return parts_condition(wh_row_number_sql(side), parts, first, count);
	initStringInfo(&sql);
	wh_sql_append(&sql,
				  "%I = ANY (ARRAY(SELECT (p.i << %d) + g.i + '%l'::pg_catalog.int8"
				  " FROM pg_catalog.unnest(",
				  wh_side_name(side, wh_row_integer_key(side->source)), shift, parts->least);
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

/* -------- keys -------- */

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
