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

#include <fcntl.h>
#include <signal.h>
#include <sys/select.h>
#include <unistd.h>

#include "common/logging.h"

/* The first and the longest wait before connecting again. */
#define FIRST_WAIT_MS 500
#define LONGEST_WAIT_MS 30000

static volatile sig_atomic_t is_stopping = false;
static int stop_pipe[2];

static void set_up_signals(void);
static PGconn *connect_to(const WhOpenlineageOptions *options);

int
main(int argc, char **argv)
{
	WhOpenlineageOptions options;
	int wait = FIRST_WAIT_MS;

	pg_logging_init(argv[0]);
	wh_openlineage_read_options(argc, argv, &options);
	set_up_signals();
	wh_openlineage_http_init(&options);
	wh_openlineage_read_state(&options);

	while (!is_stopping)
	{
		PGconn *conn = connect_to(&options);

		while (conn != NULL && !is_stopping && wh_openlineage_events(conn, &options))
		{
			wait = FIRST_WAIT_MS;
			if (options.interval_ms == 0)
			{
				PQfinish(conn);
				wh_openlineage_http_end();
				return 0;
			}
			wh_openlineage_wait(options.interval_ms);
		}
		PQfinish(conn);
		if (options.interval_ms == 0)
			exit(1);
		if (!is_stopping)
			wh_openlineage_wait(wait);
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

bool
wh_openlineage_is_stopping(void)
{
	return is_stopping;
}

void
wh_openlineage_wait(int milliseconds)
{
	struct timeval timeout = {milliseconds / 1000, (milliseconds % 1000) * 1000};
	fd_set readable;

	FD_ZERO(&readable);
	FD_SET(stop_pipe[0], &readable);
	(void) select(stop_pipe[0] + 1, &readable, NULL, NULL, &timeout);
}

/* -------- signals -------- */

static void
stop(int signal_number)
{
	int saved_errno = errno;

	is_stopping = true;
	if (write(stop_pipe[1], "", 1) < 0)
	{
		/* the pipe is full: it is readable already */
	}
	errno = saved_errno;
}

static void
set_up_signals(void)
{
	struct sigaction action = {0};

	if (pipe(stop_pipe) != 0 || fcntl(stop_pipe[1], F_SETFL, O_NONBLOCK) != 0)
		pg_fatal("could not create a pipe: %m");
	action.sa_handler = stop;
	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	action.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &action, NULL);
}
