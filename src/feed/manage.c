/*
 * manage.c
 *		CALL walhouse.drop_feed and walhouse.resync_table, and walhouse.takeover.
 *
 * drop_feed can be called again after any failure: state dropping is committed first, then slot
 * and publication go at the source, then everything here in one transaction.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "base/base.h"
#include "feed/feed_private.h"

static void refuse_models(const WhFeed *feed);
static void drop_at_source(const WhFeed *feed);
static void drop_slot_and_publication(const WhFeed *feed, PGconn *plain);

PG_FUNCTION_INFO_V1(walhouse_drop_feed);
PG_FUNCTION_INFO_V1(walhouse_resync_table);
PG_FUNCTION_INFO_V1(walhouse_takeover);

Datum
walhouse_drop_feed(PG_FUNCTION_ARGS)
{
	char *name;
	bool drop_slot = PG_GETARG_BOOL(1);
	WhFeed *feed;
	WhArg arg;

	wh_txn_check_arguments(fcinfo);
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	wh_txn_open("walhouse.drop_feed", wh_txn_procedure_atomic(fcinfo));
	feed = wh_changelog_feed(name, true);
	if (feed == NULL)
	{
		ereport(NOTICE, (errmsg("feed \"%s\" does not exist, skipping", name)));
		wh_txn_close();
		PG_RETURN_VOID();
	}
	wh_user_check_owner(feed->owner, "feed", feed->name);
	refuse_models(feed);
	wh_feed_take_stream(feed, false);
	arg = WH_ARG_INT4(feed->id);
	wh_catalog_execute(
		"UPDATE walhouse.feed SET state = 'dropping', enabled = false WHERE feed_id = $1", 1,
		&arg);
	wh_txn_commit();
	if (drop_slot)
		drop_at_source(feed);
	wh_lock_state(feed->id);
	wh_changelog_drop(feed);
	wh_txn_commit();
	wh_unlock_stream(feed->id);
	wh_txn_close();
	PG_RETURN_VOID();
}

static void
refuse_models(const WhFeed *feed)
{
	WhArg arg = WH_ARG_INT4(feed->id);
	WhRows *rows = wh_spi_query(
		"SELECT pg_catalog.string_agg(relation::pg_catalog.text, ', ' ORDER BY model_id),"
		" pg_catalog.string_agg(pg_catalog.format('SELECT walhouse.drop_model(%L);', relation), ' '"
		" ORDER BY model_id DESC) FROM walhouse.model WHERE feed_id = $1",
		1, &arg);
	char *models = wh_rows_text(rows, 0, 1);

	if (models != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop feed \"%s\" because models read it", feed->name),
				 errdetail_internal("%s", models),
				 errhint("%s", wh_rows_text(rows, 0, 2))));
}

/* drop_at_source drops slot and publication, and says what to do where the source cannot be
 * asked. */
static void
drop_at_source(const WhFeed *feed)
{
	MemoryContext caller = CurrentMemoryContext;

	PG_TRY();
	{
		PGconn *plain = wh_connect(feed, false);

		drop_slot_and_publication(feed, plain);
		wh_disconnect(plain);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		if (error->hint == NULL)
			error->hint = psprintf(
				"If the source is gone: CALL walhouse.drop_feed(%s, drop_slot => false).",
				wh_sql_literal(feed->name));
		ReThrowError(error);
	}
	PG_END_TRY();
}

static void
drop_slot_and_publication(const WhFeed *feed, PGconn *plain)
{
	wh_slot_drop(feed, plain);
	if (feed->owns_publication)
		wh_source_query(plain, wh_sql("DROP PUBLICATION IF EXISTS %I", feed->publication));
}

Datum
walhouse_resync_table(PG_FUNCTION_ARGS)
{
	WhFeed *feed;
	WhFeedTable *table;

	wh_txn_check_arguments(fcinfo);
	wh_txn_open("walhouse.resync_table", wh_txn_procedure_atomic(fcinfo));
	feed = wh_changelog_feed(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	wh_user_check_owner(feed->owner, "feed", feed->name);
	table = wh_feed_find_table(feed, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (!wh_target_exists(table))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s\" of feed \"%s\" has lost its mirror or its change log", table->source_name, feed->name),
				 errhint("CALL walhouse.drop_feed(%s) and create the feed again.",
						 wh_sql_literal(feed->name))));
	if (wh_target_is_altered(table))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("mirror or change log of table \"%s\" of feed \"%s\" was altered", table->source_name, feed->name),
				 errdetail("A column that walhouse.feed_column names is gone, or has another type in one of them."),
				 errhint("Alter it back, with walhouse.allow_writes on, and call this again.")));
	wh_txn_commit();
	wh_snapshot_resync(feed, table, false);
	wh_txn_close();
	PG_RETURN_VOID();
}

WhFeedTable *
wh_feed_find_table(const WhFeed *feed, const char *name)
{
	char *schema;
	char *relation;

	wh_name_parse(name, &schema, &relation);
	foreach_ptr(WhFeedTable, table, wh_changelog_tables(feed->id))
	{
		if (strcmp(table->source_name, relation) == 0 &&
			(schema == NULL || strcmp(table->source_schema, schema) == 0))
			return table;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("feed \"%s\" has no table \"%s\"", feed->name, name),
			 errhint("SELECT source_schema, source_name FROM walhouse.feed_table lists them; names are the source's.")));
	return NULL;
}

Datum
walhouse_takeover(PG_FUNCTION_ARGS)
{
	WhFeed *feed = wh_changelog_feed(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	WhIdentity source;
	WhIdentity house = wh_house_identity();
	PGconn *plain;
	PGconn *replication;
	WhResult *slot;

	wh_user_check_owner(feed->owner, "feed", feed->name);
	wh_feed_take_stream(feed, false);
	wh_unlock_stream(feed->id);
	plain = wh_connect(feed, false);
	replication = wh_connect(feed, true);
	source = wh_source_identity(replication);
	if (feed->source_system_id == NULL || strcmp(feed->source_system_id, source.system_id) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the source is not the one that feed \"%s\" was made for", feed->name),
				 errdetail("Its system identifier is %s, and the feed's is %s: positions mean nothing there.", source.system_id,
						   feed->source_system_id != NULL ? feed->source_system_id : "not known"),
				 errhint("CALL walhouse.resync(%s) compares it with this warehouse, and goes on.",
						 wh_sql_literal(feed->name))));
	slot = wh_source_query(
		plain,
		wh_sql("SELECT active_pid FROM pg_catalog.pg_replication_slots WHERE slot_name = %L",
			   feed->slot));
	if (slot->rows > 0 && wh_result_value(slot, 0, 0) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("replication slot \"%s\" is in use at the source by process %s", feed->slot, wh_result_value(slot, 0, 0)),
				 errdetail("Another warehouse runs feed \"%s\".", feed->name),
				 errhint("Stop it there first, for good.")));
	wh_disconnect(replication);
	wh_disconnect(plain);
	wh_txn_mark_own();
	wh_feed_store_identity(feed, &source, &house);
	PG_RETURN_VOID();
}
