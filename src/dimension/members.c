/*
 * members.c
 *		walhouse.inferred_members(): members that facts made and the source has not brought yet.
 *
 * Reads every dimension that the caller may read, whole: there is no index on what changes.  It
 * reads as the dimension's owner, whose types may have casts; so a dimension with row security that
 * holds for the caller is left out.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

static void put_members(ReturnSetInfo *result, Oid relid, Oid owner);

PG_FUNCTION_INFO_V1(walhouse_inferred_members);

Datum
walhouse_inferred_members(PG_FUNCTION_ARGS)
{
	WhRows *rows = wh_catalog_query("SELECT m.relation, c.relowner FROM walhouse.model m JOIN "
									"pg_catalog.pg_class c ON c.oid = m.relation "
									"WHERE m.kind = 'dimension' ORDER BY m.model_id",
									0, NULL);
	int level = wh_settings_push_path();

	InitMaterializedSRF(fcinfo, 0);
	for (uint64 i = 0; i < rows->count; i++)
	{
		Oid relid = wh_rows_oid(rows, i, 1);

		if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
			check_enable_rls(relid, InvalidOid, true) != RLS_ENABLED)
			put_members((ReturnSetInfo *) fcinfo->resultinfo, relid, wh_rows_oid(rows, i, 2));
	}
	wh_settings_pop(level);
	return (Datum) 0;
}

static void
put_members(ReturnSetInfo *result, Oid relid, Oid owner)
{
	WhRows *key = wh_catalog_query("SELECT k.name FROM walhouse.model m CROSS JOIN LATERAL "
								   "pg_catalog.unnest(m.key) WITH ORDINALITY k (name, place) "
								   "WHERE m.relation = $1 ORDER BY k.place",
								   1, (WhArg[]){WH_ARG_REGCLASS(relid)});
	StringInfoData sql;
	WhUser saved;
	WhRows *rows;

	initStringInfo(&sql);
	for (uint64 i = 0; i < key->count; i++)
		wh_sql_append(&sql, "%sd.%I::pg_catalog.text", i == 0 ? "SELECT ARRAY[" : ", ",
					  wh_rows_text(key, i, 1));
	wh_sql_append(&sql,
				  "], l.started, d.load_id FROM %T d LEFT JOIN walhouse.load l ON l.load_id "
				  "OPERATOR(pg_catalog.=) d.load_id WHERE d.is_inferred",
				  relid);
	wh_user_become(owner, &saved);
	rows = wh_spi_query(sql.data, 0, NULL);
	wh_user_restore(&saved);
	for (uint64 i = 0; i < rows->count; i++)
	{
		bool nulls[4] = {false};
		Datum values[4];

		values[0] = ObjectIdGetDatum(relid);
		for (int column = 1; column <= 3; column++)
			values[column] = wh_rows_datum(rows, i, column, &nulls[column]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}
