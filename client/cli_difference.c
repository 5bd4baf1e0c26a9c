/* clinic-cache sync on a file with rows of its own: what stands against the server, for people to
 * decide. */
#include "cli_difference.h"

#include "cli_output.h"

#define MAX_REPORT_BYTES ((size_t)1024 * 1024)

static void print_text(const struct clinic_cache_difference *d)
{
	printf("%-32s %10s %10s %10s %10s %10s\n", "table", "here", "there", "only here",
	       "only there", "different");
	for (size_t i = 0; i < d->table_count; i++) {
		const struct clinic_cache_table_difference *t = &d->tables[i];

		printf("%-32s %10lld %10lld %10lld %10lld %10lld\n", t->name, (long long)t->here,
		       (long long)t->there, (long long)t->only_here, (long long)t->only_there,
		       (long long)t->different);
	}
	fflush(stdout);
}

static void print_json(const struct clinic_cache_difference *d, const char *error, int exit_code)
{
	struct dynbuf b;

	dynbuf_init(&b, MAX_REPORT_BYTES);
	dynbuf_adds(&b, "{");
	cli_json_text(&b, "result", "different");
	cli_json_text(&b, "error", error);
	cli_json_number(&b, "exit", exit_code);
	dynbuf_adds(&b, ",\"tables\":[");
	for (size_t i = 0; i < d->table_count; i++) {
		const struct clinic_cache_table_difference *t = &d->tables[i];

		dynbuf_adds(&b, i ? ",{" : "{");
		cli_json_text(&b, "name", t->name);
		cli_json_number(&b, "here", t->here);
		cli_json_number(&b, "there", t->there);
		cli_json_number(&b, "only_here", t->only_here);
		cli_json_number(&b, "only_there", t->only_there);
		cli_json_number(&b, "different", t->different);
		dynbuf_adds(&b, "}");
	}
	if (dynbuf_adds(&b, "]}"))
		puts(b.data);
	dynbuf_free(&b);
}

int cli_refuse_difference(const struct cli_options *options, const struct clinic_cache *cache)
{
	const struct clinic_cache_difference *d = clinic_cache_difference_of(cache);
	const struct clinic_cache_error *error = clinic_cache_last_error(cache);

	if (options->json)
		print_json(d, error->text, EXIT_CONFIG);
	else
		print_text(d);
	fprintf(stderr, "clinic-cache: %s\n", error->text);
	return EXIT_CONFIG;
}
