/* Sets of rows; see cli_rowset.h. */
#include "cli_rowset.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ROWS ((size_t)1 << 28)

/* 128-bit FNV-1a: not secret, only collision-poor. */
static void hash_bytes(const char *bytes, size_t len, uint64_t out[2])
{
	const unsigned __int128 prime = ((unsigned __int128)1 << 88) + 0x13b;
	unsigned __int128 h = ((unsigned __int128)0x6c62272e07bb0142u << 64) | 0x62b821756295c58du;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)bytes[i]) * prime;
	out[0] = (uint64_t)(h >> 64);
	out[1] = (uint64_t)h;
}

/* The two sides may escape and space differently: parsing and printing again removes that. */
static bool hash_key(const char *key, uint64_t out[2])
{
	json_t *object = json_loads(key, JSON_REJECT_DUPLICATES, NULL);
	char *normal = NULL;

	if (json_is_object(object))
		normal = json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER);
	if (normal)
		hash_bytes(normal, strlen(normal), out);
	json_decref(object);
	free(normal);
	return normal != NULL;
}

static bool make_room(struct cli_rowset *set)
{
	size_t capacity = set->capacity ? set->capacity * 2 : 1024;
	struct cli_row *rows;

	if (set->count < set->capacity)
		return true;
	if (capacity > MAX_ROWS)
		return false;
	rows = realloc(set->rows, capacity * sizeof(*rows));
	if (!rows)
		return false;
	set->rows = rows;
	set->capacity = capacity;
	return true;
}

void cli_rowset_add(struct cli_rowset *set, const char *key, const char *hash)
{
	struct cli_row row;
	char *end;

	row.hash = strtoull(hash, &end, 16);
	if (set->failed || strlen(hash) != 16 || *end || !hash_key(key, row.key) ||
	    !make_room(set)) {
		set->failed = true;
		return;
	}
	set->rows[set->count++] = row;
}

void cli_rowset_free(struct cli_rowset *set)
{
	free(set->rows);
	memset(set, 0, sizeof(*set));
}

static int compare_keys(const void *left, const void *right)
{
	const struct cli_row *a = left;
	const struct cli_row *b = right;

	for (int i = 0; i < 2; i++) {
		if (a->key[i] != b->key[i])
			return a->key[i] < b->key[i] ? -1 : 1;
	}
	return 0;
}

static void sort(struct cli_rowset *set)
{
	if (set->count > 1)
		qsort(set->rows, set->count, sizeof(*set->rows), compare_keys);
}

size_t cli_rowset_differences(struct cli_rowset *a, struct cli_rowset *b)
{
	size_t i = 0, j = 0, different = 0;

	sort(a);
	sort(b);
	while (i < a->count && j < b->count) {
		int order = compare_keys(&a->rows[i], &b->rows[j]);

		if (order != 0 || a->rows[i].hash != b->rows[j].hash)
			different++;
		if (order <= 0)
			i++;
		if (order >= 0)
			j++;
	}
	return different + (a->count - i) + (b->count - j);
}
