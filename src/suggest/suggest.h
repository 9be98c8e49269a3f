/*
 * suggest.h
 *		Drafts of stars.  Nobody depends on this room.
 */
#ifndef WH_SUGGEST_H
#define WH_SUGGEST_H

extern void wh_suggest_init(void);

#endif /* WH_SUGGEST_H */
