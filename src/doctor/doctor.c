/*
 * doctor.c
 *		What walhouse.doctor cannot ask of the catalog: the library that is loaded, and the source.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "doctor/doctor.h"
#include "source/source.h"
#include "worker/worker.h"

#define PROBLEM_COLUMNS 7

static Datum text_or_null(const char *text, bool *isnull);

PG_FUNCTION_INFO_V1(walhouse_library);
PG_FUNCTION_INFO_V1(walhouse_doctor_source);

void
wh_doctor_init(void)
{
}

/* walhouse_library(): the version of the loaded library, and whether the server has preloaded it.
 */
Datum
walhouse_library(PG_FUNCTION_ARGS)
{
	Datum values[2] = {CStringGetTextDatum(WALHOUSE_VERSION),
					   BoolGetDatum(wh_worker_is_preloaded())};
	bool nulls[2] = {false, false};
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* walhouse_doctor_source(feed): what is wrong at its source, in the form of walhouse.doctor. */
Datum
walhouse_doctor_source(PG_FUNCTION_ARGS)
{
	WhFeed *feed = wh_changelog_feed(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	wh_user_check_owner(feed->owner, "feed", feed->name);
	InitMaterializedSRF(fcinfo, 0);
	foreach_ptr(WhFeedProblem, problem, wh_feed_diagnose(feed))
	{
		Datum values[PROBLEM_COLUMNS] = {0};
		bool nulls[PROBLEM_COLUMNS] = {false};

		values[0] = CStringGetTextDatum(problem->severity);
		values[1] = CStringGetTextDatum(problem->code);
		values[2] = CStringGetTextDatum(feed->name);
		values[3] = text_or_null(problem->object, &nulls[3]);
		values[4] = CStringGetTextDatum(problem->text);
		values[5] = TimestampTzGetDatum(problem->since);
		nulls[5] = problem->since == 0;
		values[6] = text_or_null(problem->remedy, &nulls[6]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

static Datum
text_or_null(const char *text, bool *isnull)
{
	*isnull = text == NULL;
	return text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}
