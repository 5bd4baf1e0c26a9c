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

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const suffixes[] = {"-wal", "-shm", "-journal"};
#define SUFFIX_COUNT (sizeof(suffixes) / sizeof(suffixes[0]))

/* Name of one of them; NULL: out of memory. */
static char *name_of(const char *path, size_t i)
{
	char *name;

	return asprintf(&name, "%s%s", path, suffixes[i]) < 0 ? NULL : name;
}

uint64_t beside_wal_inode(const char *path)
{
	char *name = name_of(path, 0);
	struct stat st;
	bool found = name && stat(name, &st) == 0;

	free(name);
	return found ? (uint64_t)st.st_ino : 0;
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
			unlink(name);
		free(name);
	}
}
