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
	char relkind; /* r, p, v; i, I for their indexes */
} WhPart;

/* Table, partitions, query, what stands beside, each with its indexes behind it; of WhPart *. */
extern List *wh_evolve_parts(const WhModel *model);

/* As the current user, who has the role of the model's owner and may write: puts all of a model
 * into another schema; renames all whose names begin with the model's. */
extern void wh_evolve_move(const WhModel *model, const char *schema);
extern void wh_evolve_rename(const WhModel *model, const char *name);

#endif /* WH_EVOLVE_PRIVATE_H */
