/*
 * difference.c
 *		Rows of the source against those of the mirror: what differs is logged, and the mirror has
 * it.
 *
 * Rows that were read at the source, all of a table or those that meet a condition, are kept in a
 * stage, which spills to disk.  They are joined with the mirror's rows that meet the same
 * condition, by the equality of the mirror's key.  A row that the mirror lacks is an I, one that
 * the source lacks a B and a D, and one that is not byte for byte the same in all columns that
 * the source has a B and a U: the log looks as if one source transaction, at the LSN that is
 * given, had made the changes.  So a key must be compared once only at one LSN.
 *
 * All is in the caller's transaction, which holds the state lock, or shares it as ingest does;
 * the log has its partition for the LSN.  A crash leaves nothing.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "copy/copy_private.h"

#define RESYNC_CONTEXT "walhouse: resync"

struct WhDifference
{
	const WhFeed *feed;
	const WhFeedTable *table;
	const WhSourceTable *source;
	XLogRecPtr lsn;
	int64 seq; /* of the last change that is logged */
	WhDifferenceCounts counts;
	WhStage *stage; /* wh_rows: what the source has; wh_changes: what differs */
};

static void add_row(void *arg, const Datum *values, const bool *nulls);
static void find_changes(WhDifference *difference, const char *condition);
static void append_key_condition(StringInfo sql, const WhFeedTable *table);
static char *equality(Relation index, int i);
static void log_changes(WhDifference *difference);
static void append_image(StringInfo sql, const WhFeedTable *table, char prefix);
static uint64 write_mirror(WhDifference *difference, char op);

WhDifference *
wh_difference_begin(const WhFeed *feed, const WhFeedTable *table, const WhSourceTable *source,
					XLogRecPtr lsn, int64 seq)
{
	WhDifference *difference = palloc0(sizeof(WhDifference));
	StringInfoData sql;
	const char *separator = "SELECT ";

	difference->feed = feed;
	difference->table = table;
	difference->source = source;
	difference->lsn = lsn;
	difference->seq = seq;
	difference->stage = wh_stage_create();
	initStringInfo(&sql);
	foreach_ptr(WhSourceColumn, column, source->columns)
	{
		wh_sql_append(&sql, "%s%I AS c%d", separator,
					  wh_snapshot_column(table, column->attnum)->mirror_column, column->attnum);
		separator = ", ";
	}
	wh_sql_append(&sql, " FROM ONLY %T WHERE false", table->mirror);
	wh_stage_fill(difference->stage, "wh_rows", sql.data, 0, NULL);
	return difference;
}

uint64
wh_difference_take(WhDifference *difference, PGconn *plain, const char *condition)
{
	return wh_snapshot_read(difference->feed, plain, difference->table, difference->source,
							condition, add_row, difference);
}

static void
add_row(void *arg, const Datum *values, const bool *nulls)
{
	WhDifference *difference = arg;

	wh_stage_add(difference->stage, "wh_rows", NULL, values, nulls);
}

WhDifferenceCounts
wh_difference_write(WhDifference *difference, const char *condition)
{
	WhUser saved;

	wh_user_become(difference->feed->owner, &saved);
	find_changes(difference, condition);
	if (wh_stage_count(difference->stage, "wh_changes") > 0)
	{
		log_changes(difference);
		difference->counts.deletes = write_mirror(difference, 'D');
		difference->counts.updates = write_mirror(difference, 'U');
		difference->counts.inserts = write_mirror(difference, 'I');
	}
	wh_user_restore(&saved);
	wh_stage_drop(difference->stage);
	return difference->counts;
}

/*
 * find_changes keeps what differs: where the row is in the mirror (tid, NULL: nowhere), whether the
 * source has it, the image of the mirror (o…) and that of the source (c…), both by attnum.
 */
static void
find_changes(WhDifference *difference, const char *condition)
{
	const WhFeedTable *table = difference->table;
	StringInfoData sql;
	StringInfoData was;
	StringInfoData is;
	int first = linitial_int(table->key);

	initStringInfo(&sql);
	initStringInfo(&was);
	initStringInfo(&is);
	foreach_ptr(WhSourceColumn, column, difference->source->columns)
	{
		appendStringInfo(&was, "%sm.o%d", was.len > 0 ? ", " : "", column->attnum);
		appendStringInfo(&is, "%ss.c%d", is.len > 0 ? ", " : "", column->attnum);
	}
	appendStringInfo(&sql,
					 "SELECT pg_catalog.row_number() OVER () + " INT64_FORMAT
					 " AS seq, m.*, s.c%d IS NOT NULL AS stays, s.* FROM (SELECT x.ctid AS tid",
					 difference->seq, first);
	foreach_ptr(WhFeedColumn, column, table->columns)
		wh_sql_append(&sql, ", x.%I AS o%d", column->mirror_column, column->attnum);
	wh_sql_append(&sql, " FROM ONLY %T x", table->mirror);
	if (condition != NULL)
		wh_sql_append(&sql, " WHERE %s", condition);
	wh_sql_append(&sql, ") m FULL JOIN wh_rows s ON ");
	append_key_condition(&sql, table);
	wh_sql_append(&sql,
				  " WHERE m.o%d IS NULL OR s.c%d IS NULL"
				  " OR pg_catalog.record_image_ne(ROW(%s), ROW(%s))",
				  first, first, was.data, is.data);
	wh_stage_fill(difference->stage, "wh_changes", sql.data, 0, NULL);
}

/* append_key_condition: keys are equal where the mirror's index says so. */
static void
append_key_condition(StringInfo sql, const WhFeedTable *table)
{
	Relation index = index_open(wh_changelog_key_index(table->mirror), AccessShareLock);
	int i = 0;

	if (index->rd_index->indnkeyatts != list_length(table->key))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the primary key of mirror %s was altered",
						wh_sql_relation(table->mirror))));
	foreach_int(attnum, table->key)
	{
		wh_sql_append(sql, "%sm.o%d %s s.c%d", i > 0 ? " AND " : "", attnum, equality(index, i),
					  attnum);
		i++;
	}
	index_close(index, NoLock);
}

static char *
equality(Relation index, int i)
{
	Oid equal = get_opfamily_member(index->rd_opfamily[i], index->rd_opcintype[i],
									index->rd_opcintype[i], BTEqualStrategyNumber);
	HeapTuple tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(equal));
	Form_pg_operator form;
	char *text;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "missing equality of operator family %u", index->rd_opfamily[i]);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	text = wh_sql("OPERATOR(%I.%s)", get_namespace_name(form->oprnamespace),
				  NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return text;
}

/* log_changes logs what differs, in the order that a log has. */
static void
log_changes(WhDifference *difference)
{
	const WhFeedTable *table = difference->table;
	WhArg lsn = WH_ARG_LSN(difference->lsn);
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "INSERT INTO %T (lsn, seq, op", table->log);
	foreach_ptr(WhFeedColumn, column, table->columns)
		wh_sql_append(&sql, ", %I", column->log_column);
	wh_sql_append(&sql, ") SELECT $1, d.seq, 'B'::pg_catalog.\"char\" AS op");
	append_image(&sql, table, 'o');
	wh_sql_append(&sql, " FROM wh_changes d WHERE d.tid IS NOT NULL UNION ALL SELECT $1, d.seq,"
						" CASE WHEN d.tid IS NULL THEN 'I' ELSE 'U' END::pg_catalog.\"char\"");
	append_image(&sql, table, 'c');
	wh_sql_append(&sql, " FROM wh_changes d WHERE d.stays UNION ALL SELECT $1, d.seq,"
						" 'D'::pg_catalog.\"char\"");
	append_image(&sql, table, 'k');
	wh_sql_append(&sql, " FROM wh_changes d WHERE NOT d.stays ORDER BY seq, op");
	wh_stage_execute(difference->stage, sql.data, 1, &lsn);
	difference->seq += wh_stage_count(difference->stage, "wh_changes");
}

/*
 * append_image appends a row's values for all columns of the log: of the mirror (o), of the source
 * (c), where a column that the source has no more is NULL, or the key alone (k).
 */
static void
append_image(StringInfo sql, const WhFeedTable *table, char prefix)
{
	foreach_ptr(WhFeedColumn, column, table->columns)
	{
		bool is_key = list_member_int(table->key, column->attnum);

		if ((prefix == 'c' && column->dropped) || (prefix == 'k' && !is_key))
			wh_sql_append(sql, ", NULL");
		else
			wh_sql_append(sql, ", d.%s%d", prefix == 'c' ? "c" : "o", column->attnum);
	}
}

/* write_mirror brings one kind of change to the mirror; returns how many. */
static uint64
write_mirror(WhDifference *difference, char op)
{
	const WhFeedTable *table = difference->table;
	StringInfoData sql;
	StringInfoData columns;
	StringInfoData values;

	initStringInfo(&sql);
	initStringInfo(&columns);
	initStringInfo(&values);
	foreach_ptr(WhFeedColumn, column, table->columns)
	{
		const char *separator = columns.len > 0 ? ", " : "";

		wh_sql_append(&columns, "%s%I", separator, column->mirror_column);
		if (column->dropped)
			wh_sql_append(&values, "%sNULL", separator);
		else
			wh_sql_append(&values, "%sd.c%d", separator, column->attnum);
	}
	if (op == 'D')
		wh_sql_append(&sql,
					  "DELETE FROM ONLY %T m USING wh_changes d WHERE m.ctid = d.tid"
					  " AND NOT d.stays",
					  table->mirror);
	else if (op == 'U')
		wh_sql_append(&sql,
					  "UPDATE ONLY %T m SET (%s) = ROW(%s) FROM wh_changes d"
					  " WHERE m.ctid = d.tid AND d.stays",
					  table->mirror, columns.data, values.data);
	else
		wh_sql_append(&sql, "INSERT INTO %T (%s) SELECT %s FROM wh_changes d WHERE d.tid IS NULL",
					  table->mirror, columns.data, values.data);
	return wh_stage_execute(difference->stage, sql.data, 0, NULL);
}

int64
wh_difference_seq(const WhDifference *difference)
{
	return difference->seq;
}

void
wh_difference_log(const WhFeed *feed, XLogRecPtr lsn, TimestampTz commit_time, TimestampTz clock,
				  const WhDifferenceCounts *counts)
{
	Oid txn = wh_changelog_txn_relid(feed);
	WhArg args[] = {WH_ARG_LSN(lsn), WH_ARG_TIMESTAMPTZ(commit_time), WH_ARG_TIMESTAMPTZ(clock),
					WH_ARG_INT8(counts->inserts), WH_ARG_INT8(counts->updates),
					WH_ARG_INT8(counts->deletes)};
	WhUser saved;

	if (counts->inserts + counts->updates + counts->deletes == 0)
		return;
	wh_user_become(feed->owner, &saved);
	wh_spi_execute(
		wh_sql("INSERT INTO %T AS t (end_lsn, xid, commit_time, clock, inserts, updates, deletes,"
			   " context) VALUES ($1, 0, $2, $3, $4, $5, $6, ARRAY[%L])"
			   " ON CONFLICT (end_lsn) DO UPDATE SET inserts = t.inserts + excluded.inserts,"
			   " updates = t.updates + excluded.updates, deletes = t.deletes + excluded.deletes",
			   txn, RESYNC_CONTEXT),
		lengthof(args), args);
	wh_user_restore(&saved);
}
