/*
 * likeness.c
 *		A partitioned table made like a plain one, which becomes its partition.
 *
 * CREATE TABLE … (LIKE … INCLUDING ALL) brings columns, defaults, CHECK constraints, indexes,
 * identity columns, extended statistics and comments.  The rest is brought here: foreign keys,
 * statistics targets, replica identity, privileges, the table's comment; then, under the table's
 * own name, triggers, row security, and the counters of identity columns.
 *
 * What others define upon a table is tied to its OID and would go on with the partition alone.
 * Views are defined anew, with the same text, which then names the parent; they keep their own
 * OIDs, and what stands upon them.  What cannot be brought is refused before anything is touched,
 * all of it at once: whatever depends on the table and is not known here, is.
 *
 * Privileges and comments are copied within the catalog, grantors and all: to grant them again
 * would make the owner the grantor of each.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_trigger.h"
#include "commands/comment.h"
#include "commands/policy.h"
#include "commands/trigger.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "reshape/reshape.h"
#include "reshape/reshape_private.h"

static void copy_foreign_keys(const WhLikeness *like);
static void copy_columns(const WhLikeness *like);
static void copy_privileges(Oid from, Oid to, Oid owner);
static void replace_acl(Relation catalog, HeapTuple tuple, int attnum, Datum acl, bool isnull,
						Oid relid, int column, Oid owner);
static void copy_comment(Oid from, Oid to, Oid catalog);
static void give_triggers(const WhLikeness *like);
static void give_policies(const WhLikeness *like);
static void give_sequences(const WhLikeness *like);
static void move_counter(const WhLikeness *like, const char *column, Oid old, Oid new);
static void name_indexes(const WhLikeness *like);
static void replace_views(const WhLikeness *like);

#define RUN(...) wh_spi_execute(wh_sql(__VA_ARGS__), 0, NULL)

void
wh_likeness_before(const WhLikeness *like)
{
	copy_foreign_keys(like);
	copy_columns(like);
	copy_privileges(like->table, like->parent, like->owner);
	copy_comment(like->table, like->parent, RelationRelationId);
}

/* copy_foreign_keys makes the keys of a table that is still empty; attaching finds its like, and
 * scans nothing. */
static void
copy_foreign_keys(const WhLikeness *like)
{
	WhRows *keys = wh_spi_query(
		"SELECT oid, conname, pg_catalog.pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint"
		" WHERE conrelid = $1 AND contype = 'f' ORDER BY conname",
		1, (WhArg[]){WH_ARG_OID(like->table)});

	for (uint64 i = 0; i < keys->count; i++)
	{
		const char *name = wh_rows_text(keys, i, 2);

		RUN("ALTER TABLE %T ADD CONSTRAINT %I %s", like->parent, name, wh_rows_text(keys, i, 3));
		copy_comment(wh_rows_oid(keys, i, 1),
					 get_relation_constraint_oid(like->parent, name, false),
					 ConstraintRelationId);
	}
}

/* copy_columns copies statistics targets, and what identifies rows to others. */
static void
copy_columns(const WhLikeness *like)
{
	WhRows *targets = wh_spi_query(
		"SELECT attname, attstattarget::pg_catalog.int4 FROM pg_catalog.pg_attribute WHERE"
		" attrelid = $1 AND attnum > 0 AND NOT attisdropped AND attstattarget >= 0",
		1, (WhArg[]){WH_ARG_OID(like->table)});
	WhRows *identity = wh_spi_query(
		"SELECT relreplident FROM pg_catalog.pg_class WHERE oid = $1 AND relreplident IN"
		" ('f', 'n')",
		1, (WhArg[]){WH_ARG_OID(like->table)});

	for (uint64 i = 0; i < targets->count; i++)
		RUN("ALTER TABLE %T ALTER COLUMN %I SET STATISTICS %d", like->parent,
			wh_rows_text(targets, i, 1), wh_rows_int4(targets, i, 2));
	if (identity->count > 0)
		RUN("ALTER TABLE %T REPLICA IDENTITY %s", like->parent,
			strcmp(wh_rows_text(identity, 0, 1), "f") == 0 ? "FULL" : "NOTHING");
}

/* copy_privileges gives a relation the privileges of another, and its columns those of columns of
 * the same names. */
static void
copy_privileges(Oid from, Oid to, Oid owner)
{
	Relation classes = table_open(RelationRelationId, RowExclusiveLock);
	Relation attributes = table_open(AttributeRelationId, RowExclusiveLock);
	HeapTuple old = SearchSysCache1(RELOID, ObjectIdGetDatum(from));
	HeapTuple new = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(to));
	int natts = ((Form_pg_class) GETSTRUCT(old))->relnatts;
	bool isnull;
	Datum acl = SysCacheGetAttr(RELOID, old, Anum_pg_class_relacl, &isnull);

	replace_acl(classes, new, Anum_pg_class_relacl, acl, isnull, to, 0, owner);
	for (int i = 1; i <= natts; i++)
	{
		HeapTuple column = SearchSysCache2(ATTNUM, ObjectIdGetDatum(from), Int16GetDatum(i));

		acl = SysCacheGetAttr(ATTNUM, column, Anum_pg_attribute_attacl, &isnull);
		if (!isnull && !((Form_pg_attribute) GETSTRUCT(column))->attisdropped)
		{
			HeapTuple copy = SearchSysCacheCopyAttName(
				to, NameStr(((Form_pg_attribute) GETSTRUCT(column))->attname));

			replace_acl(attributes, copy, Anum_pg_attribute_attacl, acl, false, to,
						((Form_pg_attribute) GETSTRUCT(copy))->attnum, owner);
		}
		ReleaseSysCache(column);
	}
	ReleaseSysCache(old);
	table_close(attributes, RowExclusiveLock);
	table_close(classes, RowExclusiveLock);
	CommandCounterIncrement();
}

/* replace_acl writes an access list into a row of the catalog, with what it depends on. */
static void
replace_acl(Relation catalog, HeapTuple tuple, int attnum, Datum acl, bool isnull, Oid relid,
			int column, Oid owner)
{
	TupleDesc desc = RelationGetDescr(catalog);
	Datum *values = palloc0(sizeof(Datum) * desc->natts);
	bool *nulls = palloc0(sizeof(bool) * desc->natts);
	bool *replaces = palloc0(sizeof(bool) * desc->natts);
	bool was_null;
	Datum before = heap_getattr(tuple, attnum, desc, &was_null);
	Oid *old_members = NULL;
	Oid *new_members = NULL;
	int old_count = was_null ? 0 : aclmembers(DatumGetAclP(before), &old_members);
	int new_count = isnull ? 0 : aclmembers(DatumGetAclP(acl), &new_members);

	values[attnum - 1] = acl;
	nulls[attnum - 1] = isnull;
	replaces[attnum - 1] = true;
	tuple = heap_modify_tuple(tuple, desc, values, nulls, replaces);
	CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
	updateAclDependencies(RelationRelationId, relid, column, owner, old_count, old_members,
						  new_count, new_members);
}

/* copy_comment copies what was said of an object. */
static void
copy_comment(Oid from, Oid to, Oid catalog)
{
	char *comment = GetComment(from, catalog, 0);

	if (comment != NULL)
		CreateComments(to, catalog, 0, comment);
}

void
wh_likeness_read(WhLikeness *like)
{
	WhArg table = WH_ARG_OID(like->table);

	like->triggers =
		wh_spi_query("SELECT oid, tgname, pg_catalog.pg_get_triggerdef(oid), CASE tgenabled WHEN"
					 " 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' WHEN 'A' THEN"
					 " 'ENABLE ALWAYS' END FROM pg_catalog.pg_trigger WHERE tgrelid = $1 AND NOT"
					 " tgisinternal ORDER BY tgname",
					 1, &table);
	like->views = wh_spi_query(
		"SELECT c.oid, c.relowner, pg_catalog.array_to_string(c.reloptions, ', '),"
		" pg_catalog.pg_get_viewdef(c.oid) FROM pg_catalog.pg_class c WHERE c.relkind = 'v' AND"
		" c.oid IN (SELECT r.ev_class FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_depend d ON"
		" d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid WHERE"
		" d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = $1)"
		" ORDER BY c.oid",
		1, &table);
}

void
wh_likeness_give(const WhLikeness *like)
{
	give_triggers(like);
	give_policies(like);
	give_sequences(like);
}

/* give_triggers makes a table's triggers those of its parent, which gives each partition its own
 * of those for rows.  Their text names the table, as the parent is called by now. */
static void
give_triggers(const WhLikeness *like)
{
	for (uint64 i = 0; i < like->triggers->count; i++)
	{
		const char *name = wh_rows_text(like->triggers, i, 2);
		const char *enabled = wh_rows_text(like->triggers, i, 4);

		wh_spi_execute(wh_rows_text(like->triggers, i, 3), 0, NULL);
		if (enabled != NULL)
			RUN("ALTER TABLE %T %s TRIGGER %I", like->parent, enabled, name);
		copy_comment(wh_rows_oid(like->triggers, i, 1),
					 get_trigger_oid(like->parent, name, false), TriggerRelationId);
		RUN("DROP TRIGGER %I ON %T", name, like->table);
	}
}

/* give_policies copies row security.  The partition keeps its policies, for those who ask it by
 * name. */
static void
give_policies(const WhLikeness *like)
{
	WhArg table = WH_ARG_OID(like->table);
	WhRows *policies = wh_spi_query(
		"SELECT p.oid, p.polname, CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE'"
		" END, CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'"
		" WHEN 'd' THEN 'DELETE' ELSE 'ALL' END, (SELECT pg_catalog.string_agg(CASE r WHEN 0 THEN"
		" 'PUBLIC' ELSE r::pg_catalog.regrole::pg_catalog.text END, ', ') FROM"
		" pg_catalog.unnest(p.polroles) r), pg_catalog.pg_get_expr(p.polqual, p.polrelid),"
		" pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) FROM pg_catalog.pg_policy p WHERE"
		" p.polrelid = $1 ORDER BY p.polname",
		1, &table);
	WhRows *security = wh_spi_query("SELECT relrowsecurity, relforcerowsecurity FROM"
									" pg_catalog.pg_class WHERE oid = $1",
									1, &table);

	for (uint64 i = 0; i < policies->count; i++)
	{
		const char *name = wh_rows_text(policies, i, 2);
		const char *condition = wh_rows_text(policies, i, 6);
		const char *check = wh_rows_text(policies, i, 7);

		RUN("CREATE POLICY %I ON %T AS %s FOR %s TO %s%s%s", name, like->parent,
			wh_rows_text(policies, i, 3), wh_rows_text(policies, i, 4),
			wh_rows_text(policies, i, 5),
			condition != NULL ? wh_sql(" USING (%s)", condition) : "",
			check != NULL ? wh_sql(" WITH CHECK (%s)", check) : "");
		copy_comment(wh_rows_oid(policies, i, 1),
					 get_relation_policy_oid(like->parent, name, false), PolicyRelationId);
	}
	if (wh_rows_bool(security, 0, 1))
		RUN("ALTER TABLE %T ENABLE ROW LEVEL SECURITY", like->parent);
	if (!wh_rows_bool(security, 0, 2))
		return;
	/* Its owner, who splits the partition, sees all of it. */
	RUN("ALTER TABLE %T FORCE ROW LEVEL SECURITY", like->parent);
	RUN("ALTER TABLE %T NO FORCE ROW LEVEL SECURITY", like->table);
}

/* give_sequences has the parent's identity columns count on, and sequences belong to the parent
 * that belong to the table. */
static void
give_sequences(const WhLikeness *like)
{
	WhRows *owned = wh_spi_query(
		"SELECT d.objid, a.attname, d.deptype = 'i', (SELECT n.objid FROM pg_catalog.pg_depend n"
		" JOIN pg_catalog.pg_attribute b ON b.attrelid = n.refobjid AND b.attnum = n.refobjsubid"
		" WHERE n.classid = d.classid AND n.refclassid = d.refclassid AND n.refobjid = $2 AND"
		" n.deptype = 'i' AND b.attname = a.attname) FROM pg_catalog.pg_depend d JOIN"
		" pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN"
		" pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid WHERE"
		" d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = d.classid AND"
		" d.refobjid = $1 AND d.deptype IN ('a', 'i') ORDER BY d.objid",
		2, (WhArg[]){WH_ARG_OID(like->table), WH_ARG_OID(like->parent)});

	for (uint64 i = 0; i < owned->count; i++)
	{
		Oid sequence = wh_rows_oid(owned, i, 1);
		const char *column = wh_rows_text(owned, i, 2);

		if (wh_rows_bool(owned, i, 3))
			move_counter(like, column, sequence, wh_rows_oid(owned, i, 4));
		else
			RUN("ALTER SEQUENCE %T OWNED BY %T.%I", sequence, like->parent, column);
	}
}

/* move_counter has one identity column count on from another, under the name of its sequence.
 * nextval() takes no lock on the table, so the sequence is locked itself. */
static void
move_counter(const WhLikeness *like, const char *column, Oid old, Oid new)
{
	char *name = get_rel_name(old);
	WhRows *rows;

	LockRelationOid(old, AccessExclusiveLock);
	rows = wh_spi_query(wh_sql("SELECT last_value, is_called FROM %T", old), 0, NULL);
	wh_spi_query("SELECT pg_catalog.setval($1, $2, $3)", 3,
				 (WhArg[]){WH_ARG_REGCLASS(new), WH_ARG_INT8(wh_rows_int8(rows, 0, 1)),
						   WH_ARG_BOOL(wh_rows_bool(rows, 0, 2))});
	copy_privileges(old, new, like->owner);
	RUN("ALTER TABLE %T ALTER COLUMN %I DROP IDENTITY", like->table, column);
	RUN("ALTER SEQUENCE %T RENAME TO %I", new, name);
}

void
wh_likeness_after(const WhLikeness *like)
{
	name_indexes(like);
	replace_views(like);
}

/* name_indexes gives the parent's indexes the names that the table's had, and those, names that
 * begin with the partition's. */
static void
name_indexes(const WhLikeness *like)
{
	const char *partition = get_rel_name(like->table);
	Oid schema = get_rel_namespace(like->table);
	size_t length = strlen(like->name);
	WhRows *pairs = wh_spi_query(
		"SELECT i.inhrelid, i.inhparent FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_index x"
		" ON x.indexrelid = i.inhrelid WHERE x.indrelid = $1 ORDER BY i.inhrelid",
		1, (WhArg[]){WH_ARG_OID(like->table)});

	for (uint64 i = 0; i < pairs->count; i++)
	{
		Oid index = wh_rows_oid(pairs, i, 1);
		char *name = get_rel_name(index);
		bool follows = strncmp(name, like->name, length) == 0 && name[length] == '_';

		RUN("ALTER INDEX %T RENAME TO %I", index,
			wh_make_free_name(schema, partition,
							  follows ? name + length : psprintf("_%s", name)));
		RUN("ALTER INDEX %T RENAME TO %I", wh_rows_oid(pairs, i, 2), name);
	}
}

/* replace_views defines views anew by their texts, as their owners. */
static void
replace_views(const WhLikeness *like)
{
	for (uint64 i = 0; i < like->views->count; i++)
	{
		const char *options = wh_rows_text(like->views, i, 3);
		WhUser saved;

		wh_user_become(wh_rows_oid(like->views, i, 2), &saved);
		RUN("CREATE OR REPLACE VIEW %T%s AS %s", wh_rows_oid(like->views, i, 1),
			options != NULL ? wh_sql(" WITH (%s)", options) : "", wh_rows_text(like->views, i, 4));
		wh_user_restore(&saved);
	}
}

WhRows *
wh_likeness_problems(Oid relid, const char *column)
{
	return wh_spi_query(
		/* What the table itself is. */
		"SELECT x.problem FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_attribute k ON"
		" k.attrelid = c.oid AND k.attname = $2 AND k.attnum > 0, LATERAL (VALUES"
		" (c.relkind <> 'r' OR c.relispartition, 'It is no plain table.'),"
		" (c.relpersistence <> 'p', 'It is temporary or unlogged.'),"
		" (c.reloftype <> 0, 'It is a table OF a type.'),"
		" (c.relhassubclass OR EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE c.oid IN"
		" (i.inhrelid, i.inhparent)) AND NOT c.relispartition, 'It takes part in inheritance.'),"
		" (k.attname IS NULL, 'It has no column ' || pg_catalog.quote_ident($2) || '.'),"
		" (k.attgenerated <> '', 'The column is a generated one.'),"
		" (EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND c.relkind ="
		" 'r'), 'It has rules.'),"
		" (EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = c.tableoid AND d.objid ="
		" c.oid AND d.deptype = 'e'), 'It belongs to an extension.'),"
		" (EXISTS (SELECT FROM pg_catalog.pg_seclabel l WHERE l.classoid = c.tableoid AND l.objoid"
		" = c.oid), 'It has security labels.'),"
		" (c.relreplident = 'i', 'Its replica identity is an index; it may be the primary key,"
		" or FULL.')) AS x (has, problem) WHERE c.oid = $1 AND x.has"
		/* Its indexes. */
		" UNION ALL SELECT CASE WHEN x.indisexclusion THEN 'Exclusion constraint ' WHEN"
		" x.indisunique THEN 'Unique index ' ELSE 'Index ' END || i.relname || CASE WHEN NOT"
		" x.indisvalid THEN ' is not valid: REINDEX or drop it.' WHEN x.indisexclusion THEN ' "
		"cannot"
		" be one of a partitioned table: drop it.' ELSE ' does not contain the column ' ||"
		" pg_catalog.quote_ident($2) || ': make it anew with it, CONCURRENTLY.' END FROM"
		" pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid WHERE"
		" x.indrelid = $1 AND (x.indisexclusion OR NOT x.indisvalid OR x.indisunique AND"
		" (x.indexprs IS NOT NULL OR NOT EXISTS (SELECT FROM pg_catalog.pg_attribute k WHERE"
		" k.attrelid = $1 AND k.attname = $2 AND k.attnum = ANY"
		" ((x.indkey::pg_catalog.int2[])[0:x.indnkeyatts - 1]))))"
		/* Its constraints and triggers, and keys that refer to it. */
		" UNION ALL SELECT CASE WHEN c.confrelid = $1 THEN 'Foreign key ' || c.conname || ' of ' ||"
		" c.conrelid::pg_catalog.regclass || ' refers to it: drop it, since partitions that are"
		" referred to cannot be split or retired.' WHEN c.connoinherit THEN 'Constraint ' ||"
		" c.conname || ' is NO INHERIT.' ELSE 'Constraint ' || c.conname || ' is not valid: ALTER"
		" TABLE … VALIDATE CONSTRAINT.' END FROM pg_catalog.pg_constraint c WHERE c.confrelid = $1"
		" OR c.conrelid = $1 AND c.contype IN ('c', 'f', 'n') AND c.conname <> 'walhouse_range' AND"
		" (c.contype <> 'f' AND c.connoinherit OR NOT c.convalidated)"
		" UNION ALL SELECT 'Trigger ' || t.tgname || ' has a transition table for each row.' FROM"
		" pg_catalog.pg_trigger t WHERE t.tgrelid = $1 AND NOT t.tgisinternal AND t.tgtype::"
		"pg_catalog.int4 & 1 = 1 AND COALESCE(t.tgoldtable, t.tgnewtable) IS NOT NULL"
		/* What others have made of it. */
		" UNION ALL SELECT 'It is in publication ' || p.pubname || ': take it out, and put it in"
		" again afterwards.' FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p"
		" ON p.oid = r.prpubid WHERE r.prrelid = $1"
		" UNION ALL SELECT 'It is in a subscription.' FROM pg_catalog.pg_subscription_rel WHERE"
		" srrelid = $1"
		" UNION ALL SELECT DISTINCT pg_catalog.pg_describe_object(d.classid, d.objid, 0) ||"
		" ' depends on it: drop it, and make it again afterwards.' FROM pg_catalog.pg_depend d LEFT"
		" JOIN pg_catalog.pg_rewrite r ON d.classid = 'pg_catalog.pg_rewrite'"
		"::pg_catalog.regclass AND r.oid = d.objid LEFT JOIN pg_catalog.pg_class v ON v.oid ="
		" r.ev_class WHERE (d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND"
		" d.refobjid = $1 OR d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass AND "
		"d.refobjid"
		" IN (SELECT t.oid FROM pg_catalog.pg_type t JOIN pg_catalog.pg_class c ON c.reltype IN"
		" (t.oid, t.typelem) WHERE c.oid = $1)) AND d.deptype = 'n' AND"
		" NOT COALESCE(v.relkind = 'v' AND v.relpersistence = 'p' AND pg_catalog.pg_has_role("
		"v.relowner, 'USAGE'), false) AND COALESCE(v.oid <> $1, true) AND NOT EXISTS (SELECT FROM"
		" pg_catalog.pg_policy o WHERE o.tableoid = d.classid AND o.oid = d.objid AND o.polrelid ="
		" $1) AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint o WHERE o.tableoid = d.classid"
		" AND o.oid = d.objid AND $1 IN (o.conrelid, o.confrelid)) AND NOT EXISTS (SELECT FROM"
		" pg_catalog.pg_trigger o WHERE o.tableoid = d.classid AND o.oid = d.objid AND o.tgrelid ="
		" $1) AND NOT EXISTS (SELECT FROM pg_catalog.pg_index o WHERE d.classid ="
		" 'pg_catalog.pg_class'::pg_catalog.regclass AND o.indexrelid = d.objid AND o.indrelid ="
		" $1) AND NOT EXISTS (SELECT FROM pg_catalog.pg_attrdef o WHERE o.tableoid = d.classid AND"
		" o.oid = d.objid AND o.adrelid = $1) AND NOT EXISTS (SELECT FROM"
		" pg_catalog.pg_statistic_ext o WHERE o.tableoid = d.classid AND o.oid = d.objid AND"
		" o.stxrelid = $1) ORDER BY 1",
		2, (WhArg[]){WH_ARG_OID(relid), wh_arg_text(column)});
}
