/*
 * ahead.c
 *		Fact rows whose event time is not before the feed clock.
 *
 * The version of a dimension row that holds at an event time is final once the feed clock has
 * passed that time: later versions begin at the clock or after.  Rows ahead of it stand in
 * walhouse.ahead, one for each versioned dimension that they refer to, with the version that they
 * point to.  When a load opens versions of a dimension's key, the rows that point to a version
 * which was open at the fact's position, or opened since, are probed by that surrogate key and
 * looked up again.  A row leaves when it changes, and when the clock has passed it.  Surrogate
 * keys serve as the dimension key: they are exact for every type, where text is not (1.0 and 1.00
 * are one key).
 *
 * Where a dimension's versions hold since an effective column, none is ever final, and rows follow
 * walhouse.moved (moved.c); they do not stand here.
 *
 * row_key is the text of the row's key and event time (of what identifies it); with the pinned
 * settings it reads back as the same values.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "fact/fact.h"
#include "fact/fact_private.h"

static bool may_be_ahead(const WhFactRole *role);
static bool find_moved(WhFact *fact, WhFactRole *role, WhLoad *load);
static void repoint_role(WhFact *fact, WhFactRole *role, WhLoad *load, WhCounts *counts);
static void stage_points(WhFact *fact, WhFactRole *role);

/* wh_fact_ahead_forget removes the entries of the rows in wh_old. */
void
wh_fact_ahead_forget(WhFact *fact)
{
	WhArg args[1];

	if (!wh_fact_ahead_has_rows(fact))
		return;
	args[0] = WH_ARG_INT4(fact->model->id);
	wh_fact_catalog_narrow(fact,
						   "DELETE FROM walhouse.ahead a USING wh_old o"
						   " WHERE a.model_id = $1 AND a.row_key OPERATOR(pg_catalog.=) o.row_key",
						   1, args);
}

/* wh_fact_ahead_add enters the rows of wh_row whose event time is not before the clock. */
void
wh_fact_ahead_add(WhFact *fact, WhLoad *load)
{
	StringInfoData sql;
	WhArg args[1];
	ListCell *cell;

	initStringInfo(&sql);
	foreach(cell, fact->roles)
	{
		WhFactRole *role = lfirst(cell);

		if (!may_be_ahead(role))
			continue;
		wh_sql_append(
			&sql,
			"%sSELECT %d AS role, r.sk%d AS sk, %s AS event_time, %s AS row_key FROM wh_row r"
			" WHERE r.sk%d > 0 AND %s >= $1",
			sql.len > 0 ? " UNION ALL " : "", role->number, role->number,
			wh_fact_instant(fact, "r"), wh_fact_row_text(fact, "r"), role->number,
			wh_fact_instant(fact, "r"));
	}
	if (sql.len == 0)
		return;
	args[0] = WH_ARG_TIMESTAMPTZ(load->clock);
	if (wh_stage_fill(fact->stage, "wh_ahead", sql.data, 1, args) == 0)
		return;
	args[0] = WH_ARG_INT4(fact->model->id);
	wh_stage_catalog(fact->stage,
					 "INSERT INTO walhouse.ahead (model_id, role, sk, event_time, row_key)"
					 " SELECT $1, a.role, a.sk, a.event_time, a.row_key FROM wh_ahead a",
					 1, args);
}

/*
 * wh_fact_ahead_repoint looks up again the rows that may have got another version: those of keys
 * that moved since the fact's position, or with `all` every one.
 */
void
wh_fact_ahead_repoint(WhFact *fact, WhLoad *load, bool all, WhCounts *counts)
{
	ListCell *cell;

	if (!wh_fact_ahead_has_rows(fact))
		return;
	foreach(cell, fact->roles)
	{
		WhFactRole *role = lfirst(cell);
		const char *probe = "SELECT a.sk, a.event_time, a.row_key FROM walhouse.ahead a"
							" WHERE a.model_id = $1 AND a.role = $2";
		WhArg args[2];

		if (!may_be_ahead(role))
			continue;
		if (!all)
		{
			if (!find_moved(fact, role, load))
				continue;
			probe =
				"SELECT a.sk, a.event_time, a.row_key FROM wh_moved m JOIN walhouse.ahead a ON"
				" a.sk = m.sk"
				" WHERE a.model_id = $1 AND a.role = $2";
		}
		args[0] = WH_ARG_INT4(fact->model->id);
		args[1] = WH_ARG_INT4(role->number);
		if (wh_stage_fill_catalog(fact->stage, "wh_probe", probe, 2, args) > 0)
			repoint_role(fact, role, load, counts);
	}
}

/*
 * find_moved fills wh_moved with the versions that rows ahead may point to, of the keys that
 * changed since the fact's position: the one that held just before the clock of that position, and
 * those that began at it or after; a transaction of the same time may have opened the last ones.
 * Read as the dimension's owner, since only that is sure to see its change log.
 */
static bool
find_moved(WhFact *fact, WhFactRole *role, WhLoad *load)
{
	WhModel *dimension = role->dimension;
	char *sk = wh_model_option(dimension, "sk");
	StringInfoData sql;
	StringInfoData match;
	WhArg args[3];
	WhUser saved;
	bool found;

	args[0] = WH_ARG_LSN(fact->model->position);
	args[1] = WH_ARG_LSN(load->to);
	args[2] = WH_ARG_TIMESTAMPTZ(wh_fact_clock(fact->model));
	initStringInfo(&match);
	wh_model_key_join(&match, dimension, "v", "k");
	wh_user_become(dimension->owner, &saved);
	wh_model_stage_keys(dimension, fact->stage, fact->model->position, load->to);
	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT s.sk FROM (SELECT ");
	wh_model_column_list(&sql, dimension->key, "k");
	wh_sql_append(&sql, " FROM (");
	wh_model_keys_sql(&sql, dimension);
	wh_sql_append(
		&sql,
		") k) k CROSS JOIN LATERAL ("
		"(SELECT v.%I AS sk FROM %T v WHERE %s AND v.valid_from < $3 ORDER BY v.valid_from"
		" DESC LIMIT 1)"
		" UNION ALL SELECT v.%I FROM %T v WHERE %s AND v.valid_from >= $3) s",
		sk, dimension->relid, match.data, sk, dimension->relid, match.data);
	found = wh_stage_fill(fact->stage, "wh_moved", sql.data, 3, args) > 0;
	wh_user_restore(&saved);
	return found;
}

/* wh_fact_clock returns the feed clock at a model's position; -infinity where the record of it is
 * gone. */
TimestampTz
wh_fact_clock(const WhModel *model)
{
	WhArg args[1];
	WhRows *rows;
	bool isnull;

	args[0] = WH_ARG_LSN(model->position);
	rows = wh_spi_query_kept(
		wh_sql("SELECT t.clock FROM %T t WHERE t.end_lsn <= $1 ORDER BY t.end_lsn DESC LIMIT 1",
			   wh_changelog_txn_relid(model->feed)),
		1, args);
	if (rows->count == 0)
		return DT_NOBEGIN;
	return DatumGetTimestampTz(wh_rows_datum(rows, 0, 1, &isnull));
}

/* repoint_role looks up the rows of wh_probe, and writes those whose version is another now. */
static void
repoint_role(WhFact *fact, WhFactRole *role, WhLoad *load, WhCounts *counts)
{
	StringInfoData match;
	WhArg args[2];

	stage_points(fact, role);
	if (wh_stage_count(fact->stage, "wh_point") == 0)
		return;
	initStringInfo(&match);
	wh_fact_row_match(&match, fact, "c");
	counts->updated += wh_fact_update_rows(fact, load, wh_fact_role_targets(fact, role),
										   wh_fact_role_values(fact, role, "x.sk"), "wh_point x",
										   match.data);
	args[0] = WH_ARG_INT4(fact->model->id);
	args[1] = WH_ARG_INT4(role->number);
	wh_fact_catalog_narrow(
		fact,
		"UPDATE walhouse.ahead a SET sk = x.sk FROM wh_point x"
		" WHERE a.model_id = $1 AND a.role = $2 AND a.row_key OPERATOR(pg_catalog.=) x.row_key",
		2, args);
}

/* stage_points fills wh_point (c…, sk, row_key) with the rows of wh_probe whose look-up gives
 * another version. */
static void
stage_points(WhFact *fact, WhFactRole *role)
{
	StringInfoData sql;
	StringInfoData match;
	ListCell *cell;

	initStringInfo(&match);
	foreach(cell, fact->identity)
	{
		WhModelColumn *column = wh_fact_column(fact, lfirst_int(cell));

		wh_sql_append(&match, "%sf.%I %s p.row_key[%d]::%s", match.len > 0 ? " AND " : "",
					  column->name, wh_model_equality(column->type),
					  foreach_current_index(cell) + 1, wh_fact_type(column->type, -1));
	}
	initStringInfo(&sql);
	wh_sql_append(&sql,
				  "SELECT * FROM (SELECT x.*, %s AS sk FROM (SELECT p.sk AS old_sk, p.event_time, "
				  "p.row_key",
				  wh_fact_lookup(fact, role, "x", "x.event_time"));
	foreach(cell, fact->columns)
		wh_sql_append(&sql, ", f.%I AS c%d", ((WhModelColumn *) lfirst(cell))->name,
					  foreach_current_index(cell) + 1);
	wh_sql_append(
		&sql, " FROM wh_probe p JOIN %T f ON %s OFFSET 0) x OFFSET 0) x WHERE x.sk <> x.old_sk",
		fact->model->relid, match.data);
	wh_fact_fill_narrow(fact, "wh_point", sql.data);
}

/* wh_fact_ahead_pass removes the entries that the clock has passed: their version is final. */
void
wh_fact_ahead_pass(WhFact *fact, WhLoad *load)
{
	WhArg args[2];

	args[0] = WH_ARG_INT4(fact->model->id);
	args[1] = WH_ARG_TIMESTAMPTZ(load->clock);
	wh_catalog_execute("DELETE FROM walhouse.ahead WHERE model_id = $1 AND event_time < $2", 2,
					   args);
}

/* may_be_ahead says that a role's versions are final once the clock has passed. */
static bool
may_be_ahead(const WhFactRole *role)
{
	return role->dimension->feed != NULL && wh_dimension_is_versioned(role->dimension) &&
		   !wh_dimension_is_effective(role->dimension);
}

bool
wh_fact_ahead_has_rows(const WhFact *fact)
{
	WhArg args[1];

	args[0] = WH_ARG_INT4(fact->model->id);
	return wh_catalog_query("SELECT FROM walhouse.ahead WHERE model_id = $1 LIMIT 1", 1, args)
			   ->count > 0;
}
