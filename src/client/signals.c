/*
 * signals.c
 *		How a program is told to end, and how it waits: SIGINT and SIGTERM ask it to, and wake it.
 */
#include "client/client.h"

#include <fcntl.h>
#include <sys/select.h>
#include <unistd.h>

#include "common/logging.h"

static volatile sig_atomic_t is_stopping = false;
static int stop_pipe[2];

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

void
wh_client_set_up_signals(void)
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

int
wh_client_stop_socket(void)
{
	return stop_pipe[0];
}

bool
wh_client_is_stopping(void)
{
	return is_stopping;
}

void
wh_client_wait(int milliseconds)
{
	struct timeval timeout = {milliseconds / 1000, (milliseconds % 1000) * 1000};
	fd_set readable;

	FD_ZERO(&readable);
	FD_SET(stop_pipe[0], &readable);
	(void) select(stop_pipe[0] + 1, &readable, NULL, NULL, &timeout);
}
