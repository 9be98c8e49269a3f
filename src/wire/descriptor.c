/*
 * descriptor.c
 *		The FileDescriptorProto that lets any protobuf library read a table's rows.
 *
 * One file, depending on nothing: message Row with a field for each column, then Numeric, TimeTz,
 * Interval and Special, beside Row rather than in it, so that no column's name can clash with
 * theirs.  A field's name is the column's name with all but letters, digits and underscores
 * replaced; where two names, or their JSON forms, would be the same, the later column's gets its
 * attnum as a suffix.  The real name is in Relation.column.
 *
 * The numbers below are the field numbers and enum values of google/protobuf/descriptor.proto.
 */
#include "c.h"

#include "utils/palloc.h"

#include "wire/encode.h"

/* FileDescriptorProto */
#define FILE_NAME 1
#define FILE_PACKAGE 2
#define FILE_MESSAGE 4

/* DescriptorProto */
#define MESSAGE_NAME 1
#define MESSAGE_FIELD 2
#define MESSAGE_ENUM 4

/* FieldDescriptorProto */
#define FIELD_NAME 1
#define FIELD_NUMBER 3
#define FIELD_LABEL 4
#define FIELD_TYPE 5
#define FIELD_TYPE_NAME 6
#define FIELD_OPTIONS 8
#define OPTIONS_PACKED 2

/* EnumDescriptorProto, EnumValueDescriptorProto */
#define ENUM_NAME 1
#define ENUM_VALUE 2
#define VALUE_NAME 1
#define VALUE_NUMBER 2

typedef enum Label
{
	LABEL_OPTIONAL = 1,
	LABEL_REQUIRED = 2,
	LABEL_REPEATED = 3,
	LABEL_PACKED = 1000 /* repeated, with the option */
} Label;

typedef enum Type
{
	TYPE_DOUBLE = 1,
	TYPE_FLOAT = 2,
	TYPE_UINT64 = 4,
	TYPE_BOOL = 8,
	TYPE_STRING = 9,
	TYPE_MESSAGE = 11,
	TYPE_BYTES = 12,
	TYPE_UINT32 = 13,
	TYPE_ENUM = 14,
	TYPE_SFIXED64 = 16,
	TYPE_SINT32 = 17,
	TYPE_SINT64 = 18
} Type;

/* The fields of the messages that values are made of, as in walhouse.proto. */
typedef struct HelperField
{
	const char *message;
	const char *name;
	int number;
	Label label;
	Type type;
	const char *type_name;
} HelperField;

static const HelperField helper_fields[] = {
	{"Numeric", "unscaled", 1, LABEL_OPTIONAL, TYPE_SINT64, NULL},
	{"Numeric", "scale", 2, LABEL_OPTIONAL, TYPE_UINT32, NULL},
	{"Numeric", "big", 3, LABEL_OPTIONAL, TYPE_STRING, NULL},
	{"TimeTz", "microseconds", 1, LABEL_REQUIRED, TYPE_SINT64, NULL},
	{"TimeTz", "zone", 2, LABEL_REQUIRED, TYPE_SINT32, NULL},
	{"Interval", "months", 1, LABEL_REQUIRED, TYPE_SINT32, NULL},
	{"Interval", "days", 2, LABEL_REQUIRED, TYPE_SINT32, NULL},
	{"Interval", "microseconds", 3, LABEL_REQUIRED, TYPE_SINT64, NULL},
	{"Special", "attnum", 1, LABEL_REQUIRED, TYPE_UINT32, NULL},
	{"Special", "kind", 2, LABEL_REQUIRED, TYPE_ENUM, "Special.Kind"},
	{"Special", "text", 3, LABEL_OPTIONAL, TYPE_STRING, NULL},
	{"Special", "raw", 4, LABEL_OPTIONAL, TYPE_BYTES, NULL},
};

static const char *const helper_messages[] = {"Numeric", "TimeTz", "Interval", "Special"};

static const char *const special_kinds[] = {
	"POSITIVE_INFINITY", "NEGATIVE_INFINITY", "NAN", "OUT_OF_RANGE", "NOT_UTF8"};

static void append_row(StringInfo out, const char *package, const WhWireField *fields, int nfields);
static void append_helper(StringInfo out, const char *package, const char *name);
static void append_special_kind(StringInfo out);
static void append_field(StringInfo out, const char *package, const char *name, uint32_t number,
						 Label label, Type type, const char *type_name);
static Type field_type(WhValueKind kind, const char **type_name);
static char *field_name(const WhWireField *field, char **taken, int ntaken);
static char *plain_name(const char *name);
static bool is_taken(const char *name, char **taken, int ntaken);
static bool is_same_name(const char *a, const char *b);

void
wh_wire_append_descriptor(StringInfo out, uint32_t schema, const WhWireField *fields, int nfields)
{
	char file[64];
	char package[64];

	snprintf(file, sizeof(file), "walhouse/row/s%u.proto", schema);
	snprintf(package, sizeof(package), "walhouse.row.s%u", schema);
	wh_wire_append_string(out, FILE_NAME, file);
	wh_wire_append_string(out, FILE_PACKAGE, package);
	append_row(out, package, fields, nfields);
	for (int i = 0; i < (int) lengthof(helper_messages); i++)
		append_helper(out, package, helper_messages[i]);
}

static void
append_row(StringInfo out, const char *package, const WhWireField *fields, int nfields)
{
	int message = wh_wire_open(out, FILE_MESSAGE);
	char **names = palloc(sizeof(char *) * (nfields + 2));

	names[0] = plain_name("walhouse_unchanged");
	names[1] = plain_name("walhouse_special");
	wh_wire_append_string(out, MESSAGE_NAME, "Row");
	for (int i = 0; i < nfields; i++)
	{
		const char *type_name = NULL;
		Type type = field_type(fields[i].kind, &type_name);

		names[i + 2] = field_name(&fields[i], names, i + 2);
		append_field(out, package, names[i + 2], fields[i].attnum, LABEL_OPTIONAL, type, type_name);
	}
	append_field(out, package, names[0], WH_ROW_UNCHANGED, LABEL_PACKED, TYPE_UINT32, NULL);
	append_field(out, package, names[1], WH_ROW_SPECIAL, LABEL_REPEATED, TYPE_MESSAGE, "Special");
	wh_wire_close(out, message);
	for (int i = 0; i < nfields + 2; i++)
		pfree(names[i]);
	pfree(names);
}

static void
append_helper(StringInfo out, const char *package, const char *name)
{
	int message = wh_wire_open(out, FILE_MESSAGE);

	wh_wire_append_string(out, MESSAGE_NAME, name);
	for (int i = 0; i < (int) lengthof(helper_fields); i++)
	{
		const HelperField *field = &helper_fields[i];

		if (strcmp(field->message, name) == 0)
			append_field(out, package, field->name, field->number, field->label, field->type,
						 field->type_name);
	}
	if (strcmp(name, "Special") == 0)
		append_special_kind(out);
	wh_wire_close(out, message);
}

static void
append_special_kind(StringInfo out)
{
	int kind = wh_wire_open(out, MESSAGE_ENUM);

	wh_wire_append_string(out, ENUM_NAME, "Kind");
	for (int i = 0; i < (int) lengthof(special_kinds); i++)
	{
		int value = wh_wire_open(out, ENUM_VALUE);

		wh_wire_append_string(out, VALUE_NAME, special_kinds[i]);
		wh_wire_append_uint(out, VALUE_NUMBER, i + 1);
		wh_wire_close(out, value);
	}
	wh_wire_close(out, kind);
}

static void
append_field(StringInfo out, const char *package, const char *name, uint32_t number, Label label,
			 Type type, const char *type_name)
{
	int field = wh_wire_open(out, MESSAGE_FIELD);
	char full[128];

	wh_wire_append_string(out, FIELD_NAME, name);
	wh_wire_append_uint(out, FIELD_NUMBER, number);
	wh_wire_append_uint(out, FIELD_LABEL, label == LABEL_PACKED ? LABEL_REPEATED : label);
	wh_wire_append_uint(out, FIELD_TYPE, type);
	if (type_name != NULL)
	{
		snprintf(full, sizeof(full), ".%s.%s", package, type_name);
		wh_wire_append_string(out, FIELD_TYPE_NAME, full);
	}
	if (label == LABEL_PACKED)
	{
		int options = wh_wire_open(out, FIELD_OPTIONS);

		wh_wire_append_uint(out, OPTIONS_PACKED, 1);
		wh_wire_close(out, options);
	}
	wh_wire_close(out, field);
}

static Type
field_type(WhValueKind kind, const char **type_name)
{
	switch (kind)
	{
		case WH_VALUE_BOOL:
			return TYPE_BOOL;
		case WH_VALUE_INT32:
		case WH_VALUE_DATE:
			return TYPE_SINT32;
		case WH_VALUE_INT64:
		case WH_VALUE_TIME:
			return TYPE_SINT64;
		case WH_VALUE_UINT32:
			return TYPE_UINT32;
		case WH_VALUE_UINT64:
			return TYPE_UINT64;
		case WH_VALUE_FLOAT:
			return TYPE_FLOAT;
		case WH_VALUE_DOUBLE:
			return TYPE_DOUBLE;
		case WH_VALUE_TIMESTAMP:
		case WH_VALUE_TIMESTAMPTZ:
			return TYPE_SFIXED64;
		case WH_VALUE_NUMERIC:
			*type_name = "Numeric";
			return TYPE_MESSAGE;
		case WH_VALUE_TIMETZ:
			*type_name = "TimeTz";
			return TYPE_MESSAGE;
		case WH_VALUE_INTERVAL:
			*type_name = "Interval";
			return TYPE_MESSAGE;
		case WH_VALUE_UUID:
		case WH_VALUE_BYTES:
			return TYPE_BYTES;
		default:
			return TYPE_STRING;
	}
}

/* -------- names -------- */

/* field_name returns a valid name that no earlier field has. */
static char *
field_name(const WhWireField *field, char **taken, int ntaken)
{
	char *name = plain_name(field->name);

	while (is_taken(name, taken, ntaken))
	{
		size_t room = strlen(name) + 16;
		char *longer = palloc(room);

		snprintf(longer, room, "%s_%u", name, field->attnum);
		pfree(name);
		name = longer;
	}
	return name;
}

/* plain_name replaces what an identifier may not hold; it starts with a letter. */
static char *
plain_name(const char *name)
{
	char *plain = palloc(strlen(name) + 3);
	char *to = plain;

	if (!((*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z')))
	{
		*to++ = 'c';
		*to++ = '_';
	}
	for (; *name != '\0'; name++)
	{
		bool is_plain = (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z') ||
						(*name >= '0' && *name <= '9');

		*to++ = is_plain ? *name : '_';
	}
	*to = '\0';
	return plain;
}

static bool
is_taken(const char *name, char **taken, int ntaken)
{
	for (int i = 0; i < ntaken; i++)
	{
		if (is_same_name(name, taken[i]))
			return true;
	}
	return false;
}

/* is_same_name compares as JSON names do: without underscores and case. */
static bool
is_same_name(const char *a, const char *b)
{
	for (;;)
	{
		while (*a == '_')
			a++;
		while (*b == '_')
			b++;
		if ((*a | 0x20) != (*b | 0x20) && !(*a == '\0' && *b == '\0'))
			return false;
		if (*a == '\0' || *b == '\0')
			return *a == *b;
		a++;
		b++;
	}
}
