/*
 * connect.c
 *		Connections to a source through libpq, interruptible, and never leaked.
 *
 * Server and user mapping give the options; the feed's owner is whose mapping counts, whoever
 * runs the feed.  Every wait is on the latch and the socket.  Open connections stand in a list
 * that is emptied when the top-level transaction aborts, so that an error anywhere closes them;
 * results are copied into palloc'd memory at once.
 */
#include "postgres.h"

#include <limits.h>

#include "access/reloptions.h"
#include "access/xact.h"
#include "catalog/pg_foreign_server.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "source/source_private.h"

#define MAX_OPTIONS 64

typedef struct Options
{
	const char *keywords[MAX_OPTIONS];
	const char *values[MAX_OPTIONS];
	int count;
	bool has_password;
	bool has_certificate;
	bool password_required;
} Options;

static List *connections = NIL; /* in TopMemoryContext */

static void close_all(XactEvent event, void *arg);
static void collect_options(const WhFeed *feed, bool for_replication, Options *options);
static void add_options(Options *options, List *given);
static void add_option(Options *options, const char *keyword, const char *value);
static void check_password_given(const WhFeed *feed, const Options *options);
static void check_password_used(const WhFeed *feed, const Options *options, PGconn *conn);
static void finish_connecting(const WhFeed *feed, PGconn *conn);
static void set_session(PGconn *conn);
static int wait_socket(PGconn *conn, int events, long timeout_ms);
static PGresult *next_result(PGconn *conn, TimestampTz deadline, bool *timed_out);
static WhResult *copy_result(const PGresult *from);

void
wh_connect_init(void)
{
	RegisterXactCallback(close_all, NULL);
}

/* close_all closes what an aborted transaction leaves open: nobody else knows of it any more. */
static void
close_all(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_ABORT)
		return;
	while (connections != NIL)
		wh_disconnect(linitial(connections));
}

PGconn *
wh_connect(const WhFeed *feed, bool for_replication)
{
	Options options = {.password_required = true};
	MemoryContext old;
	PGconn *conn;

	collect_options(feed, for_replication, &options);
	check_password_given(feed, &options);
	old = MemoryContextSwitchTo(TopMemoryContext);
	connections =
		lcons(NULL, connections); /* room first: nothing may fail once the connection is there */
	MemoryContextSwitchTo(old);
	conn = PQconnectStartParams(options.keywords, options.values, 0);
	if (conn == NULL)
	{
		connections = list_delete_first(connections);
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	linitial(connections) = conn;
	PG_TRY();
	{
		finish_connecting(feed, conn);
		check_password_used(feed, &options, conn);
		if (!for_replication)
			set_session(conn);
	}
	PG_CATCH();
	{
		/* the transaction may go on, and try again and again */
		wh_disconnect(conn);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return conn;
}

static void
set_session(PGconn *conn)
{
	wh_source_query(
		conn, "SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; SET extra_float_digits "
			  "= 1; SET bytea_output = 'hex'; SET quote_all_identifiers = off;"
			  " SET lc_monetary = 'C';"
			  " SET search_path = pg_catalog, pg_temp; SET statement_timeout = 0; SET lock_timeout "
			  "= 0;"
			  " SET idle_in_transaction_session_timeout = 0; SET TimeZone = 'UTC'; SET "
			  "row_security = off");
}

void
wh_disconnect(PGconn *conn)
{
	connections = list_delete_ptr(connections, conn);
	PQfinish(conn);
}

bool
wh_connect_is_open(PGconn *conn)
{
	return list_member_ptr(connections, conn);
}

static void
collect_options(const WhFeed *feed, bool for_replication, Options *options)
{
	ForeignServer *server = GetForeignServerByName(feed->server, false);
	UserMapping *mapping = GetUserMapping(feed->owner, server->serverid);

	if (strcmp(GetForeignDataWrapper(server->fdwid)->fdwname, "walhouse") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not a source for walhouse", feed->server),
				 errhint("CREATE SERVER … FOREIGN DATA WRAPPER walhouse.")));
	add_options(options, server->options);
	add_options(options, mapping->options);
	add_option(options, "application_name", psprintf("walhouse %s", feed->name));
	add_option(options, "client_encoding", GetDatabaseEncodingName());
	if (for_replication)
		add_option(options, "replication", "database");
	options->keywords[options->count] = NULL;
	options->values[options->count] = NULL;
}

const char *
wh_server_option(const WhFeed *feed, const char *name)
{
	ForeignServer *server = GetForeignServerByName(feed->server, false);

	foreach_ptr(DefElem, option, server->options)
	{
		if (strcmp(option->defname, name) == 0)
			return defGetString(option);
	}
	return NULL;
}

static void
add_options(Options *options, List *given)
{
	foreach_ptr(DefElem, option, given)
	{
		if (strcmp(option->defname, "password_required") == 0)
			options->password_required = defGetBoolean(option);
		else if (strcmp(option->defname, "follow_failover") != 0 &&
				 strcmp(option->defname, "compression") != 0)
			add_option(options, option->defname, defGetString(option));
	}
}

static void
add_option(Options *options, const char *keyword, const char *value)
{
	if (options->count >= MAX_OPTIONS - 1)
		elog(ERROR, "too many connection options");
	options->keywords[options->count] = keyword;
	options->values[options->count] = value;
	options->count++;
	options->has_password =
		options->has_password || (strcmp(keyword, "password") == 0 && value[0] != '\0');
	options->has_certificate = options->has_certificate || strcmp(keyword, "sslcert") == 0;
}

/* A user who is not superuser may not borrow the server's own identity (peer, trust, a password
 * file). */
static void
check_password_given(const WhFeed *feed, const Options *options)
{
	if (superuser_arg(feed->owner) || !options->password_required || options->has_password ||
		options->has_certificate)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED),
			 errmsg("password or client certificate is required"),
			 errdetail("\"%s\" is not superuser and must authenticate with a password of their own.",
					   GetUserNameFromId(feed->owner, true)),
			 errhint("ALTER USER MAPPING … SERVER %s OPTIONS (ADD password '…').", wh_sql_identifier(feed->server))));
}

static void
check_password_used(const WhFeed *feed, const Options *options, PGconn *conn)
{
	if (superuser_arg(feed->owner) || !options->password_required || PQconnectionUsedPassword(conn))
		return;
	if (options->has_certificate && PQsslInUse(conn))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED),
			 errmsg("password or client certificate is required"),
			 errdetail("The source of feed \"%s\" let \"%s\" in without asking for the password.", feed->name,
					   GetUserNameFromId(feed->owner, true)),
			 errhint("The source's pg_hba.conf must ask for it: scram-sha-256.")));
}

static void
finish_connecting(const WhFeed *feed, PGconn *conn)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	while (PQstatus(conn) != CONNECTION_BAD && status != PGRES_POLLING_OK &&
		   status != PGRES_POLLING_FAILED)
	{
		wait_socket(
			conn, status == PGRES_POLLING_READING ? WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE, -1);
		status = PQconnectPoll(conn);
	}
	if (PQstatus(conn) != CONNECTION_OK)
		ereport(ERROR,
				(errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
				 errmsg("could not connect to the source of feed \"%s\"", feed->name),
				 errdetail_internal("%s", pchomp(PQerrorMessage(conn)))));
}

/* wait_socket waits for the socket, the latch or the time, and takes interrupts; returns what
 * happened. */
static int
wait_socket(PGconn *conn, int events, long timeout_ms)
{
	int happened = WaitLatchOrSocket(
		MyLatch, events | WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout_ms >= 0 ? WL_TIMEOUT : 0),
		PQsocket(conn), timeout_ms, PG_WAIT_EXTENSION);

	if (happened & WL_LATCH_SET)
	{
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return happened;
}

void
wh_source_send(PGconn *conn, const char *sql)
{
	if (!PQsendQuery(conn, sql))
		wh_source_error(conn, NULL, sql);
}

bool
wh_source_finish(PGconn *conn, const char *sql, long timeout_ms, WhResult **result)
{
	TimestampTz deadline = timeout_ms < 0 ?
							   DT_NOEND :
							   TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	bool timed_out = false;
	PGresult *last;

	*result = NULL;
	while ((last = next_result(conn, deadline, &timed_out)) != NULL)
	{
		ExecStatusType status = PQresultStatus(last);

		if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
			wh_source_error(conn, last, sql);
		*result = copy_result(last);
		PQclear(last);
	}
	if (!timed_out && PQstatus(conn) == CONNECTION_BAD)
		wh_source_error(conn, NULL, sql);
	return !timed_out;
}

/* next_result waits for the next result of a statement; NULL at its end and after the deadline. */
static PGresult *
next_result(PGconn *conn, TimestampTz deadline, bool *timed_out)
{
	while (PQisBusy(conn))
	{
		long wait = deadline == DT_NOEND ?
						-1 :
						TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

		if (wait == 0)
		{
			*timed_out = true;
			return NULL;
		}
		wait_socket(conn, WL_SOCKET_READABLE, wait);
		if (!PQconsumeInput(conn))
			break;
	}
	return PQgetResult(conn);
}

WhResult *
wh_source_query(PGconn *conn, const char *sql)
{
	WhResult *result;

	wh_source_send(conn, sql);
	wh_source_finish(conn, sql, -1, &result);
	return result;
}

static WhResult *
copy_result(const PGresult *from)
{
	WhResult *result = palloc(sizeof(WhResult));

	result->rows = PQntuples(from);
	result->columns = PQnfields(from);
	result->values = palloc0(sizeof(char *) * (result->rows * result->columns + 1));
	for (int i = 0; i < result->rows; i++)
	{
		for (int j = 0; j < result->columns; j++)
		{
			if (!PQgetisnull(from, i, j))
				wh_result_value(result, i, j) = pstrdup(PQgetvalue(from, i, j));
		}
	}
	return result;
}

XLogRecPtr
wh_source_lsn(const char *value)
{
	uint32 high;
	uint32 low;

	if (value == NULL || sscanf(value, "%X/%X", &high, &low) != 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the source sent no LSN where one was expected")));
	return ((XLogRecPtr) high << 32) | low;
}

XLogRecPtr
wh_feed_lsn(const WhFeed *feed, XLogRecPtr source_lsn)
{
	return XLogRecPtrIsInvalid(source_lsn) ? source_lsn : source_lsn + feed->lsn_offset;
}

XLogRecPtr
wh_feed_lsn_at_source(const WhFeed *feed, XLogRecPtr lsn)
{
	return XLogRecPtrIsInvalid(lsn) ? lsn : lsn - feed->lsn_offset;
}

void
wh_source_copy(PGconn *conn, const char *sql, ExecStatusType expected)
{
	bool timed_out;
	PGresult *result;

	wh_source_send(conn, sql);
	result = next_result(conn, DT_NOEND, &timed_out);
	if (PQresultStatus(result) != expected)
		wh_source_error(conn, result, sql);
	PQclear(result);
}

int
wh_source_receive(PGconn *conn, char **buffer, long timeout_ms)
{
	int len = PQgetCopyData(conn, buffer, 1);
	ExecStatusType status;
	PGresult *result;

	if (len == 0)
	{
		if (!PQconsumeInput(conn))
			wh_source_error(conn, NULL, NULL);
		len = PQgetCopyData(conn, buffer, 1);
	}
	if (len == 0 && timeout_ms != 0)
	{
		int happened = wait_socket(conn, WL_SOCKET_READABLE, timeout_ms);

		if ((happened & WL_SOCKET_READABLE) && !PQconsumeInput(conn))
			wh_source_error(conn, NULL, NULL);
		len = PQgetCopyData(conn, buffer, 1);
	}
	if (len == -2)
		wh_source_error(conn, NULL, NULL);
	if (len != -1)
		return len;
	result = PQgetResult(conn);
	if (PQresultStatus(result) == PGRES_FATAL_ERROR)
		wh_source_error(conn, result, NULL);
	/* The end of the command, too; after replication the other direction is open still. */
	status = PQresultStatus(result);
	PQclear(result);
	while (status != PGRES_COPY_IN && (result = PQgetResult(conn)) != NULL)
		PQclear(result);
	return -1;
}

void
wh_source_error(PGconn *conn, PGresult *result, const char *sql)
{
	const char *state = result != NULL ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
	const char *primary =
		result != NULL ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	const char *detail = result != NULL ? PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL) : NULL;
	const char *hint = result != NULL ? PQresultErrorField(result, PG_DIAG_MESSAGE_HINT) : NULL;
	int code = state == NULL ? ERRCODE_CONNECTION_FAILURE :
							   MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4]);
	char *message = primary != NULL ? pstrdup(primary) : pchomp(PQerrorMessage(conn));

	if (message[0] == '\0')
		message = pstrdup("the connection was closed");
	/* Somebody has ended what went on there, and not this session: wh_txn_try tells them apart. */
	if (ERRCODE_TO_CATEGORY(code) == ERRCODE_OPERATOR_INTERVENTION)
		code = ERRCODE_CONNECTION_EXCEPTION;
	detail = detail != NULL ? pstrdup(detail) : NULL;
	hint = hint != NULL ? pstrdup(hint) : NULL;
	PQclear(result);
	ereport(ERROR,
			(errcode(code),
			 errmsg("the source says: %s", message),
			 detail != NULL ? errdetail_internal("%s", detail) : 0,
			 hint != NULL ? errhint("%s", hint) : 0,
			 sql != NULL ? errcontext("source statement: %s", sql) : 0));
}
