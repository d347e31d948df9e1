/* Worker program: the state of a database. What the digests are: worker.h, struct worker_state. */
#include "dbd/worker_state.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/hash.h"
#include "dbd/worker.h"

static const char seqnum_key[] = "__db_sequence_number__"; /* the NUL belongs to the key */

static bool is_seqnum(TDB_DATA key, TDB_DATA data)
{
	return key.dsize == sizeof(seqnum_key) && memcmp(key.dptr, seqnum_key, key.dsize) == 0 &&
	       data.dsize == REC_HEADER_SIZE + sizeof(uint64_t);
}

/* Integers little endian: the same on all machines. */
static uint64_t fnv1a_u64(uint64_t h, uint64_t v)
{
	v = htole64(v);
	return hash_fnv1a64(h, &v, sizeof(v));
}

static uint64_t record_digest(TDB_DATA key, TDB_DATA data, const struct rec_header *h, uint64_t *seqnum)
{
	uint64_t d = fnv1a_u64(HASH_FNV1A64, key.dsize);

	d = hash_fnv1a64(d, key.dptr, key.dsize);
	d = fnv1a_u64(d, h->rsn);
	if (is_seqnum(key, data)) {
		memcpy(seqnum, data.dptr + REC_HEADER_SIZE, sizeof(*seqnum));
		return hash_mix64(fnv1a_u64(d, *seqnum));
	}
	return hash_mix64(hash_fnv1a64(d, data.dptr + REC_HEADER_SIZE, data.dsize - REC_HEADER_SIZE));
}

void wstate_add(struct wstate *s, TDB_DATA key, TDB_DATA data, const struct rec_header *h)
{
	uint64_t d = record_digest(key, data, h, &s->seqnum);

	s->digest += d;
	s->sums[content_hash(key.dptr, key.dsize) % LANE_PARTS] += d;
	s->records += data.dsize > REC_HEADER_SIZE;
	s->all++;
}

static int add_record(struct tdb_context *tdb, TDB_DATA key, TDB_DATA data, void *priv)
{
	struct rec_header h;

	if (rec_header_get(data.dptr, data.dsize, &h)) {
		wstate_add(priv, key, data, &h);
	}
	return 0;
}

int wstate_read(struct wjob *job, struct wstate *s)
{
	return wjob_each_chain(job, add_record, s, NULL);
}

/* Also the sums, for as many parts as that many records deserve. */
static int tell(struct wjob *job, struct wstate *s)
{
	uint32_t n = content_parts_count(s->all);

	job->result.seqnum = s->seqnum;
	job->result.digest = s->digest;
	job->result.records = s->records;
	if (n > 0) {
		content_parts_fold(s->sums, LANE_PARTS, n);
		job->result.sums.len = n * (uint32_t)sizeof(uint64_t);
		job->result.sums.data = talloc_memdup(job, s->sums, job->result.sums.len);
	}
	return n > 0 && job->result.sums.data == NULL ? ENOMEM : 0;
}

int wjob_seqnum(struct wjob *job)
{
	struct wstate *s = talloc_zero(job, struct wstate);
	/* What is told now must not change by itself later. */
	int error = s != NULL ? wjournal_settle(job, false) : ENOMEM;

	if (error != 0) {
		return error;
	}
	errno = 0;
	if (tdb_lockall_read(job->tdb) != 0) {
		return wtdb_errno(job->tdb);
	}
	error = wstate_read(job, s);
	tdb_unlockall_read(job->tdb);
	return error == 0 ? tell(job, s) : error;
}
