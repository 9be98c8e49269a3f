/*
 * compare.c
 *		Which columns an update changed.
 *
 * Known only where the source logs the whole old row (replica identity FULL).  Two values are the
 * same when their images are: what record_image_eq says, so that 1.0 and 1.00 differ.  How a
 * value is stored, compressed or out of line, says nothing.
 */
#include "output/output_private.h"

#include "access/detoast.h"

static bool is_same(const WhOutputColumn *column, Datum old, Datum new);
static bool is_same_varlena(Datum old, Datum new);

void
wh_output_note_changes(WhOutput *session, WhOutputRelation *relation)
{
	for (int i = 0; i < relation->ncolumns; i++)
	{
		const WhOutputColumn *column = &relation->columns[i];
		int index = column->index;
		bool is_null = relation->nulls[index];

		if (is_null != relation->old_nulls[index] ||
			(!is_null &&
			 !is_same(column, relation->old_values[index], relation->values[index])))
			wh_output_note_attnum(&session->changed, column);
	}
}

static bool
is_same(const WhOutputColumn *column, Datum old, Datum new)
{
	if (column->by_value || old == new)
		return old == new;
	if (column->is_varlena)
		return is_same_varlena(old, new);
	if (column->length > 0)
		return memcmp(DatumGetPointer(old), DatumGetPointer(new), column->length) == 0;
	return strcmp(DatumGetCString(old), DatumGetCString(new)) == 0;
}

static bool
is_same_varlena(Datum old, Datum new)
{
	struct varlena *a = (struct varlena *) DatumGetPointer(old);
	struct varlena *b = (struct varlena *) DatumGetPointer(new);
	bool result;

	/* a new value still where it was is what the update did not touch */
	if (VARATT_IS_EXTERNAL_ONDISK(b))
		return true;
	if (toast_raw_datum_size(old) != toast_raw_datum_size(new))
		return false;
	a = wh_output_plain_varlena(old);
	b = wh_output_plain_varlena(new);
	result = memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
	if (a != (struct varlena *) DatumGetPointer(old) && VARATT_IS_COMPRESSED(DatumGetPointer(old)))
		pfree(a);
	return result;
}
