/*
 * request_digest: what a device says of itself when it asks for a proof.
 *
 * Where it stands, how many rows it holds, which columns its tables lack, and
 * how it fared so far: the relay shows that to the DBA (clinic_sync.devices).
 */
#include "cache_prove.h"

#include <string.h>

#define REQUEST_BYTES_MOST ((size_t)60 * 1024) /* below what any relay takes */
#define REQUEST_TEXT_MOST ((size_t)1 << 20)

const char *proof_scope_name(proof_scope scope)
{
	return scope == PROOF_SLICE ? "slice" : "tables";
}

static bool is_asked_for(const struct clinic_cache *c, proof_scope scope,
			 const struct cached_table *t)
{
	int at;

	if (scope == PROOF_SLICE)
		return true;
	at = proof_table_of(c->prove, t->schema->table);
	return at >= 0 && c->prove->tables[at].want == WANT_PROOF;
}

static void add_names(struct clinic_cache *c, proof_scope scope, struct dynbuf *b)
{
	bool any = false;

	dynbuf_adds(b, scope == PROOF_SLICE ? "null" : "[");
	for (size_t i = 0; scope != PROOF_SLICE && i < c->tables.count; i++) {
		const char *name = c->tables.items[i]->schema->table;

		if (!is_asked_for(c, scope, c->tables.items[i]))
			continue;
		dynbuf_adds(b, any ? "," : "");
		dynbuf_add_json(b, name, strlen(name));
		any = true;
	}
	dynbuf_adds(b, scope == PROOF_SLICE ? "" : "]");
}

static cs_status add_counts(struct clinic_cache *c, proof_scope scope, struct dynbuf *b,
			    struct cs_error *err)
{
	bool any = false;

	for (size_t i = 0; i < c->tables.count; i++) {
		struct cached_table *t = c->tables.items[i];
		int64_t rows = 0;
		cs_status st;

		if (!is_asked_for(c, scope, t))
			continue;
		st = table_count_rows(c, t, &rows, err);
		if (st != CS_OK)
			return st;
		dynbuf_adds(b, any ? "," : "");
		dynbuf_add_json(b, t->schema->table, strlen(t->schema->table));
		dynbuf_addf(b, ":%lld", (long long)rows);
		any = true;
	}
	return CS_OK;
}

static cs_status add_skips(struct clinic_cache *c, struct dynbuf *b, struct cs_error *err)
{
	bool any_table = false;
	cs_status st = CS_OK;
	struct dynbuf names;

	dynbuf_init(&names, REQUEST_TEXT_MOST);
	for (size_t i = 0; i < c->tables.count && st == CS_OK; i++) {
		const char *table = c->tables.items[i]->schema->table;
		bool any = false;

		dynbuf_reset(&names);
		st = table_add_skipped(c->tables.items[i], &names, &any, err);
		if (st != CS_OK || !any)
			continue;
		dynbuf_adds(b, any_table ? "," : ",\"skip\":{");
		dynbuf_add_json(b, table, strlen(table));
		dynbuf_addf(b, ":[%s]", names.data);
		any_table = true;
	}
	dynbuf_adds(b, any_table ? "}" : "");
	dynbuf_free(&names);
	return st;
}

static int64_t count_of(struct clinic_cache *c, const char *sql)
{
	int64_t n = 0;

	return store_integer(c->db, sql, &n, NULL) == CS_OK ? n : 0;
}

static cs_status write_request(struct clinic_cache *c, proof_scope scope, bool with_counts,
			       struct dynbuf *b, struct cs_error *err)
{
	int64_t parked = 0;
	cs_status st;

	dynbuf_addf(b, "{\"type\":\"request_digest\",\"scope\":\"%s\",\"cursor\":",
		    proof_scope_name(scope));
	dynbuf_add_json(b, c->cursor, strlen(c->cursor));
	dynbuf_adds(b, ",\"tables\":");
	add_names(c, scope, b);
	dynbuf_adds(b, ",\"counts\":{");
	st = with_counts ? add_counts(c, scope, b, err) : CS_OK;
	dynbuf_adds(b, "}");
	if (st == CS_OK)
		st = add_skips(c, b, err);
	if (store_table_exists(c->db, "main", "clinic_cache_parked"))
		parked = count_of(c, "SELECT count(*) FROM main.clinic_cache_parked");
	dynbuf_addf(b, ",\"proven\":%s,\"repairs\":%lld,\"parked\":%lld}",
		    c->prove->found_equal ? "true" : "false",
		    (long long)count_of(c, "SELECT value FROM main.clinic_sync_meta"
					   " WHERE key = 'repairs'"),
		    (long long)parked);
	if (st == CS_OK && b->failed)
		st = cs_fail(err, CS_ERR_NOMEM, "out of memory");
	return st;
}

cs_status prove_ask(struct clinic_cache *c, proof_scope scope, struct cs_error *err)
{
	struct round *r = &c->prove->rounds[scope];
	struct dynbuf text;
	cs_status st = store_exec(c->db, "BEGIN", err);

	if (st != CS_OK)
		return st;
	dynbuf_init(&text, REQUEST_TEXT_MOST);
	st = write_request(c, scope, true, &text, err);
	if (st == CS_OK && text.len > REQUEST_BYTES_MOST) {
		dynbuf_reset(&text);
		st = write_request(c, scope, false, &text, err);
	}
	store_rollback(c->db);
	if (st == CS_OK)
		st = session_send(c, strdup(text.data), err);
	dynbuf_free(&text);
	if (st != CS_OK)
		return st;
	round_clear(r);
	r->asked = true;
	r->asked_at = c->now_ms;
	return CS_OK;
}
