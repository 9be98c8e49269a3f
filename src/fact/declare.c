/*
 * declare.c
 *		walhouse.create_fact: what a fact declares beside its query, judged and made.
 *
 * Everything that can be checked is checked before anything is made: the query and its key
 * (model/), the columns that the fact adds (columns.c), the event time, the grid, the dimensions
 * and the types of their keys.  Then come the table, its unique index, and the catalog rows, in
 * the caller's transaction and with the caller's rights.  There is no default partition and no
 * foreign key: either would make ATTACH lock the parent against readers and writers (P8).
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "fact/fact.h"
#include "fact/fact_private.h"

/* The argument of create_fact that may be NULL. */
#define ARGUMENT_MEASURES 7

/* Years that a new fact takes, before and after the present one. */
#define BOUNDS_YEARS 100

/* A dimension as the declaration names it. */
typedef struct Reference
{
	WhReference to;
	int order; /* the place of the first of its columns */
	int null_sk; /* the member of a NULL key */
	char *not_applicable; /* columns of the query; NULL: none */
	char *error;
	bool is_history; /* it goes before that of a mini-dimension, whose history it has */
} Reference;

static void check_arguments(FunctionCallInfo fcinfo);
static WhFactChoice *read_choice(FunctionCallInfo fcinfo);
static void check_event_time(const WhFact *fact, const char *name);
static List *read_references(WhQuery *query, Jsonb *dimensions);
static Reference *read_reference(WhQuery *query, const char *column, JsonbValue *value);
static void read_reference_object(WhQuery *query, Reference *reference, JsonbContainer *object);
static int member(const Reference *reference, const char *name);
static char *check_flag(WhQuery *query, const Reference *reference, char *name);
static List *add_histories(List *references);
static int compare_references(const ListCell *a, const ListCell *b);
static void check_names(WhQuery *query, List *references);
static void check_keys(const WhFact *fact, const Reference *reference);
static Oid make_table(const char *schema, const char *name, const WhFact *fact, List *references);
static Jsonb *make_options(const WhFact *fact, const WhFeed *feed, WhGrid grid,
						   const WhFactChoice *choice);
static void store_references(WhModel *model, List *references);

PG_FUNCTION_INFO_V1(walhouse_create_fact);

Datum
walhouse_create_fact(PG_FUNCTION_ARGS)
{
	WhFact fact = {0};
	WhFactChoice *choice;
	WhQuery *query;
	WhQuery table; /* the query with the columns that the fact adds */
	WhModel *model;
	List *key;
	List *references;
	WhGrid grid;
	char *event_time;
	char *schema;
	char *relation;
	Oid relid;
	ListCell *cell;

	check_arguments(fcinfo);
	key = wh_model_names(PG_GETARG_ARRAYTYPE_P(2), "key");
	event_time = NameStr(*PG_GETARG_NAME(3));
	grid = wh_partition_grid(text_to_cstring(PG_GETARG_TEXT_PP(5)));
	choice = read_choice(fcinfo);
	query = wh_model_prepare(text_to_cstring(PG_GETARG_TEXT_PP(0)),
							 text_to_cstring(PG_GETARG_TEXT_PP(1)), key, "fact", &schema,
							 &relation);
	wh_fact_add_columns(&fact, query->columns, choice);
	check_event_time(&fact, event_time);
	wh_fact_identify(&fact, key, event_time);
	table = *query;
	table.columns = fact.columns;
	references = read_references(&table, PG_GETARG_JSONB_P(4));
	check_names(&table, references);
	foreach(cell, references)
		check_keys(&fact, lfirst(cell));
	wh_txn_mark_own();
	relid = make_table(schema, relation, &fact, references);
	model = wh_model_declare(schema, relation, WH_MODEL_FACT, query, key,
							 make_options(&fact, query->feed, grid, choice), relid);
	store_references(model, references);
	wh_fact_make_views(model);
	PG_RETURN_OID(relid);
}

/* check_arguments: only measures may be NULL. */
static void
check_arguments(FunctionCallInfo fcinfo)
{
	for (int i = 0; i < PG_NARGS(); i++)
		if (PG_ARGISNULL(i) && i != ARGUMENT_MEASURES)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument %d must not be null", i + 1)));
}

static WhFactChoice *
read_choice(FunctionCallInfo fcinfo)
{
	WhFactChoice *choice = palloc0(sizeof(WhFactChoice));

	choice->corrections = text_to_cstring(PG_GETARG_TEXT_PP(6));
	if (!PG_ARGISNULL(ARGUMENT_MEASURES))
		choice->measures = wh_model_names(PG_GETARG_ARRAYTYPE_P(ARGUMENT_MEASURES), "measures");
	choice->milestones = PG_GETARG_JSONB_P(8);
	choice->lags = PG_GETARG_JSONB_P(9);
	return choice;
}

static void
check_event_time(const WhFact *fact, const char *name)
{
	int position = wh_fact_position(fact, name);
	WhModelColumn *column = position == 0 ? NULL : wh_fact_column(fact, position);

	if (column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("event time \"%s\" is no column of the query", name)));
	if (column->type != TIMESTAMPTZOID && column->type != TIMESTAMPOID && column->type != DATEOID)
		ereport(
			ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("event time \"%s\" has type %s", name, format_type_be(column->type)),
			 errhint("It must be a timestamptz, a timestamp or a date; cast it in the query.")));
	if (position > fact->query_width && position != fact->booked_at)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("event time \"%s\" is a milestone", name),
				 errdetail("A row has its event time from its beginning, and a milestone later."),
				 errhint("Choose a column of the query.")));
}

/* read_references reads {"column": "dimension(column, …)", …}, in the order of the columns of the
 * query. */
static List *
read_references(WhQuery *query, Jsonb *dimensions)
{
	JsonbIterator *iterator = JsonbIteratorInit(&dimensions->root);
	JsonbIteratorToken token;
	JsonbValue value;
	List *references = NIL;
	char *column = NULL;

	if (!JB_ROOT_IS_OBJECT(dimensions))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimensions must be a JSON object"),
				 errhint("For example: {\"customer_sk\": \"dw.customer(customer_id)\"}.")));
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			column = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE)
			references = lappend(references, read_reference(query, column, &value));
	}
	list_sort(references, compare_references);
	return add_histories(references);
}

/* add_histories gives each mini-dimension the version of its history, by the same key. */
static List *
add_histories(List *references)
{
	List *all = NIL;
	ListCell *cell;

	foreach(cell, references)
	{
		Reference *reference = lfirst(cell);

		if (reference->to.dimension->kind == WH_MODEL_MINI)
		{
			Reference *history = palloc(sizeof(Reference));

			*history = *reference;
			history->is_history = true;
			history->to.dimension = wh_dimension_history(reference->to.dimension);
			history->to.column =
				wh_name(wh_dimension_role_name(reference->to.column), "_history_sk");
			all = lappend(all, history);
		}
		all = lappend(all, reference);
	}
	return all;
}

static Reference *
read_reference(WhQuery *query, const char *column, JsonbValue *value)
{
	Reference *reference = palloc0(sizeof(Reference));
	ListCell *cell;

	reference->to.column = pstrdup(column);
	reference->null_sk = -1;
	if (value->type == jbvString)
		reference->to.text = pnstrdup(value->val.string.val, value->val.string.len);
	else if (value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data))
		read_reference_object(query, reference, value->val.binary.data);
	if (reference->to.text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimension of column \"%s\" must be a string", column),
				 errhint("For example: {\"customer_sk\": \"dw.customer(customer_id)\"}, or "
						 "{\"customer_sk\": {\"dimension\": \"dw.customer(customer_id)\", "
						 "\"null\": \"not_applicable\"}}.")));
	wh_dimension_refer(&reference->to, query->columns, query->feed, "fact");
	foreach(cell, query->columns)
	{
		if (strcmp(((WhModelColumn *) lfirst(cell))->name, linitial(reference->to.names)) == 0)
			reference->order = foreach_current_index(cell);
	}
	return reference;
}

/* read_reference_object reads {"dimension": …, "null": …, "not_applicable_if": …, "error_if": …}.
 */
static void
read_reference_object(WhQuery *query, Reference *reference, JsonbContainer *object)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue value;
	char *name = NULL;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char *text;

		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		if (token != WJB_VALUE)
			continue;
		if (value.type != jbvString)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"%s\" of dimension column \"%s\" must be a string", name,
							reference->to.column)));
		text = pnstrdup(value.val.string.val, value.val.string.len);
		if (strcmp(name, "dimension") == 0)
			reference->to.text = text;
		else if (strcmp(name, "null") == 0)
			reference->null_sk = member(reference, text);
		else if (strcmp(name, "not_applicable_if") == 0)
			reference->not_applicable = check_flag(query, reference, text);
		else if (strcmp(name, "error_if") == 0)
			reference->error = check_flag(query, reference, text);
		else
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("dimension column \"%s\" has no option \"%s\"", reference->to.column,
							name),
					 errhint("There are dimension, null, not_applicable_if and error_if.")));
	}
}

/* member is the surrogate key of a member that stands for something else. */
static int
member(const Reference *reference, const char *name)
{
	static const char *const names[] = {"unknown", "not_applicable", "error"};

	for (int i = 0; i < lengthof(names); i++)
	{
		if (strcmp(name, names[i]) == 0)
			return -1 - i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("there is no member \"%s\" for dimension column \"%s\"", name,
					reference->to.column),
			 errhint("It is unknown, not_applicable or error.")));
}

static char *
check_flag(WhQuery *query, const Reference *reference, char *name)
{
	WhModelColumn *column = wh_model_column(query->columns, name);

	if (column == NULL || column->type != BOOLOID)
		ereport(ERROR,
				(errcode(column == NULL ? ERRCODE_UNDEFINED_COLUMN : ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of dimension column \"%s\" is no boolean column of the "
						"query",
						name, reference->to.column)));
	return name;
}

static int
compare_references(const ListCell *a, const ListCell *b)
{
	const Reference *left = lfirst(a);
	const Reference *right = lfirst(b);

	if (left->order != right->order)
		return left->order < right->order ? -1 : 1;
	return strcmp(left->to.column, right->to.column);
}

/* check_names refuses surrogate key columns that the query has, too. */
static void
check_names(WhQuery *query, List *references)
{
	ListCell *cell;

	foreach(cell, references)
	{
		Reference *reference = lfirst(cell);

		if (wh_model_column(query->columns, reference->to.column) != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("column \"%s\" of dimension \"%s\" is a column of the query, too",
							reference->to.column, reference->to.text)));
		if (strcmp(reference->to.column, "load_id") == 0 || reference->to.column[0] == '\0' ||
			strlen(reference->to.column) >= NAMEDATALEN)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_NAME),
					 errmsg("a dimension's column cannot be named \"%s\"", reference->to.column)));
	}
}

/*
 * check_keys: what the fact adds gives dates and times of day alone, and a measure, which reversals
 * negate, gives no key.
 */
static void
check_keys(const WhFact *fact, const Reference *reference)
{
	WhModelKind kind = reference->to.dimension->kind;
	ListCell *cell;

	foreach(cell, reference->to.names)
	{
		int position = wh_fact_position(fact, lfirst(cell));

		if (position > fact->query_width && kind != WH_MODEL_DATE && kind != WH_MODEL_TIME)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("column \"%s\" of dimension \"%s\" is no column of the query",
							(char *) lfirst(cell), reference->to.text),
					 errhint("It can give the key of date and time dimensions.")));
		if (list_member_int(fact->measures, position))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("column \"%s\" of dimension \"%s\" is a measure",
							(char *) lfirst(cell), reference->to.text),
					 errdetail("A reversal has its negative, which would be another member."),
					 errhint("Select it twice, under two names.")));
	}
}

static Oid
make_table(const char *schema, const char *name, const WhFact *fact, List *references)
{
	const char *event_time = wh_fact_column(fact, fact->event_time)->name;
	StringInfoData sql;
	ListCell *cell;
	Oid relid;

	initStringInfo(&sql);
	wh_sql_append(&sql, "CREATE TABLE %I.%I (", schema, name);
	foreach(cell, fact->columns)
	{
		WhModelColumn *column = lfirst(cell);
		int position = foreach_current_index(cell) + 1;

		wh_sql_append(&sql, "%I %s%s%s, ", column->name, wh_fact_type(column->type, column->typmod),
					  wh_fact_collation(column),
					  list_member_int(fact->identity, position) || position == fact->booked_at ?
						  " NOT NULL" :
						  "");
	}
	foreach(cell, references)
		wh_sql_append(&sql, "%I pg_catalog.int8 NOT NULL, ",
					  ((Reference *) lfirst(cell))->to.column);
	wh_sql_append(&sql, "load_id pg_catalog.int8 NOT NULL) PARTITION BY RANGE (%I)", event_time);
	wh_spi_execute(sql.data, 0, NULL);

	relid = get_relname_relid(name, get_namespace_oid(schema, false));
	resetStringInfo(&sql);
	wh_sql_append(&sql, "ALTER TABLE %T ADD CONSTRAINT %I PRIMARY KEY (", relid,
				  wh_name(name, "_key"));
	foreach(cell, fact->identity)
		wh_sql_append(&sql, "%s%I", foreach_current_index(cell) > 0 ? ", " : "",
					  wh_fact_column(fact, lfirst_int(cell))->name);
	wh_sql_append(&sql, ")" WH_INDEX_OPTIONS);
	wh_spi_execute(sql.data, 0, NULL);

	/* By which rows are found when their dimension version is purged, or loses time to another, or
	 * when an inferred member of a history gets its row. */
	foreach(cell, references)
	{
		Reference *reference = lfirst(cell);

		bool moves = wh_dimension_moves(reference->to.dimension);

		if (moves || wh_dimension_purges(reference->to.dimension) || reference->is_history)
			wh_spi_execute(wh_sql("CREATE INDEX %I ON %T (%I%s)",
								  wh_name(name, psprintf("_%s_idx", reference->to.column)), relid,
								  reference->to.column, moves ? wh_sql(", %I", event_time) : ""),
						   0, NULL);
	}
	return relid;
}

/* make_options makes what wh_fact_open and wh_fact_choice read. */
static Jsonb *
make_options(const WhFact *fact, const WhFeed *feed, WhGrid grid, const WhFactChoice *choice)
{
	WhCivil today = wh_partition_civil(GetCurrentTransactionStartTimestamp() / USECS_PER_DAY);
	WhCivil from = {today.year - BOUNDS_YEARS, 1, 1};
	WhCivil to = {today.year + BOUNDS_YEARS + 1, 1, 1};
	char *zone = wh_sql_literal(feed->time_zone);
	StringInfoData measures;
	WhArg args[7];
	ListCell *cell;
	bool isnull;

	initStringInfo(&measures);
	foreach(cell, choice->measures)
		wh_sql_append(&measures, "%s%L", measures.len > 0 ? ", " : "", (char *) lfirst(cell));
	args[0] = WH_ARG_TEXT(wh_fact_column(fact, fact->event_time)->name);
	args[1] = WH_ARG_TEXT(wh_partition_grid_name(grid));
	args[2] = WH_ARG_TEXT(
		wh_fact_bound(fact->event_type, zone, wh_partition_date_text(wh_partition_days(from))));
	args[3] = WH_ARG_TEXT(
		wh_fact_bound(fact->event_type, zone, wh_partition_date_text(wh_partition_days(to))));
	args[4] = WH_ARG_TEXT(choice->corrections);
	args[5] = WH_ARG_JSONB(JsonbPGetDatum(choice->milestones));
	args[6] = WH_ARG_JSONB(JsonbPGetDatum(choice->lags));
	return DatumGetJsonbP(wh_rows_datum(
		wh_spi_query(wh_sql("SELECT pg_catalog.jsonb_build_object('event_time', $1,"
							" 'partition_by', $2, 'bounds_from', $3, 'bounds_to', $4,"
							" 'corrections', $5, 'measures', ARRAY[%s]::pg_catalog.text[],"
							" 'milestones', $6, 'lags', $7)",
							measures.data),
					 7, args),
		0, 1, &isnull));
}

static void
store_references(WhModel *model, List *references)
{
	ListCell *cell;

	foreach(cell, references)
	{
		Reference *reference = lfirst(cell);
		StringInfoData names;
		bool has_history = reference->to.dimension->kind == WH_MODEL_MINI;
		WhArg args[8];
		ListCell *name;

		initStringInfo(&names);
		foreach(name, reference->to.names)
			wh_sql_append(&names, "%s%L", names.len > 0 ? ", " : "", (char *) lfirst(name));
		args[0] = WH_ARG_INT4(model->id);
		args[1] = WH_ARG_INT4(foreach_current_index(cell) + 1);
		args[2] = WH_ARG_TEXT(reference->to.column);
		args[3] = WH_ARG_INT4(reference->to.dimension->id);
		args[4] = WH_ARG_INT4(reference->null_sk);
		args[5] = WH_ARG_TEXT(reference->not_applicable);
		args[6] = WH_ARG_TEXT(reference->error);
		args[7] = has_history ? WH_ARG_INT4(foreach_current_index(cell)) : WH_ARG_NULL(INT4OID);
		wh_catalog_execute(
			wh_sql(
				"INSERT INTO walhouse.fact_dimension (model_id, role, column_name,"
				" dimension_id, null_sk, not_applicable_if, error_if, history_role, key)"
				" VALUES ($1, $2, $3::pg_catalog.name, $4, $5, $6::pg_catalog.name,"
				" $7::pg_catalog.name, $8, ARRAY[%s]::pg_catalog.text[])",
				names.data),
			8, args);
	}
}
