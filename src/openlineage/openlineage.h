/*
 * openlineage.h
 *		What the files of walhouse_openlineage share.
 */
#ifndef WH_OPENLINEAGE_H
#define WH_OPENLINEAGE_H

#include "postgres_fe.h"

#include "libpq-fe.h"

typedef struct WhOpenlineageOptions
{
	const char *conninfo; /* of the warehouse's database */
	const char *url; /* where events are posted to */
	const char *key; /* sent as a bearer token; NULL: none */
	const char *state_file; /* NULL: nothing is kept */
	const char *name_space; /* of the warehouse's datasets; NULL: the server's */
	int64 since; /* where feeds begin that the state file does not name */
	int interval_ms; /* between looks at the warehouse; 0: one look alone */
	int timeout_ms; /* of one request */
	int max_wait_ms; /* between tries of one request */
	bool skips_refused;
	bool is_verbose;
} WhOpenlineageOptions;

typedef enum WhOpenlineageAnswer
{
	WH_OPENLINEAGE_TAKEN,
	WH_OPENLINEAGE_REFUSED, /* for good: the event does not please */
	WH_OPENLINEAGE_FAILED /* for now: try again */
} WhOpenlineageAnswer;

/* options.c: exits when they are wrong */
extern void wh_openlineage_read_options(int argc, char **argv, WhOpenlineageOptions *options);

/* How far a feed's loads were posted: the greatest walhouse.load.recorded of which all events were
 * taken. */
typedef struct WhOpenlineagePosition
{
	int feed_id;
	int64 recorded;
} WhOpenlineagePosition;

/* state.c: the positions of all feeds */
extern void wh_openlineage_read_state(const WhOpenlineageOptions *options);
/* The position of a feed, which begins at options->since. */
extern WhOpenlineagePosition *wh_openlineage_position(const WhOpenlineageOptions *options,
													  int feed_id);
extern void wh_openlineage_write_state(const WhOpenlineageOptions *options);

/* http.c */
extern void wh_openlineage_http_init(const WhOpenlineageOptions *options);
/* Posts one event; *reason (static) says why it was not taken. */
extern WhOpenlineageAnswer wh_openlineage_send(const char *event, const char **reason);
extern void wh_openlineage_http_end(void);

/* events.c: posts what is new of every feed; false: the connection was lost, or events cannot be
 * read */
extern bool wh_openlineage_events(PGconn *conn, const WhOpenlineageOptions *options);

#endif /* WH_OPENLINEAGE_H */
