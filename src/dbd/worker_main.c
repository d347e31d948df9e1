/* ctdb-db-worker: one job after the other on TDB files, for dbd. Blocks where dbd must not. */
#include "dbd/worker_prog.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dbd/worker.h"

#define CREDITS    2
#define FRAME_HEAD 8

static int sock = -1;
static uint64_t current_job;

static void __attribute__((noreturn)) give_up(const char *why)
{
	fprintf(stderr, "ctdb-db-worker: %s\n", why);
	_exit(1);
}

static void read_all(void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = read(sock, p, len);

		if (n == -1 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			_exit(0); /* the daemon is gone */
		}
		p += n;
		len -= (size_t)n;
	}
}

static void write_all(const uint8_t *p, size_t len)
{
	while (len > 0) {
		ssize_t n = send(sock, p, len, MSG_NOSIGNAL);

		if (n == -1 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			_exit(0);
		}
		p += n;
		len -= (size_t)n;
	}
}

struct frame {
	uint32_t type;
	uint32_t len;
	uint8_t *data; /* child of the context given */
};

static void read_frame(TALLOC_CTX *mem, struct frame *f)
{
	uint8_t head[FRAME_HEAD];
	struct xdr_in in = {.p = head, .end = head + sizeof(head)};
	uint32_t len;

	read_all(head, sizeof(head));
	len = xdr_get_u32(&in);
	f->type = xdr_get_u32(&in);
	if (len < 4 || len > WORKER_FRAME_MAX) {
		give_up("malformed frame from the daemon");
	}
	f->len = len - 4;
	f->data = talloc_size(mem, f->len);
	if (f->data == NULL) {
		give_up("out of memory");
	}
	read_all(f->data, f->len);
}

/* A frame's buffer: head and room for size bytes of payload, for which out is set up. */
static uint8_t *frame_new(uint32_t type, size_t size, struct xdr_out *out)
{
	uint8_t *buf = talloc_size(NULL, FRAME_HEAD + size);

	if (buf == NULL) {
		give_up("out of memory");
	}
	*out = (struct xdr_out){.p = buf, .end = buf + FRAME_HEAD + size};
	xdr_put_u32(out, (uint32_t)size + 4);
	xdr_put_u32(out, type);
	return buf;
}

static void frame_send(uint8_t *buf, const struct xdr_out *out)
{
	if (out->err != 0) {
		give_up("a frame cannot be encoded");
	}
	write_all(buf, (size_t)(out->p - buf));
	talloc_free(buf);
}

void wjob_log(unsigned level, const char *text)
{
	union {
		const char *in;
		uint8_t *out;
	} u = {.in = text};
	struct worker_log l = {.level = level, .text = {.len = (uint32_t)strlen(text), .data = u.out}};
	struct xdr_out out;
	uint8_t *buf = frame_new(WORKER_FRAME_LOG, worker_log_size(&l), &out);

	worker_log_put(&out, &l);
	frame_send(buf, &out);
}

static void send_done(const struct worker_done *d)
{
	struct xdr_out out;
	uint8_t *buf = frame_new(WORKER_FRAME_DONE, worker_done_size(d), &out);

	worker_done_put(&out, d);
	frame_send(buf, &out);
}

static void on_credit(struct wjob *job, const struct frame *f)
{
	struct worker_credit c;

	if (worker_credit_view(f->data, f->len, &c) != 0) {
		give_up("malformed credit from the daemon");
	}
	if (job != NULL && c.job == current_job) {
		job->credits++;
	}
}

enum worker_frame wjob_wait(struct wjob *job, TALLOC_CTX *mem, struct worker_feed *feed)
{
	struct frame f;

	for (;;) {
		read_frame(mem, &f);
		if (f.type == WORKER_FRAME_CREDIT) {
			on_credit(job, &f);
			return WORKER_FRAME_CREDIT;
		}
		if (f.type != WORKER_FRAME_FEED || worker_feed_view(f.data, f.len, feed) != 0) {
			give_up("unexpected frame from the daemon");
		}
		/* What was under way when an earlier job ended is for nobody any more. */
		if (feed->job == current_job) {
			return WORKER_FRAME_FEED;
		}
		talloc_free(f.data);
		feed->last = false;
	}
}

bool wjob_is_asked(struct wjob *job)
{
	struct pollfd p = {.fd = sock, .events = POLLIN};
	struct worker_feed ignored;

	while (job->credits < CREDITS && poll(&p, 1, 0) == 1) {
		TALLOC_CTX *mem = talloc_new(NULL);

		wjob_wait(job, mem, &ignored);
		talloc_free(mem);
	}
	return job->credits >= CREDITS;
}

void wjob_send_batch(struct wjob *job, uint8_t *batch, size_t len)
{
	struct worker_batch b = {.job = current_job, .records = {.len = (uint32_t)len, .data = batch}};
	struct worker_feed ignored;
	struct xdr_out out;
	uint8_t *buf;

	while (job->credits == 0) {
		TALLOC_CTX *mem = talloc_new(NULL);

		wjob_wait(job, mem, &ignored);
		talloc_free(mem);
	}
	job->credits--;
	buf = frame_new(WORKER_FRAME_BATCH, worker_batch_size(&b), &out);
	worker_batch_put(&out, &b);
	frame_send(buf, &out);
}

static int run(struct wjob *job)
{
	static int (*const ops[])(struct wjob *) = {
		[WORKER_SCAN] = wjob_scan,     [WORKER_READ] = wjob_scan,       [WORKER_SEQNUM] = wjob_seqnum,
		[WORKER_UPDATE] = wjob_update, [WORKER_REPLACE] = wjob_replace, [WORKER_WIPE] = wjob_wipe,
		[WORKER_CHECK] = wjob_check,   [WORKER_FREEZE] = wjob_freeze,   [WORKER_EDIT] = wjob_edit,
		[WORKER_PAGE] = wjob_page,     [WORKER_SETTLE] = wjob_settle,   [WORKER_HOLDERS] = wjob_holders,
		[WORKER_LOCK] = wjob_lock,
	};
	int error;

	if (job->start.op >= sizeof(ops) / sizeof(ops[0])) {
		return ENOSYS;
	}
	error = wtdb_open(&job->start, &job->tdb);
	if (error != 0) {
		return error;
	}
	error = ops[job->start.op](job);
	job->result.journal = *wtdb_journal(job->tdb) != NULL;
	if (error == EIO || error == ENOLCK) {
		wtdb_forget(job->tdb);
	}
	return error;
}

static void run_job(const struct frame *f)
{
	struct wjob *job = talloc_zero(NULL, struct wjob);

	if (job == NULL || worker_start_decode(job, f->data, f->len, &job->start) != 0) {
		give_up("malformed job from the daemon");
	}
	job->credits = CREDITS;
	current_job = job->start.job;
	job->result.job = current_job;
	job->result.status = (uint32_t)run(job);
	if (job->result.status != 0) {
		bool differs = job->result.status == EILSEQ;

		job->result = (struct worker_done){.job = current_job,
						   .status = job->result.status,
						   .seqnum = differs ? job->result.seqnum : 0,
						   .digest = differs ? job->result.digest : 0,
						   .journal = job->result.journal,
						   .no_journal = job->result.no_journal};
	}
	send_done(&job->result);
	talloc_free(job);
	current_job = 0;
}

int main(int argc, char **argv)
{
	struct stat st;
	char *end = NULL;

	if (argc == 3 && strcmp(argv[1], "--fd") == 0) {
		sock = (int)strtol(argv[2], &end, 10);
	}
	if (end == NULL || *end != '\0' || end == argv[2] || fstat(sock, &st) != 0 || !S_ISSOCK(st.st_mode)) {
		fprintf(stderr,
			"usage: ctdb-db-worker --fd N\nIt is started by ctdb-dbd, N is its end of a socket pair.\n");
		return 1;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a write says EFBIG */
	wtdb_set_log(wjob_log);
	for (;;) {
		TALLOC_CTX *mem = talloc_new(NULL);
		struct frame f;

		read_frame(mem, &f);
		if (f.type == WORKER_FRAME_START) {
			run_job(&f);
		} else if (f.type == WORKER_FRAME_CREDIT) {
			on_credit(NULL, &f);
		} else if (f.type != WORKER_FRAME_FEED) {
			give_up("unknown frame from the daemon");
		}
		talloc_free(mem);
	}
}
