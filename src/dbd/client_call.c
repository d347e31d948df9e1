/* REQ_CALL: a client asks for a record of a volatile database. Exactly one answer each. */
#include "dbd/client.h"
#include "shared/log.h"

#include <errno.h>
#include <stdio.h>

/* One call that waits for its record. Child of the client: freeing it takes the call back. */
struct client_call {
	struct client *client;
	struct record_call *record;
	struct mono began;
	uint32_t reqid, callid;
	bool read_only;
	bool starting; /* records_call() has not returned yet */
	bool answered;
};

static int call_destructor(struct client_call *call)
{
	call->client->n_calls--;
	call->client->clients->count.pending_calls--;
	if (call->record != NULL) {
		records_cancel(call->record);
	}
	return 0;
}

static void count_latency(struct client_counters *n, struct mono began)
{
	double s = (double)mono_us_between(began, mono_now()) / 1e6;

	if (n->call_latency_n == 0 || s < n->call_latency_min) {
		n->call_latency_min = s;
	}
	if (s > n->call_latency_max) {
		n->call_latency_max = s;
	}
	n->call_latency_total += s;
	n->call_latency_n++;
}

/* What the client sees of a record depends on how it asked. */
static void answer(const struct client_call *call, const uint8_t *header, const uint8_t *data, size_t len)
{
	static const uint8_t no_header[REC_HEADER_SIZE];
	bool with_header = call->callid == CLASSIC_CALLID_FETCH_WITH_HEADER;
	bool with_data = with_header || call->callid == CLASSIC_CALLID_FETCH;

	if (call->read_only && call->callid != CLASSIC_CALLID_FETCH) {
		with_header = with_data = true;
	}
	if (header == NULL) {
		header = no_header;
	}
	client_reply_call(call->client, call->reqid, 0, with_header ? header : NULL, with_data ? data : NULL,
			  with_data ? len : 0);
}

static void call_done(void *priv, int32_t status, const uint8_t *header, const uint8_t *data, size_t len)
{
	struct client_call *call = priv;

	count_latency(&call->client->clients->count, call->began);
	if (status == 0) {
		answer(call, header, data, len);
	} else {
		char text[256];

		snprintf(text, sizeof(text), "%.*s", data != NULL ? (int)len : 0, (const char *)data);
		client_reply_error(call->client, call->reqid, -1, text[0] != '\0' ? text : strerror(status));
	}
	call->record = NULL;
	call->answered = true;
	if (!call->starting) {
		talloc_free(call);
	}
}

/* The database of a call; NULL: answered. Copies of persistent and replicated databases are complete everywhere:
 * nothing to migrate. */
static struct db *call_db(struct client *c, uint32_t reqid, uint32_t db_id)
{
	struct db *db = db_find(c->clients->dbd->dbs, db_id);
	char text[128];

	if (db == NULL) {
		snprintf(text, sizeof(text), "unknown database 0x%08x", db_id);
		client_reply_error(c, reqid, -1, text);
		return NULL;
	}
	if (!db_is_volatile(db)) {
		client_reply_error(c, reqid, -1, "records of persistent and replicated databases do not migrate");
		return NULL;
	}
	if (db->records == NULL) {
		/* Nobody can have attached it yet: it is only known from before dbd was started. */
		client_reply_error(c, reqid, -1, "the database is not usable before the first recovery");
		return NULL;
	}
	return db;
}

static struct client_call *call_new(struct client *c, uint32_t reqid, uint32_t callid, bool read_only)
{
	struct client_call *call;

	if (c->n_calls >= CLIENT_CALLS_MAX) {
		client_reply_error(c, reqid, -1, "too many calls of this client wait for their answer");
		return NULL;
	}
	call = talloc(c, struct client_call);
	if (call == NULL) {
		client_reply_error(c, reqid, -1, "no memory");
		return NULL;
	}
	*call = (struct client_call){.client = c,
				     .began = mono_now(),
				     .reqid = reqid,
				     .callid = callid,
				     .read_only = read_only,
				     .starting = true};
	c->n_calls++;
	c->clients->count.pending_calls++;
	c->clients->count.total_calls++;
	talloc_set_destructor(call, call_destructor);
	return call;
}

void client_call(struct client *c, uint32_t reqid, const struct classic_req_call *r)
{
	struct db *db = call_db(c, reqid, r->db_id);
	struct record_call *record;
	struct client_call *call;
	struct record_want want = {.client = c->id, .use = r->callid == CLASSIC_CALLID_NULL};
	bool read_only;

	if (db == NULL) {
		return;
	}
	c->uses_databases = true;
	read_only = (r->flags & CLASSIC_CALL_WANT_READONLY) != 0 && (db->flags & DB_READONLY) != 0;
	want.read_only = read_only;
	call = call_new(c, reqid, r->callid, read_only);
	if (call == NULL) {
		return;
	}
	record = records_call(c->clients->dbd->records, db, r->key.data, r->key.len, &want, call_done, call);
	call->starting = false;
	if (call->answered) {
		talloc_free(call);
		return;
	}
	call->record = record;
	if (record == NULL) {
		client_reply_error(c, reqid, -1, "no memory");
		talloc_free(call);
	}
}
