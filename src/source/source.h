/*
 * source.h
 *		A feed's source: connections, who it is, what it has, and its slot.
 */
#ifndef WH_SOURCE_H
#define WH_SOURCE_H

#include "libpq-fe.h"

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"

#include "base/compat.h"
#include "changelog/changelog.h"

extern int wh_feed_slot_timeout; /* ms */

/* Whether the feed's role may read rows of table c by their place. */
#define WH_SOURCE_MAY_READ_CTID "pg_catalog.has_column_privilege(c.oid, 'ctid', 'SELECT')"

extern void wh_source_init(void);

/* -------- connect.c: connections to sources; all are closed when the transaction aborts --------
 */

/* A result of the source in the caller's context: text, NULL for NULL. */
typedef struct WhResult
{
	int rows;
	int columns;
	char **values;
} WhResult;

#define wh_result_value(result, row, column) \
	((result)->values[(row) * (result)->columns + (column)])

extern PGconn *wh_connect(const WhFeed *feed, bool for_replication);
extern void wh_disconnect(PGconn *conn);
/* An option of the feed's server as it was given; NULL: it was not. */
extern const char *wh_server_option(const WhFeed *feed, const char *name);
/* Says whether a connection is open still: an abort closes all. */
extern bool wh_connect_is_open(PGconn *conn);

/* wh_source_send starts a statement; wh_source_finish waits for its result, false after
 * timeout_ms (-1: none). */
extern void wh_source_send(PGconn *conn, const char *sql);
extern bool wh_source_finish(PGconn *conn, const char *sql, long timeout_ms, WhResult **result);
extern WhResult *wh_source_query(PGconn *conn, const char *sql);
/* An LSN that came as text. */
extern XLogRecPtr wh_source_lsn(const char *value);
/* A position as an LSN of the source: the other way of wh_feed_lsn(). */
extern XLogRecPtr wh_feed_lsn_at_source(const WhFeed *feed, XLogRecPtr lsn);
/* Starts COPY TO STDOUT or replication; raises when the source does not answer with one. */
extern void wh_source_copy(PGconn *conn, const char *sql, ExecStatusType expected);
/*
 * wh_source_receive takes the next CopyData: its length, 0 when nothing came in timeout_ms or the
 * latch was set, -1 at the end.  Free *buffer with PQfreemem.
 */
extern int wh_source_receive(PGconn *conn, char **buffer, long timeout_ms);
pg_noreturn extern void wh_source_error(PGconn *conn, PGresult *result, const char *sql);

/*
 * An LSN of the source as a position of the feed: they differ once the feed went on from a source
 * whose LSNs are lower (copy/resync.c).  InvalidXLogRecPtr stays what it is.
 */
extern XLogRecPtr wh_feed_lsn(const WhFeed *feed, XLogRecPtr source_lsn);

/* -------- identity.c: who the source is, and who we are -------- */

typedef struct WhIdentity
{
	char *system_id;
	int32 timeline;
	Oid database;
} WhIdentity;

extern WhIdentity wh_source_identity(PGconn *replication);
extern WhIdentity wh_house_identity(void);
extern void wh_feed_store_identity(const WhFeed *feed, const WhIdentity *source,
								   const WhIdentity *house);
/* Raises, with the hint walhouse.takeover, when this is not the warehouse that a feed was made
 * in. */
extern void wh_feed_check_house(const WhFeed *feed);
/* Raises, with a hint, when a feed may not run here. */
extern void wh_feed_check_identity(const WhFeed *feed, const WhIdentity *source);
/* Compares the slot with the feed's position and raises, naming the choice, when they do not fit.
 */
extern void wh_feed_check_slot(const WhFeed *feed, PGconn *plain, XLogRecPtr position);
/* Raises while a resync of the feed has begun and is not at its end, as committed now. */
extern void wh_feed_check_resync(const WhFeed *feed);
/* Whether the source is this very database. */
extern bool wh_source_is_own_database(PGconn *plain);

/* -------- describe.c, check.c: what the source has -------- */

/* The tables of a feed's publication, with columns and key; `relid` other than InvalidOid: that
 * one alone. */
extern List *wh_source_tables(const WhFeed *feed, PGconn *plain, bool is_own_database, Oid relid);
/* Checks a source for create_feed; raises one error that names all that is missing.  Makes no
 * change. */
extern void wh_source_check(const WhFeed *feed, PGconn *plain, List *wanted_tables,
							bool is_own_database, bool failover);
/* The same for a table that is to be added, or the partitions of one. */
extern void wh_source_check_addition(const WhFeed *feed, PGconn *plain, const char *table);
/* A condition over n and c: a table by its name, or a partition of it. */
extern char *wh_source_named(const char *table);
/* Raises unless a table has replica identity FULL */
extern void wh_mirror_check_identity(PGconn *plain, const WhFeed *feed, const WhFeedTable *table);

/* -------- slot.c -------- */

typedef enum WhSlotKind
{
	WH_SLOT_PLAIN,
	WH_SLOT_FAILOVER, /* 17: kept on the source's standbys, too */
	WH_SLOT_TEMPORARY
} WhSlotKind;

/* Makes a slot; returns its consistent point, as a position; *snapshot is exported until the
 * connection's next command. */
extern XLogRecPtr wh_slot_create(const WhFeed *feed, PGconn *replication, PGconn *plain,
								 const char *slot, WhSlotKind kind, char **snapshot);
/* Drops the feed's slot, if it is there, once nobody reads it. */
extern void wh_slot_drop(const WhFeed *feed, PGconn *plain);
/* Starts a transaction of the plain connection that sees an exported snapshot. */
extern void wh_snapshot_use(PGconn *plain, const char *snapshot);

/* -------- source.c -------- */

/* What time it is at the source. */
extern TimestampTz wh_source_time(PGconn *plain);
/* Takes the stream lock, or raises; a patient caller waits for a worker that tries in vain. */
extern void wh_feed_take_stream(const WhFeed *feed, bool is_patient);
/* Waits, and takes interrupts. */
extern void wh_feed_pause(long milliseconds);

/* -------- diagnose.c, foreign.c -------- */

/* What is wrong with a feed at its source. */
typedef struct WhFeedProblem
{
	const char *code;
	const char *severity; /* error, warning or notice */
	const char *object; /* slot, table, …; NULL: the source */
	char *text;
	char *remedy; /* SQL; NULL: none */
	TimestampTz since; /* 0: not known */
} WhFeedProblem;

/*
 * wh_feed_diagnose asks a source, with the owner's user mapping, what keeps the feed from going
 * on, or will: of WhFeedProblem *.  Changes nothing.  A source that does not answer is a problem,
 * too.
 */
extern List *wh_feed_diagnose(WhFeed *feed);

/* A foreign key in the source's database; attnums as array literals. */
typedef struct WhForeignKey
{
	Oid relid;
	char *attnums;
	Oid refers_to;
	char *refers_to_attnums;
} WhForeignKey;

/* Those of all tables there, of WhForeignKey *; connects with the owner's user mapping. */
extern List *wh_feed_foreign_keys(const WhFeed *feed);

#endif /* WH_SOURCE_H */
