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
static bool filter_by_origin(LogicalDecodingContext *ctx, RepOriginId origin);
static void shut_down(LogicalDecodingContext *ctx);

void
_PG_output_plugin_init(OutputPluginCallbacks *callbacks)
{
	callbacks->startup_cb = startup;
	callbacks->begin_cb = wh_output_begin;
	callbacks->change_cb = wh_output_change;
	callbacks->truncate_cb = wh_output_truncate;
	callbacks->commit_cb = wh_output_commit;
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

	session->decoding = ctx;
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
	initStringInfo(&session->changed);
	initStringInfo(&session->chunked);
	initStringInfo(&session->head);
	initStringInfo(&session->elements);
	initStringInfo(&session->chunk);
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

/* -------- Hello -------- */

void
wh_output_add_hello(WhOutput *session)
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
