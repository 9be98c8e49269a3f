/*
 * profile.c
 *		How partitions are kept once nothing is written to them any more: indexes, fillfactor,
 * tablespaces, access method; and the storage parameters of all of them.
 *
 * What a sealed partition lacks to be as its profile says is read off the catalog, as a list of
 * statements; the step runs them one after the other, each in transactions of its own, and looks
 * again.  Cut off anywhere, it looks again, too: what was done is not on the list any more, and an
 * index that is half made is dropped first.
 *
 * Nothing here stops readers or writers.  Indexes are made, dropped and moved CONCURRENTLY, with
 * SHARE UPDATE EXCLUSIVE on the partition alone.  A table's own tablespace and access method cannot
 * be changed without a rewrite under ACCESS EXCLUSIVE, so those two wait until it is no partition
 * any more: they are part of moving it.  Indexes that the parent has belong to each of its
 * partitions, for good; what differs between open and sealed ones is what they have beside those.
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/tablespace.h"
#include "nodes/makefuncs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "partition/partition.h"
#include "partition/partition_private.h"

#define LOOKS 3

static const char *const keys = "after,fillfactor,indexes,open_indexes,index_tablespace,tablespace,"
								"access_method,storage";

static void check_shape(const WhSet *set);
static void check_storage(const WhSet *set);
static WhRows *read_storage(const WhSet *set);
static void check_tablespace(const WhSet *set, const char *key);
static char *option(const WhSet *set, const char *key);
static List *statements_of_leaf(const WhSet *set, Oid relid);
static char *create_index(const char *table, const char *method, const char *columns);

/* wh_profile_check refuses a profile that cannot be read, or does not fit the set. */
void
wh_profile_check(const WhSet *set)
{
	char *method;

	if (set->profile == NULL)
		return;
	check_shape(set);
	check_storage(set);
	wh_axis_check_span(&set->axis, "after", set->profile_after);
	if (set->subpartition != NULL && option(set, "open_indexes") != NULL)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("open_indexes and subpartition cannot go together")));
	check_tablespace(set, "index_tablespace");
	check_tablespace(set, "tablespace");
	method = option(set, "access_method");
	if (method != NULL)
		(void) get_table_am_oid(method, false);
	if ((method != NULL || option(set, "tablespace") != NULL) && strcmp(set->retire, "move") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tablespace and access_method of a profile need retire => 'move'"),
				 errdetail("A table is rewritten for them, which would stop its readers while it "
						   "is a partition.")));
}

static void
check_shape(const WhSet *set)
{
	WhRows *wrong = wh_spi_query(
		"WITH profile AS MATERIALIZED (SELECT $1::pg_catalog.jsonb p), part AS MATERIALIZED"
		" (SELECT e.k, e.v FROM profile, pg_catalog.jsonb_each(p) e(k, v)), list AS MATERIALIZED"
		" (SELECT k, x FROM part, pg_catalog.jsonb_array_elements(CASE WHEN k IN ('indexes',"
		" 'open_indexes') AND pg_catalog.jsonb_typeof(v) = 'array' THEN v ELSE '[]' END) x),"
		" spec AS MATERIALIZED (SELECT l.k, m.k AS method, m.v AS columns FROM list l,"
		" pg_catalog.jsonb_each(CASE pg_catalog.jsonb_typeof(l.x) WHEN 'object' THEN l.x ELSE '{}'"
		" END) m(k, v)) SELECT k FROM part WHERE k <> ALL (pg_catalog.string_to_array($2, ',')) "
		"OR k"
		" IN ('indexes', 'open_indexes') AND pg_catalog.jsonb_typeof(v) <> 'array' OR k ="
		" 'fillfactor' AND (pg_catalog.jsonb_typeof(v) <> 'number' OR v < '10' OR v > '100' OR"
		" v::pg_catalog.text !~ '^[0-9]+$') OR k NOT IN ('indexes', 'open_indexes', 'fillfactor',"
		" 'storage') AND pg_catalog.jsonb_typeof(v) <> 'string' OR k = 'storage' AND"
		" pg_catalog.jsonb_typeof(v) <> 'object' UNION ALL SELECT k FROM list WHERE"
		" pg_catalog.jsonb_typeof(x) <> 'object' OR x = '{}' UNION ALL SELECT k FROM spec s WHERE"
		" NOT EXISTS (SELECT FROM pg_catalog.pg_am a WHERE a.amname = s.method AND a.amtype = 'i')"
		" OR pg_catalog.jsonb_typeof(s.columns) <> 'array' OR s.columns = '[]' OR EXISTS (SELECT"
		" FROM pg_catalog.jsonb_array_elements(CASE pg_catalog.jsonb_typeof(s.columns) WHEN 'array'"
		" THEN s.columns ELSE '[]' END) c WHERE c #>> '{}' IS NULL OR NOT EXISTS (SELECT FROM"
		" pg_catalog.pg_attribute a WHERE a.attrelid = $3 AND a.attnum > 0 AND NOT a.attisdropped"
		" AND a.attname = c #>> '{}')) LIMIT 1",
		3, (WhArg[]){wh_arg_text(set->profile), WH_ARG_TEXT(keys), WH_ARG_OID(set->parent)});

	if (wrong->count > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot read \"%s\" of the profile %s", wh_rows_text(wrong, 0, 1),
						set->profile),
				 errhint("It is like {\"open_indexes\": [{\"btree\": [\"at\"]}], \"indexes\": "
						 "[{\"brin\": [\"at\"]}], \"fillfactor\": 100}, with existing methods and "
						 "columns; there are also storage, after, index_tablespace, tablespace "
						 "and access_method.")));
}

/* check_storage has the server read storage parameters as it would with a new table. */
static void
check_storage(const WhSet *set)
{
	WhRows *rows = read_storage(set);
	List *table = NIL;
	List *toast = NIL;

	for (uint64 i = 0; i < rows->count; i++)
	{
		char *name = wh_rows_text(rows, i, 1);
		char *value = wh_rows_text(rows, i, 2);
		bool is_toast = strncmp(name, "toast.", 6) == 0;
		DefElem *parameter;

		if (value == NULL)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("storage parameter \"%s\" of a profile has no value", name)));
		parameter = makeDefElem(is_toast ? name + 6 : name, (Node *) makeString(value), -1);
		if (is_toast)
			toast = lappend(toast, parameter);
		else
			table = lappend(table, parameter);
	}
	(void) heap_reloptions(RELKIND_RELATION,
						   transformRelOptions((Datum) 0, table, NULL, NULL, false, false), true);
	(void) heap_reloptions(RELKIND_TOASTVALUE,
						   transformRelOptions((Datum) 0, toast, NULL, NULL, false, false), true);
}

/* read_storage lists the storage parameters of a profile: names and values, in order. */
static WhRows *
read_storage(const WhSet *set)
{
	return wh_spi_query_kept("SELECT k, v FROM pg_catalog.jsonb_each_text($1::pg_catalog.jsonb ->"
							 " 'storage') s(k, v) ORDER BY k",
							 1, (WhArg[]){wh_arg_text(set->profile)});
}

char *
wh_profile_storage(const WhSet *set)
{
	WhRows *rows = set->profile != NULL ? read_storage(set) : NULL;
	StringInfoData with;

	initStringInfo(&with);
	for (uint64 i = 0; rows != NULL && i < rows->count; i++)
		wh_sql_append(&with, "%s%s = %L", i == 0 ? " WITH (" : ", ", wh_rows_text(rows, i, 1),
					  wh_rows_text(rows, i, 2));
	if (with.len > 0)
		wh_sql_append(&with, ")");
	return with.data;
}

/* check_tablespace refuses one that is not there, or not the owner's to use. */
static void
check_tablespace(const WhSet *set, const char *key)
{
	char *name = option(set, key);

	if (name == NULL)
		return;
	(void) get_tablespace_oid(name, false);
	if (wh_rows_bool(wh_spi_query("SELECT NOT pg_catalog.has_tablespace_privilege($1, $2,"
								  " 'CREATE')",
								  2, (WhArg[]){WH_ARG_OID(set->owner), wh_arg_text(name)}),
					 0, 1))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("the owner of \"%s\" may not use tablespace \"%s\"",
							   get_rel_name(set->parent), name)));
}

/* option returns a part of the profile as text; NULL where it has none. */
static char *
option(const WhSet *set, const char *key)
{
	if (set->profile == NULL)
		return NULL;
	return wh_rows_text(wh_spi_query("SELECT $1::pg_catalog.jsonb ->> $2", 2,
									 (WhArg[]){wh_arg_text(set->profile), WH_ARG_TEXT(key)}),
						0, 1);
}

List *
wh_profile_open_indexes(const WhSet *set, const char *schema, const char *name)
{
	WhRows *rows;
	List *all = NIL;

	if (set->profile == NULL)
		return NIL;
	rows = wh_spi_query(
		"SELECT m.k, (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(c), ', ' ORDER BY o) FROM"
		" pg_catalog.jsonb_array_elements_text(m.v) WITH ORDINALITY c(c, o)) FROM"
		" pg_catalog.jsonb_array_elements($1::pg_catalog.jsonb -> 'open_indexes') WITH ORDINALITY"
		" x(x, o), pg_catalog.jsonb_each(x.x) m(k, v) ORDER BY x.o, m.k",
		1, (WhArg[]){wh_arg_text(set->profile)});
	for (uint64 i = 0; i < rows->count; i++)
		all = lappend(all, create_index(wh_sql("%I.%I", schema, name), wh_rows_text(rows, i, 1),
										wh_rows_text(rows, i, 2)));
	return all;
}

static char *
create_index(const char *table, const char *method, const char *columns)
{
	return wh_sql("CREATE INDEX ON %s USING %I (%s)", table, method, columns);
}

List *
wh_profile_statements(const WhSet *set, Oid relid)
{
	WhRows *leaves = wh_members_leaves(relid);
	List *all = NIL;

	for (uint64 i = 0; set->has_profile && i < leaves->count; i++)
		all = list_concat(all, statements_of_leaf(set, wh_rows_oid(leaves, i, 1)));
	return all;
}

/*
 * statements_of_leaf compares a table with the profile.  Of indexes, those alone are looked at that
 * are like what a profile can name: plain columns in their default order, not unique, no part of an
 * index of the parent's; and what REINDEX CONCURRENTLY leaves when it is cut off.
 */
static List *
statements_of_leaf(const WhSet *set, Oid relid)
{
	WhRows *rows = wh_spi_query(
		"WITH profile AS (SELECT $2::pg_catalog.jsonb p), spec AS MATERIALIZED (SELECT l.k AS list,"
		" m.k AS method, ARRAY(SELECT c FROM pg_catalog.jsonb_array_elements_text(m.v) WITH"
		" ORDINALITY c(c, o) ORDER BY o) AS columns FROM profile, (VALUES ('indexes'),"
		" ('open_indexes')) l(k), pg_catalog.jsonb_array_elements(p -> l.k) x,"
		" pg_catalog.jsonb_each(x) m(k, v)), have AS MATERIALIZED (SELECT i.indexrelid,"
		" i.indisvalid AS is_valid, c.relname, c.relispartition, c.reltablespace, a.amname AS "
		"method,"
		" i.indexprs IS NULL AND i.indpred IS NULL AND i.indnatts = i.indnkeyatts AND 0 = ALL"
		" (i.indoption::pg_catalog.int2[]) AS is_plain, NOT (i.indisunique OR i.indisreplident OR"
		" i.indisexclusion OR c.relispartition) AS is_free, ARRAY(SELECT t.attname::pg_catalog.text"
		" FROM pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY k(n, o) JOIN"
		" pg_catalog.pg_attribute t ON t.attrelid = i.indrelid AND t.attnum = k.n ORDER BY k.o) AS"
		" columns FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid "
		"JOIN"
		" pg_catalog.pg_am a ON a.oid = c.relam WHERE i.indrelid = $1), wanted AS MATERIALIZED"
		" (SELECT DISTINCT method, columns FROM spec WHERE list = 'indexes'), rest AS MATERIALIZED"
		" (SELECT h.indexrelid FROM have h WHERE NOT h.is_valid AND (h.relname ~"
		" '_cc(new|old)[0-9]*$' AND NOT h.relispartition OR h.is_plain AND h.is_free AND EXISTS"
		" (SELECT FROM spec s WHERE (s.method, s.columns) = (h.method, h.columns)))), gone AS"
		" MATERIALIZED (SELECT h.indexrelid FROM have h WHERE h.is_valid AND h.is_plain AND"
		" h.is_free AND EXISTS (SELECT FROM spec s WHERE s.list = 'open_indexes' AND (s.method,"
		" s.columns) = (h.method, h.columns)) AND NOT EXISTS (SELECT FROM wanted w WHERE (w.method,"
		" w.columns) = (h.method, h.columns))) SELECT 1 AS nr, 'drop', "
		"r.indexrelid::pg_catalog.oid,"
		" NULL::pg_catalog.text, NULL::pg_catalog.text FROM rest r UNION ALL SELECT 2, "
		"'fillfactor',"
		" 0, p ->> 'fillfactor', NULL FROM profile WHERE p ? 'fillfactor' AND NOT EXISTS (SELECT "
		"FROM"
		" pg_catalog.pg_class c WHERE c.oid = $1 AND 'fillfactor=' || (p ->> 'fillfactor') = ANY"
		" (c.reloptions)) UNION ALL SELECT 3, 'create', 0, w.method, (SELECT pg_catalog.string_agg"
		"(pg_catalog.quote_ident(c), ', ' ORDER BY o) FROM pg_catalog.unnest(w.columns) WITH"
		" ORDINALITY c(c, o)) FROM wanted w WHERE NOT EXISTS (SELECT FROM have h WHERE "
		"h.is_valid AND"
		" h.is_plain AND (h.method, h.columns) = (w.method, w.columns)) UNION ALL SELECT 4, 'drop',"
		" g.indexrelid, NULL, NULL FROM gone g UNION ALL SELECT 5, 'move', h.indexrelid, p ->>"
		" 'index_tablespace', NULL FROM have h CROSS JOIN profile WHERE h.is_valid AND p ?"
		" 'index_tablespace' AND NOT EXISTS (SELECT FROM gone g WHERE g.indexrelid = h.indexrelid)"
		" AND NOT EXISTS (SELECT FROM pg_catalog.pg_tablespace t JOIN pg_catalog.pg_database d ON"
		" d.datname = pg_catalog.current_database() WHERE t.spcname = p ->> 'index_tablespace' AND"
		" t.oid = CASE h.reltablespace WHEN 0 THEN d.dattablespace ELSE h.reltablespace END) ORDER"
		" BY 1, 4, 5, 3",
		2, (WhArg[]){WH_ARG_OID(relid), wh_arg_text(set->profile)});
	char *space = option(set, "index_tablespace");
	List *all = NIL;

	for (uint64 i = 0; i < rows->count; i++)
	{
		const char *what = wh_rows_text(rows, i, 2);
		char *detail = wh_rows_text(rows, i, 4);
		char *sql;

		if (strcmp(what, "drop") == 0)
			sql = wh_sql("DROP INDEX CONCURRENTLY %T", wh_rows_oid(rows, i, 3));
		else if (strcmp(what, "fillfactor") == 0)
			sql = wh_sql("ALTER TABLE %T SET (fillfactor = %s)", relid, detail);
		else if (strcmp(what, "create") == 0)
			sql = wh_sql("CREATE INDEX CONCURRENTLY ON %T USING %I (%s)%s%s", relid, detail,
						 wh_rows_text(rows, i, 5), space != NULL ? " TABLESPACE " : "",
						 space != NULL ? wh_sql_identifier(space) : "");
		else
			sql = wh_sql("REINDEX (CONCURRENTLY, TABLESPACE %I) INDEX %T", detail,
						 wh_rows_oid(rows, i, 3));
		all = lappend(all, sql);
	}
	return all;
}

List *
wh_profile_move(const WhSet *set, Oid relid)
{
	char *tablespace = option(set, "tablespace");
	char *method = option(set, "access_method");
	WhRows *leaves;
	List *all = NIL;

	if (tablespace == NULL && method == NULL)
		return NIL;
	leaves = wh_members_leaves(relid);
	for (uint64 i = 0; i < leaves->count; i++)
	{
		StringInfoData sql;

		initStringInfo(&sql);
		wh_sql_append(&sql, "ALTER TABLE %T ", wh_rows_oid(leaves, i, 1));
		if (method != NULL)
			wh_sql_append(&sql, "SET ACCESS METHOD %I", method);
		if (tablespace != NULL)
			wh_sql_append(&sql, "%sSET TABLESPACE %I", method != NULL ? ", " : "", tablespace);
		all = lappend(all, sql.data);
	}
	return all;
}

/* wh_profile_run has what is lacking done, and looks again: what was there in the meantime is what
 * counts. */
void
wh_profile_run(int32 set_id, Oid relid)
{
	for (int look = 0;; look++)
	{
		WhMember member;
		WhSet *set;
		List *statements;
		ListCell *cell;

		wh_toplevel_begin();
		set = wh_step_open_set(set_id);
		if (!wh_step_read_member(set, relid, true, &member) || strcmp(member.state, "sealed") != 0)
		{
			wh_toplevel_commit();
			return;
		}
		statements = wh_profile_statements(set, relid);
		if (statements == NIL)
		{
			wh_step_change_state(set, relid, "profiled", "profile");
			wh_toplevel_point("profile: noted");
			wh_toplevel_commit();
			return;
		}
		if (look == LOOKS)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("partition \"%s\" does not get what its profile says",
								   get_rel_name(relid)),
							errdetail("After %d rounds it lacks: %s", LOOKS,
									  (char *) linitial(statements))));
		wh_toplevel_commit();
		foreach(cell, statements)
		{
			wh_toplevel_run_patiently(set->owner, lfirst(cell));
			wh_toplevel_point("profile: one done");
		}
	}
}
