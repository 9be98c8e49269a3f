/*
 * resume.c
 *		Going on with a file that has something in it.
 *
 * The file is read through: the last entry that ends a transaction says where to cut it, and how
 * far it goes.  Transactions in progress whose segments stand before the cut stay where they are:
 * the source sends them again from their first segment, behind a Hello that makes the old ones
 * void.
 */
#include "client/client.h"

#include <unistd.h>

#include "common/logging.h"

/* Batches longer than this are not ours. */
#define MAX_BATCH ((uint64) 1024 * 1024 * 1024)

static void scan_delimited(WhSink *sink, FILE *file);
static void scan_batch(WhSink *sink, WhSlice batch, int64 end);
static bool read_batch(FILE *file, StringInfo batch);
static void scan_json(WhSink *sink, FILE *file);
static uint64 ended_by_line(const char *line);
static uint64 member_lsn(const char *line, const char *key);

void
wh_client_scan_file(WhSink *sink)
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

/* -------- delimited batches -------- */

static void
scan_delimited(WhSink *sink, FILE *file)
{
	StringInfoData bytes;

	initStringInfo(&bytes);
	while (read_batch(file, &bytes))
	{
		WhSlice batch = {(const uint8_t *) bytes.data, bytes.len};
		WhWireError error = NULL;

		if (!wh_wire_inflate(&batch, &sink->inflated, &error))
			pg_fatal("file \"%s\" holds something else than batches: %s", sink->name, error);
		scan_batch(sink, batch, ftell(file));
	}
	pfree(bytes.data);
}

static void
scan_batch(WhSink *sink, WhSlice batch, int64 end)
{
	WhWireError error = NULL;
	WhEntry entry;
	uint64 lsn;

	while (wh_wire_next_entry(&batch, &entry, &error))
	{
		WhSlice message = entry.payload;
		WhField field;

		while (entry.kind == WH_ENTRY_HELLO && wh_wire_next_field(&message, &field, &error))
		{
			if (field.tag == 4)
				sink->system_identifier = field.number;
		}
		lsn = wh_client_ended_by(&entry);
		if (lsn != 0)
		{
			sink->written_lsn = Max(sink->written_lsn, lsn);
			sink->good_size = end;
		}
	}
	if (error != NULL)
		pg_fatal("file \"%s\" holds something else than batches: %s", sink->name, error);
}

/*
 * read_batch reads a length and as many bytes; before it, the line ends that pg_recvlogical writes.
 * Returns false at the end, also in the middle of a batch.
 */
static bool
read_batch(FILE *file, StringInfo batch)
{
	uint64 len = 0;
	int shift = 0;
	int c;

	do
		c = getc(file);
	while (c == '\n');
	for (; c != EOF && shift < 63; c = getc(file))
	{
		len |= (uint64) (c & 0x7F) << shift;
		shift += 7;
		if (c < 0x80)
			break;
	}
	if (c == EOF)
		return false;
	if (len >= MAX_BATCH)
		pg_fatal("the file holds something else than delimited batches");
	resetStringInfo(batch);
	enlargeStringInfo(batch, (int) len);
	if (fread(batch->data, 1, len, file) != len)
		return false;
	batch->len = (int) len;
	return true;
}

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

/* -------- JSON lines -------- */

static void
scan_json(WhSink *sink, FILE *file)
{
	static const char hello[] = "{\"kind\":\"hello\",";
	char *line = NULL;
	size_t room = 0;
	ssize_t len;

	while ((len = getline(&line, &room, file)) > 0 && line[len - 1] == '\n')
	{
		uint64 lsn;

		if (line[0] != '{')
			pg_fatal("file \"%s\" holds something else than JSON lines", sink->name);
		if (strncmp(line, hello, strlen(hello)) == 0)
		{
			const char *id = strstr(line, "\"system_identifier\":\"");

			if (id != NULL)
				sink->system_identifier = strtoull(strchr(id, ':') + 2, NULL, 10);
			continue;
		}
		lsn = ended_by_line(line);
		if (lsn != 0)
		{
			sink->written_lsn = Max(sink->written_lsn, lsn);
			sink->good_size = ftell(file);
		}
	}
	free(line);
}

/*
 * ended_by_line is wh_client_ended_by() of a line.  The keys that it looks for stand before any
 * text of users, but for a message's prefix, whose quotes have backslashes before them.
 */
static uint64
ended_by_line(const char *line)
{
	static const char *const ends[] = {"commit", "stream_commit", "prepare", "stream_prepare",
									   "commit_prepared", "rollback_prepared"};
	static const char message[] = "{\"kind\":\"message\",\"transactional\":false,";
	const char *kind = line + strlen("{\"kind\":\"");
	size_t len = strlen(line) > 9 ? strcspn(kind, "\"") : 0;

	for (int i = 0; i < (int) lengthof(ends); i++)
	{
		if (len == strlen(ends[i]) && strncmp(kind, ends[i], len) == 0)
			return member_lsn(line, "\"end_lsn\":\"");
	}
	if (strncmp(line, message, strlen(message)) != 0)
		return 0;
	return member_lsn(line, "\"lsn\":\"");
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
