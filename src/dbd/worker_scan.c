/* Worker program: jobs that read whole databases. */
#include "dbd/worker_prog.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dbd/recdata.h"
#include "dbd/scan_filter.h"
#include "dbd/worker.h"
#include "dbd/worker_spool.h"

#define PAGE_BYTES (100U * 1024U)

struct scan {
	struct wjob *job;
	struct rec_scan_filter filter;
	bool filtered;
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

static uint64_t fnv1a(uint64_t h, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t i;

	for (i = 0; i < len; i++) {
		h = (h ^ p[i]) * 0x100000001b3ULL;
	}
	return h;
}

/* Each bit of h decides about half of the bits of the result: sums of such values do not cancel. */
static uint64_t mix(uint64_t h)
{
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdULL;
	h ^= h >> 33;
	h *= 0xc4ceb9fe1a85ec53ULL;
	return h ^ (h >> 33);
}

/* The same on all nodes. */
static uint32_t key_part(TDB_DATA key, uint32_t parts)
{
	return (uint32_t)(mix(fnv1a(0xcbf29ce484222325ULL, key.dptr, key.dsize)) % parts);
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
	}
	return s->error != 0 ? -1 : 0;
}

/*
 * Each record of each chain. tdb_traverse_read() would take a file lock for every record and hold a lock against
 * transactions all the time; chain by chain is cheaper, and between two chains no lock is held.
 */
static int each_chain(struct wjob *job, tdb_traverse_func fn, void *priv, void (*between)(void *priv))
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

int wjob_scan(struct wjob *job)
{
	struct scan s = {.job = job};
	bool snapshot = wants_snapshot(job);
	int error;

	if (job->start.op == WORKER_SCAN && job->start.input.len > 0) {
		if (scan_filter_decode(job, &job->start.input, &s.filter) != 0) {
			return EBADMSG;
		}
		s.filtered = true;
	}
	if (snapshot && tdb_lockall_read(job->tdb) != 0) {
		return wtdb_errno(job->tdb);
	}
	error = each_chain(job, scan_record, &s, snapshot ? scan_between_locked : scan_between_chains);
	if (snapshot) {
		tdb_unlockall_read(job->tdb);
	}
	error = s.error != 0 ? s.error : error;
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

/* ---- sequence number and digest ---- */

static unsigned char seqnum_key[] = "__db_sequence_number__"; /* the NUL belongs to the key */

static bool is_seqnum(TDB_DATA key, TDB_DATA data)
{
	return key.dsize == sizeof(seqnum_key) && memcmp(key.dptr, seqnum_key, key.dsize) == 0 &&
	       data.dsize == REC_HEADER_SIZE + sizeof(uint64_t);
}

/* Integers little endian: the same on all machines. */
static uint64_t fnv1a_u64(uint64_t h, uint64_t v)
{
	v = htole64(v);
	return fnv1a(h, &v, sizeof(v));
}

static uint64_t record_digest(TDB_DATA key, TDB_DATA data, const struct rec_header *h)
{
	uint64_t d = fnv1a_u64(0xcbf29ce484222325ULL, key.dsize), seqnum;

	d = fnv1a(d, key.dptr, key.dsize);
	d = fnv1a_u64(d, h->rsn);
	if (is_seqnum(key, data)) {
		memcpy(&seqnum, data.dptr + REC_HEADER_SIZE, sizeof(seqnum));
		return mix(fnv1a_u64(d, seqnum));
	}
	return mix(fnv1a(d, data.dptr + REC_HEADER_SIZE, data.dsize - REC_HEADER_SIZE));
}

static int digest_record(struct tdb_context *tdb, TDB_DATA key, TDB_DATA data, void *priv)
{
	struct wjob *job = priv;
	struct rec_header h;

	if (rec_header_get(data.dptr, data.dsize, &h)) {
		job->result.digest += record_digest(key, data, &h);
		job->result.records += data.dsize > REC_HEADER_SIZE;
	}
	return 0;
}

static int seqnum_record(TDB_DATA key, TDB_DATA data, void *priv)
{
	uint64_t *seqnum = priv;

	if (data.dsize == REC_HEADER_SIZE + sizeof(*seqnum)) {
		memcpy(seqnum, data.dptr + REC_HEADER_SIZE, sizeof(*seqnum));
	}
	return 0;
}

static int read_seqnum(struct wjob *job)
{
	TDB_DATA key = {.dptr = seqnum_key, .dsize = sizeof(seqnum_key)};

	errno = 0;
	if (tdb_parse_record(job->tdb, key, seqnum_record, &job->result.seqnum) != 0 &&
	    tdb_error(job->tdb) != TDB_ERR_NOEXIST) {
		return wtdb_errno(job->tdb);
	}
	return 0;
}

int wjob_seqnum(struct wjob *job)
{
	/* What is told now must not change by itself later. */
	int error = wjournal_settle(job, false);

	if (error != 0) {
		return error;
	}
	errno = 0;
	if (tdb_lockall_read(job->tdb) != 0) {
		return wtdb_errno(job->tdb);
	}
	error = read_seqnum(job);
	if (error == 0) {
		error = each_chain(job, digest_record, job, NULL);
	}
	tdb_unlockall_read(job->tdb);
	return error;
}

int wjob_check(struct wjob *job)
{
	return tdb_check(job->tdb, NULL, NULL) == 0 ? 0 : EIO;
}
