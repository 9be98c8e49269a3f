/*
 * json_line.c
 *		Entries of one line each: all but runs of changes.
 *
 * What the decoder does not take apart is unpacked by protobuf-c's code, with the renderer's
 * allocator.
 */
#include "c.h"

#include "mb/pg_wchar.h"

#include "wire/json.h"
#include "wire/json_private.h"

static bool render_hello(WhJson *json, WhSlice payload, WhWireError *error);
static void render_begin(StringInfo out, const WhWireBegin *begin);
static bool render_end(WhJson *json, const WhEntry *entry, const char *kind, WhWireError *error);
static bool render_rest_of_end(WhJson *json, const WhEntry *entry, WhWireError *error);
static void render_stream(StringInfo out, const WhEntry *entry);
static bool render_truncate(WhJson *json, WhSlice payload, WhWireError *error);
static bool render_message(WhJson *json, WhSlice payload, WhWireError *error);
static bool render_rewrite(WhJson *json, WhSlice payload, WhWireError *error);
static bool render_altered(WhJson *json, WhSlice payload, WhWireError *error);
static bool render_partitions(WhJson *json, WhSlice payload, WhWireError *error);
static void append_time_key(StringInfo out, const char *key, int64_t time);
static void append_slice_key(StringInfo out, const char *key, WhSlice text);
static void append_subxid_key(StringInfo out, bool has_subxid, uint32_t subxid);
static void append_table(StringInfo out, const Walhouse__V1__TableName *table);

bool
wh_wire_render_line(WhJson *json, const WhEntry *entry, WhWireError *error)
{
	StringInfo out = &json->line;

	switch (entry->kind)
	{
		case WH_ENTRY_HELLO:
			return render_hello(json, entry->payload, error);
		case WH_ENTRY_BEGIN:
			render_begin(out, &entry->u.begin);
			return true;
		case WH_ENTRY_COMMIT:
			return render_end(json, entry, "commit", error);
		case WH_ENTRY_STREAM_COMMIT:
			return render_end(json, entry, "stream_commit", error);
		case WH_ENTRY_PREPARE:
			return render_end(json, entry, "prepare", error);
		case WH_ENTRY_STREAM_PREPARE:
			return render_end(json, entry, "stream_prepare", error);
		case WH_ENTRY_COMMIT_PREPARED:
			return render_end(json, entry, "commit_prepared", error);
		case WH_ENTRY_ROLLBACK_PREPARED:
			return render_end(json, entry, "rollback_prepared", error);
		case WH_ENTRY_STREAM_START:
		case WH_ENTRY_STREAM_STOP:
		case WH_ENTRY_STREAM_ABORT:
			render_stream(out, entry);
			return true;
		case WH_ENTRY_TRUNCATE:
			return render_truncate(json, entry->payload, error);
		case WH_ENTRY_MESSAGE:
			return render_message(json, entry->payload, error);
		case WH_ENTRY_REWRITE:
			return render_rewrite(json, entry->payload, error);
		case WH_ENTRY_ALTERED:
			return render_altered(json, entry->payload, error);
		case WH_ENTRY_PARTITIONS:
			return render_partitions(json, entry->payload, error);
		case WH_ENTRY_CHUNK:
			appendStringInfo(out, "{\"kind\":\"chunk\",\"id\":%u,\"data\":", entry->u.chunk.id);
			wh_wire_append_hex(out, entry->u.chunk.data);
			appendStringInfoChar(out, '}');
			return true;
		default:
			return wh_wire_json_fail(error, "entry has no line");
	}
}

/* -------- pieces -------- */

void
wh_wire_append_text(StringInfo out, const char *text)
{
	wh_wire_append_json_string(out, text, strlen(text));
}

void
wh_wire_append_text_key(StringInfo out, const char *key, const char *text)
{
	appendStringInfo(out, ",\"%s\":", key);
	wh_wire_append_text(out, text);
}

void
wh_wire_append_lsn_key(StringInfo out, const char *key, uint64_t lsn)
{
	appendStringInfo(out, ",\"%s\":\"", key);
	wh_wire_append_lsn(out, lsn);
	appendStringInfoChar(out, '"');
}

static void
append_time_key(StringInfo out, const char *key, int64_t time)
{
	appendStringInfo(out, ",\"%s\":\"", key);
	wh_wire_append_timestamp(out, time, true);
	appendStringInfoChar(out, '"');
}

/* append_slice_key appends text that may be absent. */
static void
append_slice_key(StringInfo out, const char *key, WhSlice text)
{
	if (text.data == NULL)
		return;
	appendStringInfo(out, ",\"%s\":", key);
	wh_wire_append_json_string(out, (const char *) text.data, text.len);
}

static void
append_subxid_key(StringInfo out, bool has_subxid, uint32_t subxid)
{
	if (has_subxid)
		appendStringInfo(out, ",\"subxid\":%u", subxid);
}

/* -------- sessions and transactions -------- */

static bool
render_hello(WhJson *json, WhSlice payload, WhWireError *error)
{
	Walhouse__V1__Hello *hello =
		walhouse__v1__hello__unpack(&json->allocator, payload.len, payload.data);
	StringInfo out = &json->line;

	if (hello == NULL)
		return wh_wire_json_fail(error, "malformed hello");
	if (hello->protocol != WH_WIRE_PROTOCOL)
	{
		walhouse__v1__hello__free_unpacked(hello, &json->allocator);
		return wh_wire_json_fail(error, "unknown protocol");
	}
	appendStringInfo(out, "{\"kind\":\"hello\",\"protocol\":%u", hello->protocol);
	wh_wire_append_text_key(out, "plugin_version", hello->plugin_version);
	appendStringInfo(
		out,
		",\"server_version\":%u,\"system_identifier\":\"%llu\",\"timeline\":%u,\"database_oid\":%u",
		hello->server_version, (unsigned long long) hello->system_identifier, hello->timeline,
		hello->database_oid);
	wh_wire_append_text_key(out, "database", hello->database);
	wh_wire_append_text_key(out, "encoding", hello->encoding);
	appendStringInfoString(out, ",\"options\":{");
	for (size_t i = 0; i < hello->n_option; i++)
	{
		if (i > 0)
			appendStringInfoChar(out, ',');
		wh_wire_append_text(out, hello->option[i]->name);
		appendStringInfoChar(out, ':');
		wh_wire_append_text(out, hello->option[i]->value);
	}
	appendStringInfoString(out, "}}");
	walhouse__v1__hello__free_unpacked(hello, &json->allocator);
	return true;
}

static void
render_begin(StringInfo out, const WhWireBegin *begin)
{
	appendStringInfo(out, "{\"kind\":\"begin\",\"xid\":%u", begin->xid);
	wh_wire_append_lsn_key(out, "commit_lsn", begin->commit_lsn);
	wh_wire_append_lsn_key(out, "end_lsn", begin->end_lsn);
	append_time_key(out, "commit_time", begin->commit_time);
	append_slice_key(out, "origin", begin->origin);
	append_slice_key(out, "gid", begin->gid);
	appendStringInfoChar(out, '}');
}

/* render_end renders what ends a transaction or a part of its life. */
static bool
render_end(WhJson *json, const WhEntry *entry, const char *kind, WhWireError *error)
{
	const WhWireCommit *end = &entry->u.commit;
	bool is_prepare = entry->kind == WH_ENTRY_PREPARE || entry->kind == WH_ENTRY_STREAM_PREPARE;
	bool is_rollback = entry->kind == WH_ENTRY_ROLLBACK_PREPARED;
	const char *lsn_key = is_prepare ? "prepare_lsn" : "commit_lsn";
	StringInfo out = &json->line;

	appendStringInfo(out, "{\"kind\":\"%s\",\"xid\":%u", kind, end->xid);
	wh_wire_append_lsn_key(out, is_rollback ? "prepare_end_lsn" : lsn_key, end->commit_lsn);
	wh_wire_append_lsn_key(out, "end_lsn", end->end_lsn);
	append_time_key(out, is_prepare || is_rollback ? "prepare_time" : "commit_time",
					end->commit_time);
	append_slice_key(out, "gid", end->gid);
	return render_rest_of_end(json, entry, error);
}

static bool
render_rest_of_end(WhJson *json, const WhEntry *entry, WhWireError *error)
{
	StringInfo out = &json->line;
	WhSlice rest = entry->payload;
	const char *separator = ",\"tally\":[";
	WhWireTally tally;
	WhField field;

	if (entry->kind == WH_ENTRY_COMMIT_PREPARED || entry->kind == WH_ENTRY_ROLLBACK_PREPARED)
	{
		while (wh_wire_next_field(&rest, &field, error))
		{
			if (field.tag == 8 && field.type == WH_WIRE_BYTES)
				append_slice_key(out, "origin", field.bytes);
			else if (field.tag == 8 && field.type == WH_WIRE_FIXED64)
				append_time_key(out, "rollback_time", (int64_t) field.number);
		}
		appendStringInfoChar(out, '}');
		return *error == NULL;
	}
	appendStringInfo(out, ",\"changes\":%llu", (unsigned long long) entry->u.commit.changes);
	rest = entry->u.commit.tallies;
	while (wh_wire_next_tally(&rest, &tally, error))
	{
		appendStringInfo(
			out,
			"%s{\"relid\":%u,\"inserts\":%llu,\"updates\":%llu,\"deletes\":%llu,"
			"\"truncates\":%llu,\"hash\":\"%016llx\"}",
			separator, tally.relid, (unsigned long long) tally.inserts,
			(unsigned long long) tally.updates, (unsigned long long) tally.deletes,
			(unsigned long long) tally.truncates, (unsigned long long) tally.hash);
		separator = ",";
	}
	appendStringInfoString(out, strcmp(separator, ",") == 0 ? "]}" : "}");
	return *error == NULL;
}

static void
render_stream(StringInfo out, const WhEntry *entry)
{
	const WhWireStream *stream = &entry->u.stream;

	if (entry->kind == WH_ENTRY_STREAM_START)
	{
		appendStringInfo(out, "{\"kind\":\"stream_start\",\"xid\":%u,\"first\":%s", stream->xid,
						 stream->is_first ? "true" : "false");
		append_slice_key(out, "origin", stream->origin);
	}
	else if (entry->kind == WH_ENTRY_STREAM_STOP)
		appendStringInfo(out, "{\"kind\":\"stream_stop\",\"xid\":%u", stream->xid);
	else
	{
		appendStringInfo(out, "{\"kind\":\"stream_abort\",\"xid\":%u,\"subxid\":%u", stream->xid,
						 stream->subxid);
		wh_wire_append_lsn_key(out, "abort_lsn", stream->abort_lsn);
	}
	appendStringInfoChar(out, '}');
}

/* -------- relations -------- */

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

static void
append_kind_key(StringInfo out, const char *key, int kind)
{
	appendStringInfo(out, ",\"%s\":\"", key);
	append_lower(out, &walhouse__v1__value_kind__descriptor, kind, 0);
	appendStringInfoChar(out, '"');
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
			wh_wire_append_text(out, relation->column[j]->name);
			separator = ",";
		}
	}
	appendStringInfoChar(out, ']');
}

static void
append_column(StringInfo out, const ColumnDefinition *column)
{
	appendStringInfo(out, "{\"attnum\":%u", column->attnum);
	wh_wire_append_text_key(out, "name", column->name);
	wh_wire_append_text_key(out, "type", column->type);
	append_kind_key(out, "kind", column->kind);
	if (column->has_element_kind)
		append_kind_key(out, "element_kind", column->element_kind);
	appendStringInfo(out, ",\"not_null\":%s", column->not_null ? "true" : "false");
	if (column->missing_default != NULL)
		wh_wire_append_text_key(out, "missing_default", column->missing_default);
	if (column->default_expression != NULL)
		wh_wire_append_text_key(out, "default", column->default_expression);
	if (column->has_generated && column->generated)
		appendStringInfoString(out, ",\"generated\":true");
	appendStringInfoChar(out, '}');
}

static void
append_type(StringInfo out, const Walhouse__V1__TypeDefinition *type)
{
	appendStringInfo(out, "{\"oid\":%u", type->oid);
	wh_wire_append_text_key(out, "schema", type->namespace_);
	wh_wire_append_text_key(out, "name", type->name);
	wh_wire_append_text_key(out, "kind", type->kind);
	for (size_t i = 0; i < type->n_label; i++)
	{
		appendStringInfoString(out, i == 0 ? ",\"labels\":[" : ",");
		wh_wire_append_text(out, type->label[i]);
	}
	appendStringInfoString(out, type->n_label > 0 ? "]" : "");
	for (size_t i = 0; i < type->n_attribute; i++)
	{
		appendStringInfo(out, "%s{\"attnum\":%u", i == 0 ? ",\"attributes\":[" : ",",
						 type->attribute[i]->attnum);
		wh_wire_append_text_key(out, "name", type->attribute[i]->name);
		wh_wire_append_text_key(out, "type", type->attribute[i]->type);
		appendStringInfoChar(out, '}');
	}
	appendStringInfoString(out, type->n_attribute > 0 ? "]" : "");
	if (type->has_base_type_oid)
		appendStringInfo(out, ",\"base_type_oid\":%u", type->base_type_oid);
	if (type->has_not_null)
		appendStringInfo(out, ",\"not_null\":%s", type->not_null ? "true" : "false");
	if (type->has_subtype_oid)
		appendStringInfo(out, ",\"subtype_oid\":%u", type->subtype_oid);
	if (type->has_element_type_oid)
		appendStringInfo(out, ",\"element_type_oid\":%u", type->element_type_oid);
	appendStringInfoChar(out, '}');
}

static void
append_table_key(StringInfo out, const char *key, const Walhouse__V1__TableName *table)
{
	if (table == NULL)
		return;
	appendStringInfo(out, ",\"%s\":", key);
	append_table(out, table);
}

void
wh_wire_render_relation(StringInfo out, const Definition *relation)
{
	appendStringInfo(out, "{\"kind\":\"relation\",\"id\":%u", relation->schema);
	wh_wire_append_text_key(out, "schema", relation->namespace_);
	wh_wire_append_text_key(out, "table", relation->name);
	appendStringInfo(out, ",\"relid\":%u,\"identity\":\"", relation->relid);
	append_lower(out, &walhouse__v1__replica_identity__descriptor, relation->identity,
				 strlen("IDENTITY_"));
	appendStringInfoString(out, "\",\"columns\":[");
	for (size_t i = 0; i < relation->n_column; i++)
	{
		appendStringInfoString(out, i == 0 ? "" : ",");
		append_column(out, relation->column[i]);
	}
	appendStringInfoChar(out, ']');
	append_names(out, "primary_key", relation, relation->primary_key, relation->n_primary_key);
	append_names(out, "identity_key", relation, relation->identity_key, relation->n_identity_key);
	append_table_key(out, "leaf", relation->leaf);
	append_table_key(out, "root", relation->root);
	for (size_t i = 0; i < relation->n_type; i++)
	{
		appendStringInfoString(out, i == 0 ? ",\"types\":[" : ",");
		append_type(out, relation->type[i]);
	}
	appendStringInfoString(out, relation->n_type > 0 ? "]}" : "}");
}

static void
append_table(StringInfo out, const Walhouse__V1__TableName *table)
{
	appendStringInfo(out, "{\"relid\":%u", table->relid);
	wh_wire_append_text_key(out, "schema", table->namespace_);
	wh_wire_append_text_key(out, "table", table->name);
	appendStringInfoChar(out, '}');
}

/* -------- what stands among the changes -------- */

static bool
render_truncate(WhJson *json, WhSlice payload, WhWireError *error)
{
	Walhouse__V1__Truncate *truncate =
		walhouse__v1__truncate__unpack(&json->allocator, payload.len, payload.data);
	StringInfo out = &json->line;
	bool is_known = true;

	if (truncate == NULL)
		return wh_wire_json_fail(error, "malformed truncate");
	appendStringInfo(out, "{\"kind\":\"truncate\",\"seq\":%llu",
					 (unsigned long long) truncate->seq);
	append_subxid_key(out, truncate->has_subxid, truncate->subxid);
	appendStringInfoString(out, ",\"tables\":[");
	for (size_t i = 0; i < truncate->n_schema; i++)
	{
		KnownRelation *relation = wh_wire_find_relation(json, truncate->schema[i]);

		if (relation == NULL)
		{
			is_known = false;
			break;
		}
		appendStringInfo(out, "%s{\"schema\":", i == 0 ? "" : ",");
		wh_wire_append_text(out, relation->definition->namespace_);
		wh_wire_append_text_key(out, "table", relation->definition->name);
		appendStringInfoChar(out, '}');
	}
	appendStringInfo(out, "],\"cascade\":%s,\"restart_identity\":%s}",
					 truncate->cascade ? "true" : "false",
					 truncate->restart_identity ? "true" : "false");
	walhouse__v1__truncate__free_unpacked(truncate, &json->allocator);
	return is_known || wh_wire_json_fail(error, "truncate of an unknown relation");
}

static bool
render_rewrite(WhJson *json, WhSlice payload, WhWireError *error)
{
	Walhouse__V1__Rewrite *rewrite =
		walhouse__v1__rewrite__unpack(&json->allocator, payload.len, payload.data);
	KnownRelation *relation = NULL;
	StringInfo out = &json->line;
	bool rows_follow;

	if (rewrite == NULL)
		return wh_wire_json_fail(error, "malformed rewrite");
	appendStringInfo(out, "{\"kind\":\"rewrite\",\"seq\":%llu", (unsigned long long) rewrite->seq);
	append_subxid_key(out, rewrite->has_subxid, rewrite->subxid);
	rows_follow = rewrite->has_rows_follow && rewrite->rows_follow;
	relation = wh_wire_find_relation(json, rewrite->schema);
	walhouse__v1__rewrite__free_unpacked(rewrite, &json->allocator);
	if (relation == NULL)
		return wh_wire_json_fail(error, "rewrite of an unknown relation");
	wh_wire_append_text_key(out, "schema", relation->definition->namespace_);
	wh_wire_append_text_key(out, "table", relation->definition->name);
	appendStringInfoString(out, rows_follow ? ",\"rows_follow\":true}" : "}");
	return true;
}

/* render_altered shows the definition, as a relation line does, or that there is none any more. */
static bool
render_altered(WhJson *json, WhSlice payload, WhWireError *error)
{
	Walhouse__V1__Altered *altered =
		walhouse__v1__altered__unpack(&json->allocator, payload.len, payload.data);
	KnownRelation *relation = NULL;
	StringInfo out = &json->line;
	bool is_gone;

	if (altered == NULL)
		return wh_wire_json_fail(error, "malformed altered");
	appendStringInfo(out, "{\"kind\":\"altered\",\"relid\":%u", altered->relid);
	append_subxid_key(out, altered->has_subxid, altered->subxid);
	is_gone = !altered->has_schema;
	if (!is_gone)
		relation = wh_wire_find_relation(json, altered->schema);
	walhouse__v1__altered__free_unpacked(altered, &json->allocator);
	if (!is_gone && relation == NULL)
		return wh_wire_json_fail(error, "altered is about an unknown relation");
	if (is_gone)
		appendStringInfoString(out, ",\"gone\":true");
	else
	{
		wh_wire_append_text_key(out, "schema", relation->definition->namespace_);
		wh_wire_append_text_key(out, "table", relation->definition->name);
	}
	appendStringInfoChar(out, '}');
	return true;
}

/* Content that is text goes as text: applications send JSON and the like. */
static bool
render_message(WhJson *json, WhSlice payload, WhWireError *error)
{
	Walhouse__V1__Message *message =
		walhouse__v1__message__unpack(&json->allocator, payload.len, payload.data);
	StringInfo out = &json->line;
	WhSlice content;

	if (message == NULL)
		return wh_wire_json_fail(error, "malformed message");
	content = (WhSlice){message->content.data, message->content.len};
	appendStringInfo(out, "{\"kind\":\"message\",\"transactional\":%s",
					 message->transactional ? "true" : "false");
	wh_wire_append_text_key(out, "prefix", message->prefix);
	wh_wire_append_lsn_key(out, "lsn", message->lsn);
	if (message->has_seq)
		appendStringInfo(out, ",\"seq\":%llu", (unsigned long long) message->seq);
	append_subxid_key(out, message->has_subxid, message->subxid);
	appendStringInfoString(out, ",\"content\":");
	if (content.len <= INT_MAX &&
		pg_encoding_verifymbstr(PG_UTF8, (const char *) content.data, (int) content.len) ==
			(int) content.len)
		wh_wire_append_json_string(out, (const char *) content.data, content.len);
	else
	{
		appendStringInfoString(out, "{\"not_utf8\":");
		wh_wire_append_hex(out, content);
		appendStringInfoChar(out, '}');
	}
	appendStringInfoChar(out, '}');
	walhouse__v1__message__free_unpacked(message, &json->allocator);
	return true;
}

static void
append_tables(StringInfo out, const char *key, Walhouse__V1__TableName **tables, size_t n)
{
	appendStringInfo(out, ",\"%s\":[", key);
	for (size_t i = 0; i < n; i++)
	{
		appendStringInfoString(out, i == 0 ? "" : ",");
		append_table(out, tables[i]);
	}
	appendStringInfoChar(out, ']');
}

static bool
render_partitions(WhJson *json, WhSlice payload, WhWireError *error)
{
	Walhouse__V1__Partitions *partitions =
		walhouse__v1__partitions__unpack(&json->allocator, payload.len, payload.data);
	StringInfo out = &json->line;

	if (partitions == NULL)
		return wh_wire_json_fail(error, "malformed partitions");
	appendStringInfo(out, "{\"kind\":\"partitions\",\"relid\":%u", partitions->relid);
	wh_wire_append_text_key(out, "schema", partitions->namespace_);
	wh_wire_append_text_key(out, "table", partitions->name);
	append_tables(out, "attached", partitions->attached, partitions->n_attached);
	append_tables(out, "detached", partitions->detached, partitions->n_detached);
	append_subxid_key(out, partitions->has_subxid, partitions->subxid);
	appendStringInfoChar(out, '}');
	walhouse__v1__partitions__free_unpacked(partitions, &json->allocator);
	return true;
}
