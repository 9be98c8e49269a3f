/*
 * batch.c
 *		From transactions of the source to one ingest transaction here.
 *
 * What a source transaction changed of definitions is settled before it is ingested, in a
 * transaction of its own, and whatever came before is ingested first (definitions.c).  Log
 * partitions are made the same way.  An error that belongs to one table puts that table in
 * state resync and the ingest is done again without it, so that the feed goes on.
 *
 * A transaction takes: the state lock, then everything else.  It shares the lock with loads, but
 * where a mirror follows a definition.  While the network is waited for, none is held.
 */
#include "postgres.h"

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "feed/feed_private.h"
#include "wire/walhouse.pb-c.h"

#define PRUNE_EVERY 64

static List *choose_batch(WhStream *stream);
static void make_partitions(WhStream *stream, List *transactions);
static bool make_partition(WhStream *stream, WhTarget *target, XLogRecPtr lsn);
static bool ingest(WhStream *stream, List *transactions);
static bool stop_table(WhStream *stream, WhTarget *target, ErrorData *error);
static void commit_position(WhStream *stream, XLogRecPtr position, TimestampTz clock);
static void drop_ingested(WhStream *stream, int count);
pg_noreturn static void malformed(const char *what);

/* -------- definitions -------- */

WhDefinition *
wh_stream_definition(void *arg, int32 schema)
{
	WhStream *stream = arg;
	WhDefinition *definition = hash_search(stream->definitions, &schema, HASH_FIND, NULL);

	if (definition == NULL)
		malformed("changes of a relation that was not described");
	return definition;
}

static void
malformed(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("malformed message of the source: %s", what)));
}

/* -------- targets -------- */

void
wh_stream_load_targets(WhStream *stream)
{
	HASH_SEQ_STATUS scan;
	WhDefinition *definition;
	MemoryContext old;
	uint64 generation = wh_changelog_generation();

	if (stream->targets != NIL && generation == stream->generation)
		return;
	MemoryContextReset(stream->target_context);
	old = MemoryContextSwitchTo(stream->target_context);
	stream->targets = wh_target_open_all(stream->feed);
	MemoryContextSwitchTo(old);
	stream->generation = generation;
	hash_seq_init(&scan, stream->definitions);
	while ((definition = hash_seq_search(&scan)) != NULL)
		wh_stream_connect_definition(stream, definition);
}

void
wh_stream_connect_definition(WhStream *stream, WhDefinition *definition)
{
	definition->target = NULL;
	definition->reader = NULL;
	definition->is_settled = false;
	foreach_ptr(WhTarget, target, stream->targets)
	{
		if (target->table->source_relid == definition->relid)
			definition->target = target;
	}
}

/* -------- ingest -------- */

void
wh_stream_ingest(WhStream *stream)
{
	MemoryContext work =
		AllocSetContextCreate(CurrentMemoryContext, "walhouse batch", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(work);
	List *batch;

	do
	{
		wh_lock_ingest(stream->feed->id);
		AcceptInvalidationMessages();
		wh_stream_load_targets(stream);
		if (wh_stream_settle(stream, linitial(stream->complete), false))
			wh_stream_load_targets(stream);
		batch = choose_batch(stream);
		make_partitions(stream, batch);
	} while (!ingest(stream, batch));
	drop_ingested(stream, list_length(batch));
	MemoryContextSwitchTo(old);
	MemoryContextDelete(work);
}

/*
 * choose_batch takes the first transaction, and those after it that can go with it: none is
 * large, and all fit mirrors as they are.
 */
static List *
choose_batch(WhStream *stream)
{
	List *batch = NIL;

	foreach_ptr(WhTransaction, txn, stream->complete)
	{
		if (batch != NIL && (wh_spool_is_large(txn) || wh_stream_settle(stream, txn, true)))
			break;
		batch = lappend(batch, txn);
		if (wh_spool_is_large(txn))
			break;
	}
	return batch;
}

/* make_partitions makes the log partitions that a batch needs, in short transactions, and keeps
 * the state lock. */
static void
make_partitions(WhStream *stream, List *transactions)
{
	bool made = false;

	foreach_ptr(WhTarget, target, stream->targets)
		target->partition_from = target->partition_to = InvalidXLogRecPtr;
	foreach_ptr(WhTransaction, txn, transactions)
	{
		foreach_int(schema, txn->schemas)
		{
			WhDefinition *definition = wh_stream_definition(stream, schema);

			if (wh_stream_wants(txn, definition))
				made = make_partition(stream, definition->target, txn->end_lsn) || made;
		}
	}
	if (made)
	{
		wh_txn_commit();
		wh_lock_ingest(stream->feed->id);
	}
}

/* make_partition makes a log's partition for an LSN; false when it is there. */
static bool
make_partition(WhStream *stream, WhTarget *target, XLogRecPtr lsn)
{
	Oid log = target->table->log;

	if (lsn >= target->partition_from && lsn < target->partition_to)
		return false;
	wh_changelog_partition_range(stream->feed, lsn, &target->partition_from,
								 &target->partition_to);
	if (OidIsValid(wh_changelog_partition(stream->feed, log, lsn)))
		return false;
	wh_changelog_make_partition(stream->feed, log, lsn);
	CommandCounterIncrement();
	return true;
}

/*
 * ingest writes a batch and its position; false when it has to be done again, because a table was
 * stopped or the catalog changed meanwhile.  Either way the transaction has ended.
 */
static bool
ingest(WhStream *stream, List *transactions)
{
	WhIngest work = {
		.feed = stream->feed,
		.transactions = transactions,
		.definition = wh_stream_definition,
		.stream = stream,
		.breathe = wh_stream_breathe,
		.source_encoding = stream->source_encoding,
		.chunk = stream->chunk,
		.clock = stream->clock,
		.ahead = wh_ahead_of(stream),
		.source_time = stream->source_time};
	WhTransaction *last = llast(transactions);
	ErrorData *error;

	AcceptInvalidationMessages();
	if (wh_changelog_generation() != stream->generation)
	{
		wh_txn_commit();
		return false;
	}
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	if (!wh_txn_try(wh_ingest, &work, &error))
	{
		if (!stop_table(stream, work.current, error))
			ReThrowError(error);
		wh_txn_commit();
		return false;
	}
	commit_position(stream, last->end_lsn, work.clock);
	return true;
}

/* stop_table puts the table that an error belongs to in state resync; false when the error is not
 * a table's. */
static bool
stop_table(WhStream *stream, WhTarget *target, ErrorData *error)
{
	int category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	if (target == NULL || error->sqlerrcode == ERRCODE_PROTOCOL_VIOLATION ||
		error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		category == ERRCODE_CONNECTION_EXCEPTION || category == ERRCODE_TRANSACTION_ROLLBACK ||
		category == ERRCODE_INSUFFICIENT_RESOURCES || category == ERRCODE_OPERATOR_INTERVENTION ||
		category == ERRCODE_SYSTEM_ERROR || category == ERRCODE_INTERNAL_ERROR)
		return false;
	wh_changelog_set_table_state(target->table, "resync", InvalidXLogRecPtr,
								 error->detail != NULL ?
									 psprintf("%s: %s", error->message, error->detail) :
									 error->message);
	if (error->sqlerrcode == ERRCODE_NO_DATA_FOUND || error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION)
		wh_changelog_set_strayed(target->table, true);
	ereport(WARNING,
			(errmsg("table \"%s\" of feed \"%s\" has to be copied again", target->table->source_name, stream->feed->name),
			 errdetail_internal("%s", error->message),
			 errhint("CALL walhouse.resync_table(%s, %s).", wh_sql_literal(stream->feed->name),
					 wh_sql_literal(target->table->source_name))));
	return true;
}

static void
commit_position(WhStream *stream, XLogRecPtr position, TimestampTz clock)
{
	clock = wh_ahead_clock(stream->ahead, position, clock);
	wh_changelog_store_position(stream->feed->id, position, clock);
	if (++stream->ingests % PRUNE_EVERY == 0)
	{
		wh_changelog_prune_positions(stream->feed->id, stream->pruned, position);
		stream->pruned = position;
	}
	wh_txn_commit();
	stream->clock = clock;
	wh_stream_note_commit(stream, position);
}

void
wh_stream_store_idle(WhStream *stream)
{
	XLogRecPtr lsn = stream->idle_lsn;

	wh_lock_ingest(stream->feed->id);
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	commit_position(stream, lsn, stream->clock);
	stream->idle_stored_at = GetCurrentTimestamp();
}

static void
drop_ingested(WhStream *stream, int count)
{
	for (int i = 0; i < count; i++)
	{
		WhTransaction *txn = list_nth(stream->complete, i);

		stream->complete_changes -= txn->changes;
		stream->complete_bytes -= txn->bytes;
		wh_spool_free(txn);
	}
	stream->complete = list_delete_first_n(stream->complete, count);
	stream->complete_since = GetCurrentTimestamp();
}
