/*
 * views.c
 *		Views with queries of models, while a column that they read gets another type.
 *
 * PostgreSQL alters no column that a view reads.  A model's query is a view of walhouse's own: it
 * is dropped, and made again by its text, with the types that the columns then have, its options,
 * privileges and comments.  The views of others are not touched: where one reads the column, or
 * the query, altering it fails, and says which.  A model whose query gives other types than the
 * model has then stops by itself (model/catalog.c), until walhouse.alter_… has built it anew.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "changelog/changelog.h"
#include "changelog/changelog_private.h"

/* What a view has beside its query, as statements; c and n are its class and schema. */
#define TRIMMINGS \
	"(SELECT pg_catalog.string_agg(t.statement, '; ') FROM (" \
	"SELECT pg_catalog.format('GRANT %s%s ON %I.%I TO %s%s', a.privilege_type, g.columns," \
	" n.nspname, c.relname, CASE a.grantee WHEN 0 THEN 'PUBLIC'" \
	" ELSE a.grantee::pg_catalog.regrole::pg_catalog.text END," \
	" CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END) AS statement FROM (" \
	"SELECT '' AS columns, c.relacl AS acl UNION ALL" \
	" SELECT pg_catalog.format(' (%I)', l.attname), l.attacl FROM pg_catalog.pg_attribute l" \
	" WHERE l.attrelid = c.oid AND l.attnum > 0) g, pg_catalog.aclexplode(g.acl) a UNION ALL" \
	" SELECT pg_catalog.format('COMMENT ON %s IS %L', CASE d.objsubid" \
	" WHEN 0 THEN pg_catalog.format('VIEW %I.%I', n.nspname, c.relname)" \
	" ELSE pg_catalog.format('COLUMN %I.%I.%I', n.nspname, c.relname, l.attname) END," \
	" d.description) FROM pg_catalog.pg_description d LEFT JOIN pg_catalog.pg_attribute l" \
	" ON l.attrelid = d.objoid AND l.attnum = d.objsubid WHERE d.objoid = c.oid" \
	" AND d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass) t)"

WhRows *
wh_changelog_drop_queries(const WhFeedTable *table)
{
	WhArg args[] = {WH_ARG_INT4(table->feed_id), WH_ARG_OID(table->mirror)};
	WhRows *queries = wh_catalog_query(
		"SELECT m.model_id, c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text,"
		" c.relowner, pg_catalog.pg_get_viewdef(c.oid),"
		" (SELECT pg_catalog.format('WITH (%s) ', pg_catalog.string_agg(pg_catalog.format("
		"'%I = %L', o.option_name, o.option_value), ', ')) FROM"
		" pg_catalog.pg_options_to_table(c.reloptions) o HAVING pg_catalog.count(*) > 0),"
		" " TRIMMINGS
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
		const char *options = wh_rows_text(queries, i, 7);
		const char *trimmings = wh_rows_text(queries, i, 8);
		WhArg args[] = {WH_ARG_INT4(wh_rows_int4(queries, i, 1)), WH_ARG_REGCLASS(InvalidOid)};
		WhUser saved;

		wh_user_become(wh_rows_oid(queries, i, 5), &saved);
		wh_spi_execute(wh_sql("CREATE VIEW %I.%I %sAS %s", schema, name,
							  options != NULL ? options : "", wh_rows_text(queries, i, 6)),
					   0, NULL);
		if (trimmings != NULL)
			wh_spi_execute(trimmings, 0, NULL);
		wh_user_restore(&saved);
		args[1].value = ObjectIdGetDatum(
			get_relname_relid(name, get_namespace_oid(schema, false)));
		wh_catalog_execute("UPDATE walhouse.model SET query = $2 WHERE model_id = $1", 2, args);
	}
}
