/*
 * relation.c
 *		What the stream said of a table, in the form that the changelog room compares.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "base/base.h"
#include "feed/feed_private.h"
#include "wire/walhouse.pb-c.h"

static char *type_detail(const Walhouse__V1__Relation *relation,
						 const Walhouse__V1__Column *column);
static List *identity_key(const Walhouse__V1__Relation *relation, const WhFeedTable *table);
static bool same_members(List *a, List *b);
static char *from_utf8(const char *text);

WhSourceTable *
wh_relation_describe(const void *from, const WhFeedTable *table)
{
	static const char *const identities[] = {"", "default", "nothing", "full", "index"};
	const Walhouse__V1__Relation *relation = from;
	WhSourceTable *source = palloc0(sizeof(WhSourceTable));

	source->relid = relation->relid;
	source->schema = from_utf8(relation->namespace_);
	source->name = from_utf8(relation->name);
	for (size_t i = 0; i < relation->n_column; i++)
	{
		const Walhouse__V1__Column *given = relation->column[i];
		WhSourceColumn *column = palloc0(sizeof(WhSourceColumn));

		column->attnum = given->attnum;
		column->name = from_utf8(given->name);
		column->type = given->type_oid;
		column->typmod = given->typmod;
		column->type_schema = from_utf8(given->type_namespace);
		column->type_name = from_utf8(given->type_name);
		column->type_kind = given->type_kind[0];
		column->base_type = given->has_base_type_oid ? given->base_type_oid : InvalidOid;
		if (given->missing_default != NULL)
			column->missing_default = from_utf8(given->missing_default);
		column->type_text = from_utf8(given->type);
		column->type_detail = type_detail(relation, given);
		column->is_not_null = given->not_null;
		column->is_generated = given->has_generated && given->generated;
		source->columns = lappend(source->columns, column);
	}
	source->key = identity_key(relation, table);
	source->identity = identities[relation->identity];
	return source;
}

/* type_detail writes what describe.c reads at the source. */
static char *
type_detail(const Walhouse__V1__Relation *relation, const Walhouse__V1__Column *column)
{
	Oid type = column->has_element_type_oid ? column->element_type_oid : column->type_oid;
	StringInfoData text;

	initStringInfo(&text);
	for (size_t i = 0; i < relation->n_type; i++)
	{
		const Walhouse__V1__TypeDefinition *definition = relation->type[i];

		if (definition->oid != type)
			continue;
		for (size_t j = 0; j < definition->n_label; j++)
			appendStringInfo(&text, "%s%s", j > 0 ? ", " : "",
							 wh_sql_literal(from_utf8(definition->label[j])));
		for (size_t j = 0; j < definition->n_attribute; j++)
			appendStringInfo(&text, "%s%s %s", j > 0 ? ", " : "",
							 wh_sql_identifier(from_utf8(definition->attribute[j]->name)),
							 from_utf8(definition->attribute[j]->type));
	}
	return text.len > 0 ? text.data : NULL;
}

/*
 * identity_key is the key that the stream sends: under FULL every column comes, so that the key
 * stays what it was while its columns are there.
 */
static List *
identity_key(const Walhouse__V1__Relation *relation, const WhFeedTable *table)
{
	List *key = NIL;

	if (relation->identity == WALHOUSE__V1__REPLICA_IDENTITY__IDENTITY_NOTHING)
		return NIL;
	if (relation->identity == WALHOUSE__V1__REPLICA_IDENTITY__IDENTITY_FULL)
	{
		foreach_int(attnum, table->key)
		{
			bool found = false;

			for (size_t i = 0; i < relation->n_column; i++)
				found = found || relation->column[i]->attnum == attnum;
			if (!found)
				return NIL;
		}
		return table->key;
	}
	for (size_t i = 0; i < relation->n_identity_key; i++)
		key = lappend_int(key, relation->identity_key[i]);
	return same_members(key, table->key) ? table->key : key;
}

static bool
same_members(List *a, List *b)
{
	return list_difference_int(a, b) == NIL && list_difference_int(b, a) == NIL;
}

static char *
from_utf8(const char *text)
{
	return pstrdup(pg_any_to_server(text, strlen(text), PG_UTF8));
}
