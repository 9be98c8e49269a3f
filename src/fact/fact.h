/*
 * fact.h
 *		Facts: declaration, look-ups, partitions by event time, rows ahead of the clock, rejected
 * rows.
 */
#ifndef WH_FACT_H
#define WH_FACT_H

#include "model/model.h"

extern void wh_fact_init(void);

/* Ids of the dimensions that a fact refers to; they load before it, and it stops with them. */
extern List *wh_fact_dimensions(const WhModel *fact);

/*
 * Readers of a fact: models that are brought on from what loads do to its rows.  columns (of
 * char *): those of the fact that the model reads.  What a load took away and put there is the
 * relation wh_fact_changes(fact's id) of load->changes: wh_n int (−1: was, 1: is), and c<attnum>
 * for each column that any reader of the fact reads; there is none when no row was written.
 */
extern void wh_fact_add_reader(const WhModel *fact, int32 model_id, List *columns);
extern void wh_fact_drop_reader(int32 model_id);
extern char *wh_fact_changes(int32 fact_id);

#endif /* WH_FACT_H */
