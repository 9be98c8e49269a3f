/*
 * spool.c
 *		A source transaction from its first message to its commit, in memory or in a temporary
 * file.
 *
 * Messages stay in libpq's buffers until walhouse.feed_memory is reached, and go to a file then:
 * length, bytes.  The file is open across transactions and gone with the process, so a crash
 * leaves nothing and the source sends it all again.
 */
#include "postgres.h"

#include "pgstat.h"
#include "utils/memutils.h"

#include "base/base.h"
#include "feed/feed_private.h"

static void spill(WhTransaction *txn);
static void write_message(WhTransaction *txn, const char *data, int len);
static void read_bytes(WhTransaction *txn, void *out, int len);

WhTransaction *
wh_spool_begin(MemoryContext parent)
{
	MemoryContext context =
		AllocSetContextCreate(parent, "walhouse transaction", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	WhTransaction *txn = palloc0(sizeof(WhTransaction));

	txn->context = context;
	txn->file = -1;
	MemoryContextSwitchTo(old);
	return txn;
}

void
wh_spool_add(WhTransaction *txn, char *buffer, int start, int len)
{
	MemoryContext old = MemoryContextSwitchTo(txn->context);
	WhMessage *message = palloc(sizeof(WhMessage));

	message->buffer = buffer;
	message->start = start;
	message->len = len;
	txn->messages = lappend(txn->messages, message);
	txn->bytes += len;
	MemoryContextSwitchTo(old);
	if (txn->file >= 0 || txn->bytes > (Size) wh_feed_memory * 1024)
		spill(txn);
}

/* spill moves what is in memory to the file. */
static void
spill(WhTransaction *txn)
{
	if (txn->file < 0)
		txn->file = OpenTemporaryFile(true);
	foreach_ptr(WhMessage, message, txn->messages)
	{
		write_message(txn, message->buffer + message->start, message->len);
		PQfreemem(message->buffer);
		message->buffer = NULL;
	}
	list_free_deep(txn->messages);
	txn->messages = NIL;
	txn->bytes = 0;
}

static void
write_message(WhTransaction *txn, const char *data, int len)
{
	if (FileWrite(txn->file, (char *) &len, sizeof(len), txn->file_size, PG_WAIT_EXTENSION) !=
			sizeof(len) ||
		FileWrite(txn->file, (char *) data, len, txn->file_size + sizeof(len),
				  PG_WAIT_EXTENSION) != len)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write to temporary file \"%s\": %m", FilePathName(txn->file))));
	txn->file_size += sizeof(len) + len;
}

void
wh_spool_rewind(WhTransaction *txn)
{
	txn->file_read = 0;
	txn->list_read = 0;
}

bool
wh_spool_next(WhTransaction *txn, WhSlice *message)
{
	if (txn->file < 0)
	{
		WhMessage *next;

		if (txn->list_read >= list_length(txn->messages))
			return false;
		next = list_nth(txn->messages, txn->list_read++);
		message->data = (const uint8_t *) next->buffer + next->start;
		message->len = next->len;
		return true;
	}
	if (txn->file_read >= txn->file_size)
		return false;
	else
	{
		int len;

		read_bytes(txn, &len, sizeof(len));
		if (txn->file_buffer != NULL)
			pfree(txn->file_buffer);
		txn->file_buffer = MemoryContextAllocHuge(txn->context, len);
		read_bytes(txn, txn->file_buffer, len);
		message->data = (const uint8_t *) txn->file_buffer;
		message->len = len;
		return true;
	}
}

static void
read_bytes(WhTransaction *txn, void *out, int len)
{
	if (FileRead(txn->file, out, len, txn->file_read, PG_WAIT_EXTENSION) != len)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read from temporary file \"%s\": %m", FilePathName(txn->file))));
	txn->file_read += len;
}

bool
wh_spool_is_large(const WhTransaction *txn)
{
	return txn->file >= 0 || txn->has_truncate;
}

void
wh_spool_free(WhTransaction *txn)
{
	foreach_ptr(WhMessage, message, txn->messages)
	{
		if (message->buffer != NULL)
			PQfreemem(message->buffer);
	}
	if (txn->file >= 0)
		FileClose(txn->file);
	MemoryContextDelete(txn->context);
}
