/*
 * Bytes that are too many for memory, in a file without a name: the kernel
 * frees it when the last user closes it, crash included.
 */
#ifndef CLINIC_RELAY_SPOOL_H
#define CLINIC_RELAY_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct spool;

/* NULL: no such directory, no descriptor, no memory (errno says which). */
struct spool *spool_open(const char *dir);
/* Accepts NULL. */
void spool_close(struct spool *s);
/* False: the disk is full or failed; the spool is of no use any more. */
bool spool_append(struct spool *s, const void *bytes, size_t len);
bool spool_read(const struct spool *s, uint64_t at, void *out, size_t len);
uint64_t spool_bytes(const struct spool *s);

#endif
