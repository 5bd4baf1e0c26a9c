/* The shared file of times; see stamps.h. */
#include "stamps.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

bool stamps_open(struct stamps *s, const char *path, size_t count)
{
	size_t bytes = count * sizeof(struct stamp);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *at = MAP_FAILED;

	if (fd >= 0 && ftruncate(fd, (off_t)bytes) == 0)
		at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		perror(path);
	if (fd >= 0)
		close(fd);
	s->items = at == MAP_FAILED ? NULL : at;
	s->count = count;
	return s->items != NULL;
}
