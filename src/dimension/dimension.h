/*
 * dimension.h
 *		Dimensions: declaration, slowly changing rows, inferred members, and the look-up that facts
 * use.
 */
#ifndef WH_DIMENSION_H
#define WH_DIMENSION_H

#include "lib/stringinfo.h"

#include "model/model.h"

extern void wh_dimension_init(void);

/* The name of the surrogate key column of a dimension. */
extern char *wh_dimension_sk(const WhModel *model);

/* A reference to a dimension, as a declaration writes it: "dw.customer(customer_id)". */
typedef struct WhReference
{
	char *column; /* what the surrogate key is to be called */
	char *text; /* as given */
	WhModel *dimension;
	List *names; /* of char *: the columns that give its key, in its order */
} WhReference;

/*
 * wh_dimension_refer fills the rest of a reference with column and text set: finds the dimension,
 * which must be of no feed or of this one and which the current user may read, and the names among
 * `columns` (of WhModelColumn *), whose types must fit.  `what` is the kind that refers, for
 * messages.
 */
extern void wh_dimension_refer(WhReference *reference, List *columns, const WhFeed *feed,
							   const char *what);

/*
 * wh_dimension_read_references reads and refers {"column": "dimension(column, …)", …}, an argument
 * of that name, into WhReferences, in the order of the columns.
 */
extern List *wh_dimension_read_references(Jsonb *object, const char *argument, List *columns,
										  const WhFeed *feed, const char *what);

/* The name of a column that has a surrogate key, without its ending _sk: what attributes are
 * called after. */
extern char *wh_dimension_role_name(const char *column);

/* The name of an attribute in a view, <role>_<attribute>, with a number where it is among `names`
 * (of char *) already; adds it there. */
extern char *wh_dimension_view_name(const char *role, const char *attribute, List **names);

/* The columns (of WhModelColumn *) that a reference to a dimension gives. */
extern List *wh_dimension_key(const WhModel *dimension);

/* The SQL `values` of `columns`, cast to what wh_dimension_key() has; dates and times of day of
 * instants as they are in the time zone `zone`, a literal. */
extern List *wh_dimension_key_values(const WhModel *dimension, List *columns, List *values,
									 const char *zone);

/*
 * wh_dimension_lookup_sql appends a scalar subquery: the surrogate key of the dimension's version
 * for the key expressions `keys` (SQL, as many as the dimension's key has columns) as of
 * `event_time` (SQL of type timestamptz): null_sk (−1, −2 or −3) when a key expression is NULL,
 * NULL when the dimension has no row for the key.  It reads O(1) rows per probe.  Date dimensions
 * ignore event_time.
 */
extern void wh_dimension_lookup_sql(StringInfo sql, const WhModel *dimension, List *keys,
									const char *event_time, int null_sk);

/* The columns of a dimension that reports show (of char *): all that say something of a member,
 * but for the key of a dimension with a query, which stands in the fact. */
extern List *wh_dimension_report_columns(const WhModel *dimension);

/*
 * wh_dimension_infer_sql appends an INSERT of inferred members for the distinct keys that
 * `keys_query` (SQL; the dimension's key columns, in key order, by position) yields and that have
 * no row; $n of the query stay as they are; load_id is `load_id`.  Never for a key with a NULL.
 * ON CONFLICT DO NOTHING.  Run it as the dimension's owner (SQL must not call what a user wrote:
 * keys_query reads values that were computed before).
 */
extern void wh_dimension_infer_sql(StringInfo sql, const WhModel *dimension,
								   const char *keys_query, int64 load_id);

/*
 * wh_dimension_history gives the history of a mini-dimension: the dimension that says which
 * combination a key had when, and whose key references give.  wh_dimension_combination_sql appends
 * the combination's surrogate key of a version of it, or of one of its rows -1 to -3; both are SQL.
 * wh_dimension_no_combination is the hash of nothing but NULLs, which inferred members have.
 */
extern WhModel *wh_dimension_history(const WhModel *mini);
extern void wh_dimension_combination_sql(StringInfo sql, const WhModel *mini,
										 const char *history_sk);

/*
 * wh_dimension_known_combination_sql appends the same for the version that held at `instant` of a
 * key, among rows of the history that stand in relation `versions`; NULLs alone where there is
 * none.
 */
extern void wh_dimension_known_combination_sql(StringInfo sql, const WhModel *mini, List *keys,
											   const char *versions, const char *instant);

/* True when versions in time matter to facts (a type 2 or 6 column, or deletes that close). */
extern bool wh_dimension_is_versioned(const WhModel *dimension);

/* True when versions may be removed, and facts must follow walhouse.purged. */
extern bool wh_dimension_purges(const WhModel *dimension);

/* True when versions hold since what a column says, and not since the commit: the past is not
 * final. */
extern bool wh_dimension_is_effective(const WhModel *dimension);

/* True when versions may get or lose time that has passed: then facts must follow walhouse.moved,
 * and have an index on surrogate key and event time for it. */
extern bool wh_dimension_moves(const WhModel *dimension);

/*
 * wh_dimension_move_facts tells the facts of a dimension which surrogate keys have lost which times
 * in the load that brings it to `position`: the rows of `name` in the stage, with the columns sk,
 * from_time and to_time (timestamptz, `to` excluded).  Whatever points to such a key at such a time
 * is looked up again.  Does nothing where no fact refers to the dimension.
 */
extern void wh_dimension_move_facts(const WhModel *dimension, const WhStage *stage,
									const char *name, XLogRecPtr position);

/*
 * memory.c: versions of members that facts referred to, kept by the session.
 *
 * wh_dimension_memory_open gives what is kept of a dimension for the load of a fact, after the
 * dimension's own; a memory in the current context where `load` is NULL, for a build.  NULL: keys
 * of these types cannot be remembered.  What it gives is valid until the next call that adds
 * something to it.
 */
typedef struct WhMemory WhMemory;

typedef struct WhFoundVersion
{
	TimestampTz from;
	int64 sk;
} WhFoundVersion;

typedef struct WhFoundMember
{
	int count; /* 0: it has more than are kept */
	WhFoundVersion versions[FLEXIBLE_ARRAY_MEMBER]; /* ascending */
} WhFoundMember;

extern WhMemory *wh_dimension_memory_open(const WhModel *dimension, const WhLoad *load, int count,
										  const Oid *types, const Oid *collations);
/* NULL: it is not remembered. */
extern const WhFoundMember *wh_dimension_memory_find(const WhMemory *memory, const Datum *key);
extern const WhFoundMember *wh_dimension_memory_add(WhMemory *memory, const Datum *key,
													const WhFoundVersion *versions, int count);

#endif /* WH_DIMENSION_H */
