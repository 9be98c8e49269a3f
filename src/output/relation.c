/*
 * relation.c
 *		What the plugin knows of each relation: the plan by which its rows are written, and its
 *		definition.
 *
 * One entry a relation, by OID.  Invalidation callbacks come at any time, also from the middle of
 * our own catalog access: they only clear flags.  The next change of the relation then compiles
 * the entry anew, from the catalog as it was at that change (the historic snapshot).  Most
 * invalidations change nothing that matters (ANALYZE, an index): the definition's fingerprint
 * tells, and the schema id stays.  A new definition gets a new id; ids are never used twice in a
 * session.
 *
 * Callbacks cannot be unregistered, so they are registered once a process and walk a list of
 * sessions, from which a session takes itself when its memory context is reset, also by an error:
 * the SQL functions outlive theirs.
 *
 * Each entry has a memory context of its own, which is replaced when it is compiled anew.  Entries
 * of tables that were dropped are like those of tables that wait to be compiled anew.  Whenever
 * the cache has doubled, all that are not valid go; should one of them be needed again, its
 * definition is sent again.  At WH_RELATIONS_LIMIT entries the cache starts afresh.
 */
#include "output/publish_private.h"

#include "access/attmap.h"
#include "access/sysattr.h"
#include "access/tupmacs.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#define WH_RELATIONS_LIMIT 16384
#define WH_RELATIONS_LEAST 256 /* no entry goes before there are as many */

typedef struct DependencyKey
{
	uint32 kind; /* WhDependency */
	uint32 value;
} DependencyKey;

/* The sessions of this process; see the head of this file. */
static WhOutput *sessions = NULL;
static bool callbacks_are_registered = false;

static void create_cache(WhOutput *session);
static void remove_entries(WhOutput *session, bool removes_valid);
static void forget_session(void *arg);
static bool is_dependency(WhOutput *session, WhDependency kind, uint32 value);
static void invalidate_entries(WhOutput *session);
static void invalidate_relation(Datum arg, Oid relid);
static void invalidate_partitioned(Datum arg, int cacheid, uint32 hashvalue);
static void invalidate_type(Datum arg, int cacheid, uint32 hashvalue);
static void invalidate_all(Datum arg, int cacheid, uint32 hashvalue);
static void invalidate_publications(Datum arg, int cacheid, uint32 hashvalue);
static void compile(WhOutput *session, WhOutputRelation *entry, Relation relation);
static void compile_published(WhOutput *session, WhOutputRelation *entry, Relation relation);
static AttrNumber *map_columns(Relation relation, Relation target);
static void compile_steps(WhOutputRelation *entry, TupleDesc desc);
static void compile_columns(WhOutputRelation *entry, Relation relation, Relation target,
							const AttrNumber *map, const Bitmapset *columns);

/* -------- the cache -------- */

void
wh_output_init_relations(WhOutput *session)
{
	MemoryContextCallback *forget = MemoryContextAllocZero(session->context, sizeof(*forget));

	create_cache(session);
	if (!callbacks_are_registered)
	{
		CacheRegisterRelcacheCallback(invalidate_relation, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, invalidate_all, (Datum) 0);
		CacheRegisterSyscacheCallback(ENUMOID, invalidate_all, (Datum) 0);
		CacheRegisterSyscacheCallback(TYPEOID, invalidate_type, (Datum) 0);
		CacheRegisterSyscacheCallback(PARTRELID, invalidate_partitioned, (Datum) 0);
		CacheRegisterSyscacheCallback(PUBLICATIONOID, invalidate_publications, (Datum) 0);
		CacheRegisterSyscacheCallback(PUBLICATIONRELMAP, invalidate_publications, (Datum) 0);
		CacheRegisterSyscacheCallback(PUBLICATIONNAMESPACEMAP, invalidate_publications, (Datum) 0);
		callbacks_are_registered = true;
	}
	forget->func = forget_session;
	forget->arg = session;
	MemoryContextRegisterResetCallback(session->context, forget);
	session->next = sessions;
	sessions = session;
}

static void
create_cache(WhOutput *session)
{
	HASHCTL control = {0};

	control.keysize = sizeof(Oid);
	control.entrysize = sizeof(WhOutputRelation);
	control.hcxt = session->context;
	session->relations = hash_create("walhouse relations", 128, &control,
									 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	control.keysize = sizeof(DependencyKey);
	control.entrysize = sizeof(DependencyKey);
	session->dependencies = hash_create("walhouse dependencies", 32, &control,
										HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
forget_session(void *arg)
{
	WhOutput **link = &sessions;

	while (*link != NULL && *link != (WhOutput *) arg)
		link = &(*link)->next;
	if (*link != NULL)
		*link = (*link)->next;
}

static void
invalidate_relation(Datum arg, Oid relid)
{
	WhOutputRelation *entry;

	for (WhOutput *session = sessions; session != NULL; session = session->next)
	{
		wh_output_invalidate_partitions(session, relid);
		wh_output_note_altered(session, relid);
		if (!OidIsValid(relid) || is_dependency(session, WH_ON_RELATION, relid))
			invalidate_entries(session);
		else if ((entry = hash_search(session->relations, &relid, HASH_FIND, NULL)) != NULL)
			entry->is_valid = false;
	}
}

/*
 * Every CREATE TABLE makes a type: only those that definitions depend on matter.  Zero stands for
 * all.
 */
static void
invalidate_type(Datum arg, int cacheid, uint32 hashvalue)
{
	for (WhOutput *session = sessions; session != NULL; session = session->next)
	{
		if (hashvalue == 0 || is_dependency(session, WH_ON_TYPE, hashvalue))
			invalidate_entries(session);
	}
}

static void
invalidate_partitioned(Datum arg, int cacheid, uint32 hashvalue)
{
	for (WhOutput *session = sessions; session != NULL; session = session->next)
		wh_output_invalidate_partitioned(session);
}

static void
invalidate_all(Datum arg, int cacheid, uint32 hashvalue)
{
	for (WhOutput *session = sessions; session != NULL; session = session->next)
		invalidate_entries(session);
}

static void
invalidate_entries(WhOutput *session)
{
	HASH_SEQ_STATUS scan;
	WhOutputRelation *entry;

	wh_output_note_altered(session, InvalidOid);
	hash_seq_init(&scan, session->relations);
	while ((entry = hash_seq_search(&scan)) != NULL)
		entry->is_valid = false;
}

static void
invalidate_publications(Datum arg, int cacheid, uint32 hashvalue)
{
	for (WhOutput *session = sessions; session != NULL; session = session->next)
		session->publications_valid = false;
	invalidate_all(arg, cacheid, hashvalue);
}

void
wh_output_depend(WhOutput *session, WhDependency kind, uint32 value)
{
	DependencyKey key = {kind, value};

	(void) hash_search(session->dependencies, &key, HASH_ENTER, NULL);
}

static bool
is_dependency(WhOutput *session, WhDependency kind, uint32 value)
{
	DependencyKey key = {kind, value};

	return hash_search(session->dependencies, &key, HASH_FIND, NULL) != NULL;
}

WhOutputRelation *
wh_output_find_relation(WhOutput *session, Relation relation)
{
	WhOutputRelation *entry = wh_output_look_at_relation(session, relation);

	wh_output_check_difference(entry->difference, entry->told_as);
	return entry;
}

WhOutputRelation *
wh_output_look_at_relation(WhOutput *session, Relation relation)
{
	Oid relid = RelationGetRelid(relation);
	WhOutputRelation **recent = &session->recent[relid % WH_RECENT_RELATIONS];
	WhOutputRelation *entry = *recent;

	if (entry == NULL || entry->relid != relid)
		entry = hash_search(session->relations, &relid, HASH_FIND, NULL);
	if (entry == NULL)
	{
		entry = hash_search(session->relations, &relid, HASH_ENTER, NULL);
		memset((char *) entry + sizeof(Oid), 0, sizeof(*entry) - sizeof(Oid));
	}
	*recent = entry;
	if (entry->is_valid && entry->is_complete)
		return entry;

	/* first, so that an invalidation that comes while the catalog is read is not lost */
	entry->is_valid = true;
	entry->is_complete = false;
	compile(session, entry, relation);
	entry->is_complete = true;
	return entry;
}

/* wh_output_trim_relations keeps the cache small, see above.  Only between transactions. */
void
wh_output_trim_relations(WhOutput *session)
{
	long entries = hash_get_num_entries(session->relations);
	bool is_full = entries >= WH_RELATIONS_LIMIT ||
				   hash_get_num_entries(session->dependencies) >= WH_RELATIONS_LIMIT;

	if (entries < session->relations_trim && !is_full)
		return;
	remove_entries(session, is_full);
	entries = hash_get_num_entries(session->relations);
	session->relations_trim = Min(Max(entries * 2, WH_RELATIONS_LEAST), WH_RELATIONS_LIMIT);
}

static void
remove_entries(WhOutput *session, bool removes_valid)
{
	HASH_SEQ_STATUS scan;
	WhOutputRelation *entry;

	memset(session->recent, 0, sizeof(session->recent));
	hash_seq_init(&scan, session->relations);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if ((entry->is_valid || entry->is_told) && !removes_valid)
			continue;
		if (entry->context != NULL)
			MemoryContextDelete(entry->context);
		(void) hash_search(session->relations, &entry->relid, HASH_REMOVE, NULL);
	}
	if (!removes_valid)
		return;
	hash_destroy(session->relations);
	hash_destroy(session->dependencies);
	create_cache(session);
}

/* -------- plans -------- */

/*
 * compile replaces what an entry holds.  The entry changes only once all of it is there: a
 * streamed transaction that is found to have aborted ends in an error that the session survives.
 */
static void
compile(WhOutput *session, WhOutputRelation *entry, Relation relation)
{
	WhOutputRelation fresh = *entry;
	MemoryContext context =
		AllocSetContextCreate(session->change_context, "walhouse relation", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);

	fresh.context = context;
	fresh.ncolumns = 0;
	fresh.columns = NULL;
	fresh.nsteps = 0;
	fresh.steps = NULL;
	fresh.filters = NULL;
	fresh.values = fresh.old_values = NULL;
	fresh.nulls = fresh.old_nulls = NULL;
	fresh.definition = NULL;
	fresh.difference = NULL;
	fresh.replica_identity = relation->rd_rel->relreplident;
	compile_published(session, &fresh, relation);
	MemoryContextSwitchTo(caller);

	MemoryContextSetParent(context, session->context);
	fresh.is_valid = entry->is_valid;
	if (entry->context != NULL)
		MemoryContextDelete(entry->context);
	*entry = fresh;
}

/* compile_published fills an entry with what its publications say, and what that needs. */
static void
compile_published(WhOutput *session, WhOutputRelation *entry, Relation relation)
{
	WhPublished published;
	Relation target = relation;
	AttrNumber *map = NULL;
	int natts = Max(RelationGetNumberOfAttributes(relation), 1);
	Bitmapset *columns;
	ListCell *cell;

	wh_output_find_published(session, relation, &published);
	entry->actions = published.actions;
	entry->told_as = published.told_as;
	foreach(cell, published.ancestors)
		wh_output_depend(session, WH_ON_RELATION, lfirst_oid(cell));
	if (!wh_output_is_published(&entry->actions))
		return;
	if (entry->told_as != entry->relid)
	{
		target = RelationIdGetRelation(entry->told_as);
		if (!RelationIsValid(target))
			elog(ERROR, "could not open relation %u", entry->told_as);
		map = map_columns(relation, target);
	}
	entry->values = palloc0(sizeof(Datum) * natts);
	entry->nulls = palloc0(sizeof(bool) * natts);
	entry->old_values = palloc0(sizeof(Datum) * natts);
	entry->old_nulls = palloc0(sizeof(bool) * natts);
	columns = wh_output_published_columns(session, &published, target, &entry->difference);
	if (entry->difference == NULL)
	{
		compile_columns(entry, relation, target, map, columns);
		entry->filters = wh_output_compile_filters(&published, target, map);
		wh_output_describe(session, entry, relation, target, &published);
	}
	if (target != relation)
		RelationClose(target);
}

/* map_columns returns the attnums of relation by those of target, or NULL where they are equal. */
static AttrNumber *
map_columns(Relation relation, Relation target)
{
	AttrMap *map = wh_compat_attribute_map(RelationGetDescr(relation), RelationGetDescr(target));

	return map == NULL ? NULL : map->attnums;
}

static void
compile_columns(WhOutputRelation *entry, Relation relation, Relation target, const AttrNumber *map,
				const Bitmapset *columns)
{
	TupleDesc desc = RelationGetDescr(target);
	Bitmapset *key = RelationGetIdentityKeyBitmap(relation);

	entry->columns = palloc0(sizeof(WhOutputColumn) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		WhOutputColumn *column = &entry->columns[entry->ncolumns];

		if (!bms_is_member(attribute->attnum, columns))
			continue;
		wh_output_compile_column(column, attribute);
		column->index = map == NULL ? i : map[i] - 1;
		column->is_key =
			bms_is_member(column->index + 1 - FirstLowInvalidHeapAttributeNumber, key);
		entry->ncolumns++;
	}
	compile_steps(entry, RelationGetDescr(relation));
}

/* compile_steps plans the way through a tuple; its attributes must be in the fields' order. */
static void
compile_steps(WhOutputRelation *entry, TupleDesc desc)
{
	int last = -1;

	for (int i = 0; i < entry->ncolumns; i++)
	{
		if (entry->columns[i].index <= last)
			return;
		last = entry->columns[i].index;
	}
	entry->nsteps = last + 1;
	entry->steps = palloc0(sizeof(WhOutputStep) * Max(entry->nsteps, 1));
	for (int i = 0; i < entry->nsteps; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		entry->steps[i].length = attribute->attlen;
		entry->steps[i].by_value = attribute->attbyval;
		entry->steps[i].align = att_align_nominal(1, attribute->attalign);
	}
	for (int i = 0; i < entry->ncolumns; i++)
		entry->steps[entry->columns[i].index].column = &entry->columns[i];
}
