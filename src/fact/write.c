/*
 * write.c
 *		The one place where statements of a load write rows of a fact.
 *
 * Rollups stand on a fact, and a load brings them on from what it did to the fact's rows.  So each
 * delete, update and insert of a load goes through the three functions here, whatever it is for:
 * where the fact has rollups, the rows that it took away (wh_n −1) and those that it put there
 * (wh_n 1) are added to a relation of load->changes, with the columns that any of them reads.
 * test/lint refuses such statements in other files; a build's alone are elsewhere, since the
 * rollups of a fact that was built are built again.  A load without statements does the same in
 * apply.c.
 *
 * Old rows of an update come from a join of the fact with itself along what identifies a row.
 * Each statement returns of what it wrote the partition, too (touched.c).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "fact/fact.h"
#include "fact/fact_private.h"

static const char *of_kept(const WhFact *fact, const char *where);
static List *read_columns(const WhFact *fact);
static void append_captured(StringInfo sql, const WhFact *fact, const char *alias,
							const char *prefix);
static uint64 write_rows(WhFact *fact, const WhLoad *load, const char *sql);
static void keep_changes(WhFact *fact, const WhLoad *load);

void
wh_fact_add_reader(const WhModel *fact, int32 model_id, List *columns)
{
	StringInfoData names;
	ListCell *cell;

	initStringInfo(&names);
	foreach(cell, columns)
		wh_sql_append(&names, "%s%L", names.len > 0 ? ", " : "", (char *) lfirst(cell));
	wh_catalog_execute(wh_sql("INSERT INTO walhouse.fact_reader (model_id, fact_id, columns)"
							  " VALUES ($1, $2, ARRAY[%s]::pg_catalog.text[])",
							  names.data),
					   2, (WhArg[]){WH_ARG_INT4(model_id), WH_ARG_INT4(fact->id)});
}

void
wh_fact_drop_reader(int32 model_id)
{
	wh_catalog_execute("DELETE FROM walhouse.fact_reader WHERE model_id = $1", 1,
					   (WhArg[]){WH_ARG_INT4(model_id)});
}

char *
wh_fact_changes(int32 fact_id)
{
	return psprintf("wh_changes_%d", fact_id);
}

uint64
wh_fact_delete_rows(WhFact *fact, const WhLoad *load, const char *from, const char *where)
{
	StringInfoData sql;
	uint64 processed;
	int nest;

	initStringInfo(&sql);
	wh_sql_append(&sql,
				  "DELETE FROM %T f USING %s WHERE %s"
				  " RETURNING f.tableoid AS wh_leaf, -1 AS wh_n",
				  fact->model->relid, from, of_kept(fact, where));
	nest = wh_fact_push_narrow();
	if (wh_fact_is_read(fact, load))
		append_captured(&sql, fact, "f", "c");
	processed = write_rows(fact, load, sql.data);
	wh_settings_pop(nest);
	return processed;
}

uint64
wh_fact_update_rows(WhFact *fact, const WhLoad *load, const char *columns, const char *values,
					const char *from, const char *where)
{
	StringInfoData sql;
	uint64 processed;
	int nest;

	where = of_kept(fact, where);
	initStringInfo(&sql);
	wh_sql_append(&sql, "UPDATE %T f SET (%s, load_id) = ROW(%s, %l) FROM %s", fact->model->relid,
				  columns, values, load->id, from);
	nest = wh_fact_push_narrow();
	if (wh_fact_is_read(fact, load))
	{
		StringInfoData whole;

		wh_sql_append(&sql, ", %T wh_was WHERE %s AND ", fact->model->relid, where);
		wh_fact_same_row(&sql, fact, "wh_was", "f");
		wh_sql_append(&sql, " RETURNING f.tableoid AS wh_leaf");
		append_captured(&sql, fact, "wh_was", "o");
		append_captured(&sql, fact, "f", "c");
		initStringInfo(&whole);
		wh_sql_append(&whole, "WITH w AS (%s) SELECT w.wh_leaf, -1 AS wh_n", sql.data);
		for (int i = 1; i <= list_length(fact->read); i++)
			wh_sql_append(&whole, ", w.o%d AS c%d", list_nth_int(fact->read, i - 1),
						  list_nth_int(fact->read, i - 1));
		wh_sql_append(&whole, " FROM w UNION ALL SELECT w.wh_leaf, 1");
		for (int i = 1; i <= list_length(fact->read); i++)
			wh_sql_append(&whole, ", w.c%d", list_nth_int(fact->read, i - 1));
		wh_sql_append(&whole, " FROM w");
		processed = write_rows(fact, load, whole.data) / 2;
	}
	else
	{
		wh_sql_append(&sql, " WHERE %s RETURNING f.tableoid AS wh_leaf", where);
		processed = write_rows(fact, load, sql.data);
	}
	wh_settings_pop(nest);
	return processed;
}

/* of_kept keeps a load from writing to what is retired, whose partitions may still be there. */
static const char *
of_kept(const WhFact *fact, const char *where)
{
	return fact->horizon == NULL ? where :
								   wh_sql("(%s) AND %s", where, wh_fact_is_kept(fact, "f"));
}

uint64
wh_fact_insert_rows(WhFact *fact, const WhLoad *load, const char *values, const char *from)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "INSERT INTO %T AS f (", fact->model->relid);
	wh_fact_table_columns(&sql, fact, NULL);
	wh_sql_append(&sql,
				  ", load_id) SELECT %s, %l FROM %s RETURNING f.tableoid AS wh_leaf, 1 AS wh_n",
				  values, load->id, from);
	if (wh_fact_is_read(fact, load))
		append_captured(&sql, fact, "f", "c");
	return write_rows(fact, load, sql.data);
}

bool
wh_fact_is_read(WhFact *fact, const WhLoad *load)
{
	if (load->changes == NULL)
		return false;
	if (!fact->read_known)
	{
		MemoryContext caller = MemoryContextSwitchTo(fact->context);

		fact->read = read_columns(fact);
		fact->read_known = true;
		MemoryContextSwitchTo(caller);
	}
	return fact->read != NIL;
}

/* read_columns lists the attribute numbers that rollups read; those that wait for a build will
 * read the fact itself. */
static List *
read_columns(const WhFact *fact)
{
	WhRows *rows = wh_spi_query_kept("SELECT DISTINCT u.name FROM walhouse.fact_reader r"
									 " JOIN walhouse.model m USING (model_id)"
									 " CROSS JOIN LATERAL pg_catalog.unnest(r.columns) u (name)"
									 " WHERE r.fact_id = $1 AND m.state NOT IN ('new', 'rebuild')"
									 " ORDER BY 1",
									 1, (WhArg[]){WH_ARG_INT4(fact->model->id)});
	List *attributes = NIL;

	for (uint64 i = 0; i < rows->count; i++)
	{
		char *name = wh_rows_text(rows, i, 1);
		AttrNumber attribute = get_attnum(fact->model->relid, name);

		/* A column that somebody dropped is the rollups' error, not the fact's. */
		if (attribute != InvalidAttrNumber)
			attributes = lappend_int(attributes, attribute);
	}
	return attributes;
}

static void
append_captured(StringInfo sql, const WhFact *fact, const char *alias, const char *prefix)
{
	ListCell *cell;

	foreach(cell, fact->read)
		wh_sql_append(sql, ", %s.%I AS %s%d", alias,
					  get_attname(fact->model->relid, lfirst_int(cell), false), prefix,
					  lfirst_int(cell));
}

/* write_rows runs a statement that returns of each row that it wrote the partition (wh_leaf), and
 * what rollups need; returns how many. */
static uint64
write_rows(WhFact *fact, const WhLoad *load, const char *sql)
{
	uint64 processed = wh_stage_fill(fact->stage, "wh_written", sql, 0, NULL);
	WhRows *leaves;

	if (processed == 0)
		return 0;
	leaves = wh_stage_query(fact->stage, "SELECT DISTINCT w.wh_leaf FROM wh_written w", 0, NULL);
	for (uint64 i = 0; i < leaves->count; i++)
		wh_fact_touch(fact, wh_rows_oid(leaves, i, 1));
	if (wh_fact_is_read(fact, load))
		keep_changes(fact, load);
	wh_stage_forget(fact->stage, "wh_written");
	return processed;
}

static void
keep_changes(WhFact *fact, const WhLoad *load)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT w.wh_n");
	foreach_int(attribute, fact->read)
		wh_sql_append(&sql, ", w.c%d", attribute);
	wh_sql_append(&sql, " FROM wh_written w");
	wh_stage_append(load->changes, wh_fact_changes(fact->model->id), fact->stage, sql.data, 0,
					NULL);
}
