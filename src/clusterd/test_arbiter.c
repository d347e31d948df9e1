/* Tests of the arbiter: helpers of every kind, and what the core is told of them. */
#include "clusterd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shared/log.h"

#define PATIENCE_S 60
#define TOLD_MAX   16
#define TERM_MS    2000 /* what a helper gets between SIGTERM and SIGKILL */

struct told {
	enum cluster_arbiter_answer answer;
	struct mono until;
	char text[300];
};

/* What the core was told, in order. */
static struct told told[TOLD_MAX];
static unsigned n_told, n_seen;
static bool ask_again; /* as the core may: from inside the answer */
static unsigned n_events;

struct world {
	struct daemon d;
	struct conf conf;
	struct conf_nodes nodes;
	struct conf_node node;
	struct cluster_config config;
	struct clusterd *cd;
	char *base;
};

/* ---- in place of the core and the rest of clusterd ---- */

static struct clusterd *the_clusterd;

void cluster_arbiter(struct cluster *c, struct mono now, enum cluster_arbiter_answer answer, struct mono until,
		     const char *text)
{
	assert_true(n_told < TOLD_MAX);
	told[n_told] = (struct told){.answer = answer, .until = until};
	snprintf(told[n_told].text, sizeof(told[n_told].text), "%s", text);
	n_told++;
	if (ask_again && (answer == CLUSTER_ARBITER_LOST || answer == CLUSTER_ARBITER_FAILED)) {
		ask_again = false;
		arbiter_want(the_clusterd->arbiter, true);
	}
}

void events_add(struct clusterd *cd, enum cluster_event_kind kind, uint32_t node, uint32_t flags, const char *fmt, ...)
{
	assert_int_equal(kind, CLUSTER_EVENT_ARBITRATION);
	n_events++;
}

void clusterd_after(struct clusterd *cd)
{
	assert_ptr_equal(cd, the_clusterd);
}

/* ---- the test's world ---- */

static int world_setup(void **state)
{
	struct world *w = talloc_zero(NULL, struct world);
	char base[] = "/tmp/ctdb-arbiter-XXXXXX";

	assert_non_null(mkdtemp(base));
	w->base = talloc_strdup(w, base);
	w->node.text = talloc_strdup(w, "10.0.0.1");
	w->nodes = (struct conf_nodes){.n = 1, .v = &w->node};
	w->conf.path.libexec = w->base;
	w->conf.cluster.arbitration = CONF_ARBITRATION_LOCK;
	w->conf.cluster.lock_timeout = 10000;
	w->d = (struct daemon){.conf = &w->conf, .nodes = &w->nodes, .ev = tevent_context_init(w)};
	n_told = n_seen = n_events = 0;
	ask_again = false;
	*state = w;
	return 0;
}

static int world_teardown(void **state)
{
	struct world *w = *state;
	char *command = talloc_asprintf(w, "rm -rf %s", w->base);

	talloc_free(w->cd);
	assert_int_equal(system(command), 0);
	talloc_free(w);
	return 0;
}

/* A shell script as the helper; B is the test's directory. */
static void helper(struct world *w, const char *script)
{
	char *path = talloc_asprintf(w, "%s/helper", w->base);
	FILE *f = fopen(path, "w");
	char *err = NULL;

	assert_non_null(f);
	fprintf(f, "#!/bin/sh\nB=%s\necho $$ >$B/pid\n%s\n", w->base, script);
	fclose(f);
	assert_int_equal(chmod(path, 0755), 0);
	w->conf.cluster.cluster_lock = talloc_strdup(w, "!helper one  two");
	w->cd = the_clusterd = talloc_zero(w, struct clusterd);
	w->cd->d = &w->d;
	if (arbiter_start(w->cd, &w->config, &err) != 0) {
		fail_msg("arbiter_start: %s", err);
	}
	assert_int_equal(w->config.quorum, CLUSTER_QUORUM_EXTERNAL);
}

static void wake(void *priv)
{
}

static void until_true(struct world *w, bool (*condition)(struct world *w), const char *what)
{
	struct mono end = mono_add_ms(mono_now(), PATIENCE_S * 1000);
	struct mono_timer *tick = mono_timer_new(w, w->d.ev, wake, w);

	while (!condition(w)) {
		if (!mono_before(mono_now(), end)) {
			fail_msg("waited in vain for %s; %u answers, the last: %s", what, n_told,
				 n_told > 0 ? told[n_told - 1].text : "none");
		}
		mono_timer_set(tick, mono_add_ms(mono_now(), 10));
		assert_int_equal(tevent_loop_once(w->d.ev), 0);
	}
	talloc_free(tick);
}

static bool is_told(struct world *w)
{
	return n_told >= n_seen;
}

static const struct told *next_told(struct world *w, enum cluster_arbiter_answer answer)
{
	n_seen++;
	until_true(w, is_told, "an answer");
	if (told[n_seen - 1].answer != answer) {
		fail_msg("answer %d instead of %d: %s", (int)told[n_seen - 1].answer, (int)answer,
			 told[n_seen - 1].text);
	}
	return &told[n_seen - 1];
}

static bool is_idle(struct world *w)
{
	return arbiter_idle(w->cd->arbiter);
}

static pid_t read_pid(struct world *w, const char *name)
{
	char *path = talloc_asprintf(w, "%s/%s", w->base, name);
	FILE *f = fopen(path, "r");
	int pid = 0;

	if (f != NULL) {
		if (fscanf(f, "%d", &pid) != 1) {
			pid = 0;
		}
		fclose(f);
	}
	return pid;
}

/* Nobody has the pid, or a zombie that is init's to reap. */
static bool gone(pid_t pid)
{
	char path[64], state = 'Z';
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "r");
	if (f == NULL) {
		return true;
	}
	(void)!fscanf(f, "%*d (%*[^)]) %c", &state);
	fclose(f);
	return state == 'Z';
}

static bool child_gone(struct world *w)
{
	return gone(read_pid(w, "child"));
}

static void ask(struct world *w)
{
	unsigned before = n_told;

	arbiter_want(w->cd->arbiter, true);
	assert_int_equal(n_told, before); /* never from inside */
}

static void let_go(struct world *w)
{
	unsigned before = n_told;

	arbiter_want(w->cd->arbiter, false);
	assert_int_equal(n_told, before);
	(void)next_told(w, CLUSTER_ARBITER_RELEASED);
	assert_true(is_idle(w));
}

/* What helpers with WAIT_GO wait for. */
#define WAIT_GO "while [ ! -e $B/go ]; do sleep 0.05; done; "

static void go(struct world *w)
{
	FILE *f = fopen(talloc_asprintf(w, "%s/go", w->base), "w");

	assert_non_null(f);
	fclose(f);
}

/* ---- tests ---- */

static void test_held_and_released(void **state)
{
	struct world *w = *state;
	struct mono begin;

	helper(w, "trap 'echo released >$B/released; exit 0' TERM\nprintf 0\nwhile :; do sleep 0.05; done");
	ask(w);
	assert_int_equal(n_told, 0);
	assert_false(arbiter_holds(w->cd->arbiter));
	assert_false(mono_is_set(next_told(w, CLUSTER_ARBITER_HELD)->until));
	assert_true(arbiter_holds(w->cd->arbiter));
	assert_int_equal(n_events, 1);
	begin = mono_now();
	let_go(w);
	assert_int_equal(n_events, 2);
	assert_false(arbiter_holds(w->cd->arbiter));
	if (mono_ms_between(begin, mono_now()) < TERM_MS) { /* it was not killed */
		assert_int_equal(access(talloc_asprintf(w, "%s/released", w->base), F_OK), 0);
	}
	ask(w);
	(void)next_told(w, CLUSTER_ARBITER_HELD);
	let_go(w);
}

static void test_arguments(void **state)
{
	struct world *w = *state;

	helper(w, "[ $# = 2 -a \"$1\" = one -a \"$2\" = two ] && printf 1 || printf 3");
	ask(w);
	(void)next_told(w, CLUSTER_ARBITER_CONTENDED);
}

/* One that is kept from running while it exits is taken for one that closed its standard output: not each time. */
static bool slow_end(const char *text, const char *expected, unsigned *tries)
{
	const char closed[] = "helper closed its standard output";

	return strcmp(text, expected) != 0 && strcmp(text, closed) == 0 && ++*tries < 4;
}

static const struct {
	const char *script;
	enum cluster_arbiter_answer answer;
	const char *text;
} endings[] = {
	{"printf 1", CLUSTER_ARBITER_CONTENDED, "it is held by another node"},
	{"echo 'helper: held by node 7' >&2; printf 1; sleep 100", CLUSTER_ARBITER_CONTENDED, "held by node 7"},
	{"printf 2", CLUSTER_ARBITER_FAILED, "helper could not take the lock in time"},
	{"printf 3", CLUSTER_ARBITER_FAILED, "helper failed and did not say why"},
	{"echo 'helper: no such file' >&2; printf 3", CLUSTER_ARBITER_FAILED, "no such file"},
	{"echo 'not even a prefix' >&2; exit 1", CLUSTER_ARBITER_FAILED, "not even a prefix"},
	{"printf 'no newline' >&2; exit 1", CLUSTER_ARBITER_FAILED, "no newline"},
	{"exit 5", CLUSTER_ARBITER_FAILED, "helper ended with status 5"},
	{"kill -9 $$", CLUSTER_ARBITER_FAILED, "helper was killed by signal 9"},
	{"exec >&-; sleep 100", CLUSTER_ARBITER_FAILED, "helper closed its standard output"},
	{"printf '\\n0'; sleep 100", CLUSTER_ARBITER_FAILED, "helper printed something else than 0, 1, 2 or 3"},
	{"head -c 1000 /dev/urandom | tr 0123 4567; sleep 100", CLUSTER_ARBITER_FAILED,
	 "helper printed something else than 0, 1, 2 or 3"},
	{"while :; do echo 'much to say' >&2; done", CLUSTER_ARBITER_FAILED, "helper printed too much"},
};

static void test_endings_without_lock(void **state)
{
	unsigned tries = 0;

	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]);) {
		struct world *w;
		void *s;

		world_setup(&s);
		w = s;
		helper(w, endings[i].script);
		ask(w);
		if (!slow_end(next_told(w, endings[i].answer)->text, endings[i].text, &tries)) {
			assert_string_equal(told[0].text, endings[i].text);
			i++;
		}
		until_true(w, is_idle, "the end of the helper");
		assert_true(gone(read_pid(w, "pid")));
		assert_int_equal(n_told, 1);
		world_teardown(&s);
	}
}

static const struct {
	const char *script, *text;
} losses[] = {
	{"printf 0; " WAIT_GO "exit 4", "helper ended with status 4"},
	{"printf 0; " WAIT_GO "echo 'helper: the file is gone' >&2; exit 1", "the file is gone"},
	{"printf 0; " WAIT_GO "kill -9 $$", "helper was killed by signal 9"},
	{"printf 0; " WAIT_GO "exec >&-; sleep 100", "helper closed its standard output"},
	{"printf 0; " WAIT_GO "cat /dev/zero", "helper printed too much"},
	{"printf 0; " WAIT_GO "while :; do echo x >&2; done", "helper printed too much"},
	/* the lock is its main process, not what it leaves behind */
	{"printf 0; sleep 100 & echo $! >$B/child; " WAIT_GO "exit 0", "helper ended with status 0"},
};

static void test_losses(void **state)
{
	unsigned tries = 0;

	for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]);) {
		struct world *w;
		void *s;

		world_setup(&s);
		w = s;
		helper(w, losses[i].script);
		ask(w);
		(void)next_told(w, CLUSTER_ARBITER_HELD);
		go(w);
		if (!slow_end(next_told(w, CLUSTER_ARBITER_LOST)->text, losses[i].text, &tries)) {
			assert_string_equal(told[1].text, losses[i].text);
			i++;
		}
		until_true(w, is_idle, "the end of the helper");
		if (read_pid(w, "child") != 0) {
			until_true(w, child_gone, "the end of its child");
		}
		assert_int_equal(n_told, 2);
		world_teardown(&s);
	}
}

/* Only the first character counts, and lines with a time. */
static void test_garbage_after_the_answer(void **state)
{
	struct world *w = *state;

	helper(w, "printf '0111\\nuntil\\nuntil x\\nuntil 1x\\nuntil 99999999999999999999\\n'\n"
		  "head -c 5000 /dev/urandom; echo; touch $B/done; sleep 100");
	ask(w);
	assert_false(mono_is_set(next_told(w, CLUSTER_ARBITER_HELD)->until));
	let_go(w);
	assert_int_equal(n_told, 2);
}

static unsigned lines_with(const char *path, const char *text)
{
	FILE *f = fopen(path, "r");
	char line[512];
	unsigned n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		n += strstr(line, text) != NULL ? 1 : 0;
	}
	fclose(f);
	return n;
}

static bool said_all(struct world *w)
{
	return access(talloc_asprintf(w, "%s/done", w->base), F_OK) == 0;
}

/* What a helper says fills no log: the same lines by turns are said once each, new ones at most ten in a minute. */
static void test_talkative_helper(void **state)
{
	struct world *w = *state;
	char *path = talloc_asprintf(w, "%s/log", w->base), *err = NULL;

	assert_int_equal(log_init(w, "test", talloc_asprintf(w, "file:%s", path), LOG_LVL_NOTICE, &err), 0);
	helper(w, "printf 0\nfor i in 1 2 3 4 5 6 7 8 9; do echo 'helper: this' >&2; echo that >&2; done\n"
		  "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do echo \"new $i\" >&2; done\n"
		  "exec 2>&-; touch $B/done; sleep 100");
	ask(w);
	(void)next_told(w, CLUSTER_ARBITER_HELD);
	until_true(w, said_all, "what it has to say");
	let_go(w); /* all that it said was read before it was told to end */
	until_true(w, is_idle, "the end of the helper");
	assert_int_equal(log_init(w, "test", "stderr", LOG_LVL_NOTICE, &err), 0);
	assert_int_equal(lines_with(path, "cluster lock: this"), 1);
	assert_int_equal(lines_with(path, "cluster lock: that"), 1);
	assert_int_equal(lines_with(path, "cluster lock: new "), 8);
}

static void test_no_answer_in_time(void **state)
{
	struct world *w = *state;
	struct mono begin = mono_now();

	w->conf.cluster.lock_timeout = 1200; /* it has to have come to its trap; less than it is given to end */
	helper(w, "trap '' TERM; touch $B/done; while :; do sleep 1; done");
	ask(w);
	assert_string_equal(next_told(w, CLUSTER_ARBITER_FAILED)->text, "helper gave no answer within 1200 ms");
	if (!said_all(w)) { /* it was told to end before it could ignore that */
		until_true(w, is_idle, "the end of a slow helper");
		skip();
	}
	assert_false(is_idle(w));
	/* it ignores SIGTERM: asked for again, the next one waits for its end, but not for ever */
	ask(w);
	if (mono_ms_between(begin, mono_now()) >= TERM_MS) {
		skip(); /* SIGKILL may come first, then the next helper is tried */
	}
	assert_non_null(strstr(next_told(w, CLUSTER_ARBITER_FAILED)->text, "the former helper (pid "));
	until_true(w, is_idle, "SIGKILL");
	assert_true(gone(read_pid(w, "pid")));
	assert_int_equal(n_told, 2);
}

/* One that is stopped is not gone; it costs what it has, when it is to answer, renew or end. */
static void test_stopped_helper(void **state)
{
	struct world *w = *state;

	w->conf.cluster.lock_timeout = 500;
	helper(w, "[ -e $B/once ] && { printf 0; sleep 100; }; touch $B/once; kill -STOP $$");
	ask(w);
	assert_string_equal(next_told(w, CLUSTER_ARBITER_FAILED)->text, "helper gave no answer within 500 ms");
	until_true(w, is_idle, "the end of a stopped helper");
	w->cd->arbiter = NULL;
	w->conf.cluster.lock_timeout = 20000;
	helper(w, "printf 0; kill -STOP $$; sleep 100");
	ask(w);
	(void)next_told(w, CLUSTER_ARBITER_HELD);
	let_go(w);
	assert_true(gone(read_pid(w, "pid")));
}

/* Lost, and asked for again from inside the answer: the next helper starts when the former one has ended. */
static void test_asked_again_at_once(void **state)
{
	struct world *w = *state;
	struct mono begin;

	/* the first one ends only by SIGKILL; the second one looks for it */
	helper(w, "[ -e $B/first ] && { kill -0 $(cat $B/first) 2>/dev/null && exit 7; printf 0; sleep 100; }\n"
		  "trap '' TERM; echo $$ >$B/first; printf 0; exec >&-; while :; do sleep 0.05; done");
	ask(w);
	(void)next_told(w, CLUSTER_ARBITER_HELD);
	ask_again = true;
	begin = mono_now();
	(void)next_told(w, CLUSTER_ARBITER_LOST);
	(void)next_told(w, CLUSTER_ARBITER_HELD);
	assert_true(mono_ms_between(begin, mono_now()) >= TERM_MS);
	let_go(w);
}

static void test_released_while_trying(void **state)
{
	struct world *w = *state;

	helper(w, "sleep 100");
	ask(w);
	let_go(w);
	assert_int_equal(n_told, 1);
	arbiter_want(w->cd->arbiter, false); /* nothing is held */
	(void)next_told(w, CLUSTER_ARBITER_RELEASED);
}

static char *now_plus(struct world *w, int64_t ms)
{
	return talloc_asprintf(w, "until %" PRIu64, mono_now().ns + (uint64_t)(ms * 1000000));
}

/* Bounded (etcd): nothing is held before it is known until when, nor after. */
static void test_bounded(void **state)
{
	struct world *w = *state;
	struct mono first, second;

	w->conf.cluster.arbitration = CONF_ARBITRATION_ETCD;
	w->conf.cluster.etcd_endpoints = w->conf.cluster.etcd_key = talloc_strdup(w, "x");
	assert_int_equal(symlink("helper", talloc_asprintf(w, "%s/ctdb-lock-etcd", w->base)), 0);
	helper(w, talloc_asprintf(w,
				  "printf 0; sleep 0.3; printf '\\nuntil 17\\n%s\\n'; " WAIT_GO
				  "printf '%s\\n%s\\n'; sleep 100",
				  now_plus(w, 5000), now_plus(w, 6000), now_plus(w, 5500)));
	assert_true(w->config.arbiter_bounded);
	ask(w);
	first = next_told(w, CLUSTER_ARBITER_HELD)->until;
	assert_true(mono_is_set(first));
	go(w);
	second = next_told(w, CLUSTER_ARBITER_HELD)->until;
	assert_true(mono_before(first, second));
	assert_true(arbiter_holds(w->cd->arbiter));
	assert_string_equal(next_told(w, CLUSTER_ARBITER_LOST)->text, "ctdb-lock-etcd did not renew the lock in time");
	assert_false(mono_before(mono_now(), second));
	assert_false(arbiter_holds(w->cd->arbiter));
	until_true(w, is_idle, "the end of the helper");
}

/* All options of etcd reach the program; the password does not stand on the command line. */
static void test_etcd_arguments(void **state)
{
	struct world *w = *state;
	char *file = talloc_asprintf(w, "%s/helper", w->base), *err = NULL;

	w->conf.cluster.arbitration = CONF_ARBITRATION_ETCD;
	w->conf.cluster.etcd_endpoints = talloc_strdup(w, "a:1, https://b:2");
	w->conf.cluster.etcd_key = talloc_strdup(w, "/k");
	w->conf.cluster.etcd_ttl = 7000;
	w->conf.cluster.etcd_ca = w->conf.cluster.etcd_cert = w->conf.cluster.etcd_cert_key = file;
	w->conf.cluster.etcd_user = file;
	assert_int_equal(symlink("helper", talloc_asprintf(w, "%s/ctdb-lock-etcd", w->base)), 0);
	helper(w, talloc_asprintf(
			  w,
			  "[ $# = 16 ] && [ \"$*\" = '--endpoints a:1, https://b:2 --key /k --ttl 7 --ca %s --cert %s "
			  "--cert-key %s --user-file %s --name node 0 (10.0.0.1)' ] && printf 1 || printf 3",
			  file, file, file, file));
	ask(w);
	(void)next_told(w, CLUSTER_ARBITER_CONTENDED);
	w->conf.cluster.etcd_user = talloc_strdup(w, "/no/file");
	assert_int_equal(arbiter_start(w->cd, &w->config, &err), ENOENT);
	assert_string_equal(err,
			    "/no/file, the etcd user file in [cluster], cannot be read: No such file or directory");
}

/* The daemon may block or ignore signals for its own purposes (lesson H-109). */
static void test_helper_has_default_signals(void **state)
{
	struct world *w = *state;
	sigset_t term, before;

	helper(w, "printf 0; sleep 100");
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, &before);
	ask(w);
	(void)next_told(w, CLUSTER_ARBITER_HELD);
	sigprocmask(SIG_SETMASK, &before, NULL);
	let_go(w);
}

static void test_program_vanishes(void **state)
{
	struct world *w = *state;

	helper(w, "printf 0; sleep 100");
	assert_int_equal(unlink(talloc_asprintf(w, "%s/helper", w->base)), 0);
	ask(w);
	assert_non_null(strstr(next_told(w, CLUSTER_ARBITER_FAILED)->text, "/helper cannot be started: No such file"));
	assert_int_equal(n_told, 1);
}

static void refuse(struct world *w, const char *lock, const char *expect)
{
	char *err = NULL;

	w->conf.cluster.cluster_lock = talloc_strdup(w, lock);
	w->cd = talloc_zero(w, struct clusterd);
	w->cd->d = &w->d;
	assert_int_not_equal(arbiter_start(w->cd, &w->config, &err), 0);
	assert_non_null(err);
	if (strstr(err, expect) == NULL) {
		fail_msg("\"%s\" is not in: %s", expect, err);
	}
}

static void test_programs_that_are_not_there(void **state)
{
	struct world *w = *state;

	refuse(w, "!/does/not/exist arg", "cannot run /does/not/exist, which cluster lock in [cluster] names: No such");
	refuse(w, "!/usr/libexec/x/ctdb_mutex_fcntl_helper /fs/lock", "give the path of the lock file alone");
	refuse(w, "!does-not-exist", "cannot run does-not-exist, which cluster lock");
	refuse(w, "/fs/lock", "/ctdb-lock-fcntl: No such file or directory: install it");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		T(test_held_and_released),
		T(test_arguments),
		cmocka_unit_test(test_endings_without_lock),
		cmocka_unit_test(test_losses),
		T(test_garbage_after_the_answer),
		T(test_talkative_helper),
		T(test_no_answer_in_time),
		T(test_stopped_helper),
		T(test_asked_again_at_once),
		T(test_released_while_trying),
		T(test_bounded),
		T(test_etcd_arguments),
		T(test_helper_has_default_signals),
		T(test_program_vanishes),
		T(test_programs_that_are_not_there),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
