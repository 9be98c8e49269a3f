/*
 * json.h
 *		Batches as JSON, one object a line: what the plugin's format=json and walhouse_recv
 *		--format=json print.
 *
 * A renderer keeps the relations that it has seen since the last Hello.  It allocates with
 * palloc: in the server it lives in the memory context that is current in all of its calls, in a
 * program until wh_wire_free_json().
 */
#ifndef WH_WIRE_JSON_H
#define WH_WIRE_JSON_H

#include "lib/stringinfo.h"

#include "wire/wire.h"

typedef struct WhJson WhJson;

/* Takes one line, without an end of line; it is gone after the call. */
typedef void (*WhJsonEmit)(void *arg, const char *line, int len);

extern WhJson *wh_wire_create_json(void);
extern void wh_wire_free_json(WhJson *json);

/*
 * wh_wire_render_json emits a line for each entry of a batch, and for each change of a run.
 * Returns false on an error.
 */
extern bool wh_wire_render_json(WhJson *json, WhSlice batch, WhJsonEmit emit, void *arg,
								WhWireError *error);

/* -------- values as text: appended without quotes -------- */

extern void wh_wire_append_date(StringInfo out, int64_t days);
extern void wh_wire_append_time(StringInfo out, int64_t microseconds);
extern void wh_wire_append_timestamp(StringInfo out, int64_t microseconds, bool is_utc);
extern void wh_wire_append_timetz(StringInfo out, int64_t microseconds, int32_t zone);
extern void wh_wire_append_interval(StringInfo out, const WhWireInterval *interval);
extern void wh_wire_append_decimal(StringInfo out, int64_t unscaled, uint32_t scale);
extern void wh_wire_append_lsn(StringInfo out, uint64_t lsn);

/* wh_wire_append_json_string appends UTF-8 text in quotes. */
extern void wh_wire_append_json_string(StringInfo out, const char *text, size_t len);

#endif /* WH_WIRE_JSON_H */
