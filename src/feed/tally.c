/*
 * tally.c
 *		Whether what was taken of a source transaction is what the source says that it sent.
 *
 * For each table the changes are counted, and the checksums of their bytes added up, as Tally in
 * walhouse.proto has it; at the end both are compared with the commit.  A difference is an error of
 * the protocol: nothing is committed, and the source sends the transaction again.
 */
#include "postgres.h"

#include "base/base.h"
#include "feed/feed_private.h"

struct WhTallies
{
	MemoryContext context;
	List *tables; /* of WhWireTally * */
	WhWireTally *last;
};

pg_noreturn static void differs(const WhTransaction *txn, const char *detail);

WhTallies *
wh_tally_create(void)
{
	WhTallies *tallies = palloc0(sizeof(WhTallies));

	tallies->context = CurrentMemoryContext;
	return tallies;
}

WhWireTally *
wh_tally_of(WhTallies *tallies, Oid relid)
{
	MemoryContext old;

	if (tallies->last != NULL && tallies->last->relid == relid)
		return tallies->last;
	foreach_ptr(WhWireTally, tally, tallies->tables)
	{
		if (tally->relid == relid)
		{
			tallies->last = tally;
			return tally;
		}
	}
	old = MemoryContextSwitchTo(tallies->context);
	tallies->last = palloc0(sizeof(WhWireTally));
	tallies->last->relid = relid;
	tallies->tables = lappend(tallies->tables, tallies->last);
	MemoryContextSwitchTo(old);
	return tallies->last;
}

void
wh_tally_row(WhWireTally *tally, WhOp op, WhSlice after, WhSlice before)
{
	uint8 byte = (uint8) op;
	uint32 crc = wh_wire_crc32c(0, &byte, 1);

	crc = wh_wire_crc32c(crc, after.data, after.len);
	tally->hash += wh_wire_crc32c(crc, before.data, before.len);
	if (op == WH_OP_INSERT)
		tally->inserts++;
	else if (op == WH_OP_UPDATE)
		tally->updates++;
	else
		tally->deletes++;
}

void
wh_tally_check(WhTallies *tallies, const WhTransaction *txn)
{
	WhSlice rest = txn->tallies;
	WhWireTally told;
	WhWireError error = NULL;
	int count = 0;

	while (wh_wire_next_tally(&rest, &told, &error))
	{
		const WhWireTally *taken = wh_tally_of(tallies, told.relid);

		count++;
		if (taken->inserts != told.inserts || taken->updates != told.updates ||
			taken->deletes != told.deletes || taken->truncates != told.truncates)
			differs(txn, psprintf("Of table %u, " UINT64_FORMAT " inserts, " UINT64_FORMAT
								  " updates, " UINT64_FORMAT " deletes and " UINT64_FORMAT
								  " truncates arrived; the source sent " UINT64_FORMAT
								  ", " UINT64_FORMAT ", " UINT64_FORMAT " and " UINT64_FORMAT ".",
								  told.relid, taken->inserts, taken->updates, taken->deletes,
								  taken->truncates, told.inserts, told.updates, told.deletes,
								  told.truncates));
		if (taken->hash != told.hash)
			differs(txn, psprintf("The rows of table %u are not those that the source sent.",
								  told.relid));
	}
	if (txn->changes != txn->told_changes)
		differs(txn, psprintf(UINT64_FORMAT " changes arrived; the source sent " UINT64_FORMAT ".",
							  txn->changes, txn->told_changes));
	if (error != NULL)
		differs(txn, psprintf("Its commit is malformed: %s.", error));
	if (count > 0 && list_length(tallies->tables) > count)
		differs(txn, "There are rows of tables that the source sent none of.");
	list_free_deep(tallies->tables);
	tallies->tables = NIL;
	tallies->last = NULL;
}

static void
differs(const WhTransaction *txn, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("source transaction %u did not arrive as it was sent", txn->xid),
			 errdetail_internal("%s It ends at %X/%X.", detail, LSN_FORMAT_ARGS(txn->end_lsn)),
			 errhint("Nothing of it was stored; it is sent again.")));
	pg_unreachable();
}
