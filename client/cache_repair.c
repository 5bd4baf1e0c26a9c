/*
 * One table anew from the server, while all others and the table itself go on.
 *
 * What is to be fetched waits in a list (cache_wish.c).  The first of it is
 * asked for; from then on the changes to the table are kept.  Its rows come as
 * they were at some moment after that.  They are only put aside while they
 * come, so that no frame waits behind them in the socket; then, in steps
 * between the frames, they are staged (cache_table_part.c) and compared
 * (cache_compare.c), and those that differ are replaced in one transaction,
 * where the kept changes are applied once more (cache_swap.c).  The file is
 * never without the table, nor ever at no batch.
 */
#include "cache_repair.h"
#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_BYTES_MOST ((size_t)256 << 20)
#define ANSWER_MOST_MS (10 * 60 * 1000)

typedef enum {
	REPAIR_IDLE,
	REPAIR_REQUESTED, /* no row so far */
	REPAIR_RECEIVING,
	REPAIR_STAGING, /* all came */
	REPAIR_COMPARING,
	REPAIR_DRAINING, /* given up, but the rest of the rows is still to come */
} repair_phase;

struct repair {
	char *path; /* FILE.table-part */
	repair_phase phase;
	char table[64]; /* in hand */
	char *schema;   /* when it was asked for */
	uint64_t heard_at;
	char cursor[CURSOR_TEXT_BYTES]; /* of the rows that come */
	int64_t next_part;
	struct stage *spool; /* the messages, until all are there */
	uint64_t spooled;    /* bytes of them */
	int64_t staged;      /* so many of them are in part */
	struct table_part *part;
	struct stage *kept;
	size_t kept_bytes;
	bool kept_failed;
	struct compare_walk walk;
};

/* ---- life ------------------------------------------------------------------------------- */

cs_status repair_new(struct clinic_cache *c, struct cs_error *err)
{
	c->repair = calloc(1, sizeof(*c->repair));
	if (c->repair)
		c->repair->path = platform_format("%s.table-part", c->path);
	if (!c->repair || !c->repair->path)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	if (wishes_new(c, err) != CS_OK)
		return err->status;
	/* from a process that was killed */
	platform_remove(c->repair->path);
	beside_remove(c->repair->path);
	return CS_OK;
}

static struct cached_table *table_of(struct clinic_cache *c, const char *name)
{
	return tables_find(&c->tables, name, strlen(name));
}

/* What came of the repair in hand goes. */
static void clear(struct clinic_cache *c)
{
	struct repair *r = c->repair;
	bool staged = r->phase == REPAIR_STAGING || r->phase == REPAIR_COMPARING;

	table_part_close(r->part);
	r->part = NULL;
	stage_close(r->spool);
	r->spool = NULL;
	r->spooled = 0;
	r->staged = 0;
	stage_close(r->kept);
	r->kept = NULL;
	r->kept_bytes = 0;
	r->kept_failed = false;
	free(r->schema);
	r->schema = NULL;
	r->next_part = 0;
	compare_end(c, &r->walk);
	r->phase = REPAIR_IDLE;
	if (staged) {
		platform_remove(r->path);
		beside_remove(r->path);
	}
}

void repair_free(struct clinic_cache *c)
{
	wishes_free(c);
	if (!c->repair)
		return;
	clear(c);
	free(c->repair->path);
	free(c->repair);
	c->repair = NULL;
}

void repair_reset(struct clinic_cache *c)
{
	clear(c);
}

void repair_snapshot_applied(struct clinic_cache *c)
{
	clear(c);
	wishes_snapshot_applied(c);
}

/* It goes on from the beginning, later; rows that are on their way are of no use. */
static void give_up(struct clinic_cache *c, const char *why, bool more_comes)
{
	struct repair *r = c->repair;
	struct wish *w = wish_find(c, r->table);
	char detail[400];

	clear(c);
	if (more_comes)
		r->phase = REPAIR_DRAINING;
	if (w)
		wish_put_off(c, w);
	snprintf(detail, sizeof(detail), "table %s could not be fetched: %s", r->table, why);
	event_simple(c, "sync_error", detail);
}

/* ---- asking ----------------------------------------------------------------------------- */

static cs_status request(struct clinic_cache *c, const struct wish *w, struct cs_error *err)
{
	struct repair *r = c->repair;
	json_t *message = json_pack("{s:s, s:s}", "type", "request_table_sync", "table", w->name);
	char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	cs_status st;

	json_decref(message);
	strcpy(r->table, w->name);
	r->schema = strdup(table_of(c, w->name)->schema->json);
	st = r->schema ? stage_open(c->path, &r->kept, err)
		       : cs_fail(err, CS_ERR_NOMEM, "out of memory");
	if (st != CS_OK) {
		free(text);
		return st;
	}
	r->phase = REPAIR_REQUESTED;
	r->heard_at = c->now_ms;
	return session_send(c, text, err);
}

static bool may_ask(const struct clinic_cache *c)
{
	return c->link == LINK_READY && c->repair->phase == REPAIR_IDLE && !session_is_full(c);
}

static void ask(struct clinic_cache *c)
{
	struct cs_error err = {0};
	const struct wish *w;

	wishes_take_due(c);
	w = wish_next(c);
	if (!w || w->not_before > c->now_ms)
		return;
	if (!table_of(c, w->name)) {
		wish_find(c, w->name)->waiting = false;
		return;
	}
	if (request(c, w, &err) != CS_OK)
		give_up(c, err.text, false);
}

/* ---- changes meanwhile -------------------------------------------------------------------- */

/* Rows are still to come. */
static bool awaits(const struct repair *r)
{
	return r->phase == REPAIR_REQUESTED || r->phase == REPAIR_RECEIVING ||
	       r->phase == REPAIR_DRAINING;
}

static bool keeps(const struct repair *r)
{
	return r->phase != REPAIR_IDLE && r->phase != REPAIR_DRAINING;
}

static cs_status keep(struct repair *r, struct frame_source *source, struct cs_error *err)
{
	const char *message;
	size_t len;
	cs_status st;

	source_rewind(source);
	while ((st = source_next(source, &message, &len, err)) == CS_OK && message) {
		r->kept_bytes += len;
		if (r->kept_bytes > KEPT_BYTES_MOST)
			return cs_fail(err, CS_ERR_STORE, "too much changed meanwhile");
		st = stage_add(r->kept, message, len, err);
		if (st != CS_OK)
			return st;
	}
	return st;
}

void repair_frame_applied(struct clinic_cache *c, struct frame_source *source)
{
	struct repair *r = c->repair;
	struct cs_error err = {0};
	const struct cached_table *t;
	bool more_comes = awaits(r);

	if (!keeps(r))
		return;
	t = table_of(c, r->table);
	if (!t || strcmp(t->schema->json, r->schema) != 0)
		give_up(c, "its columns changed meanwhile", more_comes);
	else if (t->touched && keep(r, source, &err) != CS_OK)
		give_up(c, err.text, more_comes);
}

/* ---- rows ------------------------------------------------------------------------------- */

/* What can be judged of a piece without its rows. */
static bool continues(struct repair *r, const json_t *envelope)
{
	const char *cursor = json_string_value(json_object_get(envelope, "cursor"));
	const json_t *part = json_object_get(envelope, "part");

	if (!cursor || !cursor[0] || strlen(cursor) >= sizeof(r->cursor) ||
	    !json_is_integer(part) || json_integer_value(part) != r->next_part ||
	    !json_is_boolean(json_object_get(envelope, "last")))
		return false;
	if (r->next_part++ == 0)
		strcpy(r->cursor, cursor);
	return strcmp(r->cursor, cursor) == 0;
}

static cs_status spool(struct clinic_cache *c, const void *bytes, size_t len, struct cs_error *err)
{
	struct repair *r = c->repair;
	cs_status st = r->spool ? CS_OK : stage_open(c->path, &r->spool, err);

	r->phase = REPAIR_RECEIVING;
	r->spooled += len;
	if (st == CS_OK && r->spooled > c->fetch_bytes_most)
		st = cs_fail(err, CS_ERR_STORE, "it is larger than %llu bytes",
			     (unsigned long long)c->fetch_bytes_most);
	return st == CS_OK ? stage_add(r->spool, bytes, len, err) : st;
}

cs_status repair_on_table_sync(struct clinic_cache *c, const json_t *envelope, const void *bytes,
			       size_t len, struct cs_error *err)
{
	struct repair *r = c->repair;
	const char *table = json_string_value(json_object_get(envelope, "table"));
	bool last = json_is_true(json_object_get(envelope, "last"));
	struct cs_error why = {0};

	/* of one that was given up before the link knew */
	if (!table || strcmp(table, r->table) != 0 ||
	    (r->phase != REPAIR_REQUESTED && r->phase != REPAIR_RECEIVING)) {
		if (table && last && r->phase == REPAIR_DRAINING && strcmp(table, r->table) == 0)
			r->phase = REPAIR_IDLE;
		return CS_OK;
	}
	if (!continues(r, envelope))
		return cs_fail(err, CS_ERR_PROTOCOL, "a piece of a table is of the wrong form");
	r->heard_at = c->now_ms;
	prove_progress(c);
	if (spool(c, bytes, len, &why) != CS_OK)
		give_up(c, why.text, !last);
	else if (last)
		r->phase = REPAIR_STAGING;
	return CS_OK;
}

bool repair_on_error(struct clinic_cache *c, const char *code, const char *table)
{
	struct repair *r = c->repair;
	bool ours = table && strcmp(table, r->table) == 0 && awaits(r);

	if (ours && strcmp(code, "table_sync_failed") == 0) {
		if (r->phase == REPAIR_DRAINING)
			r->phase = REPAIR_IDLE;
		else
			give_up(c, "the relay has no snapshot of it now", false);
		return true;
	}
	if (ours && strcmp(code, "no_such_table") == 0) {
		wish_find(c, r->table)->waiting = false;
		give_up(c, "the relay does not publish it", false);
		return true;
	}
	return false;
}

/* ---- work between messages ------------------------------------------------------------------ */

static cs_status stage_piece(struct repair *r, const char *bytes, size_t len, struct cs_error *err)
{
	json_t *message = json_loadb(bytes, len, JSON_REJECT_DUPLICATES, NULL);
	cs_status st = CS_OK;

	if (!message)
		return cs_fail(err, CS_ERR_PROTOCOL, "a piece of it is no JSON object");
	if (!r->part)
		st = table_part_create(r->path, &r->part, err);
	if (st == CS_OK)
		st = table_part_take(r->part, message, &r->staged, err);
	json_decref(message);
	return st;
}

/* All rows are staged. */
static cs_status begin_to_compare(struct clinic_cache *c, struct cs_error *err)
{
	struct repair *r = c->repair;
	const struct cached_table *t = table_of(c, r->table);
	const int64_t staged = table_part_rows(r->part);
	cs_status st;

	if (!t || strcmp(t->schema->json, table_part_schema(r->part)->json) != 0)
		return cs_fail(err, CS_ERR_STORE, "its columns changed meanwhile");
	st = table_part_end(r->part, err);
	if (st == CS_OK)
		st = table_part_finish(r->part, r->cursor, false, err);
	table_part_close(r->part);
	r->part = NULL;
	stage_close(r->spool);
	r->spool = NULL;
	r->phase = REPAIR_COMPARING;
	if (st == CS_OK)
		st = compare_begin(c, t, staged, &r->walk, err);
	/* rows alone did not help the last time */
	if (st == CS_OK && wish_find(c, r->table)->times > 1)
		r->walk.whole = true;
	return st;
}

/* One piece. */
static void stage(struct clinic_cache *c)
{
	struct repair *r = c->repair;
	struct cs_error err = {0};
	char *bytes = NULL;
	size_t len = 0;
	cs_status st = stage_next(r->spool, &bytes, &len, &err);

	prove_progress(c);
	if (st == CS_OK && bytes)
		st = stage_piece(r, bytes, len, &err);
	else if (st == CS_OK)
		st = begin_to_compare(c, &err);
	free(bytes);
	if (st != CS_OK)
		give_up(c, err.text, false);
}

static void done(struct clinic_cache *c, const struct swap *s)
{
	struct wish *w = wish_find(c, c->repair->table);
	bool differed = s->counted || s->written;
	char detail[128];

	w->waiting = false;
	w->fails = 0;
	if (w->reason == REPAIR_ASKED)
		w->times = 0;
	clear(c);
	snprintf(detail, sizeof(detail), "it differed from the server's, %lld rows were put right",
		 (long long)s->written);
	event_table(c, w->name, s->rows, s->counted ? detail : NULL);
	prove_repaired(c, w->name, differed);
}

static void swap(struct clinic_cache *c)
{
	struct repair *r = c->repair;
	struct cs_error err = {0};
	struct swap s = {
		.table = r->table,
		.path = r->path,
		.kept = r->kept,
		.whole = r->walk.whole,
		.counted = wish_find(c, r->table)->reason == REPAIR_DIFFERS,
	};

	if (swap_table(c, &s, &err) == CS_OK)
		done(c, &s);
	else
		give_up(c, err.text, false);
}

static void compare(struct clinic_cache *c)
{
	struct repair *r = c->repair;
	const struct cached_table *t = table_of(c, r->table);
	struct cs_error err = {0};

	prove_progress(c);
	if (!t)
		give_up(c, "it is gone from the file", false);
	else if (compare_step(c, t, r->path, &r->walk, &err) != CS_OK)
		give_up(c, err.text, false);
}

void repair_tick(struct clinic_cache *c)
{
	struct repair *r = c->repair;

	if (!c->db || c->link != LINK_READY)
		return;
	if (r->phase == REPAIR_COMPARING) {
		if (r->walk.over)
			swap(c);
		else
			compare(c);
	} else if (r->phase == REPAIR_STAGING) {
		stage(c);
	} else if (awaits(r) && c->now_ms > r->heard_at + ANSWER_MOST_MS) {
		give_up(c, "the relay does not answer", false);
	} else if (may_ask(c)) {
		ask(c);
	}
}

uint32_t repair_wait_ms(const struct clinic_cache *c, uint32_t most)
{
	const struct wish *next;
	uint64_t wait;

	if (!c->db || c->link != LINK_READY)
		return most;
	if (c->repair->phase == REPAIR_STAGING || c->repair->phase == REPAIR_COMPARING)
		return 0;
	if (!may_ask(c))
		return most;
	if (c->use.due_count > 0 && !wish_find(c, c->use.due[0]))
		return 0;
	next = wish_next(c);
	if (!next)
		return most;
	wait = next->not_before > c->now_ms ? next->not_before - c->now_ms : 0;
	return wait < most ? (uint32_t)wait : most;
}
