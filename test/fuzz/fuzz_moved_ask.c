/*
 * What a node that has moved can be answered, by whom it asks: [how] [bytes]. how & 1: in clear text in place of TLS;
 * & 6: inside of TLS as they are, as a frame LIST, as a frame REFUSED, as one of a type that they begin with; & 8: in
 * pieces.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz_link.h"
#include "moved.h"
#include "shared/link_tls.h"
#include "shared/node_id.h"

#define HOSTS 200

/* The one who is asked, in a thread. */
static struct {
	int listen_fd;
	uint16_t port;
	struct link_tls_mesh *mesh;
	struct fuzz_in in;
} peer;

static bool flush(int fd, struct link_tls *tls)
{
	const uint8_t *data;
	size_t len;

	while ((len = link_tls_out(tls, &data)) > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n <= 0) {
			return false;
		}
		link_tls_out_done(tls, (size_t)n);
	}
	return true;
}

/* Until its question is here. */
static bool listen_to(int fd, struct link_tls *tls)
{
	uint8_t in[16384], question[512];
	size_t n = 0;
	char why[128];
	int ret = EAGAIN;

	while (ret == EAGAIN) {
		ssize_t got = recv(fd, in, sizeof(in), 0);

		if (got <= 0) {
			return false;
		}
		link_tls_feed(tls, in, (size_t)got);
		ret = link_tls_handshake(tls, why, sizeof(why));
		if (!flush(fd, tls)) {
			return false;
		}
		ret = ret != 0 ? ret : link_tls_read(tls, question, sizeof(question), &n, why, sizeof(why));
	}
	MUST(ret == 0 && n > 16 && question[7] == LINK_FRAME_MOVED);
	return true;
}

static bool tell(int fd, struct link_tls *tls, const uint8_t *data, size_t len, size_t piece)
{
	size_t taken;

	while (len > 0) {
		if (link_tls_write(tls, data, len < piece ? len : piece, &taken) != 0 || !flush(fd, tls)) {
			return false;
		}
		data += taken;
		len -= taken;
	}
	return true;
}

static void serve(int fd, struct link_tls *tls, struct fuzz_in *in)
{
	static const uint32_t types[] = {0, LINK_FRAME_LIST, LINK_FRAME_REFUSED, 0};
	uint8_t how = fuzz_byte(in), *data, *frame;
	size_t len, frame_len;
	uint32_t type;

	data = fuzz_take(in, in->left, &len);
	frame = malloc(8 + len);
	MUST(frame != NULL);
	type = (how & 6) == 6 && len > 0 ? data[0] : types[(how & 6) / 2];
	frame_len = fuzz_link_frame(frame, type, data, len);
	if ((how & 1) != 0) {
		(void)!send(fd, data, len, MSG_NOSIGNAL);
	} else if (listen_to(fd, tls)) {
		(void)tell(fd, tls, (how & 6) == 0 ? data : frame, (how & 6) == 0 ? len : frame_len,
			   (how & 8) != 0 ? 7 : 16384);
	}
	free(frame);
	free(data);
}

static void *run(void *priv)
{
	int fd = accept4(peer.listen_fd, NULL, NULL, SOCK_CLOEXEC);
	struct link_tls *tls = link_tls_new(NULL, peer.mesh, false);
	char rest[1024];

	MUST(fd >= 0 && tls != NULL);
	MUST(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) == 0);
	serve(fd, tls, &peer.in);
	(void)shutdown(fd, SHUT_WR);
	while (recv(fd, rest, sizeof(rest), 0) > 0) {
	}
	close(fd);
	talloc_free(tls);
	return NULL;
}

static void begin(struct moved_ask *ask)
{
	static struct node_id id = {.pnn = 2, .id = {1}};
	struct cluster_keys keys = fuzz_link_keys();
	struct sockaddr_in any = {.sin_family = AF_INET};
	socklen_t len = sizeof(any);

	*ask = (struct moved_ask){.id = &id, .stop_fd = eventfd(0, EFD_CLOEXEC)};
	peer.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(ask->stop_fd >= 0 && peer.listen_fd >= 0 && bind(peer.listen_fd, (struct sockaddr *)&any, len) == 0);
	MUST(listen(peer.listen_fd, 4) == 0 && getsockname(peer.listen_fd, (struct sockaddr *)&any, &len) == 0);
	ask->port = ntohs(any.sin_port);
	MUST(link_tls_mesh_new(NULL, &keys, &peer.mesh) == 0 && link_tls_mesh_new(NULL, &keys, &ask->tls) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct moved_ask ask;
	static uint32_t turn;
	struct sockaddr_in host = fuzz_link_host(FUZZ_STRANGER + turn++ % HOSTS);
	struct sockaddr_storage to = {0};
	struct link_list list;
	TALLOC_CTX *mem = talloc_new(NULL);
	pthread_t thread;
	char why[256];
	int ret;

	if (ask.id == NULL) {
		begin(&ask);
	}
	peer.in = (struct fuzz_in){data, size};
	memcpy(&to, &host, sizeof(host));
	MUST(pthread_create(&thread, NULL, run, NULL) == 0);
	ret = moved_ask(mem, &ask, &to, &list, why, sizeof(why));
	MUST(pthread_join(thread, NULL) == 0);
	MUST(ret != ECANCELED && ret != ENOMEM && ret != ETIMEDOUT);
	MUST(ret == 0 ? link_list_validate(&list) == 0 && strlen(list.text) <= 1000 : why[0] != '\0');
	talloc_free(mem);
	return 0;
}
