/*
 * account.c
 *		An independent reader: what committed, from a file of delimited batches.
 *
 *		account FILE
 *
 * Reads with protobuf-c's generated code alone, none of src/wire's own.  It follows segments of
 * transactions in progress, drops what aborted, holds what is prepared, and prints for each
 * transaction that committed, in order, a line a change: xid, table, operation.  On the way
 * everything is held to the contract: each row is a well-formed message of its relation's columns
 * with the wire types of their kinds, text is UTF-8, chunks add up, Commit counts what came, and
 * a tally's counts and hash are those of the rows.  What is wrong ends it with status 1.  A last
 * line of figures goes to standard error.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/walhouse.pb-c.h"

#define MAX_ATTNUM 1600

typedef struct Definition
{
	uint32_t relid;
	char *name;
	uint8_t kinds[MAX_ATTNUM + 1]; /* by attnum; 0: no such column */
} Definition;

typedef struct Change
{
	Definition *relation;
	uint32_t subxid;
	uint32_t hash;
	bool is_counted; /* not the second table of a TRUNCATE */
	char op;
} Change;

typedef struct Transaction
{
	struct Transaction *next;
	uint32_t xid;
	char *gid; /* once it is prepared */
	size_t nchanges;
	size_t capacity;
	Change *changes;
} Transaction;

typedef struct Value
{
	struct Value *next;
	uint32_t id;
	uint32_t crc;
	uint64_t size;
} Value;

static Definition **definitions;
static uint32_t ndefinitions;
static Transaction *open_transactions; /* streamed or prepared ones, too */
static Transaction *current;
static Value *values;
static uint32_t crc_table[256];
static uint64_t nbatches, nbytes, ncommits, nchanges, naborts, nsegments, nprepared, nchunks;
static uint64_t ntallies, nmessages, nrewrites, npartitions, largest;

static void
fail(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "account: batch %llu: ", (unsigned long long) nbatches);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

/* -------- CRC-32C -------- */

static void
make_crc_table(void)
{
	for (uint32_t i = 0; i < 256; i++)
	{
		uint32_t crc = i;

		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0x82F63B78 : crc >> 1;
		crc_table[i] = crc;
	}
}

static uint32_t
add_crc(uint32_t crc, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	crc = ~crc;
	for (size_t i = 0; i < len; i++)
		crc = crc_table[(crc ^ bytes[i]) & 0xFF] ^ crc >> 8;
	return ~crc;
}

/* -------- rows -------- */

static uint64_t
read_varint(const uint8_t **at, const uint8_t *end)
{
	uint64_t value = 0;

	for (int shift = 0; shift < 64; shift += 7)
	{
		uint8_t byte;

		if (*at >= end)
			fail("a row ends in a varint");
		byte = *(*at)++;
		value |= (uint64_t) (byte & 0x7F) << shift;
		if (byte < 0x80)
			return value;
	}
	fail("a varint is too long");
	return 0;
}

static int
wire_type_of(int kind)
{
	switch (kind)
	{
		case WALHOUSE__V1__VALUE_KIND__BOOL:
		case WALHOUSE__V1__VALUE_KIND__INT32:
		case WALHOUSE__V1__VALUE_KIND__INT64:
		case WALHOUSE__V1__VALUE_KIND__UINT32:
		case WALHOUSE__V1__VALUE_KIND__UINT64:
		case WALHOUSE__V1__VALUE_KIND__DATE:
		case WALHOUSE__V1__VALUE_KIND__TIME:
			return 0;
		case WALHOUSE__V1__VALUE_KIND__DOUBLE:
		case WALHOUSE__V1__VALUE_KIND__TIMESTAMP:
		case WALHOUSE__V1__VALUE_KIND__TIMESTAMPTZ:
			return 1;
		case WALHOUSE__V1__VALUE_KIND__FLOAT:
			return 5;
		default:
			return 2;
	}
}

static void
check_utf8(const uint8_t *at, const uint8_t *end, const Definition *relation)
{
	while (at < end)
	{
		int more = *at < 0x80 ? 0 : *at >= 0xC2 && *at < 0xE0 ? 1 :
								*at >= 0xE0 && *at < 0xF0	  ? 2 :
																3;
		uint8_t first = *at++;

		if ((first >= 0x80 && first < 0xC2) || first > 0xF4 || at + more > end)
			fail("text of %s is not UTF-8", relation->name);
		if ((first == 0xE0 && *at < 0xA0) || (first == 0xED && *at > 0x9F) ||
			(first == 0xF0 && *at < 0x90) || (first == 0xF4 && *at > 0x8F))
			fail("text of %s is not UTF-8", relation->name);
		for (; more > 0; more--, at++)
		{
			if ((*at & 0xC0) != 0x80)
				fail("text of %s is not UTF-8", relation->name);
		}
	}
}

static void
check_chunked(const uint8_t *data, size_t len, const Definition *relation)
{
	Walhouse__V1__Chunked *chunked = walhouse__v1__chunked__unpack(NULL, len, data);
	Value **at = &values;

	if (chunked == NULL)
		fail("field 2004 of %s is no Chunked", relation->name);
	while (*at != NULL && (*at)->id != chunked->id)
		at = &(*at)->next;
	if (*at == NULL || (*at)->size != chunked->size || (*at)->crc != chunked->crc32c)
		fail("the chunks of %s do not add up", relation->name);
	walhouse__v1__chunked__free_unpacked(chunked, NULL);
}

static void
check_row(const ProtobufCBinaryData *row, const Definition *relation)
{
	const uint8_t *at = row->data;
	const uint8_t *end = at + row->len;

	while (at < end)
	{
		uint64_t tag = read_varint(&at, end);
		uint64_t field = tag >> 3;
		int type = tag & 7;
		uint64_t len = type == 1 ? 8 : type == 5 ? 4 :
												   0;
		int kind = field <= MAX_ATTNUM ? relation->kinds[field] : 0;

		if (kind == 0 && (field < 2001 || field > 2010))
			fail("%s has no column %llu", relation->name, (unsigned long long) field);
		if (type == 0)
			(void) read_varint(&at, end);
		else if (type == 2)
			len = read_varint(&at, end);
		else if (type != 1 && type != 5)
			fail("field %llu of %s has wire type %d", (unsigned long long) field, relation->name,
				 type);
		if (len > (uint64_t) (end - at))
			fail("a row of %s is cut off", relation->name);
		if (kind != 0 && wire_type_of(kind) != type)
			fail("field %llu of %s has the wrong type", (unsigned long long) field,
				 relation->name);
		if (kind == WALHOUSE__V1__VALUE_KIND__TEXT || kind == WALHOUSE__V1__VALUE_KIND__OUTPUT)
			check_utf8(at, at + len, relation);
		if (field == 2004)
			check_chunked(at, len, relation);
		at += len;
	}
}

/* -------- transactions -------- */

static Transaction *
find_transaction(uint32_t xid)
{
	Transaction *transaction = open_transactions;

	while (transaction != NULL && transaction->xid != xid)
		transaction = transaction->next;
	return transaction;
}

static Transaction *
open_transaction(uint32_t xid)
{
	Transaction *transaction;

	if (find_transaction(xid) != NULL)
		fail("transaction %u begins twice", xid);
	transaction = calloc(1, sizeof(Transaction));
	transaction->xid = xid;
	transaction->next = open_transactions;
	open_transactions = transaction;
	return transaction;
}

static void
close_transaction(Transaction *transaction)
{
	Transaction **at = &open_transactions;

	while (*at != transaction)
		at = &(*at)->next;
	*at = transaction->next;
	free(transaction->changes);
	free(transaction->gid);
	free(transaction);
}

static void
void_chunks(void)
{
	while (values != NULL)
	{
		Value *next = values->next;

		free(values);
		values = next;
	}
}

static void
add_change(Definition *relation, char op, uint32_t subxid, uint32_t hash, bool is_counted)
{
	if (current == NULL)
		fail("a change outside of a transaction");
	if (current->nchanges == current->capacity)
	{
		current->capacity = current->capacity * 2 + 16;
		current->changes = realloc(current->changes, current->capacity * sizeof(Change));
	}
	current->changes[current->nchanges++] = (Change){relation, subxid, hash, is_counted, op};
}

static void
check_end(const Transaction *transaction, uint64_t changes, size_t ntally,
		  Walhouse__V1__Tally **tally)
{
	uint64_t counted = 0;

	for (size_t i = 0; i < transaction->nchanges; i++)
		counted += transaction->changes[i].is_counted;
	if (counted != changes)
		fail("transaction %u has %llu changes, not %llu", transaction->xid,
			 (unsigned long long) counted, (unsigned long long) changes);
	for (size_t t = 0; t < ntally; t++)
	{
		uint64_t counts[128] = {0};
		uint64_t hash = 0;

		for (size_t i = 0; i < transaction->nchanges; i++)
		{
			const Change *change = &transaction->changes[i];

			if (change->relation->relid != tally[t]->relid)
				continue;
			counts[(int) change->op]++;
			hash += change->hash;
			counted--;
			counted += change->op == 'T' && !change->is_counted;
		}
		if (counts['I'] != tally[t]->inserts || counts['U'] != tally[t]->updates ||
			counts['D'] != tally[t]->deletes || counts['T'] != tally[t]->truncates)
			fail("the tally of transaction %u counts other rows of %u", transaction->xid,
				 tally[t]->relid);
		if (hash != tally[t]->hash)
			fail("the tally of transaction %u has another hash of %u", transaction->xid,
				 tally[t]->relid);
		ntallies++;
	}
	if (ntally > 0 && counted != 0)
		fail("the tally of transaction %u leaves out rows", transaction->xid);
}

static void
print_transaction(const Transaction *transaction)
{
	for (size_t i = 0; i < transaction->nchanges; i++)
		printf("%u\t%s\t%c\n", transaction->xid, transaction->changes[i].relation->name,
			   transaction->changes[i].op);
	ncommits++;
	nchanges += transaction->nchanges;
}

static void
commit(const Walhouse__V1__Commit *entry, bool is_streamed)
{
	Transaction *transaction = is_streamed ? find_transaction(entry->xid) : current;

	if (transaction == NULL || transaction->xid != entry->xid || (is_streamed && current != NULL))
		fail("transaction %u commits, and is not there", entry->xid);
	check_end(transaction, entry->changes, entry->n_tally, entry->tally);
	print_transaction(transaction);
	close_transaction(transaction);
	current = NULL;
	void_chunks();
}

static void
prepare(const Walhouse__V1__Prepare *entry, bool is_streamed)
{
	Transaction *transaction = is_streamed ? find_transaction(entry->xid) : current;

	if (transaction == NULL || transaction->xid != entry->xid || (is_streamed && current != NULL))
		fail("transaction %u is prepared, and is not there", entry->xid);
	check_end(transaction, entry->changes, entry->n_tally, entry->tally);
	transaction->gid = strdup(entry->gid);
	current = NULL;
	nprepared++;
	void_chunks();
}

static void
end_prepared(uint32_t xid, const char *gid, bool commits)
{
	Transaction *transaction = find_transaction(xid);

	/* one without changes was never told about */
	if (transaction == NULL)
		return;
	if (transaction->gid == NULL || strcmp(transaction->gid, gid) != 0)
		fail("transaction %u was not prepared as \"%s\"", xid, gid);
	if (commits)
		print_transaction(transaction);
	close_transaction(transaction);
}

static void
stream_abort(const Walhouse__V1__StreamAbort *entry)
{
	Transaction *transaction = find_transaction(entry->xid);
	size_t kept = 0;

	naborts++;
	if (transaction == NULL || current != NULL)
		fail("transaction %u aborts, and is not there", entry->xid);
	if (entry->subxid == entry->xid)
	{
		close_transaction(transaction);
		return;
	}
	for (size_t i = 0; i < transaction->nchanges; i++)
	{
		if (transaction->changes[i].subxid != entry->subxid)
			transaction->changes[kept++] = transaction->changes[i];
	}
	transaction->nchanges = kept;
}

/* -------- entries -------- */

static Definition *
find_definition(uint32_t schema)
{
	if (schema >= ndefinitions || definitions[schema] == NULL)
		fail("relation %u has not been defined", schema);
	return definitions[schema];
}

static void
define(const Walhouse__V1__Relation *entry)
{
	Definition *definition = calloc(1, sizeof(Definition));

	while (entry->schema >= ndefinitions)
	{
		definitions = realloc(definitions, (ndefinitions + 1) * sizeof(Definition *));
		definitions[ndefinitions++] = NULL;
	}
	if (definitions[entry->schema] != NULL)
		fail("relation %u is defined twice", entry->schema);
	definition->relid = entry->relid;
	definition->name = malloc(strlen(entry->namespace_) + strlen(entry->name) + 2);
	sprintf(definition->name, "%s.%s", entry->namespace_, entry->name);
	for (size_t i = 0; i < entry->n_column; i++)
		definition->kinds[entry->column[i]->attnum] = entry->column[i]->kind;
	definitions[entry->schema] = definition;
}

static void
add_rows(const Walhouse__V1__Rows *entry)
{
	Definition *relation = find_definition(entry->schema);
	size_t n = entry->n_after > entry->n_before ? entry->n_after : entry->n_before;

	if ((entry->n_after > 0 && entry->n_after != n) ||
		(entry->n_before > 0 && entry->n_before != n))
		fail("a run of %s has %zu rows after and %zu before", relation->name, entry->n_after,
			 entry->n_before);
	for (size_t i = 0; i < n || i == 0; i++)
	{
		uint8_t op = entry->op;
		uint32_t hash = add_crc(0, &op, 1);

		if (i < entry->n_after)
		{
			check_row(&entry->after[i], relation);
			hash = add_crc(hash, entry->after[i].data, entry->after[i].len);
		}
		if (i < entry->n_before)
		{
			check_row(&entry->before[i], relation);
			hash = add_crc(hash, entry->before[i].data, entry->before[i].len);
		}
		add_change(relation, "?IUD"[op], entry -> subxid, hash, true);
	}
}

static void
add_chunk(const Walhouse__V1__Chunk *entry)
{
	if (values == NULL || values->id != entry->id)
	{
		Value *value = calloc(1, sizeof(Value));

		value->id = entry->id;
		value->next = values;
		values = value;
	}
	values->crc = add_crc(values->crc, entry->data.data, entry->data.len);
	values->size += entry->data.len;
	nchunks++;
}

static void
start_segment(const Walhouse__V1__StreamStart *entry)
{
	if (current != NULL)
		fail("a segment of %u begins in transaction %u", entry->xid, current->xid);
	current = entry->first ? open_transaction(entry->xid) : find_transaction(entry->xid);
	if (current == NULL)
		fail("a segment of %u begins, but it has no first one", entry->xid);
	nsegments++;
}

static void
stop_segment(const Walhouse__V1__StreamStop *entry)
{
	if (current == NULL || current->xid != entry->xid)
		fail("a segment of %u ends that has not begun", entry->xid);
	current = NULL;
	void_chunks();
}

static void
take(const Walhouse__V1__Entry *entry)
{
	switch (entry->kind_case)
	{
		case WALHOUSE__V1__ENTRY__KIND_HELLO:
			if (nbatches > 1)
				fail("a second hello");
			break;
		case WALHOUSE__V1__ENTRY__KIND_BEGIN:
			if (current != NULL)
				fail("transaction %u begins in transaction %u", entry->begin->xid, current->xid);
			current = open_transaction(entry->begin->xid);
			break;
		case WALHOUSE__V1__ENTRY__KIND_COMMIT:
			commit(entry->commit, false);
			break;
		case WALHOUSE__V1__ENTRY__KIND_RELATION:
			define(entry->relation);
			break;
		case WALHOUSE__V1__ENTRY__KIND_ROWS:
			add_rows(entry->rows);
			break;
		case WALHOUSE__V1__ENTRY__KIND_TRUNCATE:
			for (size_t i = 0; i < entry->truncate->n_schema; i++)
				add_change(find_definition(entry->truncate->schema[i]), 'T',
						   entry->truncate->subxid, 0, i == 0);
			break;
		case WALHOUSE__V1__ENTRY__KIND_STREAM_START:
			start_segment(entry->stream_start);
			break;
		case WALHOUSE__V1__ENTRY__KIND_STREAM_STOP:
			stop_segment(entry->stream_stop);
			break;
		case WALHOUSE__V1__ENTRY__KIND_STREAM_COMMIT:
			commit(entry->stream_commit, true);
			break;
		case WALHOUSE__V1__ENTRY__KIND_STREAM_ABORT:
			stream_abort(entry->stream_abort);
			break;
		case WALHOUSE__V1__ENTRY__KIND_PREPARE:
			prepare(entry->prepare, false);
			break;
		case WALHOUSE__V1__ENTRY__KIND_STREAM_PREPARE:
			prepare(entry->stream_prepare, true);
			break;
		case WALHOUSE__V1__ENTRY__KIND_COMMIT_PREPARED:
			end_prepared(entry->commit_prepared->xid, entry->commit_prepared->gid, true);
			break;
		case WALHOUSE__V1__ENTRY__KIND_ROLLBACK_PREPARED:
			end_prepared(entry->rollback_prepared->xid, entry->rollback_prepared->gid, false);
			break;
		case WALHOUSE__V1__ENTRY__KIND_CHUNK:
			add_chunk(entry->chunk);
			break;
		case WALHOUSE__V1__ENTRY__KIND_MESSAGE:
			nmessages++;
			break;
		case WALHOUSE__V1__ENTRY__KIND_REWRITE:
			nrewrites++;
			break;
		case WALHOUSE__V1__ENTRY__KIND_PARTITIONS:
			npartitions++;
			break;
		default:
			fail("an entry of an unknown kind");
	}
}

/* -------- the file -------- */

static bool
read_length(FILE *file, size_t *len)
{
	int shift = 0;
	int c;

	*len = 0;
	do
	{
		c = getc(file);
		if (c == EOF)
			return false;
		*len |= (size_t) (c & 0x7F) << shift;
		shift += 7;
	} while (c >= 0x80);
	return true;
}

int
main(int argc, char **argv)
{
	FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
	uint8_t *data = NULL;
	size_t capacity = 0;
	size_t len;

	if (file == NULL)
	{
		fprintf(stderr, "usage: account FILE\n");
		return 1;
	}
	make_crc_table();
	while (read_length(file, &len))
	{
		Walhouse__V1__Batch *batch;

		nbatches++;
		if (len > capacity)
			data = realloc(data, capacity = len * 2);
		if (fread(data, 1, len, file) != len)
			fail("the file ends in it");
		batch = walhouse__v1__batch__unpack(NULL, len, data);
		if (batch == NULL || batch->has_compression)
			fail("it cannot be unpacked");
		for (size_t i = 0; i < batch->n_entry; i++)
			take(batch->entry[i]);
		walhouse__v1__batch__free_unpacked(batch, NULL);
		nbytes += len;
		largest = len > largest ? len : largest;
	}
	if (current != NULL)
		fail("the file ends in transaction %u", current->xid);
	fprintf(stderr,
			"%llu transactions, %llu changes, %llu batches, %llu bytes, largest %llu; %llu "
			"segments, %llu aborts, %llu prepared, %llu tallies, %llu chunks, %llu messages, %llu "
			"rewrites, %llu partitions\n",
			(unsigned long long) ncommits, (unsigned long long) nchanges,
			(unsigned long long) nbatches, (unsigned long long) nbytes,
			(unsigned long long) largest, (unsigned long long) nsegments,
			(unsigned long long) naborts, (unsigned long long) nprepared,
			(unsigned long long) ntallies, (unsigned long long) nchunks,
			(unsigned long long) nmessages, (unsigned long long) nrewrites,
			(unsigned long long) npartitions);
	return 0;
}
