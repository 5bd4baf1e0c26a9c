/* Holding tables without waiting for them; see pq_hold.h. */
#include "pq_hold.h"

#include <libpq-fe.h>
#include <poll.h>
#include <string.h>

#define LIST_MOST_BYTES ((size_t)4 * 1024 * 1024)
/* How often to look whether a locked table has become free. */
#define LOOK_AGAIN_MS 100

void pq_array_add(struct dynbuf *array, const char *text)
{
	dynbuf_adds(array, array->len > 1 ? "," : "");
	if (!text) {
		dynbuf_adds(array, "NULL");
		return;
	}
	dynbuf_adds(array, "\"");
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			dynbuf_adds(array, "\\");
		dynbuf_add(array, text, 1);
	}
	dynbuf_adds(array, "\"");
}

/* The answer of an SQL function that says yes or no. */
static cs_status ask_bool(struct pq_cut *c, const char *sql, const char *param, bool *answer,
			  struct cs_error *err)
{
	const char *params[] = {param};
	PGresult *r = PQexecParams(c->conn, sql, 1, NULL, params, NULL, NULL, 0);
	cs_status status = CS_OK;

	if (PQresultStatus(r) != PGRES_TUPLES_OK || PQntuples(r) != 1)
		status = pq_cut_fail(c->conn, "cannot hold a table", err);
	else
		*answer = strcmp(PQgetvalue(r, 0, 0), "t") == 0;
	PQclear(r);
	return status;
}

static cs_status hold_list(struct pq_cut *c, struct dynbuf *list, bool *held, struct cs_error *err)
{
	if (!dynbuf_adds(list, "}"))
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	return ask_bool(c, "SELECT clinic_sync.hold_tables($1::pg_catalog.regclass[])", list->data,
			held, err);
}

cs_status pq_hold(struct pq_cut *c, bool *held, struct cs_error *err)
{
	struct dynbuf list;
	cs_status status;

	dynbuf_init(&list, LIST_MOST_BYTES);
	dynbuf_adds(&list, "{");
	for (size_t i = 0; i < c->table_count; i++)
		if (c->tables[i].to_hold)
			pq_array_add(&list, c->tables[i].relation);
	status = hold_list(c, &list, held, err);
	dynbuf_free(&list);
	return status;
}

/*
 * TRUNCATE and DDL that rewrites a table or changes its partitions do not obey
 * snapshots: an older one finds the table as it is afterwards.  So once tables
 * are held and cannot change any more, they are looked at: is their storage
 * still what the catalog said at the snapshot?
 */
static const char storage_changed[] =
	"WITH RECURSIVE seen(oid) AS ("
	" SELECT $1::pg_catalog.regclass::pg_catalog.oid"
	" UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i, seen WHERE i.inhparent = "
	"seen.oid),"
	" held(oid) AS ("
	" SELECT $1::pg_catalog.regclass::pg_catalog.oid"
	" UNION SELECT t.relid FROM pg_catalog.pg_partition_tree($1::pg_catalog.regclass) t)"
	" SELECT EXISTS (SELECT FROM seen FULL JOIN held ON held.oid = seen.oid"
	" LEFT JOIN pg_catalog.pg_class c ON c.oid = held.oid"
	" WHERE seen.oid IS NULL OR held.oid IS NULL OR c.relfilenode IS DISTINCT FROM"
	" coalesce(pg_catalog.pg_relation_filenode(held.oid), 0::pg_catalog.oid))";

static cs_status check_table(struct pq_cut *c, const struct pq_table *t, bool *is_whole,
			     struct cs_error *err)
{
	bool changed = true;
	cs_status status = ask_bool(c, storage_changed, t->relation, &changed, err);

	*is_whole = *is_whole && !changed;
	return status;
}

cs_status pq_hold_check(struct pq_cut *c, bool *is_whole, struct cs_error *err)
{
	cs_status status = CS_OK;

	*is_whole = true;
	for (size_t i = 0; i < c->table_count && status == CS_OK; i++)
		if (c->tables[i].to_hold)
			status = check_table(c, &c->tables[i], is_whole, err);
	return status;
}

cs_status pq_hold_briefly(struct pq_cut *c, const struct pq_table *t, bool *held,
			  struct cs_error *err)
{
	struct dynbuf list;
	cs_status status = pq_command(c->conn, "SAVEPOINT held", err);

	if (status != CS_OK)
		return status;
	dynbuf_init(&list, LIST_MOST_BYTES);
	dynbuf_adds(&list, "{");
	pq_array_add(&list, t->relation);
	status = hold_list(c, &list, held, err);
	dynbuf_free(&list);
	if (status == CS_OK && *held)
		status = check_table(c, t, held, err);
	return status;
}

/* What a savepoint is rolled back to behind which a lock was taken gives the lock back. */
cs_status pq_hold_release(struct pq_cut *c, struct cs_error *err)
{
	return pq_command(c->conn, "ROLLBACK TO SAVEPOINT held; RELEASE SAVEPOINT held", err);
}

int pq_hold_pause(void)
{
	poll(NULL, 0, LOOK_AGAIN_MS);
	return LOOK_AGAIN_MS;
}

cs_status pq_hold_failed(struct cs_error *err)
{
	return cs_fail(err, CS_ERR_BUSY, "a table is locked; try later");
}
