/* What the tests of recovery have in common. */
#include "test_recovery_world.h"

#include <errno.h>
#include <string.h>

const uint32_t world_three[3] = {0, 1, 2};

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
	} else if (proc == LANE_PROC_REC_PLAN) {
		w->full = ((const struct rec_plan *)msg)->full;
		w->plan_dbs = ((const struct rec_plan *)msg)->dbs.n;
		w->plan_flags = w->plan_dbs > 0 ? ((const struct rec_plan *)msg)->dbs.v[0].flags : 0;
	} else if (proc == LANE_PROC_REC_CONTENT_PLAN) {
		w->source = ((const struct rec_content_plan *)msg)->source;
		w->n_targets = ((const struct rec_content_plan *)msg)->targets.n;
	} else if (proc == LANE_PROC_REC_CONTENT_PARTS) {
		w->n_sums = ((const struct rec_content_parts *)msg)->sums.n;
	} else if (proc == LANE_PROC_REC_CONTENT_BEGIN) {
		const struct rec_content_begin *b = msg;

		assert_true(content_map_set(&w->map, b->parts, b->map.data, b->map.len));
	} else if (proc == LANE_PROC_REC_CONTENT) {
		w->last = ((const struct rec_content *)msg)->last;
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

static int w_start_scan(void *priv, void *db, const struct rec_scan_filter *filter)
{
	((struct world *)priv)->filtered = filter != NULL;
	return w_start(priv, db);
}

static const uint64_t *w_parts(void *priv, void *db, uint32_t *n)
{
	struct world *w = priv;

	(void)db;
	*n = w->n_parts;
	return w->n_parts > 0 ? w->parts : NULL;
}

static void w_contents_forget(void *priv, void *db)
{
	(void)db;
	((struct world *)priv)->forgotten++;
}

static int w_start_read(void *priv, void *db, const struct content_map *map)
{
	(void)map;
	return w_start(priv, db);
}

static int w_start_replace(void *priv, void *db, const struct rec_replace *what)
{
	((struct world *)priv)->replace = *what;
	return w_start(priv, db);
}

static struct slot_digest *w_digest(void *priv, void *db, bool *changed)
{
	struct world *w = priv;

	(void)db;
	*changed = *changed || w->changed;
	return w->digest;
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

const struct rec_member_ops world_member_ops = {
	.send = w_send,
	.list_dbs = w_list,
	.may_begin = w_may_begin,
	.begun = w_begun,
	.find_db = w_find,
	.invalidated = w_none,
	.start_wipe = w_start,
	.digest = w_digest,
	.start_scan = w_start_scan,
	.scan_continue = w_none,
	.start_state = w_start,
	.parts = w_parts,
	.contents_forget = w_contents_forget,
	.start_read = w_start_read,
	.read_continue = w_none,
	.start_replace = w_start_replace,
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

const struct rec_leader_ops world_leader_ops = {.send = w_send, .done = w_done, .note = w_note, .culprit = w_culprit};

int world_setup(void **state)
{
	struct world *w = talloc_zero(NULL, struct world);

	w->now = (struct mono){1000000000};
	w->digest = slot_digest_new(w);
	assert_int_equal(slot_digest_reset(w->digest, 0), 0);
	w->member = rec_member_new(w, ME, &world_member_ops, w);
	w->leader = rec_leader_new(w, LEADER, &world_leader_ops, w);
	*state = w;
	return 0;
}

int world_teardown(void **state)
{
	talloc_free(*state);
	return 0;
}

struct recovery_id world_id(uint32_t attempt)
{
	return (struct recovery_id){.term = 3, .number = 4, .attempt = attempt};
}

/* The generated structs hold pointers to what may be changed; nobody here does. */
uint32_t *world_list(const uint32_t *v)
{
	union {
		const uint32_t *c;
		uint32_t *p;
	} u = {v};

	return u.p;
}

struct rec_begin world_begin(uint32_t attempt)
{
	return (struct rec_begin){.id = world_id(attempt),
				  .generation = GEN,
				  .leader = LEADER,
				  .members = {3, world_list(world_three)},
				  .slots = {3, world_list(world_three)}};
}

void world_plan(struct world *w, uint32_t attempt, uint32_t flags, bool valid, const struct recovery_id *base)
{
	struct rec_begin b = world_begin(attempt);
	char name[] = "test.tdb";
	uint32_t me = ME;
	struct rec_db_plan p = {.db_id = 9, .flags = flags, .name = name, .valid = {valid ? 1 : 0, &me}};
	struct rec_plan m = {.id = world_id(attempt), .dbs = {1, &p}};

	if (base != NULL) {
		p.base = *base;
	}
	rec_member_on_begin(w->member, LEADER, &b, w->now);
	assert_int_equal(w->status, 0);
	rec_member_on_plan(w->member, LEADER, &m, w->now);
	(void)rec_member_run(w->member, w->now);
}

void world_digests(struct world *w, uint32_t attempt, bool all)
{
	struct rec_digests d = {.id = world_id(attempt), .db_id = 9};
	uint8_t theirs[2][1] = {{1U << 0}, {1U << 2}};
	const uint32_t others[] = {0, 2};

	for (int i = 0; i < 2; i++) {
		rec_member_on_digests(w->member, others[i], &d, w->now);
	}
	(void)rec_member_run(w->member, w->now);
	for (int i = 0; i < 2; i++) {
		struct rec_want m = {.id = world_id(attempt), .db_id = 9, .all = {all ? 1 : 0, theirs[i]}};

		rec_member_on_want(w->member, others[i], &m, w->now);
	}
	(void)rec_member_run(w->member, w->now);
}
