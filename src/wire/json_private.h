/*
 * json_private.h
 *		What the two files of the JSON renderer share.
 */
#ifndef WH_WIRE_JSON_PRIVATE_H
#define WH_WIRE_JSON_PRIVATE_H

#include "wire/json.h"
#include "wire/walhouse.pb-c.h"

typedef Walhouse__V1__Relation Definition;
typedef Walhouse__V1__Column ColumnDefinition;

/* What a row says of a column. */
typedef enum ValueState
{
	VALUE_NULL,
	VALUE_SENT,
	VALUE_SPECIAL,
	VALUE_UNCHANGED
} ValueState;

typedef struct Value
{
	ValueState state;
	WhField field; /* VALUE_SENT */
	WhWireSpecial special; /* VALUE_SPECIAL */
} Value;

/* wh_wire_append_value appends a value as JSON.  Returns false where it does not fit its column. */
extern bool wh_wire_append_value(StringInfo out, const ColumnDefinition *column,
								 const Value *value);

#endif /* WH_WIRE_JSON_PRIVATE_H */
