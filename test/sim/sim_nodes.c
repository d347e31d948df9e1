/* Simulated cluster: nodes files, and what is written beside them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "cluster_sim.h"

static uint64_t hash_of(const char *text)
{
	return hash_fnv1a64(HASH_FNV1A64, text, strlen(text)) | 1;
}

int sim_nodes_parse(void *priv, TALLOC_CTX *mem, const char *text, struct cluster_list *list, char **err)
{
	struct cluster_node_config *nodes = talloc_zero_array(mem, struct cluster_node_config, NODES_MAX);
	char *copy = talloc_strdup(nodes, text), *save = NULL;

	if (nodes == NULL || copy == NULL) {
		abort();
	}
	*list = (struct cluster_list){.hash = hash_of(text), .nodes = nodes, .text = talloc_strdup(nodes, text)};
	for (char *w = strtok_r(copy, " ", &save); w != NULL && list->n < NODES_MAX; w = strtok_r(NULL, " ", &save)) {
		nodes[list->n].deleted = w[0] == '-';
		nodes[list->n++].address = w[0] == '-' ? w + 1 : w;
	}
	if (list->n == 0) {
		*err = talloc_strdup(mem, "no nodes");
		return EINVAL;
	}
	return 0;
}

void sim_nodes_write(void *priv, enum cluster_nodes_write what, const struct cluster_nodes_prepared *prepared)
{
	struct sim_node *n = priv;
	struct sim_file *f = &n->file;

	f->what = what;
	talloc_free(f->writing);
	f->writing = prepared == NULL ? NULL : talloc_strdup(n->sim, prepared->to.text);
	f->writing_term = prepared == NULL ? 0 : prepared->term;
	f->writing_number = prepared == NULL ? 0 : prepared->number;
	f->writing_from = prepared == NULL ? 0 : prepared->from;
	sim_schedule(n->sim, n->sim->now + n->sim->write_ns / 4 + sim_random(n->sim, 4 * n->sim->write_ns),
		     SIM_NODES_WRITTEN, n->pnn, 0);
}

static void set(char **to, char *from)
{
	talloc_free(*to);
	*to = from;
}

void sim_nodes_on_disk(struct sim_node *n)
{
	struct sim_file *f = &n->file;

	if (f->read_only) {
		return;
	}
	switch (f->what) {
	case CLUSTER_NODES_WRITE_PREPARED:
		set(&f->prepared, f->writing);
		f->term = f->writing_term;
		f->number = f->writing_number;
		f->from = f->writing_from;
		f->writing = NULL;
		break;
	case CLUSTER_NODES_WRITE_LIST:
		set(&f->text, f->writing);
		f->writing = NULL;
		/* Two files: a machine may stop between them. */
		if (sim_random(n->sim, 2) == 0 || n->c != NULL) {
			set(&f->prepared, NULL);
		}
		break;
	case CLUSTER_NODES_WRITE_FORGET:
		set(&f->prepared, NULL);
		break;
	}
}

void sim_nodes_heard(struct sim_node *n)
{
	cluster_nodes_written(n->c, (struct mono){sim_local(n, n->sim->now)}, n->file.read_only ? EROFS : 0,
			      n->file.read_only ? "cannot be written: read-only file system" : "");
}

/* Other daemons use it too: links to nodes that are new. */
void sim_nodes_changed(void *priv)
{
	struct sim_node *n = priv;

	for (uint32_t p = 0; p < n->sim->opt.nodes; p++) {
		if (p != n->pnn && sim_connected(n->sim, n->pnn, p)) {
			sim_schedule(n->sim, n->sim->now + sim_random(n->sim, 30 * MS), SIM_LINK, n->pnn, p);
		}
	}
}

void sim_nodes_done(void *priv, bool done, const char *text)
{
	struct sim_node *n = priv;

	n->file.ended = true;
	n->file.done = done;
	snprintf(n->file.said, sizeof(n->file.said), "%s", text);
}

void sim_nodes_set(struct sim *s, uint32_t pnn, const char *text)
{
	set(&s->nodes[pnn].file.text, talloc_strdup(s, text));
	set(&s->nodes[pnn].file.prepared, NULL);
}

void sim_nodes_config(struct sim_node *n, struct cluster_config *config)
{
	struct sim_file *f = &n->file;
	struct cluster_nodes_prepared *prepared;
	struct cluster_list list;
	char *err = NULL;

	if (f->text == NULL) {
		return;
	}
	if (sim_nodes_parse(n, f->text, f->text, &list, &err) != 0 || list.n <= n->pnn) {
		abort();
	}
	config->n = list.n;
	config->nodes = list.nodes;
	config->nodes_hash = list.hash;
	config->nodes_text = list.text;
	/* As clusterd does at its start: the list has it already. */
	if (f->prepared == NULL || strcmp(f->prepared, f->text) == 0) {
		set(&f->prepared, NULL);
		return;
	}
	prepared = talloc_zero(f->text, struct cluster_nodes_prepared);
	prepared->term = f->term;
	prepared->number = f->number;
	prepared->from = f->from;
	if (sim_nodes_parse(n, f->text, f->prepared, &prepared->to, &err) != 0) {
		abort();
	}
	config->prepared = prepared;
}
