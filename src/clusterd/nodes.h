/* The nodes list at run time: its files, its changes, and who is told. */
#ifndef CLUSTERD_NODES_H
#define CLUSTERD_NODES_H

#include "clusterd.h"

/*
 * Beside the nodes file (where a symbolic link leads, if it is one) lies FILE.next while a change is under way: the new
 * list behind three lines that say which change it is. Both are replaced as a whole and synced. The change is decided
 * when the nodes file itself has the new list: then FILE.next is removed.
 */
struct nodes_file {
	char *path, *next_path;
};

/* What FILE.next says. */
struct nodes_next {
	uint64_t term, from, to;
	uint32_t number;
	char *text;
};

/* errno and *err naming the file if the path cannot be resolved. */
int nodes_file_init(TALLOC_CTX *mem, const char *path, struct nodes_file *f, char **err);
/* 0; ENOENT there is none; else *err says what is the matter and what to do. */
int nodes_next_read(TALLOC_CTX *mem, const struct nodes_file *f, struct nodes_next *next, char **err);
int nodes_next_parse(TALLOC_CTX *mem, const char *text, struct nodes_next *next); /* 0, EBADMSG, ENOMEM */
char *nodes_next_make(TALLOC_CTX *mem, const struct nodes_next *next);
void nodes_next_remove(const struct nodes_file *f);

/* In a thread. text: contents of FILE.next, or of FILE, by what. */
struct tevent_req *nodes_write_send(TALLOC_CTX *mem, struct tevent_context *ev, const struct nodes_file *f,
				    enum cluster_nodes_write what, const char *text);
/* The file that is being written; before _recv. */
const char *nodes_write_path(struct tevent_req *req);
/* 0, or errno with *err, below mem, naming the file and what to do. */
int nodes_write_recv(struct tevent_req *req, TALLOC_CTX *mem, char **err);

/* ---- nodes.c ---- */
struct nodes {
	struct clusterd *cd;
	struct nodes_file file;
	struct tevent_req *writing;
	struct mono writing_since;
	bool write_hangs; /* it was said */
	char *wrote; /* text under way */
	enum cluster_nodes_write what;
	struct dlist tells;        /* daemons that are to read the file again */
	struct mono_timer *timer;  /* looks for nodes that differ */
	uint64_t asked[NODES_MAX]; /* digest of the node that was asked for its list */
	struct tevent_req *asking[NODES_MAX];
	uint64_t said[NODES_MAX]; /* digest of what was logged of it last, and when */
	struct mono said_at[NODES_MAX];
	struct nodes_change *change; /* nodes_change.c */
};

/* Digest of what all nodes must have alike. */
uint64_t nodes_digest(const struct conf *conf, const struct conf_nodes *nodes);
/* "10.0.0.1,10.1.0.1"; below mem */
char *nodes_line(TALLOC_CTX *mem, const struct conf_node *node);

/* ---- nodes_text.c: lists as text, line by line, so that what a user wrote stays ---- */
/* Line of pnn replaced, or appended if pnn is the number of nodes; NULL: no memory. */
char *nodes_text_set(TALLOC_CTX *mem, const char *text, uint32_t pnn, const char *line);
/* How b differs from a, for people: "line 3 (node 2) is "x" there and "y" here". NULL: it does not. */
char *nodes_text_difference(TALLOC_CTX *mem, const struct conf_nodes *here, const struct conf_nodes *there);

/* ---- nodes_change.c ---- */
int nodes_change_start(struct nodes *n);
/* After each input: who waits for a leader that is none any more is told. */
void nodes_change_look(struct nodes *n);
void nodes_change_fill(struct cluster_server *server);
/* The core's word about the change that was begun; must not call the core. */
void nodes_change_done(struct nodes *n, bool done, const char *text);

#endif
