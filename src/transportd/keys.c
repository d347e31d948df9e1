/* transportd: the keys of this node: read, changed, in use. */
#include "transport.h"

#include <errno.h>
#include <string.h>

#include "shared/log.h"
#include "shared/msg.h"

#define LANE_TIMEOUT_MS 3000 /* for dbd to say that it uses the keys */

/* One change at a time: to the file, to the own links, to those of dbd, then it is answered. */
struct key_change {
	struct transport *t;
	struct rpc_call *call; /* child of this; NULL: nobody asked */
	void (*reply)(struct rpc_call *call);
	struct cluster_keys *keys;
	char pending[17];
	struct rpc_client *db;
};

static int change_destructor(struct key_change *c)
{
	c->t->change = NULL;
	return 0;
}

static void change_end(struct key_change *c, int ret)
{
	struct rpc_call *call = talloc_steal(NULL, c->call);
	void (*reply)(struct rpc_call *) = c->reply;

	talloc_free(c);
	if (call != NULL && ret != 0) {
		rpc_call_fail(call, ret);
	} else if (call != NULL) {
		reply(call);
	}
}

/* ---- in use ---- */

static void lane_told(struct tevent_req *req)
{
	struct key_change *c = tevent_req_callback_data(req, struct key_change);
	int ret = transport_keys_changed_recv(req);

	talloc_free(req);
	if (ret == ENOENT || ret == ECONNRESET) {
		ret = 0; /* dbd does not run, or ended meanwhile: it reads the file when it starts */
	}
	if (ret != 0) {
		log_error("dbd did not take over the changed keys: %s", strerror(ret));
	}
	change_end(c, ret);
}

static void lane_tell(struct key_change *c)
{
	const struct msg_addr addr = {.endpoint = "db", .node = NODE_SELF};
	struct tevent_req *req = NULL;

	c->db = msg_client(c, c->t->d->msg, &addr);
	if (c->db != NULL) {
		req = transport_keys_changed_send(c, c->t->d->ev, c->db, LANE_TIMEOUT_MS);
	}
	if (req == NULL) {
		change_end(c, ENOMEM);
		return;
	}
	tevent_req_set_callback(req, lane_told, c);
}

static int keys_in_use(struct transport *t, struct cluster_keys *keys)
{
	int ret = link_mesh_set_keys(t->mesh, keys);

	if (ret == 0) {
		talloc_free(t->keys);
		t->keys = talloc_steal(t, keys);
	}
	return ret;
}

static void change_apply(struct key_change *c)
{
	struct transport *t = c->t;
	int ret = keys_in_use(t, c->keys);

	if (ret != 0) {
		change_end(c, ret);
		return;
	}
	memcpy(t->pending, c->pending, sizeof(t->pending));
	log_notice("keys: %u, offered is %s%s%s", t->keys->n, t->keys->v[0].id,
		   t->pending[0] != '\0' ? ", to be offered next is " : "", t->pending);
	lane_tell(c);
}

/* ---- changes ---- */

static void change_written(struct tevent_req *req)
{
	struct key_change *c = tevent_req_callback_data(req, struct key_change);
	int ret = key_file_write_recv(req);

	talloc_free(req);
	if (ret != 0) {
		log_error("%s: cannot be written: %s", c->t->d->conf->transport.key_file, strerror(ret));
		change_end(c, ret);
		return;
	}
	change_apply(c);
}

static void change_write(struct key_change *c)
{
	struct transport *t = c->t;
	struct tevent_req *req;

	req = key_file_write_send(c, t->d->ev, c->keys, t->d->conf->transport.key_file, c->pending, t->pending_path);
	if (req == NULL) {
		change_end(c, ENOMEM);
		return;
	}
	tevent_req_set_callback(req, change_written, c);
}

/* Keys go only where nobody can listen. */
static int may_change(const struct transport *t, const struct rpc_call *call)
{
	struct link_stats stats;

	if (t->keys == NULL) {
		return EOPNOTSUPP;
	}
	if (call->source_node == t->d->pnn) {
		return 0;
	}
	link_stats(t->mesh, call->source_node, &stats);
	for (uint32_t i = 0; i < stats.n_paths; i++) {
		if (stats.path[i].active && strcmp(stats.path[i].security, "tls") == 0) {
			return 0;
		}
	}
	return EPERM;
}

/* Begins with what the file says now, so that a key that was put there by hand is not lost. NULL: the call was
 * answered. */
static struct key_change *change_new(struct transport *t, struct rpc_call *call, void (*reply)(struct rpc_call *))
{
	struct key_change *c = NULL;
	char *err = NULL;
	int ret = may_change(t, call);

	if (ret == 0) {
		c = t->change != NULL ? NULL : talloc_zero(t, struct key_change);
		ret = t->change != NULL ? EAGAIN : c == NULL ? ENOMEM : 0;
	}
	if (ret == 0) {
		*c = (struct key_change){.t = t, .reply = reply};
		ret = cluster_keys_load(c, t->d->conf->transport.key_file, &c->keys, &err);
	}
	if (ret != 0) {
		log_warning("change of keys asked by %s@%u refused: %s", call->source_endpoint, call->source_node,
			    err != NULL ? err : strerror(ret));
		talloc_free(c);
		rpc_call_fail(call, ret);
		return NULL;
	}
	c->call = talloc_steal(c, call);
	memcpy(c->pending, t->pending, sizeof(c->pending));
	t->change = c;
	talloc_set_destructor(c, change_destructor);
	return c;
}

static int key_from_secret(const uint8_t secret[CLUSTER_KEY_BYTES], struct cluster_key *key)
{
	char hex[2 * CLUSTER_KEY_BYTES + 1];
	int ret;

	for (int i = 0; i < CLUSTER_KEY_BYTES; i++) {
		hex[2 * i] = "0123456789abcdef"[secret[i] >> 4];
		hex[2 * i + 1] = "0123456789abcdef"[secret[i] & 15];
	}
	hex[sizeof(hex) - 1] = '\0';
	ret = cluster_key_parse(hex, key);
	explicit_bzero(hex, sizeof(hex));
	return ret;
}

void keys_add(void *priv, struct rpc_call *call, const struct key_add_args *arg)
{
	struct key_change *c = change_new(priv, call, transport_key_add_reply);
	struct cluster_key key;
	int ret;

	if (c == NULL) {
		return;
	}
	ret = key_from_secret(arg->secret, &key);
	if (ret == 0) {
		ret = cluster_keys_add(c->keys, &key);
	}
	if (ret == 0 && strcmp(c->keys->v[0].id, key.id) != 0) {
		memcpy(c->pending, key.id, sizeof(c->pending));
	}
	explicit_bzero(&key, sizeof(key));
	if (ret != 0) {
		change_end(c, ret);
		return;
	}
	change_write(c);
}

void keys_use(void *priv, struct rpc_call *call, const struct key_id *arg)
{
	struct key_change *c = change_new(priv, call, transport_key_use_reply);
	int ret;

	if (c == NULL) {
		return;
	}
	ret = cluster_keys_use(c->keys, arg->id);
	if (ret != 0) {
		change_end(c, ret);
		return;
	}
	if (strcmp(c->pending, arg->id) == 0) {
		c->pending[0] = '\0';
	}
	change_write(c);
}

void keys_drop(void *priv, struct rpc_call *call, const struct key_id *arg)
{
	struct key_change *c = change_new(priv, call, transport_key_drop_reply);
	int ret;

	if (c == NULL) {
		return;
	}
	ret = cluster_keys_drop(c->keys, arg->id);
	if (ret != 0) {
		change_end(c, ret == ENOENT ? 0 : ret);
		return;
	}
	if (strcmp(c->pending, arg->id) == 0) {
		c->pending[0] = '\0';
	}
	change_write(c);
}

void keys_list(void *priv, struct rpc_call *call)
{
	const struct transport *t = priv;
	struct key_list list = {.pending = (char *)(uintptr_t)t->pending};
	struct key_id ids[CLUSTER_KEYS_MAX];

	if (t->keys == NULL) {
		rpc_call_fail(call, EOPNOTSUPP);
		return;
	}
	for (uint32_t i = 0; i < t->keys->n; i++) {
		ids[i].id = t->keys->v[i].id;
	}
	list.keys.n = t->keys->n;
	list.keys.v = ids;
	transport_key_list_reply(call, &list);
}

/* ---- start, reload ---- */

int keys_start(struct transport *t, char **err)
{
	const struct conf *conf = t->d->conf;
	int ret;

	if (conf->transport.security == CONF_SECURITY_NONE) {
		log_warning(
			"security = none in [transport]: links between nodes are neither encrypted nor authenticated");
		return 0;
	}
	t->pending_path = talloc_asprintf(t, "%s/key-pending.%u", conf->path.db_state, t->d->pnn);
	if (t->pending_path == NULL) {
		return ENOMEM;
	}
	ret = cluster_keys_load(t, conf->transport.key_file, &t->keys, err);
	if (ret != 0) {
		return ret;
	}
	key_file_pending(t->pending_path, t->pending);
	if (cluster_keys_find(t->keys, t->pending) == NULL || strcmp(t->keys->v[0].id, t->pending) == 0) {
		t->pending[0] = '\0';
	}
	return 0;
}

void keys_reload(struct transport *t)
{
	struct key_change *c;
	char *err = NULL;

	if (t->keys == NULL || t->change != NULL) {
		return;
	}
	c = talloc_zero(t, struct key_change);
	if (c == NULL) {
		return;
	}
	*c = (struct key_change){.t = t};
	memcpy(c->pending, t->pending, sizeof(c->pending));
	if (cluster_keys_load(c, t->d->conf->transport.key_file, &c->keys, &err) != 0) {
		log_error("the keys stay as they were: %s", err);
		talloc_free(c);
		return;
	}
	t->change = c;
	talloc_set_destructor(c, change_destructor);
	change_apply(c);
}
