/*
 * lineage_private.h
 *		One walk through a query, and what the files of this room share of it.
 */
#ifndef WH_LINEAGE_PRIVATE_H
#define WH_LINEAGE_PRIVATE_H

#include "nodes/primnodes.h"
#include "utils/hsearch.h"
#include "utils/relcache.h"

#include "lineage/lineage.h"

/* A walk lives in the context that is current at its start, and so does all that it makes. */
typedef struct WhWalk
{
	WhViews views;
	HTAB *relations; /* WhRelation by OID */
	HTAB *bodies; /* WhBody by OID, of functions */
	List *opaque; /* OIDs of functions that may read what is not seen */
	List *written; /* of WhOutput *: what statements on the way write */
} WhWalk;

/* What a walk knows of a relation. */
typedef struct WhRelation
{
	Oid relid; /* the hash key */
	WhRowset *rowset; /* NULL: a view that is being walked through */
} WhRelation;

/* What it knows of a function; while that is being walked through, that it has no tree. */
typedef struct WhBody
{
	Oid function; /* the hash key */
	WhRowset *rowset; /* NULL: no tree */
	List *written; /* of WhOutput * */
} WhBody;

/* A query while it is walked through. */
typedef struct WhScope
{
	WhWalk *walk;
	struct WhScope *parent; /* the query around it; NULL for that of a view or a function */
	Query *query;
	WhRowset **entries; /* by range table index - 1; NULL: not asked for yet */
	List *ctes; /* of WhCte *, those of the query that were asked for */
	const WhRowset *sublink; /* what the parameters of a test against a subquery refer to */
	WhRowset *written; /* in RETURNING: what the columns of the target are now; else NULL */
} WhScope;

/* -------- query.c -------- */
extern WhRowset *wh_walk_query(WhWalk *walk, Query *query, WhScope *parent);
extern WhScope *wh_walk_scope(WhWalk *walk, Query *query, WhScope *parent);
extern WhRowset *wh_walk_target_list(WhScope *scope, List *list);

/* -------- entry.c: what stands in FROM -------- */
extern WhRowset *wh_walk_entry(WhScope *scope, int varno);
/* wh_walk_modifying_ctes notes what the statements in WITH write, also of those nobody reads. */
extern void wh_walk_modifying_ctes(WhScope *scope);
extern void wh_walk_column(WhScope *scope, int varno, AttrNumber attnum, WhHow how,
						   WhSources *into);

/* -------- expression.c -------- */
extern void wh_walk_expression(WhScope *scope, Node *node, WhHow how, WhSources *into);
/* wh_walk_condition tells what joins from what filters. */
extern void wh_walk_condition(WhScope *scope, Node *condition, WhSources *into);

/* -------- relation.c -------- */
extern WhRowset *wh_walk_relation(WhWalk *walk, Oid relid);
/* Policies of row security, whichever roles they are for, that say which rows a command sees ('r',
 * 'w', 'd'). */
extern void wh_walk_policies(WhWalk *walk, Oid relid, char command, WhSources *into);
/* A scope in which Vars of the first relation refer to a row set. */
extern WhScope *wh_walk_row_scope(WhWalk *walk, Oid relid, WhRowset *row);
/* wh_walk_generated sets the columns of `row` that are generated from others of it: all of them,
 * or those that come from columns which are set.  Those which are not are `known`, if given. */
extern void wh_walk_generated(WhWalk *walk, Oid relid, WhRowset *row, const WhRowset *known,
							  bool all);
/* The query of a view or a materialized view, not to be changed; NULL: the relation has none. */
extern Query *wh_walk_view_query(Relation relation);

/* -------- modify.c -------- */
/* wh_walk_modify notes what a statement writes; rows: of what it is fed by.  Leaves in the scope
 * what RETURNING sees. */
extern void wh_walk_modify(WhScope *scope, WhSources *rows);
/* wh_walk_note_written adds to what the walk has found to be written into a relation. */

extern void wh_walk_note_written(WhWalk *walk, Oid relid, const WhRowset *rowset);

/* -------- function.c -------- */

/* wh_walk_call returns what a call of an SQL function gives whose body PostgreSQL keeps as trees;
 * NULL for other functions, of which the opaque ones are noted. */
extern WhRowset *wh_walk_call(WhScope *scope, Oid function, List *arguments);
extern void wh_walk_note_function(WhWalk *walk, Oid function);

/* -------- analyse.c -------- */
/* wh_lineage_parse returns the statements (RawStmt *) of a text; errors point into it. */
extern List *wh_lineage_parse(const char *text);

/* -------- keep.c -------- */
/* wh_lineage_check_schema raises unless the user has the role of a schema's owner. */
extern void wh_lineage_check_schema(Oid schema);

/* -------- rowset.c -------- */
extern WhRowset *wh_rowset_make(int ncolumns);
/* The column from 1, made empty when it is not there yet. */
extern WhSources *wh_rowset_column(WhRowset *rowset, int number);
/* wh_rowset_add merges two row sets; says whether anything was new. */
extern bool wh_rowset_add(WhRowset *rowset, const WhRowset *from);

#endif /* WH_LINEAGE_PRIVATE_H */
