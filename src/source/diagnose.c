/*
 * diagnose.c
 *		What keeps a feed from going on at its source, or will: for walhouse.doctor_source.
 *
 * Asks with the owner's user mapping and changes nothing.  The feed's worker may go on meanwhile,
 * so a slot that is being read is not held to the position, which would be older than the slot.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "source/source_private.h"

/* In hours: within which time the loss of a slot is told, when that is pressing, and what stands
 * for never. */
#define LOSS_IS_NEAR 24.0
#define LOSS_IS_PRESSING 1.0
#define LOSS_IS_FAR 9999.0

#define MEGABYTE (1024.0 * 1024.0)

/* A diagnosis under way. */
typedef struct Diagnosis
{
	WhFeed *feed;
	PGconn *plain;
	List *problems; /* of WhFeedProblem * */
} Diagnosis;

static void connect_source(void *arg);
static void check_resync(void *arg);
static void check_identity(void *arg);
static void note_error(Diagnosis *diagnosis, const char *code, const char *object,
					   const ErrorData *error);
static void add(Diagnosis *diagnosis, WhFeedProblem *problem);
static void check_slot(Diagnosis *diagnosis);
static void check_position(void *arg);
static void check_loss(Diagnosis *diagnosis, const WhResult *slot);
static double wal_per_second(Diagnosis *diagnosis, const WhResult *slot);
static void check_tables(Diagnosis *diagnosis, bool is_own_database);
static WhFeedProblem *not_published(const WhFeed *feed, const WhFeedTable *table);
static WhFeedProblem *not_followed(const WhFeed *feed, const WhSourceTable *table);

List *
wh_feed_diagnose(WhFeed *feed)
{
	Diagnosis diagnosis = {.feed = feed};
	ErrorData *error;
	bool is_own;

	if (!wh_txn_try(connect_source, &diagnosis, &error))
	{
		note_error(&diagnosis, "source_unreachable", NULL, error);
		return diagnosis.problems;
	}
	if (!wh_txn_try(check_resync, &diagnosis, &error))
		note_error(&diagnosis, "resync", NULL, error);
	else if (!wh_txn_try(check_identity, &diagnosis, &error))
		note_error(&diagnosis, "identity", NULL, error);
	is_own = wh_source_is_own_database(diagnosis.plain);
	check_slot(&diagnosis);
	diagnosis.problems = list_concat(diagnosis.problems,
									 wh_source_problems(feed, diagnosis.plain, is_own));
	check_tables(&diagnosis, is_own);
	wh_disconnect(diagnosis.plain);
	return diagnosis.problems;
}

static void
connect_source(void *arg)
{
	Diagnosis *diagnosis = arg;

	diagnosis->plain = wh_connect(diagnosis->feed, false);
}

static void
check_resync(void *arg)
{
	Diagnosis *diagnosis = arg;

	wh_feed_check_resync(diagnosis->feed);
}

static void
check_identity(void *arg)
{
	Diagnosis *diagnosis = arg;
	PGconn *replication = wh_connect(diagnosis->feed, true);
	WhIdentity source = wh_source_identity(replication);

	wh_disconnect(replication);
	wh_feed_check_identity(diagnosis->feed, &source);
}

/* note_error makes a problem of what was raised. */
static void
note_error(Diagnosis *diagnosis, const char *code, const char *object, const ErrorData *error)
{
	char *text = error->detail == NULL ? pstrdup(error->message) :
										 psprintf("%s: %s", error->message, error->detail);

	add(diagnosis, wh_feed_problem(code, "error", object, text,
								   error->hint == NULL ? NULL : psprintf("-- %s", error->hint)));
}

static void
add(Diagnosis *diagnosis, WhFeedProblem *problem)
{
	diagnosis->problems = lappend(diagnosis->problems, problem);
}

static void
check_slot(Diagnosis *diagnosis)
{
	const WhFeed *feed = diagnosis->feed;
	ErrorData *error;
	WhResult *slot = wh_source_query(
		diagnosis->plain,
		wh_sql(
			"SELECT active_pid IS NOT NULL AND COALESCE(wal_status, '') <> 'lost', safe_wal_size,"
			" w.lsn - restart_lsn, w.lsn,"
			" 2 * pg_catalog.pg_size_bytes(pg_catalog.current_setting('max_wal_size')),"
			" (SELECT wal_bytes / GREATEST(EXTRACT(epoch FROM pg_catalog.now() - stats_reset),"
			" 60) FROM pg_catalog.pg_stat_wal)"
			" FROM pg_catalog.pg_replication_slots, LATERAL (SELECT CASE WHEN"
			" pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()"
			" ELSE pg_catalog.pg_current_wal_lsn() END) w (lsn) WHERE slot_name = %L",
			feed->slot));
	bool is_read = slot->rows > 0 && strcmp(wh_result_value(slot, 0, 0), "t") == 0;

	if (!is_read && !wh_txn_try(check_position, diagnosis, &error))
		note_error(diagnosis, "slot", feed->slot, error);
	else
		check_loss(diagnosis, slot);
}

static void
check_position(void *arg)
{
	Diagnosis *diagnosis = arg;

	wh_feed_check_slot(diagnosis->feed, diagnosis->plain,
					   wh_changelog_position(diagnosis->feed->id, NULL));
}

/* check_loss looks ahead: when the slot loses the WAL that it needs, or, without a limit, whether
 * it is about to fill the disk. */
static void
check_loss(Diagnosis *diagnosis, const WhResult *slot)
{
	const WhFeed *feed = diagnosis->feed;
	const char *safe = wh_result_value(slot, 0, 1);
	const char *held = wh_result_value(slot, 0, 2);
	double free;
	double rate;
	double hours;
	char *remedy = psprintf("SELECT walhouse.start(%s); -- in the warehouse; or, at the source: "
							"ALTER SYSTEM SET max_slot_wal_keep_size = …; SELECT pg_reload_conf();",
							wh_sql_literal(feed->name));

	if (safe == NULL)
	{
		if (held != NULL && atof(held) > atof(wh_result_value(slot, 0, 4)))
			add(diagnosis, wh_feed_problem("slot_holds_wal", "warning", feed->slot,
										   psprintf("The slot holds back %.0f MB of WAL, and no "
													"max_slot_wal_keep_size keeps it from filling "
													"the disk.",
													atof(held) / MEGABYTE),
										   remedy));
		return;
	}
	free = Max(atof(safe), 0);
	rate = wal_per_second(diagnosis, slot);
	hours = rate > 0 ? free / rate / 3600 : LOSS_IS_FAR;
	if (hours < LOSS_IS_NEAR || (held != NULL && free < atof(held)))
		add(diagnosis,
			wh_feed_problem("slot_near_loss", hours < LOSS_IS_PRESSING ? "error" : "warning",
							feed->slot,
							psprintf("The slot holds back %.0f MB of WAL and may hold back %.0f MB "
									 "more; at %.3f MB a second it is lost in %.1f hours.",
									 held == NULL ? 0 : atof(held) / MEGABYTE, free / MEGABYTE,
									 rate / MEGABYTE, hours),
							remedy));
}

/*
 * wal_per_second: what the source wrote beyond the feed's position, by the time since then.  Of a
 * feed that is read that is the age of its last commit; of one that stands still, how long it does.
 */
static double
wal_per_second(Diagnosis *diagnosis, const WhResult *slot)
{
	WhRows *rows = wh_catalog_query(
		"SELECT p.position, EXTRACT(epoch FROM pg_catalog.clock_timestamp() - CASE WHEN $2 THEN"
		" p.clock ELSE p.stored END)::pg_catalog.int8 FROM walhouse.feed_position p"
		" WHERE p.feed_id = $1 ORDER BY p.position DESC LIMIT 1",
		2,
		(WhArg[]){WH_ARG_INT4(diagnosis->feed->id),
				  WH_ARG_BOOL(strcmp(wh_result_value(slot, 0, 0), "t") == 0)});
	XLogRecPtr now =
		wh_feed_lsn(diagnosis->feed, wh_source_lsn(wh_result_value(slot, 0, 3)));

	if (rows->count == 0 || now <= wh_rows_lsn(rows, 0, 1))
		return 0;
	return (double) (now - wh_rows_lsn(rows, 0, 1)) / Max(wh_rows_int8(rows, 0, 2), 60);
}

/* check_tables compares the tables of the feed with those of its publication, by their OIDs. */
static void
check_tables(Diagnosis *diagnosis, bool is_own_database)
{
	const WhFeed *feed = diagnosis->feed;
	List *published = wh_source_tables(feed, diagnosis->plain, is_own_database, InvalidOid);
	List *tables = wh_changelog_tables(feed->id);

	foreach_ptr(WhFeedTable, table, tables)
	{
		bool found = false;

		foreach_ptr(WhSourceTable, source, published)
			found |= source->relid == table->source_relid;
		if (!found)
			add(diagnosis, not_published(feed, table));
	}
	foreach_ptr(WhSourceTable, source, published)
	{
		bool found = false;

		foreach_ptr(WhFeedTable, table, tables)
			found |= source->relid == table->source_relid;
		if (!found)
			add(diagnosis, not_followed(feed, source));
	}
}

static WhFeedProblem *
not_published(const WhFeed *feed, const WhFeedTable *table)
{
	char *name = wh_sql("%I.%I", table->source_schema, table->source_name);

	return wh_feed_problem(
		"table_not_published", "error", name,
		psprintf("Publication \"%s\" does not publish table %s of the feed any more, or it was "
				 "dropped: its mirror stands still.",
				 feed->publication, name),
		wh_sql("ALTER PUBLICATION %I ADD TABLE %s; -- at the source; then, in the warehouse: CALL "
			   "walhouse.resync_table(%L, %L);",
			   feed->publication, name, feed->name, name));
}

static WhFeedProblem *
not_followed(const WhFeed *feed, const WhSourceTable *table)
{
	char *name = wh_sql("%I.%I", table->schema, table->name);

	return wh_feed_problem("table_not_followed", "notice", name,
						   psprintf("Publication \"%s\" publishes table %s, which came after the "
									"feed and is not followed.",
									feed->publication, name),
						   wh_sql("CALL walhouse.add_table(%L, %L); -- in the warehouse",
								  feed->name, name));
}
