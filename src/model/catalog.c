/*
 * catalog.c
 *		Models as the catalog knows them, and the kinds that have registered.
 *
 * A model is read and compiled anew for each use; what is returned lives in the caller's context.
 * A relation or view that somebody dropped by hand leaves a row that points nowhere:
 * wh_model_ids() takes such models out and notes it in their state, wh_model_get() raises, and
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
static List *key_names(const WhRows *rows, uint64 row, int column);
static void set_scd(WhModel *model);
static JsonbValue *find_option(const WhModel *model, const char *name);
static WhRows *recent_positions(int32 feed_id);
static XLogRecPtr position_of(int32 model_id, const WhRows *recent);
static WhModel *outline(const WhRows *rows, uint64 row, WhFeed *feed);
static List *outline_tables(int32 feed_id);
static WhFeedTable *table_of(List *tables, Oid mirror);
static const char *find_problem(WhModel *model, List *key, List *tables);
static const char *other_type(const WhModel *model, TupleDesc desc);
static bool is_join_kept(Query *query, List *key);
static WhModelKind parse_kind(const char *kind);
static List *referrers(const WhModel *model, bool needing);

static const WhModelRoutine *routines[WH_MODEL_KINDS];
static int32 noted_feed = 0; /* of the last load that this session has recorded */
static int64 noted_load = 0;

/* The last load of a model holds its position; the greatest id is the last. */
#define POSITION \
	"(SELECT l.to_lsn FROM walhouse.load_model l " \
	"WHERE l.model_id = m.model_id ORDER BY l.load_id DESC LIMIT 1)"
#define MODEL_COLUMNS(position) \
	"m.model_id, m.relation, m.kind, m.feed_id, m.query, m.key, m.options, m.state, " \
	"m.history_start, " position ", m.paused IS NOT NULL, m.definition, m.ctid, m.xmin"

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
		"SELECT " MODEL_COLUMNS(POSITION) " FROM walhouse.model m WHERE m.relation = $1", 1,
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
		"SELECT " MODEL_COLUMNS(POSITION) " FROM walhouse.model m WHERE m.model_id = $1", 1,
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
	model->kind = parse_kind(wh_rows_text(rows, 0, 3));
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

	foreach(cell, key_names(rows, 0, 6))
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

/* key_names reads a column of type text[]. */
static List *
key_names(const WhRows *rows, uint64 row, int column)
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

static WhModelKind
parse_kind(const char *kind)
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

List *
wh_model_outlines(WhFeed *feed)
{
	WhRows *rows = wh_catalog_query(
		"SELECT " MODEL_COLUMNS(
			"NULL") " FROM walhouse.model m WHERE m.feed_id = $1 "
					"ORDER BY CASE m.kind WHEN 'fact' THEN 1 WHEN 'rollup' THEN 2 "
					"WHEN 'periodic_snapshot' THEN 2 ELSE 0 END, m.model_id",
		1, (WhArg[]){WH_ARG_INT4(feed->id)});
	List *tables = outline_tables(feed->id);
	WhRows *recent = recent_positions(feed->id);
	List *models = NIL;

	for (uint64 i = 0; i < rows->count; i++)
	{
		WhModel *model = outline(rows, i, feed);
		const char *problem = NULL;

		model->position = position_of(model->id, recent);

		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(model->relid)))
			problem = "the relation of the model was dropped";
		else if (OidIsValid(model->view))
			problem = find_problem(model, key_names(rows, i, 6), tables);
		if (problem == NULL)
			models = lappend(models, model);
		else if (strcmp(model->state, "stopped") != 0)
			wh_model_set_state(model->id, "stopped",
							   psprintf("%s; SELECT walhouse.drop_model(%u) removes the model",
										problem, model->relid));
	}
	foreach_ptr(WhModel, model, models)
		model->peers = models;
	return models;
}

void
wh_model_note_load(int32 feed_id, int64 load_id)
{
	noted_feed = feed_id;
	noted_load = load_id;
}

/* recent_positions reads the positions that loads have written since the last one of this session,
 * the latest first: of most models, and in one go. */
static WhRows *
recent_positions(int32 feed_id)
{
	if (noted_feed != feed_id)
		return NULL;
	return wh_catalog_query("SELECT l.model_id, l.to_lsn FROM walhouse.load_model l WHERE"
							" l.load_id >= $1 ORDER BY l.load_id DESC LIMIT 1000",
							1, (WhArg[]){WH_ARG_INT8(noted_load)});
}

/* position_of finds the position that a model's last load has written. */
static XLogRecPtr
position_of(int32 model_id, const WhRows *recent)
{
	WhRows *rows;

	for (uint64 i = 0; recent != NULL && i < recent->count; i++)
	{
		if (wh_rows_int4(recent, i, 1) == model_id)
			return wh_rows_lsn(recent, i, 2);
	}
	rows = wh_catalog_query("SELECT l.to_lsn FROM walhouse.load_model l WHERE l.model_id = $1"
							" ORDER BY l.load_id DESC LIMIT 1",
							1, (WhArg[]){WH_ARG_INT4(model_id)});
	return rows->count == 0 ? InvalidXLogRecPtr : wh_rows_lsn(rows, 0, 1);
}

/* outline makes a model of what its row says. */
static WhModel *
outline(const WhRows *rows, uint64 row, WhFeed *feed)
{
	WhModel *model = palloc0(sizeof(WhModel));
	bool isnull;
	Datum value;

	model->id = wh_rows_int4(rows, row, 1);
	model->relid = wh_rows_oid(rows, row, 2);
	model->kind = parse_kind(wh_rows_text(rows, row, 3));
	model->feed = feed;
	value = wh_rows_datum(rows, row, 5, &isnull);
	model->view = isnull ? InvalidOid : DatumGetObjectId(value);
	model->state = wh_rows_text(rows, row, 8);
	model->history_start = wh_rows_lsn(rows, row, 9);
	model->is_paused = wh_rows_bool(rows, row, 11);
	model->definition = wh_rows_int4(rows, row, 12);
	model->stamp.place = *(ItemPointer) DatumGetPointer(wh_rows_datum(rows, row, 13, &isnull));
	model->stamp.xmin = DatumGetTransactionId(wh_rows_datum(rows, row, 14, &isnull));
	return model;
}

/* outline_tables reads of a feed's tables what a load asks of them first. */
static List *
outline_tables(int32 feed_id)
{
	WhRows *rows = wh_catalog_query("SELECT mirror::pg_catalog.oid, log::pg_catalog.oid, state,"
									" sync_lsn, source_name, compared_lsn"
									" FROM walhouse.feed_table"
									" WHERE feed_id = $1",
									1, (WhArg[]){WH_ARG_INT4(feed_id)});
	List *tables = NIL;

	for (uint64 i = 0; i < rows->count; i++)
	{
		WhFeedTable *table = palloc0(sizeof(WhFeedTable));

		table->feed_id = feed_id;
		table->mirror = wh_rows_oid(rows, i, 1);
		table->log = wh_rows_oid(rows, i, 2);
		table->state = wh_rows_text(rows, i, 3);
		table->sync_lsn = wh_rows_lsn(rows, i, 4);
		table->source_name = wh_rows_text(rows, i, 5);
		table->compared_lsn = wh_rows_lsn(rows, i, 6);
		tables = lappend(tables, table);
	}
	return tables;
}

static WhFeedTable *
table_of(List *tables, Oid mirror)
{
	foreach_ptr(WhFeedTable, table, tables)
	{
		if (table->mirror == mirror)
			return table;
	}
	return NULL;
}

/* find_problem says why a model cannot be read: somebody has dropped or replaced what it stands
 * on; if it can, its tables become its sources. */
static const char *
find_problem(WhModel *model, List *key, List *tables)
{
	Oid view_oid = model->view;
	Relation view;
	const char *problem = NULL;
	Query *query;
	List *relations = NIL;
	ListCell *cell;

	view = try_relation_open(view_oid, AccessShareLock);
	if (view == NULL)
		return "the view with the query of the model was dropped";
	query = view->rd_rel->relkind == RELKIND_VIEW ? get_view_query(view) : NULL;
	if (query != NULL)
		relations = wh_model_relations(query);
	if (relations == NIL || query->hasAggs ||
		query->hasWindowFuncs || query->hasSubLinks || query->hasTargetSRFs ||
		query->groupClause != NIL || query->distinctClause != NIL || query->limitCount != NULL)
		problem = "the view with the query of the model was replaced by something else";
	foreach(cell, relations)
	{
		RangeTblRef *ref = lfirst(cell);
		WhFeedTable *table = table_of(tables, rt_fetch(ref->rtindex, query->rtable)->relid);

		if (problem == NULL && table == NULL)
			problem = "the query of the model reads no mirror of its feed any more";
		else if (problem == NULL)
			model->sources = list_append_unique_ptr(model->sources, table);
	}
	foreach(cell, key)
		if (get_attnum(view_oid, lfirst(cell)) == InvalidAttrNumber)
			problem = "the query of the model has lost a column of its key";
	if (problem == NULL)
		problem = other_type(model, RelationGetDescr(view));
	if (problem == NULL && list_length(relations) > 1 && !is_join_kept(query, key))
		problem =
			"the view with the query of the model was replaced by one that cannot be kept current";
	relation_close(view, AccessShareLock);
	return problem;
}

/* other_type finds a column that has another type in the query than in the model, NULL: none. */
static const char *
other_type(const WhModel *model, TupleDesc desc)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		AttrNumber attnum = get_attnum(model->relid, NameStr(attribute->attname));

		if (attnum != InvalidAttrNumber && get_atttype(model->relid, attnum) != attribute->atttypid)
			return psprintf("column \"%s\" is of type %s in the query of the model, and of type %s"
							" in the model; walhouse.alter_%s(%s) builds it anew",
							NameStr(attribute->attname), format_type_be(attribute->atttypid),
							format_type_be(get_atttype(model->relid, attnum)),
							model->kind == WH_MODEL_FACT ? "fact" : "dimension",
							wh_sql_literal(wh_sql_relation(model->relid)));
	}
	return NULL;
}

/* is_join_kept says whether a query over several mirrors still leads from each to the key. */
static bool
is_join_kept(Query *query, List *key)
{
	WhQuery *compiled = wh_model_compile(copyObject(query));
	ListCell *cell;

	foreach(cell, key)
		wh_model_column(compiled->columns, lfirst(cell))->is_key = true;
	return wh_model_join_fits(compiled->join, compiled->columns);
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
