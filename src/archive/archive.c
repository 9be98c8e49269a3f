/*
 * archive.c
 *		Partitions as files: written when they are detached, held against the table when it is to
 * be dropped.
 *
 * A detached table is written, in the order in which its rows lie, as the text that COPY gives,
 * so that zcat and COPY bring it back anywhere, without walhouse.  It is locked SHARE meanwhile,
 * which stops only those who write to it by its own name.  The file is made under another name,
 * brought to disk, read back from there, and only then gets its name, together with a manifest
 * that says in JSON what a reader needs to know.  All that is one transaction:
 *
 *	cut off while it is written		a file *.tmp, which the next attempt begins anew
 *	cut off after it got its name	the file with its manifest, and nothing that knows of them; the
 *									next attempt gives the same name to the same contents
 *
 * Before the table is dropped, ACCESS EXCLUSIVE, both are looked at again: the file must give back
 * what it was given, and the table must give the same text.  So rows that somebody has written to
 * the detached table are not lost: it is archived anew.
 *
 * The set's owner reads the table, and calls the types' output functions; files are the server's,
 * in a folder that a superuser names, and nobody else's.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/table.h"
#include "access/tableam.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "archive/archive.h"
#include "archive/archive_private.h"

#define NAME_DIGITS 16 /* of the file's digest, in its name */

/* What an archive of a table has. */
typedef struct Archive
{
	Oid relid;
	List *columns; /* names: without those that are generated */
	WhArchiveSums sums;
	char *file; /* its name */
} Archive;

static char *archive_directory = NULL;

static void check(const WhSet *set);
static void run(int32 set_id, Oid relid);
static bool holds(const WhSet *set, Oid relid);
static void forget_gone(void);
static bool check_directory(char **value, void **extra, GucSource source);
static void check_usable(void);
static Archive *write_file(const WhSet *set, Oid relid);
static List *columns_of(Oid relid);
static void lock_leaves(Oid relid, LOCKMODE mode);
static void write_table(const WhSet *set, Oid relid, List *columns, WhArchiveFile *file);
static void write_leaf(Oid leaf, List *columns, WhArchiveFile *file);
static void write_value(WhArchiveFile *file, const char *value);
static void check_same(const WhArchiveSums *written, const char *path);
static void write_manifest(const WhSet *set, const Archive *archive, const char *path);
static void keep(const WhSet *set, Oid relid, const Archive *archive);
static WhArg names_of(List *columns);
static char *digest_of(const WhSet *set, Oid relid);
static void read_back(const char *path, WhArchiveSums *sums);

void
wh_archive_init(void)
{
	static const WhArchiver archiver = {check, run, holds};

	DefineCustomStringVariable(
		"walhouse.archive_directory", "Folder of the files of archived partitions.",
		"An absolute path that the server may write to; empty: nothing is archived.",
		&archive_directory, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, check_directory, NULL, NULL);
	wh_partition_archiver(&archiver);
	wh_partition_on_gone(forget_gone);
}

/* What is known of archives goes with the table, also where that was no set any more: or it would
 * be taken for another table's, when the OID comes again. */
static void
forget_gone(void)
{
	wh_catalog_execute("DELETE FROM walhouse.partition_archive a WHERE NOT EXISTS (SELECT FROM"
					   " pg_catalog.pg_class c WHERE c.oid = a.parent)",
					   0, NULL);
}

static bool
check_directory(char **value, void **extra, GucSource source)
{
	if (**value == '\0' || is_absolute_path(*value))
		return true;
	GUC_check_errdetail("walhouse.archive_directory must be an absolute path.");
	return false;
}

static void
check(const WhSet *set)
{
	if (!set->archive)
		return;
	if (strcmp(set->retire, "drop") != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("archive needs retire => 'drop'"),
						errdetail("What is kept or moved stays a table.")));
	check_usable();
}

static void
check_usable(void)
{
	if (archive_directory == NULL || *archive_directory == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("walhouse.archive_directory is not set"),
				 errhint("A superuser names a folder by ALTER SYSTEM SET "
						 "walhouse.archive_directory, and SELECT pg_reload_conf().")));
}

char *
wh_archive_path(const char *file)
{
	check_usable();
	return psprintf("%s/%s", archive_directory, file);
}

static void
run(int32 set_id, Oid relid)
{
	WhMember member;
	Archive *archive;
	WhSet *set;

	wh_toplevel_begin();
	set = wh_step_open_set(set_id);
	/* From here on nobody attaches it again, or gives it another name. */
	lock_leaves(relid, ShareLock);
	if (!wh_step_read_member(set, relid, false, &member) ||
		strcmp(member.state, "detached") != 0 || get_rel_relispartition(relid))
	{
		wh_toplevel_commit();
		return;
	}
	archive = write_file(set, relid);
	wh_toplevel_point("archive: written");
	if (wh_step_read_member(set, relid, true, &member) && strcmp(member.state, "detached") == 0)
	{
		keep(set, relid, archive);
		wh_step_change_state(set, relid, "archived", "archive");
	}
	wh_toplevel_point("archive: noted");
	wh_toplevel_commit();
}

/* write_file writes a table to a file, reads it back, and gives it its name; where that fails, the
 * space is given back at once. */
static Archive *
write_file(const WhSet *set, Oid relid)
{
	Archive *archive = palloc0(sizeof(Archive));
	char *stem = psprintf(UINT64_FORMAT "_%u_%u", GetSystemIdentifier(), MyDatabaseId, relid);
	char *unfinished = wh_archive_path(psprintf("%s.tmp", stem));
	char *manifest;

	archive->relid = relid;
	archive->columns = columns_of(relid);
	PG_TRY();
	{
		WhArchiveFile *file = wh_archive_create(unfinished);

		write_table(set, relid, archive->columns, file);
		wh_toplevel_point("archive: writing");
		wh_archive_finish(file, &archive->sums);
		check_same(&archive->sums, unfinished);
		stem = psprintf("%s_%.*s", stem, NAME_DIGITS, archive->sums.file_digest);
		archive->file = psprintf("%s%s", stem, wh_archive_suffix());
		durable_rename(unfinished, wh_archive_path(archive->file), ERROR);
		manifest = wh_archive_path(psprintf("%s.json", stem));
		write_manifest(set, archive, unfinished);
		durable_rename(unfinished, manifest, ERROR);
	}
	PG_CATCH();
	{
		(void) unlink(unfinished);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return archive;
}

/* columns_of names the columns whose values stand in a file: what is computed is computed again. */
static List *
columns_of(Oid relid)
{
	Relation rel = table_open(relid, AccessShareLock);
	TupleDesc desc = RelationGetDescr(rel);
	List *columns = NIL;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && att->attgenerated == '\0')
			columns = lappend(columns, pstrdup(NameStr(att->attname)));
	}
	table_close(rel, NoLock);
	return columns;
}

static void
lock_leaves(Oid relid, LOCKMODE mode)
{
	WhRows *leaves;

	LockRelationOid(relid, mode);
	leaves = wh_members_leaves(relid);
	for (uint64 i = 0; i < leaves->count; i++)
		LockRelationOid(wh_rows_oid(leaves, i, 1), mode);
}

static void
write_table(const WhSet *set, Oid relid, List *columns, WhArchiveFile *file)
{
	WhRows *leaves = wh_members_leaves(relid);
	WhUser saved;

	wh_user_become(set->owner, &saved);
	PushActiveSnapshot(GetLatestSnapshot());
	for (uint64 i = 0; i < leaves->count; i++)
		write_leaf(wh_rows_oid(leaves, i, 1), columns, file);
	PopActiveSnapshot();
	wh_user_restore(&saved);
}

static void
write_leaf(Oid leaf, List *columns, WhArchiveFile *file)
{
	MemoryContext row =
		AllocSetContextCreate(CurrentMemoryContext, "walhouse archive row", ALLOCSET_DEFAULT_SIZES);
	Relation rel = table_open(leaf, AccessShareLock);
	int count = list_length(columns);
	FmgrInfo *output = palloc(sizeof(FmgrInfo) * count);
	int *attnums = palloc(sizeof(int) * count);
	TupleTableSlot *slot;
	TableScanDesc scan;

	if (rel->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot archive \"%s\", which is no ordinary table",
							   RelationGetRelationName(rel))));
	for (int i = 0; i < count; i++)
	{
		bool is_varlena;
		Oid function;

		attnums[i] = get_attnum(leaf, list_nth(columns, i));
		getTypeOutputInfo(TupleDescAttr(RelationGetDescr(rel), attnums[i] - 1)->atttypid,
						  &function, &is_varlena);
		fmgr_info(function, &output[i]);
	}
	slot = table_slot_create(rel, NULL);
	/* From the first page on: the text of the same rows is the same. */
	scan = table_beginscan_strat(rel, GetActiveSnapshot(), 0, NULL, true, false);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext old = MemoryContextSwitchTo(row);

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < count; i++)
		{
			bool isnull;
			Datum value = slot_getattr(slot, attnums[i], &isnull);

			if (i > 0)
				wh_archive_write(file, "\t", 1);
			if (isnull)
				wh_archive_write(file, "\\N", 2);
			else
				write_value(file, OutputFunctionCall(&output[i], value));
		}
		wh_archive_end_line(file);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	MemoryContextDelete(row);
}

/* write_value escapes as COPY does. */
static void
write_value(WhArchiveFile *file, const char *value)
{
	static const char special[] = "\b\f\n\r\t\v\\";
	static const char *const escaped[] = {"\\b", "\\f", "\\n", "\\r", "\\t", "\\v", "\\\\"};

	for (;;)
	{
		size_t plain = strcspn(value, special);

		wh_archive_write(file, value, plain);
		value += plain;
		if (*value == '\0')
			return;
		wh_archive_write(file, escaped[strchr(special, *value) - special], 2);
		value++;
	}
}

/* check_same reads a file back, and raises where it is not what was written. */
static void
check_same(const WhArchiveSums *written, const char *path)
{
	WhArchiveSums read;

	read_back(path, &read);
	if (strcmp(read.digest, written->digest) != 0 || read.rows != written->rows ||
		strcmp(read.file_digest, written->file_digest) != 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("file \"%s\" does not give back what was written to it", path),
						errdetail("Written were %lld rows with digest %s, read %lld with %s.",
								  (long long) written->rows, written->digest,
								  (long long) read.rows, read.digest)));
}

/* write_manifest writes what a reader of the file needs to know, also one who has nothing else. */
static void
write_manifest(const WhSet *set, const Archive *archive, const char *path)
{
	WhArg args[] = {WH_ARG_OID(set->parent),
					WH_ARG_OID(archive->relid),
					wh_arg_text(archive->file),
					WH_ARG_INT8(archive->sums.rows),
					WH_ARG_INT8(archive->sums.bytes),
					wh_arg_text(archive->sums.digest),
					WH_ARG_INT8(archive->sums.file_bytes),
					wh_arg_text(archive->sums.file_digest)};
	WhRows *rows = wh_catalog_query(
		"SELECT pg_catalog.jsonb_pretty(pg_catalog.jsonb_build_object('table', $1"
		"::pg_catalog.regclass::pg_catalog.text, 'partition', $2::pg_catalog.regclass"
		"::pg_catalog.text, 'key', pg_catalog.pg_get_partkeydef($1), 'from', p.from_value, 'to',"
		" p.to_value, 'file', $3, 'rows', $4, 'bytes', $5, 'sha256', $6, 'file_bytes', $7,"
		" 'file_sha256', $8, 'encoding', pg_catalog.getdatabaseencoding(), 'server',"
		" pg_catalog.current_setting('server_version'), 'archived', pg_catalog.now(), 'columns',"
		" c.columns, 'ddl', c.ddl, 'copy', c.copy)) FROM walhouse.partition p CROSS JOIN LATERAL"
		" (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('name', a.attname, 'type',"
		" t.type, 'not_null', a.attnotnull) ORDER BY a.attnum) FILTER (WHERE a.attgenerated = '')"
		" AS columns, pg_catalog.format('CREATE TABLE %s (%s);', $2::pg_catalog.regclass,"
		" pg_catalog.string_agg(pg_catalog.format('%I %s%s%s', a.attname, t.type, CASE WHEN"
		" a.attgenerated <> '' THEN ' GENERATED ALWAYS AS (' || pg_catalog.pg_get_expr(d.adbin,"
		" d.adrelid) || ') STORED' END, CASE WHEN a.attnotnull THEN ' NOT NULL' END), ', ' ORDER BY"
		" a.attnum)) AS ddl, pg_catalog.format('COPY %s (%s) FROM STDIN;', $2::pg_catalog.regclass,"
		" pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum) FILTER"
		" (WHERE a.attgenerated = '')) AS copy FROM pg_catalog.pg_attribute a LEFT JOIN"
		" pg_catalog.pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum) CROSS JOIN"
		" LATERAL (SELECT pg_catalog.format_type(a.atttypid, a.atttypmod) AS type) t WHERE"
		" a.attrelid = $2 AND a.attnum > 0 AND NOT a.attisdropped) c WHERE p.relid = $2",
		lengthof(args), args);

	wh_archive_write_plain(path, wh_rows_text(rows, 0, 1));
}

/* keep writes an archive into the catalog.  What the table was restored from is in it, too. */
static void
keep(const WhSet *set, Oid relid, const Archive *archive)
{
	WhArg args[] = {WH_ARG_OID(set->parent),
					WH_ARG_OID(relid),
					names_of(archive->columns),
					wh_arg_text(GetDatabaseEncodingName()),
					WH_ARG_INT8(archive->sums.rows),
					WH_ARG_INT8(archive->sums.bytes),
					wh_arg_text(archive->sums.digest),
					wh_arg_text(archive->file),
					WH_ARG_INT8(archive->sums.file_bytes),
					wh_arg_text(archive->sums.file_digest),
					WH_ARG_INT4(set->id)};

	wh_catalog_execute("DELETE FROM walhouse.partition_archive WHERE restored_to = $1", 1,
					   &args[1]);
	wh_catalog_execute(
		"WITH a AS (INSERT INTO walhouse.partition_archive (parent, partition, lo, hi, from_value,"
		" to_value, columns, encoding, rows, bytes, digest, file, file_bytes, file_digest) SELECT"
		" $1, p.relid::pg_catalog.text, p.lo, p.hi, p.from_value, p.to_value, $3, $4, $5, $6, $7,"
		" $8, $9, $10 FROM walhouse.partition p WHERE p.set_id = $11 AND p.relid = $2 RETURNING"
		" archive_id) UPDATE walhouse.partition p SET archive_id = a.archive_id FROM a WHERE"
		" p.set_id = $11 AND p.relid = $2",
		lengthof(args), args);
}

static WhArg
names_of(List *columns)
{
	Datum *names = palloc(sizeof(Datum) * list_length(columns));
	int count = 0;
	ListCell *cell;

	foreach(cell, columns)
		names[count++] = CStringGetTextDatum(lfirst(cell));
	return (WhArg){TEXTARRAYOID,
				   PointerGetDatum(
					   construct_array(names, count, TEXTOID, -1, false, TYPALIGN_INT)),
				   false};
}

/* holds says whether a table is what its archive says, and the file is good. */
static bool
holds(const WhSet *set, Oid relid)
{
	WhRows *rows = wh_catalog_query(
		"SELECT a.file, a.file_digest, a.digest, a.archive_id FROM walhouse.partition p JOIN"
		" walhouse.partition_archive a ON a.archive_id = p.archive_id WHERE p.set_id = $1 AND"
		" p.relid = $2",
		2, (WhArg[]){WH_ARG_INT4(set->id), WH_ARG_OID(relid)});
	const char *wrong = "there is no archive of it";

	if (rows->count > 0)
	{
		lock_leaves(relid, AccessExclusiveLock);
		wrong = !wh_archive_is_good(wh_rows_text(rows, 0, 1), wh_rows_text(rows, 0, 2)) ?
					"its file is damaged or gone" :
				strcmp(digest_of(set, relid), wh_rows_text(rows, 0, 3)) != 0 ?
					"it has changed since" :
					NULL;
		if (wrong == NULL)
			return true;
		wh_catalog_execute("DELETE FROM walhouse.partition_archive WHERE archive_id = $1", 1,
						   (WhArg[]){WH_ARG_INT8(wh_rows_int8(rows, 0, 4))});
	}
	ereport(LOG, (errmsg("table \"%s\" is archived before it is dropped: %s", get_rel_name(relid),
						 wrong)));
	wh_step_change_state(set, relid, "detached", "archive anew");
	return false;
}

/* digest_of is that of the text that a table gives now. */
static char *
digest_of(const WhSet *set, Oid relid)
{
	WhArchiveFile *nowhere = wh_archive_create(NULL);
	WhArchiveSums sums;

	write_table(set, relid, columns_of(relid), nowhere);
	wh_archive_finish(nowhere, &sums);
	return sums.digest;
}

bool
wh_archive_is_good(const char *file, const char *file_digest)
{
	char *path = wh_archive_path(file);
	WhArchiveSums sums;
	struct stat st;

	/* A folder that is not there is one that is not mounted, and says nothing of its files. */
	if (stat(archive_directory, &st) != 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not find the folder of archives: %m")));
	if (stat(path, &st) != 0 && errno == ENOENT)
		return false;
	read_back(path, &sums);
	return strcmp(sums.file_digest, file_digest) == 0;
}

/* read_back reads a file from its beginning to its end. */
static void
read_back(const char *path, WhArchiveSums *sums)
{
	WhArchiveFile *file = wh_archive_open(path);
	char *text = palloc(WH_ARCHIVE_CHUNK);

	while (wh_archive_read(file, text) > 0)
		;
	wh_archive_finish(file, sums);
	pfree(text);
}
