/*
 * worker.c
 *		Settings of the workers, and the launcher's registration.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/guc.h"

#include "load/load.h"
#include "model/model.h"
#include "partition/partition.h"
#include "worker/worker.h"
#include "worker/worker_private.h"

int wh_worker_max_feeds = 64;
int wh_worker_max_build_workers = 2;
bool wh_worker_enabled = true;
int wh_worker_parallel_load = WH_PARALLEL_AUTO;
int wh_worker_verify_interval = 3600;
int wh_worker_verify_sample = 100;

static const struct config_enum_entry parallel_loads[] = {
	{"off", WH_PARALLEL_OFF, false},
	{"auto", WH_PARALLEL_AUTO, false},
	{"always", WH_PARALLEL_ALWAYS, false},
	{NULL, 0, false},
};

static void define_settings(void);
static void register_launcher(void);

void
wh_worker_init(void)
{
	define_settings();
	wh_partition_on_change(wh_commands_visit_at_commit);
	wh_partition_guard(wh_model_why_partitions_stay);
	wh_partition_leader(wh_load_leads_log);
	wh_partition_retirer(&wh_load_retirer);
	if (!process_shared_preload_libraries_in_progress)
		return;
	wh_slots_init();
	wh_commands_init();
	if (!IsBinaryUpgrade)
		register_launcher();
}

static void
define_settings(void)
{
	DefineCustomBoolVariable(
		"walhouse.worker", "Whether the launcher runs workers for the feeds that are started.",
		"Off ends those that run. For copies of a server, which must not read production's slots.",
		&wh_worker_enabled, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("walhouse.max_build_workers",
							"How many models of a feed are built at the same time by workers.",
							"Each takes one of max_worker_processes.",
							&wh_worker_max_build_workers, 2, 1, WH_MAX_BUILDS, PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomEnumVariable(
		"walhouse.parallel_load",
		"Whether a worker of its own brings a feed's models on, beside ingest.",
		"auto: while the source leaves little time. It takes one of max_worker_processes.",
		&wh_worker_parallel_load, WH_PARALLEL_AUTO, parallel_loads, PGC_SIGHUP, 0, NULL, NULL,
		NULL);
	DefineCustomIntVariable("walhouse.verify_interval",
							"How often workers verify each model by a sample; 0: never.",
							"A difference is logged and shown by walhouse.stat_model.",
							&wh_worker_verify_interval, 3600, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("walhouse.verify_sample",
							"How many keys of a model workers look at when they verify it.", NULL,
							&wh_worker_verify_sample, 100, 1, INT_MAX, PGC_SIGHUP, 0, NULL, NULL,
							NULL);
	/* Of no use, and not allowed, after the server's start. */
	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable(
			"walhouse.max_feeds",
			"How many feeds of all databases can be started at the same time.",
			"Each takes one of max_worker_processes.", &wh_worker_max_feeds, 64, 1, 10000,
			PGC_POSTMASTER, 0, NULL, NULL, NULL);
}

static void
register_launcher(void)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 2;
	strlcpy(worker.bgw_library_name, "walhouse", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "wh_worker_launcher_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "walhouse launcher", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "walhouse launcher", sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}
