/*
 * base.h
 *		What every room stands on: SQL text and SPI, settings, transactions, users, locks, names.
 *
 * Nothing here knows of feeds or models.  base is linked into both libraries, so it defines no
 * setting and holds no global state of its own but what walhouse alone asks for, kept plans and the
 * extension's owner; wh_base_init() is called by walhouse alone.
 */
#ifndef WH_BASE_H
#define WH_BASE_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "access/xlogdefs.h"
#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "utils/elog.h"
#include "utils/timestamp.h"

#include "base/compat.h"

extern void wh_base_init(void);

/* -------- sqltext.c: SQL made in C; the one place that quotes -------- */

/*
 * wh_sql_append appends formatted SQL:
 *	%I	const char *	identifier, quoted where needed
 *	%L	const char *	literal; NULL gives NULL
 *	%T	Oid				relation, qualified and quoted
 *	%X	XLogRecPtr		literal of type pg_lsn
 *	%s	const char *	as it is: SQL that was built before
 *	%d %u %l			int, unsigned, int64
 *	%%					a percent sign
 */
extern void wh_sql_append(StringInfo sql, const char *format, ...);
extern char *wh_sql(const char *format, ...);

/* wh_sql_relation returns the qualified, quoted name of a relation; error when it is gone. */
extern char *wh_sql_relation(Oid relid);

/* wh_sql_literal and wh_sql_identifier return a quoted literal and identifier. */
extern char *wh_sql_literal(const char *value);
extern const char *wh_sql_identifier(const char *name);

/* -------- spi.c: statements -------- */

/* An argument of a statement: made by the WH_ARG macros. */
typedef struct WhArg
{
	Oid type;
	Datum value;
	bool isnull;
} WhArg;

#define WH_ARG_TEXT(s) wh_arg_text(s)
#define WH_ARG_INT4(n) ((WhArg){INT4OID, Int32GetDatum(n), false})
#define WH_ARG_INT8(n) ((WhArg){INT8OID, Int64GetDatum(n), false})
#define WH_ARG_OID(n) ((WhArg){OIDOID, ObjectIdGetDatum(n), false})
#define WH_ARG_REGCLASS(n) ((WhArg){REGCLASSOID, ObjectIdGetDatum(n), false})
#define WH_ARG_BOOL(b) ((WhArg){BOOLOID, BoolGetDatum(b), false})
#define WH_ARG_LSN(n) ((WhArg){PG_LSNOID, UInt64GetDatum(n), false})
#define WH_ARG_TIMESTAMPTZ(t) ((WhArg){TIMESTAMPTZOID, Int64GetDatum(t), false})
#define WH_ARG_JSONB(d) ((WhArg){JSONBOID, (d), false})
#define WH_ARG_NULL(type) ((WhArg){(type), (Datum) 0, true})

extern WhArg wh_arg_text(const char *value); /* NULL gives NULL */

/* The result of a query, in the caller's memory context. */
typedef struct WhRows
{
	uint64 count;
	TupleDesc desc;
	HeapTuple *tuples;
} WhRows;

/*
 * wh_spi_execute runs a statement as the current user and returns the number of rows that it
 * processed. wh_spi_query runs one and returns its rows.  Both connect to SPI and leave it again,
 * check the result, and raise what the statement raises; args may be NULL when nargs is 0.  They
 * need a transaction, and take a snapshot if none is active.
 */
extern uint64 wh_spi_execute(const char *sql, int nargs, const WhArg *args);
extern WhRows *wh_spi_query(const char *sql, int nargs, const WhArg *args);

/*
 * wh_spi_query_kept is wh_spi_query of a statement of the rooms' own over walhouse's tables that
 * comes again and again: its plan is kept for the session (plans.c), so its text holds no values.
 */
extern WhRows *wh_spi_query_kept(const char *sql, int nargs, const WhArg *args);

/*
 * wh_spi_query_snapshot is wh_spi_query for a SELECT that must see the active snapshot, and none
 * newer: several of them under one pushed snapshot see one state, also in READ COMMITTED.
 */
extern WhRows *wh_spi_query_snapshot(const char *sql, int nargs, const WhArg *args);
/* Both of these: a kept plan, in the active snapshot. */
extern WhRows *wh_spi_query_kept_snapshot(const char *sql, int nargs, const WhArg *args);

/*
 * The same as the owner of the extension, for walhouse's own catalog tables alone: the caller has
 * checked that the user may do it.  Never with SQL that a user wrote.  Plans are kept as those of
 * wh_spi_query_kept.
 */
extern uint64 wh_catalog_execute(const char *sql, int nargs, const WhArg *args);
extern WhRows *wh_catalog_query(const char *sql, int nargs, const WhArg *args);

/* Values of a result: row from 0, column from 1.  The typed ones raise on NULL, wh_rows_text
 * gives NULL. */
extern Datum wh_rows_datum(const WhRows *rows, uint64 row, int column, bool *isnull);
extern char *wh_rows_text(const WhRows *rows, uint64 row, int column);
extern int32 wh_rows_int4(const WhRows *rows, uint64 row, int column);
extern int64 wh_rows_int8(const WhRows *rows, uint64 row, int column);
extern bool wh_rows_bool(const WhRows *rows, uint64 row, int column);
extern Oid wh_rows_oid(const WhRows *rows, uint64 row, int column);
extern XLogRecPtr wh_rows_lsn(const WhRows *rows, uint64 row,
							  int column); /* NULL: InvalidXLogRecPtr */

/* -------- stage.c: rows kept for later statements -------- */

/*
 * A stage holds results of queries under names; each of its later statements reads them as
 * relations of those names (unqualified, wh_…).  It lives in the context that is current at its
 * creation, no longer than the transaction.
 */
typedef struct WhStage WhStage;

extern WhStage *wh_stage_create(void);

/* wh_stage_create_snapshot makes one whose statements see the active snapshot, and none newer
 * (see wh_spi_query_snapshot): they only read. */
extern WhStage *wh_stage_create_snapshot(void);

/* wh_stage_drop gives up what a stage holds, files too: to be called before the commit.  An abort
 * does it by itself. */
extern void wh_stage_drop(WhStage *stage);

/* wh_stage_fill keeps the rows of a query under `name`, in the place of what had that name;
 * returns their number. */
extern uint64 wh_stage_fill(WhStage *stage, const char *name, const char *sql, int nargs,
							const WhArg *args);
extern uint64 wh_stage_count(const WhStage *stage, const char *name);

/* wh_stage_fill_from is wh_stage_fill of a query that sees another stage, `reads`.
 * wh_stage_append does the same and keeps what had the name; returns how many rows came. */
extern uint64 wh_stage_fill_from(WhStage *stage, const char *name, const WhStage *reads,
								 const char *sql, int nargs, const WhArg *args);
extern uint64 wh_stage_append(WhStage *stage, const char *name, const WhStage *reads,
							  const char *sql, int nargs, const WhArg *args);

/* wh_stage_add adds a row of the caller's own to what is kept under `name`; desc is that of its
 * first row. */
extern void wh_stage_add(WhStage *stage, const char *name, TupleDesc desc, const Datum *values,
						 const bool *nulls);

/* wh_stage_forget gives up what is kept under a name. */
extern void wh_stage_forget(WhStage *stage, const char *name);

/* The same, with the query run as the extension's owner (see wh_catalog_query). */
extern uint64 wh_stage_fill_catalog(WhStage *stage, const char *name, const char *sql, int nargs,
									const WhArg *args);

/* Statements that see the stage: as the current user, and as the extension's owner (see
 * wh_catalog_execute). */
extern uint64 wh_stage_execute(const WhStage *stage, const char *sql, int nargs, const WhArg *args);
extern WhRows *wh_stage_query(const WhStage *stage, const char *sql, int nargs, const WhArg *args);
extern uint64 wh_stage_catalog(const WhStage *stage, const char *sql, int nargs, const WhArg *args);

/* -------- formula.c: expressions without statements -------- */

/*
 * wh_formula_compile prepares what stands between SELECT and FROM in a statement over one row,
 * whose columns desc names and which is called alias; NULL when only a plan can compute it
 * (subqueries, aggregates, whole rows).  It lives in the current context and this transaction;
 * the user, who needs the rights to call what it calls, and the settings must stay.
 *
 * wh_formula_compute gives the results for a row in a slot of the formula's own: values by
 * reference are valid until wh_formula_reset, the slot until the next call.
 */
typedef struct WhFormula WhFormula;

extern WhFormula *wh_formula_compile(const char *targets, const char *alias, TupleDesc desc);
extern TupleDesc wh_formula_desc(const WhFormula *formula);
extern TupleTableSlot *wh_formula_compute(WhFormula *formula, TupleTableSlot *row);
extern void wh_formula_reset(WhFormula *formula);
extern void wh_formula_close(WhFormula *formula);

/* -------- keys.c: keys in hash tables of C -------- */

/*
 * wh_keys_open says how keys of some columns are hashed and compared: as the default B-trees of
 * their types would; NULL when a type has no hash, or a collation calls different bytes equal. In
 * the current context.  nulls may be NULL where there are none.
 */
typedef struct WhKeys WhKeys;

extern WhKeys *wh_keys_open(int count, const Oid *types, const Oid *collations);
extern uint32 wh_keys_hash(const WhKeys *keys, const Datum *values, const bool *nulls);
extern bool wh_keys_equal(const WhKeys *keys, const Datum *a, const bool *a_nulls, const Datum *b,
						  const bool *b_nulls);
/* Copies values into the current context. */
extern void wh_keys_copy(const WhKeys *keys, Datum *to, const Datum *values, const bool *nulls);

/* -------- txn.c: transactions of procedures and workers -------- */

/*
 * wh_txn_open makes the calling procedure or worker ready for several transactions: refuses a
 * transaction block (ERRCODE_INVALID_TRANSACTION_STATE, naming `command`) and a session that has
 * a replication origin, connects to SPI without atomicity, and starts the first transaction's
 * settings.  atomic is what the CallContext says; a worker passes false after
 * StartTransactionCommand().
 */
extern void wh_txn_open(const char *command, bool atomic);

/* wh_txn_commit commits and goes on in a new transaction, with settings and origin set again. */
extern void wh_txn_commit(void);

/* wh_txn_close ends what wh_txn_open began; the transaction that is open stays open for the
 * caller. */
extern void wh_txn_close(void);

/* wh_txn_procedure_atomic says whether a function was called where it may not commit (reads
 * fcinfo->context). */
struct FunctionCallInfoBaseData;
extern bool wh_txn_procedure_atomic(struct FunctionCallInfoBaseData *fcinfo);

/* wh_txn_check_arguments raises where an argument is NULL: for functions that are not strict, and
 * procedures, which cannot be. */
extern void wh_txn_check_arguments(struct FunctionCallInfoBaseData *fcinfo);

/*
 * wh_txn_mark_own gives the current transaction the origin by which all that walhouse writes is
 * known, so that a feed never captures it.  Cleared at the end of the transaction.  wh_txn_commit
 * does it; plain functions call it once.
 */
extern void wh_txn_mark_own(void);

/*
 * wh_txn_try runs body(arg) in a subtransaction.  True: done.  False: rolled back, and *error is
 * a copy of what was raised, in the caller's context; user, settings and SPI are as before.
 * Cancels and shutdowns are raised on.
 */
extern bool wh_txn_try(void (*body)(void *arg), void *arg, ErrorData **error);

/* -------- settings.c -------- */

/*
 * wh_settings_pin sets, for the rest of the transaction, what results may depend on: search_path
 * (pg_catalog, pg_temp), DateStyle, IntervalStyle, extra_float_digits, bytea_output, xmlbinary,
 * xmloption, quote_all_identifiers, array_nulls, timezone_abbreviations, lc_monetary, lc_numeric,
 * lc_time, row_security off, no statement_timeout, and TimeZone when it is given; and
 * walhouse.allow_writes, so that it is walhouse who writes.
 */
extern void wh_settings_pin(const char *time_zone);

/*
 * wh_settings_push_path pins search_path alone until wh_settings_pop of its result, or an abort.
 * Whatever runs as somebody else than the user needs it, or the user's operators run with it.
 */
extern int wh_settings_push_path(void);

/* wh_settings_push_writes lets the session write and alter what walhouse keeps, until
 * wh_settings_pop of its result, or an abort. */
extern int wh_settings_push_writes(void);

/* wh_settings_push_interpreted keeps statements from being compiled until wh_settings_pop of its
 * result, or an abort: for such as read little, whatever the planner thinks of them. */
extern int wh_settings_push_interpreted(void);

/*
 * wh_settings_push_joins says how the planner shall join, until wh_settings_pop of its result, or
 * an abort: fresh tables and logs that only grow have no statistics to tell it.
 */
typedef enum WhJoins
{
	WH_JOINS_PROBE, /* nested loops over indexes: few rows against a large table */
	WH_JOINS_WHOLE /* hash and merge joins: whole tables and logs */
} WhJoins;

extern int wh_settings_push_joins(WhJoins joins);
/* wh_settings_avoid_scans, after that: whole tables are read only where no index will do. */
extern void wh_settings_avoid_scans(void);
extern void wh_settings_pop(int level);

/* -------- users.c -------- */

typedef struct WhUser
{
	Oid userid;
	int sec_context;
	int settings; /* nest level */
} WhUser;

/*
 * wh_user_become acts as `owner` under SECURITY_RESTRICTED_OPERATION until wh_user_restore, with
 * search_path pinned; restore before a commit.  Settings that are changed meanwhile, which the
 * owner's functions may do, are taken back.
 */
extern void wh_user_become(Oid owner, WhUser *saved);
/* The same for declarations that somebody makes who has the role `owner`: they run nothing that the
 * owner wrote, and what they put into the catalog may have deferred triggers, which a restricted
 * operation may not. */
extern void wh_user_declare_as(Oid owner, WhUser *saved);
/* The same as the extension's owner, for SQL in which no user had a hand. */
extern void wh_user_become_extension(WhUser *saved);
extern void wh_user_restore(const WhUser *saved);

/* wh_user_check_owner raises unless the current user has the role `owner`; `what` is e.g. feed
 * "shop". */
extern void wh_user_check_owner(Oid owner, const char *kind, const char *name);

/* The owner of the extension and the OID of a relation in schema walhouse. */
extern Oid wh_extension_owner(void);
extern Oid wh_catalog_relid(const char *name);

/* -------- locks.c: the locks of a feed -------- */

typedef enum WhFeedLock
{
	WH_LOCK_STREAM = 1, /* session level: who reads the slot */
	WH_LOCK_STATE = 2, /* transaction level: who changes what the feed has */
	WH_LOCK_LOAD = 3 /* transaction level: who brings its models on */
} WhFeedLock;

/* wh_lock_stream takes the stream lock if it is free; false when somebody has it, and *holder is
 * the pid (0 unknown). */
extern bool wh_lock_stream(int32 feed_id, int *holder);
extern void wh_unlock_stream(int32 feed_id);

/* wh_lock_state waits for the state lock, alone; held to the end of the transaction, as are those
 * below. */
extern void wh_lock_state(int32 feed_id);

/* wh_lock_ingest shares the state lock with a load.  Who holds it may go on to wh_lock_state while
 * he has written nothing. */
extern void wh_lock_ingest(int32 feed_id);

/* wh_lock_load shares the state lock with ingest, and keeps other loads away. */
extern void wh_lock_load(int32 feed_id);

/* wh_lock_copy shares the state lock with other processes of a first copy alone. */
extern void wh_lock_copy(int32 feed_id);

/* -------- process.c: background workers -------- */

/*
 * wh_process_start registers a process that nobody but us restarts, with `len` bytes that it finds
 * in MyBgworkerEntry->bgw_extra; the caller is woken when it starts and ends; *handle, if given, is
 * the process's.  False when max_worker_processes leaves none.
 */
struct BackgroundWorkerHandle;
extern bool wh_process_start(const char *kind, const char *title, const char *function,
							 const void *extra, Size len,
							 struct BackgroundWorkerHandle **handle);
/* The first call of each: it is ended at once by SIGTERM, wherever it waits; SIGHUP reloads. */
extern void wh_process_signals(void);
/* Connects to a database as a role; InvalidOid: the bootstrap superuser. */
extern void wh_process_connect(Oid database, Oid role);

/* -------- names.c -------- */

/* wh_name returns base || suffix, cut with a hash where it would pass NAMEDATALEN. */
extern char *wh_name(const char *base, const char *suffix);

/* wh_name_parse splits a possibly quoted, possibly qualified name; *schema is NULL when there is
 * none. */
extern void wh_name_parse(const char *name, char **schema, char **relation);

#endif /* WH_BASE_H */
