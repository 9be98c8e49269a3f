/*
 * spi.c
 *		Statements through SPI: connect, run with typed arguments, check, copy out, finish.
 *
 * Each call is a connection of its own, nested in the one that a procedure holds open over its
 * transactions; results are copied into the caller's memory context, so nothing of SPI outlives
 * the call.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "base/base_private.h"

/* How a statement is run. */
typedef enum How
{
	ONCE, /* parsed and planned for these values */
	IN_SNAPSHOT, /* the same, read-only, in the active snapshot */
	KEPT, /* by a plan that is kept for the session */
	KEPT_IN_SNAPSHOT
} How;

static WhRows *query_kept(const char *sql, int nargs, const WhArg *args, How how);
static uint64 run(const char *sql, int nargs, const WhArg *args, How how, WhRows **rows);
static int execute(const char *sql, int nargs, const WhArg *args, How how);
static uint64 run_as_extension(const char *sql, int nargs, const WhArg *args, WhRows **rows);

WhArg
wh_arg_text(const char *value)
{
	WhArg arg = {TEXTOID, (Datum) 0, true};

	if (value != NULL)
	{
		arg.value = CStringGetTextDatum(value);
		arg.isnull = false;
	}
	return arg;
}

uint64
wh_spi_execute(const char *sql, int nargs, const WhArg *args)
{
	return run(sql, nargs, args, ONCE, NULL);
}

WhRows *
wh_spi_query(const char *sql, int nargs, const WhArg *args)
{
	WhRows *rows;

	run(sql, nargs, args, ONCE, &rows);
	return rows;
}

WhRows *
wh_spi_query_kept(const char *sql, int nargs, const WhArg *args)
{
	return query_kept(sql, nargs, args, KEPT);
}

WhRows *
wh_spi_query_snapshot(const char *sql, int nargs, const WhArg *args)
{
	WhRows *rows;

	run(sql, nargs, args, IN_SNAPSHOT, &rows);
	return rows;
}

WhRows *
wh_spi_query_kept_snapshot(const char *sql, int nargs, const WhArg *args)
{
	return query_kept(sql, nargs, args, KEPT_IN_SNAPSHOT);
}

static WhRows *
query_kept(const char *sql, int nargs, const WhArg *args, How how)
{
	int level = wh_settings_push_path();
	WhRows *rows;

	run(sql, nargs, args, how, &rows);
	wh_settings_pop(level);
	return rows;
}

uint64
wh_catalog_execute(const char *sql, int nargs, const WhArg *args)
{
	return run_as_extension(sql, nargs, args, NULL);
}

WhRows *
wh_catalog_query(const char *sql, int nargs, const WhArg *args)
{
	WhRows *rows;

	run_as_extension(sql, nargs, args, &rows);
	return rows;
}

/* run executes one statement; with rows, its result is copied there. */
static uint64
run(const char *sql, int nargs, const WhArg *args, How how, WhRows **rows)
{
	MemoryContext caller = CurrentMemoryContext;
	bool snapshot_pushed = false;
	uint64 processed;
	int code;

	if (!ActiveSnapshotSet())
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		snapshot_pushed = true;
	}
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	code = execute(sql, nargs, args, how);
	if (code < 0)
		elog(ERROR, "statement failed in SPI: %s: %s", SPI_result_code_string(code), sql);
	processed = SPI_processed;
	if (rows != NULL)
		*rows = wh_spi_copy_result(caller);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "could not disconnect from SPI");
	if (snapshot_pushed)
		PopActiveSnapshot();
	MemoryContextSwitchTo(caller);
	return processed;
}

/* execute runs it in the memory of SPI's connection. */
static int
execute(const char *sql, int nargs, const WhArg *args, How how)
{
	Oid *types = palloc(sizeof(Oid) * (nargs + 1));
	Datum *values = palloc(sizeof(Datum) * (nargs + 1));
	char *nulls = palloc(nargs + 1);
	SPIPlanPtr plan = how >= KEPT ? wh_plans_get(sql, nargs, args) : NULL;
	bool read_only = how == IN_SNAPSHOT || how == KEPT_IN_SNAPSHOT;

	for (int i = 0; i < nargs; i++)
	{
		types[i] = args[i].type;
		values[i] = args[i].value;
		nulls[i] = args[i].isnull ? 'n' : ' ';
	}
	if (plan != NULL)
		return wh_plans_execute(plan, values, nulls, read_only);
	return SPI_execute_with_args(sql, nargs, types, values, nulls, read_only, 0);
}

WhRows *
wh_spi_copy_result(MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	WhRows *rows = palloc0(sizeof(WhRows));

	if (SPI_tuptable != NULL)
	{
		rows->count = SPI_tuptable->numvals;
		rows->desc = CreateTupleDescCopy(SPI_tuptable->tupdesc);
		rows->tuples = palloc(sizeof(HeapTuple) * (rows->count + 1));
		for (uint64 i = 0; i < rows->count; i++)
			rows->tuples[i] = heap_copytuple(SPI_tuptable->vals[i]);
	}
	MemoryContextSwitchTo(old);
	return rows;
}

/* run_as_extension is run as the extension's owner; an abort restores the user by itself. */
static uint64
run_as_extension(const char *sql, int nargs, const WhArg *args, WhRows **rows)
{
	WhUser saved;
	uint64 processed;

	wh_user_become_extension(&saved);
	processed = run(sql, nargs, args, KEPT, rows);
	wh_user_restore(&saved);
	return processed;
}

Datum
wh_rows_datum(const WhRows *rows, uint64 row, int column, bool *isnull)
{
	if (row >= rows->count)
		elog(ERROR, "row %llu of a result of %llu rows", (unsigned long long) row,
			 (unsigned long long) rows->count);
	return heap_getattr(rows->tuples[row], column, rows->desc, isnull);
}

/* not_null is wh_rows_datum for columns that are never NULL. */
static Datum
not_null(const WhRows *rows, uint64 row, int column)
{
	bool isnull;
	Datum value = wh_rows_datum(rows, row, column, &isnull);

	if (isnull)
		elog(ERROR, "unexpected NULL in column %d of a result", column);
	return value;
}

char *
wh_rows_text(const WhRows *rows, uint64 row, int column)
{
	bool isnull;
	Datum value = wh_rows_datum(rows, row, column, &isnull);
	Oid output;
	bool is_varlena;

	if (isnull)
		return NULL;
	getTypeOutputInfo(TupleDescAttr(rows->desc, column - 1)->atttypid, &output, &is_varlena);
	return OidOutputFunctionCall(output, value);
}

int32
wh_rows_int4(const WhRows *rows, uint64 row, int column)
{
	return DatumGetInt32(not_null(rows, row, column));
}

int64
wh_rows_int8(const WhRows *rows, uint64 row, int column)
{
	return DatumGetInt64(not_null(rows, row, column));
}

bool
wh_rows_bool(const WhRows *rows, uint64 row, int column)
{
	return DatumGetBool(not_null(rows, row, column));
}

Oid
wh_rows_oid(const WhRows *rows, uint64 row, int column)
{
	return DatumGetObjectId(not_null(rows, row, column));
}

XLogRecPtr
wh_rows_lsn(const WhRows *rows, uint64 row, int column)
{
	bool isnull;
	Datum value = wh_rows_datum(rows, row, column, &isnull);

	return isnull ? InvalidXLogRecPtr : DatumGetLSN(value);
}
