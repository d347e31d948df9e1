/* The nodes file: who is in the cluster, and which entry is this node. */
#include "shared/conf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <string.h>

#include "shared/conf_ini.h"

static const char *const what_to_do = "write one address per line, the same file on all nodes";

static bool parse_address(const char *text, struct sockaddr_storage *addr)
{
	struct sockaddr_in *in = (struct sockaddr_in *)addr;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)addr;

	memset(addr, 0, sizeof(*addr));
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		addr->ss_family = AF_INET;
		return true;
	}
	if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		addr->ss_family = AF_INET6;
		return true;
	}
	return false;
}

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	if (a->ss_family != b->ss_family) {
		return false;
	}
	if (a->ss_family == AF_INET) {
		const struct sockaddr_in *x = (const struct sockaddr_in *)a, *y = (const struct sockaddr_in *)b;

		return x->sin_addr.s_addr == y->sin_addr.s_addr;
	}
	return memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr, &((const struct sockaddr_in6 *)b)->sin6_addr,
		      sizeof(struct in6_addr)) == 0;
}

/* An address that can be that of a node: no wildcard, no multicast, no IPv4 in IPv6 (it would be the same node twice).
 */
static bool usable_address(const struct sockaddr_storage *addr)
{
	if (addr->ss_family == AF_INET) {
		uint32_t a = ntohl(((const struct sockaddr_in *)addr)->sin_addr.s_addr);

		return a >> 24 != 0 && a >> 28 < 14;
	}
	const struct in6_addr *a6 = &((const struct sockaddr_in6 *)addr)->sin6_addr;

	return !IN6_IS_ADDR_UNSPECIFIED(a6) && !IN6_IS_ADDR_MULTICAST(a6) && !IN6_IS_ADDR_V4MAPPED(a6);
}

static char *canonical(TALLOC_CTX *mem, const struct sockaddr_storage *addr)
{
	char buf[INET6_ADDRSTRLEN];
	const void *a = addr->ss_family == AF_INET ? (const void *)&((const struct sockaddr_in *)addr)->sin_addr
						   : (const void *)&((const struct sockaddr_in6 *)addr)->sin6_addr;

	return inet_ntop(addr->ss_family, a, buf, sizeof(buf)) == NULL ? NULL : talloc_strdup(mem, buf);
}

struct parser {
	struct conf_nodes *nodes;
	const char *path;
	unsigned *line_of; /* by pnn */
};

/* "A" or "A,B". 0; EINVAL: *bad is what is no address, or NULL if there are too many. text is cut into pieces. */
static int parse_addresses(char *text, struct conf_node *node, const char **bad)
{
	char *next;

	*bad = NULL;
	for (char *s = text; s != NULL; s = next) {
		size_t len;

		next = strchr(s, ',');
		if (next != NULL) {
			*next++ = '\0';
		}
		s += strspn(s, " \t");
		len = strlen(s);
		while (len > 0 && strchr(" \t", s[len - 1]) != NULL) {
			s[--len] = '\0';
		}
		if (node->n_addrs == CONF_NODE_ADDRS) {
			return EINVAL;
		}
		if (!parse_address(s, &node->addrs[node->n_addrs])) {
			*bad = s;
			return EINVAL;
		}
		node->n_addrs++;
	}
	return 0;
}

/* "#10.0.0.3": a deleted node. "# words": one as well, since all who read this file by the established rule count it
 * so. */
static int parse_deleted(struct parser *p, char *text, unsigned line, struct conf_node *node)
{
	const char *bad;
	char *notice;

	text += strspn(text, "# \t");
	if (parse_addresses(text, node, &bad) == 0) {
		node->deleted = true;
		return 0;
	}
	*node = (struct conf_node){.deleted = true, .n_addrs = 1};
	parse_address("0.0.0.0", &node->addrs[0]);
	notice = talloc_asprintf(
		p->nodes,
		"%s:%u: this comment counts as a deleted node and takes node number %u: the nodes file has no "
		"other comments",
		p->path, line, p->nodes->n);
	if (p->nodes->notice == NULL) {
		p->nodes->notice = notice;
	}
	return notice == NULL ? ENOMEM : 0;
}

/* The line of a live node that has the address, 0 if there is none. */
static unsigned line_with(const struct parser *p, const struct sockaddr_storage *addr)
{
	const struct conf_nodes *nodes = p->nodes;

	for (uint32_t i = 0; i < nodes->n; i++) {
		for (uint32_t k = 0; !nodes->v[i].deleted && k < nodes->v[i].n_addrs; k++) {
			if (same_address(&nodes->v[i].addrs[k], addr)) {
				return p->line_of[i];
			}
		}
	}
	return 0;
}

static int check_address(const struct parser *p, const struct conf_node *node, uint32_t k, unsigned line, char **err)
{
	const struct sockaddr_storage *addr = &node->addrs[k];
	char *text = canonical(p->nodes, addr);
	unsigned other;

	if (text == NULL) {
		return ENOMEM;
	}
	if (!usable_address(addr)) {
		*err = talloc_asprintf(p->nodes, "%s:%u: \"%s\" cannot be the address of a node", p->path, line, text);
		return EINVAL;
	}
	if (k > 0 && same_address(&node->addrs[0], addr)) {
		*err = talloc_asprintf(p->nodes,
				       "%s:%u: address %s is twice in this line: give another one, or only one",
				       p->path, line, text);
		return EINVAL;
	}
	other = line_with(p, addr);
	if (other != 0) {
		*err = talloc_asprintf(p->nodes, "%s:%u: address %s is already in line %u: each address once", p->path,
				       line, text, other);
		return EINVAL;
	}
	return 0;
}

static int parse_live(struct parser *p, char *text, unsigned line, struct conf_node *node, char **err)
{
	const char *bad;
	int ret = parse_addresses(text, node, &bad);

	if (ret != 0 && bad == NULL) {
		*err = talloc_asprintf(p->nodes, "%s:%u: more than %u addresses of one node are not possible", p->path,
				       line, CONF_NODE_ADDRS);
	} else if (ret != 0) {
		*err = talloc_asprintf(p->nodes, "%s:%u: \"%s\" is not an IPv4 or IPv6 address: %s", p->path, line, bad,
				       what_to_do);
	}
	for (uint32_t k = 0; ret == 0 && k < node->n_addrs; k++) {
		ret = check_address(p, node, k, line, err);
	}
	return ret;
}

static int name_addresses(TALLOC_CTX *mem, struct conf_node *node)
{
	for (uint32_t k = 0; k < node->n_addrs; k++) {
		node->texts[k] = canonical(mem, &node->addrs[k]);
		if (node->texts[k] == NULL) {
			return ENOMEM;
		}
	}
	node->addr = node->addrs[0];
	node->text = node->texts[0];
	return 0;
}

static int parse_line(struct parser *p, char *text, unsigned line, char **err)
{
	struct conf_nodes *nodes = p->nodes;
	struct conf_node node = {.deleted = false};
	int ret;

	if (nodes->n == CONF_NODES_MAX) {
		*err = talloc_asprintf(nodes, "%s:%u: more than %u nodes are not possible: remove the rest", p->path,
				       line, CONF_NODES_MAX);
		return EINVAL;
	}
	ret = text[0] == '#' ? parse_deleted(p, text, line, &node) : parse_live(p, text, line, &node, err);
	if (ret != 0) {
		return ret;
	}
	nodes->v = talloc_realloc(nodes, nodes->v, struct conf_node, nodes->n + 1);
	p->line_of = talloc_realloc(nodes, p->line_of, unsigned, nodes->n + 1);
	if (nodes->v == NULL || p->line_of == NULL || name_addresses(nodes, &node) != 0) {
		return ENOMEM;
	}
	p->line_of[nodes->n] = line;
	nodes->v[nodes->n++] = node;
	return 0;
}

static int parse_text(struct parser *p, char *text, char **err)
{
	unsigned line = 0;
	char *next;
	int ret;

	for (char *s = text; s != NULL; s = next) {
		size_t len;

		next = strchr(s, '\n');
		if (next != NULL) {
			*next++ = '\0';
		}
		line++;
		s += strspn(s, " \t\r");
		len = strlen(s);
		while (len > 0 && strchr(" \t\r", s[len - 1]) != NULL) {
			s[--len] = '\0';
		}
		ret = len == 0 ? 0 : parse_line(p, s, line, err);
		if (ret != 0) {
			return ret;
		}
	}
	for (uint32_t i = 0; i < p->nodes->n; i++) {
		if (!p->nodes->v[i].deleted) {
			return 0;
		}
	}
	*err = talloc_asprintf(p->nodes, "%s: holds no node: %s", p->path, what_to_do);
	return EINVAL;
}

int conf_nodes_parse(TALLOC_CTX *mem, const char *name, const char *text, struct conf_nodes **nodes, char **err)
{
	struct parser p = {.path = name, .nodes = talloc_zero(mem, struct conf_nodes)};
	char *copy = p.nodes == NULL ? NULL : talloc_strdup(p.nodes, text), *why = NULL;
	int ret = copy == NULL ? ENOMEM : parse_text(&p, copy, &why);

	if (ret != 0) {
		*err = talloc_strdup(mem, why != NULL ? why : strerror(ret));
		talloc_free(p.nodes);
		return ret;
	}
	talloc_free(copy);
	TALLOC_FREE(p.line_of);
	*nodes = p.nodes;
	return 0;
}

int conf_nodes_text(TALLOC_CTX *mem, const char *path, char **text, char **err)
{
	int ret = conf_slurp(mem, path, text, err);

	if (ret == ENOENT) {
		talloc_free(*err);
		*err = talloc_asprintf(mem, "%s: does not exist: %s", path, what_to_do);
	}
	return ret;
}

int conf_nodes_load(TALLOC_CTX *mem, const char *path, struct conf_nodes **nodes, char **err)
{
	char *text;
	int ret = conf_nodes_text(mem, path, &text, err);

	if (ret == 0) {
		ret = conf_nodes_parse(mem, path, text, nodes, err);
		talloc_free(text);
	}
	return ret;
}

static bool on_interface(const struct ifaddrs *list, const struct sockaddr_storage *addr)
{
	for (const struct ifaddrs *i = list; i != NULL; i = i->ifa_next) {
		struct sockaddr_storage have = {0};

		if (i->ifa_addr == NULL) {
			continue;
		}
		if (i->ifa_addr->sa_family == AF_INET) {
			memcpy(&have, i->ifa_addr, sizeof(struct sockaddr_in));
		} else if (i->ifa_addr->sa_family == AF_INET6) {
			memcpy(&have, i->ifa_addr, sizeof(struct sockaddr_in6));
		} else {
			continue;
		}
		if (same_address(&have, addr)) {
			return true;
		}
	}
	return false;
}

static bool any_on_interface(const struct ifaddrs *list, const struct conf_node *node)
{
	for (uint32_t k = 0; k < node->n_addrs; k++) {
		if (on_interface(list, &node->addrs[k])) {
			return true;
		}
	}
	return false;
}

static bool has_address(const struct conf_node *node, const struct sockaddr_storage *addr)
{
	for (uint32_t k = 0; k < node->n_addrs; k++) {
		if (same_address(&node->addrs[k], addr)) {
			return true;
		}
	}
	return false;
}

static int self_by_interface(TALLOC_CTX *mem, const struct conf *conf, const struct conf_nodes *nodes, uint32_t *pnn,
			     char **err)
{
	struct ifaddrs *list;
	uint32_t found = 0, n_found = 0, second = 0;

	if (getifaddrs(&list) != 0) {
		int ret = errno;

		*err = talloc_asprintf(mem, "cannot list the addresses of this machine: %s", strerror(ret));
		return ret;
	}
	for (uint32_t i = 0; i < nodes->n; i++) {
		if (!nodes->v[i].deleted && any_on_interface(list, &nodes->v[i])) {
			*(n_found == 0 ? &found : &second) = i;
			n_found++;
		}
	}
	freeifaddrs(list);
	if (n_found == 1) {
		*pnn = found;
		return 0;
	}
	if (n_found == 0) {
		*err = talloc_asprintf(mem,
				       "%s: none of its addresses is on an interface of this machine: configure the "
				       "address, or set node address in [cluster] of %s",
				       conf->path.nodes, conf->path.config);
	} else {
		*err = talloc_asprintf(
			mem,
			"%s: %u of its nodes have addresses on interfaces of this machine (%s, %s): set node "
			"address in [cluster] of %s",
			conf->path.nodes, n_found, nodes->v[found].text, nodes->v[second].text, conf->path.config);
	}
	return n_found == 0 ? ENOENT : ENOTUNIQ;
}

int conf_nodes_self(TALLOC_CTX *mem, const struct conf *conf, const struct conf_nodes *nodes, uint32_t *pnn, char **err)
{
	struct sockaddr_storage want;

	if (conf->cluster.node_address == NULL) {
		return self_by_interface(mem, conf, nodes, pnn, err);
	}
	for (uint32_t i = 0; parse_address(conf->cluster.node_address, &want) && i < nodes->n; i++) {
		if (!nodes->v[i].deleted && has_address(&nodes->v[i], &want)) {
			*pnn = i;
			return 0;
		}
	}
	*err = talloc_asprintf(
		mem, "%s: the node address %s of [cluster] in %s is not in it: add it, or correct node address",
		conf->path.nodes, conf->cluster.node_address, conf->path.config);
	return ENOENT;
}
