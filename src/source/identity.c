/*
 * identity.c
 *		Where a feed may run: who the source is, who this warehouse is, and whether the slot fits
 * the position.
 *
 * A clone or a restored copy of either side must never read production's slot as if nothing had
 * happened.  Ids are stored when the slot is made and compared whenever a stream opens; the slot
 * is compared with the position, because START_REPLICATION moves a start that is too old forward
 * without a word.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"

#include "base/base.h"
#include "source/source_private.h"

/* How far the source's WAL goes that a walsender may send. */
#define WAL_END \
	"CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()" \
	" ELSE pg_catalog.pg_current_wal_flush_lsn() END"

static bool follows_failover(const WhFeed *feed);
static void check_source(const WhFeed *feed, const WhIdentity *source);
pg_noreturn static void refuse(const WhFeed *feed, const char *side, const char *what,
							   const char *is, const char *was);

WhIdentity
wh_source_identity(PGconn *replication)
{
	WhIdentity id;
	WhResult *system = wh_source_query(replication, "IDENTIFY_SYSTEM");
	WhResult *database =
		wh_source_query(replication, "SELECT oid FROM pg_catalog.pg_database"
									 " WHERE datname = pg_catalog.current_database()");

	id.system_id = wh_result_value(system, 0, 0);
	id.timeline = atoi(wh_result_value(system, 0, 1));
	id.database = (Oid) strtoul(wh_result_value(database, 0, 0), NULL, 10);
	return id;
}

WhIdentity
wh_house_identity(void)
{
	WhIdentity id;

	id.system_id = psprintf(UINT64_FORMAT, GetSystemIdentifier());
	id.timeline = GetWALInsertionTimeLine();
	id.database = MyDatabaseId;
	return id;
}

void
wh_feed_store_identity(const WhFeed *feed, const WhIdentity *source, const WhIdentity *house)
{
	WhArg args[] = {WH_ARG_INT4(feed->id), WH_ARG_TEXT(source->system_id),
					WH_ARG_INT4(source->timeline), WH_ARG_OID(source->database),
					WH_ARG_TEXT(house->system_id), WH_ARG_INT4(house->timeline),
					WH_ARG_OID(house->database)};

	wh_catalog_execute(
		"UPDATE walhouse.feed SET source_system_id = $2, source_timeline = $3, source_database = "
		"$4,"
		" house_system_id = $5, house_timeline = $6, house_database = $7 WHERE feed_id = $1",
		lengthof(args), args);
}

void
wh_feed_check_identity(const WhFeed *feed, const WhIdentity *source)
{
	WhIdentity house = wh_house_identity();

	wh_feed_check_house(feed);
	check_source(feed, source);
	if (feed->house_timeline != house.timeline || feed->source_timeline != source->timeline)
		wh_feed_store_identity(feed, source, &house);
}

void
wh_feed_check_house(const WhFeed *feed)
{
	WhIdentity house = wh_house_identity();

	if (feed->source_system_id == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feed \"%s\" was not created to its end", feed->name),
				 errhint("CALL walhouse.drop_feed(%s), and create it again.", wh_sql_literal(feed->name))));
	if (strcmp(feed->house_system_id, house.system_id) != 0)
		refuse(feed, "warehouse", "system identifier", house.system_id, feed->house_system_id);
	if (feed->house_database != house.database)
		refuse(feed, "warehouse", "database OID", psprintf("%u", house.database),
			   psprintf("%u", feed->house_database));
	if (feed->house_timeline != house.timeline &&
		!(follows_failover(feed) && house.timeline > feed->house_timeline))
		refuse(feed, "warehouse", "timeline", psprintf("%d", house.timeline),
			   psprintf("%d", feed->house_timeline));
}

static void
check_source(const WhFeed *feed, const WhIdentity *source)
{
	if (strcmp(feed->source_system_id, source->system_id) != 0)
		refuse(feed, "source", "system identifier", source->system_id, feed->source_system_id);
	if (feed->source_database != source->database)
		refuse(feed, "source", "database OID", psprintf("%u", source->database),
			   psprintf("%u", feed->source_database));
	if (feed->source_timeline != source->timeline &&
		!(follows_failover(feed) && source->timeline > feed->source_timeline))
		refuse(feed, "source", "timeline", psprintf("%d", source->timeline),
			   psprintf("%d", feed->source_timeline));
}

static bool
follows_failover(const WhFeed *feed)
{
	const char *option = wh_server_option(feed, "follow_failover");
	bool value;

	return option != NULL && parse_bool(option, &value) && value;
}

static void
refuse(const WhFeed *feed, const char *side, const char *what, const char *is, const char *was)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("feed \"%s\" may not run here", feed->name),
			 errdetail("The %s of the %s is %s, and the feed was made for %s: this looks like a copy or a standby that took over.",
					   what, side, is, was),
			 strcmp(side, "source") == 0 ?
				 errhint("If this is the source from now on: SELECT walhouse.takeover(%s) where it has the slot and lost no commit, else CALL walhouse.resync(%s).",
						 wh_sql_literal(feed->name), wh_sql_literal(feed->name)) :
				 errhint("If the feed is to run here from now on, and nowhere else: SELECT walhouse.takeover(%s).",
						 wh_sql_literal(feed->name))));
}

void
wh_feed_check_slot(const WhFeed *feed, PGconn *plain, XLogRecPtr position)
{
	XLogRecPtr at_source = wh_feed_lsn_at_source(feed, position);
	WhResult *slot = wh_source_query(
		plain,
		wh_sql(
			"SELECT confirmed_flush_lsn, wal_status, plugin,"
			" confirmed_flush_lsn > %X::pg_catalog.pg_lsn, database = "
			"pg_catalog.current_database(),"
			" " WAL_END ", " WAL_END " < %X::pg_catalog.pg_lsn"
			" FROM pg_catalog.pg_replication_slots WHERE slot_name = %L",
			at_source, at_source, feed->slot));
	const char *choice = psprintf(
		"Either keep this warehouse: CALL walhouse.resync(%s) makes a new slot, compares with the "
		"source, and goes on; or restore the side that lost data.",
		wh_sql_literal(feed->name));

	if (slot->rows == 0 || wh_result_value(slot, 0, 4) == NULL ||
		strcmp(wh_result_value(slot, 0, 4), "t") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("replication slot \"%s\" of feed \"%s\" does not exist at the source", feed->slot, feed->name),
				 errdetail("The feed stands at %X/%X. The slot was dropped, or the source was restored or failed over.",
						   LSN_FORMAT_ARGS(position)),
				 errhint("%s", choice)));
	if (wh_result_value(slot, 0, 1) != NULL && strcmp(wh_result_value(slot, 0, 1), "lost") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("replication slot \"%s\" of feed \"%s\" has lost WAL that the feed needs", feed->slot, feed->name),
				 errdetail("The feed stands at %X/%X; the source's max_slot_wal_keep_size was exceeded.",
						   LSN_FORMAT_ARGS(position)),
				 errhint("%s", choice)));
	if (wh_result_value(slot, 0, 3) == NULL || strcmp(wh_result_value(slot, 0, 3), "f") != 0)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("replication slot \"%s\" is ahead of feed \"%s\"", feed->slot, feed->name),
			 errdetail(
				 "The slot is confirmed up to %s, and the feed stands at %X/%X: what is between would be lost."
				 " The warehouse was restored, or somebody else reads the slot.",
				 wh_result_value(slot, 0, 0) != NULL ? wh_result_value(slot, 0, 0) : "nothing",
				 LSN_FORMAT_ARGS(at_source)),
			 errhint("%s", choice)));
	if (wh_result_value(slot, 0, 6) == NULL || strcmp(wh_result_value(slot, 0, 6), "f") != 0)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the source of feed \"%s\" is behind the feed", feed->name),
			 errdetail(
				 "Its WAL ends at %s, and the feed stands at %X/%X: it was restored to an earlier state.",
				 wh_result_value(slot, 0, 5) != NULL ? wh_result_value(slot, 0, 5) : "nothing",
				 LSN_FORMAT_ARGS(at_source)),
			 errhint("%s", choice)));
}

void
wh_feed_check_resync(const WhFeed *feed)
{
	const WhFeed *now = wh_changelog_feed_by_id(feed->id, false);

	if (XLogRecPtrIsInvalid(now->resync_lsn))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("a resync of feed \"%s\" is not at its end", feed->name),
			 errhint("CALL walhouse.resync(%s) again.", wh_sql_literal(feed->name))));
}

bool
wh_source_is_own_database(PGconn *plain)
{
	WhIdentity house = wh_house_identity();
	WhResult *result = wh_source_query(
		plain, "SELECT s.system_identifier, d.oid FROM pg_catalog.pg_control_system() s,"
			   " pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()");

	return strcmp(wh_result_value(result, 0, 0), house.system_id) == 0 &&
		   (Oid) strtoul(wh_result_value(result, 0, 1), NULL, 10) == house.database;
}
