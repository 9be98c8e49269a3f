/*
 * archive.h
 *		Partitions of sets as files, written before they are dropped, and brought back.
 */
#ifndef WH_ARCHIVE_H
#define WH_ARCHIVE_H

/* wh_archive_init defines the settings, and has the partition room ask this one. */
extern void wh_archive_init(void);

#endif /* WH_ARCHIVE_H */
