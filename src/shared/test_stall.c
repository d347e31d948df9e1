/* Stall meter: who ran how long. */
#include "shared/daemon.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "shared/log.h"
#include "shared/mono_timer.h"
#include "shared/stall.h"

static unsigned ran;

static void work(unsigned ms)
{
	struct mono end = mono_add_ms(mono_now(), ms);

	while (mono_before(mono_now(), end)) {
		usleep(1000);
	}
	ran++;
}

static void slow_timer(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *priv)
{
	work(30);
}

static void slow_fd(struct tevent_context *ev, struct tevent_fd *fde, uint16_t flags, void *priv)
{
	talloc_free(fde);
	work(40);
}

static void slow_immediate(struct tevent_context *ev, struct tevent_immediate *im, void *priv)
{
	work(50);
}

static void slow_signal(struct tevent_context *ev, struct tevent_signal *se, int sig, int count, void *info, void *priv)
{
	work(60);
}

static void quick(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *priv)
{
	ran++;
}

static void run_until(struct tevent_context *ev, unsigned n)
{
	for (ran = 0; ran < n;) {
		assert_int_equal(tevent_loop_once(ev), 0);
	}
}

static struct tevent_context *start(bool named)
{
	struct tevent_context *ev = named ? stall_context_new(NULL) : tevent_context_init(NULL);

	assert_non_null(ev);
	stall_meter_start(ev, 1000000);
	return ev;
}

static void test_names(void **state)
{
	struct tevent_context *ev = start(true);
	const struct stall_stats *s = stall_meter_stats();
	struct tevent_immediate *im = tevent_create_immediate(ev);
	int fds[2];

	assert_non_null(tevent_add_timer(ev, ev, tevent_timeval_zero(), slow_timer, NULL));
	run_until(ev, 1);
	assert_int_equal(s->handlers, 1);
	assert_string_equal(s->max_where, "slow_timer");
	assert_true(s->max_us >= 30000);

	stall_meter_start(ev, 1000000);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_non_null(tevent_add_fd(ev, ev, fds[0], TEVENT_FD_READ, slow_fd, NULL));
	run_until(ev, 1);
	assert_string_equal(s->max_where, "slow_fd");
	assert_true(s->max_us >= 40000);
	close(fds[0]);
	close(fds[1]);

	stall_meter_start(ev, 1000000);
	tevent_schedule_immediate(im, ev, slow_immediate, NULL);
	run_until(ev, 1);
	assert_string_equal(s->max_where, "slow_immediate");

	stall_meter_start(ev, 1000000);
	assert_non_null(tevent_add_signal(ev, ev, SIGUSR1, 0, slow_signal, NULL));
	raise(SIGUSR1);
	run_until(ev, 1);
	assert_string_equal(s->max_where, "slow_signal");
	assert_true(s->max_us >= 60000);
	talloc_free(ev);
}

static void slow_mono_timer(void *priv)
{
	work(30);
}

static void test_mono_timer_name(void **state)
{
	struct tevent_context *ev = start(true);
	struct mono_timer *t = mono_timer_new(ev, ev, slow_mono_timer, NULL);

	assert_non_null(t);
	mono_timer_set(t, mono_now());
	run_until(ev, 1);
	assert_string_equal(stall_meter_stats()->max_where, "slow_mono_timer");
	talloc_free(ev);
}

/* Time spent waiting belongs to nobody. */
static void test_waiting_is_no_stall(void **state)
{
	uint64_t shortest = UINT64_MAX;

	/* A handler that was kept from running counts: not each time. */
	for (unsigned i = 0; i < 20 && shortest >= 200000; i++) {
		struct tevent_context *ev = start(true);
		const struct stall_stats *s = stall_meter_stats();

		assert_non_null(tevent_add_timer(ev, ev, tevent_timeval_zero(), quick, NULL));
		assert_non_null(tevent_add_timer(ev, ev, tevent_timeval_current_ofs(0, 200000), quick, NULL));
		run_until(ev, 2);
		assert_int_equal(s->handlers, 2);
		shortest = s->max_us;
		talloc_free(ev);
	}
	assert_true(shortest < 200000);
}

static void test_buckets(void **state)
{
	struct tevent_context *ev = start(true);
	const struct stall_stats *s = stall_meter_stats();
	uint64_t sum = 0, high = 0;

	assert_non_null(tevent_add_timer(ev, ev, tevent_timeval_zero(), quick, NULL));
	assert_non_null(tevent_add_timer(ev, ev, tevent_timeval_zero(), slow_timer, NULL));
	run_until(ev, 2);
	for (size_t i = 0; i < 32; i++) {
		sum += s->bucket[i];
		high += i >= 14 ? s->bucket[i] : 0; /* 2^14 us = 16 ms */
	}
	assert_int_equal(sum, 2);
	assert_true(high >= 1);
	talloc_free(ev);
}

/* A context made by others: the kind is known. */
static void test_unnamed(void **state)
{
	struct tevent_context *ev = start(false);

	assert_non_null(tevent_add_timer(ev, ev, tevent_timeval_zero(), slow_timer, NULL));
	run_until(ev, 1);
	assert_string_equal(stall_meter_stats()->max_where, "timer");
	talloc_free(ev);
}

/* Over the limit: a warning with the name. */
static void test_warning(void **state)
{
	char path[] = "/tmp/test_stall.XXXXXX", text[4096] = "", location[64], *err = NULL;
	int fd = mkstemp(path);
	struct tevent_context *ev = start(true);

	assert_true(fd >= 0);
	snprintf(location, sizeof(location), "file:%s", path);
	assert_int_equal(log_init(NULL, "test", location, LOG_LVL_INFO, &err), 0);
	unlink(path);                   /* open it stays */
	stall_meter_set_warning(60000); /* it may be kept from running */
	assert_non_null(tevent_add_timer(ev, ev, tevent_timeval_zero(), quick, NULL));
	run_until(ev, 1);
	assert_int_equal(lseek(fd, 0, SEEK_END), 0);
	stall_meter_set_warning(20);
	assert_non_null(tevent_add_timer(ev, ev, tevent_timeval_zero(), slow_timer, NULL));
	run_until(ev, 1);
	assert_true(pread(fd, text, sizeof(text) - 1, 0) > 0);
	assert_non_null(strstr(text, "WARNING: event handler slow_timer (timer) ran for "));
	assert_int_equal(log_init(NULL, "test", "stderr", LOG_LVL_INFO, &err), 0);
	close(fd);
	talloc_free(ev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_mono_timer_name),
		cmocka_unit_test(test_waiting_is_no_stall),
		cmocka_unit_test(test_buckets),
		cmocka_unit_test(test_unnamed),
		cmocka_unit_test(test_warning),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
