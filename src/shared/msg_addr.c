/* Message library: names of endpoints and of nodes as text. */
#include "shared/msg_private.h"

#include <stdio.h>

#define MSG_MAX_PNN 0xFFFFFFU

static const struct {
	const char *name;
	uint32_t node;
} msg_node_names[] = {
	{"self", NODE_SELF},
	{"all", NODE_GROUP_ALL},
	{"connected", NODE_GROUP_CONNECTED},
	{"active", NODE_GROUP_ACTIVE},
};

#define MSG_N_NODE_NAMES (sizeof(msg_node_names) / sizeof(msg_node_names[0]))

static const char *msg_label_end(const char *s)
{
	const char *start = s;

	while ((*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9') || *s == '-') {
		s++;
	}
	return s > start && s - start <= 31 ? s : NULL;
}

bool msg_endpoint_valid(const char *endpoint)
{
	const char *s = msg_label_end(endpoint);

	if (s != NULL && *s == '.') {
		s = msg_label_end(s + 1);
	}
	return s != NULL && *s == '\0';
}

bool msg_node_is_group(uint32_t node)
{
	return node >= NODE_GROUP_ALL && node <= NODE_GROUP_ACTIVE;
}

/* Plain decimal digits: no sign, no space, no leading zero. */
static int msg_pnn_parse(const char *text, uint32_t *node)
{
	uint32_t v = 0;
	const char *s;

	if (*text == '\0' || (text[0] == '0' && text[1] != '\0')) {
		return EINVAL;
	}
	for (s = text; *s != '\0'; s++) {
		if (*s < '0' || *s > '9') {
			return EINVAL;
		}
		v = v * 10 + (uint32_t)(*s - '0');
		if (v > MSG_MAX_PNN) {
			return EINVAL;
		}
	}
	*node = v;
	return 0;
}

static int msg_node_parse(const char *text, uint32_t *node)
{
	size_t i;

	for (i = 0; i < MSG_N_NODE_NAMES; i++) {
		if (strcmp(text, msg_node_names[i].name) == 0) {
			*node = msg_node_names[i].node;
			return 0;
		}
	}
	return msg_pnn_parse(text, node);
}

int msg_addr_parse(const char *text, struct msg_addr *addr)
{
	const char *at = strchr(text, '@');
	struct msg_addr a = {.node = NODE_UNKNOWN};

	if (at == NULL || (size_t)(at - text) >= sizeof(a.endpoint)) {
		return EINVAL;
	}
	memcpy(a.endpoint, text, (size_t)(at - text));
	if (!msg_endpoint_valid(a.endpoint) || msg_node_parse(at + 1, &a.node) != 0) {
		return EINVAL;
	}
	*addr = a;
	return 0;
}

char *msg_addr_text(TALLOC_CTX *mem, const struct msg_addr *addr)
{
	size_t i;

	for (i = 0; i < MSG_N_NODE_NAMES; i++) {
		if (addr->node == msg_node_names[i].node) {
			return talloc_asprintf(mem, "%s@%s", addr->endpoint, msg_node_names[i].name);
		}
	}
	if (addr->node > MSG_MAX_PNN) {
		return talloc_asprintf(mem, "%s@unknown", addr->endpoint);
	}
	return talloc_asprintf(mem, "%s@%u", addr->endpoint, addr->node);
}
