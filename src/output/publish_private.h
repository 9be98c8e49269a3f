/*
 * publish_private.h
 *		Which relations are sent, and how they are defined: what the files of the output plugin
 *		share of it beside output_private.h.
 */
#ifndef WH_PUBLISH_PRIVATE_H
#define WH_PUBLISH_PRIVATE_H

#include "output/output_private.h"

/* -------- publication.c -------- */

/* How a relation is published; in the memory context in which it was found out. */
typedef struct WhPublished
{
	PublicationActions actions; /* of the relation itself */
	bool is_sent; /* its rows or, where it is partitioned, its partitions' */
	Oid told_as; /* the relation, or the partitioned ancestor that its rows are told as */
	List *ancestors; /* OIDs of the partitioned tables above it, nearest first */
	List *publications; /* Publication: those that publish it as told_as */
} WhPublished;

extern void wh_output_find_published(WhOutput *session, Relation relation, WhPublished *published);
extern bool wh_output_has_publications(WhOutput *session);
extern bool wh_output_is_published(const PublicationActions *actions);
extern Bitmapset *wh_output_published_columns(WhOutput *session, const WhPublished *published,
											  Relation target, const char **difference);
/* Raises where there is a difference. */
extern void wh_output_check_difference(const char *difference, Oid target);

/* -------- filter.c -------- */

/* map: attnums of target to those of the tuple, or NULL; it must live as long as the result. */
extern WhFilters *wh_output_compile_filters(const WhPublished *published, Relation target,
											const AttrNumber *map);

/* -------- selection.c -------- */

/*
 * wh_output_is_selected says whether include_tables and exclude_tables let a relation through, by
 * its name or that of a partitioned table above it.
 */
extern bool wh_output_is_selected(WhOutput *session, Oid relid, List *ancestors);

/* -------- relation.c -------- */

/*
 * What a definition depends on besides its relation.  A change of it invalidates all entries.  To
 * be noted before the catalog is read for it.
 */
typedef enum WhDependency
{
	WH_ON_RELATION, /* of this OID */
	WH_ON_TYPE /* the syscache hash value of its OID */
} WhDependency;

extern void wh_output_depend(WhOutput *session, WhDependency kind, uint32 value);

/* -------- describe.c, types.c -------- */

/*
 * wh_output_describe encodes the definition and gives it an id where it is not one that was sent
 * before.  target is the table that the rows are told as, maybe the relation itself.
 */
extern void wh_output_describe(WhOutput *session, WhOutputRelation *entry, Relation relation,
							   Relation target, const WhPublished *published);

/* wh_output_append_types appends a TypeDefinition for each user-defined type that types need. */
extern void wh_output_append_types(WhOutput *session, StringInfo out, uint32_t number, List *types);

/* -------- partitions.c -------- */

/* The flags that invalidation callbacks set; InvalidOid stands for all tables. */
extern void wh_output_invalidate_partitions(WhOutput *session, Oid relid);

/* -------- altered.c -------- */

/* What invalidation callbacks leave; InvalidOid stands for all relations. */
extern void wh_output_note_altered(WhOutput *session, Oid relid);

/* -------- partitions.c, also -------- */

/* A partitioned table was made or dropped. */
extern void wh_output_invalidate_partitioned(WhOutput *session);

#endif /* WH_PUBLISH_PRIVATE_H */
