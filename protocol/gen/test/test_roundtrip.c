/* Every generated type of every interface: random values through all codecs, cut off and damaged inputs, leaks. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "protocol/backup_table.h"
#include "protocol/classic_table.h"
#include "protocol/cluster_table.h"
#include "protocol/constructs_table.h"
#include "protocol/db_table.h"
#include "protocol/dbkeep_table.h"
#include "protocol/gen_test.h"
#include "protocol/lane_table.h"
#include "protocol/link_table.h"
#include "protocol/msg_table.h"
#include "protocol/msgstat_table.h"
#include "protocol/reload_table.h"
#include "protocol/natives_table.h"
#include "protocol/stream_table.h"
#include "protocol/super_table.h"
#include "protocol/transport_table.h"
#include "protocol/tunnel_table.h"
#include "protocol/worker_table.h"

#define ROUNDS  40
#define CUTS    400
#define DAMAGES 60

/* A codec of a type: XDR or native, so that the same checks run for both. */
struct codec {
	const struct gen_type *t;
	bool native;
};

static size_t codec_size(const struct codec *c, const void *v)
{
	return c->native ? c->t->nsize(v) : c->t->xdr_size(v);
}

static int codec_encode(const struct codec *c, TALLOC_CTX *mem, const void *v, struct ctdb_blob *out)
{
	return c->native ? c->t->nencode(mem, v, out) : c->t->encode(mem, v, out);
}

/* Into a buffer of the caller. */
static void codec_put(const struct codec *c, TALLOC_CTX *mem, struct xdr_buf *reused, const void *v,
		      struct ctdb_blob *out)
{
	if (!c->native) {
		assert_int_equal(c->t->encode_to(mem, reused, v, out), 0);
		return;
	}
	out->len = (uint32_t)c->t->nsize(v);
	out->data = talloc_array(mem, uint8_t, out->len);
	assert_non_null(out->data);
	memset(out->data, 0xa5, out->len);
	if (out->len > 0) {
		assert_int_not_equal(c->t->nput(out->data, out->len - 1, v), 0);
	}
	assert_int_equal(c->t->nput(out->data, out->len, v), 0);
}

static int codec_decode(const struct codec *c, TALLOC_CTX *mem, const uint8_t *buf, size_t len, void *v)
{
	return c->native ? c->t->ndecode(mem, buf, len, v, NULL) : c->t->decode(mem, buf, len, v);
}

static bool codec_has_view(const struct codec *c)
{
	return c->native ? c->t->nview != NULL : c->t->view != NULL || c->t->view_at != NULL;
}

static int codec_view(const struct codec *c, const uint8_t *buf, size_t len, void *v)
{
	static char room[GEN_VIEW_ROOM_MAX];

	if (!c->native && c->t->view_at != NULL) {
		memset(room, 0xa5, sizeof(room));
		return c->t->view_at(buf, len, v, room);
	}
	return c->native ? c->t->nview(buf, len, v, NULL) : c->t->view(buf, len, v);
}

static void *value_new(TALLOC_CTX *mem, const struct gen_type *t)
{
	void *v = talloc_size(mem, t->size);

	assert_non_null(v);
	memset(v, 0xa5, t->size);
	return v;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	while (n-- > 0) {
		if (*p++ != 0) {
			return false;
		}
	}
	return true;
}

static void check_values(const struct codec *c, TALLOC_CTX *mem, const void *v, const struct ctdb_blob *buf)
{
	void *w = value_new(mem, c->t);
	struct ctdb_blob again;
	struct xdr_buf reused = {0};
	uint8_t *copy = gen_exact_copy(buf->data, buf->len);

	assert_int_equal(codec_decode(c, mem, copy, buf->len, w), 0);
	assert_true(c->t->equal(v, w));
	assert_int_equal(c->t->validate(w), 0);
	assert_int_equal(codec_encode(c, mem, w, &again), 0);
	assert_int_equal(again.len, buf->len);
	assert_memory_equal(again.data, buf->data, buf->len);
	codec_put(c, mem, &reused, w, &again);
	assert_int_equal(again.len, buf->len);
	assert_memory_equal(again.data, buf->data, buf->len);
	if (codec_has_view(c)) {
		memset(w, 0xa5, c->t->size);
		assert_int_equal(codec_view(c, copy, buf->len, w), 0);
		assert_true(c->t->equal(v, w));
	}
	free(copy);
}

static void check_trailing(const struct codec *c, TALLOC_CTX *mem, const void *v, const struct ctdb_blob *buf)
{
	void *w = value_new(mem, c->t);
	uint8_t *longer;

	if (c->native && c->t->native_open) {
		return;
	}
	longer = malloc(buf->len + 5);
	assert_non_null(longer);
	memcpy(longer, buf->data, buf->len);
	memset(longer + buf->len, 0xff, 5);
	assert_int_equal(codec_decode(c, mem, longer, buf->len + 5, w), 0);
	assert_true(c->t->equal(v, w));
	free(longer);
}

/* Cut off anywhere, an input is refused, nothing stays allocated, the value is zero. */
static void check_cuts(const struct codec *c, TALLOC_CTX *mem, const struct ctdb_blob *buf)
{
	bool may_succeed = c->native ? c->t->native_open : c->t->since;
	void *w = value_new(mem, c->t);
	size_t blocks = talloc_total_blocks(mem);
	size_t step = buf->len / CUTS + 1;

	for (size_t len = 0; len < buf->len; len += step) {
		uint8_t *copy = gen_exact_copy(buf->data, len);
		TALLOC_CTX *sub = talloc_new(mem);
		int err;

		memset(w, 0xa5, c->t->size);
		err = codec_decode(c, sub, copy, len, w);
		if (err != 0 || !may_succeed) {
			assert_int_equal(err, EBADMSG);
			assert_true(all_zero(w, c->t->size));
			assert_int_equal(talloc_total_blocks(mem), blocks + 1);
		}
		if (codec_has_view(c)) {
			memset(w, 0xa5, c->t->size);
			assert_int_equal(codec_view(c, copy, len, w), err);
		}
		talloc_free(sub);
		free(copy);
	}
	assert_int_equal(talloc_total_blocks(mem), blocks);
}

/* Changed bytes: refused, or a valid value that survives another round. */
static void check_damage(const struct codec *c, uint64_t *rnd, TALLOC_CTX *mem, const struct ctdb_blob *buf)
{
	size_t blocks = talloc_total_blocks(mem);

	for (int i = 0; i < DAMAGES && buf->len > 0; i++) {
		uint8_t *copy = gen_exact_copy(buf->data, buf->len);
		TALLOC_CTX *sub = talloc_new(mem);
		void *a = value_new(sub, c->t), *b = value_new(sub, c->t);
		struct ctdb_blob again;
		int err;

		for (uint32_t n = gen_random_below(rnd, 3) + 1; n > 0; n--) {
			copy[gen_random_below(rnd, buf->len)] = (uint8_t)gen_random_number(rnd, 8);
		}
		err = codec_decode(c, sub, copy, buf->len, a);
		if (err == 0) {
			assert_int_equal(c->t->validate(a), 0);
			assert_int_equal(codec_encode(c, sub, a, &again), 0);
			assert_int_equal(codec_decode(c, sub, again.data, again.len, b), 0);
			assert_true(c->t->equal(a, b));
		} else {
			assert_int_equal(err, EBADMSG);
			assert_true(all_zero(a, c->t->size));
		}
		talloc_free(sub);
		free(copy);
	}
	assert_int_equal(talloc_total_blocks(mem), blocks);
}

static void check_codec(const struct codec *c, uint64_t *rnd, const void *v)
{
	TALLOC_CTX *mem = talloc_new(NULL);
	struct ctdb_blob buf;

	assert_int_equal(codec_encode(c, mem, v, &buf), 0);
	assert_int_equal(buf.len, codec_size(c, v));
	check_values(c, mem, v, &buf);
	check_trailing(c, mem, v, &buf);
	check_cuts(c, mem, &buf);
	check_damage(c, rnd, mem, &buf);
	talloc_free(mem);
}

static void check_text(const struct gen_type *t, const void *v)
{
	json_t *j = t->to_json(v);
	char *text = NULL, *dump;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(j);
	dump = json_dumps(j, 0);
	assert_non_null(dump);
	free(dump);
	json_decref(j);
	assert_non_null(f);
	t->print(f, v);
	fclose(f);
	assert_true(len > 0 && text[len - 1] == '\n');
	free(text);
}

static void check_type(const struct gen_type *t, uint64_t *rnd)
{
	for (int i = 0; i < ROUNDS; i++) {
		TALLOC_CTX *mem = talloc_new(NULL);
		void *v = value_new(mem, t);

		t->random(rnd, mem, v);
		assert_int_equal(t->validate(v), 0);
		assert_true(t->equal(v, v));
		check_codec(&(struct codec){t, false}, rnd, v);
		if (t->nencode != NULL) {
			check_codec(&(struct codec){t, true}, rnd, v);
		}
		check_text(t, v);
		talloc_free(mem);
	}
}

/* Two random values are encoded alike only if they are equal: equal() does not overlook fields. */
static void check_equal(const struct gen_type *t, uint64_t *rnd)
{
	unsigned differ = 0;

	for (int i = 0; i < ROUNDS; i++) {
		TALLOC_CTX *mem = talloc_new(NULL);
		void *v = value_new(mem, t), *w = value_new(mem, t);
		struct ctdb_blob a, b;

		t->random(rnd, mem, v);
		t->random(rnd, mem, w);
		assert_int_equal(t->nencode != NULL ? t->nencode(mem, v, &a) : t->encode(mem, v, &a), 0);
		assert_int_equal(t->nencode != NULL ? t->nencode(mem, w, &b) : t->encode(mem, w, &b), 0);
		assert_int_equal(t->equal(v, w), a.len == b.len && memcmp(a.data, b.data, a.len) == 0);
		differ += !t->equal(v, w);
		talloc_free(mem);
	}
	assert_true(differ > 0);
}

static void test_table(void **state)
{
	const struct gen_type *t = *state;
	uint64_t rnd = 20260801;
	size_t blocks = talloc_total_blocks(NULL);

	assert_non_null(t->name);
	for (; t->name != NULL; t++) {
		check_type(t, &rnd);
		check_equal(t, &rnd);
	}
	assert_int_equal(talloc_total_blocks(NULL), blocks);
}

#define TABLE(x)                                                                                                       \
	{                                                                                                              \
		.name = #x, .test_func = test_table, .initial_state = (void *)(uintptr_t)x##_types                     \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TABLE(classic), TABLE(cluster), TABLE(constructs), TABLE(db),      TABLE(dbkeep),
		TABLE(lane),    TABLE(link),    TABLE(msg),        TABLE(msgstat), TABLE(natives),
		TABLE(reload),
		TABLE(stream),  TABLE(super),   TABLE(transport),  TABLE(tunnel),  TABLE(worker), TABLE(backup),
	};
	int failed;

	talloc_enable_null_tracking();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	talloc_disable_null_tracking();
	return failed;
}
