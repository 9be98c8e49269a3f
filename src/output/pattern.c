/*
 * pattern.c
 *		Lists of patterns, as options take them: for tables and for prefixes of messages.
 *
 * Patterns stand between commas, with or without white space around them.  * is any run of
 * characters, also none; ? is one character; a backslash takes the next character as it stands,
 * also a comma, a space or one of these.  All else stands for itself, in upper and lower case.
 */
#include "output/output_private.h"

#include "mb/pg_wchar.h"

static const char *add_pattern(List **patterns, const char *at, const char *option,
							   const char *value);
static bool matches(const char *pattern, const char *text);
static const char *next_character(const char *text);

List *
wh_output_read_patterns(const char *option, const char *value)
{
	List *patterns = NIL;
	const char *at = value;

	for (;;)
	{
		at = add_pattern(&patterns, at, option, value);
		if (*at == '\0')
			return patterns;
		at++;
	}
}

/* add_pattern takes one pattern, and returns the place of the comma or the end behind it. */
static const char *
add_pattern(List **patterns, const char *at, const char *option, const char *value)
{
	const char *end;
	const char *last;

	while (isspace((unsigned char) *at))
		at++;
	last = at;
	for (end = at; *end != '\0' && *end != ',';)
	{
		bool is_space = isspace((unsigned char) *end);

		if (*end == '\\' && *++end == '\0')
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value \"%s\" for option \"%s\"", value, option),
					 errdetail("A backslash at the end escapes nothing."),
					 errhint("Write a backslash as two.")));
		end = next_character(end);
		if (!is_space)
			last = end;
	}
	if (last == at)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value \"%s\" for option \"%s\"", value, option),
				 errdetail("A pattern is empty."),
				 errhint("Name one or more patterns, separated by commas; * stands for any "
						 "characters, ? for one, and a backslash takes the next as it is.")));
	*patterns = lappend(*patterns, pnstrdup(at, last - at));
	return end;
}

bool
wh_output_matches(List *patterns, const char *text)
{
	ListCell *cell;

	foreach(cell, patterns)
	{
		if (matches((const char *) lfirst(cell), text))
			return true;
	}
	return false;
}

/*
 * matches walks pattern and text together; where they part, the last * takes one character more.
 * Earlier ones need not be tried again.
 */
static bool
matches(const char *pattern, const char *text)
{
	const char *star = NULL; /* behind the last * */
	const char *retry = NULL; /* where the text goes on if that * takes one more */

	while (*text != '\0')
	{
		const char *literal = *pattern == '\\' ? pattern + 1 : pattern;
		const char *end = next_character(text);

		if (*pattern == '*')
		{
			star = ++pattern;
			retry = text;
		}
		else if (*pattern == '?')
		{
			pattern++;
			text = end;
		}
		else if (*literal != '\0' && strncmp(literal, text, end - text) == 0)
		{
			pattern = literal + (end - text);
			text = end;
		}
		else if (star != NULL)
		{
			retry = next_character(retry);
			text = retry;
			pattern = star;
		}
		else
			return false;
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

/* next_character steps over one character of the database's encoding, or stays at the end. */
static const char *
next_character(const char *text)
{
	return text + strnlen(text, pg_mblen(text));
}
