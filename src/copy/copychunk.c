/*
 * copychunk.c
 *		One chunk of a table that is copied while the stream goes on: a range of its blocks.
 *
 * Keys that are owed (copied.c) come with it, each by itself: they are compared by the source's own
 * operators, so collations that differ here do no harm.
 *
 * A role that has privileges of columns alone may not ask where a row lies: the table comes whole.
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
		read->first = copy->first;
		read->end = Min(copy->first + copier->blocks, copy->end);
	}
	if (read->first < read->end && !source->may_read_ctid)
	{
		read->first = 0;
		read->end = copy->end;
		conditions = list_make1("true");
	}
	else
	{
		if (read->first < read->end)
			conditions = lappend(conditions, wh_range_condition(read->first, read->end));
		foreach_ptr(WhOwed, one, owed)
			conditions = lappend(conditions, key_condition(source, one->key));
	}
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

/* -------- conditions in the source's SQL -------- */

char *
wh_range_condition(int64 first, int64 end)
{
	return wh_sql("ctid >= '(%l,0)'::pg_catalog.tid AND ctid < '(%l,0)'::pg_catalog.tid", first,
				  end);
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
