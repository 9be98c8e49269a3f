/*
 * main.c
 *		walhouse_recv: reads a slot of walhouse_output and writes its stream to a file, as JSON
 *		lines or as it came.
 *
 * It confirms to the source only what is durable in the file, so that a crash at any point loses
 * nothing: what was not confirmed is sent again, and what the file has already is asked for no
 * more.  SIGINT and SIGTERM end it in order.
 */
#include "client/client.h"

#include "common/logging.h"

/* The first and the longest wait before connecting again. */
#define FIRST_WAIT_MS 100
#define LONGEST_WAIT_MS 10000

static void receive(const WhClientOptions *options, PGconn *conn);

int
main(int argc, char **argv)
{
	WhClientOptions options;
	PGconn *conn;

	pg_logging_init(argv[0]);
	wh_client_read_options(argc, argv, &options);
	wh_client_set_up_signals();

	if (options.decode_file != NULL)
	{
		WhSink sink;

		wh_client_open_sink(&sink, &options);
		wh_client_decode(options.decode_file, &sink);
		wh_client_close_sink(&sink);
		return 0;
	}

	conn = wh_client_connect(&options, true, false);
	if (options.drops_slot)
		wh_client_drop_slot(conn, &options);
	if (options.creates_slot)
		wh_client_create_slot(conn, &options);
	if (options.starts)
		receive(&options, conn);
	else
		PQfinish(conn);
	return 0;
}

/*
 * receive streams until it is done, and connects again when the source goes away, unless that is
 * forbidden.
 */
static void
receive(const WhClientOptions *options, PGconn *conn)
{
	WhSink sink;
	int wait = FIRST_WAIT_MS;

	wh_client_open_sink(&sink, options);
	for (;;)
	{
		uint64 before = sink.written_lsn;
		WhStreamEnd end = WH_STREAM_BROKEN;

		if (conn != NULL)
			end = wh_client_stream(conn, options, &sink);
		PQfinish(conn);
		conn = NULL;
		wh_client_sync(&sink);
		if (end == WH_STREAM_DONE || wh_client_is_stopping())
			break;
		if (options->never_loops || end == WH_STREAM_HOPELESS)
		{
			wh_client_close_sink(&sink);
			exit(1);
		}
		wh_client_restart(&sink);
		if (sink.written_lsn > before)
			wait = FIRST_WAIT_MS;
		pg_log_info("disconnected; connecting again in %d ms", wait);
		wh_client_wait(wait);
		wait = Min(wait * 2, LONGEST_WAIT_MS);
		if (wh_client_is_stopping())
			break;
		conn = wh_client_connect(options, true, true);
	}
	wh_client_close_sink(&sink);
}
