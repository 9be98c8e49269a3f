/*
 * catalog.c
 *		Models as the catalog knows them, and the kinds that have registered.
 *
 * A model is read and compiled anew for each use; what is returned lives in the caller's context.
 * A relation or view that somebody dropped by hand leaves a row that points nowhere:
 * wh_model_outlines() takes such models out and notes it in their state, wh_model_get() raises, and
 * drop_model() removes what is left.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/base.h"
#include "model/model.h"
#include "model/model_private.h"

static WhModel *get(Oid relid, bool missing_ok, bool compile);
static WhModel *load_row(const WhRows *rows, bool compile);
static void load_query(WhModel *model);
static void load_key(WhModel *model, const WhRows *rows);
static void set_scd(WhModel *model);
static JsonbValue *find_option(const WhModel *model, const char *name);
static List *referrers(const WhModel *model, bool needing);

static const WhModelRoutine *routines[WH_MODEL_KINDS];

/* The last load of a model holds its position; the greatest id is the last. */
#define MODEL_COLUMNS \
	"m.model_id, m.relation, m.kind, m.feed_id, m.query, m.key, m.options, m.state, " \
	"m.history_start, (SELECT l.to_lsn FROM walhouse.load_model l " \
	"WHERE l.model_id = m.model_id ORDER BY l.load_id DESC LIMIT 1), m.paused IS NOT NULL, " \
	"m.definition"

void
wh_model_register(WhModelKind kind, const WhModelRoutine *routine)
{
	routines[kind] = routine;
}

const WhModelRoutine *
wh_model_routine(WhModelKind kind)
{
	if (routines[kind] == NULL)
		elog(ERROR, "no routine for models of kind %d", kind);
	return routines[kind];
}

void
wh_model_init(void)
{
	wh_model_protect_init();
	wh_model_sample_init();
	wh_model_range_init();
	wh_model_outline_init();
	wh_model_kept_init();
}

WhModel *
wh_model_get(Oid relid, bool missing_ok)
{
	return get(relid, missing_ok, true);
}

WhModel *
wh_model_get_broken(Oid relid)
{
	return get(relid, false, false);
}

static WhModel *
get(Oid relid, bool missing_ok, bool compile)
{
	WhRows *rows = wh_catalog_query(
		"SELECT " MODEL_COLUMNS " FROM walhouse.model m WHERE m.relation = $1", 1,
		(WhArg[]){WH_ARG_REGCLASS(relid)});

	if (rows->count == 0 && missing_ok)
		return NULL;
	if (rows->count == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("\"%s\" is not a model", get_rel_name(relid) == NULL ?
															psprintf("%u", relid) :
															get_rel_name(relid)),
						errhint("See walhouse.model for the models of this database.")));
	return load_row(rows, compile);
}

WhModel *
wh_model_get_by_id(int32 model_id)
{
	WhRows *rows = wh_catalog_query(
		"SELECT " MODEL_COLUMNS " FROM walhouse.model m WHERE m.model_id = $1", 1,
		(WhArg[]){WH_ARG_INT4(model_id)});

	if (rows->count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no model with id %d", model_id)));
	return load_row(rows, true);
}

/* load_row makes a model of a row of MODEL_COLUMNS; uncompiled, it has no columns and no source. */
static WhModel *
load_row(const WhRows *rows, bool compile)
{
	WhModel *model = palloc0(sizeof(WhModel));
	bool isnull;
	Datum value;
	HeapTuple tuple;

	model->id = wh_rows_int4(rows, 0, 1);
	model->relid = wh_rows_oid(rows, 0, 2);
	model->kind = wh_model_parse_kind(wh_rows_text(rows, 0, 3));
	value = wh_rows_datum(rows, 0, 5, &isnull);
	model->view = isnull ? InvalidOid : DatumGetObjectId(value);
	model->options = DatumGetJsonbPCopy(wh_rows_datum(rows, 0, 7, &isnull));
	model->state = wh_rows_text(rows, 0, 8);
	model->history_start = wh_rows_lsn(rows, 0, 9);
	model->position = wh_rows_lsn(rows, 0, 10);
	model->is_paused = wh_rows_bool(rows, 0, 11);
	model->definition = wh_rows_int4(rows, 0, 12);
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(model->relid));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the relation of model %d does not exist any more", model->id),
				 errhint("SELECT walhouse.drop_model(%u); removes what is left of the model.",
						 model->relid)));
	model->owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	model->short_name = pstrdup(NameStr(((Form_pg_class) GETSTRUCT(tuple))->relname));
	ReleaseSysCache(tuple);
	model->name = wh_sql_relation(model->relid);
	if (!compile)
	{
		value = wh_rows_datum(rows, 0, 4, &isnull);
		model->feed = isnull ? NULL : wh_changelog_feed_by_id(DatumGetInt32(value), true);
		return model;
	}
	value = wh_rows_datum(rows, 0, 4, &isnull);
	if (OidIsValid(model->view))
		load_query(model);
	else if (!isnull)
		model->feed = wh_changelog_feed_by_id(DatumGetInt32(value), false);
	load_key(model, rows);
	if (model->join != NULL)
	{
		wh_model_join_root(model->join, model->columns, "model", NULL);
		model->source = model->join->driver->table->table;
	}
	set_scd(model);
	return model;
}

/* load_query compiles the model's view. */
static void
load_query(WhModel *model)
{
	Relation view = try_relation_open(model->view, AccessShareLock);
	WhQuery *query;

	if (view == NULL || view->rd_rel->relkind != RELKIND_VIEW)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("the view that holds the query of %s does not exist any more",
							   model->name),
						errhint("SELECT walhouse.drop_model(%s); and declare the model again.",
								wh_sql_literal(model->name))));
	query = wh_model_compile(copyObject(get_view_query(view)));
	relation_close(view, AccessShareLock);
	model->feed = query->feed;
	model->source = query->source;
	model->sources = query->sources;
	model->join = query->join;
	model->columns = query->columns;
	model->condition = query->condition;
}

/* load_key finds the key columns; a model without a query (a date dimension) has no others. */
static void
load_key(WhModel *model, const WhRows *rows)
{
	ListCell *cell;

	foreach(cell, wh_model_key_names(rows, 0, 6))
	{
		char *name = lfirst(cell);
		WhModelColumn *column = wh_model_column(model->columns, name);

		if (column == NULL && OidIsValid(model->view))
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
							errmsg("key column \"%s\" of %s is no column of its query any more",
								   name, model->name)));
		if (column == NULL)
		{
			column = palloc0(sizeof(WhModelColumn));
			column->name = name;
			column->type = get_atttype(model->relid, get_attnum(model->relid, name));
			column->typmod = -1;
			model->columns = lappend(model->columns, column);
		}
		column->is_key = true;
		model->key = lappend(model->key, column);
	}
}

List *
wh_model_key_names(const WhRows *rows, uint64 row, int column)
{
	bool isnull;
	Datum value = wh_rows_datum(rows, row, column, &isnull);

	return wh_model_names(DatumGetArrayTypeP(value), "key");
}

/* set_scd reads the type of each column of a dimension from option scd: {"*": 2, "name": 1}; the
 * effective column has each version's own value. */
static void
set_scd(WhModel *model)
{
	JsonbValue *scd;
	JsonbValue *effective;
	ListCell *lc;

	if (model->kind != WH_MODEL_DIMENSION)
		return;
	scd = find_option(model, "scd");
	effective = find_option(model, "effective");
	foreach(lc, model->columns)
	{
		WhModelColumn *column = lfirst(lc);

		if (column->is_key)
			continue;
		column->scd = 2;
		column->is_effective =
			effective != NULL && effective->type == jbvString &&
			strlen(column->name) == effective->val.string.len &&
			memcmp(column->name, effective->val.string.val, effective->val.string.len) == 0;
		if (scd != NULL && scd->type == jbvBinary && !column->is_effective)
			column->scd = wh_model_scd(scd->val.binary.data, column->name);
	}
}

static JsonbValue *
find_option(const WhModel *model, const char *name)
{
	JsonbValue key;

	key.type = jbvString;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	return findJsonbValueFromContainer(&model->options->root, JB_FOBJECT, &key);
}

int
wh_model_scd(JsonbContainer *scd, const char *column)
{
	const char *names[] = {column, "*"};

	for (int i = 0; i < lengthof(names); i++)
	{
		JsonbValue key;
		JsonbValue *value;

		key.type = jbvString;
		key.val.string.val = unconstify(char *, names[i]);
		key.val.string.len = strlen(names[i]);
		value = findJsonbValueFromContainer(scd, JB_FOBJECT, &key);
		if (value == NULL)
			continue;
		if (value->type != jbvNumeric)
			return -1;
		return DatumGetInt32(
			DirectFunctionCall1(numeric_int4, NumericGetDatum(value->val.numeric)));
	}
	return 2;
}

WhModelKind
wh_model_parse_kind(const char *kind)
{
	if (strcmp(kind, "dimension") == 0)
		return WH_MODEL_DIMENSION;
	if (strcmp(kind, "date") == 0)
		return WH_MODEL_DATE;
	if (strcmp(kind, "time") == 0)
		return WH_MODEL_TIME;
	if (strcmp(kind, "junk") == 0)
		return WH_MODEL_JUNK;
	if (strcmp(kind, "mini") == 0)
		return WH_MODEL_MINI;
	if (strcmp(kind, "fact") == 0)
		return WH_MODEL_FACT;
	if (strcmp(kind, "rollup") == 0)
		return WH_MODEL_ROLLUP;
	if (strcmp(kind, "periodic_snapshot") == 0)
		return WH_MODEL_SNAPSHOT;
	elog(ERROR, "unknown kind of model \"%s\"", kind);
}

List *
wh_model_needs(const WhModel *model)
{
	const WhModelRoutine *routine = wh_model_routine(model->kind);

	return routine->needs == NULL ? NIL : routine->needs(model);
}

List *
wh_model_dependents(const WhModel *model)
{
	return referrers(model, true);
}

/* referrers lists the relations of the models that refer to one; of kinds alone that need others,
 * or of all. */
static List *
referrers(const WhModel *model, bool needing)
{
	List *relids = NIL;

	for (int i = 0; i < lengthof(routines); i++)
	{
		if (routines[i] != NULL && routines[i]->referrers != NULL &&
			(!needing || routines[i]->needs != NULL))
			relids = list_concat_unique_oid(relids, routines[i]->referrers(model));
	}
	return relids;
}

void
wh_model_check_references(const WhModel *model)
{
	StringInfoData names;
	ListCell *lc;

	initStringInfo(&names);
	foreach(lc, referrers(model, false))
		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "",
						 wh_sql_relation(lfirst_oid(lc)));
	if (names.len > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop model %s because other models refer to it", model->name),
				 errdetail("They are: %s.", names.data),
				 errhint("Drop them first with walhouse.drop_model().")));
}

List *
wh_model_ids(int32 feed_id)
{
	List *ids = NIL;

	foreach_ptr(WhModel, model, wh_model_outlines(wh_changelog_feed_by_id(feed_id, false)))
		ids = lappend_int(ids, model->id);
	return ids;
}

void
wh_model_set_state(int32 model_id, const char *state, const char *error)
{
	wh_catalog_execute(
		"UPDATE walhouse.model SET state = $2, error = $3, "
		"error_time = CASE WHEN $3 IS NOT NULL THEN pg_catalog.clock_timestamp() END WHERE "
		"model_id = $1",
		3, (WhArg[]){WH_ARG_INT4(model_id), WH_ARG_TEXT(state), WH_ARG_TEXT(error)});
}

void
wh_model_set_history_start(int32 model_id, XLogRecPtr lsn)
{
	wh_catalog_execute("UPDATE walhouse.model SET history_start = $2 WHERE model_id = $1", 2,
					   (WhArg[]){WH_ARG_INT4(model_id), WH_ARG_LSN(lsn)});
}

void
wh_model_lock(const WhModel *model)
{
	const char *name;

	if (model->feed == NULL)
		return;
	wh_lock_state(model->feed->id);
	name = get_rel_name(model->relid);
	if (name == NULL || strcmp(name, model->short_name) != 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
						errmsg("model %s has been %s meanwhile", model->name,
							   name == NULL ? "dropped" : "renamed"),
						errhint("Look at walhouse.stat_model, and call it again.")));
}

char *
wh_model_option(const WhModel *model, const char *key)
{
	LOCAL_FCINFO(fcinfo, 2);
	Datum value;

	InitFunctionCallInfoData(*fcinfo, NULL, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = JsonbPGetDatum(model->options);
	fcinfo->args[1].value = CStringGetTextDatum(key);
	fcinfo->args[0].isnull = fcinfo->args[1].isnull = false;
	value = jsonb_object_field_text(fcinfo);
	return fcinfo->isnull ? NULL : TextDatumGetCString(value);
}

WhModelColumn *
wh_model_column(List *columns, const char *name)
{
	ListCell *lc;

	foreach(lc, columns)
		if (strcmp(((WhModelColumn *) lfirst(lc))->name, name) == 0)
			return lfirst(lc);
	return NULL;
}

XLogRecPtr
wh_model_horizon(const WhModel *model)
{
	XLogRecPtr horizon = model->feed->horizon;
	ListCell *cell;

	foreach(cell, model->sources)
		horizon = Max(horizon, ((WhFeedTable *) lfirst(cell))->sync_lsn);
	return horizon;
}

const WhFeedTable *
wh_model_unready(const WhModel *model)
{
	ListCell *cell;

	foreach(cell, model->sources)
	{
		const WhFeedTable *table = lfirst(cell);

		if (strcmp(table->state, "ready") != 0 ||
			(table->compared_lsn > model->position &&
			 table->compared_lsn > wh_changelog_position(table->feed_id, NULL)))
			return table;
	}
	return NULL;
}

bool
wh_model_waits_for_build(const WhModel *model)
{
	if (strcmp(model->state, "stopped") == 0)
		return wh_catalog_query("SELECT FROM walhouse.load_retry WHERE model_id = $1 AND build", 1,
								(WhArg[]){WH_ARG_INT4(model->id)})
				   ->count > 0;
	return strcmp(model->state, "new") == 0 || strcmp(model->state, "rebuild") == 0;
}

int64
wh_model_pages(Oid relid)
{
	return wh_rows_int8(
		wh_spi_query("SELECT ((pg_catalog.pg_table_size($1) + COALESCE((SELECT pg_catalog.sum("
					 "pg_catalog.pg_table_size(t.relid)) FROM pg_catalog.pg_partition_tree($1) "
					 "t WHERE t.isleaf), 0)) / pg_catalog.current_setting('block_size')"
					 "::pg_catalog.int8)::pg_catalog.int8",
					 1, (WhArg[]){WH_ARG_REGCLASS(relid)}),
		0, 1);
}

bool
wh_model_is_touched(const WhModel *model, XLogRecPtr from, XLogRecPtr to)
{
	ListCell *cell;

	foreach(cell, model->sources)
	{
		if (wh_changelog_is_touched(lfirst(cell), from, to))
			return true;
	}
	return false;
}

bool
wh_model_is_cut_off(const WhModel *model)
{
	return model->sources != NIL && wh_model_unready(model) == NULL &&
		   !XLogRecPtrIsInvalid(model->position) && model->position < wh_model_horizon(model);
}

XLogRecPtr
wh_model_verify_start(const WhModel *model)
{
	return Max(wh_model_horizon(model), model->history_start);
}
