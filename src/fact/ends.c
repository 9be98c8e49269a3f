/*
 * ends.c
 *		What a range of changes did to each key, in memory: where its row was before, and where
 * the last one is.
 *
 * A fact wants the two ends of a range alone.  Of each key two places in the log are kept, some
 * 80 bytes, and the last rows of the first few ten thousand keys; all others are fetched again
 * when it is their turn, in the order in which they were written, from pages that were read a
 * moment ago.  Where the keys of a range do not fit into maintenance_work_mem, they are divided by
 * their hash, and each part is read by itself, by the places of its rows (notes.c): so memory is
 * bounded, whatever a source transaction holds, and time follows the rows.
 *
 * The first row of a key is a B where there was a row before.  The last one says what is left,
 * unless a TRUNCATE came after it.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/base.h"
#include "fact/direct_private.h"
#include "fact/fact.h"

#define BLOCK_ENDS 1024
#define LOOK_EVERY 1024
#define KEPT_BYTES (8 * 1024 * 1024)
#define MAX_PARTS 1024 /* each has a file, with a buffer of 8 kB */

/* An end by its key, which is a part of it. */
typedef struct Entry
{
	Datum *key;
	uint32 hash;
	char status;
} Entry;

#define SH_PREFIX ends
#define SH_ELEMENT_TYPE Entry
#define SH_KEY_TYPE Datum *
#define SH_KEY key
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) (a)->hash
#define SH_HASH_KEY(tb, k) wh_keys_hash((WhKeys *) (tb)->private_data, k, NULL)
#define SH_EQUAL(tb, a, b) wh_keys_equal((WhKeys *) (tb)->private_data, a, NULL, b, NULL)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct WhFactEnds
{
	WhRange *range;
	WhKeys *keys;
	int key_count;
	AttrNumber *key_columns; /* of the range's rows */
	AttrNumber watched; /* likewise; 0: none */
	bool (*is_clear)(void *arg, TupleTableSlot *row);
	void *arg;
	int parts; /* by which the keys are divided: a power of 2 */
	int part; /* that is here; -1: none */
	WhFactNotes *notes; /* which rows belong to which part; NULL when there is one part */
	bool is_noted; /* all of them */
	uint64 count;
	uint32 truncates; /* TRUNCATEs that were met */
	MemoryContext scratch; /* of what comparing keys leaves behind */
	MemoryContext context; /* of what follows, emptied for each part */
	ends_hash *table;
	MemoryContext kept; /* of last rows, which are kept until they take KEPT_BYTES, or all of the
						   memory that there is; NULL: none is kept */
	char **blocks; /* of BLOCK_ENDS ends each */
	int block_count;
	int block_room;
};

static bool read_all(WhFactEnds *ends);
static void read_noted(WhFactEnds *ends);
static void begin(WhFactEnds *ends);
static void look_around(WhFactEnds *ends);
static bool take_row(WhFactEnds *ends, TupleTableSlot *row, char op, WhPlace place);
static void take_end(WhFactEnds *ends, Datum *key, uint32 hash, TupleTableSlot *row, char op,
					 WhPlace place);
static HeapTuple keep_row(WhFactEnds *ends, char op);
static bool read_watched(const WhFactEnds *ends, TupleTableSlot *row, Datum *value);
static WhFactEnd *add_end(WhFactEnds *ends, const Datum *key);
static bool is_full(const WhFactEnds *ends);
static Size end_size(const WhFactEnds *ends);

WhFactEnds *
wh_fact_ends_open(WhRange *range, WhKeys *keys, int key_count, AttrNumber *key_columns,
				  bool (*is_clear)(void *arg, TupleTableSlot *row), void *arg)
{
	WhFactEnds *ends = palloc0(sizeof(WhFactEnds));

	ends->range = range;
	ends->keys = keys;
	ends->key_count = key_count;
	ends->key_columns = key_columns;
	ends->is_clear = is_clear;
	ends->arg = arg;
	ends->parts = 1;
	ends->part = -1;
	ends->scratch =
		AllocSetContextCreate(CurrentMemoryContext, "walhouse keys", ALLOCSET_DEFAULT_SIZES);
	ends->context =
		AllocSetContextCreate(CurrentMemoryContext, "walhouse ends", ALLOCSET_DEFAULT_SIZES);
	return ends;
}

void
wh_fact_ends_watch(WhFactEnds *ends, AttrNumber column)
{
	ends->watched = column;
}

int
wh_fact_ends_parts(const WhFactEnds *ends)
{
	return ends->parts;
}

bool
wh_fact_ends_read(WhFactEnds *ends, int part)
{
	if (ends->part == part)
		return true;
	ends->part = part;
	if (ends->is_noted)
	{
		read_noted(ends);
		return true;
	}
	while (!read_all(ends))
	{
		if (ends->range->is_disordered)
			return false;
		ends->parts *= 2;
	}
	ends->is_noted = ends->parts > 1;
	return true;
}

void
wh_fact_ends_close(WhFactEnds *ends)
{
	if (ends->notes != NULL)
		wh_fact_notes_close(ends->notes);
	ends->notes = NULL;
}

/* read_all reads the range, and keeps the keys of the part that is to be here; false: they do not
 * fit, or the range is disordered. */
static bool
read_all(WhFactEnds *ends)
{
	MemoryContext caller = CurrentMemoryContext;
	WhRange *range = ends->range;
	uint64 rows = 0;
	bool is_read;

	if (ends->parts > 1)
		ends->notes = wh_fact_notes_open(ends->parts);
	MemoryContextSwitchTo(ends->scratch);
	begin(ends);
	wh_model_range_rewind(range);
	while (wh_model_range_next(range))
	{
		if (range->is_disordered || !take_row(ends, range->row, range->op, range->place))
			break;
		if (++rows % LOOK_EVERY != 0)
			continue;
		look_around(ends);
		if (is_full(ends))
			break;
	}
	MemoryContextSwitchTo(caller);
	is_read = !range->is_disordered && !is_full(ends);
	if (!is_read)
		wh_fact_ends_close(ends);
	return is_read;
}

/* read_noted reads the part that is to be here by its notes; it may be a little larger than the
 * first one. */
static void
read_noted(WhFactEnds *ends)
{
	MemoryContext caller = MemoryContextSwitchTo(ends->scratch);
	uint64 rows = 0;
	WhPlace place;
	char op;

	begin(ends);
	wh_fact_notes_rewind(ends->notes, ends->part);
	while (wh_fact_notes_next(ends->notes, ends->part, &place, &op))
	{
		if (op == 'T')
			ends->truncates++;
		else
			(void) take_row(ends, wh_model_range_fetch(ends->range, place), op, place);
		if (++rows % LOOK_EVERY == 0)
			look_around(ends);
	}
	MemoryContextSwitchTo(caller);
}

static void
begin(WhFactEnds *ends)
{
	MemoryContextReset(ends->context);
	ends->table = ends_create(ends->context, 1024, ends->keys);
	ends->count = 0;
	ends->truncates = 0;
	ends->blocks = NULL;
	ends->block_count = 0;
	ends->block_room = 0;
	ends->kept = ends->parts > 1 ?
					 NULL :
					 GenerationContextCreate(ends->context, "walhouse last rows",
											 ALLOCSET_DEFAULT_SIZES);
}

static void
look_around(WhFactEnds *ends)
{
	CHECK_FOR_INTERRUPTS();
	MemoryContextReset(ends->scratch);
	if (ends->kept != NULL && MemoryContextMemAllocated(ends->kept, false) >=
								  Min(KEPT_BYTES, maintenance_work_mem * (Size) 1024 / 4))
		ends->kept = NULL;
}

/* take_row takes note of a row; false: it has no key. */
static bool
take_row(WhFactEnds *ends, TupleTableSlot *row, char op, WhPlace place)
{
	Datum key[INDEX_MAX_KEYS];
	uint32 hash;
	int part;

	if (op == 'T')
	{
		ends->truncates++;
		for (int i = 0; ends->notes != NULL && i < ends->parts; i++)
			wh_fact_notes_add(ends->notes, i, place, op);
		return true;
	}
	for (int i = 0; i < ends->key_count; i++)
	{
		bool isnull;

		key[i] = slot_getattr(row, ends->key_columns[i], &isnull);
		if (isnull)
			ends->range->is_disordered = true;
	}
	if (ends->range->is_disordered)
		return false;
	hash = wh_keys_hash(ends->keys, key, NULL);
	/* mixed once more: bits of the hash that are the same in all of a part would crowd the table */
	part = murmurhash32(hash) & (ends->parts - 1);
	if (ends->notes != NULL && !ends->is_noted)
		wh_fact_notes_add(ends->notes, part, place, op);
	if (part == ends->part)
		take_end(ends, key, hash, row, op, place);
	return true;
}

static void
take_end(WhFactEnds *ends, Datum *key, uint32 hash, TupleTableSlot *row, char op, WhPlace place)
{
	WhFactEnd *end;
	Datum watched;
	bool found;
	Entry *entry = ends_insert_hash(ends->table, key, hash, &found);

	if (!found)
	{
		end = add_end(ends, key);
		entry->key = end->key;
		end->was_there = op == 'B';
		end->stayed = end->was_there && read_watched(ends, row, &end->watched);
		end->first = place;
		end->first_is_clear = end->was_there && ends->is_clear(ends->arg, row);
	}
	else
		end = (WhFactEnd *) ((char *) entry->key - offsetof(WhFactEnd, key));
	end->stayed = end->stayed && read_watched(ends, row, &watched) && watched == end->watched;
	end->last_is_clear = (op == 'I' || op == 'U') &&
						 (end->stayed ? end->first_is_clear : ends->is_clear(ends->arg, row));
	end->op = op;
	end->last = place;
	end->kept = keep_row(ends, op);
	end->truncates = ends->truncates;
}

/* keep_row copies the row that the range is at, if it is an image and there is room. */
static HeapTuple
keep_row(WhFactEnds *ends, char op)
{
	MemoryContext caller;
	HeapTuple row;

	if (ends->kept == NULL || (op != 'I' && op != 'U'))
		return NULL;
	caller = MemoryContextSwitchTo(ends->kept);
	row = wh_model_range_keep(ends->range);
	MemoryContextSwitchTo(caller);
	return row;
}

/* read_watched reads the watched column of a row; false: there is none. */
static bool
read_watched(const WhFactEnds *ends, TupleTableSlot *row, Datum *value)
{
	bool isnull;

	if (ends->watched == 0)
		return false;
	*value = slot_getattr(row, ends->watched, &isnull);
	return !isnull;
}

/* add_end makes room for one more. */
static WhFactEnd *
add_end(WhFactEnds *ends, const Datum *key)
{
	MemoryContext caller = MemoryContextSwitchTo(ends->context);
	WhFactEnd *end;

	if (ends->count == (uint64) ends->block_count * BLOCK_ENDS)
	{
		if (ends->block_count == ends->block_room)
		{
			int room = Max(ends->block_room * 2, 64);
			char **blocks = palloc(sizeof(char *) * room);

			if (ends->block_count > 0)
				memcpy(blocks, ends->blocks, sizeof(char *) * ends->block_count);
			ends->blocks = blocks;
			ends->block_room = room;
		}
		ends->blocks[ends->block_count++] = palloc(end_size(ends) * BLOCK_ENDS);
	}
	end = wh_fact_ends_get(ends, ends->count++);
	wh_keys_copy(ends->keys, end->key, key, NULL);
	MemoryContextSwitchTo(caller);
	return end;
}

uint64
wh_fact_ends_count(const WhFactEnds *ends)
{
	return ends->count;
}

WhFactEnd *
wh_fact_ends_get(const WhFactEnds *ends, uint64 number)
{
	return (WhFactEnd *) (ends->blocks[number / BLOCK_ENDS] +
						  number % BLOCK_ENDS * end_size(ends));
}

TupleTableSlot *
wh_fact_ends_last(const WhFactEnds *ends, const WhFactEnd *end)
{
	return end->kept != NULL ? wh_model_range_kept(ends->range, end->last, end->kept) :
							   wh_model_range_fetch(ends->range, end->last);
}

bool
wh_fact_ends_has(const WhFactEnds *ends, Datum *key)
{
	MemoryContext caller = MemoryContextSwitchTo(ends->scratch);
	bool has = ends_lookup(ends->table, key) != NULL;

	MemoryContextSwitchTo(caller);
	MemoryContextReset(ends->scratch);
	return has;
}

bool
wh_fact_ends_lives(const WhFactEnds *ends, const WhFactEnd *end)
{
	return (end->op == 'I' || end->op == 'U') && end->truncates == ends->truncates;
}

static bool
is_full(const WhFactEnds *ends)
{
	return ends->parts < MAX_PARTS &&
		   MemoryContextMemAllocated(ends->context, true) / 1024 > maintenance_work_mem;
}

static Size
end_size(const WhFactEnds *ends)
{
	return MAXALIGN(offsetof(WhFactEnd, key) + sizeof(Datum) * ends->key_count);
}
