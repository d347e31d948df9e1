/* Command line of the daemon template. */
#include "shared/daemon_options.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ctdb_ng_version.h"

#define SWITCHES_MAX 8

enum {
	OPT_CONFIG = 256,
	OPT_READY_FD,
	OPT_CONTROL_FD,
	OPT_LOG,
	OPT_LOG_LEVEL,
	OPT_CHECK,
	OPT_VERSION,
	OPT_HELP,
	OPT_SWITCH
};

static const struct option common[] = {
	{"config", required_argument, NULL, OPT_CONFIG},
	{"ready-fd", required_argument, NULL, OPT_READY_FD},
	{"control-fd", required_argument, NULL, OPT_CONTROL_FD},
	{"log", required_argument, NULL, OPT_LOG},
	{"log-level", required_argument, NULL, OPT_LOG_LEVEL},
	{"check", no_argument, NULL, OPT_CHECK},
	{"version", no_argument, NULL, OPT_VERSION},
	{"help", no_argument, NULL, OPT_HELP},
};
#define N_COMMON (sizeof(common) / sizeof(common[0]))

static void print_help(const struct daemon_ops *ops)
{
	printf("Usage: %s [OPTION...]\n%s\n\n", ops->name, ops->summary != NULL ? ops->summary : "");
	for (const struct daemon_switch *s = ops->switches; s != NULL && s->name != NULL; s++) {
		char left[64];

		if (s->letter != 0) {
			snprintf(left, sizeof(left), "-%c, --%s", s->letter, s->name);
		} else {
			snprintf(left, sizeof(left), "--%s", s->name);
		}
		printf("  %-20s  %s\n", left, s->help);
	}
	printf("  --config FILE         configuration (default /etc/ctdb/ctdb.conf, or ctdb.conf in CTDB_BASE)\n"
	       "  --log LOCATION        instead of the configured one: file:PATH, stderr, syslog...\n"
	       "  --log-level LEVEL     instead of the configured one: ERROR, WARNING, NOTICE, INFO, DEBUG\n"
	       "  --ready-fd N          descriptor: one byte is written there when it serves\n"
	       "  --control-fd N        descriptor: stops when the other end is closed\n"
	       "  --check               only check the configuration; exit status 0 if it is good\n"
	       "  --version, --help\n");
}

static bool parse_fd(const struct daemon_ops *ops, const char *option, const char *text, int *fd)
{
	struct stat st;
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || n < 0 || n > 1 << 20) {
		fprintf(stderr, "%s: --%s %s: give the number of a descriptor\n", ops->name, option, text);
		return false;
	}
	if (fcntl((int)n, F_SETFD, FD_CLOEXEC) != 0) {
		fprintf(stderr, "%s: --%s %s: not an open descriptor\n", ops->name, option, text);
		return false;
	}
	/* epoll takes nothing else, and nothing else tells that its other end was closed */
	if (fstat((int)n, &st) != 0 || (!S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode))) {
		fprintf(stderr, "%s: --%s %s: neither a pipe nor a socket\n", ops->name, option, text);
		return false;
	}
	*fd = (int)n;
	return true;
}

static bool take_option(const struct daemon_ops *ops, struct daemon_options *opts, int c, int *status)
{
	switch (c) {
	case OPT_CONFIG:
		opts->config = optarg;
		return true;
	case OPT_READY_FD:
		return parse_fd(ops, "ready-fd", optarg, &opts->ready_fd);
	case OPT_CONTROL_FD:
		return parse_fd(ops, "control-fd", optarg, &opts->control_fd);
	case OPT_LOG:
		opts->log = optarg;
		return true;
	case OPT_LOG_LEVEL:
		opts->level_name = optarg;
		if (!log_level_parse(optarg, &opts->level)) {
			fprintf(stderr, "%s: --log-level %s: give ERROR, WARNING, NOTICE, INFO or DEBUG\n", ops->name,
				optarg);
			return false;
		}
		return true;
	case OPT_CHECK:
		opts->check = true;
		return true;
	case OPT_VERSION:
		printf("%s %s\n", ops->name, CTDB_NG_VERSION);
		*status = 0;
		return false;
	case OPT_HELP:
		print_help(ops);
		*status = 0;
		return false;
	default:
		fprintf(stderr, "Try \"%s --help\".\n", ops->name);
		return false;
	}
}

static bool take_switch(const struct daemon_ops *ops, int c)
{
	size_t i = 0;

	for (const struct daemon_switch *s = ops->switches; s != NULL && s->name != NULL; s++, i++) {
		if (c == OPT_SWITCH + (int)i || (s->letter != 0 && c == s->letter)) {
			*s->given = true;
			return true;
		}
	}
	return false;
}

static void build_tables(const struct daemon_ops *ops, struct option *longs, char *shorts)
{
	size_t n = N_COMMON, k = 0;

	memcpy(longs, common, sizeof(common));
	for (const struct daemon_switch *s = ops->switches; s != NULL && s->name != NULL && k < SWITCHES_MAX; s++) {
		longs[n++] = (struct option){s->name, no_argument, NULL, OPT_SWITCH + (int)k++};
		if (s->letter != 0) {
			*shorts++ = s->letter;
		}
	}
	longs[n] = (struct option){0};
	*shorts = '\0';
}

bool daemon_options_parse(int argc, char **argv, const struct daemon_ops *ops, struct daemon_options *opts, int *status)
{
	struct option longs[N_COMMON + SWITCHES_MAX + 1];
	char shorts[SWITCHES_MAX + 1];
	int c;

	*opts = (struct daemon_options){.ready_fd = -1, .control_fd = -1};
	*status = 1;
	build_tables(ops, longs, shorts);
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		if (!take_switch(ops, c) && !take_option(ops, opts, c, status)) {
			return false;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "%s: unexpected argument \"%s\"\nTry \"%s --help\".\n", ops->name, argv[optind],
			ops->name);
		return false;
	}
	return true;
}
