/*
 * lineage.h
 *		From which columns a query's columns come: read off the tree that PostgreSQL's own parser
 * makes, without executing anything.
 *
 * What a query gives is a row set: a set of sources for each column, and one for the rows as such,
 * which bears on every column.  A source is a column of a table, and how it bears on what is
 * given.
 */
#ifndef WH_LINEAGE_H
#define WH_LINEAGE_H

#include "access/attnum.h"
#include "nodes/parsenodes.h"

/*
 * How a source bears on an output; sets of these are masks.  The first three are DIRECT, a value
 * that is made of values, the others INDIRECT.  WH_HOW_ROWS stands alone with attnum 0: the
 * relation's rows are counted on, whatever is in them.
 */
typedef enum WhHow
{
	WH_HOW_IDENTITY = 1 << 0,
	WH_HOW_TRANSFORMATION = 1 << 1,
	WH_HOW_AGGREGATION = 1 << 2,
	WH_HOW_JOIN = 1 << 3,
	WH_HOW_FILTER = 1 << 4,
	WH_HOW_GROUP_BY = 1 << 5,
	WH_HOW_SORT = 1 << 6,
	WH_HOW_WINDOW = 1 << 7,
	WH_HOW_CONDITIONAL = 1 << 8,
	WH_HOW_ROWS = 1 << 9
} WhHow;

#define WH_HOW_COUNT 10
#define WH_HOW_DIRECT (WH_HOW_IDENTITY | WH_HOW_TRANSFORMATION | WH_HOW_AGGREGATION)

typedef struct WhSource
{
	Oid relid;
	AttrNumber attnum; /* 0: its rows; below 0: a system column */
	uint32 how; /* of WhHow */
} WhSource;

/* Sources by relid and attnum, each once. */
typedef struct WhSources
{
	WhSource *items;
	int count;
	int size;
} WhSources;

typedef struct WhRowset
{
	int ncolumns;
	WhSources **columns; /* NULL: not asked for yet */
	WhSources rows;
} WhRowset;

/* What a statement gives to its caller (relid 0), or writes into a relation, whose columns are then
 * by attnum. */
typedef struct WhOutput
{
	Oid relid;
	List *names; /* of char *; NIL with a relid */
	WhRowset *rowset;
} WhOutput;

/* Where the walk ends. */
typedef enum WhViews
{
	WH_VIEWS_EXPAND, /* at tables: views, but not materialized ones, are looked into */
	WH_VIEWS_KEEP /* at what the query names */
} WhViews;

extern void wh_lineage_init(void);

/* -------- analyse.c -------- */

/* wh_lineage_analyse parses and analyses one statement as the current user, as PREPARE does; of
 * CREATE TABLE AS, CREATE VIEW and the like it returns the query. */
extern Query *wh_lineage_analyse(const char *text);

/* -------- walk.c -------- */

/*
 * wh_lineage_of_query returns what a query gives and writes (WhOutput *); the first is what it
 * gives, if anything.  The tree is not changed.  *opaque gets the functions that may have read
 * something unseen (OIDs); NULL: not wanted.
 */
extern List *wh_lineage_of_query(Query *query, WhViews views, List **opaque);

/* wh_lineage_of_relation does so for a view or a materialized view, and for a table with generated
 * columns, which come from its other columns; NULL for the rest. */
extern WhOutput *wh_lineage_of_relation(Oid relid, WhViews views, List **opaque);

/* wh_lineage_of_model does so for a model: what its query gives, and what its kind adds; NULL: the
 * relation is no model. */
extern WhOutput *wh_lineage_of_model(Oid relid, WhViews views, List **opaque);

/* -------- sources.c -------- */

extern void wh_sources_add(WhSources *sources, Oid relid, AttrNumber attnum, uint32 how);

/*
 * wh_sources_through adds what comes from `from` when its values are used in the way `how`: an
 * indirect use makes all of them indirect, a direct one leaves indirect sources as they are, and of
 * two direct ones the farther from identity wins.  wh_sources_rows does so with the sources of
 * rows, which joins and filters pass on as they are.  Both say whether anything was new.
 */
extern bool wh_sources_through(WhSources *sources, const WhSources *from, WhHow how);
extern bool wh_sources_rows(WhSources *sources, const WhSources *from, WhHow how);
extern WhHow wh_how_through(WhHow outer, WhHow inner);
extern bool wh_how_is_direct(WhHow how);

/* The words for it: DIRECT or INDIRECT, and IDENTITY, JOIN, …. */
extern const char *wh_how_kind(WhHow how);
extern const char *wh_how_name(WhHow how);
extern WhHow wh_how_named(const char *name);

#endif /* WH_LINEAGE_H */
