/* One line about the cluster: what is the matter, since when, what to do next. */
#include <stdarg.h>
#include <stdio.h>

#include "core/cluster_internal.h"

#define VERDICT_SIZE 200

struct text {
	char buf[VERDICT_SIZE];
	size_t len;
};

static void text_add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void text_add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->buf + t->len, sizeof(t->buf) - t->len, fmt, ap);
	va_end(ap);
	if (n > 0) {
		t->len += (size_t)n;
	}
	if (t->len >= sizeof(t->buf)) {
		t->len = sizeof(t->buf) - 1;
	}
}

static void text_add_time(struct text *t, struct mono since, struct mono now)
{
	uint64_t s = mono_ms_between(since, now) / 1000;

	if (s < 120) {
		text_add(t, "%llu s", (unsigned long long)s);
	} else if (s < 7200) {
		text_add(t, "%llu min", (unsigned long long)(s / 60));
	} else {
		text_add(t, "%llu h", (unsigned long long)(s / 3600));
	}
}

static uint32_t flags_of(const struct cluster *c, uint32_t pnn)
{
	return pnn < c->view.members.n ? c->view.members.v[pnn].flags : NODE_FLAG_DISCONNECTED;
}

struct counts {
	unsigned configured, active;
	uint32_t first_bad; /* CLUSTER_NODE_NONE: all is well */
	unsigned bad;
};

static struct counts count(const struct cluster *c)
{
	const uint32_t good = 0;
	struct counts n = {.first_bad = CLUSTER_NODE_NONE};

	for (uint32_t p = 0; p < c->cfg.n; p++) {
		uint32_t flags = flags_of(c, p);

		if (!cluster_configured(c, p)) {
			continue;
		}
		n.configured++;
		n.active += (flags & NODE_FLAG_DISCONNECTED) == 0 && !cluster_flags_inactive(flags) ? 1 : 0;
		if (flags != good) {
			n.bad++;
			n.first_bad = n.first_bad == CLUSTER_NODE_NONE ? p : n.first_bad;
		}
	}
	return n;
}

static void tell_bad_node(const struct cluster *c, struct mono now, uint32_t p, struct text *t)
{
	const struct cluster_peer *peer = &c->peers[p];
	uint32_t flags = flags_of(c, p);

	text_add(t, "node %u is ", (unsigned)p);
	if ((flags & NODE_FLAG_DISCONNECTED) != 0) {
		text_add(t, "disconnected since ");
		text_add_time(t, peer->out_since, now);
		if (!cluster_peer_agrees(c, p) && peer->difference != NULL) {
			text_add(t, ": %s; run 'ctdb node reload' on a member", peer->difference);
		} else if (!cluster_peer_agrees(c, p)) {
			text_add(t, ": its nodes file, arbitration or dead interval differs; make them equal");
		} else if (cluster_mesh_bars(c, now, p) != CLUSTER_NODE_NONE) {
			text_add(t, ": it and node %u cannot reach each other; check the network between them",
				 (unsigned)cluster_mesh_bars(c, now, p));
		} else if (peer->link) {
			text_add(t, "; its link is up: check ctdb-clusterd and the log there");
		} else {
			text_add(t, "; check its power, network and log");
		}
	} else if ((flags & NODE_FLAG_BANNED) != 0) {
		text_add(t, "banned; see its log");
	} else if ((flags & NODE_FLAG_STOPPED) != 0) {
		text_add(t, "stopped; continue it when it is ready");
	} else if ((flags & NODE_FLAG_DISABLED) != 0) {
		text_add(t, "disabled; enable it when it is ready");
	} else if ((flags & NODE_FLAG_UNHEALTHY) == 0 && (flags & NODE_FLAG_PARTIAL) != 0) {
		text_add(t, "without some of its interfaces; check their links");
	} else {
		text_add(t, "unhealthy; see its services");
	}
}

/* Only the leader knows the links of others. False: none is bad. */
static bool tell_bad_link(const struct cluster *c, struct text *t)
{
	for (uint32_t a = 0; a < c->cfg.n && c->role == CLUSTER_ROLE_LEADER; a++) {
		for (uint32_t b = a + 1; b < c->cfg.n; b++) {
			if (a == c->cfg.pnn || b == c->cfg.pnn || !cluster_in_view(c, a) || !cluster_in_view(c, b)) {
				continue;
			}
			if ((c->peers[a].reachable[b / 8] & (1U << (b % 8))) == 0 &&
			    (c->peers[b].reachable[a / 8] & (1U << (a % 8))) == 0) {
				text_add(t, "nodes %u and %u cannot reach each other; check the network between them",
					 (unsigned)a, (unsigned)b);
				return true;
			}
		}
	}
	return false;
}

static void tell_active(const struct cluster *c, struct mono now, struct text *t)
{
	struct counts n = count(c);
	struct text link = {.len = 0};
	bool bad_link = tell_bad_link(c, &link);

	text_add(t, "%s: %u of %u nodes active, leader node %u since ",
		 n.bad == 0 && !bad_link ? "healthy" : "degraded", n.active, n.configured, (unsigned)c->view.leader);
	text_add_time(t, c->leader_since, now);
	if (n.first_bad != CLUSTER_NODE_NONE) {
		text_add(t, "; ");
		tell_bad_node(c, now, n.first_bad, t);
		if (n.bad > 1) {
			text_add(t, " (and %u more)", n.bad - 1);
		}
	} else if (bad_link) {
		text_add(t, "; %s", link.buf);
	}
	if (c->cfg.quorum == CLUSTER_QUORUM_NONE) {
		text_add(t, "; no arbitration: split brain is possible");
	}
}

static enum cluster_arbitration_state arbitration_of(const struct cluster *c, struct mono now)
{
	if (c->cfg.quorum == CLUSTER_QUORUM_NONE) {
		return CLUSTER_ARBITRATION_UNCHECKED;
	}
	return cluster_has_lease(c, now) ? CLUSTER_ARBITRATION_HELD : CLUSTER_ARBITRATION_LOST;
}

static struct cluster_node_status node_status(const struct cluster *c, struct mono now, uint32_t p)
{
	const struct cluster_peer *peer = &c->peers[p];
	bool out = !cluster_in_view(c, p);

	return (struct cluster_node_status){
		.pnn = p,
		.reachable = p == c->cfg.pnn || cluster_reachable(c, now, p),
		.differs = !cluster_peer_agrees(c, p),
		.barred_by = cluster_mesh_bars(c, now, p),
		.credits = cluster_credits(c, now, p),
		.out_ms =
			out ? mono_ms_between(mono_is_set(peer->out_since) ? peer->out_since : c->started, now) + 1 : 0,
	};
}

static void tell_nodes(const struct cluster *c, struct mono now, TALLOC_CTX *mem, struct cluster_status *status)
{
	status->nodes.n = 0;
	status->nodes.v = talloc_array(mem, struct cluster_node_status, c->cfg.n);
	for (uint32_t p = 0; status->nodes.v != NULL && p < c->cfg.n; p++) {
		status->nodes.v[p] = node_status(c, now, p);
		status->nodes.n++;
	}
}

/* What the helper said last is old when another node has taken the lock since. */
static bool lock_text_counts(const struct cluster *c, struct mono now)
{
	return c->cfg.quorum == CLUSTER_QUORUM_EXTERNAL && (cluster_arbiter_has(c) || !cluster_has_lease(c, now));
}

void cluster_tell_status(const struct cluster *c, struct mono now, TALLOC_CTX *mem, struct cluster_status *status)
{
	static char names[][9] = {"majority", "none", "lock", "etcd"}, no_memory[] = "out of memory", none[] = "";
	char why_buf[CLUSTER_REASON_SIZE];
	const char *why = cluster_why_inactive(c, now, why_buf, sizeof(why_buf));
	struct text t = {.len = 0};

	cluster_tell_state(c, now, &status->state);
	status->arbitration = arbitration_of(c, now);
	status->arbitration_method =
		names[c->cfg.quorum == CLUSTER_QUORUM_EXTERNAL && c->cfg.arbiter_bounded ? 3 : c->cfg.quorum];
	status->arbitration_detail = lock_text_counts(c, now) ? talloc_strdup(mem, c->arbiter.text) : none;
	if (status->arbitration_detail == NULL) {
		status->arbitration_detail = no_memory;
	}
	status->since_ms = mono_ms_between(c->view_since, now);
	status->leader_since_ms = mono_ms_between(c->leader_since, now);
	tell_nodes(c, now, mem, status);
	if (why == NULL) {
		tell_active(c, now, &t);
	} else {
		text_add(&t, "%s%s", cluster_has_lease(c, now) ? "this node is not active: " : "", why);
	}
	status->verdict = talloc_strdup(mem, t.buf);
	if (status->verdict == NULL) {
		status->verdict = no_memory;
	}
}
