/*
 * rewrite.c
 *		The marker Rewrite: a table was written anew.
 *
 * ALTER TABLE … TYPE, or a column with a volatile default, writes all rows of a table into a new
 * heap, and logs them as inserts into it.  The server hands these over only because the plugin
 * asks for them: the first one makes a Rewrite of the table itself.  With the option ddl the rows
 * themselves follow, as updates of what they were; but not where a row filter decides what is
 * sent: what a row was before is not known, so that it cannot be told which ones left the filter.
 *
 * The heap has an OID of its own in each rewrite, so that its entry in the relation cache
 * remembers that it was told.
 */
#include "output/publish_private.h"

WhOutputRelation *
wh_output_tell_rewrite(WhOutput *session, ReorderBufferTXN *txn, Relation heap)
{
	WhOutputRelation *entry = wh_output_find_relation(session, heap);
	bool is_told = entry->is_rewrite_told;
	bool rows_follow;
	Relation relation;

	if ((is_told && !session->options.has_ddl) || !wh_output_has_publications(session))
		return NULL;
	relation = RelationIdGetRelation(heap->rd_rel->relrewrite);
	if (!RelationIsValid(relation))
		elog(ERROR, "could not open relation %u", heap->rd_rel->relrewrite);
	entry->is_rewrite_told = true;

	/* looking for one entry does not move another */
	entry = wh_output_find_relation(session, relation);
	RelationClose(relation);
	if (!entry->actions.pubinsert && !entry->actions.pubupdate && !entry->actions.pubdelete)
		return NULL;
	rows_follow = session->options.has_ddl && entry->actions.pubupdate &&
				  entry->filters == NULL && entry->told_as == entry->relid;
	if (!is_told || rows_follow)
		wh_output_announce(session, txn);
	if (!is_told)
	{
		wh_output_add_relation(session, entry);
		wh_wire_add_rewrite(&session->batch, session->txn->seq, entry->schema, session->subxid,
							rows_follow);
		wh_output_count_other(session);
	}
	return rows_follow ? entry : NULL;
}
