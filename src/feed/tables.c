/*
 * tables.c
 *		CALL walhouse.add_table and walhouse.remove_table: the tables of a feed that is there.
 *
 * add_table: the publication gets the table, if it does not publish it already; then mirror, log
 * and catalog rows are made in one transaction, and whoever reads the stream copies it
 * (copy/copier.c). A crash between leaves a table that is published and not followed: the same
 * call again.
 *
 * remove_table goes the other way round, so that no table of the feed is ever without its stream:
 * first all that is here, in one transaction, then the publication.
 *
 * ALTER PUBLICATION locks the table against DDL and VACUUM, not against those who read or write;
 * who waits for it keeps nobody waiting who does, either.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "base/base.h"
#include "feed/feed_private.h"

/* Longer than deadlock_timeout, after which an autovacuum gives way. */
#define LOCK_WAIT "3s"
#define TRIES 5

/* A statement for the source, on a connection of its own. */
typedef struct Statement
{
	const WhFeed *feed;
	const char *only_if; /* a query: the statement is run if it has rows; NULL: in any case */
	const char *sql;
	PGconn *plain;
} Statement;

static WhFeed *own_feed(FunctionCallInfo fcinfo);
static void check_ready(const WhFeed *feed);
static List *publish(const WhFeed *feed, PGconn *plain, const char *name);
static void alter_publication(const WhFeed *feed, PGconn *plain, const char *what, const char *sql);
static List *add_sources(const WhFeed *feed, PGconn *plain, List *oids);
static bool is_followed(const WhFeed *feed, Oid relid);
static List *tables_named(const WhFeed *feed, const char *name);
static void refuse_models(const WhFeed *feed, List *tables);
static void unpublish(const WhFeed *feed, const char *name, List *tables);
static bool runs_at_source(Statement *statement, ErrorData **error);
static void run_at_source(void *arg);

PG_FUNCTION_INFO_V1(walhouse_add_table);
PG_FUNCTION_INFO_V1(walhouse_remove_table);

Datum
walhouse_add_table(PG_FUNCTION_ARGS)
{
	WhFeed *feed;
	char *name;
	PGconn *plain;
	List *oids;

	wh_txn_check_arguments(fcinfo);
	name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	wh_txn_open("walhouse.add_table", wh_txn_procedure_atomic(fcinfo));
	feed = own_feed(fcinfo);
	check_ready(feed);
	plain = wh_connect(feed, false);
	wh_source_check_addition(feed, plain, name);
	oids = publish(feed, plain, name);
	wh_copier_point("add: published");
	wh_lock_state(feed->id);
	check_ready(own_feed(fcinfo)); /* it may have been dropped meanwhile */
	if (add_sources(feed, plain, oids) == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("table \"%s\" is in feed \"%s\" already", name, feed->name)));
	wh_txn_commit();
	wh_disconnect(plain);
	wh_txn_close();
	PG_RETURN_VOID();
}

static void
check_ready(const WhFeed *feed)
{
	if (strcmp(feed->state, "ready") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feed \"%s\" is in state %s", feed->name, feed->state)));
}

static WhFeed *
own_feed(FunctionCallInfo fcinfo)
{
	WhFeed *feed = wh_changelog_feed(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);

	wh_user_check_owner(feed->owner, "feed", feed->name);
	return feed;
}

/* publish has the publication hold a table, or the partitions of one; returns their OIDs. */
static List *
publish(const WhFeed *feed, PGconn *plain, const char *name)
{
	WhResult *found = wh_source_query(
		plain,
		wh_sql("SELECT c.oid, EXISTS (SELECT FROM pg_catalog.pg_publication_tables p WHERE"
			   " p.pubname = %L AND p.schemaname = n.nspname AND p.tablename = c.relname) FROM"
			   " pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
			   " WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND %s ORDER BY 1",
			   feed->publication, wh_source_named(name)));
	bool is_published = true;
	List *oids = NIL;
	char *schema;
	char *relation;

	if (found->rows == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the source of feed \"%s\" has no table \"%s\" that can be added", feed->name, name),
				 errhint("Names are the source's: schema.table; public where no schema is given.")));
	for (int i = 0; i < found->rows; i++)
	{
		oids = lappend_oid(oids, (Oid) strtoul(wh_result_value(found, i, 0), NULL, 10));
		is_published = is_published && wh_result_value(found, i, 1)[0] == 't';
	}
	wh_name_parse(name, &schema, &relation);
	if (!is_published)
		alter_publication(feed, plain, name,
						  wh_sql("ALTER PUBLICATION %I ADD TABLE %I.%I", feed->publication,
								 schema != NULL ? schema : "public", relation));
	return oids;
}

/* alter_publication does so with a publication that create_feed made, and otherwise says what is to
 * be done. */
static void
alter_publication(const WhFeed *feed, PGconn *plain, const char *table, const char *sql)
{
	Statement statement = {.feed = feed, .sql = sql};
	ErrorData *error = NULL;

	if (!feed->owns_publication)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("publication \"%s\" of the source does not publish table \"%s\"", feed->publication, table),
				 errdetail("The publication was there before feed \"%s\", and is not altered by it.", feed->name),
				 errhint("%s; -- at the source, and call this again.", sql)));
	for (int tries = 0; tries < TRIES; tries++)
	{
		if (runs_at_source(&statement, &error))
			return;
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			break;
	}
	if (error->hint == NULL)
		error->hint = psprintf("Let an owner run it at the source, and call this again: %s;", sql);
	ReThrowError(error);
}

static bool
runs_at_source(Statement *statement, ErrorData **error)
{
	bool done = wh_txn_try(run_at_source, statement, error);

	if (statement->plain != NULL && wh_connect_is_open(statement->plain))
		wh_disconnect(statement->plain);
	return done;
}

static void
run_at_source(void *arg)
{
	Statement *statement = arg;

	statement->plain = NULL;
	statement->plain = wh_connect(statement->feed, false);
	wh_source_query(statement->plain, "SET lock_timeout = '" LOCK_WAIT "'");
	if (statement->only_if == NULL ||
		wh_source_query(statement->plain, statement->only_if)->rows > 0)
		wh_source_query(statement->plain, statement->sql);
}

/* add_sources makes what is missing of some tables, to be copied; returns the OIDs of those. */
static List *
add_sources(const WhFeed *feed, PGconn *plain, List *oids)
{
	bool is_own = wh_source_is_own_database(plain);
	List *added = NIL;
	ListCell *cell;

	foreach(cell, oids)
	{
		Oid relid = lfirst_oid(cell);
		List *sources = is_followed(feed, relid) ?
							NIL :
							wh_source_tables(feed, plain, is_own, relid);

		foreach_ptr(WhSourceTable, source, sources)
		{
			WhFeedTable table = {.feed_id = feed->id, .source_relid = relid};

			wh_changelog_create_table(feed, source);
			wh_copier_insert(&table, "ADD TABLE");
			added = lappend_oid(added, relid);
		}
	}
	return added;
}

static bool
is_followed(const WhFeed *feed, Oid relid)
{
	foreach_ptr(WhFeedTable, table, wh_changelog_tables(feed->id))
	{
		if (table->source_relid == relid)
			return true;
	}
	return false;
}

/* -------- remove_table -------- */

Datum
walhouse_remove_table(PG_FUNCTION_ARGS)
{
	WhFeed *feed;
	char *name;
	List *tables;

	wh_txn_check_arguments(fcinfo);
	name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	wh_txn_open("walhouse.remove_table", wh_txn_procedure_atomic(fcinfo));
	feed = own_feed(fcinfo);
	wh_lock_state(feed->id);
	tables = tables_named(feed, name);
	refuse_models(feed, tables);
	foreach_ptr(WhFeedTable, table, tables)
		wh_changelog_drop_table(feed, table);
	wh_txn_commit();
	wh_copier_point("remove: dropped");
	unpublish(feed, name, tables);
	wh_txn_close();
	PG_RETURN_VOID();
}

/* tables_named finds a table by its name at the source; the name of a partitioned one stands for
 * the partitions that the feed has of it. */
static List *
tables_named(const WhFeed *feed, const char *name)
{
	List *tables = NIL;
	char *schema;
	char *relation;
	PGconn *plain;
	WhResult *oids;

	wh_name_parse(name, &schema, &relation);
	foreach_ptr(WhFeedTable, table, wh_changelog_tables(feed->id))
	{
		if (strcmp(table->source_name, relation) == 0 &&
			(schema == NULL || strcmp(table->source_schema, schema) == 0))
			return list_make1(table);
	}
	plain = wh_connect(feed, false);
	oids = wh_source_query(plain, wh_sql("SELECT c.oid FROM pg_catalog.pg_class c WHERE %s",
										 wh_source_named(name)));
	wh_disconnect(plain);
	foreach_ptr(WhFeedTable, table, wh_changelog_tables(feed->id))
	{
		for (int i = 0; i < oids->rows; i++)
		{
			if (strtoul(wh_result_value(oids, i, 0), NULL, 10) == table->source_relid)
				tables = lappend(tables, table);
		}
	}
	if (tables == NIL)
		(void) wh_feed_find_table(feed, name); /* raises */
	return tables;
}

/* refuse_models raises while models read one of the tables' mirrors, by their queries. */
static void
refuse_models(const WhFeed *feed, List *tables)
{
	foreach_ptr(WhFeedTable, table, tables)
	{
		char *hint;
		char *models = wh_mirror_readers(table, &hint);

		if (models != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("cannot remove table \"%s\" from feed \"%s\" because models read it", table->source_name,
							feed->name),
					 errdetail_internal("%s", models), errhint("%s", hint)));
	}
}

/* unpublish takes a table out of a publication that create_feed made; the table is removed already,
 * so that what goes wrong there is told, and no more. */
static void
unpublish(const WhFeed *feed, const char *name, List *tables)
{
	WhFeedTable *first = linitial(tables);
	char *schema;
	char *relation;
	Statement statement = {.feed = feed};
	ErrorData *error;

	wh_name_parse(name, &schema, &relation);
	if (schema == NULL)
		schema = first->source_schema;
	statement.only_if = wh_sql(
		"SELECT FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p ON p.oid ="
		" r.prpubid JOIN pg_catalog.pg_class c ON c.oid = r.prrelid JOIN pg_catalog.pg_namespace n"
		" ON n.oid = c.relnamespace WHERE p.pubname = %L AND n.nspname = %L AND c.relname = %L",
		feed->publication, schema, relation);
	statement.sql =
		wh_sql("ALTER PUBLICATION %I DROP TABLE %I.%I", feed->publication, schema, relation);
	if (!feed->owns_publication || runs_at_source(&statement, &error))
		return;
	ereport(WARNING,
			(errmsg("publication \"%s\" of the source publishes table \"%s\" still", feed->publication, name),
			 errdetail_internal("%s", error->message),
			 errhint("ALTER PUBLICATION %s DROP TABLE %s.%s; -- at the source",
					 wh_sql_identifier(feed->publication), wh_sql_identifier(schema),
					 wh_sql_identifier(relation))));
}
