/*
 * start.c
 *		Registering background workers, and the first steps of each.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "worker/worker.h"
#include "worker/worker_private.h"

static void report_no_process(const char *title);

static bool no_process_reported = false;

StaticAssertDecl(sizeof(WhTicket) <= BGW_EXTRALEN, "a ticket fits into bgw_extra");

/*
 * wh_start_process registers a process that nobody but us restarts; the caller is woken when it
 * starts and ends; *handle, if given, is the process's.  False when max_worker_processes leaves
 * none; a worker, which tries again later, says so once, until it has got one.
 */
bool
wh_start_process(const char *kind, const char *title, const char *function,
				 const WhTicket *ticket, BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker;
	bool is_had;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "walhouse", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, function, sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, title, sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, kind, sizeof(worker.bgw_type));
	memcpy(worker.bgw_extra, ticket, sizeof(WhTicket));
	is_had = RegisterDynamicBackgroundWorker(&worker, handle);
	if (!is_had && MyBgworkerEntry != NULL && !no_process_reported)
		report_no_process(title);
	no_process_reported = !is_had;
	return is_had;
}

static void
report_no_process(const char *title)
{
	ereport(WARNING,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("walhouse finds no free background worker process for \"%s\"", title),
			 errdetail("It tries again every few seconds."),
			 errhint("Raise max_worker_processes and restart the server.")));
}

/* wh_start_signals is the first call of each process: ended at once by SIGTERM, wherever it
 * waits; SIGHUP reloads. */
void
wh_start_signals(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
}

/* wh_start_ticket copies the process's ticket. */
void
wh_start_ticket(WhTicket *ticket)
{
	memcpy(ticket, MyBgworkerEntry->bgw_extra, sizeof(WhTicket));
}

/*
 * wh_start_connect connects to a database as a role (InvalidOid: the bootstrap superuser), and
 * makes the long-lived memory context that SPI wants under transactions (in sessions, the
 * portal's).
 */
void
wh_start_connect(Oid database, Oid owner)
{
	BackgroundWorkerInitializeConnectionByOid(database, owner, 0);
	SetConfigOption("application_name", MyBgworkerEntry->bgw_name, PGC_USERSET, PGC_S_SESSION);
	PortalContext =
		AllocSetContextCreate(TopMemoryContext, "walhouse worker", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(PortalContext);
}
