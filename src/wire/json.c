/*
 * json.c
 *		Rendering batches as JSON lines.
 *
 * What a JSON reader could not hold goes as a string: 64-bit integers and numeric, dates and
 * times, infinities and NaN. NULL is null; columns whose TOAST value was not sent are missing
 * from "after" and listed in "unchanged"; text that is not UTF-8 is an object {"not_utf8":
 * "\\x…"}.  Keys come in a fixed order, columns by attnum.  src/wire/README.md lists the lines.
 *
 * Relations are unpacked once and kept until the next Hello, found by a binary search: ids grow
 * within a session. The batch is not trusted; what does not fit its relation is an error, what is
 * unknown is skipped.
 */
#include "c.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "utils/palloc.h"

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

static void forget_relations(WhJson *json);
static KnownRelation *find_relation(WhJson *json, uint32_t schema);
static bool keep_relation(WhJson *json, WhSlice payload, WhWireError *error);
static bool render_entry(WhJson *json, const WhEntry *entry, WhJsonEmit emit, void *arg,
						 WhWireError *error);
static bool render_hello(WhJson *json, WhSlice payload, WhWireError *error);
static void render_begin(StringInfo out, const WhWireBegin *begin);
static void render_commit(StringInfo out, const WhWireCommit *commit);
static void render_relation(StringInfo out, const Definition *relation);
static bool render_truncate(WhJson *json, WhSlice payload, WhWireError *error);
static bool render_rows(WhJson *json, WhWireRows *rows, WhJsonEmit emit, void *arg,
						WhWireError *error);
static bool read_row(KnownRelation *relation, WhSlice row, WhWireError *error);
static bool render_row(StringInfo out, KnownRelation *relation, WhSlice row, bool keys_only,
					   WhWireError *error);
static bool render_value(StringInfo out, const ColumnDefinition *column, const Value *value);

static bool
fail(WhWireError *error, const char *message)
{
	if (*error == NULL)
		*error = message;
	return false;
}

/* -------- renderers -------- */

static void *
allocate(void *data, size_t size)
{
	return palloc(size);
}

static void
release(void *data, void *pointer)
{
	if (pointer != NULL)
		pfree(pointer);
}

WhJson *
wh_wire_create_json(void)
{
	WhJson *json = palloc0(sizeof(WhJson));

	json->allocator.alloc = allocate;
	json->allocator.free = release;
	initStringInfo(&json->line);
	return json;
}

void
wh_wire_free_json(WhJson *json)
{
	forget_relations(json);
	if (json->relations != NULL)
		pfree(json->relations);
	pfree(json->line.data);
	pfree(json);
}

bool
wh_wire_render_json(WhJson *json, WhSlice batch, WhJsonEmit emit, void *arg, WhWireError *error)
{
	WhEntry entry;

	while (wh_wire_next_entry(&batch, &entry, error))
	{
		if (!render_entry(json, &entry, emit, arg, error))
			return false;
	}
	return *error == NULL;
}

static bool
render_entry(WhJson *json, const WhEntry *entry, WhJsonEmit emit, void *arg, WhWireError *error)
{
	WhWireRows rows;

	resetStringInfo(&json->line);
	switch (entry->kind)
	{
		case WH_ENTRY_HELLO:
			forget_relations(json);
			if (!render_hello(json, entry->payload, error))
				return false;
			break;
		case WH_ENTRY_BEGIN:
			render_begin(&json->line, &entry->u.begin);
			break;
		case WH_ENTRY_COMMIT:
			render_commit(&json->line, &entry->u.commit);
			break;
		case WH_ENTRY_RELATION:
			if (!keep_relation(json, entry->payload, error))
				return false;
			break;
		case WH_ENTRY_TRUNCATE:
			if (!render_truncate(json, entry->payload, error))
				return false;
			break;
		case WH_ENTRY_ROWS:
			rows = entry->u.rows;
			return render_rows(json, &rows, emit, arg, error);
		default:
			return true;
	}
	emit(arg, json->line.data, json->line.len);
	return true;
}

/* -------- relations -------- */

static void
forget_relations(WhJson *json)
{
	for (int i = 0; i < json->nrelations; i++)
	{
		walhouse__v1__relation__free_unpacked(json->relations[i].definition, &json->allocator);
		pfree(json->relations[i].values);
	}
	json->nrelations = 0;
}

/* relation_position returns the index at which a schema id is, or belongs. */
static int
relation_position(const WhJson *json, uint32_t schema)
{
	int low = 0;
	int high = json->nrelations;

	while (low < high)
	{
		int middle = (low + high) / 2;

		if (json->relations[middle].definition->schema < schema)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static KnownRelation *
find_relation(WhJson *json, uint32_t schema)
{
	int at = relation_position(json, schema);

	if (at < json->nrelations && json->relations[at].definition->schema == schema)
		return &json->relations[at];
	return NULL;
}

static bool
keep_relation(WhJson *json, WhSlice payload, WhWireError *error)
{
	Definition *relation =
		walhouse__v1__relation__unpack(&json->allocator, payload.len, payload.data);
	int at;

	if (relation == NULL)
		return fail(error, "malformed relation");
	at = relation_position(json, relation->schema);
	if (at < json->nrelations && json->relations[at].definition->schema == relation->schema)
	{
		walhouse__v1__relation__free_unpacked(relation, &json->allocator);
		return fail(error, "schema id is used twice");
	}
	if (json->nrelations == json->room)
	{
		json->room = json->room == 0 ? 16 : json->room * 2;
		json->relations = json->relations == NULL ?
							  palloc(json->room * sizeof(KnownRelation)) :
							  repalloc(json->relations, json->room * sizeof(KnownRelation));
	}
	memmove(&json->relations[at + 1], &json->relations[at],
			(json->nrelations - at) * sizeof(KnownRelation));
	json->relations[at].definition = relation;
	json->relations[at].values = palloc0((relation->n_column + 1) * sizeof(Value));
	json->nrelations++;
	render_relation(&json->line, relation);
	return true;
}

/* -------- lines -------- */

static void
append_text(StringInfo out, const char *text)
{
	wh_wire_append_json_string(out, text, strlen(text));
}

static void
append_text_key(StringInfo out, const char *key, const char *text)
{
	appendStringInfo(out, ",\"%s\":", key);
	append_text(out, text);
}

static void
append_lsn_key(StringInfo out, const char *key, uint64_t lsn)
{
	appendStringInfo(out, ",\"%s\":\"", key);
	wh_wire_append_lsn(out, lsn);
	appendStringInfoChar(out, '"');
}

static bool
render_hello(WhJson *json, WhSlice payload, WhWireError *error)
{
	Walhouse__V1__Hello *hello =
		walhouse__v1__hello__unpack(&json->allocator, payload.len, payload.data);
	StringInfo out = &json->line;

	if (hello == NULL)
		return fail(error, "malformed hello");
	if (hello->protocol != WH_WIRE_PROTOCOL)
	{
		walhouse__v1__hello__free_unpacked(hello, &json->allocator);
		return fail(error, "unknown protocol");
	}
	appendStringInfo(out, "{\"kind\":\"hello\",\"protocol\":%u", hello->protocol);
	append_text_key(out, "plugin_version", hello->plugin_version);
	appendStringInfo(
		out,
		",\"server_version\":%u,\"system_identifier\":\"%llu\",\"timeline\":%u,\"database_oid\":%u",
		hello->server_version, (unsigned long long) hello->system_identifier, hello->timeline,
		hello->database_oid);
	append_text_key(out, "database", hello->database);
	append_text_key(out, "encoding", hello->encoding);
	appendStringInfoString(out, ",\"options\":{");
	for (size_t i = 0; i < hello->n_option; i++)
	{
		if (i > 0)
			appendStringInfoChar(out, ',');
		append_text(out, hello->option[i]->name);
		appendStringInfoChar(out, ':');
		append_text(out, hello->option[i]->value);
	}
	appendStringInfoString(out, "}}");
	walhouse__v1__hello__free_unpacked(hello, &json->allocator);
	return true;
}

static void
render_begin(StringInfo out, const WhWireBegin *begin)
{
	appendStringInfo(out, "{\"kind\":\"begin\",\"xid\":%u", begin->xid);
	append_lsn_key(out, "commit_lsn", begin->commit_lsn);
	append_lsn_key(out, "end_lsn", begin->end_lsn);
	appendStringInfoString(out, ",\"commit_time\":\"");
	wh_wire_append_timestamp(out, begin->commit_time, true);
	appendStringInfoChar(out, '"');
	if (begin->origin.data != NULL)
	{
		appendStringInfoString(out, ",\"origin\":");
		wh_wire_append_json_string(out, (const char *) begin->origin.data, begin->origin.len);
	}
	appendStringInfoChar(out, '}');
}

static void
render_commit(StringInfo out, const WhWireCommit *commit)
{
	appendStringInfo(out, "{\"kind\":\"commit\",\"xid\":%u", commit->xid);
	append_lsn_key(out, "commit_lsn", commit->commit_lsn);
	append_lsn_key(out, "end_lsn", commit->end_lsn);
	appendStringInfoString(out, ",\"commit_time\":\"");
	wh_wire_append_timestamp(out, commit->commit_time, true);
	appendStringInfo(out, "\",\"changes\":%llu}", (unsigned long long) commit->changes);
}

/* append_lower appends the name of an enum's value in lower case. */
static void
append_lower(StringInfo out, const ProtobufCEnumDescriptor *type, int number, size_t prefix)
{
	const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(type, number);

	if (value == NULL)
		appendStringInfo(out, "%d", number);
	else
		for (const char *c = value->name + prefix; *c != '\0'; c++)
			appendStringInfoChar(out, *c >= 'A' && *c <= 'Z' ? *c + 32 : *c);
}

/* append_names appends the names of columns, given by attnum, as an array. */
static void
append_names(StringInfo out, const char *key, const Definition *relation, const uint32_t *attnums,
			 size_t n)
{
	const char *separator = "";

	appendStringInfo(out, ",\"%s\":[", key);
	for (size_t i = 0; i < n; i++)
	{
		for (size_t j = 0; j < relation->n_column; j++)
		{
			if (relation->column[j]->attnum != attnums[i])
				continue;
			appendStringInfoString(out, separator);
			append_text(out, relation->column[j]->name);
			separator = ",";
		}
	}
	appendStringInfoChar(out, ']');
}

static void
render_relation(StringInfo out, const Definition *relation)
{
	appendStringInfo(out, "{\"kind\":\"relation\",\"id\":%u", relation->schema);
	append_text_key(out, "schema", relation->namespace_);
	append_text_key(out, "table", relation->name);
	appendStringInfo(out, ",\"relid\":%u,\"identity\":\"", relation->relid);
	append_lower(out, &walhouse__v1__replica_identity__descriptor, relation->identity,
				 strlen("IDENTITY_"));
	appendStringInfoString(out, "\",\"columns\":[");
	for (size_t i = 0; i < relation->n_column; i++)
	{
		const ColumnDefinition *column = relation->column[i];

		appendStringInfo(out, "%s{\"attnum\":%u", i == 0 ? "" : ",", column->attnum);
		append_text_key(out, "name", column->name);
		append_text_key(out, "type", column->type);
		appendStringInfoString(out, ",\"kind\":\"");
		append_lower(out, &walhouse__v1__value_kind__descriptor, column->kind, 0);
		appendStringInfo(out, "\",\"not_null\":%s", column->not_null ? "true" : "false");
		if (column->missing_default != NULL)
			append_text_key(out, "missing_default", column->missing_default);
		if (column->has_generated && column->generated)
			appendStringInfoString(out, ",\"generated\":true");
		appendStringInfoChar(out, '}');
	}
	appendStringInfoChar(out, ']');
	append_names(out, "primary_key", relation, relation->primary_key, relation->n_primary_key);
	append_names(out, "identity_key", relation, relation->identity_key, relation->n_identity_key);
	appendStringInfoChar(out, '}');
}

static bool
render_truncate(WhJson *json, WhSlice payload, WhWireError *error)
{
	Walhouse__V1__Truncate *truncate =
		walhouse__v1__truncate__unpack(&json->allocator, payload.len, payload.data);
	StringInfo out = &json->line;
	bool is_known = true;

	if (truncate == NULL)
		return fail(error, "malformed truncate");
	appendStringInfo(out, "{\"kind\":\"truncate\",\"seq\":%llu,\"tables\":[",
					 (unsigned long long) truncate->seq);
	for (size_t i = 0; i < truncate->n_schema; i++)
	{
		KnownRelation *relation = find_relation(json, truncate->schema[i]);

		if (relation == NULL)
		{
			is_known = false;
			break;
		}
		appendStringInfo(out, "%s{\"schema\":", i == 0 ? "" : ",");
		append_text(out, relation->definition->namespace_);
		append_text_key(out, "table", relation->definition->name);
		appendStringInfoChar(out, '}');
	}
	appendStringInfo(out, "],\"cascade\":%s,\"restart_identity\":%s}",
					 truncate->cascade ? "true" : "false",
					 truncate->restart_identity ? "true" : "false");
	walhouse__v1__truncate__free_unpacked(truncate, &json->allocator);
	return is_known || fail(error, "truncate of an unknown relation");
}

/* -------- changes -------- */

static bool
render_rows(WhJson *json, WhWireRows *rows, WhJsonEmit emit, void *arg, WhWireError *error)
{
	static const char *const kinds[] = {"", "insert", "update", "delete"};
	KnownRelation *relation = find_relation(json, rows->schema);
	StringInfo out = &json->line;
	uint64_t seq = rows->first_seq;
	WhSlice after;
	WhSlice before;

	if (relation == NULL)
		return fail(error, "rows of an unknown relation");
	while (wh_wire_next_change(rows, &after, &before, error))
	{
		resetStringInfo(out);
		appendStringInfo(out, "{\"kind\":\"%s\"", kinds[rows->op]);
		append_text_key(out, "schema", relation->definition->namespace_);
		append_text_key(out, "table", relation->definition->name);
		appendStringInfo(out, ",\"seq\":%llu", (unsigned long long) seq++);
		if (before.data != NULL)
		{
			bool is_key = rows->before_kind == WH_BEFORE_KEY;

			appendStringInfoString(out, is_key ? ",\"key\":" : ",\"before\":");
			if (!render_row(out, relation, before, is_key, error))
				return false;
		}
		if (after.data != NULL)
		{
			const char *separator = ",\"unchanged\":[";
			bool has_unchanged = false;

			appendStringInfoString(out, ",\"after\":");
			if (!render_row(out, relation, after, false, error))
				return false;
			for (size_t i = 0; i < relation->definition->n_column; i++)
			{
				if (relation->values[i].state != VALUE_UNCHANGED)
					continue;
				appendStringInfoString(out, separator);
				append_text(out, relation->definition->column[i]->name);
				separator = ",";
				has_unchanged = true;
			}
			if (has_unchanged)
				appendStringInfoChar(out, ']');
		}
		appendStringInfoChar(out, '}');
		emit(arg, out->data, out->len);
	}
	return *error == NULL;
}

/*
 * find_value returns the value of the column with an attnum, or NULL.  Columns are by attnum,
 * mostly without gaps.
 */
static Value *
find_value(KnownRelation *relation, uint64_t attnum)
{
	size_t low = 0;
	size_t high = relation->definition->n_column;

	while (low < high)
	{
		size_t middle = (low + high) / 2;

		if (relation->definition->column[middle]->attnum < attnum)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < relation->definition->n_column && relation->definition->column[low]->attnum == attnum)
		return &relation->values[low];
	return NULL;
}

/* read_row takes a row apart into relation->values. */
static bool
read_row(KnownRelation *relation, WhSlice row, WhWireError *error)
{
	WhField field;
	Value *value;

	memset(relation->values, 0, relation->definition->n_column * sizeof(Value));
	while (wh_wire_next_field(&row, &field, error))
	{
		if (field.tag == WH_ROW_UNCHANGED && field.type == WH_WIRE_BYTES)
		{
			uint64_t attnum;

			while (wh_wire_next_packed(&field.bytes, &attnum, error))
			{
				value = find_value(relation, attnum);
				if (value != NULL)
					value->state = VALUE_UNCHANGED;
			}
		}
		else if (field.tag == WH_ROW_SPECIAL && field.type == WH_WIRE_BYTES)
		{
			WhWireSpecial special;

			if (!wh_wire_read_special(field.bytes, &special))
				return fail(error, "malformed special value");
			value = find_value(relation, special.attnum);
			if (value == NULL)
				continue;
			value->state = VALUE_SPECIAL;
			value->special = special;
		}
		else if ((value = find_value(relation, field.tag)) != NULL)
		{
			value->state = VALUE_SENT;
			value->field = field;
		}
	}
	return *error == NULL;
}

static bool
is_identity(const Definition *relation, uint32_t attnum)
{
	for (size_t i = 0; i < relation->n_identity_key; i++)
	{
		if (relation->identity_key[i] == attnum)
			return true;
	}
	return false;
}

static bool
render_row(StringInfo out, KnownRelation *relation, WhSlice row, bool keys_only, WhWireError *error)
{
	const Definition *definition = relation->definition;
	const char *separator = "";

	if (!read_row(relation, row, error))
		return false;
	appendStringInfoChar(out, '{');
	for (size_t i = 0; i < definition->n_column; i++)
	{
		const ColumnDefinition *column = definition->column[i];

		if (relation->values[i].state == VALUE_UNCHANGED ||
			(keys_only && !is_identity(definition, column->attnum)))
			continue;
		appendStringInfoString(out, separator);
		append_text(out, column->name);
		appendStringInfoChar(out, ':');
		if (!render_value(out, column, &relation->values[i]))
			return fail(error, "value does not fit its column");
		separator = ",";
	}
	appendStringInfoChar(out, '}');
	return true;
}

/* -------- values -------- */

static void
append_hex(StringInfo out, WhSlice bytes)
{
	static const char digits[] = "0123456789abcdef";

	enlargeStringInfo(out, (int) bytes.len * 2 + 8);
	appendStringInfoString(out, "\"\\\\x");
	for (size_t i = 0; i < bytes.len; i++)
	{
		appendStringInfoChar(out, digits[bytes.data[i] >> 4]);
		appendStringInfoChar(out, digits[bytes.data[i] & 15]);
	}
	appendStringInfoChar(out, '"');
}

static void
append_uuid(StringInfo out, WhSlice bytes)
{
	for (size_t i = 0; i < bytes.len; i++)
		appendStringInfo(out, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
						 bytes.data[i]);
}

static void
append_special(StringInfo out, const ColumnDefinition *column, const WhWireSpecial *special)
{
	bool is_numeric = column->kind == WALHOUSE__V1__VALUE_KIND__NUMERIC;

	switch (special->kind)
	{
		case WH_SPECIAL_POSITIVE_INFINITY:
			appendStringInfoString(out, is_numeric ? "\"Infinity\"" : "\"infinity\"");
			break;
		case WH_SPECIAL_NEGATIVE_INFINITY:
			appendStringInfoString(out, is_numeric ? "\"-Infinity\"" : "\"-infinity\"");
			break;
		case WH_SPECIAL_NAN:
			appendStringInfoString(out, "\"NaN\"");
			break;
		case WH_SPECIAL_NOT_UTF8:
			appendStringInfoString(out, "{\"not_utf8\":");
			append_hex(out, special->bytes);
			appendStringInfoChar(out, '}');
			break;
		default:
			wh_wire_append_json_string(out, (const char *) special->bytes.data, special->bytes.len);
			break;
	}
}

/* append_float appends a float4 or float8: the shortest digits that read back as the same value. */
static void
append_float(StringInfo out, const WhField *field, bool is_single)
{
	char digits[DOUBLE_SHORTEST_DECIMAL_LEN + 1];
	uint32_t bits = (uint32_t) field->number;
	float single = 0;
	double number;

	memcpy(&single, &bits, sizeof(single));
	memcpy(&number, &field->number, sizeof(number));
	if (is_single)
		number = single;
	if (isnan(number))
		appendStringInfoString(out, "\"NaN\"");
	else if (isinf(number))
		appendStringInfoString(out, number > 0 ? "\"Infinity\"" : "\"-Infinity\"");
	else
	{
		if (is_single)
			float_to_shortest_decimal_buf(single, digits);
		else
			double_to_shortest_decimal_buf(number, digits);
		appendStringInfoString(out, digits);
	}
}

/*
 * append_message appends a value that is a message of its own, between quotes.  Returns false
 * where it is malformed.
 */
static bool
append_message(StringInfo out, int kind, WhSlice bytes)
{
	WhWireNumeric numeric;
	WhWireInterval interval;
	int64_t microseconds;
	int32_t zone;

	switch (kind)
	{
		case WALHOUSE__V1__VALUE_KIND__NUMERIC:
			if (!wh_wire_read_numeric(bytes, &numeric))
				return false;
			if (numeric.big.data != NULL)
				wh_wire_append_json_string(out, (const char *) numeric.big.data, numeric.big.len);
			else
			{
				appendStringInfoChar(out, '"');
				wh_wire_append_decimal(out, numeric.unscaled, numeric.scale);
				appendStringInfoChar(out, '"');
			}
			return true;
		case WALHOUSE__V1__VALUE_KIND__TIMETZ:
			if (!wh_wire_read_timetz(bytes, &microseconds, &zone))
				return false;
			appendStringInfoChar(out, '"');
			wh_wire_append_timetz(out, microseconds, zone);
			break;
		case WALHOUSE__V1__VALUE_KIND__INTERVAL:
			if (!wh_wire_read_interval(bytes, &interval))
				return false;
			appendStringInfoChar(out, '"');
			wh_wire_append_interval(out, &interval);
			break;
		default:
			if (bytes.len != 16)
				return false;
			appendStringInfoChar(out, '"');
			append_uuid(out, bytes);
			break;
	}
	appendStringInfoChar(out, '"');
	return true;
}

/* wire_type returns the type that a field of a kind has. */
static WhWireType
wire_type(int kind)
{
	switch (kind)
	{
		case WALHOUSE__V1__VALUE_KIND__BOOL:
		case WALHOUSE__V1__VALUE_KIND__INT32:
		case WALHOUSE__V1__VALUE_KIND__INT64:
		case WALHOUSE__V1__VALUE_KIND__UINT32:
		case WALHOUSE__V1__VALUE_KIND__UINT64:
		case WALHOUSE__V1__VALUE_KIND__DATE:
		case WALHOUSE__V1__VALUE_KIND__TIME:
			return WH_WIRE_VARINT;
		case WALHOUSE__V1__VALUE_KIND__FLOAT:
			return WH_WIRE_FIXED32;
		case WALHOUSE__V1__VALUE_KIND__DOUBLE:
		case WALHOUSE__V1__VALUE_KIND__TIMESTAMP:
		case WALHOUSE__V1__VALUE_KIND__TIMESTAMPTZ:
			return WH_WIRE_FIXED64;
		default:
			return WH_WIRE_BYTES;
	}
}

static bool
render_value(StringInfo out, const ColumnDefinition *column, const Value *value)
{
	const WhField *field = &value->field;
	int64_t number = wh_wire_zigzag(field->number);

	if (value->state == VALUE_SPECIAL)
	{
		append_special(out, column, &value->special);
		return true;
	}
	if (value->state == VALUE_NULL)
	{
		appendStringInfoString(out, "null");
		return true;
	}
	if (field->type != wire_type(column->kind))
		return false;
	switch ((int) column->kind)
	{
		case WALHOUSE__V1__VALUE_KIND__BOOL:
			appendStringInfoString(out, field->number ? "true" : "false");
			return true;
		case WALHOUSE__V1__VALUE_KIND__INT32:
			appendStringInfo(out, "%d", (int) number);
			return true;
		case WALHOUSE__V1__VALUE_KIND__UINT32:
			appendStringInfo(out, "%u", (unsigned int) field->number);
			return true;
		case WALHOUSE__V1__VALUE_KIND__FLOAT:
		case WALHOUSE__V1__VALUE_KIND__DOUBLE:
			append_float(out, field, column->kind == WALHOUSE__V1__VALUE_KIND__FLOAT);
			return true;
		case WALHOUSE__V1__VALUE_KIND__NUMERIC:
		case WALHOUSE__V1__VALUE_KIND__TIMETZ:
		case WALHOUSE__V1__VALUE_KIND__INTERVAL:
		case WALHOUSE__V1__VALUE_KIND__UUID:
			return append_message(out, column->kind, field->bytes);
		case WALHOUSE__V1__VALUE_KIND__BYTES:
			append_hex(out, field->bytes);
			return true;
		case WALHOUSE__V1__VALUE_KIND__TEXT:
		case WALHOUSE__V1__VALUE_KIND__OUTPUT:
			wh_wire_append_json_string(out, (const char *) field->bytes.data, field->bytes.len);
			return true;
		default:
			break;
	}
	appendStringInfoChar(out, '"');
	switch ((int) column->kind)
	{
		case WALHOUSE__V1__VALUE_KIND__INT64:
			appendStringInfo(out, "%lld", (long long) number);
			break;
		case WALHOUSE__V1__VALUE_KIND__UINT64:
			appendStringInfo(out, "%llu", (unsigned long long) field->number);
			break;
		case WALHOUSE__V1__VALUE_KIND__DATE:
			wh_wire_append_date(out, (int32_t) number);
			break;
		case WALHOUSE__V1__VALUE_KIND__TIME:
			wh_wire_append_time(out, number);
			break;
		case WALHOUSE__V1__VALUE_KIND__TIMESTAMP:
			wh_wire_append_timestamp(out, (int64_t) field->number, false);
			break;
		case WALHOUSE__V1__VALUE_KIND__TIMESTAMPTZ:
			wh_wire_append_timestamp(out, (int64_t) field->number, true);
			break;
		default:
			return false;
	}
	appendStringInfoChar(out, '"');
	return true;
}
