/*
 * plugin.c
 *		The output plugin: its callbacks, and the session.
 *
 * transaction.c has what frames changes, change.c the changes, emit.c the batches that they go
 * out in.
 */
#include "output/output_private.h"

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "commands/dbcommands.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "replication/origin.h"
#include "utils/guc.h"
#include "utils/memutils.h"

WH_MODULE_MAGIC("walhouse_output");

static void startup(LogicalDecodingContext *ctx, OutputPluginOptions *options, bool is_init);
static void choose_modes(LogicalDecodingContext *ctx, WhOutput *session, bool is_init);
static bool filter_by_origin(LogicalDecodingContext *ctx, RepOriginId origin);
static void shut_down(LogicalDecodingContext *ctx);

void
_PG_output_plugin_init(OutputPluginCallbacks *callbacks)
{
	callbacks->startup_cb = startup;
	callbacks->shutdown_cb = shut_down;
	callbacks->filter_by_origin_cb = filter_by_origin;
	callbacks->begin_cb = wh_output_begin;
	callbacks->commit_cb = wh_output_commit;
	callbacks->change_cb = wh_output_change;
	callbacks->truncate_cb = wh_output_truncate;
	callbacks->message_cb = wh_output_message;
	callbacks->begin_prepare_cb = wh_output_begin_prepare;
	callbacks->prepare_cb = wh_output_prepare;
	callbacks->commit_prepared_cb = wh_output_commit_prepared;
	callbacks->rollback_prepared_cb = wh_output_rollback_prepared;
	callbacks->stream_start_cb = wh_output_stream_start;
	callbacks->stream_stop_cb = wh_output_stream_stop;
	callbacks->stream_abort_cb = wh_output_stream_abort;
	callbacks->stream_commit_cb = wh_output_stream_commit;
	callbacks->stream_prepare_cb = wh_output_stream_prepare;
	callbacks->stream_change_cb = wh_output_change;
	callbacks->stream_truncate_cb = wh_output_truncate;
	callbacks->stream_message_cb = wh_output_message;
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

	session->decoding = ctx;
	session->context = context;
	session->change_context =
		AllocSetContextCreate(context, "walhouse change", ALLOCSET_DEFAULT_SIZES);
	session->publication_context =
		AllocSetContextCreate(context, "walhouse publications", ALLOCSET_SMALL_SIZES);
	session->encoding = GetDatabaseEncoding();
	session->whole.context = context;
	for (uint8_t op = WH_OP_INSERT; op <= WH_OP_DELETE; op++)
		session->op_crc[op] = wh_wire_crc32c(0, &op, 1);
	wh_wire_init_batch(&session->batch);
	initStringInfo(&session->unchanged);
	initStringInfo(&session->specials);
	initStringInfo(&session->changed);
	initStringInfo(&session->chunked);
	initStringInfo(&session->head);
	initStringInfo(&session->elements);
	initStringInfo(&session->chunk);
	initStringInfo(&session->line);
	wh_output_init_relations(session);
	if (!is_init)
	{
		wh_output_read_options(ctx->output_plugin_options, &session->options);
		session->database = wh_output_find_database(session);
	}
	if (session->options.is_json)
		session->json = wh_wire_create_json();
	ctx->output_plugin_private = session;
	options->output_type =
		session->options.is_json ? OUTPUT_PLUGIN_TEXTUAL_OUTPUT : OUTPUT_PLUGIN_BINARY_OUTPUT;
	options->receive_rewrites = true;
	choose_modes(ctx, session, is_init);
	MemoryContextSwitchTo(caller);
}

/*
 * choose_modes switches streaming and two-phase commit on or off.  A slot that once decoded
 * prepared transactions does so from then on, and has sent some at their prepare: a reader that
 * does not ask for them would miss their changes.
 */
static void
choose_modes(LogicalDecodingContext *ctx, WhOutput *session, bool is_init)
{
	const char *slot = NameStr(ctx->slot->data.name);

	if (is_init)
	{
		ctx->streaming = ctx->twophase = false;
		return;
	}
	if (ctx->slot->data.two_phase && !session->options.is_two_phase)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("slot \"%s\" decodes prepared transactions when they are prepared", slot),
				 errdetail("Without option \"two_phase\" their changes would be lost."),
				 errhint("Say two_phase=on, or use a slot that was created without two_phase.")));
	ctx->streaming = session->options.is_streaming;
	ctx->twophase_opt_given = session->options.is_two_phase;
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

	if (origin == DoNotReplicateId)
		return !session->options.sends_own_writes;
	return origin != InvalidRepOriginId && session->options.skips_origins;
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
		{"quote_all_identifiers", "off"},
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

/* -------- Hello -------- */

void
wh_output_add_hello(WhOutput *session)
{
	const char *names[WH_OUTPUT_OPTIONS];
	const char *values[WH_OUTPUT_OPTIONS];
	WhWireHello hello = {0};
	TimeLineID timeline;

	if (session->hello_sent)
		return;
	if (RecoveryInProgress())
		(void) GetXLogReplayRecPtr(&timeline);
	else
		timeline = GetWALInsertionTimeLine();
	hello.options = wh_output_show_options(&session->options, names, values);
	for (int i = 0; i < hello.options; i++)
		values[i] = wh_output_utf8_name(session, values[i]);
	hello.plugin_version = WALHOUSE_VERSION;
	hello.server_version = WH_SERVER_VERSION;
	hello.system_identifier = GetSystemIdentifier();
	hello.timeline = timeline;
	hello.database_oid = MyDatabaseId;
	hello.database = session->database;
	hello.encoding = GetDatabaseEncodingName();
	hello.option_names = names;
	hello.option_values = values;
	wh_wire_add_hello(&session->batch, &hello);
	session->hello_sent = true;
}
