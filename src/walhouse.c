/*
 * walhouse.c
 *		The extension library: calls each room's init, bottom up, and nothing else.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "archive/archive.h"
#include "base/base.h"
#include "changelog/changelog.h"
#include "copy/copy.h"
#include "dimension/dimension.h"
#include "doctor/doctor.h"
#include "evolve/evolve.h"
#include "fact/fact.h"
#include "feed/feed.h"
#include "lineage/lineage.h"
#include "load/load.h"
#include "model/model.h"
#include "monitor/monitor.h"
#include "partition/partition.h"
#include "reshape/reshape.h"
#include "rollup/rollup.h"
#include "source/source.h"
#include "suggest/suggest.h"
#include "trace/trace.h"
#include "worker/worker.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	wh_base_init();
	wh_partition_init();
	wh_archive_init();
	wh_reshape_init();
	wh_changelog_init();
	wh_source_init();
	wh_copy_init();
	wh_feed_init();
	wh_model_init();
	wh_dimension_init();
	wh_fact_init();
	wh_rollup_init();
	wh_load_init();
	wh_evolve_init();
	wh_suggest_init();
	wh_lineage_init();
	wh_trace_init();
	wh_worker_init();
	wh_monitor_init();
	wh_doctor_init();
	MarkGUCPrefixReserved("walhouse");
}
