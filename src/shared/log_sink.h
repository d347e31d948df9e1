/* Where log lines go: the back ends of log.c. Private to src/shared. */
#ifndef SHARED_LOG_SINK_H
#define SHARED_LOG_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <talloc.h>

#include "shared/log.h"

/* One line, its parts ready to be put together in the form that the back end wants. */
struct log_line {
	const char *program;
	enum log_level level;
	const char *node; /* "node 3 " or "" */
	const char *text; /* one line, no control characters */
};

/*
 * A parsed location. An open sink holds one descriptor (-1: none at the moment) and never blocks: what finds no room is
 * dropped and counted, and the count is written before the next line that finds room.
 */
enum log_sink_kind { LOG_SINK_STDERR, LOG_SINK_FILE, LOG_SINK_SYSLOG, LOG_SINK_UDP, LOG_SINK_UDP5424 };

struct log_sink {
	enum log_sink_kind kind;
	char *path; /* of the file or of the syslog socket; NULL for standard error and UDP */
	int fd;
	bool may_block; /* a pipe, socket or terminal: asked for room before each write */
	unsigned dropped;
	unsigned long long retry_ms; /* syslog is down: next attempt to connect */
};

/* Parses location; 0, EINVAL with *err, ENOMEM. */
int log_sink_parse(TALLOC_CTX *mem, const char *location, struct log_sink **sink, char **err);

/* 0, or errno if the file cannot be opened. A syslog that is not there is no error: it may come later. */
int log_sink_open(struct log_sink *sink);

/* Opens the file again; on error the descriptor in use stays. */
int log_sink_reopen(struct log_sink *sink);

void log_sink_write(struct log_sink *sink, const struct log_line *line);

#endif
