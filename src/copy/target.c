/*
 * target.c
 *		A table of the feed as ingest sees it: which source column stands where in mirror and log.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/base.h"
#include "copy/copy_private.h"

static void stop_target(const WhFeed *feed, const WhFeedTable *table, const char *reason,
						const char *command);
static bool has_types(Oid relid, const Oid *types, int count);

List *
wh_target_open_all(const WhFeed *feed)
{
	List *targets = NIL;

	foreach_ptr(WhFeedTable, table, wh_changelog_tables(feed->id))
	{
		bool is_stopped = strcmp(table->state, "resync") == 0;

		if (wh_target_exists(table) && !wh_target_is_altered(table))
			targets = lappend(targets, wh_target_open(table));
		else if (!is_stopped && wh_target_exists(table))
			stop_target(feed, table, "its mirror or its change log was altered",
						wh_sql("Alter it back, and CALL walhouse.resync_table(%L, %L).", feed->name,
							   table->source_name));
		else if (!is_stopped)
			stop_target(feed, table, "its mirror or its change log was dropped",
						wh_sql("CALL walhouse.drop_feed(%L) and create the feed again.",
							   feed->name));
	}
	return targets;
}

/*
 * wh_target_is_altered says whether somebody has taken a column from mirror or log, or changed its
 * type: both have the same, for rows of the one are written to the other.
 */
bool
wh_target_is_altered(const WhFeedTable *table)
{
	if (!wh_target_fits_log(table->log))
		return true;
	foreach_ptr(WhFeedColumn, column, table->columns)
	{
		AttrNumber in_mirror = get_attnum(table->mirror, column->mirror_column);
		AttrNumber in_log = get_attnum(table->log, column->log_column);

		if (in_mirror == InvalidAttrNumber || in_log == InvalidAttrNumber ||
			get_atttype(table->mirror, in_mirror) != get_atttype(table->log, in_log))
			return true;
	}
	return false;
}

bool
wh_target_fits_log(Oid log)
{
	static const Oid types[] = {PG_LSNOID, INT8OID, CHAROID};

	return has_types(log, types, lengthof(types));
}

bool
wh_target_fits_txn(Oid txn)
{
	static const Oid types[] = {PG_LSNOID, INT8OID, TIMESTAMPTZOID, TEXTOID, TIMESTAMPTZOID,
								INT8OID, INT8OID, INT8OID, INT4OID, TEXTARRAYOID};

	return has_types(txn, types, lengthof(types));
}

static bool
has_types(Oid relid, const Oid *types, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (get_atttype(relid, i + 1) != types[i])
			return false;
	}
	return true;
}

WhWant
wh_target_want(const WhTarget *target, XLogRecPtr end_lsn)
{
	const WhFeedTable *table = target->table;

	if (table->is_copied)
		return WH_WANT_COPY;
	if (!target->is_ready)
		return WH_WANT_NOTHING;
	if (table->has_mirror && end_lsn <= table->mirrored_from)
		return WH_WANT_LOG;
	if (end_lsn <= wh_target_begin(table))
		return WH_WANT_NOTHING;
	return table->has_mirror ? WH_WANT_ALL : WH_WANT_LOG;
}

XLogRecPtr
wh_target_begin(const WhFeedTable *table)
{
	return Max(table->sync_lsn, table->compared_lsn);
}

bool
wh_target_has_columns(Relation rel, TupleDesc desc)
{
	TupleDesc now = RelationGetDescr(rel);

	for (int i = 0; now->natts == desc->natts && i < desc->natts; i++)
	{
		Form_pg_attribute is = TupleDescAttr(now, i);
		Form_pg_attribute was = TupleDescAttr(desc, i);

		if (is->atttypid != was->atttypid || is->attisdropped != was->attisdropped ||
			namestrcmp(&is->attname, NameStr(was->attname)) != 0)
			return false;
	}
	return now->natts == desc->natts;
}

bool
wh_target_exists(const WhFeedTable *table)
{
	return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(table->mirror)) &&
		   SearchSysCacheExists1(RELOID, ObjectIdGetDatum(table->log));
}

/* stop_target stops a table whose mirror or log somebody dropped or altered; the others go on. */
static void
stop_target(const WhFeed *feed, const WhFeedTable *table, const char *reason, const char *command)
{
	wh_changelog_set_table_state(table, "resync", InvalidXLogRecPtr, reason);
	ereport(WARNING,
			(errmsg("table \"%s\" of feed \"%s\" stops: %s", table->source_name, feed->name, reason),
			 errdetail("Its changes are not kept any more; the other tables of the feed go on."),
			 errhint("%s", command)));
}

WhTarget *
wh_target_open(WhFeedTable *table)
{
	WhTarget *target = palloc0(sizeof(WhTarget));
	Relation mirror = table_open(table->mirror, AccessShareLock);
	Relation log = table_open(table->log, AccessShareLock);

	target->table = table;
	target->desc = CreateTupleDescCopyConstr(RelationGetDescr(mirror));
	target->is_ready = strcmp(table->state, "ready") == 0;
	target->log_desc = CreateTupleDescCopy(RelationGetDescr(log));
	target->log_natts = target->log_desc->natts;
	target->log_attno = palloc(sizeof(int) * target->desc->natts);
	for (int i = 0; i < target->desc->natts; i++)
		target->log_attno[i] = -1;
	foreach_ptr(WhFeedColumn, column, table->columns)
		target->max_attnum = Max(target->max_attnum, column->attnum);
	target->mirror_attno = palloc(sizeof(int) * (target->max_attnum + 1));
	for (int i = 0; i <= target->max_attnum; i++)
		target->mirror_attno[i] = -1;
	foreach_ptr(WhFeedColumn, column, table->columns)
	{
		AttrNumber mirror_attno = get_attnum(table->mirror, column->mirror_column);
		AttrNumber log_attno = get_attnum(table->log, column->log_column);

		target->mirror_attno[column->attnum] = mirror_attno - 1;
		target->log_attno[mirror_attno - 1] = log_attno - 1;
	}
	target->key = palloc(sizeof(int) * list_length(table->key));
	foreach_int(attnum, table->key)
		target->key[target->nkeys++] = target->mirror_attno[attnum];
	table_close(log, AccessShareLock);
	table_close(mirror, AccessShareLock);
	return target;
}
