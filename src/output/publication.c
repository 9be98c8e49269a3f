/*
 * publication.c
 *		Which tables, and which of their changes, are sent.
 *
 * Without option publication: every permanent table of a user.  With it: what the publications
 * hold, as the catalog was at the change (the historic snapshot), also through a schema or a
 * partitioned ancestor; rows go out under the name of the partition that they are in.  A
 * publication with a column list, a row filter or publish_via_partition_root would need rows to
 * be cut; until that is built it is refused whole, for sending more than its owner meant would be
 * a leak.
 *
 * The list of publications is looked up at the first change and after each invalidation of their
 * catalogs.
 */
#include "output/output_private.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_publication_rel.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

static void load_publications(WhOutput *session);
static void refuse_publication(const Publication *publication);
static bool is_member(const Publication *publication, List *publications);
static void add_actions(PublicationActions *actions, const PublicationActions *more);

PublicationActions
wh_output_published(WhOutput *session, Relation relation)
{
	PublicationActions actions = {false, false, false, false};
	PublicationActions all = {true, true, true, true};
	List *holding;
	ListCell *cell;

	if (!is_publishable_relation(relation) || relation->rd_rel->relkind != RELKIND_RELATION)
		return actions;
	if (session->options.publications == NIL)
		return all;
	if (!session->publications_valid || !session->publications_complete)
		load_publications(session);

	holding = list_concat(GetRelationPublications(RelationGetRelid(relation)),
						  GetSchemaPublications(RelationGetNamespace(relation)));
	if (relation->rd_rel->relispartition)
	{
		foreach(cell, get_partition_ancestors(RelationGetRelid(relation)))
		{
			Oid ancestor = lfirst_oid(cell);

			holding = list_concat(holding, GetRelationPublications(ancestor));
			holding = list_concat(holding, GetSchemaPublications(get_rel_namespace(ancestor)));
		}
	}
	foreach(cell, session->publications)
	{
		Publication *publication = (Publication *) lfirst(cell);

		if (is_member(publication, holding))
			add_actions(&actions, &publication->pubactions);
	}
	return actions;
}

static bool
is_member(const Publication *publication, List *publications)
{
	return publication->alltables || list_member_oid(publications, publication->oid);
}

static void
add_actions(PublicationActions *actions, const PublicationActions *more)
{
	actions->pubinsert |= more->pubinsert;
	actions->pubupdate |= more->pubupdate;
	actions->pubdelete |= more->pubdelete;
	actions->pubtruncate |= more->pubtruncate;
}

/* load_publications fills session->publications, in a context of its own. */
static void
load_publications(WhOutput *session)
{
	MemoryContext caller;
	ListCell *cell;

	MemoryContextReset(session->publication_context);
	session->publications = NIL;
	session->publications_valid = true;
	session->publications_complete = false;
	caller = MemoryContextSwitchTo(session->publication_context);
	foreach(cell, session->options.publications)
	{
		const char *name = (const char *) lfirst(cell);
		Publication *publication = GetPublicationByName(name, true);

		if (publication == NULL)
			ereport(
				ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("publication \"%s\" does not exist", name),
				 errdetail(
					 "The publication must have existed when the change being decoded was made."),
				 errhint(
					 "Create it with CREATE PUBLICATION before the slot; an older slot must be "
					 "created again, or advanced with pg_replication_slot_advance.")));
		refuse_publication(publication);
		session->publications = lappend(session->publications, publication);
	}
	MemoryContextSwitchTo(caller);
	session->publications_complete = true;
}

/* refuse_publication reports a publication that asks for what cannot be given yet. */
static void
refuse_publication(const Publication *publication)
{
	const char *what = publication->pubviaroot ? "publish_via_partition_root" : NULL;
	Relation catalog = table_open(PublicationRelRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_pg_publication_rel_prpubid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(publication->oid));
	scan = systable_beginscan(catalog, PublicationRelPrpubidIndexId, true, NULL, 1, &key);
	while (what == NULL && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (!heap_attisnull(tuple, Anum_pg_publication_rel_prqual, RelationGetDescr(catalog)))
			what = "a row filter";
		else if (!heap_attisnull(tuple, Anum_pg_publication_rel_prattrs, RelationGetDescr(catalog)))
			what = "a column list";
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	if (what != NULL)
		ereport(
			ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("publication \"%s\" has %s", publication->name, what),
			 errdetail("The plugin sends whole rows of all partitions under their own names."),
			 errhint(
				 "Use a publication without column lists, row filters and "
				 "publish_via_partition_root.")));
}
