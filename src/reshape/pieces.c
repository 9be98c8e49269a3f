/*
 * pieces.c
 *		How partitions are split and merged, and the tables that this needs.
 *
 * Made in one transaction: the staging table with the new partitions, the queue of keys, and the
 * row that says so.  The old partitions are held, so that their set does not retire them
 * meanwhile.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "reshape/reshape.h"
#include "reshape/reshape_private.h"

#define MOST_PIECES 1000

static List *find_sources(const WhSplit *split, const WhSet *set);
static List *plan_pieces(const WhSplit *split, const WhSet *set, List *sources);
static void add_piece(List **pieces, int64 lo, int64 hi, char *name);
static int64 least_position(const WhSet *set, Oid relid);
static char *merged_name(const WhSet *set, int64 lo, int64 hi);
static void check(const WhSplit *split, const WhSet *set, const char *ids);
static char *key_of(Oid parent);
static char *oids_text(List *oids);
static Oid make_queue(const WhSet *set, const char *key);

#define RUN(...) wh_spi_execute(wh_sql(__VA_ARGS__), 0, NULL)

void
wh_split_begin(void *arg)
{
	WhSplit *split = arg;
	WhSet *set = wh_set_own(split->parent);
	List *sources;
	List *groups;
	char *ids;
	char *key;
	Oid staging;
	WhArg args[11];

	wh_rewrite_lock_ddl(split->parent);
	wh_members_reconcile(set, wh_members_ranges(set));
	sources = find_sources(split, set);
	ids = wh_split_ids(sources);
	check(split, set, ids);
	staging = wh_split_make_parent(set, "_staging", "INCLUDING GENERATED");
	groups = wh_groups_make(set, staging, plan_pieces(split, set, sources));
	key = key_of(split->parent);
	args[0] = WH_ARG_OID(split->parent);
	args[1] = wh_arg_text(split->kind);
	args[2] = WH_ARG_INT8(((WhRange *) linitial(sources))->lo);
	args[3] = WH_ARG_INT8(((WhRange *) llast(sources))->hi);
	args[4] = wh_arg_text(ids);
	args[5] = WH_ARG_OID(staging);
	args[6] = WH_ARG_OID(make_queue(set, key));
	args[7] = wh_arg_text(key);
	args[8] = wh_arg_text(wh_split_signature(split->parent));
	args[9] = wh_arg_text(split->every);
	args[10] = wh_arg_text(groups == NIL ? NULL : oids_text(groups));
	wh_split_hold(set, ids, split->kind);
	wh_catalog_execute(
		"INSERT INTO walhouse.partition_rewrite (relid, kind, state, options, lo, hi, sources,"
		" staging, queue, key, signature, groups, total) SELECT $1, $2, 'capture', pg_catalog."
		"jsonb_build_object('every', $10), $3, $4, $5::pg_catalog.oid[]::pg_catalog.regclass[], $6,"
		" $7, pg_catalog.string_to_array($8, pg_catalog.chr(1)), $9, $11::pg_catalog.oid[]"
		"::pg_catalog.regclass[], (SELECT pg_catalog.sum("
		"GREATEST(reltuples, 0)) FROM pg_catalog.pg_class WHERE oid = ANY ($5::pg_catalog.oid[]))",
		lengthof(args), args);
}

/* find_sources lists what is to go, as WhRange. */
static List *
find_sources(const WhSplit *split, const WhSet *set)
{
	List *found = NIL;
	ListCell *cell;
	int64 from = split->from != NULL ? wh_axis_read(&set->axis, split->from) : 0;
	int64 to = split->to != NULL ? wh_axis_read(&set->axis, split->to) : 0;

	foreach(cell, wh_members_ranges(set))
	{
		WhRange *range = lfirst(cell);

		if (split->from == NULL ? range->relid != split->partition :
								  range->hi <= from || range->lo >= to)
			continue;
		if (split->from != NULL &&
			(range->lo < from || range->hi > to ||
			 (found != NIL && ((WhRange *) llast(found))->hi != range->lo)))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("partition \"%s\" reaches beyond what is merged, or does not follow "
								   "upon the one before",
								   get_rel_name(range->relid)),
							errdetail("It lies from %s to %s.", wh_axis_text(&set->axis, range->lo),
									  wh_axis_text(&set->axis, range->hi))));
		found = lappend(found, range);
	}
	if (list_length(found) < (split->from == NULL ? 1 : 2))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("there are no such partitions of \"%s\"",
							   get_rel_name(set->parent))));
	return found;
}

/* plan_pieces lists the new partitions, which have together the range of the old ones. */
static List *
plan_pieces(const WhSplit *split, const WhSet *set, List *sources)
{
	int64 lo = ((WhRange *) linitial(sources))->lo;
	int64 hi = ((WhRange *) llast(sources))->hi;
	const char *base = get_rel_name(set->parent);
	Oid schema = get_rel_namespace(set->parent);
	WhSet grid = *set;
	List *pieces = NIL;
	int64 from;
	int64 to;
	int64 position;

	if (split->from != NULL)
	{
		add_piece(&pieces, lo, hi, merged_name(set, lo, hi));
		return pieces;
	}
	if (split->every != NULL)
	{
		WhRows *rows = wh_catalog_query("SELECT zone, origin FROM walhouse.partition_set WHERE"
										" set_id = $1",
										1, (WhArg[]){WH_ARG_INT4(set->id)});

		wh_axis_open(&grid.axis, set->parent, set->axis.name, split->every,
					 wh_rows_text(rows, 0, 1), wh_rows_text(rows, 0, 2));
	}
	position = Max(lo, least_position(set, ((WhRange *) linitial(sources))->relid));
	if (position == PG_INT64_MIN)
		position = wh_axis_has_time(&set->axis) ? wh_axis_at(&set->axis, GetCurrentTimestamp()) :
												  set->axis.step.origin;
	position = Min(position, hi - 1);
	wh_axis_bucket(&grid.axis, position, &from, &to);
	if (lo < from)
	{
		add_piece(&pieces, lo, from, wh_make_free_name(schema, base, "_before"));
		lo = from;
	}
	while (lo < hi && list_length(pieces) <= MOST_PIECES)
	{
		wh_axis_bucket(&grid.axis, lo, &from, &to);
		to = Min(to, hi);
		add_piece(&pieces, lo, to,
				  wh_make_free_name(schema, base, wh_axis_suffix(&grid.axis, lo)));
		lo = to;
	}
	if (list_length(pieces) == 1 || list_length(pieces) > MOST_PIECES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("partition \"%s\" cannot be split so", get_rel_name(split->partition)),
				 errdetail("It would become %s.", list_length(pieces) == 1 ?
													  "one partition" :
													  "more than a thousand partitions"),
				 errhint("Give another grid with every, or delete rows of times that cannot be.")));
	return pieces;
}

static void
add_piece(List **pieces, int64 lo, int64 hi, char *name)
{
	WhNewPartition *piece = palloc0(sizeof(WhNewPartition));

	piece->lo = lo;
	piece->hi = hi;
	piece->name = name;
	*pieces = lappend(*pieces, piece);
}

/* least_position is that of the least key in a partition; PG_INT64_MIN: it has no row. */
static int64
least_position(const WhSet *set, Oid relid)
{
	WhRows *rows;
	WhUser saved;
	bool isnull;

	wh_user_become(set->owner, &saved);
	rows = wh_spi_query(wh_sql("SELECT %I FROM %T ORDER BY 1 LIMIT 1", set->axis.column, relid), 0,
						NULL);
	wh_user_restore(&saved);
	return rows->count == 0 ?
			   PG_INT64_MIN :
			   wh_axis_position(&set->axis, wh_rows_datum(rows, 0, 1, &isnull), false);
}

/* merged_name is that of the month, quarter or year that a range is, or that of its first bucket.
 */
static char *
merged_name(const WhSet *set, int64 lo, int64 hi)
{
	WhAxis axis = set->axis;
	const char *suffix = lo == PG_INT64_MIN ? "_before" : wh_axis_suffix(&axis, lo);
	static const int months[] = {1, 3, 12};

	for (int i = 0; i < lengthof(months) && wh_axis_has_time(&axis) && lo != PG_INT64_MIN; i++)
	{
		int64 from;
		int64 to;

		axis.step = (WhStep){WH_STEP_MONTHS, months[i], 0};
		wh_axis_bucket(&axis, lo, &from, &to);
		if (from == lo && to == hi)
			suffix = wh_axis_suffix(&axis, lo);
	}
	return wh_make_free_name(get_rel_namespace(set->parent), get_rel_name(set->parent), suffix);
}

/* check refuses, before anything is touched, what cannot be done; all of it at once. */
static void
check(const WhSplit *split, const WhSet *set, const char *ids)
{
	const char *reason = wh_set_guarded(set->parent);
	StringInfoData text;
	WhRows *problems = wh_catalog_query(
		"SELECT 'Foreign key ' || c.conname || ' of ' || c.conrelid::pg_catalog.regclass || CASE"
		" c.confrelid WHEN $1 THEN ' refers to it' ELSE ' would have to be checked for all rows at"
		" once' END || ': drop it.' FROM pg_catalog.pg_constraint c WHERE c.contype = 'f' AND"
		" c.conparentid = 0 AND (c.confrelid = $1 OR c.conrelid = $1 OR c.conrelid = ANY"
		" ($2::pg_catalog.oid[]) OR c.confrelid = ANY ($2::pg_catalog.oid[]))"
		" UNION ALL SELECT 'Partition ' || p.relid || CASE WHEN p.hold IS NOT NULL THEN"
		" ' is held: ' || p.hold ELSE ' is ' || p.state END FROM walhouse.partition p WHERE p.relid"
		" = ANY ($2::pg_catalog.oid[]::pg_catalog.regclass[]) AND (p.hold IS NOT NULL OR p.state ="
		" 'detaching')"
		" UNION ALL SELECT 'Partition ' || c.oid::pg_catalog.regclass || x.problem FROM"
		" pg_catalog.pg_class c, LATERAL (VALUES (c.relkind <> 'r', ' is no plain table.'),"
		" (c.relpersistence <> 'p', ' is unlogged.'), (c.relforcerowsecurity,"
		" ' forces row security on its owner.'), (EXISTS (SELECT FROM pg_catalog.pg_publication_rel"
		" r WHERE r.prrelid = c.oid), ' is in a publication by its own name.'), (EXISTS (SELECT"
		" FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_depend d ON d.objid = r.oid AND d.classid"
		" = r.tableoid WHERE d.refobjid = c.oid AND d.refclassid = c.tableoid), ' has views of its"
		" own.')) AS x (has, problem) WHERE c.oid = ANY ($2::pg_catalog.oid[]) AND x.has ORDER "
		"BY 1",
		2, (WhArg[]){WH_ARG_OID(set->parent), wh_arg_text(ids)});

	initStringInfo(&text);
	for (uint64 i = 0; i < problems->count; i++)
		appendStringInfo(&text, "%s%s", i > 0 ? "\n" : "", wh_rows_text(problems, i, 1));
	if (reason != NULL)
		appendStringInfo(&text, "%s%s", text.len > 0 ? "\n" : "", reason);
	if (key_of(set->parent) == NULL)
		appendStringInfo(&text,
						 "%sThe table has neither a primary key nor a unique index of columns "
						 "that are not null.",
						 text.len > 0 ? "\n" : "");
	if (text.len > 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("partitions of \"%s\" cannot be changed so",
							   get_rel_name(set->parent)),
						errdetail("%s", text.data), errhint("Nothing was changed.")));
}

/* wh_split_ids gives the OIDs of partitions as an array in text. */
char *
wh_split_ids(List *sources)
{
	List *oids = NIL;

	foreach_ptr(WhRange, range, sources)
		oids = lappend_oid(oids, range->relid);
	return oids_text(oids);
}

static char *
oids_text(List *oids)
{
	StringInfoData text;

	initStringInfo(&text);
	foreach_oid(oid, oids)
		appendStringInfo(&text, "%s%u", text.len > 0 ? "," : "{", oid);
	appendStringInfoChar(&text, '}');
	return text.data;
}

/* key_of gives the columns that identify a row, with \1 in between; NULL: there are none.  Their
 * order and equality are those of the server's own types. */
static char *
key_of(Oid parent)
{
	WhRows *rows = wh_spi_query(
		"SELECT pg_catalog.string_agg(a.attname, pg_catalog.chr(1) ORDER BY k.i) FROM"
		" pg_catalog.pg_index x CROSS JOIN LATERAL pg_catalog.generate_series(0, x.indnkeyatts - 1)"
		" k(i) JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum ="
		" x.indkey[k.i] JOIN pg_catalog.pg_opclass o ON o.oid = x.indclass[k.i] WHERE x.indrelid ="
		" $1 AND x.indisunique AND x.indimmediate AND x.indisvalid AND x.indpred IS NULL AND"
		" x.indexprs IS NULL GROUP BY x.indexrelid, x.indisprimary, x.indnkeyatts HAVING"
		" pg_catalog.bool_and(a.attnotnull AND o.opcdefault AND x.indoption[k.i] = 0 AND"
		" o.opcnamespace = 'pg_catalog'::pg_catalog.regnamespace) ORDER BY x.indisprimary DESC,"
		" x.indnkeyatts, x.indexrelid LIMIT 1",
		1, (WhArg[]){WH_ARG_OID(parent)});

	return rows->count > 0 ? wh_rows_text(rows, 0, 1) : NULL;
}

/* wh_split_signature is another one when a table got other columns, indexes or constraints. */
char *
wh_split_signature(Oid parent)
{
	WhRows *rows = wh_spi_query(
		"SELECT pg_catalog.md5(pg_catalog.string_agg(x, '|' ORDER BY x)) FROM (SELECT"
		" pg_catalog.concat_ws(' ', 'column', attname, atttypid, atttypmod, attnotnull,"
		" attgenerated) FROM pg_catalog.pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT"
		" attisdropped UNION ALL SELECT pg_catalog.concat_ws(' ', 'index', indexrelid) FROM"
		" pg_catalog.pg_index WHERE indrelid = $1 UNION ALL SELECT pg_catalog.concat_ws(' ',"
		" 'constraint', oid) FROM pg_catalog.pg_constraint WHERE conrelid = $1 OR confrelid = $1)"
		" s(x)",
		1, (WhArg[]){WH_ARG_OID(parent)});

	return wh_rows_text(rows, 0, 1);
}

Oid
wh_split_make_parent(const WhSet *set, const char *suffix, const char *like)
{
	Oid schema = get_rel_namespace(set->parent);
	char *name = wh_make_free_name(schema, get_rel_name(set->parent), suffix);
	WhUser saved;

	wh_user_become(set->owner, &saved);
	RUN("CREATE TABLE %I.%I (LIKE %T %s) PARTITION BY RANGE (%I)", get_namespace_name(schema), name,
		set->parent, like, set->axis.column);
	wh_user_restore(&saved);
	return get_relname_relid(name, schema);
}

void
wh_split_add_check(const WhSet *set, Oid relid, int64 lo, int64 hi)
{
	WhUser saved;

	wh_user_become(set->owner, &saved);
	RUN("ALTER TABLE %T ADD CONSTRAINT walhouse_range CHECK (%s)", relid,
		wh_split_bounds(set, lo, hi));
	wh_user_restore(&saved);
}

/* wh_split_bounds is the condition of rows that lie in a range. */
char *
wh_split_bounds(const WhSet *set, int64 lo, int64 hi)
{
	const char *type = format_type_be_qualified(set->axis.type);
	StringInfoData condition;

	initStringInfo(&condition);
	wh_sql_append(&condition, "%I IS NOT NULL", set->axis.column);
	if (lo != PG_INT64_MIN)
		wh_sql_append(&condition, " AND %I >= %s::%s", set->axis.column,
					  wh_axis_literal(&set->axis, lo), type);
	if (hi != PG_INT64_MAX)
		wh_sql_append(&condition, " AND %I < %s::%s", set->axis.column,
					  wh_axis_literal(&set->axis, hi), type);
	return condition.data;
}

/* make_queue makes the table of keys: a bare one. */
static Oid
make_queue(const WhSet *set, const char *key)
{
	Oid schema = get_rel_namespace(set->parent);
	char *name = wh_make_free_name(schema, get_rel_name(set->parent), "_queue");
	StringInfoData columns;
	char *names = pstrdup(key);
	WhUser saved;

	initStringInfo(&columns);
	for (char *column = strtok(names, "\1"); column != NULL; column = strtok(NULL, "\1"))
		wh_sql_append(&columns, "%s%I", columns.len > 0 ? ", " : "", column);
	wh_user_become(set->owner, &saved);
	RUN("CREATE TABLE %I.%I AS SELECT %s FROM %T WITH NO DATA", get_namespace_name(schema), name,
		columns.data, set->parent);
	wh_user_restore(&saved);
	return get_relname_relid(name, schema);
}

/* wh_split_hold keeps partitions from being retired; NULL takes it back. */
void
wh_split_hold(const WhSet *set, const char *ids, const char *reason)
{
	wh_catalog_execute("UPDATE walhouse.partition SET hold = $2, held_by = CASE WHEN $2 IS NOT NULL"
					   " THEN $3::pg_catalog.regrole END WHERE relid = ANY ($1::pg_catalog.oid[]::"
					   "pg_catalog.regclass[])",
					   3,
					   (WhArg[]){wh_arg_text(ids), wh_arg_text(reason), WH_ARG_OID(GetUserId())});
	wh_members_schedule(set, InvalidOid, PG_INT64_MIN, true);
	wh_set_changed();
}
