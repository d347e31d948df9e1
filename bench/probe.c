/* A process that asks for records again and again, and notes how long it waits. */
#include "probe.h"
#include "bench.h"
#include "crew.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_NS    200000U /* when somebody else has the chain lock */
#define PATIENCE_NS (180 * 1000000000ULL)

static const char probe_key[] = "probe";

/* One database. */
struct asked {
	struct table *table;
	uint32_t reqid;       /* of the call that waits; 0: none */
	uint64_t began, next; /* next: when to try again, if no call waits */
	uint32_t phase;
	bool wants; /* has begun, and not got it */
};

static struct asked *probe_open(struct probe *p, struct session *s)
{
	struct asked *a = calloc(p->n, sizeof(*a));

	for (uint32_t i = 0; a != NULL && i < p->n; i++) {
		char name[sizeof(p->database) + 16], *mark = strstr(p->database, "%u");

		if (mark != NULL) {
			snprintf(name, sizeof(name), "%.*s%u%s", (int)(mark - p->database), p->database, i, mark + 2);
		} else {
			snprintf(name, sizeof(name), "%s", p->database);
		}
		a[i].table = table_open(s, name, CTDB_DB_VOLATILE);
		a[i].next = bench_now() + (uint64_t)i * p->pause_us * 1000 / p->n; /* spread */
	}
	return a;
}

/* The record of one database: it is here, or asked for. */
static void probe_look(struct probe *p, struct asked *a, struct entry *e)
{
	struct ctdb_data key = data_from(probe_key, sizeof(probe_key));
	uint64_t now = bench_now();
	bool busy;

	if (!a->wants) {
		a->wants = true;
		a->began = now;
		a->phase = p->phase;
	}
	if (entry_try_here(a->table, key, e, &busy)) {
		entry_store(e, data_from(&now, sizeof(now)));
		entry_unlock(e);
		hist_add(&p->delay[a->phase], bench_now() - a->began);
		a->wants = false;
		a->next = bench_now() + p->pause_us * 1000ULL;
	} else if (busy) {
		a->next = bench_now() + RETRY_NS;
	} else {
		a->reqid = session_call_begin(a->table->s, a->table->id, key);
	}
}

static void probe_main(void *priv)
{
	struct probe *p = priv;
	struct session *s = session_open(NULL);
	struct asked *a = probe_open(p, s);
	struct entry e = {0};

	if (a == NULL) {
		fail("out of memory");
	}
	p->ready = true;
	while (!p->stop) {
		uint64_t now = bench_now(), next = now + 50000000U, oldest = now;
		uint32_t reply;

		for (uint32_t i = 0; i < p->n; i++) {
			if (a[i].reqid == 0 && a[i].next <= now) {
				probe_look(p, &a[i], &e);
			}
			oldest = a[i].wants && a[i].began < oldest ? a[i].began : oldest;
			next = a[i].reqid == 0 && a[i].next < next ? a[i].next : next;
		}
		p->began = oldest;
		reply = session_reply_to(s, next);
		for (uint32_t i = 0; i < p->n && reply != 0; i++) {
			if (a[i].reqid == reply) {
				a[i].reqid = 0;
				probe_look(p, &a[i], &e);
			}
		}
	}
	entry_free(&e);
}

pid_t probe_start(struct probe *p)
{
	uint64_t end = bench_now() + PATIENCE_NS;
	pid_t pid = process_start(probe_main, p);

	while (!p->ready) {
		if (bench_now() > end) {
			fail("the databases to look at are not there within %llu s", PATIENCE_NS / 1000000000U);
		}
		process_alive(pid);
		sleep_until(bench_now() + 5000000U);
	}
	return pid;
}

void probe_pass(const struct probe *p, uint64_t when)
{
	uint64_t end = bench_now() + PATIENCE_NS;

	while (p->began < when) {
		if (bench_now() > end) {
			fail("a record was waited for longer than %llu s", PATIENCE_NS / 1000000000U);
		}
		sleep_until(bench_now() + 5000000U);
	}
}

void probe_end(struct probe *p, pid_t pid)
{
	p->stop = true;
	process_wait(pid);
}
