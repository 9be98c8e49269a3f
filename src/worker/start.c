/*
 * start.c
 *		Registering background workers, and what each is told.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"

#include "base/base.h"
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
	bool is_had = wh_process_start(kind, title, function, ticket, sizeof(WhTicket), handle);

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

/* wh_start_ticket copies the process's ticket. */
void
wh_start_ticket(WhTicket *ticket)
{
	memcpy(ticket, MyBgworkerEntry->bgw_extra, sizeof(WhTicket));
}
