/* Message library: streams, their registry and the writer's side. */
#include "shared/msg_stream_private.h"

#include <sys/random.h>

#include "shared/log.h"

#define STREAM_BATCH    16 /* chunks per turn of the loop, then others' turn */
#define STREAM_RETRY_MS 20 /* a queue on the way was full */
#define STREAM_PROBE_MS 1000
#define STREAM_END_MS   86400000U /* of the request; how long a reader may take is watched here */

struct stream_write {
	struct tevent_req *req;
	struct msg_stream *s;
	const uint8_t *buf;
	size_t len;
};

struct stream_close {
	struct tevent_req *req, *subreq;
	struct msg_stream *s;
};

struct msg_stream {
	struct dlist entry;
	struct msg_streams *all;
	struct tevent_context *ev;
	struct rpc_client *control, *bulk;
	struct msg_addr dst;
	uint64_t id;
	uint32_t window, chunk, timeout_ms;
	uint64_t sent, consumed;
	int error; /* it has ended */
	bool closed;
	struct mono progress, probe_at, retry_at;
	struct mono_timer *timer;
	struct tevent_req *probe;
	struct stream_write *write;
	struct stream_close *close;
};

/* ---- registry ---- */

static void stream_abort_in(void *priv, struct rpc_call *call, const struct stream_abort *arg)
{
	if (arg->by_writer) {
		stream_reader_abort(priv, call, arg);
	} else {
		stream_writer_abort(priv, call, arg);
	}
}

static int streams_dispatch(void *priv, struct rpc_call *call, uint32_t proc, const uint8_t *buf, size_t len)
{
	static const struct stream_server server = {
		.open = stream_reader_open,
		.data = stream_reader_data,
		.credit = stream_writer_credit,
		.end = stream_reader_end,
		.abort = stream_abort_in,
		.probe = stream_reader_probe,
	};

	return stream_dispatch(&server, priv, call, proc, buf, len);
}

struct msg_streams *msg_streams_get(struct msg *m)
{
	struct msg_streams *all = m->streams;

	if (all != NULL) {
		return all;
	}
	all = talloc_zero(m, struct msg_streams);
	if (all == NULL) {
		return NULL;
	}
	all->m = m;
	dlist_init(&all->services);
	dlist_init(&all->readers);
	dlist_init(&all->writers);
	if (msg_serve(m, STREAM_INTERFACE, STREAM_VERSION, streams_dispatch, all) != 0) {
		talloc_free(all);
		return NULL;
	}
	m->streams = all;
	return all;
}

unsigned msg_streams_count(const struct msg *m)
{
	unsigned n = 0;

	if (m->streams == NULL) {
		return 0;
	}
	dlist_for_each(pos, &m->streams->writers)
	{
		n++;
	}
	return n + m->streams->n_readers;
}

void msg_streams_shutdown(struct msg *m)
{
	if (m->streams != NULL) {
		stream_writers_shutdown(m->streams);
		stream_readers_shutdown(m->streams);
	}
}

/* ---- the end of a writer ---- */

static void writer_stop(struct msg_stream *s)
{
	TALLOC_FREE(s->timer);
	TALLOC_FREE(s->probe);
	dlist_remove(&s->entry);
}

/* Whoever waits is told in the next turn of the loop: this may be in the middle of anything. */
static void writer_fail(struct msg_stream *s, int error)
{
	struct stream_write *w = s->write;
	struct stream_close *c = s->close;

	if (s->error != 0 || s->closed) {
		return;
	}
	s->error = error;
	writer_stop(s);
	if (w != NULL) {
		s->write = NULL;
		w->s = NULL;
		tevent_req_defer_callback(w->req, s->ev);
		tevent_req_error(w->req, (uint64_t)error);
	}
	if (c != NULL) {
		s->close = NULL;
		c->s = NULL;
		TALLOC_FREE(c->subreq);
		tevent_req_defer_callback(c->req, s->ev);
		tevent_req_error(c->req, (uint64_t)error);
	}
}

static void writer_tell_abort(struct msg_stream *s, int status)
{
	const struct stream_abort abort_args = {.id = s->id, .by_writer = true, .status = status};

	if (s->error == 0 && !s->closed) {
		(void)stream_abort(s->control, &abort_args); /* lost: the reader gives up when it hears nothing */
	}
}

void msg_stream_abort(struct msg_stream *s, int status)
{
	writer_tell_abort(s, status > 0 ? status : ECANCELED);
	writer_fail(s, ECANCELED);
}

static int writer_destructor(struct msg_stream *s)
{
	msg_stream_abort(s, ECANCELED);
	writer_stop(s);
	return 0;
}

void stream_writers_shutdown(struct msg_streams *all)
{
	while (!dlist_empty(&all->writers)) {
		struct msg_stream *s = dlist_entry(dlist_first(&all->writers), struct msg_stream, entry);

		writer_tell_abort(s, ESHUTDOWN);
		writer_fail(s, ESHUTDOWN);
		s->control = s->bulk = NULL;
	}
}

static struct msg_stream *writer_find(struct msg_streams *all, const struct rpc_call *call, uint64_t id)
{
	dlist_for_each(pos, &all->writers)
	{
		struct msg_stream *s = dlist_entry(pos, struct msg_stream, entry);

		if (s->id == id && s->dst.node == call->source_node &&
		    strcmp(s->dst.endpoint, call->source_endpoint) == 0) {
			return s;
		}
	}
	return NULL;
}

void stream_writer_abort(struct msg_streams *all, const struct rpc_call *call, const struct stream_abort *arg)
{
	struct msg_stream *s = writer_find(all, call, arg->id);

	if (s != NULL) {
		writer_fail(s, arg->status > 0 ? arg->status : EPROTO);
	}
}

/* ---- writing ---- */

static bool writer_waits(const struct msg_stream *s)
{
	return s->write != NULL || s->close != NULL;
}

static void writer_arm(struct msg_stream *s)
{
	struct mono next = mono_min(s->probe_at, s->retry_at);

	mono_timer_set(s->timer, writer_waits(s) ? mono_min(next, mono_add_ms(s->progress, s->timeout_ms)) : next);
}

/* Many streams share the queue of the next hop with all else: they leave half of it free. */
static bool writer_has_room(const struct msg_stream *s)
{
	const struct msg *m = s->all->m;
	const char *next = s->dst.node == m->own_node ? s->dst.endpoint : MSG_TRANSPORT_ENDPOINT;

	return msg_queue_used(m, next) < m->limits.queue_bytes / 2;
}

/* 0: sent, or there is no credit now. ENOBUFS: no room on the way. */
static int writer_chunk(struct msg_stream *s, struct stream_write *w, bool *sent)
{
	size_t n = w->len < s->chunk ? w->len : s->chunk;
	const struct stream_data data = {
		.id = s->id,
		.offset = s->sent,
		.data = {.len = (uint32_t)n, .data = (uint8_t *)(uintptr_t)w->buf},
	};
	int ret;

	*sent = false;
	if (s->sent - s->consumed + n > s->window) {
		return 0;
	}
	if (!writer_has_room(s)) {
		return ENOBUFS;
	}
	ret = stream_data(s->bulk, &data);
	if (ret == 0) {
		*sent = true;
		s->sent += n;
		w->buf += n;
		w->len -= n;
	}
	return ret;
}

static void close_start(struct stream_close *c);

/* Sends what credit allows. The write may be done, or the stream over, afterwards. */
static void writer_pump(struct msg_stream *s)
{
	struct stream_write *w = s->write;
	bool sent = true;
	unsigned n;
	int ret = 0;

	s->retry_at = MONO_NEVER;
	if (s->close != NULL && s->close->subreq == NULL) {
		close_start(s->close);
	}
	for (n = 0; n < STREAM_BATCH && w != NULL && w->len > 0 && ret == 0 && sent; n++) {
		ret = writer_chunk(s, w, &sent);
	}
	if (ret == ENOBUFS) {
		s->retry_at = mono_add_ms(mono_now(), STREAM_RETRY_MS);
	} else if (ret != 0) {
		writer_tell_abort(s, ret);
		writer_fail(s, ret == ENOENT ? ECONNRESET : ret);
		return;
	} else if (w != NULL && w->len == 0) {
		s->write = NULL;
		w->s = NULL;
		writer_arm(s);
		tevent_req_done(w->req);
		return;
	} else if (w != NULL && sent) {
		s->retry_at = mono_now(); /* the batch is over, credit is not */
	}
	writer_arm(s);
}

static void writer_consumed(struct msg_stream *s, uint64_t consumed)
{
	if (consumed > s->sent) {
		writer_tell_abort(s, EPROTO);
		writer_fail(s, EPROTO);
		return;
	}
	if (consumed > s->consumed) {
		s->consumed = consumed;
		s->progress = mono_now();
		writer_pump(s);
	}
}

void stream_writer_credit(void *priv, struct rpc_call *call, const struct stream_credit *arg)
{
	struct msg_stream *s = writer_find(priv, call, arg->id);

	if (s != NULL) {
		writer_consumed(s, arg->consumed);
	}
}

static void writer_probed(struct tevent_req *req)
{
	struct msg_stream *s = tevent_req_callback_data(req, struct msg_stream);
	struct stream_credit credit;
	int ret = stream_probe_recv(req, req, &credit);

	TALLOC_FREE(s->probe);
	if (ret == 0) {
		writer_consumed(s, credit.consumed);
		return;
	}
	writer_tell_abort(s, ret);
	writer_fail(s, ret == ESRCH || ret == ENOENT || ret == ENOSYS ? ECONNRESET : ret);
}

static void writer_probe(struct msg_stream *s)
{
	const struct stream_probe_args args = {.id = s->id};
	uint32_t every = s->timeout_ms / 4 < STREAM_PROBE_MS ? s->timeout_ms / 4 : STREAM_PROBE_MS;

	s->probe_at = mono_add_ms(mono_now(), every);
	if (s->probe != NULL) {
		return;
	}
	s->probe = stream_probe_send(s, s->ev, s->control, &args, s->timeout_ms);
	if (s->probe != NULL) {
		tevent_req_set_callback(s->probe, writer_probed, s);
	}
}

static void writer_timer(void *priv)
{
	struct msg_stream *s = priv;
	struct mono now = mono_now();

	if (writer_waits(s) && !mono_before(now, mono_add_ms(s->progress, s->timeout_ms))) {
		writer_tell_abort(s, ETIMEDOUT);
		writer_fail(s, ETIMEDOUT);
		return;
	}
	if (!mono_before(now, s->probe_at)) {
		writer_probe(s);
	}
	if (!mono_before(now, s->retry_at)) {
		writer_pump(s);
		return;
	}
	writer_arm(s);
}

/* What it wants may begin to wait now: time in which nothing was wanted does not count. */
static int writer_begin(struct msg_stream *s)
{
	if (s->error != 0) {
		return s->error;
	}
	if (s->closed) {
		return EPIPE;
	}
	if (writer_waits(s)) {
		return EBUSY;
	}
	s->progress = mono_now();
	return 0;
}

static int write_destructor(struct stream_write *w)
{
	if (w->s != NULL) {
		w->s->write = NULL;
		msg_stream_abort(w->s, ECANCELED); /* a part is under way: there is no going on */
	}
	return 0;
}

struct tevent_req *msg_stream_write_send(TALLOC_CTX *mem, struct tevent_context *ev, struct msg_stream *s,
					 const uint8_t *buf, size_t len)
{
	struct stream_write *w;
	struct tevent_req *req = tevent_req_create(mem, &w, struct stream_write);
	int ret;

	if (req == NULL) {
		return NULL;
	}
	ret = writer_begin(s);
	if (ret != 0) {
		tevent_req_error(req, (uint64_t)ret);
		return tevent_req_post(req, ev);
	}
	*w = (struct stream_write){.req = req, .s = s, .buf = buf, .len = len};
	s->write = w;
	talloc_set_destructor(w, write_destructor);
	writer_pump(s);
	return tevent_req_is_in_progress(req) ? req : tevent_req_post(req, ev);
}

static int stream_req_error(struct tevent_req *req)
{
	enum tevent_req_state how;
	uint64_t err = 0;
	int ret = 0;

	if (tevent_req_is_error(req, &how, &err)) {
		ret = how == TEVENT_REQ_USER_ERROR ? (int)err : how == TEVENT_REQ_TIMED_OUT ? ETIMEDOUT : ENOMEM;
	}
	return ret;
}

int msg_stream_write_recv(struct tevent_req *req)
{
	int ret = stream_req_error(req);

	tevent_req_received(req);
	return ret;
}

/* ---- closing ---- */

static void close_done(struct tevent_req *subreq)
{
	struct stream_close *c = tevent_req_callback_data(subreq, struct stream_close);
	struct msg_stream *s = c->s;
	int ret = stream_end_recv(subreq);

	TALLOC_FREE(c->subreq);
	if (ret == ENOBUFS) {
		s->retry_at = mono_add_ms(mono_now(), STREAM_RETRY_MS);
		writer_arm(s);
		return;
	}
	s->close = NULL;
	c->s = NULL;
	/* The reader is through with it, or there is none: nothing is to be said to it any more. */
	s->closed = ret == 0;
	s->error = ret;
	writer_stop(s);
	if (ret != 0) {
		tevent_req_error(c->req, (uint64_t)ret);
	} else {
		tevent_req_done(c->req);
	}
}

static int close_destructor(struct stream_close *c)
{
	if (c->s != NULL) {
		c->s->close = NULL;
		msg_stream_abort(c->s, ECANCELED);
	}
	return 0;
}

static void close_start(struct stream_close *c)
{
	struct msg_stream *s = c->s;
	const struct stream_end_args args = {.id = s->id, .total = s->sent};

	c->subreq = stream_end_send(c, s->ev, s->bulk, &args, STREAM_END_MS);
	if (c->subreq != NULL) {
		tevent_req_set_callback(c->subreq, close_done, c);
	} else {
		s->retry_at = mono_add_ms(mono_now(), STREAM_RETRY_MS);
	}
}

struct tevent_req *msg_stream_close_send(TALLOC_CTX *mem, struct tevent_context *ev, struct msg_stream *s)
{
	struct stream_close *c;
	struct tevent_req *req = tevent_req_create(mem, &c, struct stream_close);
	int ret;

	if (req == NULL) {
		return NULL;
	}
	ret = writer_begin(s);
	if (ret != 0) {
		tevent_req_error(req, (uint64_t)ret);
		return tevent_req_post(req, ev);
	}
	*c = (struct stream_close){.req = req, .s = s};
	s->close = c;
	talloc_set_destructor(c, close_destructor);
	close_start(c);
	writer_arm(s);
	return req;
}

int msg_stream_close_recv(struct tevent_req *req)
{
	int ret = stream_req_error(req);

	tevent_req_received(req);
	return ret;
}

/* ---- opening ---- */

struct stream_open_state {
	struct tevent_req *req;
	struct msg_stream *s;
};

static struct msg_stream *writer_new(TALLOC_CTX *mem, struct tevent_context *ev, struct msg_streams *all,
				     const struct msg_addr *dst, uint32_t timeout_ms)
{
	struct msg_stream *s = talloc_zero(mem, struct msg_stream);

	if (s == NULL) {
		return NULL;
	}
	s->all = all;
	s->ev = ev;
	s->dst = *dst;
	s->dst.node = dst->node == NODE_SELF ? all->m->own_node : dst->node;
	s->timeout_ms = timeout_ms != 0 ? timeout_ms : MSG_STREAM_TIMEOUT_MS;
	s->progress = mono_now();
	s->probe_at = s->progress;
	s->retry_at = MONO_NEVER;
	s->closed = true; /* until the reader has agreed there is nothing to abort */
	s->control = msg_client(s, all->m, &s->dst);
	s->bulk = msg_client_bulk(s, all->m, &s->dst);
	s->timer = mono_timer_new(s, ev, writer_timer, s);
	if (getrandom(&s->id, sizeof(s->id), 0) != (ssize_t)sizeof(s->id)) {
		s->id = all->m->next_id++;
	}
	if (s->control == NULL || s->bulk == NULL || s->timer == NULL) {
		talloc_free(s);
		return NULL;
	}
	talloc_set_destructor(s, writer_destructor);
	return s;
}

static void open_done(struct tevent_req *subreq)
{
	struct stream_open_state *state = tevent_req_callback_data(subreq, struct stream_open_state);
	struct msg_stream *s = state->s;
	struct stream_open_res res;
	int ret = stream_open_recv(subreq, state, &res);

	talloc_free(subreq);
	if (ret == 0 && (res.window < MSG_STREAM_CHUNK || res.window > STREAM_WINDOW_MAX || res.chunk == 0)) {
		ret = EPROTO;
	}
	if (ret != 0) {
		tevent_req_error(state->req, (uint64_t)ret);
		return;
	}
	s->closed = false;
	s->window = res.window;
	s->chunk = res.chunk < MSG_STREAM_CHUNK ? res.chunk : MSG_STREAM_CHUNK;
	dlist_add_tail(&s->all->writers, &s->entry);
	writer_arm(s);
	tevent_req_done(state->req);
}

static int open_check(const struct msg_addr *dst, const struct msg_stream_params *p)
{
	if (dst->node >= NODE_GROUP_ALL && dst->node != NODE_SELF) {
		return EINVAL;
	}
	return msg_endpoint_valid(p->service) && p->argument_len <= STREAM_ARGUMENT_MAX &&
			       (p->window == 0 ||
				(p->window >= MSG_STREAM_WINDOW_MIN && p->window <= STREAM_WINDOW_MAX))
		       ? 0
		       : EINVAL;
}

static struct tevent_req *open_request(struct stream_open_state *state, struct tevent_context *ev,
				       const struct msg_stream_params *p)
{
	const struct stream_open_args args = {
		.id = state->s->id,
		.service = (char *)(uintptr_t)p->service,
		.window = p->window != 0 ? p->window : MSG_STREAM_WINDOW,
		.timeout_ms = state->s->timeout_ms,
		.argument = {.len = (uint32_t)p->argument_len, .data = (uint8_t *)(uintptr_t)p->argument},
	};

	return stream_open_send(state, ev, state->s->control, &args, state->s->timeout_ms);
}

struct tevent_req *msg_stream_open_send(TALLOC_CTX *mem, struct tevent_context *ev, struct msg *m,
					const struct msg_addr *dst, const struct msg_stream_params *params)
{
	struct stream_open_state *state;
	struct tevent_req *subreq, *req = tevent_req_create(mem, &state, struct stream_open_state);
	struct msg_streams *all;

	if (req == NULL) {
		return NULL;
	}
	state->req = req;
	if (open_check(dst, params) != 0) {
		tevent_req_error(req, EINVAL);
		return tevent_req_post(req, ev);
	}
	all = msg_streams_get(m);
	if (tevent_req_nomem(all, req)) {
		return tevent_req_post(req, ev);
	}
	state->s = writer_new(state, ev, all, dst, params->timeout_ms);
	if (tevent_req_nomem(state->s, req)) {
		return tevent_req_post(req, ev);
	}
	subreq = open_request(state, ev, params);
	if (tevent_req_nomem(subreq, req)) {
		return tevent_req_post(req, ev);
	}
	tevent_req_set_callback(subreq, open_done, state);
	return req;
}

int msg_stream_open_recv(struct tevent_req *req, TALLOC_CTX *mem, struct msg_stream **s)
{
	struct stream_open_state *state = tevent_req_data(req, struct stream_open_state);
	int ret = stream_req_error(req);

	if (ret == 0) {
		*s = talloc_steal(mem, state->s);
		state->s = NULL;
	}
	tevent_req_received(req);
	return ret;
}
