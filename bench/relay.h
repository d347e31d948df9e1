/* A yardstick for message-ring and fetch-ring: the same packets on the same way, with a relay that does nothing in the
 * daemon's place. */
#ifndef BENCH_RELAY_H
#define BENCH_RELAY_H

#include "crew.h"

/*
 * A relay process on each node, with a stream socket to the one client and a TCP connection to each other relay, as a
 * daemon has them. It waits (epoll), reads once, writes once. So a ring of relays costs what sockets and wake-ups cost.
 *
 * message-ring: client, relay, relay of the next node, client. fetch-ring: the same, and then the packets by which a
 * record moves when nobody else wants it: client, relay, location master (the first node), owner, relay, client; what
 * is on one node is no hop.
 */
extern const struct crew_work relay_message_work, relay_fetch_work;

#endif
