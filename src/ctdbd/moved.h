/* A node whose address is in no line of the nodes file: it asks the others to give it its place back. */
#ifndef CTDBD_MOVED_H
#define CTDBD_MOVED_H

#include <talloc.h>

#include "base/mono.h"
#include "protocol/link.h"
#include "shared/daemon.h"
#include "shared/link_tls.h"

/* Before anything is done: 0; ENOENT and *err (d->lost, perhaps with a hint): there is no node-id, or links are not secured; or errno of the node-id. */
int moved_possible(struct daemon *d, char **err);

/*
 * Why and when: shared/node_id.h. Before any daemon is started; waits as long as it takes, without event loop, and says once a minute for what.
 * 0: the nodes file and d->nodes have the new address, d->pnn is known, d->lost is NULL. Else errno and *err: who this node says it is was refused, or what could not be
 * read or written. SIGTERM and SIGINT end the process at once, after d was freed.
 */
int moved_rejoin(struct daemon *d, char **err);

/* ---- moved_ask.c: one node is asked ---- */
#define MOVED_CONNECT_MS 2000
#define MOVED_TLS_MS	 5000 /* handshake and question */

struct node_id;

struct moved_ask {
	struct link_tls_mesh *tls;
	const struct sockaddr_storage *own; /* NULL: the address that the kernel chooses */
	const char *second; /* NULL: there is no second address */
	uint16_t port;
	int stop_fd; /* readable: give up */
	struct node_id *id;
	char from[64]; /* result: the own address */
};

/*
 * list: below mem. 0; ECANCELED: stop_fd; or errno with why for people. A node that closes the connection or refuses it in its own words: ECONNREFUSED.
 */
int moved_ask(TALLOC_CTX *mem, struct moved_ask *ask, const struct sockaddr_storage *to, struct link_list *list, char *why, size_t room);

#endif
