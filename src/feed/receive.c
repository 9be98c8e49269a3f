/*
 * receive.c
 *		Messages of the stream to source transactions, whole and in commit order.
 *
 * A transaction comes whole, from Begin to Commit, or streamed while it is still open, in segments
 * between StreamStart and StreamStop; segments of several may take turns.  Either kind is spooled
 * as it comes, message by message, until its commit is there: then it is complete, in the order of
 * the commits, and whoever ingests sees no difference.
 *
 * What the transactions have in memory together is bounded by walhouse.feed_memory: above it the
 * largest open one goes to its file.
 *
 * A subtransaction that aborts makes its rows void.  Each one's xid is kept, four bytes; the rows
 * are passed over when they are read.  What a transaction is about (definitions, TRUNCATEs) is
 * gathered as its messages come, and again, from the spool, if some of it turned out to be void: so
 * the definitions of DDL that was rolled back are known by their ids, and touch nothing.
 *
 * A session begins with Hello: what was open before, and what was not ingested, is sent again.
 */
#include "postgres.h"

#include "common/string.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "feed/feed_private.h"
#include "wire/walhouse.pb-c.h"

#define UNIX_TO_PG_USECS ((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

static void take_entry(WhStream *stream, const WhEntry *entry, WhTransaction **owner);
static void take_hello(WhStream *stream, WhSlice payload);
static void take_relation(WhStream *stream, WhSlice payload);
static void take_begin(WhStream *stream, const WhWireBegin *begin);
static void take_stream_start(WhStream *stream, const WhWireStream *start);
static void take_stream_abort(WhStream *stream, const WhWireStream *abort);
static void take_commit(WhStream *stream, const WhWireCommit *commit);
static void take_stream_commit(WhStream *stream, const WhWireCommit *commit);
static void note_commit(WhStream *stream, WhTransaction *txn, const WhWireCommit *commit);
static void note_entry(WhTransaction *txn, const WhEntry *entry);
static void note_truncate(WhTransaction *txn, WhSlice payload);
static void note_rewrite(WhTransaction *txn, WhSlice payload);
static void note_altered(WhTransaction *txn, WhSlice payload);
static void note_partitions(WhTransaction *txn, WhSlice payload);
static void note_message(WhTransaction *txn, WhSlice payload);
static char *message_text(const WhTransaction *txn, const uint8_t *data, int len);
static void note_schema(WhTransaction *txn, int32 schema);
static void note_origin(WhTransaction *txn, WhSlice origin);
static void review(WhTransaction *txn);
static void complete(WhStream *stream, WhTransaction *txn);
static void limit_memory(WhStream *stream);
static WhTransaction *find_open(WhStream *stream, uint32 xid);
static void remove_open(WhStream *stream, WhTransaction *txn);
pg_noreturn static void malformed(const char *what);

void
wh_stream_take_message(WhStream *stream, char *buffer, int start, int len)
{
	WhSlice rest = {(const uint8_t *) buffer + start, len};
	WhEntry entry;
	WhWireError error = NULL;
	WhTransaction *owner = stream->current;
	bool is_complete = false;

	if (!wh_wire_inflate(&rest, &stream->inflated, &error))
		malformed(error);
	while (wh_wire_next_entry(&rest, &entry, &error))
	{
		take_entry(stream, &entry, &owner);
		is_complete = is_complete || entry.kind == WH_ENTRY_COMMIT;
	}
	if (error != NULL)
		malformed(error);
	if (owner != NULL)
		wh_spool_add(owner, buffer, start, len);
	else
		PQfreemem(buffer);
	if (is_complete)
		complete(stream, owner);
	else
		limit_memory(stream);
}

/* take_entry takes an entry; *owner becomes the transaction that the message belongs to. */
static void
take_entry(WhStream *stream, const WhEntry *entry, WhTransaction **owner)
{
	switch (entry->kind)
	{
		case WH_ENTRY_HELLO:
			take_hello(stream, entry->payload);
			*owner = NULL;
			break;
		case WH_ENTRY_BEGIN:
			take_begin(stream, &entry->u.begin);
			*owner = stream->current;
			break;
		case WH_ENTRY_COMMIT:
			take_commit(stream, &entry->u.commit);
			break;
		case WH_ENTRY_STREAM_START:
			take_stream_start(stream, &entry->u.stream);
			*owner = stream->current;
			break;
		case WH_ENTRY_STREAM_STOP:
			if (stream->current == NULL || !stream->current->is_streamed ||
				stream->current->xid != entry->u.stream.xid)
				malformed("end of a segment that has not begun");
			stream->current = NULL;
			break;
		case WH_ENTRY_STREAM_ABORT:
			if (*owner != NULL)
				malformed("an abort within a transaction");
			take_stream_abort(stream, &entry->u.stream);
			break;
		case WH_ENTRY_STREAM_COMMIT:
			if (*owner != NULL)
				malformed("a commit within another transaction");
			take_stream_commit(stream, &entry->u.commit);
			break;
		case WH_ENTRY_PREPARE:
		case WH_ENTRY_STREAM_PREPARE:
		case WH_ENTRY_COMMIT_PREPARED:
		case WH_ENTRY_ROLLBACK_PREPARED:
			malformed("a prepared transaction, which was not asked for");
			break;
		case WH_ENTRY_RELATION:
			take_relation(stream, entry->payload);
			break;
		case WH_ENTRY_ROWS:
		case WH_ENTRY_TRUNCATE:
		case WH_ENTRY_REWRITE:
		case WH_ENTRY_PARTITIONS:
		case WH_ENTRY_ALTERED:
			if (stream->current == NULL)
				malformed("changes outside a transaction");
			note_entry(stream->current, entry);
			break;
		case WH_ENTRY_CHUNK:
			if (stream->current == NULL)
				malformed("changes outside a transaction");
			break;
		case WH_ENTRY_MESSAGE:
			if (stream->current != NULL)
				note_entry(stream->current, entry);
			break;
		case WH_ENTRY_UNKNOWN:
			break;
	}
}

/* -------- the session -------- */

static void
take_hello(WhStream *stream, WhSlice payload)
{
	Walhouse__V1__Hello *hello = walhouse__v1__hello__unpack(NULL, payload.len, payload.data);
	HASH_SEQ_STATUS scan;
	WhDefinition *definition;

	if (hello == NULL)
		malformed("hello");
	wh_stream_discard(stream);
	hash_seq_init(&scan, stream->definitions);
	while ((definition = hash_seq_search(&scan)) != NULL)
		hash_search(stream->definitions, &definition->schema, HASH_REMOVE, NULL);
	stream->source_encoding = pg_char_to_encoding(hello->encoding);
	walhouse__v1__hello__free_unpacked(hello, NULL);
}

void
wh_stream_discard(WhStream *stream)
{
	if (stream->current != NULL && !stream->current->is_streamed)
		wh_spool_free(stream->current);
	foreach_ptr(WhTransaction, txn, stream->open)
		wh_spool_free(txn);
	foreach_ptr(WhTransaction, txn, stream->complete)
		wh_spool_free(txn);
	stream->current = NULL;
	stream->open = stream->complete = NIL;
	stream->complete_changes = 0;
	stream->complete_bytes = 0;
}

/* take_relation keeps a definition; ids are never reused in a session. */
static void
take_relation(WhStream *stream, WhSlice payload)
{
	Walhouse__V1__Relation *relation =
		walhouse__v1__relation__unpack(NULL, payload.len, payload.data);
	WhDefinition *definition;
	uint8_t *copy;
	int32 schema;
	Oid relid;

	if (relation == NULL)
		malformed("relation");
	schema = relation->schema;
	relid = relation->relid;
	walhouse__v1__relation__free_unpacked(relation, NULL);
	copy = MemoryContextAlloc(stream->context, payload.len + 1);
	memcpy(copy, payload.data, payload.len);
	definition = hash_search(stream->definitions, &schema, HASH_ENTER, NULL);
	memset((char *) definition + sizeof(int32), 0, sizeof(*definition) - sizeof(int32));
	definition->relid = relid;
	definition->packed.data = copy;
	definition->packed.len = payload.len;
	wh_stream_connect_definition(stream, definition);
}

/* -------- beginnings and ends -------- */

static void
take_begin(WhStream *stream, const WhWireBegin *begin)
{
	if (stream->current != NULL)
		malformed("begin within a transaction");
	stream->current = wh_spool_begin(stream);
	stream->current->xid = begin->xid;
	note_origin(stream->current, begin->origin);
}

static void
take_commit(WhStream *stream, const WhWireCommit *commit)
{
	WhTransaction *txn = stream->current;

	if (txn == NULL || txn->is_streamed)
		malformed("commit without begin");
	note_commit(stream, txn, commit);
	stream->current = NULL;
}

static void
take_stream_start(WhStream *stream, const WhWireStream *start)
{
	WhTransaction *txn = find_open(stream, start->xid);
	MemoryContext old;

	if (stream->current != NULL)
		malformed("a segment within a transaction");
	if ((txn == NULL) != start->is_first)
		malformed("a segment that is not the next one of its transaction");
	if (txn == NULL)
	{
		txn = wh_spool_begin(stream);
		txn->xid = start->xid;
		txn->is_streamed = true;
		note_origin(txn, start->origin);
		old = MemoryContextSwitchTo(stream->context);
		stream->open = lappend(stream->open, txn);
		MemoryContextSwitchTo(old);
		stream->streamed++;
	}
	stream->current = txn;
}

/* take_stream_abort: of a transaction that is not here, nothing was streamed. */
static void
take_stream_abort(WhStream *stream, const WhWireStream *abort)
{
	WhTransaction *txn = find_open(stream, abort->xid);

	if (txn == NULL)
		return;
	if (abort->subxid != abort->xid)
	{
		wh_spool_void(txn, abort->subxid);
		return;
	}
	remove_open(stream, txn);
	wh_spool_free(txn);
}

static void
take_stream_commit(WhStream *stream, const WhWireCommit *commit)
{
	WhTransaction *txn = find_open(stream, commit->xid);

	if (txn == NULL)
		malformed("commit of a transaction that was not streamed");
	remove_open(stream, txn);
	note_commit(stream, txn, commit);
	complete(stream, txn);
}

static void
note_commit(WhStream *stream, WhTransaction *txn, const WhWireCommit *commit)
{
	uint8_t *tallies = MemoryContextAlloc(txn->context, commit->tallies.len + 1);

	memcpy(tallies, commit->tallies.data, commit->tallies.len);
	txn->tallies.data = tallies;
	txn->tallies.len = commit->tallies.len;
	txn->told_changes = commit->changes;
	txn->is_complete = true;
	txn->end_lsn = wh_feed_lsn(stream->feed, commit->end_lsn);
	txn->commit_time = commit->commit_time - UNIX_TO_PG_USECS;
}

/* complete queues a transaction whose commit came; one that the position covers already is
 * dropped whole. */
static void
complete(WhStream *stream, WhTransaction *txn)
{
	MemoryContext old;

	if (txn->end_lsn <= stream->position)
	{
		wh_spool_free(txn);
		return;
	}
	if (txn->void_count > 0)
		review(txn);
	if (stream->complete == NIL)
		stream->complete_since = GetCurrentTimestamp();
	old = MemoryContextSwitchTo(stream->context);
	stream->complete = lappend(stream->complete, txn);
	MemoryContextSwitchTo(old);
	stream->complete_changes += txn->changes;
	stream->complete_bytes += txn->bytes;
}

/* -------- what a transaction is about -------- */

static void
note_entry(WhTransaction *txn, const WhEntry *entry)
{
	if (entry->kind == WH_ENTRY_TRUNCATE)
		note_truncate(txn, entry->payload);
	else if (entry->kind == WH_ENTRY_REWRITE)
		note_rewrite(txn, entry->payload);
	else if (entry->kind == WH_ENTRY_ALTERED)
		note_altered(txn, entry->payload);
	else if (entry->kind == WH_ENTRY_PARTITIONS)
		note_partitions(txn, entry->payload);
	else if (entry->kind == WH_ENTRY_MESSAGE)
		note_message(txn, entry->payload);
	else if (entry->kind == WH_ENTRY_ROWS && !wh_spool_is_void(txn, entry->u.rows.subxid))
	{
		note_schema(txn, entry->u.rows.schema);
		txn->changes += entry->u.rows.changes;
	}
}

static void
note_truncate(WhTransaction *txn, WhSlice payload)
{
	Walhouse__V1__Truncate *truncate =
		walhouse__v1__truncate__unpack(NULL, payload.len, payload.data);

	if (truncate == NULL)
		malformed("truncate");
	if (!wh_spool_is_void(txn, truncate->subxid))
	{
		for (size_t i = 0; i < truncate->n_schema; i++)
			note_schema(txn, truncate->schema[i]);
		txn->has_truncate = true;
		txn->changes++;
	}
	walhouse__v1__truncate__free_unpacked(truncate, NULL);
}

static void
note_rewrite(WhTransaction *txn, WhSlice payload)
{
	Walhouse__V1__Rewrite *rewrite =
		walhouse__v1__rewrite__unpack(NULL, payload.len, payload.data);
	MemoryContext old;

	if (rewrite == NULL)
		malformed("rewrite");
	if (!wh_spool_is_void(txn, rewrite->subxid))
	{
		note_schema(txn, rewrite->schema);
		old = MemoryContextSwitchTo(txn->context);
		txn->rewrites = list_append_unique_int(txn->rewrites, rewrite->schema);
		if (!rewrite->has_rows_follow || !rewrite->rows_follow)
			txn->unsent = list_append_unique_int(txn->unsent, rewrite->schema);
		MemoryContextSwitchTo(old);
	}
	walhouse__v1__rewrite__free_unpacked(rewrite, NULL);
}

/* note_altered notes the definition that a transaction has left of a table, or that there is none.
 */
static void
note_altered(WhTransaction *txn, WhSlice payload)
{
	Walhouse__V1__Altered *altered =
		walhouse__v1__altered__unpack(NULL, payload.len, payload.data);
	MemoryContext old;

	if (altered == NULL)
		malformed("altered");
	if (!wh_spool_is_void(txn, altered->subxid))
	{
		if (altered->has_schema)
			note_schema(txn, altered->schema);
		else
		{
			old = MemoryContextSwitchTo(txn->context);
			txn->gone = list_append_unique_oid(txn->gone, altered->relid);
			MemoryContextSwitchTo(old);
		}
	}
	walhouse__v1__altered__free_unpacked(altered, NULL);
}

static void
note_partitions(WhTransaction *txn, WhSlice payload)
{
	Walhouse__V1__Partitions *partitions =
		walhouse__v1__partitions__unpack(NULL, payload.len, payload.data);
	MemoryContext old;
	WhSlice *copy;
	uint8_t *data;

	if (partitions == NULL)
		malformed("partitions");
	if (!wh_spool_is_void(txn, partitions->subxid))
	{
		old = MemoryContextSwitchTo(txn->context);
		copy = palloc(sizeof(WhSlice));
		data = palloc(payload.len + 1);
		memcpy(data, payload.data, payload.len);
		copy->data = data;
		copy->len = payload.len;
		txn->partitions = lappend(txn->partitions, copy);
		MemoryContextSwitchTo(old);
	}
	walhouse__v1__partitions__free_unpacked(partitions, NULL);
}

/* note_message keeps what the application says of its transaction; one that is not transactional
 * belongs to none. */
static void
note_message(WhTransaction *txn, WhSlice payload)
{
	Walhouse__V1__Message *message =
		walhouse__v1__message__unpack(NULL, payload.len, payload.data);
	MemoryContext old;

	if (message == NULL)
		malformed("message");
	if (message->transactional && strcmp(message->prefix, WH_CONTEXT_PREFIX) == 0 &&
		txn->context_bytes + message->content.len <= WH_CONTEXT_BYTES &&
		!wh_spool_is_void(txn, message->subxid))
	{
		old = MemoryContextSwitchTo(txn->context);
		txn->told =
			lappend(txn->told, message_text(txn, message->content.data, message->content.len));
		txn->context_bytes += message->content.len;
		MemoryContextSwitchTo(old);
	}
	walhouse__v1__message__free_unpacked(message, NULL);
}

/* message_text is a message as text of this database; what is no text, in hexadecimal as bytea
 * is. */
static char *
message_text(const WhTransaction *txn, const uint8_t *data, int len)
{
	int encoding = txn->stream->source_encoding;
	char *copy = palloc(len + 1);
	char *hex;

	memcpy(copy, data, len);
	copy[len] = '\0';
	if (encoding == PG_SQL_ASCII)
		encoding = GetDatabaseEncoding();
	if (pg_verify_mbstr(encoding, copy, len, true) &&
		(encoding == GetDatabaseEncoding() || GetDatabaseEncoding() == PG_UTF8 ||
		 GetDatabaseEncoding() == PG_SQL_ASCII || pg_is_ascii(copy)))
		return pg_any_to_server(copy, len, encoding);
	hex = palloc(2 + 2 * len + 1);
	strcpy(hex, "\\x");
	hex[2 + hex_encode(copy, len, hex + 2)] = '\0';
	return hex;
}

/* note_schema keeps definitions in the order of their last use: the last one of a table holds. */
static void
note_schema(WhTransaction *txn, int32 schema)
{
	MemoryContext old;

	if (txn->schemas != NIL && llast_int(txn->schemas) == schema)
		return;
	old = MemoryContextSwitchTo(txn->context);
	txn->schemas = lappend_int(list_delete_int(txn->schemas, schema), schema);
	MemoryContextSwitchTo(old);
}

static void
note_origin(WhTransaction *txn, WhSlice origin)
{
	MemoryContext old;
	char *name;

	if (origin.data == NULL)
		return;
	old = MemoryContextSwitchTo(txn->context);
	name = pnstrdup((const char *) origin.data, origin.len);
	txn->origin = pg_any_to_server(name, strlen(name), PG_UTF8);
	MemoryContextSwitchTo(old);
}

/* review gathers again what a transaction is about, once it is known what of it is void. */
static void
review(WhTransaction *txn)
{
	WhSlice message;

	txn->schemas = txn->rewrites = txn->unsent = NIL;
	txn->gone = txn->partitions = txn->told = NIL;
	txn->context_bytes = 0;
	txn->has_truncate = false;
	txn->changes = 0;
	wh_spool_rewind(txn);
	while (wh_spool_next(txn, &message))
	{
		WhEntry entry;
		WhWireError error = NULL;

		while (wh_wire_next_entry(&message, &entry, &error))
			note_entry(txn, &entry);
		if (error != NULL)
			malformed(error);
		CHECK_FOR_INTERRUPTS();
	}
}

/* -------- open transactions -------- */

/* limit_memory sends the largest transactions to their files while all have more than they may. */
static void
limit_memory(WhStream *stream)
{
	while (stream->spooled > (Size) wh_feed_memory * 1024)
	{
		WhTransaction *largest =
			stream->current != NULL && !stream->current->is_streamed ? stream->current : NULL;

		foreach_ptr(WhTransaction, txn, stream->open)
		{
			if (largest == NULL || txn->bytes > largest->bytes)
				largest = txn;
		}
		if (largest == NULL || largest->bytes == 0)
			return;
		wh_spool_spill(largest);
	}
}

static WhTransaction *
find_open(WhStream *stream, uint32 xid)
{
	foreach_ptr(WhTransaction, txn, stream->open)
	{
		if (txn->xid == xid)
			return txn;
	}
	return NULL;
}

static void
remove_open(WhStream *stream, WhTransaction *txn)
{
	stream->open = list_delete_ptr(stream->open, txn);
}

static void
malformed(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("malformed message of the source: %s", what)));
	pg_unreachable();
}
