/*
 * options.c
 *		The command line of walhouse_openlineage.
 */
#include "openlineage/openlineage.h"

#include "common/logging.h"
#include "getopt_long.h"

static const struct option long_options[] = {{"dbname", required_argument, NULL, 'd'},
											 {"url", required_argument, NULL, 'u'},
											 {"state", required_argument, NULL, 'S'},
											 {"since", required_argument, NULL, 's'},
											 {"namespace", required_argument, NULL, 'N'},
											 {"interval", required_argument, NULL, 'i'},
											 {"timeout", required_argument, NULL, 't'},
											 {"max-wait", required_argument, NULL, 'w'},
											 {"once", no_argument, NULL, '1'},
											 {"skip-refused", no_argument, NULL, 'k'},
											 {"verbose", no_argument, NULL, 'v'},
											 {"version", no_argument, NULL, 'V'},
											 {"help", no_argument, NULL, '?'},
											 {NULL, 0, NULL, 0}};

static void print_help(void);
static void read_option(int option, const char *value, WhOpenlineageOptions *options);
static int64 read_number(const char *name, const char *text, int64 least, int64 most);
static void refuse(void);

void
wh_openlineage_read_options(int argc, char **argv, WhOpenlineageOptions *options)
{
	int option;

	memset(options, 0, sizeof(*options));
	options->conninfo = "";
	options->interval_ms = 5000;
	options->timeout_ms = 10000;
	options->max_wait_ms = 30000;
	options->url = getenv("OPENLINEAGE_URL");
	options->key = getenv("OPENLINEAGE_API_KEY");
	if (argc > 1 && (strcmp(argv[1], "-?") == 0 || strcmp(argv[1], "--help") == 0))
		print_help();
	while ((option = getopt_long(argc, argv, "d:u:S:s:N:i:t:1kvV", long_options, NULL)) != -1)
		read_option(option, optarg, options);
	if (optind < argc)
	{
		pg_log_error("too many command-line arguments (first is \"%s\")", argv[optind]);
		refuse();
	}
	if (options->url == NULL || options->url[0] == '\0')
	{
		pg_log_error("no URL is given");
		refuse();
	}
}

static void
read_option(int option, const char *value, WhOpenlineageOptions *options)
{
	switch (option)
	{
		case 'd':
			options->conninfo = value;
			break;
		case 'u':
			options->url = value;
			break;
		case 'S':
			options->state_file = value;
			break;
		case 's':
			options->since = read_number("since", value, 0, PG_INT64_MAX);
			break;
		case 'N':
			options->name_space = value;
			break;
		case 'i':
			options->interval_ms = 1000 * read_number("interval", value, 1, 86400);
			break;
		case 't':
			options->timeout_ms = 1000 * read_number("timeout", value, 1, 3600);
			break;
		case 'w':
			options->max_wait_ms = 1000 * read_number("max-wait", value, 1, 86400);
			break;
		case '1':
			options->interval_ms = 0;
			break;
		case 'k':
			options->skips_refused = true;
			break;
		case 'v':
			options->is_verbose = true;
			pg_logging_increase_verbosity();
			break;
		case 'V':
			puts("walhouse_openlineage (walhouse) " WALHOUSE_VERSION);
			exit(0);
		default:
			refuse();
	}
}

static int64
read_number(const char *name, const char *text, int64 least, int64 most)
{
	char *end;
	long long number;

	errno = 0;
	number = strtoll(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || number < least || number > most)
		pg_fatal("option --%s takes a number from " INT64_FORMAT " to " INT64_FORMAT, name, least,
				 most);
	return number;
}

static void
refuse(void)
{
	pg_log_error_hint("Try \"walhouse_openlineage --help\" for more information.");
	exit(1);
}

static void
print_help(void)
{
	puts(
		"walhouse_openlineage posts the loads of a walhouse warehouse as OpenLineage events.\n"
		"\n"
		"Usage:\n"
		"  walhouse_openlineage --url URL [OPTION]...\n"
		"\n"
		"  -u, --url=URL          where events are posted to (default: OPENLINEAGE_URL)\n"
		"  -d, --dbname=CONNSTR   the warehouse's database, or a connection string\n"
		"  -S, --state=FILE       keeps how far it came, and goes on from there\n"
		"  -s, --since=NUMBER     feeds that FILE does not name begin behind this "
		"walhouse.load.recorded (default: 0)\n"
		"  -N, --namespace=TEXT   of the warehouse's datasets (default: the server's)\n"
		"  -i, --interval=SECS    between looks at the warehouse (default: 5)\n"
		"  -1, --once             posts what there is, and ends\n"
		"  -t, --timeout=SECS     of one request (default: 10)\n"
		"      --max-wait=SECS    between tries of one event at most (default: 30)\n"
		"  -k, --skip-refused     goes on behind an event that is refused\n"
		"  -v, --verbose          names each event\n"
		"  -V, --version          shows the version\n"
		"  -?, --help             shows this\n"
		"\n"
		"OPENLINEAGE_API_KEY in the environment is sent as a bearer token.");
	exit(0);
}
