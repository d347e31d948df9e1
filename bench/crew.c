/* A workload that several client processes do on each node for some time. */
#include "crew.h"
#include "daemons.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 60U

/* ---- processes ---- */

void *shared_memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		fail("%zu bytes of shared memory: %s", size, strerror(errno));
	}
	return p;
}

pid_t process_start(void (*fn)(void *priv), void *priv)
{
	pid_t parent = getpid(), pid;

	fflush(stdout);
	pid = fork();
	if (pid == -1) {
		fail("a process cannot be started: %s", strerror(errno));
	}
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_TIMERSLACK, 1UL); /* pauses are short */
		if (getppid() == parent) {
			fn(priv);
		}
		_exit(0);
	}
	return pid;
}

void process_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) == -1) {
		if (errno != EINTR) {
			fail("waiting for a client: %s", strerror(errno));
		}
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fail("a client failed");
	}
}

void process_alive(pid_t pid)
{
	siginfo_t info = {0};

	if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0) {
		fail("a client failed");
	}
}

void sleep_until(uint64_t when)
{
	struct timespec t = {.tv_sec = (time_t)(when / 1000000000U), .tv_nsec = (long)(when % 1000000000U)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
	}
}

/* ---- clients ---- */

struct start {
	struct crew *crew;
	uint32_t index;
	int ready, go, go_parent; /* ends of pipes; the last one is the parent's, and is closed by it to start all */
};

static void client_main(void *priv)
{
	struct start *start = priv;
	struct crew *crew = start->crew;
	struct member m = {.crew = crew, .index = start->index, .count = &crew->counts[start->index]};
	char byte = 0;

	close(start->go_parent);
	session_close(crew->s);
	m.s = session_open(NULL);
	crew->work->prepare(&m);
	if (write(start->ready, &byte, 1) != 1) {
		fail("a client cannot say that it is ready: %s", strerror(errno));
	}
	close(start->ready); /* it ends for the first process when one of the others dies before it is ready */
	(void)!read(start->go, &byte, 1);
	crew->work->run(&m);
}

void crew_count(struct member *m, uint64_t began)
{
	uint64_t now = bench_now();

	m->count->all++;
	if (now >= m->crew->times[0] && now < m->crew->times[1]) {
		m->count->operations++;
		hist_add(&m->count->latency, now - began);
	}
	if (m->crew->think_us > 0) {
		sleep_until(now + m->crew->think_us * 1000);
	}
}

bool crew_goes_on(const struct member *m)
{
	return bench_now() < m->crew->times[1];
}

uint64_t crew_end(const struct member *m)
{
	return m->crew->times[1];
}

/* ---- the first process ---- */

static void start_clients(struct crew *crew, pid_t *pids, int *go)
{
	int ready[2], start[2];
	char byte;

	if (pipe2(ready, 0) != 0 || pipe2(start, 0) != 0) {
		fail("pipe: %s", strerror(errno));
	}
	for (uint32_t i = 0; i < crew->clients; i++) {
		struct start s = {.crew = crew, .index = i, .ready = ready[1], .go = start[0], .go_parent = start[1]};

		pids[i] = process_start(client_main, &s);
	}
	close(ready[1]);
	close(start[0]);
	for (uint32_t i = 0; i < crew->clients; i++) {
		if (read(ready[0], &byte, 1) != 1) {
			fail("a client failed");
		}
	}
	close(ready[0]);
	*go = start[1];
}

static void measure(struct crew *crew, int go)
{
	pid_t top = daemons_top(crew->s);
	uint64_t cpu, sent;

	crew->times[0] = bench_now() + crew->ms * 100000U; /* a tenth to warm up */
	crew->times[1] = crew->times[0] + crew->ms * 1000000U;
	close(go);
	sleep_until(crew->times[0]);
	cpu = daemons_cpu(top);
	sent = network_sent();
	sleep_until(crew->times[1]);
	crew->cpu = daemons_cpu(top) - cpu;
	crew->sent = network_sent() - sent;
}

static json_t *crew_result(const struct crew *crew)
{
	struct crew_count *sum = calloc(1, sizeof(*sum));
	double seconds = (double)crew->ms / 1e3;
	json_t *result;

	if (sum == NULL) {
		fail("out of memory");
	}
	for (uint32_t i = 0; i < crew->clients; i++) {
		sum->operations += crew->counts[i].operations;
		sum->all += crew->counts[i].all;
		hist_merge(&sum->latency, &crew->counts[i].latency);
	}
	result = json_pack("{s:s,s:i,s:i,s:i,s:I,s:s,s:f,s:I,s:I,s:f,s:f,s:f,s:f,s:o}", "benchmark", crew->work->name,
			   "pnn", (int)crew->s->pnn, "nodes", (int)crew->nodes, "clients", (int)crew->clients,
			   "think_us", (json_int_t)crew->think_us, "operation", crew->work->operation, "seconds",
			   seconds, "operations", (json_int_t)sum->operations, "operations_all", (json_int_t)sum->all,
			   "per_second", (double)sum->operations / seconds, "daemon_cpu_s", (double)crew->cpu / 1e9,
			   "daemon_cpu_us_per_operation",
			   sum->operations > 0 ? (double)crew->cpu / 1e3 / (double)sum->operations : 0.0,
			   "sent_bytes_per_operation",
			   sum->operations > 0 ? (double)crew->sent / (double)sum->operations : 0.0, "latency_us",
			   hist_json(&sum->latency));
	free(sum);
	return result;
}

int crew_run(struct crew *crew)
{
	pid_t *pids = calloc(crew->clients, sizeof(*pids));
	json_t *result;
	int go;

	fail_set_command(crew->work->name);
	if (pids == NULL) {
		fail("out of memory");
	}
	crew->counts = shared_memory(crew->clients * sizeof(*crew->counts));
	crew->times = shared_memory(2 * sizeof(*crew->times));
	crew->s = session_open(NULL);
	group_join(&crew->group, crew->s, crew->work->name, (uint32_t)crew->nodes);
	group_meet(&crew->group, PATIENCE_S);
	if (crew->work->begin != NULL) {
		crew->work->begin(crew);
	}
	start_clients(crew, pids, &go);
	group_meet(&crew->group, PATIENCE_S);
	measure(crew, go);
	for (uint32_t i = 0; i < crew->clients; i++) {
		process_wait(pids[i]);
	}
	free(pids);
	group_meet(&crew->group, PATIENCE_S);
	result = crew_result(crew);
	if (crew->work->end != NULL) {
		crew->work->end(crew, result);
	}
	group_meet(&crew->group, PATIENCE_S);
	result_print(result, crew->json);
	return 0;
}

/* ---- printing ---- */

static void print_value(const char *indent, const char *name, json_t *value)
{
	const char *key;
	json_t *v;

	if (json_is_object(value)) {
		printf("%s%s:\n", indent, name);
		json_object_foreach(value, key, v)
		{
			print_value("    ", key, v);
		}
	} else if (json_is_string(value)) {
		printf("%s%-28s %s\n", indent, name, json_string_value(value));
	} else if (json_is_integer(value)) {
		printf("%s%-28s %lld\n", indent, name, (long long)json_integer_value(value));
	} else if (json_is_real(value)) {
		printf("%s%-28s %.3f\n", indent, name, json_real_value(value));
	}
}

void result_print(json_t *result, bool json)
{
	const char *key;
	json_t *v;

	if (json) {
		json_dumpf(result, stdout, JSON_COMPACT);
		printf("\n");
	} else {
		json_object_foreach(result, key, v)
		{
			print_value("", key, v);
		}
	}
	json_decref(result);
}
