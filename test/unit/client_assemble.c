/*
 * client_assemble.c
 *		Whole transactions out of streamed ones.
 *
 * Streams are made at random: transactions in progress whose segments come in turn, with
 * subtransactions, some of which abort; some transactions commit, some are prepared, some abort,
 * some are cut off by a new session; whole transactions stand between.  What is assembled must
 * be what a model that knows the future would have written, and must be read by a reader that
 * knows nothing of streaming.  Prints TAP; a seed can be given.
 */
#include "postgres_fe.h"

#include "client/client.h"
#include "wire/encode.h"

#include "tap.h"

#define XIDS 6
#define CHANGES 200

/* A transaction in progress, and what it has sent so far. */
typedef struct Sent
{
	uint32 subxid[CHANGES];
	uint32 value[CHANGES];
	bool is_aborted[10];
	int changes;
	uint64 seq;
} Sent;

/* What was assembled: the values of committed rows, in order, and the number of transactions. */
typedef struct Found
{
	StringInfoData text;
	bool in_transaction;
	bool is_proper;
} Found;

static uint32 next_value = 1;

static void
add_change(WhBatch *batch, uint32 subxid, uint64 seq, uint32 value)
{
	wh_wire_begin_change(batch, 1, WH_OP_INSERT, WH_BEFORE_NONE, seq, subxid);
	wh_wire_append_uint(wh_wire_begin_after(batch), 1, value);
	wh_wire_end_row(batch);
}

static void
add_segment(WhBatch *batch, Sent *sent, uint32 xid)
{
	WhWireStream stream = {xid, 0, sent->changes == 0, 0, {(const uint8_t *) "o", 1}};

	wh_wire_add_stream(batch, WH_ENTRY_STREAM_START, &stream);
	for (int n = (int) draw(8); n >= 0 && sent->changes < CHANGES; n--)
	{
		uint32 sub = (uint32) draw(10);

		if (sent->is_aborted[sub])
			sub = 0;
		sent->subxid[sent->changes] = sub;
		sent->value[sent->changes++] = next_value;
		add_change(batch, sub == 0 ? 0 : xid * 100 + sub, ++sent->seq, next_value++);
	}
	wh_wire_add_stream(batch, WH_ENTRY_STREAM_STOP, &stream);
}

/* add_end ends a transaction, and writes what should be found. */
static void
add_end(WhBatch *batch, Sent *sent, uint32 xid, StringInfo expected)
{
	WhWireCommit commit = {xid, xid, xid + 1, 5, sent->changes};
	WhWirePrepared prepared = {xid, xid, 0, xid + 1, 5, 0, "g", sent->changes};
	WhWireStream stream = {xid, xid};
	int way = (int) draw(4);

	if (way == 0)
		wh_wire_add_stream(batch, WH_ENTRY_STREAM_ABORT, &stream);
	else if (way == 1)
		wh_wire_add_prepared(batch, WH_ENTRY_STREAM_PREPARE, &prepared, NULL, 0);
	else
		wh_wire_add_commit(batch, WH_ENTRY_STREAM_COMMIT, &commit, NULL, 0);
	if (way > 0)
		appendStringInfo(expected, "(%s", way == 1 ? "g" : "");
	for (int i = 0; way > 0 && i < sent->changes; i++)
	{
		if (!sent->is_aborted[sent->subxid[i]])
			appendStringInfo(expected, " %u", sent->value[i]);
	}
	appendStringInfoString(expected, way == 0 ? "" : way == 1 ? " p)" :
																" c)");
	memset(sent, 0, sizeof(*sent));
}

static void
add_plain(WhBatch *batch, StringInfo expected)
{
	WhWireBegin begin = {900, 1, 2, 3};
	WhWireCommit commit = {900, 1, 2, 3, 1};

	wh_wire_add_begin(batch, &begin);
	add_change(batch, 0, 1, next_value);
	wh_wire_add_commit(batch, WH_ENTRY_COMMIT, &commit, NULL, 0);
	appendStringInfo(expected, "( %u c)", next_value++);
}

/* take is a reader that knows nothing of streaming. */
static void
take(void *arg, WhSlice batch)
{
	Found *found = arg;
	WhWireError error = NULL;
	WhEntry entry;
	WhSlice after;
	WhSlice before;
	WhField field;

	while (wh_wire_next_entry(&batch, &entry, &error))
	{
		bool is_end = entry.kind == WH_ENTRY_COMMIT || entry.kind == WH_ENTRY_PREPARE;

		if (entry.kind == WH_ENTRY_HELLO)
			continue;
		if (entry.kind == WH_ENTRY_BEGIN)
			appendStringInfo(&found->text, "(%.*s", (int) entry.u.begin.gid.len,
							 (const char *) entry.u.begin.gid.data);
		else if (is_end)
			appendStringInfo(&found->text, " %s)", entry.kind == WH_ENTRY_COMMIT ? "c" : "p");
		else if (entry.kind != WH_ENTRY_ROWS || entry.u.rows.subxid != 0)
			found->is_proper = false;
		if ((entry.kind == WH_ENTRY_BEGIN) == found->in_transaction)
			found->is_proper = false;
		found->in_transaction = !is_end;
		while (entry.kind == WH_ENTRY_ROWS &&
			   wh_wire_next_change(&entry.u.rows, &after, &before, &error))
		{
			if (wh_wire_next_field(&after, &field, &error))
				appendStringInfo(&found->text, " %u", (uint32) field.number);
		}
	}
	if (error != NULL)
		found->is_proper = false;
}

static bool
run(void)
{
	static Sent sent[XIDS];
	WhWireHello hello = {"1", 150000, 1, 1, 1, "d", "UTF8", 0, NULL, NULL};
	Found found = {.is_proper = true};
	WhAssembler *assembler = wh_client_create_assembler(take, &found);
	StringInfoData expected;
	WhBatch batch;
	bool is_same;

	memset(sent, 0, sizeof(sent));
	initStringInfo(&found.text);
	initStringInfo(&expected);
	wh_wire_init_batch(&batch);
	for (int step = 0; step < 60; step++)
	{
		uint32 xid = (uint32) draw(XIDS);
		Sent *one = &sent[xid];
		int what = (int) draw(30);
		uint32 sub = 1 + (uint32) draw(9);
		WhWireStream stream = {xid + 1, (xid + 1) * 100 + sub};

		if (what == 0)
		{
			wh_wire_add_hello(&batch, &hello);
			memset(sent, 0, sizeof(sent));
		}
		else if (what < 5)
			add_plain(&batch, &expected);
		else if (what < 9 && one->changes > 0)
			add_end(&batch, one, xid + 1, &expected);
		else if (what < 14 && one->changes > 0)
		{
			wh_wire_add_stream(&batch, WH_ENTRY_STREAM_ABORT, &stream);
			one->is_aborted[sub] = true;
		}
		else
			add_segment(&batch, one, xid + 1);
		wh_wire_finish_batch(&batch);
		wh_client_assemble(assembler, (WhSlice){(uint8_t *) batch.out.data, batch.out.len});
		wh_wire_reset_batch(&batch);
	}
	is_same = strcmp(found.text.data, expected.data) == 0;
	if (!is_same)
		printf("# expected %s\n# found    %s\n", expected.data, found.text.data);
	wh_client_free_assembler(assembler);
	pfree(found.text.data);
	pfree(expected.data);
	pfree(batch.out.data);
	pfree(batch.run.after.data);
	pfree(batch.run.before.data);
	return is_same && found.is_proper && !found.in_transaction;
}

int
main(int argc, char **argv)
{
	int nsame = 0;

	if (argc > 1)
		state ^= strtoull(argv[1], NULL, 10) * UINT64CONST(0x9E3779B97F4A7C15);
	for (int i = 0; i < 1000 && nsame == i; i++)
		nsame += run();
	ok(nsame == 1000, "streamed transactions come out whole, without what aborted");
	return done();
}
