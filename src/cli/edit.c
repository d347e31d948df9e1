/* Changing a whole database on all nodes at once. */
#include "edit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "protocol/classic_native.h"
#include "walk.h"

#define PORTION_BYTES (1024U * 1024U)
#define MESSAGE_BYTES (256U * 1024U)
#define STEP_MS       120000U /* freezing waits for clients that hold records */
#define RECOVERY_MS   60000U
#define PIECE_MS      200U
#define LOOK_MS       100U
#define BEGIN_MS      3000U /* until a recovery that a thawed database needs has begun */
#define CLIENT_RANGE  0xBE00000000000000ULL

struct edit {
	struct cli *cli;
	struct db_info db;
	uint32_t n;
	uint32_t nodes[EDIT_NODES_MAX];
	uint32_t generation;
	struct ctdb_vnnmap *map;
	uint64_t srvid, seqnum;
	bool frozen, committed;
	bool ending; /* signals and the user's time-out do not matter any more: what was begun comes to its end */
	bool pushing;
	size_t portion;
	/* Records for a node that are not sent yet: rec_buffer. */
	struct {
		uint8_t *buf;
		size_t len;
		uint32_t n, portion_n;
	} out[EDIT_NODES_MAX];
};

/* ---- one control to all nodes at once ---- */

struct answers {
	struct edit *e;
	uint32_t waiting;
	bool stop;
	uint32_t n_good;
	bool unknown;                    /* of some it is not known whether they have done it */
	uint32_t values[EDIT_NODES_MAX]; /* of answers with a u32 */
	char error[512];                 /* of the first that failed */
};

struct asked {
	struct answers *a;
	uint32_t i;
};

/* The daemon's answer for a node that gave none. */
static bool was_lost(const struct ctdb_control_reply *r)
{
	return r->error != NULL && (strstr(r->error, "disconnected") != NULL || strstr(r->error, "timed out") != NULL);
}

static void answered(struct tevent_req *req)
{
	struct asked *q = tevent_req_callback_data(req, struct asked);
	struct answers *a = q->a;
	struct ctdb_control_reply *r = NULL;
	int err = ctdb_control_recv(req, q, &r);

	if (err == 0 && r->status == 0) {
		a->n_good++;
		if (r->data.len == sizeof(uint32_t)) {
			memcpy(&a->values[q->i], r->data.data, sizeof(uint32_t));
		}
	} else {
		a->unknown = a->unknown || err != 0 || was_lost(r);
	}
	if ((err != 0 || r->status != 0) && a->error[0] == '\0') {
		snprintf(a->error, sizeof(a->error), "node %u: %s", a->e->nodes[q->i],
			 err != 0                               ? strerror(err)
			 : r->error != NULL && r->error[0] != 0 ? r->error
								: "it refused");
	}
	talloc_free(req);
	talloc_free(q);
	a->waiting--;
	a->stop = a->waiting == 0;
}

static bool stopped(const struct edit *e)
{
	return !e->ending && walk_interrupted();
}

static int interrupted(struct edit *e)
{
	return cli_fail(e->cli, EXIT_ERROR, "database \"%s\": interrupted, nothing was changed", e->db.name);
}

/* What the user said, or as long as such a step may take. */
static uint32_t limit_ms(const struct edit *e, uint32_t usual)
{
	return e->cli->opt.timeout_given && !e->ending ? e->cli->opt.timeout_ms : usual;
}

/* What comes, until all have answered: each request has its time-out. */
static int wait_for_answers(struct edit *e, struct answers *a)
{
	int err = 0;

	while (a->waiting > 0 && (err == 0 || err == ETIMEDOUT || err == EINTR) && !stopped(e)) {
		err = ctdb_client_wait(e->cli->c, PIECE_MS, &a->stop);
	}
	a->unknown = a->unknown || a->waiting > 0;
	return err;
}

/* 0: all said yes. Else an exit code; what is the text's begin. */
static int ask(struct edit *e, uint32_t opcode, const void *data, size_t len, const char *what, struct answers *a)
{
	struct ctdb_control control = {.opcode = opcode, .data = {.data = data, .len = len}};
	TALLOC_CTX *mem = talloc_new(e); /* what is not answered in the end is cancelled with it */
	int err;

	*a = (struct answers){.e = e};
	ctdb_client_set_timeout(e->cli->c, limit_ms(e, STEP_MS));
	for (uint32_t i = 0; i < e->n; i++) {
		struct asked *q = talloc(mem, struct asked);
		struct tevent_req *req;

		control.node = e->nodes[i];
		req = q != NULL ? ctdb_control_send(q, e->cli->c, &control) : NULL;
		if (req == NULL) {
			snprintf(a->error, sizeof(a->error), "out of memory");
			continue;
		}
		*q = (struct asked){.a = a, .i = i};
		a->waiting++;
		tevent_req_set_callback(req, answered, q);
	}
	err = wait_for_answers(e, a);
	talloc_free(mem);
	ctdb_client_set_timeout(e->cli->c, e->cli->opt.timeout_ms);
	if (stopped(e)) {
		return interrupted(e);
	}
	if (a->n_good == e->n && e->n > 0) {
		return 0;
	}
	return cli_fail(e->cli, err == ENOTCONN ? EXIT_NO_DAEMON : EXIT_ERROR, "%s: %s", what,
			a->error[0] != '\0' ? a->error
			: e->n == 0         ? "no node is active"
			: err != ENOTCONN   ? strerror(err)
					    : "the connection to the daemon was lost");
}

static int ask_db(struct edit *e, uint32_t opcode, const char *what)
{
	struct answers a;

	return ask(e, opcode, &e->db.id, sizeof(e->db.id), what, &a);
}

/* With the transaction's number: that of the generation. */
static int ask_transaction(struct edit *e, uint32_t opcode, const char *what, struct answers *a)
{
	const uint32_t payload[2] = {e->db.id, e->generation};

	return ask(e, opcode, payload, sizeof(payload), what, a);
}

/* ---- begin ---- */

static int find_nodes(struct edit *e)
{
	struct ctdb_nodemap *map = NULL;
	int err = ctdb_get_nodemap(e->cli->c, CTDB_NODE_CURRENT, e, &map);

	err = err != 0 ? err : ctdb_get_vnnmap(e->cli->c, CTDB_NODE_CURRENT, e, &e->map);
	if (err != 0) {
		return cli_fail_api(e->cli, err, "cannot list nodes");
	}
	e->n = 0;
	for (uint32_t i = 0; i < map->n; i++) {
		const struct ctdb_node *node = &map->nodes[i];

		if ((node->flags & CTDB_NODE_INACTIVE) == 0 && e->n < EDIT_NODES_MAX) {
			e->nodes[e->n++] = node->pnn;
		} else if (node->pnn == ctdb_client_pnn(e->cli->c)) {
			return cli_fail(e->cli, EXIT_ERROR, "this node is %s: do it on one that is active",
					node_flags_text(node->flags, false, false));
		}
	}
	e->generation = e->map->generation;
	return 0;
}

/* The cluster is in normal operation: 0; EAGAIN: a recovery runs; or an exit code below 0. */
static int look(struct edit *e)
{
	enum ctdb_recmode mode = CTDB_RECMODE_ACTIVE;
	int err = ctdb_get_recmode(e->cli->c, CTDB_NODE_CURRENT, &mode), code;

	if (err != 0) {
		return -cli_fail_api(e->cli, err, "cannot ask whether a recovery runs");
	}
	code = find_nodes(e);
	if (code != 0) {
		return -code;
	}
	return mode == CTDB_RECMODE_NORMAL && e->generation != CTDB_GENERATION_INVALID && e->map->size > 0 ? 0 : EAGAIN;
}

/* Waits until it is, and the generation is another one than that given. */
static int wait_normal(struct edit *e, uint32_t other_than)
{
	uint32_t waited = 0, limit = limit_ms(e, RECOVERY_MS);
	int ret;

	for (;;) {
		if (stopped(e)) {
			return interrupted(e);
		}
		ret = look(e);
		if (ret < 0 || (ret == 0 && e->generation != other_than)) {
			return -ret;
		}
		if (waited >= limit) {
			return cli_fail(e->cli, EXIT_TIMEOUT,
					"a recovery has not ended for %u s: see ctdb cluster status", limit / 1000);
		}
		usleep(LOOK_MS * 1000);
		waited += LOOK_MS;
	}
}

static int find_seqnum(struct edit *e)
{
	for (uint32_t i = 0; i < e->n && ctdb_db_flags_model(e->db.flags) != CTDB_DB_VOLATILE; i++) {
		uint64_t seqnum = 0;
		int err = ctdb_get_db_seqnum(e->cli->c, e->nodes[i], e->db.id, &seqnum);

		if (err != 0) {
			return cli_fail_api(e->cli, err, "node %u: database \"%s\"", e->nodes[i], e->db.name);
		}
		e->seqnum = seqnum > e->seqnum ? seqnum : e->seqnum;
	}
	return 0;
}

static int edit_new(struct cli *cli, const struct db_info *db, struct edit **out)
{
	struct edit *e = talloc_zero(cli->c, struct edit);

	if (e == NULL) {
		return cli_fail(cli, EXIT_ERROR, "out of memory");
	}
	e->cli = cli;
	e->db = *db;
	e->srvid = CLIENT_RANGE | ((uint64_t)(random() & 0xFFFFFF) << 32) | (uint32_t)getpid();
	*out = e;
	return 0;
}

/* All nodes or none. */
static int freeze(struct edit *e)
{
	char error[sizeof(e->cli->error)];
	int code = ask_db(e, CLASSIC_CONTROL_DB_FREEZE, "the database cannot be frozen, nothing was changed");

	if (code == 0) {
		e->frozen = true;
		return 0;
	}
	memcpy(error, e->cli->error, sizeof(error));
	e->ending = true;
	(void)ask_db(e, CLASSIC_CONTROL_DB_THAW, "");
	memcpy(e->cli->error, error, sizeof(error));
	return code;
}

int edit_begin(struct cli *cli, const struct db_info *db, struct edit **out)
{
	struct answers a;
	struct edit *e;
	int code = edit_new(cli, db, &e);

	if (code != 0) {
		return code;
	}
	code = wait_normal(e, CTDB_GENERATION_INVALID);
	code = code != 0 ? code : find_seqnum(e);
	code = code != 0 ? code : freeze(e);
	if (code == 0) {
		code = ask_transaction(e, CLASSIC_CONTROL_DB_TRANSACTION_START,
				       "the database cannot be changed, nothing was", &a);
		code = code != 0 ? edit_end(e, code) : 0;
	} else {
		talloc_free(e);
	}
	if (code == 0) {
		*out = e;
	}
	return code;
}

int edit_wipe(struct edit *e)
{
	struct answers a;

	return ask_transaction(e, CLASSIC_CONTROL_WIPE_DATABASE, "the database cannot be emptied, nothing was changed",
			       &a);
}

/* ---- records ---- */

static int push_start(struct edit *e)
{
	struct classic_pulldb_ext arg = {.db_id = e->db.id, .lmaster = CTDB_NODE_UNKNOWN, .srvid = e->srvid};
	struct ctdb_blob blob;
	struct answers a;

	if (classic_pulldb_ext_nencode(e, &arg, &blob) != 0) {
		return cli_fail(e->cli, EXIT_ERROR, "out of memory");
	}
	for (uint32_t i = 0; i < e->n; i++) {
		e->out[i].portion_n = 0;
	}
	e->portion = 0;
	e->pushing = true;
	return ask(e, CLASSIC_CONTROL_DB_PUSH_START, blob.data, blob.len, "records cannot be sent, nothing was changed",
		   &a);
}

static int send_out(struct edit *e, uint32_t i)
{
	struct ctdb_data d = {.data = e->out[i].buf, .len = e->out[i].len};
	int err;

	if (e->out[i].n == 0) {
		return 0;
	}
	memcpy(e->out[i].buf, &e->db.id, sizeof(uint32_t));
	memcpy(e->out[i].buf + sizeof(uint32_t), &e->out[i].n, sizeof(uint32_t));
	err = ctdb_post_message(e->cli->c, e->nodes[i], e->srvid, d);
	err = err != 0 ? err : ctdb_client_flush(e->cli->c);
	TALLOC_FREE(e->out[i].buf);
	e->out[i].n = 0;
	e->out[i].len = 0;
	return err == 0
		       ? 0
		       : cli_fail_api(e->cli, err, "node %u: records cannot be sent, nothing was changed", e->nodes[i]);
}

/* What was sent has come: so much at once, however large the database is. */
static int push_confirm(struct edit *e)
{
	struct answers a;
	int code = 0;

	for (uint32_t i = 0; i < e->n && code == 0; i++) {
		code = send_out(e, i);
	}
	if (code == 0) {
		code = ask(e, CLASSIC_CONTROL_DB_PUSH_CONFIRM, &e->db.id, sizeof(e->db.id),
			   "records were not taken, nothing was changed", &a);
	}
	for (uint32_t i = 0; i < e->n && code == 0; i++) {
		if (a.values[i] != e->out[i].portion_n) {
			code = cli_fail(e->cli, EXIT_ERROR, "node %u got %u records of %u, nothing was changed",
					e->nodes[i], a.values[i], e->out[i].portion_n);
		}
	}
	e->pushing = false;
	return code;
}

static int push_to(struct edit *e, uint32_t i, struct ctdb_data record)
{
	const size_t head = 2 * sizeof(uint32_t);
	size_t len;
	uint8_t *buf;
	int code = e->out[i].len + record.len > CLASSIC_DATA_MAX ? send_out(e, i) : 0; /* not both in one message */

	if (code != 0) {
		return code;
	}
	len = e->out[i].len == 0 ? head : e->out[i].len;
	buf = talloc_realloc(e, e->out[i].buf, uint8_t,
			     len + record.len > MESSAGE_BYTES ? len + record.len : MESSAGE_BYTES);
	if (buf == NULL) {
		return cli_fail(e->cli, EXIT_ERROR, "out of memory, nothing was changed");
	}
	memcpy(buf + len, record.data, record.len);
	e->out[i].buf = buf;
	e->out[i].len = len + record.len;
	e->out[i].n++;
	e->out[i].portion_n++;
	e->portion += record.len;
	return e->out[i].len >= MESSAGE_BYTES ? send_out(e, i) : 0;
}

int edit_push(struct edit *e, uint32_t node, struct ctdb_data key, struct ctdb_data value)
{
	struct ctdb_wire_record wire = {.key = key, .value = value};
	struct ctdb_data record = {.len = 0};
	int code = e->pushing ? 0 : push_start(e), err;

	err = code == 0 ? ctdb_wire_put_record(e, &wire, &record) : 0;
	if (err != 0) {
		code = cli_fail(e->cli, EXIT_ERROR, "%s, nothing was changed",
				err == EMSGSIZE ? "a record is too large for the protocol" : strerror(err));
	}
	for (uint32_t i = 0; i < e->n && code == 0; i++) {
		if (node == EDIT_ALL || node == i) {
			code = push_to(e, i, record);
		}
	}
	if (record.data != NULL) {
		talloc_free((void *)(uintptr_t)record.data);
	}
	return code == 0 && e->portion >= PORTION_BYTES ? push_confirm(e) : code;
}

/* ---- end ---- */

static int set_healthy(struct edit *e)
{
	return ask_db(e, CLASSIC_CONTROL_DB_SET_HEALTHY,
		      "the change is stored, but the database cannot be marked healthy");
}

int edit_set_healthy(struct cli *cli, const struct db_info *db)
{
	struct edit *e;
	int code = (db->flags & CTDB_DB_FLAG_PERSISTENT) == 0 ? -1 : edit_new(cli, db, &e);

	if (code != 0) {
		return code < 0 ? 0 : code;
	}
	e->ending = true;
	code = find_nodes(e);
	code = code != 0 ? code : set_healthy(e);
	talloc_free(e);
	return code;
}

int edit_commit(struct edit *e, bool healthy)
{
	struct answers a;
	int code = e->pushing ? push_confirm(e) : 0;

	if (code != 0) {
		return code;
	}
	if (stopped(e)) {
		return interrupted(e);
	}
	e->ending = true;
	code = ask_transaction(e, CLASSIC_CONTROL_DB_TRANSACTION_COMMIT, "the change cannot be stored", &a);
	e->committed = code == 0;
	if (code != 0) {
		return a.n_good > 0 || a.unknown ? EXIT_PARTLY : code;
	}
	return healthy && (e->db.flags & CTDB_DB_FLAG_PERSISTENT) != 0 ? set_healthy(e) : 0;
}

int edit_end(struct edit *e, int code)
{
	char error[sizeof(e->cli->error)];
	uint32_t generation = e->generation;
	int ret = 0;

	memcpy(error, e->cli->error, sizeof(error));
	e->ending = true;
	if (e->frozen) {
		if (!e->committed) {
			(void)ask_db(e, CLASSIC_CONTROL_DB_TRANSACTION_CANCEL, "");
		}
		(void)ask_db(e, CLASSIC_CONTROL_DB_THAW, "");
		ret = wait_normal(e, generation);
	}
	if (code != 0 || ret == 0) {
		memcpy(e->cli->error, error, sizeof(error));
	}
	talloc_free(e);
	return code != 0 ? code : ret;
}

uint32_t edit_n_nodes(const struct edit *e)
{
	return e->n;
}

uint32_t edit_node(const struct edit *e, uint32_t i)
{
	return e->nodes[i];
}

uint32_t edit_owner(const struct edit *e, struct ctdb_data key)
{
	uint32_t pnn = e->map->map[ctdb_key_hash(key.data, key.len) % e->map->size], i;

	for (i = 0; i < e->n; i++) {
		if (e->nodes[i] == pnn) {
			return i;
		}
	}
	return 0;
}

uint64_t edit_seqnum(const struct edit *e)
{
	return e->seqnum;
}

/* ---- single steps ---- */

int edit_freeze(struct cli *cli, const struct db_info *db)
{
	struct edit *e;
	int code = edit_new(cli, db, &e);

	if (code != 0) {
		return code;
	}
	walk_catch_signals(); /* so that all are frozen, or none */
	code = wait_normal(e, CTDB_GENERATION_INVALID);
	code = code != 0 ? code : freeze(e);
	talloc_free(e);
	return code;
}

/* A database that was frozen has a recovery, which need not have begun yet. Nobody says whether it was frozen. */
static int wait_begun(struct edit *e)
{
	uint32_t generation = e->generation;

	for (uint32_t waited = 0; waited < BEGIN_MS; waited += LOOK_MS) {
		int ret = look(e);

		if (ret < 0 || ret == EAGAIN || e->generation != generation) {
			return ret < 0 ? -ret : 0;
		}
		usleep(LOOK_MS * 1000);
	}
	return 0;
}

/* Whether there may be frozen databases on this node. */
static bool some_frozen(struct edit *e)
{
	struct ctdb_statistics *s = NULL;

	return ctdb_get_statistics(e->cli->c, CTDB_NODE_CURRENT, e, &s) != 0 || s->frozen != 0;
}

int edit_thaw(struct cli *cli, const struct db_info *db)
{
	struct edit *e;
	bool frozen;
	int code = edit_new(cli, db, &e);

	if (code != 0) {
		return code;
	}
	frozen = some_frozen(e);
	code = find_nodes(e);
	code = code != 0 ? code : ask_db(e, CLASSIC_CONTROL_DB_THAW, "the database cannot be thawed");
	code = code == 0 && frozen ? wait_begun(e) : code;
	code = code != 0 ? code : wait_normal(e, CTDB_GENERATION_INVALID);
	talloc_free(e);
	return code;
}
