/* Worker program: jobs that read whole databases. */
#include "dbd/worker_prog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dbd/recdata.h"
#include "dbd/scan_filter.h"
#include "dbd/worker_state.h"
#include "dbd/worker.h"
#include "dbd/worker_spool.h"

#define PAGE_BYTES (100U * 1024U)

struct scan {
	struct wjob *job;
	struct rec_scan_filter filter;
	bool filtered;
	struct content_map map; /* READ */
	struct wstate *state;   /* READ: NULL if nobody wants it */
	struct spool spool;
	int error;
};

static int put_scan_entry(struct scan *s, TDB_DATA key, TDB_DATA data, const struct rec_header *h)
{
	struct worker_scan_entry e = {
		.rsn = h->rsn,
		.flags = h->flags,
		.dmaster = h->dmaster,
		.keylen = (uint32_t)key.dsize,
		.empty = data.dsize == REC_HEADER_SIZE,
	};
	size_t n = (sizeof(e) + key.dsize + 7) & ~(size_t)7;
	uint8_t *p = spool_room(&s->spool, n);

	if (p == NULL) {
		return ENOMEM;
	}
	memset(p + n - 8, 0, 8);
	memcpy(p, &e, sizeof(e));
	memcpy(p + sizeof(e), key.dptr, key.dsize);
	return 0;
}

static int put_rec_data(struct scan *s, TDB_DATA key, TDB_DATA data)
{
	size_t n = recdata_size(key.dsize, data.dsize);
	uint8_t *p;

	if (n > WORKER_DATA_MAX) {
		return EMSGSIZE;
	}
	p = spool_room(&s->spool, n);
	if (p == NULL) {
		return ENOMEM;
	}
	recdata_put(p, 0, key.dptr, (uint32_t)key.dsize, data.dptr, (uint32_t)data.dsize);
	return 0;
}

/* The same on all nodes. */
static uint32_t key_part(TDB_DATA key, uint32_t parts)
{
	return (uint32_t)(content_hash(key.dptr, key.dsize) % parts);
}

/* Runs under the lock of the chain: only collects. */
static int scan_record(struct tdb_context *tdb, TDB_DATA key, TDB_DATA data, void *priv)
{
	struct scan *s = priv;
	const struct worker_start *start = &s->job->start;
	struct rec_header h;

	if (s->error != 0) {
		return -1;
	}
	if (!rec_header_get(data.dptr, data.dsize, &h)) {
		return 0;
	}
	if (s->state != NULL) {
		wstate_add(s->state, key, data, &h);
	}
	if (!content_map_has(&s->map, key.dptr, key.dsize)) {
		return 0;
	}
	if (s->filtered && !rec_filter_passes(&s->filter, key.dptr, key.dsize, h.dmaster)) {
		return 0;
	}
	if (start->op == WORKER_PAGE && key_part(key, start->parts) != start->part) {
		return 0;
	}
	if (start->op == WORKER_SCAN || start->op == WORKER_PAGE) {
		s->error = put_scan_entry(s, key, data, &h);
	} else {
		if (data.dsize == REC_HEADER_SIZE && !start->with_empty) {
			return 0;
		}
		if (start->only_owned && h.dmaster != start->own_pnn) {
			return 0;
		}
		s->error = put_rec_data(s, key, data);
		s->job->result.records += s->error == 0;
	}
	return s->error != 0 ? -1 : 0;
}

/*
 * Each record of each chain. tdb_traverse_read() would take a file lock for every record and hold a lock against
 * transactions all the time; chain by chain is cheaper, and between two chains no lock is held.
 */
int wjob_each_chain(struct wjob *job, tdb_traverse_func fn, void *priv, void (*between)(void *priv))
{
	unsigned n = (unsigned)tdb_hash_size(job->tdb);
	unsigned chain;

	for (chain = 0; chain < n; chain++) {
		errno = 0;
		if (tdb_traverse_chain(job->tdb, chain, fn, priv) == -1) {
			return wtdb_errno(job->tdb);
		}
		if (between != NULL) {
			between(priv);
		}
	}
	return 0;
}

static bool wants_snapshot(const struct wjob *job)
{
	return (job->start.db_flags & (DB_PERSISTENT | DB_REPLICATED)) != 0;
}

static void scan_between_chains(void *priv)
{
	struct scan *s = priv;

	spool_send_full(s->job, &s->spool);
}

/* Under the lock of the whole file: others wait for it, so it does not wait for the consumer. */
static void scan_between_locked(void *priv)
{
	struct scan *s = priv;

	if (s->error == 0) {
		s->error = spool_keep(s->job, &s->spool);
	}
}

/* Which records are wanted, and whether their state is. */
static int scan_begin(struct wjob *job, struct scan *s)
{
	const struct worker_start *start = &job->start;

	if (start->op == WORKER_READ) {
		s->state = start->with_state ? talloc_zero(job, struct wstate) : NULL;
		if (start->with_state && s->state == NULL) {
			return ENOMEM;
		}
		return content_map_set(&s->map, start->parts, start->input.data, start->input.len) ? 0 : EBADMSG;
	}
	s->filtered = start->input.len > 0;
	return s->filtered && scan_filter_decode(job, &start->input, &s->filter) != 0 ? EBADMSG : 0;
}

int wjob_scan(struct wjob *job)
{
	struct scan s = {.job = job};
	bool snapshot = wants_snapshot(job);
	int error = scan_begin(job, &s);

	if (error != 0) {
		return error;
	}
	if (snapshot && tdb_lockall_read(job->tdb) != 0) {
		return wtdb_errno(job->tdb);
	}
	error = wjob_each_chain(job, scan_record, &s, snapshot ? scan_between_locked : scan_between_chains);
	if (snapshot) {
		tdb_unlockall_read(job->tdb);
	}
	error = s.error != 0 ? s.error : error;
	if (error == 0 && s.state != NULL) {
		job->result.seqnum = s.state->seqnum;
		job->result.digest = s.state->digest;
	}
	if (error == 0) {
		error = spool_send_all(job, &s.spool);
	}
	spool_free(&s.spool);
	return error;
}

/* Whole chains, so that nothing has to be remembered between two pages. */
int wjob_page(struct wjob *job)
{
	unsigned n = (unsigned)tdb_hash_size(job->tdb), chain;
	struct scan s = {.job = job};

	if (job->start.parts == 0 || job->start.part >= job->start.parts) {
		return EINVAL;
	}
	for (chain = job->start.chain; chain < n && s.spool.front.bytes < PAGE_BYTES; chain++) {
		errno = 0;
		if (tdb_traverse_chain(job->tdb, chain, scan_record, &s) == -1) {
			spool_free(&s.spool);
			return s.error != 0 ? s.error : wtdb_errno(job->tdb);
		}
	}
	(void)spool_send_all(job, &s.spool); /* there is no file that could fail */
	spool_free(&s.spool);
	job->result.next_chain = chain < n ? chain : 0;
	return 0;
}

int wjob_check(struct wjob *job)
{
	return tdb_check(job->tdb, NULL, NULL) == 0 ? 0 : EIO;
}
