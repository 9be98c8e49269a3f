/*
 * model_private.h
 *		What the files of model/ share.
 */
#ifndef WH_MODEL_PRIVATE_H
#define WH_MODEL_PRIVATE_H

#include "nodes/parsenodes.h"

#include "model/model.h"

/* The text of a query while it is judged. */
typedef struct WhModelText
{
	const char *query;
	const char *what; /* the kind of model, for messages */
} WhModelText;

/* -------- analyse.c -------- */

/* wh_model_refuse raises "cannot be kept current with <construct>", pointing at a byte of the
 * text (-1: nowhere). */
pg_noreturn extern void wh_model_refuse(const WhModelText *text, const char *construct,
										int location, const char *hint);
extern int wh_model_position(const WhModelText *text, int location);

/* An error context that makes positions in a query positions in an argument: arg is the
 * WhModelText. */
extern void wh_model_position_callback(void *arg);

/* wh_model_compile makes columns and condition from an analysed query: one that was judged, or a
 * stored view's. */
extern WhQuery *wh_model_compile(Query *query);

/* -------- join.c: how a query joins its mirrors -------- */

/* A table that a join reads, perhaps under several aliases. */
typedef struct WhJoinTable
{
	int number; /* from 1 */
	WhFeedTable *table;
	Bitmapset *columns; /* attnums of the mirror that the query needs, its key among them */
} WhJoinTable;

/* One mirror in FROM: alias s<number>. */
typedef struct WhJoinAlias
{
	int number;
	Index varno; /* in the query that was compiled */
	WhJoinTable *table;
	bool is_nullable; /* on the right of a LEFT JOIN */
	int location; /* in the text; -1 when there is none */
	/* Found by wh_model_join_root: the way to the driving table. */
	bool is_reached;
	int parent; /* the next alias on the way; 0 for the driving one */
	char *edge; /* equalities of columns, SQL over s<parent> and s<number> */
	Bitmapset *parent_columns; /* attnums of the parent's mirror in the edge */
	Bitmapset *own_columns; /* attnums of this one's */
} WhJoinAlias;

/* An equality of two columns that rows of the query must meet. */
typedef struct WhJoinEquality
{
	int alias[2];
	AttrNumber attnum[2];
	char *text;
	Bitmapset *decides; /* aliases whose rows it decides; NULL: all (not of a LEFT JOIN) */
	bool is_inner; /* holds for every row of the query */
} WhJoinEquality;

struct WhJoin
{
	List *tables; /* of WhJoinTable * */
	List *aliases; /* of WhJoinAlias *, in the order of FROM */
	List *equalities; /* of WhJoinEquality * */
	char *from; /* the FROM clause over relations "wh.s<number>" s<number> */
	char *from_points; /* the same, where each has a column "wh.point", and rows of one point meet
						*/
	WhJoinAlias *driver; /* set by wh_model_join_root */
	List *driver_key; /* of WhModelColumn *: key columns that equal the driving table's key, in its
					   order */
	bool is_unique; /* each row of the driving table gives one row of the query at most */
	bool is_exact; /* the key is that of the driving table */
	bool is_idle; /* nothing was staged: no table has changes */
};

/* The RangeTblRefs of a query's FROM, from left to right; NIL when there is anything but joins of
 * relations. */
extern List *wh_model_relations(Query *query);

/*
 * wh_model_join_compile makes the join, columns and condition of a query over several mirrors;
 * wh_model_join_root finds, once the columns of the key are marked, the driving table and the ways
 * to it, or raises; text is NULL for a stored query.  wh_model_join_fits says whether it would not
 * raise.  wh_model_join_indexes makes the indexes that these ways need, or raises when the user may
 * not.
 */
extern void wh_model_join_compile(WhQuery *result, Query *query);
extern void wh_model_join_root(WhJoin *join, List *columns, const char *what,
							   const WhModelText *text);
extern bool wh_model_join_fits(WhJoin *join, List *columns);
extern void wh_model_join_indexes(const WhJoin *join, const char *what);
extern WhJoinAlias *wh_model_join_alias(const WhJoin *join, int number);

/* -------- changes.c -------- */
/* Log columns under the mirror's names; the key under the mirror's names, with an alias or as
 * output columns. */
extern void wh_model_log_columns(StringInfo sql, const WhFeedTable *table, const char *alias);
extern void wh_model_source_key(StringInfo sql, const WhFeedTable *table, const char *alias);
/* The last image of each key and transaction of ($1, $2]: wh.lsn, wh.seq, wh.op, columns, and
 * wh.there: there was a row. */
extern void wh_model_last_images(StringInfo sql, const WhFeedTable *table, const char *log);
/* The keys, under the mirror's names, whose image at position $1 cannot be computed and is not
 * the last. */
extern void wh_model_bad_keys_sql(StringInfo sql, const WhModel *model);

/* -------- walk.c: the same four for models over several tables -------- */
extern void wh_model_join_events_sql(StringInfo sql, const WhModel *model);
extern void wh_model_join_before_sql(StringInfo sql, const WhModel *model);
extern void wh_model_join_last_sql(StringInfo sql, const WhModel *model);
extern void wh_model_join_state_sql(StringInfo sql, const WhModel *model);

/* -------- verify.c -------- */
/* Verifies a model, or a sample of it, as its owner: the verdict. */
extern void wh_model_verify(WhModel *model, int32 sample, WhVerdict *verdict);

/* -------- sample.c -------- */
/* Mirror and log of the table that a model reads, as its statements read them: names, or those of
 * what a sample has staged of them. */
extern const char *wh_model_mirror(const WhModel *model);
extern const char *wh_model_log(const WhModel *model);
/* Stages these, from a position on, for the keys in "wh.driver". */
extern void wh_model_sample_init(void);
extern void wh_model_sample_table(const WhModel *model, WhStage *stage, XLogRecPtr from);
/* Takes the keys in "wh.bad" out of the sample. */
extern void wh_model_sample_leave_out(const WhModel *model, WhStage *stage);

/* -------- range.c -------- */
extern void wh_model_range_init(void);

/* -------- guard.c -------- */
extern bool wh_model_is_data_error(const ErrorData *error);

/* -------- catalog.c -------- */

extern WhModelKind wh_model_parse_kind(const char *kind);
/* The names in a column (from 1) of type text[]. */
extern List *wh_model_key_names(const WhRows *rows, uint64 row, int column);

/* wh_model_get_broken is wh_model_get for a model that shall go: its view may be missing or
 * broken, and is then no query. */
extern WhModel *wh_model_get_broken(Oid relid);

/* wh_model_check_references raises when facts refer to a dimension. */
extern void wh_model_check_references(const WhModel *model);

/* -------- functions.c -------- */

/* wh_model_check_expressions refuses expressions whose value depends on more than the row and on
 * pinned settings. */
extern void wh_model_check_expressions(const WhModelText *text, Query *query);

/* -------- protect.c -------- */
/* What walhouse keeps, and others may not write or alter. */
typedef enum WhManaged
{
	WH_MANAGED_NOT,
	WH_MANAGED_MODEL, /* the table of a model, or a partition of it */
	WH_MANAGED_QUERY, /* the view with its query */
	WH_MANAGED_FEED /* a mirror, a change log or a partition of it, txn */
} WhManaged;

extern void wh_model_protect_init(void);
extern void wh_model_kept_init(void); /* kept.c */
extern void wh_model_outline_init(void); /* outline.c */
/* What a relation is; remembered for the session. */
extern WhManaged wh_model_managed(Oid relid);
/* Whether this session may write and alter what walhouse keeps. */
extern bool wh_model_may_write(void);
/* Whether walhouse is created in this database. */
extern bool wh_model_is_installed(void);

/* -------- ddl.c -------- */
extern void wh_model_ddl_init(void);
extern void wh_model_protect(Oid relid);

#endif /* WH_MODEL_PRIVATE_H */
