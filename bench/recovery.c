/* ctdb-bench recovery: how long clients wait, and what is moved, when the databases of a cluster are recovered. */
#include "crew.h"
#include "daemons.h"
#include "load.h"
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGE_DB      "bench_large.tdb"
#define SMALL_DB      "bench_small_%u.tdb"
#define PATIENCE_S    180U
#define PROBE_US      5000U  /* large database */
#define PROBE_MANY_US 50000U /* each of the small ones */
#define LOOK_NS       5000000U

struct recovery {
	uint64_t nodes, records, size, small, rounds, quiet_ms;
	bool json, owners_only;
	struct session *s;
	struct group group;
	struct load load;
	struct probe *large, *many;
	pid_t top;
};

/* What is looked at before and after. */
struct figures {
	uint64_t when, sent, cpu, length, occupied;
};

static struct figures figures_now(const struct recovery *r)
{
	struct figures f = {.when = bench_now(), .sent = network_sent(), .cpu = daemons_cpu(r->top)};

	file_size(r->load.table->path, &f.length, &f.occupied);
	return f;
}

/* ---- preparation ---- */

static struct probe *probe_new(const char *database, uint64_t n, uint32_t pause_us)
{
	struct probe *p = shared_memory(sizeof(*p));

	snprintf(p->database, sizeof(p->database), "%s", database);
	p->n = (uint32_t)n;
	p->pause_us = pause_us;
	return p;
}

/* ---- a recovery ---- */

static uint32_t generation(struct session *s)
{
	struct ctdb_vnnmap *map;
	struct ctdb_data out;
	uint32_t g = CTDB_GENERATION_INVALID;

	if (session_ask(s, CTDB_NODE_CURRENT, CTDB_CONTROL_GETVNNMAP, 0, (struct ctdb_data){0}, &out) == 0 &&
	    ctdb_wire_get_vnnmap(NULL, out, &map) == 0) {
		g = map->generation;
		talloc_free(map);
	}
	return g;
}

static bool is_over(struct session *s, uint32_t before)
{
	uint32_t g = generation(s);

	return g != before && g != CTDB_GENERATION_INVALID &&
	       session_ask(s, CTDB_NODE_CURRENT, CTDB_CONTROL_GET_RECMODE, 0, (struct ctdb_data){0}, NULL) ==
		       CTDB_RECMODE_NORMAL;
}

/* What an administrator's "ctdb recover" does. */
static void ask_for_recovery(struct session *s)
{
	uint32_t mode = CTDB_RECMODE_ACTIVE;

	(void)session_ask(s, CTDB_NODE_CURRENT, CTDB_CONTROL_SET_RECMODE, 0, data_from(&mode, sizeof(mode)), NULL);
}

static double daemon_says(struct session *s)
{
	struct ctdb_uptime up;
	struct ctdb_data out;

	if (session_ask(s, CTDB_NODE_CURRENT, CTDB_CONTROL_UPTIME, 0, (struct ctdb_data){0}, &out) != 0 ||
	    ctdb_wire_get_uptime(out, &up) != 0) {
		return 0;
	}
	return (double)(up.recovery_finished.tv_sec - up.recovery_started.tv_sec) +
	       (double)(up.recovery_finished.tv_usec - up.recovery_started.tv_usec) / 1e6;
}

static void phase_set(struct recovery *r, uint32_t phase)
{
	r->large->phase = phase;
	if (r->many != NULL) {
		r->many->phase = phase;
	}
}

static void probes_pass(const struct recovery *r)
{
	uint64_t now = bench_now();

	probe_pass(r->large, now);
	if (r->many != NULL) {
		probe_pass(r->many, now);
	}
}

static json_t *delay_json(const struct recovery *r, uint32_t phase)
{
	json_t *all = json_pack("{s:o}", "large", hist_json(&r->large->delay[phase]));

	if (r->many != NULL) {
		json_object_set_new(all, "small", hist_json(&r->many->delay[phase]));
	}
	return all;
}

static json_t *round_json(const struct recovery *r, uint32_t phase, const struct figures *before,
			  const struct figures *after)
{
	return json_pack("{s:f,s:f,s:f,s:I,s:I,s:I,s:I,s:f,s:o}", "seconds", (double)(after->when - before->when) / 1e9,
			 "frozen_ms", (double)r->large->delay[phase].max / 1e6, "small_frozen_ms",
			 r->many == NULL ? 0.0 : (double)r->many->delay[phase].max / 1e6, "sent_bytes",
			 (json_int_t)(after->sent - before->sent), "file_bytes_before", (json_int_t)before->length,
			 "file_bytes_after", (json_int_t)after->length, "file_occupied_after",
			 (json_int_t)after->occupied, "daemon_cpu_s", (double)(after->cpu - before->cpu) / 1e9,
			 "wait_us", delay_json(r, phase));
}

static json_t *one_round(struct recovery *r, uint32_t phase)
{
	uint32_t before_generation = generation(r->s);
	struct figures before, after;
	uint64_t end = bench_now() + PATIENCE_S * 1000000000ULL;
	json_t *result;

	group_meet(&r->group, PATIENCE_S);
	phase_set(r, phase);
	before = figures_now(r);
	if (group_place(&r->group) == 0) {
		ask_for_recovery(r->s);
	}
	while (!is_over(r->s, before_generation)) {
		if (bench_now() > end) {
			fail("the recovery is not over after %u s", PATIENCE_S);
		}
		sleep_until(bench_now() + LOOK_NS);
	}
	after = figures_now(r);
	probes_pass(r);
	group_meet(&r->group, PATIENCE_S);
	after.sent = network_sent(); /* to the end of it on all nodes */
	phase_set(r, 0);
	result = round_json(r, phase, &before, &after);
	json_object_set_new(result, "daemon_says_s", json_real(daemon_says(r->s)));
	return result;
}

/* Nothing happens: what the probes themselves cost and wait. */
static json_t *quiet(struct recovery *r)
{
	uint64_t sent;
	json_t *result;

	probes_pass(r);
	group_meet(&r->group, PATIENCE_S);
	phase_set(r, PROBE_PHASES - 1);
	sent = network_sent();
	sleep_until(bench_now() + r->quiet_ms * 1000000U);
	sent = network_sent() - sent;
	result = json_pack("{s:f,s:o}", "sent_bytes_per_second", (double)sent * 1e3 / (double)r->quiet_ms, "wait_us",
			   delay_json(r, PROBE_PHASES - 1));
	phase_set(r, 0);
	return result;
}

/* Finds the others; the probes have their databases before this process opens a file: its children could not open it
 * again. */
static void recovery_start(struct recovery *r, pid_t *large, pid_t *many)
{
	r->s = session_open(NULL);
	r->top = daemons_top(r->s);
	group_join(&r->group, r->s, "recovery", (uint32_t)r->nodes);
	group_meet(&r->group, PATIENCE_S);
	r->large = probe_new(LARGE_DB, 1, PROBE_US);
	*large = probe_start(r->large);
	if (r->small > 0) {
		r->many = probe_new(SMALL_DB, r->small, PROBE_MANY_US);
		*many = probe_start(r->many);
	}
	group_meet(&r->group, PATIENCE_S);
	r->load.table = table_open(r->s, LARGE_DB, CTDB_DB_VOLATILE);
}

static json_t *recovery_run(struct recovery *r)
{
	json_t *rounds = json_array(), *empty, *result;
	uint64_t began, owned;
	pid_t large, many = 0;

	recovery_start(r, &large, &many);
	empty = one_round(r, 1);
	sleep_until(bench_now() + r->quiet_ms * 1000000U);
	load_init(&r->load, r->load.table, &r->group, r->records, r->size, r->owners_only ? LOAD_OWNERS : LOAD_DATA);
	began = bench_now();
	load_write(&r->load);
	result = json_pack("{s:s,s:i,s:i,s:I,s:I,s:I,s:f,s:o}", "benchmark", "recovery", "pnn", (int)r->s->pnn, "nodes",
			   (int)r->nodes, "records", (json_int_t)r->records, "size", (json_int_t)r->size, "small",
			   (json_int_t)r->small, "load_s", (double)(bench_now() - began) / 1e9, "empty", empty);
	owned = load_count_owned(&r->load);
	json_object_set_new(result, "quiet", quiet(r));
	for (uint32_t i = 0; i < r->rounds; i++) {
		json_array_append_new(rounds, one_round(r, 2 + i));
		sleep_until(bench_now() + r->quiet_ms * 1000000U);
	}
	group_meet(&r->group, PATIENCE_S);
	probe_end(r->large, large);
	if (r->many != NULL) {
		probe_end(r->many, many);
	}
	group_meet(&r->group, PATIENCE_S);
	json_object_set_new(result, "rounds", rounds);
	json_object_set_new(result, "owned_before", json_integer((json_int_t)owned));
	json_object_set_new(result, "owned_after", json_integer((json_int_t)load_count_owned(&r->load)));
	group_meet(&r->group, PATIENCE_S);
	load_end(&r->load);
	session_close(r->s);
	return result;
}

int bench_recovery(int argc, char **argv)
{
	struct recovery r = {.nodes = 1, .records = 1000000, .size = 100, .rounds = 2, .quiet_ms = 1000};
	const struct bench_option options[] = {
		{.name = "--nodes", .value = &r.nodes, .low = 1, .high = GROUP_MAX},
		{.name = "--records", .value = &r.records, .low = 1, .high = 100000000},
		{.name = "--size", .value = &r.size, .low = 1, .high = 65536},
		{.name = "--small", .value = &r.small, .low = 0, .high = 1000},
		{.name = "--rounds", .value = &r.rounds, .low = 1, .high = PROBE_PHASES - 3},
		{.name = "--owners-only", .flag = &r.owners_only},
		{.name = "--quiet-ms", .value = &r.quiet_ms, .low = 10, .high = 60000},
		{.name = "--json", .flag = &r.json},
	};

	bench_options(argc, argv, options, sizeof(options) / sizeof(options[0]));
	fail_set_command("recovery");
	result_print(recovery_run(&r), r.json);
	return 0;
}
