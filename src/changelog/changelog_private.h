/*
 * changelog_private.h
 *		What the files of this room share.
 */
#ifndef WH_CHANGELOG_PRIVATE_H
#define WH_CHANGELOG_PRIVATE_H

#include "access/itup.h"
#include "nodes/execnodes.h"
#include "storage/block.h"
#include "storage/buf.h"

#include "base/base.h"
#include "changelog/changelog.h"

/* create.c */
extern char *wh_changelog_log_schema(const WhFeed *feed);
extern Oid wh_changelog_schema_oid(const char *name); /* InvalidOid when there is none */
/* A name for a log column: the source's, unless the log has one of that name. */
extern char *wh_changelog_log_column(Oid log, const char *name);
extern void wh_changelog_insert_column(const WhFeed *feed, Oid source_relid,
									   const WhSourceColumn *column, const char *log_column,
									   const char *mirror_column, bool is_text);

/* Owner of a relation, and the index of its primary key (InvalidOid: none). */
extern Oid wh_changelog_owner(Oid relid);

/* types.c */
/* A type's name for a column's definition, without a modifier. */
extern char *wh_changelog_type_name(Oid type);
/* Whether a column of one type holds the values of another as they are, and whether each value of
 * one type is one of another, wider one. */
extern bool wh_changelog_type_fits(Oid have, Oid want);
extern bool wh_changelog_type_widens(Oid have, Oid want);

/* views.c */
/* Drops the views with queries of models that read a mirror, and makes them again by their text. */
extern WhRows *wh_changelog_drop_queries(const WhFeedTable *table);
extern void wh_changelog_make_queries(const WhRows *queries);

/* state.c */
extern void wh_changelog_state_init(void);

/* -------- tree.c: entries of B-trees -------- */

typedef struct WhTree WhTree;

/*
 * wh_tree_open prepares an index of a heap that is open for writing; NULL when its entries are to
 * be inserted by index_insert() alone.  Lives in the current context; needs no closing.
 */
extern WhTree *wh_tree_open(Relation heap, Relation index, const IndexInfo *info);

/* An entry for a row whose TID is not known yet, in the current context; values are the index's
 * columns. */
extern IndexTuple wh_tree_entry(const WhTree *tree, Datum *values, bool *nulls);

/*
 * wh_tree_insert inserts entries, whose TIDs are set by now; info is what index_insert() wants.
 * It may change the order of the array.  What it raises is what index_insert() raises.
 */
extern void wh_tree_insert(WhTree *tree, IndexTuple *entries, int count, IndexInfo *info);

/* Inserts entries for rows that keep their values of a unique index; the same promises. */
extern void wh_tree_update(WhTree *tree, IndexTuple *entries, int count, IndexInfo *info);

/* -------- posting.c: entries of equal keys -------- */

/* wh_posting_join makes one of entries side by side, where the index may have such; their number is
 * what it returns. */
extern int wh_posting_join(IndexTuple *entries, int count);
/* The rows of an entry. */
extern int wh_posting_tids(IndexTuple entry, ItemPointer *tids);

/* -------- grow.c: files that grow by many pages at a time -------- */

/* A heap or a B-tree that is written to. */
typedef struct WhGrowth
{
	Relation rel;
	BlockNumber length; /* when it was looked at last */
} WhGrowth;

extern void wh_growth_begin(WhGrowth *growth, Relation rel);
/* wh_growth_follow looks how much it has grown since, after some hundreds of rows, and makes it
 * longer if that may go on; strategy: of the buffers, NULL for the usual one. */
extern void wh_growth_follow(WhGrowth *growth, BufferAccessStrategy strategy);

#endif /* WH_CHANGELOG_PRIVATE_H */
