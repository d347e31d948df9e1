/* Back ends of the log: file or standard error, syslog's local socket, syslog by UDP. */
#include "shared/log_sink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/mono.h"

/* RFC 3164 section 4.1: a packet must not be longer. Lines in files: what a pipe takes in one piece. */
#define SYSLOG_MAX             1024
#define LINE_MAX_BYTES         PIPE_BUF
#define SYSLOG_FACILITY_DAEMON 3
#define SYSLOG_UDP_PORT        514
#define SYSLOG_RETRY_MS        1000

static const char *const level_names[] = {"ERROR", "WARNING", "NOTICE", "INFO", "DEBUG"};

static int log_sink_destructor(struct log_sink *sink)
{
	if (sink->fd >= 0 && sink->kind != LOG_SINK_STDERR) {
		close(sink->fd);
	}
	return 0;
}

static bool sink_kind_parse(const char *location, enum log_sink_kind *kind, const char **path)
{
	static const struct {
		const char *location;
		enum log_sink_kind kind;
		const char *path;
	} fixed[] = {
		{"stderr", LOG_SINK_STDERR, NULL},       {"file", LOG_SINK_STDERR, NULL},
		{"file:", LOG_SINK_STDERR, NULL},        {"file:-", LOG_SINK_STDERR, NULL},
		{"syslog", LOG_SINK_SYSLOG, "/dev/log"}, {"syslog:nonblocking", LOG_SINK_SYSLOG, "/dev/log"},
		{"syslog:udp", LOG_SINK_UDP, NULL},      {"syslog:udp-rfc5424", LOG_SINK_UDP5424, NULL},
	};

	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
		if (strcmp(location, fixed[i].location) == 0) {
			*kind = fixed[i].kind;
			*path = fixed[i].path;
			return true;
		}
	}
	if (strncmp(location, "file:", 5) == 0) {
		*kind = LOG_SINK_FILE;
		*path = location + 5;
		return true;
	}
	return false;
}

int log_sink_parse(TALLOC_CTX *mem, const char *location, struct log_sink **sink, char **err)
{
	struct log_sink *s;
	enum log_sink_kind kind;
	const char *path;

	if (!sink_kind_parse(location, &kind, &path)) {
		*err = talloc_asprintf(
			mem,
			"unknown log location \"%s\": use file:PATH, stderr, syslog, syslog:nonblocking, "
			"syslog:udp or syslog:udp-rfc5424",
			location);
		return EINVAL;
	}
	if (kind == LOG_SINK_FILE && path[0] != '/') {
		*err = talloc_asprintf(mem, "log file \"%s\" is not an absolute path", path);
		return EINVAL;
	}
	s = talloc_zero(mem, struct log_sink);
	if (s == NULL) {
		return ENOMEM;
	}
	s->kind = kind;
	s->fd = -1;
	if (path != NULL) {
		s->path = talloc_strdup(s, path);
		if (s->path == NULL) {
			talloc_free(s);
			return ENOMEM;
		}
	}
	talloc_set_destructor(s, log_sink_destructor);
	*sink = s;
	return 0;
}

static int syslog_connect_unix(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(addr.sun_path)) {
		return -1;
	}
	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static int syslog_connect_udp(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(SYSLOG_UDP_PORT)};
	int fd;

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static void syslog_connect(struct log_sink *sink)
{
	unsigned long long now = mono_now().ns / MONO_NS_PER_MS;

	if (sink->fd >= 0) {
		close(sink->fd);
		sink->fd = -1;
	}
	if (now < sink->retry_ms) {
		return;
	}
	sink->fd = sink->kind == LOG_SINK_SYSLOG ? syslog_connect_unix(sink->path) : syslog_connect_udp();
	if (sink->fd < 0) {
		sink->retry_ms = now + SYSLOG_RETRY_MS;
	}
}

static int file_open(struct log_sink *sink)
{
	struct stat st;
	/* O_NONBLOCK: a FIFO without a reader must not stop the daemon. It changes nothing for a regular file. */
	int fd = open(sink->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);

	if (fd < 0) {
		return errno;
	}
	if (sink->fd >= 0) {
		close(sink->fd);
	}
	sink->fd = fd;
	sink->may_block = fstat(fd, &st) != 0 || !S_ISREG(st.st_mode);
	return 0;
}

int log_sink_open(struct log_sink *sink)
{
	struct stat st;

	switch (sink->kind) {
	case LOG_SINK_STDERR:
		sink->fd = STDERR_FILENO;
		sink->may_block = fstat(sink->fd, &st) != 0 || !S_ISREG(st.st_mode);
		return 0;
	case LOG_SINK_FILE:
		return file_open(sink);
	case LOG_SINK_SYSLOG:
	case LOG_SINK_UDP:
	case LOG_SINK_UDP5424:
		syslog_connect(sink);
		return 0;
	}
	return EINVAL;
}

int log_sink_reopen(struct log_sink *sink)
{
	return sink->kind == LOG_SINK_STDERR ? 0 : log_sink_open(sink);
}

/* One write; 0, EAGAIN if there is no room, or another errno. */
static int sink_put(struct log_sink *sink, const char *buf, size_t len)
{
	struct pollfd pfd = {.fd = sink->fd, .events = POLLOUT};
	ssize_t n;

	if (sink->may_block && (poll(&pfd, 1, 0) != 1 || (pfd.revents & POLLOUT) == 0)) {
		return EAGAIN;
	}
	do {
		n = write(sink->fd, buf, len);
	} while (n < 0 && errno == EINTR);
	if (n < 0) {
		return errno == ENOBUFS ? EAGAIN : errno;
	}
	return (size_t)n == len ? 0 : ENOSPC;
}

static size_t clamp(int n, size_t size)
{
	if (n < 0) {
		return 0;
	}
	return (size_t)n < size ? (size_t)n : size - 1;
}

static size_t format_stamp(char *buf, size_t size, bool zone)
{
	struct timespec now;
	struct tm tm;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &tm);
	n = strftime(buf, size, "%Y-%m-%dT%H:%M:%S", &tm);
	n += clamp(snprintf(buf + n, size - n, ".%06ld", now.tv_nsec / 1000), size - n);
	if (zone) {
		long off = tm.tm_gmtoff / 60;

		n += clamp(snprintf(buf + n, size - n, "%c%02ld:%02ld", off < 0 ? '-' : '+', labs(off) / 60,
				    labs(off) % 60),
			   size - n);
	}
	return n;
}

/* The text is cut, the newline is always there. */
static size_t format_file(char *buf, const struct log_line *line)
{
	size_t n = format_stamp(buf, LINE_MAX_BYTES, false);

	n += clamp(snprintf(buf + n, LINE_MAX_BYTES - n, " %s%s[%d] %s: %s", line->node, line->program, (int)getpid(),
			    level_names[line->level], line->text),
		   LINE_MAX_BYTES - n);
	buf[n] = '\n';
	return n + 1;
}

static int syslog_priority(enum log_level level)
{
	static const int severity[] = {3, 4, 5, 6, 7};

	return SYSLOG_FACILITY_DAEMON * 8 + severity[level];
}

/* RFC 3164 without time stamp and host name: a receiver on the same machine adds its own. */
static size_t format_syslog(char *buf, const struct log_line *line)
{
	return clamp(snprintf(buf, SYSLOG_MAX, "<%d>%s[%d]: %s%s", syslog_priority(line->level), line->program,
			      (int)getpid(), line->node, line->text),
		     SYSLOG_MAX);
}

static size_t format_rfc5424(char *buf, const struct log_line *line)
{
	char stamp[64], host[256];

	format_stamp(stamp, sizeof(stamp), true);
	if (gethostname(host, sizeof(host)) != 0 || host[0] == '\0') {
		strcpy(host, "localhost");
	}
	host[sizeof(host) - 1] = '\0';
	return clamp(snprintf(buf, SYSLOG_MAX, "<%d>1 %s %s %s %d - - %s%s", syslog_priority(line->level), stamp, host,
			      line->program, (int)getpid(), line->node, line->text),
		     SYSLOG_MAX);
}

static size_t format_line(const struct log_sink *sink, char *buf, const struct log_line *line)
{
	switch (sink->kind) {
	case LOG_SINK_STDERR:
	case LOG_SINK_FILE:
		return format_file(buf, line);
	case LOG_SINK_SYSLOG:
	case LOG_SINK_UDP:
		return format_syslog(buf, line);
	case LOG_SINK_UDP5424:
		return format_rfc5424(buf, line);
	}
	return 0;
}

static bool syslog_put(struct log_sink *sink, const char *buf, size_t len)
{
	int ret;

	if (sink->fd < 0) {
		syslog_connect(sink);
	}
	if (sink->fd < 0) {
		return false;
	}
	ret = sink_put(sink, buf, len);
	if (ret == 0 || ret == EAGAIN) {
		return ret == 0;
	}
	/* syslog was restarted: its socket is another one now */
	syslog_connect(sink);
	return sink->fd >= 0 && sink_put(sink, buf, len) == 0;
}

static bool sink_write_one(struct log_sink *sink, const struct log_line *line)
{
	char buf[LINE_MAX_BYTES];
	size_t len = format_line(sink, buf, line);

	if (sink->kind == LOG_SINK_STDERR || sink->kind == LOG_SINK_FILE) {
		return sink_put(sink, buf, len) == 0;
	}
	return syslog_put(sink, buf, len);
}

void log_sink_write(struct log_sink *sink, const struct log_line *line)
{
	char text[80];
	struct log_line note = *line;

	if (sink->dropped > 0) {
		snprintf(text, sizeof(text), "%u log lines were dropped: no room where they go", sink->dropped);
		note.level = LOG_LVL_WARNING;
		note.text = text;
		if (!sink_write_one(sink, &note)) {
			sink->dropped++;
			return;
		}
		sink->dropped = 0;
	}
	if (!sink_write_one(sink, line)) {
		sink->dropped++;
	}
}
