/*
 * restore.c
 *		Archived partitions brought back: restore_partition().
 *
 * Each range is one transaction: a table like a new partition is made, the files of the range are
 * copied into it, a CHECK constraint says what its bounds say, and it is attached, for which the
 * constraint spares reading it under the parent's lock.  That lock is SHARE UPDATE EXCLUSIVE, taken
 * when all else is done.  Cut off anywhere, nothing is there.
 *
 * Columns go by name.  A column that the table has no more is left out of each line as it passes,
 * one that it has got since is what its default says, and one of another type reads the text of the
 * old one, or says that it cannot.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "commands/copy.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_relation.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "archive/archive.h"
#include "archive/archive_private.h"

#define LOCK_TRIES 50
#define BOUNDS "walhouse_restored"
#define HOLD "restored from its archive"

PG_FUNCTION_INFO_V1(walhouse_restore_partition);

/* What a file gives to COPY, which has no argument for it. */
static struct
{
	WhArchiveFile *file;
	char *text;
	int size;
	int used;
	bool is_over;
	const bool *kept; /* which columns of a line pass; NULL: all */
	int column; /* where the reader is in a line */
	bool has_passed; /* a whole column of this line has */
} copying;

/* What attaching is given. */
typedef struct Attaching
{
	const WhSet *set;
	const char *sql;
} Attaching;

static WhRows *find_archives(const WhSet *set, int64 from, int64 to);
static void restore(const WhSet *set, const WhRows *archives, uint64 first, uint64 end);
static void check_free(const WhSet *set, int64 lo, int64 hi);
static void check_reaches(const WhSet *set, int64 hi, const char *horizon);
static void copy_file(const WhSet *set, Oid relid, const WhRows *archives, uint64 row);
static List *columns_left(Oid relid, const WhRows *names, bool *kept, const char *file);
static int read_file(void *out, int minread, int maxread);
static int pass(const char *text, int size, char *out, int room, int *used);
static void add_bounds(const WhSet *set, Oid relid, int64 lo, int64 hi);
static void attach(const WhSet *set, const char *sql);
static void attach_body(void *arg);
static void keep(const WhSet *set, Oid relid, const WhRows *archives, uint64 first, uint64 end);
static void run_as_owner(const WhSet *set, const char *sql);

Datum
walhouse_restore_partition(PG_FUNCTION_ARGS)
{
	bool atomic = wh_txn_procedure_atomic(fcinfo);
	WhSet *set;
	WhRows *archives;
	int64 from;
	int64 to;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("parent and from_value must not be null")));
	wh_txn_open("walhouse.restore_partition", atomic);
	set = wh_set_own(PG_GETARG_OID(0));
	from = wh_axis_read(&set->axis, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	to = PG_ARGISNULL(2) ? Min(from, PG_INT64_MAX - 1) + 1 :
						   wh_axis_read(&set->axis, text_to_cstring(PG_GETARG_TEXT_PP(2)));
	archives = find_archives(set, from, to);
	/* The latest range first: a fact begins at one time. */
	for (uint64 end = archives->count, first; end > 0; end = first)
	{
		/* Rows that came late to a range that was retired are an archive of their own. */
		for (first = end - 1; first > 0; first--)
			if (wh_rows_int8(archives, first - 1, 2) != wh_rows_int8(archives, end - 1, 2) ||
				wh_rows_int8(archives, first - 1, 3) != wh_rows_int8(archives, end - 1, 3))
				break;
		restore(set, archives, first, end);
		wh_txn_commit();
	}
	wh_set_changed();
	wh_txn_close();
	PG_RETURN_VOID();
}

static WhRows *
find_archives(const WhSet *set, int64 from, int64 to)
{
	WhRows *archives = wh_catalog_query(
		"SELECT a.archive_id, a.lo, a.hi, a.file, a.file_digest, a.rows, a.encoding FROM"
		" walhouse.partition_archive a WHERE a.parent = $1 AND a.lo < $3 AND a.hi > $2 AND NOT"
		" EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = a.restored_to) ORDER BY a.lo,"
		" a.hi, a.archive_id",
		3, (WhArg[]){WH_ARG_OID(set->parent), WH_ARG_INT8(from), WH_ARG_INT8(to)});

	if (archives->count == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("no archive of \"%s\" has values from %s to %s",
							   get_rel_name(set->parent), wh_axis_text(&set->axis, from),
							   wh_axis_text(&set->axis, to)),
						errdetail("What was brought back already does not count."),
						errhint("See walhouse.partition_archives.")));
	return archives;
}

static void
restore(const WhSet *set, const WhRows *archives, uint64 first, uint64 end)
{
	WhNewPartition partition = {NULL, wh_rows_int8(archives, first, 2),
								wh_rows_int8(archives, first, 3)};
	const WhPartitionRetirer *retirer = wh_set_retirer(set->parent);
	char *sql;
	Oid relid;

	wh_settings_pin("UTC");
	check_free(set, partition.lo, partition.hi);
	for (uint64 i = first; i < end; i++)
		if (!wh_archive_is_good(wh_rows_text(archives, i, 4), wh_rows_text(archives, i, 5)))
			ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
							errmsg("file \"%s\" is not what was archived",
								   wh_rows_text(archives, i, 4)),
							errdetail("It is damaged, or gone; nothing was restored from it.")));
	relid = wh_make_table(set, &partition, &sql);
	for (uint64 i = first; i < end; i++)
		copy_file(set, relid, archives, i);
	add_bounds(set, relid, partition.lo, partition.hi);
	wh_toplevel_point("restore: copied");
	if (retirer != NULL)
	{
		retirer->reopen(set->parent);
		check_reaches(set, partition.hi, retirer->horizon(set->parent));
	}
	attach(set, sql);
	run_as_owner(set, wh_sql("ALTER TABLE %T DROP CONSTRAINT %I", relid, BOUNDS));
	wh_members_note(set, relid, partition.lo, partition.hi);
	keep(set, relid, archives, first, end);
	if (retirer != NULL)
		retirer->come_back(set->parent, wh_axis_text(&set->axis, partition.lo),
						   wh_axis_text(&set->axis, partition.hi));
	wh_toplevel_point("restore: noted");
}

/* check_free raises where partitions of the table have a part of the range. */
static void
check_free(const WhSet *set, int64 lo, int64 hi)
{
	ListCell *cell;

	foreach(cell, wh_members_ranges(set))
	{
		WhRange *range = lfirst(cell);

		if (range->lo < hi && range->hi > lo)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
							errmsg("partition \"%s\" has a part of what is to be restored",
								   get_rel_name(range->relid)),
							errdetail("The archive has %s to %s.", wh_axis_text(&set->axis, lo),
									  wh_axis_text(&set->axis, hi)),
							errhint("Detach it, restore, and insert its rows.")));
	}
}

/* check_reaches raises where archives have a part of what lies between the range and where the
 * table has rows.  What no archive has of it nobody had a partition for. */
static void
check_reaches(const WhSet *set, int64 hi, const char *horizon)
{
	int64 begins = horizon == NULL ? PG_INT64_MIN : wh_axis_read(&set->axis, horizon);
	WhRows *between = wh_catalog_query(
		"SELECT FROM walhouse.partition_archive a WHERE a.parent = $1 AND a.lo >= $2 AND a.hi <= $3"
		" AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = a.restored_to) LIMIT 1",
		3, (WhArg[]){WH_ARG_OID(set->parent), WH_ARG_INT8(hi), WH_ARG_INT8(begins)});

	if (begins < hi || between->count > 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("what ends at %s does not reach to where \"%s\" begins",
							   wh_axis_text(&set->axis, hi), get_rel_name(set->parent)),
						errdetail("It begins at %s.", horizon == NULL ? "no time" : horizon),
						errhint("Restore all from there to that time at once.")));
}

/* copy_file copies an archive's file into a table, as the set's owner. */
static void
copy_file(const WhSet *set, Oid relid, const WhRows *archives, uint64 row)
{
	char *name = wh_rows_text(archives, row, 4);
	WhRows *names = wh_catalog_query(
		"SELECT n FROM walhouse.partition_archive a, pg_catalog.unnest(a.columns) WITH ORDINALITY"
		" c(n, o) WHERE a.archive_id = $1 ORDER BY c.o",
		1, (WhArg[]){WH_ARG_INT8(wh_rows_int8(archives, row, 1))});
	bool *kept = palloc(sizeof(bool) * names->count);
	List *columns = columns_left(relid, names, kept, name);
	List *options = list_make2(
		makeDefElem("format", (Node *) makeString("text"), -1),
		makeDefElem("encoding", (Node *) makeString(wh_rows_text(archives, row, 7)), -1));
	ParseState *state = make_parsestate(NULL);
	Relation rel = table_open(relid, RowExclusiveLock);
	WhArchiveSums sums;
	CopyFromState copy;
	WhUser saved;

	memset(&copying, 0, sizeof(copying));
	copying.file = wh_archive_open(wh_archive_path(name));
	copying.text = palloc(WH_ARCHIVE_CHUNK);
	copying.kept = list_length(columns) < names->count ? kept : NULL;
	wh_user_become(set->owner, &saved);
	PushActiveSnapshot(GetTransactionSnapshot());
	addRangeTableEntryForRelation(state, rel, RowExclusiveLock, NULL, false, false);
	copy = BeginCopyFrom(state, rel, NULL, NULL, false, read_file, columns, options);
	(void) CopyFrom(copy);
	EndCopyFrom(copy);
	PopActiveSnapshot();
	wh_user_restore(&saved);
	table_close(rel, NoLock);
	wh_archive_finish(copying.file, &sums);
	if (strcmp(sums.file_digest, wh_rows_text(archives, row, 5)) != 0 ||
		sums.rows != wh_rows_int8(archives, row, 6))
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("file \"%s\" has changed while it was read", name)));
}

/* columns_left lists the columns of a file that the table has, and which those are. */
static List *
columns_left(Oid relid, const WhRows *names, bool *kept, const char *file)
{
	List *columns = NIL;

	for (uint64 i = 0; i < names->count; i++)
	{
		char *name = wh_rows_text(names, i, 1);
		AttrNumber attnum = get_attnum(relid, name);

		kept[i] = attnum > 0 && get_attgenerated(relid, attnum) == '\0';
		if (kept[i])
			columns = lappend(columns, makeString(name));
		else
			ereport(NOTICE, (errmsg("column \"%s\" of file \"%s\" is left out", name, file),
							 errdetail(attnum > 0 ? "It is computed now." :
													"The table has none of that name.")));
	}
	if (columns == NIL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
						errmsg("the table has no column that is in file \"%s\"", file)));
	return columns;
}

/* read_file gives COPY at least minread bytes, fewer at the end. */
static int
read_file(void *out, int minread, int maxread)
{
	int done = 0;

	while (done < minread && !copying.is_over)
	{
		int used;

		if (copying.used == copying.size)
		{
			copying.size = wh_archive_read(copying.file, copying.text);
			copying.used = 0;
			copying.is_over = copying.size == 0;
		}
		done += pass(copying.text + copying.used, copying.size - copying.used,
					 (char *) out + done, maxread - done, &used);
		copying.used += used;
	}
	return done;
}

/* pass copies text as far as there is room for it, without the columns that are left out: tabs and
 * line ends are never part of a value. */
static int
pass(const char *text, int size, char *out, int room, int *used)
{
	int done = 0;

	if (copying.kept == NULL)
	{
		*used = Min(size, room);
		memcpy(out, text, *used);
		return *used;
	}
	for (*used = 0; *used < size && done < room; (*used)++)
	{
		char c = text[*used];

		if (c == '\n')
		{
			out[done++] = c;
			copying.column = 0;
			copying.has_passed = false;
			continue;
		}
		if (c == '\t')
		{
			copying.has_passed = copying.has_passed || copying.kept[copying.column];
			copying.column++;
		}
		if (c == '\t' ? copying.has_passed && copying.kept[copying.column] :
						copying.kept[copying.column])
			out[done++] = c;
	}
	return done;
}

/* add_bounds has the table say of itself what its bounds will say. */
static void
add_bounds(const WhSet *set, Oid relid, int64 lo, int64 hi)
{
	const char *type = format_type_be_qualified(set->axis.type);
	StringInfoData sql;

	initStringInfo(&sql);
	wh_sql_append(&sql, "ALTER TABLE %T ADD CONSTRAINT %I CHECK (%I IS NOT NULL", relid, BOUNDS,
				  set->axis.column);
	if (lo != PG_INT64_MIN)
		wh_sql_append(&sql, " AND %I >= %s::%s", set->axis.column,
					  wh_axis_literal(&set->axis, lo), type);
	if (hi != PG_INT64_MAX)
		wh_sql_append(&sql, " AND %I < %s::%s", set->axis.column, wh_axis_literal(&set->axis, hi),
					  type);
	wh_sql_append(&sql, ")");
	run_as_owner(set, sql.data);
}

/* attach waits for the parent's lock a little at a time, as steps do. */
static void
attach(const WhSet *set, const char *sql)
{
	Attaching attaching = {set, sql};
	ErrorData *error;

	for (int i = 0; !wh_txn_try(attach_body, &attaching, &error); i++)
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE || i == LOCK_TRIES)
			ReThrowError(error);
}

static void
attach_body(void *arg)
{
	const Attaching *attaching = arg;
	int level = NewGUCNestLevel();

	(void) set_config_option("lock_timeout", psprintf("%dms", wh_partition_lock_timeout),
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	run_as_owner(attaching->set, attaching->sql);
	AtEOXact_GUC(true, level);
}

/* keep says in the register what was brought back from what, and holds it. */
static void
keep(const WhSet *set, Oid relid, const WhRows *archives, uint64 first, uint64 end)
{
	WhArg args[] = {WH_ARG_INT4(set->id), WH_ARG_OID(relid), WH_ARG_TEXT(HOLD),
					WH_ARG_OID(GetUserId())};

	for (uint64 i = first; i < end; i++)
	{
		wh_catalog_execute("UPDATE walhouse.partition_archive SET restored = pg_catalog.now(),"
						   " restored_to = $1::pg_catalog.regclass WHERE archive_id = $2",
						   2,
						   (WhArg[]){args[1], WH_ARG_INT8(wh_rows_int8(archives, i, 1))});
		wh_step_note(set, "restore", wh_sql_relation(relid), wh_rows_text(archives, i, 4));
	}
	wh_catalog_execute("UPDATE walhouse.partition SET hold = $3, held_by = $4::pg_catalog.regrole"
					   " WHERE set_id = $1 AND relid = $2",
					   4, args);
	wh_members_schedule(set, relid, PG_INT64_MIN, true);
}

static void
run_as_owner(const WhSet *set, const char *sql)
{
	WhUser saved;

	wh_user_become(set->owner, &saved);
	wh_spi_execute(sql, 0, NULL);
	wh_user_restore(&saved);
}
