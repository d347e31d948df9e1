/* Recovery: when this node leads one, and how others ask for one. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "core/slotmap.h"
#include "dbd/recovery_int.h"
#include "protocol/classic.h"
#include "shared/log.h"

/*
 * A member of the view whose dbd is not linked is waited for, as long as the view holds on to it: it is probably being
 * restarted, and then its records are kept. To go on without it would be wrong even if that takes long: its clients may
 * still use the records that it owns. Said in the log this often.
 */
#define MISSING_LOG_MS 5000
/* Recoveries that were only wished for do not follow each other faster than this. */
#define WISH_PAUSE_MS  250
#define WISH_REPEAT_MS 500
#define POLL_MS        200

static bool is_active_member(const struct view_member *m)
{
	return (m->flags & CLASSIC_NODE_FLAGS_INACTIVE) == 0;
}

/* The members of the view, all linked. false: wait for one that is not. */
static bool wanted_set(struct recovery *r, struct led *want)
{
	const struct cluster_view *v = &r->dbd->view->view;
	struct mono now = mono_now();
	bool missing = false;

	*want = (struct led){.term = v->term};
	for (uint32_t i = 0; i < v->members.n && i < LANE_NODES; i++) {
		uint32_t pnn = v->members.v[i].pnn;
		uint64_t incarnation = lane_incarnation(r->dbd->lane, pnn);

		if (pnn >= LANE_NODES) {
			log_ratelimited(LOG_LVL_ERROR, MISSING_LOG_MS,
					"node %u has no part in the databases: at most %u nodes are possible", pnn,
					LANE_NODES);
			continue;
		}
		if (!is_active_member(&v->members.v[i])) {
			r->missing_since[pnn] = MONO_NEVER;
			continue;
		}
		if (incarnation == 0) {
			if (!mono_is_set(r->missing_since[pnn])) {
				r->missing_since[pnn] = now;
			}
			if (mono_ms_between(r->missing_since[pnn], now) >= MISSING_LOG_MS) {
				log_ratelimited(LOG_LVL_ERROR, MISSING_LOG_MS,
						"node %u is in the cluster but its ctdb-dbd cannot be reached (port "
						"%u): recovery waits for it",
						pnn, r->dbd->d->conf->transport.db_port);
			}
			recovery_blame_missing(r, pnn, r->missing_since[pnn]);
			missing = true;
			continue;
		}
		r->missing_since[pnn] = MONO_NEVER;
		want->members[want->n] = pnn;
		want->incarnation[want->n] = incarnation;
		want->breaks[want->n] = lane_breaks(r->dbd->lane, pnn);
		want->lmaster[want->n] = (v->members.v[i].capabilities & NODE_CAP_LMASTER) != 0;
		want->n++;
	}
	return want->n > 0 && !missing;
}

static bool same_set(const struct led *a, const struct led *b)
{
	return a->term == b->term && a->n == b->n &&
	       memcmp(a->members, b->members, a->n * sizeof(a->members[0])) == 0 &&
	       memcmp(a->incarnation, b->incarnation, a->n * sizeof(a->incarnation[0])) == 0 &&
	       memcmp(a->breaks, b->breaks, a->n * sizeof(a->breaks[0])) == 0 &&
	       memcmp(a->lmaster, b->lmaster, a->n * sizeof(a->lmaster[0])) == 0;
}

/* Below 2^31, neither 0 nor 1, and not the present one. */
static uint32_t new_generation(const struct recovery *r)
{
	uint32_t g;

	do {
		if (getrandom(&g, sizeof(g), 0) != sizeof(g)) {
			g = (uint32_t)mono_now().ns;
		}
		g &= 0x7FFFFFFFU;
	} while (g <= GENERATION_NONE || g == r->generation);
	return g;
}

static int make_slots(struct recovery *r, const struct led *want, uint32_t *slots, uint32_t n_slots)
{
	uint32_t lmasters[LANE_NODES];
	uint32_t n = 0;

	for (uint32_t i = 0; i < want->n; i++) {
		if (want->lmaster[i]) {
			lmasters[n++] = want->members[i];
		}
	}
	if (n == 0) {
		lmasters[n++] = r->dbd->d->pnn;
	}
	slotmap_compute(slots, n_slots, r->n_slots == n_slots ? r->slots : NULL, lmasters, n);
	return 0;
}

static void begin(struct recovery *r, const struct led *want)
{
	const struct cluster_view *v = &r->dbd->view->view;
	uint32_t n_slots = r->dbd->d->conf->database.slots;
	uint32_t *slots = talloc_array(r, uint32_t, n_slots);
	int ret = slots != NULL ? make_slots(r, want, slots, n_slots) : ENOMEM;

	if (ret == 0) {
		ret = rec_leader_start(r->leader, v->term, v->number, new_generation(r), want->members, want->n, slots,
				       n_slots, mono_now());
	}
	talloc_free(slots);
	if (ret != 0) {
		log_error("recovery: cannot begin: %s", strerror(ret));
		mono_timer_set_earlier(r->lead_timer, mono_add_ms(mono_now(), POLL_MS));
		return;
	}
	r->led = *want;
	if (!mono_is_set(r->trying_since)) {
		r->trying_since = mono_now();
	}
	r->wanted = false;
	r->not_before = mono_add_ms(mono_now(), WISH_PAUSE_MS);
	recovery_kick(r);
}

/* A process that keeps a record locked holds up its database, and with it the end of the recovery: said in the log,
 * with what is waited for. */
static void watch_slow(struct recovery *r, struct mono now)
{
	TALLOC_CTX *tmp;

	if (!rec_leader_running(r->leader)) {
		return;
	}
	mono_timer_set_earlier(r->lead_timer, mono_add_ms(now, MISSING_LOG_MS));
	if (mono_ms_between(r->led_at, now) < MISSING_LOG_MS) {
		return;
	}
	tmp = talloc_new(r);
	log_ratelimited(LOG_LVL_WARNING, MISSING_LOG_MS,
			"recovery waits since %llu s for %s; does a process there keep a record locked?",
			(unsigned long long)(mono_ms_between(r->led_at, now) / 1000),
			rec_leader_waiting_for(tmp, r->leader));
	talloc_free(tmp);
}

void recovery_lead(struct recovery *r)
{
	struct mono now = mono_now();
	struct mono restart = MONO_NEVER;
	struct led want;
	bool again;

	if (!recovery_is_leader(r) || r->dbd->clients == NULL) {
		return;
	}
	if (!wanted_set(r, &want)) {
		mono_timer_set_earlier(r->lead_timer, mono_add_ms(now, POLL_MS));
		return;
	}
	again = rec_leader_wants_restart(r->leader, &restart) && !mono_before(now, restart);
	if (same_set(&want, &r->led) && !again && !(r->wanted && !mono_before(now, r->not_before))) {
		if (mono_is_set(restart)) {
			mono_timer_set_earlier(r->lead_timer, restart);
		}
		if (r->wanted) {
			mono_timer_set_earlier(r->lead_timer, r->not_before);
		}
		watch_slow(r, now);
		return;
	}
	begin(r, &want);
	r->led_at = now;
	watch_slow(r, now);
	if (rec_leader_wants_restart(r->leader, &restart)) {
		mono_timer_set_earlier(r->lead_timer, restart);
	}
}

/* ---- wishes ---- */

void recovery_wish_again(struct recovery *r)
{
	struct rec_wanted m = {.generation = r->rejoin ? GENERATION_NONE : r->wish_generation,
			       .full = r->wish_full,
			       .reason = r->wish};
	uint32_t leader = view_leader(r->dbd);

	/* What was seen before the recovery in work, which is full, needs no other one. */
	if (!r->rejoin && r->wish_full && r->full_seen != r->wish_generation && rec_member_is_full(r->member)) {
		return;
	}
	if (!r->rejoin &&
	    (r->wish_generation == GENERATION_NONE || r->wish_generation != rec_member_generation(r->member))) {
		return;
	}
	if (leader != NODE_UNKNOWN && (leader == r->dbd->d->pnn || lane_is_up(r->dbd->lane, leader))) {
		(void)lane_post(r->dbd->lane, leader, LANE_PROC_REC_WANTED, &m);
	}
	mono_timer_set_earlier(r->lead_timer, mono_add_ms(mono_now(), WISH_REPEAT_MS));
}

__attribute__((format(printf, 4, 0))) static void want(struct recovery *r, uint32_t generation, bool full,
						       const char *fmt, va_list ap)
{
	if (generation <= GENERATION_NONE || generation != rec_member_generation(r->member)) {
		return;
	}
	if (full) {
		r->full_wanted = true;
		r->full_seen = generation;
	}
	if (r->wish_generation == generation && (r->wish_full || !full)) {
		return;
	}
	vsnprintf(r->wish, sizeof(r->wish), fmt, ap);
	r->wish_generation = generation;
	r->wish_full = r->wish_full || full;
	log_notice("recovery wanted: %s", r->wish);
	recovery_wish_again(r);
}

void recovery_want(struct recovery *r, uint32_t generation, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	want(r, generation, false, fmt, ap);
	va_end(ap);
}

void recovery_want_full(struct recovery *r, uint32_t generation, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	want(r, generation, true, fmt, ap);
	va_end(ap);
}
