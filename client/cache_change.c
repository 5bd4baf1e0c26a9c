/*
 * The changes of a message, one after the other.
 *
 * A backlog is megabytes of JSON whose values go into the file as they stand.
 * So no tree is built of it: the parser (yajl) reads the message once, and a
 * change is pairs of names and values that point into the message.  Only a
 * string with escapes, which the parser decodes into a buffer of its own, is
 * copied.  What is read twice (events, the slow form) is parsed twice: that is
 * cheaper than to remember it.
 */
#include "cache_internal.h"

#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#define DEPTH_MOST 64 /* a schema object nests five deep */
#define BLOCK_BYTES ((size_t)64 << 10)

/* Decoded strings of the change in hand. */
struct block {
	struct block *next;
	size_t used, size;
	char bytes[];
};

/* How deep in the message: {"changes": [ { "key": { … } } ] } */
enum { OUTSIDE, IN_MESSAGE, IN_CHANGES, IN_CHANGE, IN_OBJECT };

struct reader {
	const char *message;
	size_t len;
	yajl_handle yajl;
	struct block *blocks;
	int depth;
	bool at_changes;  /* the next value of the message is the list */
	bool in_changes;  /* inside it */
	bool had_changes; /* there is one */
	struct wire_change change;
	unsigned had;               /* members the change had, a bit each */
	int member;                 /* the one whose value comes; -1: one that nobody wants */
	struct wire_object *object; /* key or data while inside; NULL: something else */
	struct wire_value name;     /* of its field whose value comes */
	change_reader_fn *on_change;
	void *context;
	cs_status status;
	struct cs_error *err;
};

static int stop(struct reader *r, cs_status status, const char *why)
{
	r->status = cs_fail(r->err, status, "%s", why);
	return 0;
}

static int malformed(struct reader *r)
{
	return stop(r, CS_ERR_PROTOCOL, "a frame is of the wrong form");
}

/* ---- texts --------------------------------------------------------------------------- */

static void free_blocks(struct block *b)
{
	while (b) {
		struct block *next = b->next;

		free(b);
		b = next;
	}
}

/* Nothing points to the last change's strings any more. */
static void reuse_blocks(struct reader *r)
{
	if (!r->blocks)
		return;
	free_blocks(r->blocks->next);
	r->blocks->next = NULL;
	r->blocks->used = 0;
}

static char *room_for(struct reader *r, size_t len)
{
	struct block *b = r->blocks;
	size_t size = len > BLOCK_BYTES ? len : BLOCK_BYTES;
	char *room;

	if (!b || b->size - b->used < len) {
		b = malloc(sizeof(*b) + size);
		if (!b)
			return NULL;
		b->next = r->blocks;
		b->size = size;
		b->used = 0;
		r->blocks = b;
	}
	room = b->bytes + b->used;
	b->used += len;
	return room;
}

/* A text that lives as long as the change; false: it cannot be kept. */
static bool keep(struct reader *r, wire_form form, const unsigned char *text, size_t len,
		 struct wire_value *out)
{
	const char *bytes = (const char *)text;

	out->form = form;
	out->text = bytes;
	out->len = len;
	if (form != WIRE_STRING)
		return true;
	if (memchr(bytes, '\0', len))
		return stop(r, CS_ERR_PROTOCOL, "a text has a zero byte");
	if (bytes >= r->message && bytes < r->message + r->len)
		return true;
	out->text = room_for(r, len);
	if (!out->text)
		return stop(r, CS_ERR_NOMEM, "out of memory");
	memcpy((char *)(uintptr_t)out->text, bytes, len);
	return true;
}

/* ---- a change ------------------------------------------------------------------------ */

enum { MEMBER_EVENT, MEMBER_TABLE, MEMBER_OPERATION, MEMBER_ORIGIN, MEMBER_KEY, MEMBER_DATA };
static const char *const member_names[] = {"event", "table", "operation", "origin", "key", "data"};

static struct wire_value *text_member(struct reader *r)
{
	struct wire_value *const members[] = {&r->change.event, &r->change.table,
					      &r->change.operation, &r->change.origin};

	return r->member >= 0 && r->member < MEMBER_KEY ? members[r->member] : NULL;
}

static void begin_change(struct reader *r)
{
	struct wire_field *key_fields = r->change.key.fields;
	struct wire_field *data_fields = r->change.data.fields;
	size_t key_room = r->change.key.room;
	size_t data_room = r->change.data.room;

	reuse_blocks(r);
	memset(&r->change, 0, sizeof(r->change));
	r->change.key.fields = key_fields;
	r->change.key.room = key_room;
	r->change.data.fields = data_fields;
	r->change.data.room = data_room;
	r->had = 0;
	r->member = -1;
}

static int name_member(struct reader *r, const unsigned char *name, size_t len)
{
	r->member = -1;
	for (int i = 0; i <= MEMBER_DATA; i++)
		if (strlen(member_names[i]) == len && memcmp(member_names[i], name, len) == 0)
			r->member = i;
	if (r->member < 0)
		return 1;
	if (r->had & 1u << r->member)
		return malformed(r);
	r->had |= 1u << r->member;
	return 1;
}

static void begin_object(struct reader *r)
{
	r->object = r->member == MEMBER_KEY    ? &r->change.key
		    : r->member == MEMBER_DATA ? &r->change.data
					       : NULL;
	if (!r->object)
		return;
	r->object->there = true;
	r->object->json = r->message + yajl_get_bytes_consumed(r->yajl) - 1;
}

static void end_object(struct reader *r)
{
	if (r->object)
		r->object->json_len =
			(size_t)(r->message + yajl_get_bytes_consumed(r->yajl) - r->object->json);
	r->object = NULL;
}

static int add_field(struct reader *r, const struct wire_value *value)
{
	struct wire_object *o = r->object;

	if (o->count == o->room) {
		size_t room = o->room ? o->room * 2 : 32;
		struct wire_field *fields = realloc(o->fields, room * sizeof(*fields));

		if (!fields)
			return stop(r, CS_ERR_NOMEM, "out of memory");
		o->fields = fields;
		o->room = room;
	}
	o->fields[o->count].name = r->name.text;
	o->fields[o->count].name_len = r->name.len;
	o->fields[o->count].value = *value;
	o->count++;
	return 1;
}

/* ---- what the parser finds ------------------------------------------------------------- */

static int on_value(struct reader *r, wire_form form, const void *text, size_t len)
{
	struct wire_value value;

	if (r->depth == OUTSIDE || (r->depth == IN_MESSAGE && r->at_changes))
		return malformed(r);
	if (!r->in_changes)
		return 1;
	if (r->depth == IN_CHANGES)
		return malformed(r);
	if (!keep(r, form, text, len, &value))
		return 0;
	if (r->depth == IN_OBJECT && r->object)
		return add_field(r, &value);
	if (r->depth == IN_CHANGE && text_member(r))
		*text_member(r) = value;
	else if (r->depth == IN_CHANGE && r->member == MEMBER_DATA)
		r->change.data_is_null = form == WIRE_NULL;
	return 1;
}

static int on_open(struct reader *r, bool is_object)
{
	static const struct wire_value other = {.form = WIRE_OTHER};
	int good = 1;

	if (r->depth == DEPTH_MOST)
		return malformed(r);
	if (r->depth == IN_MESSAGE && r->at_changes) {
		if (is_object || r->had_changes)
			return malformed(r);
		r->in_changes = r->had_changes = true;
	} else if (r->depth == OUTSIDE && !is_object) {
		return malformed(r);
	} else if (r->in_changes && r->depth == IN_CHANGES) {
		if (!is_object)
			return malformed(r);
		begin_change(r);
	} else if (r->in_changes && r->depth == IN_CHANGE && is_object) {
		begin_object(r);
	} else if (r->in_changes && r->depth == IN_OBJECT && r->object) {
		good = add_field(r, &other);
	}
	r->depth++;
	return good;
}

static int on_close(void *context)
{
	struct reader *r = context;

	r->depth--;
	if (!r->in_changes)
		return 1;
	if (r->depth == IN_CHANGE)
		end_object(r);
	if (r->depth == IN_MESSAGE)
		r->in_changes = false;
	if (r->depth != IN_CHANGES)
		return 1;
	r->status = r->on_change(r->context, &r->change, r->err);
	return r->status == CS_OK;
}

static int on_key(void *context, const unsigned char *name, size_t len)
{
	struct reader *r = context;

	if (r->depth == IN_MESSAGE)
		r->at_changes = len == 7 && memcmp(name, "changes", 7) == 0;
	if (!r->in_changes)
		return 1;
	if (r->depth == IN_CHANGE)
		return name_member(r, name, len);
	if (r->depth == IN_OBJECT && r->object)
		return keep(r, WIRE_STRING, name, len, &r->name);
	return 1;
}

static int on_null(void *context)
{
	return on_value(context, WIRE_NULL, NULL, 0);
}

static int on_boolean(void *context, int value)
{
	return on_value(context, WIRE_BOOLEAN, value ? "true" : "false", value ? 4 : 5);
}

static int on_number(void *context, const char *text, size_t len)
{
	return on_value(context, WIRE_NUMBER, text, len);
}

static int on_string(void *context, const unsigned char *text, size_t len)
{
	return on_value(context, WIRE_STRING, text, len);
}

static int on_object(void *context)
{
	return on_open(context, true);
}

static int on_array(void *context)
{
	return on_open(context, false);
}

static const yajl_callbacks callbacks = {
	.yajl_null = on_null,
	.yajl_boolean = on_boolean,
	.yajl_number = on_number,
	.yajl_string = on_string,
	.yajl_start_map = on_object,
	.yajl_map_key = on_key,
	.yajl_end_map = on_close,
	.yajl_start_array = on_array,
	.yajl_end_array = on_close,
};

static void parse(struct reader *r)
{
	yajl_status parsed = yajl_parse(r->yajl, (const unsigned char *)r->message, r->len);

	if (parsed == yajl_status_ok)
		parsed = yajl_complete_parse(r->yajl);
	if (r->status != CS_OK)
		return;
	/* the parser's own error text would quote the message */
	if (parsed != yajl_status_ok)
		stop(r, CS_ERR_PROTOCOL, "a message is no JSON object");
	else if (!r->had_changes)
		stop(r, CS_ERR_PROTOCOL, "a frame has no changes");
}

cs_status changes_read(const char *message, size_t len, change_reader_fn *on_change, void *context,
		       struct cs_error *err)
{
	struct reader r = {
		.message = message,
		.len = len,
		.on_change = on_change,
		.context = context,
		.err = err,
	};

	r.yajl = yajl_alloc(&callbacks, NULL, &r);
	if (!r.yajl)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	parse(&r);
	yajl_free(r.yajl);
	free_blocks(r.blocks);
	free(r.change.key.fields);
	free(r.change.data.fields);
	return r.status;
}

const struct wire_value *wire_object_get(const struct wire_object *o, size_t guess,
					 const char *name)
{
	for (size_t i = 0; i < o->count; i++) {
		const struct wire_field *f = &o->fields[(guess + i) % o->count];

		if (wire_is(f->name, f->name_len, name))
			return &f->value;
	}
	return NULL;
}
