/*
 * text.c
 *		From the database's encoding to UTF-8.
 *
 * A UTF-8 database can hold text that is not valid (functions in C make it), an SQL_ASCII one
 * anything, and others characters that Unicode lacks: all of these are told from what can be
 * converted, never an error, because a value that raises one would stop the slot for good.
 */
#include "output/output_private.h"

#include "catalog/namespace.h"
#include "utils/memutils.h"

static Oid conversion(WhOutput *session);

const char *
wh_output_to_utf8(WhOutput *session, const char *text, size_t *len)
{
	char *converted;
	int room;
	int done;

	if (wh_output_is_utf8(session))
		return pg_verify_mbstr(PG_UTF8, text, (int) *len, true) ? text : NULL;
	if (*len > (MaxAllocSize - 2) / MAX_CONVERSION_GROWTH ||
		!pg_verify_mbstr(session->encoding, text, (int) *len, true))
		return NULL;
	room = (int) *len * MAX_CONVERSION_GROWTH + 2;
	converted = palloc(room);
	done = pg_do_encoding_conversion_buf(conversion(session), session->encoding, PG_UTF8,
										 (unsigned char *) unconstify(char *, text), (int) *len,
										 (unsigned char *) converted, room, true);
	if (done < (int) *len)
		return NULL;
	*len = strlen(converted);
	return converted;
}

size_t
wh_output_convert_slice(WhOutput *session, const char *text, size_t len, char *buffer,
						size_t *converted)
{
	int slice = (int) Min(len, WH_SLICE);

	if (slice < (int) len)
		slice = pg_encoding_mbcliplen(session->encoding, text, slice + MAX_MULTIBYTE_CHAR_LEN,
									  slice);
	if (slice == 0 || !pg_verify_mbstr(session->encoding, text, slice, true) ||
		pg_do_encoding_conversion_buf(conversion(session), session->encoding, PG_UTF8,
									  (unsigned char *) unconstify(char *, text), slice,
									  (unsigned char *) buffer, WH_SLICE_ROOM, true) < slice)
		return 0;
	*converted = strlen(buffer);
	return slice;
}

bool
wh_output_is_utf8(const WhOutput *session)
{
	return session->encoding == PG_UTF8 || session->encoding == PG_SQL_ASCII;
}

static Oid
conversion(WhOutput *session)
{
	if (!OidIsValid(session->to_utf8))
	{
		session->to_utf8 = FindDefaultConversionProc(session->encoding, PG_UTF8);
		if (!OidIsValid(session->to_utf8))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("there is no conversion from encoding \"%s\" to UTF-8",
							pg_encoding_to_char(session->encoding))));
	}
	return session->to_utf8;
}
