/*
 * sink.c
 *		The file that the stream is written to.
 *
 * A regular file is a sequence of whole transactions, and perhaps the beginning of one
 * more.  When it is opened to be appended to, it is read through: the end of its last commit says
 * where to cut it, and that commit's position from where to go on.  So a kill at any point
 * neither loses nor doubles a transaction.  On a pipe nothing can be cut: there, after a break, a
 * transaction may begin again; readers drop an open one when a Begin or Hello comes.
 *
 * synced_lsn, which is what may be confirmed, moves only in wh_client_sync().
 */
#include "client/client.h"

#include <sys/stat.h>
#include <unistd.h>

#include "common/logging.h"

#include "wire/encode.h"

/* Batches longer than this are not ours. */
#define MAX_BATCH ((uint64) 1024 * 1024 * 1024)

static void scan_file(WhSink *sink);
static void scan_delimited(WhSink *sink, FILE *file);
static void scan_json(WhSink *sink, FILE *file);
static bool read_batch(FILE *file, StringInfo batch);
static uint64 member_lsn(const char *line, const char *key);
static void note_entries(WhSink *sink, WhSlice batch);
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
		scan_file(sink);
}

void
wh_client_close_sink(WhSink *sink)
{
	wh_client_sync(sink);
	if (sink->file != stdout && fclose(sink->file) != 0)
		pg_fatal("could not close file \"%s\": %m", sink->name);
	if (sink->json != NULL)
		wh_wire_free_json(sink->json);
}

/* -------- writing -------- */

void
wh_client_write(WhSink *sink, WhSlice batch)
{
	if (sink->format == WH_CLIENT_DELIMITED)
	{
		uint8_t prefix[WH_WIRE_MAX_VARINT];

		write_all(sink, prefix, wh_wire_put_varint(prefix, batch.len) - prefix);
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

/* note_entries follows where transactions begin and end. */
static void
note_entries(WhSink *sink, WhSlice batch)
{
	WhWireError error = NULL;
	WhEntry entry;

	while (wh_wire_next_entry(&batch, &entry, &error))
	{
		if (entry.kind == WH_ENTRY_BEGIN)
			sink->in_transaction = true;
		else if (entry.kind == WH_ENTRY_COMMIT)
		{
			sink->in_transaction = false;
			sink->written_lsn = Max(sink->written_lsn, entry.u.commit.end_lsn);
		}
	}
	if (error != NULL)
		pg_fatal("could not read a batch of the stream: %s", error);
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
		scan_file(sink);
	sink->in_transaction = false;
}

/* scan_file reads what a file holds, and cuts it behind the last whole transaction. */
static void
scan_file(WhSink *sink)
{
	FILE *file = fopen(sink->name, "rb");

	if (file == NULL)
		pg_fatal("could not open file \"%s\": %m", sink->name);
	sink->good_size = 0;
	if (sink->format == WH_CLIENT_DELIMITED)
		scan_delimited(sink, file);
	else
		scan_json(sink, file);
	if (ferror(file))
		pg_fatal("could not read file \"%s\": %m", sink->name);
	fclose(file);
	if (ftruncate(fileno(sink->file), sink->good_size) != 0 || fsync(fileno(sink->file)) != 0)
		pg_fatal("could not cut file \"%s\": %m", sink->name);
	sink->in_transaction = false;
	sink->has_unsynced = false;
	sink->synced_lsn = sink->written_lsn;
}

static void
scan_delimited(WhSink *sink, FILE *file)
{
	StringInfoData bytes;

	initStringInfo(&bytes);
	while (read_batch(file, &bytes))
	{
		WhSlice batch = {(const uint8_t *) bytes.data, bytes.len};
		WhWireError error = NULL;
		WhEntry entry;

		while (wh_wire_next_entry(&batch, &entry, &error))
		{
			WhSlice message = entry.payload;
			WhField field;

			if (entry.kind == WH_ENTRY_HELLO)
			{
				while (wh_wire_next_field(&message, &field, &error))
				{
					if (field.tag == 4)
						sink->system_identifier = field.number;
				}
			}
			else if (entry.kind == WH_ENTRY_COMMIT)
			{
				sink->written_lsn = Max(sink->written_lsn, entry.u.commit.end_lsn);
				sink->good_size = ftell(file);
			}
		}
		if (error != NULL)
			pg_fatal("file \"%s\" holds something else than batches: %s", sink->name, error);
	}
	pfree(bytes.data);
}

/*
 * read_batch reads a length and as many bytes.  Returns false at the end, also in the middle of a
 * batch.
 */
static bool
read_batch(FILE *file, StringInfo batch)
{
	uint64 len = 0;
	int shift = 0;
	int c;

	do
	{
		c = getc(file);
		if (c == EOF)
			return false;
		len |= (uint64) (c & 0x7F) << shift;
		shift += 7;
	} while (c >= 0x80 && shift < 63);
	if (len >= MAX_BATCH)
		pg_fatal("the file holds something else than delimited batches");
	resetStringInfo(batch);
	enlargeStringInfo(batch, (int) len);
	if (fread(batch->data, 1, len, file) != len)
		return false;
	batch->len = (int) len;
	return true;
}

static void
scan_json(WhSink *sink, FILE *file)
{
	static const char hello[] = "{\"kind\":\"hello\",";
	static const char commit[] = "{\"kind\":\"commit\",";
	char *line = NULL;
	size_t room = 0;
	ssize_t len;

	while ((len = getline(&line, &room, file)) > 0 && line[len - 1] == '\n')
	{
		if (line[0] != '{')
			pg_fatal("file \"%s\" holds something else than JSON lines", sink->name);
		if (strncmp(line, hello, strlen(hello)) == 0)
		{
			const char *id = strstr(line, "\"system_identifier\":\"");

			if (id != NULL)
				sink->system_identifier = strtoull(strchr(id, ':') + 2, NULL, 10);
		}
		else if (strncmp(line, commit, strlen(commit)) == 0)
		{
			sink->written_lsn = Max(sink->written_lsn, member_lsn(line, "\"end_lsn\":\""));
			sink->good_size = ftell(file);
		}
	}
	free(line);
}

/* member_lsn returns the LSN behind a key of a JSON line, 0 where there is none. */
static uint64
member_lsn(const char *line, const char *key)
{
	const char *at = strstr(line, key);
	unsigned int high;
	unsigned int low;

	if (at == NULL || sscanf(at + strlen(key), "%X/%X", &high, &low) != 2)
		return 0;
	return (uint64) high << 32 | low;
}

/* -------- files -------- */

void
wh_client_decode(const char *name, WhSink *sink)
{
	FILE *file = strcmp(name, "-") == 0 ? stdin : fopen(name, "rb");
	StringInfoData bytes;

	if (file == NULL)
		pg_fatal("could not open file \"%s\": %m", name);
	initStringInfo(&bytes);
	while (!wh_client_is_stopping() && read_batch(file, &bytes))
	{
		WhSlice batch = {(const uint8_t *) bytes.data, bytes.len};

		wh_client_write(sink, batch);
	}
	if (ferror(file))
		pg_fatal("could not read file \"%s\": %m", name);
	if (file != stdin)
		fclose(file);
	pfree(bytes.data);
}
