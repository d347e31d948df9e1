/* Tests of timers on the monotonic clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "shared/mono_timer.h"

struct fired {
	unsigned n;
	struct mono at;
	struct mono_timer *again; /* set anew from within */
};

static void fire(void *priv)
{
	struct fired *f = priv;

	f->n++;
	f->at = mono_now();
	if (f->again != NULL && f->n < 3) {
		mono_timer_set(f->again, mono_add_ms(f->at, 1));
	}
}

static void test_order(void **state)
{
	struct tevent_context *ev = tevent_context_init(NULL);
	struct fired early = {0}, late = {0}, past = {0}, never = {0}, moved = {0}, again = {0};
	struct mono_timer *t_early = mono_timer_new(ev, ev, fire, &early),
			  *t_late = mono_timer_new(ev, ev, fire, &late), *t_past = mono_timer_new(ev, ev, fire, &past),
			  *t_never = mono_timer_new(ev, ev, fire, &never),
			  *t_moved = mono_timer_new(ev, ev, fire, &moved);
	struct mono begin = mono_now();

	again.again = mono_timer_new(ev, ev, fire, &again);
	mono_timer_set(again.again, begin);
	mono_timer_set(t_early, mono_add_ms(begin, 50));
	mono_timer_set(t_early, mono_add_ms(begin, 50)); /* changes nothing */
	mono_timer_set(t_late, mono_add_ms(begin, 200));
	mono_timer_set(t_past, (struct mono){1});
	mono_timer_set(t_never, begin);
	mono_timer_set(t_never, MONO_NEVER);
	mono_timer_set(t_moved, mono_add_ms(begin, 3600000));
	mono_timer_set_earlier(t_moved, mono_add_ms(begin, 20));
	mono_timer_set_earlier(t_moved, mono_add_ms(begin, 7200000)); /* not earlier: changes nothing */
	talloc_free(mono_timer_new(ev, ev, fire, &never));
	while (late.n == 0 || again.n < 3) {
		assert_int_equal(tevent_loop_once(ev), 0);
	}
	assert_int_equal(early.n, 1);
	assert_int_equal(late.n, 1);
	assert_int_equal(past.n, 1);
	assert_int_equal(moved.n, 1);
	assert_int_equal(never.n, 0);
	assert_int_equal(again.n, 3);
	/* never before its time, and in order */
	assert_false(mono_before(early.at, mono_add_ms(begin, 50)));
	assert_false(mono_before(late.at, mono_add_ms(begin, 200)));
	assert_false(mono_before(moved.at, mono_add_ms(begin, 20)));
	assert_false(mono_before(late.at, early.at));
	talloc_free(ev);
}

/* What is put off wakes the loop at the earlier time, but the function is called at the later one, once. */
static void test_put_off(void **state)
{
	struct tevent_context *ev = tevent_context_init(NULL);
	struct fired off = {0}, stopped = {0}, again = {0}, end = {0};
	struct mono_timer *t_off = mono_timer_new(ev, ev, fire, &off),
			  *t_stopped = mono_timer_new(ev, ev, fire, &stopped),
			  *t_again = mono_timer_new(ev, ev, fire, &again), *t_end = mono_timer_new(ev, ev, fire, &end);
	struct mono begin = mono_now();

	mono_timer_set(t_off, mono_add_ms(begin, 10));
	mono_timer_set(t_off, mono_add_ms(begin, 60));
	mono_timer_set(t_off, mono_add_ms(begin, 120));
	mono_timer_set(t_stopped, mono_add_ms(begin, 10));
	mono_timer_set(t_stopped, MONO_NEVER);
	mono_timer_set(t_again, mono_add_ms(begin, 10));
	mono_timer_set(t_again, MONO_NEVER);
	mono_timer_set_earlier(t_again, mono_add_ms(begin, 80));
	mono_timer_set(t_end, mono_add_ms(begin, 200));
	while (end.n == 0 || off.n == 0 || again.n == 0) {
		assert_int_equal(tevent_loop_once(ev), 0);
	}
	assert_int_equal(off.n, 1);
	assert_int_equal(again.n, 1);
	assert_int_equal(stopped.n, 0);
	assert_false(mono_before(off.at, mono_add_ms(begin, 120)));
	assert_false(mono_before(again.at, mono_add_ms(begin, 80)));
	mono_timer_set(t_stopped, mono_now());
	while (stopped.n == 0) {
		assert_int_equal(tevent_loop_once(ev), 0);
	}
	talloc_free(ev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_put_off)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
