/*
 * direct_private.h
 *		The load of a plain fact without statements: what the files that do it share (direct.c).
 */
#ifndef WH_FACT_DIRECT_PRIVATE_H
#define WH_FACT_DIRECT_PRIVATE_H

#include "fact/fact_private.h"
#include "utils/hsearch.h"
#include "utils/relcache.h"

/* -------- ends.c: what a range did to each key -------- */

typedef struct WhFactEnds WhFactEnds;

typedef struct WhFactEnd
{
	WhPlace first; /* of the row as it was before the range, when was_there */
	WhPlace last; /* of the key's last row in the range */
	HeapTuple kept; /* that row; NULL: it is to be fetched */
	uint32 truncates; /* met before that */
	char op; /* of the last row */
	bool was_there : 1;
	bool first_is_clear : 1; /* is_clear said so of these rows when they were read */
	bool last_is_clear : 1;
	bool stayed : 1; /* was_there, and the watched column has one value in all rows */
	Datum watched;
	Datum key[FLEXIBLE_ARRAY_MEMBER];
} WhFactEnd;

/* wh_fact_ends_open reads nothing yet; key_columns are the key's columns in the range's rows, and
 * stay the caller's.  is_clear is asked of images that may be an end, while they are at hand. */
extern WhFactEnds *wh_fact_ends_open(WhRange *range, WhKeys *keys, int key_count,
									 AttrNumber *key_columns,
									 bool (*is_clear)(void *arg, TupleTableSlot *row), void *arg);
/* wh_fact_ends_watch names a column of a type that is passed by value. */
extern void wh_fact_ends_watch(WhFactEnds *ends, AttrNumber column);
/*
 * wh_fact_ends_read brings the ends of one part of the keys into memory, where that of another
 * was; how many parts there are is known when the first one, 0, has been read.  False: the range
 * can only be read by SQL, which is known after the first one, too.
 */
extern bool wh_fact_ends_read(WhFactEnds *ends, int part);
extern int wh_fact_ends_parts(const WhFactEnds *ends);
/* The ends of the part, in the order in which their keys were met first; valid until the next
 * read. */
extern uint64 wh_fact_ends_count(const WhFactEnds *ends);
extern WhFactEnd *wh_fact_ends_get(const WhFactEnds *ends, uint64 number);
/* The key's last row, until the next one is asked for. */
extern TupleTableSlot *wh_fact_ends_last(const WhFactEnds *ends, const WhFactEnd *end);
extern bool wh_fact_ends_has(const WhFactEnds *ends, Datum *key);
/* Whether the last row of a key stands at the end of the range. */
extern bool wh_fact_ends_lives(const WhFactEnds *ends, const WhFactEnd *end);

extern void wh_fact_ends_close(WhFactEnds *ends);

/* -------- notes.c: the rows of a range, by the part of its keys -------- */

typedef struct WhFactNotes WhFactNotes;

/* Notes are added first; then each part is rewound and read, as often as is wanted. */
extern WhFactNotes *wh_fact_notes_open(int parts);
extern void wh_fact_notes_add(WhFactNotes *notes, int part, WhPlace place, char op);
extern void wh_fact_notes_rewind(WhFactNotes *notes, int part);
extern bool wh_fact_notes_next(WhFactNotes *notes, int part, WhPlace *place, char *op);
extern void wh_fact_notes_close(WhFactNotes *notes);

/* -------- images.c: the rows of a build -------- */

typedef struct WhFactImages WhFactImages;

/* wh_fact_images_open gets ready to read the images of the table's rows at the position after which
 * the range begins; NULL: only SQL can.  In the current context. */
extern WhFactImages *wh_fact_images_open(const WhModel *model, WhRange *range, WhFactEnds *ends);
extern TupleDesc wh_fact_images_desc(const WhFactImages *images);
/* wh_fact_images_each calls body for each image in the active snapshot, until it returns false. */
extern bool wh_fact_images_each(WhFactImages *images,
								bool (*body)(void *arg, TupleTableSlot *image), void *arg);
extern void wh_fact_images_close(WhFactImages *images);

/* -------- lookup.c: surrogate keys -------- */

typedef struct WhFactLookup WhFactLookup;

/* wh_fact_lookup_open gets ready to look a role's dimension up, in a load, or in a build where
 * `load` is NULL, as a snapshot sees it that is taken when something is to be read; NULL: only
 * SQL can.  In the current context. */
extern WhFactLookup *wh_fact_lookup_open(const WhFactRole *role, const WhLoad *load);
/* wh_fact_lookup_find gives the member of a key as of an instant, as wh_dimension_lookup_sql does;
 * false: there is none. */
extern bool wh_fact_lookup_find(WhFactLookup *lookup, const Datum *key, const bool *nulls,
								TimestampTz instant, int64 *sk);
/* Sees from now on what there is by now. */
extern void wh_fact_lookup_renew(WhFactLookup *lookup);
extern void wh_fact_lookup_close(WhFactLookup *lookup);

/* -------- leaves.c: the partitions of a fact -------- */

typedef struct WhFactLeaves WhFactLeaves;
typedef struct WhFactLeaf WhFactLeaf;

/* wh_fact_leaves_open opens a fact for writing by the current user; NULL: only SQL may.  In the
 * current context. */
extern WhFactLeaves *wh_fact_leaves_open(const WhFact *fact);
/* The attribute of a column of the fact, of the columns that roles have, and of load_id. */
extern AttrNumber wh_fact_leaves_attribute(const WhFactLeaves *leaves, const char *column);
extern TupleDesc wh_fact_leaves_desc(const WhFactLeaves *leaves);
/* The partition of an event time; NULL: there is none, or none that can be written without SQL.
 * wh_fact_leaves_lack says that it is to be made. */
extern WhFactLeaf *wh_fact_leaves_find(WhFactLeaves *leaves, Datum event_time);
extern bool wh_fact_leaves_lack(const WhFactLeaves *leaves, Datum event_time);
/*
 * wh_fact_leaf_find finds a row by what identifies it (fact->identity, in its order) as the
 * snapshot of wh_fact_leaves_see saw it; false: there is none.  The slot is valid until the next
 * call.
 */
extern void wh_fact_leaves_see(WhFactLeaves *leaves);
extern bool wh_fact_leaf_find(WhFactLeaf *leaf, const Datum *identity, TupleTableSlot **row);
extern void wh_fact_leaf_delete(WhFactLeaf *leaf, TupleTableSlot *row);
extern void wh_fact_leaf_update(WhFactLeaf *leaf, TupleTableSlot *row, const Datum *values,
								const bool *nulls);
/* Rows are gathered; their values must live until wh_fact_leaves_flush. */
extern void wh_fact_leaf_insert(WhFactLeaf *leaf, const Datum *values, const bool *nulls);
extern void wh_fact_leaves_flush(WhFactLeaves *leaves);
/* Says to which partitions it wrote (wh_fact_touch). */
extern void wh_fact_leaves_tell(const WhFactLeaves *leaves, WhFact *fact);
extern void wh_fact_leaves_close(WhFactLeaves *leaves);

/* -------- direct.c -------- */

/* A load without statements: what it has opened. */
struct WhFactDirect
{
	WhFact *fact;
	MemoryContext context;
	WhRange *range; /* of a load; of a build all that came after its position */
	WhFactEnds *ends;
	WhFactImages *images; /* of a build; NULL: a load */
	WhFactLeaves *leaves;
	WhStage *lacking; /* wh_lacking: rows (c…) without a partition, some for each; NULL: there are
						 none */
	HTAB *lacked; /* by a stretch of event time: a row of it is there */
	WhFormula *condition; /* of an image; NULL: there is none */
	WhFormula *identity; /* of an image: the columns that identify a row */
	WhFormula *columns; /* of an image: c… */
	WhFormula *reason; /* of c…: why the row cannot be placed */
	WhFormula *derived; /* of c…: the instant, then for each role its flags and key */
	TupleTableSlot *known; /* c… of which what identifies a row is set, and NULL the rest */
	int event_place; /* of the event time in what identifies a row */
	AttrNumber
		event_attribute; /* of an image, where the event time is that column as it is; else 0 */
	WhFactLookup **lookups; /* by role; open while rows are written */
	AttrNumber *targets; /* attributes of c…, of the roles' columns, and of load_id */
	bool forgets; /* rows stand in walhouse.ahead */
	bool keeps; /* a row whose columns that roles read stay keeps its surrogate keys */
	List *read_by_roles; /* of int: these columns */
	TupleTableSlot *present; /* the fact's row of the key, where it was looked for; else NULL */

	/* while rows are written */
	WhLoad *load;
	WhCounts *counts;
	Datum *values; /* of a new row, by attribute */
	bool *nulls;
	MemoryContext rows; /* of what these point to, until the flush */
	int gathered;
	Size gathered_bytes;
	MemoryContext one; /* of one key */
	uint32 *waiting; /* numbers of ends whose members are missing */
	int waiting_count;
	int waiting_room;
	int64 *surrogates; /* by role, of the row that was looked up */
	bool *lacks; /* by role: there was no member */
	TupleDesc with_reason; /* of wh_new and wh_was; NULL: not needed yet */
	TupleDesc with_surrogates; /* of wh_row and wh_lack */
	TupleDesc with_sign; /* of what is kept for rollups; NULL: there are none */
};

/* Whether an image meets the query's condition. */
extern bool wh_fact_direct_meets(WhFactDirect *direct, TupleTableSlot *image);
/* Why a row (c…) cannot be placed, in the current context; NULL: it can. */
extern char *wh_fact_direct_reason(WhFactDirect *direct, TupleTableSlot *row);
/* Sets what identifies a row in the slot `known`, and NULL the rest. */
extern void wh_fact_direct_know(WhFactDirect *direct, const Datum *identity, const bool *nulls);

/* -------- sides.c: the row that a key had, and the one that it shall have -------- */

typedef struct WhFactSide
{
	bool is_there;
	char *reason; /* NULL: it is in the fact, or shall be */
	Datum identity[INDEX_MAX_KEYS];
	bool nulls[INDEX_MAX_KEYS];
} WhFactSide;

/* What becomes of an image. */
typedef enum WhFactFate
{
	WH_FATE_ABSENT, /* the query has no row of it */
	WH_FATE_REJECTED,
	WH_FATE_INCOMPLETE, /* a member is missing */
	WH_FATE_COMPLETE
} WhFactFate;

/* wh_fact_side_old reads what identifies the row that stood in the fact, in memory of one key. */
extern void wh_fact_side_old(WhFactDirect *direct, const WhFactEnd *end, WhFactSide *old);
/*
 * wh_fact_side_new computes the row that shall stand in the fact, into values and nulls; false: a
 * member that it refers to is missing, which is staged.  Of what identifies it new has the event
 * time alone; `same`, unless it is NULL, is the row before, which had the same identity, and is
 * set.
 */
extern bool wh_fact_side_new(WhFactDirect *direct, const WhFactEnd *end, WhFactSide *new,
							 WhFactSide *same, bool is_again);
/*
 * wh_fact_side_compute computes the row of an image, its reason where it is rejected, and where it
 * is complete, values and nulls; one that may move is staged, too.
 */
extern WhFactFate wh_fact_side_compute(WhFactDirect *direct, TupleTableSlot *image,
									   TupleTableSlot **row, char **reason, WhFactSide *same);
/*
 * wh_fact_side_keeps says whether rows of a fact keep their surrogate keys, as those do that no
 * load touches, if neither their event time changes nor what roles read: when no dimension takes
 * versions, or their times, away.  None of the rows may be ahead of the feed clock, either.
 */
extern bool wh_fact_side_keeps(const WhFact *fact);
/* wh_fact_side_differs compares a row of the fact, whose values have been taken apart, with values
 * and nulls, image by image, but for load_id. */
extern bool wh_fact_side_differs(const WhFactDirect *direct, TupleTableSlot *row);

/* -------- exceptions.c: rows that are left to statements -------- */

/* A row that is not placed, in wh_new or wh_was: live, c…, reason. */
extern void wh_fact_direct_stage_reason(WhFactDirect *direct, const char *name,
										TupleTableSlot *row, const char *reason);
/* A row that may move, or lacks members, in wh_row or wh_lack: c…, sk…. */
extern void wh_fact_direct_stage_row(WhFactDirect *direct, const char *name, TupleTableSlot *row);

#endif /* WH_FACT_DIRECT_PRIVATE_H */
