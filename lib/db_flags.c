/* What is set for a database on all nodes, and detaching. */
#include "internal.h"

#include <errno.h>

/* ---- detach ---- */

struct tevent_req *ctdb_detach_db_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t id)
{
	return control_db_send(mem, c, node, CLASSIC_CONTROL_DB_DETACH, id);
}

int ctdb_detach_db_recv(struct tevent_req *req)
{
	return control_done_recv(req);
}

int ctdb_detach_db(struct ctdb_client *c, uint32_t node, uint32_t id)
{
	SYNC_RETURN(c, ctdb_detach_db_send(c, c, node, id), control_done_recv(req));
}

/* ---- flags on one node ---- */

struct tevent_req *ctdb_set_db_readonly_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t id)
{
	return control_db_send(mem, c, node, CLASSIC_CONTROL_SET_DB_READONLY, id);
}

int ctdb_set_db_readonly_recv(struct tevent_req *req)
{
	return control_done_recv(req);
}

int ctdb_set_db_readonly(struct ctdb_client *c, uint32_t node, uint32_t id)
{
	SYNC_RETURN(c, ctdb_set_db_readonly_send(c, c, node, id), control_done_recv(req));
}

struct tevent_req *ctdb_set_db_sticky_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t id)
{
	return control_db_send(mem, c, node, CLASSIC_CONTROL_SET_DB_STICKY, id);
}

int ctdb_set_db_sticky_recv(struct tevent_req *req)
{
	return control_done_recv(req);
}

int ctdb_set_db_sticky(struct ctdb_client *c, uint32_t node, uint32_t id)
{
	SYNC_RETURN(c, ctdb_set_db_sticky_send(c, c, node, id), control_done_recv(req));
}

/* ---- flags: a control to each connected node; the first failure is the result, told when all have answered ---- */

struct flag_state {
	struct ctdb_client *c;
	uint32_t id, opcode;
	uint32_t n_waiting;
	int err;
};

static void flag_nodes_done(struct tevent_req *subreq);
static void flag_node_done(struct tevent_req *subreq);

static struct tevent_req *flag_send(TALLOC_CTX *mem, struct ctdb_db *db, uint32_t opcode)
{
	struct flag_state *s;
	struct tevent_req *req, *subreq;

	if (db->c == NULL) {
		return NULL;
	}
	req = tevent_req_create(mem, &s, struct flag_state);
	if (req == NULL) {
		return NULL;
	}
	*s = (struct flag_state){.c = db->c, .id = db->file->id, .opcode = opcode};
	if (db->file->model != CTDB_DB_VOLATILE) {
		tevent_req_error(req, client_fail(db->c, EPERM, "database \"%s\" is %s: this is for volatile ones",
						  db->file->name, ctdb_db_model_name(db->file->model)));
		return tevent_req_post(req, db->c->ev);
	}
	subreq = ctdb_get_nodemap_send(s, db->c, CTDB_NODE_CURRENT);
	if (tevent_req_nomem(subreq, req)) {
		return tevent_req_post(req, db->c->ev);
	}
	tevent_req_set_callback(subreq, flag_nodes_done, req);
	return req;
}

static void flag_nodes_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct flag_state *s = tevent_req_data(req, struct flag_state);
	struct ctdb_nodemap *map;
	uint32_t i;
	int err = ctdb_get_nodemap_recv(subreq, s, &map);

	talloc_free(subreq);
	if (tevent_req_error(req, err)) {
		return;
	}
	for (i = 0; i < map->n; i++) {
		if ((map->nodes[i].flags & (CTDB_NODE_DISCONNECTED | CTDB_NODE_DELETED)) != 0) {
			continue;
		}
		subreq = control_db_send(s, s->c, map->nodes[i].pnn, s->opcode, s->id);
		if (tevent_req_nomem(subreq, req)) {
			return;
		}
		tevent_req_set_callback(subreq, flag_node_done, req);
		s->n_waiting++;
	}
	if (s->n_waiting == 0) {
		tevent_req_error(req, client_fail(s->c, EHOSTUNREACH, "no node is connected"));
	}
}

static void flag_node_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct flag_state *s = tevent_req_data(req, struct flag_state);
	int err = control_done_recv(subreq);

	talloc_free(subreq);
	s->err = s->err != 0 ? s->err : err;
	if (--s->n_waiting == 0 && !tevent_req_error(req, s->err)) {
		tevent_req_done(req);
	}
}

struct tevent_req *ctdb_db_set_readonly_send(TALLOC_CTX *mem, struct ctdb_db *db)
{
	return flag_send(mem, db, CLASSIC_CONTROL_SET_DB_READONLY);
}

int ctdb_db_set_readonly_recv(struct tevent_req *req)
{
	return req_simple_recv(req);
}

int ctdb_db_set_readonly(struct ctdb_db *db)
{
	SYNC_RETURN(db->c, ctdb_db_set_readonly_send(db, db), req_simple_recv(req));
}

struct tevent_req *ctdb_db_set_sticky_send(TALLOC_CTX *mem, struct ctdb_db *db)
{
	return flag_send(mem, db, CLASSIC_CONTROL_SET_DB_STICKY);
}

int ctdb_db_set_sticky_recv(struct tevent_req *req)
{
	return req_simple_recv(req);
}

int ctdb_db_set_sticky(struct ctdb_db *db)
{
	SYNC_RETURN(db->c, ctdb_db_set_sticky_send(db, db), req_simple_recv(req));
}
