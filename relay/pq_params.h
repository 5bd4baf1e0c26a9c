/* How the relay's connections are opened: what the operator's string says and what is ours. */
#ifndef CLINIC_RELAY_PQ_PARAMS_H
#define CLINIC_RELAY_PQ_PARAMS_H

struct pg_conn;

/*
 * In front of every session's settings: no name of ours is ever looked up elsewhere, and what we
 * ask is over before a compiler would have begun.
 */
#define PQ_BASE_SETTINGS "-c search_path=pg_catalog -c jit=off"

/*
 * PQconnectStartParams() with the operator's dsn, application name
 * clinic-relay/<role>, the session settings and our keepalives.  Of several
 * hosts the one at position host_turn (modulo their number) is tried first.
 * NULL: out of memory.  The caller owns the result even when its status is bad.
 */
struct pg_conn *pq_connect_start(const char *dsn, const char *role, const char *settings,
				 unsigned host_turn);
/* The same, waiting: for jobs. */
struct pg_conn *pq_connect(const char *dsn, const char *role, const char *settings);

#endif
