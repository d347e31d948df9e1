/*
 * What a node that has the cluster's key can send before it is one: [how] then [kind][length][payload] again and again,
 * inside of TLS. how & 1: from an address that no node has; & 6: when its question is answered (at once, later, never,
 * twice); & 8: bytes as they are, without frame headers; & 16: the answer is a long one. kind & 64: a frame MOVED whose
 * address is the payload, '@' in it being where the connection comes from.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz_link.h"
#include "shared/link_tls.h"

#define HOSTS 200 /* what the mesh closes keeps its pair of ports for a minute */

static struct {
	uint8_t how;
	uint64_t token;
	unsigned asked;
	char from[32];
} now;

/* ---- the user of the mesh ---- */

static void answer(struct fuzz_mesh *m, uint64_t token)
{
	static char text[1001], nodes[32769], none[] = "";
	bool full = (now.how & 16) != 0;

	memset(text, 't', sizeof(text) - 1);
	memset(nodes, '\n', sizeof(nodes) - 1);
	link_moved_answer(m->mesh, token,
			  &(struct link_list){.result = full ? LINK_MOVED_DONE : LINK_MOVED_REFUSED,
					      .text = full ? text : none,
					      .nodes = full ? nodes : none});
}

/* What the user is told is what the header promises. */
static void moved(struct fuzz_mesh *m, uint64_t token, const struct link_moved *q)
{
	struct conf_nodes *line = NULL;
	char *err = NULL;
	TALLOC_CTX *mem = talloc_new(NULL);
	bool same = false;

	MUST(now.asked++ == 0 && q->magic == LINK_MAGIC && token != 0);
	MUST(conf_nodes_parse(mem, "address", q->address, &line, &err) == 0 && line->n == 1 && !line->v[0].deleted);
	for (uint32_t i = 0; i < line->v[0].n_addrs; i++) {
		same |= strcmp(line->v[0].texts[i], now.from) == 0;
	}
	MUST(same && strpbrk(q->address, "\n\r\t #") == NULL);
	talloc_free(mem);
	now.token = token;
	if ((now.how & 6) == 0 || (now.how & 6) == 6) {
		answer(m, token);
	}
}

/* ---- TLS ---- */

static bool flush(int fd, struct link_tls *tls)
{
	const uint8_t *data;
	size_t len;

	while ((len = link_tls_out(tls, &data)) > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n < 0) {
			return false;
		}
		link_tls_out_done(tls, (size_t)n);
	}
	fuzz_link_turns();
	return true;
}

static bool handshake(int fd, struct link_tls *tls)
{
	static uint8_t in[16384];
	char why[128];

	for (int i = 0; i < FUZZ_WAITS; i++) {
		int ret = link_tls_handshake(tls, why, sizeof(why));
		ssize_t n;

		MUST(ret == 0 || ret == EAGAIN);
		if (!flush(fd, tls) || ret == 0) {
			return ret == 0;
		}
		n = recv(fd, in, sizeof(in), 0);
		if (n > 0) {
			link_tls_feed(tls, in, (size_t)n);
		} else if (n == 0 || errno != EAGAIN) {
			return false;
		} else {
			usleep(1000); /* not here yet */
		}
	}
	return false;
}

/* False: the mesh has closed. */
static bool tell(int fd, struct link_tls *tls, const uint8_t *data, size_t len)
{
	static char in[65536];
	size_t taken;
	ssize_t n;

	while (len > 0) {
		MUST(link_tls_write(tls, data, len, &taken) == 0);
		data += taken;
		len -= taken;
		if (!flush(fd, tls)) {
			return false;
		}
	}
	do {
		n = recv(fd, in, sizeof(in), 0);
	} while (n > 0);
	return n < 0 && errno == EAGAIN;
}

/* ---- frames ---- */

static size_t moved_frame(uint8_t *to, const uint8_t *text, size_t len)
{
	struct link_moved q = {.magic = LINK_MAGIC, .pnn = 2, .id = {1}};
	uint8_t body[256];
	struct xdr_out out = {.p = body, .end = body + sizeof(body)};
	char address[128] = "";
	size_t used = 0;

	for (size_t i = 0; i < len && text[i] != '\0' && used + sizeof(now.from) < sizeof(address); i++) {
		used += text[i] == '@' ? (size_t)snprintf(address + used, sizeof(address) - used, "%s", now.from)
				       : (size_t)snprintf(address + used, sizeof(address) - used, "%c", text[i]);
	}
	q.address = address;
	link_moved_put(&out, &q);
	MUST(out.err == 0);
	return fuzz_link_frame(to, LINK_FRAME_MOVED, body, (size_t)(out.p - body));
}

static bool tell_one(int fd, struct link_tls *tls, struct fuzz_in *in)
{
	static const uint32_t types[] = {LINK_FRAME_MOVED, LINK_FRAME_MOVED,   LINK_FRAME_HELLO, LINK_FRAME_LIST,
					 LINK_FRAME_PING,  LINK_FRAME_REFUSED, LINK_FRAME_USE,   16};
	uint8_t kind = fuzz_byte(in), *frame;
	size_t len;
	uint8_t *payload = fuzz_take(in, fuzz_u16(in), &len);
	bool open;

	frame = malloc(8 + 256 + len);
	MUST(frame != NULL);
	if ((kind & 64) != 0) {
		open = tell(fd, tls, frame, moved_frame(frame, payload, len));
	} else if ((now.how & 8) != 0) {
		open = tell(fd, tls, payload, len);
	} else {
		open = tell(fd, tls, frame, fuzz_link_frame(frame, types[kind % 8], payload, len));
	}
	free(frame);
	free(payload);
	return open;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct link_tls_mesh *mesh;
	static uint32_t turn;
	struct fuzz_in in = {data, size};
	struct fuzz_mesh *m = fuzz_mesh(true, 2);
	struct cluster_keys keys = fuzz_link_keys();
	uint32_t host;
	struct sockaddr_in from;
	struct link_tls *tls;
	bool open;
	int fd;

	MUST(mesh != NULL || link_tls_mesh_new(NULL, &keys, &mesh) == 0);
	now.how = fuzz_byte(&in);
	now.asked = 0;
	now.token = 0;
	host = (now.how & 1) != 0 ? FUZZ_STRANGER + turn++ % HOSTS : 2;
	from = fuzz_link_host(host);
	MUST(inet_ntop(AF_INET, &from.sin_addr, now.from, sizeof(now.from)) != NULL);
	m->moved = moved;
	fd = fuzz_link_connect_from(m, host);
	tls = link_tls_new(NULL, mesh, true);
	MUST(tls != NULL);
	open = handshake(fd, tls);
	MUST(open);
	while (in.left > 0 && open) {
		open = tell_one(fd, tls, &in);
	}
	if (now.token != 0 && (now.how & 4) == 0) {
		answer(m, now.token);
	} else if ((now.how & 6) == 6) {
		answer(m, now.token);
		answer(m, now.token + 1);
	}
	fuzz_link_turns();
	MUST(!m->up || host == 2);
	talloc_free(tls);
	fuzz_link_close(m, fd);
	MUST_COME(!m->up && fuzz_link_idle(m));
	return 0;
}
