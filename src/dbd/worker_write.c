/* Worker program: jobs that change a database. */
#include "dbd/worker_prog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dbd/recdata.h"
#include "dbd/worker.h"
#include "dbd/worker_keys.h"
#include "dbd/worker_state.h"
#include "protocol/classic.h"

#define RECORD_ABOUT 256 /* bytes of a file for one record */

static TDB_DATA tdb_bytes(const uint8_t *p, size_t len)
{
	union {
		const uint8_t *in;
		unsigned char *out;
	} u = {.in = p};

	return (TDB_DATA){.dptr = u.out, .dsize = len};
}

static int store(struct wjob *job, const struct recdata *r)
{
	errno = 0;
	if (tdb_store(job->tdb, tdb_bytes(r->key, r->keylen), tdb_bytes(r->data, r->datalen), 0) != 0) {
		return wtdb_errno(job->tdb);
	}
	return 0;
}

static int begin(struct wjob *job)
{
	errno = 0;
	return tdb_transaction_start(job->tdb) == 0 ? 0 : wtdb_errno(job->tdb);
}

/* For what no journal knows of. */
static int begin_alone(struct wjob *job)
{
	int error = begin(job);

	if (error != 0) {
		return error;
	}
	error = wjournal_end(job);
	if (error != 0) {
		tdb_transaction_cancel(job->tdb);
	}
	return error;
}

/* error: of what was done since begin(); then all of it is taken back. */
static int finish(struct wjob *job, int error)
{
	if (error != 0) {
		tdb_transaction_cancel(job->tdb);
		return error;
	}
	errno = 0;
	return tdb_transaction_commit(job->tdb) == 0 ? 0 : wtdb_errno(job->tdb);
}

struct old_record {
	struct recdata new;
	bool conflict;
};

/* What is there is as new or newer, and says something else: whoever made this transaction had not seen it. */
static int compare_old(TDB_DATA key, TDB_DATA data, void *priv)
{
	struct old_record *o = priv;
	struct rec_header old_header, new_header;

	if (!rec_header_get(data.dptr, data.dsize, &old_header)) {
		return 0;
	}
	rec_header_get(o->new.data, o->new.datalen, &new_header);
	o->conflict =
		old_header.rsn >= new_header.rsn &&
		(data.dsize != o->new.datalen ||
		 memcmp(data.dptr + REC_HEADER_SIZE, o->new.data + REC_HEADER_SIZE, data.dsize - REC_HEADER_SIZE) != 0);
	return 0;
}

static int update_record(struct wjob *job, const struct recdata *r)
{
	struct old_record o = {.new = *r};

	if (r->datalen < REC_HEADER_SIZE) {
		return EBADMSG;
	}
	errno = 0;
	if (tdb_parse_record(job->tdb, tdb_bytes(r->key, r->keylen), compare_old, &o) != 0 &&
	    tdb_error(job->tdb) != TDB_ERR_NOEXIST) {
		return wtdb_errno(job->tdb);
	}
	return o.conflict ? EEXIST : store(job, r);
}

static int update_records(struct wjob *job, const uint8_t *p, size_t left, uint32_t count)
{
	struct recdata r;
	int error = 0;

	while (error == 0 && count-- > 0) {
		error = recdata_next(&p, &left, &r);
		if (error == 0) {
			error = update_record(job, &r);
		}
	}
	return error;
}

/* Once, with a journal if there is or should be one. */
static int update_once(struct wjob *job)
{
	const uint8_t *p = job->start.input.data;
	size_t left = job->start.input.len;
	uint32_t db_id, count;
	int error = begin(job);

	if (error != 0) {
		return error;
	}
	recbuf_begin(&p, &left, &db_id, &count);
	error = wjournal_ready(job);
	if (error == 0) {
		error = update_records(job, p, left, count);
	}
	return error == 0 && wjournal_is_ready(job) ? wjournal_commit(job) : finish(job, error);
}

int wjob_update(struct wjob *job)
{
	uint32_t db_id, count;
	int error = recbuf_check(job->start.input.data, job->start.input.len, &db_id, &count);

	if (error != 0) {
		return error;
	}
	if (db_id != job->start.db_id) {
		return EINVAL;
	}
	error = update_once(job);
	if (error == EAGAIN) {
		/* Without updates there is no journal: it is ended, and TDB does it alone. */
		job->start.updates = 0;
		job->result.no_journal = true;
		error = update_once(job);
	}
	return error;
}

/* ---- REPLACE ---- */

static int wipe(struct wjob *job)
{
	errno = 0;
	return tdb_wipe_all(job->tdb) == 0 ? 0 : wtdb_errno(job->tdb);
}

/*
 * Parts are replaced in place: what is equal is not written, and only what has grown moves. To remove all of
 * them first would leave free space all over the file, and TDB looks through it for each record that comes.
 */
struct replace {
	struct wjob *job;
	struct content_map map;
	struct keyset *keys; /* in these parts, marked if it came; NULL: everything is replaced */
	int error;
};

/* Also what counts as absent. */
static int replace_key(struct tdb_context *tdb, TDB_DATA key, TDB_DATA data, void *priv)
{
	struct replace *r = priv;

	if (!content_map_has(&r->map, key.dptr, key.dsize)) {
		return 0;
	}
	if (keyset_find(r->keys, key.dptr, key.dsize) != NULL) {
		r->error = EIO; /* twice: damaged */
	} else if (keyset_add(r->keys, key.dptr, key.dsize) == NULL) {
		r->error = ENOMEM;
	}
	return r->error != 0 ? -1 : 0;
}

static int replace_begin(struct replace *r)
{
	int error;

	if (r->map.n == 0) {
		return wipe(r->job);
	}
	r->keys = keyset_new(r->job, tdb_map_size(r->job->tdb) / RECORD_ABOUT);
	if (r->keys == NULL) {
		return ENOMEM;
	}
	error = wjob_each_chain(r->job, replace_key, r, NULL);
	return r->error != 0 ? r->error : error;
}

struct same_record {
	const struct recdata *wanted;
	bool same;
};

static int compare_same(TDB_DATA key, TDB_DATA data, void *priv)
{
	struct same_record *s = priv;

	s->same = data.dsize == s->wanted->datalen && memcmp(data.dptr, s->wanted->data, data.dsize) == 0;
	return 0;
}

/* NOEXIST: what a walk through the file has shown is not where it belongs, so the file is damaged. */
static int damaged(struct wjob *job)
{
	int error = wtdb_errno(job->tdb);

	return error == ENOENT || error == EEXIST ? EIO : error;
}

static int store_changed(struct wjob *job, const struct recdata *r)
{
	struct same_record s = {.wanted = r};
	TDB_DATA key = tdb_bytes(r->key, r->keylen);

	errno = 0;
	if (tdb_parse_record(job->tdb, key, compare_same, &s) != 0) {
		return damaged(job);
	}
	if (s.same || tdb_store(job->tdb, key, tdb_bytes(r->data, r->datalen), TDB_MODIFY) == 0) {
		return 0;
	}
	return damaged(job);
}

static int store_new(struct replace *r, const struct recdata *rec)
{
	struct keyset_key *k = keyset_add(r->keys, rec->key, rec->keylen);

	if (k == NULL) {
		return ENOMEM;
	}
	k->marked = true;
	errno = 0;
	if (tdb_store(r->job->tdb, tdb_bytes(rec->key, rec->keylen), tdb_bytes(rec->data, rec->datalen), TDB_INSERT) !=
	    0) {
		return damaged(r->job);
	}
	return 0;
}

static int store_in_parts(struct replace *r, const struct recdata *rec)
{
	struct keyset_key *k;

	if (!content_map_has(&r->map, rec->key, rec->keylen)) {
		return EPROTO;
	}
	k = keyset_find(r->keys, rec->key, rec->keylen);
	if (k == NULL) {
		return store_new(r, rec);
	}
	if (k->marked) {
		return EPROTO;
	}
	k->marked = true;
	return store_changed(r->job, rec);
}

static int store_all(struct replace *r, const struct worker_feed *feed)
{
	const uint8_t *p = feed->records.data;
	size_t left = feed->records.len;
	struct recdata rec;
	int error;

	while ((error = recdata_next(&p, &left, &rec)) == 0) {
		if (rec.datalen < REC_HEADER_SIZE) {
			return EBADMSG;
		}
		error = r->keys != NULL ? store_in_parts(r, &rec) : store(r->job, &rec);
		if (error != 0) {
			return error;
		}
	}
	return error == ENOENT ? 0 : error;
}

static int store_feeds(struct replace *r)
{
	struct worker_feed feed = {.last = false};
	int error = 0;

	while (error == 0 && !feed.last) {
		TALLOC_CTX *mem = talloc_new(NULL);

		if (mem == NULL) {
			return ENOMEM;
		}
		if (wjob_wait(r->job, mem, &feed) == WORKER_FRAME_FEED) {
			error = store_all(r, &feed);
		}
		talloc_free(mem);
	}
	return error;
}

static int remove_unmarked(struct keyset_key *key, void *priv)
{
	struct wjob *job = priv;

	errno = 0;
	return key->marked || tdb_delete(job->tdb, tdb_bytes(key->bytes, key->len)) == 0 ? 0 : damaged(job);
}

/* In the transaction: nobody else has seen what came of it yet. */
static int check_result(struct wjob *job)
{
	struct wstate *state = talloc_zero(job, struct wstate);
	int error = state != NULL ? wstate_read(job, state) : ENOMEM;

	if (error == 0) {
		job->result.seqnum = state->seqnum;
		job->result.digest = state->digest;
		error = state->seqnum == job->start.seqnum && state->digest == job->start.digest ? 0 : EILSEQ;
	}
	talloc_free(state);
	return error;
}

static int replace(struct replace *r)
{
	int error = replace_begin(r);

	if (error == 0) {
		error = store_feeds(r);
	}
	if (error == 0 && r->keys != NULL) {
		error = keyset_each(r->keys, remove_unmarked, r->job);
	}
	TALLOC_FREE(r->keys);
	if (error == 0 && r->job->start.check) {
		error = check_result(r->job);
	}
	return error;
}

int wjob_replace(struct wjob *job)
{
	struct replace r = {.job = job};
	int error;

	if (!content_map_set(&r.map, job->start.parts, job->start.input.data, job->start.input.len)) {
		return EBADMSG;
	}
	error = begin_alone(job);
	return error != 0 ? error : finish(job, replace(&r));
}

/*
 * Always in a transaction, also of a volatile file: it learns the true size of the file, which tdb_wipe_all() by itself
 * does not. With the size of long ago it forgets the free space behind it, and the next allocation next to that space
 * expands the file without end (seen with TDB 1.4.8).
 */
int wjob_wipe(struct wjob *job)
{
	int error = begin_alone(job);

	return error != 0 ? error : finish(job, wipe(job));
}

/* Waits for the word to let go; true: everything has to go before. */
static bool freeze_wait(struct wjob *job)
{
	struct worker_feed feed = {.last = false};
	bool wanted = false;

	while (!feed.last) {
		TALLOC_CTX *mem = talloc_new(NULL);

		if (wjob_wait(job, mem, &feed) == WORKER_FRAME_FEED) {
			wanted = wanted || feed.records.len > 0;
		}
		talloc_free(mem);
	}
	return wanted;
}

/* On behalf of the daemon, which works on the chain meanwhile. A kill lets go. */
int wjob_lock(struct wjob *job)
{
	TDB_DATA key = tdb_bytes(job->start.input.data, job->start.input.len);
	uint8_t locked = 1;

	errno = 0;
	if (tdb_chainlock(job->tdb, key) != 0) {
		return wtdb_errno(job->tdb);
	}
	wjob_send_batch(job, &locked, sizeof(locked));
	(void)freeze_wait(job);
	tdb_chainunlock(job->tdb, key);
	return 0;
}

/* A transaction that is only begun: nobody else gets a record for writing until it ends, and a kill leaves everything
 * as it was. */
int wjob_freeze(struct wjob *job)
{
	uint8_t frozen = 1;
	int error = begin_alone(job);

	if (error != 0) {
		return error;
	}
	wjob_send_batch(job, &frozen, sizeof(frozen));
	if (freeze_wait(job)) {
		return finish(job, wipe(job));
	}
	tdb_transaction_cancel(job->tdb);
	return 0;
}

/* ---- EDIT ---- */

/* Delegations end with a restore: nobody knows any more who has a copy. */
static int store_without_delegations(struct wjob *job, struct recdata *r, TALLOC_CTX *mem)
{
	struct rec_header h;
	uint8_t *data;
	int error;

	if (r->keylen == 0 || !rec_header_get(r->data, r->datalen, &h)) {
		return EBADMSG;
	}
	if ((h.flags & CLASSIC_REC_RO_FLAGS) == 0) {
		return store(job, r);
	}
	data = talloc_memdup(mem, r->data, r->datalen);
	if (data == NULL) {
		return ENOMEM;
	}
	h.flags &= ~(uint32_t)CLASSIC_REC_RO_FLAGS;
	rec_header_put(data, &h);
	r->data = data;
	error = store(job, r);
	talloc_free(data);
	return error;
}

static int edit_store(struct wjob *job, const uint8_t *p, size_t left, TALLOC_CTX *mem)
{
	struct recdata r;
	int error;

	while ((error = recdata_next(&p, &left, &r)) == 0) {
		error = store_without_delegations(job, &r, mem);
		if (error != 0) {
			return error;
		}
		job->result.records++;
	}
	return error == ENOENT ? 0 : error;
}

/* Nobody else gets in between: who writes here asks the engine of the daemon, which is closed. */
static int edit_undo(struct wjob *job)
{
	tdb_transaction_cancel(job->tdb);
	job->result.records = 0;
	return begin(job);
}

static int edit_step(struct wjob *job, const struct worker_feed *feed, TALLOC_CTX *mem)
{
	const uint8_t *p = feed->records.data;

	switch (feed->records.len > 0 ? p[0] : 0) {
	case WORKER_EDIT_WIPE:
		return wipe(job);
	case WORKER_EDIT_STORE:
		return edit_store(job, p + 1, feed->records.len - 1, mem);
	case WORKER_EDIT_UNDO:
		return edit_undo(job);
	case WORKER_EDIT_COMMIT:
		return feed->last ? 0 : EBADMSG;
	default:
		return feed->last ? ECANCELED : EBADMSG;
	}
}

static int edit_steps(struct wjob *job)
{
	struct worker_feed feed = {.last = false};
	int error = 0;

	while (error == 0 && !feed.last) {
		TALLOC_CTX *mem = talloc_new(NULL);

		if (mem == NULL) {
			return ENOMEM;
		}
		if (wjob_wait(job, mem, &feed) == WORKER_FRAME_FEED) {
			error = edit_step(job, &feed, mem);
		}
		talloc_free(mem);
	}
	return error;
}

int wjob_edit(struct wjob *job)
{
	uint8_t frozen = 1;
	int error = begin_alone(job);

	if (error != 0) {
		return error;
	}
	wjob_send_batch(job, &frozen, sizeof(frozen));
	return finish(job, edit_steps(job));
}

/* Under no lock of its own: wjournal_settle() takes it. */
int wjob_settle(struct wjob *job)
{
	return wjournal_settle(job, true);
}
