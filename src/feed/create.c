/*
 * create.c
 *		CALL walhouse.create_feed: check, slot, mirrors, copy.
 *
 * What is written is committed before the next step touches the source: (1) the catalog row,
 * state creating; (2) the publication, when it is made here; (3) the slot; (4) schemas, mirrors,
 * logs, ids and the first position: state ready, tables in state copy; (5) rows, range by range
 * (crew.c); (6) tables in state ready.  A failure before (4) leaves what drop_feed cleans; one
 * after it is mended by the next run, which copies what is missing.  The stream lock is held
 * throughout.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "feed/feed_private.h"

typedef struct Arguments
{
	List *tables; /* of char *, as given */
	bool copy_data;
	bool failover; /* the slot goes to standbys of the source */
} Arguments;

static char *text_argument(FunctionCallInfo fcinfo, int n);
static WhFeed *read_arguments(FunctionCallInfo fcinfo, Arguments *arguments);
static List *read_tables(FunctionCallInfo fcinfo, int n);
static char *default_slot(const char *name);
static void check_server(const WhFeed *feed);
static void insert_feed(WhFeed *feed);
static void create_publication(const WhFeed *feed, PGconn *plain, List *tables);
static void make_slot_and_tables(WhFeed *feed, PGconn *plain, const Arguments *arguments);

PG_FUNCTION_INFO_V1(walhouse_create_feed);

Datum
walhouse_create_feed(PG_FUNCTION_ARGS)
{
	Arguments arguments;
	WhFeed *feed;
	PGconn *plain;
	int holder;

	wh_txn_open("walhouse.create_feed", wh_txn_procedure_atomic(fcinfo));
	feed = read_arguments(fcinfo, &arguments);
	check_server(feed);
	plain = wh_connect(feed, false);
	wh_source_check(feed, plain, arguments.tables, wh_source_is_own_database(plain),
					arguments.failover);
	insert_feed(feed);
	wh_txn_commit();

	if (!wh_lock_stream(feed->id, &holder))
		elog(ERROR, "the stream of a new feed is taken by process %d", holder);
	if (feed->owns_publication)
		create_publication(feed, plain, arguments.tables);
	make_slot_and_tables(feed, plain, &arguments);
	if (arguments.copy_data)
		wh_crew_copy(feed, plain);
	else
	{
		foreach_ptr(WhFeedTable, table, wh_changelog_tables(feed->id))
			wh_changelog_set_table_state(table, "ready", feed->horizon, NULL);
		wh_txn_commit();
	}
	wh_disconnect(plain);
	wh_unlock_stream(feed->id);
	wh_txn_close();
	PG_RETURN_VOID();
}

static char *
text_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static WhFeed *
read_arguments(FunctionCallInfo fcinfo, Arguments *arguments)
{
	WhFeed *feed = palloc0(sizeof(WhFeed));

	feed->name = text_argument(fcinfo, 0);
	feed->server = PG_ARGISNULL(1) ? NULL : pstrdup(NameStr(*PG_GETARG_NAME(1)));
	feed->publication = text_argument(fcinfo, 2);
	arguments->tables = read_tables(fcinfo, 3);
	feed->slot = text_argument(fcinfo, 4);
	arguments->copy_data = PG_ARGISNULL(5) || PG_GETARG_BOOL(5);
	arguments->failover = !PG_ARGISNULL(7) && PG_GETARG_BOOL(7);
	feed->time_zone = PG_ARGISNULL(6) ? pstrdup("UTC") : text_argument(fcinfo, 6);
	feed->owner = GetUserId();
	feed->log_partition_size = (uint64) wh_feed_partition_size * 1024 * 1024;
	if (feed->name == NULL || feed->name[0] == '\0' || feed->server == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a feed needs a name and a server")));
	if (strlen(feed->name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("the name of a feed is the name of its schema, and has at most %d bytes", NAMEDATALEN - 1)));
	if ((feed->publication == NULL) == (arguments->tables == NIL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("give either a publication or tables"),
				 errhint("publication => 'name' of one that is there, or tables => '{schema.table, …}' to have one made.")));
	if (pg_tzset(feed->time_zone) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" is not known", feed->time_zone),
				 errhint("SELECT name FROM pg_timezone_names lists them.")));
	feed->owns_publication = feed->publication == NULL;
	if (feed->owns_publication)
		feed->publication = feed->name;
	if (feed->slot == NULL)
		feed->slot = default_slot(feed->name);
	return feed;
}

static List *
read_tables(FunctionCallInfo fcinfo, int n)
{
	Datum *values;
	bool *nulls;
	int count;
	List *tables = NIL;

	if (PG_ARGISNULL(n))
		return NIL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls,
					  &count);
	for (int i = 0; i < count; i++)
	{
		if (!nulls[i])
			tables = lappend(tables, TextDatumGetCString(values[i]));
	}
	return tables;
}

/* default_slot is the feed's name with everything replaced that a slot's name may not have. */
static char *
default_slot(const char *name)
{
	char *slot = pstrdup(name);

	for (char *c = slot; *c != '\0'; c++)
	{
		if (*c >= 'A' && *c <= 'Z')
			*c += 'a' - 'A';
		else if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9')))
			*c = '_';
	}
	return slot;
}

static void
check_server(const WhFeed *feed)
{
	WhArg arg = WH_ARG_TEXT(feed->server);
	WhRows *rows;

	if (wh_changelog_feed(feed->name, true) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("feed \"%s\" exists already", feed->name),
				 errhint("If its creation failed: CALL walhouse.drop_feed(%s).", wh_sql_literal(feed->name))));
	rows = wh_spi_query(
		"SELECT pg_catalog.has_server_privilege(oid, 'USAGE') FROM pg_catalog.pg_foreign_server"
		" WHERE srvname = $1",
		1, &arg);
	if (rows->count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server \"%s\" does not exist", feed->server),
				 errhint("CREATE SERVER %s FOREIGN DATA WRAPPER walhouse OPTIONS (host '…', dbname '…').",
						 wh_sql_identifier(feed->server))));
	if (!wh_rows_bool(rows, 0, 1))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for foreign server %s", feed->server),
				 errhint("GRANT USAGE ON FOREIGN SERVER %s TO %s.", wh_sql_identifier(feed->server),
						 wh_sql_identifier(GetUserNameFromId(feed->owner, false)))));
}

static void
insert_feed(WhFeed *feed)
{
	WhArg args[] = {WH_ARG_TEXT(feed->name), WH_ARG_OID(feed->owner),
					WH_ARG_TEXT(feed->server), WH_ARG_TEXT(feed->slot),
					WH_ARG_TEXT(feed->publication), WH_ARG_BOOL(feed->owns_publication),
					WH_ARG_TEXT(feed->time_zone), WH_ARG_INT8(feed->log_partition_size)};
	WhRows *rows = wh_catalog_query(
		"INSERT INTO walhouse.feed (name, owner, server, slot, publication, owns_publication,"
		" time_zone, log_partition_size) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING feed_id",
		lengthof(args), args);

	feed->id = wh_rows_int4(rows, 0, 1);
}

static void
create_publication(const WhFeed *feed, PGconn *plain, List *tables)
{
	StringInfoData sql;
	const char *separator = "";

	initStringInfo(&sql);
	wh_sql_append(&sql, "CREATE PUBLICATION %I FOR TABLE ", feed->publication);
	foreach_ptr(char, name, tables)
	{
		char *schema;
		char *relation;

		wh_name_parse(name, &schema, &relation);
		wh_sql_append(&sql, "%s%I.%I", separator, schema != NULL ? schema : "public", relation);
		separator = ", ";
	}
	wh_source_query(plain, sql.data);
}

/*
 * make_slot_and_tables makes the slot, and then all that is here, in one transaction.  The plain
 * connection is in the snapshot's transaction afterwards.
 */
static void
make_slot_and_tables(WhFeed *feed, PGconn *plain, const Arguments *arguments)
{
	PGconn *replication = wh_connect(feed, true);
	WhIdentity source = wh_source_identity(replication);
	WhIdentity house = wh_house_identity();
	TimestampTz clock = wh_source_time(plain);
	char *snapshot;
	List *sources;
	WhResult *xid;
	WhArg args[2];

	feed->horizon =
		wh_slot_create(feed, replication, plain, feed->slot,
					   arguments->failover ? WH_SLOT_FAILOVER : WH_SLOT_PLAIN, &snapshot);
	xid = wh_source_query(plain, "SELECT pg_catalog.pg_current_xact_id()");
	wh_snapshot_use(plain, snapshot);
	wh_disconnect(replication);
	sources = wh_source_tables(feed, plain,
							   strcmp(source.system_id, house.system_id) == 0 &&
								   source.database == house.database,
							   InvalidOid);
	wh_changelog_create_schemas(feed);
	foreach_ptr(WhSourceTable, table, sources)
	{
		if (table->key == NIL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s.%s\" of the source has no key", table->schema, table->name),
					 errhint("CALL walhouse.drop_feed(%s), mend the table, and create the feed again.",
							 wh_sql_literal(feed->name))));
		wh_changelog_create_table(feed, table);
	}
	wh_feed_store_identity(feed, &source, &house);
	wh_changelog_store_position(feed->id, feed->horizon, clock);
	args[0] = WH_ARG_INT4(feed->id);
	args[1] = WH_ARG_LSN(feed->horizon);
	wh_catalog_execute(
		"UPDATE walhouse.feed SET state = 'ready', horizon = $2 WHERE feed_id = $1", 2, args);
	if (arguments->copy_data)
		wh_crew_enlist(feed, strtoull(wh_result_value(xid, 0, 0), NULL, 10));
	wh_txn_commit();
}
