/*
 * walk_private.h
 *		What walk.c and evaluate.c share: one look at a range of changes of a model over several
 * tables.
 */
#ifndef WH_WALK_PRIVATE_H
#define WH_WALK_PRIVATE_H

#include "model/model_private.h"

/* The end of an interval that has none. */
#define WH_WALK_EVER "'FFFFFFFF/FFFFFFFF'"

typedef struct WhWalk
{
	WhModel *model;
	WhJoin *join;
	WhStage *stage;
	WhArg args[2]; /* the positions $1 and $2 of every statement */
	bool before; /* the state at $1, too, as "wh.before" */
	bool ends; /* the states at $1 and $2 alone, not every commit between them */
	bool *touched; /* by a table's number: the log has rows in ($1, $2] */
	bool *later; /* the same above $2 */
	bool *has_up; /* by an alias's number: "wh.up<s>" has rows */
} WhWalk;

/* -------- walk.c -------- */

/* wh_walk_push_settings makes the planner join stages by hash and probe mirrors, until
 * wh_settings_pop. */
extern int wh_walk_push_settings(void);

/* The columns of a table that the query needs. */
extern char *wh_walk_columns(const WhJoinTable *table, const char *alias);

/* "left.k = right.k AND …" over the driving table's key. */
extern char *wh_walk_driver_match(const WhJoin *join, const char *left, const char *right);

/* -------- evaluate.c -------- */

/* Stage "wh.event" (and "wh.before", where it is asked for), and "wh.before" and "wh.last". */
extern void wh_walk_evaluate_events(WhWalk *walk);
extern void wh_walk_evaluate_ends(WhWalk *walk);

#endif /* WH_WALK_PRIVATE_H */
