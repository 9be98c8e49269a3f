/*
 * options.c
 *		The plugin's options, as START_REPLICATION and the SQL functions pass them.
 *
 * All that is wrong is an error: an option that is silently ignored would send more than its
 * author wanted.
 */
#include "output/output_private.h"

#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

typedef enum OptionIndex
{
	OPTION_PROTOCOL,
	OPTION_PUBLICATION,
	OPTION_OWN_WRITES,
	OPTION_FORMAT,
	OPTION_COUNT
} OptionIndex;

static const char *const option_names[OPTION_COUNT] = {"protocol", "publication", "own_writes",
													   "format"};

static OptionIndex find_option(const char *name);
static bool choose(const char *name, const char *value, const char *no, const char *yes);
static List *read_publications(const char *value);

void
wh_output_read_options(List *given, WhOutputOptions *options)
{
	bool seen[OPTION_COUNT] = {false};
	ListCell *cell;

	memset(options, 0, sizeof(*options));
	foreach(cell, given)
	{
		DefElem *element = (DefElem *) lfirst(cell);
		OptionIndex option = find_option(element->defname);
		const char *value;

		if (seen[option])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" is given twice", element->defname)));
		seen[option] = true;
		if (element->arg == NULL || !IsA(element->arg, String))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" needs a value", element->defname)));
		value = strVal(element->arg);
		switch (option)
		{
			case OPTION_PROTOCOL:
				if (strcmp(value, "1") != 0)
					ereport(ERROR,
							(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							 errmsg("protocol \"%s\" is not supported", value),
							 errhint("The only protocol is 1.")));
				break;
			case OPTION_PUBLICATION:
				options->publication = pstrdup(value);
				options->publications = read_publications(value);
				break;
			case OPTION_OWN_WRITES:
				options->sends_own_writes = choose("own_writes", value, "drop", "send");
				break;
			default:
				options->is_json = choose("format", value, "protobuf", "json");
				break;
		}
	}
}

static OptionIndex
find_option(const char *name)
{
	for (int i = 0; i < OPTION_COUNT; i++)
	{
		if (strcmp(name, option_names[i]) == 0)
			return (OptionIndex) i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown option \"%s\"", name),
			 errhint("Valid options are: protocol, publication, own_writes, format.")));
}

/* choose returns whether value is yes, and reports a value that is neither no nor yes. */
static bool
choose(const char *name, const char *value, const char *no, const char *yes)
{
	if (strcmp(value, yes) != 0 && strcmp(value, no) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value \"%s\" for option \"%s\"", value, name),
				 errhint("Valid values are: %s, %s.", no, yes)));
	return strcmp(value, yes) == 0;
}

static List *
read_publications(const char *value)
{
	List *names = NIL;

	if (!SplitIdentifierString(pstrdup(value), ',', &names) || names == NIL)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value \"%s\" for option \"%s\"", value, "publication"),
			 errhint(
				 "Name one or more publications, separated by commas and quoted as identifiers.")));
	return names;
}
