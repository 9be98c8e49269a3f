/*
 * convert.c
 *		convert_to_partitions(): a plain table becomes a partition set while it is used.
 *
 *	constrain	a CHECK constraint that is not valid yet: the table is locked for that moment
 *	validate	the table is read, while everybody reads and writes
 *	swap		the table gets another name; a partitioned one takes its name and all that stands on
 *				it (likeness.c), and has it attached, whole, as its one partition
 *
 * No row is moved.  The constraint says what the partition's bounds will say, so that attaching
 * scans nothing.  Its end lies where the set's lead ends: a row that it refuses would find no
 * partition afterwards either.
 *
 * The swap makes the new parent first, while nobody sees it, and then locks the table.  All of it
 * is one transaction: before it, the table is what it was but for the constraint; after it, a
 * partition set.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "commands/tablespace.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "reshape/reshape.h"
#include "reshape/reshape_private.h"

#define CHECK_NAME "walhouse_range"
#define MOST_BUCKETS 10000

PG_FUNCTION_INFO_V1(walhouse_convert_to_partitions);

/* What one call is about. */
typedef struct Conversion
{
	Oid relid;
	WhArg options; /* jsonb: "by", and those of create_partition_set */
	WhRewrite *rewrite; /* as the last transaction left it; NULL: nothing was begun */
	Oid parent; /* when it is done */
	ErrorData *refusal; /* of the validation; NULL: none */
	instr_time locked; /* since when nobody else gets at the table */
} Conversion;

static void look(Conversion *conversion);
static void check(Conversion *conversion);
static void rehearse(void *arg);
static void constrain(void *arg);
static void validate(void *arg);
static void validate_constraint(void *arg);
static pg_noreturn void give_up(Conversion *conversion);
static void swap(void *arg);
static char *option(WhArg options, const char *name);
static void open_axis(WhAxis *axis, Oid relid, WhArg options);
static int64 end_of_lead(const WhAxis *axis, Oid relid, Oid owner, WhArg options);
static Oid make_parent(Oid relid, WhArg options);
static void make_set(Oid parent, WhArg options);

Datum
walhouse_convert_to_partitions(PG_FUNCTION_ARGS)
{
	bool atomic = wh_txn_procedure_atomic(fcinfo);
	Conversion conversion = {0};
	WhRows *options;
	bool isnull;
	double ms;

	wh_txn_check_arguments(fcinfo);
	wh_txn_open("walhouse.convert_to_partitions", atomic);
	conversion.relid = PG_GETARG_OID(0);
	options = wh_spi_query(
		"SELECT $3 || pg_catalog.jsonb_build_object('by', $1, 'every', $2)", 3,
		(WhArg[]){WH_ARG_TEXT(NameStr(*PG_GETARG_NAME(1))),
				  WH_ARG_TEXT(text_to_cstring(PG_GETARG_TEXT_PP(2))),
				  WH_ARG_JSONB(PG_GETARG_DATUM(3))});
	conversion.options = WH_ARG_JSONB(wh_rows_datum(options, 0, 1, &isnull));
	look(&conversion);
	if (conversion.rewrite == NULL)
	{
		check(&conversion);
		wh_rewrite_try(constrain, &conversion);
		wh_toplevel_point("convert: constrained");
	}
	wh_txn_commit();
	look(&conversion);
	wh_rewrite_try(validate, &conversion);
	if (conversion.refusal != NULL)
		give_up(&conversion);
	wh_toplevel_point("convert: validated");
	wh_rewrite_try(swap, &conversion);
	ms = wh_rewrite_ms(conversion.locked);
	ereport(NOTICE, (errmsg("table \"%s\" is a partition set now; it was locked for %.0f ms",
							get_rel_name(conversion.parent), ms)));
	wh_txn_close();
	PG_RETURN_VOID();
}

/* look reads what was begun, and goes on with what was asked for then. */
static void
look(Conversion *conversion)
{
	WhRewrite *rewrite = wh_rewrite_read(conversion->relid);

	conversion->rewrite = rewrite;
	if (wh_set_of(conversion->relid, true) != NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("\"%s\" is a partition set already",
							   get_rel_name(conversion->relid))));
	if (rewrite != NULL)
		conversion->options = rewrite->options;
}

/* check refuses, before anything is touched, what cannot be done; all of it at once. */
static void
check(Conversion *conversion)
{
	static const char *const names = "by,every,key,zone,origin,lead,lead_count,horizon,outside,"
									 "seal_after,retire_after,retire,drop_after,retire_schema,"
									 "subpartition,profile,archive";
	const char *reason = wh_set_guarded(conversion->relid);
	WhRows *problems = wh_likeness_problems(conversion->relid, option(conversion->options, "by"));
	StringInfoData text;
	ErrorData *error;

	wh_set_check_options(conversion->options, names);
	initStringInfo(&text);
	for (uint64 i = 0; i < problems->count; i++)
		appendStringInfo(&text, "%s%s", i > 0 ? "\n" : "", wh_rows_text(problems, i, 1));
	if (reason != NULL)
		appendStringInfo(&text, "%s%s", text.len > 0 ? "\n" : "", reason);
	if (text.len > 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table \"%s\" cannot become a partition set",
							   get_rel_name(conversion->relid)),
						errdetail("%s", text.data),
						errhint("Nothing was changed.")));
	/* What the declaration would refuse at the end, it refuses now. */
	if (!wh_txn_try(rehearse, conversion, &error) &&
		error->sqlerrcode != ERRCODE_TRANSACTION_ROLLBACK)
		ReThrowError(error);
}

/* rehearse makes an empty set like the one that will be, and raises, so that it goes again. */
static void
rehearse(void *arg)
{
	Conversion *conversion = arg;

	make_set(make_parent(conversion->relid, conversion->options), conversion->options);
	ereport(ERROR, (errcode(ERRCODE_TRANSACTION_ROLLBACK), errmsg_internal("rehearsed")));
}

static void
constrain(void *arg)
{
	Conversion *conversion = arg;
	Oid relid = conversion->relid;
	Oid owner = wh_rewrite_owner(relid);
	WhAxis axis;
	WhUser saved;
	int64 hi;

	open_axis(&axis, relid, conversion->options);
	hi = end_of_lead(&axis, relid, owner, conversion->options);
	wh_rewrite_lock_ddl(relid);
	wh_user_become(owner, &saved);
	wh_spi_execute(wh_sql("ALTER TABLE %T ADD CONSTRAINT %I CHECK (%I IS NOT NULL AND %I < %s::%s)"
						  " NOT VALID",
						  relid, CHECK_NAME, axis.column, axis.column, wh_axis_literal(&axis, hi),
						  format_type_be_qualified(axis.type)),
				   0, NULL);
	wh_user_restore(&saved);
	wh_catalog_execute("INSERT INTO walhouse.partition_rewrite (relid, kind, state, options, hi)"
					   " VALUES ($1, 'convert', 'validate', $2, $3)",
					   3, (WhArg[]){WH_ARG_OID(relid), conversion->options, WH_ARG_INT8(hi)});
}

/* end_of_lead is where the last partition would end that the set makes ahead, beyond all rows. */
static int64
end_of_lead(const WhAxis *axis, Oid relid, Oid owner, WhArg options)
{
	bool has_time = wh_axis_has_time(axis);
	TimestampTz now = GetCurrentTimestamp();
	const char *lead = option(options, "lead");
	const char *count = option(options, "lead_count");
	int ahead = count != NULL ? pg_strtoint32(count) : 4;
	int64 position = has_time ? wh_axis_at(axis, now) : axis->step.origin;
	int64 last;
	int64 lo;
	WhUser saved;
	WhRows *rows;
	bool isnull;
	Datum greatest;

	wh_user_become(owner, &saved);
	rows = wh_spi_query(wh_sql("SELECT %I FROM %T WHERE %I IS NOT NULL ORDER BY 1 DESC LIMIT 1",
							   axis->column, relid, axis->column),
						0, NULL);
	wh_user_restore(&saved);
	if (rows->count > 0)
	{
		greatest = wh_rows_datum(rows, 0, 1, &isnull);
		if (wh_axis_position(axis, greatest, false) == PG_INT64_MAX)
			ereport(ERROR, (errcode(ERRCODE_CHECK_VIOLATION),
							errmsg("table \"%s\" has rows without end in column \"%s\"",
								   get_rel_name(relid), axis->column)));
		position = Max(position, wh_axis_position(axis, greatest, false));
	}
	last = lead == NULL ? position :
		   has_time		? Max(position, wh_axis_at(axis, wh_axis_later(axis, now, lead, 1))) :
						  wh_axis_add(axis, position, wh_axis_count(axis, lead));
	for (int i = 0; i <= MOST_BUCKETS; i++)
	{
		wh_axis_bucket(axis, position, &lo, &position);
		if ((i >= ahead && position > last) || position == PG_INT64_MAX)
			return position;
	}
	ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					errmsg("the lead of \"%s\" is more than %d partitions", get_rel_name(relid),
						   MOST_BUCKETS)));
}

static void
validate(void *arg)
{
	Conversion *conversion = arg;

	wh_rewrite_lock_ddl(conversion->relid);
	if (wh_rewrite_read(conversion->relid) == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the conversion of \"%s\" was given up",
							   get_rel_name(conversion->relid))));
	if (wh_txn_try(validate_constraint, conversion, &conversion->refusal))
		wh_rewrite_set_state(conversion->relid, "swap");
	else if (conversion->refusal->sqlerrcode != ERRCODE_CHECK_VIOLATION)
		ReThrowError(conversion->refusal);
}

static void
validate_constraint(void *arg)
{
	Conversion *conversion = arg;
	WhUser saved;

	wh_user_become(wh_rewrite_owner(conversion->relid), &saved);
	wh_spi_execute(wh_sql("ALTER TABLE %T VALIDATE CONSTRAINT %I", conversion->relid, CHECK_NAME),
				   0, NULL);
	wh_user_restore(&saved);
}

/* give_up takes the constraint away again where rows break it, and says so. */
static void
give_up(Conversion *conversion)
{
	WhAxis axis;

	open_axis(&axis, conversion->relid, conversion->options);
	wh_rewrite_try(wh_rewrite_cancel, &conversion->relid);
	ereport(ERROR, (errcode(ERRCODE_CHECK_VIOLATION),
					errmsg("rows of table \"%s\" have no place in a partition",
						   get_rel_name(conversion->relid)),
					errdetail("Column \"%s\" must not be null, and less than %s. Nothing was "
							  "changed.",
							  axis.column, wh_axis_text(&axis, conversion->rewrite->hi))));
}

/* swap puts a partitioned table in the table's place, and attaches it. */
static void
swap(void *arg)
{
	Conversion *conversion = arg;
	Oid relid = conversion->relid;
	WhLikeness like = {.table = relid};
	WhAxis axis;
	WhUser saved;
	char *whole;

	wh_rewrite_lock_ddl(relid);
	like.owner = wh_rewrite_owner(relid);
	like.name = get_rel_name(relid);
	whole = wh_make_free_name(get_rel_namespace(relid), like.name, "_whole");
	conversion->rewrite = wh_rewrite_read(relid);
	if (conversion->rewrite == NULL || strcmp(conversion->rewrite->state, "swap") != 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the conversion of \"%s\" was given up", like.name)));
	check(conversion);
	open_axis(&axis, relid, conversion->options);
	like.parent = make_parent(relid, conversion->options);
	wh_user_become(like.owner, &saved);
	wh_likeness_before(&like);
	wh_rewrite_lock_all(relid);
	INSTR_TIME_SET_CURRENT(conversion->locked);
	wh_user_restore(&saved);
	wh_likeness_read(&like);
	wh_user_become(like.owner, &saved);
	wh_spi_execute(wh_sql("ALTER TABLE %T RENAME TO %I", relid, whole), 0, NULL);
	wh_spi_execute(wh_sql("ALTER TABLE %T RENAME TO %I", like.parent, like.name), 0, NULL);
	wh_likeness_give(&like);
	wh_spi_execute(wh_sql("ALTER TABLE %T ATTACH PARTITION %T FOR VALUES FROM (MINVALUE) TO (%s)",
						  like.parent, relid, wh_axis_literal(&axis, conversion->rewrite->hi)),
				   0, NULL);
	wh_spi_execute(wh_sql("ALTER TABLE %T DROP CONSTRAINT %I", relid, CHECK_NAME), 0, NULL);
	wh_user_restore(&saved);
	wh_likeness_after(&like);
	make_set(like.parent, conversion->options);
	wh_rewrite_forget(relid);
	conversion->parent = like.parent;
	wh_toplevel_point("convert: swapped");
}

/* option reads one of what was asked for; NULL: it was not. */
static char *
option(WhArg options, const char *name)
{
	return wh_rows_text(wh_spi_query("SELECT $1 ->> $2", 2, (WhArg[]){options, wh_arg_text(name)}),
						0, 1);
}

static void
open_axis(WhAxis *axis, Oid relid, WhArg options)
{
	const char *column = option(options, "by");
	const char *zone = option(options, "zone");
	AttrNumber attnum = get_attnum(relid, column);

	if (attnum <= 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
						errmsg("column \"%s\" of relation \"%s\" does not exist", column,
							   get_rel_name(relid))));
	wh_axis_open_column(axis, get_atttype(relid, attnum), column, option(options, "key"),
						option(options, "every"), zone != NULL ? zone : "UTC",
						option(options, "origin"));
}

/* make_parent makes an empty partitioned table like another, as its owner. */
static Oid
make_parent(Oid relid, WhArg options)
{
	Oid schema = get_rel_namespace(relid);
	char *name = wh_make_free_name(schema, get_rel_name(relid), "_parent");
	Relation rel = table_open(relid, AccessShareLock);
	Oid tablespace = rel->rd_rel->reltablespace;
	WhUser saved;
	Oid parent;

	table_close(rel, NoLock);
	wh_user_become(wh_rewrite_owner(relid), &saved);
	wh_spi_execute(wh_sql("CREATE TABLE %I.%I (LIKE %T INCLUDING ALL) PARTITION BY RANGE (%I)%s",
						  get_namespace_name(schema), name, relid, option(options, "by"),
						  OidIsValid(tablespace) ?
							  wh_sql(" TABLESPACE %I", get_tablespace_name(tablespace)) :
							  ""),
				   0, NULL);
	parent = get_relname_relid(name, schema);
	if (OidIsValid(get_relation_constraint_oid(parent, CHECK_NAME, true)))
		wh_spi_execute(wh_sql("ALTER TABLE %T DROP CONSTRAINT %I", parent, CHECK_NAME), 0, NULL);
	wh_user_restore(&saved);
	return parent;
}

/* make_set declares a table, as the caller, whose table it is. */
static void
make_set(Oid parent, WhArg options)
{
	wh_spi_query(
		"SELECT walhouse.create_partition_set(parent => $1, every => o.every, key => o.key, zone =>"
		" COALESCE(o.zone, 'UTC'), origin => o.origin, lead => o.lead, lead_count =>"
		" COALESCE(o.lead_count, 4), horizon => o.horizon, outside => COALESCE(o.outside,"
		" 'reject'), seal_after => o.seal_after, retire_after => o.retire_after, retire =>"
		" COALESCE(o.retire, 'drop'), drop_after => o.drop_after, retire_schema => o.retire_schema,"
		" subpartition => o.subpartition, profile => o.profile, archive => COALESCE(o.archive, "
		"false)) FROM"
		" pg_catalog.jsonb_populate_record(NULL::walhouse.partition_set, $2) o",
		2, (WhArg[]){WH_ARG_REGCLASS(parent), options});
}
