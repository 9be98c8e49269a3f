/*
 * columns.c
 *		The columns of a fact: its query's, and those that its declaration adds to them.
 *
 *	- with corrections 'reverse', what makes a row a booking: booked_at, booked_lsn, is_reversal;
 *	- a timestamptz for each milestone, a boolean column of the query that becomes true;
 *	- an interval for each lag between two columns of time, milestones among them.
 *
 * The choices stand in the model's options as they were given, and are judged here at the
 * declaration and whenever a fact is opened.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "base/base.h"
#include "fact/fact.h"
#include "fact/fact_private.h"

static void add_bookings(WhFact *fact, const WhFactChoice *choice);
static void add_measure(WhFact *fact, const char *name);
static void add_milestones(WhFact *fact, Jsonb *milestones);
static WhFactMilestone *read_milestone(const WhFact *fact, char *name, const JsonbValue *value);
static void add_lags(WhFact *fact, Jsonb *lags);
static WhFactLag *read_lag(const WhFact *fact, char *name, const JsonbValue *value);
static int time_column(const WhFact *fact, const char *lag, const JsonbValue *value);
static int add_column(WhFact *fact, char *name, Oid type);
static List *read_pairs(Jsonb *object, const char *argument, const char *example);
static int compare_milestones(const ListCell *a, const ListCell *b);
static int compare_lags(const ListCell *a, const ListCell *b);
static bool is_given(Jsonb *object);

/* A member of a JSON object. */
typedef struct Pair
{
	char *name;
	JsonbValue value;
} Pair;

void
wh_fact_add_columns(WhFact *fact, List *columns, const WhFactChoice *choice)
{
	fact->columns = list_copy(columns);
	fact->query_width = list_length(columns);
	fact->width = fact->query_width;
	add_bookings(fact, choice);
	add_milestones(fact, choice->milestones);
	add_lags(fact, choice->lags);
}

void
wh_fact_identify(WhFact *fact, List *key, const char *event_time)
{
	ListCell *cell;

	foreach(cell, key)
		fact->key = lappend_int(fact->key, wh_fact_position(fact, lfirst(cell)));
	fact->event_time = wh_fact_position(fact, event_time);
	fact->event_type = wh_fact_column(fact, fact->event_time)->type;
	fact->identity = list_append_unique_int(list_copy(fact->key), fact->event_time);
	if (fact->books)
	{
		fact->identity = list_append_unique_int(fact->identity, fact->booked_lsn);
		fact->identity = list_append_unique_int(fact->identity, fact->is_reversal);
	}
}

WhModelColumn *
wh_fact_column(const WhFact *fact, int position)
{
	return list_nth(fact->columns, position - 1);
}

int
wh_fact_position(const WhFact *fact, const char *name)
{
	ListCell *cell;

	foreach(cell, fact->columns)
	{
		if (strcmp(((WhModelColumn *) lfirst(cell))->name, name) == 0)
			return foreach_current_index(cell) + 1;
	}
	return 0;
}

/* add_bookings: by what corrections are made, and the columns of rows that are bookings. */
static void
add_bookings(WhFact *fact, const WhFactChoice *choice)
{
	ListCell *cell;

	fact->books = strcmp(choice->corrections, "reverse") == 0;
	if (!fact->books && strcmp(choice->corrections, "replace") != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("corrections \"%s\" are not supported", choice->corrections),
						errhint("It is replace or reverse.")));
	if (fact->books != (choice->measures != NIL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg(fact->books ? "a fact with corrections \"reverse\" needs measures" :
									  "measures belong to corrections \"reverse\""),
				 errhint("Give the columns that a reversal negates: corrections => 'reverse', "
						 "measures => '{amount}'.")));
	if (!fact->books)
		return;
	if (is_given(choice->milestones) || is_given(choice->lags))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a fact with corrections \"reverse\" has no %s",
						is_given(choice->milestones) ? "milestones" : "lags"),
				 errdetail("Its rows are bookings, which are never updated."),
				 errhint("Declare another fact with corrections \"replace\".")));
	foreach(cell, choice->measures)
		add_measure(fact, lfirst(cell));
	fact->booked_at = add_column(fact, "booked_at", TIMESTAMPTZOID);
	fact->booked_lsn = add_column(fact, "booked_lsn", PG_LSNOID);
	fact->is_reversal = add_column(fact, "is_reversal", BOOLOID);
}

static void
add_measure(WhFact *fact, const char *name)
{
	static const Oid types[] = {INT2OID, INT4OID, INT8OID, NUMERICOID,
								FLOAT4OID, FLOAT8OID, INTERVALOID};
	int position = wh_fact_position(fact, name);
	WhModelColumn *column;
	bool is_measure = false;

	if (position == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
						errmsg("measure \"%s\" is no column of the query", name)));
	column = wh_fact_column(fact, position);
	for (int i = 0; i < lengthof(types); i++)
		is_measure = is_measure || column->type == types[i];
	if (column->is_key || list_member_int(fact->measures, position))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg(column->is_key ? "measure \"%s\" is a column of the key" :
												"measure \"%s\" is given twice",
							   name)));
	if (!is_measure)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
						errmsg("measure \"%s\" has type %s", name, format_type_be(column->type)),
						errhint("It must be a smallint, an integer, a bigint, a numeric, a real, a "
								"double precision or an interval; cast it in the query.")));
	fact->measures = lappend_int(fact->measures, position);
}

static void
add_milestones(WhFact *fact, Jsonb *milestones)
{
	ListCell *cell;

	foreach(cell, read_pairs(milestones, "milestones", "{\"shipped_at\": \"is_shipped\"}"))
	{
		Pair *pair = lfirst(cell);

		fact->milestones =
			lappend(fact->milestones, read_milestone(fact, pair->name, &pair->value));
	}
	list_sort(fact->milestones, compare_milestones);
	foreach(cell, fact->milestones)
	{
		WhFactMilestone *milestone = lfirst(cell);

		milestone->position = add_column(fact, milestone->name, TIMESTAMPTZOID);
	}
}

static WhFactMilestone *
read_milestone(const WhFact *fact, char *name, const JsonbValue *value)
{
	WhFactMilestone *milestone = palloc0(sizeof(WhFactMilestone));
	char *flag;

	if (value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("milestone \"%s\" must be given as the name of a column", name),
				 errhint("For example: {\"shipped_at\": \"is_shipped\"}.")));
	flag = pnstrdup(value->val.string.val, value->val.string.len);
	milestone->name = name;
	milestone->flag = wh_fact_position(fact, flag);
	if (milestone->flag == 0 || wh_fact_column(fact, milestone->flag)->type != BOOLOID)
		ereport(ERROR, (errcode(milestone->flag == 0 ? ERRCODE_UNDEFINED_COLUMN :
													   ERRCODE_DATATYPE_MISMATCH),
						errmsg("column \"%s\" of milestone \"%s\" is no boolean column of the "
							   "query",
							   flag, name)));
	return milestone;
}

static void
add_lags(WhFact *fact, Jsonb *lags)
{
	ListCell *cell;

	foreach(cell, read_pairs(lags, "lags", "{\"to_ship\": [\"ordered_at\", \"shipped_at\"]}"))
	{
		Pair *pair = lfirst(cell);

		fact->lags = lappend(fact->lags, read_lag(fact, pair->name, &pair->value));
	}
	list_sort(fact->lags, compare_lags);
	foreach(cell, fact->lags)
	{
		WhFactLag *lag = lfirst(cell);

		lag->position = add_column(fact, lag->name, INTERVALOID);
	}
}

static WhFactLag *
read_lag(const WhFact *fact, char *name, const JsonbValue *value)
{
	WhFactLag *lag = palloc0(sizeof(WhFactLag));
	JsonbContainer *array = value->type == jbvBinary ? value->val.binary.data : NULL;

	if (array == NULL || !JsonContainerIsArray(array) || JsonContainerSize(array) != 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("lag \"%s\" must be given as two columns", name),
				 errhint("For example: {\"to_ship\": [\"ordered_at\", \"shipped_at\"]}.")));
	lag->name = name;
	lag->from = time_column(fact, name, getIthJsonbValueFromContainer(array, 0));
	lag->to = time_column(fact, name, getIthJsonbValueFromContainer(array, 1));
	return lag;
}

static int
time_column(const WhFact *fact, const char *lag, const JsonbValue *value)
{
	char *name = value->type == jbvString ?
					 pnstrdup(value->val.string.val, value->val.string.len) :
					 "";
	int position = wh_fact_position(fact, name);
	Oid type = position == 0 ? InvalidOid : wh_fact_column(fact, position)->type;

	if (type != TIMESTAMPTZOID && type != TIMESTAMPOID && type != DATEOID)
		ereport(ERROR,
				(errcode(position == 0 ? ERRCODE_UNDEFINED_COLUMN : ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of lag \"%s\" is no time", name, lag),
				 errhint("It must be a milestone, or a column of the query of type timestamptz, "
						 "timestamp or date.")));
	return position;
}

/* add_column adds a column, and returns its position. */
static int
add_column(WhFact *fact, char *name, Oid type)
{
	WhModelColumn *column = palloc0(sizeof(WhModelColumn));

	if (wh_fact_position(fact, name) != 0)
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_COLUMN),
						errmsg("column \"%s\" is there already", name),
						errdetail("The fact adds a column of this name to those of its query."),
						errhint("Name the column of the query otherwise with AS.")));
	if (strcmp(name, "load_id") == 0 || name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME),
						errmsg("a column of a fact cannot be named \"%s\"", name)));
	column->name = name;
	column->type = type;
	column->typmod = -1;
	fact->columns = lappend(fact->columns, column);
	return ++fact->width;
}

/* read_pairs reads an argument that is an object (NULL: an empty one). */
static List *
read_pairs(Jsonb *object, const char *argument, const char *example)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;
	List *pairs = NIL;
	char *name = NULL;

	if (object == NULL)
		return NIL;
	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must be a JSON object", argument),
						errhint("For example: %s.", example)));
	iterator = JsonbIteratorInit(&object->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE)
		{
			Pair *pair = palloc0(sizeof(Pair));

			pair->name = name;
			pair->value = value;
			pairs = lappend(pairs, pair);
		}
	}
	return pairs;
}

/* Columns come in the order of those that they are made of. */
static int
compare_milestones(const ListCell *a, const ListCell *b)
{
	const WhFactMilestone *left = lfirst(a);
	const WhFactMilestone *right = lfirst(b);

	return left->flag != right->flag ? left->flag - right->flag : strcmp(left->name, right->name);
}

static int
compare_lags(const ListCell *a, const ListCell *b)
{
	const WhFactLag *left = lfirst(a);
	const WhFactLag *right = lfirst(b);

	if (left->from != right->from)
		return left->from - right->from;
	return left->to != right->to ? left->to - right->to : strcmp(left->name, right->name);
}

static bool
is_given(Jsonb *object)
{
	return object != NULL && JB_ROOT_COUNT(object) > 0;
}

/* wh_fact_choice reads what a fact's declaration chose from the model's options. */
WhFactChoice *
wh_fact_choice(const WhModel *model)
{
	WhFactChoice *choice = palloc0(sizeof(WhFactChoice));
	WhRows *rows = wh_spi_query_kept(
		"SELECT COALESCE($1 OPERATOR(pg_catalog.->>) 'corrections', 'replace'),"
		" $1 OPERATOR(pg_catalog.->) 'milestones', $1 OPERATOR(pg_catalog.->) 'lags'",
		1, (WhArg[]){WH_ARG_JSONB(JsonbPGetDatum(model->options))});
	WhRows *measures = wh_spi_query_kept(
		"SELECT m.name FROM pg_catalog.jsonb_array_elements_text(COALESCE($1"
		" OPERATOR(pg_catalog.->) 'measures', '[]')) WITH ORDINALITY m (name, place)"
		" ORDER BY m.place",
		1, (WhArg[]){WH_ARG_JSONB(JsonbPGetDatum(model->options))});
	bool isnull;
	Datum value;

	choice->corrections = wh_rows_text(rows, 0, 1);
	for (uint64 i = 0; i < measures->count; i++)
		choice->measures = lappend(choice->measures, wh_rows_text(measures, i, 1));
	value = wh_rows_datum(rows, 0, 2, &isnull);
	choice->milestones = isnull ? NULL : DatumGetJsonbPCopy(value);
	value = wh_rows_datum(rows, 0, 3, &isnull);
	choice->lags = isnull ? NULL : DatumGetJsonbPCopy(value);
	return choice;
}
