/* link: -lsqlite3 -ljansson -lcrypto -lm */
/*
 * cache_sampler CACHE OUTPUT: looks at a cache from outside, all the time.
 *
 * In its own process and through its own reading connection it takes, in one
 * read transaction each, the cursor and the digest of every table, and appends
 * one line per sample to OUTPUT:
 *
 *	MILLISECONDS FILE CURSOR table=ROWS:HASH table=ROWS:HASH …
 *
 * FILE counts the files that were found under the name CACHE: 1, 2 …
 * Tables come in byte order. A file that did not change since the last sample
 * is looked at again only now and then. SIGTERM: prints "samples N" and ends.
 *
 * The digest is written from docs/protocol.md ("Values", "Digest") alone and
 * shares no code with the cache, so that one mistake cannot be in both.
 */
#include <jansson.h>
#include <math.h>
#include <openssl/sha.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { NAP_US = 1000, ABSENT_NAP_US = 5000, MOST_NAPS = 12, MOST_COLUMNS = 256 };

struct column {
	char *name;
	char class[16];
	bool single; /* float of 4 bytes */
	int scale;
	int key_position; /* -1: not in the key */
};

struct table {
	char *name;
	struct column *columns; /* in byte order of the names */
	size_t count;
	size_t key_count;
	sqlite3_stmt *rows;
};

/* Canonical text that a column cannot hold exactly. */
struct exact {
	char *table, *column, *value;
	char **key; /* by key position */
	size_t key_count;
};

struct text {
	char *bytes;
	size_t len, room;
};

static volatile sig_atomic_t stopping;
static sqlite3 *db;
static struct table *tables;
static size_t table_count;
static struct exact *exacts;
static size_t exact_count;
static int schema_version = -1;

static void stop(int signo)
{
	(void)signo;
	stopping = 1;
}

static void die(const char *what)
{
	fprintf(stderr, "cache_sampler: %s: %s\n", what, db ? sqlite3_errmsg(db) : "");
	exit(1);
}

static void *grown(void *old, size_t bytes)
{
	void *p = realloc(old, bytes);

	if (!p)
		die("out of memory");
	return p;
}

static void text_add(struct text *t, const void *bytes, size_t len)
{
	if (t->len + len + 1 > t->room) {
		t->room = (t->len + len + 1) * 2;
		t->bytes = grown(t->bytes, t->room);
	}
	memcpy(t->bytes + t->len, bytes, len);
	t->len += len;
	t->bytes[t->len] = '\0';
}

static char *copied(const char *s)
{
	char *c = s ? strdup(s) : NULL;

	if (s && !c)
		die("out of memory");
	return c;
}

/* ---- what the file says about its tables ---------------------------------- */

static int by_column_name(const void *a, const void *b)
{
	return strcmp(((const struct column *)a)->name, ((const struct column *)b)->name);
}

static int by_table_name(const void *a, const void *b)
{
	return strcmp(((const struct table *)a)->name, ((const struct table *)b)->name);
}

static void tables_free(void)
{
	for (size_t i = 0; i < table_count; i++) {
		for (size_t c = 0; c < tables[i].count; c++)
			free(tables[i].columns[c].name);
		free(tables[i].columns);
		free(tables[i].name);
		sqlite3_finalize(tables[i].rows);
	}
	free(tables);
	tables = NULL;
	table_count = 0;
	schema_version = -1;
}

static const char *member(json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s ? s : "";
}

static void column_load(struct column *c, json_t *object, json_t *key)
{
	const char *type = member(object, "type"), *comma = strchr(type, ',');

	c->name = copied(member(object, "name"));
	snprintf(c->class, sizeof(c->class), "%s", member(object, "class"));
	c->single = strcmp(type, "real") == 0;
	c->scale = comma ? atoi(comma + 1) : 0;
	c->key_position = -1;
	for (size_t i = 0; i < json_array_size(key); i++)
		if (strcmp(json_string_value(json_array_get(key, i)), c->name) == 0)
			c->key_position = (int)i;
}

static void table_prepare(struct table *t)
{
	struct text sql = {0};

	text_add(&sql, "SELECT ", 7);
	for (size_t i = 0; i < t->count; i++) {
		char *q = sqlite3_mprintf("%s\"%w\"", i ? "," : "", t->columns[i].name);

		text_add(&sql, q, strlen(q));
		sqlite3_free(q);
	}
	char *from = sqlite3_mprintf(" FROM \"%w\"", t->name);

	text_add(&sql, from, strlen(from));
	sqlite3_free(from);
	if (sqlite3_prepare_v3(db, sql.bytes, -1, SQLITE_PREPARE_PERSISTENT, &t->rows, NULL) !=
	    SQLITE_OK)
		die(sql.bytes);
	free(sql.bytes);
}

static void table_load(struct table *t, const char *name, const char *schema)
{
	json_error_t error;
	json_t *object = json_loads(schema, 0, &error),
	       *columns = json_object_get(object, "columns");
	json_t *key = json_object_get(object, "key");

	if (!object || json_array_size(columns) == 0 || json_array_size(columns) > MOST_COLUMNS)
		die("schema object");
	memset(t, 0, sizeof(*t));
	t->name = copied(name);
	t->count = json_array_size(columns);
	t->key_count = json_array_size(key);
	t->columns = grown(NULL, t->count * sizeof(*t->columns));
	for (size_t i = 0; i < t->count; i++)
		column_load(&t->columns[i], json_array_get(columns, i), key);
	qsort(t->columns, t->count, sizeof(*t->columns), by_column_name);
	json_decref(object);
	table_prepare(t);
}

static sqlite3_stmt *prepared(const char *sql)
{
	sqlite3_stmt *s;

	return sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK ? s : NULL;
}

static int number(const char *sql)
{
	sqlite3_stmt *s = prepared(sql);
	int n = s && sqlite3_step(s) == SQLITE_ROW ? sqlite3_column_int(s, 0) : -1;

	sqlite3_finalize(s);
	return n;
}

/* Within the read transaction: what the tables look like in it. False: no tables yet. */
static bool tables_load(void)
{
	int version = number("PRAGMA schema_version");
	sqlite3_stmt *s;

	if (version >= 0 && version == schema_version)
		return true;
	tables_free();
	if (!(s = prepared("SELECT name, schema FROM clinic_sync_table")))
		return false;
	while (sqlite3_step(s) == SQLITE_ROW) {
		tables = grown(tables, (table_count + 1) * sizeof(*tables));
		table_load(&tables[table_count], (const char *)sqlite3_column_text(s, 0),
			   (const char *)sqlite3_column_text(s, 1));
		table_count++;
	}
	sqlite3_finalize(s);
	qsort(tables, table_count, sizeof(*tables), by_table_name);
	schema_version = version;
	return table_count > 0;
}

/* ---- canonical text -------------------------------------------------------- */

/* As PostgreSQL prints floats: shortest digits, plain between 1e-4 and 1e15 (1e6 for real). */
static int print_float(double x, bool single, char *out, size_t room)
{
	char e[64], digits[32];
	int precision, exponent, n = 0, len;

	if (isnan(x))
		return snprintf(out, room, "NaN");
	if (isinf(x))
		return snprintf(out, room, x < 0 ? "-Infinity" : "Infinity");
	if (x == 0)
		return snprintf(out, room, signbit(x) ? "-0" : "0");
	for (precision = 0; precision < 17; precision++) {
		snprintf(e, sizeof(e), "%.*e", precision, x);
		if (single ? strtof(e, NULL) == (float)x : strtod(e, NULL) == x)
			break;
	}
	exponent = atoi(strchr(e, 'e') + 1);
	for (const char *p = e; *p != 'e'; p++)
		if (*p >= '0' && *p <= '9')
			digits[n++] = *p;
	digits[n] = '\0';
	if (exponent < -4 || exponent >= (single ? 6 : 15))
		return snprintf(out, room, "%s%c%s%se%c%02d", x < 0 ? "-" : "", digits[0],
				n > 1 ? "." : "", digits + 1, exponent < 0 ? '-' : '+',
				abs(exponent));
	len = snprintf(out, room, "%s", x < 0 ? "-" : "");
	if (exponent < 0)
		return len +
		       snprintf(out + len, room - len, "0.%.*s%s", -exponent - 1, "0000", digits);
	if (n <= exponent + 1)
		return len + snprintf(out + len, room - len, "%s%.*s", digits, exponent + 1 - n,
				      "00000000000000000000");
	return len + snprintf(out + len, room - len, "%.*s.%s", exponent + 1, digits,
			      digits + exponent + 1);
}

static void print_blob(sqlite3_stmt *s, int i, struct text *out)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *bytes = sqlite3_column_blob(s, i);
	int len = sqlite3_column_bytes(s, i);

	text_add(out, "\\x", 2);
	for (int k = 0; k < len; k++) {
		char two[2] = {hex[bytes[k] >> 4], hex[bytes[k] & 15]};

		text_add(out, two, 2);
	}
}

/* The canonical text of what the column holds, into out. */
static void print_value(sqlite3_stmt *s, int i, const struct column *c, struct text *out)
{
	char buffer[400];
	int type = sqlite3_column_type(s, i), len = 0;

	out->len = 0;
	if (type == SQLITE_INTEGER && strcmp(c->class, "boolean") == 0)
		len = snprintf(buffer, sizeof(buffer), sqlite3_column_int(s, i) ? "true" : "false");
	else if (type == SQLITE_INTEGER)
		len = snprintf(buffer, sizeof(buffer), "%lld", sqlite3_column_int64(s, i));
	else if (type == SQLITE_FLOAT && strcmp(c->class, "decimal") == 0)
		len = snprintf(buffer, sizeof(buffer), "%.*f", c->scale,
			       sqlite3_column_double(s, i));
	else if (type == SQLITE_FLOAT)
		len = print_float(sqlite3_column_double(s, i), c->single, buffer, sizeof(buffer));
	else if (type == SQLITE_BLOB)
		print_blob(s, i, out);
	else if (type == SQLITE_TEXT)
		text_add(out, sqlite3_column_text(s, i), (size_t)sqlite3_column_bytes(s, i));
	text_add(out, buffer, (size_t)len);
}

/* ---- values kept beside the columns ---------------------------------------- */

static void exacts_free(void)
{
	for (size_t i = 0; i < exact_count; i++) {
		free(exacts[i].table);
		free(exacts[i].column);
		free(exacts[i].value);
		for (size_t k = 0; k < exacts[i].key_count; k++)
			free(exacts[i].key[k]);
		free(exacts[i].key);
	}
	free(exacts);
	exacts = NULL;
	exact_count = 0;
}

static char *canonical_of_json(json_t *v)
{
	char buffer[32];

	if (json_is_integer(v))
		snprintf(buffer, sizeof(buffer), "%lld", (long long)json_integer_value(v));
	else if (json_is_boolean(v))
		snprintf(buffer, sizeof(buffer), "%s", json_is_true(v) ? "true" : "false");
	else
		return copied(json_string_value(v));
	return copied(buffer);
}

static void exacts_load(void)
{
	sqlite3_stmt *s = prepared("SELECT \"table\", column, value, key FROM clinic_sync_exact");

	exacts_free();
	while (s && sqlite3_step(s) == SQLITE_ROW) {
		json_t *key = json_loads((const char *)sqlite3_column_text(s, 3), 0, NULL), *v;
		const char *name;
		struct exact *e;

		exacts = grown(exacts, (exact_count + 1) * sizeof(*exacts));
		e = &exacts[exact_count++];
		e->table = copied((const char *)sqlite3_column_text(s, 0));
		e->column = copied((const char *)sqlite3_column_text(s, 1));
		e->value = copied((const char *)sqlite3_column_text(s, 2));
		e->key = grown(NULL, (json_object_size(key) + 1) * sizeof(char *));
		e->key_count = 0;
		json_object_foreach(key, name, v) e->key[e->key_count++] = canonical_of_json(v);
		json_decref(key);
	}
	sqlite3_finalize(s);
}

/* The exact text of column c in the row whose canonical texts are value[]; NULL: none. */
static const char *exact_find(const struct table *t, const struct text *value, size_t c)
{
	for (size_t i = 0; i < exact_count; i++) {
		bool same = strcmp(exacts[i].table, t->name) == 0 &&
			    strcmp(exacts[i].column, t->columns[c].name) == 0;

		for (size_t k = 0; k < t->count && same; k++) {
			int p = t->columns[k].key_position;

			if (p >= 0 && (size_t)p < exacts[i].key_count)
				same = strcmp(exacts[i].key[p], value[k].bytes) == 0;
		}
		if (same)
			return exacts[i].value;
	}
	return NULL;
}

/* ---- digest ----------------------------------------------------------------- */

static bool has_exacts(const char *table)
{
	for (size_t i = 0; i < exact_count; i++)
		if (strcmp(exacts[i].table, table) == 0)
			return true;
	return false;
}

static uint64_t row_hash(const struct table *t, bool may_be_exact)
{
	static struct text input, value[MOST_COLUMNS];
	unsigned char sum[SHA256_DIGEST_LENGTH];
	uint64_t h = 0;
	char head[32];

	input.len = 0;
	for (size_t i = 0; i < t->count; i++)
		print_value(t->rows, (int)i, &t->columns[i], &value[i]);
	for (size_t i = 0; i < t->count; i++) {
		const char *exact = may_be_exact ? exact_find(t, value, i) : NULL;
		const char *bytes = exact ? exact : value[i].bytes;
		size_t len = exact ? strlen(exact) : value[i].len;

		if (!exact && sqlite3_column_type(t->rows, (int)i) == SQLITE_NULL) {
			text_add(&input, "N", 1);
			continue;
		}
		text_add(&input, head, (size_t)snprintf(head, sizeof(head), "V%zu:", len));
		text_add(&input, bytes, len);
	}
	SHA256((unsigned char *)input.bytes, input.len, sum);
	for (int i = 0; i < 8; i++)
		h = h << 8 | sum[i];
	return h;
}

static bool digest(struct table *t, struct text *line)
{
	uint64_t hash = 0, rows = 0;
	bool may_be_exact = has_exacts(t->name);
	char buffer[64];
	int rc;

	while ((rc = sqlite3_step(t->rows)) == SQLITE_ROW) {
		hash += row_hash(t, may_be_exact);
		rows++;
	}
	sqlite3_reset(t->rows);
	text_add(line, " ", 1);
	text_add(line, t->name, strlen(t->name));
	text_add(line, buffer,
		 (size_t)snprintf(buffer, sizeof(buffer), "=%llu:%016llx", (unsigned long long)rows,
				  (unsigned long long)hash));
	return rc == SQLITE_DONE;
}

/* One read transaction. False: nothing to be seen (busy, or no cursor yet). */
static bool sample(struct text *line)
{
	sqlite3_stmt *s;
	bool ok = false;

	if (sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) != SQLITE_OK)
		return false;
	s = prepared("SELECT value FROM clinic_sync_meta WHERE key = 'cursor'");
	if (s && sqlite3_step(s) == SQLITE_ROW && sqlite3_column_text(s, 0) && tables_load()) {
		const char *cursor = (const char *)sqlite3_column_text(s, 0);

		line->len = 0;
		text_add(line, cursor, strlen(cursor));
		exacts_load();
		ok = true;
		for (size_t i = 0; i < table_count && ok; i++)
			ok = digest(&tables[i], line);
	}
	sqlite3_finalize(s);
	sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
	return ok;
}

/* ---- the loop ---------------------------------------------------------------- */

static void close_file(void)
{
	tables_free();
	sqlite3_close(db);
	db = NULL;
}

/*
 * Have the file that path names now open; false while there is none. The inode
 * tells a new file: the old one's cannot be used again while it is open here.
 */
static bool open_file(const char *path, unsigned *files)
{
	static ino_t inode;
	struct stat st;

	if (stat(path, &st) < 0) {
		close_file();
		return false;
	}
	if (db && st.st_ino == inode)
		return true;
	close_file();
	inode = st.st_ino;
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK) {
		close_file();
		return false;
	}
	sqlite3_busy_timeout(db, 2000);
	++*files;
	return true;
}

static long long milliseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int main(int argc, char **argv)
{
	struct text line = {0};
	unsigned long samples = 0;
	int version = -1, seen = -1, naps = 0;
	unsigned files = 0;
	FILE *out;

	if (argc != 3 || !(out = fopen(argv[2], "a"))) {
		fprintf(stderr, "usage: cache_sampler CACHE OUTPUT\n");
		return 2;
	}
	setvbuf(out, NULL, _IOLBF, 1 << 16);
	signal(SIGTERM, stop);
	signal(SIGINT, stop);
	while (!stopping) {
		bool was_open = db != NULL;

		if (!open_file(argv[1], &files)) {
			usleep(ABSENT_NAP_US);
			continue;
		}
		version = number("PRAGMA data_version");
		if (was_open && version == seen && naps++ < MOST_NAPS) {
			usleep(NAP_US);
			continue;
		}
		naps = 0;
		if (!sample(&line)) {
			usleep(ABSENT_NAP_US);
			continue;
		}
		seen = version;
		fprintf(out, "%lld %u %s\n", milliseconds(), files, line.bytes);
		samples++;
	}
	close_file();
	fclose(out);
	printf("samples %lu\n", samples);
	return 0;
}
