/*
 * column.c
 *		How the values of a column are written: its kind on the wire, its tag, its writer.
 *
 * What is looked up here is looked up once a definition: value.c then writes values without a
 * look at the catalog.  A domain is written as the type at its bottom, and so are the elements of
 * an array.
 */
#include "output/output_private.h"

#include "catalog/pg_type.h"
#include "utils/lsyscache.h"

/* Field of Array. */
#define ARRAY_VALUE 4

static bool is_array(Oid type);
static void compile_type(WhOutputColumn *column, Oid type);
static void compile_tag(WhOutputColumn *column);
static WhWriter choose_writer(Oid type, char type_kind, WhValueKind *kind);

void
wh_output_compile_column(WhOutputColumn *column, Form_pg_attribute attribute)
{
	column->attnum = attribute->attnum;
	compile_type(column, getBaseType(attribute->atttypid));
	column->element = NULL;
	if (is_array(column->type))
	{
		column->kind = WH_VALUE_ARRAY;
		column->writer = WH_WRITE_ARRAY;
		column->element = palloc0(sizeof(WhOutputColumn));
		column->element->is_element = true;
		column->element->attnum = ARRAY_VALUE;
		compile_type(column->element, getBaseType(get_element_type(column->type)));
	}
	compile_tag(column);
	if (column->element != NULL)
		compile_tag(column->element);
}

/* is_array tells the arrays that users know; of the old vectors each is one value. */
static bool
is_array(Oid type)
{
	return type != INT2VECTOROID && type != OIDVECTOROID && OidIsValid(get_element_type(type));
}

static void
compile_type(WhOutputColumn *column, Oid type)
{
	Oid output;
	bool is_varlena;

	column->type = type;
	get_typlenbyvalalign(type, &column->length, &column->by_value, &column->align);
	column->is_varlena = column->length == -1;
	column->writer = choose_writer(type, get_typtype(type), &column->kind);
	getTypeOutputInfo(type, &output, &is_varlena);
	fmgr_info(output, &column->output);
}

/* compile_tag writes the tag of a column's field; elements that are packed have none. */
static void
compile_tag(WhOutputColumn *column)
{
	WhWireType type = wh_wire_type_of_kind(column->kind);

	column->tag_size = 0;
	if (!column->is_element || type == WH_WIRE_BYTES)
		column->tag_size = wh_wire_put_tag(column->tag, column->attnum, type) - column->tag;
}

/* choose_writer maps a base type to its kind on the wire and the way to write it. */
static WhWriter
choose_writer(Oid type, char type_kind, WhValueKind *kind)
{
	static const struct
	{
		Oid type;
		WhValueKind kind;
		WhWriter writer;
	} known[] = {
		{BOOLOID, WH_VALUE_BOOL, WH_WRITE_BOOL},
		{INT2OID, WH_VALUE_INT32, WH_WRITE_INT2},
		{INT4OID, WH_VALUE_INT32, WH_WRITE_INT4},
		{INT8OID, WH_VALUE_INT64, WH_WRITE_INT8},
		{MONEYOID, WH_VALUE_INT64, WH_WRITE_INT8},
		{OIDOID, WH_VALUE_UINT32, WH_WRITE_UINT32},
		{XIDOID, WH_VALUE_UINT32, WH_WRITE_UINT32},
		{CIDOID, WH_VALUE_UINT32, WH_WRITE_UINT32},
		{XID8OID, WH_VALUE_UINT64, WH_WRITE_UINT64},
		{FLOAT4OID, WH_VALUE_FLOAT, WH_WRITE_FLOAT4},
		{FLOAT8OID, WH_VALUE_DOUBLE, WH_WRITE_FLOAT8},
		{NUMERICOID, WH_VALUE_NUMERIC, WH_WRITE_NUMERIC},
		{DATEOID, WH_VALUE_DATE, WH_WRITE_DATE},
		{TIMEOID, WH_VALUE_TIME, WH_WRITE_TIME},
		{TIMETZOID, WH_VALUE_TIMETZ, WH_WRITE_TIMETZ},
		{TIMESTAMPOID, WH_VALUE_TIMESTAMP, WH_WRITE_TIMESTAMP},
		{TIMESTAMPTZOID, WH_VALUE_TIMESTAMPTZ, WH_WRITE_TIMESTAMP},
		{INTERVALOID, WH_VALUE_INTERVAL, WH_WRITE_INTERVAL},
		{UUIDOID, WH_VALUE_UUID, WH_WRITE_UUID},
		{BYTEAOID, WH_VALUE_BYTES, WH_WRITE_BYTES},
		{TEXTOID, WH_VALUE_TEXT, WH_WRITE_TEXT},
		{VARCHAROID, WH_VALUE_TEXT, WH_WRITE_TEXT},
		{BPCHAROID, WH_VALUE_TEXT, WH_WRITE_TEXT},
		{JSONOID, WH_VALUE_TEXT, WH_WRITE_TEXT},
		{NAMEOID, WH_VALUE_TEXT, WH_WRITE_NAME},
		{CHAROID, WH_VALUE_TEXT, WH_WRITE_OUTPUT},
		{JSONBOID, WH_VALUE_TEXT, WH_WRITE_JSONB},
		{XMLOID, WH_VALUE_TEXT, WH_WRITE_OUTPUT},
	};

	for (int i = 0; i < (int) lengthof(known); i++)
	{
		if (known[i].type == type)
		{
			*kind = known[i].kind;
			return known[i].writer;
		}
	}
	*kind = type_kind == TYPTYPE_ENUM ? WH_VALUE_TEXT : WH_VALUE_OUTPUT;
	return WH_WRITE_OUTPUT;
}
