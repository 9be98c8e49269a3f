/*
 * partitions.c
 *		The marker Partitions: which partitions a partitioned table gained and lost.
 *
 * CREATE, ATTACH, DETACH and DROP of a partition log no rows, though rows come and go with it.
 * What they leave is a relcache invalidation of the partitioned table.  The session knows the
 * partitions of each partitioned table, as of its first transaction, and compares them at the
 * commit of a transaction in which one of them was invalidated; without an invalidation nothing is
 * looked at.  Begin is too early for that: a transaction's first snapshot may be older than what
 * was committed before it.
 *
 * What a transaction in progress or a prepared one has done is not yet what others see.  Of a
 * streamed transaction the last segment tells, at its end (see stream.c).  What a prepared
 * transaction tells is kept aside until it is known what became of it.  A session's first
 * transaction may have begun before others that an earlier session has sent; what these did is
 * then told twice.  A partition that is being detached concurrently is gone once its first
 * transaction has committed, as it is for queries.
 *
 * All partitioned tables of the database are known, since any may be published later; only those
 * are told of whose partitions' rows are sent, under the name that these have.
 */
#include "output/publish_private.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_partitioned_table.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

typedef struct Parent
{
	Oid relid; /* hash key */
	bool is_invalid;
	int npartitions;
	Oid *partitions; /* sorted, in the session's context */
} Parent;

/* What a prepared transaction has done to a table. */
typedef struct Prepared
{
	TransactionId xid;
	Oid parent;
	Oid *attached; /* sorted */
	Oid *detached; /* likewise */
	int nattached;
	int ndetached;
} Prepared;

struct WhPartitions
{
	HTAB *parents;
	bool any_invalid;
	List *prepared; /* Prepared */
	bool any_unknown; /* a partitioned table has been made, or dropped */
};

static void add_parents(WhOutput *session, bool are_new);
static void compare_all(WhOutput *session, ReorderBufferTXN *txn, bool keeps);
static void compare(WhOutput *session, ReorderBufferTXN *txn, Parent *parent, bool keeps);
static void keep(WhOutput *session, Parent *parent, const Oid *partitions, int count);
static Oid *copy_oids(WhOutput *session, const Oid *oids, int count);
static void keep_aside(WhOutput *session, TransactionId xid, Oid parent, const Oid *attached,
					   int nattached, const Oid *detached, int ndetached);
static void settle(WhOutput *session, Parent *parent, const Prepared *prepared);
static Oid *read_partitions(Oid parent, int *count);
static int compare_oids(const void *a, const void *b);
static int subtract(const Oid *from, int nfrom, const Oid *what, int nwhat, Oid *left);
static void tell(WhOutput *session, ReorderBufferTXN *txn, Oid parent, const Oid *attached,
				 int nattached, const Oid *detached, int ndetached);
static WhWireTable *name_tables(WhOutput *session, const Oid *relids, int count);
static void name_table(WhOutput *session, Oid relid, WhWireTable *table);

/* wh_output_watch_partitions starts at the session's first transaction; cheap at all others. */
void
wh_output_watch_partitions(WhOutput *session)
{
	HASHCTL control = {0};

	if (session->partitions != NULL || !HistoricSnapshotActive())
		return;
	control.keysize = sizeof(Oid);
	control.entrysize = sizeof(Parent);
	control.hcxt = session->context;
	session->partitions = MemoryContextAllocZero(session->context, sizeof(WhPartitions));
	session->partitions->parents = hash_create("walhouse partitioned tables", 32, &control,
											   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	add_parents(session, false);
}

/* wh_output_invalidate_partitions only sets flags; relid may be InvalidOid for all. */
void
wh_output_invalidate_partitions(WhOutput *session, Oid relid)
{
	WhPartitions *partitions = session->partitions;
	HASH_SEQ_STATUS scan;
	Parent *parent;

	if (partitions == NULL)
		return;
	if (OidIsValid(relid))
	{
		parent = hash_search(partitions->parents, &relid, HASH_FIND, NULL);
		if (parent != NULL)
			partitions->any_invalid = parent->is_invalid = true;
		return;
	}
	hash_seq_init(&scan, partitions->parents);
	while ((parent = hash_seq_search(&scan)) != NULL)
		partitions->any_invalid = parent->is_invalid = true;
}

void
wh_output_invalidate_partitioned(WhOutput *session)
{
	if (session->partitions != NULL)
		session->partitions->any_unknown = true;
}

/* -------- at the end of a transaction -------- */

/*
 * wh_output_tell_partitions is called before what ends a transaction, while its snapshot is there.
 */
void
wh_output_tell_partitions(WhOutput *session, ReorderBufferTXN *txn)
{
	WhPartitions *partitions = session->partitions;
	bool is_streamed = session->txn->is_streamed;
	bool is_last = txn->xact_time.commit_time != 0;
	bool is_prepared = txn->gid != NULL;
	MemoryContext caller;

	if (partitions == NULL || !HistoricSnapshotActive() ||
		!(partitions->any_invalid || partitions->any_unknown || session->txn->has_partitions))
		return;
	if (is_streamed && !is_last)
	{
		session->txn->has_partitions = true;
		return;
	}
	if (session->txn->has_partitions)
		wh_output_invalidate_partitions(session, InvalidOid);
	session->txn->has_partitions = false;
	session->subxid = InvalidTransactionId;
	caller = MemoryContextSwitchTo(session->change_context);
	if (partitions->any_unknown)
		add_parents(session, true);
	compare_all(session, txn, !is_prepared);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(session->change_context);
}

/*
 * add_parents adds the partitioned tables that are not known yet, with the partitions that they
 * have, or, when they have been made since, without any.
 */
static void
add_parents(WhOutput *session, bool are_new)
{
	WhPartitions *partitions = session->partitions;
	Relation catalog = table_open(PartitionedRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	MemoryContext caller;
	HeapTuple tuple;

	partitions->any_unknown = false;
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Oid relid = ((Form_pg_partitioned_table) GETSTRUCT(tuple))->partrelid;
		bool is_known;
		Parent *parent = hash_search(partitions->parents, &relid, HASH_ENTER, &is_known);

		if (is_known)
			continue;
		parent->npartitions = 0;
		parent->partitions = NULL;
		parent->is_invalid = are_new;
		partitions->any_invalid |= are_new;
		if (are_new)
			continue;
		caller = MemoryContextSwitchTo(session->context);
		parent->partitions = read_partitions(relid, &parent->npartitions);
		MemoryContextSwitchTo(caller);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}

static void
compare_all(WhOutput *session, ReorderBufferTXN *txn, bool keeps)
{
	WhPartitions *partitions = session->partitions;
	Oid *invalid = palloc(sizeof(Oid) * Max(hash_get_num_entries(partitions->parents), 1));
	int ninvalid = 0;
	HASH_SEQ_STATUS scan;
	Parent *parent;

	/* first, so that an invalidation that comes meanwhile is not lost */
	partitions->any_invalid = false;
	hash_seq_init(&scan, partitions->parents);
	while ((parent = hash_seq_search(&scan)) != NULL)
	{
		if (parent->is_invalid)
			invalid[ninvalid++] = parent->relid;
		parent->is_invalid = false;
	}
	qsort(invalid, ninvalid, sizeof(Oid), compare_oids);
	for (int i = 0; i < ninvalid; i++)
	{
		parent = hash_search(partitions->parents, &invalid[i], HASH_FIND, NULL);
		compare(session, txn, parent, keeps);
	}
}

static void
compare(WhOutput *session, ReorderBufferTXN *txn, Parent *parent, bool keeps)
{
	int count;
	Oid *now;
	Oid *attached;
	Oid *detached;
	int nattached;
	int ndetached;

	if (!SearchSysCacheExists1(PARTRELID, ObjectIdGetDatum(parent->relid)))
	{
		if (parent->partitions != NULL)
			pfree(parent->partitions);
		(void) hash_search(session->partitions->parents, &parent->relid, HASH_REMOVE, NULL);
		return;
	}
	now = read_partitions(parent->relid, &count);
	attached = palloc(sizeof(Oid) * Max(count, 1));
	detached = palloc(sizeof(Oid) * Max(parent->npartitions, 1));
	nattached = subtract(now, count, parent->partitions, parent->npartitions, attached);
	ndetached = subtract(parent->partitions, parent->npartitions, now, count, detached);
	if (nattached == 0 && ndetached == 0)
		return;
	tell(session, txn, parent->relid, attached, nattached, detached, ndetached);
	if (keeps)
		keep(session, parent, now, count);
	else
		keep_aside(session, txn->xid, parent->relid, attached, nattached, detached, ndetached);
}

static void
keep(WhOutput *session, Parent *parent, const Oid *partitions, int count)
{
	Oid *copy = copy_oids(session, partitions, count);

	if (parent->partitions != NULL)
		pfree(parent->partitions);
	parent->partitions = copy;
	parent->npartitions = count;
}

static Oid *
copy_oids(WhOutput *session, const Oid *oids, int count)
{
	Oid *copy = MemoryContextAlloc(session->context, sizeof(Oid) * Max(count, 1));

	memcpy(copy, oids, sizeof(Oid) * count);
	return copy;
}

/* -------- prepared transactions -------- */

static void
keep_aside(WhOutput *session, TransactionId xid, Oid parent, const Oid *attached, int nattached,
		   const Oid *detached, int ndetached)
{
	MemoryContext caller = MemoryContextSwitchTo(session->context);
	Prepared *prepared = palloc(sizeof(Prepared));

	prepared->xid = xid;
	prepared->parent = parent;
	prepared->attached = copy_oids(session, attached, nattached);
	prepared->nattached = nattached;
	prepared->detached = copy_oids(session, detached, ndetached);
	prepared->ndetached = ndetached;
	session->partitions->prepared = lappend(session->partitions->prepared, prepared);
	MemoryContextSwitchTo(caller);
}

void
wh_output_settle_partitions(WhOutput *session, TransactionId xid, bool is_committed)
{
	WhPartitions *partitions = session->partitions;
	ListCell *cell;

	if (partitions == NULL)
		return;
	foreach(cell, partitions->prepared)
	{
		Prepared *prepared = (Prepared *) lfirst(cell);
		Parent *parent;

		if (prepared->xid != xid)
			continue;
		parent = hash_search(partitions->parents, &prepared->parent, HASH_FIND, NULL);
		if (is_committed && parent != NULL)
			settle(session, parent, prepared);
		pfree(prepared->attached);
		pfree(prepared->detached);
		pfree(prepared);
		partitions->prepared = foreach_delete_current(partitions->prepared, cell);
	}
}

static void
settle(WhOutput *session, Parent *parent, const Prepared *prepared)
{
	Oid *left = palloc(sizeof(Oid) * Max(parent->npartitions, 1));
	Oid *fresh = palloc(sizeof(Oid) * Max(prepared->nattached, 1));
	int nleft = subtract(parent->partitions, parent->npartitions, prepared->detached,
						 prepared->ndetached, left);
	int nfresh = subtract(prepared->attached, prepared->nattached, left, nleft, fresh);
	Oid *all = palloc(sizeof(Oid) * Max(nleft + nfresh, 1));

	memcpy(all, left, sizeof(Oid) * nleft);
	memcpy(all + nleft, fresh, sizeof(Oid) * nfresh);
	qsort(all, nleft + nfresh, sizeof(Oid), compare_oids);
	keep(session, parent, all, nleft + nfresh);
	pfree(left);
	pfree(fresh);
	pfree(all);
}

/* read_partitions returns the sorted partitions of a table, in the current memory context. */
static Oid *
read_partitions(Oid parent, int *count)
{
	Relation catalog = table_open(InheritsRelationId, AccessShareLock);
	int room = 16;
	Oid *partitions = palloc(sizeof(Oid) * room);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	*count = 0;
	ScanKeyInit(&key, Anum_pg_inherits_inhparent, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(parent));
	scan = systable_beginscan(catalog, InheritsParentIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_inherits row = (Form_pg_inherits) GETSTRUCT(tuple);

		if (row->inhdetachpending)
			continue;
		if (*count == room)
			partitions = repalloc(partitions, sizeof(Oid) * (room *= 2));
		partitions[(*count)++] = row->inhrelid;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	qsort(partitions, *count, sizeof(Oid), compare_oids);
	return partitions;
}

static int
compare_oids(const void *a, const void *b)
{
	Oid x = *(const Oid *) a;
	Oid y = *(const Oid *) b;

	return x < y ? -1 : x > y;
}

/* subtract leaves what of one sorted array is not in the other, and returns how many. */
static int
subtract(const Oid *from, int nfrom, const Oid *what, int nwhat, Oid *left)
{
	int nleft = 0;
	int j = 0;

	for (int i = 0; i < nfrom; i++)
	{
		while (j < nwhat && what[j] < from[i])
			j++;
		if (j == nwhat || what[j] != from[i])
			left[nleft++] = from[i];
	}
	return nleft;
}

/* -------- entries -------- */

static void
tell(WhOutput *session, ReorderBufferTXN *txn, Oid parent, const Oid *attached, int nattached,
	 const Oid *detached, int ndetached)
{
	Relation relation = RelationIdGetRelation(parent);
	WhPublished published;
	WhWireTable table;

	if (!RelationIsValid(relation))
		return;
	published.is_sent = false;
	if (wh_output_has_publications(session))
		wh_output_find_published(session, relation, &published);
	RelationClose(relation);
	if (!published.is_sent)
		return;
	name_table(session, published.told_as, &table);
	wh_output_announce(session, txn);
	wh_wire_add_partitions(&session->batch, &table, name_tables(session, attached, nattached),
						   nattached, name_tables(session, detached, ndetached), ndetached,
						   InvalidTransactionId);
	wh_output_count_other(session);
}

static WhWireTable *
name_tables(WhOutput *session, const Oid *relids, int count)
{
	WhWireTable *tables = palloc(sizeof(WhWireTable) * Max(count, 1));

	for (int i = 0; i < count; i++)
		name_table(session, relids[i], &tables[i]);
	return tables;
}

/* name_table leaves names empty where the table is gone. */
static void
name_table(WhOutput *session, Oid relid, WhWireTable *table)
{
	const char *name = get_rel_name(relid);
	const char *schema = get_namespace_name(get_rel_namespace(relid));

	table->relid = relid;
	table->namespace_name = schema == NULL ? "" : wh_output_utf8_name(session, schema);
	table->name = name == NULL ? "" : wh_output_utf8_name(session, name);
}
