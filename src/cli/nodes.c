/* Nodes as text. */
#include <arpa/inet.h>
#include <string.h>

#include "cli.h"

const char *node_address(const struct ctdb_node *n)
{
	static char text[INET6_ADDRSTRLEN];

	switch (n->addr.sa.sa_family) {
	case AF_INET:
		return inet_ntop(AF_INET, &n->addr.in.sin_addr, text, sizeof(text));
	case AF_INET6:
		return inet_ntop(AF_INET6, &n->addr.in6.sin6_addr, text, sizeof(text));
	default:
		return "?";
	}
}

static const struct {
	uint32_t mask;
	const char *name;
} flag_names[] = {
	{CTDB_NODE_DISCONNECTED, "DISCONNECTED"}, {CTDB_NODE_DISABLED, "DISABLED"}, {CTDB_NODE_BANNED, "BANNED"},
	{CTDB_NODE_UNHEALTHY, "UNHEALTHY"},       {CTDB_NODE_DELETED, "DELETED"},   {CTDB_NODE_STOPPED, "STOPPED"},
	{CTDB_NODE_INACTIVE, "INACTIVE"},
};
#define N_FLAG_NAMES (sizeof(flag_names) / sizeof(flag_names[0]))

json_t *node_flags_json(uint32_t flags)
{
	json_t *words = output_check(json_array());
	size_t i;

	for (i = 0; i < N_FLAG_NAMES; i++) {
		if ((flags & flag_names[i].mask) != 0) {
			json_array_append_new(words, json_string(flag_names[i].name));
		}
	}
	return words;
}

const char *node_flags_text(uint32_t flags, bool unknown, bool partially)
{
	static char text[128];
	size_t i;

	if (unknown) {
		return "UNKNOWN";
	}
	if (flags == 0) {
		return partially ? "PARTIALLYONLINE" : "OK";
	}
	text[0] = '\0';
	for (i = 0; i < N_FLAG_NAMES; i++) {
		if ((flags & flag_names[i].mask) != 0) {
			size_t len = strlen(text);

			snprintf(text + len, sizeof(text) - len, "%s%s", len > 0 ? "|" : "", flag_names[i].name);
		}
	}
	return text;
}

bool node_is_partially_online(struct cli *cli, const struct ctdb_node *n)
{
	struct ctdb_iface_list *list = NULL;
	bool down = false;
	uint32_t i;

	if (n->flags != 0 || ctdb_get_ifaces(cli->c, n->pnn, cli->c, &list) != 0) {
		return false; /* also a daemon that knows nothing of interfaces */
	}
	for (i = 0; i < list->n; i++) {
		down = down || !list->ifaces[i].up;
	}
	talloc_free(list);
	return down;
}
