/* Tests of streams: intact, bounded, and ended on both sides whatever happens to one. */
#include "shared/msg_stream.h"
#include "test_msg_util.h"

#include "protocol/stream_rpc.h"

#define SERVICE "bytes"

/* What the reader does and has seen. */
struct sink {
	struct world *w;
	struct msg *m;
	struct msg_stream_reader *r;
	bool hold;  /* consumes nothing by itself */
	int refuse; /* open() says so */
	int finish; /* end() is answered with that; -1: not at once */
	uint64_t bytes, hash, held, most;
	unsigned opened, ends;
	int status;
	char argument[32];
	struct msg_addr source;
};

struct stage {
	struct world *w;
	struct sink sink;
	struct msg *m;
	struct msg_stream *s;
};

static uint64_t hash_bytes(uint64_t h, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		h = (h ^ p[i]) * 1099511628211ULL;
	}
	return h;
}

static int sink_open(void *priv, struct msg_stream_reader *r, const uint8_t *argument, size_t len)
{
	struct sink *k = priv;

	k->opened++;
	assert_true(len < sizeof(k->argument));
	if (len > 0) {
		memcpy(k->argument, argument, len);
	}
	msg_stream_reader_source(r, &k->source);
	msg_stream_reader_set(r, k);
	if (k->refuse == 0) {
		k->r = r;
	}
	return k->refuse;
}

static void sink_data(void *priv, struct msg_stream_reader *r, const uint8_t *buf, size_t len)
{
	struct sink *k = priv;

	assert_ptr_equal(msg_stream_reader_get(r), k);
	k->bytes += len;
	k->hash = hash_bytes(k->hash, buf, len);
	k->held += len;
	k->most = k->held > k->most ? k->held : k->most;
	if (!k->hold) {
		msg_stream_consumed(r, len);
		k->held = 0;
	}
}

static void sink_end(void *priv, struct msg_stream_reader *r, int status)
{
	struct sink *k = priv;

	k->ends++;
	k->status = status;
	if (status != 0) {
		k->r = NULL;
	} else if (k->finish >= 0) {
		k->r = NULL;
		msg_stream_finish(r, k->finish);
	}
}

static const struct msg_stream_ops sink_ops = {.open = sink_open, .data = sink_data, .end = sink_end};

static void stage_start(struct stage *st)
{
	*st = (struct stage){.w = world_new()};
	st->sink.w = st->w;
	st->sink.m = world_open(st->w, "db", NULL);
	assert_int_equal(msg_stream_serve(st->sink.m, SERVICE, &sink_ops, &st->sink), 0);
	st->m = world_open(st->w, "cli.1", NULL);
}

static int stage_open(struct stage *st, const char *service, uint32_t window, uint32_t timeout_ms)
{
	const struct msg_addr dst = {.endpoint = "db", .node = NODE_SELF};
	const struct msg_stream_params params = {.service = service,
						 .argument = (const uint8_t *)"what",
						 .argument_len = 5,
						 .window = window,
						 .timeout_ms = timeout_ms};
	struct tevent_req *req = msg_stream_open_send(st->w, st->w->ev, st->m, &dst, &params);
	int ret;

	WAIT_FOR(st->w, !tevent_req_is_in_progress(req));
	ret = msg_stream_open_recv(req, st->w, &st->s);
	talloc_free(req);
	return ret;
}

static struct tevent_req *stage_write(struct stage *st, const void *buf, size_t len)
{
	return msg_stream_write_send(st->w, st->w->ev, st->s, buf, len);
}

static int write_result(struct stage *st, struct tevent_req *req)
{
	int ret;

	WAIT_FOR(st->w, !tevent_req_is_in_progress(req));
	ret = msg_stream_write_recv(req);
	talloc_free(req);
	return ret;
}

static int stage_close(struct stage *st)
{
	struct tevent_req *req = msg_stream_close_send(st->w, st->w->ev, st->s);
	int ret;

	WAIT_FOR(st->w, !tevent_req_is_in_progress(req));
	ret = msg_stream_close_recv(req);
	talloc_free(req);
	return ret;
}

static uint8_t *pattern(TALLOC_CTX *mem, size_t size)
{
	uint8_t *data = talloc_size(mem, size);

	for (size_t i = 0; i < size; i++) {
		data[i] = (uint8_t)(i * 31 + (i >> 11));
	}
	return data;
}

static void test_intact(void **state)
{
	const size_t sizes[] = {0, 1, 59 << 10, 60 << 10, 61 << 10, 300000, 20U << 20};
	struct stage st;

	stage_start(&st);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint8_t *data = pattern(st.w, sizes[i]);

		st.sink.bytes = st.sink.hash = st.sink.most = 0;
		assert_int_equal(stage_open(&st, SERVICE, 0, 0), 0);
		assert_string_equal(st.sink.argument, "what");
		assert_string_equal(st.sink.source.endpoint, "cli.1");
		assert_int_equal(write_result(&st, stage_write(&st, data, sizes[i])), 0);
		assert_int_equal(write_result(&st, stage_write(&st, "tail", 4)), 0);
		assert_int_equal(stage_close(&st), 0);
		assert_int_equal(st.sink.status, 0);
		assert_int_equal(st.sink.bytes, sizes[i] + 4);
		assert_true(st.sink.hash == hash_bytes(hash_bytes(0, data, sizes[i]), (const uint8_t *)"tail", 4));
		assert_int_equal(write_result(&st, stage_write(&st, "x", 1)), EPIPE);
		assert_int_equal(stage_close(&st), EPIPE);
		talloc_free(st.s);
		talloc_free(data);
	}
	assert_int_equal(st.sink.ends, sizeof(sizes) / sizeof(sizes[0]));
	assert_int_equal(msg_stats(st.sink.m)->dropped_malformed, 0);
	world_free(st.w);
}

/* The writer never has more under way than the window, and goes on when the reader does. */
static void test_window(void **state)
{
	struct stage st;
	uint8_t *data;
	struct tevent_req *req;
	uint64_t rounds = 0;

	stage_start(&st);
	st.sink.hold = true;
	data = pattern(st.w, 3U << 20);
	assert_int_equal(stage_open(&st, SERVICE, MSG_STREAM_WINDOW_MIN, 60000), 0);
	req = stage_write(&st, data, 3U << 20);
	assert_int_equal(write_result(&st, stage_write(&st, "x", 1)), EBUSY);
	while (tevent_req_is_in_progress(req)) {
		uint64_t before = st.sink.bytes;

		/* Four chunks of 60 KiB fit into 256 KiB. */
		WAIT_FOR(st.w,
			 st.sink.held > MSG_STREAM_WINDOW_MIN - MSG_STREAM_CHUNK || !tevent_req_is_in_progress(req));
		for (unsigned i = 0; i < 20; i++) {
			util_turn(st.w->ev);
		}
		assert_true(st.sink.held <= MSG_STREAM_WINDOW_MIN);
		assert_true(st.sink.bytes >= before);
		msg_stream_consumed(st.sink.r, st.sink.held);
		st.sink.held = 0;
		rounds++;
	}
	assert_int_equal(write_result(&st, req), 0);
	assert_true(rounds >= 10);
	assert_true(st.sink.most <= MSG_STREAM_WINDOW_MIN);
	WAIT_FOR(st.w, st.sink.bytes == 3U << 20);
	assert_int_equal(stage_close(&st), 0);
	assert_true(st.sink.hash == hash_bytes(0, data, 3U << 20));
	world_free(st.w);
}

/* More streams than the queue of their way holds: they wait for each other, and nothing is dropped. */
static void test_many(void **state)
{
	enum { N = 12 };
	const struct msg_limits limits = {.queue_bytes = 1U << 20};
	struct stage st;
	struct tevent_req *reqs[N];
	struct msg_stream *s[N];
	uint8_t *data;

	stage_start(&st);
	talloc_free(st.m);
	st.m = world_open(st.w, "cli.1", &limits);
	data = pattern(st.w, 2U << 20);
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(stage_open(&st, SERVICE, 0, 60000), 0);
		s[i] = st.s;
	}
	for (unsigned i = 0; i < N; i++) {
		st.s = s[i];
		reqs[i] = stage_write(&st, data, 2U << 20);
	}
	for (unsigned i = 0; i < N; i++) {
		st.s = s[i];
		assert_int_equal(write_result(&st, reqs[i]), 0);
		assert_int_equal(stage_close(&st), 0);
	}
	assert_int_equal(st.sink.bytes, (uint64_t)N * (2U << 20));
	assert_int_equal(msg_stats(st.m)->dropped_full, 0);
	world_free(st.w);
}

static void test_refused(void **state)
{
	struct stage st;
	struct msg *m;

	stage_start(&st);
	assert_int_equal(stage_open(&st, "other", 0, 0), ENOSYS);
	assert_int_equal(stage_open(&st, "Bad name", 0, 0), EINVAL);
	assert_int_equal(stage_open(&st, SERVICE, 1, 0), EINVAL);
	assert_int_equal(stage_open(&st, SERVICE, MSG_STREAM_WINDOW + 1, 0), EINVAL);
	st.sink.refuse = EACCES;
	assert_int_equal(stage_open(&st, SERVICE, 0, 0), EACCES);
	st.sink.refuse = 0;
	assert_int_equal(msg_stream_serve(st.sink.m, SERVICE, &sink_ops, NULL), EEXIST);
	assert_int_equal(msg_stream_serve(st.sink.m, "", &sink_ops, NULL), EINVAL);
	for (unsigned i = 0; i < MSG_STREAMS_MAX; i++) {
		assert_int_equal(stage_open(&st, SERVICE, 0, 0), 0);
	}
	assert_int_equal(stage_open(&st, SERVICE, 0, 0), EBUSY);
	m = st.sink.m;
	st.sink.m = NULL;
	talloc_free(m); /* all of them end, on both sides */
	assert_int_equal(st.sink.ends, MSG_STREAMS_MAX);
	assert_int_equal(st.sink.status, ESHUTDOWN);
	assert_int_equal(stage_open(&st, SERVICE, 0, 0), ENOENT);
	world_free(st.w);
}

static void test_reader_says(void **state)
{
	struct stage st;

	stage_start(&st);
	st.sink.finish = EDQUOT; /* all is there, but it could not be kept */
	assert_int_equal(stage_open(&st, SERVICE, 0, 0), 0);
	assert_int_equal(write_result(&st, stage_write(&st, "abc", 3)), 0);
	assert_int_equal(stage_close(&st), EDQUOT);
	assert_int_equal(write_result(&st, stage_write(&st, "abc", 3)), EDQUOT);
	talloc_free(st.s);
	/* in the middle: whoever writes is told */
	st.sink.hold = true;
	assert_int_equal(stage_open(&st, SERVICE, 0, 0), 0);
	uint8_t *data = pattern(st.w, 10U << 20);
	struct tevent_req *req = stage_write(&st, data, 10U << 20);

	WAIT_FOR(st.w, st.sink.held > 0);
	msg_stream_finish(st.sink.r, ENOSPC);
	assert_int_equal(write_result(&st, req), ENOSPC);
	assert_int_equal(stage_close(&st), ENOSPC);
	assert_int_equal(st.sink.ends, 1);
	world_free(st.w);
}

static void test_writer_gives_up(void **state)
{
	struct stage st;
	uint8_t *data;
	struct tevent_req *req;

	stage_start(&st);
	st.sink.hold = true;
	data = pattern(st.w, 10U << 20);
	assert_int_equal(stage_open(&st, SERVICE, 0, 0), 0);
	msg_stream_abort(st.s, EIO);
	WAIT_FOR(st.w, st.sink.ends == 1);
	assert_int_equal(st.sink.status, EIO);
	talloc_free(st.s);
	assert_int_equal(stage_open(&st, SERVICE, 0, 0), 0);
	talloc_free(st.s);
	WAIT_FOR(st.w, st.sink.ends == 2);
	assert_int_equal(st.sink.status, ECANCELED);
	/* a request that is given up takes its stream along */
	assert_int_equal(stage_open(&st, SERVICE, 0, 0), 0);
	req = stage_write(&st, data, 10U << 20);
	WAIT_FOR(st.w, st.sink.held > 0);
	talloc_free(req);
	WAIT_FOR(st.w, st.sink.ends == 3);
	assert_int_equal(st.sink.status, ECANCELED);
	assert_int_equal(write_result(&st, stage_write(&st, "x", 1)), ECANCELED);
	world_free(st.w);
}

/* Nobody hears of the other one any more. */
static void test_silence(void **state)
{
	struct stage st;
	uint8_t *data;
	struct tevent_req *req;

	stage_start(&st);
	data = pattern(st.w, 10U << 20);
	/* The reader does not get on. The time is the limit of the open, too. */
	st.sink.hold = true;
	assert_int_equal(stage_open(&st, SERVICE, 0, 4000), 0);
	assert_int_equal(write_result(&st, stage_write(&st, data, 10U << 20)), ETIMEDOUT);
	WAIT_FOR(st.w, st.sink.ends == 1);
	assert_int_equal(st.sink.status, ETIMEDOUT);
	talloc_free(st.s);
	/* It does not finish. */
	st.sink.hold = false;
	st.sink.finish = -1;
	assert_int_equal(stage_open(&st, SERVICE, 0, 4000), 0);
	assert_int_equal(stage_close(&st), ETIMEDOUT);
	WAIT_FOR(st.w, st.sink.ends == 3);
	assert_int_equal(st.sink.status, ETIMEDOUT);
	talloc_free(st.s);
	/* The reader's process is gone. */
	st.sink.hold = true;
	assert_int_equal(stage_open(&st, SERVICE, 0, 20000), 0);
	req = stage_write(&st, data, 10U << 20);
	WAIT_FOR(st.w, st.sink.held > 0);
	TALLOC_FREE(st.sink.m);
	assert_int_equal(write_result(&st, req), ESHUTDOWN);
	world_free(st.w);
}

/* A writer that opens a stream and is never heard of again. */
static void test_writer_vanishes(void **state)
{
	struct stage st;
	struct rpc_client *c;
	struct stream_open_args args = {.id = 5, .service = (char[]){SERVICE}, .window = 1U << 20, .timeout_ms = 300};
	struct stream_open_res res;
	struct tevent_req *req;

	stage_start(&st);
	c = client_to(st.w, st.m, "db", NODE_SELF);
	req = stream_open_send(st.w, st.w->ev, c, &args, 30000);
	WAIT_FOR(st.w, !tevent_req_is_in_progress(req));
	assert_int_equal(stream_open_recv(req, st.w, &res), 0);
	assert_int_equal(res.window, 1U << 20);
	WAIT_FOR(st.w, st.sink.ends == 1);
	assert_int_equal(st.sink.status, ETIMEDOUT);
	world_free(st.w);
}

static int raw_end(struct stage *st, struct rpc_client *c, uint64_t id, uint64_t total)
{
	struct stream_end_args args = {.id = id, .total = total};
	struct tevent_req *req = stream_end_send(st->w, st->w->ev, c, &args, 30000);
	int ret;

	WAIT_FOR(st->w, !tevent_req_is_in_progress(req));
	ret = stream_end_recv(req);
	talloc_free(req);
	return ret;
}

/* Packets that a correct writer does not send, or that got lost. */
static void test_bad_writer(void **state)
{
	struct stage st;
	struct rpc_client *c;
	static uint8_t bytes[STREAM_CHUNK_MAX];
	struct stream_data data = {.data = {.len = 1000, .data = bytes}};

	stage_start(&st);
	st.sink.hold = true;
	c = client_to(st.w, st.m, "db", NODE_SELF);
	for (uint64_t id = 1; id <= 5; id++) {
		struct stream_open_args args = {
			.id = id, .service = (char[]){SERVICE}, .window = 1, .timeout_ms = 30000};
		struct tevent_req *req = stream_open_send(st.w, st.w->ev, c, &args, 30000);
		struct stream_open_res res;

		WAIT_FOR(st.w, !tevent_req_is_in_progress(req));
		assert_int_equal(stream_open_recv(req, st.w, &res), 0);
		assert_int_equal(res.window, MSG_STREAM_WINDOW_MIN);
		talloc_free(req);
	}
	data.id = 1;
	data.offset = 1; /* a gap */
	assert_int_equal(stream_data(c, &data), 0);
	WAIT_FOR(st.w, st.sink.ends == 1);
	assert_int_equal(st.sink.status, ECONNRESET);
	data.id = 2; /* more than the window */
	data.offset = 0;
	data.data.len = sizeof(bytes);
	assert_int_equal(stream_data(c, &data), 0);
	data.offset = sizeof(bytes);
	assert_int_equal(stream_data(c, &data), 0);
	WAIT_FOR(st.w, st.sink.ends == 2);
	assert_int_equal(st.sink.status, EPROTO);
	assert_int_equal(raw_end(&st, c, 3, 7), ECONNRESET); /* the last bytes were lost */
	assert_int_equal(st.sink.ends, 3);
	assert_int_equal(raw_end(&st, c, 99, 0), ECONNRESET); /* no such stream */
	data.id = 4;                                          /* of another endpoint: not found */
	data.offset = 0;
	data.data.len = 1;
	struct msg *other = world_open(st.w, "cli.2", NULL);

	assert_int_equal(stream_data(client_to(st.w, other, "db", NODE_SELF), &data), 0);
	assert_int_equal(raw_end(&st, client_to(st.w, other, "db", NODE_SELF), 4, 1), ECONNRESET);
	assert_int_equal(st.sink.ends, 3);
	assert_int_equal(raw_end(&st, c, 4, 0), 0);
	world_free(st.w);
	assert_int_equal(st.sink.status, ESHUTDOWN); /* the fifth */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_intact),      cmocka_unit_test(test_window),
		cmocka_unit_test(test_many),        cmocka_unit_test(test_refused),
		cmocka_unit_test(test_reader_says), cmocka_unit_test(test_writer_gives_up),
		cmocka_unit_test(test_silence),     cmocka_unit_test(test_writer_vanishes),
		cmocka_unit_test(test_bad_writer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
