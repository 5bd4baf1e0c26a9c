/*
 * What the rest of the library knows of comparing with the server, of fetching
 * one table anew, and of full syncs over the link.  Part of cache_internal.h.
 */
#ifndef CLINIC_CACHE_SYNC_H
#define CLINIC_CACHE_SYNC_H

/* ---- comparing: cache_prove.c -------------------------------------------------------------- */

cs_status prove_new(struct clinic_cache *c, struct cs_error *err) CS_CHECKED;
void prove_free(struct clinic_cache *c);
/* The relay said `connected`: its interval and its newest request from SQL. */
void prove_connected(struct clinic_cache *c, const json_t *message);
/* Does the relay know proofs? Not before it said `connected`. */
bool prove_is_known(const struct clinic_cache *c);
/* The id of the last request from SQL that was done; -1: this file never had one. */
int64_t prove_sync_request(struct clinic_cache *c);
/* The file exists since now. */
void prove_file_arrived(struct clinic_cache *c);
/* The link is gone, or the file gets a new content: what was under way is void. */
void prove_reset(struct clinic_cache *c);
cs_status prove_on_begin(struct clinic_cache *c, const json_t *message,
			 struct cs_error *err) CS_CHECKED;
cs_status prove_on_digest(struct clinic_cache *c, const json_t *message,
			  struct cs_error *err) CS_CHECKED;
cs_status prove_on_request(struct clinic_cache *c, const json_t *message,
			   struct cs_error *err) CS_CHECKED;
/* While true frames are applied one by one: each state that the file passes through counts. */
bool prove_watches(const struct clinic_cache *c);
/* Before these changes are applied: take what is to be known of the rows they touch. */
void prove_settle(struct clinic_cache *c, struct frame_source *source);
/* The file is at another cursor now; source: by these changes; NULL: by none. */
void prove_moved(struct clinic_cache *c, struct frame_source *source);
/* The table was fetched anew; differed: the file had it otherwise. */
void prove_repaired(struct clinic_cache *c, const char *table, bool differed);
/* The relay works for us: sync now goes on waiting. */
void prove_progress(struct clinic_cache *c);
/* An error of the relay that concerns a proof of this table; NULL: of no certain one. */
void prove_on_error(struct clinic_cache *c, const char *table);
void prove_tick(struct clinic_cache *c);
uint32_t prove_wait_ms(const struct clinic_cache *c, uint32_t most);

/* ---- repairing: cache_repair.c, cache_wish.c ------------------------------------------------ */

typedef enum {
	REPAIR_DIFFERS, /* found by comparing, or by a change that did not fit: counted */
	REPAIR_ASKED,   /* somebody asked for it */
} repair_reason;

cs_status repair_new(struct clinic_cache *c, struct cs_error *err) CS_CHECKED;
void repair_free(struct clinic_cache *c);
/*
 * Fetch the table from the server and bring it into the file, in one
 * transaction; at once, or as soon as there is a link.  Until then changes to
 * it are applied leniently.  Nothing happens if that is under way already.
 */
cs_status repair_want(struct clinic_cache *c, const char *table, repair_reason reason,
		      struct cs_error *err) CS_CHECKED;
bool repair_is_wanted(const struct clinic_cache *c, const char *table);
/* How long it waits because it was in vain so often; 0: it does not. */
uint64_t repair_pause_ms(const struct clinic_cache *c, const char *table);
/* It was found equal: the next difference is a new one. */
void repair_proven(struct clinic_cache *c, const char *table);
/* The link is gone: what is wanted stays so. */
void repair_reset(struct clinic_cache *c);
/* A whole snapshot came: nothing differs any more. */
void repair_snapshot_applied(struct clinic_cache *c);
/* These changes are in the file now. */
void repair_frame_applied(struct clinic_cache *c, struct frame_source *source);
/* envelope: the message without its rows. */
cs_status repair_on_table_sync(struct clinic_cache *c, const json_t *envelope, const void *bytes,
			       size_t len, struct cs_error *err) CS_CHECKED;
/* False: the error does not concern the repair in hand. */
bool repair_on_error(struct clinic_cache *c, const char *code, const char *table);
/* One step of what is to be done between messages. */
void repair_tick(struct clinic_cache *c);
uint32_t repair_wait_ms(const struct clinic_cache *c, uint32_t most);

/* ---- all tables over the link: cache_full.c -------------------------------------------------- */

cs_status full_request(struct clinic_cache *c, struct cs_error *err) CS_CHECKED;
void full_free(struct clinic_cache *c);
/* From a process that was killed. */
void full_remove_leftovers(struct clinic_cache *c);
/* Too long without a word. */
bool full_is_silent(const struct clinic_cache *c);
/* The rows that come are those of a full sync. */
bool full_takes_tables(const struct clinic_cache *c);
cs_status full_on_begin(struct clinic_cache *c, const json_t *message,
			struct cs_error *err) CS_CHECKED;
/* len: of the message as it came */
cs_status full_on_table_sync(struct clinic_cache *c, const json_t *message, size_t len,
			     struct cs_error *err) CS_CHECKED;
/* Afterwards the snapshot is where a download would have put it. */
cs_status full_on_end(struct clinic_cache *c, const json_t *message,
		      struct cs_error *err) CS_CHECKED;

#endif
