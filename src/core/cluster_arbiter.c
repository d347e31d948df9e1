/* The cluster lock in the cluster core (quorum external): who holds it leads; there are no votes. */
#include <stdio.h>

#include "core/cluster_internal.h"

/*
 * THE LOCK, as this node sees it (c->arbiter.state): IDLE; ASKED: op arbiter(true), no answer yet; HELD; RELEASING: op
 * arbiter(false), no RELEASED yet, every other answer is about what is over and ignored.
 *
 *   FOLLOWER  IDLE or RELEASING: entering the role lets go of the lock, whatever the reason.
 *
 *   PROBING   ASKED, or waits for RELEASED and asks then. HELD: CANDIDATE. CONTENDED, FAILED: FOLLOWER, stands later.
 *             Patient (after a handover, a restart, or when it led): after CONTENDED it asks again each D/32.
 *
 *   CANDIDATE HELD, takes a new term. It is on disk: LEADER. Not in D/2, or LOST: FOLLOWER.
 *
 *   LEADER    HELD. Refused because of a higher term: by PROBING to CANDIDATE, lock in hand. LOST: PROBING, patient
 *             until its own lease ends (nobody's lease is taken away meanwhile); FAILED then: hands over. If its own
 *             lease has ended and nothing is heard of the lock: FOLLOWER.
 *
 * A node asks under its old term and takes a new one with the lock in hand: who cannot get the lock never disturbs who
 * has it. Terms are distributed by pnn, so no two nodes ever lead the same one. They are milliseconds of the wall clock
 * times 256, or more: two holders one after the other need not have heard of each other, but their views have to be in
 * order. (A holder whom not all acknowledge issues its first one D + margin after it took its term: so it is enough
 * that wall clocks agree to less than D. If they do not, the order is wrong until the two meet.)
 *
 * WHY IT IS SAFE. Needed of the lock: nobody else has it before this node could have known that it is lost. Then
 *
 * - SURE is the newest time at which nobody else can have had the lock. Not bounded: when the leader looked (op
 *   arbiter_holds, after it read the clock) and found it held. Bounded: now, but at most UNTIL.
 *
 * - Leases end at the latest at SURE + D and, if it is known, at UNTIL. Views are issued only while SURE is now.
 *
 * - A new holder has the lock since HELD >= SURE of every former one. It leaves nobody out before HELD + D + margin but
 *   those that acknowledge to it or gave back their lease, and has no mandate before all did so or that time has come.
 *   (With a bounded lock too: one that was let go of is free before the leases end that were given under it.)
 *
 * Invariant 2: the mandate of the former holder ends at SURE + M < HELD + D, or it has acknowledged: it follows.
 *
 * Invariant 3: leases of the former holder are over by HELD + D. Its newest view was issued at SURE <= HELD and left
 * out nobody whose lease from it had not ended before; such a node was without lease before the new holder gave it one,
 * so it waits for a view of the new term.
 *
 * WHAT IF
 *
 * - Crash. ASKED: the helper ends with clusterd. CANDIDATE: the term was never used. LEADER: the promises of the others
 *   end, they ask; while the lock is not free they are refused, and are without leases from D on.
 *
 * - The leader stands still, however long, and the lock is lost meanwhile: its first action on waking is to look:
 *   arbiter_holds says no, or UNTIL has passed; nothing is extended, granted or issued. Then it reads LOST.
 *
 * - HELD or LOST after arbiter(false): ignored, RELEASED follows. HELD that nobody asked for: let go of at once.
 *
 * - A slow helper: the others do not wait, each asks at its own time. No answer in arbiter_ms + D: let go.
 *
 * - A grant of a former leader with a higher term that comes late: a holder follows only one that returns a stamp that
 *   this node made since it has the lock; else it takes a higher term.
 *
 * - A lock that lies: two nodes hold it at once (file system, or a helper before its next check). If they hear each
 *   other, the first grant decides: the lower term follows and lets go. If only followers are between them, each takes
 *   higher terms; who is refused for another leader more than DEPOSED_MAX times in 4 D lets go. Cut off from each other
 *   altogether they are two active sides until the helper finds out (its check interval), and D.
 *
 * - The terms are used up: never by counting (CLUSTER_TERM_AHEAD). Told; whoever holds the lock lets go.
 */

#define DEPOSED_MAX 3
#define WALL_MAX_MS (CLUSTER_TERM_WALL / 256) /* some thousand years */

static bool external(const struct cluster *c)
{
	return c->cfg.quorum == CLUSTER_QUORUM_EXTERNAL;
}

static uint64_t ask_limit_ns(const struct cluster *c)
{
	return (c->cfg.arbiter_ms == 0 ? 10000 : c->cfg.arbiter_ms) * MONO_NS_PER_MS + cluster_dead_ns(c);
}

static void ask(struct cluster *c)
{
	c->arbiter.state = CLUSTER_LOCK_ASKED;
	c->arbiter.again = MONO_NEVER;
	c->ops->arbiter(c->priv, true);
}

void cluster_arbiter_let_go(struct cluster *c)
{
	c->arbiter.again = MONO_NEVER;
	if (c->arbiter.state == CLUSTER_LOCK_ASKED || c->arbiter.state == CLUSTER_LOCK_HELD) {
		c->arbiter.state = CLUSTER_LOCK_RELEASING;
		c->ops->arbiter(c->priv, false);
	}
}

uint64_t cluster_arbiter_term(const struct cluster *c, uint64_t least)
{
	uint64_t wall = c->ops->wall_ms == NULL ? 0 : c->ops->wall_ms(c->priv);

	if (least <= c->arbiter.term_seen) {
		least = c->arbiter.term_seen + 1;
	}
	/* A clock that is far off must not use up the terms. */
	return wall < WALL_MAX_MS && least < wall * 256 ? wall * 256 : least;
}

/* ---- what the lock allows ---- */

/* With each action of a leader: see above. */
void cluster_arbiter_look(struct cluster *c, struct mono now)
{
	if (external(c) && c->arbiter.state == CLUSTER_LOCK_HELD && !c->cfg.arbiter_bounded &&
	    c->arbiter.sure.ns != now.ns && (CLUSTER_PLANTED(c, LOCK_BLIND) || c->ops->arbiter_holds(c->priv))) {
		c->arbiter.sure = now;
	}
}

bool cluster_arbiter_has(const struct cluster *c)
{
	return c->arbiter.state == CLUSTER_LOCK_HELD;
}

struct mono cluster_arbiter_sure(const struct cluster *c, struct mono now)
{
	struct mono sure = c->cfg.arbiter_bounded ? now : c->arbiter.sure;

	if (!cluster_arbiter_has(c) || !mono_is_set(sure)) {
		return MONO_NEVER;
	}
	if (mono_is_set(c->arbiter.until) && sure.ns >= c->arbiter.until.ns) {
		sure.ns = c->arbiter.until.ns - 1;
	}
	return sure;
}

struct mono cluster_arbiter_leases_end(const struct cluster *c, struct mono now)
{
	struct mono sure = cluster_arbiter_sure(c, now);

	return mono_is_set(sure) ? mono_min(mono_plus(sure, cluster_dead_ns(c)), c->arbiter.until) : MONO_NEVER;
}

/* When every lease of former holders is over. */
static struct mono sole_from(const struct cluster *c)
{
	return mono_plus(c->arbiter.held, cluster_dead_ns(c) + cluster_margin_ns(c));
}

/* Nobody else can still believe to lead. */
static bool is_sole(const struct cluster *c, struct mono now)
{
	if (!mono_before(now, sole_from(c))) {
		return true;
	}
	for (uint32_t p = 0; p < c->cfg.n; p++) {
		if (p != c->cfg.pnn && cluster_configured(c, p) && !c->peers[p].leaving &&
		    mono_before(c->peers[p].acked_sent, c->arbiter.held)) {
			return false;
		}
	}
	return true;
}

bool cluster_arbiter_is_leading(const struct cluster *c, struct mono now)
{
	struct mono sure = cluster_arbiter_sure(c, now);

	return c->role == CLUSTER_ROLE_LEADER && mono_is_set(sure) && now.ns < sure.ns + cluster_mandate_ns(c) &&
	       (!mono_is_set(c->arbiter.until) || mono_before(now, c->arbiter.until)) && is_sole(c, now);
}

bool cluster_arbiter_may_issue(const struct cluster *c, struct mono now)
{
	return !external(c) || cluster_arbiter_sure(c, now).ns == now.ns;
}

struct mono cluster_arbiter_former_leases(const struct cluster *c)
{
	return CLUSTER_PLANTED(c, LOCK_HASTY) ? MONO_NEVER : mono_plus(c->arbiter.held, cluster_dead_ns(c));
}

/* ---- roles ---- */

static void stand_again(struct cluster *c, struct mono now, const char *why)
{
	uint64_t dead = cluster_dead_ns(c);
	uint64_t wait = dead + dead / 2 * (c->arbiter.refusals < 3 ? c->arbiter.refusals : 3);

	cluster_role_set(c, now, CLUSTER_ROLE_FOLLOWER, why);
	cluster_stand_later(c, now, wait + cluster_random(c, wait));
}

/* With the lock in hand. */
static void candidate(struct cluster *c, struct mono now)
{
	uint64_t term = cluster_next_term(c);

	if (term > CLUSTER_TERM_MAX) {
		cluster_event(c, true, "the terms are used up: stop all nodes and remove their cluster-term files");
		c->arbiter.refusals = 3;
		stand_again(c, now, "no term is left");
		return;
	}
	cluster_role_set(c, now, CLUSTER_ROLE_CANDIDATE, "the lock is held");
	c->all_fresh = false;
	c->round_end = mono_plus(now, cluster_dead_ns(c) / 2);
	cluster_term_set(c, now, term, c->cfg.pnn);
}

void cluster_arbiter_stand(struct cluster *c, struct mono now, struct mono patience, const char *why)
{
	cluster_role_set(c, now, CLUSTER_ROLE_PROBING, why);
	c->round_end = mono_plus(now, ask_limit_ns(c));
	c->arbiter.patience = patience;
	c->arbiter.led = false;
	if (c->arbiter.state == CLUSTER_LOCK_HELD) {
		candidate(c, now);
	} else if (c->arbiter.state == CLUSTER_LOCK_IDLE) {
		ask(c);
	}
}

void cluster_arbiter_check(struct cluster *c, struct mono now)
{
	if (c->role != CLUSTER_ROLE_CANDIDATE || !cluster_durable_is_current(c)) {
		return;
	}
	cluster_arbiter_look(c, now);
	if (cluster_arbiter_may_issue(c, now)) {
		cluster_role_set(c, now, CLUSTER_ROLE_LEADER, "its term is written, the lock is held");
	}
}

void cluster_arbiter_tick(struct cluster *c, struct mono now)
{
	cluster_arbiter_check(c, now);
	if (c->role == CLUSTER_ROLE_LEADER) {
		return;
	}
	if (c->arbiter.state == CLUSTER_LOCK_IDLE && mono_reached(c->arbiter.again, now)) {
		ask(c);
	}
	if (mono_reached(c->round_end, now)) {
		c->arbiter.refusals++;
		stand_again(c, now,
			    c->role == CLUSTER_ROLE_PROBING ? "the lock's helper does not answer"
							    : "the term is not written in time");
	}
}

/* Of a leader. */
void cluster_arbiter_leader_tick(struct cluster *c, struct mono now)
{
	if (cluster_arbiter_has(c) && cluster_arbiter_sure(c, now).ns == now.ns) {
		return;
	}
	if (!cluster_has_lease(c, now)) {
		stand_again(c, now, "nothing is heard of the lock");
	}
}

struct mono cluster_arbiter_wakeup(const struct cluster *c, struct mono now)
{
	struct mono next = MONO_NEVER;

	if (!external(c)) {
		return next;
	}
	if (c->role == CLUSTER_ROLE_LEADER && mono_before(now, sole_from(c))) {
		next = sole_from(c);
	}
	if (c->role != CLUSTER_ROLE_FOLLOWER && c->arbiter.state == CLUSTER_LOCK_IDLE) {
		next = mono_min(next, c->arbiter.again);
	}
	return mono_min(next, c->arbiter.hand.by);
}

/* ---- somebody has a higher term ---- */

/* The holder's term has to be the highest: the lock is what counts. other: the one who has it is led by another node.
 */
void cluster_arbiter_outbid(struct cluster *c, struct mono now, bool other)
{
	if (c->role == CLUSTER_ROLE_LEADER && other) {
		if (now.ns > c->arbiter.deposed_since.ns + 4 * cluster_dead_ns(c)) {
			c->arbiter.deposed_since = now;
			c->arbiter.deposed = 0;
		}
		if (++c->arbiter.deposed > DEPOSED_MAX) {
			cluster_event(
				c, true,
				"another node leads as well, so the lock was given to two: letting go; check the file "
				"system or program of 'cluster lock'");
			stand_again(c, now, "another leader holds the lock");
			return;
		}
	}
	if (c->role == CLUSTER_ROLE_LEADER) {
		cluster_arbiter_stand(c, now, MONO_NEVER, "takes a higher term");
	} else if (c->role == CLUSTER_ROLE_CANDIDATE) {
		cluster_term_set(c, now, cluster_next_term(c), c->cfg.pnn);
	}
}

bool cluster_arbiter_is_old_news(const struct cluster *c, const struct lease_grant *m)
{
	return external(c) && cluster_arbiter_has(c) && c->role != CLUSTER_ROLE_FOLLOWER && m->term > c->term &&
	       (m->echo_incarnation != c->cfg.incarnation || m->echo < c->arbiter.held.ns);
}

/* ---- handover: when the lock is free ---- */

bool cluster_arbiter_hand_over(struct cluster *c, struct mono now, uint32_t to, bool leaving)
{
	if (!external(c) || c->arbiter.state != CLUSTER_LOCK_RELEASING) {
		return false;
	}
	c->arbiter.hand.to = to;
	c->arbiter.hand.leaving = leaving;
	c->arbiter.hand.term = c->term;
	c->arbiter.hand.by = mono_plus(now, cluster_dead_ns(c) / 4);
	return true;
}

static void hand_over_now(struct cluster *c)
{
	if (mono_is_set(c->arbiter.hand.by) && c->arbiter.hand.term == c->term) {
		cluster_handover_send(c, c->arbiter.hand.to, c->arbiter.hand.leaving);
	}
	c->arbiter.hand.by = MONO_NEVER;
}

void cluster_arbiter_hand_tick(struct cluster *c, struct mono now)
{
	if (mono_reached(c->arbiter.hand.by, now)) {
		hand_over_now(c);
	}
}

bool cluster_arbiter_busy(const struct cluster *c)
{
	return mono_is_set(c->arbiter.hand.by);
}

/* ---- answers ---- */

static void held(struct cluster *c, struct mono now, struct mono until)
{
	bool first = c->arbiter.state == CLUSTER_LOCK_ASKED;

	c->arbiter.state = CLUSTER_LOCK_HELD;
	c->arbiter.sure = first ? MONO_NEVER : c->arbiter.sure;
	c->arbiter.until = CLUSTER_PLANTED(c, LOCK_FOREVER) ? MONO_NEVER : until;
	c->arbiter.refusals = 0;
	cluster_arbiter_look(c, now);
	if (!first) {
		cluster_leader_tick(c, now);
		return;
	}
	c->arbiter.held = now;
	if (c->role == CLUSTER_ROLE_PROBING) {
		candidate(c, now);
	}
}

static void refused(struct cluster *c, struct mono now, enum cluster_arbiter_answer answer)
{
	bool contended = answer == CLUSTER_ARBITER_CONTENDED, patient = mono_before(now, c->arbiter.patience);

	c->arbiter.state = CLUSTER_LOCK_IDLE;
	if (contended && patient) {
		c->arbiter.again = mono_plus(now, cluster_dead_ns(c) / 32);
		return;
	}
	c->arbiter.refusals++;
	if (patient && c->arbiter.led) {
		cluster_hand_over(c, now, false, "the lock cannot be taken again");
	}
	stand_again(c, now, contended ? "another node holds the lock" : "the lock cannot be taken");
}

static void lost(struct cluster *c, struct mono now)
{
	bool led = c->role == CLUSTER_ROLE_LEADER;

	cluster_event(c, true, "the cluster lock was lost%s%s", c->arbiter.text[0] == '\0' ? "" : ": ",
		      c->arbiter.text);
	c->arbiter.state = CLUSTER_LOCK_IDLE;
	if (led && cluster_has_lease(c, now)) {
		cluster_arbiter_stand(c, now, c->lease_until, "the lock was lost");
		c->arbiter.led = true;
	} else {
		stand_again(c, now, "the lock was lost");
	}
}

static void released(struct cluster *c)
{
	c->arbiter.state = CLUSTER_LOCK_IDLE;
	hand_over_now(c);
	if (c->role == CLUSTER_ROLE_PROBING) {
		ask(c);
	}
}

static void remember(struct cluster *c, enum cluster_arbiter_answer answer, const char *text)
{
	bool news = c->arbiter.answer != answer && answer != CLUSTER_ARBITER_RELEASED;

	if (answer != CLUSTER_ARBITER_RELEASED) {
		c->arbiter.answer = answer;
	}
	snprintf(c->arbiter.text, sizeof(c->arbiter.text), "%s", text == NULL ? "" : text);
	if (news && answer == CLUSTER_ARBITER_CONTENDED) {
		cluster_event(c, false, "another node holds the cluster lock");
	} else if (news && answer == CLUSTER_ARBITER_FAILED) {
		cluster_event(c, true, "the cluster lock cannot be taken: %s", c->arbiter.text);
	}
}

void cluster_arbiter_answered(struct cluster *c, struct mono now, enum cluster_arbiter_answer answer, struct mono until,
			      const char *text)
{
	enum cluster_lock_state state = c->arbiter.state;
	bool good = answer == CLUSTER_ARBITER_HELD && (mono_is_set(until) || !c->cfg.arbiter_bounded);

	if (state == CLUSTER_LOCK_RELEASING) {
		if (answer == CLUSTER_ARBITER_RELEASED) {
			c->arbiter.text[0] = '\0'; /* what was said of it is over */
			released(c);
		}
		return;
	}
	if (state == CLUSTER_LOCK_IDLE && answer != CLUSTER_ARBITER_HELD) {
		return;
	}
	remember(c, answer, text);
	if (answer == CLUSTER_ARBITER_HELD && (!good || state == CLUSTER_LOCK_IDLE)) {
		c->arbiter.state = CLUSTER_LOCK_HELD;
		cluster_event(c, true, "the cluster lock %s: letting go of it",
			      good ? "is held, but was not asked for" : "does not say how long it lasts");
		cluster_role_set(c, now, CLUSTER_ROLE_FOLLOWER, "the lock cannot be used");
		cluster_arbiter_let_go(c);
	} else if (answer == CLUSTER_ARBITER_HELD) {
		held(c, now, until);
	} else if (state == CLUSTER_LOCK_HELD) {
		lost(c, now);
	} else if (answer != CLUSTER_ARBITER_RELEASED) {
		refused(c, now, answer);
	}
}
