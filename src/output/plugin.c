/*
 * plugin.c
 *		The output plugin: callbacks, sessions, batches.
 *
 * Changes of a transaction collect in session->batch.  It goes out when it has WH_BATCH_SIZE
 * bytes, and in the commit callback, whatever it has: once that returns, the server's keepalives
 * cover the transaction, and a reader that confirms one would lose what were still here.  So
 * nothing waits over a commit, and shutdown has nothing to do.  Begin is written with the first
 * change, so that a transaction without changes to send costs nothing but progress.
 *
 * An error in a callback ends the session (there is no streaming yet), and with it the batch;
 * nothing half written goes out.  Each change is worked on in a context that is reset after it.
 */
#include "output/output_private.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "commands/dbcommands.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "replication/origin.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"


WH_MODULE_MAGIC("walhouse_output");

/* A batch is sent once it has this many bytes. */
#define WH_BATCH_SIZE (64 * 1024)

/*
 * On servers that do not do it themselves, the connection is looked after every so many changes
 * without output.
 */
#define WH_QUIET_CHANGES 100

static void startup(LogicalDecodingContext *ctx, OutputPluginOptions *options, bool is_init);
static void begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn);
static void change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation,
				   ReorderBufferChange *change);
static void truncate_relations(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, int nrelations,
							   Relation relations[], ReorderBufferChange *change);
static void commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn);
static bool filter_by_origin(LogicalDecodingContext *ctx, RepOriginId origin);
static void shut_down(LogicalDecodingContext *ctx);
static void send_insert(WhOutput *session, WhOutputRelation *entry, Relation relation,
						HeapTuple tuple);
static void send_update(WhOutput *session, WhOutputRelation *entry, Relation relation,
						HeapTuple old, HeapTuple tuple);
static void send_delete(WhOutput *session, WhOutputRelation *entry, Relation relation,
						HeapTuple old);
static WhBeforeKind before_kind(const WhOutputRelation *entry, HeapTuple old);
static void fill_unchanged(WhOutputRelation *entry, WhBeforeKind kind);
static void add_hello(WhOutput *session);
static void add_begin(WhOutput *session, ReorderBufferTXN *txn);
static void add_relation(WhOutput *session, WhOutputRelation *entry);
static int64 to_unix_time(TimestampTz time);
static void flush(LogicalDecodingContext *ctx, WhOutput *session, bool is_last);
static void flush_json(LogicalDecodingContext *ctx, WhOutput *session);
static void write_line(void *arg, const char *line, int len);
static void keep_alive(LogicalDecodingContext *ctx, WhOutput *session);

void
_PG_output_plugin_init(OutputPluginCallbacks *callbacks)
{
	callbacks->startup_cb = startup;
	callbacks->begin_cb = begin;
	callbacks->change_cb = change;
	callbacks->truncate_cb = truncate_relations;
	callbacks->commit_cb = commit;
	callbacks->filter_by_origin_cb = filter_by_origin;
	callbacks->shutdown_cb = shut_down;
}

/* -------- sessions -------- */

/*
 * startup runs at the start of decoding, and with is_init, then without options, when a slot is
 * created.
 */
static void
startup(LogicalDecodingContext *ctx, OutputPluginOptions *options, bool is_init)
{
	MemoryContext context =
		AllocSetContextCreate(ctx->context, "walhouse output", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	WhOutput *session = palloc0(sizeof(WhOutput));

	session->context = context;
	session->change_context =
		AllocSetContextCreate(context, "walhouse change", ALLOCSET_DEFAULT_SIZES);
	session->publication_context =
		AllocSetContextCreate(context, "walhouse publications", ALLOCSET_SMALL_SIZES);
	session->encoding = GetDatabaseEncoding();
	if (!is_init)
		wh_output_read_options(ctx->output_plugin_options, &session->options);
	wh_wire_init_batch(&session->batch);
	if (session->options.is_json)
		session->json = wh_wire_create_json();
	initStringInfo(&session->unchanged);
	initStringInfo(&session->specials);
	wh_output_init_relations(session);
	ctx->output_plugin_private = session;
	options->output_type =
		session->options.is_json ? OUTPUT_PLUGIN_TEXTUAL_OUTPUT : OUTPUT_PLUGIN_BINARY_OUTPUT;
	options->receive_rewrites = false;
	ctx->streaming = false;
	ctx->twophase = false;
	MemoryContextSwitchTo(caller);
}

static void
shut_down(LogicalDecodingContext *ctx)
{
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;

	if (session != NULL)
		MemoryContextDelete(session->context);
	ctx->output_plugin_private = NULL;
}

/*
 * filter_by_origin is asked for every record, also before there is a snapshot: it compares ids
 * alone.
 */
static bool
filter_by_origin(LogicalDecodingContext *ctx, RepOriginId origin)
{
	const WhOutput *session = (const WhOutput *) ctx->output_plugin_private;

	return origin == DoNotReplicateId && !session->options.sends_own_writes;
}

/*
 * wh_output_pin_settings sets what output functions look at, as SET LOCAL does.  The reorder
 * buffer decodes a transaction in a transaction, or subtransaction, of its own and rolls it back,
 * which restores them.
 */
void
wh_output_pin_settings(WhOutput *session)
{
	static const char *const settings[][2] = {
		{"DateStyle", "ISO, MDY"},
		{"IntervalStyle", "postgres"},
		{"extra_float_digits", "1"},
		{"bytea_output", "hex"},
		{"TimeZone", "UTC"},
		{"lc_monetary", "C"},
		{"search_path", "pg_catalog"},
	};

	if (session->settings_pinned)
		return;
	for (int i = 0; i < (int) lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
	session->settings_pinned = true;
}

/* -------- transactions -------- */

static void
begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;

	wh_wire_reset_batch(&session->batch);
	wh_output_trim_relations(session);
	session->begin_sent = false;
	session->settings_pinned = false;
	session->seq = 0;
	session->changes = 0;
}

static void
commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn)
{
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;
	WhWireCommit entry = {0};

	OutputPluginUpdateProgress(ctx, !session->begin_sent);
	if (!session->begin_sent)
		return;
	entry.xid = txn->xid;
	entry.commit_lsn = commit_lsn;
	entry.end_lsn = txn->end_lsn;
	entry.commit_time = to_unix_time(txn->xact_time.commit_time);
	entry.changes = session->changes;
	if (session->options.is_json)
		flush(ctx, session, false);
	wh_wire_add_commit(&session->batch, WH_ENTRY_COMMIT, &entry, NULL, 0);
	flush(ctx, session, true);
}

static void
change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation,
	   ReorderBufferChange *change)
{
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;
	MemoryContext caller = MemoryContextSwitchTo(session->change_context);
	HeapTuple old = wh_compat_change_tuple(change->data.tp.oldtuple);
	HeapTuple tuple = wh_compat_change_tuple(change->data.tp.newtuple);
	WhOutputRelation *entry;
	bool is_wanted;

	/* counted before any filter, so that an ordinal does not depend on what else is sent */
	session->seq++;
	entry = wh_output_find_relation(session, relation);
	if (change->action == REORDER_BUFFER_CHANGE_INSERT)
		is_wanted = entry->actions.pubinsert;
	else if (change->action == REORDER_BUFFER_CHANGE_UPDATE)
		is_wanted = entry->actions.pubupdate;
	else
		is_wanted = entry->actions.pubdelete;
	if (is_wanted)
	{
		if (tuple == NULL && change->action != REORDER_BUFFER_CHANGE_DELETE)
			elog(ERROR, "change of \"%s\" has no new row", RelationGetRelationName(relation));
		add_begin(session, txn);
		add_relation(session, entry);
		if (change->action == REORDER_BUFFER_CHANGE_INSERT)
			send_insert(session, entry, relation, tuple);
		else if (change->action == REORDER_BUFFER_CHANGE_UPDATE)
			send_update(session, entry, relation, old, tuple);
		else
			send_delete(session, entry, relation, old);
		session->changes++;
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(session->change_context);
	if (wh_wire_batch_size(&session->batch) >= WH_BATCH_SIZE)
		flush(ctx, session, false);
	keep_alive(ctx, session);
}

static void
truncate_relations(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, int nrelations,
				   Relation relations[], ReorderBufferChange *change)
{
	WhOutput *session = (WhOutput *) ctx->output_plugin_private;
	MemoryContext caller = MemoryContextSwitchTo(session->change_context);
	uint32_t *schemas = palloc(sizeof(uint32_t) * Max(nrelations, 1));
	int nschemas = 0;

	session->seq++;
	for (int i = 0; i < nrelations; i++)
	{
		WhOutputRelation *entry = wh_output_find_relation(session, relations[i]);

		if (!entry->actions.pubtruncate)
			continue;
		add_begin(session, txn);
		add_relation(session, entry);
		schemas[nschemas++] = entry->schema;
	}
	if (nschemas > 0)
	{
		wh_wire_add_truncate(&session->batch, session->seq, schemas, nschemas,
							 change->data.truncate.cascade, change->data.truncate.restart_seqs, 0);
		session->changes++;
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(session->change_context);
	keep_alive(ctx, session);
}

/* keep_alive looks after the connection while changes go by without output. */
static void
keep_alive(LogicalDecodingContext *ctx, WhOutput *session)
{
	if (WH_PLUGIN_KEEPS_ALIVE && ++session->quiet_changes >= WH_QUIET_CHANGES)
	{
		session->quiet_changes = 0;
		OutputPluginUpdateProgress(ctx, false);
	}
}

/* -------- changes -------- */

static void
send_insert(WhOutput *session, WhOutputRelation *entry, Relation relation, HeapTuple tuple)
{
	WhBatch *batch = &session->batch;

	heap_deform_tuple(tuple, RelationGetDescr(relation), entry->values, entry->nulls);
	wh_wire_begin_change(batch, entry->schema, WH_OP_INSERT, WH_BEFORE_NONE, session->seq, 0);
	wh_output_write_row(session, entry, wh_wire_begin_after(batch), entry->values, entry->nulls,
						false);
	wh_wire_end_row(batch);
}

static void
send_update(WhOutput *session, WhOutputRelation *entry, Relation relation, HeapTuple old,
			HeapTuple tuple)
{
	WhBatch *batch = &session->batch;
	WhBeforeKind kind = before_kind(entry, old);

	heap_deform_tuple(tuple, RelationGetDescr(relation), entry->values, entry->nulls);
	if (kind != WH_BEFORE_NONE)
	{
		heap_deform_tuple(old, RelationGetDescr(relation), entry->old_values, entry->old_nulls);
		fill_unchanged(entry, kind);
	}
	wh_wire_begin_change(batch, entry->schema, WH_OP_UPDATE, kind, session->seq, 0);
	wh_output_write_row(session, entry, wh_wire_begin_after(batch), entry->values, entry->nulls,
						false);
	wh_wire_end_row(batch);
	if (kind != WH_BEFORE_NONE)
	{
		wh_output_write_row(session, entry, wh_wire_begin_before(batch), entry->old_values,
							entry->old_nulls, kind == WH_BEFORE_KEY);
		wh_wire_end_row(batch);
	}
}

static void
send_delete(WhOutput *session, WhOutputRelation *entry, Relation relation, HeapTuple old)
{
	WhBatch *batch = &session->batch;
	WhBeforeKind kind = before_kind(entry, old);

	wh_wire_begin_change(batch, entry->schema, WH_OP_DELETE, kind, session->seq, 0);
	if (kind == WH_BEFORE_NONE)
		return;
	heap_deform_tuple(old, RelationGetDescr(relation), entry->old_values, entry->old_nulls);
	wh_output_write_row(session, entry, wh_wire_begin_before(batch), entry->old_values,
						entry->old_nulls, kind == WH_BEFORE_KEY);
	wh_wire_end_row(batch);
}

/*
 * before_kind says what an old tuple holds: with a key, its other columns are NULL, which is no
 * data.
 */
static WhBeforeKind
before_kind(const WhOutputRelation *entry, HeapTuple old)
{
	if (old == NULL)
		return WH_BEFORE_NONE;
	return entry->replica_identity == REPLICA_IDENTITY_FULL ? WH_BEFORE_FULL : WH_BEFORE_KEY;
}

/*
 * fill_unchanged takes TOAST values that the new row only points at from the old one, where it
 * has them.
 */
static void
fill_unchanged(WhOutputRelation *entry, WhBeforeKind kind)
{
	for (int i = 0; i < entry->ncolumns; i++)
	{
		const WhOutputColumn *column = &entry->columns[i];
		int index = column->index;

		if (!column->is_varlena || entry->nulls[index] || entry->old_nulls[index] ||
			!VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(entry->values[index])))
			continue;
		if ((kind == WH_BEFORE_FULL || column->is_key) &&
			!VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(entry->old_values[index])))
			entry->values[index] = entry->old_values[index];
	}
}

/* -------- entries -------- */

/*
 * add_begin writes Begin with a transaction's first change, and before the session's first one
 * Hello.
 */
static void
add_begin(WhOutput *session, ReorderBufferTXN *txn)
{
	WhWireBegin entry = {0};
	char *origin = NULL;
	size_t len;

	if (session->begin_sent)
		return;
	if (!session->hello_sent)
		add_hello(session);
	entry.xid = txn->xid;
	entry.commit_lsn = txn->final_lsn;
	entry.end_lsn = txn->end_lsn;
	entry.commit_time = to_unix_time(txn->xact_time.commit_time);
	if (txn->origin_id != InvalidRepOriginId && txn->origin_id != DoNotReplicateId &&
		replorigin_by_oid(txn->origin_id, true, &origin))
	{
		len = strlen(origin);
		entry.origin.data = (const uint8_t *) wh_output_to_utf8(session, origin, &len);
		entry.origin.len = len;
	}
	wh_wire_add_begin(&session->batch, &entry);
	session->begin_sent = true;
}

static void
add_hello(WhOutput *session)
{
	const char *names[4];
	const char *values[4];
	WhWireHello hello = {0};
	const char *database = get_database_name(MyDatabaseId);
	size_t len = strlen(database);
	TimeLineID timeline;

	if (RecoveryInProgress())
		(void) GetXLogReplayRecPtr(&timeline);
	else
		timeline = GetWALInsertionTimeLine();
	database = wh_output_to_utf8(session, database, &len);

	names[hello.options] = "protocol";
	values[hello.options++] = "1";
	if (session->options.publication != NULL)
	{
		const char *publication = session->options.publication;

		len = strlen(publication);
		publication = wh_output_to_utf8(session, publication, &len);
		names[hello.options] = "publication";
		values[hello.options++] = publication != NULL ? publication : "";
	}
	names[hello.options] = "own_writes";
	values[hello.options++] = session->options.sends_own_writes ? "send" : "drop";
	names[hello.options] = "format";
	values[hello.options++] = session->options.is_json ? "json" : "protobuf";

	hello.plugin_version = WALHOUSE_VERSION;
	hello.server_version = WH_SERVER_VERSION;
	hello.system_identifier = GetSystemIdentifier();
	hello.timeline = timeline;
	hello.database_oid = MyDatabaseId;
	hello.database = database != NULL ? database : "";
	hello.encoding = GetDatabaseEncodingName();
	hello.option_names = names;
	hello.option_values = values;
	wh_wire_add_hello(&session->batch, &hello);
	session->hello_sent = true;
}

static void
add_relation(WhOutput *session, WhOutputRelation *entry)
{
	WhSlice definition;

	if (entry->is_sent)
		return;
	definition.data = (const uint8_t *) entry->definition->data;
	definition.len = entry->definition->len;
	wh_wire_add_relation(&session->batch, entry->schema, definition);
	entry->is_sent = true;
	pfree(entry->definition->data);
	pfree(entry->definition);
	entry->definition = NULL;
}

static int64
to_unix_time(TimestampTz time)
{
	return time + (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

/* -------- output -------- */

/*
 * flush sends what the batch holds.  Only the last write of a callback carries its position to
 * the server's books.
 */
static void
flush(LogicalDecodingContext *ctx, WhOutput *session, bool is_last)
{
	WhBatch *batch = &session->batch;

	wh_wire_finish_batch(batch);
	session->is_last_write = is_last;
	if (session->options.is_json)
		flush_json(ctx, session);
	else
	{
		OutputPluginPrepareWrite(ctx, is_last);
		appendBinaryStringInfo(ctx->out, batch->out.data, batch->out.len);
		OutputPluginWrite(ctx, is_last);
	}
	wh_wire_reset_batch(batch);
	session->quiet_changes = 0;
}

/* flush_json sends the batch as JSON, a message a line; commit flushes what is before it first. */
static void
flush_json(LogicalDecodingContext *ctx, WhOutput *session)
{
	WhSlice batch = {(const uint8_t *) session->batch.out.data, session->batch.out.len};
	MemoryContext caller = MemoryContextSwitchTo(session->context);
	WhWireError error = NULL;

	if (!wh_wire_render_json(session->json, batch, write_line, ctx, &error))
		elog(ERROR, "could not render a batch: %s", error);
	MemoryContextSwitchTo(caller);
}

static void
write_line(void *arg, const char *line, int len)
{
	LogicalDecodingContext *ctx = (LogicalDecodingContext *) arg;
	const WhOutput *session = (const WhOutput *) ctx->output_plugin_private;

	OutputPluginPrepareWrite(ctx, session->is_last_write);
	appendBinaryStringInfo(ctx->out, line, len);
	OutputPluginWrite(ctx, session->is_last_write);
}
