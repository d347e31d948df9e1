/* Simulation of record engine and recovery: files, the clients that use them, and what they check. See sim_db.c. */
#include "sim_db.h"

#include <errno.h>

/* ---- files ---- */

int key_index(struct record_key key)
{
	return key.p[1];
}

struct record_key key_of(int k)
{
	static uint8_t bytes[MAX_KEYS][2];

	bytes[k][0] = 'k';
	bytes[k][1] = (uint8_t)k;
	return (struct record_key){bytes[k], 2};
}

static int op_trylock(void *priv, struct record_key key)
{
	struct node *n = priv;

	/* A chain is also locked for the sake of other keys. */
	if (rnd(50) == 0) {
		return EAGAIN;
	}
	return n->file[key_index(key)].locked_by >= 0 && bug != BUG_IGNORE_LOCKS ? EAGAIN : 0;
}

static void op_unlock(void *priv, struct record_key key)
{
	(void)priv;
	(void)key;
}

static int op_read(void *priv, struct record_key key, struct record_copy *copy)
{
	struct node *n = priv;
	struct file_record *f = &n->file[key_index(key)];

	*copy = (struct record_copy){.exists = f->exists};
	if (f->exists) {
		copy->rsn = f->rsn;
		copy->dmaster = f->dmaster;
		copy->flags = f->flags;
		copy->data = f->value != 0 ? (const uint8_t *)&f->value : NULL;
		copy->len = f->value != 0 ? sizeof(f->value) : 0;
		if (is_large(f->value)) {
			n->wide[0] = f->value;
			copy->data = (const uint8_t *)n->wide;
			copy->len = sizeof(n->wide);
		}
	}
	return 0;
}

static int op_write(void *priv, struct record_key key, const struct record_copy *copy)
{
	struct node *n = priv;
	struct file_record *f = &n->file[key_index(key)];
	uint32_t ro_generation = f->ro_generation;
	uint64_t value = 0;
	uint32_t before;

	if (copy->len != 0 && copy->len != sizeof(value) && copy->len != sizeof(n->wide)) {
		fail("node %u writes %zu bytes", n->pnn, copy->len);
	}
	if (copy->len > 0) {
		memcpy(&value, copy->data, sizeof(value));
	}
	if (bug == BUG_GIVE_TWICE && copy->dmaster != n->pnn && rnd(20) == 0) {
		return 0; /* gives away without writing it down */
	}
	if (bug == BUG_DELETE_GIVEN && copy->dmaster != n->pnn) {
		before = file_dmaster(n, key_index(key));
		*f = (struct file_record){.locked_by = f->locked_by};
		file_changed(n, key_index(key), before);
		return 0;
	}
	if (bug == BUG_KEEP_COPY && copy->dmaster != n->pnn && (f->flags & RECORD_FLAG_HAVE_READONLY) != 0 &&
	    (copy->flags & RECORD_FLAG_HAVE_READONLY) == 0 && n->generation != 0 && rnd(20) == 0) {
		return 0;
	}
	if ((copy->flags & RECORD_FLAGS_READONLY) != 0 &&
	    ((f->flags & RECORD_FLAGS_READONLY) == 0 || copy->rsn != f->rsn)) {
		ro_generation = rec_member_generation(n->member);
	}
	before = file_dmaster(n, key_index(key));
	if (copy->dmaster == n->pnn && before != n->pnn) {
		sticky_owned(n, key_index(key), copy->rsn);
	}
	*f = (struct file_record){.exists = true,
				  .ro_generation = ro_generation,
				  .rsn = copy->rsn,
				  .dmaster = copy->dmaster,
				  .flags = copy->flags,
				  .value = value,
				  .locked_by = f->locked_by};
	file_changed(n, key_index(key), before);
	return 0;
}

static int op_remove(void *priv, struct record_key key)
{
	struct node *n = priv;
	int k = key_index(key);
	uint32_t before;

	TRACE("node %u removes key %d rsn %" PRIu64, n->pnn, k, n->file[k].rsn);
	if (bug == BUG_VAC_NEVER || (bug == BUG_VAC_KEEP_TOMB && n->file[k].dmaster != n->pnn)) {
		return 0;
	}
	if ((n->file[k].flags & RECORD_FLAGS_READONLY) != 0) {
		fail("node %u removes key %d, which has read-only flags", n->pnn, k);
	}
	vacuum_check_removed(n, k);
	before = file_dmaster(n, k);
	n->file[k] = (struct file_record){.locked_by = -1};
	file_changed(n, k, before);
	return 0;
}

static union {
	const uint8_t *c;
	uint8_t *p;
} unconst;

static struct ctdb_blob blob_of(const uint8_t *p, size_t len)
{
	unconst.c = p;
	return (struct ctdb_blob){(uint32_t)len, unconst.p};
}

static void check_sent(const struct node *n, struct record_key key, const struct record_copy *copy)
{
	if (copy->len > SIM_MAX_DATA) {
		fail("node %u sends key %d with %zu bytes", n->pnn, key_index(key), copy->len);
	}
}

static void op_send_call(void *priv, uint32_t to, uint32_t generation, struct record_key key)
{
	struct lane_call m = {
		.generation = generation, .requester = ((struct node *)priv)->pnn, .key = blob_of(key.p, key.len)};

	send_any(priv, to, LANE_PROC_CALL, &m);
}

static void op_send_forward(void *priv, uint32_t to, uint32_t generation, uint32_t requester, struct record_key key)
{
	struct lane_call m = {.generation = generation, .requester = requester, .key = blob_of(key.p, key.len)};

	if (to == ((struct node *)priv)->pnn) {
		fail("node %u forwards to itself", to);
	}
	send_any(priv, to, LANE_PROC_FORWARD, &m);
}

static void op_send_grant(void *priv, uint32_t to, uint32_t generation, struct record_key key,
			  const struct record_copy *copy)
{
	struct lane_grant m = {
		.generation = generation, .rsn = copy->rsn, .flags = copy->flags, .key = blob_of(key.p, key.len)};

	check_sent(priv, key, copy);
	m.data = blob_of(copy->data, copy->len);
	stat_grants++;
	if (bug == BUG_LOSE_GRANT && rnd(100) == 0) {
		return;
	}
	sticky_gave(priv, key_index(key));
	TRACE("node %u gives key %d rsn %" PRIu64 " to %u", ((struct node *)priv)->pnn, key_index(key), copy->rsn, to);
	send_any(priv, to, LANE_PROC_GRANT, &m);
}

static void op_send_readonly(void *priv, uint32_t to, uint32_t generation, enum record_ro what, uint32_t requester,
			     struct record_key key, const struct record_copy *copy)
{
	static const enum lane_proc procs[] = {LANE_PROC_RO_CALL,   LANE_PROC_RO_FORWARD, LANE_PROC_RO_COPY,
					       LANE_PROC_RO_REVOKE, LANE_PROC_RO_REVOKED, LANE_PROC_RO_RETRY,
					       LANE_PROC_TOO_LARGE};
	struct lane_call m = {.generation = generation, .requester = requester, .key = blob_of(key.p, key.len)};
	struct lane_grant c = {.generation = generation, .key = blob_of(key.p, key.len)};

	if (to == ((struct node *)priv)->pnn) {
		fail("node %u sends itself a message about a copy", to);
	}
	TRACE("node %u: read-only %d of key %d to %u", ((struct node *)priv)->pnn, what, key_index(key), to);
	if (what != RECORD_RO_COPY && what != RECORD_RO_REVOKE) {
		if (bug != BUG_EARLY_REVOKED || what != RECORD_RO_REVOKED) {
			send_any(priv, to, procs[what], &m);
		}
		return;
	}
	if (what == RECORD_RO_COPY) {
		check_sent(priv, key, copy);
		sticky_check(priv, key_index(key), "lends");
	}
	stat_copies += what == RECORD_RO_COPY;
	stat_revokes += what == RECORD_RO_REVOKE;
	c.rsn = copy->rsn + (bug == BUG_COPY_RSN && what == RECORD_RO_COPY ? 2 : 0);
	c.flags = copy->flags;
	c.data = blob_of(copy->data, copy->len);
	send_any(priv, to, procs[what], &c);
	if (bug == BUG_EARLY_REVOKED && what == RECORD_RO_REVOKE) {
		send_any(&nodes[to], ((struct node *)priv)->pnn, LANE_PROC_RO_REVOKED, &m);
	}
}

static void op_inconsistent(void *priv, uint32_t generation, struct record_key key, const char *what)
{
	struct node *n = priv;

	(void)generation;
	fail("node %u: key %d: %s", n->pnn, key_index(key), what);
}

/* ---- clients ---- */

static void client_step(struct event *e);

static void client_again(struct client *c, uint64_t after)
{
	struct event *e = at(now_ns + after, client_step, c->node, c->index);

	e->incarnation = nodes[c->node].incarnation;
}

/* Somebody may read what is here: is it what was written last? */
static void check_value(int node, int key, uint64_t value, const char *what)
{
	if (value != truth[key] && (!lost[key] || value > next_value[key])) {
		fail("node %d reads %" PRIu64 " of key %d (%s), last written %" PRIu64, node, value, key, what,
		     truth[key]);
	}
}

static void answer_check(const struct client *c, const struct record_copy *copy)
{
	uint64_t value = 0;

	if (copy->dmaster != (uint32_t)c->node && !(c->reader && (copy->flags & RECORD_FLAG_HAVE_READONLY) != 0)) {
		fail("client of node %d was answered with a copy that it may not use", c->node);
	}
	if (copy->len > 0) {
		memcpy(&value, copy->data, sizeof(value));
	}
	check_value(c->node, c->key, value, "answer");
}

/* L1, L2: for no longer than the record is too large, and a while. */
static void client_refused(struct client *c)
{
	if (!is_large(truth[c->key]) && !lost[c->key] && now_ns - small_since[c->key] > 10 * S) {
		fail("client of node %d is refused key %d, which has been small for %" PRIu64 " ms", c->node, c->key,
		     (uint64_t)((now_ns - small_since[c->key]) / MS));
	}
	stat_refused++;
	c->call = NULL;
	c->state = CLIENT_IDLE;
	client_again(c, rnd(5 * MS));
}

static void op_answer(void *priv, int status, const struct record_copy *copy)
{
	struct client *c = priv;

	if (status == EFBIG) {
		client_refused(c);
		return;
	}
	if (status != 0) {
		fail("client answered %d", status);
	}
	answer_check(c, copy);
	c->call = NULL;
	if (!c->peek) {
		sticky_answered(&nodes[c->node], c->key);
	} else {
		stat_reads++;
		c->state = CLIENT_IDLE;
	}
	client_again(c, 5 * US + rnd(rnd(10) == 0 ? 3 * MS : 100 * US));
}

/* B3, B1 for a record that somebody owns: writer: he is about to write, or has just written. */
static void check_copies(const struct client *c, bool writer)
{
	const struct file_record *f = &nodes[c->node].file[c->key];

	for (int i = 0; i < n_nodes; i++) {
		struct file_record *o = &nodes[i].file[c->key];

		if (!nodes[i].power || nodes[i].expelled || nodes[i].stale || !o->exists ||
		    (o->flags & RECORD_FLAG_HAVE_READONLY) == 0) {
			continue;
		}
		if (writer) {
			fail("node %d writes key %d, node %d has a usable copy", c->node, c->key, i);
		}
		if (o->rsn >= f->rsn) {
			fail("node %d owns key %d with rsn %" PRIu64 ", node %d has a read-only copy with rsn %" PRIu64,
			     c->node, c->key, f->rsn, i, o->rsn);
		}
	}
}

/* D6: flags that nobody remembers would stay. */
void check_readonly(struct node *n)
{
	uint32_t flagged = 0;

	for (int k = 0; k < n_keys; k++) {
		flagged += n->file[k].exists && (n->file[k].flags & RECORD_FLAGS_READONLY) != 0;
	}
	if (flagged > record_db_readonly(n->db)) {
		fail("node %u: %u records have read-only flags, %u are known", n->pnn, flagged,
		     record_db_readonly(n->db));
	}
}

static void reader_check(const struct client *c)
{
	const struct file_record *f = &nodes[c->node].file[c->key];

	stat_reads++;
	TRACE("node %d reads key %d rsn %" PRIu64 " value %" PRIu64, c->node, c->key, f->rsn, f->value);
	check_value(c->node, c->key, f->value, "file");
	if (f->dmaster == (uint32_t)c->node) {
		check_copies(c, false);
	}
}

/* The moment of truth: the record is locked and owned. */
static void client_check(struct client *c)
{
	struct file_record *f = &nodes[c->node].file[c->key];

	stat_locks++;
	check_copies(c, true);
	TRACE("node %d locks key %d rsn %" PRIu64 " value %" PRIu64, c->node, c->key, f->rsn, f->value);
	for (int i = 0; i < n_nodes; i++) {
		struct file_record *o = &nodes[i].file[c->key];

		if (i != c->node && nodes[i].dbd && !nodes[i].expelled && o->exists && o->dmaster == (uint32_t)i &&
		    nodes[i].generation != 0) {
			fail("nodes %d and %d both own key %d", c->node, i, c->key);
		}
		/* A tombstone of vacuuming may be as new as the record. */
		if (i != c->node && nodes[i].power && !nodes[i].stale && o->exists &&
		    (o->rsn > f->rsn || (o->rsn == f->rsn && o->value != 0))) {
			fail("node %d owns key %d with rsn %" PRIu64 ", node %d has a copy with rsn %" PRIu64, c->node,
			     c->key, f->rsn, i, o->rsn);
		}
	}
	if (f->value == truth[c->key]) {
		lost[c->key] = false;
		return;
	}
	if (!lost[c->key] || f->value > next_value[c->key]) {
		fail("node %d reads %" PRIu64 " of key %d, last written %" PRIu64, c->node, f->value, c->key,
		     truth[c->key]);
	}
	stat_lost++;
	truth[c->key] = f->value;
	small_since[c->key] = now_ns;
	lost[c->key] = false;
}

static bool usable(const struct client *c, const struct file_record *f)
{
	if (c->reader) {
		return f->dmaster == (uint32_t)c->node || (f->flags & RECORD_FLAG_HAVE_READONLY) != 0;
	}
	return f->dmaster == (uint32_t)c->node && (f->flags & RECORD_FLAG_HAVE_DELEGATIONS) == 0;
}

static void client_unlock(struct client *c)
{
	struct node *n = &nodes[c->node];
	struct file_record *f = &n->file[c->key];
	/* Every fourth run records rest, so that hints count; every fourth they are also deleted, as a rule. */
	bool rest = seed % 4 < 2, churn = seed % 4 == 1;
	uint64_t what = churn ? 4 + rnd(6) : rnd(10);

	if (!f->exists || !usable(c, f) || f->locked_by != c->index) {
		fail("record %d taken from node %d while locked", c->key, c->node);
	}
	if (c->reader) {
		check_value(c->node, c->key, f->value, "unlock");
		what = 9;
	} else {
		check_copies(c, true);
	}
	if (is_large(f->value) && what < 9) {
		small_since[c->key] = now_ns;
	}
	if (what < 7) {
		f->value = truth[c->key] = ++next_value[c->key];
		gone[c->key] = false;
	} else if (what < 9) {
		f->value = truth[c->key] = 0;
		record_deletion_hint(n->db, key_of(c->key), f->rsn, mono());
	}
	f->locked_by = -1;
	c->keeps = false;
	c->state = CLIENT_IDLE;
	client_again(c, rest ? rnd(churn ? 2 * S : 400 * MS) : rnd(2) ? rnd(300 * US) : rnd(5 * MS));
	poll_node(n);
}

/* Who watches locks (src/dbd/locks.c) has noticed one that is kept. */
static void kept_event(struct event *e)
{
	struct node *n = &nodes[e->node];
	struct event *next;

	if (!n->dbd || n->incarnation != e->incarnation || !n->clients[e->a].keeps) {
		return;
	}
	if (!n->expelled && !n->fenced && rec_member_generation(n->member) != 0) {
		if (recovery_id_cmp(rec_member_id(n->member), &late_id) > 0) {
			late_id = *rec_member_id(n->member);
		}
		rec_member_late(n->member, &n->file);
		poll_node(n);
	}
	next = at(now_ns + rnd(3 * MS), kept_event, e->node, e->a);
	next->incarnation = e->incarnation;
}

/* For how long a record stays locked; now and then for longer than a recovery takes. */
static uint64_t lock_time(struct client *c)
{
	struct event *e;

	c->keeps = seed % 3 == 0 && !quiet_phase && rnd(150) == 0;
	if (!c->keeps) {
		return rnd(rnd(10) == 0 ? 5 * MS : 200 * US);
	}
	e = at(now_ns + rnd(3 * MS), kept_event, c->node, c->index);
	e->incarnation = nodes[c->node].incarnation;
	return rnd(150 * MS);
}

static void client_step(struct event *e)
{
	struct node *n = &nodes[e->node];
	struct client *c = &n->clients[e->a];
	struct file_record *f;

	if (!n->dbd || n->incarnation != e->incarnation || !n->clients_running) {
		return;
	}
	if (c->state == CLIENT_LOCKED) {
		client_unlock(c);
		return;
	}
	if (c->call != NULL) {
		return;
	}
	if (c->state == CLIENT_IDLE) {
		if (quiet_phase) {
			return;
		}
		c->key = (int)rnd((uint64_t)n_keys);
		c->reader = seed % 5 != 0 && rnd(5) < 3;
		c->peek = c->reader && rnd(3) == 0;
		c->asked_at = now_ns;
		c->state = CLIENT_WAIT;
	}
	f = &n->file[c->key];
	if (f->locked_by >= 0) {
		client_again(c, 50 * US);
		return;
	}
	if (f->exists && usable(c, f)) {
		f->locked_by = c->index;
		c->state = CLIENT_LOCKED;
		if (c->reader) {
			reader_check(c);
		} else {
			client_check(c);
		}
		client_again(c, lock_time(c));
		return;
	}
	c->call = c->reader
			  ? record_call_new_readonly(n->db, key_of(c->key), (uint64_t)c->index + 1, !c->peek, c, mono())
			  : record_call_new(n->db, key_of(c->key), (uint64_t)c->index + 1, true, c, mono());
	poll_node(n);
}

void clients_start(struct node *n)
{
	n->clients_running = true;
	for (int i = 0; i < MAX_CLIENTS; i++) {
		n->clients[i] = (struct client){.node = (int)n->pnn, .index = i};
		client_again(&n->clients[i], rnd(MS));
	}
}

void clients_kill(struct node *n)
{
	n->clients_running = false;
	for (int i = 0; i < MAX_CLIENTS; i++) {
		struct client *c = &n->clients[i];

		if (c->call != NULL && n->engine != NULL) {
			record_call_cancel(c->call);
		}
		*c = (struct client){.node = (int)n->pnn, .index = i};
	}
	for (int k = 0; k < n_keys; k++) {
		n->file[k].locked_by = -1;
	}
}

const struct record_ops record_ops = {op_trylock, op_unlock,       op_read,          op_write,
				      op_remove,  op_send_call,    op_send_forward,  op_send_grant,
				      op_answer,  op_inconsistent, op_send_readonly, NULL};
