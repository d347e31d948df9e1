/*
 * Simulation of record engine and recovery: N nodes with one volatile and one persistent database, clients that lock,
 * read, write and delete records, a network with delays, links that break and come back, nodes that lose power, dbds
 * that are killed, nodes expelled and taken back, nodes that lose their lease for a moment. One process, virtual time;
 * same seed, same run. --bug breaks one rule of ARCHITECTURE.md or core/recovery.h: the checks have to notice.
 *
 * What is checked: a client that holds a record it owns reads the value that was written last, unless the only copy of
 * it died with its node (then an older one, and from then on that one); at most one owner a key; every call is
 * answered; after quiet, contents of persistent databases are equal everywhere.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/record.h"
#include "core/recovery.h"
#include "core/slotmap.h"

#define MAX_NODES   8
#define MAX_KEYS    16
#define MAX_CLIENTS 4
#define SLOTS       32
#define US          1000ULL
#define MS          1000000ULL
#define S           1000000000ULL

enum bug {
	BUG_NONE,
	BUG_GIVE_TWICE,   /* R1: the giver does not write down that it gave */
	BUG_KEEP_STALE,   /* V5: a copy that does not count is not wiped */
	BUG_LOSE_GRANT,   /* R3 */
	BUG_DELETE_GIVEN, /* R5 */
	BUG_IGNORE_LOCKS, /* R7 */
	BUG_SERVE_ALWAYS, /* V2: records move during a recovery */
	BUG_SERVE_EARLY,  /* V3, V4: clients are served before COMMIT */
	BUG_NO_LINEAGE,   /* V5: all copies count */
	BUG_NO_POINTER,   /* V6: the location master forgets who owns a key */
	BUG_NO_REPLACE,   /* V7 */
	BUG_SILENT_LINK,  /* V8: nobody says that messages between two members are lost */
	BUG_SILENT_FENCE, /* V8: nobody says that a member forgot the recovery */
};

static const char *const bug_names[] = {"none",         "give-twice",   "keep-stale",  "lose-grant", "delete-given",
					"ignore-locks", "serve-always", "serve-early", "no-lineage", "no-pointer",
					"no-replace",   "silent-link",  "silent-fence"};

/* ---- world ---- */

struct file_record {
	bool exists;
	uint64_t rsn;
	uint32_t dmaster, flags;
	uint64_t value; /* 0: header only */
	int locked_by;  /* client, -1 */
};

struct content {
	uint64_t seqnum, value;
};

enum client_state { CLIENT_IDLE, CLIENT_WAIT, CLIENT_LOCKED };

struct client {
	enum client_state state;
	int node, index, key;
	struct record_call *call;
	uint64_t asked_at;
};

struct node {
	uint32_t pnn;
	bool power, dbd, expelled;
	bool fenced;              /* lost its lease for a moment: it does nothing, the others do not know */
	uint32_t wish_generation; /* a recovery is wanted for what was lost in this generation */
	bool rejoin;
	uint64_t wish_at, not_before;
	bool stale; /* was expelled and has not been committed since: its records do not count */
	uint64_t incarnation;
	TALLOC_CTX *mem;
	struct record_engine *engine;
	struct record_db *db;
	struct rec_member *member;
	struct rec_leader *leader;
	struct file_record file[MAX_KEYS];
	struct content content;
	struct rec_lineage lineage[2]; /* by database; survive a dbd crash, not a power cut */
	struct recovery_id committed[2];
	uint32_t led_members[MAX_NODES], n_led;
	uint64_t led_incarnations[MAX_NODES], led_term, led_breaks[MAX_NODES];
	bool lead_wanted;
	uint32_t job_epoch[2];
	int scan_at;
	bool scan_paused;
	struct content incoming;
	bool content_changed; /* since the last BEGIN */
	uint64_t poll_at;
	uint32_t generation;
	struct client clients[MAX_CLIENTS];
	bool clients_running; /* processes start when their attach is answered: at the first commit */
};

struct event {
	uint64_t t, order;
	void (*fn)(struct event *e);
	int node, a, b;
	uint32_t epoch;
	uint64_t incarnation, incarnation2, breaks;
	uint8_t *buf;
	size_t len;
	uint32_t proc;
};

static struct node nodes[MAX_NODES];
static int n_nodes = 3, n_keys = 4;
static uint64_t now_ns, event_order, rnd_state, seed;
static struct event **heap;
static size_t n_heap, heap_size;
static uint64_t link_clear[MAX_NODES][MAX_NODES]; /* time when the last message arrives: FIFO */
static uint64_t link_breaks[MAX_NODES][MAX_NODES], link_down_until[MAX_NODES][MAX_NODES];
static bool trace, quiet_phase;
static enum bug bug;
static uint64_t truth[MAX_KEYS]; /* last value written, 0 deleted */
static uint64_t next_value[MAX_KEYS];
static bool lost[MAX_KEYS]; /* only copy of the truth died: an older value may come back */
static struct {
	uint64_t term, number;
	uint32_t leader, members[MAX_NODES], n;
} view;
static uint32_t slots_now[SLOTS];
static bool have_slots;
static uint64_t stat_locks, stat_grants, stat_recoveries, stat_lost, stat_events;

static uint64_t rnd(uint64_t n)
{
	rnd_state ^= rnd_state << 13;
	rnd_state ^= rnd_state >> 7;
	rnd_state ^= rnd_state << 17;
	return n == 0 ? 0 : rnd_state % n;
}

#define TRACE(...)                                                                                                     \
	do {                                                                                                           \
		if (trace) {                                                                                           \
			printf("%10.3f ", (double)now_ns / 1e6);                                                       \
			printf(__VA_ARGS__);                                                                           \
			printf("\n");                                                                                  \
		}                                                                                                      \
	} while (0)

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *fmt, ...)
{
	va_list ap;

	printf("FAILED at %.3f ms: ", (double)now_ns / 1e6);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\nreplay: sim_db --seed %" PRIu64 " --runs 1 --nodes %d --keys %d --trace\n", seed, n_nodes, n_keys);
	fflush(stdout);
	exit(1);
}

static struct mono mono(void)
{
	return (struct mono){now_ns};
}

/* ---- events ---- */

static bool earlier(const struct event *a, const struct event *b)
{
	return a->t != b->t ? a->t < b->t : a->order < b->order;
}

static void push(struct event *e)
{
	size_t i = n_heap++;

	if (n_heap > heap_size) {
		heap_size = heap_size == 0 ? 1024 : heap_size * 2;
		heap = realloc(heap, heap_size * sizeof(*heap));
	}
	e->order = event_order++;
	while (i > 0 && earlier(e, heap[(i - 1) / 2])) {
		heap[i] = heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	heap[i] = e;
}

static struct event *pop(void)
{
	struct event *top = heap[0], *last = heap[--n_heap];
	size_t i = 0;

	for (;;) {
		size_t c = 2 * i + 1;

		if (c >= n_heap) {
			break;
		}
		if (c + 1 < n_heap && earlier(heap[c + 1], heap[c])) {
			c++;
		}
		if (!earlier(heap[c], last)) {
			break;
		}
		heap[i] = heap[c];
		i = c;
	}
	heap[i] = last;
	return top;
}

static struct event *at(uint64_t t, void (*fn)(struct event *), int node, int a)
{
	struct event *e = calloc(1, sizeof(*e));

	e->t = t;
	e->fn = fn;
	e->node = node;
	e->a = a;
	push(e);
	return e;
}

/* ---- files ---- */

static int key_index(struct record_key key)
{
	return key.p[1];
}

static struct record_key key_of(int k)
{
	static uint8_t bytes[MAX_KEYS][2];

	bytes[k][0] = 'k';
	bytes[k][1] = (uint8_t)k;
	return (struct record_key){bytes[k], 2};
}

static int op_trylock(void *priv, struct record_key key)
{
	struct node *n = priv;

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
	}
	return 0;
}

static int op_write(void *priv, struct record_key key, const struct record_copy *copy)
{
	struct node *n = priv;
	struct file_record *f = &n->file[key_index(key)];
	uint64_t value = 0;

	if (copy->len != 0 && copy->len != sizeof(value)) {
		fail("node %u writes %zu bytes", n->pnn, copy->len);
	}
	if (copy->len > 0) {
		memcpy(&value, copy->data, sizeof(value));
	}
	if (bug == BUG_GIVE_TWICE && copy->dmaster != n->pnn && rnd(20) == 0) {
		return 0; /* gives away without writing it down */
	}
	if (bug == BUG_DELETE_GIVEN && copy->dmaster != n->pnn) {
		*f = (struct file_record){.locked_by = f->locked_by};
		return 0;
	}
	*f = (struct file_record){.exists = true,
				  .rsn = copy->rsn,
				  .dmaster = copy->dmaster,
				  .flags = copy->flags,
				  .value = value,
				  .locked_by = f->locked_by};
	return 0;
}

static int op_remove(void *priv, struct record_key key)
{
	struct node *n = priv;

	n->file[key_index(key)] = (struct file_record){.locked_by = -1};
	return 0;
}

/* ---- network ---- */

static void deliver(struct event *e);

static bool link_is_up(uint32_t a, uint32_t b)
{
	return a == b || now_ns >= link_down_until[a][b];
}

static void post(struct node *from, uint32_t to, uint32_t proc, struct ctdb_blob *buf)
{
	struct event *e;
	uint64_t delay = to == from->pnn ? 1 : 20 * US + rnd(rnd(20) == 0 ? 5 * MS : 200 * US);
	uint64_t t = now_ns + delay;

	if (!link_is_up(from->pnn, to)) {
		return;
	}
	if (t <= link_clear[from->pnn][to]) {
		t = link_clear[from->pnn][to] + 1;
	}
	link_clear[from->pnn][to] = t;
	e = at(t, deliver, (int)to, (int)from->pnn);
	e->incarnation = nodes[to].incarnation;
	e->incarnation2 = from->incarnation;
	e->breaks = link_breaks[from->pnn][to];
	e->proc = proc;
	e->buf = malloc(buf->len > 0 ? buf->len : 1);
	e->len = buf->len;
	memcpy(e->buf, buf->data, buf->len);
}

#define SEND_CASE(PROC, type)                                                                                          \
	case LANE_PROC_##PROC:                                                                                         \
		ret = type##_encode(tmp, msg, &buf);                                                                   \
		break

static void send_any(void *priv, uint32_t to, enum lane_proc proc, const void *msg)
{
	TALLOC_CTX *tmp = talloc_new(NULL);
	struct ctdb_blob buf = {0};
	int ret = EINVAL;

	switch ((int)proc) {
		SEND_CASE(CALL, lane_call);
		SEND_CASE(FORWARD, lane_call);
		SEND_CASE(GRANT, lane_grant);
		SEND_CASE(REC_BEGIN, rec_begin);
		SEND_CASE(REC_BEGIN_REPLY, rec_begin_reply);
		SEND_CASE(REC_PLAN, rec_plan);
		SEND_CASE(REC_CLAIMS, rec_claims);
		SEND_CASE(REC_ACK, rec_ack);
		SEND_CASE(REC_ORDERS, rec_orders);
		SEND_CASE(REC_CONTENT_STATE, rec_content_state);
		SEND_CASE(REC_CONTENT_PLAN, rec_content_plan);
		SEND_CASE(REC_CONTENT, rec_content);
		SEND_CASE(REC_DB_PREPARED, rec_db);
		SEND_CASE(REC_DB_COMMIT, rec_db);
		SEND_CASE(REC_END, rec_end);
		SEND_CASE(REC_WANTED, rec_wanted);
	default:
		break;
	}
	if (ret != 0) {
		fail("cannot encode %d", (int)proc);
	}
	post(priv, to, proc, &buf);
	talloc_free(tmp);
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

	m.data = blob_of(copy->data, copy->len);
	stat_grants++;
	if (bug == BUG_LOSE_GRANT && rnd(100) == 0) {
		return;
	}
	TRACE("node %u gives key %d rsn %" PRIu64 " to %u", ((struct node *)priv)->pnn, key_index(key), copy->rsn, to);
	send_any(priv, to, LANE_PROC_GRANT, &m);
}

static void poll_node(struct node *n);

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

static void op_answer(void *priv, int status, const struct record_copy *copy)
{
	struct client *c = priv;

	(void)copy;
	if (status != 0) {
		fail("client answered %d", status);
	}
	c->call = NULL;
	client_again(c, 5 * US + rnd(rnd(10) == 0 ? 3 * MS : 100 * US));
}

/* The moment of truth: the record is locked and owned. */
static void client_check(struct client *c)
{
	struct file_record *f = &nodes[c->node].file[c->key];

	stat_locks++;
	TRACE("node %d locks key %d rsn %" PRIu64 " value %" PRIu64, c->node, c->key, f->rsn, f->value);
	for (int i = 0; i < n_nodes; i++) {
		struct file_record *o = &nodes[i].file[c->key];

		if (i != c->node && nodes[i].dbd && !nodes[i].expelled && o->exists && o->dmaster == (uint32_t)i &&
		    nodes[i].generation != 0) {
			fail("nodes %d and %d both own key %d", c->node, i, c->key);
		}
		if (i != c->node && nodes[i].power && !nodes[i].stale && o->exists && o->rsn >= f->rsn) {
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
	lost[c->key] = false;
}

static void client_unlock(struct client *c)
{
	struct node *n = &nodes[c->node];
	struct file_record *f = &n->file[c->key];
	uint64_t what = rnd(10);

	if (!f->exists || f->dmaster != n->pnn || f->locked_by != c->index) {
		fail("record %d taken from node %d while locked", c->key, c->node);
	}
	if (what < 7) {
		f->value = truth[c->key] = ++next_value[c->key];
	} else if (what < 9) {
		f->value = truth[c->key] = 0;
		record_deletion_hint(n->db, key_of(c->key), f->rsn, mono());
	}
	f->locked_by = -1;
	c->state = CLIENT_IDLE;
	client_again(c, seed % 4 == 0 ? rnd(400 * MS)
			: rnd(2)      ? rnd(300 * US)
				      : rnd(5 * MS)); /* every fourth run records rest: hints count */
	poll_node(n);
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
		c->asked_at = now_ns;
		c->state = CLIENT_WAIT;
	}
	f = &n->file[c->key];
	if (f->locked_by >= 0) {
		client_again(c, 50 * US);
		return;
	}
	if (f->exists && f->dmaster == n->pnn) {
		f->locked_by = c->index;
		c->state = CLIENT_LOCKED;
		client_check(c);
		client_again(c, rnd(rnd(10) == 0 ? 5 * MS : 200 * US));
		return;
	}
	c->call = record_call_new(n->db, key_of(c->key), (uint64_t)c->index + 1, true, c, mono());
	poll_node(n);
}

static void clients_start(struct node *n)
{
	n->clients_running = true;
	for (int i = 0; i < MAX_CLIENTS; i++) {
		n->clients[i] = (struct client){.node = (int)n->pnn, .index = i};
		client_again(&n->clients[i], rnd(MS));
	}
}

static void clients_kill(struct node *n)
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

/* ---- a node's dbd: glue as in src/dbd ---- */

static void poll_event(struct event *e)
{
	struct node *n = &nodes[e->node];

	if (n->poll_at == e->t) {
		n->poll_at = 0;
	}
	if (n->dbd && n->incarnation == e->incarnation) {
		poll_node(n);
	}
}

static void lead(struct node *n);

static void poll_node(struct node *n)
{
	struct mono next = record_engine_timers(n->engine, mono());
	struct mono when;

	next = mono_min(next, rec_member_run(n->member, mono()));
	if (rec_leader_wants_restart(n->leader, &when)) {
		if (when.ns <= now_ns) {
			n->lead_wanted = true;
			lead(n);
		} else {
			next = mono_min(next, when);
		}
	}
	if (next.ns != 0 && (n->poll_at == 0 || next.ns < n->poll_at)) {
		uint64_t t = next.ns > now_ns ? next.ns : now_ns + 1;
		struct event *e = at(t, poll_event, (int)n->pnn, 0);

		e->incarnation = n->incarnation;
		n->poll_at = t;
	}
}

static bool in_view(uint32_t pnn)
{
	for (uint32_t i = 0; i < view.n; i++) {
		if (view.members[i] == pnn) {
			return true;
		}
	}
	return false;
}

/* The leader's dbd: does what is need a recovery? */
static void lead(struct node *n)
{
	uint32_t slots[SLOTS];
	bool same = !n->lead_wanted && n->n_led == view.n && n->led_term == view.term;

	if (!n->dbd || view.leader != n->pnn || n->expelled || n->fenced || now_ns < n->not_before) {
		return;
	}
	for (uint32_t i = 0; i < view.n; i++) {
		if (!nodes[view.members[i]].dbd || !link_is_up(n->pnn, view.members[i])) {
			return; /* wait for it */
		}
		same = same && n->led_breaks[i] == link_breaks[n->pnn][view.members[i]];
		same = same && n->led_members[i] == view.members[i] &&
		       n->led_incarnations[i] == nodes[view.members[i]].incarnation;
	}
	if (same) {
		return;
	}
	n->lead_wanted = false;
	n->n_led = view.n;
	n->led_term = view.term;
	for (uint32_t i = 0; i < view.n; i++) {
		n->led_members[i] = view.members[i];
		n->led_incarnations[i] = nodes[view.members[i]].incarnation;
		n->led_breaks[i] = link_breaks[n->pnn][view.members[i]];
	}
	slotmap_compute(slots, SLOTS, have_slots ? slots_now : NULL, view.members, view.n);
	memcpy(slots_now, slots, sizeof(slots));
	have_slots = true;
	stat_recoveries++;
	TRACE("node %u begins recovery, view %" PRIu64 ".%" PRIu64 ", %u members", n->pnn, view.term, view.number,
	      view.n);
	rec_leader_start(n->leader, view.term, view.number, 2 + (uint32_t)rnd(0x7ffffff0), view.members, view.n, slots,
			 SLOTS, mono());
	poll_node(n);
}

/* ---- wishes: what was lost can only be seen at its ends ---- */

static void wish_event(struct event *e);

static void wish(struct node *n)
{
	struct rec_wanted m = {.generation = n->rejoin ? 1 : n->wish_generation};
	struct event *e;

	if (!n->dbd || n->expelled || n->fenced ||
	    (!n->rejoin && (n->wish_generation == 0 || n->wish_generation != rec_member_generation(n->member)))) {
		return;
	}
	m.reason = talloc_strdup(n->mem, "");
	send_any(n, view.leader, LANE_PROC_REC_WANTED, &m);
	if (n->wish_at <= now_ns) {
		n->wish_at = now_ns + 20 * MS;
		e = at(n->wish_at, wish_event, (int)n->pnn, 0);
		e->incarnation = n->incarnation;
	}
}

static void wish_event(struct event *e)
{
	if (nodes[e->node].incarnation == e->incarnation) {
		wish(&nodes[e->node]);
	}
}

static void on_wanted(struct node *n, uint32_t generation)
{
	bool ours = rec_member_is_normal(n->member) && generation == rec_member_generation(n->member);

	if (view.leader == n->pnn && (ours || generation == 1 || generation == rec_leader_generation(n->leader))) {
		n->lead_wanted = true;
		n->not_before = now_ns + 5 * MS;
	}
}

static void leader_done(void *priv, const struct recovery_id *id, uint32_t generation)
{
	(void)priv;
	(void)id;
	TRACE("recovery done, generation %u", generation);
}

static void note(void *priv, const char *text)
{
	TRACE("node %u: %s", ((struct node *)priv)->pnn, text);
}

static int m_list_dbs(void *priv, TALLOC_CTX *mem, struct rec_db_state **dbs, uint32_t *count)
{
	struct node *n = priv;

	*dbs = talloc_zero_array(mem, struct rec_db_state, 2);
	*count = 2;
	for (uint32_t i = 0; i < 2; i++) {
		(*dbs)[i] = (struct rec_db_state){.db_id = i + 1,
						  .flags = i == 0 ? 0 : DB_PERSISTENT,
						  .changed = n->lineage[i].changed,
						  .told = {n->lineage[i].n_told, n->lineage[i].told}};
		if (bug == BUG_NO_LINEAGE) {
			(*dbs)[i].changed = (struct recovery_id){0};
		}
		(*dbs)[i].name = talloc_asprintf(*dbs, "db%u.tdb", i);
	}
	return 0;
}

static int m_may_begin(void *priv, const struct rec_begin *m)
{
	struct node *n = priv;

	if (n->expelled || n->fenced || m->leader != view.leader || m->id.term != view.term) {
		return EAGAIN;
	}
	for (uint32_t i = 0; i < m->members.n; i++) {
		if (!nodes[m->members.v[i]].dbd || !link_is_up(n->pnn, m->members.v[i])) {
			return EAGAIN;
		}
	}
	return 0;
}

static void m_begun(void *priv, const struct rec_begin *m)
{
	struct node *n = priv;

	(void)m;
	n->generation = 0;
	n->content_changed = false;
	n->wish_generation = 0;
	n->rejoin = false;
	if (bug != BUG_SERVE_ALWAYS) {
		record_db_close(n->db);
	}
}

static void *m_find_db(void *priv, const struct rec_db_plan *plan)
{
	struct node *n = priv;

	return plan->db_id == 1 ? (void *)&n->file : (void *)&n->content;
}

static void m_invalidated(void *priv, void *db)
{
	struct node *n = priv;

	if (db == &n->file) {
		clients_kill(n);
	}
}

static int db_no(const struct node *n, const void *db)
{
	return db == (const void *)&n->file ? 0 : 1;
}

static void job(struct node *n, void *db, void (*fn)(struct event *), uint64_t after)
{
	struct event *e = at(now_ns + 10 * US + rnd(after), fn, (int)n->pnn, db_no(n, db));

	e->incarnation = n->incarnation;
	e->epoch = n->job_epoch[db_no(n, db)];
}

static bool job_alive(const struct event *e)
{
	const struct node *n = &nodes[e->node];

	return n->dbd && n->incarnation == e->incarnation && n->job_epoch[e->a] == e->epoch;
}

static void wipe_event(struct event *e)
{
	struct node *n = &nodes[e->node];

	if (!job_alive(e)) {
		return;
	}
	for (int k = 0; k < n_keys && bug != BUG_KEEP_STALE; k++) {
		n->file[k] = (struct file_record){.locked_by = -1};
	}
	rec_member_job_done(n->member, &n->file, 0, mono());
	poll_node(n);
}

static int m_start_wipe(void *priv, void *db)
{
	job(priv, db, wipe_event, 2 * MS);
	return 0;
}

static void scan_event(struct event *e)
{
	struct node *n = &nodes[e->node];
	struct file_record *f;

	if (!job_alive(e)) {
		return;
	}
	if (n->scan_at == n_keys) {
		rec_member_job_done(n->member, &n->file, 0, mono());
		poll_node(n);
		return;
	}
	f = &n->file[n->scan_at];
	if (f->locked_by >= 0) { /* a scan waits for the lock of a chain */
		job(n, &n->file, scan_event, 100 * US);
		return;
	}
	if (f->exists) {
		struct record_key key = key_of(n->scan_at);
		struct rec_scan_entry entry = {.key = key.p,
					       .keylen = key.len,
					       .rsn = f->rsn,
					       .flags = f->flags,
					       .dmaster = f->dmaster,
					       .empty = f->value == 0};

		n->scan_paused = !rec_member_scan_entry(n->member, &n->file, &entry);
	}
	n->scan_at++;
	if (!n->scan_paused) {
		job(n, &n->file, scan_event, 200 * US);
	}
	poll_node(n);
}

static int m_start_scan(void *priv, void *db)
{
	struct node *n = priv;

	n->scan_at = 0;
	n->scan_paused = false;
	job(n, db, scan_event, MS);
	return 0;
}

static void m_scan_continue(void *priv, void *db)
{
	((struct node *)priv)->scan_paused = false;
	job(priv, db, scan_event, 100 * US);
}

static void state_event(struct event *e)
{
	struct node *n = &nodes[e->node];

	if (job_alive(e)) {
		rec_member_state_done(n->member, &n->content, 0, n->content.seqnum, n->content.value, true);
		poll_node(n);
	}
}

static int m_start_state(void *priv, void *db)
{
	job(priv, db, state_event, MS);
	return 0;
}

static void read_event(struct event *e)
{
	struct node *n = &nodes[e->node];

	if (job_alive(e)) {
		rec_member_read_batch(n->member, &n->content, (const uint8_t *)&n->content, sizeof(n->content));
		rec_member_job_done(n->member, &n->content, 0, mono());
		poll_node(n);
	}
}

static int m_start_read(void *priv, void *db)
{
	job(priv, db, read_event, MS);
	return 0;
}

static void m_read_continue(void *priv, void *db)
{
	(void)priv;
	(void)db;
}

static int m_start_replace(void *priv, void *db)
{
	(void)priv;
	(void)db;
	return 0;
}

static void replace_event(struct event *e)
{
	struct node *n = &nodes[e->node];

	if (job_alive(e)) {
		if (bug != BUG_NO_REPLACE) {
			n->content = n->incoming;
		}
		rec_member_job_done(n->member, &n->content, 0, mono());
		poll_node(n);
	}
}

static int m_replace_feed(void *priv, void *db, const uint8_t *records, size_t len, bool last)
{
	struct node *n = priv;

	if (len == sizeof(n->incoming)) {
		memcpy(&n->incoming, records, len);
	}
	if (last) {
		job(n, db, replace_event, MS);
	}
	return 0;
}

static void m_stop_jobs(void *priv, void *db)
{
	struct node *n = priv;

	n->job_epoch[db_no(n, db)]++;
}

static int m_apply(void *priv, void *db, enum rec_apply what, const uint8_t *key, size_t keylen, uint64_t rsn,
		   uint32_t owner)
{
	struct node *n = priv;
	struct file_record *f = &n->file[key_index((struct record_key){key, keylen})];

	(void)db;
	if (f->locked_by >= 0) {
		return EAGAIN;
	}
	if (what != REC_APPLY_POINT && (!f->exists || f->rsn != rsn)) {
		fail("node %u: order for a copy that is not there", n->pnn);
	}
	if (what == REC_APPLY_POINT && f->exists && f->dmaster == n->pnn) {
		fail("node %u: pointer over an owned record", n->pnn);
	}
	TRACE("node %u: %s key %d rsn %" PRIu64 " owner %u", n->pnn,
	      what == REC_APPLY_ADOPT    ? "adopts"
	      : what == REC_APPLY_DEMOTE ? "gives up"
					 : "points at",
	      key_index((struct record_key){key, keylen}), f->rsn, owner);
	if (bug == BUG_NO_POINTER && what == REC_APPLY_POINT) {
		return 0;
	}
	f->exists = true;
	f->dmaster = what == REC_APPLY_ADOPT ? n->pnn : owner;
	f->rsn += what == REC_APPLY_ADOPT;
	return 0;
}

static void m_lineage_tell(void *priv, void *db, const struct recovery_id *id, const struct recovery_id *base)
{
	rec_lineage_tell(&((struct node *)priv)->lineage[db_no(priv, db)], id, base);
}

static void m_lineage_change(void *priv, void *db, const struct recovery_id *id)
{
	((struct node *)priv)->lineage[db_no(priv, db)].changed = *id;
}

static void m_prepared(void *priv, void *db, const struct recovery_id *id, uint32_t generation, const uint32_t *slots,
		       uint32_t n_slots)
{
	struct node *n = priv;

	TRACE("node %u: database %d prepared", n->pnn, db_no(n, db));
	if (db == &n->file) {
		record_db_open(n->db, generation, slots, n_slots);
		if (bug == BUG_SERVE_EARLY) {
			record_db_serve(n->db, mono());
		}
	}
}

static void m_committed(void *priv, void *db, const struct recovery_id *id, uint32_t generation)
{
	struct node *n = priv;

	n->committed[db_no(n, db)] = *id;
	TRACE("node %u: database %d committed", n->pnn, db_no(n, db));
	if (db == &n->file) {
		n->generation = generation;
		n->stale = false;
		record_db_serve(n->db, mono());
		if (!n->clients_running) {
			clients_start(n);
		}
	}
}

static void m_ended(void *priv, const struct recovery_id *id, uint32_t generation, const uint32_t *members,
		    uint32_t n_members)
{
	struct node *n = priv;

	(void)generation;
	rec_lineage_end(&n->lineage[0], id);
	rec_lineage_end(&n->lineage[1], id);
	for (uint32_t i = 0; i < n_members; i++) {
		struct node *o = &nodes[members[i]];

		if (!o->content_changed && !n->content_changed &&
		    recovery_id_cmp(&o->committed[1], &n->committed[1]) == 0 &&
		    (o->content.seqnum != n->content.seqnum || o->content.value != n->content.value) &&
		    n->generation == o->generation) {
			fail("after recovery, persistent contents of %u and %u differ", n->pnn, o->pnn);
		}
	}
}

static const struct record_ops record_ops = {op_trylock,   op_unlock,       op_read,       op_write,  op_remove,
					     op_send_call, op_send_forward, op_send_grant, op_answer, op_inconsistent};
static const struct rec_leader_ops leader_ops = {send_any, leader_done, note};
static const struct rec_member_ops member_ops = {.send = send_any,
						 .list_dbs = m_list_dbs,
						 .may_begin = m_may_begin,
						 .begun = m_begun,
						 .find_db = m_find_db,
						 .invalidated = m_invalidated,
						 .start_wipe = m_start_wipe,
						 .start_scan = m_start_scan,
						 .scan_continue = m_scan_continue,
						 .start_state = m_start_state,
						 .start_read = m_start_read,
						 .read_continue = m_read_continue,
						 .start_replace = m_start_replace,
						 .replace_feed = m_replace_feed,
						 .stop_jobs = m_stop_jobs,
						 .apply = m_apply,
						 .lineage_tell = m_lineage_tell,
						 .lineage_change = m_lineage_change,
						 .prepared = m_prepared,
						 .committed = m_committed,
						 .ended = m_ended,
						 .note = note};

#define DELIVER(PROC, type, ...)                                                                                       \
	case LANE_PROC_##PROC: {                                                                                       \
		struct type m;                                                                                         \
		if (type##_decode(tmp, e->buf, e->len, &m) != 0) {                                                     \
			fail("cannot decode %u", e->proc);                                                             \
		}                                                                                                      \
		__VA_ARGS__;                                                                                           \
		break;                                                                                                 \
	}

static void deliver(struct event *e)
{
	struct node *n = &nodes[e->node];
	uint32_t from = (uint32_t)e->a;
	TALLOC_CTX *tmp;

	/* The connection was between these two runs of dbd. */
	if (!n->dbd || n->incarnation != e->incarnation || !nodes[from].dbd ||
	    nodes[from].incarnation != e->incarnation2 || n->expelled || nodes[from].expelled ||
	    e->breaks != link_breaks[from][n->pnn]) {
		return;
	}
	tmp = talloc_new(NULL);
	switch ((int)e->proc) {
		DELIVER(CALL, lane_call,
			record_on_call(n->db, from, m.generation, (struct record_key){m.key.data, m.key.len}, mono()));
		DELIVER(FORWARD, lane_call,
			record_on_forward(n->db, from, m.generation, m.requester,
					  (struct record_key){m.key.data, m.key.len}, mono()));
		DELIVER(GRANT, lane_grant, {
			struct record_copy c = {
				.exists = true, .rsn = m.rsn, .flags = m.flags, .data = m.data.data, .len = m.data.len};

			record_on_grant(n->db, from, m.generation, (struct record_key){m.key.data, m.key.len}, &c,
					mono());
		});
		DELIVER(REC_BEGIN, rec_begin, rec_member_on_begin(n->member, from, &m, mono()));
		DELIVER(REC_BEGIN_REPLY, rec_begin_reply, rec_leader_on_begin_reply(n->leader, from, &m, mono()));
		DELIVER(REC_PLAN, rec_plan, rec_member_on_plan(n->member, from, &m, mono()));
		DELIVER(REC_CLAIMS, rec_claims, rec_member_on_claims(n->member, from, &m, mono()));
		DELIVER(REC_ACK, rec_ack, rec_member_on_ack(n->member, from, &m, mono()));
		DELIVER(REC_ORDERS, rec_orders, rec_member_on_orders(n->member, from, &m, mono()));
		DELIVER(REC_CONTENT_STATE, rec_content_state, rec_leader_on_content_state(n->leader, from, &m, mono()));
		DELIVER(REC_CONTENT_PLAN, rec_content_plan, rec_member_on_content_plan(n->member, from, &m, mono()));
		DELIVER(REC_CONTENT, rec_content, rec_member_on_content(n->member, from, &m, mono()));
		DELIVER(REC_DB_PREPARED, rec_db, rec_leader_on_prepared(n->leader, from, &m, mono()));
		DELIVER(REC_DB_COMMIT, rec_db, rec_member_on_commit(n->member, from, &m, mono()));
		DELIVER(REC_END, rec_end, rec_member_on_end(n->member, from, &m, mono()));
		DELIVER(REC_WANTED, rec_wanted, on_wanted(n, m.generation));
	default:
		fail("unknown message %u", e->proc);
	}
	talloc_free(tmp);
	poll_node(n);
}

static void dbd_start(struct node *n)
{
	struct record_config config = {.own_pnn = n->pnn,
				       .hold_min_us = 500,
				       .hold_max_us = 20000,
				       .retry_min_us = 200,
				       .retry_max_us = 5000,
				       .max_hints = 100};

	n->mem = talloc_new(NULL);
	n->incarnation = ++event_order;
	n->engine = record_engine_new(n->mem, &config, &record_ops, n);
	n->db = record_db_new(n->engine, n);
	n->member = rec_member_new(n->mem, n->pnn, &member_ops, n);
	n->leader = rec_leader_new(n->mem, n->pnn, &leader_ops, n);
	n->dbd = true;
	n->generation = 0;
	n->poll_at = n->wish_at = n->not_before = 0;
	n->n_led = n->wish_generation = 0;
	n->rejoin = n->fenced = false;
}

static void dbd_kill(struct node *n)
{
	clients_kill(n);
	n->dbd = false;
	n->generation = 0;
	TALLOC_FREE(n->mem);
	n->engine = NULL;
}

/* ---- the god of views, and faults ---- */

static void new_view(bool new_term)
{
	view.n = 0;
	for (int i = 0; i < n_nodes; i++) {
		if (nodes[i].power && !nodes[i].expelled) {
			view.members[view.n++] = (uint32_t)i;
		}
	}
	if (new_term || !in_view(view.leader)) {
		view.term++;
		view.leader = view.n > 0 ? view.members[rnd(view.n)] : 0;
	}
	view.number++;
	for (int i = 0; i < n_nodes; i++) {
		if (nodes[i].dbd && view.leader != (uint32_t)i) {
			rec_leader_stop(nodes[i].leader);
			nodes[i].n_led = 0;
		}
	}
	TRACE("view %" PRIu64 ".%" PRIu64 " leader %u, %u members", view.term, view.number, view.leader, view.n);
}

static void view_event(struct event *e)
{
	new_view(e->a != 0);
}

static void leader_event(struct event *e)
{
	(void)e;
	if (nodes[view.leader].dbd) {
		lead(&nodes[view.leader]);
	}
	at(now_ns + 500 * US, leader_event, 0, 0);
}

static void dbd_event(struct event *e)
{
	struct node *n = &nodes[e->node];

	if (n->power && !n->dbd) {
		TRACE("node %u: dbd is back", n->pnn);
		dbd_start(n);
	}
}

/* Is the truth of a key still held by somebody who counts? */
static void note_losses(void)
{
	for (int k = 0; k < n_keys; k++) {
		bool held = false;

		for (int i = 0; i < n_nodes; i++) {
			struct file_record *f = &nodes[i].file[k];

			held = held || (nodes[i].power && !nodes[i].expelled && !nodes[i].stale && f->exists &&
					f->value == truth[k] && f->dmaster == (uint32_t)i);
		}
		/* Not owned by anybody who counts: what a recovery chooses among stale copies may be older. */
		lost[k] = lost[k] || !held;
	}
}

static void power_on_event(struct event *e)
{
	struct node *n = &nodes[e->node];

	if (n->power) {
		return;
	}
	TRACE("node %u: power on", n->pnn);
	n->power = true;
	n->stale = false;
	memset(n->committed, 0, sizeof(n->committed));
	memset(n->lineage, 0, sizeof(n->lineage));
	for (int k = 0; k < n_keys; k++) {
		n->file[k] = (struct file_record){.locked_by = -1};
	}
	dbd_start(n);
	at(now_ns + rnd(20 * MS), view_event, 0, 0);
}

static void back_event(struct event *e)
{
	struct node *n = &nodes[e->node];

	if (n->expelled) {
		TRACE("node %u: taken back", n->pnn);
		n->expelled = false;
		at(now_ns + rnd(5 * MS), view_event, 0, 0);
	}
}

static int up_count(void)
{
	int up = 0;

	for (int i = 0; i < n_nodes; i++) {
		up += nodes[i].power && !nodes[i].expelled;
	}
	return up;
}

static void fault_power(struct node *n)
{
	if (!n->power || up_count() <= 1) {
		return;
	}
	TRACE("node %u: power cut", n->pnn);
	if (n->dbd) {
		dbd_kill(n);
	}
	n->power = false;
	n->expelled = false;
	note_losses();
	at(now_ns + rnd(50 * MS), view_event, 0, 0);
	at(now_ns + 20 * MS + rnd(200 * MS), power_on_event, (int)n->pnn, 0);
}

static void fault_expel(struct node *n)
{
	if (!n->dbd || n->expelled || up_count() <= 1) {
		return;
	}
	TRACE("node %u: expelled", n->pnn);
	clients_kill(n);
	record_db_close(n->db);
	rec_member_abandon(n->member);
	rec_leader_stop(n->leader);
	n->n_led = 0;
	n->generation = 0;
	n->expelled = n->stale = true;
	n->fenced = n->rejoin = false;
	note_losses();
	new_view(false);
	at(now_ns + 5 * MS + rnd(100 * MS), back_event, (int)n->pnn, 0);
}

static void link_lost(struct node *n, uint32_t peer)
{
	if (n->dbd && !n->fenced && !n->expelled && rec_member_has(n->member, peer) && bug != BUG_SILENT_LINK) {
		n->wish_generation = rec_member_generation(n->member);
		wish(n);
	}
}

/* Both dbds live on; what is on its way in either direction is lost. */
static void fault_link(struct node *n)
{
	struct node *o = &nodes[rnd((uint64_t)n_nodes)];
	uint64_t until = now_ns + (rnd(2) ? 100 * US : rnd(20 * MS));

	if (o == n) {
		return;
	}
	TRACE("link of nodes %u and %u breaks for %.3f ms", n->pnn, o->pnn, (double)(until - now_ns) / 1e6);
	link_breaks[n->pnn][o->pnn] = ++link_breaks[o->pnn][n->pnn];
	link_down_until[n->pnn][o->pnn] = link_down_until[o->pnn][n->pnn] = until;
	link_lost(n, o->pnn);
	link_lost(o, n->pnn);
}

static void unfence_event(struct event *e)
{
	struct node *n = &nodes[e->node];

	if (n->fenced && n->incarnation == e->incarnation && !n->expelled) {
		TRACE("node %u: active again", n->pnn);
		n->fenced = false;
		n->rejoin = bug != BUG_SILENT_FENCE;
		wish(n);
	}
}

/* The lease of a node ends for a moment, nobody else notices. */
static void fault_fence(struct node *n)
{
	struct event *e;

	if (!n->dbd || n->expelled || n->fenced || rec_member_generation(n->member) == 0) {
		return;
	}
	TRACE("node %u: not active", n->pnn);
	clients_kill(n);
	record_db_close(n->db);
	rec_member_abandon(n->member);
	rec_leader_stop(n->leader);
	n->n_led = 0;
	n->generation = 0;
	n->fenced = true;
	e = at(now_ns + rnd(30 * MS), unfence_event, (int)n->pnn, 0);
	e->incarnation = n->incarnation;
}

/* Often when something is going on already: that is where faults hurt. */
static uint64_t next_fault(void)
{
	return now_ns + (rnd(3) == 0 ? rnd(3 * MS) : rnd(150 * MS));
}

static void fault_event(struct event *e)
{
	struct node *n = &nodes[rnd((uint64_t)n_nodes)];

	(void)e;
	if (quiet_phase) {
		return;
	}
	switch (rnd(7)) {
	case 5:
		fault_link(n);
		break;
	case 6:
		fault_fence(n);
		break;
	case 0:
		fault_power(n);
		break;
	case 1:
		fault_expel(n);
		break;
	case 2:
		new_view(true);
		break;
	case 3:
		if (n->dbd && !n->expelled) {
			TRACE("node %u: dbd killed", n->pnn);
			dbd_kill(n);
			at(now_ns + MS + rnd(20 * MS), dbd_event, (int)n->pnn, 0);
		}
		break;
	default: /* a commit that reached only some nodes */
		if (n->dbd && rec_member_is_normal(n->member)) {
			n->content_changed = true;
			n->content = (struct content){n->content.seqnum + 1, event_order};
			if (nodes[view.leader].dbd) {
				nodes[view.leader].lead_wanted = true;
			}
		}
		break;
	}
	at(next_fault(), fault_event, 0, 0);
}

/* ---- runs ---- */

static void check_quiet(void)
{
	for (int i = 0; i < n_nodes; i++) {
		struct node *n = &nodes[i];

		if (!n->dbd || n->generation == 0) {
			fail("node %d did not come back (power %d, dbd %d)", i, n->power, n->dbd);
		}
		for (int c = 0; c < MAX_CLIENTS; c++) {
			if (n->clients[c].state != CLIENT_IDLE) {
				fail("client %d of node %d still waits for key %d since %.3f ms", c, i,
				     n->clients[c].key, (double)n->clients[c].asked_at / 1e6);
			}
		}
	}
}

static void run_until(uint64_t t)
{
	while (n_heap > 0 && heap[0]->t <= t) {
		struct event *e = pop();

		now_ns = e->t;
		stat_events++;
		e->fn(e);
		free(e->buf);
		free(e);
	}
	now_ns = t;
}

static void run(uint64_t s, uint64_t virtual_ms)
{
	seed = s;
	rnd_state = s * 0x9E3779B97F4A7C15ULL + 1;
	now_ns = 1 * S;
	quiet_phase = have_slots = false;
	memset(nodes, 0, sizeof(nodes));
	memset(&view, 0, sizeof(view));
	memset(link_clear, 0, sizeof(link_clear));
	memset(link_breaks, 0, sizeof(link_breaks));
	memset(link_down_until, 0, sizeof(link_down_until));
	for (int k = 0; k < MAX_KEYS; k++) {
		truth[k] = next_value[k] = 0;
		lost[k] = false;
	}
	for (int i = 0; i < n_nodes; i++) {
		nodes[i].pnn = (uint32_t)i;
		nodes[i].power = true;
		for (int k = 0; k < MAX_KEYS; k++) {
			nodes[i].file[k].locked_by = -1;
		}
		dbd_start(&nodes[i]);
	}
	new_view(true);
	at(now_ns, leader_event, 0, 0);
	at(now_ns + rnd(50 * MS), fault_event, 0, 0);
	run_until(now_ns + virtual_ms * MS);
	quiet_phase = true;
	run_until(now_ns + 20 * S);
	check_quiet();
	for (int i = 0; i < n_nodes; i++) {
		dbd_kill(&nodes[i]);
	}
	while (n_heap > 0) {
		struct event *e = heap[--n_heap];

		free(e->buf);
		free(e);
	}
}

static void usage(void)
{
	printf("usage: sim_db [--seed S] [--runs R] [--nodes 2..%d] [--keys 1..%d] [--ms VIRTUAL] [--trace] [--bug "
	       "NAME]\nbugs:",
	       MAX_NODES, MAX_KEYS);
	for (size_t i = 0; i < sizeof(bug_names) / sizeof(bug_names[0]); i++) {
		printf(" %s", bug_names[i]);
	}
	printf("\n");
}

static bool bug_set(const char *name)
{
	for (size_t i = 0; i < sizeof(bug_names) / sizeof(bug_names[0]); i++) {
		if (strcmp(name, bug_names[i]) == 0) {
			bug = (enum bug)i;
			return true;
		}
	}
	return false;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"seed", 1, NULL, 's'}, {"runs", 1, NULL, 'r'}, {"nodes", 1, NULL, 'n'},
						{"keys", 1, NULL, 'k'}, {"ms", 1, NULL, 'm'},   {"trace", 0, NULL, 't'},
						{"bug", 1, NULL, 'b'},  {"help", 0, NULL, 'h'}, {NULL, 0, NULL, 0}};
	uint64_t first = 1, runs = 100, ms = 1000;
	bool vary = true;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's':
			first = strtoull(optarg, NULL, 0);
			break;
		case 'r':
			runs = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			n_nodes = atoi(optarg);
			vary = false;
			break;
		case 'k':
			n_keys = atoi(optarg);
			break;
		case 'm':
			ms = strtoull(optarg, NULL, 0);
			break;
		case 't':
			trace = true;
			break;
		case 'b':
			if (!bug_set(optarg)) {
				usage();
				return 2;
			}
			break;
		default:
			usage();
			return c == 'h' ? 0 : 2;
		}
	}
	if (n_nodes < 2 || n_nodes > MAX_NODES || n_keys < 1 || n_keys > MAX_KEYS) {
		usage();
		return 2;
	}
	for (uint64_t i = 0; i < runs; i++) {
		if (vary) {
			n_nodes = 3 + (int)((first + i) % 4);
		}
		run(first + i, ms);
	}
	printf("%" PRIu64 " runs, %" PRIu64 " events, %" PRIu64 " locks, %" PRIu64 " grants, %" PRIu64
	       " recoveries, %" PRIu64 " records fell back to older copies\n",
	       runs, stat_events, stat_locks, stat_grants, stat_recoveries, stat_lost);
	free(heap);
	return 0;
}
