/* Logging: lines, levels, limits, and that nothing blocks. */
#include "shared/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "shared/log_sink.h"

struct world {
	char dir[64];
	char file[80], other[80];
	int saved_stderr;
};

static int world_setup(void **state)
{
	struct world *w = talloc_zero(NULL, struct world);

	snprintf(w->dir, sizeof(w->dir), "/tmp/test_log.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->file, sizeof(w->file), "%s/log", w->dir);
	snprintf(w->other, sizeof(w->other), "%s/other", w->dir);
	w->saved_stderr = dup(STDERR_FILENO);
	*state = w;
	return 0;
}

static int world_teardown(void **state)
{
	struct world *w = *state;
	char *err;

	assert_int_equal(log_init(w, "test", "stderr", LOG_LVL_NOTICE, &err), 0);
	dup2(w->saved_stderr, STDERR_FILENO);
	close(w->saved_stderr);
	unlink(w->file);
	unlink(w->other);
	assert_int_equal(rmdir(w->dir), 0);
	talloc_free(w);
	return 0;
}

static void init_file(struct world *w, enum log_level level)
{
	char *err = NULL;

	assert_int_equal(log_init(w, "ctdb-test", talloc_asprintf(w, "file:%s", w->file), level, &err), 0);
}

static char *content(struct world *w, const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = talloc_zero_array(w, char, 1 << 16);

	assert_non_null(f);
	(void)!fread(text, 1, (1 << 16) - 1, f);
	fclose(f);
	return text;
}

static void assert_matches(const char *text, const char *pattern)
{
	regex_t re;

	assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
	if (regexec(&re, text, 0, NULL, 0) != 0) {
		fail_msg("\"%s\" does not match %s", text, pattern);
	}
	regfree(&re);
}

#define STAMP "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6}"

static void test_line(void **state)
{
	struct world *w = *state;

	init_file(w, LOG_LVL_INFO);
	errno = EXDEV;
	log_notice("hello %d", 5);
	assert_int_equal(errno, EXDEV);
	assert_matches(content(w, w->file), "^" STAMP " ctdb-test\\[[0-9]+\\] NOTICE: hello 5\n$");
	log_set_node(3);
	log_error("again\nand\tagain\n");
	assert_matches(content(w, w->file), "\n" STAMP " node 3 ctdb-test\\[[0-9]+\\] ERROR: again and again \n$");
}

static void test_levels(void **state)
{
	struct world *w = *state;
	char *text;

	init_file(w, LOG_LVL_WARNING);
	log_error("e");
	log_warning("w");
	log_notice("n");
	log_debug("d");
	log_set_level(LOG_LVL_DEBUG);
	assert_int_equal(log_get_level(), LOG_LVL_DEBUG);
	log_debug("d2");
	text = content(w, w->file);
	assert_non_null(strstr(text, "ERROR: e\n"));
	assert_non_null(strstr(text, "WARNING: w\n"));
	assert_null(strstr(text, "NOTICE"));
	assert_null(strstr(text, "DEBUG: d\n"));
	assert_non_null(strstr(text, "DEBUG: d2\n"));
}

static void test_level_parse(void **state)
{
	static const struct {
		const char *name;
		int level; /* -1: refused */
	} cases[] = {
		{"ERROR", 0},  {"error", 0},
		{"e", 0},      {"WARN", 1},
		{"notice", 2}, {"Info", 3},
		{"DEBUG", 4},  {"0", 0},
		{"1", 1},      {"2", 1},
		{"3", 2},      {"4", 2},
		{"5", 3},      {"9", 3},
		{"10", 4},     {"11", -1},
		{"", -1},      {"-1", -1},
		{"x", -1},     {"ERRORS", -1},
		{"5x", -1},    {"99999999999999999999", -1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum log_level level = LOG_LVL_ERROR;

		assert_int_equal(log_level_parse(cases[i].name, &level), cases[i].level >= 0);
		if (cases[i].level >= 0) {
			assert_int_equal(level, cases[i].level);
		}
	}
}

static void test_long_line(void **state)
{
	struct world *w = *state;
	char *big = talloc_array(w, char, 10001), *text;

	init_file(w, LOG_LVL_INFO);
	memset(big, 'x', 10000);
	big[10000] = '\0';
	log_notice("%s", big);
	log_notice("next");
	text = content(w, w->file);
	assert_int_equal(strcspn(text, "\n"), PIPE_BUF - 1);
	assert_non_null(strstr(text, "NOTICE: next\n"));
}

static void test_limit(void **state)
{
	struct world *w = *state;
	struct log_limit limit = {0};
	char *text;

	init_file(w, LOG_LVL_INFO);
	assert_true(log_limit_pass(&limit, 3600000, LOG_LVL_INFO));
	assert_false(log_limit_pass(&limit, 3600000, LOG_LVL_INFO));
	assert_false(log_limit_pass(&limit, 3600000, LOG_LVL_INFO));
	assert_false(log_limit_pass(&limit, 3600000, LOG_LVL_DEBUG)); /* would not be shown: not counted */
	assert_true(log_limit_pass(&limit, 0, LOG_LVL_INFO));
	assert_non_null(strstr(content(w, w->file), "INFO: 2 messages like the next one were left out\n"));
	for (int i = 0; i < 5; i++) {
		log_ratelimited(LOG_LVL_ERROR, 3600000, "line %d", i);
	}
	text = content(w, w->file);
	assert_non_null(strstr(text, "line 0"));
	assert_null(strstr(text, "line 1"));
}

static void test_reopen(void **state)
{
	struct world *w = *state;

	init_file(w, LOG_LVL_INFO);
	log_notice("one");
	assert_int_equal(rename(w->file, w->other), 0);
	log_notice("two");
	assert_int_equal(log_reopen(), 0);
	log_notice("three");
	assert_non_null(strstr(content(w, w->other), "two"));
	assert_null(strstr(content(w, w->other), "three"));
	assert_non_null(strstr(content(w, w->file), "three"));

	/* the new one cannot be opened: lines go on into the former */
	assert_int_equal(unlink(w->other), 0);
	assert_int_equal(rename(w->file, w->other), 0);
	assert_int_equal(mkdir(w->file, 0700), 0);
	assert_int_equal(log_reopen(), EISDIR);
	log_notice("four");
	assert_int_equal(rmdir(w->file), 0);
	assert_non_null(strstr(content(w, w->other), "four"));
}

static void test_bad_location(void **state)
{
	struct world *w = *state;
	char *err = NULL;

	assert_int_equal(log_init(w, "test", "file:log", LOG_LVL_INFO, &err), EINVAL);
	assert_string_equal(err, "log file \"log\" is not an absolute path");
	assert_int_equal(log_init(w, "test", "file:/does/not/exist", LOG_LVL_INFO, &err), ENOENT);
	assert_string_equal(err, "cannot open the log file /does/not/exist: No such file or directory");
	assert_int_equal(log_init(w, "test", "syslog:tcp", LOG_LVL_INFO, &err), EINVAL);
	assert_true(log_is_stderr());
}

/* Standard error is a pipe that nobody reads: lines are dropped and counted, the writer goes on. */
static void test_full_pipe(void **state)
{
	struct world *w = *state;
	char *err = NULL, *text = talloc_zero_array(w, char, 1 << 20);
	int fds[2];
	size_t len = 0;
	ssize_t n;

	assert_int_equal(pipe(fds), 0);
	dup2(fds[1], STDERR_FILENO);
	assert_int_equal(log_init(w, "ctdb-test", "stderr", LOG_LVL_INFO, &err), 0);
	for (int i = 0; i < 5000; i++) {
		log_notice("line %d", i);
	}
	len = (size_t)read(fds[0], text, (1 << 20) - 1);
	assert_true(text[len - 1] == '\n');
	log_notice("after");
	dup2(w->saved_stderr, STDERR_FILENO);
	close(fds[1]);
	while ((n = read(fds[0], text + len, (1 << 20) - 1 - len)) > 0) {
		len += (size_t)n;
	}
	close(fds[0]);
	assert_matches(text, "WARNING: [0-9]+ log lines were dropped: no room where they go\n" STAMP
			     "[^\n]*NOTICE: after\n$");
}

static int syslog_server(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	strcpy(addr.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static char *receive(struct world *w, int fd)
{
	char buf[2048];
	ssize_t n = recv(fd, buf, sizeof(buf) - 1, 0);

	if (n < 0) {
		assert_int_equal(errno, EAGAIN);
		return NULL;
	}
	return talloc_strndup(w, buf, (size_t)n);
}

static struct log_sink *syslog_sink(struct world *w)
{
	struct log_sink *sink = NULL;
	char *err = NULL;

	assert_int_equal(log_sink_parse(w, "syslog", &sink, &err), 0);
	assert_string_equal(sink->path, "/dev/log");
	sink->path = w->other;
	assert_int_equal(log_sink_open(sink), 0);
	return sink;
}

static void test_syslog(void **state)
{
	struct world *w = *state;
	struct log_line line = {.program = "ctdb-test", .level = LOG_LVL_NOTICE, .node = "node 3 ", .text = "hello"};
	int server = syslog_server(w->other), sent = 0;
	struct log_sink *sink = syslog_sink(w);
	char *got, *big = talloc_array(w, char, 3001);

	log_sink_write(sink, &line);
	assert_string_equal(receive(w, server), talloc_asprintf(w, "<29>ctdb-test[%d]: node 3 hello", (int)getpid()));
	memset(big, 'x', 3000);
	big[3000] = '\0';
	line.text = big;
	line.level = LOG_LVL_ERROR;
	log_sink_write(sink, &line);
	got = receive(w, server);
	assert_int_equal(strncmp(got, "<27>", 4), 0);
	assert_true(strlen(got) <= 1024);

	/* nobody reads: full after some datagrams, the rest is counted */
	line.text = "flood";
	while (sink->dropped < 10 && sent++ < 100000) {
		log_sink_write(sink, &line);
	}
	assert_int_equal(sink->dropped, 10);
	while (receive(w, server) != NULL) {
		continue;
	}
	log_sink_write(sink, &line);
	assert_non_null(strstr(receive(w, server), "10 log lines were dropped"));
	assert_non_null(strstr(receive(w, server), "flood"));

	/* the daemon at the other end is another one now */
	close(server);
	unlink(w->other);
	server = syslog_server(w->other);
	line.text = "reborn";
	log_sink_write(sink, &line);
	assert_non_null(strstr(receive(w, server), "reborn"));
	close(server);
	talloc_free(sink);
}

static void test_syslog_absent(void **state)
{
	struct world *w = *state;
	struct log_line line = {.program = "ctdb-test", .level = LOG_LVL_NOTICE, .node = "", .text = "hello"};
	struct log_sink *sink = syslog_sink(w);
	int server;

	log_sink_write(sink, &line);
	assert_int_equal(sink->dropped, 1);
	server = syslog_server(w->other);
	sink->retry_ms = 0;
	log_sink_write(sink, &line);
	assert_non_null(strstr(receive(w, server), "1 log lines were dropped"));
	assert_non_null(strstr(receive(w, server), "hello"));
	close(server);
	talloc_free(sink);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		T(test_line),   T(test_levels),       T(test_level_parse), T(test_long_line), T(test_limit),
		T(test_reopen), T(test_bad_location), T(test_full_pipe),   T(test_syslog),    T(test_syslog_absent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
