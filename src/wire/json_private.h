/*
 * json_private.h
 *		What the files of the JSON renderer share.
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
	VALUE_UNCHANGED,
	VALUE_CHUNKED
} ValueState;

typedef struct Value
{
	ValueState state;
	WhField field; /* VALUE_SENT */
	WhWireSpecial special; /* VALUE_SPECIAL */
	WhWireChunked chunked; /* VALUE_CHUNKED */
} Value;

typedef struct KnownRelation
{
	Definition *definition;
	Value *values; /* of the row in hand, one a column */
} KnownRelation;

struct WhJson
{
	KnownRelation *relations; /* by schema id */
	int nrelations;
	int room;
	StringInfoData line;
	ProtobufCAllocator allocator;
};

/* Sets the error where none is set yet, and returns false. */
static inline bool
wh_wire_json_fail(WhWireError *error, const char *message)
{
	if (*error == NULL)
		*error = message;
	return false;
}

extern KnownRelation *wh_wire_find_relation(WhJson *json, uint32_t schema);

/* json_line.c: entries of one line each, appended to json->line. */
extern bool wh_wire_render_line(WhJson *json, const WhEntry *entry, WhWireError *error);
extern void wh_wire_render_relation(StringInfo out, const Definition *relation);

/* json_row.c: a run, a line a change. */
extern bool wh_wire_render_rows(WhJson *json, WhWireRows *rows, WhJsonEmit emit, void *arg,
								WhWireError *error);

/*
 * wh_wire_append_value appends a value as JSON, of a column that was sent or is special.  Returns
 * false where it does not fit its column.
 */
extern bool wh_wire_append_value(StringInfo out, const ColumnDefinition *column,
								 const Value *value);

/* -------- pieces -------- */

extern void wh_wire_append_text(StringInfo out, const char *text);
extern void wh_wire_append_text_key(StringInfo out, const char *key, const char *text);
extern void wh_wire_append_lsn_key(StringInfo out, const char *key, uint64_t lsn);

/* wh_wire_append_hex appends bytes in quotes, as PostgreSQL writes bytea. */
extern void wh_wire_append_hex(StringInfo out, WhSlice bytes);

#endif /* WH_WIRE_JSON_PRIVATE_H */
