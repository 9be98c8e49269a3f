/*
 * stream.c
 *		An open stream: the lock, the checks, the protocol, and what is confirmed to the source.
 *
 * The stream belongs to the session that holds the stream lock.  Its memory is a context below
 * TopMemoryContext; when the top-level transaction aborts, source/connect.c closes the connection,
 * the lock manager releases the lock, and the callback here frees the rest, so that whoever
 * caught the error finds a stream that is closed.
 *
 * Commits here are asynchronous.  A position is confirmed once the local WAL up to its commit
 * record is flushed, and never what was merely received.  The first thing that a session commits,
 * synchronously, is its session row: after that all that earlier sessions committed is durable
 * too, and so is the position that it starts from.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "feed/feed_private.h"
#include "port/pg_bswap.h"

#define IDLE_AHEAD (16 * 1024 * 1024)
#define IDLE_INTERVAL_MS 10000
#define SLOT_WAIT_MS 15000
#define REPORT_INTERVAL_MS 200
#define ASK_INTERVAL_MS 20
#define URGE_MS 100
/* Memory for the rows of an ingest of usual size stays, what the system gives anew it clears: this
 * part of walhouse.feed_memory, and MAX_KEPT at most. */
#define KEPT_PART 16
#define MAX_KEPT (4 * 1024 * 1024)
/* The source sends less in that time than the connection takes; and for so long it is waited for.
 */
#define GATHER_MS 2
#define GATHER_MOST_MS 50
#define LOOK_EVERY 32 /* messages, while they come without a pause */

static List *streams = NIL; /* open ones, in TopMemoryContext */
static bool leaves_politely = false; /* leave_streams is registered in this process */

static void abort_streams(XactEvent event, void *arg);
static void free_stream(WhStream *stream);
static WhStream *create_stream(const WhFeed *feed);
static bool is_reached(void *stream, XLogRecPtr lsn, bool store);
static void start_session(WhStream *stream);
static void wait_for_slot(const WhFeed *feed, PGconn *plain);
static void start_replication(WhStream *stream);
static bool wait_stream(WhStream *stream, long timeout_ms);
static bool gather(WhStream *stream);
static void take_copy_data(WhStream *stream, char *buffer, int len);
static bool store_idle_if_due(WhStream *stream);
static void say_goodbye(WhStream *stream);
static void leave_streams(int code, Datum arg);
static void answer(WhStream *stream);
static bool batch_is_full(const WhStream *stream);
static void advance_confirmed(WhStream *stream);
static void report_if_due(WhStream *stream);
static void report(WhStream *stream, bool wants_reply);
static bool send_report(WhStream *stream, bool wants_reply);
static long next_wait(const WhStream *stream, TimestampTz deadline);
static XLogRecPtr read_lsn(const WhStream *stream, const char *data);
static char *write_lsn(const WhStream *stream, char *out, XLogRecPtr lsn);
static uint64 read_uint64(const char *data);
static char *write_uint64(char *out, uint64 value);
static void check_open(const WhStream *stream);

void
wh_stream_init(void)
{
	RegisterXactCallback(abort_streams, NULL);
}

static void
abort_streams(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_ABORT)
		return;
	while (streams != NIL)
	{
		WhStream *stream = linitial(streams);

		stream->conn = NULL; /* source/connect.c's callback closes it */
		free_stream(stream);
	}
}

/* free_stream frees all but the handle. */
static void
free_stream(WhStream *stream)
{
	streams = list_delete_ptr(streams, stream);
	wh_stream_discard(stream);
	free(stream->inflated.data);
	MemoryContextDelete(stream->context);
	stream->context = NULL;
}

WhStream *
wh_feed_open(WhFeed *feed, int *holder)
{
	WhStream *stream;
	PGconn *plain;
	WhIdentity source;

	wh_user_check_owner(feed->owner, "feed", feed->name);
	if (strcmp(feed->state, "ready") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feed \"%s\" is in state %s", feed->name, feed->state),
				 errhint("CALL walhouse.drop_feed(%s), and create it again.", wh_sql_literal(feed->name))));
	if (!wh_lock_stream(feed->id, holder))
		return NULL;
	wh_feed_check_resync(feed);
	wh_txn_commit();
	stream = create_stream(feed);
	plain = wh_connect(feed, false);
	stream->conn = wh_connect(feed, true);
	source = wh_source_identity(stream->conn);
	wh_feed_check_identity(feed, &source);
	wh_txn_commit();
	wh_copier_pend(feed);
	start_session(stream);
	wait_for_slot(feed, plain);
	wh_feed_check_slot(feed, plain, stream->position);
	wh_snapshot_check_filters(feed, plain);
	wh_disconnect(plain);
	start_replication(stream);
	return stream;
}

static WhStream *
create_stream(const WhFeed *feed)
{
	MemoryContext context =
		AllocSetContextCreate(TopMemoryContext, "walhouse stream", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	Size kept = MAXALIGN_DOWN(Min((Size) wh_feed_memory * 1024 / KEPT_PART, MAX_KEPT));
	WhStream *stream = palloc0(sizeof(WhStream));
	HASHCTL control = {
		.keysize = sizeof(int32), .entrysize = sizeof(WhDefinition), .hcxt = context};

	if (!leaves_politely)
		before_shmem_exit(leave_streams, (Datum) 0);
	leaves_politely = true;
	stream->context = context;
	streams = lcons(stream, streams);
	MemoryContextSwitchTo(context);
	stream->feed = wh_changelog_feed_by_id(feed->id, false);
	stream->source_encoding = PG_UTF8;
	stream->definitions =
		hash_create("walhouse definitions", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	stream->chunk = AllocSetContextCreate(context, "walhouse chunk", kept,
										  ALLOCSET_DEFAULT_INITSIZE, ALLOCSET_DEFAULT_MAXSIZE);
	stream->target_context =
		AllocSetContextCreate(context, "walhouse targets", ALLOCSET_DEFAULT_SIZES);
	stream->copier =
		(WhCopier){.feed = stream->feed,
				   .stream = stream,
				   .reached = is_reached,
				   .position = &stream->position,
				   .context = AllocSetContextCreate(context, "walhouse snapshot of the source",
													ALLOCSET_SMALL_SIZES)};
	MemoryContextSwitchTo(old);
	return stream;
}

/* is_reached is wh_feed_reached, for the copier. */
static bool
is_reached(void *stream, XLogRecPtr lsn, bool store)
{
	return wh_feed_reached(stream, lsn, store);
}

/* start_session commits the session row synchronously, and reads the position that is durable
 * then. */
static void
start_session(WhStream *stream)
{
	WhArg arg = WH_ARG_INT4(stream->feed->id);

	(void) set_config_option("synchronous_commit", "local", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	wh_catalog_execute(
		"UPDATE walhouse.feed SET session = pg_catalog.clock_timestamp(), error = NULL, "
		"error_time = NULL"
		" WHERE feed_id = $1",
		1, &arg);
	wh_txn_commit();
	stream->session_is_durable = true;
	stream->position = wh_changelog_position(stream->feed->id, &stream->clock);
	stream->confirmed = stream->received = stream->source_lsn = stream->idle_lsn = stream->position;
	wh_txn_commit();
}

/* wait_for_slot waits while the walsender of a session that was killed still holds the slot. */
static void
wait_for_slot(const WhFeed *feed, PGconn *plain)
{
	const char *sql = wh_sql("SELECT active_pid FROM pg_catalog.pg_replication_slots"
							 " WHERE slot_name = %L AND active_pid IS NOT NULL",
							 feed->slot);
	WhResult *active = wh_source_query(plain, sql);

	for (int waited = 0; active->rows > 0; waited += 100)
	{
		if (waited >= SLOT_WAIT_MS)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("replication slot \"%s\" of feed \"%s\" is in use at the source by process %s", feed->slot,
							feed->name, wh_result_value(active, 0, 0)),
					 errhint("Another session or another warehouse reads it.")));
		wh_feed_pause(100);
		active = wh_source_query(plain, sql);
	}
}

static void
start_replication(WhStream *stream)
{
	const WhFeed *feed = stream->feed;
	const char *compression = wh_server_option(feed, "compression");
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(
		&sql,
		"START_REPLICATION SLOT \"%s\" LOGICAL %X/%X (protocol '1', own_writes 'drop', "
		"streaming 'on', tally 'on', ddl 'on', messages '" WH_CONTEXT_PREFIX "', compression '",
		feed->slot, LSN_FORMAT_ARGS(wh_feed_lsn_at_source(feed, stream->position)));
	appendStringInfoString(&sql, compression != NULL ? compression : "off");
	appendStringInfoString(&sql, "', publication '");
	for (const char *c = wh_sql_identifier(feed->publication); *c != '\0'; c++)
		appendStringInfo(&sql, *c == '\'' ? "''" : "%c", *c);
	appendStringInfoString(&sql, "')");
	wh_source_copy(stream->conn, sql.data, PGRES_COPY_BOTH);
	stream->source_time = stream->reported_at = stream->idle_stored_at = stream->heard =
		GetCurrentTimestamp();
	stream->reported = stream->confirmed;
}

bool
wh_feed_poll(WhStream *stream, long timeout_ms)
{
	TimestampTz deadline = timeout_ms < 0 ?
							   DT_NOEND :
							   TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	XLogRecPtr before = stream->position;
	bool was_asked = stream->is_asked;
	bool has_gathered = false;
	int messages = 0;

	check_open(stream);
	/* Here, too, or a stream without a pause would leave it no time. */
	(void) wh_copier_step(&stream->copier);
	for (;;)
	{
		char *buffer;
		int len;

		CHECK_FOR_INTERRUPTS();
		check_open(stream);
		len = wh_source_receive(stream->conn, &buffer, 0);
		if (len < 0)
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("the source of feed \"%s\" ended the stream", stream->feed->name)));
		if (len > 0)
			take_copy_data(stream, buffer, len);
		if (len > 0)
			has_gathered = false;
		else if (stream->complete != NIL && !has_gathered && !batch_is_full(stream))
		{
			has_gathered = true;
			if (gather(stream))
				continue;
		}
		if (stream->complete != NIL && (len == 0 || batch_is_full(stream)))
		{
			wh_stream_ingest(stream);
			report_if_due(stream);
			return stream->position != before;
		}
		/* Whoever asked how far the source is does not wait for changes then. */
		if (was_asked && !stream->is_asked && stream->complete == NIL)
			return false;
		if (len > 0 && ++messages % LOOK_EVERY != 0)
			continue;
		if (len == 0 && store_idle_if_due(stream))
			return true;
		if (len == 0 && wh_copier_step(&stream->copier))
		{
			if (stream->position != before || GetCurrentTimestamp() >= deadline)
				return stream->position != before;
			continue;
		}
		report_if_due(stream);
		/* What is complete is ingested first: it takes a moment, and more may wait behind it. */
		if (deadline != DT_NOEND && stream->complete == NIL && GetCurrentTimestamp() >= deadline)
			return false;
		if (len == 0 && wait_stream(stream, next_wait(stream, deadline)))
			return false;
	}
}

static void
check_open(const WhStream *stream)
{
	if (stream->context == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_DOES_NOT_EXIST),
				 errmsg("the stream was closed by an error")));
}

/* wait_stream waits for the socket; true when it was the latch that ended the wait. */
static bool
wait_stream(WhStream *stream, long timeout_ms)
{
	TimestampTz start = GetCurrentTimestamp();
	int happened = WaitLatchOrSocket(MyLatch,
									 WL_SOCKET_READABLE | WL_LATCH_SET | WL_EXIT_ON_PM_DEATH |
										 (timeout_ms >= 0 ? WL_TIMEOUT : 0),
									 PQsocket(stream->conn), timeout_ms, PG_WAIT_EXTENSION);

	stream->waited += GetCurrentTimestamp() - start;
	if (!(happened & WL_LATCH_SET))
		return false;
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return true;
}

/* gather waits a moment for more; false: it is not to. */
static bool
gather(WhStream *stream)
{
	return stream->gathers &&
		   !TimestampDifferenceExceeds(stream->complete_since, GetCurrentTimestamp(),
									   GATHER_MOST_MS) &&
		   WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, GATHER_MS,
					 PG_WAIT_EXTENSION) == WL_TIMEOUT;
}

void
wh_feed_gather(WhStream *stream, bool gathers)
{
	stream->gathers = gathers;
}

/* next_wait is how long to wait: to the deadline, and not past the next report. */
static long
next_wait(const WhStream *stream, TimestampTz deadline)
{
	long wait = stream->confirms > 0 || stream->confirmed > stream->reported ?
					REPORT_INTERVAL_MS :
					wh_feed_status_interval;

	if (wh_copier_is_wanted(&stream->copier) || !XLogRecPtrIsInvalid(wh_ahead_next(stream)))
		wait = ASK_INTERVAL_MS;

	if (deadline == DT_NOEND)
		return wait;
	return Min(wait, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline));
}

/* take_copy_data takes a message of the replication protocol, and the buffer. */
static void
take_copy_data(WhStream *stream, char *buffer, int len)
{
	XLogRecPtr end;

	stream->heard = GetCurrentTimestamp();
	if (buffer[0] == 'w' && len >= 25)
	{
		stream->received = Max(stream->received, read_lsn(stream, buffer + 1));
		stream->source_lsn = Max(stream->source_lsn, read_lsn(stream, buffer + 9));
		stream->source_time = (TimestampTz) read_uint64(buffer + 17);
		wh_stream_take_message(stream, buffer, 25, len - 25);
		return;
	}
	if (buffer[0] == 'k' && len >= 18)
	{
		bool wants_reply = buffer[17] != 0;

		end = read_lsn(stream, buffer + 1);
		stream->received = Max(stream->received, end);
		stream->source_lsn = Max(stream->source_lsn, end);
		stream->source_time = (TimestampTz) read_uint64(buffer + 9);
		PQfreemem(buffer);
		/* What is complete ends before it, and counts when it is ingested. */
		if (stream->current == NULL)
			stream->idle_lsn = Max(stream->idle_lsn, end);
		stream->is_asked = false;
		if (wants_reply)
			answer(stream);
		return;
	}
	PQfreemem(buffer);
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("the source of feed \"%s\" sent a message that is not of the replication protocol",
					stream->feed->name)));
}

/*
 * answer replies to a source that wants to hear.  One that asks again at once shuts down, and waits
 * until what it has sent is confirmed: a feed that is idle must not let it.
 */
static void
answer(WhStream *stream)
{
	TimestampTz now = GetCurrentTimestamp();

	stream->is_urged = !TimestampDifferenceExceeds(stream->urged_at, now, URGE_MS);
	stream->urged_at = now;
	report(stream, false);
}

static bool
batch_is_full(const WhStream *stream)
{
	return stream->complete != NIL &&
		   (stream->complete_changes >= wh_feed_batch_rows ||
			stream->complete_bytes > (Size) wh_feed_memory * 1024 / 2 ||
			wh_spool_is_large(llast(stream->complete)) ||
			TimestampDifferenceExceeds(stream->complete_since, GetCurrentTimestamp(),
									   wh_feed_batch_ms));
}

/* -------- what is confirmed -------- */

void
wh_stream_note_commit(WhStream *stream, XLogRecPtr position)
{
	int i = stream->confirms;

	stream->position = position;
	stream->idle_lsn = Max(stream->idle_lsn, position);
	if (i == WH_CONFIRM_SLOTS)
		i--; /* the last one waits for the newest commit then */
	stream->confirm_source[i] = position;
	stream->confirm_local[i] = XactLastCommitEnd;
	stream->confirms = i + 1;
}

/* advance_confirmed moves on to what is flushed here. */
static void
advance_confirmed(WhStream *stream)
{
	XLogRecPtr flushed = GetFlushRecPtr(NULL);
	int done = 0;

	while (done < stream->confirms && stream->confirm_local[done] <= flushed)
		stream->confirmed = stream->confirm_source[done++];
	stream->confirms -= done;
	memmove(stream->confirm_source, stream->confirm_source + done,
			sizeof(XLogRecPtr) * stream->confirms);
	memmove(stream->confirm_local, stream->confirm_local + done,
			sizeof(XLogRecPtr) * stream->confirms);
}

/* report_if_due asks for an answer, too, where nothing was heard for as long: the heartbeat of an
 * idle source. */
static void
report_if_due(WhStream *stream)
{
	TimestampTz now = GetCurrentTimestamp();
	bool is_silent = TimestampDifferenceExceeds(stream->heard, now, wh_feed_status_interval);

	advance_confirmed(stream);
	if (TimestampDifferenceExceeds(stream->reported_at, now, wh_feed_status_interval) ||
		(stream->confirmed > stream->reported &&
		 TimestampDifferenceExceeds(stream->reported_at, now, REPORT_INTERVAL_MS)))
		report(stream, is_silent);
}

/* report tells the source what is received and what is durable; only positions that were
 * committed are. */
static void
report(WhStream *stream, bool wants_reply)
{
	if (!send_report(stream, wants_reply))
		wh_source_error(stream->conn, NULL, NULL);
}

static bool
send_report(WhStream *stream, bool wants_reply)
{
	char message[34];
	char *out = message;

	advance_confirmed(stream);
	stream->reported = stream->confirmed;
	stream->reported_at = GetCurrentTimestamp();
	*out++ = 'r';
	out = write_lsn(stream, out, Max(stream->source_lsn, stream->confirmed));
	out = write_lsn(stream, out, stream->confirmed);
	out = write_lsn(stream, out, stream->confirmed);
	out = write_uint64(out, (uint64) stream->reported_at);
	*out = wants_reply ? 1 : 0;
	return PQputCopyData(stream->conn, message, sizeof(message)) > 0 &&
		   PQflush(stream->conn) == 0;
}

void
wh_stream_breathe(void *arg)
{
	WhStream *stream = arg;

	if (TimestampDifferenceExceeds(stream->reported_at, GetCurrentTimestamp(),
								   wh_feed_status_interval))
		(void) send_report(stream, false);
}

static XLogRecPtr
read_lsn(const WhStream *stream, const char *data)
{
	return wh_feed_lsn(stream->feed, read_uint64(data));
}

static char *
write_lsn(const WhStream *stream, char *out, XLogRecPtr lsn)
{
	return write_uint64(out, wh_feed_lsn_at_source(stream->feed, lsn));
}

static uint64
read_uint64(const char *data)
{
	uint64 value;

	memcpy(&value, data, sizeof(value));
	return pg_ntoh64(value);
}

static char *
write_uint64(char *out, uint64 value)
{
	value = pg_hton64(value);
	memcpy(out, &value, sizeof(value));
	return out + sizeof(value);
}

/* -------- progress without changes -------- */

/* store_idle_if_due stores idle progress when models or the source wait for it, or it is far
 * ahead: seldom, or a feed on its own cluster would never rest. */
static bool
store_idle_if_due(WhStream *stream)
{
	bool is_far = stream->idle_lsn > stream->position + IDLE_AHEAD &&
				  TimestampDifferenceExceeds(stream->idle_stored_at, GetCurrentTimestamp(),
											 IDLE_INTERVAL_MS);
	XLogRecPtr next;

	(void) wh_ahead_of(stream);
	next = wh_ahead_next(stream);
	if (!XLogRecPtrIsInvalid(next) && wh_feed_reached(stream, next, true))
		return true;
	if (stream->current != NULL || stream->complete != NIL ||
		!(is_far || (stream->is_urged && stream->idle_lsn > stream->position)))
		return false;
	wh_stream_store_idle(stream);
	return true;
}

XLogRecPtr
wh_feed_position(const WhStream *stream)
{
	return stream->position;
}

XLogRecPtr
wh_feed_source_lsn(const WhStream *stream)
{
	return stream->source_lsn;
}

WhStreamStatus
wh_feed_status(const WhStream *stream)
{
	return (WhStreamStatus){.received = stream->received,
							.confirmed = stream->confirmed,
							.heard = stream->heard,
							.open = list_length(stream->open),
							.streamed = stream->streamed,
							.spilled = stream->spilled,
							.spilled_bytes = stream->spilled_bytes,
							.ingests = stream->ingests,
							.waited = stream->waited};
}

XLogRecPtr
wh_feed_current_source_lsn(WhFeed *feed)
{
	PGconn *plain = wh_connect(feed, false);
	WhResult *result = wh_source_query(plain, "SELECT pg_catalog.pg_current_wal_flush_lsn()");

	wh_disconnect(plain);
	return wh_feed_lsn(feed, wh_source_lsn(wh_result_value(result, 0, 0)));
}

bool
wh_feed_reached(WhStream *stream, XLogRecPtr lsn, bool store)
{
	check_open(stream);
	if (stream->position >= lsn)
		return true;
	if (stream->current == NULL && stream->complete == NIL && stream->idle_lsn >= lsn)
	{
		if (store)
			wh_stream_store_idle(stream);
		return true;
	}
	if (TimestampDifferenceExceeds(stream->asked_at, GetCurrentTimestamp(), ASK_INTERVAL_MS))
	{
		stream->asked_at = GetCurrentTimestamp();
		stream->is_asked = true;
		report(stream, true);
	}
	return false;
}

void
wh_feed_close(WhStream *stream)
{
	int32 feed_id;

	if (stream->context == NULL)
	{
		pfree(stream);
		return;
	}
	feed_id = stream->feed->id;
	say_goodbye(stream);
	wh_copier_close(&stream->copier);
	wh_disconnect(stream->conn);
	free_stream(stream);
	wh_unlock_stream(feed_id);
	pfree(stream);
}

/*
 * say_goodbye confirms what is committed and ends the stream, without an error if the source does
 * not listen.
 */
static void
say_goodbye(WhStream *stream)
{
	if (stream->confirms > 0)
		XLogFlush(stream->confirm_local[stream->confirms - 1]);
	advance_confirmed(stream);
	if (PQstatus(stream->conn) != CONNECTION_OK || stream->confirmed <= stream->reported)
		return;
	(void) PQsetnonblocking(stream->conn, 1);
	if (send_report(stream, false))
		(void) PQputCopyEnd(stream->conn, NULL);
	(void) PQflush(stream->conn);
}

/* leave_streams: a process that is told to end says goodbye first; its streams are closed by the
 * abort that follows. */
static void
leave_streams(int code, Datum arg)
{
	foreach_ptr(WhStream, stream, streams)
	{
		if (stream->conn != NULL && wh_connect_is_open(stream->conn))
			say_goodbye(stream);
	}
}
