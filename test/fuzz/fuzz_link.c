/* A mesh of links in this process, and hand-made connections to it. */
#include "fuzz_link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mono.h"
#include "shared/link_private.h"
#include "shared/log.h"

#define MAX_FRAME 65536
#define TURNS     16

static struct tevent_context *ev;
static struct conf_nodes *nodes;

/* ---- the loop ---- */

static void idle(struct tevent_context *loop, struct tevent_fd *fde, uint16_t flags, void *priv)
{
}

/* A file that is always ready: no turn waits, and the others have theirs in between. */
static void loop_begin(void)
{
	int fd = eventfd(1, EFD_CLOEXEC);

	ev = tevent_context_init(NULL);
	MUST(ev != NULL && fd >= 0 && tevent_add_fd(ev, ev, fd, TEVENT_FD_READ, idle, NULL) != NULL);
}

void fuzz_link_turns(void)
{
	for (int i = 0; i < TURNS; i++) {
		MUST(tevent_loop_once(ev) == 0);
	}
}

/* ---- the mesh ---- */

static void up(void *priv, uint32_t pnn, uint64_t incarnation)
{
	struct fuzz_mesh *m = priv;

	MUST(!m->up && pnn == 1);
	m->up = true;
}

static void down(void *priv, uint32_t pnn, int reason)
{
	struct fuzz_mesh *m = priv;

	MUST(m->up && pnn == 1 && reason != 0);
	m->up = false;
}

/* Touches every byte. */
static void frame(void *priv, uint32_t pnn, uint32_t type, const uint8_t *data, size_t len)
{
	struct fuzz_mesh *m = priv;
	uint8_t *copy = malloc(len > 0 ? len : 1);

	MUST(m->up && pnn == 1 && type >= 16 && len <= MAX_FRAME && copy != NULL);
	if (len > 0) {
		memcpy(copy, data, len);
	}
	free(copy);
	m->frames++;
}

static void moved(void *priv, uint64_t token, const struct link_moved *moved)
{
	struct fuzz_mesh *m = priv;

	if (m->moved != NULL) {
		m->moved(m, token, moved);
	}
}

static const struct link_ops ops = {.up = up, .down = down, .frame = frame, .moved = moved};

/* Of this process alone, so that several fuzzers can run. */
struct sockaddr_in fuzz_link_host(uint32_t host)
{
	uint32_t pid = (uint32_t)getpid();

	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(0x7f400000U + ((pid & 0x3fffU) << 8) + host)};
}

static void set_addr(struct conf_node *node, uint32_t host)
{
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&node->addr;
	char text[32];

	*in = fuzz_link_host(host);
	MUST(inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text)) != NULL);
	node->text = talloc_strdup(nodes, text);
	node->n_addrs = 1;
	node->addrs[0] = node->addr;
	node->texts[0] = node->text;
}

static void world_begin(void)
{
	if (ev != NULL) {
		return;
	}
	log_set_level(LOG_LVL_ERROR);
	loop_begin();
	nodes = talloc_zero(ev, struct conf_nodes);
	nodes->n = 2;
	nodes->v = talloc_zero_array(nodes, struct conf_node, 2);
	set_addr(&nodes->v[0], 1);
	set_addr(&nodes->v[1], 2);
}

struct cluster_keys fuzz_link_keys(void)
{
	struct cluster_keys keys = {.n = 1};

	memset(keys.v[0].secret, 'k', sizeof(keys.v[0].secret));
	memset(keys.v[0].id, '1', sizeof(keys.v[0].id) - 1);
	return keys;
}

struct fuzz_mesh *fuzz_mesh(bool tls, uint32_t n_classes)
{
	static struct fuzz_mesh meshes[2][3];
	struct fuzz_mesh *m = &meshes[tls][n_classes];
	struct cluster_keys keys = fuzz_link_keys();
	struct link_config config = {.name = "fuzz",
				     .port = (uint16_t)(20000 + tls * 10U + n_classes),
				     .incarnation = 1,
				     .interface_version = LINK_INTERFACE,
				     .n_classes = n_classes,
				     .heartbeat_ms = 100,
				     .dead_ms = 60000,
				     .reconnect_ms = 1000,
				     .max_frame = MAX_FRAME,
				     .queue_bytes = 1U << 20};
	char *err = NULL;

	world_begin();
	if (m->mesh != NULL) {
		return m;
	}
	config.keys = tls ? &keys : NULL;
	MUST(link_mesh_new(ev, ev, &config, nodes, &ops, m, &m->mesh, &err) == 0);
	m->addr = nodes->v[0].addr;
	((struct sockaddr_in *)(void *)&m->addr)->sin_port = htons(config.port);
	return m;
}

/* ---- connections ---- */

/* -1: not this time. What the mesh has closed keeps its pair of ports for a minute. */
static int try_connect(const struct fuzz_mesh *m, uint32_t host)
{
	struct sockaddr_in from = fuzz_link_host(host);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	struct linger reset = {.l_onoff = 1};

	MUST(fd >= 0);
	/* Spares ports; emulators do not know it. */
	(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	MUST(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
	MUST(bind(fd, (const struct sockaddr *)&from, sizeof(from)) == 0);
	if (connect(fd, (const struct sockaddr *)&m->addr, sizeof(struct sockaddr_in)) != 0) {
		close(fd);
		return -1;
	}
	MUST(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
	return fd;
}

int fuzz_link_connect_from(const struct fuzz_mesh *m, uint32_t host)
{
	int fd = try_connect(m, host);

	for (int i = 0; i < 100 && fd < 0; i++) {
		usleep(50000);
		fd = try_connect(m, host);
	}
	MUST(fd >= 0);
	m->mesh->strangers = 0;
	fuzz_link_turns();
	return fd;
}

int fuzz_link_connect(const struct fuzz_mesh *m)
{
	return fuzz_link_connect_from(m, 2);
}

/* What the mesh said is thrown away. False: it has closed. */
static bool drain(int fd)
{
	char buf[16384];
	ssize_t n;

	do {
		n = recv(fd, buf, sizeof(buf), 0);
	} while (n > 0);
	return n < 0 && errno == EAGAIN;
}

bool fuzz_link_write(int fd, const uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN) {
			return false;
		}
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
		fuzz_link_turns();
		if (!drain(fd)) {
			return false;
		}
	}
	return true;
}

void fuzz_link_close(struct fuzz_mesh *m, int fd)
{
	close(fd);
	fuzz_link_turns();
}

bool fuzz_link_idle(const struct fuzz_mesh *m)
{
	return dlist_empty(&m->mesh->new) && m->mesh->n_new == 0;
}

size_t fuzz_link_frame(uint8_t *to, uint32_t type, const uint8_t *data, size_t len)
{
	xdr_store_u32(to, (uint32_t)(4 + len));
	xdr_store_u32(to + 4, type);
	if (len > 0) {
		memcpy(to + 8, data, len);
	}
	return 8 + len;
}
