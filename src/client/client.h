/*
 * client.h
 *		walhouse_recv: what its files share.
 */
#ifndef WH_CLIENT_H
#define WH_CLIENT_H

#include "postgres_fe.h"

#include <signal.h>

#include "libpq-fe.h"
#include "lib/stringinfo.h"

#include "wire/json.h"
#include "wire/wire.h"

/* -------- options.c -------- */

typedef enum WhClientFormat
{
	WH_CLIENT_JSON,
	WH_CLIENT_DELIMITED
} WhClientFormat;

/* The most options that -o can give. */
#define WH_CLIENT_MAX_OPTIONS 16

typedef struct WhClientOptions
{
	bool creates_slot;
	bool drops_slot;
	bool starts;
	bool if_not_exists;
	const char *decode_file; /* print this file instead of a stream */

	const char *dbname; /* or a connection string */
	const char *host;
	const char *port;
	const char *user;
	bool asks_password;
	bool never_asks_password;

	const char *slot;
	const char *file; /* "-" is stdout */
	WhClientFormat format;
	uint64 start_lsn;
	uint64 end_lsn; /* 0: none */
	int noptions;
	const char *option_names[WH_CLIENT_MAX_OPTIONS]; /* of the plugin, "publication" among them */
	const char *option_values[WH_CLIENT_MAX_OPTIONS];
	int status_interval; /* milliseconds; 0: only when asked */
	int fsync_interval; /* milliseconds; 0: only when asked and at the end */
	bool never_loops;
	bool is_verbose;
	bool is_whole; /* streamed transactions are put together */
	bool has_two_phase; /* of the slot, when it is created */
	bool has_failover; /* likewise */
	int heartbeat_interval; /* milliseconds; 0: none */
} WhClientOptions;

/* wh_client_read_options reads the command line, or ends the program with a message. */
extern void wh_client_read_options(int argc, char **argv, WhClientOptions *options);

/* -------- assemble.c: whole transactions out of streamed ones -------- */

typedef struct WhAssembler WhAssembler;

/* Takes a batch; it is gone after the call. */
typedef void (*WhAssembled)(void *arg, WhSlice batch);

extern WhAssembler *wh_client_create_assembler(WhAssembled write, void *arg);
extern void wh_client_free_assembler(WhAssembler *assembler);
extern void wh_client_assemble(WhAssembler *assembler, WhSlice batch);

/* -------- sink.c: where the stream goes -------- */

typedef struct WhSink
{
	FILE *file;
	const char *name;
	WhClientFormat format;
	WhJson *json; /* where the format is JSON */
	WhAssembler *assembler; /* of --whole */
	WhInflated inflated; /* the batch in hand, where it came compressed */
	bool is_regular; /* a file that can be synced and cut */
	bool in_transaction;
	bool has_unsynced;
	uint64 written_lsn; /* all transactions that end at or below it are written */
	uint64 synced_lsn; /* the same, safely on disk */
	int64 good_size; /* of a regular file: up to the end of the last whole transaction */
	uint64 system_identifier; /* of the last Hello; 0: none yet */
} WhSink;

/*
 * wh_client_open_sink opens the file to append to.  What a file holds behind its last whole
 * transaction is cut off, and written_lsn says how far it goes.
 */
extern void wh_client_open_sink(WhSink *sink, const WhClientOptions *options);

/* wh_client_write writes one batch. */
extern void wh_client_write(WhSink *sink, WhSlice batch);

/* wh_client_idle notes that the source has nothing at or below lsn that was not received. */
extern void wh_client_idle(WhSink *sink, uint64 lsn);

/*
 * wh_client_flush hands all to the system; wh_client_sync makes it durable, too, and moves
 * synced_lsn.
 */
extern void wh_client_flush(WhSink *sink);
extern void wh_client_sync(WhSink *sink);

/* wh_client_restart forgets what a broken connection left half written. */
extern void wh_client_restart(WhSink *sink);
extern void wh_client_close_sink(WhSink *sink);

/*
 * wh_client_ended_by returns the position up to which the stream is whole with this entry, when it
 * ends a transaction, or is a message of none; else 0.
 */
extern uint64 wh_client_ended_by(const WhEntry *entry);

/* -------- resume.c: files that have something in them -------- */

/*
 * wh_client_scan_file reads what a file holds, and cuts it behind the last transaction that
 * ended.
 */
extern void wh_client_scan_file(WhSink *sink);

/* wh_client_decode prints a file of delimited batches as the sink has it. */
extern void wh_client_decode(const char *name, WhSink *sink);

/* -------- stream.c: the source -------- */

/*
 * wh_client_connect connects, for replication or for SQL.  Returns NULL where it failed and may
 * fail.
 */
extern PGconn *wh_client_connect(const WhClientOptions *options, bool for_replication,
								 bool may_fail);
extern void wh_client_create_slot(PGconn *conn, const WhClientOptions *options);
extern void wh_client_drop_slot(PGconn *conn, const WhClientOptions *options);

typedef enum WhStreamEnd
{
	WH_STREAM_DONE, /* endpos is reached, or a signal came */
	WH_STREAM_BROKEN, /* the connection or the server has ended it */
	WH_STREAM_HOPELESS /* the same, and trying again will not help */
} WhStreamEnd;

extern WhStreamEnd wh_client_stream(PGconn *conn, const WhClientOptions *options, WhSink *sink);

/* -------- heartbeat.c: what keeps an idle slot going, and measures the way -------- */

typedef struct WhHeartbeat
{
	const WhClientOptions *options;
	PGconn *conn; /* NULL: lost */
	int64 due; /* milliseconds */
	bool is_busy; /* a message is on its way to the source */
} WhHeartbeat;

extern void wh_client_start_heartbeat(WhHeartbeat *heartbeat, const WhClientOptions *options);
extern void wh_client_stop_heartbeat(WhHeartbeat *heartbeat);

/* wh_client_beat sends a message where one is due, and takes what has come for the last one. */
extern void wh_client_beat(WhHeartbeat *heartbeat, int64 now);

/* wh_client_hear_beat says, when verbose, how long a heartbeat in a batch took to come back. */
extern void wh_client_hear_beat(const WhHeartbeat *heartbeat, WhSlice batch);

/* -------- signals.c: of every program here -------- */

extern void wh_client_set_up_signals(void);
/* Readable once the program was asked to end; wh_client_is_stopping says so. */
extern int wh_client_stop_socket(void);
extern bool wh_client_is_stopping(void);
/* wh_client_wait waits so long, or until the program is asked to end. */
extern void wh_client_wait(int milliseconds);

#endif /* WH_CLIENT_H */
