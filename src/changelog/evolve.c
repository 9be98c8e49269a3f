/*
 * evolve.c
 *		Follows a source table's definition by attnum.
 *
 * Followed: a new column (with the value that the source gives to older rows, also in the images
 * of the log), a rename of a column, a dropped column, a type that is the same here (another
 * length or precision, varchar and text), a wider one of numbers, which mirror and log then have.
 * A dropped column stays and is NULL from then on; when its name comes back on a new column it is
 * renamed. All else means that the table must be copied again, and wh_changelog_redefine then
 * makes room for whatever came: the log keeps the old column under another name, so that no
 * history is lost.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "changelog/changelog.h"
#include "changelog/changelog_private.h"

/* What widen() does. */
typedef struct Widening
{
	const WhFeedTable *table;
	List *columns; /* of WhSourceColumn * */
} Widening;

static char *refusal(const WhFeedTable *table, const WhSourceTable *source);
static char *text_refusal(const WhFeedTable *table, const WhSourceTable *source);
static char *type_refusal(const WhFeedColumn *have, const WhSourceColumn *want);
static void apply_changes(const WhFeed *feed, const WhFeedTable *table,
						  const WhSourceTable *source);
static char *widen_columns(const WhFeedTable *table, const WhSourceTable *source);
static void widen(void *widening);
static bool follow_name(const WhFeedTable *table, const WhSourceTable *source);
static void add_column(const WhFeed *feed, const WhFeedTable *table, const WhSourceColumn *column);
static void add_to(Oid relid, const char *name, Oid type, const char *missing_default);
static void drop_column(const WhFeed *feed, const WhFeedTable *table, const WhFeedColumn *have);
static void rename_column(const WhFeedTable *table, const WhFeedColumn *have, const char *name);
static void free_name(const WhFeedTable *table, Oid relid, const char *which, const char *name);
static char *free_log_name(const WhFeedTable *table, const char *name);
static void change_type(const WhFeed *feed, const WhFeedTable *table, const WhFeedColumn *have,
						const WhSourceColumn *want);
static void change_key(const WhFeed *feed, const WhFeedTable *table, const WhSourceTable *source);
static WhFeedColumn *find_have(const WhFeedTable *table, int attnum);
static WhSourceColumn *find_want(const WhSourceTable *source, int attnum);

char *
wh_changelog_evolve(const WhFeed *feed, const WhFeedTable *table, const WhSourceTable *source)
{
	char *reason = refusal(table, source);

	if (reason == NULL)
		reason = text_refusal(table, source);
	if (reason == NULL)
		reason = widen_columns(table, source);
	if (reason == NULL)
		apply_changes(feed, table, source);
	return reason;
}

/* refusal says why a definition cannot be followed; NULL when it can. */
static char *
refusal(const WhFeedTable *table, const WhSourceTable *source)
{
	foreach_int(attnum, table->key)
	{
		if (find_want(source, attnum) == NULL)
			return pstrdup("the table's key has lost a column");
	}
	/* without a key there are inserts alone, and a key may come back */
	if (source->key != NIL && !equal(table->key, source->key))
		return pstrdup("the table's key consists of other columns now");
	foreach_ptr(WhSourceColumn, want, source->columns)
	{
		WhFeedColumn *have = find_have(table, want->attnum);
		char *reason = NULL;

		if (have != NULL && have->dropped)
			reason = psprintf("column \"%s\" is published again", want->name);
		else if (have != NULL)
			reason = type_refusal(have, want);
		else if (table->has_column_list)
			reason = psprintf("column \"%s\" came to the publication's column list", want->name);
		if (reason != NULL)
			return reason;
	}
	return NULL;
}

/*
 * type_refusal compares types.  What has the same type here is followed: values that are others
 * now come as rows that were rewritten, and without a rewrite at the source they are what they
 * were.  So is what can be widened.
 */
static char *
type_refusal(const WhFeedColumn *have, const WhSourceColumn *want)
{
	char *now = wh_changelog_source_type(want);
	bool is_text;
	Oid type = wh_changelog_local_type(want, &is_text);

	if (wh_changelog_type_fits(have->type, type) || wh_changelog_type_widens(have->type, type))
		return NULL;
	if (strcmp(have->source_type, now) == 0)
		return psprintf("column \"%s\" has a type here that does not fit any more", want->name);
	return psprintf("column \"%s\" changed its type from %s to %s", want->name, have->source_type,
					now);
}

/*
 * text_refusal looks for types whose values read otherwise now, in rows that the source has not
 * touched: an enum that has lost a label, a composite type with other attributes.
 */
static char *
text_refusal(const WhFeedTable *table, const WhSourceTable *source)
{
	char *definition = wh_changelog_definition(source);
	WhArg args[] = {WH_ARG_TEXT(table->definition), WH_ARG_TEXT(definition)};
	WhRows *rows;

	if (table->definition == NULL || strcmp(table->definition, definition) == 0)
		return NULL;
	rows = wh_catalog_query(
		"SELECT x.column_name FROM walhouse.definition_changes($1::pg_catalog.json,"
		" $2::pg_catalog.json) x WHERE x.kind = 'alter definition of type' AND (x.was NOT LIKE"
		" '''%' OR EXISTS (SELECT FROM pg_catalog.regexp_split_to_table(x.was, ', ') w"
		" WHERE w NOT IN (SELECT pg_catalog.regexp_split_to_table(x.\"is\", ', '))))",
		lengthof(args), args);
	return rows->count == 0 ? NULL :
							  psprintf("values of column \"%s\" read otherwise now",
									   wh_rows_text(rows, 0, 1));
}

/* apply_changes follows a definition: columns that went, then names, then columns that came. */
static void
apply_changes(const WhFeed *feed, const WhFeedTable *table, const WhSourceTable *source)
{
	bool changed = false;

	foreach_ptr(WhFeedColumn, have, table->columns)
	{
		if (!have->dropped && find_want(source, have->attnum) == NULL)
		{
			drop_column(feed, table, have);
			changed = true;
		}
	}
	foreach_ptr(WhSourceColumn, want, source->columns)
	{
		WhFeedColumn *have = find_have(table, want->attnum);
		const char *type = wh_changelog_source_type(want);
		WhArg args[] = {WH_ARG_INT4(feed->id), WH_ARG_OID(table->source_relid),
						WH_ARG_INT4(want->attnum), WH_ARG_TEXT(want->name), WH_ARG_TEXT(type)};

		if (have != NULL && !have->dropped && strcmp(have->source_name, want->name) == 0 &&
			strcmp(have->source_type, type) == 0)
			continue;
		changed = true;
		if (have == NULL)
		{
			add_column(feed, table, want);
			continue;
		}
		if (strcmp(have->source_name, want->name) != 0)
			rename_column(table, have, want->name);
		wh_catalog_execute("UPDATE walhouse.feed_column SET source_name = $4, source_type = $5,"
						   " dropped = false"
						   " WHERE feed_id = $1 AND source_relid = $2 AND attnum = $3",
						   5, args);
	}
	changed = follow_name(table, source) || changed;
	if (changed)
		wh_changelog_invalidate();
}

/*
 * widen_columns gives columns of mirror and log the wider types that they have at the source; why
 * it cannot, else NULL: a view of somebody reads one.
 */
static char *
widen_columns(const WhFeedTable *table, const WhSourceTable *source)
{
	Widening widening = {table};
	ErrorData *error;
	bool is_text;

	foreach_ptr(WhSourceColumn, want, source->columns)
	{
		WhFeedColumn *have = find_have(table, want->attnum);

		if (have != NULL &&
			wh_changelog_type_widens(have->type, wh_changelog_local_type(want, &is_text)))
			widening.columns = lappend(widening.columns, want);
	}
	if (widening.columns == NIL || wh_txn_try(widen, &widening, &error))
		return NULL;
	if (error->sqlerrcode != ERRCODE_FEATURE_NOT_SUPPORTED &&
		error->sqlerrcode != ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST)
		ReThrowError(error);
	return psprintf("a column got a wider type, and cannot here: %s%s%s", error->message,
					error->detail != NULL ? ": " : "", error->detail != NULL ? error->detail : "");
}

static void
widen(void *arg)
{
	const Widening *widening = arg;
	const WhFeedTable *table = widening->table;
	WhRows *queries = wh_changelog_drop_queries(table);
	WhUser saved;

	wh_user_become(wh_changelog_owner(table->mirror), &saved);
	foreach_ptr(WhSourceColumn, want, widening->columns)
	{
		const WhFeedColumn *have = find_have(table, want->attnum);
		bool is_text;
		const char *type = wh_changelog_type_name(wh_changelog_local_type(want, &is_text));

		wh_spi_execute(wh_sql("ALTER TABLE %T ALTER COLUMN %I TYPE %s", table->mirror,
							  have->mirror_column, type),
					   0, NULL);
		wh_spi_execute(wh_sql("ALTER TABLE %T ALTER COLUMN %I TYPE %s", table->log,
							  have->log_column, type),
					   0, NULL);
	}
	wh_user_restore(&saved);
	wh_changelog_make_queries(queries);
}

/* follow_name keeps the table's name at the source; mirror and log keep theirs. */
static bool
follow_name(const WhFeedTable *table, const WhSourceTable *source)
{
	WhArg args[] = {
		WH_ARG_INT4(table->feed_id), WH_ARG_OID(table->source_relid), WH_ARG_TEXT(source->schema),
		WH_ARG_TEXT(source->name)};

	if (strcmp(table->source_schema, source->schema) == 0 &&
		strcmp(table->source_name, source->name) == 0)
		return false;
	wh_catalog_execute("UPDATE walhouse.feed_table SET source_schema = $3, source_name = $4"
					   " WHERE feed_id = $1 AND source_relid = $2",
					   lengthof(args), args);
	return true;
}

/* add_column adds a column to mirror and log, both with the value that older rows have at the
 * source. */
static void
add_column(const WhFeed *feed, const WhFeedTable *table, const WhSourceColumn *column)
{
	bool is_text;
	Oid type = wh_changelog_local_type(column, &is_text);
	char *log_column;
	WhUser saved;

	wh_user_become(feed->owner, &saved);
	free_name(table, table->mirror, "mirror_column", column->name);
	log_column = free_log_name(table, column->name);
	add_to(table->mirror, column->name, type, column->missing_default);
	add_to(table->log, log_column, type, column->missing_default);
	wh_user_restore(&saved);
	wh_changelog_insert_column(feed, table->source_relid, column, log_column, column->name,
							   is_text);
}

/* add_to adds a column whose default counts for the rows that are there alone. */
static void
add_to(Oid relid, const char *name, Oid type, const char *missing_default)
{
	const char *type_name = wh_changelog_type_name(type);

	if (missing_default == NULL)
	{
		wh_spi_execute(wh_sql("ALTER TABLE %T ADD COLUMN %I %s", relid, name, type_name), 0, NULL);
		return;
	}
	wh_spi_execute(wh_sql("ALTER TABLE %T ADD COLUMN %I %s DEFAULT CAST(%L AS %s)", relid, name,
						  type_name, missing_default, type_name),
				   0, NULL);
	wh_spi_execute(wh_sql("ALTER TABLE %T ALTER COLUMN %I DROP DEFAULT", relid, name), 0, NULL);
}

/* drop_column keeps the column: images that come from now on have NULL there. */
static void
drop_column(const WhFeed *feed, const WhFeedTable *table, const WhFeedColumn *have)
{
	WhArg args[] = {WH_ARG_INT4(feed->id), WH_ARG_OID(table->source_relid),
					WH_ARG_INT4(have->attnum)};

	wh_catalog_execute("UPDATE walhouse.feed_column SET dropped = true"
					   " WHERE feed_id = $1 AND source_relid = $2 AND attnum = $3",
					   3, args);
}

/* rename_column renames in mirror and log, as the mirror's owner. */
static void
rename_column(const WhFeedTable *table, const WhFeedColumn *have, const char *name)
{
	WhArg args[] = {WH_ARG_INT4(table->feed_id), WH_ARG_OID(table->source_relid),
					WH_ARG_INT4(have->attnum), WH_ARG_TEXT(name), WH_ARG_NULL(TEXTOID)};
	char *log_column;
	WhRows *now;
	WhUser saved;

	wh_user_become(wh_changelog_owner(table->mirror), &saved);
	free_name(table, table->mirror, "mirror_column", name);
	log_column = free_log_name(table, name);
	/* the columns' names now: making room may have renamed them */
	now = wh_spi_query("SELECT mirror_column, log_column FROM walhouse.feed_column"
					   " WHERE feed_id = $1 AND source_relid = $2 AND attnum = $3",
					   3, args);
	wh_spi_execute(wh_sql("ALTER TABLE %T RENAME COLUMN %I TO %I", table->mirror,
						  wh_rows_text(now, 0, 1), name),
				   0, NULL);
	wh_spi_execute(wh_sql("ALTER TABLE %T RENAME COLUMN %I TO %I", table->log,
						  wh_rows_text(now, 0, 2), log_column),
				   0, NULL);
	wh_user_restore(&saved);
	args[4] = WH_ARG_TEXT(log_column);
	wh_catalog_execute("UPDATE walhouse.feed_column SET mirror_column = $4, log_column = $5"
					   " WHERE feed_id = $1 AND source_relid = $2 AND attnum = $3",
					   5, args);
}

/*
 * free_name makes room for a name in mirror or log (`which` is feed_column's column for it):
 * whoever has it is renamed, a dropped column, or one whose own new name comes later (columns may
 * swap their names).
 */
static void
free_name(const WhFeedTable *table, Oid relid, const char *which, const char *name)
{
	WhArg args[] = {WH_ARG_INT4(table->feed_id), WH_ARG_OID(table->source_relid),
					WH_ARG_TEXT(name), WH_ARG_NULL(TEXTOID)};
	AttrNumber attno = get_attnum(relid, name);
	char *other;

	if (attno == InvalidAttrNumber)
		return;
	other = wh_name(name, psprintf("_old%d", attno));
	while (get_attnum(relid, other) != InvalidAttrNumber)
		other = wh_name(other, "_");
	wh_spi_execute(wh_sql("ALTER TABLE %T RENAME COLUMN %I TO %I", relid, name, other), 0, NULL);
	args[3] = WH_ARG_TEXT(other);
	wh_catalog_execute(wh_sql("UPDATE walhouse.feed_column SET %I = $4"
							  " WHERE feed_id = $1 AND source_relid = $2 AND %I = $3",
							  which, which),
					   4, args);
}

/* free_log_name is free_name for the log, whose own three columns keep their names; returns the
 * name that is free. */
static char *
free_log_name(const WhFeedTable *table, const char *name)
{
	if (strcmp(name, "lsn") == 0 || strcmp(name, "seq") == 0 || strcmp(name, "op") == 0)
		return wh_changelog_log_column(table->log, name);
	free_name(table, table->log, "log_column", name);
	return pstrdup(name);
}

void
wh_changelog_redefine(const WhFeed *feed, const WhFeedTable *table, const WhSourceTable *source)
{
	WhArg args[] = {WH_ARG_INT4(feed->id), WH_ARG_OID(table->source_relid),
					WH_ARG_NULL(TEXTOID), WH_ARG_BOOL(source->has_column_list)};
	bool is_other_key = !equal(table->key, source->key);

	if (source->row_filter != NULL)
		args[2] = WH_ARG_TEXT(source->row_filter);
	foreach_ptr(WhSourceColumn, want, source->columns)
	{
		WhFeedColumn *have = find_have(table, want->attnum);
		bool is_text;

		want->missing_default = NULL;
		if (have != NULL &&
			!wh_changelog_type_fits(have->type, wh_changelog_local_type(want, &is_text)))
		{
			change_type(feed, table, have, want);
			is_other_key = is_other_key || list_member_int(table->key, want->attnum);
		}
	}
	apply_changes(feed, table, source);
	if (table->log_key_index && is_other_key)
	{
		wh_changelog_drop_key_index(feed, table);
		ereport(WARNING,
				(errmsg("the change log of table \"%s\" has no index by its key any more",
						table->source_name),
				 errdetail("The key is another one now."),
				 errhint("CALL walhouse.set_log_key_index(%s, %s, true).",
						 wh_sql_literal(feed->name), wh_sql_literal(table->source_name))));
	}
	if (!equal(table->key, source->key))
		change_key(feed, wh_changelog_table_of_mirror(table->mirror), source);
	wh_catalog_execute("UPDATE walhouse.feed_table SET row_filter = $3, column_list = $4"
					   " WHERE feed_id = $1 AND source_relid = $2",
					   lengthof(args), args);
	wh_changelog_invalidate();
}

/* change_type gives an empty mirror's column another type; the log gets a new column, and keeps
 * the old one for its rows. */
static void
change_type(const WhFeed *feed, const WhFeedTable *table, const WhFeedColumn *have,
			const WhSourceColumn *want)
{
	bool is_text;
	Oid type = wh_changelog_local_type(want, &is_text);
	const char *type_name = wh_changelog_type_name(type);
	WhArg args[] = {WH_ARG_INT4(feed->id), WH_ARG_OID(table->source_relid),
					WH_ARG_INT4(want->attnum), WH_ARG_NULL(TEXTOID),
					WH_ARG_TEXT(is_text ? "text" : "none")};
	char *log_column;
	WhRows *queries = wh_changelog_drop_queries(table);
	WhUser saved;

	wh_user_become(feed->owner, &saved);
	wh_spi_execute(wh_sql("ALTER TABLE %T ALTER COLUMN %I TYPE %s USING NULL", table->mirror,
						  have->mirror_column, type_name),
				   0, NULL);
	log_column = free_log_name(table, have->source_name);
	add_to(table->log, log_column, type, NULL);
	wh_user_restore(&saved);
	wh_changelog_make_queries(queries);
	args[3] = WH_ARG_TEXT(log_column);
	wh_catalog_execute("UPDATE walhouse.feed_column SET log_column = $4, conversion = $5"
					   " WHERE feed_id = $1 AND source_relid = $2 AND attnum = $3",
					   5, args);
}

/* change_key gives an empty mirror another primary key; table has the names of columns as they are
 * now. */
static void
change_key(const WhFeed *feed, const WhFeedTable *table, const WhSourceTable *source)
{
	Datum *key = palloc(sizeof(Datum) * list_length(source->key));
	StringInfoData sql;
	int count = 0;
	Oid index = wh_changelog_key_index(table->mirror);
	WhArg args[] = {
		WH_ARG_INT4(feed->id), WH_ARG_OID(table->source_relid), {INT2ARRAYOID, (Datum) 0, false}};
	WhUser saved;

	initStringInfo(&sql);
	wh_sql_append(&sql, "ALTER TABLE %T DROP CONSTRAINT %I", table->mirror, get_rel_name(index));
	wh_user_become(feed->owner, &saved);
	wh_spi_execute(sql.data, 0, NULL);
	foreach_int(attnum, table->key)
		wh_spi_execute(
			wh_sql("ALTER TABLE %T ALTER COLUMN %I DROP NOT NULL", table->mirror,
				   get_attname(table->mirror,
							   get_attnum(table->mirror, find_have(table, attnum)->mirror_column),
							   false)),
			0, NULL);
	resetStringInfo(&sql);
	wh_sql_append(&sql, "ALTER TABLE %T ADD PRIMARY KEY (", table->mirror);
	foreach_int(attnum, source->key)
	{
		wh_sql_append(&sql, "%s%I", count > 0 ? ", " : "", find_want(source, attnum)->name);
		key[count++] = Int16GetDatum(attnum);
	}
	wh_sql_append(&sql, ")" WH_INDEX_OPTIONS);
	wh_spi_execute(sql.data, 0, NULL);
	wh_user_restore(&saved);
	args[2].value = PointerGetDatum(
		construct_array(key, count, INT2OID, sizeof(int16), true, TYPALIGN_SHORT));
	wh_catalog_execute(
		"UPDATE walhouse.feed_table SET key = $3 WHERE feed_id = $1 AND source_relid = $2", 3,
		args);
}

static WhFeedColumn *
find_have(const WhFeedTable *table, int attnum)
{
	foreach_ptr(WhFeedColumn, column, table->columns)
	{
		if (column->attnum == attnum)
			return column;
	}
	return NULL;
}

static WhSourceColumn *
find_want(const WhSourceTable *source, int attnum)
{
	foreach_ptr(WhSourceColumn, column, source->columns)
	{
		if (column->attnum == attnum)
			return column;
	}
	return NULL;
}
