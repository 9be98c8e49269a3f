/*
 * swap.c
 *		Models that are built to take the place of others take it.
 *
 * When all of an alteration are live and where the other models of the feed are, one transaction
 * renames what was to <name>__old and what is built to <name>, with all that is called after them,
 * gives it the privileges, and makes the views of others anew.  It holds the feed's state lock, so
 * nothing moves meanwhile and readers see one state before and after (P2); it waits for readers of
 * the tables no longer than SWAP_WAIT, and is tried again later when it does not get there, with
 * the reason in walhouse.alteration.
 *
 * A crash before the commit leaves everything as it was, and the next load tries again.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "evolve/evolve_private.h"
#include "load/load.h"

/* How long readers of a table wait behind a swap that does not come about, at most. */
#define SWAP_WAIT "500ms"

/* When it is tried again: behind a reader, and after any other error. */
#define BUSY_PAUSE "5 s"
#define OTHER_PAUSE "5 min"

/* Alterations whose models are all built, and whose turn it is.  Asked after each load, it begins
 * with those under way, of which there are few or none. */
#define DUE \
	"SELECT a.alteration_id FROM walhouse.alteration a CROSS JOIN LATERAL (SELECT n.feed_id," \
	" n.state, n.paused FROM walhouse.model n WHERE n.model_id = a.next_id OFFSET 0) n" \
	" WHERE a.swapped IS NULL AND n.feed_id = $1 GROUP BY a.alteration_id" \
	" HAVING pg_catalog.bool_and(n.state = 'live' AND n.paused IS NULL AND a.next_try <=" \
	" pg_catalog.clock_timestamp())"

/* One alteration while it is swapped. */
typedef struct Swap
{
	int32 id;
	List *pairs; /* of Pair * */
	WhRows *views; /* of others: name, owner, statement */
	const char *view; /* the one that is being made */
} Swap;

typedef struct Pair
{
	WhModel *was;
	WhModel *becomes;
} Pair;

static bool is_due(int32 feed_id);
static void work(int32 feed_id);
static void swap(int32 feed_id, int32 alteration_id);
static void note_error(const Swap *swap, const ErrorData *error);
static bool is_ready(int32 feed_id, int32 alteration_id);
static void swap_body(void *arg);
static bool follow_horizons(const Swap *swap);
static void find_pairs(Swap *swap);
static char *ids_of(const Swap *swap, bool next);
static void swap_pair(const Pair *pair);
static void take_surrogate_key(const Pair *pair);
static void take_grants(const Pair *pair);
static void take_references(const Pair *pair);
static void make_views(Swap *swap);

static const WhAfterLoad after_load = {is_due, work};

void
wh_evolve_swap_init(void)
{
	wh_load_set_after(&after_load);
}

static bool
is_due(int32 feed_id)
{
	return wh_catalog_query(DUE, 1, (WhArg[]){WH_ARG_INT4(feed_id)})->count > 0;
}

static void
work(int32 feed_id)
{
	WhRows *rows = wh_catalog_query(DUE, 1, (WhArg[]){WH_ARG_INT4(feed_id)});

	for (uint64 i = 0; i < rows->count; i++)
		swap(feed_id, wh_rows_int4(rows, i, 1));
	wh_txn_commit();
}

/* swap lets the models of an alteration take the place of others, or notes why not; commits. */
static void
swap(int32 feed_id, int32 alteration_id)
{
	MemoryContext caller = CurrentMemoryContext;
	Swap it = {alteration_id};
	ErrorData *error;

	wh_lock_state(feed_id);
	if (is_ready(feed_id, alteration_id) && !wh_txn_try(swap_body, &it, &error))
		note_error(&it, error);
	wh_txn_commit();
	MemoryContextSwitchTo(caller);
}

static void
note_error(const Swap *swap, const ErrorData *error)
{
	bool is_busy = error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
	char *text = swap->view == NULL ? pstrdup(error->message) :
									  psprintf("%s: %s", swap->view, error->message);

	wh_catalog_execute("UPDATE walhouse.alteration SET error = $2, error_time ="
					   " pg_catalog.clock_timestamp(), next_try = pg_catalog.clock_timestamp() +"
					   " $3::pg_catalog.interval WHERE alteration_id = $1",
					   3,
					   (WhArg[]){WH_ARG_INT4(swap->id), WH_ARG_TEXT(text),
								 WH_ARG_TEXT(is_busy ? BUSY_PAUSE : OTHER_PAUSE)});
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("walhouse could not let altered models take their place: %s", text)));
}

/* is_ready says, under the state lock, that the next models are where all current ones are. */
static bool
is_ready(int32 feed_id, int32 alteration_id)
{
	WhArg args[] = {WH_ARG_INT4(feed_id), WH_ARG_INT4(alteration_id)};

	return wh_rows_bool(
		wh_catalog_query(
			"SELECT COALESCE(pg_catalog.min(c.position) FILTER (WHERE a.next_id IS NOT NULL) >="
			" pg_catalog.max(c.position) AND pg_catalog.count(a.next_id) = (SELECT"
			" pg_catalog.count(*) FROM walhouse.alteration x WHERE x.alteration_id = $2), false)"
			" FROM walhouse.current_model c LEFT JOIN walhouse.alteration a ON a.next_id ="
			" c.model_id AND a.alteration_id = $2 WHERE c.feed_id = $1",
			2, args),
		0, 1);
}

static void
swap_body(void *arg)
{
	Swap *swap = arg;
	int level = wh_settings_push_writes();

	(void) set_config_option("lock_timeout", SWAP_WAIT, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	find_pairs(swap);
	swap->views = wh_catalog_query(
		wh_sql(
			"SELECT v.view::pg_catalog.regclass::pg_catalog.text, v.owner, v.statement FROM "
			"walhouse.alter_views('{%s}', '{%s}') v",
			ids_of(swap, false), ids_of(swap, true)),
		0, NULL);
	if (follow_horizons(swap))
	{
		foreach_ptr(Pair, pair, swap->pairs)
			swap_pair(pair);
		make_views(swap);
		wh_catalog_execute("UPDATE walhouse.alteration SET swapped = pg_catalog.now(), error ="
						   " NULL, error_time = NULL WHERE alteration_id = $1",
						   1, (WhArg[]){WH_ARG_INT4(swap->id)});
	}
	wh_settings_pop(level);
}

/* follow_horizons says whether all facts begin where the ones begin whose place they take. */
static bool
follow_horizons(const Swap *swap)
{
	bool has_followed = true;

	foreach_ptr(Pair, pair, swap->pairs)
	{
		if (pair->was->kind == WH_MODEL_FACT &&
			!wh_load_follow_horizon(pair->was, pair->becomes))
			has_followed = false;
	}
	return has_followed;
}

static void
find_pairs(Swap *swap)
{
	WhRows *rows = wh_catalog_query("SELECT a.model_id, a.next_id FROM walhouse.alteration a WHERE"
									" a.alteration_id = $1 ORDER BY a.next_id",
									1, (WhArg[]){WH_ARG_INT4(swap->id)});

	for (uint64 i = 0; i < rows->count; i++)
	{
		Pair *pair = palloc(sizeof(Pair));

		pair->was = wh_model_get_by_id(wh_rows_int4(rows, i, 1));
		pair->becomes = wh_model_get_by_id(wh_rows_int4(rows, i, 2));
		swap->pairs = lappend(swap->pairs, pair);
	}
}

static char *
ids_of(const Swap *swap, bool next)
{
	StringInfoData ids;

	initStringInfo(&ids);
	foreach_ptr(Pair, pair, swap->pairs)
		appendStringInfo(&ids, "%s%d", ids.len > 0 ? "," : "",
						 next ? pair->becomes->id : pair->was->id);
	return ids.data;
}

/* swap_pair lets one model take the name of another, as the owner of both. */
static void
swap_pair(const Pair *pair)
{
	WhUser saved;

	wh_user_become(pair->was->owner, &saved);
	wh_evolve_rename(pair->was, wh_name(pair->was->short_name, "__old"));
	wh_evolve_rename(pair->becomes, pair->was->short_name);
	if (pair->was->kind == WH_MODEL_DIMENSION)
		take_surrogate_key(pair);
	take_grants(pair);
	wh_user_restore(&saved);
	if (pair->was->kind == WH_MODEL_FACT)
		wh_load_hand_over(pair->was, pair->becomes);
	take_references(pair);
}

/* take_surrogate_key calls the surrogate key what it was called, also in what stands beside. */
static void
take_surrogate_key(const Pair *pair)
{
	char *is = wh_dimension_sk(pair->becomes);
	char *was = wh_dimension_sk(pair->was);

	if (strcmp(is, was) == 0)
		return;
	foreach_ptr(WhPart, part, wh_evolve_parts(pair->becomes))
	{
		bool is_view = part->relkind == 'v';

		if (part->relkind == 'S')
			wh_spi_execute(wh_sql("ALTER SEQUENCE %T RENAME TO %I", part->relid,
								  wh_name(pair->was->short_name, psprintf("_%s_seq", was))),
						   0, NULL);
		if ((is_view || part->relkind == 'r') && get_attnum(part->relid, is) > 0)
			wh_spi_execute(wh_sql("ALTER %s %T RENAME COLUMN %I TO %I", is_view ? "VIEW" : "TABLE",
								  part->relid, is, was),
						   0, NULL);
	}
	wh_catalog_execute("UPDATE walhouse.model SET options = pg_catalog.jsonb_set(options, '{sk}',"
					   " pg_catalog.to_jsonb($2)) WHERE model_id = $1",
					   2, (WhArg[]){WH_ARG_INT4(pair->becomes->id), WH_ARG_TEXT(was)});
}

/* take_grants grants what was granted on the table, and on what stands beside it. */
static void
take_grants(const Pair *pair)
{
	WhRows *rows = wh_catalog_query(
		"SELECT g FROM (SELECT $2 AS was, $4 AS becomes UNION ALL SELECT o.view, n.view FROM"
		" walhouse.model_view o JOIN walhouse.model_view n ON n.purpose = o.purpose WHERE"
		" o.model_id = $1 AND n.model_id = $3) r"
		" CROSS JOIN LATERAL walhouse.alter_grants(r.was, r.becomes) g",
		4,
		(WhArg[]){WH_ARG_INT4(pair->was->id), WH_ARG_REGCLASS(pair->was->relid),
				  WH_ARG_INT4(pair->becomes->id), WH_ARG_REGCLASS(pair->becomes->relid)});

	for (uint64 i = 0; i < rows->count; i++)
		wh_spi_execute(wh_rows_text(rows, i, 1), 0, NULL);
}

/* take_references has dimensions that look the old one up look up the new one, and leaves the old
 * one where it is. */
static void
take_references(const Pair *pair)
{
	WhArg args[] = {WH_ARG_INT4(pair->was->id), WH_ARG_INT4(pair->becomes->id)};

	wh_catalog_execute("UPDATE walhouse.dimension_reference SET dimension_id = $2 WHERE"
					   " dimension_id = $1 AND model_id NOT IN (SELECT a.model_id FROM"
					   " walhouse.alteration a WHERE a.swapped IS NOT NULL)",
					   2, args);
	wh_catalog_execute("UPDATE walhouse.model SET paused = COALESCE(paused, pg_catalog.now())"
					   " WHERE model_id = $1",
					   1, args);
}

/* make_views makes the views of others anew, as their owners. */
static void
make_views(Swap *swap)
{
	const WhRows *views = swap->views;

	for (uint64 i = 0; i < views->count; i++)
	{
		WhUser saved;

		swap->view = wh_rows_text(views, i, 1);
		wh_user_become(wh_rows_oid(views, i, 2), &saved);
		wh_spi_execute(wh_rows_text(views, i, 3), 0, NULL);
		wh_user_restore(&saved);
	}
}
