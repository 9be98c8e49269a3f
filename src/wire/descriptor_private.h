/*
 * descriptor_private.h
 *		What a row's file holds, for its two forms: FileDescriptorProto and .proto text.
 *
 * The numbers are those of google/protobuf/descriptor.proto.
 */
#ifndef WH_WIRE_DESCRIPTOR_PRIVATE_H
#define WH_WIRE_DESCRIPTOR_PRIVATE_H

#include "wire/encode.h"

typedef enum RowLabel
{
	LABEL_OPTIONAL = 1,
	LABEL_REQUIRED = 2,
	LABEL_REPEATED = 3,
	LABEL_PACKED = 1000 /* repeated, with the option */
} RowLabel;

typedef enum RowType
{
	TYPE_DOUBLE = 1,
	TYPE_FLOAT = 2,
	TYPE_UINT64 = 4,
	TYPE_FIXED32 = 7,
	TYPE_BOOL = 8,
	TYPE_STRING = 9,
	TYPE_MESSAGE = 11,
	TYPE_BYTES = 12,
	TYPE_UINT32 = 13,
	TYPE_ENUM = 14,
	TYPE_SFIXED64 = 16,
	TYPE_SINT32 = 17,
	TYPE_SINT64 = 18
} RowType;

typedef struct RowField
{
	const char *name;
	uint32_t number;
	RowLabel label;
	RowType type;
	const char *type_name; /* of TYPE_MESSAGE and TYPE_ENUM, without the package; else NULL */
	const char *comment; /* or NULL */
} RowField;

typedef struct RowMessage
{
	const char *name;
	const char *comment; /* or NULL */
	const RowField *fields;
	int nfields;
	bool has_special_kind; /* the enum Kind of Special stands in it */
} RowMessage;

/* A table's message: the fields of its columns, then those about the row. */
typedef struct RowTable
{
	RowField *fields;
	char **names; /* of the fields */
	char *name; /* of the message */
} RowTable;

typedef struct RowFile
{
	RowMessage *messages; /* the tables' first, then those that their fields use */
	int nmessages;
	RowTable *tables;
	int ntables;
	RowField arrays[WH_VALUE_ARRAY][4];
} RowFile;

#define SPECIAL_KINDS 5
extern const char *const wh_wire_special_kinds[SPECIAL_KINDS];

/*
 * wh_wire_build_row_file says what the file of some tables' rows holds; comments may be NULL.  The
 * comments must outlive it; wh_wire_free_row_file frees the rest.
 */
extern void wh_wire_build_row_file(RowFile *file, const WhWireProto *tables, int ntables);
extern void wh_wire_free_row_file(RowFile *file);

/* wh_wire_plain_name replaces what an identifier may not hold; it starts with a letter. */
extern char *wh_wire_plain_name(const char *name, size_t len);

#endif /* WH_WIRE_DESCRIPTOR_PRIVATE_H */
