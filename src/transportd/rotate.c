/* transportd: changes of keys on all nodes. Whoever is asked leads them: who asked may go away without leaving anything
 * half done. */
#include "transport.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "shared/log.h"
#include "shared/msg.h"

#define NODE_TIMEOUT_MS 6000 /* longer than a node waits for its dbd */
#define IDS_MAX         64   /* different keys that are dropped in one go */

/* In this order. A step that one node cannot do ends the rotation; what was done stays good, and doing it again does no
 * harm. */
enum step {
	STEP_ADD_OWN, /* remembered here, so that the next attempt goes on with the same key */
	STEP_ADD,
	STEP_USE,
	STEP_USE_OWN,
	STEP_LIST,
	STEP_DROP,
	STEP_DONE,
};

static const char *const step_names[] = {
	"add the key", "add the key", "offer the key", "offer the key", "list its keys", "drop a key", ""};

struct rotation_node {
	struct rotation *r;
	uint32_t pnn;
	int error;
	struct rpc_client *client;
	struct key_list list; /* after STEP_LIST */
};

struct rotation {
	struct transport *t;
	struct rpc_call *call; /* child of this */
	enum step step;
	bool retire;      /* drops others after the new key is in use */
	bool retire_only; /* no new key: drops drop[0] */
	bool unknown;     /* which no node has */
	struct cluster_key key;
	uint32_t n, waiting;
	struct rotation_node *nodes;
	char drop[IDS_MAX][17];
	uint32_t n_drop, next_drop;
};

static void step_begin(struct rotation *r);
static void step_end(struct rotation *r);

static int rotation_destructor(struct rotation *r)
{
	explicit_bzero(&r->key, sizeof(r->key));
	r->t->rotation = NULL;
	return 0;
}

/* ---- the answer ---- */

static const char *error_text(int error)
{
	switch (error) {
	case EHOSTUNREACH:
		return "there is no link to it";
	case ETIMEDOUT:
		return "no answer";
	case ENOENT:
		return "it does not have that key";
	case ENOSYS:
		return "it runs a version without keys";
	case EOPNOTSUPP:
		return "it has security = none";
	case EPERM:
		return "its link to here is not secured";
	case ENOSPC:
		return "its key file is full: retire a key";
	case EBUSY:
		return "it offers that key";
	case EAGAIN:
		return "another change of its keys is in work";
	case EACCES:
	case EINVAL:
		return "it refuses its key file, see its log";
	default:
		return strerror(error);
	}
}

static void append(char *text, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void append(char *text, size_t size, const char *fmt, ...)
{
	size_t len = strlen(text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + len, size - len, fmt, ap);
	va_end(ap);
}

/* What the nodes that failed said. */
static void append_failures(const struct rotation *r, char *text, size_t size)
{
	const char *divider = "";

	for (uint32_t i = 0; i < r->n; i++) {
		if (r->nodes[i].error != 0 && strlen(text) + 150 < size) {
			append(text, size, "%snode %u: %s", divider, r->nodes[i].pnn, error_text(r->nodes[i].error));
			divider = "; ";
		}
	}
}

static void describe_failure(const struct rotation *r, char *text, size_t size)
{
	text[0] = '\0';
	if (r->retire_only && r->step == STEP_LIST && r->unknown) {
		append(text, size, "no node has the key %s", r->drop[0]);
		return;
	}
	if (r->retire_only) {
		append(text, size, "key %s could not be retired on all nodes (", r->drop[0]);
		append_failures(r, text, size);
		append(text, size, "); see to these nodes, then retire it again");
		return;
	}
	switch (r->step) {
	case STEP_ADD_OWN:
	case STEP_ADD:
		append(text, size, "the new key %s could not be added on all nodes (", r->key.id);
		append_failures(r, text, size);
		append(text, size,
		       "); nothing is lost: the former key is still the one that is used. See to these nodes, then run "
		       "the "
		       "rotation again");
		break;
	case STEP_USE:
	case STEP_USE_OWN:
		append(text, size, "the new key %s is accepted by all nodes, but not all use it (", r->key.id);
		append_failures(r, text, size);
		append(text, size,
		       "); nothing is lost: all keys are accepted. See to these nodes, then run the rotation again");
		break;
	case STEP_LIST:
	case STEP_DROP:
	case STEP_DONE:
		append(text, size, "the new key %s is in use, but former keys could not be retired on all nodes (",
		       r->key.id);
		append_failures(r, text, size);
		append(text, size, "); see to these nodes, then retire them by ctdb cluster key retire");
		break;
	}
}

static void describe_success(const struct rotation *r, char *text, size_t size)
{
	if (r->retire_only) {
		snprintf(text, size, "key %s is not accepted any more by any of the %u nodes", r->drop[0], r->n);
	} else if (r->retire) {
		snprintf(text, size, "all %u nodes use the new key %s and accept no other", r->n, r->key.id);
	} else {
		snprintf(text, size,
			 "all %u nodes use the new key %s; former keys are still accepted until they are retired by "
			 "ctdb cluster key "
			 "retire",
			 r->n, r->key.id);
	}
}

static void rotation_end(struct rotation *r, bool complete)
{
	char text[1000];
	struct key_result result = {.complete = complete, .id = r->retire_only ? r->drop[0] : r->key.id, .text = text};
	struct rpc_call *call = r->call;

	if (complete) {
		describe_success(r, text, sizeof(text));
		log_notice("keys: %s", text);
	} else {
		describe_failure(r, text, sizeof(text));
		log_warning("keys: %s", text);
	}
	result.nodes.n = r->n;
	result.nodes.v = talloc_zero_array(r, struct key_node, r->n);
	for (uint32_t i = 0; result.nodes.v != NULL && i < r->n; i++) {
		result.nodes.v[i] = (struct key_node){.pnn = r->nodes[i].pnn, .error = (uint32_t)r->nodes[i].error};
	}
	if (result.nodes.v == NULL) {
		result.nodes.n = 0;
	}
	r->call = NULL;
	if (r->retire_only) {
		transport_key_retire_reply(call, &result);
	} else {
		transport_key_rotate_reply(call, &result);
	}
	talloc_free(r);
}

/* ---- asking the nodes ---- */

static void node_end(struct rotation_node *node, int error)
{
	struct rotation *r = node->r;

	node->error = error;
	if (error != 0) {
		log_warning("keys: node %u could not %s: %s", node->pnn, step_names[r->step], error_text(error));
	}
	if (--r->waiting == 0) {
		step_end(r);
	}
}

static void node_answered(struct tevent_req *req)
{
	struct rotation_node *node = tevent_req_callback_data_void(req); /* one of an array */
	int error = EINVAL;

	switch (node->r->step) {
	case STEP_ADD_OWN:
	case STEP_ADD:
		error = transport_key_add_recv(req);
		break;
	case STEP_USE:
	case STEP_USE_OWN:
		error = transport_key_use_recv(req);
		break;
	case STEP_LIST:
		error = transport_key_list_recv(req, node->r, &node->list);
		break;
	case STEP_DROP:
		error = transport_key_drop_recv(req);
		break;
	case STEP_DONE:
		break;
	}
	talloc_free(req);
	node_end(node, error);
}

static struct tevent_req *node_request(struct rotation_node *node)
{
	struct rotation *r = node->r;
	struct tevent_context *ev = r->t->d->ev;
	struct key_add_args add;
	const struct key_id use = {.id = r->key.id}, drop = {.id = r->drop[r->next_drop < IDS_MAX ? r->next_drop : 0]};
	struct tevent_req *req = NULL;

	switch (r->step) {
	case STEP_ADD_OWN:
	case STEP_ADD:
		memcpy(add.secret, r->key.secret, sizeof(add.secret));
		req = transport_key_add_send(r, ev, node->client, &add, NODE_TIMEOUT_MS);
		explicit_bzero(&add, sizeof(add));
		break;
	case STEP_USE:
	case STEP_USE_OWN:
		req = transport_key_use_send(r, ev, node->client, &use, NODE_TIMEOUT_MS);
		break;
	case STEP_LIST:
		req = transport_key_list_send(r, ev, node->client, NODE_TIMEOUT_MS);
		break;
	case STEP_DROP:
		req = transport_key_drop_send(r, ev, node->client, &drop, NODE_TIMEOUT_MS);
		break;
	case STEP_DONE:
		break;
	}
	return req;
}

/* The key leaves this node only over a link that nobody can listen to. */
static bool node_is_secure(const struct rotation_node *node)
{
	const struct transport *t = node->r->t;
	struct link_stats stats;

	if (node->pnn == t->d->pnn) {
		return true;
	}
	link_stats(t->mesh, node->pnn, &stats);
	for (uint32_t i = 0; i < stats.n_paths; i++) {
		if (stats.path[i].active && strcmp(stats.path[i].security, "tls") == 0) {
			return true;
		}
	}
	return false;
}

static void node_ask(struct rotation_node *node)
{
	struct rotation *r = node->r;
	struct tevent_req *req;

	if (r->step == STEP_ADD && !node_is_secure(node)) {
		node_end(node, link_is_up(r->t->mesh, node->pnn) ? EPERM : EHOSTUNREACH);
		return;
	}
	req = node_request(node);
	if (req == NULL) {
		node_end(node, ENOMEM);
		return;
	}
	tevent_req_set_callback(req, node_answered, node);
}

/* ---- steps ---- */

static bool takes_part(const struct rotation *r, uint32_t i)
{
	bool own = r->nodes[i].pnn == r->t->d->pnn;

	switch (r->step) {
	case STEP_ADD_OWN:
	case STEP_USE_OWN:
		return own;
	case STEP_ADD:
	case STEP_USE:
		return !own;
	case STEP_LIST:
	case STEP_DROP:
		return true;
	case STEP_DONE:
		break;
	}
	return false;
}

/* The last node that answers may end the rotation: nothing is touched after that. */
static void step_begin(struct rotation *r)
{
	uint32_t left = 0;

	for (uint32_t i = 0; i < r->n; i++) {
		r->nodes[i].error = 0;
		left += takes_part(r, i) ? 1 : 0;
	}
	r->waiting = left;
	if (left == 0) {
		step_end(r);
		return;
	}
	for (uint32_t i = 0; left > 0; i++) {
		if (takes_part(r, i)) {
			left--;
			node_ask(&r->nodes[i]);
		}
	}
}

static void drop_remember(struct rotation *r, const char *id)
{
	for (uint32_t i = 0; i < r->n_drop; i++) {
		if (strcmp(r->drop[i], id) == 0) {
			return;
		}
	}
	if (r->n_drop < IDS_MAX) {
		snprintf(r->drop[r->n_drop++], sizeof(r->drop[0]), "%s", id);
	}
}

/* Another rotation, led by another node, has begun meanwhile: what it added may be offered before it is dropped here,
 * and then the links of some nodes would not come up again. False: a node tells of one. */
static bool lists_settled(struct rotation *r)
{
	bool settled = true;

	for (uint32_t i = 0; i < r->n; i++) {
		const struct key_list *list = &r->nodes[i].list;

		if (list->pending[0] != '\0' || list->keys.n == 0 || strcmp(list->keys.v[0].id, r->key.id) != 0) {
			r->nodes[i].error = EAGAIN;
			settled = false;
		}
	}
	return settled;
}

/* What is to be dropped. Of a single key: false if a node offers it, or none has it. */
static bool lists_look(struct rotation *r)
{
	bool found = false, offered = false;

	if (!r->retire_only && !lists_settled(r)) {
		return false;
	}
	for (uint32_t i = 0; i < r->n; i++) {
		const struct key_list *list = &r->nodes[i].list;

		for (uint32_t k = 0; k < list->keys.n; k++) {
			const char *id = list->keys.v[k].id;

			if (!r->retire_only && strcmp(id, r->key.id) != 0) {
				drop_remember(r, id);
			} else if (r->retire_only && strcmp(id, r->drop[0]) == 0) {
				found = true;
				if (k == 0) {
					r->nodes[i].error = EBUSY;
					offered = true;
				}
			}
		}
	}
	r->unknown = r->retire_only && !found;
	return !r->retire_only || (found && !offered);
}

static enum step next_step(const struct rotation *r)
{
	switch (r->step) {
	case STEP_ADD_OWN:
		return STEP_ADD;
	case STEP_ADD:
		return STEP_USE;
	case STEP_USE:
		return STEP_USE_OWN;
	case STEP_USE_OWN:
		return r->retire ? STEP_LIST : STEP_DONE;
	case STEP_LIST:
	case STEP_DROP:
		return r->next_drop < r->n_drop ? STEP_DROP : STEP_DONE;
	case STEP_DONE:
		break;
	}
	return STEP_DONE;
}

static void step_end(struct rotation *r)
{
	for (uint32_t i = 0; i < r->n; i++) {
		if (r->nodes[i].error != 0) {
			rotation_end(r, false);
			return;
		}
	}
	if (r->step == STEP_LIST && !lists_look(r)) {
		rotation_end(r, false);
		return;
	}
	if (r->step == STEP_DROP) {
		r->next_drop++;
	}
	r->step = next_step(r);
	if (r->step == STEP_DONE) {
		rotation_end(r, true);
		return;
	}
	step_begin(r);
}

/* ---- start ---- */

static int nodes_new(struct rotation *r)
{
	const struct conf_nodes *list = r->t->d->nodes;

	r->nodes = talloc_zero_array(r, struct rotation_node, list->n);
	if (r->nodes == NULL) {
		return ENOMEM;
	}
	for (uint32_t pnn = 0; pnn < list->n; pnn++) {
		const struct msg_addr addr = {.endpoint = "transport", .node = pnn};
		struct rotation_node *node = &r->nodes[r->n];

		if (list->v[pnn].deleted) {
			continue;
		}
		*node = (struct rotation_node){.r = r, .pnn = pnn, .client = msg_client(r, r->t->d->msg, &addr)};
		if (node->client == NULL) {
			return ENOMEM;
		}
		r->n++;
	}
	return 0;
}

/* NULL: the call was answered. */
static struct rotation *rotation_new(struct transport *t, struct rpc_call *call)
{
	struct rotation *r = NULL;
	int ret = t->keys == NULL ? EOPNOTSUPP : t->rotation != NULL ? EBUSY : 0;

	if (ret == 0) {
		r = talloc_zero(t, struct rotation);
		ret = r == NULL ? ENOMEM : 0;
	}
	if (ret == 0) {
		r->t = t;
		ret = nodes_new(r);
	}
	if (ret != 0) {
		talloc_free(r);
		rpc_call_fail(call, ret);
		return NULL;
	}
	r->call = talloc_steal(r, call);
	t->rotation = r;
	talloc_set_destructor(r, rotation_destructor);
	return r;
}

/* One that was begun is gone on with: nodes that have the key already say so. */
static int choose_key(struct rotation *r)
{
	const struct transport *t = r->t;
	const struct cluster_key *pending = t->pending[0] != '\0' ? cluster_keys_find(t->keys, t->pending) : NULL;

	if (pending == NULL) {
		return cluster_key_random(&r->key);
	}
	log_notice("keys: going on with the rotation to %s", pending->id);
	r->key = *pending;
	return 0;
}

void rotate_start(void *priv, struct rpc_call *call, const struct key_rotate_args *arg)
{
	struct rotation *r = rotation_new(priv, call);
	int ret;

	if (r == NULL) {
		return;
	}
	r->retire = arg->retire;
	ret = choose_key(r);
	if (ret != 0) {
		call = talloc_steal(NULL, r->call);
		talloc_free(r);
		rpc_call_fail(call, ret);
		return;
	}
	r->step = STEP_ADD_OWN;
	log_notice("keys: rotation to %s, asked by %s@%u", r->key.id, call->source_endpoint, call->source_node);
	step_begin(r);
}

void rotate_retire(void *priv, struct rpc_call *call, const struct key_id *arg)
{
	struct rotation *r = rotation_new(priv, call);

	if (r == NULL) {
		return;
	}
	r->retire_only = true;
	drop_remember(r, arg->id);
	r->step = STEP_LIST;
	step_begin(r);
}
