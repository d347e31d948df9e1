/* Logging: level, line, rate limit; the back ends are in log_sink.c. */
#include "shared/log.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/mono.h"
#include "shared/log_sink.h"

#define TEXT_MAX 4096

static struct log_sink early_sink = {.kind = LOG_SINK_STDERR, .fd = STDERR_FILENO, .may_block = true};

/* One log per process. */
static struct {
	struct log_sink *sink;
	enum log_level level;
	char program[32];
	char node[24];
} state = {.sink = &early_sink, .level = LOG_LVL_NOTICE, .program = "ctdb"};

int log_init(TALLOC_CTX *mem, const char *program, const char *location, enum log_level level, char **err)
{
	struct log_sink *sink;
	int ret;

	ret = log_sink_parse(mem, location, &sink, err);
	if (ret != 0) {
		return ret;
	}
	/* The log lives as long as the process, whatever becomes of mem. */
	talloc_steal(NULL, sink);
	ret = log_sink_open(sink);
	if (ret != 0) {
		*err = talloc_asprintf(mem, "cannot open the log file %s: %s", sink->path, strerror(ret));
		talloc_free(sink);
		return ret;
	}
	if (state.sink != &early_sink) {
		talloc_free(state.sink);
	}
	state.sink = sink;
	state.level = level;
	snprintf(state.program, sizeof(state.program), "%s", program);
	return 0;
}

bool log_is_stderr(void)
{
	return state.sink->kind == LOG_SINK_STDERR;
}

void log_set_level(enum log_level level)
{
	state.level = level;
}

enum log_level log_get_level(void)
{
	return state.level;
}

void log_set_node(unsigned pnn)
{
	snprintf(state.node, sizeof(state.node), "node %u ", pnn);
}

int log_reopen(void)
{
	return log_sink_reopen(state.sink);
}

static bool parse_number(const char *name, enum log_level *level)
{
	/* numbers as existing configuration files have them */
	static const enum log_level by_number[] = {
		LOG_LVL_ERROR, LOG_LVL_WARNING, LOG_LVL_WARNING, LOG_LVL_NOTICE, LOG_LVL_NOTICE, LOG_LVL_INFO,
		LOG_LVL_INFO,  LOG_LVL_INFO,    LOG_LVL_INFO,    LOG_LVL_INFO,   LOG_LVL_DEBUG,
	};
	unsigned n = 0;

	for (const char *p = name; *p != '\0'; p++) {
		if (!isdigit((unsigned char)*p) || n > 10) {
			return false;
		}
		n = n * 10 + (unsigned)(*p - '0');
	}
	if (n > 10) {
		return false;
	}
	*level = by_number[n];
	return true;
}

bool log_level_parse(const char *name, enum log_level *level)
{
	static const char *const names[] = {"ERROR", "WARNING", "NOTICE", "INFO", "DEBUG"};
	size_t len = strlen(name);

	if (len == 0) {
		return false;
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strncasecmp(name, names[i], len) == 0) {
			*level = (enum log_level)i;
			return true;
		}
	}
	return parse_number(name, level);
}

/* A line stays one line, whatever a peer or a file put into it. */
static void clean(char *text)
{
	for (unsigned char *p = (unsigned char *)text; *p != '\0'; p++) {
		if (*p < 0x20 || *p == 0x7f) {
			*p = ' ';
		}
	}
}

void log_write(enum log_level level, const char *fmt, ...)
{
	char text[TEXT_MAX];
	struct log_line line = {.program = state.program, .level = level, .node = state.node, .text = text};
	int saved = errno;
	va_list ap;

	if (level > state.level) {
		return;
	}
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	clean(text);
	log_sink_write(state.sink, &line);
	errno = saved;
}

bool log_limit_pass(struct log_limit *limit, unsigned interval_ms, enum log_level level)
{
	unsigned long long now = mono_now().ns / MONO_NS_PER_MS;

	if (level > state.level) {
		return false;
	}
	if (limit->last_ms != 0 && now < limit->last_ms + interval_ms) {
		limit->suppressed++;
		return false;
	}
	limit->last_ms = now;
	if (limit->suppressed > 0) {
		unsigned n = limit->suppressed;

		limit->suppressed = 0;
		log_write(level, "%u messages like the next one were left out", n);
	}
	return true;
}
