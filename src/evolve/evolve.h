/*
 * evolve.h
 *		Models that change: other names, other definitions.  Nobody depends on this room.
 */
#ifndef WH_EVOLVE_H
#define WH_EVOLVE_H

extern void wh_evolve_init(void);

#endif /* WH_EVOLVE_H */
