/*
 * Random frames against an app's table with a CHECK and two UNIQUE indexes,
 * beside a model that has none of them.  After each frame the table and what
 * is parked are together the model, no key is in both, the digest is the
 * model's, and nothing is parked that the table would take as it is.
 */
#include "client_cache_app_support.h"

#define APP                                                                                        \
	"CREATE TABLE people(id TEXT PRIMARY KEY, login TEXT UNIQUE ON CONFLICT REPLACE,"          \
	" score REAL CHECK(score < 100), seen INTEGER, note TEXT DEFAULT 'new');"                  \
	"CREATE UNIQUE INDEX people_score ON people(score, seen)"
#define KEYS 24
#define LOGINS 9  /* and none */
#define SCORES 12 /* and none; the last one breaks the CHECK */
#define SEEDS 10
#define FRAMES 50

struct person {
	bool there;
	int login; /* 0: null */
	int score;
	int seen; /* 0: null, 1: false, 2: true */
};

struct run {
	struct fixture *f;
	struct person model[KEYS];
	unsigned long long state;
	long batch;
	char changes[16384];
	size_t len;
};

static unsigned pick(struct run *r, unsigned most)
{
	r->state = r->state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(r->state >> 33) % most;
}

static const char *login_of(const struct person *p, char *out)
{
	sprintf(out, p->login ? "\"l%d\"" : "null", p->login);
	return out;
}

static int score_of(const struct person *p)
{
	return p->score == SCORES ? 100 : p->score;
}

static const char *score_text(const struct person *p, char *out)
{
	sprintf(out, p->score ? "\"%d\"" : "null", score_of(p));
	return out;
}

static const char *seen_text(const struct person *p)
{
	return p->seen == 0 ? "null" : p->seen == 1 ? "false" : "true";
}

static struct person random_person(struct run *r)
{
	return (struct person){.there = true,
			       .login = (int)pick(r, LOGINS + 1),
			       .score = (int)pick(r, SCORES + 1),
			       .seen = (int)pick(r, 3)};
}

/* ---- frames -------------------------------------------------------------------------------- */

static void add(struct run *r, const char *operation, int key, const char *data)
{
	r->len += (size_t)snprintf(r->changes + r->len, sizeof(r->changes) - r->len,
				   "%s{\"table\":\"people\",\"operation\":\"%s\",\"key\":{\"id\":"
				   "\"k%02d\"},\"data\":%s}",
				   r->len ? "," : "", operation, key, data);
	assert_true(r->len < sizeof(r->changes));
}

static void add_whole(struct run *r, const char *operation, int key)
{
	const struct person *p = &r->model[key];
	char login[16], score[16], data[160];

	sprintf(data, "{\"id\":\"k%02d\",\"login\":%s,\"score\":%s,\"seen\":%s}", key,
		login_of(p, login), score_text(p, score), seen_text(p));
	add(r, operation, key, data);
}

static void update_login(struct run *r, int key, int login)
{
	char text[16], data[64];

	r->model[key].login = login;
	sprintf(data, "{\"login\":%s}", login_of(&r->model[key], text));
	add(r, "update", key, data);
}

static void update(struct run *r, int key)
{
	struct person *p = &r->model[key];
	struct person other = random_person(r);
	char text[16], data[64];

	switch (pick(r, 3)) {
	case 0:
		update_login(r, key, other.login);
		return;
	case 1:
		p->score = other.score;
		sprintf(data, "{\"score\":%s}", score_text(p, text));
		break;
	default:
		p->score = other.score;
		p->seen = other.seen;
		sprintf(data, "{\"seen\":%s,\"score\":%s}", seen_text(p), score_text(p, text));
		break;
	}
	add(r, "update", key, data);
}

/* Logins move on by one row, the last one's to the first: a swap of two, or a longer chain. */
static void rotate(struct run *r)
{
	int first = -1;
	int before = 0;
	int login = 0;

	for (int i = 0; i < KEYS; i++) {
		if (!r->model[i].there || pick(r, 3))
			continue;
		login = r->model[i].login;
		if (first < 0)
			first = i;
		else
			update_login(r, i, before);
		before = login;
	}
	if (first >= 0)
		update_login(r, first, before);
}

static void change(struct run *r)
{
	int key = (int)pick(r, KEYS);
	struct person *p = &r->model[key];
	unsigned what = pick(r, 100);

	if (what < 2) {
		r->len += (size_t)sprintf(r->changes + r->len,
					  "%s{\"table\":\"people\",\"operation\":\"truncate\","
					  "\"key\":null,\"data\":null}",
					  r->len ? "," : "");
		memset(r->model, 0, sizeof(r->model));
	} else if (what < 10) {
		rotate(r);
	} else if (what < 20) {
		p->there = pick(r, 2);
		if (p->there)
			*p = random_person(r);
		if (p->there)
			add_whole(r, "put", key);
		else
			add(r, "put", key, "null");
	} else if (!p->there) {
		*p = random_person(r);
		add_whole(r, "insert", key);
	} else if (what < 40) {
		p->there = false;
		add(r, "delete", key, "null");
	} else {
		update(r, key);
	}
}

static clinic_cache_status send(struct run *r)
{
	char to[64];

	snprintf(to, sizeof(to), "%ld-00000000000000ff", ++r->batch);
	return frame(r->f, clinic_cache_cursor(r->f->cache), to, r->changes);
}

/* A frame that no relay sends, behind changes that are good: nothing of it may stay. */
static void fail_frame(struct run *r)
{
	struct person before[KEYS];

	memcpy(before, r->model, sizeof(before));
	change(r);
	change(r);
	add(r, "dance", 1, "null");
	assert_int_equal(send(r), CLINIC_CACHE_ERR_PROTOCOL);
	memcpy(r->model, before, sizeof(before));
	clinic_cache_disconnected(r->f->cache, r->f->now, 1002, "closed");
	connect_link(r->f);
	become_ready(r->f);
}

static void snapshot(struct run *r)
{
	char sql[4096];
	char login[16];
	char cursor[64];
	int rows = 0;
	size_t at = (size_t)sprintf(sql, "DROP INDEX people_login; DELETE FROM people;");

	for (int i = 0; i < KEYS; i++) {
		const struct person *p = &r->model[i];

		if (!p->there)
			continue;
		rows++;
		login_of(p, login);
		for (char *c = login; *c; c++)
			*c = *c == '"' ? '\'' : *c;
		at += (size_t)sprintf(sql + at, "INSERT INTO people VALUES('k%02d', %s, ", i,
				      login);
		at += (size_t)sprintf(sql + at, p->score ? "%d, " : "NULL, ", score_of(p));
		at += (size_t)sprintf(sql + at, p->seen ? "%d);" : "NULL);", p->seen - 1);
	}
	sprintf(sql + at, "UPDATE clinic_sync_table SET rows = %d WHERE name = 'people'", rows);
	snprintf(cursor, sizeof(cursor), "%ld-00000000000000ff", ++r->batch);
	replace_all(r->f, cursor, sql);
}

/* ---- what is there ------------------------------------------------------------------------- */

/* One row of the file, as text: "k01|l3|7|true|"; NULL is ~. */
static bool is_model(const struct run *r, const char *line)
{
	int key = atoi(line + 1);
	const struct person *p = &r->model[key];
	char expected[64];
	size_t at = (size_t)sprintf(expected, "k%02d|", key);

	at += (size_t)sprintf(expected + at, p->login ? "l%d|" : "~|", p->login);
	at += (size_t)sprintf(expected + at, p->score ? "%d|" : "~|", score_of(p));
	sprintf(expected + at, "%s", p->seen ? (p->seen == 1 ? "0" : "1") : "~");
	return p->there && strcmp(line, expected) == 0;
}

/* Keys of the query's rows, which must be the model's; a bit each. */
static unsigned rows_of(struct run *r, const char *sql)
{
	static char rows[65536];
	unsigned keys = 0;

	snprintf(rows, sizeof(rows), "%s", query(r->f->path, sql));
	for (char *line = strtok(rows, "\n"); line; line = strtok(NULL, "\n")) {
		if (!is_model(r, line))
			fail_msg("no row of the server: %s", line);
		keys |= 1u << atoi(line + 1);
	}
	return keys;
}

/* Would the table take the row, beside those that it has? */
static bool would_fit(const struct run *r, int key, unsigned in_table)
{
	const struct person *p = &r->model[key];

	if (p->score == SCORES)
		return false;
	for (int i = 0; i < KEYS; i++) {
		const struct person *q = &r->model[i];

		if (!(in_table & 1u << i))
			continue;
		if (p->login && p->login == q->login)
			return false;
		if (p->score && p->seen && p->score == q->score && p->seen == q->seen)
			return false;
	}
	return true;
}

static void check_against_model(struct run *r)
{
	unsigned in_table =
		rows_of(r, "SELECT id, login, CAST(score AS INTEGER), seen FROM people");
	unsigned parked = rows_of(
		r, "SELECT data ->> 'id', data ->> 'login', data ->> 'score', data ->> 'seen'"
		   " FROM clinic_cache_parked");
	uint64_t sum = 0;
	int64_t rows = 0;

	assert_int_equal(in_table & parked, 0);
	for (int i = 0; i < KEYS; i++) {
		const struct person *p = &r->model[i];
		char bytes[64];
		char text[16];
		size_t at;

		assert_int_equal(p->there, (in_table | parked) >> i & 1);
		if (!p->there)
			continue;
		if ((parked >> i & 1) && would_fit(r, i, in_table))
			fail_msg("k%02d is parked for nothing", i);
		rows++;
		at = (size_t)sprintf(bytes, "V3:k%02d", i);
		at += (size_t)sprintf(bytes + at, p->login ? "V2:l%d" : "N", p->login);
		sprintf(text, "%d", score_of(p));
		at += (size_t)sprintf(bytes + at, p->score ? "V%zu:%s" : "N", strlen(text), text);
		sprintf(bytes + at, p->seen ? "V%zu:%s" : "N", strlen(seen_text(p)), seen_text(p));
		sum += hash_of(bytes);
	}
	check_digest(r->f, "people", rows, sum);
}

static void run_seed(unsigned seed)
{
	struct run r = {.state = seed, .batch = 1};
	void *held;

	r.f = start_app(APP, "DELETE FROM people; UPDATE clinic_sync_table SET rows = 0"
			     " WHERE name = 'people'");
	held = r.f;
	for (int i = 0; i < FRAMES; i++) {
		unsigned what = pick(&r, 20);

		r.len = 0;
		r.changes[0] = '\0';
		if (what == 0) {
			fail_frame(&r);
		} else if (what == 1) {
			snapshot(&r);
		} else {
			for (unsigned n = 1 + pick(&r, 12); n; n--)
				change(&r);
			if (send(&r) != CLINIC_CACHE_OK)
				fail_msg("seed %u, frame %d: %s", seed, i,
					 clinic_cache_last_error(r.f->cache)->text);
		}
		check_against_model(&r);
	}
	teardown(&held);
}

static void equals_the_model(void **state)
{
	const char *seed = getenv("SEED");

	(void)state;
	if (seed) {
		run_seed((unsigned)atoi(seed));
		return;
	}
	for (unsigned i = 1; i <= SEEDS; i++)
		run_seed(i);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {cmocka_unit_test(equals_the_model)};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("parked rows at random", tests, NULL, NULL);
}
