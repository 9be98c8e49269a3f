/*
 * dimension_private.h
 *		What the files of dimension/ share.
 */
#ifndef WH_DIMENSION_PRIVATE_H
#define WH_DIMENSION_PRIVATE_H

#include "dimension/dimension.h"

/* The surrogate key of the unknown member. */
#define WH_UNKNOWN_SK "-1"

/* -------- dimension.c -------- */

/* The name of the surrogate key column, as it was at declaration. */
extern char *wh_dimension_sk(const WhModel *model);

/* The columns of one SCD type; type 1 has the key columns too, for their image is that of the
 * last row. */
extern List *wh_dimension_columns_of_type(const WhModel *model, int type);

/* -------- load.c -------- */
extern void wh_dimension_build(WhModel *model, WhLoad *load, WhCounts *counts);
extern void wh_dimension_load(WhModel *model, WhLoad *load, WhCounts *counts);

/* -------- verify.c, date.c -------- */
extern void wh_dimension_verify(WhModel *model, WhVerdict *verdict);
extern void wh_dimension_date_verify(WhModel *model, WhVerdict *verdict);
extern void wh_dimension_date_lookup_sql(StringInfo sql, const WhModel *dimension, const char *key);
extern void wh_dimension_date_infer_sql(StringInfo sql, const WhModel *dimension,
										const char *keys_query, int64 load_id);

#endif /* WH_DIMENSION_PRIVATE_H */
