/*
 * sqltext.c
 *		SQL made in C: the one place that quotes identifiers and literals.
 *
 * Statements are built by functions that take a StringInfo first, with conversions that quote by
 * themselves, so that no other file has to think of it (test/lint holds the rest of the tree to
 * that).
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/base.h"

static void append_format(StringInfo sql, const char *format, va_list arguments);
static void append_conversion(StringInfo sql, char conversion, va_list *args);

void
wh_sql_append(StringInfo sql, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	append_format(sql, format, args);
	va_end(args);
}

char *
wh_sql(const char *format, ...)
{
	StringInfoData sql;
	va_list args;

	initStringInfo(&sql);
	va_start(args, format);
	append_format(&sql, format, args);
	va_end(args);
	return sql.data;
}

static void
append_format(StringInfo sql, const char *format, va_list arguments)
{
	va_list args;
	const char *percent;

	va_copy(args, arguments);
	while ((percent = strchr(format, '%')) != NULL)
	{
		appendBinaryStringInfo(sql, format, percent - format);
		append_conversion(sql, percent[1], &args);
		format = percent + 2;
	}
	appendStringInfoString(sql, format);
	va_end(args);
}

/* append_conversion takes one argument and appends it as its letter says. */
static void
append_conversion(StringInfo sql, char conversion, va_list *args)
{
	switch (conversion)
	{
		case 'I':
			appendStringInfoString(sql, quote_identifier(va_arg(*args, const char *)));
			break;
		case 'L':
			appendStringInfoString(sql, wh_sql_literal(va_arg(*args, const char *)));
			break;
		case 'T':
			appendStringInfoString(sql, wh_sql_relation(va_arg(*args, Oid)));
			break;
		case 'X':
		{
			XLogRecPtr lsn = va_arg(*args, XLogRecPtr);

			appendStringInfo(sql, "'%X/%X'::pg_catalog.pg_lsn", LSN_FORMAT_ARGS(lsn));
			break;
		}
		case 's':
			appendStringInfoString(sql, va_arg(*args, const char *));
			break;
		case 'd':
			appendStringInfo(sql, "%d", va_arg(*args, int));
			break;
		case 'u':
			appendStringInfo(sql, "%u", va_arg(*args, unsigned));
			break;
		case 'l':
			appendStringInfo(sql, INT64_FORMAT, va_arg(*args, int64));
			break;
		case '%':
			appendStringInfoChar(sql, '%');
			break;
		default:
			elog(ERROR, "unknown conversion %%%c in SQL", conversion);
	}
}

char *
wh_sql_relation(Oid relid)
{
	char *name = get_rel_name(relid);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), name);
}

char *
wh_sql_literal(const char *value)
{
	return value == NULL ? pstrdup("NULL") : quote_literal_cstr(value);
}

const char *
wh_sql_identifier(const char *name)
{
	return quote_identifier(name);
}
