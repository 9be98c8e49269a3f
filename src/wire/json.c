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
 *
 * This file holds the renderer and its relations, json_line.c the entries of one line,
 * json_row.c the runs, json_value.c the values.
 */
#include "c.h"

#include "utils/palloc.h"

#include "wire/json.h"
#include "wire/json_private.h"

static void forget_relations(WhJson *json);
static int relation_position(const WhJson *json, uint32_t schema);
static bool keep_relation(WhJson *json, WhSlice payload, WhWireError *error);
static bool render_entry(WhJson *json, const WhEntry *entry, WhJsonEmit emit, void *arg,
						 WhWireError *error);

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
	if (entry->kind == WH_ENTRY_UNKNOWN)
		return true;
	if (entry->kind == WH_ENTRY_ROWS)
	{
		rows = entry->u.rows;
		return wh_wire_render_rows(json, &rows, emit, arg, error);
	}
	if (entry->kind == WH_ENTRY_HELLO)
		forget_relations(json);
	if (entry->kind == WH_ENTRY_RELATION ? !keep_relation(json, entry->payload, error) :
										   !wh_wire_render_line(json, entry, error))
		return false;
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

KnownRelation *
wh_wire_find_relation(WhJson *json, uint32_t schema)
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
		return wh_wire_json_fail(error, "malformed relation");
	at = relation_position(json, relation->schema);
	if (at < json->nrelations && json->relations[at].definition->schema == relation->schema)
	{
		walhouse__v1__relation__free_unpacked(relation, &json->allocator);
		return wh_wire_json_fail(error, "schema id is used twice");
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
	wh_wire_render_relation(&json->line, relation);
	return true;
}
