/* ctdb-bench stream: a stream of messages (shared/msg_stream.h) between endpoints of two nodes, over two
 * ctdb-transportd. */
#include "bench.h"
#include "stream.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/cluster_key.h"
#include "shared/conf.h"
#include "shared/log.h"
#include "shared/msg.h"
#include "shared/msg_stream.h"

#define SERVICE   "bench"
#define INTERFACE 0x7000
#define LIMIT_MS  30000 /* of everything but the transfer itself */
#define PING_US   2000
#define WRITE     (1U << 20)

/* One node: a directory with its configuration, its transportd, an endpoint. */
struct node {
	const struct stream_args *args;
	char base[64];
	struct conf *conf;
	struct tevent_context *ev;
	struct msg *m;
	pid_t transportd;
	uint64_t bytes;
	bool done, failed;
	struct rpc_client *pings;
	double *rtts;
	size_t n_rtts;
	bool pinging;
	uint64_t stamp;
};

/* ---- a node ---- */

static bool write_file(const struct node *n, const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", n->base, name);
	f = fopen(path, "w");
	if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0 || chmod(path, 0600) != 0) {
		perror(path);
		return false;
	}
	return true;
}

static bool write_files(const struct node *n, uint32_t pnn, uint16_t port)
{
	char text[512], key[2 * CLUSTER_KEY_BYTES + 2];

	memset(key, 'a', 2 * CLUSTER_KEY_BYTES);
	memcpy(key + 2 * CLUSTER_KEY_BYTES, "\n", 2);
	snprintf(text, sizeof(text),
		 "[cluster]\nnode address = 127.0.0.%u\narbitration = none\n[transport]\nport = %u\ndb port = "
		 "%u\nsecurity = %s\n",
		 2 + pnn, port, port + 1U, n->args->plain ? "none" : "tls");
	return write_file(n, "ctdb.conf", text) && write_file(n, "nodes", "127.0.0.2\n127.0.0.3\n") &&
	       write_file(n, "cluster.key", key);
}

/* Serves when one byte has come from it. */
static bool start_transportd(struct node *n)
{
	char program[4096], fd_text[16], byte;
	int ready[2];

	if (pipe(ready) != 0) {
		return false;
	}
	snprintf(program, sizeof(program), "%s/ctdb-transportd", n->conf->path.libexec);
	n->transportd = fork();
	if (n->transportd == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		close(ready[0]);
		snprintf(fd_text, sizeof(fd_text), "%d", ready[1]);
		execl(program, program, "--ready-fd", fd_text, "--log", "stderr", "--log-level", "ERROR", (char *)NULL);
		perror(program);
		_exit(1);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1) {
		fprintf(stderr, "ctdb-bench stream: %s did not start\n", program);
		return false;
	}
	close(ready[0]);
	return true;
}

static bool node_begin(struct node *n, uint32_t pnn, uint16_t port, const char *endpoint)
{
	char *err = NULL;

	snprintf(n->base, sizeof(n->base), "/tmp/ctdb-bench-XXXXXX");
	log_set_level(LOG_LVL_ERROR);
	if (mkdtemp(n->base) == NULL || !write_files(n, pnn, port)) {
		return false;
	}
	setenv("CTDB_BASE", n->base, 1);
	n->ev = tevent_context_init(NULL);
	if (conf_load(n->ev, NULL, &n->conf, &err) != 0 || (mkdir(n->conf->path.run, 0700) != 0 && errno != EEXIST) ||
	    (mkdir(n->conf->path.var, 0700) != 0 && errno != EEXIST) || !start_transportd(n)) {
		fprintf(stderr, "ctdb-bench stream: %s\n", err != NULL ? err : "cannot make a node");
		return false;
	}
	if (msg_open(n->ev, n->ev, n->conf->path.msg_dir, endpoint, pnn, NULL, &n->m, &err) != 0) {
		fprintf(stderr, "ctdb-bench stream: %s\n", err);
		return false;
	}
	return true;
}

static void node_end(struct node *n)
{
	char command[128];

	talloc_free(n->ev);
	if (n->transportd > 0) {
		kill(n->transportd, SIGTERM);
		waitpid(n->transportd, NULL, 0);
	}
	snprintf(command, sizeof(command), "rm -rf '%s'", n->base);
	if (n->base[0] != '\0' && system(command) != 0) {
		fprintf(stderr, "ctdb-bench stream: %s is left\n", n->base);
	}
}

/* ---- reader: node 0 ---- */

static int reader_open(void *priv, struct msg_stream_reader *r, const uint8_t *argument, size_t len)
{
	return 0;
}

static void reader_data(void *priv, struct msg_stream_reader *r, const uint8_t *buf, size_t len)
{
	struct node *n = priv;

	n->bytes += len;
	msg_stream_consumed(r, len);
}

static void reader_end(void *priv, struct msg_stream_reader *r, int status)
{
	struct node *n = priv;

	n->failed = status != 0 || n->bytes != n->args->bytes;
	if (status == 0) {
		msg_stream_finish(r, n->failed ? EIO : 0);
	}
	n->done = true;
}

static int answer(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	rpc_call_reply(call, buf, len);
	return 0;
}

static void over(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *priv)
{
	*(bool *)priv = true;
}

/* The last answer is on its way when the sender has gone. */
static int reader_run(struct node *n)
{
	bool late = false;
	struct tevent_timer *limit = tevent_add_timer(n->ev, n->ev, tevent_timeval_current_ofs(300, 0), over, &late);
	int ret = limit != NULL ? 0 : ENOMEM;

	while (ret == 0 && !n->done && !late) {
		ret = tevent_loop_once(n->ev);
	}
	late = false;
	if (tevent_add_timer(n->ev, n->ev, tevent_timeval_current_ofs(1, 0), over, &late) == NULL) {
		return 1;
	}
	while (ret == 0 && !late) {
		ret = tevent_loop_once(n->ev);
	}
	return ret == 0 && n->done && !n->failed ? 0 : 1;
}

int stream_msg_receiver(const struct stream_args *args, uint16_t port, int ready)
{
	static const struct msg_stream_ops ops = {.open = reader_open, .data = reader_data, .end = reader_end};
	struct node n = {.args = args};
	int status = 1;

	if (node_begin(&n, 0, port, "reader") && msg_stream_serve(n.m, SERVICE, &ops, &n) == 0 &&
	    msg_serve(n.m, INTERFACE, 1, answer, NULL) == 0 && write(ready, "R", 1) == 1) {
		status = reader_run(&n);
	}
	node_end(&n);
	return status;
}

/* ---- writer: node 1 ---- */

static void ping(struct node *n);

static void pong(struct tevent_req *req)
{
	struct node *n = tevent_req_callback_data_void(req);
	struct ctdb_blob result;

	if (n->pings->request_recv(req, n->ev, &result) == 0 && n->n_rtts < STREAM_RTTS) {
		n->rtts[n->n_rtts++] = (double)(bench_now() - n->stamp) / 1000;
		talloc_free(result.data);
	}
	talloc_free(req);
	n->pinging = false;
}

static void ping_time(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *priv)
{
	ping(priv);
}

/* One at a time, of the control class. */
static void ping(struct node *n)
{
	static const uint8_t word[4];
	struct tevent_req *req;

	if (!n->pinging) {
		n->stamp = bench_now();
		req = n->pings->request_send(n->ev, n->ev, n->pings, INTERFACE, 1, 1, word, sizeof(word), LIMIT_MS);
		if (req != NULL) {
			n->pinging = true;
			tevent_req_set_callback(req, pong, n);
		}
	}
	if (tevent_add_timer(n->ev, n->ev, tevent_timeval_current_ofs(0, PING_US), ping_time, n) == NULL) {
		n->failed = true;
	}
}

/* The link between the nodes may not be there yet. */
static int writer_open(struct node *n, const struct msg_addr *to, struct msg_stream **s)
{
	const struct msg_stream_params params = {.service = SERVICE};
	uint64_t limit = bench_now() + LIMIT_MS * UINT64_C(1000000);
	int ret;

	do {
		struct tevent_req *req = msg_stream_open_send(n->ev, n->ev, n->m, to, &params);

		if (req == NULL || !tevent_req_poll(req, n->ev)) {
			return ENOMEM;
		}
		ret = msg_stream_open_recv(req, n->ev, s);
		talloc_free(req);
		if (ret != 0) {
			usleep(10000);
		}
	} while (ret == EHOSTUNREACH && bench_now() < limit);
	return ret;
}

static int writer_write(struct node *n, struct msg_stream *s)
{
	uint8_t *buf = talloc_zero_size(n->ev, WRITE);
	int ret = buf != NULL ? 0 : ENOMEM;

	for (uint64_t left = n->args->bytes; ret == 0 && left > 0;) {
		size_t len = left < WRITE ? left : WRITE;
		struct tevent_req *req = msg_stream_write_send(n->ev, n->ev, s, buf, len);

		ret = req != NULL && tevent_req_poll(req, n->ev) ? msg_stream_write_recv(req) : ENOMEM;
		talloc_free(req);
		left -= len;
	}
	return ret;
}

static int writer_close(struct node *n, struct msg_stream *s)
{
	struct tevent_req *req = msg_stream_close_send(n->ev, n->ev, s);
	int ret = req != NULL && tevent_req_poll(req, n->ev) ? msg_stream_close_recv(req) : ENOMEM;

	talloc_free(req);
	return ret;
}

static int writer_run(struct node *n, struct stream_report *report)
{
	const struct msg_addr to = {.endpoint = "reader", .node = 0};
	struct msg_stream *s = NULL;
	uint64_t begin;
	int ret = writer_open(n, &to, &s);

	n->pings = msg_client(n->ev, n->m, &to);
	if (ret == 0 && n->pings != NULL) {
		begin = bench_now();
		ping(n);
		ret = writer_write(n, s);
		ret = ret == 0 ? writer_close(n, s) : ret;
		report->seconds = (double)(bench_now() - begin) / 1e9;
	}
	if (ret != 0 || n->failed || n->n_rtts == 0) {
		fprintf(stderr, "ctdb-bench stream: messages: %s\n",
			ret != 0 ? strerror(ret) : "no answer to a request");
		return 1;
	}
	report->rtts = n->n_rtts;
	report->rtt_p50 = bench_percentile(n->rtts, n->n_rtts, 50);
	report->rtt_p99 = bench_percentile(n->rtts, n->n_rtts, 99);
	report->rtt_max = bench_percentile(n->rtts, n->n_rtts, 100);
	return 0;
}

int stream_msg_sender(const struct stream_args *args, uint16_t port, int ready, struct stream_report *report)
{
	struct node n = {.args = args, .rtts = calloc(STREAM_RTTS, sizeof(double))};
	int status = 1;
	char byte;

	if (n.rtts != NULL && read(ready, &byte, 1) == 1 && node_begin(&n, 1, port, "writer")) {
		status = writer_run(&n, report);
	}
	node_end(&n);
	return status;
}
