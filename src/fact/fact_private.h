/*
 * fact_private.h
 *		What the files of fact/ share: a fact as its statements need it.
 *
 * Statements read stages (base.h), whose columns have names by position: c1, c2, … the fact's
 * columns, those of the query first, sk1, sk2, … the surrogate keys of the roles.  So no name that
 * a user chose can meet one of ours.
 */
#ifndef WH_FACT_PRIVATE_H
#define WH_FACT_PRIVATE_H

#include "fact/fact.h"
#include "partition/partition.h"
#include "utils/jsonb.h"

/* A column that refers to a dimension. */
typedef struct WhFactRole
{
	int number; /* from 1 */
	char *column; /* the surrogate key's column in the fact */
	WhModel *dimension;
	List *keys; /* of int: positions (from 1) of the fact's columns that give the dimension's
				   key, in its order */
	int null_sk; /* the member of a NULL key: -1, -2 or -3 */
	int not_applicable; /* position of the column that says so; 0: none */
	int error;
	int history; /* of a mini-dimension: number of the role that has its history's version; else 0
				  */
} WhFactRole;

/* A column that says when a boolean column of the query became true. */
typedef struct WhFactMilestone
{
	char *name;
	int flag; /* position of the boolean column */
	int position; /* of the milestone itself */
} WhFactMilestone;

/* A column that is the time between two others. */
typedef struct WhFactLag
{
	char *name;
	int from; /* positions of the two, and of the lag itself */
	int to;
	int position;
} WhFactLag;

/* What a declaration chooses that adds columns. */
typedef struct WhFactChoice
{
	char *corrections;
	List *measures; /* of char * */
	Jsonb *milestones; /* NULL: none */
	Jsonb *lags;
} WhFactChoice;

typedef struct WhFact
{
	WhModel *model;
	List *columns; /* of WhModelColumn *: the query's, and what the fact adds to them */
	int width; /* how many */
	int query_width; /* how many of the query */
	List *key; /* of int: positions of the key's columns */
	List *identity; /* of int: positions of what identifies a row of the table: the key, the event
					   time, of bookings booked_lsn and is_reversal */
	int event_time; /* position of the event time */
	Oid event_type; /* timestamptz, timestamp or date */
	WhGrid grid;
	char *bounds_from; /* literals of the event time's type: rows outside [from, to) are rejected */
	char *bounds_to;
	char *horizon; /* literal of the event time's type: what is below is retired; or NULL */
	bool stops_when_late; /* at a change of what is retired */
	char *zone; /* the feed's time zone, as a literal */
	List *roles; /* of WhFactRole * */
	bool books; /* corrections are bookings: rows are only ever inserted */
	List *measures; /* of int: positions of the columns that a reversal negates */
	int booked_at; /* positions; 0 where there are no bookings */
	int booked_lsn;
	int is_reversal;
	List *milestones; /* of WhFactMilestone *, by position */
	List *lags; /* of WhFactLag *, by position */
	XLogRecPtr start; /* of a build: where the history begins that it replays, and the feed clock */
	TimestampTz start_clock; /* there; also of verify() */
	MemoryContext context; /* of the model, and so of this and of the stage */
	WhStage *stage; /* NULL, or the rows of the load that is going on */
	bool read_known;
	List *read; /* of int: attribute numbers that rollups read (write.c); valid when read_known */
	List *touched; /* of Oid: partitions that the load wrote to, some perhaps more than once */
	struct WhFactDirect *direct; /* of the load that is going on, when it does without statements */
	bool direct_refused; /* it cannot */
} WhFact;

/* fact.c */
extern WhFact *wh_fact_open(WhModel *model);

/* columns.c: wh_fact_add_columns sets the columns of a fact, those of its query and those that it
 * adds to them, or raises where they cannot be; then wh_fact_identify sets key, event time and
 * identity. */
extern WhFactChoice *wh_fact_choice(const WhModel *model);
extern void wh_fact_add_columns(WhFact *fact, List *columns, const WhFactChoice *choice);
extern void wh_fact_identify(WhFact *fact, List *key, const char *event_time);
extern WhModelColumn *wh_fact_column(const WhFact *fact, int position);
/* 0 when there is no column of that name. */
extern int wh_fact_position(const WhFact *fact, const char *name);

/* text.c: pieces of SQL; alias is that of a stage with columns c1, c2, … */
extern void wh_fact_columns(StringInfo sql, const WhFact *fact, const char *alias);
/* Those of the query alone. */
extern void wh_fact_query_columns(StringInfo sql, const WhFact *fact, const char *alias);
/* "(c1, c2, …)": names for these. */
extern char *wh_fact_query_names(const WhFact *fact);
extern void wh_fact_role_columns(StringInfo sql, const WhFact *fact, const char *alias);
extern void wh_fact_table_columns(StringInfo sql, const WhFact *fact, const char *alias);
/* "a.<left>1 = b.<right>1 AND …" over the key, with each type's own equality; "table" as prefix
 * means the fact's own names. */
extern void wh_fact_key_match(StringInfo sql, const WhFact *fact, const char *left,
							  const char *right);
/* The same over some columns. */
extern void wh_fact_match(StringInfo sql, const WhFact *fact, const List *positions,
						  const char *left, const char *right);
/* The same over what identifies a row: the fact's row f against the columns <prefix><position> of
 * x. */
extern void wh_fact_row_match(StringInfo sql, const WhFact *fact, const char *prefix);
/* The same for two rows of the fact's table. */
extern void wh_fact_same_row(StringInfo sql, const WhFact *fact, const char *a, const char *b);
/* Why a row cannot be placed, as SQL text; NULL for rows that can. */
extern char *wh_fact_reason(const WhFact *fact, const char *alias);
/* The same of whole rows, also of bookings by booked_at, which images do not have. */
extern char *wh_fact_row_reason(const WhFact *fact, const char *alias);
/* The event time as timestamptz. */
extern char *wh_fact_instant(const WhFact *fact, const char *alias);
/* ", (lag) AS c5, …": the lags, of the columns before them. */
extern void wh_fact_lags(StringInfo sql, const WhFact *fact, const char *alias);
/* text[] of the key's values, and of what identifies a row. */
extern char *wh_fact_key_text(const WhFact *fact, const char *alias);
extern char *wh_fact_row_text(const WhFact *fact, const char *alias);
/* The expressions that give a role's dimension key, cast to its types. */
extern List *wh_fact_role_keys(const WhFact *fact, const WhFactRole *role, const char *alias);
/* A role's look-up as of an instant (SQL). */
extern char *wh_fact_lookup(const WhFact *fact, const WhFactRole *role, const char *alias,
							const char *instant);
/* ", (look-up) AS sk1, …" */
extern void wh_fact_lookups(StringInfo sql, const WhFact *fact, const char *alias);
/* What an UPDATE sets to give a role another version, `sk` (SQL): its column, and with the
 * version of a history the combination. */
extern char *wh_fact_role_targets(const WhFact *fact, const WhFactRole *role);
extern char *wh_fact_role_values(const WhFact *fact, const WhFactRole *role, const char *sk);
/* The role of the mini-dimension whose history a role has a version of; NULL: it is none. */
extern WhFactRole *wh_fact_mini(const WhFact *fact, const WhFactRole *role);
/* A type's name, qualified. */
extern char *wh_fact_type(Oid type, int32 typmod);
/* " COLLATE …" where it is not the type's own. */
extern char *wh_fact_collation(const WhModelColumn *column);

/* retired.c */

/* The reason of rows below the fact's horizon; they are rejected by nobody, and not kept. */
#define WH_FACT_RETIRED "retired"

extern void wh_fact_read_horizon(WhFact *fact);
/* "alias.c5 < …", and of the fact's own rows "alias.at >= …"; NULL: nothing is retired. */
extern char *wh_fact_is_retired(const WhFact *fact, const char *alias);
extern char *wh_fact_is_kept(const WhFact *fact, const char *alias);
/* Counts the changes of retired rows in a load's lists; raises where these stop the fact. */
extern void wh_fact_count_late(WhFact *fact);
extern void wh_fact_tell_horizon(const WhFact *fact);
extern void wh_fact_forget_retention(int32 fact_id);

/* place.c */
extern List *wh_fact_missing_partitions(WhModel *model, WhLoad *load);
extern char *wh_fact_bound(Oid type, const char *zone, const char *date);

/* state.c, read by place, build and verify */
/* "(…) n (c1, …)": the rows that there should be at position $1; of a fact with a history what
 * wh_fact_stage_state has staged. */
extern void wh_fact_state(StringInfo sql, const WhFact *fact);
/* "SELECT c…, reason, sk… FROM …": the same, judged and looked up; sk is NULL where there is no
 * member or a reason. */
extern void wh_fact_state_rows(StringInfo sql, const WhFact *fact);

/* history.c: facts whose rows depend on every event */
extern bool wh_fact_has_history(const WhFact *fact);
extern void wh_fact_read_history(WhFact *fact, WhLoad *load);
/* Fills wh_state of a stage: the rows at `to`, replayed from `from` on. */
extern void wh_fact_stage_state(WhFact *fact, WhStage *stage, XLogRecPtr from, XLogRecPtr to);
extern void wh_fact_begin_history(const WhFact *fact);

/* change.c */
extern void wh_fact_load(WhModel *model, WhLoad *load, WhCounts *counts);
extern void wh_fact_read_changes(WhFact *fact, WhLoad *load);
extern void wh_fact_resolve(WhFact *fact, WhLoad *load, WhCounts *counts);
/* Brings the fact from the rows of wh_old to those of wh_row. */
extern void wh_fact_replace_rows(WhFact *fact, WhLoad *load, WhCounts *counts);
extern void wh_fact_insert(WhFact *fact, WhLoad *load, const char *from, WhCounts *counts);
extern void wh_fact_reject(WhFact *fact, WhLoad *load, WhCounts *counts);
/* Makes the members that rows of a relation of the stage (c…, sk…) lack; returns how many. */
extern uint64 wh_fact_infer_members(WhFact *fact, WhFactRole *role, WhLoad *load,
									const char *rows);
/* Fills wh_old from the rows (c…, reason) of wh_was. */
extern void wh_fact_stage_old(WhFact *fact);
/* Fills wh_rejected (key, reason, row) with what walhouse.fact_rejected has of the keys that a
 * SELECT of one text[] column (key) gives. */
extern void wh_fact_stage_rejected(const WhFact *fact, WhStage *stage, const char *keys);
extern void wh_fact_rejected_rows(StringInfo sql, const WhFact *fact, const char *from);
extern uint64 wh_fact_catalog_narrow(WhFact *fact, const char *sql, int nargs, const WhArg *args);
extern uint64 wh_fact_fill_narrow(WhFact *fact, const char *name, const char *sql);
/* Takes from the planner what would read the whole of a fact (nested loops with run-time pruning
 * stay), until wh_settings_pop. */
extern int wh_fact_push_narrow(void);

/*
 * write.c: all that a load does to rows of a fact, f; each reads the fact's stage, and returns how
 * many rows it wrote.  load_id is set by these, and what rollups need is kept by them.
 *
 * DELETE FROM fact f USING <from> WHERE <where>
 * UPDATE fact f SET (<columns>, load_id) = (<values>, …) FROM <from> WHERE <where>
 * INSERT INTO fact (all columns, load_id) SELECT <values>, … FROM <from>
 *
 * The first two as nested loops; each row is met once.
 */
extern uint64 wh_fact_delete_rows(WhFact *fact, const WhLoad *load, const char *from,
								  const char *where);
extern uint64 wh_fact_update_rows(WhFact *fact, const WhLoad *load, const char *columns,
								  const char *values, const char *from, const char *where);
extern uint64 wh_fact_insert_rows(WhFact *fact, const WhLoad *load, const char *values,
								  const char *from);

/* touched.c: to which partitions a load wrote, which whatever writes says; at its end they are
 * counted. */
extern void wh_fact_touch(WhFact *fact, Oid leaf);
extern void wh_fact_count_touched(WhFact *fact, WhCounts *counts);

/* Whether what a load does to the fact's rows is to be kept for rollups. */
extern bool wh_fact_is_read(WhFact *fact, const WhLoad *load);

/*
 * direct.c: a load without statements.  wh_fact_direct_prepare reads the range, once for each
 * load, and says whether the load can be of that kind: then all of its rows have partitions.
 * wh_fact_direct_begin says so for the last time, when the dimensions have been brought on, and
 * makes the fact's stage; wh_fact_direct_load writes, and leaves in the stage what
 * wh_fact_ahead_add wants.
 */
typedef struct WhFactDirect WhFactDirect;

extern bool wh_fact_direct_prepare(WhFact *fact, const WhLoad *load);
/* Rows (c…: key and event time) in wh_lacking that stand for partitions which are to be made
 * first; NULL: there are all. */
extern const WhStage *wh_fact_direct_lacking(const WhFactDirect *direct);
extern bool wh_fact_direct_begin(WhFact *fact, WhLoad *load);
extern void wh_fact_direct_load(WhFact *fact, WhLoad *load, WhCounts *counts);
/* The same for a build: inserts the complete rows, and leaves in the stage what is left to do,
 * wh_new (live, c…, reason) and wh_row. */
extern void wh_fact_direct_fill(WhFact *fact, WhLoad *load, WhCounts *counts);
extern void wh_fact_direct_close(WhFactDirect *direct);

/* ahead.c */
extern bool wh_fact_ahead_has_rows(const WhFact *fact);
extern TimestampTz wh_fact_clock(const WhModel *model);
extern void wh_fact_ahead_forget(WhFact *fact);
extern void wh_fact_ahead_add(WhFact *fact, WhLoad *load);
extern void wh_fact_ahead_repoint(WhFact *fact, WhLoad *load, bool all, WhCounts *counts);
extern void wh_fact_ahead_pass(WhFact *fact, WhLoad *load);

/* views.c */
extern void wh_fact_make_views(WhModel *model);

/* known.c */
extern void wh_fact_known(WhModel *model, WhKnown *known);

/* purged.c, moved.c */
extern void wh_fact_follow_purges(WhFact *fact, WhLoad *load, WhCounts *counts);
extern void wh_fact_follow_moves(WhFact *fact, WhLoad *load, WhCounts *counts);

/* mini.c */
extern void wh_fact_follow_fills(WhFact *fact, WhLoad *load, WhCounts *counts);
extern char *wh_fact_followed(const WhFact *fact, const WhFactRole *role, const char *alias);

/* build.c */
extern void wh_fact_build(WhModel *model, WhLoad *load, WhCounts *counts);
/* Makes the stage of a build, once, with the state of a fact that has a history. */
extern void wh_fact_stage_build(WhFact *fact, WhLoad *load);
extern void wh_fact_release(WhModel *model);
extern void wh_fact_finish_build(WhModel *model, WhLoad *load, WhCounts *counts);

/* mend.c */
extern bool wh_fact_suspect(WhModel *model, TimestampTz from, TimestampTz to);
extern List *wh_fact_mend(WhModel *model, WhLoad *load, WhCounts *counts);

/* verify.c */
extern void wh_fact_verify(WhModel *model, WhVerdict *verdict);

#endif /* WH_FACT_PRIVATE_H */
