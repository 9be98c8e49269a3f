/*
 * source_private.h
 *		What the files of this room share.
 */
#ifndef WH_SOURCE_PRIVATE_H
#define WH_SOURCE_PRIVATE_H

#include "source/source.h"

/* Walhouse's own relations, for a feed on its own database; n and c are the relation's schema and
 * class. */
#define WH_SOURCE_IS_OWN \
	"(n.nspname = 'walhouse'" \
	" OR n.nspname IN (SELECT f.name FROM walhouse.feed f)" \
	" OR n.oid IN (SELECT x.relnamespace FROM walhouse.feed_table t JOIN pg_catalog.pg_class x " \
	"ON x.oid IN (t.mirror, t.log))" \
	" OR EXISTS (SELECT FROM walhouse.model m WHERE m.relation = " \
	"COALESCE(pg_catalog.pg_partition_root(c.oid), c.oid))" \
	" OR EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = " \
	"d.refobjid" \
	"            WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = " \
	"c.oid AND d.deptype = 'e'" \
	"            AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND e.extname " \
	"= 'walhouse'))"

extern void wh_connect_init(void);

/* What of that a feed that is there needs, too, and does not find; of WhFeedProblem *. */
extern List *wh_source_problems(const WhFeed *feed, PGconn *plain, bool is_own_database);
extern WhFeedProblem *wh_feed_problem(const char *code, const char *severity, const char *object,
									  char *text, char *remedy);

#endif /* WH_SOURCE_PRIVATE_H */
