/*
 * effective.c
 *		Dimensions whose versions hold since what a column of their query says.
 *
 * Changes then arrive late and out of order: a correction of March may come after that of May.
 * The present row of a key is no longer enough to go on from, so such a dimension has a table of
 * events beside it, <name>_events: what each source transaction did to a key, with its effective
 * instant. All are kept, also those that change nothing (a late one may come between, and then
 * they do) and deletes; but of those at one instant the last alone, in order of commits.
 *
 * The instant of an event depends on the events of its key that were committed before, and on
 * nothing else, so the cut into loads does not matter:
 *	- a live one has that of its column; where that is NULL or infinite, the feed clock (rows of
 * the state that history begins with: -infinity);
 *	- a delete is not dated by the source: it has the feed clock, but is no earlier than any event
 * of the key before it;
 *	- what comes right after a delete is no earlier than that.
 * With M the running maximum of what each would have alone, that is M for deletes and for what
 * comes right after them, and the own instant for all others.  A delete of what is not there is
 * none. Where deletes do not close (deletes.c) there are live events alone, and each has its own.
 *
 * A load works out the instants of its events, writes them to the table, and has the versions
 * from the least of them on worked out anew (versions.c).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

static void append_closing(StringInfo sql, const WhModel *model, bool is_build);
static void append_images(StringInfo sql, const WhModel *model, bool is_build);
static void append_numbered(StringInfo sql, const WhModel *model, bool is_build);
static void append_same(StringInfo sql, const WhModel *model, bool is_build);
static bool place_events(WhModel *model, WhLoad *load, WhStage *stage, bool is_build);
static void remember(const WhModel *model, const WhStage *stage, bool is_build);

void
wh_dimension_set_effective(WhQuery *query, const char *effective)
{
	WhModelColumn *column;

	if (strcmp(effective, "commit") == 0)
		return;
	column = wh_model_column(query->columns, effective);
	if (column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("effective column \"%s\" is no column of the query", effective),
				 errhint("It is one of them, or commit.")));
	if (column->is_key)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("effective column \"%s\" is in the key", effective),
				 errdetail("A key never changes: a changed key is another member.")));
	if (column->type != TIMESTAMPTZOID && column->type != TIMESTAMPOID && column->type != DATEOID)
		ereport(
			ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("effective column \"%s\" has type %s", effective,
					format_type_be(column->type)),
			 errhint("It must be a timestamptz, a timestamp or a date; cast it in the query.")));
	column->is_effective = true;
}

WhModelColumn *
wh_dimension_effective_column(List *columns)
{
	ListCell *cell;

	foreach(cell, columns)
	{
		if (((WhModelColumn *) lfirst(cell))->is_effective)
			return lfirst(cell);
	}
	return NULL;
}

bool
wh_dimension_is_effective(const WhModel *model)
{
	return model->kind == WH_MODEL_DIMENSION &&
		   wh_dimension_effective_column(model->columns) != NULL;
}

/* wh_dimension_make_events makes the table of events beside a dimension that needs one. */
void
wh_dimension_make_events(const WhModel *model)
{
	StringInfoData sql;
	StringInfoData key;
	ListCell *cell;

	if (!wh_dimension_is_effective(model))
		return;
	initStringInfo(&sql);
	initStringInfo(&key);
	wh_model_column_list(&key, model->key, NULL);
	foreach(cell, model->columns)
	{
		WhModelColumn *column = lfirst(cell);

		wh_model_column_definition(&sql, column);
		wh_sql_append(&sql, column->is_key ? " NOT NULL, " : ", ");
	}
	wh_sql_append(&sql,
				  "wh_effective timestamptz NOT NULL, wh_lsn pg_lsn NOT NULL, "
				  "wh_since pg_lsn NOT NULL, wh_live boolean NOT NULL, UNIQUE (%s, wh_effective), "
				  "UNIQUE (%s, wh_lsn)",
				  key.data, key.data);
	(void) wh_model_add_table(model, "events", sql.data);
}

Oid
wh_dimension_events(const WhModel *model)
{
	Oid relid = wh_model_view(model, "events");

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the events of %s do not exist any more", model->name),
				 errhint("SELECT walhouse.drop_model(%s); and declare the model again.",
						 wh_sql_literal(model->name))));
	return relid;
}

/*
 * wh_dimension_instant returns the instant of the effective column (SQL of type timestamptz): NULL
 * where the column is NULL or infinite, or so far away that it has none.
 */
char *
wh_dimension_instant(const WhModel *model, const char *alias)
{
	WhModelColumn *column = wh_dimension_effective_column(model->columns);
	char *value = wh_sql("%s.%I", alias, column->name);
	const char *type = column->type == DATEOID ? "date" : "timestamp";

	if (column->type == TIMESTAMPTZOID)
		return wh_sql("CASE WHEN pg_catalog.isfinite(%s) THEN %s END", value, value);
	return wh_sql("CASE WHEN %s > '4713-01-01 BC'::pg_catalog.%s AND "
				  "%s < '294276-01-01'::pg_catalog.%s THEN "
				  "pg_catalog.timezone(%L, %s::pg_catalog.timestamp) END",
				  value, type, value, type, model->feed->time_zone, value);
}

void
wh_dimension_effective_build(WhModel *model, WhLoad *load, WhStage *stage, WhCounts *counts)
{
	wh_spi_execute(wh_sql("DELETE FROM %T", wh_dimension_events(model)), 0, NULL);
	if (!place_events(model, load, stage, true))
		return;
	remember(model, stage, true);
	wh_dimension_build_versions(model, load, stage, counts);
}

void
wh_dimension_effective_load(WhModel *model, WhLoad *load, WhStage *stage, WhCounts *counts)
{
	if (!place_events(model, load, stage, false))
		return;
	remember(model, stage, false);
	wh_dimension_load_versions(model, load, stage, counts);
}

/*
 * place_events fills wh_event with what stands of the events of (model's position, load->to], one
 * row for each key and effective instant, as the table has them; for a load of a dimension that
 * keeps values before the last change with wh_replaces, whether there is an event at that instant.
 * A build's begin with the state at that position.
 */
static bool
place_events(WhModel *model, WhLoad *load, WhStage *stage, bool is_build)
{
	List *attributes = wh_dimension_attributes(model->columns);
	StringInfoData key;
	StringInfoData sql;

	initStringInfo(&key);
	wh_model_column_list(&key, model->key, "p");
	initStringInfo(&sql);
	wh_sql_append(&sql, "SELECT DISTINCT ON (%s, p.wh_effective) ", key.data);
	wh_model_column_list(&sql, model->columns, "p");
	wh_sql_append(&sql,
				  ", p.wh_effective, p.wh_lsn, pg_catalog.min(p.wh_lsn) OVER (PARTITION BY %s, "
				  "p.wh_effective) AS wh_since, p.wh_live",
				  key.data);
	if (!is_build && wh_dimension_keeping(attributes, WH_KEEP_PREVIOUS) != NIL)
	{
		wh_sql_append(&sql, ", (SELECT true FROM %T e WHERE ", wh_dimension_events(model));
		wh_model_key_join(&sql, model, "e", "p");
		wh_sql_append(&sql, " AND e.wh_effective = p.wh_effective) IS NOT NULL AS wh_replaces");
	}
	wh_sql_append(&sql, " FROM (");
	if (wh_dimension_on_delete(model) == WH_DELETE_CLOSE)
		append_closing(&sql, model, is_build);
	else
		append_images(&sql, model, is_build);
	wh_sql_append(&sql, " ORDER BY %s, p.wh_effective, p.wh_lsn DESC", key.data);
	return wh_stage_fill(stage, "wh_event", sql.data, 2,
						 (WhArg[]){WH_ARG_LSN(model->position), WH_ARG_LSN(load->to)}) > 0;
}

/* append_images: live events alone, each at its own instant. */
static void
append_images(StringInfo sql, const WhModel *model, bool is_build)
{
	wh_sql_append(sql, "SELECT s.*, COALESCE(%s, s.wh_clock) AS wh_effective FROM (SELECT s.*, ",
				  wh_dimension_instant(model, "s"));
	append_same(sql, model, is_build);
	wh_sql_append(sql, " AS wh_same FROM (");
	append_numbered(sql, model, is_build);
	wh_sql_append(sql, ") s) s) p WHERE NOT p.wh_same");
}

/*
 * append_closing: live events and deletes.  wh_was_live: the key's event before is a live one;
 * wh_until: the greatest instant of those before the range, on the first of the range.
 */
static void
append_closing(StringInfo sql, const WhModel *model, bool is_build)
{
	StringInfoData key;
	StringInfoData match;
	Oid events = wh_dimension_events(model);

	initStringInfo(&key);
	wh_model_column_list(&key, model->key, "s");
	initStringInfo(&match);
	wh_model_key_join(&match, model, "e", "s");
	wh_sql_append(
		sql,
		"SELECT s.*, CASE WHEN s.wh_live AND s.wh_was_live THEN s.wh_own ELSE "
		"GREATEST(pg_catalog.max(s.wh_until) OVER o, pg_catalog.max("
		"CASE WHEN NOT s.wh_live AND s.wh_was_live THEN s.wh_clock WHEN s.wh_live AND NOT "
		"s.wh_same THEN s.wh_own END) OVER o) END AS wh_effective FROM (SELECT s.*, "
		"s.wh_live AND s.wh_was_live AND ");
	append_same(sql, model, is_build);
	wh_sql_append(sql, " AS wh_same FROM (SELECT s.*, COALESCE(%s, s.wh_clock) AS wh_own",
				  wh_dimension_instant(model, "s"));
	if (is_build)
		wh_sql_append(sql, ", COALESCE(s.wh_previous, false) AS wh_was_live, "
						   "NULL::pg_catalog.timestamptz AS wh_until");
	else
		wh_sql_append(
			sql,
			", CASE WHEN s.wh_number > 1 THEN s.wh_previous ELSE COALESCE((SELECT e.wh_live FROM "
			"%T e WHERE %s ORDER BY e.wh_lsn DESC LIMIT 1), false) END AS wh_was_live, "
			"CASE WHEN s.wh_number = 1 THEN (SELECT e.wh_effective FROM %T e WHERE %s "
			"ORDER BY e.wh_effective DESC LIMIT 1) END AS wh_until",
			events, match.data, events, match.data);
	wh_sql_append(sql, " FROM (");
	append_numbered(sql, model, is_build);
	wh_sql_append(sql,
				  ") s) s) s WINDOW o AS (PARTITION BY %s ORDER BY s.wh_lsn)) p "
				  "WHERE (p.wh_live OR p.wh_was_live) AND NOT p.wh_same",
				  key.data);
}

/* append_numbered: the events of each key in order (wh_number), each with what the one before says:
 * whether it is live, and whether it has the same image. */
static void
append_numbered(StringInfo sql, const WhModel *model, bool is_build)
{
	StringInfoData key;
	StringInfoData columns;

	initStringInfo(&key);
	wh_model_column_list(&key, model->key, "s");
	initStringInfo(&columns);
	wh_model_column_list(&columns, model->columns, "s");
	wh_sql_append(sql,
				  "SELECT s.*, pg_catalog.row_number() OVER o AS wh_number, "
				  "pg_catalog.lag(s.wh_live) OVER o AS wh_previous, pg_catalog.lag(ROW(%s)) OVER o "
				  "OPERATOR(pg_catalog.*=) ROW(%s) AS wh_repeats FROM (",
				  columns.data, columns.data);
	wh_dimension_events_sql(sql, model, is_build);
	wh_sql_append(sql, ") s WINDOW o AS (PARTITION BY %s ORDER BY s.wh_lsn)", key.data);
}

/* append_same: whether the image is that of the key's event before, which for the first of a load
 * the table has. */
static void
append_same(StringInfo sql, const WhModel *model, bool is_build)
{
	StringInfoData ours;
	StringInfoData theirs;

	if (is_build)
	{
		wh_sql_append(sql, "COALESCE(s.wh_repeats, false)");
		return;
	}
	initStringInfo(&ours);
	wh_model_column_list(&ours, model->columns, "s");
	initStringInfo(&theirs);
	wh_model_column_list(&theirs, model->columns, "e");
	wh_sql_append(
		sql,
		"CASE WHEN s.wh_number > 1 THEN s.wh_repeats ELSE COALESCE((SELECT ROW(%s)::record "
		"OPERATOR(pg_catalog.*=) ROW(%s)::record FROM %T e WHERE ",
		theirs.data, ours.data, wh_dimension_events(model));
	wh_model_key_join(sql, model, "e", "s");
	wh_sql_append(sql, " ORDER BY e.wh_lsn DESC LIMIT 1), false) END");
}

/* remember writes the rows of wh_event to the table of events, in the place of what had their
 * instant. */
static void
remember(const WhModel *model, const WhStage *stage, bool is_build)
{
	StringInfoData sql;
	StringInfoData columns;
	ListCell *cell;

	initStringInfo(&columns);
	wh_model_column_list(&columns, model->columns, NULL);
	initStringInfo(&sql);
	wh_sql_append(&sql,
				  "INSERT INTO %T (%s, wh_effective, wh_lsn, wh_since, wh_live) SELECT %s, "
				  "wh_effective, wh_lsn, wh_since, wh_live FROM wh_event",
				  wh_dimension_events(model), columns.data, columns.data);
	if (!is_build)
	{
		wh_sql_append(&sql, " ON CONFLICT (");
		wh_model_column_list(&sql, model->key, NULL);
		wh_sql_append(&sql, ", wh_effective) DO UPDATE SET wh_lsn = excluded.wh_lsn, "
							"wh_live = excluded.wh_live");
		foreach(cell, model->columns)
		{
			const char *name = wh_sql_identifier(((WhModelColumn *) lfirst(cell))->name);

			wh_sql_append(&sql, ", %s = excluded.%s", name, name);
		}
	}
	wh_stage_execute(stage, sql.data, 0, NULL);
}
