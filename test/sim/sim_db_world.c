/* Simulation of record engine and recovery: time, chance and the network. See sim_db.c. */
#include "sim_db.h"

struct node nodes[MAX_NODES];
int n_nodes = 3, n_keys = 4;
uint64_t now_ns, event_order, rnd_state, seed;
struct event **heap;
size_t n_heap, heap_size;
uint64_t link_clear[MAX_NODES][MAX_NODES];
uint64_t link_breaks[MAX_NODES][MAX_NODES], link_down_until[MAX_NODES][MAX_NODES];
bool trace, quiet_phase;
enum bug bug;
uint64_t truth[MAX_KEYS], small_since[MAX_KEYS];
uint64_t next_value[MAX_KEYS];
bool lost[MAX_KEYS];
bool gone[MAX_KEYS];
struct view view;
uint32_t slots_now[SLOTS];
bool have_slots;
uint64_t stat_locks, stat_grants, stat_recoveries, stat_lost, stat_events, stat_removed, stat_orphans, stat_reads,
	stat_copies, stat_revokes, stat_pins, stat_refused;
uint64_t stat_late, stat_late_committed;
struct recovery_id late_id;
uint64_t stat_slots, stat_dirty, stat_scans, stat_compared;
uint64_t stat_contents, stat_content_parts, stat_content_sent, stat_content_wrong;

uint64_t rnd(uint64_t n)
{
	rnd_state ^= rnd_state << 13;
	rnd_state ^= rnd_state >> 7;
	rnd_state ^= rnd_state << 17;
	return n == 0 ? 0 : rnd_state % n;
}

void fail(const char *fmt, ...)
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

struct mono mono(void)
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

struct event *pop(void)
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

struct event *at(uint64_t t, void (*fn)(struct event *), int node, int a)
{
	struct event *e = calloc(1, sizeof(*e));

	e->t = t;
	e->fn = fn;
	e->node = node;
	e->a = a;
	push(e);
	return e;
}

/* ---- network ---- */

bool link_is_up(uint32_t a, uint32_t b)
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

void send_any(void *priv, uint32_t to, enum lane_proc proc, const void *msg)
{
	TALLOC_CTX *tmp = talloc_new(NULL);
	struct ctdb_blob buf = {0};
	int ret = EINVAL;

	switch ((int)proc) {
		SEND_CASE(CALL, lane_call);
		SEND_CASE(FORWARD, lane_call);
		SEND_CASE(GRANT, lane_grant);
		SEND_CASE(VACUUM, lane_vacuum);
		SEND_CASE(VACUUM_ANSWER, lane_vacuum_answer);
		SEND_CASE(RO_CALL, lane_call);
		SEND_CASE(RO_FORWARD, lane_call);
		SEND_CASE(RO_COPY, lane_grant);
		SEND_CASE(RO_REVOKE, lane_grant);
		SEND_CASE(RO_REVOKED, lane_call);
		SEND_CASE(RO_RETRY, lane_call);
		SEND_CASE(TOO_LARGE, lane_call);
		SEND_CASE(REC_BEGIN, rec_begin);
		SEND_CASE(REC_BEGIN_REPLY, rec_begin_reply);
		SEND_CASE(REC_PLAN, rec_plan);
		SEND_CASE(REC_CLAIMS, rec_claims);
		SEND_CASE(REC_ACK, rec_ack);
		SEND_CASE(REC_ORDERS, rec_orders);
		SEND_CASE(REC_CONTENT_STATE, rec_content_state);
		SEND_CASE(REC_CONTENT_PLAN, rec_content_plan);
		SEND_CASE(REC_CONTENT_PARTS, rec_content_parts);
		SEND_CASE(REC_CONTENT_BEGIN, rec_content_begin);
		SEND_CASE(REC_CONTENT, rec_content);
		SEND_CASE(REC_DB_PREPARED, rec_db);
		SEND_CASE(REC_DB_COMMIT, rec_db);
		SEND_CASE(REC_END, rec_end);
		SEND_CASE(REC_WANTED, rec_wanted);
		SEND_CASE(REC_DIGESTS, rec_digests);
		SEND_CASE(REC_WANT, rec_want);
	default:
		break;
	}
	if (ret != 0) {
		fail("cannot encode %d", (int)proc);
	}
	post(priv, to, proc, &buf);
	talloc_free(tmp);
}
