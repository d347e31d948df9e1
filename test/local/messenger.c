/*
 * An endpoint that a test commands: messenger DIRECTORY ENDPOINT PNN. Commands on standard input, one line each; what happens is printed, one line each.
 *   notify ADDR TEXT          ask ADDR MS TEXT          write ADDR SERVICE BYTES MS
 *   hold                      streams that come in are not consumed from now on
 * Requests "hold" are never answered, others with their text. Streams of service "bytes" are read: number of bytes and a hash at their end.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/log.h"
#include "shared/msg.h"
#include "shared/msg_stream.h"

#define INTERFACE 0x7001
#define PROC_TEXT 1
#define LINE_MAX_ 4096
#define PIECE     (1U << 20)

static struct tevent_context *ev;
static struct msg *m;
static bool hold;

static uint64_t hash_bytes(uint64_t h, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		h = (h ^ p[i]) * 1099511628211ULL;
	}
	return h;
}

/* ---- what comes in ---- */

static int dispatch(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	printf("%s %s@%u %d %d %.*s\n", call->oneway ? "notification" : "request", call->source_endpoint, call->source_node,
	       (int)call->source_uid, (int)call->source_pid, (int)len, (const char *)buf);
	if (!call->oneway && (len != 4 || memcmp(buf, "hold", 4) != 0)) {
		rpc_call_reply(call, buf, len);
	}
	return 0;
}

struct incoming {
	uint64_t bytes, hash;
};

static int stream_opened(void *priv, struct msg_stream_reader *r, const uint8_t *argument, size_t len)
{
	struct msg_addr source;

	msg_stream_reader_source(r, &source);
	msg_stream_reader_set(r, talloc_zero(r, struct incoming));
	printf("stream %s@%u\n", source.endpoint, source.node);
	return 0;
}

static void stream_bytes(void *priv, struct msg_stream_reader *r, const uint8_t *buf, size_t len)
{
	struct incoming *in = msg_stream_reader_get(r);

	if (in->bytes == 0) {
		printf("first\n");
	}
	in->bytes += len;
	in->hash = hash_bytes(in->hash, buf, len);
	if (!hold) {
		msg_stream_consumed(r, len);
	}
}

static void stream_ended(void *priv, struct msg_stream_reader *r, int status)
{
	const struct incoming *in = msg_stream_reader_get(r);

	printf("end %d %" PRIu64 " %016" PRIx64 "\n", status, in->bytes, in->hash);
	if (status == 0) {
		msg_stream_finish(r, 0);
	}
}

/* ---- asking ---- */

static struct rpc_client *client(TALLOC_CTX *mem, const char *text)
{
	struct msg_addr addr;
	struct rpc_client *c = msg_addr_parse(text, &addr) == 0 ? msg_client(mem, m, &addr) : NULL;

	if (c == NULL) {
		fprintf(stderr, "bad address %s\n", text);
		exit(1);
	}
	return c;
}

static void asked(struct tevent_req *req)
{
	struct rpc_client *c = tevent_req_callback_data(req, struct rpc_client);
	struct ctdb_blob result = {0};
	int ret = c->request_recv(req, c, &result);

	printf("answer %d %.*s\n", ret, (int)result.len, (const char *)result.data);
	talloc_free(c);
}

static void ask(const char *to, uint32_t ms, const char *text)
{
	struct rpc_client *c = client(m, to);

	tevent_req_set_callback(c->request_send(c, ev, c, INTERFACE, 1, PROC_TEXT, (const uint8_t *)text, strlen(text), ms), asked, c);
}

static void notify(const char *to, const char *text)
{
	struct rpc_client *c = client(m, to);

	printf("sent %d\n", c->notify(c, INTERFACE, 1, PROC_TEXT, (const uint8_t *)text, strlen(text)));
	talloc_free(c);
}

/* ---- writing a stream ---- */

struct outgoing {
	struct msg_stream *s;
	uint64_t left, hash, seed;
	uint8_t piece[PIECE];
};

static void write_over(struct outgoing *o, int status)
{
	printf("written %d %016" PRIx64 "\n", status, o->hash);
	talloc_free(o);
}

static void write_closed(struct tevent_req *req)
{
	write_over(tevent_req_callback_data(req, struct outgoing), msg_stream_close_recv(req));
}

static void write_piece(struct outgoing *o);

static void write_next(struct tevent_req *req)
{
	struct outgoing *o = tevent_req_callback_data(req, struct outgoing);
	int ret = msg_stream_write_recv(req);

	talloc_free(req);
	if (ret != 0) {
		write_over(o, ret);
		return;
	}
	write_piece(o);
}

static void write_piece(struct outgoing *o)
{
	size_t n = o->left < PIECE ? (size_t)o->left : PIECE;

	if (n == 0) {
		tevent_req_set_callback(msg_stream_close_send(o, ev, o->s), write_closed, o);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		o->seed = o->seed * 6364136223846793005ULL + 1442695040888963407ULL;
		o->piece[i] = (uint8_t)(o->seed >> 56);
	}
	o->hash = hash_bytes(o->hash, o->piece, n);
	o->left -= n;
	tevent_req_set_callback(msg_stream_write_send(o, ev, o->s, o->piece, n), write_next, o);
}

static void write_opened(struct tevent_req *req)
{
	struct outgoing *o = tevent_req_callback_data(req, struct outgoing);
	int ret = msg_stream_open_recv(req, o, &o->s);

	talloc_free(req);
	if (ret != 0) {
		write_over(o, ret);
		return;
	}
	write_piece(o);
}

static void write_stream(const char *to, const char *service, uint64_t bytes, uint32_t ms)
{
	struct outgoing *o = talloc_zero(m, struct outgoing);
	const struct msg_stream_params params = {.service = service, .timeout_ms = ms};
	struct msg_addr addr;

	if (msg_addr_parse(to, &addr) != 0) {
		exit(1);
	}
	o->left = bytes;
	o->seed = bytes;
	tevent_req_set_callback(msg_stream_open_send(o, ev, m, &addr, &params), write_opened, o);
}

/* ---- commands ---- */

static void command(char *line)
{
	char *save = NULL, *verb = strtok_r(line, " ", &save), *to = strtok_r(NULL, " ", &save), *word;

	if (verb != NULL && strcmp(verb, "hold") == 0) {
		hold = true;
	} else if (verb != NULL && to != NULL && strcmp(verb, "notify") == 0) {
		notify(to, save);
	} else if (verb != NULL && to != NULL && strcmp(verb, "ask") == 0) {
		word = strtok_r(NULL, " ", &save);
		ask(to, (uint32_t)strtoul(word, NULL, 10), save);
	} else if (verb != NULL && to != NULL && strcmp(verb, "write") == 0) {
		const char *service = strtok_r(NULL, " ", &save);
		uint64_t bytes = strtoull(strtok_r(NULL, " ", &save), NULL, 10);

		write_stream(to, service, bytes, (uint32_t)strtoul(strtok_r(NULL, " ", &save), NULL, 10));
	} else {
		fprintf(stderr, "bad command\n");
		exit(1);
	}
}

static void readable(struct tevent_context *context, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	static char buffer[LINE_MAX_];
	static size_t used;
	ssize_t n = read(STDIN_FILENO, buffer + used, sizeof(buffer) - used);
	char *end;

	if (n < 0 && errno == EAGAIN) {
		return;
	}
	if (n <= 0) {
		talloc_free(m);
		exit(0);
	}
	used += (size_t)n;
	while ((end = memchr(buffer, '\n', used)) != NULL) {
		size_t len = (size_t)(end - buffer) + 1;

		*end = '\0';
		command(buffer);
		memmove(buffer, buffer + len, used - len);
		used -= len;
	}
}

int main(int argc, char **argv)
{
	static const struct msg_stream_ops ops = {.open = stream_opened, .data = stream_bytes, .end = stream_ended};
	char *err = NULL;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 4 || log_init(NULL, "messenger", "stderr", LOG_LVL_NOTICE, &err) != 0) {
		fprintf(stderr, "usage: messenger DIRECTORY ENDPOINT PNN\n");
		return 2;
	}
	ev = tevent_context_init(NULL);
	if (msg_open(ev, ev, argv[1], argv[2], (uint32_t)strtoul(argv[3], NULL, 10), NULL, &m, &err) != 0) {
		fprintf(stderr, "%s\n", err);
		return 1;
	}
	if (msg_serve(m, INTERFACE, 1, dispatch, NULL) != 0 || msg_stream_serve(m, "bytes", &ops, NULL) != 0 ||
	    fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK) != 0 ||
	    tevent_add_fd(ev, ev, STDIN_FILENO, TEVENT_FD_READ, readable, NULL) == NULL) {
		return 1;
	}
	printf("ready %d\n", (int)getpid());
	return tevent_loop_wait(ev) == 0 ? 0 : 1;
}
