/*
 * parts.c
 *		The relations that a model consists of: its table and partitions, its query, what stands
 * beside it, with indexes and sequences; and their names.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "evolve/evolve_private.h"

static char *free_name(const WhPart *part, const char *base, const char *ending);
static const char *kind_of(const WhPart *part);
static void name_again(const WhModel *model, const WhPart *part, const char *was);

List *
wh_evolve_parts(const WhModel *model)
{
	WhRows *rows = wh_catalog_query(
		"WITH part AS (SELECT t.relid, 0 AS place FROM pg_catalog.pg_partition_tree($2) t"
		" UNION SELECT $2, 0 UNION SELECT m.query, 1 FROM walhouse.model m WHERE m.model_id = $1"
		" AND m.query IS NOT NULL UNION SELECT v.view, 2 FROM walhouse.model_view v WHERE"
		" v.model_id = $1)"
		" SELECT c.oid, c.relname::pg_catalog.text, c.relkind::pg_catalog.text FROM part p"
		" LEFT JOIN LATERAL (SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = "
		"p.relid"
		" UNION ALL SELECT d.objid FROM pg_catalog.pg_depend d WHERE d.refobjid = p.relid AND "
		"d.deptype"
		" = 'i' AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjsubid > 0"
		" AND d.refclassid = d.classid) x (relid) ON true"
		" JOIN pg_catalog.pg_class c ON c.oid IN (p.relid, x.relid)"
		" GROUP BY c.oid, c.relname, c.relkind"
		" ORDER BY pg_catalog.min(p.place), c.relkind IN ('i', 'I', 'S'), c.oid",
		2, (WhArg[]){WH_ARG_INT4(model->id), WH_ARG_REGCLASS(model->relid)});
	List *parts = NIL;

	for (uint64 i = 0; i < rows->count; i++)
	{
		WhPart *part = palloc(sizeof(WhPart));

		part->relid = wh_rows_oid(rows, i, 1);
		part->name = wh_rows_text(rows, i, 2);
		part->relkind = wh_rows_text(rows, i, 3)[0];
		parts = lappend(parts, part);
	}
	return parts;
}

void
wh_evolve_move(const WhModel *model, const char *schema)
{
	foreach_ptr(WhPart, part, wh_evolve_parts(model))
	{
		char *was = wh_sql_relation(part->relid);

		if (part->relkind == RELKIND_INDEX || part->relkind == RELKIND_PARTITIONED_INDEX ||
			part->relkind == RELKIND_SEQUENCE)
			continue; /* they go with their tables */
		wh_spi_execute(wh_sql("ALTER %s %s SET SCHEMA %I", kind_of(part), was, schema), 0, NULL);
		name_again(model, part, was);
	}
}

void
wh_evolve_rename(const WhModel *model, const char *name)
{
	size_t length = strlen(model->short_name);

	foreach_ptr(WhPart, part, wh_evolve_parts(model))
	{
		char *was = wh_sql_relation(part->relid);

		if (strncmp(part->name, model->short_name, length) != 0 ||
			(part->name[length] != '_' && part->name[length] != '\0'))
			continue;
		wh_spi_execute(wh_sql("ALTER %s %s RENAME TO %I", kind_of(part), was,
							  free_name(part, name, part->name + length)),
					   0, NULL);
		name_again(model, part, was);
	}
}

/* free_name: a partition that was retired and kept may have the name that another would get. */
static char *
free_name(const WhPart *part, const char *base, const char *ending)
{
	Oid schema = get_rel_namespace(part->relid);
	char *name = wh_name(base, ending);

	for (int i = 2;
		 get_rel_relispartition(part->relid) && OidIsValid(get_relname_relid(name, schema)); i++)
		name = wh_name(base, psprintf("%s_%d", ending, i));
	return name;
}

static const char *
kind_of(const WhPart *part)
{
	switch (part->relkind)
	{
		case RELKIND_VIEW:
			return "VIEW";
		case RELKIND_INDEX:
		case RELKIND_PARTITIONED_INDEX:
			return "INDEX";
		case RELKIND_SEQUENCE:
			return "SEQUENCE";
		default:
			return "TABLE";
	}
}

/* name_again mends the comment of what stands beside a model, which names that. */
static void
name_again(const WhModel *model, const WhPart *part, const char *was)
{
	WhRows *rows;

	if (part->relkind != RELKIND_VIEW && part->relkind != RELKIND_RELATION)
		return;
	rows = wh_spi_query("SELECT pg_catalog.replace(d.description, $2, $3) FROM"
						" pg_catalog.pg_description d WHERE d.objoid = $1 AND d.objsubid = 0"
						" AND d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass"
						" AND d.description LIKE '%, kept by walhouse'",
						3,
						(WhArg[]){WH_ARG_OID(part->relid), WH_ARG_TEXT(model->name),
								  WH_ARG_TEXT(wh_sql_relation(model->relid))});
	if (rows->count > 0)
		wh_spi_execute(wh_sql("COMMENT ON %s %T IS %L", kind_of(part), part->relid,
							  wh_rows_text(rows, 0, 1)),
					   0, NULL);
}
