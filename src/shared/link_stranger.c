/*
 * Links: nodes whose address is in no nodes list any more. Such a connection has a path and a peer of its own, that
 * belong to nobody. From a known address the same question may come: the answer to the first one was lost.
 */
#include "shared/link_private.h"

#include <stdio.h>
#include <sys/socket.h>

#include "shared/log.h"

/* ---- beginning ---- */

static unsigned link_strangers(const struct link_mesh *mesh)
{
	unsigned n = 0;

	dlist_for_each(pos, &mesh->new)
	{
		n += dlist_entry(pos, struct link_conn, entry)->stranger != NULL;
	}
	return n;
}

/* At a time, and in a second: a handshake costs something, so there are no more of them than nodes that may move. */
static bool link_stranger_welcome(struct link_mesh *mesh)
{
	struct mono now = mono_now();

	if (mesh->tls == NULL || mesh->ops->moved == NULL || mesh->n_new >= LINK_NEW_MAX ||
	    link_strangers(mesh) >= LINK_STRANGERS) {
		return false;
	}
	if (!mono_is_set(mesh->strangers_until) || !mono_before(now, mesh->strangers_until)) {
		mesh->strangers_until = mono_add_ms(now, 1000);
		mesh->strangers = 0;
	}
	return mesh->strangers++ < LINK_STRANGERS_PER_S;
}

struct link_path *link_stranger_path(struct link_mesh *mesh, uint32_t own, const struct sockaddr_storage *addr)
{
	struct link_peer *peer;
	struct link_path *path;
	char text[64];

	if (!link_stranger_welcome(mesh)) {
		return NULL;
	}
	link_address_text(addr, text);
	peer = talloc_zero(mesh, struct link_peer);
	path = peer == NULL ? NULL : talloc_zero(peer, struct link_path);
	if (path == NULL || (path->text = talloc_strdup(path, text)) == NULL) {
		talloc_free(peer);
		return NULL;
	}
	peer->mesh = mesh;
	peer->pnn = UINT32_MAX;
	peer->path[0] = path;
	path->peer = peer;
	path->own = own;
	path->addr = *addr;
	return path;
}

/* ---- the question ---- */

/* As it would be written: nothing around it, which would come into logs. */
static bool link_address_plain(const struct conf_node *node, const char *text)
{
	char plain[128];

	snprintf(plain, sizeof(plain), "%s%s%s", node->texts[0], node->n_addrs > 1 ? "," : "",
		 node->n_addrs > 1 ? node->texts[1] : "");
	return strcmp(plain, text) == 0;
}

/* Who could name any address could take one away from others, or behind address translation be found by nobody. */
static bool link_moved_from(const struct link_conn *conn, const struct link_moved *moved, char *why, size_t room)
{
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	TALLOC_CTX *tmp = talloc_new(conn);
	struct conf_nodes *line = NULL;
	char *err = NULL, text[64];
	bool same = false;

	if (tmp == NULL || getpeername(conn->fd, (struct sockaddr *)&from, &len) != 0 ||
	    conf_nodes_parse(tmp, "address", moved->address, &line, &err) != 0 || line->n != 1 ||
	    !link_address_plain(&line->v[0], moved->address)) {
		snprintf(why, room, "its new address is not one: %.100s", err != NULL ? err : "");
		talloc_free(tmp);
		return false;
	}
	for (uint32_t i = 0; !line->v[0].deleted && i < line->v[0].n_addrs; i++) {
		same |= link_same_address(&line->v[0].addrs[i], &from);
	}
	link_address_text(&from, text);
	if (!same) {
		snprintf(why, room,
			 "it connects from %s, but says that its address is %.127s: set node address in [cluster] "
			 "there; "
			 "addresses must not be translated between nodes",
			 text, moved->address);
	}
	talloc_free(tmp);
	return same;
}

static int link_list_queue(struct link_conn *conn, const struct link_list *list)
{
	struct ctdb_blob blob;
	struct iovec part;
	int ret = link_list_encode(conn, list, &blob);

	if (ret != 0) {
		return ret;
	}
	part = (struct iovec){.iov_base = blob.data, .iov_len = blob.len};
	ret = link_out_append(conn, LINK_FRAME_LIST, &part, 1, blob.len);
	talloc_free(blob.data);
	return ret;
}

static void link_moved_reply(struct link_conn *conn, const struct link_list *list)
{
	/* It closes the connection when it has read that. */
	conn->asked = LINK_ASKED_ANSWERED;
	conn->deadline = mono_add_ms(mono_now(), LINK_NEW_MS);
	link_wake_at(conn->mesh, conn->deadline);
	if (link_list_queue(conn, list) != 0) {
		conn->asked = LINK_ASKED_WAITING;
		link_conn_end(conn, true, ENOMEM, "out of memory");
	}
}

void link_moved_frame(struct link_conn *conn, const uint8_t *data, size_t len)
{
	struct link_mesh *mesh = conn->mesh;
	struct link_moved moved;
	char room[LINK_MOVED_VIEW_ROOM], why[400], empty[] = "";

	if (mesh->tls == NULL || mesh->ops->moved == NULL || link_moved_view_at(data, len, &moved, room) != 0 ||
	    moved.magic != LINK_MAGIC) {
		link_conn_end(conn, true, EBADMSG, "malformed frame MOVED");
		return;
	}
	conn->asked = LINK_ASKED_WAITING;
	conn->deadline = mono_add_ms(mono_now(), LINK_MOVED_MS);
	if (!link_moved_from(conn, &moved, why, sizeof(why))) {
		log_ratelimited(LOG_LVL_WARNING, 10000, "%s: %s says it is node %u: refused: %s", mesh->config.name,
				conn->path->text, moved.pnn, why);
		link_moved_reply(conn, &(struct link_list){.result = LINK_MOVED_REFUSED, .text = why, .nodes = empty});
		return;
	}
	conn->token = ++mesh->tokens;
	mesh->ops->moved(mesh->priv, conn->token, &moved);
}

/* ---- the answer ---- */

void link_moved_answer(struct link_mesh *mesh, uint64_t token, const struct link_list *list)
{
	dlist_for_each(pos, &mesh->new)
	{
		struct link_conn *conn = dlist_entry(pos, struct link_conn, entry);

		if (conn->asked == LINK_ASKED_WAITING && conn->token == token) {
			link_moved_reply(conn, list);
			return;
		}
	}
}
