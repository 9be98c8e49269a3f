/*
 * describe.c
 *		What tables a source has: columns, types and keys, by a few queries over all of them.
 *
 * The same query serves create_feed, in the snapshot that is copied, and a table that is copied
 * again later.
 */
#include "postgres.h"

#include "base/base.h"
#include "source/source_private.h"

#define BASE_TYPE \
	"(WITH RECURSIVE b AS (SELECT y.oid, y.typtype, y.typbasetype FROM pg_catalog.pg_type y " \
	"WHERE y.oid = t.oid" \
	" UNION ALL SELECT y.oid, y.typtype, y.typbasetype FROM b JOIN pg_catalog.pg_type y ON y.oid " \
	"= b.typbasetype" \
	" WHERE b.typtype = 'd') SELECT b.oid FROM b WHERE b.typtype <> 'd')"

/* Labels of an enum, attributes of a composite type: of the column's type, or of its elements. */
#define TYPE_DETAIL \
	"(SELECT CASE e.typtype" \
	" WHEN 'e' THEN (SELECT pg_catalog.string_agg(pg_catalog.quote_literal(l.enumlabel), ', '" \
	" ORDER BY l.enumsortorder) FROM pg_catalog.pg_enum l WHERE l.enumtypid = e.oid)" \
	" WHEN 'c' THEN (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(m.attname) || ' ' ||" \
	" pg_catalog.format_type(m.atttypid, m.atttypmod), ', ' ORDER BY m.attnum)" \
	" FROM pg_catalog.pg_attribute m WHERE m.attrelid = e.typrelid" \
	" AND m.attnum > 0 AND NOT m.attisdropped) END" \
	" FROM pg_catalog.pg_type e WHERE e.oid = COALESCE(NULLIF(t.typelem, 0), t.oid))"

static const char *identity_name(char identity);
static void read_keys(PGconn *plain, List *tables, const char *oids);

List *
wh_source_tables(const WhFeed *feed, PGconn *plain, bool is_own_database, Oid relid)
{
	StringInfoData sql;
	StringInfoData oids;
	WhResult *result;
	List *tables = NIL;
	WhSourceTable *table = NULL;

	initStringInfo(&sql);
	wh_sql_append(
		&sql,
		"SELECT c.oid, n.nspname, c.relname, a.attnum, a.attname, a.atttypid, a.atttypmod, "
		"tn.nspname, t.typname,"
		" t.typtype, CASE WHEN t.typtype = 'd' THEN " BASE_TYPE " END,"
		" p.rowfilter, r.prattrs IS NOT NULL,"
		" pg_catalog.format_type(a.atttypid, a.atttypmod), " TYPE_DETAIL ","
		" a.attnotnull, a.attgenerated <> '', c.relreplident, " WH_SOURCE_MAY_READ_CTID
		" FROM pg_catalog.pg_publication_tables p JOIN pg_catalog.pg_namespace n ON n.nspname = "
		"p.schemaname"
		" JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename"
		" LEFT JOIN (pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication b ON b.oid = "
		"r.prpubid) ON r.prrelid = c.oid AND b.pubname = p.pubname"
		" LEFT JOIN (pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"
		" JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace)"
		" ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> 'v'"
		" AND (r.prattrs IS NULL OR a.attnum = ANY (r.prattrs::pg_catalog.int2[]))"
		" WHERE p.pubname = %L",
		feed->publication);
	if (OidIsValid(relid))
		wh_sql_append(&sql, " AND c.oid = %u", relid);
	if (is_own_database)
		wh_sql_append(&sql, " AND NOT " WH_SOURCE_IS_OWN);
	wh_sql_append(&sql, " ORDER BY c.oid, a.attnum");
	result = wh_source_query(plain, sql.data);

	initStringInfo(&oids);
	for (int i = 0; i < result->rows; i++)
	{
		Oid oid = (Oid) strtoul(wh_result_value(result, i, 0), NULL, 10);
		WhSourceColumn *column = palloc0(sizeof(WhSourceColumn));

		if (table == NULL || table->relid != oid)
		{
			table = palloc0(sizeof(WhSourceTable));
			table->relid = oid;
			table->schema = wh_result_value(result, i, 1);
			table->name = wh_result_value(result, i, 2);
			table->row_filter = wh_result_value(result, i, 11);
			table->has_column_list = strcmp(wh_result_value(result, i, 12), "t") == 0;
			table->may_read_ctid = strcmp(wh_result_value(result, i, 18), "t") == 0;
			table->identity = identity_name(wh_result_value(result, i, 17)[0]);
			tables = lappend(tables, table);
			appendStringInfo(&oids, "%s%u", oids.len > 0 ? ", " : "", oid);
		}
		if (wh_result_value(result, i, 3) == NULL)
			continue;
		column->attnum = atoi(wh_result_value(result, i, 3));
		column->name = wh_result_value(result, i, 4);
		column->type = (Oid) strtoul(wh_result_value(result, i, 5), NULL, 10);
		column->typmod = atoi(wh_result_value(result, i, 6));
		column->type_schema = wh_result_value(result, i, 7);
		column->type_name = wh_result_value(result, i, 8);
		column->type_kind = wh_result_value(result, i, 9)[0];
		if (wh_result_value(result, i, 10) != NULL)
			column->base_type = (Oid) strtoul(wh_result_value(result, i, 10), NULL, 10);
		column->type_text = wh_result_value(result, i, 13);
		column->type_detail = wh_result_value(result, i, 14);
		column->is_not_null = strcmp(wh_result_value(result, i, 15), "t") == 0;
		column->is_generated = strcmp(wh_result_value(result, i, 16), "t") == 0;
		table->columns = lappend(table->columns, column);
	}
	if (tables != NIL)
		read_keys(plain, tables, oids.data);
	return tables;
}

static const char *
identity_name(char identity)
{
	switch (identity)
	{
		case 'n':
			return "nothing";
		case 'f':
			return "full";
		case 'i':
			return "index";
		default:
			return "default";
	}
}

/*
 * read_keys finds each table's key: what the replica identity sends, or for FULL the best unique
 * index.  A table without one keeps NIL.
 */
static void
read_keys(PGconn *plain, List *tables, const char *oids)
{
	WhResult *result = wh_source_query(
		plain,
		wh_sql(
			"SELECT DISTINCT ON (i.indrelid) i.indrelid,"
			" pg_catalog.array_to_string((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1], ' ')"
			" FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid"
			" WHERE i.indrelid IN (%s) AND i.indisunique AND i.indisvalid AND i.indimmediate"
			" AND i.indpred IS NULL AND i.indexprs IS NULL"
			" AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND "
			"NOT a.attnotnull"
			"                 AND a.attnum = ANY ((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts "
			"- 1]))"
			" AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident"
			"     WHEN 'f' THEN true ELSE false END"
			" ORDER BY i.indrelid, i.indisprimary DESC, i.indisreplident DESC, i.indnkeyatts, "
			"i.indexrelid",
			oids));

	for (int i = 0; i < result->rows; i++)
	{
		Oid oid = (Oid) strtoul(wh_result_value(result, i, 0), NULL, 10);

		foreach_ptr(WhSourceTable, table, tables)
		{
			char *rest = wh_result_value(result, i, 1);

			while (table->relid == oid && *rest != '\0')
				table->key = lappend_int(table->key, (int) strtol(rest, &rest, 10));
		}
	}
}
