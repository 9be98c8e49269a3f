/*
 * ddl.c
 *		Refuses what others do to the definitions of what walhouse keeps.
 *
 * Loads find tables by OID and columns by name, ingest finds a mirror's columns by those that the
 * catalog has; a query's view is the query.  So what they stand on is not to be altered behind
 * their back: columns of models, mirrors and logs, keys, partitions, views with queries.  What can
 * be followed passes: another name, schema or owner of a model, indexes, storage, columns of one's
 * own, constraints, partitions that are attached.  A model's partitions, what stands beside it,
 * and its query's view get its new owner, too.  walhouse.allow_writes lets everything through.
 *
 * A hook of ProcessUtility sees the commands.  Dropping a table with CASCADE, or its schema, is no
 * accident and passes: the model stops, and says so.  Where walhouse is not preloaded, or
 * walhouse.allow_writes was on, models find out for themselves (catalog.c), and a mirror that does
 * not fit stops its table alone (feed/target.c).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/base.h"
#include "model/model.h"
#include "model/model_private.h"

static void utility_hook(PlannedStmt *statement, const char *query, bool read_only,
						 ProcessUtilityContext context, ParamListInfo params,
						 QueryEnvironment *environment, DestReceiver *dest,
						 QueryCompletion *completion);
static void check_statement(Node *statement);
static void check_alter(const AlterTableStmt *statement);
static const char *refusal(Oid relid, const AlterTableCmd *command, WhManaged managed);
static bool is_key(Oid relid, const char *constraint);
static bool changes_owner(Node *statement);
static void follow_owner(Oid relid);
static void check_rename(const RenameStmt *statement);
static void check_view(const ViewStmt *statement);
static void check_drop(const DropStmt *statement);
static void check_drop_of(ObjectType type, Oid relid);
static bool is_unique_index(Oid relid);
static void check_schema(const AlterObjectSchemaStmt *statement);
static Oid relid_of(const RangeVar *name);
static bool is_log_schema(const char *name);
static pg_noreturn void refuse(Oid relid, WhManaged managed, const char *what);

static ProcessUtility_hook_type next_utility = NULL;

void
wh_model_ddl_init(void)
{
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility_hook;
}

static void
utility_hook(PlannedStmt *statement, const char *query, bool read_only,
			 ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
			 DestReceiver *dest, QueryCompletion *completion)
{
	Oid given = InvalidOid; /* the model that is given another owner */

	if (!wh_model_may_write())
	{
		check_statement(statement->utilityStmt);
		if (changes_owner(statement->utilityStmt))
			given = relid_of(((AlterTableStmt *) statement->utilityStmt)->relation);
	}
	if (next_utility != NULL)
		next_utility(statement, query, read_only, context, params, environment, dest, completion);
	else
		standard_ProcessUtility(statement, query, read_only, context, params, environment, dest,
								completion);
	if (wh_model_managed(given) == WH_MANAGED_MODEL)
		follow_owner(given);
}

static void
check_statement(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_AlterTableStmt:
			check_alter((AlterTableStmt *) statement);
			break;
		case T_RenameStmt:
			check_rename((RenameStmt *) statement);
			break;
		case T_ViewStmt:
			check_view((ViewStmt *) statement);
			break;
		case T_DropStmt:
			check_drop((DropStmt *) statement);
			break;
		case T_AlterObjectSchemaStmt:
			check_schema((AlterObjectSchemaStmt *) statement);
			break;
		default:
			break;
	}
}

static void
check_alter(const AlterTableStmt *statement)
{
	Oid relid = relid_of(statement->relation);
	WhManaged managed = wh_model_managed(relid);
	ListCell *cell;

	if (managed == WH_MANAGED_NOT || managed == WH_MANAGED_QUERY)
		return;
	foreach(cell, statement->cmds)
	{
		const char *what = refusal(relid, lfirst(cell), managed);

		if (what != NULL)
			refuse(relid, managed, what);
	}
}

/* refusal says what a table does not bear; NULL for the rest.  Mirrors and logs have only the
 * columns that they need, and the owner that writes them. */
static const char *
refusal(Oid relid, const AlterTableCmd *command, WhManaged managed)
{
	switch (command->subtype)
	{
		case AT_DropColumn:
			return "to lose columns";
		case AT_AlterColumnType:
			return "to have the types of its columns changed";
		case AT_DropConstraint:
			return is_key(relid, command->name) ? "to lose its key" : NULL;
		case AT_DetachPartition:
			return "to lose partitions";
		case AT_SetUnLogged:
			return "to be unlogged";
		case AT_AddInherit:
		case AT_DropInherit:
		case AT_AddOf:
			return "to inherit";
		case AT_AddColumn:
			return managed == WH_MANAGED_FEED ? "to get columns" : NULL;
		case AT_ChangeOwner:
			return managed == WH_MANAGED_FEED ? "to get another owner" : NULL;
		default:
			return NULL;
	}
}

static bool
changes_owner(Node *statement)
{
	ListCell *cell;

	if (!IsA(statement, AlterTableStmt))
		return false;
	foreach(cell, ((AlterTableStmt *) statement)->cmds)
	{
		if (((AlterTableCmd *) lfirst(cell))->subtype == AT_ChangeOwner)
			return true;
	}
	return false;
}

/* follow_owner gives a model's partitions, what stands beside it, and the view with its query, to
 * its owner, as the one who gave the model: loads use all of it as the owner, the steps of a
 * partition set do so with partitions, and drop_model() drops it. */
static void
follow_owner(Oid relid)
{
	WhRows *rows = wh_catalog_query(
		"SELECT c.oid, c.relkind = 'v', pg_catalog.pg_get_userbyid(n.relowner)::pg_catalog.text "
		"FROM walhouse.model m JOIN pg_catalog.pg_class n ON n.oid = m.relation CROSS JOIN LATERAL "
		"(SELECT m.query UNION SELECT v.view FROM walhouse.model_view v WHERE v.model_id = "
		"m.model_id UNION SELECT t.relid FROM pg_catalog.pg_partition_tree(m.relation) t) x (relid)"
		" JOIN pg_catalog.pg_class c ON c.oid = x.relid WHERE m.relation = $1"
		" AND c.relkind IN ('r', 'p', 'v') AND c.relowner <> n.relowner ORDER BY 1",
		1, (WhArg[]){WH_ARG_REGCLASS(relid)});

	for (uint64 i = 0; i < rows->count; i++)
		wh_spi_execute(wh_sql("ALTER %s %T OWNER TO %I",
							  wh_rows_bool(rows, i, 2) ? "VIEW" : "TABLE", wh_rows_oid(rows, i, 1),
							  wh_rows_text(rows, i, 3)),
					   0, NULL);
}

/* is_key tells the constraints that walhouse has made from those of one's own. */
static bool
is_key(Oid relid, const char *constraint)
{
	Oid oid = get_relation_constraint_oid(relid, constraint, true);
	HeapTuple tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(oid));
	bool result = false;

	if (HeapTupleIsValid(tuple))
	{
		char type = ((Form_pg_constraint) GETSTRUCT(tuple))->contype;

		result = type == CONSTRAINT_PRIMARY || type == CONSTRAINT_UNIQUE;
		ReleaseSysCache(tuple);
	}
	return result;
}

static void
check_rename(const RenameStmt *statement)
{
	Oid relid;
	WhManaged managed;

	if (statement->renameType == OBJECT_SCHEMA)
	{
		if (is_log_schema(statement->subname))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("schema \"%s\" holds the change log of a feed and is not to be renamed", statement->subname),
					 errhint("Create the feed again under another name.")));
		return;
	}
	if (statement->relation == NULL)
		return;
	relid = relid_of(statement->relation);
	managed = wh_model_managed(relid);
	if (managed == WH_MANAGED_NOT)
		return;
	if (statement->renameType == OBJECT_COLUMN)
		refuse(relid, managed, "to have its columns renamed");
	/* Of the log, the partitions and txn are found by name. */
	if (managed == WH_MANAGED_FEED && get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE &&
		is_log_schema(get_namespace_name(get_rel_namespace(relid))))
		refuse(relid, managed, "to be renamed");
}

static void
check_view(const ViewStmt *statement)
{
	Oid relid = statement->replace ? relid_of(statement->view) : InvalidOid;

	if (wh_model_managed(relid) == WH_MANAGED_QUERY)
		refuse(relid, WH_MANAGED_QUERY, "to be replaced");
}

static void
check_drop(const DropStmt *statement)
{
	ListCell *cell;

	if ((statement->removeType != OBJECT_TABLE && statement->removeType != OBJECT_VIEW &&
		 statement->removeType != OBJECT_INDEX) ||
		statement->behavior == DROP_CASCADE)
		return;
	foreach(cell, statement->objects)
		check_drop_of(statement->removeType,
					  relid_of(makeRangeVarFromNameList((List *) lfirst(cell))));
}

/* check_drop_of: a table that a model is made of has nothing that depends on it, and neither has a
 * mirror that no model reads. */
static void
check_drop_of(ObjectType type, Oid relid)
{
	WhManaged managed;

	if (!OidIsValid(relid))
		return;
	if (type == OBJECT_INDEX)
	{
		Oid table = IndexGetRelation(relid, true);

		managed = wh_model_managed(table);
		if ((managed == WH_MANAGED_MODEL || managed == WH_MANAGED_FEED) && is_unique_index(relid))
			refuse(table, managed, "to lose its unique index");
		return;
	}
	managed = wh_model_managed(relid);
	if (managed != WH_MANAGED_NOT)
		refuse(relid, managed, "to be dropped");
}

static bool
is_unique_index(Oid relid)
{
	HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(relid));
	bool result = HeapTupleIsValid(tuple) && ((Form_pg_index) GETSTRUCT(tuple))->indisunique;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return result;
}

static void
check_schema(const AlterObjectSchemaStmt *statement)
{
	Oid relid;

	if (statement->relation == NULL)
		return;
	relid = relid_of(statement->relation);
	if (wh_model_managed(relid) == WH_MANAGED_FEED &&
		is_log_schema(get_namespace_name(get_rel_namespace(relid))))
		refuse(relid, WH_MANAGED_FEED, "to be moved");
}

static Oid
relid_of(const RangeVar *name)
{
	return name == NULL ? InvalidOid : RangeVarGetRelid(name, NoLock, true);
}

/* is_log_schema says whether a schema holds the change log of a feed. */
static bool
is_log_schema(const char *name)
{
	WhRows *rows;

	if (!wh_model_is_installed())
		return false;
	rows = wh_catalog_query("SELECT FROM walhouse.feed_table t JOIN pg_catalog.pg_class c ON c.oid "
							"= t.log JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
							"WHERE n.nspname = $1 LIMIT 1",
							1, (WhArg[]){WH_ARG_TEXT(name)});
	return rows->count > 0;
}

static void
refuse(Oid relid, WhManaged managed, const char *what)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
		 errmsg("%s %s is kept by walhouse and not %s",
				get_rel_relkind(relid) == RELKIND_VIEW ? "view" : "table", wh_sql_relation(relid),
				what),
		 managed == WH_MANAGED_FEED ?
			 errhint("Change the source, which is followed; or SET walhouse.allow_writes = on.") :
			 errhint("SELECT walhouse.drop_model(…) drops a model, and it can be declared again; or SET "
					 "walhouse.allow_writes = on.")));
}
