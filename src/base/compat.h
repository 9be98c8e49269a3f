/*
 * compat.h
 *		Differences between PostgreSQL 15 and 18: the one place that looks at PG_VERSION_NUM.
 *
 * Each entry names the version that changed.  Code elsewhere is written once, with the newest
 * server's names or with a wh_compat_ function of this file.
 */
#ifndef WH_COMPAT_H
#define WH_COMPAT_H

#include "access/htup.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/regproc.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#if PG_VERSION_NUM < 150000
#error "walhouse needs PostgreSQL 15 or later"
#endif

/* 16: a second argument, for soft errors */
#if PG_VERSION_NUM >= 160000
#define wh_compat_qualified_name_list(string) stringToQualifiedNameList((string), NULL)
#else
#define wh_compat_qualified_name_list(string) stringToQualifiedNameList(string)
#endif

/* 16: one function for all kinds of objects; users include utils/acl.h and catalog/pg_class.h */
#if PG_VERSION_NUM >= 160000
#define wh_compat_owns_class(relid, userid) \
	object_ownercheck(RelationRelationId, (relid), (userid))
#else
#define wh_compat_owns_class(relid, userid) pg_class_ownercheck((relid), (userid))
#endif

/* 17: a privilege that owners have, too; users include utils/acl.h and catalog/pg_class.h */
#if PG_VERSION_NUM >= 170000
#define wh_compat_may_vacuum(relid, userid) \
	(pg_class_aclcheck((relid), (userid), ACL_MAINTAIN) == ACLCHECK_OK)
#else
#define wh_compat_may_vacuum(relid, userid) wh_compat_owns_class((relid), (userid))
#endif

/* 16: an argument for the planner, which has none here; users include optimizer/optimizer.h */
#if PG_VERSION_NUM >= 160000
#define wh_compat_flatten_join_columns(query, node) flatten_join_alias_vars(NULL, (query), (node))
#else
#define wh_compat_flatten_join_columns(query, node) flatten_join_alias_vars((query), (node))
#endif

/* 18: pg_noreturn, before the declaration, for pg_attribute_noreturn() behind it */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* 16: what a query asks permission for stands in a list of its own; users include
 * executor/executor.h */
#if PG_VERSION_NUM >= 160000
#define WH_COMPAT_CHECK_PERMS_PARAMETERS List *tables, List *checks, bool raises
#define WH_COMPAT_CHECK_PERMS_ARGUMENTS tables, checks, raises
#define WhCompatPermission RTEPermissionInfo
#else
#define WH_COMPAT_CHECK_PERMS_PARAMETERS List *checks, bool raises
#define WH_COMPAT_CHECK_PERMS_ARGUMENTS checks, raises
#define WhCompatPermission RangeTblEntry
#endif

/* The version of the server that this was built for, for those who tell it to others. */
#define WH_SERVER_VERSION PG_VERSION_NUM

/* 16: core sends keepalives while a plugin skips changes; before, the plugin must */
#define WH_PLUGIN_KEEPS_ALIVE (PG_VERSION_NUM < 160000)

/* 16: an argument that did nothing is gone; users include replication/snapbuild.h */
#if PG_VERSION_NUM >= 160000
#define wh_compat_decoding_snapshot(builder, xid) SnapBuildGetOrBuildSnapshot(builder)
#else
#define wh_compat_decoding_snapshot(builder, xid) SnapBuildGetOrBuildSnapshot((builder), (xid))
#endif

/* 17: a tuple in a change of the reorder buffer is a HeapTuple, no longer a ReorderBufferTupleBuf
 */
#if PG_VERSION_NUM >= 170000
#define wh_compat_change_tuple(buffer) (buffer)
#else
#define wh_compat_change_tuple(buffer) ((buffer) == NULL ? NULL : &(buffer)->tuple)
#endif

/* 17: intervals can be infinite */
#if PG_VERSION_NUM >= 170000
#define wh_compat_interval_is_nobegin(interval) INTERVAL_IS_NOBEGIN(interval)
#define wh_compat_interval_is_noend(interval) INTERVAL_IS_NOEND(interval)
#else
#define wh_compat_interval_is_nobegin(interval) false
#define wh_compat_interval_is_noend(interval) false
#endif

/* 18: generated columns whose value is computed when it is read, and is not in the tuple */
#if PG_VERSION_NUM >= 180000
#define wh_compat_is_virtual(attribute) ((attribute)->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
#else
#define wh_compat_is_virtual(attribute) false
#endif

#if PG_VERSION_NUM >= 180000
#define wh_compat_has_virtual(constraints) ((constraints)->has_generated_virtual)
#else
#define wh_compat_has_virtual(constraints) false
#endif

/* 17: the condition of MERGE stands apart from what it is fed by */
#if PG_VERSION_NUM >= 170000
#define wh_compat_merge_condition(query) ((query)->mergeJoinCondition)
#else
#define wh_compat_merge_condition(query) NULL
#endif

/* 17: JSON_TABLE, what it is passed, and its columns FOR ORDINALITY; users include
 * nodes/primnodes.h */
#if PG_VERSION_NUM >= 170000
#define wh_compat_passed_values(function) ((function)->passingvalexprs)
#define wh_compat_counts_rows(function, column) \
	((function)->ordinalitycol == (column) || \
	 ((function)->functype == TFT_JSON_TABLE && \
	  list_nth((function)->colvalexprs, (column)) == NULL))
#else
#define wh_compat_passed_values(function) NIL
#define wh_compat_counts_rows(function, column) ((function)->ordinalitycol == (column))
#endif

/* 18: what a query groups by stands in FROM, as if it were a relation; users include
 * nodes/parsenodes.h */
#if PG_VERSION_NUM >= 180000
#define wh_compat_group_expressions(entry) \
	((entry)->rtekind == RTE_GROUP ? (entry)->groupexprs : NIL)
#else
#define wh_compat_group_expressions(entry) NIL
#endif

/* 18: RETURNING may ask for the row as it was */
#if PG_VERSION_NUM >= 180000
#define wh_compat_var_is_old(var) ((var)->varreturningtype == VAR_RETURNING_OLD)
#else
#define wh_compat_var_is_old(var) false
#endif

/* 18: publications say whether stored generated columns are published */
#if PG_VERSION_NUM >= 180000
#define wh_compat_publishes_generated(publication) \
	((publication)->pubgencols_type == PUBLISH_GENCOLS_STORED)
#else
#define wh_compat_publishes_generated(publication) ((void) (publication), false)
#endif

/* 18: expressions of the catalog may use virtual generated columns; users include
 * rewrite/rewriteHandler.h */
#if PG_VERSION_NUM >= 180000
#define wh_compat_expand_generated(node, relation) \
	expand_generated_columns_in_expr((node), (relation), 1)
#else
#define wh_compat_expand_generated(node, relation) (node)
#endif

/* 16, 18: more arguments; users include executor/executor.h */
#if PG_VERSION_NUM >= 180000
#define wh_compat_init_permitted(estate, entries, permissions) \
	ExecInitRangeTable((estate), (entries), (permissions), bms_make_singleton(1))
#elif PG_VERSION_NUM >= 160000
#define wh_compat_init_permitted(estate, entries, permissions) \
	ExecInitRangeTable((estate), (entries), (permissions))
#else
#define wh_compat_init_permitted(estate, entries, permissions) \
	ExecInitRangeTable((estate), (entries))
#endif
#define wh_compat_init_range_table(estate, entries) wh_compat_init_permitted(estate, entries, NIL)

/* 16, 18: the same with the columns that an UPDATE of the one entry sets; users include
 * parser/parse_relation.h, too */
#if PG_VERSION_NUM >= 160000
#define wh_compat_init_updated(estate, entry, columns) \
	do \
	{ \
		List *permissions = NIL; \
		addRTEPermissionInfo(&permissions, (entry))->updatedCols = (columns); \
		wh_compat_init_permitted((estate), list_make1(entry), permissions); \
	} while (0)
#else
#define wh_compat_init_updated(estate, entry, columns) \
	do \
	{ \
		(entry)->updatedCols = (columns); \
		wh_compat_init_range_table((estate), list_make1(entry)); \
	} while (0)
#endif

/* 16: an argument that lets columns be missing; users include access/attmap.h */
#if PG_VERSION_NUM >= 160000
#define wh_compat_attribute_map(from, to) build_attrmap_by_name_if_req((from), (to), false)
#else
#define wh_compat_attribute_map(from, to) build_attrmap_by_name_if_req((from), (to))
#endif

/* 18: a second argument, whether a deferrable key will do */
#if PG_VERSION_NUM >= 180000
#define wh_compat_primary_key_index(relation) RelationGetPrimaryKeyIndex((relation), true)
#else
#define wh_compat_primary_key_index(relation) RelationGetPrimaryKeyIndex(relation)
#endif

/* 18: the magic block has room for the library's name and version */
#if PG_VERSION_NUM >= 180000
#define WH_MODULE_MAGIC(library) PG_MODULE_MAGIC_EXT(.name = library, .version = WALHOUSE_VERSION)
#else
#define WH_MODULE_MAGIC(library) PG_MODULE_MAGIC
#endif

/* 16: an argument that leaves out indexes which only summarize */
#if PG_VERSION_NUM >= 160000
#define wh_compat_insert_index_tuples(info, slot, estate) \
	ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL, false)
#else
#define wh_compat_insert_index_tuples(info, slot, estate) \
	ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL)
#endif

/* 16: an argument for the relations that a plan changes */
#if PG_VERSION_NUM >= 160000
#define wh_compat_epq_init(epq, estate) EvalPlanQualInit((epq), (estate), NULL, NIL, -1, NIL)
#else
#define wh_compat_epq_init(epq, estate) EvalPlanQualInit((epq), (estate), NULL, NIL, -1)
#endif

/* 18: an argument for instrumentation */
#if PG_VERSION_NUM >= 180000
#define wh_compat_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0)
#else
#define wh_compat_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, nkeys, 0)
#endif

/* 16: which of the indexes want an entry; those that only summarize may want one alone */
#if PG_VERSION_NUM >= 160000
#define WhCompatUpdateIndexes TU_UpdateIndexes
#define wh_compat_wants_entry(updated, info) \
	((updated) == TU_All || ((updated) == TU_Summarizing && (info)->ii_Summarizing))
#else
#define WhCompatUpdateIndexes bool
#define wh_compat_wants_entry(updated, info) (updated)
#endif

/* 17: no snapshot; the rightmost leaf of a B-tree, locked for reading; users include
 * access/nbtree.h */
#if PG_VERSION_NUM >= 170000
#define wh_compat_last_leaf(index) _bt_get_endpoint((index), 0, true)
#else
#define wh_compat_last_leaf(index) _bt_get_endpoint((index), 0, true, NULL)
#endif

/* 16: the heap; 17: no snapshot; a descent to the leaf that a key belongs to, which is locked for
 * access */
#if PG_VERSION_NUM >= 170000
#define wh_compat_bt_search(index, heap, key, buffer, access) \
	_bt_search((index), (heap), (key), (buffer), (access))
#elif PG_VERSION_NUM >= 160000
#define wh_compat_bt_search(index, heap, key, buffer, access) \
	_bt_search((index), (heap), (key), (buffer), (access), NULL)
#else
#define wh_compat_bt_search(index, heap, key, buffer, access) \
	_bt_search((index), (key), (buffer), (access), NULL)
#endif

/* 16: locators; pins the buffer that had a block a moment ago, if it has it still; users include
 * storage/bufmgr.h */
#if PG_VERSION_NUM >= 160000
#define wh_compat_read_recent(relation, block, buffer) \
	ReadRecentBuffer((relation)->rd_locator, MAIN_FORKNUM, (block), (buffer))
#else
#define wh_compat_read_recent(relation, block, buffer) \
	ReadRecentBuffer((relation)->rd_node, MAIN_FORKNUM, (block), (buffer))
#endif

/* 17: no snapshot is too old; users include storage/bufmgr.h */
#if PG_VERSION_NUM >= 170000
#define wh_compat_test_snapshot(snapshot, relation, page) ((void) 0)
#else
#define wh_compat_test_snapshot(snapshot, relation, page) \
	TestForOldSnapshot((snapshot), (relation), (page))
#endif

/*
 * 16: a file grows by many pages at once.  Before, its last new page is written, and the others are
 * a hole, as hash indexes grow; their buffers are made first, while nobody can know of them.  The
 * pages are empty, and nobody's.  Returns the first one; sets *count to how many there are.
 */
#define WH_COMPAT_MOST_PAGES 128
static inline BlockNumber
wh_compat_extend(Relation relation, BufferAccessStrategy strategy, uint32 *count)
{
	BlockNumber first;
#if PG_VERSION_NUM >= 160000
	Buffer buffers[WH_COMPAT_MOST_PAGES];

	first = ExtendBufferedRelBy(BMR_REL(relation), MAIN_FORKNUM, strategy, 0,
								Min(*count, WH_COMPAT_MOST_PAGES), buffers, count);
	for (uint32 i = 0; i < *count; i++)
		ReleaseBuffer(buffers[i]);
#else
	static const PGAlignedBlock zeros;

	LockRelationForExtension(relation, ExclusiveLock);
	first = RelationGetNumberOfBlocks(relation);
	for (uint32 i = 0; i < *count; i++)
	{
		Buffer buffer = ReadBufferExtended(relation, MAIN_FORKNUM, first + i, RBM_ZERO_AND_LOCK,
										   strategy);

		if (!PageIsNew(BufferGetPage(buffer)))
			elog(ERROR, "unexpected data beyond the end of relation \"%s\"",
				 RelationGetRelationName(relation));
		UnlockReleaseBuffer(buffer);
	}
	smgrextend(RelationGetSmgr(relation), MAIN_FORKNUM, first + *count - 1,
			   (char *) zeros.data, false);
	UnlockRelationForExtension(relation, ExclusiveLock);
#endif
	return first;
}

/* 17: a relation for its OID; the sequence of an identity column, or InvalidOid; users include
 * catalog/dependency.h */
#if PG_VERSION_NUM >= 170000
#define wh_compat_identity_sequence(relation, attnum) \
	getIdentitySequence((relation), (attnum), true)
#else
#define wh_compat_identity_sequence(relation, attnum) \
	getIdentitySequence(RelationGetRelid(relation), (attnum), true)
#endif

/* 18: no argument for portals that are run once; users include tcop/pquery.h */
#if PG_VERSION_NUM >= 180000
#define wh_compat_portal_run(portal, dest, completion) \
	PortalRun((portal), FETCH_ALL, true, (dest), (dest), (completion))
#else
#define wh_compat_portal_run(portal, dest, completion) \
	PortalRun((portal), FETCH_ALL, true, true, (dest), (dest), (completion))
#endif

/* 17: the number of the transaction in this process; users include storage/proc.h */
#if PG_VERSION_NUM >= 170000
#define wh_compat_lxid() (MyProc->vxid.lxid)
#else
#define wh_compat_lxid() (MyProc->lxid)
#endif

/* 16: an argument for soft errors; users include utils/rangetypes.h */
#if PG_VERSION_NUM >= 160000
#define wh_compat_make_range(type, lower, upper) make_range((type), (lower), (upper), false, NULL)
#else
#define wh_compat_make_range(type, lower, upper) make_range((type), (lower), (upper), false)
#endif

/* 17: loops over lists that declare their variable */
#if PG_VERSION_NUM < 170000
#define WH_FOREACH(type, var, lst, get) \
	for (struct { \
			 const List *list; \
			 int i; \
			 bool once; \
		 } var##__state = {(lst), 0, true}; \
		 var##__state.once; var##__state.once = false) \
		for (type var = (type) 0; var##__state.i < list_length(var##__state.list) && \
								  ((var = (type) get(var##__state.list, var##__state.i)), true); \
			 var##__state.i++)
#define foreach_ptr(type, var, lst) WH_FOREACH(type *, var, lst, list_nth)
#define foreach_int(var, lst) WH_FOREACH(int, var, lst, list_nth_int)
#define foreach_oid(var, lst) WH_FOREACH(Oid, var, lst, list_nth_oid)
#endif

#endif /* WH_COMPAT_H */
