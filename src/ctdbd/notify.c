/* What the service manager is told: one datagram each. */
#include "notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "shared/log.h"
#include "shared/mono_timer.h"

void notify_send(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len = path == NULL ? 0 : strlen(path);
	int fd;

	if (len == 0) {
		return;
	}
	if ((path[0] != '/' && path[0] != '@') || len >= sizeof(addr.sun_path)) {
		log_warning("NOTIFY_SOCKET=%s is not usable: the service manager is not told; going on", path);
		return;
	}
	memcpy(addr.sun_path, path, len);
	if (path[0] == '@') {
		addr.sun_path[0] = '\0'; /* abstract name */
	}
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&addr,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0) {
		log_ratelimited(LOG_LVL_WARNING, 60000, "the service manager (%s) is not told: %s; going on", path,
				strerror(errno));
	}
	if (fd >= 0) {
		close(fd);
	}
}

struct watchdog {
	struct mono_timer *timer;
	uint64_t interval_ms;
};

static void watchdog_fire(void *priv)
{
	struct watchdog *w = priv;

	notify_send("WATCHDOG=1");
	mono_timer_set(w->timer, mono_add_ms(mono_now(), w->interval_ms));
}

/* Set for another process: the variable was inherited by mistake. */
static bool watchdog_wanted(unsigned long long *usec)
{
	const char *text = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

	if (text == NULL || (pid != NULL && strtol(pid, NULL, 10) != getpid())) {
		return false;
	}
	*usec = strtoull(text, NULL, 10);
	return *usec >= 2000;
}

int notify_watchdog(TALLOC_CTX *mem, struct tevent_context *ev)
{
	unsigned long long usec;
	struct watchdog *w;

	if (!watchdog_wanted(&usec)) {
		return 0;
	}
	w = talloc_zero(mem, struct watchdog);
	if (w == NULL) {
		return ENOMEM;
	}
	w->interval_ms = usec / 2000;
	w->timer = mono_timer_new(w, ev, watchdog_fire, w);
	if (w->timer == NULL) {
		talloc_free(w);
		return ENOMEM;
	}
	watchdog_fire(w);
	return 0;
}
