/*
 * slots.c
 *		The shared memory of workers: a slot for each feed that is started, in whichever database.
 *
 * The catalog is the truth about which feeds shall run (walhouse.feed.enabled); slots are what
 * the launcher, which is connected to no database, knows of it.  They are gone after a crash of
 * the server or its restart, and are filled again by visits to every database.  One lightweight
 * lock guards all of it: it is taken for a few copies at a time, a few times for each round of a
 * worker.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "worker/worker.h"
#include "worker/worker_private.h"

#define BACKOFF_FIRST_MS 1000
#define BACKOFF_LAST_MS 60000
#define WISH_MS 2000

WhShared *wh_shared = NULL;

static shmem_request_hook_type next_request_hook = NULL;
static shmem_startup_hook_type next_startup_hook = NULL;

static Size shared_size(void);
static void request_shared(void);
static void startup_shared(void);
static WhWorkerInfo *copy_info(const WhSlot *slot);
static const char *state_of(const WhSlot *slot);

/* wh_slots_init asks for shared memory; in the postmaster, at its start, alone. */
void
wh_slots_init(void)
{
	next_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared;
	next_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_shared;
}

bool
wh_worker_is_preloaded(void)
{
	return wh_shared != NULL;
}

static Size
shared_size(void)
{
	Size size = add_size(offsetof(WhShared, slots), mul_size(wh_worker_max_feeds, sizeof(WhSlot)));

	size = add_size(MAXALIGN(size), mul_size(wh_worker_max_feeds, sizeof(WhHouse)));
	return add_size(MAXALIGN(size), mul_size(wh_worker_max_feeds, sizeof(Oid)));
}

static void
request_shared(void)
{
	if (next_request_hook)
		next_request_hook();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche("walhouse", 1);
}

static void
startup_shared(void)
{
	bool found;

	if (next_startup_hook)
		next_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	wh_shared = ShmemInitStruct("walhouse workers", shared_size(), &found);
	if (!found)
	{
		memset(wh_shared, 0, shared_size());
		wh_shared->lock = &GetNamedLWLockTranche("walhouse")->lock;
		wh_shared->nslots = wh_worker_max_feeds;
		wh_shared->requests =
			(Oid *) ((char *) wh_shared + shared_size() - wh_worker_max_feeds * sizeof(Oid));
		wh_shared->houses =
			(WhHouse *) ((char *) wh_shared +
						 MAXALIGN(offsetof(WhShared, slots) +
								  (Size) wh_worker_max_feeds * sizeof(WhSlot)));
		for (int i = 0; i < wh_shared->nslots; i++)
			ConditionVariableInit(&wh_shared->slots[i].moved);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* wh_slots_find returns a feed's slot or NULL; the caller holds the lock. */
WhSlot *
wh_slots_find(Oid database, int32 feed_id)
{
	for (int i = 0; i < wh_shared->nslots; i++)
	{
		WhSlot *slot = &wh_shared->slots[i];

		if (slot->in_use && slot->database == database && slot->feed_id == feed_id)
			return slot;
	}
	return NULL;
}

/*
 * wh_slots_want says that a feed shall run, taking a free slot if it has none; false when there
 * is none.  The caller holds the lock exclusively.
 */
bool
wh_slots_want(Oid database, int32 feed_id, Oid owner, const char *name)
{
	WhSlot *slot = wh_slots_find(database, feed_id);

	for (int i = 0; slot == NULL && i < wh_shared->nslots; i++)
	{
		if (wh_shared->slots[i].in_use)
			continue;
		slot = &wh_shared->slots[i];
		wh_slots_reset(slot);
		slot->in_use = true;
		slot->generation = ++wh_shared->generation;
		slot->database = database;
		slot->feed_id = feed_id;
	}
	if (slot == NULL)
		return false;
	/* start() is also how an operator says: try again now. */
	slot->wanted = true;
	slot->next_start = 0;
	slot->owner = owner;
	strlcpy(slot->name, name, sizeof(slot->name));
	return true;
}

WhTicket
wh_slots_ticket(const WhSlot *slot)
{
	return (WhTicket){.slot = slot - wh_shared->slots,
					  .generation = slot->generation,
					  .database = slot->database,
					  .owner = slot->owner,
					  .feed_id = slot->feed_id};
}

/* wh_slots_reset empties a slot, all but the condition variable, on which somebody may still
 * sleep. */
void
wh_slots_reset(WhSlot *slot)
{
	memset(slot, 0, offsetof(WhSlot, moved));
}

/* wh_slots_room_for says whether a feed has a slot or could get one. */
bool
wh_slots_room_for(Oid database, int32 feed_id)
{
	bool room;

	LWLockAcquire(wh_shared->lock, LW_SHARED);
	room = wh_slots_find(database, feed_id) != NULL;
	for (int i = 0; !room && i < wh_shared->nslots; i++)
		room = !wh_shared->slots[i].in_use;
	LWLockRelease(wh_shared->lock);
	return room;
}

/* wh_slots_backoff_ms is how long to wait after so many failures in a row: 1 s, 2 s, 4 s … 60 s. */
int64
wh_slots_backoff_ms(int failures)
{
	int64 ms = BACKOFF_FIRST_MS;

	for (int i = 1; i < failures && ms < BACKOFF_LAST_MS; i++)
		ms *= 2;
	return Min(ms, BACKOFF_LAST_MS);
}

/* wh_slots_request_visit has the launcher look at a database again.  Raises nothing: commit
 * callbacks call it. */
void
wh_slots_request_visit(Oid database)
{
	bool known = false;

	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; !known && i < wh_shared->nrequests; i++)
		known = wh_shared->requests[i] == database;
	if (known)
		;
	else if (wh_shared->nrequests < wh_shared->nslots)
		wh_shared->requests[wh_shared->nrequests++] = database;
	else
		wh_shared->visit_all = true;
	LWLockRelease(wh_shared->lock);
	wh_slots_wake_launcher();
}

void
wh_slots_wake_launcher(void)
{
	Latch *latch;

	LWLockAcquire(wh_shared->lock, LW_SHARED);
	latch = wh_shared->launcher;
	LWLockRelease(wh_shared->lock);
	if (latch != NULL)
		SetLatch(latch);
}

/*
 * wh_slots_wish tells a feed's worker that somebody waits for a position, so that it stores its
 * progress also while the source is idle.  The wish runs out in two seconds and is made again by
 * who still waits.  True when there is a worker; *moved is then what it broadcasts on.
 */
bool
wh_slots_wish(int32 feed_id, XLogRecPtr lsn, ConditionVariable **moved)
{
	WhSlot *slot;
	Latch *latch = NULL;
	TimestampTz now = GetCurrentTimestamp();

	if (wh_shared == NULL)
		return false;
	LWLockAcquire(wh_shared->lock, LW_EXCLUSIVE);
	slot = wh_slots_find(MyDatabaseId, feed_id);
	if (slot != NULL && slot->process == WH_PROCESS_RUNNING)
	{
		if (slot->wait_lsn < lsn || slot->wait_until < now)
		{
			slot->wait_lsn = lsn;
			latch = slot->latch;
		}
		slot->wait_until = TimestampTzPlusMilliseconds(now, WISH_MS);
		*moved = &slot->moved;
	}
	else
		slot = NULL;
	LWLockRelease(wh_shared->lock);
	if (latch != NULL)
		SetLatch(latch);
	return slot != NULL;
}

List *
wh_worker_list(void)
{
	List *infos = NIL;

	if (wh_shared == NULL)
		return NIL;
	LWLockAcquire(wh_shared->lock, LW_SHARED);
	for (int i = 0; i < wh_shared->nslots; i++)
	{
		WhSlot *slot = &wh_shared->slots[i];

		if (slot->in_use && slot->database == MyDatabaseId)
			infos = lappend(infos, copy_info(slot));
	}
	LWLockRelease(wh_shared->lock);
	return infos;
}

static WhWorkerInfo *
copy_info(const WhSlot *slot)
{
	WhWorkerInfo *info = palloc0(sizeof(WhWorkerInfo));

	info->feed_id = slot->feed_id;
	info->pid = slot->pid;
	info->state = state_of(slot);
	info->activity = pstrdup(slot->activity);
	info->started = slot->launched;
	info->next_start =
		slot->process == WH_PROCESS_NONE && slot->failures > 0 ? slot->next_start : 0;
	info->failures = slot->failures;
	info->owner = slot->owner;
	info->error = slot->error[0] != '\0' ? pstrdup(slot->error) : NULL;
	info->error_time = slot->error_time;
	info->source_lsn = slot->source_lsn;
	info->position = slot->position;
	info->caught_up = slot->caught_up;
	info->ingests = slot->ingests;
	info->loads = slot->loads;
	info->stream = slot->stream;
	for (int i = 0; i < WH_MAX_BUILDS; i++)
		info->builds += slot->builds[i].process == WH_PROCESS_RUNNING ? 1 : 0;
	return info;
}

static const char *
state_of(const WhSlot *slot)
{
	if (!slot->wanted)
		return "stopping";
	if (slot->process == WH_PROCESS_RUNNING)
		return "running";
	if (slot->process == WH_PROCESS_STARTING || slot->failures == 0)
		return "starting";
	return "waiting to restart";
}
