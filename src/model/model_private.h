/*
 * model_private.h
 *		What the files of model/ share.
 */
#ifndef WH_MODEL_PRIVATE_H
#define WH_MODEL_PRIVATE_H

#include "nodes/parsenodes.h"

#include "model/model.h"

/* The text of a query while it is judged. */
typedef struct WhModelText
{
	const char *query;
	const char *what; /* the kind of model, for messages */
} WhModelText;

/* -------- analyse.c -------- */

/* wh_model_refuse raises "cannot be kept current with <construct>", pointing at a byte of the
 * text (-1: nowhere). */
pg_noreturn extern void wh_model_refuse(const WhModelText *text, const char *construct,
										int location, const char *hint);
extern int wh_model_position(const WhModelText *text, int location);

/* The range table index of the one relation that a query reads; 0 when it reads anything else. */
extern int wh_model_mirror(Query *query, Oid *relid);

/* wh_model_compile makes columns and condition from an analysed query: one that was judged, or a
 * stored view's. */
extern WhQuery *wh_model_compile(Query *query);

/* -------- catalog.c -------- */

/* wh_model_get_broken is wh_model_get for a model that shall go: its view may be missing or
 * broken, and is then no query. */
extern WhModel *wh_model_get_broken(Oid relid);

/* wh_model_check_references raises when facts refer to a dimension. */
extern void wh_model_check_references(const WhModel *model);

/* -------- functions.c -------- */

/* wh_model_check_expressions refuses expressions whose value depends on more than the row and on
 * pinned settings. */
extern void wh_model_check_expressions(const WhModelText *text, Query *query);

/* -------- protect.c -------- */
extern void wh_model_protect_init(void);
extern void wh_model_protect(Oid relid);

#endif /* WH_MODEL_PRIVATE_H */
