/*
 * assemble.c
 *		Whole transactions out of streamed ones (--whole).
 *
 * Segments of a transaction in progress wait in a temporary file of its own, which has no name
 * and so is gone with the program.  When the transaction commits, or is prepared, it is written
 * as if it had never been streamed: Begin, what its subtransactions that did not abort have sent,
 * Commit.  Relations go out at once, since later segments and other transactions refer to them
 * whatever becomes of this one.  A Hello makes all that is open void: the source sends it again.
 */
#include "client/client.h"

#include "common/logging.h"

#include "wire/encode.h"

/* Batches that are written are about this large. */
#define BATCH_TARGET (64 * 1024)

/* A transaction in progress. */
typedef struct Open
{
	uint32 xid;
	char *origin; /* of origin_len bytes; NULL: none */
	size_t origin_len;
	FILE *file; /* Records, each before its bytes */
	uint32 *aborted; /* subtransactions, sorted */
	int naborted;
	int room;
	struct Open *next;
} Open;

/* One entry in a temporary file. */
typedef struct Record
{
	uint32 kind;
	uint32 subxid; /* 0: none */
	uint32 len;
} Record;

struct WhAssembler
{
	Open *open;
	Open *current; /* whose segment is being read, NULL between segments */
	StringInfoData out; /* entries to be written */
	StringInfoData entry;
	WhAssembled write;
	void *arg;
};

static void take_entry(WhAssembler *assembler, const WhEntry *entry);
static void start_segment(WhAssembler *assembler, const WhWireStream *stream);
static void abort_subtransaction(WhAssembler *assembler, const WhWireStream *stream);
static int aborted_position(const Open *open, uint32 subxid);
static void finish(WhAssembler *assembler, const WhEntry *entry);
static void replay(WhAssembler *assembler, Open *open);
static void keep(WhAssembler *assembler, const WhEntry *entry);
static uint32 subxid_of(const WhEntry *entry, uint32 *field);
static void pass(WhAssembler *assembler, uint32 kind, WhSlice payload);
static void flush(WhAssembler *assembler);
static void forget(WhAssembler *assembler, Open *open);
static Open *find(const WhAssembler *assembler, uint32 xid);

WhAssembler *
wh_client_create_assembler(WhAssembled write, void *arg)
{
	WhAssembler *assembler = palloc0(sizeof(WhAssembler));

	initStringInfo(&assembler->out);
	initStringInfo(&assembler->entry);
	assembler->write = write;
	assembler->arg = arg;
	return assembler;
}

void
wh_client_free_assembler(WhAssembler *assembler)
{
	while (assembler->open != NULL)
		forget(assembler, assembler->open);
	pfree(assembler->out.data);
	pfree(assembler->entry.data);
	pfree(assembler);
}

void
wh_client_assemble(WhAssembler *assembler, WhSlice batch)
{
	WhWireError error = NULL;
	WhEntry entry;

	while (wh_wire_next_entry(&batch, &entry, &error))
		take_entry(assembler, &entry);
	if (error != NULL)
		pg_fatal("could not read a batch of the stream: %s", error);
	flush(assembler);
}

static void
take_entry(WhAssembler *assembler, const WhEntry *entry)
{
	switch (entry->kind)
	{
		case WH_ENTRY_STREAM_START:
			start_segment(assembler, &entry->u.stream);
			return;
		case WH_ENTRY_STREAM_STOP:
			assembler->current = NULL;
			return;
		case WH_ENTRY_STREAM_ABORT:
			abort_subtransaction(assembler, &entry->u.stream);
			return;
		case WH_ENTRY_STREAM_COMMIT:
		case WH_ENTRY_STREAM_PREPARE:
			finish(assembler, entry);
			return;
		case WH_ENTRY_HELLO:
			while (assembler->open != NULL)
				forget(assembler, assembler->open);
			break;
		case WH_ENTRY_RELATION:
			break;
		default:
			if (assembler->current != NULL)
			{
				keep(assembler, entry);
				return;
			}
			break;
	}
	pass(assembler, entry->kind, entry->payload);
}

/* -------- segments -------- */

static void
start_segment(WhAssembler *assembler, const WhWireStream *stream)
{
	Open *open = find(assembler, stream->xid);

	if (open != NULL && stream->is_first)
	{
		forget(assembler, open);
		open = NULL;
	}
	if (open == NULL && !stream->is_first)
		pg_fatal("the stream lacks the first segment of transaction %u", stream->xid);
	if (open == NULL)
	{
		open = palloc0(sizeof(Open));
		open->xid = stream->xid;
		open->file = tmpfile();
		if (open->file == NULL)
			pg_fatal("could not create a temporary file: %m");
		if (stream->origin.data != NULL)
		{
			open->origin_len = stream->origin.len;
			open->origin = palloc(open->origin_len + 1);
			memcpy(open->origin, stream->origin.data, open->origin_len);
		}
		open->next = assembler->open;
		assembler->open = open;
	}
	assembler->current = open;
}

static Open *
find(const WhAssembler *assembler, uint32 xid)
{
	for (Open *open = assembler->open; open != NULL; open = open->next)
	{
		if (open->xid == xid)
			return open;
	}
	return NULL;
}

static void
forget(WhAssembler *assembler, Open *open)
{
	Open **link = &assembler->open;

	while (*link != open)
		link = &(*link)->next;
	*link = open->next;
	if (assembler->current == open)
		assembler->current = NULL;
	fclose(open->file);
	if (open->origin != NULL)
		pfree(open->origin);
	if (open->aborted != NULL)
		pfree(open->aborted);
	pfree(open);
}

/* keep writes an entry to the transaction's file, without the field that says its subtransaction.
 */
static void
keep(WhAssembler *assembler, const WhEntry *entry)
{
	WhSlice rest = entry->payload;
	const uint8_t *from = rest.data;
	WhWireError error = NULL;
	WhField field;
	Record record = {entry->kind};
	uint32 number = 0;
	FILE *file = assembler->current->file;

	record.subxid = subxid_of(entry, &number);
	resetStringInfo(&assembler->entry);
	while (number != 0 && wh_wire_next_field(&rest, &field, &error))
	{
		if (field.tag != number)
			appendBinaryStringInfo(&assembler->entry, (const char *) from, rest.data - from);
		from = rest.data;
	}
	if (number == 0)
		appendBinaryStringInfo(&assembler->entry, (const char *) rest.data, (int) rest.len);
	record.len = assembler->entry.len;
	if (fwrite(&record, sizeof(record), 1, file) != 1 ||
		fwrite(assembler->entry.data, 1, record.len, file) != record.len)
		pg_fatal("could not write to a temporary file: %m");
}

/* subxid_of returns an entry's subtransaction, 0 where it has none, and the field that holds it. */
static uint32
subxid_of(const WhEntry *entry, uint32 *number)
{
	WhSlice rest = entry->payload;
	WhWireError error = NULL;
	uint32 subxid = 0;
	WhField field;

	switch (entry->kind)
	{
		case WH_ENTRY_ROWS:
			*number = entry->u.rows.subxid == 0 ? 0 : 7;
			return entry->u.rows.subxid;
		case WH_ENTRY_TRUNCATE:
			*number = 5;
			break;
		case WH_ENTRY_MESSAGE:
		case WH_ENTRY_PARTITIONS:
			*number = 6;
			break;
		case WH_ENTRY_REWRITE:
		case WH_ENTRY_ALTERED:
			*number = 3;
			break;
		default:
			*number = 0;
			return 0;
	}
	while (wh_wire_next_field(&rest, &field, &error))
	{
		if (field.tag == *number && field.type == WH_WIRE_VARINT)
			subxid = (uint32) field.number;
	}
	return subxid;
}

/* -------- ends -------- */

static void
abort_subtransaction(WhAssembler *assembler, const WhWireStream *stream)
{
	Open *open = find(assembler, stream->xid);
	int at;

	if (open == NULL)
		return;
	if (stream->subxid == stream->xid)
	{
		forget(assembler, open);
		return;
	}
	if (open->naborted == open->room)
	{
		open->room = open->room == 0 ? 16 : open->room * 2;
		open->aborted = open->aborted == NULL ?
							palloc(open->room * sizeof(uint32)) :
							repalloc(open->aborted, open->room * sizeof(uint32));
	}
	at = aborted_position(open, stream->subxid);
	memmove(&open->aborted[at + 1], &open->aborted[at], (open->naborted - at) * sizeof(uint32));
	open->aborted[at] = stream->subxid;
	open->naborted++;
}

/* aborted_position returns where a subtransaction is among those that aborted, or belongs. */
static int
aborted_position(const Open *open, uint32 subxid)
{
	int low = 0;
	int high = open->naborted;

	while (low < high)
	{
		int middle = (low + high) / 2;

		if (open->aborted[middle] < subxid)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void
finish(WhAssembler *assembler, const WhEntry *entry)
{
	const WhWireCommit *commit = &entry->u.commit;
	Open *open = find(assembler, commit->xid);
	WhWireBegin begin = {commit->xid, commit->commit_lsn, commit->end_lsn, commit->commit_time};
	bool is_commit = entry->kind == WH_ENTRY_STREAM_COMMIT;
	WhBatch batch;

	if (open == NULL)
		pg_fatal("the stream lacks the segments of transaction %u", commit->xid);
	begin.origin = (WhSlice){(const uint8_t *) open->origin, open->origin_len};
	begin.gid = commit->gid;
	wh_wire_init_batch(&batch);
	wh_wire_add_begin(&batch, &begin);
	appendBinaryStringInfo(&assembler->out, batch.out.data, batch.out.len);
	replay(assembler, open);
	pass(assembler, is_commit ? WH_ENTRY_COMMIT : WH_ENTRY_PREPARE, entry->payload);
	forget(assembler, open);
	pfree(batch.out.data);
	pfree(batch.run.after.data);
	pfree(batch.run.before.data);
}

/* replay writes what the transaction has sent, but for subtransactions that aborted. */
static void
replay(WhAssembler *assembler, Open *open)
{
	StringInfo bytes = &assembler->entry;
	Record record;

	if (fflush(open->file) != 0 || fseek(open->file, 0, SEEK_SET) != 0)
		pg_fatal("could not read a temporary file: %m");
	while (fread(&record, sizeof(record), 1, open->file) == 1)
	{
		int at = aborted_position(open, record.subxid);

		resetStringInfo(bytes);
		enlargeStringInfo(bytes, (int) record.len);
		if (fread(bytes->data, 1, record.len, open->file) != record.len)
			break;
		if (at < open->naborted && open->aborted[at] == record.subxid)
			continue;
		pass(assembler, record.kind, (WhSlice){(const uint8_t *) bytes->data, record.len});
		if (assembler->out.len >= BATCH_TARGET)
			flush(assembler);
	}
	if (ferror(open->file) || !feof(open->file))
		pg_fatal("could not read a temporary file: %m");
}

/* -------- writing -------- */

/* pass writes an entry; one of a later version stands as it came. */
static void
pass(WhAssembler *assembler, uint32 kind, WhSlice payload)
{
	StringInfo out = &assembler->out;
	int mark;

	if (kind == WH_ENTRY_UNKNOWN)
	{
		wh_wire_append_bytes(out, 1, payload.data, payload.len);
		return;
	}
	mark = wh_wire_open(out, 1);
	wh_wire_append_bytes(out, kind, payload.data, payload.len);
	wh_wire_close(out, mark);
}

static void
flush(WhAssembler *assembler)
{
	WhSlice batch = {(const uint8_t *) assembler->out.data, assembler->out.len};

	if (batch.len == 0)
		return;
	assembler->write(assembler->arg, batch);
	resetStringInfo(&assembler->out);
}
