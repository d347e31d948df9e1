/* ctdb-bench vacuum: how long deleted records stay, and what their removal costs others. */
#include "crew.h"
#include "daemons.h"
#include "load.h"
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VACUUM_DB  "bench_vacuum.tdb"
#define PATIENCE_S 180U
#define PROBE_US   1000U
#define LOOK_NS    100000000U
#define PHASE_IDLE 1U
#define PHASE_WORK 2U

struct vacuum {
	uint64_t nodes, records, size, quiet_ms, limit_s;
	bool json;
	struct session *s;
	struct group group;
	struct load load;
};

/* Tells the daemon of each record that this node owns, as whoever deletes one does. */
static void schedule(struct vacuum *v)
{
	struct ctdb_record_header header = {.rsn = 2, .dmaster = v->s->pnn, .flags = CTDB_RECORD_MIGRATED_WITH_DATA};

	for (uint64_t i = 0; i < v->records; i++) {
		char text[LOAD_KEY_MAX];

		if (load_owner(&v->load, i) == v->s->pnn) {
			table_schedule_deletion(v->load.table, load_key(&v->load, i, text), &header);
		}
	}
}

/* The first key from number i on that this node still has a record of; n: none. What was seen gone is not looked at
 * again, so looking costs little. */
static uint64_t first_left(const struct vacuum *v, uint64_t i)
{
	char text[LOAD_KEY_MAX];

	while (i < v->records && tdb_exists(v->load.table->tdb, tdb_from(load_key(&v->load, i, text))) == 0) {
		i++;
	}
	return i;
}

static uint64_t count_left(const struct vacuum *v)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < v->records; i++) {
		char text[LOAD_KEY_MAX];

		n += tdb_exists(v->load.table->tdb, tdb_from(load_key(&v->load, i, text))) != 0;
	}
	return n;
}

/* Seconds until all were gone; negative: some are left. */
static double wait_gone(const struct vacuum *v, uint64_t began)
{
	uint64_t first = 0;

	while ((first = first_left(v, first)) < v->records) {
		if (bench_now() - began > v->limit_s * 1000000000U) {
			return -1;
		}
		sleep_until(bench_now() + LOOK_NS);
	}
	return (double)(bench_now() - began) / 1e9;
}

static json_t *measure(struct vacuum *v, struct probe *probe)
{
	pid_t top = daemons_top(v->s);
	uint64_t began, length, occupied, cpu, sent;
	double seconds;
	json_t *result;

	probe->phase = PHASE_IDLE;
	sleep_until(bench_now() + v->quiet_ms * 1000000U);
	probe_pass(probe, bench_now());
	group_meet(&v->group, PATIENCE_S);
	probe->phase = PHASE_WORK;
	began = bench_now();
	cpu = daemons_cpu(top);
	sent = network_sent();
	schedule(v);
	seconds = wait_gone(v, began);
	cpu = daemons_cpu(top) - cpu;
	probe_pass(probe, bench_now());
	group_meet(&v->group, (uint32_t)v->limit_s + PATIENCE_S);
	probe->phase = 0;
	sent = network_sent() - sent;
	file_size(v->load.table->path, &length, &occupied);
	result = json_pack("{s:s,s:i,s:i,s:I,s:I,s:f,s:I,s:f,s:I,s:I,s:o,s:o}", "benchmark", "vacuum", "pnn",
			   (int)v->s->pnn, "nodes", (int)v->nodes, "records", (json_int_t)v->records, "size",
			   (json_int_t)v->size, "seconds_until_gone", seconds, "left",
			   (json_int_t)(seconds < 0 ? count_left(v) : 0), "daemon_cpu_s", (double)cpu / 1e9,
			   "sent_bytes", (json_int_t)sent, "file_bytes_after", (json_int_t)length, "quiet_wait_us",
			   hist_json(&probe->delay[PHASE_IDLE]), "wait_us", hist_json(&probe->delay[PHASE_WORK]));
	return result;
}

static json_t *vacuum_run(struct vacuum *v)
{
	struct probe *probe = shared_memory(sizeof(*probe));
	json_t *result;
	pid_t pid;

	snprintf(probe->database, sizeof(probe->database), "%s", VACUUM_DB);
	probe->n = 1;
	probe->pause_us = PROBE_US;
	v->s = session_open(NULL);
	group_join(&v->group, v->s, "vacuum", (uint32_t)v->nodes);
	group_meet(&v->group, PATIENCE_S);
	pid = probe_start(probe); /* before this process opens the file: its children could not open it again */
	load_init(&v->load, table_open(v->s, VACUUM_DB, CTDB_DB_VOLATILE), &v->group, v->records, v->size,
		  LOAD_DELETED);
	load_write(&v->load);
	group_meet(&v->group, PATIENCE_S);
	result = measure(v, probe);
	group_meet(&v->group, PATIENCE_S);
	probe_end(probe, pid);
	load_end(&v->load);
	session_close(v->s);
	return result;
}

int bench_vacuum(int argc, char **argv)
{
	struct vacuum v = {.nodes = 1, .records = 100000, .size = 100, .quiet_ms = 1000, .limit_s = 120};
	const struct bench_option options[] = {
		{.name = "--nodes", .value = &v.nodes, .low = 1, .high = GROUP_MAX},
		{.name = "--records", .value = &v.records, .low = 1, .high = 100000000},
		{.name = "--size", .value = &v.size, .low = 1, .high = 65536},
		{.name = "--quiet-ms", .value = &v.quiet_ms, .low = 10, .high = 60000},
		{.name = "--limit", .value = &v.limit_s, .low = 1, .high = 86400},
		{.name = "--json", .flag = &v.json},
	};

	bench_options(argc, argv, options, sizeof(options) / sizeof(options[0]));
	fail_set_command("vacuum");
	result_print(vacuum_run(&v), v.json);
	return 0;
}
