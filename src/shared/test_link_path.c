/* Tests of links over two paths: which one is used, how another takes over, and the order of frames then. */
#include "test_link_scene.h"

#include "shared/log.h"

static void test_standby(void **state)
{
	struct scene s = scene_up(20000, false);
	struct link_stats stats;

	expect_flow(&s);
	link_stats(s.n[1]->mesh, 0, &stats);
	assert_int_equal(stats.n_paths, 2);
	assert_string_equal(stats.path[0].address, "127.0.2.11");
	assert_string_equal(stats.path[1].address, "127.0.3.11");
	assert_string_equal(stats.path[1].security, "none");
	assert_true(stats.path[0].active && !stats.path[1].active);
	assert_int_equal(stats.switches, 0);
	/* the standby is known to work */
	WAIT_FOR(s.c, (link_stats(s.n[1]->mesh, 0, &stats), stats.path[1].rtt_us > 0));
	WAIT_FOR(s.c, (link_stats(s.n[0]->mesh, 1, &stats), stats.path[1].rtt_us > 0));
	assert_int_equal(s.n[0]->ups[1], 1);
	assert_int_equal(s.n[1]->ups[0], 1);
	/* the standby may come and go: nobody notices */
	relay_close(s.relay[1]);
	WAIT_FOR(s.c, !ready(s.n[0], 1, 1) && !ready(s.n[1], 0, 1));
	s.relay[1]->closed = false;
	WAIT_FOR(s.c, both_ready(&s));
	assert_int_equal(s.n[0]->downs[1] + s.n[1]->downs[0], 0);
	talloc_free(s.c);
}

/* The link goes on over the other path; each side is told once that frames may be lost. */
static void expect_switch(struct scene *s, unsigned to)
{
	unsigned downs[2] = {s->n[0]->downs[1], s->n[1]->downs[0]};
	struct link_stats stats;
	uint64_t switches;

	link_stats(s->n[1]->mesh, 0, &stats);
	switches = stats.switches;
	WAIT_FOR(s->c, both_active(s, to) && s->n[0]->downs[1] == downs[0] + 1 && s->n[1]->downs[0] == downs[1] + 1);
	assert_int_equal(s->n[0]->ups[1], downs[0] + 2);
	assert_int_equal(s->n[1]->ups[0], downs[1] + 2);
	link_stats(s->n[1]->mesh, 0, &stats);
	assert_int_equal(stats.switches, switches + 1);
	expect_flow(s);
	assert_int_equal(s->n[0]->downs[1], downs[0] + 1);
	assert_int_equal(s->n[1]->downs[0], downs[1] + 1);
}

/* Silence is enough: nothing closes the first path. */
static void silent_takeover(bool tls)
{
	struct scene s = scene_up(3000, tls);
	char log[64], *err = NULL;

	snprintf(log, sizeof(log), "/tmp/test_link_path.%d.log", (int)getpid());
	unlink(log);
	assert_int_equal(log_init(s.c, "test", talloc_asprintf(s.c, "file:%s", log), LOG_LVL_NOTICE, &err), 0);
	relay_pause(s.relay[0], true);
	expect_switch(&s, 1);
	/* not after the dead interval, but because there is another one */
	assert_true(util_log_lines(log, "for 1500 ms, but path 1 is alive") >= 1);
	assert_int_equal(util_log_lines(log, "nothing was heard for 3000 ms"), 0);
	unlink(log);
	assert_int_equal(log_init(s.c, "test", "stderr", LOG_LVL_NOTICE, &err), 0);
	assert_int_equal(s.n[1]->reason[0], ETIMEDOUT);
	assert_int_equal(s.n[0]->reason[1], ETIMEDOUT);
	/* it comes back as standby, and the link stays where it is */
	relay_pause(s.relay[0], false);
	WAIT_FOR(s.c, both_ready(&s));
	util_run_ms(s.c, 300);
	assert_true(both_active(&s, 1));
	relay_pause(s.relay[1], true);
	expect_switch(&s, 0);
	talloc_free(s.c);
}

static void test_silent(void **state)
{
	silent_takeover(false);
}

static void test_silent_tls(void **state)
{
	silent_takeover(true);
}

static void test_closed(void **state)
{
	struct scene s = scene_up(20000, true);

	for (unsigned round = 0; round < 4; round++) {
		relay_close(s.relay[round % 2]);
		expect_switch(&s, 1 - round % 2);
		assert_int_equal(s.n[1]->reason[0], ECONNRESET);
		s.relay[round % 2]->closed = false;
		WAIT_FOR(s.c, both_ready(&s));
	}
	talloc_free(s.c);
}

/* One connection of the active path is enough. */
static void test_one_connection_lost(void **state)
{
	struct scene s = scene_up(20000, false);

	/* control is connected first, bulk second */
	talloc_free(dlist_entry(s.relay[0]->pipes.prev, struct relayed, entry));
	expect_switch(&s, 1);
	WAIT_FOR(s.c, both_ready(&s));
	talloc_free(dlist_entry(s.relay[1]->pipes.next, struct relayed, entry));
	expect_switch(&s, 0);
	talloc_free(s.c);
}

/* No other path: the link is down, and comes back on whichever is there first. */
static void test_all_lost(void **state)
{
	struct scene s = scene_up(20000, false);

	relay_close(s.relay[1]);
	WAIT_FOR(s.c, !ready(s.n[1], 0, 1));
	relay_close(s.relay[0]);
	WAIT_FOR(s.c, !link_is_up(s.n[0]->mesh, 1) && !link_is_up(s.n[1]->mesh, 0));
	assert_int_equal(util_send(s.n[0], 1, "x", 1), EHOSTUNREACH);
	s.relay[1]->closed = false;
	WAIT_FOR(s.c, both_active(&s, 1));
	expect_flow(&s);
	assert_int_equal(s.n[0]->downs[1], 1);
	assert_int_equal(s.n[1]->downs[0], 1);
	talloc_free(s.c);
}

static void test_first_path_missing(void **state)
{
	struct scene s = scene_new(20000, true);

	s.relay[0]->closed = true;
	util_start(s.c, 1);
	WAIT_FOR(s.c, both_active(&s, 1));
	expect_flow(&s);
	s.relay[0]->closed = false;
	WAIT_FOR(s.c, both_ready(&s));
	assert_true(both_active(&s, 1));
	assert_int_equal(s.n[0]->ups[1], 1);
	talloc_free(s.c);
}

/* A daemon that ends closes all its connections: that is one loss, not a take-over and another loss. */
static void test_restart(void **state)
{
	struct scene s = scene_up(20000, false);

	for (unsigned killed = 0; killed < 2; killed++) {
		struct node *left = s.n[1 - killed];
		unsigned downs = left->downs[killed], ups = left->ups[killed];

		util_stop(s.c, killed);
		WAIT_FOR(s.c, left->downs[killed] == downs + 1);
		util_run_ms(s.c, 100);
		assert_int_equal(left->ups[killed], ups);
		s.c->node[killed].config.incarnation += 10;
		util_start(s.c, killed);
		WAIT_FOR(s.c, both_active(&s, 0) || both_active(&s, 1));
		assert_int_equal(left->ups[killed], ups + 1);
		assert_int_equal(left->incarnation[killed], s.c->node[killed].config.incarnation);
		WAIT_FOR(s.c, both_ready(&s));
	}
	talloc_free(s.c);
}

/* ---- order across switches ---- */

/* A frame says in which period of its sender it was sent, and its number there. */
struct tagged {
	uint32_t period, number;
};

struct flow {
	struct tagged next[LINK_CLASSES], last[LINK_CLASSES];
	uint64_t taken;
	uint32_t seen_up[LINK_CLASSES]; /* period of the receiver in which the last one came */
};

static void flow_push(struct node *n, uint32_t to)
{
	struct flow *f = n->priv;

	for (uint32_t k = 0; k < LINK_CLASSES; k++) {
		if (f->next[k].period != n->ups[to]) {
			f->next[k] = (struct tagged){.period = n->ups[to]};
		}
		for (unsigned i = 0; i < 20; i++) {
			static uint8_t fill[70000];
			struct iovec parts[2] = {
				{.iov_base = &f->next[k], .iov_len = sizeof(f->next[k])},
				{.iov_base = fill,
				 .iov_len = (f->next[k].number * 7919U) % (k == 1 ? sizeof(fill) : 500)}};

			if (link_send_class(n->mesh, to, (enum link_class)k, TYPE_DATA + k, parts, 2) != 0) {
				break;
			}
			f->next[k].number++;
		}
	}
}

static void flow_take(struct node *n, uint32_t from, uint32_t type, const uint8_t *data, size_t len)
{
	struct flow *f = n->priv;
	uint32_t k = type - TYPE_DATA;
	struct tagged t;

	assert_true(k < LINK_CLASSES && len >= sizeof(t));
	memcpy(&t, data, sizeof(t));
	if (t.period == f->last[k].period) {
		assert_int_equal(t.number, f->last[k].number + 1); /* none missing, none twice, within a period */
		assert_int_equal(n->ups[from], f->seen_up[k]);     /* a period there is a period here */
	} else {
		assert_true(t.period > f->last[k].period);
		assert_int_equal(t.number, 0);
		assert_true(n->ups[from] > f->seen_up[k]);
	}
	f->last[k] = t;
	f->seen_up[k] = n->ups[from];
	f->taken++;
}

static void order_across_switches(bool tls, bool silent)
{
	struct scene s = scene_up(silent ? 800 : 20000, tls);
	struct flow f[2];

	memset(f, 0, sizeof(f));
	for (uint32_t i = 0; i < 2; i++) {
		s.n[i]->priv = &f[i];
		s.n[i]->on_frame = flow_take;
	}
	for (unsigned round = 0; round < 6; round++) {
		unsigned from = round % 2;
		uint64_t before[2] = {f[0].taken, f[1].taken};

		while (f[0].taken < before[0] + 2000 || f[1].taken < before[1] + 2000) {
			flow_push(s.n[0], 1);
			flow_push(s.n[1], 0);
			util_turn(s.c->ev);
		}
		if (silent) {
			relay_pause(s.relay[from], true);
		} else {
			relay_close(s.relay[from]);
		}
		while (!both_active(&s, 1 - from)) {
			flow_push(s.n[0], 1);
			flow_push(s.n[1], 0);
			util_turn(s.c->ev);
		}
		s.relay[from]->closed = false;
		relay_pause(s.relay[from], false);
		WAIT_FOR(s.c, both_ready(&s));
	}
	talloc_free(s.c);
}

static void test_order_closed(void **state)
{
	order_across_switches(false, false);
	order_across_switches(true, false);
}

static void test_order_silent(void **state)
{
	order_across_switches(true, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_standby),
		cmocka_unit_test(test_silent),
		cmocka_unit_test(test_silent_tls),
		cmocka_unit_test(test_closed),
		cmocka_unit_test(test_one_connection_lost),
		cmocka_unit_test(test_all_lost),
		cmocka_unit_test(test_first_path_missing),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_order_closed),
		cmocka_unit_test(test_order_silent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
