/*
 * consumer.c
 *		Reads a slot of walhouse_output, prints its changes as JSON lines, and confirms what it has
 *		printed: the core of walhouse_recv.
 *
 *		consumer CONNINFO SLOT ENDPOS [OPTION=VALUE...]
 *
 * made of libpq, protobuf-c and src/wire:
 *
 *		cc -Isrc $(pg_config --cflags --cppflags | tr '\n' ' ') -I$(pg_config --includedir) \
 *			-I$(pg_config --includedir-server) -o consumer docs/consumers/consumer.c src/wire/?*.c \
 *			-L$(pg_config --pkglibdir) -L$(pg_config --libdir) -lpgcommon -lpgport -lpq -lprotobuf-c -lm
 *
 * It asks for no streaming, so that transactions come whole, one after another.  Each is held to
 * its tally (give tally=on).  It ends once it has what ends at or before ENDPOS.
 */
#include "postgres_fe.h"

#include <poll.h>
#include <time.h>

#include "libpq-fe.h"

#include "wire/json.h"
#include "wire/walhouse.pb-c.h"
#include "wire/wire.h"

#define MAX_TABLES 1000

typedef struct Consumer
{
	PGconn *conn;
	WhJson *json;
	WhInflated inflated;
	uint64 end; /* ENDPOS */
	uint64 position; /* all that ends at or below it is printed */
	uint64 confirmed; /* what the source was told last */
	time_t told; /* and when */
	bool in_transaction;
	uint32 relid[MAX_TABLES]; /* by schema id; 0: not known */
	WhWireTally tally[MAX_TABLES]; /* of the open transaction, by schema id */
} Consumer;

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "consumer: %s: %s\n", what, why);
	exit(1);
}

static void
print_line(void *arg, const char *line, int len)
{
	printf("%.*s\n", len, line);
}

/* -------- the tally -------- */

static void
keep_relation(Consumer *consumer, WhSlice payload)
{
	Walhouse__V1__Relation *relation =
		walhouse__v1__relation__unpack(NULL, payload.len, payload.data);

	if (relation == NULL || relation->schema >= MAX_TABLES)
		die("relation", "cannot be read, or there are too many");
	consumer->relid[relation->schema] = relation->relid;
	walhouse__v1__relation__free_unpacked(relation, NULL);
}

static void
count_rows(Consumer *consumer, WhWireRows rows)
{
	WhWireTally *tally = &consumer->tally[rows.schema % MAX_TABLES];
	uint8_t op = (uint8_t) rows.op;
	WhWireError error = NULL;
	WhSlice after;
	WhSlice before;

	while (wh_wire_next_change(&rows, &after, &before, &error))
	{
		uint32 crc = wh_wire_crc32c(0, &op, 1);

		crc = wh_wire_crc32c(crc, after.data, after.len);
		tally->hash += wh_wire_crc32c(crc, before.data, before.len);
		tally->inserts += rows.op == WH_OP_INSERT;
		tally->updates += rows.op == WH_OP_UPDATE;
		tally->deletes += rows.op == WH_OP_DELETE;
	}
}

/* check_tally adds up what was counted of a table, which may have had several definitions. */
static void
check_tally(Consumer *consumer, WhSlice tallies)
{
	WhWireError error = NULL;
	WhWireTally told;

	while (wh_wire_next_tally(&tallies, &told, &error))
	{
		WhWireTally found = {0};

		for (int i = 0; i < MAX_TABLES; i++)
		{
			if (consumer->relid[i] != told.relid)
				continue;
			found.inserts += consumer->tally[i].inserts;
			found.updates += consumer->tally[i].updates;
			found.deletes += consumer->tally[i].deletes;
			found.hash += consumer->tally[i].hash;
		}
		if (found.inserts != told.inserts || found.updates != told.updates ||
			found.deletes != told.deletes || found.hash != told.hash)
			die("commit", "its tally does not match");
	}
	memset(consumer->tally, 0, sizeof(consumer->tally));
}

/* -------- the stream -------- */

/* is_past_end tells whether a batch begins a transaction that ends behind ENDPOS. */
static bool
is_past_end(const Consumer *consumer, WhSlice batch)
{
	WhWireError error = NULL;
	WhEntry entry;

	while (wh_wire_next_entry(&batch, &entry, &error))
	{
		if (entry.kind == WH_ENTRY_BEGIN)
			return entry.u.begin.end_lsn > consumer->end;
	}
	return false;
}

static void
take_batch(Consumer *consumer, WhSlice batch)
{
	WhWireError error = NULL;
	WhEntry entry;

	if (!wh_wire_inflate(&batch, &consumer->inflated, &error))
		die("batch", error);
	if (is_past_end(consumer, batch))
	{
		consumer->position = consumer->end;
		return;
	}
	if (!wh_wire_render_json(consumer->json, batch, print_line, NULL, &error))
		die("batch", error);
	while (wh_wire_next_entry(&batch, &entry, &error))
	{
		switch (entry.kind)
		{
			case WH_ENTRY_HELLO:
				memset(consumer->relid, 0, sizeof(consumer->relid));
				break;
			case WH_ENTRY_RELATION:
				keep_relation(consumer, entry.payload);
				break;
			case WH_ENTRY_BEGIN:
				consumer->in_transaction = true;
				break;
			case WH_ENTRY_ROWS:
				count_rows(consumer, entry.u.rows);
				break;
			case WH_ENTRY_COMMIT:
			case WH_ENTRY_PREPARE:
				check_tally(consumer, entry.u.commit.tallies);
				/* FALLTHROUGH */
			case WH_ENTRY_COMMIT_PREPARED:
			case WH_ENTRY_ROLLBACK_PREPARED:
				/* Here a consumer makes the transaction durable, together with this position. */
				consumer->in_transaction = false;
				consumer->position = entry.u.commit.end_lsn;
				break;
			default:
				break;
		}
	}
}

static uint64
read_number(const char *from)
{
	uint64 number = 0;

	for (int i = 0; i < 8; i++)
		number = number << 8 | (uint8_t) from[i];
	return number;
}

/*
 * confirm tells the source, where that is news or a second has gone, that it need not send again
 * what ends at or below the position.
 */
static void
confirm(Consumer *consumer)
{
	char message[34] = {'r'};

	if (consumer->confirmed == consumer->position && consumer->told == time(NULL))
		return;

	for (int i = 0; i < 24; i++)
		message[1 + i] = (char) (consumer->position >> (56 - i % 8 * 8));
	message[33] = 1; /* please answer: how far are you? */
	fflush(stdout);
	if (PQputCopyData(consumer->conn, message, sizeof(message)) <= 0 || PQflush(consumer->conn) != 0)
		die("confirm", PQerrorMessage(consumer->conn));
	consumer->confirmed = consumer->position;
	consumer->told = time(NULL);
}

static void
take_message(Consumer *consumer, const char *message, int len)
{
	uint64 lsn = len >= 9 ? read_number(message + 1) : 0;

	if (message[0] == 'w' && len >= 25)
		take_batch(consumer, (WhSlice){(const uint8_t *) message + 25, len - 25});
	/* A keepalive: between transactions, all that ends at or below its position has come. */
	else if (message[0] == 'k' && !consumer->in_transaction && lsn > consumer->position)
		consumer->position = lsn;
}

static void
start(Consumer *consumer, const char *slot, char **options)
{
	char command[4000];
	int len = snprintf(command, sizeof(command),
					   "START_REPLICATION SLOT \"%s\" LOGICAL 0/0 (\"protocol\" '1'", slot);
	PGresult *result;

	for (; *options != NULL && len < (int) sizeof(command); options++)
		len += snprintf(command + len, sizeof(command) - len, ", \"%.*s\" '%s'",
						(int) strcspn(*options, "="), *options, strchr(*options, '=') + 1);
	strlcat(command, ")", sizeof(command));
	result = PQexec(consumer->conn, command);
	if (PQresultStatus(result) != PGRES_COPY_BOTH)
		die("start", PQerrorMessage(consumer->conn));
	PQclear(result);
}

int
main(int argc, char **argv)
{
	Consumer consumer = {0};
	char conninfo[2000];
	unsigned int high;
	unsigned int low;

	if (argc < 4 || sscanf(argv[3], "%X/%X", &high, &low) != 2)
		die("usage", "consumer CONNINFO SLOT ENDPOS [OPTION=VALUE...]");
	consumer.end = (uint64) high << 32 | low;
	snprintf(conninfo, sizeof(conninfo), "%s replication=database", argv[1]);
	consumer.conn = PQconnectdb(conninfo);
	if (PQstatus(consumer.conn) != CONNECTION_OK)
		die("connect", PQerrorMessage(consumer.conn));
	consumer.json = wh_wire_create_json();
	start(&consumer, argv[2], argv + 4);
	while (consumer.position < consumer.end)
	{
		struct pollfd wait = {PQsocket(consumer.conn), POLLIN};
		char *message = NULL;
		int len = PQgetCopyData(consumer.conn, &message, true);

		if (len < 0)
			die("stream", PQerrorMessage(consumer.conn));
		if (len > 0)
			take_message(&consumer, message, len);
		else
		{
			confirm(&consumer);
			(void) poll(&wait, 1, 1000);
			if (!PQconsumeInput(consumer.conn))
				die("stream", PQerrorMessage(consumer.conn));
		}
		PQfreemem(message);
	}
	confirm(&consumer);
	PQputCopyEnd(consumer.conn, NULL);
	PQfinish(consumer.conn);
	return 0;
}
