/*
 * copied.c
 *		Changes of a table that is copied by chunks while the stream goes on.
 *
 * The mirror has a part of the rows, and each that it has is what the source has at the feed's
 * position; decision 0036 says why.  So a change puts its row there, whether it was there before
 * or not, and takes it away.  Nothing is logged: the log begins where the copy ends.
 *
 * A chunk brings the rows that the mirror lacks, as its snapshot sees them.  It lacks a row, too,
 * that a source transaction has deleted whose commit is in the stream, and which the snapshot
 * does not see yet.  So the keys that changes take away stay in walhouse.feed_copy_key, with the
 * xid, until a chunk's snapshot has seen that transaction: all later ones do.
 *
 * A change without all values (TOAST that did not change is not sent) of a row that is not here
 * yet cannot be kept.  Its key is owed: a chunk may not bring the row while it does not see the
 * change. One that sees it may; and since the change may have moved the row to blocks that were
 * read before, the key is read by itself, too.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "copy/copy_private.h"

#define OWED_AT_A_TIME 200
#define KEY_OVERHEAD 400 /* bytes that a key takes in memory, beside itself */

struct WhCopied
{
	const WhTarget *target;
	WhKeymap *map;
	WhAppend *keys; /* walhouse.feed_copy_key */
	uint32 xid; /* of the change at work, and where its transaction ends */
	XLogRecPtr end_lsn;
};

static void take_away(WhCopied *copied, const WhImage *image);
static void put(WhCopied *copied, WhImage *after, const WhImage *was);
static bool fill(WhImage *after, const WhImage *was, int natts);
static void note_key(WhCopied *copied, const WhImage *image, bool owed);
static Datum key_array(const WhTarget *target, const WhImage *image);
static WhRows *read_keys(const WhFeedTable *table, const WhUnseen *unseen,
						 const char *condition);
static bool is_unseen(const WhUnseen *unseen, uint32 xid);
static void check_size(const WhFeedTable *table, const WhUnseen *unseen);
static WhImage *key_image(const WhTarget *target, List *key);
static Datum unseen_array(const WhFeedTable *table, const WhUnseen *unseen);
static Datum tid_array(List *read);

WhCopied *
wh_copied_open(const WhTarget *target, WhKeymap *map)
{
	WhCopied *copied = palloc(sizeof(WhCopied));

	copied->target = target;
	copied->map = map;
	copied->keys = wh_changelog_append_open(wh_catalog_relid("feed_copy_key"));
	return copied;
}

void
wh_copied_flush(WhCopied *copied)
{
	wh_changelog_append_flush(copied->keys);
}

void
wh_copied_close(WhCopied *copied)
{
	wh_changelog_append_close(copied->keys);
}

void
wh_copied_apply(WhCopied *copied, uint32 xid, XLogRecPtr end_lsn, WhImage *after, WhImage *before,
				bool before_is_whole)
{
	bool moved = before != NULL && after != NULL &&
				 !wh_keymap_same_key(copied->map, before, after);
	WhImage *was = NULL;

	copied->xid = xid;
	copied->end_lsn = end_lsn;
	if (after == NULL || moved)
		was = wh_keymap_find(copied->map, before, false, copied->end_lsn)->image;
	else
		was = wh_keymap_find(copied->map, after, false, copied->end_lsn)->image;
	if (was == NULL && before_is_whole)
		was = before;
	if (after == NULL || moved)
		take_away(copied, before);
	if (after != NULL)
		put(copied, after, was);
}

static void
take_away(WhCopied *copied, const WhImage *image)
{
	WhRow *row = wh_keymap_find(copied->map, image, false, copied->end_lsn);

	row->image = NULL;
	row->is_changed = true;
	note_key(copied, image, false);
}

static void
put(WhCopied *copied, WhImage *after, const WhImage *was)
{
	WhRow *row = wh_keymap_find(copied->map, after, false, copied->end_lsn);

	row->is_changed = true;
	row->image = NULL;
	if (fill(after, was, copied->target->desc->natts))
		row->image = after;
	else
		note_key(copied, after, true);
}

/* fill takes values that were not sent from the row as it was; false when it is not known. */
static bool
fill(WhImage *after, const WhImage *was, int natts)
{
	for (int i = 0; after->unchanged != NULL && i < natts; i++)
	{
		if (!after->unchanged[i])
			continue;
		if (was == NULL)
			return false;
		after->values[i] = was->values[i];
		after->nulls[i] = was->nulls[i];
	}
	after->unchanged = NULL;
	return true;
}

void
wh_copied_truncate(WhCopied *copied)
{
	const WhFeedTable *table = copied->target->table;
	WhArg args[] = {WH_ARG_INT4(table->feed_id), WH_ARG_OID(table->source_relid)};

	wh_copied_flush(copied);
	wh_catalog_execute("UPDATE walhouse.feed_copy SET all_read = true WHERE feed_id = $1 AND"
					   " source_relid = $2",
					   2, args);
	wh_catalog_execute("DELETE FROM walhouse.feed_copy_key WHERE feed_id = $1 AND source_relid ="
					   " $2",
					   2, args);
}

/* -------- keys -------- */

static void
note_key(WhCopied *copied, const WhImage *image, bool owed)
{
	const WhFeedTable *table = copied->target->table;
	TupleTableSlot *slot = wh_changelog_append_next(copied->keys);
	Datum *values = slot->tts_values;

	memset(slot->tts_isnull, false, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	values[0] = Int32GetDatum(table->feed_id);
	values[1] = ObjectIdGetDatum(table->source_relid);
	values[2] = Int64GetDatum((int64) copied->xid);
	values[3] = BoolGetDatum(owed);
	values[4] = key_array(copied->target, image);
	wh_changelog_append_done(copied->keys);
}

static Datum
key_array(const WhTarget *target, const WhImage *image)
{
	Datum *elements = palloc(sizeof(Datum) * target->nkeys);

	for (int i = 0; i < target->nkeys; i++)
	{
		int attno = target->key[i];
		Oid output;
		bool is_varlena;

		getTypeOutputInfo(TupleDescAttr(target->desc, attno)->atttypid, &output, &is_varlena);
		elements[i] =
			CStringGetTextDatum(OidOutputFunctionCall(output, image->values[attno]));
	}
	return PointerGetDatum(
		construct_array(elements, target->nkeys, TEXTOID, -1, false, TYPALIGN_INT));
}

static bool
is_unseen(const WhUnseen *unseen, uint32 xid)
{
	if ((int32) (xid - unseen->xmax) >= 0)
		return true;
	for (int i = 0; i < unseen->count; i++)
	{
		if (unseen->xids[i] == xid)
			return true;
	}
	return false;
}

/* read_keys reads key and ctid of those keys of a table that meet a condition over $3, the
 * transactions that a snapshot does not see. */
static WhRows *
read_keys(const WhFeedTable *table, const WhUnseen *unseen, const char *condition)
{
	WhArg args[] = {WH_ARG_INT4(table->feed_id),
					WH_ARG_OID(table->source_relid),
					{INT8ARRAYOID, unseen_array(table, unseen), false}};

	return wh_catalog_query(
		wh_sql("SELECT key, ctid FROM walhouse.feed_copy_key WHERE feed_id = $1 AND source_relid ="
			   " $2 AND %s",
			   condition),
		3, args);
}

void
wh_copied_mark(const WhTarget *target, WhKeymap *map, const WhUnseen *unseen)
{
	WhRows *rows;

	check_size(target->table, unseen);
	rows = read_keys(target->table, unseen, "xid = ANY ($3)");
	for (uint64 i = 0; i < rows->count; i++)
	{
		bool isnull;
		List *key = wh_copied_key_list(wh_rows_datum(rows, i, 1, &isnull));

		wh_keymap_find(map, key_image(target, key), true, WH_COPIED_MARK)->touched =
			WH_COPIED_MARK;
	}
	wh_keymap_reset_to_touched(map, WH_COPIED_MARK);
}

/* check_size raises where the keys that a snapshot does not see would take more memory than there
 * is to be: soon another one sees the transactions that took them away. */
static void
check_size(const WhFeedTable *table, const WhUnseen *unseen)
{
	WhArg args[] = {WH_ARG_INT4(table->feed_id),
					WH_ARG_OID(table->source_relid),
					{INT8ARRAYOID, unseen_array(table, unseen), false}};
	WhRows *rows = wh_catalog_query(
		wh_sql("SELECT COALESCE(pg_catalog.sum(pg_catalog.pg_column_size(key) + %d), 0)"
			   "::pg_catalog.int8 FROM walhouse.feed_copy_key WHERE feed_id = $1 AND"
			   " source_relid = $2 AND xid = ANY ($3)",
			   KEY_OVERHEAD),
		lengthof(args), args);

	if (wh_rows_int8(rows, 0, 1) > (int64) wh_feed_memory * 1024)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("a snapshot of the source does not see yet that many rows of table \"%s\" were taken away",
						table->source_name),
				 errdetail("Their keys take more than walhouse.feed_memory.")));
}

/* key_image makes a row of which the key alone is known. */
static WhImage *
key_image(const WhTarget *target, List *key)
{
	WhImage *image = wh_image_create(target->desc->natts);

	memset(image->nulls, true, sizeof(bool) * target->desc->natts);
	for (int i = 0; i < target->nkeys; i++)
	{
		int attno = target->key[i];
		Oid input;
		Oid param;

		getTypeInputInfo(TupleDescAttr(target->desc, attno)->atttypid, &input, &param);
		image->values[attno] = OidInputFunctionCall(input, list_nth(key, i), param, -1);
		image->nulls[attno] = false;
	}
	return image;
}

List *
wh_copied_key_list(Datum array)
{
	Datum *elements;
	int count;
	List *key = NIL;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL,
					  &count);
	for (int i = 0; i < count; i++)
		key = lappend(key, TextDatumGetCString(elements[i]));
	return key;
}

List *
wh_copied_owed(const WhFeedTable *table, const WhUnseen *unseen)
{
	WhRows *rows = read_keys(table, unseen,
							 wh_sql("owed AND xid <> ALL ($3) LIMIT %d", OWED_AT_A_TIME));
	List *owed = NIL;

	for (uint64 i = 0; i < rows->count; i++)
	{
		WhOwed *one = palloc(sizeof(WhOwed));
		bool isnull;

		one->key = wh_copied_key_list(wh_rows_datum(rows, i, 1, &isnull));
		one->tid = wh_rows_datum(rows, i, 2, &isnull);
		owed = lappend(owed, one);
	}
	return owed;
}

void
wh_copied_settle(const WhFeedTable *table, const WhUnseen *unseen, List *read)
{
	WhArg args[] = {WH_ARG_INT4(table->feed_id),
					WH_ARG_OID(table->source_relid),
					{INT8ARRAYOID, unseen_array(table, unseen), false},
					{TIDARRAYOID, tid_array(read), false}};

	wh_catalog_execute("DELETE FROM walhouse.feed_copy_key WHERE feed_id = $1 AND source_relid ="
					   " $2 AND (ctid = ANY ($4) OR NOT owed AND xid <> ALL ($3))",
					   4, args);
}

/* unseen_array has the transactions of a table's keys that a snapshot does not see. */
static Datum
unseen_array(const WhFeedTable *table, const WhUnseen *unseen)
{
	WhArg args[] = {WH_ARG_INT4(table->feed_id), WH_ARG_OID(table->source_relid)};
	WhRows *rows = wh_catalog_query("SELECT DISTINCT xid FROM walhouse.feed_copy_key WHERE feed_id"
									" = $1 AND source_relid = $2",
									2, args);
	Datum *xids = palloc(sizeof(Datum) * (rows->count + 1));
	int count = 0;

	for (uint64 i = 0; i < rows->count; i++)
	{
		int64 xid = wh_rows_int8(rows, i, 1);

		if (is_unseen(unseen, (uint32) xid))
			xids[count++] = Int64GetDatum(xid);
	}
	return PointerGetDatum(construct_array(xids, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
										   TYPALIGN_DOUBLE));
}

static Datum
tid_array(List *read)
{
	Datum *tids = palloc(sizeof(Datum) * (list_length(read) + 1));
	int count = 0;

	foreach_ptr(WhOwed, one, read)
		tids[count++] = one->tid;
	return PointerGetDatum(construct_array(tids, count, TIDOID, sizeof(ItemPointerData), false,
										   TYPALIGN_SHORT));
}
