/* The nodes list at run time: what the core asks for, who is told, and what differs on other nodes. */
#include "nodes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "protocol/reload_rpc.h"
#include "shared/log.h"
#include "shared/msg.h"

#define LOOK_MS        1000
#define ASK_TIMEOUT_MS 3000
#define TELL_RETRY_MS  1000
#define TELL_TRIES     30
#define HANGS_MS       5000  /* so long a write takes before it is said */
#define SAY_AGAIN_MS   60000 /* the same of the same node */
#define SAY_NEXT_MS    10000 /* anything of the same node */
#define TEXT_MAX       32768 /* of a list, in packets */

/* ---- digest ---- */

static void digest_add(uint64_t *digest, const void *data, size_t len)
{
	*digest = hash_fnv1a64(*digest, data, len);
}

/* Two locks would be two leaders. (Servers of etcd may be named differently on each node; its key may not.) */
static void digest_lock(uint64_t *digest, const struct conf *conf)
{
	const char *lock = conf->cluster.arbitration == CONF_ARBITRATION_LOCK   ? conf->cluster.cluster_lock
			   : conf->cluster.arbitration == CONF_ARBITRATION_ETCD ? conf->cluster.etcd_key
										: "";

	digest_add(digest, lock, strlen(lock));
}

/* The address of a deleted node is nobody's business. */
static void digest_node(uint64_t *digest, uint32_t pnn, const struct conf_node *node)
{
	char line[256];

	snprintf(line, sizeof(line), "%u %d %s%s%s\n", (unsigned)pnn, node->deleted ? 1 : 0,
		 node->deleted ? "" : node->texts[0], !node->deleted && node->n_addrs > 1 ? "," : "",
		 !node->deleted && node->n_addrs > 1 ? node->texts[1] : "");
	digest_add(digest, line, strlen(line));
}

uint64_t nodes_digest(const struct conf *conf, const struct conf_nodes *nodes)
{
	uint64_t digest = HASH_FNV1A64;
	char line[160];

	for (uint32_t p = 0; p < nodes->n; p++) {
		digest_node(&digest, p, &nodes->v[p]);
	}
	snprintf(line, sizeof(line), "arbitration %d dead %u\n", (int)conf->cluster.arbitration,
		 (unsigned)conf->cluster.dead_interval);
	digest_add(&digest, line, strlen(line));
	digest_lock(&digest, conf);
	/* 0 means none. */
	return digest == 0 ? 1 : digest;
}

/* ---- lists for the core ---- */

static int list_make(TALLOC_CTX *mem, const struct conf *conf, const struct conf_nodes *nodes, const char *text,
		     struct cluster_list *list)
{
	struct cluster_node_config *v = talloc_zero_array(mem, struct cluster_node_config, nodes->n);

	*list = (struct cluster_list){.hash = nodes_digest(conf, nodes), .n = nodes->n, .nodes = v, .text = text};
	if (v == NULL) {
		return ENOMEM;
	}
	for (uint32_t p = 0; p < nodes->n; p++) {
		v[p] = (struct cluster_node_config){.deleted = nodes->v[p].deleted,
						    .address = nodes->v[p].text,
						    .more = nodes->v[p].n_addrs > 1 ? nodes->v[p].texts[1] : NULL};
	}
	return 0;
}

static int on_parse(void *priv, TALLOC_CTX *mem, const char *text, struct cluster_list *list, char **err)
{
	struct clusterd *cd = priv;
	struct conf_nodes *nodes;
	int ret;

	if (strlen(text) > TEXT_MAX) {
		*err = talloc_asprintf(mem, "the nodes list is longer than %d bytes: remove spaces and empty lines",
				       TEXT_MAX);
		return E2BIG;
	}
	ret = conf_nodes_parse(mem, "new nodes list", text, &nodes, err);
	return ret != 0 ? ret : list_make(mem, cd->d->conf, nodes, text, list);
}

/* ---- daemons of this node follow ---- */

struct tell {
	struct dlist link;
	struct nodes *n;
	const char *endpoint;
	struct rpc_client *client;
	struct mono_timer *timer;
	unsigned tries;
	bool at_start;
};

static void tell_now(void *priv);

static void told(struct tevent_req *req)
{
	struct tell *t = tevent_req_callback_data(req, struct tell);
	struct reload_nodes_result result;
	int ret = reload_nodes_recv(req, t, &result);
	/* One that is not there reads the file when it starts, or has just done so. */
	bool there = ret != ENOENT && ret != ECONNREFUSED;

	talloc_free(req);
	/* At our start, which is mostly that of the node: not later, when somebody may be editing the file. */
	if (ret == 0 || (t->at_start && !there) || ++t->tries >= TELL_TRIES) {
		if (ret != 0 && there) {
			log_error("%s still uses the former nodes list (%s): restart it", t->endpoint, strerror(ret));
		}
		talloc_free(t);
		return;
	}
	if (t->tries == 1 && there) {
		log_info("%s does not take the new nodes list yet (%s): asking again", t->endpoint, strerror(ret));
	}
	mono_timer_set(t->timer, mono_add_ms(mono_now(), TELL_RETRY_MS));
}

static void tell_now(void *priv)
{
	struct tell *t = priv;
	struct tevent_req *req = reload_nodes_send(t, t->n->cd->d->ev, t->client, ASK_TIMEOUT_MS);

	if (req == NULL) {
		mono_timer_set(t->timer, mono_add_ms(mono_now(), TELL_RETRY_MS));
		return;
	}
	tevent_req_set_callback(req, told, t);
}

static int tell_destructor(struct tell *t)
{
	dlist_remove(&t->link);
	return 0;
}

static void tell_start(struct nodes *n, const char *endpoint, bool at_start)
{
	struct msg_addr addr = {.node = NODE_SELF};
	struct tell *t = talloc_zero(n, struct tell);

	snprintf(addr.endpoint, sizeof(addr.endpoint), "%s", endpoint);
	if (t == NULL) {
		return;
	}
	t->n = n;
	t->endpoint = endpoint;
	t->at_start = at_start;
	t->client = msg_client(t, n->cd->d->msg, &addr);
	t->timer = mono_timer_new(t, n->cd->d->ev, tell_now, t);
	if (t->client == NULL || t->timer == NULL) {
		log_error("out of memory: %s does not learn of the new nodes list", endpoint);
		talloc_free(t);
		return;
	}
	dlist_add_tail(&n->tells, &t->link);
	talloc_set_destructor(t, tell_destructor);
	tell_now(t);
}

/* One that is being told a list is told again: it may just have read the former one. */
static void daemons_follow(struct nodes *n, bool at_start)
{
	while (!dlist_empty(&n->tells)) {
		talloc_free(dlist_entry(n->tells.next, struct tell, link));
	}
	tell_start(n, "transport", at_start);
	tell_start(n, "db", at_start);
}

/* ---- the files ---- */

static bool write_hangs(const struct nodes *n)
{
	return n->writing != NULL && !mono_before(mono_now(), mono_add_ms(n->writing_since, HANGS_MS));
}

static void look_at_write(struct nodes *n)
{
	if (!n->write_hangs && write_hangs(n)) {
		n->write_hangs = true;
		log_warning("%s: writing it has not ended after %d s: does its file system hang?",
			    nodes_write_path(n->writing), HANGS_MS / 1000);
	}
}

static void written(struct tevent_req *req)
{
	struct nodes *n = tevent_req_callback_data(req, struct nodes);
	TALLOC_CTX *tmp = talloc_new(n);
	char *err = NULL;
	int ret = nodes_write_recv(req, tmp, &err);

	if (n->write_hangs) {
		log_notice("%s: writing it has ended after %llu s", nodes_write_path(req),
			   (unsigned long long)mono_ms_between(n->writing_since, mono_now()) / 1000);
	}
	TALLOC_FREE(n->writing);
	if (ret == 0 && n->what == CLUSTER_NODES_WRITE_LIST) {
		log_notice("%s: the new nodes list was written", n->file.path);
		daemons_follow(n, false);
	}
	cluster_nodes_written(n->cd->core, mono_now(), ret, err != NULL ? err : strerror(ret));
	talloc_free(tmp);
	clusterd_after(n->cd);
}

static void write_failed(struct tevent_context *ev, struct tevent_immediate *im, void *priv)
{
	struct nodes *n = priv;

	talloc_free(im);
	cluster_nodes_written(n->cd->core, mono_now(), ENOMEM, "out of memory");
	clusterd_after(n->cd);
}

static char *next_text(struct nodes *n, const struct cluster_nodes_prepared *p)
{
	struct nodes_next next = {.term = p->term,
				  .number = p->number,
				  .from = p->from,
				  .to = p->to.hash,
				  .text = (char *)(uintptr_t)p->to.text};

	return nodes_next_make(n, &next);
}

static void on_write(void *priv, enum cluster_nodes_write what, const struct cluster_nodes_prepared *p)
{
	struct nodes *n = ((struct clusterd *)priv)->nodes;
	struct tevent_immediate *im;

	TALLOC_FREE(n->wrote);
	n->what = what;
	n->writing_since = mono_now();
	n->write_hangs = false;
	if (what != CLUSTER_NODES_WRITE_FORGET) {
		n->wrote = what == CLUSTER_NODES_WRITE_PREPARED ? next_text(n, p) : talloc_strdup(n, p->to.text);
	}
	n->writing = n->wrote == NULL && what != CLUSTER_NODES_WRITE_FORGET
			     ? NULL
			     : nodes_write_send(n, n->cd->d->ev, &n->file, what, n->wrote);
	if (n->writing != NULL) {
		tevent_req_set_callback(n->writing, written, n);
		return;
	}
	im = tevent_create_immediate(n);
	if (im != NULL) {
		tevent_schedule_immediate(im, n->cd->d->ev, write_failed, n);
	}
}

/* ---- the list in use ---- */

static void on_changed(void *priv)
{
	struct clusterd *cd = priv;
	const struct cluster_list *list = cluster_nodes_list(cd->core);
	struct conf_nodes *nodes;
	char *err = NULL;

	/* The former one stays: others may hold on to it. */
	if (conf_nodes_parse(cd, cd->d->conf->path.nodes, list->text, &nodes, &err) != 0) {
		log_error("bug: a nodes list that was agreed on cannot be read: %s", err);
		talloc_free(err);
		return;
	}
	cd->d->nodes = nodes;
	if (peers_set(cd) != 0) {
		log_error("out of memory: packets to new nodes will not be sent");
	}
	events_add(cd, CLUSTER_EVENT_NODES, cd->d->pnn, 0, "the nodes list has changed: %u nodes", (unsigned)nodes->n);
}

static void on_done(void *priv, bool done, const char *text)
{
	struct clusterd *cd = priv;
	struct nodes *n = cd->nodes;
	char *more = NULL;

	if (!done && write_hangs(n)) {
		more = talloc_asprintf(n, "%s; writing %s on this node has not ended: does its file system hang?", text,
				       nodes_write_path(n->writing));
	}
	nodes_change_done(n, done, more != NULL ? more : text);
	talloc_free(more);
}

const struct cluster_nodes_ops nodes_ops = {
	.parse = on_parse, .write = on_write, .changed = on_changed, .done = on_done};

/* ---- nodes that differ ---- */

struct asked {
	struct nodes *n;
	uint32_t pnn;
};

/* A node whose list is read again and again says the same, or one thing and then the other. */
static bool says_news(struct nodes *n, uint32_t pnn, const char *why)
{
	uint64_t digest = HASH_FNV1A64;
	struct mono now = mono_now(), at = n->said_at[pnn];

	digest_add(&digest, why, strlen(why));
	if (mono_is_set(at) && mono_before(now, mono_add_ms(at, digest == n->said[pnn] ? SAY_AGAIN_MS : SAY_NEXT_MS))) {
		return false;
	}
	n->said[pnn] = digest;
	n->said_at[pnn] = now;
	return true;
}

static void explain(struct nodes *n, uint32_t pnn, const struct cluster_nodes_text *text)
{
	const struct cluster_list *list = cluster_nodes_list(n->cd->core);
	TALLOC_CTX *tmp = talloc_new(n);
	struct conf_nodes *here, *there;
	char *err, *why = NULL;

	if (tmp == NULL || conf_nodes_parse(tmp, "", list->text, &here, &err) != 0) {
		talloc_free(tmp);
		return;
	}
	if (conf_nodes_parse(tmp, "its nodes file", text->text, &there, &err) != 0) {
		why = err;
	} else {
		why = nodes_text_difference(tmp, here, there);
	}
	if (why == NULL) {
		why = talloc_strdup(tmp, "arbitration, cluster lock or dead interval differ in ctdb.conf");
	}
	if (why != NULL) {
		if (says_news(n, pnn, why)) {
			log_warning("node %u is kept out: %s; run 'ctdb node reload' on a member, or correct it and "
				    "restart",
				    (unsigned)pnn, why);
		}
		cluster_nodes_explain(n->cd->core, pnn, why);
	}
	talloc_free(tmp);
}

static void list_told(struct tevent_req *req)
{
	struct asked *a = tevent_req_callback_data(req, struct asked);
	struct nodes *n = a->n;
	uint32_t pnn = a->pnn;
	struct cluster_nodes_text text;
	TALLOC_CTX *tmp = talloc_new(n);
	int ret = cluster_get_nodes_recv(req, tmp, &text);

	n->asking[pnn] = NULL;
	talloc_free(a);
	if (ret != 0) {
		n->asked[pnn] = 0; /* again later */
	} else if (cluster_nodes_differs(n->cd->core, mono_now(), pnn)) {
		n->asked[pnn] = text.digest;
		explain(n, pnn, &text);
		clusterd_after(n->cd);
	}
	talloc_free(tmp);
}

static void ask(struct nodes *n, uint32_t pnn)
{
	struct asked *a = talloc(n, struct asked);
	struct tevent_req *req;

	if (a == NULL || n->cd->peers[pnn] == NULL) {
		talloc_free(a);
		return;
	}
	*a = (struct asked){.n = n, .pnn = pnn};
	req = cluster_get_nodes_send(a, n->cd->d->ev, n->cd->peers[pnn], ASK_TIMEOUT_MS);
	if (req == NULL) {
		talloc_free(a);
		return;
	}
	n->asking[pnn] = req;
	tevent_req_set_callback(req, list_told, a);
}

static void look(void *priv)
{
	struct nodes *n = priv;
	struct mono now = mono_now();

	look_at_write(n);
	for (uint32_t p = 0; p < n->cd->d->nodes->n; p++) {
		bool differs = cluster_nodes_differs(n->cd->core, now, p);

		if (!differs) {
			n->asked[p] = 0;
		} else if (n->asking[p] == NULL && n->asked[p] != cluster_nodes_digest_of(n->cd->core, p)) {
			ask(n, p);
		}
	}
	mono_timer_set(n->timer, mono_add_ms(now, LOOK_MS));
}

static void on_get_nodes(void *priv, struct rpc_call *call)
{
	struct clusterd *cd = priv;
	const struct cluster_list *list = cluster_nodes_list(cd->core);
	struct cluster_nodes_text text = {.digest = list->hash, .text = (char *)(uintptr_t)list->text};

	cluster_get_nodes_reply(call, &text);
}

bool nodes_differ(const struct clusterd *cd, const struct conf_nodes *nodes)
{
	return nodes_digest(cd->d->conf, nodes) != cluster_nodes_list(cd->core)->hash;
}

void nodes_look(struct clusterd *cd)
{
	nodes_change_look(cd->nodes);
}

void nodes_fill(struct cluster_server *server)
{
	server->get_nodes = on_get_nodes;
	nodes_change_fill(server);
}

/* ---- start ---- */

/* A change that was under way when this node's clusterd ended. */
static int restore(struct nodes *n, struct cluster_config *config, char **err)
{
	struct cluster_nodes_prepared *p = talloc_zero(n, struct cluster_nodes_prepared);
	struct nodes_next next;
	int ret = p == NULL ? ENOMEM : nodes_next_read(p, &n->file, &next, err);

	if (ret != 0) {
		if (ret == ENOENT) {
			TALLOC_FREE(*err);
			ret = 0;
		}
		return ret;
	}
	p->term = next.term;
	p->number = next.number;
	p->from = next.from;
	ret = on_parse(n->cd, p, next.text, &p->to, err);
	if (ret == 0 && p->to.hash == next.to && p->from == config->nodes_hash) {
		log_notice("%s: a change of the nodes list was under way: it is carried on or given up by the leader",
			   n->file.next_path);
		config->prepared = p;
		return 0;
	}
	TALLOC_FREE(*err);
	if (p->to.hash == config->nodes_hash) {
		log_info("%s: the nodes file has it already", n->file.next_path);
	} else {
		log_warning(
			"%s: ignoring it: it does not belong to the nodes file and the configuration as they are now",
			n->file.next_path);
	}
	nodes_next_remove(&n->file);
	return 0;
}

int nodes_start(struct clusterd *cd, struct cluster_config *config, char **err)
{
	struct nodes *n = talloc_zero(cd, struct nodes);
	struct conf_nodes *nodes;
	struct cluster_list list;
	char *text;
	int ret = n == NULL ? ENOMEM : nodes_file_init(n, cd->d->conf->path.nodes, &n->file, err);

	if (ret != 0) {
		return ret;
	}
	n->cd = cd;
	cd->nodes = n;
	dlist_init(&n->tells);
	ret = conf_nodes_text(n, cd->d->conf->path.nodes, &text, err);
	ret = ret != 0 ? ret : conf_nodes_parse(cd, cd->d->conf->path.nodes, text, &nodes, err);
	ret = ret != 0 ? ret : list_make(n, cd->d->conf, nodes, text, &list);
	if (ret == 0 && list.hash != nodes_digest(cd->d->conf, cd->d->nodes)) {
		*err = talloc_asprintf(cd, "%s: was changed while it was read: start again", cd->d->conf->path.nodes);
		ret = EAGAIN;
	}
	if (ret != 0) {
		return ret;
	}
	config->n = list.n;
	config->nodes = list.nodes;
	config->nodes_hash = list.hash;
	config->nodes_text = list.text;
	n->timer = mono_timer_new(n, cd->d->ev, look, n);
	ret = n->timer == NULL ? ENOMEM : restore(n, config, err);
	return ret != 0 ? ret : nodes_change_start(n);
}

/* The core runs. A former clusterd may have written the file and ended before the others were told. */
void nodes_watch(struct clusterd *cd)
{
	daemons_follow(cd->nodes, true);
	mono_timer_set(cd->nodes->timer, mono_add_ms(mono_now(), LOOK_MS));
}
