/*
 * clinic-cache verify: is the file what the server says it is, row for row, at
 * one moment?  cli_meet.c brings both to that moment.  A file that nobody
 * syncs is brought there by a session of our own.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli_access.h"
#include "cli_meet.h"
#include "cli_output.h"
#include "clock.h"

#define DEFAULT_LIMIT_S 60
#define MAX_REPORT_BYTES ((size_t)4 * 1024 * 1024)

struct difference {
	char *table;         /* owned */
	int64_t server_rows; /* -1: the server does not have it */
	int64_t file_rows;   /* -1: the file does not have it */
	int64_t parked_rows; /* of the file's: its own table refuses them */
	bool differs;
	size_t different_rows;
};

struct verify {
	const struct cli_options *options;
	struct cli_options
		sync_options; /* of our own session: the file's tables, whatever is compared */
	struct cli_access access;
	struct cli_meeting meeting;
	struct difference *tables; /* owned */
	size_t table_count;
	char cursor[CURSOR_TEXT_BYTES]; /* where both sides were compared */
};

/* ---- comparing --------------------------------------------------------------------------- */

static int compare_table(struct verify *v, struct difference *d)
{
	struct clinic_cache_error err = {0};
	struct cli_digest_table *server = cli_digest_find(&v->meeting.digest, d->table);
	char hash[17];

	d->server_rows = server ? server->rows : -1;
	if (d->file_rows >= 0 && clinic_cache_view_digest(v->meeting.view, d->table, &d->file_rows,
							  hash, &err) != CLINIC_CACHE_OK)
		return cli_fail_library(v->options, &err);
	if (d->file_rows >= 0 && clinic_cache_view_parked(v->meeting.view, d->table,
							  &d->parked_rows, &err) != CLINIC_CACHE_OK)
		return cli_fail_library(v->options, &err);
	d->differs = !server || d->file_rows < 0 || d->file_rows != d->server_rows ||
		     strcmp(hash, server->hash) != 0;
	return EXIT_DONE;
}

static void add_row(const char *key, const char *row_hash, void *context)
{
	cli_rowset_add(context, key, row_hash);
}

static int count_rows(struct verify *v, struct difference *d)
{
	struct clinic_cache_error err = {0};
	struct cli_digest_table *server = cli_digest_find(&v->meeting.digest, d->table);
	struct cli_rowset ours = {0};
	struct cli_rowset none = {0};
	int exit_code = EXIT_DONE;

	if (d->file_rows >= 0 && clinic_cache_view_row_hashes(v->meeting.view, d->table, add_row,
							      &ours, &err) != CLINIC_CACHE_OK)
		exit_code = cli_fail_library(v->options, &err);
	else if (ours.failed || (server && server->set.failed))
		exit_code =
			cli_fail(v->options, EXIT_CONFIG, "cannot hold the rows of %s", d->table);
	else
		d->different_rows = cli_rowset_differences(&ours, server ? &server->set : &none);
	cli_rowset_free(&ours);
	return exit_code;
}

/* Which rows: another batch, with the hash of every row of the tables that differ. */
static int count_differences(struct verify *v)
{
	const char **names = calloc(v->table_count, sizeof(*names));
	size_t count = 0;
	int exit_code;

	if (!names)
		return cli_fail(v->options, EXIT_CONFIG, "out of memory");
	for (size_t i = 0; i < v->table_count; i++) {
		if (v->tables[i].differs && v->tables[i].server_rows >= 0)
			names[count++] = v->tables[i].table;
	}
	exit_code = count ? cli_meet(&v->meeting, names, count, true) : EXIT_DONE;
	for (size_t i = 0; i < v->table_count && exit_code == EXIT_DONE; i++) {
		if (v->tables[i].differs)
			exit_code = count_rows(v, &v->tables[i]);
	}
	free(names);
	return exit_code;
}

static bool view_has(const struct verify *v, const char *table)
{
	for (size_t i = 0; i < clinic_cache_view_table_count(v->meeting.view); i++) {
		if (strcmp(clinic_cache_view_table(v->meeting.view, i), table) == 0)
			return true;
	}
	return false;
}

/* The tables to compare: those named, else those of the file. Names are copied: a view may move. */
static bool list_tables(struct verify *v)
{
	const struct cli_options *options = v->options;
	size_t count = options->table_count ? options->table_count
					    : clinic_cache_view_table_count(v->meeting.view);

	v->tables = calloc(count ? count : 1, sizeof(*v->tables));
	if (!v->tables)
		return false;
	for (size_t i = 0; i < count; i++) {
		const char *name = options->table_count
					   ? options->tables[i]
					   : clinic_cache_view_table(v->meeting.view, i);

		v->tables[i].table = strdup(name);
		if (!v->tables[i].table)
			return false;
		v->tables[i].file_rows = view_has(v, name) ? 0 : -1;
		v->table_count++;
	}
	return true;
}

/* ---- the answer -------------------------------------------------------------------------- */

static const char *remark(const struct difference *d)
{
	if (d->server_rows < 0)
		return ", not on the server";
	return d->file_rows < 0 ? ", not in the file" : "";
}

static int64_t count_parked(const struct verify *v)
{
	int64_t rows = 0;

	for (size_t i = 0; i < v->table_count; i++)
		rows += v->tables[i].parked_rows;
	return rows;
}

static void print_text(const struct verify *v, bool different, size_t rows)
{
	if (different)
		printf("differs: %zu rows\n", rows);
	else
		puts("ok");
	for (size_t i = 0; i < v->table_count; i++) {
		if (v->tables[i].differs)
			printf("  %s: %zu rows%s\n", v->tables[i].table,
			       v->tables[i].different_rows, remark(&v->tables[i]));
	}
	/* they are in the file, and count as what the server has */
	if (count_parked(v) > 0)
		printf("parked: %" PRId64 "\n", count_parked(v));
	for (size_t i = 0; i < v->table_count; i++) {
		if (v->tables[i].parked_rows > 0)
			printf("  %s: %" PRId64 " rows\n", v->tables[i].table,
			       v->tables[i].parked_rows);
	}
}

static void add_count(struct dynbuf *b, const char *name, int64_t rows)
{
	if (rows < 0)
		cli_json_text(b, name, NULL);
	else
		cli_json_number(b, name, rows);
}

static void print_json(const struct verify *v, bool different, size_t rows)
{
	struct dynbuf b;

	dynbuf_init(&b, MAX_REPORT_BYTES);
	dynbuf_adds(&b, "{");
	cli_json_text(&b, "result", different ? "differs" : "ok");
	cli_json_text(&b, "cursor", v->cursor);
	cli_json_number(&b, "different_rows", (long long)rows);
	cli_json_number(&b, "parked", count_parked(v));
	dynbuf_adds(&b, ",\"tables\":[");
	for (size_t i = 0; i < v->table_count; i++) {
		const struct difference *d = &v->tables[i];

		dynbuf_adds(&b, i ? ",{" : "{");
		cli_json_text(&b, "table", d->table);
		cli_json_text(&b, "result", d->differs ? "differs" : "ok");
		add_count(&b, "rows", d->file_rows);
		add_count(&b, "server_rows", d->server_rows);
		cli_json_number(&b, "different_rows", (long long)d->different_rows);
		cli_json_number(&b, "parked", d->parked_rows);
		dynbuf_adds(&b, "}");
	}
	if (dynbuf_adds(&b, "]}"))
		puts(b.data);
	dynbuf_free(&b);
}

static int report(const struct verify *v)
{
	bool different = false;
	size_t rows = 0;

	for (size_t i = 0; i < v->table_count; i++) {
		different = different || v->tables[i].differs;
		rows += v->tables[i].different_rows;
	}
	if (v->options->json)
		print_json(v, different, rows);
	else
		print_text(v, different, rows);
	return different ? EXIT_DIFFERENT : EXIT_DONE;
}

static int compare(struct verify *v)
{
	const char **names = calloc(v->table_count + 1, sizeof(*names));
	bool different = false;
	int exit_code;

	if (!names)
		return cli_fail(v->options, EXIT_CONFIG, "out of memory");
	for (size_t i = 0; i < v->table_count; i++)
		names[i] = v->tables[i].table;
	exit_code = cli_meet(&v->meeting, names, v->table_count, false);
	free(names);
	if (exit_code != EXIT_DONE)
		return exit_code;
	strcpy(v->cursor, v->meeting.digest.cursor);
	for (size_t i = 0; i < v->table_count; i++) {
		exit_code = compare_table(v, &v->tables[i]);
		if (exit_code != EXIT_DONE)
			return exit_code;
		different = different || v->tables[i].differs;
	}
	if (different)
		exit_code = count_differences(v);
	return exit_code == EXIT_DONE ? report(v) : exit_code;
}

/* ---- setting up -------------------------------------------------------------------------- */

/* Nobody syncs the file: do it here, as far as needed. Somebody just began to: so much the better.
 */
static int sync_here(struct verify *v)
{
	struct cli_session_setup setup = {
		.options = &v->sync_options,
		.access_code = v->access.code,
	};
	struct clinic_cache_error err = {0};

	if (cli_session_open(v->meeting.loop, &setup, &v->meeting.session, &err) ==
		    CLINIC_CACHE_OK ||
	    err.status == CLINIC_CACHE_ERR_BUSY)
		return EXIT_DONE;
	return cli_fail_library(v->options, &err);
}

static int begin(struct verify *v)
{
	struct clinic_cache_file_status file;
	struct clinic_cache_error err = {0};
	struct cs_error problem = {0};
	int exit_code = EXIT_DONE;
	int limit_s = v->options->timeout_s ? v->options->timeout_s : DEFAULT_LIMIT_S;
	int syncing_pid;

	v->meeting.access_code = v->access.code;
	v->meeting.deadline_ms = clock_monotonic_ms() + (uint64_t)limit_s * 1000;
	if (clinic_cache_read_status(v->options->db, &file, &err) != CLINIC_CACHE_OK)
		return cli_fail_library(v->options, &err);
	syncing_pid = file.syncing_pid;
	if (!file.cursor[0])
		exit_code = cli_fail(v->options, EXIT_CONFIG, "%s is not a cache", v->options->db);
	else if (link_url_parse(file.url, &v->meeting.url, &problem) != CS_OK ||
		 cli_access_load(v->options, &v->access, &problem) != CS_OK ||
		 link_loop_new(&v->meeting.loop, &problem) != CS_OK)
		exit_code = cli_fail_status(v->options, &problem);
	clinic_cache_free_status(&file);
	if (exit_code == EXIT_DONE && !syncing_pid)
		exit_code = sync_here(v);
	if (exit_code != EXIT_DONE)
		return exit_code;
	if (clinic_cache_view_open(v->options->db, &v->meeting.view, &err) != CLINIC_CACHE_OK)
		return cli_fail_library(v->options, &err);
	if (!list_tables(v))
		return cli_fail(v->options, EXIT_CONFIG, "out of memory");
	clinic_cache_view_let_go(v->meeting.view);
	return EXIT_DONE;
}

static void end(struct verify *v)
{
	cli_digest_free(&v->meeting.digest);
	if (v->meeting.view)
		clinic_cache_view_close(v->meeting.view);
	cli_session_close(v->meeting.session);
	cli_access_forget(&v->access);
	link_loop_free(v->meeting.loop);
	for (size_t i = 0; i < v->table_count; i++)
		free(v->tables[i].table);
	free(v->tables);
}

int cli_verify(const struct cli_options *options)
{
	struct verify v = {
		.options = options,
		.sync_options = {.db = options->db, .name = options->name},
		.meeting = {.options = options},
	};
	int exit_code = begin(&v);

	if (exit_code == EXIT_DONE)
		exit_code = compare(&v);
	end(&v);
	return exit_code;
}
