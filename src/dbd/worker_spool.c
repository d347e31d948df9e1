/* Worker program: what was read and is not sent yet. */
#include "dbd/worker_spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define BATCH_BYTES (64U * 1024U)
#define FRONT_BYTES (64U * 1024U * 1024U)
#define TAIL_BYTES  (1024U * 1024U)
#define ROOM_KEPT   32 /* this part of the filesystem stays free */

struct spool_batch {
	struct spool_batch *next;
	size_t len, size;
	uint8_t data[];
};

uint8_t *spool_room(struct spool *s, size_t n)
{
	struct spool_list *l = s->fd > 0 ? &s->tail : &s->front;
	struct spool_batch *b = l->last;

	if (b == NULL || b->size - b->len < n) {
		size_t size = n > BATCH_BYTES ? n : BATCH_BYTES;

		b = malloc(sizeof(*b) + size);
		if (b == NULL) {
			return NULL;
		}
		*b = (struct spool_batch){.size = size};
		if (l->last != NULL) {
			l->last->next = b;
		} else {
			l->first = b;
		}
		l->last = b;
	}
	b->len += n;
	l->bytes += n;
	return b->data + b->len - n;
}

static void remove_first(struct spool_list *l)
{
	struct spool_batch *b = l->first;

	l->bytes -= b->len;
	l->first = b->next;
	if (l->first == NULL) {
		l->last = NULL;
	}
	free(b);
}

static void send_first(struct wjob *job, struct spool_list *l)
{
	wjob_send_batch(job, l->first->data, l->first->len);
	remove_first(l);
}

void spool_send_full(struct wjob *job, struct spool *s)
{
	while (s->front.first != s->front.last) {
		send_first(job, &s->front);
	}
}

/* ---- the file: length and bytes of each batch ---- */

/* Beside the database: there is room for as much again when a transaction replaces it. */
static int file_open(const char *database)
{
	char path[WORKER_PATH_MAX + 16];
	char *slash;
	int fd;

	snprintf(path, sizeof(path), "%s", database);
	slash = strrchr(path, '/');
	if (slash == NULL) {
		return -1;
	}
	slash[slash == path] = '\0';
	fd = open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd != -1 || errno == EMFILE || errno == ENFILE) {
		return fd;
	}
	/* A filesystem without such files. */
	snprintf(path, sizeof(path), "%s.spool.XXXXXX", database);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd != -1) {
		(void)unlink(path);
	}
	return fd;
}

static bool write_all_at(int fd, const void *data, size_t len, off_t at)
{
	const uint8_t *p = data;

	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, at);

		if (n <= 0 && errno != EINTR) {
			return false;
		}
		if (n > 0) {
			p += n;
			at += n;
			len -= (size_t)n;
		}
	}
	return true;
}

static bool read_all_at(int fd, void *data, size_t len, off_t at)
{
	uint8_t *p = data;

	while (len > 0) {
		ssize_t n = pread(fd, p, len, at);

		if (n == 0 || (n < 0 && errno != EINTR)) {
			return false;
		}
		if (n > 0) {
			p += n;
			at += n;
			len -= (size_t)n;
		}
	}
	return true;
}

/* The database needs room, too. */
static bool has_room(int fd)
{
	struct statvfs v;

	return fstatvfs(fd, &v) != 0 || v.f_bavail > v.f_blocks / ROOM_KEPT;
}

static bool tail_to_file(struct spool *s)
{
	if (!has_room(s->fd)) {
		return false;
	}
	while (s->tail.first != NULL) {
		const struct spool_batch *b = s->tail.first;

		if (!write_all_at(s->fd, &b->len, sizeof(b->len), s->written) ||
		    !write_all_at(s->fd, b->data, b->len, s->written + (off_t)sizeof(b->len))) {
			return false;
		}
		s->written += (off_t)(sizeof(b->len) + b->len);
		remove_first(&s->tail);
	}
	return true;
}

static int send_from_file(struct wjob *job, struct spool *s)
{
	uint8_t *data;
	size_t len;

	if (!read_all_at(s->fd, &len, sizeof(len), s->sent)) {
		return EIO;
	}
	data = malloc(len);
	if (data == NULL) {
		return ENOMEM;
	}
	if (!read_all_at(s->fd, data, len, s->sent + (off_t)sizeof(len))) {
		free(data);
		return EIO;
	}
	wjob_send_batch(job, data, len);
	free(data);
	s->sent += (off_t)(sizeof(len) + len);
	return 0;
}

/* ---- in order ---- */

static int send_oldest(struct wjob *job, struct spool *s)
{
	if (s->front.first != NULL) {
		send_first(job, &s->front);
	} else if (s->sent < s->written) {
		return send_from_file(job, s);
	} else {
		send_first(job, &s->tail);
	}
	return 0;
}

static bool is_empty(const struct spool *s)
{
	return s->front.first == NULL && s->sent == s->written && s->tail.first == NULL;
}

int spool_send_all(struct wjob *job, struct spool *s)
{
	int error = 0;

	while (error == 0 && !is_empty(s)) {
		error = send_oldest(job, s);
	}
	return error;
}

static int send_what_is_asked_for(struct wjob *job, struct spool *s)
{
	int error = 0;

	while (error == 0 && !is_empty(s) && wjob_is_asked(job)) {
		error = send_oldest(job, s);
	}
	return error;
}

int spool_keep(struct wjob *job, struct spool *s)
{
	int error;

	if (s->fd == 0 && s->front.bytes <= FRONT_BYTES) {
		return 0;
	}
	error = send_what_is_asked_for(job, s);
	if (error != 0 || (s->fd == 0 ? s->front.bytes <= FRONT_BYTES : s->tail.bytes <= TAIL_BYTES)) {
		return error;
	}
	if (s->fd == 0 && !s->no_file) {
		s->fd = file_open(job->start.path);
		s->no_file = s->fd <= 0;
		s->fd = s->no_file ? 0 : s->fd;
	} else if (s->fd > 0 && !s->no_file) {
		s->no_file = !tail_to_file(s);
	}
	return s->no_file ? spool_send_all(job, s) : 0; /* a slow consumer holds up transactions, as there is no room */
}

static void list_free(struct spool_list *l)
{
	while (l->first != NULL) {
		remove_first(l);
	}
}

void spool_free(struct spool *s)
{
	list_free(&s->front);
	list_free(&s->tail);
	if (s->fd > 0) {
		close(s->fd);
	}
	s->fd = 0;
}
