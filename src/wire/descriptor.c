/*
 * descriptor.c
 *		The FileDescriptorProto that lets any protobuf library read a table's rows.
 *
 * What it holds is decided in row_file.c.
 */
#include "c.h"

#include "wire/descriptor_private.h"

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

static void append_message(StringInfo out, const char *package, const RowMessage *message);
static void append_field(StringInfo out, const char *package, const RowField *field);
static void append_special_kind(StringInfo out);

void
wh_wire_append_descriptor(StringInfo out, uint32_t schema, const WhWireField *fields, int nfields)
{
	WhWireProto table = {"Row", NULL, nfields, fields, NULL};
	RowFile file;
	char name[64];
	char package[64];

	snprintf(name, sizeof(name), "walhouse/row/s%u.proto", schema);
	snprintf(package, sizeof(package), "walhouse.row.s%u", schema);
	wh_wire_build_row_file(&file, &table, 1);
	wh_wire_append_string(out, FILE_NAME, name);
	wh_wire_append_string(out, FILE_PACKAGE, package);
	for (int i = 0; i < file.nmessages; i++)
		append_message(out, package, &file.messages[i]);
	wh_wire_free_row_file(&file);
}

static void
append_message(StringInfo out, const char *package, const RowMessage *message)
{
	int mark = wh_wire_open(out, FILE_MESSAGE);

	wh_wire_append_string(out, MESSAGE_NAME, message->name);
	for (int i = 0; i < message->nfields; i++)
		append_field(out, package, &message->fields[i]);
	if (message->has_special_kind)
		append_special_kind(out);
	wh_wire_close(out, mark);
}

static void
append_field(StringInfo out, const char *package, const RowField *field)
{
	int mark = wh_wire_open(out, MESSAGE_FIELD);
	bool is_packed = field->label == LABEL_PACKED;
	char full[128];

	wh_wire_append_string(out, FIELD_NAME, field->name);
	wh_wire_append_uint(out, FIELD_NUMBER, field->number);
	wh_wire_append_uint(out, FIELD_LABEL, is_packed ? LABEL_REPEATED : field->label);
	wh_wire_append_uint(out, FIELD_TYPE, field->type);
	if (field->type_name != NULL)
	{
		snprintf(full, sizeof(full), ".%s.%s", package, field->type_name);
		wh_wire_append_string(out, FIELD_TYPE_NAME, full);
	}
	if (is_packed)
	{
		int options = wh_wire_open(out, FIELD_OPTIONS);

		wh_wire_append_uint(out, OPTIONS_PACKED, 1);
		wh_wire_close(out, options);
	}
	wh_wire_close(out, mark);
}

static void
append_special_kind(StringInfo out)
{
	int kind = wh_wire_open(out, MESSAGE_ENUM);

	wh_wire_append_string(out, ENUM_NAME, "Kind");
	for (int i = 0; i < SPECIAL_KINDS; i++)
	{
		int value = wh_wire_open(out, ENUM_VALUE);

		wh_wire_append_string(out, VALUE_NAME, wh_wire_special_kinds[i]);
		wh_wire_append_uint(out, VALUE_NUMBER, i + 1);
		wh_wire_close(out, value);
	}
	wh_wire_close(out, kind);
}
