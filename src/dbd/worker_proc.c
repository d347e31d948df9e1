/* One worker process and the socket to it. */
#include "dbd/worker_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/content_parts.h"
#include "shared/log.h"
#include "shared/mono_timer.h"
#include "shared/proc.h"

#define FRAME_HEAD  8U
#define READ_BYTES  (256U * 1024U)  /* at once: the batches in it are handled in one turn of the loop */
#define WRITE_BYTES (1024U * 1024U) /* in one turn */
#define BATCHES_MAX 2U

struct worker {
	struct dlist link; /* pool's: idle or busy */
	struct worker_owner owner;
	struct tevent_req *starting;
	struct proc *proc; /* NULL while it is being started; then neither idle nor busy */
	int pid;
	int fd;
	struct tevent_fd *fde;
	struct tevent_immediate *again; /* handles what is in the buffer after a pause */
	struct mono_timer *idle_timer;
	struct worker_job *job;
	struct dlist out; /* struct out_chunk */
	uint8_t *in;
	size_t in_start, in_len, in_size;
	uint8_t *copy; /* of a batch that lies badly in the buffer */
	size_t copy_size;
	bool *freed; /* set while a handler runs: tells it that the worker was freed under it */
};

struct dlist *worker_link(struct worker *w)
{
	return &w->link;
}

struct worker *worker_of_link(struct dlist *e)
{
	return dlist_entry(e, struct worker, link);
}

struct worker_job *worker_current(const struct worker *w)
{
	return w->job;
}

struct out_chunk *out_chunk_new(TALLOC_CTX *mem, enum worker_frame type, size_t payload, struct xdr_out *out)
{
	size_t len = FRAME_HEAD + payload;
	struct out_chunk *c = talloc_size(mem, sizeof(*c) + len);

	if (c == NULL) {
		return NULL;
	}
	talloc_set_name_const(c, "struct out_chunk");
	*c = (struct out_chunk){.len = len};
	*out = (struct xdr_out){.p = c->data, .end = c->data + len};
	xdr_put_u32(out, (uint32_t)payload + 4);
	xdr_put_u32(out, type);
	return c;
}

static int worker_destructor(struct worker *w)
{
	if (w->freed != NULL) {
		*w->freed = true;
	}
	dlist_remove(&w->link);
	TALLOC_FREE(w->fde);
	if (w->fd != -1) {
		close(w->fd);
	}
	return 0;
}

/* The end of the process, seen at the socket, or made by us after it broke the protocol. */
static void worker_fail(struct worker *w, const char *why)
{
	struct worker_pool *pool = w->owner.pool;
	struct worker_job *job = w->job;

	if (job != NULL) {
		log_warning("database worker %d: %s; its job fails", w->pid, why);
	} else {
		log_info("database worker %d: %s", w->pid, why);
	}
	w->job = NULL;
	talloc_free(w);
	worker_pool_worker_gone(pool);
	if (job != NULL) {
		job->worker = NULL;
		worker_job_end(job, EPIPE);
	}
}

void worker_abandon(struct worker *w)
{
	struct worker_pool *pool = w->owner.pool;

	w->job = NULL;
	talloc_free(w);
	worker_pool_worker_gone(pool);
}

static void idle_timeout(void *priv)
{
	struct worker *w = talloc_get_type_abort(priv, struct worker);

	/* Others may have gone in the meantime. */
	if (worker_pool_has_surplus(w->owner.pool)) {
		worker_abandon(w);
	}
}

void worker_end_when_idle(struct worker *w, unsigned seconds)
{
	if (w->idle_timer == NULL) {
		w->idle_timer = mono_timer_new(w, w->owner.ev, idle_timeout, w);
	}
	if (w->idle_timer != NULL) {
		mono_timer_set(w->idle_timer, mono_add_ms(mono_now(), (uint64_t)seconds * 1000));
	}
}

/* ---- to the process ---- */

void worker_send(struct worker *w, struct out_chunk *chunk)
{
	talloc_steal(w, chunk);
	dlist_add_tail(&w->out, &chunk->link);
	TEVENT_FD_WRITEABLE(w->fde);
}

/* false: the worker is gone. */
static bool worker_send_credit(struct worker *w)
{
	struct worker_credit credit = {.job = w->job->id};
	struct xdr_out out;
	struct out_chunk *c = out_chunk_new(w, WORKER_FRAME_CREDIT, worker_credit_size(&credit), &out);

	if (c == NULL) {
		worker_fail(w, "out of memory");
		return false;
	}
	worker_credit_put(&out, &credit);
	worker_send(w, c);
	return true;
}

void worker_give(struct worker *w, struct worker_job *job)
{
	TALLOC_FREE(w->idle_timer);
	w->job = job;
	job->worker = w;
	worker_send(w, job->start);
	job->start = NULL;
	dlist_for_each_safe(e, &job->feeds)
	{
		dlist_remove(e);
		worker_send(w, dlist_entry(e, struct out_chunk, link));
	}
}

/* Frames of a job that has ended: not begun, they need not be sent; what is half sent must be. */
static void drop_unsent(struct worker *w)
{
	dlist_for_each_safe(e, &w->out)
	{
		struct out_chunk *c = dlist_entry(e, struct out_chunk, link);

		c->feed_len = 0;
		if (c->done == 0) {
			dlist_remove(e);
			talloc_free(c);
		}
	}
}

static void worker_write(struct worker *w)
{
	size_t budget = WRITE_BYTES;
	size_t fed = 0;

	while (!dlist_empty(&w->out) && budget > 0) {
		struct out_chunk *c = dlist_entry(dlist_first(&w->out), struct out_chunk, link);
		size_t want = c->len - c->done < budget ? c->len - c->done : budget;
		ssize_t n = send(w->fd, c->data + c->done, want, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			break;
		}
		if (n < 0) {
			/* Reading finds out why, after what it may still have said. */
			TEVENT_FD_NOT_WRITEABLE(w->fde);
			return;
		}
		c->done += (size_t)n;
		budget -= (size_t)n;
		if (c->done == c->len) {
			fed += c->feed_len;
			dlist_remove(&c->link);
			talloc_free(c);
		}
	}
	if (dlist_empty(&w->out)) {
		TEVENT_FD_NOT_WRITEABLE(w->fde);
	}
	if (fed > 0 && w->job != NULL) {
		worker_job_fed(w->job, fed);
	}
}

/* ---- from the process ---- */

/* The receiver finds structures in it. */
static uint8_t *aligned(struct worker *w, const struct ctdb_blob *b)
{
	if (((uintptr_t)b->data & 7) == 0) {
		return b->data;
	}
	if (w->copy_size < b->len) {
		talloc_free(w->copy);
		w->copy = talloc_size(w, b->len);
		w->copy_size = w->copy != NULL ? b->len : 0;
	}
	return w->copy != NULL ? memcpy(w->copy, b->data, b->len) : NULL;
}

/* What a batch's receiver says decides whether the next is asked for. false: the worker is gone, or stops here. */
static bool on_batch(struct worker *w, const uint8_t *data, size_t len)
{
	struct worker_job *job = w->job;
	bool freed = false;
	struct worker_batch b;
	uint8_t *bytes;
	bool go_on;

	if (worker_batch_view(data, len, &b) != 0 || job == NULL || b.job != job->id || job->batch == NULL) {
		worker_fail(w, "sent a batch that nobody asked for");
		return false;
	}
	bytes = aligned(w, &b.records);
	if (bytes == NULL) {
		worker_fail(w, "out of memory");
		return false;
	}
	job->continued = false;
	job->heard = job->op == WORKER_FREEZE || job->op == WORKER_EDIT ? MONO_NEVER : mono_now();
	w->freed = &freed;
	go_on = job->batch(job->batch_priv, job, bytes, b.records.len);
	if (freed) {
		return false;
	}
	w->freed = NULL;
	job->paused = !go_on && !job->continued;
	if (job->paused) {
		TEVENT_FD_NOT_READABLE(w->fde);
		return false;
	}
	return worker_send_credit(w);
}

static bool on_done(struct worker *w, const uint8_t *data, size_t len)
{
	struct worker_job *job = w->job;
	struct worker_done d;

	if (worker_done_view(data, len, &d) != 0 || job == NULL || d.job != job->id || d.status > 4095 ||
	    d.sums.len % sizeof(uint64_t) != 0 || !content_parts_valid(d.sums.len / sizeof(uint64_t))) {
		worker_fail(w, "ended a job that it does not have");
		return false;
	}
	job->result = (struct worker_state){
		.seqnum = d.seqnum,
		.digest = d.digest,
		.records = d.records,
		.next_chain = d.next_chain,
		.journal = d.journal,
		.no_journal = d.no_journal,
	};
	if (d.sums.len > 0) { /* without memory for them they are not known */
		job->result.sums = talloc_memdup(job, d.sums.data, d.sums.len);
		job->result.n_sums = job->result.sums != NULL ? d.sums.len / (uint32_t)sizeof(uint64_t) : 0;
	}
	job->worker = NULL;
	w->job = NULL;
	drop_unsent(w);
	worker_pool_worker_idle(w->owner.pool, w);
	worker_job_end(job, (int)d.status);
	return true;
}

static bool on_log(struct worker *w, const uint8_t *data, size_t len)
{
	struct worker_log l;

	if (worker_log_view(data, len, &l) != 0) {
		worker_fail(w, "sent a malformed log line");
		return false;
	}
	log_ratelimited(l.level == LOG_LVL_WARNING ? LOG_LVL_WARNING : LOG_LVL_ERROR, 1000, "database worker %d: %.*s",
			w->pid, (int)l.text.len, (const char *)l.text.data);
	return true;
}

/* One frame out of the buffer. false: none is complete, or the worker is gone or paused. */
static bool next_frame(struct worker *w)
{
	const uint8_t *p = w->in + w->in_start;
	struct xdr_in in = {.p = p, .end = p + w->in_len};
	uint32_t len, type;

	if (w->in_len < FRAME_HEAD || (w->job != NULL && w->job->paused)) {
		return false;
	}
	len = xdr_get_u32(&in);
	type = xdr_get_u32(&in);
	if (len < 4 || len > WORKER_FRAME_MAX) {
		worker_fail(w, "sent a frame of impossible length");
		return false;
	}
	if (w->in_len < (size_t)len + 4) {
		return false;
	}
	w->in_start += (size_t)len + 4;
	w->in_len -= (size_t)len + 4;
	p += FRAME_HEAD;
	len -= 4;
	switch (type) {
	case WORKER_FRAME_BATCH:
		return on_batch(w, p, len);
	case WORKER_FRAME_DONE:
		return on_done(w, p, len);
	case WORKER_FRAME_LOG:
		return on_log(w, p, len);
	default:
		worker_fail(w, "sent an unknown frame");
		return false;
	}
}

/* Bytes wanted in the buffer: the frame that begins there, or a good portion. */
static size_t in_wanted(const struct worker *w)
{
	struct xdr_in in;
	size_t len;

	if (w->in_len < 4) {
		return READ_BYTES;
	}
	in = (struct xdr_in){.p = w->in + w->in_start, .end = w->in + w->in_start + w->in_len};
	len = (size_t)xdr_get_u32(&in) + 4;
	return len > WORKER_FRAME_MAX + 4 || len < READ_BYTES ? READ_BYTES : len;
}

static bool in_make_room(struct worker *w)
{
	size_t wanted = in_wanted(w);
	uint8_t *buf = w->in;

	if (w->in_start > 0) {
		memmove(w->in, w->in + w->in_start, w->in_len);
		w->in_start = 0;
	}
	/* Back to the usual size after a large record. */
	if (w->in_size < wanted || (w->in_size > 4 * READ_BYTES && wanted == READ_BYTES && w->in_len < READ_BYTES)) {
		buf = talloc_realloc(w, w->in, uint8_t, wanted);
		if (buf == NULL) {
			return false;
		}
		w->in = buf;
		w->in_size = wanted;
	}
	return true;
}

static void worker_read(struct worker *w)
{
	ssize_t n;

	if (!in_make_room(w)) {
		worker_fail(w, "out of memory");
		return;
	}
	n = recv(w->fd, w->in + w->in_len, w->in_size - w->in_len, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		return;
	}
	if (n <= 0) {
		worker_fail(w, "has ended");
		return;
	}
	w->in_len += (size_t)n;
	while (next_frame(w)) {
	}
}

static void worker_handler(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	struct worker *w = talloc_get_type_abort(priv, struct worker);
	bool freed = false;

	if ((flags & TEVENT_FD_WRITE) != 0) {
		w->freed = &freed;
		worker_write(w);
		if (freed) {
			return;
		}
		w->freed = NULL;
	}
	if ((flags & TEVENT_FD_READ) != 0) {
		worker_read(w);
	}
}

static void worker_again(struct tevent_context *ev, struct tevent_immediate *im, void *priv)
{
	struct worker *w = talloc_get_type_abort(priv, struct worker);

	if (w->job != NULL && w->job->paused) {
		return;
	}
	TEVENT_FD_READABLE(w->fde);
	while (next_frame(w)) {
	}
}

void worker_resume(struct worker *w)
{
	if (!worker_send_credit(w)) {
		return;
	}
	tevent_schedule_immediate(w->again, w->owner.ev, worker_again, w);
}

/* ---- the process ---- */

static void worker_exited(void *priv, struct proc *p, int wait_status)
{
	struct worker *w = talloc_get_type_abort(priv, struct worker);

	if (WIFSIGNALED(wait_status)) {
		log_warning("database worker %d: killed by signal %d", w->pid, WTERMSIG(wait_status));
	} else if (WEXITSTATUS(wait_status) != 0) {
		log_warning("database worker %d: exited with status %d", w->pid, WEXITSTATUS(wait_status));
	}
	/* The job ends when the socket's end is read: what the process said before comes first. */
}

/* The socket is read only now: until the process has its end of it, or is known to have failed, that is open here. */
static int worker_begin(struct worker *w, struct tevent_req *req)
{
	int error = proc_spawn_recv(req, w, worker_exited, w, &w->proc);

	TALLOC_FREE(w->starting);
	if (error != 0) {
		return error;
	}
	w->pid = (int)proc_pid(w->proc);
	w->again = tevent_create_immediate(w);
	w->fde = tevent_add_fd(w->owner.ev, w, w->fd, TEVENT_FD_READ, worker_handler, w);
	return w->again == NULL || w->fde == NULL ? ENOMEM : 0;
}

static void worker_spawned(struct tevent_req *req)
{
	struct worker *w = tevent_req_callback_data(req, struct worker);
	struct worker_pool *pool = w->owner.pool;
	int error = worker_begin(w, req);

	if (error != 0) {
		talloc_free(w);
		worker_pool_start_failed(pool, error);
		return;
	}
	worker_pool_worker_started(pool, w);
}

static int spawn(struct worker *w, int child_fd)
{
	char number[16];
	char *argv[] = {talloc_strdup(w, w->owner.program), talloc_strdup(w, "--fd"), number, NULL};

	if (argv[0] == NULL || argv[1] == NULL) {
		close(child_fd);
		return ENOMEM;
	}
	snprintf(number, sizeof(number), "%d", child_fd);
	w->starting = proc_spawn_send(w, w->owner.ev, argv, child_fd, true);
	if (w->starting == NULL) {
		return ENOMEM;
	}
	tevent_req_set_callback(w->starting, worker_spawned, w);
	return 0;
}

int worker_start_process(TALLOC_CTX *mem, const struct worker_owner *owner)
{
	struct worker *w = talloc_zero(mem, struct worker);
	int fds[2];
	int error;

	if (w == NULL) {
		return ENOMEM;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
		error = errno;
		talloc_free(w);
		return error;
	}
	w->owner = *owner;
	w->fd = fds[0];
	dlist_init(&w->out);
	talloc_set_destructor(w, worker_destructor);
	error = spawn(w, fds[1]);
	if (error != 0) {
		talloc_free(w);
	}
	return error;
}
