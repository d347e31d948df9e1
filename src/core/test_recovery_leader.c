/* Tests of recovery's side of the leader, and of both with nonsense. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "test_recovery_world.h"

static void reply(struct world *w, uint32_t from, uint32_t attempt, uint32_t status, const struct recovery_id *changed,
		  const struct recovery_id *told)
{
	char name[] = "p.tdb";
	struct recovery_id t = told != NULL ? *told : (struct recovery_id){0};
	struct rec_db_state s = {.db_id = 5,
				 .flags = DB_PERSISTENT,
				 .name = name,
				 .changed = *changed,
				 .told = {told != NULL ? 1 : 0, &t}};
	struct rec_begin_reply m = {
		.id = world_id(attempt), .status = status, .newest = world_id(attempt), .dbs = {1, &s}};

	rec_leader_on_begin_reply(w->leader, from, &m, w->now);
}

static void lead(struct world *w)
{
	assert_int_equal(rec_leader_start(w->leader, 3, 4, GEN, world_three, 3, world_three, 3, w->now), 0);
}

static void state_of(struct world *w, uint32_t from, uint64_t seqnum, uint64_t digest)
{
	struct rec_content_state m = {
		.id = world_id(1), .db_id = 5, .seqnum = seqnum, .digest = digest, .healthy = true};

	rec_leader_on_content_state(w->leader, from, &m, w->now);
}

/* What one copy has of the flags that are no model, all get; a copy of another model is none. */
static void test_flags_of_all(void **state)
{
	const uint32_t flags[3] = {DB_READONLY, DB_STICKY | DB_READONLY, 0};
	const uint32_t persistent[3] = {DB_PERSISTENT, DB_PERSISTENT | DB_STICKY, DB_READONLY};
	struct world *w = *state;

	for (uint32_t round = 0; round < 2; round++) {
		lead(w);
		for (uint32_t i = 0; i < 3; i++) {
			char name[] = "test.tdb";
			struct rec_db_state s = {
				.db_id = 5, .flags = round == 0 ? flags[i] : persistent[i], .name = name};
			struct rec_begin_reply m = {.id = world_id(round + 1), .dbs = {1, &s}};

			rec_leader_on_begin_reply(w->leader, i, &m, w->now);
		}
		assert_int_equal(w->plan_dbs, 1);
		assert_int_equal(w->plan_flags, round == 0 ? DB_READONLY | DB_STICKY : DB_PERSISTENT);
	}
}

/* A copy that missed a recovery does not win by its sequence number. */
static void test_source(void **state)
{
	struct world *w = *state;
	struct recovery_id old = {.term = 1}, new = {.term = 2};
	struct rec_db p = {.id = world_id(1), .db_id = 5};

	assert_int_equal(rec_leader_generation(w->leader), 0);
	lead(w);
	assert_int_equal(rec_leader_generation(w->leader), GEN);
	reply(w, 0, 1, 0, &old, &old);
	reply(w, 1, 1, 0, &old, &new);
	assert_int_equal(w->sent[LANE_PROC_REC_PLAN], 0);
	reply(w, 2, 1, 0, &new, &new);
	reply(w, 9, 1, 0, &new, &new);
	assert_int_equal(w->sent[LANE_PROC_REC_PLAN], 3);
	state_of(w, 0, 9, 1);
	state_of(w, 1, 4, 2);
	state_of(w, 7, 10, 3);
	assert_int_equal(w->sent[LANE_PROC_REC_CONTENT_PLAN], 0);
	state_of(w, 2, 5, 3);
	assert_int_equal(w->sent[LANE_PROC_REC_CONTENT_PLAN], 3);
	assert_int_equal(w->source, 2);
	assert_int_equal(w->n_targets, 2);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(w->sent[LANE_PROC_REC_DB_COMMIT], 0);
		rec_leader_on_prepared(w->leader, i, &p, w->now);
		rec_leader_on_prepared(w->leader, i, &p, w->now);
	}
	assert_int_equal(w->sent[LANE_PROC_REC_DB_COMMIT], 3);
	assert_int_equal(w->sent[LANE_PROC_REC_END], 3);
	assert_int_equal(w->done, 1);
	assert_int_equal(rec_leader_generation(w->leader), 0);
}

/* A damaged file was replaced by an empty one: that it took part in everything does not make it the better copy. */
static void test_damaged_copy_is_no_source(void **state)
{
	struct world *w = *state;
	struct recovery_id old = {.term = 1}, new = {.term = 2};
	struct rec_content_state damaged = {.id = world_id(1), .db_id = 5, .healthy = false};

	lead(w);
	reply(w, 0, 1, 0, &new, &new);
	reply(w, 1, 1, 0, &old, &old);
	reply(w, 2, 1, 0, &old, &old);
	rec_leader_on_content_state(w->leader, 0, &damaged, w->now);
	state_of(w, 1, 4, 2);
	state_of(w, 2, 5, 3);
	assert_int_equal(w->source, 2);
	assert_int_equal(w->n_targets, 2);
}

/* Begins, and gets as far as PLAN. */
static void led_to_plan(struct world *w, uint32_t attempt)
{
	struct recovery_id none = {0};

	lead(w);
	for (uint32_t i = 0; i < 3; i++) {
		reply(w, i, attempt, 0, &none, NULL);
	}
}

static void led_to_end(struct world *w, uint32_t attempt)
{
	struct rec_db p = {.id = world_id(attempt), .db_id = 5};
	uint32_t done = w->done;

	for (uint32_t i = 0; i < 3; i++) {
		struct rec_content_state m = {.id = world_id(attempt), .db_id = 5, .healthy = true};

		rec_leader_on_content_state(w->leader, i, &m, w->now);
	}
	for (uint32_t i = 0; i < 3; i++) {
		rec_leader_on_prepared(w->leader, i, &p, w->now);
	}
	assert_int_equal(w->done, done + 1);
}

/* A wish for a full recovery that comes too late for the one in work is for the next; none is lost. */
static void test_full(void **state)
{
	struct world *w = *state;

	assert_false(rec_leader_set_full(w->leader));
	led_to_plan(w, 1);
	assert_true(w->full);
	led_to_end(w, 1);
	led_to_plan(w, 2);
	assert_false(w->full);
	assert_false(rec_leader_set_full(w->leader)); /* too late */
	led_to_end(w, 2);
	led_to_plan(w, 3);
	assert_true(w->full);
	lead(w); /* for another reason */
	assert_true(rec_leader_set_full(w->leader));
	led_to_plan(w, 5);
	assert_true(w->full);
	led_to_end(w, 5);
	lead(w);
	assert_true(rec_leader_set_full(w->leader)); /* in time */
	led_to_plan(w, 7);
	assert_true(w->full);
	assert_false(rec_leader_set_full(w->leader)); /* seen after the copies were told */
	led_to_end(w, 7);
	led_to_plan(w, 8);
	assert_true(w->full);
	assert_false(rec_leader_set_full(w->leader));
	led_to_plan(w, 9); /* begins later: does for both */
	assert_true(w->full);
	led_to_end(w, 9);
	led_to_plan(w, 10);
	assert_false(w->full);
}

/* H-073: who does not answer, who answers with an error, whose step failed: named, and nobody else. */
static void test_who_failed_is_named(void **state)
{
	struct world *w = *state;
	struct recovery_id none = {0};
	struct rec_db failed = {.id = world_id(3), .db_id = 5, .status = EIO};
	struct mono when;

	lead(w);
	reply(w, 0, 1, 0, &none, NULL);
	reply(w, 2, 1, 0, &none, NULL);
	w->now = mono_add_ms(w->now, 5000);
	lead(w); /* for another reason, before time was over */
	assert_int_equal(w->culprits, 0);
	reply(w, 0, 2, 0, &none, NULL);
	reply(w, 2, 2, 0, &none, NULL);
	assert_true(rec_leader_wants_restart(w->leader, &when));
	w->now = when;
	lead(w);
	assert_int_equal(w->culprits, 1);
	assert_int_equal(w->culprit, 1);
	assert_int_equal(w->blame, ETIMEDOUT);
	for (uint32_t p = 0; p < 3; p++) {
		reply(w, p, 3, 0, &none, NULL);
	}
	rec_leader_on_prepared(w->leader, 2, &failed, w->now);
	assert_int_equal(w->culprits, 2);
	assert_int_equal(w->culprit, 2);
	assert_int_equal(w->blame, EIO);
	assert_true(rec_leader_wants_restart(w->leader, &when));
	w->now = when;
	lead(w);
	reply(w, 0, 4, ENOMEM, &none, NULL);
	assert_int_equal(w->culprits, 3);
	assert_int_equal(w->culprit, 0);
	assert_int_equal(w->blame, ENOMEM);
}

/* Who cannot make up what its source told is not to blame, but the source is. */
static void test_source_is_named(void **state)
{
	struct world *w = *state;
	struct recovery_id none = {0};
	struct rec_db failed = {.id = world_id(1), .db_id = 5, .status = EREMOTEIO};

	lead(w);
	for (uint32_t p = 0; p < 3; p++) {
		reply(w, p, 1, 0, &none, NULL);
	}
	for (uint32_t p = 0; p < 3; p++) {
		state_of(w, p, p == 1 ? 7 : 6, p);
	}
	rec_leader_on_prepared(w->leader, 2, &failed, w->now);
	assert_int_equal(w->culprits, 1);
	assert_int_equal(w->culprit, 1);
	assert_int_equal(w->blame, EREMOTEIO);
}

static void reply_two(struct world *w, uint32_t from)
{
	char one[] = "one.tdb", two[] = "two.tdb";
	struct rec_db_state s[2] = {{.db_id = 5, .name = one}, {.db_id = 6, .name = two}};
	struct rec_begin_reply m = {.id = world_id(1), .newest = world_id(1), .dbs = {2, s}};

	rec_leader_on_begin_reply(w->leader, from, &m, w->now);
}

static void prepared(struct world *w, uint32_t from, uint32_t db_id, uint32_t status)
{
	struct rec_db m = {.id = world_id(1), .db_id = db_id, .status = status};

	rec_leader_on_prepared(w->leader, from, &m, w->now);
}

/* V12: the recovery ends without a database that a client's lock holds up, which is committed when it is there. */
static void test_late_database(void **state)
{
	struct world *w = *state;
	struct mono when;

	lead(w);
	for (uint32_t p = 0; p < 3; p++) {
		reply_two(w, p);
	}
	prepared(w, 1, 6, EINPROGRESS);
	for (uint32_t p = 0; p < 3; p++) {
		assert_int_equal(w->done, 0);
		prepared(w, p, 5, 0);
	}
	assert_int_equal(w->done, 1);
	assert_int_equal(w->sent[LANE_PROC_REC_END], 3);
	assert_int_equal(w->sent[LANE_PROC_REC_DB_COMMIT], 3);
	assert_false(rec_leader_running(w->leader));
	assert_false(rec_leader_wants_restart(w->leader, &when));
	assert_int_equal(w->culprits, 0);
	prepared(w, 0, 6, 0);
	prepared(w, 2, 6, 0);
	assert_int_equal(w->sent[LANE_PROC_REC_DB_COMMIT], 3);
	prepared(w, 1, 6, 0);
	assert_int_equal(w->sent[LANE_PROC_REC_DB_COMMIT], 6);
	assert_int_equal(w->sent[LANE_PROC_REC_END], 3);
	assert_int_equal(w->done, 1);
	prepared(w, 1, 6, EIO); /* it is over */
	assert_false(rec_leader_wants_restart(w->leader, &when));
}

/* It was late and then failed: from the beginning. */
static void test_late_database_fails(void **state)
{
	struct world *w = *state;
	struct mono when;

	lead(w);
	for (uint32_t p = 0; p < 3; p++) {
		reply_two(w, p);
		prepared(w, p, 5, 0);
	}
	for (uint32_t p = 0; p < 3; p++) {
		prepared(w, p, 5, 0);
	}
	prepared(w, 1, 6, EINPROGRESS);
	assert_int_equal(w->done, 1);
	prepared(w, 1, 6, EIO);
	assert_true(rec_leader_wants_restart(w->leader, &when));
	assert_int_equal(w->culprit, 1);
	w->now = when;
	lead(w);
	assert_true(rec_leader_running(w->leader));
}

/* H-073, K-22: the first failure of a step does not hide the next one. */
static void test_all_who_failed_are_named(void **state)
{
	struct world *w = *state;
	struct recovery_id none = {0};
	struct rec_db failed = {.id = world_id(2), .db_id = 5, .status = EIO};
	struct mono when;

	lead(w);
	reply(w, 1, 1, ENOMEM, &none, NULL);
	assert_int_equal(w->culprit, 1);
	reply(w, 2, 1, EIO, &none, NULL);
	assert_int_equal(w->culprits, 2);
	assert_int_equal(w->culprit, 2);
	assert_int_equal(w->blame, EIO);
	assert_true(rec_leader_wants_restart(w->leader, &when));
	w->now = when;
	lead(w);
	for (uint32_t p = 0; p < 3; p++) {
		reply(w, p, 2, 0, &none, NULL);
	}
	rec_leader_on_prepared(w->leader, 0, &failed, w->now);
	rec_leader_on_prepared(w->leader, 2, &failed, w->now);
	assert_int_equal(w->culprits, 4);
	assert_int_equal(w->culprit, 2);
	assert_true(rec_leader_wants_restart(w->leader, &when));
	w->now = when;
	lead(w);
	reply(w, 1, 3, 0, &none, NULL);
	assert_true(rec_leader_wants_restart(w->leader, &when));
	w->now = when;
	lead(w); /* two have said nothing */
	assert_int_equal(w->culprits, 6);
	assert_int_equal(w->blame, ETIMEDOUT);
}

/* A member that cannot go on is not asked in a tight loop. */
static void test_restarts_slow_down(void **state)
{
	struct world *w = *state;
	struct recovery_id none = {0};
	struct mono when;
	uint64_t last = 0;

	for (uint32_t attempt = 1; attempt < 20; attempt++) {
		uint64_t wait;

		lead(w);
		reply(w, 1, attempt, EAGAIN, &none, NULL);
		assert_true(rec_leader_wants_restart(w->leader, &when));
		wait = (uint64_t)mono_ms_between(w->now, when);
		assert_true(wait >= last && wait <= 1000);
		last = wait;
		w->now = when;
	}
	assert_in_range(last, 500, 1000);
}

/* ---- nonsense ---- */

static uint64_t rnd_state;

static uint32_t rnd(uint32_t n)
{
	rnd_state ^= rnd_state << 13;
	rnd_state ^= rnd_state >> 7;
	rnd_state ^= rnd_state << 17;
	return (uint32_t)(rnd_state % n);
}

static uint32_t odd(uint32_t usual)
{
	static const uint32_t values[] = {0, 1, 7, LANE_NODES - 1, LANE_NODES, 0x7FFFFFFF, UINT32_MAX};

	return rnd(4) != 0 ? rnd(usual) : values[rnd(sizeof(values) / sizeof(values[0]))];
}

static void to_member(struct world *w, uint32_t from)
{
	struct recovery_id id = world_id(rnd(8) == 0 ? odd(3) : 1);
	uint8_t bytes[16] = {(uint8_t)rnd(3)};
	struct ctdb_blob key = {rnd(sizeof(bytes)), bytes};
	struct rec_claim claim[2] = {{.key = key, .rsn = odd(4), .owned = rnd(2), .empty = rnd(2)},
				     {.key = key, .rsn = UINT64_MAX, .owned = rnd(2)}};
	struct rec_order order[2] = {{.key = key, .rsn = odd(4), .owner = odd(3)}, {.key = key, .owner = ME}};
	uint32_t targets[] = {odd(3), odd(3), ME};
	struct rec_claims c = {.id = id,
			       .db_id = rnd(4) ? 9 : odd(9),
			       .sequence = odd(9),
			       .last = rnd(3) == 0,
			       .claims = {rnd(3), claim}};
	struct rec_orders o = {
		.id = id, .db_id = c.db_id, .sequence = odd(9), .last = rnd(3) == 0, .orders = {rnd(3), order}};
	struct rec_ack a = {.id = id, .db_id = c.db_id, .what = odd(45), .sequence = odd(9)};
	struct rec_content_plan p = {.id = id, .db_id = c.db_id, .source = odd(3), .targets = {rnd(4), targets}};
	struct rec_content t = {.id = id, .db_id = c.db_id, .sequence = odd(9), .last = rnd(3) == 0, .records = key};
	struct rec_db d = {.id = id, .db_id = c.db_id, .status = odd(2)};
	struct rec_end e = {.id = id};

	switch (rnd(9)) {
	case 0:
		rec_member_on_claims(w->member, from, &c, w->now);
		break;
	case 1:
		rec_member_on_orders(w->member, from, &o, w->now);
		break;
	case 2:
		rec_member_on_ack(w->member, from, &a, w->now);
		break;
	case 3:
		rec_member_on_content_plan(w->member, from, &p, w->now);
		break;
	case 4:
		rec_member_on_content(w->member, from, &t, w->now);
		break;
	case 5:
		rec_member_on_commit(w->member, from, &d, w->now);
		break;
	case 6:
		rec_member_on_end(w->member, from, &e, w->now);
		break;
	case 7:
		rec_member_job_done(w->member, &w->db, (int)(rnd(8) == 0 ? EIO : 0), w->now);
		break;
	default:
		rec_member_state_done(w->member, &w->db, 0, odd(9), odd(9), rnd(2));
		break;
	}
}

static void to_leader(struct world *w, uint32_t from)
{
	struct recovery_id id = rec_leader_running(w->leader) ? world_id(odd(3)) : world_id(1),
			   changed = world_id(odd(9));
	struct rec_content_state s = {
		.id = id, .db_id = rnd(4) ? 5 : odd(9), .seqnum = odd(5), .digest = odd(3), .healthy = rnd(2)};
	struct rec_db d = {.id = id, .db_id = s.db_id, .status = rnd(4) ? 0 : odd(200)};

	switch (rnd(4)) {
	case 0:
		reply(w, from, id.attempt, rnd(4) ? 0 : odd(200), &changed, rnd(2) ? &changed : NULL);
		break;
	case 1:
		rec_leader_on_content_state(w->leader, from, &s, w->now);
		break;
	case 2:
		rec_leader_on_prepared(w->leader, from, &d, w->now);
		break;
	default:
		talloc_free(talloc_strdup(NULL, rec_leader_waiting_for(w, w->leader)));
		break;
	}
}

/* Whatever comes, in whatever order: nothing is accessed that is not there, nothing runs without end. */
static void test_nonsense(void **state)
{
	struct world *w = *state;

	for (uint32_t run = 1; run <= 600; run++) {
		talloc_free(w->member);
		talloc_free(w->leader);
		w->member = rec_member_new(w, ME, &world_member_ops, w);
		w->leader = rec_leader_new(w, LEADER, &world_leader_ops, w);
		rnd_state = run * 0x9E3779B97F4A7C15ULL;
		w->no_db = rnd(8) == 0;
		w->locked = rnd(2);
		w->status = 0;
		world_plan(w, 1, rnd(2) ? 0 : DB_PERSISTENT, rnd(2), NULL);
		lead(w);
		for (uint32_t step = 0; step < 150; step++) {
			if (rnd(2)) {
				to_member(w, odd(3));
			} else {
				to_leader(w, odd(3));
			}
			for (int i = 0; i < 3; i++) {
				(void)rec_member_run(w->member, w->now);
			}
		}
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_source),
		TEST(test_flags_of_all),
		TEST(test_damaged_copy_is_no_source),
		TEST(test_full),
		TEST(test_who_failed_is_named),
		TEST(test_source_is_named),
		TEST(test_all_who_failed_are_named),
		TEST(test_late_database),
		TEST(test_late_database_fails),
		TEST(test_restarts_slow_down),
		TEST(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
