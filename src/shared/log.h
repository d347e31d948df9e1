/* Logging: file, stderr or syslog; never blocks the daemon. Libraries (lib/) and src/core do not log. */
#ifndef SHARED_LOG_H
#define SHARED_LOG_H

#include <stdbool.h>
#include <talloc.h>

enum log_level { LOG_LVL_ERROR, LOG_LVL_WARNING, LOG_LVL_NOTICE, LOG_LVL_INFO, LOG_LVL_DEBUG };

/*
 * location: "file:PATH" (absolute), "stderr", "syslog" and "syslog:nonblocking" (RFC 3164 to /dev/log, the same), "syslog:udp" (RFC 3164)
 * and "syslog:udp-rfc5424" (port 514 of this machine). Until it is called messages go to stderr. Called again it replaces the former.
 * Returns 0 or errno with *err (talloc'ed below mem) naming the thing. Line format:
 * 2026-11-21T02:30:21.123456 node 0 ctdb-dbd[4711] NOTICE: text
 */
int log_init(TALLOC_CTX *mem, const char *program, const char *location, enum log_level level, char **err);
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
void log_set_node(unsigned pnn); /* shown in each line once known */
bool log_is_stderr(void);      /* lines go to standard error, also before log_init() */
int log_reopen(void);		 /* after rotation; keeps the old file if the new one cannot be opened */
bool log_level_parse(const char *name, enum log_level *level); /* "ERROR".."DEBUG", any case, or 0..10 as in existing files */

void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* At most one line in interval_ms for each place it is written at; says how many were left out. */
#define log_ratelimited(level, interval_ms, ...)                                                   \
	do {                                                                                       \
		static struct log_limit limit_;                                                    \
		if (log_limit_pass(&limit_, (interval_ms), (level))) {                             \
			log_write((level), __VA_ARGS__);                                           \
		}                                                                                  \
	} while (0)

struct log_limit {
	unsigned long long last_ms;
	unsigned suppressed;
};
bool log_limit_pass(struct log_limit *limit, unsigned interval_ms, enum log_level level);

#define log_error(...) log_write(LOG_LVL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LVL_WARNING, __VA_ARGS__)
#define log_notice(...) log_write(LOG_LVL_NOTICE, __VA_ARGS__)
#define log_info(...) log_write(LOG_LVL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
	do {                                                                                       \
		if (log_get_level() >= LOG_LVL_DEBUG) {                                            \
			log_write(LOG_LVL_DEBUG, __VA_ARGS__);                                     \
		}                                                                                  \
	} while (0)

#endif
