/*
 * batch.c
 *		From transactions of the source to one ingest transaction here.
 *
 * Definitions are kept as they come; a mirror follows one when a transaction that uses it is
 * about to be ingested, in a transaction of its own, and whatever came before is ingested first.
 * Log partitions are made the same way.  An error that belongs to one table puts that table in
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

static void load_targets(WhStream *stream);
static List *choose_batch(WhStream *stream);
static bool settle(WhStream *stream, WhTransaction *txn, bool only_look);
static bool stop_namesake(WhStream *stream, WhDefinition *definition);
static bool is_latest(WhStream *stream, WhTransaction *txn, const WhDefinition *definition);
static void settle_definition(WhStream *stream, WhTransaction *txn, WhDefinition *definition);
static bool is_rewritten(WhStream *stream, WhTransaction *txn, const WhDefinition *definition);
static void look_up_defaults(WhStream *stream, const WhTarget *target, WhSourceTable *source);
static void make_partitions(WhStream *stream, List *transactions);
static bool make_partition(WhStream *stream, WhTarget *target, XLogRecPtr lsn);
static bool ingest(WhStream *stream, List *transactions);
static bool stop_table(WhStream *stream, WhTarget *target, ErrorData *error);
static void commit_position(WhStream *stream, XLogRecPtr position, TimestampTz clock);
static void tell_partitions(WhStream *stream, const WhTransaction *txn);
static bool is_followed(const WhStream *stream, Oid relid);
static void drop_ingested(WhStream *stream, int count);
static bool wants(const WhTransaction *txn, const WhDefinition *definition);
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

/* load_targets reads the feed's tables again when the catalog changed; definitions are to be
 * looked at again then. */
static void
load_targets(WhStream *stream)
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

/* wants says whether a transaction's changes under a definition are to be ingested. */
static bool
wants(const WhTransaction *txn, const WhDefinition *definition)
{
	return definition->target != NULL &&
		   wh_target_want(definition->target, txn->end_lsn) != WH_WANT_NOTHING;
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
		load_targets(stream);
		if (settle(stream, linitial(stream->complete), false))
			load_targets(stream);
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
		if (batch != NIL && (wh_spool_is_large(txn) || settle(stream, txn, true)))
			break;
		batch = lappend(batch, txn);
		if (wh_spool_is_large(txn))
			break;
	}
	return batch;
}

/*
 * settle brings mirrors to the definitions that a transaction uses, the last one of each table;
 * true when something was committed for it, or, with only_look, when something would have to be
 * looked at.
 */
static bool
settle(WhStream *stream, WhTransaction *txn, bool only_look)
{
	bool done = false;

	foreach_int(schema, txn->schemas)
	{
		WhDefinition *definition = wh_stream_definition(stream, schema);

		if ((definition->is_settled && !is_rewritten(stream, txn, definition)) ||
			(definition->target != NULL && !wants(txn, definition)) ||
			!is_latest(stream, txn, definition))
			continue;
		if (only_look)
			return true;
		wh_lock_state(stream->feed->id);
		if (definition->target == NULL)
		{
			done = stop_namesake(stream, definition) || done;
			continue;
		}
		settle_definition(stream, txn, definition);
		done = true;
	}
	if (done)
	{
		wh_txn_commit();
		wh_lock_ingest(stream->feed->id);
		load_targets(stream);
		foreach_int(schema, txn->schemas)
			wh_stream_definition(stream, schema)->is_settled = true;
	}
	return done;
}

/*
 * stop_namesake stops the table whose name a table has that is not the feed's, if the source does
 * not have the feed's any more: it was dropped and made again, and its mirror would stay behind
 * in silence.
 */
static bool
stop_namesake(WhStream *stream, WhDefinition *definition)
{
	Walhouse__V1__Relation *relation =
		walhouse__v1__relation__unpack(NULL, definition->packed.len, definition->packed.data);
	char *schema = pg_any_to_server(relation->namespace_, strlen(relation->namespace_), PG_UTF8);
	char *name = pg_any_to_server(relation->name, strlen(relation->name), PG_UTF8);
	WhTarget *found = NULL;
	WhResult *result;
	PGconn *plain;

	foreach_ptr(WhTarget, target, stream->targets)
	{
		if (target->is_ready && strcmp(target->table->source_schema, schema) == 0 &&
			strcmp(target->table->source_name, name) == 0)
			found = target;
	}
	walhouse__v1__relation__free_unpacked(relation, NULL);
	definition->is_settled = true;
	if (found == NULL)
		return false;
	plain = wh_connect(stream->feed, false);
	result = wh_source_query(plain, wh_sql("SELECT 1 FROM pg_catalog.pg_class WHERE oid = %u",
										   found->table->source_relid));
	wh_disconnect(plain);
	if (result->rows > 0)
		return false;
	wh_changelog_set_table_state(found->table, "resync", InvalidXLogRecPtr,
								 "the table was dropped at the source, and made again");
	ereport(WARNING,
			(errmsg("table \"%s\" of feed \"%s\" was dropped at the source, and made again", found->table->source_name,
					stream->feed->name),
			 errdetail("Its mirror keeps what it had, and does not follow the new table."),
			 errhint("CALL walhouse.drop_feed(%s) and create the feed again.",
					 wh_sql_literal(stream->feed->name))));
	return true;
}

/* is_latest says whether a definition is the last one of its table that a transaction uses. */
static bool
is_latest(WhStream *stream, WhTransaction *txn, const WhDefinition *definition)
{
	bool is_later = false;

	foreach_int(schema, txn->schemas)
	{
		if (is_later && wh_stream_definition(stream, schema)->relid == definition->relid)
			return false;
		is_later = is_later || schema == definition->schema;
	}
	return true;
}

static void
settle_definition(WhStream *stream, WhTransaction *txn, WhDefinition *definition)
{
	const WhTarget *target = definition->target;
	Walhouse__V1__Relation *relation =
		walhouse__v1__relation__unpack(NULL, definition->packed.len, definition->packed.data);
	WhSourceTable *source = wh_relation_describe(relation, target->table);
	char *reason;

	walhouse__v1__relation__free_unpacked(relation, NULL);
	if (is_rewritten(stream, txn, definition))
		reason =
			pstrdup("the table was written anew at the source, without its rows in the stream");
	else
	{
		look_up_defaults(stream, target, source);
		reason = wh_changelog_evolve(stream->feed, target->table, source);
	}
	if (reason == NULL)
		return;
	reason = psprintf("%s (source transaction %u at %X/%X)", reason, txn->xid,
					  LSN_FORMAT_ARGS(txn->end_lsn));
	wh_changelog_set_table_state(target->table, "resync", InvalidXLogRecPtr, reason);
	ereport(WARNING,
			(errmsg("table \"%s\" of feed \"%s\" has to be copied again", target->table->source_name, stream->feed->name),
			 errdetail_internal("%s", reason),
			 errhint("CALL walhouse.resync_table(%s, %s).", wh_sql_literal(stream->feed->name),
					 wh_sql_literal(target->table->source_name))));
}

static bool
is_rewritten(WhStream *stream, WhTransaction *txn, const WhDefinition *definition)
{
	foreach_int(schema, txn->rewrites)
	{
		if (wh_stream_definition(stream, schema)->relid == definition->relid)
			return true;
	}
	return false;
}

/*
 * look_up_defaults asks the source about columns that are new and have no value for older rows:
 * with a default, those rows were rewritten with values that the stream does not carry.
 */
static void
look_up_defaults(WhStream *stream, const WhTarget *target, WhSourceTable *source)
{
	PGconn *plain = NULL;

	foreach_ptr(WhSourceColumn, column, source->columns)
	{
		bool is_new =
			column->attnum > target->max_attnum || target->mirror_attno[column->attnum] < 0;
		WhResult *result;

		if (!is_new || column->missing_default != NULL)
			continue;
		if (plain == NULL)
			plain = wh_connect(stream->feed, false);
		result = wh_source_query(
			plain,
			wh_sql("SELECT 1 FROM pg_catalog.pg_attribute WHERE attrelid = %u AND attnum = %d"
				   " AND NOT attisdropped AND NOT atthasdef AND attidentity = ''",
				   source->relid, column->attnum));
		column->has_default = result->rows == 0;
	}
	if (plain != NULL)
		wh_disconnect(plain);
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

			if (wants(txn, definition))
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

		tell_partitions(stream, txn);
		stream->complete_changes -= txn->changes;
		stream->complete_bytes -= txn->bytes;
		wh_spool_free(txn);
	}
	stream->complete = list_delete_first_n(stream->complete, count);
	stream->complete_since = GetCurrentTimestamp();
}

/*
 * tell_partitions warns of partitions whose rows are not followed, and of those that are no
 * longer their table's: neither sends rows.
 */
static void
tell_partitions(WhStream *stream, const WhTransaction *txn)
{
	foreach_ptr(WhSlice, payload, txn->partitions)
	{
		Walhouse__V1__Partitions *partitions =
			walhouse__v1__partitions__unpack(NULL, payload->len, payload->data);

		for (size_t i = 0; i < partitions->n_attached; i++)
		{
			if (is_followed(stream, partitions->attached[i]->relid))
				continue;
			ereport(WARNING,
					(errmsg("feed \"%s\" does not follow partition \"%s\", which table \"%s\" has got", stream->feed->name,
							partitions->attached[i]->name, partitions->name),
					 errhint("CALL walhouse.drop_feed(%s) and create the feed again takes it in.",
							 wh_sql_literal(stream->feed->name))));
		}
		for (size_t i = 0; i < partitions->n_detached; i++)
		{
			if (!is_followed(stream, partitions->detached[i]->relid))
				continue;
			ereport(WARNING,
					(errmsg("feed \"%s\" keeps the rows of a partition that table \"%s\" has lost", stream->feed->name,
							partitions->name),
					 errdetail("The mirror of source table %u stays as it is.",
							   partitions->detached[i]->relid)));
		}
		walhouse__v1__partitions__free_unpacked(partitions, NULL);
	}
}

static bool
is_followed(const WhStream *stream, Oid relid)
{
	foreach_ptr(WhTarget, target, stream->targets)
	{
		if (target->table->source_relid == relid)
			return true;
	}
	return false;
}
