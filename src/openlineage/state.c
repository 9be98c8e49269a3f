/*
 * state.c
 *		The file that says how far events were posted: a line for each feed, its id and its
 *		position.  It is replaced as a whole.
 */
#include "openlineage/openlineage.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/file_utils.h"
#include "common/logging.h"

static WhOpenlineagePosition *positions;
static int npositions;

void
wh_openlineage_read_state(const WhOpenlineageOptions *options)
{
	FILE *file;
	int feed_id;
	long long recorded;
	int n;

	if (options->state_file == NULL)
		return;
	file = fopen(options->state_file, "r");
	if (file == NULL)
	{
		if (errno != ENOENT)
			pg_fatal("could not open file \"%s\": %m", options->state_file);
		return;
	}
	while ((n = fscanf(file, "%d %lld\n", &feed_id, &recorded)) == 2)
		wh_openlineage_position(options, feed_id)->recorded = recorded;
	if (n != EOF || ferror(file))
		pg_fatal("file \"%s\" does not hold the positions of feeds", options->state_file);
	fclose(file);
}

WhOpenlineagePosition *
wh_openlineage_position(const WhOpenlineageOptions *options, int feed_id)
{
	for (int i = 0; i < npositions; i++)
	{
		if (positions[i].feed_id == feed_id)
			return &positions[i];
	}
	positions = pg_realloc(positions, sizeof(*positions) * (npositions + 1));
	positions[npositions].feed_id = feed_id;
	positions[npositions].recorded = options->since;
	return &positions[npositions++];
}

void
wh_openlineage_write_state(const WhOpenlineageOptions *options)
{
	char *name;
	FILE *file;
	bool is_written;

	if (options->state_file == NULL)
		return;
	name = psprintf("%s.new", options->state_file);
	file = fopen(name, "w");
	is_written = file != NULL;
	for (int i = 0; i < npositions && is_written; i++)
		is_written = fprintf(file, "%d " INT64_FORMAT "\n", positions[i].feed_id,
							 positions[i].recorded) > 0;
	if (!is_written || fflush(file) != 0 || fsync(fileno(file)) != 0 || fclose(file) != 0)
		pg_fatal("could not write file \"%s\": %m", name);
	if (durable_rename(name, options->state_file) != 0)
		exit(1);
	pfree(name);
}
