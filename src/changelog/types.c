/*
 * types.c
 *		Which type a source column has here.
 *
 * The same in snapshot and stream, from what both know: built-in types as they are, except those
 * whose values name objects of the source (reg*, aclitem); domains as their base type; an
 * extension's base type as itself where this database has a type of the same schema and name; all
 * else (enums, composites, arrays of such) as text.  Columns get no type modifier: values come
 * rounded and padded already, and a wider varchar at the source then needs nothing here.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/base.h"
#include "changelog/changelog.h"
#include "changelog/changelog_private.h"

static bool names_source_objects(Oid type);
static Oid extension_type(const WhSourceColumn *column);

Oid
wh_changelog_local_type(const WhSourceColumn *column, bool *is_text)
{
	Oid type = column->type_kind == TYPTYPE_DOMAIN ? column->base_type : column->type;

	*is_text = false;
	if (type < FirstGenbkiObjectId && OidIsValid(type) && get_typisdefined(type) &&
		!names_source_objects(type))
		return type;
	if (column->type_kind == TYPTYPE_BASE && type >= FirstNormalObjectId)
	{
		type = extension_type(column);
		if (OidIsValid(type))
			return type;
	}
	*is_text = true;
	return TEXTOID;
}

/* names_source_objects says whether a type's values, or its elements', are OIDs or roles that
 * mean nothing elsewhere. */
static bool
names_source_objects(Oid type)
{
	Oid element = get_element_type(type);

	switch (OidIsValid(element) ? element : type)
	{
		case REGPROCOID:
		case REGPROCEDUREOID:
		case REGOPEROID:
		case REGOPERATOROID:
		case REGCLASSOID:
		case REGCOLLATIONOID:
		case REGTYPEOID:
		case REGROLEOID:
		case REGNAMESPACEOID:
		case REGCONFIGOID:
		case REGDICTIONARYOID:
		case ACLITEMOID:
			return true;
		default:
			return false;
	}
}

/* extension_type finds a base type of the same schema and name here; InvalidOid when there is
 * none. */
static Oid
extension_type(const WhSourceColumn *column)
{
	Oid schema = get_namespace_oid(column->type_schema, true);
	Oid type;

	if (!OidIsValid(schema))
		return InvalidOid;
	type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, PointerGetDatum(column->type_name),
						   ObjectIdGetDatum(schema));
	if (!OidIsValid(type) || get_typtype(type) != TYPTYPE_BASE ||
		OidIsValid(get_element_type(type)) || !get_typisdefined(type))
		return InvalidOid;
	return type;
}

bool
wh_changelog_type_fits(Oid have, Oid want)
{
	return have == want || ((have == TEXTOID || have == VARCHAROID) &&
							(want == TEXTOID || want == VARCHAROID));
}

bool
wh_changelog_type_widens(Oid have, Oid want)
{
	switch (have)
	{
		case INT2OID:
			return want == INT4OID || want == INT8OID || want == NUMERICOID;
		case INT4OID:
			return want == INT8OID || want == NUMERICOID;
		case INT8OID:
			return want == NUMERICOID;
		case FLOAT4OID:
			return want == FLOAT8OID;
		default:
			return false;
	}
}

PG_FUNCTION_INFO_V1(walhouse_type_change);

Datum
walhouse_type_change(PG_FUNCTION_ARGS)
{
	Oid have = PG_GETARG_OID(0);
	Oid want = PG_GETARG_OID(1);

	if (wh_changelog_type_fits(have, want))
		PG_RETURN_TEXT_P(cstring_to_text("follows"));
	PG_RETURN_TEXT_P(
		cstring_to_text(wh_changelog_type_widens(have, want) ? "widens" : "resync"));
}

char *
wh_changelog_source_type(const WhSourceColumn *column)
{
	char *name = psprintf("%s.%s", column->type_schema, column->type_name);

	return column->typmod < 0 ? name : psprintf("%s(%d)", name, column->typmod);
}

/* wh_changelog_type_name: "character" and "bit", as SQL has them, would have the length 1. */
char *
wh_changelog_type_name(Oid type)
{
	return format_type_extended(type, -1, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}
