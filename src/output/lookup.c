/*
 * lookup.c
 *		Names from the catalog, for entries that are not about a relation.
 *
 * Commit prepared and rollback prepared, all that ends a streamed transaction, messages that are
 * not transactional, and the session's start are called outside of a transaction of the
 * server's.  A look into the catalog needs one: wh_output_begin_lookup starts it where there is
 * none.
 */
#include "output/output_private.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "replication/origin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

typedef struct Lookup
{
	bool is_own; /* the transaction was started here */
	MemoryContext context;
	ResourceOwner owner;
} Lookup;

static Lookup begin_lookup(void);
static void end_lookup(const Lookup *lookup);

WhSlice
wh_output_find_origin(WhOutput *session, RepOriginId id)
{
	WhSlice origin = {NULL, 0};
	Lookup lookup;
	char *name;

	if (id == InvalidRepOriginId || id == DoNotReplicateId)
		return origin;
	lookup = begin_lookup();
	if (replorigin_by_oid(id, true, &name))
	{
		origin.data = (const uint8_t *) wh_output_utf8_name(session, name);
		origin.len = strlen((const char *) origin.data);
	}
	end_lookup(&lookup);
	return origin;
}

const char *
wh_output_find_database(WhOutput *session)
{
	Lookup lookup = begin_lookup();
	const char *name = wh_output_utf8_name(session, get_database_name(MyDatabaseId));

	end_lookup(&lookup);
	return name;
}

const char *
wh_output_utf8_name(WhOutput *session, const char *name)
{
	size_t len = strlen(name);
	Lookup lookup = begin_lookup();
	const char *utf8 = wh_output_to_utf8(session, name, &len);
	StringInfoData escaped;

	end_lookup(&lookup);
	if (utf8 != NULL)
		return utf8;
	initStringInfo(&escaped);
	for (; *name != '\0'; name++)
	{
		if (IS_HIGHBIT_SET(*name))
			appendStringInfo(&escaped, "\\x%02X", (unsigned char) *name);
		else
			appendStringInfoChar(&escaped, *name);
	}
	return escaped.data;
}

int64
wh_output_unix_time(TimestampTz time)
{
	return time + (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

/* begin_lookup keeps the current memory context, so that what is found outlives end_lookup. */
static Lookup
begin_lookup(void)
{
	Lookup lookup = {!IsTransactionState(), CurrentMemoryContext, CurrentResourceOwner};

	if (lookup.is_own)
		StartTransactionCommand();
	MemoryContextSwitchTo(lookup.context);
	return lookup;
}

static void
end_lookup(const Lookup *lookup)
{
	if (!lookup->is_own)
		return;
	CommitTransactionCommand();
	CurrentResourceOwner = lookup->owner;
	MemoryContextSwitchTo(lookup->context);
}
