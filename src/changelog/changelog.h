/*
 * changelog.h
 *		Feeds as the catalog knows them, their change logs, mirrors and positions.
 *
 * Per feed two schemas: <feed> holds the mirrors, <feed>_log the change logs and txn.  A log row is
 * (lsn pg_lsn, seq bigint, op "char", columns…), partitioned by lsn; lsn is the end LSN of the source transaction.
 * Rows sort by (lsn, seq, op).  Ops: B the row as it was, once per key and source transaction, before its first change;
 * D the key alone; I and U the whole new image; T truncate, after a B for every row.  A key change is B(old), D(old), I(new).
 */
#ifndef WH_CHANGELOG_H
#define WH_CHANGELOG_H

#include "access/xlogdefs.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"
#include "utils/timestamp.h"

/* A row of walhouse.feed. */
typedef struct WhFeed
{
	int32 id;
	char *name;
	Oid owner;
	char *server; /* foreign server */
	char *slot;
	char *publication;
	char *time_zone;
	char *state; /* creating, ready, dropping */
	bool enabled; /* start() was called */
	XLogRecPtr horizon; /* the slot's consistent point */
} WhFeed;

/* A row of walhouse.feed_table. */
typedef struct WhFeedTable
{
	int32 feed_id;
	Oid source_relid; /* OID at the source */
	char *source_schema;
	char *source_name;
	Oid mirror;
	Oid log;
	char *state; /* copy, ready, resync */
	XLogRecPtr sync_lsn; /* changes at or below are in the mirror by the copy, and not in the log */
	List *columns; /* of WhFeedColumn *, by attnum */
	List *key; /* of int: attnums of the key, in index order */
} WhFeedTable;

/* A row of walhouse.feed_column. */
typedef struct WhFeedColumn
{
	int attnum; /* at the source */
	char *source_name;
	Oid type; /* type of log and mirror column in this database */
	char *log_column;
	char *mirror_column;
	bool dropped; /* at the source: NULL from then on */
} WhFeedColumn;

/* feeds.c: reading the catalog.  Results live in the caller's context. */
extern WhFeed *wh_changelog_feed(const char *name, bool missing_ok);
extern WhFeed *wh_changelog_feed_by_id(int32 feed_id, bool missing_ok);
extern List *wh_changelog_tables(int32 feed_id); /* of WhFeedTable * */
/* The table whose mirror this is; NULL when the relation is no mirror. */
extern WhFeedTable *wh_changelog_table_of_mirror(Oid mirror);

/*
 * wh_changelog_position returns the feed's position and clock as the snapshot sees them; InvalidXLogRecPtr before the
 * first.  clock may be NULL.
 */
extern XLogRecPtr wh_changelog_position(int32 feed_id, TimestampTz *clock);

/* The feed's table of transactions, <feed>_log.txn (end_lsn, xid, commit_time, origin, clock). */
extern Oid wh_changelog_txn_relid(const WhFeed *feed);

#endif /* WH_CHANGELOG_H */
