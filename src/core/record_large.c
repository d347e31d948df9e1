/* The record engine: a record that is larger than what can be sent stays where it is (L1 to L3 in record.h). */
#include "core/record_private.h"

#include <errno.h>

/* Reading it takes long. */
#define LOOK_AGAIN_MS 2000

static bool is_too_large(const struct rec *r, const struct run *run)
{
	uint32_t max = r->db->e->config.max_data;

	return max > 0 && run->copy.len > max;
}

/* The next in the queue, once: it stays next. */
static void tell_next(struct rec *r, struct run *run)
{
	struct message m = {.kind = MESSAGE_RO, .what = RECORD_TOO_LARGE, .to = r->next, .requester = RECORD_NODE_NONE};

	if (r->next == RECORD_NODE_NONE || r->next_told) {
		return;
	}
	r->next_told = true;
	if (run->owned) {
		m.copy = (struct record_copy){.exists = true, .len = run->copy.len};
	}
	run_message(r, run, &m);
}

bool large_stays(struct rec *r, struct run *run)
{
	r->stays = is_too_large(r, run);
	if (r->stays) {
		tell_next(r, run);
	}
	return r->stays;
}

bool large_reader(const struct rec *r, const struct run *run)
{
	return run->owned ? is_too_large(r, run) : r->refused;
}

void large_refuse(struct rec *r, struct run *run)
{
	if (!r->refused || run->owned) {
		return;
	}
	tell_next(r, run);
	while (!dlist_empty(&r->waiters)) {
		rec_answer(dlist_entry(dlist_first(&r->waiters), struct record_call, link), EFBIG, NULL);
	}
}

void large_in(struct record_db *db, struct record_key key, uint32_t hash, struct mono now)
{
	struct rec *r = rec_find(db, key, hash);

	if (r == NULL || !r->asked || r->refused || r->have_grant) {
		rec_inconsistent(db, key, "TOO_LARGE of a record that was not asked for");
		return;
	}
	r->refused = true;
	rec_run(r, now);
}

struct mono large_next(struct mono now)
{
	return mono_add_ms(now, LOOK_AGAIN_MS);
}
