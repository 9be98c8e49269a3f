/*
 * options.c
 *		The plugin's options, as START_REPLICATION and the SQL functions pass them.
 *
 * All that is wrong is an error: an option that is silently ignored would send more than its
 * author wanted.  One table has them all: name, default, and the function that reads a value.
 * Hello tells a reader what is in effect.
 */
#include "output/output_private.h"

#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

typedef void (*ReadOption)(const char *name, const char *value, WhOutputOptions *options);

typedef struct Option
{
	const char *name;
	const char *value; /* the default, in Hello; NULL: none */
	ReadOption read;
} Option;

static void read_protocol(const char *name, const char *value, WhOutputOptions *options);
static void read_format(const char *name, const char *value, WhOutputOptions *options);
static void read_framing(const char *name, const char *value, WhOutputOptions *options);
static void read_compression(const char *name, const char *value, WhOutputOptions *options);
static void read_publication(const char *name, const char *value, WhOutputOptions *options);
static void read_include(const char *name, const char *value, WhOutputOptions *options);
static void read_exclude(const char *name, const char *value, WhOutputOptions *options);
static void read_operations(const char *name, const char *value, WhOutputOptions *options);
static void read_generated(const char *name, const char *value, WhOutputOptions *options);
static void read_origin(const char *name, const char *value, WhOutputOptions *options);
static void read_own_writes(const char *name, const char *value, WhOutputOptions *options);
static void read_messages(const char *name, const char *value, WhOutputOptions *options);
static void read_streaming(const char *name, const char *value, WhOutputOptions *options);
static void read_two_phase(const char *name, const char *value, WhOutputOptions *options);
static void read_tally(const char *name, const char *value, WhOutputOptions *options);
static void read_ddl(const char *name, const char *value, WhOutputOptions *options);
static const Option *find_option(const char *name);
static void check_together(const WhOutputOptions *options);
static int choose(const char *name, const char *value, const char *const *choices);
static bool choose_on(const char *name, const char *value);

/* In the order of Hello; options of which none need be given come without a default. */
static const Option known[WH_OUTPUT_OPTIONS] = {
	{"protocol", "1", read_protocol},
	{"format", "protobuf", read_format},
	{"framing", "raw", read_framing},
	{"compression", "off", read_compression},
	{"publication", NULL, read_publication},
	{"include_tables", NULL, read_include},
	{"exclude_tables", NULL, read_exclude},
	{"operations", "insert, update, delete, truncate", read_operations},
	{"generated_columns", "stored", read_generated},
	{"origin", "any", read_origin},
	{"own_writes", "drop", read_own_writes},
	{"messages", "off", read_messages},
	{"streaming", "off", read_streaming},
	{"two_phase", "off", read_two_phase},
	{"tally", "off", read_tally},
	{"ddl", "off", read_ddl},
};

void
wh_output_read_options(List *given, WhOutputOptions *options)
{
	ListCell *cell;

	memset(options, 0, sizeof(*options));
	options->operations.pubinsert = options->operations.pubupdate = true;
	options->operations.pubdelete = options->operations.pubtruncate = true;
	foreach(cell, given)
	{
		DefElem *element = (DefElem *) lfirst(cell);
		const Option *option = find_option(element->defname);
		const char **text = &options->given[option - known];

		if (*text != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" is given twice", element->defname)));
		if (element->arg == NULL || !IsA(element->arg, String))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" needs a value", element->defname)));
		*text = pstrdup(strVal(element->arg));
		option->read(option->name, *text, options);
	}
	wh_output_split_patterns(options);
	check_together(options);
}

int
wh_output_show_options(const WhOutputOptions *options, const char **names, const char **values)
{
	int shown = 0;

	for (int i = 0; i < WH_OUTPUT_OPTIONS; i++)
	{
		const char *value = options->given[i] != NULL ? options->given[i] : known[i].value;

		if (value == NULL)
			continue;
		names[shown] = known[i].name;
		values[shown++] = value;
	}
	return shown;
}

static const Option *
find_option(const char *name)
{
	StringInfoData names;

	for (int i = 0; i < WH_OUTPUT_OPTIONS; i++)
	{
		if (strcmp(name, known[i].name) == 0)
			return &known[i];
	}
	initStringInfo(&names);
	for (int i = 0; i < WH_OUTPUT_OPTIONS; i++)
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", known[i].name);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown option \"%s\"", name),
			 errhint("Valid options are: %s.", names.data)));
}

/* check_together reports options that are each right, and wrong together. */
static void
check_together(const WhOutputOptions *options)
{
	const char *option = NULL;

	if (options->is_json && options->compression != WH_COMPRESS_NONE)
		option = "compression";
	else if (options->is_json && options->is_delimited)
		option = "framing";
	if (option != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" does not go with format \"json\"", option),
				 errdetail("JSON is sent as text, a message a line."),
				 errhint("Leave one of the two out.")));
}

/* -------- values -------- */

static void
read_protocol(const char *name, const char *value, WhOutputOptions *options)
{
	if (strcmp(value, "1") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("protocol \"%s\" is not supported", value),
				 errhint("The only protocol is 1.")));
}

static void
read_format(const char *name, const char *value, WhOutputOptions *options)
{
	static const char *const choices[] = {"protobuf", "json", NULL};

	options->is_json = choose(name, value, choices) == 1;
}

static void
read_framing(const char *name, const char *value, WhOutputOptions *options)
{
	static const char *const choices[] = {"raw", "delimited", NULL};

	options->is_delimited = choose(name, value, choices) == 1;
}

static void
read_compression(const char *name, const char *value, WhOutputOptions *options)
{
	static const char *const choices[] = {"off", "lz4", "zstd", NULL};

	options->compression = (WhCompression) choose(name, value, choices);
	if (options->compression != WH_COMPRESS_NONE && !wh_wire_can_compress(options->compression))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("compression \"%s\" is not supported by this build", value),
				 errhint("Build walhouse on a machine that has the library's headers, or use "
						 "another compression.")));
}

static void
read_publication(const char *name, const char *value, WhOutputOptions *options)
{
	List *names = NIL;

	if (!SplitIdentifierString(pstrdup(value), ',', &names) || names == NIL)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value \"%s\" for option \"%s\"", value, name),
			 errhint(
				 "Name one or more publications, separated by commas and quoted as identifiers.")));
	options->publications = names;
}

static void
read_include(const char *name, const char *value, WhOutputOptions *options)
{
	options->include_tables = wh_output_read_patterns(name, value);
}

static void
read_exclude(const char *name, const char *value, WhOutputOptions *options)
{
	options->exclude_tables = wh_output_read_patterns(name, value);
}

/* read_operations reads the operations that are sent. */
static void
read_operations(const char *name, const char *value, WhOutputOptions *options)
{
	static const char *const choices[] = {"insert", "update", "delete", "truncate", NULL};
	PublicationActions *operations = &options->operations;
	List *names = NIL;
	ListCell *cell;

	memset(operations, 0, sizeof(*operations));
	if (!SplitIdentifierString(pstrdup(value), ',', &names) || names == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value \"%s\" for option \"%s\"", value, name),
				 errhint("Name some of insert, update, delete, truncate, separated by commas.")));
	foreach(cell, names)
	{
		switch (choose(name, (const char *) lfirst(cell), choices))
		{
			case 0:
				operations->pubinsert = true;
				break;
			case 1:
				operations->pubupdate = true;
				break;
			case 2:
				operations->pubdelete = true;
				break;
			default:
				operations->pubtruncate = true;
				break;
		}
	}
}

static void
read_generated(const char *name, const char *value, WhOutputOptions *options)
{
	static const char *const choices[] = {"stored", "none", "publication", NULL};

	options->generated_columns = (WhGeneratedColumns) choose(name, value, choices);
}

static void
read_origin(const char *name, const char *value, WhOutputOptions *options)
{
	static const char *const choices[] = {"any", "none", NULL};

	options->skips_origins = choose(name, value, choices) == 1;
}

static void
read_own_writes(const char *name, const char *value, WhOutputOptions *options)
{
	static const char *const choices[] = {"drop", "send", NULL};

	options->sends_own_writes = choose(name, value, choices) == 1;
}

static void
read_messages(const char *name, const char *value, WhOutputOptions *options)
{
	if (strcmp(value, "off") == 0)
		return;
	options->messages = wh_output_read_patterns(name, strcmp(value, "on") == 0 ? "*" : value);
}

static void
read_streaming(const char *name, const char *value, WhOutputOptions *options)
{
	options->is_streaming = choose_on(name, value);
}

static void
read_two_phase(const char *name, const char *value, WhOutputOptions *options)
{
	options->is_two_phase = choose_on(name, value);
}

static void
read_tally(const char *name, const char *value, WhOutputOptions *options)
{
	options->has_tallies = choose_on(name, value);
}

static void
read_ddl(const char *name, const char *value, WhOutputOptions *options)
{
	options->has_ddl = choose_on(name, value);
}

/* choose returns the place of a value among those that an option has, or reports it. */
static int
choose(const char *name, const char *value, const char *const *choices)
{
	StringInfoData valid;

	for (int i = 0; choices[i] != NULL; i++)
	{
		if (strcmp(value, choices[i]) == 0)
			return i;
	}
	initStringInfo(&valid);
	for (int i = 0; choices[i] != NULL; i++)
		appendStringInfo(&valid, "%s%s", i > 0 ? ", " : "", choices[i]);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value \"%s\" for option \"%s\"", value, name),
			 errhint("Valid values are: %s.", valid.data)));
}

static bool
choose_on(const char *name, const char *value)
{
	static const char *const choices[] = {"off", "on", NULL};

	return choose(name, value, choices) == 1;
}
