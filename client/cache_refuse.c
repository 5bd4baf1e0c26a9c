/* Rows of changes that the app's own table refuses: out of it, and parked. */
#include "cache_apply.h"

#include <stdlib.h>
#include <string.h>

/* The row as the wire has it, with the columns that the file lacks. */
static cs_status add_row_json(struct applying *a, struct dynbuf *out)
{
	const struct wire_object *data = &a->change->data;
	const struct schema *s = a->t->schema;
	bool any = false;

	for (size_t i = 0; i < data->count; i++) {
		const struct wire_field *field = &data->fields[i];
		int at = put_find_column(s, field, i);

		if (at < 0)
			continue;
		dynbuf_adds(out, any ? "," : "{");
		any = true;
		dynbuf_add_json(out, s->columns[at].name, strlen(s->columns[at].name));
		dynbuf_adds(out, ":");
		value_add_json(out, &s->columns[at],
			       field->value.form == WIRE_NULL ? NULL : field->value.text,
			       field->value.len);
	}
	if (!dynbuf_adds(out, "}"))
		return cs_fail(a->err, CS_ERR_NOMEM, "out of memory");
	return CS_OK;
}

/* Out of main, if it is there, and what the app has in columns of its own into a->kept. */
static cs_status take_out(struct applying *a)
{
	char *kept = NULL;
	bool fits;
	cs_status st = key_fits(a->t, &a->change->key, &a->c->scratch, &fits, a->err);

	if (st != CS_OK || !fits)
		return st;
	st = extra_read(a->c, a->t, &a->change->key, &kept, a->err);
	if (kept) {
		free(a->kept);
		a->kept = kept;
	}
	return st == CS_OK ? put_run_by_key(a, STATEMENT_DELETE, false, NULL) : st;
}

/* data: the row as the wire has it. */
static cs_status park(struct applying *a, const char *data)
{
	cs_status st = take_out(a);

	if (st == CS_OK)
		st = apply_name_key(a);
	if (st == CS_OK)
		st = side_forget_row(a->c, a->t, a->c->key.data, a->err);
	if (st == CS_OK)
		st = parked_keep(a->c, a->t,
				 &(struct parked_row){.key = a->c->key.data,
						      .data = data,
						      .reason = a->reason,
						      .kept = a->kept},
				 a->err);
	return st;
}

cs_status refuse_row(struct applying *a)
{
	struct dynbuf data;
	cs_status st;

	dynbuf_init(&data, CACHE_MESSAGE_BYTES_MOST);
	st = add_row_json(a, &data);
	if (st == CS_OK)
		st = park(a, data.data);
	dynbuf_free(&data);
	return st;
}

static cs_status read_main(struct applying *a, struct dynbuf *out)
{
	struct row_reader r;
	bool found = false;
	cs_status st = row_reader_open(&r, a->c->db, a->t,
				       &(struct row_choice){.key = &a->change->key}, a->err);

	if (st == CS_OK)
		st = row_reader_next(&r, &found);
	if (st == CS_OK && found)
		st = row_reader_json(&r, out);
	else if (st == CS_OK)
		st = apply_diverged(a, "a row went away while it was changed");
	row_reader_close(&r);
	return st;
}

/* An update was refused: the row as it was is parked, and the update is for that. */
cs_status refuse_update(struct applying *a)
{
	struct dynbuf data;
	bool found;
	cs_status st;

	dynbuf_init(&data, CACHE_MESSAGE_BYTES_MOST);
	st = read_main(a, &data);
	if (st == CS_OK)
		st = park(a, data.data);
	if (st == CS_OK)
		st = parked_merge(a->c, a->t, a->c->key.data, &a->change->data, &found, a->err);
	dynbuf_free(&data);
	return st;
}

cs_status refuse_forget(struct applying *a, bool *found)
{
	cs_status st;

	*found = false;
	if (!a->t->has_parked || a->parked)
		return CS_OK;
	st = apply_name_key(a);
	return st == CS_OK ? parked_forget(a->c, a->t, a->c->key.data, found, a->err) : st;
}

cs_status refuse_take(struct applying *a)
{
	cs_status st;

	if (!a->t->has_parked || a->parked)
		return CS_OK;
	st = apply_name_key(a);
	return st == CS_OK ? parked_take(a->c, a->t, a->c->key.data, &a->kept, a->err) : st;
}
