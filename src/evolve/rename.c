/*
 * rename.c
 *		walhouse.rename: another name for a model and all that is called after it.
 *
 * ALTER TABLE … RENAME is followed, too, but leaves query, views, partitions and indexes under the
 * old name, which then stands in the way of a new model.  Columns keep their names, the surrogate
 * key's too: reports read them.  One transaction of the caller, under the feed's state lock.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "dimension/dimension.h"
#include "evolve/evolve.h"
#include "evolve/evolve_private.h"

static void rename_one(const WhModel *model, const char *schema, const char *name);

PG_FUNCTION_INFO_V1(walhouse_rename);

void
wh_evolve_init(void)
{
	wh_evolve_swap_init();
}

Datum
walhouse_rename(PG_FUNCTION_ARGS)
{
	WhModel *model = wh_model_get(PG_GETARG_OID(0), false);
	const char *name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	const char *own = get_namespace_name(get_rel_namespace(model->relid));
	char *schema;
	char *relation;
	int level;

	wh_user_check_owner(model->owner, "model", model->name);
	wh_name_parse(name, &schema, &relation);
	if (schema == NULL)
		name = wh_sql("%I.%I", own, relation);
	wh_model_check_name(name, "model", &schema, &relation);
	wh_txn_mark_own();
	wh_model_lock(model);
	level = wh_settings_push_writes();
	rename_one(model, schema, relation);
	if (model->kind == WH_MODEL_MINI)
		rename_one(wh_dimension_history(model), schema, wh_name(relation, "_history"));
	wh_settings_pop(level);
	PG_RETURN_VOID();
}

static void
rename_one(const WhModel *model, const char *schema, const char *name)
{
	if (strcmp(get_namespace_name(get_rel_namespace(model->relid)), schema) != 0)
		wh_evolve_move(model, schema);
	if (strcmp(model->short_name, name) != 0)
		wh_evolve_rename(model, name);
}
