/*
 * proto_text.c
 *		The text of a .proto file that describes a table's rows.
 *
 * The same messages, fields and names as those of the descriptor in the stream (row_file.c), under
 * a package and message names of the caller's choice.  protoc takes its own keywords as names, and
 * types are referred to from the root, so that no column's name is in the way.  Comments come from
 * catalogs: they are made one line of valid UTF-8 that ends no comment in any language that protoc
 * writes.
 */
#include "c.h"

#include "mb/pg_wchar.h"
#include "utils/palloc.h"

#include "wire/descriptor_private.h"

static void append_package(StringInfo out, const char *package);
static void append_message(StringInfo out, const char *package, const RowMessage *message);
static void append_field(StringInfo out, const char *package, const RowField *field);
static void append_comment(StringInfo out, const char *comment);
static const char *type_text(RowType type);

void
wh_wire_append_proto(StringInfo out, const char *package, const WhWireProto *tables, int ntables)
{
	RowFile file;
	StringInfoData plain;

	initStringInfo(&plain);
	append_package(&plain, package);
	wh_wire_build_row_file(&file, tables, ntables);
	appendStringInfo(out, "syntax = \"proto2\";\n\npackage %s;\n", plain.data);
	for (int i = 0; i < file.nmessages; i++)
		append_message(out, plain.data, &file.messages[i]);
	wh_wire_free_row_file(&file);
	pfree(plain.data);
}

/* append_package makes each of the names between the points of a package valid. */
static void
append_package(StringInfo out, const char *package)
{
	for (;;)
	{
		size_t len = strcspn(package, ".");
		char *name = wh_wire_plain_name(package, len);

		appendStringInfoString(out, name);
		pfree(name);
		if (package[len] == '\0')
			return;
		appendStringInfoChar(out, '.');
		package += len + 1;
	}
}

static void
append_message(StringInfo out, const char *package, const RowMessage *message)
{
	appendStringInfoChar(out, '\n');
	if (message->comment != NULL)
	{
		append_comment(out, message->comment);
		appendStringInfoChar(out, '\n');
	}
	appendStringInfo(out, "message %s {\n", message->name);
	if (message->has_special_kind)
	{
		appendStringInfoString(out, "  enum Kind {\n");
		for (int i = 0; i < SPECIAL_KINDS; i++)
			appendStringInfo(out, "    %s = %d;\n", wh_wire_special_kinds[i], i + 1);
		appendStringInfoString(out, "  }\n");
	}
	for (int i = 0; i < message->nfields; i++)
		append_field(out, package, &message->fields[i]);
	appendStringInfoString(out, "}\n");
}

static void
append_field(StringInfo out, const char *package, const RowField *field)
{
	const char *label = "repeated";

	if (field->label == LABEL_OPTIONAL || field->label == LABEL_REQUIRED)
		label = field->label == LABEL_OPTIONAL ? "optional" : "required";
	appendStringInfo(out, "  %s ", label);
	if (field->type_name != NULL)
		appendStringInfo(out, ".%s.%s", package, field->type_name);
	else
		appendStringInfoString(out, type_text(field->type));
	appendStringInfo(out, " %s = %u%s;", field->name, field->number,
					 field->label == LABEL_PACKED ? " [packed = true]" : "");
	if (field->comment != NULL)
	{
		appendStringInfoString(out, "  ");
		append_comment(out, field->comment);
	}
	appendStringInfoChar(out, '\n');
}

static const char *
type_text(RowType type)
{
	switch (type)
	{
		case TYPE_DOUBLE:
			return "double";
		case TYPE_FLOAT:
			return "float";
		case TYPE_UINT64:
			return "uint64";
		case TYPE_FIXED32:
			return "fixed32";
		case TYPE_BOOL:
			return "bool";
		case TYPE_BYTES:
			return "bytes";
		case TYPE_UINT32:
			return "uint32";
		case TYPE_SFIXED64:
			return "sfixed64";
		case TYPE_SINT32:
			return "sint32";
		case TYPE_SINT64:
			return "sint64";
		default:
			return "string";
	}
}

/*
 * append_comment appends the rest of a line.  What would end a comment gets a space between, and a
 * backslash, which joins lines in C, does not stand last.
 */
static void
append_comment(StringInfo out, const char *comment)
{
	const char *end = comment + strlen(comment);
	char last = ' ';

	appendStringInfoString(out, "// ");
	while (comment < end)
	{
		int len = pg_encoding_verifymbchar(PG_UTF8, comment, (int) (end - comment));
		char c = *comment;

		if (len < 1)
		{
			len = 1;
			c = '?';
		}
		if ((unsigned char) c < 0x20 || c == 0x7F)
			c = ' ';
		if ((last == '*' && c == '/') || (last == '/' && c == '*'))
			appendStringInfoChar(out, ' ');
		if (len == 1)
			appendStringInfoChar(out, c);
		else
			appendBinaryStringInfo(out, comment, len);
		last = c;
		comment += len;
	}
	if (last == '\\')
		appendStringInfoChar(out, '.');
}
