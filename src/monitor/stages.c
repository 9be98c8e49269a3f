/*
 * stages.c
 *		How far a feed's stages are, as its own log says.
 *
 * By two probes of the index of <feed>_log.txn: a model whose position is behind the feed's is
 * behind only if a source transaction lies between.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/pg_lsn.h"

#include "base/base.h"
#include "monitor/monitor.h"

static Oid find_txn(const WhArg *feed_id);
static WhRows *first_commit(Oid txn, XLogRecPtr after);

PG_FUNCTION_INFO_V1(walhouse_stat_stages);

Datum
walhouse_stat_stages(PG_FUNCTION_ARGS)
{
	WhArg args[] = {WH_ARG_INT4(PG_GETARG_INT32(0))};
	Oid txn = find_txn(args);
	Datum values[3] = {0};
	bool nulls[3] = {true, true, true};
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (OidIsValid(txn))
	{
		XLogRecPtr loaded =
			wh_rows_lsn(wh_catalog_query("SELECT pg_catalog.min(m.position) FROM"
										 " walhouse.current_model m WHERE m.feed_id = $1",
										 1, args),
						0, 1);

		if (!XLogRecPtrIsInvalid(loaded))
		{
			values[0] = LSNGetDatum(loaded);
			nulls[0] = false;
			values[1] = wh_rows_datum(first_commit(txn, loaded), 0, 1, &nulls[1]);
		}
		values[2] = wh_rows_datum(first_commit(txn, InvalidXLogRecPtr), 0, 1, &nulls[2]);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* find_txn finds the feed's table of transactions; InvalidOid when it is not there, which no view
 * shall fail for. */
static Oid
find_txn(const WhArg *feed_id)
{
	return wh_rows_oid(wh_catalog_query(
						   "SELECT COALESCE((SELECT x.oid FROM walhouse.feed_table t"
						   " JOIN pg_catalog.pg_class l ON l.oid = t.log JOIN pg_catalog.pg_class x"
						   " ON x.relnamespace = l.relnamespace AND x.relname = 'txn'"
						   " WHERE t.feed_id = $1 LIMIT 1), 0::pg_catalog.oid)",
						   1, feed_id),
					   0, 1);
}

/* first_commit gives the commit time of the first transaction after a position; NULL: none. */
static WhRows *
first_commit(Oid txn, XLogRecPtr after)
{
	return wh_catalog_query(
		wh_sql("SELECT (SELECT t.commit_time FROM %T t WHERE t.end_lsn > $1 ORDER BY t.end_lsn"
			   " LIMIT 1)",
			   txn),
		1, (WhArg[]){WH_ARG_LSN(after)});
}
