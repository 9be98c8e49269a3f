/*
 * changelog_private.h
 *		What the files of this room share.
 */
#ifndef WH_CHANGELOG_PRIVATE_H
#define WH_CHANGELOG_PRIVATE_H

#include "changelog/changelog.h"

/* create.c */
extern char *wh_changelog_log_schema(const WhFeed *feed);
extern Oid wh_changelog_schema_oid(const char *name); /* InvalidOid when there is none */
/* A name for a log column: the source's, unless the log has one of that name. */
extern char *wh_changelog_log_column(Oid log, const char *name);
extern void wh_changelog_insert_column(const WhFeed *feed, Oid source_relid,
									   const WhSourceColumn *column, const char *log_column,
									   const char *mirror_column, bool is_text);

/* Owner of a relation, and the index of its primary key (InvalidOid: none). */
extern Oid wh_changelog_owner(Oid relid);

/* types.c */
/* A type's name for a column's definition, without a modifier. */
extern char *wh_changelog_type_name(Oid type);

/* state.c */
extern void wh_changelog_state_init(void);
/* Tells all sessions that feed_table or feed_column changed. */
extern void wh_changelog_invalidate(void);

#endif /* WH_CHANGELOG_PRIVATE_H */
