/*
 * record.c
 *		What stands of a load: its row, the positions of its models, the errors that stop a model
 * and those that do not.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "utils/multirangetypes.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "base/base.h"
#include "load/load.h"
#include "load/load_private.h"

#define LOAD_MODEL_COLUMNS 19

static void record_models(const WhLoad *load, List *done);
static void fill_model(Datum *values, bool *nulls, const WhLoad *load, const WhDone *model);
static Datum gaps_of(const WhCounts *counts);
static XLogRecPtr lowest_position(List *done, XLogRecPtr to);

WhLoad *
wh_load_new(WhFeed *feed, XLogRecPtr to, TimestampTz clock)
{
	WhLoad *load = palloc0(sizeof(WhLoad));

	load->id = wh_rows_int8(
		wh_catalog_query("SELECT pg_catalog.nextval('walhouse.load_load_id_seq')", 0, NULL), 0,
		1);
	load->feed = feed;
	load->to = to;
	load->clock = clock;
	return load;
}

void
wh_load_record(const WhLoad *load, const char *kind, TimestampTz started, List *done,
			   const char *error)
{
	XLogRecPtr from = lowest_position(done, load->to);
	WhArg args[7];

	args[0] = WH_ARG_INT8(load->id);
	args[1] = WH_ARG_INT4(load->feed->id);
	args[2] = WH_ARG_TEXT(kind);
	args[3] = WH_ARG_LSN(from);
	args[4] = WH_ARG_LSN(load->to);
	args[5] = WH_ARG_TIMESTAMPTZ(started);
	args[6] = WH_ARG_TEXT(error);
	wh_catalog_execute(
		wh_sql(
			"INSERT INTO walhouse.load (load_id, feed_id, kind, from_lsn, to_lsn, from_time,"
			" to_time, transactions, inserts, updates, deletes, truncates,"
			" started, duration_ms, error)"
			" SELECT $1, $2, $3, $4, $5, pg_catalog.min(t.commit_time),"
			" pg_catalog.max(t.commit_time),"
			" pg_catalog.count(*), COALESCE(pg_catalog.sum(t.inserts), 0),"
			" COALESCE(pg_catalog.sum(t.updates), 0), COALESCE(pg_catalog.sum(t.deletes), 0),"
			" COALESCE(pg_catalog.sum(t.truncates), 0), $6, 1000 * EXTRACT(epoch FROM"
			" pg_catalog.clock_timestamp() - $6), $7"
			" FROM %T t WHERE t.end_lsn > $4 AND t.end_lsn <= $5",
			wh_changelog_txn_relid(load->feed)),
		7, args);
	record_models(load, done);
}

/* record_models writes the rows itself: a load has one for each model of its feed. */
static void
record_models(const WhLoad *load, List *done)
{
	WhAppend *models = wh_changelog_append_open(wh_catalog_relid("load_model"));

	foreach_ptr(WhDone, model, done)
	{
		TupleTableSlot *slot = wh_changelog_append_next(models);

		if (slot->tts_tupleDescriptor->natts != LOAD_MODEL_COLUMNS)
			elog(ERROR, "walhouse.load_model has other columns");
		memset(slot->tts_isnull, false, sizeof(bool) * slot->tts_tupleDescriptor->natts);
		fill_model(slot->tts_values, slot->tts_isnull, load, model);
		wh_changelog_append_done(models);
	}
	wh_changelog_append_close(models);
	CommandCounterIncrement();
	wh_model_note_load(load->feed->id, load->id);
}

static void
fill_model(Datum *values, bool *nulls, const WhLoad *load, const WhDone *model)
{
	const WhCounts *counts = &model->counts;
	int i = 0;

	values[i++] = Int64GetDatum(load->id);
	values[i++] = Int32GetDatum(model->model_id);
	values[i++] = Int32GetDatum(model->definition);
	values[i++] = LSNGetDatum(model->from);
	values[i++] = LSNGetDatum(load->to);
	nulls[i] = !counts->read_known;
	values[i++] = Int64GetDatum(counts->rows_read);
	values[i++] = Int64GetDatum(counts->inserted);
	values[i++] = Int64GetDatum(counts->updated);
	values[i++] = Int64GetDatum(counts->deleted);
	values[i++] = Int64GetDatum(counts->inferred);
	values[i++] = Int64GetDatum(counts->rejected);
	values[i++] = Int64GetDatum(counts->opened);
	values[i++] = Int64GetDatum(counts->closed);
	values[i++] = Float8GetDatum(rint(model->duration_ms * 1000) / 1000);
	nulls[i] = nulls[i + 1] = nulls[i + 2] = counts->partitions == 0;
	values[i++] = Int32GetDatum(counts->partitions);
	values[i++] = TimestampGetDatum(counts->partitions_from);
	values[i++] = TimestampGetDatum(counts->partitions_to);
	nulls[i] = counts->gaps == 0;
	values[i++] = counts->gaps == 0 ? (Datum) 0 : gaps_of(counts);
	nulls[i] = counts->rows_read_of == 0;
	values[i++] = counts->rows_read_of;
	Assert(i == LOAD_MODEL_COLUMNS);
}

/* gaps_of makes a tsmultirange. */
static Datum
gaps_of(const WhCounts *counts)
{
	TypeCacheEntry *type = lookup_type_cache(TSMULTIRANGEOID, TYPECACHE_MULTIRANGE_INFO);
	RangeType *gaps[WH_MOST_GAPS];

	for (int i = 0; i < counts->gaps; i++)
	{
		RangeBound from = {.val = TimestampGetDatum(counts->gap[i].from),
						   .inclusive = true,
						   .lower = true};
		RangeBound to = {.val = TimestampGetDatum(counts->gap[i].to)};

		gaps[i] = wh_compat_make_range(type->rngtype, &from, &to);
	}
	return MultirangeTypePGetDatum(
		make_multirange(TSMULTIRANGEOID, type->rngtype, counts->gaps, gaps));
}

static XLogRecPtr
lowest_position(List *done, XLogRecPtr to)
{
	XLogRecPtr lowest = to;
	ListCell *cell;

	foreach(cell, done)
		lowest = Min(lowest, ((WhDone *) lfirst(cell))->from);
	return lowest;
}

bool
wh_load_is_system_error(const ErrorData *error)
{
	static const int classes[] = {
		ERRCODE_TRANSACTION_ROLLBACK,
		ERRCODE_INSUFFICIENT_RESOURCES,
		ERRCODE_OPERATOR_INTERVENTION,
		ERRCODE_SYSTEM_ERROR,
		ERRCODE_INTERNAL_ERROR,
	};

	for (int i = 0; i < lengthof(classes); i++)
	{
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_TO_CATEGORY(classes[i]))
			return true;
	}
	return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

char *
wh_load_error_text(const ErrorData *error)
{
	return error->detail != NULL ? psprintf("%s (%s)", error->message, error->detail) :
								   pstrdup(error->message);
}
