/* link: bench/src/part/[a-z]*.c */
/*
 * device_load --port PORT --devices N [--cursor C --code-file F | --bare] …
 *
 * Devices of a relay by the thousand, as cheap as they can be, since they
 * share the machine with what they measure: one thread, epoll, one buffer, a
 * message read once and then compared byte by byte. They speak
 * docs/protocol.md, or read the bare loop's stream (--bare).
 *
 *	--first N      the first change to come has this sequence number (1)
 *	--most N       and there are at most so many (100000)
 *	--stamps F     the file of times shared with commit_load, of first + most
 *	--in-flight N  connections being made at once (64)
 *	--row-counts J {"table":rows,…}: what devices say that they hold ({})
 *	--receive-bytes N  of each socket's buffer (the system's own size)
 *
 * On stdin, one order a line; every answer is one line of JSON:
 *
 *	(start)        connect all; "connected" when all follow
 *	reset          forget times and traffic
 *	wait N S       "complete" once every reading device has changes up to
 *	               number N, or "timeout" after S seconds, and what is missing
 *	report         "report", now
 *	pause K        the first K devices stop reading; pause 0: all read again
 *	away           links may end from now on
 *	resume N S     come back to the relay, spread as it asks, then as wait;
 *	               refused ones try again. ready_after and level_after count from here
 *	prove MS       from now on each device asks for the periodic proof every MS
 *	               ms, at a time of its own; prove 0: no more
 *	drop           end all links
 *	quit           or the end of stdin
 *
 * Ends with 1 if one delivery was double, missing at a wait, out of its order,
 * or a link ended unasked.
 */
#include <err.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "part/clock_ns.h"
#include "part/load.h"

#define EVENTS 512
#define CONNECT_WITHIN_S 120

static struct load load;
static int in_flight_most = 64;
static const char *waiting_for; /* the event to print when level == readers; NULL: none */
static int64_t deadline_ns;
static int readers;
static bool failed;
static bool ended;
/* The periodic proofs: whose turn it is and when; asks are spread evenly over their period. */
static int64_t prove_every_ns; /* between two asks of all devices together; 0: none */
static int64_t prove_due_ns;
static int prove_next;

static void make_devices(const char *cursor)
{
	load.devices = calloc((size_t)load.device_count, sizeof(*load.devices));
	if (!load.devices)
		err(1, "devices");
	for (int i = 0; i < load.device_count; i++) {
		struct device *d = &load.devices[i];

		d->load = &load;
		d->number = i;
		d->fd = -1;
		d->state = DEVICE_WAITING;
		snprintf(d->cursor, sizeof(d->cursor), "%s", cursor);
		d->seen = calloc(load.most / 64 + 1, sizeof(*d->seen));
		if (!d->seen)
			err(1, "what device %d has seen", i);
	}
	load.waiting = load.device_count;
}

static const char *read_code(const char *path)
{
	static char code[256];
	FILE *in = path ? fopen(path, "r") : NULL;

	if (path && (!in || !fgets(code, sizeof(code), in)))
		err(1, "%s", path);
	if (in)
		fclose(in);
	code[strcspn(code, "\r\n")] = '\0';
	return code;
}

static void options(int argc, char **argv)
{
	static const struct option known[] = {
		{"port", 1, NULL, 'p'},       {"devices", 1, NULL, 'd'},
		{"cursor", 1, NULL, 'c'},     {"code-file", 1, NULL, 'a'},
		{"bare", 0, NULL, 'b'},       {"first", 1, NULL, 'f'},
		{"most", 1, NULL, 'm'},       {"stamps", 1, NULL, 's'},
		{"in-flight", 1, NULL, 'i'},  {"receive-bytes", 1, NULL, 'r'},
		{"row-counts", 1, NULL, 'j'}, {NULL, 0, NULL, 0}};
	const char *cursor = "", *code_file = NULL, *stamps = NULL;
	int o;

	load.first = 1;
	load.most = 100000;
	load.row_counts = "{}";
	while ((o = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (o) {
		case 'p':
			load.port = atoi(optarg);
			break;
		case 'd':
			load.device_count = atoi(optarg);
			break;
		case 'c':
			cursor = optarg;
			break;
		case 'a':
			code_file = optarg;
			break;
		case 'b':
			load.bare = true;
			break;
		case 'f':
			load.first = strtoull(optarg, NULL, 10);
			break;
		case 'm':
			load.most = strtoull(optarg, NULL, 10);
			break;
		case 's':
			stamps = optarg;
			break;
		case 'r':
			load.receive_bytes = atoi(optarg);
			break;
		case 'j':
			load.row_counts = optarg;
			break;
		case 'i':
			in_flight_most = atoi(optarg);
			break;
		default:
			exit(2);
		}
	}
	if (load.port <= 0 || load.device_count < 0 || (!load.bare && !*cursor) || optind < argc)
		errx(2, "usage: device_load --port PORT --devices N "
			"(--cursor CURSOR --code-file FILE | --bare)");
	load.access_code = read_code(code_file);
	if (stamps && !stamps_open(&load.stamps, stamps, load.first + load.most))
		exit(1);
	make_devices(cursor);
}

static void raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		err(1, "getrlimit");
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		err(1, "setrlimit");
	if (limit.rlim_cur < (rlim_t)load.device_count + 16)
		errx(1, "%d devices need as many file descriptors", load.device_count);
}

/* ---- orders ---------------------------------------------------------------- */

static void wait_for(const char *event, long seconds)
{
	waiting_for = event;
	deadline_ns = now_ns() + seconds * NS_PER_S;
	readers = load_readers(&load);
}

static void order_wait(unsigned long long last, long seconds)
{
	load_set_target(&load, last < load.first ? 0 : last - load.first + 1);
	wait_for("complete", seconds);
}

static void order_resume(unsigned long long last, long seconds)
{
	load.resuming = load.away_allowed = true;
	load.resume_ns = now_ns();
	for (int i = 0; i < load.device_count; i++) {
		struct device *d = &load.devices[i];
		int64_t spread_ns = load.spread_ms * NS_PER_MS;

		device_drop(d);
		d->due_ns = load.resume_ns + (spread_ns ? random() % spread_ns : 0);
		d->state = DEVICE_WAITING;
		load.waiting++;
	}
	order_wait(last, seconds);
	in_flight_most = load.device_count; /* a storm is what it is */
}

static void order_pause(int count)
{
	for (int i = 0; i < load.device_count; i++)
		device_pause(&load.devices[i], i < count);
	load_print(&load, "paused");
}

static void order_prove(int period_ms)
{
	prove_every_ns = load.device_count ? period_ms * NS_PER_MS / load.device_count : 0;
	prove_due_ns = now_ns() + prove_every_ns;
	load_print(&load, "proving");
}

static void ask_who_is_due(void)
{
	int64_t now = now_ns();

	while (prove_every_ns && prove_due_ns <= now) {
		device_ask_digest(&load.devices[prove_next]);
		prove_next = (prove_next + 1) % load.device_count;
		prove_due_ns += prove_every_ns;
	}
}

static void order_drop(void)
{
	for (int i = 0; i < load.device_count; i++)
		device_drop(&load.devices[i]);
	load_print(&load, "dropped");
}

static void obey(const char *line)
{
	unsigned long long last;
	long seconds;
	int count;

	if (sscanf(line, "wait %llu %ld", &last, &seconds) == 2) {
		order_wait(last, seconds);
	} else if (sscanf(line, "resume %llu %ld", &last, &seconds) == 2) {
		order_resume(last, seconds);
	} else if (sscanf(line, "pause %d", &count) == 1) {
		order_pause(count);
	} else if (sscanf(line, "prove %d", &count) == 1) {
		order_prove(count);
	} else if (strcmp(line, "away\n") == 0) {
		load.away_allowed = true;
		load_print(&load, "away");
	} else if (strcmp(line, "drop\n") == 0) {
		order_drop();
	} else if (strcmp(line, "reset\n") == 0) {
		load_reset(&load);
		load_print(&load, "reset");
	} else if (strcmp(line, "report\n") == 0) {
		load_print(&load, "report");
	} else if (strcmp(line, "quit\n") == 0) {
		ended = true;
	} else {
		errx(2, "no such order: %s", line);
	}
}

/* Orders are short and come rarely; a line comes whole. */
static void read_orders(void)
{
	char lines[4096];
	ssize_t len = read(STDIN_FILENO, lines, sizeof(lines) - 1);
	char *at = lines;

	if (len <= 0) {
		ended = true;
		return;
	}
	lines[len] = '\0';
	while (*at && !ended) {
		char *end = strchr(at, '\n');
		char line[128];

		if (!end || end - at >= (int)sizeof(line) - 1)
			errx(2, "not a line: %s", at);
		memcpy(line, at, (size_t)(end + 1 - at));
		line[end + 1 - at] = '\0';
		obey(line);
		at = end + 1;
	}
}

/* ---- the loop -------------------------------------------------------------- */

static void start_links(void)
{
	static int next;
	int64_t now = now_ns();

	for (int i = 0; i < load.device_count && load.waiting; i++) {
		struct device *d = &load.devices[next];

		if (load.in_flight >= in_flight_most)
			return;
		next = (next + 1) % load.device_count;
		if (d->state != DEVICE_WAITING || d->due_ns > now)
			continue;
		device_connect(d);
	}
}

static void look_at_wait(void)
{
	bool done = load.following == load.device_count && load.level >= readers;

	if (!waiting_for || (!done && now_ns() < deadline_ns))
		return;
	if (!done)
		failed = true;
	load_print(&load, done ? waiting_for : "timeout");
	waiting_for = NULL;
	if (done)
		load.resuming = load.away_allowed = false;
}

/* How long nothing has to be done, in ms; -1: until something arrives. */
static int idle_ms(void)
{
	int64_t left_ns = prove_due_ns - now_ns();

	if (load.waiting)
		return 1;
	if (prove_every_ns && left_ns < 50 * NS_PER_MS)
		return left_ns > 0 ? (int)(left_ns / NS_PER_MS) + 1 : 0;
	return waiting_for || prove_every_ns ? 50 : -1;
}

static void run(void)
{
	struct epoll_event events[EVENTS];

	while (!ended) {
		int count = epoll_wait(load.epoll_fd, events, EVENTS, idle_ms());

		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr)
				device_event(events[i].data.ptr, events[i].events);
			else
				read_orders();
		}
		if (load.waiting)
			start_links();
		ask_who_is_due();
		look_at_wait();
	}
}

int main(int argc, char **argv)
{
	struct epoll_event orders = {.events = EPOLLIN, .data.ptr = NULL};

	options(argc, argv);
	raise_descriptors();
	load.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (load.epoll_fd < 0 || epoll_ctl(load.epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &orders) < 0)
		err(1, "epoll");
	load_set_target(&load, 0);
	wait_for("connected", CONNECT_WITHIN_S);
	run();
	if (load_failed(&load))
		failed = true;
	load_print(&load, failed ? "failed" : "ended");
	return failed;
}
