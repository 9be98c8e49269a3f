/*
 * spool.c
 *		A source transaction from its first message to its commit, in memory or in a temporary
 * file.
 *
 * Messages stay in libpq's buffers, as they came, until receive.c sends them to a file: length,
 * bytes.  What comes after goes there in pieces of SPILL_SIZE.  The file is open across
 * transactions and gone with the process, so a crash leaves nothing and the source sends it all
 * again.
 */
#include "postgres.h"

#include "pgstat.h"
#include "utils/memutils.h"

#include "base/base.h"
#include "feed/feed_private.h"

#define SPILL_SIZE (256 * 1024)
/* What a message takes beside its bytes: the allocator's headers, a WhMessage, a list cell. */
#define MESSAGE_OVERHEAD 128

static void write_message(WhTransaction *txn, const WhMessage *message);
static void write_bytes(WhTransaction *txn, const char *data, int len);
static void read_bytes(WhTransaction *txn, void *out, int len);
static bool next_in_file(WhTransaction *txn, WhSlice *message);
static int compare_xids(const void *a, const void *b);

WhTransaction *
wh_spool_begin(WhStream *stream)
{
	MemoryContext context =
		AllocSetContextCreate(stream->context, "walhouse transaction", ALLOCSET_SMALL_SIZES);
	WhTransaction *txn = MemoryContextAllocZero(context, sizeof(WhTransaction));

	txn->context = context;
	txn->stream = stream;
	txn->file = -1;
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
	txn->bytes += len + MESSAGE_OVERHEAD;
	txn->stream->spooled += len + MESSAGE_OVERHEAD;
	MemoryContextSwitchTo(old);
	if (txn->file >= 0 && txn->bytes > SPILL_SIZE)
		wh_spool_spill(txn);
}

void
wh_spool_spill(WhTransaction *txn)
{
	if (txn->file < 0)
	{
		txn->file = OpenTemporaryFile(true);
		txn->stream->spilled++;
	}
	foreach_ptr(WhMessage, message, txn->messages)
	{
		write_message(txn, message);
		PQfreemem(message->buffer);
		message->buffer = NULL;
	}
	list_free_deep(txn->messages);
	txn->messages = NIL;
	txn->stream->spooled -= txn->bytes;
	txn->bytes = 0;
}

/* write_message writes length and bytes at once: before the bytes the buffer has the message's
 * header. */
static void
write_message(WhTransaction *txn, const WhMessage *message)
{
	char *from = message->buffer + message->start - sizeof(message->len);

	Assert(message->start >= (int) sizeof(message->len));
	memcpy(from, &message->len, sizeof(message->len));
	write_bytes(txn, from, sizeof(message->len) + message->len);
}

static void
write_bytes(WhTransaction *txn, const char *data, int len)
{
	errno = 0;
	if (FileWrite(txn->file, (char *) data, len, txn->file_size, PG_WAIT_EXTENSION) != len)
	{
		if (errno == 0)
			errno = ENOSPC;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write to temporary file \"%s\": %m", FilePathName(txn->file))));
	}
	txn->file_size += len;
	txn->stream->spilled_bytes += len;
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
	WhWireError error = NULL;

	if (!next_in_file(txn, message))
	{
		WhMessage *next;

		if (txn->list_read >= list_length(txn->messages))
			return false;
		next = list_nth(txn->messages, txn->list_read++);
		message->data = (const uint8_t *) next->buffer + next->start;
		message->len = next->len;
	}
	if (!wh_wire_inflate(message, &txn->stream->inflated, &error))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("malformed message of the source: %s", error)));
	return true;
}

static bool
next_in_file(WhTransaction *txn, WhSlice *message)
{
	int len;

	if (txn->file < 0 || txn->file_read >= txn->file_size)
		return false;
	read_bytes(txn, &len, sizeof(len));
	if (txn->file_buffer_size < len)
	{
		if (txn->file_buffer != NULL)
			pfree(txn->file_buffer);
		txn->file_buffer = NULL;
		txn->file_buffer = MemoryContextAllocHuge(txn->context, len);
		txn->file_buffer_size = len;
	}
	read_bytes(txn, txn->file_buffer, len);
	message->data = (const uint8_t *) txn->file_buffer;
	message->len = len;
	return true;
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
	return txn->file >= 0 || txn->has_truncate || txn->changes > (uint64) wh_feed_batch_rows;
}

/* -------- subtransactions that were aborted -------- */

void
wh_spool_void(WhTransaction *txn, uint32 subxid)
{
	if (txn->void_count == txn->void_room)
	{
		txn->void_room = txn->void_room == 0 ? 16 : txn->void_room * 2;
		txn->voids = txn->voids == NULL ?
						 MemoryContextAlloc(txn->context, sizeof(uint32) * txn->void_room) :
						 repalloc_huge(txn->voids, sizeof(uint32) * txn->void_room);
	}
	txn->voids[txn->void_count++] = subxid;
	txn->voids_are_sorted = false;
}

/* wh_spool_is_void: before the commit, a subtransaction that aborted has nothing to send any
 * more. */
bool
wh_spool_is_void(WhTransaction *txn, uint32 subxid)
{
	if (subxid == 0 || txn->void_count == 0)
		return false;
	if (!txn->voids_are_sorted)
	{
		if (!txn->is_complete)
			return false;
		qsort(txn->voids, txn->void_count, sizeof(uint32), compare_xids);
		txn->voids_are_sorted = true;
	}
	return bsearch(&subxid, txn->voids, txn->void_count, sizeof(uint32), compare_xids) != NULL;
}

static int
compare_xids(const void *a, const void *b)
{
	uint32 left = *(const uint32 *) a;
	uint32 right = *(const uint32 *) b;

	return left < right ? -1 : left > right;
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
	txn->stream->spooled -= txn->bytes;
	MemoryContextDelete(txn->context);
}
