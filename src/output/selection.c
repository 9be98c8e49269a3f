/*
 * selection.c
 *		The options include_tables and exclude_tables.
 *
 * Each is a list of patterns (pattern.c), table or schema.table; without a schema it means any.
 * Wildcards do not reach over the dot, and a dot in a name is escaped.  Names are compared as they
 * are stored, without folding.  A partition also goes by the names of the partitioned tables above
 * it.  What exclude_tables names is not sent, whatever include_tables says.
 *
 * The names are looked at when an entry of the relation cache is compiled, never for a change.
 */
#include "output/publish_private.h"

#include "utils/lsyscache.h"

typedef struct TablePattern
{
	List *schema; /* one pattern; NIL: any */
	List *table; /* one pattern */
} TablePattern;

static List *split_patterns(const char *option, List *patterns);
static TablePattern *split_pattern(const char *option, const char *text);
static bool names_any(List *patterns, Oid relid);

void
wh_output_split_patterns(WhOutputOptions *options)
{
	options->include_tables = split_patterns("include_tables", options->include_tables);
	options->exclude_tables = split_patterns("exclude_tables", options->exclude_tables);
}

bool
wh_output_is_selected(WhOutput *session, Oid relid, List *ancestors)
{
	const WhOutputOptions *options = &session->options;
	bool is_included = options->include_tables == NIL || names_any(options->include_tables, relid);
	ListCell *cell;

	if (names_any(options->exclude_tables, relid))
		return false;
	foreach(cell, ancestors)
	{
		if (names_any(options->exclude_tables, lfirst_oid(cell)))
			return false;
		is_included = is_included || names_any(options->include_tables, lfirst_oid(cell));
	}
	return is_included;
}

static List *
split_patterns(const char *option, List *patterns)
{
	List *result = NIL;
	ListCell *cell;

	foreach(cell, patterns)
		result = lappend(result, split_pattern(option, (const char *) lfirst(cell)));
	return result;
}

static TablePattern *
split_pattern(const char *option, const char *text)
{
	TablePattern *pattern = palloc0(sizeof(TablePattern));
	const char *table = text;

	for (const char *at = text; *at != '\0'; at++)
	{
		if (*at == '\\' && at[1] != '\0')
			at++;
		else if (*at == '.')
		{
			if (pattern->schema != NIL || at == text || at[1] == '\0')
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("invalid pattern \"%s\" in option \"%s\"", text, option),
						 errhint("Write table or schema.table, and a dot in a name as \\.")));
			pattern->schema = list_make1(pnstrdup(text, at - text));
			table = at + 1;
		}
	}
	pattern->table = list_make1(pstrdup(table));
	return pattern;
}

static bool
names_any(List *patterns, Oid relid)
{
	const char *table;
	const char *schema;
	ListCell *cell;

	if (patterns == NIL)
		return false;
	table = get_rel_name(relid);
	schema = get_namespace_name(get_rel_namespace(relid));
	if (table == NULL || schema == NULL)
		return false;
	foreach(cell, patterns)
	{
		const TablePattern *pattern = (const TablePattern *) lfirst(cell);

		if ((pattern->schema == NIL || wh_output_matches(pattern->schema, schema)) &&
			wh_output_matches(pattern->table, table))
			return true;
	}
	return false;
}
