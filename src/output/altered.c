/*
 * altered.c
 *		The marker Altered: what a transaction's DDL has left of a table.
 *
 * DDL that changes no rows says nothing by itself: readers would learn of it with the next row,
 * and of a dropped table never.  What it leaves are invalidations.  Which relations they name is
 * noted as they come, and at the transaction's end, while its snapshot is there, the definitions
 * of those that are published are compared, by their fingerprints, with what was told before.
 * That there were others in between, within one transaction, is not told.
 *
 * A session begins with the definitions that its first transaction sees, so that it knows a
 * change when it meets one, and which tables are gone.  Very large databases are known in part:
 * the others are told of when they are used, or altered, first; a reader that has the definition
 * already sees no difference.
 *
 * Of a streamed transaction the last segment tells, at its end; what earlier segments met waits
 * with the transaction.  Of one that is prepared when it has no other change the next transaction
 * tells.
 */
#include "output/publish_private.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_class.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define WH_KNOWN_TABLES 4096 /* that a session begins with */
#define WH_NOTED_TABLES 256 /* with more, all are looked at */

static List *take_noted(WhOutput *session);
static List *invalid_entries(WhOutput *session);
static void compare(WhOutput *session, ReorderBufferTXN *txn, Oid relid);
static WhOutputRelation *find_entry(WhOutput *session, Oid relid);
static bool is_table(Relation relation);
static void tell(WhOutput *session, ReorderBufferTXN *txn, WhOutputRelation *entry, bool is_gone);

void
wh_output_know_tables(WhOutput *session)
{
	Relation catalog;
	SysScanDesc scan;
	HeapTuple tuple;
	List *relids = NIL;
	ListCell *cell;
	MemoryContext caller;

	if (!session->options.has_ddl || session->tables_are_known || !HistoricSnapshotActive() ||
		!wh_output_has_publications(session))
		return;
	session->tables_are_known = true;
	catalog = table_open(RelationRelationId, AccessShareLock);
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class row = (Form_pg_class) GETSTRUCT(tuple);

		if (row->relkind == RELKIND_RELATION && row->oid >= FirstNormalObjectId &&
			list_length(relids) < WH_KNOWN_TABLES)
			relids = lappend_oid(relids, row->oid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	caller = MemoryContextSwitchTo(session->change_context);
	foreach(cell, relids)
	{
		WhOutputRelation *entry = find_entry(session, lfirst_oid(cell));

		if (entry != NULL && entry->difference == NULL && wh_output_is_published(&entry->actions))
		{
			entry->is_told = true;
			entry->told = entry->fingerprint;
		}
		MemoryContextReset(session->change_context);
	}
	MemoryContextSwitchTo(caller);
	list_free(relids);
}

void
wh_output_note_altered(WhOutput *session, Oid relid)
{
	MemoryContext caller;

	if (!session->options.has_ddl || session->all_altered ||
		(OidIsValid(relid) && relid < FirstNormalObjectId))
		return;
	if (!OidIsValid(relid) || list_length(session->altered) >= WH_NOTED_TABLES)
	{
		session->all_altered = true;
		return;
	}
	caller = MemoryContextSwitchTo(session->context);
	session->altered = list_append_unique_oid(session->altered, relid);
	MemoryContextSwitchTo(caller);
}

void
wh_output_tell_altered(WhOutput *session, ReorderBufferTXN *txn)
{
	bool is_last = txn->xact_time.commit_time != 0;
	MemoryContext caller;
	List *relids;
	ListCell *cell;

	if (!session->options.has_ddl || !HistoricSnapshotActive() ||
		(session->altered == NIL && session->txn->altered == NIL && !session->all_altered))
		return;
	relids = take_noted(session);
	if (session->txn->is_streamed)
	{
		caller = MemoryContextSwitchTo(session->txn->context);
		session->txn->altered = list_concat_unique_oid(session->txn->altered, relids);
		MemoryContextSwitchTo(caller);
		if (!is_last)
			return;
		relids = session->txn->altered;
		session->txn->altered = NIL;
	}
	if (!wh_output_has_publications(session))
		return;
	session->subxid = InvalidTransactionId;
	list_sort(relids, list_oid_cmp);
	foreach(cell, relids)
	{
		caller = MemoryContextSwitchTo(session->change_context);
		compare(session, txn, lfirst_oid(cell));
		MemoryContextSwitchTo(caller);
		MemoryContextReset(session->change_context);
	}
	list_free(relids);
}

void
wh_output_leave_altered(WhOutput *session, WhOutputTxn *txn)
{
	MemoryContext caller = MemoryContextSwitchTo(session->context);

	session->altered = list_concat_unique_oid(session->altered, txn->altered);
	MemoryContextSwitchTo(caller);
}

/* take_noted empties what was noted first, so that what comes while the catalog is read is not
 * lost. */
static List *
take_noted(WhOutput *session)
{
	List *relids = list_copy(session->altered);

	list_free(session->altered);
	session->altered = NIL;
	if (session->all_altered)
		relids = list_concat_unique_oid(relids, invalid_entries(session));
	session->all_altered = false;
	return relids;
}

static List *
invalid_entries(WhOutput *session)
{
	List *relids = NIL;
	HASH_SEQ_STATUS scan;
	WhOutputRelation *entry;

	hash_seq_init(&scan, session->relations);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (!entry->is_valid)
			relids = lappend_oid(relids, entry->relid);
	}
	return relids;
}

static void
compare(WhOutput *session, ReorderBufferTXN *txn, Oid relid)
{
	WhOutputRelation *entry = find_entry(session, relid);
	bool is_there = entry != NULL && wh_output_is_published(&entry->actions);

	if (entry != NULL && entry->difference != NULL)
		return;
	if (!is_there)
		entry = hash_search(session->relations, &relid, HASH_FIND, NULL);
	if (entry == NULL || (!is_there && !entry->is_told) ||
		(is_there && entry->is_told && entry->told == entry->fingerprint))
		return;
	tell(session, txn, entry, !is_there);
}

/* find_entry returns what is known of a table; NULL where it is none, or is gone. */
static WhOutputRelation *
find_entry(WhOutput *session, Oid relid)
{
	Relation relation = RelationIdGetRelation(relid);
	WhOutputRelation *entry = NULL;

	if (!RelationIsValid(relation))
		return NULL;
	if (is_table(relation))
		entry = wh_output_look_at_relation(session, relation);
	RelationClose(relation);
	return entry;
}

static bool
is_table(Relation relation)
{
	return relation->rd_rel->relkind == RELKIND_RELATION &&
		   !OidIsValid(relation->rd_rel->relrewrite) && RelationIsPermanent(relation);
}

static void
tell(WhOutput *session, ReorderBufferTXN *txn, WhOutputRelation *entry, bool is_gone)
{
	entry->is_told = !is_gone;
	entry->told = entry->fingerprint;
	wh_output_announce(session, txn);
	if (!is_gone)
		wh_output_add_relation(session, entry);
	wh_wire_add_altered(&session->batch, entry->relid, is_gone ? 0 : entry->schema,
						session->subxid);
	wh_output_count_other(session);
}
