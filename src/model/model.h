/*
 * model.h
 *		What all models share: the catalog, the compiled query, the SQL that reads changes and
 * states, verify.
 *
 * A model's query reads one mirror, or several of one feed that are joined along keys.  Compiled,
 * it is a list of expressions and a condition over the alias "s", whose columns are the mirror's,
 * or over the aliases s1, s2, … and a join of them; the same text is evaluated over the mirrors,
 * over images in the log, and over the state at a position.  The key of a model over one table is
 * the mirror's key, so that a source row is at most one model row; over several, it holds the key
 * of one of them, the driving table.
 */
#ifndef WH_MODEL_H
#define WH_MODEL_H

#include "access/xlogdefs.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "changelog/changelog.h"

typedef enum WhModelKind
{
	WH_MODEL_DIMENSION,
	WH_MODEL_DATE, /* a date dimension: generated, belongs to no feed */
	WH_MODEL_TIME, /* a dimension of the time of day: likewise */
	WH_MODEL_JUNK, /* combinations that facts have met: no query, no feed */
	WH_MODEL_MINI, /* combinations that a dimension's members have had: likewise */
	WH_MODEL_FACT,
	WH_MODEL_ROLLUP, /* aggregates over a fact: no query */
	WH_MODEL_SNAPSHOT /* the same, period by period */
} WhModelKind;

#define WH_MODEL_KINDS (WH_MODEL_SNAPSHOT + 1)

typedef struct WhModelColumn
{
	char *name;
	Oid type;
	int32 typmod;
	Oid collation;
	char *expression; /* SQL over alias s, or s1, s2, … */
	bool is_key;
	int scd; /* dimensions: 0, 1, 2, 3, 6; of key columns 0 */
	bool is_effective; /* dimensions: the column that says since when a row holds */
	AttrNumber attnum; /* of the mirror, when the column is a plain reference to one; else 0 */
	int alias; /* then, the place of that mirror in FROM, from 1 */
} WhModelColumn;

typedef struct WhJoin WhJoin; /* model_private.h */

/* Which version of its row in the catalog a model is read from. */
typedef struct WhModelStamp
{
	ItemPointerData place;
	TransactionId xmin;
} WhModelStamp;

/* A model, read from the catalog and compiled; lives in the caller's context. */
typedef struct WhModel
{
	int32 id;
	WhModelKind kind;
	Oid relid;
	char *name; /* qualified and quoted */
	char *short_name; /* the relation's name alone: <short_name>_sk */
	Oid owner;
	char *state;
	bool is_paused; /* loads and builds leave it alone, whatever its state */
	WhFeed *feed; /* NULL for date and time dimensions */
	WhFeedTable
		*source; /* the (driving) table whose mirror the query reads; NULL without a query */
	List *sources; /* of WhFeedTable *: all tables that it reads, each once; NIL without a query */
	WhJoin *join; /* how it joins them; NULL when it reads one table once */
	Oid view;
	List *columns; /* of WhModelColumn *, the query's */
	List *key; /* of WhModelColumn *, in key order */
	char *condition; /* the query's WHERE over the same aliases; NULL: none */
	Jsonb *options; /* the arguments of its declaration, as the kind stored them */
	int32 definition; /* the number of its version */
	XLogRecPtr history_start;
	XLogRecPtr position; /* to_lsn of its last load; InvalidXLogRecPtr before its build */
	bool guarded; /* see wh_model_guard */
	bool sampled; /* see wh_model_sample */
	WhModelStamp stamp; /* of an outline */
	List *peers; /* of WhModel *: the outlines of a load's feed, of a model that the load is at */
	void *kind_data; /* what its kind keeps while it works on the model; NULL at first */
} WhModel;

/* A stretch of event time that a load left alone, between partitions that it wrote to. */
typedef struct WhGap
{
	Timestamp from;
	Timestamp to;
} WhGap;

#define WH_MOST_GAPS 16 /* that are told of one load */

/* What a load did to a model. */
typedef struct WhCounts
{
	int64 inserted;
	int64 updated;
	int64 deleted;
	int64 inferred;
	int64 rejected;
	int64 opened; /* versions of a dimension that began, */
	int64 closed; /* and that ended */
	bool read_known;
	int64 rows_read; /* changes of the range, or rows of the mirror; valid when read_known */
	Datum rows_read_of; /* int8[]: of each of several tables, by source_relid; 0: not known */
	int32 partitions; /* of a fact that were written to */
	Timestamp partitions_from; /* bounds of the first and the last of them, when there are any */
	Timestamp partitions_to;
	int gaps; /* between these, where it wrote nothing: the widest, in order */
	WhGap gap[WH_MOST_GAPS];
} WhCounts;

/* One load or build, as kinds see it. */
typedef struct WhLoad
{
	int64 id; /* load_id, given to every row written */
	WhFeed *feed;
	XLogRecPtr to; /* the position that models are brought to */
	TimestampTz clock; /* the feed clock at `to` */
	WhStage *changes; /* what it did to rows of facts that are read (fact.h); NULL: a build */
} WhLoad;

/* One row of verify(). */
typedef struct WhVerdict
{
	int32 sample; /* how many keys to look at, chosen at random; 0: all */
	XLogRecPtr horizon;
	XLogRecPtr position;
	int64 expected;
	int64 found;
	int64 missing;
	int64 unexpected;
	int64 different;
} WhVerdict;

/* What as_known() asks of a kind: rows as they stood at a position. */
typedef struct WhKnown
{
	XLogRecPtr position;
	TimestampTz clock; /* the feed clock there */
	WhStage *stage; /* to fill, and to read by; it sees the active snapshot */
	const char *name; /* under which the rows go into it, with the names of the table's columns */
} WhKnown;

/* From where a model's past is told. */
typedef enum WhPast
{
	WH_PAST_LOG, /* the log: any position from its horizon on */
	WH_PAST_HISTORY, /* the log from history_start on: a position after it, while the log has it */
	WH_PAST_ROWS /* the model's own rows: any position from history_start on */
} WhPast;

/*
 * What a kind of model does.  All are called in a transaction with settings pinned, as the
 * model's owner under SECURITY_RESTRICTED_OPERATION, under the feed's load lock (but for build).
 */
typedef struct WhModelRoutine
{
	/* Fills the empty model as of load->to and no later; history_start is set. Runs in one
	 * snapshot, without the state lock. */
	void (*build)(WhModel *model, WhLoad *load, WhCounts *counts);
	/* Under the state lock, before the model goes live: mends what moved while the build ran. May
	 * raise load->to, the position that it goes live at.  May be NULL. */
	void (*finish_build)(WhModel *model, WhLoad *load, WhCounts *counts);
	/* Makes sure that all rows of (model->position, load->to] have a partition: lists what is
	 * missing (WhMissingPartition *). May be NULL. */
	List *(*missing_partitions)(WhModel *model, WhLoad *load);
	/* Gives up what missing_partitions kept for a load that does not come in this transaction.
	 * May be NULL. */
	void (*release)(WhModel *model);
	/* Brings the model from its position to load->to. */
	void (*load)(WhModel *model, WhLoad *load, WhCounts *counts);
	bool rests; /* load is not called for a range that has nothing of the model's tables */
	/*
	 * Ids of the models that this one needs: they load before it, and it stops and waits with
	 * them.  Dimensions that belong to no feed may be among them.  May be NULL.
	 */
	List *(*needs)(const WhModel *model);
	/*
	 * For kinds without a log of their own (no sources), which live on what a load does to the
	 * models that they need: keeps that for a model that this load did not bring on, because it
	 * is building, stopped, or failed.  May be NULL.
	 */
	void (*missed)(WhModel *model, WhLoad *load);
	/*
	 * For such kinds, too: keeps what the model needs of rows (a FROM item) of the fact that it
	 * lives on, which are about to be retired, the fact's horizon moving to a value; as its owner,
	 * under the load lock.  May be NULL.
	 */
	void (*retire)(WhModel *model, const char *rows, const char *to);
	/* Forgets that again, for all values from `to` to `last`.  False: it has kept none for `to`.
	 * With it. */
	bool (*come_back)(WhModel *model, const char *to, const char *last);
	/*
	 * Compares with a full recomputation at the model's position, from wh_model_verify_start().
	 * One snapshot is active, which the position was read in: only wh_spi_query_snapshot() sees
	 * it. horizon and position are filled before.  verdict->sample is not 0 for kinds alone that
	 * have `samples`; of the others, small models are verified whole and large ones refused.
	 */
	void (*verify)(WhModel *model, WhVerdict *verdict);
	bool samples; /* verify looks at no more than a sample, when one is asked for */
	/* Fills known->stage; under the same conditions as verify.  NULL: the kind has no loads. */
	void (*known)(WhModel *model, WhKnown *known);
	/* What known reads.  NULL: WH_PAST_LOG. */
	WhPast (*past)(const WhModel *model);
	/*
	 * For walhouse.rebuild of a range of time.  suspect looks, in one snapshot and without locks
	 * of the feed, for rows in [from, to) that are not what a build would make them, and says
	 * whether there are any; raises where the kind, or this model, has no such ranges.  mend looks
	 * at those again, under the load lock, at load->to, where the model stands, and writes what
	 * differs; it may return partitions that are missing, and has written nothing then.  NULL: the
	 * kind has no ranges.
	 */
	bool (*suspect)(WhModel *model, TimestampTz from, TimestampTz to);
	List *(*mend)(WhModel *model, WhLoad *load, WhCounts *counts);
	/* What a mended model has in load->changes is not what this one, which is made of it, has
	 * counted: makes it anew where that was; false: it must be built.  NULL: false. */
	bool (*follow_mend)(WhModel *model, WhLoad *load, WhCounts *counts);
	/* Drops what the kind keeps outside the model's relation and view (ahead, rejected, other
	 * catalog rows).  May be NULL. */
	void (*drop)(WhModel *model);
	/* OIDs of the relations of this kind's models that refer to another model: it is not dropped
	 * before them.  May be NULL. */
	List *(*referrers)(const WhModel *model);
} WhModelRoutine;

typedef struct WhMissingPartition
{
	Oid parent;
	char *name;
	char *from_literal;
	char *to_literal;
} WhMissingPartition;

/* Kinds register themselves at _PG_init: fact stands above model, so model calls it through this.
 */
extern void wh_model_register(WhModelKind kind, const WhModelRoutine *routine);
extern const WhModelRoutine *wh_model_routine(WhModelKind kind);
extern void wh_model_init(void);

/* -------- catalog.c -------- */
extern WhModel *wh_model_get(Oid relid, bool missing_ok);
extern WhModel *wh_model_get_by_id(int32 model_id);
/* Ids of a feed's models in order of dependence: dimensions, then facts, then what stands on
 * facts; each by id. */
extern List *wh_model_ids(int32 feed_id);
/*
 * The same models in outline, of WhModel *: id, kind, relid, view, state, history_start, position,
 * feed, and of each of their sources mirror, log, state, sync_lsn,
 * source_name and compared_lsn.  It is what a load asks of all models, also of those that it leaves
 * alone.  (outline.c)
 */
extern List *wh_model_outlines(WhFeed *feed);
/* wh_model_note_load tells of a load that is recorded, so that outlines find positions in one go.
 */
extern void wh_model_note_load(int32 feed_id, int64 load_id);
/*
 * wh_model_complete makes the model of an outline, compiled, perhaps by what the session has kept
 * of it since an earlier load; its parts are not to be written to, and good until the next load.
 * wh_model_kept_begin starts a load, before its snapshot.  wh_model_peer is the model of an id, for
 * one that a load is at: complete if it is of the same feed, else read from the catalog.  (kept.c)
 */
extern void wh_model_kept_begin(void);
extern WhModel *wh_model_complete(const WhModel *outline);
extern WhModel *wh_model_peer(const WhModel *model, int32 model_id);
/*
 * wh_model_lock takes the state lock of a model's feed for what somebody wants to do to the model
 * by its name, and raises where that is no longer what it is called: a swap of altered models, for
 * which it has waited, gives names away.
 */
extern void wh_model_lock(const WhModel *model);
/* Ids of the models that a model needs (see WhModelRoutine); OIDs of those that need it (not of
 * dimensions that refer to it: their views look it up). */
extern List *wh_model_needs(const WhModel *model);
extern List *wh_model_dependents(const WhModel *model);
/* Writes a model's state and error (NULL: none); as the catalog's owner. */
extern void wh_model_set_state(int32 model_id, const char *state, const char *error);
extern void wh_model_set_history_start(int32 model_id, XLogRecPtr lsn);
/* The model's options: values of keys; NULL when absent. */
extern char *wh_model_option(const WhModel *model, const char *key);
/* The column of that name; NULL when there is none. */
extern WhModelColumn *wh_model_column(List *columns, const char *name);
/* Type 0, 1, 2, … of a column by an scd argument ({"*": 2, "name": 1}); −1 when the value is no
 * number. */
extern int wh_model_scd(JsonbContainer *scd, const char *column);
/* A table of the model's whose mirror is not ready, or not before the feed is further on; NULL when
 * all are. */
extern const WhFeedTable *wh_model_unready(const WhModel *model);
/* The position from which the logs of the model's tables are complete, and the one from which
 * verify() recomputes. */
extern XLogRecPtr wh_model_horizon(const WhModel *model);
/* It goes on by being built, whatever it misses until then. */
extern bool wh_model_waits_for_build(const WhModel *model);
/* Pages of a table without its indexes, with all its partitions. */
extern int64 wh_model_pages(Oid relid);
/* The log does not reach back to where the model stands: its table was copied again. */
extern bool wh_model_is_cut_off(const WhModel *model);
/* Whether the logs have anything of the model's tables in (from, to]. */
extern bool wh_model_is_touched(const WhModel *model, XLogRecPtr from, XLogRecPtr to);
extern XLogRecPtr wh_model_verify_start(const WhModel *model);

/* -------- analyse.c, functions.c, declare.c -------- */

typedef struct WhQuery
{
	char *text;
	WhFeed *feed;
	WhFeedTable *source; /* of several, the driving one after wh_model_check_key */
	List *sources; /* of WhFeedTable * */
	WhJoin *join;
	List *columns; /* of WhModelColumn *; is_key set by wh_model_check_key */
	char *condition;
} WhQuery;

/*
 * wh_model_prepare does all that a declaration checks, before anything is made, with the caller's
 * search_path: the name (schema and relation are returned; neither it nor <name>_query is taken),
 * the query, the key (of char *), and the rights of the caller, who will be the owner.  `what` is
 * the kind for messages: dimension, fact.  It is made of the next three.
 */
extern WhQuery *wh_model_prepare(const char *name, const char *query_text, List *key,
								 const char *what, char **schema, char **relation);
extern void wh_model_check_name(const char *name, const char *what, char **schema, char **relation);
extern WhQuery *wh_model_analyse(const char *query, const char *what);
extern void wh_model_check_key(WhQuery *query, List *key, const char *what);

/* wh_model_column_definition appends "name type COLLATE …", as CREATE TABLE wants it. */
extern void wh_model_column_definition(StringInfo sql, const WhModelColumn *column);

/*
 * wh_model_declare makes the view <name>_query and the catalog row, and comments them; the kind
 * has made its table (relid) before.  query is NULL for models that belong to no feed, which are
 * live at once; its text is NULL for models without a query, which have no view; key is a list of
 * char *.  Still with the caller's search_path.
 */
extern WhModel *wh_model_declare(const char *schema, const char *name, WhModelKind kind,
								 WhQuery *query, List *key, Jsonb *options, Oid relid);

/*
 * wh_model_stage_known fills a stage, made with wh_stage_create_snapshot, with a model's rows as
 * they stood at a position, by the kind's `known`, which there must be; as the model's owner, with
 * settings pinned.  wh_model_return_rows gives rows of a stage as those of a table that a function
 * returns, by the names of its columns; what the stage lacks is NULL.
 */
struct ReturnSetInfo;
extern void wh_model_stage_known(WhModel *model, XLogRecPtr position, WhStage *stage,
								 const char *name);
extern void wh_model_return_rows(struct ReturnSetInfo *result, const WhStage *stage,
								 const char *name);

/* wh_model_check_known raises where what tells a model's past does not reach back to a position. */
extern void wh_model_check_known(const WhModel *model, XLogRecPtr position);

/*
 * wh_model_drop drops the model of a relation, as drop_model() does: the caller must own it,
 * nothing may refer to it, and the feed's state lock is waited for.
 */
extern void wh_model_drop(Oid relid);

/*
 * wh_model_verify_and_keep verifies a sample of a model, whoever the user is, keeps the result in
 * walhouse.verification and warns of differences; wh_model_keep_failure keeps why that could not be
 * done.  Both in the caller's transaction, with settings pinned.
 */
extern void wh_model_verify_and_keep(int32 model_id, int32 sample);
extern void wh_model_keep_failure(int32 model_id, int32 sample, TimestampTz started,
								  const ErrorData *error);

/* wh_model_add_view makes the view <name>_<purpose> of a SELECT beside a model; it is dropped
 * with the model. */
extern Oid wh_model_add_view(const WhModel *model, const char *purpose, const char *select);
/* wh_model_add_table makes the table <name>_<purpose> (definition: columns and constraints, without
 * parentheses) beside a model, guarded as its own table is; it is dropped with the model. */
extern Oid wh_model_add_table(const WhModel *model, const char *purpose, const char *definition);
/* The view or table of that purpose; InvalidOid when there is none. */
extern Oid wh_model_view(const WhModel *model, const char *purpose);

/* -------- changes.c: SQL over log and mirror; $1 and $2 are positions (pg_lsn) -------- */

/*
 * What models over several tables read of a range is worked out first, and kept in a stage: call
 * the function that fits before the statements below, and run these in the same stage.  For
 * models over one table they do nothing.  Under wh_model_guard the stage is made and dropped in
 * its body.  (walk.c)
 *
 * wh_model_stage_events is for wh_model_events_sql (and for wh_model_state_sql of a guarded
 * model at `from`); wh_model_stage_history for that and wh_model_before_sql (which may then have
 * rows of keys without events); wh_model_stage_ends for wh_model_before_sql and wh_model_last_sql;
 * wh_model_stage_keys for wh_model_keys_sql.  Where the query may give several rows for a key, the
 * first three raise ERRCODE_CARDINALITY_VIOLATION with those keys.
 */
extern void wh_model_stage_events(WhModel *model, WhStage *stage, XLogRecPtr from, XLogRecPtr to);
extern void wh_model_stage_history(WhModel *model, WhStage *stage, XLogRecPtr from, XLogRecPtr to);
extern void wh_model_stage_ends(WhModel *model, WhStage *stage, XLogRecPtr from, XLogRecPtr to);
extern void wh_model_stage_keys(WhModel *model, WhStage *stage, XLogRecPtr from, XLogRecPtr to);

/* wh_model_check_state raises where the query gives several rows for a key at a position. */
extern void wh_model_check_state(WhModel *model, const WhStage *stage, XLogRecPtr position);

/* wh_model_keys_sql appends a SELECT of keys that hold all those which ($1, $2] touched: the key's
 * columns, and perhaps others. */
extern void wh_model_keys_sql(StringInfo sql, const WhModel *model);

/*
 * wh_model_events_sql appends a SELECT of the model's events in ($1, $2]: one row per model key
 * and source transaction that changed it, with the last image: wh_lsn pg_lsn, wh_clock
 * timestamptz (the feed clock of the transaction), wh_live boolean (false: deleted, truncated, or
 * no longer meets the condition; then all columns but the key are NULL), and the query's columns.
 * Output columns of a query never begin with "wh_", so that statements of kinds may add their
 * own.
 */
extern void wh_model_events_sql(StringInfo sql, const WhModel *model);

/*
 * wh_model_before_sql appends a SELECT of the rows that the query gave at position $1 for the
 * keys changed in ($1, $2]: the query's columns.  (From the first log row of each key after $1:
 * B, if any.)
 */
extern void wh_model_before_sql(StringInfo sql, const WhModel *model);

/*
 * wh_model_last_sql appends a SELECT of what ($1, $2] left of each key that it touched: wh_live
 * boolean (false: gone, or no longer meets the condition; then all columns but the key are NULL),
 * and the query's columns.  No expression is evaluated on an image that a later change in the
 * range replaced.
 */
extern void wh_model_last_sql(StringInfo sql, const WhModel *model);

/*
 * wh_model_guard runs body(arg), which evaluates the model's query on every image of a range; if
 * that fails with an error of data, it is rolled back and run again with model->guarded set: then
 * wh_model_events_sql and wh_model_state_sql leave out images that the query cannot compute, as
 * if they had never been committed, but for the last of a key, on which body fails again. So a
 * row that was mended does no harm, and wherever a log is cut into loads the result is the same.
 */
extern void wh_model_guard(WhModel *model, void (*body)(void *arg), void *arg);

/* wh_model_why_partitions_stay says why partitions of a table must not be retired; NULL: they
 * may. */
extern const char *wh_model_why_partitions_stay(Oid relid);

/* wh_model_state_sql appends a SELECT of the query's rows at position $1, $1 not below the
 * horizon: the query's columns. */
extern void wh_model_state_sql(StringInfo sql, const WhModel *model);

/* -------- range.c: the same changes without SQL -------- */

/* walhouse.load_path: what loads may do. */
typedef enum WhPath
{
	WH_PATH_AUTO, /* without statements, where that can be */
	WH_PATH_SQL /* by SQL alone */
} WhPath;

extern WhPath wh_model_load_path(void);

/* Where a row of a range stands. */
typedef struct WhPlace
{
	uint16 part;
	ItemPointerData tid;
} WhPlace;

typedef struct WhRangeState WhRangeState;

/* The changes of a range, and the row that it is at. */
typedef struct WhRange
{
	TupleDesc desc; /* of rows: the log's columns, under the mirror's names */
	XLogRecPtr lsn;
	int64 seq;
	char op;
	TupleTableSlot *row; /* until the next call */
	WhPlace place;
	uint64 changes; /* met since the beginning; B and what it was before are one */
	bool is_disordered; /* rows of a change came in another order than B, D, I, T, U */
	WhRangeState *state;
} WhRange;

/*
 * wh_model_range_open gets ready to read the changes of ($1, $2] of a model over one table, with
 * a snapshot of now, as the current user; NULL: statements must.  wh_model_range_next goes to the
 * next row in commit order, and returns false behind the last; wh_model_range_rewind goes before
 * the first again.  wh_model_range_fetch gives a row that was met before, valid until the next
 * call of either kind.  Close it in the transaction.
 */
extern WhRange *wh_model_range_open(const WhModel *model, XLogRecPtr from, XLogRecPtr to);
extern bool wh_model_range_next(WhRange *range);
extern void wh_model_range_rewind(WhRange *range);
extern TupleTableSlot *wh_model_range_fetch(WhRange *range, WhPlace place);
/* wh_model_range_keep copies the row that the range is at into the current context;
 * wh_model_range_kept gives it as wh_model_range_fetch does, without looking for it. */
extern HeapTuple wh_model_range_keep(const WhRange *range);
extern TupleTableSlot *wh_model_range_kept(WhRange *range, WhPlace place, HeapTuple row);
extern void wh_model_range_close(WhRange *range);

/* The query's columns, and whether its condition holds, as formulas over rows of a range; NULL:
 * statements must.  The second one is for queries that have a condition. */
extern WhFormula *wh_model_formula(const WhModel *model, const WhRange *range);
extern WhFormula *wh_model_condition_formula(const WhModel *model, const WhRange *range);
/* The same over rows of the mirror, or whatever has its names. */
extern WhFormula *wh_model_formula_over(const WhModel *model, TupleDesc desc);
extern WhFormula *wh_model_condition_over(const WhModel *model, TupleDesc desc);

/* wh_model_table_state appends a SELECT of the rows of a mirror at position $1. */
extern void wh_model_table_state(StringInfo sql, const WhFeedTable *table);

/* -------- sample.c: verify() of a sample -------- */

/*
 * wh_model_sample draws `count` keys of a model with a query, from its rows d that meet a condition
 * (SQL) and from its driving table, and marks the model: from then on wh_model_stage_events() must
 * be called in this stage before wh_model_events_sql and wh_model_state_sql (for the state at a
 * position alone from it to it), and these give what belongs to these keys, no more.  "wh.drawn"
 * has the key's columns of the rows that were drawn, and what `more` (", d.…") adds; `also` is
 * NULL or a SELECT of further such rows.
 *
 * wh_model_sample_these takes the keys that a SELECT gives, each once, in the place of chance.
 *
 * After that wh_model_sample_keys stages the keys as "wh.sampled", and wh_model_sample_rows the
 * model's rows that have them as "wh.rows", by probes of an index that begins with the key.
 * wh_model_rows names them; of a model that is not sampled its relation.
 */
extern void wh_model_sample(WhModel *model, WhStage *stage, int32 count, const char *more,
							const char *condition, const char *also);
extern void wh_model_sample_these(WhModel *model, WhStage *stage, const char *keys);
extern void wh_model_sample_keys(const WhModel *model, WhStage *stage);
extern void wh_model_sample_rows(const WhModel *model, WhStage *stage);
/* The same from a table beside the model, under a name. */
extern void wh_model_sample_beside(const WhModel *model, WhStage *stage, const char *name,
								   Oid relid);
extern const char *wh_model_rows(const WhModel *model);
/* wh_model_draw stages columns (SQL) of `count` random rows d, or fewer, of a relation that meet a
 * condition: for kinds that have no query. */
extern void wh_model_draw(WhStage *stage, const char *name, Oid relid, const char *columns,
						  const char *condition, int64 count);
/* wh_model_sample_start moves the start of a history up, until the logs have no more than
 * walhouse.verify_log_rows rows each between it and a position. */
extern XLogRecPtr wh_model_sample_start(const WhModel *model, const WhStage *stage,
										XLogRecPtr start, XLogRecPtr position);

/* -------- origins.c: where single rows come from -------- */

/* What is asked of the log: (from, to]; of a table whose log has no index by key no more than
 * `limit` rows, the newest.  cut_at: where the search began then, or InvalidXLogRecPtr. */
typedef struct WhOrigins
{
	XLogRecPtr from;
	XLogRecPtr to;
	int64 limit;
	XLogRecPtr cut_at;
} WhOrigins;

/*
 * wh_model_stage_origins adds to "wh.change" of a stage what the log has of the source rows that
 * belong to some rows of a model, the stage's relation `rows`: relid (oid of the mirror), n (which
 * of the table's rows), lsn, seq, op ("I", "U", "D", "T"), before and after (jsonb under the
 * source's names; NULL: no row).  Of tables that are joined these are the rows that the range, or
 * the mirror now, ties to the driving one.  The model has a query.
 */
extern void wh_model_stage_origins(const WhModel *model, WhStage *stage, const char *rows,
								   WhOrigins *origins);

/*
 * Helpers for kinds: "a.k1 = b.k1 AND …" with the equality operators of the key's types,
 * qualified; and comma-separated quoted column lists with an optional alias.
 */
extern void wh_model_key_join(StringInfo sql, const WhModel *model, const char *a, const char *b);
extern void wh_model_column_list(StringInfo sql, List *columns, const char *alias);

/* The default equality operator of a type: OPERATOR(schema.=). */
extern const char *wh_model_equality(Oid type);
/* wh_model_names makes a list of char * of an argument of type text[]; raises on NULL elements
 * and other dimensions. */
struct ArrayType;
extern List *wh_model_names(struct ArrayType *array, const char *argument);

/* The log column of a column of the mirror, by its attnum there. */
extern const char *wh_model_log_of_mirror(const WhFeedTable *table, AttrNumber attnum);
/* Names of a source column, by its attnum at the source, in mirror and log. */
extern const char *wh_model_mirror_column(const WhFeedTable *table, int attnum);
extern const char *wh_model_log_column(const WhFeedTable *table, int attnum);

#endif /* WH_MODEL_H */
