/*
 * file.c
 *		The files of archives: what COPY would write, compressed, with digests.
 *
 * A file is one gzip member where zlib was there at the build, and plain text elsewhere; its name
 * says which.  Both ways, two digests are taken while bytes pass: of the text, which is compared
 * with the table, and of the file, which is what a disk must give back.
 *
 * Files lie in walhouse.archive_directory, which a superuser names; they are opened here by the
 * server itself, under names that were made here, so nobody else reaches a file by this.  A
 * descriptor is closed at the end of the transaction, whatever happens.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>
#ifdef WH_WITH_ZLIB
#include <zlib.h>
#endif

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "miscadmin.h"
#include "storage/fd.h"

#include "archive/archive.h"
#include "archive/archive_private.h"

#define GZIP_LEVEL 1 /* three times as fast as the default, for a tenth more bytes */
#define GZIP_WINDOW (15 + 16) /* the 16 asks for gzip's frame */

struct WhArchiveFile
{
	int fd; /* -1: nothing is written, digests are taken */
	char *path;
	bool is_read; /* not written */
	bool is_open; /* and more may come */
	pg_cryptohash_ctx *text;
	pg_cryptohash_ctx *file;
	int64 text_bytes;
	int64 file_bytes;
	int64 lines;
	char *text_buffer;
	int text_used;
	char *file_buffer;
#ifdef WH_WITH_ZLIB
	z_stream z;
#endif
};

static WhArchiveFile *make(int fd, const char *path);
static int create(const char *path);
static void flush_text(WhArchiveFile *file, bool is_last);
static void put(WhArchiveFile *file, const char *data, size_t size);
static void write_all(int fd, const char *path, const char *data, size_t size);
static int take(WhArchiveFile *file);
static void add(pg_cryptohash_ctx *digest, const void *data, size_t size);
static char *hex_of(pg_cryptohash_ctx *digest);

const char *
wh_archive_suffix(void)
{
#ifdef WH_WITH_ZLIB
	return ".copy.gz";
#else
	return ".copy";
#endif
}

#ifdef WH_WITH_ZLIB
/* zlib takes memory when it needs it first, whatever context is current by then. */
static void *
z_alloc(void *context, unsigned items, unsigned size)
{
	return MemoryContextAlloc(context, (Size) items * size);
}

static void
z_free(void *context, void *memory)
{
	pfree(memory);
}
#endif

static WhArchiveFile *
make(int fd, const char *path)
{
	WhArchiveFile *file = palloc0(sizeof(WhArchiveFile));

	file->fd = fd;
	file->path = path != NULL ? pstrdup(path) : NULL;
	file->text = pg_cryptohash_create(PG_SHA256);
	file->file = pg_cryptohash_create(PG_SHA256);
	if (pg_cryptohash_init(file->text) < 0 || pg_cryptohash_init(file->file) < 0)
		elog(ERROR, "could not begin a digest");
	file->text_buffer = palloc(WH_ARCHIVE_CHUNK);
	file->file_buffer = palloc(WH_ARCHIVE_CHUNK);
#ifdef WH_WITH_ZLIB
	file->z.zalloc = z_alloc;
	file->z.zfree = z_free;
	file->z.opaque = CurrentMemoryContext;
#endif
	return file;
}

static int
create(const char *path)
{
	int fd;

	/* What an attempt that was cut off has left. */
	(void) unlink(path);
	fd = OpenTransientFilePerm(path, O_WRONLY | O_CREAT | O_EXCL | PG_BINARY, 0600);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not create file \"%s\": %m", path)));
	return fd;
}

WhArchiveFile *
wh_archive_create(const char *path)
{
	int fd = path != NULL ? create(path) : -1;
	WhArchiveFile *file = make(fd, path);

#ifdef WH_WITH_ZLIB
	if (fd >= 0 && deflateInit2(&file->z, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW, 9,
								Z_DEFAULT_STRATEGY) != Z_OK)
		elog(ERROR, "could not begin to compress");
#endif
	return file;
}

void
wh_archive_write(WhArchiveFile *file, const char *data, size_t size)
{
	while (size > 0)
	{
		size_t some = Min(size, (size_t) (WH_ARCHIVE_CHUNK - file->text_used));

		memcpy(file->text_buffer + file->text_used, data, some);
		file->text_used += some;
		data += some;
		size -= some;
		if (file->text_used == WH_ARCHIVE_CHUNK)
			flush_text(file, false);
	}
}

void
wh_archive_end_line(WhArchiveFile *file)
{
	wh_archive_write(file, "\n", 1);
	file->lines++;
}

static void
flush_text(WhArchiveFile *file, bool is_last)
{
	add(file->text, file->text_buffer, file->text_used);
	file->text_bytes += file->text_used;
	if (file->fd >= 0)
	{
#ifdef WH_WITH_ZLIB
		file->z.next_in = (Bytef *) file->text_buffer;
		file->z.avail_in = file->text_used;
		do
		{
			file->z.next_out = (Bytef *) file->file_buffer;
			file->z.avail_out = WH_ARCHIVE_CHUNK;
			if (deflate(&file->z, is_last ? Z_FINISH : Z_NO_FLUSH) == Z_STREAM_ERROR)
				elog(ERROR, "could not compress");
			put(file, file->file_buffer, WH_ARCHIVE_CHUNK - file->z.avail_out);
		} while (file->z.avail_out == 0);
#else
		put(file, file->text_buffer, file->text_used);
#endif
	}
	file->text_used = 0;
}

static void
put(WhArchiveFile *file, const char *data, size_t size)
{
	add(file->file, data, size);
	file->file_bytes += size;
	write_all(file->fd, file->path, data, size);
}

static void
write_all(int fd, const char *path, const char *data, size_t size)
{
	while (size > 0)
	{
		ssize_t written;

		errno = 0;
		written = write(fd, data, size);
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
		{
			/* A disk that takes nothing, and does not say why, is full. */
			if (errno == 0)
				errno = ENOSPC;
			ereport(ERROR, (errcode_for_file_access(),
							errmsg("could not write file \"%s\": %m", path)));
		}
		data += written;
		size -= written;
	}
}

void
wh_archive_write_plain(const char *path, const char *text)
{
	int fd = create(path);

	write_all(fd, path, text, strlen(text));
	write_all(fd, path, "\n", 1);
	if (CloseTransientFile(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not close file \"%s\": %m", path)));
}

WhArchiveFile *
wh_archive_open(const char *path)
{
	int fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	WhArchiveFile *file;

	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not open file \"%s\": %m", path)));
#ifdef USE_POSIX_FADVISE
	/* The disk is asked, not the memory that has what was just written. */
	(void) posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
#endif
	file = make(fd, path);
	file->is_read = file->is_open = true;
#ifdef WH_WITH_ZLIB
	if (inflateInit2(&file->z, GZIP_WINDOW) != Z_OK)
		elog(ERROR, "could not begin to decompress");
#endif
	return file;
}

/* take reads more of the file, into file_buffer. */
static int
take(WhArchiveFile *file)
{
	int size;

	do
	{
		errno = 0;
		size = read(file->fd, file->file_buffer, WH_ARCHIVE_CHUNK);
	} while (size < 0 && errno == EINTR);
	if (size < 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not read file \"%s\": %m", file->path)));
	add(file->file, file->file_buffer, size);
	file->file_bytes += size;
	return size;
}

int
wh_archive_read(WhArchiveFile *file, char *data)
{
	int got = 0;

	CHECK_FOR_INTERRUPTS();
	while (got == 0 && file->is_open)
	{
#ifdef WH_WITH_ZLIB
		int result;

		if (file->z.avail_in == 0)
		{
			file->z.next_in = (Bytef *) file->file_buffer;
			file->z.avail_in = take(file);
		}
		file->z.next_out = (Bytef *) data;
		file->z.avail_out = WH_ARCHIVE_CHUNK;
		result = inflate(&file->z, Z_NO_FLUSH);
		got = WH_ARCHIVE_CHUNK - file->z.avail_out;
		/* What is cut off or damaged ends here, with other digests than were taken. */
		if (result == Z_STREAM_END ? file->z.avail_in == 0 && take(file) == 0 : result != Z_OK)
			file->is_open = false;
		else if (result == Z_STREAM_END)
			(void) inflateReset(&file->z);
#else
		got = take(file);
		memcpy(data, file->file_buffer, got);
		file->is_open = got > 0;
#endif
	}
	add(file->text, data, got);
	file->text_bytes += got;
	for (const char *c = data; (c = memchr(c, '\n', data + got - c)) != NULL; c++)
		file->lines++;
	return got;
}

void
wh_archive_finish(WhArchiveFile *file, WhArchiveSums *sums)
{
	if (!file->is_read)
		flush_text(file, true);
	if (file->fd >= 0 && !file->is_read && pg_fsync(file->fd) != 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not fsync file \"%s\": %m", file->path)));
	if (file->fd >= 0 && CloseTransientFile(file->fd) != 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not close file \"%s\": %m", file->path)));
#ifdef WH_WITH_ZLIB
	if (file->fd >= 0)
		(void) (file->is_read ? inflateEnd(&file->z) : deflateEnd(&file->z));
#endif
	sums->rows = file->lines;
	sums->bytes = file->text_bytes;
	sums->file_bytes = file->file_bytes;
	sums->digest = hex_of(file->text);
	sums->file_digest = hex_of(file->file);
}

static void
add(pg_cryptohash_ctx *digest, const void *data, size_t size)
{
	if (pg_cryptohash_update(digest, data, size) < 0)
		elog(ERROR, "could not go on with a digest");
}

static char *
hex_of(pg_cryptohash_ctx *digest)
{
	uint8 bytes[PG_SHA256_DIGEST_LENGTH];
	char *hex = palloc(2 * sizeof(bytes) + 1);

	if (pg_cryptohash_final(digest, bytes, sizeof(bytes)) < 0)
		elog(ERROR, "could not end a digest");
	pg_cryptohash_free(digest);
	for (int i = 0; i < sizeof(bytes); i++)
		sprintf(hex + 2 * i, "%02x", bytes[i]);
	return hex;
}
