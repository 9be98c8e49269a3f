/*
 * mirror.c
 *		Switching the mirror of a table off and on: what CALL walhouse.set_mirror() does to a feed.
 *
 * A table that no model reads needs no mirror when the stream brings its rows as they were
 * (replica identity FULL): its changes are logged alone, and the log is what it would be with the
 * mirror.  All changes that were committed at the source before the replica identity became FULL
 * must be in before; the caller (worker/mirror.c) sees to that.
 *
 * The state lock is taken first, then the mirror, against declarations that may just be reading
 * it: whoever comes second sees what the first has done.  Switched on, the table is copied again
 * as by resync_table, in the same transaction.  A crash leaves what was before.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/guc.h"

#include "base/base.h"
#include "feed/feed_private.h"

#define LOCK_WAIT "10s"

static void switch_off(const WhFeed *feed, const WhFeedTable *table);
static void refuse_models(const WhFeedTable *table);

bool
wh_feed_check_mirror(const WhFeed *feed, const char *name, bool on)
{
	WhFeedTable *table = wh_feed_find_table(feed, name);
	PGconn *plain;

	if (!wh_target_exists(table))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s\" of feed \"%s\" has lost its mirror or its change log", table->source_name, feed->name)));
	if (table->has_mirror == on)
	{
		ereport(NOTICE, (errmsg("the mirror of table \"%s\" is %s already", table->source_name,
								on ? "on" : "off")));
		return false;
	}
	if (on)
		return true;
	if (strcmp(table->state, "ready") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" of feed \"%s\" is in state %s", table->source_name, feed->name, table->state),
				 errhint("CALL walhouse.resync_table(%s, %s) first.", wh_sql_literal(feed->name),
						 wh_sql_literal(table->source_name))));
	refuse_models(table);
	plain = wh_connect(feed, false);
	wh_mirror_check_identity(plain, feed, table);
	wh_disconnect(plain);
	return true;
}

/* refuse_models raises while models read a table's mirror, by their queries. */
static void
refuse_models(const WhFeedTable *table)
{
	char *drops;
	char *models = wh_mirror_readers(table, &drops);

	if (models == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("the mirror of table \"%s\" cannot be switched off because models read it", table->source_name),
			 errdetail("They are: %s.", models),
			 errhint("Drop them first with walhouse.drop_model().")));
}

char *
wh_mirror_readers(const WhFeedTable *table, char **drops)
{
	WhArg arg = WH_ARG_OID(table->mirror);
	WhRows *rows = wh_catalog_query(
		"SELECT pg_catalog.string_agg(m.relation::pg_catalog.text, ', ' ORDER BY m.model_id),"
		" pg_catalog.string_agg(pg_catalog.format('SELECT walhouse.drop_model(%L);', m.relation), '"
		" ' ORDER BY m.model_id DESC) FROM "
		"walhouse.model m WHERE EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN "
		"pg_catalog.pg_rewrite r ON r.oid = d.objid WHERE d.classid = "
		"'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refclassid = "
		"'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = $1 AND r.ev_class = "
		"m.query::pg_catalog.oid)",
		1, &arg);

	*drops = wh_rows_text(rows, 0, 2);
	return wh_rows_text(rows, 0, 1);
}

void
wh_feed_switch_mirror(const WhFeed *feed, const char *name, bool on)
{
	WhFeedTable *table;

	wh_lock_state(feed->id);
	table = wh_feed_find_table(feed, name);
	if (table->has_mirror == on)
		return;
	if (on)
		wh_snapshot_resync(feed, table, true);
	else
		switch_off(feed, table);
}

static void
switch_off(const WhFeed *feed, const WhFeedTable *table)
{
	WhUser saved;

	(void) set_config_option("lock_timeout", LOCK_WAIT, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	wh_user_become(feed->owner, &saved);
	wh_spi_execute(wh_sql("LOCK TABLE %T IN ACCESS EXCLUSIVE MODE", table->mirror), 0, NULL);
	wh_user_restore(&saved);
	refuse_models(table);
	wh_user_become(feed->owner, &saved);
	wh_spi_execute(wh_sql("TRUNCATE ONLY %T", table->mirror), 0, NULL);
	wh_user_restore(&saved);
	wh_changelog_set_mirror(table, false, InvalidXLogRecPtr);
	wh_txn_commit();
}
