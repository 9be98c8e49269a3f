/*
 * base_private.h
 *		What the files of base/ share.
 */
#ifndef WH_BASE_PRIVATE_H
#define WH_BASE_PRIVATE_H

#include "executor/spi.h"

#include "base/base.h"

/* wh_spi_copy_result copies SPI's current result into a memory context. */
extern WhRows *wh_spi_copy_result(MemoryContext context);

/* -------- plans.c -------- */
extern void wh_plans_init(void);
/* wh_plans_get returns the kept plan of a statement, making it if there is none: any values, types
 * of the arguments.  NULL: it cannot be kept.  Needs a connection to SPI. */
extern SPIPlanPtr wh_plans_get(const char *sql, int nargs, const WhArg *args);
/* Runs it, in a snapshot of now or, read-only, in the active one, and returns what SPI says. */
extern int wh_plans_execute(SPIPlanPtr plan, Datum *values, const char *nulls, bool read_only);

#endif /* WH_BASE_PRIVATE_H */
