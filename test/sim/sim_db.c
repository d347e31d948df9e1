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
#include "sim_db.h"

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

/* Does anybody have a copy of the database that counts? */
static bool anybody_counts(void)
{
	for (int i = 0; i < n_nodes; i++) {
		if (nodes[i].power && !nodes[i].expelled && !nodes[i].stale && nodes[i].lineage[0].changed.term != 0) {
			return true;
		}
	}
	return false;
}

/* Is the truth of a key still held by somebody who counts? What is gone is held by all who do. */
static void note_losses(void)
{
	bool some = anybody_counts();

	for (int k = 0; k < n_keys; k++) {
		bool held = gone[k] && some;

		for (int i = 0; i < n_nodes; i++) {
			struct file_record *f = &nodes[i].file[k];

			held = held || (nodes[i].power && !nodes[i].expelled && !nodes[i].stale && f->exists &&
					f->value == truth[k] &&
					(f->dmaster == (uint32_t)i || (f->flags & RECORD_FLAG_HAVE_READONLY) != 0));
		}
		/* Not owned by anybody who counts: what a recovery chooses among stale copies may be older. */
		lost[k] = lost[k] || !held;
		gone[k] = gone[k] && held;
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
	n->fresh = true;
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
			content_commit(n);
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
		for (int k = 0; k < n_keys; k++) {
			if ((n->file[k].flags & RECORD_FLAGS_READONLY) != 0 && n->file[k].exists &&
			    n->file[k].ro_generation != n->generation) {
				fail("node %d: key %d has read-only flags of an earlier generation", i, k);
			}
		}
	}
}

void run_until(uint64_t t)
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
	memset(&late_id, 0, sizeof(late_id));
	memset(link_clear, 0, sizeof(link_clear));
	memset(link_breaks, 0, sizeof(link_breaks));
	memset(link_down_until, 0, sizeof(link_down_until));
	for (int k = 0; k < MAX_KEYS; k++) {
		truth[k] = next_value[k] = small_since[k] = 0;
		lost[k] = gone[k] = false;
	}
	for (int i = 0; i < n_nodes; i++) {
		nodes[i].pnn = (uint32_t)i;
		nodes[i].power = true;
		for (int k = 0; k < MAX_KEYS; k++) {
			nodes[i].file[k].locked_by = -1;
		}
		nodes[i].fresh = true;
		dbd_start(&nodes[i]);
	}
	new_view(true);
	at(now_ns, leader_event, 0, 0);
	at(now_ns + rnd(50 * MS), fault_event, 0, 0);
	at(now_ns + rnd(50 * MS), vacuum_event, 0, 0);
	run_until(now_ns + virtual_ms * MS);
	quiet_phase = true;
	run_until(now_ns + 20 * S);
	check_quiet();
	vacuum_all();
	vacuum_all();
	vacuum_check_clean();
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
	       " reads, %" PRIu64 " copies, %" PRIu64 " revoked, %" PRIu64 " recoveries, %" PRIu64
	       " records fell back to older copies, %" PRIu64 " removed, %" PRIu64 " orphans, %" PRIu64
	       " pins, %" PRIu64 " refused\n",
	       runs, stat_events, stat_locks, stat_grants, stat_reads, stat_copies, stat_revokes, stat_recoveries,
	       stat_lost, stat_removed, stat_orphans, stat_pins, stat_refused);
	printf("%" PRIu64 " of %" PRIu64 " slots were claimed, %" PRIu64 " scans, %" PRIu64
	       " results compared, %" PRIu64 " times a database was late at a node, %" PRIu64 " of them committed\n",
	       stat_dirty, stat_slots, stat_scans, stat_compared, stat_late, stat_late_committed);
	printf("%" PRIu64 " contents sent, %" PRIu64 " of these in parts, %" PRIu64 " records, %" PRIu64 " refused\n",
	       stat_contents, stat_content_parts, stat_content_sent, stat_content_wrong);
	free(heap);
	return 0;
}
