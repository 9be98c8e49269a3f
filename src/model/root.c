/*
 * root.c
 *		The driving table of a join, and the ways from the other tables to it.
 *
 * The driving table is the one whose key the model's key holds; where several could be, the one
 * with the longest key, which is the finest.  Each row of the query belongs to one row of it, so
 * the work of a load goes by its keys: a change in any table is followed along equalities of
 * columns to the rows of the driving table that it may concern, and from these the rows of the
 * other tables are found again.  A table that no chain of equalities leads to would have to be
 * read whole, and is refused.
 *
 * Where each key of the driving table gives one row at most, that is proved here, from the
 * equalities and the keys of the mirrors.  Where it cannot be proved, loads count.
 *
 * Both directions of a way need an index on the mirror.  The declaration makes those that lack,
 * as the mirror's owner; others get the command to ask for.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "model/model.h"
#include "model/model_private.h"

/* A column of an alias. */
typedef struct Place
{
	int alias;
	AttrNumber attnum;
} Place;

static List *key_columns(List *columns);
static bool find_driver(WhJoin *join, List *key);
static List *same_as(const WhJoin *join, const WhModelColumn *column);
static bool is_among(List *places, int alias, AttrNumber attnum);
static List *find_driver_key(const WhJoin *join, const WhJoinAlias *alias, List *columns);
static List *key_attnums(const WhJoinAlias *alias);
static bool proves_one_row(const WhJoin *join, List *key);
static bool spread(const WhJoin *join, List **known, Bitmapset *decided);
static bool has_key(List *known, const WhJoinAlias *alias);
static void find_ways(WhJoin *join);
static bool find_way(WhJoin *join, WhJoinAlias *alias);
static void take_edge(const WhJoin *join, WhJoinAlias *alias, int parent);
static bool leads(const WhJoinEquality *equality, int parent, int child, int *side);
static int value_of(const WhJoin *join, const WhJoinAlias *alias, int parent);
static void need_index(Oid mirror, const Bitmapset *columns, const char *what);
pg_noreturn static void refuse_key(const WhJoin *join, const char *what);
pg_noreturn static void refuse_longer_key(const WhJoin *join, List *columns, const char *what);
pg_noreturn static void refuse_alias(const WhJoinAlias *alias, const char *what,
									 const WhModelText *text);

void
wh_model_join_root(WhJoin *join, List *columns, const char *what, const WhModelText *text)
{
	List *key = key_columns(columns);
	ListCell *cell;

	if (!find_driver(join, key))
		refuse_key(join, what);
	if (join->is_unique && !join->is_exact)
		refuse_longer_key(join, key, what);
	find_ways(join);
	foreach(cell, join->aliases)
	{
		if (!((WhJoinAlias *) lfirst(cell))->is_reached)
			refuse_alias(lfirst(cell), what, text);
	}
}

bool
wh_model_join_fits(WhJoin *join, List *columns)
{
	ListCell *cell;

	if (!find_driver(join, key_columns(columns)) || (join->is_unique && !join->is_exact))
		return false;
	find_ways(join);
	foreach(cell, join->aliases)
	{
		if (!((WhJoinAlias *) lfirst(cell))->is_reached)
			return false;
	}
	return true;
}

static List *
key_columns(List *columns)
{
	List *key = NIL;
	ListCell *cell;

	foreach(cell, columns)
	{
		if (((WhModelColumn *) lfirst(cell))->is_key)
			key = lappend(key, lfirst(cell));
	}
	return key;
}

/* find_driver finds the driving table, and what can be said of the key; false when there is none.
 */
static bool
find_driver(WhJoin *join, List *key)
{
	ListCell *cell;

	foreach(cell, join->aliases)
	{
		WhJoinAlias *alias = lfirst(cell);
		List *driver_key = find_driver_key(join, alias, key);

		if (driver_key == NIL || list_length(driver_key) <= list_length(join->driver_key))
			continue;
		join->driver = alias;
		join->driver_key = driver_key;
	}
	if (join->driver == NULL)
		return false;
	join->is_exact = list_length(join->driver_key) == list_length(key);
	join->is_unique = proves_one_row(join, join->driver_key);
	return true;
}

/* same_as returns the places whose values equal a column of the query in each of its rows. */
static List *
same_as(const WhJoin *join, const WhModelColumn *column)
{
	List *places = NIL;
	Place *place;
	bool grows = true;

	if (column->attnum == 0)
		return NIL;
	place = palloc0(sizeof(Place));
	place->alias = column->alias;
	place->attnum = column->attnum;
	places = lappend(places, place);
	while (grows)
	{
		ListCell *cell;

		grows = false;
		foreach(cell, join->equalities)
		{
			WhJoinEquality *equality = lfirst(cell);

			for (int side = 0; side < 2; side++)
			{
				if (!equality->is_inner ||
					!is_among(places, equality->alias[side], equality->attnum[side]) ||
					is_among(places, equality->alias[1 - side], equality->attnum[1 - side]))
					continue;
				place = palloc0(sizeof(Place));
				place->alias = equality->alias[1 - side];
				place->attnum = equality->attnum[1 - side];
				places = lappend(places, place);
				grows = true;
			}
		}
	}
	return places;
}

static bool
is_among(List *places, int alias, AttrNumber attnum)
{
	ListCell *cell;

	foreach(cell, places)
	{
		Place *place = lfirst(cell);

		if (place->alias == alias && place->attnum == attnum)
			return true;
	}
	return false;
}

/* find_driver_key returns the columns of the model's key that equal an alias's key, in its order;
 * NIL when there are none for some. */
static List *
find_driver_key(const WhJoin *join, const WhJoinAlias *alias, List *columns)
{
	List *result = NIL;
	ListCell *cell;

	if (alias->is_nullable)
		return NIL;
	foreach(cell, key_attnums(alias))
	{
		WhModelColumn *found = NULL;
		ListCell *lc;

		foreach(lc, columns)
		{
			if (found == NULL && is_among(same_as(join, lfirst(lc)), alias->number,
										  (AttrNumber) lfirst_int(cell)))
				found = lfirst(lc);
		}
		if (found == NULL || list_member_ptr(result, found))
			return NIL;
		result = lappend(result, found);
	}
	return result;
}

/* key_attnums returns the attnums of a mirror's key. */
static List *
key_attnums(const WhJoinAlias *alias)
{
	const WhFeedTable *table = alias->table->table;
	List *result = NIL;
	ListCell *cell;

	foreach(cell, table->key)
		result = lappend_int(result, get_attnum(table->mirror,
												wh_model_mirror_column(table, lfirst_int(cell))));
	return result;
}

/* proves_one_row says whether values of the key decide one row of each mirror at most. */
static bool
proves_one_row(const WhJoin *join, List *key)
{
	Bitmapset *decided = NULL;
	List *known = NIL;
	ListCell *cell;
	bool grows = true;

	foreach(cell, key)
		known = list_concat(known, same_as(join, lfirst(cell)));
	while (grows)
	{
		grows = spread(join, &known, decided);
		foreach(cell, join->aliases)
		{
			WhJoinAlias *alias = lfirst(cell);

			if (bms_is_member(alias->number, decided) || !has_key(known, alias))
				continue;
			decided = bms_add_member(decided, alias->number);
			grows = true;
		}
	}
	return bms_num_members(decided) == list_length(join->aliases);
}

/* spread adds the columns that equal known ones, or columns of rows that are decided; says whether
 * there were any. */
static bool
spread(const WhJoin *join, List **known, Bitmapset *decided)
{
	bool grows = false;
	ListCell *cell;

	foreach(cell, join->equalities)
	{
		WhJoinEquality *equality = lfirst(cell);

		for (int side = 0; side < 2; side++)
		{
			int to = equality->alias[1 - side];
			Place *place;

			if ((equality->decides != NULL && !bms_is_member(to, equality->decides)) ||
				is_among(*known, to, equality->attnum[1 - side]) ||
				(!bms_is_member(equality->alias[side], decided) &&
				 !is_among(*known, equality->alias[side], equality->attnum[side])))
				continue;
			place = palloc0(sizeof(Place));
			place->alias = to;
			place->attnum = equality->attnum[1 - side];
			*known = lappend(*known, place);
			grows = true;
		}
	}
	return grows;
}

static bool
has_key(List *known, const WhJoinAlias *alias)
{
	ListCell *cell;

	foreach(cell, key_attnums(alias))
	{
		if (!is_among(known, alias->number, (AttrNumber) lfirst_int(cell)))
			return false;
	}
	return true;
}

/* find_ways leads every alias to the driving one, those that are next to it first. */
static void
find_ways(WhJoin *join)
{
	bool grows = true;

	join->driver->is_reached = true;
	while (grows)
	{
		ListCell *cell;

		grows = false;
		foreach(cell, join->aliases)
		{
			if (!((WhJoinAlias *) lfirst(cell))->is_reached)
				grows = find_way(join, lfirst(cell)) || grows;
		}
	}
}

/* find_way takes the best of the aliases that are reached as the parent of another. */
static bool
find_way(WhJoin *join, WhJoinAlias *alias)
{
	int best = 0;
	int best_value = 0;
	ListCell *cell;

	foreach(cell, join->aliases)
	{
		WhJoinAlias *parent = lfirst(cell);
		int value = parent->is_reached ? value_of(join, alias, parent->number) : 0;

		if (value > best_value)
		{
			best = parent->number;
			best_value = value;
		}
	}
	if (best == 0)
		return false;
	take_edge(join, alias, best);
	return true;
}

/* value_of counts the equalities that lead from parent to alias, and prefers those that hold
 * alias's key; 0: none. */
static int
value_of(const WhJoin *join, const WhJoinAlias *alias, int parent)
{
	List *places = NIL;
	int count = 0;
	ListCell *cell;

	foreach(cell, join->equalities)
	{
		WhJoinEquality *equality = lfirst(cell);
		Place *place;
		int side;

		if (!leads(equality, parent, alias->number, &side))
			continue;
		place = palloc0(sizeof(Place));
		place->alias = alias->number;
		place->attnum = equality->attnum[side];
		places = lappend(places, place);
		count++;
	}
	return count == 0 ? 0 : count + (has_key(places, alias) ? 1000 : 0);
}

/* leads says whether an equality finds rows of child by rows of parent; *side is child's. */
static bool
leads(const WhJoinEquality *equality, int parent, int child, int *side)
{
	if (equality->decides != NULL && !bms_is_member(child, equality->decides))
		return false;
	for (int i = 0; i < 2; i++)
	{
		if (equality->alias[i] == child && equality->alias[1 - i] == parent)
		{
			*side = i;
			return true;
		}
	}
	return false;
}

static void
take_edge(const WhJoin *join, WhJoinAlias *alias, int parent)
{
	StringInfoData edge;
	ListCell *cell;

	initStringInfo(&edge);
	foreach(cell, join->equalities)
	{
		WhJoinEquality *equality = lfirst(cell);
		int side;

		if (!leads(equality, parent, alias->number, &side))
			continue;
		wh_sql_append(&edge, "%s%s", edge.len > 0 ? " AND " : "", equality->text);
		alias->own_columns = bms_add_member(alias->own_columns, equality->attnum[side]);
		alias->parent_columns = bms_add_member(alias->parent_columns, equality->attnum[1 - side]);
	}
	alias->edge = edge.data;
	alias->parent = parent;
	alias->is_reached = true;
}

void
wh_model_join_indexes(const WhJoin *join, const char *what)
{
	ListCell *cell;

	foreach(cell, join->aliases)
	{
		WhJoinAlias *alias = lfirst(cell);

		if (alias->parent == 0)
			continue;
		need_index(alias->table->table->mirror, alias->own_columns, what);
		need_index(wh_model_join_alias(join, alias->parent)->table->table->mirror,
				   alias->parent_columns, what);
	}
}

/* need_index makes an index that begins with one of the columns, unless there is one. */
static void
need_index(Oid mirror, const Bitmapset *columns, const char *what)
{
	StringInfoData list;
	StringInfoData attnums;
	char *command;
	int attnum = -1;

	initStringInfo(&list);
	initStringInfo(&attnums);
	while ((attnum = bms_next_member(columns, attnum)) >= 0)
	{
		wh_sql_append(&list, "%s%I", list.len > 0 ? ", " : "", get_attname(mirror, attnum, false));
		wh_sql_append(&attnums, "%s%d", attnums.len > 0 ? ", " : "", attnum);
	}
	if (wh_spi_query(
			wh_sql("SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = "
				   "i.indexrelid JOIN pg_catalog.pg_am a ON a.oid = c.relam WHERE i.indrelid = $1 "
				   "AND i.indisvalid AND i.indpred IS NULL AND a.amname IN ('btree', 'hash') "
				   "AND i.indkey[0] = ANY (ARRAY[%s]::pg_catalog.int2[])",
				   attnums.data),
			1, (WhArg[]){WH_ARG_OID(mirror)})
			->count > 0)
		return;
	command = wh_sql("CREATE INDEX ON %T (%s)", mirror, list.data);
	if (!wh_compat_owns_class(mirror, GetUserId()))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the joins of a %s need an index on %s (%s)", what,
							   wh_sql_relation(mirror), list.data),
						errdetail("Without it, every load would read the whole mirror."),
						errhint("Ask its owner for: %s;", command)));
	ereport(NOTICE,
			(errmsg("index on %s (%s) is made for the joins of the %s", wh_sql_relation(mirror),
					list.data, what)));
	wh_spi_execute(command, 0, NULL);
}

static void
refuse_key(const WhJoin *join, const char *what)
{
	StringInfoData detail;
	ListCell *cell;

	initStringInfo(&detail);
	foreach(cell, join->aliases)
	{
		WhJoinAlias *alias = lfirst(cell);
		const char *separator = "";
		ListCell *lc;

		if (alias->is_nullable)
			continue;
		appendStringInfo(&detail, "%sThe key of %s is (", detail.len > 0 ? " " : "",
						 wh_sql_relation(alias->table->table->mirror));
		foreach(lc, alias->table->table->key)
		{
			appendStringInfo(&detail, "%s%s", separator,
							 wh_model_mirror_column(alias->table->table, lfirst_int(lc)));
			separator = ", ";
		}
		appendStringInfoString(&detail, ").");
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the key of a %s over several tables must hold the key of one of them", what),
			 errdetail("%s", detail.data),
			 errhint("Select the key columns of the table with the finest rows as they are, and "
					 "name them all in key.")));
}

static void
refuse_longer_key(const WhJoin *join, List *columns, const char *what)
{
	const char *table = wh_sql_relation(join->driver->table->table->mirror);
	int more = list_length(columns) - list_length(join->driver_key);

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the key of this %s must be the key of %s", what, table),
			 errdetail("Each row of %s gives one row at most, and %d of the key's columns %s not "
					   "in its key.",
					   table, more, more == 1 ? "is" : "are"),
			 errhint("Leave them out of key.")));
}

static void
refuse_alias(const WhJoinAlias *alias, const char *what, const WhModelText *text)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("the query of a %s cannot be kept current with %s, which is joined along no key",
					what, wh_sql_relation(alias->table->table->mirror)),
			 errdetail("Which rows a change there concerns could be found only by reading whole "
					   "tables."),
			 errhint("Join it by equality of its columns with those of another table in the "
					 "query, as they are."),
			 text == NULL ? 0 : wh_model_position(text, alias->location)));
}
