/*
 * views.c
 *		Views with queries of models, while a column that they read gets another type.
 *
 * PostgreSQL alters no column that a view reads.  A model's query is a view of walhouse's own: it
 * is dropped, and made again by its text, with the types that the columns then have.  The views of
 * others are not touched: where one reads the column, or the query, altering it fails, and says
 * which.  A model whose query gives other types than the model has then stops by itself
 * (model/catalog.c), until walhouse.alter_… has built it anew.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "changelog/changelog.h"
#include "changelog/changelog_private.h"

WhRows *
wh_changelog_drop_queries(const WhFeedTable *table)
{
	WhArg args[] = {WH_ARG_INT4(table->feed_id), WH_ARG_OID(table->mirror)};
	WhRows *queries = wh_catalog_query(
		"SELECT m.model_id, c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text,"
		" c.relowner, pg_catalog.pg_get_viewdef(c.oid),"
		" (SELECT pg_catalog.string_agg(pg_catalog.format('GRANT %s ON %I.%I TO %s',"
		" a.privilege_type, n.nspname, c.relname, CASE a.grantee WHEN 0 THEN 'PUBLIC'"
		" ELSE a.grantee::pg_catalog.regrole::pg_catalog.text END), '; ')"
		" FROM pg_catalog.aclexplode(c.relacl) a),"
		" pg_catalog.obj_description(c.oid, 'pg_class')"
		" FROM walhouse.model m JOIN pg_catalog.pg_class c ON c.oid = m.query::pg_catalog.oid"
		" JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
		" WHERE m.feed_id = $1 AND EXISTS (SELECT FROM pg_catalog.pg_rewrite w"
		" JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass"
		" AND d.objid = w.oid WHERE w.ev_class = c.oid"
		" AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = $2)"
		" ORDER BY m.model_id",
		lengthof(args), args);

	for (uint64 i = 0; i < queries->count; i++)
	{
		WhUser saved;

		wh_user_become(wh_rows_oid(queries, i, 5), &saved);
		wh_spi_execute(wh_sql("DROP VIEW %T", wh_rows_oid(queries, i, 2)), 0, NULL);
		wh_user_restore(&saved);
	}
	return queries;
}

void
wh_changelog_make_queries(const WhRows *queries)
{
	for (uint64 i = 0; i < queries->count; i++)
	{
		const char *schema = wh_rows_text(queries, i, 3);
		const char *name = wh_rows_text(queries, i, 4);
		const char *grants = wh_rows_text(queries, i, 7);
		WhArg args[] = {WH_ARG_INT4(wh_rows_int4(queries, i, 1)), WH_ARG_REGCLASS(InvalidOid)};
		WhUser saved;

		wh_user_become(wh_rows_oid(queries, i, 5), &saved);
		wh_spi_execute(wh_sql("CREATE VIEW %I.%I AS %s", schema, name,
							  wh_rows_text(queries, i, 6)),
					   0, NULL);
		if (grants != NULL)
			wh_spi_execute(grants, 0, NULL);
		if (wh_rows_text(queries, i, 8) != NULL)
			wh_spi_execute(wh_sql("COMMENT ON VIEW %I.%I IS %L", schema, name,
								  wh_rows_text(queries, i, 8)),
						   0, NULL);
		wh_user_restore(&saved);
		args[1].value = ObjectIdGetDatum(
			get_relname_relid(name, get_namespace_oid(schema, false)));
		wh_catalog_execute("UPDATE walhouse.model SET query = $2 WHERE model_id = $1", 2, args);
	}
}
