/*
 * users.c
 *		Who runs what: owners of feeds and models, and the owner of the extension for the catalog.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/base.h"

static Oid find_extension_owner(void);

void
wh_user_become(Oid owner, WhUser *saved)
{
	saved->settings = wh_settings_push_path();
	GetUserIdAndSecContext(&saved->userid, &saved->sec_context);
	SetUserIdAndSecContext(owner, saved->sec_context | SECURITY_RESTRICTED_OPERATION);
}

void
wh_user_declare_as(Oid owner, WhUser *saved)
{
	saved->settings = wh_settings_push_path();
	GetUserIdAndSecContext(&saved->userid, &saved->sec_context);
	SetUserIdAndSecContext(owner, saved->sec_context | SECURITY_LOCAL_USERID_CHANGE);
}

void
wh_user_become_extension(WhUser *saved)
{
	saved->settings = wh_settings_push_path();
	GetUserIdAndSecContext(&saved->userid, &saved->sec_context);
	SetUserIdAndSecContext(wh_extension_owner(),
						   saved->sec_context | SECURITY_LOCAL_USERID_CHANGE);
}

void
wh_user_restore(const WhUser *saved)
{
	SetUserIdAndSecContext(saved->userid, saved->sec_context);
	wh_settings_pop(saved->settings);
}

void
wh_user_check_owner(Oid owner, const char *kind, const char *name)
{
	/* A feed's owner stands in a table: DROP ROLE and REASSIGN OWNED know nothing of it. */
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(owner)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the owner of %s \"%s\" does not exist any more", kind, name),
				 errhint("As a superuser, set walhouse.feed.owner to the role that owns the mirrors.")));
	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of %s \"%s\"", kind, name),
				 errdetail("Its owner is \"%s\".", GetUserNameFromId(owner, true))));
}

/* wh_extension_owner is asked at every catalog statement: what it finds it remembers for the rest
 * of the transaction. */
Oid
wh_extension_owner(void)
{
	static LocalTransactionId known_in = InvalidLocalTransactionId;
	static Oid known = InvalidOid;

	if (known_in != wh_compat_lxid())
	{
		known = find_extension_owner();
		known_in = wh_compat_lxid();
	}
	return known;
}

static Oid
find_extension_owner(void)
{
	Oid extension = get_extension_oid("walhouse", false);
	Relation rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	Oid owner = InvalidOid;

	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(extension));
	scan = systable_beginscan(rel, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (!OidIsValid(owner))
		elog(ERROR, "extension walhouse has no owner");
	return owner;
}

Oid
wh_catalog_relid(const char *name)
{
	Oid relid = get_relname_relid(name, get_namespace_oid("walhouse", false));

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"walhouse.%s\" does not exist", name),
				 errhint("Run CREATE EXTENSION walhouse, or ALTER EXTENSION walhouse UPDATE.")));
	return relid;
}
