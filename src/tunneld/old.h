/* The connection to the existing ctdbd of this node: the client side of the classic protocol, as far as packets to other nodes need it. */
#ifndef TUNNELD_OLD_H
#define TUNNELD_OLD_H

#include <stdbool.h>
#include <stdint.h>
#include <talloc.h>
#include <tevent.h>

/*
 * States:
 *   WAIT    no connection; the next attempt after a pause that doubles with each failure, up to OLD_RETRY_MAX_MS
 *   ASKED   connected; asked for the node number, a registration of our srvid and one of our tunnel id. OLD_ANSWER_MS for all three
 *   READY   all were answered: ready() was called
 * Any error: WAIT, with lost() if it was READY, and one log line for each failure that is another one than before.
 *
 * A daemon that refuses the tunnel id (older than tunnels, or somebody else holds it) gets messages instead.
 *
 * What comes in is bounded: a packet longer than ours can be is skipped, not stored; at most OLD_READ_MAX bytes are handled in one event. What
 * goes out is bounded by who sends (windows), and in any case by OLD_QUEUE_MAX: a daemon that lets that much wait is as good as dead.
 */
#define OLD_RETRY_MAX_MS 1000U
#define OLD_ANSWER_MS	 5000U
#define OLD_PACKET_MAX	 (128U << 10)
#define OLD_READ_MAX	 (512U << 10)
#define OLD_QUEUE_MAX	 (512U << 20)

struct old_daemon;

struct old_ops {
	void (*ready)(void *priv, bool tunnel); /* tunnel: packets by tunnel reach us */
	void (*lost)(void *priv, int reason);
	void (*packet)(void *priv, const uint8_t *data, size_t len); /* data of a message or tunnel packet for us; valid until return */
	void (*turn)(void *priv);				      /* all packets of one event were handed over */
};

/* Connects when the loop runs. pnn: the number that it must have. NULL with errno. Freeing it closes the connection. */
struct old_daemon *old_new(TALLOC_CTX *mem, struct tevent_context *ev, const char *path, uint32_t pnn, const struct old_ops *ops,
			   void *priv);

/* Queues and writes what the socket takes. 0; ENOTCONN not READY; ENOBUFS; ENOMEM. Calls none of ops: a failure shows in the loop. */
int old_send(struct old_daemon *o, uint32_t pnn, bool by_tunnel, const uint8_t *data, size_t len);
size_t old_queued(const struct old_daemon *o);
/* Something has come in that was not read yet. */
bool old_unread(const struct old_daemon *o);

#endif
