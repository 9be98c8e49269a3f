/*
 * outline.c
 *		The models of a feed in outline: how each stands, which tables it reads, and whether it can
 * still be read.
 *
 * A load asks for all models of its feed, also for those that it leaves alone, so what it takes is
 * what each load takes.  Positions are read in one go, from the last load that this session has
 * recorded on.  That a model's query is as it was declared is found out once, and remembered by the
 * session while the model's row in the catalog is the same version of the same row, and nothing has
 * invalidated its relation or view; of models over one table, for the others read more.
 *
 * A relation or view that somebody dropped by hand leaves a row that points nowhere: such models
 * are taken out, and it is noted in their state.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_class.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/base.h"
#include "model/model.h"
#include "model/model_private.h"

/* Of so many models a session remembers that their queries can be read. */
#define MOST_SEEN 10000

/* A model whose query was as it was declared. */
typedef struct Seen
{
	int32 model_id; /* the hash key */
	bool is_valid;
	WhModelStamp stamp;
	Oid relid;
	Oid view;
	Oid mirror;
} Seen;

static WhRows *recent_positions(int32 feed_id);
static XLogRecPtr position_of(int32 model_id, const WhRows *recent);
static WhModel *outline(const WhRows *rows, uint64 row, WhFeed *feed);
static List *outline_tables(int32 feed_id);
static WhFeedTable *table_of(List *tables, Oid mirror);
static const char *find_problem(WhModel *model, List *key, List *tables);
static const char *other_type(const WhModel *model, TupleDesc desc);
static bool is_join_kept(Query *query, List *key);
static bool was_seen(WhModel *model, List *tables);
static void see(const WhModel *model);
static void forget(Datum arg, Oid relid);

static int32 noted_feed = 0; /* of the last load that this session has recorded */
static int64 noted_load = 0;
static HTAB *seen = NULL;
static uint64 events = 0; /* invalidations of relations, so far */

void
wh_model_outline_init(void)
{
	CacheRegisterRelcacheCallback(forget, (Datum) 0);
}

List *
wh_model_outlines(WhFeed *feed)
{
	WhRows *rows = wh_catalog_query(
		"SELECT m.model_id, m.relation, m.kind, m.query, m.key, m.state, m.history_start, m.paused"
		" IS NOT NULL, m.definition, m.ctid, m.xmin FROM walhouse.model m WHERE m.feed_id = $1"
		" ORDER BY CASE m.kind WHEN 'fact' THEN 1 WHEN 'rollup' THEN 2"
		" WHEN 'periodic_snapshot' THEN 2 ELSE 0 END, m.model_id",
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
		else if (OidIsValid(model->view) && !was_seen(model, tables))
			problem = find_problem(model, wh_model_key_names(rows, i, 5), tables);
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
	model->kind = wh_model_parse_kind(wh_rows_text(rows, row, 3));
	model->feed = feed;
	value = wh_rows_datum(rows, row, 4, &isnull);
	model->view = isnull ? InvalidOid : DatumGetObjectId(value);
	model->state = wh_rows_text(rows, row, 6);
	model->history_start = wh_rows_lsn(rows, row, 7);
	model->is_paused = wh_rows_bool(rows, row, 8);
	model->definition = wh_rows_int4(rows, row, 9);
	model->stamp.place = *(ItemPointer) DatumGetPointer(wh_rows_datum(rows, row, 10, &isnull));
	model->stamp.xmin = DatumGetTransactionId(wh_rows_datum(rows, row, 11, &isnull));
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
	uint64 events_before = events;
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
	if (problem == NULL && list_length(relations) == 1 && events == events_before)
		see(model);
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

/* -------- what is remembered -------- */

/* was_seen takes the table of a model whose query was found as it was declared. */
static bool
was_seen(WhModel *model, List *tables)
{
	const Seen *entry = seen == NULL ? NULL : hash_search(seen, &model->id, HASH_FIND, NULL);
	WhFeedTable *table;

	if (entry == NULL || !entry->is_valid || entry->stamp.xmin != model->stamp.xmin ||
		!ItemPointerEquals((ItemPointer) &entry->stamp.place, &model->stamp.place))
		return false;
	table = table_of(tables, entry->mirror);
	if (table == NULL)
		return false;
	model->sources = list_make1(table);
	return true;
}

static void
see(const WhModel *model)
{
	Seen *entry;

	if (seen == NULL)
	{
		HASHCTL control = {.keysize = sizeof(int32), .entrysize = sizeof(Seen)};

		seen = hash_create("walhouse models seen", 16, &control, HASH_ELEM | HASH_BLOBS);
	}
	if (hash_get_num_entries(seen) >= MOST_SEEN)
		return;
	entry = hash_search(seen, &model->id, HASH_ENTER, NULL);
	entry->stamp = model->stamp;
	entry->relid = model->relid;
	entry->view = model->view;
	entry->mirror = ((WhFeedTable *) linitial(model->sources))->mirror;
	entry->is_valid = true;
}

static void
forget(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	Seen *entry;

	events++;
	if (seen == NULL)
		return;
	hash_seq_init(&status, seen);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (!OidIsValid(relid) || relid == entry->relid || relid == entry->view)
			entry->is_valid = false;
	}
}
