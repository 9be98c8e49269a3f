/*
 * spec.c
 *		walhouse.apply_spec: makes the models what a specification says.
 *
 * Whether a model is as it is specified is found out by declaring it once more under another name,
 * in a subtransaction that is rolled back, and comparing what walhouse.model_spec() says of both:
 * so queries are compared as the parser understands them, and defaults as they are filled in.
 * A dry run does all of it, and is rolled back; so it finds every error that the run would.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "evolve/evolve_private.h"

/* A specification while it is applied; lives in the caller's context. */
typedef struct Application
{
	Jsonb *spec;
	bool dry_run;
	List *steps; /* of Step * */
	List *changes; /* of WhChange * */
	bool is_done; /* what is raised after that only ends the subtransaction */
} Application;

typedef struct Step
{
	const char *action;
	char *model;
	char *statement; /* NULL: none */
} Step;

/* A declaration that is tried, and taken back. */
typedef struct Trial
{
	Jsonb *entry;
	Jsonb *spec; /* what it came to */
} Trial;

static void apply(void *arg);
static void apply_entry(Application *application, Jsonb *entry, char *name);
static void apply_change(Application *application, WhModel *model, Jsonb *entry, char *name);
static void note(Application *application, const char *action, char *model, char *statement);
static void note_extra(Application *application);
static Oid find_model(const char *name);
static Jsonb *normalized(Jsonb *entry, const char *name);
static bool is_same(Jsonb *left, Jsonb *right);
static void try_entry(void *arg);

PG_FUNCTION_INFO_V1(walhouse_apply_spec);

Datum
walhouse_apply_spec(PG_FUNCTION_ARGS)
{
	Application application = {PG_GETARG_JSONB_P(0), PG_GETARG_BOOL(1)};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ErrorData *error;

	InitMaterializedSRF(fcinfo, 0);
	wh_txn_mark_own();
	if (!wh_txn_try(apply, &application, &error) && !application.is_done)
		ReThrowError(error);
	foreach_ptr(Step, step, application.steps)
	{
		Datum values[3] = {CStringGetTextDatum(step->action), CStringGetTextDatum(step->model)};
		bool nulls[3] = {false, false, step->statement == NULL};

		if (step->statement != NULL)
			values[2] = CStringGetTextDatum(step->statement);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* apply does it all; a dry run ends in an error, which rolls it back. */
static void
apply(void *arg)
{
	Application *application = arg;
	WhRows *entries = wh_spi_query(
		"SELECT e, e OPERATOR(pg_catalog.->>) 'model' FROM pg_catalog.jsonb_array_elements($1"
		" OPERATOR(pg_catalog.->) 'models') WITH ORDINALITY m (e, place) ORDER BY place",
		1, (WhArg[]){WH_ARG_JSONB(JsonbPGetDatum(application->spec))});
	bool isnull;

	for (uint64 i = 0; i < entries->count; i++)
	{
		char *name = wh_rows_text(entries, i, 2);

		if (name == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("model %d of the specification has no name", (int) i + 1),
					 errhint("A specification is made by walhouse.spec().")));
		apply_entry(application, DatumGetJsonbP(wh_rows_datum(entries, i, 1, &isnull)), name);
	}
	if (application->changes != NIL)
		(void) wh_evolve_alter(application->changes);
	note_extra(application);
	application->is_done = true;
	if (application->dry_run)
		ereport(ERROR, (errcode(ERRCODE_SUCCESSFUL_COMPLETION), errmsg("a dry run is over")));
}

static void
apply_entry(Application *application, Jsonb *entry, char *name)
{
	Oid relid = find_model(name);
	char *statement = wh_evolve_statement(entry, name);

	if (!OidIsValid(relid))
	{
		wh_spi_execute(statement, 0, NULL);
		note(application, "create", name, statement);
	}
	else
	{
		entry = normalized(entry, name);
		if (is_same(wh_evolve_spec(relid), entry))
			note(application, "keep", name, NULL);
		else
			apply_change(application, wh_model_get(relid, false), entry, name);
	}
}

/* apply_change has a model altered, with the others, where it can be, and is not already. */
static void
apply_change(Application *application, WhModel *model, Jsonb *entry, char *name)
{
	WhChange *change = palloc(sizeof(WhChange));

	if (model->feed == NULL)
	{
		note(application, "differ", name,
			 wh_sql("SELECT walhouse.drop_model(%L); %s", name, wh_evolve_statement(entry, name)));
		return;
	}
	if (wh_evolve_is_altering(model->id))
	{
		note(application, "wait", name, NULL);
		return;
	}
	change->model = model;
	change->entry = entry;
	application->changes = lappend(application->changes, change);
	note(application, "alter", name,
		 wh_rows_text(
			 wh_spi_query(
				 "SELECT pg_catalog.format('SELECT walhouse.alter_model(%L, %L);',"
				 " $1::pg_catalog.text, $2 OPERATOR(pg_catalog.->) 'arguments')",
				 2, (WhArg[]){WH_ARG_TEXT(model->name), WH_ARG_JSONB(JsonbPGetDatum(entry))}),
			 0, 1));
}

static void
note(Application *application, const char *action, char *model, char *statement)
{
	Step *step = palloc(sizeof(Step));

	step->action = action;
	step->model = model;
	step->statement = statement;
	application->steps = lappend(application->steps, step);
}

/* note_extra tells of models of the same feeds that the specification does not have; what needs
 * others comes first, as it has to be dropped. */
static void
note_extra(Application *application)
{
	WhRows *rows = wh_spi_query("SELECT x FROM walhouse.spec_extra($1) x", 1,
								(WhArg[]){WH_ARG_JSONB(JsonbPGetDatum(application->spec))});

	for (uint64 i = 0; i < rows->count; i++)
	{
		char *name = wh_rows_text(rows, i, 1);

		note(application, "extra", name, wh_sql("SELECT walhouse.drop_model(%L);", name));
	}
}

/* find_model finds a model by its name; InvalidOid: there is none. */
static Oid
find_model(const char *name)
{
	char *schema;
	char *relation;
	Oid relid;

	wh_name_parse(name, &schema, &relation);
	relid = RangeVarGetRelid(makeRangeVar(schema, relation, -1), NoLock, true);
	return OidIsValid(relid) && wh_model_get(relid, true) != NULL ? relid : InvalidOid;
}

char *
wh_evolve_statement(Jsonb *entry, const char *name)
{
	char *statement =
		wh_rows_text(wh_spi_query("SELECT walhouse.spec_statement($1)", 1,
								  (WhArg[]){WH_ARG_JSONB(JsonbPGetDatum(entry))}),
					 0, 1);

	if (statement == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model %s cannot be declared as it is specified", name),
				 errdetail("There is no function that has the name in \"declare\" and all of \"arguments\"."),
				 errhint("A specification is made by walhouse.spec().")));
	return statement;
}

/* normalized is an entry as walhouse.model_spec() would have it, which is found out by declaring it
 * under another name. */
static Jsonb *
normalized(Jsonb *entry, const char *name)
{
	Trial trial = {NULL};
	char *schema;
	char *relation;
	ErrorData *error;

	wh_name_parse(name, &schema, &relation);
	relation = wh_sql("%I", wh_name(relation, "__spec"));
	trial.entry = wh_evolve_spec_renamed(
		entry, schema == NULL ? relation : wh_sql("%I.%s", schema, relation));
	if (!wh_txn_try(try_entry, &trial, &error) && trial.spec == NULL)
		ReThrowError(error);
	return trial.spec;
}

static bool
is_same(Jsonb *left, Jsonb *right)
{
	return wh_rows_bool(
		wh_spi_query(
			"SELECT ($1 OPERATOR(pg_catalog.-) 'model'::pg_catalog.text) OPERATOR(pg_catalog.=)"
			" ($2 OPERATOR(pg_catalog.-) 'model'::pg_catalog.text)",
			2,
			(WhArg[]){WH_ARG_JSONB(JsonbPGetDatum(left)), WH_ARG_JSONB(JsonbPGetDatum(right))}),
		0, 1);
}

/* try_entry declares a model, looks at it, and ends in an error. */
static void
try_entry(void *arg)
{
	Trial *trial = arg;
	WhRows *rows = wh_spi_query(wh_evolve_statement(trial->entry, "of the trial"), 0, NULL);

	trial->spec = wh_evolve_spec(wh_rows_oid(rows, 0, 1));
	ereport(ERROR, (errcode(ERRCODE_SUCCESSFUL_COMPLETION), errmsg("a trial is over")));
}

Jsonb *
wh_evolve_spec(Oid relid)
{
	WhRows *rows = wh_spi_query(
		"SELECT walhouse.model_spec(m.model_id) FROM walhouse.model m WHERE m.relation"
		" OPERATOR(pg_catalog.=) $1",
		1, (WhArg[]){WH_ARG_REGCLASS(relid)});
	bool isnull;

	return DatumGetJsonbPCopy(wh_rows_datum(rows, 0, 1, &isnull));
}

Jsonb *
wh_evolve_spec_renamed(Jsonb *entry, const char *name)
{
	WhRows *rows = wh_spi_query(
		"SELECT pg_catalog.jsonb_set($1, '{model}', pg_catalog.to_jsonb($2::pg_catalog.text))", 2,
		(WhArg[]){WH_ARG_JSONB(JsonbPGetDatum(entry)), WH_ARG_TEXT(name)});
	bool isnull;

	return DatumGetJsonbPCopy(wh_rows_datum(rows, 0, 1, &isnull));
}
