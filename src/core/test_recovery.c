/* Tests of recovery's side of a member: what the leader and other members say is made up here. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "test_recovery_world.h"

/* ---- BEGIN ---- */

static void refused(struct world *w, struct rec_begin b, uint32_t from, int status)
{
	w->status = 0;
	rec_member_on_begin(w->member, from, &b, w->now);
	assert_int_equal(w->status, status);
	assert_int_equal(rec_member_generation(w->member), 0);
	assert_false(rec_member_has(w->member, ME));
}

static void test_bad_begin(void **state)
{
	struct world *w = *state;
	uint32_t far[] = {0, 1, LANE_NODES}, twice[] = {0, 1, 1}, others[] = {0, 2}, foreign[] = {0, 1, 7};
	struct rec_begin b = world_begin(1);

	b.members.v = far;
	b.slots.v = world_list(world_three);
	refused(w, b, LEADER, EINVAL);
	b.members.v = twice;
	refused(w, b, LEADER, EINVAL);
	b = world_begin(2);
	b.slots.v = foreign;
	refused(w, b, LEADER, EINVAL);
	b = world_begin(3);
	b.slots.n = 0;
	refused(w, b, LEADER, EINVAL);
	b = world_begin(4);
	b.generation = 1;
	refused(w, b, LEADER, EINVAL);
	refused(w, world_begin(5), 2, ESTALE); /* not from the leader that it names */
	b = world_begin(6);
	b.members.n = b.slots.n = 2;
	b.members.v = b.slots.v = others;
	refused(w, b, LEADER, EINVAL); /* we are not in it */
	world_plan(w, 7, 0, true, NULL);
	assert_int_equal(rec_member_generation(w->member), GEN);
	assert_true(rec_member_has(w->member, 2));
	assert_false(rec_member_has(w->member, 3));
	b = world_begin(7);
	rec_member_on_begin(w->member, LEADER, &b, w->now);
	assert_int_equal(w->status, ESTALE);
	rec_member_abandon(w->member);
	assert_int_equal(rec_member_generation(w->member), 0);
}

/* ---- volatile ---- */

static void test_ack_of_failed_database(void **state)
{
	struct world *w = *state;
	struct rec_ack ack = {.id = world_id(1), .db_id = 9};
	const uint32_t what[] = {LANE_PROC_REC_CLAIMS, LANE_PROC_REC_ORDERS, LANE_PROC_REC_CONTENT, 0, UINT32_MAX};

	w->no_db = true;
	world_plan(w, 1, 0, true, NULL);
	assert_int_equal(w->status, EIO);
	for (size_t i = 0; i < sizeof(what) / sizeof(what[0]); i++) {
		ack.what = what[i];
		rec_member_on_ack(w->member, 2, &ack, w->now);
		rec_member_on_ack(w->member, LANE_NODES + 5, &ack, w->now);
	}
}

static void scanned(struct world *w)
{
	struct rec_claims c = {.id = world_id(1), .db_id = 9, .last = true};

	world_digests(w, 1, true);
	rec_member_job_done(w->member, &w->db, 0, w->now); /* the scan */
	rec_member_on_claims(w->member, 0, &c, w->now);
	rec_member_on_claims(w->member, 2, &c, w->now);
	while (!mono_before(w->now, rec_member_run(w->member, w->now)) && w->sent[LANE_PROC_REC_ORDERS] < 2) {
	}
}

static void orders(struct world *w, uint32_t from, uint32_t sequence, const char *key, bool last)
{
	struct rec_order o = {.rsn = 1, .owner = ME};
	struct rec_orders m = {.id = world_id(1), .db_id = 9, .sequence = sequence, .last = last, .orders = {1, &o}};
	char copy[8];

	snprintf(copy, sizeof(copy), "%s", key);
	o.key = (struct ctdb_blob){(uint32_t)strlen(copy), (uint8_t *)copy};
	rec_member_on_orders(w->member, from, &m, w->now);
	(void)rec_member_run(w->member, w->now);
}

/* A record that a client keeps locked holds back acknowledgements, so that the sender's window is the receiver's. */
static void test_locked_order_in_first_batch(void **state)
{
	struct world *w = *state;
	uint32_t before;

	world_plan(w, 1, 0, true, NULL);
	scanned(w);
	w->locked = true;
	before = w->n_acks;
	orders(w, 2, 0, "L", false);
	for (uint32_t s = 1; s < 8; s++) {
		orders(w, 2, s, "free", false);
	}
	assert_int_equal(w->n_acks, before);
	assert_int_equal(w->applied, 7);
	assert_int_equal(w->status, 0);
	w->locked = false;
	w->now = mono_add_ms(w->now, 5);
	(void)rec_member_run(w->member, w->now);
	assert_int_equal(w->n_acks, before + 8);
	for (uint32_t s = 0; s < 8; s++) {
		assert_int_equal(w->acks[before + s], s);
	}
	orders(w, 2, 8, "free", true);
	assert_int_equal(w->n_acks, before + 9);
	assert_int_equal(w->status, 0);
	w->locked = true; /* more than was agreed on: refused */
	for (uint32_t s = 0; s < 9; s++) {
		orders(w, 0, s, "L", false);
	}
	assert_int_equal(w->status, EPROTO);
}

static void test_whole_recovery(void **state)
{
	struct world *w = *state;
	struct rec_orders none = {.id = world_id(1), .db_id = 9, .last = true};
	struct rec_ack ack = {.id = world_id(1), .db_id = 9, .what = LANE_PROC_REC_ORDERS};
	struct rec_db commit = {.id = world_id(1), .db_id = 9};
	struct rec_end end = {.id = world_id(1)};

	world_plan(w, 1, 0, false, NULL);
	assert_int_equal(w->started, 1); /* wipe */
	assert_int_equal(w->lineage.n_told, 0);
	rec_member_job_done(w->member, &w->db, 0, w->now);
	assert_int_equal(w->started, 1);
	assert_int_equal(w->lineage.n_told, 1); /* before the digests */
	assert_int_equal(w->sent[LANE_PROC_REC_DIGESTS], 2);
	scanned(w);
	assert_int_equal(w->started, 2);
	assert_true(w->filtered);
	rec_member_on_orders(w->member, 0, &none, w->now);
	rec_member_on_orders(w->member, 2, &none, w->now);
	rec_member_on_commit(w->member, LEADER, &commit, w->now); /* too early */
	rec_member_on_ack(w->member, 0, &ack, w->now);
	(void)rec_member_run(w->member, w->now);
	assert_int_equal(w->prepared, 0);
	rec_member_on_ack(w->member, 2, &ack, w->now);
	rec_member_on_ack(w->member, 2, &ack, w->now);
	(void)rec_member_run(w->member, w->now);
	assert_int_equal(w->prepared, 1);
	assert_int_equal(recovery_id_cmp(&w->lineage.changed, &end.id), 0);
	rec_member_on_commit(w->member, 2, &commit, w->now); /* not the leader */
	assert_int_equal(w->committed, 0);
	rec_member_on_commit(w->member, LEADER, &commit, w->now);
	rec_member_on_commit(w->member, LEADER, &commit, w->now);
	assert_int_equal(w->committed, 1);
	rec_member_on_end(w->member, LEADER, &end, w->now);
	rec_member_on_end(w->member, LEADER, &end, w->now);
	assert_int_equal(w->ended, 1);
	assert_true(rec_member_is_normal(w->member));
}

/* A whole recovery of database 9 as member 1, in which the others have nothing. */
static void recover(struct world *w, uint32_t attempt, bool all)
{
	struct rec_claims c = {.id = world_id(attempt), .db_id = 9, .last = true};
	struct rec_orders none = {.id = world_id(attempt), .db_id = 9, .last = true};
	struct rec_ack ack = {.id = world_id(attempt), .db_id = 9, .what = LANE_PROC_REC_ORDERS};
	uint32_t before = w->prepared, started;

	world_plan(w, attempt, 0, true, NULL);
	started = w->started;
	world_digests(w, attempt, all);
	if (w->started != started) {
		rec_member_job_done(w->member, &w->db, 0, w->now);
	}
	for (uint32_t i = 0; i < 3; i += 2) {
		rec_member_on_claims(w->member, i, &c, w->now);
		rec_member_on_orders(w->member, i, &none, w->now);
	}
	(void)rec_member_run(w->member, w->now);
	(void)rec_member_run(w->member, w->now);
	rec_member_on_ack(w->member, 0, &ack, w->now);
	rec_member_on_ack(w->member, 2, &ack, w->now);
	(void)rec_member_run(w->member, w->now);
	assert_int_equal(w->status, 0);
	assert_int_equal(w->prepared, before + 1);
}

/* What agrees is not looked at; what was changed by others, or is wanted, is. */
static void test_nothing_changed(void **state)
{
	struct world *w = *state;

	recover(w, 1, false);
	assert_int_equal(w->started, 1); /* the slot was not kept */
	recover(w, 2, false);
	assert_int_equal(w->started, 1);
	assert_int_equal(rec_member_stats(w->member)->dirty, 0);
	recover(w, 3, true);
	assert_int_equal(w->started, 2);
	assert_true(w->filtered);
	w->changed = true;
	recover(w, 4, false);
	assert_int_equal(w->started, 3);
	assert_false(w->filtered); /* and counted */
	w->changed = false;
	recover(w, 5, false);
	assert_int_equal(w->started, 3);
}

static void test_bad_digests(void **state)
{
	struct world *w = *state;
	struct rec_slot_sum foreign = {.slot = 2, .sum = 1}, far = {.slot = 3, .sum = 1};
	struct rec_digests d = {.id = world_id(1), .db_id = 9, .sums = {1, &foreign}};
	uint8_t map[2] = {1U << 1, 0}; /* slot 1 is ours */
	struct rec_want want = {.id = world_id(3), .db_id = 9, .all = {1, map}};

	world_plan(w, 1, 0, true, NULL);
	rec_member_on_digests(w->member, 2, &d, w->now);
	assert_int_equal(w->status, EPROTO);
	world_plan(w, 2, 0, true, NULL);
	d = (struct rec_digests){.id = world_id(2), .db_id = 9, .sums = {1, &far}};
	rec_member_on_digests(w->member, 2, &d, w->now);
	assert_int_equal(w->status, EPROTO);
	world_plan(w, 3, 0, true, NULL);
	rec_member_on_want(w->member, 2, &want, w->now);
	assert_int_equal(w->status, EPROTO);
	world_plan(w, 4, 0, true, NULL);
	want = (struct rec_want){.id = world_id(4), .db_id = 9, .unowned = {2, map}};
	rec_member_on_want(w->member, 2, &want, w->now);
	assert_int_equal(w->status, EPROTO);
}

/* A recovery that is abandoned while a file is counted: the next one counts it again. */
static void test_half_counted(void **state)
{
	struct world *w = *state;
	struct rec_scan_entry e = {.key = (const uint8_t *)"k", .keylen = 1, .rsn = 1, .dmaster = ME};

	slot_digest_forget(w->digest);
	world_plan(w, 1, 0, true, NULL);
	assert_int_equal(w->started, 1);
	assert_int_equal(w->sent[LANE_PROC_REC_DIGESTS], 0);
	assert_true(rec_member_scan_entry(w->member, &w->db, &e));
	world_plan(w, 2, 0, true, NULL);
	assert_int_equal(w->started, 2);
	assert_true(rec_member_scan_entry(w->member, &w->db, &e));
	rec_member_job_done(w->member, &w->db, 0, w->now);
	assert_int_equal(w->sent[LANE_PROC_REC_DIGESTS], 2);
	assert_true(slot_digest_known(w->digest, 3));
}

/* H-075: a record that stays locked fails the node where it is locked, before others lose patience with it. */
static void test_patience_with_locks(void **state)
{
	struct world *w = *state;

	world_plan(w, 1, 0, true, NULL);
	scanned(w);
	w->locked = true;
	orders(w, 2, 0, "L", false);
	w->now = mono_add_ms(w->now, 1000000);
	(void)rec_member_run(w->member, w->now);
	assert_int_equal(w->status, 0); /* for ever, if not told otherwise */
	rec_member_set_patience(w->member, 20000);
	w->now = mono_add_ms(w->now, 1);
	(void)rec_member_run(w->member, w->now);
	assert_int_equal(w->status, ETIMEDOUT);
}

/* V12: a lock that a client keeps holds up its database alone, also beyond the end of the recovery. */
static void test_late_database(void **state)
{
	struct world *w = *state;
	struct rec_orders none = {.id = world_id(1), .db_id = 9, .last = true};
	struct rec_ack ack = {.id = world_id(1), .db_id = 9, .what = LANE_PROC_REC_ORDERS};
	struct rec_db commit = {.id = world_id(1), .db_id = 9};
	struct rec_end end = {.id = world_id(1)};

	rec_member_late(w->member, &w->db); /* nothing is going on */
	assert_int_equal(w->sent[LANE_PROC_REC_DB_PREPARED], 0);
	world_plan(w, 1, 0, true, NULL);
	rec_member_set_patience(w->member, 20000);
	scanned(w);
	w->locked = true;
	orders(w, 2, 0, "L", true);
	rec_member_on_orders(w->member, 0, &none, w->now);
	rec_member_on_ack(w->member, 0, &ack, w->now);
	rec_member_on_ack(w->member, 2, &ack, w->now);
	rec_member_late(w->member, &w->db);
	rec_member_late(w->member, &w->db);
	assert_int_equal(w->sent[LANE_PROC_REC_DB_PREPARED], 1);
	assert_int_equal(w->status, EINPROGRESS);
	w->now = mono_add_ms(w->now, 1000000);
	(void)rec_member_run(w->member, w->now);
	assert_int_equal(w->sent[LANE_PROC_REC_DB_PREPARED], 1); /* has not failed */
	rec_member_on_end(w->member, LEADER, &end, w->now);
	assert_int_equal(w->ended, 1);
	rec_member_on_commit(w->member, LEADER, &commit, w->now); /* too early */
	assert_int_equal(w->committed, 0);
	w->locked = false;
	w->now = mono_add_ms(w->now, 5);
	(void)rec_member_run(w->member, w->now);
	(void)rec_member_run(w->member, w->now);
	assert_int_equal(w->prepared, 1);
	assert_int_equal(w->status, 0);
	rec_member_late(w->member, &w->db);
	assert_int_equal(w->status, 0);
	rec_member_on_commit(w->member, LEADER, &commit, w->now);
	assert_int_equal(w->committed, 1);
}

/* It is detached then: nothing is done with it any more, and the leader does not wait for it. */
static void test_late_database_is_detached(void **state)
{
	struct world *w = *state;
	struct rec_db commit = {.id = world_id(1), .db_id = 9};
	struct rec_end end = {.id = world_id(1)};

	world_plan(w, 1, 0, true, NULL);
	scanned(w);
	w->locked = true;
	orders(w, 2, 0, "L", true);
	rec_member_late(w->member, &w->db);
	rec_member_on_end(w->member, LEADER, &end, w->now);
	assert_int_equal(w->status, EINPROGRESS);
	rec_member_forget(w->member, 9, &w->db);
	assert_int_equal(w->status, ECANCELED);
	w->locked = false;
	w->now = mono_add_ms(w->now, 5);
	(void)rec_member_run(w->member, w->now);
	rec_member_job_done(w->member, &w->db, EIO, w->now);
	rec_member_on_commit(w->member, LEADER, &commit, w->now);
	rec_member_forget(w->member, 9, &w->db);
	assert_int_equal(w->applied + w->prepared + w->committed, 0);
	assert_int_equal(w->sent[LANE_PROC_REC_DB_PREPARED], 2);
	assert_int_equal(w->status, ECANCELED);
	rec_member_abandon(w->member);
}

/* ---- many databases ---- */

#define MANY 300

static struct many {
	struct world *w;
	int dbs[MANY];
	struct slot_digest *digests[MANY];
	uint32_t found;
	bool hurry;
} many;

static void *many_find(void *priv, const struct rec_db_plan *plan)
{
	(void)priv;
	many.found++;
	return &many.dbs[plan->db_id];
}

static struct slot_digest *many_digest(void *priv, void *db, bool *changed)
{
	(void)priv;
	(void)changed;
	return many.digests[(int *)db - many.dbs];
}

static bool many_enough(void *priv)
{
	(void)priv;
	return many.hurry;
}

static void many_plan(struct world *w)
{
	struct rec_member_ops ops = world_member_ops;
	struct rec_begin b = world_begin(1);
	struct rec_db_plan plans[MANY];
	struct rec_plan m = {.id = world_id(1), .dbs = {MANY, plans}};
	static char names[MANY][16];
	uint32_t me = ME;

	many = (struct many){.w = w};
	ops.find_db = many_find;
	ops.digest = many_digest;
	ops.enough = many_enough;
	w->member = rec_member_new(w, ME, &ops, w);
	for (uint32_t i = 0; i < MANY; i++) {
		snprintf(names[i], sizeof(names[i]), "%u.tdb", i);
		many.digests[i] = slot_digest_new(w);
		assert_int_equal(slot_digest_reset(many.digests[i], 0), 0);
		plans[i] = (struct rec_db_plan){.db_id = i, .name = names[i], .valid = {1, &me}};
	}
	rec_member_on_begin(w->member, LEADER, &b, w->now);
	rec_member_on_plan(w->member, LEADER, &m, w->now);
}

/* To all that they have; from two others. */
static void many_digests(struct world *w, uint32_t db)
{
	struct rec_digests d = {.id = world_id(1), .db_id = db};

	rec_member_on_digests(w->member, 0, &d, w->now);
	rec_member_on_digests(w->member, 2, &d, w->now);
}

static bool due_at_once(struct world *w)
{
	struct mono next = rec_member_run(w->member, w->now);

	return mono_is_set(next) && !mono_before(w->now, next);
}

/* What is done at once does not grow with the number of databases, and none is forgotten. */
static void test_many_databases(void **state)
{
	struct world *w = *state;
	uint32_t runs = 0, before = 0;

	many_plan(w);
	assert_int_equal(many.found, 0);
	many_digests(w, MANY - 1); /* of one whose turn has not come */
	for (runs = 0; due_at_once(w); runs++) {
		assert_true(many.found - before <= 1000 / 50);
		before = many.found;
		assert_true(runs < MANY * 10);
	}
	assert_int_equal(many.found, MANY);
	assert_true(runs >= MANY / 20);
	assert_int_equal(w->sent[LANE_PROC_REC_DIGESTS], 2 * MANY);
	assert_int_equal(w->sent[LANE_PROC_REC_WANT], 2); /* of the one of which all is known */
	for (uint32_t i = 0; i < MANY - 1; i++) {
		many_digests(w, i);
	}
	assert_int_equal(w->sent[LANE_PROC_REC_WANT], 2);
	(void)rec_member_run(w->member, w->now);
	assert_in_range(w->sent[LANE_PROC_REC_WANT], 4, 2 + 2 * 1000 / 50);
	while (due_at_once(w)) {
	}
	assert_int_equal(w->sent[LANE_PROC_REC_WANT], 2 * MANY);
}

/* The glue says that a step was long: the next one has a turn of its own. One that waits for it can be detached. */
static void test_slices_end_early(void **state)
{
	struct world *w = *state;

	many_plan(w);
	many.hurry = true;
	assert_true(due_at_once(w));
	assert_int_equal(many.found, 1);
	many.hurry = false;
	assert_true(rec_member_works_on(w->member, 7));
	rec_member_forget(w->member, 7, &many.dbs[7]);
	assert_int_equal(w->status, ECANCELED);
	while (due_at_once(w)) {
	}
	assert_int_equal(many.found, MANY - 1);
	assert_false(rec_member_works_on(w->member, MANY));
}

/* ---- lineage ---- */

static void test_lineage_keeps_what_counts(void **state)
{
	struct rec_lineage l;
	struct recovery_id changed = world_id(1), base = world_id(2);
	bool has_changed = false, has_base = false;

	(void)state;
	rec_lineage_end(&l, &changed);
	for (uint32_t i = 2; i < 1000; i++) {
		struct recovery_id id = world_id(i);

		rec_lineage_tell(&l, &id, &base);
		assert_true(l.n_told <= LANE_LINEAGE);
		assert_int_equal(l.told[l.n_told - 1].attempt, i);
	}
	for (uint32_t i = 0; i < l.n_told; i++) {
		has_changed = has_changed || recovery_id_cmp(&l.told[i], &changed) == 0;
		has_base = has_base || recovery_id_cmp(&l.told[i], &base) == 0;
	}
	assert_true(has_changed && has_base);
	for (uint32_t i = 0; i < LANE_LINEAGE; i++) { /* nothing but one id: a file that was damaged */
		l.told[i] = changed;
	}
	rec_lineage_tell(&l, &base, &changed);
	assert_int_equal(l.n_told, LANE_LINEAGE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_bad_begin),
		TEST(test_ack_of_failed_database),
		TEST(test_locked_order_in_first_batch),
		TEST(test_whole_recovery),
		TEST(test_nothing_changed),
		TEST(test_bad_digests),
		TEST(test_half_counted),
		TEST(test_lineage_keeps_what_counts),
		TEST(test_patience_with_locks),
		TEST(test_late_database),
		TEST(test_late_database_is_detached),
		TEST(test_many_databases),
		TEST(test_slices_end_early),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
