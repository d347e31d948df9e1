/* Recovery: who keeps it from going on. clusterd of this node counts, and bans who does so again and again. */
#include <errno.h>
#include <string.h>

#include "dbd/control.h"
#include "dbd/recovery_int.h"
#include "protocol/cluster_rpc.h"
#include "shared/log.h"
#include "shared/msg.h"

/*
 * Credits, of which 2 for each configured node (at least 6) mean a ban: 1 for an error that a node reports, at most one
 * a second; as many as there are nodes if it cost everybody a time-out. That a node is not ready yet (EAGAIN, ESTALE)
 * counts only when no recovery has come to its end for so long: it may have to do with a view or link that is just
 * changing. What is nobody's fault (ECANCELED) never counts. Times: a node's own part fails after 2/3 of
 * RecoverTimeout, others wait for all of it, so that the one at fault is named.
 */
#define SPACING_MS  1000
#define CREDITS_MAX 100
#define TIMEOUT_MS  5000
#define BAN_MAX     (30U * 24 * 3600)

static uint32_t timeout_ms(const struct recovery *r)
{
	uint32_t s = r->dbd->clients != NULL ? tunable(r->dbd->clients, CLASSIC_TUNABLE_RECOVER_TIMEOUT) : 30;

	return (s == 0 ? 1 : (s > 3600 ? 3600 : s)) * 1000;
}

uint32_t recovery_patience_ms(const struct recovery *r)
{
	return timeout_ms(r) / 3 * 2;
}

static void reported(struct tevent_req *req)
{
	int ret = cluster_culprit_recv(req);

	talloc_free(req);
	if (ret != 0) {
		log_ratelimited(LOG_LVL_NOTICE, 10000,
				"ctdb-clusterd was not told who keeps the recovery from going on: %s", strerror(ret));
	}
}

static void report(struct recovery *r, uint32_t node, uint32_t credits, const char *text)
{
	char reason[201];
	struct cluster_culprit_args arg = {
		.pnn = node, .credits = credits < CREDITS_MAX ? credits : CREDITS_MAX, .reason = reason};
	struct msg_addr addr = {.endpoint = "cluster", .node = NODE_SELF};
	struct tevent_req *req;

	arg.ban_seconds = tunable(r->dbd->clients, CLASSIC_TUNABLE_RECOVERY_BAN_PERIOD);
	if (arg.ban_seconds > BAN_MAX) {
		arg.ban_seconds = BAN_MAX;
	}
	snprintf(reason, sizeof(reason), "%s", text);
	if (r->clusterd == NULL) {
		r->clusterd = msg_client(r, r->dbd->d->msg, &addr);
	}
	req = r->clusterd == NULL ? NULL : cluster_culprit_send(r, r->dbd->d->ev, r->clusterd, &arg, TIMEOUT_MS);
	if (req != NULL) {
		tevent_req_set_callback(req, reported, r);
	}
}

static uint32_t configured(const struct recovery *r)
{
	uint32_t n = 0;

	for (uint32_t p = 0; p < r->dbd->d->nodes->n; p++) {
		n += r->dbd->d->nodes->v[p].deleted ? 0 : 1;
	}
	return n > 3 ? n : 3;
}

/* 0: it does not count */
static uint32_t credits_of(const struct recovery *r, int status, struct mono now)
{
	if (status == ETIMEDOUT) {
		return configured(r);
	}
	if (status == ECANCELED) {
		return 0;
	}
	if (status == EAGAIN || status == ESTALE) {
		return mono_is_set(r->trying_since) && mono_ms_between(r->trying_since, now) >= timeout_ms(r) ? 1 : 0;
	}
	return 1;
}

void recovery_blame(struct recovery *r, uint32_t node, int status, const char *text)
{
	struct mono now = mono_now();
	uint32_t credits = credits_of(r, status, now);

	if (credits == 0 || node >= LANE_NODES || tunable(r->dbd->clients, CLASSIC_TUNABLE_ENABLE_BANS) == 0 ||
	    (mono_is_set(r->blamed[node]) && mono_ms_between(r->blamed[node], now) < SPACING_MS)) {
		return;
	}
	r->blamed[node] = now;
	report(r, node, credits, text);
}

void recovery_blame_missing(struct recovery *r, uint32_t node, struct mono since)
{
	struct mono now = mono_now();
	uint32_t limit = timeout_ms(r);

	if (mono_ms_between(since, now) >= limit &&
	    (!mono_is_set(r->blamed[node]) || mono_ms_between(r->blamed[node], now) >= limit)) {
		recovery_blame(r, node, ETIMEDOUT, "it is in the cluster, but its ctdb-dbd cannot be reached");
	}
}
