/*
 * feed_private.h
 *		What the files of this room share; of transactions and their rows see spool_private.h.
 */
#ifndef WH_FEED_PRIVATE_H
#define WH_FEED_PRIVATE_H

#include "utils/hsearch.h"

#include "copy/copy.h"
#include "feed/feed.h"
#include "feed/spool_private.h"
#include "source/source.h"

/* feed.c: settings */
extern int wh_feed_batch_rows;
extern int wh_feed_batch_ms;
extern int wh_feed_status_interval; /* ms */
extern int wh_feed_partition_size; /* MB */

/* manage.c: a table by its name at the source; raises when the feed has none. */
extern WhFeedTable *wh_feed_find_table(const WhFeed *feed, const char *name);
/* mirror.c: the models that read a table's mirror, and what drops them; NULL: there are none. */
extern char *wh_mirror_readers(const WhFeedTable *table, char **drops);

/* -------- ingest.c -------- */

/* A definition that the stream brought. */
typedef struct WhDefinition
{
	int32 schema; /* hash key */
	Oid relid;
	WhSlice packed; /* a Relation message */
	WhTarget *target; /* NULL: not a table of the feed */
	WhReader *reader; /* NULL: not made yet */
	bool is_settled; /* mirror and log fit it */
} WhDefinition;

typedef struct WhIngest
{
	const WhFeed *feed;
	List *transactions; /* of WhTransaction *: one large one, or several */
	WhDefinition *(*definition)(void *stream, int32 schema);
	void *stream;
	void (*breathe)(void *stream); /* called now and then: a large transaction takes its time */
	int source_encoding;
	MemoryContext chunk; /* empty; keeps some of its memory from one ingest to the next */
	TimestampTz clock; /* in: the feed's clock; out: the new one */
	const List *ahead; /* see ahead.c */
	TimestampTz source_time; /* of the last message */
	uint64 logged; /* out: rows in the log */
	WhTarget *current; /* the table at work, for errors */
} WhIngest;

/* Does steps 2 to 6 but the position, in the current subtransaction; body for wh_txn_try. */
extern void wh_ingest(void *ingest);

/* -------- relation.c -------- */

/* What the stream said of a table, in the form that the changelog room compares; relation is a
 * Walhouse__V1__Relation. */
extern WhSourceTable *wh_relation_describe(const void *relation, const WhFeedTable *table);

/* -------- stream.c, receive.c, batch.c, definitions.c: an open stream -------- */

#define WH_CONFIRM_SLOTS 64

struct WhStream
{
	WhFeed *feed;
	MemoryContext context; /* all below; NULL once it is closed */
	PGconn *conn;
	int source_encoding;
	XLogRecPtr position; /* committed here */
	TimestampTz clock;
	XLogRecPtr received; /* where the last message stands in the source's WAL */
	XLogRecPtr source_lsn; /* as far as the source said that its WAL goes */
	XLogRecPtr idle_lsn; /* nothing for us up to here, beyond what was ingested */
	TimestampTz source_time; /* of the last message */
	HTAB *definitions;
	WhTransaction
		*current; /* that entries belong to now: one whose commit has not come, or one of open */
	List *open; /* of WhTransaction *: streamed ones that are neither committed nor aborted */
	Size spooled; /* bytes that all transactions have in memory */
	uint64 streamed; /* transactions that came in segments, since the stream was opened */
	uint64 spilled; /* those that went to a file */
	uint64 spilled_bytes;
	WhInflated inflated; /* the last batch that was compressed */
	List *complete; /* of WhTransaction *: to be ingested */
	int64 complete_changes;
	Size complete_bytes;
	TimestampTz complete_since;
	MemoryContext chunk; /* of images, while an ingest runs */
	MemoryContext target_context;
	List *targets; /* of WhTarget * */
	uint64 generation; /* that the targets were read at */
	uint64 ingests;
	XLogRecPtr pruned; /* positions below were removed in this session */
	bool session_is_durable; /* the session row is committed and flushed */
	/* positions that are committed, and the local WAL that must be flushed before they are
	 * confirmed */
	XLogRecPtr confirm_source[WH_CONFIRM_SLOTS];
	XLogRecPtr confirm_local[WH_CONFIRM_SLOTS];
	int confirms;
	XLogRecPtr confirmed;
	XLogRecPtr reported; /* what the source was told last */
	TimestampTz reported_at;
	TimestampTz heard; /* when the last message came */
	int64 waited; /* for the source, µs */
	bool gathers; /* wh_feed_gather */
	TimestampTz urged_at; /* it last wanted a reply */
	bool is_urged; /* it wanted another one at once */
	TimestampTz idle_stored_at;
	TimestampTz asked_at;
	bool is_asked; /* the source, how far it is; its answer has not come */
	WhCopier copier;
	List *ahead; /* see ahead.c, */
	uint64 ahead_generation; /* as known at */
};

/* -------- ahead.c: what resync_table has logged above the position -------- */

/* The stream's list of it, looked at again when the catalog changed. */
extern const List *wh_ahead_of(WhStream *stream);
/* The feed's clock where it was `clock`, at an LSN behind some of them. */
extern TimestampTz wh_ahead_clock(const List *ahead, XLogRecPtr lsn, TimestampTz clock);
/* The next one's LSN; InvalidXLogRecPtr: none is above the position. */
extern XLogRecPtr wh_ahead_next(const WhStream *stream);

extern void wh_stream_init(void);
/* receive.c: takes a message's entries, and libpq's buffer. */
extern void wh_stream_take_message(WhStream *stream, char *buffer, int start, int len);
/* Frees all transactions that were not ingested. */
extern void wh_stream_discard(WhStream *stream);
/* Ingests what is complete, or as much as may go into one transaction. */
extern void wh_stream_ingest(WhStream *stream);
/* Tells the source that somebody is there, when it is time; raises nothing. */
extern void wh_stream_breathe(void *stream);
/* Stores a position that nothing was logged for. */
extern void wh_stream_store_idle(WhStream *stream);
/* Remembers that a position was committed just now. */
extern void wh_stream_note_commit(WhStream *stream, XLogRecPtr position);
extern WhDefinition *wh_stream_definition(void *stream, int32 schema);
/* Reads the feed's tables again when the catalog changed; definitions are to be looked at again
 * then. */
extern void wh_stream_load_targets(WhStream *stream);
/* definitions.c: brings mirrors to what a transaction leaves of definitions; true when something
 * was committed for it, or, with only_look, when something would have to be looked at. */
extern bool wh_stream_settle(WhStream *stream, WhTransaction *txn, bool only_look);
/* Whether a transaction's changes under a definition are to be ingested. */
extern bool wh_stream_wants(const WhTransaction *txn, const WhDefinition *definition);
/* Finds the table that a definition is about. */
extern void wh_stream_connect_definition(WhStream *stream, WhDefinition *definition);

#endif /* WH_FEED_PRIVATE_H */
