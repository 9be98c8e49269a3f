/*
 * changelog.h
 *		Feeds as the catalog knows them, their change logs, mirrors and positions.
 *
 * Per feed two schemas: <feed> holds the mirrors, <feed>_log the change logs and txn.  A log row
 * is (lsn pg_lsn, seq bigint, op "char", columns…), partitioned by lsn; lsn is the end LSN of the
 * source transaction. Rows sort by (lsn, seq, op).  Ops: B the row as it was, once per key and
 * source transaction, before its first change; D the key alone; I and U the whole new image; T
 * truncate, after a B for every row.  A key change is B(old), D(old), I(new).
 */
#ifndef WH_CHANGELOG_H
#define WH_CHANGELOG_H

#include "access/sdir.h"
#include "access/skey.h"
#include "access/xlogdefs.h"
#include "executor/tuptable.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"
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
	bool owns_publication; /* made by create_feed, dropped by drop_feed */
	uint64 log_partition_size; /* bytes of WAL */
	char *source_system_id; /* where it may run; NULL before the slot is there */
	int32 source_timeline;
	Oid source_database;
	char *house_system_id;
	int32 house_timeline;
	Oid house_database;
	int64 lsn_offset; /* position minus LSN of the source, at least 0 */
	XLogRecPtr resync_lsn; /* a resync is not at its end; InvalidXLogRecPtr: none is under way */
} WhFeed;

/* Of indexes that are written in runs (tree.c): what is equal is one entry already, or is a version
 * that goes soon, and nbtree would go through each full leaf for more of it before it splits it. */
#define WH_INDEX_OPTIONS " WITH (deduplicate_items = off)"

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
	bool has_mirror; /* else the mirror is empty, and changes are logged alone */
	XLogRecPtr mirrored_from; /* changes at or below are logged alone, beside what the copy did */
	XLogRecPtr compared_lsn; /* changes at or below are in mirror and log, as what differed there */
	bool has_strayed; /* the mirror was not what a change was about */
	char *row_filter; /* of the publication, SQL; NULL: none */
	bool has_column_list; /* of the publication */
	bool log_key_index; /* the log has an index by the key */
	char *definition; /* at the source, see wh_changelog_definition(); NULL: not known */
	bool is_copied; /* by chunks, and that has begun: the mirror has a part of the rows */
} WhFeedTable;

/* A row of walhouse.feed_column. */
typedef struct WhFeedColumn
{
	int attnum; /* at the source */
	char *source_name;
	char *source_type; /* as wh_changelog_source_type() writes it */
	Oid type; /* type of log and mirror column in this database */
	char *log_column;
	char *mirror_column;
	bool dropped; /* at the source: NULL from then on */
} WhFeedColumn;

/* feeds.c: reading the catalog.  Results live in the caller's context. */
extern WhFeed *wh_changelog_feed(const char *name, bool missing_ok);
extern WhFeed *wh_changelog_feed_by_id(int32 feed_id, bool missing_ok);
extern List *wh_changelog_tables(int32 feed_id); /* of WhFeedTable * */
extern WhFeedTable *wh_changelog_table(int32 feed_id, Oid source_relid); /* NULL: there is none */
/* The table whose mirror this is; NULL when the relation is no mirror. */
extern WhFeedTable *wh_changelog_table_of_mirror(Oid mirror);

/*
 * wh_changelog_position returns the feed's position and clock as the snapshot sees them;
 * InvalidXLogRecPtr before the first.  clock may be NULL.
 */
extern XLogRecPtr wh_changelog_position(int32 feed_id, TimestampTz *clock);

/* The feed clock at a position, as the log has it: the greatest at or below it. */
extern TimestampTz wh_changelog_clock(const WhFeed *feed, XLogRecPtr position);

/* The feed's table of transactions, <feed>_log.txn (end_lsn, xid, commit_time, origin, clock,
 * inserts, updates, deletes, truncates, context). */
extern Oid wh_changelog_txn_relid(const WhFeed *feed);

/* touched.c: whether the log has anything of a table in (from, to]; by one probe of an index for
 * each of its partitions. */
extern bool wh_changelog_is_touched(const WhFeedTable *table, XLogRecPtr from, XLogRecPtr to);

extern void wh_changelog_init(void);

/* -------- what a source says of a table, in the snapshot or in the stream -------- */

typedef struct WhSourceColumn
{
	int attnum;
	char *name;
	Oid type; /* OID at the source; the same here for built-in types */
	int32 typmod;
	char *type_schema;
	char *type_name;
	char type_kind; /* pg_type.typtype */
	Oid base_type; /* of a domain: the type at its bottom */
	char *missing_default; /* text; NULL: none */
	char *type_text; /* format_type() */
	char *type_detail; /* labels of an enum, attributes of a composite type; NULL: neither */
	bool is_not_null;
	bool is_generated;
} WhSourceColumn;

typedef struct WhSourceTable
{
	Oid relid;
	char *schema;
	char *name;
	List *columns; /* of WhSourceColumn *, by attnum */
	List *key; /* of int */
	const char *identity; /* default, nothing, full, index */
	/* of the publication, known in the snapshot alone: */
	char *row_filter;
	bool has_column_list;
	/* of the feed's role at the source: */
	bool may_read_ctid;
} WhSourceTable;

/* types.c */

/*
 * wh_changelog_local_type gives the type that a source column has in log and mirror; *is_text
 * says that its text is kept because this database has no such type.
 */
extern Oid wh_changelog_local_type(const WhSourceColumn *column, bool *is_text);

/* The definition of a column's type in one comparable text: schema.name(typmod). */
extern char *wh_changelog_source_type(const WhSourceColumn *column);

/* -------- create.c: in the caller's transaction, as the feed's owner -------- */

extern void wh_changelog_create_schemas(const WhFeed *feed);
/* Makes mirror and log and the catalog rows, in state copy. */
extern void wh_changelog_create_table(const WhFeed *feed, const WhSourceTable *table);
/* Drops a table's mirror and log, and its catalog rows; what is gone already is passed over. */
extern void wh_changelog_drop_table(const WhFeed *feed, const WhFeedTable *table);
/* Drops logs, mirrors, schemas (those that are empty then) and catalog rows; what is gone already
 * is passed over. */
extern void wh_changelog_drop(const WhFeed *feed);

/* -------- evolve.c -------- */

/*
 * wh_changelog_evolve brings mirror, log and feed_column to a definition that the stream brought.
 * Returns NULL when that is done or nothing was to do, and else why the table must be copied
 * again: nothing was changed then.
 */
extern char *wh_changelog_evolve(const WhFeed *feed, const WhFeedTable *table,
								 const WhSourceTable *source);
/* Makes mirror and log fit a definition, whatever it is, for a table that is copied again; the
 * mirror is empty. */
extern void wh_changelog_redefine(const WhFeed *feed, const WhFeedTable *table,
								  const WhSourceTable *source);

/* -------- definition.c: what changed at the source -------- */

/* A source's change of a definition, or several that one transaction made. */
typedef struct WhSchemaChange
{
	XLogRecPtr lsn;
	uint32 xid; /* 0: not known */
	TimestampTz commit_time; /* valid with xid */
	const char *action; /* resync, ended, nothing; NULL: followed, where there was anything to do */
	const char *reason; /* NULL: none */
} WhSchemaChange;

/* A table's definition as JSON, in the current context; equal texts are equal definitions. */
extern char *wh_changelog_definition(const WhSourceTable *source);
/* Adds to walhouse.schema_change how a definition differs from the one that is known, and makes it
 * the known one. */
extern void wh_changelog_note_definition(const WhFeedTable *table, const WhSourceTable *source,
										 const WhSchemaChange *change);
/* Makes it the known one. */
extern void wh_changelog_store_definition(int32 feed_id, const WhSourceTable *source);
/* Adds one row; schema and name are the table's.  What stands there already is not added again. */
extern void wh_changelog_note_change(int32 feed_id, Oid source_relid, const char *schema,
									 const char *name, const WhSchemaChange *change,
									 const char *kind, const char *before, const char *after);

/* -------- state.c: catalog writes -------- */

/* sync_lsn is kept when InvalidXLogRecPtr is given; error may be NULL. */
extern void wh_changelog_set_table_state(const WhFeedTable *table, const char *state,
										 XLogRecPtr sync_lsn, const char *error);
/*
 * wh_changelog_set_mirror says whether a table's mirror is kept; switched on, from which LSN on the
 * copy has the rows, and whether what comes below is to be logged.
 */
extern void wh_changelog_set_mirror(const WhFeedTable *table, bool on, XLogRecPtr from);
/* Says whether a table's mirror is in doubt. */
extern void wh_changelog_set_strayed(const WhFeedTable *table, bool strayed);
/* What differed at the source at an LSN is in mirror and log: the table is ready behind it. */
extern void wh_changelog_set_compared(const WhFeedTable *table, XLogRecPtr lsn);
extern void wh_changelog_store_position(int32 feed_id, XLogRecPtr position, TimestampTz clock);
/* Removes the positions in [from, before). */
extern void wh_changelog_prune_positions(int32 feed_id, XLogRecPtr from, XLogRecPtr before);
/* Grows whenever feed_table or feed_column changed: who caches them compares. */
extern uint64 wh_changelog_generation(void);
/* Has everybody look again. */
extern void wh_changelog_invalidate(void);

/* -------- keyindex.c: the index of a log by its table's key -------- */

extern char *wh_changelog_key_index_name(const WhFeedTable *table);
extern Oid wh_changelog_log_key_index(const WhFeedTable *table); /* InvalidOid: there is none */
extern void wh_changelog_set_key_index(const WhFeedTable *table, bool on);
/* Drops it, if there is one, as the feed's owner. */
extern void wh_changelog_drop_key_index(const WhFeed *feed, const WhFeedTable *table);

/* -------- append.c: rows into log, txn and mirror -------- */

/* The partition of a log that holds lsn; InvalidOid when there is none yet. */
extern Oid wh_changelog_partition(const WhFeed *feed, Oid log, XLogRecPtr lsn);
/* The LSNs [*from, *to) whose rows are in one partition with those of lsn. */
extern void wh_changelog_partition_range(const WhFeed *feed, XLogRecPtr lsn, XLogRecPtr *from,
										 XLogRecPtr *to);
/* Makes it, in the caller's transaction, which should be short, as the feed's owner. */
extern void wh_changelog_make_partition(const WhFeed *feed, Oid log, XLogRecPtr lsn);

/* An open relation that rows are added to; lives in the current transaction and memory context. */
typedef struct WhAppend WhAppend;

extern WhAppend *wh_changelog_append_open(Oid relid);
extern Relation wh_changelog_append_relation(WhAppend *append);
/* Whether heap and indexes of plain columns are all there is to a row; else the executor writes
 * it. */
extern bool wh_changelog_append_is_plain(const WhAppend *append);
/* Values must live until the flush: rows are kept and inserted by the hundreds. */
extern void wh_changelog_append(WhAppend *append, const Datum *values, const bool *nulls);
/* The same in two steps: the caller fills the values of the slot that it gets. */
extern TupleTableSlot *wh_changelog_append_next(WhAppend *append);
extern void wh_changelog_append_done(WhAppend *append);
extern void wh_changelog_append_flush(WhAppend *append);
/* The index of a mirror's key. */
extern Oid wh_changelog_key_index(Oid mirror);
/* Changes and removes the row at a TID that the caller has found; its key stays. */
extern void wh_changelog_update_row(WhAppend *append, ItemPointer tid, const Datum *values,
									const bool *nulls);
extern void wh_changelog_delete_row(WhAppend *append, ItemPointer tid);
extern void wh_changelog_append_close(WhAppend *append);

/* -------- probe.c: rows by their key -------- */

/*
 * A probe finds rows of a heap by the first `count` columns of a B-tree, each equal to a value that
 * is not NULL, as an index scan with these keys would, in the same order; fastest where keys come
 * in order.  Lives in the current context, until wh_probe_close; the keys stay the caller's.
 */
typedef struct WhProbe WhProbe;

extern WhProbe *wh_probe_open(Relation heap, Relation index, ScanKey keys, int count,
							  Snapshot snapshot, ScanDirection direction);
/* Looks for the arguments that the keys have now. */
extern void wh_probe_find(WhProbe *probe);
/* Gives its rows one by one; false, with an empty slot, when there are no more. */
extern bool wh_probe_next(WhProbe *probe, TupleTableSlot *slot);
extern void wh_probe_close(WhProbe *probe);

#endif /* WH_CHANGELOG_H */
