/*
 * txn.c
 *		Transactions of procedures and workers, subtransactions that catch, and the origin of what
 * walhouse writes.
 *
 * A procedure and a worker run the same code: both hold one SPI connection without atomicity, and
 * commit through it. Between transactions nothing is held but the transaction that SPI opens at
 * once, which has no xid and no snapshot.
 *
 * What walhouse writes carries the origin DoNotReplicateId, set at the start of each transaction
 * and taken away by a callback at its end.  A leaked origin would hide the session's later writes
 * from every feed, so it is never left to the code that set it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "replication/origin.h"
#include "utils/memutils.h"

#include "base/base.h"
#include "base/base_private.h"

static void clear_origin(XactEvent event, void *arg);
static void begin_work(void);

void
wh_base_init(void)
{
	RegisterXactCallback(clear_origin, NULL);
	wh_plans_init();
}

/* clear_origin takes the origin away when the transaction that set it is over; the commit record
 * has it by then. */
static void
clear_origin(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE ||
		event == XACT_EVENT_PARALLEL_PRE_COMMIT)
		return;
	if (replorigin_session_origin == DoNotReplicateId)
	{
		replorigin_session_origin = InvalidRepOriginId;
		replorigin_session_origin_timestamp = 0;
	}
}

void
wh_txn_mark_own(void)
{
	if (replorigin_session_origin == DoNotReplicateId)
		return;
	if (replorigin_session_origin != InvalidRepOriginId)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("this session has a replication origin set up"),
				 errdetail("walhouse marks what it writes with an origin of its own."),
				 errhint("Run SELECT pg_replication_origin_session_reset(), or use another session.")));
	replorigin_session_origin = DoNotReplicateId;
	replorigin_session_origin_lsn = InvalidXLogRecPtr;
	replorigin_session_origin_timestamp = GetCurrentTimestamp();
}

bool
wh_txn_procedure_atomic(FunctionCallInfo fcinfo)
{
	return !(fcinfo->context != NULL && IsA(fcinfo->context, CallContext) &&
			 !castNode(CallContext, fcinfo->context)->atomic);
}

void
wh_txn_check_arguments(FunctionCallInfo fcinfo)
{
	for (int i = 0; i < PG_NARGS(); i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument %d must not be null", i + 1)));
}

void
wh_txn_open(const char *command, bool atomic)
{
	if (atomic || IsSubTransaction())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("%s cannot run inside a transaction block, a function or an exception block", command),
				 errdetail("It commits what it has done, several times."),
				 errhint("Call it as a statement of its own, with autocommit on.")));
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	wh_txn_commit();
}

void
wh_txn_commit(void)
{
	SPI_commit();
	begin_work();
}

void
wh_txn_close(void)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "could not disconnect from SPI");
}

/* begin_work gives the transaction that has just begun its settings and origin.  With a fixed
 * snapshot, which a session's default may ask for, waiting for what others commit would never
 * end. */
static void
begin_work(void)
{
	XactIsoLevel = XACT_READ_COMMITTED;
	wh_settings_pin(NULL);
	wh_txn_mark_own();
}

bool
wh_txn_try(void (*body)(void *arg), void *arg, ErrorData **error)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	*error = NULL;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		body(arg);
		ReleaseCurrentSubTransaction();
		done = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		*error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	if (!done && ERRCODE_TO_CATEGORY((*error)->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION)
		ReThrowError(*error);
	return done;
}
