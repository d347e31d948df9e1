/* Tests of recovery's side of a member: contents of persistent and replicated databases (V13, V14). */
#include <errno.h>
#include <string.h>

#include "test_recovery_world.h"

static void content(struct world *w, uint32_t from, uint32_t sequence, bool last)
{
	uint8_t bytes[] = {1, 2, 3};
	struct rec_content m = {
		.id = world_id(1), .db_id = 9, .sequence = sequence, .last = last, .records = {sizeof(bytes), bytes}};

	rec_member_on_content(w->member, from, &m, w->now);
}

static void content_begin(struct world *w, uint32_t from, uint32_t parts, uint8_t bits)
{
	struct rec_content_begin m = {.id = world_id(1),
				      .db_id = 9,
				      .seqnum = 200,
				      .digest = 2,
				      .parts = parts,
				      .map = {parts == 0 ? 0 : 1, &bits}};

	rec_member_on_content_begin(w->member, from, &m, w->now);
}

static void told_in(struct world *w, uint32_t attempt, uint32_t from, const uint64_t *sums, uint32_t n)
{
	uint64_t copy[16] = {0};
	struct rec_content_parts m = {.id = world_id(attempt), .db_id = 9, .sums = {n, copy}};

	if (sums != NULL) {
		memcpy(copy, sums, (n < 16 ? n : 16) * sizeof(*sums));
	}
	rec_member_on_content_parts(w->member, from, &m, w->now);
}

static void told(struct world *w, uint32_t from, const uint64_t *sums, uint32_t n)
{
	told_in(w, 1, from, sums, n);
}

/* A database of eight parts with the state (100, 1) that is told; node 2 is the source, or we are. */
static void content_scene(struct world *w, uint32_t attempt, bool valid, bool healthy)
{
	struct recovery_id base = {.term = 2};

	for (uint32_t p = 0; p < 8; p++) {
		w->parts[p] = p + 10;
	}
	w->n_parts = 8;
	world_plan(w, attempt, DB_PERSISTENT, valid, &base);
	rec_member_state_done(w->member, &w->db, 0, 100, 1, healthy);
}

static void content_plan(struct world *w, uint32_t attempt, uint32_t source, uint32_t target, uint32_t other)
{
	uint32_t targets[2] = {target, other};
	struct rec_content_plan p = {
		.id = world_id(attempt), .db_id = 9, .source = source, .targets = {other == target ? 1 : 2, targets}};

	rec_member_on_content_plan(w->member, LEADER, &p, w->now);
}

/* A copy that does not count begins to count when its contents are replaced, not before. */
static void test_invalid_contents(void **state)
{
	struct world *w = *state;
	struct recovery_id id = world_id(1);

	content_scene(w, 1, false, true);
	assert_int_equal(w->sent[LANE_PROC_REC_CONTENT_STATE], 1);
	content_plan(w, 1, 2, ME, ME);
	assert_int_equal(w->n_sums, 8);
	content_begin(w, 0, 8, 0x81); /* not the source */
	assert_int_equal(w->started, 1);
	content_begin(w, 2, 8, 0x81);
	assert_int_equal(w->started, 2);
	assert_int_equal(w->replace.source, 2);
	assert_true(w->replace.map.n == 8 && w->replace.map.bits[0] == 0x81);
	assert_true(w->replace.seqnum == 200 && w->replace.digest == 2);
	content(w, 0, 0, true); /* not the source */
	assert_int_equal(w->fed, 0);
	content(w, 2, 0, false);
	content(w, 2, 1, true);
	assert_int_equal(w->fed, 2);
	assert_int_equal(w->lineage.n_told, 0);
	assert_true(recovery_id_is_zero(&w->lineage.changed));
	rec_member_job_done(w->member, &w->db, 0, w->now);
	assert_int_equal(w->prepared, 1);
	assert_int_equal(w->lineage.n_told, 1);
	assert_int_equal(recovery_id_cmp(&w->lineage.changed, &id), 0);
}

/* V14: if the parts cannot be stored, or do not make up the whole, that costs one more recovery, and everything comes.
 */
static void check_wrong_parts(struct world *w, int reason, uint32_t told)
{
	content_scene(w, 1, true, true);
	content_plan(w, 1, 2, ME, ME);
	content_begin(w, 2, 8, 0x01);
	content(w, 2, 0, true);
	rec_member_job_done(w->member, &w->db, reason, w->now);
	assert_int_equal(w->status, told);
	assert_int_equal(w->prepared, 0);
	assert_int_equal(w->forgotten, 1);
	for (uint32_t attempt = 2; attempt < 5; attempt++) { /* whatever ends the next ones */
		struct rec_content_begin all = {.id = world_id(attempt), .db_id = 9};

		content_scene(w, attempt, true, true);
		content_plan(w, attempt, 2, ME, ME);
		assert_int_equal(w->n_sums, 0);
		rec_member_on_content_begin(w->member, 2, &all, w->now);
		assert_int_equal(w->replace.map.n, 0);
		if (attempt == 3) { /* nor is the whole what it should be */
			rec_member_job_done(w->member, &w->db, EILSEQ, w->now);
			assert_int_equal(w->status, EREMOTEIO);
		} else if (attempt == 4) {
			struct rec_content last = {.id = world_id(attempt), .db_id = 9, .last = true};

			rec_member_on_content(w->member, 2, &last, w->now);
			rec_member_job_done(w->member, &w->db, 0, w->now);
		}
	}
	assert_int_equal(w->prepared, 1);
	content_scene(w, 5, true, true);
	content_plan(w, 5, 2, ME, ME);
	assert_int_equal(w->n_sums, 8);
}

static void test_wrong_parts(void **state)
{
	check_wrong_parts(*state, EILSEQ, ECANCELED);
}

/* A damage in the file, which a whole replacement does not meet. */
static void test_parts_and_damage(void **state)
{
	check_wrong_parts(*state, EIO, ECANCELED);
}

static void test_parts_too_slow(void **state)
{
	check_wrong_parts(*state, ETIMEDOUT, ETIMEDOUT);
}

/* What is left of it says nothing. */
static void test_damaged_wants_everything(void **state)
{
	struct world *w = *state;

	content_scene(w, 1, true, false);
	content_plan(w, 1, 2, ME, ME);
	assert_int_equal(w->sent[LANE_PROC_REC_CONTENT_PARTS], 1);
	assert_int_equal(w->n_sums, 0);
	content_begin(w, 2, 8, 0x01); /* nobody can know what is missing */
	assert_int_equal(w->status, EPROTO);
}

/* All targets get what any of them needs. */
static void test_source(void **state)
{
	struct world *w = *state;
	uint64_t sums[8], coarse[4] = {10 + 14, 11 + 15, 12 + 16, 13 + 17 + 1};

	content_scene(w, 1, true, true);
	memcpy(sums, w->parts, sizeof(sums));
	sums[2]++;
	told(w, 0, sums, 8); /* the plan came there first */
	content_plan(w, 1, ME, 0, 2);
	assert_int_equal(w->started, 1);
	told(w, ME, sums, 8);
	told(w, 3, sums, 8);
	assert_int_equal(w->sent[LANE_PROC_REC_CONTENT_BEGIN], 0);
	told(w, 2, coarse, 4);
	assert_int_equal(w->sent[LANE_PROC_REC_CONTENT_BEGIN], 2);
	assert_true(w->map.n == 8 && w->map.bits[0] == 0x8C);
	assert_int_equal(w->started, 2);
	assert_true(rec_member_read_batch(w->member, &w->db, (const uint8_t *)"12345", 5));
	rec_member_read_done(w->member, &w->db, 100, 1, 3, w->now);
	assert_true(w->last);
	assert_int_equal(w->prepared, 1);
	assert_int_equal(rec_member_stats(w->member)->content_records, 6);
	assert_int_equal(rec_member_stats(w->member)->content_bytes, 10);
	content_scene(w, 2, true, true); /* it was abandoned: counted with the one that follows */
	assert_int_equal(rec_member_stats(w->member)->content_records, 6);
	rec_member_on_end(w->member, LEADER, &(struct rec_end){.id = world_id(2)}, w->now);
	assert_int_equal(rec_member_stats(w->member)->content_bytes, 10);
	content_scene(w, 3, true, true);
	assert_int_equal(rec_member_stats(w->member)->content_bytes, 0);
}

/* One that has nothing, or more than half differs, or we know nothing of our own: everything. */
static void test_source_sends_everything(void **state)
{
	struct world *w = *state;
	uint64_t sums[8] = {0};

	content_scene(w, 1, true, true);
	content_plan(w, 1, ME, 0, 2);
	told(w, 0, w->parts, 8);
	told(w, 2, NULL, 0);
	assert_int_equal(w->map.n, 0);
	content_scene(w, 2, true, true);
	w->n_parts = 0;
	content_plan(w, 2, ME, 0, 0);
	told_in(w, 2, 0, sums, 8);
	assert_int_equal(w->sent[LANE_PROC_REC_CONTENT_BEGIN], 3);
	assert_int_equal(w->map.n, 0);
	for (uint32_t half = 4; half <= 5; half++) {
		content_scene(w, half, true, true);
		memcpy(sums, w->parts, sizeof(sums));
		for (uint32_t p = 0; p < half; p++) {
			sums[p]++;
		}
		content_plan(w, half, ME, 0, 0);
		told_in(w, half, 0, sums, 8);
		assert_int_equal(w->map.n, half == 4 ? 8 : 0);
	}
}

/* V13: what was read is not what was told. */
static void test_source_was_changed(void **state)
{
	struct world *w = *state;

	content_scene(w, 1, true, true);
	content_plan(w, 1, ME, 0, 0);
	told(w, 2, w->parts, 3); /* no target: it is not listened to */
	assert_int_equal(w->status, 0);
	told(w, 0, NULL, 0);
	(void)rec_member_read_batch(w->member, &w->db, (const uint8_t *)"12345", 5);
	rec_member_read_done(w->member, &w->db, 100, 2, 3, w->now);
	assert_int_equal(w->status, ECANCELED);
	assert_false(w->last);
	assert_int_equal(w->forgotten, 1);
	assert_int_equal(w->prepared, 0);
}

/* Sums that mean nothing, or come twice, are nobody's failure. */
static void test_nonsense_means_everything(void **state)
{
	struct world *w = *state;
	uint64_t sums[8] = {0};

	content_scene(w, 1, true, true);
	content_plan(w, 1, ME, 0, 0);
	told(w, 0, sums, 3);
	assert_int_equal(w->status, 0);
	assert_int_equal(w->sent[LANE_PROC_REC_CONTENT_BEGIN], 1);
	assert_int_equal(w->map.n, 0);
	told(w, 0, sums, 8);
	assert_int_equal(w->status, 0);
	assert_int_equal(w->sent[LANE_PROC_REC_CONTENT_BEGIN], 1);
	content_scene(w, 2, true, true);
	told_in(w, 2, 0, sums, 1); /* before the plan; then again */
	told_in(w, 2, 0, sums, 8);
	content_plan(w, 2, ME, 0, 0);
	assert_int_equal(w->status, 0);
	assert_int_equal(w->sent[LANE_PROC_REC_CONTENT_BEGIN], 2);
	assert_int_equal(w->map.n, 0);
}

static void fails(struct world *w, uint32_t what)
{
	talloc_free(w->member);
	w->member = rec_member_new(w, ME, &world_member_ops, w);
	w->status = w->prepared = 0;
	content_scene(w, 1, true, true);
	switch (what) {
	case 4: /* contents without a beginning */
		content_plan(w, 1, 2, ME, ME);
		content(w, 2, 0, false);
		break;
	case 5: /* a map that does not fit */
		content_plan(w, 1, 2, ME, ME);
		content_begin(w, 2, 4, 0x10);
		break;
	case 6:
		content_plan(w, 1, 2, ME, ME);
		content_begin(w, 2, 16, 0x01);
		break;
	case 7: /* two beginnings */
		content_plan(w, 1, 2, ME, ME);
		content_begin(w, 2, 8, 0x01);
		content_begin(w, 2, 8, 0x01);
		break;
	case 8: /* out of order */
		content_plan(w, 1, 2, ME, ME);
		content_begin(w, 2, 8, 0x01);
		content(w, 2, 1, false);
		break;
	case 9: /* more than the last */
		content_plan(w, 1, 2, ME, ME);
		content_begin(w, 2, 0, 0);
		content(w, 2, 0, true);
		content(w, 2, 1, true);
		break;
	case 10: /* plans that cannot be */
		content_plan(w, 1, ME, 0, ME);
		break;
	case 11:
		content_plan(w, 1, 7, ME, ME);
		break;
	case 12:
		content_plan(w, 1, ME, 0, 7);
		break;
	default: /* no more than a TDB file can have */
		content_plan(w, 1, 2, ME, ME);
		content_begin(w, 2, 0, 0);
		for (uint32_t i = 0; w->status == 0 && i < 100; i++) {
			static uint8_t byte;
			struct rec_content m = {
				.id = world_id(1), .db_id = 9, .sequence = i, .records = {1U << 26, &byte}};

			rec_member_on_content(w->member, 2, &m, w->now);
			assert_true(i < 64);
		}
		break;
	}
	assert_int_equal(w->status, EPROTO);
}

static void test_bad_contents(void **state)
{
	for (uint32_t what = 4; what <= 13; what++) {
		fails(*state, what);
	}
}

/* Those who say nothing to others are not waited for without end. */
static void test_silence(void **state)
{
	struct world *w = *state;

	rec_member_set_patience(w->member, 20000);
	content_scene(w, 1, true, true);
	content_plan(w, 1, 2, ME, ME);
	assert_true(mono_before(w->now, rec_member_run(w->member, w->now)));
	w->now = mono_add_ms(w->now, 39999);
	content_begin(w, 2, 8, 0x01);
	w->now = mono_add_ms(w->now, 39999);
	(void)rec_member_run(w->member, w->now);
	assert_int_equal(w->status, 0);
	w->now = rec_member_run(w->member, w->now);
	(void)rec_member_run(w->member, w->now);
	assert_int_equal(w->status, ECANCELED);
	content_scene(w, 2, true, true);
	content_plan(w, 2, ME, 0, 0);
	w->now = mono_add_ms(w->now, 40000);
	(void)rec_member_run(w->member, w->now);
	assert_int_equal(w->sent[LANE_PROC_REC_DB_PREPARED], 2);
	assert_int_equal(w->status, ECANCELED);
}

/* Acknowledgements that do not come. */
static void test_silent_target(void **state)
{
	struct world *w = *state;

	rec_member_set_patience(w->member, 20000);
	content_scene(w, 1, true, true);
	content_plan(w, 1, ME, 0, 0);
	told(w, 0, NULL, 0);
	w->now = mono_add_ms(w->now, 100000); /* a file that is read slowly */
	for (uint32_t i = 0; i < 7; i++) {
		assert_true(rec_member_read_batch(w->member, &w->db, (const uint8_t *)"1", 1));
	}
	(void)rec_member_run(w->member, w->now);
	assert_false(rec_member_read_batch(w->member, &w->db, (const uint8_t *)"1", 1));
	(void)rec_member_run(w->member, w->now);
	assert_int_equal(w->status, 0);
	w->now = mono_add_ms(w->now, 40000);
	(void)rec_member_run(w->member, w->now);
	assert_int_equal(w->status, ECANCELED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_invalid_contents),
		TEST(test_wrong_parts),
		TEST(test_parts_and_damage),
		TEST(test_parts_too_slow),
		TEST(test_damaged_wants_everything),
		TEST(test_source),
		TEST(test_source_sends_everything),
		TEST(test_source_was_changed),
		TEST(test_nonsense_means_everything),
		TEST(test_bad_contents),
		TEST(test_silence),
		TEST(test_silent_target),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
