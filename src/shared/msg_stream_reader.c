/* Message library: streams, the reader's side. */
#include "shared/msg_stream_private.h"

#include "shared/log.h"

#define READER_TIMEOUT_MIN_MS 100
#define READER_TIMEOUT_MAX_MS 3600000

struct stream_service {
	struct dlist entry;
	char *name;
	const struct msg_stream_ops *ops;
	void *priv;
};

struct msg_stream_reader {
	struct dlist entry;
	struct msg_streams *all;
	const struct stream_service *service;
	struct rpc_client *client; /* of the writer */
	struct msg_addr source;
	uint64_t id;
	uint32_t window, timeout_ms;
	uint64_t received, consumed, told;
	struct mono_timer *timer; /* since it was heard last */
	struct rpc_call *end;     /* the writer waits for its answer */
	void *data;
};

static struct stream_service *service_find(const struct msg_streams *all, const char *name)
{
	dlist_for_each(pos, &all->services)
	{
		struct stream_service *s = dlist_entry(pos, struct stream_service, entry);

		if (strcmp(s->name, name) == 0) {
			return s;
		}
	}
	return NULL;
}

int msg_stream_serve(struct msg *m, const char *name, const struct msg_stream_ops *ops, void *priv)
{
	struct msg_streams *all;
	struct stream_service *s;

	if (!msg_endpoint_valid(name)) {
		return EINVAL;
	}
	all = msg_streams_get(m);
	if (all == NULL) {
		return ENOMEM;
	}
	if (service_find(all, name) != NULL) {
		return EEXIST;
	}
	s = talloc_zero(all, struct stream_service);
	if (s == NULL) {
		return ENOMEM;
	}
	s->name = talloc_strdup(s, name);
	if (s->name == NULL) {
		talloc_free(s);
		return ENOMEM;
	}
	s->ops = ops;
	s->priv = priv;
	dlist_add_tail(&all->services, &s->entry);
	return 0;
}

/* ---- the end of a reader ---- */

static int reader_destructor(struct msg_stream_reader *r)
{
	dlist_remove(&r->entry);
	r->all->n_readers--;
	return 0;
}

static void reader_tell_abort(struct msg_stream_reader *r, int status)
{
	const struct stream_abort args = {.id = r->id, .by_writer = false, .status = status};

	(void)stream_abort(r->client, &args); /* lost: the writer's next probe finds no stream */
}

/* The service is told, then it is gone. */
static void reader_fail(struct msg_stream_reader *r, int error)
{
	if (r->end != NULL) {
		rpc_call_fail(r->end, error);
		r->end = NULL;
	}
	TALLOC_FREE(r->timer);
	dlist_remove(&r->entry); /* nothing comes in for it any more */
	r->service->ops->end(r->service->priv, r, error);
	talloc_free(r);
}

static void reader_break(struct msg_stream_reader *r, int error)
{
	reader_tell_abort(r, error);
	reader_fail(r, error);
}

static void reader_timer(void *priv)
{
	reader_break(priv, ETIMEDOUT);
}

void stream_readers_shutdown(struct msg_streams *all)
{
	while (!dlist_empty(&all->readers)) {
		reader_break(dlist_entry(dlist_first(&all->readers), struct msg_stream_reader, entry), ESHUTDOWN);
	}
}

void msg_stream_finish(struct msg_stream_reader *r, int status)
{
	struct rpc_call *end = r->end;

	r->end = NULL;
	if (end == NULL) {
		reader_tell_abort(r, status > 0 ? status : ECANCELED);
	} else if (status == 0) {
		stream_end_reply(end);
	} else {
		rpc_call_fail(end, status);
	}
	talloc_free(r);
}

/* ---- packets ---- */

static struct msg_stream_reader *reader_find(const struct msg_streams *all, const struct rpc_call *call, uint64_t id)
{
	dlist_for_each(pos, &all->readers)
	{
		struct msg_stream_reader *r = dlist_entry(pos, struct msg_stream_reader, entry);

		if (r->id == id && r->source.node == call->source_node &&
		    strcmp(r->source.endpoint, call->source_endpoint) == 0) {
			return r;
		}
	}
	return NULL;
}

static void reader_heard(struct msg_stream_reader *r)
{
	mono_timer_set(r->timer, mono_add_ms(mono_now(), r->timeout_ms));
}

static uint32_t clamp(uint32_t v, uint32_t low, uint32_t high)
{
	return v < low ? low : v > high ? high : v;
}

static struct msg_stream_reader *reader_new(struct msg_streams *all, const struct stream_service *service,
					    const struct rpc_call *call, const struct stream_open_args *arg)
{
	struct msg_stream_reader *r = talloc_zero(all, struct msg_stream_reader);

	if (r == NULL) {
		return NULL;
	}
	r->all = all;
	r->service = service;
	r->id = arg->id;
	r->source.node = call->source_node;
	strncpy(r->source.endpoint, call->source_endpoint, sizeof(r->source.endpoint) - 1);
	r->window = clamp(arg->window, MSG_STREAM_WINDOW_MIN, STREAM_WINDOW_MAX);
	r->timeout_ms = clamp(arg->timeout_ms, READER_TIMEOUT_MIN_MS, READER_TIMEOUT_MAX_MS);
	r->client = msg_client(r, all->m, &r->source);
	r->timer = mono_timer_new(r, all->m->ev, reader_timer, r);
	if (r->client == NULL || r->timer == NULL) {
		talloc_free(r);
		return NULL;
	}
	dlist_add_tail(&all->readers, &r->entry);
	all->n_readers++;
	talloc_set_destructor(r, reader_destructor);
	return r;
}

/* 0, or why there is no reader. */
static int reader_open(struct msg_streams *all, const struct rpc_call *call, const struct stream_open_args *arg,
		       struct msg_stream_reader **result)
{
	const struct stream_service *service = service_find(all, arg->service);
	struct msg_stream_reader *r;
	int ret;

	if (service == NULL) {
		return ENOSYS;
	}
	if (all->n_readers >= MSG_STREAMS_MAX) {
		return EBUSY;
	}
	if (reader_find(all, call, arg->id) != NULL) {
		return EEXIST;
	}
	r = reader_new(all, service, call, arg);
	if (r == NULL) {
		return ENOMEM;
	}
	ret = service->ops->open(service->priv, r, arg->argument.data, arg->argument.len);
	if (ret != 0) {
		talloc_free(r);
		return ret;
	}
	*result = r;
	return 0;
}

void stream_reader_open(void *priv, struct rpc_call *call, const struct stream_open_args *arg)
{
	struct msg_stream_reader *r = NULL;
	int ret = reader_open(priv, call, arg, &r);

	if (ret != 0) {
		rpc_call_fail(call, ret);
		return;
	}
	reader_heard(r);
	const struct stream_open_res res = {.window = r->window, .chunk = STREAM_CHUNK_MAX};

	stream_open_reply(call, &res);
}

void stream_reader_data(void *priv, struct rpc_call *call, const struct stream_data *arg)
{
	struct msg_stream_reader *r = reader_find(priv, call, arg->id);

	if (r == NULL) {
		return; /* it has ended here; the writer knows, or finds out by its next probe */
	}
	if (arg->offset != r->received) {
		log_info("stream \"%s\" from %s@%u: %llu bytes were lost on the way", r->service->name,
			 r->source.endpoint, r->source.node, (unsigned long long)(arg->offset - r->received));
		reader_break(r, ECONNRESET);
		return;
	}
	if (arg->data.len > r->window - (r->received - r->consumed) || r->end != NULL) {
		log_warning("stream \"%s\" from %s@%u: it sends more than it may", r->service->name, r->source.endpoint,
			    r->source.node);
		reader_break(r, EPROTO);
		return;
	}
	reader_heard(r);
	r->received += arg->data.len;
	r->service->ops->data(r->service->priv, r, arg->data.data, arg->data.len);
}

void stream_reader_end(void *priv, struct rpc_call *call, const struct stream_end_args *arg)
{
	struct msg_stream_reader *r = reader_find(priv, call, arg->id);

	if (r == NULL) {
		rpc_call_fail(call, ECONNRESET);
		return;
	}
	if (r->end != NULL || arg->total != r->received) {
		rpc_call_fail(call, r->end != NULL ? EPROTO : ECONNRESET);
		reader_fail(r, r->end != NULL ? EPROTO : ECONNRESET);
		return;
	}
	reader_heard(r);
	r->end = call;
	r->service->ops->end(r->service->priv, r, 0);
}

void stream_reader_probe(void *priv, struct rpc_call *call, const struct stream_probe_args *arg)
{
	struct msg_stream_reader *r = reader_find(priv, call, arg->id);
	struct stream_credit credit = {.id = arg->id};

	if (r == NULL) {
		rpc_call_fail(call, ESRCH);
		return;
	}
	reader_heard(r);
	r->told = r->consumed;
	credit.consumed = r->consumed;
	stream_probe_reply(call, &credit);
}

void stream_reader_abort(struct msg_streams *all, const struct rpc_call *call, const struct stream_abort *arg)
{
	struct msg_stream_reader *r = reader_find(all, call, arg->id);

	if (r != NULL) {
		reader_fail(r, arg->status > 0 ? arg->status : EPROTO);
	}
}

/* ---- for services ---- */

/* Credit in portions of an eighth of the window: the writer always has room left for its next chunk when it comes. */
void msg_stream_consumed(struct msg_stream_reader *r, size_t n)
{
	size_t open = (size_t)(r->received - r->consumed);
	struct stream_credit credit = {.id = r->id};

	r->consumed += n < open ? n : open;
	if (r->consumed - r->told < r->window / 8) {
		return;
	}
	credit.consumed = r->consumed;
	if (stream_credit(r->client, &credit) == 0) {
		r->told = r->consumed;
	}
}

void msg_stream_reader_set(struct msg_stream_reader *r, void *data)
{
	r->data = data;
}

void *msg_stream_reader_get(const struct msg_stream_reader *r)
{
	return r->data;
}

void msg_stream_reader_source(const struct msg_stream_reader *r, struct msg_addr *addr)
{
	*addr = r->source;
}
