/*
 * walk.c
 *		A walk from its start: a query, or what a relation is made of.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "utils/rel.h"

#include "base/base.h"
#include "lineage/lineage.h"
#include "lineage/lineage_private.h"

static WhWalk *start(WhViews views);
static HTAB *make_hash(const char *name, Size entry_size);
static WhRowset *walk_table(WhWalk *walk, Relation table);

List *
wh_lineage_of_query(Query *query, WhViews views, List **opaque)
{
	WhWalk *walk = start(views);
	List *outputs = NIL;
	WhRowset *rowset = wh_walk_query(walk, query, NULL);
	List *list = query->commandType == CMD_SELECT ? query->targetList : query->returningList;

	if (list != NIL || query->commandType == CMD_SELECT)
	{
		WhOutput *output = palloc0(sizeof(WhOutput));

		output->rowset = rowset;
		foreach_ptr(TargetEntry, entry, list)
			if (!entry->resjunk)
				output->names = lappend(output->names, entry->resname);
		outputs = lappend(outputs, output);
	}
	if (opaque != NULL)
		*opaque = walk->opaque;
	return list_concat(outputs, walk->written);
}

WhOutput *
wh_lineage_of_relation(Oid relid, WhViews views, List **opaque)
{
	WhWalk *walk = start(views);
	Relation relation = relation_open(relid, AccessShareLock);
	Query *query = wh_walk_view_query(relation);
	WhOutput *output = palloc0(sizeof(WhOutput));

	output->relid = relid;
	if (query != NULL)
		output->rowset = wh_walk_query(walk, copyObject(query), NULL);
	else
		output->rowset = walk_table(walk, relation);
	relation_close(relation, NoLock);
	if (opaque != NULL)
		*opaque = walk->opaque;
	return output->rowset == NULL ? NULL : output;
}

static WhWalk *
start(WhViews views)
{
	WhWalk *walk = palloc0(sizeof(WhWalk));

	walk->views = views;
	walk->relations = make_hash("relations of a walk", sizeof(WhRelation));
	walk->bodies = make_hash("functions of a walk", sizeof(WhBody));
	return walk;
}

static HTAB *
make_hash(const char *name, Size entry_size)
{
	HASHCTL control = {0};

	control.keysize = sizeof(Oid);
	control.entrysize = entry_size;
	control.hcxt = CurrentMemoryContext;
	return hash_create(name, 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* walk_table: within a table, generated columns come from others. */
static WhRowset *
walk_table(WhWalk *walk, Relation table)
{
	TupleConstr *constraints = RelationGetDescr(table)->constr;
	WhRowset *rowset;

	if (constraints == NULL ||
		(!constraints->has_generated_stored && !wh_compat_has_virtual(constraints)))
		return NULL;
	rowset = wh_rowset_make(RelationGetNumberOfAttributes(table));
	wh_walk_generated(walk, RelationGetRelid(table), rowset,
					  wh_walk_relation(walk, RelationGetRelid(table)), true);
	return rowset;
}
