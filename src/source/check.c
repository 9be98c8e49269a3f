/*
 * check.c
 *		What create_feed needs of a source and of this database, all that is missing in one error.
 *
 * Nothing is changed here.  What a role may not see (a setting that is hidden from it) is left to
 * the statement that needs it.
 */
#include "postgres.h"

#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/formatting.h"

#include "base/base.h"
#include "source/source_private.h"

static void add(List **problems, const char *code, char *text, char *remedy);
static void check_room(List **problems, PGconn *plain);
static void check_house(List **problems, const WhFeed *feed);
static void check_settings(List **problems, PGconn *plain);
static void check_plugin(List **problems, PGconn *plain);
static void check_role(List **problems, PGconn *plain);
static void check_slot(List **problems, const WhFeed *feed, PGconn *plain);
static void check_standby_names(List **problems, const WhFeed *feed, PGconn *plain);
static void check_publication(List **problems, const WhFeed *feed, PGconn *plain);
static void check_wanted(List **problems, const WhFeed *feed, PGconn *plain, List *wanted);
static void check_tables(List **problems, const WhFeed *feed, PGconn *plain,
						 const char *condition);
static char *wanted_condition(List *wanted);
static char *published_condition(const WhFeed *feed, bool is_own_database);
static void report(const char *what, List *problems);
static char *first(PGconn *plain, const char *sql);
static bool is_true(const char *value);

void
wh_source_check(const WhFeed *feed, PGconn *plain, List *wanted_tables, bool is_own_database,
				bool failover)
{
	List *problems = NIL;
	int version = atoi(first(plain, "SHOW server_version_num"));

	check_house(&problems, feed);
	if (failover && version < 170000)
		add(&problems, "version",
			pstrdup("Slots that go to standbys need PostgreSQL 17 or later at the source."),
			pstrdup("-- leave failover out"));
	if (version < 150000)
		add(&problems, "version", pstrdup("The source is older than PostgreSQL 15."), NULL);
	else
	{
		check_settings(&problems, plain);
		check_room(&problems, plain);
		check_plugin(&problems, plain);
		check_role(&problems, plain);
		check_slot(&problems, feed, plain);
		check_standby_names(&problems, feed, plain);
		if (wanted_tables != NIL)
		{
			check_wanted(&problems, feed, plain, wanted_tables);
			check_tables(&problems, feed, plain, wanted_condition(wanted_tables));
		}
		else
		{
			check_publication(&problems, feed, plain);
			check_tables(&problems, feed, plain, published_condition(feed, is_own_database));
		}
	}
	report(psprintf("feed \"%s\" cannot be created", feed->name), problems);
}

void
wh_source_check_addition(const WhFeed *feed, PGconn *plain, const char *table)
{
	List *problems = NIL;

	check_tables(&problems, feed, plain, wanted_condition(list_make1(pstrdup(table))));
	report(psprintf("table \"%s\" cannot be added to feed \"%s\"", table, feed->name), problems);
}

char *
wh_source_named(const char *table)
{
	return wanted_condition(list_make1(pstrdup(table)));
}

List *
wh_source_problems(const WhFeed *feed, PGconn *plain, bool is_own_database)
{
	List *problems = NIL;

	check_settings(&problems, plain);
	check_plugin(&problems, plain);
	check_role(&problems, plain);
	check_standby_names(&problems, feed, plain);
	check_publication(&problems, feed, plain);
	check_tables(&problems, feed, plain, published_condition(feed, is_own_database));
	return problems;
}

/* report raises one error of all that is missing, if anything is. */
static void
report(const char *what, List *problems)
{
	StringInfoData details;
	StringInfoData hints;

	if (problems == NIL)
		return;
	initStringInfo(&details);
	initStringInfo(&hints);
	foreach_ptr(WhFeedProblem, problem, problems)
	{
		appendStringInfo(&details, "%s%s", details.len > 0 ? "\n" : "", problem->text);
		if (problem->remedy != NULL)
			appendStringInfo(&hints, "%s%s", hints.len > 0 ? "\n" : "", problem->remedy);
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg_plural("%s: %d thing is missing", "%s: %d things are missing", list_length(problems), what, list_length(problems)),
			 errdetail_internal("%s", details.data),
			 hints.len > 0 ? errhint("%s", hints.data) : 0));
}

static void
add(List **problems, const char *code, char *text, char *remedy)
{
	*problems = lappend(*problems, wh_feed_problem(code, "error", NULL, text, remedy));
}

WhFeedProblem *
wh_feed_problem(const char *code, const char *severity, const char *object, char *text,
				char *remedy)
{
	WhFeedProblem *problem = palloc0(sizeof(WhFeedProblem));

	problem->code = code;
	problem->severity = severity;
	problem->object = object;
	problem->text = text;
	problem->remedy = remedy;
	return problem;
}

static void
check_house(List **problems, const WhFeed *feed)
{
	const char *names[] = {feed->name, wh_name(feed->name, "_log")};
	WhArg arg = WH_ARG_OID(feed->owner);
	WhRows *rows = wh_spi_query(
		"SELECT pg_catalog.has_database_privilege($1, pg_catalog.current_database(), 'CREATE')",
		1, &arg);

	if (IsReservedName(feed->name))
		add(problems, "house",
			psprintf("\"%s\" cannot be the name of a schema: pg_ is reserved.", feed->name), NULL);
	for (int i = 0; i < 2; i++)
	{
		if (OidIsValid(get_namespace_oid(names[i], true)))
			add(problems, "house",
				psprintf("Schema \"%s\" exists in this database already.", names[i]),
				wh_sql("DROP SCHEMA %I; -- or give the feed another name", names[i]));
	}
	if (!wh_rows_bool(rows, 0, 1))
		add(problems, "house",
			psprintf("\"%s\" may not create schemas in this database.",
					 GetUserNameFromId(feed->owner, true)),
			wh_sql("GRANT CREATE ON DATABASE %I TO %I; -- in the warehouse",
				   get_database_name(MyDatabaseId), GetUserNameFromId(feed->owner, true)));
}

static void
check_settings(List **problems, PGconn *plain)
{
	const char *level = first(plain, "SHOW wal_level");

	if (strcmp(level, "logical") != 0)
		add(problems, "wal_level", psprintf("wal_level of the source is %s.", level),
			pstrdup("ALTER SYSTEM SET wal_level = logical; -- and restart the source"));
	if (is_true(first(plain, "SELECT pg_catalog.pg_is_in_recovery()")))
		add(problems, "recovery", pstrdup("The source is in recovery."),
			pstrdup("-- name the primary in the server's options"));
}

/* check_room looks for a free slot and a free WAL sender. */
static void
check_room(List **problems, PGconn *plain)
{
	if (atoi(first(plain,
				   "SELECT pg_catalog.current_setting('max_replication_slots')::pg_catalog.int4"
				   " - pg_catalog.count(*) FROM pg_catalog.pg_replication_slots")) < 1)
		add(problems, "no_room", pstrdup("All replication slots of the source are taken."),
			pstrdup("ALTER SYSTEM SET max_replication_slots = …; -- and restart the source"));
	if (atoi(first(plain, "SELECT pg_catalog.current_setting('max_wal_senders')::pg_catalog.int4"
						  " - pg_catalog.count(*) FROM pg_catalog.pg_stat_replication")) < 1)
		add(problems, "no_room", pstrdup("All WAL senders of the source are taken."),
			pstrdup("ALTER SYSTEM SET max_wal_senders = …; -- and restart the source"));
}

/* check_plugin looks for the plugin in the list of those that may be used; older minor releases
 * have no such list. */
static void
check_plugin(List **problems, PGconn *plain)
{
	const char *list = first(
		plain,
		"SELECT setting FROM pg_catalog.pg_settings WHERE name = 'output_plugin_libraries'");

	if (list == NULL)
		return;
	if (first(plain, wh_sql("SELECT 1 FROM pg_catalog.regexp_split_to_table(%L, ',') AS l (name)"
							" WHERE pg_catalog.btrim(l.name, ' \"') = 'walhouse_output'",
							list)) != NULL)
		return;
	add(problems, "output_plugin",
		psprintf("output_plugin_libraries of the source does not name walhouse_output."),
		psprintf(
			"ALTER SYSTEM SET output_plugin_libraries = %s%swalhouse_output; SELECT "
			"pg_reload_conf();",
			list, list[0] != '\0' ? ", " : ""));
}

static void
check_role(List **problems, PGconn *plain)
{
	const char *role = first(plain, "SELECT current_user");

	if (!is_true(first(
			plain,
			"SELECT rolreplication OR rolsuper FROM pg_catalog.pg_roles WHERE rolname = "
			"current_user")))
		add(problems, "source_role",
			psprintf("Role \"%s\" of the source lacks the attribute REPLICATION.", role),
			wh_sql("ALTER ROLE %I REPLICATION;", role));
}

static void
check_slot(List **problems, const WhFeed *feed, PGconn *plain)
{
	if (strspn(feed->slot, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(feed->slot) ||
		feed->slot[0] == '\0' || strlen(feed->slot) >= NAMEDATALEN)
		add(problems, "slot",
			psprintf(
				"\"%s\" is no name for a replication slot: lower-case letters, digits and "
				"underscores.",
				feed->slot),
			NULL);
	if (first(plain, wh_sql("SELECT 1 FROM pg_catalog.pg_replication_slots WHERE slot_name = %L",
							feed->slot)) != NULL)
		add(problems, "slot",
			psprintf("Replication slot \"%s\" exists at the source already.", feed->slot),
			wh_sql(
				"SELECT pg_drop_replication_slot(%L); -- if nobody needs it, or give slot => "
				"another name",
				feed->slot));
}

/* check_standby_names refuses a source whose commits would wait for this very feed. */
static void
check_standby_names(List **problems, const WhFeed *feed, PGconn *plain)
{
	const char *names = first(plain, "SHOW synchronous_standby_names");

	if (names == NULL || names[0] == '\0')
		return;
	if (first(
			plain,
			wh_sql(
				"SELECT 1 FROM pg_catalog.regexp_split_to_table(pg_catalog.regexp_replace(%L,"
				" '^\\s*((first|any)?\\s*[0-9]+\\s*)?\\((.*)\\)\\s*$', '\\3', 'i'), ',') AS l "
				"(name)"
				" WHERE pg_catalog.lower(pg_catalog.btrim(l.name, ' \"')) IN ('*', %L)",
				names, psprintf("walhouse %s", asc_tolower(feed->name, strlen(feed->name))))) !=
		NULL)
		add(problems, "standby_names",
			psprintf(
				"synchronous_standby_names of the source is \"%s\", so that its commits would "
				"wait for this feed.",
				names),
			pstrdup(
				"ALTER SYSTEM SET synchronous_standby_names = …; -- name the standbys, not *"));
}

static void
check_publication(List **problems, const WhFeed *feed, PGconn *plain)
{
	WhResult *publication = wh_source_query(
		plain,
		wh_sql(
			"SELECT p.pubviaroot, p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate,"
			" EXISTS (SELECT FROM pg_catalog.pg_publication_tables t WHERE t.pubname = p.pubname)"
			" FROM pg_catalog.pg_publication p WHERE p.pubname = %L",
			feed->publication));

	if (publication->rows == 0)
	{
		add(problems, "publication",
			psprintf("Publication \"%s\" does not exist at the source.", feed->publication),
			wh_sql("CREATE PUBLICATION %I FOR TABLE …;", feed->publication));
		return;
	}
	if (is_true(wh_result_value(publication, 0, 0)))
		add(problems, "publication",
			psprintf(
				"Publication \"%s\" has publish_via_partition_root, by which nobody is told that a "
				"partition was emptied.",
				feed->publication),
			wh_sql("ALTER PUBLICATION %I SET (publish_via_partition_root = false);",
				   feed->publication));
	if (!is_true(wh_result_value(publication, 0, 1)))
		add(problems, "publication",
			psprintf(
				"Publication \"%s\" does not publish all of insert, update, delete and truncate.",
				feed->publication),
			wh_sql("ALTER PUBLICATION %I SET (publish = 'insert, update, delete, truncate');",
				   feed->publication));
	if (!is_true(wh_result_value(publication, 0, 2)))
		add(problems, "publication",
			psprintf("Publication \"%s\" has no tables.", feed->publication),
			wh_sql("ALTER PUBLICATION %I ADD TABLE …;", feed->publication));
}

/* check_wanted checks that a publication can be made for the tables that were named. */
static void
check_wanted(List **problems, const WhFeed *feed, PGconn *plain, List *wanted)
{
	const char *role = first(plain, "SELECT current_user");

	if (first(plain, wh_sql("SELECT 1 FROM pg_catalog.pg_publication WHERE pubname = %L",
							feed->publication)) != NULL)
		add(problems, "publication",
			psprintf("Publication \"%s\" exists at the source already.", feed->publication),
			wh_sql("DROP PUBLICATION %I; -- or give publication => it, instead of tables",
				   feed->publication));
	if (!is_true(first(
			plain,
			"SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')")))
		add(problems, "publication",
			psprintf("Role \"%s\" of the source may not create a publication.", role),
			wh_sql("GRANT CREATE ON DATABASE %I TO %I; -- or let an owner make it, and give "
				   "publication => it",
				   first(plain, "SELECT pg_catalog.current_database()"), role));
	foreach_ptr(char, name, wanted)
	{
		char *schema;
		char *relation;
		WhResult *found;

		wh_name_parse(name, &schema, &relation);
		found = wh_source_query(
			plain,
			wh_sql("SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE') FROM pg_catalog.pg_class c"
				   " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
				   " WHERE n.nspname = %L AND c.relname = %L AND c.relkind IN ('r', 'p')"
				   " AND c.relpersistence = 'p'",
				   schema != NULL ? schema : "public", relation));
		if (found->rows == 0)
			add(problems, "publication",
				psprintf("Table \"%s\" does not exist at the source.", name), NULL);
		else if (!is_true(wh_result_value(found, 0, 0)))
			add(problems, "publication",
				psprintf(
					"Table \"%s\" does not belong to role \"%s\", so no publication can be made "
					"for it.",
					name, role),
				wh_sql(
					"CREATE PUBLICATION %I FOR TABLE …; -- as the owner, and give publication => "
					"it",
					feed->publication));
	}
}

/* check_tables checks rights, kinds and replica identities of the tables that meet a condition
 * over n and c. */
static void
check_tables(List **problems, const WhFeed *feed, PGconn *plain, const char *condition)
{
	const char *role = first(plain, "SELECT current_user");
	WhResult *tables = wh_source_query(
		plain,
		wh_sql(
			"SELECT n.nspname, c.relname, c.relreplident,"
			" pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND"
			"  (pg_catalog.has_table_privilege(c.oid, 'SELECT')"
			"   OR NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND "
			"a.attnum > 0 AND NOT a.attisdropped AND (l.list IS NULL OR a.attnum = ANY (l.list))"
			"                  AND NOT pg_catalog.has_column_privilege(c.oid, a.attnum, "
			"'SELECT'))),"
			" EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND "
			"i.indisunique AND i.indisvalid"
			"  AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL"
			"  AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid "
			"AND NOT a.attnotnull"
			"                  AND a.attnum = ANY ((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts "
			"- 1]))"
			"  AND (l.list IS NULL OR (i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1] "
			"OPERATOR(pg_catalog.<@) l.list)"
			"  AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN "
			"i.indisreplident ELSE true END), l.list IS NOT NULL"
			" FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
			" LEFT JOIN LATERAL (SELECT r.prattrs::pg_catalog.int2[] FROM "
			"pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication b ON b.oid = r.prpubid"
			" WHERE r.prrelid = c.oid AND b.pubname = %L) l (list) ON true"
			" WHERE c.relkind = 'r' AND %s ORDER BY 1, 2",
			feed->publication, condition));

	for (int i = 0; i < tables->rows; i++)
	{
		const char *schema = wh_result_value(tables, i, 0);
		const char *name = wh_result_value(tables, i, 1);
		char identity = wh_result_value(tables, i, 2)[0];

		if (!is_true(wh_result_value(tables, i, 3)))
			add(problems, "table_rights",
				psprintf("Role \"%s\" of the source may not read table \"%s.%s\".", role, schema,
						 name),
				wh_sql("GRANT USAGE ON SCHEMA %I TO %I; GRANT SELECT ON %I.%I TO %I;", schema,
					   role, schema, name, role));
		if (is_true(wh_result_value(tables, i, 4)) && identity != 'n')
			continue;
		if (is_true(wh_result_value(tables, i, 5)) && identity != 'n')
		{
			add(problems, "column_list",
				psprintf("The column list of table \"%s.%s\" lacks columns of its key.", schema,
						 name),
				wh_sql("ALTER PUBLICATION %I SET TABLE …; -- with the key's columns",
					   feed->publication));
			continue;
		}
		add(problems, "replica_identity",
			psprintf(
				"Table \"%s.%s\" has %s.", schema, name,
				identity == 'n' ?
					"replica identity NOTHING" :
				identity == 'f' ?
					"replica identity FULL and no unique index that is immediate, valid, whole "
					"and NOT NULL" :
					"no primary key that could be its replica identity"),
			identity == 'n' ?
				wh_sql("ALTER TABLE %I.%I REPLICA IDENTITY DEFAULT;", schema, name) :
				wh_sql("ALTER TABLE %I.%I ADD PRIMARY KEY (…);", schema, name));
	}
}

/* wanted_condition finds the named tables and the partitions of those that are partitioned. */
static char *
wanted_condition(List *wanted)
{
	StringInfoData sql;
	const char *separator = "";

	initStringInfo(&sql);
	wh_sql_append(
		&sql,
		"EXISTS (SELECT FROM pg_catalog.pg_class r JOIN pg_catalog.pg_namespace rn ON rn.oid = "
		"r.relnamespace"
		" WHERE (r.oid = c.oid OR r.oid IN (SELECT a.relid FROM "
		"pg_catalog.pg_partition_ancestors(c.oid) a (relid)))"
		" AND (rn.nspname, r.relname) IN (");
	foreach_ptr(char, name, wanted)
	{
		char *schema;
		char *relation;

		wh_name_parse(name, &schema, &relation);
		wh_sql_append(&sql, "%s(%L, %L)", separator, schema != NULL ? schema : "public", relation);
		separator = ", ";
	}
	wh_sql_append(&sql, "))");
	return sql.data;
}

/* published_condition finds the tables of the feed's publication. */
static char *
published_condition(const WhFeed *feed, bool is_own_database)
{
	return wh_sql("(n.nspname, c.relname) IN (SELECT schemaname, tablename"
				  " FROM pg_catalog.pg_publication_tables WHERE pubname = %L)%s",
				  feed->publication, is_own_database ? " AND NOT " WH_SOURCE_IS_OWN : "");
}

/* first returns the first value of a query; NULL when there is none. */
static char *
first(PGconn *plain, const char *sql)
{
	WhResult *result = wh_source_query(plain, sql);

	return result->rows == 0 ? NULL : wh_result_value(result, 0, 0);
}

static bool
is_true(const char *value)
{
	return value != NULL && strcmp(value, "t") == 0;
}

void
wh_mirror_check_identity(PGconn *plain, const WhFeed *feed, const WhFeedTable *table)
{
	WhResult *result = wh_source_query(
		plain, wh_sql("SELECT relreplident FROM pg_catalog.pg_class WHERE oid = %u",
					  table->source_relid));

	if (result->rows > 0 && strcmp(wh_result_value(result, 0, 0), "f") == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" of feed \"%s\" needs replica identity FULL to be without a mirror", table->source_name,
					feed->name),
			 errdetail("The change log keeps each row as it was, and without the mirror only the source can tell."),
			 errhint("ALTER TABLE %s.%s REPLICA IDENTITY FULL at the source.",
					 wh_sql_identifier(table->source_schema),
					 wh_sql_identifier(table->source_name))));
}
