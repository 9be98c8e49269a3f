/*
 * protect.c
 *		Refuses what others write to the tables of models.
 *
 * A model's rows are a function of the log; a row that somebody else writes makes them wrong, and
 * a later load may fail on it or overwrite it.  So INSERT, UPDATE, DELETE, MERGE, COPY and
 * TRUNCATE of a model's table, or of a partition of it, are refused, with a hint;
 * walhouse.allow_writes lets them through.  It guards against mistakes and is no privilege: who
 * may write may also set it.
 *
 * Where the library is loaded, which it is in every session when it is preloaded, hooks of the
 * executor do it: they leave nothing in the schema, see writes to partitions, cost a look into a
 * hash table for each written table of a statement and nothing for others, and what loads do as a
 * model's owner, with walhouse.allow_writes on (wh_settings_pin), not even that.  Where it is not
 * preloaded a statement trigger, made at declaration, guards the table itself.  Writes that are
 * let through invalidate the relation, for sessions that remember rows of it (dimension/memory.c).
 *
 * What others do to the definitions of these tables is judged by ddl.c.
 *
 * Dumps write to these tables when they are restored.  Every session that restores one has
 * check_function_bodies off, by the text of the dump or by pg_restore, and is let through.
 *
 * The hash table says of relations what they are, until their relcache entry is
 * invalidated; it lives as long as the session.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "parser/parsetree.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "model/model.h"
#include "model/model_private.h"

/* What a relation is. */
typedef struct Known
{
	Oid relid; /* the hash key */
	WhManaged managed;
} Known;

static void start_hook(QueryDesc *query, int flags);
static bool check_hook(WH_COMPAT_CHECK_PERMS_PARAMETERS);
static void access_hook(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id,
						void *arg);
static void check(Oid relid);
static void tell(Oid relid);
static pg_noreturn void refuse(Oid relid);
static WhManaged find_managed(Oid relid);
static WhArg array_of(List *relids);
static void forget(Datum arg, Oid relid);

static bool allow_writes = false;
static bool is_preloaded = false;
static HTAB *known = NULL;
static ExecutorStart_hook_type next_start = NULL;
static ExecutorCheckPerms_hook_type next_check = NULL;
static object_access_hook_type next_access = NULL;

PG_FUNCTION_INFO_V1(walhouse_refuse_writes);

void
wh_model_protect_init(void)
{
	DefineCustomBoolVariable("walhouse.allow_writes",
							 "Lets this session write to, and alter, what walhouse keeps.", NULL,
							 &allow_writes, false, PGC_USERSET, 0, NULL, NULL, NULL);
	is_preloaded = process_shared_preload_libraries_in_progress;
	next_start = ExecutorStart_hook;
	ExecutorStart_hook = start_hook;
	next_check = ExecutorCheckPerms_hook;
	ExecutorCheckPerms_hook = check_hook;
	next_access = object_access_hook;
	object_access_hook = access_hook;
	wh_model_ddl_init();
}

/* wh_model_protect guards a table where the hooks may not be there to do it. */
void
wh_model_protect(Oid relid)
{
	if (!is_preloaded)
		wh_spi_execute(wh_sql("CREATE TRIGGER walhouse_guard BEFORE INSERT OR UPDATE OR DELETE OR "
							  "TRUNCATE ON %T FOR EACH STATEMENT EXECUTE FUNCTION "
							  "walhouse.refuse_writes()",
							  relid),
					   0, NULL);
}

/* start_hook sees the targets of INSERT, UPDATE, DELETE and MERGE, also those in WITH.  Who lacks
 * privileges hears of that first. */
static void
start_hook(QueryDesc *query, int flags)
{
	ListCell *cell;

	if (next_start != NULL)
		next_start(query, flags);
	else
		standard_ExecutorStart(query, flags);
	if (flags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	foreach(cell, query->plannedstmt->resultRelations)
		check(rt_fetch(lfirst_int(cell), query->plannedstmt->rtable)->relid);
}

/* check_hook is there for COPY, which is no query.  UPDATE is wanted for row locks, too. */
static bool
check_hook(WH_COMPAT_CHECK_PERMS_PARAMETERS)
{
	ListCell *cell;

	foreach(cell, checks)
	{
		WhCompatPermission *permission = lfirst(cell);

		if (permission->requiredPerms & ACL_INSERT)
			check(permission->relid);
	}
	return next_check == NULL || next_check(WH_COMPAT_CHECK_PERMS_ARGUMENTS);
}

static void
access_hook(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (next_access != NULL)
		next_access(access, class_id, object_id, sub_id, arg);
	if (access == OAT_TRUNCATE && class_id == RelationRelationId)
		check(object_id);
}

static void
check(Oid relid)
{
	if (!wh_model_may_write() && wh_model_managed(relid) == WH_MANAGED_MODEL)
		refuse(relid);
	if (allow_writes && !InSecurityRestrictedOperation())
		tell(relid);
}

/* tell tells sessions that remember something of a model's rows (dimension/memory.c) that somebody
 * else than a load writes them. */
static void
tell(Oid relid)
{
	if (wh_model_managed(relid) == WH_MANAGED_MODEL)
		CacheInvalidateRelcacheByRelid(relid);
}

static void
refuse(Oid relid)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("table %s is kept by walhouse and not to be written by others",
					wh_sql_relation(relid)),
			 errhint("Change the source; or SET walhouse.allow_writes = on, and build the model again "
					 "where walhouse.verify() reports a difference.")));
}

/* walhouse_refuse_writes is the trigger that stands in for the hooks. */
Datum
walhouse_refuse_writes(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("function \"refuse_writes\" was not called by a trigger")));
	if (!wh_model_may_write())
		refuse(RelationGetRelid(data->tg_relation));
	tell(RelationGetRelid(data->tg_relation));
	PG_RETURN_POINTER(NULL);
}

bool
wh_model_may_write(void)
{
	return allow_writes || !check_function_bodies;
}

WhManaged
wh_model_managed(Oid relid)
{
	Known *entry;
	bool found;
	WhManaged result;

	if (!IsTransactionState() || relid < FirstNormalObjectId)
		return WH_MANAGED_NOT;
	if (known == NULL)
	{
		HASHCTL control = {.keysize = sizeof(Oid), .entrysize = sizeof(Known)};

		known = hash_create("walhouse protected tables", 64, &control, HASH_ELEM | HASH_BLOBS);
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
	}
	entry = hash_search(known, &relid, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->managed;
	result = find_managed(relid);
	entry = hash_search(known, &relid, HASH_ENTER, &found);
	entry->managed = result;
	return result;
}

const char *
wh_model_why_partitions_stay(Oid relid)
{
	switch (wh_model_managed(relid))
	{
		case WH_MANAGED_MODEL:
			return "It is a model, whose rows are what its change log says.";
		case WH_MANAGED_FEED:
			return "It is a feed's, and its models may still need the rows.";
		default:
			return NULL;
	}
}

bool
wh_model_is_installed(void)
{
	Oid namespace = get_namespace_oid("walhouse", true);

	return OidIsValid(namespace) && OidIsValid(get_relname_relid("model", namespace)) &&
		   OidIsValid(get_extension_oid("walhouse", true));
}

/* find_managed asks the catalog what a relation, or one that it is a partition of, is. */
static WhManaged
find_managed(Oid relid)
{
	List *relids = list_make1_oid(relid);
	WhArg args[2] = {WH_ARG_OID(relid)};
	WhUser saved;
	WhRows *rows;
	int level;

	if (!wh_model_is_installed())
		return WH_MANAGED_NOT;
	if (get_rel_relispartition(relid))
		relids = list_concat(relids, get_partition_ancestors(relid));
	args[1] = array_of(relids);
	/* Where the session has switched scans off, the costs would have this compiled. */
	level = wh_settings_push_interpreted();
	/* The transaction's own snapshot may be older than the model. */
	PushActiveSnapshot(GetLatestSnapshot());
	wh_user_become_extension(&saved);
	rows = wh_spi_query_kept_snapshot(
		wh_sql("SELECT %d FROM walhouse.model WHERE relation = ANY ($2) UNION ALL SELECT %d FROM "
			   "walhouse.model_view v JOIN pg_catalog.pg_class c ON c.oid = v.view WHERE v.view = "
			   "$1 AND c.relkind = 'r' UNION ALL SELECT %d FROM "
			   "walhouse.model WHERE query = $1 UNION ALL SELECT %d FROM walhouse.feed_table t "
			   "WHERE t.mirror = ANY ($2) OR t.log = ANY ($2) UNION ALL SELECT %d FROM "
			   "walhouse.feed_table t JOIN pg_catalog.pg_class l ON l.oid = t.log JOIN "
			   "pg_catalog.pg_class x ON x.relnamespace = l.relnamespace AND x.relname = 'txn' "
			   "WHERE x.oid = $1 LIMIT 1",
			   WH_MANAGED_MODEL, WH_MANAGED_MODEL, WH_MANAGED_QUERY, WH_MANAGED_FEED,
			   WH_MANAGED_FEED),
		lengthof(args), args);
	wh_user_restore(&saved);
	PopActiveSnapshot();
	wh_settings_pop(level);
	return rows->count == 0 ? WH_MANAGED_NOT : (WhManaged) wh_rows_int4(rows, 0, 1);
}

static WhArg
array_of(List *relids)
{
	Datum *oids = palloc(sizeof(Datum) * list_length(relids));
	int count = 0;
	ListCell *cell;

	foreach(cell, relids)
		oids[count++] = ObjectIdGetDatum(lfirst_oid(cell));
	return (WhArg){OIDARRAYOID,
				   PointerGetDatum(construct_array(oids, count, OIDOID, sizeof(Oid), true,
												   TYPALIGN_INT)),
				   false};
}

static void
forget(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	Known *entry;

	if (OidIsValid(relid))
	{
		hash_search(known, &relid, HASH_REMOVE, NULL);
		return;
	}
	hash_seq_init(&status, known);
	while ((entry = hash_seq_search(&status)) != NULL)
		hash_search(known, &entry->relid, HASH_REMOVE, NULL);
}
