/* The cluster's keys: the file, ids, changes of the set. */
#include "shared/cluster_key.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/file_replace.h"

#define FILE_MAX (16 * 1024)

static const char id_prefix[] = "ctdb-ng key id";

static int keys_destructor(struct cluster_keys *keys)
{
	explicit_bzero(keys, sizeof(*keys));
	return 0;
}

static struct cluster_keys *keys_new(TALLOC_CTX *mem)
{
	struct cluster_keys *keys = talloc_zero(mem, struct cluster_keys);

	if (keys != NULL) {
		talloc_set_destructor(keys, keys_destructor);
	}
	return keys;
}

static int set_id(struct cluster_key *key)
{
	uint8_t text[sizeof(id_prefix) - 1 + CLUSTER_KEY_BYTES], hash[32];
	int ret;

	memcpy(text, id_prefix, sizeof(id_prefix) - 1);
	memcpy(text + sizeof(id_prefix) - 1, key->secret, CLUSTER_KEY_BYTES);
	ret = gnutls_hash_fast(GNUTLS_DIG_SHA256, text, sizeof(text), hash);
	explicit_bzero(text, sizeof(text));
	if (ret < 0) {
		return EIO;
	}
	for (int i = 0; i < 8; i++) {
		key->id[2 * i] = "0123456789abcdef"[hash[i] >> 4];
		key->id[2 * i + 1] = "0123456789abcdef"[hash[i] & 15];
	}
	key->id[16] = '\0';
	return 0;
}

int cluster_key_random(struct cluster_key *key)
{
	size_t done = 0;

	while (done < CLUSTER_KEY_BYTES) {
		ssize_t n = getrandom(key->secret + done, CLUSTER_KEY_BYTES - done, 0);

		if (n < 0 && errno != EINTR) {
			return errno;
		}
		done += n > 0 ? (size_t)n : 0;
	}
	return set_id(key);
}

static int nibble(char c)
{
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Exactly len characters. */
static int parse_hex(const char *hex, size_t len, struct cluster_key *key)
{
	memset(key, 0, sizeof(*key));
	for (size_t i = 0; len == 2 * CLUSTER_KEY_BYTES && i < len; i++) {
		int v = nibble(hex[i]);

		if (v < 0) {
			explicit_bzero(key, sizeof(*key));
			return EINVAL;
		}
		key->secret[i / 2] = (uint8_t)(key->secret[i / 2] << 4 | v);
	}
	return len == 2 * CLUSTER_KEY_BYTES ? set_id(key) : EINVAL;
}

int cluster_key_parse(const char *hex, struct cluster_key *key)
{
	return parse_hex(hex, strlen(hex), key);
}

/* ---- reading ---- */

struct reader {
	TALLOC_CTX *mem; /* of the error text */
	const char *path;
	struct cluster_keys *keys;
	unsigned line_of[CLUSTER_KEYS_MAX];
	char **err;
};

/* The line is never quoted: it may be a key but for one character. */
static int take_line(struct reader *r, const char *s, size_t len, unsigned line)
{
	struct cluster_keys *keys = r->keys;
	struct cluster_key key;
	int ret = parse_hex(s, len, &key);

	if (ret == EINVAL) {
		*r->err = talloc_asprintf(r->mem,
					  "%s:%u: is no key: a key is %d hexadecimal digits, this has %zu characters",
					  r->path, line, 2 * CLUSTER_KEY_BYTES, len);
		return EINVAL;
	}
	for (uint32_t i = 0; ret == 0 && i < keys->n; i++) {
		if (memcmp(keys->v[i].secret, key.secret, CLUSTER_KEY_BYTES) == 0) {
			*r->err = talloc_asprintf(r->mem, "%s:%u: the key is already in line %u: remove one", r->path,
						  line, r->line_of[i]);
			ret = EINVAL;
		}
	}
	if (ret == 0 && keys->n == CLUSTER_KEYS_MAX) {
		*r->err = talloc_asprintf(r->mem,
					  "%s:%u: more than %d keys are not possible: remove those that are out of use",
					  r->path, line, CLUSTER_KEYS_MAX);
		ret = EINVAL;
	}
	if (ret == 0) {
		r->line_of[keys->n] = line;
		keys->v[keys->n++] = key;
	}
	explicit_bzero(&key, sizeof(key));
	return ret;
}

static int parse_text(struct reader *r, const char *text, size_t len)
{
	unsigned line = 0;
	int ret = 0;

	for (const char *s = text, *end = text + len, *next; ret == 0 && s < end; s = next) {
		const char *stop = memchr(s, '\n', (size_t)(end - s)), *hash;

		next = stop == NULL ? end : stop + 1;
		stop = stop == NULL ? end : stop;
		hash = memchr(s, '#', (size_t)(stop - s));
		stop = hash == NULL ? stop : hash;
		while (s < stop && isspace((unsigned char)*s)) {
			s++;
		}
		while (s < stop && isspace((unsigned char)stop[-1])) {
			stop--;
		}
		line++;
		ret = s == stop ? 0 : take_line(r, s, (size_t)(stop - s), line);
	}
	if (ret == 0 && r->keys->n == 0) {
		*r->err = talloc_asprintf(
			r->mem, "%s: holds no key: make one by \"ctdb cluster key create\" in another file", r->path);
		ret = EINVAL;
	}
	return ret;
}

static int check_file(const struct reader *r, int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0) {
		return errno;
	}
	if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX) {
		*r->err = talloc_asprintf(r->mem, "%s: cannot be a key file: it is %s", r->path,
					  S_ISREG(st.st_mode) ? "too large" : "no regular file");
		return EINVAL;
	}
	if (st.st_uid != 0 && st.st_uid != geteuid()) {
		*r->err = talloc_asprintf(r->mem,
					  "%s: belongs to user %u, who can read and change the keys: chown root %s",
					  r->path, (unsigned)st.st_uid, r->path);
		return EACCES;
	}
	if ((st.st_mode & 07077) != 0) {
		*r->err = talloc_asprintf(r->mem, "%s: has mode %04o, so other users may know the keys: chmod 600 %s",
					  r->path, (unsigned)st.st_mode & 07777, r->path);
		return EACCES;
	}
	return 0;
}

static int read_all(int fd, char *buf, size_t size, size_t *len)
{
	*len = 0;
	while (*len < size) {
		ssize_t n = read(fd, buf + *len, size - *len);

		if (n == 0) {
			return 0;
		}
		if (n < 0 && errno != EINTR) {
			return errno;
		}
		*len += n > 0 ? (size_t)n : 0;
	}
	return EFBIG;
}

static int load(struct reader *r)
{
	static char buf[FILE_MAX + 1]; /* wiped below: nothing of it stays on a heap */
	size_t len;
	int ret, fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0) {
		return errno;
	}
	ret = check_file(r, fd);
	if (ret == 0) {
		ret = read_all(fd, buf, sizeof(buf), &len);
	}
	if (ret == 0) {
		ret = parse_text(r, buf, len);
	}
	explicit_bzero(buf, sizeof(buf));
	close(fd);
	return ret;
}

int cluster_keys_load(TALLOC_CTX *mem, const char *path, struct cluster_keys **keys, char **err)
{
	char *why = NULL;
	struct reader r = {.mem = mem, .path = path, .keys = keys_new(mem), .err = &why};
	int ret = r.keys == NULL ? ENOMEM : load(&r);

	if (ret == 0) {
		*keys = r.keys;
		return 0;
	}
	talloc_free(r.keys);
	if (why == NULL && ret == ENOENT) {
		why = talloc_asprintf(
			mem,
			"%s: does not exist: make it on one node by \"ctdb cluster key create\" and copy it to all "
			"nodes, or write \"security = none\" in [transport]",
			path);
	}
	*err = why != NULL ? why : talloc_asprintf(mem, "%s: cannot be read: %s", path, strerror(ret));
	return ret;
}

/* ---- writing ---- */

static const char file_head[] = "# Keys of the cluster. The first is offered, all are accepted.\n";
#define LINE_SIZE (2 * CLUSTER_KEY_BYTES + 1)
#define TEXT_SIZE (sizeof(file_head) - 1 + CLUSTER_KEYS_MAX * LINE_SIZE)

static size_t make_text(const struct cluster_keys *keys, char text[TEXT_SIZE])
{
	char *p = text + sizeof(file_head) - 1;

	memcpy(text, file_head, sizeof(file_head) - 1);
	for (uint32_t i = 0; i < keys->n; i++) {
		for (int k = 0; k < CLUSTER_KEY_BYTES; k++) {
			*p++ = "0123456789abcdef"[keys->v[i].secret[k] >> 4];
			*p++ = "0123456789abcdef"[keys->v[i].secret[k] & 15];
		}
		*p++ = '\n';
	}
	return (size_t)(p - text);
}

static int store(const struct cluster_keys *keys, const char *path)
{
	char text[TEXT_SIZE];
	int ret = file_replace(path, text, make_text(keys, text), 0600, FILE_REPLACE_DURABLE);

	explicit_bzero(text, sizeof(text));
	return ret;
}

int cluster_keys_store(const struct cluster_keys *keys, const char *path, char **err)
{
	int ret = store(keys, path);

	if (ret != 0 && err != NULL) {
		*err = talloc_asprintf(NULL, "%s: cannot be written: %s", path, strerror(ret));
	}
	return ret;
}

/* ---- changes ---- */

const struct cluster_key *cluster_keys_find(const struct cluster_keys *keys, const char *id)
{
	for (uint32_t i = 0; i < keys->n; i++) {
		if (strcmp(keys->v[i].id, id) == 0) {
			return &keys->v[i];
		}
	}
	return NULL;
}

int cluster_keys_add(struct cluster_keys *keys, const struct cluster_key *key)
{
	if (cluster_keys_find(keys, key->id) != NULL) {
		return 0;
	}
	if (keys->n == CLUSTER_KEYS_MAX) {
		return ENOSPC;
	}
	keys->v[keys->n++] = *key;
	return 0;
}

int cluster_keys_use(struct cluster_keys *keys, const char *id)
{
	const struct cluster_key *found = cluster_keys_find(keys, id);
	struct cluster_key key;
	size_t at;

	if (found == NULL) {
		return ENOENT;
	}
	at = (size_t)(found - keys->v);
	key = *found;
	memmove(&keys->v[1], &keys->v[0], at * sizeof(key));
	keys->v[0] = key;
	explicit_bzero(&key, sizeof(key));
	return 0;
}

int cluster_keys_drop(struct cluster_keys *keys, const char *id)
{
	const struct cluster_key *found = cluster_keys_find(keys, id);
	size_t at;

	if (found == NULL) {
		return ENOENT;
	}
	at = (size_t)(found - keys->v);
	if (at == 0) {
		return EBUSY;
	}
	memmove(&keys->v[at], &keys->v[at + 1], (keys->n - at - 1) * sizeof(keys->v[0]));
	keys->n--;
	explicit_bzero(&keys->v[keys->n], sizeof(keys->v[0]));
	return 0;
}
