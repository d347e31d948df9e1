/* The journal of a persistent database: its files. */
#include "dbd/journal_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"

#define HEAD_MAGIC  0x314C4E4A42445443ULL /* "CTDBJNL1" */
#define ENTRY_MAGIC 0x31544E4542445443ULL /* "CTDBENT1" */
#define MARK_MAGIC  0x454E4F4442445443ULL /* "CTDBDONE" */
#define VERSION     1U
#define STEP        (256U * 1024U) /* of zeros at once */
#define BOOT_ID_LEN 36U
#define BUFFER      (256U * 1024U)

struct head {
	uint64_t magic;
	uint32_t version;
	uint32_t db_id;
	uint64_t id;                   /* random: what belongs to this journal */
	uint64_t base_size, base_sum;  /* of its contents, by hash_check64(0) */
	char boot_id[BOOT_ID_LEN + 4]; /* empty: distrusted */
	uint64_t sum;                  /* of what is before, seed 0 */
};

struct entry_head {
	uint64_t magic;
	uint64_t number; /* from 1 on, without gaps */
	uint32_t len;    /* of what follows; then zeros up to a multiple of 8 */
	uint32_t zero;
	uint64_t sum; /* of what is before, seed the journal's id; then, with that as seed, of what follows */
};

struct mark {
	uint64_t magic;
	uint64_t number; /* of the entry before */
};

struct journal {
	int fd;
	uint64_t id, base_size;
	uint64_t number; /* of the last entry */
	uint64_t end;    /* where the next one begins */
	uint64_t size;   /* written with zeros so far */
	bool own;        /* begun here: its name is synced, also before it has an entry */
};

static const char *boot_id_file = "/proc/sys/kernel/random/boot_id";

void journal_set_boot_id_file(const char *path)
{
	boot_id_file = path;
}

static int boot_id(char id[BOOT_ID_LEN + 1])
{
	int fd = open(boot_id_file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd != -1 ? read(fd, id, BOOT_ID_LEN) : -1;
	int error = n == -1 ? errno : n < (ssize_t)BOOT_ID_LEN ? EIO : 0;

	if (fd != -1) {
		close(fd);
	}
	id[BOOT_ID_LEN] = '\0';
	return error;
}

char *journal_path(TALLOC_CTX *mem, const char *path)
{
	return talloc_asprintf(mem, "%s.journal", path);
}

char *journal_base_path(TALLOC_CTX *mem, const char *path)
{
	return talloc_asprintf(mem, "%s.base", path);
}

/* FILE with something behind it, where talloc is of no use. */
static int file_name(char name[PATH_MAX], const char *path, const char *what)
{
	return snprintf(name, PATH_MAX, "%s.%s", path, what) < PATH_MAX ? 0 : ENAMETOOLONG;
}

bool journal_exists(const char *path)
{
	char name[PATH_MAX];

	return file_name(name, path, "journal") == 0 && access(name, F_OK) == 0;
}

bool journal_left_overs(const char *path)
{
	static const char *const unfinished[] = {"base.new", "journal.new", "rebuild"};
	char name[PATH_MAX];
	size_t i;

	for (i = 0; i < sizeof(unfinished) / sizeof(unfinished[0]); i++) {
		if (file_name(name, path, unfinished[i]) == 0) {
			(void)unlink(name);
		}
	}
	return journal_exists(path) || (file_name(name, path, "base") == 0 && access(name, F_OK) == 0);
}

/* ---- whole writes and reads ---- */

static int write_at(int fd, const void *data, size_t len, uint64_t at)
{
	const uint8_t *p = data;

	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, (off_t)at);

		if (n == -1 && errno != EINTR) {
			return errno;
		}
		if (n == 0) {
			return EIO;
		}
		if (n > 0) {
			p += n;
			at += (uint64_t)n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* *got < len: the file ends there. */
static int read_at(int fd, void *data, size_t len, uint64_t at, size_t *got)
{
	uint8_t *p = data;

	*got = 0;
	while (*got < len) {
		ssize_t n = pread(fd, p + *got, len - *got, (off_t)(at + *got));

		if (n == -1 && errno != EINTR) {
			return errno;
		}
		if (n == 0) {
			break;
		}
		*got += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

int journal_copy(int from, int to, uint64_t *size, uint64_t *sum)
{
	uint8_t *buf = malloc(BUFFER);
	size_t got = BUFFER;
	int error = buf == NULL ? ENOMEM : 0;

	*size = 0;
	*sum = 0;
	while (error == 0 && got == BUFFER) {
		error = read_at(from, buf, BUFFER, *size, &got);
		if (error == 0 && got > 0) {
			*sum = hash_check64(*sum, buf, got);
			error = to != -1 ? write_at(to, buf, got, *size) : 0;
			*size += got;
		}
	}
	free(buf);
	return error;
}

int journal_sync_directory(const char *path)
{
	char copy[PATH_MAX];
	int fd, error;

	if (strlen(path) >= sizeof(copy)) {
		return ENAMETOOLONG;
	}
	strcpy(copy, path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	error = fd == -1 || fsync(fd) != 0 ? errno : 0;
	if (fd != -1) {
		close(fd);
	}
	return error;
}

/* A synced file of that name, which was called FILE.what.new while it was written. fd is closed. */
static int file_publish(int fd, const char *path, const char *what, const char *new_name, int error)
{
	char name[PATH_MAX];

	error = error == 0 ? file_name(name, path, what) : error;
	if (error == 0 && fsync(fd) != 0) {
		error = errno;
	}
	close(fd);
	if (error == 0 && rename(new_name, name) != 0) {
		error = errno;
	}
	if (error != 0) {
		unlink(new_name);
		return error;
	}
	return journal_sync_directory(path);
}

static int file_new(const char *path, const char *what, char new_name[PATH_MAX], int *fd)
{
	int error = file_name(new_name, path, what);

	if (error != 0) {
		return error;
	}
	if (unlink(new_name) != 0 && errno != ENOENT) {
		return errno;
	}
	*fd = open(new_name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	return *fd == -1 ? errno : 0;
}

/* ---- beginning ---- */

static int base_make(const char *path, int tdb_fd, struct head *h)
{
	char new_name[PATH_MAX];
	int fd, error = file_new(path, "base.new", new_name, &fd);

	if (error != 0) {
		return error;
	}
	error = journal_copy(tdb_fd, fd, &h->base_size, &h->base_sum);
	return file_publish(fd, path, "base", new_name, error);
}

static int zeros(struct journal *j, uint64_t up_to)
{
	uint8_t *buf = calloc(1, STEP);
	int error = buf == NULL ? ENOMEM : 0;

	while (error == 0 && j->size < up_to) {
		error = write_at(j->fd, buf, STEP, j->size);
		j->size += error == 0 ? STEP : 0;
	}
	free(buf);
	if (error == 0 && fdatasync(j->fd) != 0) {
		error = errno;
	}
	return error;
}

static uint64_t head_sum(const struct head *h)
{
	return hash_check64(0, h, offsetof(struct head, sum));
}

static int head_fill(struct head *h, uint32_t db_id)
{
	h->magic = HEAD_MAGIC;
	h->version = VERSION;
	h->db_id = db_id;
	if (getrandom(&h->id, sizeof(h->id), 0) != sizeof(h->id)) {
		return EIO;
	}
	return boot_id(h->boot_id);
}

static int journal_make(struct journal *j, const char *path, struct head *h)
{
	char new_name[PATH_MAX];
	int fd, error = file_new(path, "journal.new", new_name, &fd);

	if (error != 0) {
		return error;
	}
	j->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	error = j->fd == -1 ? errno : zeros(j, STEP);
	h->sum = head_sum(h);
	error = error == 0 ? write_at(fd, h, sizeof(*h), 0) : error;
	return file_publish(fd, path, "journal", new_name, error);
}

static int journal_close(struct journal *j)
{
	if (j->fd != -1) {
		close(j->fd);
	}
	return 0;
}

static struct journal *journal_new(TALLOC_CTX *mem)
{
	struct journal *j = talloc_zero(mem, struct journal);

	if (j != NULL) {
		j->fd = -1;
		j->end = JOURNAL_FIRST;
		talloc_set_destructor(j, journal_close);
	}
	return j;
}

/* Never a journal without its base, whatever a power cut lets happen of it. */
static int remove_files(const char *path)
{
	char name[PATH_MAX];
	int error = file_name(name, path, "journal");

	if (error == 0 && unlink(name) != 0 && errno != ENOENT) {
		error = errno;
	}
	error = error == 0 ? journal_sync_directory(path) : error;
	error = error == 0 ? file_name(name, path, "base") : error;
	if (error == 0 && unlink(name) != 0 && errno != ENOENT) {
		error = errno;
	}
	return error;
}

int journal_begin(TALLOC_CTX *mem, const char *path, uint32_t db_id, int tdb_fd, struct journal **result)
{
	struct journal *j = journal_new(mem);
	struct head h = {0};
	struct stat st;
	int error = j == NULL ? ENOMEM : fstat(tdb_fd, &st) != 0 ? errno : 0;

	if (error == 0 && (uint64_t)st.st_size > JOURNAL_BASE_MAX) {
		error = EFBIG;
	}
	if (error == 0) {
		error = head_fill(&h, db_id);
	}
	if (error == 0 && fsync(tdb_fd) != 0) {
		error = errno;
	}
	if (error == 0) {
		error = base_make(path, tdb_fd, &h);
		error = error == 0 ? journal_make(j, path, &h) : error;
		if (error != 0) {
			(void)remove_files(path);
		}
	}
	if (error != 0) {
		talloc_free(j);
		return error;
	}
	j->id = h.id;
	j->base_size = h.base_size;
	j->own = true;
	*result = j;
	return 0;
}

/* ---- opening ---- */

static int head_check(const struct head *h, uint32_t db_id)
{
	if (h->magic != HEAD_MAGIC || h->version != VERSION || h->db_id != db_id || h->sum != head_sum(h)) {
		return EBADMSG;
	}
	return 0;
}

static bool head_same_kernel(const struct head *h)
{
	char id[BOOT_ID_LEN + 1];

	return boot_id(id) == 0 && h->boot_id[BOOT_ID_LEN] == '\0' && strcmp(id, h->boot_id) == 0;
}

int journal_open(TALLOC_CTX *mem, const char *path, uint32_t db_id, struct journal **result)
{
	struct journal *j = journal_new(mem);
	char name[PATH_MAX];
	struct head h;
	size_t got = 0;
	int error = j == NULL ? ENOMEM : file_name(name, path, "journal");

	if (error == 0) {
		j->fd = open(name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
		error = j->fd == -1 ? errno : read_at(j->fd, &h, sizeof(h), 0, &got);
	}
	if (error == 0) {
		error = got < sizeof(h) ? EBADMSG : head_check(&h, db_id);
	}
	if (error == 0 && !head_same_kernel(&h)) {
		error = ESTALE;
	}
	if (error != 0) {
		talloc_free(j);
		return error;
	}
	j->id = h.id;
	j->base_size = h.base_size;
	*result = j;
	return 0;
}

bool journal_is_named(const struct journal *j)
{
	struct stat st;

	return fstat(j->fd, &st) == 0 && st.st_nlink > 0;
}

static size_t padded(size_t len)
{
	return (len + 7) & ~(size_t)7;
}

/* The kernel's copy of the file is whole: only the end needs to be understood. Without an entry, who began it may have
 * been killed before its name was synced. */
int journal_follow(struct journal *j)
{
	union {
		struct entry_head e;
		struct mark m;
	} u;
	struct stat st;
	size_t got;

	if (fstat(j->fd, &st) != 0) {
		return errno;
	}
	j->size = (uint64_t)st.st_size;
	for (;;) {
		int error = read_at(j->fd, &u, sizeof(u), j->end, &got);

		if (error != 0) {
			return error;
		}
		if (got == sizeof(u) && u.e.magic == ENTRY_MAGIC && u.e.number == j->number + 1 &&
		    u.e.len <= JOURNAL_ENTRY_MAX) {
			j->end += sizeof(u.e) + padded(u.e.len);
			j->number++;
			continue;
		}
		if (got >= sizeof(u.m) && u.m.magic == MARK_MAGIC && u.m.number == j->number) {
			return 0;
		}
		return j->own && j->number == 0 && got == sizeof(u) && u.m.magic == 0 ? 0 : EUCLEAN;
	}
}

/* ---- appending ---- */

bool journal_has_room(const struct journal *j, size_t len)
{
	uint64_t most = j->base_size > JOURNAL_BYTES_MIN ? j->base_size : JOURNAL_BYTES_MIN;

	return len <= JOURNAL_ENTRY_MAX && j->end + len <= most;
}

static uint64_t entry_sum(uint64_t id, const struct entry_head *e, const uint8_t *p)
{
	return hash_check64(hash_check64(id, e, offsetof(struct entry_head, sum)), p, e->len);
}

int journal_append(struct journal *j, const uint8_t *p, size_t len)
{
	struct entry_head e = {.magic = ENTRY_MAGIC, .number = j->number + 1, .len = (uint32_t)len};
	size_t n = sizeof(e) + padded(len);
	uint8_t *buf;
	int error = 0;

	if (j->end + n + sizeof(e) > j->size) {
		error = zeros(j, j->end + n + sizeof(e));
	}
	if (error != 0) {
		return error;
	}
	buf = calloc(1, n);
	if (buf == NULL) {
		return ENOMEM;
	}
	e.sum = entry_sum(j->id, &e, p);
	memcpy(buf, &e, sizeof(e));
	memcpy(buf + sizeof(e), p, len);
	error = write_at(j->fd, buf, n, j->end);
	free(buf);
	if (error == 0 && fdatasync(j->fd) != 0) {
		error = errno;
	}
	if (error == 0) {
		j->number++;
		j->end += n;
	}
	return error;
}

void journal_mark(struct journal *j)
{
	struct mark m = {.magic = MARK_MAGIC, .number = j->number};

	/* If it fails, the mark is missing, and the journal is ended. */
	(void)write_at(j->fd, &m, sizeof(m), j->end);
}

/* ---- ending ---- */

int journal_distrust(const char *path)
{
	char name[PATH_MAX];
	int error = file_name(name, path, "journal"), fd;
	size_t got = 0;
	struct head h;

	if (error != 0) {
		return error;
	}
	fd = open(name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	error = fd == -1 ? errno : read_at(fd, &h, sizeof(h), 0, &got);
	if (error == 0 && got == sizeof(h)) {
		memset(h.boot_id, 0, sizeof(h.boot_id));
		h.sum = head_sum(&h);
		error = write_at(fd, &h, sizeof(h), 0);
		/* Who runs sees it without, and after the loss of power it is not needed. */
		(void)fdatasync(fd);
	}
	if (fd != -1) {
		close(fd);
	}
	return error;
}

int journal_end(const char *path, int tdb_fd)
{
	int error;

	if (fsync(tdb_fd) != 0) {
		error = errno;
		(void)journal_distrust(path);
		return error;
	}
	return remove_files(path);
}

/* ---- reading all of it ---- */

static int read_file(TALLOC_CTX *mem, const char *name, uint8_t **data, size_t *len)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	int error = fd == -1 || fstat(fd, &st) != 0 ? errno : 0;

	if (error == 0) {
		*data = talloc_size(mem, (size_t)st.st_size + 1);
		error = *data == NULL ? ENOMEM : read_at(fd, *data, (size_t)st.st_size, 0, len);
	}
	if (fd != -1) {
		close(fd);
	}
	return error;
}

int journal_read(TALLOC_CTX *mem, const char *path, uint32_t db_id, struct journal_image *image)
{
	char name[PATH_MAX];
	struct head h;
	int error = file_name(name, path, "journal");

	*image = (struct journal_image){.data = NULL};
	error = error == 0 ? read_file(mem, name, &image->data, &image->len) : error;
	if (error != 0) {
		return error;
	}
	if (image->len < JOURNAL_FIRST) {
		return EBADMSG;
	}
	memcpy(&h, image->data, sizeof(h));
	error = head_check(&h, db_id);
	if (error == 0) {
		image->base_size = h.base_size;
		image->base_sum = h.base_sum;
		image->same_kernel = head_same_kernel(&h);
	}
	return error;
}

static bool entry_is_whole(const struct journal_image *image, size_t at, struct entry_head *e)
{
	struct head h;

	if (image->len < sizeof(*e) || at > image->len - sizeof(*e)) {
		return false;
	}
	memcpy(e, image->data + at, sizeof(*e));
	if (e->magic != ENTRY_MAGIC || e->len > JOURNAL_ENTRY_MAX || e->len > image->len - at - sizeof(*e)) {
		return false;
	}
	memcpy(&h, image->data, sizeof(h));
	return e->sum == entry_sum(h.id, e, image->data + at + sizeof(*e));
}

/* Everything stands at a multiple of 8. */
static bool any_entry_behind(const struct journal_image *image, size_t at, uint64_t number)
{
	struct entry_head e;

	for (; at + sizeof(e) <= image->len; at += 8) {
		if (entry_is_whole(image, at, &e) && e.number > number) {
			return true;
		}
	}
	return false;
}

int journal_next(const struct journal_image *image, size_t *at, uint64_t *number, const uint8_t **p, size_t *len)
{
	struct entry_head e;

	if (!entry_is_whole(image, *at, &e) || e.number != *number + 1) {
		return any_entry_behind(image, *at, *number) ? EBADMSG : ENOENT;
	}
	*number = e.number;
	*p = image->data + *at + sizeof(e);
	*len = e.len;
	*at += sizeof(e) + padded(e.len);
	return 0;
}
