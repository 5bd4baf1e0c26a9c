/*
 * What the relay says at GET /db/digest, gathered line by line as it arrives
 * (docs/protocol.md, "HTTP").  The first line names the cursor long before the
 * rest is computed, so that whoever compares can stop its file there.
 */
#ifndef CLINIC_SYNC_CLI_DIGEST_H
#define CLINIC_SYNC_CLI_DIGEST_H

#include <stdint.h>

#include "cli_rowset.h"
#include "cursor.h"
#include "link_http.h"

struct cli_digest_table {
	char *name; /* owned */
	char hash[17];
	int64_t rows;
	struct cli_rowset set; /* with rows=1 */
};

struct cli_digest {
	char cursor[CURSOR_TEXT_BYTES];  /* empty until the first line is there */
	struct cli_digest_table *tables; /* owned */
	size_t table_count;
	bool done; /* the answer is over; problem says whether it is good */
	bool saw_end;
	bool refused;      /* asking again would not help */
	char problem[256]; /* empty: none */
	struct link_http *http;
};

/* What to ask for. */
struct cli_digest_request {
	const struct link_url *url;
	const char *access_code;
	const char *const *tables; /* table_count 0: all */
	size_t table_count;
	const char *skip; /* value of skip=, escaped; empty: nothing is left out */
	bool with_rows;
};

/* Ask; the answer fills *out while the loop runs. */
cs_status cli_digest_ask(struct link_loop *loop, const struct cli_digest_request *request,
			 struct cli_digest *out, struct cs_error *err) CS_CHECKED;
struct cli_digest_table *cli_digest_find(struct cli_digest *digest, const char *table);
void cli_digest_free(struct cli_digest *digest);

#endif
