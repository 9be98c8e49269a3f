/*
 * verification.c
 *		walhouse.verification: what the verifications found that workers make by turns.
 *
 * Rows are appended, and of each model the last ones kept.  What differs is warned of in the
 * server's log; what to do about it is for people to decide, after they looked at the whole.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "model/model.h"
#include "model/model_private.h"

/* Rows that are kept of each model. */
#define KEPT 20

static void warn(const WhModel *model, const WhVerdict *verdict);
static void keep(int32 model_id, int32 sample, TimestampTz started, const WhVerdict *verdict,
				 const char *error);

void
wh_model_verify_and_keep(int32 model_id, int32 sample)
{
	TimestampTz started = GetCurrentTimestamp();
	WhModel *model = wh_model_get_by_id(model_id);
	WhVerdict verdict = {0};

	wh_model_verify(model, sample, &verdict);
	keep(model_id, sample, started, &verdict, NULL);
	if (verdict.missing + verdict.unexpected + verdict.different > 0)
		warn(model, &verdict);
}

static void
warn(const WhModel *model, const WhVerdict *verdict)
{
	const char *name = wh_sql_literal(model->name);

	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("%s differs from a recomputation", model->name),
			 errdetail("Of a sample of its keys %lld rows are missing, %lld unexpected and %lld "
					   "different, of %lld that are expected, at position %X/%X.",
					   (long long) verdict->missing, (long long) verdict->unexpected,
					   (long long) verdict->different, (long long) verdict->expected,
					   LSN_FORMAT_ARGS(verdict->position)),
			 errhint("SELECT * FROM walhouse.verify(%s) looks at all of it; CALL "
					 "walhouse.build(%s) makes it anew.",
					 name, name)));
}

void
wh_model_keep_failure(int32 model_id, int32 sample, TimestampTz started, const ErrorData *error)
{
	const char *text = error->detail != NULL ?
						   psprintf("%s: %s", error->message, error->detail) :
						   error->message;

	ereport(LOG, (errmsg("walhouse could not verify model %d: %s", model_id, text)));
	keep(model_id, sample, started, NULL, text);
}

/* keep appends a row, and removes the oldest; the model may have been dropped meanwhile. */
static void
keep(int32 model_id, int32 sample, TimestampTz started, const WhVerdict *verdict,
	 const char *error)
{
	WhArg args[] = {WH_ARG_INT4(model_id),
					WH_ARG_TIMESTAMPTZ(started),
					WH_ARG_INT4(sample),
					WH_ARG_NULL(PG_LSNOID),
					WH_ARG_NULL(PG_LSNOID),
					WH_ARG_NULL(INT8OID),
					WH_ARG_NULL(INT8OID),
					WH_ARG_NULL(INT8OID),
					WH_ARG_NULL(INT8OID),
					WH_ARG_NULL(INT8OID),
					WH_ARG_TEXT(error)};

	if (verdict != NULL)
	{
		if (!XLogRecPtrIsInvalid(verdict->position))
		{
			args[3] = WH_ARG_LSN(verdict->horizon);
			args[4] = WH_ARG_LSN(verdict->position);
		}
		args[5] = WH_ARG_INT8(verdict->expected);
		args[6] = WH_ARG_INT8(verdict->found);
		args[7] = WH_ARG_INT8(verdict->missing);
		args[8] = WH_ARG_INT8(verdict->unexpected);
		args[9] = WH_ARG_INT8(verdict->different);
	}
	wh_catalog_execute(
		"INSERT INTO walhouse.verification (model_id, started, duration_ms, sample, horizon, "
		"position, expected, found, missing, unexpected, different, error) SELECT $1, $2, "
		"extract(epoch FROM pg_catalog.clock_timestamp() - $2) * 1000, $3, $4, $5, $6, $7, $8, $9, "
		"$10, $11 FROM walhouse.model m WHERE m.model_id = $1",
		lengthof(args), args);
	wh_catalog_execute(
		"DELETE FROM walhouse.verification v WHERE v.model_id = $1 AND v.started < (SELECT "
		"l.started FROM walhouse.verification l WHERE l.model_id = $1 ORDER BY l.started DESC "
		"OFFSET $2 LIMIT 1)",
		2, (WhArg[]){WH_ARG_INT4(model_id), WH_ARG_INT4(KEPT - 1)});
}
