/*
 * deletes.c
 *		What a delete at the source does to a member, other than to close its open version.
 *
 *	tombstone	the open version stays open, with is_deleted; a re-insert takes that away, and is
 *				otherwise a change like any other;
 *	ignore		nothing at all; a re-insert is a change;
 *	purge		all versions go, as if the member had never been; a re-insert begins anew.
 *
 * With these three a member's images make its history and its deletes make no boundary, so the
 * statement of a load (load.c) sees images alone.  What deletes do stands here: purge removes
 * before it, tombstone marks after it.  All of it is a function of the log: whether a member is
 * deleted says its last event, and what lives say those after its last delete.
 *
 * A purged member leaves no value behind but its key, and that alone where a fact is declared on
 * the dimension: the row of its first version becomes an inferred member in place, and facts that
 * point to another of its versions find old and new surrogate key in walhouse.purged.  Every fact
 * on a purging dimension has an index on its surrogate key for that.  (Where versions hold since an
 * effective column, walhouse.moved has them, like all that moves there.)
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "dimension/dimension_private.h"

static void forget_events(const WhModel *model, const WhLoad *load, const WhStage *stage);
static void tell_facts(const WhModel *model, const WhLoad *load, WhStage *stage);
static void forget_passed(const WhModel *model);
static void append_events(StringInfo sql, const WhModel *model, bool with_state);
static void append_dead(StringInfo sql, const WhModel *model);

WhOnDelete
wh_dimension_parse_on_delete(const char *value)
{
	static const char *const values[] = {"close", "tombstone", "ignore", "purge"};

	for (int i = 0; i < lengthof(values); i++)
	{
		if (strcmp(value, values[i]) == 0)
			return i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("on_delete \"%s\" is not supported", value),
			 errhint("It is close, tombstone, ignore or purge.")));
}

WhOnDelete
wh_dimension_on_delete(const WhModel *model)
{
	char *value = wh_model_option(model, "on_delete");

	return value == NULL ? WH_DELETE_CLOSE : wh_dimension_parse_on_delete(value);
}

bool
wh_dimension_purges(const WhModel *dimension)
{
	return dimension->kind == WH_MODEL_DIMENSION &&
		   wh_dimension_versioned_columns(dimension) != NIL &&
		   wh_dimension_on_delete(dimension) == WH_DELETE_PURGE && !wh_dimension_moves(dimension);
}

void
wh_dimension_events_sql(StringInfo sql, const WhModel *model, bool with_state)
{
	WhOnDelete on_delete = wh_dimension_on_delete(model);

	if (on_delete == WH_DELETE_CLOSE)
	{
		append_events(sql, model, with_state);
		return;
	}
	wh_sql_append(sql, "SELECT e.* FROM (SELECT e.*");
	if (on_delete == WH_DELETE_PURGE)
	{
		wh_sql_append(sql, ", pg_catalog.max(e.wh_lsn) FILTER (WHERE NOT e.wh_live) OVER "
						   "(PARTITION BY ");
		wh_model_column_list(sql, model->key, "e");
		wh_sql_append(sql, ") AS wh_purged");
	}
	wh_sql_append(sql, " FROM (");
	append_events(sql, model, with_state);
	wh_sql_append(sql, ") e) e WHERE e.wh_live%s",
				  on_delete == WH_DELETE_PURGE ?
					  " AND e.wh_lsn > COALESCE(e.wh_purged, '0/0')" :
					  "");
}

/* append_events: all events, and the state that they begin with. */
static void
append_events(StringInfo sql, const WhModel *model, bool with_state)
{
	StringInfoData columns;

	if (with_state)
	{
		initStringInfo(&columns);
		wh_model_column_list(&columns, model->columns, "q");
		wh_sql_append(sql,
					  "SELECT $1 AS wh_lsn, '-infinity'::timestamptz AS wh_clock, true AS wh_live, "
					  "%s FROM (",
					  columns.data);
		wh_model_state_sql(sql, model);
		wh_sql_append(sql, ") q UNION ALL SELECT q.wh_lsn, q.wh_clock, q.wh_live, %s FROM (",
					  columns.data);
	}
	wh_model_events_sql(sql, model);
	if (with_state)
		wh_sql_append(sql, ") q");
}

/*
 * wh_dimension_purge: the versions of deleted members go; where facts may refer to one, its first
 * version becomes an inferred member.
 */
void
wh_dimension_purge(WhModel *model, WhLoad *load, WhStage *stage, WhCounts *counts)
{
	const char *sk = wh_sql_identifier(wh_dimension_sk(model));
	List *attributes = wh_dimension_attributes(model->columns);
	bool keeps = wh_dimension_has_facts(model);
	StringInfoData sql;
	WhRows *rows;
	ListCell *cell;

	initStringInfo(&sql);
	append_dead(&sql, model);
	wh_sql_append(
		&sql,
		", wh_version AS MATERIALIZED (SELECT v.* FROM wh_dead k CROSS JOIN LATERAL ("
		"SELECT d.%s AS sk, pg_catalog.first_value(d.%s) OVER o AS new_sk, d.is_inferred, "
		"d.valid_from AS from_time, COALESCE(pg_catalog.lead(d.valid_from) OVER o, "
		"'infinity') AS to_time FROM %T d WHERE ",
		sk, sk, model->relid);
	wh_model_key_join(&sql, model, "d", "k");
	wh_sql_append(
		&sql,
		" WINDOW o AS (ORDER BY d.valid_from)) v), wh_deleted AS (DELETE FROM %T d USING "
		"wh_version v WHERE d.%s = v.sk AND %s "
		"RETURNING 1), wh_emptied AS (UPDATE %T d SET valid_to = 'infinity', is_current = "
		"true, is_inferred = true, load_id = %l",
		model->relid, sk, keeps ? "v.sk <> v.new_sk" : "true", model->relid, load->id);
	foreach(cell, attributes)
	{
		WhAttribute *attribute = lfirst(cell);

		if (!attribute->column->is_key)
			wh_sql_append(&sql, ", %I = NULL", attribute->name);
	}
	wh_sql_append(&sql,
				  " FROM wh_version v WHERE d.%s = v.sk AND v.sk = v.new_sk AND NOT v.is_inferred "
				  "AND %s RETURNING 1) SELECT v.*, (SELECT pg_catalog.count(*) FROM "
				  "wh_deleted) AS deleted, (SELECT pg_catalog.count(*) FROM wh_emptied) AS emptied "
				  "FROM wh_version v",
				  sk, keeps ? "true" : "false");
	if (wh_stage_fill(stage, "wh_purged", sql.data, 2,
					  (WhArg[]){WH_ARG_LSN(model->position), WH_ARG_LSN(load->to)}) > 0)
	{
		rows = wh_stage_query(stage, "SELECT p.deleted, p.emptied FROM wh_purged p LIMIT 1", 0,
							  NULL);
		counts->deleted += wh_rows_int8(rows, 0, 1);
		counts->updated += wh_rows_int8(rows, 0, 2);
		tell_facts(model, load, stage);
	}
	if (wh_dimension_is_effective(model))
		forget_events(model, load, stage);
}

/* forget_events removes what the table of events has of deleted members. */
static void
forget_events(const WhModel *model, const WhLoad *load, const WhStage *stage)
{
	StringInfoData sql;

	initStringInfo(&sql);
	append_dead(&sql, model);
	wh_sql_append(&sql, " DELETE FROM %T e USING wh_dead k WHERE ", wh_dimension_events(model));
	wh_model_key_join(&sql, model, "e", "k");
	wh_stage_execute(stage, sql.data, 2,
					 (WhArg[]){WH_ARG_LSN(model->position), WH_ARG_LSN(load->to)});
}

/* tell_facts notes where the rows that point to a row of wh_purged shall point. */
static void
tell_facts(const WhModel *model, const WhLoad *load, WhStage *stage)
{
	if (wh_dimension_moves(model))
	{
		wh_stage_fill(stage, "wh_lost", "SELECT * FROM wh_purged p WHERE p.sk <> p.new_sk", 0,
					  NULL);
		wh_dimension_move_facts(model, stage, "wh_lost", load->to);
		return;
	}
	forget_passed(model);
	if (wh_dimension_has_facts(model))
		wh_stage_catalog(stage,
						 "INSERT INTO walhouse.purged (dimension_id, sk, new_sk, position) "
						 "SELECT $1, p.sk, p.new_sk, $2 FROM wh_purged p WHERE p.sk <> p.new_sk",
						 2, (WhArg[]){WH_ARG_INT4(model->id), WH_ARG_LSN(load->to)});
}

bool
wh_dimension_has_facts(const WhModel *model)
{
	return wh_catalog_query("SELECT FROM walhouse.fact_dimension WHERE dimension_id = $1 LIMIT 1",
							1, (WhArg[]){WH_ARG_INT4(model->id)})
			   ->count > 0;
}

/* forget_passed removes the surrogate keys that every fact has pointed elsewhere. */
static void
forget_passed(const WhModel *model)
{
	wh_catalog_execute(
		"DELETE FROM walhouse.purged p WHERE p.dimension_id = $1 AND NOT EXISTS ("
		"SELECT FROM walhouse.fact_dimension f JOIN walhouse.model m ON m.model_id = f.model_id "
		"WHERE f.dimension_id = p.dimension_id AND m.state <> 'rebuild' AND COALESCE(("
		"SELECT l.to_lsn FROM walhouse.load_model l WHERE l.model_id = f.model_id "
		"ORDER BY l.load_id DESC LIMIT 1), '0/0') < p.position)",
		1, (WhArg[]){WH_ARG_INT4(model->id)});
}

/* append_dead: wh_dead, the keys that were deleted in the range. */
static void
append_dead(StringInfo sql, const WhModel *model)
{
	wh_sql_append(sql, "WITH wh_dead AS MATERIALIZED (SELECT DISTINCT ");
	wh_model_column_list(sql, model->key, "e");
	wh_sql_append(sql, " FROM (");
	wh_model_events_sql(sql, model);
	wh_sql_append(sql, ") e WHERE NOT e.wh_live)");
}

void
wh_dimension_mark_deleted(WhModel *model, WhLoad *load, WhStage *stage, WhCounts *counts)
{
	const char *sk = wh_sql_identifier(wh_dimension_sk(model));
	StringInfoData key;
	StringInfoData sql;

	initStringInfo(&key);
	wh_model_column_list(&key, model->key, "e");
	initStringInfo(&sql);
	wh_sql_append(&sql,
				  "WITH wh_last AS MATERIALIZED (SELECT DISTINCT ON (%s) %s, e.wh_live FROM (",
				  key.data, key.data);
	wh_model_events_sql(&sql, model);
	wh_sql_append(
		&sql,
		") e ORDER BY %s, e.wh_lsn DESC) UPDATE %T d SET is_deleted = NOT v.is_deleted, "
		"load_id = %l FROM (SELECT c.* FROM wh_last k CROSS JOIN LATERAL (SELECT c.* FROM ("
		"SELECT d.%s AS sk, d.is_deleted, d.is_inferred FROM %T d WHERE ",
		key.data, model->relid, load->id, sk, model->relid);
	wh_model_key_join(&sql, model, "d", "k");
	wh_sql_append(
		&sql,
		" ORDER BY d.valid_from DESC LIMIT 1) c WHERE NOT c.is_inferred AND c.is_deleted = "
		"k.wh_live) c) v WHERE d.%s = v.sk",
		sk);
	counts->updated += wh_stage_execute(
		stage, sql.data, 2, (WhArg[]){WH_ARG_LSN(model->position), WH_ARG_LSN(load->to)});
}
