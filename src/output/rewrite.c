/*
 * rewrite.c
 *		The marker Rewrite: a table was written anew.
 *
 * ALTER TABLE … TYPE, or a column with a volatile default, writes all rows of a table into a new
 * heap, and logs them as inserts into it.  The server hands these over only because the plugin
 * asks for them: the first one makes a Rewrite of the table itself, and none is sent.  The heap
 * has an OID of its own in each rewrite, so that its entry in the relation cache remembers that.
 */
#include "output/publish_private.h"

void
wh_output_tell_rewrite(WhOutput *session, ReorderBufferTXN *txn, Relation heap)
{
	WhOutputRelation *entry = wh_output_find_relation(session, heap);
	Relation relation;

	if (entry->is_rewrite_told || !wh_output_has_publications(session))
		return;
	relation = RelationIdGetRelation(heap->rd_rel->relrewrite);
	if (!RelationIsValid(relation))
		elog(ERROR, "could not open relation %u", heap->rd_rel->relrewrite);
	entry->is_rewrite_told = true;

	/* looking for one entry does not move another */
	entry = wh_output_find_relation(session, relation);
	RelationClose(relation);
	if (!entry->actions.pubinsert && !entry->actions.pubupdate && !entry->actions.pubdelete)
		return;
	wh_output_announce(session, txn);
	wh_output_add_relation(session, entry);
	wh_wire_add_rewrite(&session->batch, session->txn->seq, entry->schema, session->subxid);
	wh_output_count_other(session);
}
