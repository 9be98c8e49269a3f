/*
 * verify.c
 *		walhouse.verify() and walhouse.drop_model(): what every kind has, by its routine.
 *
 * verify() reads the model's position, its rows, the log and the mirror in one snapshot, so loads
 * go on meanwhile.  It runs as the model's owner, with the settings that loads pin, and takes no
 * lock of the feed.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/base.h"
#include "model/model.h"
#include "model/model_private.h"

/* Models of kinds without samples are verified whole up to so many pages, with what they read. */
#define WHOLE_PAGES 1000

/* A model of many, in a subtransaction. */
typedef struct Attempt
{
	FunctionCallInfo fcinfo;
	Oid relid;
} Attempt;

static void attempt_one(void *arg);
static bool is_error_of_system(const ErrorData *error);
static void put_failure(FunctionCallInfo fcinfo, Oid relid, const ErrorData *error);
static void verify_one(FunctionCallInfo fcinfo, Oid relid, int32 sample);
static int32 sample_of(const WhModel *model, int32 sample);
static int64 pages_of(const WhModel *model);
static void read_positions(WhModel *model, WhVerdict *verdict);
static void put_verdict(FunctionCallInfo fcinfo, const WhModel *model, const WhVerdict *verdict);
static void drop_remains(Oid relid);
static void drop_views(int32 model_id);
static void drop_relation(Oid relid);
static void note_drop(const WhModel *model);
static void forget(int32 model_id);

PG_FUNCTION_INFO_V1(walhouse_verify);
PG_FUNCTION_INFO_V1(walhouse_verify_sample);
PG_FUNCTION_INFO_V1(walhouse_verify_all);
PG_FUNCTION_INFO_V1(walhouse_drop_model);

Datum
walhouse_verify(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	verify_one(fcinfo, PG_GETARG_OID(0), 0);
	return (Datum) 0;
}

Datum
walhouse_verify_sample(PG_FUNCTION_ARGS)
{
	int32 sample = PG_GETARG_INT32(1);

	if (sample < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sample must be at least 1"),
				 errdetail("It is the number of keys to look at."),
				 errhint("walhouse.verify(relation) looks at all of them.")));
	InitMaterializedSRF(fcinfo, 0);
	verify_one(fcinfo, PG_GETARG_OID(0), sample);
	return (Datum) 0;
}

/*
 * walhouse_verify_all verifies every model that has rows and whose owner's role the caller has.
 * One that cannot be verified, because its query is gone or does not fit any more, has a warning
 * and a row without figures, and the others go on.
 */
Datum
walhouse_verify_all(PG_FUNCTION_ARGS)
{
	WhRows *rows = wh_catalog_query(
		"SELECT m.relation FROM walhouse.model m JOIN pg_catalog.pg_class c "
		"ON c.oid = m.relation WHERE m.feed_id IS NULL OR EXISTS "
		"(SELECT FROM walhouse.load_model l WHERE l.model_id = m.model_id) ORDER BY m.model_id",
		0, NULL);

	InitMaterializedSRF(fcinfo, 0);
	for (uint64 i = 0; i < rows->count; i++)
	{
		Attempt attempt = {fcinfo, wh_rows_oid(rows, i, 1)};
		ErrorData *error;

		if (!wh_compat_owns_class(attempt.relid, GetUserId()))
			continue;
		if (wh_txn_try(attempt_one, &attempt, &error))
			continue;
		if (is_error_of_system(error))
			ReThrowError(error);
		put_failure(fcinfo, attempt.relid, error);
	}
	return (Datum) 0;
}

static void
attempt_one(void *arg)
{
	Attempt *attempt = arg;

	verify_one(attempt->fcinfo, attempt->relid, 0);
}

/* is_error_of_system tells what comes and goes by itself from what is wrong with a model. */
static bool
is_error_of_system(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
			return true;
		default:
			return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
	}
}

/* put_failure warns of a model that could not be verified, and gives it a row without figures. */
static void
put_failure(FunctionCallInfo fcinfo, Oid relid, const ErrorData *error)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum values[8] = {ObjectIdGetDatum(relid)};
	bool nulls[8] = {false, true, true, true, true, true, true, true};

	ereport(WARNING, (errcode(error->sqlerrcode),
					  errmsg("%s cannot be verified: %s", wh_sql_relation(relid), error->message),
					  error->detail != NULL ? errdetail_internal("%s", error->detail) : 0,
					  error->hint != NULL ? errhint("%s", error->hint) : 0));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static void
verify_one(FunctionCallInfo fcinfo, Oid relid, int32 sample)
{
	WhVerdict verdict = {0};
	int guc_level = NewGUCNestLevel();
	WhModel *model;

	/* A query is compiled to text: constants in it must read back as they were. */
	wh_settings_pin(NULL);
	model = wh_model_get(relid, false);
	wh_user_check_owner(model->owner, "model", model->short_name);
	wh_model_verify(model, sample, &verdict);
	AtEOXact_GUC(false, guc_level);
	put_verdict(fcinfo, model, &verdict);
}

void
wh_model_verify(WhModel *model, int32 sample, WhVerdict *verdict)
{
	int guc_level = NewGUCNestLevel();
	WhUser saved;

	verdict->sample = sample_of(model, sample);
	wh_settings_pin(model->feed == NULL ? "UTC" : model->feed->time_zone);
	PushActiveSnapshot(GetTransactionSnapshot());
	if (model->feed != NULL)
		read_positions(model, verdict);
	wh_user_become(model->owner, &saved);
	(void) wh_settings_push_joins(WH_JOINS_WHOLE);
	wh_model_routine(model->kind)->verify(model, verdict);
	wh_user_restore(&saved);
	PopActiveSnapshot();
	AtEOXact_GUC(false, guc_level);
}

/* sample_of is the sample that a model's kind is asked for; 0: the whole. */
static int32
sample_of(const WhModel *model, int32 sample)
{
	if (sample == 0 || wh_model_routine(model->kind)->samples)
		return sample;
	if (pages_of(model) > WHOLE_PAGES)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s is of a kind that cannot be verified by a sample", model->name),
				 errhint("SELECT * FROM walhouse.verify(%s) looks at all of it.",
						 wh_sql_literal(model->name))));
	return 0;
}

/* pages_of counts the pages of a model, and of the mirrors and models that it reads. */
static int64
pages_of(const WhModel *model)
{
	List *relids = list_make1_oid(model->relid);
	int64 pages = 0;
	ListCell *cell;

	foreach(cell, model->sources)
		relids = lappend_oid(relids, ((WhFeedTable *) lfirst(cell))->mirror);
	foreach(cell, wh_model_needs(model))
		relids = lappend_oid(relids, wh_model_get_by_id(lfirst_int(cell))->relid);
	foreach(cell, relids)
		pages += wh_model_pages(lfirst_oid(cell));
	return pages;
}

/* read_positions reads again, in the active snapshot, what tells where the model stands. */
static void
read_positions(WhModel *model, WhVerdict *verdict)
{
	WhRows *rows = wh_spi_query_snapshot(
		"SELECT (SELECT l.to_lsn FROM walhouse.load_model l WHERE l.model_id = m.model_id "
		"ORDER BY l.load_id DESC LIMIT 1), m.history_start, f.horizon "
		"FROM walhouse.model m JOIN walhouse.feed f USING (feed_id) WHERE m.model_id = $1",
		1, (WhArg[]){WH_ARG_INT4(model->id)});
	ListCell *cell;

	model->position = rows->count == 0 ? InvalidXLogRecPtr : wh_rows_lsn(rows, 0, 1);
	if (XLogRecPtrIsInvalid(model->position))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("model %s is not built yet", model->name),
						errhint("CALL walhouse.build(%s);", wh_sql_literal(model->name))));
	model->history_start = wh_rows_lsn(rows, 0, 2);
	model->feed->horizon = wh_rows_lsn(rows, 0, 3);
	foreach(cell, model->sources)
	{
		WhFeedTable *table = lfirst(cell);

		table->sync_lsn = wh_rows_lsn(
			wh_spi_query_snapshot("SELECT sync_lsn FROM walhouse.feed_table WHERE mirror = $1", 1,
								  (WhArg[]){WH_ARG_REGCLASS(table->mirror)}),
			0, 1);
	}
	if (wh_model_is_cut_off(model))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s is about to be built again", model->name),
				 errdetail("It stands at %X/%X; the log of a table that it reads begins at %X/%X, "
						   "where that was copied again.",
						   LSN_FORMAT_ARGS(model->position),
						   LSN_FORMAT_ARGS(wh_model_horizon(model))),
				 errhint("The feed's worker builds it; without one, CALL walhouse.run(%s).",
						 wh_sql_literal(model->feed->name))));
	verdict->position = model->position;
	verdict->horizon = wh_model_verify_start(model);
}

static void
put_verdict(FunctionCallInfo fcinfo, const WhModel *model, const WhVerdict *verdict)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool has_feed = model->feed != NULL;
	Datum values[8];
	bool nulls[8] = {false, !has_feed, !has_feed};

	values[0] = ObjectIdGetDatum(model->relid);
	values[1] = LSNGetDatum(verdict->horizon);
	values[2] = LSNGetDatum(verdict->position);
	values[3] = Int64GetDatum(verdict->expected);
	values[4] = Int64GetDatum(verdict->found);
	values[5] = Int64GetDatum(verdict->missing);
	values[6] = Int64GetDatum(verdict->unexpected);
	values[7] = Int64GetDatum(verdict->different);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * walhouse_drop_model drops a model: its table, its view, what its kind keeps, its rows in the
 * catalog.  The feed's state lock comes first, so that no load works on the model meanwhile.
 */
Datum
walhouse_drop_model(PG_FUNCTION_ARGS)
{
	wh_model_drop(PG_GETARG_OID(0));
	PG_RETURN_VOID();
}

void
wh_model_drop(Oid relid)
{
	WhModel *model;
	Oid view;

	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
	{
		drop_remains(relid);
		return;
	}
	model = wh_model_get_broken(relid);
	wh_user_check_owner(model->owner, "model", model->short_name);
	wh_model_lock(model);
	wh_model_check_references(model);
	if (wh_model_routine(model->kind)->drop != NULL)
		wh_model_routine(model->kind)->drop(model);
	view = model->view;
	drop_views(model->id);
	note_drop(model);
	forget(model->id);
	if (OidIsValid(view))
		drop_relation(view);
	drop_relation(relid);
}

/* note_drop keeps the name of a model of which loads have told. */
static void
note_drop(const WhModel *model)
{
	WhArg args[] = {WH_ARG_INT4(model->id),
					WH_ARG_TEXT(get_namespace_name(get_rel_namespace(model->relid))),
					WH_ARG_TEXT(model->short_name)};

	wh_catalog_execute("INSERT INTO walhouse.dropped_model (feed_id, recorded, schema, relation)"
					   " SELECT m.feed_id, pg_catalog.nextval('walhouse.load_recorded_seq'), $2, $3"
					   " FROM walhouse.model m WHERE m.model_id = $1 AND m.feed_id IS NOT NULL AND"
					   " EXISTS (SELECT FROM walhouse.load_model l WHERE l.model_id = m.model_id)",
					   lengthof(args), args);
}

/* drop_remains drops what is left of a model whose relation somebody has dropped. */
static void
drop_remains(Oid relid)
{
	WhRows *rows = wh_catalog_query(
		"SELECT m.model_id, COALESCE(m.query, 0::pg_catalog.oid), COALESCE(m.feed_id, 0) "
		"FROM walhouse.model m WHERE m.relation = $1",
		1, (WhArg[]){WH_ARG_REGCLASS(relid)});
	Oid view;

	if (rows->count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no model with relation %u", relid)));
	view = wh_rows_oid(rows, 0, 2);
	if (wh_rows_int4(rows, 0, 3) != 0)
		wh_lock_state(wh_rows_int4(rows, 0, 3));
	if (get_rel_relkind(view) == RELKIND_VIEW && !wh_compat_owns_class(view, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_VIEW, get_rel_name(view));
	drop_views(wh_rows_int4(rows, 0, 1));
	forget(wh_rows_int4(rows, 0, 1));
	drop_relation(view);
}

/* drop_views drops what was made beside a model. */
static void
drop_views(int32 model_id)
{
	WhArg args[] = {WH_ARG_INT4(model_id)};
	WhRows *rows = wh_catalog_query(
		"SELECT view FROM walhouse.model_view WHERE model_id = $1 ORDER BY purpose", 1, args);

	for (uint64 i = 0; i < rows->count; i++)
		drop_relation(wh_rows_oid(rows, i, 1));
	wh_catalog_execute("DELETE FROM walhouse.model_view WHERE model_id = $1", 1, args);
}

static void
drop_relation(Oid relid)
{
	char relkind = get_rel_relkind(relid);
	int level;

	if (relkind == '\0')
		return;
	level = wh_settings_push_writes();
	wh_spi_execute(wh_sql("DROP %s %T", relkind == RELKIND_VIEW ? "VIEW" : "TABLE", relid), 0,
				   NULL);
	wh_settings_pop(level);
}

static void
forget(int32 model_id)
{
	WhArg args[] = {WH_ARG_INT4(model_id)};

	wh_catalog_execute("DELETE FROM walhouse.load_model WHERE model_id = $1", 1, args);
	wh_catalog_execute("DELETE FROM walhouse.load_summary WHERE model_id = $1", 1, args);
	wh_catalog_execute("DELETE FROM walhouse.model_definition WHERE model_id = $1", 1, args);
	wh_catalog_execute("DELETE FROM walhouse.verification WHERE model_id = $1", 1, args);
	wh_catalog_execute("DELETE FROM walhouse.model WHERE model_id = $1", 1, args);
}
