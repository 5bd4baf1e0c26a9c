/*
 * Which journal the file has.
 *
 * A WAL lets the app read while we write, but SQLite up to 3.51.2 can damage
 * one that two programs use, when one checkpoints it while the other starts
 * it anew.  So a file has a WAL if we alone write it, or if every SQLite that
 * does is 3.51.3 or newer; else its rollback journal, where a reader and our
 * COMMIT wait for each other a moment.  What the app's SQLite is, its options
 * say, or the header of the file: there stands the version that wrote last.
 *
 * Nobody can change the mode while somebody else has the file open.  Then it
 * stays, and is tried again at the next opening; status says so.
 */
#include "cache_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOOD_VERSION 3051003
#define HEADER_VERSION_AT 96

int journal_parse_version(const char *text)
{
	unsigned part[3] = {0, 0, 0};
	int end = 0;

	if (sscanf(text, "%3u.%3u.%3u%n", &part[0], &part[1], &part[2], &end) < 2)
		return 0;
	if (end == 0 && sscanf(text, "%3u.%3u%n", &part[0], &part[1], &end) < 2)
		return 0;
	if (text[end] != '\0' || part[0] != 3)
		return 0;
	return (int)(part[0] * 1000000 + part[1] * 1000 + part[2]);
}

static const char *version_text(int version, char out[16])
{
	snprintf(out, 16, "%d.%d.%d", version / 1000000, version / 1000 % 1000, version % 1000);
	return out;
}

void journal_choose(const struct journal_facts *facts, struct journal_choice *out)
{
	int other = facts->app ? facts->app : facts->header;
	char ours[16];
	char theirs[16];

	version_text(facts->ours, ours);
	version_text(other, theirs);
	out->wal = true;
	if (facts->made && !facts->foreign && !facts->app) {
		snprintf(out->reason, sizeof(out->reason),
			 "nobody else has been seen to write the file");
	} else if (facts->ours >= GOOD_VERSION && other >= GOOD_VERSION) {
		snprintf(out->reason, sizeof(out->reason),
			 "every SQLite that writes the file (%s here, %s in the app) is 3.51.3 or "
			 "newer",
			 ours, theirs);
	} else {
		out->wal = false;
		snprintf(out->reason, sizeof(out->reason),
			 "the app writes the file, too, and SQLite before 3.51.3 can damage a "
			 "shared WAL: %s here, %s in the app",
			 ours, other ? theirs : "an unknown one");
	}
}

/* ---- the file ----------------------------------------------------------------------------- */

/*
 * The SQLite that wrote the file last; 0: not known.  Read through SQLite's own
 * descriptor: closing another one of the same file would drop all locks that
 * this process has on it, those of the app's connections, too.
 */
int journal_header(const struct clinic_cache *c)
{
	sqlite3_file *file = NULL;
	unsigned char at[4];

	if (sqlite3_file_control(c->db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK ||
	    !file || !file->pMethods ||
	    file->pMethods->xRead(file, at, sizeof(at), HEADER_VERSION_AT) != SQLITE_OK)
		return 0;
	return (int)((unsigned)at[0] << 24 | (unsigned)at[1] << 16 | (unsigned)at[2] << 8 | at[3]);
}

cs_status journal_note_header(struct clinic_cache *c, int version, struct cs_error *err)
{
	char text[24];

	if (version <= 0)
		return CS_OK;
	snprintf(text, sizeof(text), "%d", version);
	return meta_set(c->db, "app_sqlite", text, err);
}

static cs_status read_facts(struct clinic_cache *c, struct journal_facts *facts,
			    struct cs_error *err)
{
	char header[24];
	char **adopted = NULL;
	size_t adopted_count = 0;
	cs_status st = meta_get(c->db, "main", "app_sqlite", header, sizeof(header), err);

	if (st == CS_OK)
		st = meta_get_names(c->db, "adopted", &adopted, &adopted_count, err);
	names_free(adopted, adopted_count);
	if (st != CS_OK)
		return st;
	*facts = (struct journal_facts){
		.ours = sqlite3_libversion_number(),
		.app = c->app_sqlite_version ? journal_parse_version(c->app_sqlite_version) : 0,
		.header = atoi(header),
		.foreign = c->use.foreign,
		.made = adopted_count == 0,
	};
	return CS_OK;
}

/* Ask for a mode; the one the file has afterwards into out. */
static cs_status ask_mode(struct clinic_cache *c, const char *sql, char *out, size_t size,
			  struct cs_error *err)
{
	sqlite3_stmt *stmt;
	cs_status st = store_prepare(c->db, sql, &stmt, err);

	out[0] = '\0';
	if (st != CS_OK)
		return st;
	/* a refusal because somebody has the file open is no failure: it stays as it is */
	if (sqlite3_step(stmt) == SQLITE_ROW && sqlite3_column_text(stmt, 0))
		snprintf(out, size, "%s", (const char *)sqlite3_column_text(stmt, 0));
	sqlite3_finalize(stmt);
	return CS_OK;
}

static cs_status remember(struct clinic_cache *c, const char *reason, struct cs_error *err)
{
	char before[256];
	cs_status st = meta_get(c->db, "main", "journal_reason", before, sizeof(before), err);

	if (st == CS_OK && strcmp(before, reason) != 0)
		st = meta_set(c->db, "journal_reason", reason, err);
	return st;
}

/* Now or not at all: nobody waits for whoever has the file open. */
static cs_status change_mode(struct clinic_cache *c, bool wal, struct cs_error *err)
{
	char mode[16];
	/* the file's data_version moves with its mode, and would hide who moved it before */
	cs_status st = write_look_for_others(c, err);

	if (st != CS_OK)
		return st;
	write_do_not_wait(c);
	st = ask_mode(c,
		      wal ? "PRAGMA main.journal_mode = WAL" : "PRAGMA main.journal_mode = DELETE",
		      mode, sizeof(mode), err);
	write_watch(c);
	return st == CS_OK ? write_was_ours(c, err) : st;
}

cs_status journal_apply(struct clinic_cache *c, struct cs_error *err)
{
	struct journal_facts facts;
	struct journal_choice choice;
	char mode[16];
	char reason[300];
	bool is_wal;
	cs_status st;

	c->use.journal_due = false;
	if (c->borrowed)
		return remember(c, "the connection is the app's own, and so is its journal", err);
	st = read_facts(c, &facts, err);
	if (st != CS_OK)
		return st;
	journal_choose(&facts, &choice);
	st = ask_mode(c, "PRAGMA main.journal_mode", mode, sizeof(mode), err);
	is_wal = strcmp(mode, "wal") == 0;
	if (st == CS_OK && is_wal != choice.wal)
		st = change_mode(c, choice.wal, err);
	/* what came of it: whoever has the file open is in the way */
	if (st == CS_OK)
		st = ask_mode(c, "PRAGMA main.journal_mode", mode, sizeof(mode), err);
	if (st != CS_OK)
		return st;
	is_wal = strcmp(mode, "wal") == 0;
	c->wal_inode = beside_wal_inode(c->path);
	snprintf(reason, sizeof(reason), "%s%s", choice.reason,
		 is_wal == choice.wal ? "" : "; not so yet: another program has the file open");
	return remember(c, reason, err);
}
