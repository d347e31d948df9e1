/* Reading backup files: ours here, those of CTDB's own tool in backup_classic.c. */
#include "backup_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gnutls/crypto.h>

#include "base/xdr.h"
#include "protocol/classic.h"
#include "text.h"

/* Key and data as one record of a message, with all that stands around them. */
#define RECORD_BYTES_MAX (CLASSIC_DATA_MAX - 128U)

int backup_bad(const struct backup_reader *r, char *error, const char *what)
{
	snprintf(error, BACKUP_ERROR_MAX, "%s: %s at byte %lld", r->path, what, (long long)ftello(r->f));
	return EBADMSG;
}

int backup_get(struct backup_reader *r, void *buf, size_t len, char *error)
{
	errno = 0;
	if (len > 0 && fread(buf, len, 1, r->f) != 1) {
		if (feof(r->f)) {
			return backup_bad(r, error, "the file is cut short");
		}
		snprintf(error, BACKUP_ERROR_MAX, "%s: cannot be read: %s", r->path,
			 strerror(errno != 0 ? errno : EIO));
		return errno != 0 ? errno : EIO;
	}
	if (r->hashing && gnutls_hash(r->hash, buf, len) != 0) {
		return ENOMEM;
	}
	return r->pass != NULL && gnutls_hash(r->pass, buf, len) != 0 ? ENOMEM : 0;
}

static int bad_record(const struct backup_reader *r, const struct backup_record *record, const char *what, char *error)
{
	char *key = text_quote(record->key.data, record->key.len < 100 ? record->key.len : 100);

	snprintf(error, BACKUP_ERROR_MAX, "%s: record %s%s %s", r->path, key != NULL ? key : "",
		 record->key.len > 100 ? "..." : "", what);
	free(key);
	return EBADMSG;
}

/* Numbers only ever go up: there has to be room above. */
int backup_check_record(const struct backup_reader *r, const struct backup_record *record, char *error)
{
	if (record->key.len == 0) {
		return backup_bad(r, error, "there is a record without key");
	}
	if (record->rsn > INT64_MAX) {
		return bad_record(r, record, "has an impossible record sequence number", error);
	}
	if (record->key.len > CLASSIC_KEY_MAX || (uint64_t)record->key.len + record->data.len > RECORD_BYTES_MAX) {
		return bad_record(r, record, "is too large: no daemon would take it", error);
	}
	return 0;
}

static int check_seqnum(const struct backup_reader *r, uint64_t seqnum, char *error)
{
	if (seqnum > INT64_MAX) {
		snprintf(error, BACKUP_ERROR_MAX, "%s: has an impossible sequence number", r->path);
		return EBADMSG;
	}
	return 0;
}

int backup_end_of_pass(struct backup_reader *r, char *error)
{
	uint8_t digest[sizeof(r->digest)];

	gnutls_hash_output(r->pass, digest);
	if (!r->checked) {
		r->checked = true;
		memcpy(r->digest, digest, sizeof(digest));
	} else if (memcmp(r->digest, digest, sizeof(digest)) != 0) {
		snprintf(error, BACKUP_ERROR_MAX, "%s: has been changed since it was checked", r->path);
		return EBADMSG;
	}
	return ENOENT;
}

uint64_t backup_left(const struct backup_reader *r)
{
	off_t at = ftello(r->f);

	return at < 0 || at > r->size ? 0 : (uint64_t)(r->size - at);
}

/* The bytes of the head count for the checksum unless it is that of the end. */
static int next_frame(struct backup_reader *r, uint32_t *type, char *error)
{
	uint8_t head[8];
	struct xdr_in in = {.p = head, .end = head + sizeof(head)};
	bool hashing = r->hashing;
	uint32_t len;
	int err;

	r->hashing = false;
	err = backup_get(r, head, sizeof(head), error);
	r->hashing = hashing;
	if (err != 0) {
		return err;
	}
	*type = xdr_get_u32(&in);
	len = xdr_get_u32(&in);
	if (*type < BACKUP_FRAME_HEADER || *type > BACKUP_FRAME_END || len > BACKUP_FRAME_MAX) {
		return backup_bad(r, error, "the file is damaged");
	}
	if (len > backup_left(r)) {
		return backup_bad(r, error, "the file is cut short");
	}
	r->hashing = hashing && *type != BACKUP_FRAME_END;
	if (r->hashing && gnutls_hash(r->hash, head, sizeof(head)) != 0) {
		return ENOMEM;
	}
	TALLOC_FREE(r->frame);
	r->frame = talloc_size(r, len);
	r->frame_len = len;
	return r->frame == NULL ? ENOMEM : backup_get(r, r->frame, len, error);
}

static int read_header(struct backup_reader *r, struct backup_header *header, char *error)
{
	uint32_t type;
	int err = next_frame(r, &type, error);

	if (err != 0) {
		return err;
	}
	if (type != BACKUP_FRAME_HEADER || backup_header_decode(r, r->frame, r->frame_len, header) != 0) {
		return backup_bad(r, error, "the file is damaged");
	}
	if (header->format != BACKUP_VERSION) {
		snprintf(error, BACKUP_ERROR_MAX, "%s: is a backup of format %u; this program reads format %u", r->path,
			 header->format, BACKUP_VERSION);
		return EBADMSG;
	}
	return header->name[0] == '\0' ? backup_bad(r, error, "there is no name of a database") : 0;
}

static int take_end(struct backup_reader *r, struct backup_end *end, char *error)
{
	if (backup_end_decode(r, r->frame, r->frame_len, end) != 0) {
		return backup_bad(r, error, "the file is damaged");
	}
	return backup_left(r) != 0 ? backup_bad(r, error, "there is something behind the end of the backup") : 0;
}

static void drop_block(struct backup_reader *r)
{
	TALLOC_FREE(r->block_mem);
	r->block = (struct backup_records){.records = {.n = 0}};
	r->at = 0;
}

/* 0; ENOENT: the end, in *end. */
static int next_block(struct backup_reader *r, struct backup_end *end, char *error)
{
	uint32_t type;
	int err = next_frame(r, &type, error);

	if (err != 0) {
		return err;
	}
	if (type == BACKUP_FRAME_END) {
		err = take_end(r, end, error);
		return err == 0 ? backup_end_of_pass(r, error) : err;
	}
	drop_block(r);
	r->block_mem = talloc_new(r);
	if (r->block_mem == NULL) {
		return ENOMEM;
	}
	if (type != BACKUP_FRAME_RECORDS ||
	    backup_records_decode(r->block_mem, r->frame, r->frame_len, &r->block) != 0) {
		r->block = (struct backup_records){.records = {.n = 0}};
		return backup_bad(r, error, "the file is damaged");
	}
	return 0;
}

int backup_next(struct backup_reader *r, struct backup_record *record, char *error)
{
	struct backup_end end;

	if (r->classic) {
		return backup_classic_next(r, record, error);
	}
	while (r->at == r->block.records.n) {
		int err = next_block(r, &end, error);

		if (err != 0) {
			return err;
		}
	}
	*record = r->block.records.v[r->at++];
	return 0;
}

static int verify_records(struct backup_reader *r, struct backup_info *info, struct backup_end *end, char *error)
{
	int err;

	while ((err = next_block(r, end, error)) == 0) {
		for (uint32_t i = 0; i < r->block.records.n && err == 0; i++) {
			err = backup_check_record(r, &r->block.records.v[i], error);
		}
		if (err != 0) {
			return err;
		}
		info->records += r->block.records.n;
	}
	return err == ENOENT ? check_seqnum(r, end->seqnum, error) : err;
}

/* Reads everything and compares it with what the end says. */
static int verify(struct backup_reader *r, struct backup_info *info, char *error)
{
	struct backup_end end = {.records = 0};
	uint8_t sha256[32], numbers[16];
	struct xdr_out x = {.p = numbers, .end = numbers + sizeof(numbers)};
	int err = verify_records(r, info, &end, error);

	if (err != 0) {
		return err;
	}
	xdr_put_u64(&x, end.records);
	xdr_put_u64(&x, end.seqnum);
	if (gnutls_hash(r->hash, numbers, sizeof(numbers)) != 0) {
		return ENOMEM;
	}
	gnutls_hash_output(r->hash, sha256);
	if (memcmp(sha256, end.sha256, sizeof(sha256)) != 0) {
		snprintf(error, BACKUP_ERROR_MAX, "%s: is damaged: its checksum is wrong", r->path);
		return EBADMSG;
	}
	if (end.records != info->records) {
		snprintf(error, BACKUP_ERROR_MAX, "%s: is damaged: it has %llu records, not %llu", r->path,
			 (unsigned long long)info->records, (unsigned long long)end.records);
		return EBADMSG;
	}
	info->seqnum = end.seqnum;
	return 0;
}

static int reader_destructor(struct backup_reader *r)
{
	if (r->f != NULL) {
		fclose(r->f);
	}
	if (r->hash != NULL) {
		gnutls_hash_deinit(r->hash, NULL);
	}
	if (r->pass != NULL) {
		gnutls_hash_deinit(r->pass, NULL);
	}
	return 0;
}

static int open_file(struct backup_reader *r, const char *path, char *error)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a pipe would wait for a writer */

	r->path = talloc_strdup(r, path);
	r->f = fd != -1 ? fdopen(fd, "r") : NULL;
	if (r->f == NULL || fstat(fd, &st) != 0) {
		int err = errno;

		if (r->f == NULL && fd != -1) {
			close(fd);
		}
		snprintf(error, BACKUP_ERROR_MAX, "%s: %s", path, strerror(err));
		return err;
	}
	if (!S_ISREG(st.st_mode)) {
		snprintf(error, BACKUP_ERROR_MAX, "%s: is not a regular file: it is read twice, first to check it",
			 path);
		return EINVAL;
	}
	r->size = st.st_size;
	return r->path == NULL ? ENOMEM : 0;
}

static int open_ours(struct backup_reader *r, struct backup_info *info, char *error)
{
	int err;

	if (gnutls_hash_init(&r->hash, GNUTLS_DIG_SHA256) != 0 ||
	    gnutls_hash(r->hash, r->magic, sizeof(r->magic)) != 0) {
		return ENOMEM;
	}
	r->hashing = true;
	err = read_header(r, &info->header, error);
	r->start = ftello(r->f);
	err = err != 0 ? err : backup_rewind(r, error);
	err = err != 0 ? err : verify(r, info, error);
	r->hashing = false;
	return err != 0 ? err : backup_rewind(r, error);
}

static int read_file(struct backup_reader *r, const char *path, struct backup_info *info, char *error)
{
	struct xdr_in in = {.p = r->magic, .end = r->magic + sizeof(r->magic)};
	int err = open_file(r, path, error);

	if (err != 0) {
		return err;
	}
	if (r->size < (off_t)sizeof(r->magic)) {
		snprintf(error, BACKUP_ERROR_MAX, "%s: is no backup of a database", path);
		return EBADMSG;
	}
	err = backup_get(r, r->magic, sizeof(r->magic), error);
	if (err != 0) {
		return err;
	}
	return xdr_get_u64(&in) == BACKUP_MAGIC ? open_ours(r, info, error) : backup_classic_open(r, info, error);
}

int backup_open(TALLOC_CTX *mem, const char *path, struct backup_reader **out, struct backup_info *info, char *error)
{
	struct backup_reader *r = talloc_zero(mem, struct backup_reader);
	int err;

	*info = (struct backup_info){.records = 0};
	if (r == NULL) {
		return ENOMEM;
	}
	snprintf(error, BACKUP_ERROR_MAX, "%s: out of memory", path);
	talloc_set_destructor(r, reader_destructor);
	err = read_file(r, path, info, error);
	if (err != 0) {
		talloc_free(r);
		return err;
	}
	*out = r;
	return 0;
}

int backup_rewind(struct backup_reader *r, char *error)
{
	drop_block(r);
	if (r->pass != NULL) {
		gnutls_hash_deinit(r->pass, NULL);
		r->pass = NULL;
	}
	if (gnutls_hash_init(&r->pass, GNUTLS_DIG_SHA256) != 0) {
		r->pass = NULL;
		return ENOMEM;
	}
	r->left = 0;
	r->records_left = 0;
	r->block_left = r->n_blocks;
	if (fseeko(r->f, r->start, SEEK_SET) != 0) {
		snprintf(error, BACKUP_ERROR_MAX, "%s: cannot be read again: %s", r->path, strerror(errno));
		return errno;
	}
	return 0;
}
