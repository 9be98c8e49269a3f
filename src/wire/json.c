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

#include "utils/palloc.h"

#include "wire/json.h"
#include "wire/json_private.h"

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
		if (!wh_wire_append_value(out, column, &relation->values[i]))
			return fail(error, "value does not fit its column");
		separator = ",";
	}
	appendStringInfoChar(out, '}');
	return true;
}
