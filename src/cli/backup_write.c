/* Writing backup files. */
#include "backup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gnutls/crypto.h>

#include "base/xdr.h"

struct backup_writer {
	FILE *f;
	char *path, *temporary; /* NULL: standard output */
	gnutls_hash_hd_t hash;
	struct backup_records block;
	size_t block_bytes;
	uint64_t n;
	char *error; /* the caller's */
};

static int fail(struct backup_writer *w, int err, const char *what)
{
	snprintf(w->error, BACKUP_ERROR_MAX, "%s: %s: %s", w->path != NULL ? w->path : "standard output", what,
		 strerror(err));
	return err;
}

static int put(struct backup_writer *w, const void *data, size_t len)
{
	errno = 0;
	if (len > 0 && fwrite(data, len, 1, w->f) != 1) {
		return fail(w, errno != 0 ? errno : EIO, "cannot be written");
	}
	if (gnutls_hash(w->hash, data, len) != 0) {
		return fail(w, EIO, "checksum");
	}
	return 0;
}

static int put_frame(struct backup_writer *w, enum backup_frame type, int err, struct ctdb_blob *blob)
{
	uint8_t head[8];
	struct xdr_out out = {.p = head, .end = head + sizeof(head)};

	if (err != 0) {
		return fail(w, err, "a record does not fit into a backup");
	}
	xdr_put_u32(&out, (uint32_t)type);
	xdr_put_u32(&out, blob->len);
	err = put(w, head, sizeof(head));
	err = err != 0 ? err : put(w, blob->data, blob->len);
	talloc_free(blob->data);
	return err;
}

static int writer_destructor(struct backup_writer *w)
{
	if (w->f != NULL && w->f != stdout) {
		fclose(w->f);
	}
	if (w->temporary != NULL) {
		unlink(w->temporary);
	}
	if (w->hash != NULL) {
		gnutls_hash_deinit(w->hash, NULL);
	}
	return 0;
}

/* A new file takes the name: not that of a device or pipe, and what a symbolic link leads to is replaced, not the
 * link. */
static int find_path(struct backup_writer *w, const char *path)
{
	bool exists, is_link;
	struct stat st, out;
	char *real;

	is_link = lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
	exists = stat(path, &st) == 0;
	w->path = talloc_strdup(w, path);
	if (w->path == NULL) {
		return fail(w, ENOMEM, "opening");
	}
	if (exists && !S_ISREG(st.st_mode)) {
		return fail(w, S_ISDIR(st.st_mode) ? EISDIR : EINVAL,
			    "is not a regular file (- is standard output, which may be anything)");
	}
	/* /dev/stdout, or what the shell writes into: not to be replaced under its descriptor. */
	if (exists && fstat(STDOUT_FILENO, &out) == 0 && st.st_dev == out.st_dev && st.st_ino == out.st_ino) {
		return fail(w, EINVAL, "is standard output: say - for it");
	}
	if (!is_link) {
		return 0;
	}
	real = realpath(path, NULL);
	if (real == NULL) {
		return fail(w, errno, "what this symbolic link leads to");
	}
	talloc_free(w->path);
	w->path = talloc_strdup(w, real);
	free(real);
	return w->path != NULL ? 0 : fail(w, ENOMEM, "opening");
}

static int open_file(struct backup_writer *w, const char *path)
{
	int fd, err;

	if (strcmp(path, "-") == 0) {
		w->f = stdout;
		return 0;
	}
	err = find_path(w, path);
	if (err != 0) {
		return err;
	}
	w->temporary = talloc_asprintf(w, "%s.new.%d", w->path, (int)getpid());
	if (w->temporary == NULL) {
		return fail(w, ENOMEM, "opening");
	}
	fd = open(w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	w->f = fd == -1 ? NULL : fdopen(fd, "w");
	if (w->f == NULL) {
		err = errno;
		if (err == EEXIST) { /* of one that was killed, perhaps */
			snprintf(w->error, BACKUP_ERROR_MAX, "%s: cannot be made: %s exists, remove it", w->path,
				 w->temporary);
		} else {
			fail(w, err, "cannot be made");
		}
		TALLOC_FREE(w->temporary); /* not ours */
		return err;
	}
	return 0;
}

int backup_writer_new(TALLOC_CTX *mem, const char *path, const struct backup_header *header, struct backup_writer **out,
		      char *error)
{
	struct backup_writer *w = talloc_zero(mem, struct backup_writer);
	struct ctdb_blob blob = {.len = 0};
	uint8_t magic[8];
	struct xdr_out x = {.p = magic, .end = magic + sizeof(magic)};
	int err;

	if (w == NULL) {
		return ENOMEM;
	}
	w->error = error;
	talloc_set_destructor(w, writer_destructor);
	err = open_file(w, path);
	if (err == 0 && gnutls_hash_init(&w->hash, GNUTLS_DIG_SHA256) != 0) {
		err = fail(w, ENOMEM, "checksum");
	}
	if (err == 0) {
		xdr_put_u64(&x, BACKUP_MAGIC);
		err = put(w, magic, sizeof(magic));
	}
	if (err == 0) {
		err = backup_header_encode(w, header, &blob);
		err = put_frame(w, BACKUP_FRAME_HEADER, err, &blob);
	}
	if (err != 0) {
		talloc_free(w);
		return err;
	}
	*out = w;
	return 0;
}

static int flush_block(struct backup_writer *w)
{
	struct ctdb_blob blob = {.len = 0};
	int err;

	if (w->block.records.n == 0) {
		return 0;
	}
	err = backup_records_encode(w, &w->block, &blob);
	err = put_frame(w, BACKUP_FRAME_RECORDS, err, &blob);
	talloc_free(w->block.records.v);
	w->block = (struct backup_records){.records = {.n = 0}};
	w->block_bytes = 0;
	return err;
}

static int add(struct backup_writer *w, const struct backup_record *record)
{
	struct backup_record *v = w->block.records.v;
	uint32_t n = w->block.records.n;

	if ((n & (n - 1)) == 0) {
		v = talloc_realloc(w, v, struct backup_record, n == 0 ? 1 : 2 * n);
		if (v == NULL) {
			return fail(w, ENOMEM, "writing");
		}
		w->block.records.v = v;
	}
	v[n] = *record;
	v[n].key.data = talloc_memdup(v, record->key.data, record->key.len);
	v[n].data.data = talloc_memdup(v, record->data.data, record->data.len);
	w->block.records.n = n + 1;
	w->n++;
	return (v[n].key.data == NULL && record->key.len > 0) || (v[n].data.data == NULL && record->data.len > 0)
		       ? fail(w, ENOMEM, "writing")
		       : 0;
}

int backup_write(struct backup_writer *w, const struct backup_record *record)
{
	size_t bytes = backup_record_size(record);
	int err = 0;

	if (w->block.records.n > 0 && (w->block_bytes + bytes > BACKUP_BLOCK_BYTES || w->block.records.n == 65536)) {
		err = flush_block(w);
	}
	w->block_bytes += bytes;
	return err != 0 ? err : add(w, record);
}

/* On disk under its name. */
static int settle(struct backup_writer *w)
{
	char *directory;
	int fd, err = 0;

	errno = 0;
	if (fflush(w->f) != 0 || (w->path != NULL && fsync(fileno(w->f)) != 0)) {
		return fail(w, errno != 0 ? errno : EIO, "cannot be written");
	}
	if (w->path == NULL) {
		return 0;
	}
	if (rename(w->temporary, w->path) != 0) {
		return fail(w, errno, "cannot take its name");
	}
	TALLOC_FREE(w->temporary);
	directory = talloc_strdup(w, w->path);
	if (directory == NULL) {
		return fail(w, ENOMEM, "writing");
	}
	if (strrchr(directory, '/') != NULL) {
		strrchr(directory, '/')[1] = '\0';
	} else {
		directory = talloc_strdup(w, ".");
	}
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1 || fsync(fd) != 0) {
		err = fail(w, errno, "its directory cannot be written");
	}
	if (fd != -1) {
		close(fd);
	}
	return err;
}

int backup_finish(struct backup_writer *w, uint64_t seqnum)
{
	struct backup_end end = {.seqnum = seqnum};
	struct ctdb_blob blob = {.len = 0};
	uint8_t numbers[16];
	struct xdr_out x = {.p = numbers, .end = numbers + sizeof(numbers)};
	int err = flush_block(w);

	end.records = w->n;
	if (err != 0) {
		return err;
	}
	xdr_put_u64(&x, end.records);
	xdr_put_u64(&x, end.seqnum);
	if (gnutls_hash(w->hash, numbers, sizeof(numbers)) != 0) {
		return fail(w, EIO, "checksum");
	}
	gnutls_hash_output(w->hash, end.sha256);
	err = backup_end_encode(w, &end, &blob);
	err = put_frame(w, BACKUP_FRAME_END, err, &blob);
	return err != 0 ? err : settle(w);
}

const char *backup_writer_error(const struct backup_writer *w)
{
	return w->error;
}

uint64_t backup_written(const struct backup_writer *w)
{
	return w->n;
}
