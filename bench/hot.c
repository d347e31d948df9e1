/* ctdb-bench fetch-hot: all clients want one record. */
#include "crew.h"
#include "table.h"

#include <string.h>

#define HOT_DB "bench_hot.tdb"

static const char hot_key[] = "hot";

static uint64_t counter_of(const struct entry *e)
{
	uint64_t v = 0;

	if (e->len == sizeof(v)) {
		memcpy(&v, e->data, sizeof(v));
	}
	return v;
}

static void hot_prepare(struct member *m)
{
	m->priv = table_open(m->s, HOT_DB, CTDB_DB_VOLATILE);
}

static void hot_run(struct member *m)
{
	struct entry e = {0};

	while (crew_goes_on(m)) {
		uint64_t began = bench_now(), counter;

		entry_lock(m->priv, data_from(hot_key, sizeof(hot_key)), &e);
		counter = counter_of(&e) + 1;
		entry_store(&e, data_from(&counter, sizeof(counter)));
		entry_unlock(&e);
		crew_count(m, began);
	}
	entry_free(&e);
}

/* The record counts all that was done: an increment that was lost would be a record that two had at once. */
static uint64_t hot_counter(struct crew *crew)
{
	struct table *t = table_open(crew->s, HOT_DB, CTDB_DB_VOLATILE);
	struct entry e = {0};
	uint64_t counter;

	entry_lock(t, data_from(hot_key, sizeof(hot_key)), &e);
	counter = counter_of(&e);
	entry_unlock(&e);
	entry_free(&e);
	table_close(t);
	return counter;
}

static void hot_begin(struct crew *crew)
{
	*(uint64_t *)crew->priv = hot_counter(crew);
}

static void hot_end(struct crew *crew, json_t *result)
{
	json_object_set_new(result, "counter_before", json_integer((json_int_t) * (uint64_t *)crew->priv));
	json_object_set_new(result, "counter_after", json_integer((json_int_t)hot_counter(crew)));
}

int bench_fetch_hot(int argc, char **argv)
{
	static const struct crew_work work = {.name = "fetch-hot",
					      .operation = "record locked and stored",
					      .latency = "locking, storing",
					      .prepare = hot_prepare,
					      .run = hot_run,
					      .begin = hot_begin,
					      .end = hot_end};
	uint64_t before = 0;
	struct crew crew = {.work = &work, .nodes = 1, .clients = 4, .ms = 5000, .think_us = 100, .priv = &before};
	const struct bench_option options[] = {
		CREW_OPTIONS(crew),
		{.name = "--think-us", .value = &crew.think_us, .low = 0, .high = 1000000},
	};

	bench_options(argc, argv, options, sizeof(options) / sizeof(options[0]));
	return crew_run(&crew);
}
