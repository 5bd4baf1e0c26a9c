/* The handle: opening, closing, its errors and getters. */
#include "cache_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECONNECT_LEAST_MS 1000
#define RECONNECT_MOST_MS 60000
#define DEAD_AFTER_MS 35000
#define URL_BYTES 512 /* as in struct clinic_cache_file_status */

/* ---- results ---------------------------------------------------------------------------- */

const char *clinic_cache_status_name(clinic_cache_status status)
{
	static const char *const names[] = {
		[CLINIC_CACHE_OK] = "ok",
		[CLINIC_CACHE_ERR_NOMEM] = "out of memory",
		[CLINIC_CACHE_ERR_USAGE] = "usage",
		[CLINIC_CACHE_ERR_BUSY] = "busy",
		[CLINIC_CACHE_ERR_STORE] = "store",
		[CLINIC_CACHE_ERR_PROTOCOL] = "protocol",
		[CLINIC_CACHE_ERR_REFUSED] = "refused",
	};

	if ((unsigned)status >= sizeof(names) / sizeof(names[0]))
		return "unrecognized";
	return names[status];
}

clinic_cache_status cache_public_status(cs_status st)
{
	switch (st) {
	case CS_OK:
		return CLINIC_CACHE_OK;
	case CS_ERR_NOMEM:
		return CLINIC_CACHE_ERR_NOMEM;
	case CS_ERR_CONFIG:
		return CLINIC_CACHE_ERR_USAGE;
	case CS_ERR_REFUSED:
		return CLINIC_CACHE_ERR_REFUSED;
	case CS_ERR_BUSY:
		return CLINIC_CACHE_ERR_BUSY;
	case CS_ERR_STORE:
		return CLINIC_CACHE_ERR_STORE;
	case CS_AGAIN:
	case CS_ERR_PROTOCOL:
	case CS_ERR_UPSTREAM:
	case CS_ERR_DIVERGED: /* for the link the same: close it, the next one puts it right */
		break;
	}
	return CLINIC_CACHE_ERR_PROTOCOL;
}

clinic_cache_status cache_publish_error(const struct cs_error *err, struct clinic_cache_error *out)
{
	if (out) {
		out->status = cache_public_status(err->status);
		snprintf(out->text, sizeof(out->text), "%s", err->text);
	}
	return cache_public_status(err->status);
}

clinic_cache_status cache_result(struct clinic_cache *c, const struct cs_error *err)
{
	c->last_error.pid = 0;
	return cache_publish_error(err, &c->last_error);
}

/* ---- the file --------------------------------------------------------------------------- */

static bool is_device_id(const char *text)
{
	size_t len =
		strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");

	return len >= 1 && len <= 64 && text[len] == '\0';
}

/* The app may have changed its tables while nobody synced the file. */
static cs_status settle_drift(struct clinic_cache *c, struct cs_error *err)
{
	struct cs_error why = {0};
	bool moved;
	cs_status st = drift_has_moved(c, &moved, err);

	if (st != CS_OK || !moved)
		return st;
	st = write_begin(c, WRITE_SHORT, &why);
	if (st == CS_OK)
		st = write_commit(c, &why);
	/* the next frame tries it again */
	if (st == CS_OK || c->use.gave_way)
		return CS_OK;
	return cs_fail(err, st, "%s", why.text);
}

static cs_status read_file(struct clinic_cache *c, struct cs_error *err)
{
	char format[16];
	char device_id[65];
	char fresh[8];
	cs_status st;

	if (!store_table_exists(c->db, "main", "clinic_sync_meta"))
		/* an app's own file; the first snapshot brings our tables */
		return fit_check_file(c->db, err);
	st = meta_get(c->db, "main", "format", format, sizeof(format), err);
	if (st == CS_OK && format[0] && strcmp(format, "1") != 0)
		return cs_fail(err, CS_ERR_CONFIG, "the file was made by a newer version");
	if (st == CS_OK)
		st = meta_get(c->db, "main", "device_id", device_id, sizeof(device_id), err);
	if (st == CS_OK && is_device_id(device_id))
		strcpy(c->device_id, device_id);
	if (st == CS_OK)
		st = meta_get(c->db, "main", "cursor", c->cursor, sizeof(c->cursor), err);
	if (st == CS_OK)
		st = meta_get(c->db, "main", "fresh_wanted", fresh, sizeof(fresh), err);
	if (st == CS_OK && fresh[0])
		c->fresh_wanted = true;
	if (st == CS_OK)
		st = settle_drift(c, err);
	if (st == CS_OK)
		st = cache_reload(c, err);
	if (st != CS_ERR_DIVERGED)
		return st;
	/* readable as it is, and put right by the next snapshot */
	if (err)
		err->status = CS_OK;
	c->fresh_wanted = true;
	return CS_OK;
}

static cs_status connect_file(struct clinic_cache *c, struct cs_error *err)
{
	if (!c->borrowed)
		return store_open(c->path, SQLITE_OPEN_READWRITE, &c->db, err);
	c->db = c->lender;
	return CS_OK;
}

cs_status cache_open_file(struct clinic_cache *c, struct cs_error *err)
{
	cs_status st;

	c->cursor[0] = '\0';
	if (!platform_exists(c->path))
		return CS_OK;
	st = connect_file(c, err);
	if (st == CS_OK)
		st = write_open(c, err);
	if (st == CS_OK)
		st = read_file(c, err);
	if (st == CS_OK && c->cursor[0])
		st = journal_apply(c, err);
	c->wal_inode = st == CS_OK ? beside_wal_inode(c->path) : 0;
	if (st != CS_OK)
		cache_close_file(c);
	return st;
}

void cache_close_file(struct clinic_cache *c)
{
	statements_clear(c);
	tables_free(&c->tables);
	if (!c->borrowed)
		sqlite3_close(c->db);
	c->db = NULL;
	c->cursor[0] = '\0';
}

void cache_lender_gone(struct clinic_cache *c)
{
	c->lender = NULL;
	c->db = NULL;
}

bool cache_file_moved(struct clinic_cache *c)
{
	uint64_t wal_inode = c->wal_inode;

	/* of a borrowed connection that is its lender's to see to */
	if (!c->db || c->borrowed || !store_moved(c->db))
		return false;
	cache_close_file(c);
	/* a file that came with a -wal of its own keeps it */
	if (wal_inode && beside_wal_inode(c->path) == wal_inode)
		beside_remove(c->path);
	return true;
}

/* ---- opening ---------------------------------------------------------------------------- */

static cs_status copy(char **slot, const char *text, struct cs_error *err)
{
	if (!text)
		return CS_OK;
	*slot = strdup(text);
	return *slot ? CS_OK : cs_fail(err, CS_ERR_NOMEM, "out of memory");
}

/* One lock and one cache per file, by whatever name it is reached. */
static cs_status take_path(struct clinic_cache *c, const char *path, struct cs_error *err)
{
	c->path = platform_real_path(path);
	if (!c->path)
		c->path = strdup(path);
	c->part_path = c->path ? platform_format("%s.snapshot-part", c->path) : NULL;
	c->ready_path = c->path ? platform_format("%s.snapshot-ready", c->path) : NULL;
	if (!c->part_path || !c->ready_path)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	return CS_OK;
}

static cs_status take_tables(struct clinic_cache *c, const struct clinic_cache_options *options,
			     struct cs_error *err)
{
	if (options->table_count > CACHE_TABLES_MOST)
		return cs_fail(err, CS_ERR_CONFIG, "too many tables are named");
	if (options->table_count == 0)
		return CS_OK;
	c->wanted = calloc(options->table_count, sizeof(*c->wanted));
	if (!c->wanted)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	for (size_t i = 0; i < options->table_count; i++) {
		cs_status st;

		if (!options->tables[i] || !options->tables[i][0] ||
		    strlen(options->tables[i]) > 63)
			return cs_fail(err, CS_ERR_CONFIG,
				       "a table's name is not 1 to 63 bytes long");
		if (names_have(c->wanted, c->wanted_count, options->tables[i]))
			continue;
		st = copy(&c->wanted[c->wanted_count], options->tables[i], err);
		if (st != CS_OK)
			return st;
		c->wanted_count++;
	}
	return CS_OK;
}

/* NULL and the first word: false; the second: true. */
static cs_status take_word(const char *option, const char *given, const char *first,
			   const char *second, bool *out, struct cs_error *err)
{
	*out = given && strcmp(given, second) == 0;
	if (!given || *out || strcmp(given, first) == 0)
		return CS_OK;
	return cs_fail(err, CS_ERR_CONFIG, "%s is neither \"%s\" nor \"%s\"", option, first,
		       second);
}

static cs_status take_sync_options(struct clinic_cache *c,
				   const struct clinic_cache_options *options, struct cs_error *err)
{
	cs_status st =
		take_word("full_sync", options->full_sync, "file", "link", &c->full_by_link, err);

	if (st == CS_OK)
		st = take_word("adopt", options->adopt, "", "server", &c->adopt_server, err);
	if (st == CS_OK)
		st = copy(&c->app_sqlite_version, options->app_sqlite_version, err);
	if (st == CS_OK && c->app_sqlite_version && !journal_parse_version(c->app_sqlite_version))
		st = cs_fail(err, CS_ERR_CONFIG,
			     "app_sqlite_version is no version of SQLite, such as 3.51.3");
	if (st == CS_OK && (options->sync_interval_s < -1 || options->sync_interval_s > 3600))
		st = cs_fail(err, CS_ERR_CONFIG,
			     "sync_interval_s is not -1 (off), 0 (as the relay says) or 1 to 3600");
	if (st == CS_OK && options->user_version < -1)
		st = cs_fail(err, CS_ERR_CONFIG, "user_version is negative");
	c->sync_interval_s = options->sync_interval_s;
	c->user_version = options->user_version;
	c->fetch_bytes_most = CACHE_FETCH_BYTES_MOST;
	return st;
}

static cs_status take_options(struct clinic_cache *c, const struct clinic_cache_options *options,
			      struct cs_error *err)
{
	uint32_t least =
		options->reconnect_least_ms ? options->reconnect_least_ms : RECONNECT_LEAST_MS;
	uint32_t most = options->reconnect_most_ms ? options->reconnect_most_ms : RECONNECT_MOST_MS;
	cs_status st;

	if (options->url && strlen(options->url) >= URL_BYTES)
		return cs_fail(err, CS_ERR_CONFIG, "the url is too long");
	st = copy(&c->url, options->url, err);
	if (st == CS_OK)
		st = copy(&c->access_code, options->access_code, err);
	if (st == CS_OK)
		st = copy(&c->device_name, options->device_name, err);
	if (st == CS_OK)
		st = copy(&c->app_version,
			  options->app_version ? options->app_version : CLINIC_SYNC_VERSION, err);
	if (st == CS_OK)
		st = take_tables(c, options, err);
	if (st == CS_OK)
		st = take_sync_options(c, options, err);
	c->on_event = options->on_event;
	c->context = options->context;
	c->no_change_events = options->no_change_events;
	c->dead_after_ms = DEAD_AFTER_MS;
	backoff_init(&c->link_backoff, least, most < least ? least : most);
	backoff_init(&c->fetch_backoff, least, most < least ? least : most);
	return st;
}

static bool same_names(char *const *a, size_t a_count, char *const *b, size_t b_count)
{
	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++)
		if (!names_have(b, b_count, a[i]))
			return false;
	return true;
}

/* What was not given comes from the file; what was given stays there for the next time. */
static cs_status remember(struct clinic_cache *c, struct cs_error *err)
{
	char url[URL_BYTES];
	char **tables = NULL;
	size_t count = 0;
	cs_status st;

	if (!c->db || !c->cursor[0])
		return CS_OK;
	st = meta_get(c->db, "main", "url", url, sizeof(url), err);
	if (st == CS_OK && !c->url && url[0])
		st = copy(&c->url, url, err);
	else if (st == CS_OK && c->url && strcmp(url, c->url) != 0)
		st = meta_set(c->db, "url", c->url, err);
	if (st == CS_OK)
		st = meta_get_names(c->db, "tables", &tables, &count, err);
	if (st != CS_OK)
		return st;
	if (c->wanted_count == 0) {
		c->wanted = tables;
		c->wanted_count = count;
		return CS_OK;
	}
	/* another set of tables: the cursor says nothing about the ones that are not here */
	if (!same_names(c->wanted, c->wanted_count, tables, count))
		c->fresh_wanted = true;
	names_free(tables, count);
	return CS_OK;
}

clinic_cache_status clinic_cache_open(const char *path, const struct clinic_cache_options *options,
				      struct clinic_cache **out, struct clinic_cache_error *err)
{
	return cache_open_on(NULL, path, options, out, err);
}

clinic_cache_status cache_open_on(sqlite3 *lender, const char *path,
				  const struct clinic_cache_options *options,
				  struct clinic_cache **out, struct clinic_cache_error *err)
{
	struct clinic_cache *c = calloc(1, sizeof(*c));
	struct cs_error why = {0};
	int pid = 0;
	cs_status st;

	*out = NULL;
	if (!c) {
		(void)cs_fail(&why, CS_ERR_NOMEM, "out of memory");
		goto fail;
	}
	c->lock = PLATFORM_NO_FILE;
	c->lender = lender;
	c->borrowed = lender != NULL;
	if (!path || !path[0] || !options) {
		(void)cs_fail(&why, CS_ERR_CONFIG, "no path or no options are given");
		goto fail;
	}
	dynbuf_init(&c->scratch, CACHE_MESSAGE_BYTES_MOST);
	dynbuf_init(&c->sql, CACHE_SQL_BYTES_MOST);
	dynbuf_init(&c->key, CACHE_MESSAGE_BYTES_MOST);
	meta_new_device_id(c->device_id);
	st = take_path(c, path, &why);
	if (st == CS_OK)
		st = take_options(c, options, &why);
	if (st == CS_OK)
		st = lock_take(c->path, &c->lock, &pid, &why);
	if (st != CS_OK)
		goto fail;
	/* from a process that died while it made one ready */
	platform_remove(c->ready_path);
	beside_remove(c->ready_path);
	adopt_remove_part(c);
	full_remove_leftovers(c);
	st = prove_new(c, &why);
	if (st == CS_OK)
		st = repair_new(c, &why);
	if (st == CS_OK)
		st = cache_open_file(c, &why);
	if (st == CS_OK)
		st = remember(c, &why);
	if (st == CS_OK && !c->url)
		st = cs_fail(&why, CS_ERR_CONFIG, "no url is given and the file remembers none");
	if (st != CS_OK)
		goto fail;
	*out = c;
	return CLINIC_CACHE_OK;
fail:
	clinic_cache_close(c);
	if (err)
		err->pid = pid;
	return cache_publish_error(&why, err);
}

void clinic_cache_close(struct clinic_cache *c)
{
	bool is_cache;

	if (!c)
		return;
	is_cache = c->cursor[0] != '\0';
	full_free(c);
	repair_free(c);
	prove_free(c);
	cache_close_file(c);
	stage_close(c->stage);
	hold_free(c);
	names_free(c->wanted, c->wanted_count);
	for (size_t i = 0; i < c->outgoing_count; i++)
		free(c->outgoing[i]);
	free(c->sending);
	free(c->fetch_path);
	dynbuf_free(&c->scratch);
	dynbuf_free(&c->sql);
	dynbuf_free(&c->key);
	if (c->lock != PLATFORM_NO_FILE && !is_cache)
		lock_remove(c->path, c->lock);
	else
		lock_release(c->lock);
	free(c->path);
	free(c->part_path);
	free(c->ready_path);
	free(c->url);
	free(c->access_code);
	free(c->device_name);
	free(c->app_version);
	free(c->app_sqlite_version);
	names_free(c->use.due, c->use.due_count);
	difference_free(&c->difference);
	free(c);
}

/* ---- getters ---------------------------------------------------------------------------- */

const struct clinic_cache_error *clinic_cache_last_error(const struct clinic_cache *c)
{
	return &c->last_error;
}

const char *clinic_cache_cursor(const struct clinic_cache *c)
{
	return c->cursor[0] ? c->cursor : NULL;
}

const char *clinic_cache_device_id(const struct clinic_cache *c)
{
	return c->device_id;
}

const char *clinic_cache_remark(void)
{
	int version = sqlite3_libversion_number();

	if (version < 3007000 || version > 3051002)
		return NULL;
	return "this SQLite (3.7.0 to 3.51.2) can damage a WAL file that two programs write at "
	       "once; "
	       "run `clinic-cache verify` now and then, or use 3.51.3 or newer";
}
