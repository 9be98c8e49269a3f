/*
 * decode.c
 *		Reading batches, in place.
 *
 * Every reader takes a slice and moves it forward; nothing is copied or allocated, so the slices
 * that come out live as long as the buffer.  The input is not trusted: every length is checked
 * against what is left, varints end after ten bytes, and fields and entries that this version
 * does not know are skipped.  A run is checked as a whole when its entry is taken, so that
 * walking its changes cannot find a before without its after.
 */
#include "wire/wire.h"

#include <string.h>

static bool fail(WhWireError *error, const char *message);
static bool read_varint(WhSlice *from, uint64_t *value, WhWireError *error);
static bool read_entry(WhSlice message, WhEntry *entry, WhWireError *error);
static bool read_begin(WhSlice message, WhWireBegin *begin, WhWireError *error);
static bool read_commit(WhSlice message, WhEntryKind kind, WhWireCommit *commit,
						WhWireError *error);
static bool read_stream(WhSlice message, WhEntryKind kind, WhWireStream *stream,
						WhWireError *error);
static bool read_chunk(WhSlice message, WhWireChunk *chunk, WhWireError *error);
static bool read_rows(WhSlice message, WhWireRows *rows, WhWireError *error);
static bool check_rows(WhWireRows *rows, uint32_t seen, size_t nafter, size_t nbefore,
					   WhWireError *error);
static bool next_row(WhSlice *rest, uint32_t tag, WhSlice *row, WhWireError *error);

/* -------- fields -------- */

bool
wh_wire_next_field(WhSlice *message, WhField *field, WhWireError *error)
{
	uint64_t key;

	if (message->len == 0)
		return false;
	if (!read_varint(message, &key, error))
		return false;
	if ((key >> 3) == 0 || (key >> 3) > 0x1FFFFFFF)
		return fail(error, "field number out of range");
	field->tag = (uint32_t) (key >> 3);
	field->type = (WhWireType) (key & 7);
	field->number = 0;
	field->bytes.data = NULL;
	field->bytes.len = 0;
	switch (key & 7)
	{
		case WH_WIRE_VARINT:
			return read_varint(message, &field->number, error);
		case WH_WIRE_FIXED64:
			return wh_wire_next_fixed(message, 8, &field->number, error);
		case WH_WIRE_FIXED32:
			return wh_wire_next_fixed(message, 4, &field->number, error);
		case WH_WIRE_BYTES:
			if (!read_varint(message, &field->number, error))
				return false;
			if (field->number > message->len)
				return fail(error, "length goes beyond the end of the message");
			field->bytes.data = message->data;
			field->bytes.len = (size_t) field->number;
			message->data += field->bytes.len;
			message->len -= field->bytes.len;
			return true;
		default:
			return fail(error, "unknown wire type");
	}
}

bool
wh_wire_next_packed(WhSlice *packed, uint64_t *value, WhWireError *error)
{
	if (packed->len == 0)
		return false;
	return read_varint(packed, value, error);
}

static bool
fail(WhWireError *error, const char *message)
{
	if (*error == NULL)
		*error = message;
	return false;
}

static bool
read_varint(WhSlice *from, uint64_t *value, WhWireError *error)
{
	uint64_t result = 0;

	for (size_t i = 0; i < from->len && i < 10; i++)
	{
		uint8_t byte = from->data[i];

		if (i == 9 && byte > 1)
			break;
		result |= (uint64_t) (byte & 0x7F) << (7 * i);
		if (byte < 0x80)
		{
			from->data += i + 1;
			from->len -= i + 1;
			*value = result;
			return true;
		}
	}
	return fail(error, "malformed varint");
}

bool
wh_wire_next_fixed(WhSlice *from, int size, uint64_t *value, WhWireError *error)
{
	if (from->len < (size_t) size)
		return fail(error, "value goes beyond the end of the message");
	*value = 0;
	for (int i = size - 1; i >= 0; i--)
		*value = *value << 8 | from->data[i];
	from->data += size;
	from->len -= size;
	return true;
}

/* is_type checks the wire type of a field that is known. */
static bool
is_type(const WhField *field, WhWireType type, WhWireError *error)
{
	return field->type == type || fail(error, "field has the wrong wire type");
}

/* -------- entries -------- */

bool
wh_wire_next_entry(WhSlice *batch, WhEntry *entry, WhWireError *error)
{
	WhField field;

	*error = NULL;
	while (wh_wire_next_field(batch, &field, error))
	{
		if (field.tag == 2)
			return fail(error, "batch is compressed");
		if (field.tag != 1)
			continue;
		return is_type(&field, WH_WIRE_BYTES, error) && read_entry(field.bytes, entry, error);
	}
	return false;
}

/* read_entry finds the one message that an entry holds. */
static bool
read_entry(WhSlice message, WhEntry *entry, WhWireError *error)
{
	WhField field;

	memset(entry, 0, sizeof(*entry));
	entry->kind = WH_ENTRY_UNKNOWN;
	entry->payload = message;
	while (wh_wire_next_field(&message, &field, error))
	{
		if (field.tag < WH_ENTRY_HELLO || field.tag > WH_ENTRY_ALTERED)
			continue;
		if (!is_type(&field, WH_WIRE_BYTES, error))
			return false;
		if (entry->kind != WH_ENTRY_UNKNOWN)
			return fail(error, "entry holds more than one message");
		entry->kind = (WhEntryKind) field.tag;
		entry->payload = field.bytes;
	}
	if (*error != NULL)
		return false;
	switch (entry->kind)
	{
		case WH_ENTRY_BEGIN:
			return read_begin(entry->payload, &entry->u.begin, error);
		case WH_ENTRY_COMMIT:
		case WH_ENTRY_STREAM_COMMIT:
		case WH_ENTRY_PREPARE:
		case WH_ENTRY_STREAM_PREPARE:
		case WH_ENTRY_COMMIT_PREPARED:
		case WH_ENTRY_ROLLBACK_PREPARED:
			return read_commit(entry->payload, entry->kind, &entry->u.commit, error);
		case WH_ENTRY_STREAM_START:
		case WH_ENTRY_STREAM_STOP:
		case WH_ENTRY_STREAM_ABORT:
			return read_stream(entry->payload, entry->kind, &entry->u.stream, error);
		case WH_ENTRY_CHUNK:
			return read_chunk(entry->payload, &entry->u.chunk, error);
		case WH_ENTRY_ROWS:
			return read_rows(entry->payload, &entry->u.rows, error);
		default:
			return true;
	}
}

/* take_uint32 stores a field's value where it fits. */
static bool
take_uint32(const WhField *field, uint32_t *value, WhWireError *error)
{
	if (field->number > UINT32_MAX)
		return fail(error, "number does not fit 32 bits");
	*value = (uint32_t) field->number;
	return true;
}

/* read_transaction_field takes one of the fields 1 to 4 of what begins or ends a transaction. */
static bool
read_transaction_field(const WhField *field, WhWireCommit *transaction, WhWireError *error)
{
	switch (field->tag)
	{
		case 1:
			return is_type(field, WH_WIRE_VARINT, error) &&
				   take_uint32(field, &transaction->xid, error);
		case 2:
			transaction->commit_lsn = field->number;
			break;
		case 3:
			transaction->end_lsn = field->number;
			break;
		default:
			transaction->commit_time = (int64_t) field->number;
			break;
	}
	return is_type(field, WH_WIRE_FIXED64, error);
}

static bool
read_begin(WhSlice message, WhWireBegin *begin, WhWireError *error)
{
	WhWireCommit transaction = {0};
	uint32_t seen = 0;
	WhField field;

	while (wh_wire_next_field(&message, &field, error))
	{
		if (field.tag <= 4)
		{
			if (!read_transaction_field(&field, &transaction, error))
				return false;
			seen |= 1u << field.tag;
		}
		else if (field.tag <= 6)
		{
			if (!is_type(&field, WH_WIRE_BYTES, error))
				return false;
			if (field.tag == 5)
				begin->origin = field.bytes;
			else
				begin->gid = field.bytes;
		}
	}
	if (*error == NULL && seen != 0x1E)
		return fail(error, "begin lacks a field");
	begin->xid = transaction.xid;
	begin->commit_lsn = transaction.commit_lsn;
	begin->end_lsn = transaction.end_lsn;
	begin->commit_time = transaction.commit_time;
	return *error == NULL;
}

/* What each kind must have, bits by field number. */
static uint32_t
required_of(WhEntryKind kind)
{
	switch (kind)
	{
		case WH_ENTRY_COMMIT:
		case WH_ENTRY_STREAM_COMMIT:
			return 0x3E;
		case WH_ENTRY_PREPARE:
		case WH_ENTRY_STREAM_PREPARE:
			return 0xBE;
		default:
			return 0x9E;
	}
}

static bool
read_commit(WhSlice message, WhEntryKind kind, WhWireCommit *commit, WhWireError *error)
{
	uint32_t required = required_of(kind);
	uint32_t seen = 0;
	WhField field;

	commit->tallies = message;
	while (wh_wire_next_field(&message, &field, error))
	{
		if (field.tag > 7)
			continue;
		if (field.tag <= 4)
		{
			if (!read_transaction_field(&field, commit, error))
				return false;
		}
		else if (!is_type(&field, field.tag == 5 ? WH_WIRE_VARINT : WH_WIRE_BYTES, error))
			return false;
		else if (field.tag == 5)
			commit->changes = field.number;
		else if (field.tag == 7)
			commit->gid = field.bytes;
		seen |= 1u << field.tag;
	}
	if (*error == NULL && (seen & required) != required)
		return fail(error, "end of a transaction lacks a field");
	return *error == NULL;
}

bool
wh_wire_next_tally(WhSlice *tallies, WhWireTally *tally, WhWireError *error)
{
	uint32_t seen = 0;
	WhField field;
	WhSlice message;

	do
	{
		if (!wh_wire_next_field(tallies, &field, error))
			return false;
	} while (field.tag != 6);
	if (!is_type(&field, WH_WIRE_BYTES, error))
		return false;
	message = field.bytes;
	memset(tally, 0, sizeof(*tally));
	while (wh_wire_next_field(&message, &field, error))
	{
		uint64_t *const numbers[] = {&tally->inserts, &tally->updates, &tally->deletes,
									 &tally->truncates, &tally->hash};

		if (field.tag > 6)
			continue;
		if (!is_type(&field, field.tag == 6 ? WH_WIRE_FIXED64 : WH_WIRE_VARINT, error))
			return false;
		if (field.tag > 1)
			*numbers[field.tag - 2] = field.number;
		else if (!take_uint32(&field, &tally->relid, error))
			return false;
		seen |= 1u << field.tag;
	}
	if (*error == NULL && seen != 0x7E)
		return fail(error, "tally lacks a field");
	return *error == NULL;
}

/* -------- streamed transactions, chunks -------- */

static bool
read_stream(WhSlice message, WhEntryKind kind, WhWireStream *stream, WhWireError *error)
{
	uint32_t required = kind == WH_ENTRY_STREAM_START ? 0x6 : 0x2;
	uint32_t seen = 0;
	WhField field;

	if (kind == WH_ENTRY_STREAM_ABORT)
		required = 0xE;
	while (wh_wire_next_field(&message, &field, error))
	{
		WhWireType type = WH_WIRE_VARINT;

		if (field.tag > 3 || (field.tag > 1 && kind == WH_ENTRY_STREAM_STOP))
			continue;
		if (field.tag == 3)
			type = kind == WH_ENTRY_STREAM_START ? WH_WIRE_BYTES : WH_WIRE_FIXED64;
		if (!is_type(&field, type, error))
			return false;
		if (field.tag == 3)
		{
			stream->origin = field.bytes;
			stream->abort_lsn = field.number;
		}
		else if (field.tag == 2 && kind == WH_ENTRY_STREAM_START)
			stream->is_first = field.number != 0;
		else if (!take_uint32(&field, field.tag == 1 ? &stream->xid : &stream->subxid, error))
			return false;
		seen |= 1u << field.tag;
	}
	if (kind != WH_ENTRY_STREAM_START)
		stream->origin = (WhSlice){NULL, 0};
	else
		stream->abort_lsn = 0;
	if (*error == NULL && (seen & required) != required)
		return fail(error, "stream entry lacks a field");
	return *error == NULL;
}

static bool
read_chunk(WhSlice message, WhWireChunk *chunk, WhWireError *error)
{
	uint32_t seen = 0;
	WhField field;

	while (wh_wire_next_field(&message, &field, error))
	{
		if (field.tag > 2)
			continue;
		if (!is_type(&field, field.tag == 1 ? WH_WIRE_VARINT : WH_WIRE_BYTES, error))
			return false;
		if (field.tag == 2)
			chunk->data = field.bytes;
		else if (!take_uint32(&field, &chunk->id, error))
			return false;
		seen |= 1u << field.tag;
	}
	if (*error == NULL && seen != 0x6)
		return fail(error, "chunk lacks a field");
	return *error == NULL;
}

/* -------- runs -------- */

static bool
read_rows(WhSlice message, WhWireRows *rows, WhWireError *error)
{
	size_t nafter = 0;
	size_t nbefore = 0;
	uint32_t seen = 0;
	uint32_t number = 0;
	WhField field;

	rows->after_rest = message;
	rows->before_rest = message;
	while (wh_wire_next_field(&message, &field, error))
	{
		if (field.tag > 8)
			continue;
		if (!is_type(&field, field.tag == 4 || field.tag == 5 ? WH_WIRE_BYTES : WH_WIRE_VARINT,
					 error))
			return false;
		seen |= 1u << field.tag;
		if (field.tag == 4)
			nafter++;
		else if (field.tag == 5)
			nbefore++;
		else if (field.tag == 3)
			rows->first_seq = field.number;
		else
		{
			if (!take_uint32(&field, &number, error))
				return false;
			if (field.tag == 1)
				rows->schema = number;
			else if (field.tag == 2)
				rows->op = (WhOp) number;
			else if (field.tag == 6)
				rows->before_kind = (WhBeforeKind) number;
			else if (field.tag == 7)
				rows->subxid = number;
			else
				rows->is_rewritten = number != 0;
		}
	}
	return *error == NULL && check_rows(rows, seen, nafter, nbefore, error);
}

/*
 * check_rows holds the numbers of after and before images to operation and before_kind, and
 * counts the changes.
 */
static bool
check_rows(WhWireRows *rows, uint32_t seen, size_t nafter, size_t nbefore, WhWireError *error)
{
	uint32_t required = 1u << 1 | 1u << 2 | 1u << 3 | 1u << 6;
	bool has_after = rows->op != WH_OP_DELETE;
	bool has_before = rows->before_kind != WH_BEFORE_NONE;

	if ((seen & required) != required)
		return fail(error, "rows lacks a field");
	if (rows->op < WH_OP_INSERT || rows->op > WH_OP_DELETE)
		return fail(error, "unknown operation");
	if (rows->before_kind > WH_BEFORE_FULL)
		return fail(error, "unknown kind of old image");
	if (rows->is_rewritten && (rows->op != WH_OP_UPDATE || has_before))
		return fail(error, "rewritten rows are not updates");
	if (has_after)
		rows->changes = nafter;
	else
		rows->changes = has_before ? nbefore : 1;
	if (nafter != (has_after ? rows->changes : 0) || nbefore != (has_before ? rows->changes : 0))
		return fail(error, "old and new images do not match");
	return true;
}

/*
 * wh_wire_next_change counts changes down: once none is left, it returns false.  The number that
 * rows->changes shows while walking is that of the changes still to come.
 */
bool
wh_wire_next_change(WhWireRows *rows, WhSlice *after, WhSlice *before, WhWireError *error)
{
	memset(after, 0, sizeof(*after));
	memset(before, 0, sizeof(*before));
	if (rows->changes == 0)
		return false;
	if (rows->op != WH_OP_DELETE && !next_row(&rows->after_rest, 4, after, error))
		return false;
	if (rows->before_kind != WH_BEFORE_NONE && !next_row(&rows->before_rest, 5, before, error))
		return false;
	rows->changes--;
	return true;
}

static bool
next_row(WhSlice *rest, uint32_t tag, WhSlice *row, WhWireError *error)
{
	WhField field;

	while (wh_wire_next_field(rest, &field, error))
	{
		if (field.tag != tag)
			continue;
		*row = field.bytes;
		return true;
	}
	return fail(error, "run ends too early");
}
