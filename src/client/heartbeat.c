/*
 * heartbeat.c
 *		A message through the source's WAL every so many seconds (--heartbeat).
 *
 * A source where nothing is published, or nothing happens, would hold WAL for a slot that is not
 * told to go on; and a reader that gets nothing cannot tell an idle source from a broken way.
 * The messages go over a connection of their own, which is given up soon where it cannot be made,
 * since the stream waits meanwhile.  They do not wait for their answers, and name the time at
 * which they left, so that what comes back says how long the whole way took.
 *
 * The message itself is no part of a transaction.  Before version 17 nothing would write its WAL
 * out at once, so the transaction around it takes an xid, whose commit does.
 */
#include "client/client.h"

#include <sys/time.h>
#include <unistd.h>

#include "common/logging.h"

#define PREFIX "walhouse.heartbeat"

/* Before another attempt at a connection. */
#define WAIT_AFTER_FAILURE_MS 3000

static void send_beat(WhHeartbeat *heartbeat);
static void lose(WhHeartbeat *heartbeat);
static int64 now_microseconds(void);

void
wh_client_start_heartbeat(WhHeartbeat *heartbeat, const WhClientOptions *options)
{
	memset(heartbeat, 0, sizeof(*heartbeat));
	heartbeat->options = options;
}

void
wh_client_stop_heartbeat(WhHeartbeat *heartbeat)
{
	PQfinish(heartbeat->conn);
	heartbeat->conn = NULL;
}

void
wh_client_beat(WhHeartbeat *heartbeat, int64 now)
{
	int interval = heartbeat->options->heartbeat_interval;

	if (interval == 0)
		return;
	if (heartbeat->is_busy)
	{
		PGresult *result;

		if (!PQconsumeInput(heartbeat->conn))
			lose(heartbeat);
		while (heartbeat->is_busy && !PQisBusy(heartbeat->conn))
		{
			result = PQgetResult(heartbeat->conn);
			if (result == NULL)
				heartbeat->is_busy = false;
			else if (PQresultStatus(result) != PGRES_TUPLES_OK)
				pg_log_warning("heartbeat failed: %s", PQresultErrorMessage(result));
			PQclear(result);
		}
	}
	if (now < heartbeat->due)
		return;
	heartbeat->due = now + interval;
	if (heartbeat->conn == NULL)
	{
		heartbeat->conn = wh_client_connect(heartbeat->options, false, true);
		if (heartbeat->conn == NULL)
			heartbeat->due = now + Max(interval, WAIT_AFTER_FAILURE_MS);
	}
	if (heartbeat->conn != NULL && !heartbeat->is_busy)
		send_beat(heartbeat);
}

static void
send_beat(WhHeartbeat *heartbeat)
{
	char statement[256];
	bool can_flush = PQserverVersion(heartbeat->conn) >= 170000;

	snprintf(statement, sizeof(statement),
			 "SELECT pg_catalog.pg_logical_emit_message(false, '" PREFIX "', '%d %lld'%s",
			 (int) getpid(), (long long) now_microseconds(),
			 can_flush ? ", true)" : "), pg_catalog.pg_current_xact_id()");
	heartbeat->is_busy = PQsendQuery(heartbeat->conn, statement) == 1;
	if (!heartbeat->is_busy)
		lose(heartbeat);
}

/* lose gives the connection up; the next heartbeat makes another. */
static void
lose(WhHeartbeat *heartbeat)
{
	pg_log_warning("heartbeat lost its connection: %s", PQerrorMessage(heartbeat->conn));
	PQfinish(heartbeat->conn);
	heartbeat->conn = NULL;
	heartbeat->is_busy = false;
}

void
wh_client_hear_beat(const WhHeartbeat *heartbeat, WhSlice batch)
{
	WhWireError error = NULL;
	WhEntry entry;

	if (heartbeat->options->heartbeat_interval == 0 || !heartbeat->options->is_verbose)
		return;
	while (wh_wire_next_entry(&batch, &entry, &error))
	{
		WhSlice message = entry.payload;
		WhField field;
		bool is_ours = false;
		int pid;
		long long sent;
		char content[64];

		while (entry.kind == WH_ENTRY_MESSAGE && wh_wire_next_field(&message, &field, &error))
		{
			if (field.tag == 2)
				is_ours = field.bytes.len == strlen(PREFIX) &&
						  memcmp(field.bytes.data, PREFIX, field.bytes.len) == 0;
			else if (field.tag == 3 && is_ours && field.bytes.len < sizeof(content))
			{
				memcpy(content, field.bytes.data, field.bytes.len);
				content[field.bytes.len] = '\0';
				if (sscanf(content, "%d %lld", &pid, &sent) == 2 && pid == (int) getpid())
					pg_log_info("heartbeat: round trip %.1f ms",
								(double) (now_microseconds() - sent) / 1000);
			}
		}
	}
}

static int64
now_microseconds(void)
{
	struct timeval now;

	gettimeofday(&now, NULL);
	return (int64) now.tv_sec * INT64CONST(1000000) + now.tv_usec;
}
