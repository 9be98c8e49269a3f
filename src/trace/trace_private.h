/*
 * trace_private.h
 *		What the files of trace/ share.
 */
#ifndef WH_TRACE_PRIVATE_H
#define WH_TRACE_PRIVATE_H

#include "fmgr.h"
#include "nodes/execnodes.h"

#include "model/model.h"
#include "trace/trace.h"

/* Rows of a log without an index by key that one search looks through, of each table. */
extern int wh_trace_log_rows;

/* One call of explain_row(). */
typedef struct WhTrace
{
	WhModel *model;
	Oid caller;
	WhStage *stage; /* "wh.row": the row at work; "wh.change", "wh.source"; model.h */
	const char *column; /* that is asked for; NULL: all */
	ReturnSetInfo *result;
	/* of the row at work: */
	int64 load_id;
	XLogRecPtr load_from; /* the range that its load read; both InvalidXLogRecPtr: not known */
	XLogRecPtr load_to;
	XLogRecPtr closed_from; /* of a version that has ended: the range of the change that ended it */
	XLogRecPtr closed_to;
	XLogRecPtr opened_from;
	XLogRecPtr opened_to;
	bool has_key_index; /* all logs of the model have an index by key */
} WhTrace;

/* The rows of the result begin with these columns, in this order. */
#define WH_TRACE_ITEM "%L::pg_catalog.text AS item, %L::pg_catalog.text AS name"
#define WH_TRACE_NO_CHANGE \
	"NULL::pg_catalog.int8 AS xid, NULL::pg_catalog.timestamptz AS commit_time, " \
	"NULL::pg_catalog.text AS origin, NULL::pg_catalog.text[] AS context"

/* row.c: adds the rows of a query over a stage, of the result's columns, to the result. */
extern void wh_trace_emit(WhTrace *trace, const WhStage *stage, const char *sql, int nargs,
						  const WhArg *args);

/* -------- clock.c: from times and positions to what they name, by halving -------- */

/* The end of the last source transaction at or below a position whose clock is not after a time;
 * InvalidXLogRecPtr: none. */
extern XLogRecPtr wh_trace_position(const WhFeed *feed, TimestampTz clock, XLogRecPtr position);
/* The range (*from, *to] of the transactions whose clock is a time; false: there is none. */
extern bool wh_trace_range(const WhFeed *feed, TimestampTz clock, XLogRecPtr position,
						   XLogRecPtr *from, XLogRecPtr *to);
/* The load that brought a model past a position; 0: it is not known any more. */
extern int64 wh_trace_load(int32 model_id, XLogRecPtr lsn);

/* -------- changes.c -------- */
/* Finds the load of the row at work, and emits it. */
extern void wh_trace_emit_load(WhTrace *trace);
/* Finds the changes that made the row at work ("wh.change"), and emits them; and what each value
 * came from. */
extern void wh_trace_emit_changes(WhTrace *trace);
extern void wh_trace_emit_values(WhTrace *trace);

/* -------- choice.c -------- */
/* Why the fact's row at work has these dimension rows. */
extern void wh_trace_emit_choices(WhTrace *trace);

/* -------- past.c -------- */
/* Raises unless a model's past can be told. */
extern void wh_trace_check_past(const WhModel *model);

#endif /* WH_TRACE_PRIVATE_H */
