/*
 * keep.c
 *		Lineage that is kept: of all models, of the views made beside them, and of schemas that
 * somebody wants to be tracked.
 *
 * walhouse.lineage_edge has one hop of each relation: what it reads itself, views not looked into.
 * Paths are put together when somebody asks (lineage.sql).  Whatever changes a definition writes
 * the hop anew, in its own transaction: a trigger on walhouse.model at its end, when all that the
 * catalog says of the model is there; an event trigger after DDL, for the relation that was
 * changed and those that read it, by PostgreSQL's own dependencies.
 *
 * None of this may stand in the way of DDL or of a declaration: what fails is rolled back by itself
 * and leaves the relation marked as stale, with the reason.  Sessions that restore a dump, which
 * have check_function_bodies off (model/protect.c), bring edges along, and nothing is done in
 * them.  All runs as the extension's owner and reads definitions alone; nothing that a user wrote
 * is executed.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/regproc.h"

#include "base/base.h"
#include "lineage/lineage.h"
#include "lineage/lineage_private.h"

/* A relation that somebody wants to be looked at. */
typedef struct Kept
{
	Oid relid;
	bool is_to_be_kept;
	char *definition; /* a hash of it; NULL without a view */
	bool is_model;
} Kept;

/* Edges as arrays of a statement. */
typedef struct Edges
{
	Datum *columns;
	Datum *sources;
	Datum *source_columns;
	Datum *subtypes;
	int count;
	int size;
} Edges;

static void follow(void *arg);
static bool may_concern(const EventTriggerData *event);
static void keep(Kept *kept);
static void note_definition(void *kept);
static void keep_body(void *kept);
static void write_edges(const Kept *kept, const WhOutput *output, List *opaque);
static void collect(Edges *edges, const char *column, const WhSources *sources);
static void add_edge(Edges *edges, const char *column, const WhSource *source, WhHow how);
static Datum make_array(Datum *values, int count, Oid type);
static Datum function_names(List *functions);
static int64 keep_all(const char *query, int nargs, const WhArg *args);
static void note_stale(Oid relid, const char *reason);

PG_FUNCTION_INFO_V1(walhouse_track_lineage);
PG_FUNCTION_INFO_V1(walhouse_untrack_lineage);
PG_FUNCTION_INFO_V1(walhouse_refresh_lineage);
PG_FUNCTION_INFO_V1(walhouse_lineage_after_ddl);
PG_FUNCTION_INFO_V1(walhouse_lineage_of_declaration);

/* What is to be kept of a schema, or of all. */
#define TO_KEEP "SELECT DISTINCT relation FROM walhouse.lineage_to_keep"

Datum
walhouse_track_lineage(PG_FUNCTION_ARGS)
{
	Oid schema = PG_GETARG_OID(0);

	wh_lineage_check_schema(schema);
	wh_catalog_execute("INSERT INTO walhouse.lineage_schema (schema) VALUES ($1) "
					   "ON CONFLICT DO NOTHING",
					   1, (WhArg[]){WH_ARG_TEXT(get_namespace_name(schema))});
	PG_RETURN_INT64(keep_all(TO_KEEP " WHERE schema = $1", 1, (WhArg[]){WH_ARG_OID(schema)}));
}

Datum
walhouse_untrack_lineage(PG_FUNCTION_ARGS)
{
	Oid schema = PG_GETARG_OID(0);

	wh_lineage_check_schema(schema);
	wh_catalog_execute("DELETE FROM walhouse.lineage_schema WHERE schema = $1", 1,
					   (WhArg[]){WH_ARG_TEXT(get_namespace_name(schema))});
	wh_catalog_execute("SELECT walhouse.forget_lineage()", 0, NULL);
	PG_RETURN_VOID();
}

Datum
walhouse_refresh_lineage(PG_FUNCTION_ARGS)
{
	wh_catalog_execute("SELECT walhouse.forget_lineage()", 0, NULL);
	PG_RETURN_INT64(keep_all(TO_KEEP, 0, NULL));
}

/* A declaration has ended: a row of walhouse.model or walhouse.model_view. */
Datum
walhouse_lineage_of_declaration(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	bool isnull;
	Datum relid;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("lineage_of_declaration() is a trigger")));
	relid = SPI_getbinval(trigger->tg_trigtuple, RelationGetDescr(trigger->tg_relation),
						  SPI_fnumber(RelationGetDescr(trigger->tg_relation),
									  trigger->tg_trigger->tgargs[0]),
						  &isnull);
	if (!isnull && check_function_bodies)
		keep_all(TO_KEEP " WHERE relation = $1", 1,
				 (WhArg[]){WH_ARG_REGCLASS(DatumGetObjectId(relid))});
	PG_RETURN_POINTER(NULL);
}

/* DDL has ended, or something was dropped. */
Datum
walhouse_lineage_after_ddl(PG_FUNCTION_ARGS)
{
	EventTriggerData *event = (EventTriggerData *) fcinfo->context;
	ErrorData *error;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("lineage_after_ddl() is an event trigger")));
	if (check_function_bodies && !wh_txn_try(follow, event, &error))
		ereport(WARNING,
				(errmsg("lineage has not followed %s", GetCommandTagName(event->tag)),
				 errdetail("%s", error->message),
				 errhint("SELECT walhouse.refresh_lineage(); reads all of it anew.")));
	PG_RETURN_NULL();
}

/* follow reads anew what an event concerns; most DDL concerns nothing. */
static void
follow(void *arg)
{
	const EventTriggerData *event = arg;
	const char *query = "SELECT relation FROM walhouse.lineage_changed()";

	if (!may_concern(event))
		return;
	if (IsA(event->parsetree, RenameStmt) &&
		((RenameStmt *) event->parsetree)->renameType == OBJECT_SCHEMA)
	{
		const RenameStmt *rename = (const RenameStmt *) event->parsetree;

		wh_catalog_execute("UPDATE walhouse.lineage_schema SET schema = $2 WHERE schema = $1", 2,
						   (WhArg[]){WH_ARG_TEXT(rename->subname), WH_ARG_TEXT(rename->newname)});
		return;
	}
	if (strcmp(event->event, "sql_drop") == 0)
	{
		if (!wh_rows_bool(wh_catalog_query("SELECT walhouse.lineage_drop_concerns()", 0, NULL), 0,
						  1))
			return;
		query = "SELECT relation FROM walhouse.lineage_dropped()";
	}
	if (wh_catalog_query(query, 0, NULL)->count > 0)
		keep_all(query, 0, NULL);
}

/* may_concern spares new partitions, which loads wait for: nobody reads a table that has just been
 * made, and what partitions and constraints a table has changes nothing of its lineage. */
static bool
may_concern(const EventTriggerData *event)
{
	ListCell *cell;

	if (strcmp(event->event, "ddl_command_end") != 0)
		return true;
	if (IsA(event->parsetree, CreateStmt))
		return wh_rows_bool(
			wh_catalog_query("SELECT EXISTS (SELECT FROM walhouse.lineage_schema)", 0, NULL), 0, 1);
	if (!IsA(event->parsetree, AlterTableStmt))
		return true;
	foreach(cell, castNode(AlterTableStmt, event->parsetree)->cmds)
	{
		switch (lfirst_node(AlterTableCmd, cell)->subtype)
		{
			case AT_AttachPartition:
			case AT_DetachPartition:
			case AT_DetachPartitionFinalize:
			case AT_AddConstraint:
			case AT_DropConstraint:
				break;
			default:
				return true;
		}
	}
	return false;
}

/* keep_all keeps the relations that a query names; returns their number.  These queries name many
 * tables and read few rows: compiling them would take a hundred times as long as running them. */
static int64
keep_all(const char *query, int nargs, const WhArg *args)
{
	int level = wh_settings_push_interpreted();
	WhRows *rows = wh_catalog_query(
		psprintf("SELECT r.relation, k.relation IS NOT NULL, "
				 "walhouse.lineage_definition(k.view), EXISTS (SELECT FROM walhouse.model m "
				 "WHERE m.relation = r.relation) FROM (%s) r LEFT JOIN "
				 "(SELECT DISTINCT ON (relation) * FROM walhouse.lineage_to_keep "
				 "ORDER BY relation, view) k ON k.relation = r.relation",
				 query),
		nargs, args);

	for (uint64 row = 0; row < rows->count; row++)
	{
		Kept kept = {wh_rows_oid(rows, row, 1), wh_rows_bool(rows, row, 2),
					 wh_rows_text(rows, row, 3), wh_rows_bool(rows, row, 4)};

		keep(&kept);
	}
	wh_settings_pop(level);
	return rows->count;
}

/* keep writes a relation's edges, or why it cannot; of one that is not to be kept any more nothing
 * stays.  A definition of a model that is another one gets its number. */
static void
keep(Kept *kept)
{
	ErrorData *error;

	if ((kept->is_model && !wh_txn_try(note_definition, kept, &error)) ||
		!wh_txn_try(keep_body, kept, &error))
		note_stale(kept->relid, error->message);
}

static void
note_definition(void *arg)
{
	wh_catalog_execute("SELECT walhouse.note_definition($1)", 1,
					   (WhArg[]){WH_ARG_REGCLASS(((Kept *) arg)->relid)});
}

static void
keep_body(void *arg)
{
	const Kept *kept = arg;
	List *opaque = NIL;
	WhOutput *output = NULL;

	if (kept->is_to_be_kept && kept->is_model)
		output = wh_lineage_of_model(kept->relid, WH_VIEWS_KEEP, &opaque);
	else if (kept->is_to_be_kept)
		output = wh_lineage_of_relation(kept->relid, WH_VIEWS_KEEP, &opaque);
	wh_catalog_execute("WITH edges AS (DELETE FROM walhouse.lineage_edge WHERE relation = $1) "
					   "DELETE FROM walhouse.lineage_relation WHERE relation = $1",
					   1, (WhArg[]){WH_ARG_REGCLASS(kept->relid)});
	if (output != NULL)
		write_edges(kept, output, opaque);
}

static void
write_edges(const Kept *kept, const WhOutput *output, List *opaque)
{
	WhRowset *rowset = output->rowset;
	Edges edges = {0};

	for (int i = 1; i <= rowset->ncolumns; i++)
		if (rowset->columns[i - 1] != NULL)
			collect(&edges, get_attname(kept->relid, i, false), rowset->columns[i - 1]);
	collect(&edges, "", &rowset->rows);
	wh_catalog_execute(
		"WITH relation AS (INSERT INTO walhouse.lineage_relation (relation, opaque, definition) "
		"VALUES ($1, $6, $7) ON CONFLICT DO NOTHING) "
		"INSERT INTO walhouse.lineage_edge (relation, \"column\", source, source_column, subtype) "
		"SELECT $1, * FROM ROWS FROM (unnest($2), unnest($3), unnest($4), unnest($5)) "
		"ON CONFLICT DO NOTHING",
		7,
		(WhArg[]){
			WH_ARG_REGCLASS(kept->relid),
			{TEXTARRAYOID, make_array(edges.columns, edges.count, TEXTOID), false},
			{REGCLASSARRAYOID, make_array(edges.sources, edges.count, REGCLASSOID), false},
			{TEXTARRAYOID, make_array(edges.source_columns, edges.count, TEXTOID), false},
			{TEXTARRAYOID, make_array(edges.subtypes, edges.count, TEXTOID), false},
			{TEXTARRAYOID, function_names(opaque), false},
			WH_ARG_TEXT(kept->definition)});
}

static void
collect(Edges *edges, const char *column, const WhSources *sources)
{
	for (int i = 0; i < sources->count; i++)
		for (int bit = 0; bit < WH_HOW_COUNT; bit++)
			if (OidIsValid(sources->items[i].relid) && (sources->items[i].how & (1 << bit)) != 0)
				add_edge(edges, column, &sources->items[i], 1 << bit);
}

static void
add_edge(Edges *edges, const char *column, const WhSource *source, WhHow how)
{
	int n = edges->count++;

	if (edges->count > edges->size)
	{
		Datum **arrays[] = {&edges->columns, &edges->sources, &edges->source_columns,
							&edges->subtypes};

		edges->size = Max(32, edges->size * 2);
		for (int i = 0; i < (int) lengthof(arrays); i++)
			*arrays[i] = *arrays[i] == NULL ? palloc(edges->size * sizeof(Datum)) :
											  repalloc(*arrays[i], edges->size * sizeof(Datum));
	}
	edges->columns[n] = CStringGetTextDatum(column);
	edges->sources[n] = ObjectIdGetDatum(source->relid);
	edges->source_columns[n] = CStringGetTextDatum(
		source->attnum == 0 ? "" : get_attname(source->relid, source->attnum, false));
	edges->subtypes[n] = CStringGetTextDatum(wh_how_name(how));
}

static Datum
make_array(Datum *values, int count, Oid type)
{
	int16 length;
	bool by_value;
	char alignment;

	get_typlenbyvalalign(type, &length, &by_value, &alignment);
	return PointerGetDatum(construct_array(values, count, type, length, by_value, alignment));
}

static Datum
function_names(List *functions)
{
	Datum *names = palloc(Max(list_length(functions), 1) * sizeof(Datum));
	int count = 0;

	foreach_oid(function, functions)
		names[count++] = CStringGetTextDatum(format_procedure_qualified(function));
	return make_array(names, count, TEXTOID);
}

static void
note_stale(Oid relid, const char *reason)
{
	wh_catalog_execute("INSERT INTO walhouse.lineage_relation (relation, is_stale, error) "
					   "VALUES ($1, true, $2) ON CONFLICT (relation) DO UPDATE SET "
					   "is_stale = true, error = excluded.error",
					   2, (WhArg[]){WH_ARG_REGCLASS(relid), WH_ARG_TEXT(reason)});
}

void
wh_lineage_check_schema(Oid schema)
{
	WhRows *rows = wh_spi_query("SELECT nspname, nspowner FROM pg_catalog.pg_namespace "
								"WHERE oid = $1",
								1, (WhArg[]){WH_ARG_OID(schema)});

	if (rows->count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_SCHEMA),
				 errmsg("there is no schema with OID %u", schema)));
	wh_user_check_owner(wh_rows_oid(rows, 0, 2), "schema", wh_rows_text(rows, 0, 1));
}
