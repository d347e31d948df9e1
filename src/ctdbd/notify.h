/* What the service manager is told (systemd's notification socket). */
#ifndef CTDBD_NOTIFY_H
#define CTDBD_NOTIFY_H

#include <talloc.h>
#include <tevent.h>

/*
 * Sends text ("READY=1") to the socket named by NOTIFY_SOCKET; without that variable nothing. Never blocks; failures
 * are logged and ignored: the cluster does not depend on the service manager.
 */
void notify_send(const char *text);

/* If the service manager wants signs of life (WATCHDOG_USEC): sends them from now on. 0 or ENOMEM. */
int notify_watchdog(TALLOC_CTX *mem, struct tevent_context *ev);

#endif
