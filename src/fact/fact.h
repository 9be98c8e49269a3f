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

/*
 * retired.c: retention of facts.  What lies below a fact's horizon is retired: it is neither kept
 * current nor verified, and its partitions may go.  wh_fact_why_kept says why nothing of a fact may
 * be retired; NULL: it may.  wh_fact_horizon is a value of the event time as text; NULL: nothing
 * was retired.  wh_fact_retire moves it, under the feed's load lock; what reads the fact must have
 * kept before what it needs of the rows that wh_fact_rows_between gives (FROM item; from may be
 * NULL).
 */
extern const char *wh_fact_why_kept(WhModel *fact);
extern char *wh_fact_horizon(int32 fact_id);
extern void wh_fact_retire(WhModel *fact, const char *to);
/* wh_fact_come_back moves the horizon back to where a partition begins that is there again, under
 * the load lock; wh_fact_why_gone says why none may be; NULL: it may.  wh_fact_time reads a value
 * of the event time, in the feed's zone where it has none. */
extern void wh_fact_come_back(const WhModel *fact, const char *from);
extern const char *wh_fact_why_gone(WhModel *fact);
extern TimestampTz wh_fact_time(WhModel *fact, const char *value);
/* What becomes of late changes is for one fact as it is for another. */
extern void wh_fact_follow_late(int32 leader_id, int32 follower_id);
extern char *wh_fact_rows_between(const WhModel *fact, const char *from, const char *to);
/* The rows of a fact that are not retired, as a FROM item. */
extern char *wh_fact_rows_kept(const WhModel *fact);

#endif /* WH_FACT_H */
