/* What this node remembers of who the others are, and its file. */
#ifndef CLUSTERD_IDENTITY_H
#define CLUSTERD_IDENTITY_H

#include "base/mono.h"
#include "clusterd.h"
#include "shared/node_id.h"

/* Counts only while address is the node's line in the nodes list. */
struct identity_node {
	bool known;
	uint8_t id[NODE_ID_BYTES];
	char *address;
};

struct identity {
	struct clusterd *cd;
	bool has_own;
	struct node_id own;
	struct identity_node v[NODES_MAX]; /* by pnn */
	/* Nodes that ask to have moved, so that one that asks for hours does not fill the log. */
	struct {
		uint32_t what; /* hash */
		struct mono until;
	} said[NODES_MAX];
	char *path;
	struct tevent_req *writing;
	bool dirty; /* changed since what is being written */
};

/* ---- identity_file.c: STATE/node-ids, a line "PNN ID ADDRESSES" for each known node ---- */
/* What is damaged is said in the log, and nobody is known: all that are linked tell it again. */
void identity_read(struct identity *t);
/* EBADMSG: v is empty then. */
int identity_parse(TALLOC_CTX *mem, const char *text, struct identity_node v[NODES_MAX]);
char *identity_text(TALLOC_CTX *mem, const struct identity_node v[NODES_MAX]);
/* Writes it in a thread, now or after what is under way. */
void identity_write(struct identity *t);

#endif
