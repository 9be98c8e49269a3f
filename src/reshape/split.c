/*
 * split.c
 *		split_partition() and merge_partitions(): partitions exchanged for others of the same
 * range while they are used.
 *
 *	- begin: the new partitions are made, as those of a staging table that nobody knows; what goes
 * is held, so that its set does not retire it meanwhile;
 *	- capture: writes of what goes have their keys kept from now on, under a lock that writers
 * wait for;
 *	- copy: its rows, chunk by chunk (copy.c); the staging table finds the partition of each;
 *	- apply: the rows that were written since, until few are left;
 *	- swap: under a lock that keeps all others out, the last of them; the old ones are detached,
 * the new ones attached, whose bounds a CHECK constraint proves;
 *	- dissolve: where the new ones are many, they were attached by groups, and take the place of
 * these, a few under each lock (groups.c);
 *	- clean: what nobody needs any more is dropped.
 *
 * The new partitions have together exactly the range of the old ones: no row that has a place
 * loses it.  The swap's commit does not wait for the disk: what is written afterwards is not
 * durable before it, and if it is lost, all is as before.
 *
 * Rows come with new transaction ids, as from any command that rewrites a table: a transaction in
 * REPEATABLE READ that is older than the copy, and reads the table for the first time after the
 * swap, does not see them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "reshape/reshape.h"
#include "reshape/reshape_private.h"

PG_FUNCTION_INFO_V1(walhouse_split_partition);
PG_FUNCTION_INFO_V1(walhouse_merge_partitions);

static void run(WhSplit *split);
static bool do_next(WhSplit *split, int *attempt);

/* pause_of reads an interval as milliseconds. */
static long
pause_of(Datum interval)
{
	WhRows *rows = wh_spi_query("SELECT (EXTRACT(epoch FROM $1) * 1000)::pg_catalog.int4", 1,
								(WhArg[]){{INTERVALOID, interval, false}});

	return wh_rows_int4(rows, 0, 1);
}

static void
check_pace(const WhSplit *split)
{
	if (split->chunk < 1 || split->pause_ms < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("chunk must be at least 1, and pause not negative")));
}

/* walhouse_split_partition(partition regclass, every text, chunk integer, pause interval) */
Datum
walhouse_split_partition(PG_FUNCTION_ARGS)
{
	bool atomic = wh_txn_procedure_atomic(fcinfo);
	WhSplit split = {.kind = "split"};
	WhRows *rows;

	wh_txn_open("walhouse.split_partition", atomic);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("partition, chunk and pause must not be null")));
	split.partition = PG_GETARG_OID(0);
	split.every = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	split.chunk = PG_GETARG_INT32(2);
	split.pause_ms = pause_of(PG_GETARG_DATUM(3));
	check_pace(&split);
	rows = wh_catalog_query("SELECT relid::pg_catalog.oid FROM walhouse.partition_rewrite WHERE $1"
							" = ANY (sources) UNION ALL SELECT s.parent FROM walhouse.partition p"
							" JOIN walhouse.partition_set s ON s.set_id = p.set_id WHERE p.relid ="
							" $1",
							1, (WhArg[]){WH_ARG_REGCLASS(split.partition)});
	if (rows->count == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("table \"%s\" is no partition of a set",
							   get_rel_name(split.partition))));
	split.parent = wh_rows_oid(rows, 0, 1);
	run(&split);
	wh_txn_close();
	PG_RETURN_VOID();
}

/* walhouse_merge_partitions(parent regclass, "from" text, "to" text, chunk integer, pause
 * interval) */
Datum
walhouse_merge_partitions(PG_FUNCTION_ARGS)
{
	bool atomic = wh_txn_procedure_atomic(fcinfo);
	WhSplit split = {.kind = "merge"};

	wh_txn_check_arguments(fcinfo);
	wh_txn_open("walhouse.merge_partitions", atomic);
	split.parent = PG_GETARG_OID(0);
	split.from = text_to_cstring(PG_GETARG_TEXT_PP(1));
	split.to = text_to_cstring(PG_GETARG_TEXT_PP(2));
	split.chunk = PG_GETARG_INT32(3);
	split.pause_ms = pause_of(PG_GETARG_DATUM(4));
	check_pace(&split);
	run(&split);
	wh_txn_close();
	PG_RETURN_VOID();
}

static void
pause_for(long ms)
{
	CHECK_FOR_INTERRUPTS();
	if (ms == 0)
		return;
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
					 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
}

/* run does step after step, each as the catalog has it after the one before. */
static void
run(WhSplit *split)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context =
		AllocSetContextCreate(caller, "walhouse split", ALLOCSET_DEFAULT_SIZES);
	int attempt = 1;

	MemoryContextSwitchTo(context);
	if (wh_rewrite_read(split->parent) == NULL)
		wh_rewrite_try(wh_split_begin, split);
	wh_txn_commit();
	while (do_next(split, &attempt))
		MemoryContextReset(context);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

/* do_next does the next step; false: there is none. */
static bool
do_next(WhSplit *split, int *attempt)
{
	WhRewrite *rewrite = wh_rewrite_read(split->parent);

	if (rewrite == NULL)
		return false;
	if (split->is_exchanged && strcmp(rewrite->state, "note") == 0)
		ereport(NOTICE,
				(errmsg("partitions of \"%s\" are exchanged; the table was locked for %.0f ms%s",
						get_rel_name(split->parent), split->longest_ms,
						rewrite->groups == NIL ? "" : " at most")));
	if (strcmp(rewrite->kind, split->kind) != 0 || strcmp(rewrite->state, "cancel") == 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("partitions of \"%s\" are being changed already",
							   get_rel_name(split->parent)),
						errdetail("Under way: %s, next step: %s.", rewrite->kind, rewrite->state),
						errhint("Call the same procedure again, or walhouse.cancel_rewrite.")));
	wh_txn_commit();
	wh_toplevel_point(psprintf("split: %s", rewrite->state));
	if (strcmp(rewrite->state, "capture") == 0)
		wh_rewrite_try(wh_split_capture, split);
	else if (strcmp(rewrite->state, "copy") == 0)
	{
		wh_rewrite_try(wh_split_copy, split);
		wh_toplevel_point("split: copied");
		pause_for(split->pause_ms);
	}
	else if (strcmp(rewrite->state, "analyze") == 0)
		wh_rewrite_try(wh_split_analyze, split);
	else if (strcmp(rewrite->state, "apply") == 0)
		wh_rewrite_try(wh_split_apply, split);
	else if (strcmp(rewrite->state, "swap") == 0)
	{
		/* What is written while it waits for its locks is applied before the next attempt. */
		wh_rewrite_try(wh_split_apply, split);
		(void) wh_rewrite_once(wh_split_swap, split, (*attempt)++);
	}
	else if (strcmp(rewrite->state, "dissolve") == 0)
		wh_rewrite_try(wh_groups_dissolve, split);
	else
		wh_rewrite_try(wh_split_clean, split);
	return true;
}
