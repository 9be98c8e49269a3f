/*
 * dimension_private.h
 *		What the files of dimension/ share.
 */
#ifndef WH_DIMENSION_PRIVATE_H
#define WH_DIMENSION_PRIVATE_H

#include "dimension/dimension.h"


/* The surrogate keys of the unknown, the not applicable and the error member, as VALUES. */
#define WH_OTHER_SKS "VALUES (-1::bigint), (-2), (-3)"

/* True for the surrogate keys of what came from the source or the calendar. */
#define WH_IS_MEMBER(sk) sk " NOT BETWEEN -3 AND -1"

/* What a column of a dimension's table keeps of the images of its member. */
typedef enum WhKeep
{
	WH_KEEP_FIRST, /* type 0: the first one's value, on all versions */
	WH_KEEP_LAST, /* key, types 1 and 3, <column>_current of type 6: the last one's, on all */
	WH_KEEP_VERSION, /* types 2 and 6: the version's own */
	WH_KEEP_PREVIOUS /* <column>_previous of type 3: the one before the last change, on all */
} WhKeep;

/* A column of a dimension's table that comes from the query. */
typedef struct WhAttribute
{
	char *name;
	WhModelColumn *column; /* whose values it keeps */
	WhKeep keep;
	int number; /* its place among the attributes, for names inside statements */
} WhAttribute;

/* What a delete at the source does to a member. */
typedef enum WhOnDelete
{
	WH_DELETE_CLOSE, /* the open version ends */
	WH_DELETE_TOMBSTONE, /* it stays open, with is_deleted */
	WH_DELETE_IGNORE, /* nothing */
	WH_DELETE_PURGE /* all versions go */
} WhOnDelete;

/* What a declaration says of a dimension, after wh_model_prepare. */
typedef struct WhDeclaration
{
	char *schema;
	char *relation;
	WhQuery *query;
	List *key; /* of char * */
	Jsonb *scd;
	char *on_delete;
	bool unknown; /* it has the rows that stand for no member */
	char *effective;
	char *weight; /* of a bridge; NULL: none */
	int32 mini; /* id of the mini-dimension that this is the history of; 0: none */
} WhDeclaration;

/* -------- dimension.c -------- */

/* Judges the declaration, and makes the table, the view and the model. */
extern WhModel *wh_dimension_declare(const WhDeclaration *declaration);

/* -------- refer.c -------- */

/* What one dimension refers to another for, as walhouse.dimension_reference has it. */
#define WH_REFERENCE_OUTRIGGER "outrigger"
#define WH_REFERENCE_MEMBER "member" /* of a bridge */
#define WH_REFERENCE_HISTORY "history" /* of a mini-dimension */

extern void wh_dimension_store_references(const WhModel *model, const char *purpose,
										  List *references);
/* The references of that purpose, their dimensions read: WhReference * without text. */
extern List *wh_dimension_references(const WhModel *model, const char *purpose);
/* OIDs of the dimensions that refer to one, other than itself. */
extern List *wh_dimension_referrers(const WhModel *model);
/* Whether a list of char * has a name. */
extern bool wh_dimension_has_name(List *names, const char *name);

/* -------- outrigger.c -------- */
extern void wh_dimension_make_outriggers(WhModel *model, Jsonb *outriggers);

/* -------- attributes.c -------- */

/* The attributes of a dimension with these columns (of WhModelColumn *, with their scd types), in
 * the order of its table. */
extern List *wh_dimension_attributes(List *columns);
/* The columns (of WhModelColumn *) of a dimension's table that keep images' values. */
extern List *wh_dimension_table_columns(const WhModel *model);
/* Those attributes that keep the same. */
extern List *wh_dimension_keeping(List *attributes, WhKeep keep);
/* Raises for an scd argument that is no object of column names and types; sets the columns'
 * types. */
extern void wh_dimension_set_scd(WhQuery *query, Jsonb *scd);
/* The columns whose images open versions: types 2 and 6, but for the effective column. */
extern List *wh_dimension_versioned_columns(const WhModel *model);
/* "a.x, a.y": names of attributes; without an alias as a list of targets. */
extern char *wh_dimension_attribute_list(List *attributes, const char *alias);
/* "a.x, a.y": the columns that attributes keep values of. */
extern char *wh_dimension_source_list(List *attributes, const char *alias);

/* -------- deletes.c -------- */
extern WhOnDelete wh_dimension_parse_on_delete(const char *value);
extern WhOnDelete wh_dimension_on_delete(const WhModel *model);
/*
 * wh_dimension_events_sql appends wh_model_events_sql() without what deletes leave to others: all
 * of it with close; with the others the images alone, with purge those of the members' last lives.
 * with_state: and the rows of the state at $1, as events of that position, at -infinity.
 */
extern void wh_dimension_events_sql(StringInfo sql, const WhModel *model, bool with_state);
/* Before the versions of ($1, $2] are written: removes the versions of members that were deleted
 * in between. */
extern void wh_dimension_purge(WhModel *model, WhLoad *load, WhStage *stage, WhCounts *counts);
/* Whether a fact is declared on a dimension. */
extern bool wh_dimension_has_facts(const WhModel *model);
/* After it: brings is_deleted to what the range left. */
extern void wh_dimension_mark_deleted(WhModel *model, WhLoad *load, WhStage *stage,
									  WhCounts *counts);

/* -------- effective.c -------- */
/* Marks the column that an effective argument names; raises for one that cannot be it.  "commit"
 * names none. */
extern void wh_dimension_set_effective(WhQuery *query, const char *effective);
/* That column; NULL where versions hold since the commit. */
extern WhModelColumn *wh_dimension_effective_column(List *columns);
/* The table of events, made at the declaration of dimensions that have such a column. */
extern void wh_dimension_make_events(const WhModel *model);
extern Oid wh_dimension_events(const WhModel *model);
extern char *wh_dimension_instant(const WhModel *model, const char *alias);
/* The same as a build and a load of others (load.c), once their stage is filled. */
extern void wh_dimension_effective_build(WhModel *model, WhLoad *load, WhStage *stage,
										 WhCounts *counts);
extern void wh_dimension_effective_load(WhModel *model, WhLoad *load, WhStage *stage,
										WhCounts *counts);

/* -------- versions.c -------- */
extern void wh_dimension_build_versions(WhModel *model, WhLoad *load, WhStage *stage,
										WhCounts *counts);
extern void wh_dimension_load_versions(WhModel *model, WhLoad *load, WhStage *stage,
									   WhCounts *counts);

/* -------- effective_verify.c -------- */
extern void wh_dimension_effective_expected_sql(StringInfo sql, const WhModel *model, bool seeded);

/* -------- load.c -------- */
extern void wh_dimension_build(WhModel *model, WhLoad *load, WhCounts *counts);
extern void wh_dimension_load(WhModel *model, WhLoad *load, WhCounts *counts);

/* -------- direct.c -------- */
/* The versions of a load without statements, from *from on; false: statements must write those
 * after *from, which was moved to what is done. */
extern bool wh_dimension_direct(WhModel *model, WhLoad *load, WhCounts *counts, XLogRecPtr *from);

/* -------- verify.c, date.c -------- */
extern void wh_dimension_verify(WhModel *model, WhVerdict *verdict);
extern void wh_dimension_known(WhModel *model, WhKnown *known);
/*
 * wh_dimension_expected_sql appends WITH …, wh_expected: the rows that there should be at $2,
 * from the state at $1 on; seeded: what was before from the model's own rows.  Call
 * wh_model_stage_events before.
 */
extern void wh_dimension_expected_sql(StringInfo sql, const WhModel *model, bool seeded);
extern void wh_dimension_compare_computed(WhStage *stage, StringInfo sql, const WhModel *model,
										  List *columns, WhVerdict *verdict);
extern void wh_dimension_date_verify(WhModel *model, WhVerdict *verdict);
extern List *wh_dimension_date_columns(const WhModel *dimension);
extern void wh_dimension_date_lookup_sql(StringInfo sql, const WhModel *dimension, const char *key,
										 int null_sk);
extern void wh_dimension_date_infer_sql(StringInfo sql, const WhModel *dimension,
										const char *keys_query, int64 load_id);

/* -------- time.c -------- */
extern void wh_dimension_time_verify(WhModel *model, WhVerdict *verdict);
extern List *wh_dimension_time_columns(const WhModel *dimension);
extern void wh_dimension_time_lookup_sql(StringInfo sql, const WhModel *dimension, const char *key,
										 int null_sk);

/* -------- mini.c -------- */
extern void wh_dimension_mini_lookup_sql(StringInfo sql, const WhModel *mini, List *keys,
										 const char *event_time, int null_sk);
extern void wh_dimension_mini_infer_sql(StringInfo sql, const WhModel *mini,
										const char *keys_query, int64 load_id);
extern void wh_dimension_mini_verify(WhModel *model, WhVerdict *verdict);
extern void wh_dimension_mini_drop(WhModel *model);
/* Before the versions of a history's events are written: makes their combinations, and tells facts
 * of inferred members that are filled.  Does nothing for other dimensions. */
extern void wh_dimension_mini_load(const WhModel *history, const WhLoad *load, WhStage *stage);
/* After a history was built: finds the combinations that are missing; and makes them, under the
 * state lock. */
extern void wh_dimension_mini_build(WhModel *history);
extern void wh_dimension_mini_finish_build(WhModel *history, WhLoad *load, WhCounts *counts);

/* -------- junk.c -------- */

/* Raises for columns that cannot be in a combination; makes a table of combinations and the rows
 * that stand for none. */
extern void wh_dimension_check_combination(List *columns, const char *sk, const char *what);
extern WhModel *wh_dimension_declare_combinations(const char *schema, const char *relation,
												  WhModelKind kind, List *columns);
extern void wh_dimension_junk_verify(WhModel *model, WhVerdict *verdict);
extern List *wh_dimension_junk_columns(const WhModel *dimension);
extern void wh_dimension_junk_lookup_sql(StringInfo sql, const WhModel *dimension, List *keys);
extern void wh_dimension_junk_infer_sql(StringInfo sql, const WhModel *dimension,
										const char *keys_query, int64 load_id);
/* The hash by which a combination of values (SQL) of columns is found; of the columns of an
 * alias. */
extern char *wh_dimension_combination(List *columns, List *values);
extern char *wh_dimension_combination_of(List *columns, const char *alias);
/* Appends a SELECT of the distinct combinations of the columns of v in a FROM clause, as members
 * have them, and of their hash. */
extern void wh_dimension_combinations_sql(StringInfo sql, List *columns, const char *from);
/* Appends an INSERT of those of such rows that are not there. */
extern void wh_dimension_insert_combinations_sql(StringInfo sql, const WhModel *dimension,
												 const char *rows, int64 load_id);

/* -------- memory.c: what is kept of a dimension's members (dimension.h) -------- */

extern void wh_dimension_memory_init(void);
/* A load has written a member, or any of them. */
extern void wh_dimension_memory_forget(const WhModel *dimension, const Datum *key);
extern void wh_dimension_memory_forget_all(const WhModel *dimension);
/* What was kept at the dimension's position holds at `to`. */
extern void wh_dimension_memory_move(const WhModel *dimension, XLogRecPtr to);

#endif /* WH_DIMENSION_PRIVATE_H */
