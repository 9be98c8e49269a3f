/*
 * snapshot.c
 *		Rows of a source table in a snapshot, and the copy of tables into their mirrors.
 *
 * The rows come from the snapshot that the slot's consistent point stands for, so that copy and
 * stream meet without a gap and without an overlap.  They go from COPY TO on the source into COPY
 * FROM here: binary where every column has a built-in type, else text.  Which rows, and by whom,
 * say others: crew.c in a first copy, copychunk.c beside the stream.  A table that is to be copied
 * anew, alone and whole, comes through a temporary slot, in one transaction.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/copy.h"
#include "commands/defrem.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_relation.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "copy/copy_private.h"

/* What the copy that is going on reads from; COPY FROM's callback has no argument. */
static struct
{
	PGconn *conn;
	char *buffer; /* of libpq */
	int len;
	int used;
	uint64 bytes; /* that have come */
} copy_source;

static char *snapshot_query(const WhFeedTable *table, const WhSourceTable *source,
							List *conditions, List **columns, bool *is_binary);
static int read_copy(void *out, int minread, int maxread);
static void copy_again(const WhFeed *feed, PGconn *plain, const WhFeedTable *table,
					   const WhSourceTable *source, XLogRecPtr lsn, bool mirror_on);
static void rebuild_models(const WhFeedTable *table);

uint64
wh_snapshot_copy(const WhFeed *feed, PGconn *plain, const WhFeedTable *table,
				 const WhSourceTable *source, const char *condition, uint64 *bytes)
{
	CopyFromState copy;
	Relation rel;
	WhUser saved;
	uint64 rows;

	wh_user_become(feed->owner, &saved);
	PushActiveSnapshot(GetTransactionSnapshot());
	rel = table_open(table->mirror, RowExclusiveLock);
	copy = wh_snapshot_begin(plain, table, source, rel,
							 condition != NULL ? list_make1(pstrdup(condition)) : NIL);
	rows = CopyFrom(copy);
	*bytes = wh_snapshot_end(copy);
	table_close(rel, NoLock);
	PopActiveSnapshot();
	wh_user_restore(&saved);
	return rows;
}

uint64
wh_snapshot_read(const WhFeed *feed, PGconn *plain, const WhFeedTable *table,
				 const WhSourceTable *source, const char *condition, WhRowTaker take, void *arg)
{
	Relation rel = table_open(table->mirror, AccessShareLock);
	TupleDesc desc = RelationGetDescr(rel);
	Datum *values = palloc(sizeof(Datum) * desc->natts);
	bool *nulls = palloc(sizeof(bool) * desc->natts);
	Datum *row = palloc(sizeof(Datum) * list_length(source->columns));
	bool *row_nulls = palloc(sizeof(bool) * list_length(source->columns));
	EState *estate = CreateExecutorState();
	ExprContext *context = GetPerTupleExprContext(estate);
	MemoryContext old = CurrentMemoryContext;
	CopyFromState copy;
	WhUser saved;
	uint64 rows = 0;

	wh_user_become(feed->owner, &saved);
	PushActiveSnapshot(GetTransactionSnapshot());
	copy = wh_snapshot_begin(plain, table, source, rel,
							 condition != NULL ? list_make1(pstrdup(condition)) : NIL);
	MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
	while (NextCopyFrom(copy, context, values, nulls))
	{
		int i = 0;

		foreach_ptr(WhSourceColumn, column, source->columns)
		{
			int attno = get_attnum(table->mirror,
								   wh_snapshot_column(table, column->attnum)->mirror_column) -
						1;

			row[i] = values[attno];
			row_nulls[i++] = nulls[attno];
		}
		take(arg, row, row_nulls);
		ResetPerTupleExprContext(estate);
		rows++;
	}
	MemoryContextSwitchTo(old);
	(void) wh_snapshot_end(copy);
	PopActiveSnapshot();
	wh_user_restore(&saved);
	FreeExecutorState(estate);
	table_close(rel, NoLock);
	return rows;
}

CopyFromState
wh_snapshot_begin(PGconn *plain, const WhFeedTable *table, const WhSourceTable *source,
				  Relation mirror, List *conditions)
{
	List *columns;
	bool is_binary;
	char *query = snapshot_query(table, source, conditions, &columns, &is_binary);
	List *options = list_make2(
		makeDefElem("format", (Node *) makeString(is_binary ? "binary" : "text"), -1),
		makeDefElem("encoding", (Node *) makeString(pstrdup(GetDatabaseEncodingName())), -1));
	ParseState *state = make_parsestate(NULL);

	addRangeTableEntryForRelation(state, mirror, RowExclusiveLock, NULL, false, false);
	wh_source_copy(plain, query, PGRES_COPY_OUT);
	copy_source.conn = plain;
	copy_source.buffer = NULL;
	copy_source.len = copy_source.used = 0;
	copy_source.bytes = 0;
	return BeginCopyFrom(state, mirror, NULL, NULL, false, read_copy, columns, options);
}

uint64
wh_snapshot_end(CopyFromState copy)
{
	EndCopyFrom(copy);
	while (copy_source.len != -1)
	{
		char byte;

		read_copy(&byte, 1, 1);
	}
	return copy_source.bytes;
}

/* Names say what is read, and the definition is the snapshot's, so it is to have them still: those
 * of pg_class and pg_attribute are the snapshot's, pg_identify_object has them as they are now.  As
 * long as this transaction lasts, and its lock, nobody can change them or the file. */
void
wh_snapshot_check(PGconn *plain, const WhSourceTable *source)
{
	WhResult *same = wh_source_query(
		plain,
		wh_sql("SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid ="
			   " c.relnamespace WHERE c.oid = %u AND c.relfilenode ="
			   " pg_catalog.pg_relation_filenode(c.oid) AND NOT EXISTS (SELECT FROM"
			   " pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT"
			   " a.attisdropped AND (pg_catalog.pg_identify_object("
			   "'pg_catalog.pg_class'::pg_catalog.regclass, c.oid, a.attnum)).identity IS DISTINCT"
			   " FROM pg_catalog.concat_ws('.', pg_catalog.quote_ident(n.nspname),"
			   " pg_catalog.quote_ident(c.relname), pg_catalog.quote_ident(a.attname)))",
			   source->relid));

	if (same->rows == 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the table was emptied or written anew, or has other names, at the source since its snapshot was taken"),
				 errdetail("In the snapshot it is \"%s.%s\".", source->schema, source->name)));
}

/*
 * snapshot_query is the one place that builds what is read of a source table: what may not leave
 * the source is kept back here, and in the plugin: columns and rows that the publication does not
 * publish.  Types that this database lacks come as their
 * text, as they do in the stream.
 */
static char *
snapshot_query(const WhFeedTable *table, const WhSourceTable *source, List *conditions,
			   List **columns, bool *is_binary)
{
	StringInfoData sql;
	StringInfoData select;

	*columns = NIL;
	*is_binary = true;
	initStringInfo(&sql);
	initStringInfo(&select);
	foreach_ptr(WhSourceColumn, column, source->columns)
	{
		bool is_text;
		Oid type = wh_changelog_local_type(column, &is_text);

		appendStringInfo(&select, "%s%s", *columns == NIL ? "SELECT " : ", ",
						 is_text ? wh_row_output_sql(column->name) :
								   wh_sql_identifier(column->name));
		*columns = lappend(*columns,
						   makeString(wh_snapshot_column(table, column->attnum)->mirror_column));
		/* the vectors' receive functions refuse empty ones */
		if (type >= FirstNormalObjectId || type == INT2VECTOROID || type == OIDVECTOROID)
			*is_binary = false;
	}
	wh_sql_append(&select, " FROM ONLY %I.%I WHERE (%s)", source->schema, source->name,
				  source->row_filter != NULL ? source->row_filter : "true");
	wh_sql_append(&sql, "COPY (%s", conditions == NIL ? select.data : "");
	foreach_ptr(char, condition, conditions)
		wh_sql_append(&sql, "%s%s AND (%s)",
					  condition == linitial(conditions) ? "" : " UNION ALL ", select.data,
					  condition);
	wh_sql_append(&sql, ") TO STDOUT (FORMAT %s)", *is_binary ? "binary" : "text");
	return sql.data;
}

WhFeedColumn *
wh_snapshot_column(const WhFeedTable *table, int attnum)
{
	foreach_ptr(WhFeedColumn, column, table->columns)
	{
		if (column->attnum == attnum)
			return column;
	}
	elog(ERROR, "column %d of table \"%s\" is not in the catalog", attnum, table->source_name);
	return NULL;
}

/* read_copy gives COPY FROM at least minread bytes, fewer at the end. */
static int
read_copy(void *out, int minread, int maxread)
{
	int done = 0;

	while (done < minread && copy_source.len != -1)
	{
		int some = Min(copy_source.len - copy_source.used, maxread - done);

		if (some > 0)
		{
			memcpy((char *) out + done, copy_source.buffer + copy_source.used, some);
			copy_source.used += some;
			done += some;
			continue;
		}
		if (copy_source.buffer != NULL)
			PQfreemem(copy_source.buffer);
		copy_source.buffer = NULL;
		copy_source.used = 0;
		copy_source.len = wh_source_receive(copy_source.conn, &copy_source.buffer, -1);
		copy_source.bytes += Max(copy_source.len, 0);
	}
	return done;
}

void
wh_snapshot_resync(const WhFeed *feed, const WhFeedTable *table, bool mirror_on)
{
	bool has_mirror = table->has_mirror || mirror_on;
	PGconn *plain;
	PGconn *replication;
	WhIdentity source;
	WhIdentity house = wh_house_identity();
	char *snapshot;
	XLogRecPtr lsn;
	List *tables;
	WhUser saved;

	wh_lock_state(feed->id);
	wh_feed_check_resync(feed);
	plain = wh_connect(feed, false);
	replication = wh_connect(feed, true);
	source = wh_source_identity(replication);
	wh_feed_check_identity(feed, &source);
	lsn = wh_slot_create(feed, replication, plain,
						 psprintf("walhouse_copy_%d_%d", MyProcPid, feed->id), WH_SLOT_TEMPORARY,
						 &snapshot);
	wh_snapshot_use(plain, snapshot);
	tables = wh_source_tables(feed, plain,
							  strcmp(source.system_id, house.system_id) == 0 &&
								  source.database == house.database,
							  table->source_relid);
	if (tables == NIL || ((WhSourceTable *) linitial(tables))->key == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s.%s\" of feed \"%s\" cannot be copied", table->source_schema, table->source_name, feed->name),
				 tables == NIL ? errdetail("Publication \"%s\" of the source does not hold it.", feed->publication) : errdetail("It has no key that its replica identity sends."),
				 errhint("Mend it at the source and CALL walhouse.resync_table again; of a table that was dropped and made anew, walhouse.remove_table and walhouse.add_table.")));
	if (!has_mirror)
		wh_mirror_check_identity(plain, feed, table);
	if (mirror_on || !wh_resync_compare(feed, plain, table, linitial(tables), lsn))
		copy_again(feed, plain, table, linitial(tables), lsn, mirror_on);
	wh_txn_commit();
	wh_disconnect(plain);
	wh_disconnect(replication);
	wh_user_become(feed->owner, &saved);
	wh_spi_execute(wh_sql("ANALYZE %T", table->mirror), 0, NULL);
	wh_user_restore(&saved);
	wh_txn_commit();
}

/* copy_again copies a table in the snapshot of an LSN, at which its log begins. */
static void
copy_again(const WhFeed *feed, PGconn *plain, const WhFeedTable *table,
		   const WhSourceTable *source, XLogRecPtr lsn, bool mirror_on)
{
	bool has_mirror = table->has_mirror || mirror_on;
	/* What lies between the feed's position and the copy is in the copy; where the log has been
	 * complete, it is to be logged all the same. */
	bool goes_on = mirror_on && strcmp(table->state, "ready") == 0 &&
				   wh_snapshot_is_defined_so(table, source) &&
				   wh_changelog_position(feed->id, NULL) >= wh_target_begin(table);
	WhUser saved;
	uint64 bytes;

	wh_user_become(feed->owner, &saved);
	wh_spi_execute(wh_sql("DELETE FROM %T", table->mirror), 0, NULL);
	wh_user_restore(&saved);
	wh_changelog_redefine(feed, table, source);
	wh_changelog_note_definition(table, source, &(WhSchemaChange){.lsn = lsn});
	CommandCounterIncrement();
	table = wh_changelog_table_of_mirror(table->mirror);
	if (has_mirror)
	{
		wh_snapshot_copy(feed, plain, table, source, NULL, &bytes);
		wh_snapshot_check(plain, source);
	}
	wh_changelog_set_table_state(table, "ready", lsn, NULL);
	wh_changelog_set_mirror(table, has_mirror, goes_on ? lsn : InvalidXLogRecPtr);
	wh_changelog_set_strayed(table, false);
	wh_copier_forget(table);
	rebuild_models(table);
}

bool
wh_snapshot_is_defined_so(const WhFeedTable *table, const WhSourceTable *source)
{
	int known = 0;

	foreach_ptr(WhFeedColumn, column, table->columns)
		known += column->dropped ? 0 : 1;
	foreach_ptr(WhSourceColumn, column, source->columns)
	{
		bool same = false;

		foreach_ptr(WhFeedColumn, was, table->columns)
			same = same || (was->attnum == column->attnum && !was->dropped &&
							strcmp(was->source_name, column->name) == 0 &&
							strcmp(was->source_type, wh_changelog_source_type(column)) == 0);
		if (!same)
			return false;
	}
	return known == list_length(source->columns) && equal(table->key, source->key) &&
		   strcmp(table->row_filter != NULL ? table->row_filter : "",
				  source->row_filter != NULL ? source->row_filter : "") == 0;
}

/* rebuild_models sends the models that read a table to their next build: the log has a gap for
 * them. */
static void
rebuild_models(const WhFeedTable *table)
{
	WhArg args[] = {WH_ARG_INT4(table->feed_id), WH_ARG_OID(table->mirror)};

	wh_catalog_execute(
		"UPDATE walhouse.model m SET state = 'rebuild', error = NULL, error_time = NULL"
		" WHERE m.feed_id = $1 AND m.state <> 'new' AND EXISTS (SELECT FROM pg_catalog.pg_depend d"
		"             JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid"
		"             WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass"
		"             AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass"
		"             AND d.refobjid = $2 AND r.ev_class = m.query::pg_catalog.oid)",
		2, args);
}

void
wh_snapshot_check_filters(const WhFeed *feed, PGconn *plain)
{
	WhResult *filters = wh_source_query(
		plain,
		wh_sql("SELECT c.oid, p.rowfilter FROM pg_catalog.pg_publication_tables p"
			   " JOIN pg_catalog.pg_namespace n ON n.nspname = p.schemaname"
			   " JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename"
			   " WHERE p.pubname = %L AND p.rowfilter IS NOT NULL",
			   feed->publication));

	foreach_ptr(WhFeedTable, table, wh_changelog_tables(feed->id))
	{
		const char *now = "none";
		const char *was = table->row_filter != NULL ? table->row_filter : "none";

		for (int i = 0; i < filters->rows; i++)
		{
			if (strtoul(wh_result_value(filters, i, 0), NULL, 10) == table->source_relid)
				now = wh_result_value(filters, i, 1);
		}
		if (strcmp(table->state, "ready") != 0 || strcmp(now, was) == 0)
			continue;
		wh_changelog_set_table_state(table, "resync", InvalidXLogRecPtr,
									 "the publication's row filter of the table changed");
		ereport(WARNING,
				(errmsg("the row filter of table \"%s\" of feed \"%s\" changed", table->source_name, feed->name),
				 errdetail("It is %s, and was %s when the table was copied.", now, was),
				 errhint("CALL walhouse.resync_table(%s, %s).", wh_sql_literal(feed->name),
						 wh_sql_literal(table->source_name))));
	}
	wh_txn_commit();
}
