/* State of changes of the nodes list, shared by cluster_nodes.c and cluster_change.c. */
#ifndef CORE_CLUSTER_NODES_INTERNAL_H
#define CORE_CLUSTER_NODES_INTERNAL_H

#include "core/cluster_internal.h"

enum cluster_change_phase {
	CLUSTER_CHANGE_NONE,
	CLUSTER_CHANGE_PREPARING, /* waits for answers */
	CLUSTER_CHANGE_DECIDED,   /* waits until the members have it in their files */
	CLUSTER_CHANGE_ADOPTING   /* waits for the node that is given the list */
};

struct cluster_nodes {
	struct cluster_list list; /* in use; below list_mem */
	TALLOC_CTX *list_mem;
	struct cluster_nodes_prepared *next;    /* prepared for; NULL: no change is under way here */
	struct cluster_nodes_prepared *pending; /* being written; counts from then on */
	bool pending_given_up;                  /* meanwhile: it will not count */
	uint32_t pending_to;                    /* who gets the answer then, CLUSTER_NODE_NONE: nobody */
	enum cluster_nodes_phase pending_phase;

	/* The files. */
	uint64_t file_hash;                      /* of the list in the file */
	struct cluster_nodes_mark file_prepared; /* next 0: none */
	bool writing;
	enum cluster_nodes_write what;
	struct cluster_nodes_mark writing_mark; /* PREPARED, LIST: what will be there */
	struct mono write_again;
	struct mono complained; /* that a file cannot be written: not each time that it is tried */

	/* Leading. */
	struct {
		enum cluster_change_phase phase;
		bool asked; /* somebody waits for done() */
		uint32_t number;
		uint32_t target; /* pnn that it is about */
		struct mono since, next_send;
		bool answered[NODES_MAX];
		bool told[NODES_MAX]; /* may have written it down */
		char text[256]; /* why it does not get on; "": it does, as far as is known */
	} change;
	uint32_t number; /* last used in this term */
	uint64_t number_term;
	struct mono carry_on_at; /* not before */
};

/* ---- cluster_nodes.c ---- */
int cluster_list_copy(TALLOC_CTX *mem, const struct cluster_list *from, struct cluster_list *to);
struct cluster_nodes_prepared *cluster_prepared_make(struct cluster *c, const char *text, char **err, TALLOC_CTX *mem);
/* The node in which they differ: 0; else EINVAL (more than one, or nodes are missing) or EALREADY (none). */
int cluster_list_difference(const struct cluster_list *a, const struct cluster_list *b, uint32_t *pnn);
/* Below the core, takes it over: written, then it counts. False: something else is being written. */
bool cluster_nodes_prepare(struct cluster *c, struct cluster_nodes_prepared *p, uint32_t answer_to,
			   enum cluster_nodes_phase phase);
void cluster_nodes_forget(struct cluster *c);
void cluster_nodes_give_up(struct cluster *c); /* also what is being written */
void cluster_nodes_switch(struct cluster *c, struct mono now);
void cluster_nodes_sync(struct cluster *c, struct mono now);
void cluster_nodes_step_send(struct cluster *c, struct mono now, uint32_t to, enum cluster_nodes_phase phase,
			     const struct cluster_nodes_mark *change, uint64_t from_digest, const char *text);
bool cluster_mark_above(const struct cluster_nodes_mark *a, uint64_t term, uint32_t number);

/* ---- cluster_change.c ---- */
void cluster_nodes_abort_send(struct cluster *c, struct mono now, uint32_t to);

#endif
