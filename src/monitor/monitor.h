/*
 * monitor.h
 *		Views on feeds, their tables and models.  Nobody depends on this room.
 */
#ifndef WH_MONITOR_H
#define WH_MONITOR_H

extern void wh_monitor_init(void);

#endif /* WH_MONITOR_H */
