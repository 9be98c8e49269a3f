/*
 * rollup.h
 *		Rollups and periodic snapshots: aggregates over a fact, kept by what loads do to its rows.
 */
#ifndef WH_ROLLUP_H
#define WH_ROLLUP_H

extern void wh_rollup_init(void);

#endif /* WH_ROLLUP_H */
