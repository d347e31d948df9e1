/* One connection to the daemon of a node, used as Samba's processes use theirs. */
#include "session.h"
#include "bench.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SESSION_PATIENCE_NS (120 * 1000000000ULL) /* for an answer: a recovery of an old daemon may take a while */
#define SESSION_IN_MIN      65536U

static const char *command = "";

void fail_set_command(const char *name)
{
	command = name;
}

void fail(const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fprintf(stderr, "ctdb-bench %s: %s\n", command, text);
	exit(1);
}

/* ---- bytes ---- */

static void write_all(struct session *s, struct ctdb_data out)
{
	size_t done = 0;

	while (done < out.len) {
		ssize_t n = send(s->fd, out.data + done, out.len - done, MSG_NOSIGNAL);

		if (n > 0) {
			done += (size_t)n;
		} else if (n == -1 && errno != EINTR) {
			fail("sending to the CTDB daemon: %s", strerror(errno));
		}
	}
}

static uint32_t send_packet(struct session *s, struct ctdb_wire_packet *packet)
{
	struct ctdb_data out;
	int err;

	packet->srcnode = s->pnn;
	packet->generation = CTDB_GENERATION_INVALID;
	packet->reqid = ++s->reqid == 0 ? ++s->reqid : s->reqid;
	err = ctdb_wire_build(NULL, packet, &out);
	if (err != 0) {
		fail("a packet cannot be made: %s", strerror(err));
	}
	write_all(s, out);
	talloc_free((void *)(uintptr_t)out.data);
	return packet->reqid;
}

/* More bytes, until the deadline; false: it is over. */
static bool read_more(struct session *s, uint64_t deadline)
{
	ssize_t n = recv(s->fd, s->in + s->in_len, s->in_alloc - s->in_len, MSG_DONTWAIT);

	while (n == -1 && (errno == EAGAIN || errno == EINTR)) {
		struct pollfd p = {.fd = s->fd, .events = POLLIN};
		uint64_t now = bench_now();
		struct timespec left = {0};

		if (now >= deadline) {
			return false;
		}
		left.tv_sec = (time_t)((deadline - now) / 1000000000U);
		left.tv_nsec = (long)((deadline - now) % 1000000000U);
		(void)ppoll(&p, 1, &left, NULL);
		n = recv(s->fd, s->in + s->in_len, s->in_alloc - s->in_len, MSG_DONTWAIT);
	}
	if (n <= 0) {
		fail("the CTDB daemon closed the connection%s%s", n == -1 ? ": " : "", n == -1 ? strerror(errno) : "");
	}
	s->in_len += (size_t)n;
	return true;
}

static void make_room(struct session *s, size_t want)
{
	if (s->used > 0) {
		memmove(s->in, s->in + s->used, s->in_len - s->used);
		s->in_len -= s->used;
		s->used = 0;
	}
	if (want > s->in_alloc) {
		s->in_alloc = 2 * want;
		s->in = realloc(s->in, s->in_alloc);
		if (s->in == NULL) {
			fail("out of memory");
		}
	}
}

/* The next packet, valid until the next call; false: the deadline is over. */
static bool next_packet(struct session *s, uint64_t deadline, struct ctdb_wire_packet *packet)
{
	for (;;) {
		size_t used = 0;
		int err = ctdb_wire_parse(s->in + s->used, s->in_len - s->used, packet, &used);

		if (err == 0) {
			s->used += used;
			return true;
		}
		if (err != EAGAIN) {
			fail("the CTDB daemon sent a packet that is none: %s", strerror(err));
		}
		make_room(s, used);
		if (!read_more(s, deadline)) {
			return false;
		}
	}
}

/* ---- connecting ---- */

static int connect_to(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(addr.sun_path)) {
		fail("%s: the path of a socket can have %zu characters at most", path, sizeof(addr.sun_path) - 1);
	}
	memcpy(addr.sun_path, path, strlen(path) + 1);
	if (fd == -1 || connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) != 0) {
		fail("%s: %s; is the CTDB daemon of this node running?", path, strerror(errno));
	}
	return fd;
}

struct session *session_open(const char *path)
{
	struct session *s = calloc(1, sizeof(*s));
	char *standard = path == NULL ? ctdb_default_socket(NULL) : NULL;
	int32_t status;

	if (s == NULL || (path == NULL && standard == NULL)) {
		fail("out of memory");
	}
	s->fd = connect_to(path != NULL ? path : standard);
	talloc_free(standard);
	s->pnn = CTDB_NODE_UNKNOWN;
	make_room(s, SESSION_IN_MIN);
	status = session_ask(s, CTDB_NODE_CURRENT, CTDB_CONTROL_GET_PNN, 0, (struct ctdb_data){0}, NULL);
	if (status < 0) {
		fail("the CTDB daemon does not say which node this is");
	}
	s->pnn = (uint32_t)status;
	return s;
}

void session_close(struct session *s)
{
	close(s->fd);
	free(s->in);
	free(s);
}

/* ---- requests ---- */

/* Messages are given to their function; the rest is not expected. */
static void unasked(struct session *s, const struct ctdb_wire_packet *packet)
{
	if (packet->operation == CTDB_WIRE_REQ_MESSAGE && s->on_message != NULL) {
		s->on_message(s->priv, packet->u.message.srvid, packet->u.message.data);
	}
}

static bool is_reply(const struct ctdb_wire_packet *packet)
{
	return packet->operation == CTDB_WIRE_REPLY_CALL || packet->operation == CTDB_WIRE_REPLY_ERROR ||
	       packet->operation == CTDB_WIRE_REPLY_CONTROL;
}

static void wait_reply(struct session *s, uint32_t reqid, const char *what, struct ctdb_wire_packet *packet)
{
	uint64_t deadline = bench_now() + SESSION_PATIENCE_NS;

	while (next_packet(s, deadline, packet)) {
		if (is_reply(packet) && packet->reqid == reqid) {
			return;
		}
		unasked(s, packet);
	}
	fail("no answer to %s within %llu s", what, SESSION_PATIENCE_NS / 1000000000U);
}

static uint32_t send_control(struct session *s, uint32_t node, uint32_t opcode, uint64_t srvid, uint32_t flags,
			     struct ctdb_data in)
{
	struct ctdb_wire_packet packet = {.operation = CTDB_WIRE_REQ_CONTROL, .destnode = node};

	packet.u.control = (struct ctdb_wire_req_control){.opcode = opcode, .srvid = srvid, .flags = flags, .data = in};
	return send_packet(s, &packet);
}

int32_t session_ask(struct session *s, uint32_t node, uint32_t opcode, uint64_t srvid, struct ctdb_data in,
		    struct ctdb_data *out)
{
	struct ctdb_wire_packet packet;

	wait_reply(s, send_control(s, node, opcode, srvid, 0, in), ctdb_control_name(opcode), &packet);
	if (out != NULL) {
		*out = (struct ctdb_data){0};
	}
	if (packet.operation != CTDB_WIRE_REPLY_CONTROL) {
		return -1;
	}
	if (out != NULL) {
		*out = packet.u.reply_control.data;
	}
	return packet.u.reply_control.status;
}

void session_need(struct session *s, uint32_t node, uint32_t opcode, uint64_t srvid, struct ctdb_data in,
		  struct ctdb_data *out)
{
	int32_t status = session_ask(s, node, opcode, srvid, in, out);

	if (status != 0) {
		fail("the CTDB daemon answers %d to %s", status, ctdb_control_name(opcode));
	}
}

void session_tell(struct session *s, uint32_t node, uint32_t opcode, uint64_t srvid, struct ctdb_data in)
{
	(void)send_control(s, node, opcode, srvid, CTDB_CONTROL_NOREPLY, in);
}

uint32_t session_call_begin(struct session *s, uint32_t db_id, struct ctdb_data key)
{
	struct ctdb_wire_packet packet = {.operation = CTDB_WIRE_REQ_CALL, .destnode = CTDB_NODE_CURRENT};

	packet.u.call = (struct ctdb_wire_req_call){
		.flags = CTDB_WIRE_CALL_IMMEDIATE_MIGRATION, .db_id = db_id, .callid = CTDB_WIRE_CALL_NULL, .key = key};
	return send_packet(s, &packet);
}

static void check_call(const struct ctdb_wire_packet *packet)
{
	if (packet->operation != CTDB_WIRE_REPLY_CALL || packet->u.reply_call.status != 0) {
		fail("the CTDB daemon does not bring a record here: status %d",
		     packet->operation == CTDB_WIRE_REPLY_CALL ? packet->u.reply_call.status : packet->u.error.status);
	}
}

void session_call(struct session *s, uint32_t db_id, struct ctdb_data key)
{
	struct ctdb_wire_packet packet;

	wait_reply(s, session_call_begin(s, db_id, key), "a call", &packet);
	check_call(&packet);
}

uint32_t session_reply_to(struct session *s, uint64_t deadline)
{
	struct ctdb_wire_packet packet;

	while (next_packet(s, deadline, &packet)) {
		if (is_reply(&packet)) {
			check_call(&packet);
			return packet.reqid;
		}
		unasked(s, &packet);
	}
	return 0;
}

/* ---- messages ---- */

void session_post(struct session *s, uint32_t node, uint64_t srvid, struct ctdb_data data)
{
	struct ctdb_wire_packet packet = {.operation = CTDB_WIRE_REQ_MESSAGE, .destnode = node};

	packet.u.message = (struct ctdb_wire_req_message){.srvid = srvid, .data = data};
	(void)send_packet(s, &packet);
}

void session_register(struct session *s, uint64_t srvid)
{
	session_need(s, CTDB_NODE_CURRENT, CTDB_CONTROL_REGISTER_SRVID, srvid, (struct ctdb_data){0}, NULL);
}

bool session_wait(struct session *s, const bool *stop, uint64_t deadline)
{
	struct ctdb_wire_packet packet;

	while (stop == NULL || !*stop) {
		if (!next_packet(s, deadline, &packet)) {
			return false;
		}
		unasked(s, &packet);
	}
	return true;
}
