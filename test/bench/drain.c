/*
 * drain.c
 *		The bench's reader: takes what a walsender sends up to a position, and throws it away.
 *
 *		drain CONNINFO SLOT LSN "('name' 'value', ...)"
 *
 * It prints, on one line: seconds, the walsender's CPU seconds, bytes and number of the messages,
 * the reader's own CPU seconds, and the most memory that the walsender had of its own, in kB.
 * CPU time is what the scheduler counted, in nanoseconds; the clocks start before
 * START_REPLICATION.  It confirms nothing, so that the slot stays where it is, and ends when the
 * walsender is gone.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "libpq-fe.h"

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static double
own_cpu(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void
fail(const char *what, const char *detail)
{
	fprintf(stderr, "drain: %s: %s\n", what, detail);
	exit(1);
}

/* ignore_notice takes what decoderbufs tells each time it starts and stops. */
static void
ignore_notice(void *arg, const PGresult *result)
{
	(void) arg;
	(void) result;
}

/* cpu returns the CPU seconds of a process. */
static double
cpu(int pid)
{
	char path[64];
	unsigned long long nanoseconds = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	file = fopen(path, "r");
	if (file == NULL || fscanf(file, "%llu", &nanoseconds) != 1)
		fail(path, "cannot be read");
	fclose(file);
	return nanoseconds / 1e9;
}

/* memory returns the resident kB of a process that are its own: not shared buffers, not files. */
static long
memory(int pid)
{
	char path[64];
	char line[256];
	long kilobytes = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "r");
	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		(void) sscanf(line, "RssAnon: %ld", &kilobytes);
	if (file != NULL)
		fclose(file);
	return kilobytes;
}

static uint64_t
read_position(const char *message)
{
	uint64_t position = 0;

	for (int i = 1; i <= 8; i++)
		position = position << 8 | (unsigned char) message[i];
	return position;
}

/* await_end waits until a process is gone, so that its slot is free. */
static void
await_end(int pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d", pid);
	for (int i = 0; i < 10000 && access(path, F_OK) == 0; i++)
		usleep(1000);
}

int
main(int argc, char **argv)
{
	unsigned int high;
	unsigned int low;
	uint64_t target;
	uint64_t bytes = 0;
	uint64_t messages = 0;
	double from;
	double cpu_from;
	double own_from;
	long most = 0;
	char command[4096];
	char *message;
	PGconn *conn;
	PGresult *result;
	int len;
	int pid;

	if (argc != 5 || sscanf(argv[3], "%X/%X", &high, &low) != 2)
		fail("usage", "drain CONNINFO SLOT LSN OPTIONS");
	target = (uint64_t) high << 32 | low;
	conn = PQconnectdb(argv[1]);
	if (PQstatus(conn) != CONNECTION_OK)
		fail("no connection", PQerrorMessage(conn));
	PQsetNoticeReceiver(conn, ignore_notice, NULL);
	pid = PQbackendPID(conn);
	snprintf(command, sizeof(command), "START_REPLICATION SLOT \"%s\" LOGICAL 0/0 %s", argv[2],
			 argv[4]);
	from = now();
	own_from = own_cpu();
	cpu_from = cpu(pid);
	result = PQexec(conn, command);
	if (PQresultStatus(result) != PGRES_COPY_BOTH)
		fail(command, PQerrorMessage(conn));
	PQclear(result);
	for (;;)
	{
		len = PQgetCopyData(conn, &message, 0);
		if (len < 0)
			fail("the stream has ended", PQerrorMessage(conn));
		if (message[0] == 'k' && read_position(message) >= target)
			break;
		if (message[0] == 'w')
		{
			bytes += len - 25;
			if (messages++ % 1024 == 0)
			{
				long kilobytes = memory(pid);

				most = kilobytes > most ? kilobytes : most;
			}
		}
		PQfreemem(message);
	}
	printf("%.6f %.6f", now() - from, cpu(pid) - cpu_from);
	if (memory(pid) > most)
		most = memory(pid);
	printf(" %llu %llu %.6f %ld\n", (unsigned long long) bytes, (unsigned long long) messages,
		   own_cpu() - own_from, most);
	PQfinish(conn);
	await_end(pid);
	return 0;
}
