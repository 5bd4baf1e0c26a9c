/*
 * The one result type of everything outside the server.
 *
 * Zero is success; the rest say who has to act.  Functions that can fail
 * return cs_status, take a struct cs_error that may be NULL, and fill it on
 * failure (the first error wins: a filled one is never overwritten).
 */
#ifndef CLINIC_SYNC_STATUS_H
#define CLINIC_SYNC_STATUS_H

#define CS_CHECKED __attribute__((warn_unused_result))
/* A Windows gcc would think of Microsoft's printf; __USE_MINGW_ANSI_STDIO gives us C11's. */
#ifdef __MINGW32__
#define CS_PRINTF(fmt, args) __attribute__((format(gnu_printf, fmt, args)))
#else
#define CS_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#endif

typedef enum {
	CS_OK = 0,
	CS_AGAIN, /* nothing wrong; call again when there is more */
	CS_ERR_NOMEM,
	CS_ERR_CONFIG,   /* the operator must change the configuration or the call */
	CS_ERR_PROTOCOL, /* the peer spoke out of turn; drop this peer only */
	CS_ERR_UPSTREAM, /* the database or relay went away; retry with backoff */
	CS_ERR_REFUSED,  /* the peer refuses us for good; do not retry */
	CS_ERR_BUSY,     /* another process holds the file */
	CS_ERR_STORE,    /* the local file cannot be read or written */
	CS_ERR_DIVERGED, /* the cache is not what its cursor says; resync */
} cs_status;

struct cs_error {
	cs_status status;
	char text[512]; /* one line, lower case, no full stop; never row data or secrets */
};

/* Short stable name, such as "protocol", for logs and metrics. */
const char *cs_status_name(cs_status status);

/* Fill err (may be NULL) unless already filled; returns status. */
cs_status cs_fail(struct cs_error *err, cs_status status, const char *fmt, ...) CS_PRINTF(3, 4);

#endif
