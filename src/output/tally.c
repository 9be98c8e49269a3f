/*
 * tally.c
 *		What a transaction has sent: how many changes, and per table how many of which kind and the
 *		hash of their images.
 *
 * A streamed transaction's subtransactions may yet abort, and their changes then do not count: so
 * there is one entry for each subtransaction and table, 56 bytes, and for each subtransaction one
 * that starts the chain of its tables, by which an abort finds them.  That is less than what the
 * reorder buffer keeps of a subtransaction for as long.  Where tallies are off the chain's start
 * is all there is; a transaction that is sent whole has neither subtransactions nor chains.
 */
#include "output/output_private.h"

#include "common/hashfn.h"
#include "utils/memutils.h"

/* A table that has grown beyond this many entries is not kept for the next transaction. */
#define WH_TALLIES_KEEP 256

typedef struct TallyKey
{
	TransactionId subxid; /* InvalidTransactionId: of the transaction itself */
	Oid relid; /* InvalidOid: the chain's start */
} TallyKey;

typedef struct WhTally
{
	TallyKey key;
	char status; /* of the hash table */
	Oid next; /* in the chain; InvalidOid at its end */
	uint64 inserts; /* of a chain's start: changes */
	uint64 updates;
	uint64 deletes;
	uint64 truncates;
	uint64 hash;
} WhTally;

static inline uint32
hash_key(TallyKey key)
{
	return murmurhash32(key.subxid ^ murmurhash32(key.relid));
}

#define SH_PREFIX tallies
#define SH_ELEMENT_TYPE WhTally
#define SH_KEY_TYPE TallyKey
#define SH_KEY key
#define SH_HASH_KEY(table, key) hash_key(key)
#define SH_EQUAL(table, a, b) ((a).subxid == (b).subxid && (a).relid == (b).relid)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static WhTally *find_tally(WhOutput *session, Oid relid);
static WhTally *make_tally(WhOutput *session, TallyKey key);
static void add_to(tallies_hash *sums, const WhTally *tally);
static int compare_relids(const void *a, const void *b);

/* -------- counting -------- */

void
wh_output_count_change(WhOutput *session)
{
	TallyKey start = {session->subxid, InvalidOid};

	if (session->subxid == InvalidTransactionId)
		session->txn->changes++;
	else
		make_tally(session, start)->inserts++;
}

void
wh_output_count_other(WhOutput *session)
{
	TallyKey start = {session->subxid, InvalidOid};

	if (session->subxid != InvalidTransactionId)
		(void) make_tally(session, start);
}

void
wh_output_tally_row(WhOutput *session, Oid relid, WhOp op, WhSlice after, WhSlice before)
{
	WhTally *tally = find_tally(session, relid);
	uint32 crc = session->op_crc[op];

	crc = wh_wire_crc32c(crc, after.data, after.len);
	crc = wh_wire_crc32c(crc, before.data, before.len);
	tally->hash += crc;
	if (op == WH_OP_INSERT)
		tally->inserts++;
	else if (op == WH_OP_UPDATE)
		tally->updates++;
	else
		tally->deletes++;
}

void
wh_output_tally_truncate(WhOutput *session, Oid relid)
{
	find_tally(session, relid)->truncates++;
}

/* find_tally returns the tally of a table and the subtransaction in hand: mostly that of before. */
static WhTally *
find_tally(WhOutput *session, Oid relid)
{
	WhOutputTxn *txn = session->txn;
	TallyKey key = {session->subxid, relid};
	TallyKey start = {session->subxid, InvalidOid};
	WhTally *tally = txn->last_tally;
	Oid next;

	if (tally != NULL && tally->key.relid == relid && tally->key.subxid == key.subxid)
		return tally;
	if (txn->tallies != NULL && (tally = tallies_lookup(txn->tallies, key)) != NULL)
	{
		txn->last_tally = tally;
		return tally;
	}

	/* a new link, put behind the chain's start; making an entry may move the others */
	if (key.subxid != InvalidTransactionId)
	{
		tally = make_tally(session, start);
		next = tally->next;
		tally->next = relid;
	}
	else
		next = InvalidOid;
	tally = make_tally(session, key);
	tally->next = next;
	txn->last_tally = tally;
	return tally;
}

/* make_tally returns the entry of a key, made where there is none. */
static WhTally *
make_tally(WhOutput *session, TallyKey key)
{
	WhOutputTxn *txn = session->txn;
	WhTally *tally;
	uint64 size;
	bool found;

	if (txn->tallies == NULL)
		txn->tallies = tallies_create(txn->context, 16, NULL);
	size = txn->tallies->size;
	tally = tallies_insert(txn->tallies, key, &found);
	/* the table may grow, and move, although the key is there */
	if (!found || txn->tallies->size != size)
		txn->last_tally = NULL;
	if (!found)
		memset((char *) tally + offsetof(WhTally, next), 0,
			   sizeof(WhTally) - offsetof(WhTally, next));
	return tally;
}

/* -------- ends -------- */

bool
wh_output_forget_subxact(WhOutputTxn *txn, TransactionId subxid)
{
	TallyKey key = {subxid, InvalidOid};
	WhTally *tally = txn->tallies == NULL ? NULL : tallies_lookup(txn->tallies, key);
	Oid next;

	if (tally == NULL)
		return false;
	txn->last_tally = NULL;
	next = tally->next;
	tallies_delete(txn->tallies, key);
	while (OidIsValid(next))
	{
		key.relid = next;
		next = tallies_lookup(txn->tallies, key)->next;
		tallies_delete(txn->tallies, key);
	}
	return true;
}

/* wh_output_sum_tallies sums what is left over the subtransactions. */
WhWireTally *
wh_output_sum_tallies(WhOutputTxn *txn, uint64 *changes, int *count)
{
	WhWireTally *result;
	tallies_hash *sums;
	tallies_iterator scan;
	WhTally *tally;

	*changes = txn->changes;
	*count = 0;
	if (txn->tallies == NULL || txn->tallies->members == 0)
		return NULL;
	sums = tallies_create(CurrentMemoryContext, 16, NULL);
	tallies_start_iterate(txn->tallies, &scan);
	while ((tally = tallies_iterate(txn->tallies, &scan)) != NULL)
	{
		if (OidIsValid(tally->key.relid))
			add_to(sums, tally);
		else
			*changes += tally->inserts;
	}
	result = palloc(sizeof(WhWireTally) * (sums->members + 1));
	tallies_start_iterate(sums, &scan);
	while ((tally = tallies_iterate(sums, &scan)) != NULL)
	{
		WhWireTally *sum = &result[(*count)++];

		sum->relid = tally->key.relid;
		sum->inserts = tally->inserts;
		sum->updates = tally->updates;
		sum->deletes = tally->deletes;
		sum->truncates = tally->truncates;
		sum->hash = tally->hash;
	}
	tallies_destroy(sums);
	qsort(result, *count, sizeof(WhWireTally), compare_relids);
	return result;
}

static void
add_to(tallies_hash *sums, const WhTally *tally)
{
	TallyKey key = {InvalidTransactionId, tally->key.relid};
	bool found;
	WhTally *sum = tallies_insert(sums, key, &found);

	if (!found)
		memset((char *) sum + offsetof(WhTally, next), 0,
			   sizeof(WhTally) - offsetof(WhTally, next));
	sum->inserts += tally->inserts;
	sum->updates += tally->updates;
	sum->deletes += tally->deletes;
	sum->truncates += tally->truncates;
	sum->hash += tally->hash;
}

static int
compare_relids(const void *a, const void *b)
{
	uint32 left = ((const WhWireTally *) a)->relid;
	uint32 right = ((const WhWireTally *) b)->relid;

	return left < right ? -1 : left > right;
}

/* wh_output_reset_tallies starts a transaction in a WhOutputTxn that had another before. */
void
wh_output_reset_tallies(WhOutputTxn *txn)
{
	txn->last_tally = NULL;
	if (txn->tallies == NULL || txn->tallies->members == 0)
		return;
	if (txn->tallies->size > WH_TALLIES_KEEP)
	{
		tallies_destroy(txn->tallies);
		txn->tallies = NULL;
	}
	else
		tallies_reset(txn->tallies);
}
