/*
 * feeds.c
 *		Reads the catalog of feeds, tables, columns and positions.
 *
 * Everybody may read these tables, so the queries run as the current user.  Results live in the
 * caller's context.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "changelog/changelog.h"
#include "changelog/changelog_private.h"

#define FEED_COLUMNS \
	"SELECT feed_id, name, owner::pg_catalog.oid, server, slot, publication, time_zone, state, " \
	"enabled," \
	" horizon, owns_publication, log_partition_size, source_system_id, source_timeline," \
	" source_database, house_system_id, house_timeline, house_database, lsn_offset, resync_lsn " \
	"FROM " \
	"walhouse.feed "

static WhFeed *read_feed(const WhRows *rows);
static List *read_tables(const char *condition, int nargs, const WhArg *args);
static void read_columns(WhFeedTable *table);
static List *read_key(const WhRows *rows, uint64 row, int column);

WhFeed *
wh_changelog_feed(const char *name, bool missing_ok)
{
	WhArg arg = WH_ARG_TEXT(name);
	WhRows *rows = wh_spi_query_kept(FEED_COLUMNS "WHERE name = $1", 1, &arg);

	if (rows->count == 0 && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("feed \"%s\" does not exist", name),
				 errhint("SELECT name FROM walhouse.feed lists the feeds.")));
	return rows->count == 0 ? NULL : read_feed(rows);
}

WhFeed *
wh_changelog_feed_by_id(int32 feed_id, bool missing_ok)
{
	WhArg arg = WH_ARG_INT4(feed_id);
	WhRows *rows = wh_spi_query_kept(FEED_COLUMNS "WHERE feed_id = $1", 1, &arg);

	if (rows->count == 0 && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("feed with id %d does not exist", feed_id)));
	return rows->count == 0 ? NULL : read_feed(rows);
}

static WhFeed *
read_feed(const WhRows *rows)
{
	WhFeed *feed = palloc0(sizeof(WhFeed));
	bool isnull;

	feed->id = wh_rows_int4(rows, 0, 1);
	feed->name = wh_rows_text(rows, 0, 2);
	feed->owner = wh_rows_oid(rows, 0, 3);
	feed->server = wh_rows_text(rows, 0, 4);
	feed->slot = wh_rows_text(rows, 0, 5);
	feed->publication = wh_rows_text(rows, 0, 6);
	feed->time_zone = wh_rows_text(rows, 0, 7);
	feed->state = wh_rows_text(rows, 0, 8);
	feed->enabled = wh_rows_bool(rows, 0, 9);
	feed->horizon = wh_rows_lsn(rows, 0, 10);
	feed->owns_publication = wh_rows_bool(rows, 0, 11);
	feed->log_partition_size = wh_rows_int8(rows, 0, 12);
	feed->source_system_id = wh_rows_text(rows, 0, 13);
	feed->source_timeline = DatumGetInt32(wh_rows_datum(rows, 0, 14, &isnull));
	feed->source_database = DatumGetObjectId(wh_rows_datum(rows, 0, 15, &isnull));
	feed->house_system_id = wh_rows_text(rows, 0, 16);
	feed->house_timeline = DatumGetInt32(wh_rows_datum(rows, 0, 17, &isnull));
	feed->house_database = DatumGetObjectId(wh_rows_datum(rows, 0, 18, &isnull));
	feed->lsn_offset = wh_rows_int8(rows, 0, 19);
	feed->resync_lsn = wh_rows_lsn(rows, 0, 20);
	return feed;
}

List *
wh_changelog_tables(int32 feed_id)
{
	WhArg arg = WH_ARG_INT4(feed_id);

	return read_tables("feed_id = $1", 1, &arg);
}

WhFeedTable *
wh_changelog_table(int32 feed_id, Oid source_relid)
{
	WhArg args[] = {WH_ARG_INT4(feed_id), WH_ARG_OID(source_relid)};
	List *tables = read_tables("feed_id = $1 AND source_relid = $2", 2, args);

	return tables == NIL ? NULL : linitial(tables);
}

WhFeedTable *
wh_changelog_table_of_mirror(Oid mirror)
{
	WhArg arg = WH_ARG_REGCLASS(mirror);
	List *tables = read_tables("mirror = $1", 1, &arg);

	return tables == NIL ? NULL : linitial(tables);
}

/* read_tables reads the tables that meet a condition over its arguments, with their columns. */
static List *
read_tables(const char *condition, int nargs, const WhArg *args)
{
	WhRows *rows = wh_spi_query_kept(
		wh_sql("SELECT feed_id, source_relid, source_schema, source_name, mirror::pg_catalog.oid,"
			   " log::pg_catalog.oid, state, sync_lsn, key, row_filter, column_list, mirrored,"
			   " mirrored_from, log_key_index, definition::pg_catalog.text, state = 'copy' AND"
			   " EXISTS (SELECT FROM walhouse.feed_copy c WHERE c.feed_id = feed_table.feed_id AND"
			   " c.source_relid = feed_table.source_relid AND c.begun), compared_lsn, strayed"
			   " FROM walhouse.feed_table"
			   " WHERE %s ORDER BY feed_id, source_relid",
			   condition),
		nargs, args);
	List *tables = NIL;

	for (uint64 i = 0; i < rows->count; i++)
	{
		WhFeedTable *table = palloc0(sizeof(WhFeedTable));

		table->feed_id = wh_rows_int4(rows, i, 1);
		table->source_relid = wh_rows_oid(rows, i, 2);
		table->source_schema = wh_rows_text(rows, i, 3);
		table->source_name = wh_rows_text(rows, i, 4);
		table->mirror = wh_rows_oid(rows, i, 5);
		table->log = wh_rows_oid(rows, i, 6);
		table->state = wh_rows_text(rows, i, 7);
		table->sync_lsn = wh_rows_lsn(rows, i, 8);
		table->key = read_key(rows, i, 9);
		table->row_filter = wh_rows_text(rows, i, 10);
		table->has_column_list = wh_rows_bool(rows, i, 11);
		table->has_mirror = wh_rows_bool(rows, i, 12);
		table->mirrored_from = wh_rows_lsn(rows, i, 13);
		table->log_key_index = wh_rows_bool(rows, i, 14);
		table->definition = wh_rows_text(rows, i, 15);
		table->is_copied = wh_rows_bool(rows, i, 16);
		table->compared_lsn = wh_rows_lsn(rows, i, 17);
		table->has_strayed = wh_rows_bool(rows, i, 18);
		read_columns(table);
		tables = lappend(tables, table);
	}
	return tables;
}

/* read_columns reads a table's columns; the type is the mirror column's. */
static void
read_columns(WhFeedTable *table)
{
	WhArg args[] = {WH_ARG_INT4(table->feed_id), WH_ARG_OID(table->source_relid)};
	WhRows *rows = wh_spi_query_kept(
		"SELECT attnum::integer, source_name, source_type, log_column, mirror_column, dropped"
		" FROM walhouse.feed_column WHERE feed_id = $1 AND source_relid = $2 ORDER BY attnum",
		2, args);

	for (uint64 i = 0; i < rows->count; i++)
	{
		WhFeedColumn *column = palloc0(sizeof(WhFeedColumn));
		AttrNumber attno;

		column->attnum = wh_rows_int4(rows, i, 1);
		column->source_name = wh_rows_text(rows, i, 2);
		column->source_type = wh_rows_text(rows, i, 3);
		column->log_column = wh_rows_text(rows, i, 4);
		column->mirror_column = wh_rows_text(rows, i, 5);
		column->dropped = wh_rows_bool(rows, i, 6);
		attno = get_attnum(table->mirror, column->mirror_column);
		if (attno != InvalidAttrNumber)
			column->type = get_atttype(table->mirror, attno);
		table->columns = lappend(table->columns, column);
	}
}

static List *
read_key(const WhRows *rows, uint64 row, int column)
{
	bool isnull;
	Datum array = wh_rows_datum(rows, row, column, &isnull);
	Datum *values;
	int count;
	List *key = NIL;

	deconstruct_array(DatumGetArrayTypeP(array), INT2OID, sizeof(int16), true, TYPALIGN_SHORT,
					  &values, NULL, &count);
	for (int i = 0; i < count; i++)
		key = lappend_int(key, DatumGetInt16(values[i]));
	return key;
}

XLogRecPtr
wh_changelog_position(int32 feed_id, TimestampTz *clock)
{
	WhArg arg = WH_ARG_INT4(feed_id);
	WhRows *rows = wh_spi_query_kept("SELECT position, clock FROM walhouse.feed_position"
									 " WHERE feed_id = $1 ORDER BY position DESC LIMIT 1",
									 1, &arg);
	bool isnull;

	if (rows->count == 0)
		return InvalidXLogRecPtr;
	if (clock != NULL)
		*clock = DatumGetTimestampTz(wh_rows_datum(rows, 0, 2, &isnull));
	return wh_rows_lsn(rows, 0, 1);
}

Oid
wh_changelog_txn_relid(const WhFeed *feed)
{
	Oid schema = wh_changelog_schema_oid(wh_changelog_log_schema(feed));
	Oid relid = OidIsValid(schema) ? get_relname_relid("txn", schema) : InvalidOid;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table of transactions of feed \"%s\" does not exist", feed->name)));
	return relid;
}

TimestampTz
wh_changelog_clock(const WhFeed *feed, XLogRecPtr position)
{
	WhArg args[2];
	WhRows *rows;
	bool isnull;

	args[0] = WH_ARG_LSN(position);
	args[1] = WH_ARG_INT4(feed->id);
	rows = wh_catalog_query(
		wh_sql(
			"SELECT COALESCE("
			"(SELECT t.clock FROM %T t WHERE t.end_lsn <= $1 ORDER BY t.end_lsn DESC LIMIT 1),"
			"(SELECT p.clock FROM walhouse.feed_position p WHERE p.feed_id = $2 AND p.position"
			" <= $1"
			" ORDER BY p.position DESC LIMIT 1),"
			"(SELECT p.clock FROM walhouse.feed_position p WHERE p.feed_id = $2 ORDER BY"
			" p.position LIMIT 1))",
			wh_changelog_txn_relid(feed)),
		2, args);
	return DatumGetTimestampTz(wh_rows_datum(rows, 0, 1, &isnull));
}
