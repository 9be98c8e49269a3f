/*
 * sink.c
 *		The file that the stream is written to.
 *
 * A regular file is a sequence of whole transactions, of segments of transactions in progress
 * between them, and perhaps the beginning of one more.  When it is opened to be appended to, it
 * is read through, cut behind the last transaction that ended, and gone on with from there
 * (resume.c).  So a kill at any point neither loses nor doubles a transaction.  On a pipe nothing
 * can be cut: there, after a break, a transaction may begin again; readers drop an open one when
 * a Begin or Hello comes.
 *
 * synced_lsn, which is what may be confirmed, moves only in wh_client_sync().  Segments of a
 * transaction in progress never move it: only its end does.
 */
#include "client/client.h"

#include <sys/stat.h>
#include <unistd.h>

#include "common/logging.h"

#include "wire/encode.h"

static void write_batch(void *arg, WhSlice batch);
static void note_entries(WhSink *sink, WhSlice batch);
static uint64 message_end(WhSlice message);
static void emit_line(void *arg, const char *line, int len);
static void write_all(WhSink *sink, const void *data, size_t len);

void
wh_client_open_sink(WhSink *sink, const WhClientOptions *options)
{
	struct stat status;

	memset(sink, 0, sizeof(*sink));
	sink->format = options->format;
	sink->name = strcmp(options->file, "-") == 0 ? "standard output" : options->file;
	if (sink->format == WH_CLIENT_JSON)
		sink->json = wh_wire_create_json();
	if (options->is_whole)
		sink->assembler = wh_client_create_assembler(write_batch, sink);
	if (strcmp(options->file, "-") == 0)
	{
		sink->file = stdout;
		setvbuf(stdout, NULL, _IOFBF, 64 * 1024);
		return;
	}
	sink->file = fopen(options->file, "ab");
	if (sink->file == NULL || fstat(fileno(sink->file), &status) != 0)
		pg_fatal("could not open file \"%s\": %m", options->file);
	sink->is_regular = S_ISREG(status.st_mode);
	if (sink->is_regular && options->starts)
		wh_client_scan_file(sink);
}

void
wh_client_close_sink(WhSink *sink)
{
	wh_client_sync(sink);
	if (sink->file != stdout && fclose(sink->file) != 0)
		pg_fatal("could not close file \"%s\": %m", sink->name);
	if (sink->json != NULL)
		wh_wire_free_json(sink->json);
	if (sink->assembler != NULL)
		wh_client_free_assembler(sink->assembler);
	free(sink->inflated.data);
}

/* -------- writing -------- */

void
wh_client_write(WhSink *sink, WhSlice batch)
{
	WhWireError error = NULL;

	if (!wh_wire_inflate(&batch, &sink->inflated, &error))
		pg_fatal("could not read a batch of the stream: %s", error);
	if (sink->assembler != NULL)
		wh_client_assemble(sink->assembler, batch);
	else
		write_batch(sink, batch);
}

static void
write_batch(void *arg, WhSlice batch)
{
	WhSink *sink = arg;

	if (sink->format == WH_CLIENT_DELIMITED)
	{
		uint8_t prefix[WH_WIRE_MAX_VARINT];

		write_all(sink, prefix, wh_wire_put_length(prefix, batch.len) - prefix);
		write_all(sink, batch.data, batch.len);
	}
	else
	{
		WhWireError error = NULL;

		if (!wh_wire_render_json(sink->json, batch, emit_line, sink, &error))
			pg_fatal("could not read a batch of the stream: %s", error);
	}
	sink->has_unsynced = true;
	note_entries(sink, batch);
}

/* note_entries follows where transactions and segments begin and end. */
static void
note_entries(WhSink *sink, WhSlice batch)
{
	WhWireError error = NULL;
	WhEntry entry;

	while (wh_wire_next_entry(&batch, &entry, &error))
	{
		uint64 lsn = wh_client_ended_by(&entry);

		if (entry.kind == WH_ENTRY_BEGIN || entry.kind == WH_ENTRY_STREAM_START)
			sink->in_transaction = true;
		else if (lsn != 0 || entry.kind == WH_ENTRY_STREAM_STOP)
			sink->in_transaction = false;
		sink->written_lsn = Max(sink->written_lsn, lsn);
	}
	if (error != NULL)
		pg_fatal("could not read a batch of the stream: %s", error);
}

uint64
wh_client_ended_by(const WhEntry *entry)
{
	switch (entry->kind)
	{
		case WH_ENTRY_COMMIT:
		case WH_ENTRY_STREAM_COMMIT:
		case WH_ENTRY_PREPARE:
		case WH_ENTRY_STREAM_PREPARE:
		case WH_ENTRY_COMMIT_PREPARED:
		case WH_ENTRY_ROLLBACK_PREPARED:
			return entry->u.commit.end_lsn;
		case WH_ENTRY_MESSAGE:
			return message_end(entry->payload);
		default:
			return 0;
	}
}

/*
 * message_end returns where the record of a message that is no part of a transaction ends, which
 * is its LSN; 0 of others.
 */
static uint64
message_end(WhSlice message)
{
	WhWireError error = NULL;
	WhField field;
	uint64 lsn = 0;
	bool is_transactional = false;

	while (wh_wire_next_field(&message, &field, &error))
	{
		if (field.tag == 1)
			is_transactional = field.number != 0;
		else if (field.tag == 4)
			lsn = field.number;
	}
	return is_transactional ? 0 : lsn;
}

static void
emit_line(void *arg, const char *line, int len)
{
	WhSink *sink = arg;

	write_all(sink, line, len);
	write_all(sink, "\n", 1);
}

static void
write_all(WhSink *sink, const void *data, size_t len)
{
	if (fwrite(data, 1, len, sink->file) != len)
		pg_fatal("could not write to %s: %m", sink->name);
}

void
wh_client_idle(WhSink *sink, uint64 lsn)
{
	if (sink->in_transaction)
		return;
	sink->written_lsn = Max(sink->written_lsn, lsn);
	if (!sink->has_unsynced)
		sink->synced_lsn = sink->written_lsn;
}

void
wh_client_flush(WhSink *sink)
{
	if (fflush(sink->file) != 0)
		pg_fatal("could not write to %s: %m", sink->name);
}

void
wh_client_sync(WhSink *sink)
{
	wh_client_flush(sink);
	if (sink->is_regular && sink->has_unsynced && fsync(fileno(sink->file)) != 0)
		pg_fatal("could not sync file \"%s\": %m", sink->name);
	sink->has_unsynced = false;
	sink->synced_lsn = sink->written_lsn;
}

/* -------- going on -------- */

void
wh_client_restart(WhSink *sink)
{
	wh_client_flush(sink);
	if (sink->is_regular && sink->in_transaction)
		wh_client_scan_file(sink);
	sink->in_transaction = false;
}
