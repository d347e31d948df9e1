/* Changes of the nodes list while the cluster runs, as pure code: part of the cluster core (core/cluster.h). */
#ifndef CORE_CLUSTER_NODES_H
#define CORE_CLUSTER_NODES_H

#include <stdbool.h>
#include <stdint.h>
#include <talloc.h>

#include "base/mono.h"

struct cluster;

/*
 * A change leads from one list to another one that differs from it in one node: added at the end, removed (its pnn stays, deleted),
 * or moved (another address; also a deleted one that comes back). Only a leader with a mandate runs one, one at a time.
 *
 *   PREPARE  the leader, then all reachable nodes write the new list beside the old one (synced) before they answer: from then on a
 *            node is "prepared". Leaders are elected and acknowledged by majorities of the list in use still. The node that the
 *            change is about gets no lease.
 *   decide   all members of the view and majorities of both lists are prepared, and nobody holds a lease that the change takes away:
 *            the leader switches to the new list. That is told by nodes_hash in all its packets; who is prepared for that very list
 *            and sees it switches too. The file follows; a node that is cut off in between is still prepared when it starts.
 *   abort    refused or no answer in time, and not decided: the leader forgets it and says so until nobody is prepared any more.
 *
 * Each change has a mark (term, number) of the leader that ran it last; a node takes only higher ones.
 *
 * INVARIANTS (test/sim/test_cluster_nodes.c, test_nodes_history.c)
 *
 * 1 Any two majorities that can elect or acknowledge leaders at the same time have a node in common. (Lists that follow each other
 *   differ in one node: any majority of one has a node in common with any of the other. Before a change to a list C can be decided,
 *   a majority of the list B that it starts from uses B; so each majority of the list A before B has a node that uses B or a
 *   later list. It does not answer to those who have only A, and who is prepared for B and hears it switches to B.)
 * 2 What is decided is not lost. (A majority of either list is prepared or further. Who is prepared votes only for candidates whose mark
 *   is as high or that have the new list; others are told of the change, write it down and may stand then. So a new leader by majority
 *   knows each change that can have been decided, and carries it on under its own mark; a change it does not know was not, and
 *   never will be: it aborts it.)
 * 3 The majority of the new list is there for the cluster to go on with it when it is decided.
 * 4 Without a majority (none, lock, etcd) a leader that hears of a change always carries it on.
 * 5 A node at no time forgets both lists: the new one is written before the mark is told, the file is replaced as a whole, and what
 *   was prepared is removed only then.
 * 6 Who has neither list of another node (after the above a node that was down, or whose file was edited) is kept out, by both sides.
 * 7 A node that is removed or moved is not in the view and holds no lease when the change is decided, and gets none from a prepared leader.
 *
 * A list of one node becomes one of two without the new one's answer: it can only start when it is on the list. The cluster has no majority until it does.
 */

struct cluster_node_config {
	bool deleted;
	const char *address;
	const char *more; /* further addresses; NULL: none */
};

struct cluster_list {
	uint64_t hash; /* digest of this list and of the options that all have to have alike */
	uint32_t n;    /* 1..NODES_MAX, index = pnn */
	const struct cluster_node_config *nodes;
	const char *text; /* as in the file; NULL: no changes are possible */
};

/* A change that was written down and is not known to be decided. */
struct cluster_nodes_prepared {
	uint64_t term; /* its mark */
	uint32_t number;
	uint64_t from; /* hash of the list that it starts from */
	struct cluster_list to;
};

enum cluster_nodes_write {
	CLUSTER_NODES_WRITE_PREPARED, /* beside the list, synced */
	CLUSTER_NODES_WRITE_LIST,     /* to.text becomes the list, synced; then what was prepared is removed */
	CLUSTER_NODES_WRITE_FORGET    /* what was prepared is removed */
};

/* Outputs; as struct cluster_ops. All NULL: no changes are possible. */
struct cluster_nodes_ops {
	/* text as a list, below mem. 0 or errno with *err, below mem, saying what is wrong. The same answer for the same text. */
	int (*parse)(void *priv, TALLOC_CTX *mem, const char *text, struct cluster_list *list, char **err);
	/* Answered by cluster_nodes_written(); one at a time. prepared is valid until the call returns. */
	void (*write)(void *priv, enum cluster_nodes_write what, const struct cluster_nodes_prepared *prepared);
	/* The list in use is another one: cluster_nodes_list(). */
	void (*changed)(void *priv);
	/* How cluster_nodes_change() or cluster_nodes_adopt() ended. */
	void (*done)(void *priv, bool done, const char *text);
};

/* Inputs. */
void cluster_nodes_written(struct cluster *c, struct mono now, int ret, const char *why);
/*
 * Begins a change to the list in text. 0: done() will be called, with what has become of it. Else it is refused and nothing is done, *why
 * (below mem) says why and what to do: ESTALE this node does not lead, EBUSY another one is under way, EINVAL, EBUSY, EHOSTUNREACH.
 * With dry_run nothing is done in any case.
 */
int cluster_nodes_change(struct cluster *c, struct mono now, TALLOC_CTX *mem, const char *text, bool dry_run, char **why);
/* Gives the list in use to a node that is kept out because it has another one. As above. */
int cluster_nodes_adopt(struct cluster *c, struct mono now, TALLOC_CTX *mem, uint32_t pnn, char **why);
/* What a node that differs was found to differ in: for status and verdict. */
void cluster_nodes_explain(struct cluster *c, uint32_t pnn, const char *text);

/* Answers, valid until the next input. */
const struct cluster_list *cluster_nodes_list(const struct cluster *c);
/* The change that this node is prepared for; NULL: none. */
const struct cluster_nodes_prepared *cluster_nodes_prepared(const struct cluster *c);
uint64_t cluster_nodes_digest_of(const struct cluster *c, uint32_t pnn); /* as it told last */
bool cluster_nodes_differs(const struct cluster *c, struct mono now, uint32_t pnn); /* reachable, but has another list */

#endif
