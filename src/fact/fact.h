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

#endif /* WH_FACT_H */
