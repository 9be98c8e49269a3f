/*
 * changes.c
 *		What an ALTER or DROP would change, read off its text: for walhouse.impact().
 *
 * The text may be meant for the source, so its names are not looked up here, and it is neither
 * analysed nor run.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_type.h"
#include "parser/parser.h"
#include "utils/builtins.h"

#include "base/base.h"
#include "lineage/lineage.h"
#include "lineage/lineage_private.h"

static void show_statement(ReturnSetInfo *result, Node *statement);
static void show_alter(ReturnSetInfo *result, const AlterTableStmt *statement);
static const char *action_of(const AlterTableCmd *command);
static void show_rename(ReturnSetInfo *result, const RenameStmt *statement);
static void show_drop(ReturnSetInfo *result, const DropStmt *statement);
static void show(ReturnSetInfo *result, const RangeVar *relation, const char *column,
				 const char *action, const char *type);
static pg_noreturn void refuse(void);

PG_FUNCTION_INFO_V1(walhouse_statement_changes);

Datum
walhouse_statement_changes(PG_FUNCTION_ARGS)
{
	char *statement = text_to_cstring(PG_GETARG_TEXT_PP(0));
	List *statements = wh_lineage_parse(statement);

	InitMaterializedSRF(fcinfo, 0);
	if (statements == NIL)
		refuse();
	foreach_ptr(RawStmt, raw, statements)
		show_statement((ReturnSetInfo *) fcinfo->resultinfo, raw->stmt);
	return (Datum) 0;
}

static void
show_statement(ReturnSetInfo *result, Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_AlterTableStmt:
			show_alter(result, (AlterTableStmt *) statement);
			break;
		case T_RenameStmt:
			show_rename(result, (RenameStmt *) statement);
			break;
		case T_DropStmt:
			show_drop(result, (DropStmt *) statement);
			break;
		case T_AlterObjectSchemaStmt:
			if (((AlterObjectSchemaStmt *) statement)->relation == NULL)
				refuse();
			show(result, ((AlterObjectSchemaStmt *) statement)->relation, NULL, "set schema", NULL);
			break;
		default:
			refuse();
	}
}

static void
show_alter(ReturnSetInfo *result, const AlterTableStmt *statement)
{
	foreach_ptr(AlterTableCmd, command, statement->cmds)
	{
		const char *action = action_of(command);
		const ColumnDef *column = (ColumnDef *) command->def;

		if (action == NULL)
			continue;
		if (command->subtype == AT_AddColumn)
			show(result, statement->relation, column->colname, action, NULL);
		else
			show(result, statement->relation, command->name, action,
				 command->subtype == AT_AlterColumnType ? TypeNameToString(column->typeName) :
														  NULL);
	}
}

/* action_of names what changes columns; NULL: nothing that lineage knows of. */
static const char *
action_of(const AlterTableCmd *command)
{
	switch (command->subtype)
	{
		case AT_AddColumn:
			return "add column";
		case AT_DropColumn:
			return "drop column";
		case AT_AlterColumnType:
			return "alter type";
		default:
			return NULL;
	}
}

static void
show_rename(ReturnSetInfo *result, const RenameStmt *statement)
{
	if (statement->relation == NULL)
		refuse();
	if (statement->renameType == OBJECT_COLUMN)
		show(result, statement->relation, statement->subname, "rename column", NULL);
	else if (statement->renameType == OBJECT_TABCONSTRAINT ||
			 statement->renameType == OBJECT_TRIGGER || statement->renameType == OBJECT_POLICY ||
			 statement->renameType == OBJECT_RULE || statement->renameType == OBJECT_INDEX)
		return;
	else
		show(result, statement->relation, NULL, "rename", NULL);
}

static void
show_drop(ReturnSetInfo *result, const DropStmt *statement)
{
	if (statement->removeType != OBJECT_TABLE && statement->removeType != OBJECT_VIEW &&
		statement->removeType != OBJECT_MATVIEW && statement->removeType != OBJECT_FOREIGN_TABLE)
		refuse();
	foreach_ptr(List, name, statement->objects)
		show(result, makeRangeVarFromNameList(name), NULL, "drop", NULL);
}

static void
show(ReturnSetInfo *result, const RangeVar *relation, const char *column, const char *action,
	 const char *type)
{
	Datum values[5] = {0};
	bool nulls[5] = {0};

	nulls[0] = relation->schemaname == NULL;
	if (!nulls[0])
		values[0] = CStringGetTextDatum(relation->schemaname);
	values[1] = CStringGetTextDatum(relation->relname);
	nulls[2] = column == NULL;
	if (!nulls[2])
		values[2] = CStringGetTextDatum(column);
	values[3] = CStringGetTextDatum(action);
	nulls[4] = type == NULL;
	if (!nulls[4])
		values[4] = CStringGetTextDatum(type);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static void
refuse(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("the impact of this statement is not known"),
			 errhint("Give an ALTER or DROP of tables or views.")));
}
