/*
 * options.c
 *		The command line of walhouse_recv.
 */
#include "client/client.h"

#include "common/logging.h"
#include "getopt_long.h"

enum LongOption
{
	OPTION_CREATE_SLOT = 1000,
	OPTION_DROP_SLOT,
	OPTION_START,
	OPTION_IF_NOT_EXISTS,
	OPTION_DECODE,
	OPTION_FORMAT,
	OPTION_PUBLICATION,
	OPTION_STREAMING,
	OPTION_TWO_PHASE,
	OPTION_COMPRESSION,
	OPTION_FAILOVER,
	OPTION_HEARTBEAT,
	OPTION_WHOLE,
	OPTION_HELP
};

static const struct option long_options[] = {
	{"create-slot", no_argument, NULL, OPTION_CREATE_SLOT},
	{"drop-slot", no_argument, NULL, OPTION_DROP_SLOT},
	{"start", no_argument, NULL, OPTION_START},
	{"if-not-exists", no_argument, NULL, OPTION_IF_NOT_EXISTS},
	{"decode", required_argument, NULL, OPTION_DECODE},
	{"slot", required_argument, NULL, 'S'},
	{"file", required_argument, NULL, 'f'},
	{"format", required_argument, NULL, OPTION_FORMAT},
	{"publication", required_argument, NULL, OPTION_PUBLICATION},
	{"streaming", no_argument, NULL, OPTION_STREAMING},
	{"two-phase", no_argument, NULL, OPTION_TWO_PHASE},
	{"compression", required_argument, NULL, OPTION_COMPRESSION},
	{"failover", no_argument, NULL, OPTION_FAILOVER},
	{"heartbeat", required_argument, NULL, OPTION_HEARTBEAT},
	{"whole", no_argument, NULL, OPTION_WHOLE},
	{"option", required_argument, NULL, 'o'},
	{"startpos", required_argument, NULL, 'I'},
	{"endpos", required_argument, NULL, 'E'},
	{"status-interval", required_argument, NULL, 's'},
	{"fsync-interval", required_argument, NULL, 'F'},
	{"no-loop", no_argument, NULL, 'n'},
	{"verbose", no_argument, NULL, 'v'},
	{"dbname", required_argument, NULL, 'd'},
	{"host", required_argument, NULL, 'h'},
	{"port", required_argument, NULL, 'p'},
	{"username", required_argument, NULL, 'U'},
	{"no-password", no_argument, NULL, 'w'},
	{"password", no_argument, NULL, 'W'},
	{"version", no_argument, NULL, 'V'},
	{"help", no_argument, NULL, OPTION_HELP},
	{NULL, 0, NULL, 0}};

static void print_help(void);
static void ask_for_heartbeats(WhClientOptions *options);
static void read_option(int option, const char *value, WhClientOptions *options);
static void read_connection_option(int option, const char *value, WhClientOptions *options);
static void add_plugin_option(WhClientOptions *options, const char *name, const char *value);
static void read_plugin_option(WhClientOptions *options, const char *text);
static void read_compression(WhClientOptions *options, const char *value);
static uint64 read_lsn(const char *name, const char *text);
static int read_seconds(const char *name, const char *text);
static void check_options(const WhClientOptions *options);

void
wh_client_read_options(int argc, char **argv, WhClientOptions *options)
{
	int option;

	memset(options, 0, sizeof(*options));
	options->status_interval = 10 * 1000;
	options->fsync_interval = 10 * 1000;
	options->file = "-";
	if (argc > 1 && strcmp(argv[1], "-?") == 0)
		read_option(OPTION_HELP, NULL, options);
	while ((option = getopt_long(argc, argv, "S:f:o:I:E:s:F:nvd:h:p:U:wWV?", long_options,
								 NULL)) != -1)
		read_option(option, optarg, options);
	if (optind < argc)
	{
		pg_log_error("too many command-line arguments (first is \"%s\")", argv[optind]);
		pg_log_error_hint("Try \"walhouse_recv --help\" for more information.");
		exit(1);
	}
	check_options(options);
	ask_for_heartbeats(options);
}

/* ask_for_heartbeats has the source send them, where no option says which messages to send. */
static void
ask_for_heartbeats(WhClientOptions *options)
{
	for (int i = 0; i < options->noptions; i++)
	{
		if (strcmp(options->option_names[i], "messages") == 0)
			return;
	}
	if (options->heartbeat_interval > 0)
		add_plugin_option(options, "messages", "walhouse.heartbeat");
}

static void
read_option(int option, const char *value, WhClientOptions *options)
{
	switch (option)
	{
		case OPTION_CREATE_SLOT:
			options->creates_slot = true;
			break;
		case OPTION_DROP_SLOT:
			options->drops_slot = true;
			break;
		case OPTION_START:
			options->starts = true;
			break;
		case OPTION_IF_NOT_EXISTS:
			options->if_not_exists = true;
			break;
		case OPTION_DECODE:
			options->decode_file = value;
			break;
		case OPTION_FORMAT:
			if (strcmp(value, "json") != 0 && strcmp(value, "delimited") != 0)
				pg_fatal("unknown format \"%s\": it is json or delimited", value);
			options->format = strcmp(value, "json") == 0 ? WH_CLIENT_JSON : WH_CLIENT_DELIMITED;
			break;
		case OPTION_PUBLICATION:
			add_plugin_option(options, "publication", value);
			break;
		case OPTION_STREAMING:
			add_plugin_option(options, "streaming", "on");
			break;
		case OPTION_TWO_PHASE:
			options->has_two_phase = true;
			add_plugin_option(options, "two_phase", "on");
			break;
		case OPTION_COMPRESSION:
			read_compression(options, value);
			break;
		case OPTION_FAILOVER:
			options->has_failover = true;
			break;
		case OPTION_HEARTBEAT:
			options->heartbeat_interval = read_seconds("heartbeat", value);
			break;
		case OPTION_WHOLE:
			options->is_whole = true;
			break;
		case OPTION_HELP:
			print_help();
			exit(0);
		case 'V':
			printf("walhouse_recv %s\n", WALHOUSE_VERSION);
			exit(0);
		case 'S':
			options->slot = value;
			break;
		case 'f':
			options->file = value;
			break;
		case 'o':
			read_plugin_option(options, value);
			break;
		case 'I':
			options->start_lsn = read_lsn("startpos", value);
			break;
		case 'E':
			options->end_lsn = read_lsn("endpos", value);
			break;
		case 's':
			options->status_interval = read_seconds("status-interval", value);
			break;
		case 'F':
			options->fsync_interval = read_seconds("fsync-interval", value);
			break;
		case 'n':
			options->never_loops = true;
			break;
		case 'v':
			options->is_verbose = true;
			pg_logging_increase_verbosity();
			break;
		default:
			read_connection_option(option, value, options);
			break;
	}
}

static void
read_connection_option(int option, const char *value, WhClientOptions *options)
{
	switch (option)
	{
		case 'd':
			options->dbname = value;
			break;
		case 'h':
			options->host = value;
			break;
		case 'p':
			options->port = value;
			break;
		case 'U':
			options->user = value;
			break;
		case 'w':
			options->never_asks_password = true;
			break;
		case 'W':
			options->asks_password = true;
			break;
		default:
			pg_log_error_hint("Try \"walhouse_recv --help\" for more information.");
			exit(1);
	}
}

static void
add_plugin_option(WhClientOptions *options, const char *name, const char *value)
{
	if (options->noptions == WH_CLIENT_MAX_OPTIONS)
		pg_fatal("too many plugin options");
	if (strcmp(name, "format") == 0 || strcmp(name, "protocol") == 0 ||
		strcmp(name, "framing") == 0)
		pg_fatal("plugin option \"%s\" is set by walhouse_recv itself", name);
	options->option_names[options->noptions] = name;
	options->option_values[options->noptions++] = value;
}

static void
read_plugin_option(WhClientOptions *options, const char *text)
{
	const char *equals = strchr(text, '=');

	if (equals == NULL || equals == text)
		pg_fatal("plugin option \"%s\" is not of the form name=value", text);
	add_plugin_option(options, pnstrdup(text, equals - text), equals + 1);
}

static void
read_compression(WhClientOptions *options, const char *value)
{
	WhCompression method = WH_COMPRESS_NONE;

	if (strcmp(value, "lz4") == 0)
		method = WH_COMPRESS_LZ4;
	else if (strcmp(value, "zstd") == 0)
		method = WH_COMPRESS_ZSTD;
	else if (strcmp(value, "off") != 0)
		pg_fatal("unknown compression \"%s\": it is off, lz4 or zstd", value);
	if (!wh_wire_can_compress(method))
		pg_fatal("this build of walhouse_recv cannot read %s", value);
	add_plugin_option(options, "compression", value);
}

static uint64
read_lsn(const char *name, const char *text)
{
	unsigned int high;
	unsigned int low;
	int end = 0;

	if (sscanf(text, "%X/%X%n", &high, &low, &end) != 2 || text[end] != '\0')
		pg_fatal("--%s: \"%s\" is not a position like 16/B374D848", name, text);
	return (uint64) high << 32 | low;
}

/* read_seconds returns milliseconds. */
static int
read_seconds(const char *name, const char *text)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end != '\0' || seconds < 0 || seconds > 86400)
		pg_fatal("--%s: \"%s\" is not a number of seconds from 0 to 86400", name, text);
	return (int) (seconds * 1000);
}

static void
check_options(const WhClientOptions *options)
{
	const char *problem = NULL;

	if (options->decode_file != NULL)
	{
		if (options->creates_slot || options->drops_slot || options->starts)
			problem = "--decode reads a file: it goes with no action on a slot";
		else if (options->format != WH_CLIENT_JSON)
			problem = "--decode prints JSON alone";
	}
	else if (!options->creates_slot && !options->drops_slot && !options->starts)
		problem =
			"nothing to do: name at least one of --create-slot, --start, --drop-slot, --decode";
	else if (options->drops_slot && (options->creates_slot || options->starts))
		problem = "--drop-slot goes with no other action";
	else if (options->slot == NULL)
		problem = "no slot is named: give --slot";
	else if (options->dbname == NULL)
		problem = "no database is named: give --dbname";
	if (problem == NULL)
		return;
	pg_log_error("%s", problem);
	pg_log_error_hint("Try \"walhouse_recv --help\" for more information.");
	exit(1);
}

static void
print_help(void)
{
	printf(
		"walhouse_recv reads the change stream of a walhouse_output slot.\n\n"
		"Usage:\n  walhouse_recv [OPTION]...\n\n"
		"Actions:\n"
		"      --create-slot          create the slot (with --start: and go on)\n"
		"      --start                receive the stream until a signal or --endpos\n"
		"      --drop-slot            drop the slot\n"
		"      --decode=FILE          print a file of delimited batches as JSON\n\n"
		"Options:\n"
		"  -S, --slot=NAME            the replication slot\n"
		"      --if-not-exists        no error when the slot exists\n"
		"      --publication=NAMES    only the tables of these publications (default: all tables)\n"
		"  -f, --file=FILE            write there, appending; - is standard output (default)\n"
		"      --format=FORMAT        json: one object a line (default);\n"
		"                             delimited: protobuf batches, each after its length\n"
		"  -I, --startpos=LSN         skip what ends at or before this position\n"
		"  -E, --endpos=LSN           stop after the transactions that end at or before it\n"
		"      --streaming            large transactions come while they are in progress\n"
		"      --whole                and are put together again before they are written\n"
		"      --two-phase            prepared transactions come when they are prepared\n"
		"      --compression=METHOD   lz4 or zstd between the source and here; files hold it "
		"plain\n"
		"      --failover             create the slot so that standbys keep it (PostgreSQL 17)\n"
		"      --heartbeat=SECS       send a message through the WAL every so often; with "
		"--verbose:\n"
		"                             say how long it took\n"
		"  -o, --option=NAME=VALUE    pass an option to the plugin, e.g. own_writes=send\n"
		"  -s, --status-interval=SECS time between confirmations (default 10)\n"
		"  -F, --fsync-interval=SECS  time between syncs of the file (default 10)\n"
		"  -n, --no-loop              end when the connection is lost\n"
		"  -v, --verbose              say more\n"
		"  -V, --version              print the version\n"
		"  -?, --help                 print this\n\n"
		"Connection:\n"
		"  -d, --dbname=DBNAME        the database, or a connection string\n"
		"  -h, --host=HOSTNAME        server or socket directory\n"
		"  -p, --port=PORT            port\n"
		"  -U, --username=NAME        a role with REPLICATION\n"
		"  -w, --no-password          never ask for a password\n"
		"  -W, --password             ask for a password first\n\n"
		"It confirms only what is durable in FILE. Started again with the same FILE it goes on\n"
		"where that ends; a half-written transaction at its end is cut off first.\n");
}
