/* Who is who: ids of the other nodes, and nodes that come back with another address (shared/node_id.h). */
#include "identity.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "nodes.h"
#include "shared/log.h"
#include "shared/msg.h"

#define CHANGE_TIMEOUT_MS 25000 /* less than transportd waits */
#define TEXT_MAX          1000
#define SAY_MS            60000 /* it asks again every 2 s, as long as it takes */

/* ---- what is known ---- */

struct ctdb_blob identity_own(const struct clusterd *cd)
{
	struct identity *t = cd->identity;

	return t->has_own ? (struct ctdb_blob){.data = t->own.id, .len = NODE_ID_BYTES} : (struct ctdb_blob){.len = 0};
}

static const struct conf_node *node_of(const struct clusterd *cd, uint32_t pnn)
{
	const struct conf_nodes *nodes = cd->d->nodes;

	return pnn < nodes->n && pnn < NODES_MAX && !nodes->v[pnn].deleted ? &nodes->v[pnn] : NULL;
}

/* NULL: not with the address that it has now. */
static const struct identity_node *known(const struct clusterd *cd, TALLOC_CTX *mem, uint32_t pnn)
{
	const struct conf_node *node = node_of(cd, pnn);
	char *line = node == NULL ? NULL : nodes_line(mem, node);
	const struct identity_node *k = line == NULL ? NULL : &cd->identity->v[pnn];
	bool same = k != NULL && k->known && strcmp(k->address, line) == 0;

	talloc_free(line);
	return same ? k : NULL;
}

void identity_heard(struct clusterd *cd, uint32_t pnn, const struct ctdb_blob *id)
{
	struct identity *t = cd->identity;
	const struct conf_node *node = node_of(cd, pnn);
	const struct identity_node *k = known(cd, t, pnn);
	struct identity_node *v = &t->v[pnn];
	char *line;

	if (id->len != NODE_ID_BYTES || node == NULL || (k != NULL && memcmp(k->id, id->data, NODE_ID_BYTES) == 0)) {
		return;
	}
	if (k != NULL) {
		log_notice("node %u (%s) has another identity than before: it was installed anew", pnn, k->address);
	}
	line = nodes_line(t, node);
	if (line == NULL) {
		return; /* with its next hello */
	}
	talloc_free(v->address);
	*v = (struct identity_node){.known = true, .address = line};
	memcpy(v->id, id->data, NODE_ID_BYTES);
	identity_write(t);
}

char *identity_against(const struct clusterd *cd, TALLOC_CTX *mem, uint32_t pnn, const struct ctdb_blob *id,
		       bool must_know)
{
	const struct identity_node *k = known(cd, mem, pnn);
	char *why = NULL;

	if (k == NULL && !must_know) {
		return NULL;
	}
	if (k == NULL) {
		why = talloc_asprintf(
			mem,
			"node %u does not know who node %u was: it was not linked to it since the nodes list "
			"has its address; use 'ctdb node replace'",
			cd->d->pnn, pnn);
	} else if (id->len != NODE_ID_BYTES || memcmp(k->id, id->data, NODE_ID_BYTES) != 0) {
		why = talloc_asprintf(
			mem,
			"node %u knows node %u (%s) by another identity: it was installed anew or replaced "
			"since; use 'ctdb node replace' if this one is to be node %u",
			cd->d->pnn, pnn, k->address, pnn);
	} else {
		return NULL;
	}
	return why != NULL ? why : talloc_strdup(mem, "out of memory");
}

/* ---- a node that has moved ---- */

/* While the leader changes the list. */
struct moved {
	struct clusterd *cd;
	struct rpc_call *call;
	struct rpc_client *own; /* this clusterd, if it leads itself */
	uint32_t pnn;
	char *address;
};

static void answer(struct rpc_call *call, enum cluster_moved_result result, const char *nodes, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static void answer(struct rpc_call *call, enum cluster_moved_result result, const char *nodes, const char *fmt, ...)
{
	char text[TEXT_MAX + 1];
	struct cluster_moved_answer res = {.result = result, .text = text, .nodes = (char *)(uintptr_t)nodes};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	cluster_moved_reply(call, &res);
}

/* Not said of this node within the last minute. Numbers that no node has share a place. */
static bool is_news(struct identity *t, uint32_t pnn, const char *address, const char *why)
{
	uint32_t place = pnn < NODES_MAX ? pnn : NODES_MAX - 1;
	uint32_t what = hash_lookup3((const uint8_t *)address, strlen(address)) * 31 +
			hash_lookup3((const uint8_t *)why, strlen(why));
	struct mono now = mono_now();

	if (t->said[place].what == what && mono_is_set(t->said[place].until) &&
	    mono_before(now, t->said[place].until)) {
		return false;
	}
	t->said[place].what = what;
	t->said[place].until = mono_add_ms(now, SAY_MS);
	return true;
}

/* The first one counts: that is where it is. What else its line has is the list's business, not its own. */
static bool has_address(const struct clusterd *cd, uint32_t pnn, const char *address)
{
	const struct conf_node *node = node_of(cd, pnn);
	size_t len = strcspn(address, ",");

	return node != NULL && strlen(node->text) == len && strncmp(node->text, address, len) == 0;
}

static void done(struct clusterd *cd, struct rpc_call *call)
{
	answer(call, CLUSTER_MOVED_DONE, cluster_nodes_list(cd->core)->text, "%s", "");
}

/* The list has the address already. Who is kept out, or was down, may have a former list: nobody goes back to that. */
static void listed(struct clusterd *cd, struct rpc_call *call, const char *verdict)
{
	if (cluster_is_active(cd->core, mono_now())) {
		done(cd, call);
	} else {
		answer(call, CLUSTER_MOVED_LATER, "",
		       "node %u is not active, so its nodes list may be a former one: %s", cd->d->pnn, verdict);
	}
}

static void changed(struct tevent_req *req)
{
	struct moved *m = tevent_req_callback_data(req, struct moved);
	struct clusterd *cd = m->cd;
	struct cluster_nodes_change res = {.done = false};
	int ret = cluster_change_nodes_recv(req, m, &res);

	if (ret != 0) {
		answer(m->call, CLUSTER_MOVED_LATER, "", "the leader does not answer: %s", strerror(ret));
	} else if (!res.done) {
		answer(m->call, CLUSTER_MOVED_LATER, "", "%s", res.text);
	} else if (!has_address(cd, m->pnn, m->address)) {
		answer(m->call, CLUSTER_MOVED_LATER, "", "the change is done, but not yet known to node %u",
		       cd->d->pnn);
	} else {
		log_notice("node %u has another address: %s", m->pnn, m->address);
		done(cd, m->call);
	}
	talloc_free(m);
}

static struct rpc_client *leader_client(struct moved *m, uint32_t leader)
{
	const struct clusterd *cd = m->cd;
	const struct msg_addr addr = {.endpoint = "cluster", .node = NODE_SELF};

	if (!cluster_is_leading(cd->core, mono_now())) {
		return leader < cd->d->nodes->n ? cd->peers[leader] : NULL;
	}
	m->own = msg_client(m, cd->d->msg, &addr);
	return m->own;
}

/* 0; ESTALE: there is no leader to ask just now. */
static int change(struct clusterd *cd, struct rpc_call *call, const struct cluster_moved_args *arg, uint32_t leader)
{
	const struct cluster_nodes_change_args args = {
		.op = CLUSTER_NODES_REPLACE,
		.pnn = arg->pnn,
		.address = arg->address,
		.id = {.data = (uint8_t *)(uintptr_t)arg->id, .len = NODE_ID_BYTES},
	};
	struct moved *m = talloc_zero(cd, struct moved);
	struct rpc_client *client = NULL;
	struct tevent_req *req = NULL;

	if (m != NULL) {
		*m = (struct moved){.cd = cd, .call = call, .pnn = arg->pnn, .address = talloc_strdup(m, arg->address)};
		client = m->address == NULL ? NULL : leader_client(m, leader);
		req = client == NULL ? NULL : cluster_change_nodes_send(m, cd->d->ev, client, &args, CHANGE_TIMEOUT_MS);
	}
	if (req == NULL) {
		talloc_free(m);
		return client == NULL ? ESTALE : ENOMEM;
	}
	if (is_news(cd->identity, arg->pnn, arg->address, "")) {
		log_notice("node %u says that its address is %s now", arg->pnn, arg->address);
	}
	tevent_req_set_callback(req, changed, m);
	return 0;
}

/* NULL: it is the node that it says it is. */
static char *against(const struct clusterd *cd, struct rpc_call *call, const struct cluster_moved_args *arg)
{
	const struct ctdb_blob id = {.data = (uint8_t *)(uintptr_t)arg->id, .len = NODE_ID_BYTES};
	char *why;

	if (arg->pnn == cd->d->pnn) {
		why = talloc_asprintf(call, "it is node %u itself that was asked: is it a copy?", arg->pnn);
	} else if (node_of(cd, arg->pnn) == NULL) {
		why = talloc_asprintf(call, "there is no node %u, or it has been removed from the nodes list",
				      arg->pnn);
	} else {
		return identity_against(cd, call, arg->pnn, &id, true);
	}
	return why != NULL ? why : talloc_strdup(call, "out of memory");
}

static void on_moved(void *priv, struct rpc_call *call, const struct cluster_moved_args *arg)
{
	struct clusterd *cd = priv;
	uint32_t leader = cluster_leader(cd->core, mono_now());
	struct cluster_status status;
	char *why;

	if (call->source_node != cd->d->pnn || strcmp(call->source_endpoint, "transport") != 0) {
		rpc_call_fail(call, EPERM);
		return;
	}
	cluster_tell_status(cd->core, mono_now(), call, &status);
	if (arg->pnn != cd->d->pnn && has_address(cd, arg->pnn, arg->address)) {
		listed(cd, call, status.verdict);
		return;
	}
	why = against(cd, call, arg);
	if (why != NULL) {
		if (is_news(cd->identity, arg->pnn, arg->address, why)) {
			log_warning("%s says it is node %u: refused: %s", arg->address, arg->pnn, why);
		}
		answer(call, CLUSTER_MOVED_REFUSED, "", "%s", why);
	} else if (arg->pnn < status.nodes.n && status.nodes.v[arg->pnn].reachable) {
		answer(call, CLUSTER_MOVED_CONNECTED, "",
		       "node %u is connected with the address %s: is this a copy of it?", arg->pnn,
		       cd->d->nodes->v[arg->pnn].text);
	} else if (leader == CLUSTER_NODE_NONE) {
		answer(call, CLUSTER_MOVED_LATER, "", "there is no leader that could do it: %s", status.verdict);
	} else {
		int ret = change(cd, call, arg, leader);

		if (ret != 0) {
			answer(call, CLUSTER_MOVED_LATER, "", "node %u cannot ask the leader now: %s", cd->d->pnn,
			       strerror(ret));
		}
	}
}

void identity_fill(struct cluster_server *server)
{
	server->moved = on_moved;
}

/* ---- start ---- */

/* ctdbd has made the own file; started without it, there may be none. */
int identity_start(struct clusterd *cd, char **err)
{
	const char *state = cd->d->conf->path.db_state;
	struct identity *t = talloc_zero(cd, struct identity);
	int ret;

	if (t == NULL) {
		return ENOMEM;
	}
	cd->identity = t;
	t->cd = cd;
	t->path = talloc_asprintf(t, "%s/node-ids", state);
	if (t->path == NULL) {
		return ENOMEM;
	}
	identity_read(t);
	ret = node_id_load(cd, state, &t->own, err);
	/* Nodes of interface version 1 had none. */
	t->has_own = ret == 0 && t->own.pnn == cd->d->pnn && cd->d->conf->transport.interface_version != 1;
	return ret == ENOENT ? 0 : ret;
}
