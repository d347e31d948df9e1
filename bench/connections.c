/* ctdb-bench connections: many clients at one daemon, some of them waiting for one record. */
#include "crew.h"
#include "table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define CONNECTIONS_DB "bench_connections.tdb"

static const char wanted[] = "wanted";

/* All clients of the first node want the record; one of each other node as well, so that it goes away and comes back.
 * The other connections ask for nothing but whether the daemon is there. */
struct connections {
	uint64_t connections, waiting;
	uint64_t *served; /* shared: how often the record was given to a client of this node */
};

static void connections_prepare(struct member *m)
{
	m->priv = table_open(m->s, CONNECTIONS_DB, CTDB_DB_VOLATILE);
}

/* extra: 0 the most that were served between asking and being served, 1 the sum of these, 2 the longest wait */
static void wanted_run(struct member *m)
{
	const struct connections *c = m->crew->priv;
	struct entry e = {0};

	while (crew_goes_on(m)) {
		uint64_t began = bench_now(), before = __atomic_load_n(c->served, __ATOMIC_RELAXED), others;

		entry_lock(m->priv, data_from(wanted, sizeof(wanted)), &e);
		others = __atomic_fetch_add(c->served, 1, __ATOMIC_RELAXED) - before;
		entry_store(&e, data_from(&began, sizeof(began)));
		entry_unlock(&e);
		crew_count(m, began);
		if (bench_now() >= m->crew->times[0]) {
			m->count->extra[0] = others > m->count->extra[0] ? others : m->count->extra[0];
			m->count->extra[1] += others;
		}
	}
	entry_free(&e);
}

/* The other connections, by turns. extra: 3 how many there are */
static void idle_run(struct member *m)
{
	const struct connections *c = m->crew->priv;
	uint64_t n = c->connections - c->waiting;
	struct session **all = m->priv;

	for (uint64_t i = 0; crew_goes_on(m); i++) {
		uint64_t began = bench_now();

		(void)session_ask(all[i % n], CTDB_NODE_CURRENT, CTDB_CONTROL_PING, 0, (struct ctdb_data){0}, NULL);
		crew_count(m, began);
	}
	m->count->extra[3] = n;
}

/* The last client has the idle connections, on the first node only. */
static bool has_idle(const struct member *m)
{
	const struct connections *c = m->crew->priv;

	return c->connections > c->waiting && m->index + 1 == m->crew->clients && group_place(&m->crew->group) == 0;
}

static void prepare(struct member *m)
{
	const struct connections *c = m->crew->priv;
	struct session **all;

	if (!has_idle(m)) {
		connections_prepare(m);
		return;
	}
	all = calloc(c->connections - c->waiting, sizeof(struct session *));
	if (all == NULL) {
		fail("out of memory");
	}
	for (uint64_t i = 0; i < c->connections - c->waiting; i++) {
		all[i] = session_open(NULL);
	}
	m->priv = all;
}

static void run(struct member *m)
{
	if (has_idle(m)) {
		idle_run(m);
	} else {
		wanted_run(m);
	}
}

static void connections_begin(struct crew *crew)
{
	struct connections *c = crew->priv;

	c->served = shared_memory(sizeof(*c->served));
	if (group_place(&crew->group) != 0) {
		crew->clients = 1;
		memset(crew->counts, 0, sizeof(crew->counts[0]));
	}
}

/* Only those that want the record count as operations. */
static void connections_end(struct crew *crew, json_t *result)
{
	const struct connections *c = crew->priv;
	bool idle = c->connections > c->waiting && group_place(&crew->group) == 0;
	uint32_t n = (uint32_t)crew->clients - idle;
	double *operations = calloc(n, sizeof(*operations));
	uint64_t most = 0, sum = 0, total = 0;

	if (operations == NULL) {
		fail("out of memory");
	}
	for (uint32_t i = 0; i < n; i++) {
		operations[i] = (double)crew->counts[i].operations;
		most = crew->counts[i].extra[0] > most ? crew->counts[i].extra[0] : most;
		sum += crew->counts[i].extra[1];
		total += crew->counts[i].operations;
	}
	json_object_set_new(result, "wanted",
			    json_pack("{s:I,s:I,s:f,s:f,s:f,s:I,s:f}", "clients", (json_int_t)n, "operations",
				      (json_int_t)total, "least", bench_percentile(operations, n, 0), "median",
				      bench_median(operations, n), "greatest", bench_percentile(operations, n, 100),
				      "served_between_max", (json_int_t)most, "served_between_mean",
				      total > 0 ? (double)sum / (double)total : 0.0));
	if (idle) {
		json_object_set_new(result, "idle",
				    json_pack("{s:I,s:o}", "connections", (json_int_t)(c->connections - c->waiting),
					      "latency_us", hist_json(&crew->counts[n].latency)));
	}
	free(operations);
}

static void descriptors_allow(uint64_t n)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < n + 64) {
		limit.rlim_cur = n + 64 < limit.rlim_max ? n + 64 : limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int bench_connections(int argc, char **argv)
{
	static const struct crew_work work = {.name = "connections",
					      .operation = "record locked and stored, or answer to a ping",
					      .latency = "locking and storing, or ping",
					      .prepare = prepare,
					      .run = run,
					      .begin = connections_begin,
					      .end = connections_end};
	struct connections c = {.connections = 1000, .waiting = 100};
	struct crew crew = {.work = &work, .nodes = 1, .ms = 5000, .think_us = 100, .priv = &c};
	const struct bench_option options[] = {
		{.name = "--nodes", .value = &crew.nodes, .low = 1, .high = GROUP_MAX},
		{.name = "--ms", .value = &crew.ms, .low = 10, .high = 86400000},
		{.name = "--connections", .value = &c.connections, .low = 1, .high = 100000},
		{.name = "--waiting", .value = &c.waiting, .low = 1, .high = 10000},
		{.name = "--think-us", .value = &crew.think_us, .low = 0, .high = 1000000},
		{.name = "--json", .flag = &crew.json},
	};

	bench_options(argc, argv, options, sizeof(options) / sizeof(options[0]));
	if (c.waiting > c.connections) {
		fprintf(stderr, "ctdb-bench connections: --waiting is a part of --connections: it cannot be more\n");
		return 2;
	}
	descriptors_allow(c.connections);
	crew.clients = c.waiting + (c.connections > c.waiting);
	return crew_run(&crew);
}
