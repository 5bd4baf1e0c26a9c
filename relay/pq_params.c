/*
 * Connection parameters; see pq_params.h.
 *
 * Order is what decides: libpq lets a later keyword win, and expands a
 * connection string given as dbname in place.  So first our defaults, which
 * the operator's string may change, then that string, then what must hold.
 */
#include "pq_params.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dynbuf.h"
#include "upstream.h"

#define LIST_MOST_BYTES 4096
#define PARAM_MOST 16

struct params {
	const char *keys[PARAM_MOST + 1];
	const char *values[PARAM_MOST + 1];
	int count;
};

static void add(struct params *p, const char *key, const char *value)
{
	p->keys[p->count] = key;
	p->values[p->count] = value;
	p->count++;
}

static size_t list_length(const char *list)
{
	size_t n = 1;

	for (; *list; list++)
		n += *list == ',';
	return n;
}

/* "a,b,c" turned by one is "b,c,a". */
static bool rotate(const char *list, size_t turn, struct dynbuf *out)
{
	const char *cut = list;

	for (turn %= list_length(list); turn > 0; turn--)
		cut = strchr(cut, ',') + 1;
	dynbuf_adds(out, cut);
	if (cut != list) {
		dynbuf_adds(out, ",");
		dynbuf_add(out, list, (size_t)(cut - list) - 1);
	}
	return !out->failed;
}

static const char *option_value(const PQconninfoOption *options, const char *keyword)
{
	for (; options->keyword; options++) {
		if (strcmp(options->keyword, keyword) == 0)
			return options->val;
	}
	return NULL;
}

/* Add the lists of hosts that dsn holds, turned; buffers own the texts. */
static void add_hosts(struct params *p, const char *dsn, unsigned turn, struct dynbuf buffers[3])
{
	static const char *const keywords[] = {"host", "hostaddr", "port"};
	PQconninfoOption *options = turn ? PQconninfoParse(dsn, NULL) : NULL;

	for (int i = 0; options && i < 3; i++) {
		const char *list = option_value(options, keywords[i]);

		if (list && strchr(list, ',') && rotate(list, turn, &buffers[i]))
			add(p, keywords[i], buffers[i].data);
	}
	PQconninfoFree(options);
}

static PGconn *connect_with(const char *dsn, const char *role, const char *settings,
			    unsigned host_turn, bool wait)
{
	struct params p = {0};
	struct dynbuf hosts[3];
	char name[64];
	char options[512];
	PGconn *conn;

	for (int i = 0; i < 3; i++)
		dynbuf_init(&hosts[i], LIST_MOST_BYTES);
	snprintf(name, sizeof(name), "clinic-relay/%s", role);
	snprintf(options, sizeof(options), PQ_BASE_SETTINGS " %s", settings);
	add(&p, "keepalives", "1");
	add(&p, "keepalives_idle", "10");
	add(&p, "keepalives_interval", "5");
	add(&p, "keepalives_count", "3");
	add(&p, "tcp_user_timeout", "15000");
	add(&p, "connect_timeout", "10");
	add(&p, "dbname", dsn);
	add_hosts(&p, dsn, host_turn, hosts);
	add(&p, "application_name", name);
	add(&p, "client_encoding", "UTF8");
	add(&p, "target_session_attrs", "read-write");
	add(&p, "options", options);
	conn = wait ? PQconnectdbParams(p.keys, p.values, 1)
		    : PQconnectStartParams(p.keys, p.values, 1);
	for (int i = 0; i < 3; i++)
		dynbuf_free(&hosts[i]);
	return conn;
}

struct pg_conn *pq_connect_start(const char *dsn, const char *role, const char *settings,
				 unsigned host_turn)
{
	return connect_with(dsn, role, settings, host_turn, false);
}

struct pg_conn *pq_connect(const char *dsn, const char *role, const char *settings)
{
	return connect_with(dsn, role, settings, 0, true);
}

cs_status upstream_check_dsn(const char *dsn, bool *has_password, struct cs_error *err)
{
	char *why = NULL;
	PQconninfoOption *options = PQconninfoParse(dsn, &why);
	const char *password;

	*has_password = false;
	if (!options) {
		/* libpq's reason may quote the string: it stays here */
		PQfreemem(why);
		return cs_fail(err, CS_ERR_CONFIG, "\"dsn\" is not a connection string");
	}
	password = option_value(options, "password");
	*has_password = password && password[0];
	PQconninfoFree(options);
	return CS_OK;
}
