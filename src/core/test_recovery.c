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

/* ---- contents ---- */

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
		TEST(test_bad_begin),
		TEST(test_ack_of_failed_database),
		TEST(test_locked_order_in_first_batch),
		TEST(test_whole_recovery),
		TEST(test_nothing_changed),
		TEST(test_bad_digests),
		TEST(test_half_counted),
		TEST(test_lineage_keeps_what_counts),
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
		TEST(test_patience_with_locks),
		TEST(test_late_database),
		TEST(test_late_database_is_detached),
		TEST(test_many_databases),
		TEST(test_slices_end_early),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
