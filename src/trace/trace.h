/*
 * trace.h
 *		Where a row came from, and what a model was: explain_row, as_of, diff.  Nobody depends on
 * this room.
 */
#ifndef WH_TRACE_H
#define WH_TRACE_H

extern void wh_trace_init(void);

#endif /* WH_TRACE_H */
