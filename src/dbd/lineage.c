/* Lineages of the copies of this node, kept in files that live as long as the copies. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dbd/recovery_int.h"
#include "shared/file_replace.h"
#include "shared/log.h"
#include "shared/thread_job.h"

/*
 * Two files: one in the run directory; one for persistent databases beside their files, synced. If those lineages did
 * not outlive a power cut, members that were out of the cluster before it would seem to have the only copies that
 * count, and older contents would replace newer ones.
 *
 * Text, one line a database: id in hex, number of recoveries told, then term.number.attempt of "changed" and of each
 * told. Written to a new file that takes the old one's name; lines may follow in the run directory's, the last one of a
 * database counts. A line that cannot be read counts as no lineage: the copy is then wiped and filled again, which is
 * safe.
 */
static char *file_name(TALLOC_CTX *mem, const struct recovery *r, bool persistent)
{
	const struct daemon *d = r->dbd->d;

	return persistent ? talloc_asprintf(mem, "%s/lineage.%u", d->conf->path.db_persistent, d->pnn)
			  : talloc_asprintf(mem, "%s/dbd.lineage", d->conf->path.run);
}

#define LOG_MAX (1024U * 1024U)

static bool is_persistent(const struct db *db)
{
	return (db->flags & DB_PERSISTENT) != 0;
}

/* NULL in, NULL out: appending to NULL would begin a new text. */
static char *append_id(char *line, const struct recovery_id *id)
{
	return line == NULL ? NULL
			    : talloc_asprintf_append_buffer(line, " %" PRIu64 ".%" PRIu64 ".%" PRIu32, id->term,
							    id->number, id->attempt);
}

static char *append_db(char *text, const struct db *db)
{
	const struct rec_lineage *l = db->lineage;

	if (l == NULL || (recovery_id_is_zero(&l->changed) && l->n_told == 0)) {
		return text;
	}
	text = talloc_asprintf_append_buffer(text, "%08x %u", db->id, l->n_told);
	text = append_id(text, &l->changed);
	for (uint32_t i = 0; i < l->n_told; i++) {
		text = append_id(text, &l->told[i]);
	}
	return text == NULL ? NULL : talloc_strdup_append_buffer(text, "\n");
}

/* All or nothing. */
static char *text_of(const struct recovery *r, TALLOC_CTX *mem, bool persistent)
{
	TALLOC_CTX *tmp = talloc_new(mem);
	char *text = tmp != NULL ? talloc_strdup(tmp, "") : NULL;

	dlist_for_each(e, dbs_list(r->dbd->dbs))
	{
		const struct db *db = dlist_entry(e, struct db, link);

		if (text != NULL && is_persistent(db) == persistent) {
			text = append_db(text, db);
		}
	}
	text = talloc_steal(mem, text);
	talloc_free(tmp);
	return text;
}

/* Written by a thread: syncing takes as long as the disk wants. */
struct lineage_file {
	char *path, *text; /* malloc'ed */
};

/* A message of a recovery that says what the file has to say first. */
struct held {
	struct dlist link;
	uint64_t version;
	uint32_t node;
	enum lane_proc proc;
	void *msg;
};

static void file_free(void *arg)
{
	struct lineage_file *f = arg;

	free(f->path);
	free(f->text);
	free(f);
}

static struct lineage_file *file_new(const char *path, const char *text)
{
	struct lineage_file *f = calloc(1, sizeof(*f));

	if (f == NULL) {
		return NULL;
	}
	*f = (struct lineage_file){path != NULL ? strdup(path) : NULL, text != NULL ? strdup(text) : NULL};
	if (f->path == NULL || f->text == NULL) {
		file_free(f);
		return NULL;
	}
	return f;
}

/* Failed: the old file stays. It is true as long as what it does not say is told to nobody (lineage_hold()). */
static int file_run(void *arg)
{
	struct lineage_file *f = arg;

	return file_replace(f->path, f->text, strlen(f->text), 0600, FILE_REPLACE_DURABLE);
}

static void not_written(struct recovery *r, bool persistent, int ret)
{
	char *path = file_name(r, r, persistent);

	log_ratelimited(LOG_LVL_ERROR, 1000, "cannot write %s: %s; %s", path != NULL ? path : "the file of lineages",
			strerror(ret),
			persistent ? "until it can be written, recoveries fail: is the disk full, or damaged?"
				   : "a restarted ctdb-dbd will fetch this node's records again");
	talloc_free(path);
}

/* *text: what the file has to say; NULL: it does so, or a thread writes it. 0 or ENOMEM. */
static int text_to_save(struct recovery *r, bool persistent, const char **text)
{
	char *newest = text_of(r, r, persistent);
	char **saved = &r->lineage_saved[persistent];

	*text = NULL;
	if (newest != NULL && *saved != NULL && strcmp(newest, *saved) == 0) {
		talloc_free(newest);
		return 0;
	}
	talloc_free(*saved);
	*saved = newest;
	*text = newest;
	return newest != NULL ? 0 : ENOMEM;
}

static void log_close(struct recovery *r)
{
	if (r->lineage_log > 0) {
		close(r->lineage_log);
	}
	r->lineage_log = 0;
}

static void log_open(struct recovery *r, const char *path)
{
	log_close(r);
	r->lineage_log = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	r->lineage_log_len = 0;
}

/*
 * One line behind the others, the last one of a database counts. All of the file for each change, with many databases,
 * would take the event loop too long. false: the whole file is to be written. A line that a kill has cut was not acted
 * upon.
 */
static bool append_now(struct recovery *r, const struct db *db)
{
	TALLOC_CTX *tmp;
	char *line;
	size_t len;
	bool good;

	if (r->lineage_log <= 0 || r->lineage_log_len > LOG_MAX) {
		return false;
	}
	tmp = talloc_new(r);
	line = tmp != NULL ? talloc_strdup(tmp, "") : NULL;
	line = line != NULL ? append_db(line, db) : NULL;
	if (line != NULL && line[0] == '\0') {
		line = talloc_asprintf_append_buffer(line, "%08x 0 0.0.0\n", db->id);
	}
	len = line != NULL ? strlen(line) : 0;
	good = line != NULL && write(r->lineage_log, line, len) == (ssize_t)len;
	talloc_free(tmp);
	r->lineage_log_len += len;
	if (good) {
		TALLOC_FREE(r->lineage_saved[false]);
	} else {
		log_close(r);
	}
	return good;
}

/* An old lineage must not outlive a newer copy: without a file the copy is wiped after a restart, which is safe. */
static void save_now(struct recovery *r)
{
	char *path = file_name(r, r, false);
	const char *text = NULL;
	int ret = text_to_save(r, false, &text);

	if (ret == 0 && text != NULL) {
		ret = path != NULL ? file_replace(path, text, strlen(text), 0600, 0) : ENOMEM;
		if (ret == 0) {
			log_open(r, path);
		}
	}
	if (ret != 0) {
		log_close(r);
		not_written(r, false, ret);
		TALLOC_FREE(r->lineage_saved[false]);
		if (path != NULL) {
			(void)unlink(path);
		}
	}
	talloc_free(path);
}

/* ---- persistent databases: beside the event loop ---- */

static void write_soon(struct recovery *r);

static void send_held(struct recovery *r)
{
	while (!dlist_empty(&r->lineage_held)) {
		struct held *h = dlist_entry(dlist_first(&r->lineage_held), struct held, link);

		if (h->version > r->lineage_written) {
			return;
		}
		dlist_remove(&h->link);
		(void)lane_post(r->dbd->lane, h->node, h->proc, h->msg);
		talloc_free(h);
	}
}

static uint32_t db_of(enum lane_proc proc, const void *msg)
{
	return proc == LANE_PROC_REC_CONTENT_STATE ? ((const struct rec_content_state *)msg)->db_id
						   : ((const struct rec_db *)msg)->db_id;
}

static const struct recovery_id *recovery_of(enum lane_proc proc, const void *msg)
{
	return proc == LANE_PROC_REC_CONTENT_STATE ? &((const struct rec_content_state *)msg)->id
						   : &((const struct rec_db *)msg)->id;
}

static void held_failed(struct recovery *r, struct held *h, int status)
{
	struct db *db;

	if (h->proc == LANE_PROC_REC_BEGIN_REPLY) {
		struct rec_begin_reply *reply = h->msg;

		reply->status = (uint32_t)status;
		reply->dbs.n = 0;
		(void)lane_post(r->dbd->lane, h->node, h->proc, reply);
		return;
	}
	db = db_find(r->dbd->dbs, db_of(h->proc, h->msg));
	if (db != NULL && recovery_id_cmp(recovery_of(h->proc, h->msg), rec_member_id(r->member)) == 0) {
		rec_member_job_done(r->member, db, status, mono_now());
	}
}

/*
 * What needs a version up to this one cannot be said: others would rely on a lineage that a power cut takes back, and
 * older contents could win then. The leader hears of a failure instead: it begins again, and blames this node.
 */
static void fail_held(struct recovery *r, uint64_t version, int status)
{
	while (!dlist_empty(&r->lineage_held)) {
		struct held *h = dlist_entry(dlist_first(&r->lineage_held), struct held, link);

		if (h->version > version) {
			break;
		}
		dlist_remove(&h->link);
		held_failed(r, h, status);
		talloc_free(h);
	}
	recovery_kick(r);
}

/* Tried again when something waits for it: at the latest with the next recovery. */
static void write_failed(struct recovery *r, int ret)
{
	not_written(r, true, ret);
	TALLOC_FREE(r->lineage_saved[true]);
	fail_held(r, r->lineage_writing, ret == EAGAIN ? ENOMEM : ret); /* no thread; for a leader it means "not yet" */
	if (!dlist_empty(&r->lineage_held)) {
		write_soon(r);
	}
}

static void write_done(struct tevent_req *req)
{
	struct recovery *r = tevent_req_callback_data(req, struct recovery);
	int ret = thread_job_recv(req);

	TALLOC_FREE(r->lineage_write);
	if (ret != 0) {
		write_failed(r, ret);
		return;
	}
	r->lineage_written = r->lineage_writing;
	send_held(r);
	if (r->lineage_written != r->lineage_version) {
		write_soon(r);
	}
}

static void watch_write(struct recovery *r)
{
	mono_timer_set_earlier(r->patience_timer, mono_add_ms(r->lineage_since, recovery_patience_ms(r)));
}

static void write_start(struct recovery *r, const char *text)
{
	char *path = file_name(r, r, true);

	r->lineage_since = mono_now();
	r->lineage_write = thread_job_send(r, r->dbd->d->ev, file_run, file_new(path, text), file_free);
	talloc_free(path);
	if (r->lineage_write == NULL) {
		write_failed(r, ENOMEM);
		return;
	}
	tevent_req_set_callback(r->lineage_write, write_done, r);
	watch_write(r);
}

/* One at a time, and not before the present event is done with: what comes meanwhile goes into the next one. */
static void write_begin(struct tevent_context *ev, struct tevent_immediate *im, void *priv)
{
	struct recovery *r = priv;
	const char *text;
	int ret;

	talloc_free(im);
	r->lineage_soon = false;
	if (r->lineage_write != NULL) {
		return;
	}
	r->lineage_writing = r->lineage_version;
	ret = text_to_save(r, true, &text);
	if (ret != 0) {
		write_failed(r, ret);
	} else if (text != NULL) {
		write_start(r, text);
	} else {
		r->lineage_written = r->lineage_version;
		send_held(r);
	}
}

static void write_soon(struct recovery *r)
{
	struct tevent_immediate *im;

	if (r->lineage_soon || r->lineage_write != NULL) {
		return;
	}
	im = tevent_create_immediate(r);
	if (im == NULL) {
		not_written(r, true, ENOMEM);
		mono_timer_set(r->patience_timer, mono_now()); /* what waits fails, but not from within its own call */
		return;
	}
	r->lineage_soon = true;
	tevent_schedule_immediate(im, r->dbd->d->ev, write_begin, r);
}

/* A disk that answers no more must not hold up the other nodes. The thread stays: if it ends, all goes on. */
struct mono lineage_patience(struct recovery *r, struct mono now)
{
	struct mono end = mono_add_ms(r->lineage_since, recovery_patience_ms(r));

	if (dlist_empty(&r->lineage_held) || r->lineage_soon) {
		return MONO_NEVER;
	}
	if (r->lineage_write == NULL) {
		fail_held(r, r->lineage_version, ENOMEM);
	} else if (mono_before(now, end)) {
		return end;
	} else {
		log_error("lineages of persistent databases are not on disk after %u s: is the disk of %s well?",
			  recovery_patience_ms(r) / 1000, r->dbd->d->conf->path.db_persistent);
		fail_held(r, r->lineage_version, ETIMEDOUT);
	}
	return MONO_NEVER;
}

static void save_later(struct recovery *r)
{
	r->lineage_version++;
	write_soon(r);
}

void lineage_save(struct recovery *r, const struct db *db)
{
	if (db == NULL || (!is_persistent(db) && !append_now(r, db))) {
		save_now(r);
	}
	if (db == NULL || is_persistent(db)) {
		save_later(r);
	}
}

/* What says, or lets others conclude, that the lineage has moved. Of volatile databases it is in its file at once. */
static bool must_wait(const struct recovery *r, enum lane_proc proc, const void *msg)
{
	const struct db *db;

	if (r->lineage_written == r->lineage_version) {
		return false;
	}
	switch ((int)proc) {
	case LANE_PROC_REC_BEGIN_REPLY:
		return ((const struct rec_begin_reply *)msg)->status == 0;
	case LANE_PROC_REC_CONTENT_STATE:
		break;
	case LANE_PROC_REC_DB_PREPARED:
		if (((const struct rec_db *)msg)->status != 0) {
			return false;
		}
		break;
	default:
		return false;
	}
	db = db_find(r->dbd->dbs, db_of(proc, msg));
	return db == NULL || is_persistent(db);
}

static void *msg_copy(TALLOC_CTX *mem, enum lane_proc proc, const void *msg)
{
	struct rec_begin_reply *copy;
	struct ctdb_blob buf = {0};

	if (proc == LANE_PROC_REC_CONTENT_STATE) {
		return talloc_memdup(mem, msg, sizeof(struct rec_content_state));
	}
	if (proc == LANE_PROC_REC_DB_PREPARED) {
		return talloc_memdup(mem, msg, sizeof(struct rec_db));
	}
	copy = talloc_zero(mem, struct rec_begin_reply);
	if (copy == NULL || rec_begin_reply_encode(copy, msg, &buf) != 0 ||
	    rec_begin_reply_decode(copy, buf.data, buf.len, copy) != 0) {
		talloc_free(copy);
		return NULL;
	}
	return copy;
}

int lineage_hold(struct recovery *r, uint32_t node, enum lane_proc proc, const void *msg)
{
	struct held *h;

	if (!must_wait(r, proc, msg)) {
		return ENOENT;
	}
	if (proc == LANE_PROC_REC_BEGIN_REPLY) {
		lineage_forget_held(r); /* of former recoveries */
	}
	h = talloc_zero(r, struct held);
	if (h == NULL) {
		return ENOMEM;
	}
	*h = (struct held){.version = r->lineage_version, .node = node, .proc = proc, .msg = msg_copy(h, proc, msg)};
	if (h->msg == NULL) {
		talloc_free(h);
		return ENOMEM;
	}
	dlist_add_tail(&r->lineage_held, &h->link);
	if (r->lineage_write != NULL) {
		watch_write(r);
	}
	write_soon(r); /* one that failed is tried again */
	return 0;
}

void lineage_forget_held(struct recovery *r)
{
	while (!dlist_empty(&r->lineage_held)) {
		struct held *h = dlist_entry(dlist_first(&r->lineage_held), struct held, link);

		dlist_remove(&h->link);
		talloc_free(h);
	}
}

static bool parse_id(char **p, struct recovery_id *id)
{
	int used = 0;

	if (sscanf(*p, " %" SCNu64 ".%" SCNu64 ".%" SCNu32 "%n", &id->term, &id->number, &id->attempt, &used) != 3) {
		return false;
	}
	*p += used;
	return true;
}

/* Does the copy deserve the lineage that was found? A damaged one was replaced by an empty one. */
static bool copy_is_there(const struct db *db, bool persistent)
{
	return is_persistent(db) == persistent && (persistent ? db->health == NULL : db->kept);
}

static void parse_line(struct recovery *r, char *line, bool persistent)
{
	struct rec_lineage l = {0};
	uint32_t id, n;
	int used = 0;
	struct db *db;

	if (sscanf(line, "%" SCNx32 " %" SCNu32 "%n", &id, &n, &used) != 2 || n > LANE_LINEAGE) {
		return;
	}
	line += used;
	if (!parse_id(&line, &l.changed)) {
		return;
	}
	for (l.n_told = 0; l.n_told < n; l.n_told++) {
		if (!parse_id(&line, &l.told[l.n_told])) {
			return;
		}
	}
	db = db_find(r->dbd->dbs, id);
	if (db != NULL && copy_is_there(db, persistent) && lineage_attach(r, db) == 0) {
		*db->lineage = l;
	}
}

static int load(struct recovery *r, bool persistent)
{
	char *path = file_name(r, r, persistent);
	FILE *f = path != NULL ? fopen(path, "re") : NULL;
	char line[4096];

	talloc_free(path);
	if (f == NULL) {
		return errno;
	}
	while (fgets(line, sizeof(line), f) != NULL) {
		parse_line(r, line, persistent);
	}
	fclose(f);
	return 0;
}

int lineage_load(struct recovery *r)
{
	int ret = load(r, false);

	return load(r, true) != 0 ? ENOENT : ret;
}

int lineage_attach(struct recovery *r, struct db *db)
{
	if (db->lineage == NULL) {
		db->lineage = talloc_zero(db, struct rec_lineage);
	}
	return db->lineage != NULL ? records_db_add(r->dbd->records, db) : ENOMEM;
}
