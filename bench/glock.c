/* ctdb-bench glock: locks in g_lock.tdb, by Samba's algorithm. */
#include "crew.h"
#include "lock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GLOCK_DB "bench_glock.tdb"

struct glock_options {
	uint64_t before; /* the counter */
	bool own;        /* each client has a lock of its own */
	bool check;      /* whether the lock excludes */
};

struct glock {
	struct locker locker;
	struct table *table; /* of what the lock protects, for --check */
	char key[64];
};

/* What the lock protects: a counter that is read, and written some time later. */
static const char counter_name[] = "counter";

static uint64_t counter_read(struct table *t)
{
	struct entry e = {0};
	uint64_t v = 0;

	entry_lock(t, data_from(counter_name, sizeof(counter_name)), &e);
	if (e.len == sizeof(v)) {
		memcpy(&v, e.data, sizeof(v));
	}
	entry_unlock(&e);
	entry_free(&e);
	return v;
}

static void counter_write(struct table *t, uint64_t v)
{
	struct entry e = {0};

	entry_lock(t, data_from(counter_name, sizeof(counter_name)), &e);
	entry_store(&e, data_from(&v, sizeof(v)));
	entry_unlock(&e);
	entry_free(&e);
}

static void glock_prepare(struct member *m)
{
	const struct glock_options *options = m->crew->priv;
	struct glock *g = calloc(1, sizeof(*g));

	if (g == NULL) {
		fail("out of memory");
	}
	srandom((unsigned int)getpid());
	locker_open(&g->locker, m->s);
	if (options->check) {
		g->table = table_open(m->s, GLOCK_DB, CTDB_DB_VOLATILE);
	}
	if (options->own) {
		snprintf(g->key, sizeof(g->key), "bench-glock-%u-%u", m->s->pnn, m->index);
	} else {
		snprintf(g->key, sizeof(g->key), "bench-glock");
	}
	m->priv = g;
}

static void glock_run(struct member *m)
{
	struct glock *g = m->priv;
	struct ctdb_data key = data_from(g->key, strlen(g->key) + 1);

	while (crew_goes_on(m)) {
		uint64_t began = bench_now();

		locker_lock(&g->locker, key);
		if (g->table != NULL) {
			counter_write(g->table, counter_read(g->table) + 1);
		}
		locker_unlock(&g->locker, key);
		crew_count(m, began);
	}
	m->count->extra[0] = g->locker.waits;
	m->count->extra[1] = g->locker.looks;
}

static uint64_t glock_counter(struct crew *crew)
{
	struct table *t = table_open(crew->s, GLOCK_DB, CTDB_DB_VOLATILE);
	uint64_t v = counter_read(t);

	table_close(t);
	return v;
}

static void glock_begin(struct crew *crew)
{
	struct glock_options *options = crew->priv;

	options->before = options->check ? glock_counter(crew) : 0;
}

static void glock_end(struct crew *crew, json_t *result)
{
	const struct glock_options *options = crew->priv;
	uint64_t waits = 0, looks = 0;

	for (uint32_t i = 0; i < crew->clients; i++) {
		waits += crew->counts[i].extra[0];
		looks += crew->counts[i].extra[1];
	}
	json_object_set_new(result, "waits", json_integer((json_int_t)waits));
	json_object_set_new(result, "not_woken", json_integer((json_int_t)looks));
	if (options->check) {
		json_object_set_new(result, "counter_before", json_integer((json_int_t)options->before));
		json_object_set_new(result, "counter_after", json_integer((json_int_t)glock_counter(crew)));
	}
}

int bench_glock(int argc, char **argv)
{
	static const struct crew_work work = {.name = "glock",
					      .operation = "lock taken and given back",
					      .latency = "both",
					      .prepare = glock_prepare,
					      .run = glock_run,
					      .begin = glock_begin,
					      .end = glock_end};
	struct glock_options o = {0};
	struct crew crew = {.work = &work, .nodes = 1, .clients = 1, .ms = 5000, .think_us = 100, .priv = &o};
	const struct bench_option options[] = {
		CREW_OPTIONS(crew),
		{.name = "--think-us", .value = &crew.think_us, .low = 0, .high = 1000000},
		{.name = "--own", .flag = &o.own},
		{.name = "--check", .flag = &o.check},
	};

	bench_options(argc, argv, options, sizeof(options) / sizeof(options[0]));
	if (o.own && o.check) {
		fprintf(stderr, "ctdb-bench glock: --own and --check exclude each other: locks of their own protect "
				"nothing in common\n");
		return 2;
	}
	return crew_run(&crew);
}
