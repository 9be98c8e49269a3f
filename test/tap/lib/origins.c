/*
 * origins.c
 *		What PostgreSQL reports of the columns of queries: for each, the OID of the table and the
 * number of the column that it comes from as it is, or 0:0.
 *
 * Reads queries from its input, each ended by a zero byte, prepares them over the connection that
 * its argument names, and writes a line for each, which is
 * empty where that fails; nothing is run.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libpq-fe.h"

static void describe(PGconn *connection, const char *query);

int
main(int argc, char **argv)
{
	PGconn *connection = PQconnectdb(argc > 1 ? argv[1] : "");
	char *query = NULL;
	size_t size = 0;

	if (PQstatus(connection) != CONNECTION_OK)
	{
		fprintf(stderr, "%s", PQerrorMessage(connection));
		return 1;
	}
	while (getdelim(&query, &size, '\0', stdin) > 0)
		describe(connection, query);
	free(query);
	PQfinish(connection);
	return 0;
}

static void
describe(PGconn *connection, const char *query)
{
	PGresult *prepared = PQprepare(connection, "", query, 0, NULL);
	PGresult *described = PQdescribePrepared(connection, "");

	if (PQresultStatus(prepared) != PGRES_COMMAND_OK)
		fprintf(stderr, "%s", PQresultErrorMessage(prepared));
	else
		for (int i = 0; i < PQnfields(described); i++)
			printf("%s%u:%d", i > 0 ? " " : "", PQftable(described, i),
				   PQftablecol(described, i));
	printf("\n");
	PQclear(prepared);
	PQclear(described);
}
