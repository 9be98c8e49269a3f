/*
 * settings.c
 *		Settings that results may depend on, pinned for a transaction.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "utils/guc.h"

#include "base/base.h"

#define SEARCH_PATH "pg_catalog, pg_temp"

/* pin: setting anew what is set already would cost more than to look; of some settings a file is
 * read. */
static void
pin(const char *name, const char *value)
{
	if (strcmp(GetConfigOption(name, false, false), value) == 0)
		return;
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0,
							 false);
}

/* set_for_now sets until the nest level ends. */
static void
set_for_now(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
							 false);
}

void
wh_settings_pin(const char *time_zone)
{
	pin("search_path", SEARCH_PATH);
	pin("DateStyle", "ISO, YMD");
	pin("IntervalStyle", "postgres");
	pin("extra_float_digits", "1");
	pin("bytea_output", "hex");
	pin("xmlbinary", "base64");
	pin("xmloption", "content");
	pin("quote_all_identifiers", "off");
	pin("array_nulls", "on");
	pin("timezone_abbreviations", "Default");
	pin("lc_monetary", "C");
	pin("lc_numeric", "C");
	pin("lc_time", "C");
	pin("row_security", "off");
	pin("statement_timeout", "0");
	pin("walhouse.allow_writes", "on");
	if (time_zone != NULL)
		pin("TimeZone", time_zone);
}

int
wh_settings_push_path(void)
{
	int level = NewGUCNestLevel();

	/* Setting it anew makes PostgreSQL forget what it knows of the path. */
	if (strcmp(namespace_search_path, SEARCH_PATH) != 0)
		set_for_now("search_path", SEARCH_PATH);
	return level;
}

int
wh_settings_push_interpreted(void)
{
	int level = NewGUCNestLevel();

	set_for_now("jit", "off");
	return level;
}

int
wh_settings_push_writes(void)
{
	int level = NewGUCNestLevel();

	set_for_now("walhouse.allow_writes", "on");
	return level;
}

int
wh_settings_push_joins(WhJoins joins)
{
	const char *whole = joins == WH_JOINS_WHOLE ? "on" : "off";
	int level = NewGUCNestLevel();

	set_for_now("enable_nestloop", joins == WH_JOINS_PROBE ? "on" : "off");
	set_for_now("enable_hashjoin", whole);
	set_for_now("enable_mergejoin", whole);
	/* The price of a join that cannot be avoided would make the planner compile the statement. */
	set_for_now("jit", "off");
	return level;
}

void
wh_settings_avoid_scans(void)
{
	set_for_now("enable_seqscan", "off");
	/* Likewise the price of a scan that cannot be avoided. */
	set_for_now("jit", "off");
}

void
wh_settings_pop(int level)
{
	AtEOXact_GUC(false, level);
}
