/*
 * copychunk.c
 *		One chunk of a table that is copied while the stream goes on: a range of the key.
 *
 * The range begins behind the key that the chunk before ended with, and ends after so many rows, by
 * the order that the source's own operators give: comparisons are made there alone, so collations
 * that differ here do no harm.  Keys that are owed (copied.c) come with it.
 *
 * A row goes into the mirror if that does not have its key, and the key is not one that a source
 * transaction took away which the snapshot does not see.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/copy.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "copy/copy_private.h"

static WhSourceColumn *key_column(const WhSourceTable *source, int attnum);
static const char *operator_schema(const WhSourceColumn *column);
static void append_beyond(StringInfo sql, const WhSourceTable *source, List *key, const char *op);
static void append_row(StringInfo sql, const WhSourceTable *source, List *key);
static List *find_boundary(PGconn *plain, const WhSourceTable *source, List *after, int rows);
static char *range_condition(const WhSourceTable *source, List *after, List *boundary);
static char *key_condition(const WhSourceTable *source, List *key);
static void take_rows(CopyFromState copy, WhTarget *target, WhAppend *mirror,
					  const WhUnseen *unseen, WhChunkRead *read);

void
wh_chunk_read(WhCopier *copier, const WhFeed *feed, const WhCopy *copy,
			  const WhSourceTable *source, WhChunkRead *read)
{
	List *owed = wh_copied_owed(copy->table, &copier->unseen);
	List *conditions = NIL;
	WhTarget *target = wh_target_open(copy->table);
	CopyFromState rows;
	WhAppend *mirror;
	TimestampTz start;
	WhUser saved;

	if (!copy->all_read)
	{
		read->boundary = find_boundary(copier->plain, source, copy->boundary, copier->rows);
		conditions = lappend(conditions, range_condition(source, copy->boundary, read->boundary));
	}
	foreach_ptr(WhOwed, one, owed)
		conditions = lappend(conditions, key_condition(source, one->key));
	wh_user_become(feed->owner, &saved);
	PushActiveSnapshot(GetTransactionSnapshot());
	mirror = wh_changelog_append_open(copy->table->mirror);
	if (conditions != NIL)
	{
		rows = wh_snapshot_begin(copier->plain, copy->table, source,
								 wh_changelog_append_relation(mirror), conditions);
		start = GetCurrentTimestamp();
		take_rows(rows, target, mirror, &copier->unseen, read);
		read->took = GetCurrentTimestamp() - start;
		read->bytes = wh_snapshot_end(rows);
	}
	wh_changelog_append_close(mirror);
	PopActiveSnapshot();
	wh_user_restore(&saved);
	wh_copied_settle(copy->table, &copier->unseen, owed);
}

/* take_rows adds the rows that come and that the mirror lacks, in bounded memory. */
static void
take_rows(CopyFromState copy, WhTarget *target, WhAppend *mirror, const WhUnseen *unseen,
		  WhChunkRead *read)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext rows = AllocSetContextCreate(caller, "walhouse chunk", ALLOCSET_DEFAULT_SIZES);
	WhKeymap *map = wh_keymap_open(target, wh_changelog_append_relation(mirror));
	EState *estate = CreateExecutorState();
	ExprContext *econtext = GetPerTupleExprContext(estate);
	WhImage *image;

	wh_copied_mark(target, map, unseen);
	MemoryContextSwitchTo(rows);
	while (image = wh_image_create(target->desc->natts),
		   NextCopyFrom(copy, econtext, image->values, image->nulls))
	{
		WhRow *row = wh_keymap_find(map, image, false, WH_COPIED_MARK);

		read->rows++;
		if (row->image != NULL || row->touched == WH_COPIED_MARK)
			read->excluded++;
		else
		{
			row->image = image;
			wh_changelog_append(mirror, image->values, image->nulls);
		}
		if (MemoryContextMemAllocated(rows, true) > (Size) wh_feed_memory * 1024)
		{
			wh_changelog_append_flush(mirror);
			wh_keymap_reset_to_touched(map, WH_COPIED_MARK);
			MemoryContextReset(rows);
			CommandCounterIncrement();
			PopActiveSnapshot();
			PushActiveSnapshot(GetTransactionSnapshot());
		}
		CHECK_FOR_INTERRUPTS();
	}
	wh_changelog_append_flush(mirror);
	MemoryContextSwitchTo(caller);
	wh_keymap_close(map);
	FreeExecutorState(estate);
	MemoryContextDelete(rows);
}

/* -------- ranges of the key, in the source's SQL -------- */

/* find_boundary gives the key of the last row of a chunk; NIL when there are not so many. */
static List *
find_boundary(PGconn *plain, const WhSourceTable *source, List *after, int rows)
{
	StringInfoData sql;
	const char *separator = "SELECT ";
	WhResult *result;
	List *boundary = NIL;

	initStringInfo(&sql);
	foreach_int(attnum, source->key)
	{
		wh_sql_append(&sql, "%s%I::pg_catalog.text", separator,
					  key_column(source, attnum)->name);
		separator = ", ";
	}
	wh_sql_append(&sql, " FROM ONLY %I.%I WHERE ", source->schema, source->name);
	append_beyond(&sql, source, after, ">");
	separator = " ORDER BY ";
	foreach_int(attnum, source->key)
	{
		const WhSourceColumn *column = key_column(source, attnum);

		wh_sql_append(&sql, "%s%I USING OPERATOR(%I.<)", separator, column->name,
					  operator_schema(column));
		separator = ", ";
	}
	wh_sql_append(&sql, " OFFSET %d LIMIT 1", rows - 1);
	result = wh_source_query(plain, sql.data);
	for (int i = 0; result->rows > 0 && i < result->columns; i++)
		boundary = lappend(boundary, wh_result_value(result, 0, i));
	return boundary;
}

static char *
range_condition(const WhSourceTable *source, List *after, List *boundary)
{
	StringInfoData sql;

	initStringInfo(&sql);
	append_beyond(&sql, source, after, ">");
	wh_sql_append(&sql, " AND ");
	append_beyond(&sql, source, boundary, "<=");
	return sql.data;
}

/* key_condition finds one row; each is a query of its own, so that an index serves it. */
static char *
key_condition(const WhSourceTable *source, List *key)
{
	StringInfoData sql;
	int i = 0;

	initStringInfo(&sql);
	foreach_int(attnum, source->key)
	{
		const WhSourceColumn *column = key_column(source, attnum);

		wh_sql_append(&sql, "%s%I OPERATOR(%I.=) %L", i > 0 ? " AND " : "", column->name,
					  operator_schema(column), (char *) list_nth(key, i));
		i++;
	}
	return sql.data;
}

/*
 * append_beyond compares the key with values; no values: true.  Rows of built-in types are compared
 * as rows, which an index serves whole; an operator of an extension is named by itself.
 */
static void
append_beyond(StringInfo sql, const WhSourceTable *source, List *key, const char *op)
{
	bool is_plain = true;
	int i = 0;

	if (key == NIL)
	{
		wh_sql_append(sql, "true");
		return;
	}
	foreach_int(attnum, source->key)
		is_plain = is_plain &&
				   strcmp(operator_schema(key_column(source, attnum)), "pg_catalog") == 0;
	if (is_plain)
	{
		append_row(sql, source, NIL);
		wh_sql_append(sql, " OPERATOR(pg_catalog.%s) ", op);
		append_row(sql, source, key);
		return;
	}
	foreach_int(attnum, source->key)
	{
		const WhSourceColumn *column = key_column(source, attnum);
		const char *schema = operator_schema(column);
		const char *value = list_nth(key, i);
		bool is_last = ++i == list_length(key);

		wh_sql_append(sql, "(%I OPERATOR(%I.%s) %L", column->name, schema,
					  is_last ? op : op[0] == '>' ? ">" :
													"<",
					  value);
		if (!is_last)
			wh_sql_append(sql, " OR %I OPERATOR(%I.=) %L AND ", column->name, schema, value);
	}
	for (; i > 0; i--)
		wh_sql_append(sql, ")");
}

/* append_row writes the key's columns, or values for them, as a row. */
static void
append_row(StringInfo sql, const WhSourceTable *source, List *key)
{
	int i = 0;

	wh_sql_append(sql, "ROW(");
	foreach_int(attnum, source->key)
	{
		if (i > 0)
			wh_sql_append(sql, ", ");
		if (key == NIL)
			wh_sql_append(sql, "%I", key_column(source, attnum)->name);
		else
			wh_sql_append(sql, "%L", (char *) list_nth(key, i));
		i++;
	}
	wh_sql_append(sql, ")");
}

static WhSourceColumn *
key_column(const WhSourceTable *source, int attnum)
{
	foreach_ptr(WhSourceColumn, column, source->columns)
	{
		if (column->attnum == attnum)
			return column;
	}
	elog(ERROR, "key column %d of table \"%s\" is not among its columns", attnum, source->name);
	return NULL;
}

/* operator_schema: an extension's operators are where its type is. */
static const char *
operator_schema(const WhSourceColumn *column)
{
	return column->type >= FirstNormalObjectId && column->type_kind == TYPTYPE_BASE ?
			   column->type_schema :
			   "pg_catalog";
}
