/*
 * What the cache's core asks of an operating system, besides SQLite.
 *
 * All of it concerns the files beside a cache: the lock file, the nameless
 * file that stages a giant batch, and a snapshot that takes its place.  Two
 * implementations, platform_posix.c and platform_win32.c; the rest of the
 * core is ISO C.  What fails returns false, NULL or PLATFORM_NO_FILE, and
 * platform_error() says why until the next call.
 */
#ifndef CLINIC_CACHE_PLATFORM_H
#define CLINIC_CACHE_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* A descriptor, or a HANDLE. */
typedef intptr_t platform_file;
#define PLATFORM_NO_FILE ((platform_file)-1)

#define PLATFORM_ERROR_BYTES 128
/* Why the last call failed, into out (PLATFORM_ERROR_BYTES); returns out. */
const char *platform_error(char *out);

/* ---- text --------------------------------------------------------------------------------- */

/* A new string; NULL: out of memory. */
char *platform_format(const char *fmt, ...) CS_PRINTF(1, 2);
/* Equal but for the case of ASCII letters. */
bool platform_same_name(const char *a, const char *b);

/* ---- files by name ------------------------------------------------------------------------ */

bool platform_exists(const char *path);
/* The one name of a file that is there, without links; owned by the caller. */
char *platform_real_path(const char *path);
/* Tells a file from others that are or were there under its name; 0: there is none. */
uint64_t platform_file_id(const char *path);
void platform_remove(const char *path);
bool platform_rename(const char *from, const char *to);

typedef enum {
	PLATFORM_PLACED,
	PLATFORM_TAKEN, /* something has that name already */
	PLATFORM_FAILED,
} platform_placing;
/* Rename without ever replacing anything. */
platform_placing platform_place(const char *from, const char *to);

/* Bring what is written, and a name in its directory, to the disk. */
bool platform_sync_file(const char *path);
bool platform_sync_directory_of(const char *path);

/* ---- open files --------------------------------------------------------------------------- */

/* A file beside path that is gone with its last descriptor, however the process ends. */
platform_file platform_open_nameless(const char *path);
bool platform_append(platform_file file, const void *bytes, size_t len);
bool platform_read_at(platform_file file, uint64_t at, void *bytes, size_t len);
/* Leaves platform_error() as it was. */
void platform_close(platform_file file);

/* ---- lock files --------------------------------------------------------------------------- */

/* Open name, no link, as a lock file; create: make it if it is not there. */
platform_file platform_open_lock(const char *name, bool create);

typedef enum {
	PLATFORM_LOCKED,
	PLATFORM_HELD, /* somebody else has it, another handle of this process too */
	PLATFORM_LOCK_FAILED,
} platform_locking;
/* Take its lock without waiting; it dies with the open file. */
platform_locking platform_lock(platform_file file);
/* Does anybody hold it? */
bool platform_lock_is_held(platform_file file);
/* The file still has its name. */
bool platform_has_name(platform_file file, const char *name);
/* The one short text in the file. */
bool platform_write_note(platform_file file, const char *text);
bool platform_read_note(platform_file file, char *text, size_t size);

int platform_process_id(void);

#endif
