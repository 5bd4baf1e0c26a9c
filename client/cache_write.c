/*
 * Write transactions beside an app that uses the file, too.
 *
 * SQLite lets one connection write at a time, and in a file with a rollback
 * journal it lets nobody read while that one commits.  So a transaction of
 * ours is short, and it gives way: who waits for the lock waits without
 * holding any, up to ten seconds; who has it and finds readers in the way at
 * the COMMIT lets go after CACHE_LOCK_MS, rolls back and begins anew a moment
 * later, since whoever waits at the COMMIT keeps new readers out, and writers.
 *
 * A swap of tables costs too much to do it in vain: before the work begins it
 * is seen whether readers stay in the way (somebody's transaction was left
 * open, say), and it waits for them for a second, then as well as at its
 * COMMIT.  Between two tries it leaves the file alone for as long.
 *
 * Nothing is lost by it: the frames of a transaction that was given up are
 * there still, and after ten seconds the link goes, and the cursor says where
 * to go on.
 */
#include "cache_internal.h"
#include "clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAUSE_LEAST_MS 5 /* between two attempts; the longest one for others' sake, too */
#define PAUSE_MOST_MS 25
#define SWAP_WAIT_MS 1000    /* for readers, while they and others are kept out … */
#define SWAP_PAUSE_MS 1500   /* … and then for others' sake */
#define SETTLE_TRIES_MOST 10 /* the schema may be changed again while we look */

static void pause_a_moment(void)
{
	uint32_t random;

	sqlite3_randomness(sizeof(random), &random);
	sqlite3_sleep(PAUSE_LEAST_MS + (int)(random % (PAUSE_MOST_MS - PAUSE_LEAST_MS + 1)));
}

/* Until when the lock that is asked for is waited for. */
static uint64_t deadline(const struct file_use *use)
{
	if (use->beginning)
		return use->trying_at + CACHE_BUSY_TIMEOUT_MS;
	if (use->writing)
		return use->waiting_at + (use->kind == WRITE_SHORT ? CACHE_LOCK_MS : SWAP_WAIT_MS);
	if (use->probing)
		return use->waiting_at + SWAP_WAIT_MS;
	return use->waiting_at + CACHE_BUSY_TIMEOUT_MS;
}

/* SQLite asks: the lock is somebody else's, go on waiting? */
static int on_busy(void *context, int calls)
{
	static const int delays_ms[] = {1, 2, 5, 10, 15, 20, 25};
	const int last = (int)(sizeof(delays_ms) / sizeof(delays_ms[0])) - 1;
	struct file_use *use = context;
	uint64_t now = clock_monotonic_ms();

	if (calls == 0)
		use->waiting_at = now;
	if (now >= deadline(use)) {
		use->gave_way = true;
		return 0;
	}
	sqlite3_sleep(delays_ms[calls < last ? calls : last]);
	return 1;
}

/* On a borrowed connection waiting is the lender's choice. */
void write_watch(struct clinic_cache *c)
{
	if (!c->borrowed)
		sqlite3_busy_handler(c->db, on_busy, &c->use);
}

void write_do_not_wait(struct clinic_cache *c)
{
	if (!c->borrowed)
		sqlite3_busy_handler(c->db, NULL, NULL);
}

/* ---- how long ----------------------------------------------------------------------------- */

uint32_t write_held_ms(const struct clinic_cache *c)
{
	return c->use.writing ? (uint32_t)((clock_monotonic_us() - c->use.since_us) / 1000) : 0;
}

/* Only when one was longer than all before, so a few times in the life of a file. */
static bool remember_longest(struct clinic_cache *c, const char *key, int64_t ms)
{
	char text[24];
	bool stored;

	if (!c->cursor[0])
		return false;
	snprintf(text, sizeof(text), "%lld", (long long)ms);
	/* a figure for people is not worth waiting for */
	write_do_not_wait(c);
	stored = meta_set(c->db, key, text, NULL) == CS_OK;
	write_watch(c);
	return stored;
}

static void measure(struct clinic_cache *c)
{
	struct file_use *use = &c->use;
	uint64_t now_us = clock_monotonic_us();
	/* rounded up: a lock of half a millisecond is not none */
	int64_t ms = (int64_t)((now_us - use->since_us + 999) / 1000);
	bool is_short = use->kind == WRITE_SHORT;
	int64_t *longest = is_short ? &use->longest_lock_ms : &use->longest_swap_ms;

	use->writing = false;
	use->ended_us = now_us;
	use->held_us = now_us - use->since_us;
	if (ms > *longest &&
	    remember_longest(c, is_short ? "longest_lock_ms" : "longest_swap_ms", ms))
		*longest = ms;
}

/* ---- begin and end ------------------------------------------------------------------------ */

/* Somebody else writes the file; remembered there, once. */
static cs_status note_foreign(struct clinic_cache *c, struct cs_error *err)
{
	cs_status st;

	if (c->use.foreign || !store_table_exists(c->db, "main", "clinic_sync_meta"))
		return CS_OK;
	st = meta_set(c->db, "foreign_writer", "1", err);
	c->use.foreign = true;
	c->use.journal_due = true;
	return st;
}

cs_status write_look_for_others(struct clinic_cache *c, struct cs_error *err)
{
	int64_t version;
	cs_status st;

	/* what its lender writes on a borrowed connection does not show here, and need not */
	if (c->borrowed)
		return CS_OK;
	st = store_integer(c->db, "PRAGMA main.data_version", &version, err);
	if (st == CS_OK && version != c->use.data_version)
		st = note_foreign(c, err);
	c->use.data_version = version;
	return st;
}

cs_status write_was_ours(struct clinic_cache *c, struct cs_error *err)
{
	return store_integer(c->db, "PRAGMA main.data_version", &c->use.data_version, err);
}

/*
 * Who waits for the lock looks for it only every now and then, up to 100 ms
 * apart: of our time a third must be free for it, or it starves.
 */
static void let_others(const struct file_use *use)
{
	uint64_t idle_us = clock_monotonic_us() - use->ended_us;
	uint64_t gap_us = use->held_us / 2;

	if (gap_us > PAUSE_MOST_MS * 1000)
		gap_us = PAUSE_MOST_MS * 1000;
	if (use->foreign && gap_us > idle_us)
		sqlite3_sleep((int)((gap_us - idle_us + 999) / 1000));
}

/*
 * The lock that the COMMIT will need can be had now: a reader that comes later
 * is a chance, one that stays would make all the work void. With a WAL there is
 * no such lock, and a lender's connection waits as its lender said.
 */
static cs_status look_for_readers(struct clinic_cache *c, struct cs_error *err)
{
	int rc;

	if (c->borrowed)
		return CS_OK;
	c->use.probing = true;
	rc = sqlite3_exec(c->db, "BEGIN EXCLUSIVE", NULL, NULL, NULL);
	c->use.probing = false;
	if ((rc & 0xff) == SQLITE_BUSY)
		return cs_fail(err, CS_ERR_STORE,
			       "cannot replace tables: another program reads or writes the file "
			       "all the time, or left a transaction open");
	if (rc != SQLITE_OK)
		return store_fail(c->db, "begin a transaction", err);
	return store_exec(c->db, "COMMIT", err);
}

static cs_status begin_once(struct clinic_cache *c, write_kind kind, struct cs_error *err)
{
	struct file_use *use = &c->use;
	cs_status st;
	int rc;

	let_others(use);
	if (!use->again)
		use->trying_at = clock_monotonic_ms();
	use->again = false;
	use->gave_way = false;
	use->kind = kind;
	write_watch(c);
	if (kind == WRITE_LONG) {
		st = look_for_readers(c, err);
		if (st != CS_OK)
			return st;
	}
	use->beginning = true;
	rc = sqlite3_exec(c->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
	use->beginning = false;
	if (rc != SQLITE_OK)
		return store_fail(c->db, "begin a transaction", err);
	use->writing = true;
	use->since_us = clock_monotonic_us();
	st = write_look_for_others(c, err);
	if (st != CS_OK)
		write_rollback(c);
	return st;
}

/* The schema is somebody else's change: the tables are put right in a transaction of their own. */
static cs_status settle(struct clinic_cache *c, struct cs_error *err)
{
	size_t due = c->use.due_count;
	char detail[160];
	cs_status st = drift_settle(c, err);

	if (st == CS_OK && !c->borrowed)
		st = note_foreign(c, err);
	if (st == CS_OK)
		st = write_commit(c, err);
	else
		write_rollback(c);
	if (st == CS_OK)
		st = cache_reload(c, err);
	if (st == CS_OK && c->use.due_count > due) {
		snprintf(detail, sizeof(detail),
			 "another program changed tables of the file: %zu to be fetched anew",
			 c->use.due_count - due);
		event_simple(c, "sync_error", detail);
	}
	return st;
}

cs_status write_begin(struct clinic_cache *c, write_kind kind, struct cs_error *err)
{
	for (int i = 0; i < SETTLE_TRIES_MOST; i++) {
		bool moved = false;
		cs_status st = begin_once(c, kind, err);

		if (st != CS_OK)
			return st;
		st = drift_has_moved(c, &moved, err);
		if (st == CS_OK && !moved)
			return CS_OK;
		if (st != CS_OK) {
			write_rollback(c);
			return st;
		}
		st = settle(c, err);
		if (st != CS_OK)
			return st;
	}
	return cs_fail(err, CS_ERR_STORE, "another program changes the file's tables all the time");
}

cs_status write_commit(struct clinic_cache *c, struct cs_error *err)
{
	int64_t known = c->use.schema_version;
	/* what moved the schema by now is a change of our own */
	cs_status st = drift_note(c, err);

	if (st == CS_OK && sqlite3_exec(c->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
		st = store_fail(c->db, "commit a transaction", err);
	if (st != CS_OK) {
		c->use.schema_version = known;
		write_rollback(c);
		return st;
	}
	measure(c);
	return CS_OK;
}

void write_rollback(struct clinic_cache *c)
{
	store_rollback(c->db);
	/* nor was any row parked */
	c->parked_now = false;
	if (c->use.writing)
		measure(c);
}

bool write_try_again(struct clinic_cache *c, struct cs_error *err)
{
	struct file_use *use = &c->use;

	if (!c->db || !use->gave_way ||
	    clock_monotonic_ms() >= use->trying_at + CACHE_BUSY_TIMEOUT_MS)
		return false;
	if (err) {
		err->status = CS_OK;
		err->text[0] = '\0';
	}
	if (use->kind == WRITE_LONG)
		sqlite3_sleep(SWAP_PAUSE_MS);
	else
		pause_a_moment();
	use->again = true;
	return true;
}

/* ---- opening ------------------------------------------------------------------------------ */

static cs_status read_number(struct clinic_cache *c, const char *key, int64_t absent, int64_t *out,
			     struct cs_error *err)
{
	char text[24];
	cs_status st = meta_get(c->db, "main", key, text, sizeof(text), err);

	*out = st == CS_OK && text[0] ? strtoll(text, NULL, 10) : absent;
	return st;
}

cs_status write_open(struct clinic_cache *c, struct cs_error *err)
{
	struct file_use *use = &c->use;
	int64_t foreign = 0;
	cs_status st;

	names_free(use->due, use->due_count);
	memset(use, 0, sizeof(*use));
	use->schema_version = -1;
	use->journal_due = true;
	write_watch(c);
	st = write_was_ours(c, err);
	if (st != CS_OK || !store_table_exists(c->db, "main", "clinic_sync_meta"))
		return st;
	st = read_number(c, "longest_lock_ms", 0, &use->longest_lock_ms, err);
	if (st == CS_OK)
		st = read_number(c, "longest_swap_ms", 0, &use->longest_swap_ms, err);
	if (st == CS_OK)
		st = read_number(c, "schema_version", -1, &use->schema_version, err);
	if (st == CS_OK)
		st = read_number(c, "foreign_writer", 0, &foreign, err);
	use->foreign = foreign != 0;
	return st;
}
