/* The journal of a persistent database at the start of the daemon. */
#include "dbd/journal_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <tdb.h>
#include <unistd.h>

#include "dbd/db_int.h"
#include "dbd/recdata.h"
#include "shared/log.h"

#define LOCK_TRIES    100
#define LOCK_PAUSE_US 100000

static unsigned char seqnum_key[] = "__db_sequence_number__"; /* the NUL belongs to the key */

/* ---- FILE counts ---- */

int journal_start_end(const char *path, int tdb_flags)
{
	struct tdb_context *tdb = tdb_open(path, 0, tdb_flags, O_RDWR, 0);
	int error = 0, i;

	if (tdb == NULL) {
		return errno != 0 ? errno : EIO;
	}
	for (i = 0; tdb_transaction_start_nonblock(tdb) != 0; i++) {
		if (i == LOCK_TRIES) {
			tdb_close(tdb);
			return EAGAIN;
		}
		usleep(LOCK_PAUSE_US);
	}
	error = journal_end(path, tdb_fd(tdb));
	tdb_transaction_cancel(tdb);
	tdb_close(tdb);
	return error;
}

/* ---- base and journal count ---- */

struct rebuild {
	TALLOC_CTX *mem;
	const char *path;
	char *base, *journal, *new_path;
	uint32_t db_id;
	struct journal_image image;
	uint64_t entries;
};

static TDB_DATA data_of(const uint8_t *p, size_t len)
{
	union {
		const uint8_t *in;
		unsigned char *out;
	} u = {.in = p};

	return (TDB_DATA){.dptr = u.out, .dsize = len};
}

static int tdb_error_of(struct tdb_context *tdb)
{
	int error = errno;

	if (tdb_error(tdb) == TDB_ERR_OOM) {
		return ENOMEM;
	}
	if (tdb_error(tdb) == TDB_ERR_CORRUPT) {
		return EBADMSG;
	}
	return error == ENOSPC || error == EDQUOT || error == EFBIG ? error : EIO;
}

/* What the entry says was checked before it was written. */
static int apply(struct tdb_context *tdb, uint32_t want_id, const uint8_t *p, size_t len)
{
	uint32_t db_id, count;
	struct recdata r;
	int error = recbuf_check(p, len, &db_id, &count);

	if (error != 0 || db_id != want_id) {
		return EBADMSG;
	}
	recbuf_begin(&p, &len, &db_id, &count);
	while (error == 0 && count-- > 0) {
		error = recdata_next(&p, &len, &r);
		errno = 0;
		if (error == 0 && tdb_store(tdb, data_of(r.key, r.keylen), data_of(r.data, r.datalen), 0) != 0) {
			error = tdb_error_of(tdb);
		}
	}
	return error;
}

static int apply_all(struct rebuild *b, struct tdb_context *tdb)
{
	size_t at = JOURNAL_FIRST, len;
	const uint8_t *p;
	int error = 0;

	while (error == 0) {
		error = journal_next(&b->image, &at, &b->entries, &p, &len);
		error = error == 0 ? apply(tdb, b->db_id, p, len) : error;
	}
	return error == ENOENT ? 0 : error;
}

/* The copy of the base has to be what the journal begins with. */
static int copy_base(struct rebuild *b)
{
	uint64_t size, sum;
	int from = open(b->base, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), to = -1;
	int error = from != -1 ? 0 : errno == ENOENT ? EBADMSG : errno;

	if (error == 0 && unlink(b->new_path) != 0 && errno != ENOENT) {
		error = errno;
	}
	if (error == 0) {
		to = open(b->new_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
		error = to == -1 ? errno : journal_copy(from, to, &size, &sum);
	}
	if (error == 0 && (size != b->image.base_size || sum != b->image.base_sum)) {
		error = EBADMSG;
	}
	if (from != -1) {
		close(from);
	}
	if (to != -1) {
		close(to);
	}
	return error;
}

struct position {
	uint64_t rsn, seqnum;
};

static int read_position(TDB_DATA key, TDB_DATA data, void *priv)
{
	struct position *p = priv;
	struct rec_header h;

	if (data.dsize == REC_HEADER_SIZE + sizeof(p->seqnum) && rec_header_get(data.dptr, data.dsize, &h)) {
		p->rsn = h.rsn;
		memcpy(&p->seqnum, data.dptr + REC_HEADER_SIZE, sizeof(p->seqnum));
	}
	return 0;
}

static struct position position_of(struct tdb_context *tdb)
{
	TDB_DATA key = {.dptr = seqnum_key, .dsize = sizeof(seqnum_key)};
	struct position p = {0};

	(void)tdb_parse_record(tdb, key, read_position, &p);
	return p;
}

/* Has somebody gone on with FILE who knows nothing of journals? Both numbers: one alone could be torn. */
static bool file_is_newer(const struct rebuild *b, struct tdb_context *built)
{
	struct position here = position_of(built), there;
	struct tdb_context *tdb = tdb_open(b->path, 0, TDB_DISALLOW_NESTING, O_RDWR, 0);
	bool newer = false;

	if (tdb != NULL && tdb_check(tdb, NULL, NULL) == 0) {
		there = position_of(tdb);
		newer = there.rsn > here.rsn && there.seqnum > here.seqnum;
	}
	if (tdb != NULL) {
		tdb_close(tdb);
	}
	return newer;
}

static int build(struct rebuild *b, bool file_may_count, bool *newer)
{
	struct tdb_context *tdb;
	int error = copy_base(b);

	if (error != 0) {
		return error;
	}
	tdb = tdb_open(b->new_path, 0, TDB_NOSYNC | TDB_NOLOCK, O_RDWR, 0);
	if (tdb == NULL) {
		return errno == EIO || errno == EINVAL ? EBADMSG : errno;
	}
	error = apply_all(b, tdb);
	if (error == 0 && tdb_check(tdb, NULL, NULL) != 0) {
		error = EBADMSG;
	}
	*newer = error == 0 && file_may_count && file_is_newer(b, tdb);
	if (error == 0 && fsync(tdb_fd(tdb)) != 0) {
		error = errno;
	}
	tdb_close(tdb);
	return error;
}

static int remove_name(const char *name)
{
	return unlink(name) != 0 && errno != ENOENT ? errno : 0;
}

/* J4, the last of it: FILE is synced. */
static int remove_journal(const struct rebuild *b)
{
	int error = remove_name(b->journal);

	error = error == 0 ? journal_sync_directory(b->path) : error;
	return error == 0 ? remove_name(b->base) : error;
}

static int take_over(const struct rebuild *b)
{
	int error = rename(b->new_path, b->path) != 0 ? errno : journal_sync_directory(b->path);

	if (error == 0) {
		log_notice("%s: the node lost power or the file could not be written: it was built again, of %s and "
			   "%" PRIu64 " transactions in %s",
			   b->path, b->base, b->entries, b->journal);
		error = remove_journal(b);
	}
	return error;
}

static int move_aside(const struct rebuild *b, const char *name)
{
	char *err = NULL, *aside = db_file_aside_name(b->mem, name);
	int error = aside == NULL ? ENOMEM : db_file_move_aside(b->mem, name, aside, &err);

	if (error != 0 && error != ENOENT) {
		log_error("%s", err != NULL ? err : strerror(error));
	}
	return error == ENOENT ? 0 : error;
}

/* What was written without a sync before the loss of power was synced with what came later, or is lost for both. */
static int leave_file(const struct rebuild *b)
{
	int error;

	log_warning(
		"%s: was changed by something else after the node had lost power: what it says counts; %s and %s are "
		"set aside",
		b->path, b->base, b->journal);
	error = move_aside(b, b->journal);
	error = error == 0 ? journal_sync_directory(b->path) : error;
	return error == 0 ? move_aside(b, b->base) : error;
}

static int rebuild(struct rebuild *b, bool file_may_count, enum journal_verdict *verdict)
{
	bool newer = false;
	int error = build(b, file_may_count, &newer);

	if (error == EBADMSG) {
		*verdict = JOURNAL_DAMAGED;
		(void)unlink(b->new_path);
		return 0;
	}
	if (error == 0 && newer) {
		*verdict = JOURNAL_FOREIGN;
		(void)unlink(b->new_path);
		return leave_file(b);
	}
	if (error != 0) {
		(void)unlink(b->new_path);
		return error;
	}
	*verdict = JOURNAL_REBUILT;
	return take_over(b);
}

static int start(struct rebuild *b, bool distrust_file, enum journal_verdict *verdict)
{
	int error = journal_read(b->mem, b->path, b->db_id, &b->image);

	if (error == ENOENT) {
		*verdict = JOURNAL_NONE;
		return remove_name(b->base);
	}
	if (error == EBADMSG) {
		*verdict = JOURNAL_DAMAGED;
		return 0;
	}
	if (error != 0) {
		return error;
	}
	if (b->image.same_kernel && !distrust_file) {
		*verdict = JOURNAL_KERNEL;
		return 0;
	}
	return rebuild(b, !b->image.same_kernel && !distrust_file, verdict);
}

int journal_start(TALLOC_CTX *mem, const char *path, uint32_t db_id, bool distrust_file, enum journal_verdict *verdict)
{
	struct rebuild b = {.mem = talloc_new(mem), .path = path, .db_id = db_id};
	int error = ENOMEM;

	b.base = journal_base_path(b.mem, path);
	b.journal = journal_path(b.mem, path);
	b.new_path = talloc_asprintf(b.mem, "%s.rebuild", path);
	if (b.base != NULL && b.journal != NULL && b.new_path != NULL) {
		error = start(&b, distrust_file, verdict);
	}
	if (error != 0) {
		log_error("%s: its journal cannot be dealt with: %s", path, strerror(error));
	}
	talloc_free(b.mem);
	return error;
}
