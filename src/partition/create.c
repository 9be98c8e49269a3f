/*
 * create.c
 *		Makes a partition without blocking readers or writers of the parent.
 *
 * CREATE TABLE … PARTITION OF takes ACCESS EXCLUSIVE on the parent.  A table made beside it
 * (LIKE) and then attached takes SHARE UPDATE EXCLUSIVE alone, as long as there is no default
 * partition and no foreign key; walhouse makes neither.  The new table is empty, so ATTACH scans
 * nothing.  Both statements belong to the caller's transaction: a crash leaves nothing.
 */
#include "postgres.h"

#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "partition/partition.h"
#include "partition/partition_private.h"

bool
wh_partition_attach(Oid parent, const char *name, const char *from_literal,
					const char *to_literal, const char *with)
{
	Oid nsp = get_rel_namespace(parent);
	Oid existing = get_relname_relid(name, nsp);
	const char *schema = get_namespace_name(nsp);

	if (OidIsValid(existing))
	{
		if (get_rel_relispartition(existing) && get_partition_parent(existing, true) == parent)
			return false;
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("cannot make partition \"%s\" of \"%s\"", name, get_rel_name(parent)),
				 errdetail(
					 "A relation of that name exists in schema \"%s\" and is no partition of it.",
					 schema),
				 errhint("Rename or drop it.")));
	}
	wh_spi_execute(wh_sql("CREATE TABLE %I.%I (LIKE %T INCLUDING ALL EXCLUDING IDENTITY)%s%s%s",
						  schema, name, parent, with != NULL ? " WITH (" : "",
						  with != NULL ? with : "", with != NULL ? ")" : ""),
				   0, NULL);
	wh_spi_execute(wh_sql("ALTER TABLE %T ATTACH PARTITION %I.%I FOR VALUES FROM (%s) TO (%s)",
						  parent, schema, name, from_literal, to_literal),
				   0, NULL);
	/* Where the parent is a set, it is looked at, and so knows of the new one. */
	if (wh_catalog_execute("UPDATE walhouse.partition_step t SET due = pg_catalog.now() FROM"
						   " walhouse.partition_set s WHERE s.parent = $1 AND s.enabled AND"
						   " t.set_id = s.set_id AND t.step = 'make'",
						   1, (WhArg[]){WH_ARG_OID(parent)}) > 0)
		wh_set_changed();
	return true;
}
