/* The other parts of dbd as the tests of the client side play them. */
#include "test_fake.h"
#include "dbd/attach.h"
#include "dbd/srvid.h"
#include "protocol/db.h"
#include "protocol/lane_rpc.h"
#include "shared/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/hash.h"

struct fake *fake;

/* ---- view, recovery ---- */

uint32_t view_node_flags(const struct dbd *dbd, uint32_t pnn)
{
	return pnn < FAKE_NODES ? fake->flags[pnn] : CLASSIC_NODE_FLAG_DISCONNECTED;
}

uint32_t view_leader(const struct dbd *dbd)
{
	return fake->leader;
}

bool recovery_is_normal(const struct recovery *r)
{
	return fake->normal;
}

bool recovery_is_fenced(const struct recovery *r)
{
	return fake->fenced;
}

uint32_t recovery_generation(const struct recovery *r)
{
	return fake->normal ? FAKE_GENERATION : GENERATION_NONE;
}

const uint32_t *recovery_slots(const struct recovery *r, uint32_t *n)
{
	*n = 4;
	return fake->slots;
}

const uint32_t *recovery_members(const struct recovery *r, uint32_t *n)
{
	static uint32_t members[FAKE_NODES];

	*n = 0;
	for (uint32_t pnn = 0; pnn < FAKE_NODES && fake->normal; pnn++) {
		if (fake->flags[pnn] == 0) {
			members[(*n)++] = pnn;
		}
	}
	return *n > 0 ? members : NULL;
}

void recovery_want(struct recovery *r, uint32_t generation, const char *fmt, ...)
{
	fake->wanted++;
}

const struct recovery_times *recovery_times(const struct recovery *r)
{
	return &fake->times;
}

/* ---- records ---- */

static int call_destructor(struct fake_call *call)
{
	if (fake->call == call) {
		fake->call = NULL;
	}
	return 0;
}

void records_copy_changed(struct db *db, const uint8_t *key, size_t keylen, uint32_t before, uint32_t after)
{
	(void)db;
	(void)key;
	(void)keylen;
	(void)before;
	(void)after;
}

void records_client_acts(struct records *r, uint32_t client, bool sends)
{
}

struct record_call *records_call(struct records *r, struct db *db, const uint8_t *key, size_t keylen,
				 const struct record_want *want, record_reply_fn reply, void *priv)
{
	struct fake_call *call;

	if (fake->answer_at_once) {
		reply(priv, fake->call_status, fake->header, fake->data, fake->datalen);
		return NULL;
	}
	call = talloc_zero(fake, struct fake_call);
	*call = (struct fake_call){.db = db, .read_only = want->read_only, .reply = reply, .priv = priv};
	call->key = (struct ctdb_blob){.len = (uint32_t)keylen, .data = talloc_memdup(call, key, keylen)};
	talloc_set_destructor(call, call_destructor);
	fake->call = call;
	return (struct record_call *)call;
}

int records_set_sticky(struct db *db)
{
	return 0;
}

int records_statistics(TALLOC_CTX *mem, const struct db *db, struct classic_db_statistics *s)
{
	s->num_hot_keys = CLASSIC_HOT_KEYS;
	s->hot_keys[CLASSIC_HOT_KEYS - 1] = (struct classic_hot_key){.count = 7, .keylen = 3};
	s->keys.data = talloc_memdup(mem, "abc", 3);
	s->keys.len = 3;
	return s->keys.data != NULL ? 0 : ENOMEM;
}

void records_statistics_all(struct records *r, struct classic_statistics *sum)
{
	sum->total_ro_revokes += fake->revokes;
}

void records_statistics_reset(struct records *r)
{
	fake->revokes = 0;
}

void records_set_readonly(struct db *db)
{
	(void)db;
}

void records_cancel(struct record_call *call)
{
	fake->cancelled++;
	talloc_free(call);
}

void records_schedule_deletion(struct records *r, struct db *db, const uint8_t *key, size_t keylen,
			       const uint8_t *header)
{
	fake->deletions++;
	memcpy(fake->deletion_header, header, REC_HEADER_SIZE);
}

bool vacuum_fetch_key(struct vacuums *v, struct db *db, const uint8_t *key, size_t keylen)
{
	fake->fetched++;
	return true;
}

void vacuum_push_seen(struct vacuums *v, const uint8_t *payload, size_t len)
{
	fake->pushes_seen++;
}

int vacuum_request_new(TALLOC_CTX *mem, struct vacuums *v, struct db *db, bool full, vacuum_fn fn, void *priv,
		       struct vacuum_request **out)
{
	const struct db_vacuum_run run = {.removed = 1};

	if (fake->vacuum_status == EAGAIN) {
		return EAGAIN;
	}
	fn(priv, fake->vacuum_status, &run);
	return 0;
}

void vacuum_counts(struct vacuums *v, struct db *db, struct db_vacuum_counts *counts)
{
	*counts = (struct db_vacuum_counts){.runs = 3, .ms = 4500, .ms_min = 500, .ms_max = 3000};
}

uint32_t records_pending(const struct records *r, const struct db *db)
{
	return 0;
}

void records_db_attached(struct records *r, struct db *db)
{
	fake->attached++;
}

void records_close(struct records *r, struct db *db)
{
	fake->closed++;
}

bool recovery_works_on(const struct recovery *r, const struct db *db)
{
	return fake->works_on;
}

void recovery_db_gone(struct recovery *r, struct db *db)
{
	fake->forgotten++;
}

void records_db_remove(struct records *r, struct db *db)
{
	fake->removed++;
	db->records = NULL;
}

/* ---- lane ---- */

int lane_send(struct lane *l, uint32_t pnn, uint32_t proc, const uint8_t *buf, size_t len)
{
	struct fake_sent *s = &fake->sent[fake->n_sent % 64];

	assert_int_not_equal(pnn, fake->dbd->d->pnn);
	if (pnn >= FAKE_NODES || !fake->up[pnn]) {
		return EHOSTUNREACH;
	}
	if (fake->flood) {
		return 0;
	}
	assert_true(fake->n_sent < 64);
	*s = (struct fake_sent){.to = pnn, .proc = proc};
	s->buf = (struct ctdb_blob){.len = (uint32_t)len, .data = talloc_memdup(fake, buf, len)};
	fake->n_sent++;
	return 0;
}

bool lane_is_up(const struct lane *l, uint32_t pnn)
{
	return pnn < FAKE_NODES && fake->up[pnn];
}

size_t lane_queued(const struct lane *l, uint32_t pnn)
{
	return fake->lane_bytes;
}

uint32_t lane_slow_node(struct lane *l)
{
	return fake->lane_bytes >= LANE_HIGH ? fake->sent[(fake->n_sent + 63) % 64].to : NODE_UNKNOWN;
}

/* ---- workers ---- */

static int job_destructor(struct fake_job *job)
{
	job->req = NULL;
	for (uint32_t i = 0; i < fake->n_jobs; i++) {
		if (fake->jobs[i] == job) {
			fake->jobs[i] = NULL;
		}
	}
	return 0;
}

struct tevent_req *worker_job_send(TALLOC_CTX *mem, struct tevent_context *ev, struct worker_pool *pool, struct db *db,
				   const struct worker_args *args, worker_batch_fn batch, void *priv,
				   struct worker_job **out)
{
	struct fake_job *job;
	struct tevent_req *req = tevent_req_create(mem, &job, struct fake_job);

	if (fake->flood) {
		*job = (struct fake_job){.req = req};
		tevent_req_done(req);
		return tevent_req_post(req, ev);
	}
	*job = (struct fake_job){.req = req,
				 .db = db,
				 .op = args->op,
				 .only_owned = args->only_owned,
				 .with_empty = args->with_empty,
				 .batch = batch,
				 .priv = priv};
	if (args->input.len > 0) {
		job->input.data = talloc_memdup(job, args->input.data, args->input.len);
		job->input.len = args->input.len;
	}
	talloc_set_destructor(job, job_destructor);
	fake->jobs[fake->n_jobs++] = job;
	if (out != NULL) {
		*out = (struct worker_job *)job;
	}
	return req;
}

int worker_job_recv(struct tevent_req *req, struct worker_state *state)
{
	struct fake_job *job = tevent_req_data(req, struct fake_job);
	enum tevent_req_state how;
	uint64_t error;

	if (tevent_req_is_error(req, &how, &error)) {
		return how == TEVENT_REQ_TIMED_OUT ? ETIMEDOUT : EIO;
	}
	return job->status;
}

void worker_job_continue(struct worker_job *job)
{
	((struct fake_job *)(void *)job)->continued++;
}

void worker_job_set_drain(struct worker_job *job, void (*fn)(void *priv, struct worker_job *job), void *priv)
{
	struct fake_job *j = (struct fake_job *)(void *)job;

	if (!fake->flood) { /* there is no job then */
		j->drain = fn;
		j->drain_priv = priv;
	}
}

bool worker_scan_next(const uint8_t **p, size_t *left, struct worker_scan_entry *e, const uint8_t **key)
{
	return false;
}

size_t worker_job_feed(struct worker_job *job, const uint8_t *rec_data, size_t len, bool last)
{
	struct fake_job *j = (struct fake_job *)(void *)job;

	assert_false(j->fed_last);
	if (fake->flood) {
		return 0;
	}
	j->fed.data = talloc_realloc_size(j, j->fed.data, j->fed.len + len);
	if (len > 0) {
		memcpy(j->fed.data + j->fed.len, rec_data, len);
	}
	j->fed.len += (uint32_t)len;
	j->fed_last = last;
	return fake->queued != 0 ? fake->queued : len;
}

void fake_job_end(struct fake_job *job, int status)
{
	job->status = status;
	tevent_req_done(job->req);
}

/* ---- databases ---- */

static struct dlist all_dbs;

struct db *db_find(struct dbs *dbs, uint32_t id)
{
	dlist_for_each(e, &all_dbs)
	{
		struct db *db = dlist_entry(e, struct db, link);

		if (db->id == id) {
			return db;
		}
	}
	return NULL;
}

struct dlist *dbs_list(struct dbs *dbs)
{
	return &all_dbs;
}

uint32_t dbs_count(const struct dbs *dbs)
{
	uint32_t n = 0;

	dlist_for_each(e, &all_dbs)
	{
		n++;
	}
	return n;
}

static int db_destructor(struct db *db)
{
	dlist_remove(&db->link);
	tdb_close(db->tdb);
	return 0;
}

int db_attach(struct dbs *dbs, const char *name, uint32_t flags, struct db **out, bool *created, char **err)
{
	uint32_t id = hash_lookup3((const uint8_t *)name, strlen(name) + 1);
	struct db *db = db_find(dbs, id);

	*created = db == NULL;
	if (name[0] == '\0' || strchr(name, '/') != NULL || strlen(name) > 200) {
		*err = talloc_strdup(fake, "not a name");
		return EINVAL;
	}
	if (db != NULL && flags != 0 && (db->flags & flags) == 0) {
		*err = talloc_strdup(fake, "another model");
		return EINVAL;
	}
	if (db == NULL) {
		db = talloc_zero(fake, struct db);
		*db = (struct db){.id = id, .flags = flags, .generation = GENERATION_NONE};
		db->name = talloc_strdup(db, name);
		db->path = talloc_asprintf(db, "%s/%s.0", fake->dir, name);
		db->tdb = tdb_open(db->path, 0, TDB_INCOMPATIBLE_HASH, O_RDWR | O_CREAT, 0600);
		assert_non_null(db->tdb);
		talloc_set_destructor(db, db_destructor);
		dlist_add_head(&all_dbs, &db->link);
	}
	*out = db;
	return 0;
}

void db_set_flag(struct db *db, uint32_t flag)
{
	db->flags |= flag;
}

void db_detach(struct db *db)
{
	talloc_free(db);
}

int db_open_flags(const struct db *db)
{
	return db_is_volatile(db) ? 0x1C41 : 0x400;
}

void db_enable_seqnum(struct db *db)
{
	tdb_enable_seqnum(db->tdb);
}

int db_set_health(struct db *db, const char *reason)
{
	TALLOC_FREE(db->health);
	db->health = reason != NULL ? talloc_strdup(db, reason) : NULL;
	return 0;
}

struct db *fake_db(const char *name, uint32_t flags)
{
	char *err = NULL;
	struct db *db;
	bool created;

	assert_int_equal(db_attach(NULL, name, flags, &db, &created, &err), 0);
	db->generation = FAKE_GENERATION;
	db->everywhere = true;
	db->records = db_is_volatile(db) ? (struct record_db *)db : NULL; /* never looked into */
	return db;
}

/* ---- setup ---- */

static struct conf_nodes *make_nodes(TALLOC_CTX *mem)
{
	struct conf_nodes *nodes = talloc_zero(mem, struct conf_nodes);

	nodes->n = FAKE_NODES;
	nodes->v = talloc_zero_array(nodes, struct conf_node, FAKE_NODES);
	for (uint32_t i = 0; i < FAKE_NODES; i++) {
		struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7F004D01 + i)};

		memcpy(&nodes->v[i].addr, &in, sizeof(in));
	}
	return nodes;
}

static struct daemon *make_daemon(TALLOC_CTX *mem)
{
	struct daemon *d = talloc_zero(mem, struct daemon);

	d->name = "test";
	d->ev = tevent_context_init(d);
	d->conf = talloc_zero(d, struct conf);
	d->conf->path.socket = talloc_asprintf(d, "%s/ctdbd.socket", fake->dir);
	d->conf->path.nodes = talloc_asprintf(d, "%s/nodes", fake->dir);
	d->conf->transport.port = 4379;
	d->conf->database.attach_timeout = 120000;
	d->conf->database.control_timeout = 60000;
	d->conf->database.max_packet = 1024 * 1024;
	d->conf->database.max_queue = 4 * 1024 * 1024;
	d->nodes = make_nodes(d);
	return d;
}

static void make_parts(struct dbd *dbd)
{
	char *err = NULL;

	assert_int_equal(srvids_new(dbd, dbd, &dbd->srvids), 0);
	assert_int_equal(attaches_new(dbd, dbd, &dbd->attaches), 0);
	assert_int_equal(commits_new(dbd, dbd, &dbd->commits), 0);
	assert_int_equal(traverses_new(dbd, dbd, &dbd->traverses), 0);
	assert_int_equal(clients_new(dbd, dbd, &dbd->clients, &err), 0);
}

int fake_setup(void **state)
{
	char dir[] = "/tmp/ctdb-test-client-XXXXXX";

	log_set_level(LOG_LVL_ERROR);
	dlist_init(&all_dbs);
	fake = talloc_zero(NULL, struct fake);
	assert_non_null(mkdtemp(dir));
	fake->dir = talloc_strdup(fake, dir);
	fake->normal = true;
	fake->flags[2] = CLASSIC_NODE_FLAG_DISCONNECTED;
	fake->up[1] = true;
	fake->slots[1] = fake->slots[3] = 1;
	fake->dbd = talloc_zero(fake, struct dbd);
	fake->dbd->d = make_daemon(fake);
	/* Never looked into: the functions above play them. */
	fake->dbd->recovery = (struct recovery *)fake;
	fake->dbd->lane = (struct lane *)fake;
	make_parts(fake->dbd);
	return 0;
}

int fake_teardown(void **state)
{
	char *remove = talloc_asprintf(NULL, "rm -rf '%s'", fake->dir);
	struct daemon *d = talloc_steal(remove, fake->dbd->d);

	/* Those who use others go first. */
	clients_disconnect_all(fake->dbd->clients, "end of test");
	fake_turns(3);
	assert_int_equal(fake->dbd->clients->n, 0);
	talloc_free(fake->dbd->attaches);
	talloc_free(fake->dbd->commits);
	talloc_free(fake->dbd->traverses);
	talloc_free(fake->dbd->clients);
	talloc_free(fake);
	talloc_free(d);
	fake = NULL;
	assert_int_equal(system(remove), 0);
	talloc_free(remove);
	return 0;
}

/* ---- running ---- */

static void tick(struct tevent_context *ev, struct tevent_timer *te, struct timeval now, void *priv)
{
	*(struct tevent_timer **)priv = NULL; /* tevent frees it */
}

/* One turn, at most 5 ms of waiting. */
static void turn(void)
{
	struct tevent_context *ev = fake->dbd->d->ev;
	struct tevent_timer *te = NULL;

	te = tevent_add_timer(ev, fake, tevent_timeval_current_ofs(0, 5000), tick, &te);
	assert_int_equal(tevent_loop_once(ev), 0);
	talloc_free(te);
}

void fake_turns(int n)
{
	for (int i = 0; i < n; i++) {
		turn();
	}
}

void fake_until(bool (*cond)(void *priv), void *priv)
{
	struct mono end = mono_add_ms(mono_now(), WAIT_MS);

	while (!cond(priv)) {
		assert_true(mono_before(mono_now(), end));
		turn();
	}
}

/* ---- client ---- */

int fake_connect(void)
{
	return fake_connect_to(fake->dbd);
}

int fake_connect_to(struct dbd *dbd)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	uint32_t before = dbd->clients->n;
	struct mono end = mono_add_ms(mono_now(), WAIT_MS);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", dbd->clients->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	while (dbd->clients->n == before) {
		assert_true(mono_before(mono_now(), end));
		turn();
	}
	return fd;
}

void fake_write(int fd, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			turn();
			continue;
		}
		assert_true(n > 0);
		p += n;
		len -= (size_t)n;
	}
}

/* 1 got all; 0 end of file; -1 nothing came in some turns (only if patient is false) */
static int read_bytes(int fd, uint8_t *p, size_t len, bool patient)
{
	struct mono end = mono_add_ms(mono_now(), WAIT_MS);
	int idle = 0;

	while (len > 0) {
		ssize_t n = recv(fd, p, len, 0);

		if (n == 0 || (n < 0 && errno == ECONNRESET)) {
			return 0;
		}
		if (n > 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		assert_int_equal(errno, EAGAIN);
		if (!patient && ++idle > 10) {
			return -1;
		}
		assert_true(mono_before(mono_now(), end));
		turn();
	}
	return 1;
}

struct ctdb_blob fake_read(int fd)
{
	struct ctdb_blob b;
	uint8_t head[4];

	assert_int_equal(read_bytes(fd, head, 4, true), 1);
	b.len = peek_u32(head);
	assert_true(b.len >= 32 && b.len % 8 == 0);
	b.data = talloc_size(fake, b.len);
	memcpy(b.data, head, 4);
	assert_int_equal(read_bytes(fd, b.data + 4, b.len - 4, true), 1);
	return b;
}

bool fake_eof(int fd)
{
	uint8_t byte;
	int rc;

	while ((rc = read_bytes(fd, &byte, 1, true)) == 1) {
	}
	return rc == 0;
}

bool fake_silent(int fd)
{
	uint8_t byte;

	return read_bytes(fd, &byte, 1, false) == -1;
}

static void fake_packet(int fd, uint32_t op, uint32_t dest, uint32_t reqid, const uint8_t *body, size_t len)
{
	uint8_t *p = talloc_zero_size(fake, 32 + len);

	poke_u32(p, (uint32_t)(32 + len));
	poke_u32(p + 4, CLASSIC_MAGIC);
	poke_u32(p + 8, CLASSIC_VERSION);
	poke_u32(p + 16, op);
	poke_u32(p + 20, dest);
	poke_u32(p + 28, reqid);
	memcpy(p + 32, body, len);
	fake_write(fd, p, 32 + len);
	talloc_free(p);
}

void fake_control(int fd, uint32_t opcode, uint32_t dest, uint32_t flags, uint64_t srvid, uint32_t reqid,
		  const void *data, size_t len)
{
	uint8_t *p = talloc_zero_size(fake, 28 + len);

	poke_u32(p, opcode);
	poke_u64(p + 8, srvid);
	poke_u32(p + 20, flags);
	poke_u32(p + 24, (uint32_t)len);
	if (len > 0) {
		memcpy(p + 28, data, len);
	}
	fake_packet(fd, CLASSIC_REQ_CONTROL, dest, reqid, p, 28 + len);
	talloc_free(p);
}

struct fake_reply fake_reply(int fd, uint32_t reqid)
{
	struct ctdb_blob b = fake_read(fd);
	struct fake_reply r = {0};
	uint32_t errorlen;

	assert_int_equal(peek_u32(b.data + 16), CLASSIC_REPLY_CONTROL);
	assert_int_equal(peek_u32(b.data + 28), reqid);
	r.status = (int32_t)peek_u32(b.data + 32);
	r.data.len = peek_u32(b.data + 36);
	errorlen = peek_u32(b.data + 40);
	assert_true(44 + r.data.len + errorlen <= b.len);
	r.data.data = b.data + 44;
	r.error = talloc_strndup(fake, (char *)b.data + 44 + r.data.len, errorlen);
	return r;
}

struct fake_reply fake_ask(int fd, uint32_t opcode, const void *data, size_t len)
{
	static uint32_t reqid = 1000;

	reqid++;
	fake_control(fd, opcode, CLASSIC_NODE_CURRENT, 0, 0, reqid, data, len);
	return fake_reply(fd, reqid);
}

struct ctdb_blob fake_hex(const char *hex)
{
	struct ctdb_blob b = {.data = talloc_zero_size(fake, strlen(hex))};
	unsigned byte;

	while (*hex != '\0') {
		if (*hex == ' ') {
			hex++;
			continue;
		}
		assert_int_equal(sscanf(hex, "%2x", &byte), 1);
		b.data[b.len++] = (uint8_t)byte;
		hex += 2;
	}
	return b;
}

void fake_expect(struct ctdb_blob packet, const char *hex)
{
	struct ctdb_blob want = fake_hex(hex);

	assert_int_equal(packet.len, want.len);
	assert_memory_equal(packet.data, want.data, want.len);
}
