/* ctdb-lock-etcd: holds a key in etcd for as long as it can renew its lease. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "etcd_lock.h"
#include "helper.h"

#define TTL_S        5
#define RELEASE_MS   1500
#define RETRY_MS     200
#define EXIT_TROUBLE 1
#define EXIT_USAGE   2

static const char usage[] =
	"usage: ctdb-lock-etcd --endpoints LIST [OPTIONS]\n"
	"Takes a key in etcd, prints 0 and holds it until SIGTERM or the end of the process that started it.\n"
	"Prints 1 if somebody else has the key, 2 if etcd does not answer, 3 after another error. While it holds the "
	"key it\n"
	"prints lines \"until NS\": the key is certainly held until this time of the machine's monotonic clock.\n"
	"  --endpoints LIST     HOST:PORT, http://HOST:PORT or https://HOST:PORT, divided by commas; tried in turn\n"
	"  --key KEY            the key (/ctdb/lock)\n"
	"  --ttl SECONDS        so long after the last sign of life etcd gives it to others, 2 to 60 (5)\n"
	"  --ca FILE            authorities that sign the servers' certificates (those of the system)\n"
	"  --cert FILE          certificate of this node\n"
	"  --cert-key FILE      its private key\n"
	"  --user-file FILE     one line USER:PASSWORD\n"
	"  --name TEXT          the key's value: who holds it, for people\n";

enum argument { OPT_ENDPOINTS = 256, OPT_KEY, OPT_TTL, OPT_CA, OPT_CERT, OPT_CERT_KEY, OPT_USER, OPT_NAME, OPT_HELP };

static const struct option options[] = {
	{"endpoints", required_argument, NULL, OPT_ENDPOINTS},
	{"key", required_argument, NULL, OPT_KEY},
	{"ttl", required_argument, NULL, OPT_TTL},
	{"ca", required_argument, NULL, OPT_CA},
	{"cert", required_argument, NULL, OPT_CERT},
	{"cert-key", required_argument, NULL, OPT_CERT_KEY},
	{"user-file", required_argument, NULL, OPT_USER},
	{"name", required_argument, NULL, OPT_NAME},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

struct arguments {
	char *endpoints;
	struct etcd_config config;
	const char *key, *name;
	uint32_t ttl_s;
};

/* ---- arguments ---- */

static bool parse_ttl(const char *text, uint32_t *ttl_s)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (end == text || *end != '\0' || n < 2 || n > 60) {
		helper_say("--ttl is \"%s\": give seconds from 2 to 60", text);
		return false;
	}
	*ttl_s = (uint32_t)n;
	return true;
}

/* After all others: the scheme depends on them. */
static bool parse_endpoints(struct arguments *a)
{
	struct etcd_config *c = &a->config;
	bool tls = c->ca != NULL || c->cert != NULL;
	char *save = NULL;

	for (char *s = strtok_r(a->endpoints, ", ", &save); s != NULL; s = strtok_r(NULL, ", ", &save)) {
		const char *scheme = strncmp(s, "http://", 7) == 0 || strncmp(s, "https://", 8) == 0 ? ""
				     : tls                                                           ? "https://"
												     : "http://";

		if (c->n_servers == ETCD_SERVERS_MAX || strlen(s) > 300) {
			helper_say("--endpoints: more than %d servers, or a name that is too long", ETCD_SERVERS_MAX);
			return false;
		}
		if (asprintf(&c->servers[c->n_servers++], "%s%s", scheme, s) < 0) {
			helper_say("out of memory");
			return false;
		}
	}
	if (c->n_servers == 0) {
		helper_say("--endpoints: no server is named");
	}
	return c->n_servers > 0;
}

static bool parse_option(struct arguments *a, int option)
{
	switch (option) {
	case OPT_ENDPOINTS:
		a->endpoints = optarg;
		return true;
	case OPT_KEY:
		a->key = optarg;
		return true;
	case OPT_TTL:
		return parse_ttl(optarg, &a->ttl_s);
	case OPT_CA:
		a->config.ca = optarg;
		return true;
	case OPT_CERT:
		a->config.cert = optarg;
		return true;
	case OPT_CERT_KEY:
		a->config.cert_key = optarg;
		return true;
	case OPT_USER:
		a->config.user_file = optarg;
		return true;
	case OPT_NAME:
		a->name = optarg;
		return true;
	case OPT_HELP:
		fputs(usage, stdout);
		exit(0);
	default:
		return false;
	}
}

static bool parse(struct arguments *a, int argc, char **argv)
{
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (!parse_option(a, option)) {
			return false;
		}
	}
	if (optind < argc || a->endpoints == NULL) {
		fputs(usage, stderr);
		return false;
	}
	if ((a->config.cert == NULL) != (a->config.cert_key == NULL)) {
		helper_say("--cert and --cert-key go together");
		return false;
	}
	if (a->key[0] == '\0') {
		helper_say("--key is empty");
		return false;
	}
	/* Several tries, with several servers, have to fit into the lease. */
	a->config.try_ms = a->ttl_s * 1000 / 5;
	return parse_endpoints(a);
}

/* ---- taking and holding ---- */

static enum helper_report report_of(enum etcd_lock_result result)
{
	return result == ETCD_LOCK_HELD        ? HELPER_HELD
	       : result == ETCD_LOCK_CONTENDED ? HELPER_CONTENDED
	       : result == ETCD_LOCK_ENDED     ? HELPER_TIMED_OUT
					       : HELPER_ERROR;
}

static int take(struct etcd_lock *l)
{
	/* Twice around all servers; the daemon ends it earlier if it wants to. */
	struct mono limit = mono_add_ms(mono_now(), 60000);
	enum etcd_lock_result result = etcd_lock_take(l, limit);

	if (result == ETCD_LOCK_HELD && !mono_before(mono_now(), l->until)) {
		helper_say("etcd was so slow that the lock had ended before it was known");
		result = ETCD_LOCK_ENDED;
	} else if (result == ETCD_LOCK_CONTENDED) {
		helper_say("%s is held by %s", l->key, l->holder);
	} else if (result == ETCD_LOCK_FAILED) {
		helper_say("%s", etcd_error(l->etcd));
	}
	helper_report(report_of(result), l->until);
	return result == ETCD_LOCK_HELD ? 0 : EXIT_TROUBLE;
}

/* 0: told to end. */
static int hold(struct etcd_lock *l)
{
	enum etcd_lock_result result = ETCD_LOCK_HELD;
	int pause_ms = (int)(l->ttl_s * 1000 / 3);

	while (!etcd_wait_end(l->etcd, result == ETCD_LOCK_HELD ? pause_ms : RETRY_MS)) {
		result = mono_before(mono_now(), l->until) ? etcd_lock_renew(l) : ETCD_LOCK_FAILED;
		switch (result) {
		case ETCD_LOCK_HELD:
			helper_report_until(l->until);
			break;
		case ETCD_LOCK_ENDED:
			return 0;
		case ETCD_LOCK_CONTENDED:
			helper_say("%s is lost: it is held by %s now", l->key, l->holder);
			return EXIT_TROUBLE;
		case ETCD_LOCK_FAILED:
			if (!mono_before(mono_now(), l->until)) {
				helper_say("%s is lost: etcd was not reached for %u s: %s", l->key, l->ttl_s,
					   etcd_error(l->etcd)[0] != '\0' ? etcd_error(l->etcd)
									  : "this node stood still");
				return EXIT_TROUBLE;
			}
			break;
		}
	}
	return 0;
}

/* SIGTERM and SIGINT are read, so that the key can be given back. */
static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* That the lock is not held any more is said first: the end of file on standard output. */
static void release(struct etcd_lock *l)
{
	(void)dup2(STDERR_FILENO, STDOUT_FILENO);
	etcd_ignore_end(l->etcd);
	etcd_lock_release(l, mono_add_ms(mono_now(), RELEASE_MS));
}

int main(int argc, char **argv)
{
	struct arguments a = {.key = "/ctdb/lock", .name = "", .ttl_s = TTL_S};
	struct helper_parent parent;
	struct etcd_lock lock = {0};
	char *err = NULL;
	int ret = EXIT_TROUBLE, signals;

	if (!parse(&a, argc, argv)) {
		helper_report(HELPER_ERROR, MONO_NEVER);
		return EXIT_USAGE;
	}
	signals = open_signals();
	if (!helper_parent_open(&parent)) {
		return EXIT_TROUBLE;
	}
	lock.etcd = etcd_new(&a.config, &parent, signals, &err);
	lock.key = a.key;
	lock.value = a.name;
	lock.ttl_s = a.ttl_s;
	if (signals < 0 || lock.etcd == NULL || !etcd_lock_init(&lock)) {
		helper_say("%s", err != NULL ? err : "out of memory or descriptors");
		helper_report(HELPER_ERROR, MONO_NEVER);
		return EXIT_TROUBLE;
	}
	if (take(&lock) == 0) {
		ret = hold(&lock);
	}
	if (lock.lease != 0) {
		release(&lock);
	}
	_exit(ret); /* a thread that resolves a name is not waited for */
}
