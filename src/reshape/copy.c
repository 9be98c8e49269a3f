/*
 * copy.c
 *		Rows of partitions copied into new ones while they are written.
 *
 * A trigger keeps the key of each row that is written, in the writer's transaction.  It is there,
 * for every writer, before the first row is copied.  Then the rows are copied in the order of
 * the key, a chunk in a transaction that also says how far it has come.  Then the keys that were
 * kept are taken, some at a time: the rows that the copy has under them are deleted, and copied
 * anew as they are by now.
 *
 * So what was right about a key when it was taken stays right, or there is a newer entry of it:
 * whatever becomes visible after the copy looked has its entry become visible with it.  In what
 * order entries come, and how often, is of no account.  Under a lock that keeps writers out, when
 * no entry is left, the copy has each row once, as it is.
 *
 * TRUNCATE leaves an entry of NULLs: the copy begins anew.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "reshape/reshape.h"
#include "reshape/reshape_private.h"

#define ROW_TRIGGER "walhouse_capture"
#define TRUNCATE_TRIGGER "walhouse_capture_truncate"

PG_FUNCTION_INFO_V1(walhouse_capture_change);

static char *key_list(const WhRewrite *rewrite, const char *suffix);
static char *column_list(Oid relid);
static char *past_position(const WhRewrite *rewrite, Oid relid);
static void apply_to(const WhRewrite *rewrite, const WhStage *stage, List *sources,
					 const WhTarget *target);
static bool has_key(const WhStage *stage, const WhTarget *target);
static void begin_anew(const WhRewrite *rewrite);
static Relation open_queue(Relation source, const char *name);
static bool key_changed(Relation source, char **columns, int count, HeapTuple old, HeapTuple new);
static void keep_key(Relation queue, Relation source, char **columns, int count, HeapTuple tuple);

void
wh_copy_chunk(const WhRewrite *rewrite, int rows)
{
	Oid source = list_nth_oid(rewrite->sources, rewrite->source);
	char *columns = column_list(source);
	int level = wh_settings_push_joins(WH_JOINS_PROBE);
	WhArg args[4] = {WH_ARG_OID(rewrite->relid)};
	WhRows *last;
	WhUser saved;

	wh_settings_avoid_scans();
	wh_user_become(rewrite->owner, &saved);
	last = wh_spi_query(
		wh_sql("WITH wh_chunk AS MATERIALIZED (SELECT %s FROM %T%s ORDER BY %s LIMIT %d), wh_put AS"
			   " (INSERT INTO %T (%s) SELECT %s FROM wh_chunk) SELECT (SELECT pg_catalog.count(*)"
			   " FROM wh_chunk), ARRAY[%s] FROM wh_chunk ORDER BY %s LIMIT 1",
			   columns, source, past_position(rewrite, source), key_list(rewrite, ""), rows,
			   rewrite->staging, columns, columns, key_list(rewrite, "::pg_catalog.text"),
			   key_list(rewrite, " DESC")),
		0, NULL);
	wh_user_restore(&saved);
	wh_settings_pop(level);
	wh_toplevel_point("split: copying");
	if (last->count > 0)
	{
		args[1] = WH_ARG_INT8(wh_rows_int8(last, 0, 1));
		args[2].type = TEXTARRAYOID;
		args[2].value = wh_rows_datum(last, 0, 2, &args[2].isnull);
		wh_catalog_execute("UPDATE walhouse.partition_rewrite SET copied = copied + $2, position ="
						   " $3, updated = pg_catalog.clock_timestamp() WHERE relid = $1",
						   3, args);
		return;
	}
	args[1] = WH_ARG_INT4(list_length(rewrite->sources));
	wh_catalog_execute(
		"UPDATE walhouse.partition_rewrite SET source = CASE WHEN source + 1 = $2 THEN 0 ELSE "
		"source + 1 END, position = NULL,"
		" state = CASE WHEN source + 1 = $2 THEN 'analyze' ELSE state END, updated ="
		" pg_catalog.clock_timestamp() WHERE relid = $1",
		2, args);
}

int
wh_copy_apply(const WhRewrite *rewrite, int keys, List *sources, List *targets)
{
	WhStage *stage = wh_stage_create();
	char *key = key_list(rewrite, "");
	WhRows *rows;
	WhUser saved;
	int level;
	ListCell *cell;
	int count;

	level = wh_settings_push_joins(WH_JOINS_PROBE);
	wh_settings_avoid_scans();
	wh_user_become(rewrite->owner, &saved);
	count = wh_stage_fill(stage, "wh_taken",
						  wh_sql("DELETE FROM %T WHERE ctid = ANY (ARRAY(SELECT ctid FROM %T LIMIT"
								 " %d)) RETURNING %s",
								 rewrite->queue, rewrite->queue, keys, key),
						  0, NULL);
	wh_stage_fill(stage, "wh_key", wh_sql("SELECT DISTINCT %s FROM wh_taken", key), 0, NULL);
	rows = wh_stage_query(
		stage,
		wh_sql("SELECT FROM wh_taken WHERE %I IS NULL LIMIT 1", (char *) linitial(rewrite->key)),
		0, NULL);
	if (rows->count == 0 && count > 0)
		foreach(cell, targets)
			apply_to(rewrite, stage, sources, lfirst(cell));
	wh_user_restore(&saved);
	wh_settings_pop(level);
	wh_stage_drop(stage);
	wh_toplevel_point("split: applying");
	if (rows->count > 0)
		begin_anew(rewrite);
	else if (count > 0)
		wh_catalog_execute("UPDATE walhouse.partition_rewrite SET applied = applied + $2, updated ="
						   " pg_catalog.clock_timestamp() WHERE relid = $1",
						   2, (WhArg[]){WH_ARG_OID(rewrite->relid), WH_ARG_INT4(count)});
	return count;
}

/* apply_to copies anew, into one table, the rows of wh_key that belong there.  The condition is one
 * of the keys: of the rows, the planner would take it for a way to find them. */
static void
apply_to(const WhRewrite *rewrite, const WhStage *stage, List *sources, const WhTarget *target)
{
	char *columns = column_list(rewrite->relid);
	StringInfoData same;
	ListCell *cell;

	if (!has_key(stage, target))
		return;
	initStringInfo(&same);
	foreach(cell, rewrite->key)
		wh_sql_append(&same, "%swh_row.%I = wh_key.%I", same.len > 0 ? " AND " : "",
					  (char *) lfirst(cell), (char *) lfirst(cell));
	wh_stage_execute(stage,
					 wh_sql("DELETE FROM %T wh_row USING wh_key WHERE %s", target->relid,
							same.data),
					 0, NULL);
	foreach(cell, sources)
	{
		WhTarget *source = lfirst(cell);

		if (has_key(stage, source))
			wh_stage_execute(stage,
							 wh_sql("INSERT INTO %T (%s) SELECT %s FROM (SELECT wh_row.* FROM"
									" (SELECT * FROM wh_key WHERE %s) wh_key JOIN %T wh_row ON %s)"
									" wh_row",
									target->relid, columns, columns, target->condition,
									source->relid, same.data),
							 0, NULL);
	}
}

/* has_key says whether any key belongs into a table. */
static bool
has_key(const WhStage *stage, const WhTarget *target)
{
	return wh_stage_query(stage,
						  wh_sql("SELECT FROM wh_key WHERE %s LIMIT 1", target->condition), 0,
						  NULL)
			   ->count > 0;
}

/* begin_anew empties the copy: a source was truncated. */
static void
begin_anew(const WhRewrite *rewrite)
{
	WhUser saved;

	wh_user_become(rewrite->owner, &saved);
	wh_spi_execute(wh_sql("TRUNCATE %T", rewrite->staging), 0, NULL);
	wh_user_restore(&saved);
	wh_catalog_execute("UPDATE walhouse.partition_rewrite SET source = 0, position = NULL, copied ="
					   " 0, state = 'copy' WHERE relid = $1",
					   1, (WhArg[]){WH_ARG_OID(rewrite->relid)});
}

/* key_list lists the columns of the key, each with what follows it. */
static char *
key_list(const WhRewrite *rewrite, const char *suffix)
{
	StringInfoData list;
	ListCell *cell;

	initStringInfo(&list);
	foreach(cell, rewrite->key)
		wh_sql_append(&list, "%s%I%s", list.len > 0 ? ", " : "", (char *) lfirst(cell), suffix);
	return list.data;
}

/* column_list lists the columns that are not computed. */
static char *
column_list(Oid relid)
{
	WhRows *rows = wh_spi_query("SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = $1"
								" AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER"
								" BY attnum",
								1, (WhArg[]){WH_ARG_OID(relid)});
	StringInfoData list;

	initStringInfo(&list);
	for (uint64 i = 0; i < rows->count; i++)
		wh_sql_append(&list, "%s%I", i > 0 ? ", " : "", wh_rows_text(rows, i, 1));
	return list.data;
}

/* past_position is the condition of rows that follow upon what was copied. */
static char *
past_position(const WhRewrite *rewrite, Oid relid)
{
	StringInfoData values;

	if (rewrite->position == NIL)
		return "";
	initStringInfo(&values);
	for (int i = 0; i < list_length(rewrite->key); i++)
	{
		AttrNumber attnum = get_attnum(relid, list_nth(rewrite->key, i));

		wh_sql_append(&values, "%s%L::%s", i > 0 ? ", " : "",
					  (char *) list_nth(rewrite->position, i),
					  format_type_extended(get_atttype(relid, attnum), -1,
										   FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
	}
	return wh_sql(" WHERE (%s) > (%s)", key_list(rewrite, ""), values.data);
}

void
wh_copy_capture(const WhRewrite *rewrite, Oid source)
{
	StringInfoData arguments;
	ListCell *cell;
	WhUser saved;

	initStringInfo(&arguments);
	wh_sql_append(&arguments, "%u", rewrite->queue);
	foreach(cell, rewrite->key)
		wh_sql_append(&arguments, ", %L", (char *) lfirst(cell));
	wh_user_become(rewrite->owner, &saved);
	wh_spi_execute(wh_sql("CREATE OR REPLACE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %T FOR"
						  " EACH ROW EXECUTE FUNCTION walhouse.capture_change(%s)",
						  ROW_TRIGGER, source, arguments.data),
				   0, NULL);
	wh_spi_execute(wh_sql("CREATE OR REPLACE TRIGGER %I AFTER TRUNCATE ON %T EXECUTE FUNCTION"
						  " walhouse.capture_change(%s)",
						  TRUNCATE_TRIGGER, source, arguments.data),
				   0, NULL);
	/* Replicas of others write here, too. */
	wh_spi_execute(wh_sql("ALTER TABLE %T ENABLE ALWAYS TRIGGER %I, ENABLE ALWAYS TRIGGER %I",
						  source, ROW_TRIGGER, TRUNCATE_TRIGGER),
				   0, NULL);
	wh_user_restore(&saved);
}

void
wh_copy_forget(Oid source)
{
	WhUser saved;

	wh_user_become(wh_rewrite_owner(source), &saved);
	wh_spi_execute(wh_sql("DROP TRIGGER IF EXISTS %I ON %T", ROW_TRIGGER, source), 0, NULL);
	wh_spi_execute(wh_sql("DROP TRIGGER IF EXISTS %I ON %T", TRUNCATE_TRIGGER, source), 0, NULL);
	wh_user_restore(&saved);
}

/*
 * walhouse_capture_change(): writes into the queue what a row's key was, and what it is.  The
 * writer needs no rights on the queue, which the owner of the table has given it in making the
 * trigger.
 */
Datum
walhouse_capture_change(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	Relation queue;
	char **columns;
	int count;

	if (!CALLED_AS_TRIGGER(fcinfo) || data->tg_trigger->tgnargs < 2)
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("walhouse.capture_change() is a trigger of partitions that are being "
							   "split or merged")));
	columns = data->tg_trigger->tgargs + 1;
	count = data->tg_trigger->tgnargs - 1;
	queue = open_queue(data->tg_relation, data->tg_trigger->tgargs[0]);
	if (TRIGGER_FIRED_BY_TRUNCATE(data->tg_event))
		keep_key(queue, data->tg_relation, columns, count, NULL);
	else
		keep_key(queue, data->tg_relation, columns, count, data->tg_trigtuple);
	if (TRIGGER_FIRED_BY_UPDATE(data->tg_event) &&
		key_changed(data->tg_relation, columns, count, data->tg_trigtuple, data->tg_newtuple))
		keep_key(queue, data->tg_relation, columns, count, data->tg_newtuple);
	table_close(queue, NoLock);
	return PointerGetDatum(NULL);
}

/* open_queue opens a table that rows are written to without asking; so it must be a bare one, of
 * the same owner.  It is known by its OID, which no name that changes can mislead. */
static Relation
open_queue(Relation source, const char *id)
{
	Relation queue = try_table_open(atooid(id), RowExclusiveLock);

	if (queue == NULL || queue->rd_rel->relowner != source->rd_rel->relowner ||
		queue->rd_rel->relkind != RELKIND_RELATION || queue->rd_rel->relhasindex ||
		queue->trigdesc != NULL || queue->rd_att->constr != NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the queue of changes of \"%s\" is gone",
							   RelationGetRelationName(source)),
						errhint("CALL walhouse.cancel_rewrite(…) of the partitioned table, as after a "
								"dump was restored that was taken while partitions were split.")));
	return queue;
}

static bool
key_changed(Relation source, char **columns, int count, HeapTuple old, HeapTuple new)
{
	TupleDesc desc = RelationGetDescr(source);

	for (int i = 0; i < count; i++)
	{
		int attnum = SPI_fnumber(desc, columns[i]);
		Form_pg_attribute attribute;
		bool old_null;
		bool new_null;
		Datum a;
		Datum b;

		if (attnum <= 0)
			return true;
		attribute = TupleDescAttr(desc, attnum - 1);
		a = heap_getattr(old, attnum, desc, &old_null);
		b = heap_getattr(new, attnum, desc, &new_null);
		if (old_null || new_null ||
			!datumIsEqual(a, b, attribute->attbyval, attribute->attlen))
			return true;
	}
	return false;
}

/* keep_key writes an entry; of NULLs, by which all is copied anew, where there is no row or the key
 * is not what it was. */
static void
keep_key(Relation queue, Relation source, char **columns, int count, HeapTuple tuple)
{
	TupleDesc from = RelationGetDescr(source);
	TupleDesc to = RelationGetDescr(queue);
	Datum *values = palloc0(sizeof(Datum) * to->natts);
	bool *nulls = palloc(sizeof(bool) * to->natts);

	memset(nulls, true, sizeof(bool) * to->natts);
	for (int i = 0; tuple != NULL && i < Min(count, to->natts); i++)
	{
		int attnum = SPI_fnumber(from, columns[i]);

		if (attnum <= 0 ||
			TupleDescAttr(from, attnum - 1)->atttypid != TupleDescAttr(to, i)->atttypid)
		{
			memset(nulls, true, sizeof(bool) * to->natts);
			break;
		}
		values[i] = heap_getattr(tuple, attnum, from, &nulls[i]);
		if (!nulls[i] && TupleDescAttr(to, i)->attlen == -1)
			values[i] = PointerGetDatum(PG_DETOAST_DATUM(values[i]));
	}
	simple_heap_insert(queue, heap_form_tuple(to, values, nulls));
}
