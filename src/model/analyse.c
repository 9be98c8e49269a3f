/*
 * analyse.c
 *		A model's query: parse, refuse what cannot be kept current, compile the rest.
 *
 * The text is analysed by PostgreSQL's own parser, with the caller's search_path and rights, as
 * CREATE VIEW would.  The shape is judged on the raw tree, where every clause still knows its
 * place in the text; functions, columns and types on the analysed one.  Refusals name the
 * construct, point at it, and say what to do.
 *
 * Compiled, each column is an expression over the alias "s" (join.c: over s1, s2, …), deparsed
 * with nothing but pg_catalog in the search_path, so that every other name is qualified.  A stored
 * model is compiled from its view by the same function, so a rename of a mirror's column or of a
 * function is followed by itself.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "base/base.h"
#include "model/model.h"
#include "model/model_private.h"

static Query *analyse(WhModelText *text, List **relations);
static void check_shape(WhModelText *text, SelectStmt *select, List **relations);
static void check_from(WhModelText *text, SelectStmt *select, List **relations);
static void check_from_item(WhModelText *text, Node *item, List **relations);
static void check_mirrors(WhModelText *text, Query *query, List *relations);
static void check_mirror(WhModelText *text, RangeTblEntry *rte, int location);
static void check_row_security(Oid relid);
static void check_columns(WhModelText *text, Query *query);
static void check_type(WhModelText *text, TargetEntry *entry);
static bool column_name_is_reserved(const char *name);
static void compile_one(WhQuery *result, Query *query, int varno);
static char *deparse(Node *node, int varno, Oid relid);

WhQuery *
wh_model_analyse(const char *query, const char *what)
{
	WhModelText text = {query, what};
	ErrorContextCallback callback = {error_context_stack, wh_model_position_callback, &text};
	List *relations = NIL;
	Query *analysed;
	WhQuery *result;

	error_context_stack = &callback;
	analysed = analyse(&text, &relations);
	check_mirrors(&text, analysed, relations);
	wh_model_check_expressions(&text, analysed);
	check_columns(&text, analysed);
	error_context_stack = callback.previous;

	result = wh_model_compile(analysed);
	result->text = pstrdup(query);
	if (result->join != NULL)
	{
		ListCell *alias;
		ListCell *relation;

		forboth(alias, result->join->aliases, relation, relations)
			((WhJoinAlias *) lfirst(alias))->location = ((RangeVar *) lfirst(relation))->location;
	}
	return result;
}

int
wh_model_position(const WhModelText *text, int location)
{
	if (location < 0)
		return 0;
	return errposition(pg_mbstrlen_with_len(text->query, location) + 1);
}

void
wh_model_refuse(const WhModelText *text, const char *construct, int location, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("the query of a %s cannot be kept current with %s", text->what, construct),
			 hint == NULL ? 0 : errhint("%s", hint),
			 wh_model_position(text, location)));
}

void
wh_model_position_callback(void *arg)
{
	WhModelText *text = arg;
	int position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(text->query);
	}
}

/* analyse returns the analysed query of a text that has the shape of a model's, and what its FROM
 * names (RangeVar *), from left to right. */
static Query *
analyse(WhModelText *text, List **relations)
{
	List *statements = raw_parser(text->query, RAW_PARSE_DEFAULT);
	RawStmt *statement;

	if (list_length(statements) != 1)
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
						errmsg("the query of a %s must be one SELECT, not %d statements",
							   text->what, list_length(statements))));
	statement = linitial_node(RawStmt, statements);
	if (!IsA(statement->stmt, SelectStmt))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the query of a %s must be a SELECT", text->what)));
	check_shape(text, castNode(SelectStmt, statement->stmt), relations);
	return parse_analyze_fixedparams(statement, text->query, NULL, 0, NULL);
}

/* check_shape refuses clauses that make a row depend on other rows than its own source row. */
static void
check_shape(WhModelText *text, SelectStmt *select, List **relations)
{
	const char *one_row =
		"Each row must come from one source row; aggregate in a query over the model.";

	if (select->withClause != NULL)
		wh_model_refuse(text, "a WITH clause", select->withClause->location,
						"Write the query over the mirror itself.");
	if (select->op != SETOP_NONE)
		wh_model_refuse(text, "UNION, INTERSECT or EXCEPT", -1, "Declare a model for each part.");
	if (select->valuesLists != NIL)
		wh_model_refuse(text, "VALUES", -1, "Select from a mirror.");
	if (select->intoClause != NULL)
		wh_model_refuse(text, "INTO", -1, "Leave it away: walhouse makes the table.");
	if (select->distinctClause != NIL)
		wh_model_refuse(text, "DISTINCT", exprLocation((Node *) select->distinctClause), one_row);
	if (select->groupClause != NIL)
		wh_model_refuse(text, "GROUP BY", exprLocation((Node *) select->groupClause), one_row);
	if (select->havingClause != NULL)
		wh_model_refuse(text, "HAVING", exprLocation(select->havingClause), one_row);
	if (select->windowClause != NIL)
		wh_model_refuse(text, "a WINDOW clause", exprLocation((Node *) select->windowClause),
						one_row);
	if (select->sortClause != NIL)
		wh_model_refuse(text, "ORDER BY", exprLocation((Node *) select->sortClause),
						"Tables have no order; leave it away.");
	if (select->limitCount != NULL || select->limitOffset != NULL)
		wh_model_refuse(
			text, "LIMIT or OFFSET",
			exprLocation(select->limitCount != NULL ? select->limitCount : select->limitOffset),
			"Choose rows by a condition in WHERE.");
	if (select->lockingClause != NIL)
		wh_model_refuse(text, "FOR UPDATE or FOR SHARE", -1, "Leave it away.");
	check_from(text, select, relations);
}

static void
check_from(WhModelText *text, SelectStmt *select, List **relations)
{
	ListCell *cell;

	if (select->fromClause == NIL)
		wh_model_refuse(text, "nothing in FROM", -1,
						"Select from a mirror: a table in the schema of a feed.");
	foreach(cell, select->fromClause)
		check_from_item(text, lfirst(cell), relations);
}

/* check_from_item refuses what is neither a relation nor an inner or left join. */
static void
check_from_item(WhModelText *text, Node *item, List **relations)
{
	JoinExpr *join = (JoinExpr *) item;

	if (IsA(item, RangeVar))
	{
		*relations = lappend(*relations, item);
		return;
	}
	if (IsA(item, RangeSubselect))
		wh_model_refuse(text, "a subquery in FROM",
						exprLocation(((RangeSubselect *) item)->subquery),
						"Write the query over the mirrors themselves.");
	if (IsA(item, RangeTableSample))
		wh_model_refuse(text, "TABLESAMPLE", ((RangeTableSample *) item)->location,
						"Choose rows by a condition in WHERE.");
	if (!IsA(item, JoinExpr))
		wh_model_refuse(text, "a function in FROM", exprLocation(item),
						"Select from a mirror: a table in the schema of a feed.");
	if (join->jointype == JOIN_FULL)
		wh_model_refuse(text, "FULL JOIN", exprLocation(join->rarg),
						"Neither side's key would identify the rows; declare two models.");
	if (join->jointype == JOIN_RIGHT)
		wh_model_refuse(text, "RIGHT JOIN", exprLocation(join->rarg),
						"Write it as a LEFT JOIN: the table that keeps all its rows comes first.");
	check_from_item(text, join->larg, relations);
	check_from_item(text, join->rarg, relations);
}

/* check_mirrors refuses relations that are no mirrors, those of another feed than the first's, and
 * mirrors with row security. */
static void
check_mirrors(WhModelText *text, Query *query, List *relations)
{
	WhFeedTable *first = NULL;
	ListCell *ref;
	ListCell *relation;

	forboth(ref, wh_model_relations(query), relation, relations)
	{
		RangeTblEntry *rte = rt_fetch(((RangeTblRef *) lfirst(ref))->rtindex, query->rtable);
		int location = ((RangeVar *) lfirst(relation))->location;
		WhFeedTable *table;

		check_mirror(text, rte, list_length(relations) > 1 ? location : -1);
		table = wh_changelog_table_of_mirror(rte->relid);
		if (first == NULL)
			first = table;
		if (table->feed_id != first->feed_id)
			ereport(
				ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the query of a %s cannot read mirrors of two feeds", text->what),
				 errdetail(
					 "%s belongs to feed \"%s\", %s to feed \"%s\"; their positions have "
					 "nothing in common.",
					 wh_sql_relation(first->mirror),
					 wh_changelog_feed_by_id(first->feed_id, false)->name,
					 wh_sql_relation(table->mirror),
					 wh_changelog_feed_by_id(table->feed_id, false)->name),
				 errhint("Capture both tables with one feed, or declare a model for each."),
				 wh_model_position(text, location)));
	}
	if (first == NULL)
		check_mirror(text, linitial_node(RangeTblEntry, query->rtable), -1);
}

static void
check_mirror(WhModelText *text, RangeTblEntry *rte, int location)
{
	if (rte->rtekind != RTE_RELATION || wh_changelog_table_of_mirror(rte->relid) == NULL)
		ereport(
			ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("the query of a %s must read a mirror, and \"%s\" is none", text->what,
					rte->eref->aliasname),
			 errdetail(
				 "Mirrors are the tables in the schema of a feed, one for each table that it "
				 "captures."),
			 errhint(
				 "See walhouse.feed_table, or add the table to a feed with CALL "
				 "walhouse.create_feed."),
			 wh_model_position(text, location)));
	check_row_security(rte->relid);
}

static void
check_row_security(Oid relid)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool row_security;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	row_security = ((Form_pg_class) GETSTRUCT(tuple))->relrowsecurity;
	ReleaseSysCache(tuple);
	if (row_security)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("mirror %s has row security", wh_sql_relation(relid)),
				 errdetail("A model over it would hold rows that some may not see."),
				 errhint("ALTER TABLE %s DISABLE ROW LEVEL SECURITY, and restrict the model.",
						 wh_sql_relation(relid))));
}

/* check_columns judges names and types of the output columns. */
static void
check_columns(WhModelText *text, Query *query)
{
	List *names = NIL;
	ListCell *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc);
		int location = exprLocation((Node *) entry->expr);

		if (entry->resjunk)
			continue;
		if (entry->resname == NULL || strcmp(entry->resname, "?column?") == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
					 errmsg("column %d of the query has no name", entry->resno),
					 errhint("Name it with AS."),
					 wh_model_position(text, location)));
		if (list_member(names, makeString(entry->resname)))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("column name \"%s\" appears twice in the query", entry->resname),
					 errhint("Name one of them otherwise with AS."),
					 wh_model_position(text, location)));
		if (column_name_is_reserved(entry->resname))
			ereport(ERROR,
					(errcode(ERRCODE_RESERVED_NAME),
					 errmsg("column name \"%s\" is reserved for walhouse", entry->resname),
					 errhint("Name the column otherwise with AS."),
					 wh_model_position(text, location)));
		names = lappend(names, makeString(entry->resname));
		check_type(text, entry);
	}
	if (names == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("the query of a %s has no columns", text->what)));
}

static bool
column_name_is_reserved(const char *name)
{
	static const char *const reserved[] = {"valid_from", "valid_to", "is_current", "is_inferred",
										   "load_id"};

	for (int i = 0; i < lengthof(reserved); i++)
		if (strcmp(name, reserved[i]) == 0)
			return true;
	return strncmp(name, "wh_", 3) == 0;
}

static void
check_type(WhModelText *text, TargetEntry *entry)
{
	Oid type = exprType((Node *) entry->expr);
	char kind = get_typtype(type);

	if (kind == TYPTYPE_PSEUDO)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("column \"%s\" has pseudo-type %s", entry->resname, format_type_be(type)),
				 errhint("Cast it to the type that the model's table shall have."),
				 wh_model_position(text, exprLocation((Node *) entry->expr))));
	if (kind == TYPTYPE_DOMAIN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("column \"%s\" has type %s, a domain", entry->resname,
						format_type_be(type)),
				 errdetail("Images are compared as values of %s, and members that stand for what "
						   "is not known have NULL there.",
						   format_type_be(getBaseType(type))),
				 errhint("Cast it to %s.", format_type_be(getBaseType(type))),
				 wh_model_position(text, exprLocation((Node *) entry->expr))));
}

WhQuery *
wh_model_compile(Query *query)
{
	WhQuery *result = palloc0(sizeof(WhQuery));
	List *relations = wh_model_relations(query);
	int guc_level = wh_settings_push_path();

	if (list_length(relations) > 1)
		wh_model_join_compile(result, query);
	else
		compile_one(result, query,
					relations == NIL ? 0 : linitial_node(RangeTblRef, relations)->rtindex);
	result->feed = wh_changelog_feed_by_id(result->source->feed_id, false);
	wh_settings_pop(guc_level);
	return result;
}

/* compile_one compiles a query over one mirror. */
static void
compile_one(WhQuery *result, Query *query, int varno)
{
	Oid relid = varno == 0 ? InvalidOid : rt_fetch(varno, query->rtable)->relid;
	ListCell *lc;

	result->source = varno == 0 ? NULL : wh_changelog_table_of_mirror(relid);
	if (result->source == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("the query of the model reads no mirror any more"),
				 errhint("Drop the model with walhouse.drop_model() and declare it again.")));
	result->sources = list_make1(result->source);
	foreach(lc, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc);
		WhModelColumn *column;

		if (entry->resjunk)
			continue;
		column = palloc0(sizeof(WhModelColumn));
		column->name = pstrdup(entry->resname);
		column->type = exprType((Node *) entry->expr);
		column->typmod = exprTypmod((Node *) entry->expr);
		column->collation = exprCollation((Node *) entry->expr);
		column->expression = deparse((Node *) entry->expr, varno, relid);
		column->attnum = IsA(entry->expr, Var) ? ((Var *) entry->expr)->varattno : 0;
		column->alias = column->attnum == 0 ? 0 : 1;
		result->columns = lappend(result->columns, column);
	}
	if (query->jointree->quals != NULL)
		result->condition = deparse(query->jointree->quals, varno, relid);
}

/* deparse returns an expression over the mirror as SQL over alias s. */
static char *
deparse(Node *node, int varno, Oid relid)
{
	node = copyObject(node);
	if (varno != 1)
		ChangeVarNodes(node, varno, 1, 0);
	return deparse_expression(node, deparse_context_for("s", relid), true, false);
}

void
wh_model_column_definition(StringInfo sql, const WhModelColumn *column)
{
	int guc_level = wh_settings_push_path();
	char *type = format_type_extended(column->type, column->typmod,
									  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);

	wh_sql_append(sql, "%I %s", column->name, type);
	if (OidIsValid(column->collation) && column->collation != get_typcollation(column->type))
		wh_sql_append(sql, " COLLATE %s", generate_collation_name(column->collation));
	wh_settings_pop(guc_level);
}
