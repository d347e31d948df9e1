/* DB_PULL: all records of this node's copy of a frozen database, as messages to whoever asks; then the answer. */
#include "dbd/control.h"
#include "dbd/srvid.h"
#include "dbd/worker.h"
#include "protocol/classic_native.h"
#include "shared/log.h"

#define PULL_QUEUE_MAX (1024U * 1024) /* to another node: waits until less is under way */
#define PULL_LOOK_MS   5

/* Child of the control. */
struct pull {
	struct control *ctl;
	uint32_t db_id;
	uint64_t srvid;
	struct worker_job *job;
	uint32_t count;
	uint32_t freeze; /* during which it began */
	const char *error;
};

static bool has_room(const struct pull *p)
{
	const struct control *ctl = p->ctl;

	if (ctl->client != NULL) {
		return !ctl->client->congested;
	}
	return !lane_is_up(ctl->dbd->lane, ctl->from) || lane_queued(ctl->dbd->lane, ctl->from) < PULL_QUEUE_MAX;
}

static void look_again(void *priv)
{
	struct pull *p = priv;

	if (has_room(p)) {
		worker_job_continue(p->job);
	} else if (deadline_add(p, p->ctl->dbd, PULL_LOOK_MS, look_again, p) == NULL) {
		control_reply(p->ctl, -1, NULL, 0, "no memory");
	}
}

static uint32_t count_records(const uint8_t *batch, size_t len)
{
	struct recdata r;
	uint32_t n = 0;

	while (recdata_next(&batch, &len, &r) == 0) {
		n++;
	}
	return n;
}

static bool pull_batch(void *priv, struct worker_job *job, const uint8_t *batch, size_t len)
{
	struct pull *p = priv;
	uint32_t n = count_records(batch, len);
	uint8_t *buf = talloc_size(p, RECBUF_HEAD + len);

	p->job = job;
	if (buf == NULL) {
		log_error("no memory for records of database 0x%08x that node %u pulls", p->db_id, p->ctl->from);
		p->error = "no memory";
		return true;
	}
	poke_u32(buf, p->db_id);
	poke_u32(buf + 4, n);
	memcpy(buf + RECBUF_HEAD, batch, len);
	srvids_send(p->ctl->dbd->srvids, p->ctl->from, p->srvid, buf, RECBUF_HEAD + len);
	talloc_free(buf);
	p->count += n;
	return has_room(p) || deadline_add(p, p->ctl->dbd, PULL_LOOK_MS, look_again, p) == NULL;
}

static void pull_done(struct tevent_req *req)
{
	struct pull *p = tevent_req_callback_data(req, struct pull);
	const struct db *db = db_find(p->ctl->dbd->dbs, p->db_id);
	int rc = worker_job_recv(req, NULL);

	if (db == NULL || !db->frozen || db->freezes != p->freeze) {
		p->error = "the database was thawed meanwhile";
	}
	if (rc != 0 || p->error != NULL) {
		control_reply(p->ctl, -1, NULL, 0, rc != 0 ? strerror(rc) : p->error);
	} else {
		control_reply_u32(p->ctl, p->count);
	}
}

void control_db_pull(struct control *ctl)
{
	struct worker_args args = {.op = WORKER_READ, .with_empty = true};
	struct db *db = control_db(ctl);
	struct tevent_req *req = NULL;
	struct pull *p;

	if (db == NULL) {
		return;
	}
	if (!db->frozen) {
		control_reply(ctl, -1, NULL, 0, "the database is not frozen");
		return;
	}
	p = talloc_zero(ctl, struct pull);
	if (p != NULL) {
		*p = (struct pull){
			.ctl = ctl, .db_id = db->id, .srvid = peek_u64(ctl->data + 8), .freeze = db->freezes};
		req = worker_job_send(p, ctl->dbd->d->ev, ctl->dbd->workers, db, &args, pull_batch, p, &p->job);
	}
	if (req == NULL) {
		control_reply(ctl, -1, NULL, 0, "no memory");
		return;
	}
	tevent_req_set_callback(req, pull_done, p);
}
