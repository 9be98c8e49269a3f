/*
 * functions.c
 *		Which expressions a model may use: those whose value is a function of the row, and of
 * settings that loads pin.
 *
 * A recomputation must give what the loads gave (P3).  Immutable functions do; of the stable ones
 * those that look at nothing but TimeZone, DateStyle, IntervalStyle and extra_float_digits, which
 * every load sets.  Reading a date from text is not among them: 'today' is a date, too.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/pg_proc.h"
#include "nodes/nodeFuncs.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "model/model.h"
#include "model/model_private.h"

static bool check_node(Node *node, void *context);
static bool check_function(Oid function, void *context);
static bool stable_is_allowed(Oid function);

typedef struct CheckContext
{
	const WhModelText *text;
	Node *node; /* whose functions are looked at */
} CheckContext;

/* OIDs of stable functions of pg_catalog, which never change between versions; ascending. */
static const Oid allowed_stable[] = {
	384, 395, /* array_to_string */
	751, /* array_out */
	1085, /* date_out */
	1151, /* timestamptz_out */
	1161, /* interval_out */
	1171, /* date_part(text, timestamptz) */
	1174, 1176, /* timestamptz(date), timestamptz(date, time) */
	1178, /* date(timestamptz) */
	1189, 1190, /* timestamptz + interval, - */
	1217, 1284, /* date_trunc of timestamptz */
	1285, 1290, /* quote_literal, quote_nullable */
	1305, 1306, 1307, /* overlaps with intervals */
	1313, /* timestamp_out */
	1388, /* timetz(timestamptz) */
	1768, 1770, 1772, 1773, 1774, 1775, 1776, /* to_char */
	1777, 1778, 1780, /* to_number, to_timestamp, to_date with a format */
	2003, 2004, /* text || anything, anything || text */
	2019, 2027, 2028, /* time, timestamp of timestamptz, timestamptz(timestamp) */
	2047, /* timetz(time) */
	2049, /* to_char(timestamp, text) */
	2291, /* record_out */
	2351, 2352, 2353, 2354, 2355, 2356, 2357, /* date with timestamptz */
	2377, 2378, 2379, 2380, 2381, 2382, 2383, /* timestamptz with date */
	2520, 2521, 2522, 2523, 2524, 2525, 2526, /* timestamp with timestamptz */
	2527, 2528, 2529, 2530, 2531, 2532, 2533, /* timestamptz with timestamp */
	2549, /* interval + timestamptz */
	3058, 3059, /* concat, concat_ws */
	3153, 3154, 3155, 3156, 3176, /* array_to_json, row_to_json, to_json */
	3198, 3199, 3200, 3201, /* json_build_array, json_build_object */
	3271, 3272, 3273, 3274, /* jsonb_build_array, jsonb_build_object */
	3462, 3463, /* make_timestamptz */
	3507, /* enum_out */
	3539, 3540, /* format */
	3787, /* to_jsonb */
	3835, /* range_out */
	4232, /* multirange_out */
	6203 /* extract(text, timestamptz) */
};

void
wh_model_check_expressions(const WhModelText *text, Query *query)
{
	CheckContext context = {text, NULL};

	(void) check_node((Node *) query->targetList, &context);
	(void) check_node((Node *) query->jointree, &context);
	if (query->hasTargetSRFs)
		wh_model_refuse(text, "a function that returns a set", -1,
						"Each row must come from one source row.");
}

/* check_node raises for what cannot be kept current; it returns false, so that the walk goes on. */
static bool
check_node(Node *node, void *context)
{
	CheckContext *check = context;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Aggref:
		case T_GroupingFunc:
			wh_model_refuse(
				check->text, "an aggregate", exprLocation(node),
				"Each row must come from one source row; aggregate in a query over the model.");
		case T_WindowFunc:
			wh_model_refuse(
				check->text, "a window function", exprLocation(node),
				"Each row must come from one source row; use it in a query over the model.");
		case T_SubLink:
			wh_model_refuse(check->text, "a subquery", exprLocation(node),
							"Use columns of the row alone.");
		case T_SQLValueFunction:
			wh_model_refuse(check->text,
							"CURRENT_DATE, CURRENT_TIMESTAMP, CURRENT_USER and their kin",
							exprLocation(node),
							"Use columns of the row; valid_from has the time of a change.");
		case T_NextValueExpr:
			wh_model_refuse(check->text, "a sequence", -1, "Use columns of the row alone.");
		case T_Var:
		{
			Var *var = (Var *) node;

			if (var->varattno == InvalidAttrNumber)
				wh_model_refuse(check->text, "a whole row", var->location, "Name the columns.");
			if (var->varattno < 0)
				wh_model_refuse(check->text, "a system column", var->location,
								"Use the columns of the source table.");
			return false;
		}
		default:
			break;
	}
	check->node = node;
	(void) check_functions_in_node(node, check_function, context);
	return expression_tree_walker(node, check_node, context);
}

static bool
check_function(Oid function, void *context)
{
	CheckContext *check = context;
	char volatility = func_volatile(function);
	char *name = get_func_name(function);

	if (get_func_retset(function))
		wh_model_refuse(check->text, psprintf("function %s, which returns a set", name),
						exprLocation(check->node), "Each row must come from one source row.");
	if (volatility == PROVOLATILE_VOLATILE)
		wh_model_refuse(
			check->text, psprintf("volatile function %s", name), exprLocation(check->node),
			"Only functions that give the same result for the same row, always, can be "
			"recomputed.");
	if (volatility == PROVOLATILE_STABLE && !stable_is_allowed(function))
		wh_model_refuse(
			check->text, psprintf("stable function %s", name), exprLocation(check->node),
			"Its result may change while the row does not. Use an immutable function; to read "
			"dates from text, "
			"to_date or to_timestamp with a format.");
	return false;
}

static bool
stable_is_allowed(Oid function)
{
	for (int i = 0; i < lengthof(allowed_stable); i++)
		if (allowed_stable[i] == function)
			return true;
	return false;
}
