/*
 * Digest and row hashes of docs/protocol.md over what a file holds, of whole
 * tables and of ranges of their keys.  Rows that the app's table refuses are
 * the server's as much as those it took: they count like any other.
 */
#include "cache_view.h"

#include <stdlib.h>
#include <string.h>

typedef void on_row_fn(const char *key, const char *row_hash, void *context);

/* What is added up on the way over the rows. */
struct adding {
	int64_t rows;
	uint64_t sum;
	on_row_fn *on_row; /* may be NULL */
	void *context;
};

static void print_hash(uint64_t value, char out[17])
{
	static const char hex[] = "0123456789abcdef";

	for (int i = 0; i < 16; i++)
		out[i] = hex[value >> (60 - 4 * i) & 15];
	out[16] = '\0';
}

static void add_row(struct adding *a, const char *key, uint64_t hash)
{
	char text[17];

	a->sum += hash;
	a->rows++;
	if (!a->on_row)
		return;
	print_hash(hash, text);
	a->on_row(key, text, a->context);
}

static void add_parked(const char *key, uint64_t hash, void *context)
{
	add_row(context, key, hash);
}

static cs_status add_stored(struct row_reader *r, struct adding *a)
{
	bool more;
	cs_status st;

	while ((st = row_reader_next(r, &more)) == CS_OK && more) {
		uint64_t hash = 0;

		if (a->on_row)
			st = row_reader_key(r);
		if (st == CS_OK)
			st = row_reader_hash(r, &hash);
		if (st != CS_OK)
			return st;
		add_row(a, r->key.data, hash);
	}
	return st;
}

static cs_status add_all(sqlite3 *db, const struct cached_table *t, const char *after,
			 const char *upto, struct adding *a, struct cs_error *err)
{
	struct row_reader r;
	cs_status st =
		row_reader_open(&r, db, t, &(struct row_choice){.after = after, .upto = upto}, err);

	if (st == CS_OK)
		st = add_stored(&r, a);
	row_reader_close(&r);
	if (st == CS_OK && t->has_parked)
		st = parked_hashes(db, t, after, upto, add_parked, a, err);
	return st;
}

cs_status digest_range(struct clinic_cache *c, struct cached_table *t, const char *after,
		       const char *upto, int64_t *rows, char hash[17], struct cs_error *err)
{
	struct adding a = {0};
	cs_status st = add_all(c->db, t, after, upto, &a, err);

	*rows = a.rows;
	print_hash(a.sum, hash);
	return st;
}

cs_status table_count_rows(struct clinic_cache *c, struct cached_table *t, int64_t *rows,
			   struct cs_error *err)
{
	char *sql = sqlite3_mprintf("SELECT count(*) FROM main.\"%w\"", t->schema->table);
	int64_t parked = 0;
	cs_status st = sql ? store_integer(c->db, sql, rows, err)
			   : cs_fail(err, CS_ERR_NOMEM, "out of memory");

	sqlite3_free(sql);
	if (st == CS_OK && t->has_parked)
		st = parked_count(c->db, t->schema->table, &parked, err);
	*rows += parked;
	return st;
}

/* ---- views -------------------------------------------------------------------------------- */

static clinic_cache_status add_view(struct clinic_cache_view *v, const char *table,
				    struct adding *a, struct clinic_cache_error *err)
{
	struct cs_error why = {0};
	const struct cached_table *t = tables_find(&v->tables, table, strlen(table));
	cs_status st = t ? add_all(v->db, t, NULL, NULL, a, &why)
			 : cs_fail(&why, CS_ERR_CONFIG, "the file does not sync that table");

	return st == CS_OK ? CLINIC_CACHE_OK : cache_publish_error(&why, err);
}

clinic_cache_status clinic_cache_view_digest(struct clinic_cache_view *v, const char *table,
					     int64_t *rows, char hash[17],
					     struct clinic_cache_error *err)
{
	struct adding a = {0};
	clinic_cache_status st = add_view(v, table, &a, err);

	*rows = a.rows;
	print_hash(a.sum, hash);
	return st;
}

clinic_cache_status
clinic_cache_view_row_hashes(struct clinic_cache_view *v, const char *table,
			     void (*on_row)(const char *key, const char *row_hash, void *context),
			     void *context, struct clinic_cache_error *err)
{
	struct adding a = {.on_row = on_row, .context = context};

	return add_view(v, table, &a, err);
}
