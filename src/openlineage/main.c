/*
 * main.c
 *		walhouse_openlineage: posts what walhouse.openlineage() renders to an HTTP endpoint.
 *
 * The warehouse keeps no list of what was posted.  Here a file has, for each feed, the last load
 * of which all events were taken; it is written after them, so an event may be posted twice after
 * a crash, and none is left out.  Runs have the same ids each time, so a receiver takes the second
 * as the first.  SIGINT and SIGTERM end it in order.
 */
#include "openlineage/openlineage.h"

#include "client/client.h"
#include "common/logging.h"

/* The first and the longest wait before connecting again. */
#define FIRST_WAIT_MS 500
#define LONGEST_WAIT_MS 30000

static PGconn *connect_to(const WhOpenlineageOptions *options);

int
main(int argc, char **argv)
{
	WhOpenlineageOptions options;
	int wait = FIRST_WAIT_MS;

	pg_logging_init(argv[0]);
	wh_openlineage_read_options(argc, argv, &options);
	wh_client_set_up_signals();
	wh_openlineage_http_init(&options);
	wh_openlineage_read_state(&options);

	while (!wh_client_is_stopping())
	{
		PGconn *conn = connect_to(&options);

		while (conn != NULL && !wh_client_is_stopping() && wh_openlineage_events(conn, &options))
		{
			wait = FIRST_WAIT_MS;
			if (options.interval_ms == 0)
			{
				PQfinish(conn);
				wh_openlineage_http_end();
				return 0;
			}
			wh_client_wait(options.interval_ms);
		}
		PQfinish(conn);
		if (options.interval_ms == 0)
			exit(1);
		if (!wh_client_is_stopping())
			wh_client_wait(wait);
		wait = Min(wait * 2, LONGEST_WAIT_MS);
	}
	wh_openlineage_http_end();
	return 0;
}

/* connect_to connects to the warehouse; NULL when that cannot be done now. */
static PGconn *
connect_to(const WhOpenlineageOptions *options)
{
	const char *keywords[] = {"dbname", "fallback_application_name", NULL};
	const char *values[] = {options->conninfo, "walhouse_openlineage", NULL};
	PGconn *conn = PQconnectdbParams(keywords, values, 1);

	if (PQstatus(conn) == CONNECTION_OK)
		return conn;
	pg_log_error("%s", PQerrorMessage(conn));
	PQfinish(conn);
	return NULL;
}
