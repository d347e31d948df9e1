/* Node identity: who a node is when its address has changed. */
#ifndef SHARED_NODE_ID_H
#define SHARED_NODE_ID_H

#include <stdint.h>
#include <talloc.h>

/*
 * A node normally is who its address says. One whose address is in no list any more (a container that was started again) says who it was, is believed
 * by what the others remember, and gets its address replaced:
 *
 * 1. STATE/node-id: "ID PNN", ID 128 random bits, made at the first start. Started as another node (the disk was copied, the list made anew): a new ID.
 * 2. clusterds tell their ID in their hello. Each remembers, in STATE/node-ids, ID and address of each node. What it remembers counts only while the list
 *    has that address: who is replaced by the administrator is forgotten, and a node that was down meanwhile does not know better. A node that comes from
 *    the right address with another ID was installed anew; it is remembered anew.
 * 3. ctdbd finds its address in no line of the nodes file, has a node-id, and links are TLS: before any daemon starts it asks the nodes of its list, one after
 *    the other, at the transport port: TLS with the cluster key, one frame MOVED, answered by LIST (protocol/link.x).
 * 4. transportd there (shared/link.h: strangers) hands it to its clusterd: the ID is the one remembered, the node is not reachable: then CHANGE_NODES REPLACE to the
 *    leader as `ctdb node replace` does it, with the ID, that the leader compares with what it remembers itself, if anything. All safety of a change is that of core/cluster_nodes.h.
 * 5. The answer has the new list; ctdbd writes its nodes file and starts as always. If it ends before: it asks again, and an active
 *    member's list has it already.
 *
 * Why that is safe. The cluster key decides who may speak at all: with it a node can do everything anyway, so the ID is no secret but keeps mistakes out. It
 * goes over TLS only, and it changes one address, nothing else. A copy (the same ID twice) is refused while the node is connected; it gives up after a while, so as not to
 * wait for the moment when the other one is started again. If it asks while the other one is off, it becomes the node, and the other one is the copy. A
 * list can only get an address that the connection came from. With security = none anybody could be anybody: refused.
 * What unauthenticated strangers cost is bounded in shared/link.h; a flood of them can keep moved nodes waiting, nobody else.
 *
 * A change of the list needs majorities, and a node without links does not count: with arbitration = majority one of two nodes cannot come back so.
 *
 * Nobody answers: it may be the first of the cluster to start, so it goes on asking. If all nodes have moved at once, nobody can be found: the nodes files have
 * to be corrected by hand.
 */
#define NODE_ID_BYTES 16
#define NODE_ID_HEX   (2 * NODE_ID_BYTES)

struct node_id {
	uint8_t id[NODE_ID_BYTES];
	uint32_t pnn;
};

/* STATE/node-id. 0; ENOENT: there is none (no *err); else errno (EBADMSG damaged) and *err naming the file and what to do. */
int node_id_load(TALLOC_CTX *mem, const char *state, struct node_id *id, char **err);
/*
 * At each normal start: makes the file if there is none, or that of another pnn. Durable, mode 0600. was: the pnn that the file had, UINT32_MAX: there was
 * none. As node_id_load(), but never for want of the file.
 */
int node_id_keep(TALLOC_CTX *mem, const char *state, uint32_t pnn, uint32_t *was, char **err);

void node_id_text(const uint8_t id[NODE_ID_BYTES], char hex[NODE_ID_HEX + 1]);
int node_id_parse(const char *hex, uint8_t id[NODE_ID_BYTES]); /* the first NODE_ID_HEX characters: lower-case hexadecimal. EINVAL */

#endif
