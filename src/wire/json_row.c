/*
 * json_row.c
 *		Runs of changes, a line a change.
 *
 * A row's fields come in the order of attnums, but what is about the row stands behind the
 * columns: so it is taken apart into one value a column first.
 */
#include "c.h"

#include "wire/json.h"
#include "wire/json_private.h"

static bool render_change(StringInfo out, KnownRelation *relation, const WhWireRows *rows,
						  uint64_t seq, WhSlice after, WhSlice before, WhWireError *error);
static bool render_row(StringInfo out, KnownRelation *relation, WhSlice row, bool keys_only,
					   WhWireError *error);
static bool read_row(KnownRelation *relation, WhSlice row, WhWireError *error);
static bool read_meta(KnownRelation *relation, const WhField *field, WhWireError *error);
static Value *find_value(KnownRelation *relation, uint64_t attnum);
static bool is_identity(const Definition *relation, uint32_t attnum);
static void append_unchanged(StringInfo out, const KnownRelation *relation);
static bool append_changed(StringInfo out, KnownRelation *relation, WhSlice row,
						   WhWireError *error);
static void append_chunked(StringInfo out, const char *key, const KnownRelation *relation);

bool
wh_wire_render_rows(WhJson *json, WhWireRows *rows, WhJsonEmit emit, void *arg, WhWireError *error)
{
	KnownRelation *relation = wh_wire_find_relation(json, rows->schema);
	StringInfo out = &json->line;
	uint64_t seq = rows->first_seq;
	WhSlice after;
	WhSlice before;

	if (relation == NULL)
		return wh_wire_json_fail(error, "rows of an unknown relation");
	while (wh_wire_next_change(rows, &after, &before, error))
	{
		resetStringInfo(out);
		if (!render_change(out, relation, rows, seq++, after, before, error))
			return false;
		emit(arg, out->data, out->len);
	}
	return *error == NULL;
}

static bool
render_change(StringInfo out, KnownRelation *relation, const WhWireRows *rows, uint64_t seq,
			  WhSlice after, WhSlice before, WhWireError *error)
{
	static const char *const kinds[] = {"", "insert", "update", "delete"};
	bool is_key = rows->before_kind == WH_BEFORE_KEY;

	appendStringInfo(out, "{\"kind\":\"%s\"", kinds[rows->op]);
	wh_wire_append_text_key(out, "schema", relation->definition->namespace_);
	wh_wire_append_text_key(out, "table", relation->definition->name);
	if (relation->definition->leaf != NULL)
		wh_wire_append_text_key(out, "leaf", relation->definition->leaf->name);
	appendStringInfo(out, ",\"seq\":%llu", (unsigned long long) seq);
	if (rows->subxid != 0)
		appendStringInfo(out, ",\"subxid\":%u", rows->subxid);
	if (rows->is_rewritten)
		appendStringInfoString(out, ",\"rewritten\":true");
	if (before.data != NULL)
	{
		appendStringInfoString(out, is_key ? ",\"key\":" : ",\"before\":");
		if (!render_row(out, relation, before, is_key, error))
			return false;
		append_chunked(out, "before_chunked", relation);
	}
	if (after.data != NULL)
	{
		appendStringInfoString(out, ",\"after\":");
		if (!render_row(out, relation, after, false, error))
			return false;
		append_unchanged(out, relation);
		if (!append_changed(out, relation, after, error))
			return false;
		append_chunked(out, "chunked", relation);
	}
	appendStringInfoChar(out, '}');
	return true;
}

/* render_row renders the columns whose values are in the row. */
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
		const Value *value = &relation->values[i];

		if (value->state == VALUE_UNCHANGED || value->state == VALUE_CHUNKED ||
			(keys_only && !is_identity(definition, column->attnum)))
			continue;
		appendStringInfoString(out, separator);
		wh_wire_append_text(out, column->name);
		appendStringInfoChar(out, ':');
		if (!wh_wire_append_value(out, column, value))
			return wh_wire_json_fail(error, "value does not fit its column");
		separator = ",";
	}
	appendStringInfoChar(out, '}');
	return true;
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
		if (field.tag >= WH_ROW_UNCHANGED)
		{
			if (!read_meta(relation, &field, error))
				return false;
		}
		else if ((value = find_value(relation, field.tag)) != NULL)
		{
			value->state = VALUE_SENT;
			value->field = field;
		}
	}
	return *error == NULL;
}

/* read_meta takes one of the fields that are about the row. */
static bool
read_meta(KnownRelation *relation, const WhField *field, WhWireError *error)
{
	WhSlice bytes = field->bytes;
	WhWireSpecial special;
	WhWireChunked chunked;
	Value *value;
	uint64_t attnum;

	if (field->type != WH_WIRE_BYTES)
		return true;
	if (field->tag == WH_ROW_UNCHANGED)
	{
		while (wh_wire_next_packed(&bytes, &attnum, error))
		{
			value = find_value(relation, attnum);
			if (value != NULL)
				value->state = VALUE_UNCHANGED;
		}
	}
	else if (field->tag == WH_ROW_SPECIAL)
	{
		if (!wh_wire_read_special(bytes, &special))
			return wh_wire_json_fail(error, "malformed special value");
		value = find_value(relation, special.attnum);
		if (value == NULL)
			return true;
		value->state = VALUE_SPECIAL;
		value->special = special;
	}
	else if (field->tag == WH_ROW_CHUNKED)
	{
		if (!wh_wire_read_chunked(bytes, &chunked))
			return wh_wire_json_fail(error, "malformed reference to chunks");
		value = find_value(relation, chunked.attnum);
		if (value == NULL)
			return true;
		value->state = VALUE_CHUNKED;
		value->chunked = chunked;
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

/* -------- what is about the row -------- */

static void
append_unchanged(StringInfo out, const KnownRelation *relation)
{
	const char *separator = ",\"unchanged\":[";
	bool has_unchanged = false;

	for (size_t i = 0; i < relation->definition->n_column; i++)
	{
		if (relation->values[i].state != VALUE_UNCHANGED)
			continue;
		appendStringInfoString(out, separator);
		wh_wire_append_text(out, relation->definition->column[i]->name);
		separator = ",";
		has_unchanged = true;
	}
	if (has_unchanged)
		appendStringInfoChar(out, ']');
}

static bool
append_changed(StringInfo out, KnownRelation *relation, WhSlice row, WhWireError *error)
{
	const char *separator = ",\"changed\":[";
	bool has_changed = false;
	WhField field;
	uint64_t attnum;

	while (wh_wire_next_field(&row, &field, error))
	{
		if (field.tag != WH_ROW_CHANGED || field.type != WH_WIRE_BYTES)
			continue;
		while (wh_wire_next_packed(&field.bytes, &attnum, error))
		{
			Value *value = find_value(relation, attnum);

			if (value == NULL)
				continue;
			appendStringInfoString(out, separator);
			wh_wire_append_text(out, relation->definition->column[value - relation->values]->name);
			separator = ",";
			has_changed = true;
		}
	}
	if (has_changed)
		appendStringInfoChar(out, ']');
	return *error == NULL;
}

static void
append_chunked(StringInfo out, const char *key, const KnownRelation *relation)
{
	bool has_chunked = false;

	for (size_t i = 0; i < relation->definition->n_column; i++)
	{
		const WhWireChunked *chunked = &relation->values[i].chunked;
		int special = relation->values[i].special.kind;

		if (relation->values[i].state != VALUE_CHUNKED)
			continue;
		if (!has_chunked)
			appendStringInfo(out, ",\"%s\":{", key);
		else
			appendStringInfoChar(out, ',');
		wh_wire_append_text(out, relation->definition->column[i]->name);
		appendStringInfo(out, ":{\"id\":%u,\"size\":%llu,\"crc32c\":\"%08x\"", chunked->id,
						 (unsigned long long) chunked->size, chunked->crc32c);
		if (special == WH_SPECIAL_OUT_OF_RANGE || special == WH_SPECIAL_NOT_UTF8)
			appendStringInfo(out, ",\"special\":\"%s\"",
							 special == WH_SPECIAL_NOT_UTF8 ? "not_utf8" : "out_of_range");
		appendStringInfoChar(out, '}');
		has_chunked = true;
	}
	if (has_chunked)
		appendStringInfoChar(out, '}');
}
