/* A daemon for test/local/test_daemon.py; environment TEST_DAEMON says how it behaves, standard output what happens. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/daemon.h"
#include "shared/log.h"

static bool loud;

static bool behave(const char *how)
{
	const char *env = getenv("TEST_DAEMON");

	return env != NULL && strcmp(env, how) == 0;
}

static int setup(struct daemon *d, char **err)
{
	printf("setup %s pnn %u of %u incarnation %d msg %d loud %d\n", d->name, d->pnn, d->nodes->n,
	       d->incarnation != 0, d->msg != NULL, loud);
	fflush(stdout);
	if (behave("setup-fails")) {
		*err = talloc_strdup(d, "no room for a pony: get a stable");
		return ENOSPC;
	}
	return behave("setup-fails-silently") ? ENOSPC : 0;
}

static void reload(struct daemon *d)
{
	printf("reload level %d slots %u nodes %u\n", d->conf->logging.level, d->conf->database.slots, d->nodes->n);
	fflush(stdout);
}

static void stop(struct daemon *d)
{
	printf("stop\n");
	fflush(stdout);
	if (behave("never-stops")) {
		return;
	}
	while (behave("hangs")) {
		usleep(1000);
	}
	daemon_exit(d, behave("bad-end") ? 5 : 0);
}

int main(int argc, char **argv)
{
	const struct daemon_switch switches[] = {{'l', "loud", &loud, "say more"}, {.name = NULL}};
	const struct daemon_ops ops = {
		.name = "test-daemon",
		.service = "test",
		.summary = "A daemon to test daemons.",
		.setup = setup,
		.reload = reload,
		.stop = behave("no-stop") ? NULL : stop,
		.switches = switches,
		.stop_limit_s = behave("never-stops") || behave("hangs") ? 1 : 10,
		.many_files = behave("many-files"),
	};

	return daemon_main(argc, argv, &ops);
}
