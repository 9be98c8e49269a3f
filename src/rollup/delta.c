/*
 * delta.c
 *		What happened to the rows of a fact, as a rollup takes it: projections, each with a number.
 *
 * wh_net has n, p, g…, v…, at, h… and k, the key of the rollup's row: how many more rows of the
 * fact there are with these values.  Writes that cancel each other out, and those of columns that
 * the rollup does not read, are not in it.  A projection says all that a rollup ever needs of a
 * row, so what a rollup missed is kept in the same form.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "base/base.h"
#include "fact/fact.h"
#include "rollup/rollup.h"
#include "rollup/rollup_private.h"

/* So many pages of what a rollup missed are kept in any case. */
#define PENDING_PAGES 128

static void check_pending(const WhRollup *rollup);
static void append_net(StringInfo sql, const WhRollup *rollup, const char *projections);
static char *project_pending(const WhRollup *rollup);
static char *project_kept(const WhRollup *rollup, Oid table);
static void append_kept(StringInfo sql, const WhRollup *rollup, Oid table, const char *column,
						const char *value, const char *net);
static bool has_changes(const WhRollup *rollup, const WhLoad *load);

/*
 * wh_rollup_read_delta fills wh_net with what the load did to the fact, and with what the rollup
 * missed before; false: nothing.
 */
bool
wh_rollup_read_delta(WhRollup *rollup, WhLoad *load, bool with_pending)
{
	bool with_changes = has_changes(rollup, load);
	StringInfoData projections;
	StringInfoData sql;

	initStringInfo(&projections);
	initStringInfo(&sql);
	if (with_changes)
		appendStringInfoString(&projections, wh_rollup_project_changes(rollup));
	if (with_pending)
		wh_sql_append(&projections, "%s%s", with_changes ? " UNION ALL " : "",
					  project_pending(rollup));
	if (projections.len == 0)
		return false;
	append_net(&sql, rollup, projections.data);
	return wh_stage_fill_from(rollup->stage, "wh_net", load->changes, sql.data, 0, NULL) > 0;
}

/* wh_rollup_read_fact fills wh_net with all rows of the fact, and those that it had. */
void
wh_rollup_read_fact(WhRollup *rollup)
{
	wh_rollup_read_some(rollup, "true", "true");
}

void
wh_rollup_read_some(WhRollup *rollup, const char *condition, const char *retired)
{
	StringInfoData sql;

	initStringInfo(&sql);
	append_net(&sql, rollup, wh_rollup_counted(rollup, condition, retired));
	wh_stage_fill(rollup->stage, "wh_net", sql.data, 0, NULL);
}

char *
wh_rollup_counted(const WhRollup *rollup, const char *condition, const char *retired)
{
	char *rows = wh_fact_rows_kept(wh_model_get_by_id(rollup->fact_id));
	StringInfoData sql;

	initStringInfo(&sql);
	wh_rollup_project(&sql, rollup, "1::pg_catalog.int8",
					  wh_sql("(SELECT c.* FROM %s c WHERE %s)", rows, condition), NULL);
	wh_sql_append(&sql, " UNION ALL %s WHERE %s", project_kept(rollup, rollup->retired), retired);
	return sql.data;
}

/*
 * wh_rollup_retire: the rows leave the fact without a load that would tell, and the rollup goes on
 * having them.  What they add up to cannot be told from what is still there, so their projections
 * are kept, for whoever makes the rollup anew, and for verify; under the horizon that they went
 * for, by which wh_rollup_come_back knows them.
 */
void
wh_rollup_retire(WhModel *model, const char *rows, const char *to)
{
	WhRollup *rollup = wh_rollup_open(model);
	StringInfoData projections;
	StringInfoData net;
	StringInfoData sql;

	initStringInfo(&projections);
	initStringInfo(&net);
	initStringInfo(&sql);
	wh_rollup_project(&projections, rollup, "1", rows, NULL);
	append_net(&net, rollup, projections.data);
	append_kept(&sql, rollup, rollup->retired, "retired_to", wh_sql_literal(to), net.data);
	wh_spi_execute(sql.data, 0, NULL);
}

/* wh_rollup_come_back: horizons are dates or times without a zone or in UTC, so their order is that
 * of what they say. */
bool
wh_rollup_come_back(WhModel *model, const char *to, const char *last)
{
	return wh_rows_bool(
		wh_spi_query(wh_sql("WITH g AS (DELETE FROM %T t WHERE t.retired_to::pg_catalog.timestamp"
							" BETWEEN %L AND %L RETURNING t.retired_to) SELECT COALESCE("
							"pg_catalog.bool_or(g.retired_to = %L), false) FROM g",
							wh_rollup_open(model)->retired, to, last, to),
					 0, NULL),
		0, 1);
}

/* wh_rollup_read_pending fills wh_net with what the rollup missed after a load. */
void
wh_rollup_read_pending(WhRollup *rollup, int64 after)
{
	StringInfoData sql;

	initStringInfo(&sql);
	append_net(&sql, rollup, wh_sql("%s WHERE t.load_id > %l", project_pending(rollup), after));
	wh_stage_fill(rollup->stage, "wh_net", sql.data, 0, NULL);
}

void
wh_rollup_forget_pending(WhRollup *rollup)
{
	wh_spi_execute(wh_sql("DELETE FROM %T", rollup->pending), 0, NULL);
}

/* wh_rollup_missed keeps what a load that did not bring the rollup on did to the fact. */
void
wh_rollup_missed(WhModel *model, WhLoad *load)
{
	WhRollup *rollup = wh_rollup_open(model);
	StringInfoData net;
	StringInfoData sql;

	if (!has_changes(rollup, load))
		return;
	if (model->is_paused || strcmp(model->state, "stopped") == 0)
		check_pending(rollup);
	initStringInfo(&net);
	initStringInfo(&sql);
	append_net(&net, rollup, wh_rollup_project_changes(rollup));
	append_kept(&sql, rollup, rollup->pending, "load_id", wh_sql("%l", load->id), net.data);
	wh_stage_execute(load->changes, sql.data, 0, NULL);
}

/* append_kept appends the statement that keeps projections in a table. */
static void
append_kept(StringInfo sql, const WhRollup *rollup, Oid table, const char *column,
			const char *value, const char *net)
{
	wh_sql_append(sql, "INSERT INTO %T (%s, n", table, column);
	wh_rollup_projection(sql, rollup, NULL);
	wh_sql_append(sql, ") SELECT %s, t.n", value);
	wh_rollup_projection(sql, rollup, "t");
	wh_sql_append(sql, " FROM (%s) t", net);
}

/* check_pending refuses to keep more for a rollup that stopped or is paused than its fact has. */
static void
check_pending(const WhRollup *rollup)
{
	int64 pages = wh_model_pages(rollup->pending);

	if (pages > PENDING_PAGES && pages > wh_model_pages(rollup->fact))
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("%s missed more than its fact has rows", rollup->model->name)));
}

/* append_net adds projections up. */
static void
append_net(StringInfo sql, const WhRollup *rollup, const char *projections)
{
	StringInfoData columns;

	initStringInfo(&columns);
	wh_rollup_projection(&columns, rollup, "t");
	wh_sql_append(sql, "SELECT q.*, %s AS k FROM (SELECT pg_catalog.sum(t.n)::pg_catalog.int8 AS n",
				  wh_rollup_key(rollup, "q"));
	wh_sql_append(sql, "%s FROM (%s) t", columns.data, projections);
	if (columns.len > 0)
		wh_sql_append(sql, " GROUP BY %s", columns.data + 2);
	wh_sql_append(sql, " HAVING pg_catalog.sum(t.n) <> 0) q");
}

char *
wh_rollup_project_changes(const WhRollup *rollup)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_rollup_project(&sql, rollup, "c.wh_n", wh_fact_changes(rollup->fact_id), "c");
	return sql.data;
}

static char *
project_pending(const WhRollup *rollup)
{
	return project_kept(rollup, rollup->pending);
}

static char *
project_kept(const WhRollup *rollup, Oid table)
{
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT t.n");
	wh_rollup_projection(&sql, rollup, "t");
	wh_sql_append(&sql, " FROM %T t", table);
	return sql.data;
}

static bool
has_changes(const WhRollup *rollup, const WhLoad *load)
{
	return wh_stage_count(load->changes, wh_fact_changes(rollup->fact_id)) > 0;
}
