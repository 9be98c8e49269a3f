/*
 * foreign.c
 *		Foreign keys at the source, for who drafts models.
 */
#include "postgres.h"

#include "base/base.h"
#include "source/source_private.h"

List *
wh_feed_foreign_keys(const WhFeed *feed)
{
	PGconn *source = wh_connect(feed, false);
	WhResult *rows = wh_source_query(
		source, "SELECT c.conrelid, c.conkey::pg_catalog.text, c.confrelid,"
				" c.confkey::pg_catalog.text FROM pg_catalog.pg_constraint c WHERE"
				" c.contype = 'f' AND c.conparentid = 0 ORDER BY c.oid");
	List *keys = NIL;

	for (int i = 0; i < rows->rows; i++)
	{
		WhForeignKey *key = palloc(sizeof(WhForeignKey));

		key->relid = atooid(wh_result_value(rows, i, 0));
		key->attnums = wh_result_value(rows, i, 1);
		key->refers_to = atooid(wh_result_value(rows, i, 2));
		key->refers_to_attnums = wh_result_value(rows, i, 3);
		keys = lappend(keys, key);
	}
	wh_disconnect(source);
	return keys;
}
