/*
 * row_file.c
 *		The messages and fields of the file that describes a table's rows.
 *
 * One file, depending on nothing: a message with a field for each column, then Numeric, TimeTz,
 * Interval, Special, Chunked and the arrays that its columns use, beside it rather than in it, so
 * that no column's name can clash with theirs.  A .proto file may describe several tables; the
 * messages that are not a table's are in it once.  A field's name is the column's name with all but
 * letters, digits and underscores replaced; where two names, or their JSON forms, would be the
 * same, the later column's gets its attnum as a suffix.  The real name is in Relation.column.
 */
#include "c.h"

#include "utils/palloc.h"

#include "wire/descriptor_private.h"

const char *const wh_wire_special_kinds[SPECIAL_KINDS] = {
	"POSITIVE_INFINITY", "NEGATIVE_INFINITY", "NAN", "OUT_OF_RANGE", "NOT_UTF8"};

/* The fields of the messages that values are made of, as in walhouse.proto. */
static const RowField numeric_fields[] = {{"unscaled", 1, LABEL_OPTIONAL, TYPE_SINT64},
										  {"scale", 2, LABEL_OPTIONAL, TYPE_UINT32},
										  {"big", 3, LABEL_OPTIONAL, TYPE_STRING}};
static const RowField timetz_fields[] = {{"microseconds", 1, LABEL_REQUIRED, TYPE_SINT64},
										 {"zone", 2, LABEL_REQUIRED, TYPE_SINT32}};
static const RowField interval_fields[] = {{"months", 1, LABEL_REQUIRED, TYPE_SINT32},
										   {"days", 2, LABEL_REQUIRED, TYPE_SINT32},
										   {"microseconds", 3, LABEL_REQUIRED, TYPE_SINT64}};
static const RowField special_fields[] = {
	{"attnum", 1, LABEL_REQUIRED, TYPE_UINT32},
	{"kind", 2, LABEL_REQUIRED, TYPE_ENUM, "Special.Kind"},
	{"text", 3, LABEL_OPTIONAL, TYPE_STRING},
	{"raw", 4, LABEL_OPTIONAL, TYPE_BYTES}};
static const RowField chunked_fields[] = {{"attnum", 1, LABEL_REQUIRED, TYPE_UINT32},
										  {"id", 2, LABEL_REQUIRED, TYPE_UINT32},
										  {"size", 3, LABEL_REQUIRED, TYPE_UINT64},
										  {"crc32c", 4, LABEL_REQUIRED, TYPE_FIXED32}};

static const RowMessage value_messages[] = {
	{"Numeric", NULL, numeric_fields, lengthof(numeric_fields)},
	{"TimeTz", NULL, timetz_fields, lengthof(timetz_fields)},
	{"Interval", NULL, interval_fields, lengthof(interval_fields)},
	{"Special", NULL, special_fields, lengthof(special_fields), true},
	{"Chunked", NULL, chunked_fields, lengthof(chunked_fields)}};

/* The fields about the row, last in its message; their names are taken first. */
static const RowField meta_fields[] = {
	{"walhouse_unchanged", WH_ROW_UNCHANGED, LABEL_PACKED, TYPE_UINT32},
	{"walhouse_special", WH_ROW_SPECIAL, LABEL_REPEATED, TYPE_MESSAGE, "Special"},
	{"walhouse_changed", WH_ROW_CHANGED, LABEL_PACKED, TYPE_UINT32},
	{"walhouse_chunked", WH_ROW_CHUNKED, LABEL_REPEATED, TYPE_MESSAGE, "Chunked"}};

/* How a kind is told in a descriptor, by WhValueKind. */
typedef struct KindType
{
	RowType type;
	const char *type_name;
	const char *array;
} KindType;

static const KindType kind_types[WH_VALUE_ARRAY] = {
	[0] = {TYPE_STRING, NULL, NULL},
	[WH_VALUE_BOOL] = {TYPE_BOOL, NULL, "BoolArray"},
	[WH_VALUE_INT32] = {TYPE_SINT32, NULL, "Int32Array"},
	[WH_VALUE_INT64] = {TYPE_SINT64, NULL, "Int64Array"},
	[WH_VALUE_UINT32] = {TYPE_UINT32, NULL, "UInt32Array"},
	[WH_VALUE_UINT64] = {TYPE_UINT64, NULL, "UInt64Array"},
	[WH_VALUE_FLOAT] = {TYPE_FLOAT, NULL, "FloatArray"},
	[WH_VALUE_DOUBLE] = {TYPE_DOUBLE, NULL, "DoubleArray"},
	[WH_VALUE_NUMERIC] = {TYPE_MESSAGE, "Numeric", "NumericArray"},
	[WH_VALUE_DATE] = {TYPE_SINT32, NULL, "DateArray"},
	[WH_VALUE_TIME] = {TYPE_SINT64, NULL, "TimeArray"},
	[WH_VALUE_TIMETZ] = {TYPE_MESSAGE, "TimeTz", "TimeTzArray"},
	[WH_VALUE_TIMESTAMP] = {TYPE_SFIXED64, NULL, "TimestampArray"},
	[WH_VALUE_TIMESTAMPTZ] = {TYPE_SFIXED64, NULL, "TimestampTzArray"},
	[WH_VALUE_INTERVAL] = {TYPE_MESSAGE, "Interval", "IntervalArray"},
	[WH_VALUE_UUID] = {TYPE_BYTES, NULL, "UuidArray"},
	[WH_VALUE_BYTES] = {TYPE_BYTES, NULL, "BytesArray"},
	[WH_VALUE_TEXT] = {TYPE_STRING, NULL, "TextArray"},
	[WH_VALUE_OUTPUT] = {TYPE_STRING, NULL, "OutputArray"}};

static void build_table(RowFile *file, int at, const WhWireProto *table);
static const KindType *kind_type(WhValueKind kind);
static void add_column(RowFile *file, RowField *to, const WhWireField *field);
static void add_array(RowFile *file, WhValueKind element_kind);
static char *message_name(const RowFile *file, const char *name, int at);
static bool is_message_taken(const RowFile *file, const char *name, int at);
static char *field_name(const WhWireField *field, char **taken, int ntaken);
static char *with_suffix(char *name, unsigned int number);
static bool is_taken(const char *name, char **taken, int ntaken);
static bool is_same_name(const char *a, const char *b);

void
wh_wire_build_row_file(RowFile *file, const WhWireProto *tables, int ntables)
{
	int room = ntables + (int) lengthof(value_messages) + WH_VALUE_ARRAY;

	file->messages = palloc(sizeof(RowMessage) * room);
	file->tables = palloc(sizeof(RowTable) * ntables);
	file->ntables = ntables;
	file->nmessages = ntables;
	for (int i = 0; i < (int) lengthof(value_messages); i++)
		file->messages[file->nmessages++] = value_messages[i];
	for (int i = 0; i < ntables; i++)
		build_table(file, i, &tables[i]);
}

void
wh_wire_free_row_file(RowFile *file)
{
	for (int i = 0; i < file->ntables; i++)
	{
		RowTable *table = &file->tables[i];

		for (int j = 0; j < file->messages[i].nfields; j++)
			pfree(table->names[j]);
		pfree(table->names);
		pfree(table->fields);
		pfree(table->name);
	}
	pfree(file->tables);
	pfree(file->messages);
}

static void
build_table(RowFile *file, int at, const WhWireProto *table)
{
	int nmeta = lengthof(meta_fields);
	int nfields = table->nfields;
	RowTable *to = &file->tables[at];

	to->fields = palloc0(sizeof(RowField) * (nfields + nmeta));
	to->names = palloc(sizeof(char *) * (nfields + nmeta));
	to->name = message_name(file, table->name, at);
	file->messages[at] = (RowMessage){to->name, table->comment, to->fields, nfields + nmeta, false};
	for (int i = 0; i < nmeta; i++)
	{
		to->fields[nfields + i] = meta_fields[i];
		to->names[i] = wh_wire_plain_name(meta_fields[i].name, strlen(meta_fields[i].name));
	}
	for (int i = 0; i < nfields; i++)
	{
		RowField *field = &to->fields[i];

		to->names[nmeta + i] = field_name(&table->fields[i], to->names, nmeta + i);
		field->name = to->names[nmeta + i];
		field->comment = table->comments == NULL ? NULL : table->comments[i];
		add_column(file, field, &table->fields[i]);
	}
}

static void
add_column(RowFile *file, RowField *to, const WhWireField *field)
{
	to->number = field->attnum;
	to->label = LABEL_OPTIONAL;
	if (field->kind == WH_VALUE_ARRAY)
	{
		to->type = TYPE_MESSAGE;
		to->type_name = kind_type(field->element_kind)->array;
		add_array(file, field->element_kind);
	}
	else
	{
		to->type = kind_type(field->kind)->type;
		to->type_name = kind_type(field->kind)->type_name;
	}
}

static const KindType *
kind_type(WhValueKind kind)
{
	return &kind_types[kind < WH_VALUE_BOOL || kind >= WH_VALUE_ARRAY ? WH_VALUE_OUTPUT : kind];
}

/* add_array adds the message of a kind's arrays, where it is not there yet. */
static void
add_array(RowFile *file, WhValueKind element_kind)
{
	const KindType *type = kind_type(element_kind);
	RowField *fields = file->arrays[type - kind_types];
	bool is_packable = wh_wire_type_of_kind((WhValueKind) (type - kind_types)) != WH_WIRE_BYTES;

	for (int i = file->ntables; i < file->nmessages; i++)
	{
		if (file->messages[i].fields == fields)
			return;
	}
	fields[0] = (RowField){"dimension", 1, LABEL_PACKED, TYPE_UINT32};
	fields[1] = (RowField){"lower_bound", 2, LABEL_PACKED, TYPE_SINT32};
	fields[2] = (RowField){"nulls", 3, LABEL_OPTIONAL, TYPE_BYTES};
	fields[3] = (RowField){"value", 4, is_packable ? LABEL_PACKED : LABEL_REPEATED, type->type,
						   type->type_name};
	file->messages[file->nmessages++] = (RowMessage){type->array, NULL, fields, 4, false};
}

/* -------- names -------- */

/*
 * message_name returns a valid name that no earlier table's message has, nor any of those that
 * values are made of, used or not: another column does not rename the message.
 */
static char *
message_name(const RowFile *file, const char *name, int at)
{
	char *plain = wh_wire_plain_name(name, strlen(name));

	for (unsigned int i = 2; is_message_taken(file, plain, at); i++)
		plain = with_suffix(plain, i);
	return plain;
}

static bool
is_message_taken(const RowFile *file, const char *name, int at)
{
	for (int i = 0; i < at; i++)
	{
		if (is_same_name(name, file->messages[i].name))
			return true;
	}
	for (int i = 0; i < (int) lengthof(value_messages); i++)
	{
		if (is_same_name(name, value_messages[i].name))
			return true;
	}
	for (int i = WH_VALUE_BOOL; i < WH_VALUE_ARRAY; i++)
	{
		if (is_same_name(name, kind_types[i].array))
			return true;
	}
	return false;
}

/* with_suffix returns the name with a number behind it, and frees the one without. */
static char *
with_suffix(char *name, unsigned int number)
{
	size_t room = strlen(name) + 16;
	char *longer = palloc(room);

	snprintf(longer, room, "%s_%u", name, number);
	pfree(name);
	return longer;
}

/* field_name returns a valid name that no earlier field has. */
static char *
field_name(const WhWireField *field, char **taken, int ntaken)
{
	char *name = wh_wire_plain_name(field->name, strlen(field->name));

	while (is_taken(name, taken, ntaken))
		name = with_suffix(name, field->attnum);
	return name;
}

char *
wh_wire_plain_name(const char *name, size_t len)
{
	char *plain = palloc(len + 3);
	char *to = plain;

	if (len == 0 || !((*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z')))
	{
		*to++ = 'c';
		*to++ = '_';
	}
	for (size_t i = 0; i < len; i++)
	{
		bool is_plain = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= 'A' && name[i] <= 'Z') ||
						(name[i] >= '0' && name[i] <= '9');

		*to++ = is_plain ? name[i] : '_';
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
