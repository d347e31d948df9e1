/* Payloads as bytes: nodes, maps, addresses, interfaces. */
#include "internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

#include <ctdb/wire.h>

#include "protocol/classic_native.h"

static int decoded(int err)
{
	return err == 0 || err == ENOMEM ? err : EBADMSG;
}

static int encoded(int err, struct ctdb_blob blob, struct ctdb_data *out)
{
	if (err == 0) {
		*out = data_of_blob(blob);
	}
	return err;
}

/* An object with room for n elements, 0 or ENOMEM; one element more, so that the array is never NULL. */
#define LIST_NEW(mem, list, array, n)                                                                                  \
	((list) = talloc_zero(mem, __typeof__(*(list))),                                                               \
	 (list) == NULL ? ENOMEM                                                                                       \
			: ((array) = talloc_zero_array(list, __typeof__(*(array)), (n) + 1U),                          \
			   (array) == NULL ? (talloc_free(list), ENOMEM) : 0))

/* ---- addresses ---- */

static void addr_get(const struct classic_sock_addr *in, union ctdb_addr *out)
{
	memset(out, 0, sizeof(*out));
	memcpy(out, in->addr, sizeof(in->addr));
	if (out->sa.sa_family == AF_INET) { /* senders leave anything in the bytes that IPv4 does not use */
		memset(&out->in.sin_zero, 0, sizeof(out->in.sin_zero));
		memset((uint8_t *)out + sizeof(out->in), 0, sizeof(*out) - sizeof(out->in));
	}
}

static struct classic_sock_addr addr_put(const union ctdb_addr *in)
{
	struct classic_sock_addr out;

	memcpy(out.addr, in, sizeof(out.addr));
	return out;
}

int ctdb_wire_get_addr(struct ctdb_data in, union ctdb_addr *out)
{
	struct classic_sock_addr addr;

	if (classic_sock_addr_nview(in.data, in.len, &addr, NULL) != 0) {
		return EBADMSG;
	}
	addr_get(&addr, out);
	return 0;
}

int ctdb_wire_put_addr(TALLOC_CTX *mem, const union ctdb_addr *in, struct ctdb_data *out)
{
	struct classic_sock_addr addr = addr_put(in);
	struct ctdb_blob blob = {.len = 0};
	int err = classic_sock_addr_nencode(mem, &addr, &blob);

	return encoded(err, blob, out);
}

int ctdb_addr_parse(const char *text, union ctdb_addr *addr)
{
	union ctdb_addr a = {.in6 = {.sin6_family = 0}};

	if (inet_pton(AF_INET, text, &a.in.sin_addr) == 1) {
		a.sa.sa_family = AF_INET;
	} else if (inet_pton(AF_INET6, text, &a.in6.sin6_addr) == 1) {
		a.sa.sa_family = AF_INET6;
	} else {
		return EINVAL;
	}
	*addr = a;
	return 0;
}

const char *ctdb_addr_format(const union ctdb_addr *addr, char buf[CTDB_ADDR_TEXT_MAX])
{
	const void *bytes = addr->sa.sa_family == AF_INET ? (const void *)&addr->in.sin_addr : &addr->in6.sin6_addr;

	if ((addr->sa.sa_family != AF_INET && addr->sa.sa_family != AF_INET6) ||
	    inet_ntop(addr->sa.sa_family, bytes, buf, CTDB_ADDR_TEXT_MAX) == NULL) {
		snprintf(buf, CTDB_ADDR_TEXT_MAX, "?");
	}
	return buf;
}

bool ctdb_addr_equal(const union ctdb_addr *a, const union ctdb_addr *b)
{
	if (a->sa.sa_family != b->sa.sa_family) {
		return false;
	}
	switch (a->sa.sa_family) {
	case AF_INET:
		return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
	case AF_INET6:
		return memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr)) == 0 &&
		       a->in6.sin6_scope_id == b->in6.sin6_scope_id;
	default:
		return true;
	}
}

/* ---- node map, vnn map ---- */

int ctdb_wire_get_nodemap(TALLOC_CTX *mem, struct ctdb_data in, struct ctdb_nodemap **out)
{
	struct classic_node_map wire;
	struct ctdb_nodemap *map;
	TALLOC_CTX *tmp = talloc_new(NULL);
	uint32_t i;
	int err = tmp == NULL ? ENOMEM : decoded(classic_node_map_ndecode(tmp, in.data, in.len, &wire, NULL));

	if (err == 0) {
		err = LIST_NEW(mem, map, map->nodes, wire.nodes.n);
	}
	if (err == 0) {
		for (i = 0; i < wire.nodes.n; i++) {
			map->nodes[i].pnn = wire.nodes.v[i].pnn;
			map->nodes[i].flags = wire.nodes.v[i].flags;
			addr_get(&wire.nodes.v[i].addr, &map->nodes[i].addr);
		}
		map->n = wire.nodes.n;
		*out = map;
	}
	talloc_free(tmp);
	return err;
}

int ctdb_wire_put_nodemap(TALLOC_CTX *mem, const struct ctdb_nodemap *in, struct ctdb_data *out)
{
	struct classic_node_map wire = {.nodes = {.n = in->n}};
	struct ctdb_blob blob = {.len = 0};
	uint32_t i;
	int err;

	if (in->n > CLASSIC_NODES_MAX) {
		return EMSGSIZE;
	}
	wire.nodes.v = talloc_zero_array(mem, struct classic_node_and_flags, in->n + 1);
	if (wire.nodes.v == NULL) {
		return ENOMEM;
	}
	for (i = 0; i < in->n; i++) {
		wire.nodes.v[i] = (struct classic_node_and_flags){
			.pnn = in->nodes[i].pnn, .flags = in->nodes[i].flags, .addr = addr_put(&in->nodes[i].addr)};
	}
	err = classic_node_map_nencode(mem, &wire, &blob);
	talloc_free(wire.nodes.v);
	return encoded(err, blob, out);
}

int ctdb_wire_get_vnnmap(TALLOC_CTX *mem, struct ctdb_data in, struct ctdb_vnnmap **out)
{
	struct classic_vnn_map wire;
	struct ctdb_vnnmap *map = talloc_zero(mem, struct ctdb_vnnmap);
	int err = map == NULL ? ENOMEM : decoded(classic_vnn_map_ndecode(map, in.data, in.len, &wire, NULL));

	if (err != 0) {
		talloc_free(map);
		return err;
	}
	*map = (struct ctdb_vnnmap){.generation = wire.generation, .size = wire.map.n, .map = wire.map.v};
	*out = map;
	return 0;
}

int ctdb_wire_put_vnnmap(TALLOC_CTX *mem, const struct ctdb_vnnmap *in, struct ctdb_data *out)
{
	struct classic_vnn_map wire = {.generation = in->generation, .map = {.n = in->size, .v = in->map}};
	struct ctdb_blob blob = {.len = 0};
	int err = classic_vnn_map_nencode(mem, &wire, &blob);

	return encoded(err, blob, out);
}

/* ---- databases ---- */

int ctdb_wire_get_db_list(TALLOC_CTX *mem, struct ctdb_data in, struct ctdb_db_list **out)
{
	struct classic_dbid_map wire;
	struct ctdb_db_list *list;
	TALLOC_CTX *tmp = talloc_new(NULL);
	uint32_t i;
	int err = tmp == NULL ? ENOMEM : decoded(classic_dbid_map_ndecode(tmp, in.data, in.len, &wire, NULL));

	if (err == 0) {
		err = LIST_NEW(mem, list, list->dbs, wire.dbs.n);
	}
	if (err == 0) {
		for (i = 0; i < wire.dbs.n; i++) {
			list->dbs[i] = (struct ctdb_db_entry){.id = wire.dbs.v[i].db_id, .flags = wire.dbs.v[i].flags};
		}
		list->n = wire.dbs.n;
		*out = list;
	}
	talloc_free(tmp);
	return err;
}

int ctdb_wire_put_db_list(TALLOC_CTX *mem, const struct ctdb_db_list *in, struct ctdb_data *out)
{
	struct classic_dbid_map wire = {.dbs = {.n = in->n}};
	struct ctdb_blob blob = {.len = 0};
	uint32_t i;
	int err;

	if (in->n > CLASSIC_NODES_MAX) {
		return EMSGSIZE;
	}
	wire.dbs.v = talloc_zero_array(mem, struct classic_db_id_flags, in->n + 1);
	if (wire.dbs.v == NULL) {
		return ENOMEM;
	}
	for (i = 0; i < in->n; i++) {
		wire.dbs.v[i] = (struct classic_db_id_flags){.db_id = in->dbs[i].id, .flags = in->dbs[i].flags};
	}
	err = classic_dbid_map_nencode(mem, &wire, &blob);
	talloc_free(wire.dbs.v);
	return encoded(err, blob, out);
}

/* ---- interfaces, public addresses ---- */

static void ifaces_get(const struct classic_iface *in, uint32_t n, struct ctdb_iface *out)
{
	uint32_t i;

	for (i = 0; i < n; i++) {
		snprintf(out[i].name, sizeof(out[i].name), "%s", in[i].name);
		out[i].up = in[i].link_state == 1;
		out[i].references = in[i].references;
	}
}

/* NULL: out of memory. The names stay those of in. */
static struct classic_iface *ifaces_put(TALLOC_CTX *mem, const struct ctdb_iface *in, uint32_t n)
{
	struct classic_iface *out = talloc_zero_array(mem, struct classic_iface, n + 1U);
	uint32_t i;

	for (i = 0; out != NULL && i < n; i++) {
		out[i] = (struct classic_iface){
			.name = string_of(in[i].name), .link_state = in[i].up ? 1 : 0, .references = in[i].references};
	}
	return out;
}

int ctdb_wire_get_ifaces(TALLOC_CTX *mem, struct ctdb_data in, struct ctdb_iface_list **out)
{
	struct classic_iface_list wire;
	struct ctdb_iface_list *list;
	TALLOC_CTX *tmp = talloc_new(NULL);
	int err = tmp == NULL ? ENOMEM : decoded(classic_iface_list_ndecode(tmp, in.data, in.len, &wire, NULL));

	if (err == 0) {
		err = LIST_NEW(mem, list, list->ifaces, wire.ifaces.n);
	}
	if (err == 0) {
		ifaces_get(wire.ifaces.v, wire.ifaces.n, list->ifaces);
		list->n = wire.ifaces.n;
		*out = list;
	}
	talloc_free(tmp);
	return err;
}

int ctdb_wire_put_ifaces(TALLOC_CTX *mem, const struct ctdb_iface_list *in, struct ctdb_data *out)
{
	struct classic_iface_list wire = {.ifaces = {.n = in->n}};
	struct ctdb_blob blob = {.len = 0};
	int err;

	if (in->n > CLASSIC_NODES_MAX) {
		return EMSGSIZE;
	}
	wire.ifaces.v = ifaces_put(mem, in->ifaces, in->n);
	if (wire.ifaces.v == NULL) {
		return ENOMEM;
	}
	err = classic_iface_list_nencode(mem, &wire, &blob);
	talloc_free(wire.ifaces.v);
	return encoded(err, blob, out);
}

int ctdb_wire_get_public_ips(TALLOC_CTX *mem, struct ctdb_data in, struct ctdb_public_ip_list **out)
{
	struct classic_public_ip_list wire;
	struct ctdb_public_ip_list *list;
	TALLOC_CTX *tmp = talloc_new(NULL);
	uint32_t i;
	int err = tmp == NULL ? ENOMEM : decoded(classic_public_ip_list_ndecode(tmp, in.data, in.len, &wire, NULL));

	if (err == 0) {
		err = LIST_NEW(mem, list, list->ips, wire.ips.n);
	}
	if (err == 0) {
		for (i = 0; i < wire.ips.n; i++) {
			list->ips[i].pnn = wire.ips.v[i].pnn;
			addr_get(&wire.ips.v[i].addr, &list->ips[i].addr);
		}
		list->n = wire.ips.n;
		*out = list;
	}
	talloc_free(tmp);
	return err;
}

int ctdb_wire_put_public_ips(TALLOC_CTX *mem, const struct ctdb_public_ip_list *in, struct ctdb_data *out)
{
	struct classic_public_ip_list wire = {.ips = {.n = in->n}};
	struct ctdb_blob blob = {.len = 0};
	uint32_t i;
	int err;

	if (in->n > CLASSIC_NODES_MAX) {
		return EMSGSIZE;
	}
	wire.ips.v = talloc_zero_array(mem, struct classic_public_ip, in->n + 1);
	if (wire.ips.v == NULL) {
		return ENOMEM;
	}
	for (i = 0; i < in->n; i++) {
		wire.ips.v[i] = (struct classic_public_ip){.pnn = in->ips[i].pnn, .addr = addr_put(&in->ips[i].addr)};
	}
	err = classic_public_ip_list_nencode(mem, &wire, &blob);
	talloc_free(wire.ips.v);
	return encoded(err, blob, out);
}

int ctdb_wire_get_public_ip_info(TALLOC_CTX *mem, struct ctdb_data in, struct ctdb_public_ip_info **out)
{
	struct classic_public_ip_info wire;
	struct ctdb_public_ip_info *info;
	TALLOC_CTX *tmp = talloc_new(NULL);
	int err = tmp == NULL ? ENOMEM : decoded(classic_public_ip_info_ndecode(tmp, in.data, in.len, &wire, NULL));

	if (err == 0) {
		err = LIST_NEW(mem, info, info->ifaces, wire.ifaces.n);
	}
	if (err == 0) {
		info->ip.pnn = wire.ip.pnn;
		addr_get(&wire.ip.addr, &info->ip.addr);
		ifaces_get(wire.ifaces.v, wire.ifaces.n, info->ifaces);
		info->n_ifaces = wire.ifaces.n;
		info->active = wire.active_idx < wire.ifaces.n ? &info->ifaces[wire.active_idx] : NULL;
		*out = info;
	}
	talloc_free(tmp);
	return err;
}

int ctdb_wire_put_public_ip_info(TALLOC_CTX *mem, const struct ctdb_public_ip_info *in, struct ctdb_data *out)
{
	struct classic_public_ip_info wire = {
		.ip = {.pnn = in->ip.pnn, .addr = addr_put(&in->ip.addr)},
		.active_idx = in->active == NULL ? UINT32_MAX : (uint32_t)(in->active - in->ifaces),
		.ifaces = {.n = in->n_ifaces},
	};
	struct ctdb_blob blob = {.len = 0};
	int err;

	if (in->n_ifaces > CLASSIC_NODES_MAX) {
		return EMSGSIZE;
	}
	wire.ifaces.v = ifaces_put(mem, in->ifaces, in->n_ifaces);
	if (wire.ifaces.v == NULL) {
		return ENOMEM;
	}
	err = classic_public_ip_info_nencode(mem, &wire, &blob);
	talloc_free(wire.ifaces.v);
	return encoded(err, blob, out);
}
