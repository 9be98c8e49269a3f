/*
 * memory.c
 *		Surrogate keys that loads of facts have found, kept by the session from load to load.
 *
 * Of a member its versions are kept, when each began and its surrogate key: all that a look-up
 * wants.  A member that is not there is not remembered.  What is kept is what the dimension has,
 * because a dimension is a function of the log, and each of its writers is seen here:
 *
 *	- loads of the dimension in this session forget the members that they write, or all;
 *	- loads in other sessions are told by the log: what is kept holds for a position, and for a
 *	  later one if the log has nothing of the dimension's tables in between;
 *	- a build, DDL, TRUNCATE, and whoever writes with walhouse.allow_writes (model/protect.c)
 *	  invalidate the relation;
 *	- a transaction or subtransaction that aborts may take versions away that were found in it: all
 *	  is forgotten.
 *
 * Inferred members are new ones, and change nothing of others.  A load reads one snapshot: where an
 * invalidation came in its transaction, that may be of what the snapshot does not see, and what is
 * remembered then ends with the load.  Builds, whose snapshot may be older than what is kept, have
 * a memory of their own.
 *
 * All that is kept takes MAX_MEMORY at most; then everything is forgotten.  It belongs to the
 * session, in TopMemoryContext.
 */
#include "postgres.h"

#include "access/xact.h"
#include "storage/proc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

#define MAX_MEMORY ((Size) 32 * 1024 * 1024)
#define LOOK_EVERY 1024

typedef struct Found
{
	Datum *key;
	uint32 hash;
	char status;
	WhFoundMember *member;
} Found;

#define SH_PREFIX found
#define SH_ELEMENT_TYPE Found
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

struct WhMemory
{
	Oid relid; /* the hash key */
	bool is_valid; /* what is kept holds for the position */
	LocalTransactionId invalidated; /* in which transaction something did, the last time */
	XLogRecPtr position;
	MemoryContext counted; /* what is to stay below MAX_MEMORY */
	MemoryContext context; /* of what follows */
	int key_count;
	WhKeys *keys;
	MemoryContext room; /* of the members */
	found_hash *members; /* NULL: there is nothing yet */
	uint64 added;
};

static HTAB *memories = NULL; /* by relid */
static MemoryContext kept_context = NULL;

static WhMemory *find_memory(Oid relid);
static WhMemory *make_own(void);
static bool still_holds(const WhMemory *memory, const WhModel *dimension, const WhLoad *load);
static bool begin(WhMemory *memory, int count, const Oid *types, const Oid *collations);
static void forget_members(WhMemory *memory);
static void forget_everything(WhMemory *memory);
static WhMemory *present_memory(const WhModel *dimension);
static void invalidate(Datum arg, Oid relid);
static void end_of_transaction(XactEvent event, void *arg);
static void end_of_subtransaction(SubXactEvent event, SubTransactionId id, SubTransactionId parent,
								  void *arg);

void
wh_dimension_memory_init(void)
{
	CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
	RegisterXactCallback(end_of_transaction, NULL);
	RegisterSubXactCallback(end_of_subtransaction, NULL);
}

WhMemory *
wh_dimension_memory_open(const WhModel *dimension, const WhLoad *load, int count,
						 const Oid *types, const Oid *collations)
{
	WhMemory *memory = load != NULL ? find_memory(dimension->relid) : make_own();

	if (!still_holds(memory, dimension, load) && !begin(memory, count, types, collations))
		return NULL;
	memory->is_valid = memory->invalidated != wh_compat_lxid();
	memory->position = load != NULL ? load->to : InvalidXLogRecPtr;
	return memory;
}

/* find_memory finds what is kept of a dimension, or makes it. */
static WhMemory *
find_memory(Oid relid)
{
	WhMemory *memory;
	bool found;

	if (memories == NULL)
	{
		HASHCTL control = {.keysize = sizeof(Oid), .entrysize = sizeof(WhMemory)};

		kept_context = AllocSetContextCreate(TopMemoryContext, "walhouse kept members",
											 ALLOCSET_DEFAULT_SIZES);
		memories = hash_create("walhouse kept members", 16, &control, HASH_ELEM | HASH_BLOBS);
	}
	memory = hash_search(memories, &relid, HASH_ENTER, &found);
	if (!found)
	{
		memset(memory, 0, sizeof(WhMemory));
		memory->relid = relid;
		memory->counted = kept_context;
		memory->context =
			AllocSetContextCreate(kept_context, "walhouse members", ALLOCSET_DEFAULT_SIZES);
	}
	return memory;
}

/* make_own makes a memory that lives in the current context. */
static WhMemory *
make_own(void)
{
	WhMemory *memory = palloc0(sizeof(WhMemory));

	memory->context =
		AllocSetContextCreate(CurrentMemoryContext, "walhouse members", ALLOCSET_DEFAULT_SIZES);
	memory->counted = memory->context;
	return memory;
}

/*
 * still_holds says whether what is kept is what the load finds: it was kept or brought on in this
 * load, or nothing came for the dimension since, which the log is there to tell.  A dimension that
 * has no log never loses or changes a row.
 */
static bool
still_holds(const WhMemory *memory, const WhModel *dimension, const WhLoad *load)
{
	XLogRecPtr at = memory->position;

	if (!memory->is_valid || memory->members == NULL)
		return false;
	return dimension->sources == NIL || at == load->to || at == dimension->position ||
		   (at < dimension->position && at >= wh_model_horizon(dimension) &&
			!wh_model_is_touched(dimension, at, dimension->position));
}

/* begin makes a memory of nothing; false: the key cannot be hashed. */
static bool
begin(WhMemory *memory, int count, const Oid *types, const Oid *collations)
{
	MemoryContext caller;

	memory->members = NULL;
	MemoryContextReset(memory->context);
	caller = MemoryContextSwitchTo(memory->context);
	memory->key_count = count;
	memory->keys = wh_keys_open(count, types, collations);
	memory->room =
		AllocSetContextCreate(memory->context, "walhouse members", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(caller);
	if (memory->keys != NULL)
		forget_members(memory);
	return memory->members != NULL;
}

static void
forget_members(WhMemory *memory)
{
	memory->members = NULL;
	MemoryContextReset(memory->room);
	memory->members = found_create(memory->room, 256, memory->keys);
}

/* forget_everything gives the memory back that all of them take. */
static void
forget_everything(WhMemory *memory)
{
	HASH_SEQ_STATUS status;
	WhMemory *other;

	forget_members(memory);
	if (memory->counted != kept_context)
		return;
	hash_seq_init(&status, memories);
	while ((other = hash_seq_search(&status)) != NULL)
	{
		if (other->members != NULL)
			forget_members(other);
	}
}

const WhFoundMember *
wh_dimension_memory_find(const WhMemory *memory, const Datum *key)
{
	Found *found = found_lookup(memory->members, unconstify(Datum *, key));

	return found == NULL ? NULL : found->member;
}

const WhFoundMember *
wh_dimension_memory_add(WhMemory *memory, const Datum *key, const WhFoundVersion *versions,
						int count)
{
	MemoryContext caller;
	WhFoundMember *member;
	Datum *copy;
	bool found;

	if (++memory->added % LOOK_EVERY == 0 &&
		MemoryContextMemAllocated(memory->counted, true) > MAX_MEMORY)
		forget_everything(memory);
	caller = MemoryContextSwitchTo(memory->room);
	member = palloc(offsetof(WhFoundMember, versions) + sizeof(WhFoundVersion) * count);
	member->count = count;
	memcpy(member->versions, versions, sizeof(WhFoundVersion) * count);
	copy = palloc(sizeof(Datum) * memory->key_count);
	wh_keys_copy(memory->keys, copy, key, NULL);
	found_insert(memory->members, copy, &found)->member = member;
	MemoryContextSwitchTo(caller);
	return member;
}

/* -------- what is forgotten -------- */

/* present_memory is what is kept of a dimension; NULL: nothing is. */
static WhMemory *
present_memory(const WhModel *dimension)
{
	WhMemory *memory = memories == NULL ? NULL :
										  hash_search(memories, &dimension->relid, HASH_FIND, NULL);

	return memory == NULL || !memory->is_valid || memory->members == NULL ? NULL : memory;
}

void
wh_dimension_memory_forget(const WhModel *dimension, const Datum *key)
{
	WhMemory *memory = present_memory(dimension);

	if (memory != NULL)
		(void) found_delete(memory->members, unconstify(Datum *, key));
}

void
wh_dimension_memory_forget_all(const WhModel *dimension)
{
	WhMemory *memory = present_memory(dimension);

	if (memory != NULL)
		memory->is_valid = false;
}

void
wh_dimension_memory_move(const WhModel *dimension, XLogRecPtr to)
{
	WhMemory *memory = present_memory(dimension);

	if (memory != NULL && memory->position == dimension->position)
		memory->position = to;
}

/* invalidate comes at any time, also while members are looked up: nothing is freed. */
static void
invalidate(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	WhMemory *memory;

	if (memories == NULL)
		return;
	hash_seq_init(&status, memories);
	while ((memory = hash_seq_search(&status)) != NULL)
	{
		if (OidIsValid(relid) && memory->relid != relid)
			continue;
		memory->is_valid = false;
		memory->invalidated = wh_compat_lxid();
	}
}

static void
end_of_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT)
		invalidate((Datum) 0, InvalidOid);
}

static void
end_of_subtransaction(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		invalidate((Datum) 0, InvalidOid);
}
