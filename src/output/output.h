/*
 * output.h
 *		The output plugin's only symbol.
 *
 * The library walhouse_output is loaded by name when a slot with this plugin is created or
 * read.  It has no GUC, hook, shared memory or background worker.
 */
#ifndef WH_OUTPUT_H
#define WH_OUTPUT_H

#include "replication/output_plugin.h"

extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *callbacks);

#endif /* WH_OUTPUT_H */
