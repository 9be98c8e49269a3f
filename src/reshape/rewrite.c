/*
 * rewrite.c
 *		Online changes of tables and partitions: what is under way, and how to give it up.
 *
 * A change is done in steps, each a transaction that also says in walhouse.partition_rewrite which
 * is next: one that was cut off anywhere is gone on with by the next call of the same procedure,
 * and given up by cancel_rewrite().
 *
 * Locks: a step that needs a strong lock takes SHARE UPDATE EXCLUSIVE first, for which nobody but
 * DDL and VACUUM has to make way (autovacuum does, after deadlock_timeout), then asks for the
 * strong one.  It waits for that no longer than half of walhouse.partition_lock_timeout, since
 * others queue behind it meanwhile, and tries again after a pause.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "reshape/reshape.h"
#include "reshape/reshape_private.h"

#define LOCK_TRIES 100
#define FIRST_PAUSE_MS 20
#define LAST_PAUSE_MS 2000
#define DDL_LOCK_MS 10000 /* longer than deadlock_timeout, so that autovacuum gives way */

PG_FUNCTION_INFO_V1(walhouse_cancel_rewrite);

static void forget_gone(void);
static List *read_oids(const char *text);
static List *read_texts(const WhRows *rows, int column);

void
wh_reshape_init(void)
{
	wh_partition_on_gone(forget_gone);
}

static void
forget_gone(void)
{
	wh_catalog_execute("DELETE FROM walhouse.partition_rewrite r WHERE NOT EXISTS (SELECT FROM"
					   " pg_catalog.pg_class c WHERE c.oid = r.relid)",
					   0, NULL);
}

Oid
wh_rewrite_owner(Oid relid)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("relation with OID %u does not exist", relid)));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

WhRewrite *
wh_rewrite_read(Oid relid)
{
	WhRewrite *rewrite = palloc0(sizeof(WhRewrite));
	WhRows *rows;
	bool isnull;

	rewrite->relid = relid;
	rewrite->owner = wh_rewrite_owner(relid);
	wh_user_check_owner(rewrite->owner, "table", get_rel_name(relid));
	rows = wh_catalog_query(
		"SELECT kind, state, options, COALESCE(lo, 0), COALESCE(hi, 0),"
		" pg_catalog.array_to_string(sources::pg_catalog.oid[], ' '), COALESCE(staging::"
		"pg_catalog.oid, 0), COALESCE(queue::pg_catalog.oid, 0), key, source, position, signature,"
		" pg_catalog.array_to_string(groups::pg_catalog.oid[], ' ')"
		" FROM walhouse.partition_rewrite WHERE relid = $1 FOR UPDATE",
		1, (WhArg[]){WH_ARG_OID(relid)});
	if (rows->count == 0)
		return NULL;
	rewrite->kind = wh_rows_text(rows, 0, 1);
	rewrite->state = wh_rows_text(rows, 0, 2);
	rewrite->options = WH_ARG_JSONB(wh_rows_datum(rows, 0, 3, &isnull));
	rewrite->lo = wh_rows_int8(rows, 0, 4);
	rewrite->hi = wh_rows_int8(rows, 0, 5);
	rewrite->sources = read_oids(wh_rows_text(rows, 0, 6));
	rewrite->staging = wh_rows_oid(rows, 0, 7);
	rewrite->queue = wh_rows_oid(rows, 0, 8);
	rewrite->key = read_texts(rows, 9);
	rewrite->source = wh_rows_int4(rows, 0, 10);
	rewrite->position = read_texts(rows, 11);
	rewrite->signature = wh_rows_text(rows, 0, 12);
	rewrite->groups = read_oids(wh_rows_text(rows, 0, 13));
	return rewrite;
}

static List *
read_oids(const char *text)
{
	List *oids = NIL;
	char *copy = text != NULL ? pstrdup(text) : NULL;

	for (char *id = copy != NULL ? strtok(copy, " ") : NULL; id != NULL; id = strtok(NULL, " "))
		oids = lappend_oid(oids, atooid(id));
	return oids;
}

/* read_texts lists the elements of a text[]. */
static List *
read_texts(const WhRows *rows, int column)
{
	bool isnull;
	Datum array = wh_rows_datum(rows, 0, column, &isnull);
	Datum *values;
	int count;
	List *texts = NIL;

	if (isnull)
		return NIL;
	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &values, NULL,
					  &count);
	for (int i = 0; i < count; i++)
		texts = lappend(texts, TextDatumGetCString(values[i]));
	return texts;
}

void
wh_rewrite_set_state(Oid relid, const char *state)
{
	wh_catalog_execute("UPDATE walhouse.partition_rewrite SET state = $2, updated ="
					   " pg_catalog.clock_timestamp() WHERE relid = $1",
					   2, (WhArg[]){WH_ARG_OID(relid), wh_arg_text(state)});
}

void
wh_rewrite_forget(Oid relid)
{
	wh_catalog_execute("DELETE FROM walhouse.partition_rewrite WHERE relid = $1", 1,
					   (WhArg[]){WH_ARG_OID(relid)});
}

void
wh_rewrite_try(void (*body)(void *arg), void *arg)
{
	for (int i = 1; !wh_rewrite_once(body, arg, i); i++)
		;
}

bool
wh_rewrite_once(void (*body)(void *arg), void *arg, int attempt)
{
	long pause = Min((long) FIRST_PAUSE_MS << Min(attempt, 10), LAST_PAUSE_MS);
	ErrorData *error;
	bool done = wh_txn_try(body, arg, &error);

	wh_txn_commit();
	if (done)
		return true;
	if ((error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
		 error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED) ||
		attempt == LOCK_TRIES)
		ReThrowError(error);
	FreeErrorData(error);
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 pg_prng_uint64_range(&pg_global_prng_state, pause / 2, pause),
					 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return false;
}

void
wh_rewrite_lock_timeout(int ms)
{
	(void) set_config_option("lock_timeout", psprintf("%dms", ms), PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}

void
wh_rewrite_lock_ddl(Oid relid)
{
	wh_rewrite_lock_timeout(DDL_LOCK_MS);
	LockRelationOid(relid, ShareUpdateExclusiveLock);
	wh_rewrite_lock_timeout(Max(wh_partition_lock_timeout / 2, 1));
	if (get_rel_name(relid) == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("relation with OID %u does not exist", relid)));
}

void
wh_rewrite_lock_all(Oid relid)
{
	LockRelationOid(relid, AccessExclusiveLock);
}

double
wh_rewrite_ms(instr_time since)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, since);
	return INSTR_TIME_GET_MILLISEC(now);
}

/* walhouse_cancel_rewrite(relation regclass): everything as it was before. */
Datum
walhouse_cancel_rewrite(PG_FUNCTION_ARGS)
{
	bool atomic = wh_txn_procedure_atomic(fcinfo);
	WhRewrite *rewrite;
	Oid relid;

	wh_txn_check_arguments(fcinfo);
	wh_txn_open("walhouse.cancel_rewrite", atomic);
	relid = PG_GETARG_OID(0);
	rewrite = wh_rewrite_read(relid);
	if (rewrite != NULL && strcmp(rewrite->kind, "convert") != 0)
		wh_split_cancel(relid);
	else
		wh_rewrite_try(wh_rewrite_cancel, &relid);
	wh_txn_close();
	PG_RETURN_VOID();
}

void
wh_rewrite_cancel(void *arg)
{
	Oid relid = *(Oid *) arg;
	WhRewrite *rewrite;
	WhUser saved;

	wh_user_check_owner(wh_rewrite_owner(relid), "table", get_rel_name(relid));
	wh_rewrite_lock_ddl(relid);
	rewrite = wh_rewrite_read(relid);
	if (rewrite == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("nothing is under way with table \"%s\"", get_rel_name(relid))));
	wh_user_become(rewrite->owner, &saved);
	wh_spi_execute(wh_sql("ALTER TABLE %T DROP CONSTRAINT IF EXISTS walhouse_range", relid), 0,
				   NULL);
	wh_user_restore(&saved);
	wh_rewrite_forget(relid);
}
