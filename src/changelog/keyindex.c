/*
 * keyindex.c
 *		The index of a change log by its table's key: its name, and how it goes.
 *
 * It is made partition by partition (feed/keyindex.c), and dropped as a whole: when it is switched
 * off, and when the table is defined anew, whose key may be another one then.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "changelog/changelog.h"
#include "changelog/changelog_private.h"

char *
wh_changelog_key_index_name(const WhFeedTable *table)
{
	return wh_name(get_rel_name(table->log), "_key");
}

Oid
wh_changelog_log_key_index(const WhFeedTable *table)
{
	return get_relname_relid(wh_changelog_key_index_name(table), get_rel_namespace(table->log));
}

void
wh_changelog_set_key_index(const WhFeedTable *table, bool on)
{
	WhArg args[] = {WH_ARG_INT4(table->feed_id), WH_ARG_OID(table->source_relid), WH_ARG_BOOL(on)};

	wh_catalog_execute("UPDATE walhouse.feed_table SET log_key_index = $3 WHERE feed_id = $1 AND"
					   " source_relid = $2",
					   3, args);
	wh_changelog_invalidate();
}

void
wh_changelog_drop_key_index(const WhFeed *feed, const WhFeedTable *table)
{
	Oid index = wh_changelog_log_key_index(table);
	WhUser saved;

	if (OidIsValid(index))
	{
		wh_user_become(feed->owner, &saved);
		wh_spi_execute(wh_sql("DROP INDEX %T", index), 0, NULL);
		wh_user_restore(&saved);
	}
	wh_changelog_set_key_index(table, false);
}
