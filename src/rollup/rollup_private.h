/*
 * rollup_private.h
 *		What the files of rollup/ share: a rollup or periodic snapshot as its statements need it.
 *
 * What happened to a fact's rows comes to a rollup as a multiset of *projections* of rows, each
 * with a number: how many more there are.  A projection has the columns
 *	p			the start of the row's period (none where a rollup has no bucket)
 *	g1, g2, …	the groups
 *	v1, v2, …	the inputs: values that measures are made of, in canonical form
 *	at, h1, …	of snapshots with last(): the period column, and what identifies the row
 * From it follow the accumulators s1, s2, … of each group and period, kept in column wh_state, and
 * from these the measures.  Columns of stages and of the tables beside a rollup have these names
 * by position, so that no name that a user chose can meet one of ours.
 */
#ifndef WH_ROLLUP_PRIVATE_H
#define WH_ROLLUP_PRIVATE_H

#include "model/model.h"
#include "rollup/rollup.h"

/* A column of the fact. */
typedef struct WhRollupColumn
{
	char *name;
	AttrNumber attnum;
	Oid type;
	int32 typmod;
	Oid collation;
} WhRollupColumn;

/* What measures read of a row. */
typedef struct WhRollupInput
{
	int number; /* from 1 */
	WhRollupColumn *column;
	bool is_flag; /* whether the column is not null, a boolean; else its value */
	bool is_summed;
	bool is_valued; /* min, max, count(distinct): a table beside the rollup counts its values */
	bool is_last; /* last */
	Oid values; /* that table */
} WhRollupInput;

typedef enum WhMeasureKind
{
	WH_MEASURE_COUNT_ROWS, /* count(*) */
	WH_MEASURE_COUNT,
	WH_MEASURE_COUNT_DISTINCT,
	WH_MEASURE_SUM,
	WH_MEASURE_AVG,
	WH_MEASURE_MIN,
	WH_MEASURE_MAX,
	WH_MEASURE_BALANCE_ROWS, /* balance(*); this and the next two of snapshots alone */
	WH_MEASURE_BALANCE,
	WH_MEASURE_LAST
} WhMeasureKind;

typedef struct WhMeasure
{
	char *name;
	WhMeasureKind kind;
	char *column; /* of the fact; NULL for (*) */
	AttrNumber attnum; /* of that */
	WhRollupInput *input; /* NULL for (*) */
	char *type; /* of the rollup's column */
} WhMeasure;

/* Something that is added up; all are numeric, and no special value is among them. */
typedef enum WhAccumulatorKind
{
	WH_ACCUMULATE_ROWS,
	WH_ACCUMULATE_COUNT, /* of values that are not null */
	WH_ACCUMULATE_SUM, /* of finite values */
	WH_ACCUMULATE_NAN, /* of numeric: how many NaN, Infinity, -Infinity */
	WH_ACCUMULATE_PLUS,
	WH_ACCUMULATE_MINUS,
	WH_ACCUMULATE_DISTINCT /* different values */
} WhAccumulatorKind;

typedef struct WhAccumulator
{
	WhAccumulatorKind kind;
	WhRollupInput *input; /* NULL for rows */
} WhAccumulator;

typedef struct WhRollup
{
	WhModel *model;
	int32 fact_id;
	Oid fact;
	XLogRecPtr fact_position; /* of the fact's last load, before the one that is going on */
	int64 fact_load; /* its id */
	bool is_snapshot;
	bool fill; /* of snapshots: a row for each period */
	char *unit; /* hour, day, week, month, quarter, year; NULL: no bucket */
	char *zone; /* the feed's time zone, as a literal */
	WhRollupColumn *time; /* NULL without a bucket */
	List *groups; /* of WhRollupColumn * */
	List *inputs; /* of WhRollupInput * */
	List *measures; /* of WhMeasure * */
	List *accumulators; /* of WhAccumulator *; rows is the first one */
	List *running; /* of int: places of those that are added up over periods, too */
	List *identity; /* of WhRollupColumn *: the fact's primary key; NIL without last() */
	char *bounds_from; /* of snapshots: literals of dates; rows outside [from, to) are left out */
	char *bounds_to;
	Oid pending; /* the table of what was missed */
	Oid retired; /* the table of what was counted, and the fact has no more */
	Oid rows; /* the table of what last() reads; InvalidOid without it */
	MemoryContext context; /* of the model, and so of this and of the stage */
	WhStage *stage; /* NULL, or that of the work that is going on */
	int64 built_from; /* the fact's last load that a build has seen */
	TimestampTz mend_from; /* the range that is rebuilt (mend.c) */
	TimestampTz mend_to;
} WhRollup;

/* rollup.c */
extern WhRollup *wh_rollup_open(WhModel *model);
/* Reads again where the fact stands; in the active snapshot, when there is a fixed one. */
extern void wh_rollup_release(WhModel *model);
extern void wh_rollup_start_stage(WhRollup *rollup);
extern void wh_rollup_check_rights(const WhRollup *rollup);

/* declare.c */
extern WhRollupColumn *wh_rollup_column(Oid fact, const char *name);
extern List *wh_rollup_identity(Oid fact);

/* measure.c: what measures are made of */
extern WhMeasure *wh_rollup_parse_measure(const char *name, const char *text, bool is_snapshot);
extern const char *wh_rollup_function(WhMeasureKind kind);
extern WhMeasureKind wh_rollup_measure_kind(const char *function, bool has_column);
/* Finds the inputs and accumulators of the measures; columns are there. */
extern void wh_rollup_plan(WhRollup *rollup);
/* The measure over the fact's rows f, as PostgreSQL itself has it (for its type). */
extern char *wh_rollup_native(const WhMeasure *measure);
/* Values of the type are equal exactly when their images are, but for the canonical forms. */
extern bool wh_rollup_is_exact(const WhRollupColumn *column);
/* The same without canonical forms: what groups may be. */
extern bool wh_rollup_is_group(const WhRollupColumn *column);

/* text.c: pieces of SQL */
extern char *wh_rollup_type(const WhRollupColumn *column);
/* "type COLLATE …" */
extern char *wh_rollup_definition(const WhRollupColumn *column);
extern char *wh_rollup_period_type(const WhRollup *rollup);
/* "date_trunc(…)::date" of a column of the time's type. */
extern char *wh_rollup_period(const WhRollup *rollup, const char *value);
/* The period that a time (SQL, timestamptz) is in, of snapshots; the next period's start. */
extern char *wh_rollup_period_of(const WhRollup *rollup, const char *instant);
extern char *wh_rollup_next(const WhRollup *rollup, const char *period);
extern char *wh_rollup_step(const WhRollup *rollup);
/* ", p, g1, …, v1, …, at, h1, …" of an alias (NULL: none), and parts of it. */
extern void wh_rollup_projection(StringInfo sql, const WhRollup *rollup, const char *alias);
extern void wh_rollup_group_columns(StringInfo sql, const WhRollup *rollup, const char *alias);
extern void wh_rollup_period_column(StringInfo sql, const WhRollup *rollup, const char *alias);
/*
 * "SELECT <n> AS n, p, … FROM <from> c WHERE …": projections of rows of the fact; prefix NULL:
 * under the fact's own names, else <prefix><attnum>.
 */
extern void wh_rollup_project(StringInfo sql, const WhRollup *rollup, const char *n,
							  const char *from, const char *prefix);
/* The key of a projection's row in the rollup: wh_key. */
extern char *wh_rollup_key(const WhRollup *rollup, const char *alias);
/* The change of an accumulator that projections t with their n make. */
extern char *wh_rollup_accumulate(const WhAccumulator *accumulator);
/* The canonical form of an accumulator's value. */
extern char *wh_rollup_canonical(const WhAccumulator *accumulator, const char *value);
/* The accumulator over projections t as PostgreSQL's aggregates give it. */
extern char *wh_rollup_recompute(const WhAccumulator *accumulator);
/* A measure that follows from accumulators <alias>.s1, … (running: r1, …); NULL for the others. */
extern char *wh_rollup_measure(const WhRollup *rollup, const WhMeasure *measure,
							   const char *alias);
/* "ARRAY[…]": wh_state of <alias>.s1, …, r1, … */
extern char *wh_rollup_state(const WhRollup *rollup, const char *alias);
/* ", <table's column>, …": all columns but load_id, wh_key and wh_state. */
extern void wh_rollup_table_columns(StringInfo sql, const WhRollup *rollup, const char *alias);
/* Place of an accumulator (from 1); 0: there is none. */
extern int wh_rollup_place(const WhRollup *rollup, WhAccumulatorKind kind,
						   const WhRollupInput *input);

/* delta.c: what happened to the fact's rows */
extern bool wh_rollup_read_delta(WhRollup *rollup, WhLoad *load, bool with_pending);
extern void wh_rollup_read_fact(WhRollup *rollup);
/* The same of those that meet a condition on c, a row of the fact, or on t, what is retired. */
extern void wh_rollup_read_some(WhRollup *rollup, const char *condition, const char *retired);
/* "SELECT n, p, …": what the load did to the fact's rows. */
extern char *wh_rollup_project_changes(const WhRollup *rollup);
extern void wh_rollup_read_pending(WhRollup *rollup, int64 after);
extern void wh_rollup_forget_pending(WhRollup *rollup);
extern void wh_rollup_missed(WhModel *model, WhLoad *load);
extern void wh_rollup_retire(WhModel *model, const char *rows, const char *to);
extern bool wh_rollup_come_back(WhModel *model, const char *to, const char *last);
/* "SELECT n, p, … UNION ALL …": the fact's rows c that are kept and meet a condition, each with
 * n = 1, and of what the rollup has of retired rows the projections t that meet another. */
extern char *wh_rollup_counted(const WhRollup *rollup, const char *condition,
							   const char *retired);

/* values.c: what the tables beside a rollup have; is_new: they are empty */
extern void wh_rollup_write_values(WhRollup *rollup, bool is_new);
extern void wh_rollup_write_rows(WhRollup *rollup, bool is_new);
/* The least or greatest value of <alias>.k (and .p), as a scalar subquery. */
extern char *wh_rollup_extreme(const WhRollup *rollup, const WhMeasure *measure,
							   const char *alias);

/* change.c: rollups */
extern void wh_rollup_apply(WhRollup *rollup, WhLoad *load, WhCounts *counts, bool is_new);
/* Fills wh_delta (k, p, g…, s…) of wh_net. */
extern void wh_rollup_stage_delta(WhRollup *rollup);
extern void wh_rollup_check_rows(WhRollup *rollup, const char *from);
extern pg_noreturn void wh_rollup_refuse_state(const WhRollup *rollup);
extern uint64 wh_rollup_execute_narrow(WhRollup *rollup, const char *sql);
extern uint64 wh_rollup_fill_narrow(WhRollup *rollup, const char *name, const char *sql);

/* periods.c: periodic snapshots */
extern void wh_rollup_apply_periods(WhRollup *rollup, WhLoad *load, WhCounts *counts,
									bool is_new);
extern void wh_rollup_enter_periods(WhRollup *rollup, WhLoad *load, WhCounts *counts);
extern char *wh_rollup_clock(const WhRollup *rollup, XLogRecPtr position);

/* mend.c */
extern bool wh_rollup_suspect(WhModel *model, TimestampTz from, TimestampTz to);
extern List *wh_rollup_mend(WhModel *model, WhLoad *load, WhCounts *counts);
extern bool wh_rollup_follow_mend(WhModel *model, WhLoad *load, WhCounts *counts);

/* verify.c, known.c */
extern void wh_rollup_stage_known(const WhRollup *rollup, WhStage *stage,
								  const char *projections);
extern void wh_rollup_expected(StringInfo sql, const WhRollup *rollup, const char *clock);
extern void wh_rollup_verify(WhModel *model, WhVerdict *verdict);
extern void wh_rollup_known(WhModel *model, WhKnown *known);

#endif /* WH_ROLLUP_PRIVATE_H */
