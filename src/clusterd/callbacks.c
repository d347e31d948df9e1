/* Programs of the administrator that run when something changed; see clusterd.h. */
#include "clusterd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "shared/log.h"
#include "shared/proc.h"

/*
 * One queue for each event: one run at a time, and of what waits only what is news: the newest list, the newest leader,
 * the newest flags of a node. OLD of a run is always NEW of the run before, so a program sees an unbroken chain; what
 * changed and changed back while it waited is not run.
 */
#define SCRIPTS_MAX 64
#define OUTPUT_MAX  65536

enum callback_event { CALLBACK_ACTIVE, CALLBACK_LEADER, CALLBACK_FLAGS, CALLBACK_EVENTS };

static const char *const event_names[CALLBACK_EVENTS] = {"active-changed", "leader-changed", "node-flags-changed"};

struct queue {
	struct callbacks *cbs;
	enum callback_event event;
	struct tevent_req *req; /* a run */
	char *now, *told;       /* active-changed: lists */
	uint32_t leader, told_leader;
	uint32_t node;                                    /* of the run that is on */
	uint32_t flags[NODES_MAX], told_flags[NODES_MAX]; /* node-flags-changed */
	/* Results. */
	struct cluster_callback results[SCRIPTS_MAX];
	struct mono ended[SCRIPTS_MAX];
	uint32_t n_results;
};

struct callbacks {
	struct clusterd *cd;
	char *program, *dir;
	struct queue queues[CALLBACK_EVENTS];
};

static void next_run(struct queue *q);

/* ---- what is to be told ---- */

static uint32_t flags_waiting(const struct queue *q)
{
	for (uint32_t p = 0; p < NODES_MAX; p++) {
		if (q->flags[p] != q->told_flags[p]) {
			return p;
		}
	}
	return CLUSTER_NODE_NONE;
}

static unsigned n_waiting(const struct queue *q)
{
	unsigned n = 0;

	switch (q->event) {
	case CALLBACK_ACTIVE:
		return strcmp(q->now, q->told) != 0 ? 1 : 0;
	case CALLBACK_LEADER:
		return q->leader != q->told_leader ? 1 : 0;
	case CALLBACK_FLAGS:
		for (uint32_t p = 0; p < NODES_MAX; p++) {
			n += q->flags[p] != q->told_flags[p] ? 1 : 0;
		}
		return n;
	case CALLBACK_EVENTS:
		break;
	}
	return 0;
}

static char *node_text(TALLOC_CTX *mem, uint32_t pnn)
{
	return pnn == CLUSTER_NODE_NONE ? talloc_strdup(mem, "none") : talloc_asprintf(mem, "%u", (unsigned)pnn);
}

/* Arguments of the program, from [3] on; marks them as told. */
static void take_arguments(struct queue *q, char **argv)
{
	char now[CHANGES_FLAGS_SIZE], before[CHANGES_FLAGS_SIZE], *told;

	switch (q->event) {
	case CALLBACK_ACTIVE:
		told = talloc_strdup(q->cbs, q->now);
		if (told == NULL) {
			break;
		}
		argv[3] = talloc_strdup(argv, told);
		argv[4] = talloc_steal(argv, q->told);
		q->told = told;
		break;
	case CALLBACK_LEADER:
		argv[3] = node_text(argv, q->leader);
		argv[4] = node_text(argv, q->told_leader);
		q->told_leader = q->leader;
		break;
	case CALLBACK_FLAGS:
		q->node = flags_waiting(q);
		argv[3] = node_text(argv, q->node);
		argv[4] = talloc_strdup(argv, changes_flag_names(q->flags[q->node], now));
		argv[5] = talloc_strdup(argv, changes_flag_names(q->told_flags[q->node], before));
		q->told_flags[q->node] = q->flags[q->node];
		break;
	case CALLBACK_EVENTS:
		break;
	}
}

/* ---- environment ---- */

static int env_add(char ***env, unsigned *n, char *text)
{
	*env = text == NULL ? NULL : talloc_realloc(NULL, *env, char *, *n + 2);
	if (*env == NULL) {
		return ENOMEM;
	}
	(*env)[(*n)++] = talloc_steal(*env, text);
	(*env)[*n] = NULL;
	return 0;
}

static char **environment(const struct queue *q)
{
	struct clusterd *cd = q->cbs->cd;
	const struct cluster_view *view = cluster_newest_view(cd->core);
	struct mono now = mono_now();
	const char *path = getenv("PATH");
	char **env = NULL;
	unsigned n = 0;
	int ret;

	ret = env_add(&env, &n,
		      talloc_asprintf(NULL, "PATH=%s", path != NULL ? path : "/usr/sbin:/usr/bin:/sbin:/bin"));
	ret = ret != 0 ? ret : env_add(&env, &n, talloc_asprintf(NULL, "CTDB_BASE=%s", cd->d->conf->path.etc));
	ret = ret != 0 ? ret : env_add(&env, &n, talloc_asprintf(NULL, "CTDB_SOCKET=%s", cd->d->conf->path.socket));
	ret = ret != 0 ? ret : env_add(&env, &n, talloc_asprintf(NULL, "CTDB_EVENT=%s", event_names[q->event]));
	ret = ret != 0 ? ret : env_add(&env, &n, talloc_asprintf(NULL, "CTDB_PNN=%u", (unsigned)cd->d->pnn));
	ret = ret != 0 ? ret
		       : env_add(&env, &n,
				 talloc_asprintf(NULL, "CTDB_VIEW=%llu.%llu", (unsigned long long)view->term,
						 (unsigned long long)view->number));
	ret = ret != 0 ? ret
		       : env_add(&env, &n,
				 talloc_asprintf(NULL, "CTDB_SELF_ACTIVE=%s",
						 cluster_is_active(cd->core, now) ? "yes" : "no"));
	ret = ret != 0 ? ret
		       : env_add(&env, &n,
				 talloc_asprintf(NULL, "CTDB_SELF_LEADER=%s",
						 cluster_is_leading(cd->core, now) ? "yes" : "no"));
	return ret == 0 ? env : NULL;
}

/* ---- results ---- */

static void result_add(struct queue *q, const char *script, bool failed, const char *text)
{
	struct cluster_callback *r;

	if (failed) {
		log_warning("callback %s: %s: %s", event_names[q->event], script, text);
		events_add(q->cbs->cd, CLUSTER_EVENT_CALLBACK, q->cbs->cd->d->pnn, 0, "callback %s: %s: %s",
			   event_names[q->event], script, text);
	} else {
		log_info("callback %s: %s: ok%s%s", event_names[q->event], script, text[0] != '\0' ? ": " : "", text);
	}
	if (q->n_results == SCRIPTS_MAX) {
		return;
	}
	r = &q->results[q->n_results];
	r->event = (char *)(uintptr_t)event_names[q->event];
	r->script = talloc_strndup(q->cbs, script, 255);
	r->text = talloc_strndup(q->cbs, text, 200);
	r->failed = failed;
	if (r->script == NULL || r->text == NULL) {
		talloc_free(r->script);
		talloc_free(r->text);
		return;
	}
	q->ended[q->n_results++] = mono_now();
}

static void results_clear(struct queue *q)
{
	for (uint32_t i = 0; i < q->n_results; i++) {
		talloc_free(q->results[i].script);
		talloc_free(q->results[i].text);
	}
	q->n_results = 0;
}

/* "NAME \t ok|failed \t TEXT" */
static void result_line(struct queue *q, char *line)
{
	char *state = strchr(line, '\t');
	char *text = state == NULL ? NULL : strchr(state + 1, '\t');

	if (text == NULL) {
		result_add(q, "ctdb-callbacks", true, line);
		return;
	}
	*state++ = '\0';
	*text++ = '\0';
	result_add(q, line, strcmp(state, "ok") != 0, text);
}

static void results_take(struct queue *q, int ret, int status, const struct ctdb_blob *output)
{
	char *text = talloc_strndup(q->cbs, (const char *)output->data, output->len), *save = NULL;

	results_clear(q);
	for (char *line = text == NULL ? NULL : strtok_r(text, "\n", &save); line != NULL;
	     line = strtok_r(NULL, "\n", &save)) {
		result_line(q, line);
	}
	talloc_free(text);
	if (ret != 0) {
		result_add(q, "ctdb-callbacks", true, ret == ETIMEDOUT ? "did not end and was killed" : strerror(ret));
	} else if (!WIFEXITED(status) || WEXITSTATUS(status) > 1) {
		result_add(q, "ctdb-callbacks", true, "ended in an unexpected way");
	}
}

static void run_done(struct tevent_req *req)
{
	struct queue *q = tevent_req_callback_data_void(req);
	TALLOC_CTX *mem = talloc_new(q->cbs);
	struct ctdb_blob output = {.len = 0};
	int status = 0, ret;

	ret = proc_run_recv(req, mem, &status, &output);
	TALLOC_FREE(q->req);
	results_take(q, ret, status, &output);
	talloc_free(mem);
	next_run(q);
}

static struct tevent_req *run_send(struct queue *q, char **argv)
{
	struct clusterd *cd = q->cbs->cd;
	uint64_t timeout = cd->d->conf->cluster.callback_timeout;
	uint64_t limit = timeout * (SCRIPTS_MAX + 1);
	struct tevent_req *req;
	char **env;

	argv[0] = q->cbs->program;
	argv[1] = talloc_asprintf(argv, "%llu", (unsigned long long)timeout);
	argv[2] = talloc_asprintf(argv, "%s/%s.d", q->cbs->dir, event_names[q->event]);
	take_arguments(q, argv);
	env = environment(q);
	if (env == NULL || argv[1] == NULL || argv[2] == NULL || argv[3] == NULL || argv[4] == NULL) {
		talloc_free(env);
		return NULL;
	}
	req = proc_run_send(q->cbs, cd->d->ev, argv, env, limit > UINT32_MAX ? UINT32_MAX : (uint32_t)limit,
			    OUTPUT_MAX);
	talloc_free(env);
	return req;
}

static void next_run(struct queue *q)
{
	char **argv;

	if (q->req != NULL || n_waiting(q) == 0) {
		return;
	}
	argv = talloc_zero_array(q->cbs, char *, 7);
	q->req = argv == NULL ? NULL : run_send(q, argv);
	talloc_free(argv);
	if (q->req == NULL) {
		result_add(q, "ctdb-callbacks", true, "out of memory");
		return;
	}
	tevent_req_set_callback(q->req, run_done, q);
}

/* ---- news ---- */

void callbacks_active(struct clusterd *cd, const char *list)
{
	struct queue *q = &cd->callbacks->queues[CALLBACK_ACTIVE];
	char *copy = talloc_strdup(cd->callbacks, list);

	if (copy == NULL) {
		result_add(q, "ctdb-callbacks", true, "out of memory");
		return;
	}
	talloc_free(q->now);
	q->now = copy;
	next_run(q);
}

void callbacks_leader(struct clusterd *cd, uint32_t leader)
{
	struct queue *q = &cd->callbacks->queues[CALLBACK_LEADER];

	q->leader = leader;
	next_run(q);
}

void callbacks_flags(struct clusterd *cd, uint32_t pnn, uint32_t flags)
{
	struct queue *q = &cd->callbacks->queues[CALLBACK_FLAGS];

	q->flags[pnn] = flags;
	next_run(q);
}

/* ---- requests ---- */

static void on_get_callbacks(void *priv, struct rpc_call *call)
{
	struct clusterd *cd = priv;
	struct cluster_callback list[64];
	struct cluster_callbacks reply = {.list = {.v = list}};

	/* What failed first: there is room for that in any case. */
	for (int failed = 1; failed >= 0; failed--) {
		for (unsigned e = 0; e < CALLBACK_EVENTS; e++) {
			const struct queue *q = &cd->callbacks->queues[e];

			for (uint32_t i = 0; i < q->n_results && reply.list.n < 64; i++) {
				if (q->results[i].failed == (failed != 0)) {
					list[reply.list.n] = q->results[i];
					list[reply.list.n].age_ms = mono_ms_between(q->ended[i], mono_now());
					list[reply.list.n++].pending = n_waiting(q);
				}
			}
		}
	}
	cluster_get_callbacks_reply(call, &reply);
}

void callbacks_fill(struct cluster_server *server)
{
	server->get_callbacks = on_get_callbacks;
}

int callbacks_start(struct clusterd *cd)
{
	struct callbacks *cbs = talloc_zero(cd, struct callbacks);
	struct queue *active;

	if (cbs == NULL) {
		return ENOMEM;
	}
	cbs->cd = cd;
	cbs->program = talloc_asprintf(cbs, "%s/ctdb-callbacks", cd->d->conf->path.libexec);
	cbs->dir = talloc_asprintf(cbs, "%s/callbacks/cluster", cd->d->conf->path.etc);
	for (unsigned e = 0; e < CALLBACK_EVENTS; e++) {
		struct queue *q = &cbs->queues[e];

		q->cbs = cbs;
		q->event = e;
		q->leader = q->told_leader = CLUSTER_NODE_NONE;
		for (uint32_t p = 0; p < NODES_MAX; p++) {
			q->flags[p] = q->told_flags[p] = NODE_FLAG_DISCONNECTED;
		}
	}
	active = &cbs->queues[CALLBACK_ACTIVE];
	active->now = talloc_strdup(cbs, "none");
	active->told = talloc_strdup(cbs, "none");
	cd->callbacks = cbs;
	return cbs->program == NULL || cbs->dir == NULL || active->now == NULL || active->told == NULL ? ENOMEM : 0;
}
