/*
 * partition_private.h
 *		What the files of partition/ share: keys as numbers, sets and their members, steps.
 */
#ifndef WH_PARTITION_PRIVATE_H
#define WH_PARTITION_PRIVATE_H

#include "nodes/pg_list.h"
#include "pgtime.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "partition/partition.h"

/* -------- axis.c: keys as numbers -------- */

typedef enum WhKeyKind
{
	WH_KEY_TIMESTAMPTZ,
	WH_KEY_TIMESTAMP,
	WH_KEY_DATE,
	WH_KEY_INTEGER,
	WH_KEY_EPOCH, /* an integer that counts seconds, or parts of them, since 1970 */
	WH_KEY_UUIDV7, /* positions are its milliseconds since 1970 */
	WH_KEY_LSN
} WhKeyKind;

/*
 * A partition key and its grid.  A position is the key as a number: microseconds since 2000, days
 * since 2000, or what the key counts itself; PG_INT64_MIN and PG_INT64_MAX are without end.
 */
typedef struct WhAxis
{
	WhKeyKind kind;
	Oid type;
	char *column;
	const char *name; /* of the kind, as in partition_set.key */
	int64 per_second; /* of WH_KEY_EPOCH */
	pg_tz *zone;
	WhStep step;
} WhAxis;

/*
 * wh_axis_open looks at a table's partition key and reads the grid; raises where the table is none
 * that a set can be, or the grid does not fit the key.
 */
extern void wh_axis_open(WhAxis *axis, Oid parent, const char *key, const char *every,
						 const char *zone, const char *origin);
/* The same of a column that a table is to be partitioned by. */
extern void wh_axis_open_column(WhAxis *axis, Oid type, const char *column, const char *key,
								const char *every, const char *zone, const char *origin);
/* wh_axis_check_default raises where a table has a default partition: with one, nothing is made or
 * detached without blocking. */
extern void wh_axis_check_default(Oid parent);
extern bool wh_axis_has_time(const WhAxis *axis);

/* Positions from a value of the key's type (as an upper bound rounded up) or its text, and the
 * text of one as the server reads it; MINVALUE and MAXVALUE at the ends. */
extern int64 wh_axis_position(const WhAxis *axis, Datum value, bool is_upper);
extern int64 wh_axis_read(const WhAxis *axis, const char *text);
extern char *wh_axis_text(const WhAxis *axis, int64 position);
/* The same as it stands in FOR VALUES and in comparisons: a literal. */
extern char *wh_axis_literal(const WhAxis *axis, int64 position);

extern void wh_axis_bucket(const WhAxis *axis, int64 position, int64 *from, int64 *to);
extern char *wh_axis_suffix(const WhAxis *axis, int64 from);

/* Of keys that have a time: the instant of a position, and back.  Without end stays so. */
extern TimestampTz wh_axis_instant(const WhAxis *axis, int64 position);
extern int64 wh_axis_at(const WhAxis *axis, TimestampTz instant);

/* wh_axis_later adds a span to an instant by the calendar of the set's zone, or takes it away. */
extern TimestampTz wh_axis_later(const WhAxis *axis, TimestampTz instant, const char *span,
								 int sign);
/* wh_axis_add adds to a position; what is beyond all that the key can be is without end. */
extern int64 wh_axis_add(const WhAxis *axis, int64 position, int64 distance);
/* wh_axis_count reads a span of keys without time: a number, of LSNs also bytes with a unit. */
extern int64 wh_axis_count(const WhAxis *axis, const char *span);
/* wh_axis_check_span raises where a span does not fit the key, or is negative; NULL passes. */
extern void wh_axis_check_span(const WhAxis *axis, const char *what, const char *span);

/* -------- set.c: sets as the catalog knows them -------- */

typedef struct WhSet
{
	int32 id;
	Oid parent;
	Oid owner;
	WhAxis axis;
	char *lead; /* NULL: none */
	int lead_count;
	char *horizon; /* NULL: HORIZON_BUCKETS of the grid */
	char *outside;
	char *seal_after;
	char *retire_after;
	char *retire;
	char *drop_after; /* NULL: as soon as it is detached */
	char *retire_schema;
	char *subpartition; /* jsonb as text; NULL: none */
	char *profile; /* the same */
	char *profile_after; /* NULL: as soon as it is sealed */
	bool has_profile; /* there is something to be done to sealed partitions */
	bool archive; /* what is dropped is kept as a file */
	Oid overflow;
	bool enabled;
	bool has_retired; /* retired_to holds */
	int64 retired_to; /* what lies below was retired */
	TimestampTz looked; /* when its lead was looked at last; DT_NOBEGIN: never */
	int64 head; /* greatest key that was seen of keys without time; PG_INT64_MIN: none */
} WhSet;

/* wh_set_read returns a set, in the caller's context; NULL when it, or its table, is gone and
 * missing_ok. */
extern WhSet *wh_set_read(int32 set_id, bool missing_ok);
extern WhSet *wh_set_of(Oid parent, bool missing_ok);
/* The set whose member a table is, checked against the current user. */
extern WhSet *wh_set_own(Oid parent);
/* wh_set_declare writes a set down: the arguments of create_partition_set, the table that is its
 * overflow table already, whether anything is done, profile and archive.  wh_set_check_new raises
 * where there is one, and returns the table's owner. */
#define WH_SET_ARGS 19
extern WhSet *wh_set_declare(const WhArg *args);
extern void wh_set_defaults(WhArg *args, Oid parent, const char *every);
extern Oid wh_set_check_new(Oid parent);
extern void wh_set_check_overflow(Oid parent);
extern void wh_set_forget(const WhSet *set);
extern void wh_set_changed(void);
extern const char *wh_set_guarded(Oid parent);
/* wh_set_check_options raises where an object has a key that is none of names, which commas
 * separate. */
extern void wh_set_check_options(WhArg options, const char *names);

/* -------- follow.c: as WhPartitionLeader -------- */
extern bool wh_set_follows(Oid parent, bool looks, int64 *head, TimestampTz *next);

/* -------- members.c: what partitions there are, and what is next for each -------- */

typedef struct WhRange
{
	Oid relid;
	int64 lo;
	int64 hi;
	bool is_pending; /* its detaching was cut off */
} WhRange;

/* wh_members_ranges lists the partitions that the catalog has, in order. */
extern List *wh_members_ranges(const WhSet *set);

/* wh_members_gaps lists what of [lo, hi) no partition has, as WhRange without relid. */
extern List *wh_members_gaps(List *ranges, int64 lo, int64 hi);

/* wh_members_reconcile makes the register say what the catalog has. */
extern void wh_members_reconcile(const WhSet *set, List *ranges);

/* wh_members_schedule works out what is next, and when, for the partitions of a set (one alone
 * with relid).  A new head of keys without time, else PG_INT64_MIN, does so for those that waited
 * for it; `all`: for all, also those whose next step is known. */
extern void wh_members_schedule(const WhSet *set, Oid relid, int64 head, bool all);

/* wh_members_note registers a partition that was just made, where its parent is a set. */
extern void wh_members_note(const WhSet *set, Oid relid, int64 lo, int64 hi);

/* wh_members_next names the step after a state, NULL for none, and when it is due (DT_NOEND: not
 * known yet); `kept` says that nothing may be taken away. */
extern const char *wh_members_next(const WhSet *set, const char *state, bool kept, int64 hi,
								   int64 head, TimestampTz now, TimestampTz *due);

/* wh_members_head returns the greatest key of a set without time; PG_INT64_MIN: no row. */
extern int64 wh_members_head(const WhSet *set, List *ranges);

/* wh_members_leaves lists the tables that hold the rows of a partition, attached or not: its
 * OIDs. */
extern WhRows *wh_members_leaves(Oid relid);

/* -------- make.c: new partitions -------- */

typedef struct WhNewPartition
{
	char *name;
	int64 lo;
	int64 hi;
} WhNewPartition;

/* wh_make_wanted lists what a set lacks at an instant, and says when it will lack the next. */
extern List *wh_make_wanted(const WhSet *set, List *ranges, int64 head, TimestampTz now,
							TimestampTz *next);
/* wh_make_lead returns where the partitions that follow upon each other from `position` end. */
extern int64 wh_make_covered_to(List *ranges, int64 position);
/* wh_make_bucket appends what is missing of the bucket that a position is in. */
extern List *wh_make_bucket(const WhSet *set, List *ranges, int64 position, List *wanted);
/* wh_make_one makes one partition in the caller's transaction, which should be short. */
extern void wh_make_one(const WhSet *set, const WhNewPartition *partition);
/* wh_make_table makes the table of one, and gives the statement that attaches it. */
extern Oid wh_make_table(const WhSet *set, const WhNewPartition *partition, char **attach);
/* The statements of it, for those who look. */
extern char *wh_make_sql(const WhSet *set, const WhNewPartition *partition);
/* wh_make_free_name is base || suffix, or a name like it that a table in the schema can have. */
extern char *wh_make_free_name(Oid schema, const char *base, const char *suffix);

/* wh_make_horizon gives the bounds within which rows may have partitions made. */
extern void wh_make_horizon(const WhSet *set, List *ranges, TimestampTz now, int64 *from,
							int64 *to);

/* -------- steps.c: one step of one partition -------- */
/* claimed: when the step, as it was claimed, is due again. */
extern void wh_step_run(int32 set_id, Oid relid, const char *step, TimestampTz now,
						TimestampTz claimed);

/* A partition as the register has it. */
typedef struct WhMember
{
	char *state;
	char *hold; /* NULL: none */
	int64 hi;
	bool is_table; /* it is still there */
} WhMember;

/* wh_step_open_set reads a set for a step; raises where it is switched off. */
extern WhSet *wh_step_open_set(int32 set_id);
/* wh_step_read_member reads, and locks, a partition's row; false when it is none of the set any
 * more, or is gone. */
extern bool wh_step_read_member(const WhSet *set, Oid relid, bool locks, WhMember *member);
/* wh_step_change_state says in the register what has become of a partition, and what is next. */
extern void wh_step_change_state(const WhSet *set, Oid relid, const char *state,
								 const char *step);
/* wh_step_note writes down what was done. */
extern void wh_step_note(const WhSet *set, const char *step, const char *partition,
						 const char *detail);

/* -------- profile.c: how sealed partitions are kept -------- */
extern void wh_profile_check(const WhSet *set);
/* wh_profile_open_indexes lists the statements that give a new table what open partitions have. */
extern List *wh_profile_open_indexes(const WhSet *set, const char *schema, const char *name);
/* wh_profile_statements lists what a partition lacks to be as the profile says, in order. */
extern List *wh_profile_statements(const WhSet *set, Oid relid);
/* wh_profile_move lists what a detached table gets when it is moved. */
extern List *wh_profile_move(const WhSet *set, Oid relid);
extern void wh_profile_run(int32 set_id, Oid relid);

/* -------- archive_file.c: files of archives -------- */
#define WH_ARCHIVE_CHUNK 65536

typedef struct WhArchiveFile WhArchiveFile;

typedef struct WhArchiveSums
{
	int64 rows;
	int64 bytes; /* of the text */
	int64 file_bytes;
	char *digest; /* SHA-256 of the text */
	char *file_digest;
} WhArchiveSums;

/* How a file's name ends: by what is in it. */
extern const char *wh_archive_suffix(void);
/* wh_archive_create begins a file, in the place of one that has the name; NULL: digests alone are
 * taken. */
extern WhArchiveFile *wh_archive_create(const char *path);
extern void wh_archive_write(WhArchiveFile *file, const char *data, size_t size);
extern void wh_archive_end_line(WhArchiveFile *file);
/* wh_archive_write_plain writes a small file at once, uncompressed. */
extern void wh_archive_write_plain(const char *path, const char *text);
extern WhArchiveFile *wh_archive_open(const char *path);
/* wh_archive_read gives up to WH_ARCHIVE_CHUNK bytes of the text; 0: its end. */
extern int wh_archive_read(WhArchiveFile *file, char *data);
/* wh_archive_finish has what was written on disk, closes the file, and tells what has passed. */
extern void wh_archive_finish(WhArchiveFile *file, WhArchiveSums *sums);

/* -------- archive.c: partitions as files -------- */
extern char *wh_archive_directory;
extern void wh_archive_init(void);
extern void wh_archive_check(const WhSet *set);
extern void wh_archive_run(int32 set_id, Oid relid);
/* wh_archive_holds says whether a table is what its archive says, and the file is good; else the
 * archive is forgotten, and made anew. */
extern bool wh_archive_holds(const WhSet *set, Oid relid);
extern bool wh_archive_is_good(const char *file, const char *file_digest);
/* The path of an archive's file. */
extern char *wh_archive_path(const char *file);

/* -------- toplevel.c -------- */
extern void wh_toplevel_init(void);
/* wh_toplevel_run runs a statement that must be one of its own, as a role, in transactions of its
 * own. */
extern void wh_toplevel_run(Oid role, const char *sql);
/* The same for a statement that waits for old transactions while nobody waits for it. */
extern void wh_toplevel_run_patiently(Oid role, const char *sql);
/* wh_toplevel_begin and wh_toplevel_commit enclose a transaction of walhouse's process; what is
 * allocated lives in PortalContext, and so beyond it. */
extern void wh_toplevel_begin(void);
extern void wh_toplevel_commit(void);
/* wh_toplevel_point is a place where a test may have the process stand still. */
extern void wh_toplevel_point(const char *name);

extern char *wh_partition_debug_point;
extern int wh_partition_lock_timeout; /* ms */

#endif /* WH_PARTITION_PRIVATE_H */
