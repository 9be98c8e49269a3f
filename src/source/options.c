/*
 * options.c
 *		Options of servers and user mappings: a white list of libpq's.
 *
 * What is not listed here is refused: service and passfile would read the server's files, options
 * and client_encoding would change what walhouse pins.  Certificates and keys are files of the
 * server: superusers and pg_read_server_files alone.
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "base/base.h"
#include "source/source_private.h"
#include "wire/wire.h"

static const char *const server_options[] = {"host",
											 "hostaddr",
											 "port",
											 "dbname",
											 "connect_timeout",
											 "keepalives",
											 "keepalives_idle",
											 "keepalives_interval",
											 "keepalives_count",
											 "tcp_user_timeout",
											 "target_session_attrs",
											 "load_balance_hosts",
											 "sslmode",
											 "sslcompression",
											 "sslsni",
											 "sslrootcert",
											 "sslcrl",
											 "sslcrldir",
											 "ssl_min_protocol_version",
											 "ssl_max_protocol_version",
											 "sslnegotiation",
											 "gssencmode",
											 "krbsrvname",
											 "gsslib",
											 "requirepeer",
											 "channel_binding",
											 "require_auth",
											 "follow_failover",
											 "compression",
											 NULL};
static const char *const mapping_options[] = {
	"user", "password", "password_required", "sslcert", "sslkey", "sslpassword", NULL};

static bool is_listed(const char *const *list, const char *name);
static bool libpq_has(const char *name);
static bool is_own(const char *name);
static void check_compression(const char *value);
static void check_option(const char *name, DefElem *option);

PG_FUNCTION_INFO_V1(walhouse_fdw_validator);

Datum
walhouse_fdw_validator(PG_FUNCTION_ARGS)
{
	List *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid catalog = PG_GETARG_OID(1);
	const char *const *valid = NULL;

	if (catalog == ForeignServerRelationId)
		valid = server_options;
	else if (catalog == UserMappingRelationId)
		valid = mapping_options;
	foreach_ptr(DefElem, option, options)
	{
		StringInfoData names;

		if (valid != NULL && is_listed(valid, option->defname) &&
			(is_own(option->defname) || libpq_has(option->defname)))
		{
			check_option(option->defname, option);
			continue;
		}
		initStringInfo(&names);
		for (int i = 0; valid != NULL && valid[i] != NULL; i++)
		{
			if (is_own(valid[i]) || libpq_has(valid[i]))
				appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", valid[i]);
		}
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("invalid option \"%s\"", option->defname),
				 names.len > 0 ? errhint("Valid options in this context are: %s.", names.data) : errhint("There are no valid options in this context.")));
	}
	PG_RETURN_VOID();
}

static bool
is_listed(const char *const *list, const char *name)
{
	for (; *list != NULL; list++)
	{
		if (strcmp(*list, name) == 0)
			return true;
	}
	return false;
}

/* libpq_has says whether the libpq that is loaded knows an option. */
static bool
libpq_has(const char *name)
{
	PQconninfoOption *all = PQconndefaults();
	bool found = false;

	if (all == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	for (PQconninfoOption *option = all; option->keyword != NULL && !found; option++)
		found = strcmp(option->keyword, name) == 0;
	PQconninfoFree(all);
	return found;
}

static bool
is_own(const char *name)
{
	return strcmp(name, "follow_failover") == 0 || strcmp(name, "compression") == 0 ||
		   strcmp(name, "password_required") == 0;
}

/* check_option checks a value, and who may give it. */
static void
check_option(const char *name, DefElem *option)
{
	bool is_file = strcmp(name, "sslcert") == 0 || strcmp(name, "sslkey") == 0 ||
				   strcmp(name, "sslrootcert") == 0 || strcmp(name, "sslcrl") == 0 ||
				   strcmp(name, "sslcrldir") == 0;

	if (strcmp(name, "compression") == 0)
		check_compression(defGetString(option));
	else if (is_own(name) && !defGetBoolean(option) && strcmp(name, "password_required") == 0 &&
			 !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("password_required=false is superuser-only"),
				 errhint("User mappings with the password_required option set to false may only be made by superusers.")));
	if (is_file && !has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set option \"%s\"", name),
				 errdetail("It names a file of the server."),
				 errhint("Only superusers and members of pg_read_server_files may set it.")));
}

static void
check_compression(const char *value)
{
	static const struct
	{
		const char *name;
		WhCompression method;
	} methods[] = {
		{"off", WH_COMPRESS_NONE}, {"lz4", WH_COMPRESS_LZ4}, {"zstd", WH_COMPRESS_ZSTD}};

	for (int i = 0; i < (int) lengthof(methods); i++)
	{
		if (strcmp(methods[i].name, value) != 0)
			continue;
		if (wh_wire_can_compress(methods[i].method))
			return;
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("compression \"%s\" is not supported by this build", value)));
	}
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
			 errmsg("invalid value for option \"compression\": \"%s\"", value),
			 errhint("off, lz4 or zstd.")));
}
