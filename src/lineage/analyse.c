/*
 * analyse.c
 *		A statement's text to its tree.
 *
 * PostgreSQL's parser analyses it with the caller's search_path and rights, as PREPARE would:
 * relations that it names are locked, and nothing is planned or run.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "parser/analyze.h"
#include "parser/parser.h"

#include "base/base.h"
#include "lineage/lineage.h"
#include "lineage/lineage_private.h"

static Node *query_in(Node *statement);
static void position_callback(void *text);

List *
wh_lineage_parse(const char *text)
{
	ErrorContextCallback callback = {error_context_stack, position_callback, (void *) text};
	List *statements;

	error_context_stack = &callback;
	statements = raw_parser(text, RAW_PARSE_DEFAULT);
	error_context_stack = callback.previous;
	return statements;
}

Query *
wh_lineage_analyse(const char *text)
{
	ErrorContextCallback callback = {error_context_stack, position_callback, (void *) text};
	List *statements = wh_lineage_parse(text);
	RawStmt *statement;
	Query *query;
	Oid *types = NULL;
	int ntypes = 0;

	error_context_stack = &callback;
	if (list_length(statements) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("lineage is that of one statement, not of %d", list_length(statements))));
	statement = linitial_node(RawStmt, statements);
	statement->stmt = query_in(statement->stmt);
	query = parse_analyze_varparams(statement, text, &types, &ntypes, NULL);
	/* SELECT INTO is known as such only now. */
	if (query->utilityStmt != NULL && IsA(query->utilityStmt, CreateTableAsStmt))
		query = castNode(Query, ((CreateTableAsStmt *) query->utilityStmt)->query);
	if (query->commandType == CMD_UTILITY)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("a statement without a query has no lineage"),
				 errhint("Give a SELECT, INSERT, UPDATE, DELETE, MERGE or VALUES, or a statement "
						 "that holds one, as CREATE VIEW does.")));
	error_context_stack = callback.previous;
	return query;
}

/* query_in returns the query of a statement that holds one, or the statement itself. */
static Node *
query_in(Node *statement)
{
	Node *query = NULL;

	switch (nodeTag(statement))
	{
		case T_ExplainStmt:
			query = ((ExplainStmt *) statement)->query;
			break;
		case T_CreateTableAsStmt:
			query = ((CreateTableAsStmt *) statement)->query;
			break;
		case T_ViewStmt:
			query = ((ViewStmt *) statement)->query;
			break;
		case T_DeclareCursorStmt:
			query = ((DeclareCursorStmt *) statement)->query;
			break;
		case T_PrepareStmt:
			query = ((PrepareStmt *) statement)->query;
			break;
		case T_CopyStmt:
			query = ((CopyStmt *) statement)->query;
			break;
		default:
			break;
	}
	return query == NULL ? statement : query_in(query);
}

static void
position_callback(void *text)
{
	int position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(text);
	}
}
