/*
 * names.c
 *		Names that walhouse makes, and names that users give.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "nodes/value.h"
#include "utils/regproc.h"

#include "base/base.h"

char *
wh_name(const char *base, const char *suffix)
{
	size_t base_len = strlen(base);
	size_t suffix_len = strlen(suffix);
	uint32 hash;
	int kept;

	if (base_len + suffix_len < NAMEDATALEN)
		return psprintf("%s%s", base, suffix);
	hash = hash_bytes((const unsigned char *) base, base_len);
	kept = pg_mbcliplen(base, base_len, NAMEDATALEN - 1 - suffix_len - 9);
	return psprintf("%.*s_%08x%s", kept, base, hash, suffix);
}

void
wh_name_parse(const char *name, char **schema, char **relation)
{
	List *parts = wh_compat_qualified_name_list(name);

	if (list_length(parts) > 2)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("improper qualified name (too many dotted names): %s", name)));
	*schema = list_length(parts) == 2 ? strVal(linitial(parts)) : NULL;
	*relation = strVal(llast(parts));
}
