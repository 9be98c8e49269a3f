/*
 * stream.c
 *		The replication connection.
 *
 * One rule: what is confirmed is synced_lsn of the sink, nothing else.  A keepalive's position
 * counts as written only between transactions: the plugin sends a transaction whole before the
 * server's keepalives can cover its end.
 */
#include "client/client.h"

#include <sys/select.h>
#include <sys/time.h>
#include <time.h>

#include "common/logging.h"
#include "common/string.h"

#include "wire/encode.h"

/* With --endpos the source is asked this often how far it is, while nothing comes. */
#define ASK_INTERVAL_MS 200

/*
 * How long the second connection may take: the stream waits for it, and a server that is shutting
 * down, and answers no more, waits for the stream.
 */
#define CONNECT_SECONDS "2"

/* How long to wait for the source's farewell. */
#define FAREWELL_MS 5000

/* PostgreSQL counts time from 2000-01-01. */
#define POSTGRES_EPOCH INT64CONST(946684800)

typedef struct WhStream
{
	PGconn *conn;
	const WhClientOptions *options;
	WhSink *sink;
	int64 status_sent; /* milliseconds */
	int64 synced; /* milliseconds */
	WhHeartbeat heartbeat;
	bool wants_reply;
	bool is_done;
	bool is_hopeless;
} WhStream;

static void hint_at_allow_list(PGconn *conn);
static void quote(StringInfo out, const char *text, char mark);
static bool start(WhStream *stream);
static bool check_system(WhStream *stream);
static bool run(WhStream *stream);
static void take_end(WhStream *stream, int len);
static bool take_message(WhStream *stream, const char *message, int len);
static bool take_batch(WhStream *stream, WhSlice batch);
static bool is_past_end(const WhStream *stream, WhSlice batch);
static bool do_what_is_due(WhStream *stream, bool is_idle);
static bool wait_for_input(WhStream *stream);
static bool is_hopeless(const PGresult *result);
static bool send_status(WhStream *stream, bool asks_reply);
static void say_goodbye(WhStream *stream);
static bool take_farewell(PGconn *conn);
static int64 now_ms(void);
static uint64 read_uint64(const char *at);

/* -------- connections and slots -------- */

PGconn *
wh_client_connect(const WhClientOptions *options, bool for_replication, bool may_fail)
{
	static char *password = NULL;
	const char *keys[] = {
		"dbname", "host", "port", "user", "password", "replication", "fallback_application_name",
		for_replication ? NULL : "connect_timeout", NULL};
	const char *values[] = {options->dbname, options->host, options->port, options->user, NULL,
							for_replication ? "database" : NULL, "walhouse_recv",
							CONNECT_SECONDS, NULL};
	PGconn *conn;
	PGresult *result;

	if (options->asks_password && password == NULL)
		password = simple_prompt("Password: ", false);
	for (;;)
	{
		values[4] = password;
		conn = PQconnectdbParams(keys, values, true);
		if (PQstatus(conn) == CONNECTION_OK || !PQconnectionNeedsPassword(conn) ||
			password != NULL || options->never_asks_password)
			break;
		PQfinish(conn);
		password = simple_prompt("Password: ", false);
	}
	if (PQstatus(conn) != CONNECTION_OK)
	{
		pg_log_error("%s", PQerrorMessage(conn));
		PQfinish(conn);
		if (!may_fail)
			exit(1);
		return NULL;
	}
	result = PQexec(conn, "SELECT pg_catalog.set_config('search_path', '', false)");
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		pg_fatal("could not clear search_path: %s", PQerrorMessage(conn));
	PQclear(result);
	return conn;
}

void
wh_client_create_slot(PGconn *conn, const WhClientOptions *options)
{
	StringInfoData command;
	PGresult *result;
	const char *state;

	initStringInfo(&command);
	appendStringInfoString(&command, "CREATE_REPLICATION_SLOT ");
	quote(&command, options->slot, '"');
	appendStringInfo(&command, " LOGICAL walhouse_output (SNAPSHOT 'nothing'%s%s)",
					 options->has_two_phase ? ", TWO_PHASE true" : "",
					 options->has_failover ? ", FAILOVER true" : "");
	result = PQexec(conn, command.data);
	state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	if (PQresultStatus(result) != PGRES_TUPLES_OK &&
		!(options->if_not_exists && state != NULL && strcmp(state, "42710") == 0))
	{
		pg_log_error("could not create slot \"%s\": %s", options->slot, PQerrorMessage(conn));
		hint_at_allow_list(conn);
		exit(1);
	}
	PQclear(result);
	pfree(command.data);
}

void
wh_client_drop_slot(PGconn *conn, const WhClientOptions *options)
{
	StringInfoData command;
	PGresult *result;

	initStringInfo(&command);
	appendStringInfoString(&command, "DROP_REPLICATION_SLOT ");
	quote(&command, options->slot, '"');
	result = PQexec(conn, command.data);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		pg_fatal("could not drop slot \"%s\": %s", options->slot, PQerrorMessage(conn));
	PQclear(result);
	pfree(command.data);
}

/* hint_at_allow_list says how to allow the plugin, where the source has just refused it. */
static void
hint_at_allow_list(PGconn *conn)
{
	if (strstr(PQerrorMessage(conn), "may not be used as an output plugin") != NULL)
		pg_log_error_hint(
			"Add walhouse_output to output_plugin_libraries of the source, "
			"e.g. output_plugin_libraries = 'pgoutput, test_decoding, walhouse_output'.");
}

/*
 * quote appends text between marks, doubling those in it: " for names and ' for literals, as
 * replication commands have them.
 */
static void
quote(StringInfo out, const char *text, char mark)
{
	appendStringInfoChar(out, mark);
	for (; *text != '\0'; text++)
	{
		if (*text == mark)
			appendStringInfoChar(out, mark);
		appendStringInfoChar(out, *text);
	}
	appendStringInfoChar(out, mark);
}

/* -------- the stream -------- */

WhStreamEnd
wh_client_stream(PGconn *conn, const WhClientOptions *options, WhSink *sink)
{
	WhStream stream = {0};
	bool is_well;

	stream.conn = conn;
	stream.options = options;
	stream.sink = sink;
	stream.synced = now_ms();
	wh_client_start_heartbeat(&stream.heartbeat, options);
	is_well = start(&stream) && run(&stream);
	wh_client_stop_heartbeat(&stream.heartbeat);
	if (is_well)
		say_goodbye(&stream);
	if (is_well)
		return WH_STREAM_DONE;
	return stream.is_hopeless ? WH_STREAM_HOPELESS : WH_STREAM_BROKEN;
}

static bool
start(WhStream *stream)
{
	const WhClientOptions *options = stream->options;
	uint64 lsn = Max(options->start_lsn, stream->sink->written_lsn);
	StringInfoData command;
	PGresult *result;
	bool is_well;

	if (!check_system(stream))
		return false;
	initStringInfo(&command);
	appendStringInfoString(&command, "START_REPLICATION SLOT ");
	quote(&command, options->slot, '"');
	appendStringInfo(&command, " LOGICAL %X/%X (protocol ", (unsigned int) (lsn >> 32),
					 (unsigned int) lsn);
	quote(&command, CppAsString2(WH_WIRE_PROTOCOL), '\'');
	for (int i = 0; i < options->noptions; i++)
	{
		appendStringInfoString(&command, ", ");
		quote(&command, options->option_names[i], '"');
		appendStringInfoChar(&command, ' ');
		quote(&command, options->option_values[i], '\'');
	}
	appendStringInfoChar(&command, ')');
	if (options->is_verbose)
		pg_log_info("starting at %X/%X", (unsigned int) (lsn >> 32), (unsigned int) lsn);
	result = PQexec(stream->conn, command.data);
	is_well = PQresultStatus(result) == PGRES_COPY_BOTH;
	if (!is_well)
	{
		pg_log_error("could not start replication: %s", PQerrorMessage(stream->conn));
		hint_at_allow_list(stream->conn);
		stream->is_hopeless = is_hopeless(result);
	}
	PQclear(result);
	pfree(command.data);
	return is_well;
}

/*
 * check_system refuses to append to a file whose stream came from another cluster: its positions
 * mean nothing here.
 */
static bool
check_system(WhStream *stream)
{
	PGresult *result = PQexec(stream->conn, "IDENTIFY_SYSTEM");
	uint64 identifier;

	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1)
	{
		pg_log_error("could not identify the source: %s", PQerrorMessage(stream->conn));
		PQclear(result);
		return false;
	}
	identifier = strtoull(PQgetvalue(result, 0, 0), NULL, 10);
	PQclear(result);
	if (stream->sink->system_identifier != 0 && stream->sink->system_identifier != identifier)
	{
		pg_log_error("\"%s\" holds the stream of another cluster", stream->sink->name);
		pg_log_error_detail("Its last session came from %llu; this source is %llu.",
							(unsigned long long) stream->sink->system_identifier,
							(unsigned long long) identifier);
		pg_log_error_hint("Choose another file.");
		exit(1);
	}
	stream->sink->system_identifier = identifier;
	return true;
}

/* run receives until the end.  Returns false when the connection breaks. */
static bool
run(WhStream *stream)
{
	stream->wants_reply = stream->options->end_lsn != 0;
	while (!stream->is_done && !wh_client_is_stopping())
	{
		char *message = NULL;
		int len = PQgetCopyData(stream->conn, &message, true);
		bool is_well;

		if (len < 0)
		{
			take_end(stream, len);
			return false;
		}
		if (len > 0)
			is_well = take_message(stream, message, len);
		else
			is_well = wait_for_input(stream);
		PQfreemem(message);
		if (!is_well || !do_what_is_due(stream, len == 0))
			return false;
	}
	return true;
}

/* take_end says why the source has ended the stream. */
static void
take_end(WhStream *stream, int len)
{
	PGresult *result = PQgetResult(stream->conn);

	if (len == -2 || PQresultStatus(result) == PGRES_FATAL_ERROR)
		pg_log_error("the stream broke: %s", PQerrorMessage(stream->conn));
	else
		pg_log_info("the source has ended the stream");
	stream->is_hopeless = is_hopeless(result);
	PQclear(result);
}

/*
 * is_hopeless tells errors that trying again will not cure: wrong options, a missing slot or
 * publication.
 */
static bool
is_hopeless(const PGresult *result)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	return state != NULL && (strncmp(state, "0A", 2) == 0 || strncmp(state, "22", 2) == 0 ||
							 strncmp(state, "42", 2) == 0);
}

static bool
take_message(WhStream *stream, const char *message, int len)
{
	WhSink *sink = stream->sink;
	uint64 end_lsn = stream->options->end_lsn;

	if (message[0] == 'w' && len >= 25)
	{
		if (!take_batch(stream, (WhSlice){(const uint8_t *) message + 25, len - 25}))
			return true;
	}
	else if (message[0] == 'k' && len >= 18)
	{
		wh_client_idle(sink, read_uint64(message + 1));
		if (message[17])
		{
			wh_client_sync(sink);
			if (!send_status(stream, false))
				return false;
		}
	}
	else
		pg_fatal("unexpected message of type \"%c\" from the source", message[0]);
	if (end_lsn != 0 && !sink->in_transaction && sink->written_lsn >= end_lsn)
		stream->is_done = true;
	return true;
}

/* take_batch writes a batch.  Returns false, and ends the stream, where --endpos is before it. */
static bool
take_batch(WhStream *stream, WhSlice batch)
{
	WhWireError error = NULL;

	if (!wh_wire_inflate(&batch, &stream->sink->inflated, &error))
		pg_fatal("could not read a batch of the stream: %s", error);
	if (is_past_end(stream, batch))
	{
		stream->is_done = true;
		return false;
	}
	wh_client_write(stream->sink, batch);
	wh_client_hear_beat(&stream->heartbeat, batch);
	return true;
}

/*
 * is_past_end tells whether a batch begins a transaction that ends behind --endpos, or ends one
 * that was streamed.
 */
static bool
is_past_end(const WhStream *stream, WhSlice batch)
{
	WhWireError error = NULL;
	WhEntry entry;

	if (stream->options->end_lsn == 0 || stream->sink->in_transaction)
		return false;
	while (wh_wire_next_entry(&batch, &entry, &error))
	{
		uint64 lsn = entry.kind == WH_ENTRY_BEGIN ? entry.u.begin.end_lsn :
													wh_client_ended_by(&entry);

		if (lsn != 0)
			return lsn > stream->options->end_lsn;
	}
	return false;
}

/* do_what_is_due syncs and confirms; a pipe is synced whenever nothing comes. */
static bool
do_what_is_due(WhStream *stream, bool is_idle)
{
	const WhClientOptions *options = stream->options;
	WhSink *sink = stream->sink;
	int64 now = now_ms();

	wh_client_beat(&stream->heartbeat, now);
	if ((is_idle && !sink->is_regular) ||
		(options->fsync_interval > 0 && now - stream->synced >= options->fsync_interval))
	{
		wh_client_sync(sink);
		stream->synced = now;
	}
	if (is_idle && stream->wants_reply && now - stream->status_sent >= ASK_INTERVAL_MS)
		return send_status(stream, true);
	if (options->status_interval > 0 && now - stream->status_sent >= options->status_interval)
		return send_status(stream, false);
	return true;
}

/* wait_for_input waits for the source, a signal, or what is due next. */
static bool
wait_for_input(WhStream *stream)
{
	const WhClientOptions *options = stream->options;
	int64 now = now_ms();
	int64 wait = 60 * 1000;
	struct timeval timeout;
	fd_set readable;
	int top = Max(PQsocket(stream->conn), wh_client_stop_socket());
	int beat = stream->heartbeat.is_busy ? PQsocket(stream->heartbeat.conn) : -1;

	wh_client_flush(stream->sink);
	if (options->status_interval > 0)
		wait = Min(wait, stream->status_sent + options->status_interval - now);
	if (options->fsync_interval > 0 && stream->sink->has_unsynced)
		wait = Min(wait, stream->synced + options->fsync_interval - now);
	if (stream->wants_reply)
		wait = Min(wait, ASK_INTERVAL_MS);
	if (options->heartbeat_interval > 0)
		wait = Min(wait, stream->heartbeat.due - now);
	wait = Max(wait, 1);

	FD_ZERO(&readable);
	FD_SET(PQsocket(stream->conn), &readable);
	FD_SET(wh_client_stop_socket(), &readable);
	if (beat >= 0)
		FD_SET(beat, &readable);
	timeout.tv_sec = wait / 1000;
	timeout.tv_usec = (wait % 1000) * 1000;
	if (select(Max(top, beat) + 1, &readable, NULL, NULL, &timeout) < 0 && errno != EINTR)
		pg_fatal("could not wait for the source: %m");
	if (!PQconsumeInput(stream->conn))
	{
		pg_log_error("the stream broke: %s", PQerrorMessage(stream->conn));
		return false;
	}
	return true;
}

/* send_status confirms what is durable. */
static bool
send_status(WhStream *stream, bool asks_reply)
{
	uint8_t message[34];
	uint8_t *at = message;
	struct timeval now;
	uint64 numbers[4];

	gettimeofday(&now, NULL);
	numbers[0] = stream->sink->written_lsn;
	numbers[1] = stream->sink->synced_lsn;
	numbers[2] = stream->sink->synced_lsn;
	numbers[3] = (uint64) ((now.tv_sec - POSTGRES_EPOCH) * INT64CONST(1000000) + now.tv_usec);
	*at++ = 'r';
	for (int i = 0; i < 4; i++)
	{
		for (int shift = 56; shift >= 0; shift -= 8)
			*at++ = (uint8_t) (numbers[i] >> shift);
	}
	*at++ = asks_reply ? 1 : 0;
	if (PQputCopyData(stream->conn, (const char *) message, sizeof(message)) <= 0 ||
		PQflush(stream->conn) != 0)
	{
		pg_log_error("could not confirm to the source: %s", PQerrorMessage(stream->conn));
		return false;
	}
	stream->status_sent = now_ms();
	return true;
}

/*
 * say_goodbye confirms all there is and ends the stream, so that the slot is free when the
 * program ends.
 */
static void
say_goodbye(WhStream *stream)
{
	int64 limit = now_ms() + FAREWELL_MS;

	wh_client_sync(stream->sink);
	if (!send_status(stream, false) || PQputCopyEnd(stream->conn, NULL) <= 0 ||
		PQflush(stream->conn) != 0)
		return;
	while (now_ms() < limit && take_farewell(stream->conn))
	{
		struct timeval timeout = {0, 100 * 1000};
		fd_set readable;

		FD_ZERO(&readable);
		FD_SET(PQsocket(stream->conn), &readable);
		(void) select(PQsocket(stream->conn) + 1, &readable, NULL, NULL, &timeout);
		if (!PQconsumeInput(stream->conn))
			break;
	}
}

/* take_farewell drops what has come.  Returns false once all has: the source has closed its side,
 * too. */
static bool
take_farewell(PGconn *conn)
{
	char *message = NULL;
	PGresult *result;
	int len;

	while ((len = PQgetCopyData(conn, &message, true)) > 0)
		PQfreemem(message);
	if (len == 0)
		return true;
	while (!PQisBusy(conn))
	{
		result = PQgetResult(conn);
		if (result == NULL)
			return false;
		PQclear(result);
	}
	return true;
}

static int64
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static uint64
read_uint64(const char *at)
{
	uint64 number = 0;

	for (int i = 0; i < 8; i++)
		number = number << 8 | (uint8_t) at[i];
	return number;
}
