/*
 * publication.c
 *		Which tables, which of their changes and which columns are sent, and as which table.
 *
 * Without option publication: every permanent table of a user, whole.  With it: what the
 * publications hold, as the catalog was at the change (the historic snapshot), by the rules of
 * pgoutput.  A table is published by name, through its schema, through FOR ALL TABLES, or because
 * a partitioned table above it is.  With publish_via_partition_root its rows are told as those of
 * the topmost ancestor that is published so; only the publications that say that one then count
 * for column lists and row filters (filter.c), and those are the ancestor's.  Without it, a
 * partition that is published through its ancestor alone has neither list nor filter.
 *
 * The list of publications is looked up at the first change and after each invalidation of their
 * catalogs, in a context of its own.
 */
#include "output/publish_private.h"

#include "access/htup_details.h"
#include "catalog/partition.h"
#include "catalog/pg_publication_rel.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

static void load_publications(WhOutput *session);
static void find_memberships(WhOutput *session, Relation relation, WhPublished *published);
static bool find_membership(const Publication *publication, const WhPublished *published,
							List *direct, Oid *told_as, int *level);
static void add_actions(PublicationActions *actions, const PublicationActions *more);
static Bitmapset *listed_columns(const Publication *publication, Oid relid, bool *has_list);
static Bitmapset *all_columns(TupleDesc desc, bool with_generated);

void
wh_output_find_published(WhOutput *session, Relation relation, WhPublished *published)
{
	const PublicationActions *operations = &session->options.operations;
	PublicationActions all = {true, true, true, true};
	char kind = relation->rd_rel->relkind;

	memset(published, 0, sizeof(*published));
	published->told_as = RelationGetRelid(relation);
	if (!is_publishable_relation(relation) || OidIsValid(relation->rd_rel->relrewrite) ||
		(kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE))
		return;
	if (relation->rd_rel->relispartition)
		published->ancestors = get_partition_ancestors(RelationGetRelid(relation));
	if (!wh_output_is_selected(session, RelationGetRelid(relation), published->ancestors))
		return;
	if (session->options.publications != NIL)
		find_memberships(session, relation, published);
	else
	{
		published->is_sent = true;
		if (kind == RELKIND_RELATION)
			published->actions = all;
	}
	published->actions.pubinsert &= operations->pubinsert;
	published->actions.pubupdate &= operations->pubupdate;
	published->actions.pubdelete &= operations->pubdelete;
	published->actions.pubtruncate &= operations->pubtruncate;
}

bool
wh_output_is_published(const PublicationActions *actions)
{
	return actions->pubinsert || actions->pubupdate || actions->pubdelete || actions->pubtruncate;
}

/* wh_output_has_publications says whether all of them exist, without an error. */
bool
wh_output_has_publications(WhOutput *session)
{
	ListCell *cell;

	foreach(cell, session->options.publications)
	{
		if (!OidIsValid(get_publication_oid((const char *) lfirst(cell), true)))
			return false;
	}
	return true;
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
		session->publications = lappend(session->publications, publication);
	}
	MemoryContextSwitchTo(caller);
	session->publications_complete = true;
}

/*
 * find_memberships fills actions, told_as and publications.  All publications that hold the
 * relation add their actions; the highest ancestor that one of them names is the table that the
 * rows are told as.
 */
static void
find_memberships(WhOutput *session, Relation relation, WhPublished *published)
{
	List *direct = list_concat(GetRelationPublications(RelationGetRelid(relation)),
							   GetSchemaPublications(RelationGetNamespace(relation)));
	int highest = 0;
	ListCell *cell;

	if (!session->publications_valid || !session->publications_complete)
		load_publications(session);
	foreach(cell, session->publications)
	{
		Publication *publication = (Publication *) lfirst(cell);
		Oid told_as;
		int level;

		if (!find_membership(publication, published, direct, &told_as, &level))
			continue;
		published->is_sent = true;

		/* a partitioned table has no rows; its TRUNCATE is told where its partitions' is not */
		if (relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE && !publication->pubviaroot)
			continue;
		add_actions(&published->actions, &publication->pubactions);
		if (level < highest)
			continue;
		if (level > highest)
		{
			published->publications = NIL;
			published->told_as = told_as;
			highest = level;
		}
		published->publications = lappend(published->publications, publication);
	}
}

/*
 * find_membership returns whether a publication holds a relation, and sets the table as which it
 * publishes it, and how many levels above the relation that is.
 */
static bool
find_membership(const Publication *publication, const WhPublished *published, List *direct,
				Oid *told_as, int *level)
{
	Oid ancestor = InvalidOid;

	*told_as = published->told_as;
	*level = 0;
	if (publication->alltables)
	{
		if (publication->pubviaroot && published->ancestors != NIL)
		{
			*told_as = llast_oid(published->ancestors);
			*level = list_length(published->ancestors);
		}
		return true;
	}
	if (published->ancestors != NIL)
		ancestor = GetTopMostAncestorInPublication(publication->oid, published->ancestors, level);
	if (OidIsValid(ancestor) && publication->pubviaroot)
		*told_as = ancestor;
	else
		*level = 0;
	return OidIsValid(ancestor) || list_member_oid(direct, publication->oid);
}

static void
add_actions(PublicationActions *actions, const PublicationActions *more)
{
	actions->pubinsert |= more->pubinsert;
	actions->pubupdate |= more->pubupdate;
	actions->pubdelete |= more->pubdelete;
	actions->pubtruncate |= more->pubtruncate;
}

/* -------- columns -------- */

/*
 * wh_output_published_columns returns the attnums that are sent of the table that rows are told
 * as.  Two publications must not list different columns: *difference says what they differ in,
 * and is otherwise left alone.  A list wins over what is said of generated columns, but for
 * generated_columns=none.
 */
Bitmapset *
wh_output_published_columns(WhOutput *session, const WhPublished *published, Relation target,
							const char **difference)
{
	WhGeneratedColumns generated = session->options.generated_columns;
	bool with_generated = generated == WH_GENERATED_STORED;
	const Publication *unlisted = NULL;
	Bitmapset *columns = NULL;
	bool any_list = false;
	ListCell *cell;

	foreach(cell, published->publications)
	{
		const Publication *publication = (const Publication *) lfirst(cell);
		bool is_first = foreach_current_index(cell) == 0;
		bool has_list = false;
		Bitmapset *its = listed_columns(publication, RelationGetRelid(target), &has_list);

		if (!has_list)
		{
			bool says = wh_compat_publishes_generated(publication);

			if (generated == WH_GENERATED_PUBLICATION && unlisted != NULL &&
				says != wh_compat_publishes_generated(unlisted) &&
				!bms_equal(all_columns(RelationGetDescr(target), true),
						   all_columns(RelationGetDescr(target), false)))
				*difference = "values of publish_generated_columns";
			if (generated == WH_GENERATED_PUBLICATION)
				with_generated = says;
			if (unlisted == NULL)
				unlisted = publication;
			its = all_columns(RelationGetDescr(target), says);
		}
		if (is_first)
			columns = its;
		else if ((has_list || any_list) && !bms_equal(columns, its))
			*difference = "column lists";
		any_list |= has_list;
	}
	if (!any_list)
		return all_columns(RelationGetDescr(target), with_generated);
	if (generated == WH_GENERATED_NONE)
		columns = bms_intersect(columns, all_columns(RelationGetDescr(target), false));
	return columns;
}

/* listed_columns returns the attnums of a publication's column list, where it has one. */
static Bitmapset *
listed_columns(const Publication *publication, Oid relid, bool *has_list)
{
	Bitmapset *columns = NULL;
	HeapTuple tuple;
	Datum list;
	bool is_null;

	if (publication->alltables)
		return NULL;
	tuple = SearchSysCache2(PUBLICATIONRELMAP, ObjectIdGetDatum(relid),
							ObjectIdGetDatum(publication->oid));
	if (!HeapTupleIsValid(tuple))
		return NULL;
	list = SysCacheGetAttr(PUBLICATIONRELMAP, tuple, Anum_pg_publication_rel_prattrs, &is_null);
	if (!is_null)
	{
		*has_list = true;
		columns = pub_collist_to_bitmapset(NULL, list, CurrentMemoryContext);
	}
	ReleaseSysCache(tuple);
	return columns;
}

static Bitmapset *
all_columns(TupleDesc desc, bool with_generated)
{
	Bitmapset *columns = NULL;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped && !wh_compat_is_virtual(attribute) &&
			(with_generated || attribute->attgenerated == '\0'))
			columns = bms_add_member(columns, attribute->attnum);
	}
	return columns;
}

void
wh_output_check_difference(const char *difference, Oid target)
{
	if (difference == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot use different %s for table \"%s.%s\" in different publications", difference,
					get_namespace_name(get_rel_namespace(target)), get_rel_name(target)),
			 errhint("Give the table the same in all publications that are used together.")));
}
