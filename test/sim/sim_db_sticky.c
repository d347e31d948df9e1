/* Simulation of record engine and recovery: sticky records (P1 to P4 in core/record.h), known here in another way. See
 * sim_db.c. */
#include "sim_db.h"

#define GIVEN       3
#define DURATION_MS 300
/* What is not used may go after that. */
#define SURE_MS 50

static uint32_t pin_ms(void)
{
	return seed % 6 == 1 ? 4 : 150;
}

/* Every third run. */
void sticky_start(struct node *n)
{
	struct record_sticky s = {
		.given = GIVEN, .pin_ms = bug == BUG_NO_PIN ? 0 : pin_ms(), .duration_ms = DURATION_MS};

	memset(n->sticky, 0, sizeof(n->sticky));
	if (seed % 3 != 1) {
		return;
	}
	record_engine_set_sticky(n->engine, &s);
	if (record_db_set_sticky(n->db) != 0) {
		fail("out of memory");
	}
}

/* The file says so. What a location master makes itself has rsn 1. */
void sticky_owned(struct node *n, int key, uint64_t rsn)
{
	if (rsn > 1) {
		n->sticky[key].came_at = now_ns;
	}
}

void sticky_answered(struct node *n, int key)
{
	struct sticky_key *s = &n->sticky[key];

	if (seed % 3 == 1 && s->came_at == now_ns && s->until > now_ns) {
		stat_pins++;
		s->pinned_until = now_ns + (pin_ms() < SURE_MS ? pin_ms() : SURE_MS) * MS;
		s->pinned_in = n->generation;
	}
}

void sticky_check(struct node *n, int key, const char *what)
{
	const struct sticky_key *s = &n->sticky[key];

	if (now_ns < s->pinned_until && s->pinned_in == n->generation) {
		fail("node %u %s key %d, which has to stay for another %.3f ms", n->pnn, what, key,
		     (double)(s->pinned_until - now_ns) / 1e6);
	}
}

void sticky_gave(struct node *n, int key)
{
	struct sticky_key *s = &n->sticky[key];

	sticky_check(n, key, "gives away");
	if (s->given == 0 || now_ns - s->given_since >= 1000 * MS) {
		s->given = 0;
		s->given_since = now_ns;
	}
	s->given++;
	if (s->given > GIVEN) {
		s->until = now_ns + DURATION_MS * MS;
	}
}
