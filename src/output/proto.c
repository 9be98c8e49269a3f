/*
 * proto.c
 *		SQL functions that print .proto files of the rows that this plugin sends.
 *
 * walhouse_proto_for and walhouse_proto_for_publication live in this library, so that the code that
 * writes rows also says what they look like.  They read the catalog as their query sees it;
 * nothing is locked longer than it is looked at.  Field names are those of the descriptors in the
 * stream.
 */
#include "output/publish_private.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_publication.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "base/base.h"

PG_FUNCTION_INFO_V1(walhouse_proto_for);
PG_FUNCTION_INFO_V1(walhouse_proto_for_publication);

/* A table to print, beside its WhWireProto. */
typedef struct ProtoTable
{
	const char *schema;
	const char *name;
	WhWireProto proto;
} ProtoTable;

static WhOutput *create_session(void);
static List *published_relations(const Publication *publication);
static void add_published(WhOutput *session, Oid relid, List **seen, List **tables);
static ProtoTable *read_table(WhOutput *session, Relation relation, const Bitmapset *columns);
static int compare_tables(const ListCell *a, const ListCell *b);
static text *print_tables(const char *package, List *tables);

/* walhouse_proto_for(relation regclass) */
Datum
walhouse_proto_for(PG_FUNCTION_ARGS)
{
	Relation relation = relation_open(PG_GETARG_OID(0), AccessShareLock);
	char kind = relation->rd_rel->relkind;
	WhPublished published = {{false}};
	const char *difference = NULL; /* there is none without publications */
	WhOutput *session = create_session();
	ProtoTable *table;

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", RelationGetRelationName(relation)),
				 errdetail("Only tables have rows in the stream.")));
	table = read_table(session, relation,
					   wh_output_published_columns(session, &published, relation, &difference));
	table->proto.name = table->name;
	relation_close(relation, AccessShareLock);
	PG_RETURN_TEXT_P(print_tables(table->schema, list_make1(table)));
}

/* walhouse_proto_for_publication(publication name) */
Datum
walhouse_proto_for_publication(PG_FUNCTION_ARGS)
{
	char *name = NameStr(*PG_GETARG_NAME(0));
	Publication *publication = GetPublicationByName(name, false);
	WhOutput *session = create_session();
	List *seen = NIL;
	List *tables = NIL;
	ListCell *cell;

	session->options.publications = list_make1(name);
	foreach(cell, published_relations(publication))
		add_published(session, lfirst_oid(cell), &seen, &tables);
	list_sort(tables, compare_tables);
	foreach(cell, tables)
	{
		ProtoTable *table = (ProtoTable *) lfirst(cell);

		table->proto.name = psprintf("%s_%s", table->schema, table->name);
	}
	PG_RETURN_TEXT_P(print_tables(name, tables));
}

/* create_session makes as much of a session as looking at tables takes. */
static WhOutput *
create_session(void)
{
	WhOutput *session = palloc0(sizeof(WhOutput));

	session->context = session->change_context = CurrentMemoryContext;
	session->publication_context = AllocSetContextCreate(
		CurrentMemoryContext, "walhouse publications", ALLOCSET_SMALL_SIZES);
	session->encoding = GetDatabaseEncoding();
	session->options.operations.pubinsert = session->options.operations.pubupdate = true;
	session->options.operations.pubdelete = session->options.operations.pubtruncate = true;
	return session;
}

/* published_relations returns all that may be published, partitioned tables among it. */
static List *
published_relations(const Publication *publication)
{
	if (publication->alltables)
		return GetAllTablesPublicationRelations(publication->pubviaroot);
	return list_concat_unique_oid(
		GetPublicationRelations(publication->oid, PUBLICATION_PART_ALL),
		GetAllSchemaPublicationRelations(publication->oid, PUBLICATION_PART_ALL));
}

/* add_published adds the table that a relation's rows are told as, once. */
static void
add_published(WhOutput *session, Oid relid, List **seen, List **tables)
{
	Relation relation = try_table_open(relid, AccessShareLock);
	Relation target;
	WhPublished published;
	const char *difference = NULL;
	Bitmapset *columns;

	if (relation == NULL)
		return;
	wh_output_find_published(session, relation, &published);
	table_close(relation, AccessShareLock);
	if (!wh_output_is_published(&published.actions) || list_member_oid(*seen, published.told_as))
		return;
	*seen = lappend_oid(*seen, published.told_as);
	target = try_table_open(published.told_as, AccessShareLock);
	if (target == NULL)
		return;
	columns = wh_output_published_columns(session, &published, target, &difference);
	wh_output_check_difference(difference, published.told_as);
	*tables = lappend(*tables, read_table(session, target, columns));
	table_close(target, AccessShareLock);
}

static ProtoTable *
read_table(WhOutput *session, Relation relation, const Bitmapset *columns)
{
	TupleDesc desc = RelationGetDescr(relation);
	ProtoTable *table = palloc0(sizeof(ProtoTable));
	WhWireField *fields = palloc0(sizeof(WhWireField) * Max(desc->natts, 1));
	const char **comments = palloc0(sizeof(char *) * Max(desc->natts, 1));

	table->schema = get_namespace_name(RelationGetNamespace(relation));
	table->name = pstrdup(RelationGetRelationName(relation));
	table->proto.comment = wh_sql("Rows of %I.%I; field numbers are attnums.", table->schema,
								  table->name);
	table->proto.fields = fields;
	table->proto.comments = comments;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		WhOutputColumn column = {0};
		int field = table->proto.nfields;

		if (!bms_is_member(attribute->attnum, columns))
			continue;
		wh_output_compile_column(&column, attribute);
		fields[field].attnum = attribute->attnum;
		fields[field].kind = column.kind;
		fields[field].element_kind = column.element != NULL ? column.element->kind : 0;
		fields[field].name = pstrdup(wh_output_utf8_name(session, NameStr(attribute->attname)));
		comments[field] =
			wh_sql("%I %s", NameStr(attribute->attname),
				   format_type_with_typemod(attribute->atttypid, attribute->atttypmod));
		table->proto.nfields++;
	}
	return table;
}

static int
compare_tables(const ListCell *a, const ListCell *b)
{
	const ProtoTable *x = (const ProtoTable *) lfirst(a);
	const ProtoTable *y = (const ProtoTable *) lfirst(b);
	int order = strcmp(x->schema, y->schema);

	return order != 0 ? order : strcmp(x->name, y->name);
}

static text *
print_tables(const char *package, List *tables)
{
	WhWireProto *protos = palloc(sizeof(WhWireProto) * Max(list_length(tables), 1));
	StringInfoData out;
	ListCell *cell;

	initStringInfo(&out);
	foreach(cell, tables)
		protos[foreach_current_index(cell)] = ((ProtoTable *) lfirst(cell))->proto;
	wh_wire_append_proto(&out, package, protos, list_length(tables));
	return cstring_to_text_with_len(out.data, out.len);
}
