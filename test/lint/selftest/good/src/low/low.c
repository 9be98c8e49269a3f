#include "postgres.h"

#include "low/low.h"
#include "low/low_private.h"

int
wh_low_answer(int question)
{
	/* a comment may name quote_identifier(x), '%s' and PG_VERSION_NUM */
	if (question < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the question \"%d\" is negative; see \"quote_literal(x)\"", question)));
	return question;
}
