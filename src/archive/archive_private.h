/*
 * archive_private.h
 *		What the files of archive/ share.
 */
#ifndef WH_ARCHIVE_PRIVATE_H
#define WH_ARCHIVE_PRIVATE_H

#include "base/base.h"
#include "partition/set.h"

/* -------- file.c: files of archives -------- */
#define WH_ARCHIVE_CHUNK 65536

typedef struct WhArchiveFile WhArchiveFile;

typedef struct WhArchiveSums
{
	int64 rows;
	int64 bytes; /* of the text */
	int64 file_bytes;
	char *digest; /* SHA-256 of the text */
	char *file_digest;
} WhArchiveSums;

/* How a file's name ends: by what is in it. */
extern const char *wh_archive_suffix(void);
/* wh_archive_create begins a file, in the place of one that has the name; NULL: digests alone are
 * taken. */
extern WhArchiveFile *wh_archive_create(const char *path);
extern void wh_archive_write(WhArchiveFile *file, const char *data, size_t size);
extern void wh_archive_end_line(WhArchiveFile *file);
/* wh_archive_write_plain writes a small file at once, uncompressed. */
extern void wh_archive_write_plain(const char *path, const char *text);
extern WhArchiveFile *wh_archive_open(const char *path);
/* wh_archive_read gives up to WH_ARCHIVE_CHUNK bytes of the text; 0: its end. */
extern int wh_archive_read(WhArchiveFile *file, char *data);
/* wh_archive_finish has what was written on disk, closes the file, and tells what has passed. */
extern void wh_archive_finish(WhArchiveFile *file, WhArchiveSums *sums);

/* -------- archive.c: partitions as files -------- */

extern bool wh_archive_is_good(const char *file, const char *file_digest);
/* The path of an archive's file. */
extern char *wh_archive_path(const char *file);

#endif /* WH_ARCHIVE_PRIVATE_H */
