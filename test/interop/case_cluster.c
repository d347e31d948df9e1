/* Cases: connecting, and what a node tells about itself and the cluster. */
#include "suite.h"

#include <signal.h>

static void case_connect(const struct suite *s)
{
	for (unsigned int i = 0; i < s->n_nodes; i++) {
		struct peer *p = suite_connect(s, i);

		CHECK(ctdb_client_is_connected(p->c), "node %u", i);
		CHECK(ctdb_client_error(p->c)[0] == '\0', "%s", ctdb_client_error(p->c));
		talloc_free(p);
	}
	CHECK(ctdb_api_version()[0] != '\0', "no version");
}

static void case_connect_default_socket(const struct suite *s)
{
	struct peer *p = NULL;
	struct suite by_default = {.n_nodes = 1, .sockets = {NULL}, .async = s->async};
	char *path;

	CHECK(setenv("CTDB_SOCKET", s->sockets[0], 1) == 0, "setenv");
	path = ctdb_default_socket(NULL);
	CHECK(path != NULL && strcmp(path, s->sockets[0]) == 0, "%s", path);
	talloc_free(path);
	p = suite_connect(&by_default, 0);
	CHECK(p->pnn == 0, "%u", p->pnn);
	talloc_free(p);
}

static void case_pnn(const struct suite *s)
{
	for (unsigned int i = 0; i < s->n_nodes; i++) {
		struct peer *p = suite_connect(s, i);
		struct ctdb_control k = {.node = CTDB_NODE_CURRENT, .opcode = CTDB_CONTROL_GET_PNN};
		struct ctdb_control_reply *r = NULL;

		CHECK(p->pnn == i, "node %u says that it is %u", i, p->pnn);
		CHECK_OK(p, p_control(p, &k, &r));
		CHECK(r->status == (int32_t)i, "%d", r->status);
		talloc_free(p);
	}
}

static void case_nodemap(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);

	for (unsigned int i = 0; i < s->n_nodes; i++) {
		struct ctdb_nodemap *map = NULL;

		CHECK_OK(p, BOTH(p, ctdb_get_nodemap(p->c, i, p, &map), ctdb_get_nodemap_send(p, p->c, i),
				 ctdb_get_nodemap_recv(req, p, &map)));
		CHECK(map->n == s->n_nodes, "%u nodes", map->n);
		for (unsigned int n = 0; n < map->n; n++) {
			CHECK(map->nodes[n].pnn == n, "%u", map->nodes[n].pnn);
			CHECK(map->nodes[n].addr.sa.sa_family == AF_INET, "%d", map->nodes[n].addr.sa.sa_family);
			CHECK((map->nodes[n].flags & CTDB_NODE_INACTIVE) == 0, "flags %#x", map->nodes[n].flags);
		}
	}
	talloc_free(p);
}

static void case_vnnmap(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);
	struct ctdb_vnnmap *first = NULL, *map = NULL;
	unsigned int used = 0;

	for (unsigned int i = 0; i < s->n_nodes; i++) {
		CHECK_OK(p, BOTH(p, ctdb_get_vnnmap(p->c, i, p, &map), ctdb_get_vnnmap_send(p, p->c, i),
				 ctdb_get_vnnmap_recv(req, p, &map)));
		CHECK(map->generation != 0 && map->generation != CTDB_GENERATION_INVALID, "%u", map->generation);
		CHECK(map->size >= s->n_nodes, "%u slots", map->size);
		first = first != NULL ? first : map;
		CHECK(map->generation == first->generation && map->size == first->size &&
			      memcmp(map->map, first->map, map->size * sizeof(map->map[0])) == 0,
		      "node %u has another map than node 0", i);
	}
	for (unsigned int n = 0; n < first->size; n++) {
		CHECK(first->map[n] < s->n_nodes, "slot %u belongs to %u", n, first->map[n]);
		used |= 1U << first->map[n];
	}
	CHECK(used == (1U << s->n_nodes) - 1, "nodes %#x have slots", used);
	CHECK(ctdb_key_hash("abc", 3) == ctdb_key_hash("abc", 3) && ctdb_key_hash("abc", 3) != ctdb_key_hash("abd", 3),
	      "hash");
	talloc_free(p);
}

static void case_states(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);

	for (unsigned int i = 0; i < s->n_nodes; i++) {
		enum ctdb_recmode mode = CTDB_RECMODE_ACTIVE;
		enum ctdb_runstate state = CTDB_RUNSTATE_UNKNOWN;
		struct ctdb_uptime up;
		pid_t pid = 0;

		CHECK_OK(p, BOTH(p, ctdb_get_recmode(p->c, i, &mode), ctdb_get_recmode_send(p, p->c, i),
				 ctdb_get_recmode_recv(req, &mode)));
		CHECK(mode == CTDB_RECMODE_NORMAL, "%d", mode);
		CHECK_OK(p, BOTH(p, ctdb_get_runstate(p->c, i, &state), ctdb_get_runstate_send(p, p->c, i),
				 ctdb_get_runstate_recv(req, &state)));
		CHECK(state == CTDB_RUNSTATE_RUNNING, "%s", ctdb_runstate_name(state));
		CHECK_OK(p, BOTH(p, ctdb_get_uptime(p->c, i, &up), ctdb_get_uptime_send(p, p->c, i),
				 ctdb_get_uptime_recv(req, &up)));
		CHECK(up.started.tv_sec > 0 && up.now.tv_sec >= up.started.tv_sec, "started %ld, now %ld",
		      (long)up.started.tv_sec, (long)up.now.tv_sec);
		CHECK_OK(p, BOTH(p, ctdb_get_pid(p->c, i, &pid), ctdb_get_pid_send(p, p->c, i),
				 ctdb_get_pid_recv(req, &pid)));
		CHECK(pid > 1 && kill(pid, 0) == 0, "pid %d", (int)pid);
	}
	CHECK(strcmp(ctdb_runstate_name(CTDB_RUNSTATE_RUNNING), "RUNNING") == 0, "name");
	talloc_free(p);
}

static void case_leader(const struct suite *s)
{
	uint32_t first = CTDB_NODE_UNKNOWN;

	for (unsigned int i = 0; i < s->n_nodes; i++) {
		struct peer *p = suite_connect(s, i);
		uint32_t pnn = CTDB_NODE_UNKNOWN;

		CHECK_OK(p, BOTH(p, ctdb_get_leader(p->c, &pnn), ctdb_get_leader_send(p, p->c),
				 ctdb_get_leader_recv(req, &pnn)));
		CHECK(pnn < s->n_nodes && (i == 0 || pnn == first), "node %u follows %u", i, pnn);
		first = pnn;
		talloc_free(p);
	}
}

static void case_ifaces(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);
	struct ctdb_iface_list *list = NULL;

	CHECK_OK(p, BOTH(p, ctdb_get_ifaces(p->c, CTDB_NODE_CURRENT, p, &list),
			 ctdb_get_ifaces_send(p, p->c, CTDB_NODE_CURRENT), ctdb_get_ifaces_recv(req, p, &list)));
	CHECK(list->n == 0, "no public address is configured, but %u interfaces are watched", list->n);
	talloc_free(p);
}

static void case_disconnected_node(const struct suite *s)
{
	struct peer *p = suite_connect(s, 0);
	struct ctdb_nodemap *map = NULL;
	pid_t pid = 0;
	int err;

	err = BOTH(p, ctdb_get_nodemap(p->c, 7, p, &map), ctdb_get_nodemap_send(p, p->c, 7),
		   ctdb_get_nodemap_recv(req, p, &map));
	CHECK(err != 0 && map == NULL, "a node that does not exist answered");
	CHECK(err == EHOSTUNREACH, "%s", strerror(err));
	CHECK(ctdb_client_error(p->c)[0] != '\0', "no text");
	CHECK_OK(p, BOTH(p, ctdb_get_pid(p->c, CTDB_NODE_CURRENT, &pid), ctdb_get_pid_send(p, p->c, CTDB_NODE_CURRENT),
			 ctdb_get_pid_recv(req, &pid)));
	talloc_free(p);
}

const struct suite_case cluster_cases[] = {
	{"connect", 1, case_connect},
	{"connect_default_socket", 1, case_connect_default_socket},
	{"pnn", 1, case_pnn},
	{"nodemap", 1, case_nodemap},
	{"vnnmap", 1, case_vnnmap},
	{"states", 1, case_states},
	{"leader", 1, case_leader},
	{"ifaces", 1, case_ifaces},
	{"disconnected_node", 1, case_disconnected_node},
	{NULL},
};
