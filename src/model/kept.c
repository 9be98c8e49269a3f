/*
 * kept.c
 *		Compiled models, kept by the session from load to load.
 *
 * A load asks for the models of its feed in outline (catalog.c), which says how each stands now.
 * What was compiled of a model is kept, and good for the next load while
 *
 *	- the model's row in the catalog is the same version of the same row: so whatever the load's
 *	  snapshot sees is what counts, and what an aborted transaction wrote never does;
 *	- no table of a feed has changed its definition (wh_changelog_generation());
 *	- nothing has invalidated the model's relation, view, mirror or log, nor anything that an
 *	  expression names: a function, type, operator, collation, schema or enum label.
 *
 * System catalogs are read as they are now, walhouse's as the load's snapshot has them: where such
 * a change comes in the midst of a load, what the load compiles ends with it.
 *
 * Models over one table are kept alone; those over joins are written to while they are used, and
 * those without a query take nothing to compile.  Nor are those kept that name what no invalidation
 * of the above concerns: in constants that are names of objects (regclass, …), and attributes of
 * composite types.
 *
 * What is given out is a copy of the outer struct, whose parts belong to what is kept; so nothing
 * is freed but at the start of a load.  All of it takes MAX_MEMORY at most, in TopMemoryContext.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/base.h"
#include "changelog/changelog.h"
#include "model/model.h"
#include "model/model_private.h"

#define MAX_MEMORY ((Size) 16 * 1024 * 1024)

typedef struct Kept
{
	int32 model_id; /* the hash key */
	bool is_valid;
	WhModelStamp stamp;
	MemoryContext context;
	WhModel *model;
} Kept;

static HTAB *kept = NULL;
static MemoryContext kept_context = NULL;
static MemoryContext retired = NULL; /* entries that are deleted when the next load starts */
static uint64 generation = 0; /* of the feed's tables, at the start of the load */
static uint64 events = 0; /* invalidations of any kind, so far … */
static uint64 events_before = 0; /* … and at the start of the load */

static bool still_holds(const Kept *entry, const WhModel *outline);
static WhModel *keep(const WhModel *outline);
static WhModel *copy_for(const WhModel *outline, const WhModel *compiled);
static bool names_objects(Oid view);
static bool names_objects_walker(Node *node, void *context);
static void retire(Kept *entry);
static void forget_relation(Datum arg, Oid relid);
static void forget_all(Datum arg, int cacheid, uint32 hashvalue);

void
wh_model_kept_init(void)
{
	static const int caches[] = {PROCOID, TYPEOID, OPEROID, COLLOID, NAMESPACEOID, ENUMOID};

	CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
	for (int i = 0; i < lengthof(caches); i++)
		CacheRegisterSyscacheCallback(caches[i], forget_all, (Datum) 0);
}

void
wh_model_kept_begin(void)
{
	HASH_SEQ_STATUS status;
	Kept *entry;
	bool is_all;

	AcceptInvalidationMessages();
	is_all = generation != wh_changelog_generation();
	generation = wh_changelog_generation();
	events_before = events;
	if (kept == NULL)
		return;
	is_all = is_all || MemoryContextMemAllocated(kept_context, true) > MAX_MEMORY;
	hash_seq_init(&status, kept);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (is_all || !entry->is_valid)
			retire(entry);
	}
	MemoryContextDeleteChildren(retired);
}

WhModel *
wh_model_complete(const WhModel *outline)
{
	Kept *entry = kept == NULL ? NULL : hash_search(kept, &outline->id, HASH_FIND, NULL);
	WhModel *model;

	if (entry != NULL && still_holds(entry, outline))
		return copy_for(outline, entry->model);
	if (entry != NULL)
		retire(entry);
	ereport(DEBUG2, (errmsg_internal("model %s is compiled", wh_sql_relation(outline->relid))));
	if (outline->feed != NULL && OidIsValid(outline->view))
		return keep(outline);
	model = wh_model_get_by_id(outline->id);
	model->peers = outline->peers;
	return model;
}

static bool
still_holds(const Kept *entry, const WhModel *outline)
{
	return entry->is_valid && generation == wh_changelog_generation() &&
		   ItemPointerEquals((ItemPointer) &entry->stamp.place,
							 (ItemPointer) &outline->stamp.place) &&
		   entry->stamp.xmin == outline->stamp.xmin;
}

WhModel *
wh_model_peer(const WhModel *model, int32 model_id)
{
	foreach_ptr(WhModel, outline, model->peers)
	{
		if (outline->id == model_id)
			return wh_model_complete(outline);
	}
	return wh_model_get_by_id(model_id);
}

/* keep compiles a model and keeps it, if it may be. */
static WhModel *
keep(const WhModel *outline)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "walhouse kept model", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	WhModel *model = wh_model_get_by_id(outline->id);
	bool may_be = model->join == NULL && !names_objects(model->view);
	Kept *entry;
	bool found;

	MemoryContextSwitchTo(caller);
	if (!may_be || generation != wh_changelog_generation() || events != events_before)
		return copy_for(outline, model);
	if (kept == NULL)
	{
		HASHCTL control = {.keysize = sizeof(int32), .entrysize = sizeof(Kept)};

		kept_context =
			AllocSetContextCreate(TopMemoryContext, "walhouse kept models", ALLOCSET_SMALL_SIZES);
		retired =
			AllocSetContextCreate(kept_context, "walhouse retired models", ALLOCSET_SMALL_SIZES);
		kept = hash_create("walhouse kept models", 16, &control, HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(kept, &outline->id, HASH_ENTER, &found);
	entry->is_valid = true;
	entry->stamp = outline->stamp;
	entry->context = context;
	entry->model = model;
	MemoryContextSetParent(context, kept_context);
	return copy_for(outline, model);
}

/* copy_for makes the model of an outline, which knows how it stands. */
static WhModel *
copy_for(const WhModel *outline, const WhModel *compiled)
{
	WhModel *model = palloc(sizeof(WhModel));

	*model = *compiled;
	model->feed = outline->feed;
	model->state = outline->state;
	model->is_paused = outline->is_paused;
	model->definition = outline->definition;
	model->history_start = outline->history_start;
	model->position = outline->position;
	model->peers = outline->peers;
	return model;
}

/* names_objects says whether a query names objects in its constants, or attributes of types. */
static bool
names_objects(Oid view)
{
	Relation relation = relation_open(view, AccessShareLock);
	bool does = names_objects_walker((Node *) get_view_query(relation), NULL);

	relation_close(relation, AccessShareLock);
	return does;
}

static bool
names_objects_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, names_objects_walker, context, 0);
	if (IsA(node, FieldSelect) || IsA(node, FieldStore))
		return true;
	if (IsA(node, Const))
	{
		Oid type = ((Const *) node)->consttype;

		switch (OidIsValid(get_element_type(type)) ? get_element_type(type) : type)
		{
			case REGCLASSOID:
			case REGCOLLATIONOID:
			case REGCONFIGOID:
			case REGDICTIONARYOID:
			case REGNAMESPACEOID:
			case REGOPEROID:
			case REGOPERATOROID:
			case REGPROCOID:
			case REGPROCEDUREOID:
			case REGROLEOID:
			case REGTYPEOID:
				return true;
			default:
				return false;
		}
	}
	return expression_tree_walker(node, names_objects_walker, context);
}

/* -------- what is forgotten -------- */

/* retire takes an entry away, of which a load may still use something. */
static void
retire(Kept *entry)
{
	MemoryContextSetParent(entry->context, retired);
	(void) hash_search(kept, &entry->model_id, HASH_REMOVE, NULL);
}

/* forget_relation and forget_all come at any time, also while models are used: nothing is freed. */
static void
forget_relation(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	Kept *entry;

	events++;
	if (kept == NULL)
		return;
	hash_seq_init(&status, kept);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		const WhModel *model = entry->model;

		if (!OidIsValid(relid) || relid == model->relid || relid == model->view ||
			relid == model->source->mirror || relid == model->source->log)
			entry->is_valid = false;
	}
}

static void
forget_all(Datum arg, int cacheid, uint32 hashvalue)
{
	forget_relation(arg, InvalidOid);
}
