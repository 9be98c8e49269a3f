/*
 * floor.c
 *		The bench's floor: an output plugin that does the least that any plugin must do.
 *
 * It deforms each tuple and looks at nothing.  Option "bytes" has it write that many bytes a
 * change, in messages of 64 kB that end with the transaction, which is what a plugin would cost
 * whose encoder cost nothing.  Option "streaming" has it take transactions in progress.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "replication/logical.h"
#include "replication/output_plugin.h"

#include "base/compat.h"

WH_MODULE_MAGIC("walhouse_floor");

#define BATCH_SIZE (64 * 1024)

typedef struct Floor
{
	int bytes; /* for each change; 0: nothing is written */
	int pending; /* bytes that the next message has */
	Datum *values;
	bool *nulls;
} Floor;

extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *callbacks);

static void startup(LogicalDecodingContext *ctx, OutputPluginOptions *options, bool is_init);
static void begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn);
static void change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation,
				   ReorderBufferChange *change);
static void end(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr lsn);
static void stop(LogicalDecodingContext *ctx, ReorderBufferTXN *txn);
static void write_pending(LogicalDecodingContext *ctx, bool is_last);

void
_PG_output_plugin_init(OutputPluginCallbacks *callbacks)
{
	callbacks->startup_cb = startup;
	callbacks->begin_cb = begin;
	callbacks->change_cb = change;
	callbacks->commit_cb = end;
	callbacks->stream_start_cb = begin;
	callbacks->stream_change_cb = change;
	callbacks->stream_stop_cb = stop;
	callbacks->stream_abort_cb = end;
	callbacks->stream_commit_cb = end;
}

static void
startup(LogicalDecodingContext *ctx, OutputPluginOptions *options, bool is_init)
{
	Floor *floor = palloc0(sizeof(Floor));
	bool streams = false;
	ListCell *cell;

	foreach(cell, ctx->output_plugin_options)
	{
		DefElem *option = (DefElem *) lfirst(cell);

		if (strcmp(option->defname, "bytes") == 0)
			floor->bytes = atoi(strVal(option->arg));
		else if (strcmp(option->defname, "streaming") == 0)
			streams = strcmp(strVal(option->arg), "on") == 0;
		else
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown option \"%s\"", option->defname)));
	}
	floor->values = palloc(sizeof(Datum) * MaxTupleAttributeNumber);
	floor->nulls = palloc(sizeof(bool) * MaxTupleAttributeNumber);
	ctx->output_plugin_private = floor;
	ctx->streaming &= streams;
	ctx->twophase = false;
	options->output_type = OUTPUT_PLUGIN_BINARY_OUTPUT;
	options->receive_rewrites = false;
}

static void
begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	((Floor *) ctx->output_plugin_private)->pending = 0;
}

static void
change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation,
	   ReorderBufferChange *change)
{
	Floor *floor = (Floor *) ctx->output_plugin_private;
	HeapTuple old = wh_compat_change_tuple(change->data.tp.oldtuple);
	HeapTuple tuple = wh_compat_change_tuple(change->data.tp.newtuple);

	if (old != NULL)
		heap_deform_tuple(old, RelationGetDescr(relation), floor->values, floor->nulls);
	if (tuple != NULL)
		heap_deform_tuple(tuple, RelationGetDescr(relation), floor->values, floor->nulls);
	floor->pending += floor->bytes;
	if (floor->pending >= BATCH_SIZE)
		write_pending(ctx, false);
}

static void
end(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr lsn)
{
	OutputPluginUpdateProgress(ctx, false);
	write_pending(ctx, true);
}

static void
stop(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	write_pending(ctx, true);
}

static void
write_pending(LogicalDecodingContext *ctx, bool is_last)
{
	Floor *floor = (Floor *) ctx->output_plugin_private;

	if (floor->pending == 0)
		return;
	OutputPluginPrepareWrite(ctx, is_last);
	enlargeStringInfo(ctx->out, floor->pending);
	memset(ctx->out->data + ctx->out->len, 0, floor->pending);
	ctx->out->len += floor->pending;
	OutputPluginWrite(ctx, is_last);
	floor->pending = 0;
}
