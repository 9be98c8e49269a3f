/*
 * retired.c
 *		Retention of facts: the horizon below which a fact has nothing any more.
 *
 * A fact is the state of its query at its position, of rows whose event time is at or above its
 * horizon.  The horizon is a bound of a partition, and moves up alone, before the partition goes
 * (load/retire.c): from that commit on no load writes below it, whatever is there still.  A row
 * below has the reason "retired": it is not placed, was not placed, and is not kept among the
 * rejected ones; so whatever else looks at reasons does with such rows what it does with those
 * that cannot be placed.  A row whose event time moves over the horizon leaves the fact, or comes
 * into it, as over the fact's bounds.
 *
 * What a load finds changed of retired rows is counted in walhouse.fact_retention, or stops the
 * fact, as its owner has chosen.
 *
 * A partition that comes back from its archive moves the horizon back over it, and is made what the
 * query gives by then (mend.c), in one transaction.  Bookings that were passed over cannot be made.
 *
 * Milestones are the one thing of a fact that the query does not give again: they stand in the
 * rows.  So facts with milestones keep all of them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "fact/fact.h"
#include "fact/fact_private.h"

static char *rows_where(const WhModel *model, const char *from, const char *to);
static void check_clock(const WhFact *fact, const char *to);

PG_FUNCTION_INFO_V1(walhouse_set_late_changes);

/* -------- the horizon -------- */

void
wh_fact_read_horizon(WhFact *fact)
{
	WhRows *rows = wh_spi_query_kept("SELECT r.retired_to, r.late = 'stop' FROM"
									 " walhouse.fact_retention r WHERE r.model_id = $1",
									 1, (WhArg[]){WH_ARG_INT4(fact->model->id)});
	char *horizon = rows->count == 0 ? NULL : wh_rows_text(rows, 0, 1);

	fact->stops_when_late = rows->count > 0 && wh_rows_bool(rows, 0, 2);
	if (horizon != NULL)
		fact->horizon = wh_sql("%L::%s", horizon, wh_fact_type(fact->event_type, -1));
}

char *
wh_fact_is_retired(const WhFact *fact, const char *alias)
{
	return wh_sql("%s.c%d OPERATOR(pg_catalog.<) %s", alias, fact->event_time, fact->horizon);
}

char *
wh_fact_is_kept(const WhFact *fact, const char *alias)
{
	return wh_sql("%s.%I OPERATOR(pg_catalog.>=) %s", alias,
				  wh_fact_column(fact, fact->event_time)->name, fact->horizon);
}

/* wh_fact_tell_horizon tells whoever asks for a whole fact that it is none. */
void
wh_fact_tell_horizon(const WhFact *fact)
{
	if (fact->horizon != NULL)
		ereport(NOTICE, (errmsg("rows of %s before %s are retired, and left out",
								fact->model->name, wh_fact_horizon(fact->model->id))));
}

char *
wh_fact_horizon(int32 fact_id)
{
	WhRows *rows = wh_spi_query_kept_snapshot(
		"SELECT r.retired_to FROM walhouse.fact_retention r WHERE r.model_id = $1", 1,
		(WhArg[]){WH_ARG_INT4(fact_id)});

	return rows->count == 0 ? NULL : wh_rows_text(rows, 0, 1);
}

char *
wh_fact_rows_kept(const WhModel *fact)
{
	char *horizon = wh_fact_horizon(fact->id);

	return horizon == NULL ? wh_sql_relation(fact->relid) : rows_where(fact, horizon, NULL);
}

char *
wh_fact_rows_between(const WhModel *fact, const char *from, const char *to)
{
	return rows_where(fact, from, to);
}

static char *
rows_where(const WhModel *model, const char *from, const char *to)
{
	char *event_time = wh_model_option(model, "event_time");
	char *type = wh_fact_type(get_atttype(model->relid, get_attnum(model->relid, event_time)), -1);
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "(SELECT f.* FROM %T f WHERE true", model->relid);
	if (from != NULL)
		wh_sql_append(&sql, " AND f.%I OPERATOR(pg_catalog.>=) %L::%s", event_time, from, type);
	if (to != NULL)
		wh_sql_append(&sql, " AND f.%I OPERATOR(pg_catalog.<) %L::%s", event_time, to, type);
	wh_sql_append(&sql, ")");
	return sql.data;
}

/* -------- moving it -------- */

const char *
wh_fact_why_kept(WhModel *model)
{
	return wh_fact_open(model)->milestones == NIL ?
			   NULL :
			   "It has milestones, whose past stands in its rows alone.";
}

void
wh_fact_retire(WhModel *model, const char *to)
{
	WhFact *fact = wh_fact_open(model);

	check_clock(fact, to);
	wh_catalog_execute("INSERT INTO walhouse.fact_retention AS r (model_id, retired_to, moved)"
					   " VALUES ($1, $2, pg_catalog.pg_current_xact_id()) ON CONFLICT (model_id)"
					   " DO UPDATE SET retired_to = EXCLUDED.retired_to, moved = EXCLUDED.moved",
					   2, (WhArg[]){WH_ARG_INT4(model->id), WH_ARG_TEXT(to)});
	wh_catalog_execute(
		"DELETE FROM walhouse.ahead WHERE model_id = $1 AND event_time < $2", 2,
		(WhArg[]){WH_ARG_INT4(model->id), WH_ARG_TIMESTAMPTZ(wh_fact_time(model, to))});
	ereport(LOG, (errmsg("fact %s begins at %s now", model->name, to)));
}

/* check_clock: bookings by booked_at come at the feed clock, so what the fact has still to load
 * may lie below a horizon that is later than that. */
static void
check_clock(const WhFact *fact, const char *to)
{
	if (fact->event_time == fact->booked_at && fact->books &&
		wh_rows_bool(wh_spi_query("SELECT $1::pg_catalog.timestamptz > $2", 2,
								  (WhArg[]){WH_ARG_TEXT(to),
											WH_ARG_TIMESTAMPTZ(wh_fact_clock(fact->model))}),
					 0, 1))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("fact %s has still to load what is booked before %s", fact->model->name,
						to)));
}

const char *
wh_fact_why_gone(WhModel *model)
{
	return wh_fact_open(model)->books ?
			   "It has bookings, and what was booked there since is nowhere." :
			   NULL;
}

void
wh_fact_come_back(const WhModel *model, const char *from)
{
	wh_catalog_execute("UPDATE walhouse.fact_retention SET retired_to = $2, moved ="
					   " pg_catalog.pg_current_xact_id() WHERE model_id = $1",
					   2, (WhArg[]){WH_ARG_INT4(model->id), WH_ARG_TEXT(from)});
	ereport(LOG, (errmsg("fact %s begins at %s again", model->name, from)));
}

TimestampTz
wh_fact_time(WhModel *model, const char *value)
{
	const WhFact *fact = wh_fact_open(model);
	bool isnull;

	return DatumGetTimestampTz(
		wh_rows_datum(wh_spi_query(fact->event_type == TIMESTAMPTZOID ?
									   wh_sql("SELECT %L::pg_catalog.timestamptz", value) :
									   wh_sql("SELECT pg_catalog.timezone(%s,"
											  " %L::pg_catalog.timestamp)",
											  fact->zone, value),
								   0, NULL),
					  0, 1, &isnull));
}

void
wh_fact_follow_late(int32 leader_id, int32 follower_id)
{
	wh_catalog_execute("INSERT INTO walhouse.fact_retention AS r (model_id, late) SELECT $2, l.late"
					   " FROM walhouse.fact_retention l WHERE l.model_id = $1 ON CONFLICT"
					   " (model_id) DO UPDATE SET late = EXCLUDED.late WHERE r.late <>"
					   " EXCLUDED.late",
					   2, (WhArg[]){WH_ARG_INT4(leader_id), WH_ARG_INT4(follower_id)});
}

void
wh_fact_forget_retention(int32 fact_id)
{
	wh_catalog_execute("DELETE FROM walhouse.fact_retention WHERE model_id = $1", 1,
					   (WhArg[]){WH_ARG_INT4(fact_id)});
}

/* -------- what comes late -------- */

void
wh_fact_count_late(WhFact *fact)
{
	StringInfoData sql;
	WhRows *rows;
	int64 late;

	if (fact->horizon == NULL)
		return;
	initStringInfo(&sql);
	if (wh_stage_count(fact->stage, "wh_new") > 0)
		wh_sql_append(&sql, "SELECT %s AS key FROM wh_new n WHERE n.live AND n.reason = $1",
					  wh_fact_key_text(fact, "n"));
	if (wh_stage_count(fact->stage, "wh_old") > 0)
		wh_sql_append(&sql, "%sSELECT o.key FROM wh_old o WHERE o.reason = $1",
					  sql.len > 0 ? " UNION " : "");
	if (sql.len == 0)
		return;
	rows = wh_stage_query(
		fact->stage,
		wh_sql("SELECT pg_catalog.count(*), pg_catalog.min(l.key)::pg_catalog.text FROM (%s) l",
			   sql.data),
		1, (WhArg[]){WH_ARG_TEXT(WH_FACT_RETIRED)});
	late = wh_rows_int8(rows, 0, 1);
	if (late == 0)
		return;
	if (fact->stops_when_late)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("retired rows of %s were changed", fact->model->name),
				 errdetail("They are %lld, one of them has the key %s.", (long long) late,
						   wh_rows_text(rows, 0, 2)),
				 errhint("SELECT walhouse.set_late_changes(%s, 'skip') leaves them where they are;"
						 " then walhouse.resume.",
						 wh_sql_literal(fact->model->name))));
	wh_catalog_execute("UPDATE walhouse.fact_retention SET late_changes = late_changes + $2,"
					   " late_at = pg_catalog.now() WHERE model_id = $1",
					   2, (WhArg[]){WH_ARG_INT4(fact->model->id), WH_ARG_INT8(late)});
}

/* walhouse_set_late_changes(fact regclass, late text) */
Datum
walhouse_set_late_changes(PG_FUNCTION_ARGS)
{
	WhModel *model = wh_model_get(PG_GETARG_OID(0), false);
	char *late = text_to_cstring(PG_GETARG_TEXT_PP(1));

	if (model->kind != WH_MODEL_FACT)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("%s is not a fact", model->name)));
	wh_user_check_owner(model->owner, "fact", model->name);
	if (strcmp(late, "skip") != 0 && strcmp(late, "stop") != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("late must be skip or stop, not \"%s\"", late)));
	wh_txn_mark_own();
	wh_catalog_execute("INSERT INTO walhouse.fact_retention (model_id, late) VALUES ($1, $2) ON"
					   " CONFLICT (model_id) DO UPDATE SET late = EXCLUDED.late",
					   2, (WhArg[]){WH_ARG_INT4(model->id), WH_ARG_TEXT(late)});
	PG_RETURN_VOID();
}
