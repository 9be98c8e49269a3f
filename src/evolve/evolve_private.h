/*
 * evolve_private.h
 *		What the files of this room share.
 */
#ifndef WH_EVOLVE_PRIVATE_H
#define WH_EVOLVE_PRIVATE_H

#include "model/model.h"

/* -------- parts.c: the relations that a model consists of -------- */

/* One of them. */
typedef struct WhPart
{
	Oid relid;
	char *name;
	char relkind; /* r, p, v; i, I, S for their indexes and sequences */
} WhPart;

/* Table, partitions, query, what stands beside, each with its indexes and sequences behind it; of
 * WhPart *. */
extern List *wh_evolve_parts(const WhModel *model);

/* As the current user, who has the role of the model's owner and may write: puts all of a model
 * into another schema; renames all whose names begin with the model's. */
extern void wh_evolve_move(const WhModel *model, const char *schema);
extern void wh_evolve_rename(const WhModel *model, const char *name);

/* -------- spec.c: declarations -------- */

/* The entry of a model in a specification, and the same under another name. */
extern Jsonb *wh_evolve_spec(Oid relid);
extern Jsonb *wh_evolve_spec_renamed(Jsonb *entry, const char *name);
/* The statement that declares an entry; name is for the error that says that there is none. */
extern char *wh_evolve_statement(Jsonb *entry, const char *name);

/* -------- alter.c, swap.c: models that take the place of others -------- */

/* A model that is declared otherwise. */
typedef struct WhChange
{
	WhModel *model;
	Jsonb *entry; /* how it shall be, under its own name */
} WhChange;

/* Declares the next ones of these (of WhChange *) and of all that follow them; returns that of the
 * first one. */
extern Oid wh_evolve_alter(List *changes);
/* Says whether a model is being altered, or follows one that is. */
extern bool wh_evolve_is_altering(int32 model_id);
extern void wh_evolve_swap_init(void);

#endif /* WH_EVOLVE_PRIVATE_H */
