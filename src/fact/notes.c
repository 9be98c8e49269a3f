/*
 * notes.c
 *		Which rows of a range belong to which part of its keys, noted in temporary files.
 *
 * Where the keys of a range do not fit into memory they are divided (ends.c).  The log is read as
 * a whole once for that, and the place of each row is noted in the file of its part; each part is
 * then read by its notes alone, in the order in which the rows were committed.  A note takes ten
 * bytes.  The files belong to the transaction and count for temp_file_limit.
 */
#include "postgres.h"

#include "commands/tablespace.h"
#include "storage/buffile.h"

#include "base/base.h"
#include "fact/direct_private.h"
#include "fact/fact.h"

typedef struct Note
{
	WhPlace place;
	char op;
} Note;

struct WhFactNotes
{
	int parts;
	BufFile *files[FLEXIBLE_ARRAY_MEMBER];
};

WhFactNotes *
wh_fact_notes_open(int parts)
{
	WhFactNotes *notes =
		palloc(offsetof(WhFactNotes, files) + sizeof(BufFile *) * parts);

	PrepareTempTablespaces();
	notes->parts = parts;
	for (int i = 0; i < parts; i++)
		notes->files[i] = BufFileCreateTemp(false);
	return notes;
}

void
wh_fact_notes_add(WhFactNotes *notes, int part, WhPlace place, char op)
{
	Note note;

	memset(&note, 0, sizeof(note));
	note.place = place;
	note.op = op;
	BufFileWrite(notes->files[part], &note, sizeof(note));
}

void
wh_fact_notes_rewind(WhFactNotes *notes, int part)
{
	if (BufFileSeek(notes->files[part], 0, 0, SEEK_SET) != 0)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not rewind a temporary file: %m")));
}

bool
wh_fact_notes_next(WhFactNotes *notes, int part, WhPlace *place, char *op)
{
	Note note;
	size_t size = BufFileRead(notes->files[part], &note, sizeof(note));

	if (size == 0)
		return false;
	if (size != sizeof(note))
		elog(ERROR, "a temporary file ends in the midst of a note");
	*place = note.place;
	*op = note.op;
	return true;
}

void
wh_fact_notes_close(WhFactNotes *notes)
{
	for (int i = 0; i < notes->parts; i++)
		BufFileClose(notes->files[i]);
	pfree(notes);
}
