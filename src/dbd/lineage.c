/* Lineages of the copies of this node, kept in files that live as long as the copies. */
#include <errno.h>
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
 * told. Written to a new file that takes the old one's name. A line that cannot be read counts as no lineage: the copy
 * is then wiped and filled again, which is safe.
 */
static char *file_name(TALLOC_CTX *mem, const struct recovery *r, bool persistent)
{
	const struct daemon *d = r->dbd->d;

	return persistent ? talloc_asprintf(mem, "%s/lineage.%u", d->conf->path.db_persistent, d->pnn)
			  : talloc_asprintf(mem, "%s/dbd.lineage", d->conf->path.run);
}

static bool is_persistent(const struct db *db)
{
	return (db->flags & DB_PERSISTENT) != 0;
}

static char *append_id(char *line, const struct recovery_id *id)
{
	return talloc_asprintf_append_buffer(line, " %" PRIu64 ".%" PRIu64 ".%" PRIu32, id->term, id->number,
					     id->attempt);
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
	return talloc_strdup_append_buffer(text, "\n");
}

static char *text_of(const struct recovery *r, TALLOC_CTX *mem, bool persistent)
{
	char *text = talloc_strdup(mem, "");

	dlist_for_each(e, dbs_list(r->dbd->dbs))
	{
		const struct db *db = dlist_entry(e, struct db, link);
		char *longer = is_persistent(db) == persistent ? append_db(text, db) : text;

		text = longer != NULL ? longer : text;
	}
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

/* An old lineage must not outlive a newer copy: without a file the copy is wiped after a restart, which is safe. */
static int replace(const char *path, const char *text, bool persistent)
{
	int ret = file_replace(path, text, strlen(text), 0600, persistent ? FILE_REPLACE_DURABLE : 0);

	if (ret != 0) {
		(void)unlink(path);
	}
	return ret;
}

static int file_run(void *arg)
{
	struct lineage_file *f = arg;

	return replace(f->path, f->text, true);
}

static void not_written(struct recovery *r, bool persistent, int ret)
{
	char *path = file_name(r, r, persistent);

	log_error("cannot write %s: %s; a restarted ctdb-dbd will fetch this node's records again",
		  path != NULL ? path : "the file of lineages", strerror(ret));
	talloc_free(path);
}

/* The newest text; NULL: the file has it, or it has been given to a thread, or there is no memory (said). */
static char *text_to_save(struct recovery *r, bool persistent)
{
	char *text = text_of(r, r, persistent);
	char **saved = &r->lineage_saved[persistent];

	if (text != NULL && *saved != NULL && strcmp(text, *saved) == 0) {
		talloc_free(text);
		return NULL;
	}
	TALLOC_FREE(*saved);
	if (text == NULL) {
		log_error("out of memory: lineages are not written");
	}
	*saved = text;
	return text;
}

static void save_now(struct recovery *r)
{
	char *text = text_to_save(r, false);
	char *path = text != NULL ? file_name(r, r, false) : NULL;
	int ret = text == NULL ? 0 : path == NULL ? ENOMEM : replace(path, text, false);

	if (ret != 0) {
		not_written(r, false, ret);
		TALLOC_FREE(r->lineage_saved[false]);
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

/* Failed: there is no file any more, which is safe, too. */
static void write_done(struct tevent_req *req)
{
	struct recovery *r = tevent_req_callback_data(req, struct recovery);
	int ret = thread_job_recv(req);

	TALLOC_FREE(r->lineage_write);
	r->lineage_written = r->lineage_writing;
	if (ret != 0) {
		not_written(r, true, ret);
	}
	send_held(r);
	if (ret != 0) {
		TALLOC_FREE(r->lineage_saved[true]); /* the next change is written, whatever it is */
	}
	if (r->lineage_written != r->lineage_version) {
		write_soon(r);
	}
}

static void write_settled(struct recovery *r)
{
	r->lineage_written = r->lineage_version;
	send_held(r);
}

static void write_start(struct recovery *r, const char *text)
{
	char *path = file_name(r, r, true);

	r->lineage_writing = r->lineage_version;
	r->lineage_write = thread_job_send(r, r->dbd->d->ev, file_run, file_new(path, text), file_free);
	talloc_free(path);
	if (r->lineage_write == NULL) {
		not_written(r, true, ENOMEM);
		TALLOC_FREE(r->lineage_saved[true]);
		write_settled(r);
		return;
	}
	tevent_req_set_callback(r->lineage_write, write_done, r);
}

/* One at a time, and not before the present event is done with: what comes meanwhile goes into the next one. */
static void write_begin(struct tevent_context *ev, struct tevent_immediate *im, void *priv)
{
	struct recovery *r = priv;
	const char *text;

	talloc_free(im);
	r->lineage_soon = false;
	if (r->lineage_write != NULL) {
		return;
	}
	text = text_to_save(r, true);
	if (text != NULL) {
		write_start(r, text);
	} else {
		write_settled(r);
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
		return; /* what waits goes on waiting, until the next change */
	}
	r->lineage_soon = true;
	tevent_schedule_immediate(im, r->dbd->d->ev, write_begin, r);
}

static void save_later(struct recovery *r)
{
	r->lineage_version++;
	write_soon(r);
}

void lineage_save(struct recovery *r, const struct db *db)
{
	if (db == NULL || !is_persistent(db)) {
		save_now(r);
	}
	if (db == NULL || is_persistent(db)) {
		save_later(r);
	}
}

/* What says, or lets others conclude, that the lineage has moved. Of volatile databases it is in its file at once. */
static bool must_wait(const struct recovery *r, enum lane_proc proc, const void *msg)
{
	uint32_t id;
	const struct db *db;

	if (r->lineage_written == r->lineage_version) {
		return false;
	}
	switch ((int)proc) {
	case LANE_PROC_REC_BEGIN_REPLY:
		return true;
	case LANE_PROC_REC_CONTENT_STATE:
		id = ((const struct rec_content_state *)msg)->db_id;
		break;
	case LANE_PROC_REC_DB_PREPARED:
		id = ((const struct rec_db *)msg)->db_id;
		break;
	default:
		return false;
	}
	db = db_find(r->dbd->dbs, id);
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
