/*
 * The files that SQLite keeps beside a database: -wal, -shm, -journal.
 *
 * SQLite finds them by name alone and plays back whatever it finds.  When the
 * database was deleted or replaced, or a process was killed while it made a
 * snapshot ready, those of the old file would be played into the new one:
 * pages of two files in one.  So what is left of a file that is gone goes
 * before another takes its name.
 */
#include "cache_internal.h"

#include <stdlib.h>

static const char *const suffixes[] = {"-wal", "-shm", "-journal"};
#define SUFFIX_COUNT (sizeof(suffixes) / sizeof(suffixes[0]))

/* Name of one of them; NULL: out of memory. */
static char *name_of(const char *path, size_t i)
{
	return platform_format("%s%s", path, suffixes[i]);
}

uint64_t beside_wal_inode(const char *path)
{
	char *name = name_of(path, 0);
	uint64_t inode = name ? platform_file_id(name) : 0;

	free(name);
	return inode;
}

bool beside_has_wal(const char *path)
{
	return beside_wal_inode(path) != 0;
}

void beside_remove(const char *path)
{
	for (size_t i = 0; i < SUFFIX_COUNT; i++) {
		char *name = name_of(path, i);

		if (name)
			platform_remove(name);
		free(name);
	}
}
