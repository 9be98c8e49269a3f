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
 * hash table for each written table of a statement and nothing for others, and loads, which run
 * with walhouse.allow_writes on (wh_settings_pin), not even that.  Where it is not preloaded a
 * statement trigger, made at declaration, guards the table itself.
 *
 * Dumps write to these tables when they are restored.  Every session that restores one has
 * check_function_bodies off, by the text of the dump or by pg_restore, and is let through.
 *
 * The hash table says of relations whether they belong to a model, until their relcache entry is
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
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/base.h"
#include "model/model.h"
#include "model/model_private.h"

/* Whether a relation belongs to a model. */
typedef struct Known
{
	Oid relid; /* the hash key */
	bool is_managed;
} Known;

static void start_hook(QueryDesc *query, int flags);
static bool check_hook(WH_COMPAT_CHECK_PERMS_PARAMETERS);
static void access_hook(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id,
						void *arg);
static void check(Oid relid);
static pg_noreturn void refuse(Oid relid);
static bool is_managed(Oid relid);
static bool find_managed(Oid relid);
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
							 "Lets this session write to the tables of dimensions and facts.", NULL,
							 &allow_writes, false, PGC_USERSET, 0, NULL, NULL, NULL);
	is_preloaded = process_shared_preload_libraries_in_progress;
	next_start = ExecutorStart_hook;
	ExecutorStart_hook = start_hook;
	next_check = ExecutorCheckPerms_hook;
	ExecutorCheckPerms_hook = check_hook;
	next_access = object_access_hook;
	object_access_hook = access_hook;
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
	if (!allow_writes && check_function_bodies && is_managed(relid))
		refuse(relid);
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
	if (!allow_writes && check_function_bodies)
		refuse(RelationGetRelid(data->tg_relation));
	PG_RETURN_POINTER(NULL);
}

static bool
is_managed(Oid relid)
{
	Known *entry;
	bool found;
	bool result;

	if (!IsTransactionState() || relid < FirstNormalObjectId)
		return false;
	if (known == NULL)
	{
		HASHCTL control = {.keysize = sizeof(Oid), .entrysize = sizeof(Known)};

		known = hash_create("walhouse protected tables", 64, &control, HASH_ELEM | HASH_BLOBS);
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
	}
	entry = hash_search(known, &relid, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->is_managed;
	result = find_managed(relid);
	entry = hash_search(known, &relid, HASH_ENTER, &found);
	entry->is_managed = result;
	return result;
}

/* find_managed asks the catalog whether a relation, or one that it is a partition of, is a model,
 * or was made beside one. */
static bool
find_managed(Oid relid)
{
	Oid namespace = get_namespace_oid("walhouse", true);
	List *relids = list_make1_oid(relid);
	StringInfoData ids;
	ListCell *cell;

	if (!OidIsValid(namespace) || !OidIsValid(get_relname_relid("model", namespace)) ||
		!OidIsValid(get_extension_oid("walhouse", true)))
		return false;
	if (get_rel_relispartition(relid))
		relids = list_concat(relids, get_partition_ancestors(relid));
	initStringInfo(&ids);
	foreach(cell, relids)
		wh_sql_append(&ids, "%s%u", ids.len > 0 ? ", " : "", lfirst_oid(cell));
	return wh_catalog_query(
			   wh_sql("SELECT FROM walhouse.model WHERE relation IN (%s) UNION ALL "
					  "SELECT FROM walhouse.model_view WHERE view IN (%s) LIMIT 1",
					  ids.data, ids.data),
			   0, NULL)
			   ->count > 0;
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
