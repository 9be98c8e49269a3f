/*
 * process.c
 *		Background workers: registering one, and its first steps.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "base/base.h"

bool
wh_process_start(const char *kind, const char *title, const char *function, const void *extra,
				 Size len, BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker;

	Assert(len <= BGW_EXTRALEN);
	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "walhouse", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, function, sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, title, sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, kind, sizeof(worker.bgw_type));
	memcpy(worker.bgw_extra, extra, len);
	return RegisterDynamicBackgroundWorker(&worker, handle);
}

void
wh_process_signals(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
}

/* wh_process_connect makes the long-lived memory context that SPI wants under transactions, too
 * (in sessions, the portal's). */
void
wh_process_connect(Oid database, Oid role)
{
	BackgroundWorkerInitializeConnectionByOid(database, role, 0);
	SetConfigOption("application_name", MyBgworkerEntry->bgw_name, PGC_USERSET, PGC_S_SESSION);
	PortalContext =
		AllocSetContextCreate(TopMemoryContext, "walhouse worker", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(PortalContext);
}
