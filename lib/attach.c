/* Attaching: the daemon makes the database known in the cluster, then this node's file is opened. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <tdb.h>

struct attach_state {
	struct ctdb_client *c;
	const char *name;
	enum ctdb_db_model model;
	uint32_t id;
	char *path;
	struct ctdb_db *db;
};

static void attach_done(struct tevent_req *subreq);
static void attach_list_done(struct tevent_req *subreq);
static void attach_health_done(struct tevent_req *subreq);
static void attach_path_done(struct tevent_req *subreq);
static void attach_flags_done(struct tevent_req *subreq);

struct tevent_req *ctdb_db_attach_send(TALLOC_CTX *mem, struct ctdb_client *c, const char *name,
				       enum ctdb_db_model model)
{
	static const uint32_t opcodes[] = {
		[CTDB_DB_VOLATILE] = CLASSIC_CONTROL_DB_ATTACH,
		[CTDB_DB_PERSISTENT] = CLASSIC_CONTROL_DB_ATTACH_PERSISTENT,
		[CTDB_DB_REPLICATED] = CLASSIC_CONTROL_DB_ATTACH_REPLICATED,
	};
	struct attach_state *s;
	struct tevent_req *req = tevent_req_create(mem, &s, struct attach_state), *subreq;

	if (req == NULL) {
		return NULL;
	}
	*s = (struct attach_state){.c = c, .model = model, .name = talloc_strdup(s, name)};
	if (tevent_req_nomem(s->name, req)) {
		return tevent_req_post(req, c->ev);
	}
	if (name[0] == '\0' || strchr(name, '/') != NULL || (unsigned int)model > CTDB_DB_REPLICATED) {
		tevent_req_error(req, client_fail(c, EINVAL, "\"%s\" cannot be the name of a database", name));
		return tevent_req_post(req, c->ev);
	}
	subreq = control_send(s, c, CTDB_NODE_CURRENT, opcodes[model], 0, data_of(name, strlen(name) + 1));
	if (tevent_req_nomem(subreq, req)) {
		return tevent_req_post(req, c->ev);
	}
	tevent_req_set_callback(subreq, attach_done, req);
	return req;
}

/* The next question; each step's answer leads to the next. */
static void attach_ask(struct tevent_req *req, struct tevent_req *subreq, tevent_req_fn done)
{
	if (!tevent_req_nomem(subreq, req)) {
		tevent_req_set_callback(subreq, done, req);
	}
}

static void attach_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct attach_state *s = tevent_req_data(req, struct attach_state);
	int err = control_u32_recv(subreq, &s->id);

	talloc_free(subreq);
	if (!tevent_req_error(req, err)) {
		attach_ask(req, ctdb_list_dbs_send(s, s->c, CTDB_NODE_CURRENT), attach_list_done);
	}
}

/* The daemon lets a database of another model be attached as volatile: look what it is. */
static void attach_list_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct attach_state *s = tevent_req_data(req, struct attach_state);
	struct ctdb_db_list *list = NULL;
	enum ctdb_db_model model = s->model;
	struct db_file *f;
	uint32_t i;
	int err = ctdb_list_dbs_recv(subreq, s, &list);

	talloc_free(subreq);
	if (tevent_req_error(req, err)) {
		return;
	}
	for (i = 0; i < list->n; i++) {
		if (list->dbs[i].id == s->id) {
			model = ctdb_db_flags_model(list->dbs[i].flags);
		}
	}
	if (model != s->model) {
		err = client_fail(s->c, EEXIST, "database \"%s\" exists as a %s one, not as %s", s->name,
				  ctdb_db_model_name(model), ctdb_db_model_name(s->model));
		tevent_req_error(req, err);
		return;
	}
	f = db_file_find(s->c, s->id);
	if (f == NULL) {
		attach_ask(req, ctdb_get_db_health_send(s, s->c, CTDB_NODE_CURRENT, s->id), attach_health_done);
		return;
	}
	s->db = db_handle_new(s, s->c, f);
	if (!tevent_req_nomem(s->db, req)) {
		tevent_req_done(req);
	}
}

static void attach_health_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct attach_state *s = tevent_req_data(req, struct attach_state);
	char *reason = NULL;
	int err = ctdb_get_db_health_recv(subreq, s, &reason);

	talloc_free(subreq);
	if (err == 0 && reason[0] != '\0') {
		err = client_fail(s->c, EIO, "database \"%s\" is unhealthy: %s", s->name, reason);
	}
	if (!tevent_req_error(req, err)) {
		attach_ask(req, ctdb_get_db_path_send(s, s->c, CTDB_NODE_CURRENT, s->id), attach_path_done);
	}
}

static void attach_path_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct attach_state *s = tevent_req_data(req, struct attach_state);
	int err = ctdb_get_db_path_recv(subreq, s, &s->path);

	talloc_free(subreq);
	if (!tevent_req_error(req, err)) {
		attach_ask(req, ctdb_get_db_open_flags_send(s, s->c, CTDB_NODE_CURRENT, s->id), attach_flags_done);
	}
}

static void attach_flags_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);
	struct attach_state *s = tevent_req_data(req, struct attach_state);
	struct db_file *f;
	int flags, err = ctdb_get_db_open_flags_recv(subreq, &flags);

	talloc_free(subreq);
	if (tevent_req_error(req, err)) {
		return;
	}
	f = db_file_find(s->c, s->id); /* another request may have opened it meanwhile */
	if (f == NULL) {
		err = db_file_open(s->c, s->id, s->name, s->model, s->path, flags, &f);
		if (tevent_req_error(req, err)) {
			return;
		}
	}
	s->db = db_handle_new(s, s->c, f);
	if (!tevent_req_nomem(s->db, req)) {
		tevent_req_done(req);
	}
}

int ctdb_db_attach_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_db **db)
{
	struct attach_state *s = tevent_req_data(req, struct attach_state);
	int err;

	if (req_failed(req, &err)) {
		return err;
	}
	*db = talloc_steal(mem, s->db);
	return 0;
}

int ctdb_db_attach(struct ctdb_client *c, const char *name, enum ctdb_db_model model, TALLOC_CTX *mem,
		   struct ctdb_db **db)
{
	struct tevent_req *req = SYNC_SEND(c, ctdb_db_attach_send(mem, c, name, model));
	int err = sync_run(c, req);

	if (err == 0) {
		err = ctdb_db_attach_recv(req, mem, db);
		talloc_free(req);
	}
	return err;
}
