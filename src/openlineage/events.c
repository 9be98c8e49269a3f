/*
 * events.c
 *		Reading the events of new loads, and posting them in order.
 *
 * Events come row by row, so memory is that of the largest one.  When all events of a load were
 * taken, its feed's position moves there and is kept.  Feeds are asked for one by one: only the
 * loads of one feed are recorded in the order in which they commit.
 */
#include "openlineage/openlineage.h"

#include "client/client.h"
#include "common/logging.h"

#define FIRST_RETRY_MS 500

static bool post_feed(PGconn *conn, const WhOpenlineageOptions *options, int feed_id,
					  const char *feed);
static bool post_rows(PGconn *conn, const WhOpenlineageOptions *options,
					  WhOpenlineagePosition *position);
static void move(const WhOpenlineageOptions *options, WhOpenlineagePosition *position,
				 int64 recorded);
static void post_one(const WhOpenlineageOptions *options, const char *load, const char *event);
static void drain(PGconn *conn);

bool
wh_openlineage_events(PGconn *conn, const WhOpenlineageOptions *options)
{
	PGresult *feeds = PQexec(conn, "SELECT feed_id, name FROM walhouse.feed ORDER BY feed_id");
	bool is_whole = PQresultStatus(feeds) == PGRES_TUPLES_OK;

	if (!is_whole)
		pg_log_error("could not read feeds: %s", PQresultErrorMessage(feeds));
	for (int i = 0; i < PQntuples(feeds) && is_whole; i++)
		is_whole =
			post_feed(conn, options, atoi(PQgetvalue(feeds, i, 0)), PQgetvalue(feeds, i, 1));
	PQclear(feeds);
	return is_whole;
}

/* post_feed posts the loads of a feed, some at a time, until there are no more. */
static bool
post_feed(PGconn *conn, const WhOpenlineageOptions *options, int feed_id, const char *feed)
{
	for (;;)
	{
		WhOpenlineagePosition *position = wh_openlineage_position(options, feed_id);
		int64 before = position->recorded;
		char since[32];
		const char *values[3] = {since, feed, options->name_space};

		snprintf(since, sizeof(since), INT64_FORMAT, before);
		if (PQsendQueryParams(conn,
							  "SELECT recorded, COALESCE(load_id::pg_catalog.text, 'none'), event"
							  " FROM walhouse.openlineage("
							  "$1::pg_catalog.int8, $2::pg_catalog.text, $3::pg_catalog.text)",
							  3, NULL, values, NULL, NULL, 0) == 0 ||
			PQsetSingleRowMode(conn) == 0)
		{
			pg_log_error("could not ask for events: %s", PQerrorMessage(conn));
			return false;
		}
		if (!post_rows(conn, options, position))
			return false;
		if (position->recorded == before)
			return true;
	}
}

static bool
post_rows(PGconn *conn, const WhOpenlineageOptions *options, WhOpenlineagePosition *position)
{
	int64 open = position->recorded; /* the load whose events are being posted */
	bool is_whole = false;
	PGresult *result;

	while (!wh_client_is_stopping() && (result = PQgetResult(conn)) != NULL)
	{
		ExecStatusType status = PQresultStatus(result);

		if (status == PGRES_SINGLE_TUPLE)
		{
			int64 recorded = strtoi64(PQgetvalue(result, 0, 0), NULL, 10);

			if (recorded != open)
				move(options, position, open);
			open = recorded;
			post_one(options, PQgetvalue(result, 0, 1), PQgetvalue(result, 0, 2));
		}
		else if (status == PGRES_TUPLES_OK)
			is_whole = true;
		else
			pg_log_error("could not read events: %s", PQresultErrorMessage(result));
		PQclear(result);
	}
	if (wh_client_is_stopping())
		drain(conn);
	else if (is_whole)
		move(options, position, open);
	return is_whole;
}

/* move keeps that all events of a load were taken. */
static void
move(const WhOpenlineageOptions *options, WhOpenlineagePosition *position, int64 recorded)
{
	if (position->recorded == recorded)
		return;
	position->recorded = recorded;
	wh_openlineage_write_state(options);
}

/* post_one tries until the event is taken, or refused for good, or the program is to end. */
static void
post_one(const WhOpenlineageOptions *options, const char *load, const char *event)
{
	int wait = FIRST_RETRY_MS;

	while (!wh_client_is_stopping())
	{
		const char *reason;

		switch (wh_openlineage_send(event, &reason))
		{
			case WH_OPENLINEAGE_TAKEN:
				if (options->is_verbose)
					pg_log_info("load %s: %.100s", load, event);
				return;
			case WH_OPENLINEAGE_REFUSED:
				pg_log_error("an event of load %s was refused: %s", load, reason);
				pg_log_error_detail("The event: %s", event);
				if (options->skips_refused)
					return;
				pg_log_error_hint("--skip-refused goes on behind it.");
				exit(1);
			case WH_OPENLINEAGE_FAILED:
				pg_log_warning("could not post an event of load %s, trying again in %d ms: %s",
							   load, wait, reason);
				wh_client_wait(wait);
				wait = Min(wait * 2, options->max_wait_ms);
		}
	}
}

/* drain ends the query that is running. */
static void
drain(PGconn *conn)
{
	PGcancel *cancel = PQgetCancel(conn);
	char error[256];
	PGresult *result;

	if (cancel != NULL)
		(void) PQcancel(cancel, error, sizeof(error));
	PQfreeCancel(cancel);
	while ((result = PQgetResult(conn)) != NULL)
		PQclear(result);
}
