/* Reading messages of the feed; see messages.h. */
#include "messages.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>

/* The envelope stands before the changes; what is looked for lies in its first bytes. */
#define ENVELOPE_MOST 512

static const struct {
	const char *prefix;
	enum message_kind kind;
} kinds[] = {
	{"{\"type\":\"database_change\"", MESSAGE_FRAME},
	{"{\"type\":\"heartbeat\"", MESSAGE_HEARTBEAT},
	{"{\"type\":\"connected\"", MESSAGE_CONNECTED},
	{"{\"type\":\"ready\"", MESSAGE_READY},
	{"{\"type\":\"resync_required\"", MESSAGE_RESYNC},
	{"{\"type\":\"lagged\"", MESSAGE_LAGGED},
	{"{\"type\":\"digest\",", MESSAGE_DIGEST},
	{"{\"type\":\"error\",\"code\":\"database_unavailable\"", MESSAGE_UNAVAILABLE},
	{"{\"type\":\"error\"", MESSAGE_ERROR},
	{"{\"type\":", MESSAGE_OTHER},
	{"{\"mark\":", MESSAGE_BARE},
};

static enum message_kind kind_of(const char *bytes, size_t len)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		size_t n = strlen(kinds[i].prefix);

		if (len >= n && memcmp(bytes, kinds[i].prefix, n) == 0)
			return kinds[i].kind;
	}
	return MESSAGE_BROKEN;
}

/* What follows `key` in the envelope; NULL when it is not there. */
static const char *after(const struct message *m, const char *key)
{
	size_t room = m->len < ENVELOPE_MOST ? m->len : ENVELOPE_MOST;
	const char *at = memmem(m->bytes, room, key, strlen(key));

	return at ? at + strlen(key) : NULL;
}

static bool copy_cursor(const struct message *m, const char *key, char *out)
{
	const char *at = after(m, key);
	size_t len = at ? strcspn(at, "\"") : CURSOR_BYTES;

	if (len >= CURSOR_BYTES)
		return false;
	memcpy(out, at, len);
	out[len] = '\0';
	return true;
}

static void add_change(struct message *m, uint64_t seq, int64_t sent_ns)
{
	if (m->change_count == m->change_cap) {
		m->change_cap = m->change_cap ? 2 * m->change_cap : 16;
		m->changes = reallocarray(m->changes, m->change_cap, sizeof(*m->changes));
		if (!m->changes)
			err(1, "changes of a message");
	}
	m->changes[m->change_count].seq = seq;
	m->changes[m->change_count].sent_ns = sent_ns;
	m->change_count++;
}

static void find_changes(struct message *m)
{
	static const char key[] = "\"mark\":\"";
	const char *at = m->bytes, *end = m->bytes + m->len;

	while ((at = memmem(at, (size_t)(end - at), key, sizeof(key) - 1)) != NULL) {
		char *colon, *stop;
		uint64_t seq = strtoull(at + sizeof(key) - 1, &colon, 10);
		int64_t sent_ns = *colon == ':' ? strtoll(colon + 1, &stop, 10) : 0;

		if (*colon != ':' || *stop != ':') {
			m->kind = MESSAGE_BROKEN;
			return;
		}
		add_change(m, seq, sent_ns);
		at = stop;
	}
}

static void understand(struct message *m)
{
	const char *at;
	bool moves;

	m->kind = kind_of(m->bytes, m->len);
	m->change_count = 0;
	m->first_part = m->last_part = true;
	moves = m->kind == MESSAGE_FRAME || m->kind == MESSAGE_HEARTBEAT;
	if (moves &&
	    (!copy_cursor(m, "\"from\":\"", m->from) || !copy_cursor(m, "\"to\":\"", m->to)))
		m->kind = MESSAGE_BROKEN;
	if (m->kind == MESSAGE_FRAME && (at = after(m, "\"part\":")) != NULL) {
		m->first_part = strncmp(at, "0,", 2) == 0;
		m->last_part = after(m, "\"last\":true") != NULL;
	}
	if (m->kind == MESSAGE_FRAME || m->kind == MESSAGE_BARE)
		find_changes(m);
	if (m->kind == MESSAGE_DIGEST && after(m, "\"failed\":true"))
		m->kind = MESSAGE_DIGEST_FAILED;
	at = m->kind == MESSAGE_CONNECTED ? after(m, "\"reconnect_spread_ms\":") : NULL;
	m->spread_ms = at ? strtoll(at, NULL, 10) : 0;
}

/* FNV-1a over length and envelope: cursors make every message's another. */
static size_t slot_of(const char *bytes, size_t len)
{
	uint32_t hash = 2166136261u ^ (uint32_t)len;

	for (size_t i = 0; i < len && i < 128; i++)
		hash = (hash ^ (unsigned char)bytes[i]) * 16777619u;
	return hash % MESSAGES_KEPT;
}

const struct message *messages_read(struct messages *m, const char *bytes, size_t len)
{
	struct message *kept = &m->kept[slot_of(bytes, len)];

	if (kept->bytes && kept->len == len && memcmp(kept->bytes, bytes, len) == 0)
		return kept;
	if (kept->cap <= len) {
		free(kept->bytes);
		kept->cap = len + 1;
		kept->bytes = malloc(kept->cap);
		if (!kept->bytes)
			err(1, "a message of %zu bytes", len);
	}
	memcpy(kept->bytes, bytes, len);
	kept->bytes[len] = '\0'; /* numbers are read as text */
	kept->len = len;
	understand(kept);
	return kept;
}
