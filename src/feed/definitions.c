/*
 * definitions.c
 *		What a source transaction did to definitions, before its changes are ingested.
 *
 * Definitions are kept as they come.  A mirror follows one when a transaction that uses it, or
 * that left it, is about to be ingested, in a transaction of its own; the last one that a
 * transaction has of a table counts.  What cannot be followed puts that table in state resync.
 * Each change is written into walhouse.schema_change in the same transaction.
 *
 * A crash between this and the ingest leaves the mirror with a definition that is ahead of its
 * rows: the source sends the transaction again, and it finds the definition settled.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "feed/feed_private.h"
#include "wire/walhouse.pb-c.h"

static bool has_notes(const WhTransaction *txn);
static bool is_among(WhStream *stream, const WhDefinition *definition, List *schemas);
static bool is_latest(WhStream *stream, WhTransaction *txn, const WhDefinition *definition);
static void settle_definition(WhStream *stream, WhTransaction *txn, WhDefinition *definition);
static void settle_rewrite(WhStream *stream, const WhTransaction *txn,
						   const WhDefinition *definition);
static WhSchemaChange change_of(const WhTransaction *txn);
static void stop(WhStream *stream, const WhFeedTable *table, const char *reason);
static bool stop_namesake(WhStream *stream, WhDefinition *definition);
static void settle_gone(WhStream *stream, const WhTransaction *txn, Oid relid);
static void settle_partitions(WhStream *stream, const WhTransaction *txn);
static void note_partition(WhStream *stream, const WhTransaction *txn, const void *partitions,
						   const void *partition, bool is_attached);
static WhTarget *find_target(const WhStream *stream, Oid relid);
static char *from_utf8(const char *text);

bool
wh_stream_wants(const WhTransaction *txn, const WhDefinition *definition)
{
	return definition->target != NULL &&
		   wh_target_want(definition->target, txn->end_lsn) != WH_WANT_NOTHING;
}

bool
wh_stream_settle(WhStream *stream, WhTransaction *txn, bool only_look)
{
	bool done = false;

	foreach_int(schema, txn->schemas)
	{
		WhDefinition *definition = wh_stream_definition(stream, schema);

		if ((definition->is_settled &&
			 !is_among(stream, definition, txn->unsent)) ||
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
	if (has_notes(txn) && only_look)
		return true;
	if (has_notes(txn))
	{
		wh_lock_state(stream->feed->id);
		foreach_int(schema, txn->rewrites)
			settle_rewrite(stream, txn, wh_stream_definition(stream, schema));
		foreach_oid(relid, txn->gone)
			settle_gone(stream, txn, relid);
		settle_partitions(stream, txn);
		txn->is_settled = done = true;
	}
	if (done)
	{
		wh_txn_commit();
		wh_lock_ingest(stream->feed->id);
		wh_stream_load_targets(stream);
		foreach_int(schema, txn->schemas)
			wh_stream_definition(stream, schema)->is_settled = true;
	}
	return done;
}

static bool
has_notes(const WhTransaction *txn)
{
	return !txn->is_settled &&
		   (txn->rewrites != NIL || txn->gone != NIL || txn->partitions != NIL);
}

/* is_among says whether a definition's table is among those of a transaction's rewrites. */
static bool
is_among(WhStream *stream, const WhDefinition *definition, List *schemas)
{
	foreach_int(schema, schemas)
	{
		if (wh_stream_definition(stream, schema)->relid == definition->relid)
			return true;
	}
	return false;
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

/*
 * settle_definition follows a definition, or stops its table.  Of a table that is stopped already
 * it is noted alone; what a copy has done is not news.
 */
static void
settle_definition(WhStream *stream, WhTransaction *txn, WhDefinition *definition)
{
	const WhFeedTable *table = definition->target->table;
	Walhouse__V1__Relation *relation =
		walhouse__v1__relation__unpack(NULL, definition->packed.len, definition->packed.data);
	WhSourceTable *source = wh_relation_describe(relation, table);
	WhSchemaChange change = change_of(txn);

	walhouse__v1__relation__free_unpacked(relation, NULL);
	definition->is_settled = true;
	if (txn->end_lsn <= wh_target_begin(table))
		return;
	if (table->is_copied)
	{
		/* Nothing of it is logged yet: there is no history to tell of. */
		if (wh_changelog_evolve(stream->feed, table, source) != NULL)
			wh_copier_restart(table);
		else
			wh_changelog_store_definition(stream->feed->id, source);
		return;
	}
	if (!wh_stream_wants(txn, definition))
	{
		change.action = "nothing";
		change.reason = "the table waits to be copied again";
	}
	else if (is_among(stream, definition, txn->unsent) ||
			 (!table->has_mirror && is_among(stream, definition, txn->rewrites)))
		change.reason =
			"the table was written anew at the source, without its rows in the stream";
	else
		change.reason = wh_changelog_evolve(stream->feed, table, source);
	if (change.reason != NULL && change.action == NULL)
	{
		change.action = "resync";
		definition->target->is_ready = false;
		stop(stream, table,
			 psprintf("%s (source transaction %u at %X/%X)", change.reason, txn->xid,
					  LSN_FORMAT_ARGS(txn->end_lsn)));
	}
	wh_changelog_note_definition(table, source, &change);
}

/*
 * settle_rewrite notes that a table was written anew; whether that stops it was settled before.  A
 * copy begins anew: rows come with the keys that they have now, and nothing says which ones the
 * mirror has of them from before.
 */
static void
settle_rewrite(WhStream *stream, const WhTransaction *txn, const WhDefinition *definition)
{
	WhTarget *target = definition->target;
	WhSchemaChange change = change_of(txn);

	if (target == NULL || txn->end_lsn <= wh_target_begin(target->table))
		return;
	if (strcmp(target->table->state, "copy") == 0)
	{
		wh_copier_restart(target->table);
		return;
	}
	if (strcmp(target->table->state, "resync") == 0)
		change.action = "nothing";
	else if (!target->is_ready)
		change.action = "resync";
	wh_changelog_note_change(stream->feed->id, definition->relid, target->table->source_schema,
							 target->table->source_name, &change, "rewrite", NULL, NULL);
}

static WhSchemaChange
change_of(const WhTransaction *txn)
{
	return (WhSchemaChange){
		.lsn = txn->end_lsn, .xid = txn->xid, .commit_time = txn->commit_time};
}

static void
stop(WhStream *stream, const WhFeedTable *table, const char *reason)
{
	wh_changelog_set_table_state(table, "resync", InvalidXLogRecPtr, reason);
	ereport(WARNING,
			(errmsg("table \"%s\" of feed \"%s\" has to be copied again", table->source_name, stream->feed->name),
			 errdetail_internal("%s", reason),
			 errhint("CALL walhouse.resync_table(%s, %s).", wh_sql_literal(stream->feed->name),
					 wh_sql_literal(table->source_name))));
}

/* -------- tables that are gone -------- */

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
	char *schema = from_utf8(relation->namespace_);
	char *name = from_utf8(relation->name);
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
			 errhint("CALL walhouse.remove_table(%s, %s), and CALL walhouse.add_table with the same.",
					 wh_sql_literal(stream->feed->name),
					 wh_sql_literal(wh_sql("%I.%I", schema, name)))));
	return true;
}

/* settle_gone stops a table that the source has dropped, or does not publish any more. */
static void
settle_gone(WhStream *stream, const WhTransaction *txn, Oid relid)
{
	WhTarget *target = find_target(stream, relid);
	WhSchemaChange change = change_of(txn);
	const WhFeedTable *table;

	if (target == NULL || txn->end_lsn <= wh_target_begin(target->table))
		return;
	table = target->table;
	if (strcmp(table->state, "copy") == 0)
	{
		wh_copier_restart(table); /* which says why it cannot begin */
		return;
	}
	change.action = "ended";
	change.reason = "the table was dropped at the source, or left the publication";
	wh_changelog_note_change(table->feed_id, relid, table->source_schema, table->source_name,
							 &change, "drop table", table->source_name, NULL);
	wh_changelog_set_table_state(table, "resync", InvalidXLogRecPtr, change.reason);
	ereport(WARNING,
			(errmsg("table \"%s\" of feed \"%s\" has ended", table->source_name, stream->feed->name),
			 errdetail("At %X/%X it was dropped at the source, or left the publication. Its mirror keeps what it had.",
					   LSN_FORMAT_ARGS(txn->end_lsn)),
			 errhint("If it was added to the publication again: CALL walhouse.resync_table(%s, %s). If it was made anew: walhouse.remove_table and walhouse.add_table, with the same arguments.",
					 wh_sql_literal(stream->feed->name), wh_sql_literal(table->source_name))));
}

/* -------- partitions that come and go -------- */

/* settle_partitions notes them, and warns of those whose rows are not followed, and of those that
 * are no longer their table's. */
static void
settle_partitions(WhStream *stream, const WhTransaction *txn)
{
	foreach_ptr(WhSlice, payload, txn->partitions)
	{
		Walhouse__V1__Partitions *partitions =
			walhouse__v1__partitions__unpack(NULL, payload->len, payload->data);

		for (size_t i = 0; i < partitions->n_attached; i++)
			note_partition(stream, txn, partitions, partitions->attached[i], true);
		for (size_t i = 0; i < partitions->n_detached; i++)
			note_partition(stream, txn, partitions, partitions->detached[i], false);
		walhouse__v1__partitions__free_unpacked(partitions, NULL);
	}
}

static void
note_partition(WhStream *stream, const WhTransaction *txn, const void *from, const void *of,
			   bool is_attached)
{
	const Walhouse__V1__Partitions *partitions = from;
	const Walhouse__V1__TableName *partition = of;
	const WhTarget *target = find_target(stream, partition->relid);
	const char *parent = from_utf8(partitions->name);
	const char *name = target != NULL && partition->name[0] == '\0' ?
						   target->table->source_name :
						   from_utf8(partition->name);
	WhSchemaChange change = change_of(txn);

	change.action = "nothing";
	if (is_attached && target == NULL)
	{
		change.reason = "the feed does not follow it";
		ereport(WARNING,
				(errmsg("feed \"%s\" does not follow partition \"%s\", which table \"%s\" has got", stream->feed->name, name, parent),
				 errhint("CALL walhouse.add_table(%s, %s) takes it in.",
						 wh_sql_literal(stream->feed->name),
						 wh_sql_literal(wh_sql("%I.%I", from_utf8(partition->namespace_), name)))));
	}
	else if (!is_attached && target != NULL)
	{
		change.reason = "its mirror keeps its rows";
		ereport(WARNING,
				(errmsg("feed \"%s\" keeps the rows of a partition that table \"%s\" has lost", stream->feed->name, parent),
				 errdetail("The mirror of source table %u stays as it is.", partition->relid)));
	}
	wh_changelog_note_change(stream->feed->id, partitions->relid,
							 from_utf8(partitions->namespace_), parent, &change,
							 is_attached ? "attach partition" : "detach partition",
							 is_attached ? NULL : name, is_attached ? name : NULL);
}

static WhTarget *
find_target(const WhStream *stream, Oid relid)
{
	foreach_ptr(WhTarget, target, stream->targets)
	{
		if (target->table->source_relid == relid)
			return target;
	}
	return NULL;
}

static char *
from_utf8(const char *text)
{
	return pstrdup(pg_any_to_server(text, strlen(text), PG_UTF8));
}
