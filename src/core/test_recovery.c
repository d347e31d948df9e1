/* Tests of recovery's two sides, one at a time: what the other side says is made up here, and may be nonsense. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "core/recovery.h"

#define ME       1U
#define LEADER   0U
#define GEN      77U
#define SENT_MAX 4096

/* What one side did, as far as the tests look at it. */
struct world {
	struct rec_member *member;
	struct rec_leader *leader;
	struct mono now;
	int db; /* the one handle */
	bool no_db, locked;
	struct rec_lineage lineage;
	uint32_t sent[64]; /* by procedure */
	uint32_t acks[SENT_MAX], n_acks;
	uint32_t status; /* of the last DB_PREPARED or BEGIN_REPLY */
	uint32_t applied, started, stopped, fed, prepared, committed, ended, done;
	uint32_t source, n_targets;
	uint32_t culprits, culprit; /* how many were named, the last one */
	int blame;                  /* for what */
};

static const uint32_t three[] = {0, 1, 2};

static void w_send(void *priv, uint32_t node, enum lane_proc proc, const void *msg)
{
	struct world *w = priv;

	(void)node;
	w->sent[proc]++;
	if (proc == LANE_PROC_REC_ACK) {
		w->acks[w->n_acks++ % SENT_MAX] = ((const struct rec_ack *)msg)->sequence;
	} else if (proc == LANE_PROC_REC_DB_PREPARED) {
		w->status = ((const struct rec_db *)msg)->status;
	} else if (proc == LANE_PROC_REC_BEGIN_REPLY) {
		w->status = ((const struct rec_begin_reply *)msg)->status;
	} else if (proc == LANE_PROC_REC_CONTENT_PLAN) {
		w->source = ((const struct rec_content_plan *)msg)->source;
		w->n_targets = ((const struct rec_content_plan *)msg)->targets.n;
	}
}

static int w_list(void *priv, TALLOC_CTX *mem, struct rec_db_state **dbs, uint32_t *n)
{
	(void)priv;
	*dbs = talloc_zero_array(mem, struct rec_db_state, 1);
	*n = 0;
	return 0;
}

static int w_may_begin(void *priv, const struct rec_begin *m)
{
	(void)priv;
	(void)m;
	return 0;
}

static void w_begun(void *priv, const struct rec_begin *m)
{
	(void)priv;
	(void)m;
}

static void *w_find(void *priv, const struct rec_db_plan *plan)
{
	struct world *w = priv;

	(void)plan;
	return w->no_db ? NULL : &w->db;
}

static void w_none(void *priv, void *db)
{
	(void)priv;
	(void)db;
}

static int w_start(void *priv, void *db)
{
	(void)db;
	((struct world *)priv)->started++;
	return 0;
}

static int w_feed(void *priv, void *db, const uint8_t *records, size_t len, bool last)
{
	(void)db;
	(void)records;
	(void)len;
	(void)last;
	((struct world *)priv)->fed++;
	return 0;
}

static void w_stop(void *priv, void *db)
{
	(void)db;
	((struct world *)priv)->stopped++;
}

/* Only keys that begin with 'L' can be locked. */
static int w_apply(void *priv, void *db, enum rec_apply what, const uint8_t *key, size_t keylen, uint64_t rsn,
		   uint32_t owner)
{
	struct world *w = priv;

	(void)db;
	(void)what;
	(void)rsn;
	(void)owner;
	if (w->locked && keylen > 0 && key[0] == 'L') {
		return EAGAIN;
	}
	w->applied++;
	return 0;
}

static void w_tell(void *priv, void *db, const struct recovery_id *id, const struct recovery_id *base)
{
	(void)db;
	rec_lineage_tell(&((struct world *)priv)->lineage, id, base);
}

static void w_change(void *priv, void *db, const struct recovery_id *id)
{
	(void)db;
	((struct world *)priv)->lineage.changed = *id;
}

static void w_prepared(void *priv, void *db, const struct recovery_id *id, uint32_t generation, const uint32_t *slots,
		       uint32_t n)
{
	(void)db;
	(void)id;
	(void)slots;
	(void)n;
	(void)generation;
	((struct world *)priv)->prepared++;
}

static void w_committed(void *priv, void *db, const struct recovery_id *id, uint32_t generation)
{
	(void)db;
	(void)id;
	(void)generation;
	((struct world *)priv)->committed++;
}

static void w_ended(void *priv, const struct recovery_id *id, uint32_t generation, const uint32_t *members, uint32_t n)
{
	(void)id;
	(void)generation;
	(void)members;
	(void)n;
	((struct world *)priv)->ended++;
}

static void w_note(void *priv, const char *text)
{
	(void)priv;
	assert_non_null(text);
}

static void w_done(void *priv, const struct recovery_id *id, uint32_t generation)
{
	(void)id;
	(void)generation;
	((struct world *)priv)->done++;
}

static const struct rec_member_ops member_ops = {
	.send = w_send,
	.list_dbs = w_list,
	.may_begin = w_may_begin,
	.begun = w_begun,
	.find_db = w_find,
	.invalidated = w_none,
	.start_wipe = w_start,
	.start_scan = w_start,
	.scan_continue = w_none,
	.start_state = w_start,
	.start_read = w_start,
	.read_continue = w_none,
	.start_replace = w_start,
	.replace_feed = w_feed,
	.stop_jobs = w_stop,
	.apply = w_apply,
	.lineage_tell = w_tell,
	.lineage_change = w_change,
	.prepared = w_prepared,
	.committed = w_committed,
	.ended = w_ended,
	.note = w_note,
};
static void w_culprit(void *priv, uint32_t node, int status, const char *text)
{
	struct world *w = priv;

	assert_non_null(text);
	w->culprits++;
	w->culprit = node;
	w->blame = status;
}

static const struct rec_leader_ops leader_ops = {.send = w_send, .done = w_done, .note = w_note, .culprit = w_culprit};

static int setup(void **state)
{
	struct world *w = talloc_zero(NULL, struct world);

	w->now = (struct mono){1000000000};
	w->member = rec_member_new(w, ME, &member_ops, w);
	w->leader = rec_leader_new(w, LEADER, &leader_ops, w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	talloc_free(*state);
	return 0;
}

static struct recovery_id id_of(uint32_t attempt)
{
	return (struct recovery_id){.term = 3, .number = 4, .attempt = attempt};
}

/* The generated structs hold pointers to what may be changed; nobody here does. */
static uint32_t *list(const uint32_t *v)
{
	union {
		const uint32_t *c;
		uint32_t *p;
	} u = {v};

	return u.p;
}

static struct rec_begin begin_of(uint32_t attempt)
{
	return (struct rec_begin){.id = id_of(attempt),
				  .generation = GEN,
				  .leader = LEADER,
				  .members = {3, list(three)},
				  .slots = {3, list(three)}};
}

/* BEGIN and PLAN with one database, number 9. */
static void plan(struct world *w, uint32_t attempt, uint32_t flags, bool valid, const struct recovery_id *base)
{
	struct rec_begin b = begin_of(attempt);
	char name[] = "test.tdb";
	uint32_t me = ME;
	struct rec_db_plan p = {.db_id = 9, .flags = flags, .name = name, .valid = {valid ? 1 : 0, &me}};
	struct rec_plan m = {.id = id_of(attempt), .dbs = {1, &p}};

	if (base != NULL) {
		p.base = *base;
	}
	rec_member_on_begin(w->member, LEADER, &b, w->now);
	assert_int_equal(w->status, 0);
	rec_member_on_plan(w->member, LEADER, &m, w->now);
}

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
	struct rec_begin b = begin_of(1);

	b.members.v = far;
	b.slots.v = list(three);
	refused(w, b, LEADER, EINVAL);
	b.members.v = twice;
	refused(w, b, LEADER, EINVAL);
	b = begin_of(2);
	b.slots.v = foreign;
	refused(w, b, LEADER, EINVAL);
	b = begin_of(3);
	b.slots.n = 0;
	refused(w, b, LEADER, EINVAL);
	b = begin_of(4);
	b.generation = 1;
	refused(w, b, LEADER, EINVAL);
	refused(w, begin_of(5), 2, ESTALE); /* not from the leader that it names */
	b = begin_of(6);
	b.members.n = b.slots.n = 2;
	b.members.v = b.slots.v = others;
	refused(w, b, LEADER, EINVAL); /* we are not in it */
	plan(w, 7, 0, true, NULL);
	assert_int_equal(rec_member_generation(w->member), GEN);
	assert_true(rec_member_has(w->member, 2));
	assert_false(rec_member_has(w->member, 3));
	b = begin_of(7);
	rec_member_on_begin(w->member, LEADER, &b, w->now);
	assert_int_equal(w->status, ESTALE);
	rec_member_abandon(w->member);
	assert_int_equal(rec_member_generation(w->member), 0);
}

/* ---- volatile ---- */

static void test_ack_of_failed_database(void **state)
{
	struct world *w = *state;
	struct rec_ack ack = {.id = id_of(1), .db_id = 9};
	const uint32_t what[] = {LANE_PROC_REC_CLAIMS, LANE_PROC_REC_ORDERS, LANE_PROC_REC_CONTENT, 0, UINT32_MAX};

	w->no_db = true;
	plan(w, 1, 0, true, NULL);
	assert_int_equal(w->status, EIO);
	for (size_t i = 0; i < sizeof(what) / sizeof(what[0]); i++) {
		ack.what = what[i];
		rec_member_on_ack(w->member, 2, &ack, w->now);
		rec_member_on_ack(w->member, LANE_NODES + 5, &ack, w->now);
	}
}

static void scanned(struct world *w)
{
	struct rec_claims c = {.id = id_of(1), .db_id = 9, .last = true};

	rec_member_job_done(w->member, &w->db, 0, w->now);
	rec_member_on_claims(w->member, 0, &c, w->now);
	rec_member_on_claims(w->member, 2, &c, w->now);
	while (!mono_before(w->now, rec_member_run(w->member, w->now)) && w->sent[LANE_PROC_REC_ORDERS] < 2) {
	}
}

static void orders(struct world *w, uint32_t from, uint32_t sequence, const char *key, bool last)
{
	struct rec_order o = {.rsn = 1, .owner = ME};
	struct rec_orders m = {.id = id_of(1), .db_id = 9, .sequence = sequence, .last = last, .orders = {1, &o}};
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

	plan(w, 1, 0, true, NULL);
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
	struct rec_orders none = {.id = id_of(1), .db_id = 9, .last = true};
	struct rec_ack ack = {.id = id_of(1), .db_id = 9, .what = LANE_PROC_REC_ORDERS};
	struct rec_db commit = {.id = id_of(1), .db_id = 9};
	struct rec_end end = {.id = id_of(1)};

	plan(w, 1, 0, false, NULL);
	assert_int_equal(w->started, 1); /* wipe */
	rec_member_job_done(w->member, &w->db, 0, w->now);
	assert_int_equal(w->started, 2);
	assert_int_equal(w->lineage.n_told, 0);
	scanned(w);
	assert_int_equal(w->lineage.n_told, 1);
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

/* ---- lineage ---- */

static void test_lineage_keeps_what_counts(void **state)
{
	struct rec_lineage l;
	struct recovery_id changed = id_of(1), base = id_of(2);
	bool has_changed = false, has_base = false;

	(void)state;
	rec_lineage_end(&l, &changed);
	for (uint32_t i = 2; i < 1000; i++) {
		struct recovery_id id = id_of(i);

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
		.id = id_of(1), .db_id = 9, .sequence = sequence, .last = last, .records = {sizeof(bytes), bytes}};

	rec_member_on_content(w->member, from, &m, w->now);
}

/* A copy that does not count begins to count when its contents are replaced, not before. */
static void test_invalid_contents(void **state)
{
	struct world *w = *state;
	uint32_t target = ME;
	struct rec_content_plan p = {.id = id_of(1), .db_id = 9, .source = 2, .targets = {1, &target}};
	struct recovery_id base = {.term = 2}, id = id_of(1);

	plan(w, 1, DB_PERSISTENT, false, &base);
	rec_member_state_done(w->member, &w->db, 0, 100, 1, true);
	assert_int_equal(w->sent[LANE_PROC_REC_CONTENT_STATE], 1);
	rec_member_on_content_plan(w->member, LEADER, &p, w->now);
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

static void test_contents_before_plan(void **state)
{
	struct world *w = *state;

	plan(w, 1, DB_PERSISTENT, true, NULL);
	rec_member_state_done(w->member, &w->db, 0, 100, 1, true);
	assert_int_equal(w->lineage.n_told, 1);
	for (uint32_t s = 0; s < 8; s++) {
		content(w, 2, s, false);
	}
	assert_int_equal(w->status, 0);
	content(w, 2, 8, false);
	assert_int_equal(w->status, EPROTO);
}

/* ---- leader ---- */

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
	struct rec_begin_reply m = {.id = id_of(attempt), .status = status, .newest = id_of(attempt), .dbs = {1, &s}};

	rec_leader_on_begin_reply(w->leader, from, &m, w->now);
}

static void lead(struct world *w)
{
	assert_int_equal(rec_leader_start(w->leader, 3, 4, GEN, three, 3, three, 3, w->now), 0);
}

static void state_of(struct world *w, uint32_t from, uint64_t seqnum, uint64_t digest)
{
	struct rec_content_state m = {.id = id_of(1), .db_id = 5, .seqnum = seqnum, .digest = digest, .healthy = true};

	rec_leader_on_content_state(w->leader, from, &m, w->now);
}

/* A copy that missed a recovery does not win by its sequence number. */
static void test_source(void **state)
{
	struct world *w = *state;
	struct recovery_id old = {.term = 1}, new = {.term = 2};
	struct rec_db p = {.id = id_of(1), .db_id = 5};

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
	struct rec_content_state damaged = {.id = id_of(1), .db_id = 5, .healthy = false};

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

/* H-073: who does not answer, who answers with an error, whose step failed: named, and nobody else. */
static void test_who_failed_is_named(void **state)
{
	struct world *w = *state;
	struct recovery_id none = {0};
	struct rec_db failed = {.id = id_of(3), .db_id = 5, .status = EIO};
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

/* H-073, K-22: the first failure of a step does not hide the next one. */
static void test_all_who_failed_are_named(void **state)
{
	struct world *w = *state;
	struct recovery_id none = {0};
	struct rec_db failed = {.id = id_of(2), .db_id = 5, .status = EIO};
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

/* H-075: a record that stays locked fails the node where it is locked, before others lose patience with it. */
static void test_patience_with_locks(void **state)
{
	struct world *w = *state;

	plan(w, 1, 0, true, NULL);
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
	struct recovery_id id = id_of(rnd(8) == 0 ? odd(3) : 1);
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
	struct recovery_id id = rec_leader_running(w->leader) ? id_of(odd(3)) : id_of(1), changed = id_of(odd(9));
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
		w->member = rec_member_new(w, ME, &member_ops, w);
		w->leader = rec_leader_new(w, LEADER, &leader_ops, w);
		rnd_state = run * 0x9E3779B97F4A7C15ULL;
		w->no_db = rnd(8) == 0;
		w->locked = rnd(2);
		w->status = 0;
		plan(w, 1, rnd(2) ? 0 : DB_PERSISTENT, rnd(2), NULL);
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
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_bad_begin),
		TEST(test_ack_of_failed_database),
		TEST(test_locked_order_in_first_batch),
		TEST(test_whole_recovery),
		TEST(test_lineage_keeps_what_counts),
		TEST(test_invalid_contents),
		TEST(test_contents_before_plan),
		TEST(test_source),
		TEST(test_damaged_copy_is_no_source),
		TEST(test_who_failed_is_named),
		TEST(test_all_who_failed_are_named),
		TEST(test_patience_with_locks),
		TEST(test_restarts_slow_down),
		TEST(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
