/*
 * types.c
 *		The user-defined types that a relation's columns use, as TypeDefinition in walhouse.proto
 *		has them.
 *
 * From the types of the columns the list goes on to those that these are made of: elements of
 * arrays, base types of domains, subtypes of ranges, attributes of composite types; each once.
 * Types of pg_catalog are known to everybody
 * and left out.
 *
 * A change of a type comes as an invalidation of its row of pg_type, of its labels, or of a
 * composite type's relation; each is noted as a dependency of the definitions before it is read.
 */
#include "output/publish_private.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

static void append_type(WhOutput *session, StringInfo out, uint32_t number, Oid oid,
						List **types);
static void append_kind(WhOutput *session, StringInfo out, Form_pg_type type, List **types);
static void append_labels(WhOutput *session, StringInfo out, Oid type);
static void append_attributes(WhOutput *session, StringInfo out, Oid relid, List **types);
static void append_attribute(WhOutput *session, StringInfo out, Form_pg_attribute attribute);

void
wh_output_append_types(WhOutput *session, StringInfo out, uint32_t number, List *types)
{
	/* the list grows while it is walked */
	for (int i = 0; i < list_length(types); i++)
		append_type(session, out, number, list_nth_oid(types, i), &types);
}

static void
append_type(WhOutput *session, StringInfo out, uint32_t number, Oid oid, List **types)
{
	HeapTuple tuple;
	Form_pg_type type;
	int message;
	char kind[2] = {0};

	if (oid < FirstGenbkiObjectId)
		return;
	wh_output_depend(session, WH_ON_TYPE, GetSysCacheHashValue1(TYPEOID, ObjectIdGetDatum(oid)));
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(oid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", oid);
	type = (Form_pg_type) GETSTRUCT(tuple);
	if (type->typnamespace != PG_CATALOG_NAMESPACE)
	{
		kind[0] = type->typtype;
		message = wh_wire_open(out, number);
		wh_wire_append_uint(out, 1, oid);
		wh_wire_append_string(out, 2,
							  wh_output_utf8_name(session, get_namespace_name(type->typnamespace)));
		wh_wire_append_string(out, 3, wh_output_utf8_name(session, NameStr(type->typname)));
		wh_wire_append_string(out, 4, kind);
		append_kind(session, out, type, types);
		wh_wire_close(out, message);
	}
	ReleaseSysCache(tuple);
}

/* append_kind writes what types of a kind have, and adds the types that it is made of. */
static void
append_kind(WhOutput *session, StringInfo out, Form_pg_type type, List **types)
{
	Oid part = InvalidOid;

	switch (type->typtype)
	{
		case TYPTYPE_ENUM:
			append_labels(session, out, type->oid);
			break;
		case TYPTYPE_COMPOSITE:
			append_attributes(session, out, type->typrelid, types);
			break;
		case TYPTYPE_DOMAIN:
			part = type->typbasetype;
			wh_wire_append_uint(out, 7, part);
			wh_wire_append_uint(out, 8, (uint64) (int64) type->typtypmod);
			wh_wire_append_uint(out, 9, type->typnotnull);
			break;
		case TYPTYPE_RANGE:
			part = get_range_subtype(type->oid);
			wh_wire_append_uint(out, 10, part);
			break;
		case TYPTYPE_MULTIRANGE:
			part = get_multirange_range(type->oid);
			wh_wire_append_uint(out, 10, part);
			break;
		default:
			if (!IsTrueArrayType(type))
				break;
			part = type->typelem;
			wh_wire_append_uint(out, 11, part);
			break;
	}
	if (OidIsValid(part))
		*types = list_append_unique_oid(*types, part);
}

/* append_labels writes the labels of an enum in their order. */
static void
append_labels(WhOutput *session, StringInfo out, Oid type)
{
	Relation catalog = table_open(EnumRelationId, AccessShareLock);
	Relation index = index_open(EnumTypIdSortOrderIndexId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_pg_enum_enumtypid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(type));
	scan = systable_beginscan_ordered(catalog, index, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
		wh_wire_append_string(
			out, 5,
			wh_output_utf8_name(session, NameStr(((Form_pg_enum) GETSTRUCT(tuple))->enumlabel)));
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(catalog, AccessShareLock);
}

static void
append_attributes(WhOutput *session, StringInfo out, Oid relid, List **types)
{
	Relation relation;
	TupleDesc desc;

	wh_output_depend(session, WH_ON_RELATION, relid);
	relation = RelationIdGetRelation(relid);
	if (!RelationIsValid(relation))
		elog(ERROR, "could not open relation %u", relid);
	desc = RelationGetDescr(relation);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped)
			continue;
		append_attribute(session, out, attribute);
		*types = list_append_unique_oid(*types, attribute->atttypid);
	}
	RelationClose(relation);
}

static void
append_attribute(WhOutput *session, StringInfo out, Form_pg_attribute attribute)
{
	int message = wh_wire_open(out, 6);

	wh_wire_append_uint(out, 1, attribute->attnum);
	wh_wire_append_string(out, 2, wh_output_utf8_name(session, NameStr(attribute->attname)));
	wh_wire_append_uint(out, 3, attribute->atttypid);
	wh_wire_append_uint(out, 4, (uint64) (int64) attribute->atttypmod);
	wh_wire_append_string(
		out, 5,
		wh_output_utf8_name(session,
							format_type_with_typemod(attribute->atttypid, attribute->atttypmod)));
	wh_wire_close(out, message);
}
