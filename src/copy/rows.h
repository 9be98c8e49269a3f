/*
 * rows.h
 *		A table of a feed as ingest sees it, and its rows by key.
 */
#ifndef WH_COPY_ROWS_H
#define WH_COPY_ROWS_H

#include "access/tupdesc.h"
#include "access/xlogdefs.h"
#include "executor/tuptable.h"

#include "changelog/changelog.h"

/* -------- target.c: a table of the feed, as ingest sees it -------- */

typedef struct WhTarget
{
	WhFeedTable *table;
	TupleDesc desc; /* the mirror's */
	TupleDesc log_desc;
	int *log_attno; /* mirror column -> log column, both from 0; -1: none */
	int log_natts;
	int *mirror_attno; /* by source attnum: mirror column from 0; -1: none */
	int max_attnum;
	int nkeys;
	int *key; /* mirror columns, from 0 */
	bool is_ready; /* changes are wanted */
	XLogRecPtr partition_from; /* LSNs whose partition of the log is known to be there, */
	XLogRecPtr partition_to; /* while one batch is prepared */
	uint32 met; /* how many keys the last ingest met */
} WhTarget;

/* Both live in the current context, until the catalog's generation changes. */
extern List *wh_target_open_all(const WhFeed *feed);
extern WhTarget *wh_target_open(WhFeedTable *table);
/* What an ingest does with the changes of a source transaction. */
typedef enum WhWant
{
	WH_WANT_NOTHING,
	WH_WANT_COPY, /* the table is being copied: see copied.c */
	WH_WANT_LOG, /* the mirror is off: log them, with the rows as they were from the stream */
	WH_WANT_ALL
} WhWant;

extern WhWant wh_target_want(const WhTarget *target, XLogRecPtr end_lsn);
/* Changes at or below are in the mirror by a copy or a comparison, and are skipped. */
extern XLogRecPtr wh_target_begin(const WhFeedTable *table);
extern bool wh_target_exists(const WhFeedTable *table); /* mirror and log are both there */
/* Whether a relation has the columns that it had when its target was opened. */
extern bool wh_target_has_columns(Relation rel, TupleDesc desc);
/* Mirror and log, which are there, are not as ingest needs them. */
extern bool wh_target_is_altered(const WhFeedTable *table);
/* Whether the first columns of a log, and those of txn, have the types that ingest writes. */
extern bool wh_target_fits_log(Oid log);
extern bool wh_target_fits_txn(Oid txn);

/* -------- keymap.c: the rows of a table that an ingest touches -------- */

/* A row of a mirror: values of its columns. */
typedef struct WhImage
{
	Datum *values;
	bool *nulls;
	bool *unchanged; /* TOAST that was not sent; NULL: none */
} WhImage;

extern WhImage *wh_image_create(int natts);

/* A key, and what becomes of its row. */
typedef struct WhRow
{
	Datum *key;
	bool in_mirror; /* at tid */
	ItemPointerData tid;
	WhImage *image; /* the row now; NULL: there is none */
	XLogRecPtr touched; /* end_lsn of the source transaction that changed it last */
	bool is_changed; /* since it was read */
} WhRow;

typedef struct WhKeymap WhKeymap;

extern WhKeymap *wh_keymap_open(const WhTarget *target, Relation mirror);
/* Returns how many keys the map had before it was emptied last. */
extern uint32 wh_keymap_close(WhKeymap *map);
/* Empties the map; rows live in the context that is current when they are found. */
extern void wh_keymap_reset(WhKeymap *map);
/* Empties it, but for which keys a transaction has touched: for one by chunks whose rows cannot be
 * kept in the mirror meanwhile. */
extern void wh_keymap_reset_to_touched(WhKeymap *map, XLogRecPtr txn_lsn);
/*
 * wh_keymap_find returns the row of a key, read from the mirror on first sight; with is_new it is
 * not looked for there, because the source says that it is new and the mirror's index will tell
 * otherwise.  txn_lsn marks rows that this very source transaction wrote in an earlier chunk.
 */
extern WhRow *wh_keymap_find(WhKeymap *map, const WhImage *image, bool is_new, XLogRecPtr txn_lsn);
extern bool wh_keymap_same_key(WhKeymap *map, const WhImage *a, const WhImage *b);
/* Whether two images of a table have the same values, byte for byte but for TOAST. */
extern bool wh_keymap_same_image(const WhTarget *target, const WhImage *a, const WhImage *b);
extern List *wh_keymap_rows(WhKeymap *map); /* of WhRow *, in order of first sight */
extern char *wh_keymap_describe(WhKeymap *map, const WhImage *image); /* a key for an error */
/* The image of a mirror's row, in the current context; *tid where it is. */
extern WhImage *wh_keymap_image(const WhTarget *target, TupleTableSlot *slot, ItemPointer tid,
								bool *is_own);

#endif /* WH_COPY_ROWS_H */
