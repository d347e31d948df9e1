/* Controls and calls: requests whose answer is a status and bytes. */
#include "internal.h"

#include <errno.h>

#include "protocol/classic_native.h"

#define ENUM_PREFIX "CLASSIC_CONTROL_"

/* ---- controls ---- */

const char *ctdb_control_name(uint32_t opcode)
{
	const char *name = classic_control_name((enum classic_control)opcode);

	return strncmp(name, ENUM_PREFIX, strlen(ENUM_PREFIX)) == 0 ? name + strlen(ENUM_PREFIX) : name;
}

static struct tevent_req *control_begin(TALLOC_CTX *mem, struct ctdb_client *c, const struct ctdb_control *k,
					uint32_t timeout_ms)
{
	struct classic_req_control p = {
		.opcode = k->opcode, .srvid = k->srvid, .flags = k->flags, .data = blob_of(k->data)};
	struct request r = {
		.operation = CLASSIC_REQ_CONTROL,
		.destnode = k->node,
		.no_reply = (k->flags & CTDB_CONTROL_NOREPLY) != 0,
		.what = ctdb_control_name(k->opcode),
		.timeout_ms = timeout_ms,
	};
	struct tevent_req *req;

	r.err = k->data.len > CLASSIC_DATA_MAX ? EMSGSIZE : classic_req_control_nencode(mem, &p, &r.body);
	req = request_send(mem, c, &r);
	if (r.err == 0) {
		talloc_free(r.body.data);
	}
	return req;
}

struct tevent_req *ctdb_control_send(TALLOC_CTX *mem, struct ctdb_client *c, const struct ctdb_control *k)
{
	return control_begin(mem, c, k, 0);
}

struct tevent_req *control_timeout_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t opcode,
					struct ctdb_data data, uint32_t timeout_ms)
{
	struct ctdb_control k = {.node = node, .opcode = opcode, .data = data};

	return control_begin(mem, c, &k, timeout_ms);
}

/* The decoded reply; its blobs point into req. */
static int reply_view(struct tevent_req *req, struct classic_reply_control *reply)
{
	struct ctdb_blob body = {.len = 0};
	int err = request_recv(req, &body);

	if (err != 0) {
		return err;
	}
	if (body.len == 0) { /* a control without reply */
		*reply = (struct classic_reply_control){.status = 0};
		return 0;
	}
	return classic_reply_control_nview(body.data, body.len, reply, NULL) == 0 ? 0 : control_malformed(req);
}

int ctdb_control_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_control_reply **out)
{
	struct classic_reply_control reply;
	struct ctdb_control_reply *r;
	int err = reply_view(req, &reply);

	if (err != 0) {
		return err;
	}
	r = talloc_zero(mem, struct ctdb_control_reply);
	if (r == NULL) {
		return ENOMEM;
	}
	r->status = reply.status;
	r->data = data_of(talloc_memdup(r, reply.data.data, reply.data.len), reply.data.len);
	r->error = talloc_strndup(r, reply.error.len > 0 ? (const char *)reply.error.data : "", reply.error.len);
	if ((r->data.data == NULL && reply.data.len > 0) || r->error == NULL) {
		talloc_free(r);
		return ENOMEM;
	}
	*out = r;
	return 0;
}

int ctdb_control(struct ctdb_client *c, const struct ctdb_control *k, TALLOC_CTX *mem,
		 struct ctdb_control_reply **reply)
{
	struct tevent_req *req = SYNC_SEND(c, ctdb_control_send(mem, c, k));
	int err = sync_run(c, req);

	if (err == 0) {
		err = ctdb_control_recv(req, mem, reply);
		talloc_free(req);
	}
	return err;
}

struct tevent_req *control_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t opcode, uint64_t srvid,
				struct ctdb_data data)
{
	struct ctdb_control k = {.node = node, .opcode = opcode, .srvid = srvid, .data = data};

	return ctdb_control_send(mem, c, &k);
}

struct tevent_req *control_db_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t node, uint32_t opcode,
				   uint32_t db_id)
{
	return control_send(mem, c, node, opcode, 0, data_of(&db_id, sizeof(db_id)));
}

int control_malformed(struct tevent_req *req)
{
	return client_fail(request_client(req), EPROTO, "%s: malformed answer of the CTDB daemon", request_what(req));
}

int control_decoded(struct tevent_req *req, int err)
{
	return err == EBADMSG ? control_malformed(req) : err;
}

/* The daemon says in words only why it could not ask another node. */
static int refused(struct tevent_req *req, const struct classic_reply_control *reply)
{
	static const char disconnected[] = "disconnected", timed_out[] = "timed out";
	const char *text = reply->error.len > 0 ? (const char *)reply->error.data : "";
	int len = (int)strnlen(text, reply->error.len), err = EREMOTEIO;

	if (len > 0 && memmem(text, (size_t)len, disconnected, strlen(disconnected)) != NULL) {
		err = EHOSTUNREACH;
	} else if (len > 0 && memmem(text, (size_t)len, timed_out, strlen(timed_out)) != NULL) {
		err = ETIMEDOUT;
	}
	return client_fail(request_client(req), err, "%s: refused by the CTDB daemon (status %d%s%.*s)",
			   request_what(req), reply->status, len > 0 ? ": " : "", len, text);
}

bool control_has_error(struct tevent_req *req)
{
	struct classic_reply_control reply;

	return reply_view(req, &reply) == 0 && reply.error.len > 0;
}

int control_recv(struct tevent_req *req, struct ctdb_blob *data)
{
	struct classic_reply_control reply;
	int err = reply_view(req, &reply);

	if (err != 0) {
		return err;
	}
	if (reply.status != 0) {
		return refused(req, &reply);
	}
	*data = reply.data;
	return 0;
}

int control_status_recv(struct tevent_req *req, int32_t *status)
{
	struct classic_reply_control reply;
	int err = reply_view(req, &reply);

	if (err != 0) {
		return err;
	}
	if (reply.status < 0) {
		return refused(req, &reply);
	}
	*status = reply.status;
	return 0;
}

int control_done_recv(struct tevent_req *req)
{
	struct ctdb_blob none = {.len = 0};

	return control_recv(req, &none);
}

int control_u32_recv(struct tevent_req *req, uint32_t *value)
{
	struct ctdb_blob data = {.len = 0};
	struct classic_u32 v;
	int err = control_recv(req, &data);

	if (err != 0) {
		return err;
	}
	if (classic_u32_nview(data.data, data.len, &v, NULL) != 0) {
		return control_malformed(req);
	}
	*value = v.value;
	return 0;
}

/* Texts come with their NUL, some empty ones without. */
int control_text_recv(struct tevent_req *req, TALLOC_CTX *mem, char **text)
{
	struct ctdb_blob data = {.len = 0};
	char *t;
	int err = control_recv(req, &data);

	if (err != 0) {
		return err;
	}
	t = talloc_strndup(mem, data.len > 0 ? (const char *)data.data : "", data.len);
	if (t == NULL) {
		return ENOMEM;
	}
	*text = t;
	return 0;
}

int control_post(struct ctdb_client *c, uint32_t opcode, uint64_t srvid, struct ctdb_data data)
{
	struct classic_req_control p = {
		.opcode = opcode, .srvid = srvid, .flags = CLASSIC_CTRL_FLAG_NOREPLY, .data = blob_of(data)};
	struct ctdb_blob body = {.len = 0};
	int err = data.len > CLASSIC_DATA_MAX ? EMSGSIZE : classic_req_control_nencode(c, &p, &body);

	if (err != 0) {
		return client_fail(c, err, "%s: %s", ctdb_control_name(opcode), strerror(err));
	}
	err = client_queue(c, CLASSIC_REQ_CONTROL, CTDB_NODE_CURRENT, 0, &body);
	talloc_free(body.data);
	return err;
}

/* ---- calls ---- */

struct tevent_req *call_send(TALLOC_CTX *mem, struct ctdb_client *c, uint32_t db_id, uint32_t callid, uint32_t flags,
			     struct ctdb_data key)
{
	struct classic_req_call p = {.flags = flags, .db_id = db_id, .callid = callid, .key = blob_of(key)};
	struct request r = {.operation = CLASSIC_REQ_CALL, .destnode = CTDB_NODE_CURRENT, .what = "call for a record"};
	struct tevent_req *req;

	r.err = key.len > CLASSIC_KEY_MAX ? EMSGSIZE : classic_req_call_nencode(mem, &p, &r.body);
	req = request_send(mem, c, &r);
	if (r.err == 0) {
		talloc_free(r.body.data);
	}
	return req;
}

int call_recv(struct tevent_req *req, TALLOC_CTX *mem, struct ctdb_data *data)
{
	struct ctdb_blob body = {.len = 0};
	struct classic_reply_call reply;
	int err = request_recv(req, &body);

	if (err != 0) {
		return err;
	}
	if (classic_reply_call_nview(body.data, body.len, &reply, NULL) != 0) {
		return control_malformed(req);
	}
	if (reply.status != 0) {
		return client_fail(request_client(req), EREMOTEIO,
				   "call for a record: failed in the CTDB daemon (status %d)", reply.status);
	}
	if (data != NULL) {
		uint8_t *copy = talloc_memdup(mem, reply.data.data, reply.data.len);

		if (copy == NULL && reply.data.len > 0) {
			return ENOMEM;
		}
		*data = data_of(copy, reply.data.len);
	}
	return 0;
}
